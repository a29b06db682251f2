//! `bmnic doctor`: is this machine fit for a real card, and if not, what to do.
//!
//! [`crate::doctor`] looks; this asks and prints. It writes nothing, anywhere. `bmnic tune`
//! prints the same lines, before and after.

use super::cores::CpuList;
use super::output::Output;
use super::progress::Goal;
use super::signal::Stop;
use super::{Context, Outcome, bind, units};
use crate::doctor::cpus::Cpus;
use crate::doctor::jitter::{self, BOUNDS, Jitter};
use crate::doctor::{self, Check, MEMORY, State, Subject};
use crate::sys::Roots;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;

/// Arguments of `bmnic doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is looked at.
    #[command(flatten)]
    pub asked: Asked,
    /// How long to watch the clock for jitter; 0 leaves it out
    ///
    /// A thread that only reads the processor's counter notes where it was stopped for over
    /// 1 us: what stops it stops one that moves packets too.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub jitter: Duration,
}

/// What `doctor` and `tune` are about.
#[derive(Debug, Default, clap::Args)]
pub struct Asked {
    /// Cards: 0000:03:00.0, 03:00.0, an interface name, a pattern like '82:00.*', or several with commas
    #[arg(value_name = "DEV")]
    pub devices: Vec<String>,
    /// Processors to be left alone for packets: 2,4-6 [default: the isolated ones, or the last quarter]
    ///
    /// Without it, those that the kernel was booted to isolate; if there are none, the last
    /// quarter of the cores of the card's NUMA node, one at least, never that of processor 0.
    #[arg(long, value_name = "LIST")]
    pub cpu: Option<CpuList>,
    /// Huge pages that should be free, on the card's NUMA node if a card is named [default: 128M]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub hugepages: Option<u64>,
}

impl Asked {
    /// What is examined.
    pub fn subject(&self, roots: &Roots) -> anyhow::Result<Subject> {
        let mut subject = Subject::here(roots, bind::named(roots, &self.devices)?);
        if let Some(list) = &self.cpu {
            subject.quiet = list.iter().collect();
        }
        subject.memory = self.hugepages.unwrap_or(MEMORY);
        Ok(subject)
    }
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let (roots, out) = (&context.roots, Output::new(&context.global));
    let subject = args.asked.subject(roots)?;
    let stop = Stop::install()?;
    let found = Found::look(roots, &subject, args.jitter, &stop, &out);
    out.facts(roots, "doctor", found.document(&subject))?;
    found.print(&out)?;
    found.next(&out)?;
    Ok(match stop.outcome() {
        Outcome::Done if doctor::is_wrong(&found.checks) => Outcome::Limit,
        outcome => outcome,
    })
}

/// What was found at one time.
pub struct Found {
    /// The lines.
    pub checks: Vec<Check>,
    /// Gaps, if the clock was watched.
    pub jitter: Option<Jitter>,
}

impl Found {
    /// Looks, and watches the clock for `time`.
    pub fn look(roots: &Roots, subject: &Subject, time: Duration, stop: &Stop, out: &Output) -> Found {
        let mut checks = doctor::examine(roots, subject);
        let jitter = (!time.is_zero()).then(|| Self::watch(&subject.quiet, time, stop, out));
        // It is about the machine: before the cards.
        let at = checks.iter().position(|check| check.card.is_some()).unwrap_or(checks.len());
        checks.splice(at..at, jitter.as_ref().map(Jitter::check));
        Found { checks, jitter }
    }

    fn watch(quiet: &Cpus, time: Duration, stop: &Stop, out: &Output) -> Jitter {
        let bar = out.bar(Goal::Time(time));
        bar.show(0, "watching the clock");
        jitter::watch(quiet, time, &|| !stop.requested())
    }

    /// `14 of 21`.
    pub fn score(&self) -> String {
        let (ok, of) = doctor::score(&self.checks);
        format!("{ok} of {of}")
    }

    fn document(&self, subject: &Subject) -> Value {
        let devices: Vec<Value> =
            subject.cards.iter().map(|card| json!({ "address": card.address.to_string(), "kind": "pci" })).collect();
        json!({
            "devices": devices,
            "cpus": subject.quiet.iter().collect::<Vec<_>>(),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
            "score": score(&self.checks),
            "jitter": self.jitter.as_ref().map(gaps),
        })
    }

