//! Transmit: descriptors into frames, and completions about them.
//!
//! ```text
//!   TX ring: | sent | BD, extension | data | data END | ...     consumer .. producer:
//!                     type, count, length hint, opaque           the card's
//!                          |
//!                          v
//!                     one packet --> tag, checksums, segments --> frames --> MAC
//!                                                                   |
//!   CQ: opaque of the packet's first BD <--- unless NO_CMPL --------+
//! ```

use super::super::super::frame::Parsed;
use super::super::super::offload::Sums;
use super::super::super::segment::insert_vlan;
use super::super::super::transmit::{Next, Transmitter, Turns};
use super::super::super::unaided::{self, Tso};
use super::super::super::wire::{MAX_FRAME, MIN_FRAME};
use super::super::super::{Act, Board, Direction, Picos, Translation};
use super::describe::TPIDS;
use super::entries::Words;
use super::record::{self, TX_BAD_FORMAT, TX_DMA, TX_EXCESS, TX_ZERO_LENGTH};
use super::ring::transmit_ring;
use super::{LONGEST_FRAME, Plane, stat};
use std::ops::Range;

/// Flags of a first descriptor.
const LONG: u64 = 0x10;
const PACKET_END: u64 = 1 << 6;
const NO_CMPL: u64 = 1 << 7;
const COAL_NOW: u64 = 1 << 15;

/// Flags of an extension.
const TCP_UDP_CSUM: u64 = 1 << 0;
const IP_CSUM: u64 = 1 << 1;
const STAMP: u64 = 1 << 3;
const LSO: u64 = 1 << 5;

/// Longest packet to segment.
const PACKET: usize = 256 * 1024;

/// Least payload of a segment: what Linux's least, of 48 bytes, leaves behind 40 bytes of
/// options. And the most segments of a packet: 64 KiB in such pieces.
const LEAST_MSS: u16 = 8;
const SEGMENTS: usize = 8192;

/// Stamps of sent messages that wait to be asked for.
const STAMPS: usize = 4;

/// A packet between descriptors and wire.
#[derive(Default)]
struct Outgoing {
    packet: Vec<u8>,
    segments: Vec<u8>,
    frames: Vec<Range<usize>>,
    at: usize,
    /// It was cut: its frames lie in the buffer of segments.
    cut: bool,
    /// First descriptor of the next packet.
    next: u32,
    opaque: u32,
    silent: bool,
    at_once: bool,
    stamped: bool,
}

/// What an extension asks for.
#[derive(Clone, Copy, Default)]
struct Wishes {
    sums: Sums,
    stamp: bool,
    mss: u16,
    header: usize,
    tag: Option<(u16, u16)>,
}

/// All that sends.
#[derive(Default)]
pub struct Sending {
    /// Whose turn it is among the transmit rings.
    pub turns: Turns,
    out: Outgoing,
    /// When messages of PTP left, and the messages.
    stamps: Vec<(u64, Vec<u8>)>,
}

impl Sending {
    /// A ring goes, and the packet that was on its way from it.
    pub fn stop(&mut self, ring: u16) {
        self.turns.stop(ring);
    }
}

/// What has become of a packet.
enum End {
    Sent(Picos),
    /// It was not sent, without a word.
    Dropped,
    /// It was not sent for these reasons; the ring stops or goes on.
    Failed(u64, bool),
    /// Its first descriptor is not memory: there is nothing to complete, and no going on.
    Lost,
}

/// The data plane on its board, while it sends.
pub struct Sender<'a> {
    pub plane: &'a mut Plane,
    pub board: &'a mut Board,
}

impl Wishes {
    /// What an extension asks for.
    fn of([first, second]: Words) -> Result<Self, Fault> {
        let on = |bit: u64| first & bit != 0;
        // Without segmentation its fields may hold what was there before: Linux and DPDK
        // leave it.
        let fields = if on(LSO) { first } else { 0 };
        let (header, mss) = (2 * (fields >> 16 & 0xff) as usize, (fields >> 32 & 0x7fff) as u16);
        if on(LSO) && (header == 0 || mss == 0) {
            return Err(Fault::format("transmit descriptor with half of what segmentation needs"));
        }
        let meta = second >> 32;
        let tag = (meta >> 28 == 1).then(|| (TPIDS[(meta >> 16 & 7).min(4) as usize], meta as u16));
        let sums = Sums { ip: on(IP_CSUM), transport: on(TCP_UDP_CSUM) };
        Ok(Wishes { sums, stamp: on(STAMP), mss, header, tag })
    }
}

