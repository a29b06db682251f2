//! The parser: from words to tests.

use super::lexer::{Token, place, tokens};
use super::{Operator, Relation, Test, Value};
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use std::net::{IpAddr, Ipv4Addr};

const IP: u32 = 0x0800;
const ARP: u32 = 0x0806;
const RARP: u32 = 0x8035;
pub(super) const IP6: u32 = 0x86dd;

const TCP: u32 = 6;
const UDP: u32 = 17;
const SCTP: u32 = 132;
const ICMP: u32 = 1;
pub(super) const ICMP6: u32 = 58;
const FRAGMENT: u32 = 44;

/// Length of an Ethernet header.
pub(super) const ETHERNET: u32 = 14;

/// Compiles a whole expression.
pub fn parse(text: &str) -> Result<Test> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, tags: 0, last: Qualifiers::default() };
    if parser.tokens.is_empty() {
        return Ok(Test::All(Vec::new()));
    }
    let test = parser.expression()?;
    match parser.peek() {
        None => Ok(test),
        Some(_) => Err(parser.wrong("'and', 'or' or the end")),
    }
}

/// What stands before an address, port or number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Qualifiers {
    proto: Option<Proto>,
    direction: Direction,
    kind: Option<What>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proto {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    /// A transport, by its number.
    Transport(u32),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Direction {
    Source,
    Destination,
    #[default]
    Either,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    pub(super) tokens: Vec<(usize, Token<'a>)>,
    pub(super) next: usize,
    /// Bytes of VLAN tags that `vlan` has gone past so far.
    pub(super) tags: u32,
    /// Of the last primitive, for "host a or b".
    last: Qualifiers,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.next).map(|(_, token)| *token)
    }

    pub(super) fn word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Takes the next token if it is this word or sign.
    pub(super) fn takes(&mut self, text: &str) -> bool {
        let taken = matches!(self.peek(), Some(Token::Word(t) | Token::Sign(t)) if t == text);
        self.next += usize::from(taken);
        taken
    }

    pub(super) fn wrong(&self, wanted: &str) -> Error {
        let found = match self.tokens.get(self.next) {
            Some((at, token)) => format!("{token} at character {}", place(self.text, *at)),
            None => "its end".to_owned(),
        };
        Error::new(Kind::Usage, format!("filter '{}': expected {wanted}, found {found}", self.text.trim()))
    }

    /// Terms with `and` and `or` between them, grouped to the left.
    fn expression(&mut self) -> Result<Test> {
        let mut test = self.term()?;
        loop {
            if self.takes("and") || self.takes("&&") {
                test = test.and(self.term()?);
            } else if self.takes("or") || self.takes("||") {
                // A group of its own: "a and b or c" is "(a and b) or c".
                test = test.or(self.term()?);
            } else {
                return Ok(test);
            }
        }
    }

    fn term(&mut self) -> Result<Test> {
        if self.takes("not") || self.takes("!") {
            return Ok(Test::Not(Box::new(self.term()?)));
        }
        let start = self.next;
        if let Some(relation) = self.relation()? {
            return Ok(relation);
        }
        self.next = start;
        if self.takes("(") {
            let test = self.expression()?;
            if !self.takes(")") {
                return Err(self.wrong("')'"));
            }
            // A group is one term of what stands around it.
            return Ok(Test::All(vec![test]));
        }
        self.primitive()
    }

    // ---- primitives ----

    fn primitive(&mut self) -> Result<Test> {
        let start = self.next;
        let Some(first) = self.word() else { return Err(self.wrong("a primitive such as 'host 10.0.0.1' or 'udp'")) };
        match first {
            "vlan" => return self.vlan(),
            "broadcast" | "multicast" => {
                self.next += 1;
                return Ok(ether_group(first == "broadcast"));
            }
            "less" | "greater" => {
                self.next += 1;
                let relation = if first == "less" { Relation::LessOrEqual } else { Relation::GreaterOrEqual };
                let length = self.number("a length in bytes")?;
                return Ok(Test::Compare(Value::Length, relation, length.into()));
            }
            _ => {}
        }
        let proto = self.proto_word();
        if let Some(proto) = proto {
            if self.takes("multicast") {
                return match proto {
                    Proto::Ether => Ok(ether_group(false)),
                    Proto::Ip => Ok(self.ethertype(IP).and(Test::Compare(
                        self.l3(16, 1),
                        Relation::GreaterOrEqual,
                        Value::Number(224),
                    ))),
                    Proto::Ip6 => Ok(self.ethertype(IP6).and(Test::equal(self.l3(24, 1), 255))),
                    _ => Err(self.wrong("'ether', 'ip' or 'ip6' before 'multicast'")),
                };
            }
            if self.takes("broadcast") {
                return match proto {
                    Proto::Ether => Ok(ether_group(true)),
                    _ => Err(self.wrong("'ether' before 'broadcast'")),
                };
            }
        }
        let direction = self.direction()?;
        let kind = self.kind();
        let bare = proto.is_none() && direction.is_none() && kind.is_none();
        let qualifiers = if bare {
            Qualifiers { kind: self.last.kind.or(Some(What::Host)), ..self.last }
        } else {
            Qualifiers { proto, direction: direction.unwrap_or_default(), kind }
        };
        if let (Some(proto), None, None) = (proto, direction, kind) {
            // "tcp", "ip": the protocol itself, unless an address follows.
            if !self.word().is_some_and(is_address) {
                return Ok(self.protocol(proto));
            }
        }
        if bare && !self.word().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()) || is_address(word)) {
            self.next = start;
            return Err(self.wrong(
                "host, net, port, portrange, src, dst, ether, ip, ip6, arp, tcp, udp, icmp, icmp6, vlan, less, greater, broadcast, multicast or a comparison",
            ));
        }
        self.last = qualifiers;
        match qualifiers.kind.unwrap_or(What::Host) {
            What::Host => self.host(qualifiers),
            What::Net => self.net(qualifiers),
            What::Port => {
                let port = self.port()?;
                self.ports(qualifiers, port, port)
            }
            What::PortRange => {
                let range = self.word().and_then(|word| word.split_once('-'));
                let range = range.and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
                let (low, high): (u16, u16) = range.ok_or_else(|| self.wrong("a range of ports like 8000-8080"))?;
                self.next += 1;
                self.ports(qualifiers, low.min(high), low.max(high))
            }
            What::Proto => self.proto_number(qualifiers),
        }
    }

    pub(super) fn proto_word(&mut self) -> Option<Proto> {
        let proto = match self.word()? {
            "ether" => Proto::Ether,
            "ip" => Proto::Ip,
            "ip6" => Proto::Ip6,
            "arp" => Proto::Arp,
            "rarp" => Proto::Rarp,
            "tcp" => Proto::Transport(TCP),
            "udp" => Proto::Transport(UDP),
            "sctp" => Proto::Transport(SCTP),
            "icmp" => Proto::Transport(ICMP),
            "icmp6" => Proto::Transport(ICMP6),
            _ => return None,
        };
        self.next += 1;
        Some(proto)
    }

    fn direction(&mut self) -> Result<Option<Direction>> {
        let (first, other) = match self.word() {
            Some("src") => (Direction::Source, "dst"),
            Some("dst") => (Direction::Destination, "src"),
            _ => return Ok(None),
        };
        self.next += 1;
        for (joint, both) in [("or", Direction::Either), ("and", Direction::Both)] {
            // Only "src or dst": in "src 10.0.0.1" nothing follows that joins.
            if self.takes(joint) {
                if self.takes(other) {
                    return Ok(Some(both));
                }
                return Err(self.wrong(&format!("'{other}'")));
            }
        }
        Ok(Some(first))
    }

    fn kind(&mut self) -> Option<What> {
        let kind = match self.word()? {
            "host" => What::Host,
            "net" => What::Net,
            "port" => What::Port,
            "portrange" => What::PortRange,
            "proto" => What::Proto,
            _ => return None,
        };
        self.next += 1;
        Some(kind)
    }

    /// The frames of a protocol.
    pub(super) fn protocol(&self, proto: Proto) -> Test {
        match proto {
            Proto::Ether => Test::All(Vec::new()),
            Proto::Ip => self.ethertype(IP),
            Proto::Ip6 => self.ethertype(IP6),
            Proto::Arp => self.ethertype(ARP),
            Proto::Rarp => self.ethertype(RARP),
            Proto::Transport(ICMP) => self.ip_proto(ICMP),
            Proto::Transport(ICMP6) => self.ip6_proto(ICMP6),
            Proto::Transport(number) => self.ip_proto(number).or(self.ip6_proto(number)),
        }
    }

    fn vlan(&mut self) -> Result<Test> {
        self.next += 1;
        let at = 12 + self.tags;
        let tag = |ethertype| Test::equal(Value::load(at, 2), ethertype);
        let mut test = Test::Any(vec![tag(0x8100), tag(0x88a8), tag(0x9100)]);
        if self.word().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
            let id = self.number("a VLAN id")?;
            if id > 4095 {
                self.next -= 1;
                return Err(self.wrong("a VLAN id from 0 to 4095"));
            }
            let tci = Value::load(at + 2, 2).with(Operator::And, 0x0fff);
            test = test.and(Test::equal(tci, id));
        }
        self.tags += 4;
        Ok(test)
    }

    // ---- addresses ----

    fn host(&mut self, qualifiers: Qualifiers) -> Result<Test> {
        let word = self.word().unwrap_or_default();
        if qualifiers.proto == Some(Proto::Ether) {
            let mac: MacAddr = word.parse().map_err(|_| self.wrong("a MAC address like 02:00:00:00:00:01"))?;
            self.next += 1;
            let [a, b, c, d, e, f] = mac.0;
            let at = |at| {
                let high = Test::equal(Value::load(at, 4), u32::from_be_bytes([a, b, c, d]));
                high.and(Test::equal(Value::load(at + 4, 2), u32::from_be_bytes([0, 0, e, f])))
            };
            return Ok(directed(qualifiers.direction, at(6), at(0)));
        }
        let address: IpAddr = word
            .parse()
            .map_err(|_| self.wrong("an address like 10.0.0.1 or 2001:db8::1 (names are not looked up)"))?;
        self.next += 1;
        self.matching(qualifiers, address, 128)
    }

    /// `net 10.1.0.0/16`, `net 10.1`, `net 10.0.0.0 mask 255.0.0.0`, `net 2001:db8::/32`.
    fn net(&mut self, qualifiers: Qualifiers) -> Result<Test> {
        let start = self.next;
        let word = self.word().unwrap_or_default();
        let (address, given): (IpAddr, u32) = match word.parse() {
            Ok(address) => (address, if word.contains(':') { 128 } else { 32 }),
            Err(_) => {
                let short = short_net(word).ok_or_else(|| self.wrong("a network like 10.0.0.0/8 or 2001:db8::/32"))?;
                (IpAddr::V4(short.0), short.1)
            }
        };
        self.next += 1;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = if self.takes("/") {
            let bits = self.number("a prefix length")?;
            if bits > most {
                self.next -= 1;
                return Err(self.wrong(&format!("a prefix length up to {most}")));
            }
            bits
        } else if self.takes("mask") {
            let mask: Option<Ipv4Addr> = self.word().and_then(|word| word.parse().ok());
            let mask = mask.map(u32::from).filter(|mask| mask.leading_ones() == mask.count_ones() && most == 32);
            let mask = mask.ok_or_else(|| self.wrong("a mask like 255.255.0.0"))?;
            self.next += 1;
            mask.leading_ones()
        } else {
            given
        };
        let outside = match address {
            IpAddr::V4(address) => u32::from(address).checked_shl(bits).unwrap_or(0) != 0,
            IpAddr::V6(address) => u128::from(address).checked_shl(bits).unwrap_or(0) != 0,
        };
        if outside {
            self.next = start;
            return Err(self.wrong(&format!("a network whose address ends after {bits} bits")));
        }
        self.matching(qualifiers, address, bits)
    }

    /// Frames with an address whose first `bits` bits are those of `address`.
    fn matching(&self, qualifiers: Qualifiers, address: IpAddr, bits: u32) -> Result<Test> {
        let (v4, proto) = (address.is_ipv4(), qualifiers.proto);
        let fits = match proto {
            None => true,
            Some(Proto::Ip | Proto::Arp | Proto::Rarp) => v4,
            Some(Proto::Ip6) => !v4,
            Some(Proto::Ether | Proto::Transport(_)) => false,
        };
        if !fits {
            let line = format!(
                "filter '{}': {address} cannot be the address of what stands before it; use 'host', 'ip host', 'ip6 host' or 'arp host'",
                self.text.trim()
            );
            return Err(Error::new(Kind::Usage, line));
        }
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let at = |ethertype, source, destination| {
            let field = |at| self.prefix(at, &octets, bits);
            self.ethertype(ethertype).and(directed(qualifiers.direction, field(source), field(destination)))
        };
        Ok(match (proto, v4) {
            (Some(Proto::Ip), _) => at(IP, 12, 16),
            (Some(Proto::Arp), _) => at(ARP, 14, 24),
            (Some(Proto::Rarp), _) => at(RARP, 14, 24),
            (_, true) => Test::Any(vec![at(IP, 12, 16), at(ARP, 14, 24), at(RARP, 14, 24)]),
            (_, false) => at(IP6, 8, 24),
        })
    }

    /// The `bits` first bits at `at` in the network header are those of `octets`.
    fn prefix(&self, at: u32, octets: &[u8], bits: u32) -> Test {
        let words = octets.chunks_exact(4).enumerate();
        Test::All(
            words
                .map_while(|(i, word)| {
                    let left = bits.checked_sub(32 * i as u32).filter(|left| *left > 0)?;
                    let mask = u32::MAX.checked_shl(32 - left.min(32)).unwrap_or(0);
                    let wanted = u32::from_be_bytes([word[0], word[1], word[2], word[3]]) & mask;
                    let value = self.l3(at + 4 * i as u32, 4);
                    Some(Test::equal(if mask == u32::MAX { value } else { value.with(Operator::And, mask) }, wanted))
                })
                .collect(),
        )
    }

    // ---- protocols and ports ----

    fn port(&mut self) -> Result<u16> {
        let port = self.word().and_then(|word| word.parse().ok());
        let port = port.ok_or_else(|| self.wrong("a port number from 0 to 65535"))?;
        self.next += 1;
        Ok(port)
    }

    /// Ports of TCP, UDP and SCTP, or of the one that stands before; never of
    /// later fragments, which have none.
    fn ports(&mut self, qualifiers: Qualifiers, low: u16, high: u16) -> Result<Test> {
        let (numbers, versions): (&[u32], &[u32]) = match qualifiers.proto {
            None => (&[TCP, UDP, SCTP], &[IP6, IP]),
            Some(Proto::Ip) => (&[TCP, UDP, SCTP], &[IP]),
            Some(Proto::Ip6) => (&[TCP, UDP, SCTP], &[IP6]),
            Some(Proto::Transport(TCP)) => (&[TCP], &[IP6, IP]),
            Some(Proto::Transport(UDP)) => (&[UDP], &[IP6, IP]),
            Some(Proto::Transport(SCTP)) => (&[SCTP], &[IP6, IP]),
            _ => {
                self.next -= 1;
                return Err(self.wrong("'tcp', 'udp', 'sctp', 'ip' or 'ip6' before 'port'"));
            }
        };
        let within = |value: Value| match low == high {
            true => Test::equal(value, u32::from(low)),
            false => Test::All(vec![
                Test::Compare(value.clone(), Relation::GreaterOrEqual, u32::from(low).into()),
                Test::Compare(value, Relation::LessOrEqual, u32::from(high).into()),
            ]),
        };
        let one = |version| {
            let v6 = version == IP6;
            let protocol = self.l3(if v6 { 6 } else { 9 }, 1);
            let known = Test::Any(numbers.iter().map(|&n| Test::equal(protocol.clone(), n)).collect());
            let l4 = if v6 { Value::Number(ETHERNET + self.tags + 40) } else { self.ip_payload() };
            let field = |at: u32| within(Value::load(l4.clone().with(Operator::Add, at), 2));
            let test = self.ethertype(version).and(known);
            let test = if v6 { test } else { test.and(self.first_fragment()) };
            test.and(directed(qualifiers.direction, field(0), field(2)))
        };
        Ok(Test::Any(versions.iter().map(|&version| one(version)).collect()))
    }

    /// `ip proto 6`, `ether proto 0x88f7`, `proto udp`.
    fn proto_number(&mut self, qualifiers: Qualifiers) -> Result<Test> {
        let word = self.word().unwrap_or_default();
        if qualifiers.proto == Some(Proto::Ether) {
            let number = match word {
                "ip" => Some(IP),
                "ip6" => Some(IP6),
                "arp" => Some(ARP),
                "rarp" => Some(RARP),
                _ => number(word).filter(|number| (1536..=0xffff).contains(number)),
            };
            let number =
                number.ok_or_else(|| self.wrong("an EtherType from 0x600 to 0xffff, or ip, ip6, arp, rarp"))?;
            self.next += 1;
            return Ok(self.ethertype(number));
        }
        let number = match word {
            "tcp" => Some(TCP),
            "udp" => Some(UDP),
            "sctp" => Some(SCTP),
            "icmp" => Some(ICMP),
            "icmp6" => Some(ICMP6),
            "igmp" => Some(2),
            "gre" => Some(47),
            "esp" => Some(50),
            "ah" => Some(51),
            "pim" => Some(103),
            "vrrp" => Some(112),
            _ => number(word).filter(|number| *number <= 255),
        };
        let number = number.ok_or_else(|| self.wrong("a protocol number up to 255, or a name such as tcp or icmp"))?;
        self.next += 1;
        match qualifiers.proto {
            None => Ok(self.ip_proto(number).or(self.ip6_proto(number))),
            Some(Proto::Ip) => Ok(self.ip_proto(number)),
            Some(Proto::Ip6) => Ok(self.ip6_proto(number)),
            Some(_) => Err(self.wrong("'ether', 'ip' or 'ip6' before 'proto'")),
        }
    }

    pub(super) fn ethertype(&self, ethertype: u32) -> Test {
        Test::All(vec![Test::equal(Value::load(12 + self.tags, 2), ethertype)])
    }

    pub(super) fn ip_proto(&self, number: u32) -> Test {
        Test::All(vec![self.ethertype(IP), Test::equal(self.l3(9, 1), number)])
    }

    /// The next header, or the one behind a fragment header.
    fn ip6_proto(&self, number: u32) -> Test {
        let next = || self.l3(6, 1);
        let fragment = Test::All(vec![Test::equal(next(), FRAGMENT), Test::equal(self.l3(40, 1), number)]);
        self.ethertype(IP6).and(Test::Any(vec![Test::equal(next(), number), fragment]))
    }

    /// `size` bytes at `at` in the network header.
    pub(super) fn l3(&self, at: u32, size: u8) -> Value {
        Value::load(ETHERNET + self.tags + at, size)
    }

    /// Length of an IPv4 header.
    pub(super) fn ip_header_len(&self) -> Value {
        self.l3(0, 1).with(Operator::And, 0xf).with(Operator::Multiply, 4)
    }

    /// Start of an IPv4 packet's payload.
    fn ip_payload(&self) -> Value {
        self.ip_header_len().with(Operator::Add, ETHERNET + self.tags)
    }

    /// Fragment offset zero.
    pub(super) fn first_fragment(&self) -> Test {
        Test::equal(self.l3(6, 2).with(Operator::And, 0x1fff), 0)
    }

    fn number(&mut self, what: &str) -> Result<u32> {
        let number = self.word().and_then(number).ok_or_else(|| self.wrong(what))?;
        self.next += 1;
        Ok(number)
    }
}