    /// All lines, and the histogram.
    pub fn print(&self, out: &Output) -> io::Result<()> {
        let columns = out.screen().columns().unwrap_or(80);
        let mut about = None;
        for check in &self.checks {
            if about != Some(check.card) {
                about = Some(check.card);
                out.result(check.card.map_or("the machine".into(), |card| format!("card {card}")))?;
            }
            for line in lines(check, out.verbosity() > 0) {
                out.result(line)?;
            }
            let drawn = self.jitter.as_ref().filter(|_| check.name == "jitter");
            for line in drawn.map(|jitter| jitter.lines(columns.saturating_sub(7))).unwrap_or_default() {
                out.result(format_args!("       {line}"))?;
            }
        }
        Ok(())
    }

    /// The score, and what can be done at once.
    fn next(&self, out: &Output) -> io::Result<()> {
        let count = |state| self.checks.iter().filter(|check| check.state == state).count();
        let (slow, wrong) = (count(State::Slow), count(State::Wrong));
        out.result(format_args!("score   {} as they should be; {slow} slow, {wrong} wrong", self.score()))?;
        let tunes = self.checks.iter().filter(|check| check.state == State::Slow || check.state == State::Wrong);
        if tunes.filter_map(|check| check.fix.as_ref()).any(|fix| fix.tune) {
            out.info("next    sudo bmnic tune --apply does what says (tune); tune --undo undoes it")?;
        }
        Ok(())
    }
}

/// A check in lines: what was found, and unless that is as it should be (or `always`), why it
/// matters and what to do.
fn lines(check: &Check, always: bool) -> Vec<String> {
    let mut lines = vec![format!("{:<7} {:<15} {}", check.state.word(), check.name, check.found)];
    let mut below = |word: &str, text: &str| lines.push(format!("        {word:<4} {text}"));
    if always || matches!(check.state, State::Slow | State::Wrong) {
        below("why", check.why);
    }
    if let Some(fix) = &check.fix {
        let how = match (fix.reboot, fix.tune) {
            (true, _) => " (reboot)",
            (_, true) if !fix.text.contains("bmnic tune") => " (tune)",
            _ => "",
        };
        below("fix", &format!("{}{how}", fix.text));
    }
    lines
}

fn check(check: &Check) -> Value {
    let fix = check.fix.as_ref().map(|fix| json!({ "text": fix.text, "reboot": fix.reboot, "tune": fix.tune }));
    json!({
        "name": check.name,
        "card": check.card.map(|card| card.to_string()),
        "state": check.state.word(),
        "found": check.found,
        "why": check.why,
        "fix": fix,
    })
}

/// The score of a document.
pub fn score(checks: &[Check]) -> Value {
    let (ok, of) = doctor::score(checks);
    json!({ "ok": ok, "of": of })
}

/// Jitter for a document.
pub fn gaps(jitter: &Jitter) -> Value {
    let row = |(n, count): (usize, &u64)| {
        json!({
            "from_ns": BOUNDS[n] * 1_000,
            "to_ns": BOUNDS.get(n + 1).map(|end| end * 1_000),
            "count": count,
        })
    };
    let rows: Vec<Value> = jitter.rows.iter().enumerate().map(row).collect();
    json!({ "cpu": jitter.cpu, "hiccups": jitter.hiccups.json(), "rows": rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Fix;

    #[test]
    fn a_line_fits_its_columns_and_says_why_and_what_to_do() {
        let fix =
            Fix { text: "boot with isolcpus=managed_irq,domain,2-3 nohz_full=2-3".into(), reboot: true, tune: false };
        let slow = Check {
            name: "isolcpus",
            card: None,
            state: State::Slow,
            found: "does not cover processors 2-3 of this machine, which were to be left alone".into(),
            why: "the scheduler puts other programs on a processor that is not isolated, whenever it likes to",
            fix: Some(fix),
        };
        let told = lines(&slow, false).join("\n");
        assert!(told.starts_with("slow    isolcpus        does not cover processors"), "{told}");
        for words in ["        why  the scheduler", "        fix  boot with isolcpus=", "(reboot)"] {
            assert!(told.contains(words), "{words} in\n{told}");
        }
        let ok = Check { state: State::Ok, fix: None, ..slow };
        assert_eq!(lines(&ok, false).len(), 1);
        assert_eq!(lines(&ok, true).len(), 2);
    }
}
