//! What a row takes: ceilings, searches, and the trials of them all.

use super::rfc::{Test, Tests};
use super::row::{Measured, Row, Search};
use super::size::Size;
use super::{Args, CEILING_FLOODS, CEILING_TIME, GRACE};
use crate::cli::circuit;
use crate::cli::session::Session;
use crate::cli::signal::Stop;
use crate::dma::Pool;
use crate::error::{Error, Kind, Result};
use crate::measure::flood::{self, Flood, Plan, Report};
use crate::measure::rfc2544::{self, Burst, Longest};
use crate::measure::search::{self, Goal, Trial, Verdict};
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
}

impl Bench<'_> {
    /// What came of one size; `None` if it was told to stop before there was anything.
    pub fn row(&self, size: &Size, session: &mut Session) -> Result<Option<Row>> {
        let frames = size.frames();
        let line = flood::line_rate(&frames, circuit::speed(session));
        let asked = self.args.tests();
        let row = |measured| Row { size: size.clone(), line, measured, tests: Tests::default() };
        let loss = match self.args.goal_loss() {
            None if asked.is_empty() => {
                let floods = self.floods(&frames, self.args.runs() as usize, self.args.trial, session)?;
                return Ok(Some(row(Measured::Floods(floods))).filter(|row| row.rate().is_some()));
            }
            loss => loss,
        };
        let floods = self.floods(&frames, CEILING_FLOODS, self.args.trial.min(CEILING_TIME), session)?;
        let ceiling = floods.iter().map(Report::sent_per_second).fold(0.0, f64::max);
        if self.stop.requested() || ceiling == 0.0 {
            return Ok(None);
        }
        let mut row = row(Measured::Ceiling(ceiling));
        if let Some(loss) = loss {
            let goal = Goal { line, ceiling, loss, precision: self.args.precision };
            let mut searches = Vec::new();
            while searches.len() < self.args.runs() as usize && !self.stop.requested() {
                searches.push(self.search(&goal, &frames, session)?);
            }
            row.measured = Measured::Searches { ceiling, searches };
        }
        for test in asked {
            if !self.stop.requested() {
                self.test(test, &frames, ceiling, &mut row, session)?;
            }
        }
        Ok(Some(row))
    }

    /// Does one more test of RFC 2544.
    fn test(&self, test: Test, frames: &[usize], ceiling: f64, row: &mut Row, session: &mut Session) -> Result<()> {
        let runs = self.args.runs() as usize;
        match test {
            Test::Throughput => {}
            Test::Latency => {
                let Some(rate) = row.asked() else { return Ok(()) };
                let timed = |rate| {
                    let (trial, report) = self.trial(rate, frames, true, session)?;
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
        let (trial, report) = self.watched(plan, session)?;
        let rate = report.sent_per_second();
        let trial = Trial { asked: rate, due: length, late: 0, ..trial };
        Ok((!self.stop.requested()).then_some(Burst { length, rate, trial }))
    }

    /// Unpaced floods, until it is told to stop.
    fn floods(&self, frames: &[usize], runs: usize, time: Duration, session: &mut Session) -> Result<Vec<Report>> {
        let mut floods = Vec::new();
        while floods.len() < runs && !self.stop.requested() {
            let report = self.flood(self.plan(frames, None, time, session), session)?;
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
            floods.push(report);
        }
        Ok(floods)
    }

    fn search(&self, goal: &Goal, frames: &[usize], session: &mut Session) -> Result<Search> {
        let mut best = None;
        let found = search::search(goal, |rate| {
            let (trial, report) = self.trial(rate, frames, false, session)?;
            if self.stop.requested() {
                return Ok(None);
            }
            // Each rate that passes is above all those that passed before.
            if trial.verdict(goal.loss) == Verdict::Passed {
                best = Some(report);
            }
            Ok(Some(trial))
        })?;
        Ok(Search { found, best })
    }

    /// A trial at a rate, and what the tester itself did to it.
    fn trial(&self, rate: f64, frames: &[usize], timed: bool, session: &mut Session) -> Result<(Trial, Report)> {
        let plan = Plan { timed, ..self.plan(frames, Some(rate), self.args.trial, session) };
        self.watched(plan, session)
    }

    /// A flood, and what the tester itself did to it.
    fn watched(&self, plan: Plan, session: &mut Session) -> Result<(Trial, Report)> {
        let rate = plan.rate.unwrap_or(0.0);
        let missed = session.missed()?;
        session.watch_engine(plan.patience());
        let report = self.flood(plan, session)?;
        let held_up = report.held_up + session.engine_held_up();
        let missed = session.missed()?.saturating_sub(missed);
        Ok((Trial { missed, held_up, ..report.trial(rate) }, report))
    }

    fn plan(&self, frames: &[usize], rate: Option<f64>, duration: Duration, session: &Session) -> Plan {
        Plan {
            frames: frames.to_vec(),
            rate,
            duration,
            count: None,
            timed: false,
            grace: GRACE,
            batch: usize::from(self.args.batch),
            addresses: circuit::addresses(session),
        }
    }

    /// One trial: sends on the first port, receives on the last.
    fn flood(&self, plan: Plan, session: &mut Session) -> Result<Report> {
        let flood = Flood::new(self.clock, self.pool, plan, || self.stop.requested())?;
        let report = circuit::run(session, flood)?;
        session.intact().map(|()| report)
    }
}
