//! `bmnic capture` with several threads, and with parts that are replaced by dummies:
//! exact counts in all of them.

use bmnic::pcap::read::Recording;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

fn bmnic(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The document of a run that did not fail, where a busy machine may lose packets.
fn run(words: &[&str]) -> Value {
    let output = bmnic(&[&words[..1], &["--allow-loss", "100%", "--json", "--strict"], &words[1..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stdout)))
}

fn count(document: &Value, field: &str) -> u64 {
    document.pointer(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {field} in {document}"))
}

/// What came off the rings was kept, filtered, or is named.
fn adds_up(document: &Value, kept: &str) {
    assert_eq!(count(document, "/lost/unaccounted"), 0, "{document}");
    let behind =
        count(document, "/filtered") + count(document, "/lost/disk_slow") + count(document, "/lost/disk_failed");
    assert_eq!(count(document, kept) + behind, count(document, "/received"), "{document}");
    let queues = document["received_by_queue"].as_array().unwrap();
    let queues: u64 = queues.iter().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(queues, count(document, "/received"));
}

/// Whether the packets of each flow are in the order in which they were sent, and of how many
/// flows there are any.
fn flows_in_order(path: &Path) -> usize {
    let recording = Recording::open(path).unwrap();
    assert_eq!(recording.damage(), None);
    let mut last: HashMap<Vec<u8>, (u64, i64)> = HashMap::new();
    for packet in recording.packets() {
        // The source's address and port, and its number from byte 46 on.
        let number = u64::from_be_bytes(packet.bytes[46..54].try_into().unwrap());
        let before = last.insert(packet.bytes[26..36].to_vec(), (number, packet.time));
        if let Some((earlier, time)) = before {
            assert!(earlier < number && time <= packet.time, "{earlier} before {number}");
        }
    }
    last.len()
}

#[test]
fn threads_share_the_queues_out_and_each_flow_keeps_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let file = path.to_str().unwrap();
    // One without and one with a clock of its own, and more queues than threads.
    for (model, cores, rxq, format) in
        [("82599", "2", "1", "pcap"), ("x550", "2", "4", "pcapng"), ("x710", "3", "1", "pcap")]
    {
        let card = format!("emu:{model},wire=source:flows=64:rate=500k");
        let words = ["capture", file, "-i", &card, "--cores", cores, "--rxq", rxq, "--format", format, "-c", "60000"];
        let document = run(&words);
        assert_eq!(count(&document, "/captured"), 60_000, "{document}");
        adds_up(&document, "/captured");
        assert_eq!(document["threads"].to_string(), cores);
        let queues = document["received_by_queue"].as_array().unwrap();
        assert_eq!(queues.len(), cores.parse::<usize>().unwrap().max(rxq.parse().unwrap()));
        assert!(queues.iter().all(|count| count.as_u64().unwrap() > 0), "{model}: {queues:?}");
        assert_eq!(count(&document, "/file_bytes"), std::fs::metadata(&path).unwrap().len());
        assert_eq!(Recording::open(&path).unwrap().len(), 60_000);
        assert_eq!(flows_in_order(&path), 64, "{model}");
    }
}

#[test]
fn threads_stop_at_the_number_that_a_filter_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let card = "emu:82599,wire=source:flows=64:rate=500k";
    // A quarter of the flows.
    let filter = "ip[15] & 3 = 1";
    let words = ["capture", path.to_str().unwrap(), filter, "-i", card, "--cores", "2", "-c", "5001"];
    let document = run(&words);
    assert_eq!((count(&document, "/captured"), Recording::open(&path).unwrap().len()), (5_001, 5_001), "{document}");
    adds_up(&document, "/captured");
    assert!(count(&document, "/filtered") > 10_000, "{document}");
}

#[test]
fn a_thread_runs_where_it_is_told_and_the_card_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let may = std::fs::read_to_string("/proc/self/status").unwrap();
    let may = may.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_string();
    let first = may.split(['-', ',']).next().unwrap();
    let words = ["capture", path.to_str().unwrap(), "-i", "emu:82599,wire=source:rate=1000", "--cpu", first, "-d", "0"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_bmnic")).args(words).spawn().unwrap();
    let tasks = Path::new("/proc").join(child.id().to_string()).join("task");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let places = loop {
        let mut places = HashMap::new();
        for task in std::fs::read_dir(&tasks).unwrap().flatten() {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let status = read("status");
            let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("").trim();
            places.insert(read("comm").trim().to_string(), cpus.to_string());
        }
        if places.get("capture").is_some_and(|cpus| cpus == first) && places.contains_key("emu") {
            break places;
        }
        assert!(std::time::Instant::now() < end, "{places:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap();
    // With one processor there is no elsewhere.
    assert_eq!(places["emu"] != first && !places["emu"].starts_with(&format!("{first}-")), may != first, "{places:?}");
}

#[test]
fn a_dummy_says_what_the_rest_manages_and_that_it_is_no_capture() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    let card = "emu:82599,wire=source:size=64/1518:rate=200k";
    for dummies in ["card", "ring", "disk", "card,ring", "card,disk"] {
        let written = dummies == "card";
        let words = ["capture", file, "-i", card, "--perf-test", dummies, "-c", "20000"];
        let document = run(&words);
        assert_eq!(count(&document, "/managed"), 20_000, "{document}");
        assert_eq!(document.get("captured"), None, "it is no capture");
        assert_eq!(document["dummies"].as_array().unwrap().len(), dummies.split(',').count());
        if dummies.contains("card") {
            assert_eq!(count(&document, "/received"), 20_000, "{document}");
        } else {
            adds_up(&document, "/managed");
        }
        assert_eq!(path.exists(), written, "{dummies}");
        if written {
            let recording = Recording::open(&path).unwrap();
            assert_eq!((recording.len(), recording.damage()), (20_000, None));
            let bytes: u64 = recording.packets().map(|packet| 16 + packet.bytes.len() as u64).sum();
            assert_eq!(count(&document, "/file_bytes"), 24 + bytes);
            // What the wire would bring: both sizes take turns.
            let long = recording.packets().filter(|packet| packet.bytes.len() == 1_514).count();
            assert_eq!(long, 10_000);
            drop(recording);
            std::fs::remove_file(&path).unwrap();
        } else {
            assert_eq!((count(&document, "/file_bytes"), &document["file"]), (0, &Value::Null));
        }
    }
    let said = bmnic(&["capture", file, "--perf-test", "card,disk", "-c", "1000"]);
    let said = text(&said.stdout);
    assert!(said.contains("no capture but a test of its parts") && said.contains("without card and disk"), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("managed   1 000 packets, ")) && !said.contains("captured"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_tested_or_divided_is_refused_in_a_line() {
    for (words, what) in [
        (&["--perf-test", "card", "--cores", "2"][..], "one receiver"),
        (&["--perf-test", "card", "-i", "emu:82599,wire=loop"], "the packets of a source"),
        (&["--cpu", "0-"], "no list of processors"),
        (&["--cores", "2", "--cpu", "0"], "name one for each"),
    ] {
        let output = bmnic(&[&["capture", "/nonexistent/f"], words].concat());
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(what), "{line}");
    }
}
