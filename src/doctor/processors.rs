//! Whether a thread that moves packets is left alone.

use super::cpus::{self, Cpus};
use super::{Check, State, Subject, access, settings};
use crate::pci::discover;
use crate::sys::Roots;
use std::fs;

pub(super) fn checks(roots: &Roots, subject: &Subject) -> Vec<Check> {
    let quiet = &subject.quiet;
    let mut checks = vec![spare(roots, quiet)];
    if !quiet.is_empty() {
        checks.extend(booted(roots, quiet));
        checks.extend([interrupts(roots, quiet), workqueues(roots, quiet), siblings(roots, quiet)]);
        checks.extend([governor(roots, quiet), c_states(roots, quiet)]);
    }
    checks.extend([turbo(roots), watchdog(roots), counter(roots), host(roots)]);
    checks
}

fn spare(roots: &Roots, quiet: &Cpus) -> Check {
    const WHY: &str = "a thread that moves packets wants a processor to itself, and processor 0 has the kernel's work";
    const NAME: &str = "processors";
    let online = cpus::online(roots);
    let missing = quiet.without(&online);
    if online.is_empty() {
        return Check::new(NAME, State::Unknown, "the kernel does not say which are on", WHY);
    }
    if quiet.is_empty() {
        return Check::new(NAME, State::Slow, format!("{online}: none to spare"), WHY).fix("a machine with more");
    }
    if !missing.is_empty() {
        return Check::new(NAME, State::Wrong, format!("{missing} are not on; there are {online}"), WHY)
            .fix("name others with --cpu");
    }
    if quiet.has(0) {
        return Check::new(NAME, State::Slow, format!("{quiet}, with processor 0 among them"), WHY)
            .fix("name others with --cpu");
    }
    Check::new(NAME, State::Ok, format!("{quiet} of {online} for packets"), WHY)
}

/// What the kernel was booted with: these are looked at together, as one boot sets all.
fn booted(roots: &Roots, quiet: &Cpus) -> Vec<Check> {
    let rows = boot_words(roots, quiet);
    let missing: Vec<String> = rows.iter().filter(|(_, has, _)| !has).map(|(_, _, word)| word.clone()).collect();
    let check = |(name, has, word): (&'static str, bool, String)| {
        let why = match name {
            "isolcpus" => "the scheduler puts other programs on a processor that is not isolated",
            "nohz_full" => "the kernel's tick stops a thread 100 to 1000 times a second",
            "rcu_nocbs" => "the kernel frees its own memory on every processor unless told otherwise",
            _ => "interrupts that come later go to any processor unless the kernel was told otherwise",
        };
        let state = if has { State::Ok } else { State::Slow };
        let found = if has { format!("covers {quiet}") } else { format!("does not cover {quiet}") };
        // The first line has the fix of all.
        let check = Check::new(name, state, found, why);
        if missing.first() == Some(&word) {
            check.boot(format!("boot with {}", missing.join(" ")))
        } else {
            check.boot(format!("boot with {word}"))
        }
    };
    rows.into_iter().map(check).collect()
}

/// The words of the kernel's command line that isolate `quiet`: what each does, whether the
/// kernel has it, and the word (Documentation/admin-guide/kernel-parameters.txt).
fn boot_words(roots: &Roots, quiet: &Cpus) -> Vec<(&'static str, bool, String)> {
    let line = discover::text(&roots.proc.join("cmdline")).unwrap_or_default();
    let online = cpus::online(roots);
    let rest = online.without(quiet);
    let given = |name: &str| -> Cpus {
        let value = line.split_whitespace().rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        match value {
            Some("all") => online.clone(),
            value => value.and_then(Cpus::parse_list).unwrap_or_default(),
        }
    };
    let isolated = cpus::list(roots, "devices/system/cpu/isolated");
    let tickless = cpus::list(roots, "devices/system/cpu/nohz_full");
    // nohz_full takes the callbacks off its processors too.
    let offloaded = given("rcu_nocbs").hold(quiet) || tickless.hold(quiet);
    let first = given("irqaffinity");
    vec![
        ("isolcpus", isolated.hold(quiet), format!("isolcpus=managed_irq,domain,{quiet}")),
        ("nohz_full", tickless.hold(quiet), format!("nohz_full={quiet}")),
        ("rcu_nocbs", offloaded, format!("rcu_nocbs={quiet}")),
        ("irqaffinity", !first.is_empty() && first.and(quiet).is_empty(), format!("irqaffinity={rest}")),
    ]
}

