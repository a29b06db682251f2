//! What it means when VFIO refuses a card, and what to do about it.

use super::discover;
use super::uapi::Window;
use crate::error::{Error, Kind as ErrorKind, Remedy};
use std::io;
use std::path::Path;

/// The card is with VFIO, and VFIO is not there.
pub(super) fn no_node(name: &str, node: &Path) -> Error {
    let (module, passed) =
        if node.ends_with("iommu") { ("iommufd", node) } else { ("vfio-pci", Path::new("/dev/vfio")) };
    Error::new(
        ErrorKind::NotFound,
        format!(
            "{name}: it is bound to VFIO, but there is no {} to open it by; load the modules (`modprobe {module}`), and in a container pass {} through",
            node.display(),
            passed.display()
        ),
    )
}

/// A node could not be opened.
pub(super) fn open(name: &str, node: &Path, error: io::Error) -> Error {
    let error_code = error.raw_os_error();
    let told = Error::io(format!("{name}: opening {}", node.display()), error);
    let without_iommu = node.file_name().is_some_and(|name| name.to_string_lossy().starts_with("noiommu-"));
    match error_code {
        // Whose the file is does not count then.
        Some(libc::EPERM) if without_iommu => told.with_kind(ErrorKind::Permission).hint(ONLY_ROOT),
        Some(libc::EACCES | libc::EPERM) => told.with_remedy(Remedy::BindForUser(name.into())),
        Some(libc::EBUSY) => told
            .with_kind(ErrorKind::Refused)
            .hint(format!("another program has the card or one of its group; `fuser -v {}` names it", node.display())),
        _ => told,
    }
}

/// Who may drive a card that is behind no IOMMU.
pub(super) const ONLY_ROOT: &str =
    "without an IOMMU root alone may drive a card (CAP_SYS_RAWIO), also where another user owns its file; run as root";

/// A group or device could not be put behind an IOMMU; `reserved`: the regions of its group
/// that the firmware or the IOMMU keeps, a line each as sysfs has them.
pub(super) fn attach(name: &str, error: io::Error, reserved: &str) -> Error {
    let denied = error.raw_os_error() == Some(libc::EPERM);
    let told = Error::io(format!("{name}: putting it behind the IOMMU"), error);
    // The kernel says so in its log only.
    if let Some(line) = reserved.lines().find(|line| line.trim_end().ends_with(" direct")) {
        return told.with_kind(ErrorKind::Unsupported).hint(format!(
            "the firmware keeps memory for this card (an RMRR: {}), so the kernel gives it to nobody; have the firmware leave it, as servers can for a slot or a card's own management, or use another slot",
            line.trim_end()
        ));
    }
    if denied {
        return told.hint(
            "the IOMMU cannot remap interrupts, so a card could forge them; enable interrupt remapping in the firmware, or accept it with `echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts`",
        );
    }
    told
}

/// Memory could not be mapped: `len` bytes, with `locked` mapped before and
/// `limit` that may be.
pub(super) fn map(name: &str, error: io::Error, len: usize, locked: usize, limit: Option<u64>) -> Error {
    let needed = (len + locked) as u64;
    match (error.raw_os_error(), limit) {
        (Some(libc::ENOMEM), Some(limit)) if needed > limit => Error::new(
            ErrorKind::Memory,
            format!(
                "{name}: memory for the card must be locked, at least {} KiB of it, but this user may lock {} KiB; raise it with `ulimit -l {}` (its hard limit is set in /etc/security/limits.conf)",
                needed / 1024,
                limit / 1024,
                needed / 1024
            ),
        ),
        (Some(libc::ENOSPC), _) => Error::io(format!("{name}: mapping {len} bytes for the card"), error)
            .with_kind(ErrorKind::Memory)
            .hint("the IOMMU's table is full; raise /sys/module/vfio_iommu_type1/parameters/dma_entry_limit, or use huge pages")
            .with_remedy(Remedy::HugePages(64 << 20)),
        _ => Error::io(format!("{name}: mapping {len} bytes for the card"), error),
    }
}

/// Memory lies where the IOMMU has no windows.
pub(super) fn outside(name: &str, windows: &[Window], iova: u64, len: u64) -> Error {
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

    fn errno(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    #[test]
    fn too_little_lockable_memory_names_the_limit_to_set() {
        let error = map("0000:03:00.0", errno(libc::ENOMEM), 8 << 20, 2 << 20, Some(8 << 20));
        assert_eq!(error.kind(), ErrorKind::Memory);
        assert!(error.to_string().contains("`ulimit -l 10240`"), "{error}");
        let other = map("0000:03:00.0", errno(libc::ENOMEM), 8 << 20, 0, None);
        assert!(!other.to_string().contains("ulimit"), "{other}");
        assert_eq!(other.kind(), ErrorKind::Memory);
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let name = "0000:03:00.0";
        let node = Path::new("/dev/vfio/9");
        let permission = open(name, node, errno(libc::EACCES));
        assert_eq!(permission.kind(), ErrorKind::Permission);
        assert_eq!(permission.remedy(), Some(&Remedy::BindForUser(name.into())), "{permission}");
        let busy = open(name, node, errno(libc::EBUSY));
        assert_eq!(busy.kind(), ErrorKind::Refused);
        assert!(busy.to_string().contains("fuser -v /dev/vfio/9"), "{busy}");
        let without = open(name, Path::new("/dev/vfio/noiommu-9"), errno(libc::EPERM));
        assert!(without.remedy().is_none() && without.to_string().contains("CAP_SYS_RAWIO"), "{without}");
        let absent = |node: &str| no_node(name, Path::new(node)).to_string();
        assert!(absent("/dev/vfio/9").contains("`modprobe vfio-pci`"));
        assert!(absent("/dev/iommu").contains("`modprobe iommufd`), and in a container pass /dev/iommu through"));
        let attached = |errno_code, regions| attach("x", errno(errno_code), regions).to_string();
        assert!(attached(libc::EPERM, "0xfee00000 0xfeefffff msi\n").contains("allow_unsafe_interrupts"));
        for code in [libc::EPERM, libc::EINVAL] {
            let told = attached(code, "0x7a000000 0x7a3fffff direct\n0xfee00000 0xfeefffff msi\n");
            assert!(told.contains("RMRR") && !told.contains("allow_unsafe_interrupts"), "{told}");
        }
        assert!(!attached(libc::EPERM, "0x0 0xffff direct-relaxable\n").contains("RMRR"), "VFIO may do without it");
        assert!(map("x", errno(libc::ENOSPC), 1, 0, None).to_string().contains("dma_entry_limit"));
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
