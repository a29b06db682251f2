//! Doorbells: pages of the BAR through which a driver tells how far it is.
//!
//! ```text
//!   0x020  completion queue: sequence, command, consumer | number       8 bytes
//!   0x040  event queue, armed: number, consumer                         4 bytes
//!   0x048  event queue, not armed                                       4 bytes
//!   0x800, 0x900 ... send queue: the first 8 bytes of its last entry,   8 bytes
//!          or all of the entry
//! ```
//!
//! Queues share these places. So a word that is polled would hold the last store only,
//! and each holder of a doorbell has a lane, two words that it stores to alone. Between
//! two looks at a lane its holder may store often: positions are absolute, and the last
//! one counts.
//!
//! 64 bits are stored whole, or their first half and then their second, with nothing
//! else to the same page in between. An entry is taken from its doorbell if it came by one
//! store of 64 bytes or more ([`Registers`]), and from memory otherwise; a nasty card puts
//! it together from several, and the memory is not read. A nasty card also misses a doorbell now and then, and finds what was
//! posted by the doorbell record some time later.

use super::super::super::{Board, Picos, polled};
use super::Plane;
use super::be::{u32_at, u64_at};
use super::flame::Registers;
use super::work::State;
use super::wqe::{BLOCK, Ctrl};
use crate::pci::Page;
use std::sync::Weak;
use std::sync::atomic::Ordering;

/// Places in a page.
const CQ: u16 = 0x020;
const CQ_SECOND: u16 = 0x024;
const EQ_ARM: u16 = 0x040;
const EQ: u16 = 0x048;
pub const SEND: u16 = 0x800;

/// Bytes of a page.
pub const PAGE: usize = 0x1000;

/// One doorbell in so many is missed (nasty), and so long.
const MISSED: u64 = 64;
const DEAF: Picos = 50_000_000;

/// Lanes, and what came in parts.
#[derive(Default)]
pub struct Bells {
    lanes: Vec<Lane>,
    page: Option<(Page, usize)>,
    /// At most one of each UAR page.
    halves: Vec<Half>,
    push: Option<Push>,
    /// What entries are stored into by combined stores.
    pub registers: Registers,
}

/// Two words that stand for a doorbell.
struct Lane {
    page: Page,
    word: usize,
    uar: u32,
    at: u16,
    /// Whether its holder is still there.
    held: Weak<()>,
}

/// The first half of a doorbell of 64 bits.
struct Half {
    uar: u32,
    at: u16,
    bytes: [u8; 4],
}

/// An entry that comes in parts (nasty).
struct Push {
    uar: u32,
    at: u16,
    bytes: Vec<u8>,
}

impl Lane {
    /// Whether something was stored since the last look.
    fn waits(&self) -> bool {
        self.page[self.word].load(Ordering::Acquire) != 0 || self.page[self.word + 1].load(Ordering::Acquire) != 0
    }

    /// What was stored since the last look: no store leaves the half that is looked at
    /// zero, as there is a number in it.
    #[inline]
    fn take(&self) -> Option<[u8; 8]> {
        let [first, second] = [&self.page[self.word], &self.page[self.word + 1]];
        let stored = match self.at {
            CQ | SEND.. => polled::take_long(first, second),
            _ => polled::take(first, 0).map(u64::from),
        };
        stored.map(u64::to_le_bytes)
    }
}

impl Bells {
    /// What came in parts is lost, and what nobody looked at; lanes stay, as their holders
    /// do.
    pub fn clear(&mut self) {
        self.push = None;
        self.halves.clear();
        self.registers.clear();
        for lane in &self.lanes {
            lane.take();
        }
    }
}

impl Plane {
    /// Bytes of a place for entries of send queues: two make a register.
    #[inline]
    pub(super) fn buffer(&self) -> u16 {
        1 << self.limits.log_bf.saturating_sub(1).min(11)
    }

    /// Memory for a doorbell at `at` of a UAR page that its holder has for itself: two
    /// words.
    pub fn lane(&mut self, uar: u32, at: u16) -> Option<(Page, usize)> {
        let send = (SEND..PAGE as u16).contains(&at) && at.is_multiple_of(self.buffer());
        if uar < super::FIRST_UAR || !send && !matches!(at, CQ | EQ_ARM | EQ) {
            return None;
        }
        let (page, word) = match self.bells.page.take() {
            Some((page, word)) if word + 2 <= page.len() => (page, word),
            _ => (Page::row(1)[0].clone(), 0),
        };
        self.bells.page = Some((page.clone(), word + 2));
        self.bells.lanes.retain(|lane| !polled::is_left(&lane.held) || lane.waits());
        let (lent, held) = page.lend();
        self.bells.lanes.push(Lane { page, word, uar, at, held });
        Some((lent, word))
    }

