//! What an expression says of every frame that passes, for cards that compare it.
//!
//! Only what follows from it for every frame counts: `ether dst 01:00:5e:01:01:01 and udp`
//! has one destination, `dst host 239.1.1.1` has any, as nothing keeps a packet for a group
//! from being sent to another Ethernet address. `vlan 5` has one tag.

use super::expression::{Operator, Relation, Test, Value};
use super::layers::{IP, IP6, Layers};
use crate::dma::L4;
use crate::driver::{FlowRule, Wanted};
use crate::net::MacAddr;
use std::net::IpAddr;

/// Alternatives, and all that is made of them, beyond which anything is assumed.
const MOST: usize = 64;

/// Bytes of a frame that are looked at: up to the ports behind an IPv6 header.
const BYTES: usize = 58;

/// What is known of a frame: it has these bits of `value`, and these ports behind an IPv4
/// header, of its source and of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    mask: [u8; BYTES],
    value: [u8; BYTES],
    ports: [Option<u16>; 2],
}

/// Nothing.
const ANYTHING: Known = Known { mask: [0; BYTES], value: [0; BYTES], ports: [None; 2] };

impl Known {
    /// Both, unless they contradict each other.
    fn and(mut self, other: &Known) -> Option<Known> {
        for at in 0..BYTES {
            if (self.value[at] ^ other.value[at]) & self.mask[at] & other.mask[at] != 0 {
                return None;
            }
            self.mask[at] |= other.mask[at];
            self.value[at] |= other.value[at];
        }
        for (own, other) in self.ports.iter_mut().zip(other.ports) {
            if matches!((*own, other), (Some(own), Some(other)) if own != other) {
                return None;
            }
            *own = own.or(other);
        }
        Some(self)
    }

    /// `number` under `mask` in `size` bytes at place `at` of the frame, most significant first.
    fn loaded(at: u32, size: u8, mask: u32, number: u32) -> Known {
        let mut known = ANYTHING;
        let (at, size) = (usize::try_from(at).unwrap_or(BYTES), usize::from(size));
        if at.saturating_add(size) > BYTES || size > 4 {
            return known;
        }
        // Of a number that does not fit under its mask nothing need be known: it never comes.
        known.mask[at..at + size].copy_from_slice(&mask.to_be_bytes()[4 - size..]);
        known.value[at..at + size].copy_from_slice(&(number & mask).to_be_bytes()[4 - size..]);
        known
    }

    /// `N` bytes, if all of them are known.
    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let whole = self.mask[at..at + N].iter().all(|mask| *mask == 0xff);
        whole.then(|| std::array::from_fn(|n| self.value[at + n]))
    }

    fn word(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_be_bytes)
    }

    /// The VLAN of the tag that it begins with: none within if it has none; none if that is
    /// not known. What some card may take for a tag is one.
    fn vlan(&self) -> Option<Option<u16>> {
        const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
        const ID: u16 = 0x0fff;
        if self.word(12).is_some_and(|kind| !TAGS.contains(&kind)) {
            return Some(None);
        }
        let [mask, value] = [&self.mask, &self.value].map(|bytes| u16::from_be_bytes([bytes[14], bytes[15]]));
        (mask & ID == ID).then_some(Some(value & ID))
    }

    /// The flow that it is of, without a tag, if its protocol and its destination's address
    /// and port are known.
    fn flow(&self) -> Option<FlowRule> {
        let kind = u32::from(self.word(12)?);
        let port = |at| self.word(at);
        let (protocol, addresses, ports) = match kind {
            IP => {
                let [source, destination] = [26, 30].map(|at| self.bytes::<4>(at).map(IpAddr::from));
                (self.bytes::<1>(23)?, [source, destination], self.ports)
            }
            IP6 => {
                let [source, destination] = [22, 38].map(|at| self.bytes::<16>(at).map(IpAddr::from));
                (self.bytes::<1>(20)?, [source, destination], [port(54), port(56)])
            }
            _ => return None,
        };
        let protocol = match protocol {
            [6] => L4::Tcp,
            [17] => L4::Udp,
            [132] => L4::Sctp,
            _ => return None,
        };
        let ([source, destination], [source_port, destination_port]) = (addresses, ports);
        let rule = FlowRule { source, destination, source_port, destination_port, protocol, queue: 0 };
        (destination.is_some() && destination_port.is_some()).then_some(rule)
    }
}

