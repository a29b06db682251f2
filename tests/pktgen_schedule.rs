//! `bmnic pktgen --schedule`: each packet of a list at its nanosecond, or counted.

#[path = "common/schema.rs"]
mod schema;

use bmnic::pcap::read::Recording;
use bmnic::pcap::record::{Format, Record};
use bmnic::pcap::section::Section;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).arg("pktgen").args(words).stdin(Stdio::null()).output().unwrap()
}

/// The document of a run that must succeed.
fn json(words: &[&str]) -> Value {
    let output = run(&[&["--strict", "--allow-shortfall", "100%", "--json"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    schema::document(&output.stdout)
}

/// A file with this text.
fn list(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("list");
    std::fs::write(&path, text).unwrap();
    path
}

/// A pcap file of three packets, of 60, 70 and 80 bytes.
fn three(dir: &Path) -> PathBuf {
    let path = dir.join("in.pcap");
    let mut bytes = Vec::new();
    Format::Pcap.header(&mut bytes, 65_535, &Section::default());
    for len in [60, 70, 80] {
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time: 7, wire_len: len, parts: &[&vec![7; len]] });
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn packets_leave_at_the_times_of_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.pcap");
    let written = |text: &str, more: &[&str]| {
        let list = list(dir.path(), text);
        let words = ["--schedule", list.to_str().unwrap(), "-w", out.to_str().unwrap()];
        let output = run(&[&words[..], more].concat());
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        let recording = Recording::open(&out).unwrap();
        let first = recording.packet(0).time;
        recording.packets().map(|packet| (packet.time - first, packet.bytes.len())).collect::<Vec<_>>()
    };
    let fields = "0 # the first\n17 size=128\n\n1000000001 size=256 dport=80\n";
    assert_eq!(written(fields, &["-s", "100"]), [(0, 96), (17, 124), (1_000_000_001, 252)]);
    let pcap = three(dir.path());
    let numbers = written("1 3\n2 1\n999 3\n1000 2", &["--pcap", pcap.to_str().unwrap()]);
    assert_eq!(numbers, [(0, 80), (1, 60), (998, 80), (999, 70)]);
    assert_eq!(written("0\n5\n7", &["-c", "2"]).len(), 2);
    assert_eq!(written("0\n5\n7000", &["-d", "7us"]).len(), 2);
}

#[test]
fn each_packet_of_the_list_is_sent_or_has_a_cause() {
    let dir = tempfile::tempdir().unwrap();
    // A packet each 50 us, and far more than any card takes: one each nanosecond.
    for (gap, packets) in [(50_000, 2_000), (1, 200_000)] {
        let text: String = (0..packets).map(|n| format!("{}\n", n * gap)).collect();
        let path = list(dir.path(), &text);
        for card in ["emu:82599,link=1ms", "emu:virtio,link=1ms"] {
            let document = json(&["-i", card, "--schedule", path.to_str().unwrap()]);
            let number = |field: &str| document[field].as_u64().unwrap();
            assert_eq!((number("places"), number("sent") + number("skipped")), (packets, packets), "{document}");
            let causes = document["skipped_by_cause"].as_object().unwrap();
            assert_eq!(causes.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), number("skipped"));
            assert_eq!(number("sent"), number("counted_by_card"));
            let share = number("sent") as f64 / packets as f64;
            match document["rate_error"].as_f64() {
                Some(error) => assert!((error - (share - 1.0)).abs() < 1e-9, "{document}"),
                // A machine that does something else for 0.2 ms leaves no rate.
                None => assert_eq!(number("sent"), 0, "{document}"),
            }
            assert_eq!(document["pattern"], "schedule");
            if gap == 1 {
                assert!(number("skipped") > packets / 2, "{document}");
            }
        }
    }
}

#[test]
fn a_list_that_is_cut_short_has_the_places_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..10_000).map(|n| format!("{}\n", n * 100_000)).collect();
    let path = list(dir.path(), &text);
    let words = ["-i", "emu:82599,link=1ms", "--schedule", path.to_str().unwrap()];
    let document = json(&[&words[..], &["-d", "50ms"]].concat());
    let number = |document: &Value, field: &str| document[field].as_u64().unwrap();
    assert!((500..=501).contains(&number(&document, "places")), "{document}");
    assert_eq!(number(&document, "sent") + number(&document, "skipped"), number(&document, "places"));
    let document = json(&[&words[..], &["-c", "30"]].concat());
    assert_eq!(number(&document, "sent"), 30);
    // All of it cannot be kept: more than may be missing.
    let text: String = (0..300_000).map(|n| format!("{}\n", n * 400)).collect();
    let path = list(dir.path(), &format!("{text}200000000\n"));
    let output = run(&["-i", "emu:82599,link=1ms", "--schedule", path.to_str().unwrap(), "-s", "9000"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let pcap = three(dir.path());
    let pcap = pcap.to_str().unwrap();
    for (text, more, part) in [
        ("0\n0", &[][..], "line 2 of "),
        ("0\n5 colour=red", &[], "line 2 of "),
        ("0\n5 --dport", &[], "line 2 of "),
        ("0 1\n5 4", &["--pcap", pcap], "1 to 3"),
        ("0", &["--pcap", pcap], "is no packet of the recording"),
        ("0 1", &[], "'1' is no field"),
        ("0\n1", &["--cores", "2"], "a schedule keeps its order"),
        ("", &[], "there is no packet in the schedule"),
    ] {
        let path = list(dir.path(), text);
        let output = run(&[&["-w", "/dev/null", "--schedule", path.to_str().unwrap()], more].concat());
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {line}");
        assert!(line.contains(part) && line.trim_end().lines().count() == 1, "{text}: {line}");
    }
    let path = list(dir.path(), "0");
    for other in [&["-r", "1k"][..], &["--burst", "2"], &["--speed", "2x", "--pcap", pcap]] {
        let output = run(&[&["--schedule", path.to_str().unwrap()], other].concat());
        assert_eq!(output.status.code(), Some(2), "{other:?}");
    }
    assert_eq!(run(&["--schedule", "/nonexistent"]).status.code(), Some(1));
}
