//! What `bmnic pktgen` says in the end: asked against achieved.

use super::send::Sent;
use super::traffic::{Schedule, Traffic};
use crate::cli::account::{self, Losses};
use crate::cli::output::{self, Output};
use crate::driver::Stats;
use crate::emu::wire::Note;
use crate::measure::{Clock, Histogram};
use serde_json::{Value, json};

/// The figures of a run.
pub struct Report {
    asked: Asked,
    /// Packets a second that were asked for; more, maybe, than the link carries.
    wanted: Option<f64>,
    line: f64,
    mean_bits: f64,
    sent: u64,
    bytes: u64,
    stuck: usize,
    skipped: u64,
    /// Share of the time by which a recording was late because the sender was held up.
    slipped: f64,
    seconds: f64,
    /// Packets a second, never more than the link carries.
    rate: f64,
    /// p50, p99 and most of the gaps' errors, ns.
    gaps: Option<[Option<u64>; 3]>,
    /// What the card counted in the run.
    stats: Stats,
    /// Whether that is older than the rest, as the card is gone.
    stale: bool,
    /// What the wire of an emulated card did.
    notes: Vec<Note>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Line,
    Pps(f64),
    Recorded(f64),
}

impl Report {
    /// A run about to start on a link that carries `line` of these packets a
    /// second, of which `wanted` were asked for, if any rate was.
    pub fn new(traffic: &Traffic, schedule: &Schedule, line: f64, wanted: Option<f64>) -> Self {
        Report {
            wanted,
            asked: match *schedule {
                Schedule::Line => Asked::Line,
                Schedule::Rate { asked, .. } => Asked::Pps(asked),
                Schedule::Recorded { factor, .. } => Asked::Recorded(factor),
            },
            line,
            mean_bits: traffic.mean_bits(),
            sent: 0,
            bytes: 0,
            stuck: 0,
            skipped: 0,
            slipped: 0.0,
            seconds: 0.0,
            rate: 0.0,
            gaps: None,
            stats: Stats::default(),
            stale: false,
            notes: Vec::new(),
        }
    }

    /// The run ended; this is what the card and its wire counted in it, the card maybe not
    /// to the end of it (`stale`).
    pub fn finish(&mut self, clock: &Clock, sent: Sent, stats: Stats, notes: Vec<Note>, stale: bool) {
        let seconds = |ticks| clock.ns(ticks) as f64 / 1e9;
        let paced = self.asked != Asked::Line;
        // On a schedule, n packets span n - 1 gaps. At line rate the ring is
        // filled at once, and what counts is when the last packet had left.
        let (gaps, span) = match paced {
            true => (sent.packets.saturating_sub(1), sent.last.saturating_sub(sent.first)),
            false => (sent.packets, sent.drained.saturating_sub(sent.first)),
        };
        self.slipped = if span == 0 { 0.0 } else { sent.slipped.min(span) as f64 / span as f64 };
        self.seconds = seconds(sent.drained.saturating_sub(sent.first));
        self.rate = if span == 0 { 0.0 } else { gaps as f64 / seconds(span) };
        if !paced || matches!(self.asked, Asked::Pps(_)) {
            // Two readings of a clock are no proof that a wire carried more than it can.
            self.rate = self.rate.min(self.line);
        }
        self.gaps = (paced && !sent.gaps.is_empty()).then(|| {
            let ns = |h: &Histogram, q| h.quantile(q).map(|ticks| clock.ns(ticks));
            [ns(&sent.gaps, 0.5), ns(&sent.gaps, 0.99), Some(clock.ns(sent.gaps.max()))]
        });
        (self.sent, self.bytes, self.stuck, self.skipped) = (sent.packets, sent.bytes, sent.stuck, sent.skipped);
        (self.stats, self.stale, self.notes) = (stats, stale, notes);
    }

    /// Packets that left the card.
    fn by_card(&self) -> u64 {
        self.stats.tx_packets
    }

