//! `bmnic pktgen` as a program: files it writes, what a card gets, what a replay
//! brings to the other end of a cable.

#[path = "common/models.rs"]
mod models;

use bmnic::pcap::read::Recording;
use bmnic::pcap::record::{Format, Record};
use models::MODELS;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn bmnic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    command.args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    bmnic(words).output().unwrap()
}

/// The document of a run that must succeed.
fn json(words: &[&str]) -> Value {
    let output = run(&[words, &["--json"]].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `child` has ended, at most a minute.
fn wait(mut child: Child) -> Output {
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn packets_are_printed_before_any_card_is_touched() {
    let output = run(&["pktgen", "--print", "-c", "2", "-r", "1k", "--vlan", "7", "--sport", "5-9"]);
    assert_eq!(
        text(&output.stdout),
        "0.000000000  02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 7 198.18.0.1:5 > 198.19.0.1:9 udp length 60\n\
         0.001000000  02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 7 198.18.0.1:6 > 198.19.0.1:9 udp length 60\n"
    );
}

#[test]
fn a_written_file_holds_exactly_what_was_asked_for_and_wireshark_finds_no_wrong_checksum() {
    let dir = tempfile::tempdir().unwrap();
    for (format, proto, address) in
        [("pcap", "udp", "10.0.0.1"), ("pcapng", "tcp", "2001:2::1"), ("pcap", "icmp", "2001:2::1")]
    {
        let path = dir.path().join("out");
        let path = path.to_str().unwrap();
        let words = ["pktgen", "-w", path, "--format", format, "--proto", proto, "--dst-ip", address, "-c", "5000"];
        let document = json(&[&words[..], &["--sport", "rand", "--size", "90-1518", "-r", "1M"]].concat());
        assert_eq!(document["packets"], 5000);
        let recording = Recording::open(Path::new(path)).unwrap();
        assert_eq!((recording.len(), recording.damage()), (5000, None));
        let span = recording.packet(4999).time - recording.packet(0).time;
        assert_eq!(span, 4_999_000, "one a microsecond");
        if Command::new("tshark").arg("--version").output().is_err() {
            eprintln!("SKIPPED: tshark is not installed");
            continue;
        }
        let checks = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
        let options = checks.iter().flat_map(|check| ["-o", check]);
        // Random ports make it guess at payloads: only sums and headers are judged.
        let wrong =
            "ip.checksum.status==0 || udp.checksum.status==0 || tcp.checksum.status==0 || icmpv6.checksum.status==0";
        let found = Command::new("tshark").args(["-r", path, "-Y", wrong]).args(options).output().unwrap();
        assert!(found.status.success(), "{}", text(&found.stderr));
        assert_eq!(text(&found.stdout), "");
    }
}

#[test]
fn a_file_goes_through_pipes() {
    let output = run(&["pktgen", "-w", "-", "-c", "100"]);
    let recording = Recording::parse(output.stdout.clone(), "pipe").unwrap();
    assert_eq!(recording.len(), 100);
    let mut child = bmnic(&["pktgen", "--pcap", "-", "--print", "-c", "100"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    let printed = wait(child);
    assert_eq!(text(&printed.stdout).lines().count(), 100);
}

#[test]
fn the_card_counts_what_was_sent_and_not_one_packet_more() {
    let extras =
        [&[][..], &["--txq", "3", "--batch", "7"], &["--size", "imix"], &["--size", "9000"], &["--burst", "50"]];
    for (model, extra) in MODELS.iter().flat_map(|model| extras.map(|extra| (model, extra))) {
        let card = format!("emu:{model}");
        let document = json(&[&["pktgen", "--strict", "-i", &card, "-c", "20011"], extra].concat());
        assert_eq!((&document["sent"], &document["counted_by_card"]), (&20_011.into(), &20_011.into()), "{extra:?}");
        assert_eq!(document["still_in_rings"], 0);
        assert!(document["pps"].as_f64().unwrap() <= document["line_rate_pps"].as_f64().unwrap());
        assert_eq!(document["devices"][0]["kind"], "emulated");
    }
}

#[test]
fn sent_and_skipped_are_all_places_of_the_schedule() {
    let document = json(&["pktgen", "-r", "20k", "-d", "1s"]);
    let places = document["sent"].as_u64().unwrap() + document["skipped"].as_u64().unwrap();
    // The last places may be those of a moment in which the machine was busy elsewhere.
    assert!((18_000..=20_001).contains(&places), "{places}");
    assert_eq!(document["sent"], document["counted_by_card"]);
}

#[test]
fn a_replay_over_a_cable_is_captured_byte_for_byte_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (sent, got) = (dir.path().join("sent.pcap"), dir.path().join("got.pcap"));
    let frames: Vec<Vec<u8>> = (0..3_000_u32)
        .map(|i| (0..60 + i as usize * 7 % 8_000).map(|at| (i as usize * 31 + at) as u8).collect())
        .collect();
    let mut bytes = Vec::new();
    Format::Pcap.header(&mut bytes, 65_535, "");
    for (i, frame) in frames.iter().enumerate() {
        let time = 1_000_000_000 + i as u64 * 100_000;
        Format::Pcap.put(&mut bytes, &Record { time, wire_len: frame.len(), parts: &[frame] });
    }
    std::fs::write(&sent, bytes).unwrap();

    for model in MODELS {
        let name = format!("pktgen-test-{}-{model}", std::process::id());
        let device = format!("emu:{model},wire=cable:{name}");
        let capture = bmnic(&[
            "capture",
            got.to_str().unwrap(),
            "-i",
            &device,
            "-c",
            "3000",
            "-d",
            "50s",
            "--json",
            "--rxd",
            "4096",
        ]);
        let capture = { capture }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let document = json(&["pktgen", "-i", &device, "--pcap", sent.to_str().unwrap()]);
        assert_eq!(document["sent"], 3000);
        let captured = wait(capture);
        assert!(captured.status.success(), "{}", text(&captured.stderr));
        let recording = Recording::open(&got).unwrap();
        assert_eq!(recording.len(), frames.len(), "{}", text(&captured.stdout));
        for (i, (packet, frame)) in recording.packets().zip(&frames).enumerate() {
            assert!(packet.bytes == frame, "packet {i} of {} bytes came as {} bytes", frame.len(), packet.bytes.len());
        }
        let times: Vec<i64> = recording.packets().map(|packet| packet.time).collect();
        assert!(times.is_sorted());
    }
}

#[test]
fn bad_input_is_one_line_and_a_stable_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, garbage) = (dir.path().join("empty.pcap"), dir.path().join("garbage.pcap"));
    std::fs::write(&empty, []).unwrap();
    std::fs::write(&garbage, b"this is not a capture file at all").unwrap();
    for (words, code, part) in [
        (&["pktgen", "-r", "0"][..], 2, "more than zero"),
        (&["pktgen", "-r", "101%"], 2, "100%"),
        (&["pktgen", "-s", "63"], 2, "64 to 15872"),
        (&["pktgen", "-s", "64", "--dst-ip", "2001:2::1"], 2, "66 to"),
        (&["pktgen", "--src-ip", "10.0.0.9-10.0.0.1"], 2, "ends before it begins"),
        (&["pktgen", "--src-ip", "10.0.0.1", "--dst-ip", "::1"], 2, "one family"),
        (&["pktgen", "--sport", "65536"], 2, "port"),
        (&["pktgen", "--vlan", "4096"], 2, "VLAN"),
        (&["pktgen", "-w", "/nonexistent/out.pcap", "-c", "1"], 1, "No such file"),
        (&["pktgen", "-w", "/dev/full", "-c", "1"], 1, "No space left"),
        (&["pktgen", "-w", "/tmp/never"], 2, "--count"),
        (&["pktgen", "--pcap", "/nonexistent.pcap"], 1, "No such file"),
        (&["pktgen", "--pcap", empty.to_str().unwrap()], 1, "0 bytes"),
        (&["pktgen", "--pcap", garbage.to_str().unwrap()], 1, "neither pcap nor pcapng"),
        (&["pktgen", "-i", "emu:nothing"], 2, "nothing"),
    ] {
        let output = run(words);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {line}");
        assert!(line.contains(part) && line.trim_end().lines().count() == 1, "{words:?}: {line}");
    }
}

#[test]
fn a_truncated_recording_is_sent_as_far_as_it_goes_and_the_break_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.pcap");
    assert!(run(&["pktgen", "-w", path.to_str().unwrap(), "-c", "10"]).status.success());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let output = run(&["pktgen", "--pcap", path.to_str().unwrap(), "--speed", "10x", "--json"]);
    assert!(output.status.success());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["counted_by_card"], 9);
    assert!(text(&output.stderr).contains("record at byte 708 is cut short"), "{}", text(&output.stderr));
}
