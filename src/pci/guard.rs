//! The guard: what would die if a card were taken from the kernel.
//!
//! Taking a card ends everything that uses it at once: its addresses and routes
//! go, bonds and bridges lose a port, and if it carries the login of the user who
//! typed the command, nobody is left to undo it. So each use is found and named
//! before anything is touched, and binding is refused unless the user says that
//! these may go.
//!
//! What cannot be seen from here counts as a use: a card whose driver shows no
//! interface may have it in another network namespace.

use super::Address;
use super::discover::{self, Device, entries, text};
use super::network::Network;
use crate::sys::Roots;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// One way in which a card is in use: why taking it away would hurt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// The session that asks runs over it.
    Login {
        /// Interface that has the address.
        interface: String,
        /// Address the session came in by.
        address: IpAddr,
    },
    /// A file system or disk of this machine is reached over it.
    Storage {
        /// Interface on the way.
        interface: String,
        /// What is reached.
        what: String,
    },
    /// An interface has an address.
    Address {
        /// The interface.
        interface: String,
        /// Address and network bits, `192.0.2.2/24`.
        address: String,
    },
    /// An interface carries a route.
    Route {
        /// The interface.
        interface: String,
        /// Where it leads, as `ip route` writes it.
        target: String,
    },
    /// An interface is part of another one: a bond, a bridge, a VLAN.
    Upper {
        /// The interface.
        interface: String,
        /// What is stacked on it.
        upper: String,
        /// What that is.
        kind: String,
    },
    /// Virtual functions of the card are switched on.
    VirtualFunctions(Vec<Address>),
    /// A network driver has it but shows no interface in this namespace.
    Hidden {
        /// The driver.
        driver: String,
    },
    /// The driver shares the card with user programs by design.
    Bifurcated {
        /// The driver.
        driver: String,
    },
    /// A process has it open through VFIO.
    Open {
        /// Process id.
        pid: u32,
        /// Its name.
        command: String,
    },
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Login { interface, address } => write!(f, "your own login came in by {address} on {interface}"),
            Use::Storage { interface, what } => write!(f, "{what} is reached over {interface}"),
            Use::Address { interface, address } => write!(f, "{interface} has address {address}"),
            Use::Route { interface, target } => write!(f, "{interface} carries the route {target}"),
            Use::Upper { interface, upper, kind } => write!(f, "{interface} is part of {kind} {upper}"),
            Use::VirtualFunctions(functions) => write!(f, "its {} virtual functions would go with it", functions.len()),
            Use::Hidden { driver } => {
                write!(f, "driver {driver} shows no interface here, another network namespace may be using it")
            }
            Use::Bifurcated { driver } => {
                write!(f, "driver {driver} shares the card with programs that use RDMA verbs, and they would lose it")
            }
            Use::Open { pid, command } => write!(f, "process {pid} ({command}) has it open"),
        }
    }
}

impl Use {
    /// The same in a word or two, for a table.
    pub fn word(&self) -> String {
        match self {
            Use::Login { .. } => "your login".into(),
            Use::Storage { .. } => "storage".into(),
            Use::Address { address, .. } => address.clone(),
            Use::Route { target, .. } => format!("route {target}"),
            Use::Upper { upper, kind, .. } => format!("{kind} {upper}"),
            Use::VirtualFunctions(functions) => format!("{} VFs", functions.len()),
            Use::Hidden { .. } => "other namespace?".into(),
            Use::Bifurcated { .. } => "shared driver".into(),
            Use::Open { command, .. } => format!("open: {command}"),
        }
    }
}

/// What the machine as a whole depends on, read once for any number of cards.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Addresses, routes, stacks.
    pub network: Network,
    /// Address by which the present login came in, if it came over the network.
    pub login: Option<IpAddr>,
    /// File systems and disks on the network.
    storage: Vec<Remote>,
}

/// Storage on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remote {
    what: String,
    /// Where it is; unknown means that any way out may lead there.
    server: Option<IpAddr>,
}

