//! Words, numbers, addresses and signs of a filter expression, each with its place.
//!
//! As in tcpdump's grammar the longest token wins: `80-90` is one word, `10.0.0.1`
//! an address, `aabb.ccdd.eeff` a MAC address, `ip[6:2]` six tokens.

use super::names;
use crate::error::{Error, Kind, Result};
use std::fmt;
use std::net::Ipv6Addr;

/// Longest expression, in tokens: no nesting of it can exhaust the stack.
const MOST: usize = 1000;

/// Signs, longer ones first.
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", ">=", "<=", "<<", ">>", "(", ")", "[", "]", ":", "!", "=", ">", "<", "+", "-", "*", "/",
    "%", "&", "|", "^",
];

/// A word, number, address or sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A keyword or a name.
    Word(&'a str),
    /// A name, whatever it spells: it stood behind a backslash.
    Name(&'a str),
    /// A number, and how it was written.
    Number(u32, &'a str),
    /// Two to four numbers with dots between them.
    Dotted(&'a str),
    Ipv6(Ipv6Addr, &'a str),
    Mac([u8; 6], &'a str),
    Sign(&'a str),
}

impl Token<'_> {
    /// As it was written.
    pub fn text(&self) -> &str {
        match self {
            Token::Word(text)
            | Token::Name(text)
            | Token::Number(_, text)
            | Token::Dotted(text)
            | Token::Ipv6(_, text)
            | Token::Mac(_, text)
            | Token::Sign(text) => text,
        }
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.text())
    }
}

/// The tokens of `text` and where each begins, in bytes.
///
/// # Errors
/// [`Kind::Usage`]: a sign that means nothing, a number that is none, or more than
/// [`MOST`] tokens.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        if next.is_whitespace() {
            at += next.len_utf8();
            continue;
        }
        let wrong = |what: &str, why: &str| {
            let place = place(text, at);
            Error::new(Kind::Usage, format!("filter '{}': '{what}' at character {place} {why}", text.trim()))
        };
        let rest = &text[at..];
        let (token, len) = match next {
            '\\' => {
                let end = rest.find([' ', '!', '(', ')', '\n', '\t']).unwrap_or(rest.len());
                (Token::Name(&rest[1..end]), end)
            }
            '$' => return Err(wrong("$", "begins an address of ARCNET, and the frames are of Ethernet")),
            _ => match word(rest) {
                Ok(Some(found)) => found,
                Ok(None) => return Err(wrong(next.encode_utf8(&mut [0; 4]), "means nothing here")),
                Err(number) => return Err(wrong(number, "is no number of 32 bits")),
            },
        };
        if matches!(token, Token::Name("")) {
            return Err(wrong("\\", "must stand right before a name"));
        }
        tokens.push((at, token));
        at += len;
        if tokens.len() > MOST {
            return Err(Error::new(Kind::Usage, format!("filter: more than {MOST} words; split it up")));
        }
    }
    Ok(tokens)
}

/// The token that `rest` begins with, and its length in bytes; or a number that is
/// none.
fn word(rest: &str) -> std::result::Result<Option<(Token<'_>, usize)>, &str> {
    let identifier = identifier(rest);
    let best = [mac(rest), number(rest), dotted(rest), ipv6(rest)].into_iter().flatten().fold(
        None,
        |best: Option<(Sort, usize)>, (sort, len)| match best {
            Some((_, most)) if most >= len => best,
            _ => Some((sort, len)),
        },
    );
    if let Some((sort, len)) = best.filter(|(_, len)| *len >= identifier) {
        let text = &rest[..len];
        return Ok(Some((
            match sort {
                Sort::Mac(mac) => Token::Mac(mac, text),
                Sort::Number => Token::Number(value(text).ok_or(text)?, text),
                Sort::Dotted => Token::Dotted(text),
                Sort::Ipv6(address) => Token::Ipv6(address, text),
            },
            len,
        )));
    }
    if identifier > 0 {
        let text = &rest[..identifier];
        // "len-4" is arithmetic, "tcp-syn" a word.
        let text = if text.starts_with("len-") { "len" } else { text };
        return Ok(Some(match names::constant(text) {
            Some(number) => (Token::Number(number, text), text.len()),
            None => (Token::Word(text), text.len()),
        }));
    }
    Ok(SIGNS.iter().find(|sign| rest.starts_with(**sign)).map(|sign| (Token::Sign(sign), sign.len())))
}

/// What a run of digits, letters, dots and colons may be.
enum Sort {
    Mac([u8; 6]),
    Number,
    Dotted,
    Ipv6(Ipv6Addr),
}

/// Letters and digits, with `-`, `_` and `.` between them; a dot may end it.
fn identifier(rest: &str) -> usize {
    if !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return 0;
    }
    let run = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(rest.len());
    rest[..run].trim_end_matches(['-', '_']).len()
}

