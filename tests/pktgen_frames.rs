//! What `bmnic pktgen` puts into frames, as tcpdump and Wireshark read it, who know nothing of
//! how they were made.

use bmnic::pcap::read::Recording;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes five of the frames that `words` ask for.
fn write(path: &Path, words: &[&str]) {
    let output = run(&[&["pktgen", "-w", path.to_str().unwrap(), "-c", "5"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
}

/// What `tcpdump -v` says of them, if it is there.
fn tcpdump(path: &Path) -> Option<String> {
    let output = Command::new("tcpdump").args(["-vv", "-e", "-n", "-r", path.to_str().unwrap()]).output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: tcpdump is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(text(&output.stdout))
}

/// The frames of a file.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    Recording::open(path).unwrap().packets().map(|packet| packet.bytes.to_vec()).collect()
}

#[test]
fn tcpdump_finds_the_checksums_that_are_asked_to_be_wrong_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    for proto in ["udp", "tcp", "icmp"] {
        for v6 in [false, true] {
            for which in ["", "ip", "l4", "both"] {
                if v6 && ["ip", "both"].contains(&which) {
                    continue;
                }
                let mut words = vec!["--proto", proto, "--sport", "rand", "-s", "100-104"];
                words.extend(if v6 { ["--dst-ip", "2001:2::/64/rand"] } else { ["--dst-ip", "10.0.0.0/8/rand"] });
                if !which.is_empty() {
                    words.extend(["--bad-csum", which]);
                }
                write(&path, &words);
                let Some(said) = tcpdump(&path) else { return };
                let wrong = |many| if many { 5 } else { 0 };
                let ip = said.matches("bad cksum").count();
                let l4 = ["bad udp cksum", "(incorrect ", "wrong icmp cksum", "[bad icmp6 cksum"]
                    .map(|words| said.matches(words).count())
                    .iter()
                    .sum::<usize>();
                assert_eq!(ip, wrong(["ip", "both"].contains(&which)), "{words:?}: {said}");
                assert_eq!(l4, wrong(["l4", "both"].contains(&which)), "{words:?}: {said}");
            }
        }
    }
}

#[test]
fn fields_are_where_tcpdump_looks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    for (words, parts) in [
        (&["--tos", "0xb8"][..], &["tos 0xb8,", "ttl 64"][..]),
        (&["--dscp", "af41", "--ecn", "ce"], &["tos 0x8b,CE"]),
        (&["--dscp", "ef", "--dst-ip", "2001:2::1"], &["class 0xb8,", "[udp sum ok]"]),
        (&["--proto", "tcp", "--tcp-flags", "syn,ack"], &["Flags [S.]", "(correct)"]),
        (&["--proto", "tcp", "--tcp-flags", "fin,psh,urg", "--dst-ip", "2001:2::1"], &["Flags [FPU]", "(correct)"]),
        (&["--proto", "tcp"], &["Flags [.]", "(correct)"]),
        (&["--proto", "tcp", "--tcp-flags", "none"], &["Flags [none]", "(correct)"]),
        (&["--payload", "68656c6c6f"], &["length 33)", "[udp sum ok] UDP, length 5"]),
        (&["--payload", "68656c6c6f", "-s", "100"], &["length 82)", "[udp sum ok] UDP, length 54"]),
        (&["--proto", "raw"], &["ethertype Unknown (0x88b5), length 60"]),
        (&["--proto", "raw", "--ethertype", "0x9000", "--vlan", "7"], &["ethertype Loopback (0x9000)", "vlan 7"]),
    ] {
        write(&path, words);
        let Some(said) = tcpdump(&path) else { return };
        for part in parts {
            assert_eq!(said.matches(part).count(), 5, "{words:?}, {part}: {said}");
        }
    }
}

#[test]
fn a_payload_is_sent_as_it_is_and_other_frames_are_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("out.pcap"), dir.path().join("payload"));
    std::fs::write(&file, [0xa5; 1000]).unwrap();
    write(&path, &["--proto", "raw", "--payload", file.to_str().unwrap(), "--dst-mac", "02:00:00:00:00:09"]);
    let mut want = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    want.extend([0xa5; 1000]);
    assert_eq!(frames(&path), vec![want.clone(); 5]);
    write(&path, &["--proto", "raw", "--payload", "01 02:03", "--dst-mac", "02:00:00:00:00:09", "-s", "64,1518"]);
    for (n, frame) in frames(&path).iter().enumerate() {
        let mut want = [&want[..14], &[1, 2, 3]].concat();
        want.resize([60, 1514][n % 2], 0);
        assert_eq!(*frame, want);
    }
    // Sequence numbers, where nobody gave a payload.
    write(&path, &["--proto", "raw"]);
    assert!(frames(&path).iter().zip(0..).all(|(frame, n)| frame.len() == 60 && frame[56] == n));
}

#[test]
fn fields_that_frames_do_not_have_are_refused_in_one_line() {
    for (words, part) in [
        (&["--tos", "1", "--dscp", "ef"][..], "--tos"),
        (&["--tos", "1", "--proto", "arp"], "no IP header"),
        (&["--dscp", "ef", "--proto", "raw"], "no IP header"),
        (&["--tcp-flags", "syn"], "--proto tcp"),
        (&["--tcp-flags", "sin", "--proto", "tcp"], "flags of TCP"),
        (&["--ethertype", "0x88b5"], "--proto raw"),
        (&["--proto", "raw", "--src-ip", "10.0.0.1"], "no IP addresses"),
        (&["--proto", "raw", "--bad-csum", "ip"], "no checksum"),
        (&["--proto", "arp", "--bad-csum", "l4"], "no checksum"),
        (&["--dst-ip", "2001:2::1", "--bad-csum", "both"], "IPv6 header has no checksum"),
        (&["--bad-csum", "fcs"], "wrong FCS"),
        (&["--proto", "arp", "--payload", "00"], "no payload"),
        (&["--payload", "001"], "No such file"),
        (&["--payload", "/dev/zero"], "longer than a frame"),
        (&["--payload", "00".repeat(100).as_str(), "-s", "64"], "and this payload; use 146 to"),
        (&["--pcap", "x", "--tos", "1"], "--tos"),
        (&["--pcap", "x", "--bad-csum", "l4"], "--bad-csum"),
    ] {
        let output = run(&[&["pktgen", "-c", "1", "-w", "/dev/null"], words].concat());
        let line = text(&output.stderr);
        assert!([Some(1), Some(2)].contains(&output.status.code()), "{words:?}: {line}");
        assert!(line.contains(part), "{words:?}: {line}");
    }
}