impl Machine {
    /// Reads it. `ssh_connection` is the variable of that name, which sudo
    /// drops: then the environments of the processes above this one are asked.
    pub fn read(roots: &Roots, ssh_connection: Option<&str>) -> Machine {
        let inherited = || variable_above(&roots.proc, "SSH_CONNECTION=");
        let connection = ssh_connection.map(str::to_string).or_else(inherited);
        Machine { network: Network::read(roots), login: connection.and_then(|c| server(&c)), storage: storage(roots) }
    }

    /// The uses of `device` that the network stack knows of, gravest first.
    pub fn uses(&self, device: &Device) -> Vec<Use> {
        let mut uses = Vec::new();
        for interface in &device.interfaces {
            self.interface_uses(&interface.name, &mut uses);
        }
        if !device.virtual_functions.is_empty() {
            uses.push(Use::VirtualFunctions(device.virtual_functions.clone()));
        }
        if let Some(driver) = &device.driver
            && !is_user_space(driver)
        {
            if device.interfaces.is_empty() && device.is_network() {
                uses.push(Use::Hidden { driver: driver.clone() });
            }
            if is_bifurcated(driver) {
                uses.push(Use::Bifurcated { driver: driver.clone() });
            }
        }
        uses.sort_by_key(gravity);
        uses
    }

    fn interface_uses(&self, interface: &str, uses: &mut Vec<Use>) {
        let network = &self.network;
        for name in network.stack(interface) {
            for upper in network.uppers(&name) {
                let (interface, upper, kind) = (name.clone(), upper.name.clone(), upper.kind.clone());
                uses.push(Use::Upper { interface, upper, kind });
            }
            let addresses = network.addresses.iter().filter(|a| a.interface == name);
            uses.extend(
                addresses
                    .map(|a| Use::Address { interface: name.clone(), address: format!("{}/{}", a.address, a.prefix) }),
            );
            let routes: Vec<_> = network.routes.iter().filter(|r| r.interface == name).collect();
            uses.extend(routes.iter().map(|r| Use::Route { interface: name.clone(), target: r.target() }));
            if let Some(address) = self.login.filter(|a| network.holder(*a) == Some(&name)) {
                uses.push(Use::Login { interface: name.clone(), address });
            }
            for remote in &self.storage {
                let over_this = match remote.server {
                    Some(server) => network.towards(server) == Some(&name),
                    None => !routes.is_empty(),
                };
                if over_this {
                    uses.push(Use::Storage { interface: name.clone(), what: remote.what.clone() });
                }
            }
        }
    }
}

/// Order in which uses are told: what locks the user out comes first.
fn gravity(a_use: &Use) -> u8 {
    match a_use {
        Use::Login { .. } => 0,
        Use::Storage { .. } => 1,
        Use::Open { .. } => 2,
        Use::Upper { .. } => 3,
        Use::Address { .. } => 4,
        Use::Route { .. } => 5,
        _ => 6,
    }
}

/// Whether a driver is one that hands cards to user space.
pub fn is_user_space(driver: &str) -> bool {
    is_vfio(driver) || matches!(driver, "uio_pci_generic" | "igb_uio" | "pci-stub")
}

/// Whether a driver hands cards to user space through VFIO: the general one,
/// or one of a vendor (`mlx5_vfio_pci`).
pub fn is_vfio(driver: &str) -> bool {
    driver == "vfio-pci" || driver.ends_with("_vfio_pci") || driver.ends_with("-vfio-pci")
}

/// Whether a driver serves the kernel and user programs at once, so that
/// a program can drive it without taking it from the kernel (DPDK guide, linux_drivers).
fn is_bifurcated(driver: &str) -> bool {
    matches!(driver, "mlx4_core" | "mlx5_core")
}

