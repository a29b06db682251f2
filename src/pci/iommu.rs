//! The IOMMU side of VFIO: which memory the devices of a group may reach.
//!
//! ```text
//!   /dev/iommu              IOMMUFD (Linux 6.6): an address space, devices attach to it
//!   /dev/vfio/vfio          container: the same, for whole groups (type 1 v2)
//!   /dev/vfio/noiommu-N     no IOMMU at all: devices are given physical addresses
//! ```
//!
//! Functions in one IOMMU group cannot be told apart by the IOMMU, so they
//! share one address space in one process: two ports of one card often are
//! such a pair. [`Iommu`] is that space; it ends with the last of its functions.

#![allow(unsafe_code)]

use super::uapi::{self, Window};
use super::{Kind, discover};
use crate::dma::{Addressing, Arena};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::sys;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The address space of an IOMMU group, and the files that hold it open.
#[derive(Debug)]
pub(super) struct Iommu {
    backend: Backend,
    mapped: Mutex<Vec<Arc<Arena>>>,
    /// Functions that are open. The kernel would open one twice for one process.
    open: Mutex<Vec<String>>,
}

#[derive(Debug)]
enum Backend {
    /// Devices are opened by their own files and bound to `iommufd`.
    Iommufd { iommufd: File, ioas: u32 },
    /// Devices are opened through their group.
    Container { container: File, group: File },
    /// Likewise, and nothing translates.
    NoIommu { _container: File, group: File },
}

/// Address spaces that this process has open, by group.
static SPACES: Mutex<BTreeMap<u32, Weak<Iommu>>> = Mutex::new(BTreeMap::new());

/// Files of one function below `/dev`.
pub(super) struct Nodes<'a> {
    /// `0000:03:00.0`
    pub(super) name: &'a str,
    /// Its IOMMU group.
    pub(super) group: u32,
    /// `/dev/vfio/devices/vfioN`, where the kernel has them.
    pub(super) device: Option<PathBuf>,
    /// `/dev`
    pub(super) dev: &'a Path,
    /// Members of the group that are in the way, for the error.
    pub(super) strangers: &'a dyn Fn() -> String,
}

impl Nodes<'_> {
    fn group_node(&self) -> (PathBuf, bool) {
        let plain = self.dev.join("vfio").join(self.group.to_string());
        let without = self.dev.join("vfio").join(format!("noiommu-{}", self.group));
        if !plain.exists() && without.exists() { (without, true) } else { (plain, false) }
    }

    fn iommufd(&self) -> PathBuf {
        self.dev.join("iommu")
    }
}

impl Iommu {
    /// Opens a function, in the address space that its group has in this
    /// process or in a new one: IOMMUFD first, then a container.
    pub(super) fn open(nodes: &Nodes<'_>) -> Result<(Arc<Iommu>, File)> {
        let mut spaces = lock(&SPACES);
        if let Some(space) = spaces.get(&nodes.group).and_then(Weak::upgrade) {
            if lock(&space.open).iter().any(|open| open == nodes.name) {
                let text = format!("{}: it is open already; name two different cards", nodes.name);
                return Err(Error::new(ErrorKind::Refused, text));
            }
            let device = space.device(nodes)?;
            lock(&space.open).push(nodes.name.to_string());
            return Ok((space, device));
        }
        let (backend, device) = Self::first(nodes)?;
        let open = Mutex::new(vec![nodes.name.to_string()]);
        let space = Arc::new(Iommu { backend, mapped: Mutex::default(), open });
        spaces.insert(nodes.group, Arc::downgrade(&space));
        Ok((space, device))
    }

    fn first(nodes: &Nodes<'_>) -> Result<(Backend, File)> {
        let (group_node, without_iommu) = nodes.group_node();
        if let Some(node) = nodes.device.as_deref().filter(|node| node.exists() && nodes.iommufd().exists()) {
            match open_iommufd(nodes, node) {
                // The group says better what is wrong, where the kernel still has groups.
                Err(_) if group_node.exists() => {}
                result => return result,
            }
        }
        open_group(nodes, &group_node, without_iommu)
    }

