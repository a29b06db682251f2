//! The highest rate that a trial passes: NDR and PDR.
//!
//! RFC 2544 §26.1: offer a rate for a while, count what was lost, halve the
//! interval. With no loss allowed the result is the non-drop rate (NDR), with a
//! share allowed the partial-drop rate (PDR).
//!
//! ```text
//!   pass |=====================|..?..|xxxxxxxxxxxxxxxxxx| fail     |
//!        0                    low   high               top    ceiling
//! ```
//!
//! # What a trial says
//!
//! The tester is software on a machine that others use as well, so a trial has
//! three ends ([`Trial::verdict`]), not two:
//!
//! * It *passed*: what was asked was offered, to [`TOLERANCE`], and no more was
//!   lost than is allowed. One such trial is enough, because a disturbed tester
//!   adds losses and never takes one away.
//! * It *failed*: more was lost than is allowed, and more than the tester can have
//!   lost itself. A rate fails for good when [`LOSSES`] trials failed, so that one
//!   unlucky moment does not decide a search.
//! * It is *unclear*: the rate was not offered, or the loss may be the tester's own.
//!   It says nothing and is repeated, up to [`ATTEMPTS`] trials a rate. A rate that
//!   stays unclear is named as such and the search goes on below it; before that
//!   rate becomes the end of a search it gets the same number of trials once more.
//!
//! # What a search says
//!
//! Its result is the highest rate that passed, as it was offered, and what bounds it
//! from above ([`Bound`]). It is the device's rate only if a rate not further above
//! than the precision failed. At the tester's own ceiling it is a lower bound. Where
//! the search came to no end it is one too, and a weaker one.
//!
//! The top of the search is [`HEADROOM`] of what the sender offers unpaced: a sender
//! at its limit has no time left to make up for anything, and its trials would all
//! be unclear.

use crate::error::{Error, Kind, Result};
use std::fmt;
use std::time::Duration;

/// By what share less may be offered than was asked.
pub const TOLERANCE: f64 = 0.01;
/// Trials of one rate, until it is called unclear.
pub const ATTEMPTS: usize = 5;
/// Trials that must fail before a rate has failed.
pub const LOSSES: usize = 2;
/// The highest rate that is tried, as a share of the tester's ceiling.
pub const HEADROOM: f64 = 0.8;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Line rate, packets a second.
    pub line: f64,
    /// What the tester offers unpaced, packets a second.
    pub ceiling: f64,
    /// Share of the packets that may be lost, 0 to 1: 0 for NDR.
    pub loss: f64,
    /// Width of the interval to stop at, as a share of line rate.
    pub precision: f64,
}

/// What a trial at some rate gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// Rate that was asked for, packets a second.
    pub asked: f64,
    /// Packets that the schedule held.
    pub due: u64,
    /// Packets sent.
    pub sent: u64,
    /// Of these, how many the sending card still had when the time was up.
    pub late: u64,
    /// Of those sent, how many did not arrive.
    pub lost: u64,
    /// Of those lost, how many the receiving card had no descriptor for.
    pub missed: u64,
    /// How long the tester was held up, in all: its thread, or what plays its card.
    pub held_up: Duration,
}

/// What a trial says of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Offered as asked, and no more lost than allowed.
    Passed,
    /// More lost than allowed, and more than the tester can have lost.
    Failed,
    /// Nothing.
    Unclear(Why),
}

/// Why a trial says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Less was offered than was asked.
    NotOffered,
    /// The tester may have lost what was lost.
    OwnLoss,
}

/// What bounds a result from above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// At this rate the device lost more than is allowed.
    Device(f64),
    /// The link carries no more.
    Line,
    /// The tester offers no more.
    Tester,
    /// Trials at this rate stayed unclear, so nobody knows.
    Unclear(f64, Why),
    /// The search was told to stop when this was the lowest rate known to be too
    /// much, or the highest not yet tried.
    Stopped(f64),
}

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The trial at the highest rate that passed; `None` if none did.
    pub best: Option<Trial>,
    /// What is above it.
    pub bound: Bound,
    /// All trials in order.
    pub trials: Vec<Trial>,
}

