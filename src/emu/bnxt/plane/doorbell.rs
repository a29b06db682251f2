//! Doorbells: how a driver tells how far it is.
//!
//! ```text
//!   P4, 32 bits at slot * 0x80        | key  | irq off | valid |      index     |
//!                                      31..28     27       26    23 ..         0
//!   P5, 64 bits at 0x10000   | type | path |     xid     |          index       |
//!                             63..60  57..56   51 .. 32            23 ..       0
//! ```
//!
//! Rings of different kinds share a slot (P4), all rings share an address (P5). So a
//! word that is polled would hold the last store only, and each holder of a doorbell
//! has a lane, a word or two that it stores to alone. Between two looks at a lane its
//! holder may store often: positions are absolute, and the last one counts.

use super::super::super::pcie::Bell;
use super::super::super::{Board, FaultKind, Violations, polled};
use super::ring::Role;
use super::rx::strikes;
use super::{AsyncEvent, Plane, RingKind};
use crate::pci::Page;
use std::collections::BTreeSet;
use std::sync::Weak;
use std::sync::atomic::Ordering;

/// Bytes between the slots of P4.
pub const STRIDE: u64 = 0x80;

/// Where doorbells are on P5, of the physical function.
pub const P5_PAGE: u64 = 0x1_0000;

/// What a lane of P4 holds that was not stored to: there is no such key.
pub const NOTHING: u32 = u32::MAX;

/// One doorbell in so many is dropped (fault), and the event that says so.
const DROPPED: u64 = 10_000;
const ERROR_REPORT: u16 = 0x45;
const DOORBELL_DROP: u32 = 4;

/// Kinds of doorbells in a slot of P4.
const KEYS: usize = 3;

/// Stands for a key where rings are told apart by id (P5).
const P5_ID: usize = KEYS;

/// A store to a doorbell, or what is left of it.
type Store = u64;

/// Slots, and lanes.
pub struct Bells {
    /// Rings by slot and key (P4).
    slots: Vec<[Option<u16>; KEYS]>,
    lanes: Vec<(Lane, Weak<()>)>,
    page: Option<(Page, usize)>,
    /// Words of lanes whose holders are gone.
    spare: Vec<(Page, usize)>,
    /// Stores to lanes whose turn is the next time.
    kept: Vec<Call>,
    /// Doorbells of rings that were freed: slot and key (P4), or id (P5). Linux rings
    /// them still, as its interrupts are off only after its rings are gone.
    gone: BTreeSet<(u16, usize)>,
    /// Stores seen.
    count: u64,
}

/// A word or two that stand for a doorbell.
pub struct Lane {
    pub page: Page,
    pub word: usize,
    /// Offset in the BAR that it stands for.
    pub offset: u64,
    pub long: bool,
}

/// What a doorbell says.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// In this order stores of one look take effect: buffers for the rest of a frame
    /// before those of its beginning, what was read before all.
    rank: u8,
    ring: u16,
    index: Option<u32>,
    arm: Option<bool>,
}

impl Bells {
    /// No rings, no lanes.
    pub fn new() -> Self {
        Bells {
            slots: Vec::new(),
            lanes: Vec::new(),
            page: None,
            spare: Vec::new(),
            kept: Vec::new(),
            gone: BTreeSet::new(),
            count: 0,
        }
    }

