//! The tests of RFC 2544 beside the throughput, in words and numbers.

use super::row::Row;
use super::sheet::{Sheet, columns, number};
use crate::cli::output;
use crate::measure::Histogram;
use crate::measure::rfc2544::{Curve, Latency, Limit, Longest, Point};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Length of a trial that RFC 2544 §24 asks for.
const TRIAL: Duration = Duration::from_secs(60);
/// The same for latency (§26.2), and how often.
const TIMED: (Duration, u32) = (Duration::from_secs(120), 20);
/// The same for bursts (§26.4).
const BURSTS: (Duration, u32) = (Duration::from_secs(2), 50);

/// A test of RFC 2544.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Test {
    /// Highest rate without loss (§26.1)
    Throughput,
    /// Latency at that rate, which is searched for first (§26.2)
    Latency,
    /// Frame loss from line rate down by 10 %, until two rates lose none (§26.3)
    Loss,
    /// Longest burst without loss, mean of several (§26.4)
    BackToBack,
}

impl Test {
    /// All, in the order of the RFC.
    pub const ALL: [Test; 4] = [Test::Throughput, Test::Latency, Test::Loss, Test::BackToBack];

    pub fn name(self) -> &'static str {
        match self {
            Test::Throughput => "throughput",
            Test::Latency => "latency",
            Test::Loss => "loss",
            Test::BackToBack => "back-to-back",
        }
    }
}

/// Where a run differs from what RFC 2544 asks for, a line each.
pub(super) fn deviations(tests: &[Test], trial: Duration, runs: u32) -> Vec<String> {
    let has = |test| tests.contains(&test);
    let s = if runs == 1 { "" } else { "s" };
    let mut lines = Vec::new();
    if trial < TRIAL && (has(Test::Throughput) || has(Test::Loss)) {
        lines.push(format!("trials of {trial:?}; RFC 2544 asks for 60 s: --trial 60s"));
    }
    if has(Test::Latency) && (trial < TIMED.0 || runs < TIMED.1) {
        lines.push(format!(
            "latency of {runs} trial{s} of {trial:?}; RFC 2544 asks for 20 of 120 s: --trial 120s --runs 20"
        ));
    }
    if has(Test::BackToBack) && (trial < BURSTS.0 || runs < BURSTS.1) {
        lines.push(format!(
            "{runs} burst{s} of up to {trial:?}; RFC 2544 asks for 50 of 2 s or more: --trial 2s --runs 50"
        ));
    }
    if !tests.is_empty() {
        lines.push("100 ms for frames still out and no rest between trials; RFC 2544 asks for 2 s and 5 s".to_string());
    }
    lines
}

/// What came of the tests.
#[derive(Default)]
pub(super) struct Tests {
    pub latency: Option<Latency>,
    pub loss: Option<Curve>,
    /// Each search for the longest burst.
    pub bursts: Option<Vec<Longest>>,
}

impl Tests {
    /// Whether each of them is a result.
    pub fn are_results(&self) -> bool {
        self.latency.as_ref().is_none_or(Latency::is_conclusive)
            && self.loss.as_ref().is_none_or(Curve::is_conclusive)
            && self.bursts.as_ref().is_none_or(|bursts| Bursts::of(bursts).mean().is_some())
    }

    /// Why one is none, a line each.
    pub fn known(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(latency) = self.latency.as_ref().filter(|latency| !latency.is_conclusive()) {
            let Latency { passed, runs, rate, why, .. } = latency;
            let why = why.map_or("it was stopped".to_string(), |why| why.to_string());
            lines.push(format!(
                "latency not measured: {passed} of {runs} trials of {} passed; {why}",
                output::pps(*rate)
            ));
        }
        let before = lines.len();
        for step in self.loss.iter().flat_map(|curve| &curve.steps) {
            if let Point::Unclear(why, _) = step.point {
                lines.push(format!("loss at {:.0} % of line rate not measured: {why}", step.share * 100.0));
            }
        }
        if self.loss.as_ref().is_some_and(|curve| !curve.is_conclusive()) && lines.len() == before {
            lines.push("loss not measured: the tester offers too little, or it was stopped".to_string());
        }
        if let Some(bursts) = self.bursts.as_ref().map(|bursts| Bursts::of(bursts))
            && let Some(why) = bursts.why()
        {
            let (ended, all) = (bursts.frames.len(), bursts.all.len());
            lines.push(format!("longest burst not measured: {ended} of {all} searches came to an end; {why}"));
        }
        lines
    }

