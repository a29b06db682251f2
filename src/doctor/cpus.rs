//! Sets of processors, as the kernel writes them: `0-3,8` and `00000000,0000010f`.

use crate::pci::discover;
use crate::sys::Roots;
use std::collections::BTreeSet;
use std::fmt;

/// A set of processors. Its text is the kernel's list, `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpus(BTreeSet<usize>);

/// Highest number that is read: one beyond what Linux can be built for makes no sense.
const MOST: usize = 8191;

impl Cpus {
    /// Reads a list (Documentation/core-api/printk-formats.rst, `%*pbl`); none if it is no list.
    pub fn parse_list(text: &str) -> Option<Cpus> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last && last <= MOST).then_some(())?;
            cpus.extend(first..=last);
        }
        Some(Cpus(cpus))
    }

    /// Reads a mask: groups of 32 bits in hexadecimal, the highest first (`%*pb`).
    pub fn parse_mask(text: &str) -> Option<Cpus> {
        let mut cpus = BTreeSet::new();
        for (n, group) in text.trim().rsplit(',').enumerate() {
            let bits = u32::from_str_radix(group, 16).ok()?;
            (n * 32 <= MOST).then_some(())?;
            cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| n * 32 + bit));
        }
        Some(Cpus(cpus))
    }

    /// As a mask.
    pub fn mask(&self) -> String {
        let groups = self.0.last().map_or(1, |last| last / 32 + 1);
        let group = |n: usize| {
            let bits = (0..32).filter(|bit| self.has(n * 32 + bit)).fold(0_u32, |bits, bit| bits | 1 << bit);
            format!("{bits:08x}")
        };
        (0..groups).rev().map(group).collect::<Vec<_>>().join(",")
    }

    /// Whether `cpu` is one of them.
    pub fn has(&self, cpu: usize) -> bool {
        self.0.contains(&cpu)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The lowest.
    pub fn first(&self) -> Option<usize> {
        self.0.first().copied()
    }

    /// Them, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.0.iter().copied()
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, other: &Cpus) -> Cpus {
        Cpus(self.0.intersection(&other.0).copied().collect())
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Cpus) -> Cpus {
        Cpus(self.0.difference(&other.0).copied().collect())
    }

    /// Whether all of `other` are among them.
    pub fn hold(&self, other: &Cpus) -> bool {
        other.0.is_subset(&self.0)
    }
}

impl FromIterator<usize> for Cpus {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        Cpus(cpus.into_iter().collect())
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for cpu in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => runs.push((cpu, cpu)),
            }
        }
        for (n, (first, last)) in runs.into_iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

/// The processors that are switched on.
pub fn online(roots: &Roots) -> Cpus {
    list(roots, "devices/system/cpu/online")
}

/// Those of a NUMA node.
pub fn of_node(roots: &Roots, node: u16) -> Cpus {
    list(roots, &format!("devices/system/node/node{node}/cpulist"))
}

/// The threads of the core that `cpu` is one of: itself at least.
pub fn siblings(roots: &Roots, cpu: usize) -> Cpus {
    let mut cpus = list(roots, &format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    cpus.0.insert(cpu);
    cpus
}

/// A list of sysfs; nothing where there is none.
pub fn list(roots: &Roots, file: &str) -> Cpus {
    discover::text(&roots.sys.join(file)).and_then(|text| Cpus::parse_list(&text)).unwrap_or_default()
}

/// The processors to be kept quiet for threads that move packets, where nobody names them.
///
/// Those that the kernel was booted to isolate; if there are none, the last quarter of the
/// cores of `node` (of the machine, if none is known), one at least, with both threads of
/// each, and never the core that processor 0 is on: the kernel itself works there.
pub fn quiet(roots: &Roots, node: Option<u16>) -> Cpus {
    let isolated = list(roots, "devices/system/cpu/isolated");
    if !isolated.is_empty() {
        return isolated;
    }
    let (online, busy) = (online(roots), siblings(roots, 0));
    let usable = online.without(&busy);
    let near = node.map(|node| of_node(roots, node).and(&usable)).filter(|near| !near.is_empty());
    let mut left = near.unwrap_or(usable);
    let mut cores = Vec::new();
    while let Some(cpu) = left.first() {
        let core = siblings(roots, cpu).and(&online);
        left = left.without(&core);
        cores.push(core);
    }
    let few = cores.len().div_ceil(4);
    cores.iter().rev().take(few).flat_map(Cpus::iter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn lists_and_masks_are_the_kernels() {
        let cpus = Cpus::parse_list("0-3,8,40\n").unwrap();
        assert_eq!(cpus.to_string(), "0-3,8,40");
        assert_eq!(cpus.mask(), "00000100,0000010f");
        assert_eq!(Cpus::parse_mask("100,0000010f\n"), Some(cpus));
        assert_eq!(Cpus::parse_list("\n"), Some(Cpus::default()));
        assert_eq!(Cpus::default().mask(), "00000000");
        for nonsense in ["(null)", "3-1", "a", "0-99999999999", "-"] {
            assert_eq!(Cpus::parse_list(nonsense), None, "{nonsense}");
        }
        for nonsense in ["", "g", "123456789", &"0,".repeat(10_000)] {
            assert_eq!(Cpus::parse_mask(nonsense), None, "{nonsense:.20}");
        }
    }

    /// A machine of `cpus` processors, the second half the second threads of the cores.
    fn machine(cpus: usize, threads: usize) -> (tempfile::TempDir, Roots) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let put = |file: String, text: String| {
            let path = roots.sys.join("devices/system").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("cpu/online".into(), format!("0-{}\n", cpus - 1));
        let cores = cpus / threads;
        for cpu in 0..cpus {
            let threads: Cpus = (0..threads).map(|n| cpu % cores + n * cores).collect();
            put(format!("cpu/cpu{cpu}/topology/thread_siblings_list"), format!("{threads}\n"));
        }
        put("node/node1/cpulist".into(), format!("{}-{}\n", cores / 2, cores - 1));
        (temp, roots)
    }

    #[test]
    fn the_quiet_ones_are_whole_cores_and_never_that_of_processor_0() {
        for (cpus, threads, node, quiet_ones) in [
            (1, 1, None, ""),
            (2, 1, None, "1"),
            (2, 2, None, ""),
            (4, 1, None, "3"),
            (4, 2, None, "1,3"),
            (16, 2, None, "6-7,14-15"),
            (16, 1, Some(1), "14-15"),
            (16, 1, Some(7), "12-15"),
        ] {
            let (_temp, roots) = machine(cpus, threads);
            assert_eq!(quiet(&roots, node).to_string(), quiet_ones, "{cpus} {threads} {node:?}");
        }
    }

    #[test]
    fn what_the_kernel_isolates_is_what_is_meant() {
        let (_temp, roots) = machine(8, 1);
        fs::write(roots.sys.join("devices/system/cpu/isolated"), "2-3\n").unwrap();
        assert_eq!(quiet(&roots, None).to_string(), "2-3");
        assert_eq!(quiet(&Roots::under(std::path::Path::new("/nonexistent")), None), Cpus::default());
    }
}
