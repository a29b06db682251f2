//! What the kernel's network stack does with each interface: addresses,
//! routes, and what is stacked on it.
//!
//! ```text
//!   /proc/net/fib_trie    IPv4 addresses, without their interface
//!   /proc/net/route       IPv4 routes of the main table
//!   /proc/net/if_inet6    IPv6 addresses
//!   /proc/net/ipv6_route  IPv6 routes
//!   /sys/class/net/X/     upper_Y and master: bonds, bridges, VLANs on X
//! ```
//!
//! These files show one network namespace, the one this process is in, and of
//! IPv4 only the main routing table. What lies beyond cannot be seen from here;
//! [`super::guard`] says so where it matters.

use super::discover::{entries, link_name, text};
use crate::sys::Roots;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Addresses and routes by interface, and the interfaces stacked on others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Addresses that someone configured; automatic link-local ones are left out.
    pub addresses: Vec<InterfaceAddress>,
    /// Routes that lead somewhere.
    pub routes: Vec<Route>,
    /// Link-local and other addresses of no use but to tell who answers to them.
    pub automatic: Vec<InterfaceAddress>,
    uppers: BTreeMap<String, Vec<Upper>>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Name of the interface.
    pub interface: String,
    /// Address.
    pub address: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
}

/// A route through an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the interface.
    pub interface: String,
    /// Network it leads to.
    pub destination: IpAddr,
    /// Bits of that network; 0 is the default route.
    pub prefix: u8,
    /// Next hop; none if the network is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Metric: of two equal routes the smaller wins.
    pub metric: u32,
}

/// An interface that is stacked on another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Its name, as in `bond0`.
    pub name: String,
    /// What it is: `bond`, `bridge`, `vlan`, `macvlan`... or `upper device`.
    pub kind: String,
}

impl Network {
    /// Reads the tables. One that is missing (no IPv6) is empty.
    pub fn read(roots: &Roots) -> Network {
        let table = |name: &str| text(&roots.proc.join("net").join(name)).unwrap_or_default();
        let mut routes = routes_v4(&table("route"));
        let (mut addresses, automatic) = addresses_v6(&table("if_inet6"));
        // /proc does not name the interface of an IPv4 address, and one without
        // a network of its own (a /32) has no route that would tell. The kernel
        // can be asked, but only if /proc is this kernel's and not a copy.
        let asked = (roots.proc == Path::new("/proc")).then(|| crate::sys::ipv4_addresses().ok()).flatten();
        let mut v4 = match asked {
            Some(list) => list
                .into_iter()
                .filter(|(_, address, _)| !address.is_loopback())
                .map(|(interface, address, prefix)| InterfaceAddress { interface, address: address.into(), prefix })
                .collect(),
            None => addresses_v4(&table("fib_trie"), &routes),
        };
        v4.append(&mut addresses);
        routes.append(&mut routes_v6(&table("ipv6_route")));
        Network { addresses: v4, routes, automatic, uppers: uppers(&roots.sys.join("class/net")) }
    }

    /// What is stacked directly on `interface`.
    pub fn uppers(&self, interface: &str) -> &[Upper] {
        self.uppers.get(interface).map_or(&[], Vec::as_slice)
    }

    /// `interface` and everything stacked on it, bottom first.
    pub fn stack(&self, interface: &str) -> Vec<String> {
        let mut stack = vec![interface.to_string()];
        let mut at = 0;
        while at < stack.len() {
            let above: Vec<String> = self.uppers(&stack[at]).iter().map(|upper| upper.name.clone()).collect();
            for name in above {
                if !stack.contains(&name) {
                    stack.push(name);
                }
            }
            at += 1;
        }
        stack
    }

    /// The interface that has `address`, which may be a link-local one.
    pub fn holder(&self, address: IpAddr) -> Option<&str> {
        let mut all = self.addresses.iter().chain(&self.automatic);
        all.find(|a| a.address == address).map(|a| a.interface.as_str())
    }