    /// Fields of a row of the document.
    pub fn json(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        if let Some(latency) = &self.latency {
            fields.insert("latency".into(), latency_json(latency));
        }
        if let Some(curve) = &self.loss {
            fields.insert("frame_loss".into(), curve_json(curve));
        }
        if let Some(bursts) = &self.bursts {
            fields.insert("back_to_back".into(), Bursts::of(bursts).json());
        }
        fields
    }
}

fn latency_json(latency: &Latency) -> Value {
    let times = latency.is_conclusive().then_some(&latency.times);
    let mut value = json!({
        "pps": latency.rate,
        "packets": latency.times.count(),
        "runs": latency.runs,
        "runs_ended": latency.passed,
        "held_up_ns": latency.held_up.as_nanos() as u64,
        "why": latency.why.map(|why| why.to_string()),
        "min_ns": times.map(Histogram::min),
        "mean_ns": times.map(Histogram::mean),
        "max_ns": times.map(Histogram::max),
    });
    if let Some(fields) = value.as_object_mut() {
        for quantile in Histogram::QUANTILES {
            let at = times.and_then(|times| times.quantile(quantile.percent / 100.0));
            fields.insert(format!("{}_ns", quantile.name), at.into());
        }
    }
    value
}

fn curve_json(curve: &Curve) -> Value {
    let step = |step: &crate::measure::rfc2544::Step| {
        let trial = match step.point {
            Point::Measured(trial) | Point::Unclear(_, Some(trial)) => Some(trial),
            Point::Unclear(_, None) | Point::Beyond => None,
        };
        let measured = matches!(step.point, Point::Measured(_));
        json!({
            "of_line_rate": step.share,
            "asked_pps": step.rate,
            "offered_pps": trial.map(|trial| trial.offered()),
            "sent": trial.map(|trial| trial.sent),
            "lost": trial.map(|trial| trial.lost),
            "loss": trial.filter(|_| measured).map(|trial| trial.loss()),
            "why": why(step.point),
        })
    };
    curve.steps.iter().map(step).collect()
}

/// Why a rate has no figure.
fn why(point: Point) -> Option<String> {
    match point {
        Point::Measured(_) => None,
        Point::Unclear(why, _) => Some(why.to_string()),
        Point::Beyond => Some("more than the tester offers".to_string()),
    }
}

/// Searches for the longest burst, together.
struct Bursts<'a> {
    all: &'a [Longest],
    /// Of those that came to an end.
    frames: Vec<f64>,
}

impl<'a> Bursts<'a> {
    fn of(all: &'a [Longest]) -> Self {
        Bursts { all, frames: all.iter().filter_map(Longest::frames).map(|frames| frames as f64).collect() }
    }

    /// The mean, if most of them came to an end (RFC 2544 §26.4: the average is reported).
    fn mean(&self) -> Option<f64> {
        (2 * self.frames.len() > self.all.len()).then(|| self.frames.iter().sum::<f64>() / self.frames.len() as f64)
    }

    /// Why there is none.
    fn why(&self) -> Option<String> {
        if self.mean().is_some() {
            return None;
        }
        Some(match self.all.iter().rfind(|longest| !longest.is_conclusive()).map(|longest| longest.limit) {
            Some(Limit::Device(length)) => format!("bursts of {length} lost packets"),
            Some(Limit::Unclear(length, why)) => format!("bursts of {length} could not be measured, because {why}"),
            Some(Limit::Stopped(length)) => format!("it was stopped below {length}"),
            Some(Limit::Longest) | None => "nothing else is known".to_string(),
        })
    }

    fn spread(&self) -> Option<[f64; 2]> {
        self.mean()?;
        let fold = |start: f64, pick: fn(f64, f64) -> f64| self.frames.iter().copied().fold(start, pick);
        Some([fold(f64::MAX, f64::min), fold(0.0, f64::max)])
    }

    /// Packets a second at which the longest ones were sent: the slowest.
    fn rate(&self) -> Option<f64> {
        let best = self.all.iter().filter(|longest| longest.is_conclusive()).filter_map(|longest| longest.best);
        best.map(|burst| burst.rate).min_by(f64::total_cmp)
    }

