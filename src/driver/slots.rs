//! What every ring of slots does, in whatever form its family writes a slot:
//! fill, replace, give back and wait on receive; take, take back and give back
//! on transmit. Fast loops over plain packets are the family's own.

use super::irq::Interrupt;
use super::queue::Transmit;
use super::ring::{BufferRing, Buffers, Marks};
use super::stats::Anomalies;
use super::supply::Supply;
use super::tally::{Anomaly, Tally};
use crate::dma::{BUFFER_SIZE, Batch, Descriptor, Iova, Offload, Pool};
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::Function;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that may come on top of the longest frame: two VLAN tags.
pub const TAGS: u32 = 8;

/// Bytes of one VLAN tag.
pub const TAG: u32 = 4;

/// What a receive queue has besides its ring.
#[derive(Debug)]
pub struct Stock {
    supply: Supply,
    tally: Arc<Tally>,
    interrupt: Option<Interrupt>,
}

impl Stock {
    /// Of a queue of `card`; `interrupt` if it can be waited for.
    pub fn new(card: &Arc<dyn Function>, interrupt: Option<Interrupt>) -> Self {
        Stock { supply: Supply::new(card), tally: Arc::default(), interrupt }
    }

    /// Whether the buffers in the ring are of `pool`.
    #[inline(always)]
    pub fn is(&self, pool: &Pool) -> bool {
        self.supply.is(pool)
    }

    /// Counts what the device did wrong.
    #[cold]
    pub fn count(&self, what: Anomaly) {
        self.tally.count(what);
    }

    /// What it did wrong so far.
    pub fn read(&self) -> Anomalies {
        self.tally.read()
    }
}

/// What became of the oldest frame of a receive ring, which is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is not all there, or there is no place for it.
    Waits,
    /// It was received or dropped.
    Gone,
}

/// A receive ring: slots that each hold a buffer for the card to fill, all of
/// them unless the pool is too small.
pub trait Slots {
    /// What the queue has besides the ring.
    fn stock(&self) -> &Stock;

    /// Slots that are to hold a buffer.
    fn slots(&self) -> u32;

    /// Slots that do.
    fn armed(&self) -> u32;

    /// Gives the next slot without a buffer `buffer`. The card sees it no sooner
    /// than it is offered.
    fn arm(&mut self, buffer: u32, pool: &Pool);

    /// Moves past the oldest slot, which is left without a buffer, and returns it.
    fn pass(&mut self) -> u32;

    /// Tells the card of all slots that it may have.
    fn offer(&mut self);

