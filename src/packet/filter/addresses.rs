//! Hosts, networks and ports.

use super::expression::{Test, Value};
use super::layers::{ARP, DECNET, IP, IP6, RARP, octets};
use super::lexer::Token;
use super::names;
use super::parser::{Direction, Parser, Qualifiers, What};
use super::words::{self, Proto, SCTP, TCP, UDP};
use crate::error::Result;
use std::net::{IpAddr, Ipv6Addr};

impl Parser<'_> {
    /// One address, port, number or name.
    pub fn single(&mut self, qualifiers: Qualifiers) -> Result<Test> {
        let token = self.peek();
        let found = match token {
            Some(Token::Word(word)) if words::keyword(word) => None,
            found => found,
        };
        let Some(found) = found.filter(|found| !matches!(found, Token::Sign(_))) else {
            return Err(self.wrong(wanted(qualifiers)));
        };
        self.next += 1;
        match found {
            Token::Word(name) | Token::Name(name) => self.named(qualifiers, name),
            Token::Number(number, _) => self.numbered(qualifiers, number),
            Token::Dotted(text) => self.dotted(qualifiers, text),
            Token::Ipv6(address, _) => self.ipv6(qualifiers, address),
            Token::Mac(mac, _) => match (qualifiers.kind, qualifiers.proto) {
                (What::Host, Some(Proto::Link)) => self.ether_host(qualifiers, mac),
                _ => Err(self.senseless(1, "a MAC address must stand behind 'ether host', 'ether src' or 'ether dst'")),
            },
            Token::Sign(_) => Err(self.wrong(wanted(qualifiers))),
        }
    }

    fn numbered(&mut self, qualifiers: Qualifiers, number: u32) -> Result<Test> {
        match qualifiers.kind {
            What::Host | What::Net if qualifiers.proto == Some(Proto::Decnet) => self.decnet_host(qualifiers, number),
            What::Host => self.ipv4(qualifiers, number, u32::MAX),
            What::Net => {
                // "net 10" is 10.0.0.0/8.
                let zeros = if number == 0 { 0 } else { number.leading_zeros() / 8 * 8 };
                if self.takes("/") {
                    let bits = self.prefix_length(32)?;
                    return self
                        .network(qualifiers, number << 24, bits)
                        .map_err(|_| self.senseless(3, "write the network with dots, 10.0.0.0/8"));
                }
                self.ipv4(qualifiers, number << zeros, u32::MAX << zeros)
            }
            What::Port | What::PortRange => {
                let port =
                    u16::try_from(number).map_err(|_| self.senseless(1, "expected a port number from 0 to 65535"))?;
                self.ports(qualifiers, self.transport(qualifiers)?, port, port)
            }
            What::Proto => self.proto_number(qualifiers.proto, number),
            What::ProtoChain => self.chain(qualifiers.proto, number),
        }
    }

    /// Two to four numbers with dots between them.
    fn dotted(&mut self, qualifiers: Qualifiers, text: &str) -> Result<Test> {
        if qualifiers.proto == Some(Proto::Decnet) && matches!(qualifiers.kind, What::Host | What::Net) {
            let node = text.split_once('.').and_then(|(area, node)| {
                // Area and node (DECnet Phase IV): 6 and 10 bits.
                let (area, node): (u32, u32) = (area.parse().ok()?, node.parse().ok()?);
                Some((area << 10) & 0xfc00 | node & 0x03ff)
            });
            let node = node.ok_or_else(|| self.senseless(1, "expected an address of DECnet like 1.5"))?;
            return self.decnet_host(qualifiers, node);
        }
        let bad = |parser: &Self| parser.senseless(1, "expected an address like 10.0.0.1 or a network like 10.1");
        let (number, bits) = names::dotted(text).ok_or_else(|| bad(self))?;
        let network = number.checked_shl(32 - bits).unwrap_or(0);
        if !matches!(qualifiers.kind, What::Host | What::Net) {
            return Err(self.wrong_before(wanted(qualifiers)));
        }
        if matches!(self.peek(), Some(Token::Sign("/") | Token::Word("mask"))) && qualifiers.kind == What::Host {
            return Err(self.senseless(0, "only a network has a mask; use 'net' and not 'host'"));
        }
        if self.takes("/") {
            let bits = self.prefix_length(32)?;
            return self.network(qualifiers, network, bits);
        }
        if self.takes("mask") {
            let mask = match self.peek() {
                Some(Token::Dotted(mask)) => {
                    names::dotted(mask).map(|(mask, bits)| mask.checked_shl(32 - bits).unwrap_or(0))
                }
                _ => None,
            };
            let mask = mask.ok_or_else(|| self.wrong("a mask like 255.255.0.0"))?;
            self.next += 1;
            if network & !mask != 0 {
                return Err(self.senseless(3, "expected a network whose address ends where its mask does"));
            }
            return self.ipv4(qualifiers, network, mask);
        }
        self.ipv4(qualifiers, network, u32::MAX.checked_shl(32 - bits).unwrap_or(0))
    }

    fn network(&mut self, qualifiers: Qualifiers, network: u32, bits: u32) -> Result<Test> {
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        if network & !mask != 0 {
            return Err(self.senseless(3, &format!("expected a network whose address ends after {bits} bits")));
        }
        self.ipv4(qualifiers, network, mask)
    }

    fn prefix_length(&mut self, most: u32) -> Result<u32> {
        match self.peek() {
            Some(Token::Number(bits, _)) if bits <= most => {
                self.next += 1;
                Ok(bits)
            }
            _ => Err(self.wrong(&format!("a prefix length up to {most}"))),
        }
    }

    fn ipv6(&mut self, qualifiers: Qualifiers, address: Ipv6Addr) -> Result<Test> {
        let mut bits = 128;
        if !matches!(qualifiers.kind, What::Host | What::Net) {
            return Err(self.wrong_before(wanted(qualifiers)));
        }
        if self.takes("/") {
            if qualifiers.kind == What::Host {
                self.next -= 1;
                return Err(self.senseless(0, "only a network has a mask; use 'net' and not 'host'"));
            }
            bits = self.prefix_length(128)?;
        }
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        if u128::from(address) & !mask != 0 {
            return Err(self.senseless(3, &format!("expected a network whose address ends after {bits} bits")));
        }
        if !matches!(qualifiers.proto, None | Some(Proto::Ip6)) {
            return Err(self.no_address_of(qualifiers, IpAddr::V6(address)));
        }
        let at = |place: u32| -> Result<Test> {
            let words = (0..4_u32).map(|n| {
                let shift = 96 - 32 * n;
                let (mask, word) = ((mask >> shift) as u32, (u128::from(address) >> shift) as u32);
                self.field(place + 4 * n, mask, word)
            });
            Ok(self.carries(IP6)?.and(Test::All(words.collect())))
        };
        Ok(directed(qualifiers.direction, at(8)?, at(24)?))
    }

    /// An address of IPv4 whose bits in `mask` are these.
    fn ipv4(&self, qualifiers: Qualifiers, address: u32, mask: u32) -> Result<Test> {
        let at = |ether, source, destination| -> Result<Test> {
            let is = self.carries(ether)?;
            let field = |at| is.clone().and(self.field(at, mask, address));
            Ok(directed(qualifiers.direction, field(source), field(destination)))
        };
        match qualifiers.proto {
            Some(Proto::Ip) => at(IP, 12, 16),
            Some(Proto::Arp) => at(ARP, 14, 24),
            Some(Proto::Rarp) => at(RARP, 14, 24),
            None if self.layers.labels > 0 => at(IP, 12, 16),
            None => Ok(Test::Any(vec![at(IP, 12, 16)?, at(ARP, 14, 24)?, at(RARP, 14, 24)?])),
            Some(_) => Err(self.no_address_of(qualifiers, IpAddr::V4(address.into()))),
        }
    }

    /// Four bytes of the network header, of which these bits count.
    fn field(&self, at: u32, mask: u32, word: u32) -> Test {
        match mask {
            0 if !self.literal => Test::TRUE,
            _ => Test::masked(self.layers.l3(at, 4), mask, word),
        }
    }

    fn no_address_of(&self, _: Qualifiers, address: IpAddr) -> crate::error::Error {
        let way = "cannot be the address of what stands before it; use 'host', 'ip host', 'ip6 host' or 'arp host'";
        self.senseless(1, &format!("{address} {way}"))
    }

    fn ether_host(&self, qualifiers: Qualifiers, mac: [u8; 6]) -> Result<Test> {
        let at = |place| octets(self.layers.header.on(place), &mac);
        Ok(self.ethernet()?.and(directed(qualifiers.direction, at(6), at(0))))
    }

    /// A node of DECnet: behind a short or long header, with padding or without it
    /// (DECnet Phase IV, Routing Layer §9); its numbers have the low byte first.
    fn decnet_host(&self, qualifiers: Qualifiers, node: u32) -> Result<Test> {
        let node = u32::from((node as u16).swap_bytes());
        let at = |short: u32, long: u32| -> Result<Test> {
            let header = |size, mask, flags, place| {
                let flags = Test::masked(self.layers.l3(2, size), mask, flags);
                Test::All(vec![flags, Test::equal(self.layers.l3(place, 2), node)])
            };
            let forms = vec![
                header(1, 0x07, 0x02, 2 + short),
                header(2, 0xff07, 0x8102, 3 + short),
                header(1, 0x07, 0x06, 2 + long),
                header(2, 0xff07, 0x8106, 3 + long),
            ];
            Ok(self.carries(DECNET)?.and(Test::Any(forms)))
        };
        Ok(directed(qualifiers.direction, at(3, 15)?, at(1, 7)?))
    }

    fn named(&mut self, qualifiers: Qualifiers, name: &str) -> Result<Test> {
        match qualifiers.kind {
            What::Host if qualifiers.proto == Some(Proto::Link) => {
                let mac = names::ether_host(name).ok_or_else(|| {
                    self.senseless(1, "/etc/ethers knows no such name; expected a MAC address like 02:00:00:00:00:01")
                })?;
                self.ether_host(qualifiers, mac)
            }
            What::Host => self.host_named(qualifiers, name),
            What::Net => {
                let network = names::network(name).ok_or_else(|| {
                    self.senseless(
                        1,
                        "/etc/networks knows no such name; expected a network like 10.0.0.0/8 or 2001:db8::/32",
                    )
                })?;
                let zeros = network.leading_zeros() / 8 * 8;
                self.ipv4(qualifiers, network << zeros, u32::MAX << zeros)
            }
            What::Port => {
                let (port, over) = self.service(name)?;
                self.ports(qualifiers, self.narrowed(qualifiers, over)?, port, port)
            }
            What::PortRange => {
                let Some((low, high)) = name.split_once('-') else {
                    return Err(self.wrong_before(wanted(qualifiers)));
                };
                let ((low, first), (high, second)) = (self.service(low)?, self.service(high)?);
                let over = self.narrowed(qualifiers, if first == second { first } else { None })?;
                self.ports(qualifiers, over, low.min(high), low.max(high))
            }
            What::Proto => {
                let number = self.proto_named(qualifiers, name)?;
                self.proto_number(qualifiers.proto, number)
            }
            What::ProtoChain => {
                let number = self.proto_named(qualifiers, name)?;
                self.chain(qualifiers.proto, number)
            }
        }
    }

    fn host_named(&mut self, qualifiers: Qualifiers, name: &str) -> Result<Test> {
        if !matches!(qualifiers.proto, None | Some(Proto::Ip | Proto::Ip6 | Proto::Arp | Proto::Rarp)) {
            return Err(self.senseless(1, "a name must stand behind 'host', 'ip host', 'ip6 host' or 'arp host'"));
        }
        let fits = |address: &IpAddr| {
            address.is_ipv6() && matches!(qualifiers.proto, None | Some(Proto::Ip6))
                || address.is_ipv4() && qualifiers.proto != Some(Proto::Ip6)
        };
        let tests: Result<Vec<Test>> = names::host(name)
            .into_iter()
            .filter(fits)
            .map(|address| match address {
                IpAddr::V4(address) => self.ipv4(qualifiers, address.into(), u32::MAX),
                IpAddr::V6(address) => self.ipv6(qualifiers, address),
            })
            .collect();
        let tests = tests?;
        if tests.is_empty() {
            return Err(self
                .senseless(1, "no address is known for this name; expected an address like 10.0.0.1 or 2001:db8::1"));
        }
        Ok(Test::Any(tests))
    }

    /// The port of a service, and the one transport that it has it for.
    fn service(&self, name: &str) -> Result<(u16, Option<u32>)> {
        match names::service(name) {
            (Some(tcp), Some(udp)) if tcp == udp => Ok((tcp, None)),
            (Some(tcp), _) => Ok((tcp, Some(TCP))),
            (None, Some(udp)) => Ok((udp, Some(UDP))),
            (None, None) => {
                Err(self.senseless(1, "/etc/services knows no such name; expected a port number from 0 to 65535"))
            }
        }
    }

    /// The transport that stands before `port`.
    fn transport(&self, qualifiers: Qualifiers) -> Result<Option<u32>> {
        match qualifiers.proto {
            None => Ok(None),
            Some(Proto::Over(number @ (TCP | UDP | SCTP))) => Ok(Some(number)),
            Some(_) => Err(self.senseless(1, "expected nothing, 'tcp', 'udp' or 'sctp' before 'port'")),
        }
    }

    /// The transport that stands before `port` and that the service is known for.
    fn narrowed(&self, qualifiers: Qualifiers, known: Option<u32>) -> Result<Option<u32>> {
        match (self.transport(qualifiers)?, known) {
            (Some(asked), Some(known)) if asked != known => {
                let known = if known == TCP { "TCP" } else { "UDP" };
                Err(self.senseless(1, &format!("/etc/services knows this port for {known} alone; write its number")))
            }
            (asked, known) => Ok(asked.or(known)),
        }
    }

    /// Ports of one transport, or of TCP, UDP and SCTP; never of later fragments,
    /// which have none.
    pub fn ports(&self, qualifiers: Qualifiers, over: Option<u32>, low: u16, high: u16) -> Result<Test> {
        let (low, high) = (u32::from(low), u32::from(high));
        let within = |value: Value| match (low == high, qualifiers.kind) {
            (true, What::Port) => Test::equal(value, low),
            _ => Test::All(vec![Test::at_least(value.clone(), low), Test::at_most(value, high)]),
        };
        let layers = &self.layers;
        let one = |v6: bool, number: u32| {
            let field = |at| within(if v6 { layers.l4_of_ip6(at, 2) } else { layers.l4(at, 2) });
            let mut tests = vec![Test::equal(layers.l3(if v6 { 6 } else { 9 }, 1), number)];
            if !v6 {
                tests.push(layers.first_fragment());
            }
            tests.push(directed(qualifiers.direction, field(0), field(2)));
            Test::All(tests)
        };
        let version = |ether, v6| -> Result<Test> {
            let numbers = match over {
                Some(number) => vec![number],
                None => vec![SCTP, TCP, UDP],
            };
            Ok(self.carries(ether)?.and(Test::Any(numbers.into_iter().map(|number| one(v6, number)).collect())))
        };
        Ok(Test::Any(vec![version(IP6, true)?, version(IP, false)?]))
    }

    /// That the token before the next one is not what was expected.
    fn wrong_before(&mut self, wanted: &str) -> crate::error::Error {
        self.next -= 1;
        self.wrong(wanted)
    }
}

/// What would make sense behind qualifiers.
fn wanted(qualifiers: Qualifiers) -> &'static str {
    match (qualifiers.kind, qualifiers.proto) {
        (What::Host, Some(Proto::Link)) => "a MAC address like 02:00:00:00:00:01",
        (What::Host, _) => "an address like 10.0.0.1 or 2001:db8::1, or a name",
        (What::Net, _) => "a network like 10.0.0.0/8 or 2001:db8::/32",
        (What::Port, _) => "a port number from 0 to 65535, or a name",
        (What::PortRange, _) => "ports like 8000-8080",
        (What::Proto | What::ProtoChain, _) => "the number of a protocol, or its name behind a backslash",
    }
}

/// Source, destination, either or both.
fn directed(direction: Option<Direction>, source: Test, destination: Test) -> Test {
    match direction {
        Some(Direction::Source) => source,
        Some(Direction::Destination) => destination,
        Some(Direction::Either) | None => Test::Any(vec![source, destination]),
        Some(Direction::Both) => Test::All(vec![source, destination]),
    }
}
