//! The differences to tcpdump's compiler that the module's page lists, with its
//! examples: each is there, and is what the list says.

use super::super::Filter;
use super::reference;
use std::process::Command;

/// What tcpdump's compiler and its plain program say of a frame: `None` if it refuses
/// the expression.
fn theirs(expression: &str, frame: &[u8]) -> [Option<bool>; 2] {
    [&["-y", "EN10MB", "-ddd"][..], &["-y", "EN10MB", "-ddd", "-O"]].map(|arguments| {
        let output = Command::new("tcpdump").args(arguments).args(["--", expression]).output().unwrap();
        let program = reference::read(&String::from_utf8_lossy(&output.stdout));
        output.status.success().then(|| reference::run(&program, frame) != Some(0))
    })
}

/// A frame of IPv4 or IPv6 with these headers behind, all of it else zero.
fn ip(version: u8, next: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    if version == 4 {
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, next]);
        frame.extend([0; 10]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64]);
        frame.extend([0; 32]);
    }
    frame.extend(rest);
    frame.resize(frame.len().max(60), 0);
    frame
}

#[test]
fn each_listed_difference_is_there_and_as_listed() {
    if let Err(why) = super::judge() {
        println!("SKIPPED the differences to tcpdump: {why}");
        return;
    }
    let mut udp = ip(4, 17, &[]);
    udp[14 + 20 + 13] = 2;
    let authenticated = ip(4, 51, &[&[51, 1][..], &[0; 10], &[6, 1], &[0; 10]].concat());
    let options: Vec<u8> = (0..9).flat_map(|n| [if n < 8 { 60 } else { 6 }, 0, 0, 0, 0, 0, 0, 0]).collect();
    let chained = ip(6, 60, &options);
    let followed = ip(6, 60, &options[8..]);
    let yes = Some(true);
    let no = Some(false);
    for (expression, frame, ours, optimised, plain) in [
        // A guard of a right operand; to its left it holds there too.
        ("1 + tcp[13] = 3", &udp, no, yes, yes),
        ("tcp[13] + 1 = 3", &udp, no, no, no),
        // Loads that the optimiser drops.
        ("ip[100] & 0 = 0", &udp, no, yes, no),
        // A place beyond the end of all frames, which the optimiser takes for one before.
        ("ip[0xfffffff8] = 0", &udp, no, yes, no),
        // A chain behind AH, and how far it is followed.
        ("ip protochain 6", &authenticated, yes, no, no),
        ("ip6 protochain 6", &followed, yes, yes, yes),
        ("ip6 protochain 6", &chained, no, yes, yes),
        // Refused by one side.
        ("vxlan 5 and tcp", &udp, no, None, None),
        ("len / (0 + 4) > 14", &udp, yes, None, None),
        ("ip proto 300", &udp, None, no, no),
        ("net 10/8", &udp, no, None, None),
        ("10.0.0.1", &udp, no, None, None),
        ("ip 10.0.0.1", &udp, no, None, None),
        ("wlan host 02:00:00:00:00:01", &udp, None, no, no),
    ] {
        let said = Filter::parse(expression).ok().map(|filter| filter.matches(frame, frame.len()));
        assert_eq!((said, theirs(expression, frame)), (ours, [optimised, plain]), "{expression}");
    }
    // Those that libpcap takes where a socket or an interface answers.
    for expression in ["inbound", "outbound", "ifindex 1", "ip broadcast"] {
        assert!(Filter::parse(expression).is_err(), "{expression}");
    }
    // Those whose answer in tcpdump is an accident.
    // What is not of Geneve has its EtherType at place zero then.
    let geneve = Filter::parse("geneve or ip").unwrap();
    assert!(!geneve.matches(&udp, 60));
    udp[..2].copy_from_slice(&[8, 0]);
    assert!(geneve.matches(&udp, 60));
    assert!(Filter::parse("not byte 12 & 1 and byte 12 & 8").unwrap().matches(&udp, 60));
}

#[test]
fn vxlan_moves_the_layers_as_libpcap_1_11_documents_it() {
    let mut inner = ip(4, 6, &[]);
    inner[12] = 8;
    let outer = |version, port: u16, flags, id| {
        let header = [&[0, 9][..], &port.to_be_bytes(), &[0, 50, 0, 0, flags, 0, 0, 0, 0, 0, id, 0]].concat();
        ip(version, 17, &[&header[..], &inner].concat())
    };
    let matches = |expression: &str, frame: &[u8]| Filter::parse(expression).unwrap().matches(frame, frame.len());
    for version in [4, 6] {
        let frame = outer(version, 4789, 8, 5);
        for expression in
            ["vxlan", "vxlan 5", "vxlan and tcp", "vxlan 5 and ip and not udp", "udp and vxlan and ether[12:2] = 0x800"]
        {
            assert!(matches(expression, &frame), "{expression}");
        }
        for expression in ["vxlan 6", "vxlan and udp", "vxlan and vxlan", "tcp"] {
            assert!(!matches(expression, &frame), "{expression}");
        }
        assert!(!matches("vxlan", &outer(version, 4790, 8, 5)) && !matches("vxlan", &outer(version, 4789, 0, 5)));
    }
}
