//! Receive queue.
//!
//! ```text
//!             given to the device               bare
//!          +-------------------------------+-------------+
//!   ... | used | used | empty | ... | empty |             | used | ...
//!         ^ head                            ^ tail        ^ head + n
//! ```
//!
//! Turns between `head` and `tail` are the device's; `order` says which chain id
//! each of them is. A device that uses them in order, as all known ones do,
//! names at each turn the id that `order` holds; one that does not has its ids
//! exchanged there. An id that is not the device's to name is an anomaly: the
//! oldest is taken for it and its packet dropped, so each completion returns
//! one buffer, whatever it says.
//!
//! For each received packet a free buffer is given, some turns ([`BARE`]) behind where it
//! lay, and the device is let see such buffers by steps ([`STEP`]). A split queue's turn named
//! its id a lap before, and is written only where ids were exchanged. So none of the lines
//! that the device reads for the next packet has just been written here.

use super::header::{HEADER, NUM_BUFFERS};
use super::ring::{Completion, Notifier, Virtqueue};
use super::stats::Counters;
use crate::dma::{BUFFER_SIZE, Batch, Decoder, Entry, Iova, Nothing, Pool, Span};
use crate::driver::queue::Receive;
use crate::driver::ring::first_position;
use crate::driver::slots::{Received, Slots, Stock, TAGS};
use crate::driver::tally::Anomaly;
use std::cell::Cell;
use std::sync::Arc;

/// Buffers given that are worth to be shown, and a look whether the device wants to know; a
/// quarter of a short ring: a device must know of most of its buffers.
const STEP: u32 = 16;

/// Turns that hold no buffer, or an eighth of a short ring: descriptors that are written are
/// then never in the line that the device reads next, nor in the one beside that. None of a
/// packed queue, whose device writes there as well.
const BARE: u32 = 8;

/// Longest frame that one buffer holds.
pub const ONE_BUFFER: u16 = (BUFFER_SIZE as u32 - HEADER - TAGS) as u16;

/// Buffers that frames of up to `max_frame` bytes take at most, if they may take several.
pub fn parts(max_frame: u16) -> u32 {
    (u32::from(max_frame) + TAGS + HEADER).div_ceil(BUFFER_SIZE as u32)
}

/// A receive queue on a ring of format `F`.
#[derive(Debug)]
pub struct Queue<F> {
    ring: F,
    notifier: Notifier,
    /// Buffer of each id.
    buffers: Box<[Cell<u32>]>,
    /// Id of each turn from `head` on; from `tail` on those without a buffer.
    order: Box<[Cell<u32>]>,
    /// See [`BARE`].
    bare: u32,
    /// Turn that completes next. Runs freely.
    head: u32,
    /// Turn that is given next.
    tail: u32,
    /// Turn up to which the device was let see what it was given.
    published: u32,
    /// The last turn that the ring names by another's id, as they were exchanged.
    misnamed: u32,
    stock: Stock,
    /// Longest frame, with tags.
    longest: u32,
    /// A frame may fill several buffers, and says how many.
    mergeable: bool,
    /// See [`STEP`].
    step: u32,
    /// Behind the turn at which a count of completions made no sense: it is not counted twice.
    nonsense: u32,
    counters: Arc<Counters>,
}

impl<F: Virtqueue> Queue<F> {
    /// A queue on an empty ring that the device already knows.
    pub(super) fn new(ring: F, notifier: Notifier, stock: Stock, max_frame: u16, mergeable: bool) -> Self {
        (0..ring.buffers()).for_each(|turn| ring.name(turn, turn));
        // The device sees as many at any time as the longest frame takes.
        let spare = ring.buffers().saturating_sub(parts(max_frame));
        let bare = if F::PUBLISHED_BY_INDEX { BARE.min(ring.buffers() / 8).min(spare / 2) } else { 0 };
        let first = first_position();
        let cells = |value: fn(u32) -> u32| (0..ring.buffers()).map(|n| Cell::new(value(n))).collect();
        Queue {
            buffers: cells(|_| 0),
            order: cells(|n| n),
            bare,
            step: STEP.min(ring.buffers() / 4).min(spare - bare + 1).max(1),
            ring,
            notifier,
            head: first,
            tail: first,
            published: first,
            misnamed: first,
            stock,
            longest: u32::from(max_frame) + TAGS,
            mergeable,
            nonsense: 0,
            counters: Arc::default(),
        }
    }

    /// Turns that are the device's.
    #[inline(always)]
    fn owned(&self) -> u32 {
        self.tail.wrapping_sub(self.head)
    }

    /// Completions that there may be: never more than buffers were given, and seen.
    #[inline(always)]
    fn ready(&mut self) -> u32 {
        match self.ring.completed(self.head) {
            Some(count) if count <= self.published.wrapping_sub(self.head) => count,
            Some(_) => self.reject(),
            None => self.owned(),
        }
    }

