//! Time from the processor's own counter.
//!
//! ```text
//!   ticks ──rate──> ns               durations: rate against CLOCK_MONOTONIC_RAW
//!     |
//!     +──anchor, rate, slew──> wall  time of day: pulled towards CLOCK_REALTIME
//! ```
//!
//! Reading the counter costs some 10 ns and no system call. What a tick is worth
//! is found by reading both clocks twice, half a millisecond apart: enough for
//! 100 ppm at once, and every later [`Clock::refine`] measures over the whole time
//! since the start, so the error falls with its length. Refining never sets time of
//! day back: what it is off is made up over the following second.
//!
//! The counter is used only if the processor says that it ticks at one rate in
//! all power states (x86: invariant TSC; aarch64: always so). Otherwise, and if
//! it does not agree with the kernel's clock, a tick is a nanosecond of
//! `clock_gettime`.

#![allow(unsafe_code)]

use crate::sys;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A reading of the counter, or a difference of two.
pub type Ticks = u64;

/// How far apart the first two readings are.
const FIRST_BASELINE_NS: u64 = 500_000;
/// How long time of day takes to make up an error.
const SLEW_NS: u64 = 1_000_000_000;
/// Errors larger than this are someone setting the clock: followed at once.
const STEP_NS: u64 = 10_000_000;
/// Bits of fraction in a rate.
const FRACTION: u32 = 32;

/// A calibrated counter. Cheap to copy: each thread has its own, and they agree.
#[derive(Clone, Debug)]
pub struct Clock {
    counter: Counter,
    /// Nanoseconds a tick, 32.32.
    rate: u64,
    /// First reading of all: the far end of every baseline.
    origin: Anchor,
    /// Time of day is told from here on...
    base: Anchor,
    /// ...with this much added over the first [`SLEW_NS`]: parts of 2^-32.
    slew: i64,
    /// What [`Counter::Virtual`] reads.
    hand: Option<Arc<AtomicU64>>,
}

/// Where ticks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// The time-stamp counter (x86) or the virtual counter (aarch64).
    Hardware,
    /// `clock_gettime`, where the processor's counter cannot be trusted.
    Kernel,
    /// A number that the caller moves, a nanosecond a tick ([`Clock::by_hand`]).
    Virtual,
}

/// The same moment on three clocks.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    ticks: Ticks,
    monotonic: u64,
    wall: u64,
}

impl Clock {
    /// Calibrates; takes about half a millisecond.
    #[allow(clippy::new_without_default, reason = "half a millisecond of spinning should be asked for by name")]
    pub fn new() -> Self {
        if hardware_counter_is_steady() {
            let clock = Self::calibrate(Counter::Hardware);
            // 1 MHz to 20 GHz: all that exists. Outside it the two clocks contradict each other.
            if (1e6..2e10).contains(&clock.ticks_per_second()) {
                return clock;
            }
        }
        Self::calibrate(Counter::Kernel)
    }

    /// A clock that stands still unless somebody moves `nanoseconds`: for a
    /// measurement in virtual time, which comes out the same on every machine.
    pub fn by_hand(nanoseconds: Arc<AtomicU64>) -> Self {
        let now = nanoseconds.load(Ordering::Relaxed);
        let origin = Anchor { ticks: now, monotonic: now, wall: now };
        let (counter, hand) = (Counter::Virtual, Some(nanoseconds));
        Clock { counter, rate: 1 << FRACTION, origin, base: origin, slew: 0, hand }
    }

    fn calibrate(counter: Counter) -> Self {
        let origin = Anchor::take(counter);
        let mut clock = Clock { counter, rate: 1 << FRACTION, origin, base: origin, slew: 0, hand: None };
        if counter == Counter::Hardware {
            while sys::monotonic_raw_ns() - origin.monotonic < FIRST_BASELINE_NS {
                std::hint::spin_loop();
            }
            clock.rate = rate_between(&origin, &Anchor::take(counter)).unwrap_or(0);
        }
        clock
    }

    /// Where ticks come from.
    pub fn counter(&self) -> Counter {
        self.counter
    }