/// The processes that have `device` open through VFIO. Taking a card out of
/// vfio-pci waits for them, for ever if need be. Processes of other users are
/// seen by root only.
pub fn holders(roots: &Roots, device: &Device) -> Vec<Use> {
    let nodes = vfio_nodes(roots, device);
    if nodes.is_empty() { Vec::new() } else { processes_with(&roots.proc, |file| nodes.iter().any(|n| n == file)) }
}

/// The device nodes by which VFIO gives a card out: its group's, with or
/// without an IOMMU, and the newer one of its own. They need not exist.
pub(crate) fn vfio_nodes(roots: &Roots, device: &Device) -> Vec<PathBuf> {
    let vfio = roots.dev.join("vfio");
    let group = device.iommu_group.into_iter();
    let mut nodes: Vec<PathBuf> =
        group.flat_map(|group| [vfio.join(group.to_string()), vfio.join(format!("noiommu-{group}"))]).collect();
    let own = entries(&device.directory(roots).join("vfio-dev"));
    nodes.extend(own.into_iter().map(|name| vfio.join("devices").join(name)));
    nodes
}

/// The processes with an open file that `wanted` accepts.
fn processes_with(proc: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<Use> {
    let mut found = Vec::new();
    for pid in entries(proc).iter().filter_map(|name| name.parse::<u32>().ok()) {
        let dir = proc.join(pid.to_string());
        let descriptors = dir.join("fd");
        let opened = |fd: &String| fs::read_link(descriptors.join(fd)).is_ok_and(|file| wanted(&file));
        if entries(&descriptors).iter().any(opened) {
            found.push(Use::Open { pid, command: text(&dir.join("comm")).unwrap_or_default() });
        }
    }
    found
}

/// Why an IOMMU group cannot be used as a whole: members that a kernel driver
/// has, other than bridges and the `taken` ones, which leave it now. VFIO opens
/// a group only if every member is its own or nobody's.
pub fn obstacles(roots: &Roots, group: u32, taken: &[Address]) -> Vec<Device> {
    let in_the_way = |member: &Device| {
        let kernel_has_it = member.driver.as_deref().is_some_and(|driver| !is_user_space(driver));
        kernel_has_it && !member.is_bridge() && !taken.contains(&member.address)
    };
    discover::group_members(roots, group).into_iter().filter(in_the_way).collect()
}

/// Server address of `SSH_CONNECTION`: client, its port, server, its port.
fn server(connection: &str) -> Option<IpAddr> {
    let address = connection.split_whitespace().nth(2)?;
    // A link-local address carries its interface: fe80::1%eth0.
    address.split('%').next()?.parse().ok()
}

/// Value of `NAME=` in the nearest process above this one that has it.
fn variable_above(proc: &Path, name: &str) -> Option<String> {
    let parent = |dir: &Path| -> Option<u32> {
        // The command in parentheses may itself hold spaces and parentheses.
        let stat = text(&dir.join("stat"))?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let mut dir = proc.join("self");
    // No sane process has more ancestors; a /proc that changes could loop.
    for _ in 0..64 {
        let above = parent(&dir).filter(|&pid| pid > 0)?;
        dir = proc.join(above.to_string());
        let environment = fs::read(dir.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|&b| b == 0);
        if let Some(found) = variables.find_map(|v| v.strip_prefix(name.as_bytes())) {
            return String::from_utf8(found.to_vec()).ok();
        }
    }
    None
}

/// File systems and disks on the network: mounts, iSCSI sessions, network
/// block devices, and a root file system that the boot line puts there.
fn storage(roots: &Roots) -> Vec<Remote> {
    let mut found = Vec::new();
    let mounts = text(&roots.proc.join("mounts")).unwrap_or_default();
    found.extend(mounts.lines().filter_map(remote_mount));
    let connections = roots.sys.join("class/iscsi_connection");
    for name in entries(&connections) {
        let server = text(&connections.join(&name).join("address")).and_then(|a| a.parse().ok());
        found.push(Remote { what: "an iSCSI disk".into(), server });
    }
    let blocks = roots.sys.join("block");
    let serving = |name: &String| name.starts_with("nbd") && blocks.join(name).join("pid").exists();
    found.extend(
        entries(&blocks)
            .into_iter()
            .filter(serving)
            .map(|name| Remote { what: format!("the network block device {name}"), server: None }),
    );
    let boot = text(&roots.proc.join("cmdline")).unwrap_or_default();
    let on_network = |word: &&str| ["root=/dev/nfs", "root=/dev/nbd", "netroot="].iter().any(|p| word.starts_with(p));
    if let Some(word) = boot.split_whitespace().find(on_network) {
        found.push(Remote { what: format!("the root file system ({word})"), server: None });
    }
    found
}

/// A line of `/proc/mounts` (source, directory, type, options), if it is a
/// file system of another machine.
fn remote_mount(line: &str) -> Option<Remote> {
    const TYPES: [&str; 8] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.glusterfs", "fuse.sshfs", "lustre"];
    let mut words = line.split_whitespace();
    let (source, directory, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if !TYPES.contains(&kind) {
        return None;
    }
    let option = options.split(',').find_map(|o| o.strip_prefix("addr="));
    let named = source.trim_start_matches('/').split([':', '/']).next();
    let server = option.or(named).and_then(|address| address.parse().ok());
    Some(Remote { what: format!("the {kind} file system on {directory}"), server })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::discover::Interface;
    use crate::pci::network::{InterfaceAddress, Route};
    use std::os::unix::fs::symlink;

    fn device(interfaces: &[&str], driver: Option<&str>) -> Device {
        let interface = |name: &&str| Interface { name: name.to_string(), ..Interface::default() };
        Device {
            class: 0x02_0000,
            driver: driver.map(str::to_string),
            interfaces: interfaces.iter().map(interface).collect(),
            ..Device::default()
        }
    }

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn told(machine: &Machine, device: &Device) -> Vec<String> {
        machine.uses(device).iter().map(Use::to_string).collect()
    }

    fn address(interface: &str, address: &str) -> InterfaceAddress {
        InterfaceAddress { interface: interface.into(), address: address.parse().unwrap(), prefix: 64 }
    }

    #[test]
    fn an_idle_card_is_free() {
        assert!(told(&Machine::default(), &device(&["eth0"], Some("ixgbe"))).is_empty());
        assert!(told(&Machine::default(), &device(&[], Some("vfio-pci"))).is_empty());
        assert!(told(&Machine::default(), &device(&[], None)).is_empty());
    }

    #[test]
    fn an_ipv6_only_host_is_guarded_like_any_other() {
        let mut machine = Machine::default();
        machine.network.addresses.push(address("eth0", "2001:db8::2"));
        machine.network.routes.push(Route {
            interface: "eth0".into(),
            destination: "::".parse().unwrap(),
            prefix: 0,
            gateway: Some("fe80::1".parse().unwrap()),
            metric: 1024,
        });
        assert_eq!(
            told(&machine, &device(&["eth0"], Some("ixgbe"))),
            ["eth0 has address 2001:db8::2/64", "eth0 carries the route default via fe80::1"]
        );
        assert!(told(&machine, &device(&["eth1"], Some("ixgbe"))).is_empty());
    }

    #[test]
    fn a_login_over_a_bridge_over_a_bond_is_seen_and_told_first() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let net = roots.sys.join("class/net");
        for (name, kind) in [("bond0", "bond"), ("br0", "bridge")] {
            put(&net.join(name).join("uevent"), &format!("DEVTYPE={kind}\nINTERFACE={name}\n"));
        }
        fs::create_dir_all(net.join("eth0")).unwrap();
        symlink("../bond0", net.join("eth0/master")).unwrap();
        symlink("../bond0", net.join("eth0/upper_bond0")).unwrap();
        symlink("../br0", net.join("bond0/master")).unwrap();
        put(&roots.proc.join("net/if_inet6"), "20010db8000000000000000000000002 04 40 00 82 br0\n");

        let machine = Machine::read(&roots, Some("2001:db8::99 50000 2001:db8::2 22"));
        assert_eq!(
            told(&machine, &device(&["eth0"], Some("ixgbe"))),
            [
                "your own login came in by 2001:db8::2 on br0",
                "eth0 is part of bond bond0",
                "bond0 is part of bridge br0",
                "br0 has address 2001:db8::2/64"
            ]
        );
    }

    #[test]
    fn sudo_does_not_hide_the_login() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        put(&roots.proc.join("self/stat"), "30 (bmnic) R 20 30 30 0");
        put(&roots.proc.join("20/stat"), "20 (su do) x) S 10 20 20 0");
        put(&roots.proc.join("20/environ"), "SUDO_USER=me\0");
        put(&roots.proc.join("10/stat"), "10 (bash) S 1 10 10 0");
        put(&roots.proc.join("10/environ"), "A=1\0SSH_CONNECTION=192.0.2.9 5 fe80::2%eth0 22\0B=2\0");
        put(&roots.proc.join("net/if_inet6"), "fe800000000000000000000000000002 04 40 20 80 eth0\n");
        let machine = Machine::read(&roots, None);
        assert_eq!(machine.login, Some("fe80::2".parse().unwrap()));
        assert_eq!(told(&machine, &device(&["eth0"], Some("ixgbe"))), ["your own login came in by fe80::2 on eth0"]);
    }

    #[test]
    fn a_root_file_system_on_the_network_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        put(&roots.proc.join("mounts"), "192.0.2.1:/srv / nfs4 rw,addr=192.0.2.1 0 0\n/dev/sda /a ext4 rw 0 0\n");
        put(&roots.proc.join("cmdline"), "quiet root=/dev/nfs ip=dhcp\n");
        put(&roots.sys.join("class/iscsi_connection/connection1:0/address"), "198.51.100.7\n");
        put(
            &roots.proc.join("net/route"),
            "Iface Destination Gateway Flags RefCnt Use Metric Mask\n\
             eth0 000200C0 00000000 0001 0 0 0 00FFFFFF\n\
             eth1 006433C6 00000000 0001 0 0 0 00FFFFFF\n",
        );
        let machine = Machine::read(&roots, None);
        assert_eq!(
            told(&machine, &device(&["eth0"], Some("ixgbe"))),
            [
                "the nfs4 file system on / is reached over eth0",
                "the root file system (root=/dev/nfs) is reached over eth0",
                "eth0 carries the route 192.0.2.0/24"
            ]
        );
        assert!(told(&machine, &device(&["eth1"], Some("ixgbe")))[0].starts_with("an iSCSI disk"));
    }

    #[test]
    fn what_cannot_be_seen_counts_as_a_use() {
        let hidden = told(&Machine::default(), &device(&[], Some("ixgbe")));
        assert!(hidden[0].contains("another network namespace"), "{hidden:?}");
        let shared = told(&Machine::default(), &device(&["eth0"], Some("mlx5_core")));
        assert!(shared[0].contains("shares the card"), "{shared:?}");
        let mut parent = device(&["eth0"], Some("ixgbe"));
        parent.virtual_functions = vec![Address::default(); 2];
        assert!(told(&Machine::default(), &parent)[0].contains("2 virtual functions"));
    }

    #[test]
    fn a_process_that_has_the_group_open_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        put(&roots.proc.join("123/comm"), "testpmd\n");
        fs::create_dir_all(roots.proc.join("123/fd")).unwrap();
        symlink(roots.dev.join("vfio/27"), roots.proc.join("123/fd/9")).unwrap();
        let mut card = device(&[], Some("vfio-pci"));
        card.iommu_group = Some(27);
        assert_eq!(holders(&roots, &card), [Use::Open { pid: 123, command: "testpmd".into() }]);
        card.iommu_group = Some(7);
        assert_eq!(holders(&roots, &card), []);
    }
}
