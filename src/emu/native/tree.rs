//! The machine that a program is shown: PCI devices, `/dev`, huge pages.
//!
//! ```text
//!   /dev                      tmpfs    null zero random tty pts shm ... and no device of the host
//!   /dev/uioN                 a FIFO   what is written into it is an interrupt
//!   /dev/hugepages            hugetlbfs, empty
//!   /sys/class/uio/uioN/device -> /sys/bus/pci/devices/0000:99:00.0
//!   /sys/bus/pci/devices/0000:99:00.0/
//!       vendor device class resource numa_node ...
//!       resourceN             as long as the BAR, on a file system that is full: the first
//!                             touch of a mapping of it faults, and tells where it is
//!       config                configuration space, mapped here
//!       driver -> uio_pci_generic    uio/uioN/
//! ```
//!
//! All of it is mounted in a mount namespace of this process's own, over what
//! the host has there. So no program started in it can see a device of the
//! host, and everything is gone with the last process in it, however that ends.

use crate::emu::{CONFIG_SIZE, Card};
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

/// A file system for the files of BARs: it has no page left, so they have a length and
/// nothing in them, and a touch of a mapping is a fault (SIGBUS).
const BARS: &str = "/dev/bmnic/bars";

/// A mount of huge pages, where programs look for one.
pub const HUGE_PAGES: &str = "/dev/hugepages";

/// A directory for what a program keeps while it runs.
pub const RUNTIME: &str = "/dev/bmnic/run";

/// Where bmnic locks cards by their addresses.
const LOCKS: &str = "/run/bmnic";

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
    for part in ["pci", "class/uio", "run", "bars", "locks"] {
        fs::create_dir_all(store.join(part))?;
    }
    sys::mount("bmnic", Path::new(BARS), "tmpfs", "nr_blocks=1")?;
    fs::write(Path::new(BARS).join("full"), "\n")?;
    fs::create_dir(HUGE_PAGES)?;
    sys::mount("bmnic", Path::new(HUGE_PAGES), "hugetlbfs", "pagesize=2M")?;
    // A card of the machine as it is may have one's address, and its lock there.
    let locks = Path::new(LOCKS);
    if fs::create_dir_all(locks).is_ok() {
        sys::bind_mount(&store.join("locks"), locks)?;
    }
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

/// Puts a card into place `number`.
pub fn seat(number: usize, card: &Card) -> Result<Place> {
    let address = format!("0000:{:02x}:00.0", FIRST_BUS + number);
    try_seat(number, card, address.clone()).map_err(|e| Error::io(format!("showing {address}"), e))
}

fn try_seat(number: usize, card: &Card, address: String) -> io::Result<Place> {
    let profile = card.profile();
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
        ("class", format!("{:#06x}00", card.layout().class)),
        ("numa_node", "0".into()),
        ("enable", "1".into()),
        ("irq", "0".into()),
    ] {
        fs::write(dir.join(name), value + "\n")?;
    }
    let mut lines = String::new();
    let mut resources = [None; 6];
    let mut places = Places::of(number);
    for (index, file) in resources.iter_mut().enumerate() {
        let size = profile.bar(index);
        let Some(flags) = flags(size, card.config_read(BAR + 4 * index as u16, 4)) else {
            lines += NOTHING;
            continue;
        };
        let start = places.take(flags, size);
        lines += &format!("{start:#018x} {:#018x} {flags:#018x}\n", start + size - 1);
        // Ports are reached by instructions, and not through a file.
        if flags & MEMORY != 0 {
            *file = Some(resource(&dir.join(format!("resource{index}")), &format!("{number}-{index}"), size)?);
        }
    }
    // The ROM, and the windows that bridges have.
    lines += &NOTHING.repeat(7);
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

/// Makes the file of a BAR at `path`: `size` bytes that cannot be touched.
fn resource(path: &Path, name: &str, size: u64) -> io::Result<Inode> {
    let store = Path::new(BARS).join(name);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&store)?;
    file.set_len(size)?;
    File::create_new(path)?;
    sys::bind_mount(&store, path)?;
    let file = file.metadata()?;
    Ok(Inode { device: file.dev(), number: file.ino() })
}

/// A line of `resource` for what is not there.
const NOTHING: &str = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";

/// Offset of the first BAR in configuration space.
const BAR: u16 = 0x10;

/// Kinds of resources (Linux, ioport.h): ports, memory, prefetchable, aligned to the size,
/// memory of 64 bits.
const PORTS: u64 = 0x100;
const MEMORY: u64 = 0x200;
const PREFETCHABLE: u64 = 0x2000;
const ALIGNED: u64 = 0x4_0000;
const WIDE: u64 = 0x10_0000;

/// What the kernel calls a BAR of `size` bytes that reads `bar`, whose lowest bits stand in
/// it too; none where there is none.
fn flags(size: u64, bar: u32) -> Option<u64> {
    let kind = match bar & 1 {
        _ if size == 0 => return None,
        1 => PORTS | 1,
        _ => {
            let wide = if bar & 4 != 0 { WIDE } else { 0 };
            let prefetchable = if bar & 8 != 0 { PREFETCHABLE } else { 0 };
            MEMORY | wide | prefetchable | u64::from(bar & 0xe)
        }
    };
    Some(ALIGNED | kind)
}

/// Addresses where nothing is mapped for real: the next free one of each kind.
struct Places {
    ports: u64,
    narrow: u64,
    wide: u64,
}

impl Places {
    /// Those of the card in place `number`.
    fn of(number: usize) -> Places {
        let number = number as u64;
        Places { ports: 0x1000 + (number << 9), narrow: (1 << 31) + (number << 24), wide: (number + 1) << 32 }
    }

    /// A multiple of `size`.
    fn take(&mut self, flags: u64, size: u64) -> u64 {
        let next = if flags & PORTS != 0 {
            &mut self.ports
        } else if flags & WIDE == 0 {
            &mut self.narrow
        } else {
            &mut self.wide
        };
        let start = next.next_multiple_of(size);
        *next = start + size;
        start
    }
}

const _: () = assert!(CONFIG_SIZE == 4096, "a page holds a configuration space");
