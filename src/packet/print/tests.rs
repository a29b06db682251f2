//! Lines beside tcpdump's, and of what is no packet at all.

use super::*;
use crate::net::Sum;
use crate::pcap::record::{Format, Record};
use crate::pcap::section::Section;
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;

const FROM: [u8; 4] = [198, 18, 0, 1];
const TO: [u8; 4] = [198, 19, 0, 1];
const FROM6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const GROUP6: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ONE6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], &kind.to_be_bytes()[..], payload].concat()
}

fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut header =
        [&[0x45, 0][..], &len.to_be_bytes(), &[0, 7], &fragment.to_be_bytes(), &[64, protocol, 0, 0]].concat();
    header.extend([FROM, TO].concat());
    let sum = Sum::of(&header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, payload.to_vec()].concat()
}

fn ipv6(next: u8, to: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[next, 255], &FROM6, &to, payload].concat()
}

/// `payload` with the checksum at `at` that it should have between these addresses.
fn summed(pseudo: &[&[u8]], protocol: u8, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = pseudo.iter().fold(Sum::of(&payload), |sum, part| sum.and(Sum::of(part)));
    let len = (payload.len() as u16).to_be_bytes();
    let sum = if pseudo.is_empty() { sum } else { sum.and(Sum::of(&[0, protocol, len[0], len[1]])) };
    payload[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
    payload
}

fn udp(to: u16, checksum: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    [&[0x30, 0x39][..], &to.to_be_bytes(), &len.to_be_bytes(), &checksum.to_be_bytes(), payload].concat()
}

fn tcp(flags: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let bits = ((5 + options.len() / 4) as u16) << 12 | flags;
    let head =
        [&[4, 210, 22, 46, 0, 0, 3, 232, 0, 0, 0, 77][..], &bits.to_be_bytes(), &[255, 255, 0, 0, 0, 9]].concat();
    let whole = [&head[..], options, payload].concat();
    summed(&[&FROM, &TO], 6, whole, 16)
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    summed(&[], 1, [&[kind, code, 0, 0][..], &rest, payload].concat(), 2)
}

fn icmp6(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    summed(&[&FROM6, &GROUP6], 58, [&[kind, code, 0, 0][..], &rest, payload].concat(), 2)
}

fn arp(operation: u8, to: u8) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1];
    let target = [if to == 0 { 0 } else { 2 }, 0, 0, 0, 0, to];
    [&head[..], &FROM, &target, &TO, &[0; 18]].concat()
}

