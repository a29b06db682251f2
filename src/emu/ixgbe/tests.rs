//! The model driven by hand: offsets and bytes as they stand in the datasheet.

use crate::dma::{Addressing, Arena};
use crate::emu::in_process::Slot;
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::pci::{Bar, Doorbell, Function};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

mod bring_up;
mod control;
mod crossings;
mod pace;
mod receive;
mod transmit;

/// Descriptors in each ring here.
const RING: u32 = 64;
/// Where things are in the arena: rings of 4 queues, buffers of 16 KiB each way.
const RX_RING: usize = 0;
const TX_RING: usize = 0x4000;
const RX_BUFFERS: usize = 0x10000;
const TX_BUFFERS: usize = 0x100000;

/// A card on a wire and a driver that writes what a test tells it to.
struct Bench {
    engine: Engine,
    slot: Arc<Slot>,
    function: Arc<dyn Function>,
    bar: Bar,
    tap: Tap,
    arena: Arc<Arena>,
    buffer: usize,
    rx_next: [u32; 4],
    tx_next: [u32; 4],
    rx_bell: Vec<Doorbell>,
    tx_bell: Vec<Doorbell>,
}

impl Bench {
    /// A card that was reset, has bus mastering and memory, and a link.
    fn new(spec: &str) -> Bench {
        let bench = Bench::unlinked(spec);
        bench.wait_for_link();
        bench
    }

