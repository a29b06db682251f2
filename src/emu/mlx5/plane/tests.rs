//! The data plane driven by hand: requests, doorbells and entries as bytes.

use super::be::{bits, set_bits, u16_at, u32_at};
use super::*;
use crate::dma::{Addressing, Arena, Iova, Region};
use crate::emu::{Model, ModelInfo, Picos, Profile, Spec};
use crate::pci::Id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

mod crossings;
mod doorbells;
mod flames;
mod hostile;
mod queues;
mod receive;
mod refusals;
mod segments;
mod steering;
mod transmit;

const MICROSECOND: Picos = 1_000_000;
const MILLISECOND: Picos = 1000 * MICROSECOND;

/// Logarithm of the number of entries of rings here, unless a test wants others.
const LOG: u8 = 5;

/// The vport's address.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// An event or completion queue as a driver sees it.
#[derive(Clone, Copy, Debug)]
struct Queue {
    id: u32,
    /// Where it is in the arena, and its doorbell record.
    at: usize,
    record: usize,
    log: u8,
    /// The next entry to read.
    next: u32,
}

/// A work queue as a driver sees it.
#[derive(Clone, Copy, Debug)]
struct Work {
    id: u32,
    at: usize,
    record: usize,
    /// Logarithms of entries and of their size.
    log: u8,
    stride: u8,
    next: u16,
}

/// A data plane on a board, and memory.
struct Bench {
    board: Board,
    plane: Plane,
    arena: Arc<Arena>,
    free: usize,
    uar: u32,
    pd: u32,
    td: u32,
    lkey: u32,
}

/// What `Bench::start` makes.
#[derive(Clone, Copy)]
struct Set {
    eq: Queue,
    tx_cq: Queue,
    rx_cq: Queue,
    tis: u32,
    sq: Work,
    rq: Work,
    tir: u32,
    table: u32,
    group: u32,
}

/// A request: fields as the manual names them, byte offset and bits.
#[derive(Clone, Debug)]
struct Request(Vec<u8>);

impl Request {
    fn new(opcode: u32, len: usize) -> Request {
        Request(vec![0; len]).with(0, 31, 16, opcode)
    }

    fn with(mut self, at: usize, high: u32, low: u32, value: u32) -> Request {
        set_bits(&mut self.0, at, high, low, value);
        self
    }

    fn address(self, at: usize, address: Iova) -> Request {
        self.with(at, 31, 0, (address >> 32) as u32).with(at + 4, 31, 0, address as u32)
    }

    fn modifier(self, modifier: u32) -> Request {
        self.with(4, 15, 0, modifier)
    }

