//! The firmware driven by hand: commands as bytes, as they go over the bus.

use super::plane::be;
use crate::dma::{Addressing, Arena, Region};
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::pci::{Bar, Function};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod function;
mod health;
mod pages;
mod port;
mod recording;
mod transport;
mod vport;

/// Commands.
const QUERY_HCA_CAP: u16 = 0x100;
const INIT_HCA: u16 = 0x102;
const TEARDOWN_HCA: u16 = 0x103;
const ENABLE_HCA: u16 = 0x104;
const DISABLE_HCA: u16 = 0x105;
const QUERY_PAGES: u16 = 0x107;
const MANAGE_PAGES: u16 = 0x108;
const SET_HCA_CAP: u16 = 0x109;
const QUERY_ISSI: u16 = 0x10a;
const SET_ISSI: u16 = 0x10b;
const CREATE_EQ: u16 = 0x301;
const DESTROY_EQ: u16 = 0x302;
const QUERY_VPORT_STATE: u16 = 0x750;
const QUERY_VPORT: u16 = 0x754;
const MODIFY_VPORT: u16 = 0x755;
const ALLOC_Q_COUNTER: u16 = 0x771;
const ALLOC_PD: u16 = 0x800;
const ALLOC_UAR: u16 = 0x802;
const ACCESS_REGISTER: u16 = 0x805;
const ALLOC_TD: u16 = 0x816;
const CREATE_FLOW_TABLE: u16 = 0x930;

/// Statuses.
const INTERNAL: u8 = 1;
const BAD_OPERATION: u8 = 2;
const BAD_PARAMETER: u8 = 3;
const BAD_SYSTEM_STATE: u8 = 4;
const EXCEEDS_LIMIT: u8 = 8;
const BAD_RESOURCE_STATE: u8 = 9;
const NO_RESOURCES: u8 = 0xf;
const BAD_INPUT_LENGTH: u8 = 0x50;

/// Where things are in the arena: the queue, an event queue, mailboxes by slot, those of
/// a command that needs many, and what `page` gives.
const QUEUE: usize = 0x1000;
const EVENTS: usize = 0x2000;
const MAILBOXES: usize = 0x10_0000;
const PER_SLOT: usize = 0x1_0000;
const MANY: usize = 0x40_0000;
const FIRST_PAGE: usize = 0x80_0000;
/// Bytes from one mailbox to the next.
const BLOCK: usize = 1024;

const MICROSECOND: u64 = 1_000_000;
const MILLISECOND: u64 = 1000 * MICROSECOND;
const SECOND: u64 = 1000 * MILLISECOND;

/// An answer, or its status.
type Answer = Result<Vec<u8>, u8>;

/// What came back of a command.
struct Completion {
    /// All bytes of the entry.
    entry: Vec<u8>,
    delivery: u8,
    /// The answer, with what was in its mailboxes.
    bytes: Vec<u8>,
}

/// A card, and a driver that writes what a test tells it to.
struct Bench {
    engine: Engine,
    function: Arc<dyn Function>,
    bar: Bar,
    tap: Tap,
    arena: Arc<Arena>,
    token: Cell<u8>,
    next_page: Cell<usize>,
    /// Entries of the event queue that were read.
    events: Cell<usize>,
}

impl Bench {
    /// A card that was powered on just now, and is told where its queue is.
    fn cold(spec: &str) -> Bench {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&spec.parse::<Spec>().unwrap()).unwrap();
        let size = if spec.starts_with("cx4lx") { 64 } else { 16 };
        let arena = Arena::new(size << 20, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
        function.set_bus_master(true).unwrap();
        let bar = function.bar(0).unwrap();
        let (token, next_page, events) = (Cell::new(1), Cell::new(FIRST_PAGE), Cell::new(0));
        let bench = Bench { engine, function, bar, tap, arena, token, next_page, events };
        bench.place_queue();
        bench
    }

    fn place_queue(&self) {
        let at = self.arena.iova(QUEUE);
        self.write(0x10, (at >> 32) as u32);
        self.write(0x14, at as u32);
    }

