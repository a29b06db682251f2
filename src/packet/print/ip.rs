//! IPv4 and IPv6, and what is in them.

use super::part::{Cut, Part};
use super::{How, icmp, link, transport};
use crate::net::Sum;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Packets within each other that are read, at most.
const DEEPEST: usize = 8;

/// What the header around it says of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) how: How,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Other fragments belong to it.
    pub(super) fragment: bool,
    /// How many headers of IP there are around it.
    depth: usize,
}

impl Around {
    /// The sum of the pseudo header of a packet of so many bytes (RFC 9293 §3.1, RFC 8200 §8.1).
    fn pseudo(&self, protocol: u8, len: usize) -> Sum {
        let addresses = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Sum::of(&[from.octets(), to.octets()].concat()),
            (IpAddr::V6(from), IpAddr::V6(to)) => Sum::of(&[from.octets(), to.octets()].concat()),
            _ => Sum::default(),
        };
        let [.., high, low] = (len as u64).to_be_bytes();
        addresses.and(Sum::of(&[0, protocol, high, low]))
    }

    /// The checksum that a packet should have whose checksum is at `at`; none if that cannot be
    /// told.
    pub(super) fn checksum(&self, protocol: u8, packet: Part<'_>, at: usize) -> Option<u16> {
        let (before, rest) = packet.bytes().split_at_checked(at).filter(|_| packet.is_whole() && !self.fragment)?;
        let sum = self.pseudo(protocol, packet.len).and(Sum::of(before)).and(Sum::of(rest.get(2..)?));
        Some(sum.checksum())
    }

    /// The address and port, as `198.18.0.1.9`.
    pub(super) fn ports(&self, out: &mut String, from: u16, to: u16) -> Result<(), Cut> {
        let Around { source, destination, .. } = self;
        write!(out, "{source}.{from} > {destination}.{to}: ")?;
        Ok(())
    }

    /// The addresses alone.
    pub(super) fn hosts(&self, out: &mut String) -> Result<(), Cut> {
        let Around { source, destination, .. } = self;
        write!(out, "{source} > {destination}: ")?;
        Ok(())
    }
}

/// A packet of IPv4 (RFC 791) with so many around it; `named` as `IP`.
pub(super) fn v4(out: &mut String, how: How, packet: Part<'_>, named: bool, depth: usize) -> Result<(), Cut> {
    let first = packet.byte(0)?;
    if first >> 4 != 4 {
        write!(out, "IP{} (invalid)", first >> 4)?;
        return Ok(());
    }
    if named {
        out.push_str("IP ");
    }
    let header_len = usize::from(first & 0xf) * 4;
    if header_len < 20 {
        write!(out, "bad-hlen {header_len}")?;
        return Ok(());
    }
    packet.has(20)?;
    let len = usize::from(packet.word(2)?);
    if len < header_len {
        write!(out, "bad-len {len}")?;
        return Ok(());
    }
    if packet.len < len {
        write!(out, "truncated-ip - {} bytes missing! ", len - packet.len)?;
    }
    let packet = packet.first(len);
    let flags = packet.word(6)?;
    let offset = usize::from(flags & 0x1fff) * 8;
    let protocol = packet.byte(9)?;
    let around = Around {
        how,
        source: Ipv4Addr::from(packet.array::<4>(12)?).into(),
        destination: Ipv4Addr::from(packet.array::<4>(16)?).into(),
        fragment: flags & 0x3fff != 0,
        depth,
    };
    if how.details {
        v4_details(out, packet, header_len, len)?;
    }
    // By what the header says, though fewer may be there.
    let rest = Part::new(packet.from(header_len).bytes(), len - header_len, "ip");
    if offset > 0 {
        around.hosts(out)?;
        write!(out, "ip-proto-{protocol}")?;
        return Ok(());
    }
    inner(out, &around, protocol, rest, true)
}

