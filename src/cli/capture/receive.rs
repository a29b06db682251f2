//! The loop that captures.
//!
//! Each thread has queues of its own. It never waits for the disk, calls no system as
//! long as packets flow (but to wake the writer once a chunk, or to write a file in memory
//! itself), and copies each packet once, or twice if it is published besides. Several queues are
//! looked at in turn, which is the order of time if a packet's time is that of
//! its batch; by stamps of the card's they are merged ([`Merge`]).

use super::merge::Merge;
use super::quota::Quota;
use super::sink::Sink;
use super::times::{Summary, Times};
use crate::cli::cores;
use crate::cli::signal::{Ending, Stop};
use crate::dma::{Batch, Pool};
use crate::driver::{Anomalies, RxQueue};
use crate::error::Error;
use crate::measure::{Clock, Idle, Ticks};
use crate::packet::Filter;
use crate::pcap::write::FLUSH;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How far the capture is, for another thread to read.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets on their way into the file.
    pub taken: AtomicU64,
    /// Packets dropped because the disk was behind.
    pub dropped: AtomicU64,
    /// The card's counters have been read for the last time.
    pub closed: AtomicBool,
}

/// The value of a counter.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// All that capturing needs.
pub struct Receiver {
    /// Polled in turn, their rings filled.
    pub queues: Vec<RxQueue>,
    /// Enough buffers for all rings, [`HELD`](super::merge::HELD) batches of each and one more.
    pub pool: Pool,
    /// Packets to take off a ring in one go.
    pub batch: usize,
    /// Packets to keep.
    pub filter: Filter,
    /// Where they go.
    pub sink: Sink,
    /// A clock of its own.
    pub clock: Clock,
    /// What packets' times are worked out from.
    pub times: Times,
    /// When it ends, by the clock.
    pub duration: Option<Duration>,
    /// When it ends, by the packets that it records.
    pub quota: Quota,
    /// Where it runs.
    pub place: Option<usize>,
    /// Who may end it earlier.
    pub stop: Stop,
    /// How far it is.
    pub counts: Arc<Counts>,
}

/// What came of it, in one thread or in all.
pub struct Ended {
    /// The file of each thread, or the ring, not yet ended.
    pub sinks: Vec<Sink>,
    /// Packets that came off each ring.
    pub received: Vec<u64>,
    /// Packets that came off the rings after the end.
    pub surplus: u64,
    /// Packets that the filter left out.
    pub filtered: u64,
    /// What the card did wrong.
    pub anomalies: Anomalies,
    /// What there is to say of the times.
    pub times: Summary,
    /// Why it did not capture.
    pub failed: Option<Error>,
}

impl Ended {
    /// What came of all threads, at least one: ring `q` was polled by thread `q % n` of `n`.
    pub fn of_all(threads: Vec<Ended>) -> Option<Ended> {
        let n = threads.len();
        let received = threads.iter().map(|thread| thread.received.len()).sum();
        let by_queue = |q: usize| threads[q % n].received.get(q / n).copied().unwrap_or_default();
        let received = (0..received).map(by_queue).collect();
        let all = threads.into_iter().reduce(|mut all, one| {
            all.sinks.extend(one.sinks);
            all.surplus += one.surplus;
            all.filtered += one.filtered;
            all.anomalies.add(&one.anomalies);
            all.times.add(&one.times);
            all.failed = all.failed.or(one.failed);
            all
        });
        all.map(|all| Ended { received, ..all })
    }
}

/// How often the clock is set right by the system's.
const REFINE: Duration = Duration::from_secs(1);

/// Looks in a row that find nothing after which nothing comes, where a wire has run dry.
const QUIET: u32 = 64;

/// Packets whose first bytes are on their way from the card's cache while one is recorded.
const AHEAD: usize = 8;

/// Parts of a frame, at most: the longest frame in the smallest pieces a batch holds.
const PARTS: usize = crate::dma::BATCH_MAX;