    /// A card that is ready for commands.
    fn ready(spec: &str) -> Bench {
        let bench = Bench::cold(spec);
        bench.settle();
        bench
    }

    /// Waits until it has initialised.
    fn settle(&self) {
        for _ in 0..200 {
            if self.read(0x1fc) >> 31 == 0 {
                return;
            }
            self.run(10 * MILLISECOND);
        }
        panic!("it still initialises");
    }

    /// A card with an interface that was chosen, and the pages that it starts with.
    fn booted(spec: &str) -> Bench {
        let bench = Bench::ready(spec);
        bench.boot();
        bench
    }

    fn boot(&self) {
        self.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
        self.must(SET_ISSI, 0, &[(8, 1)], 0x10, 0x10);
        self.give_all(1);
    }

    /// A card whose driver is at work.
    fn running(spec: &str) -> Bench {
        let bench = Bench::booted(spec);
        bench.init();
        bench
    }

    fn init(&self) {
        self.give_all(2);
        self.must(INIT_HCA, 0, &[], 0x10, 0x10);
    }

    fn read(&self, at: u64) -> u32 {
        self.bar.read32(at).swap_bytes()
    }

    fn write(&self, at: u64, value: u32) {
        self.bar.write32(at, value.swap_bytes());
    }

    /// Lets virtual time pass, most of it in a jump.
    fn run(&self, picos: u64) {
        let step = (picos / 100).max(MICROSECOND);
        for _ in 0..(picos / step).min(100) {
            self.engine.advance(step);
            self.engine.step();
        }
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let region = Region::new(&self.arena, at, len.next_multiple_of(8));
        region.bytes()[..len].iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let region = Region::new(&self.arena, at, bytes.len().next_multiple_of(8));
        region.bytes().iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    }

    /// Pages that nothing else uses: where they are for the card.
    fn pages(&self, count: usize) -> Vec<u64> {
        let at = self.next_page.get();
        self.next_page.set(at + 4096 * count);
        (0..count).map(|n| self.arena.iova(at + 4096 * n)).collect()
    }

    /// A chain for `len` bytes of which these are the first; where it begins.
    fn chain(&self, at: usize, data: &[u8], len: usize, token: u8) -> u64 {
        let count = len.saturating_sub(16).div_ceil(512);
        for n in 0..count {
            let mut block = vec![0; 0x240];
            let part = data.get(512 * n..).unwrap_or_default();
            let part = &part[..part.len().min(512)];
            block[..part.len()].copy_from_slice(part);
            let next = if n + 1 < count { self.arena.iova(at + BLOCK * (n + 1)) } else { 0 };
            block[0x230..0x238].copy_from_slice(&next.to_be_bytes());
            block[0x238..0x23c].copy_from_slice(&(n as u32).to_be_bytes());
            block[0x23d..0x240].copy_from_slice(&[token, 0x55, 0xaa]);
            self.put(at + BLOCK * n, &block);
        }
        if count == 0 { 0 } else { self.arena.iova(at) }
    }

    /// Where the chains of a slot are: for a request of this length, and for its answer.
    fn chains(slot: usize, len: usize) -> (usize, usize) {
        let at = MAILBOXES + PER_SLOT * slot;
        (if len > 16 + 32 * 512 { MANY } else { at }, at + PER_SLOT / 2)
    }

    /// An entry for a request, whose mailboxes are filled.
    fn entry(&self, slot: usize, request: &[u8], room: usize) -> [u8; 64] {
        let token = self.token.get();
        self.token.set(token.wrapping_add(1).max(1));
        let (to, from) = Bench::chains(slot, request.len());
        let input = self.chain(to, request.get(16..).unwrap_or_default(), request.len(), token);
        let output = self.chain(from, &[], room, token);
        let mut entry = [0; 64];
        entry[0] = 7;
        entry[4..8].copy_from_slice(&(request.len() as u32).to_be_bytes());
        entry[8..16].copy_from_slice(&input.to_be_bytes());
        let inline = request.len().min(16);
        entry[16..16 + inline].copy_from_slice(&request[..inline]);
        entry[0x30..0x38].copy_from_slice(&output.to_be_bytes());
        entry[0x38..0x3c].copy_from_slice(&(room as u32).to_be_bytes());
        (entry[0x3c], entry[0x3f]) = (token, 1);
        entry[0x3d] = !entry.iter().fold(0, |sum, byte| sum ^ byte);
        entry
    }

