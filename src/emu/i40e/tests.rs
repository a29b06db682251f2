//! The model driven by hand: offsets, commands and bytes as they stand in the
//! datasheet.

use crate::dma::{Addressing, Arena, Region};
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::pci::{Bar, Doorbell, Function};
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod admin;
mod control;
mod crossings;
mod receive;
mod transmit;

/// Descriptors in each ring here, and in each admin queue.
const RING: u32 = 64;
const ADMIN: u32 = 32;
/// Where things are in the arena: admin queues and their buffers, contexts,
/// rings of 4 queues, buffers each way.
const ATQ: usize = 0;
const ARQ: usize = 0x1000;
const COMMAND: usize = 0x2000;
const EVENTS: usize = 0x10000;
const CONTEXTS: usize = 0x40000;
const RX_RING: usize = 0x60000;
const TX_RING: usize = 0x70000;
const RX_BUFFERS: usize = 0x80000;
const TX_BUFFERS: usize = 0x200000;

const OWN: u64 = 0x80400;
const MAIN: u16 = 390;

/// What came back for a command.
#[derive(Debug)]
struct Answer {
    flags: u16,
    opcode: u16,
    length: u16,
    result: u16,
    params: [u8; 16],
    data: Vec<u8>,
}

impl Answer {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.params[at], self.params[at + 1]])
    }
}

/// A card on a wire and a driver that writes what a test tells it to.
struct Bench {
    engine: Engine,
    function: Arc<dyn Function>,
    bar: Bar,
    tap: Tap,
    arena: Arc<Arena>,
    /// Receive descriptors of 32 bytes.
    wide: bool,
    asked: u32,
    rx_next: [u32; 4],
    tx_next: [u32; 4],
    rx_bell: Vec<Doorbell>,
    tx_bell: Vec<Doorbell>,
}

impl Bench {
    /// A card that was reset and has bus mastering, memory, admin queues and a link.
    fn new(spec: &str) -> Bench {
        let bench = Bench::unlinked(spec);
        for _ in 0..100 {
            bench.run(1_000_000_000);
            if bench.read(0x1e2420) & 0x4000_0080 == 0x4000_0080 {
                return bench;
            }
        }
        panic!("no link");
    }

    fn unlinked(spec: &str) -> Bench {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&spec.parse::<Spec>().unwrap()).unwrap();
        let arena = Arena::new(4 << 20, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
        function.set_bus_master(true).unwrap();
        let bar = function.bar(0).unwrap();
        let bell = |at| bar.doorbell(at).unwrap();
        let rx_bell = (0..4).map(|q| bell(0x128000 + 4 * q)).collect();
        let tx_bell = (0..4).map(|q| bell(0x108000 + 4 * q)).collect();
        let (rx_next, tx_next) = ([0; 4], [0; 4]);
        let bench =
            Bench { engine, function, bar, tap, arena, wide: false, asked: 0, rx_next, tx_next, rx_bell, tx_bell };
        bench.reset();
        bench.open_admin();
        bench
    }

    /// PFGEN_CTRL.PFSWR, until it has cleared.
    fn reset(&self) {
        self.write(0x92400, 1);
        for _ in 0..100 {
            if self.read(0x92400) & 1 == 0 {
                return;
            }
            self.run(1_000_000_000);
        }
        panic!("the reset does not end");
    }

    /// Both admin queues, every event buffer posted.
    fn open_admin(&self) {
        for (which, ring) in [(0, ATQ), (0x80, ARQ)] {
            let base = self.arena.iova(ring);
            self.write(0x80300 + which, 0);
            self.write(0x80400 + which, 0);
            self.write(0x80200 + which, ADMIN | 1 << 31);
            self.write(0x80000 + which, base as u32);
            self.write(0x80100 + which, (base >> 32) as u32);
        }
        for n in 0..ADMIN as usize {
            self.post(n);
        }
        self.write(0x80480, ADMIN - 1);
    }

