//! What a field of a generated frame runs through: `7`, `1-9`, `1-9/2`, `rand`.
//!
//! ```text
//!   10.0.0.1               always this
//!   10.0.0.1-10.0.0.9      in turn, over and over
//!   10.0.0.1-10.0.0.9/2    every second one
//!   10.0.0.1-10.0.0.9/rand one of them at random
//!   65000-100              past the greatest and on from 0: 65000 to 65535, 0 to 100
//!   10.0.0.0/24            the hosts of a network: 10.0.0.1 to 10.0.0.254
//!   2001:db8::/32/rand     any address of a network; with a step too
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
    /// How far the last one is from it. Behind the greatest number that the field has
    /// room for comes 0.
    pub span: u128,
    /// From one to the next; `None` draws at random.
    pub step: Option<u128>,
}

/// How the values of a field are written.
struct Form<'a, P> {
    /// What one is called.
    what: &'a str,
    /// Bits of one.
    bits: u32,
    /// What `rand` is.
    rand: Values,
    /// Reads one.
    parse: P,
    /// Whether a range may go on from 0 behind the greatest.
    around: bool,
    /// Whether `a/n` is the network of `a` with a prefix of `n` bits.
    networks: bool,
}

impl Values {
    /// Always the same.
    pub fn one(value: u128) -> Self {
        Values { first: value, span: 0, step: Some(1) }
    }

    /// Any of `first..=last` at random.
    fn any(first: u128, last: u128) -> Self {
        Values { first, span: last - first, step: None }
    }

    /// Whether it never changes.
    pub fn is_constant(&self) -> bool {
        self.span == 0
    }

    /// Whether more of it changes than its lower 64 bits.
    pub(super) fn is_wide(&self) -> bool {
        (self.first ^ self.first.wrapping_add(self.span)) >> 64 != 0 || self.span >> 64 != 0
    }

    /// Reads `text`, written as `form` says.
    fn read(text: &str, form: &Form<'_, impl Fn(&str) -> Option<u128>>) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::Usage, format!("'{text}' is not {}: {why}", form.what));
        if text.eq_ignore_ascii_case("rand") {
            return Ok(form.rand);
        }
        let all = u128::MAX >> (128 - form.bits);
        let usage = match form.networks {
            true => "write one value, a-b, a network a/prefix, either with /step or /rand, or rand",
            false => "write one value, a-b, a-b/step, a-b/rand or rand",
        };
        let parse = |text: &str| (form.parse)(text).ok_or_else(|| bad(usage));
        let (range, more) = text.split_once('/').map_or((text, None), |(range, more)| (range, Some(more)));
        let (first, span, step) = match (range.split_once('-'), more) {
            (Some((first, last)), step) => {
                let (first, last) = (parse(first)?, parse(last)?);
                if last < first && !form.around {
                    return Err(bad("the range ends before it begins"));
                }
                (first, last.wrapping_sub(first) & all, step)
            }
            (None, None) => (parse(range)?, 0, None),
            (None, Some(more)) if form.networks => {
                let (prefix, step) = more.split_once('/').map_or((more, None), |(prefix, step)| (prefix, Some(step)));
                let prefix = prefix.parse().ok().filter(|prefix| *prefix <= form.bits);
                let prefix =
                    prefix.ok_or_else(|| bad(&format!("a prefix is a whole number of bits up to {}", form.bits)))?;
                let (first, hosts) = (parse(range)?, all.checked_shr(prefix).unwrap_or(0));
                if first & hosts != 0 {
                    return Err(bad("bits are set behind the prefix; write the first address of the network"));
                }
                // RFC 1122 §3.2.1.3: the first address of an IPv4 network and the last one are
                // no host's; RFC 3021: but with two addresses both are.
                if form.bits == 32 && hosts > 1 { (first + 1, hosts - 2, step) } else { (first, hosts, step) }
            }
            (None, Some(_)) => return Err(bad("a step needs a range, a-b/step")),
        };
        let step = match step {
            None => Some(1),
            Some("rand") => None,
            Some(step) => {
                let step = step.parse().ok().filter(|&step: &u128| step > 0);
                Some(step.ok_or_else(|| bad("the step is a whole number from 1 on, or rand"))?)
            }
        };
        // A step beyond the last value leads back to the first, and may have more bits than the field.
        let span = if step.is_some_and(|step| step > span) { 0 } else { span };
        Ok(Values { first, span, step })
    }
}

