//! The model driven by hand: offsets and bytes as they stand in VIRTIO 1.2.

use super::super::{Drive, Engine, Tap};
use crate::dma::{Addressing, Arena, Region};
use crate::pci::{Bar, Function};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod bring_up;
mod crossings;
mod legacy;
mod traffic;

const MAC: u64 = 1 << 5;
const MRG_RXBUF: u64 = 1 << 15;
const CTRL: u64 = 1 << 17 | 1 << 18 | 1 << 23;
const MODERN: u64 = 1 << 32 | 1 << 33;
const PACKED: u64 = 1 << 34;

/// Descriptors in each queue here.
const SIZE: usize = 8;
/// Where in the arena a queue's three parts are, and its buffers.
const QUEUE: usize = 0x1000;
const DRIVER: usize = 0x200;
const DEVICE: usize = 0x400;
const BUFFERS: usize = 0x10000;

/// A device on a wire, of either interface, and memory that it reaches.
struct Hands {
    engine: Engine,
    function: Arc<dyn Function>,
    bar: Bar,
    tap: Tap,
    arena: Arc<Arena>,
}

impl Hands {
    /// A device with bus mastering and memory, not touched yet.
    fn new(spec: &str) -> Hands {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&spec.parse().unwrap()).unwrap();
        let arena = Arena::new(1 << 20, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
        function.set_bus_master(true).unwrap();
        let bar = function.bar(0).unwrap();
        Hands { engine, function, bar, tap, arena }
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

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    fn violations(&self) -> Vec<String> {
        self.tap.violations().into_iter().map(|(name, _)| name).collect()
    }
}

/// A driver that writes what a test tells it to.
struct Bench {
    hands: Hands,
    packed: bool,
    /// Chains given to each queue, and descriptors.
    turn: [usize; 3],
    position: [usize; 3],
}

impl Deref for Bench {
    type Target = Hands;

    fn deref(&self) -> &Hands {
        &self.hands
    }
}

impl Bench {
    fn new(spec: &str) -> Bench {
        Bench { hands: Hands::new(spec), packed: false, turn: [0; 3], position: [0; 3] }
    }

    /// One that agreed on `features` and has its three queues on.
    fn up(spec: &str, features: u64) -> Bench {
        let mut bench = Bench::new(spec);
        bench.packed = features & PACKED != 0;
        bench.agree(features | MODERN);
        assert_eq!(bench.bar.read8(0x14), 0xb, "FEATURES_OK stays");
        (0..3).for_each(|q| bench.queue(q));
        bench.bar.write8(0x14, 0xf);
        bench.run();
        bench
    }

    fn agree(&self, features: u64) {
        self.bar.write8(0x14, 0);
        self.bar.write8(0x14, 1);
        self.bar.write8(0x14, 3);
        for half in 0..2 {
            self.bar.write32(0x08, half);
            self.bar.write32(0x0c, (features >> (32 * half)) as u32);
        }
        self.bar.write8(0x14, 0xb);
    }

    fn queue(&self, q: usize) {
        self.bar.write16(0x16, q as u16);
        self.bar.write16(0x18, SIZE as u16);
        for (field, at) in [(0x20, 0), (0x28, DRIVER), (0x30, DEVICE)] {
            let iova = self.arena.iova(QUEUE * q + at);
            self.bar.write32(field, iova as u32);
            self.bar.write32(field + 4, (iova >> 32) as u32);
        }
        self.bar.write16(0x1c, 1);
    }

    /// Puts a chain of buffers, each (arena offset, bytes, written by the
    /// device), into queue `q`, without a notification.
    fn give(&mut self, q: usize, parts: &[(usize, u32, bool)]) {
        let base = QUEUE * q;
        let first = self.position[q];
        for (n, (at, len, write)) in parts.iter().enumerate() {
            let slot = (first + n) % SIZE;
            let wrap = ((first + n) / SIZE).is_multiple_of(2);
            let mut flags = u16::from(n + 1 < parts.len()) | u16::from(*write) << 1;
            let next_or_id = if self.packed { first % SIZE } else { (slot + 1) % SIZE } as u16;
            let mut bytes = self.arena.iova(*at).to_le_bytes().to_vec();
            bytes.extend_from_slice(&len.to_le_bytes());
            if self.packed {
                flags |= if wrap { 0x80 } else { 0x8000 };
                bytes.extend_from_slice(&next_or_id.to_le_bytes());
                bytes.extend_from_slice(&flags.to_le_bytes());
            } else {
                bytes.extend_from_slice(&flags.to_le_bytes());
                bytes.extend_from_slice(&next_or_id.to_le_bytes());
            }
            self.put(base + 16 * slot, &bytes);
        }
        self.position[q] += parts.len();
        if !self.packed {
            let turn = self.turn[q];
            self.put(base + DRIVER + 4 + 2 * (turn % SIZE), &((first % SIZE) as u16).to_le_bytes());
            self.put(base + DRIVER + 2, &(turn as u16 + 1).to_le_bytes());
        }
        self.turn[q] += 1;
    }

    fn notify(&self, q: usize) {
        self.bar.write16(0x3000 + 4 * q as u64, q as u16);
        self.run();
    }

    /// Gives receive buffer `n`, of 2048 bytes.
    fn give_buffer(&mut self, n: usize) {
        self.give(0, &[(BUFFERS + 2048 * n, 2048, true)]);
    }

    /// Sends a frame with this header, in one chain of two buffers.
    fn send(&mut self, header: [u8; 12], frame: &[u8]) {
        let n = self.turn[1] % SIZE;
        let at = BUFFERS + 0x20000 + 0x10000 * n;
        self.put(at, &header);
        self.put(at + 64, frame);
        self.give(1, &[(at, 12, false), (at + 64, frame.len() as u32, false)]);
        self.notify(1);
    }

    /// The completion of the chain `turn` of queue `q` that started at
    /// `position`: id and length, if it is there.
    fn completed(&self, q: usize, turn: usize, position: usize) -> Option<(u32, u32)> {
        let base = QUEUE * q;
        if self.packed {
            let at = base + 16 * (position % SIZE);
            let flags = if (position / SIZE).is_multiple_of(2) { 0x8080 } else { 0 };
            return (self.half(at + 14) & 0x8080 == flags).then(|| (self.half(at + 12).into(), self.word(at + 8)));
        }
        let there = usize::from(self.half(base + DEVICE + 2)) > turn;
        let at = base + DEVICE + 4 + 8 * (turn % SIZE);
        there.then(|| (self.word(at), self.word(at + 4)))
    }
}
