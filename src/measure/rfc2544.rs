//! Tests of RFC 2544 beside the throughput: latency at a rate (§26.2), frame loss over
//! rates (§26.3) and back-to-back frames (§26.4).
//!
//! ```text
//!   loss  |x                          longest    |
//!         |   x                       burst      |  64 128 256 ... fails: halve
//!         |      x                               |  until it is known to the precision
//!         |         x  x                         |
//!         +--------------- rate                  +---------------- tries
//!        100 % 90 % ... until two lose nothing
//! ```
//!
//! All keep to the rules of [`super::search`]: a trial counts only if it offered what was
//! asked, and a loss only if the tester cannot have caused it; others are repeated. What
//! the tester cannot offer is named and not guessed.

use super::Histogram;
use super::search::{ATTEMPTS, HEADROOM, LOSSES, TOLERANCE, Trial, Verdict, Why};
use crate::error::{Error, Kind, Result};
use std::time::Duration;

/// Successive rates without loss that end a curve (RFC 2544 §26.3).
const CLEAN: usize = 2;
/// The first burst that is tried, in frames.
const FIRST: u64 = 64;

/// How long packets took at a rate that loses none.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Packets a second that were asked for.
    pub rate: f64,
    /// Of all trials that passed, ns.
    pub times: Histogram,
    /// Trials that passed; each run has one at most.
    pub passed: usize,
    /// Runs that were asked for.
    pub runs: usize,
    /// How long the tester was held up in those that passed: it is in `times`.
    pub held_up: Duration,
    /// Why a run had none that passed, of the last such run.
    pub why: Option<Why>,
}

impl Latency {
    /// Whether each run has a trial that passed.
    pub fn is_conclusive(&self) -> bool {
        self.passed == self.runs && self.passed > 0
    }
}

/// Times packets at `rate`, in so many runs: each is the first trial of up to [`ATTEMPTS`]
/// that offers the rate and loses nothing. `trial` returns `None` when it was told to stop.
///
/// # Errors
/// What `trial` returns.
pub fn latency(
    rate: f64,
    runs: usize,
    mut trial: impl FnMut(f64) -> Result<Option<(Trial, Histogram)>>,
) -> Result<Latency> {
    let mut latency = Latency { rate, times: Histogram::new(), passed: 0, runs, held_up: Duration::ZERO, why: None };
    for _ in 0..runs {
        for attempt in 1..=ATTEMPTS {
            let Some((trial, times)) = trial(rate)? else { return Ok(latency) };
            let why = match trial.verdict(0.0) {
                Verdict::Passed => {
                    latency.times.add(&times);
                    latency.passed += 1;
                    latency.held_up += trial.held_up;
                    break;
                }
                Verdict::Failed => Why::Lost,
                Verdict::Unclear(why) => why,
            };
            if attempt == ATTEMPTS {
                latency.why = Some(why);
            }
        }
    }
    Ok(latency)
}

/// What a rate of the curve gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Point {
    /// This was sent and lost.
    Measured(Trial),
    /// Nothing certain, and why; if it was offered at all, no more was lost than in this
    /// trial.
    Unclear(Why, Option<Trial>),
    /// Not tried: the tester does not offer it.
    Beyond,
}

/// A rate of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Share of line rate.
    pub share: f64,
    /// Packets a second.
    pub rate: f64,
    /// What it gave.
    pub point: Point,
}

impl Step {
    fn is_clean(&self) -> bool {
        matches!(self.point, Point::Measured(trial) if trial.lost == 0)
    }
}

/// Loss over rates, from line rate down.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Highest rate first.
    pub steps: Vec<Step>,
    /// It was told to stop before the end.
    pub stopped: bool,
}

impl Curve {
    /// Whether it is what was asked for: something was measured, and nothing of what the
    /// tester offers is unclear.
    pub fn is_conclusive(&self) -> bool {
        let unclear = |step: &Step| matches!(step.point, Point::Unclear(..));
        let measured = |step: &Step| matches!(step.point, Point::Measured(_));
        !self.stopped && self.steps.iter().any(measured) && !self.steps.iter().any(unclear)
    }
}

/// Loss at `line` packets a second and below, in steps of `step` of it, until two
/// successive rates lose nothing. Rates above [`HEADROOM`] of the tester's `ceiling` are
/// not tried. `trial` returns `None` when it was told to stop.
///
/// A loss is known to [`TOLERANCE`] of what was sent, or better.
///
/// # Errors
/// [`Kind::Usage`] for a step outside of 0.001 to 1; what `trial` returns.
pub fn frame_loss(
    line: f64,
    ceiling: f64,
    step: f64,
    mut trial: impl FnMut(f64) -> Result<Option<Trial>>,
) -> Result<Curve> {
    if !(0.001..=1.0).contains(&step) {
        let line = format!("cannot go down from line rate by {step} of it; a step is 0.001 to 1");
        return Err(Error::new(Kind::Usage, line));
    }
    let mut steps: Vec<Step> = Vec::new();
    // Counted, so that a step is no sum of what was rounded.
    for n in 0..(1.0 / step).round() as u64 {
        let share = 1.0 - n as f64 * step;
        let rate = share * line;
        let point = match rate > HEADROOM * ceiling {
            true => Point::Beyond,
            false => match point(rate, &mut trial)? {
                Some(point) => point,
                None => return Ok(Curve { steps, stopped: true }),
            },
        };
        steps.push(Step { share, rate, point });
        if steps.len() >= CLEAN && steps.iter().rev().take(CLEAN).all(Step::is_clean) {
            break;
        }
    }
    Ok(Curve { steps, stopped: false })
}

