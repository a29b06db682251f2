//! Which cards a command uses, by what was named.
//!
//! Where no card is named: those that `bmnic bind` handed to vfio-pci if there are
//! any, otherwise the emulated 82599. Only a card that was named, or that was given to
//! bmnic, is touched: one that somebody else bound to vfio-pci may be a virtual machine's.

use super::remedy;
use crate::driver;
use crate::emu::Spec;
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::{self, Address, discover, journal};
use crate::sys::{Roots, net};
use std::fmt;

/// The driver that a card is handed to, for bmnic or for a virtual machine.
const VFIO: &str = "vfio-pci";

/// A card that a command is to use.
#[derive(Clone, Debug, PartialEq)]
pub enum Card {
    /// An emulated one.
    Emulated(Box<Spec>),
    /// One of the machine.
    Pci(Address),
    /// An interface that the kernel keeps, how it is used, and whether that is insisted on.
    Interface(pci::Kind, String, bool),
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Card::Emulated(spec) => write!(f, "emu:{spec}"),
            Card::Pci(address) => address.fmt(f),
            Card::Interface(pci::Kind::AfXdp, name, _) => write!(f, "xdp:{name}"),
            Card::Interface(_, name, _) => write!(f, "packet:{name}"),
        }
    }
}

/// The cards to use.
#[derive(Debug)]
pub struct Resolved {
    /// In the order of their names.
    pub cards: Vec<Card>,
    /// Why these, where none was named and they are emulated.
    pub default: Option<String>,
}

/// The cards to use: the named ones, or those that bmnic was given, or emulated
/// ones.
pub fn resolve(roots: &Roots, names: &[String], wires: &[&str]) -> Result<Resolved> {
    if !names.is_empty() {
        let named = names.iter().enumerate();
        let cards = named.map(|(i, name)| card(roots, name, wires.get(i))).collect::<Result<Vec<_>>>()?;
        for (i, card) in cards.iter().enumerate() {
            if !matches!(card, Card::Emulated(_)) && cards[..i].contains(card) {
                return Err(Error::new(
                    Kind::Usage,
                    format!("{} is named twice; name it once, or another card", names[i]),
                ));
            }
        }
        return Ok(Resolved { cards, default: None });
    }
    let bound: Vec<discover::Device> =
        discover::network(roots).into_iter().filter(|device| device.driver.as_deref() == Some(VFIO)).collect();
    let mut cards = Vec::new();
    let mut strangers = Vec::new();
    for device in bound.iter().filter(|device| driver::driver_for(device.id).is_some()) {
        match journal::handed_over(roots, device) {
            Ok(true) => cards.push(Card::Pci(device.address)),
            Ok(false) => strangers.push(format!("{} is bound to {VFIO}, but not by bmnic", device.address)),
            Err(error) => {
                let (address, why) = (device.address, remedy::line(&error));
                strangers.push(format!("{address} is bound to {VFIO}, and whether by bmnic is not known ({why})"));
            }
        }
    }
    if !cards.is_empty() {
        cards.truncate(wires.len());
        return Ok(Resolved { cards, default: None });
    }
    let why = match (strangers.as_slice(), bound.is_empty()) {
        ([], true) => format!("none was named and none is bound to {VFIO}"),
        ([], false) => format!("none was named and none that bmnic drives is bound to {VFIO}"),
        ([one], _) => format!("none was named; {one}: name it to use it"),
        ([first, rest @ ..], _) => {
            format!("none was named; {first}, and so are {} more: name one to use it", rest.len())
        }
    };
    let emulated = wires.iter().map(|wire| Ok(Card::Emulated(Box::new(Spec::new("82599").on(wire.parse()?)))));
    Ok(Resolved { cards: emulated.collect::<Result<_>>()?, default: Some(why) })
}

