//! Time: what a card's stamps mean in nanoseconds.
//!
//! ```text
//!   event, four times a second    seconds:32, upper 6 bits of the fraction
//!   before each frame             fraction:32, to which a correction is added
//!   after a sent frame            fraction:32, and seconds:16 or :32
//! ```
//!
//! A received frame has no seconds of its own: they are those of the last time
//! event, or of the second before or after if the fraction wrapped in between.
//! A frame that is too far from any has no time.

use super::ids::Generation;
use crate::dma::Timestamp;
use std::time::Duration;

/// How a fraction of a second is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// Nanoseconds.
    Nanoseconds,
    /// 2⁻²⁷ s.
    Fraction27,
    /// A quarter of a nanosecond.
    QuarterNanoseconds,
}

impl TimeFormat {
    /// By its number in the firmware's attributes.
    pub fn find(number: u64) -> Option<TimeFormat> {
        match number {
            0 => Some(TimeFormat::Nanoseconds),
            2 => Some(TimeFormat::Fraction27),
            3 => Some(TimeFormat::QuarterNanoseconds),
            _ => None,
        }
    }

    /// Units in a second.
    const fn second(self) -> i64 {
        match self {
            TimeFormat::Nanoseconds => 1_000_000_000,
            TimeFormat::Fraction27 => 1 << 27,
            TimeFormat::QuarterNanoseconds => 4_000_000_000,
        }
    }

    /// Whether a word says that there is no stamp.
    const fn absent(self, word: u32) -> bool {
        match self {
            TimeFormat::Fraction27 => word >> 31 != 0,
            TimeFormat::Nanoseconds | TimeFormat::QuarterNanoseconds => word == u32::MAX,
        }
    }

    /// Position of the upper six bits of a fraction, of which time events have only these.
    const fn sync_shift(self) -> u32 {
        match self {
            TimeFormat::Fraction27 => 21,
            TimeFormat::Nanoseconds => 24,
            TimeFormat::QuarterNanoseconds => 26,
        }
    }

    /// What a unit is, in picoseconds.
    pub const fn step_ps(self) -> u32 {
        (1_000_000_000_000 / self.second()) as u32
    }

    /// A whole time, as the controller tells it.
    pub fn time(self, seconds: u64, fraction: u64) -> Timestamp {
        let second = self.second() as u64;
        Timestamp(Duration::new(seconds + fraction / second, self.nanoseconds((fraction % second) as i64)))
    }

    const fn nanoseconds(self, fraction: i64) -> u32 {
        (match self {
            TimeFormat::Nanoseconds => fraction,
            TimeFormat::Fraction27 => (fraction * 1_000_000_000) >> 27,
            TimeFormat::QuarterNanoseconds => fraction >> 2,
        }) as u32
    }
}

/// Where the clock last was, and what to add to stamps: one word, to be kept
/// with each packet.
///
/// Seconds in bits 31:0, the fraction's upper six in 37:32, whether there is a
/// time at all in 38, the correction (signed) in 55:40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sync(pub u64);

impl Sync {
    const VALID: u64 = 1 << 38;

    /// No time yet; `correction` in the format's units.
    pub fn new(correction: i16) -> Self {
        Sync(u64::from(correction as u16) << 40)
    }

    /// After a time event: its seconds, bits 31:0, and fraction, bits 43:38.
    ///
    /// Bits 37:36 go on with the fraction, or say whether the host has set the clock,
    /// which makes no difference to a time since its start.
    #[must_use]
    pub fn at(self, event: u64) -> Self {
        self.last(event, event >> 38)
    }

    /// After the controller told the time.
    #[must_use]
    pub fn told(self, format: TimeFormat, seconds: u64, fraction: u64) -> Self {
        self.last(seconds, fraction >> format.sync_shift())
    }

    fn last(self, seconds: u64, sixty_fourth: u64) -> Self {
        Sync(self.0 & 0xffff << 40 | seconds & 0xffff_ffff | (sixty_fourth & 0x3f) << 32 | Self::VALID)
    }

