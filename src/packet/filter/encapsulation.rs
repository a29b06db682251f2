//! What packets are wrapped in: VLAN tags, MPLS, PPPoE, Geneve, VXLAN; and chains of
//! IPv6 headers.
//!
//! A wrapping moves the layers for what follows in the expression. Where it is as
//! long as the packet says, its end is remembered in scratch memory.

use super::expression::{Operator, Test, Value};
use super::layers::{IP, IP6, Layers, Link, MPLS, Place};
use super::parser::{Direction, Parser, Qualifiers, What};
use super::words::{AH, Proto, UDP};
use crate::error::Result;

/// Headers of a chain that `protochain` goes past. libpcap goes on for ever, with a
/// jump back that no kernel takes; a chain that is longer than this matches nothing.
const CHAIN: usize = 8;

/// UDP ports (RFC 8926 §3.3, RFC 7348 §5).
const GENEVE: u16 = 6081;
const VXLAN: u16 = 4789;

/// What Geneve carries when it carries Ethernet (RFC 8926 §3.4).
const BRIDGED: u32 = 0x6558;

impl Parser<'_> {
    /// `vlan`, `vlan 77`.
    pub fn vlan(&mut self) -> Result<Test> {
        self.next += 1;
        if self.layers.labels > 0 || self.layers.link == Link::Ppp {
            return Err(self.senseless(1, "a tag of a VLAN is not behind 'mpls' or 'pppoes'"));
        }
        let tags: Result<Vec<Test>> = [0x8100, 0x88a8, 0x9100].map(|tag| self.carries(tag)).into_iter().collect();
        let mut test = Test::Any(tags?);
        if let Some(id) = self.identifier(0xfff, "a VLAN id")? {
            test = Test::All(vec![test, Test::masked(self.layers.l3(0, 2), 0x0fff, id)]);
        }
        self.layers.payload = self.layers.payload.on(4);
        self.layers.link_type = self.layers.link_type.on(4);
        Ok(test)
    }

    /// `mpls`, `mpls 1024`.
    pub fn mpls(&mut self) -> Result<Test> {
        self.next += 1;
        let layers = self.layers;
        let test = match (layers.labels, layers.link) {
            (0, Link::Ethernet) => self.carries(MPLS)?,
            // PPP's number for it (RFC 3032 §4.3).
            (0, Link::Ppp) => Test::equal(layers.link_type.load(2), 0x0281),
            // The label before is not the last one.
            _ => Test::masked(layers.l3(2_u32.wrapping_neg(), 1), 1, 0),
        };
        let mut test = Test::All(vec![test]);
        if let Some(label) = self.identifier(0xf_ffff, "a label of MPLS")? {
            test = test.and(Test::masked(layers.payload.on(layers.network).load(4), 0xffff_f000, label << 12));
        }
        self.layers.network += 4;
        self.layers.behind_llc += 4;
        self.layers.labels += 1;
        Ok(test)
    }

    /// Discovery of PPPoE.
    pub fn pppoed(&mut self) -> Result<Test> {
        self.next += 1;
        self.carries(0x8863)
    }

    /// `pppoes`, `pppoes 0x11`: sessions of PPPoE (RFC 2516 §4).
    pub fn pppoes(&mut self) -> Result<Test> {
        self.next += 1;
        let mut test = Test::All(vec![self.carries(0x8864)?]);
        if let Some(session) = self.identifier(0xffff, "a session of PPPoE")? {
            test = test.and(Test::masked(self.layers.l3(0, 4), 0xffff, session));
        }
        let header = self.layers.network_header().on(6);
        self.layers = Layers {
            link: Link::Ppp,
            header,
            link_type: header,
            payload: header.on(2),
            network: 0,
            behind_llc: 0,
            bare: false,
            ..self.layers
        };
        Ok(test)
    }

    /// `geneve`, `geneve 5`: what it carries is behind options (RFC 8926 §3.4).
    pub fn geneve(&mut self) -> Result<Test> {
        self.next += 1;
        let id = self.identifier(0xff_ffff, "a network of Geneve")?;
        let version = |value| Test::masked(value, 0xc0, 0);
        let (test, [header, kind, payload]) = self.tunnel(GENEVE, version, id)?;
        // The header's place is Geneve's own until the end of its options is known.
        let options = Value::load(Value::Slot(header), 0, 1).with(Operator::And, 0x3f).with(Operator::Multiply, 4);
        let protocol = Value::load(Value::Slot(kind), 0, 2);
        let after = options.with(Operator::Add, 8).with(Operator::Add, Value::Slot(header));
        let on = |slot, bytes: u32| Value::Slot(slot).with(Operator::Add, bytes);
        let bridged = Test::All(vec![
            Test::equal(protocol, BRIDGED),
            Test::Set(kind, on(header, 12)),
            Test::Set(payload, on(header, 14)),
        ]);
        self.layers.bare = true;
        Ok(Test::All(vec![
            test,
            Test::Set(kind, on(header, 2)),
            Test::Set(header, after),
            Test::Any(vec![bridged, Test::Set(payload, on(header, 0))]),
        ]))
    }

    /// `vxlan`, `vxlan 5` (RFC 7348 §5), as libpcap has it from 1.11 on.
    pub fn vxlan(&mut self) -> Result<Test> {
        self.next += 1;
        let id = self.identifier(0xff_ffff, "a network of VXLAN")?;
        let (test, [header, kind, payload]) = self.tunnel(VXLAN, |flags| Test::equal(flags, 0x08), id)?;
        let on = |slot, bytes: u32| Value::Slot(slot).with(Operator::Add, bytes);
        Ok(Test::All(vec![
            test,
            Test::Set(header, on(header, 8)),
            Test::Set(kind, on(header, 12)),
            Test::Set(payload, on(header, 14)),
        ]))
    }

    /// A header behind UDP, over IPv4 or IPv6: its first byte holds, and its network
    /// is this one. Its place is remembered, in the first of the words that stand for
    /// the link's header, its type and what follows it.
    fn tunnel(&mut self, port: u16, first: impl Fn(Value) -> Test, id: Option<u32>) -> Result<(Test, [u8; 3])> {
        let layers = self.layers;
        let qualifiers = Qualifiers { proto: None, direction: Some(Direction::Destination), kind: What::Port };
        let Test::Any(versions) = self.ports(qualifiers, Some(UDP), port, port)? else {
            return Err(self.wrong("a port"));
        };
        let slots = self.remember()?;
        let mut ways = Vec::new();
        // IPv4 is tried first.
        for (v6, is_to_port) in [true, false].into_iter().zip(versions).rev() {
            let field = |at, size| if v6 { layers.l4_of_ip6(at, size) } else { layers.l4(at, size) };
            let mut tests = vec![is_to_port, first(field(8, 1))];
            if let Some(id) = id {
                tests.push(Test::masked(field(12, 4), 0xffff_ff00, id << 8));
            }
            let length = match (v6, layers.payload.slot) {
                (true, Some(slot)) => Value::Slot(slot).with(Operator::Add, 40),
                (true, None) => Value::Number(40),
                (false, _) => layers.ip_header(),
            };
            tests.push(Test::Set(slots[0], length.with(Operator::Add, layers.network_header().on(8).bytes)));
            ways.push(Test::All(tests));
        }
        let [header, link_type, payload] = slots.map(Place::remembered);
        self.layers =
            Layers { link: Link::Ethernet, header, link_type, payload, network: 0, bare: false, ..self.layers };
        Ok((Test::Any(ways), slots))
    }

    /// Three words of scratch memory that nothing else uses.
    fn remember(&mut self) -> Result<[u8; 3]> {
        let free = self.layers.free;
        if free > 9 {
            return Err(self.senseless(1, "this is too deep: four tunnels within each other can be followed"));
        }
        self.layers.free += 3;
        Ok([free, free + 1, free + 2])
    }

    /// A number up to `most`, if one follows.
    fn identifier(&mut self, most: u32, what: &str) -> Result<Option<u32>> {
        match self.number() {
            Some(number) if number > most => {
                self.next -= 1;
                Err(self.wrong(&format!("{what} from 0 to {most}")))
            }
            number => Ok(number),
        }
    }

    /// `protochain 6`: a protocol behind extension headers and those of AH.
    pub fn chain(&mut self, proto: Option<Proto>, number: u32) -> Result<Test> {
        if number > 0xff {
            return Err(self.senseless(1, "a number of a protocol up to 255 makes sense here"));
        }
        match proto {
            None => Ok(Test::Any(vec![self.chain_of(false, number)?, self.chain_of(true, number)?])),
            Some(Proto::Ip) => self.chain_of(false, number),
            Some(Proto::Ip6) => self.chain_of(true, number),
            Some(_) => Err(self.senseless(1, "only 'ip' or 'ip6' can stand before 'protochain'")),
        }
    }

    fn chain_of(&self, v6: bool, number: u32) -> Result<Test> {
        let layers = &self.layers;
        let (next, place) = (layers.free, layers.free + 1);
        let begin = if v6 {
            let header = layers.payload.slot.map_or(Value::Number(0), Value::Slot);
            vec![self.carries(IP6)?, Test::Set(next, layers.l3(6, 1)), Test::Set(place, header.with(Operator::Add, 40))]
        } else {
            vec![self.carries(IP)?, Test::Set(next, layers.l3(9, 1)), Test::Set(place, layers.ip_header())]
        };
        let start = layers.network_header().bytes;
        let byte = |at: u32| Value::load(Value::Slot(place), start.wrapping_add(at), 1);
        let is = |number| Test::equal(Value::Slot(next), number);
        let past = |more: u32, unit: u32| {
            let length = byte(1).with(Operator::Add, more).with(Operator::Multiply, unit);
            let forgotten = self.literal && unit == 4;
            let there = if forgotten { length } else { length.with(Operator::Add, Value::Slot(place)) };
            Test::All(vec![Test::Set(next, byte(0)), Test::Set(place, there)])
        };
        // Lengths are in units of 8 bytes, those of AH in units of 4 (RFC 8200 §4,
        // RFC 4302 §2.2).
        let authentication = is(AH).and(past(2, 4));
        let advance = if v6 {
            let extension = Test::Any([0, 60, 43, 44].map(is).into());
            Test::Any(vec![Test::All(vec![extension, past(1, 8)]), authentication])
        } else {
            authentication
        };
        let chain =
            (0..CHAIN).fold(is(number), |rest, _| Test::Any(vec![is(number), Test::All(vec![advance.clone(), rest])]));
        Ok(Test::All(begin.into_iter().chain([chain]).collect()))
    }
}
