//! `bmnic capture` where no file is named: packets as lines, and which word is what.

#[path = "common/capture.rs"]
mod capture;
#[path = "common/families.rs"]
mod families;
#[path = "common/schema.rs"]
mod schema;

use capture::{bmnic, count, lenient, text};
use families::EACH;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output};
use std::time::Duration;

/// The document that stands on standard error, as standard output is lines; it adds up.
fn document(output: &Output) -> serde_json::Value {
    let document = schema::document(&output.stderr);
    assert_eq!((&document["printed"], &document["file"]), (&true.into(), &serde_json::Value::Null));
    // Out of a ring of another process nothing comes that is not counted.
    assert_eq!(document.pointer("/lost/unaccounted").map_or(Some(0), serde_json::Value::as_u64), Some(0), "{document}");
    let slow = document.pointer("/lost/output_slow").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let failed = count(&document, "/lost/disk_failed");
    let kept = count(&document, "/captured") + count(&document, "/filtered") + slow + failed;
    assert_eq!(kept, count(&document, "/received"), "{document}");
    document
}

/// Lines that begin with a time: one a packet.
fn packets(lines: &[u8]) -> usize {
    let is_time = |line: &&str| line.len() > 18 && line.as_bytes()[2] == b':' && line.as_bytes()[8] == b'.';
    text(lines).lines().filter(is_time).count()
}