    /// Whether no burst was too long in any of them: the mean is a lower bound.
    fn is_at_least(&self) -> bool {
        self.all.iter().any(|longest| longest.limit == Limit::Longest)
    }

    fn json(&self) -> Value {
        let spread = self.spread();
        json!({
            "frames": self.mean(),
            "frames_min": spread.map(|[low, _]| low),
            "frames_max": spread.map(|[_, high]| high),
            "frames_of_runs": self.all.iter().map(Longest::frames).collect::<Vec<_>>(),
            "at_least": self.is_at_least(),
            "sent_pps": self.rate(),
            "runs": self.all.len(),
            "runs_ended": self.frames.len(),
            "why": self.why(),
        })
    }
}

/// A table for each test that was made, but for the throughput.
pub(super) fn sheets(rows: &[Row]) -> Vec<Sheet> {
    let mut sheets: Vec<Sheet> =
        [latency_sheet(rows), loss_sheet(rows), burst_sheet(rows)].into_iter().flatten().collect();
    if let Some(last) = sheets.last_mut() {
        let known = |row: &Row| row.tests.known().into_iter().map(|line| format!("{}: {line}", row.name())).collect();
        last.notes = rows.iter().flat_map::<Vec<String>, _>(known).collect();
    }
    sheets
}

fn latency_sheet(rows: &[Row]) -> Option<Sheet> {
    let cells = |row: &Row| {
        let latency = row.tests.latency.as_ref()?;
        let times = latency.is_conclusive().then_some(&latency.times);
        let ns = |ns: Option<u64>| ns.map_or("-".to_string(), |ns| ns.to_string());
        let at = |q: f64| ns(times.and_then(|times| times.quantile(q)));
        Some(vec![
            row.size.to_string(),
            number(Some(latency.rate / 1e6), 3),
            latency.times.count().to_string(),
            ns(times.map(Histogram::min)),
            at(0.5),
            at(0.99),
            at(0.999),
            ns(times.map(Histogram::max)),
        ])
    };
    let columns = columns(&[
        ("frame", "frame"),
        ("at Mpps", "mpps"),
        ("packets", "packets"),
        ("min", "min_ns"),
        ("p50", "p50_ns"),
        ("p99", "p99_ns"),
        ("p99.9", "p99.9_ns"),
        ("max", "max_ns"),
    ]);
    sheet("latency at that rate (RFC 2544 §26.2), ns from send() to recv()", columns, rows, |row| {
        cells(row).into_iter().collect()
    })
}

fn loss_sheet(rows: &[Row]) -> Option<Sheet> {
    let cells = |row: &Row| {
        let steps = row.tests.loss.iter().flat_map(|curve| &curve.steps);
        steps
            .map(|step| {
                let measured = match step.point {
                    Point::Measured(trial) => Some(trial),
                    _ => None,
                };
                vec![
                    row.size.to_string(),
                    number(Some(step.share * 100.0), 0),
                    number(Some(step.rate / 1e6), 3),
                    measured.map_or("-".to_string(), |trial| trial.sent.to_string()),
                    measured.map_or("-".to_string(), |trial| trial.lost.to_string()),
                    number(measured.map(|trial| trial.loss() * 100.0), 3),
                    match step.point {
                        Point::Measured(_) => String::new(),
                        Point::Unclear(..) => "unclear".to_string(),
                        Point::Beyond => "beyond the tester".to_string(),
                    },
                ]
            })
            .collect()
    };
    let columns = columns(&[
        ("frame", "frame"),
        ("% of line", "percent_of_line"),
        ("Mpps", "mpps"),
        ("sent", "sent"),
        ("lost", "lost"),
        ("loss %", "loss_percent"),
        ("", "why"),
    ]);
    sheet("frame loss rate (RFC 2544 §26.3)", columns, rows, cells)
}

