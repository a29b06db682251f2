//! Receive: frames into buffers, and completions about them.
//!
//! ```text
//!   wire --> filters --> VNIC --hash--> RX ring: | filled | posted ...    AGG ring
//!                                          |                                 |
//!                                   first buffer (BD length)    the rest, if longer than
//!                                          |                     the jumbo threshold
//!                                          v
//!                        CQ: RX_L2 (two entries), AGG, AGG, ...
//! ```
//!
//! A frame that its buffers cannot hold is reported with an error. On P4 the ring is
//! dead then, until firmware resets it; on P5 it goes on.

use super::super::super::frame::{L3, L4, Parsed, Verdict};
use super::super::super::wire::MIN_FRAME;
use super::super::super::{Board, Fault, FaultKind, Picos, STEP};
use super::filter::Target;
use super::record::{self, Entry, Part, Received};
use super::slab::Handle;
use super::vnic::{Destination, Vnic};
use super::{Plane, RxStamps};

/// Types of buffer descriptors, and their flags.
const PACKET: u64 = 4;
const AGGREGATION: u64 = 6;
const SOP_PAD: u64 = 1 << 6;
const EOP_PAD: u64 = 1 << 7;

/// Bytes that are left free in front of a frame, where that is asked for.
const PAD: usize = 2;

/// Aggregation buffers of a frame: five bits count them.
const BUFFERS: usize = 31;

/// TPIDs of tags that are taken off.
const TPIDS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// VNIC_CFG: a frame waits for a buffer while there is room in the card.
const BD_STALL: u32 = 1 << 2;

/// VNIC_CFG: the hash is reported, but the default ring taken.
const RSS_DFLT_CR: u32 = 1 << 5;

/// One frame in so many meets a fault that is to be seldom.
const SELDOM: u64 = 100_000;
const HALVES: u64 = 4096;

/// What receiving works with.
#[derive(Default)]
pub struct Receiving {
    frame: Vec<u8>,
    stripped: Vec<u8>,
    targets: Vec<Target>,
    record: Vec<Entry>,
    /// Frames that came into buffers.
    count: u64,
    /// Time and sequence number of the last PTP message that was stamped.
    stamp: Option<(u64, u16)>,
}

/// The rings that a frame goes to.
#[derive(Clone, Copy)]
struct Place {
    rx: u16,
    agg: Option<u16>,
    cq: u16,
    stat: Option<Handle>,
}

/// How a VNIC wants a frame placed.
#[derive(Clone, Copy)]
struct Shape {
    /// It may go on in aggregation buffers.
    spills: bool,
    /// It waits for buffers.
    stalls: bool,
}

/// What became of a frame at one VNIC.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    Dropped,
    /// No buffers, and the frame may wait.
    Waits,
}

/// Whether a fault that is seldom strikes the `n`th frame, or whatever is counted.
pub fn strikes(board: &mut Board, kind: FaultKind, n: u64, one_in: u64) -> bool {
    match board.fault {
        Some(Fault { kind: own, at: Some(at) }) => own == kind && u64::from(at) == n,
        Some(Fault { kind: own, at: None }) => own == kind && board.random.below(one_in) == 0,
        None => false,
    }
}

impl Plane {
    /// The stamp of the PTP message that was received last, and its sequence number.
    pub fn rx_stamp(&self) -> Option<(u64, u16)> {
        self.rx.stamp
    }

    /// Receives what has arrived by now; how many frames that was.
    pub(super) fn receive(&mut self, board: &mut Board) -> usize {
        if !self.link {
            return 0;
        }
        let mut frames = 0;
        let mut frame = std::mem::take(&mut self.rx.frame);
        while frames < STEP && self.receive_one(board, &mut frame) {
            frames += 1;
        }
        self.rx.frame = frame;
        frames
    }

