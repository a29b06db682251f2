//! What `bmnic capture` leaves to the card of a filter: never a packet that it wants.
//!
//! The wire plays a file, and waits for a port that is behind: nothing of it is lost.

#[path = "common/capture.rs"]
mod common;

use bmnic::pcap::read::Recording;
use common::{bmnic, count, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

const GROUP: [u8; 6] = [1, 0, 0x5e, 1, 1, 1];
/// In the same bucket of the 82599's table of groups.
const NEIGHBOUR: [u8; 6] = [1, 0, 0x5e, 2, 1, 1];
const FAR: [u8; 6] = [1, 0, 0x5e, 1, 0x71, 9];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 7];
const ALL: [u8; 6] = [0xff; 6];

/// Where each frame has its number.
const NUMBER_AT: usize = 50;

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    common::document(output)
}

/// A frame: UDP to 239.1.1.1 port 5, in the one or other way that a card may see differently
/// from a filter. All of them are 60 bytes.
fn frame(number: u32, to: [u8; 6]) -> Vec<u8> {
    let mut ip = [&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 239, 1, 1, 1][..], &[0; 26]].concat();
    ip[20..24].copy_from_slice(&[0, 9, 0, 5]);
    let mut kind = vec![8, 0];
    match number / 5 % 6 {
        0 => {}
        // The first of several fragments, one that is not, and one with options.
        1 => ip[6] = 0x20,
        2 => ip[7] = 1,
        3 => (ip[0], ip[24], ip[25], ip[26], ip[27]) = (0x46, 0, 9, 0, 5),
        // In a VLAN, and in two.
        4 => kind = vec![0x81, 0, 0, 7, 8, 0],
        _ => kind = vec![0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 8, 0],
    }
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 1], &kind, &ip].concat();
    frame.resize(60, 0);
    frame[NUMBER_AT..NUMBER_AT + 4].copy_from_slice(&number.to_be_bytes());
    frame
}

/// So many frames to five addresses in turn, so many nanoseconds apart.
fn recording(directory: &Path, frames: u32, apart_ns: u64) -> PathBuf {
    let word = |n: u64| (n as u32).to_le_bytes();
    let mut file: Vec<u8> = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65535, 1].into_iter().flat_map(word).collect();
    for number in 0..frames {
        let at = u64::from(number) * apart_ns;
        let to = [GROUP, NEIGHBOUR, FAR, OTHER, ALL][number as usize % 5];
        file.extend([1 + at / 1_000_000_000, at % 1_000_000_000, 60, 60].into_iter().flat_map(word));
        file.extend(frame(number, to));
    }
    let path = directory.join("in.pcap");
    std::fs::write(&path, file).unwrap();
    path
}

/// The numbers of the packets in a file.
fn numbers(path: &Path) -> Vec<u32> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[NUMBER_AT..NUMBER_AT + 4].try_into().unwrap());
    Recording::open(path).unwrap().packets().map(|packet| number(packet.bytes)).collect()
}

#[test]
fn what_is_kept_is_the_same_whether_the_card_leaves_out_packets_or_not() {
    const FRAMES: u32 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let (played, path) = (recording(dir.path(), FRAMES, 1), dir.path().join("out.pcap"));
    let file = path.to_str().unwrap();
    let group = "01:00:5e:01:01:01";
    // The filter, and how many of five addresses the card lets through with it: their own,
    // the neighbour in the table of groups, and broadcast.
    for (filter, passed) in [
        (format!("ether dst {group}"), Some(3)),
        (format!("ether dst {group} and udp dst port 5 and dst host 239.1.1.1"), Some(3)),
        (format!("vlan 7 and ether dst {group}"), Some(3)),
        ("ether dst 02:00:00:00:00:07 and ip".to_string(), Some(2)),
        (format!("ether broadcast or ether dst {group} or ether dst 02:00:00:00:00:07"), Some(4)),
        ("ether broadcast".to_string(), Some(1)),
        ("udp dst port 5 and dst host 239.1.1.1".to_string(), None),
        (format!("not ether dst {group}"), None),
        (String::new(), None),
    ] {
        for model in ["82599", "x540", "x550", "x710", "x2522", "cx5", "virtio"] {
            // Of those that leave nothing out one filter shows it.
            let narrows = ["82599", "x540", "x550"].contains(&model);
            if !narrows && !filter.starts_with("vlan") {
                continue;
            }
            let card = format!("emu:{model},wire=pcap:{}:speed=line", played.display());
            let words = ["capture", "-i", &card, "-w", file, "-d", "60s", "--json", "--strict", "-f", &filter];
            let run = |more: &[&str]| {
                let document = document(&bmnic(&[&words[..], more].concat()).output().unwrap());
                assert_eq!(count(&document, "/lost/total"), 0, "{document}");
                let sum = count(&document, "/captured") + count(&document, "/filtered");
                assert_eq!(sum, count(&document, "/received"), "{document}");
                (document, numbers(&path))
            };
            let (whole, wanted) = run(&["--no-push-down"]);
            assert_eq!((count(&whole, "/received"), count(&whole, "/left_out_by_card")), (u64::from(FRAMES), 0));
            assert!(whole["in_card"].is_null(), "{whole}");
            assert!(!wanted.is_empty(), "{filter} keeps nothing");
            let (narrowed, kept) = run(&[]);
            assert_eq!(kept, wanted, "{model}: {filter}");
            let passed = passed.filter(|_| narrows);
            let expected = passed.map_or(FRAMES, |passed| FRAMES / 5 * passed);
            assert_eq!(count(&narrowed, "/received"), u64::from(expected), "{model}: {filter}: {narrowed}");
            assert_eq!(narrowed["in_card"].is_array(), passed.is_some(), "{narrowed}");
            assert_eq!(narrowed["left_out_by_card"].is_null(), passed.is_some(), "{narrowed}");
        }
    }
}