impl Trial {
    /// Share of the packets that did not arrive.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost as f64 / self.sent as f64 }
    }

    /// Rate that was offered, packets a second, over the whole time: never more than
    /// was asked.
    pub fn offered(&self) -> f64 {
        if self.due == 0 { 0.0 } else { self.asked * (1.0 - self.short() / self.due as f64) }
    }

    /// Packets that were due and not offered in time.
    fn short(&self) -> f64 {
        self.due.saturating_sub(self.sent.saturating_sub(self.late)) as f64
    }

    /// What it says, where this share may be lost.
    pub fn verdict(&self, loss: f64) -> Verdict {
        if self.sent == 0 || self.due == 0 {
            return Verdict::Unclear(Why::NotOffered);
        }
        let slack = TOLERANCE * self.due as f64;
        // Whatever was due while the tester was held up may have been skipped, sent in
        // a burst or not been received, and that was not the device's doing.
        let held = (self.held_up.as_secs_f64() * self.asked).floor();
        let own = held + self.missed as f64;
        let allowed = loss * self.sent as f64;
        if self.lost as f64 > allowed + own && self.short() <= slack + held {
            Verdict::Failed
        } else if self.short() > slack {
            Verdict::Unclear(Why::NotOffered)
        } else if self.lost as f64 > allowed {
            Verdict::Unclear(Why::OwnLoss)
        } else {
            Verdict::Passed
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NotOffered => "the tester did not offer it",
            Why::OwnLoss => "the tester may have lost what was lost",
        })
    }
}

impl Found {
    /// The highest rate that passed, as it was offered, packets a second.
    pub fn rate(&self) -> Option<f64> {
        self.best.map(|trial| trial.offered())
    }

    /// Whether the search came to an end: a rate passed, and what is above it is
    /// known.
    pub fn is_conclusive(&self) -> bool {
        self.best.is_some() && matches!(self.bound, Bound::Device(_) | Bound::Line | Bound::Tester)
    }
}

/// The search with the median rate among those that came to an end, the lower of the
/// two in the middle; `None` unless more than half of all did.
pub fn median(searches: &[Found]) -> Option<&Found> {
    let mut ended: Vec<&Found> = searches.iter().filter(|found| found.is_conclusive()).collect();
    ended.sort_by(|a, b| a.rate().unwrap_or(0.0).total_cmp(&b.rate().unwrap_or(0.0)));
    if 2 * ended.len() <= searches.len() { None } else { ended.get((ended.len() - 1) / 2).copied() }
}

/// Lowest and highest rate of those searches that came to an end.
pub fn spread(searches: &[Found]) -> Option<[f64; 2]> {
    let rates = searches.iter().filter(|found| found.is_conclusive()).filter_map(Found::rate);
    rates.fold(None, |spread, rate| match spread {
        None => Some([rate, rate]),
        Some([low, high]) => Some([rate.min(low), rate.max(high)]),
    })
}

/// Searches for the highest rate at which `trial` passes `goal`; `trial` returns
/// `None` when it was told to stop.
///
/// Starts at the top, so that a device that keeps up costs one trial.
///
/// # Errors
/// [`Kind::Usage`] for a goal that makes no sense; what `trial` returns.
pub fn search(goal: &Goal, trial: impl FnMut(f64) -> Result<Option<Trial>>) -> Result<Found> {
    let sensible = |rate: f64| rate.is_finite() && rate > 0.0;
    let precise = (1e-6..=0.5).contains(&goal.precision);
    if !sensible(goal.line) || !sensible(goal.ceiling) || !(0.0..1.0).contains(&goal.loss) || !precise {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "cannot search up to {} of {} packets a second for a loss of {} to a precision of {}; loss is a share below 1, precision one between 0.000001 and 0.5",
                goal.line, goal.ceiling, goal.loss, goal.precision
            ),
        ));
    }
    let top = goal.line.min(HEADROOM * goal.ceiling);
    let ceiling = if top < goal.line { Bound::Tester } else { Bound::Line };
    let search = Search { goal, trial, top, ceiling, best: None, lost: None, unclear: Vec::new(), trials: Vec::new() };
    search.run()
}

/// A search on its way.
struct Search<'a, T> {
    goal: &'a Goal,
    trial: T,
    top: f64,
    /// What bounds a result at the top.
    ceiling: Bound,
    best: Option<Trial>,
    /// Lowest rate that failed.
    lost: Option<f64>,
    /// Rates that stayed unclear, each one below the one before.
    unclear: Vec<Unclear>,
    trials: Vec<Trial>,
}

