//! Completion queues.
//!
//! ```text
//!   queue --entry (64 bytes, owner 0, 1 by laps)--> CQ --armed?--> event queue
//!                 record: consumer --^                 ^-- doorbell: sequence, consumer
//! ```
//!
//! A queue without leave to write over unread entries reads from its doorbell record how
//! far its driver is. One that runs over is dead: an event says so, and queues that
//! complete there fail.
//!
//! An arm holds for one event. Its sequence number, two bits, tells an arm that came
//! before the last event from one after it.

use super::super::super::{Act, Board, Picos};
use super::be::{set_bits, u16_at};
use super::cqe;
use super::eq::CQ_ERROR;
use super::owned::{context, free};
use super::ring::{self, Ring};
use super::spec::CqSpec;
use super::{Outcome, Plane, Status};
use crate::dma::Iova;

/// Positions have 24 bits.
const POSITION: u32 = 0xff_ffff;

/// Bytes of the context.
const CONTEXT: usize = 0x40;

const MICROSECOND: Picos = 1_000_000;

/// How late the owner of an entry may come after the rest of it (nasty).
const LATE: Picos = 2 * MICROSECOND;

/// What an arm waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arm {
    consumer: u32,
    /// Entries of urgent packets only.
    solicited: bool,
    sequence: u8,
}

/// A completion queue.
pub struct Cq {
    pub spec: CqSpec,
    ring: Ring,
    log_entry: u32,
    /// The next entry, and the one that a driver may see.
    producer: u32,
    visible: u32,
    /// The driver's position, as of the last look at its record.
    consumer: u32,
    arm: Option<Arm>,
    /// Sequence number of the arm that the last event was for.
    told: Option<u8>,
    /// Completions since the last event, and when the first of them was.
    waiting: u16,
    since: Picos,
    /// Position of the last entry of an urgent packet.
    urgent: Option<u32>,
    pub dead: bool,
    /// Entries that wait for company, to be compressed.
    pub session: Vec<[u8; 64]>,
    context: Vec<u8>,
}

/// An entry whose owner is still to come (nasty).
pub struct Late {
    due: Picos,
    cqn: u32,
    at: Iova,
    /// Its last word.
    last: u64,
    solicited: bool,
    count: u32,
}

impl Cq {
    /// Where the entry so many places further is.
    pub fn slot(&self, further: u32) -> Iova {
        self.ring.slot(self.producer.wrapping_add(further))
    }

    /// Whether so many more entries have room.
    #[inline]
    pub fn has_room(&mut self, board: &Board, count: u32) -> bool {
        if self.spec.ignores_overrun {
            return true;
        }
        let full = |cq: &Cq| (cq.producer.wrapping_sub(cq.consumer) & POSITION) + count > cq.ring.len();
        if full(self)
            && let Some(consumer) = ring::record(self.spec.record, &board.bus.memory)
        {
            self.consumer = consumer & POSITION;
            if let Some(meter) = board.bus.memory.meter() {
                meter.fetch([(self.spec.record, 4)], board.now);
            }
        }
        !full(self)
    }

    /// Entries are moderated.
    fn moderated(&self) -> bool {
        self.spec.period != 0 && self.spec.max_count > 1
    }

    /// Whether the one that armed it is to be told now.
    #[inline]
    fn calls(&self, now: Picos) -> bool {
        let Some(arm) = self.arm else { return false };
        if arm.solicited {
            // Not of one that was read before it was armed.
            return self.urgent.is_some_and(|at| at.wrapping_sub(arm.consumer) & POSITION <= POSITION / 2);
        }
        let unread = self.visible != arm.consumer;
        let ripe = !self.moderated()
            || self.waiting >= self.spec.max_count
            || now - self.since >= Picos::from(self.spec.period) * MICROSECOND;
        unread && ripe
    }
}

