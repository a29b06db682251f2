//! A transmit hang: packets were given to a card, and it reports none of them as sent.
//!
//! A sender whose ring is full has nothing else to wait for. Kernels have a watchdog for
//! this; here it is the sender that looks, and only when it cannot go on.

use super::output;
use super::signal::Stop;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Patience, Ticks};
use std::time::Duration;

/// How long a full ring may report nothing: as long as Linux gives a queue
/// (net/sched/sch_generic.c, `dev_watchdog` with `watchdog_timeo` of 5 s).
const MOST: Duration = Duration::from_secs(5);

/// How long the ring of one sender has stood still.
#[derive(Default)]
pub struct Hang {
    /// Made when it is first needed.
    clock: Option<Clock>,
    patience: Option<Patience>,
}

impl Hang {
    /// The card took something, or the sender had nothing for it.
    #[inline]
    pub fn over(&mut self) {
        if self.patience.is_some() {
            self.patience = None;
        }
    }

    /// The card took nothing; ends the run if that is so for too long.
    pub fn look(&mut self, stop: &Stop) {
        let clock = self.clock.get_or_insert_with(Clock::new);
        let now = clock.now();
        self.look_at(now, stop);
    }

    fn look_at(&mut self, now: Ticks, stop: &Stop) {
        let clock = self.clock.get_or_insert_with(Clock::new);
        if self.patience.get_or_insert_with(|| Patience::new(clock, MOST)).is_over(now) {
            stop.lose(&full(MOST));
        }
    }
}

/// The error of a ring that was full for `time`, of which the card took nothing.
pub fn full(time: Duration) -> Error {
    let text = format!(
        "transmit hang: a ring is full, and its card has reported no packet as sent for {} seconds; the card is stuck, or its far end pauses the link",
        time.as_secs()
    );
    Error::new(Kind::Timeout, text)
}

/// Whether all that was given to cards was reported as sent, once that was waited for.
///
/// # Errors
/// [`Kind::Timeout`] if `stuck` packets were not: the far end may have received them,
/// but their buffers are the card's for good.
pub fn check(stuck: u64) -> Result<()> {
    if stuck == 0 {
        return Ok(());
    }
    let text = format!(
        "transmit hang: {} packets were given to a card and never reported as sent, though nothing says that they were not; open the card again",
        output::grouped(stuck)
    );
    Err(Error::new(Kind::Timeout, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_reported_is_an_error() {
        assert!(check(0).is_ok());
        assert!(check(1234).unwrap_err().to_string().contains("1 234 packets"));
    }

    #[test]
    fn a_ring_that_stands_still_for_too_long_ends_the_run_and_one_that_moves_does_not() {
        let (clock, stop) = (Clock::new(), Stop::default());
        let mut hang = Hang { clock: Some(clock.clone()), patience: None };
        let millisecond = clock.ticks(Duration::from_millis(1));
        let looks = MOST.as_millis() as u64 + 10;
        for look in 0..2 * looks {
            if look == looks / 2 {
                hang.over();
            }
            assert!(look >= looks || stop.intact().is_ok(), "after {look} ms");
            hang.look_at(1 + look * millisecond, &stop);
        }
        let error = stop.intact().unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().contains("transmit hang"), "{error}");
    }
}
