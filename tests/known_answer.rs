//! A device whose answer is known: a wire that drops what comes faster than its limit.
//!
//! The whole chain is as in `bmnic throughput --ndr`: the search, the flood, the driver,
//! the emulated card. Only time is virtual, so what a machine does to a tester is done
//! here on purpose, by a seed: its thread is put aside, what plays the card is put
//! aside, the sender's ceiling is just above the answer or just below it. The answer
//! has to be the same each time, or be named as the tester's.

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::queue::{Loop, Receive, Transmit};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::wire::{BURST, Random, Sizes, Source, SourceSpec, Wire};
use bmnic::emu::{Drive, Engine, Spec};
use bmnic::measure::Clock;
use bmnic::measure::flood::{Flood, Plan, Report, line_rate};
use bmnic::measure::rfc2544::{self, Burst, Point};
use bmnic::measure::search::{Bound, Found, Goal, Goals, HEADROOM, Loss, TOLERANCE, Trial, search, search_goals};
use bmnic::packet::build::{IMIX, Recipe};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Packets a second that the wire lets through.
const LIMIT: f64 = 2e6;
const TRIAL: Duration = Duration::from_millis(20);
const PRECISION: f64 = 0.005;

/// What befalls the tester.
#[derive(Clone, Copy)]
struct Troubles {
    /// What a packet costs the sender, ns: its ceiling is a little below 1e9 / this.
    cost: u64,
    /// Once in how many calls its thread is put aside, for up to `stall` ns; 0 never.
    every: u64,
    stall: u64,
    /// Once in how many calls what plays the card is.
    card_every: u64,
}

/// Virtual time, and what disturbs it.
struct World {
    engine: Engine,
    now: Arc<AtomicU64>,
    troubles: Troubles,
    random: Random,
    /// How long the card was put aside, ns.
    card_held: u64,
}

impl World {
    /// Lets `ns` pass, the card at work all the while.
    fn pass(&mut self, ns: u64) {
        let mut left = ns;
        while left > 0 {
            let step = left.min(1_000);
            self.engine.advance(step * 1_000);
            self.now.fetch_add(step, Ordering::Relaxed);
            self.engine.step();
            left -= step;
        }
    }

    /// A call into the driver that takes `ns`, and what may come between.
    fn call(&mut self, ns: u64) {
        self.pass(ns);
        let Troubles { every, stall, card_every, .. } = self.troubles;
        if every > 0 && self.random.below(every) == 0 {
            let stall = self.random.below(stall);
            self.pass(stall);
        }
        if card_every > 0 && self.random.below(card_every) == 0 {
            // Time passes for everybody, but nobody steps the card.
            let stall = 20_000 + self.random.below(stall);
            self.engine.advance(stall * 1_000);
            self.now.fetch_add(stall, Ordering::Relaxed);
            self.card_held += stall;
            self.engine.step();
        }
    }
}

/// A queue whose calls take virtual time.
struct Timed<'a, Q> {
    queue: &'a mut Q,
    world: &'a RefCell<World>,
}

impl<Q: Transmit> Transmit for Timed<'_, Q> {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let sent = self.queue.send(batch);
        let mut world = self.world.borrow_mut();
        let cost = world.troubles.cost;
        world.call(sent as u64 * cost);
        sent
    }

    fn reclaim(&mut self, pool: &Pool) -> usize {
        self.queue.reclaim(pool)
    }
}

impl<Q: Receive> Receive for Timed<'_, Q> {
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        let received = self.queue.recv(batch);
        self.world.borrow_mut().call(200);
        received
    }
}

/// The flood on queues whose calls take virtual time.
struct InTime<'a, L> {
    body: L,
    world: &'a RefCell<World>,
}

impl<L: Loop> Loop for InTime<'_, L> {
    type Output = L::Output;

    fn run<R: Receive, T: Transmit>(self, rx: &mut R, tx: &mut T) -> L::Output {
        let InTime { body, world } = self;
        body.run(&mut Timed { queue: rx, world }, &mut Timed { queue: tx, world })
    }
}

/// A card on the limited wire, and a tester.
struct Tester {
    world: RefCell<World>,
    clock: Clock,
    pool: Pool,
    port: Port,
}

impl Tester {
    fn new(troubles: Troubles, seed: u64) -> Tester {
        Self::on(&format!("limit={LIMIT}"), troubles, seed)
    }

