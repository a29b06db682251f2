//! How many packets a second go through, and what the driver takes for each.
//!
//! ```text
//!   for (duration):
//!     fill a batch with probes        not timed: the application's work
//!     tx.send(batch)                  timed  -> cycles a packet, tx
//!     rx.recv(batch)                  timed  -> cycles a packet, rx
//!     look at what came               not timed
//!   wait for the rest (grace)         what has not come then is lost, or stuck in the ring
//! ```
//!
//! One thread sends and receives. A call is timed with two readings of the
//! counter, whose own cost is taken off; calls that moved nothing are not
//! counted; the figure is the median over packets, so that an interrupt in the
//! middle of a call does not show. A cycle is a tick of the counter, not of a
//! core whose frequency changes. What the calls wait for (cache lines that the
//! device, or the thread that plays it, has just written) is in the figure.
//!
//! A thread that the machine puts aside neither sends nor receives. Rounds of the
//! loop that took too long ([`Plan::patience`]) are added up, so that a reader of
//! the figures can tell which loss is the device's ([`Trial::verdict`]).

use super::probe::{MIN_LEN, Probes, wire_bits};
use super::search::Trial;
use super::seen::{Came, Seen};
use super::{Clock, Histogram, Idle, Pace, Patience, Ticks};
use crate::dma::{BATCH_MAX, BUFFER_SIZE, Batch, Pool};
use crate::driver::queue::{Loop, Receive, Transmit};
use crate::error::{Error, Kind, Result};
use std::time::Duration;

/// A round of the loop takes a few microseconds; one that took no longer than this
/// was not held up, at any rate.
const ROUND: Duration = Duration::from_micros(20);
/// A slow link empties a long ring: so many times the grace is waited, as long as packets come.
const GRACES: u32 = 20;

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Frame sizes in bytes without FCS, 60 to 2048, sent in turn.
    pub frames: Vec<usize>,
    /// Packets a second; `None` as fast as the ring takes them.
    pub rate: Option<f64>,
    /// How long, at most.
    pub duration: Duration,
    /// Packets to send; `None` as many as there is time for.
    pub count: Option<u64>,
    /// Whether packets are timed ([`Report::latency`]).
    pub timed: bool,
    /// How long to wait for the next of the packets that are still out.
    pub grace: Duration,
    /// Packets a call.
    pub batch: usize,
    /// Flows that packets belong to, in turn: a power of two.
    pub flows: u16,
    /// Transmit queues, each of which may still have two batches at the end.
    pub queues: usize,
    /// Addresses to send from and to.
    pub addresses: [[u8; 6]; 2],
}

impl Plan {
    /// A gap in the sender's or the card's work that only makes packets come as one
    /// batch, as they may anyway. A longer one is a disturbance.
    pub fn patience(&self) -> Duration {
        let batch = self.rate.map_or(0.0, |rate| self.batch as f64 / rate);
        Duration::try_from_secs_f64(batch).unwrap_or(Duration::MAX).max(ROUND)
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Report {
    /// Packets that the transmit ring took.
    pub sent: u64,
    /// Of these, how many came.
    pub received: u64,
    /// Bits of the received packets on the wire: with FCS, preamble and gap.
    pub wire_bits: f64,
    /// Packets that came again.
    pub duplicated: u64,
    /// Frames that were not of this run, or too old to tell.
    pub foreign: u64,
    /// Packets that the schedule held; those sent, where there was none.
    pub due: u64,
    /// Of those sent, how many the card still had when the time was up, beyond two
    /// batches in each queue, which it always may.
    pub late: u64,
    /// Of those sent, how many the card had not reported as sent when the wait for the rest
    /// was over.
    pub stuck: u64,
    /// How long the loop was held up, in all.
    pub held_up: Duration,
    /// From just before a packet was given to the driver until the driver had given it
    /// back, ns; of none that came after 1048576 others were sent.
    pub latency: Option<Histogram>,
    /// From the first packet given to the ring until the last one given, ns.
    pub send_ns: u64,
    /// From the first packet given to the ring until the last one received, ns; where
    /// sending went on after that, until its end.
    pub total_ns: u64,
    /// Cost of sending.
    pub tx: Cost,
    /// Cost of receiving.
    pub rx: Cost,
    /// Somebody asked to stop before the time was over.
    pub stopped: bool,
}

/// What the calls of one direction took.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Hundredths of a tick a packet, each packet a sample.
    ticks: Histogram,
    calls: u64,
}

impl Cost {
    /// Ticks a packet, median over packets; `None` if there were too few to say.
    pub fn ticks(&self) -> Option<f64> {
        self.ticks.quantile(0.5).map(|hundredths| hundredths as f64 / 100.0)
    }

