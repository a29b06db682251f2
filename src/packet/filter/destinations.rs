//! What an expression says of destination addresses, for cards that compare these.
//!
//! Only what follows from it for every frame counts: `ether dst 01:00:5e:01:01:01 and udp`
//! has one destination, `dst host 239.1.1.1` has any, as nothing keeps a packet for a group
//! from being sent to another Ethernet address.

use super::expression::{Operator, Relation, Test, Value};
use crate::net::MacAddr;

/// Destinations, and alternatives on the way to them, beyond which any is assumed.
const MOST: usize = 64;

/// What is known of a destination address: it has these bits of `value`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    mask: u64,
    value: u64,
}

/// All 48 bits.
const ADDRESS: u64 = (1 << 48) - 1;

impl Known {
    /// Both, unless they contradict each other.
    fn and(self, other: Known) -> Option<Known> {
        let agree = (self.value ^ other.value) & self.mask & other.mask == 0;
        agree.then_some(Known { mask: self.mask | other.mask, value: self.value | other.value })
    }

    /// `number` under `mask` in `size` bytes at place `at` of the frame, most significant first.
    fn loaded(at: u32, size: u8, mask: u32, number: u32) -> Known {
        /// Both addresses, of which the source's is not wanted.
        const BYTES: u32 = 12;
        let end = at.saturating_add(u32::from(size));
        if end > BYTES {
            return Known::default();
        }
        let shift = 8 * (BYTES - end);
        let place = |bits: u32| ((u128::from(bits) << shift) >> 48) as u64 & ADDRESS;
        // Of a number that does not fit under its mask nothing need be known: it never comes.
        let [mask, value] = [place(mask), place(number & mask)];
        Known { mask, value }
    }
}

/// The destination addresses that a frame can have that passes, if they are few.
pub fn destinations(test: &Test) -> Option<Vec<MacAddr>> {
    let mut all = Vec::new();
    for Known { mask, value } in alternatives(test) {
        if mask != ADDRESS {
            return None;
        }
        let [_, _, address @ ..] = value.to_be_bytes();
        all.push(MacAddr(address));
    }
    all.sort_unstable();
    all.dedup();
    // None at all is an expression that nothing passes.
    Some(all).filter(|all| !all.is_empty())
}

/// One of these holds for the destination of every frame that passes.
fn alternatives(test: &Test) -> Vec<Known> {
    let anything = || vec![Known::default()];
    match test {
        Test::All(tests) => tests.iter().map(alternatives).fold(anything(), |known, more| {
            // To leave some out is to know less, never more than is so.
            if known.len() * more.len() > MOST {
                return known;
            }
            known.iter().flat_map(|one| more.iter().filter_map(|other| one.and(*other))).collect()
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
        Value::Binary(loaded, Operator::And, mask) => match (&**loaded, &**mask) {
            (Value::Load(None, at, size), Value::Number(mask)) => {
                Known::loaded(*at, *size, mask & width(*size), number)
            }
            _ => Known::default(),
        },
        _ => Known::default(),
    }
}

/// All bits of so many bytes.
fn width(size: u8) -> u32 {
    u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4)))
}

#[cfg(test)]
mod tests {
    use crate::net::MacAddr;
    use crate::packet::Filter;

    const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 1, 1, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    fn of(text: &str) -> Option<Vec<MacAddr>> {
        Filter::parse(text).unwrap().destinations().map(<[MacAddr]>::to_vec)
    }

    #[test]
    fn only_what_follows_from_an_expression_for_every_frame_is_said_of_it() {
        for text in [
            "ether dst 01:00:5e:01:01:01",
            "ether dst 01:00:5e:01:01:01 and udp dst port 5 and dst host 239.1.1.1",
            "udp and (ether dst 01:00:5e:01:01:01 or ether dst 01:00:5e:01:01:01 and tcp)",
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
            let Some(destinations) = filter.destinations() else { continue };
            said += 1;
            for frame in frames.iter().filter(|frame| filter.matches(frame, frame.len())) {
                let to = MacAddr(*frame.first_chunk().unwrap());
                assert!(destinations.contains(&to), "{text}: {to} passes, of {destinations:?}");
            }
        }
        assert!(said > 500, "few of the expressions said anything: {said}");
    }
}
