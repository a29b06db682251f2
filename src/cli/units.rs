//! Numbers with units, as people type them: `14.88M`, `2Gbit`, `500ms`, `64K`.
//!
//! Case does not matter and a space before the unit is fine. Counts and rates
//! step by 1000, sizes in bytes by 1024. Every refusal says what would be
//! right.

use crate::error::{Error, Kind, Result};
use crate::measure::probe::wire_bits;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Packets a second: `1000`, `14.88M`, `1kpps`.
    Pps(f64),
    /// Bits a second on the wire (layer 1): frame, FCS, preamble and gap:
    /// `2Gbit`. So `10Gbit` is exactly what a 10 Gbit/s link carries.
    Bits(f64),
    /// Share of line rate: `50%`.
    Percent(f64),
    /// As fast as the link carries: `line`.
    Line,
}

/// Most packets a second that a rate may ask for; more is a unit forgotten.
const MAX_PPS: f64 = 1e9;

/// Packets of `frame_len` bytes (without FCS) a second that a link of
/// `link_speed` bits a second carries.
pub fn line_rate(frame_len: usize, link_speed: u64) -> f64 {
    link_speed as f64 / wire_bits(frame_len)
}

impl Rate {
    /// In packets a second, for frames of `frame_len` bytes (without FCS; the
    /// mean, if they differ) on a link of `link_speed` bits a second. It may be
    /// more than the link carries: that is for the caller to say.
    pub fn pps(self, frame_len: usize, link_speed: u64) -> f64 {
        match self {
            Rate::Pps(pps) => pps,
            Rate::Bits(bits) => bits / wire_bits(frame_len),
            Rate::Percent(percent) => line_rate(frame_len, link_speed) * percent / 100.0,
            Rate::Line => line_rate(frame_len, link_speed),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Rate::Pps(pps) => write!(f, "{}pps", Scaled(pps)),
            Rate::Bits(bits) => write!(f, "{}bit", Scaled(bits)),
            Rate::Percent(percent) => write!(f, "{percent}%"),
            Rate::Line => f.write_str("line"),
        }
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || usage(format!("'{text}' is not a rate; write one like 14.88M, 500kpps, 2Gbit, 50% or line"));
        if text.eq_ignore_ascii_case("line") {
            return Ok(Rate::Line);
        }
        let (digits, unit) = split(text);
        let value = real(digits).ok_or_else(bad)?;
        if value == 0.0 {
            return Err(usage(format!("a rate of '{text}' sends nothing; ask for more than zero")));
        }
        // Bytes to some, a loud bit to others.
        let loud = matches!(
            unit.trim_end_matches("/s").trim_start_matches(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T']),
            "B" | "Bps" | "BPS"
        );
        if loud {
            let scale = unit.split('B').next().unwrap_or_default();
            return Err(usage(format!(
                "'{text}' may be bytes or bits a second; write {}{scale}bit for the bytes, {digits}{scale}bit for the bits",
                8.0 * value
            )));
        }
        let unit = unit.to_ascii_lowercase();
        if unit == "%" {
            if value > 100.0 {
                return Err(usage(format!("'{text}' is more than the line carries; ask for at most 100%")));
            }
            return Ok(Rate::Percent(value));
        }
        let unit = unit.strip_suffix("/s").unwrap_or(&unit);
        let (scale, what) = match unit.as_bytes().first() {
            Some(b'k') => (1e3, &unit[1..]),
            Some(b'm') => (1e6, &unit[1..]),
            Some(b'g') => (1e9, &unit[1..]),
            Some(b't') => (1e12, &unit[1..]),
            _ => (1.0, unit),
        };
        match what {
            "" | "pps" if value * scale > MAX_PPS => Err(usage(format!(
                "'{text}' is more packets a second than any card sends (at most 1G); for bits a second write it like 10Gbit"
            ))),
            "" | "pps" => Ok(Rate::Pps(value * scale)),
            "bit" | "bits" | "bps" => Ok(Rate::Bits(value * scale)),
            _ => Err(bad()),
        }
    }
}

/// A count: `1000`, `1.5M`, `2G`.
pub fn count(text: &str) -> Result<u64> {
    let bad = || usage(format!("'{text}' is not a count; write a whole number like 1000, 1.5M or 2G"));
    let (digits, unit) = split(text);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return Err(bad()),
    };
    decimal(digits, unit).ok_or_else(bad)
}