/// The least hint that covers a packet of this length.
fn hint(len: usize) -> u64 {
    match len {
        ..512 => 0,
        512..1024 => 1,
        1024..2048 => 2,
        _ => 3,
    }
}

impl Plane {
    /// The stamp of a sent PTP message with this sequence number, whose header is at
    /// `offset` of the frame (PORT_TS_QUERY); it is forgotten.
    pub fn take_tx_stamp(&mut self, sequence: u16, offset: u16) -> Option<u64> {
        let at = usize::from(offset) + 30;
        let same = |(_, frame): &(u64, Vec<u8>)| frame.get(at..at + 2).is_some_and(|s| s == sequence.to_be_bytes());
        let at = self.tx.stamps.iter().position(same)?;
        Some(self.tx.stamps.remove(at).0)
    }
}

/// A packet's first descriptor.
#[derive(Clone, Copy)]
struct Head(u64);

impl Head {
    fn kind(self) -> u64 {
        self.0 & 0x3f
    }

    /// Descriptors of the packet, the extension among them.
    fn count(self) -> u32 {
        match self.0 >> 8 & 0x1f {
            0 => 32,
            count => count as u32,
        }
    }

    /// Those of the first `most` descriptors that are of data.
    fn data(self, most: u32) -> impl Iterator<Item = u32> {
        (0..most).filter(move |n| *n != 1 || self.kind() != LONG)
    }

    /// Where the packet ends by its last descriptor, if that is among the first
    /// `posted`, and the flags of all of them; an error if one is not memory.
    fn end(self, posted: u32, read: impl Fn(u32) -> Result<Words, Fault>) -> Result<(Option<u32>, u64), Fault> {
        let mut flags = 0;
        for n in self.data(posted.min(self.count())) {
            flags |= read(n)?[0];
            if flags & PACKET_END != 0 {
                let least = if self.kind() == LONG { 2 } else { 1 };
                return Ok((Some(least.max(n + 1)), flags));
            }
        }
        Ok((None, flags))
    }
}

