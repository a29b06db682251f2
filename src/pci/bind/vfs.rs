//! Virtual functions: how many a card has, and the steps to another number.
//!
//! ```text
//!   sriov_numvfs    4 -> 0 -> 8: from one number to another it goes by way of none (EBUSY)
//!   sriov_totalvfs  more are refused (ERANGE)
//!   driver          makes them and takes them away; one that cannot is ENOENT
//! ```
//!
//! So it is in Linux, `sriov_numvfs_store` of drivers/pci/iov.c. A driver may also make fewer
//! than asked, which the write does not tell: the number is read again. Whether a driver then takes
//! the new functions is `sriov_drivers_autoprobe`, which is left as it is.

use super::checks::refused;
use super::{Plan, Step};
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::discover::{self, Device};
use crate::pci::guard::{self, Machine};
use crate::pci::kernel::Kernel;
use crate::pci::{Address, journal};
use crate::sys::Roots;
use std::io;
use std::path::{Path, PathBuf};

/// The virtual functions of a physical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sriov {
    /// How many there are.
    pub now: u16,
    /// How many there can be.
    pub total: u16,
}

impl Sriov {
    /// What sysfs says of the function at `address`; none if it cannot have any.
    pub fn read(roots: &Roots, address: Address) -> Option<Sriov> {
        let directory = discover::directory(roots, address);
        let number = |file: &str| discover::text(&directory.join(file))?.parse().ok();
        Some(Sriov { now: number("sriov_numvfs")?, total: number("sriov_totalvfs")? })
    }
}

/// The virtual functions of a card whose number was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vfs {
    /// How many it had.
    pub before: u16,
    /// Those that it has.
    pub now: Vec<Address>,
}

impl Vfs {
    /// Those of the card at `address`, if there was a number of them `before` that matters.
    pub(super) fn since(roots: &Roots, address: Address, before: Option<u16>) -> Option<Vfs> {
        let now = Device::read(roots, address).map(|device| device.virtual_functions).unwrap_or_default();
        before.map(|before| Vfs { before, now })
    }
}

fn attribute(roots: &Roots, address: Address) -> PathBuf {
    discover::directory(roots, address).join("sriov_numvfs")
}

/// Plans that `device` has `wanted` virtual functions.
pub(super) fn plan(roots: &Roots, machine: &Machine, device: &Device, wanted: u16, force: bool) -> Result<Plan> {
    let address = device.address;
    let mut plan = Plan::begin(roots, machine, device, device.driver.clone())?;
    let unsupported = |text: String| Err(Error::new(Kind::Unsupported, format!("{address}: {text}; nothing changed")));
    let Some(Sriov { now, total }) = Sriov::read(roots, address) else {
        return unsupported(match device.physical_function {
            Some(physical) => format!("it is itself a virtual function; name {physical}, whose it is"),
            None => "it has no SR-IOV, or that is off in the card's or the machine's firmware".into(),
        });
    };
    if wanted > total {
        let most = if total == 0 { "none".into() } else { format!("{total} at most") };
        return unsupported(format!(
            "it can have {most} (sriov_totalvfs), and {wanted} virtual functions were asked for"
        ));
    }
    plan.vfs = Some(now);
    if wanted == now {
        return Ok(plan);
    }
    if device.driver.is_none() {
        return unsupported(
            "no driver has it, and it is its driver that makes virtual functions; bind one first".into(),
        );
    }
    if !force {
        check_free(roots, machine, device)?;
    }
    let remembers = plan.journal.vfs.is_none();
    let had = *plan.journal.vfs.get_or_insert(now);
    plan.steps = around(roots, device, device.driver.as_deref(), Some(wanted), Vec::new());
    let path = journal::path(roots, address);
    let home = plan.journal.driver == device.driver && plan.journal.driver_override == device.driver_override;
    if wanted == had && home {
        plan.steps.push(Step::Forget(path));
    } else if plan.earlier.is_none() || remembers {
        plan.steps.insert(0, Step::Save(path));
    }
    Ok(plan)
}

/// Refuses to take virtual functions away that are in use.
pub(super) fn check_free(roots: &Roots, machine: &Machine, device: &Device) -> Result<()> {
    for function in device.virtual_functions.iter().filter_map(|address| Device::read(roots, *address)) {
        let mut uses = guard::holders(roots, &function);
        uses.extend(machine.uses(&function));
        if let Some(first) = uses.first() {
            let address = function.address;
            let text =
                format!("{}: its virtual function {address} is in use: {first}; nothing changed", device.address);
            return Err(refused(text).with_remedy(Remedy::Force));
        }
    }
    Ok(())
}

/// The steps `moves`, which bring `device` to the driver `target`, and those before and
/// behind them after which it has `wanted` virtual functions. None: they are left as they are.
pub(super) fn around(
    roots: &Roots,
    device: &Device,
    target: Option<&str>,
    wanted: Option<u16>,
    moves: Vec<Step>,
) -> Vec<Step> {
    let (Some(wanted), Some(Sriov { now, .. })) = (wanted, Sriov::read(roots, device.address)) else { return moves };
    // A driver that leaves takes them along.
    if now == wanted && device.driver.as_deref() == target {
        return moves;
    }
    let path = attribute(roots, device.address);
    let set = |number: u16| [Step::Write(path.clone(), number.to_string()), Step::Count(path.clone(), number)];
    let mut steps = Vec::new();
    if now > 0 && device.driver.is_some() {
        steps.extend(set(0));
        // What was to be restored of them is gone with them.
        let journals = device.virtual_functions.iter().map(|address| journal::path(roots, *address));
        steps.extend(journals.filter(|path| path.exists()).map(Step::Forget));
    }
    steps.extend(moves);
    if wanted > 0 && target.is_some() {
        steps.extend(set(wanted));
    }
    steps
}

/// Sees that there are `wanted` virtual functions.
pub(super) fn count(kernel: &dyn Kernel, address: Address, path: &Path, wanted: u16) -> Result<()> {
    let has = || discover::text(path).and_then(|text| text.parse::<u16>().ok());
    let there = || path.parent().map_or(0, |card| discover::virtual_functions(card).len());
    if kernel.settled(&mut || has() == Some(wanted) && there() == usize::from(wanted)) {
        return Ok(());
    }
    let made = has().map_or("an unknown number".into(), |made| made.to_string());
    let text =
        format!("{address}: its driver made {made} of {wanted} virtual functions; the kernel's log (dmesg) says why");
    Err(Error::new(Kind::Io, text))
}

/// Why a write to `sriov_numvfs` failed, where more can be said than the error.
pub(super) fn explain(roots: &Roots, address: Address, path: &Path, error: &io::Error) -> Option<String> {
    if path != attribute(roots, address) {
        return None;
    }
    let driver = discover::link_name(&path.with_file_name("driver")).unwrap_or_else(|| "no driver".into());
    Some(match error.raw_os_error() {
        Some(libc::ENOENT) => format!("{driver} cannot make virtual functions; the card's kernel driver can"),
        _ => format!("{driver} refused; the kernel's log (dmesg) says why"),
    })
}
