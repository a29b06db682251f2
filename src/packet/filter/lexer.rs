//! Words and signs of a filter expression, each with its place.

use crate::error::{Error, Kind, Result};
use std::fmt;

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
    /// A word, number or address.
    Word(&'a str),
    /// A sign.
    Sign(&'a str),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) | Token::Sign(text) => write!(f, "'{text}'"),
        }
    }
}

/// The tokens of `text` and where each begins, in bytes.
///
/// Outside brackets a word may hold `:`, `.` and `-` (addresses, port ranges,
/// `tcp-syn`); inside them `:` and `-` are signs, as in `ip[6:2]`.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>> {
    let mut tokens = Vec::new();
    let mut brackets = 0_usize;
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        if next.is_whitespace() {
            at += next.len_utf8();
            continue;
        }
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || brackets == 0 && ".:-".contains(c);
        // A backslash keeps shells and old grammars from seeing a keyword.
        let escaped = usize::from(next == '\\');
        let starts = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let word = rest[escaped..].chars().next().is_some_and(starts) || brackets == 0 && rest.starts_with("::");
        let token = if word {
            let len = rest[escaped..].find(|c| !inner(c)).unwrap_or(rest.len() - escaped);
            let word = &rest[escaped..escaped + len];
            // Arithmetic may follow without a space: "len-4", but "tcp-syn" and
            // "80-90" are words.
            let word = if word.starts_with("len-") { "len" } else { word };
            tokens.push((at, Token::Word(word)));
            escaped + word.len()
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).ok_or_else(|| {
                Error::new(Kind::Usage, format!("filter: '{next}' at character {} means nothing here", place(text, at)))
            })?;
            match *sign {
                "[" => brackets += 1,
                "]" => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            tokens.push((at, Token::Sign(sign)));
            sign.len()
        };
        at += token;
        if tokens.len() > MOST {
            return Err(Error::new(Kind::Usage, format!("filter: more than {MOST} words; split it up")));
        }
    }
    Ok(tokens)
}

/// The number of the character at byte `at`, from 1.
pub fn place(text: &str, at: usize) -> usize {
    text[..at].chars().count() + 1
}
