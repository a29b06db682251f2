//! Receive queues of cards that write what they received into the descriptor
//! that gave them the buffer: all of Intel's.
//!
//! ```text
//!             given to the card            withheld (at least 1)
//!          +-------------------------+    +-----------+
//!   ... | done | done | empty | empty | empty | empty | ...
//!         ^ next                        ^ given = tail register
//! ```
//!
//! Every slot of the ring holds a buffer at all times: a received packet's is
//! replaced in the same slot, at the same moment, by a free one. So a slot is
//! written once a packet, in the cache line that was just read, and if the pool
//! has nothing to give, packets stay in the ring until it has. The card is
//! told of refilled slots in steps (`STEP`), never of all: head equal to tail
//! would mean an empty ring.
//!
//! How the words of a descriptor read is the family's ([`RxFormat`]), known when
//! the loop is compiled.

use super::queue::Receive;
use super::ring::{BufferRing, first_position, store_both};
use super::slots::{Received, Slots, Stock, TAGS};
use super::stats::Anomalies;
use super::tally::Anomaly;
use crate::dma::{BUFFER_SIZE, Batch, Decoder, Descriptor, Entry, Iova, Pool, Region, Span};
use crate::pci::Doorbell;
use std::cell::Cell;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

/// Refilled slots that are worth a doorbell: so many that a card reads few lines twice. Of a
/// short ring a quarter.
const STEP: u32 = 32;

/// Descriptors behind the oldest that are looked at for one that was returned before it.
const PASSED: u32 = 8;

/// Descriptors that are dealt with in one go, where so many are done.
const FOUR: usize = 4;

/// How a family writes a received packet down. Given, a descriptor's first word
/// is the buffer's address and its second zero; returned, the second is the
/// status.
pub trait RxFormat: Debug + 'static {
    /// A descriptor in memory.
    type Descriptor: Descriptor + Debug;

    /// Status: the card has given it back.
    const DONE: u64;
    /// Status: the packet ends in this buffer.
    const LAST: u64;
    /// Status: the frame is broken.
    const BROKEN: u64;
    /// Status: a timestamp of [`RxFormat::STAMP_LEN`] bytes follows the frame; 0
    /// if that never is so.
    const STAMPED: u64;
    /// Bytes of a timestamp.
    const STAMP_LEN: u32;

    /// The two words of a descriptor that are given and returned.
    fn words(descriptor: &Self::Descriptor) -> &[AtomicU64; 2];

    /// Status: where the number of bytes in this buffer starts, above all of these.
    const LENGTH: u32;
    /// Status: the largest such number.
    const LONGEST: u64;

    /// Bytes in this buffer, from the status.
    fn len(status: u64) -> u32 {
        (status >> Self::LENGTH & Self::LONGEST) as u32
    }
}

/// What a plain descriptor shows in the bits that are looked at: done, end of
/// packet, no error, no timestamp.
const fn plain<F: RxFormat>() -> u64 {
    F::DONE | F::LAST
}

/// Of the status of a plain frame, its length less one; of any other, more than any length:
/// so that one comparison tells. A length of zero wraps to a large one.
#[inline(always)]
const fn beyond_plain<F: RxFormat>(status: u64) -> u64 {
    let looked_at = plain::<F>() | F::BROKEN | F::STAMPED | (F::LONGEST << F::LENGTH);
    (status & looked_at).wrapping_sub(plain::<F>() | 1 << F::LENGTH).rotate_right(F::LENGTH)
}

/// Descriptors in a cache line. As one begins, the one after the next is fetched:
/// it comes from the core or the cache that the card has written it into, and while
/// it is on its way there is a whole line to deal with.
const fn per_line<F: RxFormat>() -> u32 {
    64 / size_of::<F::Descriptor>() as u32
}

/// A receive queue.
#[derive(Debug)]
pub struct Queue<F: RxFormat> {
    ring: BufferRing<F::Descriptor>,
    tail: Doorbell,
    /// Position that is read next. Runs freely.
    next: u32,
    /// Position in the tail register: the card owns `next..given`.
    given: u32,
    /// Slots without a buffer, up to `next`: none, but for a pool too small.
    bare: u32,
    /// Slots that the tail register moves by, at least.
    step: u32,
    stock: Stock,
    /// Longest frame, with tags and timestamp.
    longest: u32,
    /// Longest frame that one buffer holds; 0 within a frame that is being
    /// dropped, up to its last buffer, so that nothing is plain.
    longest_plain: u32,
    /// Timestamps follow the frames.
    stamped: bool,
    decoder: Decoder,
}

