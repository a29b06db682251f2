//! The threads that capture, and the one that watches them.

use super::cards::Counted;
use super::control::Board;
use super::receive::{self, Counts, Ended, Receiver};
use super::report;
use super::times::Gauge;
use crate::cli::args::Limits;
use crate::cli::looks::{Look, Looks};
use crate::cli::output::{self, Output};
use crate::cli::session::Session;
use crate::driver::Nic;
use crate::error::{Error, Kind, Result};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What came of all threads.
pub struct Run {
    /// What they captured.
    pub ended: Ended,
    /// The counters behind the last packet, or why they cannot be read.
    pub counted: Result<Counted>,
    /// How long packets were received.
    pub elapsed: Duration,
    /// Why it ended before it should.
    pub failed: Option<Error>,
}

/// Runs each receiver in its thread and shows how they get on.
pub fn run(
    receivers: Vec<Receiver>,
    session: &Session,
    output: &Output,
    nics: &mut [Nic],
    gauges: &mut [Gauge],
    before: &Counted,
    board: &Board,
) -> anyhow::Result<Run> {
    let started = Instant::now();
    let counts: Vec<Arc<Counts>> = receivers.iter().map(|receiver| Arc::clone(&receiver.counts)).collect();
    let limits = receivers.first().map(|first| Limits { duration: first.duration, count: first.share.open() });
    let live = output.bar(limits.unwrap_or_default().goal());
    let (done, over) = mpsc::channel::<()>();
    let one = receivers.len() == 1;
    let mut threads: Vec<JoinHandle<Ended>> = Vec::new();
    let mut failed = None;
    for (n, receiver) in receivers.into_iter().enumerate() {
        let (done, name) = (done.clone(), if one { "capture".into() } else { format!("capture-{n}") });
        match thread::Builder::new().name(name).spawn(move || receiver.run(done)) {
            Ok(thread) => threads.push(thread),
            Err(e) => {
                failed.get_or_insert(Error::thread("starting a thread that receives", e));
                session.stop.end();
            }
        }
    }
    drop(done);
    let (mut then, mut last) = (Instant::now(), 0);
    for look in Looks::new(session, &over, Duration::from_secs(1)) {
        if let [nic] = &mut *nics {
            board.card.serve(nic);
        }
        let asked = match look {
            Look::Figures { asked, .. } => asked,
            Look::Slice if board.wants() => false,
            Look::Slice => continue,
        };
        let elapsed = then.elapsed();
        then += elapsed;
        // A card that is gone is found out at the end.
        gauges.iter_mut().zip(&mut *nics).for_each(|(gauge, nic)| _ = gauge.read(nic));
        let sum = |what: fn(&Counts) -> u64| counts.iter().map(|counts| what(counts)).sum::<u64>();
        let (taken, dropped) = (sum(|c| receive::read(&c.taken)), sum(|c| receive::read(&c.dropped)));
        let missed = match Counted::missed_since(before, session, nics) {
            Ok(missed) => missed,
            // It is told once, of a queue that brings no more packets for instance.
            Err(error) => {
                failed.get_or_insert(error);
                session.stop.end();
                0
            }
        };
        let rate = (taken - last) as f64 / elapsed.as_secs_f64();
        board.put(rate, missed);
        let figures = || {
            let elapsed = output::ns(started.elapsed());
            json!({ "elapsed_ns": elapsed, "captured": taken, "pps": rate, "missed": missed, "disk_slow": dropped })
        };
        if !matches!(look, Look::Slice)
            && let Err(error) = output.interval("capture", figures)
        {
            failed.get_or_insert(error.into());
            session.stop.end();
        }
        let text = report::live_line(taken, rate, missed, dropped);
        if asked {
            output.now(&text);
        }
        live.show(0, text);
        live.reach(taken);
        last = taken;
    }
    drop(live);
    let elapsed = started.elapsed();
    let counted = Counted::now(session, nics);
    counts.iter().for_each(|counts| counts.closed.store(true, Ordering::Relaxed));
    let mut all: Option<Ended> = None;
    for thread in threads {
        match thread.join() {
            Ok(ended) => all.get_or_insert_default().add(ended),
            // What the others captured is written all the same.
            Err(_) => failed = failed.or(Some(Error::new(Kind::Io, "a thread that receives panicked"))),
        }
    }
    match (all, failed) {
        (Some(mut ended), failed) => {
            let failed = failed.or(ended.failed.take());
            Ok(Run { ended, counted, elapsed, failed })
        }
        (None, Some(failed)) => Err(failed.into()),
        (None, None) => Err(anyhow::anyhow!("no thread received")),
    }
}