/// A rate that stayed unclear.
struct Unclear {
    rate: f64,
    why: Why,
    /// Trials of it that failed all the same: fewer than [`LOSSES`].
    losses: usize,
    /// Whether it had its second chance.
    again: bool,
}

impl<T: FnMut(f64) -> Result<Option<Trial>>> Search<'_, T> {
    fn run(mut self) -> Result<Found> {
        let (mut rate, ceiling) = (self.top, self.ceiling);
        loop {
            if !self.try_rate(rate)? {
                let above = self.bound().map_or(self.top, |(rate, _)| rate);
                return Ok(self.found(Bound::Stopped(above)));
            }
            let low = self.best.map_or(0.0, |trial| trial.asked);
            let Some((high, why)) = self.bound() else { return Ok(self.found(ceiling)) };
            rate = if high - low > self.goal.precision * self.goal.line {
                f64::midpoint(low, high)
            } else {
                match (why, self.unclear.last_mut()) {
                    (None, _) => return Ok(self.found(Bound::Device(high))),
                    (Some(_), Some(unclear)) if !unclear.again => {
                        unclear.again = true;
                        unclear.rate
                    }
                    (Some(why), _) => return Ok(self.found(Bound::Unclear(high, why))),
                }
            };
        }
    }

    /// The lowest rate that is too much or unclear, and why if it is unclear.
    fn bound(&self) -> Option<(f64, Option<Why>)> {
        let unclear = self.unclear.last().map(|unclear| (unclear.rate, Some(unclear.why)));
        unclear.or(self.lost.map(|rate| (rate, None)))
    }

    /// Tries a rate until it is known or unclear; false if told to stop.
    fn try_rate(&mut self, rate: f64) -> Result<bool> {
        // What was seen of a rate counts when it is tried again.
        let known = self.unclear.iter().position(|unclear| unclear.rate == rate);
        let mut losses = known.map_or(0, |at| self.unclear[at].losses);
        let mut why = Why::OwnLoss;
        for _ in 0..ATTEMPTS {
            let Some(trial) = (self.trial)(rate)? else { return Ok(false) };
            self.trials.push(trial);
            match trial.verdict(self.goal.loss) {
                Verdict::Passed => {
                    self.best = Some(trial);
                    self.unclear.retain(|unclear| unclear.rate > rate);
                    return Ok(true);
                }
                Verdict::Failed => {
                    losses += 1;
                    if losses == LOSSES {
                        self.lost = Some(rate);
                        self.unclear.retain(|unclear| unclear.rate < rate);
                        return Ok(true);
                    }
                }
                Verdict::Unclear(reason) => why = reason,
            }
        }
        match known {
            Some(at) => self.unclear[at].losses = losses,
            None => self.unclear.push(Unclear { rate, why, losses, again: false }),
        }
        Ok(true)
    }

    fn found(self, bound: Bound) -> Found {
        Found { best: self.best, bound, trials: self.trials }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::wire::Random;

    /// One second of a device that forwards up to `capacity` packets a second, and
    /// of a sender that cannot send more than `sender`.
    fn second(asked: f64, capacity: f64, sender: f64) -> Trial {
        let offered = asked.min(sender);
        let (sent, lost) = (offered as u64, (offered - capacity).max(0.0) as u64);
        Trial { asked, due: asked as u64, sent, lost, ..Trial::default() }
    }

    fn device(capacity: f64, sender: f64) -> impl FnMut(f64) -> Result<Option<Trial>> {
        move |asked| Ok(Some(second(asked, capacity, sender)))
    }

    const NDR: Goal = Goal { line: 14_880_952.0, ceiling: 1e9, loss: 0.0, precision: 0.001 };
    const WIDTH: f64 = 14_880_952.0 * 0.001;

    #[test]
    fn it_finds_the_capacity_to_the_precision_asked() {
        for capacity in [20_000.0, 1_000_000.0, 7_440_476.0, 14_000_000.0] {
            let found = search(&NDR, device(capacity, 1e9)).unwrap();
            let rate = found.rate().unwrap();
            assert!(rate <= capacity + 1.0 && rate > capacity - WIDTH, "{rate} of {capacity}");
            let Bound::Device(above) = found.bound else { panic!("{:?}", found.bound) };
            assert!(above > capacity && above - rate <= WIDTH + 1.0, "{above} above {capacity}");
            assert!(found.is_conclusive() && found.trials.len() <= 12 * LOSSES, "{} trials", found.trials.len());
        }
    }

    #[test]
    fn a_device_that_keeps_up_costs_one_trial_and_the_result_says_whose_limit_it_is() {
        let found = search(&NDR, device(1e9, 1e9)).unwrap();
        assert_eq!((found.trials.len(), found.bound), (1, Bound::Line));
        assert!((found.rate().unwrap() - NDR.line).abs() <= 1.0);
        let found = search(&Goal { ceiling: 3e6, ..NDR }, device(1e9, 3e6)).unwrap();
        assert_eq!((found.trials.len(), found.bound), (1, Bound::Tester));
        assert_eq!(found.rate(), Some(HEADROOM * 3e6));
    }

    #[test]
    fn allowed_loss_raises_the_rate() {
        let found = search(&Goal { loss: 0.5, ..NDR }, device(5_000_000.0, 1e9)).unwrap();
        let rate = found.rate().unwrap();
        assert!((9_900_000.0..=10_000_001.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_rate_that_was_not_offered_is_never_a_result() {
        // A ceiling that was taken for higher than it is.
        let found = search(&NDR, device(1e9, 3e6)).unwrap();
        let rate = found.rate().unwrap();
        let Bound::Unclear(above, Why::NotOffered) = found.bound else { panic!("{:?}", found.bound) };
        assert!(!found.is_conclusive());
        assert!(rate < 3e6 + 1.0 && above * (1.0 - TOLERANCE) > 3e6 && above - rate < 2.0 * WIDTH + TOLERANCE * 3e6);
        for trial in found.trials.iter().filter(|trial| trial.asked > 3.1e6) {
            assert_eq!(trial.verdict(0.0), Verdict::Unclear(Why::NotOffered));
        }
    }

    #[test]
    fn a_loss_that_the_tester_may_have_caused_fails_nobody() {
        let steady = Trial { asked: 1e6, due: 1_000_000, sent: 1_000_000, ..Trial::default() };
        assert_eq!(steady.verdict(0.0), Verdict::Passed);
        assert_eq!(Trial { lost: 1, ..steady }.verdict(0.0), Verdict::Failed);
        // Held up for 3 ms, 3000 packets: not one more than those.
        let held = Trial { held_up: Duration::from_millis(3), ..steady };
        assert_eq!(held.verdict(0.0), Verdict::Passed);
        assert_eq!(Trial { lost: 3_000, ..held }.verdict(0.0), Verdict::Unclear(Why::OwnLoss));
        assert_eq!(Trial { lost: 3_001, ..held }.verdict(0.0), Verdict::Failed);
        assert_eq!(Trial { lost: 3_001, missed: 1, ..held }.verdict(0.0), Verdict::Unclear(Why::OwnLoss));
        // A card that has much left to send was not sending at that rate.
        assert_eq!(Trial { late: 10_001, ..steady }.verdict(0.0), Verdict::Unclear(Why::NotOffered));
        // A steady sender that is too slow shows nothing, whatever was lost.
        let slow = Trial { sent: 500_000, lost: 100_000, ..steady };
        assert_eq!(slow.verdict(0.0), Verdict::Unclear(Why::NotOffered));
        // One that was held up was at the rate for the rest of the time.
        let stalled = Trial { sent: 900_000, lost: 200_000, held_up: Duration::from_millis(100), ..steady };
        assert_eq!(stalled.verdict(0.0), Verdict::Failed);
        assert_eq!(Trial { lost: 0, ..stalled }.verdict(0.0), Verdict::Unclear(Why::NotOffered));
    }

    #[test]
    fn a_disturbed_tester_finds_the_same_as_a_quiet_one() {
        const CAPACITY: f64 = 2e6;
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let disturbed = |asked| {
                let mut trial = second(asked, CAPACITY, 1e9);
                // Every third trial is held up, for up to 50 ms: not sent, or lost.
                if random.below(3) == 0 {
                    trial.held_up = Duration::from_micros(1 + random.below(50_000));
                    let held = (trial.held_up.as_secs_f64() * asked) as u64;
                    let skipped = random.below(held + 1);
                    trial.sent -= skipped;
                    trial.lost = (trial.lost + random.below(held - skipped + 1)).min(trial.sent);
                }
                Ok(Some(trial))
            };
            let found = search(&NDR, disturbed).unwrap();
            let rate = found.rate().unwrap();
            // The first of ATTEMPTS or 2 * ATTEMPTS to pass may have skipped up to TOLERANCE.
            assert!(rate < CAPACITY + 1.0 && rate > CAPACITY * (1.0 - TOLERANCE) - WIDTH, "seed {seed}: {rate}");
            assert!(matches!(found.bound, Bound::Device(_)), "seed {seed}: {:?}", found.bound);
        }
    }

    #[test]
    fn a_rate_that_was_unclear_gets_another_chance_before_it_is_the_end() {
        // Nothing can be said for the first trials; then the machine is quiet.
        let mut count = 0;
        let noisy_at_first = |asked| {
            count += 1;
            let trial = second(asked, 1e9, 1e9);
            Ok(Some(if count <= ATTEMPTS { Trial { lost: 1, missed: 1, ..trial } } else { trial }))
        };
        let found = search(&NDR, noisy_at_first).unwrap();
        assert_eq!(found.bound, Bound::Line);
        assert!(found.is_conclusive());
        // One that never is quiet above some rate: what passed is a bound, no result.
        let noisy = |asked: f64| Ok(Some(Trial { missed: 1, lost: u64::from(asked > 1e6), ..second(asked, 1e9, 1e9) }));
        let found = search(&NDR, noisy).unwrap();
        assert!(matches!(found.bound, Bound::Unclear(rate, Why::OwnLoss) if rate > 1e6 && rate < 1e6 + WIDTH));
        assert!(!found.is_conclusive() && found.rate().unwrap() <= 1e6);
    }

    #[test]
    fn a_device_that_passes_nothing_is_found_out() {
        let found = search(&NDR, device(0.0, 1e9)).unwrap();
        assert_eq!((found.best, found.rate(), found.is_conclusive()), (None, None, false));
        assert!(matches!(found.bound, Bound::Device(rate) if rate <= WIDTH));
        let silent = |asked| Ok(Some(Trial { asked, ..Trial::default() }));
        let found = search(&NDR, silent).unwrap();
        assert!(matches!(found.bound, Bound::Unclear(_, Why::NotOffered)) && found.best.is_none());
    }

    #[test]
    fn a_search_that_is_told_to_stop_says_what_it_knows() {
        let mut left = 5;
        let stopped = |asked| {
            left -= 1;
            Ok((left >= 0).then(|| second(asked, 5e6, 1e9)))
        };
        let found = search(&NDR, stopped).unwrap();
        assert!(!found.is_conclusive());
        // Fails twice at line rate, twice at half of it, passes at a quarter.
        assert_eq!(found.bound, Bound::Stopped(NDR.line / 2.0));
        assert_eq!(found.best.map(|trial| trial.asked), Some(NDR.line / 4.0));
    }

    #[test]
    fn the_median_is_one_of_the_searches_and_needs_most_of_them() {
        let found = |rate: f64, bound| Found { best: Some(second(rate, 1e9, 1e9)), bound, trials: vec![] };
        let device = |rate: f64| found(rate, Bound::Device(rate + 10.0));
        let unclear = |rate: f64| found(rate, Bound::Unclear(rate + 10.0, Why::OwnLoss));
        let runs = [device(300.0), device(100.0), device(200.0)];
        assert_eq!((median(&runs), spread(&runs)), (Some(&runs[2]), Some([100.0, 300.0])));
        let runs = [unclear(1.0), device(100.0), device(200.0)];
        assert_eq!((median(&runs), spread(&runs)), (Some(&runs[1]), Some([100.0, 200.0])));
        assert_eq!(median(&[unclear(1.0), unclear(2.0), device(200.0)]), None);
        assert_eq!((median(&[unclear(1.0)]), spread(&[unclear(1.0)])), (None, None));
        assert_eq!((median(&[]), spread(&[])), (None, None));
    }

    #[test]
    fn a_goal_that_makes_no_sense_and_a_trial_that_fails_end_it() {
        for goal in [
            Goal { line: 0.0, ..NDR },
            Goal { line: f64::NAN, ..NDR },
            Goal { ceiling: 0.0, ..NDR },
            Goal { loss: 1.0, ..NDR },
            Goal { loss: -0.1, ..NDR },
            Goal { precision: 0.0, ..NDR },
        ] {
            assert_eq!(search(&goal, device(1.0, 1.0)).unwrap_err().kind(), Kind::Usage);
        }
        let gone = |_| Err(Error::new(Kind::Gone, "gone"));
        assert_eq!(search(&NDR, gone).unwrap_err().kind(), Kind::Gone);
    }
}