/// What to add to the kernel's command line for `quiet` processors and an IOMMU; empty if it
/// has all of it.
pub(super) fn command_line(roots: &Roots, quiet: &Cpus) -> Vec<String> {
    let mut words = Vec::new();
    if !access::has_iommu(roots) {
        words.extend(access::iommu_words(roots).map(str::to_string));
    }
    if !quiet.is_empty() {
        words.extend(boot_words(roots, quiet).into_iter().filter(|(_, has, _)| !has).map(|(_, _, word)| word));
    }
    words
}

fn interrupts(roots: &Roots, quiet: &Cpus) -> Check {
    const WHY: &str = "an interrupt stops a thread for microseconds, and puts other code into its caches";
    let (coming, all) = settings::interrupts_that_come(roots, quiet);
    if all == 0 {
        return Check::new("interrupts", State::Unknown, "the kernel does not say where they go", WHY);
    }
    let state = if coming == 0 { State::Ok } else { State::Slow };
    let mut found = format!("{coming} of {all} go to {quiet}");
    if let Some(pid) = irqbalance(roots) {
        found += &format!("; irqbalance (process {pid}) moves them about");
    }
    let fix = if irqbalance(roots).is_some() {
        "sudo systemctl stop irqbalance && sudo bmnic tune --apply"
    } else {
        "sudo bmnic tune --apply"
    };
    Check::new("interrupts", state, found, WHY).tune(fix)
}

/// The daemon that moves interrupts to wherever there is time for them.
pub(super) fn irqbalance(roots: &Roots) -> Option<u32> {
    let is_it =
        |pid: &u32| discover::text(&roots.proc.join(pid.to_string()).join("comm")).as_deref() == Some("irqbalance");
    discover::entries(&roots.proc).iter().filter_map(|name| name.parse().ok()).find(is_it)
}

fn workqueues(roots: &Roots, quiet: &Cpus) -> Check {
    const WHY: &str = "the kernel does later, on any processor it is allowed, what need not be done at once";
    match settings::workqueues(roots, quiet) {
        None => Check::new("workqueues", State::Ok, format!("not on {quiet}"), WHY),
        Some(setting) => Check::new("workqueues", State::Slow, format!("may run on {quiet}"), WHY).tune(format!(
            "echo {} | sudo tee {}",
            setting.to,
            setting.path.display()
        )),
    }
}

fn siblings(roots: &Roots, quiet: &Cpus) -> Check {
    const WHY: &str = "two threads of one core share its caches and ports: what runs on the one slows the other";
    const NAME: &str = "SMT sibling";
    let online = cpus::online(roots);
    let others: Cpus =
        quiet.iter().flat_map(|cpu| cpus::siblings(roots, cpu).and(&online).iter().collect::<Vec<_>>()).collect();
    let outside = others.without(quiet);
    if !outside.is_empty() {
        return Check::new(NAME, State::Slow, format!("{outside} share a core with {quiet} and are used by all"), WHY)
            .fix(format!("--cpu {others}, or switch {outside} off: echo 0 | sudo tee {}", offline(roots, &outside)));
    }
    let pairs = quiet.iter().filter(|&cpu| cpus::siblings(roots, cpu).and(&online).len() > 1).count();
    if pairs > 0 {
        let first: Cpus = quiet.iter().filter(|&cpu| cpus::siblings(roots, cpu).first() == Some(cpu)).collect();
        return Check::new(
            NAME,
            State::Note,
            format!("whole cores; give packets {first} and leave their siblings idle"),
            WHY,
        );
    }
    Check::new(NAME, State::Ok, "one thread a core", WHY)
}

fn offline(roots: &Roots, cpus: &Cpus) -> String {
    let first = cpus.first().unwrap_or(0);
    roots.sys.join(format!("devices/system/cpu/cpu{first}/online")).display().to_string()
}

