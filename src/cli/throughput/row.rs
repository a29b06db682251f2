//! A row of the table: what came of one frame size, in words and numbers.
//!
//! A figure is there or it is not: where a search came to no end its rate is a `-` in
//! the table, nothing in a CSV file and null in JSON, and a line says what is known.

use super::Size;
use crate::cli::output::{self, Output};
use crate::cli::plot::Lines;
use crate::measure::flood::{Cost, Report};
use crate::measure::search::{Bound, Found, Trial, median, spread};
use serde_json::{Value, json};

/// What came of one size.
pub(super) struct Row {
    pub size: Size,
    /// Highest rate the link carries, packets a second.
    pub line: f64,
    pub measured: Measured,
}

/// How it was measured.
pub(super) enum Measured {
    /// Sent as fast as it goes, once or several times.
    Floods(Vec<Report>),
    /// Searched for, once or several times.
    Searches {
        /// What the tester offers unpaced, packets a second.
        ceiling: f64,
        searches: Vec<Search>,
    },
}

/// One search, and the flood that was its best trial.
pub(super) struct Search {
    pub found: Found,
    pub best: Option<Report>,
}

impl Row {
    /// Whether the row is what was asked for.
    pub fn is_result(&self) -> bool {
        self.rate().is_some()
    }

    /// The floods, unless it was searched.
    pub fn floods(&self) -> &[Report] {
        match &self.measured {
            Measured::Floods(floods) => floods,
            Measured::Searches { .. } => &[],
        }
    }

    pub fn is_search(&self) -> bool {
        matches!(self.measured, Measured::Searches { .. })
    }

    /// Packets a second that count: what came, or what the search found; the median.
    pub fn rate(&self) -> Option<f64> {
        match &self.measured {
            Measured::Floods(floods) => middle(floods).map(Report::packets_per_second),
            Measured::Searches { .. } => self.median().and_then(|search| search.found.rate()),
        }
    }

