//! Frames through the ports that are open.
//!
//! Each has a number that no other frame of the run has. What is received is what was
//! numbered last: a frame that comes late, or again, is not taken for one that is waited for.

use super::{Bench, Open, bad, closed};
use crate::cli::check::frames;
use crate::cli::signal::Stop;
use crate::dma::{BATCH_MAX, Batch, Meta};
use crate::emu::Engine;
use crate::error::Result;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How long a packet may be on its way before it counts as lost.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// How often an emulated card is looked after in that time at least: a machine that is busy
/// with other things may keep it waiting.
const TURNS: u64 = 1000;

/// How much longer than that a packet may take at most, however busy the machine is.
const AT_MOST: Duration = Duration::from_secs(30);

/// A frame that came: its bytes, what the card said of it, and on which queue.
pub struct Arrival {
    pub bytes: Vec<u8>,
    pub meta: Meta,
    pub queue: usize,
}

/// Waiting for what may be lost. It ends when the run does.
pub struct Patience {
    until: Instant,
    turns: u64,
    end: Instant,
    stop: Stop,
}

impl Patience {
    fn begin(engine: &Engine, stop: &Stop, end: Instant) -> Self {
        Patience { until: Instant::now() + ON_ITS_WAY, turns: engine.turns() + TURNS, end, stop: stop.clone() }
    }

    fn is_over(&self, engine: &Engine) -> bool {
        let now = Instant::now();
        let lost = now > self.until && (engine.turns() >= self.turns || now > self.until + AT_MOST);
        lost || now > self.end || self.stop.requested()
    }
}

/// Frames and their bytes, without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub frames: u64,
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.bytes += frame.len() as u64;
    }
}

impl Bench {
    /// Begins to wait for what may be lost.
    pub fn patience(&self) -> Patience {
        Patience::begin(&self.engine, &self.stop, self.end())
    }

    /// Whether that has taken too long.
    pub fn is_over(&self, patience: &Patience) -> bool {
        patience.is_over(&self.engine)
    }

    /// Numbers for so many frames. Those that had others are not received any more.
    pub fn numbers(&mut self, count: u32) -> Range<u32> {
        let first = self.awaited.end;
        self.awaited = first..first.wrapping_add(count);
        self.awaited.clone()
    }

    /// As [`Bench::numbers`], for one.
    pub fn number(&mut self) -> u32 {
        self.numbers(1).start
    }

    /// Sends one frame as it is.
    ///
    /// # Errors
    /// If the ring stays full.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        let patience = self.patience();
        let (Some(Open { card, .. }), Some(pool)) = (&mut self.open, &self.pool) else { return Err(closed()) };
        let queue = &mut card.tx[0];
        let mut batch = Batch::new(pool);
        while !batch.push_frame(frame) {
            queue.reclaim(pool);
            if patience.is_over(&self.engine) {
                return Err(bad("no buffer comes back from what was sent"));
            }
        }
        while queue.send(&mut batch) == 0 {
            if patience.is_over(&self.engine) {
                return Err(bad("its transmit ring stays full"));
            }
            std::thread::yield_now();
        }
        self.sent.add(frame);
        Ok(())
    }

    /// Waits until everything that was sent is reported as sent; how many frames are not.
    ///
    /// # Errors
    /// Where it is not open.
    pub fn drain(&mut self) -> Result<usize> {
        let patience = self.patience();
        let (Some(Open { card, .. }), Some(pool)) = (&mut self.open, &self.pool) else { return Err(closed()) };
        loop {
            match card.tx[0].reclaim(pool) {
                0 => return Ok(0),
                left if patience.is_over(&self.engine) => return Ok(left),
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Receives until `wanted` of the frames that were numbered last have come, each whole;
    /// what has not come in time is lost. Other frames are received and left out.
    ///
    /// # Errors
    /// Where it is not open.
    pub fn receive(&mut self, wanted: usize) -> Result<Vec<Arrival>> {
        let mut patience = self.patience();
        let mut arrivals = Vec::new();
        while arrivals.len() < wanted && !self.is_over(&patience) {
            let came = self.sweep()?;
            if came.is_empty() {
                std::thread::yield_now();
            } else {
                patience = self.patience();
                arrivals.extend(came);
            }
        }
        Ok(arrivals)
    }

    /// Receives what is there.
    ///
    /// # Errors
    /// Where it is not open.
    pub fn sweep(&mut self) -> Result<Vec<Arrival>> {
        let [from, _] = self.addresses()?;
        let (Some(Open { card, peer }), Some(pool)) = (&mut self.open, &self.pool) else { return Err(closed()) };
        let queues = &mut peer.as_mut().unwrap_or(card).rx;
        let mut arrivals = Vec::new();
        for (queue, rx) in queues.iter_mut().enumerate() {
            let mut batch = Batch::with_limit(pool, BATCH_MAX);
            rx.recv(&mut batch);
            let mut bytes = Vec::new();
            for (i, part) in batch.frames().enumerate() {
                bytes.extend_from_slice(part);
                if batch.continues(i) {
                    continue;
                }
                self.received.add(&bytes);
                let bytes = std::mem::take(&mut bytes);
                if !frames::is_from(&bytes, from) {
                    continue;
                }
                match frames::number_of(&bytes) {
                    Some(number) if self.awaited.contains(&number) => {
                        arrivals.push(Arrival { bytes, meta: batch.meta(i), queue });
                    }
                    _ => self.stale += 1,
                }
            }
        }
        Ok(arrivals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::Drive;

    #[test]
    fn waiting_ends_when_the_run_is_asked_to_end_and_when_its_time_is_over() {
        let engine = Engine::new(Drive::Manual);
        let (stop, now) = (Stop::default(), Instant::now());
        let waiting = Patience::begin(&engine, &stop, now + AT_MOST);
        assert!(!waiting.is_over(&engine));
        std::thread::sleep(Duration::from_millis(1));
        assert!(Patience::begin(&engine, &stop, now).is_over(&engine));
        stop.end();
        assert!(waiting.is_over(&engine));
    }
}
