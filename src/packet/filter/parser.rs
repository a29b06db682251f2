//! The parser: from tokens to tests, by tcpdump's grammar (pcap-filter(7)).
//!
//! `and` and `or` have the same precedence and group to the left; `not` binds
//! tighter. What stands to the right of an address, port or number and has no
//! qualifiers of its own has those of its neighbour: `tcp port 80 or 443`.

use super::expression::Test;
use super::layers::Layers;
use super::lexer::{Token, place, tokens};
use super::words::{self, Proto};
use crate::error::{Error, Kind, Result};

/// Parses a whole expression.
pub fn parse(text: &str) -> Result<Test> {
    Parser::new(text)?.whole()
}

/// What stands before an address, port or number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Qualifiers {
    pub proto: Option<Proto>,
    pub direction: Option<Direction>,
    pub kind: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Source,
    Destination,
    Either,
    Both,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    #[default]
    Host,
    Net,
    Port,
    PortRange,
    Proto,
    ProtoChain,
}

/// Deepest nesting of parentheses, brackets and operators: it must not exhaust the stack.
const DEEPEST: usize = 100;

pub struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token<'a>)>,
    pub next: usize,
    depth: usize,
    /// As what has been parsed so far leaves them.
    pub layers: Layers,
    /// Whether to follow libpcap to the letter, as it is before its optimiser, for tests
    /// that tell the known differences from others: arithmetic forgets what must hold for
    /// its right operand, a chain where it was before a header of AH, and bytes are
    /// loaded of which no bit is compared.
    pub literal: bool,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str) -> Result<Self> {
        Ok(Parser { text, tokens: tokens(text)?, next: 0, depth: 0, layers: Layers::default(), literal: false })
    }

    pub fn whole(mut self) -> Result<Test> {
        if self.tokens.is_empty() {
            return Ok(Test::TRUE);
        }
        let (test, _) = self.expression(None)?;
        match self.peek() {
            None => Ok(test),
            Some(_) => Err(self.wrong("'and', 'or' or the end")),
        }
    }

    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.next).map(|(_, token)| *token)
    }

    /// The token so many further on.
    pub fn ahead(&self, by: usize) -> Option<Token<'a>> {
        self.tokens.get(self.next + by).map(|(_, token)| *token)
    }

    pub fn word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Takes the next token if it is this word or sign.
    pub fn takes(&mut self, text: &str) -> bool {
        let taken = matches!(self.peek(), Some(Token::Word(t) | Token::Sign(t)) if t == text);
        self.next += usize::from(taken);
        taken
    }

    /// Takes the next token if it is one of these words or signs.
    pub fn takes_any(&mut self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.takes(text))
    }

    /// That something else was expected than what comes next.
    pub fn wrong(&self, wanted: &str) -> Error {
        let found = match self.tokens.get(self.next) {
            Some((at, token)) => format!("{token} at character {}", place(self.text, *at)),
            None => "its end".to_owned(),
        };
        Error::new(Kind::Usage, format!("filter '{}': expected {wanted}, found {found}", self.text.trim()))
    }

    /// That the token `back` before the next one cannot be meant, and why.
    pub fn senseless(&self, back: usize, why: &str) -> Error {
        let (at, token) = self.tokens.get(self.next.saturating_sub(back)).map_or((0, ""), |(at, t)| (*at, t.text()));
        let line = format!("filter '{}': '{token}' at character {}: {why}", self.text.trim(), place(self.text, at));
        Error::new(Kind::Usage, line)
    }

    /// Parses something that lies within something else.
    pub fn within<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEEPEST {
            return Err(self.senseless(1, &format!("nesting ends at {DEEPEST} levels; split the filter up")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Terms with `and` and `or` between them, grouped to the left; and the
    /// qualifiers of the last one.
    fn expression(&mut self, outer: Option<Qualifiers>) -> Result<(Test, Option<Qualifiers>)> {
        let (mut test, mut last) = self.term(outer)?;
        loop {
            let both = self.takes_any(&["and", "&&"]);
            if !both && !self.takes_any(&["or", "||"]) {
                return Ok((test, last));
            }
            let (other, qualifiers) = match last {
                Some(qualifiers) if self.operand_follows() => (self.operand(qualifiers)?, last),
                _ => self.term(last)?,
            };
            // A group of its own: "a and b or c" is "(a and b) or c".
            (test, last) = (if both { test.and(other) } else { test.or(other) }, qualifiers);
        }
    }

    fn term(&mut self, outer: Option<Qualifiers>) -> Result<(Test, Option<Qualifiers>)> {
        if self.takes_any(&["not", "!"]) {
            let (test, qualifiers) = self.within(|parser| parser.term(outer))?;
            return Ok((test.negated(), qualifiers));
        }
        let start = self.next;
        if let Some(relation) = self.relation()? {
            return Ok((relation, None));
        }
        self.next = start;
        if self.takes("(") {
            let (test, _) = self.within(|parser| parser.expression(outer))?;
            if !self.takes(")") {
                return Err(self.wrong("')'"));
            }
            // A group is one term of what stands around it.
            return Ok((Test::All(vec![test]), outer));
        }
        self.primitive()
    }

    /// Whether an address, port, name or number comes next, maybe in parentheses or
    /// negated, and not a term.
    fn operand_follows(&mut self) -> bool {
        let start = self.next;
        while self.takes_any(&["(", "not", "!"]) {}
        let follows = match self.peek() {
            Some(Token::Word(word)) => !words::keyword(word),
            Some(Token::Number(..)) => {
                // "5 < 6" is a term, "443" and "(80 or 443)" are none.
                self.next += 1;
                while self.takes(")") {}
                let arithmetic =
                    ["=", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"];
                !self.takes_any(&arithmetic)
            }
            Some(Token::Name(_) | Token::Dotted(_) | Token::Ipv6(..) | Token::Mac(..)) => true,
            Some(Token::Sign(_)) | None => false,
        };
        self.next = start;
        follows
    }

    /// What qualifiers stand before: an address, port, name or number; several of
    /// them in parentheses.
    pub fn operand(&mut self, qualifiers: Qualifiers) -> Result<Test> {
        if self.takes_any(&["not", "!"]) {
            return Ok(self.within(|parser| parser.operand(qualifiers))?.negated());
        }
        if !self.takes("(") {
            return self.single(qualifiers);
        }
        let mut test = Test::All(vec![self.within(|parser| parser.operand(qualifiers))?]);
        loop {
            if self.takes_any(&["and", "&&"]) {
                test = test.and(self.operand(qualifiers)?);
            } else if self.takes_any(&["or", "||"]) {
                test = test.or(self.operand(qualifiers)?);
            } else if self.takes(")") {
                return Ok(Test::All(vec![test]));
            } else {
                return Err(self.wrong("'and', 'or' or ')'"));
            }
        }
    }

    fn primitive(&mut self) -> Result<(Test, Option<Qualifiers>)> {
        let start = self.next;
        let word = match self.peek() {
            Some(Token::Word(word)) => word,
            // Not tcpdump's: an address that says itself what it is.
            Some(Token::Dotted(_) | Token::Ipv6(..)) => {
                let qualifiers = Qualifiers::default();
                return Ok((self.operand(qualifiers)?, Some(qualifiers)));
            }
            _ => return Err(self.wrong("a primitive such as 'host 10.0.0.1' or 'udp'")),
        };
        if let Some(test) = self.special(word)? {
            return Ok((test, None));
        }
        let proto = words::proto(word);
        self.next += usize::from(proto.is_some());
        if self.takes("broadcast") {
            return Ok((self.broadcast(proto)?, None));
        }
        if self.takes("multicast") {
            return Ok((self.multicast(proto)?, None));
        }
        let direction = self.direction()?;
        let kind = self.kind(direction)?;
        if direction.is_none() && kind.is_none() {
            // "tcp", "ip": the protocol itself, unless an address follows.
            return match proto {
                Some(proto) if matches!(self.peek(), Some(Token::Dotted(_) | Token::Ipv6(..) | Token::Mac(..))) => {
                    let qualifiers = Qualifiers { proto: Some(proto), ..Qualifiers::default() };
                    Ok((self.operand(qualifiers)?, Some(qualifiers)))
                }
                Some(proto) => Ok((self.protocol(proto)?, None)),
                None => {
                    self.next = start;
                    let wanted = match words::refused(word) {
                        Some(reason) => return Err(self.senseless(0, reason)),
                        None => {
                            "a primitive such as host, net, port, src, ether, ip, ip6, arp, tcp, vlan, len or a comparison"
                        }
                    };
                    Err(self.wrong(wanted))
                }
            };
        }
        let qualifiers = Qualifiers { proto, direction, kind: kind.unwrap_or_default() };
        Ok((self.operand(qualifiers)?, Some(qualifiers)))
    }

    /// Primitives without qualifiers.
    fn special(&mut self, word: &str) -> Result<Option<Test>> {
        let test = match word {
            "vlan" => self.vlan()?,
            "mpls" => self.mpls()?,
            "pppoed" => self.pppoed()?,
            "pppoes" => self.pppoes()?,
            "geneve" => self.geneve()?,
            "vxlan" => self.vxlan()?,
            "llc" => self.llc()?,
            "less" | "greater" => self.length(word == "less")?,
            "byte" => self.byte()?,
            _ => return Ok(None),
        };
        Ok(Some(test))
    }

    fn direction(&mut self) -> Result<Option<Direction>> {
        let (first, other) = match self.word() {
            Some("src") => (Direction::Source, "dst"),
            Some("dst") => (Direction::Destination, "src"),
            _ => return Ok(None),
        };
        self.next += 1;
        for (joints, both) in [(["or", "||"], Direction::Either), (["and", "&&"], Direction::Both)] {
            // Only "src or dst": in "src 10.0.0.1" nothing follows that joins.
            if self.takes_any(&joints) {
                if self.takes(other) {
                    return Ok(Some(both));
                }
                return Err(self.wrong(&format!("'{other}'")));
            }
        }
        Ok(Some(first))
    }

    fn kind(&mut self, direction: Option<Direction>) -> Result<Option<What>> {
        let kind = match self.word() {
            Some("host") => What::Host,
            Some("net") => What::Net,
            Some("port") => What::Port,
            Some("portrange") => What::PortRange,
            Some("proto") => What::Proto,
            Some("protochain") => What::ProtoChain,
            _ => return Ok(None),
        };
        if direction.is_some() && matches!(kind, What::Proto | What::ProtoChain) {
            return Err(self.senseless(0, "a protocol has no direction; leave 'src' or 'dst' out"));
        }
        self.next += 1;
        Ok(Some(kind))
    }

    /// A number, maybe in parentheses; `None` if none comes.
    pub fn number(&mut self) -> Option<u32> {
        let start = self.next;
        let mut open = 0;
        while self.takes("(") {
            open += 1;
        }
        if let Some(Token::Number(number, _)) = self.peek() {
            self.next += 1;
            if (0..open).all(|_| self.takes(")")) {
                return Some(number);
            }
        }
        self.next = start;
        None
    }
}