    /// The counter now. The processor may read it before earlier instructions
    /// are done: right for schedules and loops, [`Clock::now_ordered`] for the
    /// two ends of a measurement.
    #[inline]
    pub fn now(&self) -> Ticks {
        match self.counter {
            Counter::Hardware => counter(),
            Counter::Kernel => sys::monotonic_raw_ns(),
            Counter::Virtual => self.hand(),
        }
    }

    /// The counter after everything before it has been done (loads have their
    /// value) and before anything after it begins.
    #[inline]
    pub fn now_ordered(&self) -> Ticks {
        match self.counter {
            Counter::Hardware => counter_ordered(),
            Counter::Kernel => sys::monotonic_raw_ns(),
            Counter::Virtual => self.hand(),
        }
    }

    /// Spins on the counter, and on nothing else, until it says `until`: the reading before
    /// that, if there was one, and the reading then.
    #[inline]
    pub fn spin(&self, until: Ticks) -> (Option<Ticks>, Ticks) {
        match self.counter {
            Counter::Hardware => spin(until, counter),
            Counter::Kernel => spin(until, sys::monotonic_raw_ns),
            Counter::Virtual => spin(until, || self.hand()),
        }
    }

    #[cold]
    fn hand(&self) -> Ticks {
        self.hand.as_ref().map_or(0, |hand| hand.load(Ordering::Relaxed))
    }

    /// Ticks in a second, as well as is known.
    pub fn ticks_per_second(&self) -> f64 {
        1e9 * (1u64 << FRACTION) as f64 / self.rate as f64
    }

    /// A difference of readings in nanoseconds.
    #[inline]
    pub fn ns(&self, ticks: Ticks) -> u64 {
        ((u128::from(ticks) * u128::from(self.rate)) >> FRACTION) as u64
    }

    /// Ticks in `duration`, rounded down; as many as there are if it is too long.
    pub fn ticks(&self, duration: Duration) -> Ticks {
        let ns = duration.as_nanos().min(u128::from(u64::MAX));
        ((ns << FRACTION) / u128::from(self.rate.max(1))).try_into().unwrap_or(Ticks::MAX)
    }

    /// A reading as nanoseconds since 1970 (UTC). Never steps back from one
    /// reading to a later one, refined in between or not, unless someone sets
    /// the system's clock.
    #[inline]
    pub fn wall_ns(&self, ticks: Ticks) -> u64 {
        let past = self.base.ticks.saturating_sub(ticks);
        if past > 0 {
            return self.base.wall.saturating_sub(self.ns(past));
        }
        let elapsed = self.ns(ticks - self.base.ticks);
        let slew = (i128::from(self.slew) * i128::from(elapsed.min(SLEW_NS))) >> FRACTION;
        self.base.wall.saturating_add(elapsed).saturating_add_signed(slew as i64)
    }

    /// A reading as time of day.
    pub fn wall(&self, ticks: Ticks) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.wall_ns(ticks))
    }

    /// Measures the rate again, over all the time since the clock was made, and
    /// pulls time of day towards the system's. For a slow path: once a second
    /// is plenty. Takes a few microseconds.
    pub fn refine(&mut self) {
        // Virtual time is exact, and has no other clock beside it.
        if self.counter != Counter::Virtual {
            self.refine_with(Anchor::take(self.counter));
        }
    }

    fn refine_with(&mut self, anchor: Anchor) {
        let told = self.wall_ns(anchor.ticks);
        if self.counter == Counter::Hardware
            && let Some(rate) = rate_between(&self.origin, &anchor)
        {
            self.rate = rate;
        }
        let off = anchor.wall as i64 - told as i64;
        if off.unsigned_abs() > STEP_NS {
            self.base = anchor;
            self.slew = 0;
        } else {
            self.base = Anchor { wall: told, ..anchor };
            self.slew = (i128::from(off) << FRACTION).div_euclid(i128::from(SLEW_NS)) as i64;
        }
    }
}

