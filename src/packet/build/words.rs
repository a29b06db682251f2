//! Fields as users write them: DSCP, ECN, flags of TCP, types of Ethernet, bytes.

use super::{MAX_FRAME, usage};
use crate::error::{Error, Result};
use std::path::Path;
use std::str::FromStr;

/// A whole number, decimal or with 0x in front.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

/// The byte of an IP header that was the type of service: DSCP and ECN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tos(pub u8);

impl FromStr for Tos {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let tos = number(text).and_then(|tos| u8::try_from(tos).ok());
        tos.map(Tos).ok_or_else(|| usage(format!("'{text}' is not a type of service; write 0 to 255, or 0x00 to 0xff")))
    }
}

/// A class of service: six bits (RFC 2474).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp(pub u8);

impl FromStr for Dscp {
    type Err = Error;

    /// A number, or a name: cs0 to cs7 (RFC 2474), af11 to af43 (RFC 2597), ef (RFC 3246), va
    /// (RFC 5865), le (RFC 8622).
    fn from_str(text: &str) -> Result<Self> {
        let name = text.to_ascii_lowercase();
        let code = match (name.as_str(), name.as_bytes()) {
            ("ef", _) => Some(46),
            ("va", _) => Some(44),
            ("le", _) => Some(1),
            (_, [b'c', b's', class @ b'0'..=b'7']) => Some((class - b'0') << 3),
            (_, [b'a', b'f', class @ b'1'..=b'4', drop @ b'1'..=b'3']) => {
                Some((class - b'0') << 3 | (drop - b'0') << 1)
            }
            _ => number(text).and_then(|code| u8::try_from(code).ok()).filter(|code| *code < 64),
        };
        code.map(Dscp).ok_or_else(|| {
            usage(format!("'{text}' is not a DSCP; write 0 to 63, or a name like ef, af41, cs6, le or va"))
        })
    }
}

/// Two bits of congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecn(pub u8);

impl FromStr for Ecn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let code = match text.to_ascii_lowercase().as_str() {
            "0" | "not-ect" => 0,
            "1" | "ect1" => 1,
            "2" | "ect0" => 2,
            "3" | "ce" => 3,
            _ => return Err(usage(format!("'{text}' is no ECN; write not-ect, ect0, ect1 or ce, or 0 to 3"))),
        };
        Ok(Ecn(code))
    }
}

/// Flags of TCP, the lowest first (RFC 9293 §3.1).
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// Flags of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// Of a segment of data.
    pub const ACK: TcpFlags = TcpFlags(0x10);
}

impl FromStr for TcpFlags {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(flags) = number(text).and_then(|flags| u8::try_from(flags).ok()) {
            return Ok(TcpFlags(flags));
        }
        let mut flags = 0;
        for name in text.split([',', '+']).filter(|_| text != "none") {
            let bit = FLAGS.iter().position(|flag| flag.eq_ignore_ascii_case(name));
            flags |= 1
                << bit.ok_or_else(|| {
                    let names = FLAGS.join(", ");
                    usage(format!(
                        "'{text}' are no flags of TCP; write some of {names} with commas, a number like 0x12, or none"
                    ))
                })?;
        }
        Ok(TcpFlags(flags))
    }
}

/// What an Ethernet header says of what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethertype(pub u16);

impl Ethertype {
    /// For experiments (IEEE 802, 9.2.4).
    pub const EXPERIMENTAL: Ethertype = Ethertype(0x88b5);
}

impl FromStr for Ethertype {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let kind = number(text).and_then(|kind| u16::try_from(kind).ok());
        kind.map(Ethertype).ok_or_else(|| usage(format!("'{text}' is no type of Ethernet; write one like 0x88b5")))
    }
}

/// Bytes to put into a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl FromStr for Bytes {
    type Err = Error;

    /// Hexadecimal digits, two a byte, which blanks and colons may part; or the name of a file
    /// that has the bytes.
    fn from_str(text: &str) -> Result<Self> {
        match hex(text) {
            Some(bytes) => fits(text, bytes),
            None => Bytes::of_file(Path::new(text)),
        }
    }
}