    /// Posts an entry as it is.
    fn post(&self, slot: usize, entry: &[u8; 64]) {
        self.put(QUEUE + 64 * slot, entry);
        self.write(0x18, 1 << slot);
    }

    /// Starts a request.
    fn start(&self, slot: usize, request: &[u8], room: usize) {
        let entry = self.entry(slot, request, room);
        self.post(slot, &entry);
    }

    /// Waits until a slot is the driver's again.
    fn wait(&self, slot: usize, picos: u64) -> Option<Completion> {
        let end = self.engine.now() + picos;
        loop {
            let entry = self.bytes(QUEUE + 64 * slot, 64);
            if entry[0x3f] & 1 == 0 {
                let room = be::u32_at(&entry, 0x38) as usize;
                let (_, from) = Bench::chains(slot, 0);
                let mut bytes = entry[0x20..0x30].to_vec();
                for block in 0..room.saturating_sub(16).div_ceil(512) {
                    bytes.extend(self.bytes(from + BLOCK * block, 512));
                }
                bytes.truncate(room.max(16));
                return Some(Completion { delivery: entry[0x3f] >> 1, entry, bytes });
            }
            if self.engine.now() >= end {
                return None;
            }
            self.function.wait(Duration::from_micros(20));
            self.engine.step();
        }
    }

    /// What comes of a request, if something does.
    fn send(&self, request: &[u8], room: usize) -> Option<Answer> {
        self.start(0, request, room);
        let completion = self.wait(0, 25 * SECOND)?;
        assert_eq!(completion.delivery, 0, "it did not arrive");
        let status = completion.bytes[0];
        Some(if status == 0 { Ok(completion.bytes) } else { Err(status) })
    }

    /// A command with 32-bit fields at offsets of the whole request.
    #[track_caller]
    fn command(&self, code: u16, modifier: u16, fields: &[(usize, u32)], len: usize, room: usize) -> Answer {
        let request = request(code, modifier, fields, len);
        self.send(&request, room).unwrap_or_else(|| panic!("command {code:#x} was not answered"))
    }

    #[track_caller]
    fn must(&self, code: u16, modifier: u16, fields: &[(usize, u32)], len: usize, room: usize) -> Vec<u8> {
        self.command(code, modifier, fields, len, room)
            .unwrap_or_else(|status| panic!("command {code:#x} failed: {status:#x}"))
    }

    /// A command of nothing but its header.
    #[track_caller]
    fn ask(&self, code: u16, modifier: u16) -> Answer {
        self.command(code, modifier, &[], 0x10, 0x10)
    }

    /// Pages that it wants: 1 to start, 2 to initialise, 3 in the run.
    #[track_caller]
    fn wants(&self, which: u16) -> i32 {
        be::u32_at(&self.must(QUERY_PAGES, which, &[], 0x10, 0x10), 0xc) as i32
    }

    fn give(&self, pages: &[u64]) -> Answer {
        self.send(&give(pages), 0x10).unwrap()
    }

    #[track_caller]
    fn give_all(&self, which: u16) {
        let count = self.wants(which);
        if count > 0 {
            self.give(&self.pages(count as usize)).unwrap();
        }
    }

    /// Takes pages back: which.
    #[track_caller]
    fn take(&self, count: u32) -> Vec<u64> {
        let answer = self.must(MANAGE_PAGES, 2, &[(0xc, count)], 0x10, 0x10 + 8 * count as usize);
        let taken = be::u32_at(&answer, 8) as usize;
        (0..taken).map(|n| be::u64_at(&answer, 0x10 + 8 * n)).collect()
    }

