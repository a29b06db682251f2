//! The table of the throughput, and its columns.

use super::row::{Measured, Row};
use super::sheet::{Column, Sheet, number};

/// Kinds of tables: of floods, of floods that were repeated, of an MRR, of searches, of
/// searches for several goals.
const KINDS: usize = 5;

/// Columns of the table, their names in a CSV file, and in which kinds people see them. The
/// batch is shown where it differs, and the number of queues, from row to row.
const COLUMNS: [(&str, &str, [bool; KINDS]); 19] = [
    ("frame", "frame", [true, true, true, true, true]),
    ("goal", "goal", [false, false, false, false, true]),
    ("batch", "batch", [false, false, false, false, false]),
    ("queues", "queues", [false, false, false, false, false]),
    ("Mpps", "mpps", [true, true, true, true, true]),
    ("Gbit/s (L1)", "l1_gbit_per_second", [true, true, true, true, false]),
    ("% of line", "percent_of_line", [true, true, true, true, true]),
    ("rx cycles", "rx_cycles", [true, true, false, false, false]),
    ("tx cycles", "tx_cycles", [true, true, false, false, false]),
    ("rx batch", "rx_batch", [true, true, false, false, false]),
    ("tx batch", "tx_batch", [true, true, false, false, false]),
    ("lost", "lost", [true, true, true, false, false]),
    ("stdev", "mpps_stdev", [false, false, true, false, false]),
    ("through", "conditional_mpps", [false, false, false, false, true]),
    ("min", "mpps_min", [false, true, true, true, true]),
    ("max", "mpps_max", [false, true, true, true, true]),
    ("runs", "runs", [false, true, true, true, true]),
    ("tester", "tester_mpps", [false, false, false, true, false]),
    ("above", "above", [false, false, false, true, true]),
];

/// Places of what can be swept among the columns.
const BATCH: usize = 2;
const QUEUES: usize = 3;

/// The table of all rows; with a title where it is not the only one.
pub(super) fn sheet(rows: &[Row], titled: bool) -> Sheet {
    let kind = match rows.first() {
        Some(row) if matches!(row.measured, Measured::Mrr(_)) => 2,
        Some(row) if row.is_search() && rows.iter().any(|other| other.aim != row.aim) => 4,
        Some(row) if row.is_search() => 3,
        Some(row) if row.runs().1 > 1 => 1,
        _ => 0,
    };
    let differs =
        |what: fn(&Row) -> u16| rows.first().is_some_and(|row| rows.iter().any(|other| what(other) != what(row)));
    let swept = [(BATCH, differs(|row| row.batch)), (QUEUES, differs(|row| row.queues))];
    let column = |(at, &(title, name, shown)): (usize, &(&'static str, &'static str, [bool; KINDS]))| Column {
        title,
        name,
        shown: shown[kind] || swept.contains(&(at, true)),
    };
    Sheet {
        title: titled.then(|| "throughput: highest rate without loss (RFC 2544 §26.1)".to_string()),
        columns: COLUMNS.iter().enumerate().map(column).collect(),
        rows: rows.iter().map(|row| cells(row).to_vec()).collect(),
        notes: rows.iter().filter_map(Row::known).collect(),
    }
}

/// Text of each column, in the order of [`COLUMNS`].
fn cells(row: &Row) -> [String; COLUMNS.len()] {
    let mega = |value: Option<f64>| number(value.map(|v| v / 1e6), 3);
    let flow = row.flow();
    let lost = match &row.measured {
        Measured::Floods(flows) | Measured::Mrr(flows) => Some(flows.iter().map(|flow| flow.lost()).sum::<u64>()),
        Measured::Searches { .. } | Measured::Ceiling(_) => flow.map(|flow| flow.lost()),
    };
    let (ended, all) = row.runs();
    [
        row.size.to_string(),
        row.aim.map_or(String::new(), |aim| aim.to_string()),
        row.batch.to_string(),
        row.queues.to_string(),
        mega(row.rate()),
        number(row.bits().map(|bits| bits / 1e9), 3),
        number(row.rate().map(|rate| rate / row.line * 100.0), 1),
        number(flow.and_then(|flow| flow.rx.0), 1),
        number(flow.and_then(|flow| flow.tx.0), 1),
        number(flow.map(|flow| flow.rx.1), 1),
        number(flow.map(|flow| flow.tx.1), 1),
        lost.map_or("-".to_string(), |lost| lost.to_string()),
        mega(row.stdev()),
        mega(row.median().and_then(|search| search.conditional)),
        mega(row.spread().map(|[low, _]| low)),
        mega(row.spread().map(|[_, high]| high)),
        if ended == all { all.to_string() } else { format!("{ended} of {all}") },
        mega(row.ceiling()),
        row.above(),
    ]
}

