//! `bmnic ctl`: what a capture is told while it runs, by those who may and by those who
//! have no good in mind.
//!
//! The wire's source waits for a port that is behind (`pause=on`), so nothing is lost, and a
//! packet's sequence number is also how many came before it: which rule it was judged by is
//! known for each.

#[path = "common/capture.rs"]
mod common;

use bmnic::pcap::read::Recording;
use common::{bmnic, count, text};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

/// Where a source's frames have their sequence number.
const SEQUENCE_AT: usize = 46;

/// Its last byte, in an expression.
const LAST: &str = "ether[53]";

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    common::document(output)
}

/// A name that no other test and no other run of it has.
fn unique(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

fn socket(name: &str) -> PathBuf {
    bmnic::publish::directory().join(format!("bmnic-control-{name}"))
}

/// What `bmnic ctl` says.
fn tell(name: &str, words: &[&str]) -> Value {
    document(&bmnic(&[&["ctl", "--json", name], words].concat()).output().unwrap())
}

/// A capture that listens, and is ended with the test.
struct Capture(Option<Child>);

impl Capture {
    fn start(name: &str, file: &Path, card: &str, more: &[&str]) -> Capture {
        let file = file.to_str().unwrap();
        let words = ["capture", "--control", name, "-i", card, "-w", file, "-d", "300s", "--json"];
        let capture = Capture(Some(bmnic(&[&words[..], more].concat()).spawn().unwrap()));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !bmnic(&["ctl", name, "status"]).output().unwrap().status.success() {
            assert!(Instant::now() < deadline, "it does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        capture
    }

    fn end(mut self, name: &str) -> Value {
        tell(name, &["stop"]);
        document(&self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nothing was lost, and what was received is kept or filtered.
fn adds_up(document: &Value) {
    assert_eq!(count(document, "/lost/total"), 0, "{document}");
    assert_eq!(count(document, "/captured") + count(document, "/filtered"), count(document, "/received"), "{document}");
}

/// Sequence numbers in the file, and the time of each packet.
fn sequences(path: &Path) -> Vec<(u64, i64)> {
    let recording = Recording::open(path).unwrap();
    assert_eq!(recording.damage(), None);
    let sequence = |bytes: &[u8]| u64::from_be_bytes(bytes[SEQUENCE_AT..][..8].try_into().unwrap());
    recording.packets().map(|packet| (sequence(packet.bytes), packet.time)).collect()
}

/// Two rules: of 16 packets each wants two, the first of which both want.
fn wants(rule: u64, sequence: u64) -> bool {
    [0, 1 + rule].contains(&(sequence % 16))
}

fn expression(rule: u64) -> String {
    format!("{LAST} & 15 = 0 or {LAST} & 15 = {}", 1 + rule)
}

#[test]
fn no_packet_that_both_rules_want_is_lost_and_each_is_judged_by_the_rule_that_held() {
    const CHANGES: u64 = 400;
    let (dir, name) = (tempfile::tempdir_in("/dev/shm").unwrap(), unique("toggle"));
    let path = dir.path().join("out.pcap");
    let capture = Capture::start(&name, &path, "emu:82599,wire=source:pause=on", &["-f", &expression(0)]);
    // What was received when a rule began to hold, and when that was; the first one from the start.
    let mut since = vec![(0, 0)];
    for change in 1..=CHANGES {
        let answer = tell(&name, &["filter", &expression(change % 2)]);
        assert_eq!(answer["filter"], expression(change % 2));
        assert_eq!(count(&answer, "/filter_changes"), change);
        assert_eq!(count(&answer, "/captured") + count(&answer, "/filtered"), count(&answer, "/received"), "{answer}");
        since.push((count(&answer, "/received"), count(&answer, "/time_ns")));
    }
    assert!(since.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{since:?}");
    let document = capture.end(&name);
    adds_up(&document);
    assert_eq!((&document["filter"], count(&document, "/filter_changes")), (&expression(0).into(), CHANGES));
    let found = sequences(&path);
    let received = count(&document, "/received");
    let held = |sequence: u64| since.partition_point(|(from, _)| *from <= sequence) as u64 - 1;
    let wanted = (0..received).filter(|&sequence| wants(held(sequence) % 2, sequence));
    assert!(wanted.eq(found.iter().map(|(sequence, _)| *sequence)), "a packet is missing, or should not be there");
    // The time that is told is that of the file, to what setting the clock right moves it.
    const SET_RIGHT: i64 = 1_000_000;
    for (sequence, time) in found {
        let held = held(sequence) as usize;
        assert!(time + SET_RIGHT >= since[held].1 as i64, "packet {sequence} is older than its rule");
        let next = since.get(held + 1).map_or(i64::MAX, |(_, until)| *until as i64);
        assert!(time.saturating_sub(SET_RIGHT) <= next, "packet {sequence} is younger than its rule");
    }
}

#[test]
fn several_threads_and_merged_queues_lose_nothing_that_both_rules_want() {
    for (card, cores) in [("82599", "2"), ("x550", "1")] {
        let (dir, name) = (tempfile::tempdir_in("/dev/shm").unwrap(), unique(&format!("threads-{card}")));
        let path = dir.path().join("out.pcapng");
        let card = format!("emu:{card},wire=source:pause=on:flows=64");
        let more = ["--cores", cores, "--rxq", "4", "--format", "pcapng", "-f", &expression(0)];
        let capture = Capture::start(&name, &path, &card, &more);
        for change in 1..=100 {
            let answer = tell(&name, &["filter", &expression(change % 2)]);
            let sum = count(&answer, "/captured") + count(&answer, "/filtered");
            assert_eq!(sum, count(&answer, "/received"), "{answer}");
        }
        let document = capture.end(&name);
        adds_up(&document);
        let mut found: Vec<u64> = sequences(&path).into_iter().map(|(sequence, _)| sequence).collect();
        found.sort_unstable();
        let both = found.iter().filter(|sequence| *sequence % 16 == 0).count() as u64;
        assert!(found.iter().all(|&sequence| wants(0, sequence) || wants(1, sequence)));
        // Queues end apart from each other: behind the first that is missing nothing is known.
        let missing = (0..).step_by(16).zip(found.iter().filter(|sequence| *sequence % 16 == 0)).find(|(a, b)| a != *b);
        let last = missing.map_or(both * 16, |(first, _)| first);
        assert!(last + 16 * 4096 * 4 > count(&document, "/received"), "{card}: packet {last} is missing: {document}");
    }
}

#[test]
fn a_bad_expression_is_answered_as_on_the_command_line_and_changes_nothing() {
    let (dir, name) = (tempfile::tempdir().unwrap(), unique("bad"));
    let path = dir.path().join("out.pcap");
    let capture = Capture::start(&name, &path, "emu:82599,wire=source:rate=10k", &["-f", "udp"]);
    for bad in ["udp port", "inbound", "(", "ip proto 300", &"(".repeat(2000)] {
        let by_line = bmnic(&["capture", "--print-filter", "-f", bad]).output().unwrap();
        let by_ctl = bmnic(&["ctl", &name, "filter", bad]).output().unwrap();
        assert_eq!(by_line.status.code(), Some(2));
        assert_eq!((by_ctl.status.code(), text(&by_ctl.stderr)), (Some(2), text(&by_line.stderr)));
    }
    let refused = bmnic(&["ctl", &name, "rotate"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "bmnic: this capture writes one file, and there is no other to go on in\n");
    assert_eq!(bmnic(&["ctl", &name, "stop", "now"]).output().unwrap().status.code(), Some(2));
    let status = tell(&name, &["status"]);
    assert_eq!((&status["filter"], count(&status, "/filter_changes")), (&"udp".into(), 0));
    adds_up(&capture.end(&name));
}

#[test]
fn status_flush_and_stop_do_what_they_say() {
    let (dir, name) = (tempfile::tempdir().unwrap(), unique("verbs"));
    let path = dir.path().join("out.pcap");
    let capture = Capture::start(&name, &path, "emu:82599,wire=source:rate=10k", &["-f", "udp"]);
    assert_eq!(std::fs::metadata(socket(&name)).unwrap().permissions().mode() & 0o777, 0o600);
    let flushed = tell(&name, &["flush"]);
    let (taken, written) = (count(&flushed, "/captured"), count(&flushed, "/written"));
    assert!(written >= taken && taken > 0, "{flushed}");
    // 60 bytes of a packet and 16 of its record, behind 24 of the file.
    assert!(std::fs::metadata(&path).unwrap().len() >= 24 + taken * 76);
    let second = bmnic(&["capture", "--control", &name, "-i", "emu:82599", "-w", "/dev/null"]).output().unwrap();
    assert_eq!(second.status.code(), Some(4), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("captures by this name; use another"), "{}", text(&second.stderr));
    let lines = text(&bmnic(&["ctl", &name, "status"]).output().unwrap().stdout);
    assert!(
        lines.starts_with("captured ") && lines.contains("missed by the card 0, dropped for the disk 0\n"),
        "{lines}"
    );
    assert!(lines.ends_with("filter    'udp', changed 0 times\n"), "{lines}");
    let lines = text(&bmnic(&["ctl", &name, "filter"]).output().unwrap().stdout);
    assert!(lines.starts_with("filter    none, all packets are kept\nsince     "), "{lines}");
    let document = capture.end(&name);
    adds_up(&document);
    assert_eq!((count(&document, "/filter_changes"), &document["filter"]), (1, &"".into()));
    let gone = bmnic(&["ctl", &name, "status"]).output().unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert_eq!(text(&gone.stderr), format!("bmnic: no capture is named '{name}'; bmnic capture --control {name}\n"));
    assert!(!socket(&name).exists(), "the name goes with the capture");
}

#[test]
fn a_name_that_a_killed_capture_left_behind_is_taken_over() {
    let (dir, name) = (tempfile::tempdir().unwrap(), unique("killed"));
    let path = dir.path().join("out.pcap");
    drop(Capture::start(&name, &path, "emu:82599,wire=source:rate=10k", &[]));
    assert!(socket(&name).exists());
    let capture = Capture::start(&name, &path, "emu:82599,wire=source:rate=10k", &[]);
    adds_up(&capture.end(&name));
}

#[test]
fn clients_that_mean_no_good_disturb_nothing() {
    let (dir, name) = (tempfile::tempdir_in("/dev/shm").unwrap(), unique("hostile"));
    let path = dir.path().join("out.pcap");
    let capture = Capture::start(&name, &path, "emu:82599,wire=source:pause=on:rate=100k", &["-f", "udp"]);
    let connect = || UnixStream::connect(socket(&name)).unwrap();
    // Half a line and no end of it; one that never says anything; both stay.
    let mut half = connect();
    half.write_all(b"filter ud").unwrap();
    let silent = connect();
    // Garbage, with and without an end, and nothing.
    for bytes in [&b"\n"[..], b"\0\xff\xfe\n", b"filter \xff\xff\n", b"rubbish", b"", b"status\nstop\n"] {
        let mut one = connect();
        one.write_all(bytes).unwrap();
        one.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // A line behind the first is not heard; what is left unread resets the connection.
        let _ = one.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with('{') && answer.ends_with("}\n"), "{answer}");
    }
    // A line without an end: nobody takes it all.
    let mut huge = connect();
    huge.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let refused = (0..4096).find_map(|_| huge.write_all(&[b'x'; 4096]).err());
    let kind = refused.map(|e| e.kind());
    assert!(matches!(kind, Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)), "{kind:?}");
    // One that is killed in the middle.
    let mut child = bmnic(&["ctl", &name, "filter", "udp"]).spawn().unwrap();
    let _ = child.kill();
    let _ = child.wait();
    // A thousand that ask and never read the answer, or say nothing, and stay.
    let many: Vec<UnixStream> = (0..1_000)
        .map(|n| {
            let mut one = connect();
            if n % 2 == 0 {
                let _ = one.write_all(b"filter udp or arp\n");
            }
            one
        })
        .collect();
    let status = tell(&name, &["status"]);
    assert!(count(&status, "/received") > 0, "{status}");
    drop((many, half, silent));
    let document = capture.end(&name);
    adds_up(&document);
    assert_eq!(count(&document, "/filtered"), 0, "all filters that were set keep all packets");
    let found = sequences(&path);
    assert!(found.iter().map(|(sequence, _)| *sequence).eq(0..count(&document, "/received")));
}

#[test]
fn another_file_is_begun_on_demand_and_nothing_is_lost_between_the_two() {
    let (dir, name) = (tempfile::tempdir().unwrap(), unique("rotate"));
    let path = dir.path().join("out.pcap.gz");
    let capture = Capture::start(&name, &path, "emu:82599,wire=source:rate=10k:pause=on", &["-b", "duration:1h"]);
    let mut files: Vec<PathBuf> = Vec::new();
    for _ in 0..3 {
        tell(&name, &["flush"]);
        files.push(tell(&name, &["rotate"])["file"].as_str().unwrap().into());
    }
    let shown = text(&bmnic(&["ctl", &name, "rotate"]).output().unwrap().stdout);
    files.push(shown.strip_prefix("rotated   it goes on in ").unwrap().trim_end().into());
    let document = capture.end(&name);
    adds_up(&document);
    assert_eq!(count(&document, "/files/begun"), 5);
    files.insert(0, document["files"]["first"].as_str().unwrap().into());
    let all: Vec<u64> = files.iter().flat_map(|path| sequences(path)).map(|(sequence, _)| sequence).collect();
    assert!(
        all.iter().copied().eq(0..count(&document, "/captured")),
        "in order and once, in the files that were named"
    );
}

#[test]
fn a_file_does_not_say_of_all_its_packets_what_was_only_the_first_filter() {
    let (dir, name) = (tempfile::tempdir().unwrap(), unique("header"));
    let path = dir.path().join("out.pcapng");
    let first = "udp and not port 54321";
    let says = |words: &[&str]| {
        let capture = Capture::start(&name, &path, "emu:82599,wire=source:rate=10k", words);
        tell(&name, &["filter", "ip"]);
        adds_up(&capture.end(&name));
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(first.len()).any(|window| window == first.as_bytes())
    };
    assert!(!says(&["--format", "pcapng", "-f", first]));
    assert!(says(&["--format", "pcapng", "-f", first, "--capture-comment", first]), "it is looked for");
}
