//! The clock that stamps completions, and how it is read.
//!
//! ```text
//!   a card can      queues are made with    stamps are
//!   free-running    0                       ticks of a frequency that it names
//!   real time       2                       seconds and nanoseconds
//!   both            0                       ticks
//! ```

use super::caps::general;
use super::clock::Clock;
use super::hw::Hw;
use super::regs;
use crate::dma::Timestamp;
use crate::driver::mailbox::Bits;
use crate::driver::ops::ClockReading;
use std::time::Duration;

/// A card that can nothing but real time.
const REAL_TIME_ONLY: u32 = 1;

/// The form of stamps that queues are made with (`ts_format`) on a card that can `cap`.
pub fn format(cap: u32) -> u64 {
    const FREE_RUNNING: u64 = 0;
    const REAL_TIME: u64 = 2;
    if cap == REAL_TIME_ONLY { REAL_TIME } else { FREE_RUNNING }
}

/// The clock of queues whose capability is `bits`, if it says what a stamp is.
pub fn clock(hw: &Hw, bits: Bits) -> Option<Clock> {
    match hw.caps.general(bits) {
        REAL_TIME_ONLY => Some(Clock::RealTime),
        _ => Clock::free_running(hw.caps.general(general::DEVICE_FREQUENCY_KHZ)),
    }
}

/// The time of `clock`, between two readings of another one.
pub fn read(hw: &Hw, clock: Clock, other: &mut dyn FnMut() -> u64) -> ClockReading {
    let (high, low) = match clock {
        Clock::Ticks(_) => (regs::INTERNAL_TIMER_H, regs::INTERNAL_TIMER_L),
        Clock::RealTime => (regs::REAL_TIME_H, regs::REAL_TIME_L),
    };
    let read = |register| hw.segment.read(register);
    let before = other();
    // The upper half may move on while the lower one is read.
    let (first, lower, second) = (read(high), read(low), read(high));
    let lower = if first == second { lower } else { read(low) };
    let after = other();
    let now = clock.nanoseconds(u64::from(second) << 32 | u64::from(lower));
    ClockReading { before, time: Timestamp(Duration::from_nanos(now)), after, step_ps: clock.step_ps() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_one_that_the_card_can() {
        assert_eq!([0, 1, 2].map(format), [0, 2, 0]);
    }
}
