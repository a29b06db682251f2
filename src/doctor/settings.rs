//! What of a machine can be set while it runs: the files, what is in them, what should be.
//!
//! ```text
//!   /sys/devices/system/cpu/cpuN/cpufreq/scaling_governor     performance
//!   /sys/devices/system/cpu/cpuN/cpuidle/stateM/disable       1, if waking takes over 2 us
//!   /proc/irq/N/smp_affinity_list, /proc/irq/default_smp_affinity    the other processors
//!   /sys/devices/virtual/workqueue/cpumask                    the other processors
//!   /proc/sys/kernel/nmi_watchdog, numa_balancing             0
//!   /sys/kernel/mm/transparent_hugepage/enabled               madvise
//!   .../hugepages-2048kB/nr_hugepages                         enough to have some free
//! ```
//!
//! The checks ask the same functions: a line is as it should be if there is nothing to set.

use super::cpus::{self, Cpus};
use crate::dma::hugepages;
use crate::error::Result;
use crate::pci::discover;
use crate::sys::Roots;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file to write to. Its text is the shell command that does the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub was: String,
    /// What should be.
    pub to: String,
    /// The check that it is for.
    pub check: &'static str,
    /// Whether the kernel may say no, and the rest is of use all the same: it moves no
    /// interrupt that belongs to one processor, or that it spreads itself (managed ones).
    pub may_refuse: bool,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "echo {} > {}", self.to, self.path.display())
    }
}

/// Longest time to wake that a processor may take, us: leaving C1 takes one or two.
const WAKE_US: u64 = 2;

/// Every setting that keeps `quiet` processors quiet, but for huge pages. Only what is
/// otherwise now.
pub fn all(roots: &Roots, quiet: &Cpus, no_turbo: bool) -> Vec<Setting> {
    let mut settings = governor(roots, quiet);
    settings.extend(c_states(roots, quiet));
    if no_turbo {
        settings.extend(turbo(roots));
    }
    settings.extend(interrupts(roots, quiet));
    settings.extend(workqueues(roots, quiet));
    settings.extend([watchdog(roots), numa_balancing(roots), transparent(roots)].into_iter().flatten());
    settings
}

/// The one that sets `path` to `to`, if it is there and is otherwise.
fn setting(path: PathBuf, to: impl Into<String>, check: &'static str) -> Option<Setting> {
    let (was, to) = (read(&path)?, to.into());
    (!same(&path, &was, &to)).then_some(Setting { path, was, to, check, may_refuse: false })
}

/// What is in a file: of a choice, `always [madvise] never`, what is chosen.
pub fn read(path: &Path) -> Option<String> {
    let text = discover::text(path)?;
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen.to_string());
    Some(chosen.unwrap_or(text))
}

/// Whether two texts of a file mean the same: the kernel writes masks and lists its own way.
pub fn same(path: &Path, one: &str, other: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let parse = match name {
        "smp_affinity_list" => Cpus::parse_list,
        "default_smp_affinity" | "cpumask" => Cpus::parse_mask,
        _ => return one.trim() == other.trim(),
    };
    one.trim() == other.trim() || parse(one).is_some_and(|cpus| Some(cpus) == parse(other))
}

fn cpu_file(roots: &Roots, cpu: usize, file: &str) -> PathBuf {
    roots.sys.join(format!("devices/system/cpu/cpu{cpu}/{file}"))
}

/// Full speed on the processors that are to be quiet.
pub fn governor(roots: &Roots, quiet: &Cpus) -> Vec<Setting> {
    let of = |cpu| setting(cpu_file(roots, cpu, "cpufreq/scaling_governor"), "performance", "governor");
    quiet.iter().filter_map(of).collect()
}

/// Idle states that take longer than 2 us to leave.
pub fn c_states(roots: &Roots, quiet: &Cpus) -> Vec<Setting> {
    deep_states(roots, quiet)
        .into_iter()
        .filter_map(|(state, _)| setting(state.join("disable"), "1", "C-states"))
        .collect()
}

/// The directories of such states, and how long leaving them takes, us.
pub fn deep_states(roots: &Roots, quiet: &Cpus) -> Vec<(PathBuf, u64)> {
    let mut deep = Vec::new();
    for cpu in quiet.iter() {
        let directory = cpu_file(roots, cpu, "cpuidle");
        let mut states = discover::entries(&directory);
        states.sort_unstable();
        for state in states {
            let state = directory.join(state);
            let latency = discover::text(&state.join("latency")).and_then(|text| text.parse().ok());
            deep.extend(latency.filter(|&latency| latency > WAKE_US).map(|latency| (state, latency)));
        }
    }
    deep
}

