//! The firmware driven by hand: commands as bytes, as they go over the bus.

use crate::dma::{Addressing, Arena, Region};
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::pci::{Bar, Function};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod function;
mod golden;
mod health;
mod link;
mod store;
mod time;
mod transport;

/// Commands.
const VER_GET: u16 = 0x00;
const IF_CHANGE: u16 = 0x0d;
const FUNC_RESET: u16 = 0x11;
const FUNC_QCAPS: u16 = 0x15;
const FUNC_QCFG: u16 = 0x16;
const FUNC_CFG: u16 = 0x17;
const UNRGTR: u16 = 0x1a;
const RGTR: u16 = 0x1d;
const PHY_CFG: u16 = 0x20;
const MAC_CFG: u16 = 0x21;
const TS_QUERY: u16 = 0x22;
const PHY_QCFG: u16 = 0x27;
const PHY_QCAPS: u16 = 0x2a;
const QPORTCFG: u16 = 0x30;
const VNIC_ALLOC: u16 = 0x40;
const VNIC_CFG: u16 = 0x42;
const RING_ALLOC: u16 = 0x50;
const RING_FREE: u16 = 0x51;
const GRP_ALLOC: u16 = 0x60;
const L2_FILTER_ALLOC: u16 = 0x90;
const RX_MASK: u16 = 0x93;
const STAT_ALLOC: u16 = 0xb0;
const RESOURCE_QCAPS: u16 = 0x190;
const STORE_QCAPS: u16 = 0x192;
const STORE_CFG: u16 = 0x193;

/// Errors.
const FAIL: u16 = 1;
const INVALID: u16 = 2;
const DENIED: u16 = 3;
const ALLOC: u16 = 4;
const UNSUPPORTED: u16 = 9;
const BUSY: u16 = 0x10;
const UNKNOWN: u16 = 0xffff;

/// Where things are in the arena: the request and the answer, then what `page` gives.
const REQUEST: usize = 0x1000;
const ANSWER: usize = 0x2000;
const FIRST_PAGE: usize = 0x1_0000;

const MILLISECOND: u64 = 1_000_000_000;

/// An answer with its header, or its error.
type Answer = Result<Vec<u8>, u16>;

/// A card, and a driver that writes what a test tells it to.
struct Bench {
    engine: Engine,
    function: Arc<dyn Function>,
    bar: Bar,
    tap: Tap,
    arena: Arc<Arena>,
    /// Requests go by way of memory.
    short: bool,
    seq: u16,
    next_page: Cell<usize>,
}

impl Bench {
    /// A card that nobody has spoken to, and that is up.
    fn bare(spec: &str) -> Bench {
        let bench = Bench::cold(spec);
        bench.run(2000 * MILLISECOND);
        bench
    }

    /// A card that was powered on just now.
    fn cold(spec: &str) -> Bench {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&spec.parse::<Spec>().unwrap()).unwrap();
        let arena = Arena::new(16 << 20, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
        function.set_bus_master(true).unwrap();
        let bar = function.bar(0).unwrap();
        let short = spec.starts_with("bcm575") || spec.starts_with("bcm588");
        Bench { engine, function, bar, tap, arena, short, seq: 11, next_page: Cell::new(FIRST_PAGE) }
    }

    /// A card with a driver that has registered for these events, and taken its
    /// interface up.
    fn registered(spec: &str, events: u32) -> Bench {
        let mut bench = Bench::bare(spec);
        bench.must(VER_GET, &[], 24);
        bench.must(FUNC_RESET, &[], 24);
        bench.register(events);
        bench
    }

    fn register(&mut self, events: u32) {
        self.must(RGTR, &[(0x10, &4u32.to_le_bytes()), (0x14, &[0x10]), (0x48, &events.to_le_bytes())], 112);
        self.must(IF_CHANGE, &[(0x10, &[1])], 24);
    }

    /// Lets virtual time pass, most of it in a jump.
    fn run(&self, picos: u64) {
        let step = (picos / 100).max(1_000_000);
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
        let region = Region::new(&self.arena, at & !7, bytes.len() + 8);
        region.bytes()[at & 7..].iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    }

    /// Pages of zeroes that nothing else uses: where they begin in the arena.
    fn pages(&self, count: usize) -> usize {
        let at = self.next_page.get();
        self.next_page.set(at + 4096 * count);
        self.put(at, &vec![0; 4096 * count - 8]);
        at
    }

    /// Where such pages are for the card.
    fn memory(&self, count: usize) -> u64 {
        self.arena.iova(self.pages(count))
    }

    /// The same by way of a table of them, each entry with these bits.
    fn table(&self, count: usize, flags: u64) -> u64 {
        let (table, pages) = (self.pages(1), self.pages(count));
        let entries = (0..count).flat_map(|n| (self.arena.iova(pages + 4096 * n) | flags).to_le_bytes());
        self.put(table, &entries.collect::<Vec<u8>>());
        self.arena.iova(table)
    }

    /// A request: its header, and fields at offsets of the whole.
    fn request(&mut self, code: u16, fields: &[(usize, &[u8])], len: usize) -> Vec<u8> {
        self.seq = self.seq.wrapping_add(1);
        let mut request = vec![0; len.max(16)];
        let header = [code, 0xffff, self.seq, 0xffff].map(u16::to_le_bytes).concat();
        request[..8].copy_from_slice(&header);
        request[8..16].copy_from_slice(&self.arena.iova(ANSWER).to_le_bytes());
        for (at, field) in fields {
            request[*at..*at + field.len()].copy_from_slice(field);
        }
        request
    }