    fn unlinked(spec: &str) -> Bench {
        let engine = Engine::new(Drive::Manual);
        let (slot, tap) = engine.plug(&spec.parse::<Spec>().unwrap()).unwrap();
        let slot = Arc::new(slot);
        let function: Arc<dyn Function> = slot.clone();
        let arena = Arena::new(4 << 20, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
        function.set_bus_master(true).unwrap();
        let bar = function.bar(0).unwrap();
        let bell = |at| bar.doorbell(at).unwrap();
        let rx_bell = (0..4).map(|q| bell(0x1018 + 0x40 * q)).collect();
        let tx_bell = (0..4).map(|q| bell(0x6018 + 0x40 * q)).collect();
        let (rx_next, tx_next, buffer) = ([0; 4], [0; 4], 2048);
        let bench = Bench { engine, slot, function, bar, tap, arena, buffer, rx_next, tx_next, rx_bell, tx_bell };
        bench.write(0x00000, 0x0400_0008);
        assert_eq!(bench.read(0x00000) & 0x0400_0008, 0);
        bench
    }

    fn wait_for_link(&self) {
        self.wait_for_link_at(3);
    }

    /// Waits for a link whose speed is this in LINKS: 1 is 100 Mbit/s, 2 is 1 and 3 is 10 Gbit/s.
    fn wait_for_link_at(&self, speed: u32) {
        for _ in 0..100 {
            self.run(1_000_000_000);
            if self.read(0x42a4) & 0x7000_0000 == 1 << 30 | speed << 28 {
                return;
            }
        }
        panic!("no link of speed {speed}: LINKS {:#x}", self.read(0x42a4));
    }

    fn read(&self, offset: u64) -> u32 {
        self.bar.read32(offset)
    }

    fn write(&self, offset: u64, value: u32) {
        self.bar.write32(offset, value);
    }

    fn set(&self, offset: u64, bits: u32) {
        self.write(offset, self.read(offset) | bits);
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
        let region = crate::dma::Region::new(&self.arena, at & !7, len + 8);
        let skip = at & 7;
        region.bytes()[skip..skip + len].iter().map(|b| b.load(Ordering::Relaxed)).collect()
    }

    fn put(&self, at: usize, bytes: &[u8]) {
        let region = crate::dma::Region::new(&self.arena, at & !7, bytes.len() + 8);
        let to: &[AtomicU8] = &region.bytes()[at & 7..];
        to.iter().zip(bytes).for_each(|(to, byte)| to.store(*byte, Ordering::Relaxed));
    }

    fn qword(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    fn put_qword(&self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Receives everything into `queues` queues of advanced descriptors, as
    /// Linux sets them up.
    fn receive_on(&mut self, queues: u64) {
        self.receive_with(queues, 0x0200_0000 | (self.buffer as u32 / 1024));
    }

    fn receive_with(&mut self, queues: u64, srrctl: u32) {
        self.write(0x5080, 0x700);
        for q in 0..queues {
            let ring = self.arena.iova(RX_RING + 0x1000 * q as usize);
            self.write(0x1000 + 0x40 * q, ring as u32);
            self.write(0x1004 + 0x40 * q, (ring >> 32) as u32);
            self.write(0x1008 + 0x40 * q, RING * 16);
            self.write(0x1010 + 0x40 * q, 0);
            self.write(0x1018 + 0x40 * q, 0);
            self.write(0x2100 + 4 * q, srrctl);
            self.set(0x1028 + 0x40 * q, 1 << 25);
            assert_eq!(self.read(0x1028 + 0x40 * q) >> 25 & 1, 1);
            for n in 0..RING as usize {
                let at = RX_RING + 0x1000 * q as usize + 16 * n;
                self.put_qword(at, self.arena.iova(self.rx_buffer(q, n)));
                self.put_qword(at + 8, 0);
            }
            self.rx_bell[q as usize].ring(RING - 1);
        }
        self.write(0x3000, 1);
    }

    fn rx_buffer(&self, q: u64, n: usize) -> usize {
        RX_BUFFERS + (q as usize * RING as usize + n) * 2048
    }

    fn transmit_on(&mut self, queues: u64) {
        self.write(0x4a80, self.read(0x4a80) | 1);
        for q in 0..queues {
            let ring = self.arena.iova(TX_RING + 0x1000 * q as usize);
            self.write(0x6000 + 0x40 * q, ring as u32);
            self.write(0x6004 + 0x40 * q, (ring >> 32) as u32);
            self.write(0x6008 + 0x40 * q, RING * 16);
            self.write(0x6010 + 0x40 * q, 0);
            self.write(0x6018 + 0x40 * q, 0);
            self.set(0x6028 + 0x40 * q, 1 << 25);
            assert_eq!(self.read(0x6028 + 0x40 * q) >> 25 & 1, 1);
        }
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

    /// Puts data where descriptor `index` of queue `q` may point to; its address.
    fn data(&self, q: usize, index: u32, bytes: &[u8]) -> u64 {
        let at = TX_BUFFERS + (q * RING as usize + index as usize) * 8192;
        self.put(at, bytes);
        self.arena.iova(at)
    }

    /// Sends a frame in one advanced descriptor.
    fn send(&mut self, q: usize, frame: &[u8]) -> u32 {
        self.send_with(q, frame, 0)
    }

    /// The same with more bits in the second word.
    fn send_with(&mut self, q: usize, frame: &[u8], more: u64) -> u32 {
        let address = self.data(q, self.tx_next[q], frame);
        let len = frame.len() as u64;
        let index = self.push(q, [address, len | 0x2b30_0000 | len << 46 | more]);
        self.ring_tx(q);
        index
    }

    fn sent(&self, q: usize, index: u32) -> bool {
        self.qword(TX_RING + 0x1000 * q + 16 * index as usize + 8) >> 32 & 1 == 1
    }

    /// The next frame of a receive queue: its bytes and its last descriptor.
    fn receive(&mut self, q: usize) -> Option<(Vec<u8>, [u64; 2])> {
        let mut frame = Vec::new();
        loop {
            let n = self.rx_next[q] as usize;
            let at = RX_RING + 0x1000 * q + 16 * n;
            let words = [self.qword(at), self.qword(at + 8)];
            if words[1] & 1 == 0 {
                assert!(frame.is_empty(), "half a frame");
                return None;
            }
            let buffer = self.rx_buffer(q as u64, n);
            frame.extend(self.bytes(buffer, (words[1] >> 32 & 0xffff) as usize));
            self.put_qword(at, self.arena.iova(buffer));
            self.put_qword(at + 8, 0);
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

/// A frame of `len` bytes to and from made-up addresses, EtherType 0x88b5.
fn frame(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}
