//! The comparison on an emulated card.

use super::rounds::Plan;
use super::{Args, child, nics, report, rounds};
use crate::cli::html;
use crate::cli::output::{self, Output};
use crate::cli::progress::Goal;
use crate::cli::{Context, Outcome};
use crate::emu::native;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Floor, Machine};
use crate::sys;
use std::time::Duration;

/// Huge pages of 2 MiB for DPDK's memory and bmnic's, in each process.
const PAGES: u64 = 24 + 12;

/// How long the floor of the machine is measured.
const FLOOR: Duration = Duration::from_millis(300);

/// Compares.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let nic = nics::find(&args.nic)?;
    if let Some(way) = args.here.and_then(|way| nic.ways.get(way)) {
        return Ok(child::run(nic, way)?);
    }
    let output = Output::new(&context.global);
    let html = html::Report::make(args.html.as_deref())?;
    require(nic, context)?;
    let plan = Plan { rounds: args.rounds.into(), bursts: args.batch.iter().map(|&burst| burst.into()).collect() };
    let live = output.bar(Goal::Count(rounds::turns(nic, &plan)));
    let found = rounds::run(nic, &plan, &live)?;
    drop(live);
    let clock = Clock::new();
    let floor = Floor::measure(&clock, 60, FLOOR);
    report::print(nic, &plan, &found, &floor, &output)?;
    let machine = Machine::record(&context.roots, &clock);
    let document = output::document("compare-dpdk", &[], &machine, report::document(nic, &plan, &found, &floor));
    output.document(&document)?;
    if let Some(file) = html {
        file.write(&document, &report::pictures(&document)?)?;
    }
    if !report::is_whole(&found) {
        output.warn(
            "the machine was never quiet at some of it, so there is no figure; run it again when nothing else runs",
        );
        return Ok(Outcome::Limit);
    }
    Ok(Outcome::Done)
}

/// Fails unless this machine has what the comparison needs besides DPDK.
fn require(nic: &nics::Nic, context: &Context) -> Result<()> {
    if sys::effective_user() != 0 {
        return Err(Error::new(
            Kind::Missing,
            "comparing with DPDK takes root: DPDK gives its card physical addresses, and the card is shown to it in a mount namespace; run it with sudo",
        ));
    }
    native::require_huge_pages(&context.roots, nic.ways.len() as u64 * PAGES)
}
