//! Several goals in one search, after the idea of MLRsearch (RFC 9971).
//!
//! ```text
//!   goal 1   |=========|xxxxxxxxxxxxxxxxxxxxx|     no loss       (NDR)
//!   goal 2   |================|xxxxxxxxxxxxxx|     0.5 % at most (PDR)
//!            0        low    high           top
//!   trials      s  s sSL  L S L      s       s     short first, full ones near the ends
//! ```
//!
//! All goals look at the same trials: one at a load says for each goal whether more was
//! lost there than it allows ([`Trial::verdict`]). A load is classified for a goal by the
//! time that its trials took together (RFC 9971, appendix A): it is a lower bound if,
//! whatever the trials that are still missing from [`Goals::sum`] gave, no more of that
//! time than [`Loss::exceed`] lost too much; an upper bound if more of it did, whatever they
//! gave; otherwise another trial is made. A short trial can say that a load is too much,
//! never that it is not.
//!
//! A first phase looks for the ends with short trials, to a wide interval; the second
//! confirms them with full ones. The result of a goal is the highest lower bound below its
//! lowest upper bound.
//!
//! What the tester did itself counts for nothing, as in [`super::search`]: a trial that did
//! not offer its load, or in which the tester may have lost the packets, is in no sum and
//! is repeated, and a load that stays unclear is named.

use super::{ATTEMPTS, Bound, Found, HEADROOM, Trial, Verdict, Why};
use crate::error::{Error, Kind, Result};
use std::time::Duration;

/// A short trial, as a share of a full one.
const SHORT: u32 = 10;
/// How much wider the interval of the first phase is.
const WIDER: f64 = 4.0;
/// How often all goals are looked at: the trials of one may change what another has found.
const ROUNDS: usize = 8;

/// What a goal allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Share of the packets of a trial that may be lost (Goal Loss Ratio), 0 to 1.
    pub ratio: f64,
    /// Share of the time of all trials in which more may be lost (Goal Exceed Ratio), 0 to 1.
    pub exceed: f64,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Goals {
    /// Line rate, packets a second.
    pub line: f64,
    /// What the tester offers unpaced, packets a second.
    pub ceiling: f64,
    /// Width of the interval to stop at, as a share of line rate (Goal Width).
    pub precision: f64,
    /// Length of a full trial (Goal Final Trial Duration).
    pub trial: Duration,
    /// Time of full trials that decides of a load (Goal Duration Sum).
    pub sum: Duration,
    /// What is allowed, the strictest first.
    pub goals: Vec<Loss>,
}

/// A trial, and how long it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// What it gave.
    pub trial: Trial,
    /// Its length.
    pub length: Duration,
}

/// What was found for a goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// The bounds; its trials are those of the search.
    pub found: Found,
    /// What came through of the rate that was found in a trial as bad as the goal allows
    /// (Conditional Throughput), packets a second.
    pub conditional: Option<f64>,
    /// Which of the trials the best one is.
    pub best: Option<usize>,
}

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// For each goal, in the order they were asked for.
    pub reached: Vec<Reached>,
    /// All trials in order.
    pub trials: Vec<Timed>,
}

/// What the trials at a load say of it, for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The goal is kept to.
    Lower,
    /// It is not.
    Upper,
    /// More trials are needed.
    Undecided,
    /// Too many of them say nothing.
    Unclear(Why),
}

/// Classifies a load by its trials for a goal, full trials of which have this length and,
/// together, this one: RFC 9971, appendix A.
pub fn classify(trials: &[Timed], goal: Loss, full: Duration, sum: Duration) -> Class {
    let total = |long: bool, verdict: Verdict| {
        let of = trials.iter().filter(|timed| (timed.length >= full) == long);
        of.filter(|timed| timed.trial.verdict(goal.ratio) == verdict)
            .map(|timed| timed.length.as_secs_f64())
            .sum::<f64>()
    };
    let balancing = total(false, Verdict::Passed) * goal.exceed / (1.0 - goal.exceed);
    let excess = (total(false, Verdict::Failed) - balancing).max(0.0);
    let high = total(true, Verdict::Failed) + excess;
    let known = high + total(true, Verdict::Passed);
    let whole = known.max(sum.as_secs_f64());
    // What is missing may all be well, or all be bad. Sums of times are not quite exact.
    let (optimistic, pessimistic) = (high / whole, (high + whole - known) / whole);
    if pessimistic <= goal.exceed + 1e-9 {
        Class::Lower
    } else if optimistic > goal.exceed + 1e-9 {
        Class::Upper
    } else {
        Class::Undecided
    }
}