/// Frames whose lines are tcpdump's, without UDP.
fn frames() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let sack = [1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9, 1, 1, 1, 1];
    let syn = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    for (flags, options, payload) in [
        (0x02, &syn[..], &b""[..]),
        (0x12, &syn, b""),
        (0x18, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"hello"),
        (0x10, &sack, b""),
        (0x11, &[], b""),
        (0x04, &[], b""),
        (0xfb, &[], b"urgent"),
        (0xff, &[], b""),
        (0x00, &[], b""),
        (0x02, &[2, 0, 0, 0], b""),
        (0x02, &[2, 4, 5, 180, 9, 9, 9, 9], b""),
        (0x02, &[10, 6, 1, 2, 3, 4, 1, 1], b""),
    ] {
        all.push(ethernet(0x0800, &ipv4(6, 0, &tcp(flags, options, payload))));
    }
    let mut wrong = tcp(0x10, &[], b"wrong");
    wrong[16] ^= 1;
    all.push(ethernet(0x0800, &ipv4(6, 0x4000, &wrong)));
    all.extend([(1, 0), (1, 9), (2, 3), (3, 3), (9, 0)].map(|(operation, to)| ethernet(0x0806, &arp(operation, to))));
    all.push(ethernet(0x8035, &arp(3, 4)));
    for (kind, code) in [(0, 0), (8, 0), (10, 0), (13, 0), (42, 0)] {
        all.push(ethernet(0x0800, &ipv4(1, 0, &icmp(kind, code, [0, 1, 0, 2], &[7; 12]))));
    }
    all.push(ethernet(0x8847, &[&[0, 6, 0x40, 64][..], &[0, 1, 1, 63], &ipv4(6, 0, &tcp(2, &[], b""))].concat()));
    all.push(ethernet(
        0x8847,
        &[&[0, 0, 0x21, 64][..], &ipv6(58, GROUP6, &icmp6(128, 0, [0, 1, 0, 2], b"ping"))].concat(),
    ));
    for (kind, code, payload) in [
        (128, 0, vec![1; 20]),
        (129, 0, vec![]),
        (133, 0, vec![]),
        (135, 0, ONE6.to_vec()),
        (136, 0, ONE6.to_vec()),
        (1, 0, ipv6(17, ONE6, &udp(99, 0, b""))),
        (1, 1, ipv6(17, ONE6, &udp(99, 0, b""))),
        (1, 3, ipv6(17, ONE6, &udp(99, 0, b""))),
        (1, 4, ipv6(17, ONE6, &udp(99, 0, b""))),
        (1, 4, ipv6(6, ONE6, &tcp(2, &[], b""))),
        (2, 0, ipv6(17, ONE6, &udp(99, 0, b""))),
        (3, 0, ipv6(17, ONE6, &udp(99, 0, b""))),
        (3, 1, ipv6(17, ONE6, &udp(99, 0, b""))),
        (4, 1, ipv6(17, ONE6, &udp(99, 0, b""))),
    ] {
        all.push(ethernet(0x86dd, &ipv6(58, GROUP6, &icmp6(kind, code, [0xe0, 1, 5, 0], &payload))));
    }
    all.push(ethernet(0x86dd, &ipv6(6, ONE6, &tcp(0x12, &syn, b""))));
    all.push(ethernet(0x86dd, &ipv6(44, ONE6, &[&[6, 0, 0, 33, 0, 0, 0, 9][..], &[7; 24]].concat())));
    all.push(ethernet(0x86dd, &ipv6(59, ONE6, &[])));
    all.push(ethernet(0x86dd, &ipv6(253, ONE6, &[1; 4])));
    all.push(ethernet(0x0800, &ipv4(17, 4, &[7; 32])));
    all.push(ethernet(0x0800, &ipv4(253, 0, &[7; 32])));
    all.push(ethernet(0x0800, &ipv4(50, 0, &[7; 32])));
    all.push(ethernet(0x0800, &ipv4(4, 0, &ipv4(6, 0, &tcp(2, &[], b"")))));
    all.push(ethernet(0x0800, &ipv4(41, 0, &ipv6(6, ONE6, &tcp(2, &[], b"")))));
    for (kind, time) in [(0x16, 0), (0x17, 0), (0x11, 100), (0x11, 50), (0x12, 0)] {
        all.push(ethernet(0x0800, &ipv4(2, 0, &icmp(kind, time, [239, 1, 1, 1], &[]))));
    }
    all.push(ethernet(0x88b5, b"nobody knows\x1b[31m what this is"));
    all.push(ethernet(0x0800, &[&[0x55][..], &ipv4(6, 0, &tcp(2, &[], b""))[1..]].concat()));
    all.push(ethernet(0x0800, &[&[0x42][..], &ipv4(6, 0, &tcp(2, &[], b""))[1..]].concat()));
    for (at, value) in [(3, 200), (3, 10), (32, 0x10), (32, 0xf0)] {
        let mut broken = ipv4(6, 0, &tcp(0x10, &[], b""));
        broken[at] = value;
        // The header's own checksum is no matter here.
        broken[10..12].fill(0);
        let sum = Sum::of(&broken[..20]).checksum();
        broken[10..12].copy_from_slice(&sum.to_be_bytes());
        all.push(ethernet(0x0800, &broken));
    }
    all
}

/// Frames of which tcpdump says more with `-v`.
fn brief() -> Vec<Vec<u8>> {
    let record = [4, 0, 0, 0, 239, 1, 1, 1];
    let hop = [58, 0, 5, 2, 0, 0, 1, 0];
    let listener = icmp6(143, 0, [0, 0, 0, 1], &[&[4, 0, 0, 0][..], &GROUP6].concat());
    vec![
        ethernet(0x86dd, &ipv6(60, ONE6, &[&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(2, &[], b"")].concat())),
        ethernet(0x86dd, &ipv6(0, GROUP6, &[&hop[..], &listener].concat())),
        ethernet(0x0800, &ipv4(2, 0, &icmp(0x22, 0, [0, 0, 0, 1], &record))),
        ethernet(0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 3, 5, 1, 2, 6, 2, 0, 120, 0, 0]),
        ethernet(0x8808, &[&[0, 1, 0xff, 0xff][..], &[0; 42]].concat()),
    ]
}

