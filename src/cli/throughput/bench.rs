//! What a row takes: ceilings, searches, and the trials of them all.

use super::options::Args;
use super::rfc::{Test, Tests};
use super::row::{Flow, Measured, Row, Search, Trials};
use super::size::Size;
use super::{CEILING_FLOODS, CEILING_TIME, GRACE};
use crate::cli::circuit;
use crate::cli::hang;
use crate::cli::progress::Live;
use crate::cli::session::Session;
use crate::cli::signal::Stop;
use crate::dma::Pool;
use crate::error::{Error, Kind, Result};
use crate::measure::flood::{self, Flood, Plan, Report};
use crate::measure::rfc2544::{self, Burst, Longest};
use crate::measure::search::{self, Goal, Goals, Timed, Trial, Verdict};
use crate::measure::{Clock, Histogram};
use std::time::Duration;

/// Share of line rate by which the steps of a loss curve are apart (RFC 2544 §26.3).
const STEP: f64 = 0.1;
/// Rest before a burst, so that what the last one left in buffers is gone.
const REST: Duration = Duration::from_millis(20);

/// All that a trial needs.
pub(super) struct Bench<'a> {
    pub args: &'a Args,
    pub clock: &'a Clock,
    pub pool: &'a Pool,
    pub stop: &'a Stop,
    /// Packets a call.
    pub batch: u16,
    /// Queues of each direction.
    pub queues: u16,
    /// Who sees how far it is, in [`steps`].
    pub live: &'a Live,
}

/// One trial: what happened, and the packets that came out of each receive queue.
pub(super) struct Flooded {
    pub report: Report,
    pub by_queue: Vec<u64>,
}

/// Steps of a bar for trials that are so long together.
pub(super) fn steps(trials: Duration) -> u64 {
    trials.as_millis().try_into().unwrap_or(u64::MAX)
}

