//! Headers of a template, and where their fields are.
//!
//! Offsets are in bits from the header's first, the highest bit of a byte being the first, as
//! their specifications draw them. Each header is a whole number of 16-bit words.

use super::super::usage;
use crate::error::Result;
use crate::packet::parse::ethertype;
use crate::packet::values::{Ips, Macs, Ports, TEST_V4, TEST_V6, Values, VlanIds, numbers};

/// How the values of a field are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Number,
    Port,
    VlanId,
    Mac,
    V4,
    V6,
}

/// A field of a header.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: &'static str,
    /// Its first bit, and how many it has.
    pub(super) bit: usize,
    pub(super) bits: u32,
    pub(super) form: Form,
    /// What it is if nothing is said.
    pub(super) usual: u128,
}

/// What a header is to those around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ethernet,
    Vlan,
    Mpls,
    Ipv4,
    Ipv6,
    Udp,
    Tcp,
    Icmp,
    Icmp6,
    Vxlan,
    Geneve,
    Gre,
}

/// A header without options.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Bytes.
    pub(super) len: usize,
    pub(super) places: &'static [Place],
}

const fn n(name: &'static str, bit: usize, bits: u32, usual: u128) -> Place {
    Place { name, bit, bits, form: Form::Number, usual }
}

const fn a(name: &'static str, bit: usize, form: Form, usual: u128) -> Place {
    let bits = match form {
        Form::Mac => 48,
        Form::V6 => 128,
        Form::VlanId => 12,
        Form::Port => 16,
        Form::V4 | Form::Number => 32,
    };
    Place { name, bit, bits, form, usual }
}

/// The addresses that frames have without a template, 198.18.0.1 and 198.19.0.1, 2001:2::1 and
/// 2001:2::1:1.
const V4: u128 = TEST_V4.0.to_bits() as u128;
const V6: u128 = TEST_V6.to_bits();

/// All that are known: IEEE 802.3, 802.1Q; RFC 3032, 791, 8200, 768, 9293, 792, 4443, 7348, 8926,
/// 2784.
pub(super) static HEADERS: [Header; 12] = [
    Header {
        name: "eth",
        kind: Kind::Ethernet,
        len: 14,
        places: &[
            a("dst", 0, Form::Mac, 0x0200_0000_0002),
            a("src", 48, Form::Mac, 0x0200_0000_0001),
            n("type", 96, 16, 0),
        ],
    },
    Header {
        name: "vlan",
        kind: Kind::Vlan,
        len: 4,
        places: &[n("priority", 0, 3, 0), n("dei", 3, 1, 0), a("id", 4, Form::VlanId, 1), n("type", 16, 16, 0)],
    },
    Header {
        name: "mpls",
        kind: Kind::Mpls,
        len: 4,
        places: &[n("label", 0, 20, 16), n("tc", 20, 3, 0), n("bottom", 23, 1, 1), n("ttl", 24, 8, 64)],
    },
    Header {
        name: "ipv4",
        kind: Kind::Ipv4,
        len: 20,
        places: &[
            n("version", 0, 4, 4),
            n("ihl", 4, 4, 5),
            n("tos", 8, 8, 0),
            n("length", 16, 16, 0),
            n("id", 32, 16, 0),
            n("flags", 48, 3, 2),
            n("offset", 51, 13, 0),
            n("ttl", 64, 8, 64),
            n("proto", 72, 8, 0),
            n("checksum", 80, 16, 0),
            a("src", 96, Form::V4, V4 + 1),
            a("dst", 128, Form::V4, V4 + 0x1_0001),
        ],
    },
    Header {
        name: "ipv6",
        kind: Kind::Ipv6,
        len: 40,
        places: &[
            n("version", 0, 4, 6),
            n("tos", 4, 8, 0),
            n("label", 12, 20, 0),
            n("length", 32, 16, 0),
            n("proto", 48, 8, 0),
            n("ttl", 56, 8, 64),
            a("src", 64, Form::V6, V6 + 1),
            a("dst", 192, Form::V6, V6 + 0x1_0001),
        ],
    },
    Header {
        name: "udp",
        kind: Kind::Udp,
        len: 8,
        places: &[
            a("sport", 0, Form::Port, 9),
            a("dport", 16, Form::Port, 9),
            n("length", 32, 16, 0),
            n("checksum", 48, 16, 0),
        ],
    },
    Header {
        name: "tcp",
        kind: Kind::Tcp,
        len: 20,
        places: &[
            a("sport", 0, Form::Port, 9),
            a("dport", 16, Form::Port, 9),
            n("seq", 32, 32, 0),
            n("ack", 64, 32, 0),
            n("offset", 96, 4, 5),
            n("flags", 104, 8, 0x10),
            n("window", 112, 16, 0x2000),
            n("checksum", 128, 16, 0),
            n("urgent", 144, 16, 0),
        ],
    },
    Header {
        name: "icmp",
        kind: Kind::Icmp,
        len: 8,
        places: &[
            n("type", 0, 8, 8),
            n("code", 8, 8, 0),
            n("checksum", 16, 16, 0),
            n("id", 32, 16, 9),
            n("seq", 48, 16, 0),
        ],
    },
    Header {
        name: "icmp6",
        kind: Kind::Icmp6,
        len: 8,
        places: &[
            n("type", 0, 8, 128),
            n("code", 8, 8, 0),
            n("checksum", 16, 16, 0),
            n("id", 32, 16, 9),
            n("seq", 48, 16, 0),
        ],
    },
    Header { name: "vxlan", kind: Kind::Vxlan, len: 8, places: &[n("flags", 0, 8, 8), n("vni", 32, 24, 1)] },
    Header {
        name: "geneve",
        kind: Kind::Geneve,
        len: 8,
        places: &[n("flags", 0, 16, 0), n("type", 16, 16, 0), n("vni", 32, 24, 1)],
    },
    Header { name: "gre", kind: Kind::Gre, len: 4, places: &[n("flags", 0, 16, 0), n("type", 16, 16, 0)] },
];

