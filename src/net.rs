//! What drivers and packets both need to know of a frame: Ethernet addresses and
//! the Internet checksum (RFC 1071).

use crate::error::{Error, Kind, Result};
use std::fmt;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether it can be a card's own: it names neither a group nor nobody.
    pub fn is_unicast(self) -> bool {
        !self.is_group() && self != MacAddr::default()
    }

    /// One for what has none, but has a `name`: locally administered, and the same each time.
    pub fn made_up(name: &str) -> MacAddr {
        // FNV-1a, of 64 bits.
        let digest = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let [a, b, c, d, e, ..] = digest.to_le_bytes();
        MacAddr([0x02, a, b, c, d, e])
    }

    /// Whether it names a group: multicast or broadcast.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for MacAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::new(Kind::Usage, format!("'{text}' is not a MAC address; write it like 02:00:00:00:00:01"));
        let mut mac = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(bad)?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(MacAddr(mac)) }
    }
}

/// A one's complement sum of 16-bit words, not yet folded: the Internet checksum
/// in pieces.
///
/// What is constant in a frame is summed once and what changes is added per
/// packet: two or three additions and a fold, instead of a walk over the frame
/// (RFC 1624 does the same by subtracting; adding to a sum without the field
/// needs no care about negative zero).
///
/// It holds 2^32 words before it could overflow: far more than a frame has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`, which start at an even offset of what is summed; an
    /// odd last byte is the high half of its word.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = 0;
        let mut words = bytes.chunks_exact(2);
        for word in &mut words {
            sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            sum += u64::from(*last) << 8;
        }
        Sum(sum)
    }

    /// This and another.
    #[inline]
    #[must_use]
    pub fn and(self, other: Sum) -> Self {
        Sum(self.0 + other.0)
    }

    /// This and a number of up to 64 bits that lies in the frame most
    /// significant byte first, its last byte at an odd offset.
    ///
    /// 2^16 is 1 in one's complement, so halves of 32 bits may be added whole.
    #[inline]
    #[must_use]
    pub fn and_number(self, number: u64) -> Self {
        Sum(self.0 + (number >> 32) + (number & 0xffff_ffff))
    }

    /// The same sum of bytes that lie one byte further (RFC 1071 §2, byte order
    /// independence).
    #[inline]
    #[must_use]
    pub fn shifted(self) -> Self {
        Sum(u64::from(self.fold().swap_bytes()))
    }

    /// The sum in 16 bits.
    #[inline]
    pub fn fold(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        ((sum >> 16) + (sum & 0xffff)) as u16
    }

    /// The checksum: its complement.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mac_address_reads_as_it_prints() {
        let mac: MacAddr = "02:00:5e-10-00:FF".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        for text in
            ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "2:0:0:0:0:0", "02:00:00:00:00:0g", "é2:00:00:00:00:01"]
        {
            assert_eq!(text.parse::<MacAddr>().unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(), 0xddf2);
    }

    #[test]
    fn nothing_and_everything_fold_without_a_carry_left_over() {
        assert_eq!(Sum::default().checksum(), 0xffff);
        assert_eq!(Sum::of(&[0xff; 65_536]).fold(), 0xffff);
        assert_eq!(Sum(u64::MAX).fold(), 0xffff);
    }

    proptest! {
        #[test]
        fn pieces_sum_to_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200, number: u64) {
            let cut = (cut & !1).min(bytes.len() & !1);
            let (head, tail) = bytes.split_at(cut);
            prop_assert_eq!(Sum::of(head).and(Sum::of(tail)).fold(), Sum::of(&bytes).fold());

            let mut with = number.to_be_bytes().to_vec();
            with.extend_from_slice(&bytes);
            prop_assert_eq!(Sum::of(&bytes).and_number(number).fold(), Sum::of(&with).fold());

            let mut shifted = vec![0];
            shifted.extend_from_slice(&bytes);
            prop_assert_eq!(Sum::of(&bytes).shifted().fold(), Sum::of(&shifted).fold());
        }
    }
}
