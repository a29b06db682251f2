//! Transmit queues of cards that report in the descriptor that asked for it:
//! all of Intel's.
//!
//! ```text
//!          the card's                     ours
//!         +------------------------+     +------------
//!   ... | sent | sent RS | ... | ... RS | free | ...
//!         ^ clean      ^ mark         ^ mark  ^ next = tail register
//! ```
//!
//! The last descriptor of each call of `send` asks for a report (RS). Small calls
//! make up groups, and the last position of each group is remembered as a mark.
//! When the card has reported there, all buffers up to it go back to the pool in
//! one copy; while there is room, the newest group is left for the next look, and its
//! line fetched meanwhile. Descriptors between marks are never read, so nothing that a card
//! writes into them matters.
//!
//! What the words of a descriptor are is the family's ([`TxFormat`]), known when
//! the loop is compiled.

use super::pending::{BARE, NO_BUFFER, Pending};
use super::queue::Transmit;
use super::ring::{BufferRing, Marks, store_both};
use super::sends::{OddFrame, Sendable, Sends, Sent};
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Offload, Pool, Region};
use crate::pci::{Doorbell, Function};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two words of memory that the card reads and reports in.
type Descriptor = [AtomicU64; 2];

/// How a family writes down what is to be sent. A data descriptor's first word
/// is the buffer's address.
pub trait TxFormat: Debug + 'static {
    /// Shortest frame the card may be given; it pads to 60 itself.
    const MIN_FRAME: u32;
    /// Longest frame it sends, without FCS but with an inserted tag.
    const MAX_FRAME: u32;
    /// Most buffers of one frame.
    const MAX_PARTS: u32;
    /// Second word: last descriptor of the frame.
    const LAST: u64;
    /// Second word: report when done.
    const REPORT: u64;

    /// The second word of a data descriptor for `length` bytes of a frame of `total`.
    fn data(length: u64, total: u64) -> u64;

    /// Whether a second word is that of a report.
    fn done(word: u64) -> bool;

    /// What `offload` takes: bits of each data descriptor's second word, and a
    /// context descriptor before them unless the card still remembers the same.
    fn offload(offload: &Offload) -> (u64, Option<[u64; 2]>);
}

/// A transmit queue.
#[derive(Debug)]
pub struct Queue<F: TxFormat> {
    pending: Pending<BufferRing<Descriptor>>,
    tail: Doorbell,
    /// Ends of groups, which asked for a report, oldest first.
    marks: Marks,
    /// The second word of the descriptor that was written last. To read it back would wait for
    /// its line: what was stored in one go is not forwarded to a load of a part of it.
    last: u64,
    /// The context the card remembers.
    context: Option<[u64; 2]>,
    /// Descriptors of frames laid ready.
    ready: Vec<[u64; 2]>,
    _format: PhantomData<F>,
}

impl<F: TxFormat> Queue<F> {
    const SENDABLE: Sendable = Sendable { min: F::MIN_FRAME, max: F::MAX_FRAME, parts: F::MAX_PARTS, pads: true };

    /// A queue of `card` on a ring of `len` zeroed descriptors that it already knows.
    pub fn new(region: Region, len: u32, tail: Doorbell, card: &Arc<dyn Function>) -> Self {
        Queue {
            pending: Pending::new(BufferRing::new(region, len), card),
            tail,
            marks: Marks::new(len),
            last: 0,
            context: None,
            ready: Vec::new(),
            _format: PhantomData,
        }
    }

    /// Writes the next descriptor.
    fn write(&mut self, words: [u64; 2], shadow: u32) {
        store_both(self.pending.ring.at(self.pending.next), words[0], words[1]);
        self.pending.push(shadow);
    }
}

impl<F: TxFormat> Transmit for Queue<F> {
    #[inline]
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.pending.is(pool) && !self.admits(pool) {
            return 0;
        }
        self.send_or_look(batch)
    }

    #[inline]
    fn reclaim(&mut self, pool: &Pool) -> usize {
        self.pending.check(pool);
        self.take_back(pool, u32::MAX);
        self.pending.frames() as usize
    }
}

impl<F: TxFormat> Sends for Queue<F> {
    type Ring = BufferRing<Descriptor>;

    #[inline(always)]
    fn pending(&self) -> &Pending<Self::Ring> {
        &self.pending
    }

