//! Completion rings: what a card reports, apart from the descriptors.
//!
//! ```text
//!                  reads                        the card writes
//!   lap 2  +----------------------+  lap 1
//!   V = 0  | 0 | 0 | 0  0 | 0 | 0 | 1 | 1 | 1 | 1 | 1 |  ...
//!          +----------------------+
//!            ^ acked   ^ next
//! ```
//!
//! Memory is zeroed, and each entry has a bit V that the card writes as 1 on the
//! first lap, as 0 on the second, and so on: an entry is there if its V is that
//! of the lap. A record of two entries has a V in each, each by its own lap, so
//! that at the end of the ring they differ; and they may become visible one after
//! the other, so nothing of a record is believed before all of it is there.
//!
//! Entries are given back by a doorbell. A card that finds none free stops
//! without a word, so a ring is longer than all that descriptors can cause, and
//! what it is longer by need not be given back at once.

use super::bell::AckBell;
use super::desc::{VALID, Words};
use crate::dma::Region;
use crate::driver::ring::{Ring, first_position};
use std::sync::atomic::Ordering;

pub use super::desc::ENTRY;

/// Completions that may come besides those of descriptors before a queue that is
/// never polled loses its ring: of commands, and events.
const OTHERS: u32 = 64;

/// Length of a ring for `completions` that descriptors can cause.
pub fn ring_len(completions: u32) -> u32 {
    (completions + OTHERS).next_power_of_two()
}

/// Empties a ring that the card does not write to: before each RING_ALLOC, as a
/// new ring begins with the first lap again.
pub fn clear(region: &Region) {
    for word in region.words64() {
        word.store(0, Ordering::Release);
    }
}

/// A completion ring, as the one queue reads it that it belongs to; or a
/// notification queue, which differs in what it says.
#[derive(Debug)]
pub struct Completions {
    ring: Ring<Words>,
    bell: AckBell,
    /// Position that is read next. Runs freely.
    pub next: u32,
    /// Position up to which entries were given back.
    acked: u32,
    /// Entries that need not be given back at once.
    spare: u32,
    /// Where a record was only half there, and how often in a row.
    half: (u32, u32),
}

/// Looks at the same half of a record before it counts as lost: some
/// milliseconds of nothing but looking, where cards take microseconds.
const PATIENCE: u32 = 100_000;

impl Completions {
    /// A ring of all of `region`, zeroed, for `completions` that descriptors can
    /// cause.
    pub fn new(region: Region, completions: u32, bell: AckBell) -> Self {
        let len = (region.len() / ENTRY) as u32;
        let spare = len.saturating_sub(completions + OTHERS);
        let (ring, first) = (Ring::new(region, len), first_position());
        let mut this = Completions { ring, bell, next: first, acked: first, spare, half: (0, 0) };
        this.begin();
        this
    }

    /// Entries of the ring.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // of the ring, not of what is in it
    pub fn len(&self) -> u32 {
        self.ring.len()
    }

    /// V of an entry at `position` that is there.
    #[inline(always)]
    pub fn valid(&self, position: u32) -> u64 {
        if position & self.ring.len() == 0 { VALID } else { 0 }
    }

    /// Entries from the next to the end of the ring: as long as one V holds.
    #[inline(always)]
    pub fn lap(&self) -> u32 {
        self.ring.len() - self.ring.index(self.next)
    }

    /// The entries from the next one on, as far as one lap has them.
    #[inline(always)]
    pub fn entries(&self) -> &[Words] {
        self.ring.to_end(self.next)
    }

    /// The same, as records of two.
    #[inline(always)]
    pub fn records(&self) -> &[[Words; 2]] {
        self.entries().as_chunks().0
    }

    /// The entry `ahead` of the next, if it is there.
    #[inline(always)]
    pub fn peek(&self, ahead: u32) -> Option<[u64; 2]> {
        let position = self.next.wrapping_add(ahead);
        let entry = self.ring.at(position);
        // <-- acquire: the rest of it, and what the card wrote before, is now seen
        let second = entry[1].load(Ordering::Acquire);
        if (second ^ self.valid(position)) & VALID != 0 {
            return None;
        }
        Some([entry[0].load(Ordering::Relaxed), second])
    }

    /// Takes the next `count` entries.
    #[inline(always)]
    pub fn take(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
    }

    /// Gives entries back if more were taken than can be spared.
    #[inline(always)]
    pub fn give_back(&mut self) {
        if self.next.wrapping_sub(self.acked) > self.spare {
            self.ack();
        }
    }

