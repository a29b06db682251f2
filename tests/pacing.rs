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
use std::io::Write;
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

const CAUSES: [&str; 5] = ["ring_full", "held_up", "no_buffers", "sender", "reader_bound"];

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

/// A pcap file of `frames` frames of 15 000 bytes, 50 us apart.
fn long_recording(frames: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Format::Pcap.header(&mut bytes, 65_535, &bmnic::pcap::section::Section::default());
    let frame = vec![7; 15_000];
    for n in 0..frames {
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time: n * 50_000, wire_len: 15_000, parts: &[&frame] });
    }
    bytes
}

/// 75 MB.
const MORE_THAN_IS_HELD: u64 = 5_000;

#[test]
fn a_file_that_is_read_while_it_is_sent_has_each_packet_once_a_time_through() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    std::fs::write(&path, long_recording(MORE_THAN_IS_HELD)).unwrap();
    let file = ["-i", "emu:82599,link=1ms", "--pcap", path.to_str().unwrap(), "--loop", "3"];
    for extra in [&["-r", "20k"][..], &["-r", "40%"], &["--speed", "2x"], &["-r", "line"]] {
        let document = json(&[&file[..], extra].concat());
        assert_eq!(number(&document, "sent"), 3 * MORE_THAN_IS_HELD, "{extra:?}: {document}");
        assert_eq!(document["sent"], document["counted_by_card"], "{extra:?}");
        assert_eq!(document["recording"]["packets"], MORE_THAN_IS_HELD, "{extra:?}");
        if extra[0] == "-r" && extra[1] != "line" {
            places(&document);
        }
    }
    // Each gap is cut to nothing, once through.
    let file = ["-i", "emu:82599,link=1ms", "--pcap", path.to_str().unwrap(), "--max-gap", "1us"];
    let document = json(&file);
    assert_eq!(document["recording"]["gaps_cut"], MORE_THAN_IS_HELD - 1);
    assert_eq!(document["recording"]["gaps_cut_ns"], (MORE_THAN_IS_HELD - 1) * 49_000);
}

