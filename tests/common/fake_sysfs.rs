//! A machine made of plain files, and a kernel that plays its part on them.
//!
//! Plain files do nothing when they are written, so [`FakeKernel`] does what
//! Linux would: it moves `driver` links, makes and removes interfaces and VFIO
//! nodes. It counts its calls and can fail or die at any of them; dying is a
//! panic that leaves the tree as a killed process would.

#![allow(dead_code)] // each test program uses a part

use bmnic::pci::Address;
use bmnic::pci::discover::{Device, find};
use bmnic::pci::kernel::{Kernel, Running};
use bmnic::sys::Roots;
use bmnic::{Error, Kind, Result};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A fake machine in a temporary directory.
pub struct Tree {
    temp: tempfile::TempDir,
    pub roots: Roots,
}

/// A card to put into it.
#[derive(Clone)]
pub struct Card {
    pub address: &'static str,
    pub device: &'static str,
    pub class: &'static str,
    pub driver: Option<&'static str>,
    pub interface: Option<&'static str>,
    pub group: Option<u32>,
}

/// An 82599 port with its kernel driver, its interface and a group of its own.
pub const PORT: Card = Card {
    address: "0000:03:00.0",
    device: "0x10fb",
    class: "0x020000",
    driver: Some("ixgbe"),
    interface: Some("eth1"),
    group: Some(27),
};

impl Tree {
    /// A machine with `cards`, and vfio-pci loaded.
    pub fn new(cards: &[Card]) -> Tree {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree { roots: Roots::under(temp.path()), temp };
        tree.put(tree.roots.pci().join("drivers_probe"), "");
        tree.driver("vfio-pci");
        tree.put(tree.roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode"), "N\n");
        for directory in [tree.roots.dev.join("vfio"), tree.roots.run.join("bmnic"), tree.roots.sys.join("class/net")] {
            fs::create_dir_all(directory).unwrap();
        }
        tree.put(tree.roots.proc.join("mounts"), "/dev/vda / ext4 rw 0 0\n");
        for card in cards {
            tree.add(card);
        }
        tree
    }

    fn add(&self, card: &Card) {
        let directory = self.directory(card.address);
        for (file, text) in [
            ("vendor", "0x8086\n"),
            ("device", card.device),
            ("class", card.class),
            ("numa_node", "0\n"),
            ("driver_override", "(null)\n"),
        ] {
            self.put(directory.join(file), text);
        }
        if let Some(group) = card.group {
            let group_directory = self.roots.sys.join("kernel/iommu_groups").join(group.to_string());
            fs::create_dir_all(group_directory.join("devices")).unwrap();
            symlink(&group_directory, directory.join("iommu_group")).unwrap();
            symlink(&directory, group_directory.join("devices").join(card.address)).unwrap();
        }
        if let Some(driver) = card.driver {
            self.driver(driver);
            attach(&self.roots, card.address, driver, card.interface);
        }
    }

    /// Gives a physical function up to `total` virtual ones, of which it has none.
    pub fn sriov(&self, address: &str, total: u16) {
        let directory = self.directory(address);
        self.put(directory.join("sriov_totalvfs"), &format!("{total}\n"));
        self.put(directory.join("sriov_numvfs"), "0\n");
        self.put(directory.join("sriov_drivers_autoprobe"), "1\n");
    }

    /// Loads a driver.
    pub fn driver(&self, name: &str) {
        self.put(self.roots.pci().join("drivers").join(name).join("unbind"), "");
    }

    /// Writes a file, making its directories.
    pub fn put(&self, path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Gives an interface an IPv6 address.
    pub fn address_v6(&self, interface: &str) {
        let line = format!("20010db8000000000000000000000002 04 40 00 82 {interface}\n");
        self.put(self.roots.proc.join("net/if_inet6"), &line);
    }

    /// Directory of a function.
    pub fn directory(&self, address: &str) -> PathBuf {
        self.roots.pci().join("devices").join(address)
    }

    /// The function as it is now.
    pub fn device(&self, address: &str) -> Device {
        find(&self.roots, address).unwrap()
    }

    /// Driver of a function, read off its link.
    pub fn driver_of(&self, address: &str) -> Option<String> {
        self.device(address).driver
    }

    /// Every file with its content and every link with its target.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut directories = vec![self.temp.path().to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path == self.roots.run.join("bmnic/lock") {
                    continue;
                }
                let kind = fs::symlink_metadata(&path).unwrap();
                let text = if kind.is_symlink() {
                    format!("-> {}", fs::read_link(&path).unwrap().display())
                } else if kind.is_dir() {
                    directories.push(path.clone());
                    "directory".into()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                found.insert(path, text);
            }
        }
        found
    }
}

