//! Completion queues: what a card reports, apart from the work queue.
//!
//! ```text
//!                  reads                            the card writes
//!   lap 1  +----------------------------+  lap 0
//!  owner 1 |  1  |  1  |  1  |  0  |  0  |  0  |  0  |  ...
//!          +----------------------------+
//!            ^ record          ^ next
//! ```
//!
//! An owner bit is 0 on the first lap, 1 on the second, and so on. Memory of zeroes
//! would look like a first lap that is there, so all entries are written before the
//! card is told of them ([`prepare`]).
//!
//! Entries are given back by the record. A card that finds none free stops the queue, or
//! overwrites what was not read, so there are as many as the work queue can cause. One that
//! reports more than that is found out ([`Completions::is_lapped`]).

use super::bell::CqBell;
pub use super::cqe::ENTRY;
use super::cqe::{NEVER, Tail, Words, word};
use crate::dma::Region;
use crate::driver::ring::{Ring, first_position};
use std::sync::atomic::Ordering;

/// Makes entries of memory that a card is not told of yet: before each CREATE_CQ.
pub fn prepare(region: &Region) {
    for entry in region.words::<Words>() {
        for (n, word) in entry.iter().enumerate() {
            word.store(if n == word::TAIL { NEVER } else { 0 }, Ordering::Release);
        }
    }
}

/// A completion queue, as the one queue reads it that it belongs to.
#[derive(Debug)]
pub struct Completions {
    ring: Ring<Words>,
    bell: CqBell,
    /// Position that is read next. Runs freely.
    pub next: u32,
    /// Position in the record.
    acked: u32,
}

impl Completions {
    /// All of `region`, which was prepared.
    pub fn new(region: Region, bell: CqBell) -> Self {
        let len = (region.len() / ENTRY) as u32;
        let first = first_position();
        Completions { ring: Ring::new(region, len), bell, next: first, acked: first }
    }

    /// Entries of the ring.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // of the ring, not of what is in it
    pub fn len(&self) -> u32 {
        self.ring.len()
    }

    /// Owner bit of an entry at `position` that is there.
    #[inline(always)]
    pub fn owner(&self, position: u32) -> u32 {
        u32::from(position & self.ring.len() != 0)
    }

    /// The entries from the next one on, as far as one owner bit holds for them.
    #[inline(always)]
    pub fn entries(&self) -> &[Words] {
        self.ring.to_end(self.next)
    }

    /// The entry `ahead` of the next, there or not.
    #[inline(always)]
    pub fn at(&self, ahead: u32) -> &Words {
        self.ring.at(self.next.wrapping_add(ahead))
    }

    /// What the next entry ends with, if it is there.
    #[inline(always)]
    pub fn peek(&self) -> Option<Tail> {
        // <-- acquire: the rest of it, and what the card wrote before, is now seen
        let tail = Tail::of(self.at(0)[word::TAIL].load(Ordering::Acquire));
        tail.is_there(self.owner(self.next)).then_some(tail)
    }

    /// Takes the next `count` entries.
    #[inline(always)]
    pub fn take(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
    }

    /// Takes the next `count` entries, which the card did not all write: what is in them
    /// must not look like entries of the lap to come.
    #[inline(always)]
    pub fn take_unwritten(&mut self, count: u32) {
        let mut left = count as usize;
        while left > 0 {
            let entries = self.entries();
            let run = left.min(entries.len());
            entries[..run].iter().for_each(|entry| entry[word::TAIL].store(NEVER, Ordering::Relaxed));
            self.take(run as u32);
            left -= run;
        }
    }

    /// Whether the card, which does not wait, went round and over what was not read: then the
    /// entry that is next is of the lap to come, and reports one of the `owned` behind `expected`.
    /// Of the lap before it would be one that was done with long ago.
    pub fn is_lapped(&self, expected: u32, owned: u32) -> bool {
        let tail = Tail::of(self.at(0)[word::TAIL].load(Ordering::Acquire));
        let ahead = u32::from(tail.counter().wrapping_sub(expected as u16));
        tail.is_there(1 - self.owner(self.next)) && (1..owned).contains(&ahead)
    }

