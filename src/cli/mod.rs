//! The command line: parse, wire up, print.
//!
//! One file a subcommand, each with its `Args` and a `run`. The clap definition
//! here is the only one: `--help`, the man pages in `man/` and the scripts in
//! `completions/` are generated from it, and a test fails if they drift.

mod account;
mod args;
mod bind;
mod capture;
mod cards;
mod check;
mod circuit;
mod color;
mod compare_dpdk;
mod completions;
mod cores;
mod crossing;
mod ctl;
mod demo;
mod destination;
mod doctor;
mod emulate;
mod environment;
pub mod examples;
mod file;
mod fwd;
mod habits;
mod hang;
mod html;
mod hugepages;
mod latency;
#[cfg(test)]
mod lines;
mod list;
mod loan;
mod looks;
mod man;
mod output;
mod pktgen;
mod plot;
mod ports;
mod progress;
mod remedy;
pub mod sandbox;
mod screen;
mod session;
mod share;
mod signal;
mod table;
mod throughput;
mod tracing;
mod tune;
mod units;
mod wanted;
mod watch;

use crate::error::{Error, Kind};
use crate::sys::{self, Roots};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use color::{Color, Tone};
pub use environment::RULE as ENVIRONMENT;
use environment::Refused;
use screen::Screen;
use serde_json::json;
use signal::Interrupted;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Drive network cards from user space
#[derive(Debug, Parser)]
#[command(name = "bmnic", version, max_term_width = 100, after_help = examples::text("bmnic"),
    after_long_help = format!("{}\n\n{}\n\n{EXIT_CODES}", examples::text("bmnic"), environment::RULE))]
pub struct Cli {
    /// What to print and how.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The codes of [`exit`], for `--help` and the man page.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    As asked
  1    Failed: not there, not allowed, not supported, timed out, device at fault
  2    The command line makes no sense
  3    A limit was passed: loss, rate, fewer pages than asked; or doctor found a fault
  4    Refused, because it would cut something that is in use
  5    Needs what is not on this machine: DPDK, root, huge pages
  130  Ended by SIGINT (Ctrl-C), after a clean end with its summary
  143  Ended by SIGTERM, likewise
A second signal, half a second after the first or later, ends it at once, without
its summary, and with the same codes.
`emulate CARD -- COMMAND` ends with the exit code of the command.

A reader that goes away (bmnic list | head -1) is no failure. A failure is one
line on standard error, or with --json one JSON document on standard output (on
standard error if the document of a result or data is there already).";

/// Where `--help` has options of every subcommand.
const EVERY: &str = "Every command";

/// Options of every subcommand.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = EVERY, conflicts_with = "json_lines")]
    pub json: bool,
    /// Print JSON documents of one line each: what changes once an interval, then the result
    ///
    /// The last line is what --json prints, with "final": true; those before it have
    /// "final": false, and each the time at which it was made (ns since 1970).
    #[arg(long, global = true, help_heading = EVERY)]
    pub json_lines: bool,
    /// Print results only
    #[arg(short, long, global = true, help_heading = EVERY)]
    pub quiet: bool,
    /// Print more about what is done (repeat for more)
    #[arg(short, long, global = true, help_heading = EVERY, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to colour words
    #[arg(long, global = true, help_heading = EVERY, value_name = "WHEN", value_enum, default_value = "auto")]
    pub color: Color,
    /// Fail if the driver breaks a rule of an emulated card
    #[arg(long, global = true, help_heading = EVERY)]
    pub strict: bool,
    /// How long a link may take to come up: 30s, 1m
    ///
    /// Twisted pair, and 25 Gbit/s with FEC to agree on, take several seconds.
    #[arg(long, global = true, help_heading = EVERY, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub link_wait: Duration,
    /// Write each register access, and each command with its answer, to this file
    ///
    /// Those of the control plane: doorbells of queues are not in it, nor frames. The card's
    /// address is replaced by another. `bmnic emulate CARD --replay FILE` reads it. A second
    /// card's file is FILE.2. Of a card that `emulate` serves it is the register accesses alone,
    /// which cannot be replayed.
    #[arg(long, global = true, help_heading = EVERY, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Take the cards from the kernel for this run alone, and give them back when it ends
    ///
    /// As `bmnic bind` and `bmnic bind --restore` do it, and with what they refuse; also after
    /// Ctrl-C or an error. If the run is killed, `bmnic bind --restore` does it.
    #[arg(long, global = true, help_heading = EVERY)]
    pub restore_on_exit: bool,
}