    /// How many lanes there are.
    #[cfg(test)]
    pub(super) fn lanes(&self) -> usize {
        self.bells.lanes.len()
    }

    /// A write of these bytes to a UAR page, as one store.
    pub fn doorbell(&mut self, board: &mut Board, uar: u32, at: u16, bytes: &[u8]) {
        if !self.uars.holds(uar) {
            board.violations.note("write to a UAR page that was not allocated");
            return;
        }
        self.pushed(board, uar, at, bytes);
        match (at, bytes.len()) {
            (EQ_ARM | EQ, 4) => self.ring_eq(board, uar, at, u32_at(bytes, 0)),
            (CQ | CQ_SECOND | SEND.., 4) if at < SEND || at % self.buffer() < 8 => self.halved(board, uar, at, bytes),
            (CQ, 8) => self.ring_cq(board, uar, u64_at(bytes, 0)),
            (SEND.., 8..) if at.is_multiple_of(self.buffer()) => {
                self.lose_half(uar);
                self.ring_sq(board, uar, bytes);
            }
            // The rest of an entry, which is in memory as well.
            (SEND.., _) => {}
            _ => board.violations.note("write to a place of a UAR page where there is none"),
        }
    }

    /// The half of a doorbell that came to this page.
    fn take_half(&mut self, uar: u32) -> Option<Half> {
        let at = self.bells.halves.iter().position(|half| half.uar == uar)?;
        Some(self.bells.halves.swap_remove(at))
    }

    /// Whatever else is rung in its page, half a doorbell is lost.
    fn lose_half(&mut self, uar: u32) {
        if self.take_half(uar).is_some() {
            self.counters.lost_doorbells += 1;
        }
    }

    /// Half of a doorbell of 64 bits.
    fn halved(&mut self, board: &mut Board, uar: u32, at: u16, bytes: &[u8]) {
        let Some(new) = bytes.first_chunk::<4>() else { return };
        if at.is_multiple_of(8) {
            self.lose_half(uar);
            self.bells.halves.push(Half { uar, at, bytes: *new });
            return;
        }
        match self.take_half(uar) {
            Some(half) if half.at + 4 == at => {
                let mut whole = [0; 8];
                whole[..4].copy_from_slice(&half.bytes);
                whole[4..].copy_from_slice(new);
                match half.at {
                    CQ => self.ring_cq(board, uar, u64_at(&whole, 0)),
                    _ => self.ring_sq(board, uar, &whole),
                }
            }
            _ => self.counters.lost_doorbells += 1,
        }
    }

    /// Stores that make up an entry, one behind the other (nasty). Stores of two entries
    /// that mix spoil both.
    fn pushed(&mut self, board: &mut Board, uar: u32, at: u16, bytes: &[u8]) {
        if !board.nasty || at < SEND || bytes.len() >= BLOCK {
            return;
        }
        let begins = at.is_multiple_of(self.buffer());
        if let Some(push) = self.bells.push.as_mut().filter(|push| push.uar == uar && !begins) {
            if at != push.at + push.bytes.len() as u16 {
                board.violations.note("stores of entries to a UAR page that come mixed");
                self.bells.push = None;
                return;
            }
            push.bytes.extend_from_slice(bytes);
            if push.bytes.len() >= BLOCK && push.bytes.len().is_multiple_of(BLOCK) {
                let bytes = push.bytes.clone();
                self.keep_pushed(board, &bytes);
            }
        } else if begins {
            self.bells.push = Some(Push { uar, at, bytes: bytes.to_vec() });
        }
    }

    /// An entry came with its doorbell. One that was sent already is not kept.
    fn keep_pushed(&mut self, board: &Board, bytes: &[u8]) {
        let ctrl = Ctrl::of(bytes);
        let Some(sq) = self.sqs.get_mut(ctrl.sqn).filter(|sq| sq.state == State::Ready) else { return };
        if u32::from(ctrl.index.wrapping_sub(sq.consumer)) < sq.ring.len() {
            let before = sq.pushed.replace((ctrl.index, bytes.to_vec())).filter(|(at, _)| *at != ctrl.index);
            if let (Some((at, bytes)), Some(meter)) = (before, board.bus.memory.meter()) {
                // It is read from the ring after all.
                meter.fetch(sq.ring.pieces(at, at.wrapping_add((bytes.len() / BLOCK) as u16)), board.now);
            }
        }
    }

