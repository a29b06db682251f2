//! What filters accept, refuse and match; and that tcpdump agrees.

mod agreement;
mod chance;
mod corpus;
mod differences;
mod programs;
mod random;

use super::*;
use crate::error::Kind;
use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};

/// Whether there is a tcpdump whose compiler is the one that the module's page compares
/// with; why not.
fn judge() -> std::result::Result<(), String> {
    let output = Command::new("tcpdump").arg("--version").output().map_err(|_| "it is not installed")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let version = said.lines().find_map(|line| line.strip_prefix("libpcap version ")).unwrap_or("unknown");
    if version.starts_with("1.10.") { Ok(()) } else { Err(format!("its libpcap is {version}, not 1.10")) }
}

/// Frames of every sort that the expressions below tell apart.
fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let payloads: [&[u8]; 3] = [&[], &[1, 2, 3, 4, 5, 6, 7], &[0x55; 900]];
    for payload in payloads {
        for (source, destination) in [([10, 0, 0, 1], [10, 0, 0, 2]), ([192, 168, 7, 9], [239, 1, 1, 1])] {
            for ports in [(53, 1024), (1024, 80), (8005, 8080)] {
                let mut frame = Vec::new();
                ethernet().ipv4(source, destination, 9).udp(ports.0, ports.1).write(&mut frame, payload).unwrap();
                frames.push(frame);
                let mut frame = Vec::new();
                let builder = ethernet().ipv4(source, destination, 64).tcp(ports.0, ports.1, 7, 512);
                if ports.0 == 53 { builder.syn() } else { builder.fin().psh() }.write(&mut frame, payload).unwrap();
                frames.push(frame);
            }
            let mut frame = Vec::new();
            let tagged = ethernet().single_vlan(77.try_into().unwrap());
            tagged.ipv4(source, destination, 9).udp(53, 53).write(&mut frame, payload).unwrap();
            frames.push(frame);
            let mut frame = Vec::new();
            ethernet().ipv4(source, destination, 9).icmpv4_echo_request(1, 2).write(&mut frame, payload).unwrap();
            frames.push(frame);
        }
        let (a, b) = ([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0xff; 16]);
        let mut frame = Vec::new();
        ethernet().ipv6(a, b, 9).udp(53, 8000).write(&mut frame, payload).unwrap();
        frames.push(frame);
        let mut frame = Vec::new();
        ethernet().ipv6(b, a, 9).tcp(80, 8000, 1, 1).write(&mut frame, payload).unwrap();
        frames.push(frame);
        let mut frame = Vec::new();
        ethernet().ipv6(a, b, 9).icmpv6_echo_request(1, 2).write(&mut frame, payload).unwrap();
        frames.push(frame);
    }
    // A later fragment, options in the header, broadcast ARP, double tags.
    let mut fragment = frames[0].clone();
    fragment[20..22].copy_from_slice(&[0x00, 0x10]);
    frames.push(fragment);
    let mut options = frames[6].clone();
    options[14] = 0x46;
    frames.push(options);
    let mut arp = vec![0xff; 6];
    arp.extend([
        2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9,
    ]);
    frames.push(arp);
    let mut double = frames[12].clone();
    double.splice(12..12, [0x88, 0xa8, 0x00, 0x05]);
    frames.push(double);
    // Every one of them cut short, here and there.
    for (i, frame) in frames.clone().into_iter().enumerate() {
        frames.push(frame[..frame.len().min(14 + i * 5 % 60)].to_vec());
    }
    frames
}

