//! Frames as a card's parser sees them: where the headers are, whether the
//! checksums hold, and what RSS hashes.
//!
//! Shared by all models. It is written apart from [`crate::packet`], which the
//! commands use, so that a mistake in one shows against the other.

use std::ops::Range;

/// EtherTypes that carry a VLAN tag.
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Network layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L3 {
    /// IPv4 (RFC 791).
    V4 {
        /// The header has options.
        options: bool,
    },
    /// IPv6 (RFC 8200).
    V6 {
        /// There are extension headers.
        extensions: bool,
    },
}

/// Transport layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A card's verdict on a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none, or the card cannot check it (fragments).
    None,
    /// Right.
    Good,
    /// Wrong.
    Bad,
}

/// Where the headers of a frame are. Offsets in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Outermost VLAN tag control information, if tagged.
    pub vlan: Option<u16>,
    /// EtherType behind any tags; below 1536 it is an IEEE 802.3 length.
    pub ethertype: u16,
    /// Start of the network header.
    pub l3_at: usize,
    /// Network layer, if it is whole and well formed.
    pub l3: Option<L3>,
    /// Start of the transport header (or of the network layer's payload).
    pub l4_at: usize,
    /// Transport layer, if its header is there and this is no fragment.
    pub l4: Option<L4>,
    /// Number of the protocol above the network layer, known here or not.
    pub protocol: Option<u8>,
    /// Part of a fragmented datagram.
    pub fragment: bool,
    /// End of the datagram: anything behind it is Ethernet padding.
    pub end: usize,
}

impl Parsed {
    /// Reads the headers of `frame`. Never fails: what makes no sense is absent.
    #[inline]
    pub fn of(frame: &[u8]) -> Parsed {
        let mut parsed = Parsed {
            vlan: None,
            ethertype: 0,
            l3_at: 14,
            l3: None,
            l4_at: 14,
            l4: None,
            protocol: None,
            fragment: false,
            end: frame.len(),
        };
        let Some(mut ethertype) = be16(frame, 12) else { return parsed };
        // Two tags at most, as cards do.
        for _ in 0..2 {
            if !TAGS.contains(&ethertype) {
                break;
            }
            let (Some(tci), Some(next)) = (be16(frame, parsed.l3_at), be16(frame, parsed.l3_at + 2)) else { break };
            parsed.vlan = parsed.vlan.or(Some(tci));
            ethertype = next;
            parsed.l3_at += 4;
        }
        parsed.ethertype = ethertype;
        parsed.l4_at = parsed.l3_at;
        match ethertype {
            0x0800 => parsed.ipv4(frame),
            0x86dd => parsed.ipv6(frame),
            _ => {}
        }
        parsed
    }

    #[inline]
    fn ipv4(&mut self, frame: &[u8]) {
        let at = self.l3_at;
        let Some(header) = frame.get(at..at + 20) else { return };
        let len = usize::from(header[0] & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || len < 20 || total < len || at + total > frame.len() {
            return;
        }
        self.l3 = Some(L3::V4 { options: len > 20 });
        self.l4_at = at + len;
        self.end = at + total;
        self.fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
        self.transport(frame, header[9]);
    }

    fn ipv6(&mut self, frame: &[u8]) {
        let at = self.l3_at;
        let Some(header) = frame.get(at..at + 40) else { return };
        let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || at + 40 + payload > frame.len() {
            return;
        }
        self.end = at + 40 + payload;
        self.l4_at = at + 40;
        let (mut next, mut extensions) = (header[6], false);
        // Hop-by-hop, routing, fragment, destination options; eight at most.
        for _ in 0..8 {
            let len = match next {
                0 | 43 | 60 => match frame.get(self.l4_at + 1) {
                    Some(&units) => 8 + usize::from(units) * 8,
                    None => break,
                },
                44 => {
                    self.fragment = true;
                    8
                }
                _ => break,
            };
            if self.l4_at + len > self.end {
                break;
            }
            extensions = true;
            next = frame[self.l4_at];
            self.l4_at += len;
        }
        self.l3 = Some(L3::V6 { extensions });
        self.transport(frame, next);
    }

    #[inline]
    fn transport(&mut self, frame: &[u8], protocol: u8) {
        self.protocol = Some(protocol);
        let (l4, header) = match protocol {
            6 => (L4::Tcp, 20),
            17 => (L4::Udp, 8),
            132 => (L4::Sctp, 12),
            _ => return,
        };
        if !self.fragment && self.l4_at + header <= self.end.min(frame.len()) {
            self.l4 = Some(l4);
        }
    }

    /// Verdict on the IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self, frame: &[u8]) -> Verdict {
        match self.l3 {
            Some(L3::V4 { .. }) if sum(&frame[self.l3_at..self.l4_at], 0) == 0xffff => Verdict::Good,
            Some(L3::V4 { .. }) => Verdict::Bad,
            _ => Verdict::None,
        }
    }