    /// All rings are gone; lanes stay, as their holders do.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.kept.clear();
        self.gone.clear();
    }

    /// The ring with that doorbell (P4).
    pub fn attached(&self, kind: RingKind, slot: u16) -> Option<u16> {
        self.slots.get(usize::from(slot))?[key(kind)?]
    }

    /// A ring has that doorbell.
    pub fn attach(&mut self, kind: RingKind, slot: u16, ring: u16) {
        let (Some(key), slot) = (key(kind), usize::from(slot)) else { return };
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, [None; KEYS]);
        }
        self.slots[slot][key] = Some(ring);
    }

    /// A ring goes: what was stored for it is of no effect on one that gets its id.
    pub fn forget(&mut self, ring: u16) {
        self.kept.retain(|call| call.ring != ring);
        self.gone.insert((ring, P5_ID));
    }

    /// That doorbell has no ring.
    pub fn detach(&mut self, kind: RingKind, slot: u16) {
        if let (Some(key), Some(rings)) = (key(kind), self.slots.get_mut(usize::from(slot))) {
            rings[key] = None;
            self.gone.insert((slot, key));
        }
    }

    /// A doorbell of no ring does nothing; of one that there never was, it is wrong.
    fn of_none(&self, slot: u16, key: usize) -> Result<Option<Call>, &'static str> {
        if self.gone.contains(&(slot, key)) { Ok(None) } else { Err("doorbell of a ring that there is not") }
    }

    /// Slots that rings have had (P4).
    #[inline]
    pub fn used(&self) -> usize {
        self.slots.len()
    }

    /// Gives back lanes whose holders are gone, once what they stored last was taken.
    fn reclaim(&mut self) {
        let spare = &mut self.spare;
        self.lanes.retain(|(lane, holder)| {
            let done = polled::is_left(holder) && lane.is_idle();
            if done {
                spare.push((lane.page.clone(), lane.word));
            }
            !done
        });
    }

    /// Words for one more lane.
    fn words(&mut self, long: bool) -> (Page, usize) {
        if let Some(words) = self.spare.pop() {
            return words;
        }
        let (page, word) = match self.page.take() {
            Some((page, word)) if word < page.len() => (page, word),
            _ => {
                let page = Page::row(1)[0].clone();
                page.iter().for_each(|word| word.store(if long { 0 } else { NOTHING }, Ordering::Relaxed));
                (page, 0)
            }
        };
        self.page = Some((page.clone(), word + 1 + usize::from(long)));
        (page, word)
    }

    /// A lane more for that doorbell.
    fn lane(&mut self, offset: u64, long: bool) -> (Page, usize) {
        self.reclaim();
        let (page, word) = self.words(long);
        let (lent, holder) = page.lend();
        self.lanes.push((Lane { page, word, offset, long }, holder));
        (lent, word)
    }

    /// How many lanes are looked at.
    #[cfg(test)]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }
}

/// Which kind of doorbell a ring has (P4).
fn key(kind: RingKind) -> Option<usize> {
    match kind {
        RingKind::Transmit => Some(0),
        RingKind::Receive => Some(1),
        RingKind::Completion => Some(2),
        RingKind::Aggregation | RingKind::Notification => None,
    }
}

impl Lane {
    /// Whether nothing was stored since the last look.
    fn is_idle(&self) -> bool {
        let (word, idle) = if self.long { (self.word + 1, 0) } else { (self.word, NOTHING) };
        self.page[word].load(Ordering::Acquire) == idle
    }

    /// What was stored since the last look. No store of 64 bits leaves the upper half zero: there
    /// is a path in it.
    #[inline]
    pub fn take(&self) -> Option<Store> {
        if self.long {
            return polled::take_long(&self.page[self.word], &self.page[self.word + 1]);
        }
        polled::take(&self.page[self.word], NOTHING).map(u64::from)
    }
}

impl Plane {
    /// Memory for a doorbell of BAR 2 that its holder has for itself; two words on P5.
    pub fn lane(&mut self, offset: u64) -> Option<(Page, usize)> {
        let there = if self.chip.p5() { offset == P5_PAGE } else { offset.is_multiple_of(STRIDE) };
        there.then(|| self.bells.lane(offset, self.chip.p5()))
    }

    /// What has happened at the doorbells, for a driver that wants to hear of it.
    pub fn take_report(&mut self) -> Option<AsyncEvent> {
        self.report.take()
    }

    /// A write to the doorbell BAR (BAR 2).
    pub fn doorbell(&mut self, board: &mut Board, offset: u64, size: u8, value: u64) {
        if size != if self.chip.p5() { 8 } else { 4 } {
            board.violations.note("doorbell that is not written as a whole, by one store");
            return;
        }
        self.stored(board, offset, value);
        self.serve_queues(board);
    }

