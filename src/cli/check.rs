//! `bmnic check`: whether a card does what a card does, step by step.
//!
//! ```text
//!   function   configuration space, power, vectors
//!   port       opens, address, link                 the driver that all commands use
//!   packets    one alone, a few, a ring, lengths    sent to itself, or to --peer
//!   offloads   checksums, tags, stamps              what the card says of them
//!   counters   against what was sent
//!   waiting    an interrupt for a packet, again and again
//!   queues     hashes spread, flows are steered
//!   again      closed and opened
//! ```
//!
//! Each step says what is expected, what was seen and how long it took. One that fails
//! does not end the others, unless the card is gone. Nothing but the card that was named
//! is touched, and it is left as every command leaves it.

mod bench;
mod frames;
mod function;
mod packets;
mod port;
mod queues;
mod report;
mod ways;

use self::bench::Bench;
use self::report::{Found, Report, Verdict};
use super::output::Output;
use super::remedy;
use super::{Context, Outcome};
use crate::error::{Error, Kind, Result};
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `bmnic check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Card to check: 0000:03:00.0, an interface name, or emu:82599,OPTIONS
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
    /// Write all of it to this file, as JSON, without addresses and serial numbers
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What a step found where the card did what is expected.
enum Seen {
    /// In a few words.
    Good(String),
    /// It does not apply: why.
    Skipped(String),
}

/// What has to be well before a step makes sense.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing but the function.
    Function,
    /// That the driver can set the card up.
    Port,
    /// That it has a link, too.
    Link,
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
    step("vectors", Needs::Function, "interrupts to wait with", function::vectors),
    step("open", Needs::Function, "the driver sets it up", port::open),
    step("address", Needs::Port, "one of its own", port::address),
    step("link", Needs::Port, "up", port::link),
    step("one packet", Needs::Link, "it arrives with nothing behind it", packets::lone),
    step("a few packets", Needs::Link, "2 to 5 arrive with nothing behind them", packets::few),
    step("a ring of packets", Needs::Link, "all arrive, in order, as sent", packets::ring),
    step("every length", Needs::Link, "60 to 1514 bytes arrive as sent", packets::lengths),
    step("checksums", Needs::Link, "what is wrong is not called right, nor what is right wrong", packets::checksums),
    step("tags", Needs::Link, "a VLAN tag arrives, in the frame or beside it", packets::tags),
    step("stamps", Needs::Link, "the card's clock goes forward, at the machine's rate", packets::stamps),
    step("counters", Needs::Link, "they are what was sent and received", packets::counters),
    step("interrupts", Needs::Link, "one for each of 1000 packets", packets::interrupts),
    step("long frames", Needs::Link, "frames of up to 9014 bytes arrive as sent", ways::long),
    step("ways", Needs::Link, "a frame arrives by each way to the card that there is", ways::each),
    step("spreading", Needs::Link, "flows come on all queues, and each on one", queues::spread),
    step("steering", Needs::Link, "a flow comes on the queue that it was steered to", queues::steer),
    step("again", Needs::Port, "it opens whenever it was closed", port::again),
];

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let mut bench = Bench::plug(args, context)?;
    let mut report = Report::new(bench.headline());
    output.info(format_args!("{}", report.headline))?;
    for step in STEPS {
        if bench.stop.requested() {
            break;
        }
        let begun = Instant::now();
        let verdict = match bench.lacks(step.needs) {
            Some(why) => Verdict::Skipped(why.into()),
            None => judge((step.run)(&mut bench), &mut bench),
        };
        let found = Found { name: step.name, expected: step.expected, verdict, took: begun.elapsed() };
        output.info(format_args!("{found}"))?;
        report.steps.push(found);
    }
    bench.unplug();
    report.describe(&bench);
    if let Some(path) = &args.report {
        report.write(path)?;
    }
    report.print(&output, context)?;
    match (bench.stop.signal(), report.failed()) {
        (Some(signal), _) => Ok(Outcome::Signal(signal)),
        (None, 0) => Ok(Outcome::Done),
        (None, failed) => {
            let text = format!("{failed} of {} steps failed; what was seen is said beside each", report.steps.len());
            Err(Error::new(Kind::Device, text).into())
        }
    }
}

fn judge(seen: Result<Seen>, bench: &mut Bench) -> Verdict {
    match seen {
        Ok(Seen::Good(what)) => Verdict::Good(what),
        Ok(Seen::Skipped(why)) => Verdict::Skipped(why),
        Err(error) => {
            bench.gone |= error.kind() == Kind::Gone;
            Verdict::Bad(remedy::line(&error))
        }
    }
}
