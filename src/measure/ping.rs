//! Latency of one packet at a time.
//!
//! ```text
//!            due            sent                      received
//!   schedule --|--------------|---------------------------|
//!              |              |<------- service --------->|   driver, card, wire, driver
//!              |<-------------------- intended ---------->|   what a user would have waited
//! ```
//!
//! Packets leave on a schedule that does not wait for answers (open loop). Where
//! the sender itself was held up, the service time does not show it and the
//! intended time does: packets that were skipped in a stall count there with the
//! time they would have waited (no coordinated omission). Both are kept.
//!
//! Other traffic may flow beside them ([`Load`]), through the same two queues: a packet waits
//! behind what is in the ring before it, and its own latency is all that is timed.
//!
//! While packets flow the loop makes no system call; it allocates nothing and is
//! compiled for the family of the queues ([`crate::driver::queue`]).

mod intervals;
mod load;
mod own;

pub use self::intervals::{Interval, Intervals, Written};
pub use self::load::{Carried, Load};
pub use self::own::{Empty, Own};

use self::load::Background;
use super::flights::{Arrival, Flight, Flights, Origin};
use super::probe::{self, MAX_LEN, MIN_LEN, Probes};
use super::{Clock, Histogram, Idle, Pace, Patience, Ticks};
use crate::dma::{Batch, Pool};
use crate::driver::queue::{Loop, Receive, Transmit};
use crate::error::{Error, Kind, Result};
use std::ops::Range;
use std::time::Duration;

/// How long a full ring may stay full.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Rounds of the loop after which it looks whether it is over, where no packet is due.
const LOOK: u64 = 1_024;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Frame size in bytes without FCS, from 60 on; as long as the card takes.
    pub frame: usize,
    /// Packets a second.
    pub rate: f64,
    /// What is sent beside them.
    pub load: Option<Load>,
    /// Packets to count, warm-up not among them.
    pub count: Option<u64>,
    /// Time to count, warm-up not in it.
    pub duration: Option<Duration>,
    /// Time before anything is counted.
    pub warm_up: Duration,
    /// How long to wait for packets that are still out at the end.
    pub grace: Duration,
    /// Keep the first so many samples one by one.
    pub raw: usize,
    /// Addresses to send from and to.
    pub addresses: [[u8; 6]; 2],
}

/// What was measured. Warm-up is in none of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// From just before the packet was given to the driver until the driver had
    /// given it back, ns.
    pub service: Histogram,
    /// From when the packet was due, ns; packets skipped in a stall included.
    pub intended: Histogram,
    /// Packets sent.
    pub sent: u64,
    /// Of these, how many did not come back.
    pub lost: u64,
    /// Packets that came back more than once, each further time.
    pub duplicated: u64,
    /// Packets that came back after one that was sent later (RFC 4737 §3.3).
    pub reordered: u64,
    /// Frames that were not ours, were spoilt, or came back after 65536 others.
    pub foreign: u64,
    /// Slots of the schedule that passed while the sender was held up. They are
    /// in `intended`, but for those after the last packet.
    pub skipped: u64,
    /// The card stopped taking packets, and the run ended early.
    pub stuck: bool,
    /// Packets, of the load and of warm-up too, that the card had not reported as sent when the
    /// wait for the rest was over.
    pub unreported: u64,
    /// Time over which packets were sent, ns.
    pub elapsed_ns: u64,
    /// The first samples one by one.
    pub raw: Vec<Sample>,
    /// What became of the load, if there was one.
    pub load: Option<Carried>,
}

/// One packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its number, from 0 at the first that was counted.
    pub sequence: u64,
    /// When it was due, ns after the first.
    pub due_ns: u64,
    /// From sent until received, ns.
    pub service_ns: u64,
    /// From due until received, ns.
    pub intended_ns: u64,
}

impl Report {
    /// Packets that came back.
    pub fn received(&self) -> u64 {
        self.sent - self.lost
    }

