//! `--trace`: what passes between bmnic and a card, written to a file.

use super::Command;
use crate::driver;
use crate::emu::wire::{self, WireSpec};
use crate::emu::{self, replay};
use crate::error::{Error, Kind, Result};
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

/// The function, traced if that is asked for; it is the one of this number.
///
/// # Errors
/// If its file cannot be written.
pub fn traced(path: Option<&Path>, nth: usize, function: Arc<dyn Function>) -> Result<Arc<dyn Function>> {
    let Some(path) = path else { return Ok(function) };
    let config: Vec<u8> = (0..256).map_while(|at| function.config_read(at, 1).ok()).map(|byte| byte as u8).collect();
    let names = match model(function.id()) {
        Some(info) => replay::names(info, &config)?,
        None => Box::new(|_, _| None),
    };
    pci::trace::trace(function, &file(path, nth), names)
}

/// The emulated card that is most like a real one.
pub fn model(id: Id) -> Option<&'static emu::ModelInfo> {
    let same = |model: &&emu::ModelInfo| (model.profile.id.vendor, model.profile.id.device) == (id.vendor, id.device);
    emu::models().find(same).or_else(|| {
        let family = driver::driver_for(id)?;
        emu::models().find(|model| driver::driver_for(model.profile.id) == Some(family))
    })
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
        | Command::Check(_) => true,
        Command::Emulate(args) => args.serves(),
        Command::Bind(_)
        | Command::Hugepages(_)
        | Command::CompareDpdk(_)
        | Command::List(_)
        | Command::Completions(_) => false,
    };
    if opens {
        return Ok(());
    }
    let text = "--trace writes what passes between bmnic and a card, and this command has nothing to do with one; \
                give it to one that has, such as pktgen";
    Err(Error::new(Kind::Usage, text))
}
