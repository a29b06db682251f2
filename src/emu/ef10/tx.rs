//! Transmit: descriptors into frames, and events about them.
//!
//! ```text
//!   ring q: | done | option  data+CONT data | PIO | ...      head .. TX_DESC_UPD: the card's
//!                      |         |             |
//!                      v         v             v
//!                    state    one packet    buffer in the card ---> frames --> MAC
//!                                                                     |
//!   event with the index of the packet's last descriptor <--- sent ---+
//! ```
//!
//! Option descriptors change the queue's state and have no event. A descriptor
//! that is pushed with the index saves its fetch; it must be the one in the ring.

use super::super::pcie::Bell;
use super::super::transmit::{Next, Transmitter, Turns};
use super::super::wire::{MAX_FRAME, MIN_FRAME};
use super::super::{Direction, Picos, RegisterFile};
use super::evq::{self, CAN_MERGE};
use super::regs::{TX_DESC_UPD, TX_DESC_UPD_INDEX};
use super::unaided::{self, Tso};
use super::{Ef10, Ring, VIS, pio};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Largest packet to segment.
const TSO_MAX: usize = 256 * 1024;

/// Packets that share an event.
const MERGE: u32 = 16;

/// Flags of INIT_TXQ.
const FLAG_IP_CSUM_DIS: u32 = 1 << 1;
const FLAG_TCP_CSUM_DIS: u32 = 1 << 2;
pub const FLAG_TIMESTAMP: u32 = 1 << 8;
pub const FLAG_TSOV2: u32 = 1 << 12;
const FLAG_CTPIO: u32 = 1 << 13;
const FLAG_CTPIO_UTHRESH: u32 = 1 << 14;

/// Descriptors: option or data, more of the packet follows.
const OPTION: u64 = 1 << 63;
const CONT: u64 = 1 << 62;
const PIO_CONT: u64 = 1 << 59;

/// A transmit queue that a driver has initialised.
pub struct TxQueue {
    /// Its ring.
    pub ring: Ring,
    /// Checksums that are filled in.
    ip: bool,
    transport: bool,
    stamp: bool,
    /// It has a context for segmentation.
    pub segments: bool,
    ctpio: bool,
    /// CTPIO does not wait for the whole frame.
    pub poisons: bool,
    /// Tags that are put in.
    tags: [u16; 2],
    tag_count: usize,
    tso: Tso,
    /// Next descriptor to send, and the first that is the driver's.
    head: u32,
    tail: u32,
    /// When the doorbell was heard; the descriptor that came with it.
    bell: Bell,
    pushed: Option<u32>,
    /// A frame in the aperture, and whether the queue was idle when it came.
    aperture: Option<(super::ctpio::Header, bool)>,
    /// Packets that wait for their event, and the last one's last descriptor.
    merged: (u32, u32),
}

/// How a packet came into the card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Path {
    /// Descriptor and data were fetched.
    #[default]
    Dma,
    /// Data was fetched.
    Push,
    Pio,
    Ctpio,
}

/// A packet between descriptors and wire.
#[derive(Default)]
pub struct Outgoing {
    /// Its bytes, or those of the segments that it was cut into.
    pub packet: Vec<u8>,
    segments: Vec<u8>,
    /// Its last descriptor, and the first of the next.
    last: u32,
    next: u32,
    path: Path,
    /// It was cut: its frames lie in the buffer of segments.
    cut: bool,
    frames: Vec<Range<usize>>,
    /// The next frame of those.
    at: usize,
}

/// All that sends.
#[derive(Default)]
pub struct Transmit {
    /// The queues that are initialised, by VI.
    pub queues: Vec<Option<TxQueue>>,
    /// Whose turn it is among them.
    pub turns: Turns,
    /// The packet on its way.
    pub out: Outgoing,
    /// Queues whose packets wait for more to share an event.
    merged: Vec<u16>,
}

