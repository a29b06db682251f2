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

use super::super::super::frame::{L3, Parsed};
use super::super::super::wire::MIN_FRAME;
use super::super::super::{Act, At, Board, Direction, Fault, FaultKind, Picos, STEP};
use super::describe::{describe, ptp, tag};
use super::filter::Target;
use super::record::{self, Entry, Part, Received};
use super::ring::{Receive, Role};
use super::slab::Handle;
use super::vnic::{Destination, Vnic};
use super::{Plane, RxStamps};
use crate::dma::Iova;

/// Types of buffer descriptors, and their flags.
const PACKET: u64 = 4;
const AGGREGATION: u64 = 6;
const SOP_PAD: u64 = 1 << 6;
const EOP_PAD: u64 = 1 << 7;

/// Bytes that are left free in front of a frame, where that is asked for.
const PAD: usize = 2;

/// Aggregation buffers of a frame: five bits count them.
const BUFFERS: usize = 31;

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
    courses: Vec<Course>,
    record: Vec<Entry>,
    /// Aggregation buffers for the frame at hand: where, and how many bytes of it.
    /// Descriptors are read once, for a driver may change them meanwhile.
    rest: Vec<(Iova, usize)>,
    /// Rings that were filled in this step.
    pub(super) filled: Vec<u16>,
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

/// What is to become of a frame at one VNIC.
#[derive(Clone, Copy)]
enum Course {
    /// The VNIC is gone.
    Gone,
    /// The VNIC takes no frames of that length.
    TooLong,
    /// The VNIC leads to no ring that is there.
    Nowhere,
    /// Into the buffers of these rings.
    Into(Way),
}

/// How a frame goes into buffers.
#[derive(Clone, Copy)]
struct Way {
    place: Place,
    hash: Option<(u32, u64)>,
    /// It may go on in aggregation buffers.
    spills: bool,
    /// Its tag is taken off.
    strips: bool,
    /// It waits for buffers while there is room in the card.
    stalls: bool,
}

/// The first buffer of a frame.
struct Buffer {
    address: Iova,
    room: usize,
    opaque: u32,
    /// What is behind a frame may be written to, up to the end of a cache line.
    open: bool,
    /// Its descriptor makes no sense.
    bad: bool,
}

impl Buffer {
    /// The one at a ring's head.
    #[inline]
    fn next(ring: &Receive, board: &mut Board) -> Option<Buffer> {
        let [first, address] = ring.next(&board.bus.memory)?;
        let len = (first >> 16 & 0xffff) as usize;
        let bad = first & 0x3f != PACKET || len == 0;
        if bad {
            board.violations.note("receive descriptor of another type, or without length");
        }
        let pad = if ring.padded || first & SOP_PAD != 0 { PAD } else { 0 };
        Some(Buffer {
            address: address.wrapping_add(pad as u64),
            room: len.saturating_sub(pad),
            opaque: (first >> 32) as u32,
            open: first & EOP_PAD != 0,
            bad,
        })
    }

    /// Puts the beginning of a frame there; false if it is not memory.
    #[inline]
    fn write(&self, part: &[u8], board: &Board) -> bool {
        let memory = &board.bus.memory;
        let len = part.len();
        if let Some(meter) = memory.meter() {
            meter.write([(self.address, len as u64)]);
        }
        if board.nasty && self.open {
            let end = len.next_multiple_of(64).min(self.room);
            memory.put(self.address.wrapping_add(len as u64), &[0xa5; 64][..end - len]);
        }
        memory.put(self.address, part)
    }
}

/// Whether a fault that is seldom strikes the `n`th frame, or whatever is counted.
pub fn strikes(board: &mut Board, kind: FaultKind, n: u64, one_in: u64) -> bool {
    match board.fault {
        Some(Fault { kind: own, at: Some(At::Number(at)), .. }) => own == kind && u64::from(at) == n,
        Some(Fault { kind: own, at: None, .. }) => own == kind && board.random.below(one_in) == 0,
        _ => false,
    }
}

impl Plane {
    /// The stamp of the PTP message that was received last, and its sequence number.
    pub fn rx_stamp(&self) -> Option<(u64, u16)> {
        self.rx.stamp
    }

