//! Discovery: what PCI functions the machine has, as sysfs tells it.
//!
//! ```text
//!   /sys/bus/pci/devices/0000:03:00.0/
//!       vendor device class revision      what it is
//!       driver -> ../drivers/ixgbe        who has it
//!       net/enp3s0f0/                     its interfaces (virtio: virtioN/net/...)
//!       iommu_group -> .../iommu_groups/27
//!       virtfn0, physfn                   SR-IOV family
//! ```
//!
//! Nothing here needs root or changes anything. A file that is missing or makes
//! no sense is a fact that is not known, never an error: listing must not fail
//! because one card of many is odd. Interfaces that were moved into another
//! network namespace do not show (sysfs hides them).

use super::{Address, Id};
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys::Roots;
use crate::sys::link::LinkSocket;
use std::fs;
use std::path::{Path, PathBuf};

/// What the kernel says of a speed that it does not know (`SPEED_UNKNOWN` and none).
const SPEED_UNKNOWN: [u32; 2] = [u32::MAX, 0];

/// A PCI function of the machine, as found at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Where it is.
    pub address: Address,
    /// What it is.
    pub id: Id,
    /// Class, subclass and programming interface (PCI 3.0 appendix D); 0x02xxxx is a network controller.
    pub class: u32,
    /// Kernel driver that has it.
    pub driver: Option<String>,
    /// The one driver that may have it, if that was set.
    pub driver_override: Option<String>,
    /// Network interfaces the kernel made of it, in this network namespace.
    pub interfaces: Vec<Interface>,
    /// NUMA node, where the firmware says.
    pub numa_node: Option<u16>,
    /// IOMMU group; none means no IOMMU translates for it.
    pub iommu_group: Option<u32>,
    /// Its PCI Express link, if it has one.
    pub pcie: Option<PcieLink>,
    /// The physical function, if this is a virtual one.
    pub physical_function: Option<Address>,
    /// Its virtual functions, if this is a physical one.
    pub virtual_functions: Vec<Address>,
    /// BARs (0 to 5) and ROM (6) that have a size.
    pub resources: Vec<Resource>,
}

/// A network interface of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name, as in `enp3s0f0`.
    pub name: String,
    /// Ethernet address as the kernel prints it; empty if it has none.
    pub mac: String,
    /// Operational state (RFC 2863): `up`, `down`, `dormant`, `unknown`...
    pub state: String,
    /// Speed in bits a second while the link is up.
    pub speed: Option<u64>,
}

/// A PCI Express link: what it runs at and what the card could do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcieLink {
    /// Speed a lane, as in `8.0 GT/s`.
    pub speed: String,
    /// Lanes in use.
    pub width: u8,
    /// Best speed a lane of the card.
    pub max_speed: String,
    /// Lanes of the card.
    pub max_width: u8,
}

impl PcieLink {
    /// Whether the card runs below what it can: a slot too narrow or too old.
    pub fn degraded(&self) -> bool {
        let rate = |speed: &str| speed.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        f64::from(self.width) * rate(&self.speed) < f64::from(self.max_width) * rate(&self.max_speed)
    }
}

/// A BAR as the kernel assigned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// 0 to 5, or 6 for the expansion ROM.
    pub index: u8,
    /// Bus address of the first byte.
    pub start: u64,
    /// Size in bytes.
    pub len: u64,
    /// True for memory, false for I/O ports.
    pub memory: bool,
}

