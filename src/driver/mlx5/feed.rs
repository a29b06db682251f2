//! A ring of buffers for a card to fill: work queue entries of one buffer each, or of
//! as many as the longest frame needs.
//!
//! ```text
//!   entry      [ bytes:32 | key:32 | address:64 ]                         one buffer
//!   entry      [ first ][ second ][ third ][ end: 0 | 0x100 | 0 ]         scatter list
//!
//!              |<---------------- the card's ----------------->|
//!          +-------------------------+-------------------------+
//!   ... -> | filled | filled | empty | empty | empty | empty   | -> ...
//!          +-------------------------+-------------------------+
//!            ^ next                                              ^ given = record
//! ```
//!
//! Every entry holds its buffers at all times: those that a frame has filled are replaced
//! at the same moment, one round later, and the others stay. All entries may be the
//! card's, as it counts further than the ring is long.
//!
//! All buffers of an entry together are as long as the longest frame, so that the card
//! itself keeps from writing more, whatever passes its port.

use super::bell::Record;
use crate::dma::{BUFFER_SIZE, Iova, Pool, Region};
use crate::driver::ring::{BufferRing, first_position};
use std::sync::atomic::{AtomicU64, Ordering};

/// A segment of an entry in memory.
pub type Segment = [AtomicU64; 2];

/// First word of what ends a list that does not fill its entry.
const END: u64 = 0x100;

/// Such a ring.
#[derive(Debug)]
pub struct Feed {
    /// Segments of all entries.
    pub ring: BufferRing<Segment>,
    record: Record,
    lkey: u32,
    /// Segments of an entry are `1 << shift`.
    pub shift: u32,
    /// Those that have a buffer.
    segments: u32,
    /// Bytes of the last of these.
    last: u32,
    /// Position of the entry that is filled next. Runs freely.
    pub next: u32,
    /// Position in the record: the card owns `next..given`.
    pub given: u32,
    /// Buffers from the first of `next` on: all, but for a pool too small.
    pub armed: u32,
}

impl Feed {
    /// All of `region`, in entries of `segments` buffers, `longest` bytes together.
    pub fn new(region: Region, segments: u32, longest: u32, record: Region, lkey: u32) -> Self {
        let shift = segments.next_power_of_two().trailing_zeros();
        let all = (region.len() / size_of::<Segment>()) as u32;
        let last = longest.saturating_sub((segments - 1) * BUFFER_SIZE as u32).clamp(1, BUFFER_SIZE as u32);
        let ring = BufferRing::<Segment>::new(region, all);
        if segments < 1 << shift {
            for entry in (0..all).step_by(1 << shift) {
                ring.at(entry + segments)[0].store(END.to_be(), Ordering::Relaxed);
            }
        }
        let first = first_position();
        Feed { ring, record: Record::new(record), lkey, shift, segments, last, next: first, given: first, armed: 0 }
    }

    /// Entries of the ring.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // of the ring, not of what is in it
    pub fn len(&self) -> u32 {
        self.ring.len() >> self.shift
    }

    /// Buffers that it is to hold.
    #[inline(always)]
    pub fn buffers(&self) -> u32 {
        self.len() * self.segments
    }

    /// Whether it holds them.
    #[inline(always)]
    pub fn full(&self) -> bool {
        self.armed == self.buffers()
    }

    /// Entries that the card has.
    #[inline(always)]
    pub fn owned(&self) -> u32 {
        self.given.wrapping_sub(self.next)
    }

    /// Segment `n` of those from the first of `next` on that have a buffer.
    fn segment(&self, n: u32) -> (u32, u32) {
        let (entry, segment) = (n / self.segments, n % self.segments);
        ((self.next.wrapping_add(entry) << self.shift) + segment, segment)
    }

    /// Gives the next segment without a buffer `index`, which lies at `iova`.
    pub fn arm(&mut self, index: u32, iova: Iova) {
        let (position, segment) = self.segment(self.armed);
        let bytes = if segment + 1 == self.segments { self.last } else { BUFFER_SIZE as u32 };
        self.ring.buffer(position).set(index);
        let slot = self.ring.at(position);
        slot[0].store((u64::from(bytes) << 32 | u64::from(self.lkey)).to_be(), Ordering::Relaxed);
        slot[1].store(iova.to_be(), Ordering::Relaxed);
        self.armed += 1;
    }

    /// Takes the newest buffer out. Only while the card does not have it.
    pub fn disarm(&mut self) -> u32 {
        self.armed -= 1;
        self.ring.buffer(self.segment(self.armed).0).get()
    }

    /// Moves past the oldest entry, of which `used` buffers were filled: `taken` gets
    /// each. A ring that was full gets free ones for them, which the caller knows to be
    /// there; one that was not gives the others back.
    #[inline(always)]
    pub fn pass(&mut self, pool: &Pool, used: u32, mut taken: impl FnMut(u32, u32)) {
        let full = self.full();
        let first = self.next << self.shift;
        for n in 0..if full { used } else { self.segments } {
            let cell = self.ring.buffer(first + n);
            let buffer = cell.get();
            match (n < used, full.then(|| pool.take()).flatten()) {
                (true, Some(fresh)) => {
                    taken(n, buffer);
                    cell.set(fresh);
                    self.ring.at(first + n)[1].store(pool.iova(fresh).to_be(), Ordering::Relaxed);
                }
                (true, None) => taken(n, buffer),
                (false, _) => pool.give(buffer),
            }
        }
        self.next = self.next.wrapping_add(1);
        if !full {
            self.armed -= self.segments;
        }
    }