    /// Receives from a ring whose slots all hold a buffer; free ones lie at `iova`.
    fn recv_from(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize;

    /// Deals with what is at the oldest slot: with any frame, whole or not.
    fn recv_odd(&mut self, batch: &mut Batch<'_>) -> Received;

    /// Lets the card interrupt for what comes from here on, as far as that is
    /// not said by the interrupt itself; whether something is there already.
    fn listen(&mut self) -> bool;

    /// Ends that.
    fn silence(&mut self) {}

    /// See [`super::RxQueue::fill`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    fn fill(&mut self, pool: &Pool) -> Result<()> {
        if !self.stock().is(pool) {
            assert!(self.armed() == 0, "a receive queue takes buffers of one pool only");
            self.stock().supply.adopt(pool)?;
        }
        self.top_up(pool);
        Ok(())
    }

    /// Gives each slot that has none a buffer, as far as `pool` has them.
    fn top_up(&mut self, pool: &Pool) {
        while self.armed() < self.slots()
            && let Some(buffer) = pool.take()
        {
            self.arm(buffer, pool);
        }
        self.offer();
    }

    /// Receives from a ring whose slots all hold a buffer.
    #[inline(always)]
    fn recv_full(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        match pool.linear() {
            Some(base) => self.recv_from(batch, |buffer| base + u64::from(buffer) * BUFFER_SIZE as u64),
            None => self.recv_from(batch, |buffer| pool.iova(buffer)),
        }
    }

    /// Receives from a ring that has slots without a buffer: the pool was not
    /// known yet, or is smaller than the ring.
    #[cold]
    #[inline(never)]
    fn recv_unfilled(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if self.fill(pool).is_err() {
            self.stock().count(Anomaly::Unmapped);
            return 0;
        }
        let before = batch.len();
        while batch.room() > 0 && self.recv_odd(batch) == Received::Gone {}
        self.top_up(pool);
        batch.len() - before
    }

    /// Whether a frame of `parts` slots can be received into `batch` now: there
    /// is room for it, and if the ring is `full`, buffers that replace its own.
    /// A frame of more parts than an empty batch is to hold is received all the
    /// same: it could not be received at all otherwise.
    fn has_place(&self, batch: &Batch<'_>, parts: u32) -> bool {
        let parts = parts as usize;
        let full = self.armed() == self.slots();
        (parts <= batch.room() || batch.is_empty()) && (!full || batch.pool().available() >= parts)
    }

    /// Moves past the oldest slot and returns its buffer. A ring that was full
    /// gets a free one for it, as [`Slots::has_place`] has made sure; one that was
    /// not is left to [`Slots::top_up`].
    fn next_slot(&mut self, pool: &Pool) -> u32 {
        let full = self.armed() == self.slots();
        let buffer = self.pass();
        if full && let Some(fresh) = pool.take() {
            self.arm(fresh, pool);
        }
        buffer
    }

    /// Drops what is in the oldest `parts` slots; their buffers stay in the ring,
    /// or go back to the pool if the ring is not full.
    fn drop_slots(&mut self, pool: &Pool, parts: u32) -> Received {
        let full = self.armed() == self.slots();
        for _ in 0..parts {
            let buffer = self.pass();
            if full { self.arm(buffer, pool) } else { pool.give(buffer) }
        }
        Received::Gone
    }

    /// Gives all buffers in the ring back. Only once the card cannot write any more.
    fn release(&mut self, pool: &Pool) {
        if self.stock().is(pool) {
            while self.armed() > 0 {
                pool.give(self.pass());
            }
            self.stock().supply.end();
        }
    }

    /// Its interrupt.
    ///
    /// # Errors
    /// [`Kind::Usage`] without one.
    fn interrupt(&self) -> Result<&Interrupt> {
        self.stock().interrupt.as_ref().ok_or_else(|| {
            let text = "this queue was opened without interrupts; open it with them (Config::interrupts)";
            Error::new(Kind::Usage, text).with_remedy(Remedy::Poll)
        })
    }

    /// See [`super::RxQueue::wait`].
    fn wait(&mut self, patience: Duration) -> Result<bool> {
        // Unmask first, look then: a packet that came before is not slept over.
        self.interrupt()?.unmask();
        if self.listen() {
            self.silence();
            return Ok(true);
        }
        self.interrupted(patience)
    }

    /// See [`super::RxQueue::interrupted`].
    fn interrupted(&mut self, patience: Duration) -> Result<bool> {
        let woken = self.interrupt()?.wait(patience)?;
        if woken {
            self.silence();
        }
        Ok(woken)
    }

    /// See [`super::RxQueue::anomalies`].
    fn anomalies(&self) -> Anomalies {
        self.stock().tally.read()
    }

    /// The counters behind [`Slots::anomalies`], for the control plane.
    fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.stock().tally)
    }
}

/// Descriptors written since `send` last looked for sent ones, for it to look again: a look
/// may fetch a line that the card has just written.
const LOOK: u32 = Marks::GROUP;

/// In a shadow: no frame ends with this descriptor.
pub const INNER: u32 = 1 << 31;

/// In a shadow, below [`INNER`]: this descriptor has no buffer.
pub const NO_BUFFER: u32 = INNER - 1;

/// In a shadow: this descriptor is no part of a frame's data.
pub const BARE: u32 = NO_BUFFER | INNER;

/// What each descriptor of a transmit ring holds: a buffer's index, or more
/// than that ([`INNER`], [`NO_BUFFER`], [`BARE`]).
pub trait Shadows {
    /// The shadow of the descriptor at `position`.
    fn shadow(&self, position: u32) -> &Cell<u32>;

    /// The shadows from `position`, as the runs they make in the ring.
    fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]);
}

impl Shadows for Buffers {
    #[inline(always)]
    fn shadow(&self, position: u32) -> &Cell<u32> {
        self.at(position)
    }

    #[inline(always)]
    fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]) {
        Buffers::runs(self, position, count)
    }
}