    /// Receives or drops one frame; false if there is none, or it has to wait.
    #[inline]
    fn receive_one(&mut self, board: &mut Board, buffer: &mut Vec<u8>) -> bool {
        let Some((frame, at)) = board.port.peek(board.now) else { return false };
        buffer.clear();
        buffer.extend_from_slice(frame);
        if buffer.len() < MIN_FRAME {
            // Some wires carry what a sending MAC would have padded.
            buffer.resize(MIN_FRAME, 0);
        }
        let frame = &buffer[..];
        let headers = Parsed::of(frame);
        let mut targets = std::mem::take(&mut self.rx.targets);
        self.route(frame, &headers, &mut targets);
        let (mut taken, mut fate) = (false, None);
        for target in &targets {
            let this = self.deliver(board, frame, &headers, *target, at);
            if this == Fate::Waits && !taken {
                self.rx.targets = targets;
                return false;
            }
            taken |= this == Fate::Taken;
            fate = Some(this);
        }
        self.rx.targets = targets;
        self.port.received(frame);
        if fate.is_none() {
            board.port.pass_over();
        } else {
            board.port.done(!taken);
        }
        true
    }

    /// The rings behind a VNIC's default or a place in its table; none if one of them
    /// is gone since.
    #[inline]
    fn resolve(&self, to: Destination) -> Option<Place> {
        let there = |handle: &Handle| self.rings.holds(*handle);
        let (rx, agg, cq, stat) = match to {
            Destination::None => return None,
            Destination::Group(group) => {
                let group = self.groups.get(group.id).filter(|_| self.groups.holds(group))?;
                (group.rx, group.agg, group.cq, group.stat)
            }
            Destination::Rings(rx, cq) => {
                let super::ring::Role::Receive(ring) = &self.rings.get(rx.id)?.role else { return None };
                (rx, ring.agg, cq, ring.stat)
            }
        };
        let agg = agg.filter(there).map(|agg| agg.id);
        (there(&rx) && there(&cq)).then_some(Place { rx: rx.id, agg, cq: cq.id, stat })
    }

    /// Where a VNIC has this frame go.
    #[inline]
    fn choose(&self, vnic: &Vnic, target: Target, hash: Option<(u32, u64)>) -> Option<Place> {
        let place = target.place.or(hash.map(|(hash, _)| hash).filter(|_| vnic.state.flags & RSS_DFLT_CR == 0));
        let to = place.map_or(vnic.default, |place| self.spread(vnic, place));
        let mut place = self.resolve(to)?;
        if vnic.astray {
            place.cq = self.rings.iter().find(|(_, ring)| ring.completes()).map(|(id, _)| id)?;
        }
        Some(place)
    }

    /// Puts a frame into the buffers of one VNIC: all of it, or an error, or nothing.
    #[inline]
    fn deliver(&mut self, board: &mut Board, frame: &[u8], headers: &Parsed, target: Target, at: Picos) -> Fate {
        let Some(vnic) = self.vnics.get(target.vnic.id).filter(|_| self.vnics.holds(target.vnic)) else {
            return Fate::Dropped;
        };
        if frame.len() > usize::from(vnic.state.mru) {
            self.port.too_long();
            return Fate::Dropped;
        }
        let hash = self.hash(vnic, frame, headers);
        let (spills, stalls) = (vnic.spills(frame.len()), vnic.state.flags & BD_STALL != 0);
        let strips = vnic.strips() || board.fault.is_some_and(|fault| fault.kind == FaultKind::Vlan);
        let Some(place) = self.choose(vnic, target, hash) else { return self.discard(board, None) };
        let tag = strips.then(|| tag(frame)).flatten();
        let mut received =
            Received { hash, tag, v6: matches!(headers.l3, Some(L3::V6 { .. })), ..describe(frame, headers) };
        self.stamp(frame, headers, at, &mut received);
        let mut stripped = std::mem::take(&mut self.rx.stripped);
        let data = if tag.is_some() {
            stripped.clear();
            stripped.extend_from_slice(&frame[..12]);
            stripped.extend_from_slice(&frame[16..]);
            &stripped[..]
        } else {
            frame
        };
        let fate = self.fill(board, data, Shape { spills, stalls }, place, received);
        if fate == Fate::Taken {
            board.used.untagged += u64::from(tag.is_some());
            self.count(place.stat, |counters| counters.received(frame));
        }
        self.rx.stripped = stripped;
        fate
    }

