//! Frames from a recipe: templates, and what changes in them per packet.
//!
//! ```text
//!   | Ethernet | VLAN | IPv4, IPv6 or ARP | UDP, TCP or ICMP | zeros | trailer |
//!     ^ ^               ^                   ^                          ^
//!     +-+-- MACs        +-- addresses       +-- ports, checksum        |
//!                                                                      |
//!   trailer, as far as the payload has room for it, from its end:      |
//!     ... | time, 64 bit, big endian | sequence 63:32, LE | sequence 31:0, LE |
//! ```
//!
//! The last four bytes of a frame are the low half of its sequence number, little
//! endian: where ixy's generator puts it and ixy's tests look for it. Before them
//! is the high half, and before that the time of sending in nanoseconds since
//! 1970. [`trailer`] reads them back. A payload that is given has none.
//!
//! A [`Builder`] keeps one template for each length, and the sum of its headers
//! and payload without what changes. Writing a frame copies the template, stores
//! the fields that change, and folds their values into the kept sum: no walk over
//! the frame, no allocation.

mod field;
mod layout;
mod share;
mod sizes;
mod stack;
mod tag;
mod wide;
mod words;

use super::values::{Ips, Macs, Ports, Random, Values};
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::net::Sum;
use field::{Covered, Field};
use layout::{Ip, Layout};
use share::Share;
pub use sizes::{IMIX, Sizes};
use stack::Filler;
pub use stack::Stack;
use std::net::IpAddr;
pub use tag::{Tpid, Vlan, Vlans};
pub use words::{Bytes, Dscp, Ecn, Ethertype, TcpFlags, Tos};

/// Bytes of the frame check sequence, which sizes given by users include.
pub const FCS: usize = 4;
/// Shortest frame without FCS.
pub const MIN_FRAME: usize = 60;
/// Longest frame without FCS that every card here sends: the 82599's 15872 bytes less FCS.
pub const MAX_FRAME: usize = 15_868;

/// What to put into an Ethernet frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// UDP datagrams.
    #[default]
    Udp,
    /// TCP segments of no connection.
    Tcp,
    /// Echo requests: ICMP, or ICMPv6.
    Icmp,
    /// ARP requests for the destination address.
    Arp,
    /// Nothing but a payload behind the Ethernet header.
    Raw,
}

/// Which checksums are wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// That of the IPv4 header.
    pub ip: bool,
    /// That of UDP, TCP or ICMP.
    pub l4: bool,
}

/// What frames to make.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What is in them.
    pub proto: Proto,
    /// Their lengths.
    pub sizes: Sizes,
    /// Source Ethernet address.
    pub source_mac: Macs,
    /// Destination Ethernet address.
    pub destination_mac: Macs,
    /// Source IP address; `None` is the test network's.
    pub source: Option<Ips>,
    /// Destination IP address; `None` is the test network's.
    pub destination: Option<Ips>,
    /// Source port of UDP and TCP, identifier of ICMP.
    pub source_port: Ports,
    /// Destination port.
    pub destination_port: Ports,
    /// VLAN tags.
    pub vlans: Vlans,
    /// Time to live, hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: Tos,
    /// Flags of TCP.
    pub tcp_flags: TcpFlags,
    /// Type of what follows the Ethernet header, if that is [`Proto::Raw`].
    pub ethertype: Ethertype,
    /// What the payload is, in front of zeros; `None` is sequence number and time. Lengths of
    /// headers are those of the payload if [`Sizes::Shortest`] is asked for, and of the frame
    /// otherwise.
    pub data: Option<Bytes>,
    /// Checksums that are wrong.
    pub wrong: Wrong,
    /// Seed of whatever is random.
    pub seed: u64,
}

impl Default for Recipe {
    /// UDP from 198.18.0.1 to 198.19.0.1, the network that RFC 2544 sets aside,
    /// port 9 (discard), between locally administered Ethernet addresses.
    fn default() -> Self {
        Recipe {
            proto: Proto::Udp,
            sizes: Sizes::Shortest,
            source_mac: Macs::one(MacAddr([2, 0, 0, 0, 0, 1])),
            destination_mac: Macs::one(MacAddr([2, 0, 0, 0, 0, 2])),
            source: None,
            destination: None,
            source_port: Ports(Values::one(9)),
            destination_port: Ports(Values::one(9)),
            vlans: Vlans::default(),
            ttl: 64,
            tos: Tos::default(),
            tcp_flags: TcpFlags::ACK,
            ethertype: Ethertype::EXPERIMENTAL,
            data: None,
            wrong: Wrong::default(),
            seed: 1,
        }
    }
}