    /// The device claims to have used more than it was given.
    #[cold]
    fn reject(&mut self) -> u32 {
        // One that stays ahead is wrong once, however often it goes on.
        let here = self.head.wrapping_add(1);
        if self.nonsense != here {
            self.nonsense = here;
            self.stock.count(Anomaly::BadIndex);
        }
        self.counters.astray();
        0
    }

    /// Moves frames of one buffer into `batch` until it is full, `ready` are
    /// dealt with or something else comes: whether that is so.
    #[inline(always)]
    fn recv_plain(&mut self, batch: &mut Batch<'_>, ready: u32, iova: impl Fn(u32) -> Iova) -> bool {
        let pool = batch.pool();
        let had = batch.len();
        let fresh = pool.top(batch.room().min(ready as usize));
        let (ring, n) = (&self.ring, self.ring.buffers());
        let (buffers, order) = (&self.buffers[..n as usize], &self.order[..n as usize]);
        let longest = self.longest.min(BUFFER_SIZE as u32 - HEADER);
        let ahead = self.slots();
        let mut turn = self.head;
        let mut bytes = 0;
        let mut odd = false;

        for (entry, fresh) in batch.entries_mut()[had..].iter_mut().zip(fresh.iter().rev()) {
            let Some(Completion { id, len }) = ring.completion(turn, turn) else { break };
            let length = len.wrapping_sub(HEADER);
            // One comparison for both: a length of zero wraps to a large one.
            if id != order[(turn & (n - 1)) as usize].get() || length.wrapping_sub(1) >= longest {
                odd = true;
                break;
            }
            let buffer = &buffers[(id & (n - 1)) as usize];
            if self.mergeable && pool.word16(buffer.get(), NUM_BUFFERS) != 1 {
                odd = true;
                break;
            }
            let span = Span::new(HEADER as u8, length as u16, false);
            *entry = Entry { words: [0; 2], buffer: buffer.get(), span };
            let given = turn.wrapping_add(ahead);
            let id = order[(given & (n - 1)) as usize].get();
            buffers[(id & (n - 1)) as usize].set(fresh.get());
            ring.give(given, id, iova(fresh.get()), BUFFER_SIZE as u32);
            bytes += u64::from(length);
            turn = turn.wrapping_add(1);
        }
        let done = turn.wrapping_sub(self.head);
        self.head = turn;
        self.tail = self.tail.wrapping_add(done);
        pool.took(done as usize);
        batch.filled(had + done as usize, Decoder::of::<Nothing>());
        if done > 0 {
            self.counters.add(done as usize, bytes);
        }
        odd
    }

    /// The length that the completion `ahead` of the next one names, and
    /// whether it is of a chain that is the device's. Its id is then that of its
    /// turn.
    fn named(&mut self, ahead: u32) -> Option<(u32, bool)> {
        let turn = self.head.wrapping_add(ahead);
        if ahead >= self.owned() || self.ring.completed(self.head).is_some_and(|ready| ready <= ahead) {
            return None;
        }
        let Completion { id, len } = self.ring.completion(turn, turn)?;
        let at = |turn: u32| &self.order[(turn & (self.ring.buffers() - 1)) as usize];
        let seen = if F::PUBLISHED_BY_INDEX { self.published } else { self.tail };
        let left = seen.wrapping_sub(turn).min(self.owned() - ahead);
        match (0..left).find(|n| at(turn.wrapping_add(*n)).get() == id) {
            Some(n) => {
                at(turn).swap(at(turn.wrapping_add(n)));
                // Both are given anew a lap later.
                let (laps, behind) = (self.ring.buffers(), self.misnamed.wrapping_sub(self.head));
                if n > 0 && !(laps + ahead + n..2 * laps).contains(&behind) {
                    self.misnamed = turn.wrapping_add(n + laps);
                }
                Some((len, true))
            }
            None => {
                self.stock.count(Anomaly::BadIndex);
                Some((0, false))
            }
        }
    }

    /// Lets the device see what it was given.
    #[inline(always)]
    fn publish(&mut self) {
        self.ring.publish(self.tail);
        self.published = self.tail;
    }

    /// Names the turns from `first` on that were given: ids of some were exchanged.
    #[cold]
    fn name_again(&self, first: u32) {
        for turn in (0..self.tail.wrapping_sub(first)).map(|given| first.wrapping_add(given)) {
            self.ring.name(turn, self.order[(turn & (self.ring.buffers() - 1)) as usize].get());
        }
    }

    /// Id of the turn `ahead` of the next.
    fn id(&self, ahead: u32) -> u32 {
        self.order[(self.head.wrapping_add(ahead) & (self.ring.buffers() - 1)) as usize].get()
    }