impl Transmit {
    /// No queues.
    pub fn new() -> Self {
        Transmit { queues: (0..VIS).map(|_| None).collect(), ..Transmit::default() }
    }
}

impl TxQueue {
    /// An empty queue.
    pub fn new(ring: Ring, flags: u32, ctpio: bool) -> Self {
        TxQueue {
            ring,
            ip: flags & FLAG_IP_CSUM_DIS == 0,
            transport: flags & FLAG_TCP_CSUM_DIS == 0,
            stamp: flags & FLAG_TIMESTAMP != 0,
            segments: flags & FLAG_TSOV2 != 0,
            ctpio: ctpio && flags & FLAG_CTPIO != 0,
            poisons: flags & FLAG_CTPIO_UTHRESH != 0,
            tags: [0; 2],
            tag_count: 0,
            tso: Tso::default(),
            head: 0,
            tail: 0,
            bell: Bell::default(),
            pushed: None,
            aperture: None,
            merged: (0, 0),
        }
    }

    fn after(&self, at: u32) -> u32 {
        (at + 1) & self.ring.mask
    }

    /// An option descriptor in front of a packet.
    fn option(&mut self, descriptor: u64) -> Result<(), &'static str> {
        match descriptor >> 60 & 7 {
            0 => {
                self.ip = descriptor & 1 != 0;
                self.transport = descriptor & 2 != 0;
                if descriptor >> 9 & 0x7_ffff_ffff_ffff != 0 || descriptor >> 2 & 7 != 0 {
                    return Err("checksum option with reserved bits");
                }
            }
            6 => {
                // Tags are in network order.
                self.tags = [(descriptor as u16).swap_bytes(), ((descriptor >> 16) as u16).swap_bytes()];
                self.tag_count = (descriptor >> 32 & 3).min(2) as usize;
            }
            7 if !self.segments => return Err("segmentation on a queue without a context for it"),
            7 => match descriptor >> 56 & 0xf {
                2 => self.tso = Tso { sequence: descriptor as u32, id: (descriptor >> 32) as u16, mss: 0 },
                3 => {
                    self.tso.mss = (descriptor >> 32) as u16;
                    if self.tso.mss < 4 {
                        return Err("segmentation with an MSS of less than 4");
                    }
                }
                _ => return Err("segmentation option of a version that is not offered"),
            },
            _ => return Err("option descriptor of an unknown type"),
        }
        Ok(())
    }
}

impl Ef10 {
    /// Codes of the workaround for bug 35388 are not indices.
    fn indirect(&self, index: u32) -> bool {
        self.mc.bug35388 && index & 0x800 != 0
    }

    fn rung(&mut self, q: u16, index: u32) {
        let frame = if self.kind.ctpio() { self.ctpio_take(q) } else { None };
        let window = &self.windows[usize::from(q)].registers;
        let pushed = take_pushed(window);
        let Some(queue) = &mut self.tx.queues[usize::from(q)] else { return };
        if index > queue.ring.mask {
            self.board.violations.note("TX_DESC_UPD is outside the ring");
            window.poke(TX_DESC_UPD_INDEX.at, queue.tail);
            return;
        }
        let same = |at| {
            let slot = self.board.bus.memory.word64(queue.ring.slot(at));
            slot.is_some_and(|slot| slot.load(Ordering::Acquire) == pushed)
        };
        if pushed != 0 && same(queue.tail) {
            queue.pushed = Some(queue.tail);
        }
        if let Some(meter) = self.board.bus.memory.meter() {
            // What was pushed is there; a frame in the aperture may do without its own.
            let mut new = queue.ring.pieces(queue.tail, index);
            queue.pushed.filter(|pushed| *pushed == queue.tail).and_then(|_| new.next());
            frame.and_then(|_| new.next_back());
            let with = if queue.pushed == Some(queue.tail) { 16 } else { 4 };
            let bell = meter.hear(with + frame.map_or(0, |header| header.len as u64));
            queue.bell = Bell { fetched: meter.fetch(new, bell.seen), ..bell };
        }
        queue.aperture = frame.map(|header| (header, queue.head == queue.tail));
        queue.tail = index;
    }

