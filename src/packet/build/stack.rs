//! Frames from a template: a stack of headers in plain text, for what options do not reach.
//!
//! ```text
//!   eth     dst=02:00:00:00:00:02
//!   ipv4    src=10.0.0.1 dst=10.0.0.2
//!   udp     sport=49152-65535          # the port of VXLAN is filled in
//!   vxlan   vni=1-100
//!   eth
//!   ipv4    dst=10.1.0.0/16/rand
//!   tcp     flags=2
//!   payload 68656c6c6f
//! ```
//!
//! A line is a header, or the payload at the end; what follows a # is a comment. Types,
//! protocols, lengths and checksums are filled in unless they are said. A field may run through
//! values as those of options do. What is stored for it are the 16-bit words that it lies in, so
//! of two fields in one word only one may change.

mod headers;

use super::field::{Covered, Field};
use super::words::{Bytes, hex};
use super::{Template, usage};
use crate::error::{Error, Result};
use crate::net::{MacAddr, Sum};
use crate::packet::parse::ethertype;
use crate::packet::values::Values;
use headers::{Header, Kind, Place, next};
use std::io::Read;
use std::ops::Range;
use std::str::FromStr;

/// Most headers of a frame.
const MOST: usize = 16;
/// Most bytes of a file: far more than the longest payload takes.
const MOST_TEXT: usize = 1 << 20;

/// A template as it was read.
#[derive(Clone, Debug)]
pub struct Stack {
    layers: Vec<Layer>,
    pub(super) data: Option<Bytes>,
}

#[derive(Clone, Debug)]
struct Layer {
    header: &'static Header,
    at: usize,
    given: Vec<(&'static Place, Values)>,
}

impl FromStr for Stack {
    type Err = Error;

    /// Reads the file of a name.
    fn from_str(name: &str) -> Result<Self> {
        let mut text = String::new();
        let read = std::fs::File::open(name).and_then(|file| file.take(MOST_TEXT as u64 + 1).read_to_string(&mut text));
        read.map_err(|error| Error::io(format!("reading the template {name}"), error))?;
        if text.len() > MOST_TEXT {
            return Err(usage(format!("{name} is no template: it is longer than {MOST_TEXT} bytes")));
        }
        Stack::read(&text, name)
    }
}

impl Stack {
    /// Reads the text of a file that is called `name` in errors.
    ///
    /// # Errors
    /// [`crate::Kind::Usage`] with the number of the line that makes no sense.
    pub fn read(text: &str, name: &str) -> Result<Self> {
        let mut stack = Stack { layers: Vec::new(), data: None };
        for (line, number) in text.lines().zip(1..) {
            let said = line.split_once('#').map_or(line, |(said, _)| said).trim();
            if !said.is_empty() {
                stack.line(said).map_err(|why| usage(format!("line {number} of {name}: {why}")))?;
            }
        }
        match stack.layers.first().map(|layer| layer.header.kind) {
            Some(Kind::Ethernet) => Ok(stack),
            _ => Err(usage(format!("the template {name} has no Ethernet header; begin with a line 'eth'"))),
        }
    }

    fn line(&mut self, said: &str) -> std::result::Result<(), String> {
        let (name, rest) = said.split_once(char::is_whitespace).unwrap_or((said, ""));
        if self.data.is_some() {
            return Err("it is behind the payload, which ends a frame".into());
        }
        if name == "payload" {
            let bytes = hex(rest).filter(|bytes| !bytes.is_empty());
            self.data = Some(Bytes(bytes.ok_or("a payload is hexadecimal digits, two for each byte")?));
            return Ok(());
        }
        let header = Header::named(name).ok_or_else(|| {
            let names: Vec<&str> = headers::HEADERS.iter().map(|header| header.name).collect();
            format!("'{name}' is no header; there are {} and payload", names.join(", "))
        })?;
        let mut layer = Layer { header, at: self.end(), given: Vec::new() };
        for word in rest.split_whitespace() {
            let names = || header.places.iter().map(|place| place.name).collect::<Vec<_>>().join(", ");
            let (field, text) =
                word.split_once('=').ok_or_else(|| format!("'{word}' is no field; write name=value"))?;
            let place =
                header.place(field).ok_or_else(|| format!("{name} has no field '{field}'; it has {}", names()))?;
            if layer.given(place).is_some() {
                return Err(format!("{field} is said twice"));
            }
            let values = place.read(text).map_err(|error| error.to_string())?;
            if !values.is_constant() {
                layer.check(place, values)?;
            }
            layer.given.push((place, values));
        }
        if let Some(outer) = self.layers.last().filter(|outer| next(outer.header.kind, header.kind).is_none()) {
            return Err(format!("{name} cannot follow {}", outer.header.name));
        }
        if self.layers.len() == MOST {
            return Err(format!("it is one header more than the {MOST} that a frame may have"));
        }
        self.layers.push(layer);
        Ok(())
    }