#[test]
fn every_packet_of_every_family_is_a_line() {
    for model in EACH {
        let card = format!("emu:{model},wire=source:rate=10k");
        let output = lenient(&["capture", &card, "-c", "30", "--json", "--strict"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = text(&output.stdout);
        assert_eq!((packets(&output.stdout), lines.lines().count()), (30, 30), "{lines}");
        assert!(
            lines.lines().all(|line| line.contains(" IP 198.18.0.") && line.ends_with(": UDP, length 18")),
            "{lines}"
        );
        assert_eq!(count(&document(&output), "/captured"), 30);
    }
}

#[test]
fn without_any_word_a_few_packets_a_second_are_printed_and_told_of_beside_them() {
    let output = bmnic(&["capture", "-c", "3", "-v", "-x", "-e"]).output().unwrap();
    let (lines, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(packets(&output.stdout), 3, "{lines}");
    for part in [
        "(tos 0x0, ttl 64, id",
        "[udp sum ok] UDP, length 18",
        "\t0x0000:  4500 002e",
        "ethertype IPv4 (0x0800), length 60",
    ] {
        assert_eq!(lines.matches(part).count(), 3, "{part}: {lines}");
    }
    assert!(said.starts_with("device: emu:82599") && said.contains("\nprinted   3 packets"), "{said}");
    let letters = text(&bmnic(&["capture", "-c", "1", "-X", "udp"]).output().unwrap().stdout);
    assert!(letters.contains("0x0000:  4500 002e") && letters.contains("  E...."), "{letters}");
}

#[test]
fn a_file_is_made_only_where_one_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let within = |words: &[&str]| lenient(words).current_dir(dir.path()).output().unwrap();
    let files = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    for (words, code, part) in [
        (&["capture", "emu:x710", "-c", "1"][..], 0, "printed   1 packets"),
        (&["capture", "udp", "-c", "1"], 0, "printed   1 packets"),
        (&["capture", "out", "-c", "1"], 2, "'out' is no card here"),
        (&["capture", "eth77", "-c", "1"], 2, "`-w eth77` writes that file"),
        (&["capture", "emu:x710", "out", "-c", "1"], 2, "'out' is no card here"),
        (&["capture", "udp", "prot", "5"], 2, "prot"),
        (&["capture", "0000:77:00.0", "-c", "1"], 1, "no such PCI device"),
        (&["capture", "-c", "1", "--format", "pcapng"], 2, "--format is of a file, and packets are printed"),
        (&["capture", "-c", "1", "--capture-comment", "why"], 2, "--capture-comment is of a file"),
        (&["capture", "out.pcap", "-c", "1", "-x"], 2, "--hex is of packets that are printed"),
        (&["capture", "-c", "1", "-b", "packets:1"], 2, "no file is written that could be divided"),
        (&["capture", "emu:82599", "--from", "ring"], 2, "leave one of the two out"),
        (&["capture", "--repair"], 2, "which file is to be mended?"),
        (&["capture", "--perf-test", "disk"], 2, "a test of the parts writes a file"),
    ] {
        let output = within(words);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(part), "{words:?}: {:?} {said}", output.status);
        assert!(code == 0 || said.lines().count() == 1, "{words:?}: {said}");
        assert_eq!(files(), [""; 0], "{words:?}");
    }
    for (words, file) in [
        (&["capture", "out.pcap", "-c", "5"][..], "out.pcap"),
        (&["capture", "emu:x710", "two.pcapng", "udp", "-c", "5"], "two.pcapng"),
        (&["capture", "emu:x710", "-w", "three", "-c", "5", "udp"], "three"),
        (&["capture", "./four", "-c", "5"], "./four"),
        (&["capture", "four", "-c", "5"], "four"),
    ] {
        let output = within(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        let recording = bmnic::pcap::read::Recording::open(&dir.path().join(file)).unwrap();
        assert_eq!((recording.len(), packets(&output.stdout)), (5, 0), "{words:?}");
    }
    assert_eq!(files(), ["four", "out.pcap", "three", "two.pcapng"]);
}

#[test]
fn a_reader_that_leaves_ends_it_and_is_no_failure() {
    let mut child = bmnic(&["capture", "emu:82599,wire=source:rate=2k", "-d", "60s"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(" IP 198.18.0."), "{first}");
    drop(lines);
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("warning") && !said.contains("writing"), "{said}");
}

#[test]
fn what_a_reader_is_too_slow_for_is_lost_by_name_and_all_else_is_a_line() {
    let words = ["capture", "emu:82599,wire=source:rate=400k", "-d", "1s", "--buffer", "2M", "--json"];
    let mut child = lenient(&words).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let mut lines = Vec::new();
    out.read_to_end(&mut lines).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = document(&output);
    assert!(count(&document, "/lost/output_slow") > 0, "{document}");
    assert_eq!(packets(&lines) as u64, count(&document, "/captured"));
}

#[test]
fn of_several_cards_each_line_has_the_name_and_all_are_there() {
    let (one, other) = ("emu:82599,wire=source:rate=5k", "emu:x710,wire=source:rate=5k");
    let output = lenient(&["capture", one, other, "-c", "400", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (lines, document) = (text(&output.stdout), document(&output));
    let of = |card: &str| lines.lines().filter(|line| line.contains(&format!(" {card} IP 198.18"))).count() as u64;
    let by_card = document["by_device"].as_array().unwrap();
    let told: Vec<(u64, u64)> =
        by_card.iter().map(|card| (of(card["device"].as_str().unwrap()), count(card, "/captured"))).collect();
    assert!(told.iter().all(|(lines, captured)| lines == captured && *lines > 0), "{told:?} {lines}");
    assert_eq!(told.iter().map(|(lines, _)| lines).sum::<u64>(), 400);
}

#[test]
fn a_ring_that_another_process_publishes_is_printed_too() {
    let name = format!("printed-{}", std::process::id());
    let mut publisher =
        bmnic(&["capture", "--publish", &name, "-i", "emu:82599,wire=source:rate=2k", "-d", "60s", "-q"])
            .spawn()
            .unwrap();
    let read = || lenient(&["capture", "--from", &name, "-c", "20", "--json"]).output().unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    let output = loop {
        let output = read();
        if output.status.success() || std::time::Instant::now() > end {
            break output;
        }
    };
    assert!(Command::new("kill").arg(publisher.id().to_string()).status().unwrap().success());
    publisher.wait().unwrap();
    assert_eq!(packets(&output.stdout), 20, "{}", text(&output.stderr));
    assert_eq!(count(&document(&output), "/captured"), 20);
}

#[test]
fn a_card_that_is_a_word_wins_over_the_environment() {
    for (variable, value) in [("BMNIC_DEVICE", "emu:x710"), ("BMNIC_FROM", "nobody")] {
        let mut command = lenient(&["capture", "emu:82599", "-c", "1", "--json"]);
        let output = command.env(variable, value).output().unwrap();
        assert!(output.status.success(), "{variable}: {}", text(&output.stderr));
        let devices = &document(&output)["devices"];
        assert_eq!((devices.as_array().unwrap().len(), &devices[0]["driver"]), (1, &"ixgbe".into()), "{devices}");
    }
}

#[test]
fn a_folder_is_no_file_and_its_name_begins_an_expression() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    let words = ["capture", "src", "net", "198.18.0.0/15", "-c", "1"];
    let output = lenient(&words).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success() && packets(&output.stdout) == 1, "{}", text(&output.stderr));
}
