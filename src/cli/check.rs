//! `bmnic check`: whether a card does what a card does, step by step.
//!
//! ```text
//!   function   configuration space, power, vectors, reset, vital product data
//!   port       opens, firmware, NVM, address        the driver that all commands use
//!              module, link
//!   packets    one alone, a few, a ring, lengths    sent to itself, or to --peer
//!   words      checksums, tags, stamps, counters    what the card says of them
//!   ways       an interrupt for each of a thousand, long frames, each way to the card
//!   queues     hashes spread, flows are steered
//!   killed     opened when the process before it was killed
//!   port       closed and opened, as often as fits
//! ```
//!
//! Each step says what is expected, what was seen and how long it took. One that fails
//! does not end the others, unless the card is gone. Nothing but the card that was named
//! is touched, and it is left as every command leaves it.
//!
//! A card of the machine is closed and opened again and again, as by one process after another.
//! With `--trace` all of it is in the trace, but for what the process does that is killed.

mod bench;
mod facts;
mod frames;
mod function;
mod killed;
mod nameless;
mod packets;
mod port;
mod queues;
mod report;
mod ways;
mod words;

use self::bench::Bench;
use self::report::{Found, Report, Verdict};
use super::color::Tone;
use super::file::NewFile;
use super::output::Output;
use super::progress::Goal;
use super::remedy;
use super::signal::Stop;
use super::{Context, Outcome};
use crate::error::{Error, Kind, Result};
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `bmnic check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Card to check: 0000:03:00.0, 03:00.0, or emu:82599,OPTIONS
    ///
    /// Its packets come back inside the card, unless --peer names the other end of its cable
    /// or --cable says that its wire leads back to it. An emulated one is on a loop unless its
    /// name says otherwise. Without a name it is the card that `bmnic bind` handed to vfio-pci
    /// if there is one, otherwise an emulated 82599.
    #[arg(value_name = "DEV")]
    device: Option<String>,
    /// Card at the other end of the cable: packets are sent to it
    #[arg(long, value_name = "DEV", conflicts_with = "cable", requires = "device")]
    peer: Option<String>,
    /// The wire leads back to the card (a loopback plug)
    #[arg(long)]
    cable: bool,
    /// Write all of it to this file, as JSON, without addresses, serial numbers and names
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Be the process that is killed while packets flow
    #[arg(long, hide = true)]
    victim: bool,
}

/// What a step found where the card did what is expected.
enum Seen {
    /// In a few words.
    Good(String),
    /// It does not apply: why.
    Skipped(String),
}

/// What has to be well before a step makes sense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Nothing but the function.
    Function,
    /// That the driver can set the card up.
    Port,
    /// That it has a link, too.
    Link,
    /// And that what it sends arrives where it can be seen.
    Echo,
}

/// Something that a card does.
struct Step {
    name: &'static str,
    /// In a few words.
    expected: &'static str,
    needs: Needs,
    run: fn(&mut Bench) -> Result<Seen>,
}

/// A row of the table.
const fn step(name: &'static str, needs: Needs, expected: &'static str, run: fn(&mut Bench) -> Result<Seen>) -> Step {
    Step { name, expected, needs, run }
}

const STEPS: &[Step] = &[
    step("configuration", Needs::Function, "the ids that it was found by", function::ids),
    step("power", Needs::Function, "awake (D0)", function::power),
    step("vectors", Needs::Function, "as many interrupts as it says", function::vectors),
    step("reset", Needs::Function, "it answers when it was reset", function::reset),
    step("vpd", Needs::Function, "vital product data with a right checksum", function::product),
    step("open", Needs::Function, "the driver sets it up", port::open),
    step("firmware", Needs::Port, "a version", port::firmware),
    step("nvm", Needs::Port, "whole, as far as that can be told", port::nvm),
    step("address", Needs::Port, "one of its own", port::address),
    step("module", Needs::Port, "what it says of itself has a right checksum", port::module),
    step("link", Needs::Port, "up", port::link),
    step("sending", Needs::Link, "what is sent is reported as sent, and comes back", packets::sending),
    step("one packet", Needs::Echo, "it arrives with nothing behind it", packets::lone),
    step("a few packets", Needs::Echo, "2 to 5 arrive with nothing behind them", packets::few),
    step("a ring of packets", Needs::Echo, "all arrive, in order, as sent", packets::ring),
    step("every length", Needs::Echo, "60 to 1514 bytes arrive as sent", packets::lengths),
    step("checksums", Needs::Echo, "right is not called wrong, nor wrong right", words::checksums),
    step("tags", Needs::Echo, "a VLAN tag arrives, in the frame or beside it", words::tags),
    step("stamps", Needs::Echo, "the card's clock goes forward, at the machine's rate", words::stamps),
    step("counters", Needs::Link, "they are what was sent and received", words::counters),
    step("interrupts", Needs::Echo, "one for each of 1000 packets", ways::interrupts),
    step("long frames", Needs::Echo, "frames of up to 9014 bytes arrive as sent", ways::long),
    step("ways", Needs::Echo, "frames arrive by each way to the card that there is", ways::each),
    step("spreading", Needs::Echo, "flows come on all queues, and each on one", queues::spread),
    step("steering", Needs::Echo, "a flow comes on the queue that it was steered to", queues::steer),
    step("kill", Needs::Echo, "it opens after a process that was killed", killed::reopened),
    step("again", Needs::Port, "it opens whenever it was closed, and works", port::again),
];

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    if args.victim {
        return killed::victim(args, context);
    }
    let output = Output::new(&context.global);
    // First: a signal would leave behind what is made of the report's file.
    let stop = Stop::install()?;
    let file = args.report.as_deref().map(NewFile::make).transpose()?;
    let mut report = Report::new(args, context.global.trace.as_deref());
    let begun = Instant::now();
    let mut bench = match Bench::plug(args, context, stop)? {
        Ok(bench) => bench,
        Err(error) => {
            if let Some(file) = file {
                unreached(report, &error, begun, file, context)?;
            }
            return Err(error.into());
        }
    };
    report.begin(&bench);
    output.info(&report.headline)?;
    let live = output.bar(Goal::Count(STEPS.len() as u64));
    for step in STEPS {
        if bench.stop.requested() {
            break;
        }
        live.show(0, step.name);
        let begun = Instant::now();
        let verdict = match bench.lacks(step.needs) {
            Some(why) => Verdict::Skipped(why.into()),
            None => judge((step.run)(&mut bench), &mut bench),
        };
        if bench.stop.requested() {
            // What was in the middle of it says nothing of the card.
            break;
        }
        let found = Found { name: step.name, expected: step.expected, verdict, took: begun.elapsed() };
        match &found.verdict {
            Verdict::Bad(_) => output.verdict(Tone::Bad, found.word().len(), &found)?,
            _ if output.is_quiet() => {}
            Verdict::Good(_) => output.verdict(Tone::Good, found.word().len(), &found)?,
            Verdict::Skipped(_) => output.verdict(Tone::Quiet, found.word().len(), &found)?,
        }
        report.steps.push(found);
        live.advance(1);
    }
    drop(live);
    bench.leave_nothing();
    let uncounted = report.describe(&bench).err();
    if let Some(file) = file {
        report.write(file, context)?;
    }
    report.print(&output, context)?;
    if let Some(error) = uncounted {
        output.warn(format_args!("what crosses PCIe was not counted: {error}"));
    }
    bench.stop.judge(passed(&report, context.global.strict))
}

/// Writes the report of a card that there is, but that could not be reached.
fn unreached(mut report: Report, error: &Error, begun: Instant, file: NewFile, context: &Context) -> Result<()> {
    report.steps.push(Found {
        name: "reach",
        expected: "the function can be had",
        verdict: Verdict::Bad(remedy::line(error)),
        took: begun.elapsed(),
    });
    report.write(file, context)
}

/// Whether the card is as it is to be.
fn passed(report: &Report, strict: bool) -> Result<()> {
    let text = match (report.failed(), report.violations()) {
        (0, broken) if broken > 0 && strict => "our driver broke rules of the card; they are named above".to_string(),
        (0, _) => return Ok(()),
        (failed, _) => format!("{failed} of {} steps failed; what was seen is said beside each", report.steps.len()),
    };
    Err(Error::new(Kind::Device, text))
}

/// What was seen, for tests of verdicts.
#[cfg(test)]
fn text(seen: Result<Seen>) -> String {
    match seen {
        Ok(Seen::Good(text)) => text,
        Ok(Seen::Skipped(text)) => format!("skipped: {text}"),
        Err(error) => format!("failed: {error}"),
    }
}

fn judge(seen: Result<Seen>, bench: &mut Bench) -> Verdict {
    match seen {
        Ok(Seen::Good(what)) => Verdict::Good(what),
        Ok(Seen::Skipped(why)) => Verdict::Skipped(why),
        Err(error) if error.kind() != Kind::Gone && bench.was_cut_off() => {
            Verdict::Skipped(format!("no time was left to finish it ({})", remedy::line(&error)))
        }
        Err(error) => {
            bench.gone |= error.kind() == Kind::Gone;
            Verdict::Bad(remedy::line(&error))
        }
    }
}