    /// The interface through which packets to `address` leave: the longest
    /// prefix wins, then the smallest metric.
    pub fn towards(&self, address: IpAddr) -> Option<&str> {
        let fitting = self.routes.iter().filter(|r| contains(r.destination, r.prefix, address));
        fitting.max_by_key(|r| (r.prefix, std::cmp::Reverse(r.metric))).map(|r| r.interface.as_str())
    }

    /// The `ip` commands that give `interface` its addresses and routes back.
    pub fn commands(&self, interface: &str) -> Vec<String> {
        let addresses: Vec<_> = self.addresses.iter().filter(|a| a.interface == interface).collect();
        let mut commands: Vec<String> =
            addresses.iter().map(|a| format!("ip address add {}/{} dev {interface}", a.address, a.prefix)).collect();
        // The route to an address's own network comes with the address.
        let comes_along = |r: &Route| {
            r.gateway.is_none()
                && addresses.iter().any(|a| a.prefix == r.prefix && contains(r.destination, r.prefix, a.address))
        };
        for route in self.routes.iter().filter(|r| r.interface == interface && !comes_along(r)) {
            let v6 = if route.destination.is_ipv6() { "-6 " } else { "" };
            let metric = if route.metric == 0 { String::new() } else { format!(" metric {}", route.metric) };
            commands.push(format!("ip {v6}route add {} dev {interface}{metric}", route.target()));
        }
        if !commands.is_empty() {
            commands.insert(0, format!("ip link set {interface} up"));
        }
        commands
    }
}

impl Route {
    /// `default via 192.0.2.1`, `198.51.100.0/24`: as `ip route` writes it.
    pub fn target(&self) -> String {
        let to = if self.prefix == 0 { "default".into() } else { format!("{}/{}", self.destination, self.prefix) };
        self.gateway.map_or(to.clone(), |gateway| format!("{to} via {gateway}"))
    }
}

/// Whether `address` lies in `network/prefix`.
fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => (u128::from(n.to_bits()), u128::from(a.to_bits()), 32),
        (IpAddr::V6(n), IpAddr::V6(a)) => (n.to_bits(), a.to_bits(), 128),
        _ => return false,
    };
    // A shift by the whole width (a default route) leaves nothing to compare.
    let host_bits = width - u32::from(prefix.min(width as u8));
    (network ^ address).checked_shr(host_bits).unwrap_or(0) == 0
}

/// Local addresses of `/proc/net/fib_trie`: the leaf line `|-- ADDRESS` that
/// `/32 host LOCAL` follows, on the interface whose own network holds it.
fn addresses_v4(fib_trie: &str, routes: &[Route]) -> Vec<InterfaceAddress> {
    let mut found: Vec<InterfaceAddress> = Vec::new();
    let mut leaf = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.filter(|a| !a.is_loopback())
        {
            let address = IpAddr::from(address);
            let on_link = routes.iter().filter(|r| r.gateway.is_none() && r.prefix > 0);
            let fitting: Vec<&Route> = on_link.filter(|r| contains(r.destination, r.prefix, address)).collect();
            let longest = fitting.iter().map(|r| r.prefix).max();
            for route in fitting.into_iter().filter(|r| Some(r.prefix) == longest) {
                let entry = InterfaceAddress { interface: route.interface.clone(), address, prefix: route.prefix };
                // The main and the local table may both list it.
                if !found.contains(&entry) {
                    found.push(entry);
                }
            }
        }
    }
    found
}

