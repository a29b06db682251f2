//! Send queues and their transport interfaces: commands on them, states, flushing.

use super::super::super::pcie::{Bell, Piece};
use super::super::super::{Board, Picos, Translation};
use super::be::{bits, id_at, set_bits, u64_at};
use super::cqe::{self, Failure};
use super::eq::WQ_CATASTROPHE;
use super::owned::{Owner, context, free};
use super::ring::{self, Ring};
use super::spec::{ChangeSpec, SqSpec, TisSpec};
use super::work::{Flush, State, check_stamps, check_wq};
use super::{Outcome, Plane, Status};

/// Bytes of the contexts.
const CONTEXT: usize = 0xf0;
const TIS: usize = 0xa0;

/// A basic block is of 64 bytes.
const LOG_BLOCK: u8 = 6;

/// Offset of the send counter in the doorbell record.
const RECORD: u64 = 4;

/// A transport interface of send queues.
pub struct Tis {
    pub spec: TisSpec,
    context: Vec<u8>,
}

/// A send queue.
pub struct Sq {
    pub spec: SqSpec,
    pub ring: Ring,
    pub state: State,
    /// Basic blocks that were posted, and that were taken.
    pub producer: u16,
    pub consumer: u16,
    /// When the doorbell was heard.
    pub bell: Bell,
    /// An entry that came with its doorbell, to be taken from there: position, bytes.
    pub pushed: Option<(u16, Vec<u8>)>,
    /// A doorbell that was lost: until then, or another doorbell, it is not heard.
    pub deaf: Option<Picos>,
    /// Transport domain; one without is for what is not sent.
    pub td: Option<u32>,
    flush: Flush,
    context: Vec<u8>,
}

impl Sq {
    /// Basic blocks that wait.
    #[inline]
    pub fn posted(&self) -> u16 {
        self.producer.wrapping_sub(self.consumer)
    }

    /// What its doorbell record says is posted.
    #[inline]
    pub fn record(&self, memory: &Translation) -> Option<u16> {
        ring::record(self.spec.wq.record.wrapping_add(RECORD), memory).map(|record| record as u16)
    }

    /// The basic blocks from one position up to another that did not come with a doorbell.
    pub fn unpushed(&self, from: u16, to: u16) -> impl Iterator<Item = Piece> {
        let pushed = self.pushed.as_ref().map_or((0, 0), |(at, bytes)| (*at, (bytes.len() / 64) as u16));
        let came = move |n: u16| from.wrapping_add(n).wrapping_sub(pushed.0) < pushed.1;
        self.ring.pieces(from, to).zip(0..).filter(move |(_, n)| !came(*n)).map(|(piece, _)| piece)
    }

    /// Whose memory its entries name.
    pub fn owner(&self) -> Owner {
        Owner { pd: self.spec.wq.pd, reserved: self.spec.reserved_lkey }
    }
}

