//! The process that has both drivers in it.
//!
//! Lines on standard input tell it what to measure, and it answers each with a JSON
//! document on a line of standard output. When there are no more lines it ends, and
//! with it all that it has made.
//!
//! ```text
//!   (start)                        {"dpdk": "DPDK 22.11.11", "path": "...", ...}
//!   cost STAGE BURST FASTEST       {"costs": [[rx, tx], ...], "fastest": ticks}
//!   crossings BURST                {"crossings": [{"doorbells": n, ...}, ...]}, asked first
//!   instructions BURST             {"costs": [[rx, tx], ...]}
//!   latency FASTEST                {"times": [[p50, p99], ...], "fastest": ticks}
//!   end                            {"drivers": [{"violations": [...], ...}, ...], ...}
//! ```
//!
//! Lists have DPDK, bmnic, and bmnic with all metadata, in this order; null where
//! the core was not quiet, false where a way cannot have such bursts.

use super::nics::{Nic, Way};
use crate::cli::Outcome;
use crate::compare::{self, Bench, Card, Contender, Cost, Crossing, Dpdk, Ours, Stage};
use crate::dma::{Addressing, PageSize, Pool};
use crate::emu::native::{Machine, Steps, Trap};
use crate::emu::pcie::Traffic;
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::error::{Error, Kind, Result};
use crate::sys;
use serde_json::{Value, json};
use std::io::{self, BufRead, Write};

/// Descriptors in each ring of each driver.
pub const RING: u16 = 512;

/// Contenders, in the order of the answers.
pub const CONTENDERS: usize = 3;

/// What both cards are.
fn spec(nic: &Nic) -> Result<Spec> {
    compare::spec(nic.model)
}

/// Runs it.
pub fn run(nic: &Nic, way: &Way) -> Result<Outcome> {
    let cpus = sys::affinity().map_err(|e| Error::io("asking where this process may run", e))?;
    let pin = |cpus: &[usize]| sys::set_affinity(cpus).map_err(|e| Error::io("choosing a processor", e));
    pin(&cpus[..1])?;
    let spec = spec(nic)?;
    // DPDK's threads and the handler may use it for as long as the process lives.
    let mut machine = Machine::enter(Drive::Manual, std::slice::from_ref(&spec))?;
    machine.overlook()?;
    let machine: &'static Machine = Box::leak(Box::new(machine));
    Trap::install(machine)?;
    let address = machine.addresses().next().unwrap_or_default().to_string() + way.arguments;
    let setup =
        compare::Setup { device: &address, cpu: cpus[0], vectors: way.vectors, ring: RING, tx_queue: nic.tx_queue };
    let mut dpdk = compare::stepped(machine.engine(), Some(machine), || Dpdk::start(&setup))?;
    // It leaves the thread where DPDK wants it: there.
    pin(&cpus[..1])?;
    machine.tend()?;

    let engine = Engine::new(Drive::Manual);
    let (function, tap) = engine.open(&spec)?;
    let pool = Pool::new(compare::BUFFERS as usize, Addressing::Translated)?;
    let mut ours = compare::stepped(&engine, None, || Ours::start(function, RING, &pool))?;

    let hello = json!({
        "dpdk": dpdk.version, "abi": dpdk.abi, "path": dpdk.path, "fast_free": dpdk.fast_free,
        "huge_pages": pool.arena().page_size() != PageSize::Small,
        "processors": cpus.len(),
    });
    say(&hello)?;
    let mut served = Served {
        cards: [(machine.engine(), machine.tap(0)), (&engine, &tap)],
        dpdk: &mut dpdk,
        ours: &mut ours,
        bench: Bench::new(),
        other: cpus.get(1).copied(),
        least: way.least,
        crowded: nic.crowded,
    };
    let traps = machine.traps();
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::io("reading what to measure", e))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["cost", stage, burst, fastest] => served.cost(stage, number(burst)?, number(fastest)?)?,
            ["crossings", burst] => served.crossings(number(burst)?)?,
            ["instructions", burst] => served.instructions(number(burst)?)?,
            ["latency", fastest] => served.latency(number(fastest)?)?,
            ["end"] => served.end(machine.traps() - traps)?,
            _ => return Err(Error::new(Kind::Usage, format!("'{line}' is nothing that can be measured"))),
        };
        say(&answer)?;
    }
    compare::stepped(machine.engine(), Some(machine), || dpdk.stop());
    Ok(Outcome::Done)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::new(Kind::Usage, format!("'{text}' is not a number")))
}