    /// A frame is lost for want of a buffer.
    fn discard(&mut self, board: &mut Board, stat: Option<Handle>) -> Fate {
        self.count(stat, |counters| counters.rx_discards += 1);
        self.port.discarded();
        board.starved += 1;
        Fate::Dropped
    }

    /// Fills buffers with a frame and says so.
    #[inline]
    fn fill(&mut self, board: &mut Board, data: &[u8], shape: Shape, place: Place, mut received: Received) -> Fate {
        let waits = board.port.waits() || shape.stalls && !board.port.overrun(board.now);
        let Some(ring) = self.rx_ring(place.rx) else { return Fate::Dropped };
        if ring.dead {
            return self.discard(board, place.stat);
        }
        if ring.posted() == 0 {
            return if waits { Fate::Waits } else { self.discard(board, place.stat) };
        }
        let (consumer, padded, last) = (ring.consumer, ring.padded, ring.opaque);
        let Some([first, address]) = ring.entries.read(consumer, &board.bus.memory) else { return Fate::Dropped };
        if first & 0x3f != PACKET || first >> 16 & 0xffff == 0 {
            board.violations.note("receive descriptor of another type, or without length");
            received.errors = record::RX_BAD_FORMAT;
        }
        let pad = if padded || first & SOP_PAD != 0 { PAD } else { 0 };
        let room = ((first >> 16 & 0xffff) as usize).saturating_sub(pad);
        received.opaque = (first >> 32) as u32;
        received.length = data.len().min(room);
        let (part, rest) = data.split_at(received.length);

        let mut record = std::mem::take(&mut self.rx.record);
        record.clear();
        let buffers = if rest.is_empty() || received.errors & record::RX_BAD_FORMAT != 0 {
            Some(0)
        } else {
            place.agg.filter(|_| shape.spills).and_then(|agg| self.plan(board, agg, rest.len(), &mut record))
        };
        if buffers.is_none() {
            received.errors = record::RX_DID_NOT_FIT;
        }
        let entries = 2 + buffers.unwrap_or(0) as u32;
        let room_for_it = self.reserve(board, place.cq, entries);
        if room_for_it {
            let memory = &board.bus.memory;
            if !memory.write(address + pad as u64, part) {
                received.errors = record::RX_BAD_FORMAT;
            } else if board.nasty && first & EOP_PAD != 0 {
                let end = (pad + part.len()).next_multiple_of(64).min(pad + room);
                memory.write(address + (pad + part.len()) as u64, &[0xa5; 64][..end - pad - part.len()]);
            }
            if let (Some(buffers @ 1..), Some(agg)) = (buffers, place.agg) {
                (received.jumbo, received.buffers) = (true, buffers);
                self.spill(board, agg, rest, buffers);
            }
            self.rx.count += 1;
            let n = self.rx.count;
            if strikes(board, FaultKind::Opaque, n, SELDOM) {
                received.opaque = last;
            }
            let [low, mut high] = record::receive(&received);
            if strikes(board, FaultKind::Half, n, HALVES) {
                high.part = Part::Never;
            }
            record.splice(0..0, [low, high]);
            self.post(board, place.cq, &record, false);
        }
        self.rx.record = record;
        if !room_for_it {
            return self.discard(board, place.stat);
        }
        let fatal = received.errors & (record::RX_DID_NOT_FIT | record::RX_BAD_FORMAT) != 0;
        let kills = fatal && !self.chip.p5();
        if let Some(ring) = self.rx_ring(place.rx) {
            ring.consumer = consumer.wrapping_add(1);
            (ring.opaque, ring.dead) = (received.opaque, kills);
        }
        if fatal {
            self.count(place.stat, |counters| counters.rx_errors += 1);
            return Fate::Dropped;
        }
        Fate::Taken
    }

