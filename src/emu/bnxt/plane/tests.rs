//! The data plane driven by hand: requests, doorbells and descriptors as bytes.

use super::*;
use crate::dma::{Addressing, Arena, Iova, Region};
use crate::emu::{Model, ModelInfo, Profile, Spec};
use crate::pci::Id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

mod aggregation;
mod crossings;
mod doorbells;
mod filters;
mod golden;
mod overlook;
mod queues;
mod receive;
mod refusals;
mod transmit;

const MICROSECOND: Picos = 1_000_000;

/// Entries of rings here, unless a test wants others.
const RING: u32 = 32;

/// Enables of RING_ALLOC.
const NQ: u32 = 1 << 7;
const BUFFER: u32 = 1 << 8;
const RX_RING: u32 = 1 << 6;

/// Doorbell types of P5.
const SQ: u64 = 0;
const SRQ: u64 = 2;
const CQ: u64 = 4;
const CQ_ARM: u64 = 6;
const NQ_ACK: u64 = 0xa;
const NQ_ARM: u64 = 0xb;

/// A ring as a driver sees it.
#[derive(Clone, Copy)]
struct Mine {
    id: u16,
    /// Where it is in the arena.
    at: usize,
    length: u32,
    slot: u16,
    kind: RingKind,
    /// Next entry to read or to write.
    next: u32,
}

/// A data plane on a board, and memory.
struct Bench {
    board: Board,
    plane: Plane,
    arena: Arc<Arena>,
    free: usize,
    slots: u16,
}

/// What `Bench::start` makes.
struct Set {
    stat: u16,
    nq: Option<Mine>,
    rx_cq: Mine,
    tx_cq: Mine,
    rx: Mine,
    agg: Option<Mine>,
    tx: Mine,
    group: u16,
    vnic: u16,
}

fn build(_: Board) -> Box<dyn Model> {
    panic!("a board is all that is wanted")
}

const INFO: ModelInfo = ModelInfo {
    profile: Profile {
        name: "bnxt",
        id: Id { vendor: 0x14e4, device: 0x16d7, subsystem_vendor: 0x14e4, subsystem: 0, revision: 1 },
        bars: [0; 6],
        io: (0, 0),
        vectors: 16,
        msix: (4, 0, 0x2000),
        speed: 25_000_000_000,
    },
    text: "",
    queues: 16,
    faults: &[],
    oui: [0, 0x10, 0x18],
    link_delay: 0,
    build,
};

impl Bench {
    /// A plane with a link, on a loop unless `options` say otherwise.
    fn new(chip: Chip, options: &str) -> Bench {
        let spec: Spec = format!("bnxt{options}").parse().unwrap();
        let wire = spec.open_wire(&mut crate::emu::wire::Patch::default()).unwrap();
        let mut board = Board::new(&INFO, &spec, wire);
        let arena = Arena::new(16 << 20, Addressing::Translated).unwrap();
        board.bus.memory.map_arena(&arena).unwrap();
        board.bus.memory.set_bus_master(true);
        board.bus.interrupts.control(true, false);
        (0..16).for_each(|vector| board.bus.interrupts.mask(vector, false));
        let mut plane = Plane::new(chip);
        plane.set_link(true);
        Bench { board, plane, arena, free: 4096, slots: 0 }
    }

    fn p5(&self) -> bool {
        self.plane.chip.p5()
    }

    /// Zeroed memory of our own.
    fn take(&mut self, len: usize) -> usize {
        let at = self.free;
        self.free += len.next_multiple_of(4096);
        at
    }

    /// Memory besides, which can be taken away.
    fn elsewhere(&mut self) -> Arc<Arena> {
        let arena = Arena::new(1 << 16, Addressing::Translated).unwrap();
        self.board.bus.memory.map_arena(&arena).unwrap();
        arena
    }

    /// Takes it away.
    fn forget(&mut self, arena: &Arc<Arena>) {
        for (_, iova, len) in arena.runs() {
            assert_eq!(self.board.bus.memory.unmap(iova, len as u64), 1);
        }
    }

