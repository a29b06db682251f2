//! `bmnic compare-dpdk`: DPDK's driver and ours on the same emulated card, in the
//! same run.
//!
//! ```text
//!   emulated    what it takes, and the order of things
//!     rounds    one process for each of DPDK's ways, asked in turn
//!       child   both drivers, each on a card of the same model    (compare)
//!     report    medians, spreads, ratios; what crosses PCIe (crossings)
//!
//!   whole       --testpmd and --pci: whole programs in turn, and their figures
//!     programs  stock dpdk-testpmd and bmnic: how to start them, what they say
//!     seat      one runs, on an emulated card or on a real one
//! ```

#[cfg(target_arch = "x86_64")]
mod child;
#[cfg(target_arch = "x86_64")]
mod crossings;
#[cfg(target_arch = "x86_64")]
mod emulated;
mod nics;
#[cfg(target_arch = "x86_64")]
mod programs;
#[cfg(target_arch = "x86_64")]
mod report;
#[cfg(target_arch = "x86_64")]
mod rounds;
#[cfg(target_arch = "x86_64")]
mod seat;
#[cfg(target_arch = "x86_64")]
mod whole;

use super::{Context, Outcome, units};
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `bmnic compare-dpdk`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Emulated card to compare on
    #[arg(long, value_name = "CARD", default_value = nics::NICS[0].name, value_parser = PossibleValuesParser::new(nics::names()))]
    nic: String,
    /// Rounds, in each of which all take their turns; 0 counts what crosses PCIe, and no more
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
    rounds: u16,
    /// Compare whole programs instead: stock dpdk-testpmd, and bmnic fwd, in turn on
    /// the same emulated card with the same traffic
    ///
    /// For those who do not trust our harness: packets are counted by the card, and
    /// cycles by each program itself.
    #[arg(long, group = "whole")]
    testpmd: bool,
    /// Compare whole programs on this card, which must be bound to vfio-pci
    ///
    /// dpdk-testpmd and bmnic send as fast as they can, and then forward what comes
    /// in, in turn.
    #[arg(long, value_name = "DEV", conflicts_with = "nic", group = "whole")]
    pci: Option<String>,
    /// Time that each program is measured for in a round, of --testpmd and --pci
    #[arg(short, long, value_name = "TIME", default_value = "3s", requires = "whole", value_parser = units::duration)]
    duration: Duration,
    /// Frames to receive and send in one go, 1 to 64, several with commas
    ///
    /// For each there is what a packet takes in cycles and instructions, and what crosses
    /// PCIe for it: stores to doorbells, cache lines of descriptors and completions, and the
    /// card's transactions and bytes each way. The latter are counted, not timed.
    #[arg(long, value_name = "LIST", conflicts_with = "whole", value_delimiter = ',', default_value = "1,4,8,16,32,64", value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: Vec<u16>,
    /// Write all of it into this HTML file: tables, plots, the machine, the command line
    ///
    /// One file that needs no other, no network and no script.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Be the process that has both drivers in it
    #[arg(long, hide = true, value_name = "WAY")]
    here: Option<usize>,
}

/// Runs it.
#[cfg(target_arch = "x86_64")]
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    match &args.pci {
        Some(name) => whole::real(name, &args, context),
        None if args.testpmd => whole::emulated(&args, context),
        None => emulated::run(&args, context),
    }
}

/// Runs it.
#[cfg(not(target_arch = "x86_64"))]
pub fn run(_: Args, _: &Context) -> anyhow::Result<Outcome> {
    use crate::error::{Error, Kind};
    let what =
        "DPDK's accesses to an emulated card can be trapped on x86-64 only; `bmnic throughput` measures bmnic here";
    Err(Error::new(Kind::Unsupported, what).into())
}