/// `/proc/net/route`: interface, destination, gateway, flags, ..., metric, mask;
/// addresses are hexadecimal words in the machine's byte order.
fn routes_v4(route: &str) -> Vec<Route> {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    let word = |text: &str| u32::from_str_radix(text, 16).ok();
    let address = |text: &str| word(text).map(|w| Ipv4Addr::from(w.to_ne_bytes()));
    let parse = |line: &str| {
        let f: Vec<&str> = line.split_whitespace().collect();
        let flags = word(f.get(3)?)?;
        let gateway = address(f.get(2)?)?;
        let usable = flags & UP != 0 && flags & REJECT == 0;
        usable.then_some(Route {
            interface: f.first()?.to_string(),
            destination: address(f.get(1)?)?.into(),
            prefix: word(f.get(7)?)?.count_ones() as u8,
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            metric: f.get(6)?.parse().ok()?,
        })
    };
    route.lines().skip(1).filter_map(parse).collect()
}

/// `/proc/net/if_inet6`: address, index, prefix, scope, flags, interface; all
/// hexadecimal. Configured ones first, automatic ones (link-local) second.
fn addresses_v6(if_inet6: &str) -> (Vec<InterfaceAddress>, Vec<InterfaceAddress>) {
    const SCOPE_HOST: u32 = 0x10;
    const SCOPE_LINK: u32 = 0x20;
    let (mut configured, mut automatic) = (Vec::new(), Vec::new());
    for line in if_inet6.lines() {
        let f: Vec<&str> = line.split_whitespace().collect();
        let [address, _, prefix, scope, _, interface] = f[..] else { continue };
        let parsed = (v6(address), u8::from_str_radix(prefix, 16), u32::from_str_radix(scope, 16));
        let (Some(address), Ok(prefix), Ok(scope)) = parsed else { continue };
        let entry = InterfaceAddress { interface: interface.to_string(), address: address.into(), prefix };
        match scope {
            SCOPE_HOST => {}
            SCOPE_LINK => automatic.push(entry),
            _ => configured.push(entry),
        }
    }
    (configured, automatic)
}

/// `/proc/net/ipv6_route`: destination, prefix, source, prefix, next hop,
/// metric, references, use, flags, interface; all hexadecimal. Routes that the
/// kernel makes for every interface that is up are left out.
fn routes_v6(ipv6_route: &str) -> Vec<Route> {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    const ANYCAST: u32 = 0x0010_0000;
    const LOCAL: u32 = 0x8000_0000;
    let word = |text: &str| u32::from_str_radix(text, 16).ok();
    let parse = |line: &str| {
        let f: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, gateway, metric, _, _, flags, interface] = f[..] else { return None };
        let (destination, gateway, flags) = (v6(destination)?, v6(gateway)?, word(flags)?);
        let usable = flags & UP != 0 && flags & (REJECT | ANYCAST | LOCAL) == 0;
        let automatic = destination.is_multicast() || destination.is_unicast_link_local() || interface == "lo";
        (usable && !automatic).then_some(Route {
            interface: interface.to_string(),
            destination: destination.into(),
            prefix: u8::from_str_radix(prefix, 16).ok()?,
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            metric: word(metric)?,
        })
    };
    ipv6_route.lines().filter_map(parse).collect()
}

/// 32 hexadecimal digits.
fn v6(text: &str) -> Option<Ipv6Addr> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits)).flatten()
}

/// What is stacked on each interface: its `upper_NAME` and `master` links.
fn uppers(class_net: &Path) -> BTreeMap<String, Vec<Upper>> {
    let mut all = BTreeMap::new();
    for interface in entries(class_net) {
        let dir = class_net.join(&interface);
        let mut names: Vec<String> =
            entries(&dir).iter().filter_map(|name| name.strip_prefix("upper_").map(str::to_string)).collect();
        names.extend(link_name(&dir.join("master")));
        names.sort_unstable();
        names.dedup();
        let kind = |name: &str| kind(&class_net.join(name));
        let uppers: Vec<Upper> = names.into_iter().map(|name| Upper { kind: kind(&name), name }).collect();
        if !uppers.is_empty() {
            all.insert(interface, uppers);
        }
    }
    all
}