    fn spread(&self) -> Option<[f64; 2]> {
        match &self.measured {
            Measured::Floods(floods) => {
                let rates = || floods.iter().map(Report::packets_per_second);
                (!floods.is_empty()).then(|| [rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max)])
            }
            Measured::Searches { searches, .. } => spread(&founds(searches)),
        }
    }

    /// The search in the middle, if most of them came to an end.
    fn median(&self) -> Option<&Search> {
        let Measured::Searches { searches, .. } = &self.measured else { return None };
        let founds = founds(searches);
        let found = median(&founds)?;
        searches.iter().find(|search| search.found == *found)
    }

    /// The flood in the middle, or the best trial of the search in the middle.
    fn report(&self) -> Option<&Report> {
        match &self.measured {
            Measured::Floods(floods) => middle(floods),
            Measured::Searches { .. } => self.median().and_then(|search| search.best.as_ref()),
        }
    }

    /// Bits a second on the wire at its rate.
    fn bits(&self) -> Option<f64> {
        let report = self.report().filter(|report| report.received > 0)?;
        Some(self.rate()? * report.wire_bits / report.received as f64)
    }

    /// Runs that count, and all.
    fn runs(&self) -> (usize, usize) {
        match &self.measured {
            Measured::Floods(floods) => (floods.len(), floods.len()),
            Measured::Searches { searches, .. } => {
                (searches.iter().filter(|search| search.found.is_conclusive()).count(), searches.len())
            }
        }
    }

    fn ceiling(&self) -> Option<f64> {
        match self.measured {
            Measured::Floods(_) => None,
            Measured::Searches { ceiling, .. } => Some(ceiling),
        }
    }

    /// What is above the rate, in a word or two.
    fn above(&self) -> String {
        match self.median().map(|search| search.found.bound) {
            Some(Bound::Device(rate)) => format!("fails at {}", output::pps(rate)),
            Some(Bound::Line) => "line rate".to_string(),
            Some(Bound::Tester) => "at least: tester's ceiling".to_string(),
            _ if self.is_search() => "not measured".to_string(),
            _ => String::new(),
        }
    }

    /// Why a row is no result, and what is known all the same.
    fn known(&self) -> Option<String> {
        let Measured::Searches { ceiling, searches } = &self.measured else { return None };
        if self.is_result() {
            return None;
        }
        let (ended, all) = self.runs();
        // What one search knows belongs together: that of the highest rate that passed,
        // or of the lowest that did not where none passed.
        let known = |search: &&Search| (search.found.rate().unwrap_or(0.0), -above(search.found.bound));
        let best = searches.iter().max_by(|a, b| {
            let ((a, below_a), (b, below_b)) = (known(a), known(b));
            a.total_cmp(&b).then(below_a.total_cmp(&below_b))
        });
        let passed = best.and_then(|search| search.found.rate());
        let passed = passed.map_or("no rate passed".to_string(), |rate| format!("{} passed", output::pps(rate)));
        let why = match best.map(|search| search.found.bound) {
            Some(Bound::Device(rate)) => format!("{} lost packets", output::pps(rate)),
            Some(Bound::Unclear(rate, why)) => {
                format!("{} could not be measured, because {why}", output::pps(rate))
            }
            Some(Bound::Stopped(rate)) => format!("it was stopped below {}", output::pps(rate)),
            Some(Bound::Line | Bound::Tester) | None => "nothing else is known".to_string(),
        };
        Some(format!(
            "{}: not measured: {ended} of {all} searches came to an end; {passed}, {why}; the tester offers {} unpaced",
            self.size,
            output::pps(*ceiling)
        ))
    }

    pub fn json(&self) -> Value {
        let report = self.report();
        let sum = |count: fn(&Report) -> u64| match &self.measured {
            Measured::Floods(floods) => Some(floods.iter().map(count).sum::<u64>()),
            Measured::Searches { .. } => report.map(count),
        };
        let (ended, all) = self.runs();
        let mut row = json!({
            "frame": self.size.to_string(),
            "pps": self.rate(),
            "pps_min": self.spread().map(|[low, _]| low),
            "pps_max": self.spread().map(|[_, high]| high),
            "runs": all,
            "l1_bits_per_second": self.bits(),
            "line_rate_pps": self.line,
            "of_line_rate": self.rate().map(|rate| rate / self.line),
            "rx_cycles": report.and_then(|report| report.rx.ticks()),
            "tx_cycles": report.and_then(|report| report.tx.ticks()),
            "rx_batch": report.map(|report| report.rx.per_call()),
            "tx_batch": report.map(|report| report.tx.per_call()),
            "sent": sum(|report| report.sent),
            "received": sum(|report| report.received),
            "lost": sum(Report::lost),
            "duplicated": sum(|report| report.duplicated),
            "foreign": sum(|report| report.foreign),
        });
        match (&self.measured, row.as_object_mut()) {
            (Measured::Floods(floods), Some(row)) => {
                let rates: Vec<f64> = floods.iter().map(Report::packets_per_second).collect();
                row.insert("pps_of_runs".into(), rates.into());
            }
            (Measured::Searches { ceiling, searches }, Some(row)) => {
                row.insert("runs_ended".into(), ended.into());
                row.insert("tester_pps".into(), (*ceiling).into());
                row.insert("above".into(), self.median().map(|search| bound_json(search.found.bound)).into());
                row.insert("known".into(), self.known().into());
                row.insert("searches".into(), searches.iter().map(search_json).collect());
                let trials = searches.iter().flat_map(|search| &search.found.trials);
                row.insert("trials".into(), trials.map(trial_json).collect());
            }
            _ => {}
        }
        row
    }

    /// Text of each column, in the order of [`COLUMNS`].
    fn cells(&self) -> [String; COLUMNS.len()] {
        let number = |value: Option<f64>, digits: usize| value.map_or("-".to_string(), |v| format!("{v:.digits$}"));
        let mega = |value: Option<f64>| number(value.map(|v| v / 1e6), 3);
        let report = self.report();
        let cycles = |cost: fn(&Report) -> &Cost| number(report.and_then(|report| cost(report).ticks()), 1);
        let batch = |cost: fn(&Report) -> &Cost| number(report.map(|report| cost(report).per_call()), 1);
        let lost = match &self.measured {
            Measured::Floods(floods) => Some(floods.iter().map(Report::lost).sum::<u64>()),
            Measured::Searches { .. } => report.map(Report::lost),
        };
        let (ended, all) = self.runs();
        [
            self.size.to_string(),
            mega(self.rate()),
            number(self.bits().map(|bits| bits / 1e9), 3),
            number(self.rate().map(|rate| rate / self.line * 100.0), 1),
            cycles(|report| &report.rx),
            cycles(|report| &report.tx),
            batch(|report| &report.rx),
            batch(|report| &report.tx),
            lost.map_or("-".to_string(), |lost| lost.to_string()),
            mega(self.spread().map(|[low, _]| low)),
            mega(self.spread().map(|[_, high]| high)),
            if ended == all { all.to_string() } else { format!("{ended} of {all}") },
            mega(self.ceiling()),
            self.above(),
        ]
    }
}

