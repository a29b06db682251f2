//! Signals: how a run is asked to end.
//!
//! The first SIGINT or SIGTERM asks for a clean end with its summary; one of either
//! that comes later ends the program on the spot. SIGUSR1 asks for the figures now.
//! The handlers only set flags; a poll loop reads one of them, relaxed. SIGCONT is counted:
//! a run that was stopped (Ctrl-Z, SIGSTOP) says so ([`Stop::stops`]). A card that is
//! taken away ends a run in the same way ([`Stop::lose`]).

use super::Outcome;
use crate::error::{Error, Kind, Result};
use crate::sys::signals;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether the run is to end, and why. Clones share the same flags.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// 0 while running, else the signal, or [`ENDED`].
    why: Arc<AtomicUsize>,
    print: Arc<AtomicBool>,
    dry: Arc<AtomicBool>,
    continued: Arc<signals::Continued>,
    /// What became of a card, if that ended it.
    lost: Arc<OnceLock<(Kind, String)>>,
}

/// Ended by the run itself; no signal has this number.
const ENDED: usize = usize::MAX;

impl Stop {
    /// Takes the signals over. To be called once, before the first packet.
    pub fn install() -> Result<Self> {
        let stop = Stop::default();
        let failed = |e| Error::io("installing signal handlers", e);
        signals::ends(&[SIGINT, SIGTERM], &stop.why, &stop.continued).map_err(failed)?;
        flag::register(SIGUSR1, Arc::clone(&stop.print)).map_err(failed)?;
        Ok(stop)
    }

    /// Whether to end; for poll loops.
    #[inline]
    pub fn requested(&self) -> bool {
        self.why.load(Ordering::Relaxed) != 0
    }

    /// Ends the run from within: time is up, the count is reached. A signal
    /// that came before stays the reason.
    pub fn end(&self) {
        // The loser of the race is dropped on purpose.
        let _ = self.why.compare_exchange(0, ENDED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Says that no packet comes any more but those that are on their way: poll loops end
    /// when they have found nothing for a while.
    pub fn run_dry(&self) {
        self.dry.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    #[inline]
    pub fn is_dry(&self) -> bool {
        self.dry.load(Ordering::Relaxed)
    }

    /// Ends the run because a card cannot be used any more. The first reason stays.
    pub fn lose(&self, why: &Error) {
        // The loser of the race is dropped on purpose.
        let _ = self.lost.set((why.kind(), why.to_string()));
        self.end();
    }

    /// Whether no card was lost.
    ///
    /// # Errors
    /// Why one was.
    pub fn intact(&self) -> Result<()> {
        self.lost.get().map_or(Ok(()), |(kind, text)| Err(Error::new(*kind, text.clone())))
    }

    /// The signal that ended the run, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.why.load(Ordering::Relaxed) {
            0 | ENDED => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// How often the whole program was stopped and continued.
    pub fn stops(&self) -> usize {
        self.continued.times()
    }

    /// What that means for its figures, if it was.
    pub fn stopped(&self) -> Option<String> {
        let times = match self.stops() {
            0 => return None,
            1 => "once".to_string(),
            times => format!("{times} times"),
        };
        Some(format!(
            "this program was stopped and continued {times} (Ctrl-Z, SIGSTOP): rates, gaps and the longest times have that in them; run it again"
        ))
    }

    /// Whether SIGUSR1 came since this was last asked.
    pub fn print_now(&self) -> bool {
        self.print.swap(false, Ordering::Relaxed)
    }

    /// How a run that printed its summary ended, given whether it kept its limits.
    /// A user who ends it by a signal has read the summary: the signal's code stays. A
    /// card that was lost is told before anything that follows from it.
    pub fn judge(&self, limits: Result<()>) -> anyhow::Result<Outcome> {
        self.intact()?;
        match limits {
            Err(passed) if self.signal().is_none() => Err(passed.into()),
            _ => Ok(self.outcome()),
        }
    }

    /// How a run that printed its summary ended.
    pub fn outcome(&self) -> Outcome {
        self.signal().map_or(Outcome::Done, Outcome::Signal)
    }
}

/// Ends the run if a thread of it ends as it should not: the others go on for nobody.
pub struct Ending(pub Stop);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// The error of a run that was told to end before it had begun: exit code as
/// for any signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted(pub i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended by signal {} before the first packet", self.0)
    }
}

impl std::error::Error for Interrupted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_ends_itself_is_done_and_one_that_was_told_says_by_whom() {
        let stop = Stop::default();
        assert!(!stop.requested());
        stop.clone().end();
        assert!(stop.requested());
        assert_eq!(stop.outcome(), Outcome::Done);

        let told = Stop::default();
        told.why.store(SIGTERM as usize, Ordering::Relaxed);
        told.end();
        assert_eq!(told.outcome(), Outcome::Signal(SIGTERM));
    }

    #[test]
    fn a_card_that_was_lost_ends_the_run_and_is_its_error_whatever_else_went_wrong() {
        use crate::pci::Alarm;
        let stop = Stop::default();
        stop.intact().unwrap();
        stop.lose(&Alarm::Gone.of("0000:03:00.0"));
        stop.lose(&Alarm::Wanted.of("0000:04:00.0"));
        assert!(stop.requested());
        let limits = Err(Error::new(Kind::Limit, "9 of 10 packets were lost"));
        let told = stop.judge(limits).unwrap_err().downcast::<Error>().unwrap();
        assert_eq!(told.kind(), Kind::Gone);
        assert!(told.to_string().starts_with("0000:03:00.0: the card is gone: "), "{told}");
    }

    #[test]
    fn a_run_that_was_stopped_says_how_often() {
        let stop = Stop::default();
        assert_eq!(stop.stopped(), None);
        for said in ["continued once (", "continued 2 times ("] {
            stop.continued.come();
            assert!(stop.stopped().unwrap().contains(said));
        }
    }

    #[test]
    fn figures_are_printed_once_for_each_request() {
        let stop = Stop::default();
        stop.print.store(true, Ordering::Relaxed);
        assert!(stop.print_now());
        assert!(!stop.print_now());
    }
}
