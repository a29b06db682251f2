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
//! one copy. Descriptors between marks are never read, so nothing that a card
//! writes into them matters.
//!
//! What the words of a descriptor are is the family's ([`Format`]), known when
//! the loop is compiled.

use super::Anomalies;
use super::ring::{BufferRing, Marks};
use super::supply::Supply;
use super::tally::{Anomaly, Tally};
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Offload, Pool, Region};
use crate::error::Result;
use crate::pci::Doorbell;
use std::cell::Cell;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors written since `send` last looked for sent ones, for it to look again:
/// a look may fetch a line that the card has just written.
const LOOK: u32 = Marks::GROUP;

/// Bytes that an inserted VLAN tag adds.
const TAG: u32 = 4;

/// Stands in the shadow for a context descriptor, which has no buffer.
const NO_BUFFER: u32 = u32::MAX;

/// Two words of memory that the card reads and reports in.
type Descriptor = [AtomicU64; 2];

/// How a family writes down what is to be sent. A data descriptor's first word
/// is the buffer's address.
pub trait Format: Debug + 'static {
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
pub struct Queue<F: Format> {
    ring: BufferRing<Descriptor>,
    tail: Doorbell,
    /// Position that is written next. Runs freely.
    next: u32,
    /// Oldest position not yet reclaimed.
    clean: u32,
    /// Where `next` was when sent ones were last looked for.
    looked: u32,
    /// Ends of groups, which asked for a report, oldest first.
    marks: Marks,
    /// Context descriptors among `clean..next`.
    contexts: u32,
    /// The context the card remembers.
    context: Option<[u64; 2]>,
    supply: Supply,
    tally: Arc<Tally>,
    _format: PhantomData<F>,
}

/// What became of a frame that is not plain.
enum Odd {
    /// No room in the ring for it.
    Waits,
    /// These many entries of the batch are dealt with.
    Done(usize),
}

impl<F: Format> Queue<F> {
    /// A queue on a ring of `len` zeroed descriptors that the card already knows.
    pub fn new(region: Region, len: u32, tail: Doorbell, supply: Supply) -> Self {
        Queue {
            ring: BufferRing::new(region, len),
            tail,
            next: 0,
            clean: 0,
            looked: 0,
            marks: Marks::new(len),
            contexts: 0,
            context: None,
            supply,
            tally: Arc::default(),
            _format: PhantomData,
        }
    }

