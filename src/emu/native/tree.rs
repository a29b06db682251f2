//! The machine that a program is shown: PCI devices, `/dev`, huge pages.
//!
//! ```text
//!   /dev                      tmpfs    null zero random tty pts shm ... and no device of the host
//!   /dev/uioN                 a FIFO   what is written into it is an interrupt
//!   /dev/hugepages            hugetlbfs, empty
//!   /sys/class/uio/uioN/device -> /sys/bus/pci/devices/0000:99:00.0
//!   /sys/bus/pci/devices/0000:99:00.0/
//!       vendor device class resource numa_node ...
//!       resourceN             empty: the first touch of a mapping of it tells where it is
//!       config                configuration space, mapped here
//!       driver -> uio_pci_generic    uio/uioN/
//! ```
//!
//! All of it is mounted in a mount namespace of this process's own, over what
//! the host has there. So no program started in it can see a device of the
//! host, and everything is gone with the last process in it, however that ends.

use crate::emu::{CONFIG_SIZE, Profile};
use crate::error::{Error, Kind, Result};
use crate::pci::Page;
use crate::sys;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where programs look for PCI devices.
const DEVICES: &str = "/sys/bus/pci/devices";

/// Where the mounts' contents are.
const STORE: &str = "/dev/bmnic";

/// A mount of huge pages, where programs look for one.
pub const HUGE_PAGES: &str = "/dev/hugepages";

/// A directory for what a program keeps while it runs.
pub const RUNTIME: &str = "/dev/bmnic/run";

/// Bus of the first card: one that no machine is likely to use.
const FIRST_BUS: usize = 0x99;

/// What of `/dev` a program gets.
const KEPT: &[&str] = &["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm"];

/// A file of a BAR, by what the kernel calls it in a list of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Device number, as `st_dev`.
    pub device: u64,
    /// Number on it.
    pub number: u64,
}

/// Gives this thread, and those that it starts from now on, a mount namespace of
/// their own and builds the machine in it, without cards.
///
/// # Errors
/// [`Kind::Missing`] without the rights for it.
pub fn enter() -> Result<()> {
    sys::unshare_mounts().map_err(|e| {
        let error = Error::io("making a private mount namespace", e);
        if error.kind() == Kind::Permission {
            error.with_kind(Kind::Missing).hint("an emulated card for a native program takes root")
        } else {
            error
        }
    })?;
    build().map_err(|e| Error::io("building the emulated machine", e))
}

fn build() -> io::Result<()> {
    let dev = Path::new("/dev");
    // Held open by path: they are hidden once something is mounted over them.
    let kept: Vec<(&str, File, bool)> = KEPT
        .iter()
        .filter_map(|name| {
            let path = dev.join(name);
            let file = File::options().read(true).custom_flags(libc::O_PATH).open(&path).ok()?;
            Some((*name, file, path.is_dir()))
        })
        .collect();
    sys::mount("bmnic", dev, "tmpfs", "mode=755")?;
    for (name, file, directory) in &kept {
        let path = dev.join(name);
        if *directory {
            fs::create_dir(&path)?
        } else {
            fs::write(&path, "")?
        }
        sys::bind_mount(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), &path)?;
    }
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(format!("/proc/self/{target}"), dev.join(name))?;
    }
    let store = Path::new(STORE);
    for part in ["pci", "class/uio", "run"] {
        fs::create_dir_all(store.join(part))?;
    }
    fs::create_dir(HUGE_PAGES)?;
    sys::mount("bmnic", Path::new(HUGE_PAGES), "hugetlbfs", "pagesize=2M")?;
    sys::bind_mount(&store.join("pci"), Path::new(DEVICES))?;
    sys::bind_mount(&store.join("class"), Path::new("/sys/class"))
}

/// A card's place in the machine.
#[derive(Debug)]
pub struct Place {
    /// Its address: `0000:99:00.0`.
    pub address: String,
    /// The file of each BAR.
    pub resources: [Option<Inode>; 6],
    /// Its configuration space, as the program reads and writes it.
    pub config: Page,
}

/// Puts a card of this profile into place `number`.
pub fn seat(number: usize, profile: &Profile) -> Result<Place> {
    let address = format!("0000:{:02x}:00.0", FIRST_BUS + number);
    try_seat(number, profile, address.clone()).map_err(|e| Error::io(format!("showing {address}"), e))
}

fn try_seat(number: usize, profile: &Profile, address: String) -> io::Result<Place> {
    let dir = Path::new(DEVICES).join(&address);
    let uio = format!("uio{number}");
    fs::create_dir_all(dir.join("uio").join(&uio))?;
    let id = profile.id;
    for (name, value) in [
        ("vendor", format!("{:#06x}", id.vendor)),
        ("device", format!("{:#06x}", id.device)),
        ("subsystem_vendor", format!("{:#06x}", id.subsystem_vendor)),
        ("subsystem_device", format!("{:#06x}", id.subsystem)),
        ("revision", format!("{:#04x}", id.revision)),
        ("class", "0x020000".into()),
        ("numa_node", "0".into()),
        ("enable", "1".into()),
        ("irq", "0".into()),
    ] {
        fs::write(dir.join(name), value + "\n")?;
    }
    let mut lines = String::new();
    let mut resources = [None; 6];
    // Where nothing is mapped for real; each BAR at a multiple of its size.
    let mut next = (number as u64 + 1) << 32;
    for (index, &size) in profile.bars.iter().enumerate() {
        if size == 0 {
            lines += "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
            continue;
        }
        let start = next.next_multiple_of(size);
        next = start + size;
        // Memory, prefetchable, 64-bit (Linux, ioport.h).
        lines += &format!("{start:#018x} {:#018x} 0x000000000014220c\n", next - 1);
        let file = File::create(dir.join(format!("resource{index}")))?.metadata()?;
        resources[index] = Some(Inode { device: file.dev(), number: file.ino() });
    }
    // The ROM, and the windows that bridges have.
    lines += &"0x0000000000000000 0x0000000000000000 0x0000000000000000\n".repeat(7);
    fs::write(dir.join("resource"), lines)?;

    let config = File::options().read(true).write(true).create_new(true).open(dir.join("config"))?;
    let config = Page::of_file(config)?;
    symlink("/sys/bus/pci/drivers/uio_pci_generic", dir.join("driver"))?;
    let class: PathBuf = ["/sys/class/uio", &uio].iter().collect();
    fs::create_dir(&class)?;
    fs::write(class.join("name"), "uio_pci_generic\n")?;
    symlink(&dir, class.join("device"))?;
    sys::make_fifo(&Path::new("/dev").join(uio))?;
    Ok(Place { address, resources, config })
}

const _: () = assert!(CONFIG_SIZE == 4096, "a page holds a configuration space");