    fn post(&self, n: usize) {
        let buffer = self.arena.iova(EVENTS + 4096 * n);
        self.put_qword(ARQ + 32 * n, 0x1200 | 4096 << 32);
        self.put_qword(ARQ + 32 * n + 8, 0);
        self.put_qword(ARQ + 32 * n + 16, 0);
        self.put_qword(ARQ + 32 * n + 24, buffer.rotate_left(32));
    }

    /// Gives a command and waits for ATQH; `None` if it does not come.
    fn ask(&mut self, opcode: u16, params: [u8; 16], buffer: Option<&[u8]>, room: usize) -> Option<Answer> {
        let at = ATQ + 32 * self.asked as usize;
        let mut params = params;
        let length = buffer.map_or(room, <[u8]>::len);
        let address = self.arena.iova(COMMAND);
        let mut flags = 0x2000u16;
        if length > 0 {
            flags |= 0x1000 | if length > 512 { 0x200 } else { 0 } | if buffer.is_some() { 0x400 } else { 0 };
            params[8..12].copy_from_slice(&((address >> 32) as u32).to_le_bytes());
            params[12..].copy_from_slice(&(address as u32).to_le_bytes());
        }
        self.put(COMMAND, buffer.unwrap_or(&vec![0; length]));
        self.put_qword(at, u64::from(flags) | u64::from(opcode) << 16 | (length as u64) << 32);
        self.put_qword(at + 8, 0x1234_5678);
        self.put(at + 16, &params);
        self.asked = (self.asked + 1) % ADMIN;
        self.write(OWN, self.asked);
        for _ in 0..100 {
            if self.read(0x80300) == self.asked {
                let head = self.bytes(at, 32);
                let word = |n: usize| u16::from_le_bytes([head[2 * n], head[2 * n + 1]]);
                assert_eq!(self.qword(at + 8), 0x1234_5678, "the cookie");
                let length = usize::from(word(2)).min(4096);
                let mut params = [0; 16];
                params.copy_from_slice(&head[16..]);
                let data = self.bytes(COMMAND, length);
                return Some(Answer {
                    flags: word(0),
                    opcode: word(1),
                    length: word(2),
                    result: word(3),
                    params,
                    data,
                });
            }
            self.run(100_000_000);
        }
        None
    }

    /// A command without a buffer, of 16-bit parameters, that must succeed.
    fn tell(&mut self, opcode: u16, params: &[u16]) -> Answer {
        let mut bytes = [0; 16];
        for (to, from) in bytes.chunks_exact_mut(2).zip(params) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        let answer = self.ask(opcode, bytes, None, 0).unwrap();
        assert_eq!((answer.result, answer.flags & 7, answer.opcode), (0, 3, opcode), "{answer:?}");
        answer
    }

    /// Events that came since the queue was opened, oldest first.
    fn events(&self) -> Vec<(u16, [u8; 16])> {
        let event = |n: u32| {
            let bytes = self.bytes(ARQ + 32 * n as usize, 32);
            (u16::from_le_bytes([bytes[2], bytes[3]]), bytes[16..].try_into().unwrap())
        };
        (0..self.read(0x80380)).map(event).collect()
    }

    fn read(&self, offset: u64) -> u32 {
        self.bar.read32(offset)
    }

    /// A pair of statistics registers.
    fn wide_count(&self, offset: u64) -> u64 {
        u64::from(self.read(offset)) | u64::from(self.read(offset + 4)) << 32
    }

    fn write(&self, offset: u64, value: u32) {
        self.bar.write32(offset, value);
    }

    /// Lets virtual time pass, in steps of a microsecond and a rest.
    fn run(&self, picos: u64) {
        for _ in 0..(picos / 1_000_000).min(200) {
            self.engine.advance(1_000_000);
            self.engine.step();
        }
        self.engine.advance(picos.saturating_sub(200_000_000));
        self.engine.step();
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let region = Region::new(&self.arena, at & !7, len + 8);
        let skip = at & 7;
        region.bytes()[skip..skip + len].iter().map(|b| b.load(Ordering::Relaxed)).collect()
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let region = Region::new(&self.arena, at & !7, bytes.len() + 8);
        region.bytes()[at & 7..].iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    }