impl Plane {
    /// CREATE_TIS: its number.
    pub fn create_tis(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let spec = TisSpec::of(request);
        if !self.tds.holds(spec.td) || spec.pd != 0 && !self.pds.holds(spec.pd) {
            return Err(Status::BAD_RESOURCE);
        }
        let tis = Tis { spec, context: context(request, 0x20, TIS) };
        self.tises.insert(tis, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// MODIFY_TIS: its priority.
    pub fn modify_tis(&mut self, request: &[u8]) -> Outcome<()> {
        const PRIORITY: u64 = 1 << 0;
        let tis = self.tises.get_mut(id_at(request, 0x08)).ok_or(Status::BAD_RESOURCE)?;
        match u64_at(request, 0x10) {
            0 => return Ok(()),
            PRIORITY => {}
            _ => return Err(Status::BAD_PARAMETER),
        }
        tis.spec.priority = bits(request, 0x20, 19, 16) as u8;
        set_bits(&mut tis.context, 0, 19, 16, tis.spec.priority.into());
        Ok(())
    }

    /// QUERY_TIS: its context.
    pub fn query_tis(&self, id: u32) -> Outcome<Vec<u8>> {
        self.tises.get(id).map(|tis| tis.context.clone()).ok_or(Status::BAD_RESOURCE)
    }

    /// DESTROY_TIS: no queue may name it.
    pub fn destroy_tis(&mut self, id: u32) -> Outcome<()> {
        let used = self.sqs.iter().any(|(_, sq)| sq.td.is_some() && sq.spec.tisn == id);
        let tises = &mut self.tises;
        free(used, || tises.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// CREATE_SQ: its number.
    pub fn create_sq(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let mut spec = SqSpec::of(request);
        let limits = &self.limits;
        check_stamps(spec.ts_format, limits.sq_stamps)?;
        check_wq(&spec.wq, limits, LOG_BLOCK, LOG_BLOCK)?;
        let multi_packet = limits.multi_packet || limits.enhanced_multi_packet;
        let odd = spec.wq.kind != 1 || spec.state != 0 || spec.hairpin || spec.tis_count > 1;
        // Of keys registered by a queue, parsing by software and a paced rate there is nothing.
        let beyond = spec.registers || spec.parses || spec.rate != 0;
        if odd || beyond || spec.multi_packet && !multi_packet || spec.inline_mode > 3 {
            return Err(Status::BAD_PARAMETER);
        }
        let td = match spec.tis_count {
            0 => None,
            _ => Some(self.tises.get(spec.tisn).ok_or(Status::BAD_RESOURCE)?.spec.td),
        };
        if !self.cqs.holds(spec.cqn) || !self.pds.holds(spec.wq.pd) || !self.uars.holds(spec.wq.uar) {
            return Err(Status::BAD_RESOURCE);
        }
        let sq = Sq {
            ring: Ring::new(&mut spec.wq.place, LOG_BLOCK.into())?,
            state: State::Reset,
            producer: 0,
            consumer: 0,
            bell: Bell::default(),
            pushed: None,
            deaf: None,
            td,
            flush: Flush::default(),
            context: context(request, 0x20, CONTEXT),
            spec,
        };
        self.sqs.insert(sq, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// MODIFY_SQ: its state.
    pub fn modify_sq(&mut self, board: &mut Board, request: &[u8]) -> Outcome<()> {
        let change = ChangeSpec::of(request);
        let sq = self.sqs.get_mut(change.id).ok_or(Status::BAD_RESOURCE)?;
        let state = sq.state.change(change.from, change.to)?;
        // There is a rate to change where there is pacing.
        if change.mask != 0 {
            return Err(Status::BAD_PARAMETER);
        }
        match (sq.state, state) {
            (State::Reset, State::Ready) => {
                // What the record holds counts at once, an old value too.
                (sq.consumer, sq.producer) = (0, sq.record(&board.bus.memory).unwrap_or(0));
                if u32::from(sq.producer) > sq.ring.len() {
                    sq.producer = 0;
                    board.violations.note("record of a send queue with more than its ring has");
                    self.fail_sq(board, change.id);
                    self.queue_event(board, WQ_CATASTROPHE, 2, change.id);
                    return Ok(());
                }
                self.tx.turns.start(change.id as u16);
            }
            (State::Ready, State::Error) => self.fail_sq(board, change.id),
            (_, State::Reset) => {
                (sq.producer, sq.consumer, sq.pushed, sq.deaf) = (0, 0, None, None);
                self.tx.turns.stop(change.id as u16);
            }
            _ => {}
        }
        if let Some(sq) = self.sqs.get_mut(change.id) {
            sq.state = state;
        }
        Ok(())
    }

    /// QUERY_SQ: its context.
    pub fn query_sq(&self, id: u32) -> Outcome<Vec<u8>> {
        let sq = self.sqs.get(id).ok_or(Status::BAD_RESOURCE)?;
        let mut context = sq.context.clone();
        set_bits(&mut context, 0, 23, 20, sq.state.number());
        set_bits(&mut context, 0x48, 31, 0, sq.consumer.into());
        set_bits(&mut context, 0x4c, 31, 0, sq.producer.into());
        Ok(context)
    }

    /// DESTROY_SQ.
    pub fn destroy_sq(&mut self, id: u32) -> Outcome<()> {
        self.sqs.remove(id).ok_or(Status::BAD_RESOURCE)?;
        self.tx.turns.stop(id as u16);
        Ok(())
    }

    /// A send queue fails: nothing more of it is sent.
    pub(super) fn fail_sq(&mut self, board: &mut Board, id: u32) {
        self.tx.turns.stop(id as u16);
        if let Some(sq) = self.sqs.get_mut(id) {
            sq.state = State::Error;
            sq.flush = Flush::start(board);
            // What was posted to memory is flushed too, rung or not.
            let posted = |end: &u16| u32::from(end.wrapping_sub(sq.consumer)) <= sq.ring.len();
            sq.producer = sq.record(&board.bus.memory).filter(posted).unwrap_or(sq.producer);
        }
    }

    /// Completes what was posted to send queues that failed; how many of them have more.
    pub(super) fn flush_sqs(&mut self, board: &mut Board) -> usize {
        let failed = |sq: &Sq| sq.state == State::Error && sq.spec.flushes && sq.posted() != 0;
        let ids: Vec<u32> = self.sqs.iter().filter(|(_, sq)| failed(sq)).map(|(id, _)| id).collect();
        let count = ids.len();
        for id in ids {
            while let Some(sq) = self.sqs.get_mut(id).filter(|sq| failed(sq) && sq.flush.is_due(board.now)) {
                let mut ctrl = [0; 16];
                board.bus.memory.read(sq.ring.slot(sq.consumer.into()), &mut ctrl);
                let counter = sq.consumer;
                let blocks = bits(&ctrl, 4, 5, 0).div_ceil(4).max(1) as u16;
                sq.consumer = sq.consumer.wrapping_add(blocks.min(sq.posted()));
                sq.flush = sq.flush.next(board);
                let entry = cqe::failed(true, Failure::FLUSHED, ctrl[3], id, sq.spec.user_index, counter);
                let cqn = sq.spec.cqn;
                if !self.complete(board, cqn, entry, false) {
                    break;
                }
            }
        }
        count
    }
}
