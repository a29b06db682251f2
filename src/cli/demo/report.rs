//! What the demo says: every packet that was sent, where it was.

use super::Counts;
use crate::cli::account::{self, Losses};
use crate::cli::output::{self, Output};
use crate::cli::session::Session;
use crate::driver::{Description, Nic, Stats};
use crate::emu::wire::Note;
use crate::error::{Error, Kind, Result};
use crate::measure::{Histogram, Machine};
use crate::packet::print::{self, Bytes, How, Packet, Printer};
use crate::pcap::write::Written;
use serde_json::{Value, json};
use std::io;
use std::path::Path;

/// What else to try, and what it does.
const NEXT: [(&str, &str); 5] = [
    ("bmnic capture", "packets as lines, a few a second"),
    ("bmnic latency", "what one packet takes, with its tail"),
    ("bmnic list", "the cards of this machine"),
    ("bmnic doctor", "whether this machine is fit for a real card"),
    ("sudo bmnic bind -n eth1", "what taking a card would do; changes nothing"),
];

/// What each card and its wire have counted.
pub type Counters = Vec<(Stats, Vec<Note>)>;

/// Up to now.
pub fn counters(session: &Session, nics: &mut [Nic]) -> Result<Counters> {
    let notes = session.notes_by_port();
    nics.iter_mut().enumerate().zip(notes).map(|((port, nic), notes)| Ok((session.stats(port, nic)?, notes))).collect()
}

/// The first lines: what runs on what.
pub fn announce(output: &Output, card: &str, session: &Session) -> io::Result<()> {
    if let Some(Description { kind, model, driver, .. }) = session.devices.first() {
        output.info(format_args!("device    4 x {card} ({kind} {model}, driver {driver})"))?;
    }
    output.info("          pktgen --> fwd --> capture")
}

/// The figures of a run.
pub struct Report {
    counts: Counts,
    asked: f64,
    losses: Losses,
    written: Option<Written>,
}

impl Report {
    /// Of what was counted on the way and by the cards.
    pub fn new(
        counts: Counts,
        asked: f64,
        session: &Session,
        before: &Counters,
        after: &Counters,
        written: Option<Written>,
    ) -> Self {
        let mut losses = Losses::default();
        let each = session.devices.iter().zip(before.iter().zip(after));
        for (port, (device, ((stats, notes), (stats_after, notes_after)))) in each.enumerate() {
            let notes = account::notes_since(notes_after.clone(), notes);
            losses.add_departing(&notes);
            losses.add_meant(&notes);
            // What comes the other way is nobody's.
            if port == 1 || port == 3 {
                losses.add_arriving(&notes);
                losses.add_port(&stats_after.since(stats), device.own_rings.is_some());
            }
        }
        losses.add("device_errors", account::DEVICE_ERRORS, counts.anomalies);
        losses.add("not_forwarded", "not taken by the second card", counts.received.saturating_sub(counts.forwarded));
        let missing = counts.sent.saturating_sub(counts.captured);
        losses.add("unaccounted", "unaccounted for", missing.saturating_sub(losses.total()));
        if let Some(written) = &written {
            losses.add("disk_slow", "not in the file: the disk was slower than they came", written.slow);
            losses.add("disk_failed", "not in the file: writing failed", written.lost);
        }
        Report { counts, asked, losses, written }
    }

    /// Packets a second that were sent.
    fn achieved(&self) -> f64 {
        // The last of them has no gap behind it.
        self.counts.sent.saturating_sub(1) as f64 / self.counts.elapsed.as_secs_f64().max(1e-9)
    }

