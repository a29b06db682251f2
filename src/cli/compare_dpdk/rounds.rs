//! Rounds: each process in turn, each stage, each burst, again and again, so that
//! a slow minute falls on all of them.

use super::child::CONTENDERS;
use super::nics::Nic;
use super::seat;
use crate::cli::exit;
use crate::cli::progress::Live;
use crate::error::{Error, Kind, Result};
use crate::measure::quiet;
use crate::sys;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a process may take for an answer: DPDK starts within a second, and of all that
/// is measured nothing takes longer, but others may want the machine too.
const PATIENCE: Duration = Duration::from_secs(300);

/// Quiet stretches of each contender in a round, how often one is tried, and for how long:
/// on a machine that is busy with other things no stretch will do.
const STRETCHES: usize = 9;
const TRIES: usize = 60;
const TRYING: Duration = Duration::from_secs(4);

/// What is measured.
#[derive(Debug)]
pub struct Plan {
    /// Rounds; without any, what crosses PCIe is counted, and that is all.
    pub rounds: usize,
    /// Frames in a burst.
    pub bursts: Vec<usize>,
}

/// Median, least and most of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Of the rounds, the middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of some figures; None of none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 };
        Some(Spread { median, least, most })
    }

    /// `1.25 (1.20-1.30)`, or a dash if there is none.
    pub fn text(spread: Option<Self>, digits: usize) -> String {
        spread.map_or("-".into(), |s| format!("{:.digits$} ({:.digits$}-{:.digits$})", s.median, s.least, s.most))
    }

    /// A document; null if there is none.
    pub fn json(spread: Option<Self>) -> Value {
        spread.map_or(Value::Null, |s| json!({ "median": s.median, "min": s.least, "max": s.most }))
    }
}

/// What one contender took in each round: receiving and sending a packet, ticks.
/// None where no stretch was quiet.
pub type Rounds = Vec<Option<[f64; 2]>>;

/// What was found of one way of DPDK's, and of bmnic beside it.
#[derive(Debug)]
pub struct Found {
    /// What the process said of itself.
    pub hello: Value,
    /// By stage, burst and contender.
    pub costs: Vec<Vec<[Rounds; CONTENDERS]>>,
    /// What crosses PCIe for a packet, by burst and contender; false of one that cannot.
    pub crossings: Vec<[Value; CONTENDERS]>,
    /// Instructions by burst and contender.
    pub instructions: Vec<[Option<[f64; 2]>; CONTENDERS]>,
    /// Latency by contender: median and 99th percentile, ns, of each round.
    pub latency: [Rounds; CONTENDERS],
    /// What was counted, and what the drivers did wrong.
    pub end: Value,
    /// Stretches that were not quiet, and all.
    pub noisy: [usize; 2],
}

/// Stages, by name.
pub const STAGES: [&str; 2] = ["hot", "lock-step"];

/// Turns of one process with one burst, or with its latencies: what `run` takes its time for.
/// As if there were two processors, which most machines have.
pub fn turns(nic: &Nic, plan: &Plan) -> u64 {
    let round = STAGES.len() * plan.bursts.len() + 1;
    (nic.ways.len() * plan.rounds * round) as u64
}

/// Measures it all.
pub fn run(nic: &Nic, plan: &Plan, live: &Live) -> Result<Vec<Found>> {
    let mut processes = (0..nic.ways.len()).map(|way| Process::start(nic, way)).collect::<Result<Vec<_>>>()?;
    let mut found = Vec::new();
    for process in &mut processes {
        let hello = process.answer()?;
        let none = || [Rounds::new(), Rounds::new(), Rounds::new()];
        found.push(Found {
            hello,
            costs: STAGES.iter().map(|_| plan.bursts.iter().map(|_| none()).collect()).collect(),
            crossings: Vec::new(),
            instructions: Vec::new(),
            latency: none(),
            end: Value::Null,
            noisy: [0; 2],
        });
    }
    // First of all, while rings are as they were made: it comes out the same each time.
    for (process, found) in processes.iter_mut().zip(&mut found) {
        for burst in &plan.bursts {
            live.show(0, format!("counting what crosses PCIe, bursts of {burst}"));
            let mut answer = process.ask(&format!("crossings {burst}"))?;
            found.crossings.push(std::array::from_fn(|i| answer["crossings"][i].take()));
        }
    }
    let two = found.iter().all(|found| found.hello["processors"].as_u64() > Some(1));
    let stages = if two { 2 } else { 1 };
    let mut fastest = u64::MAX;
    for round in 0..plan.rounds {
        for (stage, name) in STAGES.iter().enumerate().take(stages) {
            for (at, burst) in plan.bursts.iter().enumerate() {
                live.show(0, format!("round {} of {}: {name}, bursts of {burst}", round + 1, plan.rounds));
                for (process, found) in processes.iter_mut().zip(&mut found) {
                    let ask = |fastest| format!("cost {name} {burst} {fastest}");
                    process.round(ask, "costs", &mut fastest, &mut found.costs[stage][at], &mut found.noisy)?;
                    live.advance(1);
                }
            }
        }
        if two {
            live.show(0, format!("round {} of {}: latency", round + 1, plan.rounds));
            for (process, found) in processes.iter_mut().zip(&mut found) {
                let ask = |fastest| format!("latency {fastest}");
                process.round(ask, "times", &mut fastest, &mut found.latency, &mut found.noisy)?;
                live.advance(1);
            }
        }
    }
    for (process, found) in processes.iter_mut().zip(&mut found) {
        for burst in plan.bursts.iter().filter(|_| plan.rounds > 0) {
            live.show(0, format!("counting instructions, bursts of {burst}"));
            let answer = process.ask(&format!("instructions {burst}"))?;
            let mut row = [None; CONTENDERS];
            row.iter_mut().enumerate().for_each(|(i, cost)| *cost = pair(&answer["costs"][i]));
            found.instructions.push(row);
        }
        found.end = process.ask("end")?;
    }
    Ok(found)
}