/// `aa:bb:cc:dd:ee:f`, with `-` or `.` as well; `aabb.ccdd.eeff`; `aabbccddeeff`.
fn mac(rest: &str) -> Option<(Sort, usize)> {
    let hex = |at: usize| rest.as_bytes().get(at).and_then(|b| char::from(*b).to_digit(16)).map(|d| d as u8);
    // Groups of four digits, three of them, with dots or without.
    for gap in [1, 0] {
        let mut octets = [0; 6];
        let whole = (0..3).all(|group| {
            let at = group * (4 + gap);
            let dot = group == 0 || gap == 0 || rest.as_bytes().get(at - 1) == Some(&b'.');
            let digits: Option<Vec<u8>> = (at..at + 4).map(hex).collect();
            digits.filter(|_| dot).is_some_and(|d| {
                (octets[2 * group], octets[2 * group + 1]) = (d[0] << 4 | d[1], d[2] << 4 | d[3]);
                true
            })
        });
        if whole {
            return Some((Sort::Mac(octets), 12 + 2 * gap));
        }
    }
    [b':', b'-', b'.'].into_iter().find_map(|joint| {
        let (mut octets, mut at) = ([0; 6], 0);
        for (n, octet) in octets.iter_mut().enumerate() {
            if n > 0 {
                (rest.as_bytes().get(at) == Some(&joint)).then_some(())?;
                at += 1;
            }
            *octet = hex(at)?;
            at += 1;
            if let Some(low) = hex(at) {
                *octet = *octet << 4 | low;
                at += 1;
            }
        }
        Some((Sort::Mac(octets), at))
    })
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

fn number(rest: &str) -> Option<(Sort, usize)> {
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let len = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        if len > 0 {
            return Some((Sort::Number, 2 + len));
        }
    }
    let len = digits(rest);
    (len > 0).then_some((Sort::Number, len))
}

fn dotted(rest: &str) -> Option<(Sort, usize)> {
    let mut len = digits(rest);
    let mut parts = usize::from(len > 0);
    while (1..4).contains(&parts) && rest[len..].starts_with('.') {
        let more = digits(&rest[len + 1..]);
        if more == 0 {
            break;
        }
        len += 1 + more;
        parts += 1;
    }
    (parts > 1).then_some((Sort::Dotted, len))
}

fn ipv6(rest: &str) -> Option<(Sort, usize)> {
    let run = rest.find(|c: char| !(c.is_ascii_hexdigit() || c == ':' || c == '.')).unwrap_or(rest.len());
    // Nothing longer is an address.
    let run = run.min(45);
    (2..=run).rev().find_map(|len| Some((Sort::Ipv6(rest[..len].parse().ok()?), len)))
}

/// Decimal, or hexadecimal after `0x`, or octal after `0`.
pub fn value(text: &str) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// The number of the character at byte `at`, from 1.
pub fn place(text: &str, at: usize) -> usize {
    text[..at].chars().count() + 1
}