    /// Where the payload begins.
    pub(super) fn end(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.at + layer.header.len)
    }

    /// Bytes of VLAN tags in front of everything else.
    pub fn tags(&self) -> usize {
        let is_tag = |layer: &&Layer| layer.header.kind == Kind::Vlan;
        self.layers.iter().skip(1).take_while(is_tag).map(|layer| layer.header.len).sum()
    }

    /// With this source address of the outermost header, if none is said.
    pub(super) fn sent_from(mut self, mac: Option<MacAddr>) -> Self {
        if let (Some(layer), Some(MacAddr(mac))) = (self.layers.first_mut(), mac)
            && let Some(place) = layer.header.place("src").filter(|place| layer.given(place).is_none())
        {
            layer.given.push((place, Values::one(mac.iter().fold(0, |all, byte| all << 8 | u128::from(*byte)))));
        }
        self
    }

    /// A frame of `len` bytes, whose packets end at `end`, and the sums of its checksums.
    pub(super) fn template(&self, len: usize, end: usize) -> (Template, Vec<Sum>) {
        let mut frame = vec![0; len];
        if let Some(Bytes(data)) = &self.data {
            frame[self.end()..self.end() + data.len()].copy_from_slice(data);
        }
        for i in 0..self.layers.len() {
            self.put(i, end, &mut frame);
        }
        for (layer, place, _) in self.varying() {
            // What a field stores, which is of eight bytes at most or of all.
            let Words { bytes, .. } = layer.words(place);
            frame[bytes.end - bytes.len().min(8)..bytes.end].fill(0);
        }
        let sums = self.checks().iter().map(|check| check.sum(&frame, end)).collect();
        let payload = if self.data.is_some() { 0 } else { len - self.end() };
        (Template { frame, ip: Sum::default(), l4: Sum::default(), payload }, sums)
    }

    /// Puts what does not change of a header in place.
    fn put(&self, i: usize, end: usize, frame: &mut [u8]) {
        let layer = &self.layers[i];
        let named = self.named(i);
        for place in layer.header.places {
            let auto = match (layer.header.kind, place.name) {
                (_, name) if named.is_some_and(|(next, _)| next == name) => named.map_or(0, |(_, value)| value),
                (Kind::Ipv4 | Kind::Udp, "length") => (end - layer.at) as u128,
                (Kind::Ipv6, "length") => (end - layer.at - 40) as u128,
                // For experiments: IEEE 802, RFC 3692.
                (_, "type") if place.bits == 16 => 0x88b5,
                (_, "proto") => 253,
                _ => place.usual,
            };
            let value = match layer.given(place) {
                Some(values) if values.is_constant() => values.first,
                // The half that stays of an IPv6 address.
                Some(values) if !values.is_wide() => values.first >> 64 << 64,
                Some(_) => 0,
                None => auto,
            };
            let first = 8 * layer.at + place.bit;
            for bit in 0..place.bits as usize {
                let set = value >> (place.bits as usize - 1 - bit) & 1 != 0;
                frame[(first + bit) / 8] |= u8::from(set) << (7 - (first + bit) % 8);
            }
        }
    }

