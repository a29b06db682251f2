//! Answers to those who look for an address: ARP, neighbour discovery, ping.
//!
//! ```text
//!   who has 198.18.0.1?          ->  198.18.0.1 is at our address     RFC 826
//!   neighbour solicitation       ->  neighbour advertisement          RFC 4861 §7.2.4
//!   echo request                 ->  echo reply                       RFC 792, RFC 4443 §4.2
//! ```
//!
//! Only for addresses that are ours; how the first and the last are answered is
//! [`turn::answer`]'s.

use super::build::Recipe;
use super::parse::{Ip, ethertype, parse};
use super::turn::{self, ICMP6};
use super::values::{Ips, TEST_V4, TEST_V6, Values};
use crate::net::{MacAddr, Sum};
use std::net::{IpAddr, Ipv6Addr};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Who has an IPv4 address.
    Arp,
    /// Who has an IPv6 address.
    Neighbour,
    /// Whether anybody is there.
    Ping,
}

/// The hop limit that neighbour discovery must have: no router passed it on (RFC 4861 §7.1).
const LINK_ONLY: u8 = 255;

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Responder {
    mac: MacAddr,
    v4: Option<Values>,
    v6: Option<Values>,
}

impl Responder {
    /// For the source addresses of a recipe, all at `mac`, or at the recipe's source address
    /// if that is one. IPv4 where it names none.
    pub fn new(recipe: &Recipe, mac: MacAddr) -> Self {
        let is_v6 = |ips| matches!(ips, Some(Ips::V6(_)));
        let v6 = is_v6(recipe.source) || is_v6(recipe.destination);
        let values = match recipe.source {
            Some(Ips::V4(values) | Ips::V6(values)) => values,
            Some(Ips::Rand) => Ips::random(v6),
            None if v6 => Values::one(u128::from(TEST_V6) + 1),
            None => Values::one(u128::from(u32::from(TEST_V4.0)) + 1),
        };
        let (v4, v6) = if v6 { (None, Some(values)) } else { (Some(values), None) };
        let own = recipe.source_mac.0;
        let [_, _, _, _, _, _, _, _, _, _, one @ ..] = own.first.to_be_bytes();
        Responder { mac: if own.is_constant() { MacAddr(one) } else { mac }, v4, v6 }
    }

    /// Puts the answer to `frame` into `out`; none if it asks nothing of us.
    pub fn answer(&self, frame: &[u8], out: &mut Vec<u8>) -> Option<Asked> {
        out.clear();
        let parsed = parse(frame)?;
        let (asked, address) = match (parsed.arp, parsed.ip) {
            (Some(arp), _) => (Asked::Arp, arp.target.into()),
            (_, Some(Ip { ttl: LINK_ONLY, protocol: ICMP6, .. })) if self.advertise(frame, out).is_some() => {
                return Some(Asked::Neighbour);
            }
            (_, Some(ip)) => (Asked::Ping, ip.destination),
            _ => return None,
        };
        if !self.has(address) {
            return None;
        }
        out.extend_from_slice(frame);
        turn::answer(out, self.mac).then_some(asked)
    }