impl Device {
    /// Reads what sysfs says of the function at `address`; none if there is no such function.
    pub fn read(roots: &Roots, address: Address) -> Option<Device> {
        let dir = directory(roots, address);
        let class = hex(&dir.join("class"))?;
        let id = Id {
            vendor: hex(&dir.join("vendor"))? as u16,
            device: hex(&dir.join("device"))? as u16,
            subsystem_vendor: hex(&dir.join("subsystem_vendor")).unwrap_or(0) as u16,
            subsystem: hex(&dir.join("subsystem_device")).unwrap_or(0) as u16,
            revision: hex(&dir.join("revision")).unwrap_or(0) as u8,
        };
        Some(Device {
            address,
            id,
            class,
            driver: link_name(&dir.join("driver")),
            driver_override: text(&dir.join("driver_override")).filter(|o| !o.is_empty() && o != "(null)"),
            interfaces: interfaces(&dir),
            numa_node: number(&dir.join("numa_node")), // -1 where unknown
            iommu_group: link_name(&dir.join("iommu_group")).and_then(|name| name.parse().ok()),
            pcie: pcie(&dir),
            physical_function: link_name(&dir.join("physfn")).and_then(|name| name.parse().ok()),
            virtual_functions: virtual_functions(&dir),
            resources: resources(&dir),
        })
    }

    /// Whether this is a network controller of any sort (class 02).
    pub fn is_network(&self) -> bool {
        self.class >> 16 == 0x02
    }

    /// Whether this is a bridge (class 06), which may stay in an IOMMU group.
    pub fn is_bridge(&self) -> bool {
        self.class >> 16 == 0x06
    }

    /// Its directory in sysfs.
    pub fn directory(&self, roots: &Roots) -> PathBuf {
        directory(roots, self.address)
    }

    /// Names of its interfaces, `eth0, eth1`; empty if it has none.
    pub fn interface_names(&self) -> String {
        let names: Vec<&str> = self.interfaces.iter().map(|i| i.name.as_str()).collect();
        names.join(", ")
    }
}

/// Directory in sysfs of the function at `address`, whether it is there or not.
pub fn directory(roots: &Roots, address: Address) -> PathBuf {
    roots.pci().join("devices").join(address.to_string())
}

/// Every PCI function, by address. A machine without PCI has none.
pub fn all(roots: &Roots) -> Vec<Device> {
    addresses(roots).into_iter().filter_map(|address| Device::read(roots, address)).collect()
}

/// Every network controller, by address; functions of other classes are not looked into.
pub fn network(roots: &Roots) -> Vec<Device> {
    let is_network = |a: &Address| hex(&directory(roots, *a).join("class")).is_some_and(|class| class >> 16 == 0x02);
    addresses(roots).into_iter().filter(is_network).filter_map(|address| Device::read(roots, address)).collect()
}

/// Members of an IOMMU group, by address.
pub fn group_members(roots: &Roots, group: u32) -> Vec<Device> {
    group_addresses(roots, group).into_iter().filter_map(|address| Device::read(roots, address)).collect()
}

/// Where they are, lowest first.
pub fn group_addresses(roots: &Roots, group: u32) -> Vec<Address> {
    let dir = roots.sys.join("kernel/iommu_groups").join(group.to_string()).join("devices");
    let mut members: Vec<Address> = entries(&dir).iter().filter_map(|name| name.parse().ok()).collect();
    members.sort_unstable();
    members
}

/// The function that the user named: `0000:03:00.0`, `03:00.0` or an interface.
///
/// # Errors
/// [`Kind::NotFound`] if there is none, with where to look.
pub fn find(roots: &Roots, name: &str) -> Result<Device> {
    if let Ok(address) = name.parse::<Address>() {
        return Device::read(roots, address).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{address}: this machine has no such PCI device"))
                .with_remedy(Remedy::ListCards)
        });
    }
    let Some(own) = interface(roots, name) else {
        let text = format!("'{name}' is neither a PCI address (0000:03:00.0) nor a network interface here");
        return Err(Error::new(Kind::NotFound, text).with_remedy(Remedy::ListCards));
    };
    let interface = roots.sys.join("class/net").join(own);
    // The interface's device link leads to the function or to something on it
    // (virtio2), so the nearest ancestor with an address is the function.
    let above = fs::canonicalize(interface.join("device")).unwrap_or_default();
    let address = above.ancestors().find_map(|dir| dir.file_name()?.to_str()?.parse::<Address>().ok());
    address.and_then(|address| Device::read(roots, address)).ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            format!("{name} is not an interface of a PCI card but a virtual one; name the card below it"),
        )
    })
}

