//! This run beside an earlier one: what is slower than it was, and by how much.
//!
//! Both are documents that `--json` prints, and a row is compared with its like: the same
//! frame size, batch, queues and goal. A figure is worse if it is worse by more than the tolerance
//! and the spreads of the two do not overlap: figures that differ by no more than the runs
//! of one measurement do are no difference.

use super::sheet::{Sheet, columns};
use crate::cli::output::SCHEMA;
use crate::cli::units;
use crate::error::{Error, Kind, Result};
use crate::sys;
use serde_json::{Value, json};
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest document that is read, in bytes: it is a hundred times one of all tests and sizes.
const MOST: usize = 64 << 20;
/// How long more of it is waited for, where it comes out of a pipe.
const PATIENCE: Duration = Duration::from_secs(3);

/// What to compare with.
#[derive(Debug, clap::Args)]
pub(super) struct Earlier {
    /// Compare with this earlier run, which --json or --export-json wrote
    ///
    /// What is worse by more than --tolerance is named, and the exit code is 3. Another
    /// card or machine, and rows that only one of the two has, are said.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Share by which a figure may be worse than the baseline's
    ///
    /// Where the runs of one overlap with those of the other it may be worse by more.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = units::share, requires = "baseline")]
    tolerance: f64,
}

impl Earlier {
    /// Reads the earlier run.
    ///
    /// # Errors
    /// If the file cannot be read, or is no document of this command.
    pub fn open(&self) -> Result<Option<Baseline>> {
        let Some(path) = &self.baseline else { return Ok(None) };
        let name = path.display().to_string();
        let read = read(path).map_err(|e| Error::io(format!("reading the baseline {name}"), e));
        let (text, place) = read?;
        let mut document: Value = serde_json::from_slice(&text).unwrap_or_default();
        if document["command"] != "throughput" || !document["rows"].is_array() {
            let line = format!("{name} is no document of `bmnic throughput`; write one with --export-json FILE");
            return Err(Error::new(Kind::Usage, line));
        }
        make_plain(&mut document);
        if document["schema"] != SCHEMA {
            let schema = document["schema"].as_str().unwrap_or("none");
            let line = format!(
                "{name} is of another version: its schema is {schema}, and this program reads {SCHEMA}; write it anew with --export-json FILE"
            );
            return Err(Error::new(Kind::Usage, line));
        }
        Ok(Some(Baseline { name, place: Some(place), document, tolerance: self.tolerance }))
    }
}

/// What is in a file, and what the system says of it. A pipe that nobody writes into is not
/// waited for without end.
fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let place = file.metadata()?;
    let (mut text, mut part) = (Vec::new(), [0; 64 << 10]);
    while text.len() < MOST {
        if !sys::wait_readable(file.as_fd(), PATIENCE)? {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "nothing comes out of this pipe; who is to write into it?",
            ));
        }
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(n) => text.extend_from_slice(&part[..n]),
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => {}
            Err(e) => return Err(e),
        }
    }
    Ok((text, place))
}

/// Takes out of texts what a terminal would obey: they are printed.
fn make_plain(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace(char::is_control, "\u{fffd}"),
        Value::Array(all) => all.iter_mut().for_each(make_plain),
        Value::Object(fields) => fields.values_mut().for_each(make_plain),
        _ => {}
    }
}

/// An earlier run.
pub(super) struct Baseline {
    name: String,
    /// The file that it was read from.
    place: Option<Metadata>,
    document: Value,
    tolerance: f64,
}

/// A figure of a row, and which way is better.
struct Figure {
    name: &'static str,
    unit: &'static str,
    /// Where it is in the row, and its least and greatest.
    at: [&'static str; 3],
    more_is_better: bool,
}

const FIGURES: [Figure; 4] = [
    Figure { name: "rate", unit: "Mpps", at: ["/pps", "/pps_min", "/pps_max"], more_is_better: true },
    Figure { name: "latency p50", unit: "us", at: ["/latency/p50_ns", "", ""], more_is_better: false },
    Figure { name: "latency p99", unit: "us", at: ["/latency/p99_ns", "", ""], more_is_better: false },
    Figure {
        name: "burst",
        unit: "frames",
        at: ["/back_to_back/frames", "/back_to_back/frames_min", "/back_to_back/frames_max"],
        more_is_better: true,
    },
];

impl Figure {
    /// Value, least and greatest; the value itself where there is no spread.
    fn of(&self, row: &Value) -> Option<[f64; 3]> {
        let number = |at: &str| row.pointer(at).filter(|_| !at.is_empty()).and_then(Value::as_f64);
        let value = number(self.at[0])?;
        Some([value, number(self.at[1]).unwrap_or(value), number(self.at[2]).unwrap_or(value)])
    }

