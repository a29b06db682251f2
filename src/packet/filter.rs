//! Packet filters in the language of tcpdump (pcap-filter(7)).
//!
//! ```text
//!   "udp port 53 and not host 10.0.0.1"
//!        |  parse: primitives become comparisons of loads from the frame
//!        v
//!   All[ Any[..], Not(..) ]  --matches(frame)--> yes or no
//! ```
//!
//! As in the virtual machine that filters were invented for, a load from beyond
//! the end of a frame rejects the frame, even under `not`; arithmetic is of
//! unsigned 32-bit numbers; a division by zero rejects. The end is that of the
//! whole frame, in however many buffers it lies. `and` and `or` have the same
//! precedence and group to the left; `not` binds tighter. What stands to the right
//! of `vlan` looks four bytes further on.

mod arithmetic;
mod lexer;
mod parser;

use crate::error::Result;
use std::fmt;

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    test: Test,
}

impl Filter {
    /// Compiles `text`; an empty one matches everything.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::Kind::Usage), with the place and what would make
    /// sense there.
    pub fn parse(text: &str) -> Result<Filter> {
        Ok(Filter { text: text.trim().to_owned(), test: parser::parse(text)? })
    }

    /// Whether `frame` matches; `len` is its length on the wire, should `frame`
    /// hold only its beginning.
    #[inline]
    pub fn matches(&self, frame: &[u8], len: usize) -> bool {
        self.holds(&Packet { first: frame, rest: &[], len: u32::try_from(len).unwrap_or(u32::MAX) })
    }

    /// Whether a frame that lies in several buffers matches: all of it is looked
    /// at, as if it lay in one. `len` is its length on the wire.
    pub fn matches_parts(&self, parts: &[&[u8]], len: usize) -> bool {
        let (first, rest) = parts.split_first().map_or((&[][..], &[][..]), |(first, rest)| (*first, rest));
        self.holds(&Packet { first, rest, len: u32::try_from(len).unwrap_or(u32::MAX) })
    }

    #[inline]
    fn holds(&self, packet: &Packet<'_>) -> bool {
        self.test.holds(packet) == Some(true)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a filter looks at.
struct Packet<'a> {
    /// The frame, or as much of it as lies in its first buffer.
    first: &'a [u8],
    /// What lies in further ones.
    rest: &'a [&'a [u8]],
    /// Length on the wire.
    len: u32,
}

impl Packet<'_> {
    /// `size` bytes at `at`, most significant first; none beyond the end.
    #[inline]
    fn load(&self, at: usize, size: usize) -> Option<u32> {
        match self.first.get(at..at + size) {
            Some(bytes) => Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))),
            None if self.rest.is_empty() => None,
            None => self.load_beyond(at, size),
        }
    }

    /// The same of bytes that do not all lie in the first buffer.
    #[cold]
    fn load_beyond(&self, at: usize, size: usize) -> Option<u32> {
        let (mut word, mut left, mut skip) = (0, size, at);
        for part in std::iter::once(&self.first).chain(self.rest) {
            for byte in part.iter().skip(skip).take(left) {
                word = word << 8 | u32::from(*byte);
                left -= 1;
            }
            if left == 0 {
                return Some(word);
            }
            skip = skip.saturating_sub(part.len());
        }
        None
    }
}

/// A condition. `None` when it is evaluated: the frame is rejected.
#[derive(Clone, Debug)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare(Value, Relation, Value),
}

/// A number.
#[derive(Clone, Debug)]
enum Value {
    Number(u32),
    /// Length of the frame on the wire.
    Length,
    /// 1, 2 or 4 bytes of the frame, so many bytes on from where the number says,
    /// most significant first.
    Load(Box<Value>, u32, u8),
    Binary(Box<Value>, Operator, Box<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

impl Test {
    fn holds(&self, packet: &Packet<'_>) -> Option<bool> {
        match self {
            Test::All(tests) => {
                for test in tests {
                    if !test.holds(packet)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Test::Any(tests) => {
                for test in tests {
                    if test.holds(packet)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Test::Not(test) => Some(!test.holds(packet)?),
            Test::Compare(left, relation, right) => {
                let (left, right) = (left.of(packet)?, right.of(packet)?);
                Some(match relation {
                    Relation::Equal => left == right,
                    Relation::NotEqual => left != right,
                    Relation::Less => left < right,
                    Relation::LessOrEqual => left <= right,
                    Relation::Greater => left > right,
                    Relation::GreaterOrEqual => left >= right,
                })
            }
        }
    }

    /// Both must hold, `self` first.
    fn and(self, other: Test) -> Test {
        match self {
            Test::All(mut tests) => {
                tests.push(other);
                Test::All(tests)
            }
            first => Test::All(vec![first, other]),
        }
    }

    /// One must hold, `self` is tried first.
    fn or(self, other: Test) -> Test {
        match self {
            Test::Any(mut tests) => {
                tests.push(other);
                Test::Any(tests)
            }
            first => Test::Any(vec![first, other]),
        }
    }

    fn equal(value: Value, number: u32) -> Test {
        Test::Compare(value, Relation::Equal, Value::Number(number))
    }
}

impl Value {
    fn of(&self, packet: &Packet<'_>) -> Option<u32> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Length => Some(packet.len),
            // A place beyond 2^32 is beyond the end, not at the beginning again.
            Value::Load(at, on, size) => packet.load(at.of(packet)?.checked_add(*on)? as usize, usize::from(*size)),
            Value::Binary(left, operator, right) => operator.apply(left.of(packet)?, right.of(packet)?),
        }
    }

    /// `size` bytes at `at`.
    fn load(at: impl Into<Value>, size: u8) -> Value {
        Value::Load(Box::new(at.into()), 0, size)
    }

    /// `size` bytes, `on` bytes on from `at`.
    fn load_from(at: Value, on: u32, size: u8) -> Value {
        match at {
            Value::Number(at) => Value::load(at.wrapping_add(on), size),
            at => Value::Load(Box::new(at), on, size),
        }
    }

    /// This and `other`; worked out now if both are known.
    fn with(self, operator: Operator, other: impl Into<Value>) -> Value {
        match (self, other.into()) {
            (Value::Number(left), Value::Number(right)) if operator.apply(left, right).is_some() => {
                Value::Number(operator.apply(left, right).unwrap_or_default())
            }
            (left, right) => Value::Binary(Box::new(left), operator, Box::new(right)),
        }
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(number)
    }
}

impl Operator {
    fn apply(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Operator::Add => left.wrapping_add(right),
            Operator::Subtract => left.wrapping_sub(right),
            Operator::Multiply => left.wrapping_mul(right),
            Operator::Divide => left.checked_div(right)?,
            Operator::Remainder => left.checked_rem(right)?,
            Operator::And => left & right,
            Operator::Or => left | right,
            Operator::Xor => left ^ right,
            Operator::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Operator::ShiftRight => left.checked_shr(right).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests;
