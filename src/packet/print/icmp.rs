//! ICMP, ICMPv6 and IGMP.

use super::ip::{self, Around};
use super::part::{Cut, Part};
use crate::net::Sum;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// ICMP (RFC 792, RFC 1812).
pub(super) fn v4(out: &mut String, around: &Around, packet: Part<'_>) -> Result<(), Cut> {
    packet.has(4)?;
    let [kind, code] = packet.array(0)?;
    // What an error is about follows its 8 bytes.
    let about = packet.from(8);
    let words = match kind {
        0 | 8 => {
            let name = if kind == 8 { "request" } else { "reply" };
            format!("echo {name}, id {}, seq {}", packet.word(4)?, packet.word(6)?)
        }
        3 => unreachable(code, packet)?,
        4 => "source quench".into(),
        5 => {
            let what = ["net", "host", "tos-net", "tos-host"].get(usize::from(code)).copied().unwrap_or("#");
            let (target, router) = (Ipv4Addr::from(about.array::<4>(16)?), Ipv4Addr::from(packet.array::<4>(4)?));
            match what {
                "#" => format!("redirect-#{code} {target} to net {router}"),
                "tos-net" | "tos-host" => format!("redirect-{what} {target} to {} {router}", &what[4..]),
                _ => format!("redirect {target} to {what} {router}"),
            }
        }
        9 => "router advertisement".into(),
        10 => "router solicitation".into(),
        11 => match code {
            0 => "time exceeded in-transit".into(),
            1 => "ip reassembly time exceeded".into(),
            other => format!("time exceeded-#{other}"),
        },
        12 if code == 0 => format!("parameter problem - octet {}", packet.byte(4)?),
        12 => format!("parameter problem - code {code}"),
        13 => format!("time stamp query id {} seq {}", packet.word(4)?, packet.word(6)?),
        14 => format!("time stamp reply id {} seq {}", packet.word(4)?, packet.word(6)?),
        other => format!("type-#{other}"),
    };
    write!(out, "ICMP {words}, length {}", packet.len)?;
    if around.how.details {
        if packet.is_whole() && !around.fragment && Sum::of(packet.bytes()).checksum() != 0 {
            let has = packet.word(2)?;
            let should = Sum::of(&packet.bytes()[..2]).and(Sum::of(&packet.bytes()[4..])).checksum();
            write!(out, " (wrong icmp cksum {has:x} (->{should:x})!)")?;
        }
        if matches!(kind, 3..=5 | 11 | 12) {
            ip::quoted(out, around, about)?;
        }
    }
    Ok(())
}

/// What cannot be reached, and why.
fn unreachable(code: u8, packet: Part<'_>) -> Result<String, Cut> {
    let about = packet.from(8);
    let to = Ipv4Addr::from(about.array::<4>(16)?);
    Ok(match code {
        0 => format!("net {to} unreachable"),
        1 => format!("host {to} unreachable"),
        2 => format!("{to} protocol {} unreachable", about.byte(9)?),
        3 => {
            let header = usize::from(about.byte(0)? & 0xf) * 4;
            let port = about.word(header + 2)?;
            match about.byte(9)? {
                6 => format!("{to} tcp port {port} unreachable"),
                17 => format!("{to} udp port {port} unreachable"),
                other => format!("{to} protocol {other} port {port} unreachable"),
            }
        }
        4 => match packet.word(6)? {
            0 => format!("{to} unreachable - need to frag"),
            mtu => format!("{to} unreachable - need to frag (mtu {mtu})"),
        },
        5 => format!("{to} unreachable - source route failed"),
        6 => format!("net {to} unreachable - unknown"),
        7 => format!("host {to} unreachable - unknown"),
        8 => format!("{to} unreachable - source host isolated"),
        9 => format!("net {to} unreachable - admin prohibited"),
        10 => format!("host {to} unreachable - admin prohibited"),
        11 => format!("net {to} unreachable - tos prohibited"),
        12 => format!("host {to} unreachable - tos prohibited"),
        13 => format!("host {to} unreachable - admin prohibited filter"),
        14 => format!("host {to} unreachable - host precedence violation"),
        15 => format!("host {to} unreachable - precedence cutoff"),
        other => format!("{to} unreachable - #{other}"),
    })
}