    /// Whether an address is ours.
    fn has(&self, address: IpAddr) -> bool {
        let (values, value, bits) = match address {
            IpAddr::V4(address) => (self.v4, u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (self.v6, address.into(), 128),
        };
        values.is_some_and(|Values { first, span, step }| {
            let offset = value.wrapping_sub(first) & (u128::MAX >> (128 - bits));
            offset <= span && step.is_none_or(|step| offset.is_multiple_of(step))
        })
    }

    /// Answers a neighbour solicitation for an address of ours. It goes to everybody if it is
    /// not known who asks, as of one that looks whether its own address is free (RFC 4861
    /// §7.2.4).
    fn advertise(&self, frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
        const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let (ethertype::IPV6, at) = turn::network(frame)? else { return None };
        let header: &[u8; 40] = frame[at..].first_chunk()?;
        let message = frame[at..].get(40..40 + usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        let [135, 0, ..] = message else { return None };
        let [from, to] = [8, 24].map(|at| address(header, at));
        let target = address(message, 8)?;
        let is_whole = pseudo(from?, to?, message.len()).and(Sum::of(message)).fold() == 0xffff;
        if header[6] != ICMP6 || !is_whole || !self.has(target.into()) {
            return None;
        }
        let (to, flags) = match from? {
            nobody if nobody.is_unspecified() => (ALL_NODES, 0x20),
            from => (from, 0x60),
        };
        let asker: [u8; 6] = if to == ALL_NODES { [0x33, 0x33, 0, 0, 0, 1] } else { *frame[6..].first_chunk()? };
        // With its tags.
        out.extend(asker.iter().chain(&self.mac.0).chain(&frame[12..at]));
        out.extend([0x60, 0, 0, 0, 0, 32, ICMP6, LINK_ONLY].iter().chain(&target.octets()).chain(&to.octets()));
        let start = out.len();
        out.extend([136, 0, 0, 0, flags, 0, 0, 0].iter().chain(&target.octets()).chain(&[2, 1]).chain(&self.mac.0));
        let sum = pseudo(target, to, 32).and(Sum::of(&out[start..])).checksum();
        out[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
        Some(())
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?))
}

/// The pseudo-header of an ICMPv6 message (RFC 8200 §8.1).
fn pseudo(from: Ipv6Addr, to: Ipv6Addr, len: usize) -> Sum {
    Sum::of(&from.octets()).and(Sum::of(&to.octets())).and_number(len as u64).and_number(ICMP6.into())
}

#[cfg(test)]
mod tests {
    use super::super::build::{Builder, Proto};
    use super::super::values::Macs;
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    /// Who sends from these addresses.
    fn responder(source: &str) -> Responder {
        let source_mac = "02:00:00:00:00:09".parse().unwrap();
        Responder::new(&Recipe { source: Some(source.parse().unwrap()), source_mac, ..Recipe::default() }, OWN)
    }

    fn asks(proto: Proto, to: &str, more: Recipe) -> Vec<u8> {
        let everybody = Macs::one(MacAddr([0xff; 6]));
        let destination_mac = if proto == Proto::Arp { everybody } else { more.destination_mac };
        let recipe = Recipe { proto, destination: Some(to.parse().unwrap()), destination_mac, ..more };
        let mut builder = Builder::new(&recipe).unwrap();
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 7);
        frame
    }

    /// A solicitation for `target`, made by hand (RFC 4861 §4.3).
    fn solicits(from: &str, target: &str) -> Vec<u8> {
        let [from, target]: [Ipv6Addr; 2] = [from, target].map(|text| text.parse().unwrap());
        let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
        group[13..].copy_from_slice(&target.octets()[13..]);
        let mut frame = vec![0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255];
        frame.extend(from.octets().iter().chain(&group).chain(&[135, 0, 0, 0, 0, 0, 0, 0]).chain(&target.octets()));
        let sum = pseudo(from, group.into(), 24).and(Sum::of(&frame[54..])).checksum();
        frame[56..58].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn who_has_an_address_of_ours_is_told() {
        let mut out = Vec::new();
        for (ours, asked, answers) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/24", "10.0.0.254", true),
            ("10.0.0.0/24", "10.0.0.255", false),
            ("10.0.0.1-10.0.0.9/4", "10.0.0.5", true),
            ("10.0.0.1-10.0.0.9/4", "10.0.0.6", false),
            ("255.255.255.255-0.0.0.1", "0.0.0.1", true),
            ("rand", "198.19.255.255", true),
        ] {
            for vlans in ["7", "7.8"] {
                let frame = asks(Proto::Arp, asked, Recipe { vlans: vlans.parse().unwrap(), ..Recipe::default() });
                let asked_of_us = responder(ours).answer(&frame, &mut out);
                assert_eq!(asked_of_us, answers.then_some(Asked::Arp), "{ours}, {asked}");
                if !answers {
                    continue;
                }
                let packet = SlicedPacket::from_ethernet(&out).unwrap();
                let Some(NetSlice::Arp(arp)) = packet.net else { panic!() };
                assert_eq!((arp.sender_hw_addr(), arp.target_hw_addr()), (&OWN.0[..], &[2, 0, 0, 0, 0, 1][..]));
                let address: Ipv4Addr = asked.parse().unwrap();
                assert_eq!(
                    (arp.sender_protocol_addr(), arp.target_protocol_addr()),
                    (&address.octets()[..], &[198, 18, 0, 1][..])
                );
                assert_eq!((&out[..6], &out[6..12], arp.operation().0), (&[2, 0, 0, 0, 0, 1][..], &OWN.0[..], 2));
                assert_eq!(out[12..14 + 4 * vlans.split('.').count()], frame[12..14 + 4 * vlans.split('.').count()]);
            }
        }
    }

    #[test]
    fn a_ping_comes_back_with_its_payload() {
        let mut out = Vec::new();
        for (ours, other) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            for size in ["70", "71", "1500"] {
                let more = Recipe { sizes: size.parse().unwrap(), ..Recipe::default() };
                let frame = asks(Proto::Icmp, ours, more);
                assert_eq!(responder(ours).answer(&frame, &mut out), Some(Asked::Ping));
                assert_eq!(out.len(), frame.len());
                let [sent, got] = [&frame, &out].map(|frame| SlicedPacket::from_ethernet(frame).unwrap());
                match (sent.transport.unwrap(), got.transport.unwrap(), got.net.unwrap()) {
                    (TransportSlice::Icmpv4(sent), TransportSlice::Icmpv4(got), NetSlice::Ipv4(ip)) => {
                        let header = ip.header().to_header();
                        assert_eq!((header.header_checksum, got.type_u8()), (header.calc_header_checksum(), 0));
                        let mut again = got.header();
                        again.update_checksum(got.payload());
                        assert_eq!((again, got.payload()), (got.header(), sent.payload()));
                    }
                    (TransportSlice::Icmpv6(sent), TransportSlice::Icmpv6(got), NetSlice::Ipv6(ip)) => {
                        let ip = ip.header().to_header();
                        assert!(got.is_checksum_valid(ip.source, ip.destination) && got.type_u8() == 129);
                        assert_eq!(got.payload(), sent.payload());
                    }
                    _ => panic!("{ours}"),
                }
                assert_eq!(responder(other).answer(&frame, &mut Vec::new()), None, "another's address");
            }
        }
    }

