//! The main thread of a run: it looks at the others now and then, until they have ended.

use super::session::Session;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a signal may wait for its answer.
const SLICE: Duration = Duration::from_millis(50);

/// Looks at a run, one each slice of time at least, until all threads have dropped their end
/// of a channel or time is up.
pub struct Looks<'r> {
    session: &'r Session,
    ended: &'r Receiver<()>,
    interval: Duration,
    deadline: Option<Instant>,
    /// When figures were due last.
    then: Instant,
    /// Whether no frame was left on any wire in the last look.
    played: bool,
}

/// What a look is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What is done each time.
    Slice,
    /// Figures as well: it is that long ago that they were due, or they were `asked` for.
    Figures { asked: bool, elapsed: Duration },
}

impl<'r> Looks<'r> {
    /// With figures once an `interval`, and whenever SIGUSR1 asks for them.
    pub fn new(session: &'r Session, ended: &'r Receiver<()>, interval: Duration) -> Self {
        Looks { session, ended, interval, deadline: None, then: Instant::now(), played: false }
    }

    /// The same, for no longer than that.
    pub fn at_most(self, duration: Option<Duration>) -> Self {
        Looks { deadline: duration.map(|duration| self.then + duration), ..self }
    }
}

impl Iterator for Looks<'_> {
    type Item = Look;

    fn next(&mut self) -> Option<Look> {
        let now = Instant::now();
        let left = self.deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(now));
        let nap = SLICE.min(left).min((self.then + self.interval).saturating_duration_since(now));
        if self.ended.recv_timeout(nap) != Err(RecvTimeoutError::Timeout) {
            return None;
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return None;
        }
        let stop = &self.session.stop;
        // What a card took of its wire last is in its rings a slice later at most.
        if std::mem::replace(&mut self.played, self.session.is_played_out()) {
            stop.run_dry();
        }
        let (asked, elapsed) = (stop.print_now(), now - self.then);
        if !asked && elapsed < self.interval {
            return Some(Look::Slice);
        }
        self.then = now;
        Some(Look::Figures { asked, elapsed })
    }
}
