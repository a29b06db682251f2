//! The model driven by hand: commands, offsets and bytes as they go over the bus.

use crate::dma::{Addressing, Arena, Region};
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::pci::{Bar, Function};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

mod control;
mod crossings;
mod ctpio;
mod golden;
mod receive;
mod time;
mod transmit;

/// Entries of each ring here: the least there can be.
const RING: u32 = 512;
/// Where things are in the arena.
const REQUEST: usize = 0x1000;
const STATS: usize = 0x2000;
const EVENTS: usize = 0x10_0000;
const RX_RING: usize = 0x20_0000;
const TX_RING: usize = 0x21_0000;
const RX_BUFFERS: usize = 0x40_0000;
const TX_BUFFERS: usize = 0x80_0000;

/// No events.
const NONE: [u64; 0] = [];

/// Every frame, to queue 0.
const ALL_UNICAST: u32 = 1 << 31;
const ALL_GROUPS: u32 = 1 << 30;

/// A card on a wire and a driver that writes what a test tells it to.
struct Bench {
    engine: Engine,
    function: Arc<dyn Function>,
    bar: Bar,
    stride: u64,
    tap: Tap,
    arena: Arc<Arena>,
    seq: u32,
    /// Next event to read of each event queue, next descriptors of the others.
    read: [u32; 8],
    rx_next: [u32; 8],
    rx_size: u64,
    tx_next: [u32; 8],
}

impl Bench {
    /// A card to which a driver has attached, with `vis` VIs and a link.
    fn new(spec: &str, vis: u32) -> Bench {
        let mut bench = Bench::bare(spec);
        bench.must(0x1c, &words(&[1, 1, 1]));
        bench.must(0x20, &words(&[1]));
        bench.must(0x2c, &words(&[9216, 0, 0, 0, 0, 2, 0]));
        bench.must(0x07, &words(&[2, 0]));
        bench.must(0x8b, &words(&[vis, vis]));
        bench.must(0x98, &[&words(&[0x0100_0000])[..], &[0; 26]].concat());
        for _ in 0..100 {
            bench.run(1_000_000_000);
            if u32_of(&bench.must(0x29, &[]), 0x10) & 1 == 1 {
                return bench;
            }
        }
        panic!("no link");
    }

    /// A card that nobody has spoken to.
    fn bare(spec: &str) -> Bench {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&spec.parse::<Spec>().unwrap()).unwrap();
        let arena = Arena::new(16 << 20, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
        function.set_bus_master(true).unwrap();
        let (bar, stride) = if spec.starts_with("x2522") { (0, 0x4000) } else { (2, 0x2000) };
        let bar = function.bar(bar).unwrap();
        let (read, rx_next, tx_next) = ([0; 8], [0; 8], [0; 8]);
        Bench { engine, function, bar, stride, tap, arena, seq: 0, read, rx_next, rx_size: 2048, tx_next }
    }

    fn window(&self, vi: u64, offset: u64) -> u64 {
        vi * self.stride + offset
    }

    fn write(&self, vi: u64, offset: u64, value: u32) {
        self.bar.write32(self.window(vi, offset), value);
    }

    /// Lets virtual time pass, in steps of a microsecond and a rest.
    fn run(&self, picos: u64) {
        for _ in 0..(picos / 1_000_000).min(100) {
            self.engine.advance(1_000_000);
            self.engine.step();
        }
        self.engine.advance(picos.saturating_sub(100_000_000));
        self.engine.step();
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let region = Region::new(&self.arena, at & !7, len + 8);
        region.bytes()[at & 7..][..len].iter().map(|b| b.load(Ordering::Relaxed)).collect()
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let region = Region::new(&self.arena, at & !7, bytes.len() + 8);
        let to: &[AtomicU8] = &region.bytes()[at & 7..];
        to.iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    }