    /// A whole store to a doorbell: it takes effect.
    fn stored(&mut self, board: &mut Board, offset: u64, value: Store) {
        if let Some(call) = self.hear(board, offset, value) {
            self.answer(board, call);
        }
    }

    /// Looks at all lanes.
    ///
    /// A driver tells of buffers for the rest of frames before it tells of those for
    /// their beginning. So lanes are looked at twice, and of the second look only what
    /// comes first in that order counts yet.
    pub(super) fn poll(&mut self, board: &mut Board) -> usize {
        let mut calls = std::mem::take(&mut self.calls);
        calls.append(&mut self.bells.kept);
        self.look(board, &mut calls);
        if !calls.is_empty() {
            let first = calls.len();
            self.look(board, &mut calls);
            let mut at = first;
            while at < calls.len() {
                if calls[at].rank < RX_RANK {
                    at += 1;
                } else {
                    self.bells.kept.push(calls.remove(at));
                }
            }
            calls.sort_by_key(|call| call.rank);
        }
        let count = calls.len();
        for call in calls.drain(..) {
            self.answer(board, call);
        }
        self.calls = calls;
        if count > 0 && self.concludes() {
            self.conclude(board);
        }
        count
    }

    /// Takes all that was stored to lanes by now, as when a store to a register
    /// follows, which does not overtake them.
    pub fn catch_up(&mut self, board: &mut Board) {
        self.poll(board);
        for call in std::mem::take(&mut self.bells.kept) {
            self.answer(board, call);
        }
        self.serve_queues(board);
    }

    /// Looks at all lanes once.
    fn look(&mut self, board: &mut Board, calls: &mut Vec<Call>) {
        for at in 0..self.bells.lanes.len() {
            let lane = &self.bells.lanes[at].0;
            if let Some(value) = lane.take() {
                let offset = lane.offset;
                calls.extend(self.hear(board, offset, value));
            }
        }
        if self.crowd.is_overlooked() {
            self.look_at_pages(board, calls);
        }
    }

    /// Understands a store; none if it is of no effect, or lost (fault).
    pub(super) fn hear(&mut self, board: &mut Board, offset: u64, value: Store) -> Option<Call> {
        let call = if self.chip.p5() { self.hear_p5(offset, value) } else { self.hear_p4(offset, value as u32) };
        let call = match call {
            Ok(call) => call?,
            Err(rule) => {
                self.blame(&mut board.violations, rule);
                return None;
            }
        };
        self.bells.count += 1;
        if strikes(board, FaultKind::Doorbell, self.bells.count, DROPPED) {
            self.report = Some(AsyncEvent { id: ERROR_REPORT, data1: DOORBELL_DROP, ..AsyncEvent::default() });
            return None;
        }
        Some(call)
    }

    /// A rule was broken, unless the driver cannot know yet that its rings are gone.
    fn blame(&self, violations: &mut Violations, rule: &'static str) {
        if !self.unnoticed {
            violations.note(rule);
        }
    }