    /// Passes by what was overwritten, and what it was overwritten with. The card writes no more.
    pub fn pass_lap(&mut self) {
        let owner = |ahead| self.owner(self.next.wrapping_add(ahead));
        let tail = |ahead| Tail::of(self.at(ahead)[word::TAIL].load(Ordering::Acquire));
        let newer = (0..self.len()).take_while(|&ahead| !tail(ahead).is_there(owner(ahead))).count();
        self.take_unwritten(self.len() + newer as u32);
    }

    /// Leaves nothing that looks like an entry of any lap. The card writes no more.
    pub fn forget(&mut self) {
        let next = self.next;
        self.take_unwritten(self.len());
        self.next = next;
    }

    /// Gives back all that was taken.
    #[inline(always)]
    pub fn give_back(&mut self) {
        if self.acked != self.next {
            self.acked = self.next;
            self.bell.ack(self.next);
        }
    }

    /// Lets the card report an event for the next entry; whether it is there already.
    pub fn arm(&mut self) -> bool {
        self.acked = self.next;
        self.bell.arm(self.next);
        self.peek().is_some()
    }

    /// The event has come.
    pub fn fired(&mut self) {
        self.bell.fired();
    }

    /// As after so many entries.
    #[cfg(test)]
    pub fn begin_at(&mut self, position: u32) {
        (self.next, self.acked) = (position, position);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::testing::{Uar, words};
    use super::*;
    use crate::dma::{Addressing, Arena};

    fn ring(len: u32) -> (Region, Region, Completions, Uar) {
        let arena = Arena::new(8192, Addressing::Translated).unwrap();
        let region = Region::new(&arena, 0, len as usize * ENTRY);
        let record = Region::new(&arena, 4096, 64);
        prepare(&region);
        let uar = Uar::new();
        let completions = Completions::new(region.clone(), CqBell::new(record.clone(), uar.long(0x20), 7));
        (region, record, completions, uar)
    }

    fn write(region: &Region, slot: u32, last: u8) {
        region.bytes()[64 * slot as usize + 63].store(last, Ordering::Release);
    }

    #[test]
    fn an_entry_is_there_when_its_lap_says_so() {
        let (region, record, mut completions, _) = ring(4);
        for lap in 0..5_u32 {
            for slot in 0..4 {
                assert_eq!(completions.peek(), None, "lap {lap}, slot {slot}");
                assert_eq!(completions.entries().len(), 4 - slot as usize);
                write(&region, slot, 0x20 | (lap & 1) as u8);
                assert_eq!(completions.peek(), Some(Tail(0x20 | lap & 1)));
                completions.take(1);
                completions.give_back();
                assert_eq!(words(&record), [4 * lap + slot + 1, 0]);
            }
        }
    }

    #[test]
    fn laps_go_on_where_positions_wrap() {
        for start in [0_u32.wrapping_sub(6), 0xff_fffa] {
            let (region, record, mut completions, _) = ring(4);
            completions.begin_at(start);
            for n in 0..20 {
                let position = start.wrapping_add(n);
                assert_eq!(completions.peek(), None);
                write(&region, position & 3, 0x20 | (position >> 2 & 1) as u8);
                assert!(completions.peek().is_some());
                completions.take(1);
                completions.give_back();
                assert_eq!(words(&record)[0], position.wrapping_add(1) & 0xff_ffff);
            }
        }
    }

    #[test]
    fn what_a_card_skips_is_not_there_a_lap_later() {
        let (region, _, mut completions, _) = ring(2);
        completions.begin_at(2);
        write(&region, 0, 0x20);
        assert_eq!(completions.peek(), None, "of the lap before");
        completions.take_unwritten(2);
        assert_eq!(completions.peek(), None);
    }

    #[test]
    fn arming_says_how_far_was_read_and_sees_what_is_there() {
        let (region, record, mut completions, uar) = ring(4);
        assert!(!completions.arm());
        assert_eq!((words(&record), uar.bytes(0x20)), ([0, 0], [0, 0, 0, 0, 0, 0, 0, 7]));
        write(&region, 0, 0x20);
        completions.fired();
        assert!(completions.arm());
        completions.take(1);
        assert!(!completions.arm());
        assert_eq!((words(&record), uar.bytes(0x20)), ([1, 0x1000_0001], [0x10, 0, 0, 1, 0, 0, 0, 7]));
    }
}
