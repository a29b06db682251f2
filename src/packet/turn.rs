//! Frames turned round where they lie: what came goes the other way.
//!
//! ```text
//!   | destination, source | tags | .. source, destination .. | source, destination | ..
//!        MAC addresses                    IP addresses              ports
//! ```
//!
//! Each pair lies side by side in whole 16-bit words, and a one's complement sum does not know
//! the order of its words (RFC 1071 §2): what only swaps them leaves every checksum right, and
//! one that was wrong as wrong as it was.

use super::parse::ethertype;
use crate::net::{MacAddr, Sum};
use std::net::Ipv4Addr;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Next header of ICMPv6.
pub(super) const ICMP6: u8 = 58;

/// Swaps source and destination: MAC addresses, those of IPv4 or IPv6, and the ports of UDP and
/// TCP, as far as there are any. A later fragment has no ports, and behind extension headers of
/// IPv6 they are left as they are.
pub fn swap(frame: &mut [u8]) {
    exchange(frame, 0, 6);
    let Some((kind, at)) = network(frame) else { return };
    let ip = &mut frame[at..];
    let (ports, protocol) = match kind {
        ethertype::IPV4 => {
            let Some(Ipv4 { len, protocol, offset, .. }) = ipv4(ip) else { return };
            exchange(ip, 12, 4);
            (len, if offset == 0 { protocol } else { 0 })
        }
        ethertype::IPV6 if ip.len() >= 40 && ip[0] >> 4 == 6 => {
            exchange(ip, 8, 16);
            (40, ip[6])
        }
        _ => return,
    };
    if matches!(protocol, TCP | UDP) {
        exchange(ip, ports, 2);
    }
}

/// Turns a request into its answer: one of ARP, for whatever address, or an echo request of
/// ICMP or ICMPv6. `mac` answers for it. False, and nothing is changed, if the frame is none of
/// them, or a fragment.
///
/// The checksum of ICMP is not verified but changed by as much as its type is (RFC 1624): the
/// answer to a spoiled request is spoiled too. As in DPDK's app/test-pmd/icmpecho.c the answer
/// to a group of IPv4 comes from an address beside the asker's. A group of IPv6 has none.
pub fn answer(frame: &mut [u8], mac: MacAddr) -> bool {
    match network(frame) {
        Some((ethertype::ARP, at)) => answer_arp(frame, at, mac),
        Some((ethertype::IPV4, at)) => answer_echo(frame, at, mac),
        Some((ethertype::IPV6, at)) => answer_echo6(frame, at, mac),
        _ => false,
    }
}

/// RFC 826: operation, then hardware and protocol address of the sender and of the target.
fn answer_arp(frame: &mut [u8], at: usize, mac: MacAddr) -> bool {
    let Some(arp) = frame[at..].first_chunk_mut::<28>() else { return false };
    // Ethernet and IPv4 with their lengths, a request.
    if arp[..8] != [0, 1, 8, 0, 6, 4, 0, 1] {
        return false;
    }
    arp[7] = 2;
    let (sender, target) = arp[8..].split_at_mut(10);
    sender.swap_with_slice(target);
    sender[..6].copy_from_slice(&mac.0);
    send_back(frame, mac);
    true
}

