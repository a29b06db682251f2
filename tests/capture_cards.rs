//! `bmnic capture` of several cards into one file, and what a pcapng file says of itself.

#[path = "common/capture.rs"]
mod capture;

use bmnic::pcap::read::Recording;
use capture::{adds_up, bmnic, count, document, lenient, text};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// A block of a pcapng file: its type and body.
type Block = (u32, Vec<u8>);

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// All blocks of a file, each with the same length at both ends.
fn blocks(path: &Path) -> Vec<Block> {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut blocks) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let len = word(rest, 4) as usize;
        assert!(len >= 12 && len.is_multiple_of(4) && len == word(rest, len - 4) as usize, "a block of {len} bytes");
        blocks.push((word(rest, 0), rest[8..len - 4].to_vec()));
        rest = &rest[len..];
    }
    blocks
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The options behind the `fixed` bytes of a block's body.
fn options(body: &[u8], fixed: usize) -> Vec<(u16, Vec<u8>)> {
    let (mut rest, mut all) = (&body[fixed..], Vec::new());
    while let [a, b, c, d, behind @ ..] = rest {
        let (code, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        all.push((code, behind[..len].to_vec()));
        rest = &behind[len.next_multiple_of(4)..];
    }
    all
}

fn option(options: &[(u16, Vec<u8>)], code: u16) -> Option<&[u8]> {
    options.iter().find(|(found, _)| *found == code).map(|(_, value)| &value[..])
}

/// Counters of an interface statistics block.
fn counters(body: &[u8]) -> [u64; 5] {
    let options = options(body, 12);
    [4, 5, 6, 7, 8].map(|code| u64::from_le_bytes(option(&options, code).unwrap().try_into().unwrap()))
}

/// What the document, the blocks and the packets of a file say of each card is the same; how many
/// packets each card lost.
fn each_card_adds_up(document: &Value, path: &Path) -> Vec<u64> {
    let cards = document["by_device"].as_array().unwrap();
    let blocks = blocks(path);
    let of = |kind| blocks.iter().filter(move |block| block.0 == kind).map(|(_, body)| &body[..]);
    assert_eq!((blocks[0].0, of(INTERFACE).count(), of(STATISTICS).count()), (SECTION, cards.len(), cards.len()));
    assert!(blocks[1..].iter().take(cards.len()).all(|block| block.0 == INTERFACE), "before any packet");
    let mut packets: HashMap<u32, u64> = HashMap::new();
    of(PACKET).for_each(|body| *packets.entry(word(body, 0)).or_default() += 1);
    for (n, (card, statistics)) in cards.iter().zip(of(STATISTICS)).enumerate() {
        adds_up(card);
        assert_eq!(word(statistics, 0) as usize, n);
        let [received, missed, accepted, dropped, delivered] = counters(statistics);
        let (captured, filtered) = (count(card, "/captured"), count(card, "/filtered"));
        assert_eq!(packets.get(&(n as u32)).copied().unwrap_or(0), captured, "{card}");
        assert_eq!(delivered, captured, "{card}");
        assert_eq!(dropped, count(card, "/lost/disk_slow"), "{card}");
        assert_eq!(missed + dropped, count(card, "/lost/total"), "{card}");
        assert_eq!(accepted, captured + dropped, "{card}");
        assert_eq!(received, captured + filtered + missed + dropped, "received is kept, left out or lost: {card}");
    }
    let sum = |field| cards.iter().map(|card| count(card, field)).sum::<u64>();
    for field in ["/captured", "/received", "/filtered", "/lost/total"] {
        assert_eq!(sum(field), count(document, field), "{field}: {document}");
    }
    cards.iter().map(|card| count(card, "/lost/total")).collect()
}

/// A card whose frames are too long for the port every other time, whatever the machine does, and
/// one that takes them all.
const LOSSY: &str = "emu:x710,wire=source:size=64/1518:rate=20k:flows=64";
const WHOLE: &str = "emu:82599,wire=source:size=64:rate=10k:flows=64";

#[test]
fn two_cards_are_told_apart_in_one_file_and_each_ones_packets_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcapng");
    let file = path.to_str().unwrap();
    for more in
        [&[][..], &["--rxq", "2"], &["--cores", "2"], &["--cores", "3", "-f", "udp and less 1000"], &["-f", "arp"]]
    {
        let words = ["capture", "-i", WHOLE, "-i", LOSSY, file, "--max-frame", "100", "-d", "400ms", "--json"];
        let output = lenient(&[&words[..], more].concat()).output().unwrap();
        assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
        let document = document(&output);
        adds_up(&document);
        let lost = each_card_adds_up(&document, &path);
        assert!(lost[1] > 10, "{more:?}: {document}");
        assert!(count(&document, "/by_device/1/lost/bad_frames") > 10, "{document}");
        assert_eq!(count(&document, "/by_device/0/lost/bad_frames"), 0, "{document}");
        let names: Vec<&Value> = document["by_device"].as_array().unwrap().iter().map(|card| &card["device"]).collect();
        let devices: Vec<&Value> = document["devices"].as_array().unwrap().iter().map(|card| &card["name"]).collect();
        assert_eq!(names, devices);
        let recording = Recording::open(&path).unwrap();
        assert_eq!((recording.len() as u64, recording.damage()), (count(&document, "/captured"), None));
        if !more.contains(&"--cores") {
            assert!(recording.packets().map(|packet| packet.time).is_sorted(), "{more:?}");
        }
    }
}

