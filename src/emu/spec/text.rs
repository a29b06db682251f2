//! How a specification is parted and written.

use super::super::Picos;
use super::setting::UNITS;
use std::fmt;

/// The words of `text` between separators that have no backslash before them.
pub(in crate::emu) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let parts = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        parts
    })
}

/// A name as it is written inside a specification: backslashes before what
/// would part it.
pub(in crate::emu) fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, ',' | ':' | '=' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The name behind [`escape`].
pub(in crate::emu) fn unescape(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        name.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    name
}

/// A time in the largest unit that it is a whole number of.
pub(in crate::emu) struct Time(pub(in crate::emu) Picos);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS.iter().rev().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// A number with the largest suffix that it is a whole number of.
pub(in crate::emu) struct Scaled(pub(in crate::emu) u64);

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            n if n.is_multiple_of(1_000_000_000) => write!(f, "{}G", n / 1_000_000_000),
            n if n.is_multiple_of(1_000_000) => write!(f, "{}M", n / 1_000_000),
            n if n.is_multiple_of(1_000) => write!(f, "{}k", n / 1_000),
            n => write!(f, "{n}"),
        }
    }
}