impl Global {
    /// Whether output is JSON documents.
    pub fn is_json(&self) -> bool {
        self.json || self.json_lines
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Hand a card to bmnic, or give it back to its kernel driver
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("bind"))]
    Bind(bind::Args),
    /// See whether this machine is fit for a real card, and how to make it so
    ///
    /// It changes nothing; `bmnic tune` sets what can be set while the machine runs. Exit code
    /// 3 says that a line is wrong and a real card would not work. What is only slow leaves it 0.
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("doctor"))]
    Doctor(doctor::Args),
    /// Set this machine up for packets, or put it back as it was
    ///
    /// What takes a boot (isolcpus, nohz_full, rcu_nocbs, irqaffinity, the IOMMU) is printed, for
    /// you to add: no file of the boot loader is touched.
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("tune"))]
    Tune(tune::Args),
    /// Show or change the huge pages of this machine
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("hugepages"))]
    Hugepages(hugepages::Args),
    /// Forward packets between two ports
    #[command(after_help = examples::text("fwd"))]
    Fwd(fwd::Args),
    /// Generate packets at a given rate
    #[command(after_help = examples::text("pktgen"))]
    Pktgen(Box<pktgen::Args>),
    /// Capture packets into a file, or print them
    #[command(mut_arg("rxd", |rxd| rxd.help(capture::RXD)), after_help = examples::text("capture"))]
    Capture(Box<capture::Args>),
    /// Show what bmnic does: send, forward, capture, measure, all on emulated cards
    #[command(arg = loan::out_of_place(), after_help = examples::text("demo"))]
    Demo(demo::Args),
    /// Change a capture that runs, or ask how far it is
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("ctl"))]
    Ctl(ctl::Args),
    /// Measure latency
    #[command(after_help = examples::text("latency"))]
    Latency(Box<latency::Args>),
    /// Measure throughput over frame sizes
    #[command(after_help = examples::text("throughput"))]
    Throughput(throughput::Args),
    /// Compare with DPDK on the same card in the same run
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("compare-dpdk"))]
    CompareDpdk(compare_dpdk::Args),
    /// Check step by step whether a card does what a card does
    #[command(after_help = examples::text("check"))]
    Check(check::Args),
    /// List cards and what can be done with them
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("list"))]
    List(list::Args),
    /// List emulated cards, or serve one to another program
    #[command(arg = loan::out_of_place(), after_help = examples::text("emulate"))]
    Emulate(emulate::Args),
    /// Show the page of the manual about bmnic, or about a command
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("man"))]
    Man(man::Args),
    /// Print the completion script of a shell
    #[command(arg = tracing::out_of_place(), arg = loan::out_of_place(), after_help = examples::text("completions"))]
    Completions(completions::Args),
}

/// What a subcommand is given besides its arguments.
#[derive(Debug)]
pub struct Context {
    /// Options of every subcommand.
    pub global: Global,
    /// Where the kernel's files are.
    pub roots: Roots,
    /// When the program was started.
    pub started: Instant,
    /// Options that were taken from the environment.
    pub taken: environment::Taken,
    /// Cards to give back when the command has ended.
    pub loans: loan::Loans,
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
    /// As the program that was run did, with this exit code.
    Program(u8),
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
    /// Needs what is not on this machine: another program, root, huge pages.
    pub const MISSING: u8 = 5;

    use crate::error::Kind;

    /// Kinds of errors that have a code of their own.
    const KINDS: [(Kind, u8); 4] =
        [(Kind::Usage, USAGE), (Kind::Limit, LIMIT), (Kind::Refused, REFUSED), (Kind::Missing, MISSING)];

    /// The code of an error.
    pub fn code(kind: Kind) -> u8 {
        KINDS.iter().find(|(k, _)| *k == kind).map_or(FAILURE, |(_, code)| *code)
    }