/// What all frames have that pass: destination addresses, VLANs and flows, each where these
/// are few.
pub fn wanted(test: &Test) -> Wanted {
    let all = alternatives(test);
    let each = |of: &dyn Fn(&Known) -> Option<MacAddr>| all.iter().map(of).collect::<Option<Vec<_>>>();
    let mut destinations = each(&|known| known.bytes(0).map(MacAddr)).unwrap_or_default();
    destinations.sort_unstable();
    destinations.dedup();
    let vlans: Option<Vec<Option<u16>>> = all.iter().map(Known::vlan).collect();
    let mut vlans: Vec<u16> = vlans.into_iter().flatten().flatten().collect();
    vlans.sort_unstable();
    vlans.dedup();
    let mut flows: Vec<FlowRule> = Vec::new();
    for rule in all.iter().map(Known::flow).collect::<Option<Vec<_>>>().unwrap_or_default() {
        if !flows.contains(&rule) {
            flows.push(rule);
        }
    }
    // None at all is an expression that nothing passes, or that wants no tag.
    fn some<T>(all: Vec<T>) -> Option<Vec<T>> {
        Some(all).filter(|all| !all.is_empty())
    }
    Wanted { destinations: some(destinations), vlans: some(vlans), flows: some(flows), expression: None }
}

/// One of these holds for every frame that passes.
fn alternatives(test: &Test) -> Vec<Known> {
    let anything = || vec![ANYTHING];
    match test {
        Test::All(tests) => tests.iter().map(alternatives).fold(anything(), |known, more| {
            // To leave some out is to know less, never more than is so.
            if known.len() * more.len() > MOST {
                return known;
            }
            known.iter().flat_map(|one| more.iter().filter_map(|other| one.and(other))).collect()
        }),
        Test::Any(tests) => {
            let any: Vec<Known> = tests.iter().flat_map(alternatives).collect();
            if any.len() > MOST { anything() } else { any }
        }
        Test::Compare(left, Relation::Equal, Value::Number(number)) => vec![compared(left, *number)],
        Test::Compare(..) | Test::Not(_) | Test::Set(..) => anything(),
    }
}

fn compared(value: &Value, number: u32) -> Known {
    match value {
        Value::Load(None, at, size) => Known::loaded(*at, *size, width(*size), number),
        Value::Load(Some(_), ..) => {
            // Only what is at this place of a frame without a tag is compared with it.
            let ports = [0, 2].map(|at| u16::try_from(number).ok().filter(|_| *value == Layers::default().l4(at, 2)));
            Known { ports, ..ANYTHING }
        }
        Value::Binary(loaded, Operator::And, mask) => match (&**loaded, &**mask) {
            (Value::Load(None, at, size), Value::Number(mask)) => {
                Known::loaded(*at, *size, mask & width(*size), number)
            }
            _ => ANYTHING,
        },
        _ => ANYTHING,
    }
}

/// All bits of so many bytes.
fn width(size: u8) -> u32 {
    u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4)))
}

#[cfg(test)]
mod tests {
    use super::FlowRule;
    use crate::dma::L4;
    use crate::net::MacAddr;
    use crate::packet::Filter;

    const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 1, 1, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    fn of(text: &str) -> Option<Vec<MacAddr>> {
        Filter::parse(text).unwrap().wanted().destinations.clone()
    }

