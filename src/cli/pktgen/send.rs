//! The loop that sends.
//!
//! ```text
//!   place n-1 ─┐            place n ─┐
//!   ───────────┴ring─┬─note─┬─make n─┴─spin─┴ring─┬─note─┬─make n+1 ...
//!                    └ gap: the time from here ────┘ to here, against that between the places
//! ```
//!
//! A packet of a schedule is made while the one before it is on its way: when it is due there
//! is nothing left to do but to give it to the ring. Nothing in the loop calls the system,
//! allocates or reads a register while packets flow: the clock is the processor's counter,
//! and whether to stop is a flag.

use super::due::{Due, Outcome};
use super::facts::Facts;
use super::hand::Hand;
use super::shortfall::{AWAY, Cause};
use super::traffic::{Schedule, Traffic};
use crate::cli::args::Limits;
use crate::cli::hang::Hang;
use crate::cli::signal::Stop;
use crate::dma::{BUFFER_SIZE, Batch, Pool};
use crate::driver::TxQueue;
use crate::measure::{Clock, Idle, Ticks};
use crate::packet::build::MAX_FRAME;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was sent so far and what is waited for, for another thread to read. Each thread that
/// sends writes lines of its own: two, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counts {
    packets: AtomicU64,
    due: AtomicU64,
}

impl Counts {
    /// Packets given to the rings.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// When the packet of a recording that was waited for last was due.
    pub fn due(&self) -> Ticks {
        self.due.load(Ordering::Relaxed)
    }
}

/// All that a thread needs to send.
pub struct Sender {
    /// Used in turn, a batch each.
    pub queues: Vec<TxQueue>,
    /// Enough buffers for all rings and two batches.
    pub pool: Pool,
    /// Packets to give to a ring in one go.
    pub batch: usize,
    /// What is sent.
    pub traffic: Traffic,
    /// When it is sent.
    pub schedule: Schedule,
    /// A clock of its own.
    pub clock: Clock,
    /// When it ends.
    pub limits: Limits,
    /// Who may end it earlier.
    pub stop: Stop,
    /// How far it is.
    pub counts: Arc<Counts>,
}

/// What was sent.
#[derive(Debug)]
pub struct Sent {
    /// Packets that the rings took.
    pub packets: u64,
    /// Bytes of them, without FCS.
    pub bytes: u64,
    /// Packets still in the rings when waiting for them ended.
    pub stuck: usize,
    /// When the first packet was given to a ring.
    pub first: Ticks,
    /// When the last packet was given to a ring.
    pub last: Ticks,
    /// When the card had sent all of them.
    pub drained: Ticks,
    /// What became of the schedule.
    pub schedule: Outcome,
    /// What was met of the recording, if it was one.
    pub met: Option<Facts>,
    /// How often and how long the recording was waited for.
    pub starved: Starved,
}

/// Waiting for a recording that was not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starved {
    /// Times.
    pub waits: u64,
    /// How long in all.
    pub ticks: Ticks,
    /// Packets that had been sent when the last began, and the last look at it.
    seen: (u64, Ticks),
}

impl Starved {
    /// At `now`, after so many packets, the next was not read yet.
    fn look(&mut self, packets: u64, now: Ticks) {
        if self.waits > 0 && self.seen.0 == packets {
            self.ticks += now - self.seen.1;
        } else {
            self.waits += 1;
        }
        self.seen = (packets, now);
    }
}

impl Sent {
    /// Adds what another thread sent.
    pub fn add(&mut self, other: &Sent) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.stuck += other.stuck;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.drained = self.drained.max(other.drained);
        self.schedule.add(&other.schedule);
        // A recording is one thread's.
        self.met = self.met.take().or(other.met.clone());
    }
}

/// Packets after which it pays to ask the card what it is done with.
const FRESH: u64 = 16;

/// How long packets in the rings may take to leave at the end, beside what a rate that the card
/// keeps lets them take.
const DRAIN: Duration = Duration::from_secs(1);

/// What is due later than this is waited for with the processor on offer to others.
const FAR: Duration = Duration::from_micros(10);

/// What is due sooner than this is waited for without a pause of the processor, which may
/// take 50 ns.
const NEAR: Duration = Duration::from_nanos(200);