/// How the packets of a queue are to be read.
pub struct Reading {
    /// Longest frame without FCS and tags.
    pub max_frame: u32,
    /// A timestamp follows each frame.
    pub stamped: bool,
    /// Reads what the card wrote.
    pub decoder: Decoder,
}

impl<F: RxFormat> Queue<F> {
    /// A queue on a ring of `len` zeroed descriptors that the card already
    /// knows, empty.
    pub fn new(region: Region, len: u32, tail: Doorbell, stock: Stock, reading: &Reading) -> Self {
        let longest = reading.max_frame + TAGS + if reading.stamped { F::STAMP_LEN } else { 0 };
        let first = first_position();
        Queue {
            ring: BufferRing::new(region, len),
            tail,
            next: first,
            given: first,
            bare: len,
            step: STEP.min(len / 4),
            stock,
            longest,
            longest_plain: longest.min(BUFFER_SIZE as u32),
            stamped: reading.stamped,
            decoder: reading.decoder,
        }
    }

    /// Moves frames of one buffer into `batch` until it is full or something
    /// else comes: then returns the second word of that descriptor, else 0.
    #[inline(always)]
    fn recv_plain(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova) -> u64 {
        let pool = batch.pool();
        let had = batch.len();
        let fresh = pool.top(batch.room().min(self.owned() as usize));
        let ring = self.ring.slots();
        let longest = u64::from(self.longest_plain);
        let mut position = self.next;
        let mut stopped_at = 0;

        for (entry, fresh) in batch.entries_mut()[had..].iter_mut().zip(fresh.iter().rev()) {
            let (slot, buffer) = ring.at(position);
            match exchange::<F>(slot, buffer, longest, fresh.get(), &iova) {
                Ok(received) => *entry = received,
                Err(status) => {
                    stopped_at = status;
                    break;
                }
            }
            // Not of an empty ring: its lines are the card's, which is about to write there.
            if position.is_multiple_of(const { per_line::<F>() }) {
                ring.fetch(position.wrapping_add(2 * per_line::<F>()));
            }
            position = position.wrapping_add(1);
        }
        self.received(batch, position.wrapping_sub(self.next));
        stopped_at
    }

    /// As [`Queue::recv_plain`], four frames at a time and up to the end of the ring: where a
    /// slot lies and what is to be fetched is worked out once for four. Stops at anything
    /// else, and leaves that to `recv_plain`. Not inlined, as it takes all registers. Returns
    /// whether the batch is full.
    #[inline(never)]
    fn recv_fours(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova) -> bool {
        let pool = batch.pool();
        let had = batch.len();
        let ring = self.ring.slots();
        let (slots, buffers) = ring.run(self.next, batch.room().min(self.owned() as usize));
        let (slots, buffers) = (slots.as_chunks::<FOUR>().0, buffers.as_chunks::<FOUR>().0);
        let fresh = pool.top(slots.len() * FOUR).as_rchunks::<FOUR>().1.iter().rev();
        let entries = batch.entries_mut()[had..].as_chunks_mut::<FOUR>().0;
        let longest = u64::from(self.longest_plain);
        let mut position = self.next;

        'run: for (((slots, buffers), entries), fresh) in slots.iter().zip(buffers).zip(entries).zip(fresh) {
            for i in 0..FOUR {
                match exchange::<F>(&slots[i], &buffers[i], longest, fresh[FOUR - 1 - i].get(), &iova) {
                    Ok(received) => entries[i] = received,
                    Err(_) => break 'run,
                }
                position = position.wrapping_add(1);
            }
            for line in 1..=FOUR as u32 / per_line::<F>() {
                ring.fetch(position.wrapping_add(line * per_line::<F>()));
            }
        }
        self.received(batch, position.wrapping_sub(self.next));
        batch.room() == 0
    }

    /// Moves past `n` slots, whose frames are in `batch`.
    #[inline(always)]
    fn received(&mut self, batch: &mut Batch<'_>, n: u32) {
        self.next = self.next.wrapping_add(n);
        batch.pool().took(n as usize);
        batch.filled(batch.len() + n as usize, self.decoder);
    }

    /// Slots that are the card's, or were.
    #[inline(always)]
    fn owned(&self) -> u32 {
        self.given.wrapping_sub(self.next)
    }

    /// Whether the descriptor `ahead` of the next was returned.
    #[inline(always)]
    fn is_done(&self, ahead: u32) -> bool {
        F::words(self.ring.at(self.next.wrapping_add(ahead)))[1].load(Ordering::Relaxed) & F::DONE != 0
    }

    /// Whether the oldest descriptor was passed over: cards return them in order (82599 §7.1.6,
    /// X710 §8.3.2.2), so one that is returned behind it says that it never will be.
    fn is_passed_over(&self) -> bool {
        let done = |ahead| self.read(ahead)[1] & F::DONE != 0;
        // It is looked at last: it may be returned meanwhile.
        (1..self.owned().min(PASSED)).any(done) && !done(0)
    }

    /// Moves a frame of `total` bytes in `parts` buffers into `batch`.
    fn take_frame(&mut self, batch: &mut Batch<'_>, total: u32, parts: u32, stamped: bool) {
        let pool = batch.pool();
        let stamp = if stamped { F::STAMPED } else { 0 };
        let mut entry = batch.len();
        let mut left = total;
        for _ in 0..parts {
            let done = self.read(0);
            let buffer = self.next_slot(pool);
            if left == 0 {
                // Nothing but (the end of) the timestamp: the stamp is lost, the frame is whole.
                pool.give(buffer);
                continue;
            }
            let here = left.min(BUFFER_SIZE as u32);
            left -= here;
            let words = [done[0], done[1] & !F::STAMPED | stamp];
            let span = Span::new(0, here as u16, left > 0);
            batch.entries_mut()[entry] = Entry { words, buffer, span };
            entry += 1;
        }
        batch.filled(entry, self.decoder);
    }

    /// Descriptor `ahead` of the next.
    fn read(&self, ahead: u32) -> [u64; 2] {
        let words = F::words(self.ring.at(self.next.wrapping_add(ahead)));
        let status = words[1].load(Ordering::Acquire);
        [words[0].load(Ordering::Relaxed), status]
    }

    /// Tells the card of refilled slots, if there are enough of them.
    #[inline(always)]
    fn give(&mut self) {
        let last = self.next.wrapping_add(self.ring.len() - 1);
        if last.wrapping_sub(self.given) < self.step {
            return;
        }
        // The slot at the tail was not the card's to write.
        if F::words(self.ring.at(self.given))[1].load(Ordering::Relaxed) != 0 {
            self.reject_withheld();
        }
        self.given = last;
        self.tail.ring(self.ring.index(last));
    }

    /// Clears a descriptor that the card filled in without owning it. Its
    /// address is still right: it was written with the buffer.
    #[cold]
    fn reject_withheld(&mut self) {
        self.stock.count(Anomaly::BadIndex);
        F::words(self.ring.at(self.given))[1].store(0, Ordering::Relaxed);
    }
}