    /// The index was written through a window that is not mapped. A descriptor that
    /// was pushed with it must be the first new one of the ring; it is gone then, as
    /// the next index may come alone.
    pub(super) fn check_push(&mut self, q: u16, index: u32) {
        let window = &self.windows[usize::from(q)].registers;
        let pushed = take_pushed(window);
        let first = window.peek(TX_DESC_UPD_INDEX.at);
        let Some(Some(queue)) = self.tx.queues.get_mut(usize::from(q)) else {
            if !self.mc.unnoticed() {
                self.board.violations.note("TX_DESC_UPD of a queue that was not initialised");
            }
            return;
        };
        if pushed == 0 || first == index || first > queue.ring.mask {
            return;
        }
        let slot = self.board.bus.memory.word64(queue.ring.slot(first));
        match slot {
            Some(slot) if slot.load(Ordering::Acquire) == pushed => queue.pushed = Some(first),
            Some(_) => self.board.violations.note("pushed descriptor that is not the one in the ring"),
            None => {}
        }
    }

    /// Does to the packet what the queue's state asks for.
    #[inline]
    fn prepare(&mut self, bad: bool) -> Next {
        self.tx.out.frames.clear();
        (self.tx.out.at, self.tx.out.cut) = (0, false);
        let Some(queue) = &mut self.tx.queues[usize::from(self.tx.turns.queue)] else { return Next::Nothing };
        let tso = std::mem::take(&mut queue.tso);
        let tags = &queue.tags[..queue.tag_count];
        let packet = &mut self.tx.out.packet;
        if bad || packet.len() < 14 {
            if !bad {
                self.board.violations.note("frame shorter than its header");
            }
            self.complete(None);
            return Next::Other;
        }
        if self.tx.out.path == Path::Ctpio {
            // Goes out as written.
        } else if tso.mss != 0 {
            self.board.used.segmented += 1;
            self.board.used.tagged += u64::from(!tags.is_empty());
            unaided::tag(packet, tags);
            self.tx.out.segments.clear();
            if unaided::segments(packet, tso, &mut self.tx.out.segments, &mut self.tx.out.frames).is_none() {
                self.board.violations.note("segmentation of a packet that is not TCP over IP");
                self.complete(None);
                return Next::Other;
            }
            self.tx.out.cut = true;
            return Next::Packet;
        } else {
            self.board.used.tagged += u64::from(!tags.is_empty());
            unaided::tag(packet, tags);
            if queue.ip || queue.transport {
                self.board.used.summed += 1;
                unaided::checksums(packet, queue.ip, queue.transport);
            }
        }
        if packet.len() > MAX_FRAME {
            self.board.violations.note("frame longer than 16 KiB");
            self.complete(None);
            return Next::Other;
        }
        if packet.len() < MIN_FRAME {
            packet.resize(MIN_FRAME, 0);
        }
        self.tx.out.frames.push(0..packet.len());
        Next::Packet
    }

    /// All of a packet's descriptors are done. It left at `wire`, if it did.
    #[inline]
    fn complete(&mut self, wire: Option<Picos>) {
        self.tx.turns.busy = false;
        let (q, last, path) = (self.tx.turns.queue, self.tx.out.last, self.tx.out.path);
        let Some(queue) = &mut self.tx.queues[usize::from(q)] else { return };
        queue.head = self.tx.out.next;
        let (evq, label) = (queue.ring.evq, queue.ring.label);
        let stamped = queue.stamp;
        if path != Path::Ctpio && !stamped && (self.merges(evq) || self.board.nasty) {
            // Without leave to merge, nasty only delays.
            let merges = self.merges(evq);
            let Some(queue) = &mut self.tx.queues[usize::from(q)] else { return };
            if merges || queue.merged.0 == 0 {
                queue.merged = (queue.merged.0 + 1, last);
                if queue.merged.0 == 1 {
                    self.tx.merged.push(q);
                }
                if queue.merged.0 == MERGE {
                    self.flush_completion(q);
                }
                return;
            }
        }
        self.flush_completion(q);
        let kind = if path == Path::Ctpio { evq::CTPIO_DONE } else { 0 };
        self.report(evq, evq::transmit(kind, label, last as u16));
        if let Some(at) = wire.filter(|_| stamped) {
            let (low, high) = self.clock.transmit_stamp(at);
            let first = if path == Path::Ctpio { evq::CTPIO_STAMP_LOW } else { evq::STAMP_LOW };
            self.post(evq, evq::transmit_stamp(first, label, low));
            self.post(evq, evq::transmit_stamp(first + 1, label, high));
        }
    }

