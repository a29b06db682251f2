//! What a card is to be bound to at each boot: driverctl's files.
//!
//! `/etc/driverctl.d/pci-0000:03:00.0` holds the name of a driver. driverctl's udev rule
//! starts the unit `driverctl@pci-0000:03:00.0` for a card that has such a file, before its
//! kernel driver would take it (driverctl(8)). Where driverctl is not installed nothing
//! reads them.

use super::Address;
use super::discover::{self, Device};
use super::journal::handed_over;
use super::kernel::Kernel;
use crate::error::{Error, Kind, Result};
use crate::sys::Roots;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file of the card at `address`.
pub fn path(roots: &Roots, address: Address) -> PathBuf {
    roots.etc.join("driverctl.d").join(format!("pci-{address}"))
}

/// The driver that the card is to have at each boot, if there is a file.
pub fn driver(roots: &Roots, address: Address) -> Option<String> {
    discover::text(&path(roots, address))
}

/// Whether a card may be given `driver` at each boot: nobody else asked for another one.
///
/// # Errors
/// [`Kind::Refused`] if somebody did.
pub fn check(roots: &Roots, address: Address, wanted: &str) -> Result<()> {
    match driver(roots, address).filter(|there| there != wanted) {
        None => Ok(()),
        Some(there) => Err(Error::new(
            Kind::Refused,
            format!(
                "{} gives {address} to {there} at each boot, and somebody asked for that; `driverctl unset-override {address}` takes it back; nothing changed",
                path(roots, address).display()
            ),
        )),
    }
}

/// Has the card given to `driver` at each boot. The file is written whole or not at all.
///
/// # Errors
/// What the system says of it.
pub fn save(kernel: &dyn Kernel, roots: &Roots, address: Address, driver: &str) -> Result<()> {
    let path = path(roots, address);
    let directory = path.parent().unwrap_or(Path::new("/"));
    // No unit has this name: no card is called so.
    let temporary = directory.join(format!("new-{address}"));
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        kernel.create(&temporary, &format!("{driver}\n"))?;
        kernel.rename(&temporary, &path)
    };
    write().map_err(|e| {
        // Best effort: nothing reads it.
        let _ = kernel.remove(&temporary);
        Error::io(format!("writing {}", path.display()), e)
            .hint("the card is bound, and is not after the next boot; `bmnic bind --persist` tries again")
    })
}

/// Cards that have a file which bmnic may remove, by address.
pub fn addresses(roots: &Roots) -> Vec<Address> {
    let files = discover::entries(&roots.etc.join("driverctl.d"));
    let address = |name: &String| name.strip_prefix("pci-")?.parse().ok();
    let mut addresses: Vec<Address> =
        files.iter().filter_map(address).filter(|&address| removable(roots, address).is_ok()).collect();
    addresses.sort_unstable();
    addresses
}

/// The file that [`forget`] removes, if there is one. Files bear no mark: those with vfio-pci
/// pass for ours, and those with the driver that bmnic has given the card to in this boot.
///
/// # Errors
/// [`Kind::Refused`] if it is somebody else's.
pub fn removable(roots: &Roots, address: Address) -> Result<Option<PathBuf>> {
    let path = path(roots, address);
    let Some(there) = driver(roots, address) else { return Ok(None) };
    let given = |device: Device| device.driver.as_ref() == Some(&there) && handed_over(roots, &device).unwrap_or(false);
    if there == "vfio-pci" || Device::read(roots, address).is_some_and(given) {
        return Ok(Some(path));
    }
    Err(Error::new(
        Kind::Refused,
        format!(
            "{} gives {address} to {there} at each boot, and may be somebody else's; `driverctl unset-override {address}` takes it back; the file was left",
            path.display()
        ),
    ))
}

/// Has the card left to its kernel driver at each boot; false if nothing was asked for.
///
/// # Errors
/// As [`removable`], and what the system says of it.
pub fn forget(kernel: &dyn Kernel, roots: &Roots, address: Address) -> Result<bool> {
    let Some(path) = removable(roots, address)? else { return Ok(false) };
    kernel.remove(&path).map_err(|e| Error::io(format!("removing {}", path.display()), e))?;
    Ok(true)
}

/// The command that ends what [`save`] began, at any time.
pub fn undo(address: Address, driver: &str) -> String {
    match driver {
        "vfio-pci" => format!("bmnic bind --restore --persist {address}"),
        _ => format!("driverctl unset-override {address}"),
    }
}

/// Whether driverctl's unit is there to read the files. It is where systemd looks, or it is
/// of no use.
pub fn is_read(roots: &Roots) -> bool {
    const UNIT: &str = "driverctl@.service";
    let places = [roots.etc.join("systemd/system"), "/usr/lib/systemd/system".into(), "/lib/systemd/system".into()];
    places.iter().any(|place| place.join(UNIT).exists())
}