fn governor(roots: &Roots, quiet: &Cpus) -> Check {
    const WHY: &str = "a processor that saves power is slow when packets come, and its clock takes its time";
    const NAME: &str = "governor";
    let first = quiet.first().unwrap_or(0);
    let Some(now) = discover::text(&roots.sys.join(format!("devices/system/cpu/cpu{first}/cpufreq/scaling_governor")))
    else {
        return Check::new(NAME, State::Unknown, "the kernel does not set the frequency (firmware or host does)", WHY);
    };
    match settings::governor(roots, quiet).first() {
        None => Check::new(NAME, State::Ok, now, WHY),
        Some(setting) => Check::new(NAME, State::Slow, setting.was.clone(), WHY)
            .tune(format!("sudo cpupower -c {quiet} frequency-set -g performance")),
    }
}

fn c_states(roots: &Roots, quiet: &Cpus) -> Check {
    const WHY: &str = "a processor that sleeps deeply needs so long to wake; one that polls never sleeps";
    const NAME: &str = "C-states";
    let deep = settings::deep_states(roots, quiet);
    let open = settings::c_states(roots, quiet);
    let enabled = |state: &std::path::Path| open.iter().any(|setting| setting.path.starts_with(state));
    match deep.iter().filter(|(state, _)| enabled(state)).map(|(_, latency)| *latency).max() {
        None if deep.is_empty() => Check::new(NAME, State::Ok, "none that takes long to leave", WHY),
        None => Check::new(NAME, State::Ok, format!("deep ones are off on {quiet}"), WHY),
        Some(latency) => {
            Check::new(NAME, State::Slow, format!("up to {latency} us to wake"), WHY).tune("sudo bmnic tune --apply")
        }
    }
}

fn turbo(roots: &Roots) -> Check {
    const WHY: &str = "how fast a processor is then depends on what the others do: best figures, less alike";
    match settings::turbo(roots) {
        None => Check::new("turbo", State::Ok, "off, or not there", WHY),
        Some(setting) => Check::new("turbo", State::Note, "on", WHY).tune(format!(
            "for figures that are alike: echo {} | sudo tee {}",
            setting.to,
            setting.path.display()
        )),
    }
}

fn watchdog(roots: &Roots) -> Check {
    const WHY: &str = "it interrupts every processor, to see whether it is stuck";
    match settings::watchdog(roots) {
        None => Check::new("watchdog", State::Ok, "off", WHY),
        Some(_) => Check::new("watchdog", State::Slow, "on", WHY).tune("sudo sysctl kernel.nmi_watchdog=0"),
    }
}

fn counter(roots: &Roots) -> Check {
    const WHY: &str = "times come from the processor's counter, if it ticks at one rate whatever the processor does";
    let info = fs::read_to_string(roots.proc.join("cpuinfo")).unwrap_or_default();
    let source = discover::text(&roots.sys.join("devices/system/clocksource/clocksource0/current_clocksource"));
    let source = source.map_or(String::new(), |source| format!("; the kernel uses {source}"));
    let Some(flags) = info.lines().find_map(|line| line.strip_prefix("flags")) else {
        // aarch64 lists "Features": its counter is steady by architecture (Arm ARM D12.1).
        return match info.lines().any(|line| line.starts_with("Features")) {
            true => Check::new("counter", State::Ok, format!("the generic timer{source}"), WHY),
            false => Check::new("counter", State::Unknown, "the kernel does not say", WHY),
        };
    };
    let has = |flag: &str| flags.split_whitespace().any(|given| given == flag);
    if has("constant_tsc") && has("nonstop_tsc") {
        return Check::new("counter", State::Ok, format!("TSC, at one rate{source}"), WHY);
    }
    Check::new("counter", State::Slow, format!("the TSC's rate varies{source}"), WHY)
        .fix("in a virtual machine: pass the host's TSC on (-cpu host,+invtsc); else none")
}

fn host(roots: &Roots) -> Check {
    const WHY: &str = "the host may stop a virtual machine at any moment, and nothing in it can be set against that";
    let info = fs::read_to_string(roots.proc.join("cpuinfo")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    match flags.split_whitespace().any(|flag| flag == "hypervisor") {
        false => Check::new("host", State::Ok, "no hypervisor seen", WHY),
        true => Check::new("host", State::Note, "this is a virtual machine", WHY)
            .fix("have the host pin its processors and isolate those"),
    }
}