/// The card of this name.
fn card(roots: &Roots, name: &str, wire: Option<&&str>) -> Result<Card> {
    // By what other name it is called: twice the same one is one card.
    let own = |name: &str| discover::interface(roots, name).unwrap_or_else(|| name.into());
    if let Some(interface) = name.strip_prefix("packet:") {
        return Ok(Card::Interface(pci::Kind::Packet, own(interface), false));
    }
    if let Some(interface) = name.strip_prefix("xdp:") {
        let (interface, insists) = match interface.strip_suffix(",force") {
            Some(interface) => (interface, true),
            None => (interface, false),
        };
        return Ok(Card::Interface(pci::Kind::AfXdp, own(interface), insists));
    }
    let Some(text) = name.strip_prefix("emu:") else {
        return machine(roots, name).map(Card::Pci);
    };
    let spec: Spec = text.parse()?;
    match wire {
        // Wires are named nowhere but in this option.
        Some(wire) if !text.contains("wire=") => Ok(Card::Emulated(Box::new(spec.on(wire.parse()?)))),
        _ => Ok(Card::Emulated(Box::new(spec))),
    }
}

/// The card of the machine that has this address, or whose interface has this name.
fn machine(roots: &Roots, name: &str) -> Result<Address> {
    let found = discover::find(roots, name);
    let is_interface = name.parse::<Address>().is_err() && discover::is_interface(roots, name);
    match found {
        // A card that has an interface is the kernel's.
        Ok(discover::Device { address, driver: Some(driver), .. }) if is_interface && !driver.contains("vfio") => {
            let text = format!(
                "{name} is in use: the kernel's {driver} has its card; packet:{name} uses it beside the kernel"
            );
            Err(Error::new(Kind::Refused, text).with_remedy(Remedy::Bind(address.to_string())))
        }
        Ok(device) => Ok(device.address),
        Err(_) if is_interface => {
            let text =
                format!("{name} is an interface of the kernel and of no PCI card; packet:{name} uses it as it is");
            Err(Error::new(Kind::NotFound, text))
        }
        Err(error) => Err(error),
    }
}

/// The names, of which those of the kernel's interfaces stand for `packet:NAME`: where nothing
/// is sent, and nothing is taken from the kernel, `eth0` means what it does to dumpcap.
pub fn observed(roots: &Roots, names: &[String]) -> Vec<String> {
    let named = |name: &String| if is_observable(roots, name) { format!("packet:{name}") } else { name.clone() };
    names.iter().map(named).collect()
}

