//! When each packet came, as time of day.
//!
//! ```text
//!   main thread    reads the card's clock between two readings of ours,
//!                  at the start and every second     [Gauge]
//!        |  points
//!        v
//!   capture        relation of the two clocks: stamp -> time of day    [Times]
//! ```
//!
//! A card without a clock has its packets stamped as each batch leaves the ring.
//! So is a packet that carries no stamp though its card has a clock, but no later
//! than the stamped ones behind it; such packets are counted.

use crate::dma::{Batch, Timestamp};
use crate::driver::{Nic, TimestampSource};
use crate::error::Result;
use crate::measure::{Clock, Point, Relation, SLIP_NS};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Readings of the card's clock in a row, of which the quickest is believed.
const TRIES: usize = 8;

/// Readings on their way from one thread to the other.
const ON_THE_WAY: usize = 4;

/// Nanoseconds are what a capture file counts.
const FILE_STEP_PS: u32 = 1_000;

/// Reads a card's clock again and again, beside the one that captures.
pub struct Gauge {
    clock: Clock,
    points: Vec<SyncSender<Point>>,
}

/// Where the times of packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    kind: TimestampSource,
    /// Of a card's clock: its step.
    step_ps: u32,
}

/// What packets' times are worked out from.
pub struct Times {
    source: Source,
    relation: Option<Relation>,
    points: Receiver<Point>,
    /// When the batch was taken off its ring, ns since 1970.
    batch: u64,
    /// Latest stamp that was asked for.
    told: u64,
    unstamped: u64,
}

/// The quickest of several readings; none if no clock of the card's stamps packets.
fn read(nic: &mut Nic, clock: &Clock) -> Result<Option<(Point, u32)>> {
    let mut best: Option<(Point, u32)> = None;
    for _ in 0..TRIES {
        let Some(reading) = nic.clock(&mut || clock.now_ordered())? else { return Ok(None) };
        let took = reading.after.saturating_sub(reading.before);
        // As late as half of it, either way, and by a step of the card's.
        let within = clock.ns(took).div_ceil(2) + u64::from(reading.step_ps.div_ceil(1_000));
        if best.is_none_or(|(best, _)| within < best.within) {
            let card = u64::try_from(reading.time.0.as_nanos()).unwrap_or(u64::MAX);
            let point = Point { card, wall: clock.wall_ns(reading.before + took / 2), within };
            best = Some((point, reading.step_ps));
        }
    }
    Ok(best)
}

impl Gauge {
    /// Reads the card's clock for the first time: a gauge for the thread that owns
    /// the card, and what each of those that capture works with.
    pub fn new(nic: &mut Nic, clock: Clock, threads: usize) -> Result<(Gauge, Vec<Times>)> {
        let first = read(nic, &clock)?;
        let (senders, points): (Vec<_>, Vec<_>) = (0..threads).map(|_| sync_channel(ON_THE_WAY)).unzip();
        let kind = nic.describe().timestamps;
        let times = points.into_iter().map(|points| Times::new(first, kind, points)).collect();
        Ok((Gauge { clock, points: senders }, times))
    }

    /// Reads it again. For about once a second.
    pub fn read(&mut self, nic: &mut Nic) -> Result<()> {
        self.clock.refine();
        if let Some((point, _)) = read(nic, &self.clock)? {
            // If the other side is behind it has newer ones than it uses.
            self.points.iter().for_each(|thread| _ = thread.try_send(point));
        }
        Ok(())
    }
}

impl Times {
    /// Times by our own clock alone.
    pub fn by_ours() -> Times {
        Times::new(None, TimestampSource::Tsc, sync_channel(1).1)
    }

    /// Times by the first reading of the card's clock, if it has one, and those that follow.
    fn new(first: Option<(Point, u32)>, kind: TimestampSource, points: Receiver<Point>) -> Times {
        let kind = if first.is_some() { kind } else { TimestampSource::Tsc };
        Times {
            source: Source { kind, step_ps: first.map_or(0, |(_, step)| step) },
            relation: first.map(|(point, _)| Relation::new(point)),
            points,
            batch: 0,
            told: 0,
            unstamped: 0,
        }
    }

