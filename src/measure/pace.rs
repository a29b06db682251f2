//! When the next packet is due.
//!
//! ```text
//!   start                                       stall
//!     |----|----|----|----|----|----|----|----|xxxxxxxxxx|----|----|   slots, one interval apart
//!     0    1    2    3    4    5    6    7    8          11   12
//!                                              ^ 9, 10: skipped, not made up in a burst
//! ```
//!
//! The schedule is absolute: slot *n* is at start + *n* intervals, with the
//! interval kept to 2^-64 of a tick, so that neither rounding nor the lateness
//! of one packet moves the next. What a stall cost is made up only as far as the
//! slack reaches; older slots are skipped and counted, because a burst at line
//! rate is not the traffic that was asked for.
//!
//! Slots may also lie at random ([`Pace::at_random`]), as many in the long run.

use super::poisson::Poisson;
use super::{Clock, Ticks};
use crate::error::{Error, Kind, Result};
use std::time::Duration;

/// An absolute schedule of packets.
#[derive(Clone, Debug)]
pub struct Pace {
    /// When the schedule begins, and when the next packet is due, ticks 64.64.
    start: u128,
    due: u128,
    /// From the start to the first packet of this share of it, ticks 64.64.
    offset: u128,
    /// Between two packets, in the mean if they are at random, ticks 64.64.
    interval: u128,
    /// Where the slots of all shares are, if they are at random.
    random: Option<Box<Poisson>>,
    /// Of all slots those of this share: the first, and every so many from there on.
    first: u64,
    among: u64,
    /// How late a slot may be and still be used, ticks 64.64.
    slack: u128,
    skipped: u64,
}

/// A packet's place in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it was to be sent.
    pub due: Ticks,
    /// Slots before it that came too late to be used.
    pub skipped: u64,
}

impl Pace {
    /// `rate` packets a second on `clock`, the first one at once after
    /// [`Pace::start`]. The slack is 64 packets, at least 20 us: what a batch
    /// and an interrupt take.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the rate is not a number between one packet a day and
    /// one a tick.
    pub fn new(clock: &Clock, rate: f64) -> Result<Self> {
        let per_packet = clock.ticks_per_second() / rate;
        if !(1.0..=clock.ticks_per_second() * 86_400.0).contains(&per_packet) {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "a rate of {rate} packets a second cannot be kept; choose one between 1 a day and {:.0} M a second",
                    clock.ticks_per_second() / 1e6
                ),
            ));
        }
        let interval = fixed(per_packet);
        let slack = (interval * 64).max(u128::from(clock.ticks(Duration::from_micros(20))) << 64);
        let now = u128::from(clock.now()) << 64;
        let (first, among) = (0, 1);
        Ok(Pace { start: now, due: now, offset: 0, interval, random: None, first, among, slack, skipped: 0 })
    }

    /// The same rate with the slots at random, as arrivals of a Poisson process are; each
    /// `seed` has its own, and the first of them is at once. To be called before
    /// [`Pace::share`].
    #[must_use]
    pub fn at_random(mut self, seed: u64) -> Self {
        self.random = Some(Box::new(Poisson::new(self.interval, seed)));
        self
    }

    /// Whether slots are at random.
    pub fn is_random(&self) -> bool {
        self.random.is_some()
    }

    /// Makes up at most `slack` ticks of lateness; never less than one interval,
    /// or each late packet would slow the schedule down.
    #[must_use]
    pub fn with_slack(mut self, slack: Ticks) -> Self {
        self.slack = (u128::from(slack) << 64).max(self.interval);
        self
    }

    /// Every `among`-th slot from slot `first` on: shares of one schedule that begin at one
    /// moment have each slot of it once.
    #[must_use]
    pub fn share(mut self, first: u64, among: u64) -> Self {
        (self.first, self.among) = (first, among.max(1));
        self.offset = self.interval * u128::from(first);
        self.interval *= u128::from(self.among);
        self.slack = self.slack.max(self.interval);
        self
    }

    /// Begins the schedule at `now`, and forgets what was counted.
    pub fn start(&mut self, now: Ticks) {
        if let Some(random) = &mut self.random {
            self.offset = random.seek(self.first);
        }
        self.start = (u128::from(now) << 64) + self.offset;
        self.due = self.start;
        self.skipped = 0;
    }

    /// How many packets may go now, at most `max`.
    #[inline]
    pub fn take(&mut self, now: Ticks, max: usize) -> usize {
        let now_fixed = u128::from(now) << 64;
        if self.due > now_fixed || max == 0 {
            return 0;
        }
        self.catch_up(now_fixed);
        let mut n = 0;
        while n < max && self.due <= now_fixed {
            self.due += self.gap();
            n += 1;
        }
        n
    }

    /// The next packet's slot, if it may go now.
    #[inline]
    pub fn slot(&mut self, now: Ticks) -> Option<Slot> {
        let now_fixed = u128::from(now) << 64;
        if self.due > now_fixed {
            return None;
        }
        let skipped = self.catch_up(now_fixed);
        Some(Slot { due: self.take_next(), skipped })
    }

    /// The next slot, due or not: for a packet that is made before it is due.
    #[inline]
    pub fn take_next(&mut self) -> Ticks {
        let due = self.due();
        self.due += self.gap();
        due
    }

    /// From the next slot to the one behind it.
    #[inline]
    fn gap(&mut self) -> u128 {
        match &mut self.random {
            None => self.interval,
            Some(random) => (0..self.among).map(|_| random.next()).sum(),
        }
    }

    /// How late the next slot may be at `now` and still be used: when the oldest slot that
    /// is in time was due.
    #[inline]
    pub fn in_time(&self, now: Ticks) -> Ticks {
        now.saturating_sub((self.slack >> 64) as Ticks)
    }

    /// Skips the slots that are due before `moment`; returns how many.
    #[inline]
    pub fn skip_before(&mut self, moment: Ticks) -> u64 {
        match (u128::from(moment) << 64).checked_sub(self.due) {
            None | Some(0) => 0,
            Some(beyond) => self.skip(beyond),
        }
    }

    /// Slots so far, used or skipped.
    pub fn passed(&self) -> u64 {
        match &self.random {
            None => ((self.due - self.start) / self.interval) as u64,
            Some(random) => (random.index() - self.first) / self.among,
        }
    }

    /// When the next packet is due.
    #[inline]
    pub fn due(&self) -> Ticks {
        (self.due >> 64) as Ticks
    }

    /// Between two packets, in ticks; in the mean if they are at random.
    pub fn interval(&self) -> f64 {
        self.interval as f64 / 2f64.powi(64)
    }

    /// Slots that came too late to be used.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Skips the slots that are later than the slack; returns how many.
    #[inline]
    fn catch_up(&mut self, now: u128) -> u64 {
        let late = now - self.due;
        if late <= self.slack { 0 } else { self.skip(late - self.slack) }
    }

    #[cold]
    fn skip(&mut self, beyond: u128) -> u64 {
        let slots = if self.is_random() {
            self.skip_random(self.due + beyond)
        } else {
            let slots = beyond.div_ceil(self.interval);
            self.due += slots * self.interval;
            slots as u64
        };
        self.skipped += slots;
        slots
    }

    /// Skips random slots that are due before `moment`; returns how many.
    fn skip_random(&mut self, moment: u128) -> u64 {
        let before = self.passed();
        if let Some(random) = &mut self.random {
            // So many windows of each share are passed for sure: nobody needs to count them out.
            let windows = ((moment - self.due) / random.window()).saturating_sub(1) as u64 / self.among;
            if windows > 1 {
                let index = random.index() + windows * self.among * Poisson::WINDOW;
                self.due = self.start - self.offset + random.seek(index);
            }
        }
        while self.due < moment {
            self.due += self.gap();
        }
        self.passed() - before
    }
}

