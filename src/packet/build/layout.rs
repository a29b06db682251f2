//! Where things are in a frame, and what of it does not change.

use super::field::{Covered, Field};
use super::{Bytes, Proto, Recipe, Sizes, Template, usage};
use crate::error::Result;
use crate::net::Sum;
use crate::packet::parse::ethertype;
use crate::packet::values::{Ips, TEST_V4, TEST_V6, Values};
use std::net::Ipv6Addr;

/// What is behind the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ip {
    V4,
    V6,
    /// An ARP packet, which has addresses too.
    Arp,
    None,
}

/// Where things are in a frame.
pub(super) struct Layout {
    pub(super) proto: Proto,
    pub(super) ip: Ip,
    pub(super) l3: usize,
    pub(super) l4: usize,
    pub(super) payload: usize,
}

impl Layout {
    pub(super) fn new(recipe: &Recipe, v6: bool) -> Self {
        let ip = match (recipe.proto, v6) {
            (Proto::Arp, _) => Ip::Arp,
            (Proto::Raw, _) => Ip::None,
            (_, true) => Ip::V6,
            (_, false) => Ip::V4,
        };
        let l3 = 14 + 4 * recipe.vlans.tags.len();
        let l4 = l3 + if ip == Ip::V6 { 40 } else { 20 };
        let payload = match recipe.proto {
            Proto::Udp | Proto::Icmp => l4 + 8,
            Proto::Tcp => l4 + 20,
            Proto::Arp => l3 + 28,
            Proto::Raw => l3,
        };
        Layout { proto: recipe.proto, ip, l3, l4, payload }
    }

    /// Refuses fields that these frames do not have.
    pub(super) fn check(&self, recipe: &Recipe) -> Result<()> {
        let is_ip = matches!(self.ip, Ip::V4 | Ip::V6);
        let line = match recipe {
            _ if !is_ip && recipe.tos.0 != 0 => {
                "these frames have no IP header for DSCP and ECN; ask for UDP, TCP or ICMP"
            }
            _ if self.proto == Proto::Raw && (recipe.source.is_some() || recipe.destination.is_some()) => {
                "raw frames have no IP addresses; write them into the payload, or ask for UDP, TCP or ICMP"
            }
            _ if self.ip == Ip::V6 && recipe.wrong.ip => {
                "an IPv6 header has no checksum that could be wrong; ask for that of the transport, l4"
            }
            _ if !is_ip && (recipe.wrong.ip || recipe.wrong.l4) => {
                "these frames have no checksum that could be wrong; ask for UDP, TCP or ICMP"
            }
            _ if self.proto == Proto::Arp && recipe.data.is_some() => {
                "an ARP request has no payload; ask for raw frames to write one of your own"
            }
            _ => return Ok(()),
        };
        Err(usage(line.into()))
    }

    pub(super) fn addresses(&self, recipe: &Recipe) -> (Values, Values) {
        let v6 = self.ip == Ip::V6;
        let pick = |ips: Option<Ips>, host: u128| match ips {
            Some(Ips::V4(values) | Ips::V6(values)) => values,
            Some(Ips::Rand) => Ips::random(v6),
            // 198.18.0.1 and 198.19.0.1; 2001:2::1 and 2001:2::1:1.
            None if v6 => Values::one(u128::from(TEST_V6) + host),
            None => Values::one(u128::from(u32::from(TEST_V4.0)) + host),
        };
        (pick(recipe.source, 1), pick(recipe.destination, 0x1_0001))
    }

    pub(super) fn l4_checksum(&self) -> Option<usize> {
        match self.proto {
            Proto::Udp => Some(self.l4 + 6),
            Proto::Tcp => Some(self.l4 + 16),
            Proto::Icmp => Some(self.l4 + 2),
            Proto::Arp | Proto::Raw => None,
        }
    }

    /// Where the two addresses begin.
    fn address_offsets(&self) -> (usize, usize) {
        match self.ip {
            Ip::V4 => (self.l3 + 12, self.l3 + 16),
            Ip::V6 => (self.l3 + 8, self.l3 + 24),
            Ip::Arp => (self.l3 + 14, self.l3 + 24),
            Ip::None => (self.l3, self.l3),
        }
    }