    /// See [`super::TxQueue::send`].
    #[inline]
    pub fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.supply.is(pool) && !self.admits(pool) {
            return 0;
        }
        // Nothing to send: the caller may be waiting for buffers.
        if self.next.wrapping_sub(self.looked) >= LOOK || self.free() as usize <= batch.len() || batch.is_empty() {
            self.reclaim(pool);
        }
        match pool.linear() {
            Some(base) => self.send_to(batch, |buffer| base + u64::from(buffer) * BUFFER_SIZE as u64),
            None => self.send_to(batch, |buffer| pool.iova(buffer)),
        }
    }

    /// Descriptors in the ring.
    #[inline(always)]
    fn used(&self) -> u32 {
        self.next.wrapping_sub(self.clean)
    }

    /// Descriptors that can be written: one stays free, or a full ring would
    /// look like an empty one.
    #[inline(always)]
    fn free(&self) -> u32 {
        self.ring.len() - 1 - self.used()
    }

    #[inline(always)]
    fn send_to(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let first = self.next;
        let count = batch.len();
        let mut sent = 0;
        loop {
            sent += self.send_plain(batch, sent, iova);
            if sent == count || self.free() == 0 {
                break;
            }
            match self.send_odd(batch, sent) {
                Odd::Waits => break,
                Odd::Done(entries) => sent += entries,
            }
        }
        if self.next != first {
            self.announce(first);
        }
        batch.taken(sent);
        sent
    }

    /// Writes descriptors for entries from `from` on, as long as they are whole
    /// frames that want nothing special; returns for how many.
    #[inline(always)]
    fn send_plain(&mut self, batch: &Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        let to = batch.len().min(from + self.free() as usize);
        let ring = self.ring.slots();
        let mut position = self.next;
        for entry in &batch.entries()[from..to] {
            // Flags and start are above the length: a word in this range has none.
            let length = entry.span.word();
            if length.wrapping_sub(F::MIN_FRAME) > BUFFER_SIZE as u32 - F::MIN_FRAME {
                break;
            }
            let (slot, buffer) = ring.at(position);
            slot[0].store(iova(entry.buffer), Ordering::Relaxed);
            slot[1].store(F::data(u64::from(length), u64::from(length)) | F::LAST, Ordering::Relaxed);
            buffer.set(entry.buffer);
            position = position.wrapping_add(1);
        }
        let n = position.wrapping_sub(self.next) as usize;
        self.next = position;
        n
    }

    /// Asks for a report on the last descriptor written since `first`, and rings.
    #[inline(always)]
    fn announce(&mut self, first: u32) {
        let last = self.next.wrapping_sub(1);
        let word = &self.ring.at(last)[1];
        word.store(word.load(Ordering::Relaxed) | F::REPORT, Ordering::Relaxed);
        self.marks.push(first, last);
        self.tail.ring(self.ring.index(self.next));
    }

    /// Deals with the frame that starts in entry `from`: of several buffers,
    /// with an offload, or too short.
    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Odd {
        let count = batch.len();
        let parts = (from..count).position(|i| !batch.continues(i)).map_or(count - from, |n| n + 1);
        let mut total: u32 = (from..from + parts).map(|i| batch.frame(i).len() as u32).sum();
        if parts == 1 && (1..F::MIN_FRAME).contains(&total) {
            batch.pad(from, F::MIN_FRAME as usize);
            total = batch.frame(from).len() as u32;
        }
        let offload = batch.offload(from);
        let tag = if offload.is_some_and(|offload| offload.vlan.is_some()) { TAG } else { 0 };
        let wrong = if batch.continues(from + parts - 1) {
            Some(Anomaly::BadChain)
        } else if !(F::MIN_FRAME..=F::MAX_FRAME - tag).contains(&total)
            || batch.frames().skip(from).take(parts).any(<[u8]>::is_empty)
        {
            Some(Anomaly::BadLength)
        } else if parts > F::MAX_PARTS as usize {
            Some(Anomaly::BadChain)
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.tally.count(wrong);
            batch.pool().give_many(batch.entries()[from..from + parts].iter().map(|entry| entry.buffer));
            return Odd::Done(parts);
        }

        let (flags, context) = offload.as_ref().map_or((0, None), F::offload);
        let new_context = context.filter(|_| context != self.context);
        if self.free() < parts as u32 + u32::from(new_context.is_some()) {
            return Odd::Waits;
        }
        if let Some(context) = new_context {
            self.write(context, NO_BUFFER);
            self.context = Some(context);
            self.contexts += 1;
        }
        for i in from..from + parts {
            let length = batch.frame(i).len() as u64;
            let Entry { buffer, span, .. } = batch.entries()[i];
            let address = batch.pool().iova(buffer) + u64::from(span.start());
            let end = if i + 1 == from + parts { F::LAST } else { 0 };
            self.write([address, F::data(length, u64::from(total)) | end | flags], buffer);
        }
        Odd::Done(parts)
    }

    /// Writes the next descriptor.
    fn write(&mut self, words: [u64; 2], buffer: u32) {
        let slot = self.ring.at(self.next);
        slot[0].store(words[0], Ordering::Relaxed);
        slot[1].store(words[1], Ordering::Relaxed);
        self.ring.buffer(self.next).set(buffer);
        self.next = self.next.wrapping_add(1);
    }

    /// See [`super::TxQueue::reclaim`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[inline]
    pub fn reclaim(&mut self, pool: &Pool) -> usize {
        assert!(self.used() == 0 || self.supply.is(pool), "a transmit ring holds buffers of one pool at a time");
        self.looked = self.next;
        let mut end = self.clean;
        while let Some(mark) = self.marks.first() {
            // Acquire: whoever gets the buffer next writes to it after the card has read it.
            if !F::done(self.ring.at(mark)[1].load(Ordering::Acquire)) {
                break;
            }
            end = mark.wrapping_add(1);
            self.marks.pop();
        }
        self.give_back(pool, end);
        (self.used() - self.contexts) as usize
    }

    /// Gives the buffers of `clean..end` back.
    #[inline]
    fn give_back(&mut self, pool: &Pool, end: u32) {
        let (first, rest) = self.ring.runs(self.clean, end.wrapping_sub(self.clean));
        if self.contexts == 0 {
            pool.give_slice(first);
            pool.give_slice(rest);
        } else {
            for buffer in first.iter().chain(rest).map(Cell::get) {
                if buffer == NO_BUFFER {
                    self.contexts -= 1;
                } else {
                    pool.give(buffer);
                }
            }
        }
        self.clean = end;
    }

    /// See [`super::TxQueue::adopt`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[cold]
    pub fn adopt(&mut self, pool: &Pool) -> Result<()> {
        if self.supply.is(pool) {
            return Ok(());
        }
        assert!(self.used() == 0, "a transmit ring holds buffers of one pool at a time");
        self.supply.adopt(pool)
    }

    /// Takes to another pool if the card reaches it, or counts that it does not.
    /// Apart from `send`, whose frame it would widen.
    #[cold]
    #[inline(never)]
    fn admits(&mut self, pool: &Pool) -> bool {
        let admitted = self.adopt(pool).is_ok();
        if !admitted {
            self.tally.count(Anomaly::Unmapped);
        }
        admitted
    }

    /// Gives all buffers in the ring back, sent or not. Only once the card
    /// cannot read any more.
    pub fn release(&mut self, pool: &Pool) {
        if self.supply.is(pool) {
            self.give_back(pool, self.next);
            self.marks.clear();
        }
    }

    /// See [`super::TxQueue::anomalies`].
    pub fn anomalies(&self) -> Anomalies {
        self.tally.read()
    }

    /// The counters behind [`Queue::anomalies`], for the control plane.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}
