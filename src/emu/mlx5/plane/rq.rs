//! Receive queues: commands on them, entries, flushing.
//!
//! ```text
//!   cyclic    | length, key, address | length, key, address | 0, 0x100 |   one frame
//!   strides   | next | length, key, address |      frames one behind the other, each
//!                                                  from the beginning of a stride
//! ```
//!
//! How much is posted is read from the doorbell record when it is needed.

use super::super::super::Board;
use super::be::{set_bits, u16_at, u32_at, u64_at};
use super::cqe::{self, Failure};
use super::eq::WQ_CATASTROPHE;
use super::owned::{Owner, context};
use super::ring::{self, Ring};
use super::spec::{ChangeSpec, RqSpec};
use super::work::{Flush, State, check_stamps, check_wq};
use super::{Outcome, Plane, Status};
use crate::dma::Iova;

/// Bytes of the context.
const CONTEXT: usize = 0xf0;

/// Kinds of work queues.
const CYCLIC: u8 = 1;
const LINKED_STRIDES: u8 = 2;
const CYCLIC_STRIDES: u8 = 3;

/// The key that ends a list of segments.
const END: u32 = 0x100;

/// Logarithms of entries' sizes: of segments, and where there are strides.
const SEGMENT: u8 = 4;
const STRIDES_ENTRY: u8 = 5;

/// Logarithm of the longest entry, where a card does not say.
const LONGEST: u32 = 9;

/// A length of zero stands for this.
const TWO_GIB: usize = 1 << 31;

/// Strides of a queue that consists of them.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
    /// Bytes of one, and how many an entry has.
    pub size: usize,
    pub count: u32,
    /// Frames begin two bytes into theirs.
    pub shift: usize,
    /// Those of the entry at the head that are taken.
    pub taken: u32,
}

/// A receive queue.
pub struct Rq {
    pub spec: RqSpec,
    pub ring: Ring,
    pub state: State,
    pub strides: Option<Strides>,
    pub producer: u16,
    pub consumer: u16,
    /// The entry at the head: where entries are linked that is not the position.
    pub head: u16,
    flush: Flush,
    context: Vec<u8>,
}

/// A piece of memory for a frame.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub len: usize,
    pub lkey: u32,
    pub at: Iova,
}

impl Rq {
    /// Entries that wait.
    #[inline]
    pub fn posted(&self) -> u16 {
        self.producer.wrapping_sub(self.consumer)
    }

    /// Looks how much its record says is posted; false if that is more than its ring has.
    #[inline]
    fn see(&mut self, board: &Board) -> bool {
        let record = ring::record(self.spec.wq.record, &board.bus.memory);
        let end = record.map_or(self.producer, |record| record as u16);
        let fits = u32::from(end.wrapping_sub(self.consumer)) <= self.ring.len();
        if let Some(meter) = board.bus.memory.meter() {
            let seen = meter.fetch([(self.spec.wq.record, 4)], board.now);
            let new = if fits { end } else { self.producer };
            meter.fetch(self.ring.pieces(self.producer, new), seen);
        }
        if fits {
            self.producer = end;
        }
        fits
    }

    /// Whose memory its entries name.
    pub fn owner(&self) -> Owner {
        Owner { pd: self.spec.wq.pd, reserved: self.spec.reserved_lkey }
    }

    /// Where the entry at its head is.
    #[inline]
    fn slot(&self) -> Iova {
        self.ring.slot(self.head.into())
    }

    /// The pieces of memory of the entry at its head; false if the entry is not there.
    #[inline]
    pub fn segments(&self, board: &Board, to: &mut Vec<Segment>) -> bool {
        to.clear();
        let mut entry = [0; 512];
        let stride = self.ring.stride().min(entry.len());
        if !board.bus.memory.read(self.slot(), &mut entry[..stride]) {
            return false;
        }
        let from = if self.strides.is_some() { 16 } else { 0 };
        for segment in entry[from..stride].as_chunks::<16>().0 {
            // The highest bit is no part of the length.
            let (len, lkey) = ((u32_at(segment, 0) & 0x7fff_ffff) as usize, u32_at(segment, 4));
            if len == 0 && lkey == END {
                break;
            }
            to.push(Segment { len: if len == 0 { TWO_GIB } else { len }, lkey, at: u64_at(segment, 8) });
        }
        true
    }

