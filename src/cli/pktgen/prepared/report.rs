//! What is said of prepared packets: what fired, how fast, and what the card sent.

use super::fire::Done;
use crate::cli::account::{self, Losses};
use crate::cli::output::{self, Output};
use crate::driver::{Anomalies, Stats};
use crate::emu::wire::Note;
use crate::measure::Histogram;
use serde_json::{Map, Value, json};

/// What came of a run.
pub struct Report {
    /// What was fired.
    pub done: Done,
    /// Whether packets are triggers.
    pub receives: bool,
    /// What the card counted meanwhile.
    pub stats: Stats,
    /// What its wire did.
    pub notes: Vec<Note>,
    /// Whether its counters are older than that.
    pub stale: bool,
}

impl Report {
    /// What was asked for and did not leave, by cause.
    pub fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        for tally in &self.done.tallies {
            losses.add("no_room", "not sent: the ring was full", tally.no_room);
            losses.add("missed", "signals that came faster than they were read", tally.missed);
        }
        if !self.stale {
            let unsent = self.done.fired().saturating_sub(self.stats.tx_packets);
            losses.add("unsent", "given to the card and not sent: does the far end pause it?", unsent);
        }
        losses.add_departing(&self.notes);
        losses
    }

    /// Packets that came and were not looked at, where packets are triggers: also some that came
    /// at the end, behind the last look.
    fn unseen(&self) -> u64 {
        let mut losses = Losses::default();
        if self.receives {
            losses.add_arriving(&self.notes);
            losses.add_port(&Stats { anomalies: Anomalies::default(), ..self.stats }, false);
        }
        losses.total()
    }

    /// Prints the summary.
    pub fn print(&self, output: &Output) -> anyhow::Result<()> {
        let Report { done, stats, .. } = self;
        let mut headers = vec!["trigger", "seen", "fired", "min"];
        headers.extend(Histogram::QUANTILES.iter().take(4).map(|quantile| quantile.name));
        headers.push("max");
        let mut table = output::table(&headers, 1);
        for tally in &done.tallies {
            let mut row = vec![tally.kind.to_string(), output::grouped(tally.triggers), output::grouped(tally.fired)];
            let time = &tally.time;
            let ns = |value: Option<u64>| value.map_or("-".to_string(), |ns| format!("{} ns", output::grouped(ns)));
            let some = |value: u64| ns((!time.is_empty()).then_some(value));
            row.push(some(time.min()));
            row.extend(Histogram::QUANTILES.iter().take(4).map(|q| ns(time.quantile(q.percent / 100.0))));
            row.push(some(time.max()));
            table.add_row(row);
        }
        output.table(&table)?;
        let fired = output::grouped(done.fired());
        output
            .result(format_args!("fired     {fired} packets; the card sent {}", output::grouped(stats.tx_packets)))?;
        let unknown: u64 = done.tallies.iter().map(|tally| tally.unknown).sum();
        if unknown > 0 {
            let ready = done.packets.len();
            output.result(format_args!(
                "          {} triggers name no packet that is ready: 1 to {ready}",
                output::grouped(unknown)
            ))?;
        }
        let losses = self.losses();
        if losses.total() > 0 {
            losses.print(output)?;
        }
        let unseen = self.unseen();
        if unseen > 0 {
            output.warn(format_args!(
                "{} packets came and were lost before they were looked at; some may have been triggers (try a larger --rxd)",
                output::grouped(unseen)
            ));
        }
        if done.stuck > 0 {
            output.warn(format_args!("{} packets are still in the card's rings", output::grouped(done.stuck as u64)));
        }
        let odd = done.anomalies.total();
        if odd > 0 {
            output.warn(format_args!("{odd} times a card wrote what it must not: {:?}", done.anomalies));
        }
        let ready = if done.laid { "with their descriptors" } else { "for send" };
        output
            .info(format_args!("{} packets ready {ready}; times are from trigger to doorbell", done.packets.len()))?;
        Ok(account::print_meant(&self.notes, output)?)
    }

    /// The same for a document.
    pub fn json(&self) -> Value {
        let Report { done, stats, .. } = self;
        let triggers: Vec<Value> = done
            .tallies
            .iter()
            .map(|tally| {
                json!({
                    "kind": tally.kind,
                    "seen": tally.triggers,
                    "fired": tally.fired,
                    "unknown": tally.unknown,
                    "no_room": tally.no_room,
                    "missed": tally.missed,
                    "to_doorbell_ns": times(&tally.time),
                })
            })
            .collect();
        let packet =
            |(n, (size, fired)): (usize, &(usize, u64))| json!({ "packet": n + 1, "size": size, "fired": fired });
        json!({
            "prepared": {
                "descriptors": done.laid,
                "packets": done.packets.iter().enumerate().map(packet).collect::<Vec<_>>(),
            },
            "triggers": triggers,
            "fired": done.fired(),
            "still_in_rings": done.stuck,
            "lost": self.losses().json(),
            "anomalies": done.anomalies.total(),
            "wire": account::notes_json(&self.notes),
            "port": output::stats(stats),
        })
    }
}

/// Percentiles; those that rest on too few are null.
fn times(time: &Histogram) -> Value {
    let mut fields = Map::new();
    fields.insert("count".into(), time.count().into());
    fields.insert("min".into(), (!time.is_empty()).then(|| time.min()).into());
    fields.insert("mean".into(), (!time.is_empty()).then(|| time.mean()).into());
    for quantile in Histogram::QUANTILES {
        fields.insert(quantile.name.into(), time.quantile(quantile.percent / 100.0).into());
    }
    fields.insert("max".into(), (!time.is_empty()).then(|| time.max()).into());
    fields.insert("stdev".into(), time.stdev().into());
    Value::Object(fields)
}
