//! The loop on wires in virtual time.

use super::*;
use crate::dma::Addressing;
use std::cell::{Cell, RefCell};
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
    /// Nanoseconds that a bit takes, and until when the wire has frames to carry.
    bit: f64,
    busy: Cell<u64>,
    /// Frames that a ring holds until they are on the wire.
    room: usize,
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

impl<F: Fn(u64, &[u8]) -> Vec<Vec<u8>>> End<'_, F> {
    /// A whole frame goes into the ring, and will be on the wire when those before it were.
    fn leave(&mut self, frame: &[u8]) {
        let line = self.0;
        let off = line.busy.get().max(line.pass(0)) + (probe::wire_bits(frame.len()) * line.bit) as u64;
        line.busy.set(off);
        for frame in (line.fate)(self.1, frame) {
            line.frames.borrow_mut().push_back((off + line.delay, frame));
        }
        self.1 += 1;
    }

    fn is_full(&self) -> bool {
        let now = self.0.pass(0) + self.0.delay;
        self.0.frames.borrow().iter().filter(|(at, _)| *at > now).count() >= self.0.room
    }
}

impl<F: Fn(u64, &[u8]) -> Vec<Vec<u8>>> Transmit for End<'_, F> {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let (mut frame, mut taken) = (Vec::new(), 0);
        for i in 0..batch.len() {
            if frame.is_empty() && self.is_full() {
                break;
            }
            frame.extend_from_slice(batch.frame(i));
            if !batch.continues(i) {
                self.leave(&frame);
                frame.clear();
                taken = i + 1;
            }
        }
        // The rest stays in it, as a ring would leave it.
        let rest: Vec<Vec<u8>> = (taken..batch.len()).map(|i| batch.frame(i).to_vec()).collect();
        batch.clear();
        rest.iter().for_each(|frame| assert!(batch.push_frame(frame), "as it was before"));
        self.0.pass(CALL);
        taken
    }

    fn reclaim(&mut self, _pool: &Pool) -> usize {
        0
    }
}

impl<F> Receive for End<'_, F> {
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        let now = self.0.pass(CALL);
        let mut frames = self.0.frames.borrow_mut();
        if frames.front().is_some_and(|(at, _)| *at <= now) {
            let (_, frame) = frames.pop_front().unwrap();
            assert!(batch.push_frame(&frame));
        }
        batch.len()
    }
}

fn measure(plan: Plan, delay: u64, fate: impl Fn(u64, &[u8]) -> Vec<Vec<u8>>) -> Report {
    measure_in(&Arc::new(AtomicU64::new(1)), plan, delay, fate)
}

fn measure_in(time: &Arc<AtomicU64>, plan: Plan, delay: u64, fate: impl Fn(u64, &[u8]) -> Vec<Vec<u8>>) -> Report {
    measure_on(&line(time, delay, fate), plan)
}

fn line<F>(time: &Arc<AtomicU64>, delay: u64, fate: F) -> Line<F> {
    let (frames, busy) = (RefCell::default(), Cell::new(0));
    Line { time: Arc::clone(time), delay, frames, fate, bit: 0.0, busy, room: usize::MAX }
}

fn measure_on<F: Fn(u64, &[u8]) -> Vec<Vec<u8>>>(line: &Line<F>, plan: Plan) -> Report {
    let clock = Clock::by_hand(Arc::clone(&line.time));
    let pool = Pool::new(256, Addressing::Translated).unwrap();
    let ping = Ping::new(&clock, &pool, plan, || false).unwrap();
    ping.run(&mut End(line, 0), &mut End(line, 0))
}

fn plan(count: u64) -> Plan {
    Plan {
        frame: 60,
        rate: 50_000.0,
        load: None,
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
        Plan { warm_up: Duration::from_millis(10), count: None, duration: Some(Duration::from_millis(20)), ..plan(0) },
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
fn packets_that_came_back_and_were_never_reported_as_sent_are_counted() {
    /// Sends at once and reports nothing.
    struct Silent<'b>(&'b RefCell<VecDeque<Vec<u8>>>, usize);
    impl Transmit for Silent<'_> {
        fn send(&mut self, batch: &mut Batch<'_>) -> usize {
            let n = batch.len();
            self.0.borrow_mut().extend(batch.frames().map(<[u8]>::to_vec));
            self.1 += n;
            batch.clear();
            n
        }
        fn reclaim(&mut self, _pool: &Pool) -> usize {
            self.1
        }
    }
    impl Receive for Silent<'_> {
        fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
            self.0.borrow_mut().pop_front().map_or(0, |frame| usize::from(batch.push_frame(&frame)))
        }
    }
    let clock = Clock::new();
    let pool = Pool::new(64, Addressing::Translated).unwrap();
    let wire = RefCell::new(VecDeque::new());
    let plan = Plan { grace: Duration::from_millis(5), ..plan(10) };
    let (mut rx, mut tx) = (Silent(&wire, 0), Silent(&wire, 0));
    let report = Ping::new(&clock, &pool, plan, || false).unwrap().run(&mut rx, &mut tx);
    assert_eq!((report.sent, report.lost, report.unreported), (10, 0, 10));
}