#[test]
fn what_is_left_to_the_card_is_said_and_that_nobody_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let (played, path) = (recording(dir.path(), 100, 1), dir.path().join("out.pcap"));
    let card = format!("emu:82599,wire=pcap:{}:speed=line", played.display());
    let words = ["capture", "-i", &card, "-w", path.to_str().unwrap(), "ether dst 01:00:5e:01:01:01 and ip"];
    let said = text(&bmnic(&words).output().unwrap().stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[1],
        "filter    in the card: frames to 01:00:5e:01:01:01; in software: all of 'ether dst 01:00:5e:01:01:01 and ip'"
    );
    let not_known = "          not known: what the card left out, as it keeps no count of it; it received frames to 01:00:5e:01:01:01";
    assert!(lines.contains(&not_known), "{said}");
}

/// A capture that is ended with the test.
struct Capture(Option<Child>);

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_filter_that_changes_takes_the_card_with_it_and_what_both_want_comes_throughout() {
    const FRAMES: u32 = 100_000;
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    // Five seconds of it.
    let (played, path) = (recording(dir.path(), FRAMES, 50_000), dir.path().join("out.pcap"));
    let name = format!("test-push-down-{}", std::process::id());
    let both = "ether dst 02:00:00:00:00:07 and ether[50] < 255";
    let rule = |n: u32| format!("({both}) or ether dst 01:00:5e:01:{}", ["01:01", "71:09"][n as usize % 2]);
    let card = format!("emu:82599,wire=pcap:{}", played.display());
    let first = rule(0);
    let words = ["capture", "--control", &name, "-i", &card, "-w", path.to_str().unwrap(), "--json", "-f", &first];
    let mut capture = Capture(Some(bmnic(&words).spawn().unwrap()));
    let begun = Instant::now();
    let (mut changes, mut since) = (0, Vec::new());
    while begun.elapsed() < Duration::from_secs(60) {
        let next = rule(changes + 1);
        let output = bmnic(&["ctl", "--json", &name, "filter", &next]).output().unwrap();
        if !output.status.success() {
            // It has not begun, or has ended.
            if changes > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        changes += 1;
        let answer = document(&output);
        let wanted = ["01:00:5e:01:01:01", "01:00:5e:01:71:09"][changes as usize % 2];
        assert_eq!(answer["in_card"], serde_json::json!([wanted, "02:00:00:00:00:07"]));
        since.push(count(&answer, "/time_ns") as i64);
    }
    let document = document(&capture.0.take().unwrap().wait_with_output().unwrap());
    assert!(changes >= 5, "{changes} changes");
    assert_eq!(count(&document, "/filter_changes"), u64::from(changes));
    assert_eq!(count(&document, "/lost/total"), 0, "{document}");
    assert_eq!(count(&document, "/captured") + count(&document, "/filtered"), count(&document, "/received"));
    assert!(count(&document, "/received") < u64::from(FRAMES), "the card left nothing out: {document}");
    let found = numbers(&path);
    assert!(found.is_sorted(), "one thread, one queue");
    // From when a rule holds nothing that it wants is missing: the card was widened before. Of
    // what is in the ring then, and came before, that is not so; a thread may be kept from its
    // ring for long, but not at every other change.
    let times: Vec<i64> = Recording::open(&path).unwrap().packets().map(|packet| packet.time).collect();
    let gaps = since.windows(2).enumerate().filter(|(n, pair)| {
        let held = |&at: &usize| (pair[0]..pair[1]).contains(&times[at]);
        let numbers: Vec<u32> = (0..found.len()).filter(held).map(|at| found[at]).collect();
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return false };
        let wanted = [0, 2][(n + 1) % 2];
        let mut whole = (first + (last - first) / 4..*last).filter(|number| number % 5 == wanted);
        !whole.all(|number| numbers.binary_search(&number).is_ok())
    });
    let gaps = gaps.count();
    assert!(gaps * 2 < since.len(), "{gaps} of {} rules were not obeyed by the card", since.len());
    let all = (0..FRAMES).filter(|number| number % 5 == 3);
    assert!(all.eq(found.iter().copied().filter(|number| number % 5 == 3)), "a packet that both want is missing");
    assert!(found.iter().all(|number| [0, 2, 3].contains(&(number % 5))));
}