fn say(answer: &Value) -> Result<()> {
    let mut out = sys::standard_output()?.lock();
    writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(|e| Error::io("answering", e))
}

/// Both drivers on their cards.
struct Served<'a, 'p> {
    /// Of DPDK, of bmnic.
    cards: [(&'a Engine, &'a Tap); 2],
    dpdk: &'a mut Dpdk,
    ours: &'a mut Ours<'p>,
    bench: Bench,
    /// The second processor, if there is one.
    other: Option<usize>,
    /// DPDK's path receives so many frames at a time, or some times as many.
    least: usize,
    /// All queues of the cards have one doorbell.
    crowded: bool,
}

impl Served<'_, '_> {
    /// Lets each contender do something in turn; None of one that cannot. An error
    /// names the driver that it is of.
    fn each<R>(
        &mut self,
        burst: usize,
        mut act: impl FnMut(&mut Bench, &mut dyn Turn, &Card<'_>) -> Result<R>,
    ) -> Result<Vec<Option<R>>> {
        let [theirs, mine] = self.cards.map(|(engine, tap)| Card { engine, tap, crowded: self.crowded });
        let mut results = Vec::with_capacity(CONTENDERS);
        results.push(if burst.is_multiple_of(self.least) {
            Some(act(&mut self.bench, self.dpdk, &theirs).map_err(|error| error.of("DPDK"))?)
        } else {
            None
        });
        for all_metadata in [false, true] {
            self.ours.all_metadata = all_metadata;
            results.push(Some(act(&mut self.bench, self.ours, &mine).map_err(|error| error.of("bmnic"))?));
        }
        Ok(results)
    }

    fn stage(&self, name: &str) -> Result<Stage> {
        match (name, self.other) {
            ("hot", _) => Ok(Stage::Hot),
            ("lock-step", Some(cpu)) => Ok(Stage::LockStep(cpu)),
            ("lock-step", None) => Err(Error::new(Kind::Missing, "lock-step takes two processors")),
            _ => Err(Error::new(Kind::Usage, format!("'{name}' is no stage"))),
        }
    }

    fn cost(&mut self, stage: &str, burst: usize, fastest: u64) -> Result<Value> {
        let stage = self.stage(stage)?;
        self.bench.fastest(Some(fastest));
        let costs = self.each(burst, |bench, turn, card| turn.stretch(bench, card, stage, burst))?;
        let costs: Vec<Value> = costs.into_iter().map(|cost| answer(cost, pair)).collect();
        Ok(json!({ "costs": costs, "fastest": self.bench.fastest(None) }))
    }

    fn crossings(&mut self, burst: usize) -> Result<Value> {
        let crossed = self.each(burst, |_, turn, card| turn.cross(card, burst))?;
        let crossed: Vec<Value> = crossed.into_iter().map(|crossed| answer(crossed.map(Some), crossing)).collect();
        Ok(json!({ "crossings": crossed }))
    }

    fn instructions(&mut self, burst: usize) -> Result<Value> {
        let steps = Steps::new()?;
        let costs = self.each(burst, |bench, turn, card| turn.count(bench, &steps, card, burst))?;
        let costs: Vec<Value> = costs.into_iter().map(|cost| answer(cost.map(Some), pair)).collect();
        Ok(json!({ "costs": costs }))
    }

    fn latency(&mut self, fastest: u64) -> Result<Value> {
        let Some(cpu) = self.other else {
            return Err(Error::new(Kind::Missing, "latency takes two processors"));
        };
        self.bench.fastest(Some(fastest));
        let times = self.each(64, |bench, turn, card| turn.latency(bench, card, cpu))?;
        let figures = |latency: compare::Latency| {
            json!([latency.times.quantile_unchecked(0.5), latency.times.quantile_unchecked(0.99)])
        };
        let times: Vec<Value> = times.into_iter().map(|latency| answer(latency, figures)).collect();
        Ok(json!({ "times": times, "fastest": self.bench.fastest(None) }))
    }

    /// What the cards and the drivers have counted, and what the drivers did wrong.
    fn end(&mut self, traps: u64) -> Result<Value> {
        let counted = [self.dpdk.counted(), self.ours.counted()?];
        let drivers = self.cards.iter().zip(counted).map(|((_, tap), (received, sent))| {
            let wire = tap.wire();
            let rules: Vec<Value> =
                tap.violations().into_iter().map(|(rule, n)| json!({ "rule": rule, "count": n })).collect();
            json!({
                "violations": rules,
                "driver": { "rx": received, "tx": sent },
                "card": { "rx": wire.rx_frames, "tx": wire.tx_frames, "lost": wire.drops },
            })
        });
        Ok(json!({ "drivers": drivers.collect::<Vec<_>>(), "traps": traps }))
    }
}

/// A figure; false of a contender that cannot, null of one that was disturbed.
fn answer<R>(figure: Option<Option<R>>, write: impl FnOnce(R) -> Value) -> Value {
    figure.map_or(json!(false), |figure| figure.map_or(Value::Null, write))
}

/// What crossed for a packet.
fn crossing(crossing: Crossing) -> Value {
    let each = |n: u64| n as f64 / crossing.packets as f64;
    let traffic = |traffic: Traffic| {
        json!({
            "transactions": each(traffic.transactions), "lines": each(traffic.lines), "bytes": each(traffic.bytes),
        })
    };
    let Crossing { stores, card, .. } = crossing;
    json!({
        "packets": crossing.packets,
        "doorbells": { "stores": each(stores.stores + card.rung), "lines": each(stores.lines), "bytes": each(stores.bytes) },
        "descriptors_read": traffic(card.fetched),
        "descriptors_written": traffic(card.reported),
        "data_read": traffic(card.read),
        "data_written": traffic(card.written),
        "interrupts": each(card.interrupts),
    })
}

fn pair(cost: Cost) -> Value {
    json!([cost.rx, cost.tx])
}

/// A contender whose type is not known here; what is timed knows it.
trait Turn {
    fn stretch(&mut self, bench: &mut Bench, card: &Card<'_>, stage: Stage, burst: usize) -> Result<Option<Cost>>;
    fn cross(&mut self, card: &Card<'_>, burst: usize) -> Result<Crossing>;
    fn count(&mut self, bench: &mut Bench, steps: &Steps, card: &Card<'_>, burst: usize) -> Result<Cost>;
    fn latency(&mut self, bench: &mut Bench, card: &Card<'_>, cpu: usize) -> Result<Option<compare::Latency>>;
}

impl<C: Contender> Turn for C {
    fn stretch(&mut self, bench: &mut Bench, card: &Card<'_>, stage: Stage, burst: usize) -> Result<Option<Cost>> {
        bench.stretch(self, card, stage, burst)
    }

    fn cross(&mut self, card: &Card<'_>, burst: usize) -> Result<Crossing> {
        Crossing::count(self, card, RING.into(), burst)
    }

    fn count(&mut self, bench: &mut Bench, steps: &Steps, card: &Card<'_>, burst: usize) -> Result<Cost> {
        bench.count(steps, self, card, burst)
    }

    fn latency(&mut self, bench: &mut Bench, card: &Card<'_>, cpu: usize) -> Result<Option<compare::Latency>> {
        bench.latency(self, card, cpu)
    }
}
