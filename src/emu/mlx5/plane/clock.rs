//! The card's clocks: one that runs free, one that tells the time of day.

use super::super::super::{Board, Picos};

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Ticks of the free-running one in a millisecond.
    khz: u32,
    /// What it shows when the emulation begins.
    ticks: u64,
    /// What the other one showed at `since`, in nanoseconds.
    base: u64,
    since: Picos,
    /// Parts in 10^9 that it is fast.
    ppb: i32,
}

/// Stamps have so many bits: the highest is always 0.
const MASK: u64 = u64::MAX >> 1;

impl Clock {
    /// Clocks that were never set. The lower half of the free-running one soon wraps
    /// (nasty).
    pub(super) fn new(khz: u32, board: &mut Board) -> Self {
        let late = board.random.below(1 << 22);
        let ticks = if board.nasty { (1 << 32) - late } else { 0 };
        Clock { khz, ticks, base: 0, since: board.now, ppb: 0 }
    }

    /// What the free-running one shows at that time.
    pub fn ticks(&self, at: Picos) -> u64 {
        let gone = u128::from(at) * u128::from(self.khz) / 1_000_000_000;
        self.ticks.wrapping_add(gone as u64) & MASK
    }

    /// The time of day at that time, in nanoseconds.
    pub fn time(&self, at: Picos) -> u64 {
        let gone = i128::from(at) - i128::from(self.since);
        let shown = gone + gone * i128::from(self.ppb) / 1_000_000_000;
        self.base.wrapping_add((shown / 1000) as u64)
    }

    /// The same as registers and stamps tell it: seconds, and nanoseconds.
    pub fn real(&self, at: Picos) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        let time = self.time(at);
        ((time / SECOND) << 32) | (time % SECOND)
    }

    /// Sets the time of day.
    pub fn set(&mut self, time: u64, now: Picos) {
        (self.base, self.since) = (time, now);
    }

    /// Makes it fast by `ppb` parts in 10^9, or slow.
    pub fn tune(&mut self, ppb: i32, now: Picos) {
        self.set(self.time(now), now);
        self.ppb = ppb;
    }
}
