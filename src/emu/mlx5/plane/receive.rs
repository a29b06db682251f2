//! Receive: frames into buffers, and completions about them.
//!
//! ```text
//!   wire ----> vport: address, length --> flow tables --> TIR --> RQ: | filled | posted ... |
//!   own ------------^                                               |
//!                                            CQ: one entry a frame <'
//! ```
//!
//! A frame that its buffers cannot hold uses up its entry, completes with an error, and
//! the queue goes on. Memory that is not there stops it.

use super::super::super::frame::{L3, L4, Parsed, Verdict, crc32, sum};
use super::super::super::wire::MIN_FRAME;
use super::super::super::{Act, Board, Direction, Picos, STEP};
use super::Plane;
use super::cqe::{self, Failure, Received};
use super::owned::Owner;
use super::ring;
use super::rq::{Rq, Segment};
use super::slab::Slab;
use super::tir::{Hashed, Tir};
use super::work::{State, stamp};
use std::collections::VecDeque;

/// Own frames that may be on their way back.
const LOOP: usize = 64;

/// Layers that a completion says are right.
const L2_OK: u8 = 1;
const L3_OK: u8 = 2;
const L4_OK: u8 = 4;

/// A tag was taken off.
const STRIPPED: u8 = 1;

/// Strides that have no frame in them.
const FILLER: u32 = 1 << 31;

/// Bits of a completion's byte count that are bytes: strides stand above them.
const LENGTH: u32 = 0xffff;

/// Bytes that memory was not there for: the health buffer says so (nasty).
const NO_MEMORY: u8 = 0x0a;

/// What receiving works with.
#[derive(Default)]
pub struct Receiving {
    frame: Vec<u8>,
    data: Vec<u8>,
    targets: Vec<(u32, u32)>,
    segments: Vec<Segment>,
    /// Own frames that come back: their transport domain, and bytes.
    looped: VecDeque<(u32, Vec<u8>)>,
    /// Frames are taken from the wire.
    listening: bool,
}

impl Receiving {
    /// An own frame comes back.
    pub fn loop_back(&mut self, frame: &[u8], td: u32) {
        if self.looped.len() < LOOP {
            self.looped.push_back((td, frame.to_vec()));
        }
    }
}

/// Whether somebody in that domain receives own frames like this one.
pub fn wants_own(tirs: &Slab<Tir>, td: u32, frame: &[u8]) -> bool {
    tirs.iter().any(|(_, tir)| tir.takes_own(td, frame))
}

/// What became of a frame at one TIR.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    Dropped,
    /// No buffers, and the frame may wait.
    Waits,
}

/// A frame as completions describe it.
#[derive(Clone, Copy)]
struct Arrived {
    headers: Parsed,
    at: Picos,
    hashed: Hashed,
    flow: u32,
}

/// Headers and checksums, as a completion says them.
fn describe(frame: &[u8], headers: &Parsed) -> Received {
    let mut checked = L2_OK;
    if headers.l3.is_some() && headers.ip_checksum(frame) != Verdict::Bad {
        checked |= L3_OK;
    }
    if matches!(headers.l4, Some(L4::Tcp | L4::Udp)) && headers.l4_checksum(frame) == Verdict::Good {
        checked |= L4_OK;
    }
    let l3 = match headers.l3 {
        None => 0,
        Some(L3::V6 { .. }) => 1,
        Some(L3::V4 { .. }) => 2,
    };
    let l4 = match headers.l4 {
        Some(L4::Tcp) => tcp_kind(frame, headers),
        Some(L4::Udp) => 2,
        _ => 0,
    };
    let sum = if l3 == 0 { 0 } else { sum(&frame[headers.l3_at..headers.end.min(frame.len())], 0) };
    Received { checked, headers: l3 << 2 | l4 << 4 | u8::from(headers.fragment) << 7, sum, ..Received::default() }
}

/// TCP without acknowledgement, with one and without data, with both.
fn tcp_kind(frame: &[u8], headers: &Parsed) -> u8 {
    let at = headers.l4_at;
    let acknowledges = frame[at + 13] & 0x10 != 0;
    let data = headers.end > at + 4 * usize::from(frame[at + 12] >> 4);
    match (acknowledges, data) {
        (false, _) => 1,
        (true, false) => 3,
        (true, true) => 4,
    }
}

impl Plane {
    /// Receives what has arrived by now; how many frames that was.
    pub(super) fn receive(&mut self, board: &mut Board) -> usize {
        let mut frame = std::mem::take(&mut self.rx.frame);
        let mut frames = self.receive_own(board);
        let open = self.link && self.listens(board);
        while open && frames < STEP && self.receive_one(board, &mut frame) {
            frames += 1;
        }
        self.rx.frame = frame;
        self.end_sessions(board);
        frames
    }

    /// Whether frames are taken from the wire. Until a driver has had a root, and has posted
    /// to a queue, they lie there, so that the first of a played file are not lost; but not
    /// for a nasty card.
    #[inline]
    fn listens(&mut self, board: &Board) -> bool {
        let posted =
            |rq: &Rq| rq.state == State::Ready && ring::record(rq.spec.wq.record, &board.bus.memory) != Some(0);
        self.rx.listening =
            self.rx.listening || board.nasty || self.steering.listens() && self.rqs.iter().any(|(_, rq)| posted(rq));
        self.rx.listening
    }

