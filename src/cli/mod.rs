//! The command line: parse, wire up, print.
//!
//! One file a subcommand, each with its `Args` and a `run`. The clap definition
//! here is the only one: `--help`, the man pages in `man/` and the scripts in
//! `completions/` are generated from it, and a test fails if they drift.

pub mod args;
mod bind;
mod capture;
mod compare_dpdk;
mod emulate;
mod fwd;
mod hugepages;
mod latency;
mod list;
pub mod output;
mod pktgen;
pub mod signal;
mod throughput;
pub mod units;

use crate::error::{Error, Kind};
use crate::pci::Roots;
use clap::{Parser, Subcommand};
use std::io;
use std::process::ExitCode;

/// Drive network cards from user space.
#[derive(Debug, Parser)]
#[command(name = "bmnic", version, max_term_width = 100)]
pub struct Cli {
    /// What to print and how.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every subcommand.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true, env = "BMNIC_JSON")]
    pub json: bool,
    /// Print results only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more about what is done (repeat for more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Hand a card to bmnic, or give it back to its kernel driver
    Bind(bind::Args),
    /// Show or change the huge pages of this machine
    Hugepages(hugepages::Args),
    /// Forward packets between two ports
    Fwd(fwd::Args),
    /// Generate packets at a given rate
    Pktgen(pktgen::Args),
    /// Capture packets into a file
    Capture(capture::Args),
    /// Measure latency
    Latency(latency::Args),
    /// Measure throughput over frame sizes
    Throughput(throughput::Args),
    /// Compare with DPDK on the same card in the same run
    CompareDpdk(compare_dpdk::Args),
    /// List cards and what can be done with them
    List(list::Args),
    /// List emulated cards
    Emulate(emulate::Args),
}

/// What a subcommand is given besides its arguments.
#[derive(Debug)]
pub struct Context {
    /// Options of every subcommand.
    pub global: Global,
    /// Where the kernel's files are.
    pub roots: Roots,
}

/// How a run that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Done,
    /// A limit the user set was passed; the result is printed all the same.
    Limit,
    /// By this signal, after a clean end with its summary.
    Signal(i32),
}

/// Exit codes, documented in the man page; they never change.
pub mod exit {
    /// As asked.
    pub const DONE: u8 = 0;
    /// Failed while running.
    pub const FAILURE: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// A limit was passed: loss, rate, pages.
    pub const LIMIT: u8 = 3;
    /// Refused, because it would cut something that is in use.
    pub const REFUSED: u8 = 4;
}

/// Parses the command line, runs it, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context { global: cli.global, roots: Roots::from_env() };
    let result = match cli.command {
        Command::Bind(args) => bind::run(args, &context),
        Command::Hugepages(args) => hugepages::run(args, &context),
        Command::Fwd(args) => fwd::run(args, &context),
        Command::Pktgen(args) => pktgen::run(args, &context),
        Command::Capture(args) => capture::run(args, &context),
        Command::Latency(args) => latency::run(args, &context),
        Command::Throughput(args) => throughput::run(args, &context),
        Command::CompareDpdk(args) => compare_dpdk::run(args, &context),
        Command::List(args) => list::run(args, &context),
        Command::Emulate(args) => emulate::run(args, &context),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::from(exit::DONE),
        Ok(Outcome::Limit) => ExitCode::from(exit::LIMIT),
        Ok(Outcome::Signal(signal)) => ExitCode::from(128 + signal as u8),
        Err(error) => fail(&error, context.global.json),
    }
}

/// Prints the error's one line (or JSON document) on standard error; a reader
/// that went away (`bmnic list | head -1`) is not an error.
fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let broken_pipe = error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe));
    if broken_pipe {
        return ExitCode::from(exit::DONE);
    }
    let code = match error.downcast_ref::<Error>().map(Error::kind) {
        Some(Kind::Usage) => exit::USAGE,
        Some(Kind::Limit) => exit::LIMIT,
        Some(Kind::Refused) => exit::REFUSED,
        _ => exit::FAILURE,
    };
    if json {
        eprintln!("{}", serde_json::json!({ "error": format!("{error:#}"), "exit": code }));
    } else {
        eprintln!("bmnic: {error:#}");
    }
    ExitCode::from(code)
}