    /// One whose wire is as these options say.
    fn on(wire: &str, troubles: Troubles, seed: u64) -> Tester {
        let engine = Engine::new(Drive::Manual);
        let spec: Spec = format!("82599,{wire},link=1ms,strict").parse().unwrap();
        let (function, _) = engine.open(&spec).unwrap();
        let pool = Pool::new(2_048, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let mut port = driver::open(Arc::clone(&function), &Config::default()).unwrap();
        port.rx[0].fill(&pool).unwrap();
        let now = Arc::new(AtomicU64::new(0));
        let clock = Clock::by_hand(Arc::clone(&now));
        let random = Random::new(seed);
        let mut world = World { engine, now, troubles, random, card_held: 0 };
        while !port.nic.link().unwrap().up {
            world.pass(100_000);
        }
        Tester { world: RefCell::new(world), clock, pool, port }
    }

    fn flood(&mut self, rate: Option<f64>) -> (Report, Trial) {
        self.send(Plan { rate, ..Self::plan() })
    }

    fn plan() -> Plan {
        Plan {
            frames: vec![60],
            rate: None,
            duration: TRIAL,
            count: None,
            timed: false,
            grace: Duration::from_millis(2),
            batch: 32,
            flows: 1,
            queues: 1,
            addresses: [[2, 0, 0, 0, 0, 1]; 2],
        }
    }

    fn send(&mut self, plan: Plan) -> (Report, Trial) {
        let rate = plan.rate;
        let missed = self.port.nic.stats().unwrap().rx_missed.unwrap();
        self.world.borrow_mut().card_held = 0;
        let body = Flood::new(&self.clock, &self.pool, plan, || false).unwrap();
        let Port { rx, tx, nic, .. } = &mut self.port;
        let report = driver::with_pair(&mut rx[0], &mut tx[0], InTime { body, world: &self.world });
        let missed = nic.stats().unwrap().rx_missed.unwrap() - missed;
        let held_up = report.held_up + Duration::from_nanos(self.world.borrow().card_held);
        let trial = Trial { missed, held_up, ..report.trial(rate.unwrap_or(0.0)) };
        (report, trial)
    }

    fn search(&mut self) -> (f64, Found) {
        let ceiling = (0..3).map(|_| self.flood(None).0.sent_per_second()).fold(0.0, f64::max);
        let goal = Goal { line: line_rate(&[60], 10_000_000_000), ceiling, loss: 0.0, precision: PRECISION };
        (ceiling, search(&goal, |rate| Ok(Some(self.flood(Some(rate)).1))).unwrap())
    }
}

/// Whether what was found is the wire's rate: to the precision, and to what a trial
/// leaves open, the burst that passes at its start and the share that may be missing.
fn assert_is_the_answer(found: &Found, case: &str) {
    let Bound::Device(above) = found.bound else { panic!("{case}: {:?}", found.bound) };
    let rate = found.rate().unwrap();
    let width = PRECISION * line_rate(&[60], 10_000_000_000);
    let burst = BURST as f64 / TRIAL.as_secs_f64();
    assert!(rate <= LIMIT + burst, "{case}: {rate} passed");
    assert!(above > LIMIT, "{case}: {above} failed");
    assert!(rate >= (LIMIT - width) * (1.0 - TOLERANCE), "{case}: {rate} is all that passed");
}

#[test]
fn a_quiet_tester_finds_the_rate_of_the_wire_ten_times_out_of_ten() {
    for seed in 0..10 {
        let (_, found) =
            Tester::new(Troubles { cost: 100 + seed * 10, every: 0, stall: 0, card_every: 0 }, seed).search();
        assert_is_the_answer(&found, &format!("seed {seed}"));
    }
}

#[test]
fn a_tester_that_is_put_aside_finds_the_same_ten_times_out_of_ten() {
    for seed in 0..10 {
        // Of a trial's calls one or two are hit, in more than every third trial.
        let troubles = Troubles { cost: 150, every: 200_000, stall: 600_000, card_every: 200_000 };
        let (_, found) = Tester::new(troubles, seed).search();
        let held = found.trials.iter().filter(|trial| !trial.held_up.is_zero()).count();
        assert!(3 * held > found.trials.len(), "seed {seed}: {held} disturbed of {}", found.trials.len());
        assert_is_the_answer(&found, &format!("seed {seed}"));
    }
}

#[test]
fn a_ceiling_just_above_the_answer_is_enough_and_one_just_below_is_named() {
    for seed in 0..10 {
        // 80 % of it is tried: 2.2 Mpps and 1.8 Mpps, or a little less.
        for (cost, enough) in [(350, true), (440, false)] {
            let troubles = Troubles { cost, every: 0, stall: 0, card_every: 0 };
            let (ceiling, found) = Tester::new(troubles, seed).search();
            let case = format!("seed {seed}, ceiling {ceiling}");
            assert_eq!(HEADROOM * ceiling > LIMIT, enough, "{case}");
            if enough {
                assert_is_the_answer(&found, &case);
            } else {
                assert_eq!(found.bound, Bound::Tester, "{case}");
                let rate = found.rate().unwrap();
                assert!(rate <= HEADROOM * ceiling && rate >= HEADROOM * ceiling * (1.0 - TOLERANCE), "{case}: {rate}");
            }
        }
    }
}

#[test]
fn a_tester_that_is_hardly_ever_at_work_gives_no_wrong_figure() {
    for seed in 0..3 {
        let troubles = Troubles { cost: 150, every: 500, stall: 1_000_000, card_every: 1_000 };
        let (ceiling, found) = Tester::new(troubles, seed).search();
        let burst = BURST as f64 / TRIAL.as_secs_f64();
        assert!(found.rate().is_none_or(|rate| rate <= LIMIT + burst), "seed {seed}: {found:?}");
        match found.bound {
            Bound::Device(above) => assert!(above > LIMIT, "seed {seed}: {above} failed"),
            Bound::Tester => assert!(HEADROOM * ceiling <= LIMIT + burst, "seed {seed}: {ceiling}"),
            Bound::Line => panic!("seed {seed}: no wire of this kind"),
            Bound::Unclear(..) | Bound::Stopped(_) => assert!(!found.is_conclusive()),
        }
    }
}

#[test]
fn two_goals_in_one_search_have_the_rate_of_the_wire_each() {
    const LOSS: f64 = 0.05;
    let quiet = Troubles { cost: 150, every: 0, stall: 0, card_every: 0 };
    let put_aside = Troubles { every: 200_000, stall: 600_000, card_every: 200_000, ..quiet };
    for (seed, troubles) in [(0, quiet), (1, put_aside), (2, put_aside)] {
        let mut tester = Tester::new(troubles, seed);
        let ceiling = tester.flood(None).0.sent_per_second();
        let line = line_rate(&[60], 10_000_000_000);
        let goals = [0.0, LOSS].map(|ratio| Loss { ratio, exceed: 0.5 }).to_vec();
        let goals = Goals { line, ceiling, precision: PRECISION, trial: TRIAL, sum: 3 * TRIAL, goals };
        let outcome = search_goals(&goals, |rate, duration| {
            Ok(Some(tester.send(Plan { rate: Some(rate), duration, ..Tester::plan() }).1))
        });
        let outcome = outcome.unwrap();
        assert_is_the_answer(&outcome.reached[0].found, &format!("seed {seed}"));
        // What is lost of a rate is what is above the limit.
        let (found, right) = (&outcome.reached[1].found, LIMIT / (1.0 - LOSS));
        let burst = BURST as f64 / TRIAL.as_secs_f64() / (1.0 - LOSS);
        let rate = found.rate().unwrap();
        assert!(
            matches!(found.bound, Bound::Device(above) if above > right * (1.0 - TOLERANCE)),
            "seed {seed}: {:?}",
            found.bound
        );
        assert!(
            rate <= right + 1.01 * burst && rate >= (right - PRECISION * line) * (1.0 - TOLERANCE),
            "seed {seed}: {rate}"
        );
        let through = outcome.reached[1].conditional.unwrap();
        assert!(through <= LIMIT + 1.01 * burst && through >= 0.97 * LIMIT, "seed {seed}: {through} came through");
    }
}

#[test]
fn the_loss_over_rates_is_that_of_the_wire_or_is_no_figure() {
    let quiet = Troubles { cost: 60, every: 0, stall: 0, card_every: 0 };
    let put_aside = Troubles { every: 100_000, stall: 300_000, card_every: 100_000, ..quiet };
    for (seed, troubles) in [(0, quiet), (1, put_aside), (2, put_aside)] {
        let mut tester = Tester::new(troubles, seed);
        let ceiling = tester.flood(None).0.sent_per_second();
        let line = line_rate(&[60], 10_000_000_000);
        let curve = rfc2544::frame_loss(line, ceiling, 0.05, |rate| Ok(Some(tester.flood(Some(rate)).1))).unwrap();
        let mut measured = 0;
        for step in &curve.steps {
            let case = format!("seed {seed}: {step:?}");
            match step.point {
                Point::Measured(trial) => {
                    measured += 1;
                    let through = LIMIT * TRIAL.as_secs_f64() + BURST as f64;
                    let right = (1.0 - through / trial.sent as f64).max(0.0);
                    assert!((trial.loss() - right).abs() < 0.02, "{case}: {} and not {right}", trial.loss());
                    assert!(step.rate <= LIMIT || trial.lost > 0, "{case}");
                }
                Point::Beyond => assert!(step.rate > HEADROOM * ceiling, "{case}"),
                Point::Unclear(..) => assert!(troubles.every > 0, "{case}"),
            }
        }
        // 10 % and 5 % of line rate are below the limit: two in a row.
        assert!(measured >= 10 || troubles.every > 0, "seed {seed}: {measured} measured");
        assert_eq!(curve.is_conclusive(), curve.steps.iter().all(|step| !matches!(step.point, Point::Unclear(..))));
    }
}

#[test]
fn the_longest_burst_is_what_the_wire_takes_at_once() {
    for seed in 0..5 {
        let cost = 90 + 10 * seed;
        let mut tester = Tester::new(Troubles { cost, every: 0, stall: 0, card_every: 0 }, seed);
        let mut rates = Vec::new();
        let longest = rfc2544::back_to_back(1 << 20, 0.0, |length| {
            // The bucket is full again.
            tester.world.borrow_mut().pass(100_000);
            let plan = Plan { count: Some(length), ..Tester::plan() };
            let (report, trial) = tester.send(plan);
            let rate = report.sent_per_second();
            rates.push(rate);
            let trial = Trial { asked: rate, due: length, late: 0, ..trial };
            Ok(Some(Burst { length, rate, trial }))
        });
        let longest = longest.unwrap();
        let rate = rates.into_iter().fold(0.0, f64::max);
        // What is in the bucket, and what comes into it meanwhile; to a batch, in which
        // frames come at line rate.
        let most = BURST as f64 / (1.0 - LIMIT / rate) + 1.0;
        let frames = longest.frames().unwrap_or_else(|| panic!("seed {seed}: {:?}", longest.limit)) as f64;
        assert!(frames <= most && frames >= most - 33.0, "seed {seed}: {frames}, {most} at {rate}");
    }
}

#[test]
fn the_latency_at_a_rate_is_that_of_the_wire() {
    for delay in [10_000, 50_000] {
        let quiet = Troubles { cost: 100, every: 0, stall: 0, card_every: 0 };
        let mut tester = Tester::on(&format!("delay={delay}ns"), quiet, 0);
        let found = rfc2544::latency(1e6, 2, |rate| {
            let (report, trial) = tester.send(Plan { rate: Some(rate), timed: true, ..Tester::plan() });
            Ok(Some((trial, report.latency.unwrap())))
        });
        let found = found.unwrap();
        assert!(found.is_conclusive(), "{:?}", found.why);
        assert!(found.times.count() >= 39_000, "{}", found.times.count());
        assert!(found.times.min() >= delay, "{} of {delay} ns", found.times.min());
        let median = found.times.quantile(0.5).unwrap();
        assert!(median < delay + 5_000, "{median} of {delay} ns");
    }
}

/// Counts of 64, 570 and 1518 bytes, and of all.
fn mix(sizes: impl Iterator<Item = usize>) -> [usize; 4] {
    let sizes: Vec<usize> = sizes.collect();
    let of = |size: usize| sizes.iter().filter(|&&len| len == size).count();
    [of(64), of(570), of(1_518), sizes.len()]
}

#[test]
fn imix_is_csits_imix_v4_1_wherever_it_is_meant() {
    const FCS: usize = 4;
    let right = [28, 16, 4, 48];
    assert_eq!(mix(IMIX.into_iter().cycle().take(48)), right, "what throughput sends");

    let recipe = Recipe { sizes: "imix".parse().unwrap(), ..Recipe::default() };
    let mut builder = bmnic::packet::build::Builder::new(&recipe).unwrap();
    let built = (0..48).map(|_| {
        let len = builder.next_len();
        builder.write(&mut vec![0; len], 0);
        len + FCS
    });
    assert_eq!(mix(built), right, "what pktgen sends");

    let spec: Spec = "82599,wire=source:size=imix:count=48".parse().unwrap();
    let bmnic::emu::wire::WireSpec::Source(spec) = spec.wire else { panic!("{spec}") };
    assert_eq!(spec.sizes, Sizes::Imix);
    let mut source = Source::new(&SourceSpec { count: Some(48), ..spec });
    let mut sent = Vec::new();
    let mut now = 0;
    while sent.len() < 48 && now < 1_000_000_000_000 {
        now += 1_000_000;
        while let Some((frame, _)) = source.peek(now) {
            sent.push(frame.len() + FCS);
            source.advance();
        }
    }
    assert_eq!(mix(sent.into_iter()), right, "what an emulated source sends");
}
