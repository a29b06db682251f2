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
//! While packets flow the loop makes no system call; it allocates nothing and is
//! compiled for the family of the queues ([`crate::driver::queue`]).

use super::flights::{Arrival, Flight, Flights, Origin};
use super::probe::{MIN_LEN, Probes};
use super::{Clock, Histogram, Idle, Pace, Patience, Ticks};
use crate::dma::{BUFFER_SIZE, Batch, Pool};
use crate::driver::queue::{Loop, Receive, Transmit};
use crate::error::{Error, Kind, Result};
use std::ops::Range;
use std::time::Duration;

/// How long a full ring may stay full.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Frame size in bytes without FCS, 60 to 2048.
    pub frame: usize,
    /// Packets a second.
    pub rate: f64,
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
#[derive(Clone, Debug)]
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
    /// Time over which packets were sent, ns.
    pub elapsed_ns: u64,
    /// The first samples one by one.
    pub raw: Vec<Sample>,
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
        if self.elapsed_ns == 0 { 0.0 } else { self.sent as f64 * 1e9 / self.elapsed_ns as f64 }
    }
}

/// The measurement, ready to run on a pair of queues.
pub struct Ping<'a, S> {
    clock: &'a Clock,
    pool: &'a Pool,
    plan: Plan,
    pace: Pace,
    probes: Probes,
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
        if !(MIN_LEN..=BUFFER_SIZE).contains(&plan.frame) {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "frames of {} bytes cannot be timed; with FCS a probe has {} to {} bytes",
                    plan.frame + 4,
                    MIN_LEN + 4,
                    BUFFER_SIZE + 4
                ),
            ));
        }
        let pace = Pace::new(clock, plan.rate)?;
        // One packet late at most is sent after a stall: a burst would queue behind itself.
        let slack = (pace.interval() as Ticks).max(clock.ticks(Duration::from_micros(5)));
        let [from, to] = plan.addresses;
        // The device's thread has a processor of its own, if there are two: giving
        // way would only cost time. A millisecond without a packet says otherwise.
        let alone = crate::sys::affinity().is_ok_and(|cpus| cpus.len() >= 2);
        Ok(Ping {
            clock,
            pool,
            pace: pace.with_slack(slack),
            probes: Probes::new(clock.now() as u32, plan.frame, from, to),
            idle: if alone { Idle::with_spins(1 << 16) } else { Idle::new() },
            stop,
            flights: Flights::new(),
            report: Report {
                service: Histogram::new(),
                intended: Histogram::new(),
                sent: 0,
                lost: 0,
                duplicated: 0,
                reordered: 0,
                foreign: 0,
                skipped: 0,
                stuck: false,
                elapsed_ns: 0,
                raw: touched(plan.raw),
            },
            plan,
        })
    }

    /// Sends until the plan is fulfilled or `stop` says so.
    fn send_all<R: Receive, T: Transmit>(&mut self, rx: &mut R, tx: &mut T, incoming: &mut Batch<'_>) {
        let mut outgoing = Batch::with_limit(self.pool, 1);
        let start = self.clock.now();
        let counted_from = start.saturating_add(self.clock.ticks(self.plan.warm_up));
        let end = self.plan.duration.map_or(Ticks::MAX, |time| counted_from.saturating_add(self.clock.ticks(time)));
        let count = self.plan.count.unwrap_or(u64::MAX);
        self.pace.start(start);
        let mut last = counted_from;
        // Slots that were skipped since the last packet.
        let mut skipped = 0;
        let patience = Patience::new(self.clock, PATIENCE);
        let mut blocked = patience.clone();
        loop {
            let mut did = 0;
            if outgoing.is_empty()
                && let Some(slot) = self.pace.slot(self.clock.now())
            {
                skipped += slot.skipped;
                if slot.due >= end || self.report.sent >= count || (self.stop)() {
                    self.report.skipped += within(slot.due, skipped, self.pace.interval(), counted_from..end);
                    break;
                }
                if let Some(frame) = outgoing.push(self.plan.frame) {
                    self.probes.write(frame, self.flights.next);
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
            did += self.receive(rx, incoming);
            self.idle.polled(did);
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
        while self.flights.arrived < self.flights.next && !patience.is_over(self.clock.now()) {
            tx.reclaim(self.pool);
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
                let sequence = self.probes.sequence(incoming.frame(i));
                self.arrived(sequence, now);
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
            self.report.intended.record_n(intended_ns.saturating_add(earlier), together);
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
        self.wait_for_the_rest(rx, tx, &mut incoming);
        // `arrived` counts each packet once, so it cannot exceed what was sent.
        self.report.lost = self.report.sent.saturating_sub(self.report.service.count());
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
mod tests {
    use super::*;
    use crate::dma::Addressing;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A wire that holds each frame for `delay` nanoseconds, and does to it what
    /// `fate` says. Time is virtual: each call takes [`CALL`].
    struct Line<F> {
        time: Arc<AtomicU64>,
        delay: u64,
        frames: RefCell<VecDeque<(u64, Vec<u8>)>>,
        fate: F,
    }

    /// Nanoseconds.
    const CALL: u64 = 100;

    impl<F> Line<F> {
        /// Lets time pass; what it then is.
        fn pass(&self, ns: u64) -> u64 {
            self.time.fetch_add(ns, Ordering::Relaxed) + ns
        }
    }

    struct End<'b, F>(&'b Line<F>, u64);

    impl<F: Fn(u64, &[u8]) -> Vec<Vec<u8>>> Transmit for End<'_, F> {
        fn send(&mut self, batch: &mut Batch<'_>) -> usize {
            let n = batch.len();
            for frame in batch.frames() {
                for frame in (self.0.fate)(self.1, frame) {
                    self.0.frames.borrow_mut().push_back((self.0.pass(0) + self.0.delay, frame));
                }
                self.1 += 1;
            }
            batch.clear();
            self.0.pass(CALL);
            n
        }

        fn reclaim(&mut self, _pool: &Pool) -> usize {
            0
        }
    }

    impl<F> Receive for End<'_, F> {
        fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
            let now = self.0.pass(CALL);
            let mut frames = self.0.frames.borrow_mut();
            match frames.front() {
                Some((at, _)) if *at <= now => {
                    let (_, frame) = frames.pop_front().unwrap();
                    usize::from(batch.push_frame(&frame))
                }
                _ => 0,
            }
        }
    }

    fn measure(plan: Plan, delay: u64, fate: impl Fn(u64, &[u8]) -> Vec<Vec<u8>>) -> Report {
        measure_in(&Arc::new(AtomicU64::new(1)), plan, delay, fate)
    }

    fn measure_in(time: &Arc<AtomicU64>, plan: Plan, delay: u64, fate: impl Fn(u64, &[u8]) -> Vec<Vec<u8>>) -> Report {
        let clock = Clock::by_hand(Arc::clone(time));
        let pool = Pool::new(256, Addressing::Translated).unwrap();
        let line = Line { time: Arc::clone(time), delay, frames: RefCell::default(), fate };
        let ping = Ping::new(&clock, &pool, plan, || false).unwrap();
        ping.run(&mut End(&line, 0), &mut End(&line, 0))
    }

    fn plan(count: u64) -> Plan {
        Plan {
            frame: 60,
            rate: 50_000.0,
            count: Some(count),
            duration: None,
            warm_up: Duration::ZERO,
            grace: Duration::from_millis(5),
            raw: 0,
            addresses: [[0; 6]; 2],
        }
    }

    #[test]
    fn the_delay_of_a_line_is_what_is_measured() {
        let report = measure(Plan { raw: 10, ..plan(2_000) }, 30_000, |_, frame| vec![frame.to_vec()]);
        assert_eq!((report.sent, report.lost, report.received()), (2_000, 0, 2_000));
        assert_eq!((report.duplicated, report.reordered, report.foreign, report.skipped), (0, 0, 0, 0));
        // Nothing can be faster than the line, and the sender looks every two calls.
        assert!(report.service.min() >= 30_000, "{}", report.service.min());
        assert!(report.service.max() < 31_000, "{}", report.service.max());
        assert_eq!(report.intended.count(), 2_000);
        assert!(report.intended.mean() >= report.service.mean());
        assert_eq!(report.raw.len(), 10);
        assert_eq!((report.raw[0].sequence, report.raw[0].due_ns), (0, 0));
        assert!(report.raw.windows(2).all(|pair| pair[1].due_ns - pair[0].due_ns == 20_000));
    }

    #[test]
    fn lost_doubled_swapped_and_foreign_packets_are_told_apart() {
        let held = RefCell::new(Vec::new());
        let report = measure(plan(1_000), 0, |n, frame| match n % 100 {
            10 => vec![],
            20 => vec![frame.to_vec(), frame.to_vec()],
            30 => {
                held.borrow_mut().push(frame.to_vec());
                vec![]
            }
            31 => vec![frame.to_vec(), held.borrow_mut().pop().unwrap()],
            40 => vec![vec![0xee; 60], frame.to_vec()],
            _ => vec![frame.to_vec()],
        });
        assert_eq!((report.sent, report.lost), (1_000, 10));
        assert_eq!((report.duplicated, report.reordered, report.foreign), (10, 10, 10));
    }

    #[test]
    fn warm_up_is_not_counted() {
        let report = measure(
            Plan {
                warm_up: Duration::from_millis(10),
                count: None,
                duration: Some(Duration::from_millis(20)),
                ..plan(0)
            },
            0,
            |_, frame| vec![frame.to_vec()],
        );
        // 20 ms at 50 000 a second.
        assert!((999..=1_001).contains(&report.sent) && report.skipped == 0, "{} sent", report.sent);
        assert_eq!(report.service.count(), report.sent);
    }

    #[test]
    fn a_stall_of_the_sender_shows_in_the_intended_time() {
        let time = Arc::new(AtomicU64::new(1));
        let report = measure_in(&time, plan(1_000), 0, |n, frame| {
            if n == 500 {
                time.fetch_add(4_000_000, Ordering::Relaxed);
            }
            vec![frame.to_vec()]
        });
        // 4 ms are 200 slots of 20 us.
        assert!((198..=201).contains(&report.skipped), "{} skipped", report.skipped);
        assert_eq!(report.intended.count(), report.service.count() + report.skipped);
        assert!(report.intended.quantile(0.9).unwrap() > 1_000_000);
        assert!(report.service.quantile(0.9).unwrap() < 1_000_000);
    }

    #[test]
    fn skipped_slots_count_only_inside_the_window() {
        // Slots every 10 ticks, the one at 100 was used, five before it were skipped: 50 to 90.
        assert_eq!(within(100, 5, 10.0, 0..1_000), 5);
        assert_eq!(within(100, 5, 10.0, 70..1_000), 3);
        assert_eq!(within(100, 5, 10.0, 100..1_000), 0);
        assert_eq!(within(100, 5, 10.0, 200..1_000), 0);
        // Due after the end at 75: 80 and 90 are beyond it too.
        assert_eq!(within(100, 5, 10.0, 0..75), 3);
        assert_eq!(within(100, 0, 10.0, 0..1_000), 0);
    }

    #[test]
    fn a_ring_that_never_empties_ends_the_run() {
        struct Full;
        impl Transmit for Full {
            fn send(&mut self, _batch: &mut Batch<'_>) -> usize {
                0
            }
            fn reclaim(&mut self, _pool: &Pool) -> usize {
                0
            }
        }
        impl Receive for Full {
            fn recv(&mut self, _batch: &mut Batch<'_>) -> usize {
                0
            }
        }
        let clock = Clock::new();
        let pool = Pool::new(16, Addressing::Translated).unwrap();
        let report = Ping::new(&clock, &pool, plan(10), || false).unwrap().run(&mut Full, &mut Full);
        assert!(report.stuck);
        assert_eq!((report.sent, report.lost), (1, 1));
        let asked_to_stop = Ping::new(&clock, &pool, plan(10), || true).unwrap().run(&mut Full, &mut Full);
        assert_eq!((asked_to_stop.stuck, asked_to_stop.sent), (false, 0));
    }

    #[test]
    fn a_packet_costs_no_allocation() {
        /// One frame on its way, in place.
        struct Echo<'a>(&'a RefCell<Option<[u8; 60]>>);
        impl Transmit for Echo<'_> {
            fn send(&mut self, batch: &mut Batch<'_>) -> usize {
                *self.0.borrow_mut() = batch.frame(0).first_chunk().copied();
                batch.clear();
                1
            }
            fn reclaim(&mut self, _pool: &Pool) -> usize {
                0
            }
        }
        impl Receive for Echo<'_> {
            fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
                self.0.borrow_mut().take().map_or(0, |frame| usize::from(batch.push_frame(&frame)))
            }
        }
        let clock = Clock::new();
        let pool = Pool::new(16, Addressing::Translated).unwrap();
        let allocations = |count| {
            let wire = RefCell::new(None);
            let ping = Ping::new(&clock, &pool, Plan { raw: 100, ..plan(count) }, || false).unwrap();
            crate::testing::allocations(|| drop(ping.run(&mut Echo(&wire), &mut Echo(&wire))))
        };
        assert_eq!(allocations(10), allocations(1_000));
    }

    #[test]
    fn a_line_that_swallows_everything_ends_in_time_with_all_lost() {
        let report = measure(plan(100), 0, |_, _| vec![]);
        assert_eq!((report.sent, report.lost, report.received()), (100, 100, 0));
        assert!(report.service.is_empty());
    }

    #[test]
    fn a_size_or_rate_that_cannot_be_had_is_refused() {
        let clock = Clock::new();
        let pool = Pool::new(16, Addressing::Translated).unwrap();
        for bad in [Plan { frame: 59, ..plan(1) }, Plan { frame: 2_049, ..plan(1) }, Plan { rate: 0.0, ..plan(1) }] {
            assert_eq!(Ping::new(&clock, &pool, bad, || false).err().unwrap().kind(), Kind::Usage);
        }
    }
}
