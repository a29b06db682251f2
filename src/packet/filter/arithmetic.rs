//! Comparisons of numbers and of bytes of the frame: `ip[8] < 5`.

use super::expression::{Operator, Relation, Test, Value};
use super::lexer::Token;
use super::parser::Parser;
use super::words::{self, ICMP6, Proto};
use crate::error::Result;

/// Operators and how tight they bind.
///
/// Remainder and exclusive or stand outside of the order, as in libpcap's grammar:
/// they take what is to their right, all of it, and only the nearest operand to
/// their left.
const OPERATORS: [(&str, Operator, u8); 10] = [
    ("|", Operator::Or, 1),
    ("&", Operator::And, 2),
    ("<<", Operator::ShiftLeft, 3),
    (">>", Operator::ShiftRight, 3),
    ("+", Operator::Add, 4),
    ("-", Operator::Subtract, 4),
    ("*", Operator::Multiply, 5),
    ("/", Operator::Divide, 5),
    ("%", Operator::Remainder, GREEDY),
    ("^", Operator::Xor, GREEDY),
];

const UNARY: u8 = 6;
const GREEDY: u8 = 7;

/// A number, and what must hold for it to be one.
struct Term {
    value: Value,
    guard: Option<Test>,
    /// Whether it was written as a number, without anything to work out.
    plain: bool,
}