    fn correction(self) -> i64 {
        i64::from((self.0 >> 40) as u16 as i16)
    }

    fn seconds(self) -> i64 {
        (self.0 & 0xffff_ffff) as i64
    }

    /// The time of a received frame with `word` before it.
    pub fn received(self, format: TimeFormat, word: u32) -> Option<Timestamp> {
        if self.0 & Self::VALID == 0 || format.absent(word) {
            return None;
        }
        let second = format.second();
        let fraction = (i64::from(word) + self.correction()).rem_euclid(second);
        let last = ((self.0 >> 32 & 0x3f) as i64) << format.sync_shift();
        // Events come every quarter of a second, late by at most a fifth of one.
        let since = (fraction - last).rem_euclid(second);
        let seconds = if since < second / 4 + second / 5 {
            self.seconds() + i64::from(fraction < last)
        } else if since > second - second / 10 {
            self.seconds() - i64::from(fraction > last)
        } else {
            return None;
        };
        stamp(format, seconds, fraction)
    }

    /// The time at which a sent frame left, of which its events tell `word` and
    /// `high`: 32 bits of seconds from the oldest generation, else 16 with flags
    /// above.
    pub fn sent(self, format: TimeFormat, generation: Generation, word: u32, high: u32) -> Option<Timestamp> {
        const INVALID: u32 = 1 << 31;
        let seconds = if generation == Generation::Huntington {
            i64::from(high)
        } else {
            if self.0 & Self::VALID == 0 || high & INVALID != 0 {
                return None;
            }
            let base = self.seconds() - 1;
            base + ((i64::from(high) - base) & 0xffff)
        };
        if format.absent(word) {
            return None;
        }
        let corrected = i64::from(word) + self.correction();
        let second = format.second();
        stamp(format, seconds + corrected.div_euclid(second), corrected.rem_euclid(second))
    }
}