#[cfg(test)]
mod unit {
    use super::super::row::Aim;
    use super::super::row::unit::{flows, found, row, searched};
    use super::*;
    use crate::measure::search::{Bound, Why};

    /// The cells that people see, by title.
    fn seen(rows: &[Row]) -> Vec<Vec<(&'static str, String)>> {
        let sheet = sheet(rows, false);
        let cells = |row: &Vec<String>| {
            let cells = sheet.columns.iter().zip(row).filter(|(column, _)| column.shown);
            cells.map(|(column, cell)| (column.title, cell.clone())).collect()
        };
        sheet.rows.iter().map(cells).collect()
    }

    fn cell(row: &[(&'static str, String)], title: &str) -> String {
        row.iter().find(|(is, _)| *is == title).unwrap_or_else(|| panic!("no {title} in {row:?}")).1.clone()
    }

    #[test]
    fn a_result_says_what_is_above_it_and_how_far_the_runs_were_apart() {
        let searches =
            vec![found(2e6, Bound::Device(2.1e6)), found(1.9e6, Bound::Device(2e6)), found(4e6, Bound::Tester)];
        let row = searched(searches);
        assert!(row.is_result() && row.known().is_none());
        let seen = &seen(&[row])[0];
        let shown = ["Mpps", "min", "max", "runs", "tester", "above"].map(|title| cell(seen, title));
        assert_eq!(shown, ["2.000", "1.900", "4.000", "3", "5.000", "fails at 2.1 Mpps"]);
        let row = searched(vec![found(4e6, Bound::Tester)]);
        assert_eq!(row.above(), "at least: tester's ceiling");
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        let row = searched(vec![found(1e6, Bound::Unclear(1.5e6, Why::OwnLoss))]);
        let seen = &seen(&[row])[0];
        assert_eq!(["Mpps", "Gbit/s (L1)", "% of line"].map(|title| cell(seen, title)), ["-"; 3]);
    }

    #[test]
    fn goals_and_batches_are_shown_where_they_differ_and_an_mrr_has_its_deviation() {
        let goal = |aim| Row { aim: Some(aim), ..searched(vec![found(2e6, Bound::Device(2.1e6))]) };
        let both = seen(&[goal(Aim::Ndr), goal(Aim::Pdr(0.005))]);
        assert_eq!((cell(&both[0], "goal"), cell(&both[1], "goal")), ("ndr".into(), "pdr 0.5%".into()));
        let one = seen(&[goal(Aim::Ndr)]);
        assert!(one[0].iter().all(|(title, _)| !["goal", "batch"].contains(title)), "{one:?}");
        let batch = |batch| Row { batch, ..row(Measured::Floods(flows(&[1e6]))) };
        assert_eq!(cell(&seen(&[batch(1), batch(64)])[1], "batch"), "64");
        let queues = |queues| Row { queues, ..batch(32) };
        assert_eq!(cell(&seen(&[queues(1), queues(4)])[1], "queues"), "4");
        let mrr = seen(&[row(Measured::Mrr(flows(&[1e6, 3e6])))]);
        assert_eq!(
            (cell(&mrr[0], "Mpps"), cell(&mrr[0], "stdev"), cell(&mrr[0], "lost")),
            ("2.000".into(), "1.414".into(), "20".into())
        );
    }
}