    /// Verdict on the transport checksum. A UDP checksum of zero over IPv4 means
    /// there is none (RFC 768).
    #[inline]
    pub fn l4_checksum(&self, frame: &[u8]) -> Verdict {
        let segment = &frame[self.l4_at.min(frame.len())..self.end.min(frame.len())];
        match (self.l4, self.l3) {
            (None, _) | (_, None) => Verdict::None,
            (Some(L4::Sctp), _) => {
                let stored = u32::from_le_bytes([segment[8], segment[9], segment[10], segment[11]]);
                if crc32c(segment, 8..12) == stored { Verdict::Good } else { Verdict::Bad }
            }
            (Some(L4::Udp), Some(L3::V4 { .. })) if segment[6..8] == [0, 0] => Verdict::None,
            (Some(l4), Some(_)) => {
                let pseudo = self.pseudo_header(frame, l4, segment.len());
                if sum(segment, pseudo) == 0xffff { Verdict::Good } else { Verdict::Bad }
            }
        }
    }

    /// Sum of the pseudo-header (RFC 793 §3.1, RFC 8200 §8.1), for a segment of `len` bytes.
    fn pseudo_header(&self, frame: &[u8], l4: L4, len: usize) -> u32 {
        let protocol = match l4 {
            L4::Tcp => 6,
            L4::Udp => 17,
            L4::Sctp => 132,
        };
        u32::from(sum(&frame[self.addresses()], 0)) + protocol + len as u32
    }

    /// Where the two network addresses are, source first.
    fn addresses(&self) -> Range<usize> {
        match self.l3 {
            Some(L3::V6 { .. }) => self.l3_at + 8..self.l3_at + 40,
            _ => self.l3_at + 12..self.l3_at + 20,
        }
    }

    /// Source and destination address, 4 or 16 bytes each; `None` if it is not IP.
    pub fn ip_addresses<'f>(&self, frame: &'f [u8]) -> Option<(&'f [u8], &'f [u8])> {
        self.l3?;
        let both = &frame[self.addresses()];
        Some(both.split_at(both.len() / 2))
    }

    /// Both addresses as they lie in the frame, source first; empty if it is not IP.
    #[inline]
    pub fn address_bytes<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        if self.l3.is_some() { &frame[self.addresses()] } else { &[] }
    }

    /// Both ports as they lie in the frame, source first; empty if there are none.
    #[inline]
    pub fn port_bytes<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        if self.l4.is_some() { &frame[self.l4_at..self.l4_at + 4] } else { &[] }
    }

    /// Source and destination port, of TCP, UDP and SCTP.
    pub fn ports(&self, frame: &[u8]) -> Option<(u16, u16)> {
        self.l4?;
        Some((be16(frame, self.l4_at)?, be16(frame, self.l4_at + 2)?))
    }

    /// What RSS hashes: the addresses, and the ports behind them if `with_ports`,
    /// into `input`; how many bytes that is, 0 if this is not IP.
    pub fn rss_input(&self, frame: &[u8], with_ports: bool, input: &mut [u8; 36]) -> usize {
        if self.l3.is_none() {
            return 0;
        }
        let addresses = &frame[self.addresses()];
        input[..addresses.len()].copy_from_slice(addresses);
        if !with_ports || self.l4.is_none() {
            return addresses.len();
        }
        input[addresses.len()..addresses.len() + 4].copy_from_slice(&frame[self.l4_at..self.l4_at + 4]);
        addresses.len() + 4
    }
}

