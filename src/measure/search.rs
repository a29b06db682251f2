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

mod goals;
mod trial;

pub use goals::{Class, Goals, Loss, Outcome, Reached, Timed, classify, conditional, search_goals};
pub use trial::{TOLERANCE, Trial, Verdict, Why};

use crate::error::{Error, Kind, Result};

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

impl Goal {
    /// # Errors
    /// [`Kind::Usage`] if it makes no sense.
    fn check(&self) -> Result<()> {
        let sensible = |rate: f64| rate.is_finite() && rate > 0.0;
        let precise = (1e-6..=0.5).contains(&self.precision);
        if !sensible(self.line) || !sensible(self.ceiling) || !(0.0..1.0).contains(&self.loss) || !precise {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "cannot search up to {} of {} packets a second for a loss of {} to a precision of {}; loss is a share below 1, precision one between 0.000001 and 0.5",
                    self.line, self.ceiling, self.loss, self.precision
                ),
            ));
        }
        Ok(())
    }
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
    goal.check()?;
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
mod tests;