fn stamp(format: TimeFormat, seconds: i64, fraction: i64) -> Option<Timestamp> {
    let seconds = u64::try_from(seconds).ok()?;
    Some(Timestamp(Duration::new(seconds, format.nanoseconds(fraction))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(seconds: u64, sixth: u64) -> u64 {
        0xc001_a000_0000_0000 | seconds | sixth << 38
    }

    fn at(seconds: u64, nanos: u32) -> Option<Timestamp> {
        Some(Timestamp(Duration::new(seconds, nanos)))
    }

    #[test]
    fn stamps_are_those_that_linux_shows() {
        // A sent frame's 2886941909 quarters with +400, and 53667040 27ths with +400.
        let quarters = Sync::new(400).at(event(10, 0));
        let sent = quarters.sent(TimeFormat::QuarterNanoseconds, Generation::Medford2, 2_886_941_909, 10);
        assert_eq!(sent, at(10, 721_735_577));
        let sevenths = Sync::new(400).at(event(10, 0));
        assert_eq!(sevenths.sent(TimeFormat::Fraction27, Generation::Medford, 53_667_040, 10), at(10, 399_853_587));
    }

    #[test]
    fn a_frame_belongs_to_the_second_of_the_last_event_or_its_neighbour() {
        let quarter = TimeFormat::QuarterNanoseconds;
        // The last event was late in second 100.
        let late = Sync::new(0).at(event(100, 58));
        let last = 58u32 << 26;
        assert_eq!(late.received(quarter, last + 4), at(100, last / 4 + 1));
        assert_eq!(late.received(quarter, 8), at(101, 2), "the fraction wrapped since");
        // Early in second 101: a frame from just before.
        let early = Sync::new(0).at(event(101, 1));
        assert_eq!(early.received(quarter, 3_999_999_996), at(100, 999_999_999));
        assert_eq!(early.received(quarter, 2_000_000_000), None, "half a second off belongs nowhere");
        assert_eq!(early.received(quarter, u32::MAX), None);
        assert_eq!(Sync::new(0).received(quarter, 8), None, "no event yet");
    }

    #[test]
    fn the_time_that_the_controller_tells_serves_until_the_first_event() {
        for (format, fraction) in [
            (TimeFormat::QuarterNanoseconds, 3_900_000_000),
            (TimeFormat::Fraction27, 130_000_000),
            (TimeFormat::Nanoseconds, 975_000_000),
        ] {
            let told = Sync::new(0).told(format, 41, fraction);
            let second = format.second() as u32;
            assert_eq!(told.received(format, fraction as u32), Some(format.time(41, fraction)));
            assert_eq!(
                told.received(format, second / 5),
                Some(format.time(42, u64::from(second / 5))),
                "the next second"
            );
            assert_eq!(told.received(format, second / 2), None, "too long ago");
            assert_eq!(format.time(41, format.second() as u64 + 8), format.time(42, 8));
        }
        assert_eq!(TimeFormat::QuarterNanoseconds.step_ps(), 250);
        assert_eq!(TimeFormat::Fraction27.step_ps(), 7450);
    }

    #[test]
    fn an_event_has_a_time_whatever_the_bits_below_its_fraction() {
        for low in 0..4 {
            let sync = Sync::new(0).at(event(9, 14) | low << 36);
            assert_eq!(sync.received(TimeFormat::QuarterNanoseconds, 1_000_000_000), at(9, 250_000_000));
        }
    }

    #[test]
    fn a_correction_may_carry_into_the_next_second_or_the_last() {
        let quarter = TimeFormat::QuarterNanoseconds;
        let sync = Sync::new(-48).at(event(7, 0));
        assert_eq!(sync.received(quarter, 40), at(6, 999_999_998));
        assert_eq!(sync.received(quarter, 48), at(7, 0));
        // More than a second's worth, as some firmware reports.
        assert_eq!(Sync::new(0).at(event(7, 59)).received(quarter, 4_000_000_008), at(8, 2));
    }

    #[test]
    fn sixteen_bits_of_seconds_are_those_around_the_last_event() {
        let sync = Sync::new(0).at(event(0x1_0000, 0));
        let sent = |high| sync.sent(TimeFormat::Fraction27, Generation::Medford, 0, high);
        assert_eq!(sent(0xffff), at(0xffff, 0));
        assert_eq!(sent(0x0000), at(0x1_0000, 0));
        assert_eq!(sent(0x0001), at(0x1_0001, 0));
        assert_eq!(sent(1 << 31), None);
    }

    proptest! {
        #[test]
        fn a_frame_gets_its_second_wherever_in_it_the_last_event_was(
            which in 0usize..3,
            seconds in prop_oneof![1u64..1 << 31, Just(65_535), Just(65_536)],
            sixth in 0i64..64,
            after in 0i64..1 << 20,
            before in 1i64..1 << 20,
        ) {
            let formats = [TimeFormat::Nanoseconds, TimeFormat::Fraction27, TimeFormat::QuarterNanoseconds];
            let format = formats[which];
            let second = format.second();
            // Of a second that is no power of two the last ones are not there.
            let last = sixth << format.sync_shift();
            prop_assume!(last < second);
            let sync = Sync::new(0).at(event(seconds, sixth as u64));
            let at = seconds as i64 * second + last;
            for offset in [(after * (second * 9 / 20)) >> 20, -((before * (second / 10)) >> 20)] {
                let time = at + offset;
                let (whole, fraction) = (time.div_euclid(second), time.rem_euclid(second));
                let stamped = sync.received(format, fraction as u32);
                prop_assert_eq!(stamped, Some(format.time(whole as u64, fraction as u64)), "{}", offset);
                // A sent frame tells 16 bits of its second.
                let high = whole as u32 & 0xffff;
                let sent = sync.sent(format, Generation::Medford2, fraction as u32, high);
                prop_assert_eq!(sent, Some(format.time(whole as u64, fraction as u64)));
            }
        }
    }
}