/// Conditional Throughput at a load (RFC 9971, appendix B): of its full trials the one that
/// is as bad as the goal's exceed ratio allows.
pub fn conditional(load: f64, trials: &[Timed], goal: Loss, full: Duration, sum: Duration) -> f64 {
    let counts =
        |timed: &&Timed| timed.length >= full && !matches!(timed.trial.verdict(goal.ratio), Verdict::Unclear(_));
    let mut counted: Vec<&Timed> = trials.iter().filter(counts).collect();
    counted.sort_by(|a, b| a.trial.loss().total_cmp(&b.trial.loss()));
    let known: f64 = counted.iter().map(|timed| timed.length.as_secs_f64()).sum();
    let mut left = known.max(sum.as_secs_f64()) * (1.0 - goal.exceed);
    for timed in counted {
        left -= timed.length.as_secs_f64();
        if left <= 1e-9 {
            return load * (1.0 - timed.trial.loss());
        }
    }
    0.0
}

/// Searches for all goals at once; `trial` makes one of a rate and a length, and returns
/// `None` when it was told to stop.
///
/// # Errors
/// [`Kind::Usage`] for goals that make no sense; what `trial` returns.
pub fn search_goals(goals: &Goals, trial: impl FnMut(f64, Duration) -> Result<Option<Trial>>) -> Result<Outcome> {
    let share = |share: f64| (0.0..1.0).contains(&share);
    if goals.goals.is_empty() || !goals.goals.iter().all(|goal| share(goal.ratio) && share(goal.exceed)) {
        let line = "a search needs a goal, and the loss and the exceed ratio of each are shares below 1";
        return Err(Error::new(Kind::Usage, line));
    }
    for goal in &goals.goals {
        super::Goal { line: goals.line, ceiling: goals.ceiling, loss: goal.ratio, precision: goals.precision }
            .check()?;
    }
    if goals.trial.is_zero() || goals.sum < goals.trial {
        let line =
            format!("trials of {:?} do not fit into a sum of {:?}; it is one trial at least", goals.trial, goals.sum);
        return Err(Error::new(Kind::Usage, line));
    }
    let top = goals.line.min(HEADROOM * goals.ceiling);
    let search = Search { goals, trial, top, loads: Vec::new(), trials: Vec::new(), again: Vec::new(), stopped: false };
    search.run()
}

/// A load and its trials.
struct Load {
    rate: f64,
    trials: Vec<Timed>,
    /// Where they are among all.
    places: Vec<usize>,
}

/// What trials of a phase are, and how wide the interval is when it ends.
#[derive(Clone, Copy)]
struct Phase {
    trial: Duration,
    sum: Duration,
    width: f64,
}

/// Where a goal stands.
#[derive(Clone, Copy, Default)]
struct Ends {
    /// Highest lower bound below the lowest upper bound.
    low: Option<f64>,
    /// Lowest load above it that is an upper bound or stays unclear.
    high: Option<(f64, Option<Why>)>,
}

/// A search on its way.
struct Search<'a, T> {
    goals: &'a Goals,
    trial: T,
    top: f64,
    loads: Vec<Load>,
    trials: Vec<Timed>,
    /// Loads that had a second chance to be clear, and for which goal.
    again: Vec<(f64, usize)>,
    stopped: bool,
}

