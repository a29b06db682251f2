//! The IOMMU side of VFIO: which memory the cards of this process may reach.
//!
//! ```text
//!   /dev/iommu              IOMMUFD (Linux 6.6): an address space, devices attach to it
//!   /dev/vfio/vfio          container: the same, for whole groups (type 1 v2)
//!   /dev/vfio/noiommu-N     no IOMMU at all: devices are given physical addresses
//! ```
//!
//! All cards of a process share one address space where their IOMMUs allow it.
//! Memory that two of them use is then pinned once, and counted once against the
//! user's limit. Functions of one IOMMU group, as two ports of one card often are,
//! cannot be told apart anyway.

#![allow(unsafe_code)]

use super::uapi::{self, Window};
use super::{Kind, discover, explain};
use crate::dma::{Addressing, Arena};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::sys;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A function's place in an address space. Dropping it takes away from the
/// function what it has mapped: the device must have been stopped by then.
#[derive(Debug)]
pub(super) struct Attachment {
    space: Arc<Space>,
    name: String,
    /// See [`Function::address_physically`](super::Function::address_physically).
    physical: AtomicBool,
}

/// An address space, and the files that hold it open.
#[derive(Debug)]
struct Space {
    backend: Backend,
    state: Mutex<State>,
}

#[derive(Debug)]
enum Backend {
    /// Devices are opened by their own files and bound to `iommufd`.
    Iommufd { iommufd: File, ioas: u32 },
    /// Devices are opened through their groups; nothing translates without an IOMMU.
    Container { container: File, translates: bool },
}

#[derive(Debug, Default)]
struct State {
    /// Functions that are open, and their groups. The kernel would let one process
    /// open a function twice.
    members: BTreeMap<String, u32>,
    /// Groups that are open, where devices are opened through them.
    groups: BTreeMap<u32, File>,
    mapped: Vec<Mapping>,
}

#[derive(Debug)]
struct Mapping {
    arena: Arc<Arena>,
    /// Functions that asked for it.
    users: Vec<String>,
}

/// Address spaces that this process has open.
static SPACES: Mutex<Vec<Weak<Space>>> = Mutex::new(Vec::new());

/// Bytes that are mapped in all of them.
static LOCKED: AtomicUsize = AtomicUsize::new(0);

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
    /// `/sys`
    pub(super) sys: &'a Path,
    /// Members of the group that are in the way, for the error.
    pub(super) strangers: &'a dyn Fn() -> String,
}

impl Nodes<'_> {
    /// The group's node, and whether an IOMMU translates for it.
    fn group_node(&self) -> (PathBuf, bool) {
        let plain = self.dev.join("vfio").join(self.group.to_string());
        let without = self.dev.join("vfio").join(format!("noiommu-{}", self.group));
        if !plain.exists() && without.exists() { (without, false) } else { (plain, true) }
    }

    /// What is reserved of the group's addresses, as sysfs tells it.
    fn reserved(&self) -> String {
        let group = self.sys.join("kernel/iommu_groups").join(self.group.to_string());
        discover::text(&group.join("reserved_regions")).unwrap_or_default()
    }

    fn iommufd(&self) -> PathBuf {
        self.dev.join("iommu")
    }
}

impl Attachment {
    fn new(space: Arc<Space>, name: &str) -> Self {
        Attachment { space, name: name.to_string(), physical: AtomicBool::new(false) }
    }