/// A size in bytes: `512`, `64K`, `2M`, `1GiB`; steps of 1024.
pub fn size(text: &str) -> Result<u64> {
    let bad = || usage(format!("'{text}' is not a size in bytes; write one like 512, 64K, 2M or 1G"));
    let (digits, unit) = split(text);
    let unit = unit.to_ascii_lowercase();
    let unit = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(bad()),
    };
    decimal(digits, unit).ok_or_else(bad)
}

/// A duration: `500ms`, `2s`, `1m`, `1.5h`, `1h30m`; a bare number is in seconds.
pub fn duration(text: &str) -> Result<Duration> {
    let bad = || usage(format!("'{text}' is not a duration; write one like 10us, 500ms, 2s, 1m or 1h30m"));
    let (mut total, mut before, mut rest) = (0_u64, u64::MAX, text.trim());
    loop {
        let (digits, behind) = split(rest);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let unit = match unit.trim_end().to_ascii_lowercase().as_str() {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            // Only if it is all that there is.
            "" if before == u64::MAX => 1_000_000_000,
            _ => return Err(bad()),
        };
        let part = decimal(digits, unit).filter(|_| unit < before).ok_or_else(bad)?;
        total = total.checked_add(part).ok_or_else(bad)?;
        (before, rest) = (unit, next);
        if rest.is_empty() {
            return Ok(Duration::from_nanos(total));
        }
    }
}

/// A share of a whole: `0.5%`, `0.005`, `100%`.
pub fn share(text: &str) -> Result<f64> {
    let bad = || usage(format!("'{text}' is not a share; write one from 0 to 100 %, like 0.5% or 0.005"));
    let (digits, unit) = split(text);
    let scale = match unit {
        "" => 1.0,
        "%" => 100.0,
        _ => return Err(bad()),
    };
    real(digits).map(|value| value / scale).filter(|share| *share <= 1.0).ok_or_else(bad)
}

/// A share in per cent as it was written: `0.007`, not the `0.007000000000000001` of a product.
pub fn percent(share: f64) -> f64 {
    let percent = 100.0 * share;
    format!("{percent:.12e}").parse().unwrap_or(percent)
}

/// Descriptors in a ring: a power of two from 64 to 4096.
pub fn ring(text: &str) -> Result<u16> {
    let size = text.parse::<u16>().ok().filter(|n| n.is_power_of_two() && (64..=4096).contains(n));
    size.ok_or_else(|| usage(format!("'{text}' is not a ring size; it is a power of two from 64 to 4096")))
}

/// A number with three digits or four and its decimal unit: `14.88M`.
pub struct Scaled(pub f64);

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0.abs() {
            v if v >= 999.95e9 => (self.0 / 1e12, "T"),
            v if v >= 999.95e6 => (self.0 / 1e9, "G"),
            v if v >= 999.95e3 => (self.0 / 1e6, "M"),
            v if v >= 999.95 => (self.0 / 1e3, "k"),
            _ => (self.0, ""),
        };
        let text = format!("{value:.3}");
        write!(f, "{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn usage(line: String) -> Error {
    Error::new(Kind::Usage, line)
}