/// The flood with the median rate, the lower of the two in the middle.
fn middle(floods: &[Report]) -> Option<&Report> {
    let mut sorted: Vec<&Report> = floods.iter().collect();
    sorted.sort_by(|a, b| a.packets_per_second().total_cmp(&b.packets_per_second()));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

fn founds(searches: &[Search]) -> Vec<Found> {
    searches.iter().map(|search| search.found.clone()).collect()
}

/// The rate of a bound, where it has one of its own.
fn above(bound: Bound) -> f64 {
    match bound {
        Bound::Device(rate) | Bound::Unclear(rate, _) | Bound::Stopped(rate) => rate,
        Bound::Line | Bound::Tester => f64::INFINITY,
    }
}

fn bound_json(bound: Bound) -> Value {
    let (kind, why) = match bound {
        Bound::Device(_) => ("device", None),
        Bound::Line => ("line", None),
        Bound::Tester => ("tester", None),
        Bound::Unclear(_, why) => ("unclear", Some(why.to_string())),
        Bound::Stopped(_) => ("stopped", None),
    };
    json!({ "kind": kind, "pps": Some(above(bound)).filter(|rate| rate.is_finite()), "why": why })
}

fn search_json(search: &Search) -> Value {
    let found = &search.found;
    json!({
        "pps": found.rate(),
        "ended": found.is_conclusive(),
        "above": bound_json(found.bound),
        "trials": found.trials.len(),
    })
}

fn trial_json(trial: &Trial) -> Value {
    json!({
        "asked_pps": trial.asked,
        "offered_pps": trial.offered(),
        "sent": trial.sent,
        "lost": trial.lost,
        "missed": trial.missed,
        "held_up_ns": trial.held_up.as_nanos() as u64,
    })
}

/// Columns of the table and their names in a CSV file; whether a table of floods shows
/// them, one of floods that were repeated, and one of searches.
const COLUMNS: [(&str, &str, [bool; 3]); 14] = [
    ("frame", "frame", [true, true, true]),
    ("Mpps", "mpps", [true, true, true]),
    ("Gbit/s (L1)", "l1_gbit_per_second", [true, true, true]),
    ("% of line", "percent_of_line", [true, true, true]),
    ("rx cycles", "rx_cycles", [true, true, false]),
    ("tx cycles", "tx_cycles", [true, true, false]),
    ("rx batch", "rx_batch", [true, true, false]),
    ("tx batch", "tx_batch", [true, true, false]),
    ("lost", "lost", [true, true, false]),
    ("min", "mpps_min", [false, true, true]),
    ("max", "mpps_max", [false, true, true]),
    ("runs", "runs", [false, true, true]),
    ("tester", "tester_mpps", [false, false, true]),
    ("above", "above", [false, false, true]),
];

/// Rates by frame size, of a document.
pub(super) fn picture(document: &Value) -> Lines {
    let rows = document["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let series = [("measured", "pps"), ("line rate", "line_rate_pps"), ("tester", "tester_pps")];
    let series = series
        .into_iter()
        .map(|(name, field)| (name.to_owned(), rows.iter().map(|row| row[field].as_f64()).collect::<Vec<_>>()));
    Lines {
        title: "Packets a second by frame size".into(),
        below: "bytes with FCS",
        names: rows.iter().map(|row| row["frame"].as_str().unwrap_or_default().to_owned()).collect(),
        series: series.filter(|(_, values)| values.iter().any(Option::is_some)).collect(),
        unit: output::pps,
    }
}

pub(super) fn print_table(output: &Output, rows: &[Row]) -> std::io::Result<()> {
    let kind = match rows.first() {
        Some(row) if row.is_search() => 2,
        Some(row) if row.runs().1 > 1 => 1,
        _ => 0,
    };
    let shown = |i: usize| COLUMNS.get(i).is_some_and(|(_, _, shown)| shown[kind]);
    let titles: Vec<&str> = COLUMNS.iter().filter(|(_, _, shown)| shown[kind]).map(|(title, ..)| *title).collect();
    let mut table = output::table(&titles, 1);
    for row in rows {
        let cells = row.cells().into_iter().enumerate().filter(|(i, _)| shown(*i));
        table.add_row(cells.map(|(_, cell)| cell));
    }
    output.result(table.trim_fmt())?;
    for known in rows.iter().filter_map(Row::known) {
        output.result(known)?;
    }
    Ok(())
}

pub(super) fn print_csv(output: &Output, rows: &[Row]) -> std::io::Result<()> {
    output.result(COLUMNS.map(|(_, name, _)| name).join(","))?;
    for row in rows {
        let cells = row.cells().map(|cell| if cell == "-" { String::new() } else { cell });
        output.result(cells.join(","))?;
    }
    for known in rows.iter().filter_map(Row::known) {
        output.warn(known);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::search::{Verdict, Why};

    fn found(rate: f64, bound: Bound) -> Search {
        let trial = Trial { asked: rate, due: 1_000, sent: 1_000, ..Trial::default() };
        assert_eq!(trial.verdict(0.0), Verdict::Passed);
        Search { found: Found { best: Some(trial), bound, trials: vec![trial] }, best: None }
    }

    fn row(searches: Vec<Search>) -> Row {
        Row { size: Size::Fixed(64), line: 10e6, measured: Measured::Searches { ceiling: 5e6, searches } }
    }

    #[test]
    fn a_result_says_what_is_above_it_and_how_far_the_runs_were_apart() {
        let row =
            row(vec![found(2e6, Bound::Device(2.1e6)), found(1.9e6, Bound::Device(2e6)), found(4e6, Bound::Tester)]);
        assert!(row.is_result() && row.known().is_none());
        let cells = row.cells().join("|");
        assert!(cells.starts_with("64|2.000|") && cells.ends_with("|1.900|4.000|3|5.000|fails at 2.1 Mpps"), "{cells}");
        assert_eq!(row.json()["above"]["kind"], "device");
        let row = self::row(vec![found(4e6, Bound::Tester)]);
        assert_eq!(row.cells().last().unwrap(), "at least: tester's ceiling");
        assert_eq!(row.json()["above"], json!({ "kind": "tester", "pps": null, "why": null }));
    }

    #[test]
    fn where_no_search_ends_there_is_no_figure_but_what_is_known() {
        let unclear = || found(1e6, Bound::Unclear(1.5e6, Why::OwnLoss));
        let row = row(vec![unclear(), unclear(), found(2e6, Bound::Device(2.1e6))]);
        assert!(!row.is_result());
        assert_eq!(row.cells()[1..4], ["-", "-", "-"]);
        assert_eq!(row.json()["pps"], Value::Null);
        let known = row.known().unwrap();
        assert!(known.contains("1 of 3 searches came to an end; 2 Mpps passed, 2.1 Mpps lost packets"), "{known}");
        let nothing =
            Search { found: Found { best: None, bound: Bound::Device(50_000.0), trials: vec![] }, best: None };
        let row = self::row(vec![nothing]);
        assert!(!row.is_result() && row.spread().is_none());
        assert!(row.known().unwrap().contains("no rate passed, 50 kpps lost packets"), "{:?}", row.known());
    }
}
