//! Keywords: protocols that expressions name, and words of tcpdump's language that a
//! card has no use for.

/// A protocol that an expression names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Link,
    /// By its EtherType or service access point.
    Ether(u32),
    Ip,
    Ip6,
    Arp,
    Rarp,
    /// Over IPv4 and IPv6.
    Over(u32),
    /// Over IPv4 alone.
    OverIp(u32),
    Icmp6,
    Decnet,
    /// OSI's network layer, and what it tells apart by its first octet.
    Iso,
    Osi(u32),
    /// Packets of IS-IS of these types.
    Isis(&'static [u32]),
}

pub const TCP: u32 = 6;
pub const UDP: u32 = 17;
pub const SCTP: u32 = 132;
pub const ICMP: u32 = 1;
pub const ICMP6: u32 = 58;
pub const AH: u32 = 51;
pub const ESP: u32 = 50;
pub const PIM: u32 = 103;

/// OSI's network layer protocols (ISO/IEC TR 9577).
pub const CLNP: u32 = 0x81;
pub const ESIS: u32 = 0x82;
pub const ISIS: u32 = 0x83;

const TABLE: &[(&str, Proto)] = &[
    ("ether", Proto::Link),
    ("link", Proto::Link),
    ("ip", Proto::Ip),
    ("ip6", Proto::Ip6),
    ("arp", Proto::Arp),
    ("rarp", Proto::Rarp),
    ("tcp", Proto::Over(TCP)),
    ("udp", Proto::Over(UDP)),
    ("sctp", Proto::Over(SCTP)),
    ("ah", Proto::Over(AH)),
    ("esp", Proto::Over(ESP)),
    ("pim", Proto::Over(PIM)),
    ("icmp", Proto::OverIp(ICMP)),
    ("igmp", Proto::OverIp(2)),
    ("igrp", Proto::OverIp(9)),
    ("vrrp", Proto::OverIp(112)),
    ("carp", Proto::OverIp(112)),
    ("icmp6", Proto::Icmp6),
    ("atalk", Proto::Ether(super::layers::ATALK)),
    ("aarp", Proto::Ether(super::layers::AARP)),
    ("decnet", Proto::Decnet),
    ("lat", Proto::Ether(0x6004)),
    ("sca", Proto::Ether(0x6007)),
    ("moprc", Proto::Ether(0x6002)),
    ("mopdl", Proto::Ether(0x6001)),
    ("stp", Proto::Ether(super::layers::sap::STP)),
    ("ipx", Proto::Ether(super::layers::sap::IPX)),
    ("netbeui", Proto::Ether(super::layers::sap::NETBEUI)),
    ("iso", Proto::Iso),
    ("clnp", Proto::Osi(CLNP)),
    ("esis", Proto::Osi(ESIS)),
    ("es-is", Proto::Osi(ESIS)),
    ("isis", Proto::Osi(ISIS)),
    ("is-is", Proto::Osi(ISIS)),
    // Types of IS-IS packets, in the order in which libpcap tests them (ISO/IEC 10589 §9).
    ("l1", Proto::Isis(&[26, 24, 18, 15, 17])),
    ("l2", Proto::Isis(&[27, 25, 20, 16, 17])),
    ("iih", Proto::Isis(&[17, 15, 16])),
    ("lsp", Proto::Isis(&[18, 20])),
    ("snp", Proto::Isis(&[27, 26, 24, 25])),
    ("csnp", Proto::Isis(&[24, 25])),
    ("psnp", Proto::Isis(&[26, 27])),
];

/// The protocol that a word names.
pub fn proto(word: &str) -> Option<Proto> {
    TABLE.iter().find(|(known, _)| *known == word).map(|(_, proto)| *proto)
}

/// Keywords that are no protocols.
const KEYWORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "src",
    "dst",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "protochain",
    "less",
    "greater",
    "byte",
    "broadcast",
    "multicast",
    "len",
    "length",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "llc",
    "rnr",
];

/// Why a card has no use for a word of tcpdump's language.
const REFUSED: &[(&[&str], &str)] = &[
    (&["inbound", "outbound"], "a card captures what comes in, and nothing else"),
    (&["ifindex", "ifname", "on"], "the frames of one card are captured, named with --device"),
    (&["fddi", "tr", "wlan", "ppp", "slip"], "the frames are of Ethernet; use 'ether'"),
    (
        &[
            "type",
            "subtype",
            "dir",
            "direction",
            "addr1",
            "addr2",
            "addr3",
            "addr4",
            "address1",
            "address2",
            "address3",
            "address4",
            "ra",
            "ta",
            "radio",
        ],
        "it is of Wi-Fi, and the frames are of Ethernet",
    ),
    (
        &["rset", "ruleset", "rulenum", "srnr", "subrulenum", "reason", "action"],
        "it is of OpenBSD's packet filter, and the frames are a card's",
    ),
    (
        &[
            "lane",
            "metac",
            "bcc",
            "oam",
            "oamf4",
            "oamf4ec",
            "oamf4sc",
            "sc",
            "ilmic",
            "vpi",
            "vci",
            "connectmsg",
            "metaconnect",
        ],
        "it is of ATM, and the frames are of Ethernet",
    ),
    (
        &[
            "fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu", "sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc",
            "hsls",
        ],
        "it is of SS7, and the frames are of Ethernet",
    ),
    (&["gateway"], "it asks for both addresses of a host by its name; use 'ether host MAC and not host ADDRESS'"),
];

/// Why a word of tcpdump's language is refused.
pub fn refused(word: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(words, _)| words.contains(&word)).map(|(_, reason)| *reason)
}

/// Whether a word is the language's, and no name unless a backslash stands before it.
pub fn keyword(word: &str) -> bool {
    KEYWORDS.contains(&word) || proto(word).is_some() || refused(word).is_some()
}