    /// Opens one more function of the group.
    fn device(&self, nodes: &Nodes<'_>) -> Result<File> {
        match &self.backend {
            Backend::Iommufd { iommufd, ioas } => {
                let node = nodes.device.as_deref().ok_or_else(|| no_node(nodes, &nodes.dev.join("vfio/devices")))?;
                open_bound(nodes, node, iommufd, |_| Ok(*ioas)).map(|(device, _)| device)
            }
            Backend::Container { group, .. } | Backend::NoIommu { group, .. } => group_device(nodes, group),
        }
    }

    /// A function was closed.
    pub(super) fn close(&self, name: &str) {
        lock(&self.open).retain(|open| open != name);
    }

    pub(super) fn kind(&self) -> Kind {
        if matches!(self.backend, Backend::NoIommu { .. }) { Kind::VfioNoIommu } else { Kind::Vfio }
    }

    pub(super) fn addressing(&self) -> Addressing {
        if matches!(self.backend, Backend::NoIommu { .. }) { Addressing::Physical } else { Addressing::Translated }
    }

    /// Lets the group's devices reach `arena` until this address space ends.
    pub(super) fn map(&self, name: &str, arena: &Arc<Arena>) -> Result<()> {
        require_addressing(name, arena, self.addressing())?;
        let mut mapped = lock(&self.mapped);
        if mapped.iter().any(|known| Arc::ptr_eq(known, arena)) {
            return Ok(());
        }
        let mut done = Vec::new();
        for (offset, iova, len) in arena.runs() {
            let vaddr = arena.as_ptr().as_ptr() as u64 + offset as u64;
            if let Err(error) = self.map_run(name, vaddr, iova, len as u64) {
                done.iter().for_each(|&(iova, len)| self.unmap_run(iova, len));
                let locked: usize = mapped.iter().map(|a| a.len()).sum();
                return Err(error.unwrap_or_else(|e| explain_map(name, e, arena.len(), locked, sys::memlock_limit())));
            }
            done.push((iova, len as u64));
        }
        mapped.push(Arc::clone(arena));
        Ok(())
    }

    /// Fails with a whole error, or with the kernel's to be explained.
    fn map_run(&self, name: &str, vaddr: u64, iova: u64, len: u64) -> std::result::Result<(), RunError> {
        let windows = match &self.backend {
            // Each device that attaches may narrow the windows, so ask every time.
            Backend::Iommufd { iommufd, ioas } => uapi::ioas_windows(iommufd, *ioas).ok(),
            Backend::Container { container, .. } => uapi::container_windows(container).ok().flatten(),
            Backend::NoIommu { .. } => return Ok(()),
        };
        if let Some(windows) = windows.filter(|windows| !fits(windows, iova, len)) {
            return Err(RunError::Told(outside(name, &windows, iova, len)));
        }
        // SAFETY: the run is a part of an arena, memory made for devices, and
        // `mapped` keeps the arena until the run is unmapped.
        unsafe {
            match &self.backend {
                Backend::Iommufd { iommufd, ioas } => uapi::ioas_map(iommufd, *ioas, vaddr, iova, len),
                Backend::Container { container, .. } => uapi::container_map(container, vaddr, iova, len),
                Backend::NoIommu { .. } => Ok(()),
            }
        }
        .map_err(RunError::Kernel)
    }

    fn unmap_run(&self, iova: u64, len: u64) {
        // A failure here can only mean that it is not mapped any more.
        let _ = match &self.backend {
            Backend::Iommufd { iommufd, ioas } => uapi::ioas_unmap(iommufd, *ioas, iova, len),
            Backend::Container { container, .. } => uapi::container_unmap(container, iova, len),
            Backend::NoIommu { .. } => Ok(()),
        };
    }
}