    fn merges(&self, evq: u16) -> bool {
        matches!(self.evqs.get(usize::from(evq)), Some(Some(queue)) if queue.tx_merge)
    }

    /// Writes the event that a queue's packets wait for.
    fn flush_completion(&mut self, q: u16) {
        let Some(Some(queue)) = self.tx.queues.get_mut(usize::from(q)) else { return };
        let (packets, last) = std::mem::take(&mut queue.merged);
        if packets != 0 {
            let (evq, label) = (queue.ring.evq, queue.ring.label);
            let merge = if self.merges(evq) { CAN_MERGE } else { 0 };
            self.report(evq, evq::transmit(0, label, last as u16) | merge);
        }
    }

    /// Writes the event for packets that were sent.
    #[inline]
    fn report(&mut self, evq: u16, event: u64) {
        match self.board.bus.memory.slip(Direction::Tx) {
            None => self.post(evq, event),
            Some(act) => self.slip(evq, event, act),
        }
    }

    /// Writes all events that wait.
    pub(super) fn flush_completions(&mut self) {
        for at in 0..self.tx.merged.len() {
            self.flush_completion(self.tx.merged[at]);
        }
        self.tx.merged.clear();
    }
}

impl Transmitter for Ef10 {
    #[inline]
    fn turns(&mut self) -> &mut Turns {
        &mut self.tx.turns
    }

    #[inline]
    fn look(&mut self, q: u16) {
        let index = self.windows[usize::from(q)].registers.peek(TX_DESC_UPD_INDEX.at);
        let Some(queue) = &self.tx.queues[usize::from(q)] else { return };
        if index != queue.tail && !self.indirect(index) {
            self.rung(q, index);
        }
    }