impl Header {
    /// The one of a name.
    pub(super) fn named(name: &str) -> Option<&'static Header> {
        HEADERS.iter().find(|header| header.name == name)
    }

    /// The field of a name.
    pub(super) fn place(&self, name: &str) -> Option<&'static Place> {
        self.places.iter().find(|place| place.name == name)
    }
}

impl Place {
    /// Reads its values: a number, an address, or a range of them, as the options have them.
    pub(super) fn read(&self, text: &str) -> Result<Values> {
        let other = || usage(format!("'{text}' is an address of another family"));
        match self.form {
            Form::Number => numbers(text, self.bits),
            Form::Port => text.parse().map(|Ports(values)| values),
            Form::VlanId => text.parse().map(|VlanIds(values)| values),
            Form::Mac => text.parse().map(|Macs(values)| values),
            Form::V4 | Form::V6 => match (text.parse()?, self.form) {
                (Ips::V4(values), Form::V4) | (Ips::V6(values), Form::V6) => Ok(values),
                (Ips::Rand, form) => Ok(Ips::random(form == Form::V6)),
                _ => Err(other()),
            },
        }
    }
}

/// The field in which a header names the one behind it, and what it says; none where that
/// cannot be behind it.
pub(super) fn next(outer: Kind, inner: Kind) -> Option<(&'static str, u128)> {
    let ethertype = match inner {
        Kind::Vlan => ethertype::VLAN,
        Kind::Mpls => 0x8847,
        Kind::Ipv4 => ethertype::IPV4,
        Kind::Ipv6 => ethertype::IPV6,
        Kind::Ethernet => 0x6558,
        _ => 0,
    };
    // IANA's numbers of protocols, and of ports: RFC 7348, 8926, 7510.
    let protocol = match inner {
        Kind::Icmp => 1,
        Kind::Ipv4 => 4,
        Kind::Tcp => 6,
        Kind::Udp => 17,
        Kind::Ipv6 => 41,
        Kind::Gre => 47,
        Kind::Icmp6 => 58,
        Kind::Mpls => 137,
        Kind::Ethernet => 143,
        _ => 0,
    };
    let port = match inner {
        Kind::Vxlan => 4789,
        Kind::Geneve => 6081,
        Kind::Mpls => 6635,
        _ => 0,
    };
    let (field, number) = match (outer, inner) {
        (Kind::Ethernet | Kind::Vlan, Kind::Ethernet) | (Kind::Geneve | Kind::Gre, Kind::Vlan) => return None,
        (Kind::Ethernet | Kind::Vlan | Kind::Geneve | Kind::Gre, _) => ("type", ethertype),
        (Kind::Ipv4 | Kind::Ipv6, _) => ("proto", protocol),
        (Kind::Udp, _) => ("dport", port),
        // These do not say what is behind them: of VXLAN it is Ethernet, of MPLS the label says it
        // to those who know it, and the last one that it is the last (RFC 3032 §2.1).
        (Kind::Vxlan, Kind::Ethernet) => ("flags", 8),
        (Kind::Mpls, Kind::Mpls) => return Some(("bottom", 0)),
        (Kind::Mpls, Kind::Ipv4 | Kind::Ipv6 | Kind::Ethernet) => ("bottom", 1),
        _ => return None,
    };
    (number != 0).then_some((field, number.into()))
}
