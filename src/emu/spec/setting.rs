//! A value of a specification, read as what its key takes.

use super::super::Picos;
use super::super::fault::{At, Counts, Fault, FaultKind, Measure};
use super::super::wire::{MIN_SPEED, Speed};
use crate::error::{Error, Kind, Result};
use std::fmt;

/// A share of all frames, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// No frame.
    pub const NONE: Share = Share(0);
    /// Every frame.
    pub const ALL: Share = Share(1_000_000_000);
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PERCENT: u32 = 10_000_000;
        let fraction = format!("{:07}", self.0 % PERCENT);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{}%", self.0 / PERCENT),
            digits => write!(f, "{}.{digits}%", self.0 / PERCENT),
        }
    }
}

/// One `key=value` of a specification, and whose it is for the error's text.
pub(in crate::emu) struct Setting<'a> {
    pub(in crate::emu) whose: &'a str,
    pub(in crate::emu) key: &'a str,
    pub(in crate::emu) value: Option<&'a str>,
}

impl Setting<'_> {
    /// The value as it is written, without backslashes.
    pub(in crate::emu) fn value(&self) -> Result<&str> {
        self.value.filter(|value| !value.is_empty()).ok_or_else(|| self.bad("a value"))
    }

    pub(in crate::emu) fn flag(&self) -> Result<bool> {
        if self.value.is_some() { Err(self.bad("no value")) } else { Ok(true) }
    }

    pub(in crate::emu) fn switch(&self) -> Result<bool> {
        match self.value()? {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(self.bad("on or off")),
        }
    }

    pub(in crate::emu) fn number(&self, least: u64, most: u64) -> Result<u64> {
        let number = self.value()?.parse().ok().filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| self.bad(format_args!("a number from {least} to {most}")))
    }

    /// A number with k, M or G behind it.
    pub(in crate::emu) fn scaled(&self) -> Result<u64> {
        let value = self.value()?;
        let (digits, unit) = match value.char_indices().last() {
            Some((at, 'k' | 'K')) => (&value[..at], 1_000),
            Some((at, 'm' | 'M')) => (&value[..at], 1_000_000),
            Some((at, 'g' | 'G')) => (&value[..at], 1_000_000_000),
            _ => (value, 1),
        };
        decimal(digits, unit).ok_or_else(|| self.bad("a number like 1000, 14.88M or 10G"))
    }

    /// Frames a second, at least one.
    pub(in crate::emu) fn limit(&self) -> Result<u64> {
        let frames = self.scaled().ok().filter(|frames| (1..=1_000_000_000).contains(frames));
        frames.ok_or_else(|| self.bad("frames a second from 1 to 1G, like 200k or 2M"))
    }

    pub(in crate::emu) fn speed(&self) -> Result<Speed> {
        if self.value()? == "max" {
            return Ok(Speed::Max);
        }
        let bits = self.scaled().ok().filter(|bits| (MIN_SPEED..=1_000_000_000_000).contains(bits));
        bits.map(Speed::Bits).ok_or_else(|| self.bad("bits a second from 1M to 1000G, or max"))
    }

    /// A time with its unit, at most an hour.
    pub(in crate::emu) fn time(&self) -> Result<Picos> {
        let value = self.value()?;
        let unit = UNITS.iter().find_map(|&(name, unit)| Some((value.strip_suffix(name)?, unit)));
        let time = unit.and_then(|(digits, unit)| decimal(digits, unit)).filter(|&time| time <= 3600 * UNITS[4].1);
        time.ok_or_else(|| self.bad("a time like 500ns, 10us, 5ms or 1s, at most 3600s"))
    }

    /// A factor from 0.001 to 1000, in thousandths.
    pub(in crate::emu) fn thousandths(&self) -> Result<u64> {
        let value = self.value()?;
        let factor = decimal(value.trim_end_matches('x'), 1000).filter(|factor| (1..=1_000_000).contains(factor));
        factor.ok_or_else(|| self.bad("a factor from 0.001 to 1000, or line"))
    }

    /// A share as percentage or fraction.
    pub(in crate::emu) fn share(&self) -> Result<Share> {
        let value = self.value()?;
        let share = match value.strip_suffix('%') {
            Some(percent) => decimal(percent, u64::from(Share::ALL.0) / 100),
            None => decimal(value, u64::from(Share::ALL.0)),
        };
        let share = share.and_then(|billionths| u32::try_from(billionths).ok()).map(Share);
        share.filter(|&share| share <= Share::ALL).ok_or_else(|| self.bad("a share like 0.1% or 0.001, at most 100%"))
    }

    /// `KIND`, `KIND:NUMBER` or `KIND:0xCODE`; of packets also `KIND:/NUMBER` and `KIND:NUMBER-`,
    /// and `KIND=BYTES` or `KIND=TIME` before that.
    pub(super) fn fault(&self) -> Result<Fault> {
        let names = FaultKind::ALL.map(FaultKind::name).join(", ");
        let value = self.value()?;
        let (what, number) = value.split_once(':').map_or((value, None), |(what, at)| (what, Some(at)));
        let (name, measure) = key_value(what);
        let kind = FaultKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| self.bad(format_args!("one of {names}")))?;
        let measured = Setting { whose: self.whose, key: kind.name(), value: measure };
        let measure = match (measure, kind.counts()) {
            (None, _) => None,
            // Lengths of a descriptor have 14 bits in some families.
            (Some(_), Counts::Packets(Measure::Bytes)) => Some(measured.number(0, 0x3fff)?),
            (Some(_), Counts::Packets(Measure::Time)) => Some(measured.time()?),
            (Some(_), _) => return Err(self.bad(format_args!("no size or time with {name}"))),
        };
        let at = match number {
            None => None,
            Some(_) if kind.counts() == Counts::Nothing => {
                return Err(self.bad(format_args!("no number with {name}, which is not of a command")));
            }
            Some(which) if matches!(kind.counts(), Counts::Packets(_)) => Some(self.packets(name, which)?),
            Some(code) if kind.counts() == Counts::Others && code.starts_with("0x") => {
                return Err(self.bad(format_args!("no code of a command with {name}, but a number, as in {name}:7")));
            }
            Some(number) => {
                let bad = || self.bad("the number of a command from 1 on or its code, as in error:7 or error:0x613");
                Some(match number.strip_prefix("0x") {
                    Some(digits) => At::Code(u32::from_str_radix(digits, 16).map_err(|_| bad())?),
                    None => At::Number(positive(number).ok_or_else(bad)?),
                })
            }
        };
        Ok(Fault { kind, at, measure })
    }

    /// Which packets a fault strikes.
    fn packets(&self, name: &str, which: &str) -> Result<At> {
        let at = match (which.strip_prefix('/'), which.strip_suffix('-')) {
            (Some(nth), _) => positive(nth).map(At::Every),
            (_, Some(first)) => positive(first).map(At::From),
            (None, None) => positive(which).map(At::Number),
        };
        at.ok_or_else(|| {
            self.bad(format_args!(
                "packets as in {name}:7 for one, {name}:/7 for every 7th, or {name}:7- for all from it on"
            ))
        })
    }

    pub(super) fn mac(&self) -> Result<[u8; 6]> {
        let bad = || self.bad("an address like 02:00:00:00:00:01, not a multicast one");
        let mut mac = [0; 6];
        let mut parts = self.value()?.split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(bad)?;
        }
        if parts.next().is_some() || mac[0] & 1 == 1 || mac == [0; 6] {
            return Err(bad());
        }
        Ok(mac)
    }

    pub(in crate::emu) fn unknown(&self, options: &str) -> Error {
        let Setting { whose, key, .. } = self;
        usage(format!("{whose}: there is no option '{key}'; options are {options}"))
    }

    pub(in crate::emu) fn bad(&self, wanted: impl fmt::Display) -> Error {
        let Setting { whose, key, value } = self;
        match value {
            Some(value) => usage(format!("{whose}: '{key}={value}' makes no sense; '{key}' takes {wanted}")),
            None => usage(format!("{whose}: '{key}' makes no sense without a value; it takes {wanted}")),
        }
    }
}

pub(in crate::emu) fn usage(line: String) -> Error {
    Error::new(Kind::Usage, line)
}

/// `key=value` or a lone `key`.
pub(in crate::emu) fn key_value(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    }
}

/// A number from 1 on.
fn positive(digits: &str) -> Option<u32> {
    digits.parse().ok().filter(|number| *number > 0)
}

/// `digits` (a decimal like `14.88`) times `unit`, rounded down.
pub(super) fn decimal(digits: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (mut rest, mut part) = (0u64, unit);
    for digit in fraction.bytes().map(|b| u64::from(b.checked_sub(b'0').unwrap_or(10))) {
        if digit > 9 {
            return None;
        }
        rest += part * digit / 10;
        part /= 10;
    }
    whole.checked_mul(unit)?.checked_add(rest)
}

/// Units of time, the longer names first where one ends in another.
pub(super) const UNITS: [(&str, Picos); 5] =
    [("ps", 1), ("ns", 1_000), ("us", 1_000_000), ("ms", 1_000_000_000), ("s", 1_000_000_000_000)];
