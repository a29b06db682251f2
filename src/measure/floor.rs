//! What this machine takes with no card and no driver at all.
//!
//! An emulated card is a thread on another core, and to the reader a real card with
//! cache injection is not much different: a packet is *handed over* through memory
//! that the other side has just written. No driver can be faster than that, so a
//! latency is printed beside it.
//!
//! ```text
//!   line       core 1 |--- one cache line --->| core 0     and back; half of it
//!   hand-off   core 1 |--- packet, then a 16-byte descriptor --->| core 0
//!   copy       memcpy of one frame that is in the cache
//!   counter    one reading of the clock: part of every measurement
//! ```

use super::{Clock, Histogram, Ticks};
use crate::sys;
use serde_json::{Value, json};
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The floor of this machine at one moment.
#[derive(Clone, Debug)]
pub struct Floor {
    /// Frame size it was measured for.
    pub frame: usize,
    /// One reading of the clock with its barriers, ns.
    pub counter_ns: f64,
    /// Copying a frame that is in the cache, ns.
    pub copy_ns: f64,
    /// One cache line from one core to another, ns one way. `None` on one core.
    pub line: Option<Histogram>,
    /// A frame and its descriptor from one core to another, ns one way.
    pub handoff: Option<Histogram>,
}

impl Floor {
    /// Measures for frames of `frame` bytes, about `patience` for each of the
    /// two exchanges. The two cores must have nothing else to do meanwhile.
    pub fn measure(clock: &Clock, frame: usize, patience: Duration) -> Self {
        let cpus = sys::affinity().unwrap_or_default();
        let pair = (cpus.len() >= 2).then(|| [cpus[0], cpus[1]]);
        Floor {
            frame,
            counter_ns: per_round(clock, 1_000, || {
                black_box(clock.now_ordered());
            }),
            copy_ns: copy(clock, frame),
            line: pair.and_then(|cores| exchange(clock, cores, 0, patience)),
            handoff: pair.and_then(|cores| exchange(clock, cores, frame, patience)),
        }
    }

    /// For a JSON document.
    pub fn json(&self) -> Value {
        let figures = |histogram: &Option<Histogram>| {
            histogram
                .as_ref()
                .map(|h| json!({ "min": h.min(), "p50": h.quantile(0.5), "p99": h.quantile(0.99), "count": h.count() }))
        };
        json!({
            "frame": self.frame,
            "counter_ns": self.counter_ns,
            "copy_ns": self.copy_ns,
            "line_ns": figures(&self.line),
            "handoff_ns": figures(&self.handoff),
        })
    }
}

/// Nanoseconds a call of `f`, the best of several runs: an interruption only makes
/// one slower.
pub(super) fn per_round(clock: &Clock, rounds: u32, mut f: impl FnMut()) -> f64 {
    let run = |f: &mut dyn FnMut()| {
        let start = clock.now_ordered();
        for _ in 0..rounds {
            f();
        }
        clock.now_ordered() - start
    };
    let best = (0..10).map(|_| run(&mut f)).min().unwrap_or(0);
    clock.ns(best) as f64 / f64::from(rounds)
}

fn copy(clock: &Clock, frame: usize) -> f64 {
    let (from, mut to) = (vec![0x5a_u8; frame], vec![0_u8; frame]);
    per_round(clock, 1_000, || {
        black_box(&mut to).copy_from_slice(black_box(&from));
    })
}

/// Words of a cache line.
const LINE: usize = 8;

/// A mailbox that one core writes and the other reads, on lines of its own (two,
/// because processors fetch lines in pairs).
#[repr(align(128))]
struct Mailbox {
    /// Sequence number: the descriptor's ownership word.
    sequence: AtomicU64,
    /// The descriptor's other word.
    length: AtomicU64,
}

/// One direction: a frame in lines of its own, and the mailbox that announces it.
struct Lane {
    frame: Box<[FrameLine]>,
    mailbox: Mailbox,
}

#[repr(align(64))]
struct FrameLine([AtomicU64; LINE]);

impl Lane {
    fn new(frame: usize) -> Self {
        let line = || FrameLine([const { AtomicU64::new(0) }; LINE]);
        Lane {
            frame: (0..frame.div_ceil(8 * LINE)).map(|_| line()).collect(),
            mailbox: Mailbox { sequence: AtomicU64::new(0), length: AtomicU64::new(0) },
        }
    }

    /// Writes the frame, then the descriptor, its ownership word last.
    fn put(&self, sequence: u64) {
        for word in self.frame.iter().flat_map(|line| &line.0) {
            word.store(sequence, Ordering::Relaxed);
        }
        self.mailbox.length.store(self.frame.len() as u64, Ordering::Relaxed);
        self.mailbox.sequence.store(sequence, Ordering::Release);
    }