    fn qword(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    fn put_qword(&self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Backs the private address space by one direct segment: transmit contexts
    /// first, then receive contexts.
    fn back_contexts(&self) {
        let at = self.arena.iova(CONTEXTS);
        self.write(0xc0200, (at >> 32) as u32);
        self.write(0xc0100, at as u32 | 512 << 2 | 3);
        self.write(0xc0000, 1 << 31);
        self.write(0xc6200, 0);
        self.write(0xc6300, 128);
        self.write(0xc6400, 128 * 128 / 512);
        self.write(0xc6500, 128);
    }

    /// Receives everything into `queues` queues.
    fn receive_on(&mut self, queues: usize) {
        self.back_contexts();
        self.tell(0x0254, &[7, 7, MAIN]);
        self.map_queues(queues);
        for q in 0..queues {
            self.open_rx(q, 2048, 9728);
        }
    }

    /// Traffic class 0 of the main VSI: `queues` from queue 0 on.
    fn map_queues(&mut self, queues: usize) {
        let mut properties = vec![0; 128];
        properties[0] = 0x40;
        let count = queues.next_power_of_two().trailing_zeros() as u16;
        properties[62..64].copy_from_slice(&(count << 9).to_le_bytes());
        let mut params = [0; 16];
        params[..2].copy_from_slice(&MAIN.to_le_bytes());
        assert_eq!(self.ask(0x0211, params, Some(&properties), 0).unwrap().result, 0);
    }

    fn rx_size(&self) -> usize {
        if self.wide { 32 } else { 16 }
    }

    fn open_rx(&mut self, q: usize, buffer: u64, longest: u64) {
        let ring = self.arena.iova(RX_RING + 0x1000 * q);
        let mut context = [0u64; 4];
        set(&mut context, 32, ring / 128);
        set(&mut context, 89, u64::from(RING));
        set(&mut context, 102, buffer / 128);
        set(&mut context, 116, u64::from(self.wide));
        set(&mut context, 117, 1);
        set(&mut context, 119, 1);
        set(&mut context, 174, longest);
        set(&mut context, 201, 1);
        for (n, word) in context.iter().enumerate() {
            self.put_qword(CONTEXTS + 128 * 128 + 32 * q + 8 * n, *word);
        }
        for n in 0..RING as usize {
            self.rearm(q, n);
        }
        self.rx_bell[q].ring(RING - 1);
        self.write(0x120000 + 4 * q as u64, 1);
        self.await_enabled(0x120000 + 4 * q as u64);
    }

    fn await_enabled(&self, register: u64) {
        for _ in 0..20 {
            if self.read(register) & 5 == 5 {
                return;
            }
            self.run(200_000_000);
        }
        panic!("{register:#x} is not enabled");
    }

    fn rearm(&self, q: usize, n: usize) {
        let at = RX_RING + 0x1000 * q + self.rx_size() * n;
        self.put_qword(at, self.arena.iova(self.rx_buffer(q, n)));
        self.put(at + 8, &vec![0; self.rx_size() - 8]);
    }

    fn rx_buffer(&self, q: usize, n: usize) -> usize {
        RX_BUFFERS + (q * RING as usize + n) * 2048
    }

    fn transmit_on(&mut self, queues: usize) {
        self.back_contexts();
        for q in 0..queues {
            self.open_tx(q, None);
        }
    }

    /// Opens a transmit queue, with its head written back to an offset of the
    /// arena or its descriptors marked.
    fn open_tx(&mut self, q: usize, head: Option<usize>) {
        let mut context = [0u64; 16];
        set(&mut context, 30, 1);
        set(&mut context, 32, self.arena.iova(TX_RING + 0x1000 * q) / 128);
        set(&mut context, 90, 1);
        set(&mut context, 91, 1);
        set(&mut context, 161, u64::from(RING));
        if let Some(at) = head {
            set(&mut context, 160, 1);
            context[3] = self.arena.iova(at);
        }
        for (n, word) in context.iter().enumerate() {
            self.put_qword(CONTEXTS + 128 * q + 8 * n, *word);
        }
        let first = self.read(0x1c0400) & 0x7ff;
        let absolute = first + q as u32;
        self.write(0xe6500 + 4 * u64::from(absolute / 128), (1 << 31) | (absolute % 128));
        self.write(0x104000 + 4 * q as u64, 2);
        self.tx_bell[q].ring(0);
        self.write(0x100000 + 4 * q as u64, 1);
        self.await_enabled(0x100000 + 4 * q as u64);
    }

    /// Writes a descriptor's words at a transmit queue's tail; its index.
    fn push(&mut self, q: usize, words: [u64; 2]) -> u32 {
        let at = self.tx_next[q];
        self.put_qword(TX_RING + 0x1000 * q + 16 * at as usize, words[0]);
        self.put_qword(TX_RING + 0x1000 * q + 16 * at as usize + 8, words[1]);
        self.tx_next[q] = (at + 1) % RING;
        at
    }

    fn ring_tx(&self, q: usize) {
        self.tx_bell[q].ring(self.tx_next[q]);
    }

    /// Puts data where the next descriptor of queue `q` may point to; its address.
    fn data(&self, q: usize, bytes: &[u8]) -> u64 {
        let at = TX_BUFFERS + (q * RING as usize + self.tx_next[q] as usize) * 8192;
        self.put(at, bytes);
        self.arena.iova(at)
    }

    /// A data descriptor for all of `bytes`, with these commands and offsets.
    fn push_data(&mut self, q: usize, bytes: &[u8], command: u64, more: u64) -> u32 {
        let address = self.data(q, bytes);
        self.push(q, [address, command << 4 | (bytes.len() as u64) << 34 | more])
    }

    /// Sends a frame in one descriptor: EOP, RS, ICRC.
    fn send(&mut self, q: usize, frame: &[u8]) -> u32 {
        let index = self.push_data(q, frame, 7, 0);
        self.ring_tx(q);
        index
    }

    fn sent(&self, q: usize, index: u32) -> bool {
        self.qword(TX_RING + 0x1000 * q + 16 * index as usize + 8) & 0xf == 0xf
    }

    /// The next frame of a receive queue: its bytes and its last descriptor.
    fn receive(&mut self, q: usize) -> Option<(Vec<u8>, [u64; 4])> {
        let mut frame = Vec::new();
        loop {
            let n = self.rx_next[q] as usize;
            let at = RX_RING + 0x1000 * q + self.rx_size() * n;
            let mut words = [0; 4];
            for (word, k) in words.iter_mut().zip(0..self.rx_size() / 8) {
                *word = self.qword(at + 8 * k);
            }
            if words[1] & 1 == 0 {
                assert!(frame.is_empty(), "half a frame");
                return None;
            }
            frame.extend(self.bytes(self.rx_buffer(q, n), (words[1] >> 38 & 0x3fff) as usize));
            self.rearm(q, n);
            self.rx_bell[q].ring(n as u32);
            self.rx_next[q] = (n as u32 + 1) % RING;
            if words[1] & 2 != 0 {
                return Some((frame, words));
            }
        }
    }

    fn violations(&self) -> Vec<String> {
        self.tap.violations().into_iter().map(|(name, _)| name).collect()
    }

    fn assert_clean(&self) {
        assert_eq!(self.tap.violations(), []);
    }
}

/// Puts a value into a context at this bit.
fn set(context: &mut [u64], lsb: usize, value: u64) {
    context[lsb / 64] |= value << (lsb % 64);
    if !lsb.is_multiple_of(64) && lsb / 64 + 1 < context.len() {
        context[lsb / 64 + 1] |= value >> (64 - lsb % 64);
    }
}

/// A frame of `len` bytes to and from made-up addresses, EtherType 0x88b5.
fn frame(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}
