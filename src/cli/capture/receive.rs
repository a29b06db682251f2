//! The loop that captures.
//!
//! It never waits for the disk, calls no system as long as packets flow (but to
//! wake the writer once a chunk), and copies each packet once.

use crate::cli::args::Limits;
use crate::cli::signal::Stop;
use crate::dma::{Batch, Pool};
use crate::driver::{Anomalies, RxQueue};
use crate::error::Result;
use crate::measure::{Clock, Idle, Ticks};
use crate::packet::Filter;
use crate::packet::write::{FLUSH, Recorder};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How far the capture is, for another thread to read.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets on their way into the file.
    pub taken: AtomicU64,
    /// Packets dropped because the disk was behind.
    pub dropped: AtomicU64,
}

/// The value of a counter.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// All that capturing needs.
pub struct Receiver {
    /// Polled in turn.
    pub queues: Vec<RxQueue>,
    /// Enough buffers for all rings and two batches.
    pub pool: Pool,
    /// Packets to take off a ring in one go.
    pub batch: usize,
    /// Packets to keep.
    pub filter: Filter,
    /// Where they go.
    pub recorder: Recorder,
    /// A clock of its own.
    pub clock: Clock,
    /// When it ends.
    pub limits: Limits,
    /// Who may end it earlier.
    pub stop: Stop,
    /// How far it is.
    pub counts: Arc<Counts>,
}

/// What came of it.
pub struct Ended {
    /// The file, not yet ended.
    pub recorder: Recorder,
    /// Packets that came off each ring.
    pub received: Vec<u64>,
    /// Packets that the filter left out.
    pub filtered: u64,
    /// What the card did wrong.
    pub anomalies: Anomalies,
}

/// How often the clock is set right by the system's.
const REFINE: Duration = Duration::from_secs(1);

/// Parts of a frame, at most: the longest frame in the smallest pieces a batch holds.
const PARTS: usize = crate::dma::BATCH_MAX;

impl Receiver {
    /// Captures until a limit is reached, writing fails, or somebody says stop.
    ///
    /// # Errors
    /// If the card cannot be given buffers.
    pub fn run(mut self) -> Result<Ended> {
        for queue in &mut self.queues {
            queue.fill(&self.pool)?;
        }
        let mut batch = Batch::with_limit(&self.pool, self.batch.max(8));
        let mut stamps: Vec<Stamp> = self.queues.iter().map(|_| Stamp::default()).collect();
        let mut received = vec![0; self.queues.len()];
        let mut filtered = 0;
        let mut left = self.limits.count.unwrap_or(u64::MAX);
        let start = self.clock.now();
        let end = self.limits.duration.map_or(Ticks::MAX, |d| start.saturating_add(self.clock.ticks(d)));
        let (flush, refine) = (self.clock.ticks(FLUSH), self.clock.ticks(REFINE));
        let (mut next_flush, mut next_refine) = (start + flush, start + refine);
        let mut idle = Idle::new();
        while !self.stop.requested() && left > 0 {
            let mut did = 0;
            for ((queue, stamp), received) in self.queues.iter_mut().zip(&mut stamps).zip(&mut received) {
                let n = queue.recv(&mut batch);
                if n == 0 {
                    continue;
                }
                did += n;
                stamp.batch(self.clock.wall_ns(self.clock.now()));
                let mut i = 0;
                while i < n {
                    let first = i;
                    while i + 1 < n && batch.continues(i) {
                        i += 1;
                    }
                    i += 1;
                    if left == 0 {
                        // Beyond the count: neither received nor lost, as if it came later.
                        break;
                    }
                    *received += 1;
                    let kept = keep(&self.filter, &mut self.recorder, &batch, first..i, stamp);
                    match kept {
                        None => filtered += 1,
                        Some(taken) => left -= u64::from(taken),
                    }
                }
                batch.clear();
            }
            let now = self.clock.now();
            if now >= next_flush {
                next_flush = now + flush;
                self.recorder.flush();
                self.counts.taken.store(self.recorder.taken(), Ordering::Relaxed);
                self.counts.dropped.store(self.recorder.dropped(), Ordering::Relaxed);
                if now >= end || self.recorder.has_failed() {
                    break;
                }
                if now >= next_refine {
                    next_refine = now + refine;
                    self.clock.refine();
                }
            } else if now >= end {
                break;
            }
            idle.polled(did);
        }
        let mut anomalies = Anomalies::default();
        for queue in &self.queues {
            anomalies.add(&queue.anomalies());
        }
        Ok(Ended { recorder: self.recorder, received, filtered, anomalies })
    }
}

/// Records the frame in entries `range` of `batch` if the filter wants it:
/// `None` if not, else whether there was room.
#[inline]
fn keep(
    filter: &Filter,
    recorder: &mut Recorder,
    batch: &Batch<'_>,
    range: std::ops::Range<usize>,
    stamp: &mut Stamp,
) -> Option<bool> {
    let frame = batch.frame(range.start);
    if range.len() == 1 {
        if !filter.matches(frame, frame.len()) {
            return None;
        }
        let time = stamp.packet(batch, range.start);
        return Some(recorder.record(time, frame));
    }
    let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
    let mut wire_len = 0;
    for (part, i) in parts.iter_mut().zip(range.clone()) {
        *part = batch.frame(i);
        wire_len += part.len();
    }
    // All headers that a filter looks at are in the first buffer.
    if !filter.matches(frame, wire_len) {
        return None;
    }
    let time = stamp.packet(batch, range.end - 1);
    Some(recorder.record_parts(time, &parts[..range.len()]))
}

/// Time of day for the packets of a queue: never backwards.
#[derive(Debug, Default)]
struct Stamp {
    /// When the batch was taken off the ring, ns since 1970.
    batch: u64,
    /// What to add to the card's clock, ns.
    offset: Option<i64>,
    last: u64,
}

/// A card's clock that is further off than this was set anew.
const SLIP: u64 = 1_000_000_000;

impl Stamp {
    fn batch(&mut self, now: u64) {
        self.batch = now;
    }

    /// The card's own stamp if it put one on, else the batch's.
    #[inline]
    fn packet(&mut self, batch: &Batch<'_>, i: usize) -> u64 {
        let time = match batch.meta(i).timestamp {
            None => self.batch,
            Some(stamp) => self.by_card(u64::try_from(stamp.0.as_nanos()).unwrap_or(u64::MAX)),
        };
        self.last = self.last.max(time);
        self.last
    }

    /// The card's clock counts from its start: it is tied to the time of day by
    /// the first packet, and again if it was set.
    fn by_card(&mut self, card: u64) -> u64 {
        let fresh = self.batch.wrapping_sub(card) as i64;
        let offset = *self.offset.get_or_insert(fresh);
        let time = card.wrapping_add_signed(offset);
        if time.abs_diff(self.batch) <= SLIP {
            return time;
        }
        self.offset = Some(fresh);
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cards_clock_is_tied_to_the_time_of_day_and_tied_again_when_it_is_set() {
        let mut stamp = Stamp::default();
        stamp.batch(1_000_000_000_000);
        assert_eq!(stamp.by_card(500), 1_000_000_000_000);
        stamp.batch(1_000_000_100_000);
        assert_eq!(stamp.by_card(90_500), 1_000_000_090_000, "the card's gaps are kept");
        stamp.batch(1_000_000_200_000);
        assert_eq!(stamp.by_card(7_000_000_000_000), 1_000_000_200_000, "set anew");
        assert_eq!(stamp.by_card(7_000_000_000_010), 1_000_000_200_010);
    }
}