impl Bytes {
    /// What is in a file.
    ///
    /// # Errors
    /// What reading it meets; [`crate::Kind::Usage`] if no frame has room for it.
    pub fn of_file(path: &Path) -> Result<Self> {
        use std::io::Read;
        let shown = path.display();
        let failed =
            |error| Error::io(format!("reading the payload from {shown}, as it is no hexadecimal digits"), error);
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_FRAME as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        fits(&shown.to_string(), bytes)
    }
}

/// Refuses what no frame has room for, and nothing at all.
fn fits(name: &str, bytes: Vec<u8>) -> Result<Bytes> {
    if bytes.is_empty() {
        return Err(usage(format!("the payload '{name}' has no bytes; write two hexadecimal digits for each")));
    }
    if bytes.len() > MAX_FRAME {
        return Err(usage(format!("the payload '{name}' is longer than a frame may be, {MAX_FRAME} bytes")));
    }
    Ok(Bytes(bytes))
}

/// Bytes of hexadecimal digits, if they are nothing else.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let digit = |c: char| c.to_digit(16).map(|digit| digit as u8);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn read<T: FromStr<Err = Error>>(text: &str) -> T {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn classes_of_service_have_the_numbers_of_their_rfcs() {
        for (text, code) in
            [("ef", 46), ("AF11", 10), ("af41", 34), ("af43", 38), ("cs6", 48), ("cs0", 0), ("le", 1), ("0x2e", 46)]
        {
            assert_eq!(read::<Dscp>(text), Dscp(code), "{text}");
        }
        assert_eq!([read::<Ecn>("ect0"), read("ect1"), read("ce"), read("0")], [Ecn(2), Ecn(1), Ecn(3), Ecn(0)]);
        assert_eq!((read::<Tos>("0xb8"), read::<Tos>("255")), (Tos(184), Tos(255)));
    }

    #[test]
    fn flags_of_tcp_are_named_or_numbered() {
        for (text, flags) in
            [("syn", 2), ("syn,ack", 0x12), ("FIN+PSH+URG", 0x29), ("none", 0), ("0xff", 255), ("cwr,ece", 0xc0)]
        {
            assert_eq!(read::<TcpFlags>(text), TcpFlags(flags), "{text}");
        }
    }

    #[test]
    fn bytes_are_digits_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        std::fs::write(&path, [7, 8, 9]).unwrap();
        assert_eq!(read::<Bytes>("0x00ff:Aa 1 2").0, [0, 255, 0xaa, 0x12]);
        assert_eq!(read::<Bytes>(path.to_str().unwrap()).0, [7, 8, 9]);
    }

    #[test]
    fn nonsense_is_refused_in_one_line() {
        let refused = |error: Error, text: &str| {
            assert!(!error.to_string().contains('\n'), "{text}");
            error.kind()
        };
        for text in ["", "64", "af14", "af51", "cs8", "e", "-1", "+1"] {
            assert_eq!(refused(text.parse::<Dscp>().unwrap_err(), text), Kind::Usage);
        }
        for text in ["", "4", "ect2"] {
            assert_eq!(refused(text.parse::<Ecn>().unwrap_err(), text), Kind::Usage);
        }
        for text in ["", "256", "0x100", "x", "0x+1"] {
            assert_eq!(refused(text.parse::<Tos>().unwrap_err(), text), Kind::Usage);
            assert_eq!(refused(text.parse::<TcpFlags>().unwrap_err(), text), Kind::Usage);
        }
        for text in ["", "65536", "0x", "ip"] {
            assert_eq!(refused(text.parse::<Ethertype>().unwrap_err(), text), Kind::Usage);
        }
        for text in ["", "0x", "::", "/nonexistent/payload", "/dev/null", "/dev/zero"] {
            refused(text.parse::<Bytes>().unwrap_err(), text);
        }
    }
}