    fn text(&self, value: f64) -> String {
        match self.unit {
            "Mpps" => format!("{:.3}", value / 1e6),
            "us" => format!("{:.2}", value / 1e3),
            _ => format!("{value:.0}"),
        }
    }
}

/// What is said of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Better,
    Worse,
    /// Worse by more than the tolerance, and not by more than the runs differ.
    WithinSpread,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::WithinSpread => "within the spread",
        }
    }
}

/// A figure of both runs.
struct Line {
    row: String,
    figure: &'static Figure,
    then: f64,
    now: f64,
    verdict: Verdict,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.now / self.then
    }
}

/// Both runs, side by side.
pub(super) struct Comparison {
    file: String,
    tolerance: f64,
    lines: Vec<Line>,
    /// What makes the two less alike, a line each.
    notes: Vec<String>,
}

impl Baseline {
    /// Refuses to write over it: what was better would be gone.
    ///
    /// # Errors
    /// [`Kind::Usage`] if it is one of these files.
    pub fn check_apart<'p>(&self, files: impl IntoIterator<Item = (&'p Path, Metadata)>) -> Result<()> {
        let identity = |data: &Metadata| (data.dev(), data.ino());
        let same = |data: &Metadata| data.is_file() && self.place.as_ref().map(identity) == Some(identity(data));
        let Some((path, _)) = files.into_iter().find(|(_, data)| same(data)) else { return Ok(()) };
        let line =
            format!("{} is the baseline, and this run would be written over it; name another file", path.display());
        Err(Error::new(Kind::Usage, line))
    }

    /// Lays `now`, a document of this command, beside the earlier one.
    pub fn compare(&self, now: &Value) -> Comparison {
        let mut notes = differences(&self.document, now);
        let (mut lines, mut unlike) = (Vec::new(), Vec::new());
        let rows = |document: &'_ Value| document["rows"].as_array().cloned().unwrap_or_default();
        let (then_rows, now_rows) = (rows(&self.document), rows(now));
        for row in &now_rows {
            let key = key(row, now);
            match then_rows.iter().find(|then| self::key(then, &self.document) == key) {
                Some(then) => lines.extend(self.figures(&name(row, now), then, row, &mut unlike)),
                None => notes.push(format!("{} is not in the baseline", name(row, now))),
            }
        }
        for then in &then_rows {
            let there = now_rows.iter().any(|row| key(row, now) == key(then, &self.document));
            if !there {
                notes.push(format!("{} of the baseline was not measured", name(then, &self.document)));
            }
        }
        notes.extend(unlike);
        Comparison { file: self.name.clone(), tolerance: self.tolerance, lines, notes }
    }

    fn figures(&self, name: &str, then: &Value, now: &Value, unlike: &mut Vec<String>) -> Vec<Line> {
        let line = |figure: &'static Figure| {
            let (then, now) = match (figure.of(then), figure.of(now)) {
                (Some(then), Some(now)) if then[0] > 0.0 => (then, now),
                (Some(_), Some(_)) => {
                    unlike
                        .push(format!("{name}: the baseline's {} is not above 0, so it was not compared", figure.name));
                    return None;
                }
                (Some(_), None) => {
                    unlike.push(format!("{name}: the baseline has a {}, and this run has none", figure.name));
                    return None;
                }
                (None, Some(_)) => {
                    unlike.push(format!("{name}: the baseline has no {}", figure.name));
                    return None;
                }
                (None, None) => return None,
            };
            let verdict = verdict(then, now, self.tolerance, figure.more_is_better);
            Some(Line { row: name.to_string(), figure, then: then[0], now: now[0], verdict })
        };
        FIGURES.iter().filter_map(line).collect()
    }
}

/// What a row is of: its like has the same.
fn key(row: &Value, document: &Value) -> (String, String, u64, String) {
    let batch = if row["batch"].is_null() { &document["batch"] } else { &row["batch"] };
    let way = row["goal"].as_str().or(document["method"].as_str()).unwrap_or("flood");
    // A document of before there were several says nothing of them.
    let queues = row["queues"].as_u64().unwrap_or(1);
    (row["frame"].to_string(), batch.to_string(), queues, way.to_string())
}

