//! A transmit ring of descriptors of 16 bytes that the card writes back, or
//! whose head it writes to memory: that of the 82599 and of the X710.
//!
//! ```text
//!   | reported | sent, to be reported | data data+end | ... |    head .. tail: the card's
//!                ^ late (nasty)         ^ gathered into one packet
//! ```

use super::offload::Offload;
use super::pcie::{Bell, Piece};
use super::slip::{Act, Direction};
use super::{Picos, Translation};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Largest packet to segment.
const LARGEST: usize = 256 * 1024;

/// Descriptors of a packet at most: what the reports are kept for.
const DESCRIPTORS_MAX: u32 = 64;

/// A ring, as the queue's registers or its context were when it was enabled.
#[derive(Default)]
pub struct TxRing {
    base: Iova,
    /// How many descriptors.
    pub count: u32,
    /// Next descriptor to send.
    pub head: u32,
    /// First descriptor that is the driver's.
    pub tail: u32,
    /// Where the head is written to, if no descriptor is written back.
    pub head_write_back: Option<Iova>,
    /// Descriptors that are written back late (nasty).
    late: Vec<u32>,
    /// When the doorbell was last heard, while somebody asks.
    bell: Bell,
}

/// What a descriptor is.
pub enum Part {
    /// Bytes of the packet; it is to be reported; it is the packet's last.
    Data { address: Iova, len: usize, report: bool, end: bool },
    /// Something that belongs to the packet.
    Other,
    /// The packet ends with it, for it does not belong there.
    Stop,
}

/// The descriptors of a packet.
#[derive(Clone, Copy, Default)]
pub struct Gathered {
    /// From the ring's head, so many.
    pub descriptors: u32,
    /// Those of them that are to be reported, as bits.
    pub reports: u64,
}

/// What is at a ring's head.
pub enum Head {
    /// Nothing, or a packet whose end is still to come.
    Open,
    /// A packet.
    Packet(Gathered),
    /// A packet up to a descriptor without data, or with more than any packet has.
    Empty(Gathered),
    /// A packet of more descriptors than any has, up to the last that it may have.
    Endless(Gathered),
}

impl TxRing {
    /// An empty ring of `count` descriptors.
    pub fn new(base: Iova, count: u32, head: u32, head_write_back: Option<Iova>) -> Self {
        TxRing { base, count, head, tail: head, head_write_back, late: Vec::new(), bell: Bell::default() }
    }

    /// The doorbell says `tail`; false if that is outside the ring.
    #[inline]
    pub fn look(&mut self, tail: u32, memory: &Translation) -> bool {
        if tail == self.tail {
            return true;
        }
        if tail >= self.count {
            return false;
        }
        if let Some(meter) = memory.meter() {
            let new = (tail + self.count - self.tail) % self.count;
            let bell = meter.hear(4);
            let fetched = meter.fetch((0..new).map(|n| self.piece(self.after(self.tail, n))), bell.seen);
            self.bell = Bell { fetched, ..bell };
        }
        self.tail = tail;
        true
    }

    /// Whether there is something to send.
    pub fn pending(&self) -> bool {
        self.head != self.tail
    }

    #[inline]
    fn after(&self, at: u32, by: u32) -> u32 {
        let at = at + by;
        if at >= self.count { at - self.count } else { at }
    }

    #[inline]
    fn at(&self, at: u32) -> Iova {
        self.base.wrapping_add(16 * u64::from(at))
    }

    fn piece(&self, at: u32) -> Piece {
        (self.at(at), 16)
    }

    /// Gathers the packet at the head into `packet`: `part` says of each
    /// descriptor's words what it is.
    #[inline]
    pub fn gather(&self, memory: &Translation, packet: &mut Vec<u8>, mut part: impl FnMut([u64; 2]) -> Part) -> Head {
        packet.clear();
        let mut all = Gathered::default();
        let mut at = self.head;
        if let Some(meter) = memory.meter() {
            meter.settle(false, 0);
        }
        let head = loop {
            if at == self.tail {
                return Head::Open;
            }
            let Some(descriptor) = memory.descriptor(self.at(at)) else { return Head::Open };
            let words = [descriptor[0].load(Ordering::Relaxed), descriptor[1].load(Ordering::Relaxed)];
            let what = part(words);
            let place = all.descriptors;
            all.descriptors += 1;
            at = self.after(at, 1);
            match what {
                Part::Data { address, len, report, end } => {
                    all.reports |= u64::from(report) << place;
                    if len == 0 || packet.len() + len > LARGEST {
                        break Head::Empty(all);
                    }
                    // Where memory is not mapped the driver is told that it is
                    // done; the violation is counted.
                    memory.gather(address, len, packet);
                    if let Some(meter) = memory.meter() {
                        meter.hold((address, len as u64));
                    }
                    if end {
                        break Head::Packet(all);
                    }
                }
                Part::Other => {}
                Part::Stop => break Head::Packet(all),
            }
            if all.descriptors == DESCRIPTORS_MAX {
                break Head::Endless(all);
            }
        };
        if let Some(meter) = memory.meter() {
            meter.settle(true, self.bell.fetched);
            meter.depart("DMA", self.bell);
        }
        head
    }

