//! What was found, in lines and as a document.

use super::Args;
use super::bench::Bench;
use super::facts;
use super::nameless::{nameless, version};
use crate::cli::Context;
use crate::cli::crossing::Crossing;
use crate::cli::file::NewFile;
use crate::cli::output::{self, Output};
use crate::driver::Description;
use crate::emu::wire::WireSpec;
use crate::error::Result;
use crate::measure::{Clock, Machine};
use serde_json::{Value, json};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// How a step went.
pub enum Verdict {
    /// As expected: what was seen.
    Good(String),
    /// Otherwise: what was seen.
    Bad(String),
    /// It was not tried: why.
    Skipped(String),
}

impl Verdict {
    /// In a word, as lines and documents have it; and what was seen.
    fn words(&self) -> (&'static str, &str) {
        match self {
            Verdict::Good(seen) => ("ok", seen),
            Verdict::Bad(seen) => ("failed", seen),
            Verdict::Skipped(why) => ("skipped", why),
        }
    }
}

/// A step, and how it went.
pub struct Found {
    pub name: &'static str,
    pub expected: &'static str,
    pub verdict: Verdict,
    pub took: Duration,
}

impl Found {
    /// How it went, in a word: its line begins with that.
    pub fn word(&self) -> &'static str {
        self.verdict.words().0
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, seen) = self.verdict.words();
        let ms = self.took.as_secs_f64() * 1e3;
        write!(f, "{word:<8} {:<17} {ms:>8.1} ms  {seen}", self.name)?;
        match &self.verdict {
            Verdict::Bad(_) => write!(f, " (expected: {})", self.expected),
            _ => Ok(()),
        }
    }
}

/// What a file's name goes by in a report.
fn file(path: &Path) -> (String, &'static str) {
    (path.display().to_string(), "FILE")
}

/// All that was found.
pub struct Report {
    /// What is checked.
    pub headline: String,
    /// The steps so far.
    pub steps: Vec<Found>,
    /// Names of the cards and of files, and what they go by in a report.
    names: Vec<(String, &'static str)>,
    facts: Value,
    description: Option<Description>,
    violations: Vec<(String, u64)>,
    crossing: Option<Crossing>,
}

impl Report {
    /// Of cards that were given so, of which nothing was tried yet; with the trace's file, if
    /// there is one.
    pub fn new(args: &Args, trace: Option<&Path>) -> Self {
        let cards = [(&args.device, "DEV"), (&args.peer, "PEER")];
        let cards = cards.into_iter().filter_map(|(name, other)| Some((name.clone()?, other)));
        let files = [args.report.as_deref(), trace].into_iter().flatten();
        Report {
            headline: String::new(),
            steps: Vec::new(),
            names: cards.chain(files.map(file)).collect(),
            facts: Value::Null,
            description: None,
            violations: Vec::new(),
            crossing: None,
        }
    }

    /// Takes down what is checked, once it is there.
    pub fn begin(&mut self, bench: &Bench) {
        self.headline = bench.headline();
        self.names.extend(bench.names().into_iter().zip(["DEV", "PEER"]));
        self.names.extend(bench.wires().flat_map(WireSpec::files).map(file));
        self.facts = bench.function().and_then(facts::of).unwrap_or_default();
    }

    /// Takes down what the card turned out to be, which rules our driver broke, and what
    /// crosses PCIe for it.
    ///
    /// # Errors
    /// What counting that meets.
    pub fn describe(&mut self, bench: &Bench) -> Result<()> {
        self.description.clone_from(&bench.description);
        self.violations = bench.violations();
        self.crossing = if bench.stop.requested() { None } else { bench.crossing()? };
        Ok(())
    }

    /// Steps that failed.
    pub fn failed(&self) -> usize {
        self.count("failed")
    }

    /// Rules of emulated cards that our driver broke.
    pub fn violations(&self) -> usize {
        self.violations.len()
    }

    fn count(&self, verdict: &str) -> usize {
        self.steps.iter().filter(|step| step.verdict.words().0 == verdict).count()
    }