    #[test]
    fn who_looks_for_a_neighbour_is_told_and_all_are_if_it_has_no_address() {
        let mut out = Vec::new();
        let ours = responder("2001:db8::/120");
        for (from, to) in [("fe80::1", "fe80::1"), ("::", "ff02::1")] {
            let frame = solicits(from, "2001:db8::7");
            assert_eq!(ours.answer(&frame, &mut out), Some(Asked::Neighbour));
            let packet = SlicedPacket::from_ethernet(&out).unwrap();
            let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (packet.net, packet.transport) else {
                panic!()
            };
            let ip = ip.header().to_header();
            assert_eq!((Ipv6Addr::from(ip.destination).to_string(), ip.hop_limit), (to.into(), 255));
            assert!(icmp.is_checksum_valid(ip.source, ip.destination));
            assert_eq!((icmp.type_u8(), &out[58..59]), (136, if from == "::" { &[0x20][..] } else { &[0x60] }));
            assert_eq!((&out[62..78], &out[78..86]), (&frame[62..78], &[2, 1, 2, 0, 0, 0, 0, 9][..]));
        }
        assert_eq!(ours.answer(&solicits("fe80::1", "2001:db8::100"), &mut out), None);
        let mut spoiled = solicits("fe80::1", "2001:db8::7");
        spoiled[60] ^= 1;
        assert_eq!(ours.answer(&spoiled, &mut out), None, "its checksum is wrong");
        let mut routed = solicits("fe80::1", "2001:db8::7");
        routed[21] = 254;
        assert_eq!(ours.answer(&routed, &mut out), None, "it came from another network");
    }

    proptest! {
        #[test]
        fn no_frame_is_too_odd_to_be_left_alone(kind in 0..4_usize, cut in 0..120_usize, changes in prop::collection::vec((12..90_usize, any::<u8>()), 0..4)) {
            let mut frame = match kind {
                0 => asks(Proto::Arp, "10.0.0.1", Recipe::default()),
                1 => asks(Proto::Icmp, "10.0.0.1", Recipe::default()),
                2 => asks(Proto::Icmp, "2001:db8::1", Recipe::default()),
                _ => solicits("fe80::1", "2001:db8::1"),
            };
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            frame.truncate(cut);
            let mut out = Vec::new();
            for ours in ["rand", "10.0.0.0/8", "2001:db8::/64"] {
                if responder(ours).answer(&frame, &mut out).is_some() {
                    prop_assert!(out.len() == frame.len() || out.len() > 78);
                }
            }
        }
    }
}