/// Two numbers of a document.
fn pair(value: &Value) -> Option<[f64; 2]> {
    Some([value[0].as_f64()?, value[1].as_f64()?])
}

/// A process with both drivers in it.
struct Process {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<String>,
    said: Option<JoinHandle<String>>,
}

impl Process {
    fn start(nic: &Nic, way: usize) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args(["compare-dpdk", "--nic", nic.name, "--here", &way.to_string()]);
        command.envs(crate::emu::native::ENVIRONMENT);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        sys::die_with_parent(&mut command);
        let mut child = command.spawn().map_err(|e| Error::io("starting the process with both drivers", e))?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (send, receive) = mpsc::channel();
        if let Some(from) = from {
            thread::spawn(move || {
                // DPDK may write lines of its own.
                let lines = BufReader::new(from).lines().map_while(std::io::Result::ok);
                lines
                    .filter(|line| line.starts_with('{'))
                    .take_while(|line| send.send(line.clone()).is_ok())
                    .for_each(drop);
            });
        }
        let said = child.stderr.take().map(seat::collect);
        Ok(Process { child, to, from: receive, said })
    }

    fn ask(&mut self, line: &str) -> Result<Value> {
        // If it is gone, it has said why, and the answer does not come.
        if let Some(to) = &mut self.to {
            let _ = writeln!(to, "{line}");
        }
        self.answer()
    }

    fn answer(&mut self) -> Result<Value> {
        let doing = "measuring in the process with both drivers";
        match self.from.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line)
                .map_err(|e| Error::new(Kind::Io, format!("{doing}: its answer makes no sense: {e}"))),
            Err(RecvTimeoutError::Timeout) => {
                Err(Error::new(Kind::Timeout, format!("{doing}: no answer in {} s", PATIENCE.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let ended = self.child.wait().map_err(|e| Error::io(doing, e))?;
                let said = self.said.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
                let line = said.lines().rev().find_map(|line| line.strip_prefix("bmnic: "));
                let kind = ended.code().map_or(Kind::Device, |code| exit::kind(code as u8));
                Err(match line.or(said.lines().last()) {
                    Some(line) => Error::new(kind, line),
                    None => Error::new(kind, format!("{doing}: it ended early ({ended})")),
                })
            }
        }
    }

    /// A round of a measurement: the lower quartile of its quiet stretches, since
    /// what noise is left only ever slows them; or nothing.
    fn round(
        &mut self,
        ask: impl Fn(u64) -> String,
        field: &str,
        fastest: &mut u64,
        into: &mut [Rounds; CONTENDERS],
        noisy: &mut [usize; 2],
    ) -> Result<()> {
        let mut figures: [Vec<[f64; 2]>; CONTENDERS] = Default::default();
        let began = Instant::now();
        for _ in (0..TRIES).take_while(|_| began.elapsed() < TRYING) {
            let answer = self.ask(&ask(*fastest))?;
            let now = answer["fastest"].as_u64().unwrap_or(u64::MAX);
            if quiet::Probe::overturns(now, *fastest) {
                // What seemed quiet before was not.
                figures.iter_mut().for_each(Vec::clear);
            }
            *fastest = now.min(*fastest);
            for (contender, figures) in figures.iter_mut().enumerate() {
                let figure = pair(&answer[field][contender]);
                noisy[0] += usize::from(answer[field][contender].is_null());
                noisy[1] += 1;
                figures.extend(figure);
            }
            if figures.iter().skip(1).all(|figures| figures.len() >= STRETCHES) {
                break;
            }
        }
        for (rounds, figures) in into.iter_mut().zip(figures) {
            let quartile = |part: usize| {
                let mut figures: Vec<f64> = figures.iter().map(|figure| figure[part]).collect();
                figures.sort_by(f64::total_cmp);
                figures.get(figures.len() / 4).copied()
            };
            rounds.push(quartile(0).zip(quartile(1)).map(|(rx, tx)| [rx, tx]));
        }
        Ok(())
    }
}

impl Drop for Process {
    /// Ends it: it ends by itself when it is asked nothing more.
    fn drop(&mut self) {
        drop(self.to.take());
        // It may be measuring; nothing of that is needed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_rounds() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
    }
}
