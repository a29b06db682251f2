//! One line for a packet, in tcpdump's words.
//!
//! ```text
//!   12:00:00.000000001 IP 198.18.0.1.9 > 198.19.0.1.9: UDP, length 18
//! ```
//!
//! The words are those of `tcpdump -n`: tests compare the two frame by frame. Where a
//! protocol has no line here that is simple, it is named with its length. Two things differ on
//! purpose: a VLAN tag is always shown, and sequence numbers are those in the packet (`-S`).
//!
//! Nothing of a packet is believed. Each read is checked against what was captured and against
//! what the header around it says that there is; where it ends too early the line ends with
//! the protocol that was read, as in `[|udp]`. No byte of a packet is printed as it is, so none
//! can be a command to a terminal.

mod icmp;
mod ip;
mod link;
mod part;
#[cfg(test)]
mod tests;
mod transport;

use crate::sys;
use part::{Cut, Part};
use std::fmt::Write;

/// What is printed of each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Fields of the IP header, and whether checksums are right (`-v`).
    pub details: bool,
    /// The Ethernet header (`-e`).
    pub link: bool,
    /// Bytes behind the Ethernet header (`-x`, `-X`).
    pub bytes: Option<Bytes>,
}

/// How bytes are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// In hexadecimal.
    Hex,
    /// In hexadecimal and as letters, with a dot for each that is none of ASCII.
    HexAndText,
}

/// A packet to print.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its bytes, or the first of them: an Ethernet frame without FCS.
    pub bytes: &'a [u8],
    /// Bytes that it had on the wire.
    pub wire_len: usize,
}

/// Prints packets.
#[derive(Clone, Debug)]
pub struct Printer {
    how: How,
    /// The last second, since 1970, and its words.
    second: Option<(u64, String)>,
}

impl Printer {
    /// One that prints so much of each.
    pub fn new(how: How) -> Self {
        Printer { how, second: None }
    }

    /// Appends the line of a packet, or its lines, to `out`. `name` is what it came by, if that
    /// is to be said.
    pub fn print(&mut self, out: &mut String, packet: &Packet<'_>, name: Option<&str>) {
        self.time(out, packet.time);
        if let Some(name) = name {
            out.push_str(name);
            out.push(' ');
        }
        words(out, self.how, packet);
        out.push('\n');
    }

    /// `12:00:00.000000001 `, in local time.
    fn time(&mut self, out: &mut String, time: u64) {
        let (second, nanoseconds) = (time / 1_000_000_000, time % 1_000_000_000);
        if self.second.as_ref().is_none_or(|(last, _)| *last != second) {
            let words = sys::local_time(c"%H:%M:%S", second as i64).ok().and_then(|text| String::from_utf8(text).ok());
            self.second = Some((second, words.unwrap_or_else(|| second.to_string())));
        }
        let words = self.second.as_ref().map_or("", |(_, words)| words);
        // Appending to a string does not fail.
        let _ = write!(out, "{words}.{nanoseconds:09} ");
    }
}

/// What there is to say of a packet, without its time and the end of its line.
pub fn words(out: &mut String, how: How, packet: &Packet<'_>) {
    let frame = Part::new(packet.bytes, packet.wire_len, "ether");
    let dumped = match link::ethernet(out, how, frame, 0) {
        Ok(link::Said::All) => false,
        Ok(link::Said::Bytes) => true,
        Err(Cut::At(protocol)) => {
            let _ = write!(out, " [|{protocol}]");
            false
        }
        Err(Cut::Text) => false,
    };
    if let Some(bytes) = how.bytes.filter(|_| !dumped) {
        dump(out, packet.bytes.get(link::HEADER..).unwrap_or_default(), bytes);
    }
}

/// Lines of 16 bytes, each with its offset.
fn dump(out: &mut String, bytes: &[u8], how: Bytes) {
    const LINE: usize = 16;
    /// Columns of the hexadecimal digits of a whole line.
    const WIDTH: usize = LINE / 2 * 5;
    for (n, line) in bytes.chunks(LINE).enumerate() {
        let _ = write!(out, "\n\t0x{:04x}: ", n * LINE);
        let from = out.len();
        for pair in line.chunks(2) {
            out.push(' ');
            pair.iter().for_each(|byte| _ = write!(out, "{byte:02x}"));
        }
        if how == Bytes::HexAndText {
            let width = out.len() - from;
            out.extend(std::iter::repeat_n(' ', WIDTH - width + 2));
            out.extend(line.iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '.' }));
        }
    }
}
