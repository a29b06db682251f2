//! Names that stand for numbers: those of the language, and those that the system
//! knows (services, protocols, networks, hosts, Ethernet hosts).

use super::layers::{AARP, ARP, ATALK, DECNET, IP, IP6, RARP, sap};
use super::lexer;
use crate::net::MacAddr;
use std::net::{IpAddr, ToSocketAddrs};

/// Offsets, types and flags (pcap-filter(7); RFC 792, RFC 9293, IANA's ICMPv6 types).
const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

/// The number that a word of the language stands for.
pub fn constant(word: &str) -> Option<u32> {
    find(CONSTANTS, word)
}

/// EtherTypes and service access points after `ether proto`.
pub fn ether_protocol(name: &str) -> Option<u32> {
    const TABLE: &[(&str, u32)] = &[
        ("aarp", AARP),
        ("arp", ARP),
        ("atalk", ATALK),
        ("decnet", DECNET),
        ("ip", IP),
        ("ip6", IP6),
        ("lat", 0x6004),
        ("loopback", 0x9000),
        ("mopdl", 0x6001),
        ("moprc", 0x6002),
        ("rarp", RARP),
        ("sca", 0x6007),
        ("iso", sap::ISO),
        ("stp", sap::STP),
        ("ipx", sap::IPX),
        ("netbeui", sap::NETBEUI),
    ];
    find(TABLE, name)
}

fn find(table: &[(&str, u32)], name: &str) -> Option<u32> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// A protocol of IP by its name in /etc/protocols, or of those that every machine
/// has if there is no such file.
pub fn ip_protocol(name: &str) -> Option<u32> {
    const COMMON: &[(&str, u32)] = &[
        ("icmp", 1),
        ("igmp", 2),
        ("tcp", 6),
        ("udp", 17),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("ipv6-icmp", 58),
        ("ospf", 89),
        ("pim", 103),
        ("vrrp", 112),
        ("sctp", 132),
    ];
    let Ok(text) = std::fs::read_to_string("/etc/protocols") else { return find(COMMON, name) };
    entries(&text).find(|words| is(words, name)).and_then(|words| words.get(1)?.parse().ok())
}

/// The ports of a service over TCP and UDP, by /etc/services.
pub fn service(name: &str) -> (Option<u16>, Option<u16>) {
    if let Ok(port) = name.parse() {
        return (Some(port), Some(port));
    }
    let text = std::fs::read_to_string("/etc/services").unwrap_or_default();
    let over = |transport: &str| {
        entries(&text)
            .filter(|words| is(words, name))
            .find_map(|words| words.get(1)?.split_once('/').filter(|(_, t)| *t == transport)?.0.parse().ok())
    };
    (over("tcp"), over("udp"))
}

/// A network by its name in /etc/networks.
pub fn network(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/networks").ok()?;
    let words = entries(&text).find(|words| is(words, name))?;
    let (address, _) = dotted(words.get(1)?)?;
    Some(address).filter(|address| *address != 0)
}

/// The addresses of a host, as the system looks them up.
pub fn host(name: &str) -> Vec<IpAddr> {
    (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}

/// The address of an Ethernet host by its name in /etc/ethers.
pub fn ether_host(name: &str) -> Option<[u8; 6]> {
    let text = std::fs::read_to_string("/etc/ethers").ok()?;
    let words = entries(&text).find(|words| words.get(1) == Some(&name))?;
    match lexer::tokens(words[0]).ok()?.as_slice() {
        [(_, lexer::Token::Mac(octets, _))] => Some(*octets),
        _ => words[0].parse::<MacAddr>().ok().map(|mac| mac.0),
    }
}

/// The words of each line that is no comment.
fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 1)
}

/// Whether an entry has this name or alias.
fn is(words: &[&str], name: &str) -> bool {
    words.iter().enumerate().any(|(n, word)| n != 1 && *word == name)
}

/// One to four octets, and how many bits they are: `10.1` is 0x0a01 of 16 bits.
pub fn dotted(text: &str) -> Option<(u32, u32)> {
    let mut number = 0_u32;
    let mut bits = 0;
    for part in text.split('.') {
        // As in libpcap a zero before is no octal.
        let octet: u8 = part.parse().ok().filter(|_| bits < 32)?;
        number = number << 8 | u32::from(octet);
        bits += 8;
    }
    Some((number, bits))
}