impl<T: FnMut(f64, Duration) -> Result<Option<Trial>>> Search<'_, T> {
    fn run(mut self) -> Result<Outcome> {
        let Goals { line, precision, trial, sum, .. } = *self.goals;
        let width = precision * line;
        let last = Phase { trial, sum, width };
        let first = Phase { trial: trial / SHORT, sum: trial / SHORT, width: WIDER * width };
        let mut hints = vec![Ends::default(); self.goals.goals.len()];
        for (goal, hint) in hints.iter_mut().enumerate() {
            self.narrow(goal, first, Ends::default())?;
            *hint = self.ends(goal, first);
        }
        // What one goal's trials add at a load may change what another made of it.
        let mut steady = false;
        for _ in 0..ROUNDS {
            let before = self.trials.len();
            for (goal, hint) in hints.iter().enumerate() {
                self.narrow(goal, last, *hint)?;
            }
            steady = self.trials.len() == before;
            if steady || self.stopped {
                break;
            }
        }
        let reached = (0..hints.len()).map(|goal| self.reached(goal, last, steady)).collect();
        Ok(Outcome { reached, trials: self.trials })
    }

    /// Makes trials until the ends of a goal are as near as the phase asks for. What is
    /// known from the phase before is tried first.
    fn narrow(&mut self, goal: usize, phase: Phase, hint: Ends) -> Result<()> {
        // Where a hint was wrong, how far beyond it the next load is.
        let mut step = WIDER * phase.width;
        while !self.stopped {
            let ends = self.ends(goal, phase);
            let hinted = hint.high.map(|(rate, _)| rate);
            let next = match (ends.low, ends.high) {
                (None, None) => hint.low.or(hinted).unwrap_or(self.top),
                (Some(low), None) if low >= self.top => return Ok(()),
                (Some(low), None) => match hinted.filter(|rate| *rate > low) {
                    Some(rate) => rate,
                    None => {
                        step *= 2.0;
                        (low + step / 2.0).min(self.top)
                    }
                },
                (low, Some((high, why))) => {
                    let width = high - low.unwrap_or(0.0);
                    if width > phase.width {
                        match (low, hint.low) {
                            (Some(low), _) => f64::midpoint(low, high),
                            (None, Some(hinted)) if hinted < high => hinted,
                            (None, Some(_)) if high > 2.0 * step => {
                                step *= 2.0;
                                high - step / 2.0
                            }
                            (None, _) => high / 2.0,
                        }
                    } else if why.is_some() && !self.again.contains(&(high, goal)) {
                        self.again.push((high, goal));
                        high
                    } else {
                        return Ok(());
                    }
                }
            };
            self.measure(next, goal, phase)?;
        }
        Ok(())
    }

    /// Makes trials of a load until it is classified for a goal.
    fn measure(&mut self, rate: f64, goal: usize, phase: Phase) -> Result<()> {
        while self.class_of(rate, goal, phase) == Class::Undecided {
            let Some(trial) = (self.trial)(rate, phase.trial)? else {
                self.stopped = true;
                return Ok(());
            };
            let timed = Timed { trial, length: phase.trial };
            let place = self.trials.len();
            self.trials.push(timed);
            match self.loads.iter_mut().find(|load| load.rate == rate) {
                Some(load) => {
                    load.trials.push(timed);
                    load.places.push(place);
                }
                None => self.loads.push(Load { rate, trials: vec![timed], places: vec![place] }),
            }
        }
        Ok(())
    }

    fn class_of(&self, rate: f64, goal: usize, phase: Phase) -> Class {
        let load = self.loads.iter().find(|load| load.rate == rate);
        load.map_or(Class::Undecided, |load| self.class(load, goal, phase))
    }

    fn class(&self, load: &Load, goal: usize, phase: Phase) -> Class {
        let loss = self.goals.goals[goal];
        let class = classify(&load.trials, loss, phase.trial, phase.sum);
        if class != Class::Undecided {
            return class;
        }
        let unclear = load.trials.iter().filter(|timed| timed.length >= phase.trial);
        let unclear: Vec<Why> = unclear
            .filter_map(|timed| match timed.trial.verdict(loss.ratio) {
                Verdict::Unclear(why) => Some(why),
                Verdict::Passed | Verdict::Failed => None,
            })
            .collect();
        let allowed = if self.again.contains(&(load.rate, goal)) { 2 * ATTEMPTS } else { ATTEMPTS };
        match unclear.last() {
            Some(why) if unclear.len() >= allowed => Class::Unclear(*why),
            _ => Class::Undecided,
        }
    }

    fn ends(&self, goal: usize, phase: Phase) -> Ends {
        let classes: Vec<(f64, Class)> =
            self.loads.iter().map(|load| (load.rate, self.class(load, goal, phase))).collect();
        let of = |class: Class| classes.iter().filter(move |(_, is)| *is == class).map(|(rate, _)| *rate);
        let upper = of(Class::Upper).min_by(f64::total_cmp);
        let below = |rate: &f64| upper.is_none_or(|upper| *rate < upper);
        let low = of(Class::Lower).filter(below).max_by(f64::total_cmp);
        let unclear = classes.iter().filter_map(|(rate, class)| match class {
            Class::Unclear(why) if below(rate) && low.is_none_or(|low| *rate > low) => Some((*rate, Some(*why))),
            _ => None,
        });
        let unclear = unclear.min_by(|(a, _), (b, _)| a.total_cmp(b));
        Ends { low, high: unclear.or(upper.map(|rate| (rate, None))) }
    }

    fn reached(&self, goal: usize, phase: Phase, steady: bool) -> Reached {
        let Goals { goals, line, trial, sum, .. } = self.goals;
        let Ends { low, high } = self.ends(goal, phase);
        let load = self.loads.iter().find(|load| Some(load.rate) == low);
        // A load that is a lower bound has a full trial that passed.
        let best = load.and_then(|load| {
            let passed =
                |timed: &Timed| timed.length >= *trial && timed.trial.verdict(goals[goal].ratio) == Verdict::Passed;
            load.trials.iter().position(passed).map(|at| (load.trials[at].trial, load.places[at]))
        });
        let bound = match high {
            _ if self.stopped => Bound::Stopped(high.map_or(self.top, |(rate, _)| rate)),
            Some((rate, _)) if !steady => Bound::Unclear(rate, Why::Unsteady),
            Some((rate, Some(why))) => Bound::Unclear(rate, why),
            Some((rate, None)) => Bound::Device(rate),
            None if !steady => Bound::Unclear(self.top, Why::Unsteady),
            None if self.top < *line => Bound::Tester,
            None => Bound::Line,
        };
        Reached {
            conditional: load.map(|load| conditional(load.rate, &load.trials, goals[goal], *trial, *sum)),
            best: best.map(|(_, place)| place),
            found: Found { best: best.map(|(trial, _)| trial), bound, trials: Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests;
