//! `bmnic compare-dpdk` against the DPDK of this machine: both drivers run, what
//! they count is what the cards count, and nothing is left behind.

#[path = "common/native.rs"]
mod native;

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

/// What holds of a comparison, however noisy the machine was. `known` are rules
/// that DPDK's driver is known to break.
fn check(nic: &str, known: &[&str]) {
    let Some(_turn) = native::dpdk() else { return };
    let document = compare(&["--nic", nic, "--rounds", "1", "--batch", "32"]);
    let ways = document["ways"].as_array().unwrap();
    assert_eq!(ways.len(), 2);
    for way in ways {
        assert!(way["dpdk"]["dpdk"].as_str().unwrap().starts_with("DPDK "), "{way:#}");
        let counted = &way["counted"];
        // What is timed never traps; net_i40e asks for its events by the clock.
        let (traps, sent) = (counted["traps"].as_u64().unwrap(), counted["drivers"][0]["card"]["tx"].as_u64().unwrap());
        assert!(if nic == "x710" { 10 * traps < sent } else { traps == 0 }, "{traps} traps: {way:#}");
        let [theirs, ours] = [0, 1].map(|driver| &counted["drivers"][driver]);
        let broken = theirs["violations"].as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap());
        assert_eq!(broken.collect::<Vec<_>>(), known, "{theirs:#}");
        assert_eq!(ours["violations"].as_array().unwrap().len(), 0, "{ours:#}");
        for driver in [theirs, ours] {
            // Stretches and counting have passed so many at least.
            assert!(driver["card"]["tx"].as_u64().unwrap() > 2_000, "{driver:#}");
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
fn net_ixgbe_and_ixgbe_run_on_an_82599() {
    check("82599", &[]);
}

#[test]
fn net_i40e_and_i40e_run_on_an_x710() {
    check("x710", &[]);
}

#[test]
fn net_virtio_and_virtio_run_on_a_virtio_net() {
    // It sends the header that it has received, but for what offloads need.
    check("virtio", &["num_buffers of a transmitted packet is not 0"]);
}

#[test]
fn net_sfc_and_efvi_run_on_an_x2522() {
    check("x2522", &[]);
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn killed_it_leaves_nothing_behind() {
    let Some(_turn) = native::dpdk() else { return };
    let free = native::free_pages();
    let mut command = native::bmnic(&["compare-dpdk", "--rounds", "1000"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    // DPDK has its memory.
    while native::free_pages() + 40 > free {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let drivers = children(child.id());
    assert_eq!(drivers.len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    while drivers.iter().any(|pid| std::fs::metadata(format!("/proc/{pid}")).is_ok()) || native::free_pages() != free {
        assert!(Instant::now() < deadline, "{drivers:?}, {} huge pages of {free}", native::free_pages());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!std::path::Path::new("/dev/bmnic").exists());
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