    /// Opens a function: in an address space that this process has, if that can
    /// take it, or in a new one, by IOMMUFD first, then by a container.
    pub(super) fn open(nodes: &Nodes<'_>) -> Result<(Attachment, File)> {
        let mut spaces = lock(&SPACES);
        spaces.retain(|space| space.strong_count() > 0);
        let live: Vec<Arc<Space>> = spaces.iter().filter_map(Weak::upgrade).collect();
        if live.iter().any(|space| lock(&space.state).members.contains_key(nodes.name)) {
            let text = format!("{}: it is open already; name two different cards", nodes.name);
            return Err(Error::new(ErrorKind::Refused, text));
        }
        let attached = |space, device| (Attachment::new(space, nodes.name), device);
        for space in live {
            let has_group = lock(&space.state).members.values().any(|group| *group == nodes.group);
            match space.join(nodes) {
                Ok(device) => return Ok(attached(space, device)),
                // Nowhere else can it be.
                Err(error) if has_group => return Err(error),
                // Another IOMMU, say, whose windows leave out what is mapped here.
                Err(_) => {}
            }
        }
        let (space, device) = Space::with(nodes)?;
        let space = Arc::new(space);
        spaces.push(Arc::downgrade(&space));
        Ok(attached(space, device))
    }

    pub(super) fn kind(&self) -> Kind {
        if self.space.translates() { Kind::Vfio } else { Kind::VfioNoIommu }
    }

    pub(super) fn addressing(&self) -> Addressing {
        let physical = self.physical.load(Ordering::Relaxed) || !self.space.translates();
        if physical { Addressing::Physical } else { Addressing::Translated }
    }

    /// Maps memory where it lies from now on.
    pub(super) fn address_physically(&self) {
        self.physical.store(true, Ordering::Relaxed);
    }

    /// Lets the function reach `arena` until this attachment ends.
    pub(super) fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        require_addressing(&self.name, arena, self.addressing())?;
        self.space.map(&self.name, arena)
    }

    /// Whether the memory that the function reaches is where it was.
    pub(super) fn check_memory(&self) -> Result<()> {
        let state = lock(&self.space.state);
        let mut mine = state.mapped.iter().filter(|mapping| mapping.users.contains(&self.name));
        mine.try_for_each(|mapping| mapping.arena.check()).map_err(|e| e.of(&self.name))
    }

    /// Whether the function asked for `arena`: others that share its address
    /// space may end before it does, and their memory with them.
    pub(super) fn reaches(&self, arena: &Arc<Arena>) -> bool {
        let state = lock(&self.space.state);
        let mut mapped = state.mapped.iter();
        mapped.any(|known| Arc::ptr_eq(&known.arena, arena) && known.users.contains(&self.name))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.space.leave(&self.name);
    }
}

impl Space {
    /// A new space with its first function.
    fn with(nodes: &Nodes<'_>) -> Result<(Space, File)> {
        let (group_node, _) = nodes.group_node();
        if let Some(node) = nodes.device.as_deref().filter(|node| node.exists()) {
            if !nodes.iommufd().exists() {
                return match group_node.exists() {
                    true => Self::with_container(nodes),
                    false => Err(explain::no_node(nodes.name, &nodes.iommufd())),
                };
            }
            match Self::with_iommufd(nodes, node) {
                // The group says better what is wrong, where the kernel still has groups.
                Err(_) if group_node.exists() => {}
                result => return result,
            }
        }
        Self::with_container(nodes)
    }

    fn with_iommufd(nodes: &Nodes<'_>, node: &Path) -> Result<(Space, File)> {
        let iommufd = open_node(&nodes.iommufd()).map_err(|e| explain::open(nodes.name, &nodes.iommufd(), e))?;
        let (device, ioas) = open_bound(nodes, node, &iommufd, uapi::ioas_alloc)?;
        let state = State { members: [(nodes.name.to_string(), nodes.group)].into(), ..State::default() };
        Ok((Space { backend: Backend::Iommufd { iommufd, ioas }, state: state.into() }, device))
    }