impl Plane {
    /// CREATE_CQ: its number.
    pub fn create_cq(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let mut spec = CqSpec::of(request);
        let limits = &self.limits;
        let beyond = spec.place.log_size > limits.log_cq
            || spec.entry_size > 2
            || spec.entry_size == 2 && !limits.cqe_128_always
            || spec.ignores_overrun && !limits.cq_oi
            || spec.compresses && (!limits.compression || spec.mini_format == 2)
            || spec.compresses && spec.mini_format == 3 && !limits.stride_index
            || spec.compresses && (spec.entry_size != 0 || spec.collapsed)
            || (spec.period != 0 || spec.max_count != 0) && !limits.moderation
            || spec.period_mode != 0 && !limits.period_from_cqe
            || !spec.record.is_multiple_of(8);
        if beyond {
            return Err(Status::BAD_PARAMETER);
        }
        if !self.eqs.holds(spec.eqn) || !self.uars.holds(spec.uar) {
            return Err(Status::BAD_RESOURCE);
        }
        let log_entry = if spec.entry_size == 0 { 6 } else { 7 };
        let ring = Ring::new(&mut spec.place, log_entry)?;
        if !ring.is_softwares(&board.bus.memory) {
            board.violations.note("completion queue whose entries do not all say that they are not valid yet");
        }
        let cq = Cq {
            spec,
            ring,
            log_entry,
            producer: 0,
            visible: 0,
            consumer: 0,
            arm: None,
            told: None,
            waiting: 0,
            since: 0,
            urgent: None,
            dead: false,
            session: Vec::new(),
            context: context(request, 0x10, CONTEXT),
        };
        self.cqs.insert(cq, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// MODIFY_CQ: moderation, and whether unread entries may be written over.
    pub fn modify_cq(&mut self, request: &[u8]) -> Outcome<()> {
        const PERIOD: u32 = 1 << 0;
        const COUNT: u32 = 1 << 1;
        const OVERRUN: u32 = 1 << 2;
        const PERIOD_MODE: u32 = 1 << 4;
        let limits = self.limits;
        let cq = self.cqs.get_mut(super::be::id_at(request, 0x08)).ok_or(Status::BAD_RESOURCE)?;
        let what = super::be::u32_at(request, 0x0c);
        let changed = CqSpec::of(request);
        let mode = what & PERIOD_MODE != 0 && (changed.period_mode > 1 || !limits.period_from_cqe);
        let overrun = what & OVERRUN != 0 && !limits.cq_oi;
        let unknown = what & !(PERIOD | COUNT | OVERRUN | PERIOD_MODE) != 0;
        if unknown || u16_at(request, 0x06) != 0 || mode || overrun {
            return Err(Status::BAD_PARAMETER);
        }
        if what & PERIOD != 0 {
            cq.spec.period = changed.period;
            set_bits(&mut cq.context, 0x10, 27, 16, changed.period.into());
        }
        if what & COUNT != 0 {
            cq.spec.max_count = changed.max_count;
            set_bits(&mut cq.context, 0x10, 15, 0, changed.max_count.into());
        }
        if what & OVERRUN != 0 {
            cq.spec.ignores_overrun = changed.ignores_overrun;
            set_bits(&mut cq.context, 0x00, 17, 17, changed.ignores_overrun.into());
        }
        if what & PERIOD_MODE != 0 {
            cq.spec.period_mode = changed.period_mode;
            set_bits(&mut cq.context, 0x00, 16, 15, changed.period_mode.into());
        }
        Ok(())
    }

    /// QUERY_CQ: its context.
    pub fn query_cq(&self, id: u32) -> Outcome<Vec<u8>> {
        let cq = self.cqs.get(id).ok_or(Status::BAD_RESOURCE)?;
        let mut context = cq.context.clone();
        set_bits(&mut context, 0x00, 31, 28, if cq.dead { 9 } else { 0 });
        set_bits(&mut context, 0x28, 23, 0, cq.consumer);
        set_bits(&mut context, 0x2c, 23, 0, cq.producer);
        Ok(context)
    }

    /// DESTROY_CQ: no queue may complete there.
    pub fn destroy_cq(&mut self, board: &mut Board, id: u32) -> Outcome<()> {
        let used = self.sqs.iter().any(|(_, sq)| sq.spec.cqn == id) || self.rqs.iter().any(|(_, rq)| rq.spec.cqn == id);
        if !used {
            self.mend(board, Some(id));
        }
        let cqs = &mut self.cqs;
        free(used, || cqs.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// Puts an entry into a queue; false if it has no room, or is dead.
    #[inline]
    pub(super) fn complete(&mut self, board: &mut Board, cqn: u32, entry: [u8; 64], solicited: bool) -> bool {
        if self.cqs.get(cqn).is_some_and(|cq| cq.spec.compresses) {
            return self.complete_compressed(board, cqn, entry, solicited);
        }
        self.write_entry(board, cqn, entry, solicited, 1)
    }

    /// The same of a packet; never, twice or later, if that is what goes wrong (fault).
    #[inline]
    pub(super) fn say(
        &mut self,
        board: &mut Board,
        cqn: u32,
        entry: [u8; 64],
        solicited: bool,
        act: Option<Act>,
    ) -> bool {
        match act {
            Some(Act::Never) => true,
            Some(Act::Twice) => {
                self.complete(board, cqn, entry, solicited) && self.complete(board, cqn, entry, solicited)
            }
            Some(Act::Late(by)) => self.complete_late(board, cqn, entry, by),
            _ => self.complete(board, cqn, entry, solicited),
        }
    }

    /// The same, so much later than what waits for company (fault).
    #[cold]
    fn complete_late(&mut self, board: &mut Board, cqn: u32, mut entry: [u8; 64], by: Picos) -> bool {
        if !self.end_session(board, cqn) {
            return false;
        }
        let Some(cq) = self.cqs.get_mut(cqn).filter(|cq| !cq.dead) else { return false };
        if cq.spec.collapsed || !cq.has_room(board, 1) {
            return self.write_entry(board, cqn, entry, false, 1);
        }
        let at = cq.slot(0).wrapping_add((1 << cq.log_entry) - 64);
        entry[0x3f] |= cq.ring.lap(cq.producer);
        cq.producer = (cq.producer + 1) & POSITION;
        let memory = &board.bus.memory;
        memory.later(by, || ring::write(at, &entry, false, memory));
        self.shown(board, cqn, false, 1);
        true
    }

    /// Writes an entry that takes `count` places.
    #[inline]
    pub(super) fn write_entry(
        &mut self,
        board: &mut Board,
        cqn: u32,
        mut entry: [u8; 64],
        solicited: bool,
        count: u32,
    ) -> bool {
        let Some(cq) = self.cqs.get_mut(cqn).filter(|cq| !cq.dead) else { return false };
        if !cq.has_room(board, count) {
            cq.dead = true;
            self.cq_error(board, cqn);
            return false;
        }
        let at = if cq.spec.collapsed { cq.ring.slot(0) } else { cq.slot(0) };
        // Entries of 128 bytes have what matters in their second half.
        let at = at.wrapping_add((1 << cq.log_entry) - 64);
        entry[0x3f] |= cq.ring.lap(cq.producer);
        cq.producer = (cq.producer + count) & POSITION;
        if let Some(meter) = board.bus.memory.meter() {
            meter.report([(at, 64)], cqe::is_sent(&entry));
        }
        ring::write(at, &entry, board.nasty, &board.bus.memory);
        if board.nasty {
            let last = self.late.back().map_or(0, |late| late.due);
            let due = last.max(board.now + board.random.below(LATE));
            let word = u64::from_le_bytes(*entry.last_chunk().unwrap_or(&[0; 8]));
            self.late.push_back(Late { due, cqn, at, last: word, solicited, count });
        } else {
            self.shown(board, cqn, solicited, count);
        }
        true
    }

    /// Writes the owners of entries that are due, or all of one queue.
    pub(super) fn mend(&mut self, board: &mut Board, whole: Option<u32>) {
        let mut late = std::mem::take(&mut self.late);
        late.retain(|late| {
            let due = late.due <= board.now || whole == Some(late.cqn);
            if due {
                board.bus.memory.fall_behind();
                board.bus.memory.store64(late.at.wrapping_add(56), late.last);
                self.shown(board, late.cqn, late.solicited, late.count);
            }
            !due
        });
        self.late = late;
    }

    /// A driver can see so many more entries.
    #[inline]
    fn shown(&mut self, board: &mut Board, cqn: u32, solicited: bool, count: u32) {
        let Some(cq) = self.cqs.get_mut(cqn) else { return };
        cq.visible = (cq.visible + count) & POSITION;
        if cq.waiting == 0 {
            cq.since = board.now;
        }
        cq.waiting = cq.waiting.saturating_add(count as u16);
        if solicited {
            cq.urgent = Some(cq.visible.wrapping_sub(1) & POSITION);
        }
        if cq.arm.is_some() {
            self.tell(board, cqn);
        }
    }

    /// Tells the one that armed a queue, if it is time.
    fn tell(&mut self, board: &mut Board, cqn: u32) {
        let Some(cq) = self.cqs.get_mut(cqn) else { return };
        if cq.calls(board.now) {
            cq.told = cq.arm.take().map(|arm| arm.sequence);
            cq.waiting = 0;
            let eqn = cq.spec.eqn;
            self.completion_event(board, eqn, cqn);
            return;
        }
        if cq.arm.is_some() && cq.moderated() && !self.moderated.contains(&cqn) {
            self.moderated.push(cqn);
        }
    }

    /// Tells of completions that were held back, if it is time; how many queues wait.
    pub(super) fn tell_moderated(&mut self, board: &mut Board) -> usize {
        for cqn in std::mem::take(&mut self.moderated) {
            self.tell(board, cqn);
        }
        self.moderated.len()
    }

    /// A driver wants to be told of entries from `word`'s position on.
    pub(super) fn arm_cq(&mut self, board: &mut Board, cqn: u32, word: u32) {
        let Some(cq) = self.cqs.get_mut(cqn) else {
            board.violations.note("doorbell of a completion queue that there is not");
            return;
        };
        let record = ring::record(cq.spec.record.wrapping_add(4), &board.bus.memory);
        let (consumer, sequence) = (word & POSITION, (word >> 28 & 3) as u8);
        // Stores to the card are posted: a driver may be laps further meanwhile.
        let ahead_of = |position: u32| (1..=POSITION / 2).contains(&(consumer.wrapping_sub(position) & POSITION));
        if record.is_some_and(ahead_of) {
            board.violations.note("completion queue armed by a doorbell that is ahead of its record");
        }
        if ahead_of(cq.producer) && !cq.spec.ignores_overrun {
            board.violations.note("completion queue armed at a position that was not reached yet");
            return;
        }
        // It was made before the driver knew of the last event, which it will see.
        if cq.told == Some(sequence) {
            return;
        }
        cq.arm = Some(Arm { consumer, solicited: word >> 24 & 1 == 1, sequence });
        self.tell(board, cqn);
    }

    /// A completion queue failed.
    fn cq_error(&mut self, board: &mut Board, cqn: u32) {
        const OVERRUN: u8 = 1;
        let mut data = [0; 28];
        data[..4].copy_from_slice(&cqn.to_be_bytes());
        data[0x0b] = OVERRUN;
        self.event(board, CQ_ERROR, 0, data);
    }
}