    fn hear_p4(&mut self, offset: u64, value: u32) -> Result<Option<Call>, &'static str> {
        let slot = (offset / STRIDE) as usize;
        if !offset.is_multiple_of(STRIDE) {
            return Err("write between doorbells");
        }
        let key = match value >> 28 {
            0 if value >> 24 == 0 => 0,
            1 if value >> 24 == 0x10 => 1,
            2 => 2,
            _ => return Err("doorbell with a key that there is not"),
        };
        let Some(ring) = self.bells.slots.get(slot).and_then(|slot| slot[key]) else {
            return self.bells.of_none(slot as u16, key);
        };
        let (index, off, valid) = (value & 0xff_ffff, value >> 27 & 1 == 1, value >> 26 & 1 == 1);
        let call = match key {
            0 => Call { rank: TX_RANK, ring, index: Some(index), arm: None },
            1 => Call { rank: self.rx_rank(ring), ring, index: Some(index), arm: None },
            _ => Call { rank: CQ_RANK, ring, index: valid.then_some(index), arm: Some(!off) },
        };
        Ok(Some(call))
    }

    fn hear_p5(&mut self, offset: u64, value: Store) -> Result<Option<Call>, &'static str> {
        if offset != P5_PAGE {
            return Err("write to a place of the doorbell BAR where there is none");
        }
        if value >> 56 & 3 != 1 {
            return Err("doorbell of another path than that for Ethernet");
        }
        let (ring, index) = ((value >> 32 & 0xf_ffff) as u32, (value & 0xff_ffff) as u32);
        let ring = u16::try_from(ring).map_err(|_| "doorbell of a ring that there is not")?;
        let Some(role) = self.rings.get(ring).map(|ring| &ring.role) else {
            return self.bells.of_none(ring, P5_ID);
        };
        let (rank, arm) = match (value >> 60, role) {
            (0, Role::Transmit(_)) => (TX_RANK, None),
            (2, Role::Receive(_)) => (self.rx_rank(ring), None),
            (4, Role::Completion(_)) => (CQ_RANK, Some(false)),
            (5 | 6, Role::Completion(_)) => (CQ_RANK, Some(true)),
            (0xa | 0xe, Role::Notification(_)) => (CQ_RANK, Some(false)),
            (0xb, Role::Notification(_)) => (CQ_RANK, Some(true)),
            (0xf, _) => return Ok(None),
            _ => return Err("doorbell of a type that its ring does not have"),
        };
        Ok(Some(Call { rank, ring, index: Some(index), arm }))
    }

    fn rx_rank(&self, ring: u16) -> u8 {
        match self.rings.get(ring).map(|ring| &ring.role) {
            Some(Role::Receive(ring)) if ring.is_agg => AGG_RANK,
            _ => RX_RANK,
        }
    }

    /// Does what a doorbell says.
    fn answer(&mut self, board: &mut Board, call: Call) {
        let Some(ring) = self.rings.get_mut(call.ring) else { return };
        let fine = match &mut ring.role {
            Role::Completion(queue) => {
                let index = call.index;
                let fine = index.is_none_or(|index| index < queue.entries.len() && queue.ack(index));
                queue.arm(call.arm == Some(true));
                if call.arm == Some(true) {
                    self.armed(board, call.ring);
                }
                fine
            }
            Role::Notification(queue) => {
                let fine = call.index.is_none_or(|index| index < queue.len() && queue.ack(index));
                queue.arm(call.arm == Some(true));
                queue.announce(board);
                fine
            }
            Role::Transmit(ring) => {
                let memory = &board.bus.memory;
                ring.entries.advance(&mut ring.producer, ring.consumer, call.index, &mut ring.bell, memory)
            }
            Role::Receive(ring) => {
                let memory = &board.bus.memory;
                let bell = &mut Bell::default();
                let fine = ring.entries.advance(&mut ring.producer, ring.consumer, call.index, bell, memory);
                if board.nasty && !ring.is_agg {
                    self.check_credit(board, call.ring);
                }
                fine
            }
        };
        if !fine && !self.concludes() {
            self.blame(&mut board.violations, "doorbell with an index outside the ring, or past its other end");
        }
    }

    /// Completions of all that is posted must have room (nasty).
    fn check_credit(&mut self, board: &mut Board, ring: u16) {
        let Some(ring) = self.rx_ring(ring) else { return };
        let (cq, posted) = (ring.cq, ring.posted());
        let Some(cq) = self.live(cq) else { return };
        if self.cq(cq).is_some_and(|queue| queue.room() < 2 * posted) {
            board.violations.note("receive doorbell before the completion queue has room for what is posted");
        }
    }
}

/// Order of effect.
const CQ_RANK: u8 = 0;
const AGG_RANK: u8 = 1;
const RX_RANK: u8 = 2;
const TX_RANK: u8 = 3;
