//! The card's clock: nanoseconds since the emulation began, until firmware is told
//! to set, move or slow it.

use super::super::super::Picos;

/// A clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Nanoseconds at time `since`.
    base: u64,
    since: Picos,
    /// Parts in 10^9 that it is fast.
    ppb: i32,
}

impl Clock {
    /// What it shows at that time.
    pub fn time(&self, at: Picos) -> u64 {
        let gone = i128::from(at) - i128::from(self.since);
        let shown = gone + gone * i128::from(self.ppb) / 1_000_000_000;
        self.base.wrapping_add((shown / 1000) as u64)
    }

    /// Sets it.
    pub fn set(&mut self, time: u64, now: Picos) {
        (self.base, self.since) = (time, now);
    }

    /// Moves it.
    pub fn shift(&mut self, by: i64, now: Picos) {
        self.set(self.time(now).wrapping_add_signed(by), now);
    }

    /// Makes it fast by `ppb` parts in 10^9, or slow.
    pub fn tune(&mut self, ppb: i32, now: Picos) {
        self.set(self.time(now), now);
        self.ppb = ppb;
    }
}
