//! What is special to one card.

use super::cpus::{self, Cpus};
use super::{Check, State, Subject, access, memory};
use crate::driver;
use crate::pci::discover::{self, Device};
use crate::pci::guard;
use crate::sys::{self, Roots};
use std::fs;
use std::path::PathBuf;

pub(super) fn checks(roots: &Roots, subject: &Subject, card: &Device) -> Vec<Check> {
    let mut checks = vec![handed_over(card), group(roots, subject, card)];
    checks.extend(reserved(roots, card));
    checks.extend(node_file(roots, subject, card));
    checks.push(memory::pages(roots, subject.memory, card.numa_node));
    checks.push(numa(roots, subject, card));
    checks.extend(link(card));
    checks.into_iter().map(|check| check.of(card.address)).collect()
}

fn handed_over(card: &Device) -> Check {
    const WHY: &str = "a card has one driver: the kernel's, or a program's through vfio-pci";
    let has = card.driver.as_deref().unwrap_or("no driver");
    let Some(own) = driver::driver_for(card.id) else {
        let found = format!("bmnic has none for {:04x}:{:04x}", card.id.vendor, card.id.device);
        return Check::new("driver", State::Wrong, found, WHY)
            .fix("another card: `bmnic list` shows which it has one for");
    };
    if guard::is_vfio(has) {
        return Check::new("driver", State::Ok, format!("{has}; bmnic drives it by {own}"), WHY);
    }
    let found = format!("{has} has it; bmnic would drive it by {own}");
    Check::new("driver", State::Note, found, WHY).tune(format!("sudo bmnic bind --user $USER {}", card.address))
}

fn group(roots: &Roots, subject: &Subject, card: &Device) -> Check {
    const WHY: &str = "VFIO opens an IOMMU group only as a whole: its cards could reach each other unseen";
    let Some(group) = card.iommu_group else {
        return match access::does_without(roots) {
            true => Check::new("IOMMU group", State::Note, "none; VFIO is switched to do without", WHY),
            false => Check::new("IOMMU group", State::Wrong, "none: no IOMMU translates for it", WHY)
                .boot("switch the IOMMU on (see above), or accept the risk: bmnic bind --noiommu"),
        };
    };
    let taken: Vec<_> = subject.cards.iter().map(|card| card.address).collect();
    let obstacles = guard::obstacles(roots, group, &taken);
    if obstacles.is_empty() {
        let members = discover::group_members(roots, group).len();
        return Check::new("IOMMU group", State::Ok, format!("{group}, of {}", functions(members)), WHY);
    }
    let named: Vec<String> =
        obstacles.iter().map(|d| format!("{} ({})", d.address, d.driver.as_deref().unwrap_or("no driver"))).collect();
    let addresses: Vec<String> = obstacles.iter().map(|d| d.address.to_string()).collect();
    Check::new("IOMMU group", State::Wrong, format!("{group} also holds {}", named.join(", ")), WHY)
        .fix(format!("bind these too (sudo bmnic bind {}), or use another slot", addresses.join(" ")))
}

fn functions(count: usize) -> String {
    if count == 1 { "this function alone".into() } else { format!("{count} functions") }
}

/// Memory that the firmware keeps for a card at its own address (Intel's RMRR):
/// `0x00000000ab000000 0x00000000ab00ffff direct` (Documentation/ABI/testing/sysfs-kernel-iommu_groups).
fn reserved(roots: &Roots, card: &Device) -> Option<Check> {
    const WHY: &str = "VFIO refuses a card that the firmware maps memory to one to one (RMRR): the platform does \
                       that, not you";
    let group = roots.sys.join("kernel/iommu_groups").join(card.iommu_group?.to_string());
    let regions = fs::read_to_string(group.join("reserved_regions")).ok()?;
    let direct = regions.lines().filter(|line| line.split_whitespace().last() == Some("direct")).count();
    let check = Check::new("firmware memory", State::Wrong, format!("{direct} regions mapped one to one"), WHY);
    (direct > 0).then(|| check.boot("switch off in the firmware what shares memory with it, or use another slot"))
}

/// Whether this user may open the card's node, once VFIO has it.
fn node_file(roots: &Roots, subject: &Subject, card: &Device) -> Option<Check> {
    const WHY: &str = "who may open the card's node below /dev/vfio may have the card";
    if !card.driver.as_deref().is_some_and(guard::is_vfio) || subject.user == 0 {
        return None;
    }
    let nodes: Vec<PathBuf> = guard::vfio_nodes(roots, card).into_iter().filter(|node| node.exists()).collect();
    if nodes.is_empty() {
        return None;
    }
    let own: Option<&PathBuf> = nodes.iter().find(|node| sys::may_read_and_write(node));
    Some(match own {
        Some(node) => Check::new("permission", State::Ok, format!("this user may open {}", node.display()), WHY),
        None => Check::new("permission", State::Wrong, format!("this user may not open {}", nodes[0].display()), WHY)
            .fix(format!("sudo bmnic bind --user $USER {}", card.address)),
    })
}

fn numa(roots: &Roots, subject: &Subject, card: &Device) -> Check {
    const WHY: &str = "a packet that crosses from one node to another takes longer, and all of them share the way";
    const NAME: &str = "NUMA node";
    let Some(node) = card.numa_node else {
        return Check::new(NAME, State::Ok, "one node, or the firmware does not say", WHY);
    };
    let near = cpus::of_node(roots, node);
    let far: Cpus = subject.quiet.without(&near);
    if near.is_empty() || far.is_empty() {
        return Check::new(NAME, State::Ok, format!("{node}, as processors {}", subject.quiet), WHY);
    }
    let better = cpus::quiet(roots, Some(node)).and(&near);
    let instead = if better.is_empty() { near } else { better };
    Check::new(NAME, State::Slow, format!("{node}, and processors {far} are on another"), WHY)
        .fix(format!("--cpu {instead}, of its node"))
}

fn link(card: &Device) -> Option<Check> {
    const WHY: &str = "a slot with fewer lanes or slower ones than the card has cannot carry what its port can";
    let link = card.pcie.as_ref()?;
    let now = format!("x{} at {}", link.width, link.speed);
    if !link.degraded() {
        return Some(Check::new("PCIe link", State::Ok, now, WHY));
    }
    let found = format!("{now}, of x{} at {}", link.max_width, link.max_speed);
    Some(
        Check::new("PCIe link", State::Slow, found, WHY)
            .fix("a slot with more lanes, or the firmware's setting for this one"),
    )
}