    #[inline]
    fn fetch(&mut self, q: u16) -> Next {
        let Some(queue) = &mut self.tx.queues[usize::from(q)] else { return Next::Nothing };
        let memory = &self.board.bus.memory;
        if let Some(meter) = memory.meter() {
            meter.settle(false, 0);
        }
        self.tx.out.packet.clear();
        let mut at = queue.head;
        let mut path = if queue.pushed.take_if(|pushed| *pushed == at).is_some() { Path::Push } else { Path::Dma };
        let mut bad = false;
        let last = loop {
            if at == queue.tail {
                // A packet without its end: the rest is still to come.
                return Next::Nothing;
            }
            let Some(slot) = memory.word64(queue.ring.slot(at)) else { return Next::Nothing };
            let descriptor = slot.load(Ordering::Acquire);
            let this = at;
            at = queue.after(at);
            let more = if descriptor & OPTION == 0 {
                let (address, len) = (descriptor & 0xffff_ffff_ffff, (descriptor >> 48 & 0x3fff) as usize);
                if len == 0 || self.tx.out.packet.len() + len > TSO_MAX {
                    self.board.violations.note("transmit descriptor without data, or a packet without end");
                    bad = true;
                } else {
                    bad |= !memory.gather(address, len, &mut self.tx.out.packet);
                    if let Some(meter) = memory.meter() {
                        meter.hold((address, len as u64));
                    }
                }
                descriptor & CONT != 0
            } else if descriptor >> 60 & 7 == 1 {
                let (offset, len) = ((descriptor & 0xfff) as usize, (descriptor >> 32 & 0xfff) as usize);
                path = Path::Pio;
                if !self.pio.linked(q) {
                    self.board.violations.note("PIO descriptor of a queue without a buffer");
                    bad = true;
                } else if len == 0 || offset + len > pio::SIZE {
                    self.board.violations.note("PIO descriptor outside the buffer");
                    bad = true;
                } else {
                    read_page(&self.windows[usize::from(q)].pio, offset, len, &mut self.tx.out.packet);
                }
                descriptor & PIO_CONT != 0
            } else {
                if this != queue.head {
                    self.board.violations.note("option descriptor inside a packet");
                } else {
                    queue.head = at;
                }
                if let Err(rule) = queue.option(descriptor) {
                    self.board.violations.note(rule);
                }
                return Next::Other;
            };
            if !more {
                break this;
            }
        };
        let aperture = if at == queue.tail {
            queue.aperture.take()
        } else {
            // The frame in the aperture is behind this one.
            if let Some((_, idle)) = &mut queue.aperture {
                *idle = false;
            }
            None
        };
        let (qualified, poisons, slot, bell) = (queue.ctpio, queue.poisons, queue.ring.slot(last), queue.bell);
        if let Some((header, idle)) = aperture
            && self.ctpio_sends(q, header, idle, qualified, poisons)
        {
            path = Path::Ctpio;
        }
        if let Some(meter) = self.board.bus.memory.meter() {
            let mut bell = bell;
            if aperture.is_some() && matches!(path, Path::Dma | Path::Pio) {
                bell.fetched = meter.fetch([(slot, 8)], bell.seen);
            }
            let (name, in_card) = match path {
                Path::Dma => ("DMA", bell.fetched),
                Path::Push => ("push", bell.seen),
                // Its bytes were stored to the card before.
                Path::Pio => ("PIO", bell.fetched.max(meter.hear(self.tx.out.packet.len() as u64).seen)),
                Path::Ctpio => ("CTPIO", bell.seen),
            };
            meter.settle(path != Path::Ctpio, in_card);
            meter.depart(name, bell);
        }
        self.tx.turns.busy = true;
        (self.tx.turns.queue, self.tx.out.last, self.tx.out.next, self.tx.out.path) = (q, last, at, path);
        if bad {
            self.post(0, evq::transmit_error(q));
        }
        self.prepare(bad)
    }

    #[inline]
    fn emit(&mut self) -> bool {
        let now = self.board.now;
        let out = &mut self.tx.out;
        let mut wire = now;
        while let Some(range) = out.frames.get(out.at) {
            let buffer = if out.cut { &out.segments } else { &out.packet };
            let frame = &buffer[range.clone()];
            let Some(at) = self.board.port.send(frame, now) else { return false };
            wire = at;
            self.stats.sent(frame);
            out.at += 1;
        }
        self.complete(Some(wire));
        true
    }

    /// Events that packets shared, late perhaps: in some other step (nasty).
    fn finish(&mut self, _: usize, full: bool) {
        if self.tx.merged.is_empty() {
            return;
        }
        let late = self.board.nasty && !full && self.board.random.number().is_multiple_of(4);
        if !late {
            self.flush_completions();
        }
    }
}

/// The descriptor that a window was written, if it was: none is all zeros.
fn take_pushed(window: &RegisterFile<Ef10>) -> u64 {
    let words = window.page(0);
    let word = |n: u32| words[(TX_DESC_UPD.nth(n) / 4) as usize].swap(0, Ordering::Relaxed);
    u64::from(word(0)) | u64::from(word(1)) << 32
}

/// Bytes of a page of words.
fn read_page(page: &crate::pci::Page, offset: usize, len: usize, into: &mut Vec<u8>) {
    let words = page[offset / 4..(offset + len).div_ceil(4)].iter();
    let start = into.len();
    into.extend(words.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).skip(offset % 4));
    into.truncate(start + len);
}
