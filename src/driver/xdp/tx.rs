//! Sending: each frame is copied into a chunk, and its buffer is free at once.

use crate::dma::{BATCH_MAX, Batch, Pool, Timestamp};
use crate::driver::packet::counters::{Counters, Counts};
use crate::driver::packet::offload;
use crate::driver::queue::Transmit;
use crate::driver::stats::Anomalies;
use crate::driver::tally::{Anomaly, Tally};
use crate::error::{Error, Kind, Result};
use crate::sys::xdp::{CHUNK, Sender};
use std::sync::Arc;

/// Shortest frame of Ethernet, without FCS: a shorter one is padded, as a card does.
const MIN_FRAME: usize = 60;

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue {
    sender: Sender,
    counters: Arc<Counters>,
    tally: Arc<Tally>,
}

impl TxQueue {
    /// That sends by a bound socket.
    pub fn new(sender: Sender, counters: &Arc<Counters>) -> Self {
        TxQueue { sender, counters: Arc::clone(counters), tally: Arc::default() }
    }

    /// Any pool will do.
    pub fn adopt(&mut self, _pool: &Pool) -> Result<()> {
        Ok(())
    }

    /// Buffers that a burst takes: none stays here.
    pub fn slots(&self) -> u32 {
        BATCH_MAX as u32
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

    /// Frames that could not be sent.
    pub fn anomalies(&self) -> Anomalies {
        self.tally.read()
    }

    /// The counters behind it.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Gives all buffers back: it has none.
    pub fn release(&mut self, _pool: &Pool) {}
}

impl Transmit for TxQueue {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let all = batch.len();
        self.sender.reclaim();
        let mut counts = Counts::default();
        let mut from = 0;
        while from < all {
            if batch.entries()[from].span.offload() {
                offload::fill(batch, from);
            }
            let parts = (from..all).position(|i| !batch.continues(i)).map_or(all - from, |last| last + 1);
            if parts == 1 {
                batch.pad(from, MIN_FRAME);
            }
            let len: usize = (from..from + parts).map(|i| batch.frame(i).len()).sum();
            if len == 0 || len > CHUNK || batch.continues(from + parts - 1) {
                self.tally.count(Anomaly::BadLength);
            } else if self.sender.put((from..from + parts).map(|i| batch.frame(i))) {
                counts.packets += 1;
                counts.bytes += len as u64;
            } else {
                break;
            }
            from += parts;
        }
        batch.pool().give_many(batch.entries()[..from].iter().map(|entry| entry.buffer));
        batch.taken(from);
        if counts.packets > 0 {
            self.sender.flush();
            self.counters.add(counts);
        }
        all - batch.len()
    }

    fn reclaim(&mut self, _pool: &Pool) -> usize {
        self.sender.reclaim();
        self.sender.pending()
    }
}
