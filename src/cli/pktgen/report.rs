//! What `bmnic pktgen` says in the end: asked against achieved.

use super::answer::Answered;
use super::facts::Facts;
use super::send::Starved;
use super::shortfall::Shortfall;
use super::threads::Share;
use super::traffic::{RANDOM, Schedule, Traffic};
use crate::cli::account::{self, Losses};
use crate::cli::output::{self, Output};
use crate::driver::Stats;
use crate::emu::wire::Note;
use crate::error::Result;
use crate::measure::Clock;
use serde_json::{Value, json};
use std::time::Duration;

/// The figures of a run.
pub struct Report {
    asked: Asked,
    /// How packets follow one another at a rate, by its name.
    pattern: Option<&'static str>,
    /// Packets a second that were asked for; more, maybe, than the link carries.
    wanted: Option<f64>,
    line: f64,
    mean_bits: f64,
    /// Whether these two are a guess, from the beginning of a recording.
    guess: bool,
    /// What was met of a recording, and how often and how many ns it was waited for.
    met: Option<Facts>,
    starved: (u64, u64),
    sent: u64,
    bytes: u64,
    stuck: usize,
    /// Places in the schedule until the end; none without one.
    places: Option<u64>,
    /// Those that were skipped, or the times that a recording was moved.
    skipped: Shortfall,
    /// Share of the time by which a recording was late because the sender was held up.
    slipped: f64,
    seconds: f64,
    /// Packets a second, never more than the link carries.
    rate: f64,
    /// p50, p90, p99 and most of the gaps' errors, ns.
    gaps: Option<[Option<u64>; 4]>,
    /// What each thread sent.
    threads: Vec<Thread>,
    /// What was answered beside, if it was to be.
    pub answered: Option<Answered>,
    /// What the card counted in the run.
    stats: Stats,
    /// Whether that is older than the rest, as the card is gone.
    stale: bool,
    /// What the wire of an emulated card did.
    notes: Vec<Note>,
}

