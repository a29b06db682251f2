//! Places of a schedule at random: arrivals of a Poisson process.
//!
//! ```text
//!   places     | |    |   || |      |  | |     |     |  |    gaps at random, one law for all
//!   windows    |----- 4096 places -----|----- 4096 places    each of the same length
//!              0                       4096 intervals
//! ```
//!
//! Gaps are independent and exponential, and those of a window are scaled so that together
//! they are as long as 4096 intervals: the mean rate is exact, and place 4096 *k* is where
//! a constant rate has it. What is left of chance is what an exponential gap is to a place
//! drawn from so many in a window: its variance is less by 2 of 4097 parts. To scale a window
//! its gaps are drawn twice, the first time while those of the window before are used.
//!
//! A place costs two logarithms and no memory. Any place can be sought without those before it.

use crate::packet::values::Random;

/// Gaps of a random schedule, ticks 64.64.
#[derive(Clone, Debug)]
pub(super) struct Poisson {
    seed: u64,
    /// How long a window is.
    window: u128,
    /// The place that was come to last.
    index: u64,
    /// Draws the gaps that are used, and those a window ahead.
    near: Random,
    far: Random,
    /// What one unit of a gap of this window is, and how much of it is used up.
    unit: u128,
    used: u128,
    /// Units of the next window, as far as they were drawn.
    ahead: u64,
}

impl Poisson {
    /// Places of a window.
    pub(super) const WINDOW: u64 = 4096;

    /// One place an `interval` in the mean, at place 0.
    pub(super) fn new(interval: u128, seed: u64) -> Self {
        let (near, far) = (Random::new(seed), Random::new(seed));
        let window = interval.saturating_mul(Self::WINDOW.into());
        let mut gaps = Poisson { seed, window, index: 0, near, far, unit: 0, used: 0, ahead: 0 };
        gaps.seek(0);
        gaps
    }

    /// Comes to place `index`; how far from place 0 it is.
    pub(super) fn seek(&mut self, index: u64) -> u128 {
        let (windows, within) = (index / Self::WINDOW, index % Self::WINDOW);
        self.index = windows * Self::WINDOW;
        self.near = Random::new(self.seed);
        self.near.skip(self.index);
        self.far = self.near.clone();
        self.used = 0;
        let units = (0..Self::WINDOW).map(|_| units(&mut self.far)).sum();
        self.scale(units);
        for _ in 0..within {
            self.next();
        }
        self.window.saturating_mul(windows.into()).saturating_add(self.used)
    }

    /// Goes on by one place; how far it is from the one before.
    #[inline]
    pub(super) fn next(&mut self) -> u128 {
        let drawn = units(&mut self.near);
        self.ahead += units(&mut self.far);
        self.index += 1;
        if self.index.is_multiple_of(Self::WINDOW) {
            let rest = self.window - self.used;
            self.used = 0;
            self.scale(self.ahead);
            return rest;
        }
        let gap = u128::from(drawn) * self.unit;
        self.used += gap;
        gap
    }

    /// The place that was come to last.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// How long a window is.
    pub(super) fn window(&self) -> u128 {
        self.window
    }

    /// A window begins whose gaps have so many units together.
    fn scale(&mut self, units: u64) {
        self.unit = self.window / u128::from(units.max(1));
        self.ahead = 0;
    }
}

/// A gap in units of which a mean one has 2^40; at most 2^46, as 2^-53 is the least that is
/// drawn.
#[inline]
fn units(random: &mut Random) -> u64 {
    let share = ((random.draw() >> 11) + 1) as f64 * 2f64.powi(-53);
    (-share.ln() * 2f64.powi(40)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = Poisson::WINDOW;
    const INTERVAL: u128 = 168_000_000_001 << 34;

    fn gaps(seed: u64, places: u64) -> Vec<f64> {
        let mut gaps = Poisson::new(INTERVAL, seed);
        (0..places).map(|_| gaps.next() as f64 / INTERVAL as f64).collect()
    }

    #[test]
    fn gaps_have_the_law_of_a_poisson_process() {
        let mut gaps = gaps(7, 1 << 20);
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let spread = |lag: usize| gaps.iter().zip(&gaps[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / n;
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        assert!((spread(0) - 1.0).abs() < 0.02, "variance {}", spread(0));
        for lag in [1, 2, 3, 100] {
            assert!(spread(lag).abs() < 0.01, "{lag}: {}", spread(lag));
        }
        // Kolmogorov and Smirnov: of a million only one in 10^20 is farther off.
        gaps.sort_unstable_by(f64::total_cmp);
        let off = |(i, gap): (usize, &f64)| (1.0 - (-gap).exp() - i as f64 / n).abs();
        let most = gaps.iter().enumerate().map(off).fold(0.0, f64::max);
        assert!(most < 0.005, "{most}");
    }

    #[test]
    fn counts_in_a_stretch_of_time_have_the_spread_of_a_poisson_process() {
        let mut at = 0.0;
        let mut counts = [0_f64; 1 << 14];
        for gap in gaps(3, 1 << 20) {
            at += gap;
            if let Some(count) = counts.get_mut((at / 64.0) as usize) {
                *count += 1.0;
            }
        }
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        // Of 4096 places 64 are given, and those are not drawn again.
        assert!((mean - 64.0).abs() < 0.1 && (56.0..70.0).contains(&variance), "{mean}, {variance}");
    }

    #[test]
    fn a_window_is_as_long_as_its_intervals_to_the_last_bit() {
        for interval in [1 << 64, INTERVAL, 3 << 90, (1 << 115) + 12_345] {
            let mut gaps = Poisson::new(interval, 5);
            for window in 1..=5_u64 {
                let sum: u128 = (0..WINDOW).map(|_| gaps.next()).sum();
                assert_eq!((sum, gaps.index()), (WINDOW as u128 * interval, window * WINDOW));
            }
        }
    }

    #[test]
    fn a_place_that_is_sought_is_where_counting_comes_to() {
        let mut counted = Poisson::new(INTERVAL, 9);
        let mut at = 0;
        for index in 0..3 * WINDOW + 2 {
            if [0, 1, 2, 4095, 4096, 4097, 8191, 8192, 12_289].contains(&index) {
                let mut sought = Poisson::new(INTERVAL, 9);
                assert_eq!(sought.seek(index), at, "place {index}");
                let mut counted = counted.clone();
                for _ in 0..2 * WINDOW {
                    assert_eq!(sought.next(), counted.next(), "behind place {index}");
                }
            }
            at += counted.next();
        }
    }

    #[test]
    fn far_beyond_32_and_at_the_end_of_64_bits_the_rate_is_exact() {
        for (interval, windows) in
            [(INTERVAL, 1 << 20), (INTERVAL, (1 << 20) + 1), (INTERVAL, 1 << 43), (1 << 63, (1 << 52) - 1)]
        {
            let mut gaps = Poisson::new(interval, 1);
            let even = interval * u128::from(windows * WINDOW);
            assert_eq!(gaps.seek(windows * WINDOW), even);
            let before = gaps.seek(windows * WINDOW - 1);
            assert_eq!((before + gaps.next(), gaps.index()), (even, windows * WINDOW));
        }
    }

    #[test]
    fn a_seed_has_gaps_of_its_own() {
        assert_eq!(gaps(4, 10_000), gaps(4, 10_000));
        assert!(gaps(4, 10_000).iter().zip(gaps(5, 10_000)).all(|(a, b)| *a != b));
    }
}
