//! `bmnic compare-dpdk`.

use super::{Context, Outcome};

/// Arguments of `bmnic compare-dpdk`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args, _context: &Context) -> anyhow::Result<Outcome> {
    Ok(Outcome::Done)
}
