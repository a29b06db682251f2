//! `bmnic compare-dpdk` against the DPDK of this machine: both drivers run, what
//! they count is what the cards count, and nothing is left behind.

#[path = "common/families.rs"]
mod families;
#[path = "common/native.rs"]
mod native;

use families::{Dpdk, EACH};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn compare(words: &[&str]) -> Value {
    let output = native::bmnic(&[&["--json", "compare-dpdk"][..], words].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // A machine that was never quiet has no figures (3); all else was counted.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What crosses PCIe for a packet of each: counted, so that it needs no quiet machine.
fn check_crossings(nic: &str) {
    let Some(_turn) = native::dpdk() else { return };
    let document = compare(&["--nic", nic, "--rounds", "0", "--batch", "1,4,32"]);
    let ways = document["ways"].as_array().unwrap();
    assert_eq!(ways.len(), 2);
    let rows = |way: usize| ways[way]["crossings_a_packet"].as_array().unwrap().iter();
    for (best, other) in rows(0).zip(rows(1)) {
        check_burst(nic, &[best, other]);
    }
    for way in ways {
        assert!(way["instructions_a_packet"].as_array().unwrap().is_empty(), "{way:#}");
        assert!(way["ticks_a_packet"]["hot"].as_array().unwrap().is_empty(), "{way:#}");
        assert_eq!(way["latency_ns"]["bmnic"].as_array().unwrap().len(), 0, "{way:#}");
    }
}

/// In bursts of one length, beside each of DPDK's ways: of bmnic's the same in each process,
/// and in bursts of 32 at most one cache line in a burst more than with DPDK's driver.
fn check_burst(nic: &str, rows: &[&Value; 2]) {
    let columns = [
        ("doorbells", "stores"),
        ("descriptors_read", "lines"),
        ("descriptors_read", "transactions"),
        ("descriptors_written", "lines"),
        ("descriptors_written", "transactions"),
        ("data_read", "transactions"),
        ("data_written", "transactions"),
    ];
    let burst = rows[0]["burst"].as_f64().unwrap();
    let line = 1.0 / burst + 0.005;
    for (of, what) in columns {
        let figure = |row: &Value, who: &str| row[who][of][what].as_f64();
        let ours = rows.map(|row| figure(row, "bmnic").unwrap_or_else(|| panic!("{nic}: {row:#}")));
        assert!((ours[0] - ours[1]).abs() < 0.01, "{nic}: {of}, {what}: {rows:#?}");
        for row in rows {
            // A vector path may have no such bursts.
            let most = figure(row, "dpdk").map_or(f64::MAX, |dpdk| dpdk + line);
            assert!(ours[0] > 0.0 && ours[0] <= most, "{nic}: {of}, {what}: {row:#}");
        }
    }
    for row in rows {
        let bytes = |of: &str| row["bmnic"][of]["bytes"].as_f64().unwrap();
        // A frame of 60 bytes each way, with what some cards put before it.
        assert!((60.0..=72.0).contains(&bytes("data_read")), "{nic}: {row:#}");
        assert!((60.0..=74.0).contains(&bytes("data_written")), "{nic}: {row:#}");
        // One doorbell or two in a burst.
        assert!(row["bmnic"]["doorbells"]["stores"].as_f64().unwrap() < 3.0 / burst, "{nic}: {row:#}");
        assert_eq!(row["bmnic"]["interrupts"], 0.0, "{nic}: who polls wants none");
    }
}

#[test]
fn what_crosses_pcie_is_counted_for_both_drivers() {
    EACH.iter().filter(|card| card.dpdk.compared).for_each(|card| check_crossings(card.name));
}

/// What holds of a comparison, however noisy the machine was.
fn check(nic: &str) {
    let Dpdk { breaks, reads_registers, .. } = families::card(nic).dpdk;
    let Some(_turn) = native::dpdk() else { return };
    let document = compare(&["--nic", nic, "--rounds", "1", "--batch", "32"]);
    let ways = document["ways"].as_array().unwrap();
    assert_eq!(ways.len(), 2);
    for way in ways {
        assert!(way["dpdk"]["dpdk"].as_str().unwrap().starts_with("DPDK "), "{way:#}");
        let counted = &way["counted"];
        // What is timed never traps, but for what a driver reads by the clock.
        let (traps, sent) = (counted["traps"].as_u64().unwrap(), counted["drivers"][0]["card"]["tx"].as_u64().unwrap());
        assert!(if reads_registers { 10 * traps < sent } else { traps == 0 }, "{traps} traps: {way:#}");
        let [theirs, ours] = [0, 1].map(|driver| &counted["drivers"][driver]);
        let broken = theirs["violations"].as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap());
        assert_eq!(broken.collect::<Vec<_>>(), breaks, "{theirs:#}");
        assert_eq!(ours["violations"].as_array().unwrap().len(), 0, "{ours:#}");
        for driver in [theirs, ours] {
            // Stretches and counting have passed so many at least.
            assert!(driver["card"]["tx"].as_u64().unwrap() > 2_000, "{driver:#}");
        }
        // A packet that was there before it was sent would have taken no time.
        for contender in ["bmnic", "bmnic_all_metadata", "dpdk"] {
            let times = way["latency_ns"][contender].as_array().unwrap();
            assert!(times.iter().all(|t| t.is_null() || t[0].as_f64().unwrap() > 20.0), "{nic}: {times:?}");
        }
        let row = &way["instructions_a_packet"][0];
        for contender in ["bmnic", "bmnic_all_metadata", "dpdk"] {
            for part in 0..2 {
                let figure = row[contender][part].as_f64();
                assert!(figure.is_some_and(|n| (5.0..5_000.0).contains(&n)), "{row:#}");
            }
        }
        let sum = |contender: &str| row[contender][0].as_f64().unwrap() + row[contender][1].as_f64().unwrap();
        assert!(sum("bmnic") < sum("bmnic_all_metadata"), "{row:#}");
    }
}

#[test]
fn both_drivers_run_on_a_card_of_each_family() {
    EACH.iter().filter(|card| card.dpdk.compared).for_each(|card| check(card.name));
}

/// Processes that any thread of `parent` has started.
fn children(parent: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let text: String = threads.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok()).collect();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Kills `compare-dpdk` with these words once it has its memory and `drivers`
/// processes.
fn killed(words: &[&str], drivers: usize) {
    let free = native::free_pages();
    let mut command = native::bmnic(&[&["compare-dpdk", "--rounds", "1000"], words].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    // DPDK has its memory.
    while native::free_pages() + 20 * drivers as u64 > free {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let children = children(child.id());
    assert_eq!(children.len(), drivers);
    child.kill().unwrap();
    child.wait().unwrap();
    while children.iter().any(|pid| std::fs::metadata(format!("/proc/{pid}")).is_ok()) || native::free_pages() != free {
        assert!(Instant::now() < deadline, "{children:?}, {} huge pages of {free}", native::free_pages());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!std::path::Path::new("/dev/bmnic").exists());
}

#[test]
fn killed_it_leaves_nothing_behind() {
    let Some(_turn) = native::dpdk() else { return };
    killed(&[], 2);
    killed(&["--testpmd"], 1);
}

/// What holds of whole programs that took turns.
fn check_programs(job: &Value, names: [&str; 2], forwards: bool) {
    for (program, name) in job["programs"].as_array().unwrap().iter().zip(names) {
        assert_eq!(program["program"], name, "{job:#}");
        let turn = &program["rounds"][0];
        let figure = |field: &str| turn[field].as_f64();
        assert!(figure("pps").is_some_and(|rate| rate > 10_000.0), "{turn:#}");
        assert_eq!(figure("cycles_per_packet").is_some_and(|n| n > 1.0), forwards, "{turn:#}");
        assert_eq!(figure("packets_per_burst").is_some_and(|n| (1.0..=32.0).contains(&n)), forwards, "{turn:#}");
    }
    assert!(job["ratio_pps"]["median"].is_f64() && job["programs"][1].is_object(), "{job:#}");
}

#[test]
fn whole_programs_take_turns_on_an_emulated_card() {
    let Some(_turn) = native::dpdk() else { return };
    let free = native::free_pages();
    for card in EACH.iter().filter(|card| card.dpdk.compared) {
        let nic = card.name;
        if !card.dpdk.whole {
            let refused = native::bmnic(&["compare-dpdk", "--testpmd", "--nic", nic]).output().unwrap();
            assert_eq!(refused.status.code(), Some(1), "{nic}");
            assert!(String::from_utf8_lossy(&refused.stderr).contains("share doorbells"), "{refused:?}");
            continue;
        }
        let document = compare(&["--testpmd", "--nic", nic, "--rounds", "1", "-d", "500ms"]);
        let job = &document["jobs"][0];
        check_programs(job, ["dpdk-testpmd io", "bmnic fwd"], true);
        for program in job["programs"].as_array().unwrap() {
            let counted = &program["rounds"][0]["card"];
            let count = |field: &str| counted[field].as_u64().unwrap();
            // What is sent was received, before the count or in it.
            assert!(count("sent") > 1_000 && count("sent") < count("received") + 2_000, "{nic}: {counted:#}");
        }
        // DPDK's own telemetry counts packets too, over a time that the machine may
        // stretch or shorten; a driver whose counts lag may have none of that time's.
        let turn = &job["programs"][0]["rounds"][0];
        let said = turn["telemetry_sent"].as_u64().unwrap() as f64;
        let ratio = said / turn["card"]["sent"].as_f64().unwrap();
        assert!(!card.dpdk.lag.is_zero() || (0.2..5.0).contains(&ratio), "{nic}: {turn:#}");
        assert_eq!(native::free_pages(), free, "{nic}");
    }
}

#[test]
fn whole_programs_take_turns_on_a_card_of_the_machine() {
    let Some(_turn) = native::dpdk() else { return };
    // A machine whose card is an emulated one, as far as they can see.
    let words = ["--json", "compare-dpdk", "--pci", "0000:99:00.0", "--rounds", "1", "-d", "2s"];
    let words = [&["emulate", "82599,wire=source", "--", env!("CARGO_BIN_EXE_bmnic")], &words[..]].concat();
    let output = native::bmnic(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["device"], "0000:99:00.0");
    check_programs(&document["jobs"][0], ["dpdk-testpmd txonly", "bmnic pktgen"], false);
    check_programs(&document["jobs"][1], ["dpdk-testpmd io", "bmnic fwd"], true);
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let refused = |words: &[&str], code: i32, reason: &str| {
        let root = tempfile::tempdir().unwrap();
        let card = root.path().join("bus/pci/devices/0000:03:00.0");
        std::fs::create_dir_all(&card).unwrap();
        for (file, text) in [("vendor", "0x8086"), ("device", "0x10fb"), ("class", "0x020000")] {
            std::fs::write(card.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink("../../drivers/ixgbe", card.join("driver")).unwrap();
        let words = [&["compare-dpdk"], words].concat();
        let output = native::bmnic(&words).env("BMNIC_SYS_ROOT", root.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(reason), "{words:?}: {said}");
    };
    refused(&["--pci", "03:00.0"], 4, "the kernel's ixgbe has it");
    refused(&["--pci", "04:00.0"], 1, "no such PCI device");
    refused(&["--nic", "mlx5"], 1, "libibverbs");
    refused(&["--nic", "mlx5", "--testpmd"], 1, "libibverbs");
    refused(&["-d", "5s"], 2, "--testpmd");
    refused(&["--testpmd", "--pci", "03:00.0"], 2, "--pci");
    if native::program("dpdk-testpmd").is_some() {
        refused(&["--testpmd", "-d", "0"], 2, "100ms");
        refused(&["--testpmd", "--rounds", "0"], 2, "--rounds must be 1");
    }
}

#[test]
fn without_huge_pages_it_says_what_to_run() {
    if !native::is_root() {
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let output = native::bmnic(&["compare-dpdk"]).env("BMNIC_SYS_ROOT", empty.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.lines().count() == 1 && said.contains("sudo bmnic hugepages --setup"), "{said}");
}
