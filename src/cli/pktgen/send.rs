//! The loop that sends.
//!
//! Nothing in it calls the system, allocates or reads a register: the clock is
//! the processor's counter, and whether to stop is a flag.

use super::traffic::{Schedule, Traffic, recorded_ticks};
use crate::cli::args::Limits;
use crate::cli::signal::Stop;
use crate::dma::{BUFFER_SIZE, Batch, Pool};
use crate::driver::TxQueue;
use crate::measure::{Clock, Histogram, Idle, Ticks};
use crate::packet::build::MAX_FRAME;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was sent so far and what is waited for, for another thread to read.
#[derive(Debug, Default)]
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

/// All that sending needs.
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
    /// Places in the schedule that passed while the sender was held up.
    pub skipped: u64,
    /// By how much a recording was moved in all, ticks.
    pub slipped: Ticks,
    /// How far the gaps were from the schedule, ticks.
    pub gaps: Histogram,
}

/// How long packets in the rings may take to leave at the end.
const DRAIN: Duration = Duration::from_secs(1);

impl Sender {
    /// Sends until a limit is reached, the traffic ends, or somebody says stop.
    pub fn run(mut self) -> Sent {
        // Room for the longest frame at least, which may lie in several buffers.
        let parts = self.traffic.longest().div_ceil(BUFFER_SIZE);
        let mut batch = Batch::with_limit(&self.pool, self.batch.max(parts));
        let mut scratch = vec![0; MAX_FRAME];
        let mut sent = Sent {
            packets: 0,
            bytes: 0,
            stuck: 0,
            first: self.clock.now(),
            last: 0,
            drained: 0,
            skipped: 0,
            slipped: 0,
            gaps: Histogram::new(),
        };
        let end = self.limits.duration.map_or(Ticks::MAX, |d| sent.first.saturating_add(self.clock.ticks(d)));
        let mut due = Due::new(&mut self.schedule, sent.first);
        let mut left = self.limits.count.unwrap_or(u64::MAX);
        // Frames of the batch in hand, which jumbo frames take several entries of.
        let mut made = 0_u64;
        let mut turn = 0;
        let mut idle = Idle::new();
        while !self.stop.requested() {
            let now = self.clock.now();
            if now >= end {
                break;
            }
            if batch.is_empty() {
                if left == 0 {
                    break;
                }
                made = 0;
                let time = self.clock.wall_ns(now);
                match &mut self.traffic {
                    Traffic::Built(builder) => {
                        let mut want = due.packets(now, self.batch).min(left as usize);
                        while want > 0 {
                            let len = builder.next_len();
                            if len <= BUFFER_SIZE {
                                let Some(frame) = batch.push(len) else { break };
                                builder.write(frame, time);
                            } else {
                                if batch.room() < len.div_ceil(BUFFER_SIZE) || self.pool.available() < 8 {
                                    break;
                                }
                                builder.write(&mut scratch[..len], time);
                                batch.push_frame(&scratch[..len]);
                            }
                            sent.bytes += len as u64;
                            made += 1;
                            want -= 1;
                        }
                        due.made(made);
                    }
                    Traffic::Replay(replay) => {
                        while made < left {
                            let Some((frame, ns)) = replay.peek() else { break };
                            if !due.is_now(now, ns) {
                                self.counts.due.store(due.at(ns), Ordering::Relaxed);
                                break;
                            }
                            if !batch.push_frame(frame) {
                                break;
                            }
                            sent.bytes += frame.len() as u64;
                            replay.step();
                            due.used();
                            made += 1;
                        }
                        if made == 0 && replay.peek().is_none() {
                            break;
                        }
                    }
                }
                left -= made;
            }
            let took = if batch.is_empty() { 0 } else { self.queues[turn].send(&mut batch) };
            if took > 0 {
                sent.last = now;
            }
            if batch.is_empty() && made > 0 {
                sent.packets += made;
                made = 0;
                self.counts.packets.store(sent.packets, Ordering::Relaxed);
                turn += 1;
                if turn == self.queues.len() {
                    turn = 0;
                }
            } else if took == 0 && self.pool.available() == 0 {
                for queue in &mut self.queues {
                    queue.reclaim(&self.pool);
                }
            }
            idle.polled(took);
        }
        if !batch.is_empty() || due.owed > 0 {
            // Held up to the end: that time is part of the rate.
            sent.last = self.clock.now();
        }
        // What is in hand goes out, or is taken back.
        let patience = self.clock.now().saturating_add(self.clock.ticks(DRAIN));
        while !batch.is_empty() && self.clock.now() < patience {
            let took = self.queues[turn].send(&mut batch);
            idle.polled(took);
        }
        let kept = (0..batch.len()).filter(|&i| !batch.continues(i)).count() as u64;
        sent.packets += made - kept.min(made);
        sent.bytes -= batch.frames().map(|frame| frame.len() as u64).sum::<u64>();
        batch.clear();
        loop {
            sent.stuck = self.queues.iter_mut().map(|queue| queue.reclaim(&self.pool)).sum();
            sent.drained = self.clock.now();
            if sent.stuck == 0 || sent.drained >= patience {
                break;
            }
            idle.polled(0);
        }
        self.counts.packets.store(sent.packets, Ordering::Relaxed);
        due.finish(&mut sent);
        sent
    }
}

