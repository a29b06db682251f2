//! The firmware of a ConnectX, as far as a driver needs it: commands that come by the
//! queue in memory, and answers to them. It grants what it was made with, keeps in mind
//! where rings are, and is pleased with everything.

use super::{Card, Grants};
use bmnic::dma::Region;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// Bytes of an entry of the command queue, and of data in a mailbox.
const ENTRY: u64 = 64;
const DATA: usize = 512;

/// Kinds of work queues.
pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;

/// What the card was told.
#[derive(Default)]
pub struct Told {
    /// Pages that it was given.
    pages: Vec<u64>,
    /// Completion queues, and whether they may be compressed.
    completions: HashMap<u32, (Ring, bool)>,
    /// The first work queue of each kind.
    pub queues: [Option<Work>; 2],
    /// Times that it was taken into use.
    pub starts: [u32; 2],
    /// Commands since then, in the order that they were given.
    pub asked: Vec<u16>,
    /// Numbers given out, and pages of doorbells.
    numbers: u32,
    uars: u32,
}

/// A ring and its doorbell record.
#[derive(Clone, Copy)]
pub struct Ring {
    pub iova: u64,
    pub len: usize,
    pub record: u64,
}

/// A work queue and its completions.
#[derive(Clone, Copy)]
pub struct Work {
    number: u32,
    pub ring: Ring,
    pub reports: Ring,
    /// Completions may be compressed.
    pub compresses: bool,
}

fn load(region: &Region) -> Vec<u8> {
    region.bytes().iter().map(|byte| byte.load(Ordering::Acquire)).collect()
}