#[test]
fn threads_share_the_queues_of_all_cards_and_stop_at_the_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcapng");
    let file = path.to_str().unwrap();
    let words = ["capture", "-i", WHOLE, "-i", "emu:virtio,wire=source:rate=10k:flows=64", file];
    let output = lenient(&[&words[..], &["--cores", "2", "--rxq", "2", "-c", "5000", "--json"]].concat()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = document(&output);
    assert_eq!((count(&document, "/captured"), count(&document, "/threads")), (5_000, 2));
    each_card_adds_up(&document, &path);
    for card in document["by_device"].as_array().unwrap() {
        let queues: Vec<u64> =
            card["received_by_queue"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect();
        assert!(queues.len() == 2 && queues.iter().all(|count| *count > 0), "{card}");
        assert_eq!(queues.iter().sum::<u64>(), count(card, "/received"));
    }
}

#[test]
fn the_text_names_each_card_and_says_which_format_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let words = ["capture", "-i", WHOLE, "-i", LOSSY, path.to_str().unwrap(), "--max-frame", "100", "-d", "100ms"];
    let output = lenient(&words).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("format    pcapng, as packets of several cards"), "{said}");
    assert!(said.contains("order     of all 2 cards in order of time"), "{said}");
    let of = |card: &str| {
        let behind = &said[said.find(&format!("\nof {card}")).unwrap_or_else(|| panic!("{said}"))..];
        let lost = behind.lines().find(|line| line.starts_with("lost")).unwrap();
        lost.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert!(of("emu:x710") > 0, "{said}");
    assert_eq!(of("emu:82599"), 0, "{said}");
}

#[test]
fn one_card_keeps_pcap_and_what_pcap_cannot_hold_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    let long = "x".repeat(65_536);
    let filter = format!("host {}10.0.0.1", " ".repeat(65_535 - 13));
    let two = ["capture", "-i", WHOLE, "-i", LOSSY, file];
    let comment = ["capture", file, "-c", "1", "--capture-comment"];
    for (words, code, part) in [
        ([&two[..], &["--format", "pcap"]].concat(), 2, "told apart in no other than pcapng"),
        ([&two[..], &["--publish", "several"]].concat(), 2, "tells no cards apart"),
        ([&two[..], &["--perf-test", "card"]].concat(), 2, "stands for one card"),
        ([&comment[..], &["x", "--format", "pcap"]].concat(), 2, "leave --format out"),
        ([&comment[..], &[&long]].concat(), 2, "a comment of 65536 bytes does not fit"),
        ([&two[..], &["-f", &filter]].concat(), 2, "a filter of 65535 bytes does not fit"),
        (vec!["capture", "-i", WHOLE, "-i", "emu:nothing", file], 2, "nothing"),
    ] {
        let output = bmnic(&words).output().unwrap();
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{part}: {line}");
        assert!(line.contains(part) && line.trim_end().lines().count() == 1, "{part}: {line}");
        assert!(!path.exists(), "{part}");
    }
    let output = bmnic(&["capture", file, "-i", "emu:82599,wire=source:rate=1k", "-c", "3"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("pcapng"), "{}", text(&output.stdout));
    assert_eq!(std::fs::read(&path).unwrap()[..4], [0x4d, 0x3c, 0xb2, 0xa1], "pcap in nanoseconds");
}