/// Source, destination, either or both.
fn directed(direction: Direction, source: Test, destination: Test) -> Test {
    match direction {
        Direction::Source => source,
        Direction::Destination => destination,
        Direction::Either => Test::Any(vec![source, destination]),
        Direction::Both => Test::All(vec![source, destination]),
    }
}

/// To all, or to more than one.
fn ether_group(broadcast: bool) -> Test {
    if broadcast {
        let high = Test::equal(Value::load(0, 4), 0xffff_ffff);
        high.and(Test::equal(Value::load(4, 2), 0xffff))
    } else {
        Test::Compare(Value::load(0, 1).with(Operator::And, 1), Relation::NotEqual, Value::Number(0))
    }
}

/// Decimal, or hexadecimal after `0x`, or octal after `0`.
pub(super) fn number(word: &str) -> Option<u32> {
    if let Some(hex) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return plain(hex).then(|| u32::from_str_radix(hex, 16).ok()).flatten();
    }
    if word.len() > 1 && word.starts_with('0') && plain(word) {
        return u32::from_str_radix(word, 8).ok();
    }
    plain(word).then(|| word.parse().ok()).flatten()
}

/// Letters and digits, no sign: `from_str_radix` takes a plus.
fn plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// One to three octets: a network in short, `10` for 10.0.0.0/8.
fn short_net(word: &str) -> Option<(Ipv4Addr, u32)> {
    let mut octets = [0; 4];
    let mut count = 0;
    for part in word.split('.') {
        *octets.get_mut(count)? = plain(part).then(|| part.parse().ok()).flatten()?;
        count += 1;
    }
    (count < 4).then(|| (Ipv4Addr::from(octets), 8 * count as u32))
}

fn is_address(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok() || word.parse::<MacAddr>().is_ok()
}