impl Anchor {
    /// Reads the three clocks as close together as can be had: the tightest of
    /// several tries, because the thread may be put aside between two readings.
    fn take(counter: Counter) -> Self {
        let read = || match counter {
            Counter::Hardware => counter_ordered(),
            Counter::Kernel | Counter::Virtual => sys::monotonic_raw_ns(),
        };
        let attempt = || {
            let before = read();
            let (monotonic, wall) = (sys::monotonic_raw_ns(), sys::realtime_ns());
            let width = read().saturating_sub(before);
            (width, Anchor { ticks: before + width / 2, monotonic, wall })
        };
        let mut best = attempt();
        for _ in 0..15 {
            let next = attempt();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }
}

#[inline]
fn spin(until: Ticks, read: impl Fn() -> Ticks) -> (Option<Ticks>, Ticks) {
    let (mut before, mut now) = (None, read());
    while now < until {
        (before, now) = (Some(now), read());
    }
    (before, now)
}

/// Nanoseconds a tick (32.32) between two moments, if they are two.
fn rate_between(from: &Anchor, to: &Anchor) -> Option<u64> {
    let ticks = to.ticks.checked_sub(from.ticks).filter(|&t| t > 0)?;
    let ns = to.monotonic.checked_sub(from.monotonic).filter(|&ns| ns > 0)?;
    ((u128::from(ns) << FRACTION) / u128::from(ticks)).try_into().ok()
}

/// Whether the counter runs at one rate in all power states (AMD64 APM 3,
/// CPUID Fn8000_0007 EDX bit 8: TscInvariant; the same bit in Intel SDM 3, 19.17.1).
#[cfg(target_arch = "x86_64")]
fn hardware_counter_is_steady() -> bool {
    use std::arch::x86_64::__cpuid;
    const POWER: u32 = 0x8000_0007;
    __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & 1 << 8 != 0
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> Ticks {
    // SAFETY: every x86-64 processor has RDTSC, and Linux lets programs use it
    // unless they ask it not to (prctl PR_SET_TSC).
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter_ordered() -> Ticks {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: LFENCE is SSE2, part of x86-64; RDTSC as above.
    unsafe {
        _mm_lfence();
        let ticks = _rdtsc();
        _mm_lfence();
        ticks
    }
}

/// The architected counter of aarch64 has one rate by definition (Arm ARM D12.1).
#[cfg(target_arch = "aarch64")]
fn hardware_counter_is_steady() -> bool {
    true
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn counter() -> Ticks {
    let ticks: u64;
    // SAFETY: reads a system register that Linux opens to programs; no memory.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn counter_ordered() -> Ticks {
    let ticks: u64;
    // SAFETY: as in counter; ISB has no operands. Memory is not marked untouched,
    // so that the compiler moves no access across.
    unsafe { std::arch::asm!("isb", "mrs {}, cntvct_el0", "isb", out(reg) ticks, options(nostack, preserves_flags)) };
    ticks
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn hardware_counter_is_steady() -> bool {
    false
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> Ticks {
    sys::monotonic_raw_ns()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter_ordered() -> Ticks {
    sys::monotonic_raw_ns()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A clock at `ns_per_tick` that began at tick 0 and wall time `wall`.
    fn made_up(ns_per_tick: f64, wall: u64) -> Clock {
        let origin = Anchor { ticks: 0, monotonic: 0, wall };
        let rate = (ns_per_tick * (1u64 << FRACTION) as f64) as u64;
        Clock { counter: Counter::Hardware, rate, origin, base: origin, slew: 0, hand: None }
    }

    #[test]
    fn readings_never_go_back_and_durations_agree_with_the_system() {
        let clock = Clock::new();
        let outer = Instant::now();
        let first = clock.now_ordered();
        let inner = Instant::now();
        let mut last = first;
        while inner.elapsed() < Duration::from_millis(20) {
            let now = clock.now_ordered();
            assert!(now >= last);
            last = now;
        }
        let inner = inner.elapsed().as_nanos() as f64;
        let ours = clock.ns(clock.now_ordered() - first) as f64;
        let outer = outer.elapsed().as_nanos() as f64;
        // Whatever interrupts the thread, our reading lies between the two; the
        // kernel's clock may run 500 ppm off its hardware, and a rate that was
        // measured on a busy machine is a little off.
        assert!(inner * 0.99 <= ours && ours <= outer * 1.01, "{inner} {ours} {outer}");
    }

    #[test]
    fn the_kernels_clock_serves_where_there_is_no_counter() {
        let mut clock = Clock::calibrate(Counter::Kernel);
        assert_eq!(clock.ns(clock.ticks(Duration::from_secs(3))), 3_000_000_000);
        assert_eq!(clock.ticks_per_second(), 1e9);
        let before = clock.now();
        clock.refine();
        assert_eq!(clock.rate, 1 << FRACTION);
        assert!(clock.now_ordered() >= before);
    }

    #[test]
    fn spinning_ends_at_the_first_reading_that_is_not_before_the_moment() {
        let clock = Clock::new();
        let until = clock.now() + clock.ticks(Duration::from_micros(300));
        let (before, now) = clock.spin(until);
        assert!(before.is_none_or(|before| before < until) && until <= now);
        assert_eq!(clock.spin(until).0, None, "it has passed");
        let still = Clock::by_hand(Arc::new(AtomicU64::new(7)));
        assert_eq!(still.spin(7), (None, 7));
    }

    #[test]
    fn a_clock_moved_by_hand_stands_still_otherwise() {
        let hand = Arc::new(AtomicU64::new(7));
        let mut clock = Clock::by_hand(Arc::clone(&hand));
        assert_eq!((clock.now(), clock.now_ordered()), (7, 7));
        hand.store(1_000_000_007, Ordering::Relaxed);
        clock.refine();
        assert_eq!((clock.now(), clock.ns(clock.now() - 7)), (1_000_000_007, 1_000_000_000));
        assert_eq!(clock.ticks_per_second(), 1e9);
    }

    #[test]
    fn wall_time_is_the_systems() {
        let clock = Clock::new();
        let before = SystemTime::now();
        let ours = clock.wall(clock.now());
        let after = SystemTime::now();
        let off = Duration::from_millis(500);
        assert!(before - off < ours && ours < after + off, "{before:?} {ours:?} {after:?}");
        assert!(clock.wall_ns(0) <= clock.wall_ns(clock.now()), "readings before the clock was made");
    }

    #[test]
    fn ns_and_ticks_invert_each_other_up_to_the_ends() {
        let clock = made_up(0.4, 0);
        for ns in [0, 1, 999, 86_400_000_000_000] {
            let there_and_back = clock.ns(clock.ticks(Duration::from_nanos(ns)));
            assert!(ns.abs_diff(there_and_back) <= 1, "{ns} became {there_and_back}");
        }
        assert_eq!(clock.ticks(Duration::MAX), Ticks::MAX);
        assert!(clock.ns(Ticks::MAX) > 7_000_000_000_000_000_000);
    }

    #[test]
    fn refining_corrects_the_rate_and_never_turns_wall_time_back() {
        // Thought to be 0.4 ns a tick, in truth 0.39998: wall time runs 50 ppm fast.
        let mut clock = made_up(0.4, 1_000_000_000_000);
        let truth = |ticks: u64| (ticks as f64 * 0.39998) as u64;
        let mut last = 0;
        for second in 1..=5u64 {
            let ticks = second * 2_500_000_000;
            for step in 0..100 {
                let wall = clock.wall_ns(ticks - 2_500_000_000 + step * 25_000_000);
                assert!(wall > last);
                last = wall;
            }
            let monotonic = truth(ticks);
            clock.refine_with(Anchor { ticks, monotonic, wall: 1_000_000_000_000 + monotonic });
            assert!(clock.wall_ns(ticks) > last);
        }
        assert!((clock.ticks_per_second() / (1e9 / 0.39998) - 1.0).abs() < 1e-8);
        let later = 20 * 2_500_000_000;
        assert!(clock.wall_ns(later).abs_diff(1_000_000_000_000 + truth(later)) < 1_000);
    }

    #[test]
    fn a_system_clock_that_was_set_is_followed_at_once() {
        let mut clock = made_up(1.0, 5_000_000_000);
        clock.refine_with(Anchor { ticks: 1_000_000, monotonic: 1_000_000, wall: 9_000_000_000 });
        assert_eq!(clock.wall_ns(1_000_000), 9_000_000_000);
    }
}
