//! Asking the card to fill in a frame's checksums.
//!
//! ```text
//!   | Ethernet, tags | IPv4 or IPv6   | TCP or UDP              | payload | padding |
//!   |<--- l2_len --->|<--- l3_len --->| field: pseudo-header    |         | zeroes  |
//! ```
//!
//! A card sums from the transport header to the end of the *frame*, or to that of
//! the *packet*. Cards may do either, so both must give the same sum.

use super::parse::ethertype;
use crate::dma::{L4, Offload};
use crate::net::Sum;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Prepares a frame of `len` bytes whose first buffer is `head`, so that its
/// card fills in the checksums of IPv4, TCP and UDP, whatever they are now.
///
/// `None` if there is none to fill in. The transport's is left as it is in
/// fragments, behind IPv6 extension headers, where lengths contradict each other,
/// and in UDP over IPv4 whose sender did without (RFC 768).
pub fn ask(head: &mut [u8], len: usize) -> Option<Offload> {
    let mut l2_len = 14;
    let mut kind = word(head, 12)?;
    while ethertype::is_vlan(kind) {
        kind = word(head, l2_len + 2)?;
        l2_len += 4;
    }
    // What ends before the frame does is followed by padding (IEEE 802.3, 3.2.8).
    let whole =
        |head: &[u8], end: usize| end == len || head.get(end..len).is_some_and(|pad| pad.iter().all(|&b| b == 0));
    let ip = head.get_mut(l2_len..)?;
    let (l3_len, protocol, l4_len) = match kind {
        ethertype::IPV4 => ipv4(ip)?,
        ethertype::IPV6 => ipv6(ip)?,
        _ => return None,
    };
    let ipv6 = kind == ethertype::IPV6;
    let l4 = if whole(head, l2_len + l3_len + l4_len) {
        transport(&mut head[l2_len..], l3_len, protocol, l4_len, ipv6)
    } else {
        None
    };
    let offload = Offload {
        l2_len: u8::try_from(l2_len).ok().filter(|len| *len < 128)?,
        l3_len: l3_len as u16,
        ip_checksum: !ipv6,
        l4_checksum: l4,
        ipv6,
        vlan: None,
    };
    (!ipv6 || l4.is_some()).then_some(offload)
}