#[test]
fn comments_and_what_is_known_of_machine_and_card_stand_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcapng");
    let longest = "y".repeat(65_535);
    let words = ["capture", path.to_str().unwrap(), "-i", WHOLE, "-c", "10", "--json", "--format", "pcapng"];
    let comments = ["--capture-comment", "first: \u{e9}", "--capture-comment", &longest, "-f", "udp"];
    let output = lenient(&[&words[..], &comments].concat()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = document(&output);
    each_card_adds_up(&document, &path);
    let blocks = blocks(&path);
    let section = options(&blocks[0].1, 16);
    let comments: Vec<&[u8]> = section.iter().filter(|(code, _)| *code == 1).map(|(_, value)| &value[..]).collect();
    assert_eq!(comments, ["first: \u{e9}".as_bytes(), longest.as_bytes()]);
    let machine = &document["machine"];
    let said = |options: &[(u16, Vec<u8>)], code| option(options, code).map(text).unwrap_or_default();
    assert_eq!(said(&section, 2), machine["cpu"].as_str().unwrap_or_default());
    assert_eq!(said(&section, 3), format!("Linux {}", machine["kernel"].as_str().unwrap()));
    assert_eq!(said(&section, 4), format!("bmnic {}", env!("CARGO_PKG_VERSION")));
    let device = &document["devices"][0];
    let interface = options(&blocks[1].1, 8);
    assert_eq!(said(&interface, 2), device["name"].as_str().unwrap());
    assert!(said(&interface, 3).contains("driver ixgbe"), "{}", said(&interface, 3));
    assert_eq!(said(&interface, 15), device["model"].as_str().unwrap());
    assert_eq!(option(&interface, 8), Some(&10_000_000_000_u64.to_le_bytes()[..]));
    assert_eq!((option(&interface, 9), option(&interface, 11)), (Some(&[9][..]), Some(&b"\0udp"[..])));
    let mac = option(&interface, 6).unwrap().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    assert_eq!(mac, device["mac"].as_str().unwrap());
}

#[test]
fn cards_are_listed_as_dumpcap_lists_interfaces() {
    let of = |words: &[&str]| {
        let output = bmnic(words).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{}", text(&output.stderr));
        output.stdout
    };
    assert_eq!(of(&["capture", "-D"]), of(&["list"]));
}

/// What a program says, if it is on this machine.
fn run(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).env("LC_ALL", "C").output().ok()?;
    assert!(output.status.success(), "{program}: {}", text(&output.stderr));
    Some(text(&output.stdout))
}

#[test]
fn wiresharks_programs_read_the_same_out_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcapng");
    let file = path.to_str().unwrap();
    let words = ["capture", "-i", WHOLE, "-i", LOSSY, file, "--max-frame", "100", "-d", "300ms", "--json"];
    let output = lenient(&[&words[..], &["--capture-comment", "of both"]].concat()).output().unwrap();
    let document = document(&output);
    each_card_adds_up(&document, &path);
    let cards = document["by_device"].as_array().unwrap();
    if let Some(said) = run("capinfos", &["-M", file]) {
        let has = |line: String| assert!(said.contains(&line), "no '{line}' in {said}");
        has(format!("Number of packets:   {}", count(&document, "/captured")));
        has("Strict time order:   True".into());
        has("Number of interfaces in file: 2".into());
        has("Capture comment:     of both".into());
        has(format!("Capture application: bmnic {}", env!("CARGO_PKG_VERSION")));
        for card in cards {
            has(format!("Name = {}", card["device"].as_str().unwrap()));
            has(format!("Number of packets = {}", count(card, "/captured")));
        }
        has("Speed = 10000000000".into());
        has("Time precision = nanoseconds (9)".into());
    }
    if let Some(said) = run("tshark", &["-r", file, "-T", "fields", "-e", "frame.interface_id"]) {
        for (n, card) in cards.iter().enumerate() {
            let packets = said.lines().filter(|line| *line == n.to_string()).count();
            assert_eq!(packets as u64, count(card, "/captured"));
        }
    }
}