const EXPRESSIONS: &[&str] = &[
    "",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "not udp",
    "! ip and ! ip6",
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst 10.0.0.2",
    "src or dst host 10.0.0.9",
    "src and dst host 10.0.0.9",
    "host 10.0.0.1 or 192.168.7.9",
    "arp host 10.0.0.9",
    "ip host 10.0.0.1",
    "host 2001:db8::1",
    "ip6 src host 2001:db8::1",
    "net 10",
    "net 10.0.0.0/8",
    "net 192.168",
    "src net 192.168.0.0 mask 255.255.0.0",
    "dst net 224.0.0.0/4",
    "net 2001:db8::/32",
    "net 10.0.0.0",
    "port 53",
    "udp port 53",
    "tcp dst port 80",
    "src port 53 or 80",
    "udp src port 8005 and dst port 8080",
    "portrange 8000-8080",
    "tcp portrange 8080-8000",
    "ip proto 17",
    "ip6 proto 6",
    "proto 58",
    "ether proto 0x0806",
    "ether proto \\ip",
    "ether src 02:00:00:00:00:01",
    "ether host 02:00:00:00:00:02",
    "broadcast",
    "multicast",
    "ether broadcast",
    "ip multicast",
    "ip6 multicast",
    "less 60",
    "greater 200",
    "len > 60 and len <= 100",
    "vlan",
    "vlan 77",
    "vlan 77 and udp port 53",
    "vlan and vlan",
    "vlan 5 and vlan 77 and ip",
    "not vlan",
    "ip[8] < 10",
    "ip[8] = 64 or ip6[7] = 9",
    "ip[6:2] & 0x1fff != 0",
    "ip[0] & 0xf != 5",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[tcpflags] & (tcp-fin|tcp-push) != 0",
    "tcp[13] == 2",
    "udp[4:2] > 20",
    "icmp[icmptype] = icmp-echo",
    "icmp6[0] = 128",
    "ether[0] & 1 = 0",
    "ether[100] = 0x55",
    "not ether[100] = 0x55",
    "ether[12:2] = 0x800 and ip[9] = 6",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 20",
    "len * 2 + 4 > 160",
    "(tcp or udp) and port 80",
    "udp and port 53 or tcp and port 80",
    "udp or tcp and port 80",
    "not (udp or tcp)",
    "not udp and not tcp",
    "((((udp))))",
    "5 < 6",
];

/// Numbers of the frames that tcpdump lets through, or `None` if it is not installed.
fn tcpdump(frames: &[Vec<u8>], expression: &str) -> Option<Vec<usize>> {
    if Command::new("tcpdump").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("SKIPPED: tcpdump is not installed");
        return None;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    file.write_all(&words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1])).unwrap();
    for (i, frame) in frames.iter().enumerate() {
        // The time tells which frame came through.
        file.write_all(&words(&[i as u32, 0, frame.len() as u32, frame.len() as u32])).unwrap();
        file.write_all(frame).unwrap();
    }
    let output =
        Command::new("tcpdump").args(["-r"]).arg(file.path()).args(["-w", "-", "--", expression]).output().unwrap();
    assert!(output.status.success(), "{expression}: {}", String::from_utf8_lossy(&output.stderr));
    let mut through = Vec::new();
    let mut rest = output.stdout.get(24..).unwrap_or_default();
    while let Some(header) = rest.get(..16) {
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        through.push(word(0) as usize);
        rest = &rest[16 + word(8) as usize..];
    }
    Some(through)
}

#[test]
fn tcpdump_agrees_on_every_frame() {
    let frames = frames();
    let mut matched = 0;
    for expression in EXPRESSIONS {
        let filter = Filter::parse(expression).unwrap();
        let ours: Vec<usize> = (0..frames.len()).filter(|&i| filter.matches(&frames[i], frames[i].len())).collect();
        let Some(theirs) = tcpdump(&frames, expression) else { return };
        assert_eq!(ours, theirs, "{expression}");
        matched += ours.len();
    }
    assert!(matched > 1000, "the expressions match something: {matched}");
}

/// A buffer's worth: a longer frame lies in several.
const BUFFER: usize = crate::dma::BUFFER_SIZE;

/// Frames around one, two and three buffers long, each byte telling its place.
fn long_frames() -> Vec<Vec<u8>> {
    let near = |len: usize| len - 4..len + 5;
    let lengths = [60, 1514].into_iter().chain(near(BUFFER)).chain(near(2 * BUFFER)).chain([9014]);
    let frame = |len: usize| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            .udp(53, 80)
            .write(&mut frame, &vec![0; len - 42])
            .unwrap();
        (42..len).for_each(|at| frame[at] = (at * 31 + at / 251) as u8);
        frame
    };
    lengths.map(frame).collect()
}

