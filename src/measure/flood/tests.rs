use super::*;
use crate::dma::Addressing;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A device that passes a packet each `interval` nanoseconds and drops the rest.
/// Time is virtual: each call of it takes [`CALL`].
struct Device {
    time: Arc<AtomicU64>,
    interval: u64,
    free_at: u64,
    frames: VecDeque<Vec<u8>>,
}

/// Nanoseconds.
const CALL: u64 = 500;

struct Port<'b>(&'b RefCell<Device>);

impl Transmit for Port<'_> {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let mut device = self.0.borrow_mut();
        let now = device.time.fetch_add(CALL, Ordering::Relaxed);
        for frame in batch.frames() {
            if device.free_at <= now + 16 * device.interval {
                device.free_at = device.free_at.max(now) + device.interval;
                device.frames.push_back(frame.to_vec());
            }
        }
        let n = batch.len();
        batch.clear();
        n
    }

    fn reclaim(&mut self, _pool: &Pool) -> usize {
        0
    }
}

impl Receive for Port<'_> {
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        let mut device = self.0.borrow_mut();
        device.time.fetch_add(CALL, Ordering::Relaxed);
        let mut n = 0;
        while batch.room() > 0
            && let Some(frame) = device.frames.pop_front()
        {
            n += usize::from(batch.push_frame(&frame));
        }
        n
    }
}

fn flood(interval: u64, plan: Plan) -> Report {
    let time = Arc::new(AtomicU64::new(1));
    let clock = Clock::by_hand(Arc::clone(&time));
    let pool = Pool::new(256, Addressing::Translated).unwrap();
    let device = RefCell::new(Device { time, interval, free_at: 0, frames: VecDeque::new() });
    let flood = Flood::new(&clock, &pool, plan, || false).unwrap();
    flood.run(&mut Port(&device), &mut Port(&device))
}

fn plan() -> Plan {
    Plan {
        frames: vec![60],
        rate: None,
        duration: Duration::from_millis(20),
        count: None,
        timed: false,
        grace: Duration::from_millis(1),
        batch: 32,
        flows: 1,
        queues: 1,
        addresses: [[0; 6]; 2],
    }
}

#[test]
fn every_packet_is_received_or_lost_and_no_rate_beats_the_device() {
    let report = flood(10_000, plan());
    assert_eq!(report.sent, report.received + report.lost());
    // Bursts of 32 each two calls, of which the device takes 100 a millisecond, and
    // what it keeps for later.
    assert!((639_000..=641_000).contains(&report.sent), "{} sent", report.sent);
    assert!((2_000..=2_020).contains(&report.received), "{} received", report.received);
    assert!((99_000.0..102_000.0).contains(&report.packets_per_second()), "{}", report.packets_per_second());
    assert!(report.tx.ticks().is_some_and(|ticks| ticks > 0.0));
    assert!((1.0..=32.0).contains(&report.rx.per_call()));
}

#[test]
fn a_paced_flood_keeps_its_rate_and_loses_nothing_below_the_capacity() {
    let report = flood(1_000, Plan { rate: Some(20_000.0), batch: 1, ..plan() });
    assert_eq!(report.lost(), 0);
    // Slots 0 to 399 of 50 us; the one at the end of the 20 ms belongs to them or not.
    assert!((400..=401).contains(&report.due), "{} due", report.due);
    assert!((400..=report.due).contains(&report.sent), "{} sent, {} due", report.sent, report.due);
    let trial = report.trial(20_000.0);
    assert!(trial.offered() > 0.0 && trial.offered() <= 20_000.0);
}

#[test]
fn a_burst_has_as_many_packets_as_it_should_and_each_that_comes_is_timed() {
    for count in [0, 1, 15, 16, 17, 100] {
        let report = flood(10, Plan { count: Some(count), timed: true, batch: 16, ..plan() });
        assert_eq!((report.sent, report.received, report.lost()), (count, count, 0));
        let latency = report.latency.unwrap();
        assert_eq!(latency.count(), count);
        // One call to send it at least, one to receive it.
        assert!(count == 0 || (latency.min() >= 2 * CALL && latency.max() < 20 * CALL), "{latency:?}");
    }
    assert!(flood(10, plan()).latency.is_none(), "nobody asked");
}

#[test]
fn mixed_sizes_are_weighed_by_their_bits() {
    let report = flood(1, Plan { frames: vec![60, 1514], batch: 2, ..plan() });
    let bits = report.wire_bits / report.received as f64;
    assert!((bits - f64::midpoint(wire_bits(60), wire_bits(1514))).abs() < 100.0, "{bits}");
    assert!((line_rate(&[60], 10_000_000_000) - 14_880_952.4).abs() < 1.0);
    let pair = line_rate(&[60, 1514], 10_000_000_000);
    assert!((pair - 2.0 * 10e9 / (672.0 + 12_304.0)).abs() < 1.0, "{pair}");
}

/// A device that sends so many packets at once, and reports none of them; others stay in the ring
/// until there is no room left.
struct Hung {
    time: Arc<AtomicU64>,
    sends: usize,
    wire: VecDeque<Vec<u8>>,
    ring: usize,
}

struct End<'b>(&'b RefCell<Hung>);

impl Transmit for End<'_> {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let mut hung = self.0.borrow_mut();
        hung.time.fetch_add(CALL, Ordering::Relaxed);
        if hung.ring > 512 {
            return 0;
        }
        for frame in batch.frames().take(hung.sends) {
            hung.wire.push_back(frame.to_vec());
        }
        let n = batch.len();
        hung.sends = hung.sends.saturating_sub(n);
        hung.ring += n;
        batch.clear();
        n
    }

    fn reclaim(&mut self, _pool: &Pool) -> usize {
        self.0.borrow().ring
    }
}

impl Receive for End<'_> {
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        let mut hung = self.0.borrow_mut();
        hung.time.fetch_add(CALL, Ordering::Relaxed);
        let Some(frame) = hung.wire.pop_front() else { return 0 };
        usize::from(batch.push_frame(&frame))
    }
}

fn hung(sends: usize) -> Report {
    let time = Arc::new(AtomicU64::new(1));
    let clock = Clock::by_hand(Arc::clone(&time));
    let pool = Pool::new(256, Addressing::Translated).unwrap();
    let device = RefCell::new(Hung { time, sends, wire: VecDeque::new(), ring: 0 });
    let flood = Flood::new(&clock, &pool, plan(), || false).unwrap();
    flood.run(&mut End(&device), &mut End(&device))
}

#[test]
fn a_card_that_stands_still_has_no_rate_but_that_of_the_whole_time() {
    let report = hung(10);
    assert_eq!((report.received, report.stuck), (10, report.sent));
    // Ten packets in 20 ms.
    assert!((490.0..=500.0).contains(&report.packets_per_second()), "{}", report.packets_per_second());
}

#[test]
fn what_a_card_never_reports_as_sent_is_counted_though_all_of_it_came() {
    let report = hung(usize::MAX);
    assert_eq!((report.received, report.stuck, report.lost()), (report.sent, report.sent, 0));
    assert!(report.sent > 512);
    assert_eq!(flood(1_000, plan()).stuck, 0);
}

#[test]
fn nothing_and_too_much_are_refused() {
    let clock = Clock::new();
    let pool = Pool::new(16, Addressing::Translated).unwrap();
    for frames in [vec![], vec![59], vec![60, 2_049]] {
        let bad = Flood::new(&clock, &pool, Plan { frames, ..plan() }, || false);
        assert_eq!(bad.err().unwrap().kind(), Kind::Usage);
    }
}