/// RFC 792: type, code, checksum.
fn answer_echo(frame: &mut [u8], at: usize, mac: MacAddr) -> bool {
    let ip = &mut frame[at..];
    let Some(Ipv4 { len, protocol: ICMP, fragment: false, .. }) = ipv4(ip) else { return false };
    if !retype(&mut ip[len..], 8, 0) {
        return false;
    }
    let asked = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
    exchange(ip, 12, 4);
    if asked.is_multicast() || asked.is_broadcast() {
        let beside = if ip[19] & 3 == 1 { 2 } else { 1 };
        ip.copy_within(16..20, 12);
        ip[15] = ip[19] & !3 | beside;
        ip[10..12].fill(0);
        let sum = Sum::of(&ip[..len]).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    send_back(frame, mac);
    true
}

/// RFC 4443 §4. The pseudo-header's sum is the same both ways.
fn answer_echo6(frame: &mut [u8], at: usize, mac: MacAddr) -> bool {
    let ip = &mut frame[at..];
    let Some(header) = ip.first_chunk::<40>() else { return false };
    let group = header[24] == 0xff;
    if header[0] >> 4 != 6 || header[6] != ICMP6 || group || !retype(&mut ip[40..], 128, 129) {
        return false;
    }
    exchange(ip, 8, 16);
    send_back(frame, mac);
    true
}

/// Changes the type of an ICMP message of code 0 and its checksum with it; false if it has
/// another type.
fn retype(message: &mut [u8], from: u8, to: u8) -> bool {
    let Some(&[kind, 0, a, b]) = message.first_chunk() else { return false };
    if kind != from {
        return false;
    }
    let [old, was, is] = [[a, b], [from, 0], [to, 0]].map(u16::from_be_bytes);
    let sum = Sum::default().and_number((!old).into()).and_number((!was).into()).and_number(is.into());
    message[0] = to;
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    true
}

/// To whom it came from; from whom it came to, or from `mac` if that is a group.
fn send_back(frame: &mut [u8], mac: MacAddr) {
    exchange(frame, 0, 6);
    if frame[6] & 1 != 0 {
        frame[6..12].copy_from_slice(&mac.0);
    }
}

/// What is said of a frame's IPv4 header.
struct Ipv4 {
    len: usize,
    protocol: u8,
    /// Of a fragment, in units of 8 bytes.
    offset: u16,
    fragment: bool,
}

fn ipv4(ip: &[u8]) -> Option<Ipv4> {
    let header: &[u8; 20] = ip.first_chunk()?;
    let len = usize::from(header[0] & 0xf) * 4;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    (header[0] >> 4 == 4 && (20..=ip.len()).contains(&len)).then_some(Ipv4 {
        len,
        protocol: header[9],
        offset: flags & 0x1fff,
        fragment: flags & 0x3fff != 0,
    })
}

/// The EtherType behind all tags, and where what it names starts.
pub(super) fn network(frame: &[u8]) -> Option<(u16, usize)> {
    let word = |at: usize| frame.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let mut at = 12;
    while ethertype::is_vlan(word(at)?) {
        at += 4;
    }
    Some((word(at)?, at + 2))
}

/// Exchanges two fields of `len` bytes that lie side by side, if the frame has both.
fn exchange(bytes: &mut [u8], at: usize, len: usize) {
    if let Some(pair) = bytes.get_mut(at..at + 2 * len) {
        let (one, other) = pair.split_at_mut(len);
        one.swap_with_slice(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build::{Builder, Proto, Recipe};
    use crate::packet::parse::parse;
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr(*b"\x02port!");

    fn frame(recipe: &Recipe) -> Vec<u8> {
        let mut builder = Builder::new(recipe).unwrap();
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 0);
        frame
    }

    fn recipes(proto: Proto) -> Vec<Recipe> {
        let v6 = Some("2001:db8::1".parse().unwrap());
        let plain = Recipe { proto, sizes: "128".parse().unwrap(), ..Recipe::default() };
        let tagged = Recipe { vlans: "7:3.20".parse().unwrap(), ..plain.clone() };
        let wide = Recipe { source: v6, destination: v6, destination_port: "5001".parse().unwrap(), ..plain.clone() };
        vec![plain, tagged, wide]
    }

    /// Whether the checksums of IPv4, and of what it carries, are right.
    fn sums_are_right(frame: &[u8]) -> bool {
        let (kind, at) = network(frame).unwrap();
        let ip = &frame[at..];
        let (len, protocol, addresses) = match kind {
            ethertype::IPV4 => (20, ip[9], 12..20),
            _ => (40, ip[6], 8..40),
        };
        let l4 = match kind {
            ethertype::IPV4 => &ip[len..usize::from(u16::from_be_bytes([ip[2], ip[3]]))],
            _ => &ip[len..][..usize::from(u16::from_be_bytes([ip[4], ip[5]]))],
        };
        let pseudo = Sum::of(&ip[addresses]).and_number(u64::from(protocol)).and_number(l4.len() as u64);
        let l4 = if protocol == ICMP { Sum::of(l4) } else { Sum::of(l4).and(pseudo) };
        (kind != ethertype::IPV4 || Sum::of(&ip[..20]).checksum() == 0) && l4.checksum() == 0
    }

    #[test]
    fn five_fields_are_swapped_and_the_checksums_stay_right() {
        for recipe in [Proto::Udp, Proto::Tcp].into_iter().flat_map(recipes) {
            let before = frame(&recipe);
            let mut after = before.clone();
            swap(&mut after);
            let (was, is) = (parse(&before).unwrap(), parse(&after).unwrap());
            assert_eq!((is.source_mac, is.destination_mac), (was.destination_mac, was.source_mac));
            let (was_ip, is_ip) = (was.ip.unwrap(), is.ip.unwrap());
            assert_eq!((is_ip.source, is_ip.destination), (was_ip.destination, was_ip.source));
            let (from, to) = was.ports.unwrap();
            assert_eq!(is.ports, Some((to, from)));
            assert!(sums_are_right(&before) && sums_are_right(&after), "{recipe:?}");
            swap(&mut after);
            assert_eq!(after, before, "twice is not at all");
        }
    }

    #[test]
    fn a_later_fragment_and_other_protocols_keep_what_is_not_a_port() {
        for (at, byte) in [(21, 1), (23, 132)] {
            let mut odd = frame(&recipes(Proto::Udp)[0]);
            odd[at] = byte;
            let before = odd.clone();
            swap(&mut odd);
            assert_eq!((&odd[26..30], &odd[30..34]), (&before[30..34], &before[26..30]));
            assert_eq!(odd[34..], before[34..], "byte {at}");
        }
    }

    #[test]
    fn an_echo_request_comes_back_as_its_reply_with_right_checksums() {
        let [plain, tagged, wide] = <[Recipe; 3]>::try_from(recipes(Proto::Icmp)).unwrap();
        let wide = Recipe { destination_port: plain.destination_port, ..wide };
        for (recipe, types) in [(plain, (8, 0)), (tagged, (8, 0)), (wide, (128, 129))] {
            let before = frame(&recipe);
            let mut after = before.clone();
            assert!(answer(&mut after, MAC) && sums_are_right(&after), "{recipe:?}");
            let (was, is) = (parse(&before).unwrap(), parse(&after).unwrap());
            assert_eq!((is.source_mac, is.destination_mac), (was.destination_mac, was.source_mac));
            assert_eq!(is.ip.unwrap().destination, was.ip.unwrap().source);
            let icmp = was.payload - 8;
            assert_eq!((before[icmp], after[icmp]), types);
            assert_eq!(after[icmp + 4..], before[icmp + 4..], "identifier, sequence number, data");
            let once = after.clone();
            assert!(!answer(&mut after, MAC) && after == once, "a reply is not answered");
        }
    }

    #[test]
    fn a_spoiled_request_gives_an_answer_that_is_spoiled_too() {
        let mut spoiled = frame(&recipes(Proto::Icmp)[0]);
        *spoiled.last_mut().unwrap() ^= 1;
        assert!(answer(&mut spoiled, MAC) && !sums_are_right(&spoiled));
    }

    #[test]
    fn a_group_that_is_asked_answers_from_an_address_beside_the_asker() {
        for (asker, beside) in [("198.18.0.1", [198, 18, 0, 2]), ("198.18.0.7", [198, 18, 0, 5])] {
            let base = &recipes(Proto::Icmp)[0];
            let (source, group) = (Some(asker.parse().unwrap()), Some("224.0.0.1".parse().unwrap()));
            let macs = crate::packet::values::Macs::one(MacAddr([1, 0, 0x5e, 0, 0, 1]));
            let mut asked = frame(&Recipe { source, destination: group, destination_mac: macs, ..base.clone() });
            let asker = asked[26..30].to_vec();
            assert!(answer(&mut asked, MAC) && sums_are_right(&asked));
            assert_eq!((&asked[26..30], &asked[30..34], &asked[6..12]), (&beside[..], &asker[..], &MAC.0[..]));
        }
    }

    #[test]
    fn a_group_of_ipv6_does_not_answer() {
        let wide = &recipes(Proto::Udp)[2];
        let group = Some("ff02::1".parse().unwrap());
        let mut asked = frame(&Recipe { proto: Proto::Icmp, destination: group, ..wide.clone() });
        let before = asked.clone();
        assert!(!answer(&mut asked, MAC) && asked == before);
    }

    #[test]
    fn an_arp_request_is_answered_for_whatever_it_asks() {
        for recipe in &recipes(Proto::Arp)[..2] {
            let before = frame(recipe);
            let mut after = before.clone();
            assert!(answer(&mut after, MAC));
            let (was, is) = (parse(&before).unwrap(), parse(&after).unwrap());
            let (was_arp, is_arp) = (was.arp.unwrap(), is.arp.unwrap());
            assert_eq!((is_arp.operation, is_arp.sender, is_arp.target), (2, was_arp.target, was_arp.sender));
            assert_eq!(is.destination_mac, was.source_mac);
            let at = is.payload - 28;
            assert_eq!(&after[at + 8..at + 14], MAC.0, "whose address that is");
            assert!(!answer(&mut after, MAC), "a reply is not answered");
        }
    }

    #[test]
    fn fragments_and_other_packets_are_left_alone() {
        for (recipe, at, byte) in
            [(Proto::Icmp, 20, 0x20), (Proto::Icmp, 21, 1), (Proto::Icmp, 34, 13), (Proto::Udp, 0, 2)]
        {
            let mut odd = frame(&recipes(recipe)[0]);
            odd[at] = byte;
            let before = odd.clone();
            assert!(!answer(&mut odd, MAC) && odd == before, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_is_too_odd(which in 0..4_usize, at in 0..60_usize, byte: u8, cut in 0..128_usize) {
            let proto = [Proto::Udp, Proto::Tcp, Proto::Icmp, Proto::Arp][which];
            let mut odd = frame(&recipes(proto)[which % 2]);
            odd[at] = byte;
            odd.truncate(cut);
            let before = odd.clone();
            if !answer(&mut odd, MAC) {
                prop_assert_eq!(&odd, &before);
            }
            swap(&mut odd);
            prop_assert_eq!(odd.len(), before.len());
        }
    }
}
