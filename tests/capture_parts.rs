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

/// Processors that this process may use: a list as the kernel writes it.
fn may_use() -> String {
    let may = std::fs::read_to_string("/proc/self/status").unwrap();
    may.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_string()
}

/// Where threads of a capture may run, by their names, once `as_told` or after half a minute.
fn places(words: &[&str], as_told: impl Fn(&HashMap<String, String>) -> bool) -> HashMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let card = ["capture", path.to_str().unwrap(), "-i", "emu:82599,wire=source:rate=1000", "-d", "0"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_bmnic")).args(card).args(words).spawn().unwrap();
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
        if as_told(&places) || std::time::Instant::now() > end {
            break places;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap();
    places
}

#[test]
fn a_thread_runs_where_it_is_told_and_the_card_elsewhere() {
    let may = may_use();
    let first = may.split(['-', ',']).next().unwrap();
    let as_told = |places: &HashMap<String, String>| {
        places.get("capture").is_some_and(|cpus| cpus == first) && places.contains_key("emu")
    };
    let places = places(&["--cpu", first], as_told);
    assert!(as_told(&places), "{places:?}");
    // With one processor there is no elsewhere.
    assert_eq!(places["emu"] != first && !places["emu"].starts_with(&format!("{first}-")), may != first, "{places:?}");
}

#[test]
fn the_last_processor_is_that_of_who_writes_out_of_a_ring() {
    let may = may_use();
    if !has_huge_pages() || !may.starts_with("0-") {
        println!("SKIPPED  no huge pages, or not processors 0 and 1: where the writer runs was not looked at");
        return;
    }
    let as_told = |places: &HashMap<String, String>| {
        let at = |thread: &str, cpu: &str| places.get(thread).is_some_and(|cpus| cpus == cpu);
        at("capture", "0") && at("writer", "1")
    };
    let places = places(&["--ring", "8M", "--cpu", "0,1"], as_told);
    assert!(as_told(&places), "{places:?}");
}

/// Free huge pages of 2 MiB; says so if there are none for a ring.
fn has_huge_pages() -> bool {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").unwrap_or_default();
    let enough = free.trim().parse::<u64>().is_ok_and(|free| free >= 16);
    if !enough {
        println!("SKIPPED  no huge pages are free: no ring was made of them");
    }
    enough
}

#[test]
fn a_ring_is_of_huge_pages_and_says_how_full_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let card = "emu:82599,wire=source:size=64/1518:rate=200k";
    let words = |more: &[&'static str]| {
        let words = ["capture", path.to_str().unwrap(), "-i", card, "-c", "20000"];
        words.iter().map(ToString::to_string).chain(more.iter().map(ToString::to_string)).collect::<Vec<_>>()
    };
    let run = |more: &[&'static str]| run(&words(more).iter().map(String::as_str).collect::<Vec<_>>());
    let held = |document: &Value, field: &str| count(document, &format!("/buffer/{field}"));
    let document = run(&[]);
    assert_eq!((held(&document, "bytes"), &document["buffer"]["page"]), (64 << 20, &Value::Null), "{document}");
    if !has_huge_pages() {
        return;
    }
    let document = run(&["--ring", "8M"]);
    assert_eq!(held(&document, "bytes"), 8 << 20);
    assert!([2 << 20, 1 << 30].contains(&held(&document, "page")), "{document}");
    assert!((1 << 20..=8 << 20).contains(&held(&document, "most_used")), "{document}");
    assert_eq!((count(&document, "/captured"), Recording::open(&path).unwrap().len()), (20_000, 20_000));
    adds_up(&document, "/captured");
    let said = bmnic(&words(&["--ring", "8M"]).iter().map(String::as_str).collect::<Vec<_>>());
    let said = text(&said.stdout);
    assert!(said.lines().any(|line| line.starts_with("ring      8 MiB in pages of ")), "{said}");
}

#[test]
fn a_ring_for_which_pages_are_missing_is_refused_in_a_line_and_no_file_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    for (words, code, what) in [
        (&["--ring", "64G"][..], 1, "bmnic hugepages --setup 65536M"),
        (&["--ring", "2M", "--cores", "2"], 2, "name 4 MiB or more"),
        (&["--ring", "4M", "--buffer", "4M"], 2, "cannot be used with"),
        (&["--ring", "4M", "--perf-test", "ring"], 2, "leave --ring out"),
        (&["--ring", "1M"], 2, "2M to 64G"),
    ] {
        let output = bmnic(&[&["capture", file, "-c", "1"], words].concat());
        let line = text(&output.stderr);
        if code == 2 && words.contains(&"--cores") && !has_huge_pages() {
            continue;
        }
        assert_eq!(output.status.code(), Some(code), "{words:?}: {line}");
        assert!(line.contains(what) && !path.exists(), "{words:?}: {line}");
    }
    let output = bmnic(&["capture", "--publish", "nowhere", "--ring", "4M", "-c", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("none is written"), "{}", text(&output.stderr));
}

#[test]
fn receiving_into_a_ring_calls_no_system_for_a_packet() {
    if !has_huge_pages() || Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED  no huge pages, or no strace: system calls were not counted");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, log) = (dir.path().join("out.pcap"), dir.path().join("log"));
    let calls = |count: &str| {
        let words = ["-f", "-o", log.to_str().unwrap(), env!("CARGO_BIN_EXE_bmnic"), "capture", path.to_str().unwrap()];
        let more = ["-i", "emu:82599,wire=source:rate=100k", "-c", count, "--ring", "8M", "--allow-loss", "100%"];
        let output = Command::new("strace").args(words).args(more).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let log = std::fs::read_to_string(&log).unwrap();
        let named = log.lines().find(|line| line.contains("PR_SET_NAME, \"capture\"")).expect("its thread");
        let thread = named.split_whitespace().next().unwrap();
        let calls = log.lines().filter(|line| line.split_whitespace().next() == Some(thread));
        calls.filter(|line| !line.contains("sched_yield") && !line.contains(" resumed>")).count()
    };
    let (few, many) = (calls("1000"), calls("100000"));
    assert!(many < few + 500, "{few} calls for 1000 packets, {many} for 100000");
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