#[test]
fn a_run_is_over_in_time_though_the_next_packet_is_due_much_later() {
    let time = Arc::new(AtomicU64::new(1));
    let clock = Clock::by_hand(Arc::clone(&time));
    struct Idle(Arc<AtomicU64>);
    impl Transmit for Idle {
        fn send(&mut self, batch: &mut Batch<'_>) -> usize {
            let n = batch.len();
            batch.clear();
            n
        }
        fn reclaim(&mut self, _pool: &Pool) -> usize {
            0
        }
    }
    impl Receive for Idle {
        fn recv(&mut self, _batch: &mut Batch<'_>) -> usize {
            self.0.fetch_add(1_000, Ordering::Relaxed);
            0
        }
    }
    let pool = Pool::new(16, Addressing::Translated).unwrap();
    let plan = Plan { rate: 0.001, count: None, duration: Some(Duration::from_millis(20)), ..plan(10) };
    let (mut rx, mut tx) = (Idle(Arc::clone(&time)), Idle(Arc::clone(&time)));
    let report = Ping::new(&clock, &pool, plan, || false).unwrap().run(&mut rx, &mut tx);
    assert_eq!((report.sent, report.skipped), (1, 0));
    let took = time.load(Ordering::Relaxed);
    assert!(took < 5_000_000_000, "{took} ns");
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
    for bad in [
        Plan { frame: 59, ..plan(1) },
        Plan { frame: 65_550, ..plan(1) },
        Plan { rate: 0.0, ..plan(1) },
        loaded(&[], 1e5),
        loaded(&[59], 1e5),
        loaded(&[60], 0.0),
    ] {
        assert_eq!(Ping::new(&clock, &pool, bad, || false).err().unwrap().kind(), Kind::Usage);
    }
}

#[test]
fn the_intervals_together_are_all_samples_and_begin_where_counting_begins() {
    for intended in [false, true] {
        let time = Arc::new(AtomicU64::new(1));
        let line = line(&time, 0, |n, frame: &[u8]| {
            if n == 2_000 {
                time.fetch_add(2_000_000, Ordering::Relaxed);
            }
            vec![frame.to_vec()]
        });
        let clock = Clock::by_hand(Arc::clone(&time));
        let pool = Pool::new(64, Addressing::Translated).unwrap();
        let (ours, written) = Intervals::new(&clock, Duration::from_millis(10), intended);
        let plan = Plan { warm_up: Duration::from_millis(5), ..plan(4_000) };
        let ping = Ping::new(&clock, &pool, plan, || false).unwrap().with_intervals(Some(ours));
        let writer = std::thread::spawn(move || {
            let mut sum = (Histogram::new(), Vec::new());
            while let Some(interval) = written.next() {
                sum.0.add(&interval.histogram);
                sum.1.push((interval.start, interval.end));
                written.give_back(interval.histogram);
            }
            sum
        });
        let report = ping.run(&mut End(&line, 0), &mut End(&line, 0));
        let (sum, spans) = writer.join().unwrap();
        let whole = if intended { &report.intended } else { &report.service };
        assert_eq!((sum.count(), sum.min(), sum.max()), (whole.count(), whole.min(), whole.max()));
        assert_eq!(whole.count() > 4_000, intended, "a stall is in the intended time");
        // The clock stood at 1 when it began.
        assert!((5_000_001..5_001_000).contains(&spans[0].0), "{spans:?}");
        assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "{spans:?}");
        assert!(spans.last().unwrap().1 >= 85_000_000, "{spans:?}");
    }
}

#[test]
fn what_the_loop_takes_itself_is_what_its_calls_take() {
    let time = Arc::new(AtomicU64::new(1));
    let clock = Clock::by_hand(Arc::clone(&time));
    let pool = Pool::new(64, Addressing::Translated).unwrap();
    let line = line(&time, 0, |_, frame: &[u8]| vec![frame.to_vec()]);
    let own = Empty::new(&clock, &pool).unwrap().run(&mut End(&line, 0), &mut End(&line, 0));
    // Virtual time passes in a call of recv() only.
    assert_eq!(own, Own { clock: 0.0, poll: CALL as f64, round: CALL as f64 });
}

