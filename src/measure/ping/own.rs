//! What the measuring loop itself takes: part of every latency, and not taken off.

use crate::dma::{Batch, Pool};
use crate::driver::queue::{Loop, Receive, Transmit};
use crate::error::Result;
use crate::measure::floor::per_round;
use crate::measure::{Clock, Idle, Pace};
use serde_json::{Value, json};
use std::hint::black_box;

/// What one step of the loop takes where there is nothing to do, in nanoseconds: the best of
/// several runs, for an interruption only makes one slower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Own {
    /// One reading of the clock with its barriers.
    pub clock: f64,
    /// One look at a ring in which there is nothing.
    pub poll: f64,
    /// One round of the loop: clock, schedule, such a look, and a pause.
    pub round: f64,
}

impl Own {
    /// For a JSON document.
    pub fn json(&self) -> Value {
        json!({ "clock": self.clock, "poll": self.poll, "round": self.round })
    }
}

/// Measures it on a pair of queues.
pub struct Empty<'a> {
    clock: &'a Clock,
    pool: &'a Pool,
    pace: Pace,
}

impl<'a> Empty<'a> {
    /// On queues that use `pool`.
    ///
    /// # Errors
    /// If the clock is no clock.
    pub fn new(clock: &'a Clock, pool: &'a Pool) -> Result<Self> {
        // The next packet is never due.
        let mut pace = Pace::new(clock, 1.0 / 3_600.0)?;
        pace.take_next();
        Ok(Empty { clock, pool, pace })
    }
}

impl Loop for Empty<'_> {
    type Output = Own;

    fn run<R: Receive, T: Transmit>(mut self, rx: &mut R, _tx: &mut T) -> Own {
        /// Rounds of a run, shorter than the time after which the loop gives way.
        const ROUNDS: u32 = 1_000;
        let mut batch = Batch::with_limit(self.pool, 32);
        let mut idle = Idle::with_spins(u32::MAX);
        let mut poll = || {
            let n = rx.recv(&mut batch);
            if n > 0 {
                batch.clear();
            }
            n
        };
        Own {
            clock: per_round(self.clock, ROUNDS, || {
                black_box(self.clock.now_ordered());
            }),
            poll: per_round(self.clock, ROUNDS, || {
                black_box(poll());
            }),
            round: per_round(self.clock, ROUNDS, || {
                black_box(self.pace.slot(self.clock.now()));
                idle.polled(poll());
            }),
        }
    }
}