/// Why a packet is not sent: the rule that was broken, unless that was counted where
/// it was seen, and what becomes of it.
struct Fault(Option<&'static str>, End);

impl Fault {
    fn format(rule: &'static str) -> Self {
        Fault(Some(rule), End::Failed(TX_BAD_FORMAT, false))
    }
}

/// Copies a packet's data.
fn copy(
    head: Head,
    wishes: Wishes,
    hinted: bool,
    read: impl Fn(u32) -> Result<Words, Fault>,
    memory: &Translation,
    to: &mut Vec<u8>,
) -> Result<(), Fault> {
    for n in head.data(head.count()) {
        let [word, address] = read(n)?;
        let len = (word >> 16 & 0xffff) as usize;
        if n > 0 && word & 0x3f != 0 {
            return Err(Fault::format("transmit descriptor of a type that has no place inside a packet"));
        }
        if len == 0 {
            return Err(Fault(Some("transmit descriptor without length"), End::Failed(TX_ZERO_LENGTH, true)));
        }
        if to.len() + len > PACKET {
            return Err(Fault(Some("packet longer than 256 KiB"), End::Failed(TX_EXCESS, true)));
        }
        if !memory.gather(address, len, to) {
            return Err(Fault(None, End::Failed(TX_DMA, false)));
        }
        if let Some(meter) = memory.meter() {
            meter.read([(address, len as u64)]);
        }
    }
    // What is cut is hinted by the length of a segment. P5 does without hints: there
    // are drivers that give it none.
    let longest = if wishes.mss == 0 { to.len() } else { wishes.header + usize::from(wishes.mss) };
    if hinted && hint(longest) > head.0 >> 13 & 3 {
        let rule = "length hint of a transmit descriptor that is less than the length";
        return Err(Fault(Some(rule), End::Dropped));
    }
    Ok(())
}

impl Sender<'_> {
    /// The packet at a ring's head, whole, in the buffer; why not, if it cannot be
    /// sent. None while the rest of it is still to come.
    fn gather(&mut self, q: u16) -> Option<Result<Wishes, End>> {
        let ring = transmit_ring(&self.plane.rings, q).filter(|ring| !ring.dead)?;
        let (consumer, posted) = (ring.consumer, ring.producer.wrapping_sub(ring.consumer));
        if posted == 0 {
            return None;
        }
        let hinted = !self.plane.chip.p5();
        let memory = &self.board.bus.memory;
        // A ring stops where its descriptors are not memory.
        let read = |n: u32| {
            let words = ring.entries.read(consumer.wrapping_add(n), memory);
            words.ok_or(Fault(None, End::Failed(TX_DMA, true)))
        };
        let out = &mut self.plane.tx.out;
        out.next = consumer;
        let Ok([first, _]) = read(0) else { return Some(Err(End::Lost)) };
        let head = Head(first);
        let (end, flags) = match head.end(posted, read) {
            Ok(end) => end,
            Err(Fault(_, end)) => {
                out.opaque = (head.0 >> 32) as u32;
                return Some(Err(end));
            }
        };
        if end.is_none_or(|end| end > posted) && posted < head.count() {
            return None;
        }
        out.packet.clear();
        if let Some(meter) = memory.meter() {
            meter.settle(false, ring.bell.fetched);
        }
        out.next = consumer.wrapping_add(head.count().min(posted));
        out.opaque = (head.0 >> 32) as u32;
        out.silent = head.0 & NO_CMPL != 0;
        out.at_once = flags & COAL_NOW != 0;
        let wishes = if !matches!(head.kind(), 0 | LONG) {
            Err(Fault::format("transmit descriptor of a type that there is not"))
        } else if end != Some(head.count()) {
            Err(Fault::format("transmit descriptors that are not as many as the first says"))
        } else if head.kind() == LONG {
            read(1).and_then(Wishes::of)
        } else {
            Ok(Wishes::default())
        };
        let gathered =
            wishes.and_then(|wishes| copy(head, wishes, hinted, read, memory, &mut out.packet).map(|()| wishes));
        Some(gathered.map_err(|Fault(rule, end)| {
            rule.into_iter().for_each(|rule| self.board.violations.note(rule));
            end
        }))
    }

    /// Does to the packet what it asks for.
    fn prepare(&mut self, wishes: Wishes) -> Result<(), End> {
        let out = &mut self.plane.tx.out;
        let (violations, used) = (&mut self.board.violations, &mut self.board.used);
        out.frames.clear();
        (out.at, out.cut, out.stamped) = (0, false, wishes.stamp);
        if out.packet.len() < 14 {
            violations.note("frame shorter than its header");
            return Err(End::Failed(TX_BAD_FORMAT, false));
        }
        if wishes.mss == 0 && out.packet.len() > usize::from(LONGEST_FRAME) {
            violations.note("frame longer than 9600 bytes");
            return Err(End::Failed(TX_EXCESS, true));
        }
        let mut header = wishes.header;
        if let Some((tpid, tci)) = wishes.tag {
            used.tagged += 1;
            // It was seen to have a header.
            let _ = insert_vlan(&mut out.packet, tpid, tci);
            header += 4;
        }
        if wishes.mss != 0 {
            used.segmented += 1;
            out.segments.clear();
            let payload = out.packet.len().saturating_sub(header);
            if wishes.mss < LEAST_MSS || payload.div_ceil(wishes.mss.into()) > SEGMENTS {
                violations.note("segmentation into smaller or more segments than there may be");
                return Err(End::Failed(TX_BAD_FORMAT, false));
            }
            let tso = own_numbers(&out.packet, header, wishes.mss);
            let cut = tso.and_then(|tso| unaided::segments(&mut out.packet, tso, &mut out.segments, &mut out.frames));
            if cut.is_none() {
                violations.note("segmentation of what is not TCP over IP with headers of that length");
                return Err(End::Failed(TX_BAD_FORMAT, false));
            }
            out.cut = true;
            if out.frames.iter().any(|frame| frame.len() > MAX_FRAME) {
                violations.note("segment longer than a frame may be");
                return Err(End::Failed(TX_EXCESS, true));
            }
            return Ok(());
        }
        if wishes.sums.ip || wishes.sums.transport {
            used.summed += 1;
            unaided::checksums(&mut out.packet, wishes.sums.ip, wishes.sums.transport);
        }
        if out.packet.len() < MIN_FRAME {
            out.packet.resize(MIN_FRAME, 0);
        }
        out.frames.push(0..out.packet.len());
        Ok(())
    }

    /// All of a packet's descriptors are done with.
    fn complete(&mut self, end: End) {
        let Sender { plane, board } = self;
        let q = plane.tx.turns.queue;
        plane.tx.turns.busy = false;
        let out = &plane.tx.out;
        let (next, opaque, silent, at_once, stamped) = (out.next, out.opaque, out.silent, out.at_once, out.stamped);
        let Some(ring) = plane.tx_ring(q) else { return };
        ring.consumer = next;
        let (cq, stat, stamps) = (ring.cq, ring.stat, ring.stamps);
        let mut errors = 0;
        match end {
            End::Lost => {
                ring.dead = true;
                return plane.count(stat, |counters| counters.tx_errors += 1);
            }
            End::Sent(at) => {
                if stamped {
                    plane.stamp_sent(at);
                }
            }
            End::Dropped => plane.count(stat, |counters| counters.tx_discards += 1),
            End::Failed(why, stops) => {
                errors = why;
                ring.dead = stops;
                plane.count(stat, |counters| counters.tx_errors += 1);
            }
        }
        let Some(cq) = plane.live(Some(cq)).filter(|_| !silent || errors != 0) else { return };
        let stamp = match end {
            End::Sent(at) if stamped && stamps => Some(plane.clock.time(at)),
            _ => None,
        };
        if plane.reserve(board, cq, 1 + u32::from(stamp.is_some())) {
            let act = board.bus.memory.slip(Direction::Tx);
            let named = if act == Some(Act::Other) { opaque.wrapping_add(1) } else { opaque };
            plane.say(board, cq, &[record::transmit(named, errors)], at_once && stamp.is_none(), act);
            if let Some(stamp) = stamp {
                plane.post(board, cq, &[record::transmit_stamp(opaque, stamp)], at_once);
            }
        }
    }
}