/// Reads numbers of `bits` bits, decimal or with 0x in front. `rand` is any.
///
/// # Errors
/// [`Kind::Usage`] for what is none.
pub(super) fn numbers(text: &str, bits: u32) -> Result<Values> {
    let most = u128::MAX >> (128 - bits);
    let parse = |text: &str| {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u128::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.ok().filter(|number| *number <= most && !text.contains('+'))
    };
    let (what, rand) = (format!("a number of {bits} bits"), Values::any(0, most));
    Values::read(text, &Form { what: &what, bits, rand, parse, around: true, networks: false })
}

/// UDP or TCP ports. `rand` is 1024 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(pub Values);

impl FromStr for Ports {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = |text: &str| text.parse::<u16>().ok().map(u128::from);
        let rand = Values::any(1024, 65_535);
        Values::read(text, &Form { what: "a port", bits: 16, rand, parse, around: true, networks: false }).map(Ports)
    }
}

/// Identifiers of VLANs. `rand` is 1 to 4094: 0 is no VLAN, and 4095 is reserved (IEEE
/// 802.1Q, table 9-2). For that a range does not go past 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanIds(pub Values);

impl FromStr for VlanIds {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = |text: &str| text.parse::<u16>().ok().filter(|id| *id < 4096).map(u128::from);
        let what = "a VLAN id from 0 to 4095";
        let rand = Values::any(1, 4094);
        Values::read(text, &Form { what, bits: 12, rand, parse, around: false, networks: false }).map(VlanIds)
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
        let parse = |text: &str| text.parse().ok().map(number);
        let what = "an Ethernet address";
        let rand = Values::any(0x0200_0000_0000, 0x02ff_ffff_ffff);
        Values::read(text, &Form { what, bits: 48, rand, parse, around: true, networks: false }).map(Macs)
    }
}