/// Length of the header, protocol, and length of what follows; no protocol (0)
/// in a fragment. Clears the checksum, as 82599 and X710 ask for.
fn ipv4(ip: &mut [u8]) -> Option<(usize, u8, usize)> {
    let header: &mut [u8; 20] = ip.first_chunk_mut()?;
    let l3_len = usize::from(header[0] & 0xf) * 4;
    let l4_len = usize::from(u16::from_be_bytes([header[2], header[3]])).checked_sub(l3_len)?;
    if header[0] >> 4 != 4 || l3_len < 20 {
        return None;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let protocol = if fragment { 0 } else { header[9] };
    ip.get_mut(..l3_len)?[10..12].fill(0);
    Some((l3_len, protocol, l4_len))
}

fn ipv6(ip: &[u8]) -> Option<(usize, u8, usize)> {
    let header: &[u8; 40] = ip.first_chunk()?;
    (header[0] >> 4 == 6).then_some((40, header[6], usize::from(u16::from_be_bytes([header[4], header[5]]))))
}

/// Puts the pseudo-header's sum into the field, if there is one to fill in.
fn transport(ip: &mut [u8], l3_len: usize, protocol: u8, l4_len: usize, ipv6: bool) -> Option<L4> {
    let (l4, header_len, field) = match protocol {
        TCP => (L4::Tcp, 20, 16),
        UDP => (L4::Udp, 8, 6),
        _ => return None,
    };
    if l4_len < header_len || ip.len() < l3_len + header_len {
        return None;
    }
    let (l3, segment) = ip.split_at_mut(l3_len);
    if protocol == UDP && (word(segment, 4)? as usize != l4_len || (!ipv6 && word(segment, 6)? == 0)) {
        return None;
    }
    let addresses = if ipv6 { &l3[8..40] } else { &l3[12..20] };
    let sum = Sum::of(addresses).and_number(u64::from(protocol)).and_number(l4_len as u64).fold();
    segment[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    Some(l4)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build::{Builder, Proto, Recipe, Sizes, Vlans};
    use proptest::prelude::*;

    fn frame(recipe: &Recipe) -> Vec<u8> {
        let mut builder = Builder::new(recipe).unwrap();
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 0);
        frame
    }

    /// What a card does that was asked for it.
    fn fill(frame: &mut [u8], offload: Offload) {
        let (l3, l4) = (usize::from(offload.l2_len), usize::from(offload.l2_len) + usize::from(offload.l3_len));
        if offload.ip_checksum {
            let sum = Sum::of(&frame[l3..l4]).checksum();
            frame[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let field = l4
            + match offload.l4_checksum {
                Some(L4::Tcp) => 16,
                Some(_) => 6,
                None => return,
            };
        let sum = Sum::of(&frame[l4..]).checksum();
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }

    const V6: &str = "2001:db8::1";

    fn recipes() -> Vec<Recipe> {
        let mut all = Vec::new();
        for proto in [Proto::Udp, Proto::Tcp] {
            for source in [None, Some(V6.parse().unwrap())] {
                for vlans in [Vlans::default(), "5:3".parse().unwrap()] {
                    let destination = source;
                    all.push(Recipe { proto, source, destination, vlans, ..Recipe::default() });
                }
            }
        }
        all
    }

    #[test]
    fn what_is_asked_for_gives_back_the_checksums_whatever_was_there() {
        for mut recipe in recipes() {
            for size in [100, 101, 1514] {
                recipe.sizes = Sizes::List(vec![size]);
                let right = frame(&recipe);
                let mut wrong = right.clone();
                let asked = ask(&mut wrong, size).unwrap();
                let (l3, l4) = (usize::from(asked.l2_len), usize::from(asked.l2_len) + usize::from(asked.l3_len));
                let field = l4 + if recipe.proto == Proto::Tcp { 16 } else { 6 };
                for at in [l3 + 10, l3 + 11, field, field + 1].into_iter().filter(|at| !asked.ipv6 || *at >= l4) {
                    wrong[at] = 0x5a;
                }
                assert_eq!(ask(&mut wrong, size), Some(asked), "{recipe:?}");
                assert_ne!(wrong, right);
                fill(&mut wrong, asked);
                assert_eq!(wrong, right, "{recipe:?}");
            }
        }
    }

    #[test]
    fn padding_of_zeroes_is_no_part_of_it_and_other_padding_keeps_a_card_from_it() {
        let mut padded = frame(&Recipe { sizes: Sizes::List(vec![60]), ..Recipe::default() });
        // 20 bytes of datagram less than the frame has room for.
        padded[16..18].copy_from_slice(&26_u16.to_be_bytes());
        padded[38..40].copy_from_slice(&6_u16.to_be_bytes());
        assert_eq!(ask(&mut padded.clone(), 60).unwrap().l4_checksum, None, "a datagram shorter than its header");
        padded[16..18].copy_from_slice(&28_u16.to_be_bytes());
        padded[38..40].copy_from_slice(&8_u16.to_be_bytes());
        padded[42..].fill(0);
        assert_eq!(ask(&mut padded.clone(), 60).unwrap().l4_checksum, Some(L4::Udp));
        padded[59] = 1;
        let asked = ask(&mut padded, 60).unwrap();
        assert_eq!((asked.ip_checksum, asked.l4_checksum), (true, None));
    }

    #[test]
    fn the_transport_is_left_alone_where_nobody_can_sum_it() {
        let change = |at: usize, bytes: &[u8]| {
            let mut frame = frame(&Recipe { sizes: Sizes::List(vec![100]), ..Recipe::default() });
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            let before = frame[34..].to_vec();
            let asked = ask(&mut frame, 100);
            assert!(frame[34..] == before, "byte {at}");
            asked.map(|asked| asked.l4_checksum)
        };
        for (at, bytes) in [
            (20, &[0x20, 0][..]), // More fragments.
            (20, &[0, 1]),        // A later one.
            (23, &[132]),         // SCTP.
            (38, &[0, 9]),        // A length that is not the packet's.
            (40, &[0, 0]),        // No checksum.
            (16, &[9, 9]),        // Longer than the frame.
        ] {
            assert_eq!(change(at, bytes), Some(None), "byte {at}");
        }
        for (at, bytes) in [(12, &[8, 6][..]), (14, &[0x55]), (14, &[0x44]), (16, &[0, 19])] {
            assert_eq!(change(at, bytes), None, "byte {at}");
        }
    }

    #[test]
    fn a_long_frame_is_asked_for_by_its_first_buffer() {
        let recipe = Recipe { sizes: Sizes::List(vec![9000]), ..Recipe::default() };
        let mut frame = frame(&recipe);
        assert_eq!(ask(&mut frame[..2048], 9000).unwrap().l4_checksum, Some(L4::Udp));
        assert_eq!(ask(&mut frame[..2048], 9001).unwrap().l4_checksum, None, "padding out of sight");
    }

    proptest! {
        #[test]
        fn no_frame_is_too_odd(kind in 0..8_usize, cut in 0..120_usize, at in 0..60_usize, byte: u8) {
            let mut frame = frame(&recipes()[kind]);
            let at = at.min(frame.len() - 1);
            frame[at] = byte;
            frame.truncate(cut);
            let len = frame.len();
            if let Some(asked) = ask(&mut frame, len) {
                prop_assert!(usize::from(asked.l2_len) + usize::from(asked.l3_len) <= len);
            }
        }
    }
}