/// Whether the kernel has an interface of this name.
pub fn is_interface(roots: &Roots, name: &str) -> bool {
    interface(roots, name).is_some()
}

/// The name of the interface that is called so, by its name or by another that it has
/// (`ip link property add altname`), which sysfs does not show.
pub fn interface(roots: &Roots, name: &str) -> Option<String> {
    // A name with a slash or dots would leave the directory.
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
    if plain && roots.sys.join("class/net").join(name).exists() {
        return Some(name.into());
    }
    // Of a copy of a machine, nothing is in this one.
    if !plain || !roots.is_running() {
        return None;
    }
    LinkSocket::open().ok()?.called(name).ok().map(|link| link.name)
}

/// What else an interface is called, where that can be asked.
pub fn altnames(roots: &Roots, name: &str) -> Vec<String> {
    let ask = || Some(LinkSocket::open().ok()?.called(name).ok()?.altnames);
    if roots.is_running() { ask().unwrap_or_default() } else { Vec::new() }
}

/// The functions that the user named, where `*` and `?` stand for any
/// characters of an address: `82:00.*`. A pattern never names anything but
/// network controllers; a plain name is looked up as [`find`] does.
///
/// # Errors
/// [`Kind::NotFound`] if nothing matches.
pub fn find_matching(roots: &Roots, pattern: &str) -> Result<Vec<Device>> {
    if !pattern.contains(['*', '?']) {
        return Ok(vec![find(roots, pattern)?]);
    }
    let matches = |device: &Device| {
        let long = device.address.to_string();
        let short = long.strip_prefix("0000:").unwrap_or(&long);
        matches_glob(pattern, &long) || matches_glob(pattern, short)
    };
    let found: Vec<Device> = network(roots).into_iter().filter(matches).collect();
    if found.is_empty() {
        let text = format!("no network card's PCI address matches '{pattern}'");
        return Err(Error::new(Kind::NotFound, text).with_remedy(Remedy::ListCards));
    }
    Ok(found)
}

/// Whether `text` is what `pattern` says, `*` being any run and `?` any one byte.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star, should the rest not fit.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

fn addresses(roots: &Roots) -> Vec<Address> {
    let mut addresses: Vec<Address> =
        entries(&roots.pci().join("devices")).iter().filter_map(|name| name.parse().ok()).collect();
    addresses.sort_unstable();
    addresses
}