/// IP addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ips {
    /// IPv4.
    V4(Values),
    /// IPv6.
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
        let (what, around, networks) = ("an IP address", true, true);
        if !text.contains(':') {
            let (bits, rand) = (32, Ips::random(false));
            let parse = |text: &str| text.parse::<Ipv4Addr>().ok().map(|a| u128::from(u32::from(a)));
            return Values::read(text, &Form { what, bits, rand, parse, around, networks }).map(Ips::V4);
        }
        let (bits, rand) = (128, Ips::random(true));
        let parse = |text: &str| text.parse::<Ipv6Addr>().ok().map(u128::from);
        Values::read(text, &Form { what, bits, rand, parse, around, networks }).map(Ips::V6)
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

    /// The next number that is at most `most`, of two draws.
    pub(super) fn up_to_wide(&mut self, most: u128) -> u128 {
        let drawn = u128::from(self.draw()) << 64 | u128::from(self.draw());
        // The high half of the product, by halves; that of all is the number itself.
        let Some(values) = most.checked_add(1) else { return drawn };
        let (high, low) = (|n: u128| n >> 64, |n: u128| n & u128::from(u64::MAX));
        let (cross, other) = (high(drawn) * low(values), low(drawn) * high(values));
        let middle = high(low(drawn) * low(values)) + low(cross) + other;
        high(drawn) * high(values) + high(cross) + high(middle)
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
        let vlans: VlanIds = "100-200/50".parse().unwrap();
        assert_eq!(vlans.0, Values { first: 100, span: 100, step: Some(50) });
    }

    #[test]
    fn a_range_goes_on_from_zero_behind_the_greatest() {
        let ports = |text: &str| text.parse::<Ports>().unwrap().0;
        assert_eq!(ports("65000-100"), Values { first: 65_000, span: 636, step: Some(1) });
        assert_eq!(ports("9-8/rand"), Values { first: 9, span: 65_535, step: None });
        let Ips::V4(v4) = "255.255.255.255-0.0.0.1".parse().unwrap() else { panic!() };
        assert_eq!((v4.first, v4.span), (u32::MAX.into(), 2));
        let macs: Macs = "ff:ff:ff:ff:ff:fe-00:00:00:00:00:01".parse().unwrap();
        assert_eq!(macs.0.span, 3);
        let Ips::V6(v6) = "::1-::".parse().unwrap() else { panic!() };
        assert_eq!((v6.first, v6.span), (1, u128::MAX));
    }

    #[test]
    fn a_step_beyond_the_last_value_leads_back_to_the_first() {
        for text in ["1-9/9", "1-9/18446744073709551616", "1-9/18446744073709551617"] {
            assert_eq!(text.parse::<Ports>().unwrap().0.span, 0, "{text}");
        }
        assert_eq!("1-9/8".parse::<Ports>().unwrap().0.span, 8);
        let Ips::V6(v6) = "::/64/18446744073709551616".parse().unwrap() else { panic!() };
        assert!(v6.is_constant());
    }

    #[test]
    fn a_network_is_its_hosts() {
        let read = |text: &str| match text.parse().unwrap() {
            Ips::V4(values) => (Ipv4Addr::from(values.first as u32).to_string(), values.span, values.step),
            Ips::V6(values) => (Ipv6Addr::from(values.first).to_string(), values.span, values.step),
            Ips::Rand => panic!("{text}"),
        };
        for (text, first, span, step) in [
            ("10.0.0.0/24", "10.0.0.1", 253, Some(1)),
            ("10.0.0.0/24/2", "10.0.0.1", 253, Some(2)),
            ("10.0.0.0/30/rand", "10.0.0.1", 1, None),
            ("10.0.0.8/31", "10.0.0.8", 1, Some(1)),
            ("10.0.0.9/32", "10.0.0.9", 0, Some(1)),
            ("0.0.0.0/0", "0.0.0.1", u128::from(u32::MAX) - 2, Some(1)),
            ("2001:db8::/120", "2001:db8::", 255, Some(1)),
            ("2001:db8::/32/18446744073709551616", "2001:db8::", u128::MAX >> 32, Some(1 << 64)),
            ("::1/128", "::1", 0, Some(1)),
            ("::/0/rand", "::", u128::MAX, None),
        ] {
            assert_eq!(read(text), (first.to_string(), span, step), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_in_one_line() {
        let refused = |error: Error, text: &str| {
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(!error.to_string().contains('\n'));
        };
        for text in ["", "-", "65536", "1-9/0", "5/2", "1-9/x", "1-2-3", "-1", "a", "1-9/2/2"] {
            refused(text.parse::<Ports>().unwrap_err(), text);
        }
        for text in ["", "4096", "200-100", "1-4096", "x", "1/2"] {
            refused(text.parse::<VlanIds>().unwrap_err(), text);
        }
        for text in [
            "10.0.0",
            "10.0.0.1-::1",
            "::1-10.0.0.1",
            "10.0.0.0/33",
            "10.0.0.1/24",
            "10.0.0.0/24/0",
            "10.0.0.0/x",
            "::/129",
            "::1/64",
            "10.0.0.0-10.0.0.9/24/2",
        ] {
            refused(text.parse::<Ips>().unwrap_err(), text);
        }
    }

    #[test]
    fn wide_random_numbers_are_within_their_range_and_fill_it() {
        let mut random = Random::new(7);
        for most in [0, 9, u128::from(u64::MAX) + 5, u128::MAX - 1, u128::MAX] {
            let drawn: Vec<u128> = (0..1_000).map(|_| random.up_to_wide(most)).collect();
            assert!(drawn.iter().all(|n| *n <= most), "{most}");
            let (low, high) = drawn.iter().fold((u128::MAX, 0), |(low, high), &n| (low.min(n), high.max(n)));
            assert!(low <= most / 50 && high >= most - most / 50, "{most}: {low} to {high}");
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
