//! A card through the files that sysfs offers: the way without an IOMMU.
//!
//! ```text
//!   resourceN      a BAR, to be mapped; of I/O ports, to be read and written
//!   resourceN_wc   the same, with stores combined, if the BAR is prefetchable
//!   config         configuration space
//!   enable         power and address decoding, where no driver has seen to them
//!   reset          function-level reset
//! ```
//!
//! Needs root, and huge pages: the card is given physical addresses and nothing
//! translates or limits them. There are no interrupts. The kernel does not know
//! that the card is in use, so a lock in `/run/bmnic` keeps two of us from it.
//!
//! Closing turns bus mastering off. If this process is killed instead, the
//! kernel does so where `uio_pci_generic` has the card, because we hold its
//! `/dev/uioN` open. Where no driver has it the card goes on writing: into huge
//! pages, which went back to their pool and to nobody else, until the card is
//! opened again. So "no driver" is for trying things, and VFIO for all else.

use super::alarm::is_silent;
use super::bar::Mapped;
use super::config::Config;
use super::discover::{self, Device, Resource};
use super::iommu::require_addressing;
use super::paged::{Paged, View};
use super::ports::Ports;
use super::{Alarm, Bar, Function, Id, Kind};
use crate::dma::{Addressing, Arena};
use crate::error::{Error, Kind as ErrorKind, Remedy, Result};
use crate::sys::Roots;
use crate::sys::bus::Lost;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A function opened through sysfs.
#[derive(Debug)]
pub(super) struct Sysfs {
    name: String,
    id: Id,
    numa_node: Option<u16>,
    resources: Vec<Resource>,
    directory: PathBuf,
    config: File,
    /// Whether we enabled it, and so must disable it.
    enabled: bool,
    mapped: Mutex<Vec<Arc<Arena>>>,
    /// BARs that were asked for: by pages, or as a whole.
    bars: Mutex<BTreeMap<u8, Option<Arc<Paged>>>>,
    /// Whether its registers were taken away.
    lost: Arc<Lost>,
    /// `/dev/uioN`, held for what the kernel does when it is closed.
    _uio: Option<File>,
    /// Holds the lock; declared last, released last.
    _lock: Lock,
}

/// What a user who is not root is told.
const NEEDS_ROOT: &str = "without VFIO a card needs root";

impl Sysfs {
    /// Opens a device that has no driver, or one that only offers it to us.
    pub(super) fn open(roots: &Roots, device: &Device) -> Result<Sysfs> {
        let name = device.address.to_string();
        refuse_translated(roots, device, &name)?;
        refuse_locked_down(roots, &name)?;
        let directory = device.directory(roots);
        let path = directory.join("config");
        let config = OpenOptions::new().read(true).write(true).open(&path).map_err(|e| {
            let denied = matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM));
            let error = Error::io(format!("{name}: opening {}", path.display()), e);
            if denied { error.hint(NEEDS_ROOT).with_remedy(Remedy::BindForUser(name.clone())) } else { error }
        })?;
        let lock = lock(&roots.run, &name)?;
        let uio = match discover::entries(&directory.join("uio")).first().map(|node| roots.dev.join(node)) {
            Some(node) => {
                let open = OpenOptions::new().read(true).write(true).open(&node);
                Some(open.map_err(|e| Error::io(format!("{name}: opening {}", node.display()), e))?)
            }
            None => None,
        };
        let mut sysfs = Sysfs {
            id: device.id,
            resources: device.resources.clone(),
            numa_node: device.numa_node,
            directory,
            config,
            enabled: false,
            mapped: Mutex::default(),
            bars: Mutex::default(),
            lost: Lost::new().map_err(|e| Error::io(format!("{name}: making an eventfd"), e))?,
            _uio: uio,
            _lock: lock,
            name,
        };
        sysfs.power_on(device.driver.is_some())?;
        Ok(sysfs)
    }

    /// Has the kernel wake the card and decode its addresses. A driver has
    /// done so already, and then the kernel refuses a second time.
    fn power_on(&mut self, has_driver: bool) -> Result<()> {
        let enable = self.directory.join("enable");
        if has_driver || !enable.exists() {
            return Ok(());
        }
        fs::write(&enable, "1").map_err(|e| Error::io(format!("{}: enabling it", self.name), e))?;
        self.enabled = true;
        Ok(())
    }

    fn config(&self) -> Config<'_> {
        Config { file: &self.config, base: 0, name: &self.name }
    }

    fn no_bar(&self, index: u8) -> Error {
        Error::new(ErrorKind::NotFound, format!("{}: it has no BAR {index}", self.name))
    }

    /// Bytes of a BAR, and whether it is of memory.
    fn bar_size(&self, index: u8) -> Result<(usize, bool)> {
        let bar = self.resources.iter().find(|resource| resource.index == index && index <= 5);
        let there = self.directory.join(format!("resource{index}")).exists();
        let bar = bar.filter(|_| there).and_then(|bar| Some((usize::try_from(bar.len).ok()?, bar.memory)));
        bar.ok_or_else(|| self.no_bar(index))
    }

    /// The file of a BAR, to be mapped.
    fn resource(&self, index: u8, way: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.directory.join(format!("resource{index}{way}")))
    }

    fn explain_map(&self, index: u8, error: io::Error) -> Error {
        let denied = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        let told = Error::io(format!("{}: mapping resource{index}", self.name), error);
        if denied { told.hint(NEEDS_ROOT) } else { told }
    }
}