/// The leading number and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Digits with at most one point; no sign, no exponent, no infinity.
fn real(digits: &str) -> Option<f64> {
    digits.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// `digits` times `unit`, exactly; none if it is no whole number or too large.
fn decimal(digits: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    if !whole.is_empty() {
        total = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    }
    let mut left = unit;
    for digit in fraction.trim_end_matches('0').bytes() {
        if !digit.is_ascii_digit() || !left.is_multiple_of(10) {
            return None;
        }
        left /= 10;
        total = total.checked_add(u64::from(digit - b'0') * left)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_in_packets_bits_and_shares() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        assert_eq!(rate("1000"), Rate::Pps(1000.0));
        assert_eq!(rate("14.88M"), Rate::Pps(14.88e6));
        assert_eq!(rate("1kpps"), Rate::Pps(1000.0));
        assert_eq!(rate("10 Mpps"), Rate::Pps(10e6));
        assert_eq!(rate("2Gbit"), Rate::Bits(2e9));
        assert_eq!(rate("2Gbit/s"), Rate::Bits(2e9));
        assert_eq!(rate("1.6Tbit"), Rate::Bits(1.6e12));
        assert_eq!(rate("100Mbps"), Rate::Bits(100e6));
        assert_eq!(rate("100MBit"), Rate::Bits(100e6));
        assert_eq!(rate("0.5%"), Rate::Percent(0.5));
        assert_eq!(rate("LINE"), Rate::Line);
    }

    #[test]
    fn every_form_of_full_rate_is_the_same_on_the_wire() {
        let line = 10e9 / 672.0;
        for text in ["line", "100%", "10Gbit"] {
            let pps = text.parse::<Rate>().unwrap().pps(60, 10_000_000_000);
            assert!((pps - line).abs() < 1e-6, "{text}: {pps}");
        }
        // A frame below the minimum takes the time of the minimum.
        assert_eq!(Rate::Line.pps(14, 10_000_000_000), Rate::Line.pps(60, 10_000_000_000));
        assert_eq!(Rate::Percent(50.0).pps(1514, 25_000_000_000).round(), 1_015_930.0);
    }

    #[test]
    fn an_impossible_rate_is_refused_with_a_way_out() {
        for (text, hint) in [
            ("", "14.88M"),
            ("fast", "14.88M"),
            ("10X", "14.88M"),
            ("1.2.3M", "14.88M"),
            ("-5", "14.88M"),
            ("1e3", "14.88M"),
            ("inf", "14.88M"),
            ("5Mbyte", "14.88M"),
            ("0", "more than zero"),
            ("0.0%", "more than zero"),
            ("101%", "100%"),
            ("10G", "10Gbit"),
            ("10MBps", "80Mbit"),
            ("10 MB/s", "10Mbit"),
            ("1GBPS", "8Gbit"),
            ("100B", "800bit"),
        ] {
            let error = text.parse::<Rate>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(hint), "{text}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn counts_sizes_and_durations_are_exact() {
        assert_eq!(count("14.88M").unwrap(), 14_880_000);
        assert_eq!(count("18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(size("1.5K").unwrap_err().kind(), Kind::Usage, "half of 1024 is no decimal step");
        assert_eq!(size("64K").unwrap(), 65_536);
        assert_eq!(size("2MiB").unwrap(), 2 << 20);
        assert_eq!(size("512B").unwrap(), 512);
        assert_eq!(duration("2").unwrap(), Duration::from_secs(2));
        assert_eq!(duration("0.5s").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1m").unwrap(), Duration::from_secs(60));
        assert_eq!(duration("10 us").unwrap(), Duration::from_micros(10));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(duration(" 1 m 1.5 s 7ns").unwrap(), Duration::new(61, 500_000_007));
        assert_eq!(ring("512").unwrap(), 512);
    }

    #[test]
    fn shares_are_of_a_whole() {
        for text in ["0.007", "0.051", "0.102", "0.5", "7", "0"] {
            assert_eq!(percent(share(&format!("{text}%")).unwrap()).to_string(), text);
        }
        assert_eq!((share("0.5%").unwrap(), share("0.005").unwrap()), (0.005, 0.005));
        assert_eq!((share("0").unwrap(), share("100 %").unwrap()), (0.0, 1.0));
        for text in ["", "%", "101%", "1.5", "-1%", "nan", "5x"] {
            assert_eq!(share(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        for text in ["", ".", "x", "1x", "0.5", "1.0001k", "18446744073709551616", "20000000000G", "-1", "1 000"] {
            assert_eq!(count(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        for text in [
            "",
            "s",
            "1d",
            "0.5ns",
            "99999999999h",
            "١s",
            "1h1h",
            "1s1m",
            "1h30",
            "30 1h",
            "5000000h999999999m",
            "1h 5",
        ] {
            assert_eq!(duration(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        for text in ["", "0", "63", "100", "8192", "65536", "-64"] {
            assert_eq!(ring(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        assert!(size("17000000T").is_err());
    }

    proptest! {
        #[test]
        fn a_rate_reads_back_as_it_prints(milli in 1_u64..1_000_000, scale in 0_u32..4) {
            let pps = milli as f64 / 1e3 * 10f64.powi(3 * scale as i32);
            prop_assume!(pps <= MAX_PPS);
            let Rate::Pps(back) = Rate::Pps(pps).to_string().parse().unwrap() else { panic!() };
            prop_assert!((back - pps).abs() <= pps * 1e-3);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC*") {
            let _ = (text.parse::<Rate>(), count(&text), size(&text), duration(&text), ring(&text));
        }
    }
}