/// A positive number of ticks as 64.64; the 53 bits of a double are kept.
fn fixed(ticks: f64) -> u128 {
    (ticks * 2f64.powi(64)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A schedule of one packet every `interval` ticks of a clock we make up.
    fn every(interval: f64, slack: Ticks) -> Pace {
        let clock = Clock::new();
        let mut pace = Pace::new(&clock, 1.0).unwrap();
        pace.interval = fixed(interval);
        let mut pace = pace.with_slack(slack);
        pace.start(0);
        pace
    }

    #[test]
    fn ten_billion_packets_later_the_schedule_has_not_drifted() {
        // 14 880 952.38 packets a second on a 2.5 GHz counter, at slots far beyond 2^32.
        let interval = 168.000_000_001;
        let mut pace = every(interval, 1_000_000);
        let many = 10_000_000_000_u64;
        pace.due += pace.interval * u128::from(many);
        let at = many as f64 * interval;
        assert!((pace.due() as f64 - at).abs() <= 1.0, "{} against {at}", pace.due());
        // And it still lets exactly the right number go.
        let start = pace.due();
        let mut sent = 0;
        for step in 1..=10_000 {
            sent += pace.take(start + step * 1_680, 64);
        }
        assert!((99_999..=100_001).contains(&sent), "{sent}");
        assert_eq!(pace.skipped(), 0);
    }

    #[test]
    fn a_late_packet_does_not_move_the_ones_after_it() {
        let mut pace = every(100.0, 1_000);
        assert_eq!(pace.slot(0), Some(Slot { due: 0, skipped: 0 }));
        assert_eq!(pace.slot(99), None);
        assert_eq!(pace.slot(170), Some(Slot { due: 100, skipped: 0 }));
        assert_eq!(pace.slot(199), None);
        assert_eq!(pace.slot(200), Some(Slot { due: 200, skipped: 0 }));
        assert_eq!(pace.passed(), 3);
    }

    #[test]
    fn a_slot_is_skipped_only_if_it_was_due_before_the_moment() {
        let mut pace = every(100.0, 250);
        assert_eq!((pace.skip_before(0), pace.skip_before(100), pace.skip_before(100)), (0, 1, 0));
        assert_eq!((pace.skip_before(501), pace.due(), pace.take_next(), pace.take_next()), (5, 600, 600, 700));
        assert_eq!((pace.passed(), pace.skipped(), pace.in_time(1_000), pace.in_time(3)), (8, 6, 750, 0));
    }

    #[test]
    fn shares_have_each_slot_once_and_no_rounding_of_their_own() {
        // Far beyond 2^32 slots, of an interval that is no whole number of ticks.
        let whole = every(168.000_000_001, 1_000);
        for among in [1, 2, 3, 7] {
            let mut shares: Vec<Pace> = (0..among).map(|first| whole.clone().share(first, among)).collect();
            let mut whole = whole.clone();
            for begin in [0, 5_000_000_000] {
                whole.start(7);
                whole.due += whole.interval * u128::from(begin * among);
                for share in &mut shares {
                    share.start(7);
                    share.due += share.interval * u128::from(begin);
                }
                for n in 0..1_000 {
                    assert_eq!(shares[n % among as usize].take_next(), whole.take_next(), "slot {n} of {among}");
                }
            }
        }
    }

    #[test]
    fn random_slots_are_the_same_for_one_and_for_several_that_share_them() {
        let whole = every(168.000_000_001, 1_000).at_random(5);
        for among in [1, 2, 3, 7] {
            let mut shares: Vec<Pace> = (0..among).map(|first| whole.clone().share(first, among)).collect();
            let mut whole = whole.clone();
            for pace in shares.iter_mut().chain([&mut whole]) {
                pace.start(7);
            }
            assert_eq!(whole.due(), 7, "the first is at once");
            for n in 0..10_000 {
                assert_eq!(shares[n % among as usize].take_next(), whole.take_next(), "slot {n} of {among}");
            }
            assert!(
                shares.iter().zip(0..).all(|(share, first)| share.passed() == (10_000_u64 - first).div_ceil(among))
            );
        }
    }

    #[test]
    fn after_the_longest_stall_random_slots_go_on_where_counting_would_come_to() {
        for (first, among) in [(0, 1), (0, 3), (2, 3)] {
            let mut counted = every(100.0, 1_000).at_random(5).share(first, among);
            counted.start(50);
            let mut sought = counted.clone();
            let moment = 40_000_000;
            while counted.due() < moment {
                counted.take_next();
            }
            assert_eq!(sought.skip_before(moment), counted.passed());
            for _ in 0..5_000 {
                assert_eq!(sought.take_next(), counted.take_next());
            }
            // Thousands of years, and back in a moment: each slot was counted.
            let far = 1 << 62;
            let slots = sought.skip_before(far) + counted.passed();
            let even = ((far - 50) as f64 / (100 * among) as f64) as u64;
            assert!(slots.abs_diff(even) < 1_000, "{slots} slots, {even} in the mean");
            assert!((far..far + 10_000 * among).contains(&sought.due()));
        }
    }

    #[test]
    fn after_a_stall_only_the_slack_is_made_up_and_the_grid_stays() {
        let mut pace = every(100.0, 250);
        assert_eq!(pace.take(0, 64), 1);
        // Slots 1 to 100 have passed; 98, 99 and 100 are within the slack.
        assert_eq!(pace.take(10_000, 64), 3);
        assert_eq!(pace.skipped(), 97);
        assert_eq!(pace.due(), 10_100);
        assert_eq!(pace.slot(20_000), Some(Slot { due: 19_800, skipped: 97 }));
    }

    #[test]
    fn a_rate_that_cannot_be_kept_is_refused() {
        let clock = Clock::new();
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12, 1e-9] {
            assert_eq!(Pace::new(&clock, rate).unwrap_err().kind(), Kind::Usage, "{rate}");
        }
        assert!(Pace::new(&clock, 0.5).is_ok());
    }

    proptest! {
        #[test]
        fn what_was_let_go_and_what_was_skipped_is_what_the_schedule_holds(
            interval in 1.0..5_000.0_f64,
            slack in 0..100_000_u64,
            steps in prop::collection::vec((0..1_000_000_u64, 1..64_usize), 1..200),
            seed in prop::option::of(any::<u64>()),
        ) {
            let mut pace = every(interval, slack);
            if let Some(seed) = seed {
                pace = pace.at_random(seed);
                pace.start(0);
            }
            let (mut now, mut sent) = (0, 0);
            for (step, max) in steps {
                now += step;
                sent += pace.take(now, max) as u64;
            }
            let slots = sent + pace.skipped();
            prop_assert_eq!(slots, pace.passed());
            let at = match &mut pace.random {
                None => pace.interval * u128::from(slots),
                Some(random) => random.seek(slots),
            };
            prop_assert_eq!(at, pace.due);
        }
    }
}
