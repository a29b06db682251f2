//! The tables of several sizes and loads: one of times, one of packets, a row for each. They
//! fit 80 columns.

use super::rows::Row;
use super::view::{Figure, View};
use crate::cli::output::{self, Output};
use crate::cli::table::Table;
use crate::measure::Histogram;

/// Prints both tables, and what was odd in a row below them.
pub fn print(view: &View<'_>, output: &Output) -> anyhow::Result<()> {
    let time = if view.intended { "from when the probe was due" } else { "service time" };
    output.result(format_args!("{time}, to three digits:"))?;
    output.table(&times(view))?;
    output.result("")?;
    output.table(&packets(view))?;
    for row in view.rows {
        if let Some(line) = odd(row) {
            output.info(line)?;
        }
    }
    Ok(())
}

/// Percentiles of each row, below what the machine itself takes for a frame of the size.
fn times(view: &View<'_>) -> Table {
    let figures: Vec<Figure> = view.figures().into_iter().filter(|figure| *figure != Figure::Mean).collect();
    let names: Vec<String> = figures.iter().map(|figure| figure.name()).collect();
    let headers: Vec<&str> = ["size", "load"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = output::table(&headers, 0);
    let cells = |row: &Row, load: String, histogram: &Histogram| {
        let times = figures.iter().map(|figure| figure.of(histogram).map_or("-".into(), short));
        [row.case.size.to_string(), load].into_iter().chain(times).collect::<Vec<_>>()
    };
    let mut before = 0;
    for row in view.rows {
        if let Some(handoff) = row.floor.handoff.as_ref().filter(|_| row.case.size != before) {
            table.add_row(cells(row, "floor".into(), handoff));
        }
        before = row.case.size;
        table.add_row(cells(row, load(row), view.chosen(row)));
    }
    table
}

/// What became of the packets of each row.
fn packets(view: &View<'_>) -> Table {
    if view.rows.iter().all(|row| row.case.load.is_none()) {
        let mut table = output::table(&["size", "sent", "received", "lost", "duplicated", "reordered"], 0);
        for Row { case, report, .. } in view.rows {
            let counts = [report.sent, report.received(), report.lost, report.duplicated, report.reordered];
            table.add_row([case.size.to_string()].into_iter().chain(counts.map(output::grouped)));
        }
        return table;
    }
    let headers = ["size", "load", "offered", "sent", "lost", "load sent", "load received", "load lost"];
    let mut table = output::table(&headers, 0);
    for row in view.rows {
        let carried = row.report.load.unwrap_or_default();
        let counts = [row.report.sent, row.report.lost, carried.sent, carried.received, carried.lost()];
        let offered = format!("{:.1}%", row.load_sent());
        let [sent, lost, load_sent, received, load_lost] = counts.map(output::grouped);
        table.add_row([row.case.size.to_string(), load(row), offered, sent, lost, load_sent, received, load_lost]);
    }
    table
}

/// The load as it was asked for.
fn load(row: &Row) -> String {
    row.case.load.as_ref().map_or("-".into(), |load| format!("{}%", load.percent))
}

/// What happened in a row and has no column.
fn odd(row: &Row) -> Option<String> {
    let report = &row.report;
    let counts = [
        (report.duplicated, "duplicated"),
        (report.reordered, "reordered"),
        (report.load.unwrap_or_default().duplicated, "of the load duplicated"),
        (report.foreign, "other frames in between"),
        (report.skipped, "not sent because the sender was held up, and counted as intended"),
    ];
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", output::grouped(*count)))
        .collect();
    (!words.is_empty()).then(|| format!("{}: {}", row.case.name(), words.join(", ")))
}

/// A time to three digits, all that a percentile of a histogram has: `812 ns`, `1.23 us`.
fn short(ns: u64) -> String {
    let (value, unit) = match ns as f64 {
        v if v < 1e3 => return format!("{ns} ns"),
        v if v < 999.5e3 => (v / 1e3, "us"),
        v if v < 999.5e6 => (v / 1e6, "ms"),
        v => (v / 1e9, "s"),
    };
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_and_at_most_seven_characters() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (9_994, "9.99 us"),
            (9_995, "10.0 us"),
            (99_949, "99.9 us"),
            (99_950, "100 us"),
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (33_123_456, "33.1 ms"),
            (68_000_000_000, "68.0 s"),
        ] {
            assert_eq!(short(ns), text);
            assert!(text.len() <= 7);
        }
    }
}