impl<D: Descriptor> Shadows for BufferRing<D> {
    #[inline(always)]
    fn shadow(&self, position: u32) -> &Cell<u32> {
        self.buffer(position)
    }

    #[inline(always)]
    fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]) {
        BufferRing::runs(self, position, count)
    }
}

/// A transmit ring, and what was given to the card in it and is not back yet.
///
/// ```text
///          the card's            ours
///         +---------------------+------
///   ... | sent | sent | ...     | free | ...
///         ^ clean                ^ next
/// ```
#[derive(Debug)]
pub struct Pending<R> {
    /// The shadows, with the descriptors if these lie beside them.
    pub ring: R,
    /// Position that is written next. Runs freely.
    pub next: u32,
    /// Oldest position not yet taken back.
    pub clean: u32,
    /// Where the next position is to be for `send` to look for sent ones again.
    look: u32,
    /// Descriptors among `clean..next` whose shadow is more than a buffer.
    marked: u32,
    /// Those of them that are no part of a frame's data.
    bare: u32,
    /// Buffers beside the ring that stay until the queue is released.
    pub kept: u32,
    supply: Supply,
    tally: Arc<Tally>,
}

impl<R: Shadows> Pending<R> {
    /// Nothing yet in a `ring` of `card`.
    pub fn new(ring: R, card: &Arc<dyn Function>) -> Self {
        Pending {
            ring,
            next: 0,
            clean: 0,
            look: LOOK,
            marked: 0,
            bare: 0,
            kept: 0,
            supply: Supply::new(card),
            tally: Arc::default(),
        }
    }

    /// Begins again at `position`, with an empty ring.
    pub fn restart(&mut self, position: u32) {
        (self.next, self.clean, self.look) = (position, position, position.wrapping_add(LOOK));
    }

    /// Whether `send` is to look for sent ones.
    #[inline(always)]
    fn due(&self) -> bool {
        self.next.wrapping_sub(self.look) as i32 >= 0
    }

    /// It has, and is to look again when so many more are written.
    #[inline(always)]
    fn looked(&mut self, again_after: u32) {
        self.look = self.next.wrapping_add(again_after);
    }

    /// Descriptors in the ring.
    #[inline(always)]
    pub fn used(&self) -> u32 {
        self.next.wrapping_sub(self.clean)
    }

    /// Of those, how many are of frames.
    #[inline(always)]
    pub fn frames(&self) -> u32 {
        self.used() - self.bare
    }

    /// Whether each descriptor in the ring has a buffer and ends a frame.
    #[inline(always)]
    pub fn plain(&self) -> bool {
        self.marked == 0
    }

    /// Whether the buffers in the ring are, or may be, of `pool`.
    #[inline(always)]
    pub fn is(&self, pool: &Pool) -> bool {
        self.supply.is(pool)
    }

    /// Writes down what the next descriptor holds, and moves past it.
    #[inline(always)]
    pub fn push(&mut self, shadow: u32) {
        self.ring.shadow(self.next).set(shadow);
        self.marked += u32::from(shadow >= NO_BUFFER);
        self.bare += u32::from(shadow == BARE);
        self.next = self.next.wrapping_add(1);
    }

    /// Moves to `position`: the shadows up to it are set, `bare` of them to [`BARE`].
    #[inline(always)]
    pub fn pushed(&mut self, position: u32, bare: u32) {
        self.next = position;
        self.marked += bare;
        self.bare += bare;
    }

    /// Counts what went wrong.
    #[cold]
    pub fn count(&self, what: Anomaly) {
        self.tally.count(what);
    }

    /// Makes sure that buffers which are about to go back are of `pool`.
    #[inline(always)]
    pub fn check(&self, pool: &Pool) {
        assert!(
            self.used() == self.bare || self.supply.is(pool),
            "a transmit ring holds buffers of one pool at a time"
        );
    }

    /// Gives the buffers of `clean..end` back.
    #[inline(always)]
    pub fn give_back(&mut self, pool: &Pool, end: u32) {
        if self.marked == 0 {
            let (first, rest) = self.ring.runs(self.clean, end.wrapping_sub(self.clean));
            pool.give_slice(first);
            pool.give_slice(rest);
        } else {
            self.give_marked_back(pool, end);
        }
        self.clean = end;
    }