/// Whether the kernel has an interface of this name in the namespace of this process, which
/// need not be that of the mounted sysfs.
pub fn is_observable(roots: &Roots, name: &str) -> bool {
    // Of a copy of a machine, nothing is in this one.
    roots.is_running() && name.parse::<Address>().is_err() && !name.contains(':') && net::interface_index(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::journal::Journal;
    use crate::pci::kernel::Running;
    use crate::pci::network::Network;
    use crate::sys::Roots;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// A machine with these cards: address, PCI id, driver.
    fn machine(cards: &[(&str, &str, &str)]) -> (tempfile::TempDir, Roots) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        for (address, device, driver) in cards {
            let dir = roots.pci().join("devices").join(address);
            fs::create_dir_all(&dir).unwrap();
            let put = |file: &str, text: &str| fs::write(dir.join(file), text).unwrap();
            put("vendor", "0x8086\n");
            put("device", device);
            put("class", "0x020000\n");
            symlink(Path::new("../../drivers").join(driver), dir.join("driver")).unwrap();
        }
        (temp, roots)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn with_nothing_bound_the_default_is_emulated_on_the_commands_wires() {
        let (_temp, roots) = machine(&[("0000:03:00.0", "0x10fb", "ixgbe")]);
        let Resolved { cards, default } = resolve(&roots, &[], &["loop", "loop:pause=on"]).unwrap();
        assert_eq!(default.unwrap(), "none was named and none is bound to vfio-pci");
        let wires: Vec<String> = cards
            .iter()
            .map(|card| match card {
                Card::Emulated(spec) => spec.wire.to_string(),
                Card::Pci(_) | Card::Interface(..) => panic!("a card the kernel uses must not be touched"),
            })
            .collect();
        assert_eq!(wires, ["loop", "loop:pause=on"]);
    }

    /// What `bmnic bind` leaves behind when it takes these cards from ixgbe.
    fn hand_over(roots: &Roots, addresses: &[&str]) {
        let boot = roots.proc.join("sys/kernel/random");
        fs::create_dir_all(&boot).unwrap();
        fs::write(boot.join("boot_id"), "b1\n").unwrap();
        let kernel = Running::new(roots);
        let _lock = journal::lock(roots).unwrap();
        for address in addresses {
            let device = discover::find(roots, address).unwrap();
            let before = Journal::of(roots, &device, &Network::default());
            Journal { driver: Some("ixgbe".into()), ..before }.save(&kernel, roots).unwrap();
        }
    }

    fn is_emulated(cards: &[Card]) -> bool {
        cards.iter().all(|card| matches!(card, Card::Emulated(_)))
    }

    #[test]
    fn a_card_that_somebody_else_bound_is_not_touched_unless_it_is_named() {
        let address = "0000:03:00.0";
        let (_temp, roots) = machine(&[(address, "0x10fb", "vfio-pci"), ("0000:02:00.0", "0xffff", "vfio-pci")]);
        let Resolved { cards, default } = resolve(&roots, &[], &["loop"]).unwrap();
        assert!(is_emulated(&cards), "{cards:?}");
        let why = default.unwrap();
        assert_eq!(why, "none was named; 0000:03:00.0 is bound to vfio-pci, but not by bmnic: name it to use it");
        let named = resolve(&roots, &names(&[address]), &["loop"]).unwrap();
        assert_eq!(named.cards, [Card::Pci(address.parse().unwrap())]);
        assert_eq!(named.default, None);

        let three = [(address, "0x10fb", "vfio-pci"), ("0000:03:00.1", "0x10fb", "vfio-pci")];
        let (_temp, roots) = machine(&three);
        let why = resolve(&roots, &[], &["loop"]).unwrap().default.unwrap();
        assert!(why.contains(address) && why.ends_with("and so are 1 more: name one to use it"), "{why}");
        let (_temp, roots) = machine(&[("0000:02:00.0", "0xffff", "vfio-pci")]);
        let why = resolve(&roots, &[], &["loop"]).unwrap().default.unwrap();
        assert_eq!(why, "none was named and none that bmnic drives is bound to vfio-pci");
    }

    #[test]
    fn a_journal_that_is_not_of_this_binding_hands_no_card_over() {
        let address = "0000:03:00.0";
        let fresh = || {
            let (temp, roots) = machine(&[(address, "0x10fb", "vfio-pci")]);
            hand_over(&roots, &[address]);
            (temp, roots)
        };
        let taken = |roots: &Roots| !is_emulated(&resolve(roots, &[], &["loop"]).unwrap().cards);
        let (_temp, roots) = fresh();
        assert!(taken(&roots), "as bmnic left it");

        let (_temp, roots) = fresh();
        fs::write(roots.proc.join("sys/kernel/random/boot_id"), "b2\n").unwrap();
        assert!(!taken(&roots), "the machine was started again");

        let (_temp, roots) = fresh();
        let device = roots.pci().join("devices").join(address);
        fs::write(device.join("driver_override"), "vfio-pci\n").unwrap();
        assert!(!taken(&roots), "libvirt has bound it since");

        let (_temp, roots) = fresh();
        fs::write(roots.pci().join("devices").join(address).join("device"), "0x1528").unwrap();
        assert!(!taken(&roots), "another card is in the slot");

        let (_temp, roots) = fresh();
        journal::forget(&Running::new(&roots), &roots, address.parse().unwrap()).unwrap();
        assert!(!taken(&roots), "it was given back, and bound by somebody since");

        // vfio-pci had it before bmnic did anything.
        let (_temp, roots) = fresh();
        let device = discover::find(&roots, address).unwrap();
        Journal::of(&roots, &device, &Network::default()).save(&Running::new(&roots), &roots).unwrap();
        assert!(!taken(&roots), "it was with vfio-pci before");

        let (_temp, roots) = fresh();
        fs::write(journal::path(&roots, address.parse().unwrap()), "{").unwrap();
        let why = resolve(&roots, &[], &["loop"]).unwrap().default.unwrap();
        assert!(why.contains("0000:03:00.0 is bound to vfio-pci, and whether by bmnic is not known"), "{why}");
        assert!(why.ends_with("name it to use it") && !why.contains('\n'), "{why}");
    }

    #[test]
    fn cards_that_bmnic_bound_to_vfio_are_the_default_if_there_is_a_driver_for_them() {
        let (_temp, roots) = machine(&[
            ("0000:03:00.0", "0x10fb", "vfio-pci"),
            ("0000:03:00.1", "0x10fb", "vfio-pci"),
            ("0000:04:00.0", "0x10fb", "vfio-pci"),
            ("0000:02:00.0", "0xffff", "vfio-pci"),
        ]);
        hand_over(&roots, &["0000:03:00.0", "0000:03:00.1", "0000:04:00.0", "0000:02:00.0"]);
        let address = |text: &str| Card::Pci(text.parse().unwrap());
        let Resolved { cards, default } = resolve(&roots, &[], &["loop", "loop"]).unwrap();
        assert_eq!(default, None, "no emulated ones");
        assert_eq!(cards, [address("0000:03:00.0"), address("0000:03:00.1")]);
        let cards = resolve(&roots, &[], &["loop"]).unwrap().cards;
        assert_eq!(cards, [address("0000:03:00.0")]);
    }

    #[test]
    fn an_emulated_card_without_a_wire_gets_that_of_the_command() {
        let (_temp, roots) = machine(&[]);
        let named = names(&["emu:x540", "emu:x550,wire=loop"]);
        let Resolved { cards, default } = resolve(&roots, &named, &["loop:pause=on", "loop:pause=on"]).unwrap();
        assert_eq!(default, None);
        let specs: Vec<String> = cards.iter().map(|card| format!("{card:?}")).collect();
        assert!(specs[0].contains("pause: true"), "{}", specs[0]);
        assert!(specs[1].contains("pause: false"), "{}", specs[1]);
    }

    #[test]
    fn an_interface_that_the_kernel_uses_is_named_with_the_way_that_leaves_it_there() {
        let (_temp, roots) = machine(&[("0000:03:00.0", "0x10fb", "ixgbe")]);
        let interface = |name: &str, of: &str| {
            let directory = roots.sys.join("class/net").join(name);
            fs::create_dir_all(&directory).unwrap();
            symlink(roots.pci().join("devices").join(of), directory.join("device")).unwrap();
        };
        interface("eth7", "0000:03:00.0");
        fs::create_dir_all(roots.sys.join("class/net/veth7")).unwrap();
        let told = |name: &str| remedy::line(&resolve(&roots, &names(&[name]), &["loop"]).unwrap_err());
        let line = told("eth7");
        assert!(
            line.contains("ixgbe has its card; packet:eth7 uses it beside the kernel; run `sudo bmnic bind"),
            "{line}"
        );
        assert!(told("veth7").ends_with("packet:veth7 uses it as it is"), "{}", told("veth7"));
        // Nothing of a copy of another machine is opened here.
        assert_eq!(observed(&roots, &names(&["lo", "eth7"])), ["lo", "eth7"]);
        let here = Roots { sys: "/sys".into(), ..roots.clone() };
        let all = ["lo", "no-such-device", "0000:03:00.0", "emu:82599", "packet:lo"];
        assert_eq!(
            observed(&here, &names(&all)),
            ["packet:lo", "no-such-device", "0000:03:00.0", "emu:82599", "packet:lo"]
        );
    }

    #[test]
    fn a_card_that_is_not_there_or_named_twice_is_refused() {
        let (_temp, roots) = machine(&[("0000:03:00.0", "0x10fb", "vfio-pci")]);
        let kind = |list: &[&str]| resolve(&roots, &names(list), &["loop", "loop"]).unwrap_err().kind();
        assert_eq!(kind(&["0000:09:00.0"]), Kind::NotFound);
        assert_eq!(kind(&["eth9"]), Kind::NotFound);
        assert_eq!(kind(&["03:00.0", "0000:03:00.0"]), Kind::Usage);
        assert_eq!(kind(&["packet:v0", "packet:v0"]), Kind::Usage);
        assert_eq!(kind(&["xdp:v0", "xdp:v0"]), Kind::Usage);
        assert_eq!(kind(&["emu:"]), Kind::Usage);
        assert_eq!(kind(&["emu:82599,wire=rope"]), Kind::Usage);
    }
}