    /// Capabilities of a type: in force, or the most.
    #[track_caller]
    fn caps(&self, kind: u16, current: bool) -> Vec<u8> {
        let answer = self.must(QUERY_HCA_CAP, kind << 1 | u16::from(current), &[], 0x10, 0x1010);
        answer[0x10..].to_vec()
    }

    /// SET_HCA_CAP of the general ones.
    fn set_caps(&self, caps: &[u8]) -> Answer {
        let mut request = request(SET_HCA_CAP, 0, &[], 0x10);
        request.extend_from_slice(caps);
        self.send(&request, 0x10).unwrap()
    }

    /// A register of the port, read.
    #[track_caller]
    fn register(&self, number: u32, fields: &[(usize, u32)], bytes: usize) -> Vec<u8> {
        let answer = self.access(1, number, fields, bytes);
        answer.unwrap_or_else(|status| panic!("register {number:#x}: {status:#x}"))
    }

    /// The same, written (0) or read (1).
    fn access(&self, modifier: u16, number: u32, fields: &[(usize, u32)], bytes: usize) -> Answer {
        let mut all = vec![(8, number), (0x10, 0x0001_0000)];
        all.extend(fields.iter().map(|&(at, value)| (0x10 + at, value)));
        let answer = self.command(ACCESS_REGISTER, modifier, &all, 0x10 + bytes, 0x10 + bytes)?;
        Ok(answer[0x10..].to_vec())
    }

    /// An event queue of 64 entries for these events, which may be written over; its number.
    fn event_queue(&self, events: u64) -> u32 {
        self.event_queue_with(events, 1 << 17)
    }

    /// The same with these flags.
    fn event_queue_with(&self, events: u64, flags: u32) -> u32 {
        for n in 0..64 {
            let mut entry = [0; 64];
            entry[63] = 1;
            self.put(EVENTS + 64 * n, &entry);
        }
        self.events.set(0);
        let uar = be::id_at(&self.must(ALLOC_UAR, 0, &[], 0x10, 0x10), 8);
        let at = self.arena.iova(EVENTS);
        let place = [(0x110, (at >> 32) as u32), (0x114, at as u32)];
        let events = [(0x58, (events >> 32) as u32), (0x5c, events as u32)];
        let fields = [(0x10, flags), (0x1c, 6 << 24 | uar), events[0], events[1], place[0], place[1]];
        be::u32_at(&self.must(CREATE_EQ, 0, &fields, 0x118, 0x10), 8)
    }

    /// The next event: type, subtype, data.
    fn event(&self) -> Option<(u8, u8, Vec<u8>)> {
        let n = self.events.get();
        let entry = self.bytes(EVENTS + 64 * (n % 64), 64);
        if entry[63] & 1 != (n / 64) as u8 & 1 {
            return None;
        }
        self.events.set(n + 1);
        Some((entry[1], entry[3], entry[0x20..0x3c].to_vec()))
    }

    /// Whether the link is up.
    #[track_caller]
    fn link(&self) -> bool {
        self.must(QUERY_VPORT_STATE, 0, &[], 0x10, 0x10)[0xf] & 0xf == 1
    }

    fn violations(&self) -> Vec<String> {
        self.tap.violations().into_iter().map(|(name, _)| name).collect()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.tap.violations(), []);
    }
}

/// A request with 32-bit fields at offsets of the whole.
fn request(code: u16, modifier: u16, fields: &[(usize, u32)], len: usize) -> Vec<u8> {
    let mut request = vec![0; len.max(16)];
    request[..2].copy_from_slice(&code.to_be_bytes());
    request[6..8].copy_from_slice(&modifier.to_be_bytes());
    for (at, value) in fields {
        request[*at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    request
}

/// MANAGE_PAGES that gives these.
fn give(pages: &[u64]) -> Vec<u8> {
    let mut request = request(MANAGE_PAGES, 1, &[(0xc, pages.len() as u32)], 0x10);
    request.extend(pages.iter().flat_map(|page| page.to_be_bytes()));
    request
}
