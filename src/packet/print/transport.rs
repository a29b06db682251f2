//! UDP, TCP and SCTP, and VXLAN in UDP.

use super::ip::{self, Around};
use super::part::{Cut, Part};
use std::fmt::Write;

/// The port of VXLAN (RFC 7348).
const VXLAN: u16 = 4789;

/// The addresses with ports, or only these behind other headers.
fn ends(out: &mut String, around: &Around, packet: Part<'_>, addresses: bool) -> Result<(u16, u16), Cut> {
    match (packet.word(0), packet.word(2)) {
        (Ok(from), Ok(to)) if addresses => {
            around.ports(out, from, to)?;
            Ok((from, to))
        }
        (Ok(from), Ok(to)) => {
            write!(out, "{from} > {to}: ")?;
            Ok((from, to))
        }
        (from, to) => {
            if addresses {
                around.hosts(out)?;
            }
            from.and(to).map(|port| (port, port))
        }
    }
}

/// UDP (RFC 768).
pub(super) fn udp(out: &mut String, around: &Around, packet: Part<'_>, addresses: bool) -> Result<(), Cut> {
    let (from, to) = ends(out, around, packet, addresses)?;
    let said = usize::from(packet.word(4)?);
    if said < 8 {
        write!(out, "truncated-udplength {said}")?;
        return Ok(());
    }
    packet.has(8)?;
    let (there, len) = (packet.len - 8, said - 8);
    if around.how.details {
        udp_checksum(out, around, packet.first(said))?;
    }
    let payload = packet.first(said).from(8);
    if len > there && !around.fragment {
        write!(out, "UDP, bad length {len} > {there}")?;
    } else if [from, to].contains(&VXLAN) && len >= 8 {
        vxlan(out, around, payload.of("vxlan"))?;
    } else {
        write!(out, "UDP, length {len}")?;
    }
    Ok(())
}

/// `[udp sum ok] `; nothing where it cannot be told.
fn udp_checksum(out: &mut String, around: &Around, packet: Part<'_>) -> Result<(), Cut> {
    let has = packet.word(6)?;
    if has == 0 && around.source.is_ipv4() {
        out.push_str("[no cksum] ");
    } else if let Some(should) = around.checksum(17, packet, 6) {
        // No sum is told as zero, which says that there is none (RFC 768).
        let should = if should == 0 { 0xffff } else { should };
        match has == should {
            true => out.push_str("[udp sum ok] "),
            false => write!(out, "[bad udp cksum 0x{has:04x} -> 0x{should:04x}!] ")?,
        }
    }
    Ok(())
}

/// VXLAN, and the frame in it (RFC 7348 §5).
fn vxlan(out: &mut String, around: &Around, packet: Part<'_>) -> Result<(), Cut> {
    let flags = packet.byte(0)?;
    let network = packet.long(4)? >> 8;
    let named = if flags & 8 != 0 { "I" } else { "invalid" };
    write!(out, "VXLAN, flags [{named}] (0x{flags:02x}), vni {network}")?;
    ip::tunnelled(out, around, packet.from(8))
}

/// TCP (RFC 9293).
pub(super) fn tcp(out: &mut String, around: &Around, packet: Part<'_>, addresses: bool) -> Result<(), Cut> {
    ends(out, around, packet, addresses)?;
    packet.has(20)?;
    let bits = packet.word(12)?;
    let header_len = usize::from(bits >> 12) * 4;
    if header_len < 20 {
        write!(out, " tcp {} [bad hdr length {header_len} - too short, < 20]", packet.len.saturating_sub(header_len))?;
        return Ok(());
    }
    write!(out, "Flags [{}]", flags(bits))?;
    if header_len > packet.len {
        write!(out, " [bad hdr length {header_len} - too long, > {}]", packet.len)?;
        return Ok(());
    }
    if around.how.details
        && let Some(should) = around.checksum(6, packet, 16)
    {
        let has = packet.word(16)?;
        match has == should {
            true => write!(out, ", cksum 0x{has:04x} (correct)")?,
            false => write!(out, ", cksum 0x{has:04x} (incorrect -> 0x{should:04x})")?,
        }
    }
    const SYN_FIN_RST: u16 = 0x7;
    const ACK: u16 = 0x10;
    const URG: u16 = 0x20;
    let (sequence, len) = (packet.long(4)?, packet.len - header_len);
    if len > 0 || bits & SYN_FIN_RST != 0 {
        write!(out, ", seq {sequence}")?;
    }
    if len > 0 {
        write!(out, ":{}", sequence.wrapping_add(len as u32))?;
    }
    if bits & ACK != 0 {
        write!(out, ", ack {}", packet.long(8)?)?;
    }
    write!(out, ", win {}", packet.word(14)?)?;
    if bits & URG != 0 {
        write!(out, ", urg {}", packet.word(18)?)?;
    }
    if header_len > 20 {
        out.push_str(", options [");
        if !options(out, packet.first(header_len).from(20))? {
            return Ok(());
        }
        out.push(']');
    }
    write!(out, ", length {len}")?;
    Ok(())
}