    /// The entry at its head is done with.
    pub fn pass(&mut self, board: &Board) {
        let mut next = [0; 4];
        if self.spec.wq.kind == LINKED_STRIDES && board.bus.memory.read(self.slot(), &mut next) {
            self.head = u16_at(&next, 2);
        } else {
            self.head = self.head.wrapping_add(1);
        }
        self.consumer = self.consumer.wrapping_add(1);
        if let Some(strides) = &mut self.strides {
            strides.taken = 0;
        }
    }
}

/// What strides a queue consists of, if any.
fn strides(spec: &RqSpec, few: bool) -> Outcome<Option<Strides>> {
    let wq = &spec.wq;
    if !matches!(wq.kind, LINKED_STRIDES | CYCLIC_STRIDES) {
        return Ok(None);
    }
    // Four bits with a sign: less than 512 strides are below zero.
    let log = 9 + i32::from((wq.strides << 4) as i8 >> 4);
    if log < 9 && !few || log < 3 || wq.log_stride < STRIDES_ENTRY {
        return Err(Status::BAD_PARAMETER);
    }
    let shift = if wq.shifted { 2 } else { 0 };
    Ok(Some(Strides { size: 64 << wq.stride_size, count: 1 << log, shift, taken: 0 }))
}

impl Plane {
    /// CREATE_RQ: its number.
    pub fn create_rq(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let mut spec = RqSpec::of(request);
        let limits = &self.limits;
        check_stamps(spec.ts_format, limits.rq_stamps)?;
        check_wq(&spec.wq, limits, SEGMENT, limits.rq_entry.checked_ilog2().unwrap_or(LONGEST) as u8)?;
        let kind = match spec.wq.kind {
            CYCLIC => true,
            LINKED_STRIDES | CYCLIC_STRIDES => limits.striding,
            _ => false,
        };
        let beyond = spec.keeps_fcs && !limits.scatter_fcs || spec.delays_drop && !limits.delay_drop;
        if !kind || beyond || spec.state != 0 || spec.hairpin || spec.memory != 0 {
            return Err(Status::BAD_PARAMETER);
        }
        let strides = strides(&spec, limits.few_strides)?;
        let counter = spec.counter == 0 || self.drops.holds(spec.counter.into());
        // One of no domain has nowhere to put a frame: Linux makes it to drop what comes.
        let domain = spec.wq.pd == 0 || self.pds.holds(spec.wq.pd);
        if !self.cqs.holds(spec.cqn) || !domain || !counter {
            return Err(Status::BAD_RESOURCE);
        }
        let rq = Rq {
            ring: Ring::new(&mut spec.wq.place, spec.wq.log_stride.into())?,
            state: State::Reset,
            strides,
            producer: 0,
            consumer: 0,
            head: 0,
            flush: Flush::default(),
            context: context(request, 0x20, CONTEXT),
            spec,
        };
        self.rqs.insert(rq, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// MODIFY_RQ: its state, and what is done to tags.
    pub fn modify_rq(&mut self, board: &mut Board, request: &[u8]) -> Outcome<()> {
        const VSD: u64 = 1 << 1;
        const FCS: u64 = 1 << 2;
        const COUNTER: u64 = 1 << 3;
        let change = ChangeSpec::of(request);
        let on = |bit: u64| change.mask & bit != 0;
        let counter = on(COUNTER) && change.counter != 0 && !self.drops.holds(change.counter.into());
        let rq = self.rqs.get_mut(change.id).ok_or(Status::BAD_RESOURCE)?;
        let state = rq.state.change(change.from, change.to)?;
        if change.mask & !(VSD | FCS | COUNTER) != 0 || on(FCS) && change.keeps_fcs && !self.limits.scatter_fcs {
            return Err(Status::BAD_PARAMETER);
        }
        if counter {
            return Err(Status::BAD_RESOURCE);
        }
        if on(VSD) {
            rq.spec.keeps_vlan = change.keeps_vlan;
        }
        if on(FCS) {
            rq.spec.keeps_fcs = change.keeps_fcs;
        }
        if on(COUNTER) {
            rq.spec.counter = change.counter;
        }
        match (rq.state, state) {
            (State::Reset, State::Ready) => {
                rq.state = state;
                // What the record holds counts at once, an old value too.
                self.look_at_rq(board, change.id);
            }
            (State::Ready, State::Error) => self.fail_rq(board, change.id),
            (_, State::Reset) => {
                (rq.producer, rq.consumer, rq.head, rq.state) = (0, 0, 0, state);
                rq.strides.iter_mut().for_each(|strides| strides.taken = 0);
            }
            _ => {}
        }
        Ok(())
    }

    /// QUERY_RQ: its context.
    pub fn query_rq(&self, id: u32) -> Outcome<Vec<u8>> {
        let rq = self.rqs.get(id).ok_or(Status::BAD_RESOURCE)?;
        let mut context = rq.context.clone();
        set_bits(&mut context, 0, 28, 28, rq.spec.keeps_vlan.into());
        set_bits(&mut context, 0, 23, 20, rq.state.number());
        set_bits(&mut context, 0x48, 31, 0, rq.consumer.into());
        set_bits(&mut context, 0x4c, 31, 0, rq.producer.into());
        Ok(context)
    }

    /// DESTROY_RQ: nothing may lead there.
    pub fn destroy_rq(&mut self, id: u32) -> Outcome<()> {
        let used = self.tirs.iter().any(|(_, tir)| !tir.spec.indirect && tir.spec.rqn == id)
            || self.rqts.iter().any(|(_, rqt)| rqt.rqns.contains(&id));
        let rqs = &mut self.rqs;
        super::owned::free(used, || rqs.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// How many entries a receive queue has posted: as far as it was seen, or if that is
    /// none, by its record.
    #[inline]
    pub(super) fn look_at_rq(&mut self, board: &mut Board, id: u32) -> u16 {
        let Some(rq) = self.rqs.get_mut(id) else { return 0 };
        if rq.posted() != 0 || rq.see(board) {
            return rq.posted();
        }
        board.violations.note("record of a receive queue with more than its ring has");
        self.fail_rq(board, id);
        self.queue_event(board, WQ_CATASTROPHE, 1, id);
        0
    }

    /// A receive queue fails: nothing more is received there. All that was posted is
    /// flushed, seen or not.
    pub(super) fn fail_rq(&mut self, board: &mut Board, id: u32) {
        if let Some(rq) = self.rqs.get_mut(id) {
            rq.state = State::Error;
            rq.flush = Flush::start(board);
            rq.see(board);
        }
    }

    /// Completes what was posted to receive queues that failed; how many of them have
    /// more.
    pub(super) fn flush_rqs(&mut self, board: &mut Board) -> usize {
        let failed = |rq: &Rq| rq.state == State::Error && rq.spec.flushes && rq.posted() != 0;
        let ids: Vec<u32> = self.rqs.iter().filter(|(_, rq)| failed(rq)).map(|(id, _)| id).collect();
        let count = ids.len();
        for id in ids {
            while let Some(rq) = self.rqs.get_mut(id).filter(|rq| failed(rq) && rq.flush.is_due(board.now)) {
                let counter = rq.consumer;
                rq.pass(board);
                rq.flush = rq.flush.next(board);
                let entry = cqe::failed(false, Failure::FLUSHED, 0, id, rq.spec.user_index, counter);
                let cqn = rq.spec.cqn;
                if !self.complete(board, cqn, entry, false) {
                    break;
                }
            }
        }
        count
    }
}