    /// The code of a run that a signal ended.
    pub fn signal(signal: i32) -> u8 {
        128 + signal as u8
    }

    /// The error that a program of ours ended with, by its code.
    pub fn kind(code: u8) -> Kind {
        KINDS.iter().find(|(_, c)| *c == code).map_or(Kind::Device, |(kind, _)| *kind)
    }
}

/// Parses the command line, runs it, and says how it went.
pub fn main() -> ExitCode {
    let started = Instant::now();
    // A file that reaches its limit (`ulimit -f`) is an error of that file, and no end. A
    // handler, as programs that are started from here have none.
    let _ = crate::sys::signals::count(signal_hook::consts::SIGXFSZ, &Default::default());
    crate::sys::confine::listen();
    let args: Vec<OsString> = std::env::args_os().collect();
    let (cli, taken) = match environment::parse::<Cli>(&args, |name| std::env::var_os(name)) {
        Ok(parsed) => parsed,
        Err(refused) => return refuse(refused, &args),
    };
    cli.global.color.choose();
    let told = Told { json: cli.global.is_json(), lines: cli.global.json_lines, command: command_of(&args) };
    let context =
        Context { global: cli.global, roots: Roots::from_env(), started, taken, loans: loan::Loans::default() };
    if context.global.json && context.global.json_lines {
        let line = "--json cannot be used with --json-lines, whose last line is the same document; name one";
        return told.fail(&Error::new(Kind::Usage, line).into());
    }
    if context.global.trace.is_some()
        && let Err(error) = tracing::check(&cli.command)
    {
        return told.fail(&error.into());
    }
    if context.global.restore_on_exit
        && let Err(error) = loan::check(&cli.command)
    {
        return told.fail(&error.into());
    }
    let result = loan::Loans::until(&context, || match cli.command {
        Command::Bind(args) => bind::run(args, &context),
        Command::Doctor(args) => doctor::run(&args, &context),
        Command::Tune(args) => tune::run(&args, &context),
        Command::Hugepages(args) => hugepages::run(args, &context),
        Command::Fwd(args) => fwd::run(args, &context),
        Command::Pktgen(args) => pktgen::run(&args, &context),
        Command::Capture(args) => capture::run(*args, &context),
        Command::Demo(args) => demo::run(&args, &context),
        Command::Ctl(args) => ctl::run(args, &context),
        Command::Latency(args) => latency::run(&args, &context),
        Command::Throughput(args) => throughput::run(args, &context),
        Command::CompareDpdk(args) => compare_dpdk::run(args, &context),
        Command::Check(args) => check::run(&args, &context),
        Command::List(args) => list::run(args, &context),
        Command::Emulate(args) => emulate::run(args, &context),
        Command::Man(args) => man::run(&args),
        Command::Completions(args) => completions::run(args, &context),
    });
    let whole = crate::pci::trace::whole();
    match (result, whole) {
        (Ok(outcome), Ok(())) => outcome.into(),
        (Ok(_), Err(error)) => told.fail(&error.into()),
        (Err(error), whole) => {
            if let Err(error) = whole {
                output::complain("bmnic: warning:", Tone::Warning, error);
            }
            told.fail(&error)
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(match outcome {
            Outcome::Done => exit::DONE,
            Outcome::Limit => exit::LIMIT,
            Outcome::Signal(signal) => exit::signal(signal),
            Outcome::Program(code) => code,
        })
    }
}

/// Prints help as asked for, or the one line that says why the command line
/// makes no sense.
fn refuse(refused: Refused, args: &[OsString]) -> ExitCode {
    // Nothing is parsed, so these are looked for by hand.
    let given = |option: &str| args.iter().take_while(|arg| *arg != "--").any(|arg| arg == option);
    let set = |name| std::env::var(name).ok().and_then(|word| environment::switch(&word)) == Some(true);
    let lines = given("--json-lines") || set("BMNIC_JSON_LINES");
    let json = lines || given("--json") || set("BMNIC_JSON");
    color_of(args).choose();
    let told = Told { json, lines, command: command_of(args) };
    let error = match refused {
        Refused::Clap(error) => error,
        Refused::Variable(error) => return told.fail(&error.into()),
    };
    if !error.use_stderr() {
        let (text, on) = (error.render(), Color::is_on(Screen::stdout()));
        let text = if on { text.ansi().to_string() } else { text.to_string() };
        // Help into a pipe that was closed is not an error.
        let printed = sys::standard_output().and_then(|mut out| write!(out, "{text}").and_then(|()| out.flush()));
        return printed.map_or_else(|error| told.fail(&error.into()), |()| ExitCode::from(exit::DONE));
    }
    let line = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            let _ = write!(io::stderr(), "{}", error.render());
            return ExitCode::from(exit::USAGE);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command was given; `bmnic --help` names all".into(),
        _ => {
            let mut definition = Cli::command();
            definition.build();
            let command = told.command.as_ref().and_then(|name| definition.find_subcommand(name));
            habits::line(&error, command).unwrap_or_else(|| one_line(&error.render().to_string()))
        }
    };
    told.fail(&Error::new(Kind::Usage, line).into())
}