    /// Own frames that come back.
    fn receive_own(&mut self, board: &mut Board) -> usize {
        let mut frames = 0;
        while let Some((td, frame)) = self.rx.looped.pop_front() {
            let headers = Parsed::of(&frame);
            let mut targets = std::mem::take(&mut self.rx.targets);
            self.route(&frame, &headers, &mut targets);
            targets.retain(|(tir, _)| self.tirs.get(*tir).is_some_and(|tir| tir.takes_own(td, &frame)));
            for (tir, flow) in targets.drain(..) {
                let arrived = Arrived { headers, at: board.now, hashed: (0, 0), flow };
                if self.deliver(board, &frame, tir, arrived, false) == Fate::Taken {
                    self.counters.looped[0] += 1;
                    self.counters.looped[1] += frame.len() as u64;
                }
            }
            self.rx.targets = targets;
            frames += 1;
        }
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
        if self.beyond_port(frame.len()) {
            self.port.received(frame, true);
            board.port.pass_over();
            return true;
        }
        // A nasty port lets through what others of the same port may have.
        let too_long = self.vport.too_long(frame.len()) && !board.nasty;
        if too_long || !self.vport.takes(frame) {
            self.port.received(frame, false);
            self.counters.rx_errors += u64::from(too_long);
            self.counters.unwanted += u64::from(!too_long);
            board.port.pass_over();
            return true;
        }
        let headers = Parsed::of(frame);
        let mut targets = std::mem::take(&mut self.rx.targets);
        self.route(frame, &headers, &mut targets);
        let (mut taken, mut waits) = (false, false);
        let may_wait = board.port.waits();
        for &(tir, flow) in &targets {
            let arrived = Arrived { headers, at, hashed: (0, 0), flow };
            let fate = self.deliver(board, frame, tir, arrived, may_wait && !taken);
            taken |= fate == Fate::Taken;
            waits = fate == Fate::Waits;
            if waits {
                break;
            }
        }
        let unwanted = targets.is_empty();
        self.rx.targets = targets;
        if waits && !taken {
            return false;
        }
        self.port.received(frame, false);
        // What the switch lets through counts there, whatever becomes of it behind.
        self.counters.rx.count(frame);
        if unwanted {
            self.counters.unwanted += 1;
            board.port.pass_over();
        } else {
            board.port.done(!taken);
        }
        true
    }

    /// Puts a frame into the buffers behind one TIR: all of it, or an error, or nothing.
    #[inline]
    fn deliver(&mut self, board: &mut Board, frame: &[u8], tir: u32, mut arrived: Arrived, may_wait: bool) -> Fate {
        let spread = self.tirs.get(tir).and_then(|tir| self.spread(tir, frame, &arrived.headers));
        let Some((rqn, hashed)) = spread else { return Fate::Dropped };
        arrived.hashed = hashed;
        if self.rqs.get(rqn).is_none_or(|rq| rq.state != State::Ready) {
            return self.discard(board, rqn);
        }
        if self.look_at_rq(board, rqn) == 0 {
            return if may_wait { Fate::Waits } else { self.discard(board, rqn) };
        }
        let mut data = std::mem::take(&mut self.rx.data);
        let fate = self.fill(board, frame, rqn, arrived, &mut data);
        self.rx.data = data;
        fate
    }

    /// A frame is lost for want of a buffer: the counter of its queue says so, if it has
    /// one, and no other.
    fn discard(&mut self, board: &mut Board, rqn: u32) -> Fate {
        let counter = self.rqs.get(rqn).map_or(0, |rq| rq.spec.counter);
        if let Some(drops) = self.drops.get_mut(counter.into()) {
            *drops = drops.wrapping_add(1);
        }
        board.starved += 1;
        Fate::Dropped
    }

    /// Fills the entry at a queue's head with a frame and says so.
    #[inline]
    fn fill(&mut self, board: &mut Board, frame: &[u8], rqn: u32, arrived: Arrived, data: &mut Vec<u8>) -> Fate {
        let Some(rq) = self.rqs.get(rqn) else { return Fate::Dropped };
        let (spec, owner) = (&rq.spec, rq.owner());
        let mut said = describe(frame, &arrived.headers);
        (said.hash, said.hash_type) = arrived.hashed;
        (said.flow, said.user_index) = (arrived.flow, spec.user_index);
        said.stamp = stamp(&self.clock, spec.ts_format, self.limits.rq_stamps, arrived.at);
        data.clear();
        data.extend_from_slice(frame);
        if spec.keeps_fcs {
            data.extend_from_slice(&crc32(frame).to_le_bytes());
        }
        if let (false, Some([0x81, 0x00, high, low])) = (spec.keeps_vlan, frame.get(12..16)) {
            said.tag = u16::from_be_bytes([*high, *low]);
            said.headers |= STRIPPED;
            board.used.untagged += 1;
            data.drain(12..16);
        }
        said.bytes = data.len() as u32;
        said.counter = rq.consumer;
        if rq.strides.is_some() {
            return self.fill_strides(board, rqn, data, said);
        }
        let mut segments = std::mem::take(&mut self.rx.segments);
        let there = rq.segments(board, &mut segments);
        let room: usize = segments.iter().map(|segment| segment.len).sum();
        let failure = if !there {
            Some(Failure::MEMORY)
        } else if room < data.len() {
            Some(Failure::LENGTH)
        } else {
            self.scatter(board, owner, data, &segments, 0).err()
        };
        self.rx.segments = segments;
        self.conclude(board, rqn, said, failure, true)
    }