    /// Gives back all that was taken.
    pub fn ack(&mut self) {
        if self.acked != self.next {
            self.acked = self.next;
            self.bell.ack(self.ring.index(self.next));
        }
    }

    /// Gives back once more what was, as the card may have missed it.
    pub fn ring_again(&self) {
        self.bell.ack(self.ring.index(self.acked));
    }

    /// Lets the card interrupt for the next entry; whether it is there already.
    pub fn arm(&mut self) -> bool {
        self.acked = self.next;
        self.bell.arm(self.ring.index(self.next));
        self.peek(0).is_some()
    }

    /// Ends that.
    pub fn silence(&mut self) {
        self.acked = self.next;
        self.bell.ack(self.ring.index(self.next));
    }

    /// Takes all entries that are there, one round of the ring at most.
    pub fn drain(&mut self) {
        for _ in 0..self.len() {
            if self.peek(0).is_none() {
                break;
            }
            self.take(1);
        }
    }

    /// The next record is there in part: whether the rest has been waited for
    /// long enough.
    #[cold]
    pub fn overdue(&mut self) -> bool {
        let (at, times) = self.half;
        self.half = (self.next, if at == self.next { times.saturating_add(1) } else { 1 });
        self.half.1 >= PATIENCE
    }

    /// Begins anew, on a ring that was emptied.
    pub fn restart(&mut self, bell: AckBell) {
        self.bell = bell;
        self.next = 0;
        self.begin();
    }

    /// As after so many entries.
    #[cfg(test)]
    pub fn begin_at(&mut self, position: u32) {
        (self.next, self.acked) = (position, position);
    }

    /// A card is told of a new ring before anything is in it.
    fn begin(&mut self) {
        self.half = (u32::MAX, 0);
        self.silence();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::testing::{Cells, short};
    use super::*;
    use crate::dma::{Addressing, Arena};

    fn ring(len: u32) -> (Region, Completions, Cells) {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let region = Region::new(&arena, 0, len as usize * ENTRY);
        let cells = Cells::new();
        let completions = Completions::new(region.clone(), 0, AckBell::completions(short(&cells, 0)));
        (region, completions, cells)
    }

    #[test]
    fn an_entry_is_there_when_its_lap_says_so() {
        let (region, mut completions, _) = ring(4);
        let write = |slot: usize, word| region.words64()[2 * slot + 1].store(word, Ordering::Release);
        for lap in 0..5u64 {
            let valid = 1 - lap % 2;
            for slot in 0..4 {
                assert_eq!(completions.peek(0), None, "lap {lap}, slot {slot}");
                write(slot, valid | lap << 8);
                assert_eq!(completions.peek(0), Some([0, valid | lap << 8]));
                assert_eq!(completions.lap(), 4 - slot as u32);
                completions.take(1);
            }
        }
    }

    #[test]
    fn laps_go_on_where_positions_wrap() {
        let (region, mut completions, _) = ring(4);
        completions.next = 0_u32.wrapping_sub(2);
        // The last two entries of an odd lap, then the first of an even one.
        let words = region.words64();
        words[5].store(0, Ordering::Relaxed);
        words[7].store(0, Ordering::Relaxed);
        assert!(completions.peek(0).is_some() && completions.peek(1).is_some());
        assert_eq!(completions.peek(2), None, "V of the lap before");
        words[1].store(1, Ordering::Relaxed);
        assert!(completions.peek(2).is_some());
        completions.take(3);
        assert_eq!(completions.next, 1);
    }

    #[test]
    fn entries_go_back_when_they_cannot_be_spared() {
        let (_, mut completions, cells) = ring(128);
        assert_eq!(cells.word(0), 0x2c00_0000, "said at once");
        assert_eq!(completions.spare, 64);
        for n in 1..=65 {
            completions.take(1);
            completions.give_back();
            assert_eq!(cells.word(0), 0x2c00_0000 | if n == 65 { 65 } else { 0 });
        }
        assert!(!completions.arm());
        assert_eq!(cells.word(0), 0x2400_0041);
        completions.silence();
        assert_eq!(cells.word(0), 0x2c00_0041);
        assert_eq!(ring_len(1024), 2048);
        assert_eq!(ring_len(0), 64);
    }

    #[test]
    fn half_a_record_is_waited_for_but_not_for_ever() {
        let (_, mut completions, _) = ring(4);
        assert!((1..PATIENCE).all(|_| !completions.overdue()));
        completions.take(1);
        assert!((1..PATIENCE).all(|_| !completions.overdue()), "another one");
        assert!(completions.overdue());
    }
}