    /// The field in which a header names the one behind it, and what it says.
    fn named(&self, i: usize) -> Option<(&'static str, u128)> {
        let kind = |i: usize| self.layers.get(i).map(|layer| layer.header.kind);
        let (here, behind) = (kind(i)?, kind(i + 1)?);
        // The outer one of two tags is a service provider's (IEEE 802.1Q, table 9-1).
        if here != Kind::Vlan && behind == Kind::Vlan && kind(i + 2) == Some(Kind::Vlan) {
            return Some(("type", ethertype::QINQ.into()));
        }
        next(here, behind)
    }

    /// The fields that change.
    pub(super) fn fields(&self) -> Vec<Field> {
        let mut frame = vec![0; self.end()];
        for i in 0..self.layers.len() {
            self.put(i, self.end(), &mut frame);
        }
        let checks = self.checks();
        let field = |(layer, place, values): (&Layer, &Place, Values)| {
            let Words { bytes, behind } = layer.words(place);
            let around = frame[bytes.clone()].iter().fold(0, |all, byte| all << 8 | u128::from(*byte));
            let values = Values {
                first: values.first << behind | around,
                span: values.span << behind,
                step: values.step.map(|step| step << behind),
            };
            let covers = |check: &Check| check.covers(bytes.start);
            let sums = checks.iter().enumerate().filter(|(_, check)| covers(check)).fold(0, |all, (i, _)| all | 1 << i);
            let mut field = Field::new(values, bytes.start, bytes.len(), Covered::Neither);
            // Numbers are drawn with the bits behind the field, which are then taken from them.
            let below = if values.step.is_none() { (1 << behind) - 1 } else { 0 };
            field.span |= below;
            field.covered = Covered::Stacked { sums, below };
            field
        };
        self.varying().map(field).collect()
    }

    fn varying(&self) -> impl Iterator<Item = (&Layer, &'static Place, Values)> {
        self.layers.iter().flat_map(|layer| layer.varying().map(move |(place, values)| (layer, place, values)))
    }

    /// The checksums that are filled in, the outer ones first.
    fn checks(&self) -> Vec<Check> {
        let mut all = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let Some(place) = layer.header.place("checksum").filter(|place| layer.given(place).is_none()) else {
                continue;
            };
            let at = layer.at + place.bit / 8;
            if layer.header.kind == Kind::Ipv4 {
                all.push(Check {
                    at,
                    from: layer.at,
                    to: Some(layer.at + 20),
                    addresses: None,
                    protocol: 0,
                    udp: false,
                });
                continue;
            }
            let protocol = match layer.header.kind {
                Kind::Udp => 17,
                Kind::Tcp => 6,
                Kind::Icmp6 => 58,
                _ => 0,
            };
            let outer = self.layers[..i].last().filter(|_| protocol != 0);
            let addresses = outer.and_then(|ip| match ip.header.kind {
                Kind::Ipv4 => Some(ip.at + 12..ip.at + 20),
                Kind::Ipv6 => Some(ip.at + 8..ip.at + 40),
                _ => None,
            });
            let udp = layer.header.kind == Kind::Udp;
            all.push(Check { at, from: layer.at, to: None, addresses, protocol, udp });
        }
        all
    }

    /// What fills them in.
    pub(super) fn filler(&self, sums: Vec<Vec<Sum>>) -> Filler {
        let checks = self.checks();
        let outer = |at: usize| {
            checks
                .iter()
                .enumerate()
                .filter(|(_, check)| check.covers(at) && check.at != at)
                .fold(0, |all, (i, _)| all | 1 << i)
        };
        let outer = checks.iter().map(|check| outer(check.at)).collect();
        Filler { changed: vec![Sum::default(); checks.len()], outer, checks, sums }
    }
}

impl Layer {
    fn given(&self, place: &Place) -> Option<Values> {
        self.given.iter().find(|(given, _)| std::ptr::eq(*given, place)).map(|(_, values)| *values)
    }

    fn varying(&self) -> impl Iterator<Item = (&'static Place, Values)> {
        self.given.iter().filter(|(_, values)| !values.is_constant()).copied()
    }

