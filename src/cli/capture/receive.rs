//! The loop that captures.
//!
//! Each thread has queues of its own. It never waits for the disk, calls no system as
//! long as packets flow (but to wake the writer once a chunk, or to write a file in memory
//! itself), and copies each packet once, or twice if it is published besides. Of an interface of
//! the kernel packets are read where they lie, and where none come the thread sleeps: the kernel
//! receives meanwhile, and needs the processor for it. Several queues are
//! looked at in turn, which is the order of time if a packet's time is that of
//! its batch; if a card stamps packets they are merged by their times ([`Merge`]), whichever
//! cards they are of.

use super::intake::{Intake, Ring};
use super::merge::Merge;
use super::orders::Orders;
use super::sink::Sink;
use super::times::{Summary, Times};
use crate::cli::cores;
use crate::cli::share::Share;
use crate::cli::signal::{Ending, Stop};
use crate::cli::wanted::end_of;
use crate::dma::{Batch, Pool};
use crate::driver::RxQueue;
use crate::error::Error;
use crate::measure::{Clock, Idle, Ticks};
use crate::packet::Filter;
use crate::pcap::write::FLUSH;
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
    /// Which of them is which.
    pub rings: Vec<Ring>,
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
    /// What packets' times are worked out from, for each card.
    pub times: Vec<Times>,
    /// When it ends, by the clock.
    pub duration: Option<Duration>,
    /// When it ends, by the packets that it records.
    pub share: Share,
    /// Where it runs.
    pub place: Option<usize>,
    /// Who may end it earlier.
    pub stop: Stop,
    /// How far it is.
    pub counts: Arc<Counts>,
    /// What it is told meanwhile.
    pub orders: Orders,
}

/// What came of it, in one thread or in all.
#[derive(Default)]
pub struct Ended {
    /// The file of each thread, or the ring, not yet ended.
    pub sinks: Vec<Sink>,
    /// What came off each ring.
    pub rings: Vec<Ring>,
    /// What there is to say of the times of each card's packets.
    pub times: Vec<Summary>,
    /// Why it did not capture.
    pub failed: Option<Error>,
}

impl Ended {
    /// Adds what came of another thread.
    pub fn add(&mut self, other: Ended) {
        self.sinks.extend(other.sinks);
        self.rings.extend(other.rings);
        if self.times.is_empty() {
            self.times = other.times;
        } else {
            self.times.iter_mut().zip(&other.times).for_each(|(all, one)| all.add(one));
        }
        self.failed = self.failed.take().or(other.failed);
    }
}

/// How often the clock is set right by the system's.
const REFINE: Duration = Duration::from_secs(1);

/// Packets that a ring of the kernel's may hold when an end is asked for.
const KERNELS: u64 = 1 << 16;

/// Looks in a row that find nothing after which nothing comes, where a wire has run dry.
const QUIET: u32 = 64;

/// Packets whose first bytes are on their way from the card's cache while one is recorded.
const AHEAD: usize = 8;

/// Packets that are read where they lie, in one go.
const SHOWN: usize = 256;

/// How long it sleeps at a time where none come.
const REST: Duration = Duration::from_millis(10);

