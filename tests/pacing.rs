//! `bmnic pktgen` and its schedule: every place of it is a packet or has a cause, whatever
//! the machine does, and threads that share it send together what one sends.

#[path = "common/families.rs"]
mod families;

use bmnic::packet::build::trailer;
use bmnic::pcap::read::Recording;
use bmnic::pcap::record::{Format, Record};
use bmnic::pcap::section::Section;
use families::EACH;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).args(words).stdin(Stdio::null()).output().unwrap()
}

/// The document of a run that must succeed.
fn json(words: &[&str]) -> Value {
    let output = run(&[&["pktgen", "--strict", "--allow-shortfall", "100%", "--json"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(document: &Value, field: &str) -> u64 {
    document[field].as_u64().unwrap_or_else(|| panic!("no {field} in {document}"))
}

const CAUSES: [&str; 4] = ["ring_full", "held_up", "no_buffers", "sender"];

/// Checks that all places are accounted for, in all and by thread; how many there were.
fn places(document: &Value) -> u64 {
    let each = document["threads"].as_array().unwrap();
    for part in [&[document.clone()][..], each].concat() {
        let causes: u64 = CAUSES.iter().map(|cause| number(&part["skipped_by_cause"], cause)).sum();
        assert_eq!(number(&part, "skipped"), causes, "{part}");
        assert_eq!(number(&part, "places"), number(&part, "sent") + causes, "{part}");
    }
    for field in ["sent", "places", "skipped"] {
        let sum: u64 = each.iter().map(|thread| number(thread, field)).sum();
        assert_eq!(number(document, field), sum, "{field}: {document}");
    }
    number(document, "places")
}

#[test]
fn each_place_of_the_schedule_is_a_packet_or_has_a_cause() {
    // Far too fast for a card that is played, and slow enough for it.
    let extras: [&[&str]; 6] = [
        &["-r", "10M"],
        &["-r", "10M", "--txq", "3", "--batch", "7"],
        &["-r", "10M", "--burst", "50"],
        &["-r", "2M", "--size", "imix"],
        &["-r", "100k"],
        &["-r", "100k", "--cores", "2", "--burst", "3"],
    ];
    for (model, extra) in EACH.iter().flat_map(|model| extras.map(|extra| (model, extra))) {
        let queues = if extra.contains(&"--txq") { 3 } else { 1 + u16::from(extra.contains(&"--cores")) };
        if model.queues[1] < queues {
            continue;
        }
        let card = format!("emu:{model},link=1ms");
        let document = json(&[&["-i", &card, "-d", "100ms"], extra].concat());
        let rate = document["asked_pps"].as_f64().unwrap();
        let burst = extra.iter().position(|word| *word == "--burst").map_or(1, |at| extra[at + 1].parse().unwrap());
        // A tenth of a second of whole bursts; the last may be due in its last tick.
        let due = places(&document);
        let bursts = (rate * 0.1 / burst as f64).ceil() as u64;
        assert!((bursts * burst..=(bursts + 1) * burst).contains(&due), "{model} {extra:?}: {due} places");
        assert_eq!(document["sent"], document["counted_by_card"], "{model} {extra:?}");
    }
}

#[test]
fn a_card_that_is_paused_is_why_places_pass() {
    // It pauses itself: nobody takes what comes in.
    let card = "emu:82599,link=1ms,wire=loop:pause=on";
    let document = json(&["-i", card, "-r", "1M", "-d", "200ms", "--allow-loss", "100%"]);
    assert!((200_000..=200_001).contains(&places(&document)));
    assert!(number(&document["skipped_by_cause"], "ring_full") > 0, "{document}");
    assert_eq!(number(&document["skipped_by_cause"], "no_buffers"), 0, "{document}");
}

#[test]
fn a_count_is_exact_and_places_end_with_it() {
    for (count, extra) in [("20011", &[][..]), ("1", &[]), ("149", &["--burst", "50"]), ("5", &["--burst", "4096"])] {
        for threads in ["1", "2", "3"] {
            let words = ["-i", "emu:82599,link=1ms", "-c", count, "-r", "200k", "--cores", threads];
            let document = json(&[&words[..], extra].concat());
            let count: u64 = count.parse().unwrap();
            assert_eq!((number(&document, "sent"), number(&document, "counted_by_card")), (count, count));
            places(&document);
            assert_eq!(document["threads"].as_array().unwrap().len().to_string(), threads);
        }
    }
}

#[test]
fn a_run_of_no_time_has_one_place_and_no_rate() {
    for duration in ["1ns", "1us"] {
        let document = json(&["-i", "emu:82599,link=1ms", "-r", "100", "-d", duration]);
        assert_eq!(places(&document), 1, "{document}");
        assert_eq!(document["sent"], document["counted_by_card"]);
        assert!(document["pps"].as_f64().unwrap() <= 2e6, "{document}");
    }
}

#[test]
fn without_a_schedule_there_are_no_places() {
    for extra in [&[][..], &["-r", "line"], &["-r", "130M"], &["--cores", "2"]] {
        let document = json(&[&["-i", "emu:82599,link=1ms", "-d", "50ms"], extra].concat());
        assert_eq!((&document["places"], &document["skipped"]), (&Value::Null, &0.into()), "{document}");
        assert_eq!(document["sent"], document["counted_by_card"]);
    }
}

/// A pcap file of `frames` frames of 60 bytes, 10 us apart.
fn recording(path: &Path, frames: u64) {
    let mut bytes = Vec::new();
    Format::Pcap.header(&mut bytes, 65_535, &Section::default());
    for n in 0..frames {
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time: n * 10_000, wire_len: 60, parts: &[&[7; 60]] });
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_replay_at_a_rate_has_places_and_one_as_recorded_is_moved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    recording(&path, 20_000);
    let file = ["-i", "emu:82599,link=1ms", "--pcap", path.to_str().unwrap()];
    let document = json(&[&file[..], &["-r", "10M", "--loop", "0", "-d", "100ms"]].concat());
    assert!((1_000_000..=1_000_001).contains(&places(&document)));
    assert_eq!(document["sent"], document["counted_by_card"]);
    // Once through: places end where the file does.
    let document = json(&[&file[..], &["-r", "200k"]].concat());
    assert_eq!(number(&document, "sent"), 20_000);
    places(&document);
    // As recorded none is left out.
    let document = json(&file);
    assert_eq!((number(&document, "sent"), &document["places"]), (20_000, &Value::Null));
    let causes: u64 = CAUSES.iter().map(|cause| number(&document["skipped_by_cause"], cause)).sum();
    assert_eq!(number(&document, "skipped"), causes);
}

#[test]
fn how_far_gaps_were_off_is_told_by_four_figures_that_rise() {
    let document = json(&["-i", "emu:82599,link=1ms", "-r", "100k", "-d", "100ms"]);
    let figures: Vec<u64> = ["p50", "p90", "p99", "max"].map(|name| number(&document["gap_error_ns"], name)).into();
    assert!(figures.is_sorted(), "{figures:?}");
    let output = run(&["pktgen", "-i", "emu:82599,link=1ms", "-r", "100k", "-d", "100ms", "--allow-shortfall", "100%"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("off the schedule by p50 ") && said.contains(", p90 "), "{said}");
}

/// The frames of a file but for when they were sent, in the order of their numbers.
fn numbered(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let recording = Recording::open(path).unwrap();
    let strip = |bytes: &[u8]| {
        let (payload, end) = (bytes.len() - 42, bytes.len());
        let number = trailer(bytes, payload).0.unwrap();
        // Checksum of UDP and time.
        let mut frame = bytes.to_vec();
        frame[40..42].fill(0);
        frame[end - 16..end - 8].fill(0);
        (number, frame)
    };
    let mut frames: Vec<(u64, Vec<u8>)> = recording.packets().map(|packet| strip(packet.bytes)).collect();
    frames.sort();
    frames
}

#[test]
fn threads_send_together_the_packets_that_one_sends_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let [silence, alone, sent] = ["silence", "alone", "sent"].map(|name| dir.path().join(name));
    recording(&silence, 1);
    let frames = ["-c", "5003", "--src-ip", "10.0.0.1-10.0.0.29/3", "--sport", "rand", "--dport", "1-100/7"];
    let frames = [&frames[..], &["--size", "imix", "--src-mac", "02:00:00:00:00:07"]].concat();
    assert!(run(&[&["pktgen", "-w", alone.to_str().unwrap()], &frames[..]].concat()).status.success());
    let alone = numbered(&alone);
    assert!(alone.iter().map(|(number, _)| *number).eq(0..5003));
    for model in EACH.iter().filter(|model| model.queues[1] >= 3) {
        let wire = format!("pcap:{}:out={}", silence.to_str().unwrap(), sent.to_str().unwrap());
        let card = format!("emu:{model},link=1ms,wire={wire}");
        for extra in [&["--cores", "2"][..], &["--cores", "3", "-r", "100k", "--burst", "4"], &["--txq", "3"]] {
            let document = json(&[&["-i", &card], &frames[..], extra].concat());
            assert_eq!((number(&document, "sent"), number(&document, "counted_by_card")), (5003, 5003), "{model}");
            assert!(numbered(&sent) == alone, "{model} {extra:?}");
        }
    }
}

#[test]
fn a_thread_runs_where_it_is_told_and_its_part_is_told() {
    // The first processor that this test may use.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let first = allowed.split([',', '-']).next().unwrap();
    let words = ["-i", "emu:82599,link=1ms", "-c", "1000", "-r", "100k", "--cpu", first];
    let document = json(&words);
    assert_eq!(document["threads"][0]["cpu"].to_string(), first);
    let output = run(&[&["pktgen", "-v"], &words[..], &["--allow-shortfall", "100%"]].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("thread 0  1 000 packets") && said.contains(&format!(" on processor {first}")), "{said}");
}

#[test]
fn what_threads_cannot_do_is_refused_in_one_line_before_a_card_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    recording(&path, 3);
    let file = path.to_str().unwrap();
    for (words, part) in [
        (&["--pcap", file, "--cores", "2"][..], "keeps its order"),
        (&["--pcap", file, "-r", "1k", "--cores", "2"], "keeps its order"),
        (&["--cores", "2", "--cpu", "1023"], "more threads than the 1 processors"),
        (&["--cpu", "1,1"], "twice"),
        (&["--cores", "0"], "--cores"),
    ] {
        let output = run(&[&["pktgen", "-i", "emu:82599,link=1ms", "-c", "1"], words].concat());
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {line}");
        assert!(line.contains(part) && line.trim_end().lines().count() == 1, "{words:?}: {line}");
    }
    assert!(run(&["pktgen", "-i", "emu:82599,link=1ms", "--pcap", file, "--cores", "1"]).status.success());
}
