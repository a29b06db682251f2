//! The threads that send, and the one that watches them.
//!
//! ```text
//!   places of the schedule   0 1 2 3 4 5 6 7 8        packet n is thread n mod N's
//!   thread 0, queue 0        0     3     6
//!   thread 1, queue 1          1     4     7
//!   thread 2, queue 2            2     5     8
//! ```
//!
//! They begin at one moment and share nothing afterwards but the flag that ends them.

use super::answer::{Answered, Answers};
use super::send::{Counts, Sender, Sent};
use super::traffic::{Schedule, Traffic};
use crate::cli::args::Limits;
use crate::cli::cores;
use crate::cli::looks::{Look, Looks};
use crate::cli::output::{self, Output};
use crate::cli::progress::Goal;
use crate::cli::session::Session;
use crate::cli::signal::{Ending, Stop};
use crate::dma::BATCH_MAX;
use crate::driver::{Nic, TxQueue};
use crate::error::{Error, Result};
use crate::measure::{Clock, Ticks};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is to be sent, by all threads together.
pub struct Plan {
    /// What frames.
    pub traffic: Traffic,
    /// When.
    pub schedule: Schedule,
    /// Until when.
    pub limits: Limits,
    /// Most packets to give to a ring in one go.
    pub batch: usize,
    /// By which clock.
    pub clock: Clock,
}

impl Plan {
    /// What each of so many threads is to do with its share of the queues and of the packets.
    ///
    /// # Errors
    /// What making a pool of buffers meets.
    pub fn divide(self, session: &Session, tx: Vec<TxQueue>, threads: usize) -> Result<Vec<Sender>> {
        let mut queues: Vec<Vec<TxQueue>> = (0..threads).map(|_| Vec::new()).collect();
        tx.into_iter().enumerate().for_each(|(n, queue)| queues[n % threads].push(queue));
        let Plan { traffic, schedule, limits, batch, clock } = self;
        let among = threads as u64;
        let run = schedule.run();
        // A recording is one thread's, and a list too.
        let traffics: Vec<Traffic> = match traffic {
            Traffic::Built(builder) => {
                (0..among).map(|first| Traffic::Built(builder.clone().share(first, among, run))).collect()
            }
            timed @ (Traffic::Replay(_) | Traffic::Listed(_)) => vec![timed],
        };
        let senders = queues.into_iter().zip(traffics).zip(0..).map(|((queues, traffic), first)| {
            let rings: usize = queues.iter().map(TxQueue::buffers).sum();
            Ok(Sender {
                pool: session.pool_of(0, rings + 2 * BATCH_MAX)?,
                queues,
                batch,
                traffic,
                schedule: schedule.share(first, among),
                clock: clock.clone(),
                limits: Limits { count: limits.count.map(|count| part(count, run, first, among)), ..limits },
                stop: session.stop.clone(),
                counts: Arc::default(),
            })
        });
        senders.collect()
    }
}

/// How many of `count` packets are in every `among`-th run of `run` from number `first` on.
fn part(count: u64, run: u64, first: u64, among: u64) -> u64 {
    let (runs, rest) = (count / run, count % run);
    let last = if runs % among == first { rest } else { 0 };
    (runs / among + u64::from(first < runs % among)) * run + last
}

/// The moment at which all begin.
struct Start {
    /// Threads that are not ready yet.
    missing: AtomicUsize,
    /// 0 until it is known.
    at: AtomicU64,
}

/// How far ahead of the last thread's being ready the moment is, where there are several.
const LEAD: Duration = Duration::from_micros(200);

impl Start {
    /// Waits for the others; when to begin.
    fn ready(&self, clock: &Clock, lead: Duration, stop: &Stop) -> Ticks {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.at.store((clock.now() + clock.ticks(lead)).max(1), Ordering::Release);
        }
        loop {
            match self.at.load(Ordering::Acquire) {
                // One of them will never be ready.
                0 if stop.requested() => return clock.now(),
                0 => thread::yield_now(),
                at => return at,
            }
        }
    }
}

/// What one thread sent, and where it ran.
#[derive(Debug)]
pub struct Share {
    /// The processor it was kept on, if on one.
    pub cpu: Option<usize>,
    /// What it sent.
    pub sent: Sent,
}