fn burst_sheet(rows: &[Row]) -> Option<Sheet> {
    let cells = |row: &Row| {
        let bursts = Bursts::of(row.tests.bursts.as_ref()?);
        let spread = bursts.spread();
        Some(vec![
            row.size.to_string(),
            number(bursts.mean(), 1),
            number(spread.map(|[low, _]| low), 0),
            number(spread.map(|[_, high]| high), 0),
            format!("{} of {}", bursts.frames.len(), bursts.all.len()),
            number(bursts.mean().and(bursts.rate()).map(|rate| rate / row.line * 100.0), 1),
            if bursts.is_at_least() { "at least".to_string() } else { String::new() },
        ])
    };
    let columns = columns(&[
        ("frame", "frame"),
        ("frames", "frames"),
        ("min", "frames_min"),
        ("max", "frames_max"),
        ("runs", "runs"),
        ("% of line", "sent_percent_of_line"),
        ("above", "above"),
    ]);
    sheet("back-to-back frames (RFC 2544 §26.4)", columns, rows, |row| cells(row).into_iter().collect())
}

fn sheet(
    title: &str,
    columns: Vec<super::sheet::Column>,
    rows: &[Row],
    cells: impl Fn(&Row) -> Vec<Vec<String>>,
) -> Option<Sheet> {
    let rows: Vec<Vec<String>> = rows.iter().flat_map(cells).collect();
    (!rows.is_empty()).then(|| Sheet { title: Some(title.to_string()), columns, rows, notes: Vec::new() })
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::measure::rfc2544::{Burst, Step};
    use crate::measure::search::{Trial, Why};

    fn longest(length: u64, limit: Limit) -> Longest {
        Longest { best: Some(Burst { length, rate: 5e6, ..Burst::default() }), limit, bursts: vec![] }
    }

    #[test]
    fn what_the_rfc_asks_for_is_said_where_it_is_not_done() {
        let second = Duration::from_secs(1);
        let lines = deviations(&Test::ALL, second, 3);
        assert_eq!(lines[0], "trials of 1s; RFC 2544 asks for 60 s: --trial 60s");
        assert!(lines.len() == 4 && lines.iter().all(|line| line.len() < 100), "{lines:?}");
        assert_eq!(deviations(&[Test::Throughput], TRIAL, 1).len(), 1, "the rest alone");
        assert_eq!(deviations(&[], second, 1).len(), 0);
    }

    #[test]
    fn the_burst_is_a_mean_of_those_that_ended() {
        let tests = |bursts| Tests { bursts: Some(bursts), ..Tests::default() };
        let device = |length| longest(length, Limit::Device(length + 1));
        let all = tests(vec![device(100), device(200), longest(7, Limit::Unclear(8, Why::OwnLoss))]);
        assert!(all.are_results() && all.known().is_empty());
        let json = &all.json()["back_to_back"];
        assert_eq!(
            (&json["frames"], &json["frames_min"], &json["at_least"]),
            (&json!(150.0), &json!(100.0), &json!(false))
        );
        assert_eq!(json["frames_of_runs"], json!([100, 200, null]));
        let most = tests(vec![longest(7, Limit::Unclear(8, Why::OwnLoss)), device(100)]);
        assert!(
            !most.are_results() && most.known()[0].contains("1 of 2 searches came to an end"),
            "{:?}",
            most.known()
        );
        assert_eq!(most.json()["back_to_back"]["frames"], Value::Null);
        assert_eq!(tests(vec![longest(7, Limit::Longest)]).json()["back_to_back"]["at_least"], true);
    }

    #[test]
    fn a_loss_that_is_not_known_is_no_figure() {
        let trial = Trial { asked: 9e6, due: 9_000, sent: 9_000, lost: 900, ..Trial::default() };
        let step = |share: f64, point| Step { share, rate: share * 1e7, point };
        let steps = vec![
            step(1.0, Point::Beyond),
            step(0.9, Point::Measured(trial)),
            step(0.8, Point::Unclear(Why::OwnLoss, Some(trial))),
        ];
        let tests = Tests { loss: Some(Curve { steps, stopped: false }), ..Tests::default() };
        assert!(!tests.are_results());
        assert_eq!(tests.known(), ["loss at 80 % of line rate not measured: the tester may have lost what was lost"]);
        let json = &tests.json()["frame_loss"];
        assert_eq!((&json[0]["loss"], &json[1]["loss"], &json[2]["loss"]), (&Value::Null, &json!(0.1), &Value::Null));
        assert_eq!((&json[0]["why"], &json[2]["lost"]), (&json!("more than the tester offers"), &json!(900)));
    }
}