    /// Moves a frame of `parts` buffers into `batch`.
    fn take_frame(&mut self, batch: &mut Batch<'_>, parts: u32, total: u64) {
        let pool = batch.pool();
        let had = batch.len();
        for part in 0..parts {
            let (len, _) = self.named(0).unwrap_or_default();
            // Once more, as the device could have written it anew.
            let start = if part == 0 { HEADER } else { 0 };
            let len = len.clamp(start + 1, BUFFER_SIZE as u32) - start;
            let buffer = self.next_slot(pool);
            let span = Span::new(start as u8, len as u16, part + 1 < parts);
            batch.entries_mut()[had + part as usize] = Entry { words: [0; 2], buffer, span };
        }
        batch.filled(had + parts as usize, Decoder::of::<Nothing>());
        self.counters.add(1, total);
    }

    /// What it has carried, for the control plane.
    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

impl<F: Virtqueue> Receive for Queue<F> {
    #[inline]
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        if !self.stock.is(batch.pool()) || self.owned() != self.slots() {
            return self.recv_unfilled(batch);
        }
        self.recv_full(batch)
    }
}

impl<F: Virtqueue> Slots for Queue<F> {
    fn stock(&self) -> &Stock {
        &self.stock
    }

    fn slots(&self) -> u32 {
        self.ring.buffers() - self.bare
    }

    fn armed(&self) -> u32 {
        self.owned()
    }

    /// Under the id that was passed longest ago.
    fn arm(&mut self, buffer: u32, pool: &Pool) {
        let id = self.order[(self.tail & (self.ring.buffers() - 1)) as usize].get();
        self.buffers[id as usize].set(buffer);
        self.ring.give(self.tail, id, pool.iova(buffer), BUFFER_SIZE as u32);
        self.ring.name(self.tail, id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn pass(&mut self) -> u32 {
        let buffer = self.buffers[self.id(0) as usize].get();
        self.head = self.head.wrapping_add(1);
        buffer
    }

    fn offer(&mut self) {
        if self.notifier.unsaid(self.tail) > 0 {
            self.publish();
            self.notifier.tell(&self.ring, self.tail, self.tail);
        }
    }

    #[inline(always)]
    fn recv_from(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let before = batch.len();
        let first = self.tail;
        loop {
            let ready = self.ready();
            if !self.recv_plain(batch, ready, iova) || self.recv_odd(batch) == Received::Waits {
                break;
            }
        }
        if self.misnamed.wrapping_sub(first) < self.ring.buffers() {
            self.name_again(first);
        }
        if self.notifier.unsaid(self.tail) >= self.step {
            self.publish();
            self.notifier.tell(&self.ring, self.tail, self.tail);
        }
        batch.len() - before
    }

    /// Deals with a frame that is not plain: of several buffers, out of order,
    /// or with words that make no sense.
    #[cold]
    #[inline(never)]
    fn recv_odd(&mut self, batch: &mut Batch<'_>) -> Received {
        let pool = batch.pool();
        if self.ready() == 0 {
            return Received::Waits;
        }
        let Some((first, known)) = self.named(0) else { return Received::Waits };
        if !known {
            return self.drop_slots(pool, 1);
        }
        let mut parts = 1;
        if self.mergeable {
            let buffer = self.buffers[self.id(0) as usize].get();
            let most = (self.longest + HEADER).div_ceil(BUFFER_SIZE as u32);
            parts = u32::from(pool.word16(buffer, NUM_BUFFERS));
            if parts == 0 || parts > most.min(self.owned()) {
                self.stock.count(Anomaly::BadChain);
                return self.drop_slots(pool, 1);
            }
        }
        let mut total = u64::from(first).wrapping_sub(u64::from(HEADER));
        let mut wrong = first <= HEADER || first > BUFFER_SIZE as u32;
        for ahead in 1..parts {
            let Some((len, known)) = self.named(ahead) else { return Received::Waits };
            wrong |= !known || !(1..=BUFFER_SIZE as u32).contains(&len);
            total = total.wrapping_add(u64::from(len));
        }
        if wrong {
            self.stock.count(Anomaly::BadLength);
            return self.drop_slots(pool, parts);
        }
        if total > u64::from(self.longest) {
            // No filter for lengths in such a device: the far end may send it.
            self.counters.oversize();
            return self.drop_slots(pool, parts);
        }
        if !self.has_place(batch, parts) {
            return Received::Waits;
        }
        self.take_frame(batch, parts, total);
        Received::Gone
    }

    fn listen(&mut self) -> bool {
        self.ring.interrupts(true, self.head);
        crate::dma::barrier::dma_mb();
        self.owned() > 0
            && match self.ring.completed(self.head) {
                Some(count) => count > 0,
                None => self.ring.completion(self.head, self.head).is_some(),
            }
    }

    fn silence(&mut self) {
        self.ring.interrupts(false, self.head);
    }
}
