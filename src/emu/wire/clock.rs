//! Time on a wire, exact to a part of a picosecond.

use super::Picos;

/// Fraction bits of a picosecond.
const FRACTION: u32 = 16;

/// Slowest line rate: below it a jumbo frame's time would not fit the arithmetic.
pub const MIN_SPEED: u64 = 1_000_000;

/// Line rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// Bits a second.
    Bits(u64),
    /// As fast as the machine can: frames take no time.
    Max,
}

/// A length of time, in 2^16th parts of a picosecond; at most four minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span(u64);

impl Span {
    /// The time between events of which `rate` happen in a second.
    pub(super) fn between(rate: u64) -> Self {
        let span = (1_000_000_000_000_u128 << FRACTION) / u128::from(rate.max(1));
        Span(span as u64)
    }

    /// Whole times that it fits in `time`.
    pub(super) fn fits(self, time: Picos) -> u64 {
        ((u128::from(time) << FRACTION) / u128::from(self.0.max(1))) as u64
    }

    /// So many times as long.
    pub(super) fn times(self, count: u64) -> Self {
        Span(self.0.saturating_mul(count))
    }
}

/// The time that a byte takes, rounded up: a wire may be slower than its line
/// rate by less than one in 10^6, never faster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByteTime(u64);

impl ByteTime {
    pub(super) fn new(speed: Speed) -> Self {
        match speed {
            // 8 bits; 128 bits wide because 8e12 << 16 does not fit 64.
            Speed::Bits(bits) => {
                let time = (8_000_000_000_000_u128 << FRACTION).div_ceil(u128::from(bits.max(MIN_SPEED)));
                ByteTime(time as u64)
            }
            Speed::Max => ByteTime(0),
        }
    }

    /// The time of so many bytes.
    #[inline]
    pub(super) fn of(self, bytes: usize) -> Span {
        Span(self.0 * bytes as u64)
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Clock {
    picos: Picos,
    fraction: u64,
}

impl Clock {
    #[inline]
    pub(super) fn picos(self) -> Picos {
        self.picos
    }

    #[inline]
    pub(super) fn later(self, span: Span) -> Clock {
        let time = span.0 + self.fraction;
        Clock { picos: self.picos + (time >> FRACTION), fraction: time & ((1 << FRACTION) - 1) }
    }

    #[inline]
    pub(super) fn not_before(self, picos: Picos) -> Clock {
        self.max(Clock { picos, fraction: 0 })
    }
}
