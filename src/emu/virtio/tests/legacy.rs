//! The legacy device driven by hand, by the ports and bytes of virtio 0.9.5.

use super::super::super::{Drive, Engine, Tap};
use super::{CTRL, MAC, MRG_RXBUF};
use crate::dma::{Addressing, Arena, Region};
use crate::pci::{Bar, Function};
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod rules;
mod traffic;

const CSUM: u64 = 1;
const VLAN: u64 = 1 << 19;
const ON_EMPTY: u64 = 1 << 24;
const ANY_LAYOUT: u64 = 1 << 27;

/// Where in the arena a queue begins, and its buffers.
const QUEUE: usize = 0x8000;
const BUFFERS: usize = 0x2_0000;

/// A device on a wire and a driver that writes what a test tells it to.
struct Bench {
    engine: Engine,
    function: Arc<dyn Function>,
    bar: Bar,
    tap: Tap,
    arena: Arc<Arena>,
    /// Descriptors of each queue, chains given to it, descriptors given to it.
    size: [usize; 3],
    turn: [usize; 3],
    position: [usize; 3],
}

impl Bench {
    /// A device with bus mastering and memory, not touched yet.
    fn new(spec: &str) -> Bench {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&spec.parse().unwrap()).unwrap();
        let arena = Arena::new(1 << 20, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
        function.set_bus_master(true).unwrap();
        let bar = function.bar(0).unwrap();
        Bench { engine, function, bar, tap, arena, size: [0; 3], turn: [0; 3], position: [0; 3] }
    }

    /// One that agreed on `features` and has its queues.
    fn up(spec: &str, features: u64) -> Bench {
        let mut bench = Bench::new(spec);
        bench.begin(features);
        bench
    }

    /// From reset to running.
    fn begin(&mut self, features: u64) {
        self.bar.write8(18, 0);
        self.bar.write8(18, 1);
        self.bar.write8(18, 3);
        self.bar.write32(4, features as u32);
        (self.turn, self.position) = ([0; 3], [0; 3]);
        self.put(0, &vec![0; 3 * QUEUE]);
        (0..3).for_each(|q| self.place(q));
        self.bar.write8(18, 7);
        self.run();
    }

    /// Places queue `q`, if there is one.
    fn place(&mut self, q: usize) {
        self.bar.write16(14, q as u16);
        self.size[q] = self.bar.read16(12).into();
        if self.size[q] != 0 {
            self.bar.write32(8, self.pfn(q));
        }
    }

    fn pfn(&self, q: usize) -> u32 {
        (self.arena.iova(QUEUE * q) >> 12) as u32
    }

    fn available(&self, q: usize) -> usize {
        QUEUE * q + 16 * self.size[q]
    }

    fn used(&self, q: usize) -> usize {
        QUEUE * q + (18 * self.size[q] + 6).next_multiple_of(4096)
    }

    /// Lets a millisecond pass.
    fn run(&self) {
        for _ in 0..100 {
            self.engine.advance(10_000_000);
            self.engine.step();
        }
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let region = Region::new(&self.arena, at & !7, len + 8);
        region.bytes()[at & 7..][..len].iter().map(|b| b.load(Ordering::Relaxed)).collect()
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let region = Region::new(&self.arena, at & !7, bytes.len() + 8);
        region.bytes()[at & 7..].iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at, 2).try_into().unwrap())
    }

    /// Puts a chain of buffers, each (arena offset, bytes, written by the device), into
    /// queue `q`, without a notification.
    fn give(&mut self, q: usize, parts: &[(usize, u32, bool)]) {
        let (size, first) = (self.size[q], self.position[q]);
        for (n, (at, len, write)) in parts.iter().enumerate() {
            let slot = (first + n) % size;
            let flags = u16::from(n + 1 < parts.len()) | u16::from(*write) << 1;
            let words = [flags, ((slot + 1) % size) as u16].map(u16::to_le_bytes).concat();
            let address = self.arena.iova(*at).to_le_bytes();
            self.put(QUEUE * q + 16 * slot, &[&address[..], &len.to_le_bytes(), &words].concat());
        }
        self.position[q] += parts.len();
        let available = self.available(q);
        self.put(available + 4 + 2 * (self.turn[q] % size), &((first % size) as u16).to_le_bytes());
        self.turn[q] += 1;
        self.put(available + 2, &(self.turn[q] as u16).to_le_bytes());
    }

    fn notify(&self, q: usize) {
        self.bar.write16(16, q as u16);
        self.run();
    }

    /// Gives receive buffer `n` of 64, of 2048 bytes, its header's in a descriptor of
    /// their own.
    fn give_buffer(&mut self, n: usize, header: u32) {
        let at = BUFFERS + 2048 * (n % 64);
        self.give(0, &[(at, header, true), (at + header as usize, 2048 - header, true)]);
    }

    /// Sends a frame behind this header, in one chain of two buffers.
    fn send(&mut self, header: &[u8], frame: &[u8]) {
        let at = BUFFERS + 0x2_0000 + 0x2000 * (self.turn[1] % 16);
        self.put(at, header);
        self.put(at + 64, frame);
        self.give(1, &[(at, header.len() as u32, false), (at + 64, frame.len() as u32, false)]);
        self.notify(1);
    }

    /// How many chains of queue `q` the device has used, modulo 2^16.
    fn used_count(&self, q: usize) -> usize {
        self.half(self.used(q) + 2).into()
    }

    /// What it said of the `turn`th that it used: id and length.
    fn completed(&self, q: usize, turn: usize) -> (u32, u32) {
        assert!(self.used_count(q) > turn, "queue {q}: {turn} is not used yet");
        let at = self.used(q) + 4 + 8 * (turn % self.size[q]);
        let word = |at: usize| u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap());
        (word(at), word(at + 4))
    }

    /// Gives a command in as many descriptors as it has parts; its answer.
    fn command(&mut self, parts: &[&[u8]]) -> u8 {
        let (mut at, mut chain) = (BUFFERS + 0x5_0000, Vec::new());
        for part in parts {
            self.put(at, part);
            chain.push((at, part.len() as u32, false));
            at += part.len();
        }
        self.put(at, &[0xff]);
        chain.push((at, 1, true));
        self.give(2, &chain);
        self.notify(2);
        self.bytes(at, 1)[0]
    }

    fn violations(&self) -> Vec<String> {
        self.tap.violations().into_iter().map(|(name, _)| name).collect()
    }
}

fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8).collect()
}
