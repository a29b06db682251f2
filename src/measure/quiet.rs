//! Figures of a few nanoseconds, on a machine that is not ours alone.
//!
//! A program on the other thread of our core, or in another guest, slows us for
//! seconds at a time, and no counter tells. But a loop that only computes, and that
//! fills the processor's ports, takes the same time whenever it has the core to
//! itself: [`Probe`] runs one before and after a stretch, and a stretch beside a slow
//! one is no figure.
//!
//! Within a stretch a burst that was interrupted is much longer than all others, and
//! longer than what a driver does now and then for many packets at once: [`mean`]
//! leaves it out.

use super::{Clock, Ticks};
use std::hint::black_box;
use std::time::Duration;

/// Steps of the probe's loop: some 8 us.
const STEPS: usize = 4_000;

/// By how much a probe may be slower than the fastest one: the steps of a
/// processor's clock, and the odd interrupt. A neighbour on the core takes more.
const SLOWER: f64 = 1.25;

/// Tells whether the core is ours alone.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    best: Ticks,
}

impl Probe {
    /// One that knows how fast the core is, or will learn it.
    pub fn new(best: Option<Ticks>) -> Self {
        Probe { best: best.unwrap_or(Ticks::MAX) }
    }

    /// The fastest so far.
    pub fn best(&self) -> Ticks {
        self.best
    }

    /// Whether the core is ours now, as far as is known. A probe that is much
    /// faster than all before makes those before wrong ([`Probe::overturns`]).
    pub fn is_quiet(&mut self, clock: &Clock) -> bool {
        let took = Self::run(clock);
        self.best = self.best.min(took);
        took as f64 <= self.best as f64 * SLOWER
    }

    /// Whether what was quiet by the fastest probe `before` may not be by `now`.
    pub fn overturns(now: Ticks, before: Ticks) -> bool {
        (now as f64) * SLOWER < before as f64
    }

    fn run(clock: &Clock) -> Ticks {
        let start = clock.now_ordered();
        // Four chains of shifts (Marsaglia 2003): six cycles a step, each port busy.
        let mut chains = black_box([1u64, 2, 3, 4]);
        for _ in 0..STEPS {
            for x in &mut chains {
                *x ^= *x << 13;
                *x ^= *x >> 7;
                *x ^= *x << 17;
            }
        }
        black_box(chains);
        clock.now_ordered() - start
    }
}

/// The least that an interrupt takes: entering the kernel, in a virtual machine
/// leaving it, and the lines that are lost meanwhile.
const INTERRUPT: Duration = Duration::from_micros(1);

/// Mean of the samples that nothing disturbed: those up to four times the median, or
/// shorter than an interrupt; less `cost`, which is what taking one costs. Sorts
/// them. 0 of none.
pub fn mean(clock: &Clock, samples: &mut [Ticks], cost: f64) -> f64 {
    samples.sort_unstable();
    let Some(&median) = samples.get(samples.len() / 2) else { return 0.0 };
    let most = clock.ticks(INTERRUPT).max(4 * median);
    let quiet = samples.iter().take_while(|&&t| t <= most);
    let (sum, count) = quiet.fold((0, 0), |(sum, count), &t| (sum + t, count + 1));
    sum as f64 / f64::from(count) - cost
}

/// What taking two readings of the clock costs, in ticks.
pub fn cost(clock: &Clock) -> f64 {
    let sample = |_| {
        let start = clock.now_ordered();
        clock.now_ordered() - start
    };
    let mut samples: Vec<Ticks> = (0..20_000).map(sample).collect();
    mean(clock, &mut samples, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_interrupted_is_left_out() {
        let clock = Clock::new();
        let long = clock.ticks(INTERRUPT) + 1;
        assert_eq!(mean(&clock, &mut [10, 12, long, 11, 11], 1.0), 10.0);
        // What is done for many at once is no interruption.
        assert_eq!(mean(&clock, &mut [1, 1, long - 1, 1, 1], 0.0), (long + 3) as f64 / 5.0);
        assert_eq!(mean(&clock, &mut [long, 5 * long, long, long], 0.0), long as f64);
        assert_eq!(mean(&clock, &mut [], 1.0), 0.0);
    }

    #[test]
    fn a_core_that_was_once_faster_is_not_quiet() {
        let clock = Clock::new();
        let mut probe = Probe::new(Some(1));
        assert!(!probe.is_quiet(&clock));
        let mut probe = Probe::new(None);
        assert!(probe.is_quiet(&clock));
        assert!(probe.best() > 1);
    }
}
