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

/// Where a frame is sent to, of five addresses.
fn to(number: u32) -> [u8; 6] {
    [GROUP, NEIGHBOUR, FAR, OTHER, ALL][number as usize % 5]
}

/// Which of eight kinds it is.
fn kind_of(number: u32) -> u32 {
    number / 5 % 8
}

/// Those of so many frames that these addresses receive, if they are named, and of those in a
/// VLAN by 802.1Q these alone.
fn received(frames: u32, addresses: Option<&[[u8; 6]]>, vlans: Option<&[u16]>) -> u64 {
    let mut numbers: Vec<u32> = (0..frames).collect();
    numbers.retain(|number| addresses.is_none_or(|all| all.contains(&to(*number))));
    numbers.retain(|number| match frame(*number, ALL)[12..16] {
        [0x81, 0, high, low] => vlans.is_none_or(|all| all.contains(&(u16::from_be_bytes([high, low]) & 0xfff))),
        _ => true,
    });
    numbers.len() as u64
}

/// A frame: UDP to 239.1.1.1 port 5, in the one or other way that a card may see differently
/// from a filter. All of them are 60 bytes.
fn frame(number: u32, to: [u8; 6]) -> Vec<u8> {
    let mut ip = [&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 239, 1, 1, 1][..], &[0; 26]].concat();
    ip[20..24].copy_from_slice(&[0, 9, 0, 5]);
    let mut kind = vec![8, 0];
    match kind_of(number) {
        0 => {}
        // The first of several fragments, one that is not, and one with options.
        1 => ip[6] = 0x20,
        2 => ip[7] = 1,
        3 => (ip[0], ip[24], ip[25], ip[26], ip[27]) = (0x46, 0, 9, 0, 5),
        // In a VLAN, with a priority, and in two.
        4 => kind = vec![0x81, 0, 0, 7, 8, 0],
        5 => kind = vec![0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 8, 0],
        6 => kind = vec![0x81, 0, 0xe0, 7, 8, 0],
        _ => kind = vec![0x81, 0, 0, 9, 8, 0],
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
        file.extend([1 + at / 1_000_000_000, at % 1_000_000_000, 60, 60].into_iter().flat_map(word));
        file.extend(frame(number, to(number)));
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
    let both: &[[u8; 6]] = &[GROUP, OTHER];
    // The filter, the destinations that follow from it, and the VLANs.
    for (filter, addresses, vlans) in [
        (format!("ether dst {group}"), Some(&both[..1]), None),
        (format!("ether dst {group} and udp dst port 5 and dst host 239.1.1.1"), Some(&both[..1]), None),
        (format!("vlan 7 and ether dst {group}"), Some(&both[..1]), Some(&[7][..])),
        ("vlan 7".to_string(), None, Some(&[7])),
        ("vlan and (ether[14:2] & 0xfff = 9 or ether[14:2] & 0xfff = 7)".to_string(), None, Some(&[7, 9])),
        // The second one looks for another tag, behind the first.
        ("vlan 9 or vlan 7".to_string(), None, None),
        ("vlan 9 or not vlan 7".to_string(), None, None),
        ("vlan 9 or (arp or ip)".to_string(), None, None),
        ("ip or vlan 9".to_string(), None, Some(&[9])),
        ("ether dst 02:00:00:00:00:07 and ip".to_string(), Some(&both[1..]), None),
        (format!("ether broadcast or ether dst {group} or ether dst 02:00:00:00:00:07"), Some(both), None),
        ("ether broadcast".to_string(), Some(&[]), None),
        ("udp dst port 5 and dst host 239.1.1.1".to_string(), None, None),
        (format!("not ether dst {group}"), None, None),
        (String::new(), None, None),
    ] {
        for model in ["82599", "x540", "x550", "x2522", "x710", "cx5", "virtio"] {
            // Of those that leave nothing out one filter shows it.
            let (intel, solarflare) = (["82599", "x540", "x550"].contains(&model), model == "x2522");
            if !intel && !solarflare && !filter.starts_with("vlan 7 and") {
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
            let (whole, wanted) = run(&["--push-down", "off"]);
            assert_eq!((count(&whole, "/received"), count(&whole, "/left_out_by_card")), (u64::from(FRAMES), 0));
            assert!(whole["in_card"].is_null(), "{whole}");
            assert!(!wanted.is_empty(), "{filter} keeps nothing");
            let (narrowed, kept) = run(&[]);
            assert_eq!(kept, wanted, "{model}: {filter}");
            // Broadcast comes in any case, and with an 82599 the neighbour of a group.
            let addresses = addresses.filter(|_| intel || solarflare).map(|all| {
                let near = all.contains(&GROUP).then_some(NEIGHBOUR).filter(|_| intel);
                all.iter().copied().chain(near).chain([ALL]).collect::<Vec<_>>()
            });
            let vlans = vlans.filter(|_| intel);
            let expected = received(FRAMES, addresses.as_deref(), vlans);
            assert_eq!(count(&narrowed, "/received"), expected, "{model}: {filter}: {narrowed}");
            assert_eq!(narrowed["in_card"].is_array(), addresses.is_some() || vlans.is_some(), "{narrowed}");
            // What it leaves out before the first that comes may have been before it counted.
            let all = (0..FRAMES).map(|number| received(number, addresses.as_deref(), vlans));
            let first = all.take_while(|received| *received == 0).count() as u64;
            let out = u64::from(FRAMES) - expected;
            match (&narrowed["in_card"], narrowed["left_out_by_card"].as_u64()) {
                (Value::Null, left_out) => assert_eq!(left_out, Some(0)),
                (_, None) => assert!(intel),
                (_, Some(left_out)) => assert!(solarflare && (out - first..=out).contains(&left_out), "{narrowed}"),
            }
        }
    }
}

#[test]
fn flows_leave_out_fragments_and_nothing_else_that_is_wanted() {
    const FRAMES: u32 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let (played, path) = (recording(dir.path(), FRAMES, 1), dir.path().join("out.pcap"));
    let file = path.to_str().unwrap();
    let flow = "udp and dst host 239.1.1.1 and dst port 5";
    let whole = format!("{flow} and ip[6:2] & 0x3fff = 0");
    for (filter, model, fragments) in [(flow, "x2522", true), (&whole, "x2522", false), (flow, "82599", true)] {
        let card = format!("emu:{model},wire=pcap:{}:speed=line", played.display());
        let run = |how| {
            let words = ["capture", "-i", &card, "-w", file, "--json", "--push-down", how, "-f", filter];
            (document(&bmnic(&words).output().unwrap()), numbers(&path))
        };
        let ((_, wanted), (exact, same), (narrowed, kept)) = (run("off"), run("exact"), run("flows"));
        assert_eq!((same, exact["in_card"].is_null()), (wanted.clone(), true), "{filter}");
        let lost: Vec<u32> = wanted.iter().copied().filter(|number| !kept.contains(number)).collect();
        assert!(kept.iter().all(|number| wanted.contains(number)));
        let (received, left_out) = (count(&narrowed, "/received"), narrowed["left_out_by_card"].as_u64());
        assert_eq!(Some(u64::from(FRAMES) - received), left_out, "{narrowed}");
        assert_eq!(count(&narrowed, "/lost/total"), 0, "{narrowed}");
        if model == "82599" {
            // It has no filter that leaves out what is of no flow.
            assert_eq!((lost.len(), narrowed["in_card"].is_null(), left_out), (0, true, Some(0)));
            continue;
        }
        // Broadcast comes in any case.
        let expected = (0..FRAMES).filter(|number| fragments && kind_of(*number) == 1 && to(*number) != ALL);
        assert_eq!(lost, expected.collect::<Vec<_>>(), "{filter}");
        assert_eq!(narrowed["in_card"], serde_json::json!([flow]));
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
    let (mut changes, mut narrowed, mut since) = (0, 0, Vec::new());
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
        // A card that is told too late, or when the capture is at its end, brings everything.
        if !answer["in_card"].is_null() {
            assert_eq!(answer["in_card"], serde_json::json!([wanted, "02:00:00:00:00:07"]));
            narrowed += 1;
        }
        since.push(count(&answer, "/time_ns") as i64);
    }
    let document = document(&capture.0.take().unwrap().wait_with_output().unwrap());
    assert!(changes >= 5 && narrowed * 2 > changes, "{changes} changes, {narrowed} of them in the card");
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