    /// The packet at the head is done. Those of its descriptors that ask for it are
    /// reported, now or late, unless the head is: whether there were any.
    #[inline]
    pub fn complete(&mut self, packet: Gathered, memory: &Translation, late: bool, done: fn(u64) -> u64) -> bool {
        let first = self.head;
        self.head = self.after(first, packet.descriptors);
        let mut reports = packet.reports;
        if self.head_write_back.is_some() {
            return reports != 0;
        }
        while reports != 0 {
            let at = self.after(first, reports.trailing_zeros());
            reports &= reports - 1;
            match memory.slip(Direction::Tx) {
                Some(act) => self.slip(at, memory, act, done),
                None if late => self.late.push(at),
                None => self.report(at, memory, done),
            }
        }
        packet.reports != 0
    }

    /// Marks a descriptor as done, or something else instead (fault).
    #[cold]
    fn slip(&self, at: u32, memory: &Translation, act: Act, done: fn(u64) -> u64) {
        match act {
            Act::Never => {}
            Act::Other => self.report(self.after(at, 1), memory, done),
            Act::Late(by) => memory.later(by, || self.report(at, memory, done)),
            _ => (0..2).for_each(|_| self.report(at, memory, done)),
        }
    }

    /// Marks a descriptor as done.
    #[inline]
    fn report(&self, at: u32, memory: &Translation, done: fn(u64) -> u64) {
        if let Some(meter) = memory.meter() {
            meter.report([self.piece(at)], true);
        }
        if let Some(descriptor) = memory.descriptor(self.at(at)) {
            let word = done(descriptor[1].load(Ordering::Relaxed));
            memory.store64(self.at(at).wrapping_add(8), word);
        }
    }

    /// Reports what is late; whether there was any.
    pub fn report_late(&mut self, memory: &Translation, done: fn(u64) -> u64) -> bool {
        let late = std::mem::take(&mut self.late);
        late.iter().for_each(|&at| self.report(at, memory, done));
        !late.is_empty()
    }

    /// Writes the head to memory, where the driver wants it.
    #[inline]
    pub fn write_head(&self, memory: &Translation) {
        let Some(iova) = self.head_write_back else { return };
        if let Some(meter) = memory.meter() {
            meter.report([(iova, 4)], true);
        }
        match memory.slip(Direction::Tx) {
            None => _ = memory.store32(iova, self.head),
            Some(Act::Never) => {}
            Some(Act::Other) => _ = memory.store32(iova, self.after(self.head, 1)),
            Some(Act::Late(by)) => memory.later(by, || _ = memory.store32(iova, self.head)),
            Some(_) => (0..2).for_each(|_| _ = memory.store32(iova, self.head)),
        }
    }
}

/// A packet between descriptors and wire.
#[derive(Default)]
pub struct Outgoing {
    /// Its bytes.
    pub packet: Vec<u8>,
    /// Its descriptors.
    pub gathered: Gathered,
    /// When it leaves is to be told.
    pub stamp: bool,
    /// What each of its frames is still to gain.
    pub offload: Offload,
    segment: Vec<u8>,
}

impl Outgoing {
    /// Sends its frames, or what is left of them, as `send` says when each left;
    /// when the last one did, or nothing if the wire has no time.
    #[inline]
    pub fn emit(&mut self, mut send: impl FnMut(&[u8]) -> Option<Picos>) -> Option<Picos> {
        if !self.offload.segments() {
            return send(&self.packet);
        }
        loop {
            let left = send(self.offload.segment(&self.packet, &mut self.segment))?;
            if self.offload.next_segment(&self.packet) {
                return Some(left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena, Region};

    /// What is at the head of a ring with these descriptors: bytes, whether it ends.
    fn head(descriptors: &[(usize, bool)]) -> Head {
        let arena = Arena::new(8192, Addressing::Translated).unwrap();
        let mut memory = Translation::new();
        memory.map_arena(&arena).unwrap();
        memory.set_bus_master(true);
        let words = Region::new(&arena, 0, 4096);
        for (n, (len, end)) in descriptors.iter().enumerate() {
            words.words64()[2 * n].store(*len as u64 | u64::from(*end) << 32, Ordering::Relaxed);
        }
        let mut ring = TxRing::new(arena.iova(0), 128, 0, None);
        assert!(ring.look(descriptors.len() as u32, &memory));
        ring.gather(&memory, &mut Vec::new(), |[word, _]| {
            let address = arena.iova(4096);
            Part::Data { address, len: word as u32 as usize, report: false, end: word >> 32 != 0 }
        })
    }

    #[test]
    fn what_no_packet_may_have_is_found_before_its_end() {
        let part = (1, false);
        assert!(matches!(head(&[part, part]), Head::Open));
        assert!(matches!(head(&[part, (1, true), part]), Head::Packet(all) if all.descriptors == 2));
        assert!(matches!(head(&[part, (0, false)]), Head::Empty(all) if all.descriptors == 2));
        assert!(matches!(head(&[part; 63]), Head::Open));
        assert!(matches!(head(&[part; 64]), Head::Endless(all) if all.descriptors == 64));
    }
}