    /// The steps for a document, with what was seen in these words.
    fn json(&self, words: impl Fn(&str) -> String) -> Value {
        let steps = self.steps.iter().map(|step| {
            let (verdict, seen) = step.verdict.words();
            json!({
                "step": step.name,
                "expected": step.expected,
                "verdict": verdict,
                "seen": words(seen),
                "took_ns": output::ns(step.took),
            })
        });
        json!({
            "pci": self.facts,
            "steps": steps.collect::<Vec<_>>(),
            "failed": self.failed(),
            "crossings_a_packet": self.crossing.map(|crossing| crossing.json()),
            "violations": self.violations.iter().map(|(rule, n)| json!({ "rule": rule, "count": n })).collect::<Vec<_>>(),
        })
    }

    /// Writes the report that may be given to anybody: no addresses, no serial numbers, no
    /// names of this machine, no paths, and of its kernel the version alone.
    ///
    /// # Errors
    /// What writing the file meets; then there is none of it.
    pub fn write(&self, file: NewFile, context: &Context) -> Result<()> {
        let words = |text: &str| nameless(text, &self.names);
        let card = self.description.as_ref().map(|card| {
            json!({
                "model": card.model,
                "driver": card.driver,
                "kind": card.kind.to_string(),
                "firmware": card.firmware.as_deref().map(words),
                "rx_queues": card.max_rx_queues,
                "tx_queues": card.max_tx_queues,
                "lacks": card.lacks.iter().map(|lack| words(lack)).collect::<Vec<_>>(),
            })
        });
        let machine = Machine::record(&context.roots, &Clock::new());
        let machine = Machine { kernel: machine.kernel.as_deref().map(version), ..machine };
        let mut document = output::headed("check", &machine);
        output::append(&mut document, json!({ "packets": words(&self.headline), "card": card }));
        output::append(&mut document, self.json(words));
        file.write(&format!("{:#}\n", Value::Object(document)))
    }

    /// Prints what is left to say.
    ///
    /// # Errors
    /// What printing meets.
    pub fn print(&self, output: &Output, context: &Context) -> Result<()> {
        let failed = |e| crate::Error::io("printing what was found", e);
        let devices: Vec<Description> = self.description.iter().cloned().collect();
        let machine = Machine::record(&context.roots, &Clock::new());
        output.document(&output::document("check", &devices, &machine, self.json(str::to_string))).map_err(failed)?;
        for (rule, count) in &self.violations {
            let text = format!("our driver broke a rule of the card {count} times: {rule}");
            output.result(text).map_err(failed)?;
        }
        if let Some(crossing) = self.crossing {
            output.info(crossing).map_err(failed)?;
        }
        let [good, bad, skipped] = ["ok", "failed", "skipped"].map(|verdict| self.count(verdict));
        let steps = self.steps.len();
        output.result(format_args!("{steps} steps: {good} ok, {bad} failed, {skipped} skipped")).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::Screen;
    use crate::emu::Spec;

    #[test]
    fn what_was_seen_in_a_step_goes_on_below_where_it_begins() {
        let seen = "a word, and another; ".repeat(20) + &"x".repeat(30);
        for verdict in [Verdict::Good(seen.clone()), Verdict::Bad(seen.clone()), Verdict::Skipped(seen)] {
            let took = Duration::from_secs(99);
            let found = Found { name: "a ring of packets", expected: "all that there is", verdict, took };
            let line = found.to_string();
            let text = Screen::Terminal { columns: 80, dumb: false }.fold(&line);
            let at = line.find("a word").unwrap();
            assert_eq!((line.lines().count(), at), (1, 40), "{line}");
            assert!(text.lines().count() > 9, "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            assert!(text.lines().skip(1).all(|line| line.starts_with(&" ".repeat(at))), "{text}");
        }
    }

    #[test]
    fn files_that_were_given_are_named_nowhere() {
        let device = "emu:82599,wire=pcap:of alice.pcap:out=to/alice";
        let args = Args {
            device: Some(device.into()),
            peer: None,
            cable: false,
            report: Some("report of alice".into()),
            victim: false,
        };
        let mut report = Report::new(&args, Some(Path::new("traces/alice")));
        let spec: Spec = device.strip_prefix("emu:").unwrap().parse().unwrap();
        report.names.extend(spec.wire.files().into_iter().map(file));
        for (text, nothing) in [
            (format!("{device}: no link"), "DEV: no link"),
            ("writing traces/alice.2: no room".into(), "writing FILE.2: no room"),
            ("creating report of alice: denied".into(), "creating FILE: denied"),
            ("'of alice.pcap' ends, and to/alice does not".into(), "'FILE' ends, and FILE does not"),
        ] {
            assert_eq!(nameless(&text, &report.names), nothing);
        }
    }
}