/// The Toeplitz hash of `input` (Microsoft, "RSS Hashing Functions"): for each
/// set bit of the input, the 32 bits of the key that start there.
pub fn toeplitz(key: &[u8; 40], input: &[u8]) -> u32 {
    let mut window = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
    let mut hash = 0;
    for (i, byte) in input.iter().enumerate() {
        let next = key.get(i + 4).copied().unwrap_or(0);
        for bit in (0..8).rev() {
            if byte >> bit & 1 != 0 {
                hash ^= window;
            }
            window = window << 1 | u32::from(next >> bit & 1);
        }
    }
    hash
}

/// The Toeplitz hash with one key, by tables: one look-up for each byte.
pub struct Toeplitz {
    key: [u8; 40],
    table: Box<[[u32; 256]; 36]>,
}

impl Toeplitz {
    /// The hash with this key.
    pub fn new(key: [u8; 40]) -> Self {
        let mut table = Box::new([[0; 256]; 36]);
        for (at, row) in table.iter_mut().enumerate() {
            let mut input = [0; 36];
            for (byte, hash) in row.iter_mut().enumerate() {
                input[at] = byte as u8;
                *hash = toeplitz(&key, &input);
            }
        }
        Self { key, table }
    }

    /// Its key.
    pub fn key(&self) -> &[u8; 40] {
        &self.key
    }

    /// The hash of two pieces of input, at most 36 bytes together.
    #[inline]
    pub fn hash(&self, first: &[u8], second: &[u8]) -> u32 {
        let input = first.iter().chain(second);
        self.table.iter().zip(input).fold(0, |hash, (row, &byte)| hash ^ row[usize::from(byte)])
    }
}