    fn iova(&self, at: usize) -> Iova {
        self.arena.iova(at)
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

    fn words(&self, at: usize) -> [u64; 2] {
        let bytes = self.bytes(at, 16);
        [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
    }

    fn put_words(&self, at: usize, words: [u64; 2]) {
        self.put(at, &words.map(u64::to_le_bytes).concat());
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

    fn spec(&self, kind: RingKind, length: u32) -> RingSpec {
        RingSpec {
            kind: Some(kind),
            enables: 0,
            flags: 0,
            address: 0,
            page_size: 0,
            depth: 0,
            length,
            logical_id: 0,
            cq: 0,
            queue: 0,
            buffer: 0,
            rx_ring: 0,
            nq: 0,
            stat: u32::MAX,
            interrupt: 2,
            handle: 0,
        }
    }

    /// Makes a ring of what `with` says.
    #[track_caller]
    fn ring(&mut self, kind: RingKind, length: u32, with: impl FnOnce(&mut RingSpec)) -> Mine {
        let at = self.take(16 * length as usize);
        let mut spec = RingSpec { address: self.iova(at), ..self.spec(kind, length) };
        with(&mut spec);
        let id = self.plane.alloc_ring(&mut self.board, &spec).unwrap();
        Mine { id, at, length, slot: spec.logical_id, kind, next: 0 }
    }

    /// A completion queue that coalesces nothing, with a slot of its own.
    fn cq(&mut self, length: u32, nq: Option<u16>) -> Mine {
        let slot = self.slots;
        self.slots += 1;
        let cq = self.ring(RingKind::Completion, length, |spec| {
            spec.logical_id = slot;
            if let Some(nq) = nq {
                (spec.enables, spec.nq, spec.handle) = (NQ, nq, 0x0100_0000 | u64::from(slot));
            }
        });
        self.plane.set_coalescing(&immediate(cq.id)).unwrap();
        cq
    }

    fn nq(&mut self, vector: u16) -> Mine {
        self.ring(RingKind::Notification, RING, |spec| spec.logical_id = vector)
    }

    fn rx_ring(&mut self, slot: u16, stat: u16) -> Mine {
        let p5 = self.p5();
        self.ring(RingKind::Receive, RING, |spec| {
            spec.logical_id = slot;
            if p5 {
                (spec.enables, spec.buffer, spec.stat) = (BUFFER, 2048, stat.into());
            }
        })
    }

    fn agg_ring(&mut self, slot: u16, rx: u16) -> Mine {
        let p5 = self.p5();
        let kind = if p5 { RingKind::Aggregation } else { RingKind::Receive };
        self.ring(kind, RING, |spec| {
            spec.logical_id = slot;
            if p5 {
                (spec.enables, spec.buffer, spec.rx_ring) = (RX_RING | BUFFER, 2048, rx);
            }
        })
    }

    fn tx_ring(&mut self, cq: Mine, stat: u16) -> Mine {
        self.ring(RingKind::Transmit, RING, |spec| {
            (spec.logical_id, spec.cq, spec.stat) = (cq.slot, cq.id, stat.into());
        })
    }

    fn group(&mut self, cq: Mine, rx: Mine, agg: Option<Mine>, stat: u16) -> u16 {
        let spec = GroupSpec { cq: cq.id, rx: rx.id, agg: agg.map_or(0xffff, |agg| agg.id), stat };
        self.plane.alloc_group(&mut self.board, &spec).unwrap()
    }

    /// A VNIC whose frames go to one ring, and that wants everything.
    fn vnic(&mut self, group: u16, rx: Mine, cq: Mine) -> u16 {
        let vnic = self.plane.alloc_vnic(&mut self.board).unwrap();
        let enables = if self.p5() { 0x70 } else { 0x11 };
        let spec = VnicSpec { group, mru: 9018, rx: rx.id, cq: cq.id, ..vnic_spec(vnic, enables) };
        self.plane.configure_vnic(&spec).unwrap();
        self.mask(vnic, 0x1a).unwrap();
        vnic
    }

    fn mask(&mut self, vnic: u16, mask: u32) -> Outcome<()> {
        self.plane.set_rx_mask(&mut self.board, &MaskSpec { vnic, mask, table: 0, count: 0 })
    }

    /// One ring of each kind, completion queues with vectors 0 and 1, buffers of
    /// 2048 bytes, and everything received.
    fn start(&mut self) -> Set {
        self.start_with(false)
    }

    fn start_with(&mut self, agg: bool) -> Set {
        let stat = self.plane.alloc_stat(&mut self.board, 0, 0, 0).unwrap();
        let nq = self.p5().then(|| self.nq(0));
        let rx_cq = self.cq(4 * RING, nq.map(|nq| nq.id));
        let tx_cq = self.cq(2 * RING, nq.map(|nq| nq.id));
        let rx = self.rx_ring(rx_cq.slot, stat);
        let agg = agg.then(|| self.agg_ring(8, rx.id));
        let tx = self.tx_ring(tx_cq, stat);
        let group = if self.p5() { 0 } else { self.group(rx_cq, rx, agg, stat) };
        let vnic = self.vnic(group, rx, rx_cq);
        let mut set = Set { stat, nq, rx_cq, tx_cq, rx, agg, tx, group, vnic };
        let size = 2048;
        self.post(&mut set.rx, RING - 1, size, 0x04);
        set
    }

    /// Rings a doorbell, of this type on P5.
    fn bell(&mut self, ring: Mine, kind: u64, index: u32) {
        if self.p5() {
            let value = kind << 60 | 1 << 56 | u64::from(ring.id) << 32 | u64::from(index);
            self.plane.doorbell(&mut self.board, 0x1_0000, 8, value);
        } else {
            let key = match (ring.kind, kind) {
                (RingKind::Transmit, _) => 0,
                (RingKind::Completion, CQ_ARM) => 0x2400_0000,
                (RingKind::Completion, _) => 0x2c00_0000,
                _ => 0x1000_0000,
            };
            self.plane.doorbell(&mut self.board, 0x80 * u64::from(ring.slot), 4, u64::from(key | index));
        }
    }

    /// Posts buffers of `size` bytes with descriptors of these flags; opaque values are
    /// indices.
    fn post(&mut self, ring: &mut Mine, count: u32, size: usize, flags: u64) {
        for _ in 0..count {
            let buffer = self.take(size);
            let index = ring.next % ring.length;
            let words = [flags | (size as u64) << 16 | u64::from(index) << 32, self.iova(buffer)];
            self.put_words(ring.at + 16 * index as usize, words);
            ring.next += 1;
        }
        self.bell(*ring, SRQ, ring.next % ring.length);
    }

    /// Puts descriptors into a transmit ring and rings.
    fn push(&mut self, ring: &mut Mine, descriptors: &[[u64; 2]]) {
        for words in descriptors {
            self.put_words(ring.at + 16 * (ring.next % ring.length) as usize, *words);
            ring.next += 1;
        }
        self.bell(*ring, SQ, ring.next % ring.length);
    }

    /// A descriptor of these flags for these bytes.
    fn data(&mut self, flags: u64, opaque: u32, bytes: &[u8]) -> [u64; 2] {
        let at = self.take(bytes.len());
        self.put(at, bytes);
        [flags | (bytes.len() as u64) << 16 | u64::from(opaque) << 32, self.iova(at)]
    }

    /// Sends a frame by a short descriptor, with COAL_NOW.
    fn send(&mut self, ring: &mut Mine, frame: &[u8]) {
        let descriptor = self.data(0x8140 | hint(frame.len()) << 13, ring.next, frame);
        self.push(ring, &[descriptor]);
        self.run(20 * MICROSECOND);
    }

    /// What has come in a queue since the last look.
    fn poll(&self, ring: &mut Mine) -> Vec<[u64; 2]> {
        let mut entries = Vec::new();
        loop {
            let words = self.words(ring.at + 16 * (ring.next % ring.length) as usize);
            let phase = u64::from(ring.next & ring.length == 0);
            if words[1] & 1 != phase || entries.len() as u32 == ring.length {
                return entries;
            }
            entries.push(words);
            ring.next += 1;
        }
    }

    /// Polls, and acknowledges.
    fn read(&mut self, ring: &mut Mine) -> Vec<[u64; 2]> {
        let entries = self.poll(ring);
        let kind = if ring.kind == RingKind::Notification { NQ_ACK } else { CQ };
        self.bell(*ring, kind, ring.next % ring.length);
        entries
    }

    /// The bytes of a buffer that was posted at this index.
    fn buffer(&self, ring: Mine, index: u32, len: usize) -> Vec<u8> {
        let [_, address] = self.words(ring.at + 16 * (index % ring.length) as usize);
        self.bytes((address - self.arena.iova(0)) as usize, len)
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

fn vnic_spec(vnic: u16, enables: u32) -> VnicSpec {
    VnicSpec { flags: 0, enables, vnic, group: 0, rss: 0xffff, cos: 0xffff, lb: 0xffff, mru: 0, rx: 0, cq: 0 }
}

/// Coalescing that waits for nothing.
fn immediate(ring: u16) -> Coalescing {
    let one = [1; 2];
    Coalescing { ring, flags: 0, enables: 0x3f, count: one, timer: one, latency: one, interrupt: 1 }
}

fn hint(len: usize) -> u64 {
    [512, 1024, 2048].iter().filter(|limit| len >= **limit).count() as u64
}

/// A frame of `len` bytes to and from made-up addresses, EtherType 0x88b5.
fn frame(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// A UDP datagram over IPv4 to this address and port.
fn udp(to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    builder.ipv4([10, 0, 0, 1], to, 9).udp(4000, port).write(&mut frame, payload).unwrap();
    frame
}

/// Both generations.
const CHIPS: [Chip; 2] = [Chip::P4, Chip::P5];