    #[inline(always)]
    fn pending_mut(&mut self) -> &mut Pending<Self::Ring> {
        &mut self.pending
    }

    /// One stays free, or a full ring would look like an empty one.
    #[inline(always)]
    fn slots(&self) -> u32 {
        self.pending.ring.len() - 1
    }

    /// Leaves the newest group for the next look, as long as there is room: the card has just
    /// written there, or is about to, and its line comes while something else is done.
    #[inline(always)]
    fn take_back(&mut self, pool: &Pool, needed: u32) {
        let left = u32::from(self.free() > needed);
        let mut end = self.pending.clean;
        while let Some(mark) = self.marks.first() {
            if self.marks.len() == left {
                self.pending.ring.slots().fetch(mark);
                break;
            }
            // Acquire: the next owner of the buffer writes to it after the card has read it.
            if !F::done(self.pending.ring.at(mark)[1].load(Ordering::Acquire)) {
                break;
            }
            end = mark.wrapping_add(1);
            self.marks.pop();
        }
        self.pending.give_back(pool, end);
    }

    #[inline(always)]
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        let most = (batch.len() - from).min(self.free() as usize);
        let first = self.pending.next;
        // Where the ring ends, one frame is left to send_odd, and the rest comes here again.
        let (slots, buffers) = self.pending.ring.slots().run(first, most);
        let entries = &batch.entries()[from..][..slots.len()];
        let (mut n, mut last) = (0, self.last);
        for ((slot, buffer), entry) in slots.iter().zip(buffers).zip(entries) {
            // Flags and start are above the length: a word in this range has none.
            let length = entry.span.word();
            if length.wrapping_sub(F::MIN_FRAME) > BUFFER_SIZE as u32 - F::MIN_FRAME {
                break;
            }
            n += 1;
            last = F::data(u64::from(length), u64::from(length)) | F::LAST;
            store_both(slot, iova(entry.buffer), last);
            buffer.set(entry.buffer);
        }
        self.pending.next = first.wrapping_add(n);
        self.last = last;
        n as usize
    }

    /// Asks for a report on the last descriptor, and rings.
    #[inline(always)]
    fn announce(&mut self, first: u32) {
        let last = self.pending.next.wrapping_sub(1);
        self.pending.ring.at(last)[1].store(self.last | F::REPORT, Ordering::Relaxed);
        self.marks.push(first, last);
        self.tail.ring(self.pending.ring.index(self.pending.next));
    }

    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Sent {
        let OddFrame { parts, total, offload, .. } = match self.odd_frame(batch, from, Self::SENDABLE) {
            Ok(frame) => frame,
            Err(refused) => return refused,
        };
        let (flags, context) = offload.as_ref().map_or((0, None), F::offload);
        let new_context = context.filter(|_| context != self.context);
        if self.free() < parts as u32 + u32::from(new_context.is_some()) {
            return Sent::Waits;
        }
        if let Some(context) = new_context {
            self.write(context, BARE);
            self.context = Some(context);
        }
        for i in from..from + parts {
            let length = batch.frame(i).len() as u64;
            let Entry { buffer, span, .. } = batch.entries()[i];
            let address = batch.pool().iova(buffer) + u64::from(span.start());
            let end = if i + 1 == from + parts { F::LAST } else { 0 };
            self.last = F::data(length, u64::from(total)) | end | flags;
            self.write([address, self.last], buffer);
        }
        Sent::Done(parts)
    }

    fn layable(&self) -> Option<RangeInclusive<usize>> {
        Some(F::MIN_FRAME as usize..=BUFFER_SIZE)
    }

    fn lay(&mut self, batch: &Batch<'_>, i: usize) {
        let Entry { buffer, span, .. } = batch.entries()[i];
        let address = batch.pool().iova(buffer) + u64::from(span.start());
        let length = u64::from(span.len());
        self.ready.push([address, F::data(length, length) | F::LAST | F::REPORT]);
    }

    #[inline]
    fn launch(&mut self, n: usize) -> bool {
        let Some(&words) = self.ready.get(n) else { return false };
        if self.free() == 0 {
            return false;
        }
        let at = self.pending.next;
        self.write(words, NO_BUFFER);
        self.tail.ring(self.pending.ring.index(self.pending.next));
        self.marks.push(at, at);
        true
    }
}