impl Plane {
    /// A packet that asked for it left at that time.
    fn stamp_sent(&mut self, at: Picos) {
        let time = self.clock.time(at);
        let frame = self.tx.out.packet.iter().copied().take(256).collect();
        if self.tx.stamps.len() == STAMPS {
            self.tx.stamps.remove(0);
        }
        self.tx.stamps.push((time, frame));
    }
}

impl Transmitter for Sender<'_> {
    #[inline]
    fn turns(&mut self) -> &mut Turns {
        &mut self.plane.tx.turns
    }

    #[inline]
    fn look(&mut self, _: u16) {}

    #[inline]
    fn fetch(&mut self, q: u16) -> Next {
        let cq = self.plane.tx_ring(q).map(|ring| ring.cq);
        let Some(cq) = self.plane.live(cq) else { return Next::Nothing };
        if self.plane.cq(cq).is_none_or(|queue| queue.dead) {
            return Next::Nothing;
        }
        let Some(gathered) = self.gather(q) else { return Next::Nothing };
        (self.plane.tx.turns.queue, self.plane.tx.turns.busy) = (q, true);
        match gathered.and_then(|wishes| self.prepare(wishes)) {
            Ok(()) => {
                if let (Some(meter), Some(ring)) = (self.board.bus.memory.meter(), self.plane.tx_ring(q)) {
                    meter.depart("DMA", ring.bell);
                }
                Next::Packet
            }
            Err(end) => {
                self.complete(end);
                Next::Other
            }
        }
    }

    #[inline]
    fn emit(&mut self) -> bool {
        let now = self.board.now;
        let q = self.plane.tx.turns.queue;
        let stat = self.plane.tx_ring(q).and_then(|ring| ring.stat);
        let mut wire = now;
        loop {
            let plane = &mut *self.plane;
            let out = &plane.tx.out;
            let Some(range) = out.frames.get(out.at) else { break };
            let buffer = if out.cut { &out.segments } else { &out.packet };
            let frame = &buffer[range.clone()];
            let Some(at) = self.board.port.send(frame, now) else { return false };
            wire = at;
            plane.port.sent(frame);
            if let Some(counters) = stat::counters(&mut plane.stats, stat) {
                counters.sent(frame);
            }
            plane.total.sent(frame);
            plane.tx.out.at += 1;
        }
        self.complete(End::Sent(wire));
        true
    }

    fn finish(&mut self, _: usize, _: bool) {}
}

/// Sequence number and identification of a TCP packet with headers of that length, as
/// they are in it.
fn own_numbers(packet: &[u8], header: usize, mss: u16) -> Option<Tso> {
    let tcp = packet.get(..header)?;
    let parsed = Parsed::of(packet);
    let word = |at: usize| Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    let l4 = match parsed.ethertype {
        0x0800 => parsed.l3_at + 4 * usize::from(*tcp.get(parsed.l3_at)? & 0xf),
        0x86dd => parsed.l3_at + 40,
        _ => return None,
    };
    let length = 4 * usize::from(*tcp.get(l4 + 12)? >> 4);
    let id = u16::from_be_bytes(*packet.get(parsed.l3_at + 4..)?.first_chunk()?);
    (l4 + length == header).then_some(Tso { sequence: word(l4 + 4)?, id, mss })
}