/// Makes frames.
#[derive(Clone, Debug)]
pub struct Builder {
    templates: Vec<Template>,
    /// Template of each frame, over and over.
    order: Vec<u32>,
    turn: usize,
    fields: Vec<Field>,
    random: Random,
    sequence: u64,
    share: Share,
    /// Where the IPv4 header checksum is.
    ip_checksum: Option<usize>,
    /// Where the transport checksum is.
    l4_checksum: Option<usize>,
    /// Where the sequence number of an echo request is.
    echo: Option<usize>,
    /// What fills in the checksums of a stack, instead.
    stack: Option<Box<Filler>>,
    /// A transport checksum of zero is sent as ones: UDP (RFC 768).
    udp: bool,
}

/// A frame of one length, all that changes being zero.
#[derive(Clone, Debug)]
struct Template {
    frame: Vec<u8>,
    ip: Sum,
    l4: Sum,
    /// Bytes of payload, for the trailer.
    payload: usize,
}

impl Builder {
    /// Lays the templates out.
    ///
    /// # Errors
    /// [`Kind::Usage`] if addresses of both families are asked for, a size is too
    /// short for its headers, ARP is asked for IPv6, or a field for a frame without it.
    pub fn new(recipe: &Recipe) -> Result<Self> {
        let v6 = family(recipe)?;
        let layout = Layout::new(recipe, v6);
        layout.check(recipe)?;
        let shortest = layout.payload + recipe.data.as_ref().map_or(4, |Bytes(data)| data.len());
        let least = MIN_FRAME.max(if recipe.data.is_some() { shortest } else { layout.payload });
        let (lengths, kinds) = recipe.sizes.lengths(shortest, least, recipe.data.is_some())?;
        let (source, destination) = layout.addresses(recipe);
        let mut fields = Vec::new();
        let templates = kinds.iter().map(|&len| layout.template(recipe, len, source, destination)).collect();
        layout.fields(recipe, source, destination, &mut fields);
        Ok(Builder {
            templates,
            order: order(&lengths, &kinds),
            turn: 0,
            fields,
            random: Random::new(recipe.seed),
            sequence: 0,
            share: Share::ALL,
            ip_checksum: (layout.ip == Ip::V4).then_some(layout.l3 + 10),
            l4_checksum: layout.l4_checksum(),
            echo: (layout.proto == Proto::Icmp).then_some(layout.l4 + 6),
            stack: None,
            udp: layout.proto == Proto::Udp,
        })
    }

    /// The same of a stack of headers, with `mac` as their source address if they say none.
    ///
    /// # Errors
    /// [`Kind::Usage`] if a size is too short for them.
    pub fn stacked(stack: &Stack, sizes: &Sizes, mac: Option<MacAddr>, seed: u64) -> Result<Self> {
        let stack = stack.clone().sent_from(mac);
        let given = stack.data.as_ref().map(|Bytes(data)| data.len());
        let shortest = stack.end() + given.unwrap_or(4);
        let least = MIN_FRAME.max(stack.end() + given.unwrap_or(0));
        let (lengths, kinds) = sizes.lengths(shortest, least, given.is_some())?;
        // Behind a payload that was given there may be padding.
        let end = |len: usize| if given.is_some() && *sizes == Sizes::Shortest { shortest } else { len };
        let (templates, sums) = kinds.iter().map(|&len| stack.template(len, end(len))).unzip();
        Ok(Builder {
            templates,
            order: order(&lengths, &kinds),
            turn: 0,
            fields: stack.fields(),
            random: Random::new(seed),
            sequence: 0,
            share: Share::ALL,
            ip_checksum: None,
            l4_checksum: None,
            echo: None,
            stack: Some(Box::new(stack.filler(sums))),
            udp: false,
        })
    }

    /// Length of the next frame, without FCS.
    #[inline]
    pub fn next_len(&self) -> usize {
        self.templates[self.order[self.turn] as usize].frame.len()
    }

    /// Longest of its frames.
    pub fn longest(&self) -> usize {
        self.templates.iter().map(|t| t.frame.len()).max().unwrap_or(MIN_FRAME)
    }

    /// Mean length of its frames.
    pub fn mean_len(&self) -> f64 {
        let total: usize = self.order.iter().map(|&i| self.templates[i as usize].frame.len()).sum();
        total as f64 / self.order.len() as f64
    }