    /// Writes a frame to memory, `skip` bytes into it.
    fn scatter(
        &mut self,
        board: &mut Board,
        owner: Owner,
        mut data: &[u8],
        to: &[Segment],
        mut skip: usize,
    ) -> Result<(), Failure> {
        for segment in to {
            let passed = skip.min(segment.len);
            skip -= passed;
            let (part, rest) = data.split_at(data.len().min(segment.len - passed));
            data = rest;
            if part.is_empty() {
                continue;
            }
            let at = segment.at.wrapping_add(passed as u64);
            if !self.may(owner, segment.lkey, at, part.len(), true) {
                board.violations.note("receive buffer with a key that does not let the queue have it");
                return Err(Failure::KEY);
            }
            if let Some(meter) = board.bus.memory.meter() {
                meter.write([(at, part.len() as u64)]);
            }
            if !board.bus.memory.put(at, part) {
                if board.nasty {
                    self.trouble = Some(NO_MEMORY);
                }
                return Err(Failure::MEMORY);
            }
        }
        Ok(())
    }

    /// Reports what came of a frame; the entry at the head is done with if `whole`.
    fn conclude(
        &mut self,
        board: &mut Board,
        rqn: u32,
        mut said: Received,
        failure: Option<Failure>,
        whole: bool,
    ) -> Fate {
        let Some(rq) = self.rqs.get_mut(rqn) else { return Fate::Dropped };
        let cqn = rq.spec.cqn;
        if whole {
            rq.pass(board);
        }
        let filler = said.bytes & FILLER != 0;
        let act = if filler || failure.is_some() { None } else { board.bus.memory.slip(Direction::Rx) };
        match act {
            Some(Act::Length(len)) => said.bytes = said.bytes & !LENGTH | len,
            Some(Act::Other) => said.counter = said.counter.wrapping_add(1),
            _ => {}
        }
        let entry = match failure {
            Some(failure) => cqe::failed(false, failure, 0, rqn, said.user_index, said.counter),
            None => cqe::received(&said),
        };
        let fits = self.say(board, cqn, entry, false, act);
        // A frame that is too long is its sender's fault; the queue goes on.
        if !fits || failure.is_some_and(|failure| failure != Failure::LENGTH) {
            self.fail_rq(board, rqn);
        }
        if failure.is_some() {
            self.counters.rx_errors += 1;
        }
        if failure.is_none() && fits { Fate::Taken } else { Fate::Dropped }
    }

    /// Puts a frame into strides; those at the end of an entry that are too few for it
    /// are passed over, and a filler says so.
    fn fill_strides(&mut self, board: &mut Board, rqn: u32, data: &[u8], mut said: Received) -> Fate {
        loop {
            let Some(rq) = self.rqs.get_mut(rqn) else { return Fate::Dropped };
            let (head, owner) = (rq.head, rq.owner());
            let Some(strides) = &mut rq.strides else { return Fate::Dropped };
            let (taken, shift) = (strides.taken, strides.shift);
            let needed = (data.len() + shift).div_ceil(strides.size) as u32;
            (said.entry, said.counter) = (head, taken as u16);
            if needed > strides.count {
                said.bytes = 0;
                return self.conclude(board, rqn, said, Some(Failure::LENGTH), true);
            }
            let left = strides.count - taken;
            if needed > left {
                let filler = Received { bytes: FILLER | left << 16, ..said };
                let filler = Received { checked: 0, headers: 0, hash: 0, hash_type: 0, tag: 0, sum: 0, ..filler };
                if self.conclude(board, rqn, filler, None, true) != Fate::Taken {
                    return Fate::Dropped;
                }
                if self.look_at_rq(board, rqn) == 0 {
                    return self.discard(board, rqn);
                }
                continue;
            }
            strides.taken += needed;
            let (whole, skip) = (strides.taken == strides.count, taken as usize * strides.size + shift);
            said.bytes |= needed << 16;
            let mut segments = std::mem::take(&mut self.rx.segments);
            let there = self.rqs.get(rqn).is_some_and(|rq| rq.segments(board, &mut segments));
            let room: usize = segments.iter().map(|segment| segment.len).sum();
            let failure = match there {
                false => Some(Failure::MEMORY),
                true if room < skip + data.len() => Some(Failure::LENGTH),
                true => self.scatter(board, owner, data, &segments, skip).err(),
            };
            self.rx.segments = segments;
            return self.conclude(board, rqn, said, failure, whole || failure == Some(Failure::LENGTH));
        }
    }
}