/// Ones'-complement sum of big-endian words, folded to 16 bits (RFC 1071).
/// `0xffff` over data with its checksum in place means that it is right.
///
/// The words are added eight bytes at a time in this machine's order, which
/// gives the same sum with its bytes swapped (RFC 1071 §2 B).
#[inline]
pub fn sum(data: &[u8], start: u32) -> u16 {
    let (words, rest) = data.as_chunks::<8>();
    let mut total = 0u64;
    for word in words {
        let (sum, carry) = total.overflowing_add(u64::from_ne_bytes(*word));
        total = sum + u64::from(carry);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let (sum, carry) = total.overflowing_add(u64::from_ne_bytes(last));
    let total = sum + u64::from(carry);
    let start = [start as u16, (start >> 16) as u16].map(|half| u64::from(half.to_be()));
    let mut total = (total & 0xffff_ffff) + (total >> 32) + start[0] + start[1];
    // 34 bits at most: three rounds leave 16.
    for _ in 0..3 {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::from_be(total as u16)
}

/// The frame check sequence (IEEE 802.3 §3.2.9).
pub fn crc32(frame: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in frame {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

/// CRC-32C of `data` with the bytes in `skip` taken as zero (RFC 9260 appendix A).
pub fn crc32c(data: &[u8], skip: Range<usize>) -> u32 {
    let mut crc = u32::MAX;
    for (i, &byte) in data.iter().enumerate() {
        crc ^= u32::from(if skip.contains(&i) { 0 } else { byte });
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// Whom a frame is for, as a number. Unicast, multicast, broadcast: 0, 1, 2.
#[inline]
pub fn cast(frame: &[u8]) -> usize {
    match frame.first_chunk::<6>() {
        Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => 2,
        Some([first, ..]) if first & 1 == 1 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    /// The verification suite published with RSS: key, and for IPv4 and IPv6 the
    /// hashes without and with ports.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn toeplitz_agrees_with_the_published_vectors() {
        for (source, destination, ports, two, four) in [
            ([66, 9, 149, 187], [161, 142, 100, 80], (2794, 1766), 0x323e_8fc2, 0x51cc_c178),
            ([199, 92, 111, 2], [65, 69, 140, 83], (14230, 4739), 0xd718_262a, 0xc626_b0ea),
            ([24, 19, 198, 95], [12, 22, 207, 184], (12898, 38024), 0xd2d0_a5de, 0x5c2b_394a),
        ] {
            let mut frame = Vec::new();
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, destination, 9);
            builder.tcp(ports.0, ports.1, 1, 1).write(&mut frame, &[]).unwrap();
            let (parsed, mut input) = (Parsed::of(&frame), [0; 36]);
            let len = parsed.rss_input(&frame, false, &mut input);
            assert_eq!(toeplitz(&KEY, &input[..len]), two);
            let len = parsed.rss_input(&frame, true, &mut input);
            assert_eq!(toeplitz(&KEY, &input[..len]), four);
        }
        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6(address("3ffe:2501:200:1fff::7"), address("3ffe:2501:200:3::1"), 9)
            .tcp(2794, 1766, 1, 1)
            .write(&mut frame, &[])
            .unwrap();
        let (parsed, mut input) = (Parsed::of(&frame), [0; 36]);
        let len = parsed.rss_input(&frame, false, &mut input);
        assert_eq!(toeplitz(&KEY, &input[..len]), 0x2cc1_8cd5);
        let len = parsed.rss_input(&frame, true, &mut input);
        assert_eq!(toeplitz(&KEY, &input[..len]), 0x4020_7d3d);
    }

    #[test]
    fn checksums_made_elsewhere_are_good_until_a_bit_flips() {
        let payload = [1, 2, 3, 4, 5, 6, 7];
        for tagged in [false, true] {
            let base = || PacketBuilder::ethernet2([2; 6], [4; 6]);
            let mut frame = Vec::new();
            if tagged {
                let builder = base().single_vlan(77.try_into().unwrap()).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
                builder.udp(5, 6).write(&mut frame, &payload).unwrap();
            } else {
                base().ipv6([1; 16], [2; 16], 9).udp(5, 6).write(&mut frame, &payload).unwrap();
            }
            frame.resize(80, 0xee); // padding is not part of the datagram
            let parsed = Parsed::of(&frame);
            assert_eq!(parsed.vlan, tagged.then_some(77));
            assert_eq!((parsed.l4, parsed.ports(&frame)), (Some(L4::Udp), Some((5, 6))));
            assert_eq!(parsed.ip_checksum(&frame), if tagged { Verdict::Good } else { Verdict::None });
            assert_eq!(parsed.l4_checksum(&frame), Verdict::Good);
            frame[parsed.l4_at + 9] ^= 4;
            assert_eq!(Parsed::of(&frame).l4_checksum(&frame), Verdict::Bad);
            if tagged {
                frame[parsed.l3_at + 8] ^= 1;
                assert_eq!(Parsed::of(&frame).ip_checksum(&frame), Verdict::Bad);
            }
        }
    }

    #[test]
    fn a_fragment_has_no_ports_and_no_verdict() {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
        builder.udp(5, 6).write(&mut frame, &[0; 32]).unwrap();
        frame[14 + 6] = 0x20; // more fragments
        let parsed = Parsed::of(&frame);
        assert!(parsed.fragment);
        assert_eq!((parsed.l4, parsed.ports(&frame), parsed.l4_checksum(&frame)), (None, None, Verdict::None));
        assert_eq!(parsed.rss_input(&frame, true, &mut [0; 36]), 8);
    }

    #[test]
    fn check_sequences_agree_with_their_check_values() {
        assert_eq!(crc32c(b"123456789", 0..0), 0xe306_9283);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn the_table_hashes_as_the_definition(input in proptest::collection::vec(any::<u8>(), 0..=36), cut in 0..=36usize) {
            let (first, second) = input.split_at(cut.min(input.len()));
            prop_assert_eq!(Toeplitz::new(KEY).hash(first, second), toeplitz(&KEY, &input));
        }

        #[test]
        fn a_sum_is_that_of_its_words(data in proptest::collection::vec(any::<u8>(), 0..200), start: u32) {
            let mut wanted = u64::from(start);
            for pair in data.chunks(2) {
                wanted += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            }
            while wanted > 0xffff {
                wanted = (wanted & 0xffff) + (wanted >> 16);
            }
            prop_assert_eq!(u64::from(sum(&data, start)), wanted);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..200), ip in 0..3u8) {
            if frame.len() > 15 && ip > 0 {
                frame[12..14].copy_from_slice(if ip == 1 { &[8, 0] } else { &[0x86, 0xdd] });
                frame[14] = frame[14] & 0xf | if ip == 1 { 0x40 } else { 0x60 };
            }
            let parsed = Parsed::of(&frame);
            parsed.ip_checksum(&frame);
            parsed.l4_checksum(&frame);
            parsed.ports(&frame);
            parsed.ip_addresses(&frame);
            parsed.rss_input(&frame, true, &mut [0; 36]);
        }
    }
}
