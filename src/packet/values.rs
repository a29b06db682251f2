//! What a field of a generated frame runs through: `7`, `1-9`, `1-9/2`, `rand`.
//!
//! ```text
//!   10.0.0.1               always this
//!   10.0.0.1-10.0.0.9      in turn, over and over
//!   10.0.0.1-10.0.0.9/2    every second one
//!   10.0.0.1-10.0.0.9/rand one of them at random
//!   rand                   any that is safe to send (see each field)
//! ```
//!
//! All fields of a frame step together, once a frame. Random ones draw from one
//! generator with a seed, so that a run can be repeated.

use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What one field runs through, as numbers of up to 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// The first value.
    pub first: u128,
    /// How far the last one is from it. Less than 2^64.
    pub span: u64,
    /// From one to the next; `None` draws at random.
    pub step: Option<u64>,
}

impl Values {
    /// Always the same.
    pub fn one(value: u128) -> Self {
        Values { first: value, span: 0, step: Some(1) }
    }

    /// Any of `first..=last` at random.
    fn any(first: u128, last: u128) -> Self {
        Values { first, span: (last - first) as u64, step: None }
    }

    /// Whether it never changes.
    pub fn is_constant(&self) -> bool {
        self.span == 0
    }

    /// Reads `text`, whose values `parse` reads and which are called `what`.
    fn read(text: &str, what: &str, rand: Values, parse: impl Fn(&str) -> Option<u128>) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::Usage, format!("'{text}' is not {what}: {why}"));
        if text.eq_ignore_ascii_case("rand") {
            return Ok(rand);
        }
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let form = "write one value, a-b, a-b/step, a-b/rand or rand";
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (parse(first), parse(last)),
            None if step.is_some() => return Err(bad("a step needs a range, a-b/step")),
            None => (parse(range), parse(range)),
        };
        let (first, last) = first.zip(last).ok_or_else(|| bad(form))?;
        let span = last.checked_sub(first).ok_or_else(|| bad("the range ends before it begins"))?;
        let span = u64::try_from(span).map_err(|_| bad("the range is too wide, 2^64 values at most"))?;
        let step = match step {
            None => Some(1),
            Some("rand") => None,
            Some(step) => {
                let step = step.parse().ok().filter(|&step: &u64| step > 0);
                Some(step.ok_or_else(|| bad("the step is a whole number from 1 on, or rand"))?)
            }
        };
        Ok(Values { first, span, step })
    }
}

/// UDP or TCP ports. `rand` is 1024 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(pub Values);

impl FromStr for Ports {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let port = |text: &str| text.parse::<u16>().ok().map(u128::from);
        Values::read(text, "a port", Values::any(1024, 65_535), port).map(Ports)
    }
}

/// Ethernet addresses. `rand` is any that is administered locally and belongs
/// to one station: 02:00:00:00:00:00 to 02:ff:ff:ff:ff:ff. A range is written
/// with colons inside an address: `02:00:00:00:00:01-02:00:00:00:00:ff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs(pub Values);

impl Macs {
    /// One address.
    pub fn one(mac: MacAddr) -> Self {
        Macs(Values::one(number(mac)))
    }
}

/// An Ethernet address as the number it is on the wire.
fn number(mac: MacAddr) -> u128 {
    mac.0.iter().fold(0, |n, &byte| n << 8 | u128::from(byte))
}

impl FromStr for Macs {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mac = |text: &str| text.parse().ok().map(number);
        let rand = Values::any(0x0200_0000_0000, 0x02ff_ffff_ffff);
        Values::read(text, "an Ethernet address", rand, mac).map(Macs)
    }
}

/// IP addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ips {
    /// IPv4.
    V4(Values),
    /// IPv6. A range stays within its upper 64 bits.
    V6(Values),
    /// Any of the family's test network, whichever that turns out to be.
    Rand,
}

/// Networks set aside for tests of network devices: IPv4 (RFC 2544 §C.2.2), IPv6 (RFC 5180 §8).
pub const TEST_V4: (Ipv4Addr, u32) = (Ipv4Addr::new(198, 18, 0, 0), 17);
/// See [`TEST_V4`].
pub const TEST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);

