//! PCI addresses: `domain:bus:device.function`.

use crate::error::{Error, Kind};
use std::fmt;
use std::str::FromStr;

/// The address of a PCI function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Domain (segment).
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.device, self.function)
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads `0000:03:00.0`, or `03:00.0` in domain 0.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| {
            Error::new(Kind::Usage, format!("'{text}' is not a PCI address; write it like 0000:03:00.0 or 03:00.0"))
        })
    }
}

fn parse(text: &str) -> Option<Address> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.split(':').rev();
    let device = hex(parts.next()?, 2)?;
    let bus = hex(parts.next()?, 2)?;
    let domain = match parts.next() {
        Some(domain) => hex(domain, 8)?,
        None => 0,
    };
    let function = hex(function, 1)?;
    let valid = parts.next().is_none() && device < 32 && function < 8;
    valid.then_some(Address { domain, bus: bus as u8, device: device as u8, function: function as u8 })
}

/// A hexadecimal number of 1 to `digits` digits and nothing else.
fn hex(text: &str, digits: usize) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_forms_are_the_same_address() {
        let long: Address = "0000:03:00.1".parse().unwrap();
        assert_eq!(long, "03:00.1".parse().unwrap());
        assert_eq!(long.to_string(), "0000:03:00.1");
        assert_eq!("10000:e1:1f.7".parse::<Address>().unwrap().to_string(), "10000:e1:1f.7");
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for text in
            ["", "eth0", "03:00", "3:0", "0000:03:00.8", "0000:03:20.0", "0:0:0:0.0", "+1:00.0", "03:00.", "é:00.0"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(error.to_string().contains("0000:03:00.0"), "{text}");
        }
    }
}
