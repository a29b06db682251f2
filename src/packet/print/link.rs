//! Ethernet, its tags and labels, and ARP.

use super::part::{Cut, Part};
use super::{Bytes, How, dump, ip};
use crate::net::MacAddr;
use crate::packet::parse::ethertype;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Bytes of an Ethernet header.
pub(super) const HEADER: usize = 14;

/// MPLS, to one and to a group (RFC 3032, RFC 5332).
const MPLS: [u16; 2] = [0x8847, 0x8848];
const LLDP: u16 = 0x88cc;
/// MAC control: pause frames (IEEE 802.3, annex 31B).
const CONTROL: u16 = 0x8808;
const PTP: u16 = 0x88f7;
/// The largest number there that is a length and no EtherType.
const LONGEST: u16 = 1500;

/// What has been said of a frame.
pub(super) enum Said {
    /// What there was to say.
    All,
    /// Its bytes too, as there is no word for them.
    Bytes,
}

/// An Ethernet frame with so many packets around it.
pub(super) fn ethernet(out: &mut String, how: How, frame: Part<'_>, depth: usize) -> Result<Said, Cut> {
    frame.has(HEADER)?;
    let kind = frame.word(12)?;
    if how.link {
        addresses(out, frame)?;
        write!(out, ", {}, length {}: ", kind_words(kind), frame.len)?;
    }
    let mut rest = frame.from(HEADER);
    let mut kind = kind;
    while ethertype::is_vlan(kind) {
        let tag = rest.of("vlan");
        let (control, inner) = (tag.word(0)?, tag.word(2)?);
        write!(out, "vlan {}, p {}, ", control & 0xfff, control >> 13)?;
        if control & 0x1000 != 0 {
            out.push_str("DEI, ");
        }
        if how.link {
            write!(out, "{}, ", kind_words(inner))?;
        }
        (kind, rest) = (inner, rest.from(4));
    }
    payload(out, how, frame, (kind, rest), depth)
}

/// `02:00:00:00:00:01 > 02:00:00:00:00:02`.
fn addresses(out: &mut String, frame: Part<'_>) -> Result<(), Cut> {
    write!(out, "{} > {}", MacAddr(frame.array(6)?), MacAddr(frame.array(0)?))?;
    Ok(())
}

