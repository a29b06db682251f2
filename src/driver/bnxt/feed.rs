//! A ring of buffers for a card to fill: of those that frames begin in, or of
//! those that they go on in.
//!
//! ```text
//!             given to the card            withheld (at least 1)
//!          +-------------------------+    +-----------+
//!   ... | done | done | empty | empty | empty | empty | ...
//!         ^ next                        ^ given = doorbell
//! ```
//!
//! As with the cards that write descriptors back, every slot holds a buffer at all
//! times: a filled one is replaced at the same moment, one round later. The
//! descriptor's position in it is what tells a completion of this round from one
//! of another.

use super::bell::Bell;
use super::desc::{ENTRY, OPAQUE, Words, buffer};
use crate::dma::{BUFFER_SIZE, Iova, Pool, Region};
use crate::driver::ring::{BufferRing, first_position, store_both};

/// Such a ring.
#[derive(Debug)]
pub struct Feed {
    pub ring: BufferRing<Words>,
    bell: Bell,
    /// First word of each descriptor, but for its position.
    pub kind: u64,
    /// Position that is filled next. Runs freely.
    pub next: u32,
    /// Position in the doorbell: the card owns `next..given`.
    pub given: u32,
    /// Slots from `next` on that hold a buffer: all, but for a pool too small.
    pub armed: u32,
}

impl Feed {
    /// A ring of descriptors of `kind`, all of `region`.
    pub fn new(region: Region, kind: u64, bell: Bell) -> Self {
        let len = (region.len() / ENTRY) as u32;
        let kind = buffer(kind, BUFFER_SIZE as u64);
        let first = first_position();
        Feed { ring: BufferRing::new(region, len), bell, kind, next: first, given: first, armed: 0 }
    }

    /// Slots.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // of the ring, not of what is in it
    pub fn len(&self) -> u32 {
        self.ring.len()
    }

    /// Whether each slot holds a buffer.
    pub fn full(&self) -> bool {
        self.armed == self.ring.len()
    }

    /// Descriptors that the card has.
    #[inline(always)]
    pub fn owned(&self) -> u32 {
        self.given.wrapping_sub(self.next)
    }

    /// Gives the next slot without a buffer `index`, which lies at `iova`.
    pub fn arm(&mut self, index: u32, iova: Iova) {
        let position = self.next.wrapping_add(self.armed);
        self.ring.buffer(position).set(index);
        store_both(self.ring.at(position), self.kind | u64::from(position) << OPAQUE, iova);
        self.armed += 1;
    }

    /// Moves past the oldest slot and returns its buffer.
    pub fn pass(&mut self) -> u32 {
        let index = self.ring.buffer(self.next).get();
        self.next = self.next.wrapping_add(1);
        self.armed -= 1;
        index
    }

    /// As [`Feed::pass`]; a ring that was full gets a free buffer for it.
    pub fn replace(&mut self, pool: &Pool) -> u32 {
        let full = self.full();
        let index = self.pass();
        if full && let Some(fresh) = pool.take() {
            self.arm(fresh, pool.iova(fresh));
        }
        index
    }

    /// Moves past the oldest slot; its buffer stays in the ring, or goes back to
    /// the pool if the ring is not full.
    pub fn skip(&mut self, pool: &Pool) {
        let full = self.full();
        let index = self.pass();
        if full { self.arm(index, pool.iova(index)) } else { pool.give(index) }
    }

    /// Slots that the card does not know of yet: one stays back, or a full ring
    /// would look like an empty one.
    #[inline(always)]
    pub fn due(&self) -> u32 {
        self.next.wrapping_add(self.ring.len() - 1).wrapping_sub(self.given)
    }

    /// Tells the card of all slots that it may have, unless it knows.
    pub fn offer(&mut self) {
        let end = self.next.wrapping_add(self.armed.min(self.ring.len() - 1));
        if end != self.given {
            self.given = end;
            self.bell.ring(self.ring.index(end));
        }
    }

    /// Tells the card once more, as it may have missed it.
    pub fn ring_again(&self) {
        if self.owned() > 0 {
            self.bell.ring(self.ring.index(self.given));
        }
    }

    /// Begins anew, on a new ring of the card: no slot holds a buffer.
    pub fn restart(&mut self, bell: Bell) {
        (self.bell, self.next, self.given, self.armed) = (bell, 0, 0, 0);
    }
}
