//! What was found, in lines and as a document.

use super::bench::Bench;
use crate::cli::Context;
use crate::cli::output::{self, Output};
use crate::driver::Description;
use crate::error::{Error, Result};
use crate::measure::{Clock, Machine};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
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

/// A step, and how it went.
pub struct Found {
    pub name: &'static str,
    pub expected: &'static str,
    pub verdict: Verdict,
    pub took: Duration,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Good(text) => ("ok", text),
            Verdict::Bad(text) => ("FAIL", text),
            Verdict::Skipped(text) => ("skipped", text),
        };
        let ms = self.took.as_secs_f64() * 1e3;
        write!(f, "{word:<8} {:<18} {ms:>7.1} ms  {text}", self.name)?;
        if matches!(self.verdict, Verdict::Bad(_)) {
            write!(f, "\n{:39}expected: {}", "", self.expected)?;
        }
        Ok(())
    }
}

/// All that was found.
pub struct Report {
    pub headline: String,
    pub steps: Vec<Found>,
    description: Option<Description>,
    violations: Vec<(String, u64)>,
}

impl Report {
    /// Nothing yet.
    pub fn new(headline: String) -> Self {
        Report { headline, steps: Vec::new(), description: None, violations: Vec::new() }
    }

    /// Takes down what the card is, and which rules our driver broke.
    pub fn describe(&mut self, bench: &Bench) {
        self.description.clone_from(&bench.description);
        self.violations = bench.violations();
    }

    /// Steps that failed.
    pub fn failed(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.verdict, Verdict::Bad(_))).count()
    }

    fn json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let (verdict, seen) = match &step.verdict {
                Verdict::Good(seen) => ("ok", seen),
                Verdict::Bad(seen) => ("failed", seen),
                Verdict::Skipped(seen) => ("skipped", seen),
            };
            json!({
                "step": step.name,
                "expected": step.expected,
                "verdict": verdict,
                "seen": seen,
                "ms": step.took.as_secs_f64() * 1e3,
            })
        });
        json!({
            "steps": steps.collect::<Vec<_>>(),
            "failed": self.failed(),
            "violations": self.violations.iter().map(|(rule, n)| json!({ "rule": rule, "count": n })).collect::<Vec<_>>(),
        })
    }

    /// Writes the report that may be given to anybody: no addresses, no serial numbers, no
    /// names of this machine.
    pub fn write(&self, path: &Path) -> Result<()> {
        let card = self.description.as_ref().map(|card| {
            json!({ "model": card.model, "driver": card.driver, "kind": card.kind.to_string(), "lacks": card.lacks })
        });
        let document =
            json!({ "bmnic": env!("CARGO_PKG_VERSION"), "command": "check", "card": card, "result": self.json() });
        fs::write(path, format!("{document:#}\n")).map_err(|e| Error::io(format!("writing {}", path.display()), e))
    }

    /// Prints what is left to say.
    pub fn print(&self, output: &Output, context: &Context) -> Result<()> {
        let devices: Vec<Description> = self.description.iter().cloned().collect();
        let machine = Machine::record(&context.roots, &Clock::new());
        output.document(&output::document("check", &devices, &machine, self.json()))?;
        for (rule, count) in &self.violations {
            output.result(format_args!("our driver broke a rule of the card {count} times: {rule}"))?;
        }
        let count = |of: fn(&Verdict) -> bool| self.steps.iter().filter(|step| of(&step.verdict)).count();
        output.result(format_args!(
            "{} steps: {} ok, {} failed, {} skipped",
            self.steps.len(),
            count(|verdict| matches!(verdict, Verdict::Good(_))),
            self.failed(),
            count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        ))?;
        Ok(())
    }
}
