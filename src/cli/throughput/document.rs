//! A row of the JSON document.

use super::row::{Flow, Measured, Row, Search, Trials, bound_rate};
use crate::cli::output;
use crate::cli::plot::Lines;
use crate::measure::search::{Bound, Timed};
use serde_json::{Value, json};

impl Row {
    /// Rates in packets and bits a second, shares of 1, times in ns; null where there is
    /// no figure.
    pub fn json(&self) -> Value {
        let flow = self.flow();
        let sum = |count: fn(&Flow) -> u64| match &self.measured {
            Measured::Floods(flows) | Measured::Mrr(flows) => Some(flows.iter().map(count).sum::<u64>()),
            Measured::Searches { .. } | Measured::Ceiling(_) => flow.map(count),
        };
        let (ended, all) = self.runs();
        let mut row = json!({
            "frame": self.size.to_string(),
            "batch": self.batch,
            "queues": self.queues,
            "goal": self.aim.map(|aim| aim.to_string()),
            "loss_allowed": self.aim.map(|aim| aim.loss()),
            "pps": self.rate(),
            "pps_min": self.spread().map(|[low, _]| low),
            "pps_max": self.spread().map(|[_, high]| high),
            "runs": all,
            "l1_bits_per_second": self.bits(),
            "line_rate_pps": self.line,
            "of_line_rate": self.rate().map(|rate| rate / self.line),
            "rx_cycles": flow.and_then(|flow| flow.rx.0),
            "tx_cycles": flow.and_then(|flow| flow.tx.0),
            "rx_batch": flow.map(|flow| flow.rx.1),
            "tx_batch": flow.map(|flow| flow.tx.1),
            "sent": sum(|flow| flow.sent),
            "received": sum(|flow| flow.received),
            "lost": sum(Flow::lost),
            "duplicated": sum(|flow| flow.duplicated),
            "foreign": sum(|flow| flow.foreign),
            "received_by_queue": self.by_queue(),
        });
        let Some(fields) = row.as_object_mut() else { return row };
        match &self.measured {
            Measured::Floods(flows) | Measured::Mrr(flows) => {
                let rates: Vec<f64> = flows.iter().map(|flow| flow.pps).collect();
                fields.insert("pps_of_runs".into(), rates.into());
                fields.insert("pps_stdev".into(), self.stdev().into());
            }
            Measured::Searches { ceiling, searches } => {
                fields.insert("runs_ended".into(), ended.into());
                fields.insert("tester_pps".into(), (*ceiling).into());
                fields.insert("above".into(), self.median().map(|search| bound_json(search.found.bound)).into());
                let conditional = self.median().and_then(|search| search.conditional);
                fields.insert("conditional_pps".into(), conditional.into());
                fields.insert("known".into(), self.known().into());
                fields.insert("searches".into(), searches.iter().map(search_json).collect());
                fields.insert("trials".into(), trials_json(searches));
            }
            Measured::Ceiling(ceiling) => {
                fields.insert("tester_pps".into(), (*ceiling).into());
            }
        }
        fields.extend(self.tests.json());
        row
    }
}

impl Row {
    /// Packets that came out of each receive queue, of as many floods as the other counts are;
    /// none if there was one queue.
    fn by_queue(&self) -> Option<Vec<u64>> {
        let flows = match &self.measured {
            Measured::Floods(flows) | Measured::Mrr(flows) => &flows[..],
            Measured::Searches { .. } | Measured::Ceiling(_) => self.flow().map_or(&[][..], std::slice::from_ref),
        };
        let queues = flows.first()?.by_queue.len();
        let sum = |queue: usize| flows.iter().map(|flow| flow.by_queue.get(queue).unwrap_or(&0)).sum();
        (queues > 0).then(|| (0..queues).map(sum).collect())
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
    json!({ "kind": kind, "pps": Some(bound_rate(bound)).filter(|rate| rate.is_finite()), "why": why })
}

fn search_json(search: &Search) -> Value {
    let found = &search.found;
    json!({
        "pps": found.rate(),
        "conditional_pps": search.conditional,
        "ended": found.is_conclusive(),
        "above": bound_json(found.bound),
        "trials": match &search.trials {
            Trials::Own(trials) => Some(trials.len()),
            Trials::OfFirst => None,
        },
    })
}

/// All trials; null where those of the row of the first goal are theirs too.
fn trials_json(searches: &[Search]) -> Value {
    let own = |search: &Search| match &search.trials {
        Trials::Own(trials) => Some(trials.iter().map(trial_json).collect::<Vec<_>>()),
        Trials::OfFirst => None,
    };
    let all: Option<Vec<Vec<Value>>> = searches.iter().map(own).collect();
    all.map_or(Value::Null, |all| all.into_iter().flatten().collect())
}

fn trial_json(timed: &Timed) -> Value {
    let trial = &timed.trial;
    json!({
        "asked_pps": trial.asked,
        "offered_pps": trial.offered(),
        "length_ns": timed.length.as_nanos() as u64,
        "sent": trial.sent,
        "lost": trial.lost,
        "missed": trial.missed,
        "held_up_ns": trial.held_up.as_nanos() as u64,
    })
}

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

#[cfg(test)]
mod unit {
    use super::super::row::unit::{found, searched};
    use super::*;
    use crate::measure::search::Why;

    #[test]
    fn a_row_says_what_is_above_it_or_has_no_figure() {
        let row = searched(vec![found(2e6, Bound::Device(2.1e6))]).json();
        assert_eq!((&row["pps"], &row["above"]["kind"]), (&json!(2e6), &json!("device")));
        let row = searched(vec![found(4e6, Bound::Tester)]).json();
        assert_eq!(row["above"], json!({ "kind": "tester", "pps": null, "why": null }));
        let row = searched(vec![found(1e6, Bound::Unclear(1.5e6, Why::OwnLoss))]).json();
        assert_eq!((&row["pps"], &row["runs_ended"]), (&Value::Null, &json!(0)));
        assert!(row["known"].is_string() && row["trials"].is_array());
        let mut shared = found(2e6, Bound::Line);
        shared.trials = Trials::OfFirst;
        assert_eq!(searched(vec![shared]).json()["trials"], Value::Null, "they are in the row of the first goal");
    }
}