    /// As [`Pending::give_back`], where some shadows are more than a buffer.
    #[inline(never)]
    fn give_marked_back(&mut self, pool: &Pool, end: u32) {
        let (first, rest) = self.ring.runs(self.clean, end.wrapping_sub(self.clean));
        for shadow in first.iter().chain(rest).map(Cell::get) {
            if shadow < NO_BUFFER {
                pool.give(shadow);
                continue;
            }
            self.marked -= 1;
            if shadow == BARE {
                self.bare -= 1;
            } else if shadow != NO_BUFFER {
                pool.give(shadow & !INNER);
            }
        }
    }
}

/// What became of a frame to send that is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There is no room in the ring for it.
    Waits,
    /// These many entries of the batch are dealt with.
    Done(usize),
}

/// What a card sends, without FCS.
#[derive(Clone, Copy, Debug)]
pub struct Sendable {
    /// Shortest frame that it may be given.
    pub min: u32,
    /// Longest, with an inserted tag.
    pub max: u32,
    /// Most buffers of one frame.
    pub parts: u32,
    /// Shorter frames are padded here, as the card does with those that it takes.
    pub pads: bool,
}

/// A frame of a batch that is about to be sent: its entries are there to the
/// last, none is empty, and it is as long and in as many parts as may be.
#[derive(Clone, Copy, Debug)]
pub struct OddFrame {
    /// Entries that it fills.
    pub parts: usize,
    /// Bytes, without a tag that is to be inserted.
    pub total: u32,
    /// Bytes of that tag, or 0.
    pub tag: u32,
    /// What is to be done with it.
    pub offload: Option<Offload>,
}

/// A transmit ring: descriptors that each hold a buffer until it was sent.
pub trait Sends: Transmit {
    /// Its shadows.
    type Ring: Shadows;

    /// What was given to the card.
    fn pending(&self) -> &Pending<Self::Ring>;

    /// As [`Sends::pending`].
    fn pending_mut(&mut self) -> &mut Pending<Self::Ring>;

    /// Descriptors that can be written while none is; each may hold a buffer.
    fn slots(&self) -> u32;

    /// Descriptors that can be written now.
    #[inline(always)]
    fn free(&self) -> u32 {
        self.slots() - self.pending().used()
    }

    /// Writes descriptors for entries from `from` on, as long as they are whole
    /// frames that want nothing special; returns for how many. It may leave one frame to
    /// [`Sends::send_odd`] where the ring ends.
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize;

    /// Deals with the frame that starts in entry `from`, whatever it is.
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Sent;

    /// Tells the card of what was written from position `first` on.
    fn announce(&mut self, first: u32);

    /// Sends what is in `batch`, as far as there is room, and looks for sent frames now and
    /// then; also where nothing was sent: there is no room, or the caller waits for buffers.
    #[inline(always)]
    fn send_or_look(&mut self, batch: &mut Batch<'_>) -> usize {
        if self.pending().due() {
            // A frame takes one descriptor or two.
            let needed = 2 * batch.len() as u32 + LOOK;
            self.take_back(batch.pool(), needed);
            // Where there may be no room until then, at once.
            let again_after = if self.free() > needed { LOOK } else { 0 };
            self.pending_mut().looked(again_after);
        }
        let sent = self.send_all(batch);
        if sent == 0 { self.look_and_send(batch) } else { sent }
    }

    /// As [`Sends::send_or_look`], where nothing was sent.
    #[cold]
    #[inline(never)]
    fn look_and_send(&mut self, batch: &mut Batch<'_>) -> usize {
        self.reclaim(batch.pool());
        if batch.is_empty() { 0 } else { self.send_all(batch) }
    }

    /// Takes back what was sent, or what of it is enough for `needed` descriptors to be free;
    /// its buffers are of `pool`.
    #[inline(always)]
    fn take_back(&mut self, pool: &Pool, _needed: u32) {
        self.reclaim(pool);
    }

    /// Sends what is in `batch`, as far as there is room.
    #[inline(always)]
    fn send_all(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        match pool.linear() {
            Some(base) => self.send_to(batch, |buffer| base + u64::from(buffer) * BUFFER_SIZE as u64),
            None => self.send_to(batch, |buffer| pool.iova(buffer)),
        }
    }