/// ICMPv6 (RFC 4443, RFC 4861, RFC 2710, RFC 3810).
pub(super) fn v6(out: &mut String, around: &Around, packet: Part<'_>) -> Result<(), Cut> {
    packet.has(4)?;
    let [kind, code] = packet.array(0)?;
    let (details, len) = (around.how.details, packet.len);
    if details && let Some(should) = around.checksum(58, packet, 2) {
        let has = packet.word(2)?;
        match has == should {
            true => out.push_str("[icmp6 sum ok] "),
            false => write!(out, "[bad icmp6 cksum 0x{has:04x} -> 0x{should:04x}!] ")?,
        }
    }
    out.push_str("ICMP6, ");
    let target = || packet.array::<16>(8).map(Ipv6Addr::from);
    // What an error is about: its destination.
    let about = || packet.array::<16>(8 + 24).map(Ipv6Addr::from);
    match kind {
        1 => {
            let why = match code {
                0 => format!("route {}", about()?),
                1 => format!("prohibited {}", about()?),
                2 => format!("beyondscope {}", about()?),
                3 => format!("address {}", about()?),
                4 => port(packet)?,
                other => format!("code-#{other}"),
            };
            let gap = if code == 1 { "  " } else { " " };
            write!(out, "destination unreachable,{gap}unreachable {why}")?;
        }
        2 => write!(out, "packet too big, mtu {}", packet.long(4)?)?,
        3 => match code {
            0 => write!(out, "time exceeded in-transit for {}", about()?)?,
            1 => out.push_str("time exceeded in-transit (reassembly)"),
            other => write!(out, "time exceeded, unknown code #{other}")?,
        },
        4 => match (code, packet.long(4)?) {
            (0, at) => write!(out, "parameter problem, erroneous - octet {at}")?,
            (1, at) => write!(out, "parameter problem, next header - octet {at}")?,
            (2, at) => write!(out, "parameter problem, option - octet {at}")?,
            (other, _) => write!(out, "parameter problem, code-#{other}")?,
        },
        128 | 129 => {
            let name = if kind == 128 { "request" } else { "reply" };
            write!(out, "echo {name}, id {}, seq {}", packet.word(4)?, packet.word(6)?)?;
        }
        130 => write!(out, "multicast listener query, group {}", target()?)?,
        131 => write!(out, "multicast listener report, group {}", target()?)?,
        132 => write!(out, "multicast listener done, group {}", target()?)?,
        133 => out.push_str("router solicitation"),
        134 => out.push_str("router advertisement"),
        135 | 136 => return neighbour(out, kind, packet, details),
        137 => write!(out, "redirect to {}", target()?)?,
        143 => write!(out, "multicast listener report v2, {} group record(s)", packet.word(6)?)?,
        other => write!(out, "type-#{other}")?,
    }
    // tcpdump says it behind these with -v too.
    if !details || matches!(kind, 133 | 134) {
        write!(out, ", length {len}")?;
    }
    Ok(())
}

/// A port that cannot be reached, if it is one of UDP or TCP.
fn port(packet: Part<'_>) -> Result<String, Cut> {
    let about = packet.from(8);
    let to = Ipv6Addr::from(about.array::<16>(24)?);
    Ok(match about.byte(6)? {
        6 => format!("port, {to} tcp port {}", about.word(42)?),
        17 => format!("port, {to} udp port {}", about.word(42)?),
        other => format!("port, {to} protocol {other} port {}", about.word(42)?),
    })
}

/// Who has an address, and who says so (RFC 4861 §4.3, §4.4).
fn neighbour(out: &mut String, kind: u8, packet: Part<'_>, details: bool) -> Result<(), Cut> {
    let target = Ipv6Addr::from(packet.array::<16>(8)?);
    let words = match kind {
        135 => format!("who has {target}"),
        _ => format!("tgt is {target}"),
    };
    let (name, len) = (if kind == 135 { "neighbor solicitation" } else { "neighbor advertisement" }, packet.len);
    if !details {
        write!(out, "{name}, {words}, length {len}")?;
        return Ok(());
    }
    write!(out, "{name}, length {len}, {words}")?;
    if kind == 136 {
        let bits = packet.byte(4)?;
        let set = [(0x80, "router"), (0x40, "solicited"), (0x20, "override")].into_iter();
        let set: Vec<&str> = set.filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name).collect();
        write!(out, ", Flags [{}]", if set.is_empty() { "none".into() } else { set.join(", ") })?;
    }
    Ok(())
}

/// IGMP (RFC 2236, RFC 3376).
pub(super) fn igmp(out: &mut String, packet: Part<'_>) -> Result<(), Cut> {
    let [kind, time] = packet.array(0)?;
    let group = || packet.array::<4>(4).map(Ipv4Addr::from);
    out.push_str("igmp ");
    match kind {
        0x11 => {
            let version = match (packet.len, time) {
                (12.., _) => 3,
                (_, 0) => 1,
                _ => 2,
            };
            write!(out, "query v{version}")?;
            // In tenths of a second; 10 s is usual.
            if version == 2 && time != 100 {
                match time {
                    0..10 => write!(out, " [max resp time 0.{time}]")?,
                    tenths => write!(out, " [max resp time {tenths}]")?,
                }
            }
            let group = group()?;
            if group != Ipv4Addr::UNSPECIFIED {
                write!(out, " [gaddr {group}]")?;
            }
        }
        0x12 => write!(out, "v1 report {}", group()?)?,
        0x16 => write!(out, "v2 report {}", group()?)?,
        0x17 => write!(out, "leave {}", group()?)?,
        0x22 => write!(out, "v3 report, {} group record(s)", packet.word(6)?)?,
        other => write!(out, "0x{other:02x}, length {}", packet.len)?,
    }
    Ok(())
}