/// `S.` and the like, in tcpdump's order.
fn flags(bits: u16) -> String {
    const LETTERS: [(u16, char); 8] =
        [(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (0x10, '.'), (0x20, 'U'), (0x40, 'E'), (0x80, 'W')];
    let set: String = LETTERS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| *letter).collect();
    if set.is_empty() { "none".into() } else { set }
}

/// Options by their names; whether all are sound (RFC 9293 §3.2, RFC 7323, RFC 2018, RFC 2385).
fn options(out: &mut String, mut rest: Part<'_>) -> Result<bool, Cut> {
    let mut between = "";
    while rest.len > 0 {
        let kind = rest.byte(0)?;
        out.push_str(between);
        between = ",";
        match kind {
            0 => {
                out.push_str("eol");
                return Ok(true);
            }
            1 => {
                out.push_str("nop");
                rest = rest.from(1);
                continue;
            }
            _ => {}
        }
        let len = usize::from(rest.byte(1)?);
        if len < 2 || len > rest.len {
            out.push_str(if len < 2 { "[bad opt]" } else { "[bad opt]]" });
            return Ok(false);
        }
        option(out, kind, rest.first(len))?;
        rest = rest.from(len);
    }
    Ok(true)
}

/// An option that has a length.
fn option(out: &mut String, kind: u8, option: Part<'_>) -> Result<(), Cut> {
    match (kind, option.len) {
        (2, 4) => write!(out, "mss {}", option.word(2)?)?,
        (3, 3) => write!(out, "wscale {}", option.byte(2)?)?,
        (4, 2) => out.push_str("sackOK"),
        (5, len) if len > 2 && (len - 2).is_multiple_of(8) => {
            write!(out, "sack {} ", (len - 2) / 8)?;
            for at in (2..len).step_by(8) {
                write!(out, "{{{}:{}}}", option.long(at)?, option.long(at + 4)?)?;
            }
        }
        (8, 10) => write!(out, "TS val {} ecr {}", option.long(2)?, option.long(6)?)?,
        _ => {
            write!(out, "unknown-{kind}")?;
            let value = option.from(2);
            value.has(value.len)?;
            if value.len > 0 {
                out.push_str(" 0x");
            }
            value.bytes().iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        }
    }
    Ok(())
}

/// SCTP, as far as its first chunk (RFC 9260 §3).
pub(super) fn sctp(out: &mut String, around: &Around, packet: Part<'_>, addresses: bool) -> Result<(), Cut> {
    ends(out, around, packet, addresses)?;
    let kind = packet.byte(12)?;
    const NAMES: [&str; 15] = [
        "DATA",
        "INIT",
        "INIT ACK",
        "SACK",
        "HB REQ",
        "HB ACK",
        "ABORT",
        "SHUTDOWN",
        "SHUTDOWN ACK",
        "OP ERR",
        "COOKIE ECHO",
        "COOKIE ACK",
        "ECNE",
        "CWR",
        "SHUTDOWN COMPLETE",
    ];
    match NAMES.get(usize::from(kind)) {
        Some(name) => write!(out, "sctp [{name}], length {}", packet.len)?,
        None => write!(out, "sctp [chunk {kind}], length {}", packet.len)?,
    }
    Ok(())
}