/// `(tos 0x0, ttl 64, id 0, offset 0, flags [none], proto UDP (17), length 46)` and a new line.
fn v4_details(out: &mut String, packet: Part<'_>, header_len: usize, len: usize) -> Result<(), Cut> {
    let [service, ttl, protocol] = [packet.byte(1)?, packet.byte(8)?, packet.byte(9)?];
    write!(out, "(tos 0x{service:x}")?;
    out.push_str(["", ",ECT(1)", ",ECT(0)", ",CE"][usize::from(service & 3)]);
    if ttl > 0 {
        write!(out, ", ttl {ttl}")?;
    }
    let flags = packet.word(6)?;
    let set = [(0x2000, "+"), (0x4000, "DF"), (0x8000, "rsvd")].into_iter().filter(|(bit, _)| flags & bit != 0);
    let set: Vec<&str> = set.map(|(_, name)| name).collect();
    let set = if set.is_empty() { "none".into() } else { set.join(", ") };
    let (id, offset) = (packet.word(4)?, u32::from(flags & 0x1fff) * 8);
    write!(out, ", id {id}, offset {offset}, flags [{set}], proto {} ({protocol}), length {len}", name(protocol))?;
    if header_len > 20 {
        out.push_str(", options (");
        options(out, packet.first(header_len).from(20))?;
        out.push(')');
    }
    if let Some(header) = packet.bytes().get(..header_len)
        && Sum::of(header).checksum() != 0
    {
        let should = Sum::of(&header[..10]).and(Sum::of(&header[12..])).checksum();
        write!(out, ", bad cksum {:x} (->{should:x})!", packet.word(10)?)?;
    }
    out.push_str(")\n    ");
    Ok(())
}

/// Names of the options of IPv4, as far as they are whole (RFC 791 §3.1, RFC 2113).
fn options(out: &mut String, mut rest: Part<'_>) -> Result<(), Cut> {
    let mut between = "";
    while rest.len > 0 {
        let kind = rest.byte(0)?;
        out.push_str(between);
        let name = match kind {
            0 => "EOL",
            1 => "NOP",
            7 => "RR",
            68 => "timestamp",
            130 => "security",
            131 => "LSRR",
            137 => "SSRR",
            148 => "RA",
            _ => "",
        };
        match name {
            "" => write!(out, "unknown {kind}")?,
            name => out.push_str(name),
        }
        match kind {
            0 => return Ok(()),
            1 => rest = rest.from(1),
            _ => match usize::from(rest.byte(1)?) {
                0 | 1 => {
                    out.push_str(" [bad length]");
                    return Ok(());
                }
                len => rest = rest.from(len),
            },
        }
        between = ",";
    }
    Ok(())
}

/// A packet of IPv6 (RFC 8200) with so many around it; `named` as `IP6`.
pub(super) fn v6(out: &mut String, how: How, packet: Part<'_>, named: bool, depth: usize) -> Result<(), Cut> {
    packet.has(40)?;
    let first = packet.byte(0)?;
    if named {
        out.push_str("IP6 ");
    }
    if first >> 4 != 6 {
        write!(out, "version error: {} != 6", first >> 4)?;
        return Ok(());
    }
    let len = usize::from(packet.word(4)?);
    if packet.len < len + 40 {
        write!(out, "truncated-ip6 - {} bytes missing!", len + 40 - packet.len)?;
    }
    let start = packet.long(0)?;
    let [mut next, hops] = packet.array(6)?;
    if how.details {
        let (class, flow) = (start >> 20 & 0xff, start & 0xf_ffff);
        out.push('(');
        if class > 0 {
            write!(out, "class 0x{class:02x}, ")?;
        }
        if flow > 0 {
            write!(out, "flowlabel 0x{flow:05x}, ")?;
        }
        write!(out, "hlim {hops}, next-header {} ({next}) payload length: {len}) ", name(next))?;
    }
    let mut around = Around {
        how,
        source: Ipv6Addr::from(packet.array::<16>(8)?).into(),
        destination: Ipv6Addr::from(packet.array::<16>(24)?).into(),
        fragment: false,
        depth,
    };
    let packet = packet.first(len + 40);
    let mut rest = Part::new(packet.from(40).bytes(), len, "ip6");
    // Behind the first of other headers only ports are said.
    let mut said = false;
    // Each is one of 8 bytes at least, so this ends.
    while matches!(next, 0 | 43 | 44 | 60) {
        if !std::mem::replace(&mut said, true) {
            around.hosts(out)?;
        }
        if next == 44 {
            rest = rest.of("frag");
            let (following, place, id) = (rest.byte(0)?, rest.word(2)?, rest.long(4)?);
            let id = if how.details { format!("0x{id:08x}:") } else { String::new() };
            write!(out, "frag ({id}{}|{})", place & 0xfff8, rest.len.saturating_sub(8))?;
            if place & 0xfff8 > 0 {
                return Ok(());
            }
            out.push(' ');
            around.fragment = true;
            (next, rest) = (following, rest.from(8));
            continue;
        }
        rest = rest.of(if next == 43 { "rtghdr" } else { "hbhopt" });
        let [following, units] = rest.array(0)?;
        match next {
            0 => out.push_str("HBH "),
            60 => out.push_str("DSTOPT "),
            _ => {
                let [kind, left] = rest.array(2)?;
                let old = if kind == 0 { " [Deprecated]" } else { "" };
                write!(out, "RT6 (len={units}, type={kind}{old}, segleft={left}) ")?;
            }
        }
        (next, rest) = (following, rest.from(8 + usize::from(units) * 8));
    }
    inner(out, &around, next, rest, !said)
}

