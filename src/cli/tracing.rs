//! `--trace`: what passes between bmnic and a card, written to a file.

use super::Command;
use crate::driver;
use crate::emu::wire::{self, WireSpec};
use crate::emu::{self, replay};
use crate::error::{Error, Kind, Result};
use crate::pci::trace::Trace;
use crate::pci::{self, Function, Id};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of the card of this number, counted from 0: each has one of its own.
pub fn file(path: &Path, nth: usize) -> PathBuf {
    if nth == 0 {
        return path.into();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", nth + 1));
    name.into()
}

/// Refuses to write the trace of any of `cards` cards where another file is written or played:
/// one of `writes`, or one of the wires.
///
/// # Errors
/// As [`wire::check_files`].
pub fn check_files<'a>(
    path: Option<&Path>,
    cards: usize,
    wires: impl IntoIterator<Item = &'a WireSpec>,
    writes: &[&Path],
) -> Result<()> {
    let traces: Vec<PathBuf> = path.iter().flat_map(|path| (0..cards).map(|n| file(path, n))).collect();
    wire::check_files(wires, &writes.iter().copied().chain(traces.iter().map(PathBuf::as_path)).collect::<Vec<_>>())
}

/// A function, and its trace if it has one.
pub type Traced = (Arc<dyn Function>, Option<Arc<Trace>>);

/// The function, traced if that is asked for; it is the one of this number.
///
/// # Errors
/// If its file cannot be written.
pub fn traced(path: Option<&Path>, nth: usize, function: Arc<dyn Function>) -> Result<Arc<dyn Function>> {
    Ok(begin(path, nth, function)?.0)
}

/// As [`traced`], with the trace if there is one: it can go on when the function is opened again.
///
/// # Errors
/// If its file cannot be written.
pub fn begin(path: Option<&Path>, nth: usize, function: Arc<dyn Function>) -> Result<Traced> {
    let Some(path) = path else { return Ok((function, None)) };
    let config: Vec<u8> = (0..256).map_while(|at| function.config_read(at, 1).ok()).map(|byte| byte as u8).collect();
    let names = match model(function.id()) {
        Some(info) => replay::names(info, &config)?,
        None => Box::new(|_, _| None),
    };
    let (function, trace) = pci::trace::begin(function, &file(path, nth), names)?;
    Ok((function, Some(trace)))
}

/// The emulated card that is most like a real one.
pub fn model(id: Id) -> Option<&'static emu::ModelInfo> {
    let same = |model: &&emu::ModelInfo| (model.profile.id.vendor, model.profile.id.device) == (id.vendor, id.device);
    emu::models().find(same).or_else(|| {
        let family = driver::driver_for(id)?;
        emu::models().find(|model| driver::driver_for(model.profile.id) == Some(family))
    })
}

/// `--trace` as a command has it that opens no card: it is in no help, and [`check`] says why.
pub fn out_of_place() -> clap::Arg {
    let (file, help) = (clap::value_parser!(PathBuf), "Of no use here: this command opens no card");
    clap::Arg::new("trace").long("trace").value_name("FILE").value_parser(file).global(true).hide(true).help(help)
}

/// Refuses `--trace` of a command that opens no card.
///
/// # Errors
/// [`Kind::Usage`].
pub fn check(command: &Command) -> Result<()> {
    let opens = match command {
        Command::Fwd(_)
        | Command::Pktgen(_)
        | Command::Capture(_)
        | Command::Latency(_)
        | Command::Throughput(_)
        | Command::Demo(_)
        | Command::Check(_) => true,
        Command::Emulate(args) => args.serves(),
        Command::Bind(_)
        | Command::Doctor(_)
        | Command::Tune(_)
        | Command::Hugepages(_)
        | Command::CompareDpdk(_)
        | Command::Ctl(_)
        | Command::List(_)
        | Command::Man(_)
        | Command::Completions(_) => false,
    };
    if opens {
        return Ok(());
    }
    let text = "--trace writes what passes between bmnic and a card, and this command has nothing to do with one; \
                give it to one that has, such as pktgen";
    Err(Error::new(Kind::Usage, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_commands_that_refuse_it_do_not_offer_it() {
        let mut definition = Cli::command();
        definition.build();
        let mut seen = 0;
        for words in [
            &["bind", "03:00.0"][..],
            &["doctor"],
            &["tune"],
            &["hugepages"],
            &["fwd"],
            &["pktgen"],
            &["capture", "frames.pcap"],
            &["ctl", "name", "status"],
            &["latency"],
            &["throughput"],
            &["demo"],
            &["compare-dpdk"],
            &["check"],
            &["list"],
            &["emulate", "82599", "--vfio-user", "socket"],
            &["man", "fwd"],
            &["completions", "bash"],
        ] {
            let cli = Cli::try_parse_from([&["bmnic"], words, &["--trace", "file"]].concat()).unwrap();
            assert_eq!(cli.global.trace.as_deref(), Some(Path::new("file")), "{words:?}");
            let command = definition.find_subcommand(words[0]).unwrap();
            let trace = command.get_arguments().find(|arg| arg.get_id() == "trace").unwrap();
            assert_eq!(trace.is_hide_set(), check(&cli.command).is_err(), "{words:?}");
            seen += 1;
        }
        assert_eq!(seen, definition.get_subcommands().filter(|command| command.get_name() != "help").count());
    }
}
