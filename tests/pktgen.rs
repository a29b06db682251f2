//! `bmnic pktgen` as a program: files it writes, what a card gets, what a replay
//! brings to the other end of a cable.

#[path = "common/families.rs"]
mod families;
#[path = "common/schema.rs"]
mod schema;

use bmnic::pcap::read::Recording;
use bmnic::pcap::record::{Format, Record};
use bmnic::pcap::section::Section;
use families::EACH;
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
    schema::document(&output.stdout)
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

/// A pcap file of frames at these nanoseconds and of these lengths.
fn recording(frames: &[(u64, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Format::Pcap.header(&mut bytes, 65_535, &Section::default());
    for &(time, len) in frames {
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time, wire_len: len, parts: &[&vec![7; len]] });
    }
    bytes
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
fn networks_ranges_that_go_round_and_two_tags_are_printed_as_they_would_be_sent() {
    let words = ["pktgen", "--print", "-c", "3", "-r", "1k", "--vlan", "10.20-21:3", "--dst-ip", "10.0.0.0/30"];
    let output = run(&[&words[..], &["--sport", "65535-0", "-s", "68, 100"]].concat());
    let macs = "02:00:00:00:00:01 > 02:00:00:00:00:02";
    assert_eq!(
        text(&output.stdout),
        format!(
            "0.000000000  {macs} vlan 10.20 198.18.0.1:65535 > 10.0.0.1:9 udp length 64\n\
             0.001000000  {macs} vlan 10.21 198.18.0.1:0 > 10.0.0.2:9 udp length 96\n\
             0.002000000  {macs} vlan 10.20 198.18.0.1:65535 > 10.0.0.1:9 udp length 64\n"
        )
    );
}

#[test]
fn a_written_file_holds_exactly_what_was_asked_for_and_wireshark_finds_no_wrong_checksum() {
    let dir = tempfile::tempdir().unwrap();
    for (format, proto, address, vlan) in [
        ("pcap", "udp", "10.0.0.1", None),
        ("pcapng", "tcp", "2001:2::1", None),
        ("pcap", "icmp", "2001:2::1", None),
        ("pcap", "udp", "255.255.255.0-0.0.0.255", Some("100-200/3:7")),
        ("pcap", "tcp", "10.0.0.0/8/rand", Some("10.20-30")),
        ("pcapng", "udp", "2001:db8::/32/rand", Some("rand.rand")),
        ("pcap", "icmp", "ffff:ffff::-::1/79228162514264337593543950336", None),
    ] {
        let path = dir.path().join("out");
        let path = path.to_str().unwrap();
        let words = ["pktgen", "-w", path, "--format", format, "--proto", proto, "--dst-ip", address, "-c", "5000"];
        let tags = vlan.map_or(vec![], |vlan| vec!["--vlan", vlan]);
        let port = if proto == "icmp" { &[][..] } else { &["--dport", "rand"] };
        let others = ["--sport", "65000-64999/7", "--size", "90-1518", "-r", "1M"];
        let document = json(&[&words[..], &others, port, &tags].concat());
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
    for (model, extra) in EACH.iter().flat_map(|model| extras.map(|extra| (model, extra))) {
        if extra.contains(&"--txq") && model.queues[1] < 3 {
            continue;
        }
        let card = format!("emu:{model}");
        let document = json(&[&["pktgen", "--strict", "-i", &card, "-c", "20011"], extra].concat());
        assert_eq!((&document["sent"], &document["counted_by_card"]), (&20_011.into(), &20_011.into()), "{extra:?}");
        assert_eq!(document["still_in_rings"], 0);
        assert!(document["pps"].as_f64().unwrap() <= document["line_rate_pps"].as_f64().unwrap());
        assert_eq!(document["devices"][0]["kind"], "emulated");
    }
}

#[test]
fn a_rate_that_was_not_kept_ends_with_its_own_code_unless_it_is_allowed() {
    // Nine times what the link carries, whatever the machine does.
    let words = ["pktgen", "-r", "130M", "-d", "300ms"];
    let short = bmnic(&words).output().unwrap();
    assert_eq!(short.status.code(), Some(3), "{short:?}");
    assert!(text(&short.stderr).contains("--allow-shortfall"), "{}", text(&short.stderr));
    assert!(text(&short.stdout).contains("130 Mpps, more than the link carries"), "{}", text(&short.stdout));
    let document = json(&[&words[..], &["--allow-shortfall", "100%"]].concat());
    assert_eq!(document["asked_pps"], 130e6);
    assert!(document["rate_error"].as_f64().unwrap() < -0.8, "{document}");
    // Nobody asked for a rate, and a run of a few packets says nothing of one.
    for words in [&["pktgen", "-d", "200ms"][..], &["pktgen", "-r", "10M", "-c", "5"]] {
        json(words);
    }
}

#[test]
fn sent_and_skipped_are_all_places_of_the_schedule() {
    let document = json(&["pktgen", "-r", "20k", "-d", "1s", "--allow-shortfall", "100%"]);
    let places = document["sent"].as_u64().unwrap() + document["skipped"].as_u64().unwrap();
    // The last places may be those of a moment in which the machine was busy elsewhere.
    assert!((10_000..=20_001).contains(&places), "{places}");
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
    Format::Pcap.header(&mut bytes, 65_535, &Section::default());
    for (i, frame) in frames.iter().enumerate() {
        let time = 1_000_000_000 + i as u64 * 100_000;
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time, wire_len: frame.len(), parts: &[frame] });
    }
    std::fs::write(&sent, bytes).unwrap();

    for model in EACH {
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
        let document = json(&["pktgen", "-i", &device, "--pcap", sent.to_str().unwrap(), "--allow-shortfall", "100%"]);
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
    let one = dir.path().join("one.pcap");
    std::fs::write(&one, recording(&[(0, 60)])).unwrap();
    let one = one.to_str().unwrap();
    for (words, code, part) in [
        (&["pktgen", "-r", "0"][..], 2, "more than zero"),
        (&["pktgen", "-r", "101%"], 2, "100%"),
        (&["pktgen", "-s", "63"], 2, "64 to 15872"),
        (&["pktgen", "-s", "64", "--dst-ip", "2001:2::1"], 2, "66 to"),
        (&["pktgen", "--src-ip", "10.0.0.9/24"], 2, "first address of the network"),
        (&["pktgen", "--dst-ip", "10.0.0.0/33"], 2, "bits up to 32"),
        (&["pktgen", "--vlan", "9-1"], 2, "ends before it begins"),
        (&["pktgen", "--vlan", "1.2.3"], 2, "room for two"),
        (&["pktgen", "--vlan", "1.2", "--outer-tpid", "0x800"], 2, "0x88a8"),
        (&["pktgen", "--src-ip", "10.0.0.1", "--dst-ip", "::1"], 2, "one family"),
        (&["pktgen", "--sport", "65536"], 2, "port"),
        (&["pktgen", "--vlan", "4096"], 2, "VLAN"),
        (&["pktgen", "-w", "/nonexistent/out.pcap", "-c", "1"], 1, "No such file"),
        (&["pktgen", "-w", "/dev/full", "-c", "1"], 1, "No space left"),
        (&["pktgen", "--pace", "card", "-r", "1k", "-s", "64,1518", "--txq", "2"], 2, "a rate of bits for each queue"),
        (&["pktgen", "-w", "/tmp/never"], 2, "--count"),
        (&["pktgen", "--pcap", "/nonexistent.pcap"], 1, "No such file"),
        (&["pktgen", "--pcap", empty.to_str().unwrap()], 1, "0 bytes"),
        (&["pktgen", "--pcap", garbage.to_str().unwrap()], 1, "neither pcap nor pcapng"),
        (&["pktgen", "-i", "emu:nothing"], 2, "nothing"),
        (&["pktgen", "--pcap", one, "-l", "0"], 2, "--rate"),
        (&["pktgen", "--pcap", one, "-l", "5", "-w", "/dev/null"], 2, "--rate"),
        (&["pktgen", "--pcap", one, "--burst", "8"], 2, "--burst would do nothing"),
        (&["pktgen", "--pcap", one, "--max-gap", "1s", "-r", "1k"], 2, "--max-gap"),
        (&["pktgen", "--max-gap", "1s"], 2, "--pcap"),
        (&["pktgen", "--pcap", one, "--size", "100"], 2, "--size"),
        (&["pktgen", "--pcap", one, "--proto", "udp"], 2, "--proto"),
        (&["pktgen", "--pcap", one, "--src-mac", "rand"], 2, "--src-mac"),
        (&["pktgen", "--pcap", one, "--dst-mac", "rand"], 2, "--dst-mac"),
        (&["pktgen", "--pcap", one, "--src-ip", "rand"], 2, "--src-ip"),
        (&["pktgen", "--pcap", one, "--dst-ip", "rand"], 2, "--dst-ip"),
        (&["pktgen", "--pcap", one, "--sport", "9"], 2, "--sport"),
        (&["pktgen", "--pcap", one, "--dport", "9"], 2, "--dport"),
        (&["pktgen", "--pcap", one, "--vlan", "9"], 2, "--vlan"),
        (&["pktgen", "--pcap", one, "--ttl", "64"], 2, "--ttl"),
        (&["pktgen", "--print", "--proto", "raw", "--ttl", "4"], 2, "--ttl"),
        (&["pktgen", "--print", "--proto", "arp", "--ttl", "4"], 2, "--ttl"),
        (&["pktgen", "--print", "--proto", "raw", "--sport", "4"], 2, "--sport"),
        (&["pktgen", "--print", "--proto", "icmp", "--dport", "4"], 2, "--dport"),
        (&["pktgen", "--pcap", one, "--seed", "1"], 2, "--seed"),
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

#[test]
fn one_packet_goes_round_at_a_rate_but_not_as_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.pcap");
    std::fs::write(&path, recording(&[(5, 60)])).unwrap();
    let file = path.to_str().unwrap();
    assert_eq!(json(&["pktgen", "--pcap", file])["sent"], 1);
    assert_eq!(json(&["pktgen", "--pcap", file, "-l", "0", "-r", "1M", "-c", "50", "--burst", "2"])["sent"], 50);
    // So do several of one moment, and as recorded they leave at once.
    std::fs::write(&path, recording(&[(5, 60), (5, 61), (5, 62)])).unwrap();
    assert_eq!(json(&["pktgen", "--pcap", file])["sent"], 3);
    let out = dir.path().join("out.pcap");
    let words = ["pktgen", "--pcap", file, "-l", "0", "-r", "1M", "-c", "50", "-w", out.to_str().unwrap()];
    assert_eq!(json(&words)["packets"], 50);
    let written = Recording::open(&out).unwrap();
    let first = written.packet(0).time;
    for (n, packet) in written.packets().enumerate() {
        assert_eq!((packet.time - first, packet.bytes.len()), (n as i64 * 1_000, 60 + n % 3));
    }
}

#[test]
fn long_gaps_are_cut_as_they_are_sent_and_times_that_go_back_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
    let day = 86_400_000_000_000;
    std::fs::write(&path, recording(&[(day, 60), (day + 7, 60), (5 * day, 60), (5 * day - 9, 60)])).unwrap();
    let words = ["pktgen", "--pcap", path.to_str().unwrap(), "-w", out.to_str().unwrap()];
    let output = run(&[&words[..], &["--max-gap", "1ms", "--speed", "2x"]].concat());
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("1 packets were recorded earlier than one before"), "{said}");
    let written = Recording::open(&out).unwrap();
    let first = written.packet(0).time;
    let times: Vec<i64> = written.packets().map(|packet| packet.time - first).collect();
    assert_eq!(times, [0, 3, 1_000_003, 1_000_003]);
}