    /// Times by the card's clock and another one that stands still meanwhile.
    #[cfg(test)]
    pub fn beside(nic: &mut Nic, now: impl Fn() -> u64) -> Times {
        let reading = nic.clock(&mut || now()).unwrap().expect("a card with a clock");
        let (card, wall) = (reading.time.0.as_nanos() as u64, reading.after);
        let (_, points) = sync_channel(1);
        Times {
            source: Source { kind: TimestampSource::Hardware, step_ps: reading.step_ps },
            relation: Some(Relation::new(Point { card, wall, within: wall - reading.before })),
            points,
            batch: 0,
            told: 0,
            unstamped: 0,
        }
    }

    /// Whether packets carry stamps of the card's.
    pub fn by_card(&self) -> bool {
        self.relation.is_some()
    }

    /// A batch was taken off its ring at this time of day.
    #[inline]
    pub fn batch(&mut self, now: u64) {
        self.batch = now;
    }

    /// Takes in the readings of the card's clock that have come meanwhile; waits for none.
    pub fn follow(&mut self) {
        while let Ok(point) = self.points.try_recv() {
            if let Some(relation) = &mut self.relation
                && !relation.follow(point, self.told)
            {
                // What was told was of the clock before.
                self.told = 0;
            }
        }
    }

    /// When the packet that ends in entry `i` came, ns since 1970: by its stamp, or
    /// with its batch. `last`: when the one before it in its queue came, which it
    /// cannot have overtaken.
    #[inline]
    pub fn packet(&mut self, batch: &Batch<'_>, i: usize, last: &mut u64) -> u64 {
        let time = match self.stamped(batch.meta(i).timestamp) {
            Some((card, time)) => {
                self.told = self.told.max(card);
                time
            }
            None if self.relation.is_none() => self.batch,
            None => self.without(batch, i),
        };
        self.in_order(time, last)
    }

    /// The same of a packet with this stamp, behind which none is known yet.
    #[inline]
    pub fn alone(&mut self, stamp: Option<Timestamp>, last: &mut u64) -> u64 {
        let time = match self.stamped(stamp) {
            Some((card, time)) => {
                self.told = self.told.max(card);
                time
            }
            None => {
                self.unstamped += u64::from(self.relation.is_some());
                self.batch
            }
        };
        self.in_order(time, last)
    }

    /// This time, or that of the packet before.
    #[inline]
    fn in_order(&self, time: u64, last: &mut u64) -> u64 {
        // Time of day that was set back by more than that is followed.
        if last.wrapping_sub(time) > SLIP_NS {
            *last = time;
        }
        *last
    }

    /// A stamp, and its time of day. Of one that is
    /// far from now nothing is known: the card's clock was set since it was read.
    #[inline]
    fn stamped(&self, stamp: Option<Timestamp>) -> Option<(u64, u64)> {
        let relation = self.relation.as_ref()?;
        let card = u64::try_from(stamp?.0.as_nanos()).ok()?;
        let time = relation.wall(card);
        (time.abs_diff(self.batch) <= SLIP_NS).then_some((card, time))
    }

    /// The time of a packet without a stamp.
    #[cold]
    fn without(&mut self, batch: &Batch<'_>, i: usize) -> u64 {
        self.unstamped += 1;
        let behind = (i + 1..batch.len()).find_map(|n| self.stamped(batch.meta(n).timestamp));
        behind.map_or(self.batch, |(_, time)| time.min(self.batch))
    }

    /// What there is to say of the times in the file; `late`: packets that were
    /// written behind later ones.
    pub fn summary(&self, late: u64) -> Summary {
        Summary { source: self.source, relation: self.relation.clone(), unstamped: self.unstamped, late }
    }
}

/// What there is to say of the times in a file.
pub struct Summary {
    source: Source,
    relation: Option<Relation>,
    unstamped: u64,
    late: u64,
}

impl Summary {
    /// Packets that were written behind later ones.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Adds what another thread has to say of its packets.
    pub fn add(&mut self, other: &Summary) {
        self.unstamped += other.unstamped;
        self.late += other.late;
    }