    /// Packets sent a second.
    pub fn rate(&self) -> f64 {
        self.per_second(self.sent)
    }

    /// Packets of the load sent a second; 0 without one.
    pub fn load_rate(&self) -> f64 {
        self.load.map_or(0.0, |load| self.per_second(load.sent))
    }

    fn per_second(&self, packets: u64) -> f64 {
        if self.elapsed_ns == 0 { 0.0 } else { packets as f64 * 1e9 / self.elapsed_ns as f64 }
    }
}

/// The measurement, ready to run on a pair of queues.
pub struct Ping<'a, S> {
    clock: &'a Clock,
    pool: &'a Pool,
    plan: Plan,
    pace: Pace,
    probes: Probes,
    load: Option<Box<Background<'a>>>,
    intervals: Option<Box<Intervals>>,
    idle: Idle,
    stop: S,
    flights: Flights,
    report: Report,
}

impl<'a, S: Fn() -> bool> Ping<'a, S> {
    /// Checks the plan and makes everything that is needed, so that running it
    /// allocates nothing. `stop` is asked before every packet.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a size or rate that cannot be had.
    pub fn new(clock: &'a Clock, pool: &'a Pool, plan: Plan, stop: S) -> Result<Self> {
        let mut sizes = plan.load.iter().flat_map(|load| &load.frames).copied().chain([plan.frame]);
        if let Some(size) = sizes.find(|size| !(MIN_LEN..=MAX_LEN).contains(size)) {
            let (size, least, most) = (size + 4, MIN_LEN + 4, MAX_LEN + 4);
            let line = format!("no frame of {size} bytes can be made; with FCS they have {least} to {most} bytes");
            return Err(Error::new(Kind::Usage, line));
        }
        let pace = Pace::new(clock, plan.rate)?;
        // One packet late at most is sent after a stall: a burst would queue behind itself.
        let slack = (pace.interval() as Ticks).max(clock.ticks(Duration::from_micros(5)));
        let [from, to] = plan.addresses;
        // The device's thread has a processor of its own, if there are two: giving
        // way would only cost time. A millisecond without a packet says otherwise.
        let alone = crate::sys::affinity().is_ok_and(|cpus| cpus.len() >= 2);
        let run = clock.now() as u32;
        let load = plan.load.as_ref().map(|load| Background::new(clock, pool, load, run.wrapping_add(1), [from, to]));
        Ok(Ping {
            clock,
            pool,
            pace: pace.with_slack(slack),
            probes: Probes::new(run, plan.frame, from, to),
            load: load.transpose()?.map(Box::new),
            intervals: None,
            idle: if alone { Idle::with_spins(1 << 16) } else { Idle::new() },
            stop,
            flights: Flights::new(),
            report: Report { raw: touched(plan.raw), ..Report::default() },
            plan,
        })
    }

    /// The same, which gives the samples of each interval away as it goes.
    #[must_use]
    pub fn with_intervals(mut self, intervals: Option<Intervals>) -> Self {
        self.intervals = intervals.map(Box::new);
        self
    }

