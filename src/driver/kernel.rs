//! A queue of an interface that the kernel keeps, over whatever brings its frames or takes them.
//!
//! Buffers are copied from and into at once, so that none stays in a queue, and any pool will do.

use super::packet::counters::{Counters, Counts};
use super::queue::{Receive, Transmit};
use super::stats::Anomalies;
use super::tally::Tally;
use crate::dma::{BATCH_MAX, Batch, Pool, Timestamp};
use crate::error::{Error, Kind, Result};
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Shortest frame of Ethernet, without FCS: a shorter one is padded, as a card does.
pub const MIN_FRAME: usize = 60;

/// What brings frames.
pub trait Source: Debug {
    /// Has the kernel deliver to it from now on.
    fn start(&mut self) -> io::Result<()>;

    /// Whether a frame is there.
    fn has_frame(&mut self) -> bool;

    /// Sleeps until something has come, at most `patience`; whether it has.
    fn sleep(&self, patience: Duration) -> io::Result<bool>;

    /// Appends copies of the frames that are there, as many as there is room for.
    fn take(&mut self, batch: &mut Batch<'_>, tally: &Tally) -> Counts;

    /// Whether frames can be looked at where they lie, in a ring that bridges the time until a
    /// sleeper is awake.
    fn shows(&self) -> bool {
        false
    }

    /// Shows up to `most` of these frames to `see`, each in parts, with its length and its stamp,
    /// until it returns false; how many that were.
    fn show(&mut self, _most: usize, _see: impl FnMut(&[&[u8]], usize, Option<Timestamp>) -> bool) -> (usize, Counts) {
        (0, Counts::default())
    }
}

/// What takes frames.
pub trait Outlet: Debug {
    /// Hands frames from the front of the batch to the kernel, and gives their buffers back.
    fn put(&mut self, batch: &mut Batch<'_>, tally: &Tally) -> Counts;

    /// Pushes on what the kernel has not sent yet; how many frames that is.
    fn push_on(&mut self) -> usize;
}

/// Whose queue it is, and what it has carried.
#[derive(Debug)]
pub struct Queue<Q> {
    way: Q,
    device: Arc<str>,
    /// The kernel delivers to it.
    started: bool,
    counters: Arc<Counters>,
    tally: Arc<Tally>,
}

impl<Q> Queue<Q> {
    /// A queue of `device`.
    pub fn new(way: Q, device: &Arc<str>, counters: &Arc<Counters>) -> Self {
        let (device, counters) = (Arc::clone(device), Arc::clone(counters));
        Queue { way, device, started: false, counters, tally: Arc::default() }
    }

    /// Buffers that a burst takes: none stays here.
    pub fn slots(&self) -> u32 {
        BATCH_MAX as u32
    }

    /// What the kernel did wrong, and frames that could not be sent.
    pub fn anomalies(&self) -> Anomalies {
        self.tally.read()
    }

    /// The counters behind it.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Gives all buffers back: it has none.
    pub fn release(&mut self, _pool: &Pool) {}

    #[inline]
    fn count(&self, counts: Counts) {
        if counts != Counts::default() {
            self.counters.add(counts);
        }
    }
}

impl<Q: Source> Queue<Q> {
    /// Has the kernel deliver; buffers are taken as frames come.
    pub fn fill(&mut self, _pool: &Pool) -> Result<()> {
        if !self.started {
            let failed = |e| Error::io(format!("{}: receiving from the interface", self.device), e);
            self.way.start().map_err(failed)?;
            self.started = true;
        }
        Ok(())
    }

    /// See [`RxQueue::shows`](crate::driver::RxQueue::shows).
    pub fn shows(&self) -> bool {
        self.way.shows()
    }

    /// See [`RxQueue::show`](crate::driver::RxQueue::show).
    pub fn show(&mut self, most: usize, see: impl FnMut(&[&[u8]], usize, Option<Timestamp>) -> bool) -> usize {
        let (shown, counts) = self.way.show(most, see);
        self.count(counts);
        shown
    }

    /// See [`RxQueue::wait`](crate::driver::RxQueue::wait).
    pub fn wait(&mut self, patience: Duration) -> Result<bool> {
        if self.way.has_frame() { Ok(true) } else { self.interrupted(patience) }
    }

    /// See [`RxQueue::interrupted`](crate::driver::RxQueue::interrupted).
    pub fn interrupted(&mut self, patience: Duration) -> Result<bool> {
        let failed = |e| Error::io(format!("{}: waiting for a frame", self.device), e).with_kind(Kind::Io);
        self.way.sleep(patience).map_err(failed)
    }
}

impl<Q: Outlet> Queue<Q> {
    /// Any pool will do.
    pub fn adopt(&mut self, _pool: &Pool) -> Result<()> {
        Ok(())
    }

    /// See [`TxQueue::prepare`](crate::driver::TxQueue::prepare).
    ///
    /// # Errors
    /// [`Kind::Unsupported`], always.
    pub fn prepare(&mut self, _batch: &mut Batch<'_>) -> Result<usize> {
        Err(Error::new(Kind::Unsupported, "an interface of the kernel cannot have packets laid ready; use send"))
    }

    /// Nothing is laid ready.
    pub fn launch(&mut self, _n: usize) -> bool {
        false
    }

    /// The kernel does not say.
    pub fn last_sent(&self) -> Option<Timestamp> {
        None
    }
}

impl<Q: Source> Receive for Queue<Q> {
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        if !self.started && self.fill(batch.pool()).is_err() {
            return 0;
        }
        let before = batch.len();
        let counts = self.way.take(batch, &self.tally);
        self.count(counts);
        batch.len() - before
    }
}

impl<Q: Outlet> Transmit for Queue<Q> {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let all = batch.len();
        let counts = self.way.put(batch, &self.tally);
        self.count(counts);
        all - batch.len()
    }

    fn reclaim(&mut self, _pool: &Pool) -> usize {
        self.way.push_on()
    }
}