    /// Moves past the oldest entry; its buffers stay in the ring, or go back to the pool
    /// if the ring is not full.
    pub fn skip(&mut self, pool: &Pool) {
        self.pass(pool, 0, |_, _| {});
    }

    /// Entries that the card does not know of yet, in a full ring.
    #[inline(always)]
    pub fn due(&self) -> u32 {
        self.next.wrapping_add(self.len()).wrapping_sub(self.given)
    }

    /// Tells the card of all entries that have all their buffers, unless it knows.
    #[inline(always)]
    pub fn offer(&mut self) {
        let whole = if self.full() { self.len() } else { self.armed / self.segments };
        let end = self.next.wrapping_add(whole);
        if end != self.given {
            self.given = end;
            self.record.first(end & 0xffff);
        }
    }

    /// Tells the card that nothing is posted.
    pub fn clear(&self) {
        self.record.first(0);
    }

    /// Begins anew: nothing is posted, and no entry holds a buffer.
    pub fn restart(&mut self) {
        (self.next, self.given, self.armed) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::testing::words;
    use super::*;
    use crate::dma::{Addressing, Arena};

    fn feed(segments: u32, longest: u32) -> (Feed, Region, Region) {
        let arena = Arena::new(16384, Addressing::Translated).unwrap();
        let region = Region::new(&arena, 0, 64 * 16 * segments.next_power_of_two() as usize);
        let record = Region::new(&arena, 12288, 64);
        (Feed::new(region.clone(), segments, longest, record.clone(), 0x1234_5678), region, record)
    }

    fn bytes(region: &Region, segment: usize) -> [u8; 16] {
        std::array::from_fn(|n| region.bytes()[16 * segment + n].load(Ordering::Relaxed))
    }

    #[test]
    fn an_entry_is_as_long_as_a_frame_and_ends() {
        let (mut feed, region, record) = feed(3, 4500);
        let pool = Pool::new(256, Addressing::Translated).unwrap();
        while !feed.full() {
            let buffer = pool.take().unwrap();
            feed.arm(buffer, pool.iova(buffer));
        }
        feed.offer();
        assert_eq!((feed.len(), feed.buffers(), feed.owned(), words(&record)), (64, 192, 64, [64, 0]));
        for entry in 0..64 {
            for (n, len) in [2048_u32, 2048, 404].into_iter().enumerate() {
                let segment = bytes(&region, 4 * entry + n);
                let buffer = (3 * entry + n) as u32;
                let expected = [&len.to_be_bytes()[..], &[0x12, 0x34, 0x56, 0x78], &pool.iova(buffer).to_be_bytes()];
                assert_eq!(segment[..], expected.concat());
            }
            assert_eq!(bytes(&region, 4 * entry + 3), [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        // What is filled is replaced, what is not stays.
        let mut taken = Vec::new();
        feed.pass(&pool, 2, |n, buffer| taken.push((n, buffer)));
        assert_eq!((taken, feed.ring.buffer(2).get()), (vec![(0, 0), (1, 1)], 2));
        assert_eq!(bytes(&region, 0)[8..], pool.iova(192).to_be_bytes());
        assert!(feed.full() && feed.due() == 1);
        feed.offer();
        assert_eq!(words(&record), [65, 0]);
    }

    #[test]
    fn a_ring_that_is_not_full_offers_whole_entries_only() {
        let (mut feed, _, record) = feed(3, 4500);
        let pool = Pool::new(256, Addressing::Translated).unwrap();
        for _ in 0..8 {
            let buffer = pool.take().unwrap();
            feed.arm(buffer, pool.iova(buffer));
        }
        feed.offer();
        assert_eq!((feed.owned(), words(&record)), (2, [2, 0]));
        let free = pool.available();
        feed.pass(&pool, 1, |n, buffer| assert_eq!((n, buffer), (0, 0)));
        assert_eq!((feed.armed, pool.available()), (5, free + 2));
        feed.skip(&pool);
        assert_eq!((feed.armed, pool.available(), feed.disarm()), (2, free + 5, 7));
    }

    #[test]
    fn a_list_that_fills_its_entry_has_no_end() {
        for (segments, longest, last) in [(1, 1526, 1526), (1, 2048, 2048), (2, 2049, 1), (4, 8192, 2048)] {
            let (mut feed, region, _) = feed(segments, longest);
            let pool = Pool::new(256, Addressing::Translated).unwrap();
            (0..segments).for_each(|n| feed.arm(n, pool.iova(n)));
            assert_eq!(bytes(&region, segments as usize - 1)[..4], u32::to_be_bytes(last));
            assert_eq!(bytes(&region, segments as usize), [0; 16], "the next entry");
        }
    }
}