/// What a dying kernel call panics with.
pub struct Died;

/// A kernel that plays its part on a [`Tree`].
pub struct FakeKernel {
    roots: Roots,
    files: Running,
    /// Driver and interface that a function gets if nothing else is set.
    native: BTreeMap<String, (String, Option<String>)>,
    calls: Cell<usize>,
    fail_at: Option<usize>,
    /// Whether every call after that one fails too.
    for_good: bool,
    die_at: Option<usize>,
    /// Drivers whose probe claims nothing, while the write succeeds.
    shy: Vec<&'static str>,
    /// Virtual functions that its drivers make at most.
    most_vfs: u16,
    /// Nodes below /dev/vfio appear a moment after their card was taken.
    late: bool,
    /// Whether it has VFIO's groups, or only a node for each card (CONFIG_VFIO_GROUP=n).
    groups: bool,
    /// Huge pages that it finds at most.
    most_pages: u64,
    /// Those that are still to appear.
    coming: RefCell<Vec<PathBuf>>,
    /// Paths and texts written, in order.
    pub written: RefCell<Vec<String>>,
}

impl FakeKernel {
    /// A kernel that does all it is told.
    pub fn new(tree: &Tree, cards: &[Card]) -> FakeKernel {
        let native = |c: &Card| Some((c.address.to_string(), (c.driver?.to_string(), c.interface.map(str::to_string))));
        FakeKernel {
            roots: tree.roots.clone(),
            files: Running::new(&tree.roots),
            native: cards.iter().filter_map(native).collect(),
            calls: Cell::new(0),
            fail_at: None,
            for_good: false,
            die_at: None,
            shy: Vec::new(),
            most_vfs: u16::MAX,
            late: false,
            groups: true,
            most_pages: u64::MAX,
            coming: RefCell::default(),
            written: RefCell::default(),
        }
    }

    /// The same, but call number `call` fails, without effect.
    pub fn failing_at(mut self, call: usize) -> Self {
        self.fail_at = Some(call);
        self
    }

    /// The same, but call number `call` and all after it fail, without effect.
    pub fn failing_from(mut self, call: usize) -> Self {
        self.for_good = true;
        self.failing_at(call)
    }

    /// The same, but the process dies in call number `call`.
    pub fn dying_at(mut self, call: usize) -> Self {
        self.die_at = Some(call);
        self
    }

    /// The same, but the driver of this name takes no card.
    pub fn with_shy(mut self, driver: &'static str) -> Self {
        self.shy.push(driver);
        self
    }

    /// The same, but its drivers make no more virtual functions than `most`.
    pub fn with_vfs(mut self, most: u16) -> Self {
        self.most_vfs = most;
        self
    }

    /// The same, but device nodes appear a moment later, as udev and devtmpfs make them.
    pub fn with_late_nodes(mut self) -> Self {
        self.late = true;
        self
    }

    /// The same, but VFIO has no groups: cards have nodes of their own, and IOMMUFD one.
    pub fn without_groups(mut self) -> Self {
        self.groups = false;
        fs::write(self.roots.dev.join("iommu"), "").unwrap();
        self
    }

    /// The same, but it finds no more huge pages than `most` in all.
    pub fn with_pages(mut self, most: u64) -> Self {
        self.most_pages = most;
        self
    }