    /// Receives what has arrived by now; how many frames that was.
    pub(super) fn receive(&mut self, board: &mut Board) -> usize {
        if !self.link || !self.listens(board.now) {
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
        let mut courses = std::mem::take(&mut self.rx.courses);
        courses.clear();
        courses.extend(targets.iter().map(|target| self.plot(board, frame, &headers, *target)));
        self.rx.targets = targets;
        // All copies or none: what was delivered or counted already would be so again.
        let waits = courses.iter().any(|course| self.waits(board, course));
        let mut taken = false;
        if !waits {
            for course in &courses {
                taken |= self.deliver(board, frame, &headers, *course, at);
            }
        }
        let wanted = !courses.is_empty();
        self.rx.courses = courses;
        if waits {
            return false;
        }
        self.port.received(frame);
        if wanted {
            board.port.done(!taken);
        } else {
            board.port.pass_over();
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
                let Role::Receive(ring) = &self.rings.get(rx.id)?.role else { return None };
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

    /// Where a frame goes that a VNIC wants.
    #[inline]
    fn plot(&self, board: &Board, frame: &[u8], headers: &Parsed, target: Target) -> Course {
        let Some(vnic) = self.vnics.get(target.vnic.id).filter(|_| self.vnics.holds(target.vnic)) else {
            return Course::Gone;
        };
        if frame.len() > usize::from(vnic.state.mru) {
            return Course::TooLong;
        }
        let hash = self.hash(vnic, frame, headers);
        let Some(place) = self.choose(vnic, target, hash) else { return Course::Nowhere };
        let (spills, stalls) = (vnic.spills(frame.len()), vnic.state.flags & BD_STALL != 0);
        Course::Into(Way { place, hash, spills, strips: vnic.strips() || board.faulty(FaultKind::Vlan), stalls })
    }

    /// Whether a frame has to wait for a buffer there, and may.
    #[inline]
    fn waits(&self, board: &Board, course: &Course) -> bool {
        let Course::Into(Way { place, stalls, .. }) = course else { return false };
        let ring = self.rings.get(place.rx).map(|ring| &ring.role);
        let empty = matches!(ring, Some(Role::Receive(ring)) if !ring.dead && ring.posted() == 0);
        empty && (board.port.waits() || *stalls && !board.port.overrun(board.now))
    }

    /// Puts a frame into the buffers of one VNIC: all of it, or an error, or nothing.
    /// True if it is there.
    #[inline]
    fn deliver(&mut self, board: &mut Board, frame: &[u8], headers: &Parsed, course: Course, at: Picos) -> bool {
        let way = match course {
            Course::Gone => return false,
            Course::TooLong => {
                self.port.too_long();
                return false;
            }
            Course::Nowhere => return self.discard(board, None),
            Course::Into(way) => way,
        };
        let tag = way.strips.then(|| tag(frame)).flatten();
        let v6 = matches!(headers.l3, Some(L3::V6 { .. }));
        let mut received = Received { hash: way.hash, tag, v6, ..describe(frame, headers) };
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
        let taken = self.fill(board, data, way, received);
        if taken {
            board.used.untagged += u64::from(tag.is_some());
            self.count(way.place.stat, |counters| counters.received(frame));
        }
        self.rx.stripped = stripped;
        taken
    }

    /// A frame is lost for want of a buffer.
    fn discard(&mut self, board: &mut Board, stat: Option<Handle>) -> bool {
        self.count(stat, |counters| counters.rx_discards += 1);
        self.port.discarded();
        board.starved += 1;
        false
    }

    /// A frame is lost because of its buffer. The ring is dead then, on P5 only if it
    /// cannot go on.
    fn spoil(&mut self, place: Place, ends: bool) -> bool {
        self.count(place.stat, |counters| counters.rx_errors += 1);
        let dead = ends || !self.chip.p5();
        if let Some(ring) = self.rx_ring(place.rx) {
            ring.dead |= dead;
        }
        false
    }

    /// Fills buffers with a frame and says so.
    #[inline]
    fn fill(&mut self, board: &mut Board, data: &[u8], way: Way, mut received: Received) -> bool {
        let place = way.place;
        let Some(ring) = self.rx_ring(place.rx) else { return false };
        if ring.dead || ring.posted() == 0 {
            return self.discard(board, place.stat);
        }
        // Nothing can be said of a buffer whose descriptor is not memory.
        let Some(buffer) = Buffer::next(ring, board) else { return self.spoil(place, true) };
        let (part, rest) = data.split_at(data.len().min(buffer.room));
        self.rx.record.clear();
        let agg = place.agg.filter(|_| way.spills);
        let mut fatal = if buffer.bad {
            record::RX_BAD_FORMAT
        } else if rest.is_empty() || agg.is_some_and(|agg| self.plan(board, agg, rest.len())) {
            0
        } else {
            self.rx.record.clear();
            record::RX_DID_NOT_FIT
        };
        if !self.reserve(board, place.cq, 2 + self.rx.record.len() as u32) {
            return self.discard(board, place.stat);
        }
        let agg = agg.filter(|_| !self.rx.record.is_empty());
        let written = buffer.write(part, board) & agg.is_none_or(|agg| self.spill(board, agg, rest));
        if !written {
            fatal = record::RX_BAD_FORMAT;
        }
        received.errors = if fatal != 0 { fatal } else { received.errors };
        (received.length, received.opaque) = (part.len(), buffer.opaque);
        received.buffers = self.rx.record.len();
        received.jumbo = received.buffers != 0;
        self.report(board, place, received);
        if let Some(ring) = self.rx_ring(place.rx) {
            ring.take(1);
        }
        if !self.rx.filled.contains(&place.rx) {
            self.rx.filled.push(place.rx);
        }
        fatal == 0 || self.spoil(place, false)
    }

    /// Completes a frame; entries for its aggregation buffers are there already.
    #[inline]
    fn report(&mut self, board: &mut Board, place: Place, mut received: Received) {
        self.rx.count += 1;
        let n = self.rx.count;
        let Some(ring) = self.rx_ring(place.rx) else { return };
        let last = std::mem::replace(&mut ring.opaque, received.opaque);
        if strikes(board, FaultKind::Opaque, n, SELDOM) {
            received.opaque = last;
        }
        let act = board.bus.memory.slip(Direction::Rx);
        match act {
            Some(Act::Length(len)) => received.length = len as usize,
            Some(Act::Other) => received.opaque = received.opaque.wrapping_add(1),
            Some(Act::Endless) => (received.buffers, received.jumbo) = (received.buffers + 1, true),
            _ => {}
        }
        let [low, mut high] = record::receive(&received);
        if strikes(board, FaultKind::Half, n, HALVES) {
            high.part = Part::Never;
        }
        let mut record = std::mem::take(&mut self.rx.record);
        record.splice(0..0, [low, high]);
        self.say(board, place.cq, &record, false, act);
        self.rx.record = record;
    }

    /// Finds aggregation buffers for `len` bytes, and makes an entry for each; false
    /// if there are not so many.
    fn plan(&mut self, board: &mut Board, agg: u16, mut len: usize) -> bool {
        let mut record = std::mem::take(&mut self.rx.record);
        let mut buffers = std::mem::take(&mut self.rx.rest);
        buffers.clear();
        while let Some(ring) = self.rx_ring(agg).filter(|_| len > 0) {
            let n = record.len();
            let there = n < BUFFERS && n < ring.posted() as usize;
            let at = ring.consumer.wrapping_add(n as u32);
            if !there {
                break;
            }
            let Some([first, address]) = ring.entries.read(at, &board.bus.memory) else { break };
            let size = (first >> 16 & 0xffff) as usize;
            if first & 0x3f != AGGREGATION || size == 0 {
                board.violations.note("aggregation descriptor of another type, or without length");
                break;
            }
            record.push(record::aggregation(len.min(size), (first >> 32) as u32));
            buffers.push((address, len.min(size)));
            len -= len.min(size);
        }
        (self.rx.record, self.rx.rest) = (record, buffers);
        len == 0
    }

    /// Puts the rest of a frame into the aggregation buffers that were found; false if
    /// one is not memory.
    fn spill(&mut self, board: &Board, agg: u16, mut rest: &[u8]) -> bool {
        let mut written = true;
        for &(address, len) in &self.rx.rest {
            let (part, more) = rest.split_at(len.min(rest.len()));
            if let Some(meter) = board.bus.memory.meter() {
                meter.write([(address, part.len() as u64)]);
            }
            written &= board.bus.memory.put(address, part);
            rest = more;
        }
        let used = self.rx.rest.len() as u32;
        if let Some(ring) = self.rx_ring(agg) {
            ring.take(used);
        }
        written
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