/// What is behind the header and the tags of `frame`.
fn payload(
    out: &mut String,
    how: How,
    frame: Part<'_>,
    (kind, rest): (u16, Part<'_>),
    depth: usize,
) -> Result<Said, Cut> {
    match kind {
        ethertype::IPV4 => ip::v4(out, how, rest.of("ip"), !how.link, depth)?,
        ethertype::IPV6 => ip::v6(out, how, rest.of("ip6"), !how.link, depth)?,
        ethertype::ARP | ethertype::RARP => arp(out, how, rest.of("arp"))?,
        _ if MPLS.contains(&kind) => mpls(out, how, rest.of("mpls"), depth)?,
        LLDP => write!(out, "LLDP, length {}", rest.len)?,
        CONTROL => {
            let operation = rest.of("mpcp").word(0)?;
            match operation {
                1 => write!(out, "MPCP, Opcode Pause, length {}", rest.len)?,
                other => write!(out, "MPCP, Opcode 0x{other:04x}, length {}", rest.len)?,
            }
        }
        PTP => ptp(out, rest.of("ptp"))?,
        0..=LONGEST => {
            let [to, from, control] = rest.of("llc").array(0)?;
            write!(out, "LLC, dsap 0x{to:02x}, ssap 0x{from:02x}, ctrl 0x{control:02x}, length {kind}")?;
        }
        _ => {
            if !how.link {
                addresses(out, frame)?;
                write!(out, ", {}, length {}: ", kind_words(kind), frame.len)?;
            }
            dump(out, rest.bytes(), how.bytes.unwrap_or(Bytes::HexAndText));
            return Ok(Said::Bytes);
        }
    }
    Ok(Said::All)
}

/// `ethertype IPv4 (0x0800)`, or `802.3`.
fn kind_words(kind: u16) -> String {
    let name = match kind {
        ethertype::IPV4 => "IPv4",
        ethertype::IPV6 => "IPv6",
        ethertype::ARP => "ARP",
        ethertype::RARP => "Reverse ARP",
        ethertype::VLAN => "802.1Q",
        ethertype::QINQ => "802.1Q-QinQ",
        ethertype::QINQ_OLD => "802.1Q-9100",
        0x8847 => "MPLS unicast",
        0x8848 => "MPLS multicast",
        LLDP => "LLDP",
        CONTROL => "MPCP",
        PTP => "PTP",
        0..=LONGEST => return "802.3".into(),
        _ => "Unknown",
    };
    format!("ethertype {name} (0x{kind:04x})")
}

/// Labels, and what is behind the last (RFC 3032).
fn mpls(out: &mut String, how: How, mut rest: Part<'_>, depth: usize) -> Result<(), Cut> {
    out.push_str("MPLS");
    let mut first = true;
    loop {
        let entry = match rest.long(0) {
            Err(cut) if first => return Err(cut),
            entry => entry?,
        };
        let (label, class, last) = (entry >> 12, entry >> 9 & 7, entry & 0x100 != 0);
        out.push_str(if how.details && !first { "\n\t" } else { " " });
        write!(out, "(label {label}")?;
        let name = ["IPv4 explicit NULL", "router alert", "IPv6 explicit NULL", "implicit NULL"].get(label as usize);
        if let Some(name) = name.filter(|_| how.details) {
            write!(out, " ({name})")?;
        }
        let end = if last { ", [S]" } else { "" };
        write!(out, ", tc {class}{end}, ttl {})", entry & 0xff)?;
        (rest, first) = (rest.from(4), false);
        if last {
            break;
        }
    }
    if rest.len == 0 {
        return Ok(());
    }
    out.push_str(if how.details { "\n\t" } else { " " });
    // Nothing says what follows but its first byte.
    match rest.byte(0)? >> 4 {
        4 => ip::v4(out, how, rest.of("ip"), !how.link, depth),
        6 => ip::v6(out, how, rest.of("ip6"), !how.link, depth),
        _ => {
            write!(out, "payload, length {}", rest.len)?;
            Ok(())
        }
    }
}

/// ARP and its reverse (RFC 826, RFC 903).
fn arp(out: &mut String, how: How, packet: Part<'_>) -> Result<(), Cut> {
    let (hardware, protocol) = (packet.word(0)?, packet.word(2)?);
    let [hardware_len, protocol_len] = packet.array(4)?;
    let operation = packet.word(6)?;
    let plain = (hardware, protocol, hardware_len, protocol_len) == (1, ethertype::IPV4, 6, 4);
    if plain {
        packet.has(28)?;
    }
    if !how.link {
        out.push_str("ARP, ");
    }
    if how.details || !plain {
        let of = |known: bool, name: &str, number: u16| {
            if known { name.to_string() } else { format!("Unknown ({number})") }
        };
        let (hardware, protocol) = (
            of(hardware == 1, "Ethernet", hardware),
            match protocol {
                ethertype::IPV6 => "IPv6".into(),
                other => of(other == ethertype::IPV4, "IPv4", other),
            },
        );
        write!(out, "{hardware} (len {hardware_len}), {protocol} (len {protocol_len}), ")?;
    }
    if plain {
        arp_words(out, operation, packet)?;
        out.push_str(", ");
    }
    write!(out, "length {}", packet.len)?;
    Ok(())
}

/// What an ARP packet of Ethernet and IPv4 asks or tells.
fn arp_words(out: &mut String, operation: u16, packet: Part<'_>) -> Result<(), Cut> {
    let (from, to) = (MacAddr(packet.array(8)?), MacAddr(packet.array(18)?));
    let (sender, target) = (Ipv4Addr::from(packet.array::<4>(14)?), Ipv4Addr::from(packet.array::<4>(24)?));
    match operation {
        1 => {
            write!(out, "Request who-has {target}")?;
            if to != MacAddr::default() {
                write!(out, " ({to})")?;
            }
            write!(out, " tell {sender}")?;
        }
        2 => write!(out, "Reply {sender} is-at {from}")?,
        3 => write!(out, "Reverse Request who-is {to} tell {from}")?,
        4 => write!(out, "Reverse Reply {to} at {target}")?,
        8 => write!(out, "Inverse Request who-is {to} tell {from}")?,
        9 => write!(out, "Inverse Reply {from} at {sender}")?,
        other => write!(out, "Unknown ({other})")?,
    }
    Ok(())
}

/// PTP, in one line (IEEE 1588-2008, §13.3).
fn ptp(out: &mut String, packet: Part<'_>) -> Result<(), Cut> {
    let [kind, version] = packet.array(0)?;
    let domain = packet.byte(4)?;
    let sequence = packet.word(30)?;
    let name = match kind & 0xf {
        0x0 => "sync",
        0x1 => "delay req",
        0x2 => "peer delay req",
        0x3 => "peer delay resp",
        0x8 => "follow up",
        0x9 => "delay resp",
        0xa => "peer delay follow up",
        0xb => "announce",
        0xc => "signalling",
        0xd => "management",
        _ => "unknown",
    };
    write!(out, "PTPv{}, {name}, domain {domain}, seq {sequence}, length {}", version & 0xf, packet.len)?;
    Ok(())
}
