//! The journal: what a card was before bmnic took it.
//!
//! One file a card, `/run/bmnic/0000:03:00.0.json`, written whole (temporary
//! file, sync, rename) before anything is changed and removed after everything
//! was put back. It says how things *were*, never how far a change has come: to
//! restore is to make the machine equal to the journal again, from any
//! state a killed process left it in. `/run` ends with the boot, and so does
//! what was bound; where it does not, the journal names the boot it is of.
//!
//! It also tells the cards that bmnic handed over from those that another program
//! did, for a virtual machine for example ([`handed_over`]).

use super::Address;
use super::bind::Sriov;
use super::discover::{self, Device};
use super::kernel::Kernel;
use super::network::Network;
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys::Roots;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a card was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Where it is.
    pub address: Address,
    /// Vendor and device: another card may sit there by now.
    pub id: (u16, u16),
    /// The driver that had it.
    pub driver: Option<String>,
    /// Its driver_override.
    pub driver_override: Option<String>,
    /// Names of its interfaces.
    pub interfaces: Vec<String>,
    /// `ip` commands that give the interfaces their addresses and routes back.
    pub commands: Vec<String>,
    /// VFIO's no-IOMMU switch as it was, if bmnic changes it.
    pub noiommu: Option<String>,
    /// How many virtual functions it had, if bmnic changes that.
    pub vfs: Option<u16>,
    /// The boot in which this was so, where the kernel tells boots apart.
    pub boot: Option<String>,
}

impl Journal {
    /// What `device` is now.
    pub fn of(roots: &Roots, device: &Device, network: &Network) -> Journal {
        let interfaces: Vec<String> = device.interfaces.iter().map(|i| i.name.clone()).collect();
        Journal {
            address: device.address,
            id: (device.id.vendor, device.id.device),
            driver: device.driver.clone(),
            driver_override: device.driver_override.clone(),
            commands: interfaces.iter().flat_map(|name| network.commands(name)).collect(),
            interfaces,
            noiommu: None,
            vfs: None,
            boot: boot(roots),
        }
    }

    /// Whether this is about the card that is there.
    pub fn is_about(&self, device: &Device) -> bool {
        self.address == device.address && self.id == (device.id.vendor, device.id.device)
    }

    /// Whether `device` is as it was: nothing is left to restore.
    pub fn is_fulfilled(&self, roots: &Roots, device: &Device) -> bool {
        self.driver == device.driver && self.driver_override == device.driver_override && self.has_vfs(roots, device)
    }

    /// Whether `device` has as many virtual functions as it had, or bmnic never changed that.
    pub(super) fn has_vfs(&self, roots: &Roots, device: &Device) -> bool {
        self.vfs.is_none_or(|had| Sriov::read(roots, device.address).is_some_and(|sriov| sriov.now == had))
    }

    /// Writes it, whole or not at all.
    pub fn save(&self, kernel: &dyn Kernel, roots: &Roots) -> Result<()> {
        write(kernel, &path(roots, self.address), &self.to_json())
    }

    /// The journal of the card at `address`, if there is one.
    pub fn load(roots: &Roots, address: Address) -> Result<Option<Journal>> {
        let path = path(roots, address);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| Error::io(format!("reading the journal {}", path.display()), e))?,
        };
        let parsed = serde_json::from_str(&text).ok().and_then(|value| Self::from_json(&value));
        parsed.filter(|journal| journal.address == address).map(Some).ok_or_else(|| {
            let text =
                format!("the journal {} makes no sense; remove it, then put {address} right by hand", path.display());
            Error::new(Kind::Io, text).with_remedy(Remedy::BindByHand(address.to_string()))
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "address": self.address.to_string(),
            "vendor": format!("{:04x}", self.id.0),
            "device": format!("{:04x}", self.id.1),
            "driver": self.driver,
            "driver_override": self.driver_override,
            "interfaces": self.interfaces,
            "commands": self.commands,
            "noiommu": self.noiommu,
            "vfs": self.vfs,
            "boot": self.boot,
        })
    }

    fn from_json(value: &Value) -> Option<Journal> {
        let hex = |name: &str| u16::from_str_radix(value[name].as_str()?, 16).ok();
        let text = |name: &str| match &value[name] {
            Value::Null => Some(None),
            value => Some(Some(value.as_str()?.to_string())),
        };
        let list = |name: &str| -> Option<Vec<String>> {
            value[name].as_array()?.iter().map(|item| item.as_str().map(str::to_string)).collect()
        };
        Some(Journal {
            address: value["address"].as_str()?.parse().ok()?,
            id: (hex("vendor")?, hex("device")?),
            driver: text("driver")?,
            driver_override: text("driver_override")?,
            interfaces: list("interfaces")?,
            commands: list("commands")?,
            noiommu: text("noiommu")?,
            vfs: match &value["vfs"] {
                Value::Null => None,
                number => Some(u16::try_from(number.as_u64()?).ok()?),
            },
            boot: text("boot")?,
        })
    }
}

/// Whether bmnic gave `device` the driver that it has: there is a journal of this
/// boot about it, and nobody has changed it since in a way that shows. A program that
/// binds a card with `driver_override`, as libvirt and driverctl do, leaves that set;
/// bmnic puts it back.
///
/// # Errors
/// If the journal cannot be read or makes no sense: then nobody knows.
pub fn handed_over(roots: &Roots, device: &Device) -> Result<bool> {
    let Some(journal) = Journal::load(roots, device.address)? else { return Ok(false) };
    Ok(journal.is_about(device)
        && journal.boot.is_some()
        && journal.boot == boot(roots)
        && journal.driver != device.driver
        && journal.driver_override == device.driver_override)
}

