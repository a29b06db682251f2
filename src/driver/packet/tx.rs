//! Sending: a burst is one system call, after which its buffers are free.

use super::counters::{Counters, Counts};
use super::offload;
use crate::dma::{BATCH_MAX, Batch, Pool, Timestamp};
use crate::driver::queue::Transmit;
use crate::driver::stats::Anomalies;
use crate::driver::tally::{Anomaly, Tally};
use crate::error::{Error, Kind, Result};
use crate::sys::packet::socket::{PARTS, Socket};
use std::sync::Arc;

/// Shortest frame of Ethernet, without FCS: a shorter one is padded, as a card does.
const MIN_FRAME: usize = 60;

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue {
    socket: Socket,
    counters: Arc<Counters>,
    tally: Arc<Tally>,
}

impl TxQueue {
    /// That sends by a bound socket.
    pub fn new(socket: Socket, counters: &Arc<Counters>) -> Self {
        TxQueue { socket, counters: Arc::clone(counters), tally: Arc::default() }
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

    /// Drops the first `entries`, which make a frame that cannot be sent.
    fn refuse(&self, batch: &mut Batch<'_>, entries: usize, wrong: Anomaly) {
        self.tally.count(wrong);
        free(batch, entries);
    }
}

/// Gives the buffers of the first `entries` back.
fn free(batch: &mut Batch<'_>, entries: usize) {
    batch.pool().give_many(batch.entries()[..entries].iter().map(|entry| entry.buffer));
    batch.taken(entries);
}

/// Entries of the frame that begins the batch; none if it does not end in it.
fn first_frame(batch: &Batch<'_>) -> Option<usize> {
    (0..batch.len()).find(|&i| !batch.continues(i)).map(|last| last + 1)
}

impl Transmit for TxQueue {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        const { assert!(PARTS >= BATCH_MAX) };
        let all = batch.len();
        let mut start = true;
        for i in 0..all {
            let ends = !batch.continues(i);
            if start && ends {
                batch.pad(i, MIN_FRAME);
            }
            if start && batch.entries()[i].span.offload() {
                offload::fill(batch, i);
            }
            start = ends;
        }
        let mut counts = Counts::default();
        // The last call ended before its last frame, without a word why.
        let mut cut = false;
        while !batch.is_empty() {
            let Some(first) = first_frame(batch) else {
                let rest = batch.len();
                self.refuse(batch, rest, Anomaly::BadChain);
                break;
            };
            let mut parts: [&[u8]; BATCH_MAX] = [&[]; BATCH_MAX];
            parts.iter_mut().zip(batch.frames()).for_each(|(part, frame)| *part = frame);
            let ends = (0..batch.len()).filter(|&i| !batch.continues(i)).fold(0, |ends, i| ends | 1 << i);
            match self.socket.send(&parts[..batch.len()], ends) {
                Ok(frames) => {
                    let entries = (0..batch.len()).filter(|&i| !batch.continues(i)).nth(frames.saturating_sub(1));
                    let entries = entries.map_or(0, |last| last + 1);
                    counts.packets += frames as u64;
                    counts.bytes += parts[..entries].iter().map(|part| part.len() as u64).sum::<u64>();
                    cut = frames < ends.count_ones() as usize;
                    free(batch, entries);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMSGSIZE | libc::EINVAL) => self.refuse(batch, first, Anomaly::BadLength),
                    // No carrier, or the other end is full: the interface counts a drop each time.
                    Some(libc::ENOBUFS) => {
                        counts.refused += 1 + u64::from(cut);
                        break;
                    }
                    // Its queue is full, or the interface is down: later.
                    _ => break,
                },
            }
        }
        self.counters.add(counts);
        all - batch.len()
    }

    fn reclaim(&mut self, _pool: &Pool) -> usize {
        0
    }
}