impl Drop for Iommu {
    fn drop(&mut self) {
        let mapped = std::mem::take(self.mapped.get_mut().unwrap_or_else(PoisonError::into_inner));
        for (_, iova, len) in mapped.iter().flat_map(|arena| arena.runs()) {
            self.unmap_run(iova, len as u64);
        }
    }
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum RunError {
    Told(Error),
    Kernel(io::Error),
}

impl RunError {
    fn unwrap_or_else(self, explain: impl FnOnce(io::Error) -> Error) -> Error {
        match self {
            RunError::Told(error) => error,
            RunError::Kernel(error) => explain(error),
        }
    }
}

fn open_node(node: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(node)
}

fn open_iommufd(nodes: &Nodes<'_>, node: &Path) -> Result<(Backend, File)> {
    let iommufd = open_node(&nodes.iommufd()).map_err(|e| explain_open(nodes, &nodes.iommufd(), e))?;
    let (device, ioas) = open_bound(nodes, node, &iommufd, uapi::ioas_alloc)?;
    Ok((Backend::Iommufd { iommufd, ioas }, device))
}

fn open_bound(
    nodes: &Nodes<'_>,
    node: &Path,
    iommufd: &File,
    ioas: impl FnOnce(&File) -> io::Result<u32>,
) -> Result<(File, u32)> {
    let device = open_node(node).map_err(|e| explain_open(nodes, node, e))?;
    uapi::device_bind(&device, iommufd).map_err(|e| {
        // The kernel's answer to a second opening by file is EINVAL.
        let busy = e.raw_os_error() == Some(libc::EINVAL);
        explain_open(nodes, node, if busy { io::Error::from_raw_os_error(libc::EBUSY) } else { e })
    })?;
    let ioas = ioas(iommufd).map_err(|e| Error::io(format!("{}: making an I/O address space", nodes.name), e))?;
    uapi::device_attach(&device, ioas).map_err(|e| explain_attach(nodes.name, e))?;
    Ok((device, ioas))
}

fn open_group(nodes: &Nodes<'_>, node: &Path, without_iommu: bool) -> Result<(Backend, File)> {
    if !node.exists() {
        return Err(no_node(nodes, node));
    }
    let group = open_node(node).map_err(|e| explain_open(nodes, node, e))?;
    let doing = |what: &str| format!("{}: {what} {}", nodes.name, node.display());
    let status = uapi::group_status(&group).map_err(|e| Error::io(doing("asking"), e))?;
    if !status.viable() {
        return Err(Error::new(
            ErrorKind::Refused,
            format!(
                "{}: its IOMMU group {} is shared with {}, still with a kernel driver, and the IOMMU cannot tell them apart; bind all of them, or put the card in another slot",
                nodes.name,
                nodes.group,
                (nodes.strangers)()
            ),
        ));
    }
    let container_node = nodes.dev.join("vfio/vfio");
    let container = open_node(&container_node).map_err(|e| explain_open(nodes, &container_node, e))?;
    let model = if without_iommu { uapi::NOIOMMU_IOMMU } else { uapi::TYPE1V2_IOMMU };
    let version = uapi::api_version(&container).map_err(|e| Error::io(doing("asking"), e))?;
    uapi::group_set_container(&group, &container).map_err(|e| Error::io(doing("using"), e))?;
    let known = uapi::has_extension(&container, model).map_err(|e| Error::io(doing("asking"), e))?;
    if version != uapi::API_VERSION || !known {
        let text = format!(
            "{}: this kernel's VFIO does not know IOMMU model {model}; is vfio_iommu_type1 loaded?",
            nodes.name
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    uapi::set_iommu(&container, model).map_err(|e| explain_attach(nodes.name, e))?;
    let device = group_device(nodes, &group)?;
    let backend = match without_iommu {
        true => Backend::NoIommu { _container: container, group },
        false => Backend::Container { container, group },
    };
    Ok((backend, device))
}

fn group_device(nodes: &Nodes<'_>, group: &File) -> Result<File> {
    uapi::group_device(group, nodes.name)
        .map_err(|e| Error::io(format!("{}: opening it through IOMMU group {}", nodes.name, nodes.group), e))
}

fn no_node(nodes: &Nodes<'_>, node: &Path) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "{}: it is bound to VFIO, but there is no {} to open it by; load the modules (`modprobe vfio-pci`), and in a container pass /dev/vfio through",
            nodes.name,
            node.display()
        ),
    )
}

fn explain_open(nodes: &Nodes<'_>, node: &Path, error: io::Error) -> Error {
    let error_code = error.raw_os_error();
    let told = Error::io(format!("{}: opening {}", nodes.name, node.display()), error);
    match error_code {
        Some(libc::EACCES | libc::EPERM) => {
            told.hint(format!("run `sudo bmnic bind --user $USER {}`, or run this as root", nodes.name))
        }
        Some(libc::EBUSY) => told
            .with_kind(ErrorKind::Refused)
            .hint(format!("another program has the card or one of its group; `fuser -v {}` names it", node.display())),
        _ => told,
    }
}

fn explain_attach(name: &str, error: io::Error) -> Error {
    let denied = error.raw_os_error() == Some(libc::EPERM);
    let told = Error::io(format!("{name}: putting it behind the IOMMU"), error);
    if denied {
        return told.hint(
            "the IOMMU cannot remap interrupts, so a card could forge them; enable interrupt remapping in the firmware, or accept it with `echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts`",
        );
    }
    told
}

/// Fails unless `arena` has the sort of address that a function must be given:
/// with the wrong sort it would write over memory that is not ours.
pub(super) fn require_addressing(name: &str, arena: &Arena, wanted: Addressing) -> Result<()> {
    if arena.addressing() == wanted {
        return Ok(());
    }
    let text =
        format!("{name}: memory with {:?} addresses, where the card must be given {wanted:?} ones", arena.addressing());
    Err(Error::new(ErrorKind::Unsupported, text))
}

fn explain_map(name: &str, error: io::Error, len: usize, locked: usize, limit: Option<u64>) -> Error {
    let needed = (len + locked) as u64;
    match (error.raw_os_error(), limit) {
        (Some(libc::ENOMEM), Some(limit)) if needed > limit => Error::new(
            ErrorKind::Memory,
            format!(
                "{name}: memory for the card must be locked, {} KiB of it, but this user may lock {} KiB; raise it with `ulimit -l {}` (its hard limit is set in /etc/security/limits.conf)",
                needed / 1024,
                limit / 1024,
                needed / 1024
            ),
        ),
        (Some(libc::ENOSPC), _) => Error::io(format!("{name}: mapping {len} bytes for the card"), error)
            .with_kind(ErrorKind::Memory)
            .hint("the IOMMU's table is full; use huge pages (`sudo bmnic hugepages --setup 64M`), or raise /sys/module/vfio_iommu_type1/parameters/dma_entry_limit"),
        _ => Error::io(format!("{name}: mapping {len} bytes for the card"), error),
    }
}

fn fits(windows: &[Window], iova: u64, len: u64) -> bool {
    windows.iter().any(|w| w.start <= iova && iova.checked_add(len - 1).is_some_and(|last| last <= w.last))
}

fn outside(name: &str, windows: &[Window], iova: u64, len: u64) -> Error {
    let list: Vec<String> = windows.iter().map(|w| format!("{:#x}-{:#x}", w.start, w.last)).collect();
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{name}: {len:#x} bytes at I/O address {iova:#x} are outside what its IOMMU can translate ({}); this machine's IOMMU is too narrow for bmnic",
            list.join(", ")
        ),
    )
}