    /// How many calls were made.
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    /// Counts a call. `dying` is what a process does half of before it dies.
    fn call(&self, dying: impl FnOnce()) -> io::Result<()> {
        let call = self.calls.replace(self.calls.get() + 1);
        if self.die_at == Some(call) {
            dying();
            std::panic::resume_unwind(Box::new(Died));
        }
        let fails = self.fail_at.is_some_and(|at| call == at || (self.for_good && call > at));
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    /// Does what the kernel does when `text` is written to `path`.
    pub fn effect(&self, path: &Path, text: &str) -> io::Result<()> {
        let no_device = || io::Error::from_raw_os_error(19);
        let text = text.trim();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("driver_override") => fs::write(path, format!("{}\n", if text.is_empty() { "(null)" } else { text })),
            Some("unbind") => {
                let driver = path.parent().and_then(Path::file_name).ok_or_else(no_device)?;
                let device = find(&self.roots, text).map_err(|_| no_device())?;
                if device.driver.as_deref() != driver.to_str() {
                    return Err(no_device());
                }
                detach(&self.roots, &device);
                Ok(())
            }
            Some("drivers_probe") => {
                let device = find(&self.roots, text).map_err(|_| no_device())?;
                self.probe(&device);
                Ok(())
            }
            Some("sriov_numvfs") => self.set_vfs(path, text.parse().map_err(|_| io::Error::from_raw_os_error(22))?),
            Some("enable_unsafe_noiommu_mode") => fs::write(path, format!("{text}\n")),
            Some("smp_affinity_list") if path.with_file_name("fixed").exists() => Err(io::Error::from_raw_os_error(5)),
            Some(
                "scaling_governor" | "disable" | "no_turbo" | "nmi_watchdog" | "numa_balancing" | "compact_memory",
            ) => fs::write(path, format!("{text}\n")),
            Some("smp_affinity_list") => {
                fs::write(path.with_file_name("effective_affinity_list"), format!("{text}\n"))?;
                fs::write(path, format!("{text}\n"))
            }
            // Linux prints as many digits as there can be processors.
            Some("default_smp_affinity" | "cpumask") => {
                fs::write(path, format!("{:x}\n", u32::from_str_radix(text, 16).unwrap()))
            }
            Some("enabled") => {
                let all = ["always", "madvise", "never"];
                let chosen = all.map(|one| if one == text { format!("[{one}]") } else { one.to_string() });
                fs::write(path, format!("{}\n", chosen.join(" ")))
            }
            Some("nr_hugepages") => {
                let count = |file: &str| -> u64 {
                    fs::read_to_string(path.with_file_name(file)).unwrap().trim().parse().unwrap()
                };
                let used = count("nr_hugepages") - count("free_hugepages");
                let total = text.parse::<u64>().unwrap().min(self.most_pages);
                assert!(total >= used, "pages in use were taken away");
                fs::write(path, format!("{total}\n"))?;
                fs::write(path.with_file_name("free_hugepages"), format!("{}\n", total - used))
            }
            other => panic!("the kernel has no attribute {other:?}"),
        }
    }

    /// As Linux, drivers/pci/iov.c, and ixgbe do: functions at 0x80, 0x82 and so on behind the card.
    fn set_vfs(&self, path: &Path, wanted: u16) -> io::Result<()> {
        let directory = path.parent().unwrap();
        let card = find(&self.roots, directory.file_name().unwrap().to_str().unwrap()).unwrap();
        let total: u16 = fs::read_to_string(directory.join("sriov_totalvfs")).unwrap().trim().parse().unwrap();
        let now = card.virtual_functions.len() as u16;
        let refused = |errno| {
            fs::write(path, format!("{now}\n")).unwrap();
            Err(io::Error::from_raw_os_error(errno))
        };
        let able = card.driver.as_deref().is_some_and(|driver| driver != "vfio-pci");
        match wanted {
            _ if wanted > total => return refused(34),
            _ if wanted == now => return fs::write(path, format!("{now}\n")),
            _ if !able => return refused(2),
            0 => {
                remove_vfs(&self.roots, &card);
                return Ok(());
            }
            _ if now > 0 => return refused(16),
            _ => {}
        }
        let made = wanted.min(self.most_vfs);
        let probes = fs::read_to_string(directory.join("sriov_drivers_autoprobe")).unwrap().trim() == "1";
        for n in 0..made {
            let place = card.address.to_string();
            let (bus, function) = (&place[..8], place[11..].parse::<u16>().unwrap() + 0x80 + 2 * n);
            let address = format!("{bus}{:02x}.{}", function >> 3, function & 7);
            let own = self.roots.pci().join("devices").join(&address);
            fs::create_dir_all(&own).unwrap();
            for (file, text) in [
                ("vendor", "0x8086\n"),
                ("device", "0x10ed\n"),
                ("class", "0x020000\n"),
                ("driver_override", "(null)\n"),
            ] {
                fs::write(own.join(file), text).unwrap();
            }
            symlink(directory, own.join("physfn")).unwrap();
            if probes {
                attach(&self.roots, &address, "ixgbevf", Some(&format!("eth1v{n}")));
            }
            symlink(&own, directory.join(format!("virtfn{n}"))).unwrap();
        }
        fs::write(path, format!("{made}\n"))
    }