    /// Packets a call, of the calls that moved any.
    pub fn per_call(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.ticks.count() as f64 / self.calls as f64 }
    }

    #[inline]
    fn note(&mut self, ticks: Ticks, packets: usize) {
        let packets = packets as u64;
        self.ticks.record_n(ticks * 100 / packets, packets);
        self.calls += 1;
    }
}

impl Report {
    /// Packets that did not come.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Packets received a second, from the first sent to the last received, or to the end
    /// of sending if that was later: a little less than the truth, never more.
    pub fn packets_per_second(&self) -> f64 {
        if self.total_ns == 0 { 0.0 } else { self.received as f64 * 1e9 / self.total_ns as f64 }
    }

    /// Bits a second on the wire (L1), over the same time.
    pub fn wire_bits_per_second(&self) -> f64 {
        if self.total_ns == 0 { 0.0 } else { self.wire_bits * 1e9 / self.total_ns as f64 }
    }

    /// Packets given to the ring a second, while it was given any.
    pub fn sent_per_second(&self) -> f64 {
        if self.send_ns == 0 { 0.0 } else { self.sent as f64 * 1e9 / self.send_ns as f64 }
    }

    /// The same as one trial of a search.
    pub fn trial(&self, asked: f64) -> Trial {
        let Report { due, sent, late, held_up, .. } = *self;
        Trial { asked, due, sent, late, lost: self.lost(), missed: 0, held_up }
    }
}

/// When packets were given to the driver, the last of them.
struct Stamps {
    at: Box<[Ticks]>,
    /// Number of the next packet.
    next: u64,
}

impl Stamps {
    /// Packets that are timed while they are out: 70 ms at 14.88 million a second.
    const WINDOW: u64 = 1 << 20;

    fn new() -> Self {
        // Not zero, so that its pages are there before the first packet is.
        Stamps { at: vec![Ticks::MAX; Self::WINDOW as usize].into(), next: 0 }
    }

    /// All packets before `next` are given to the driver now, if they were not before.
    fn leave(&mut self, next: u64, now: Ticks) {
        while self.next < next {
            self.at[(self.next % Self::WINDOW) as usize] = now;
            self.next += 1;
        }
    }

    /// When packet `sequence` was given to the driver.
    fn of(&self, sequence: u64) -> Option<Ticks> {
        let known = sequence < self.next && self.next - sequence <= Self::WINDOW;
        known.then(|| self.at[(sequence % Self::WINDOW) as usize])
    }
}

/// Highest rate of such packets at `speed` bits a second.
pub fn line_rate(frames: &[usize], speed: u64) -> f64 {
    let bits: f64 = frames.iter().copied().map(wire_bits).sum();
    speed as f64 * frames.len() as f64 / bits
}

/// The measurement, ready to run on a pair of queues.
pub struct Flood<'a, S> {
    clock: &'a Clock,
    pool: &'a Pool,
    plan: Plan,
    pace: Option<Pace>,
    probes: Probes,
    seen: Seen,
    stamps: Option<Stamps>,
    idle: Idle,
    stop: S,
    /// Ticks that two readings of the clock with nothing in between are apart.
    reading: Ticks,
    first: Ticks,
    last_sent: Ticks,
    last_received: Ticks,
    /// When sending ended.
    over: Ticks,
    /// When the last round of the loop began.
    last_round: Ticks,
    /// Rounds that took longer than `patience`, together.
    held_up: Ticks,
    patience: Ticks,
    report: Report,
}

