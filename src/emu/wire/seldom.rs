//! Doing something now and then, from a place that is passed all the time.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How seldom: fast enough for a person or a link to notice.
const PERIOD: Duration = Duration::from_millis(5);

/// Looking at the clock has a price too; it is done once in so many calls.
const CALLS: u32 = 32;

/// True once in a while.
#[derive(Clone, Debug)]
pub(super) struct Seldom {
    calls: Cell<u32>,
    last: Cell<Instant>,
}

impl Seldom {
    pub(super) fn new() -> Self {
        Seldom { calls: Cell::new(0), last: Cell::new(Instant::now()) }
    }

    /// Whether it is time again.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        let calls = self.calls.get();
        self.calls.set(calls.wrapping_add(1));
        if !calls.is_multiple_of(CALLS) {
            return false;
        }
        let now = Instant::now();
        let due = now - self.last.get() >= PERIOD;
        if due {
            self.last.set(now);
        }
        due
    }
}