fn name(row: &Value, document: &Value) -> String {
    let mut name = row["frame"].as_str().unwrap_or("?").to_string();
    if let Some(goal) = row["goal"].as_str().filter(|goal| *goal != "ndr") {
        name += &format!(" {goal}");
    }
    if let Some(batch) = row["batch"].as_u64().filter(|_| document["sweep"] == true) {
        name += &format!(" batch {batch}");
    }
    if let Some(queues) = row["queues"].as_u64().filter(|queues| *queues > 1) {
        name += &format!(" queues {queues}");
    }
    name
}

/// What the two were not measured alike on, or with.
fn differences(then: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let cards = |document: &Value| {
        let devices = document["devices"].as_array().cloned().unwrap_or_default();
        let card = |device: &Value| format!("{} {}", text(&device["kind"]), text(&device["model"]));
        devices.iter().map(card).collect::<Vec<_>>().join(" and ")
    };
    if cards(then) != cards(now) {
        lines.push(format!("the baseline is of another card: {}, not {}", cards(then), cards(now)));
    }
    let facts = [
        ("/machine/cpu", "of another machine"),
        ("/machine/cores", "of a machine with another number of processors"),
        ("/machine/kernel", "of another kernel"),
        ("/machine/governor", "of another frequency governor"),
        ("/trial_ns", "of trials of another length"),
        ("/method", "of another method"),
    ];
    for (at, what) in facts {
        let (then, now) = (then.pointer(at).unwrap_or(&Value::Null), now.pointer(at).unwrap_or(&Value::Null));
        if then != now {
            lines.push(format!("the baseline is {what}: {}, not {}", text(then), text(now)));
        }
    }
    lines
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// Whether `now` is worse than `then`: value, least, greatest of each.
fn verdict(then: [f64; 3], now: [f64; 3], tolerance: f64, more_is_better: bool) -> Verdict {
    let ratio = now[0] / then[0];
    let (worse, better) = if more_is_better {
        (ratio < 1.0 - tolerance, ratio > 1.0 + tolerance)
    } else {
        (ratio > 1.0 + tolerance, ratio < 1.0 - tolerance)
    };
    let apart = now[2] < then[1] || then[2] < now[1];
    match (worse, better) {
        (true, _) if apart => Verdict::Worse,
        (true, _) => Verdict::WithinSpread,
        (_, true) if apart => Verdict::Better,
        _ => Verdict::Same,
    }
}

impl Comparison {
    /// The table of both.
    pub fn sheet(&self) -> Sheet {
        let cells = |line: &Line| {
            let figure = format!("{}, {}", line.figure.name, line.figure.unit);
            let texts = [line.then, line.now].map(|value| line.figure.text(value));
            let [then, now] = texts;
            vec![line.row.clone(), figure, then, now, format!("{:.3}", line.ratio()), line.verdict.name().to_string()]
        };
        Sheet {
            title: Some(format!("against {}", self.file)),
            columns: columns(&[
                ("row", "row"),
                ("figure", "figure"),
                ("then", "then"),
                ("now", "now"),
                ("ratio", "ratio"),
                ("", "verdict"),
            ]),
            rows: self.lines.iter().map(cells).collect(),
            notes: self.notes.clone(),
        }
    }

    /// The same for the document, rates in pps and times in ns.
    pub fn json(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "row": line.row,
                "figure": line.figure.name,
                "then": line.then,
                "now": line.now,
                "ratio": line.ratio(),
                "verdict": line.verdict.name(),
            })
        };
        json!({
            "file": self.file,
            "tolerance": self.tolerance,
            "rows": self.lines.iter().map(line).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    /// Whether nothing is worse than it may be.
    ///
    /// # Errors
    /// [`Kind::Limit`] with the name of what is, or if nothing was there to compare.
    pub fn judge(&self) -> Result<()> {
        if self.lines.is_empty() {
            let line = format!("nothing that was measured is in {} too, so nothing was compared", self.file);
            return Err(Error::new(Kind::Limit, line));
        }
        let worse: Vec<String> = self
            .lines
            .iter()
            .filter(|line| line.verdict == Verdict::Worse)
            .map(|line| format!("{} {} ({:.1} %)", line.row, line.figure.name, (line.ratio() - 1.0) * 100.0))
            .collect();
        if worse.is_empty() {
            return Ok(());
        }
        let line = format!(
            "worse than {} by more than {} %: {}; mend the cause, or allow it with --tolerance",
            self.file,
            units::percent(self.tolerance),
            worse.join(", ")
        );
        Err(Error::new(Kind::Limit, line))
    }
}

#[cfg(test)]
mod unit;