    /// As [`Sends::send_all`], of buffers that lie at `iova`.
    #[inline(always)]
    fn send_to(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let first = self.pending().next;
        let count = batch.len();
        let mut sent = 0;
        loop {
            sent += self.send_plain(batch, sent, iova);
            if sent == count || self.free() == 0 {
                break;
            }
            match self.send_odd(batch, sent) {
                Sent::Waits => break,
                Sent::Done(entries) => sent += entries,
            }
        }
        if self.pending().next != first {
            self.announce(first);
        }
        batch.taken(sent);
        sent
    }

    /// The frame that starts in entry `from`, padded if that is to be done. One
    /// that a card which sends `what` cannot send is counted and dropped.
    fn odd_frame(&self, batch: &mut Batch<'_>, from: usize, what: Sendable) -> std::result::Result<OddFrame, Sent> {
        let count = batch.len();
        let parts = (from..count).position(|i| !batch.continues(i)).map_or(count - from, |n| n + 1);
        let mut total: u32 = (from..from + parts).map(|i| batch.frame(i).len() as u32).sum();
        if what.pads && parts == 1 && (1..what.min).contains(&total) {
            batch.pad(from, what.min as usize);
            total = batch.frame(from).len() as u32;
        }
        let offload = batch.offload(from);
        let tag = if offload.is_some_and(|offload| offload.vlan.is_some()) { TAG } else { 0 };
        let empty = || batch.frames().skip(from).take(parts).any(<[u8]>::is_empty);
        if batch.continues(from + parts - 1) {
            return Err(self.refuse(batch, from, parts, Anomaly::BadChain));
        }
        if !(what.min..=what.max - tag).contains(&total) || empty() {
            return Err(self.refuse(batch, from, parts, Anomaly::BadLength));
        }
        if parts > what.parts as usize {
            return Err(self.refuse(batch, from, parts, Anomaly::BadChain));
        }
        Ok(OddFrame { parts, total, tag, offload })
    }

    /// Counts and drops a frame of `parts` entries that cannot be sent.
    fn refuse(&self, batch: &Batch<'_>, from: usize, parts: usize, wrong: Anomaly) -> Sent {
        self.pending().count(wrong);
        batch.pool().give_many(batch.entries()[from..from + parts].iter().map(|entry| entry.buffer));
        Sent::Done(parts)
    }

    /// See [`super::TxQueue::adopt`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[cold]
    fn adopt(&mut self, pool: &Pool) -> Result<()> {
        let pending = self.pending_mut();
        if pending.is(pool) {
            return Ok(());
        }
        pending.check(pool);
        assert!(pending.kept == 0, "packets laid ready are of one pool");
        pending.supply.adopt(pool)
    }

    /// Takes to another pool if the card reaches it, or counts that it does not.
    /// Apart from `send`, whose frame it would widen.
    #[cold]
    #[inline(never)]
    fn admits(&mut self, pool: &Pool) -> bool {
        let admitted = self.adopt(pool).is_ok();
        if !admitted {
            self.pending().count(Anomaly::Unmapped);
        }
        admitted
    }

    /// Gives all buffers in the ring back, sent or not. Only once the card
    /// cannot read any more.
    fn release(&mut self, pool: &Pool) {
        let pending = self.pending_mut();
        if pending.is(pool) {
            pending.give_back(pool, pending.next);
        }
    }

    /// See [`super::TxQueue::anomalies`].
    fn anomalies(&self) -> Anomalies {
        self.pending().tally.read()
    }

    /// The counters behind [`Sends::anomalies`], for the control plane.
    fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.pending().tally)
    }

    /// See [`super::TxQueue::prepare`].
    fn prepare(&mut self, _batch: &mut Batch<'_>) -> Result<usize> {
        Err(Error::new(Kind::Unsupported, "cards of this family cannot have packets laid ready; use send"))
    }

    /// See [`super::TxQueue::launch`].
    #[inline]
    fn launch(&mut self, _n: usize) -> bool {
        false
    }

    /// See [`super::TxQueue::last_sent`].
    fn last_sent(&self) -> Option<crate::dma::Timestamp> {
        None
    }
}