/// Frames of UDP.
fn datagrams() -> Vec<Vec<u8>> {
    let vxlan = |inner: &[u8]| [&[8, 0, 0, 0, 0, 0, 100, 0][..], inner].concat();
    let inner = ethernet(0x0800, &ipv4(17, 0, &udp(99, 0, b"inner")));
    let mut all = vec![
        ethernet(0x0800, &ipv4(17, 0, &summed(&[&FROM, &TO], 17, udp(99, 0, b"hello"), 6))),
        ethernet(0x0800, &ipv4(17, 0, &udp(99, 0, b"hello"))),
        ethernet(0x0800, &ipv4(17, 0x4000, &udp(99, 0x1111, b"hello"))),
        ethernet(0x86dd, &ipv6(17, ONE6, &summed(&[&FROM6, &ONE6], 17, udp(99, 0, b"hello"), 6))),
        ethernet(0x86dd, &ipv6(17, ONE6, &udp(99, 0x1111, b"hello"))),
        ethernet(0x0800, &ipv4(17, 0x2000, &udp(99, 0x1111, b"hello"))),
        ethernet(0x0800, &ipv4(17, 0, &udp(4789, 0, &vxlan(&inner)))),
        ethernet(0x0800, &ipv4(17, 0, &udp(4789, 0, &vxlan(&ethernet(0x0806, &arp(1, 0)))))),
        ethernet(0x8848, &[&[0, 6, 0x41, 64][..], &ipv4(17, 0, &udp(99, 0, b"hello"))].concat()),
    ];
    let about = |protocol: u8| ipv4(protocol, 0, &[3, 232, 0, 99, 0, 8, 0, 0]);
    // What an error says of the packet in it is one more line with -v.
    for (kind, code) in
        [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (3, 77), (11, 0), (11, 1), (5, 1), (4, 0), (12, 0)]
    {
        all.push(ethernet(0x0800, &ipv4(1, 0, &icmp(kind, code, [0, 0, 5, 120], &about(17)))));
    }
    all.push(ethernet(0x0800, &ipv4(1, 0, &icmp(3, 3, [0; 4], &about(6)))));
    all
}

/// Frames with tags.
fn tagged() -> Vec<Vec<u8>> {
    let within = ipv4(17, 0, &udp(99, 0, b"tagged"));
    vec![
        ethernet(0x8100, &[&[0xa0, 5, 8, 0][..], &within].concat()),
        ethernet(0x88a8, &[&[0xf0, 7, 0x81, 0, 0, 5, 8, 0][..], &within].concat()),
        ethernet(0x9100, &[&[0, 7, 0x81, 0, 0, 5, 8, 6][..], &arp(1, 0)].concat()),
    ]
}

/// The words of each, one string a packet.
fn ours(how: How, frames: &[(Vec<u8>, usize)]) -> Vec<String> {
    let one = |(bytes, wire_len): &(Vec<u8>, usize)| {
        let mut text = String::new();
        words(&mut text, how, &Packet { time: 0, bytes, wire_len: *wire_len });
        text
    };
    frames.iter().map(one).collect()
}

/// The same of `tcpdump -n`, if it is there. Packets are told apart by their times.
fn theirs(options: &[&str], frames: &[(Vec<u8>, usize)]) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frames.pcap");
    let mut file = Vec::new();
    Format::Pcap.header(&mut file, 262_144, &Section::default());
    for (n, (bytes, wire_len)) in frames.iter().enumerate() {
        let time = (1_700_000_000 + n as u64) * 1_000_000_000;
        Format::Pcap.put(&mut file, &Record { interface: 0, time, wire_len: *wire_len, parts: &[bytes] });
    }
    std::fs::write(&path, file).unwrap();
    let run =
        |path: &Path| Command::new("tcpdump").args(["-n", "-S", "-tt"]).args(options).arg("-r").arg(path).output();
    let Ok(output) = run(&path) else {
        eprintln!("SKIPPED  lines beside tcpdump's: it is not installed");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut all: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("17000").and_then(|rest| rest.split_once(".000000 ")) {
            Some((_, words)) => all.push(words.to_string()),
            None => {
                let last = all.last_mut().unwrap();
                *last += "\n";
                *last += line;
            }
        }
    }
    assert_eq!(all.len(), frames.len(), "{text}");
    Some(all)
}

fn whole(frames: Vec<Vec<u8>>) -> Vec<(Vec<u8>, usize)> {
    frames.into_iter().map(|frame| (frame.clone(), frame.len())).collect()
}

/// Compares each line.
fn agree(how: How, options: &[&str], frames: &[(Vec<u8>, usize)]) {
    let Some(theirs) = theirs(options, frames) else { return };
    let mut differ = String::new();
    for ((ours, theirs), frame) in ours(how, frames).iter().zip(theirs).zip(frames) {
        if ours.trim_end() != theirs.trim_end() {
            differ += &format!("\n{frame:02x?}\n  here {ours}\n  they {theirs}");
        }
    }
    assert!(differ.is_empty(), "{options:?}{differ}");
}