impl Sender {
    /// Makes ready, asks `start` for the moment to begin, and sends until a limit is reached,
    /// the traffic ends, or somebody says stop.
    pub fn run(self, start: impl FnOnce(&Clock) -> Ticks) -> Sent {
        let Sender { mut queues, pool, batch: most, mut traffic, schedule, clock, limits, stop, counts } = self;
        // Room for the longest frame at least, which may lie in several buffers.
        let parts = traffic.longest().div_ceil(BUFFER_SIZE);
        let mut batch = Batch::with_limit(&pool, most.max(parts));
        let mut scratch = vec![0; MAX_FRAME];
        let [far, near, away] = [FAR, NEAR, AWAY].map(|time| clock.ticks(time));
        let holds = queues.iter().map(TxQueue::buffers).sum();
        let drain = match schedule {
            Schedule::Card { asked } => DRAIN + Duration::try_from_secs_f64(holds as f64 / asked).unwrap_or(DRAIN),
            _ => DRAIN,
        };
        let mut due = Due::new(schedule, away, holds);
        let paced = due.is_paced();
        let first = start(&clock);
        due.begin(first);
        let end = limits.duration.map_or(Ticks::MAX, |d| first.saturating_add(clock.ticks(d)));
        let mut left = limits.count.unwrap_or(u64::MAX);
        let (mut packets, mut bytes, mut last, mut fresh) = (0, 0, 0, 0);
        let mut hand = Hand::default();
        let mut starved = Starved::default();
        let mut turn = 0;
        let mut idle = Idle::new();
        let mut hang = Hang::default();
        while !stop.requested() {
            let mut now = clock.now();
            if paced {
                due.look(now);
            }
            if now >= end {
                break;
            }
            if batch.is_empty() {
                if left == 0 {
                    break;
                }
                let most = left.min(most as u64);
                hand = Hand::fill(&mut traffic, &mut batch, &mut due, [now, most], &clock, &mut scratch);
                if hand.made == 0 {
                    if traffic.is_over() {
                        break;
                    }
                    if traffic.is_late() {
                        starved.look(packets, now);
                        due.want(Cause::File, now);
                    } else {
                        due.want(Cause::Buffers, now);
                        hang.look(&stop);
                    }
                    reclaim(&mut queues, &pool);
                    idle.polled(0);
                    continue;
                }
                left -= hand.made;
            }
            if hand.due > now {
                if hand.due - now > far {
                    counts.due.store(due.awaited(hand.due), Ordering::Relaxed);
                    idle.polled(0);
                    continue;
                }
                if fresh >= FRESH && hand.due - now > 2 * near {
                    // There is time for it now, and not when the next packet is due.
                    fresh = 0;
                    reclaim(&mut queues, &pool);
                    now = clock.now();
                }
                now = wait(&clock, now, hand.due.min(end), near, &mut due);
                if now >= end {
                    continue;
                }
            }
            let took = queues[turn].send(&mut batch);
            if paced {
                // The doorbell is the last thing that send does.
                now = clock.now();
                due.gave(took, batch.is_empty(), !hand.begun, hand.due, now);
            }
            if took > 0 {
                last = now;
                hand.begun = true;
                hang.over();
            } else {
                hang.look(&stop);
            }
            if batch.is_empty() {
                let gone = std::mem::take(&mut hand);
                fresh += gone.made;
                packets += gone.made;
                bytes += gone.bytes;
                counts.packets.store(packets, Ordering::Relaxed);
                turn += 1;
                if turn == queues.len() {
                    turn = 0;
                }
            } else if took == 0 && pool.available() == 0 {
                reclaim(&mut queues, &pool);
            }
            idle.polled(took);
        }
        let over = clock.now().min(end);
        // What was made for a moment after the end was not asked for.
        let mut early = 0;
        if paced && hand.due >= over {
            batch.clear();
            early = std::mem::take(&mut hand).made;
        }
        let all = left == 0 || traffic.is_over();
        let given_up = if all { 0 } else { traffic.give_up(&mut due, over) };
        if given_up > 0 || !batch.is_empty() || !all && due.is_behind(over) {
            // Held up to the end: that time is part of the rate.
            last = over;
        }
        // What is in hand goes out, or is taken back.
        let patience = clock.now().saturating_add(clock.ticks(drain));
        while !batch.is_empty() && clock.now() < patience {
            let took = queues[turn].send(&mut batch);
            idle.polled(took);
        }
        let unsent = (0..batch.len()).filter(|&i| !batch.continues(i)).count() as u64;
        packets += hand.made - unsent.min(hand.made);
        bytes += hand.bytes - batch.frames().map(|frame| frame.len() as u64).sum::<u64>().min(hand.bytes);
        batch.clear();
        let (stuck, drained) = loop {
            let stuck = reclaim(&mut queues, &pool);
            let drained = clock.now();
            if stuck == 0 || drained >= patience {
                break (stuck, drained);
            }
            idle.polled(0);
        };
        counts.packets.store(packets, Ordering::Relaxed);
        let schedule = due.end((!all).then_some(over), unsent, early);
        Sent { packets, bytes, stuck, first, last, drained, schedule, met: traffic.met(), starved }
    }
}

/// Takes back what the rings are done with; packets that are still in them.
fn reclaim(queues: &mut [TxQueue], pool: &Pool) -> usize {
    queues.iter_mut().map(|queue| queue.reclaim(pool)).sum()
}

/// Waits until `until`, which is not far; what the clock says then.
#[inline]
fn wait(clock: &Clock, mut now: Ticks, until: Ticks, near: Ticks, due: &mut Due) -> Ticks {
    while until.saturating_sub(now) > near {
        spin_loop();
        due.look(now);
        now = clock.now();
    }
    // A thread that was away finds out in its last round: the others are short.
    let (before, then) = clock.spin(until);
    due.look(before.unwrap_or(now));
    due.look(then);
    // The counter may step by 10 ns, and a reading waits for a step: what follows this one
    // takes the same time each time.
    clock.now()
}
