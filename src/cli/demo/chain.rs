//! The loop: send what is due, forward what has come, take what arrives.

use super::BATCH_MAX;
use crate::cli::session::Session;
use crate::cli::signal::Stop;
use crate::dma::{Batch, Pool};
use crate::driver::{RxQueue, TxQueue};
use crate::error::{Error, Kind, Result};
use crate::measure::flights::{Arrival, Flight, Flights};
use crate::measure::probe::{MIN_LEN, Probes};
use crate::measure::{Clock, Histogram, Pace, Ticks};
use crate::pcap::write::{FLUSH, Recorder};
use std::time::Duration;

/// How long packets may take after the last was sent.
const GRACE: Duration = Duration::from_millis(50);

/// What the loop works with: the queues of each of the four ports.
pub struct Chain<'a> {
    pub rx: &'a mut [Vec<RxQueue>],
    pub tx: &'a mut [Vec<TxQueue>],
    pub pool: &'a Pool,
    pub clock: &'a Clock,
    pub stop: &'a Stop,
}

/// The first packet that was captured.
pub struct First {
    /// Nanoseconds since 1970.
    pub time: u64,
    pub frame: Vec<u8>,
}

/// What was counted, each packet where it was.
#[derive(Default)]
pub struct Counts {
    /// Given to the first card.
    pub sent: u64,
    /// Times at which one should have been sent and none was.
    pub skipped: u64,
    /// Taken off the ring of the forwarder.
    pub received: u64,
    /// Given to its other card.
    pub forwarded: u64,
    /// Taken off the last ring, each once.
    pub captured: u64,
    /// Those that came a second time.
    pub again: u64,
    /// Behind one that was sent later.
    pub overtaken: u64,
    /// That were none of these.
    pub foreign: u64,
    /// From the first that was sent to the last.
    pub elapsed: Duration,
    /// From send() to recv(), in nanoseconds.
    pub latency: Histogram,
    pub first: Option<First>,
    /// What a driver had to find wrong with its card.
    pub anomalies: u64,
}

/// Sends for so long, at so many packets a second, and waits for the last.
pub fn run(
    chain: Chain<'_>,
    session: &Session,
    rate: f64,
    duration: Duration,
    mut recorder: Option<&mut Recorder>,
) -> Result<Counts> {
    let Chain { rx, tx, pool, clock, stop } = chain;
    let ([_, into, _, last], [first, _, out, _]) = (&mut rx[..], &mut tx[..]) else {
        return Err(Error::new(Kind::Device, "the demo has four ports"));
    };
    let mac = |port: usize| session.devices.get(port).map_or([0; 6], |device| device.mac.0);
    let mut probes = Probes::new(clock.now() as u32, MIN_LEN, mac(0), mac(3));
    let cards = session.inline(&[0, 1, 2, 3]);
    let step = || cards.as_ref().map_or(0, crate::emu::Inline::step);
    let (mut sending, mut passing, mut coming) =
        (Batch::new(pool), Batch::with_limit(pool, BATCH_MAX), Batch::new(pool));
    let (mut counts, mut flights, mut pace) = (Counts::default(), Flights::new(), Pace::new(clock, rate)?);
    let start = clock.now();
    pace.start(start);
    let (mut end, grace, flush) = (start + clock.ticks(duration), clock.ticks(GRACE), clock.ticks(FLUSH));
    let (mut sent_at, mut moved_at, mut next_flush) = (start, start, start + flush);
    loop {
        let now = clock.now();
        if stop.requested() {
            end = end.min(now);
        }
        let open = now < end;
        if open {
            for _ in 0..pace.take(now, sending.room()) {
                if !probes.push(&mut sending, MIN_LEN, flights.next) {
                    break;
                }
                let sent = clock.now();
                flights.leave(Flight { due: sent, sent, counted: true, ..Flight::default() });
            }
        }
        let mut moved = 0;
        if !sending.is_empty() {
            let sent = sum(first, |queue| queue.send(&mut sending));
            counts.sent += sent as u64;
            (sent_at, moved) = (if sent > 0 { clock.now() } else { sent_at }, sent);
        }
        moved += step();
        let came = sum(into, |queue| queue.recv(&mut passing));
        counts.received += came as u64;
        counts.forwarded += sum(out, |queue| queue.send(&mut passing)) as u64;
        moved += came + step();
        moved += sum(last, |queue| queue.recv(&mut coming));
        let arrived = clock.now();
        for frame in coming.frames() {
            let time = clock.wall_ns(arrived);
            take(&mut counts, &mut flights, probes.sequence(frame), clock, arrived);
            if let Some(recorder) = &mut recorder {
                recorder.record(time, frame);
            }
            counts.first.get_or_insert_with(|| First { time, frame: frame.to_vec() });
        }
        coming.clear();
        if let (true, Some(recorder)) = (now >= next_flush, &mut recorder) {
            next_flush = now + flush;
            recorder.flush();
        }
        if moved > 0 {
            moved_at = now;
        }
        let idle = now.saturating_sub(moved_at.max(end.min(now)));
        let all = sending.is_empty() && flights.arrived >= counts.sent;
        if !open && (all || idle > grace || now > end + 20 * grace) {
            break;
        }
    }
    // What no card has taken was not sent.
    counts.skipped = pace.skipped();
    counts.elapsed = Duration::from_nanos(clock.ns(sent_at.saturating_sub(start)));
    let anomalies = |queues: &[RxQueue]| queues.iter().map(|queue| queue.anomalies().total()).sum::<u64>();
    counts.anomalies = rx.iter().map(|queues| anomalies(queues)).sum();
    Ok(counts)
}

/// The sum over all queues.
fn sum<Q>(queues: &mut [Q], each: impl FnMut(&mut Q) -> usize) -> usize {
    queues.iter_mut().map(each).sum()
}

/// A packet has arrived.
fn take(counts: &mut Counts, flights: &mut Flights, sequence: Option<u64>, clock: &Clock, now: Ticks) {
    match sequence.map(|sequence| flights.arrive(sequence)) {
        Some(Arrival::First { flight, overtaken }) => {
            counts.captured += 1;
            counts.overtaken += u64::from(overtaken);
            counts.latency.record(clock.ns(now.saturating_sub(flight.sent)));
        }
        Some(Arrival::Again { .. }) => counts.again += 1,
        Some(Arrival::Foreign) | None => counts.foreign += 1,
    }
}