    /// Sends until the plan is fulfilled or `stop` says so.
    fn send_all<R: Receive, T: Transmit>(&mut self, rx: &mut R, tx: &mut T, incoming: &mut Batch<'_>) {
        let mut outgoing = Batch::with_limit(self.pool, probe::parts(self.plan.frame));
        let start = self.clock.now();
        let counted_from = start.saturating_add(self.clock.ticks(self.plan.warm_up));
        let end = self.plan.duration.map_or(Ticks::MAX, |time| counted_from.saturating_add(self.clock.ticks(time)));
        let count = self.plan.count.unwrap_or(u64::MAX);
        self.pace.start(start);
        if let Some(load) = &mut self.load {
            load.start(start, counted_from);
        }
        if let Some(intervals) = &mut self.intervals {
            intervals.begin(counted_from);
        }
        let mut last = counted_from;
        // Slots that were skipped since the last packet.
        let mut skipped = 0;
        let patience = Patience::new(self.clock, PATIENCE);
        let mut blocked = patience.clone();
        let mut rounds: u64 = 0;
        loop {
            let mut did = 0;
            if outgoing.is_empty()
                && let Some(slot) = self.pace.slot(self.clock.now())
            {
                if let Some(intervals) = self.intervals.as_mut().filter(|intervals| slot.due >= intervals.end) {
                    intervals.roll(slot.due);
                }
                skipped += slot.skipped;
                if slot.due >= end || self.report.sent >= count || (self.stop)() {
                    self.report.skipped += within(slot.due, skipped, self.pace.interval(), counted_from..end);
                    break;
                }
                if self.probes.push(&mut outgoing, self.plan.frame, self.flights.next) {
                    let counted = slot.due >= counted_from;
                    skipped = within(slot.due, skipped, self.pace.interval(), counted_from..end);
                    self.report.skipped += skipped;
                    self.report.sent += u64::from(counted);
                    last = slot.due;
                    let sent = self.clock.now_ordered();
                    self.flights.leave(Flight { due: slot.due, sent, skipped, counted, ..Flight::default() });
                    skipped = 0;
                } else {
                    // All buffers are out: this one is late too.
                    skipped += 1;
                    tx.reclaim(self.pool);
                }
            }
            if !outgoing.is_empty() {
                // A full ring is tried again, and the time counts as service.
                let taken = tx.send(&mut outgoing);
                if taken > 0 {
                    blocked = patience.clone();
                } else if self.is_stuck(&mut blocked) {
                    break;
                }
                did += taken;
            }
            // The load leaves the ring to a probe that waits for room in it.
            if let Some(load) = self.load.as_mut().filter(|_| outgoing.is_empty()) {
                did += load.send(self.clock, tx);
            }
            did += self.receive(rx, incoming);
            self.idle.polled(did);
            // The next packet may be due in an hour.
            rounds += 1;
            if rounds.is_multiple_of(LOOK) && outgoing.is_empty() && (self.clock.now() >= end || (self.stop)()) {
                break;
            }
        }
        self.report.elapsed_ns = self.clock.ns(last.saturating_sub(counted_from)) + self.interval_ns();
    }

    /// Whether the ring has been full for so long that it will not empty, or
    /// nobody wants to wait for it any more.
    #[cold]
    fn is_stuck(&mut self, blocked: &mut Patience) -> bool {
        self.report.stuck = blocked.is_over(self.clock.now());
        self.report.stuck || (self.stop)()
    }

    /// Waits for packets that are still out.
    fn wait_for_the_rest<R: Receive, T: Transmit>(&mut self, rx: &mut R, tx: &mut T, incoming: &mut Batch<'_>) {
        let mut patience = Patience::new(self.clock, self.plan.grace);
        loop {
            self.report.unreported = tx.reclaim(self.pool) as u64;
            let out = self.flights.arrived < self.flights.next
                || self.load.as_ref().is_some_and(|load| load.is_out())
                || self.report.unreported > 0;
            if !out || patience.is_over(self.clock.now()) {
                break;
            }
            let did = self.receive(rx, incoming);
            self.idle.polled(did);
        }
    }

    #[inline]
    fn receive<R: Receive>(&mut self, rx: &mut R, incoming: &mut Batch<'_>) -> usize {
        let n = rx.recv(incoming);
        if n > 0 {
            // One reading for what was taken off the ring together.
            let now = self.clock.now_ordered();
            for i in 0..n {
                // A frame of several buffers is known by its first.
                if i > 0 && incoming.continues(i - 1) {
                    continue;
                }
                let frame = incoming.frame(i);
                let sequence = self.probes.sequence(frame);
                if sequence.is_some() || !self.load.as_mut().is_some_and(|load| load.arrived(frame)) {
                    self.arrived(sequence, now);
                }
            }
            incoming.clear();
        }
        n
    }