    /// Lets the driver that fits take a function that nobody has.
    fn probe(&self, device: &Device) {
        let address = device.address.to_string();
        let native = self.native.get(&address);
        let wanted = device.driver_override.clone().or_else(|| native.map(|(driver, _)| driver.clone()));
        let Some(driver) = wanted.filter(|d| self.roots.pci().join("drivers").join(d).exists()) else { return };
        if device.driver.is_some() || self.shy.contains(&driver.as_str()) {
            return;
        }
        let interface = native.filter(|(own, _)| *own == driver).and_then(|(_, interface)| interface.as_deref());
        attach(&self.roots, &address, &driver, interface);
        if driver == "vfio-pci"
            && let Some(group) = device.iommu_group
        {
            let mut node = self.roots.dev.join("vfio").join(group.to_string());
            if !self.groups {
                fs::create_dir_all(device.directory(&self.roots).join("vfio-dev/vfio0")).unwrap();
                fs::create_dir_all(self.roots.dev.join("vfio/devices")).unwrap();
                node = self.roots.dev.join("vfio/devices/vfio0");
            }
            if self.late {
                self.coming.borrow_mut().push(node);
            } else {
                fs::write(node, "").unwrap();
            }
        }
    }
}

impl Kernel for FakeKernel {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.call(|| ())?;
        assert!(path.exists(), "a write to {}, which does not exist", path.display());
        self.written.borrow_mut().push(format!("{} {}", path.file_name().unwrap().display(), text.trim()));
        self.effect(path, text)
    }

    fn load_module(&self, name: &str) -> Result<()> {
        self.call(|| ()).map_err(|e| Error::io(format!("modprobe {name}"), e).with_kind(Kind::Unsupported))?;
        let file = self.roots.pci().join("drivers").join(name).join("unbind");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
        Ok(())
    }

    fn own(&self, path: &Path, user: Option<u32>, group: Option<u32>, mode: u32) -> io::Result<()> {
        self.call(|| ())?;
        self.files.own(path, user, group, mode)
    }

    fn create(&self, path: &Path, text: &str) -> io::Result<()> {
        self.call(|| fs::write(path, &text[..text.len() / 2]).unwrap())?;
        self.files.create(path, text)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|| ())?;
        self.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|| ())?;
        self.files.remove(path)
    }

    fn settled(&self, ready: &mut dyn FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        self.coming.take().into_iter().for_each(|node| fs::write(node, "").unwrap());
        ready()
    }
}

/// Gives a function to a driver: its link, and an interface if it makes one.
fn attach(roots: &Roots, address: &str, driver: &str, interface: Option<&str>) {
    let directory = roots.pci().join("devices").join(address);
    symlink(format!("../../drivers/{driver}"), directory.join("driver")).unwrap();
    if let Some(interface) = interface {
        let net = directory.join("net").join(interface);
        fs::create_dir_all(&net).unwrap();
        fs::write(net.join("address"), "02:00:00:00:00:01\n").unwrap();
        fs::write(net.join("operstate"), "up\n").unwrap();
        fs::write(net.join("speed"), "10000\n").unwrap();
        symlink("../..", net.join("device")).unwrap();
        symlink(&net, roots.sys.join("class/net").join(interface)).unwrap();
    }
}

/// Takes a function from its driver.
fn detach(roots: &Roots, device: &Device) {
    remove_vfs(roots, device);
    let directory = device.directory(roots);
    fs::remove_file(directory.join("driver")).unwrap();
    for interface in &device.interfaces {
        fs::remove_file(roots.sys.join("class/net").join(&interface.name)).unwrap();
    }
    let _ = fs::remove_dir_all(directory.join("net"));
    if let Some(group) = device.iommu_group {
        let _ = fs::remove_file(roots.dev.join("vfio").join(group.to_string()));
    }
}

/// Takes a function's virtual ones away.
fn remove_vfs(roots: &Roots, device: &Device) {
    let directory = device.directory(roots);
    for (n, function) in device.virtual_functions.iter().enumerate() {
        let function = Device::read(roots, *function).unwrap();
        if function.driver.is_some() {
            detach(roots, &function);
        }
        fs::remove_file(directory.join(format!("virtfn{n}"))).unwrap();
        fs::remove_dir_all(function.directory(roots)).unwrap();
    }
    if directory.join("sriov_numvfs").exists() {
        fs::write(directory.join("sriov_numvfs"), "0\n").unwrap();
    }
}

/// The address of a card.
pub fn address(text: &str) -> Address {
    text.parse().unwrap()
}