    fn bytes(mut self, at: usize, bytes: &[u8]) -> Request {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

fn build(_: Board) -> Box<dyn Model> {
    panic!("a board is all that is wanted")
}

const INFO: ModelInfo = ModelInfo {
    profile: Profile {
        name: "mlx5",
        id: Id { vendor: 0x15b3, device: 0x1015, subsystem_vendor: 0x15b3, subsystem: 3, revision: 0 },
        bars: [0; 6],
        io: (0, 0),
        vectors: 16,
        msix: (0, 0x2000, 0x3000),
        speed: 25_000_000_000,
    },
    text: "",
    queues: 16,
    faults: &[],
    oui: [0x0c, 0x42, 0xa1],
    link_delay: 0,
    build,
};

impl Bench {
    /// A plane with a link, on a loop unless `options` say otherwise.
    fn new(options: &str) -> Bench {
        let spec: Spec = format!("mlx5{options}").parse().unwrap();
        let wire = spec.open_wire(&mut crate::emu::wire::Patch::default()).unwrap();
        let mut board = Board::new(&INFO, &spec, wire);
        let arena = Arena::new(32 << 20, Addressing::Translated).unwrap();
        board.bus.memory.map_arena(&arena).unwrap();
        board.bus.memory.set_bus_master(true);
        board.bus.interrupts.control(true, false);
        (0..16).for_each(|vector| board.bus.interrupts.mask(vector, false));
        board.factory = OWN;
        let mut plane = Plane::new(Limits::CX4LX, &mut board);
        plane.set_link(true);
        plane.vport.promiscuous[2] = true;
        let (uar, pd, td) = (
            plane.alloc_uar(&mut board).unwrap(),
            plane.alloc_pd(&mut board).unwrap(),
            plane.alloc_td(&mut board).unwrap(),
        );
        let mut bench = Bench { board, plane, arena, free: 4096, uar, pd, td, lkey: 0 };
        bench.lkey = bench.mkey(|request| request) << 8 | 0x5a;
        bench
    }

    /// A key of all memory, with variant 0x5a.
    fn mkey(&mut self, with: impl FnOnce(Request) -> Request) -> u32 {
        let request = Request::new(0x200, 0x110).with(0x10, 11, 10, 3).with(0x14, 31, 0, 0xffff_ff5a);
        let request = with(request.with(0x1c, 31, 31, 1).with(0x1c, 23, 0, self.pd));
        self.made(&request)
    }

    /// Zeroed memory of our own.
    fn take(&mut self, len: usize) -> usize {
        let at = self.free;
        self.free += len.next_multiple_of(4096);
        at
    }

    fn iova(&self, at: usize) -> Iova {
        self.arena.iova(at)
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let region = Region::new(&self.arena, at & !7, len.next_multiple_of(8) + 8);
        region.bytes()[at & 7..][..len].iter().map(|b| b.load(Ordering::Relaxed)).collect()
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let region = Region::new(&self.arena, at & !7, bytes.len().next_multiple_of(8) + 8);
        let to: &[AtomicU8] = &region.bytes()[at & 7..];
        to.iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    }

    fn put_words(&self, at: usize, words: &[u32]) {
        self.put(at, &words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
    }

    /// Lets time pass.
    fn run(&mut self, picos: Picos) {
        let end = self.board.now + picos;
        while self.board.now < end {
            self.board.now = (self.board.now + MICROSECOND).min(end);
            let now = self.board.now;
            self.board.port.mac.tick(now);
            self.plane.step(&mut self.board);
        }
    }

    /// What a command comes to.
    fn command(&mut self, request: &Request) -> Outcome<Vec<u8>> {
        self.plane.command(&mut self.board, &request.0).expect("a command of the data plane")
    }

    /// The number that a command gives.
    #[track_caller]
    fn made(&mut self, request: &Request) -> u32 {
        u32_at(&self.command(request).unwrap(), 0x08)
    }

    #[track_caller]
    fn done(&mut self, request: &Request) {
        self.command(request).unwrap();
    }

    /// A command with an object's number alone.
    fn on(&mut self, opcode: u32, id: u32) -> Outcome<Vec<u8>> {
        self.command(&Request::new(opcode, 0x10).with(0x08, 23, 0, id))
    }

    /// Memory for a ring in pages of 4 KiB, all of whose bytes are 0xff.
    fn pages(&mut self, request: Request, len: usize) -> (usize, Request) {
        let at = self.take(len);
        self.put(at, &vec![0xff; len]);
        let mut request = request;
        for n in 0..len.div_ceil(4096) {
            request = request.address(0x110 + 8 * n, self.iova(at) + 4096 * n as u64);
        }
        (at, request)
    }

    fn eq_request(&mut self, log: u8, vector: u16, events: u64) -> (usize, Request) {
        let request = Request::new(0x301, 0x110 + 8 * 64);
        let (at, request) = self.pages(request, 64 << log);
        let request = request.with(0x1c, 28, 24, log.into()).with(0x1c, 23, 0, self.uar);
        (at, request.with(0x24, 11, 0, vector.into()).address(0x58, events))
    }

    fn eq(&mut self, log: u8, vector: u16, events: u64) -> Queue {
        let (at, request) = self.eq_request(log, vector, events);
        Queue { id: self.made(&request), at, record: 0, log, next: 0 }
    }

    fn cq_request(&mut self, log: u8, eq: Queue) -> (usize, usize, Request) {
        let record = self.take(8);
        let (at, request) = self.pages(Request::new(0x400, 0x110 + 8 * 64), 64 << log);
        let request = request.with(0x1c, 28, 24, log.into()).with(0x1c, 23, 0, self.uar);
        (at, record, request.with(0x24, 7, 0, eq.id).address(0x48, self.iova(record)))
    }

    fn cq(&mut self, log: u8, eq: Queue) -> Queue {
        self.cq_with(log, eq, |request| request)
    }

    #[track_caller]
    fn cq_with(&mut self, log: u8, eq: Queue, with: impl FnOnce(Request) -> Request) -> Queue {
        let (at, record, request) = self.cq_request(log, eq);
        Queue { id: self.made(&with(request)), at, record, log, next: 0 }
    }

    fn tis(&mut self) -> u32 {
        let request = Request::new(0x912, 0xc0).with(0x44, 23, 0, self.td).with(0x4c, 23, 0, self.pd);
        self.made(&request)
    }

    /// The ring of a work queue.
    fn wq(&mut self, request: Request, kind: u32, log: u8, stride: u8) -> (usize, usize, Request) {
        let record = self.take(8);
        let (at, request) = self.pages(request, 1 << (log + stride));
        let request = request.with(0x50, 31, 28, kind).with(0x58, 23, 0, self.pd).with(0x5c, 23, 0, self.uar);
        let request = request.with(0x70, 19, 16, stride.into()).with(0x70, 4, 0, log.into());
        (at, record, request.address(0x60, self.iova(record)))
    }

    /// With flush_in_error_en.
    fn sq_request(&mut self, cq: Queue, tis: u32) -> (usize, usize, Request) {
        let request = Request::new(0x904, 0x110 + 8 * 64);
        let (at, record, request) = self.wq(request, 1, LOG, 6);
        let request = request.with(0x20, 28, 28, 1).with(0x24, 23, 0, 0x77).with(0x28, 23, 0, cq.id);
        (at, record, request.with(0x40, 31, 16, 1).with(0x4c, 23, 0, tis))
    }

    fn sq(&mut self, cq: Queue, tis: u32, with: impl FnOnce(Request) -> Request) -> Work {
        let (at, record, request) = self.sq_request(cq, tis);
        let id = self.made(&with(request));
        self.ready(0x905, id);
        Work { id, at, record, log: LOG, stride: 6, next: 0 }
    }

    /// With flush_in_error_en, and tags left in frames.
    fn rq_request(&mut self, cq: Queue, kind: u32, log: u8, stride: u8) -> (usize, usize, Request) {
        let request = Request::new(0x908, 0x110 + 8 * 64);
        let (at, record, request) = self.wq(request, kind, log, stride);
        let request = request.with(0x20, 28, 28, 1).with(0x20, 18, 18, 1);
        (at, record, request.with(0x24, 23, 0, 0x99).with(0x28, 23, 0, cq.id))
    }

    fn rq(&mut self, cq: Queue, with: impl FnOnce(Request) -> Request) -> Work {
        self.rq_of(cq, 1, LOG, 4, with)
    }

    fn rq_of(&mut self, cq: Queue, kind: u32, log: u8, stride: u8, with: impl FnOnce(Request) -> Request) -> Work {
        let (at, record, request) = self.rq_request(cq, kind, log, stride);
        let id = self.made(&with(request));
        self.ready(0x909, id);
        Work { id, at, record, log, stride, next: 0 }
    }

    /// MODIFY_SQ and MODIFY_RQ.
    fn change(&mut self, opcode: u32, id: u32, from: u32, to: u32) -> Outcome<Vec<u8>> {
        let request = Request::new(opcode, 0x110).with(0x08, 31, 28, from).with(0x08, 23, 0, id);
        self.command(&request.with(0x20, 23, 20, to))
    }

    #[track_caller]
    fn ready(&mut self, opcode: u32, id: u32) {
        self.change(opcode, id, 0, 1).unwrap();
    }

    /// A queue's state.
    fn state(&mut self, opcode: u32, id: u32) -> u32 {
        bits(&self.on(opcode, id).unwrap(), 0x20, 23, 20)
    }

    fn tir_request(&self, rqn: u32) -> Request {
        Request::new(0x900, 0x110).with(0x3c, 23, 0, rqn).with(0x44, 23, 0, self.td)
    }

    fn table_request(&self, level: u32) -> Request {
        Request::new(0x930, 0x40).with(0x18, 23, 16, level).with(0x18, 7, 0, 4)
    }

    fn table(&mut self, level: u32) -> u32 {
        self.made(&self.table_request(level))
    }

    fn group_request(table: u32, first: u32, last: u32, mask: &[(usize, u32)]) -> Request {
        let request = Request::new(0x933, 0x400).with(0x14, 23, 0, table).with(0x1c, 31, 0, first);
        let request = request.with(0x24, 31, 0, last).with(0x3c, 7, 0, u32::from(!mask.is_empty()));
        mask.iter().fold(request, |request, (at, word)| request.with(0x40 + at, 31, 0, *word))
    }

    fn group(&mut self, table: u32, first: u32, last: u32, mask: &[(usize, u32)]) -> u32 {
        self.made(&Self::group_request(table, first, last, mask))
    }

    /// To a TIR (2) or a table (1).
    fn entry_request(table: u32, group: u32, index: u32, to: (u32, u32), value: &[(usize, u32)]) -> Request {
        let request = Request::new(0x936, 0x340 + 8).with(0x14, 23, 0, table).with(0x20, 31, 0, index);
        let request = request.with(0x44, 31, 0, group).with(0x4c, 15, 0, 4).with(0x50, 23, 0, 1);
        let request = request.with(0x340, 31, 24, to.0).with(0x340, 23, 0, to.1);
        value.iter().fold(request, |request, (at, word)| request.with(0x80 + at, 31, 0, *word))
    }

    fn entry(&mut self, table: u32, group: u32, index: u32, to: (u32, u32), value: &[(usize, u32)]) {
        self.done(&Self::entry_request(table, group, index, to, value));
    }

    fn root(&mut self, table: u32) {
        self.done(&Request::new(0x92f, 0x40).with(0x14, 23, 0, table));
    }

    /// One queue of each kind, buffers of 2048 bytes, and everything received.
    fn start(&mut self) -> Set {
        self.start_with(|request| request, |request| request)
    }

    fn start_with(
        &mut self,
        sq_with: impl FnOnce(Request) -> Request,
        rq_with: impl FnOnce(Request) -> Request,
    ) -> Set {
        let eq = self.eq(LOG, 3, 0);
        let (tx_cq, rx_cq) = (self.cq(LOG, eq), self.cq(LOG, eq));
        let tis = self.tis();
        let sq = self.sq(tx_cq, tis, sq_with);
        let mut rq = self.rq(rx_cq, rq_with);
        self.post(&mut rq, 16, 2048);
        let tir = self.made(&self.tir_request(rq.id));
        let table = self.table(0);
        let group = self.group(table, 0, 15, &[]);
        self.entry(table, group, 0, (2, tir), &[]);
        self.root(table);
        Set { eq, tx_cq, rx_cq, tis, sq, rq, tir, table, group }
    }

    /// Posts entries of one buffer each.
    fn post(&mut self, rq: &mut Work, count: u16, size: usize) {
        for _ in 0..count {
            let buffer = self.take(size);
            let at = rq.at + (usize::from(rq.next & ((1 << rq.log) - 1)) << rq.stride);
            let iova = self.iova(buffer);
            let words = [size as u32 | 1 << 31, self.lkey, (iova >> 32) as u32, iova as u32];
            self.put_words(at, &words);
            if rq.stride > 4 {
                self.put_words(at + 16, &[0, 0x100, 0, 0]);
            }
            rq.next = rq.next.wrapping_add(1);
        }
        self.put_words(rq.record, &[rq.next.into()]);
    }

    /// Where the buffer of an entry is.
    fn buffer(&self, rq: Work, index: u16) -> usize {
        let at = rq.at + (usize::from(index & ((1 << rq.log) - 1)) << rq.stride);
        let bytes = self.bytes(at, 16);
        (super::be::u64_at(&bytes, 8) - self.arena.iova(0)) as usize
    }

    /// An entry of a send queue: control segment, and these words behind it.
    fn entry_of(sq: Work, opcode: u32, complete: u32, rest: &[u32]) -> Vec<u32> {
        let segments = 1 + rest.len().div_ceil(4) as u32;
        let mut words = vec![u32::from(sq.next) << 8 | opcode, sq.id << 8 | segments, complete << 2, 0];
        words.extend_from_slice(rest);
        words
    }

    /// The Ethernet segment with `inline` bytes of a frame, and a data segment for the
    /// rest of it.
    fn packet(&mut self, frame: &[u8], inline: usize, flags: u32, mss: u32) -> Vec<u32> {
        let mut eth = vec![0; (0x0e + inline).next_multiple_of(16).max(16)];
        set_bits(&mut eth, 4, 31, 24, flags);
        set_bits(&mut eth, 4, 15, 0, mss);
        set_bits(&mut eth, 12, 31, 16, inline as u32);
        eth[14..14 + inline].copy_from_slice(&frame[..inline]);
        let mut words: Vec<u32> = (0..eth.len() / 4).map(|n| u32_at(&eth, 4 * n)).collect();
        if inline < frame.len() {
            words.extend(self.data(&frame[inline..]));
        }
        words
    }

    /// A data segment for these bytes.
    fn data(&mut self, bytes: &[u8]) -> [u32; 4] {
        let at = self.take(bytes.len());
        self.put(at, bytes);
        let iova = self.iova(at);
        [bytes.len() as u32, self.lkey, (iova >> 32) as u32, iova as u32]
    }

    /// Puts an entry into a send queue, without telling.
    fn place(&mut self, sq: &mut Work, words: &[u32]) -> [u8; 8] {
        let mask = (1_usize << sq.log) - 1;
        for (n, block) in words.chunks(16).enumerate() {
            self.put_words(sq.at + 64 * ((usize::from(sq.next) + n) & mask), block);
        }
        sq.next = sq.next.wrapping_add(words.len().div_ceil(16) as u16);
        self.put_words(sq.record + 4, &[sq.next.into()]);
        let mut bell = [0; 8];
        bell[..4].copy_from_slice(&words[0].to_be_bytes());
        bell[4..].copy_from_slice(&words[1].to_be_bytes());
        bell
    }

    /// Puts an entry into a send queue and rings.
    fn push(&mut self, sq: &mut Work, words: &[u32]) {
        let bell = self.place(sq, words);
        self.bell(0x800, &bell);
    }

    fn bell(&mut self, at: u16, bytes: &[u8]) {
        self.plane.doorbell(&mut self.board, self.uar, at, bytes);
    }

    /// Sends a frame with 18 bytes inline, and a completion.
    fn send(&mut self, sq: &mut Work, frame: &[u8]) {
        let rest = self.packet(frame, 18.min(frame.len()), 0, 0);
        let words = Self::entry_of(*sq, 0x0a, 2, &rest);
        self.push(sq, &words);
        self.run(20 * MICROSECOND);
    }

    /// What has come in a queue since the last look.
    fn poll(&self, queue: &mut Queue) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        let size = 1 << queue.log;
        while entries.len() < size as usize {
            let entry = self.bytes(queue.at + 64 * (queue.next % size) as usize, 64);
            if entry[63] & 1 != u8::from(queue.next & size != 0) || entry[63] >> 4 == 0xf {
                break;
            }
            entries.push(entry);
            queue.next += 1;
        }
        entries
    }

    /// Polls a completion queue, and says so in its record.
    fn read(&mut self, queue: &mut Queue) -> Vec<Vec<u8>> {
        let entries = self.poll(queue);
        self.put_words(queue.record, &[queue.next & 0xff_ffff]);
        entries
    }

    fn arm(&mut self, cq: Queue, sequence: u32) {
        let word = sequence << 28 | cq.next & 0xff_ffff;
        self.put_words(cq.record + 4, &[word]);
        self.bell(0x20, &[word.to_be_bytes(), cq.id.to_be_bytes()].concat());
    }

    fn arm_eq(&mut self, eq: Queue) {
        self.bell(0x40, &(eq.id << 24 | eq.next & 0xff_ffff).to_be_bytes());
    }

    fn sent(&self, vector: u16) -> u64 {
        self.board.bus.interrupts.sent(vector)
    }

    fn violations(&self) -> Vec<String> {
        let own = self.board.violations.iter().map(|(name, _)| name.to_string());
        let memory = self.board.bus.memory.violations();
        own.chain(memory.iter().map(|(name, _)| name.to_string())).collect()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.violations(), [""; 0]);
    }

    #[track_caller]
    fn assert_violated(&self, rule: &str) {
        assert!(self.violations().iter().any(|name| name.contains(rule)), "{:?}", self.violations());
    }
}

/// Opcode of an entry of a completion queue, and its syndrome if it is an error.
fn verdict(entry: &[u8]) -> (u8, u8) {
    let opcode = entry[63] >> 4;
    (opcode, if opcode >= 0xd { entry[0x37] } else { 0 })
}

/// A frame of `len` bytes to and from made-up addresses, EtherType 0x88b5.
fn frame(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// A UDP datagram over IPv4 to this address and port.
fn udp(to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 9]);
    builder.ipv4([10, 0, 0, 1], to, 9).udp(4000, port).write(&mut frame, payload).unwrap();
    frame
}