    #[inline]
    fn arrived(&mut self, sequence: Option<u64>, now: Ticks) {
        match sequence.map_or(Arrival::Foreign, |sequence| self.flights.arrive(sequence)) {
            Arrival::First { flight, overtaken } => {
                if flight.counted {
                    self.report.reordered += u64::from(overtaken);
                    self.count(sequence.unwrap_or(0), &flight, now);
                }
            }
            Arrival::Again { counted } => self.report.duplicated += u64::from(counted),
            Arrival::Foreign => self.report.foreign += 1,
        }
    }

    #[inline]
    fn count(&mut self, sequence: u64, flight: &Flight, now: Ticks) {
        let service_ns = self.clock.ns(now.saturating_sub(flight.sent));
        let intended_ns = self.clock.ns(now.saturating_sub(flight.due));
        self.report.service.record(service_ns);
        self.report.intended.record(intended_ns);
        if let Some(intervals) = &mut self.intervals {
            intervals.record(Some(service_ns), intended_ns, 1);
        }
        if flight.skipped > 0 {
            self.count_skipped(flight, intended_ns);
        }
        if self.report.raw.len() < self.plan.raw {
            let first = self.flights.first_counted.unwrap_or(Origin { sequence, due: flight.due });
            self.report.raw.push(Sample {
                sequence: sequence - first.sequence,
                due_ns: self.clock.ns(flight.due - first.due),
                service_ns,
                intended_ns,
            });
        }
    }

    /// What the slots skipped before `flight` would have waited.
    #[cold]
    fn count_skipped(&mut self, flight: &Flight, intended_ns: u64) {
        /// After a very long stall neighbours are counted together.
        const MOST: u64 = 4_096;
        let interval = self.pace.interval();
        let step = flight.skipped.div_ceil(MOST);
        for first in (1..=flight.skipped).step_by(step as usize) {
            let earlier = self.clock.ns((first as f64 * interval) as Ticks);
            let together = step.min(flight.skipped - first + 1);
            let waited = intended_ns.saturating_add(earlier);
            self.report.intended.record_n(waited, together);
            if let Some(intervals) = &mut self.intervals {
                intervals.record(None, waited, together);
            }
        }
    }

    fn interval_ns(&self) -> u64 {
        self.clock.ns(self.pace.interval() as Ticks)
    }
}

impl<S: Fn() -> bool> Loop for Ping<'_, S> {
    type Output = Report;

    fn run<R: Receive, T: Transmit>(mut self, rx: &mut R, tx: &mut T) -> Report {
        let mut incoming = Batch::with_limit(self.pool, 32);
        self.send_all(rx, tx, &mut incoming);
        if let Some(load) = &mut self.load {
            load.end();
        }
        self.wait_for_the_rest(rx, tx, &mut incoming);
        if let Some(intervals) = self.intervals {
            intervals.finish(self.clock.now());
        }
        // `arrived` counts each packet once, so it cannot exceed what was sent.
        self.report.lost = self.report.sent.saturating_sub(self.report.service.count());
        self.report.load = self.load.map(|load| load.carried());
        self.report
    }
}

/// An empty vector for `n` samples whose pages are already there, so that filling
/// it faults on none of them.
fn touched(n: usize) -> Vec<Sample> {
    let mut samples = vec![Sample { sequence: u64::MAX, ..Sample::default() }; n];
    samples.clear();
    samples
}

/// Of the `skipped` slots before the one at `due`, how many lie in `window`.
fn within(due: Ticks, skipped: u64, interval: f64, window: Range<Ticks>) -> u64 {
    if skipped == 0 || due < window.start {
        return 0;
    }
    let slots_since = |at: Ticks| ((due - at) as f64 / interval) as u64;
    let after_end = if due < window.end { 0 } else { slots_since(window.end) };
    slots_since(window.start).min(skipped).saturating_sub(after_end)
}

#[cfg(test)]
mod tests;
