//! What all settings come to: a thread that only reads the clock, and where it was stopped.

use super::cpus::Cpus;
use super::{Check, State};
use crate::measure::Clock;
use crate::measure::machine::Hiccups;
use crate::sys;
use std::thread;
use std::time::Duration;

/// Lower bounds of the histogram's rows, us. A row ends where the next one begins.
pub const BOUNDS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// Gaps by length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jitter {
    /// The processor that was watched, if the thread could be kept on one.
    pub cpu: Option<usize>,
    /// All gaps.
    pub hiccups: Hiccups,
    /// Gaps in each row of [`BOUNDS`].
    pub rows: [u64; BOUNDS.len()],
}

/// How often it is asked whether to go on.
const SLICE: Duration = Duration::from_millis(50);

/// Share of the time in gaps, and the longest gap, that a machine for packets may have.
const SHARE: f64 = 0.0005;
const WORST_NS: u64 = 100_000;

/// Watches one of `quiet`, or any processor if this process may use none of them, for `time`
/// or as long as `goes_on`.
pub fn watch(quiet: &Cpus, time: Duration, goes_on: &(dyn Fn() -> bool + Sync)) -> Jitter {
    let may = sys::affinity().unwrap_or_default();
    let place = quiet.iter().find(|cpu| may.contains(cpu)).or_else(|| may.last().copied());
    let thread = || {
        let cpu = place.filter(|&cpu| sys::set_affinity(&[cpu]).is_ok());
        let mut jitter = Jitter { cpu, ..Jitter::default() };
        let clock = Clock::new();
        let mut left = time;
        while !left.is_zero() && goes_on() {
            let slice = left.min(SLICE);
            left -= slice;
            let rows = &mut jitter.rows;
            let seen = Hiccups::watch_each(&clock, slice, |ns| rows[row(ns)] += 1);
            jitter.hiccups.add(&seen);
        }
        jitter
    };
    // A thread of its own, as where it runs must not change where others do.
    // Where it cannot be had, nothing was watched, and that is said.
    thread::scope(|scope| thread::Builder::new().spawn_scoped(scope, thread).ok()?.join().ok()).unwrap_or_default()
}

/// The row that a gap belongs in.
fn row(ns: u64) -> usize {
    BOUNDS.iter().rposition(|&bound| ns >= bound * 1_000).unwrap_or(0)
}

impl Jitter {
    /// As one more check.
    pub fn check(&self) -> Check {
        const WHY: &str = "what stops a thread that only reads the clock stops one that moves packets, and they wait";
        let hiccups = &self.hiccups;
        if hiccups.watched_ns == 0 {
            return Check::new("jitter", State::Unknown, "not watched", WHY);
        }
        let place = self.cpu.map_or(String::new(), |cpu| format!(" on {cpu}"));
        let found = format!(
            "{} gaps over 1 us in {:.1} s{place}, worst {:.0} us, {:.3} % of the time",
            hiccups.above_1us,
            hiccups.watched_ns as f64 / 1e9,
            hiccups.worst_ns as f64 / 1e3,
            hiccups.share() * 100.0
        );
        let calm = hiccups.worst_ns <= WORST_NS && hiccups.share() <= SHARE;
        let state = if calm { State::Ok } else { State::Slow };
        Check::new("jitter", state, found, WHY).fix("what is slow above; then the host, or the firmware (SMI)")
    }

    /// The histogram: a line for each row between the first and the last that has gaps, with
    /// bars whose lengths go by the logarithm, for `columns`. Nothing without gaps.
    pub fn lines(&self, columns: usize) -> Vec<String> {
        let used = |rows: &[u64]| Some((rows.iter().position(|&n| n > 0)?, rows.iter().rposition(|&n| n > 0)?));
        let Some((first, last)) = used(&self.rows) else { return Vec::new() };
        let most = self.rows.iter().max().copied().unwrap_or(0);
        let room = columns.saturating_sub(36).clamp(8, 60);
        let length = |n: u64| ((n as f64 + 1.0).ln() / (most as f64 + 1.0).ln() * room as f64).ceil() as usize;
        let line = |row: usize| {
            let end = BOUNDS.get(row + 1).map_or("and more".into(), |end| format!("- {end:>6} us"));
            format!("  {:>6} {end:<11} {:>9}  {}", BOUNDS[row], self.rows[row], "#".repeat(length(self.rows[row])))
        };
        (first..=last).map(|row| line(row).trim_end().to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_in_the_row_that_begins_below_it() {
        for (ns, bound) in
            [(0, 1), (1_000, 1), (1_999, 1), (2_000, 2), (99_999, 50), (10_000_000, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(BOUNDS[row(ns)], bound, "{ns}");
        }
    }

    #[test]
    fn every_gap_is_in_a_row_and_a_run_that_is_stopped_has_watched_no_longer() {
        let jitter = watch(&Cpus::default(), Duration::from_millis(120), &|| true);
        assert_eq!(jitter.rows.iter().sum::<u64>(), jitter.hiccups.above_1us);
        assert!(jitter.hiccups.watched_ns >= 119_000_000, "{jitter:?}");
        assert_eq!(watch(&Cpus::default(), Duration::from_secs(9), &|| false).hiccups.watched_ns, 0);
    }

    #[test]
    fn a_picture_fits_its_columns_and_ends_with_the_last_gap() {
        let mut jitter = Jitter::default();
        assert_eq!(jitter.lines(80), [""; 0]);
        (jitter.rows[0], jitter.rows[3], jitter.rows[12]) = (1_000_000, 40, 1);
        for columns in [40, 80, 200] {
            let lines = jitter.lines(columns);
            assert_eq!(lines.len(), BOUNDS.len());
            assert!(lines.iter().all(|line| line.len() <= columns.max(44)), "{lines:?}");
            let bar = |n: usize| lines[n].matches('#').count();
            assert!(bar(0) > bar(3) && bar(3) > bar(12) && bar(12) > 0 && bar(1) == 0, "{lines:?}");
        }
    }

    #[test]
    fn a_machine_is_calm_by_its_worst_gap_and_by_the_share() {
        let of = |worst_ns, total_ns| {
            let hiccups = Hiccups { watched_ns: 1_000_000_000, worst_ns, total_ns, above_1us: 1, ..Hiccups::default() };
            Jitter { hiccups, ..Jitter::default() }.check().state
        };
        assert_eq!([of(5_000, 5_000), of(100_001, 100_001), of(5_000, 900_000)], [State::Ok, State::Slow, State::Slow]);
        assert_eq!(Jitter::default().check().state, State::Unknown);
    }
}
