//! Whether a program may have a card at all.

use super::{Check, State, Subject, rights};
use crate::dma::hugepages::human;
use crate::pci::{bind, discover};
use crate::sys::Roots;
use std::fs;

/// Bytes that a card needs locked: its packet buffers and rings.
const LOCKED: u64 = 64 << 20;

pub(super) fn checks(roots: &Roots, subject: &Subject) -> Vec<Check> {
    vec![iommu(roots), vfio(roots), lockdown(roots), memlock(roots, subject)]
}

/// Whether an IOMMU translates for cards. A group may also be VFIO's own, of a card without.
pub(super) fn has_iommu(roots: &Roots) -> bool {
    !discover::entries(&roots.sys.join("class/iommu")).is_empty() || groups(roots) > 0
}

fn groups(roots: &Roots) -> usize {
    let directory = roots.sys.join("kernel/iommu_groups");
    let name = |group: &String| discover::text(&directory.join(group).join("name"));
    discover::entries(&directory).iter().filter(|group| name(group).is_none_or(|name| name != "vfio-noiommu")).count()
}

/// VFIO's switch to do without.
pub(super) fn does_without(roots: &Roots) -> bool {
    let switch = roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode");
    discover::text(&switch).is_some_and(|value| matches!(value.as_str(), "Y" | "1"))
}

/// What to add to the kernel's command line to have an IOMMU, if it needs words and does not
/// have them.
pub(super) fn iommu_words(roots: &Roots) -> Option<&'static str> {
    let vendor = fs::read_to_string(roots.proc.join("cpuinfo")).unwrap_or_default();
    // Arm's kernel writes Features where x86 has flags, and uses an SMMU without being asked.
    if vendor.lines().any(|line| line.starts_with("Features")) {
        return None;
    }
    let words = if vendor.contains("AuthenticAMD") { "iommu=pt" } else { "intel_iommu=on iommu=pt" };
    let line = discover::text(&roots.proc.join("cmdline")).unwrap_or_default();
    let has = |word: &str| line.split_whitespace().any(|given| given == word);
    (!words.split(' ').all(has)).then_some(words)
}

fn iommu(roots: &Roots) -> Check {
    const WHY: &str = "it keeps a card to the memory that its program gave it; without one VFIO opens no card, \
                       or, with --noiommu, one that can write everywhere";
    if has_iommu(roots) {
        return Check::new("IOMMU", State::Ok, format!("on, {} groups", groups(roots)), WHY);
    }
    if does_without(roots) {
        let found = "off, and VFIO is switched to do without: a card can write all memory";
        return Check::new("IOMMU", State::Note, found, WHY);
    }
    let check = Check::new("IOMMU", State::Wrong, "off or not there", WHY);
    match iommu_words(roots) {
        Some(words) => check.boot(format!("switch VT-d or AMD-Vi on in the firmware and boot with {words}")),
        None => check.boot("switch the IOMMU (SMMU, VT-d, AMD-Vi) on in the firmware"),
    }
}

fn vfio(roots: &Roots) -> Check {
    const WHY: &str = "the kernel hands a card to a program through vfio-pci";
    if roots.pci().join("drivers/vfio-pci").exists() {
        let way = match (roots.dev.join("iommu").exists(), roots.dev.join("vfio/vfio").exists()) {
            (true, true) => ", by IOMMUFD and by groups",
            (true, false) => ", by IOMMUFD",
            (false, true) => ", by groups",
            (false, false) => "",
        };
        return Check::new("vfio-pci", State::Ok, format!("loaded{way}"), WHY);
    }
    let found = "not loaded yet; `bmnic bind` loads it";
    Check::new("vfio-pci", State::Note, found, WHY).fix("sudo modprobe vfio-pci")
}

fn lockdown(roots: &Roots) -> Check {
    const WHY: &str = "a kernel that is locked down, as secure boot does, loads signed modules only and lets \
                       no card work without an IOMMU";
    match bind::lockdown(roots) {
        None => Check::new("lockdown", State::Ok, "off", WHY),
        Some(level) if has_iommu(roots) => {
            Check::new("lockdown", State::Ok, format!("{level}; there is an IOMMU"), WHY)
        }
        Some(level) => Check::new("lockdown", State::Wrong, format!("{level}, and no IOMMU"), WHY)
            .boot("switch the IOMMU on, or secure boot off, in the firmware"),
    }
}

fn memlock(roots: &Roots, subject: &Subject) -> Check {
    const WHY: &str = "VFIO locks the memory that a card may reach, and counts it against this limit of a user";
    match subject.memlock.filter(|_| !rights::locks_any(roots, subject)) {
        None => Check::new("memlock", State::Ok, "no limit", WHY),
        Some(limit) if limit >= LOCKED => Check::new("memlock", State::Ok, human_rounded(limit), WHY),
        Some(limit) => Check::new(
            "memlock",
            State::Wrong,
            format!("{}, and {} are needed", human_rounded(limit), human(LOCKED)),
            WHY,
        )
        .fix(
            "echo \"$USER - memlock unlimited\" | sudo tee -a /etc/security/limits.d/90-bmnic.conf; then log in again",
        ),
    }
}

/// A size in whole MiB, or as it is.
fn human_rounded(bytes: u64) -> String {
    if bytes >= 1 << 20 { human(bytes >> 20 << 20) } else { human(bytes) }
}