/// What tells this boot from all others.
pub(crate) fn boot(roots: &Roots) -> Option<String> {
    discover::text(&roots.proc.join("sys/kernel/random/boot_id"))
}

/// Writes the journal at `path`, whole or not at all.
pub(crate) fn write(kernel: &dyn Kernel, path: &Path, journal: &Value) -> Result<()> {
    let (temporary, text) = (temporary(path), format!("{journal:#}\n"));
    kernel.create(&temporary, &text).and_then(|()| kernel.rename(&temporary, path)).map_err(|e| {
        // Best effort: a temporary file alone means nothing to anyone.
        let _ = kernel.remove(&temporary);
        Error::io(format!("writing the journal {}", path.display()), e)
            .hint("without it nothing could be restored, so nothing was changed")
    })
}

/// Removes the journal of the card at `address`, and what a killed writer left.
pub fn forget(kernel: &dyn Kernel, roots: &Roots, address: Address) -> Result<()> {
    remove(kernel, &path(roots, address))
}

/// Removes the journal at `path`, and what a killed writer left.
pub(crate) fn remove(kernel: &dyn Kernel, path: &Path) -> Result<()> {
    let removed = kernel.remove(&temporary(path)).and_then(|()| kernel.remove(path));
    removed.map_err(|e| Error::io(format!("removing the journal {}", path.display()), e))
}

/// Every card that has a journal, by address.
pub fn addresses(roots: &Roots) -> Vec<Address> {
    let files = discover::entries(&directory(roots));
    let mut addresses: Vec<Address> =
        files.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
    addresses.sort_unstable();
    addresses
}

/// What to do where permission lacks.
pub(crate) const NEEDS_ROOT: &str = "changing this machine needs root: run it with sudo; nothing changed";

/// The file of the card at `address`.
pub fn path(roots: &Roots, address: Address) -> PathBuf {
    directory(roots).join(format!("{address}.json"))
}

/// Takes the right to change the machine: one process at a time. It ends with the
/// returned file, so a killed process does not keep it. The file is for its owner alone: who
/// may open a file may lock it, and keep root from undoing.
pub fn lock(roots: &Roots) -> Result<File> {
    let directory = directory(roots);
    make_readable(&directory)
        .map_err(|e| Error::io(format!("making the journal's directory {}", directory.display()), e))
        .map_err(|e| if e.kind() == Kind::Permission { e.hint(NEEDS_ROOT) } else { e })?;
    let path = directory.join("lock");
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let opened = how
        .open(&path)
        .map_err(|e| Error::io(format!("opening {}", path.display()), e))
        .map_err(|e| if e.kind() == Kind::Permission { e.hint(NEEDS_ROOT) } else { e })?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            Kind::Io,
            "another bmnic is changing this machine at this moment; try again when it has ended",
        )),
        Err(TryLockError::Error(e)) => Err(Error::io(format!("locking {}", path.display()), e)),
    }
}

/// Makes a directory that everyone can look into, whatever the umask: users who
/// were given a card look whether it was they.
fn make_readable(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o755))
}

/// Where journals are.
pub(crate) fn directory(roots: &Roots) -> PathBuf {
    roots.run.join("bmnic")
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::kernel::Running;

    fn journal() -> Journal {
        Journal {
            address: "0000:03:00.0".parse().unwrap(),
            id: (0x8086, 0x10fb),
            driver: Some("ixgbe".into()),
            interfaces: vec!["eth1".into()],
            commands: vec!["ip link set eth1 up".into()],
            boot: Some("6f3a".into()),
            vfs: Some(4),
            ..Journal::default()
        }
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let kernel = Running::new(&roots);
        let held = lock(&roots).unwrap();
        assert_eq!(lock(&roots).unwrap_err().kind(), Kind::Io, "one at a time");
        drop(held);
        assert_eq!(Journal::load(&roots, journal().address).unwrap(), None);
        journal().save(&kernel, &roots).unwrap();
        assert_eq!(Journal::load(&roots, journal().address).unwrap(), Some(journal()));
        assert_eq!(addresses(&roots), [journal().address]);
        forget(&kernel, &roots, journal().address).unwrap();
        forget(&kernel, &roots, journal().address).unwrap();
        assert_eq!(addresses(&roots), []);
    }

    #[test]
    fn who_may_read_the_journals_cannot_keep_others_from_locking() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        drop(lock(&roots).unwrap());
        let readable = File::open(directory(&roots)).unwrap();
        readable.try_lock().unwrap();
        let held = lock(&roots).unwrap();
        assert_eq!(held.metadata().unwrap().permissions().mode() & 0o077, 0);
    }

    #[test]
    fn a_torn_or_foreign_journal_is_an_error_that_names_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let _held = lock(&roots).unwrap();
        let whole = journal().to_json().to_string();
        let foreign = whole.replace("0000:03:00.0", "0000:04:00.0");
        for text in ["", "{", "null", &whole[..whole.len() - 1], &foreign, &whole.replace("8086", "zz")] {
            fs::write(path(&roots, journal().address), text).unwrap();
            let error = Journal::load(&roots, journal().address).unwrap_err();
            assert!(error.to_string().contains("0000:03:00.0.json"), "{text}: {error}");
        }
    }
}