    fn with_container(nodes: &Nodes<'_>) -> Result<(Space, File)> {
        let (group, translates) = open_group(nodes)?;
        let node = nodes.dev.join("vfio/vfio");
        let container = open_node(&node).map_err(|e| explain::open(nodes.name, &node, e))?;
        let asking = |e| Error::io(format!("{}: asking {}", nodes.name, node.display()), e);
        let model = if translates { uapi::TYPE1V2_IOMMU } else { uapi::NOIOMMU_IOMMU };
        let version = uapi::api_version(&container).map_err(asking)?;
        uapi::group_set_container(&group, &container).map_err(|e| explain::attach(nodes.name, e, &nodes.reserved()))?;
        if version != uapi::API_VERSION || !uapi::has_extension(&container, model).map_err(asking)? {
            let text =
                format!("{}: this kernel's VFIO has no IOMMU model {model}; is vfio_iommu_type1 loaded?", nodes.name);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        uapi::set_iommu(&container, model).map_err(|e| explain::attach(nodes.name, e, &nodes.reserved()))?;
        let device = group_device(nodes, &group)?;
        let state = State {
            members: [(nodes.name.to_string(), nodes.group)].into(),
            groups: [(nodes.group, group)].into(),
            mapped: Vec::new(),
        };
        Ok((Space { backend: Backend::Container { container, translates }, state: state.into() }, device))
    }

    /// Opens one more function in this space.
    fn join(&self, nodes: &Nodes<'_>) -> Result<File> {
        let mut state = lock(&self.state);
        let device = match &self.backend {
            Backend::Iommufd { iommufd, ioas } => {
                let node = nodes
                    .device
                    .as_deref()
                    .ok_or_else(|| explain::no_node(nodes.name, &nodes.dev.join("vfio/devices")))?;
                open_bound(nodes, node, iommufd, |_| Ok(*ioas))?.0
            }
            Backend::Container { container, translates } => {
                let group = match state.groups.remove(&nodes.group) {
                    Some(group) => group,
                    None => open_group_into(nodes, container, *translates)?,
                };
                let device = group_device(nodes, &group);
                if device.is_ok() || state.members.values().any(|member| *member == nodes.group) {
                    state.groups.insert(nodes.group, group);
                }
                device?
            }
        };
        state.members.insert(nodes.name.to_string(), nodes.group);
        Ok(device)
    }

    /// A function was closed.
    fn leave(&self, name: &str) {
        let mut state = lock(&self.state);
        for mapping in &mut state.mapped {
            mapping.users.retain(|user| user != name);
        }
        for unused in state.mapped.extract_if(.., |mapping| mapping.users.is_empty()) {
            unused.arena.runs().for_each(|(_, iova, len)| self.unmap_run(iova, len as u64));
        }
        if let Some(group) = state.members.remove(name)
            && !state.members.values().any(|other| *other == group)
        {
            state.groups.remove(&group);
        }
    }

    fn translates(&self) -> bool {
        !matches!(self.backend, Backend::Container { translates: false, .. })
    }

    fn map(&self, name: &str, arena: &Arc<Arena>) -> Result<()> {
        let mut state = lock(&self.state);
        if let Some(known) = state.mapped.iter_mut().find(|known| Arc::ptr_eq(&known.arena, arena)) {
            if !known.users.iter().any(|user| user == name) {
                known.users.push(name.to_string());
            }
            return Ok(());
        }
        let mut done = Vec::new();
        for (offset, iova, len) in arena.runs() {
            let vaddr = arena.as_ptr().as_ptr() as u64 + offset as u64;
            if let Err(error) = self.map_run(name, vaddr, iova, len as u64) {
                done.iter().for_each(|&(iova, len)| self.unmap_run(iova, len));
                return Err(match error {
                    RunError::Told(error) => error,
                    RunError::Kernel(error) => {
                        let locked = LOCKED.load(Ordering::Relaxed);
                        explain::map(name, error, arena.len(), locked, sys::memlock_limit())
                    }
                });
            }
            done.push((iova, len as u64));
        }
        state.mapped.push(Mapping { arena: Arc::clone(arena), users: vec![name.to_string()] });
        Ok(())
    }

    /// Fails with a whole error, or with the kernel's to be explained.
    fn map_run(&self, name: &str, vaddr: u64, iova: u64, len: u64) -> std::result::Result<(), RunError> {
        let windows = match &self.backend {
            // Each device that joins may narrow the windows, so ask every time.
            Backend::Iommufd { iommufd, ioas } => uapi::ioas_windows(iommufd, *ioas).ok(),
            Backend::Container { container, translates: true } => uapi::container_windows(container).ok().flatten(),
            Backend::Container { translates: false, .. } => return Ok(()),
        };
        if let Some(windows) = windows.filter(|windows| !fits(windows, iova, len)) {
            return Err(RunError::Told(explain::outside(name, &windows, iova, len)));
        }
        // SAFETY: the run is a part of an arena, memory made for devices, and
        // `mapped` keeps the arena until the run is unmapped.
        unsafe {
            match &self.backend {
                Backend::Iommufd { iommufd, ioas } => uapi::ioas_map(iommufd, *ioas, vaddr, iova, len),
                Backend::Container { container, .. } => uapi::container_map(container, vaddr, iova, len),
            }
        }
        .map_err(RunError::Kernel)?;
        LOCKED.fetch_add(len as usize, Ordering::Relaxed);
        Ok(())
    }

    fn unmap_run(&self, iova: u64, len: u64) {
        let unmapped = match &self.backend {
            Backend::Iommufd { iommufd, ioas } => uapi::ioas_unmap(iommufd, *ioas, iova, len),
            Backend::Container { container, translates: true } => uapi::container_unmap(container, iova, len),
            Backend::Container { translates: false, .. } => return,
        };
        // A failure can only mean that it was not mapped any more.
        drop(unmapped);
        LOCKED.fetch_sub(len as usize, Ordering::Relaxed);
    }
}

enum RunError {
    Told(Error),
    Kernel(io::Error),
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_node(node: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(node)
}

fn open_bound(
    nodes: &Nodes<'_>,
    node: &Path,
    iommufd: &File,
    ioas: impl FnOnce(&File) -> io::Result<u32>,
) -> Result<(File, u32)> {
    let device = open_node(node).map_err(|e| explain::open(nodes.name, node, e))?;
    uapi::device_bind(&device, iommufd).map_err(|e| {
        // The kernel's answer to a second opening by file is EINVAL.
        let busy = e.raw_os_error() == Some(libc::EINVAL);
        explain::open(nodes.name, node, if busy { io::Error::from_raw_os_error(libc::EBUSY) } else { e })
    })?;
    let ioas = ioas(iommufd).map_err(|e| Error::io(format!("{}: making an I/O address space", nodes.name), e))?;
    uapi::device_attach(&device, ioas).map_err(|e| explain::attach(nodes.name, e, &nodes.reserved()))?;
    Ok((device, ioas))
}

/// Opens a group that can be used, and says whether an IOMMU translates for it.
fn open_group(nodes: &Nodes<'_>) -> Result<(File, bool)> {
    let (node, translates) = nodes.group_node();
    if !node.exists() {
        return Err(explain::no_node(nodes.name, &node));
    }
    let group = open_node(&node).map_err(|e| explain::open(nodes.name, &node, e))?;
    let status =
        uapi::group_status(&group).map_err(|e| Error::io(format!("{}: asking {}", nodes.name, node.display()), e))?;
    if status.viable() {
        return Ok((group, translates));
    }
    Err(Error::new(
        ErrorKind::Refused,
        format!(
            "{}: its IOMMU group {} is shared with {}, still with a kernel driver, and the IOMMU cannot tell them apart; bind all of them, or put the card in another slot",
            nodes.name,
            nodes.group,
            (nodes.strangers)()
        ),
    ))
}

/// Opens a group and puts it into a container that has others.
fn open_group_into(nodes: &Nodes<'_>, container: &File, translates: bool) -> Result<File> {
    let (group, group_translates) = open_group(nodes)?;
    if group_translates != translates {
        let text = format!("{}: an IOMMU translates for some cards only", nodes.name);
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    uapi::group_set_container(&group, container).map_err(|e| explain::attach(nodes.name, e, &nodes.reserved()))?;
    Ok(group)
}

fn group_device(nodes: &Nodes<'_>, group: &File) -> Result<File> {
    uapi::group_device(group, nodes.name)
        .map_err(|e| Error::io(format!("{}: opening it through IOMMU group {}", nodes.name, nodes.group), e))
}

/// Fails unless `arena` has the sort of address that a function must be given:
/// with the wrong sort it would write over memory that is not ours.
pub(super) fn require_addressing(name: &str, arena: &Arena, wanted: Addressing) -> Result<()> {
    if arena.addressing() == wanted {
        return Ok(());
    }
    let text = format!(
        "{name}: memory with {:?} addresses, where the card must be given {wanted:?} ones; a card behind an IOMMU cannot share a run with one that has none, or with a legacy virtio device",
        arena.addressing()
    );
    Err(Error::new(ErrorKind::Unsupported, text))
}

fn fits(windows: &[Window], iova: u64, len: u64) -> bool {
    windows.iter().any(|w| w.start <= iova && iova.checked_add(len - 1).is_some_and(|last| last <= w.last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn nodes<'a>(dev: &'a Path, group: u32, device: Option<PathBuf>) -> Nodes<'a> {
        Nodes { name: "0000:03:00.0", group, device, dev, sys: dev, strangers: &String::new }
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
        let text = explain::outside("0000:03:00.0", &windows, 1 << 40, 4096).to_string();
        assert!(text.contains("0x0-0xfedfffff, 0xfef00000-0x7fffffffff"), "{text}");
    }

    #[test]
    fn without_a_node_the_module_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let error = Attachment::open(&nodes(temp.path(), 9_000_001, None)).unwrap_err();
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
        let error = Attachment::open(&nodes(temp.path(), 9_000_002, device.clone())).unwrap_err();
        assert!(error.to_string().contains("vfio/9000002"), "{error}");
        fs::remove_file(vfio.join("9000002")).unwrap();
        let error = Attachment::open(&nodes(temp.path(), 9_000_002, device)).unwrap_err();
        assert!(error.to_string().contains("devices/vfio0"), "{error}");
    }

    /// A space with nothing behind it that could refuse: it does not translate.
    fn space() -> Arc<Space> {
        let container = tempfile::tempfile().unwrap();
        Arc::new(Space { backend: Backend::Container { container, translates: false }, state: Mutex::default() })
    }

    #[test]
    fn a_device_that_may_go_past_the_iommu_is_given_physical_addresses() {
        let container = tempfile::tempfile().unwrap();
        let space = Space { backend: Backend::Container { container, translates: true }, state: Mutex::default() };
        let attachment = Attachment::new(Arc::new(space), "a");
        assert_eq!((attachment.addressing(), attachment.kind()), (Addressing::Translated, Kind::Vfio));
        attachment.address_physically();
        assert_eq!((attachment.addressing(), attachment.kind()), (Addressing::Physical, Kind::Vfio));
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        assert_eq!(attachment.map(&arena).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn memory_lives_until_its_last_user_has_left() {
        let space = space();
        let member = |name: &str, group| {
            lock(&space.state).members.insert(name.to_string(), group);
            lock(&space.state).groups.entry(group).or_insert_with(|| tempfile::tempfile().unwrap());
            Attachment::new(Arc::clone(&space), name)
        };
        let (a, b) = (member("a", 1), member("b", 1));
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        for name in ["a", "a", "b"] {
            space.map(name, &arena).unwrap();
        }
        assert_eq!(Arc::strong_count(&arena), 2, "mapped once");
        drop(a);
        assert_eq!((Arc::strong_count(&arena), lock(&space.state).groups.len()), (2, 1));
        drop(b);
        assert_eq!((Arc::strong_count(&arena), lock(&space.state).groups.len()), (1, 0));
        assert!(lock(&space.state).members.is_empty());
    }
}
