//! The memory that packets lie in, and what moves or takes it.

use super::{Check, State, Subject, access, settings};
use crate::dma::hugepages::{self, human};
use crate::sys::Roots;
use std::fs;

pub(super) fn checks(roots: &Roots, subject: &Subject) -> Vec<Check> {
    let mut checks = Vec::new();
    if subject.cards.is_empty() {
        checks.push(pages(roots, subject.memory, None));
    }
    checks.extend([transparent(roots), swap(roots), balancing(roots)]);
    checks
}

/// Free huge pages on `node`, or on any.
pub(super) fn pages(roots: &Roots, bytes: u64, node: Option<u16>) -> Check {
    const WHY: &str = "packet buffers are in huge pages: ordinary ones cost a TLB miss a packet, and a card \
                       without an IOMMU cannot do with them";
    const NAME: &str = "huge pages";
    let pools = hugepages::pools(roots);
    if pools.is_empty() {
        let found = "this kernel has none (CONFIG_HUGETLBFS)";
        return Check::new(NAME, State::Slow, found, WHY).boot("boot a kernel that has them");
    }
    // A card whose node is not known, or has no pool, takes from any.
    let node = node.filter(|node| pools.iter().any(|pool| pool.node == Some(*node)));
    let free = |page: u64| -> u64 {
        let here = pools.iter().filter(|pool| pool.page == page && (node.is_none() || pool.node == node));
        here.map(|pool| pool.free.saturating_mul(page)).fold(0, u64::saturating_add)
    };
    let sum = hugepages::sizes(roots).into_iter().map(free).fold(0, u64::saturating_add);
    let place = node.map_or(String::new(), |node| format!(" on node {node}"));
    let mut found = format!("{} free{place}", human(sum));
    if sum < bytes {
        found += &format!(", {} are wanted", human(bytes));
        if let Some(elsewhere) = node.map(|_| pools.iter().map(|p| p.free.saturating_mul(p.page)).sum::<u64>() - sum)
            && elsewhere > 0
        {
            found += &format!("; {} are on other nodes", human(elsewhere));
        }
    }
    let bare = !access::has_iommu(roots);
    let state = match sum >= bytes {
        true => State::Ok,
        false if bare => State::Wrong,
        false => State::Slow,
    };
    let on = node.map_or(String::new(), |node| format!(" -n {node}"));
    Check::new(NAME, state, found, WHY).tune(format!("sudo bmnic hugepages --setup {}M{on}", bytes.div_ceil(1 << 20)))
}

fn transparent(roots: &Roots) -> Check {
    const WHY: &str = "the kernel collects pages into huge ones behind a program's back, and stops it meanwhile; \
                       bmnic asks for its own";
    let path = roots.sys.join("kernel/mm/transparent_hugepage/enabled");
    let Some(now) = settings::read(&path) else { return Check::new("THP", State::Ok, "this kernel has none", WHY) };
    match settings::transparent(roots) {
        None => Check::new("THP", State::Ok, now, WHY),
        Some(_) => Check::new("THP", State::Slow, now, WHY).tune(format!("echo madvise | sudo tee {}", path.display())),
    }
}

fn swap(roots: &Roots) -> Check {
    const WHY: &str = "a page that was swapped out takes milliseconds to come back; a card's own never are";
    let Ok(table) = fs::read_to_string(roots.proc.join("swaps")) else {
        return Check::new("swap", State::Ok, "this kernel has none", WHY);
    };
    match table.lines().count().saturating_sub(1) {
        0 => Check::new("swap", State::Ok, "off", WHY),
        areas => Check::new("swap", State::Slow, format!("on, {areas} in use"), WHY).fix("sudo swapoff -a"),
    }
}

fn balancing(roots: &Roots) -> Check {
    const WHY: &str = "the kernel unmaps pages to see which node uses them, and each costs a page fault";
    match settings::numa_balancing(roots) {
        None => Check::new("NUMA balancing", State::Ok, "off, or one node", WHY),
        Some(_) => Check::new("NUMA balancing", State::Slow, "on", WHY).tune("sudo sysctl kernel.numa_balancing=0"),
    }
}
