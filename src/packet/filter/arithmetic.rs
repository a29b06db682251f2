//! Comparisons of numbers and of bytes of the frame: `ip[8] < 5`.

use super::lexer::Token;
use super::parser::{ETHERNET, ICMP6, IP6, Parser, Proto, number};
use super::{Operator, Relation, Test, Value};
use crate::error::Result;

impl Parser<'_> {
    /// `ip[8] < 5`, `tcp[tcpflags] & tcp-syn != 0`, `len > 100`; `None` if what
    /// comes is no comparison.
    pub(super) fn relation(&mut self) -> Result<Option<Test>> {
        let mut guards = Vec::new();
        let Some(left) = self.arithmetic(&mut guards, 0)? else { return Ok(None) };
        let relation = match self.peek() {
            Some(Token::Sign("=" | "==")) => Relation::Equal,
            Some(Token::Sign("!=")) => Relation::NotEqual,
            Some(Token::Sign("<")) => Relation::Less,
            Some(Token::Sign("<=")) => Relation::LessOrEqual,
            Some(Token::Sign(">")) => Relation::Greater,
            Some(Token::Sign(">=")) => Relation::GreaterOrEqual,
            // "host 10.0.0.1 or 10.0.0.2", "(tcp)": something else after all.
            _ if guards.is_empty() => return Ok(None),
            _ => return Err(self.wrong("a comparison: =, !=, <, <=, > or >=")),
        };
        self.next += 1;
        let right =
            self.arithmetic(&mut guards, 0)?.ok_or_else(|| self.wrong("a number, 'len' or bytes like ip[8]"))?;
        guards.push(Test::Compare(left, relation, right));
        Ok(Some(Test::All(guards)))
    }

    /// A number; operators bind as in C from `level` up.
    fn arithmetic(&mut self, guards: &mut Vec<Test>, level: usize) -> Result<Option<Value>> {
        const LEVELS: [&[(&str, Operator)]; 6] = [
            &[("|", Operator::Or)],
            &[("^", Operator::Xor)],
            &[("&", Operator::And)],
            &[("<<", Operator::ShiftLeft), (">>", Operator::ShiftRight)],
            &[("+", Operator::Add), ("-", Operator::Subtract)],
            &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.operand(guards) };
        let Some(mut value) = self.arithmetic(guards, level + 1)? else { return Ok(None) };
        while let Some(&(_, operator)) = operators.iter().find(|(sign, _)| self.peek() == Some(Token::Sign(sign))) {
            self.next += 1;
            let Some(right) = self.arithmetic(guards, level + 1)? else { return Ok(None) };
            if let (Operator::Divide | Operator::Remainder, Value::Number(0)) = (operator, &right) {
                self.next -= 1;
                return Err(self.wrong("a divisor that is not zero"));
            }
            value = value.with(operator, right);
        }
        Ok(Some(value))
    }

    fn operand(&mut self, guards: &mut Vec<Test>) -> Result<Option<Value>> {
        if self.takes("-") {
            return Ok(self.operand(guards)?.map(|value| Value::Number(0).with(Operator::Subtract, value)));
        }
        if self.takes("(") {
            let Some(value) = self.arithmetic(guards, 0)? else { return Ok(None) };
            return Ok(self.takes(")").then_some(value));
        }
        let Some(word) = self.word() else { return Ok(None) };
        if word == "len" {
            self.next += 1;
            return Ok(Some(Value::Length));
        }
        if let Some(number) = number(word).or_else(|| named(word)) {
            self.next += 1;
            return Ok(Some(number.into()));
        }
        let bytes_follow = matches!(self.tokens.get(self.next + 1), Some((_, Token::Sign("["))));
        if !bytes_follow {
            return Ok(None);
        }
        let Some(proto) = self.proto_word() else {
            return Err(self.wrong("ether, ip, ip6, arp, tcp, udp, sctp, icmp or icmp6 before '['"));
        };
        self.next += 1;
        let (moved, base) = self.base(proto, guards);
        let at = self.arithmetic(guards, 0)?.ok_or_else(|| self.wrong("an offset"))?;
        let mut size = 1;
        if self.takes(":") {
            size = match self.word() {
                Some("1") => 1,
                Some("2") => 2,
                Some("4") => 4,
                _ => return Err(self.wrong("a size of 1, 2 or 4 bytes")),
            };
            self.next += 1;
        }
        if !self.takes("]") {
            return Err(self.wrong("']'"));
        }
        let at = match moved {
            Some(moved) => moved.with(Operator::Add, at),
            None => at,
        };
        Ok(Some(Value::load_from(at, base, size)))
    }

    /// Where a protocol's header begins: what differs from frame to frame, and what
    /// does not; and what must hold for there to be one.
    fn base(&self, proto: Proto, guards: &mut Vec<Test>) -> (Option<Value>, u32) {
        let l3 = ETHERNET + self.tags;
        match proto {
            Proto::Ether => (None, 0),
            Proto::Ip | Proto::Ip6 | Proto::Arp | Proto::Rarp => {
                guards.push(self.protocol(proto));
                (None, l3)
            }
            Proto::Transport(ICMP6) => {
                guards.push(self.ethertype(IP6).and(Test::equal(self.l3(6, 1), ICMP6)));
                (None, l3 + 40)
            }
            // Over IPv4 alone: behind IPv6 the place depends on what is between.
            Proto::Transport(number) => {
                guards.push(self.ip_proto(number));
                guards.push(self.first_fragment());
                (Some(self.ip_header_len()), l3)
            }
        }
    }
}

/// Offsets and values with names (pcap-filter(7)).
fn named(word: &str) -> Option<u32> {
    Some(match word {
        "icmptype" | "icmp6type" | "icmp-echoreply" => 0,
        "icmpcode" | "icmp6code" => 1,
        "tcpflags" => 13,
        "tcp-fin" => 0x01,
        "tcp-syn" => 0x02,
        "tcp-rst" => 0x04,
        "tcp-push" => 0x08,
        "tcp-ack" => 0x10,
        "tcp-urg" => 0x20,
        "tcp-ece" => 0x40,
        "tcp-cwr" => 0x80,
        "icmp-unreach" => 3,
        "icmp-redirect" => 5,
        "icmp-echo" => 8,
        "icmp-timxceed" => 11,
        _ => return None,
    })
}