    /// In a line.
    pub fn line(&self) -> String {
        let Some(relation) = &self.relation else {
            return "tsc: the processor's counter as each batch leaves the ring, as time of day".into();
        };
        if self.source.kind == TimestampSource::Kernel {
            return "kernel: its time of day as it took each packet over from its driver".into();
        }
        format!(
            "hw: the card's clock (resolution {}), as time of day to +-{:.1} us by {} readings, {:+.1} ppm",
            nanoseconds(self.step_ps()),
            relation.uncertainty() as f64 / 1e3,
            relation.readings(),
            relation.drift_ppm(),
        )
    }

    /// What is not as it should be.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let unstamped = format!(
            "{} packets carry no stamp of the card's: their times are those at which their batch left the ring",
            self.unstamped
        );
        let late =
            format!("{} packets stand behind later ones in the file: their queue showed them too late", self.late);
        [(self.unstamped, unstamped), (self.late, late)]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(_, text)| text)
    }

    /// As fields of a document.
    pub fn json(&self) -> Value {
        let by_card = self.relation.as_ref();
        json!({
            "source": self.source.kind.to_string(),
            "resolution_ns": by_card.map(|_| f64::from(self.step_ps()) / 1e3),
            "offset_uncertainty_ns": by_card.map(Relation::uncertainty),
            "readings": by_card.map(Relation::readings),
            "drift": by_card.map(|relation| relation.drift_ppm() / 1e6),
            "unstamped": self.unstamped,
            "late": self.late,
        })
    }

    /// What two times in the file differ by at least, if they differ: the clock's
    /// step, or the file's.
    fn step_ps(&self) -> u32 {
        self.source.step_ps.max(FILE_STEP_PS)
    }
}

fn nanoseconds(picoseconds: u32) -> String {
    let ns = f64::from(picoseconds) / 1e3;
    if picoseconds.is_multiple_of(1_000) { format!("{ns:.0} ns") } else { format!("{ns:.1} ns") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Pool;
    use crate::driver::{self, Config, Port};
    use crate::emu::{Drive, Engine};

    /// Stamps of `count` packets in a row, in nanoseconds, of a card that is stepped
    /// every `step` picoseconds.
    fn stamps(card: &str, step: u64, count: usize) -> Vec<u64> {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&card.parse().unwrap()).unwrap();
        let config = Config { timestamps: true, ..Config::default() };
        let Port { mut rx, tx: _tx, nic: _nic } = driver::open(function.clone(), &config).unwrap();
        let pool = Pool::new(1024, function.addressing()).unwrap();
        function.map(pool.arena()).unwrap();
        rx[0].fill(&pool).unwrap();
        let mut batch = Batch::new(&pool);
        let mut stamps = Vec::new();
        for _ in 0..1_000_000 {
            engine.advance(step);
            while engine.step() > 0 {}
            while rx[0].recv(&mut batch) > 0 {
                stamps.extend((0..batch.len()).map(|i| batch.meta(i).timestamp.expect("a stamp").0.as_nanos() as u64));
                batch.clear();
            }
            if stamps.len() >= count {
                break;
            }
        }
        assert_eq!(tap.violations(), []);
        stamps.truncate(count);
        assert_eq!(stamps.len(), count, "{card}");
        stamps
    }

    #[test]
    fn stamps_are_as_far_apart_as_packets_are_on_the_wire_however_seldom_the_card_is_stepped() {
        // Steps of the clocks: 12.5 and 0.25 ns, told in whole nanoseconds.
        for (model, resolution) in [("x550", 13.5), ("x2522", 1.25), ("sfc9220", 8.5)] {
            for (rate, gap, step) in
                [("10k", 100_000.0, 400_000_000), ("line", 67.2, 5_000_000), ("1M", 1_000.0, 90_000_000)]
            {
                let card = format!("{model},strict,wire=source:rate={rate}");
                let stamps = stamps(&card, step, 3_000);
                // What had waited for the link came at another rate.
                let stamps = &stamps[1_000..];
                for pair in stamps.windows(2) {
                    let apart = pair[1] as f64 - pair[0] as f64;
                    assert!((apart - gap).abs() <= resolution, "{card}: {pair:?}");
                }
                let all = (stamps[1_999] - stamps[0]) as f64;
                assert!((all - 1_999.0 * gap).abs() <= 2.0 * resolution + 1.0, "{card}: {all}");
            }
        }
    }
}