/// When words are coloured by these arguments, which may make no sense otherwise.
fn color_of(args: &[OsString]) -> Color {
    let mut words = args.iter().filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--");
    let asked = words.find_map(|arg| Some(arg.strip_prefix("--color")?.strip_prefix('=').map(str::to_string)));
    let asked = asked
        .map(|value| value.or_else(|| words.next().map(str::to_string)))
        .unwrap_or_else(|| std::env::var("BMNIC_COLOR").ok());
    asked.and_then(|word| Color::from_str(&word, true).ok()).unwrap_or_default()
}

/// The command that these arguments name, if they name one.
fn command_of(args: &[OsString]) -> Option<String> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(args).ok()?;
    matches.subcommand_name().map(str::to_string)
}

/// clap's message without the usage behind it, on one line.
fn one_line(message: &str) -> String {
    let words = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = words.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    // How an option would be passed as a word is not what one who mistyped it wants to know.
    let said: Vec<&str> = said.filter(|line| !line.starts_with("tip: to pass ")).collect();
    let line = said.join(" ").replace(" tip: ", "; ").replace(" [possible values:", "; it is one of [possible values:");
    let line = line.strip_prefix("error: ").unwrap_or(&line).replace("possible values: ", "");
    if line.contains(';') { line } else { format!("{line}; `--help` shows what can be given") }
}

/// What becomes of output that cannot be written.
const UNREAD: &str = "what was to be read there is not whole; give it room, or write elsewhere";

/// How errors are told.
struct Told {
    /// As documents, and whether of one line.
    json: bool,
    lines: bool,
    /// What was to be done.
    command: Option<String>,
}

impl Told {
    /// Prints the error: its one line on standard error, or its document. A reader that
    /// went away (`bmnic list | head -1`) is not an error.
    fn fail(&self, error: &anyhow::Error) -> ExitCode {
        let reader_left = error.chain().any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
                || cause.downcast_ref::<Error>().is_some_and(Error::reader_left)
        });
        if reader_left {
            return ExitCode::from(exit::DONE);
        }
        // All that is no error of the crate's came of the output.
        let output = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        let output = output.map(|number| Error::from(io::Error::from_raw_os_error(number)).hint(UNREAD));
        let known = output.as_ref().or_else(|| error.downcast_ref::<Error>());
        let (kind, code) = match (known, error.downcast_ref()) {
            (Some(error), _) => (error.kind().name(), exit::code(error.kind())),
            (None, Some(Interrupted(signal))) => ("interrupted", exit::signal(*signal)),
            (None, None) => ("internal", exit::FAILURE),
        };
        let message = output.as_ref().map_or_else(|| format!("{error:#}"), Error::to_string);
        let remedy = known.and_then(Error::remedy).map(remedy::words);
        if self.json {
            let document = json!({
                "schema": output::SCHEMA,
                "command": self.command,
                "error": { "kind": kind, "message": message, "remedy": remedy },
                "exit": code,
            });
            output::error(&document, self.lines);
        } else {
            let remedy = remedy.map_or(String::new(), |words| format!("; {words}"));
            output::complain("bmnic:", Tone::Bad, format_args!("{message}{remedy}"));
        }
        ExitCode::from(code)
    }
}
