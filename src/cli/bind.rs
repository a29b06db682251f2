//! `bmnic bind`.

use super::{Context, Outcome};

/// Arguments of `bmnic bind`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args, _context: &Context) -> anyhow::Result<Outcome> {
    Ok(Outcome::Done)
}