    /// Packets that the rings took.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How long the run took.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Packets that the rings took and that reached nobody, by cause.
    pub fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        // What a card that is gone has sent of the last packets is not known.
        if !self.stale {
            let unsent = self.sent.saturating_sub(self.by_card());
            losses.add("unsent", "not sent by the card: is the link up, and does the far end pause it?", unsent);
        }
        losses.add_departing(&self.notes);
        losses
    }

    /// The rate that was asked for and that at which packets were sent, each in
    /// packets a second; none where the rate could not be told.
    pub fn rates(&self) -> Option<[f64; 2]> {
        let asked = match self.asked {
            Asked::Line => self.wanted.unwrap_or(self.line),
            Asked::Pps(pps) => pps,
            // A recording that was held up takes longer by what it was moved.
            Asked::Recorded(_) => self.rate / (1.0 - self.slipped),
        };
        asked.is_finite().then_some([asked, self.rate])
    }

    /// How far the rate was from what was asked, in parts per million.
    fn error_ppm(&self) -> Option<f64> {
        let [asked, sent] = self.rates()?;
        (self.rate > 0.0 && !matches!(self.asked, Asked::Recorded(_))).then(|| (sent / asked - 1.0) * 1e6)
    }

    fn asked(&self) -> String {
        match self.asked {
            Asked::Line => match self.wanted {
                Some(pps) if pps > self.line * 1.000_001 => format!("{}, more than the link carries", output::pps(pps)),
                _ => format!("line rate, {}", output::pps(self.line)),
            },
            Asked::Pps(pps) => output::pps(pps),
            Asked::Recorded(factor) => format!("{factor}x as recorded"),
        }
    }

    /// Prints the summary and warns of what does not add up.
    pub fn print(&self, output: &Output) -> std::io::Result<()> {
        let error = self.error_ppm().map_or(String::new(), |ppm| format!(" ({ppm:+.0} ppm)"));
        let bits = self.rate * self.mean_bits;
        output.result(format_args!("asked     {}", self.asked()))?;
        output.result(format_args!(
            "sent      {} packets in {:.3} s: {}{error}, {} on the wire",
            output::grouped(self.sent),
            self.seconds,
            exact(self.rate),
            output::bits(bits)
        ))?;
        if let Some(gaps) = self.gaps {
            let [p50, p99, max] = gaps.map(|ns| ns.map_or("-".into(), time));
            output.result(format_args!("gaps      off the schedule by p50 {p50}, p99 {p99}, at most {max}"))?;
        }
        if self.skipped > 0 {
            let what = if matches!(self.asked, Asked::Recorded(_)) {
                "times the sender was held up, and the rest moved"
            } else {
                "places in the schedule passed while the sender was held up"
            };
            output.result(format_args!("skipped   {} {what}", output::grouped(self.skipped)))?;
        }
        let agrees = match self.by_card() == self.sent {
            true => "the same",
            false if self.stale => "when it was last asked",
            false => "NOT the same",
        };
        let whose =
            if self.stats.by_device { "by its own counters" } else { "as it told the driver; it has no counters" };
        output.result(format_args!("card      {} packets {whose}: {agrees}", output::grouped(self.by_card())))?;
        let losses = self.losses();
        if losses.total() > 0 {
            losses.print(output)?;
        }
        if self.stuck > 0 {
            output.warn(format_args!("{} packets are still in the card's rings", self.stuck));
        }
        account::print_meant(&self.notes, output)
    }

    /// The summary as fields of a document.
    pub fn json(&self) -> Value {
        let gap = |i: usize| self.gaps.and_then(|gaps| gaps[i]);
        json!({
            "asked": self.asked(),
            "asked_pps": match self.asked { Asked::Line => Some(self.wanted.unwrap_or(self.line)), Asked::Pps(pps) => Some(pps), Asked::Recorded(_) => None },
            "line_rate_pps": self.line,
            "sent": self.sent,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "pps": self.rate,
            "l1_bits_per_second": self.rate * self.mean_bits,
            "error_ppm": self.error_ppm(),
            "gap_error_ns": { "p50": gap(0), "p99": gap(1), "max": gap(2) },
            "skipped": self.skipped,
            "counted_by_card": self.by_card(),
            "lost": self.losses().json(),
            "wire": account::notes_json(&self.notes),
            "still_in_rings": self.stuck,
            "port": output::stats(&self.stats),
        })
    }
}

/// A rate with the digits that an error in ppm is about.
fn exact(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.6} Mpps", r / 1e6),
        r if r >= 1e3 => format!("{:.6} kpps", r / 1e3),
        r => format!("{r:.3} pps"),
    }
}

/// Nanoseconds as people say them.
fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        _ => format!("{:.1} ms", ns as f64 / 1e6),
    }
}