impl<'a, S: Fn() -> bool> Flood<'a, S> {
    /// Checks the plan and makes everything that is needed. `stop` is asked
    /// once a batch.
    ///
    /// # Errors
    /// [`Kind::Usage`] for sizes or a rate that cannot be had.
    pub fn new(clock: &'a Clock, pool: &'a Pool, plan: Plan, stop: S) -> Result<Self> {
        let longest = plan.frames.iter().copied().max().unwrap_or(0);
        if plan.frames.iter().any(|len| !(MIN_LEN..=BUFFER_SIZE).contains(len)) || plan.frames.is_empty() {
            return Err(Error::new(
                Kind::Usage,
                format!("frame sizes are {} to {} bytes, FCS included", MIN_LEN + 4, BUFFER_SIZE + 4),
            ));
        }
        let plan = Plan { batch: plan.batch.clamp(1, BATCH_MAX), ..plan };
        let pace = match plan.rate {
            Some(rate) => {
                let pace = Pace::new(clock, rate)?;
                // One batch late at most: a longer burst would overrun a device
                // that can keep the rate asked for.
                let slack = (pace.interval() * plan.batch as f64) as Ticks;
                Some(pace.with_slack(slack.max(clock.ticks(Duration::from_micros(5)))))
            }
            None => None,
        };
        let [from, to] = plan.addresses;
        Ok(Flood {
            clock,
            pool,
            pace,
            probes: Probes::new(clock.now() as u32, longest, from, to).of_flows(plan.flows),
            seen: Seen::new(),
            stamps: plan.timed.then(Stamps::new),
            idle: Idle::new(),
            stop,
            reading: (0..1_000).map(|_| clock.now().abs_diff(clock.now())).min().unwrap_or(0),
            first: 0,
            last_sent: 0,
            last_received: 0,
            over: 0,
            last_round: 0,
            held_up: 0,
            patience: clock.ticks(plan.patience()),
            report: Report {
                sent: 0,
                received: 0,
                wire_bits: 0.0,
                duplicated: 0,
                foreign: 0,
                due: 0,
                late: 0,
                stuck: 0,
                held_up: Duration::ZERO,
                latency: plan.timed.then(Histogram::new),
                send_ns: 0,
                total_ns: 0,
                tx: Cost::default(),
                rx: Cost::default(),
                stopped: false,
            },
            plan,
        })
    }

    fn send_all<R: Receive, T: Transmit>(&mut self, rx: &mut R, tx: &mut T, incoming: &mut Batch<'_>) {
        let mut outgoing = Batch::with_limit(self.pool, self.plan.batch);
        let (mut sequence, mut frame) = (0, 0);
        let count = self.plan.count.unwrap_or(u64::MAX);
        self.first = self.clock.now();
        self.last_round = self.first;
        let end = self.first.saturating_add(self.clock.ticks(self.plan.duration));
        if let Some(pace) = &mut self.pace {
            pace.start(self.first);
        }
        loop {
            let now = self.clock.now();
            let took = self.round(now);
            self.note(took);
            self.report.stopped = (self.stop)();
            if now >= end || self.report.stopped || (sequence == count && outgoing.is_empty()) {
                self.over = now.min(end);
                break;
            }
            let room = outgoing.room().min(usize::try_from(count - sequence).unwrap_or(usize::MAX));
            let due = self.pace.as_mut().map_or(room, |pace| pace.take(now, room));
            self.report.due += due as u64;
            for _ in 0..due {
                let Some(bytes) = outgoing.push(self.plan.frames[frame]) else {
                    tx.reclaim(self.pool);
                    break;
                };
                self.probes.write(bytes, sequence);
                self.seen.leave(sequence);
                sequence += 1;
                frame = if frame + 1 == self.plan.frames.len() { 0 } else { frame + 1 };
            }
            let mut did = 0;
            if !outgoing.is_empty() {
                did += self.send(tx, &mut outgoing, sequence);
            }
            did += self.receive(rx, incoming);
            self.idle.polled(did);
        }
        match &mut self.pace {
            // What the schedule still held when the time was up, and what was too late.
            Some(pace) => {
                while let n @ 1.. = pace.take(end, BATCH_MAX) {
                    self.report.due += n as u64;
                }
                self.report.due += pace.skipped();
            }
            None => self.report.due = self.report.sent,
        }
        self.report.late = tx.reclaim(self.pool).saturating_sub(2 * self.plan.batch * self.plan.queues) as u64;
    }

