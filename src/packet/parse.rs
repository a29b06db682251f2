//! Where things are in a frame, and one line about it.
//!
//! Only what commands need: tags, network addresses, ports, payload. A frame is
//! what came off a wire: every length in it is checked against what is there,
//! and a header that is cut short is simply not reported.

use crate::net::MacAddr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// EtherTypes that are read.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Reverse ARP.
    pub const RARP: u16 = 0x8035;
    /// VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Outer VLAN tag (IEEE 802.1ad).
    pub const QINQ: u16 = 0x88a8;
    /// Outer VLAN tag as some switches write it.
    pub const QINQ_OLD: u16 = 0x9100;

    /// Whether a VLAN tag follows.
    pub fn is_vlan(ethertype: u16) -> bool {
        matches!(ethertype, VLAN | QINQ | QINQ_OLD)
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Destination address.
    pub destination_mac: MacAddr,
    /// Source address.
    pub source_mac: MacAddr,
    /// Identifier of the outermost VLAN tag.
    pub vlan: Option<u16>,
    /// That of the tag within it.
    pub inner_vlan: Option<u16>,
    /// EtherType behind all tags.
    pub ethertype: u16,
    /// Network header.
    pub ip: Option<Ip>,
    /// ARP.
    pub arp: Option<Arp>,
    /// Ports of UDP, TCP and SCTP, source first.
    pub ports: Option<(u16, u16)>,
    /// Where the payload of the innermost header that was read begins.
    pub payload: usize,
}

/// An IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// Protocol, or next header.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// A later fragment, without a transport header.
    pub later_fragment: bool,
}

/// An ARP packet for IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 is a request, 2 a reply.
    pub operation: u16,
    /// Address of the sender.
    pub sender: Ipv4Addr,
    /// Address asked for, or told.
    pub target: Ipv4Addr,
}

/// Reads the headers of a frame; `None` if it has not even an Ethernet header.
pub fn parse(frame: &[u8]) -> Option<Parsed> {
    let mut parsed = Parsed {
        destination_mac: MacAddr(*frame.first_chunk()?),
        source_mac: MacAddr(*frame.get(6..)?.first_chunk()?),
        vlan: None,
        inner_vlan: None,
        ethertype: word(frame, 12)?,
        ip: None,
        arp: None,
        ports: None,
        payload: 14,
    };
    while ethertype::is_vlan(parsed.ethertype) {
        let (Some(tag), Some(inner)) = (word(frame, parsed.payload), word(frame, parsed.payload + 2)) else {
            return Some(parsed);
        };
        let id = Some(tag & 0xfff);
        match parsed.vlan {
            None => parsed.vlan = id,
            Some(_) => parsed.inner_vlan = parsed.inner_vlan.or(id),
        }
        parsed.ethertype = inner;
        parsed.payload += 4;
    }
    match parsed.ethertype {
        ethertype::IPV4 => ipv4(frame, &mut parsed),
        ethertype::IPV6 => ipv6(frame, &mut parsed),
        ethertype::ARP => arp(frame, &mut parsed),
        _ => None,
    };
    Some(parsed)
}

fn ipv4(frame: &[u8], parsed: &mut Parsed) -> Option<()> {
    let header: &[u8; 20] = frame.get(parsed.payload..)?.first_chunk()?;
    let len = usize::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4 || len < 20 {
        return None;
    }
    let later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    parsed.ip = Some(Ip {
        source: IpAddr::from([header[12], header[13], header[14], header[15]]),
        destination: IpAddr::from([header[16], header[17], header[18], header[19]]),
        protocol: header[9],
        ttl: header[8],
        later_fragment,
    });
    parsed.payload = (parsed.payload + len).min(frame.len());
    if later_fragment { None } else { transport(frame, header[9], parsed) }
}

fn ipv6(frame: &[u8], parsed: &mut Parsed) -> Option<()> {
    let header: &[u8; 40] = frame.get(parsed.payload..)?.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| header[at..].first_chunk::<16>().map(|a| IpAddr::V6(Ipv6Addr::from(*a)));
    parsed.ip = Some(Ip {
        source: address(8)?,
        destination: address(24)?,
        protocol: header[6],
        ttl: header[7],
        later_fragment: false,
    });
    parsed.payload += 40;
    transport(frame, header[6], parsed)
}

/// Ports, and the payload behind the transport header.
fn transport(frame: &[u8], protocol: u8, parsed: &mut Parsed) -> Option<()> {
    let at = parsed.payload;
    let len = match protocol {
        1 | 17 | 58 => 8,
        6 => usize::from(*frame.get(at + 12)? >> 4) * 4,
        132 => 12,
        _ => return None,
    };
    if matches!(protocol, 6 | 17 | 132) {
        parsed.ports = Some((word(frame, at)?, word(frame, at + 2)?));
    }
    parsed.payload = (at + len).min(frame.len());
    Some(())
}