#[test]
fn lines_are_those_of_tcpdump() {
    let plain = How::default();
    let all = whole([frames(), datagrams(), brief()].concat());
    agree(plain, &[], &all);
    agree(How { bytes: Some(Bytes::Hex), ..plain }, &["-x"], &whole(datagrams()));
    agree(How { bytes: Some(Bytes::HexAndText), ..plain }, &["-X"], &all);
    let link = How { link: true, ..plain };
    agree(link, &["-e"], &whole([frames(), datagrams(), brief(), tagged()].concat()));
}

#[test]
fn details_are_those_of_tcpdump() {
    let details = How { details: true, ..How::default() };
    agree(details, &["-v"], &whole(frames()));
    // It looks at checksums of UDP with -vv alone.
    agree(details, &["-vv"], &whole(datagrams()));
}

#[test]
fn a_packet_that_was_cut_ends_with_the_protocol_that_was_read() {
    let mut cut = Vec::new();
    for frame in [
        &datagrams()[..4],
        &[ethernet(0x0806, &arp(1, 0)), ethernet(0x0800, &ipv4(1, 0, &icmp(8, 0, [0; 4], b"ping")))],
    ]
    .concat()
    {
        cut.extend((1..frame.len()).map(|len| (frame[..len].to_vec(), frame.len())));
    }
    agree(How::default(), &[], &cut);
    let (frame, len) = (&datagrams()[0][..40], datagrams()[0].len());
    let [line] = &ours(How::default(), &[(frame.to_vec(), len)])[..] else { panic!() };
    assert_eq!(line, "IP 198.18.0.1.12345 > 198.19.0.1.99:  [|udp]");
}

#[test]
fn a_tag_is_shown_though_tcpdump_hides_it_without_e() {
    let lines = ours(How::default(), &whole(tagged()));
    let words = "IP 198.18.0.1.12345 > 198.19.0.1.99: UDP, length 6";
    assert_eq!(lines[0], format!("vlan 5, p 5, {words}"));
    assert_eq!(lines[1], format!("vlan 7, p 7, DEI, vlan 5, p 0, {words}"));
    assert!(lines[2].starts_with("vlan 7, p 0, vlan 5, p 0, ARP, Request who-has 198.19.0.1 tell 198.18.0.1"));
}

#[test]
fn a_line_has_its_time_in_nanoseconds_and_the_name_that_is_asked_for() {
    let mut printer = Printer::new(How::default());
    let frame = &datagrams()[0];
    let mut text = String::new();
    for (time, name) in [(1_700_000_000_000_000_001, None), (1_700_000_001_999_999_999, Some("emu:82599"))] {
        printer.print(&mut text, &Packet { time, bytes: frame, wire_len: frame.len() }, name);
    }
    let lines: Vec<&str> = text.lines().collect();
    let words = "IP 198.18.0.1.12345 > 198.19.0.1.99: UDP, length 5";
    // The hour is that of where it runs.
    assert_eq!(&lines[0][5..], format!(":20.000000001 {words}"));
    assert_eq!(&lines[1][5..], format!(":21.999999999 emu:82599 {words}"));
}

/// Whether a terminal shows it and does nothing else.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'))
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_or_print_what_a_terminal_obeys(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        more in 0_usize..3000,
        (details, link, dumped) in any::<(bool, bool, bool)>(),
    ) {
        let how = How { details, link, bytes: dumped.then_some(Bytes::HexAndText) };
        let text = &ours(how, &[(bytes.clone(), bytes.len() + more)])[0];
        prop_assert!(is_plain(text), "{:?}", text);
    }

    #[test]
    fn nor_do_packets_of_which_some_bytes_were_changed(
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
        (details, link) in any::<(bool, bool)>(),
    ) {
        let all = [frames(), datagrams(), brief(), tagged()].concat();
        let mut frame = all[which.index(all.len())].clone();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let len = frame.len();
        frame.truncate(cut.index(len + 1));
        let text = &ours(How { details, link, bytes: None }, &[(frame, len)])[0];
        prop_assert!(is_plain(text), "{:?}", text);
    }
}

#[test]
fn tunnels_in_tunnels_come_to_an_end() {
    let mut packet = ipv4(17, 0, &udp(99, 0, b"core"));
    for _ in 0..600 {
        packet = ipv4(4, 0, &packet);
    }
    let frame = ethernet(0x0800, &packet);
    let text = &ours(How::default(), &whole(vec![frame]))[0];
    assert!(text.len() < 2_000 && text.contains(" ip-proto-4 "), "{text}");
}