impl Receiver {
    /// Captures until a limit is reached, writing fails, or somebody says stop;
    /// then drops `done`, and lets go what comes until [`Counts::closed`]: so that
    /// no ring is full before the counters are read.
    pub fn run(self, done: Sender<()>) -> Ended {
        let Receiver { mut queues, rings, pool, batch, filter, sink, mut clock, mut times, .. } = self;
        let Receiver { duration, share, place, stop, counts, mut orders, .. } = self;
        let _whatever_happens = Ending(stop.clone());
        let failed = cores::stay(place).err();
        if failed.is_some() {
            stop.end();
        }
        let cards: Vec<usize> = rings.iter().map(|ring| ring.card).collect();
        let mut intake = Intake::new(filter, sink, rings, share);
        // The rings hold no more than that.
        let most = pool.capacity() as u64;
        let mut way = Way::new(&pool, &cards, batch.max(8), &times);
        let start = clock.now();
        let end = duration.map_or(Ticks::MAX, |d| start.saturating_add(clock.ticks(d)));
        let (flush, refine) = (clock.ticks(FLUSH), clock.ticks(REFINE));
        let (mut next_flush, mut next_refine) = (start + flush, start + refine);
        let (mut idle, mut quiet) = (Idle::new(), 0);
        // One look at all queues.
        let look = |way: &mut Way<'_>, queues: &mut [RxQueue], times: &mut [Times], clock: &Clock, to: &mut Intake| {
            match way {
                Way::InTurn(batch, last) => in_turn(queues, batch, last, times, clock, to),
                Way::Merged(merge) => merge.round(queues, times, clock.wall_ns(clock.now()), to),
            }
        };
        while !stop.requested() && !intake.is_full() {
            orders.follow(&mut intake, &clock);
            let did = look(&mut way, &mut queues, &mut times, &clock, &mut intake);
            intake.sink.publish();
            intake.share.polled(0);
            let now = clock.now();
            if now >= next_flush {
                next_flush = now + flush;
                intake.sink.flush();
                counts.taken.store(intake.sink.taken(), Ordering::Relaxed);
                counts.dropped.store(intake.sink.dropped(), Ordering::Relaxed);
                if now >= end || intake.sink.has_ended() {
                    break;
                }
                times.iter_mut().for_each(Times::follow);
                if now >= next_refine {
                    next_refine = now + refine;
                    clock.refine();
                }
            } else if now >= end {
                break;
            }
            idle.polled(did);
            if idle.is_yielding()
                && let [queue] = &mut queues[..]
                && queue.shows()
            {
                let left = end.saturating_sub(clock.now()).min(clock.ticks(REST));
                // What it meets, the next look meets too.
                let _ = queue.wait(Duration::from_nanos(clock.ns(left)));
            }
            quiet = if did == 0 && stop.is_dry() { quiet + 1 } else { 0 };
            if quiet > QUIET {
                break;
            }
        }
        // What had come by then lies in the rings still, and is no less captured.
        let mut left = if queues.iter().any(RxQueue::shows) { most.max(KERNELS) } else { most };
        while left > 0 && !intake.is_full() && !intake.sink.has_ended() {
            let did = look(&mut way, &mut queues, &mut times, &clock, &mut intake) as u64;
            left = if did == 0 { 0 } else { left.saturating_sub(did) };
        }
        if let Way::Merged(merge) = way {
            merge.finish(&mut intake);
        }
        // Others may wait for what this one leaves.
        intake.share.give_back();
        drop(orders);
        drop(done);
        let (sink, mut rings) = intake.into_parts();
        let_go(&mut queues, Batch::new(&pool), most, &counts.closed, &mut rings);
        for (ring, queue) in rings.iter_mut().zip(&queues) {
            ring.anomalies = queue.anomalies();
        }
        let late = |card| rings.iter().filter(|ring| ring.card == card).map(|ring| ring.late).sum();
        let times = times.iter().enumerate().map(|(card, times)| times.summary(late(card))).collect();
        Ended { sinks: vec![sink], rings, times, failed }
    }
}

/// Lets go of what comes until the counters are read, and of what was in the rings
/// then, `most` packets.
fn let_go(queues: &mut [RxQueue], mut batch: Batch<'_>, most: u64, closed: &AtomicBool, rings: &mut [Ring]) {
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
        for (queue, ring) in queues.iter_mut().zip(&mut *rings) {
            did += queue.recv(&mut batch);
            let came = (0..batch.len()).filter(|&i| !batch.continues(i)).count() as u64;
            (packets, ring.surplus) = (packets + came, ring.surplus + came);
            batch.clear();
        }
        empty = if did > 0 || end == u64::MAX { 0 } else { empty + 1 };
        idle.polled(did);
    }
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
    /// For queues of these cards: those without stamps are in order as they are looked at.
    fn new(pool: &'p Pool, cards: &[usize], batch: usize, times: &[Times]) -> Self {
        if cards.len() > 1 && cards.iter().any(|card| times[*card].by_card()) {
            Way::Merged(Merge::new(pool, cards, batch))
        } else {
            Way::InTurn(Batch::with_limit(pool, batch), 0)
        }
    }
}

/// Takes what each ring has; how many buffers that was.
pub(super) fn in_turn(
    queues: &mut [RxQueue],
    batch: &mut Batch<'_>,
    last: &mut u64,
    times: &mut [Times],
    clock: &Clock,
    intake: &mut Intake,
) -> usize {
    let mut did = 0;
    for (q, queue) in queues.iter_mut().enumerate() {
        if queue.shows() {
            did += in_place(queue, q, last, times, clock, intake);
            continue;
        }
        let n = queue.recv(batch);
        if n == 0 {
            continue;
        }
        did += n;
        (0..AHEAD).for_each(|i| batch.fetch(i));
        let times = &mut times[intake.card(q)];
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

/// The same of packets that are read where they lie; how many these were.
fn in_place(
    queue: &mut RxQueue,
    q: usize,
    last: &mut u64,
    times: &mut [Times],
    clock: &Clock,
    intake: &mut Intake,
) -> usize {
    if intake.is_full() {
        return 0;
    }
    let times = &mut times[intake.card(q)];
    times.batch(clock.wall_ns(clock.now()));
    queue.show(SHOWN, |parts, wire_len, stamp| {
        intake.take_parts(q, parts, wire_len, || times.alone(stamp, last));
        !intake.is_full()
    })
}
