//! Setting a machine up for packets, and putting it back.
//!
//! ```text
//!   plan     what is not as it should be and can be set now   -> files and cards, to be printed
//!   apply    journal, then file by file, then the cards
//!                any step fails: each file as it was before this run     -> rolled back
//!   undo     files, then cards, each as the journal says; then drop it
//! ```
//!
//! A file that somebody changed since is left alone: it is no longer bmnic's. What takes a
//! boot is words for the kernel's command line, which are printed and written nowhere.

mod journal;

pub use journal::path as journal_path;

use super::cpus::Cpus;
use super::processors;
use super::settings::{self, Setting};
use crate::dma::hugepages;
use crate::error::{Error, Kind, Result};
use crate::pci::Address;
use crate::pci::bind::{self, Report, State};
use crate::pci::journal as cards_journal;
use crate::pci::kernel::Kernel;
use crate::sys::Roots;
use journal::{Entry, Journal};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Processors to be left alone.
    pub quiet: Cpus,
    /// Bytes of free huge pages, and the node they are to be on.
    pub memory: u64,
    /// See [`Wish::memory`].
    pub node: Option<u16>,
    /// One speed for all processors.
    pub no_turbo: bool,
}

/// What would be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Files to write.
    pub settings: Vec<Setting>,
    /// Cards to hand over.
    pub cards: Vec<bind::Plan>,
    /// Words for the kernel's command line.
    pub command_line: Vec<String>,
    /// What undoes it while it stands.
    pub warnings: Vec<String>,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Files that were written.
    pub written: usize,
    /// Files that the kernel keeps as they are: interrupts that it does not move.
    pub kept: usize,
    /// The cards.
    pub cards: Vec<Report>,
}

/// What was put back.
#[derive(Clone, Debug, Default)]
pub struct Undone {
    /// Files that are as they were.
    pub restored: usize,
    /// Files that somebody changed since; they stay so.
    pub left: Vec<Left>,
    /// Huge pages that are in use and stay until they are not.
    pub in_use: u64,
    /// The cards.
    pub cards: Vec<Report>,
}

/// A file that somebody else changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub now: String,
    /// What was before bmnic.
    pub was: String,
}

/// Finds what is to be set; changes nothing.
///
/// # Errors
/// As [`settings::pages`].
pub fn plan(roots: &Roots, wish: &Wish, cards: Vec<bind::Plan>) -> Result<Plan> {
    let mut settings = settings::all(roots, &wish.quiet, wish.no_turbo);
    if wish.memory > 0 {
        settings.extend(settings::pages(roots, wish.memory, wish.node)?);
    }
    let mut warnings = Vec::new();
    if let Some(pid) = processors::irqbalance(roots)
        && settings.iter().any(|setting| setting.check == "interrupts")
    {
        warnings.push(format!("irqbalance (process {pid}) moves interrupts back: sudo systemctl stop irqbalance"));
    }
    let command_line = processors::command_line(roots, &wish.quiet);
    Ok(Plan { settings, cards, command_line, warnings })
}

impl Plan {
    /// Whether there is nothing to do now.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.cards.iter().all(|card| card.steps.is_empty())
    }
}

/// Does what a plan says. If a step fails, everything that this run did is undone.
/// To be called with [`cards_journal::lock`] held.
///
/// # Errors
/// As the step that failed.
pub fn apply(kernel: &dyn Kernel, roots: &Roots, plan: &Plan) -> Result<Applied> {
    permitted(plan)?;
    let before = Journal::load(roots)?;
    // A card that bmnic had taken before stays its own.
    let fresh: Vec<Address> = plan
        .cards
        .iter()
        .filter(|card| card.earlier.is_none() && !card.steps.is_empty())
        .map(|card| card.device.address)
        .collect();
    before.with(roots, &plan.settings, &fresh).save(kernel, roots)?;
    let mut applied = Applied::default();
    for setting in &plan.settings {
        match set(kernel, roots, setting) {
            Ok(()) => applied.written += 1,
            Err(_) if setting.may_refuse => applied.kept += 1,
            Err(error) => return Err(roll_back(kernel, &before, roots, plan, false, error)),
        }
    }
    let (reports, bound) = bind::execute(kernel, roots, &plan.cards);
    let stuck = reports.iter().any(|report| report.state == State::Stuck);
    applied.cards = reports;
    match bound {
        Ok(()) => Ok(applied),
        Err(error) => Err(roll_back(kernel, &before, roots, plan, stuck, error)),
    }
}

/// Writes one file and reads it again.
fn set(kernel: &dyn Kernel, roots: &Roots, setting: &Setting) -> Result<()> {
    let Setting { path, to, .. } = setting;
    let write = || kernel.write(path, to).map_err(|e| Error::io(format!("writing '{to}' to {}", path.display()), e));
    write()?;
    if is(path, to) {
        return Ok(());
    }
    if is_pool(path) {
        // Pages may be there but scattered. Whether that helps is seen by the result.
        let _ = kernel.write(&roots.proc.join("sys/vm/compact_memory"), "1");
        write()?;
        if is(path, to) {
            return Ok(());
        }
    }
    let has = settings::read(path).unwrap_or_default();
    let error = Error::new(Kind::Limit, format!("{} is '{has}' after '{to}' was written to it", path.display()));
    Err(if is_pool(path) {
        error.hint("memory is full or scattered: ask for fewer huge pages, or boot with them")
    } else {
        error
    })
}