impl Ips {
    /// One address.
    pub fn one(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Ips::V4(Values::one(u32::from(address).into())),
            IpAddr::V6(address) => Ips::V6(Values::one(address.into())),
        }
    }

    /// Any address of the test network of IPv4 or IPv6: 198.18.0.0/15, 2001:2::/64.
    pub fn random(v6: bool) -> Values {
        if v6 {
            let base = u128::from(TEST_V6);
            Values::any(base, base + u128::from(u64::MAX))
        } else {
            let base = u128::from(u32::from(TEST_V4.0));
            Values::any(base, base + (1 << TEST_V4.1) - 1)
        }
    }
}

impl FromStr for Ips {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("rand") {
            return Ok(Ips::Rand);
        }
        let what = "an IP address";
        if !text.contains(':') {
            let v4 = |text: &str| text.parse::<Ipv4Addr>().ok().map(|a| u128::from(u32::from(a)));
            return Values::read(text, what, Ips::random(false), v4).map(Ips::V4);
        }
        let v6 = |text: &str| text.parse::<Ipv6Addr>().ok().map(u128::from);
        let values = Values::read(text, what, Ips::random(true), v6)?;
        if values.first >> 64 != (values.first + u128::from(values.span)) >> 64 {
            let line = format!("'{text}' is not {what}: a range of IPv6 addresses stays within one /64");
            return Err(Error::new(Kind::Usage, line));
        }
        Ok(Ips::V6(values))
    }
}

/// A generator of random numbers that is fast, good enough for addresses, and
/// the same everywhere: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

/// From one state of it to the next.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Goes on as if `n` numbers had been drawn.
    #[inline]
    pub fn skip(&mut self, n: u64) {
        self.0 = self.0.wrapping_add(n.wrapping_mul(GAMMA));
    }

    /// The next number that is at most `most`.
    #[inline]
    pub fn up_to(&mut self, most: u64) -> u64 {
        // The high half of the product is even to within 2^-64 times the range.
        ((u128::from(self.draw()) * (u128::from(most) + 1)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_a_range_and_a_step_are_read() {
        let ports = |text: &str| text.parse::<Ports>().unwrap().0;
        assert_eq!(ports("53"), Values { first: 53, span: 0, step: Some(1) });
        assert_eq!(ports("1-9"), Values { first: 1, span: 8, step: Some(1) });
        assert_eq!(ports("0-65535/256"), Values { first: 0, span: 65_535, step: Some(256) });
        assert_eq!(ports("1-9/rand"), Values { first: 1, span: 8, step: None });
        assert_eq!(ports("rand"), Values { first: 1024, span: 64_511, step: None });
        let Ips::V4(v4) = "10.0.0.1-10.0.1.0".parse().unwrap() else { panic!() };
        assert_eq!((v4.first, v4.span), (0x0a00_0001, 255));
        let Ips::V6(v6) = "2001:db8::1-2001:db8::ff".parse().unwrap() else { panic!() };
        assert_eq!(v6.span, 254);
        let macs: Macs = "02:00:00:00:00:01-02:00:00:00:01:00".parse().unwrap();
        assert_eq!(macs.0.span, 255);
    }

    #[test]
    fn nonsense_is_refused_in_one_line() {
        for text in ["", "-", "65536", "9-1", "1-9/0", "5/2", "1-9/x", "1-2-3", "-1", "a"] {
            let error = text.parse::<Ports>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(!error.to_string().contains('\n'));
        }
        for text in
            ["10.0.0", "10.0.0.1-::1", "::1-10.0.0.1", "::-ffff::", "2001:db8::ffff:ffff:ffff:ffff-2001:db8:0:1::"]
        {
            assert_eq!(text.parse::<Ips>().unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_numbers_within_the_range() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        let drawn: Vec<u64> = (0..10_000).map(|_| a.up_to(9)).collect();
        assert!(drawn.iter().all(|&n| n <= 9 && n == b.up_to(9)));
        for n in 0..=9 {
            let times = drawn.iter().filter(|&&d| d == n).count();
            assert!((800..1200).contains(&times), "{n} came {times} times");
        }
        assert_eq!(Random::new(1).up_to(0), 0);
        Random::new(1).up_to(u64::MAX);
    }
}