/// What is in a packet; `addresses`: they are still to be said.
fn inner(out: &mut String, around: &Around, protocol: u8, packet: Part<'_>, addresses: bool) -> Result<(), Cut> {
    match protocol {
        6 => transport::tcp(out, around, packet.of("tcp"), addresses),
        17 => transport::udp(out, around, packet.of("udp"), addresses),
        132 => transport::sctp(out, around, packet.of("sctp"), addresses),
        _ => {
            if addresses {
                around.hosts(out)?;
            }
            others(out, around, protocol, packet)
        }
    }
}

/// What has no ports.
fn others(out: &mut String, around: &Around, protocol: u8, packet: Part<'_>) -> Result<(), Cut> {
    let (how, depth) = (around.how, around.depth + 1);
    match (protocol, around.source) {
        (1, _) => icmp::v4(out, around, packet.of("icmp")),
        (2, _) => icmp::igmp(out, packet.of("igmp")),
        (58, IpAddr::V6(_)) => icmp::v6(out, around, packet.of("icmp6")),
        (59, IpAddr::V6(_)) => {
            out.push_str("no next header");
            Ok(())
        }
        (4, _) if depth < DEEPEST => v4(out, how, packet.of("ip"), !how.link, depth),
        (41, _) if depth < DEEPEST => v6(out, how, packet.of("ip6"), !how.link, depth),
        (47, _) if depth < DEEPEST => gre(out, around, packet.of("gre")),
        (50, _) => {
            let packet = packet.of("esp");
            write!(out, "ESP(spi=0x{:08x},seq=0x{:x}), length {}", packet.long(0)?, packet.long(4)?, packet.len)?;
            Ok(())
        }
        _ => {
            write!(out, " ip-proto-{protocol} {}", packet.len)?;
            Ok(())
        }
    }
}

/// GRE (RFC 2784, RFC 2890).
fn gre(out: &mut String, around: &Around, packet: Part<'_>) -> Result<(), Cut> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    let (flags, protocol) = (packet.word(0)?, packet.word(2)?);
    write!(out, "GREv{}", flags & 7)?;
    let mut at = 4;
    if flags & CHECKSUM != 0 {
        at += 4;
    }
    if flags & KEY != 0 {
        write!(out, ", key=0x{:x}", packet.long(at)?)?;
        at += 4;
    }
    if flags & SEQUENCE != 0 {
        write!(out, ", seq {}", packet.long(at)?)?;
        at += 4;
    }
    write!(out, ", length {}: ", packet.len)?;
    let (how, rest, depth) = (around.how, packet.from(at), around.depth + 1);
    match protocol {
        0x0800 => v4(out, how, rest.of("ip"), !how.link, depth),
        0x86dd => v6(out, how, rest.of("ip6"), !how.link, depth),
        _ => {
            write!(out, "gre-proto-0x{protocol:x}")?;
            Ok(())
        }
    }
}

/// A frame in a tunnel, on a line of its own.
pub(super) fn tunnelled(out: &mut String, around: &Around, frame: Part<'_>) -> Result<(), Cut> {
    if around.depth + 1 >= DEEPEST {
        return Ok(());
    }
    out.push('\n');
    // The bytes that have no words are printed with it.
    link::ethernet(out, around.how, frame.of("ether"), around.depth + 1).map(|_| ())
}

/// A packet that an error of ICMP has with it, on a line of its own.
pub(super) fn quoted(out: &mut String, around: &Around, packet: Part<'_>) -> Result<(), Cut> {
    if around.depth + 1 >= DEEPEST {
        return Ok(());
    }
    out.push_str("\n\t");
    v4(out, around.how, packet.of("ip"), !around.how.link, around.depth + 1)
}

/// A protocol, by its name.
fn name(protocol: u8) -> &'static str {
    match protocol {
        0 => "Options",
        1 => "ICMP",
        2 => "IGMP",
        4 => "IPIP",
        6 => "TCP",
        17 => "UDP",
        41 => "IPv6",
        43 => "Routing",
        44 => "Fragment",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        88 => "EIGRP",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        132 => "SCTP",
        _ => "unknown",
    }
}