/// Loads of every size around where one buffer ends and the next begins, from
/// the end of a frame, and past it.
fn far_expressions() -> Vec<String> {
    let whole = long_frames().pop().unwrap();
    let mut expressions: Vec<String> = vec![
        "ether[len - 4:4] != 0".into(),
        "ether[len - 1] & 1 = 0".into(),
        "ether[len - 3:4] = 0 or udp".into(),
        "not ether[len - 3:4] = 0".into(),
        "ether[len] = 0".into(),
        "ether[len - 2048:2] & 1 = 1".into(),
        "ip[len - 18:2] & 3 = 1".into(),
        "ip[len - 70] < 128".into(),
        "udp[2040:4] > 0x40000000".into(),
        "udp[len - 100] & 1 = 0".into(),
        "ether[ether[2047] + 2000] & 1 = 0".into(),
        "len > 2048 and not ether[2500] = 0".into(),
    ];
    for at in (BUFFER - 5..BUFFER + 4).chain(2 * BUFFER - 3..2 * BUFFER + 2).chain([9009, 9012, 9013]) {
        for size in [1_usize, 2, 4] {
            let known = whole.get(at..at + size).unwrap_or(&[0]);
            let known = known.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
            expressions.push(format!("ether[{at}:{size}] = {known}"));
            expressions.push(format!("not ether[{at}:{size}] = {known}"));
            expressions.push(format!("ether[len - {at}:{size}] & 1 = 0"));
        }
    }
    expressions
}