impl Receiver {
    /// Captures until a limit is reached, writing fails, or somebody says stop;
    /// then drops `done`, and lets go what comes until [`Counts::closed`]: so that
    /// no ring is full before the counters are read.
    pub fn run(self, done: Sender<()>) -> Ended {
        let Receiver { mut queues, pool, batch, filter, sink, mut clock, mut times, .. } = self;
        let Receiver { duration, quota, place, stop, counts, .. } = self;
        let _whatever_happens = Ending(stop.clone());
        let failed = cores::stay(place).err();
        if failed.is_some() {
            stop.end();
        }
        let mut intake = Intake::new(filter, sink, queues.len(), quota);
        // The rings hold no more than that.
        let most = pool.capacity() as u64;
        let mut way = Way::new(&pool, queues.len(), batch.max(8), times.by_card());
        let start = clock.now();
        let end = duration.map_or(Ticks::MAX, |d| start.saturating_add(clock.ticks(d)));
        let (flush, refine) = (clock.ticks(FLUSH), clock.ticks(REFINE));
        let (mut next_flush, mut next_refine) = (start + flush, start + refine);
        let (mut idle, mut quiet) = (Idle::new(), 0);
        while !stop.requested() && !intake.is_full() {
            let did = match &mut way {
                Way::InTurn(batch, last) => in_turn(&mut queues, batch, last, &mut times, &clock, &mut intake),
                Way::Merged(merge) => merge.round(&mut queues, &mut times, clock.wall_ns(clock.now()), &mut intake),
            };
            intake.sink.publish();
            intake.quota.settle();
            let now = clock.now();
            if now >= next_flush {
                next_flush = now + flush;
                intake.sink.flush();
                counts.taken.store(intake.sink.taken(), Ordering::Relaxed);
                counts.dropped.store(intake.sink.dropped(), Ordering::Relaxed);
                if now >= end || intake.sink.has_ended() {
                    break;
                }
                times.follow();
                if now >= next_refine {
                    next_refine = now + refine;
                    clock.refine();
                }
            } else if now >= end {
                break;
            }
            idle.polled(did);
            quiet = if did == 0 && stop.is_dry() { quiet + 1 } else { 0 };
            if quiet > QUIET {
                break;
            }
        }
        let late = match way {
            Way::InTurn(..) => 0,
            Way::Merged(merge) => merge.finish(&mut intake),
        };
        intake.quota.settle();
        drop(done);
        let surplus = let_go(&mut queues, Batch::new(&pool), most, &counts.closed);
        let mut anomalies = Anomalies::default();
        for queue in &queues {
            anomalies.add(&queue.anomalies());
        }
        let Intake { sink, received, filtered, .. } = intake;
        let times = times.summary(late);
        Ended { sinks: vec![sink], received, surplus, filtered, anomalies, times, failed }
    }
}

/// Lets go of what comes until the counters are read, and of what was in the rings
/// then, `most` packets; how many.
fn let_go(queues: &mut [RxQueue], mut batch: Batch<'_>, most: u64, closed: &AtomicBool) -> u64 {
    /// Looks in a row that find nothing, after which nothing was left: what a card
    /// writes may be a moment behind. Packets may still come all the time.
    const EMPTY: u32 = 64;
    let mut idle = Idle::new();
    let (mut packets, mut empty, mut end) = (0, 0, u64::MAX);
    while empty < EMPTY && packets < end {
        if end == u64::MAX && closed.load(Ordering::Relaxed) {
            (empty, end) = (0, packets + most);
        }
        let mut did = 0;
        for queue in &mut *queues {
            did += queue.recv(&mut batch);
            packets += (0..batch.len()).filter(|&i| !batch.continues(i)).count() as u64;
            batch.clear();
        }
        empty = if did > 0 || end == u64::MAX { 0 } else { empty + 1 };
        idle.polled(did);
    }
    packets
}