    fn qword(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    /// A request with these header words; the header of the reply and its payload.
    fn request(&mut self, header: u32, second: Option<u32>, input: &[u8]) -> (u32, Vec<u8>) {
        let mut request = header.to_le_bytes().to_vec();
        request.extend(second.iter().flat_map(|word| word.to_le_bytes()));
        request.extend_from_slice(input);
        self.put(REQUEST, &request);
        let iova = self.arena.iova(REQUEST);
        self.write(0, 0x200, (iova >> 32) as u32);
        self.write(0, 0x204, iova as u32);
        let mut answered = 0;
        for _ in 0..1000 {
            answered = u32_of(&self.bytes(REQUEST, 4), 0);
            if answered >> 23 & 1 == 1 {
                break;
            }
            self.run(1_000_000);
        }
        let (at, len) = match second {
            Some(_) => (8, u32_of(&self.bytes(REQUEST + 4, 4), 0) >> 16 & 0x3ff),
            None => (4, answered >> 8 & 0xff),
        };
        (answered, self.bytes(REQUEST + at, len as usize))
    }

    /// A command in version 2: its output, or its error.
    fn command(&mut self, code: u32, input: &[u8]) -> Result<Vec<u8>, u32> {
        let header = 0xff | self.seq << 16;
        self.seq = (self.seq + 1) & 0xf;
        let (answered, output) = self.request(header, Some(code | (input.len() as u32) << 16), input);
        assert_eq!(answered & 0x80_00ff, 0x80_00ff, "no answer to {code:#x}");
        if answered >> 22 & 1 == 1 {
            Err(output.first_chunk().map_or(0, |c| u32::from_le_bytes(*c)))
        } else {
            Ok(output)
        }
    }

    #[track_caller]
    fn must(&mut self, code: u32, input: &[u8]) -> Vec<u8> {
        self.command(code, input).unwrap_or_else(|error| panic!("command {code:#x} failed: {error:#x}"))
    }

    /// Pages of a ring at `at` in the arena.
    fn pages(&self, at: usize, count: usize) -> Vec<u8> {
        (0..count).flat_map(|n| self.arena.iova(at + 4096 * n).to_le_bytes()).collect()
    }

    /// An event queue with a vector of its own, and whatever else `flags` say.
    fn evq(&mut self, n: u32, flags: u32) -> Vec<u8> {
        let input = self.evq_input(n, flags | 1, n);
        let reply = self.must(0x80, &input);
        assert_eq!(self.events(n), [0x5200_0000_0000_0000 | u64::from(n)]);
        reply
    }

    /// INIT_EVQ's input for an empty ring; `target`: its vector, or the queue that is
    /// woken in its place.
    fn evq_input(&mut self, n: u32, flags: u32, target: u32) -> Vec<u8> {
        let at = EVENTS + 0x1000 * n as usize;
        self.put(at, &[0xff; 4096]);
        self.read[n as usize] = 0;
        [words(&[RING, n, 0, 0, flags, 0, target, 0, 0]), self.pages(at, 1)].concat()
    }

    fn rxq(&mut self, n: u32, evq: u32, flags: u32) {
        let at = RX_RING + 0x1000 * n as usize;
        for index in 0..RING as usize {
            let address = self.arena.iova(self.rx_buffer(n, index));
            self.put(at + 8 * index, &(address | self.rx_size << 48).to_le_bytes());
        }
        let input = [words(&[RING, evq, n, n, flags, 0, 0x0100_0000]), self.pages(at, 1)].concat();
        self.must(0x81, &input);
        self.rx_next[n as usize] = 0;
        self.write(n.into(), 0x830, RING - 8);
    }

    fn rx_buffer(&self, q: u32, index: usize) -> usize {
        RX_BUFFERS + (q as usize * RING as usize + index) * 2048
    }

    fn txq(&mut self, n: u32, evq: u32, flags: u32) {
        let at = TX_RING + 0x1000 * n as usize;
        let input = [words(&[RING, evq, n, n, flags, 0, 0x0100_0000]), self.pages(at, 1)].concat();
        self.must(0x82, &input);
        self.tx_next[n as usize] = 0;
    }

    /// Everything to queue 0.
    fn receive_all(&mut self) {
        for kind in [ALL_UNICAST, ALL_GROUPS] {
            self.must(0x8a, &Filter::new(kind).subscribe(0));
        }
    }

    /// An event queue, a receive and a transmit queue of number 0, no checksums.
    fn start(&mut self) {
        self.evq(0, 0);
        self.rxq(0, 0, 0x100);
        self.txq(0, 0, 6);
        self.receive_all();
    }

    /// What has come in an event queue, which is empty then.
    fn events(&mut self, evq: u32) -> Vec<u64> {
        let mut events = Vec::new();
        loop {
            let next = self.read[evq as usize] % RING;
            let at = EVENTS + 0x1000 * evq as usize + 8 * next as usize;
            let event = self.qword(at);
            if event as u32 == u32::MAX || (event >> 32) as u32 == u32::MAX {
                return events;
            }
            self.put(at, &[0xff; 8]);
            self.read[evq as usize] += 1;
            events.push(event);
        }
    }

    /// Writes a descriptor at a transmit queue's end; its index.
    fn push(&mut self, q: usize, descriptor: u64) -> u32 {
        let index = self.tx_next[q];
        self.put(TX_RING + 0x1000 * q + 8 * index as usize, &descriptor.to_le_bytes());
        self.tx_next[q] = (index + 1) % RING;
        index
    }

    fn ring_tx(&self, q: usize) {
        self.write(q as u64, 0xa18, self.tx_next[q]);
    }

    /// Puts data where descriptor `index` of queue `q` may point to; the descriptor.
    fn data(&self, q: usize, index: u32, bytes: &[u8]) -> u64 {
        let at = TX_BUFFERS + (q * 64 + index as usize % 64) * 16384;
        self.put(at, bytes);
        self.arena.iova(at) | (bytes.len() as u64) << 48
    }

    /// Sends a frame in one descriptor; its index.
    fn send(&mut self, q: usize, frame: &[u8]) -> u32 {
        let descriptor = self.data(q, self.tx_next[q], frame);
        let index = self.push(q, descriptor);
        self.ring_tx(q);
        self.run(20_000_000);
        index
    }

    /// The buffers that `events` say were filled, of a queue with prefixes: each
    /// packet with its prefix.
    fn packets(&mut self, q: u32, events: &[u64]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut packet = Vec::new();
        for event in events.iter().filter(|event| **event >> 60 == 0) {
            let next = &mut self.rx_next[q as usize];
            let count = (event >> 48) as u32 & 0xf;
            let count = count.wrapping_sub(*next) & 0xf;
            assert!(count > 0);
            for _ in 0..count {
                let at = RX_BUFFERS + (q * RING + *next % RING) as usize * 2048;
                *next = (*next + 1) % RING;
                let region = Region::new(&self.arena, at, 2048);
                let bytes: Vec<u8> = region.bytes().iter().map(|b| b.load(Ordering::Relaxed)).collect();
                let len = if count > 1 {
                    14 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))
                } else {
                    *event as usize & 0x3fff
                };
                packet.extend_from_slice(&bytes[..len]);
                if *event >> 14 & 1 == 0 {
                    packets.push(std::mem::take(&mut packet));
                }
            }
        }
        packets
    }

    fn violations(&self) -> Vec<String> {
        self.tap.violations().into_iter().map(|(name, _)| name).collect()
    }

    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.tap.violations(), []);
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn u32_of(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// FILTER_OP's input.
struct Filter(Vec<u8>);

impl Filter {
    fn new(mask: u32) -> Self {
        let mut input = vec![0; 0x6c];
        input[0xc..0x10].copy_from_slice(&0x0100_0000u32.to_le_bytes());
        input[0x10..0x14].copy_from_slice(&mask.to_le_bytes());
        input[0x14] = 1;
        input[0x24..0x28].fill(0xff);
        input[0x28..0x2c].fill(0xff);
        Filter(input)
    }

    fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn subscribe(self, queue: u8) -> Vec<u8> {
        self.with(0, &[2]).with(0x18, &[queue]).0
    }

    fn insert(self, queue: u8) -> Vec<u8> {
        self.with(0x18, &[queue]).0
    }
}

/// A frame of `len` bytes to and from made-up addresses, EtherType 0x88b5.
fn frame(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}