/// What the schedule says now.
struct Due<'a> {
    schedule: &'a mut Schedule,
    start: Ticks,
    /// Packets that were due and have not been made for want of a buffer.
    owed: usize,
    /// Lateness of the packet before, for the gaps of a recording.
    late: Option<Ticks>,
    next_late: Ticks,
    stalls: u64,
    slipped: Ticks,
    gaps: Histogram,
}

impl<'a> Due<'a> {
    fn new(schedule: &'a mut Schedule, start: Ticks) -> Self {
        if let Schedule::Rate { pace, .. } = schedule {
            pace.start(start);
        }
        Due { schedule, start, owed: 0, late: None, next_late: 0, stalls: 0, slipped: 0, gaps: Histogram::new() }
    }

    /// How many packets may go, at most `max`.
    #[inline]
    fn packets(&mut self, now: Ticks, max: usize) -> usize {
        match self.schedule {
            Schedule::Rate { pace, burst, .. } => {
                if self.owed < max {
                    self.owed += pace.take(now, (max - self.owed).div_ceil(*burst)) * *burst;
                }
                self.owed.min(max)
            }
            _ => max,
        }
    }

    /// `n` packets were made.
    #[inline]
    fn made(&mut self, n: u64) {
        self.owed = self.owed.saturating_sub(n as usize);
    }

    /// When a packet recorded at `ns` is due; 0 if that is not what decides.
    #[inline]
    fn at(&self, ns: u64) -> Ticks {
        match &*self.schedule {
            Schedule::Recorded { ticks_per_ns, .. } => self.start + recorded_ticks(*ticks_per_ns, ns),
            _ => 0,
        }
    }

    /// Whether a packet recorded at `ns` may go now. At a rate, takes its place.
    #[inline]
    fn is_now(&mut self, now: Ticks, ns: u64) -> bool {
        match self.schedule {
            Schedule::Line => true,
            Schedule::Rate { .. } => self.packets(now, 1) > 0,
            Schedule::Recorded { ticks_per_ns, slack, .. } => {
                let due = self.start + recorded_ticks(*ticks_per_ns, ns);
                let Some(late) = now.checked_sub(due) else {
                    return false;
                };
                if late > *slack {
                    // Held up: what follows keeps its gaps, and there is no burst.
                    self.start += late - *slack;
                    self.slipped += late - *slack;
                    self.stalls += 1;
                    self.late = None;
                }
                self.next_late = late.min(*slack);
                true
            }
        }
    }

    /// The packet that [`Due::is_now`] was asked about went.
    #[inline]
    fn used(&mut self) {
        match self.schedule {
            Schedule::Line => {}
            Schedule::Rate { .. } => self.owed = self.owed.saturating_sub(1),
            Schedule::Recorded { .. } => {
                if let Some(before) = self.late.replace(self.next_late) {
                    self.gaps.record(self.next_late.abs_diff(before));
                }
            }
        }
    }

    fn finish(self, sent: &mut Sent) {
        match self.schedule {
            Schedule::Line => {}
            Schedule::Rate { pace, burst, .. } => {
                sent.skipped = pace.skipped() * *burst as u64;
                sent.gaps = pace.gap_errors().clone();
            }
            Schedule::Recorded { .. } => {
                sent.skipped = self.stalls;
                sent.slipped = self.slipped;
                sent.gaps = self.gaps;
            }
        }
    }
}
