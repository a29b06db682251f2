//! Receiving: each frame is copied out of its chunk into a buffer, and the chunk goes back.

use crate::dma::{BATCH_MAX, BUFFER_SIZE, Batch, Pool};
use crate::driver::packet::counters::{Counters, Counts};
use crate::driver::queue::Receive;
use crate::driver::stats::Anomalies;
use crate::driver::tally::{Anomaly, Tally};
use crate::error::{Error, Kind, Result};
use crate::sys::xdp::Receiver;
use crate::sys::xdp::program::Program;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// A receive queue.
#[derive(Debug)]
pub struct RxQueue {
    receiver: Receiver,
    device: Arc<str>,
    /// Its number at the interface, and what delivers to it.
    queue: u32,
    program: Arc<Program>,
    /// Frames are delivered to it.
    filled: bool,
    /// Bytes of the longest frame to receive.
    longest: usize,
    counters: Arc<Counters>,
    tally: Arc<Tally>,
}

impl RxQueue {
    /// Queue number `queue` of `device`, to which the program delivers once it is filled.
    pub fn new(
        receiver: Receiver,
        device: Arc<str>,
        (queue, program): (u32, Arc<Program>),
        longest: usize,
        counters: &Arc<Counters>,
    ) -> Self {
        let (counters, tally) = (Arc::clone(counters), Arc::default());
        RxQueue { receiver, device, queue, program, filled: false, longest, counters, tally }
    }

    /// Has frames delivered here; buffers are taken as they come.
    pub fn fill(&mut self, _pool: &Pool) -> Result<()> {
        if !self.filled {
            let failed = |e| Error::io(format!("{}: delivering queue {} to its socket", self.device, self.queue), e);
            self.program.deliver(self.queue, self.receiver.socket().as_fd()).map_err(failed)?;
            self.filled = true;
        }
        Ok(())
    }

    /// See [`RxQueue::wait`](crate::driver::RxQueue::wait).
    pub fn wait(&mut self, patience: Duration) -> Result<bool> {
        if self.receiver.first().is_some() { Ok(true) } else { self.interrupted(patience) }
    }

    /// See [`RxQueue::interrupted`](crate::driver::RxQueue::interrupted).
    pub fn interrupted(&mut self, patience: Duration) -> Result<bool> {
        let failed = |e| Error::io(format!("{}: waiting for a frame", self.device), e).with_kind(Kind::Io);
        self.receiver.wait(patience).map_err(failed)
    }

    /// Buffers that a burst takes: none stays here.
    pub fn slots(&self) -> u32 {
        BATCH_MAX as u32
    }

    /// Words of the kernel about frames that made no sense.
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

impl Receive for RxQueue {
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        if !self.filled && self.fill(batch.pool()).is_err() {
            return 0;
        }
        let before = batch.len();
        let mut counts = Counts::default();
        let mut passed = false;
        while batch.room() > 0
            && let Some(frame) = self.receiver.first()
        {
            match frame {
                Err(()) => self.tally.count(Anomaly::BadLength),
                Ok(frame) if frame.len() > self.longest => counts.oversize += 1,
                Ok(frame) => {
                    let placed = match frame.len() <= BUFFER_SIZE {
                        true => batch.push(frame.len()).map(|buffer| buffer.copy_from_slice(frame)).is_some(),
                        // It could not be received at all otherwise.
                        false if batch.is_empty() && batch.room() == 1 => {
                            batch.set_limit(2);
                            let placed = batch.push_frame(frame);
                            batch.set_limit(1);
                            placed
                        }
                        false => batch.push_frame(frame),
                    };
                    if !placed {
                        break;
                    }
                    counts.packets += 1;
                    counts.bytes += frame.len() as u64;
                }
            }
            self.receiver.pass();
            passed = true;
        }
        batch.filled(batch.len(), crate::dma::Decoder::of::<crate::dma::Nothing>());
        if passed {
            self.receiver.offer();
            self.counters.add(counts);
        }
        batch.len() - before
    }
}