/// One speed, whatever the others do. Slower, so only where it was asked for.
pub fn turbo(roots: &Roots) -> Option<Setting> {
    let cpu = roots.sys.join("devices/system/cpu");
    setting(cpu.join("intel_pstate/no_turbo"), "1", "turbo")
        .or_else(|| setting(cpu.join("cpufreq/boost"), "0", "turbo"))
}

/// Interrupts that may come to `quiet` processors, and where new ones go.
pub fn interrupts(roots: &Roots, quiet: &Cpus) -> Vec<Setting> {
    let rest = cpus::online(roots).without(quiet);
    if rest.is_empty() || quiet.is_empty() {
        return Vec::new();
    }
    let irq = roots.proc.join("irq");
    let default = irq.join("default_smp_affinity");
    let meets = |text: Option<Cpus>| text.is_some_and(|cpus| !cpus.and(quiet).is_empty());
    let mut settings = Vec::new();
    if meets(read(&default).and_then(|text| Cpus::parse_mask(&text))) {
        settings.extend(setting(default, rest.mask(), "interrupts"));
    }
    for number in numbers(&irq) {
        let path = irq.join(number.to_string()).join("smp_affinity_list");
        if !meets(read(&path).and_then(|text| Cpus::parse_list(&text))) {
            continue;
        }
        let setting = setting(path, rest.to_string(), "interrupts");
        settings.extend(setting.map(|setting| Setting { may_refuse: true, ..setting }));
    }
    settings
}

/// Interrupts that a driver waits for and that do come to `quiet` processors: the kernel
/// may deliver one to fewer than it is allowed to.
pub fn interrupts_that_come(roots: &Roots, quiet: &Cpus) -> (usize, usize) {
    let irq = roots.proc.join("irq");
    let (mut coming, mut all) = (0, 0);
    for number in numbers(&irq) {
        let directory = irq.join(number.to_string());
        // A handler has a directory of its name there (Documentation/core-api/irq/irq-affinity.rst).
        if !discover::entries(&directory).iter().any(|name| directory.join(name).is_dir()) {
            continue;
        }
        let list = |file: &str| {
            read(&directory.join(file)).and_then(|text| Cpus::parse_list(&text)).filter(|cpus| !cpus.is_empty())
        };
        let to = list("effective_affinity_list").or_else(|| list("smp_affinity_list")).unwrap_or_default();
        all += 1;
        coming += usize::from(!to.and(quiet).is_empty());
    }
    (coming, all)
}

fn numbers(directory: &Path) -> Vec<u32> {
    let mut numbers: Vec<u32> = discover::entries(directory).iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Work that the kernel puts off, elsewhere.
pub fn workqueues(roots: &Roots, quiet: &Cpus) -> Option<Setting> {
    let path = roots.sys.join("devices/virtual/workqueue/cpumask");
    let now = Cpus::parse_mask(&read(&path)?)?;
    let rest = now.without(quiet);
    (!rest.is_empty() && rest != now).then(|| setting(path, rest.mask(), "workqueues")).flatten()
}

/// No watchdog that interrupts each processor.
pub fn watchdog(roots: &Roots) -> Option<Setting> {
    setting(roots.proc.join("sys/kernel/nmi_watchdog"), "0", "watchdog")
}

/// No page is unmapped to see who uses it, on a machine with more nodes than one.
pub fn numa_balancing(roots: &Roots) -> Option<Setting> {
    let several = discover::text(&roots.sys.join("devices/system/node/online")).is_some_and(|nodes| nodes != "0");
    setting(roots.proc.join("sys/kernel/numa_balancing"), "0", "NUMA balancing").filter(|_| several)
}

/// Transparent huge pages only for those who ask: collecting them stops a thread.
pub fn transparent(roots: &Roots) -> Option<Setting> {
    let path = roots.sys.join("kernel/mm/transparent_hugepage/enabled");
    (read(&path)? == "always").then(|| setting(path, "madvise", "THP")).flatten()
}

/// So many bytes of free huge pages on `node`, or on any.
///
/// # Errors
/// As [`hugepages::plan_setup`].
pub fn pages(roots: &Roots, bytes: u64, node: Option<u16>) -> Result<Option<Setting>> {
    let node = node.filter(|node| hugepages::pools(roots).iter().any(|pool| pool.node == Some(*node)));
    let plan = hugepages::plan_setup(roots, bytes, 2 << 20, node)?;
    Ok(plan.and_then(|(path, to)| setting(path, to, "huge pages")))
}