/// What a stacked interface is: `DEVTYPE` of its uevent, where its driver says so.
fn kind(dir: &Path) -> String {
    let uevent = text(&dir.join("uevent")).unwrap_or_default();
    let devtype = uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE="));
    devtype.filter(|d| !d.is_empty()).unwrap_or("upper device").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0000000A\t00000000\t0201\t0\t0\t0\t000000FF\t0\t0\t0
";
    const FIB_TRIE: &str = "\
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
";
    const IF_INET6: &str = "\
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000002 04 40 00 82     eth0
";
    const IPV6_ROUTE: &str = "\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 00000002 00000000 00000003     eth0
20010db8000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001     eth0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000003 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    /// Written on a little-endian machine, as every machine that runs this test is.
    fn network() -> Network {
        let mut routes = routes_v4(ROUTE);
        let (v6, automatic) = addresses_v6(IF_INET6);
        let mut addresses = addresses_v4(FIB_TRIE, &routes);
        addresses.extend(v6);
        routes.extend(routes_v6(IPV6_ROUTE));
        Network { addresses, routes, automatic, uppers: BTreeMap::new() }
    }

    #[test]
    fn the_kernels_tables_become_addresses_and_routes() {
        let network = network();
        let addresses: Vec<String> =
            network.addresses.iter().map(|a| format!("{} {}/{}", a.interface, a.address, a.prefix)).collect();
        assert_eq!(addresses, ["eth0 192.0.2.2/24", "eth0 2001:db8::2/64"]);
        let routes: Vec<String> = network.routes.iter().map(Route::target).collect();
        assert_eq!(routes, ["default via 192.0.2.1", "192.0.2.0/24", "2001:db8::/64", "default via 2001:db8::1"]);
        assert_eq!(network.holder("fe80::fc:ff:fe00:1".parse().unwrap()), Some("eth0"));
        assert_eq!(network.towards("203.0.113.9".parse().unwrap()), Some("eth0"));
    }

    #[test]
    fn the_commands_give_an_interface_back_what_it_had() {
        assert_eq!(
            network().commands("eth0"),
            [
                "ip link set eth0 up",
                "ip address add 192.0.2.2/24 dev eth0",
                "ip address add 2001:db8::2/64 dev eth0",
                "ip route add default via 192.0.2.1 dev eth0 metric 100",
                "ip -6 route add default via 2001:db8::1 dev eth0 metric 1024",
            ]
        );
        assert!(network().commands("eth1").is_empty());
    }

    #[test]
    fn a_stack_of_interfaces_is_walked_to_the_top_and_loops_end() {
        let upper = |name: &str| vec![Upper { name: name.into(), kind: "bond".into() }];
        let uppers = [("eth0", upper("bond0")), ("bond0", upper("br0")), ("br0", upper("eth0"))];
        let uppers = uppers.into_iter().map(|(name, u)| (name.to_string(), u)).collect();
        let network = Network { uppers, ..Network::default() };
        assert_eq!(network.stack("eth0"), ["eth0", "bond0", "br0"]);
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_smallest_metric() {
        let route = |interface: &str, destination: &str, prefix, metric| Route {
            interface: interface.into(),
            destination: destination.parse().unwrap(),
            prefix,
            gateway: None,
            metric,
        };
        let routes = vec![
            route("a", "0.0.0.0", 0, 0),
            route("b", "10.0.0.0", 8, 50),
            route("c", "10.0.0.0", 8, 20),
            route("d", "::", 0, 0),
        ];
        let network = Network { routes, ..Network::default() };
        assert_eq!(network.towards("10.1.2.3".parse().unwrap()), Some("c"));
        assert_eq!(network.towards("11.1.2.3".parse().unwrap()), Some("a"));
        assert_eq!(network.towards("2001::1".parse().unwrap()), Some("d"));
    }

    proptest! {
        #[test]
        fn nonsense_in_the_tables_is_survived(text in "[0-9a-fA-F |/.\n\t-]{0,400}") {
            let routes = routes_v4(&text);
            addresses_v4(&text, &routes);
            addresses_v6(&text);
            routes_v6(&text);
        }
    }
}