/// The part of one thread.
#[derive(Debug)]
struct Thread {
    cpu: Option<usize>,
    sent: u64,
    places: Option<u64>,
    skipped: Shortfall,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Line,
    Pps(f64),
    /// The same, and the card keeps it.
    Card(f64),
    Recorded(f64),
    Listed(u64),
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
                Schedule::Card { asked } => Asked::Card(asked),
                Schedule::Recorded { factor, .. } => Asked::Recorded(factor),
                Schedule::Listed { packets, .. } => Asked::Listed(packets),
            },
            pattern: schedule.pattern(),
            line,
            mean_bits: traffic.mean_bits(),
            guess: traffic.is_guess(),
            met: None,
            starved: (0, 0),
            sent: 0,
            bytes: 0,
            stuck: 0,
            places: None,
            skipped: Shortfall::default(),
            slipped: 0.0,
            seconds: 0.0,
            rate: 0.0,
            gaps: None,
            threads: Vec::new(),
            answered: None,
            stats: Stats::default(),
            stale: false,
            notes: Vec::new(),
        }
    }

    /// The run ended; this is what the card and its wire counted in it, the card maybe not
    /// to the end of it (`stale`).
    pub fn finish(&mut self, clock: &Clock, shares: Vec<Share>, stats: Stats, notes: Vec<Note>, stale: bool) {
        (self.stats, self.stale, self.notes) = (stats, stale, notes);
        let thread = |Share { cpu, sent }: &Share| {
            let schedule = &sent.schedule;
            Thread { cpu: *cpu, sent: sent.packets, places: schedule.places, skipped: schedule.shortfall }
        };
        self.threads = shares.iter().map(thread).collect();
        let sent = shares.into_iter().map(|share| share.sent).reduce(|mut all, sent| {
            all.add(&sent);
            all
        });
        let Some(sent) = sent else { return };
        if let Some(met) = sent.met.as_ref().filter(|met| self.guess && met.sent > 0) {
            self.line *= self.mean_bits / met.mean_bits();
            self.mean_bits = met.mean_bits();
        }
        let Starved { waits, ticks, .. } = sent.starved;
        self.starved = (waits, clock.ns(ticks));
        let seconds = |ticks| clock.ns(ticks) as f64 / 1e9;
        let paced = !matches!(self.asked, Asked::Line | Asked::Card(_));
        // On a schedule, n packets span n - 1 gaps. At line rate, or if the card keeps the rate,
        // the ring is filled at once, and what counts is when the last packet had left.
        let (gaps, span) = match self.asked {
            Asked::Line => (sent.packets, sent.drained.saturating_sub(sent.first)),
            Asked::Card(_) => (sent.packets.saturating_sub(1), sent.drained.saturating_sub(sent.first)),
            _ => (sent.packets.saturating_sub(1), sent.last.saturating_sub(sent.first)),
        };
        self.slipped = if span == 0 { 0.0 } else { sent.schedule.slipped.min(span) as f64 / span as f64 };
        self.seconds = seconds(sent.drained.saturating_sub(sent.first));
        self.rate = if seconds(span) > 0.0 { gaps as f64 / seconds(span) } else { 0.0 };
        if !paced || matches!(self.asked, Asked::Pps(_)) {
            // Two readings of a clock are no proof that a wire carried more than it can.
            self.rate = self.rate.min(self.line);
        }
        let gaps = &sent.schedule.gaps;
        self.gaps = (paced && !gaps.is_empty()).then(|| {
            let ns = |q| gaps.quantile(q).map(|ticks| clock.ns(ticks));
            [ns(0.5), ns(0.9), ns(0.99), Some(clock.ns(gaps.max()))]
        });
        (self.sent, self.bytes, self.stuck) = (sent.packets, sent.bytes, sent.stuck);
        (self.places, self.skipped) = (sent.schedule.places, sent.schedule.shortfall);
        self.met = sent.met;
    }

    /// # Errors
    /// As [`Facts::check`], of a recording.
    pub fn check_recording(&self) -> Result<()> {
        self.met.as_ref().map_or(Ok(()), Facts::check)
    }

    /// What was met of a recording that was not known before.
    pub fn news(&self) -> Vec<String> {
        self.met.as_ref().map_or(Vec::new(), |met| met.news(self.guess))
    }

    /// Packets that left the card, answers not among them.
    fn by_card(&self) -> u64 {
        self.stats.tx_packets.saturating_sub(self.answered.map_or(0, |answered| answered.sent()))
    }

    /// Packets that the rings took.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Packets that the card has not reported as sent.
    pub fn stuck(&self) -> u64 {
        if self.stale { 0 } else { self.stuck as u64 }
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
            // Chance, or a list, makes the places of a run what they are.
            _ if self.pattern == Some(RANDOM) || matches!(self.asked, Asked::Listed(_)) => {
                self.rate * self.places? as f64 / self.sent.max(1) as f64
            }
            Asked::Pps(pps) | Asked::Card(pps) => pps,
            // A recording that was held up takes longer by what it was moved.
            Asked::Recorded(_) | Asked::Listed(_) => self.rate / (1.0 - self.slipped),
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
            Asked::Pps(pps) => match self.pattern {
                Some(RANDOM) => format!("{} at random (Poisson)", output::pps(pps)),
                _ => output::pps(pps),
            },
            Asked::Card(pps) => format!("{}, kept by the card", output::pps(pps)),
            Asked::Recorded(factor) => format!("{factor}x as recorded"),
            Asked::Listed(packets) => format!("{} packets, each at its time", output::grouped(packets)),
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
            let [p50, p90, p99, max] = gaps.map(|ns| ns.map_or("-".into(), time));
            output
                .result(format_args!("gaps      off the schedule by p50 {p50}, p90 {p90}, p99 {p99}, at most {max}"))?;
        }
        let skipped = output::grouped(self.skipped.total());
        match self.places {
            _ if self.skipped.total() == 0 => {}
            Some(places) => {
                let places = output::grouped(places);
                output.result(format_args!("skipped   {skipped} of {places} places in the schedule, which passed"))?;
            }
            None => output.result(format_args!("moved     {skipped} times, and all that followed with it"))?,
        }
        self.skipped.print(output)?;
        if self.starved.0 > 0 {
            let (waits, waited) = (output::grouped(self.starved.0), time(self.starved.1));
            output.result(format_args!(
                "reader    waited for {waits} times, {waited} in all: the file was read slower than asked"
            ))?;
        }
        if let Some(Facts { gaps_cut: cut @ 1.., gaps_cut_ns, .. }) = self.met {
            let (cut, less) = (output::grouped(cut), time(gaps_cut_ns));
            output.result(format_args!(
                "cut       {cut} gaps of the recording that were longer than --max-gap, by {less} in all"
            ))?;
        }
        self.print_threads(output)?;
        if let Some(answered) = self.answered {
            answered.print(output)?;
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

    /// What each thread did, for -v.
    fn print_threads(&self, output: &Output) -> std::io::Result<()> {
        for (n, thread) in self.threads.iter().enumerate() {
            let cpu = thread.cpu.map_or(String::new(), |cpu| format!(" on processor {cpu}"));
            let (sent, skipped) = (output::grouped(thread.sent), output::grouped(thread.skipped.total()));
            output.detail(format_args!("thread {n}  {sent} packets, {skipped} skipped{cpu}"))?;
        }
        Ok(())
    }

    /// The summary as fields of a document.
    pub fn json(&self) -> Value {
        let gap = |i: usize| self.gaps.and_then(|gaps| gaps[i]);
        json!({
            "asked": self.asked(),
            "asked_pps": match self.asked {
                Asked::Line => Some(self.wanted.unwrap_or(self.line)),
                Asked::Pps(pps) | Asked::Card(pps) => Some(pps),
                Asked::Recorded(_) | Asked::Listed(_) => None,
            },
            "pattern": self.pattern,
            "paced_by_card": matches!(self.asked, Asked::Card(_)),
            "line_rate_pps": self.line,
            "sent": self.sent,
            "bytes": self.bytes,
            "elapsed_ns": (self.seconds * 1e9).round(),
            "pps": self.rate,
            "l1_bits_per_second": self.rate * self.mean_bits,
            "rate_error": self.error_ppm().map(|ppm| ppm / 1e6),
            "gap_error_ns": { "p50": gap(0), "p90": gap(1), "p99": gap(2), "max": gap(3) },
            "places": self.places,
            "skipped": self.skipped.total(),
            "skipped_by_cause": self.skipped.json(),
            "threads": self.threads.iter().map(Thread::json).collect::<Vec<_>>(),
            "answered": self.answered.as_ref().map(Answered::json),
            "recording": self.met.as_ref().map(Facts::json),
            "reader_bound": { "waits": self.starved.0, "waited_ns": self.starved.1 },
            "counted_by_card": self.by_card(),
            "lost": self.losses().json(),
            "wire": account::notes_json(&self.notes),
            "still_in_rings": self.stuck,
            "port": output::stats(&self.stats),
        })
    }
}

impl Thread {
    fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "sent": self.sent,
            "places": self.places,
            "skipped": self.skipped.total(),
            "skipped_by_cause": self.skipped.json(),
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
        1_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => output::wait(Duration::from_nanos(ns)),
    }
}
