//! `--restore-on-exit`: cards that are the kernel's again when the command has ended.
//!
//! ```text
//!   session   take        bound to vfio-pci as `bmnic bind` does it, journalled first
//!   command   runs        to its end, to an error, to Ctrl-C, to a panic
//!   main      give back   restored as `bmnic bind --restore` does it
//! ```
//!
//! The list of them is the context's, which outlives every session: when cards go back, this
//! program has none of them open. If it is killed, the journals stay, and `bmnic bind --restore`
//! does it.

use super::bind::{line, named};
use super::cards::Card;
use super::color::Tone;
use super::output::{Output, complain};
use super::{Command, Context, Outcome};
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::Address;
use crate::pci::bind::{self, Report, Request};
use crate::pci::discover;
use crate::pci::guard::{self, Machine};
use crate::pci::journal;
use crate::pci::kernel::Running;
use crate::sys::Roots;
use std::fs::File;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The cards that are to be given back.
#[derive(Debug, Default)]
pub struct Loans(Mutex<Vec<Address>>);

/// How long another bmnic may change the machine meanwhile: several may end at once.
const PATIENCE: Duration = Duration::from_secs(10);

impl Loans {
    /// Takes those of `cards` that a driver of the kernel has, and gives all of them back in
    /// the end; nothing without `--restore-on-exit`.
    ///
    /// # Errors
    /// [`Kind::Usage`] if none of them is a card of this machine, otherwise as binding; no
    /// card has changed hands then.
    pub fn take(&self, context: &Context, cards: &[Card]) -> anyhow::Result<()> {
        if !context.global.restore_on_exit {
            return Ok(());
        }
        let address = |card: &Card| if let Card::Pci(address) = card { Some(*address) } else { None };
        let addresses: Vec<Address> = cards.iter().filter_map(address).collect();
        if addresses.is_empty() {
            let text = "--restore-on-exit gives a card back to the kernel, and none of this machine's is used; \
                        name one (0000:03:00.0), or leave the option out";
            return Err(Error::new(Kind::Usage, text).into());
        }
        let (roots, output) = (&context.roots, Output::new(&context.global));
        let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let is_kernels = |driver: &Option<String>| !driver.as_deref().is_some_and(guard::is_user_space);
        let look = || -> anyhow::Result<Vec<bind::Plan>> {
            let mut devices = named(roots, &names)?;
            devices.retain(|device| is_kernels(&device.driver));
            let ssh = std::env::var("SSH_CONNECTION").ok();
            let request = Request { driver: Some("vfio-pci".into()), ..Request::default() };
            Ok(bind::plan(roots, &Machine::read(roots, ssh.as_deref()), &devices, &request)?)
        };
        let wanted = !look()?.is_empty();
        let _lock = wanted.then(|| lock(roots)).transpose()?;
        let plans = if wanted { look()? } else { Vec::new() };
        // From here on, whatever happens.
        *self.list() = addresses;
        let (reports, result) = bind::execute(&Running::new(roots), roots, &plans);
        for report in &reports {
            let back = if result.is_ok() { "; it goes back when this ends" } else { "" };
            tell(&output, format!("{}{back}", line(report)));
        }
        Ok(result?)
    }

    /// Runs a command, and gives the cards back that it took, however it ends.
    ///
    /// # Errors
    /// Its own; or what giving back met.
    pub fn until(context: &Context, run: impl FnOnce() -> anyhow::Result<Outcome>) -> anyhow::Result<Outcome> {
        let ended = catch_unwind(AssertUnwindSafe(run));
        let back = context.loans.give_back(context);
        match (ended, back) {
            (Ok(Ok(outcome)), back) => Ok(back.map(|()| outcome)?),
            (ended, back) => {
                if let Err(error) = back {
                    complain("bmnic: warning:", Tone::Warning, super::remedy::line(&error));
                }
                ended.unwrap_or_else(|panic| resume_unwind(panic))
            }
        }
    }

    fn give_back(&self, context: &Context) -> Result<()> {
        let addresses = mem::take(&mut *self.list());
        if addresses.is_empty() {
            return Ok(());
        }
        let (roots, output) = (&context.roots, Output::new(&context.global));
        let hint = |error: Error, address: Address| error.with_remedy(Remedy::Restore(address.to_string()));
        let _lock = lock(roots).map_err(|error| hint(error, addresses[0]))?;
        let mut failed = Ok(());
        for address in addresses {
            match bind::restore(&Running::new(roots), roots, address, false) {
                Ok(report) => tell_restored(&output, &report),
                Err(error) if failed.is_ok() => failed = Err(hint(error, address)),
                Err(error) => output.warn(super::remedy::line(&error)),
            }
        }
        failed
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Address>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names, of which those of interfaces stand for their cards, which are taken from the kernel.
pub fn cards(context: &Context, names: &[String]) -> Vec<String> {
    let address = |name: &String| match discover::find(&context.roots, name) {
        Ok(device) if context.global.restore_on_exit => device.address.to_string(),
        _ => name.clone(),
    };
    names.iter().map(address).collect()
}

/// The right to change the machine, for which another bmnic may have to be waited.
fn lock(roots: &Roots) -> Result<File> {
    let end = Instant::now() + PATIENCE;
    loop {
        match journal::lock(roots) {
            Err(error) if error.kind() == Kind::Io && Instant::now() < end => thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}

/// A line on standard error: standard output may be the captured packets.
fn tell(output: &Output, text: String) {
    if !output.is_quiet() {
        output.now(text);
    }
}

fn tell_restored(output: &Output, report: &Report) {
    tell(output, line(report));
    if !report.commands.is_empty() {
        let commands = report.commands.join("; ");
        tell(output, format!("  these give its interface back what it had: {commands}"));
    }
}

/// `--restore-on-exit` as a command has it that takes no card: it is in no help.
pub fn out_of_place() -> clap::Arg {
    let help = "Of no use here: this command takes no card from the kernel";
    let switch = clap::ArgAction::SetTrue;
    clap::Arg::new("restore_on_exit").long("restore-on-exit").action(switch).global(true).hide(true).help(help)
}

/// Refuses `--restore-on-exit` of a command that takes no card.
///
/// # Errors
/// [`Kind::Usage`].
pub fn check(command: &Command) -> Result<()> {
    match command {
        Command::Fwd(_)
        | Command::Pktgen(_)
        | Command::Capture(_)
        | Command::Latency(_)
        | Command::Throughput(_)
        | Command::Check(_) => Ok(()),
        _ => {
            let text = "--restore-on-exit gives back a card that a command took for itself, and this one takes none; \
                        `bmnic bind --restore` gives back what `bmnic bind` took";
            Err(Error::new(Kind::Usage, text))
        }
    }
}