#[test]
fn a_long_file_takes_the_memory_of_what_is_read_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    std::fs::write(&path, long_recording(2 * MORE_THAN_IS_HELD)).unwrap();
    let words = ["pktgen", "-i", "emu:82599,link=1ms", "--pcap", path.to_str().unwrap(), "-r", "line", "-l", "0"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_bmnic"))
        .args(words)
        .args(["-d", "1s", "--json", "--allow-shortfall", "100%"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kb| kb.parse().ok());
        most = most.max(kilobytes.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!((60_000..120_000).contains(&most), "{most} kB for 150 MB, of which 64 MiB are read ahead");
}

#[test]
fn a_file_that_is_read_more_slowly_than_it_is_sent_is_a_cause_with_a_name() {
    let words = ["pktgen", "-i", "emu:82599,link=1ms", "--pcap", "-", "-r", "10k", "-d", "3s", "--json"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_bmnic"))
        .args(words)
        .args(["--allow-shortfall", "100%"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // After half a second's worth the writer falls asleep.
    pipe.write_all(&long_recording(MORE_THAN_IS_HELD)).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(pipe);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((30_000..=30_001).contains(&places(&document)));
    assert_eq!(document["sent"], document["counted_by_card"]);
    assert!(number(&document, "sent") <= MORE_THAN_IS_HELD);
    let late = number(&document["skipped_by_cause"], "reader_bound");
    assert!(late > 0 && number(&document["reader_bound"], "waits") > 0, "{document}");
    assert!(number(&document["reader_bound"], "waited_ns") > 0, "{document}");
}

#[test]
fn how_far_gaps_were_off_is_told_by_four_figures_that_rise() {
    // So many, however long a busy machine takes for them: fewer have no p99.
    let document = json(&["-i", "emu:82599,link=1ms", "-r", "100k", "-c", "10k"]);
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

/// Departures from the card, ns on the clock of its wire.
fn departures(dir: &Path, card: &str, words: &[&str]) -> Vec<u64> {
    let (nothing, out) = (dir.join("in.pcap"), dir.join("out.pcap"));
    recording(&nothing, 1);
    let wire = format!("emu:{card},link=1ms,wire=pcap:{}:out={}", nothing.display(), out.display());
    let document = json(&[&["-i", &wire, "--pace", "card"], words].concat());
    assert_eq!((&document["paced_by_card"], &document["places"]), (&true.into(), &Value::Null));
    assert_eq!(document["sent"], document["counted_by_card"], "{document}");
    Recording::open(&out).unwrap().packets().map(|packet| packet.time as u64).collect()
}

#[test]
fn a_card_that_keeps_the_rate_leaves_the_same_gap_each_time_and_never_a_shorter_one() {
    let dir = tempfile::tempdir().unwrap();
    let long_ring = ["--txd", "4096", "-c", "4000"];
    for (card, rate, gap) in [("82599", "100k", 10_000), ("x540", "1M", 1_000), ("82599,speed=1G", "100k", 10_000)] {
        let times = departures(dir.path(), card, &[&["-r", rate][..], &long_ring].concat());
        assert_eq!(times.len(), 4_000, "{card}");
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|seen| seen + 1 >= gap), "{card}: {:?}", gaps.iter().min());
        // All packets fit into the ring: only what the machine did to the card itself shows.
        let even = gaps.iter().filter(|seen| seen.abs_diff(gap) <= 1).count();
        assert!(even * 10 >= 9 * gaps.len(), "{card}: {even} of {}", gaps.len());
    }
    // It counts bits: a frame of 128 bytes is followed by twice the gap of one of 64, from begin
    // to begin. The wire tells when they end, and 64 bytes take 51 ns.
    let times = departures(dir.path(), "82599", &[&["-r", "100k", "-s", "64,128"][..], &long_ring].concat());
    let short = times.windows(2).filter(|pair| (pair[1] - pair[0]).abs_diff(6_667 + 51) <= 1).count();
    let long = times.windows(2).filter(|pair| (pair[1] - pair[0]).abs_diff(13_333 - 51) <= 1).count();
    assert!(short > 1_700 && long > 1_700, "{short} and {long}");
}

#[test]
fn a_rate_that_no_card_keeps_is_refused_by_name() {
    for (card, words, part) in [
        ("emu:x710", &["-r", "1M"][..], "the driver i40e knows"),
        ("emu:virtio", &["-r", "1M"], "the driver virtio knows"),
        ("emu:82599", &["-r", "1k"], "from 9765626 to 9999999999 bits a second"),
        ("emu:82599", &["-r", "1M", "--burst", "2"], "--burst"),
        ("emu:82599", &[], "--rate"),
    ] {
        let output = run(&[&["pktgen", "-c", "9", "-i", card, "--pace", "card"][..], words].concat());
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && line.contains(part), "{card} {words:?}: {line}");
    }
    // At the link's rate there is nothing to keep.
    let document = json(&["-i", "emu:82599,link=1ms", "--pace", "card", "-r", "line", "-c", "1000"]);
    assert_eq!((&document["paced_by_card"], &document["sent"]), (&false.into(), &1_000.into()));
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

/// The times of packets in a file that `words` make, ns from the first.
fn times(path: &Path, words: &[&str]) -> Vec<u64> {
    let output = run(&[&["pktgen", "-w", path.to_str().unwrap()], words].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let recording = Recording::open(path).unwrap();
    let first = recording.packet(0).time;
    recording.packets().map(|packet| (packet.time - first) as u64).collect()
}

#[test]
fn arrivals_at_random_keep_the_rate_and_are_drawn_again_by_their_seed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let poisson = ["--pattern", "poisson", "-r", "1M", "-c", "40961"];
    let places = times(&path, &poisson);
    // Ten windows of 4096, a microsecond each in the mean.
    assert_eq!((places[4096], places[40_960]), (4_096_000, 40_960_000));
    let gaps: Vec<f64> = places.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e3).collect();
    let squares = gaps.iter().map(|gap| (gap - 1.0).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((0.9..1.1).contains(&squares), "variance of exponential gaps: {squares}");
    let short = gaps.iter().filter(|gap| **gap < std::f64::consts::LN_2).count() as f64 / gaps.len() as f64;
    assert!((0.48..0.52).contains(&short), "half of them are shorter than the median: {short}");
    assert_eq!(times(&path, &[&poisson[..], &["--seed", "1"]].concat()), places);
    assert_ne!(times(&path, &[&poisson[..], &["--seed", "2"]].concat()), places);
    // Bursts arrive as single packets of a rate that is less by as much.
    let bursts = times(&path, &["--pattern", "poisson", "--burst", "4", "-r", "4M", "-c", "40961"]);
    assert!(bursts.chunks(4).zip(places).all(|(burst, place)| burst.iter().all(|time| *time == place)));
    // A recording too.
    let recorded = dir.path().join("in.pcap");
    recording(&recorded, 100);
    let words = ["--pcap", recorded.to_str().unwrap(), "-l", "0", "-r", "1M", "--pattern", "poisson", "-c", "4097"];
    assert_eq!(times(&path, &[&words[..], &["--seed", "1"]].concat())[4096], 4_096_000);
}

#[test]
fn at_random_each_place_is_a_packet_or_has_a_cause_too() {
    let asked: [&[&str]; 4] = [&["1"], &["3"], &["2", "--burst", "3"], &["3", "-r", "10M"]];
    for (threads, count) in asked.iter().flat_map(|threads| [(threads, None), (threads, Some("20011"))]) {
        let rate = if threads.contains(&"-r") { &[][..] } else { &["-r", "200k"] };
        let length = count.map_or(["-d", "100ms"], |count| ["-c", count]);
        let words = ["-i", "emu:82599,link=1ms", "--pattern", "poisson", "--cores"];
        let document = json(&[&words[..], threads, rate, &length].concat());
        let places = places(&document);
        if let Some(count) = count {
            assert_eq!(document["sent"].to_string(), count, "{threads:?}");
        } else {
            // A tenth of a second: what chance adds is less than a fifth.
            let mean = document["asked_pps"].as_f64().unwrap() / 10.0;
            assert!((0.8..1.2).contains(&(places as f64 / mean)), "{threads:?}: {places} places");
        }
        assert_eq!(document["pattern"], "poisson");
        assert_eq!(document["sent"], document["counted_by_card"], "{threads:?}");
        // By its places and not by chance.
        let share = document["sent"].as_f64().unwrap() / places as f64;
        let error = document["rate_error"].as_f64().unwrap();
        assert!((error - (share - 1.0)).abs() < 1e-9, "{threads:?}: {error}, {share}");
    }
}

#[test]
fn patterns_that_contradict_the_rest_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    recording(&path, 3);
    let file = path.to_str().unwrap();
    for (words, part) in [
        (&["--pattern", "cbr", "-r", "1k", "--burst", "8"][..], "--pattern burst"),
        (&["--pattern", "burst", "-r", "1k"], "--burst"),
        (&["--pattern", "poisson"], "--rate"),
        (&["--pattern", "poisson", "-r", "line"], "no gaps to draw"),
        (&["--pattern", "poisson", "-r", "15M"], "no gaps to draw"),
        (&["--pcap", file, "--pattern", "poisson"], "--rate"),
        (&["--pcap", file, "-r", "1k", "--seed", "1"], "--seed would do nothing"),
    ] {
        let output = run(&[&["pktgen", "-c", "1", "-w", "/dev/null"], words].concat());
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {line}");
        let last = line.trim_end().lines().last().unwrap_or_default();
        assert!(last.contains(part), "{words:?}: {line}");
    }
}