    fn ring_eq(&mut self, board: &mut Board, uar: u32, at: u16, word: u32) {
        let eqn = word >> 24;
        if self.eqs.get(eqn).is_some_and(|eq| eq.spec.uar != uar) {
            board.violations.note("doorbell of an event queue in another UAR page than its own");
        }
        self.acknowledge_events(board, eqn, word & 0xff_ffff, at == EQ_ARM);
    }

    fn ring_cq(&mut self, board: &mut Board, uar: u32, value: u64) {
        self.lose_half(uar);
        let (word, cqn) = ((value >> 32) as u32, value as u32 & 0xff_ffff);
        if self.cqs.get(cqn).is_some_and(|cq| cq.spec.uar != uar) {
            board.violations.note("doorbell of a completion queue in another UAR page than its own");
        }
        self.arm_cq(board, cqn, word);
    }

    /// The last entry that was posted to a send queue, or its first bytes.
    pub(super) fn ring_sq(&mut self, board: &mut Board, uar: u32, bytes: &[u8]) {
        let ctrl = Ctrl::of(bytes);
        if bytes.len() >= BLOCK {
            self.keep_pushed(board, bytes);
        }
        let Some(sq) = self.sqs.get_mut(ctrl.sqn) else {
            board.violations.note("doorbell of a send queue that there is not");
            return;
        };
        if sq.spec.wq.uar != uar {
            board.violations.note("doorbell of a send queue in another UAR page than its own");
        }
        if sq.state != State::Ready {
            self.counters.lost_doorbells += 1;
            return;
        }
        if let Some(meter) = board.bus.memory.meter() {
            sq.bell = meter.hear(bytes.len() as u64);
        }
        let Some(record) = sq.record(&board.bus.memory) else { return };
        let end = ctrl.index.wrapping_add(ctrl.blocks());
        // Stores to the card are posted: a driver may be further meanwhile.
        if u32::from(record.wrapping_sub(end)) > sq.ring.len() {
            board.violations.note("doorbell of a send queue that is ahead of its record");
        }
        if sq.deaf.is_none() && board.nasty && board.random.below(MISSED) == 0 {
            sq.deaf = Some(board.now + DEAF);
            return;
        }
        sq.deaf = None;
        advance(sq, end, board);
    }

    /// Looks at all lanes, and at records whose doorbells were missed; how much there was.
    pub(super) fn poll_bells(&mut self, board: &mut Board) -> usize {
        let mut work = 0;
        for n in 0..self.bells.lanes.len() {
            let lane = &self.bells.lanes[n];
            let (uar, at) = (lane.uar, lane.at);
            let Some(bytes) = lane.take() else { continue };
            work += 1;
            match at {
                CQ => self.ring_cq(board, uar, u64_at(&bytes, 0)),
                EQ_ARM | EQ => self.ring_eq(board, uar, at, u32_at(&bytes, 0)),
                _ => self.ring_sq(board, uar, &bytes),
            }
        }
        work += self.poll_registers(board);
        if board.nasty {
            work += self.hear_late(board);
        }
        work
    }

    /// Doorbells that were missed: their queues go by the record when it is time.
    fn hear_late(&mut self, board: &mut Board) -> usize {
        let mut waiting = 0;
        for n in 0..self.tx.turns.active().len() {
            let id = self.tx.turns.active()[n];
            let Some(sq) = self.sqs.get_mut(id.into()) else { continue };
            let Some(due) = sq.deaf else { continue };
            waiting += 1;
            if due <= board.now
                && let Some(record) = sq.record(&board.bus.memory)
            {
                sq.deaf = None;
                advance(sq, record, board);
            }
        }
        waiting
    }
}

/// Moves a send queue on to `end`, unless that is more than its ring has. A doorbell may
/// come after its record was gone by.
fn advance(sq: &mut super::sq::Sq, end: u16, board: &mut Board) {
    let (old, new, gone) = (sq.posted(), end.wrapping_sub(sq.consumer), sq.consumer.wrapping_sub(end));
    let room = sq.ring.len();
    if u32::from(new) > room && u32::from(gone) > room {
        board.violations.note("doorbell of a send queue with more than its ring has");
    } else if u32::from(new) <= room && new >= old {
        if let Some(meter) = board.bus.memory.meter() {
            sq.bell.fetched = meter.fetch(sq.unpushed(sq.producer, end), sq.bell.seen);
        }
        sq.producer = end;
    }
}