fn interfaces(dir: &Path) -> Vec<Interface> {
    // Most drivers hang interfaces on the function itself, virtio one level below.
    let below = entries(dir).into_iter().filter(|name| name.starts_with("virtio")).map(|name| dir.join(name));
    let mut found = Vec::new();
    for parent in std::iter::once(dir.to_path_buf()).chain(below) {
        let net = parent.join("net");
        for name in entries(&net) {
            let dir = net.join(&name);
            found.push(Interface {
                mac: text(&dir.join("address")).unwrap_or_default(),
                state: text(&dir.join("operstate")).unwrap_or_else(|| "unknown".into()),
                // Mbit/s; -1 or an error while down.
                speed: number::<u32>(&dir.join("speed"))
                    .filter(|speed| !SPEED_UNKNOWN.contains(speed))
                    .map(|mbit| u64::from(mbit) * 1_000_000),
                name,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn pcie(dir: &Path) -> Option<PcieLink> {
    let speed = |file: &str| text(&dir.join(file)).map(|s| s.trim_end_matches(" PCIe").to_string());
    let link = PcieLink {
        speed: speed("current_link_speed")?,
        width: number(&dir.join("current_link_width"))?,
        max_speed: speed("max_link_speed").unwrap_or_default(),
        max_width: number(&dir.join("max_link_width")).unwrap_or(0),
    };
    (link.width > 0).then_some(link)
}

pub(super) fn virtual_functions(dir: &Path) -> Vec<Address> {
    (0..).map_while(|n| link_name(&dir.join(format!("virtfn{n}")))).filter_map(|name| name.parse().ok()).collect()
}

/// Reads `resource`: a line each of first address, last address and flags
/// (Linux include/linux/ioport.h: IORESOURCE_IO 0x100, IORESOURCE_MEM 0x200).
fn resources(dir: &Path) -> Vec<Resource> {
    const MEMORY: u64 = 0x200;
    let lines = text(&dir.join("resource")).unwrap_or_default();
    let parse = |(index, line): (usize, &str)| {
        let mut words = line.split_whitespace().map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
        let (start, end, flags) = (words.next()??, words.next()??, words.next()??);
        let len = end.checked_sub(start)?.checked_add(1)?;
        let assigned = flags != 0 && end != 0;
        assigned.then_some(Resource { index: index as u8, start, len, memory: flags & MEMORY != 0 })
    };
    lines.lines().take(7).enumerate().filter_map(parse).collect()
}

/// Names in a directory; none if it cannot be read.
pub(crate) fn entries(dir: &Path) -> Vec<String> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Last component of where a symbolic link leads.
pub(crate) fn link_name(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_string)
}

/// A file's text without the white space around it.
pub(crate) fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_string())
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

fn hex(path: &Path) -> Option<u32> {
    u32::from_str_radix(text(path)?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    /// A tree with one 82599 port at 0000:03:00.0 (eth1) and a virtio card at 0000:00:03.0 (eth0).
    fn tree() -> (tempfile::TempDir, Roots) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let put = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let port = roots.pci().join("devices/0000:03:00.0");
        for (file, text) in [
            ("vendor", "0x8086\n"),
            ("device", "0x10fb\n"),
            ("class", "0x020000\n"),
            ("revision", "0x01\n"),
            ("subsystem_vendor", "0x8086\n"),
            ("subsystem_device", "0x0003\n"),
            ("numa_node", "1\n"),
            ("driver_override", "(null)\n"),
            ("current_link_speed", "5.0 GT/s PCIe\n"),
            ("current_link_width", "4\n"),
            ("max_link_speed", "5.0 GT/s PCIe\n"),
            ("max_link_width", "8\n"),
            (
                "resource",
                "0x00000000f7c00000 0x00000000f7c7ffff 0x000000000014220c\n\
                 0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                 0x000000000000e020 0x000000000000e03f 0x0000000000040101\n",
            ),
            ("net/eth1/address", "02:00:00:00:00:01\n"),
            ("net/eth1/operstate", "up\n"),
            ("net/eth1/speed", "10000\n"),
        ] {
            put(port.join(file), text);
        }
        symlink("../../drivers/ixgbe", port.join("driver")).unwrap();
        symlink("../../../../kernel/iommu_groups/27", port.join("iommu_group")).unwrap();
        symlink("../0000:03:10.0", port.join("virtfn0")).unwrap();
        symlink("../0000:03:10.2", port.join("virtfn1")).unwrap();
        symlink("../..", port.join("net/eth1/device")).unwrap();

        let virtio = roots.pci().join("devices/0000:00:03.0");
        for (file, text) in [
            ("vendor", "0x1af4\n"),
            ("device", "0x1041\n"),
            ("class", "0x020000\n"),
            ("numa_node", "-1\n"),
            ("virtio2/net/eth0/speed", "-1\n"),
        ] {
            put(virtio.join(file), text);
        }
        symlink("../..", virtio.join("virtio2/net/eth0/device")).unwrap();
        let net = roots.sys.join("class/net");
        fs::create_dir_all(net.join("lo")).unwrap();
        symlink(port.join("net/eth1"), net.join("eth1")).unwrap();
        symlink(virtio.join("virtio2/net/eth0"), net.join("eth0")).unwrap();
        (temp, roots)
    }

    #[test]
    fn a_speed_that_the_kernel_does_not_know_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let net = temp.path().join("net/eth0");
        fs::create_dir_all(&net).unwrap();
        for (said, speed) in
            [("10000\n", Some(10_000_000_000)), ("-1\n", None), ("4294967295\n", None), ("0\n", None), ("", None)]
        {
            fs::write(net.join("speed"), said).unwrap();
            assert_eq!(interfaces(temp.path())[0].speed, speed, "{said:?}");
        }
    }

    #[test]
    fn everything_sysfs_says_of_a_card_is_read() {
        let (_temp, roots) = tree();
        let device = find(&roots, "03:00.0").unwrap();
        assert_eq!((device.id.vendor, device.id.device, device.id.subsystem), (0x8086, 0x10fb, 3));
        assert!(device.is_network() && !device.is_bridge());
        assert_eq!(device.driver.as_deref(), Some("ixgbe"));
        assert_eq!(device.driver_override, None);
        assert_eq!((device.numa_node, device.iommu_group), (Some(1), Some(27)));
        assert_eq!(device.interface_names(), "eth1");
        assert_eq!(device.interfaces[0].speed, Some(10_000_000_000));
        assert!(device.pcie.as_ref().unwrap().degraded());
        assert_eq!(device.virtual_functions.len(), 2);
        assert_eq!(
            device.resources,
            [
                Resource { index: 0, start: 0xf7c0_0000, len: 0x8_0000, memory: true },
                Resource { index: 2, start: 0xe020, len: 0x20, memory: false }
            ]
        );
    }

    #[test]
    fn an_interface_names_the_function_below_it_even_through_virtio() {
        let (_temp, roots) = tree();
        assert_eq!(find(&roots, "eth1").unwrap().address.to_string(), "0000:03:00.0");
        let virtio = find(&roots, "eth0").unwrap();
        assert_eq!(virtio.address.to_string(), "0000:00:03.0");
        assert_eq!(virtio.interface_names(), "eth0");
        assert_eq!((virtio.numa_node, virtio.interfaces[0].speed), (None, None));
    }

    #[test]
    fn what_is_not_there_is_said_in_one_line() {
        let (_temp, roots) = tree();
        for name in ["0000:01:00.0", "eth9", "", "..", "../net/eth1", "lo"] {
            let error = find(&roots, name).unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound, "{name}");
            assert_eq!(error.to_string().lines().count(), 1, "{name}");
        }
    }

    #[test]
    fn a_machine_without_pci_has_no_cards_and_no_error() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(all(&Roots::under(temp.path())), []);
    }

    #[test]
    fn a_pattern_names_network_cards_only() {
        let (_temp, roots) = tree();
        let disk = roots.pci().join("devices/0000:03:00.7");
        fs::create_dir_all(&disk).unwrap();
        for (file, text) in [("vendor", "0x1b21\n"), ("device", "0x0612\n"), ("class", "0x010601\n")] {
            fs::write(disk.join(file), text).unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            find_matching(&roots, pattern).unwrap().iter().map(|d| d.address.to_string()).collect()
        };
        assert_eq!(names("03:00.*"), ["0000:03:00.0"]);
        assert_eq!(names("0000:0?:*"), ["0000:00:03.0", "0000:03:00.0"]);
        assert_eq!(names("03:00.7"), ["0000:03:00.7"]);
        assert_eq!(find_matching(&roots, "82:*").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(all(&roots).len(), 3);
    }

    proptest! {
        #[test]
        fn nonsense_in_a_resource_file_is_survived(lines in "[0-9a-fx \n-]{0,200}") {
            let temp = tempfile::tempdir().unwrap();
            fs::write(temp.path().join("resource"), lines).unwrap();
            prop_assert!(resources(temp.path()).len() <= 7);
        }

        #[test]
        fn a_text_matches_itself_with_any_piece_starred(text in "[0-9a-f:.]{1,12}", cut in 0usize..12, len in 0usize..12) {
            let cut = cut.min(text.len());
            let end = (cut + len).min(text.len());
            let pattern = format!("{}*{}", &text[..cut], &text[end..]);
            prop_assert!(matches_glob(&pattern, &text));
        }
    }
}
