//! A machine of plain files as a distribution leaves it: four processors on two nodes, and
//! everything that can stop a thread switched on.

#![allow(dead_code)] // each test program uses a part

use super::fake_sysfs::{Card, Tree};
use std::fs;

/// That machine, with these cards.
pub fn untuned(cards: &[Card]) -> Tree {
    let tree = Tree::new(cards);
    let sys = |file: &str, text: &str| tree.put(tree.roots.sys.join(file), &format!("{text}\n"));
    let proc = |file: &str, text: &str| tree.put(tree.roots.proc.join(file), &format!("{text}\n"));
    sys("class/iommu/dmar0/uevent", "");
    sys("devices/system/cpu/online", "0-3");
    sys("devices/system/cpu/isolated", "");
    sys("devices/system/cpu/nohz_full", "(null)");
    sys("devices/system/cpu/intel_pstate/no_turbo", "0");
    for cpu in 0..4 {
        let of = |file: &str, text: &str| sys(&format!("devices/system/cpu/cpu{cpu}/{file}"), text);
        of("topology/thread_siblings_list", &cpu.to_string());
        of("cpufreq/scaling_governor", "powersave");
        for (state, latency) in [(0, "0"), (1, "2"), (2, "133")] {
            of(&format!("cpuidle/state{state}/latency"), latency);
            of(&format!("cpuidle/state{state}/disable"), "0");
        }
    }
    sys("devices/system/node/online", "0-1");
    for (pool, cpus) in [("kernel/mm", ""), ("devices/system/node/node0", "0-1"), ("devices/system/node/node1", "2-3")]
    {
        if !cpus.is_empty() {
            sys(&format!("{pool}/cpulist"), cpus);
        }
        for file in ["nr_hugepages", "free_hugepages", "surplus_hugepages"] {
            sys(&format!("{pool}/hugepages/hugepages-2048kB/{file}"), "0");
        }
    }
    // Promises are the machine's; a node has no such file.
    sys("kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "0");
    sys("kernel/mm/transparent_hugepage/enabled", "[always] madvise never");
    sys("devices/virtual/workqueue/cpumask", "f");
    sys("devices/system/clocksource/clocksource0/current_clocksource", "tsc");
    proc("cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 quiet");
    proc("cpuinfo", "vendor_id\t: GenuineIntel\nmodel name\t: A CPU\nflags\t\t: fpu constant_tsc nonstop_tsc");
    proc("swaps", "Filename Type Size Used Priority\n/dev/vda2 partition 1000 0 -2");
    proc("sys/kernel/nmi_watchdog", "1");
    proc("sys/kernel/numa_balancing", "1");
    proc("sys/kernel/random/boot_id", "6f3a");
    proc("sys/vm/compact_memory", "");
    proc("irq/default_smp_affinity", "f");
    for irq in [1, 26, 27] {
        proc(&format!("irq/{irq}/smp_affinity_list"), "0-3");
        proc(&format!("irq/{irq}/effective_affinity_list"), &(irq % 4).to_string());
        fs::create_dir_all(tree.roots.proc.join(format!("irq/{irq}/eth1-{irq}"))).unwrap();
    }
    tree
}