/// Runs each sender in a thread at its place, and who answers beside them, and shows how they
/// get on.
pub fn run(
    senders: Vec<Sender>,
    places: &[Option<usize>],
    nic: &mut Nic,
    session: &Session,
    output: &Output,
    line: f64,
    answers: Option<Answers>,
) -> anyhow::Result<(Vec<Share>, Option<Answered>)> {
    let counts: Vec<Arc<Counts>> = senders.iter().map(|sender| Arc::clone(&sender.counts)).collect();
    let clock = senders.first().map(|sender| sender.clock.clone());
    let limits = Limits {
        count: senders.iter().map(|sender| sender.limits.count).sum(),
        duration: senders.first().and_then(|sender| sender.limits.duration),
    };
    // Nobody to send is no count of 0: who answers ends otherwise.
    let goal = if senders.is_empty() { Goal::Open } else { limits.goal() };
    let (done, ended) = mpsc::channel::<()>();
    let threads = spawn(senders, places, &done, &session.stop)?;
    // Alone it is what the run waits for; beside others it ends with them.
    let alone = threads.is_empty();
    let over = answers.as_ref().map(Answers::over);
    let answering = answers.map(|answers| answers.spawn(alone.then(|| done.clone()))).transpose();
    if answering.is_err() {
        session.stop.end();
    }
    drop(done);
    let watch = Watch { counts, clock, line, told: 0, goal };
    let watched = watch.until(&ended, nic, session, output);
    let mut shares = Vec::new();
    let joined: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
    if let Some(over) = over {
        over.store(true, Ordering::Relaxed);
    }
    for (sent, &cpu) in joined.into_iter().zip(places) {
        let sent = sent.map_err(|_| anyhow::anyhow!("a thread that sends panicked"))??;
        shares.push(Share { cpu, sent });
    }
    let answered = answering?.map(JoinHandle::join).transpose();
    let answered = answered.map_err(|_| anyhow::anyhow!("the thread that answers panicked"))?;
    watched.map_or(Ok((shares, answered)), |error| Err(error.into()))
}

fn spawn(
    senders: Vec<Sender>,
    places: &[Option<usize>],
    done: &mpsc::Sender<()>,
    stop: &Stop,
) -> Result<Vec<JoinHandle<Result<Sent>>>> {
    let start = Arc::new(Start { missing: AtomicUsize::new(senders.len()), at: AtomicU64::new(0) });
    let lead = if senders.len() > 1 { LEAD } else { Duration::ZERO };
    let mut threads = Vec::new();
    for (sender, &place) in senders.into_iter().zip(places) {
        let (start, done, run) = (Arc::clone(&start), done.clone(), stop.clone());
        let body = move || {
            let _whatever_happens = Ending(run.clone());
            let stayed = cores::stay(place).inspect_err(|_| run.end());
            let sent = stayed.map(|()| sender.run(|clock| start.ready(clock, lead, &run)));
            drop(done);
            sent
        };
        match thread::Builder::new().name("pktgen".into()).spawn(body) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                stop.end();
                // Its own trouble is the smaller one.
                threads.into_iter().for_each(|thread| drop(thread.join()));
                return Err(Error::thread("starting a thread that sends", error));
            }
        }
    }
    Ok(threads)
}

/// What is seen of the threads from outside.
struct Watch {
    counts: Vec<Arc<Counts>>,
    clock: Option<Clock>,
    /// Packets a second that the link carries.
    line: f64,
    /// When a packet was due that was told of.
    told: Ticks,
    /// When it is over.
    goal: Goal,
}

impl Watch {
    /// Looks at counters once a second, until the threads end. Why those of the card could
    /// not be read, if so: one that cannot say any more sends no more, and would be waited for
    /// without end.
    fn until(mut self, ended: &mpsc::Receiver<()>, nic: &mut Nic, session: &Session, output: &Output) -> Option<Error> {
        let live = output.bar(self.goal);
        let started = Instant::now();
        let (mut before, mut failed) = (0, None);
        for look in Looks::new(session, ended, Duration::from_secs(1)) {
            self.tell(output);
            let Look::Figures { asked, elapsed } = look else { continue };
            // Counters of a card may stay at their maximum until they are read.
            if let Err(error) = session.stats(0, nic) {
                failed.get_or_insert(error);
                session.stop.end();
            }
            let packets: u64 = self.counts.iter().map(|counts| counts.packets()).sum();
            let rate = ((packets - before) as f64 / elapsed.as_secs_f64()).min(self.line);
            let figures = || json!({ "elapsed_ns": output::ns(started.elapsed()), "sent": packets, "pps": rate });
            if let Err(error) = output.interval("pktgen", figures) {
                failed.get_or_insert(error.into());
                session.stop.end();
            }
            let text = format!("sent {} packets, {}", output::grouped(packets), output::pps(rate));
            if asked {
                output.now(&text);
            }
            live.show(0, text);
            live.reach(packets);
            before = packets;
        }
        drop(live);
        self.tell(output);
        failed
    }

    /// Says how long the next packet of a recording is waited for, if that is worth a word.
    fn tell(&mut self, output: &Output) {
        const LONG: Duration = Duration::from_secs(5);
        let (Some(counts), Some(clock)) = (self.counts.first(), &self.clock) else { return };
        let due = counts.due();
        let wait = Duration::from_nanos(clock.ns(due.saturating_sub(clock.now())));
        if due != self.told && wait > LONG {
            self.told = due;
            output.warn(format_args!("the next packet is due in {}", output::wait(wait)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_count_are_what_counting_one_by_one_gives() {
        for (count, run, among) in [(0, 1, 3), (1, 1, 3), (20_011, 1, 2), (20_011, 50, 3), (149, 50, 4), (150, 50, 3)] {
            let parts: Vec<u64> = (0..among).map(|first| part(count, run, first, among)).collect();
            let counted: Vec<u64> =
                (0..among).map(|first| (0..count).filter(|n| n / run % among == first).count() as u64).collect();
            assert_eq!(parts, counted, "{count} in runs of {run}");
        }
        assert_eq!(part(u64::MAX, 1, 0, 1), u64::MAX);
    }
}