impl Parser<'_> {
    /// `ip[8] < 5`, `tcp[tcpflags] & tcp-syn != 0`, `len > 100`; `None` if what
    /// comes is no comparison.
    pub fn relation(&mut self) -> Result<Option<Test>> {
        let Some(left) = self.arithmetic(0)? else { return Ok(None) };
        let (relation, negated) = match self.peek() {
            Some(Token::Sign("=" | "==")) => (Relation::Equal, false),
            Some(Token::Sign("!=")) => (Relation::Equal, true),
            Some(Token::Sign(">")) => (Relation::Greater, false),
            Some(Token::Sign(">=")) => (Relation::GreaterOrEqual, false),
            Some(Token::Sign("<")) => (Relation::GreaterOrEqual, true),
            Some(Token::Sign("<=")) => (Relation::Greater, true),
            // "host 10.0.0.1 or 10.0.0.2", "(tcp)": something else after all.
            _ if left.guard.is_none() => return Ok(None),
            _ => return Err(self.wrong("a comparison: =, !=, <, <=, > or >=")),
        };
        self.next += 1;
        let right = self.arithmetic(0)?.ok_or_else(|| self.wrong("a number, 'len' or bytes like ip[8]"))?;
        let compare = Test::Compare(left.value, relation, right.value);
        let compare = if negated { compare.negated() } else { compare };
        let guards = [left.guard, right.guard].into_iter().flatten();
        Ok(Some(Test::All(guards.chain([compare]).collect())))
    }

    /// A number; operators that bind less than `least` end it.
    fn arithmetic(&mut self, least: u8) -> Result<Option<Term>> {
        let Some(mut left) = self.number_operand()? else { return Ok(None) };
        loop {
            let Some(Token::Sign(sign)) = self.peek() else { return Ok(Some(left)) };
            let Some((_, operator, binds)) = OPERATORS.iter().find(|(known, ..)| *known == sign) else {
                return Ok(Some(left));
            };
            if *binds < least {
                return Ok(Some(left));
            }
            self.next += 1;
            let within = if *binds == GREEDY { 0 } else { binds + 1 };
            let start = self.next;
            let Some(right) = self.within(|parser| parser.arithmetic(within))? else { return Ok(None) };
            let impossible = match (operator, &right.value) {
                (Operator::Divide | Operator::Remainder, Value::Number(0)) if right.plain => {
                    "a divisor that is not zero"
                }
                (Operator::ShiftLeft | Operator::ShiftRight, Value::Number(32..)) if right.plain => {
                    "a shift by 0 to 31 bits"
                }
                _ => "",
            };
            if !impossible.is_empty() {
                self.next = start;
                return Err(self.wrong(impossible));
            }
            left.value = left.value.with(*operator, right.value);
            left.plain = false;
            if !self.literal {
                left.guard = joined(left.guard, right.guard);
            }
        }
    }

    fn number_operand(&mut self) -> Result<Option<Term>> {
        if self.takes("-") {
            let negative = |term: Term| Term {
                value: Value::Number(0).with(Operator::Subtract, term.value),
                plain: false,
                ..term
            };
            return Ok(self.within(|parser| parser.arithmetic(UNARY))?.map(negative));
        }
        if self.takes("(") {
            let Some(term) = self.within(|parser| parser.arithmetic(0))? else { return Ok(None) };
            return Ok(self.takes(")").then_some(term));
        }
        let word = match self.peek() {
            Some(Token::Number(number, _)) => {
                self.next += 1;
                return Ok(Some(Term { value: number.into(), guard: None, plain: true }));
            }
            Some(Token::Word("len" | "length")) => {
                self.next += 1;
                return Ok(Some(Term { value: Value::Length, guard: None, plain: false }));
            }
            Some(Token::Word(word)) if self.ahead(1) == Some(Token::Sign("[")) => word,
            _ => return Ok(None),
        };
        let Some(proto) = words::proto(word) else {
            return Err(match words::refused(word) {
                Some(reason) => self.senseless(0, reason),
                None => self.wrong("ether, ip, ip6, arp, tcp, udp, icmp, icmp6 or another protocol before '['"),
            });
        };
        self.next += 2;
        self.bytes(proto).map(Some)
    }

    /// Bytes of a protocol's header; the bracket is taken.
    fn bytes(&mut self, proto: Proto) -> Result<Term> {
        let start = self.next - 2;
        let at = self.within(|parser| parser.arithmetic(0))?.ok_or_else(|| self.wrong("an offset"))?;
        let mut size = 1;
        if self.takes(":") {
            size = match self.peek() {
                Some(Token::Number(size @ (1 | 2 | 4), _)) => size as u8,
                _ => return Err(self.wrong("a size of 1, 2 or 4 bytes")),
            };
            self.next += 1;
        }
        if !self.takes("]") {
            return Err(self.wrong("']'"));
        }
        let end = self.next;
        self.next = start + 1;
        let layers = self.layers;
        let (value, guards) = match proto {
            Proto::Link => (layers.header.load_at(at.value, size), vec![]),
            Proto::Ip | Proto::Ip6 | Proto::Arp | Proto::Rarp | Proto::Decnet => {
                (layers.network_header().load_at(at.value, size), vec![self.protocol(proto)?])
            }
            Proto::Ether(number) if number > 0xff && number != super::layers::AARP => {
                (layers.network_header().load_at(at.value, size), vec![self.protocol(proto)?])
            }
            // Over IPv4 alone: behind IPv6 the place depends on what is between.
            Proto::Over(number) | Proto::OverIp(number) if number != words::AH && number != words::ESP => {
                let guards = vec![self.protocol(Proto::Ip)?, self.protocol(proto)?, layers.first_fragment()];
                (layers.behind_ip(at.value, 0, size), guards)
            }
            Proto::Icmp6 => {
                let guards = vec![self.protocol(Proto::Ip6)?, Test::equal(layers.l3(6, 1), ICMP6)];
                (layers.network_header().on(40).load_at(at.value, size), guards)
            }
            _ => return Err(self.senseless(1, "its bytes cannot be named; use ether, ip, ip6, tcp, udp or icmp")),
        };
        self.next = end;
        // As libpcap tests them: those of IPv4 before those of the offset, others after.
        let guard = match (proto, at.guard) {
            (Proto::Over(_) | Proto::OverIp(_), Some(inner)) => {
                let mut guards = guards.into_iter();
                let first = guards.next().into_iter().chain([inner]);
                Some(Test::All(first.chain(guards).collect()))
            }
            (_, inner) => joined(inner, (!guards.is_empty()).then_some(Test::All(guards))),
        };
        Ok(Term { value, guard, plain: false })
    }
}

/// Both must hold.
fn joined(first: Option<Test>, second: Option<Test>) -> Option<Test> {
    match (first, second) {
        (Some(first), Some(second)) => Some(Test::All(vec![first, second])),
        (first, second) => first.or(second),
    }
}
