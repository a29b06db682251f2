//! `bmnic completions`: completion scripts, made from the clap definition.

use super::{Cli, Outcome};
use crate::sys;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

/// Arguments of `bmnic completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to print it for
    pub shell: Shell,
}

/// Prints the script.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    sys::standard_output()?.write_all(&script(args.shell))?;
    Ok(Outcome::Done)
}

/// The completion script of `shell`.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bmnic", &mut script);
    script
}