/// What a rate gives; `None` if told to stop.
fn point(rate: f64, trial: &mut impl FnMut(f64) -> Result<Option<Trial>>) -> Result<Option<Point>> {
    let mut least: Option<Trial> = None;
    for _ in 0..ATTEMPTS {
        let Some(trial) = trial(rate)? else { return Ok(None) };
        if !trial.is_offered() {
            continue;
        }
        let (lost, own) = (trial.lost as f64, trial.own());
        if trial.lost == 0 || (lost > own && own <= TOLERANCE * trial.sent as f64) {
            return Ok(Some(Point::Measured(trial)));
        }
        least = least.filter(|least| least.loss() <= trial.loss()).or(Some(trial));
    }
    let why = if least.is_some() { Why::OwnLoss } else { Why::NotOffered };
    Ok(Some(Point::Unclear(why, least)))
}

/// A burst, as it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Burst {
    /// Frames it should have had.
    pub length: u64,
    /// Packets a second while it was sent.
    pub rate: f64,
    /// What became of it: `asked` is `rate`, and `due` is `length`.
    pub trial: Trial,
}

/// What a burst says of its length.
enum Says {
    Passed,
    Failed,
    Unclear(Why),
}

impl Burst {
    fn says(&self) -> Says {
        let Trial { sent, lost, held_up, .. } = self.trial;
        let took = self.length as f64 / self.rate;
        if sent < self.length || sent == 0 {
            Says::Unclear(Why::NotOffered)
        } else if lost as f64 > self.trial.own() {
            Says::Failed
        // A burst with a gap in it is two, and a buffer drains in between.
        } else if held_up.as_secs_f64() > TOLERANCE * took {
            Says::Unclear(Why::NotOffered)
        } else if lost > 0 {
            Says::Unclear(Why::OwnLoss)
        } else {
            Says::Passed
        }
    }
}

/// What bounds the longest burst from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Of this length the device lost some.
    Device(u64),
    /// No longer one was to be tried.
    Longest,
    /// Bursts of this length stayed unclear.
    Unclear(u64, Why),
    /// It was told to stop when this was the shortest that was too long, or the next to try.
    Stopped(u64),
}

/// The longest burst without loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Longest {
    /// The longest that passed; `None` if none did.
    pub best: Option<Burst>,
    /// What is above it.
    pub limit: Limit,
    /// All in order.
    pub bursts: Vec<Burst>,
}

impl Longest {
    /// Whether the search came to an end.
    pub fn is_conclusive(&self) -> bool {
        self.best.is_some() && matches!(self.limit, Limit::Device(_) | Limit::Longest)
    }

    /// Frames of the longest that passed, if that is a result.
    pub fn frames(&self) -> Option<u64> {
        self.best.filter(|_| self.is_conclusive()).map(|burst| burst.length)
    }
}

/// Searches for the longest burst without loss: up to `most` frames, to `precision` of its
/// length or to a frame. `burst` sends one, and returns `None` when it was told to stop.
///
/// Starts short and doubles, so that it takes hardly longer than its answer does.
///
/// # Errors
/// [`Kind::Usage`] where `most` is 0; what `burst` returns.
pub fn back_to_back(most: u64, precision: f64, mut burst: impl FnMut(u64) -> Result<Option<Burst>>) -> Result<Longest> {
    if most == 0 {
        return Err(Error::new(Kind::Usage, "cannot search for a burst of no frames; allow one at least"));
    }
    let (mut best, mut bursts): (Option<Burst>, Vec<Burst>) = (None, Vec::new());
    let mut failed: Option<u64> = None;
    // Lengths that stayed unclear, each one below the one before, and whether they had
    // their second chance.
    let mut unclear: Vec<(u64, Why, bool)> = Vec::new();
    let mut length = FIRST.min(most);
    loop {
        let mut losses = 0;
        let mut says = Says::Unclear(Why::NotOffered);
        for _ in 0..ATTEMPTS {
            let Some(sent) = burst(length)? else {
                let above = unclear.last().map(|(length, ..)| *length).or(failed).unwrap_or(length);
                return Ok(Longest { best, limit: Limit::Stopped(above), bursts });
            };
            bursts.push(sent);
            says = sent.says();
            losses += usize::from(matches!(says, Says::Failed));
            if matches!(says, Says::Passed) {
                best = Some(sent);
                break;
            }
            if losses == LOSSES {
                break;
            }
        }
        match says {
            Says::Passed => unclear.retain(|(at, ..)| *at > length),
            _ if losses == LOSSES => {
                failed = Some(length);
                unclear.retain(|(at, ..)| *at < length);
            }
            _ if unclear.iter().any(|(at, ..)| *at == length) => {}
            Says::Unclear(why) => unclear.push((length, why, false)),
            Says::Failed => unclear.push((length, Why::OwnLoss, false)),
        }
        let low = best.map_or(0, |best| best.length);
        let above = unclear.last().map(|(length, ..)| *length).or(failed);
        length = match (above, unclear.last_mut()) {
            (None, _) if low == most => return Ok(Longest { best, limit: Limit::Longest, bursts }),
            (None, _) => low.saturating_mul(2).min(most),
            (Some(high), _) if high - low > width(low, precision) => u64::midpoint(low, high),
            (Some(high), None) => return Ok(Longest { best, limit: Limit::Device(high), bursts }),
            (Some(high), Some((_, _, again))) if !*again => {
                *again = true;
                high
            }
            (Some(high), Some((_, why, _))) => {
                let limit = Limit::Unclear(high, *why);
                return Ok(Longest { best, limit, bursts });
            }
        };
    }
}

/// How far apart the longest that passed and the shortest that did not may be.
fn width(low: u64, precision: f64) -> u64 {
    ((low as f64 * precision) as u64).max(1)
}

#[cfg(test)]
mod tests;