impl Function for Sysfs {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Sysfs
    }

    fn id(&self) -> Id {
        self.id
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        let (size, memory) = self.bar_size(index)?;
        if !memory {
            let file = Arc::new(self.resource(index, "").map_err(|e| self.explain_map(index, e))?);
            (self as &dyn Function).enable_ports()?;
            return Ok(Bar::Served(Arc::new(Ports { file, start: 0 }), size as u64));
        }
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.entry(index).or_default() {
            let view = View { bar: Arc::clone(bar), combines: false };
            return Ok(Bar::Served(Arc::new(view), size as u64));
        }
        let file = self.resource(index, "").map_err(|e| self.explain_map(index, e))?;
        Mapped::of_file(&file, 0, size as u64, &self.lost).map(Bar::Mapped).map_err(|e| self.explain_map(index, e))
    }

    /// By pages. None for a BAR that was mapped as a whole before.
    fn combining(&self, index: u8) -> Result<Option<Bar>> {
        let (size, true) = self.bar_size(index)? else { return Ok(None) };
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = match bars.get(&index) {
            Some(None) => return Ok(None),
            Some(Some(bar)) => Arc::clone(bar),
            None => {
                let combining = match self.resource(index, "_wc") {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                    result => result.map_err(|e| self.explain_map(index, e))?,
                };
                let plain = self.resource(index, "").map_err(|e| self.explain_map(index, e))?;
                let bar = Paged::new(plain, combining, Arc::clone(&self.lost));
                // What forbids the one page forbids all.
                bar.page(0, false).map_err(|e| self.explain_map(index, e))?;
                bars.insert(index, Some(Arc::clone(&bar)));
                bar
            }
        };
        Ok(Some(Bar::Served(Arc::new(View { bar, combines: true }), size as u64)))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        self.config().read(offset, size)
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        self.config().write(offset, size, value)
    }

    fn addressing(&self) -> Addressing {
        Addressing::Physical
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        require_addressing(&self.name, arena, Addressing::Physical)?;
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if !mapped.iter().any(|known| Arc::ptr_eq(known, arena)) {
            mapped.push(Arc::clone(arena));
        }
        Ok(())
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.iter().any(|known| Arc::ptr_eq(known, arena))
    }

    fn irq_vectors(&self) -> u16 {
        0
    }

    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        if fds.is_empty() {
            return Ok(());
        }
        let text = format!("{}: no interrupts without VFIO", self.name);
        Err(Error::new(ErrorKind::Unsupported, text).with_remedy(Remedy::Poll))
    }

    fn numa_node(&self) -> Option<u16> {
        self.numa_node
    }

    fn check_memory(&self) -> Result<()> {
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.iter().try_for_each(|arena| arena.check()).map_err(|e| e.of(&self.name))
    }

    fn alarms(&self) -> Vec<(Alarm, BorrowedFd<'_>)> {
        vec![(Alarm::Gone, self.lost.as_fd())]
    }

    fn is_gone(&self) -> bool {
        self.lost.seen() || is_silent(&self.config_read(0, 4))
    }

    fn reset(&self) -> Result<bool> {
        let path = self.directory.join("reset");
        if !path.exists() {
            return Ok(false);
        }
        fs::write(path, "1").map_err(|e| Error::io(format!("{}: resetting it", self.name), e))?;
        Ok(true)
    }
}