fn arp(frame: &[u8], parsed: &mut Parsed) -> Option<()> {
    let body: &[u8; 28] = frame.get(parsed.payload..)?.first_chunk()?;
    // Ethernet and IPv4 with their lengths (RFC 826).
    if body[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let address = |at: usize| body[at..].first_chunk::<4>().map(|a| Ipv4Addr::from(*a));
    parsed.arp =
        Some(Arp { operation: u16::from_be_bytes([body[6], body[7]]), sender: address(14)?, target: address(24)? });
    parsed.payload += 28;
    Some(())
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

impl fmt::Display for Parsed {
    /// `02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 7 198.18.0.1:9 > 198.19.0.1:9 udp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.source_mac, self.destination_mac)?;
        if let Some(vlan) = self.vlan {
            write!(f, " vlan {vlan}")?;
            if let Some(inner) = self.inner_vlan {
                write!(f, ".{inner}")?;
            }
        }
        if let Some(arp) = self.arp {
            return match arp.operation {
                1 => write!(f, " arp who has {} tell {}", arp.target, arp.sender),
                2 => write!(f, " arp {} is here", arp.sender),
                other => write!(f, " arp operation {other}"),
            };
        }
        let Some(ip) = self.ip else {
            return write!(f, " ethertype 0x{:04x}", self.ethertype);
        };
        match (self.ports, ip.source, ip.destination) {
            (Some((from, to)), IpAddr::V4(source), IpAddr::V4(destination)) => {
                write!(f, " {source}:{from} > {destination}:{to}")?;
            }
            (Some((from, to)), source, destination) => write!(f, " [{source}]:{from} > [{destination}]:{to}")?,
            (None, source, destination) => write!(f, " {source} > {destination}")?,
        }
        match ip.protocol {
            1 => f.write_str(" icmp"),
            6 => f.write_str(" tcp"),
            17 => f.write_str(" udp"),
            58 => f.write_str(" icmp6"),
            132 => f.write_str(" sctp"),
            other => write!(f, " proto {other}"),
        }?;
        if ip.later_fragment { f.write_str(" fragment") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build::{Builder, Proto, Recipe};
    use proptest::prelude::*;

    fn line(recipe: &Recipe) -> String {
        let mut builder = Builder::new(recipe).unwrap();
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 0);
        parse(&frame).unwrap().to_string()
    }

    #[test]
    fn a_frame_is_told_in_one_line() {
        let macs = "02:00:00:00:00:01 > 02:00:00:00:00:02";
        let base = Recipe::default();
        assert_eq!(line(&base), format!("{macs} 198.18.0.1:9 > 198.19.0.1:9 udp"));
        for vlans in ["7:7", "7:7.20"] {
            let tagged = Recipe { vlans: vlans.parse().unwrap(), proto: Proto::Tcp, ..base.clone() };
            let shown = vlans.replace(":7", "");
            assert_eq!(line(&tagged), format!("{macs} vlan {shown} 198.18.0.1:9 > 198.19.0.1:9 tcp"));
        }
        let v6 = Recipe { source: Some("2001:db8::1".parse().unwrap()), ..base.clone() };
        assert_eq!(line(&v6), format!("{macs} [2001:db8::1]:9 > [2001:2::1:1]:9 udp"));
        let arp = Recipe { proto: Proto::Arp, ..base };
        assert_eq!(line(&arp), format!("{macs} arp who has 198.19.0.1 tell 198.18.0.1"));
    }

    #[test]
    fn the_payload_begins_behind_the_innermost_header() {
        let recipe = Recipe { proto: Proto::Icmp, sizes: "200".parse().unwrap(), ..Recipe::default() };
        let mut builder = Builder::new(&recipe).unwrap();
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 5);
        let parsed = parse(&frame).unwrap();
        assert_eq!(parsed.payload, 42);
        assert_eq!(crate::packet::build::trailer(&frame, frame.len() - parsed.payload), (Some(0), Some(5)));
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_read_beyond_the_end(
            frame in prop::collection::vec(any::<u8>(), 0..120),
            ethertype in prop::sample::select(vec![0x0800_u16, 0x0806, 0x8100, 0x86dd, 0x9100]),
            version in 0x40_u8..0x70,
        ) {
            let mut frame = frame;
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
                frame[14] = version;
            }
            if let Some(parsed) = parse(&frame) {
                prop_assert!(parsed.payload <= frame.len());
                prop_assert!(!parsed.to_string().is_empty());
            }
        }
    }
}