/// A thousand probes of 60 bytes beside a load.
fn loaded(frames: &[usize], rate: f64) -> Plan {
    Plan { load: Some(Load { frames: frames.to_vec(), rate }), ..plan(1_000) }
}

/// A link of ten gigabit a second.
const BIT: f64 = 0.1;

#[test]
fn a_load_is_sent_at_its_rate_beside_the_probes_which_wait_behind_it() {
    let run = |plan: Plan| {
        let line = Line { bit: BIT, ..line(&Arc::new(AtomicU64::new(1)), 0, |_, frame: &[u8]| vec![frame.to_vec()]) };
        measure_on(&line, plan)
    };
    let alone = run(plan(1_000));
    assert_eq!(alone.load, None);
    // Half of the link: a frame of 1514 bytes takes 1.23 us.
    let warm_up = Duration::from_millis(2);
    let report = run(Plan { warm_up, ..loaded(&[1_514], 406_000.0) });
    let load = report.load.unwrap();
    assert_eq!((report.sent, report.lost, load.lost(), load.duplicated, report.foreign), (1_000, 0, 0, 0, 0));
    // 20 ms of it, and the warm-up is not among them.
    assert!((8_080..8_160).contains(&load.sent), "{load:?}");
    assert!((report.load_rate() - 406_000.0).abs() < 4_000.0, "{}", report.load_rate());
    // The probe is sent when it is due, and waits on the wire for one frame, or two.
    assert!(report.skipped == 0 && alone.service.max() < 600, "{} ns", alone.service.max());
    let greatest = report.service.max();
    assert!((1_000..4_000).contains(&greatest), "{greatest} ns");
    assert!(report.service.mean() > alone.service.mean() + 100.0);
}

#[test]
fn what_the_load_loses_and_what_the_probes_lose_is_told_apart() {
    let dropped = [Cell::new(0), Cell::new(0)];
    let doubled = Cell::new(0);
    let report = measure(loaded(&[124, 570], 200_000.0), 0, |n, frame| {
        let probe = usize::from(frame.len() == 60);
        match n % 49 {
            7 => {
                dropped[probe].set(dropped[probe].get() + 1);
                vec![]
            }
            8 if probe == 0 => {
                doubled.set(doubled.get() + 1);
                vec![frame.to_vec(), frame.to_vec()]
            }
            _ => vec![frame.to_vec()],
        }
    });
    let load = report.load.unwrap();
    assert_eq!((load.lost(), report.lost), (dropped[0].get(), dropped[1].get()));
    assert_eq!((load.duplicated, report.duplicated, report.foreign), (doubled.get(), 0, 0));
    assert!(load.lost() > 10 && report.lost > 1, "{load:?}, {} lost", report.lost);
    assert_eq!(load.received, load.sent - load.lost());
    assert_eq!(report.received() + report.lost, 1_000);
}

#[test]
fn a_load_that_the_card_does_not_take_is_seen_in_its_rate_and_in_the_probes_wait() {
    // Twice what a link of one gigabit carries, into a ring of 64.
    let time = Arc::new(AtomicU64::new(1));
    let line = Line { bit: 1.0, room: 64, ..line(&time, 0, |_, frame: &[u8]| vec![frame.to_vec()]) };
    let report = measure_on(&line, Plan { rate: 5_000.0, count: Some(200), ..loaded(&[1_514], 162_500.0) });
    let load = report.load.unwrap();
    assert!(report.load_rate() < 0.55 * 162_500.0, "{}", report.load_rate());
    assert_eq!((load.lost(), report.lost, report.stuck), (0, 0, false));
    // What is sent last waits for a ring of 64 frames of 12.3 us.
    let median = report.service.quantile(0.5).unwrap();
    assert!((600_000..900_000).contains(&median), "{median} ns");
}

#[test]
fn frames_of_several_buffers_are_timed_and_counted_once() {
    let plan = Plan { frame: 9_014, ..loaded(&[9_014, 60, 4_096], 20_000.0) };
    let line = Line { bit: BIT, ..line(&Arc::new(AtomicU64::new(1)), 0, |_, frame: &[u8]| vec![frame.to_vec()]) };
    let report = measure_on(&line, plan);
    let load = report.load.unwrap();
    assert_eq!((report.sent, report.lost, report.duplicated, report.foreign), (1_000, 0, 0, 0));
    assert_eq!((load.lost(), load.duplicated), (0, 0));
    assert!((390..=402).contains(&load.sent), "{load:?}");
    // 7.2 us on the wire.
    assert!(report.service.min() >= 7_230, "{}", report.service.min());
}