#[test]
fn a_filter_sees_all_of_a_frame_however_it_is_cut_into_buffers() {
    let frames = long_frames();
    let mut matched = 0;
    for expression in far_expressions() {
        let filter = Filter::parse(&expression).unwrap();
        let whole: Vec<usize> = (0..frames.len()).filter(|&i| filter.matches(&frames[i], frames[i].len())).collect();
        for buffer in [BUFFER, BUFFER - 14, 64] {
            let parts = |i: &usize| frames[*i].chunks(buffer).collect::<Vec<_>>();
            let cut: Vec<usize> =
                (0..frames.len()).filter(|i| filter.matches_parts(&parts(i), frames[*i].len())).collect();
            assert_eq!(cut, whole, "{expression} in buffers of {buffer}");
        }
        matched += whole.len();
        if let Some(theirs) = tcpdump(&frames, &expression) {
            assert_eq!(whole, theirs, "{expression}");
        }
    }
    assert!(matched > 300, "the expressions match something: {matched}");
    assert!(Filter::parse("").unwrap().matches_parts(&[], 0) && !Filter::parse("ip").unwrap().matches_parts(&[], 0));
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let mut wrong = Vec::new();
    for (text, wanted) in [
        ("hots 10.0.0.1", "found 'hots' at character 1"),
        ("udp and", "found its end"),
        ("udp port", "a port number"),
        ("udp port fish", "'fish' at character 10: /etc/services knows no such name"),
        ("udp port 53 or fish", "'fish' at character 16"),
        ("port 65536", "a port number"),
        ("host 10.0.0.256", "an address like"),
        ("host fish.invalid", "no address is known for this name"),
        ("ether host fish", "/etc/ethers knows no such name"),
        ("ether host 10.0.0.1", "cannot be the address"),
        ("host 02:00:00:00:00:01", "must stand behind 'ether host'"),
        ("proto \\fish", "/etc/protocols knows no protocol of this name"),
        ("host tcp", "an address like 10.0.0.1"),
        ("net 10.0.0.1/8", "ends after 8 bits"),
        ("net 10.0.0.0/33", "up to 32"),
        ("(udp", "expected ')'"),
        ("udp)", "found ')' at character 4"),
        ("udp tcp", "'and', 'or' or the end"),
        ("vlan 5000", "0 to 4095"),
        ("ip[0:3] = 1", "1, 2 or 4 bytes"),
        ("ip[0] & 1", "a comparison"),
        ("fish[0] = 1", "before '['"),
        ("ah[0] = 1", "its bytes cannot be named"),
        ("len << 32 > 1", "0 to 31 bits"),
        ("len = 0x1ffffffff", "no number of 32 bits"),
        ("08 = len", "no number of 32 bits"),
        ("len / 0 > 1", "not zero"),
        ("tcp host 10.0.0.1", "cannot be the address"),
        ("icmp port 80", "before 'port'"),
        ("ip port 80", "before 'port'"),
        ("ip proto 300", "up to 255"),
        ("src proto 6", "no direction"),
        ("mpls 1048576", "0 to 1048575"),
        ("mpls and arp", "only IPv4 and IPv6"),
        ("mpls and vlan", "not behind 'mpls'"),
        ("pppoes and ether host 02:00:00:00:00:01", "no Ethernet headers"),
        ("geneve 0x1000000", "0 to 16777215"),
        ("llc fish", "sabme"),
        ("ip broadcast", "no netmask"),
        ("inbound", "a card captures what comes in"),
        ("ifname eth0", "one card"),
        ("wlan host 02:00:00:00:00:01", "use 'ether'"),
        ("wlan[0] = 1", "use 'ether'"),
        ("type mgt", "Wi-Fi"),
        ("rset 5", "packet filter"),
        ("vpi 5", "ATM"),
        ("gateway fish", "use 'ether host"),
        ("host $05", "ARCNET"),
        ("net 10.0.0.0/8 or 10.0.0.1/8", "ends after 8 bits"),
        ("host 10.0.0.0/8", "use 'net'"),
        ("net 2001:db8::1/32", "ends after 32 bits"),
        ("udp § tcp", "'§' at character 5"),
        ("ether proto 65536", "up to 65535"),
        ("portrange fish", "8000-8080"),
        ("src or 10.0.0.1", "'dst'"),
    ] {
        match Filter::parse(text) {
            Ok(_) => wrong.push(format!("{text}: taken")),
            Err(error) => {
                let line = error.to_string();
                if error.kind() != Kind::Usage || !line.contains(wanted) || line.contains('\n') {
                    wrong.push(format!("{text}: {line}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_filter_prints_as_it_was_written() {
    assert_eq!(Filter::parse("  udp  port 53 ").unwrap().to_string(), "udp  port 53");
}

#[test]
fn endless_expressions_are_refused_not_followed() {
    assert!(Filter::parse(&"(".repeat(100_000)).is_err());
    assert!(Filter::parse(&"not ".repeat(100_000)).is_err());
    for (open, within, close) in
        [("(", "udp", ")"), ("not ", "udp", ""), ("-", "1 = 1", ""), ("ether[", "1", "]"), ("port (", "53", ")")]
    {
        let rest = if open == "ether[" { " = 1" } else { "" };
        // "port (port (53))" has no meaning, "port ((53))" has.
        let nested = |deep: usize| match open {
            "port (" => format!("port {}{within}{}", "(".repeat(deep), close.repeat(deep)),
            _ => format!("{}{within}{}{rest}", open.repeat(deep), close.repeat(deep)),
        };
        assert!(Filter::parse(&nested(90)).is_ok(), "{open}");
        for deep in [110, 300] {
            let error = Filter::parse(&nested(deep)).unwrap_err().to_string();
            assert!(error.contains("nesting ends at 100 levels"), "{error}");
        }
    }
    // Long, but not deep.
    for joint in [" + len", " - ip[0]", " * 3"] {
        assert!(Filter::parse(&format!("1{} = 1", joint.repeat(120))).is_ok(), "{joint}");
    }
    assert!(Filter::parse(&format!("udp{}", " and tcp or ip".repeat(240))).is_ok());
    let protocols = (0..200).map(|n| format!("host 10.0.0.{n}")).collect::<Vec<_>>().join(" or ");
    assert!(Filter::parse(&protocols).unwrap().matches(&frames()[0], 60));
    let error = Filter::parse(&vec!["port 53"; 300].join(" and not ")).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
}

proptest! {
    #[test]
    fn no_text_brings_the_parser_down(text in "[a-z0-9 .:/()\\[\\]=!<>&|*+-]{0,40}|\\PC{0,20}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn words_of_the_language_in_any_order_are_parsed_or_refused(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "ip", "ip6", "tcp", "udp", "host", "net", "port", "10.0.0.1", "80", "and", "or", "not", "(", ")", "[", "]",
            "=", "len", "vlan", "src", "dst", "::1", "/", "-", ":", "proto", "ether", "less", "geneve", "mpls", "pppoes",
            "vxlan", "protochain", "\\tcp", "decnet", "1.5", "%", "^", "<<", "llc", "rr", "broadcast", "byte", "isis",
            "02:00:00:00:00:01", "http", "mask", "255.0.0.0", "portrange", "80-90", "&", "|", "not", "icmptype",
        ]), 0..12),
        frame in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok(filter) = Filter::parse(&words.join(" ")) {
            filter.matches(&frame, frame.len());
        }
    }
}