impl Bench<'_> {
    /// What came of one size: a row, or one for each goal; none if it was told to stop
    /// before there was anything.
    pub fn rows(&self, size: &Size, session: &mut Session) -> Result<Vec<Row>> {
        let frames = size.frames();
        let line = flood::line_rate(&frames, circuit::speed(session));
        let (aims, tests, runs) = (self.args.aims(), self.args.tests(), self.args.runs() as usize);
        let row = |aim, measured| Row {
            size: size.clone(),
            batch: self.batch,
            queues: self.queues,
            aim,
            line,
            measured,
            tests: Tests::default(),
        };
        if aims.is_empty() && tests.is_empty() {
            let flows = self.floods(&frames, runs, self.args.trial, Flow::of, session)?;
            let measured = if self.args.is_mrr() { Measured::Mrr(flows) } else { Measured::Floods(flows) };
            return Ok(Some(row(None, measured)).filter(|row| row.rate().is_some()).into_iter().collect());
        }
        let time = self.args.trial.min(CEILING_TIME);
        let offered =
            self.floods(&frames, CEILING_FLOODS, time, |flooded| flooded.report.sent_per_second(), session)?;
        let ceiling = offered.into_iter().fold(0.0, f64::max);
        if self.stop.requested() || ceiling == 0.0 {
            return Ok(Vec::new());
        }
        // Of each goal, one search after another.
        let mut searches: Vec<Vec<Search>> = aims.iter().map(|_| Vec::new()).collect();
        let goals = self.args.goals(line, ceiling);
        while searches.first().is_some_and(|searches| searches.len() < runs) && !self.stop.requested() {
            let found = match (&goals, &aims[..]) {
                (Some(goals), _) => self.search_goals(goals, &frames, session)?,
                (None, [aim, ..]) => {
                    let goal = Goal { line, ceiling, loss: aim.loss(), precision: self.args.precision };
                    vec![self.search(&goal, &frames, session)?]
                }
                (None, []) => break,
            };
            searches.iter_mut().zip(found).for_each(|(searches, found)| searches.push(found));
        }
        let searched = |(aim, searches)| row(Some(aim), Measured::Searches { ceiling, searches });
        let mut rows: Vec<Row> = aims.into_iter().zip(searches).map(searched).collect();
        if rows.is_empty() {
            rows.push(row(None, Measured::Ceiling(ceiling)));
        }
        for test in tests {
            if let Some(row) = rows.first_mut().filter(|_| !self.stop.requested()) {
                self.test(test, &frames, ceiling, row, session)?;
            }
        }
        Ok(rows)
    }

    /// Does one more test of RFC 2544.
    fn test(&self, test: Test, frames: &[usize], ceiling: f64, row: &mut Row, session: &mut Session) -> Result<()> {
        let runs = self.args.runs() as usize;
        match test {
            Test::Throughput => {}
            Test::Latency => {
                let Some(rate) = row.asked() else { return Ok(()) };
                let timed = |rate| {
                    let (trial, Flooded { report, .. }) = self.trial(rate, frames, true, session)?;
                    Ok((!self.stop.requested()).then(|| (trial, report.latency.unwrap_or_else(Histogram::new))))
                };
                row.tests.latency = Some(rfc2544::latency(rate, runs, timed)?);
            }
            Test::Loss => {
                let trial = |rate| {
                    let (trial, _) = self.trial(rate, frames, false, session)?;
                    Ok((!self.stop.requested()).then_some(trial))
                };
                row.tests.loss = Some(rfc2544::frame_loss(row.line, ceiling, STEP, trial)?);
            }
            Test::BackToBack => {
                let most = (row.line.min(ceiling) * self.args.trial.as_secs_f64()) as u64;
                let mut longest: Vec<Longest> = Vec::new();
                while longest.len() < runs && !self.stop.requested() {
                    let burst = |length| self.burst(length, frames, session);
                    longest.push(rfc2544::back_to_back(most.max(1), self.args.precision, burst)?);
                }
                row.tests.bursts = Some(longest);
            }
        }
        Ok(())
    }

    /// A burst of so many frames, as fast as the ring takes them.
    fn burst(&self, length: u64, frames: &[usize], session: &mut Session) -> Result<Option<Burst>> {
        std::thread::sleep(REST);
        // Long enough for any: it ends when all are sent.
        let time = 2 * self.args.trial + CEILING_TIME;
        let plan = Plan { count: Some(length), ..self.plan(frames, None, time, session) };
        let (trial, Flooded { report, .. }) = self.watched(plan, session)?;
        let rate = report.sent_per_second();
        let trial = Trial { asked: rate, due: length, late: 0, ..trial };
        Ok((!self.stop.requested()).then_some(Burst { length, rate, trial }))
    }

    /// Unpaced floods, until it is told to stop; what is to be kept of each.
    fn floods<K>(
        &self,
        frames: &[usize],
        runs: usize,
        time: Duration,
        keep: impl Fn(&Flooded) -> K,
        session: &mut Session,
    ) -> Result<Vec<K>> {
        let mut floods = Vec::new();
        while floods.len() < runs && !self.stop.requested() {
            let flooded = self.flood(self.plan(frames, None, time, session), session)?;
            let report = &flooded.report;
            if report.received == 0 && !self.stop.requested() {
                return Err(match report.sent {
                    0 => Error::new(
                        Kind::Timeout,
                        format!(
                            "no packet was sent in {time:?}: the machine was busy or the card stands still; try a longer -t/--trial"
                        ),
                    ),
                    sent => self.args.circuit.nothing_came(&session.devices, sent),
                });
            }
            floods.push(keep(&flooded));
        }
        Ok(floods)
    }

    /// One search for several goals: what was found for each.
    fn search_goals(&self, goals: &Goals, frames: &[usize], session: &mut Session) -> Result<Vec<Search>> {
        let mut flows = Vec::new();
        let outcome = search::search_goals(goals, |rate, length| {
            let (trial, flooded) = self.watched(self.plan(frames, Some(rate), length, session), session)?;
            flows.push(Flow::of(&flooded));
            Ok((!self.stop.requested()).then_some(trial))
        })?;
        let mut trials = Some(outcome.trials);
        let search = |reached: search::Reached| Search {
            best: reached.best.and_then(|at| flows.get(at).cloned()),
            found: reached.found,
            trials: trials.take().map_or(Trials::OfFirst, Trials::Own),
            conditional: reached.conditional,
        };
        Ok(outcome.reached.into_iter().map(search).collect())
    }

    fn search(&self, goal: &Goal, frames: &[usize], session: &mut Session) -> Result<Search> {
        let mut best = None;
        let found = search::search(goal, |rate| {
            let (trial, flooded) = self.trial(rate, frames, false, session)?;
            if self.stop.requested() {
                return Ok(None);
            }
            // Each rate that passes is above all those that passed before.
            if trial.verdict(goal.loss) == Verdict::Passed {
                best = Some(Flow::of(&flooded));
            }
            Ok(Some(trial))
        })?;
        let length = self.args.trial;
        let trials = found.trials.iter().map(|&trial| Timed { trial, length }).collect();
        Ok(Search { found, best, trials: Trials::Own(trials), conditional: None })
    }

    /// A trial at a rate, and what the tester itself did to it.
    fn trial(&self, rate: f64, frames: &[usize], timed: bool, session: &mut Session) -> Result<(Trial, Flooded)> {
        let plan = Plan { timed, ..self.plan(frames, Some(rate), self.args.trial, session) };
        self.watched(plan, session)
    }

    /// A flood, and what the tester itself did to it.
    fn watched(&self, plan: Plan, session: &mut Session) -> Result<(Trial, Flooded)> {
        let rate = plan.rate.unwrap_or(0.0);
        let missed = session.missed()?;
        session.watch_engine(plan.patience());
        let flooded = self.flood(plan, session)?;
        let report = &flooded.report;
        let held_up = report.held_up + session.engine_held_up();
        let missed = session.missed()?.saturating_sub(missed);
        Ok((Trial { missed, held_up, ..report.trial(rate) }, flooded))
    }

    fn plan(&self, frames: &[usize], rate: Option<f64>, duration: Duration, session: &Session) -> Plan {
        Plan {
            frames: frames.to_vec(),
            rate,
            duration,
            count: None,
            timed: false,
            grace: GRACE,
            batch: usize::from(self.batch),
            flows: self.args.flows(),
            queues: usize::from(self.queues),
            addresses: circuit::addresses(session),
        }
    }

    /// One trial: sends on the first port, receives on the last.
    fn flood(&self, plan: Plan, session: &mut Session) -> Result<Flooded> {
        let length = plan.duration;
        let (report, by_queue) = loop {
            let stops = self.stop.stops();
            let flood = Flood::new(self.clock, self.pool, plan.clone(), || self.stop.requested())?;
            // The rows of a sweep differ in nothing but the number.
            let flooded = match self.args.flows() {
                1 => circuit::run(session, flood).map(|report| (report, Vec::new())),
                _ => circuit::run_on(session, self.queues.into(), flood),
            }?;
            // What was stopped meanwhile (Ctrl-Z) had less time than it counts: it is made again.
            if self.stop.stops() == stops || self.stop.requested() {
                break flooded;
            }
        };
        self.live.advance(steps(length));
        session.intact()?;
        // What is in the ring for good is neither sent nor lost, and the next trial has no ring.
        hang::check(report.stuck).map_err(|error| error.of(&session.devices[0].device))?;
        Ok(Flooded { report, by_queue })
    }
}
