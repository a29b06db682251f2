//! `bmnic compare-dpdk`: DPDK's driver and ours on the same emulated card, in the
//! same run.
//!
//! ```text
//!   emulated    what it takes, and the order of things
//!     rounds    one process for each of DPDK's ways, asked in turn
//!       child   both drivers, each on a card of the same model    (compare)
//!     report    medians, spreads, ratios
//! ```

#[cfg(target_arch = "x86_64")]
mod child;
#[cfg(target_arch = "x86_64")]
mod emulated;
mod nics;
#[cfg(target_arch = "x86_64")]
mod report;
#[cfg(target_arch = "x86_64")]
mod rounds;

use super::{Context, Outcome};
use clap::builder::PossibleValuesParser;

/// Arguments of `bmnic compare-dpdk`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Emulated card to compare on
    #[arg(long, value_name = "CARD", default_value = nics::NICS[0].name, value_parser = PossibleValuesParser::new(nics::names()))]
    nic: String,
    /// Rounds, in each of which all take their turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Frames to receive and send in one go, 1 to 64, several with commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4,8,16,32,64", value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: Vec<u16>,
    /// Be the process that has both drivers in it
    #[arg(long, hide = true, value_name = "WAY")]
    here: Option<usize>,
}

/// Runs it.
#[cfg(target_arch = "x86_64")]
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    emulated::run(&args, context)
}

/// Runs it.
#[cfg(not(target_arch = "x86_64"))]
pub fn run(_: Args, _: &Context) -> anyhow::Result<Outcome> {
    use crate::error::{Error, Kind};
    let what =
        "DPDK's accesses to an emulated card can be trapped on x86-64 only; `bmnic throughput` measures bmnic here";
    Err(Error::new(Kind::Unsupported, what).into())
}