    /// Prints all of it.
    pub fn print(&self, output: &Output, path: Option<&Path>) -> io::Result<()> {
        let Counts { sent, received, forwarded, captured, again, overtaken, latency, first, .. } = &self.counts;
        let [sent, received, forwarded] = [sent, received, forwarded].map(|count| output::grouped(*count));
        if let Some(first) = first {
            let how = How { bytes: Some(Bytes::Hex), ..How::default() };
            let mut text = String::new();
            let packet = Packet { time: first.time, bytes: &first.frame, wire_len: first.frame.len() };
            Printer::new(how).print(&mut text, &packet, None);
            output.info(format_args!(
                "packet    the first of {} that was captured\n{text}",
                output::grouped(*captured)
            ))?;
        }
        let (asked, achieved) = (output::pps(self.asked), output::pps(self.achieved()));
        output.result(format_args!("pktgen    {sent} sent, {asked} asked, {achieved} achieved"))?;
        output.result(format_args!("fwd       {received} received, {forwarded} sent"))?;
        let order = match (overtaken, again) {
            (0, 0) => "in order, none twice".into(),
            (late, twice) => format!("{} out of order, {} twice", output::grouped(*late), output::grouped(*twice)),
        };
        output.result(format_args!("capture   {} captured, {order}", output::grouped(*captured)))?;
        if let (Some(written), Some(path)) = (&self.written, path) {
            let (records, bytes) = (output::grouped(written.records), output::grouped(written.bytes));
            output.result(format_args!("file      {records} packets, {bytes} bytes in {}", path.display()))?;
        }
        self.losses.print(output)?;
        output.result(format_args!("latency   {}", figures(latency)))?;
        output.info("          what drivers and models take over four ports; there is no wire")?;
        for (n, (command, what)) in NEXT.iter().enumerate() {
            let head = if n == 0 { "next" } else { "" };
            output.info(format_args!("{head:<9} {command:<24} {what}"))?;
        }
        Ok(())
    }

    /// The document.
    pub fn document(
        &self,
        output: &Output,
        session: &Session,
        machine: &Machine,
        path: Option<&Path>,
    ) -> io::Result<()> {
        let counts = &self.counts;
        let words = counts.first.as_ref().map(|first| {
            let mut text = String::new();
            let packet = Packet { time: first.time, bytes: &first.frame, wire_len: first.frame.len() };
            print::words(&mut text, How::default(), &packet);
            text
        });
        let quantile = |share| counts.latency.quantile(share);
        let result = json!({
            "elapsed_ns": output::ns(counts.elapsed),
            "asked_pps": self.asked,
            "achieved_pps": self.achieved(),
            "sent": counts.sent,
            "skipped": counts.skipped,
            "forwarded": { "received": counts.received, "sent": counts.forwarded },
            "captured": counts.captured,
            "again": counts.again,
            "out_of_order": counts.overtaken,
            "foreign": counts.foreign,
            "lost": self.losses.json(),
            "latency": {
                "samples": counts.latency.count(),
                "p50_ns": quantile(0.5),
                "p99_ns": quantile(0.99),
                "p99_99_ns": quantile(0.9999),
                "max_ns": Some(counts.latency.max()).filter(|_| !counts.latency.is_empty()),
            },
            "packet": words,
            "file": path.map(|path| path.display().to_string()),
            "file_packets": self.written.as_ref().map(|written| written.records),
            "file_bytes": self.written.as_ref().map(|written| written.bytes),
        });
        output.document(&output::document("demo", &session.devices, machine, result as Value))
    }

    /// What writing the file has met.
    pub fn failure(&self, path: Option<&Path>) -> Option<Error> {
        let error = self.written.as_ref()?.error.as_ref()?;
        let again = io::Error::new(error.kind(), error.to_string());
        Some(Error::io(format!("writing {}", path?.display()), again))
    }

    /// # Errors
    /// [`Kind::Limit`] if not all that was sent has arrived.
    pub fn check(&self) -> Result<()> {
        let (sent, captured, lost) = (self.counts.sent, self.counts.captured, self.losses.total());
        if sent == captured && lost == 0 && sent > 0 {
            return Ok(());
        }
        let line = match sent {
            0 => "no packet could be sent".into(),
            _ => format!("{captured} of {sent} packets were captured, {lost} were lost"),
        };
        Err(Error::new(Kind::Limit, line))
    }
}

/// Percentiles, as far as there are samples for them.
fn figures(latency: &Histogram) -> String {
    let named = [("p50", 0.5), ("p99", 0.99), ("p99.99", 0.9999)];
    let known = named.iter().filter_map(|(name, share)| Some((*name, latency.quantile(*share)?)));
    let all = known.chain(Some(("max", latency.max())).filter(|_| !latency.is_empty()));
    let words: Vec<String> = all.map(|(name, ns)| format!("{name} {} ns", output::grouped(ns))).collect();
    if words.is_empty() { "not known, as nothing was captured".into() } else { words.join(", ") }
}