impl<F: RxFormat> Receive for Queue<F> {
    #[inline]
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        if !self.stock.is(batch.pool()) || self.bare != 0 {
            return self.recv_unfilled(batch);
        }
        self.recv_full(batch)
    }
}

impl<F: RxFormat> Slots for Queue<F> {
    fn stock(&self) -> &Stock {
        &self.stock
    }

    /// Also that the ring stands still for a descriptor that was never returned.
    fn anomalies(&self) -> Anomalies {
        let mut all = self.stock.read();
        all.bad_index += u64::from(self.is_passed_over());
        all
    }

    fn slots(&self) -> u32 {
        self.ring.len()
    }

    fn armed(&self) -> u32 {
        self.ring.len() - self.bare
    }

    fn arm(&mut self, buffer: u32, pool: &Pool) {
        let position = self.next.wrapping_add(self.armed());
        self.ring.buffer(position).set(buffer);
        arm(F::words(self.ring.at(position)), pool.iova(buffer));
        self.bare -= 1;
    }

    fn pass(&mut self) -> u32 {
        F::words(self.ring.at(self.next))[1].store(0, Ordering::Relaxed);
        let buffer = self.ring.buffer(self.next).get();
        self.next = self.next.wrapping_add(1);
        self.bare += 1;
        buffer
    }

    fn offer(&mut self) {
        let last = self.next.wrapping_add(self.armed().min(self.ring.len() - 1));
        if last != self.given {
            self.given = last;
            self.tail.ring(self.ring.index(last));
        }
    }

    #[inline(always)]
    fn recv_from(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let before = batch.len();
        // The second look only after the first: of an empty ring, no more than that is read.
        let fours = batch.room() >= FOUR && self.is_done(0) && self.is_done(FOUR as u32 - 1);
        let full = fours && self.recv_fours(batch, iova);
        while !full && self.recv_plain(batch, iova) & F::DONE != 0 {
            if self.recv_odd(batch) == Received::Waits {
                break;
            }
        }
        self.give();
        batch.len() - before
    }

