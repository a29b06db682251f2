//! What this process may do, and what a container keeps from it.

use super::{Check, State, Subject};
use crate::pci::discover;
use crate::sys::Roots;
use std::fs;

/// What of bmnic has a use for a capability: numbers and names as in capabilities(7).
const USED: [(u32, &str); 6] =
    [(12, "NET_ADMIN"), (13, "NET_RAW"), (IPC_LOCK, "IPC_LOCK"), (17, "SYS_RAWIO"), (21, "SYS_ADMIN"), (39, "BPF")];
const IPC_LOCK: u32 = 14;

pub(super) fn checks(roots: &Roots, subject: &Subject) -> Vec<Check> {
    vec![capabilities(roots, subject), container(roots)]
}

/// The effective capabilities of this process, a bit each; none if the kernel does not tell.
fn effective(roots: &Roots) -> Option<u64> {
    let status = fs::read_to_string(roots.proc.join("self/status")).ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Whether memory that this process locks is counted against no limit.
pub(super) fn locks_any(roots: &Roots, subject: &Subject) -> bool {
    effective(roots).map_or(subject.user == 0, |set| set >> IPC_LOCK & 1 == 1 && !maps_users(roots))
}

fn capabilities(roots: &Roots, subject: &Subject) -> Check {
    const WHY: &str = "packet: takes NET_RAW, xdp: NET_ADMIN and BPF too, a card without an IOMMU SYS_ADMIN, and \
                       SYS_RAWIO through VFIO; memory beyond memlock IPC_LOCK; a card with an IOMMU takes none";
    const NAME: &str = "capabilities";
    let Some(set) = effective(roots) else {
        return Check::new(NAME, State::Unknown, "/proc does not tell", WHY);
    };
    let missing: Vec<&str> = USED.iter().filter(|(number, _)| set >> number & 1 == 0).map(|(_, name)| *name).collect();
    if missing.is_empty() && maps_users(roots) {
        let found = "all, but for interfaces of its own network namespace only";
        return Check::new(NAME, State::Note, found, WHY).fix("run outside of the user namespace what takes others");
    }
    if missing.is_empty() {
        return Check::new(NAME, State::Ok, "all that bmnic has a use for", WHY);
    }
    let fix = match subject.user {
        0 => format!("start the container with --cap-add {}", missing.join(" --cap-add ")),
        _ => "sudo, where one is needed; for packet: and xdp: once `sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep` and bmnic's path".into(),
    };
    Check::new(NAME, State::Note, format!("without {}", missing.join(", ")), WHY).fix(fix)
}

fn container(roots: &Roots) -> Check {
    const WHY: &str = "what a container does not have it cannot give a card: bind, tune and hugepages write to /sys, \
                       and VFIO's files are there if they were passed in";
    const NAME: &str = "container";
    let kept: Vec<&str> =
        [(sysfs_is_read_only(roots), "/sys is read-only"), (maps_users(roots), "root here is another user outside")]
            .into_iter()
            .filter_map(|(is, what)| is.then_some(what))
            .collect();
    let named = discover::text(&roots.run.join("systemd/container")).filter(|name| !name.is_empty());
    let named = named.or_else(|| roots.run.join(".containerenv").exists().then(|| "podman".into()));
    if kept.is_empty() {
        let found = named.map_or("no sign of one".into(), |name| format!("{name}, which may write to /sys"));
        return Check::new(NAME, State::Ok, found, WHY);
    }
    let name = named.map_or(String::new(), |name| format!("{name}: "));
    Check::new(NAME, State::Note, format!("{name}{}", kept.join(", ")), WHY).fix(
        "`bmnic bind` and `bmnic tune` on the host, and start the container with --device=/dev/vfio --ulimit memlock=-1",
    )
}

/// Whether the files of /sys cannot be written to, root or not (proc_pid_mountinfo(5)).
fn sysfs_is_read_only(roots: &Roots) -> bool {
    let mounts = fs::read_to_string(roots.proc.join("self/mountinfo")).unwrap_or_default();
    let mut options = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        (fields.next() == Some("/sys")).then(|| fields.next()).flatten()
    });
    // The last one hides those before it.
    options.next_back().is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// Whether this is a user namespace that is not the machine's own (user_namespaces(7)).
fn maps_users(roots: &Roots) -> bool {
    let map = fs::read_to_string(roots.proc.join("self/uid_map")).unwrap_or_default();
    let whole = ["0", "0", "4294967295"];
    !map.trim().is_empty() && !map.split_whitespace().eq(whole)
}