    /// Sequence number of the next frame: how many were written before it, by all that share.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Begins at another sequence number, so that several builders can share one.
    pub fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// Writes the next frame, sent at `time` (nanoseconds since 1970), and steps on.
    ///
    /// # Panics
    /// If `frame` is not [`Builder::next_len`] long.
    #[inline]
    pub fn write(&mut self, frame: &mut [u8], time: u64) {
        let template = &self.templates[self.order[self.turn] as usize];
        self.turn += 1;
        if self.turn == self.order.len() {
            self.turn = 0;
        }
        frame.copy_from_slice(&template.frame);
        let (mut ip, mut l4) = (template.ip, template.l4);
        for field in &mut self.fields {
            let value = field.next(&mut self.random);
            field.store(frame, value);
            match field.covered {
                Covered::Neither => {}
                Covered::L4 => l4 = l4.and_number(value),
                Covered::Ip => ip = ip.and_number(value),
                Covered::Both => {
                    ip = ip.and_number(value);
                    l4 = l4.and_number(value);
                }
                Covered::Wide => {
                    let [high, low] = field.next_wide(frame, &mut self.random);
                    l4 = l4.and_number(high).and_number(low);
                }
                Covered::Stacked { sums, below } => {
                    if let Some(filler) = &mut self.stack {
                        filler.add(sums, field.next_stacked(frame, &mut self.random, value, below));
                    }
                }
            }
        }
        if let Some(at) = self.echo {
            let number = self.sequence as u16;
            frame[at..at + 2].copy_from_slice(&number.to_be_bytes());
            l4 = l4.and_number(number.into());
        }
        l4 = l4.and(put_trailer(frame, template.payload, self.sequence, time));
        self.sequence = self.sequence.wrapping_add(1);
        if let Some(at) = self.ip_checksum {
            frame[at..at + 2].copy_from_slice(&ip.checksum().to_be_bytes());
        }
        if let Some(at) = self.l4_checksum {
            let checksum = match l4.checksum() {
                0 if self.udp => 0xffff,
                checksum => checksum,
            };
            frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        } else if self.stack.is_some() {
            // Nothing but the trailer is in that sum.
            self.finish_stack(frame, l4);
        }
        self.share.left -= 1;
        if self.share.left == 0 {
            self.leap();
        }
    }
}

impl Builder {
    /// Stores the checksums of a frame of a stack, whose trailer has this sum.
    #[cold]
    #[inline(never)]
    fn finish_stack(&mut self, frame: &mut [u8], trailer: Sum) {
        // It has stepped on to the next.
        let turn = self.turn.checked_sub(1).unwrap_or(self.order.len() - 1);
        if let Some(filler) = &mut self.stack {
            filler.finish(self.order[turn] as usize, frame, trailer);
        }
    }
}

/// The place of each length among `kinds`, which rise.
fn order(lengths: &[usize], kinds: &[usize]) -> Vec<u32> {
    lengths.iter().filter_map(|len| kinds.binary_search(len).ok()).map(|i| i as u32).collect()
}

/// Writes as much of the trailer as `payload` bytes have room for; its sum.
#[inline]
fn put_trailer(frame: &mut [u8], payload: usize, sequence: u64, time: u64) -> Sum {
    let end = frame.len();
    let (low, high) = ((sequence as u32).swap_bytes(), ((sequence >> 32) as u32).swap_bytes());
    let mut sum = Sum::default();
    if payload >= 4 {
        frame[end - 4..].copy_from_slice(&low.to_be_bytes());
        sum = sum.and_number(low.into());
    }
    if payload >= 8 {
        frame[end - 8..end - 4].copy_from_slice(&high.to_be_bytes());
        sum = sum.and_number(high.into());
    }
    if payload >= 16 {
        frame[end - 16..end - 8].copy_from_slice(&time.to_be_bytes());
        sum = sum.and_number(time);
    }
    // Headers have even lengths: an odd frame shifts the trailer by a byte.
    if end % 2 == 1 { sum.shifted() } else { sum }
}

/// Sequence number and time of sending of a frame made by a [`Builder`] with
/// `payload` bytes behind its headers, as far as they had room.
pub fn trailer(frame: &[u8], payload: usize) -> (Option<u64>, Option<u64>) {
    let end = frame.len();
    let payload = payload.min(end);
    let word =
        |from_end: usize| frame[end - from_end..].first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    let low = if payload >= 4 { word(4) } else { None };
    let high = if payload >= 8 { word(8) } else { Some(0) };
    let time = if payload >= 16 { frame[end - 16..].first_chunk().map(|b| u64::from_be_bytes(*b)) } else { None };
    (low.zip(high).map(|(low, high)| high << 32 | low), time)
}

/// Whether the addresses are IPv6.
fn family(recipe: &Recipe) -> Result<bool> {
    let is_v6 = |ips: &Option<Ips>| match ips {
        Some(Ips::V4(_)) => Some(false),
        Some(Ips::V6(_)) => Some(true),
        Some(Ips::Rand) | None => None,
    };
    let v6 = match (is_v6(&recipe.source), is_v6(&recipe.destination)) {
        (Some(a), Some(b)) if a != b => {
            return Err(usage("one address is IPv4 and the other IPv6; a packet has both of one family".into()));
        }
        (a, b) => a.or(b).unwrap_or(false),
    };
    if v6 && recipe.proto == Proto::Arp {
        return Err(usage("ARP asks for IPv4 addresses only; give IPv4 addresses, or ask by ICMP".into()));
    }
    Ok(v6)
}

/// The first address of a range, for a line that says what is sent.
pub fn first_address(ips: Ips) -> Option<IpAddr> {
    match ips {
        Ips::V4(values) => Some(IpAddr::V4((values.first as u32).into())),
        Ips::V6(values) => Some(IpAddr::V6(values.first.into())),
        Ips::Rand => None,
    }
}

fn usage(line: String) -> Error {
    Error::new(Kind::Usage, line)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
