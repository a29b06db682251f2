//! Primitives: protocols, lengths, bytes, groups, and the numbers of protocols.
//!
//! The order of the tests is libpcap's: it decides what a frame means that is too
//! short for one of them.

use super::expression::{Operator, Relation, Test, Value};
use super::layers::{ARP, DECNET, IP, IP6, Link, RARP, octets, sap};
use super::lexer::Token;
use super::names;
use super::parser::{Parser, Qualifiers};
use super::words::{self, ICMP6, Proto};
use crate::error::Result;

const FRAGMENT: u32 = 44;

impl Parser<'_> {
    /// Frames that carry this EtherType, or service access point of 802.2.
    pub fn carries(&self, protocol: u32) -> Result<Test> {
        self.layers
            .carries(protocol)
            .ok_or_else(|| self.senseless(1, "behind a label of MPLS only IPv4 and IPv6 can be told apart"))
    }

    /// The frames of a protocol.
    pub fn protocol(&self, proto: Proto) -> Result<Test> {
        match proto {
            Proto::Link => {
                Err(self.wrong("'host', 'src', 'dst', 'proto', 'broadcast', 'multicast' or '[' after 'ether'"))
            }
            Proto::Ether(number) => self.carries(number),
            Proto::Ip => self.carries(IP),
            Proto::Ip6 => self.carries(IP6),
            Proto::Arp => self.carries(ARP),
            Proto::Rarp => self.carries(RARP),
            Proto::Decnet => self.carries(DECNET),
            Proto::Iso => self.carries(sap::ISO),
            Proto::Over(number) => self.over_both(number),
            Proto::OverIp(number) => self.over_ip(number),
            Proto::Icmp6 => self.over_ip6(ICMP6),
            Proto::Osi(number) => self.over_iso(number),
            Proto::Isis(types) => {
                let tests: Result<Vec<Test>> = types.iter().map(|number| self.over_isis(*number)).collect();
                Ok(Test::Any(tests?))
            }
        }
    }

    fn over_both(&self, number: u32) -> Result<Test> {
        Ok(Test::Any(vec![self.over_ip(number)?, self.over_ip6(number)?]))
    }

    fn over_ip(&self, number: u32) -> Result<Test> {
        Ok(self.carries(IP)?.and(Test::equal(self.layers.l3(9, 1), number)))
    }

    /// The next header, or the one behind a fragment header.
    fn over_ip6(&self, number: u32) -> Result<Test> {
        let next = || self.layers.l3(6, 1);
        let fragment = Test::All(vec![Test::equal(next(), FRAGMENT), Test::equal(self.layers.l3(40, 1), number)]);
        Ok(self.carries(IP6)?.and(Test::Any(vec![Test::equal(next(), number), fragment])))
    }

    fn over_iso(&self, number: u32) -> Result<Test> {
        let first = self.layers.payload.on(self.layers.behind_llc).load(1);
        Ok(self.carries(sap::ISO)?.and(Test::equal(first, number)))
    }

    fn over_isis(&self, number: u32) -> Result<Test> {
        let kind = self.layers.payload.on(self.layers.behind_llc).on(4).load(1);
        Ok(self.over_iso(words::ISIS)?.and(Test::equal(kind, number)))
    }

    /// `ip proto 6`, `ether proto 0x88f7`, `proto \udp`: a number, by the token before.
    pub fn proto_number(&self, proto: Option<Proto>, number: u32) -> Result<Test> {
        let most = if proto == Some(Proto::Link) { 0xffff } else { 0xff };
        if number > most {
            return Err(self.senseless(1, &format!("a number of a protocol up to {most} makes sense here")));
        }
        match proto {
            None => self.over_both(number),
            Some(Proto::Link) => self.carries(number),
            Some(Proto::Ip) => self.over_ip(number),
            Some(Proto::Ip6) => self.over_ip6(number),
            Some(Proto::Iso) => self.over_iso(number),
            Some(Proto::Osi(words::ISIS)) => self.over_isis(number),
            Some(_) => Err(self.senseless(1, "only 'ether', 'ip', 'ip6', 'iso' or 'isis' can stand before 'proto'")),
        }
    }

    /// The number of a protocol's name; the name is taken.
    pub fn proto_named(&self, qualifiers: Qualifiers, name: &str) -> Result<u32> {
        let (number, wanted) = match qualifiers.proto {
            Some(Proto::Link) => (names::ether_protocol(name), "no protocol of Ethernet is known by this name"),
            Some(Proto::Iso) => {
                let number = match name {
                    "esis" => Some(words::ESIS),
                    "isis" => Some(words::ISIS),
                    "clnp" => Some(words::CLNP),
                    _ => None,
                };
                (number, "esis, isis and clnp are known here")
            }
            _ => (names::ip_protocol(name), "/etc/protocols knows no protocol of this name; write its number"),
        };
        number.ok_or_else(|| self.senseless(1, wanted))
    }

    /// `less 60`, `greater 1500`.
    pub fn length(&mut self, less: bool) -> Result<Test> {
        self.next += 1;
        let Some(Token::Number(number, _)) = self.peek() else { return Err(self.wrong("a length in bytes")) };
        self.next += 1;
        let test = if less { Test::at_most } else { Test::at_least };
        Ok(test(Value::Length, number))
    }

    /// `byte 0 = 5`: a byte of the link's header.
    pub fn byte(&mut self) -> Result<Test> {
        self.next += 1;
        let Some(Token::Number(at, _)) = self.peek() else { return Err(self.wrong("the place of a byte")) };
        self.next += 1;
        let Some(Token::Sign(sign @ ("=" | "==" | "<" | ">" | "&" | "|"))) = self.peek() else {
            return Err(self.wrong("=, <, >, & or |"));
        };
        self.next += 1;
        let Some(Token::Number(number, _)) = self.peek() else { return Err(self.wrong("a number")) };
        self.next += 1;
        let byte = self.layers.header.on(at).load(1);
        Ok(match sign {
            "<" => Test::at_least(byte, number).negated(),
            ">" => Test::Compare(byte, Relation::Greater, number.into()),
            "&" => Test::masked(byte, number, 0).negated(),
            "|" => Test::equal(byte.with(Operator::Or, number), 0).negated(),
            _ => Test::equal(byte, number),
        })
    }

    /// To all; the word is taken.
    pub fn broadcast(&self, proto: Option<Proto>) -> Result<Test> {
        match proto {
            None | Some(Proto::Link) => Ok(self.ethernet()?.and(octets(self.layers.header, &[0xff; 6]))),
            Some(Proto::Ip) => Err(self.senseless(
                1,
                "a card has no netmask to tell broadcasts by; use 'ip host 10.0.0.255', or 'ether broadcast'",
            )),
            Some(_) => Err(self.senseless(1, "only 'ether' can stand before it")),
        }
    }

    /// To more than one; the word is taken.
    pub fn multicast(&self, proto: Option<Proto>) -> Result<Test> {
        match proto {
            None | Some(Proto::Link) => {
                let group = Test::masked(self.layers.header.load(1), 1, 0).negated();
                Ok(self.ethernet()?.and(group))
            }
            Some(Proto::Ip) => Ok(self.carries(IP)?.and(Test::at_least(self.layers.l3(16, 1), 224))),
            Some(Proto::Ip6) => Ok(self.carries(IP6)?.and(Test::equal(self.layers.l3(24, 1), 255))),
            Some(_) => Err(self.senseless(1, "only 'ether', 'ip' or 'ip6' can stand before it")),
        }
    }

    /// What must hold for there to be a header of Ethernet.
    pub fn ethernet(&self) -> Result<Test> {
        let layers = &self.layers;
        match (layers.link, layers.header.slot, layers.payload.slot) {
            (Link::Ppp, ..) => Err(self.senseless(1, "behind 'pppoes' there are no Ethernet headers")),
            // A packet that Geneve carries without one begins where its payload does.
            (Link::Ethernet, Some(header), Some(payload)) if layers.bare => {
                Ok(Test::All(vec![Test::Compare(Value::Slot(header), Relation::Equal, Value::Slot(payload)).negated()]))
            }
            (Link::Ethernet, ..) => Ok(Test::TRUE),
        }
    }

    /// `llc`, `llc i`, `llc rnr`: frames of 802.2 by their control field (IEEE 802.2 §5.4).
    pub fn llc(&mut self) -> Result<Test> {
        /// Supervisory and unnumbered frames: mask and value.
        const SORTS: [(&str, u32, u32); 13] = [
            ("s", 0x03, 0x01),
            ("u", 0x03, 0x03),
            ("rr", 0x0f, 0x01),
            ("rnr", 0x0f, 0x05),
            ("rej", 0x0f, 0x09),
            ("ui", 0xef, 0x03),
            ("ua", 0xef, 0x63),
            ("disc", 0xef, 0x43),
            ("dm", 0xef, 0x0f),
            ("sabme", 0xef, 0x6f),
            ("test", 0xef, 0xe3),
            ("xid", 0xef, 0xaf),
            ("frmr", 0xef, 0x87),
        ];
        self.next += 1;
        if self.layers.link == Link::Ppp {
            return Err(self.senseless(1, "behind 'pppoes' there are no Ethernet headers"));
        }
        let novell = Test::equal(self.layers.payload.load(2), 0xffff);
        let llc = self.layers.llc().and(novell.negated());
        let control = self.layers.payload.on(2).load(1);
        let sort = match self.word() {
            Some("rnr") => "rnr".to_owned(),
            Some(word) if !words::keyword(word) => word.to_ascii_lowercase(),
            _ => return Ok(llc),
        };
        let test = match (sort.as_str(), SORTS.iter().find(|(name, ..)| *name == sort)) {
            ("i", _) => Test::masked(control, 0x01, 0),
            (_, Some((_, mask, value))) => Test::masked(control, *mask, *value),
            (_, None) => return Err(self.wrong("i, s, u, rr, rnr, rej, ui, ua, disc, dm, sabme, test, xid or frmr")),
        };
        self.next += 1;
        Ok(llc.and(test))
    }
}