impl Drop for Sysfs {
    fn drop(&mut self) {
        // Before the arenas go, or the card writes into pages of somebody else.
        let stopped = (self as &dyn Function).set_bus_master(false);
        if self.enabled {
            let _ = fs::write(self.directory.join("enable"), "0");
        } else if stopped.is_err() {
            let _ = self.reset();
        }
    }
}

/// Physical addresses reach memory only if no IOMMU translates for the card.
fn refuse_translated(roots: &Roots, device: &Device, name: &str) -> Result<()> {
    let Some(group) = device.iommu_group else { return Ok(()) };
    let directory = roots.sys.join("kernel/iommu_groups").join(group.to_string());
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default().trim().to_string();
    let domain = read("type");
    if domain.is_empty() || domain == "identity" || read("name") == "vfio-noiommu" {
        return Ok(());
    }
    let text = format!(
        "{name}: an IOMMU translates its addresses (group {group}, {domain}), so without VFIO it could not reach memory"
    );
    Err(Error::new(ErrorKind::Unsupported, text).with_remedy(Remedy::Bind(name.into())))
}

/// The lock of a card. It ends with the file, however we end; but a process that we
/// have just forked has the file too, until it runs another program.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file does the same, only later.
        let _ = self.0.unlock();
    }
}

/// Takes the lock of a card.
fn lock(run: &Path, name: &str) -> Result<Lock> {
    let directory = run.join("bmnic");
    let path = directory.join(format!("{name}.lock"));
    let doing = |e: io::Error| Error::io(format!("{name}: locking it with {}", path.display()), e);
    // Whatever the umask, nobody else makes files there.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory).map_err(doing)?;
    // For its owner alone: a user that may open it may hold it.
    let mut how = OpenOptions::new();
    how.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = how.open(&path).map_err(doing)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Refused,
            format!("{name}: another bmnic drives it; `fuser -v {}` names it", path.display()),
        )),
        Err(TryLockError::Error(e)) => Err(doing(e)),
    }
}

/// A kernel that protects itself from root, as it does under Secure Boot, lets
/// nobody write configuration space or map registers (Linux, kernel_lockdown(7)).
fn refuse_locked_down(roots: &Roots, name: &str) -> Result<()> {
    // The mode in force is in brackets.
    let modes = fs::read_to_string(roots.sys.join("kernel/security/lockdown")).unwrap_or_default();
    if !modes.contains("[integrity]") && !modes.contains("[confidentiality]") {
        return Ok(());
    }
    let text = format!(
        "{name}: the kernel is locked down (Secure Boot), and lets nobody at a card's registers without an IOMMU"
    );
    Err(Error::new(ErrorKind::Permission, text).with_remedy(Remedy::Bind(name.into())))
}

/// Whether a driver only offers its card to programs, through these same files.
pub(super) fn is_offered_by(driver: &str) -> bool {
    matches!(driver, "uio_pci_generic" | "igb_uio")
}

#[cfg(test)]
mod tests;