    /// Waits for the descriptor, then reads the whole frame. False if `stop` came first.
    fn take(&self, sequence: u64, stop: &AtomicBool) -> bool {
        while self.mailbox.sequence.load(Ordering::Acquire) != sequence {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            spin_loop();
        }
        let mut sum = self.mailbox.length.load(Ordering::Relaxed);
        for word in self.frame.iter().flat_map(|line| &line.0) {
            sum = sum.wrapping_add(word.load(Ordering::Relaxed));
        }
        black_box(sum);
        true
    }
}

/// Sends a frame of `bytes` (0: the descriptor's line alone) to and fro between
/// two cores, and returns half of each round trip. `None` if the threads could
/// not be placed or did not meet.
fn exchange(clock: &Clock, cores: [usize; 2], bytes: usize, patience: Duration) -> Option<Histogram> {
    let (there, back) = (Lane::new(bytes), Lane::new(bytes));
    let stop = AtomicBool::new(false);
    let histogram = thread::scope(|scope| {
        let echo = thread::Builder::new().spawn_scoped(scope, || {
            if sys::set_affinity(&[cores[1]]).is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            let mut sequence = 1;
            while there.take(sequence, &stop) {
                back.put(sequence);
                sequence += 1;
            }
        });
        let ping = thread::Builder::new().spawn_scoped(scope, || {
            let placed = sys::set_affinity(&[cores[0]]).is_ok();
            let histogram = placed.then(|| ping(clock, &there, &back, &stop, patience));
            stop.store(true, Ordering::Relaxed);
            histogram
        });
        let (Ok(_echo), Ok(ping)) = (echo, ping) else {
            // The one that is there waits for the other.
            stop.store(true, Ordering::Relaxed);
            return None;
        };
        ping.join().ok().flatten()
    });
    histogram.filter(|histogram| !histogram.is_empty())
}

fn ping(clock: &Clock, there: &Lane, back: &Lane, stop: &AtomicBool, patience: Duration) -> Histogram {
    /// Rounds in which both sides find their feet.
    const WARM_UP: u64 = 100;
    let mut histogram = Histogram::new();
    let end: Ticks = clock.now().saturating_add(clock.ticks(patience));
    let mut sequence = 0;
    loop {
        sequence += 1;
        let start = clock.now_ordered();
        there.put(sequence);
        if !back.take(sequence, stop) {
            return histogram;
        }
        let now = clock.now_ordered();
        if sequence > WARM_UP {
            histogram.record(clock.ns(now - start) / 2);
        }
        if now >= end {
            return histogram;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_costs_more_the_longer_the_frame() {
        // The best of several runs, and a thousand times as much to do.
        let clock = Clock::new();
        let (short, long) = (copy(&clock, 64), copy(&clock, 1 << 16));
        assert!(short > 0.0 && long > short, "{short} ns and {long} ns");
    }

    #[test]
    fn a_lane_has_as_many_lines_as_its_frame() {
        let lines = [0, 1, 64, 65, 1_518].map(|bytes| Lane::new(bytes).frame.len());
        assert_eq!(lines, [0, 1, 1, 2, 24]);
        let lane = Lane::new(1_518);
        lane.put(7);
        assert!(lane.frame.iter().flat_map(|line| &line.0).all(|word| word.load(Ordering::Relaxed) == 7));
        assert!(lane.take(7, &AtomicBool::new(false)) && !lane.take(8, &AtomicBool::new(true)));
    }

    #[test]
    fn a_line_and_a_frame_travel_between_two_cores() {
        let clock = Clock::new();
        let two = sys::affinity().unwrap().len() >= 2;
        // On a busy machine the two may not meet in a tenth of a second.
        let patience = [100, 1_000, 10_000].map(Duration::from_millis);
        let floors = patience.into_iter().map(|patience| Floor::measure(&clock, 1_518, patience));
        let met = |floor: &Floor| !two || floor.line.is_some() && floor.handoff.is_some();
        let floor = floors.into_iter().find(met).expect("two cores did not meet in 10 s");
        assert!(floor.counter_ns > 0.0);
        assert_eq!((floor.line.is_some(), floor.handoff.is_some()), (two, two));
        if let (Some(line), Some(handoff)) = (&floor.line, &floor.handoff) {
            assert!(line.count() > 0 && handoff.count() > 0 && handoff.max() > 0, "a coarse clock may show 0 at times");
            assert_eq!(floor.json()["line_ns"]["count"], line.count());
        }
    }

    #[test]
    fn a_core_that_does_not_exist_gives_no_figure() {
        assert!(exchange(&Clock::new(), [0, usize::MAX], 64, Duration::from_millis(1)).is_none());
        assert!(exchange(&Clock::new(), [usize::MAX, 0], 64, Duration::from_millis(1)).is_none());
    }
}
