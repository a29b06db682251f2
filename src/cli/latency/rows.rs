//! The measurement of one row.

use super::asked::Case;
use crate::cli::account;
use crate::cli::args::Limits;
use crate::cli::circuit::{self, Circuit};
use crate::cli::hang;
use crate::cli::session::Session;
use crate::dma::Pool;
use crate::driver::Description;
use crate::emu::wire::Note;
use crate::error::{Error, Kind, Result};
use crate::measure::ping::{self, Intervals, Ping, Plan, Report};
use crate::measure::{Clock, Floor};
use serde_json::{Value, json};
use std::time::Duration;

/// How long to wait for packets that are still out at the end.
pub const GRACE: Duration = Duration::from_secs(1);

/// What came of one size and load.
pub struct Row {
    /// What was asked for.
    pub case: Case,
    /// Probes a second that were asked for.
    pub rate: f64,
    /// Packets of the load a second that were asked for.
    pub load_rate: f64,
    /// What was measured.
    pub report: Report,
    /// What the wires of emulated cards did meanwhile.
    pub notes: Vec<Note>,
    /// What the machine takes for a frame of this size.
    pub floor: Floor,
}

impl Row {
    /// The load that was sent, in per cent of line rate.
    pub fn load_sent(&self) -> f64 {
        let percent = self.case.load.as_ref().map_or(0.0, |load| load.percent);
        if self.load_rate > 0.0 { percent * self.report.load_rate() / self.load_rate } else { 0.0 }
    }

    /// Seconds over which packets were sent.
    pub fn seconds(&self) -> f64 {
        self.report.elapsed_ns as f64 / 1e9
    }

    /// The load for a JSON document; null if none was asked for.
    pub fn load_json(&self) -> Value {
        let Some(load) = &self.case.load else { return Value::Null };
        let carried = self.report.load.unwrap_or_default();
        json!({
            "asked": load.percent / 100.0,
            "sent_share": self.load_sent() / 100.0,
            "frames": load.frames.iter().map(|frame| frame + circuit::FCS).collect::<Vec<_>>(),
            "asked_pps": self.load_rate,
            "pps": self.report.load_rate(),
            "sent": carried.sent,
            "received": carried.received,
            "lost": carried.lost(),
            "duplicated": carried.duplicated,
        })
    }
}

/// What the rows have in common.
pub struct Bench<'a> {
    pub circuit: &'a Circuit,
    pub clock: &'a Clock,
    pub pool: &'a Pool,
    pub limits: Limits,
    pub warm_up: Duration,
}

impl Bench<'_> {
    /// Measures a row at `rate` probes a second, and keeps `raw` samples one by one.
    ///
    /// # Errors
    /// If there is no result: the card was lost, stands still, or, in the `first` row, nothing
    /// came back.
    pub fn row(
        &self,
        session: &mut Session,
        (case, rate): (&Case, f64),
        floor: Floor,
        raw: usize,
        first: bool,
        intervals: Option<Intervals>,
    ) -> Result<Row> {
        let stop = session.stop.clone();
        let load = case.load(circuit::speed(session));
        let load_rate = load.as_ref().map_or(0.0, |load| load.rate);
        let plan = Plan {
            frame: case.frame(),
            rate,
            load,
            count: self.limits.count,
            duration: self.limits.duration,
            warm_up: self.warm_up,
            grace: GRACE,
            raw,
            addresses: circuit::addresses(session),
        };
        let noted = session.notes();
        let ping = Ping::new(self.clock, self.pool, plan, || stop.requested())?.with_intervals(intervals);
        let report = circuit::run(session, ping)?;
        match session.intact() {
            Err(lost) if report.received() == 0 => return Err(lost),
            Ok(()) if report.stuck => return Err(no_room(&session.devices[0])),
            _ => {}
        }
        if report.received() == 0 && first && stop.signal().is_none() {
            if report.sent == 0 {
                return Err(Error::new(Kind::Timeout, NONE_SENT));
            }
            return Err(self.circuit.nothing_came(&session.devices, report.sent));
        }
        let notes = account::notes_since(session.notes(), &noted);
        Ok(Row { case: case.clone(), rate, load_rate, report, notes, floor })
    }
}

/// What is said of a row in which there was no turn to send.
pub const NONE_SENT: &str =
    "no packet was sent in the time: the machine was busy or the card stands still; try a longer -d/--duration, or -c";

/// The error of a ring that does not empty.
pub fn no_room(device: &Description) -> Error {
    hang::full(ping::PATIENCE).of(&device.device)
}