    fn is_p5(&self) -> bool {
        self.function.id().device & 0xfff0 == 0x1750
    }

    /// Starts a request, by way of the window or of memory.
    fn start(&self, request: &[u8]) {
        self.put(ANSWER, &[0; 1024]);
        let code = u16::from_le_bytes([request[0], request[1]]);
        if request.len() > 128 || self.short && code != VER_GET {
            self.put(REQUEST, request);
            let size = (request.len() as u16).to_le_bytes();
            let address = self.arena.iova(REQUEST).to_le_bytes();
            let short = [&request[..2], &[0x21, 0x43, 0xff, 0xff], &size, &address].concat();
            self.window(&short);
        } else {
            self.window(request);
        }
        self.bar.write32(0x100, 1);
    }

    fn window(&self, bytes: &[u8]) {
        for (n, word) in bytes.chunks(4).enumerate() {
            let mut whole = [0; 4];
            whole[..word.len()].copy_from_slice(word);
            self.bar.write32(4 * n as u64, u32::from_le_bytes(whole));
        }
    }

    /// Waits until an answer with this sequence number is valid.
    fn wait(&self, seq: u16, picos: u64) -> Option<Vec<u8>> {
        let end = self.engine.now() + picos;
        while self.engine.now() < end {
            let header = self.bytes(ANSWER, 8);
            let len = usize::from(u16_at(&header, 6));
            if len > 0 && u16_at(&header, 4) == seq {
                let answer = self.bytes(ANSWER, len);
                if answer[len - 1] == 1 {
                    return Some(answer);
                }
            }
            self.function.wait(Duration::from_micros(20));
            self.engine.step();
        }
        None
    }

    /// What comes of a request.
    fn send(&self, request: &[u8]) -> Option<Answer> {
        self.start(request);
        let answer = self.wait(u16_at(request, 4), 5000 * MILLISECOND)?;
        assert_eq!(u16_at(&answer, 2), u16_at(request, 0), "an answer to another command");
        let error = u16_at(&answer, 0);
        Some(if error == 0 { Ok(answer) } else { Err(error) })
    }

    #[track_caller]
    fn command(&mut self, code: u16, fields: &[(usize, &[u8])], len: usize) -> Answer {
        let request = self.request(code, fields, len);
        self.send(&request).unwrap_or_else(|| panic!("command {code:#x} was not answered"))
    }

    #[track_caller]
    fn must(&mut self, code: u16, fields: &[(usize, &[u8])], len: usize) -> Vec<u8> {
        self.command(code, fields, len).unwrap_or_else(|error| panic!("command {code:#x} failed: {error:#x}"))
    }

    /// A command of 24 bytes with one 16-bit field behind its header.
    fn ask(&mut self, code: u16, first: u16) -> Answer {
        self.command(code, &[(0x10, &first.to_le_bytes())], 24)
    }

    /// Whether the link is up, by PORT_PHY_QCFG.
    fn link(&mut self) -> bool {
        self.must(PHY_QCFG, &[], 24)[8] == 2
    }

    /// A statistics context, a completion queue and what P5 needs before that; their ids.
    fn queue(&mut self) -> Queue {
        let stat = self.must(STAT_ALLOC, &[], 32);
        let stat = u16_at(&stat, 8);
        let p5 = self.is_p5();
        let nq = if p5 { self.ring(5, 64, &[(0x4c, &[2])]) } else { 0 };
        let enables: &[u8] = if p5 { &[0x80] } else { &[0] };
        let cq = self.ring(0, 64, &[(0x10, enables), (0x36, &nq.to_le_bytes()), (0x4c, &[3])]);
        Queue { stat, cq }
    }

    /// A ring in pages of its own: its id.
    #[track_caller]
    fn ring(&mut self, kind: u8, length: u32, fields: &[(usize, &[u8])]) -> u16 {
        self.try_ring(kind, length, fields).unwrap_or_else(|error| panic!("ring of type {kind}: {error:#x}"))
    }

    fn try_ring(&mut self, kind: u8, length: u32, fields: &[(usize, &[u8])]) -> Result<u16, u16> {
        let address = self.memory((16 * length as usize).div_ceil(4096)).to_le_bytes();
        let length = length.to_le_bytes();
        let mut all: Vec<(usize, &[u8])> = vec![(0x14, std::slice::from_ref(&kind)), (0x18, &address), (0x28, &length)];
        all.extend_from_slice(fields);
        self.command(RING_ALLOC, &all, 88).map(|answer| u16_at(&answer, 8))
    }

    /// A transmit ring of such a queue.
    fn tx(&mut self, of: &Queue, scheduler: u16) -> Result<u16, u16> {
        let (cq, queue, stat) = (of.cq.to_le_bytes(), scheduler.to_le_bytes(), u32::from(of.stat).to_le_bytes());
        self.try_ring(1, 64, &[(0x10, &[8]), (0x2e, &cq), (0x30, &queue), (0x40, &stat)])
    }

    fn violations(&self) -> Vec<String> {
        self.tap.violations().into_iter().map(|(name, _)| name).collect()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.tap.violations(), []);
    }
}

/// Ids of what a ring needs.
struct Queue {
    stat: u16,
    cq: u16,
}

/// The scheduler's queue that is for a NIC.
const LOSSY: u16 = 0;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
