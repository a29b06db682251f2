//! Receiving: each frame is copied out of its chunk into a buffer, and the chunk goes back.

use crate::dma::{BUFFER_SIZE, Batch};
use crate::driver::kernel::Source;
use crate::driver::packet::counters::Counts;
use crate::driver::tally::{Anomaly, Tally};
use crate::sys::xdp::Receiver;
use crate::sys::xdp::program::Program;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// What a receive queue reads.
#[derive(Debug)]
pub struct Chunks {
    pub receiver: Receiver,
    /// The queue's number at the interface.
    pub queue: u32,
    /// What delivers to it.
    pub program: Arc<Program>,
    /// Bytes of the longest frame to receive.
    pub longest: usize,
}

impl Source for Chunks {
    fn start(&mut self) -> io::Result<()> {
        self.program.deliver(self.queue, self.receiver.socket().as_fd())
    }

    fn has_frame(&mut self) -> bool {
        self.receiver.first().is_some()
    }

    fn sleep(&self, patience: Duration) -> io::Result<bool> {
        self.receiver.wait(patience)
    }

    fn take(&mut self, batch: &mut Batch<'_>, tally: &Tally) -> Counts {
        let mut counts = Counts::default();
        let mut passed = false;
        while batch.room() > 0
            && let Some(frame) = self.receiver.first()
        {
            match frame {
                Err(()) => tally.count(Anomaly::BadLength),
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
        match passed {
            true => self.receiver.offer(),
            false => self.receiver.wake(),
        }
        counts
    }
}