#[test]
fn what_a_recording_has_and_a_replay_does_not_send_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.pcapng"), dir.path().join("out.pcap"));
    let mut bytes = Vec::new();
    Format::Pcapng.header(&mut bytes, 0, &Section::of(["eth0"]));
    let record = |interface: u32, time: u64, captured: u32, bytes: &[u8]| {
        let mut block = Vec::new();
        Format::Pcapng.put(&mut block, &Record { interface: 0, time, wire_len: bytes.len(), parts: &[bytes] });
        block[8..12].copy_from_slice(&interface.to_le_bytes());
        block[20..24].copy_from_slice(&captured.to_le_bytes());
        block
    };
    // A wireless interface beside the first.
    bytes.extend([1_u32, 20, 105, 0, 20].iter().flat_map(|word| word.to_le_bytes()));
    for block in [
        record(0, 1_000, 60, &[1; 60]),
        record(1, 2_000, 60, &[2; 60]),
        record(7, 3_000, 60, &[3; 60]),
        record(0, 4_000, 90, &[4; 60]),
        record(0, 5_000, 0, &[]),
        record(0, 6_000, 60, &[6; 60]),
    ] {
        bytes.extend_from_slice(&block);
    }
    std::fs::write(&path, bytes).unwrap();
    let (file, to) = (path.to_str().unwrap(), out.to_str().unwrap());
    let output = run(&["pktgen", "--pcap", file, "-w", to]);
    assert!(output.status.success());
    let said = text(&output.stderr);
    for part in [
        "1 packets were recorded on a link of type IEEE802_11",
        "1 packets name an interface that the file does not describe",
        "1 packets do not fit the blocks they are in",
        "1 packets are shorter than 14 bytes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let sent: Vec<u8> = Recording::open(&out).unwrap().packets().map(|packet| packet.bytes[0]).collect();
    assert_eq!(sent, [1, 6]);
    // The wire reads the same file with the same eyes.
    let card = format!("emu:82599,wire=pcap:{file}:speed=line");
    let output = run(&["capture", to, "-i", &card, "-c", "2", "-d", "20s"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let played: Vec<u8> = Recording::open(&out).unwrap().packets().map(|packet| packet.bytes[0]).collect();
    assert_eq!(played, [1, 6]);
}

#[test]
fn a_long_wait_for_the_next_packet_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gap.pcap");
    let hours = (18 * 60 + 12) * 60 + 40;
    std::fs::write(&path, recording(&[(0, 60), (hours * 1_000_000_000, 60)])).unwrap();
    let output = run(&["pktgen", "--pcap", path.to_str().unwrap(), "-d", "300ms"]);
    assert!(output.status.success());
    let said = text(&output.stderr);
    assert_eq!(said.matches("the next packet is due in 18 h 12 min").count(), 1, "{said}");
    // At a speed at which it comes at once there is nothing to tell.
    let output = run(&["pktgen", "--pcap", path.to_str().unwrap(), "--speed", "1000000x"]);
    assert!(!text(&output.stderr).contains("is due"), "{}", text(&output.stderr));
}

/// Counters of an 82599 stay at their maximum until they are read: a long run needs them read
/// while it lasts.
#[test]
fn counters_that_are_soon_full_are_read_in_time() {
    let spec = "emu:82599,strict,link=1ms,fault=narrow-counters";
    let document = json(&["pktgen", spec, "-c", "75000", "--rate", "15k", "--allow-shortfall", "100%"]);
    assert_eq!((&document["sent"], &document["counted_by_card"]), (&75_000.into(), &75_000.into()));
}

#[test]
fn a_run_whose_queue_the_card_has_stopped_ends() {
    // Without an end of its own: what is in the ring would be waited for.
    let output = bmnic(&["pktgen", "emu:x710,link=1ms,fault=malicious"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("it has stopped its transmit queue 0") && said.contains("GL_MDET"), "{said}");
}

#[test]
fn the_version_of_a_cards_firmware_is_in_the_document() {
    for (card, version) in
        [("x710", Some("9.120.73026 api 1.15")), ("bcm57414", Some(".")), ("cx5", Some(".")), ("82599", None)]
    {
        let document = json(&["pktgen", &format!("emu:{card},link=1ms"), "-c", "1"]);
        let said = document["devices"][0]["firmware"].as_str();
        assert!(said.is_some() == version.is_some() && said.unwrap_or("").contains(version.unwrap_or("")), "{said:?}");
    }
}

#[test]
fn times_beyond_the_last_that_a_file_can_tell_are_written_as_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from.pcapng"), dir.path().join("to.pcapng"));
    let mut bytes = Vec::new();
    Format::Pcapng.header(&mut bytes, 65_535, &bmnic::pcap::section::Section::of(["test"]));
    for time in [0, i64::MAX as u64] {
        Format::Pcapng.put(&mut bytes, &Record { interface: 0, time, wire_len: 60, parts: &[&[7; 60]] });
    }
    std::fs::write(&from, bytes).unwrap();
    for speed in ["0.53", "0.1"] {
        let args = ["pktgen", "--pcap", from.to_str().unwrap(), "--speed", speed, "--format", "pcapng", "-w"];
        let run = bmnic(&args).arg(&to).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        assert_eq!(Recording::open(&to).unwrap().len(), 2, "{speed}");
    }
}