    /// How many aggregation buffers `len` bytes take, with an entry for each; none if
    /// there are not so many.
    fn plan(&mut self, board: &mut Board, agg: u16, mut len: usize, record: &mut Vec<Entry>) -> Option<usize> {
        let ring = self.rx_ring(agg)?;
        while len > 0 {
            let n = record.len();
            if n == BUFFERS || n >= ring.posted() as usize {
                record.clear();
                return None;
            }
            let [first, _] = ring.entries.read(ring.consumer.wrapping_add(n as u32), &board.bus.memory)?;
            let size = (first >> 16 & 0xffff) as usize;
            if first & 0x3f != AGGREGATION || size == 0 {
                board.violations.note("aggregation descriptor of another type, or without length");
                record.clear();
                return None;
            }
            record.push(record::aggregation(len.min(size), (first >> 32) as u32));
            len -= len.min(size);
        }
        Some(record.len())
    }

    /// Puts the rest of a frame into aggregation buffers, as planned.
    fn spill(&mut self, board: &Board, agg: u16, mut rest: &[u8], buffers: usize) {
        let memory = &board.bus.memory;
        let Some(ring) = self.rx_ring(agg) else { return };
        for _ in 0..buffers {
            let Some([first, address]) = ring.entries.read(ring.consumer, memory) else { return };
            let (part, more) = rest.split_at(rest.len().min((first >> 16 & 0xffff) as usize));
            memory.write(address, part);
            rest = more;
            ring.consumer = ring.consumer.wrapping_add(1);
        }
    }

    /// Stamps a frame, if its kind is stamped (P5).
    #[inline]
    fn stamp(&mut self, frame: &[u8], headers: &Parsed, at: Picos, received: &mut Received) {
        if self.stamps == RxStamps::None || !self.chip.p5() {
            return;
        }
        let message = ptp(frame, headers);
        if message.is_none() && self.stamps != RxStamps::All {
            return;
        }
        let time = self.clock.time(at);
        // Zero means that there is no stamp.
        received.stamp = (time as u32).max(1);
        if let Some(sequence) = message {
            received.itype = 9;
            self.rx.stamp = Some((time, sequence));
        }
    }
}

/// TPID and TCI of the outer tag.
#[inline]
fn tag(frame: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *frame.get(12..16)?.first_chunk()?;
    let tpid = u16::from_be_bytes([a, b]);
    TPIDS.contains(&tpid).then_some((tpid, u16::from_be_bytes([c, d])))
}

/// The sequence number of an event message of PTP.
pub fn ptp(frame: &[u8], headers: &Parsed) -> Option<u16> {
    const ETHERTYPE: u16 = 0x88f7;
    const EVENT_PORT: u16 = 319;
    let udp = headers.l4 == Some(L4::Udp) && headers.ports(frame).is_some_and(|(_, to)| to == EVENT_PORT);
    let at = match headers.ethertype {
        ETHERTYPE => headers.l3_at,
        _ if udp => headers.l4_at + 8,
        _ => return None,
    };
    let message = frame.get(at..at + 34).filter(|message| message[0] & 0xf < 8)?;
    Some(u16::from_be_bytes([message[30], message[31]]))
}

/// What a completion says of a frame's headers and checksums.
#[inline]
fn describe(frame: &[u8], headers: &Parsed) -> Received {
    let itype = match (headers.l3, headers.l4, headers.protocol) {
        (None, ..) if headers.ethertype == 0x8906 => 4,
        (None, ..) if headers.ethertype == 0x88f7 => 8,
        (None, ..) => 0,
        (_, Some(L4::Tcp), _) => 2,
        (_, Some(L4::Udp), _) => 3,
        (_, _, Some(1 | 58)) => 7,
        _ => 1,
    };
    let (mut checked, mut errors) = (0, 0);
    let ip = headers.ip_checksum(frame);
    if ip != Verdict::None {
        checked |= record::RX_IP_CHECKED;
    }
    if ip == Verdict::Bad {
        errors |= record::RX_IP_CHECKSUM;
    }
    if matches!(headers.l4, Some(L4::Tcp | L4::Udp)) {
        let l4 = headers.l4_checksum(frame);
        if l4 != Verdict::None {
            checked |= record::RX_L4_CHECKED;
        }
        if l4 == Verdict::Bad {
            errors |= record::RX_L4_CHECKSUM;
        }
    }
    Received { itype, checked, errors, ..Received::default() }
}
