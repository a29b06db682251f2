//! The highest rate that a trial passes: NDR and PDR.
//!
//! RFC 2544 §26.1: offer a rate for a while, count what was lost, halve the
//! interval. With no loss allowed the result is the non-drop rate (NDR), with a
//! share allowed the partial-drop rate (PDR).
//!
//! ```text
//!   pass |=====================|..?..|xxxxxxxxxxxxxxxxxxx| fail
//!        0                    low   high                max
//! ```

use crate::error::{Error, Kind, Result};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The rate that is tried first, packets a second: line rate.
    pub max: f64,
    /// Share of the packets that may be lost, 0 to 1: 0 for NDR.
    pub loss: f64,
    /// Width of the interval to stop at, as a share of `max`.
    pub precision: f64,
}

/// What a trial at some rate gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// Rate that was asked for, packets a second.
    pub asked: f64,
    /// Rate that was really offered.
    pub offered: f64,
    /// Packets sent.
    pub sent: u64,
    /// Of these, how many did not arrive.
    pub lost: u64,
}

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best trial that passed; `None` if not even the slowest did.
    pub best: Option<Trial>,
    /// All trials in order.
    pub trials: Vec<Trial>,
}

impl Trial {
    /// Share of the packets that did not arrive.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost as f64 / self.sent as f64 }
    }

    /// Whether it lost no more than allowed. A trial that sent nothing shows nothing.
    pub fn passes(&self, loss: f64) -> bool {
        self.sent > 0 && self.loss() <= loss
    }
}

/// Searches for the highest rate at which `trial` passes `goal`.
///
/// Starts at the maximum, so that a device that keeps up costs one trial. Where
/// the sender could not offer what was asked, the search goes on from what it
/// did offer: the result is never a rate that was not on the wire.
///
/// # Errors
/// [`Kind::Usage`] for a goal that makes no sense; what `trial` returns.
pub fn search(goal: &Goal, mut trial: impl FnMut(f64) -> Result<Trial>) -> Result<Found> {
    let sensible = goal.max.is_finite() && goal.max > 0.0;
    if !sensible || !(0.0..1.0).contains(&goal.loss) || !(1e-6..=0.5).contains(&goal.precision) {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "cannot search up to {} packets a second for a loss of {} to a precision of {}; loss is a share below 1, precision one between 0.000001 and 0.5",
                goal.max, goal.loss, goal.precision
            ),
        ));
    }
    let mut found = Found { best: None, trials: Vec::new() };
    let (mut low, mut high) = (0.0_f64, goal.max);
    let mut rate = goal.max;
    loop {
        let result = trial(rate)?;
        found.trials.push(result);
        if result.passes(goal.loss) {
            low = rate;
            if found.best.is_none_or(|best| result.offered > best.offered) {
                found.best = Some(result);
            }
            // The sender's limit: asking for more offers no more.
            if result.offered < rate * (1.0 - goal.precision) {
                high = high.min(rate);
                low = high;
            }
        } else {
            high = rate.min(result.offered.max(low));
        }
        if high - low <= goal.precision * goal.max {
            return Ok(found);
        }
        rate = f64::midpoint(low, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that forwards up to `capacity` packets a second, and a sender
    /// that cannot send more than `sender`; trials of one second.
    fn device(capacity: f64, sender: f64) -> impl FnMut(f64) -> Result<Trial> {
        move |asked| {
            let offered = asked.min(sender);
            let (sent, lost) = (offered as u64, (offered - capacity).max(0.0) as u64);
            Ok(Trial { asked, offered, sent, lost })
        }
    }

    const NDR: Goal = Goal { max: 14_880_952.0, loss: 0.0, precision: 0.001 };

    #[test]
    fn it_finds_the_capacity_to_the_precision_asked() {
        for capacity in [20_000.0, 1_000_000.0, 7_440_476.0, 14_000_000.0] {
            let found = search(&NDR, device(capacity, 1e9)).unwrap();
            let rate = found.best.unwrap().offered;
            assert!(rate <= capacity + 1.0 && rate > capacity - NDR.max * NDR.precision, "{rate} of {capacity}");
            assert!(found.trials.len() <= 12, "{} trials", found.trials.len());
        }
    }

    #[test]
    fn a_device_that_keeps_up_costs_one_trial() {
        let found = search(&NDR, device(1e9, 1e9)).unwrap();
        assert_eq!(found.trials.len(), 1);
        assert_eq!(found.best.unwrap().offered, NDR.max);
    }

    #[test]
    fn allowed_loss_raises_the_rate() {
        let found = search(&Goal { loss: 0.5, ..NDR }, device(5_000_000.0, 1e9)).unwrap();
        let rate = found.best.unwrap().offered;
        assert!((9_900_000.0..=10_000_001.0).contains(&rate), "{rate}");
    }

    #[test]
    fn the_result_is_a_rate_that_was_on_the_wire() {
        let found = search(&NDR, device(1e9, 3_000_000.0)).unwrap();
        assert_eq!(found.best.unwrap().offered, 3_000_000.0);
        assert_eq!(found.trials.len(), 1, "asking a slow sender for less finds nothing new");
        let found = search(&NDR, device(2_000_000.0, 3_000_000.0)).unwrap();
        let rate = found.best.unwrap().offered;
        assert!((1_980_000.0..=2_000_001.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_device_that_passes_nothing_is_found_out() {
        assert_eq!(search(&NDR, device(0.0, 1e9)).unwrap().best, None);
        let silent = |asked| Ok(Trial { asked, ..Trial::default() });
        assert_eq!(search(&NDR, silent).unwrap().best, None);
    }

    #[test]
    fn a_goal_that_makes_no_sense_and_a_trial_that_fails_end_it() {
        for goal in [
            Goal { max: 0.0, ..NDR },
            Goal { max: f64::NAN, ..NDR },
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