    /// Deals with a frame that is not plain: of several buffers, stamped,
    /// broken, or with words that make no sense. The first of its descriptors
    /// is done.
    #[cold]
    #[inline(never)]
    fn recv_odd(&mut self, batch: &mut Batch<'_>) -> Received {
        let owned = self.owned();
        let most = self.longest.div_ceil(BUFFER_SIZE as u32);
        let skipping = self.longest_plain == 0;
        let mut total = 0;
        let mut parts = 0;
        let mut wrong = None;
        let last = loop {
            if parts == owned {
                return Received::Waits;
            }
            let done = self.read(parts);
            if done[1] & F::DONE == 0 {
                return Received::Waits;
            }
            let ends = done[1] & F::LAST != 0;
            let fits = if ends { 1..=BUFFER_SIZE as u32 } else { BUFFER_SIZE as u32..=BUFFER_SIZE as u32 };
            let len = F::len(done[1]);
            if !fits.contains(&len) {
                wrong.get_or_insert(Anomaly::BadLength);
            }
            if done[1] & F::BROKEN != 0 {
                wrong.get_or_insert(Anomaly::FrameError);
            }
            total += len;
            parts += 1;
            if ends {
                break done;
            }
            if skipping || parts >= most {
                // Longer than any frame, and no end: drop what there is and what
                // follows up to the end, so that no half frame is received.
                if !skipping {
                    self.stock.count(Anomaly::BadChain);
                }
                self.longest_plain = 0;
                return self.drop_slots(batch.pool(), parts);
            }
        };
        if skipping {
            self.longest_plain = self.longest.min(BUFFER_SIZE as u32);
            return self.drop_slots(batch.pool(), parts);
        }
        let stamped = self.stamped && last[1] & F::STAMPED != 0;
        let extra = if stamped { F::STAMP_LEN } else { 0 };
        if total <= extra || total > self.longest {
            wrong.get_or_insert(Anomaly::BadLength);
        }
        if let Some(wrong) = wrong {
            self.stock.count(wrong);
            return self.drop_slots(batch.pool(), parts);
        }
        if !self.has_place(batch, parts) {
            return Received::Waits;
        }
        self.take_frame(batch, total - extra, parts, stamped);
        Received::Gone
    }

    fn listen(&mut self) -> bool {
        self.armed() > 0 && self.read(0)[1] & F::DONE != 0
    }
}

/// Takes the frame in `slot`, if it is plain, and gives the slot the buffer `fresh`.
///
/// # Errors
/// The status of any other.
#[inline(always)]
fn exchange<F: RxFormat>(
    slot: &F::Descriptor,
    buffer: &Cell<u32>,
    longest: u64,
    fresh: u32,
    iova: impl Fn(u32) -> Iova,
) -> Result<Entry, u64> {
    let words = F::words(slot);
    let status = words[1].load(Ordering::Acquire); // <-- acquire: what the card wrote before is now seen
    let over = beyond_plain::<F>(status);
    if over >= longest {
        return Err(status);
    }
    let first = words[0].load(Ordering::Relaxed);
    let span = Span::new(0, over as u16 + 1, false);
    let entry = Entry { words: [first, status], buffer: buffer.replace(fresh), span };
    arm(words, iova(fresh));
    Ok(entry)
}

/// Gives a slot a buffer. The card sees it no sooner than the doorbell.
#[inline(always)]
fn arm(words: &[AtomicU64; 2], iova: Iova) {
    store_both(words, iova, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{i40e, ixgbe};
    use proptest::prelude::*;

    impl<F: RxFormat> Queue<F> {
        /// Compares [`beyond_plain`] with what each bit says, of a status that is `random` but
        /// for a length of `len` and those of the bits looked at that `flags` selects.
        fn agree(random: u64, len: u64, flags: u32, longest: u32) {
            let bits = [F::DONE, F::LAST, F::BROKEN, F::STAMPED];
            let mut status = random & !(F::LONGEST << F::LENGTH) | (len & F::LONGEST) << F::LENGTH;
            for (i, bit) in bits.iter().enumerate() {
                status = if flags >> i & 1 != 0 { status | bit } else { status & !bit };
            }
            let [done, last, broken, stamped] = bits.map(|bit| status & bit != 0);
            let plain = done && last && !broken && !stamped && (1..=longest).contains(&F::len(status));
            let beyond = beyond_plain::<F>(status);
            assert_eq!(beyond < u64::from(longest), plain, "{status:#x}, {longest}");
            assert!(!plain || beyond + 1 == u64::from(F::len(status)), "{status:#x}");
        }
    }

    proptest! {
        #[test]
        fn one_comparison_tells_what_each_bit_says(random: u64, len in 0_u64..=4096, flags in 0_u32..16, longest in 0_u32..=2048) {
            ixgbe::RxQueue::agree(random, len, flags, longest);
            i40e::RxQueue::agree(random, len, flags, longest);
            // Of those, few are plain.
            ixgbe::RxQueue::agree(random, len, 0b11, longest);
            i40e::RxQueue::agree(random, len, 0b11, longest);
        }
    }
}