/// Makes each file what it was before this run, and the journal too; with a card that is
/// `stuck` the journal stays, as what is to be undone.
fn roll_back(
    kernel: &dyn Kernel,
    before: &Journal,
    roots: &Roots,
    plan: &Plan,
    mut stuck: bool,
    error: Error,
) -> Error {
    for setting in plan.settings.iter().rev().filter(|setting| !is(&setting.path, &setting.was)) {
        stuck |= kernel.write(&setting.path, &setting.was).is_err() || !is(&setting.path, &setting.was);
    }
    if stuck || before.save(kernel, roots).is_err() {
        return error.hint("not all of it could be put back; `bmnic tune --undo` tries again");
    }
    error.hint("everything was put back")
}

/// Whether there is anything to undo.
///
/// # Errors
/// If the journal makes no sense.
pub fn is_applied(roots: &Roots) -> Result<bool> {
    Ok(!Journal::load(roots)?.is_empty())
}

/// Puts everything back; what cannot be now stays in the journal, for the next time.
/// To be called with [`cards_journal::lock`] held.
///
/// # Errors
/// As the first step that failed; the others were made.
pub fn undo(kernel: &dyn Kernel, roots: &Roots) -> Result<Undone> {
    let journal = Journal::load(roots)?;
    let mut rest = Journal { entries: Vec::new(), cards: Vec::new(), boot: journal.boot.clone() };
    let (mut undone, mut failed) = (Undone::default(), None);
    for entry in journal.entries.iter().rev() {
        match put_back(kernel, roots, entry, &mut undone) {
            Ok(None) => {}
            Ok(Some(left)) => rest.entries.push(left),
            Err(error) => {
                rest.entries.push(entry.clone());
                failed.get_or_insert(error);
            }
        }
    }
    // Last: interrupts that a driver asks for anew go where the default says, which is back.
    for address in &journal.cards {
        match bind::restore(kernel, roots, *address, false) {
            Ok(report) => undone.cards.push(report),
            Err(error) => {
                rest.cards.push(*address);
                failed.get_or_insert(error);
            }
        }
    }
    rest.entries.reverse();
    rest.save(kernel, roots)?;
    match failed {
        None => Ok(undone),
        Some(error) => Err(error.hint("the rest was put back, and `bmnic tune --undo` tries this again")),
    }
}

/// Puts one file back; what is to be done later, if not all can be done now.
fn put_back(kernel: &dyn Kernel, roots: &Roots, entry: &Entry, undone: &mut Undone) -> Result<Option<Entry>> {
    let Entry { path, was, to } = entry;
    let now = match settings::read(path) {
        Some(now) => now,
        // A processor that was switched off, an interrupt that is gone.
        None if !path.exists() => return Ok(None),
        None => return Err(Error::new(Kind::Io, format!("{} cannot be read at this moment", path.display()))),
    };
    if settings::same(path, &now, was) {
        undone.restored += 1;
        return Ok(None);
    }
    let pool = is_pool(path);
    // Of a pool some pages may have gone back already.
    let between = |to: &String| pool && number(&now) > number(was) && number(&now) < number(to);
    if !to.iter().any(|to| settings::same(path, &now, to) || between(to)) {
        undone.left.push(Left { path: path.clone(), now, was: was.clone() });
        return Ok(None);
    }
    let used = if pool { pages_in_use(roots, path) } else { 0 };
    let kept = if pool { used.saturating_sub(number(was)) } else { 0 };
    let target = if kept > 0 { used.to_string() } else { was.clone() };
    kernel.write(path, &target).map_err(|e| Error::io(format!("writing '{target}' to {}", path.display()), e))?;
    // Pages may have been taken since they were counted: they are surplus now, and counted yet.
    let kept = if pool { settings::read(path).map_or(kept, |now| number(&now).saturating_sub(number(was))) } else { 0 };
    if kept > 0 {
        undone.in_use += kept;
        return Ok(Some(entry.clone()));
    }
    undone.restored += 1;
    Ok(None)
}

/// A count of pages.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// Whether a file says `text`.
fn is(path: &Path, text: &str) -> bool {
    settings::read(path).is_some_and(|now| settings::same(path, &now, text))
}

fn is_pool(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "nr_hugepages")
}

/// Pages of a pool that are in a mapping or promised to one: taken away they would become
/// surplus, which leaves the pool when their process ends. A promise is made for the machine:
/// any node may have to keep it.
fn pages_in_use(roots: &Roots, pool: &Path) -> u64 {
    let count = |file: &str| number(&fs::read_to_string(pool.with_file_name(file)).unwrap_or_default());
    let name = pool.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let reserved = name.and_then(hugepages::page_of).map_or(0, |page| hugepages::reserved(roots, page));
    let free = count("free_hugepages").saturating_sub(reserved);
    count("nr_hugepages").saturating_sub(free)
}

/// Says early, before the journal, that this user may not do it, or that a file cannot be
/// written at all.
fn permitted(plan: &Plan) -> Result<()> {
    for setting in plan.settings.iter().filter(|setting| !setting.may_refuse) {
        // Opening changes nothing; only a write does.
        OpenOptions::new().write(true).open(&setting.path).map_err(|e| {
            let error = Error::io(format!("opening {}", setting.path.display()), e);
            match error.kind() {
                Kind::Permission => error.hint(cards_journal::NEEDS_ROOT),
                _ => error.hint("nothing changed"),
            }
        })?;
    }
    Ok(())
}
