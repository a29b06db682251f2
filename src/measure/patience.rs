//! A deadline that only runs while somebody is looking.
//!
//! A poll loop that gives a device a second means a second of looking. If the loop's
//! thread was put aside for most of that second, the thread that plays the device
//! perhaps was too, and nothing was seen of either. So between two looks at most a
//! millisecond counts.

use super::{Clock, Ticks};
use std::time::Duration;

/// Time left to wait for something.
#[derive(Clone, Debug)]
pub struct Patience {
    left: Ticks,
    /// Most that counts between two looks.
    look: Ticks,
    last: Option<Ticks>,
}

impl Patience {
    /// Patience for `time` of looking, from the first look on.
    pub fn new(clock: &Clock, time: Duration) -> Self {
        Patience { left: clock.ticks(time), look: clock.ticks(Duration::from_millis(1)), last: None }
    }

    /// A look at `now` that found nothing; true if the time is up.
    #[inline]
    pub fn is_over(&mut self, now: Ticks) -> bool {
        let since = self.last.replace(now).map_or(0, |last| now.saturating_sub(last));
        self.left = self.left.saturating_sub(since.min(self.look));
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_that_was_looked_at_counts() {
        let clock = Clock::new();
        let millisecond = clock.ticks(Duration::from_millis(1));
        let mut patience = Patience::new(&clock, Duration::from_millis(3));
        assert!(!patience.is_over(1_000));
        // An hour aside is one look.
        let later = clock.ticks(Duration::from_secs(3_600));
        assert!(!patience.is_over(later));
        assert!(!patience.is_over(later + millisecond));
        // Ticks of three milliseconds may be a few more than three times those of one.
        patience.is_over(later + 2 * millisecond);
        assert!(patience.is_over(later + 3 * millisecond));
        assert!(Patience::new(&clock, Duration::ZERO).is_over(0));
    }
}
