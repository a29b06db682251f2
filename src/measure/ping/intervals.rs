//! Samples by intervals of time, for a log that is written while the run goes on.
//!
//! ```text
//!   measuring thread   |--- full histogram --->|   thread that writes the log
//!                      |<-- empty one ---------|
//! ```
//!
//! Neither waits for the other: where the writer is behind and no empty histogram is left,
//! the interval becomes longer, and says so by its end.

use crate::measure::{Clock, Histogram, Ticks};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Histograms that are on their way at once.
const SPARE: usize = 3;

/// The samples of an interval.
#[derive(Debug)]
pub struct Interval {
    /// Nanoseconds.
    pub histogram: Histogram,
    /// When it began.
    pub start: Ticks,
    /// When it ended.
    pub end: Ticks,
}

/// The writer's side.
#[derive(Debug)]
pub struct Written {
    full: Receiver<Interval>,
    spare: SyncSender<Histogram>,
}

impl Written {
    /// The next interval that is over; `None` when the run is.
    pub fn next(&self) -> Option<Interval> {
        self.full.recv().ok()
    }

    /// Gives the histogram of one that was written back.
    pub fn give_back(&self, mut histogram: Histogram) {
        histogram.clear();
        // At the end of the run nobody wants it.
        let _ = self.spare.try_send(histogram);
    }
}

/// The measuring thread's side.
#[derive(Debug)]
pub struct Intervals {
    histogram: Histogram,
    start: Ticks,
    /// When the interval is over.
    pub(super) end: Ticks,
    every: Ticks,
    /// Which time it holds: the intended one, or the service time.
    intended: bool,
    full: SyncSender<Interval>,
    spare: Receiver<Histogram>,
}

impl Intervals {
    /// Both sides of intervals of this length, of the intended time or the service time.
    pub fn new(clock: &Clock, every: Duration, intended: bool) -> (Self, Written) {
        let (full, written) = sync_channel(SPARE + 1);
        let (give, spare) = sync_channel(SPARE + 1);
        for _ in 0..SPARE {
            // There is room for all of them.
            let _ = give.try_send(Histogram::new());
        }
        let every = clock.ticks(every).max(1);
        let ours = Intervals { histogram: Histogram::new(), start: 0, end: Ticks::MAX, every, intended, full, spare };
        (ours, Written { full: written, spare: give })
    }

    /// The first interval begins.
    pub(super) fn begin(&mut self, start: Ticks) {
        self.start = start;
        self.end = start.saturating_add(self.every);
    }

    /// Adds a sample that was taken `times` times, a service time if there is one.
    #[inline]
    pub(super) fn record(&mut self, service_ns: Option<u64>, intended_ns: u64, times: u64) {
        let ns = if self.intended { Some(intended_ns) } else { service_ns };
        if let Some(ns) = ns {
            self.histogram.record_n(ns, times);
        }
    }

    /// Time has passed the end of the interval.
    #[cold]
    pub(super) fn roll(&mut self, now: Ticks) {
        let Ok(empty) = self.spare.try_recv() else { return };
        let end = self.start + (now - self.start) / self.every * self.every;
        self.hand_over(empty, end);
        self.begin(end);
    }

    /// The run is over: what the last interval has is handed over too.
    pub(super) fn finish(mut self, now: Ticks) {
        if now > self.start {
            self.hand_over(Histogram::new(), now);
        }
    }

    fn hand_over(&mut self, empty: Histogram, end: Ticks) {
        let histogram = std::mem::replace(&mut self.histogram, empty);
        // Only a writer that gave up does not take it: it has said why.
        let _ = self.full.try_send(Interval { histogram, start: self.start, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn each_sample_is_in_one_interval_and_a_writer_that_is_behind_makes_them_longer() {
        let clock = Clock::by_hand(Arc::new(AtomicU64::new(0)));
        let (mut ours, written) = Intervals::new(&clock, Duration::from_nanos(100), false);
        ours.begin(1_000);
        for now in (1_000..2_000).step_by(10) {
            if now >= ours.end {
                ours.roll(now);
            }
            ours.record(Some(now), now + 1, 1);
        }
        ours.finish(2_000);
        let mut spans = Vec::new();
        while let Some(interval) = written.next() {
            assert_eq!(interval.histogram.count() * 10, interval.end - interval.start);
            assert_eq!(interval.histogram.min(), interval.start);
            spans.push((interval.start, interval.end));
        }
        // Three empty ones, none of which came back.
        assert_eq!(spans, [(1_000, 1_100), (1_100, 1_200), (1_200, 1_300), (1_300, 2_000)]);
    }

    #[test]
    fn a_histogram_that_comes_back_is_used_again_and_the_intended_time_can_be_had() {
        let clock = Clock::by_hand(Arc::new(AtomicU64::new(0)));
        let (mut ours, written) = Intervals::new(&clock, Duration::from_nanos(100), true);
        ours.begin(0);
        for end in (100..=2_000).step_by(100) {
            ours.record(None, 7, 3);
            ours.record(Some(1), 9, 1);
            ours.roll(end);
            let Interval { histogram, start, end: ended } = written.next().unwrap();
            assert_eq!((start, ended), (end - 100, end));
            assert_eq!((histogram.min(), histogram.max(), histogram.count()), (7, 9, 4));
            written.give_back(histogram);
        }
        ours.finish(2_000);
        assert!(written.next().is_none(), "nothing is left over");
    }
}
