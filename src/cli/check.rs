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
    /// name says otherwise.
    #[arg(value_name = "DEV")]
    device: String,
    /// Card at the other end of the cable: packets are sent to it
    #[arg(long, value_name = "DEV", conflicts_with = "cable")]
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

/// Something that a card does.
struct Step {
    name: &'static str,
    /// In a few words.
    expected: &'static str,
    run: fn(&mut Bench) -> Result<Seen>,
}

const STEPS: &[Step] = &[
    Step { name: "configuration", expected: "the ids that the kernel has read", run: function::ids },
    Step { name: "power", expected: "awake (D0)", run: function::power },
    Step { name: "vectors", expected: "interrupts to wait with", run: function::vectors },
    Step { name: "open", expected: "the driver sets it up", run: port::open },
    Step { name: "address", expected: "one of its own", run: port::address },
    Step { name: "link", expected: "up", run: port::link },
    Step { name: "one packet", expected: "it arrives with nothing behind it", run: packets::lone },
    Step { name: "a few packets", expected: "2 to 5 arrive with nothing behind them", run: packets::few },
    Step { name: "a ring of packets", expected: "all arrive, in order, as sent", run: packets::ring },
    Step { name: "every length", expected: "frames of 60 to 1514 bytes arrive as sent", run: packets::lengths },
    Step {
        name: "checksums",
        expected: "a wrong one is not called right, nor a right one wrong",
        run: packets::checksums,
    },
    Step { name: "tags", expected: "a VLAN tag arrives, in the frame or beside it", run: packets::tags },
    Step { name: "stamps", expected: "the card's clock goes forward, at the machine's rate", run: packets::stamps },
    Step { name: "counters", expected: "they are what was sent and received", run: packets::counters },
    Step { name: "interrupts", expected: "one for each of 1000 packets", run: packets::interrupts },
    Step { name: "spreading", expected: "flows come on all queues, and each on one", run: queues::spread },
    Step { name: "steering", expected: "a flow comes on the queue that it was steered to", run: queues::steer },
    Step { name: "again", expected: "it opens whenever it was closed", run: port::again },
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
        let verdict = match bench.gone {
            true => Verdict::Skipped("the card is gone".into()),
            false => judge((step.run)(&mut bench), &mut bench),
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
