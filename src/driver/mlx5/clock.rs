//! A card's clock: what a stamp is in nanoseconds.
//!
//! ```text
//!   free-running   [ 0 | ticks:63 ]                     of a frequency that the card names
//!   real time      [ seconds:32 | nanoseconds:32 ]
//! ```
//!
//! Stamps are in the unit that the queue was made for (`ts_format`), and are whole: no
//! time has to be known to read them.

/// What stamps count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Ticks; the nanoseconds of one, as a fraction of `1 << SHIFT`.
    Ticks(u64),
    /// Seconds, and nanoseconds in a second.
    RealTime,
}

/// The fraction of a nanosecond that the length of a tick is known to.
const SHIFT: u32 = 53;

impl Clock {
    /// One that ticks with `khz` (`device_frequency_khz`). None if that says nothing: 0,
    /// as some firmware has it, or less than any card has.
    pub fn free_running(khz: u32) -> Option<Self> {
        const SLOWEST: u32 = 1_000;
        (khz >= SLOWEST).then(|| Clock::Ticks(((1_000_000 << SHIFT) / u128::from(khz)) as u64))
    }

    /// Nanoseconds of `stamp`, or of the registers of the clock itself.
    #[inline(always)]
    pub fn nanoseconds(self, stamp: u64) -> u64 {
        match self {
            Clock::Ticks(length) => ((u128::from(stamp) * u128::from(length)) >> SHIFT) as u64,
            Clock::RealTime => (stamp >> 32) * 1_000_000_000 + (stamp & 0xffff_ffff),
        }
    }

    /// Picoseconds of a step of it.
    pub fn step_ps(self) -> u32 {
        match self {
            Clock::Ticks(length) => ((u128::from(length) * 1000) >> SHIFT) as u32,
            Clock::RealTime => 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds_for_years_on_end() {
        // ConnectX-4 Lx.
        let clock = Clock::free_running(275_000).unwrap();
        assert_eq!(clock.nanoseconds(0), 0);
        assert!(clock.nanoseconds(275).abs_diff(1000) <= 1);
        let year: u64 = 365 * 86_400 * 1_000_000_000;
        assert!(clock.nanoseconds(year / 1000 * 275).abs_diff(year) < 100);
        assert_eq!(clock.step_ps(), 3636);
        // A gigahertz is exact.
        assert_eq!(Clock::free_running(1_000_000).unwrap().nanoseconds(i64::MAX as u64), i64::MAX as u64);
        // Nothing that a card writes is too much.
        let _ = Clock::free_running(1000).unwrap().nanoseconds(u64::MAX);
    }

    #[test]
    fn a_frequency_that_says_nothing_is_no_clock() {
        assert_eq!([0, 1, 999].map(Clock::free_running), [None; 3]);
        assert!(Clock::free_running(u32::MAX).is_some());
    }

    #[test]
    fn real_time_is_seconds_and_nanoseconds() {
        assert_eq!(Clock::RealTime.nanoseconds(5 << 32 | 999_999_999), 5_999_999_999);
        assert_eq!(Clock::RealTime.nanoseconds(u64::MAX), u64::from(u32::MAX) * 1_000_000_001);
        assert_eq!(Clock::RealTime.step_ps(), 1000);
    }
}