    /// A round of the loop begins; how long the last one took.
    #[inline]
    fn round(&mut self, now: Ticks) -> Ticks {
        now.saturating_sub(std::mem::replace(&mut self.last_round, now))
    }

    #[inline]
    fn note(&mut self, round: Ticks) {
        if round > self.patience {
            self.held_up = self.held_up.saturating_add(round);
        }
    }

    fn wait_for_the_rest<R: Receive, T: Transmit>(&mut self, rx: &mut R, tx: &mut T, incoming: &mut Batch<'_>) {
        let grace = Patience::new(self.clock, self.plan.grace);
        let mut most = Patience::new(self.clock, self.plan.grace * GRACES);
        let (mut patience, mut before) = (grace.clone(), u64::MAX);
        loop {
            self.report.stuck = tx.reclaim(self.pool) as u64;
            let out = self.report.lost() + self.report.stuck;
            if out < before {
                (patience, before) = (grace.clone(), out);
            }
            let now = self.clock.now();
            // What is still in the ring has a card that is late, or hangs: it is given all the time.
            if out == 0 || self.report.stuck == 0 && patience.is_over(now) || most.is_over(now) {
                break;
            }
            let took = self.round(now);
            let did = self.receive(rx, incoming);
            if did > 0 {
                self.note(took);
            }
            self.idle.polled(did);
        }
    }

    #[inline]
    fn send<T: Transmit>(&mut self, tx: &mut T, outgoing: &mut Batch<'_>, next: u64) -> usize {
        let before = self.clock.now();
        if let Some(stamps) = &mut self.stamps {
            stamps.leave(next, before);
        }
        let n = tx.send(outgoing);
        let after = self.clock.now();
        if n > 0 {
            self.report.tx.note((after - before).saturating_sub(self.reading), n);
            self.report.sent += n as u64;
            self.last_sent = after;
        }
        n
    }

    #[inline]
    fn receive<R: Receive>(&mut self, rx: &mut R, incoming: &mut Batch<'_>) -> usize {
        let before = self.clock.now();
        let n = rx.recv(incoming);
        let after = self.clock.now();
        if n > 0 {
            self.report.rx.note((after - before).saturating_sub(self.reading), n);
            for bytes in incoming.frames() {
                let sequence = self.probes.sequence(bytes);
                match sequence.map_or(Came::Unknown, |sequence| self.seen.arrive(sequence)) {
                    Came::First => {
                        self.report.received += 1;
                        self.report.wire_bits += wire_bits(bytes.len());
                        if let (Some(stamps), Some(latency)) = (&self.stamps, &mut self.report.latency)
                            && let Some(sent) = sequence.and_then(|sequence| stamps.of(sequence))
                        {
                            latency.record(self.clock.ns(after.saturating_sub(sent)));
                        }
                    }
                    Came::Again => self.report.duplicated += 1,
                    Came::Unknown => self.report.foreign += 1,
                }
            }
            self.last_received = after;
            incoming.clear();
        }
        n
    }
}

impl<S: Fn() -> bool> Loop for Flood<'_, S> {
    type Output = Report;

    fn run<R: Receive, T: Transmit>(mut self, rx: &mut R, tx: &mut T) -> Report {
        let mut incoming = Batch::with_limit(self.pool, self.plan.batch);
        self.send_all(rx, tx, &mut incoming);
        self.wait_for_the_rest(rx, tx, &mut incoming);
        // A clock that was just made is good for 100 ppm only, more than a rate
        // near that of the line can bear; the run itself is the longer baseline.
        let mut clock = self.clock.clone();
        clock.refine();
        self.report.held_up = Duration::from_nanos(clock.ns(self.held_up));
        self.report.send_ns = clock.ns(self.last_sent.saturating_sub(self.first));
        self.report.total_ns = clock.ns(self.last_received.max(self.over).saturating_sub(self.first));
        self.report
    }
}

#[cfg(test)]
mod tests;