    /// What is stored for a field.
    fn words(&self, place: &Place) -> Words {
        let end = place.bit + place.bits as usize;
        let (first, last) = (place.bit / 16, end.div_ceil(16));
        Words { bytes: self.at + 2 * first..self.at + 2 * last, behind: 16 * last - end }
    }

    /// Refuses values of a field that cannot change.
    fn check(&self, place: &Place, values: Values) -> std::result::Result<(), String> {
        let name = place.name;
        let bytes = self.words(place).bytes;
        let around = values.first.checked_add(values.span).is_none_or(|last| last >> (place.bits - 1) >> 1 != 0);
        if around && bytes.len() * 8 != place.bits as usize {
            return Err(format!(
                "a range of {name} does not go on from 0; write it from the least value to the greatest"
            ));
        }
        let near = |other: Range<usize>| other.start < bytes.end && bytes.start < other.end;
        match self.varying().find(|(other, _)| near(self.words(other).bytes)) {
            Some((other, _)) => {
                Err(format!("{name} and {} lie too near for both to change; write one value of one", other.name))
            }
            None => Ok(()),
        }
    }
}

/// Where a field is stored: whole words of 16 bits, 2, 4, 6 or 16 bytes.
struct Words {
    bytes: Range<usize>,
    /// Bits behind the field.
    behind: usize,
}

/// A checksum.
#[derive(Clone, Debug)]
struct Check {
    at: usize,
    /// What it covers, to the end of the packet if nothing is said.
    from: usize,
    to: Option<usize>,
    /// Those of the pseudo-header.
    addresses: Option<Range<usize>>,
    protocol: u8,
    /// Zero is sent as ones.
    udp: bool,
}

impl Check {
    fn covers(&self, at: usize) -> bool {
        let inside = at >= self.from && self.to.is_none_or(|to| at < to);
        inside || self.addresses.as_ref().is_some_and(|addresses| addresses.contains(&at))
    }

    /// Of what does not change.
    fn sum(&self, frame: &[u8], end: usize) -> Sum {
        let sum = Sum::of(&frame[self.from..self.to.unwrap_or(end)]);
        let Some(addresses) = &self.addresses else { return sum };
        let length = (end - self.from) as u64;
        sum.and(Sum::of(&frame[addresses.clone()])).and_number(length).and_number(self.protocol.into())
    }
}

/// Fills checksums in.
#[derive(Clone, Debug)]
pub(super) struct Filler {
    checks: Vec<Check>,
    /// Those that are part of which others, a bit for each.
    outer: Vec<u32>,
    /// Of what does not change, for each template.
    sums: Vec<Vec<Sum>>,
    /// Of what has changed in this frame.
    changed: Vec<Sum>,
}

impl Filler {
    /// A field of this value, by halves, is part of `sums`, a bit for each.
    pub(super) fn add(&mut self, sums: u32, [high, low]: [u64; 2]) {
        for (_, sum) in self.changed.iter_mut().enumerate().filter(|(i, _)| sums & 1 << i != 0) {
            *sum = sum.and_number(high).and_number(low);
        }
    }

    /// Stores the checksums of a frame of one of the templates, whose trailer has this sum.
    pub(super) fn finish(&mut self, template: usize, frame: &mut [u8], trailer: Sum) {
        for i in (0..self.checks.len()).rev() {
            let check = &self.checks[i];
            let mut sum = self.sums[template][i].and(self.changed[i]);
            if check.to.is_none() {
                sum = sum.and(trailer);
            }
            let checksum = match sum.checksum() {
                0 if check.udp => 0xffff,
                checksum => checksum,
            };
            frame[check.at..check.at + 2].copy_from_slice(&checksum.to_be_bytes());
            let outer = self.outer[i];
            for (j, sum) in self.changed.iter_mut().enumerate() {
                if outer & 1 << j != 0 {
                    *sum = sum.and_number(checksum.into());
                }
            }
        }
        self.changed.fill(Sum::default());
    }
}

#[cfg(test)]
mod tests;