    /// Bytes of an address.
    fn width(&self) -> usize {
        match self.ip {
            Ip::V6 => 16,
            Ip::V4 | Ip::Arp => 4,
            Ip::None => 0,
        }
    }

    /// A frame of `len` bytes. What changes in it is left zero.
    pub(super) fn template(&self, recipe: &Recipe, len: usize, source: Values, destination: Values) -> Template {
        let mut frame = vec![0; len];
        // Where the packet ends; behind it is padding.
        let mut end = len;
        if let Some(Bytes(data)) = &recipe.data {
            frame[self.payload..self.payload + data.len()].copy_from_slice(data);
            if recipe.sizes == Sizes::Shortest {
                end = self.payload + data.len();
            }
        }
        constant_mac(&mut frame[0..6], recipe.destination_mac.0);
        constant_mac(&mut frame[6..12], recipe.source_mac.0);
        let kind = match self.ip {
            Ip::V4 => ethertype::IPV4,
            Ip::V6 => ethertype::IPV6,
            Ip::Arp => ethertype::ARP,
            Ip::None => recipe.ethertype.0,
        };
        for (tag, at) in recipe.vlans.tags.iter().zip((12..).step_by(4)) {
            let tpid = if at == 12 { recipe.vlans.first_type() } else { ethertype::VLAN };
            frame[at..at + 2].copy_from_slice(&tpid.to_be_bytes());
            let values = tag.values();
            if values.is_constant() {
                frame[at + 2..at + 4].copy_from_slice(&(values.first as u16).to_be_bytes());
            }
        }
        frame[self.l3 - 2..self.l3].copy_from_slice(&kind.to_be_bytes());

        let (from, to) = self.address_offsets();
        let width = self.width();
        constant_ip(&mut frame[from..from + width], source);
        constant_ip(&mut frame[to..to + width], destination);
        let l3 = &mut frame[self.l3..];
        match self.ip {
            Ip::V4 => {
                (l3[0], l3[1]) = (0x45, recipe.tos.0);
                l3[2..4].copy_from_slice(&((end - self.l3) as u16).to_be_bytes());
                // Don't fragment: the identification may then be zero (RFC 6864 §4.1).
                l3[6] = 0x40;
                l3[8] = recipe.ttl;
                l3[9] = self.next_header();
            }
            Ip::V6 => {
                (l3[0], l3[1]) = (0x60 | recipe.tos.0 >> 4, recipe.tos.0 << 4);
                l3[4..6].copy_from_slice(&((end - self.l4) as u16).to_be_bytes());
                l3[6] = self.next_header();
                l3[7] = recipe.ttl;
            }
            Ip::None => {}
            Ip::Arp => {
                // Ethernet, IPv4, lengths, request (RFC 826).
                l3[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
                constant_mac(&mut l3[8..14], recipe.source_mac.0);
            }
        }
        self.put_l4(recipe, &mut frame[..end]);
        let mut ip = if self.ip == Ip::V4 { Sum::of(&frame[self.l3..self.l4]) } else { Sum::default() };
        let mut l4 = Sum::default();
        if self.l4_checksum().is_some() {
            l4 = Sum::of(&frame[self.l4..]);
            if !(self.proto == Proto::Icmp && self.ip == Ip::V4) {
                // Pseudo-header (RFC 768, RFC 8200 §8.1).
                let length = (end - self.l4) as u64;
                l4 = l4.and(Sum::of(&frame[from..to + width]));
                l4 = l4.and_number(length).and_number(self.next_header().into());
            }
        }
        // One more is never the same in one's complement: a sum that is wrong in each frame.
        let wrong = |wrong: bool| Sum::default().and_number(wrong.into());
        (ip, l4) = (ip.and(wrong(recipe.wrong.ip)), l4.and(wrong(recipe.wrong.l4)));
        // What was given is left as it is.
        let payload = if recipe.data.is_some() { 0 } else { len - self.payload };
        Template { frame, ip, l4, payload }
    }

    fn next_header(&self) -> u8 {
        match (self.proto, self.ip) {
            (Proto::Udp, _) => 17,
            (Proto::Tcp, _) => 6,
            (_, Ip::V6) => 58,
            _ => 1,
        }
    }

    fn put_l4(&self, recipe: &Recipe, frame: &mut [u8]) {
        let length = (frame.len() - self.l4) as u16;
        let Some(l4) = frame.get_mut(self.l4..).filter(|_| self.l4_checksum().is_some()) else {
            return;
        };
        let ports =
            [recipe.source_port.0, recipe.destination_port.0].map(|v| if v.is_constant() { v.first as u16 } else { 0 });
        match self.proto {
            Proto::Udp => {
                l4[0..2].copy_from_slice(&ports[0].to_be_bytes());
                l4[2..4].copy_from_slice(&ports[1].to_be_bytes());
                l4[4..6].copy_from_slice(&length.to_be_bytes());
            }
            Proto::Tcp => {
                l4[0..2].copy_from_slice(&ports[0].to_be_bytes());
                l4[2..4].copy_from_slice(&ports[1].to_be_bytes());
                // Header of 5 words, flags, a window.
                l4[12..16].copy_from_slice(&[0x50, recipe.tcp_flags.0, 0x20, 0x00]);
            }
            Proto::Icmp => {
                // Echo request (RFC 792; RFC 4443 §4.1).
                l4[0] = if self.ip == Ip::V6 { 128 } else { 8 };
                l4[4..6].copy_from_slice(&ports[0].to_be_bytes());
            }
            Proto::Arp | Proto::Raw => {}
        }
    }

    /// The fields that change.
    pub(super) fn fields(&self, recipe: &Recipe, source: Values, destination: Values, out: &mut Vec<Field>) {
        let mut add = |values: Values, at: usize, bytes: usize, covered: Covered| {
            if values.is_constant() {
                return;
            }
            out.push(Field::new(values, at, bytes, covered));
        };
        let (from, to) = self.address_offsets();
        let (width, covered) = match (self.ip, self.proto) {
            (Ip::V6, _) => (16, Covered::L4),
            (Ip::V4, Proto::Icmp) => (4, Covered::Ip),
            (Ip::V4, _) => (4, Covered::Both),
            (Ip::Arp | Ip::None, _) => (4, Covered::Neither),
        };
        add(recipe.destination_mac.0, 0, 6, Covered::Neither);
        add(recipe.source_mac.0, 6, 6, Covered::Neither);
        add(source, from, width, covered);
        add(destination, to, width, covered);
        match self.proto {
            Proto::Udp | Proto::Tcp => {
                add(recipe.source_port.0, self.l4, 2, Covered::L4);
                add(recipe.destination_port.0, self.l4 + 2, 2, Covered::L4);
            }
            Proto::Icmp => add(recipe.source_port.0, self.l4 + 4, 2, Covered::L4),
            Proto::Arp | Proto::Raw => {}
        }
        for (tag, at) in recipe.vlans.tags.iter().zip((14..).step_by(4)) {
            add(tag.values(), at, 2, Covered::Neither);
        }
        if self.proto == Proto::Arp {
            // The sender's address is told twice.
            out.iter_mut().filter(|field| field.at == 6).for_each(|field| field.again = Some(self.l3 + 8));
        }
    }
}

/// Puts a MAC in place if it never changes.
fn constant_mac(place: &mut [u8], values: Values) {
    if values.is_constant() {
        place.copy_from_slice(&values.first.to_be_bytes()[10..]);
    }
}

/// Puts an address in place if it never changes; of an IPv6 range, the half that
/// does not. Of a range that is wide there is none.
fn constant_ip(place: &mut [u8], values: Values) {
    let bytes = values.first.to_be_bytes();
    if values.is_constant() {
        place.copy_from_slice(&bytes[16 - place.len()..]);
    } else if place.len() == 16 && !values.is_wide() {
        place[..8].copy_from_slice(&Ipv6Addr::from(values.first).octets()[..8]);
    }
}
