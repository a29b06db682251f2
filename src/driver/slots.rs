//! What every receive ring of slots does, in whatever form its family writes a slot:
//! fill, replace, give back and wait. Fast loops over plain packets are the family's own.

use super::irq::Interrupt;
use super::stats::Anomalies;
use super::supply::Supply;
use super::tally::{Anomaly, Tally};
use crate::dma::{BUFFER_SIZE, Batch, Iova, Pool};
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::Function;
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