/// The last byte is stored last.
fn store(region: &Region, bytes: &[u8]) {
    region.bytes().iter().zip(bytes).for_each(|(to, &byte)| to.store(byte, Ordering::Release));
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Does what the entry `slot` of the command queue asks for, and answers.
pub fn serve(card: &Card, place: u64, slot: u64) {
    let entry = card.memory(place + ENTRY * slot, ENTRY as usize);
    let asked = load(&entry);
    let mut input = asked[0x10..0x20].to_vec();
    for mailbox in chain(card, long(&asked, 0x08), word(&asked, 0x04) as usize) {
        input.extend(load(&mailbox.part(0, DATA)));
    }
    let len = word(&asked, 0x38) as usize;
    let mut output = vec![0; len.max(0x2000)];
    let grants = card.silicon().grants;
    answer(&mut card.silicon().told(), grants, &input, &mut output);
    for (mailbox, part) in chain(card, long(&asked, 0x30), len).iter().zip(output[16..].chunks(DATA)) {
        store(mailbox, part);
    }
    let mut done = asked;
    done[0x20..0x30].copy_from_slice(&output[..16]);
    done[0x3f] = 0;
    store(&entry, &done);
}

/// The mailboxes for what of `len` bytes is not in the entry itself.
fn chain(card: &Card, first: u64, len: usize) -> Vec<Region> {
    const NEXT: usize = 0x230;
    let (mut next, mut boxes) = (first, Vec::new());
    while next != 0 && 16 + boxes.len() * DATA < len {
        let mailbox = card.memory(next, 0x240);
        next = long(&load(&mailbox.part(NEXT, 8)), 0);
        boxes.push(mailbox);
    }
    boxes
}

/// What a command does, and what is said to it. Nothing is refused.
fn answer(told: &mut Told, grants: Grants, input: &[u8], output: &mut [u8]) {
    let (command, modifier) = (half(input, 0), half(input, 6));
    told.asked.push(command);
    let mut put = |at: usize, value: u32| output[at..at + 4].copy_from_slice(&value.to_be_bytes());
    let mut number = || {
        told.numbers += 1;
        told.numbers
    };
    match command {
        // ENABLE_HCA: nothing of what was before counts any more.
        0x104 => *told = Told::default(),
        // QUERY_ISSI: the first.
        0x10a => put(0x6c, 1 << 1),
        // QUERY_PAGES
        0x107 => put(0x0c, 2),
        // MANAGE_PAGES: given, and taken back.
        0x108 if modifier == 1 => {
            told.pages.extend((0..word(input, 0x0c) as usize).map(|n| long(input, 0x10 + 8 * n)));
        }
        0x108 => {
            let count = told.pages.len().min(word(input, 0x0c) as usize);
            put(0x08, count as u32);
            for (n, page) in told.pages.drain(..count).enumerate() {
                put(0x10 + 8 * n, (page >> 32) as u32);
                put(0x14 + 8 * n, page as u32);
            }
        }
        // QUERY_HCA_CAP, by kind.
        0x100 => capabilities(modifier >> 1, grants).iter().for_each(|&(at, value)| put(0x10 + at, value)),
        // ALLOC_UAR: behind the segment.
        0x802 => {
            put(0x08, 0x10 + told.uars);
            told.uars += 1;
        }
        // QUERY_VPORT_STATE: up.
        0x750 => put(0x0c, 1),
        // QUERY_NIC_VPORT_CONTEXT: an address.
        0x754 => [(0x104, 0x000f), (0x108, 0x5301_0203)].into_iter().for_each(|(at, value)| put(at, value)),
        // ACCESS_REGISTER: how long frames may be, and 25 Gbit/s.
        0x805 => match half(input, 0x0a) {
            0x5003 => [(0x14, 10_000 << 16), (0x1c, 10_000 << 16)].into_iter().for_each(|(at, value)| put(at, value)),
            0x5004 => put(0x34, 1 << 27),
            _ => {}
        },
        // CREATE_CQ
        0x400 => {
            let made = number();
            put(0x08, made);
            let len = 64 << (word(input, 0x1c) >> 24 & 0x1f);
            let ring = Ring { iova: long(input, 0x110), len, record: long(input, 0x48) };
            told.completions.insert(made, (ring, input[0x12] & 0x40 != 0));
        }
        // CREATE_SQ, CREATE_RQ
        0x904 | 0x908 => {
            let made = number();
            put(0x08, made);
            let shape = word(input, 0x70);
            let len = 1 << ((shape >> 16 & 0xf) + (shape & 0x1f));
            let ring = Ring { iova: long(input, 0x110), len, record: long(input, 0x60) };
            let (reports, compresses) = told.completions[&word(input, 0x28)];
            let kind = if command == 0x908 { RECEIVE } else { TRANSMIT };
            told.queues[kind].get_or_insert(Work { number: made, ring, reports, compresses });
        }
        // MODIFY_SQ, MODIFY_RQ: to RDY.
        0x905 | 0x909 if word(input, 0x20) >> 20 & 0xf == 1 => {
            let kind = if command == 0x909 { RECEIVE } else { TRANSMIT };
            let first = told.queues[kind].is_some_and(|work| work.number == word(input, 0x08) & 0xff_ffff);
            told.starts[kind] += u32::from(first);
        }
        // QUERY_SQ, QUERY_RQ: RDY.
        0x907 | 0x90b => put(0x20, 1 << 20),
        // Keys, event queues, domains, counters, places, tables, groups.
        0x200 | 0x301 | 0x771 | 0x800 | 0x816 | 0x900 | 0x912 | 0x916 | 0x930 | 0x933 => put(0x08, number()),
        _ => {}
    }
}

/// What the card can do, of one kind: words by where they are.
fn capabilities(kind: u16, grants: Grants) -> Vec<(usize, u32)> {
    match kind {
        // Of the function.
        0 => vec![
            (0x18, 22 << 16),
            (0x1c, 22 << 24 | 8),
            (0x34, 1 << 25 | 1 << 8),
            (0x40, 1 << 3),
            (0x44, 1 << 31),
            (0x70, 9 << 8),
            (0x74, 9 << 24 | 4 << 16),
            (0x78, 15),
            (0x9c, 78_125),
            (0xb4, u32::from(grants.compression)),
        ],
        // Of Ethernet: checksums, tags, what must be inline, several frames in an entry.
        1 => {
            let inline = if grants.headers_inline { 0 } else { 1 << 24 | 2 << 12 };
            vec![(0x00, 3 << 30 | inline | 9 << 8 | u32::from(grants.multi) << 5)]
        }
        // Of tables of flows.
        7 => vec![(0x40, 1 << 31 | 1 << 27), (0x44, 16 << 24 | 0xff)],
        _ => Vec::new(),
    }
}