/// How packets get from the rings into the file.
#[allow(clippy::large_enum_variant)] // one a capture
enum Way<'p> {
    /// As the rings are looked at; and the time of the last packet.
    InTurn(Batch<'p>, u64),
    /// In the order of their stamps.
    Merged(Merge<'p>),
}

impl<'p> Way<'p> {
    fn new(pool: &'p Pool, queues: usize, batch: usize, by_card: bool) -> Self {
        if by_card && queues > 1 {
            Way::Merged(Merge::new(pool, queues, batch))
        } else {
            Way::InTurn(Batch::with_limit(pool, batch), 0)
        }
    }
}

/// Takes what each ring has; how many buffers that was.
fn in_turn(
    queues: &mut [RxQueue],
    batch: &mut Batch<'_>,
    last: &mut u64,
    times: &mut Times,
    clock: &Clock,
    intake: &mut Intake,
) -> usize {
    let mut did = 0;
    for (q, queue) in queues.iter_mut().enumerate() {
        let n = queue.recv(batch);
        if n == 0 {
            continue;
        }
        did += n;
        (0..AHEAD).for_each(|i| batch.fetch(i));
        times.batch(clock.wall_ns(clock.now()));
        let mut first = 0;
        while first < n && !intake.is_full() {
            batch.fetch(first + AHEAD);
            let end = end_of(batch, first);
            intake.take(q, batch, first..end, || times.packet(batch, end - 1, last));
            first = end;
        }
        batch.clear();
    }
    did
}

/// The entry behind the frame that starts in entry `first`.
#[inline]
pub fn end_of(batch: &Batch<'_>, first: usize) -> usize {
    let mut end = first + 1;
    while end < batch.len() && batch.continues(end - 1) {
        end += 1;
    }
    end
}

/// Where packets go: past the filter and into the file, each of them counted.
pub struct Intake {
    filter: Filter,
    sink: Sink,
    received: Vec<u64>,
    filtered: u64,
    /// Packets that are still to be written.
    quota: Quota,
}

impl Intake {
    /// Packets off so many rings.
    pub fn new(filter: Filter, sink: Sink, queues: usize, quota: Quota) -> Self {
        Intake { filter, sink, received: vec![0; queues], filtered: 0, quota }
    }

    /// Ends the file.
    #[cfg(test)]
    pub fn finish(self, totals: crate::pcap::record::Totals) -> crate::pcap::write::Written {
        self.sink.finish(totals).0
    }

    /// Where packets went, what came off each ring, and what the filter left out.
    pub fn into_parts(self) -> (Sink, Vec<u64>, u64) {
        (self.sink, self.received, self.filtered)
    }

    /// As [`Sink::flush`].
    pub fn flush(&mut self) {
        self.sink.flush();
    }

    /// As [`Sink::has_ended`].
    pub fn has_ended(&self) -> bool {
        self.sink.has_ended()
    }

    /// Whether the disk is so far behind that the next packet would be dropped.
    pub fn is_behind(&mut self) -> bool {
        self.sink.is_full()
    }

    /// Whether all that was asked for is there. What is beyond it is neither
    /// received nor lost, as if it came later.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        self.quota.is_used_up()
    }

    /// Takes the frame in entries `range` of `batch`, which came off ring `q`, if
    /// the filter wants it; `time` is asked for only then. Whether it is recorded.
    #[inline]
    pub fn take(&mut self, q: usize, batch: &Batch<'_>, range: Range<usize>, time: impl FnOnce() -> u64) -> bool {
        self.received[q] += 1;
        let frame = batch.frame(range.start);
        let kept = if range.len() == 1 {
            self.filter.matches(frame, frame.len()).then(|| self.sink.record(time(), frame))
        } else {
            self.parts(batch, range, time)
        };
        match kept {
            None => self.filtered += 1,
            Some(true) => self.quota.took(),
            Some(false) => {}
        }
        kept == Some(true)
    }

    /// The same of a frame in several buffers: `None` if it is not wanted, else
    /// whether there was room.
    fn parts(&mut self, batch: &Batch<'_>, range: Range<usize>, time: impl FnOnce() -> u64) -> Option<bool> {
        let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
        let mut wire_len = 0;
        let count = range.len();
        for (part, i) in parts.iter_mut().zip(range) {
            *part = batch.frame(i);
            wire_len += part.len();
        }
        let parts = &parts[..count];
        self.filter.matches_parts(parts, wire_len).then(|| self.sink.record_parts(time(), parts))
    }
}