    #[test]
    fn only_what_follows_from_an_expression_for_every_frame_is_said_of_it() {
        for text in [
            "ether dst 01:00:5e:01:01:01",
            "ether dst 01:00:5e:01:01:01 and udp dst port 5 and dst host 239.1.1.1",
            "udp and (ether dst 01:00:5e:01:01:01 or ether dst 01:00:5e:01:01:01 and ip)",
            "ether[0:4] = 0x01005e01 and ether[4:2] = 0x0101",
            "ether[2:4] = 0x5e010101 and ether[0] = 1 and ether[1] & 0xff = 0",
            "vlan 5 and ether dst 01:00:5e:01:01:01 and ip",
        ] {
            assert_eq!(of(text), Some(vec![GROUP]), "{text}");
        }
        let both = Some(vec![GROUP, OTHER]);
        assert_eq!(of("(ether dst 01:00:5e:01:01:01 or ether dst 02:00:00:00:00:07) and udp"), both);
        assert_eq!(of("ether broadcast and arp"), Some(vec![MacAddr([0xff; 6])]));
        for text in [
            "",
            "udp dst port 5 and dst host 239.1.1.1",
            "ether multicast",
            "not ether dst 01:00:5e:01:01:01",
            "ether host 01:00:5e:01:01:01",
            "ether src 01:00:5e:01:01:01",
            "ether dst 01:00:5e:01:01:01 or arp",
            "ether[0:4] = 0x01005e01 and ether[4] = 1",
            "ether[0:4] = 0x01005e01 and ether[4:2] & 0xff = 1",
            "ether[2:4] = 0x5e010101 and ether[0:2] > 0x0ff",
            "ether dst 01:00:5e:01:01:01 and ether dst 02:00:00:00:00:07",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn no_frame_passes_whose_destination_was_ruled_out() {
        // Addresses that share bytes, so that half a comparison is not enough.
        let addresses = ["01:00:5e:01:01:01", "01:00:5e:01:01:02", "02:00:00:00:00:07", "ff:ff:ff:ff:ff:ff"];
        let parts = [
            "ether dst 01:00:5e:01:01:01",
            "ether dst 02:00:00:00:00:07",
            "ether src 01:00:5e:01:01:01",
            "ether broadcast",
            "ether multicast",
            "ether[0:2] = 0x0100",
            "ether[2:4] = 0x5e010102",
            "ether[5] & 3 = 1",
            "ip",
            "arp",
        ];
        let address =
            |text: &str| text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect::<Vec<_>>();
        let frames: Vec<Vec<u8>> = addresses
            .iter()
            .flat_map(|to| addresses.iter().map(move |from| (to, from)))
            .flat_map(|(to, from)| {
                [[8, 0], [8, 6]].map(|kind| [address(to), address(from), kind.to_vec(), vec![0; 46]].concat())
            })
            .collect();
        let mut state = 1_u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let mut said = 0;
        for _ in 0..5_000 {
            let mut text = parts[below(parts.len())].to_string();
            for _ in 0..below(6) {
                let part = parts[below(parts.len())];
                let join = ["and", "or", "and not"][below(3)];
                text = if below(3) == 0 {
                    format!("not ({text}) {join} {part}")
                } else {
                    format!("({text}) {join} {part}")
                };
            }
            let filter = Filter::parse(&text).unwrap();
            let Some(destinations) = &filter.wanted().destinations else { continue };
            said += 1;
            for frame in frames.iter().filter(|frame| filter.matches(frame, frame.len())) {
                let to = MacAddr(*frame.first_chunk().unwrap());
                assert!(destinations.contains(&to), "{text}: {to} passes, of {destinations:?}");
            }
        }
        assert!(said > 500, "few of the expressions said anything: {said}");
    }

    #[test]
    fn a_vlan_is_said_only_where_each_frame_that_may_have_a_tag_has_it() {
        let of = |text: &str| Filter::parse(text).unwrap().wanted().vlans.clone();
        for (text, vlans) in [
            ("vlan 5", vec![5]),
            ("vlan 5 and udp port 9", vec![5]),
            ("vlan and (ether[14:2] & 0xfff = 7 or ether[14:2] & 0xfff = 5)", vec![5, 7]),
            ("vlan 5 and vlan 6", vec![5]),
            ("vlan 0 and ip", vec![0]),
            // Frames without a tag are received in any case.
            ("arp or vlan 5", vec![5]),
            ("ether[12:2] = 0x8100 and ether[14:2] & 0xfff = 9", vec![9]),
            ("vlan and ether[14:2] = 0xe009", vec![9]),
        ] {
            assert_eq!(of(text), Some(vlans), "{text}");
        }
        for text in [
            "",
            "vlan",
            "not vlan 5",
            // The second one looks for another tag, behind the first.
            "vlan 5 or vlan 7",
            "ether dst 01:00:5e:01:01:01",
            "ether dst 01:00:5e:01:01:01 or vlan 5",
            "ether[12:2] = 0x8100 and ether[14:2] & 0x0ff = 9",
            "vlan 5 and vlan 6 and vlan 7 or ether[0] = 1",
            // No tag is wanted: then none is left out either.
            "arp",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_flow_is_said_where_protocol_and_destination_follow() {
        let of = |text: &str| Filter::parse(text).unwrap().wanted().flows.clone();
        let rule = |protocol, source: Option<(&str, u16)>, destination: &str, port| FlowRule {
            source: source.map(|(address, _)| address.parse().unwrap()),
            source_port: source.map(|(_, port)| port),
            destination: Some(destination.parse().unwrap()),
            destination_port: Some(port),
            protocol,
            queue: 0,
        };
        let feed = rule(L4::Udp, None, "239.1.2.3", 5000);
        let session = rule(L4::Tcp, Some(("10.0.0.1", 80)), "10.0.0.2", 9);
        for (text, flows) in [
            ("udp and dst host 239.1.2.3 and dst port 5000", vec![feed]),
            ("udp dst port 5000 and dst host 239.1.2.3 and ip[6:2] & 0x3fff = 0", vec![feed]),
            ("tcp and src host 10.0.0.1 and src port 80 and dst host 10.0.0.2 and dst port 9", vec![session]),
            (
                "udp and dst port 5000 and (dst host 239.1.2.3 or dst host 239.1.2.4)",
                vec![feed, rule(L4::Udp, None, "239.1.2.4", 5000)],
            ),
            ("ip6 and ip6[6] = 17 and dst host ff05::9 and ip6[42:2] = 7", vec![rule(L4::Udp, None, "ff05::9", 7)]),
        ] {
            assert_eq!(of(text), Some(flows), "{text}");
        }
        for text in [
            "udp dst port 5000",
            "udp and dst host 239.1.2.3",
            "udp and tcp and dst host 239.1.2.3 and dst port 5000",
            "udp and dst net 239.1.2.0/24 and dst port 5000",
            "udp and dst host 239.1.2.3 and dst portrange 5000-5001",
            "udp and host 239.1.2.3 and port 5000",
            "vlan 5 and udp and dst host 239.1.2.3 and dst port 5000",
            "(udp and dst host 239.1.2.3 and dst port 5000) or igmp",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn an_expression_is_the_kernels_unless_it_shifts_by_what_only_the_frame_tells() {
        let left = |text: &str| Filter::parse(text).unwrap().wanted().expression.clone();
        for text in ["udp", "ip[6:2] & 0x1fff = 0 and tcp[((tcp[12] & 0xf0) >> 2):2] = 7", "vlan 5"] {
            assert_eq!(left(text).unwrap().text, text);
        }
        for text in ["", "ip[0] << ip[1] = 4", "udp or 64 >> ip[1] = 4"] {
            assert!(left(text).is_none(), "{text}");
        }
    }

    #[test]
    fn how_far_an_expression_looks_is_known_where_only_headers_say() {
        let reach = |text: &str| Filter::parse(text).unwrap().reach();
        assert_eq!(
            (reach(""), reach("ip"), reach("ether[99] = 1"), reach("ip[1000:4] = 1")),
            (Some(0), Some(14), Some(100), Some(1_018))
        );
        // Behind a header of IPv4 of up to 60 bytes.
        assert_eq!(reach("ip and udp dst port 53"), Some(14 + 60 + 4));
        for text in ["ip[ip[0]] = 1", "ether[len - 1] = 1", "udp[len - 1400] = 1", "ip6 protochain 6"] {
            assert_eq!(reach(text), None, "{text}");
        }
    }
}
