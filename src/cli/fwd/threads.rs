//! The threads of a run, and what is said of them.

use super::deal::Hand;
use super::lane::Waits;
use super::mode::Mode;
use super::report::{Way, letter};
use crate::cli::cores;
use crate::cli::output::{self, Output};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is to run.
pub struct Threads {
    /// The processor of each thread; `None` is any.
    pub places: Vec<Option<usize>>,
    /// What each of them has.
    pub hands: Vec<Hand>,
    /// What passes by all of their lanes.
    pub ways: Vec<Way>,
}

impl Threads {
    /// Warns of more threads than can poll at the same time.
    pub fn warn(&self, output: &Output) {
        // Where it cannot be known there is nothing to warn of.
        let processors = cores::processors().unwrap_or(usize::MAX);
        let threads = self.places.len();
        if threads > processors {
            output.warn(format_args!(
                "{threads} threads take turns on the {processors} processors that this process may use; they forward no more than {processors} would"
            ));
        }
    }
}

/// A thread that has ended.
pub struct Ended {
    /// Where it was kept.
    pub place: Option<usize>,
    /// Processor time that it had.
    pub had: Duration,
    /// How it waited, if it is one that sleeps.
    pub waits: Option<Waits>,
}

impl Ended {
    /// A line about thread `n`: what it forwarded of each queue.
    pub fn line(&self, n: usize, ways: &[Way], mode: Mode) -> String {
        let place = self.place.map_or(String::new(), |cpu| format!(" on processor {cpu}"));
        let queues = own(n, ways).map(|way| {
            let frames = output::grouped(counted(way, mode));
            format!("{} queue {} {frames}", letter(way.from), way.queue)
        });
        let queues = queues.collect::<Vec<_>>().join(", ");
        let frames = output::grouped(own(n, ways).map(|way| counted(way, mode)).sum());
        format!("thread {n}{place}: {frames} frames {}: {queues}", mode.done())
    }

    /// A line about how thread `n` waited, if it is one that sleeps.
    pub fn waits_line(&self, n: usize) -> Option<String> {
        let Waits { empty, sleeps, woken } = self.waits?;
        let [empty, sleeps, woken] = [empty, sleeps, woken].map(output::grouped);
        Some(format!("thread {n}: {empty} looks found nothing, it slept {sleeps} times and was woken {woken} times"))
    }

    /// The same for a document.
    pub fn json(&self, n: usize, ways: &[Way]) -> Value {
        let queue = |way: &Way| {
            json!({
                "port": letter(way.from).to_string(),
                "queue": way.queue,
                "frames": way.counts.frames.load(Ordering::Relaxed),
            })
        };
        json!({
            "cpu": self.place,
            "frames": frames(n, ways),
            "cpu_time_ns": output::ns(self.had),
            "empty_polls": self.waits.map(|waits| waits.empty),
            "sleeps": self.waits.map(|waits| waits.sleeps),
            "woken": self.waits.map(|waits| waits.woken),
            "queues": own(n, ways).map(queue).collect::<Vec<_>>(),
        })
    }
}

/// What passed by the lanes of thread `n`.
fn own(n: usize, ways: &[Way]) -> impl Iterator<Item = &Way> {
    ways.iter().filter(move |way| way.thread == n)
}

/// Frames that the mode is about.
fn counted(way: &Way, mode: Mode) -> u64 {
    let counts = &way.counts;
    if mode == Mode::Rxonly { &counts.let_go } else { &counts.frames }.load(Ordering::Relaxed)
}

fn frames(n: usize, ways: &[Way]) -> u64 {
    own(n, ways).map(|way| way.counts.frames.load(Ordering::Relaxed)).sum()
}