/// The members of `group` that a kernel driver still has, `0000:03:00.1 (ixgbe)`.
/// Bridges may stay: they have no DMA of their own.
pub(super) fn strangers(members: &[discover::Device]) -> String {
    let in_the_way = |d: &&discover::Device| {
        !d.is_bridge() && d.driver.as_deref().is_some_and(|driver| !driver.contains("vfio") && driver != "pci-stub")
    };
    let named = |d: &discover::Device| format!("{} ({})", d.address, d.driver.as_deref().unwrap_or_default());
    let list: Vec<String> = members.iter().filter(in_the_way).map(named).collect();
    if list.is_empty() { "a device that sysfs does not show".into() } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn errno(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    fn nodes<'a>(dev: &'a Path, group: u32, device: Option<PathBuf>) -> Nodes<'a> {
        Nodes { name: "0000:03:00.0", group, device, dev, strangers: &String::new }
    }

    #[test]
    fn a_run_fits_a_window_with_both_ends() {
        let windows = [Window { start: 0, last: 0xfedf_ffff }, Window { start: 0xfef0_0000, last: 0x7f_ffff_ffff }];
        assert!(fits(&windows, 1 << 32, 1 << 21));
        assert!(fits(&windows, 0x7f_ffff_f000, 0x1000));
        assert!(!fits(&windows, 0x7f_ffff_f000, 0x1001));
        assert!(!fits(&windows, 0xfed0_0000, 0x40_0000), "across the interrupt window");
        assert!(!fits(&windows, u64::MAX - 1, 4));
        assert!(!fits(&[], 0, 1));
        let text = outside("0000:03:00.0", &windows, 1 << 40, 4096).to_string();
        assert!(text.contains("0x0-0xfedfffff, 0xfef00000-0x7fffffffff"), "{text}");
    }

    #[test]
    fn too_little_lockable_memory_names_the_limit_to_set() {
        let error = explain_map("0000:03:00.0", errno(libc::ENOMEM), 8 << 20, 2 << 20, Some(8 << 20));
        assert_eq!(error.kind(), ErrorKind::Memory);
        assert!(error.to_string().contains("`ulimit -l 10240`"), "{error}");
        let other = explain_map("0000:03:00.0", errno(libc::ENOMEM), 8 << 20, 0, None);
        assert!(!other.to_string().contains("ulimit"), "{other}");
        assert_eq!(other.kind(), ErrorKind::Memory);
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let temp = tempfile::tempdir().unwrap();
        let nodes = nodes(temp.path(), 9, None);
        let node = Path::new("/dev/vfio/9");
        let permission = explain_open(&nodes, node, errno(libc::EACCES));
        assert_eq!(permission.kind(), ErrorKind::Permission);
        assert!(permission.to_string().contains("bmnic bind --user"), "{permission}");
        let busy = explain_open(&nodes, node, errno(libc::EBUSY));
        assert_eq!(busy.kind(), ErrorKind::Refused);
        assert!(busy.to_string().contains("fuser -v /dev/vfio/9"), "{busy}");
        assert!(explain_attach("x", errno(libc::EPERM)).to_string().contains("allow_unsafe_interrupts"));
        assert!(explain_map("x", errno(libc::ENOSPC), 1, 0, None).to_string().contains("dma_entry_limit"));
    }

    #[test]
    fn without_a_node_the_module_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let error = Iommu::open(&nodes(temp.path(), 9_000_001, None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("modprobe vfio-pci"), "{error}");
    }

    #[test]
    fn files_that_are_not_vfio_are_an_error_and_the_group_has_the_last_word() {
        let temp = tempfile::tempdir().unwrap();
        let vfio = temp.path().join("vfio");
        fs::create_dir_all(vfio.join("devices")).unwrap();
        for file in ["vfio/vfio", "vfio/9000002", "vfio/devices/vfio0", "iommu"] {
            fs::write(temp.path().join(file), "").unwrap();
        }
        let device = Some(vfio.join("devices/vfio0"));
        let error = Iommu::open(&nodes(temp.path(), 9_000_002, device.clone())).unwrap_err();
        assert!(error.to_string().contains("vfio/9000002"), "{error}");
        fs::remove_file(vfio.join("9000002")).unwrap();
        let error = Iommu::open(&nodes(temp.path(), 9_000_002, device)).unwrap_err();
        assert!(error.to_string().contains("devices/vfio0"), "{error}");
    }

    #[test]
    fn only_members_with_a_kernel_driver_are_in_the_way() {
        let member = |address: &str, class: u32, driver: Option<&str>| discover::Device {
            address: address.parse().unwrap(),
            class,
            driver: driver.map(str::to_string),
            ..Default::default()
        };
        let members = [
            member("00:01.0", 0x06_0400, Some("pcieport")),
            member("03:00.0", 0x02_0000, Some("vfio-pci")),
            member("03:00.1", 0x02_0000, Some("ixgbe")),
            member("03:00.2", 0x02_0000, None),
        ];
        assert_eq!(strangers(&members), "0000:03:00.1 (ixgbe)");
    }
}
