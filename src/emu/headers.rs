//! What cards find in a frame: headers, checksums, and the Toeplitz hash.

/// IP protocol numbers.
pub const TCP: u8 = 6;
/// See TCP.
pub const UDP: u8 = 17;
/// See TCP.
pub const SCTP: u8 = 132;

/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;

/// What a card's parser knows of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The outer VLAN tag's control information.
    pub vlan: Option<u16>,
    /// EtherType behind it.
    pub ethertype: u16,
    /// Network layer.
    pub network: Network,
    /// Where the network header is.
    pub l3: u16,
    /// Transport protocol; 0 if none that is known, or of a later fragment.
    pub transport: u8,
    /// Where the transport header is.
    pub l4: u16,
    /// Where the network layer's payload ends.
    pub end: u16,
    /// A piece of a datagram.
    pub fragment: bool,
    /// There are IPv4 options or IPv6 extension headers.
    pub extended: bool,
}

/// Network layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Not IP.
    #[default]
    Other,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The 16-bit word at `at`, in network order.
#[inline]
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(word) => u16::from_be_bytes([word[0], word[1]]),
        None => 0,
    }
}

/// Parses a frame; `vet` is the EtherType that marks a VLAN tag. Headers that
/// are cut short or make no sense end the parse where they are.
#[inline]
pub fn parse(frame: &[u8], vet: u16) -> Headers {
    let mut headers = Headers { ethertype: be16(frame, 12), l3: 14, ..Headers::default() };
    if headers.ethertype == vet && frame.len() >= 18 {
        headers.vlan = Some(be16(frame, 14));
        headers.ethertype = be16(frame, 16);
        headers.l3 = 18;
    }
    match headers.ethertype {
        0x0800 => parse_v4(frame, &mut headers),
        0x86dd => parse_v6(frame, &mut headers),
        _ => {}
    }
    headers
}

#[inline]
fn parse_v4(frame: &[u8], headers: &mut Headers) {
    let l3 = usize::from(headers.l3);
    let Some(ip) = frame.get(l3..).filter(|ip| ip.len() >= 20 && ip[0] >> 4 == 4) else { return };
    let len = usize::from(ip[0] & 15) * 4;
    let total = usize::from(be16(ip, 2));
    if len < 20 || total < len || total > ip.len() {
        return;
    }
    headers.network = Network::V4;
    headers.extended = len > 20;
    headers.end = (l3 + total) as u16;
    headers.l4 = (l3 + len) as u16;
    headers.fragment = be16(ip, 6) & 0x3fff != 0;
    headers.set_transport(ip[9], frame);
}

fn parse_v6(frame: &[u8], headers: &mut Headers) {
    let l3 = usize::from(headers.l3);
    let Some(ip) = frame.get(l3..).filter(|ip| ip.len() >= 40 && ip[0] >> 4 == 6) else { return };
    let total = 40 + usize::from(be16(ip, 4));
    if total > ip.len() {
        return;
    }
    headers.network = Network::V6;
    headers.end = (l3 + total) as u16;
    let (mut next, mut at) = (ip[6], 40);
    loop {
        let len = match next {
            // Hop-by-hop, routing, destination.
            0 | 43 | 60 if at + 8 <= total => usize::from(ip[at + 1]) * 8 + 8,
            44 if at + 8 <= total => {
                headers.fragment = true;
                8
            }
            _ => break,
        };
        (next, at) = (ip[at], at + len);
        headers.extended = true;
        if at > total {
            return;
        }
    }
    headers.l4 = (l3 + at) as u16;
    headers.set_transport(next, frame);
}

impl Headers {
    #[inline]
    fn set_transport(&mut self, protocol: u8, frame: &[u8]) {
        let least = match protocol {
            TCP => 20,
            UDP => 8,
            SCTP => 12,
            _ => return,
        };
        let room = usize::from(self.end).min(frame.len()).saturating_sub(usize::from(self.l4));
        if !self.fragment && room >= least {
            self.transport = protocol;
        }
    }

    /// Source and destination address and ports as they lie in the frame: what
    /// the Toeplitz hash covers.
    #[inline]
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let l3 = usize::from(self.l3);
        match self.network {
            Network::V4 => frame.get(l3 + 12..l3 + 20).unwrap_or_default(),
            Network::V6 => frame.get(l3 + 8..l3 + 40).unwrap_or_default(),
            Network::Other => &[],
        }
    }

    /// Both ports, as they lie in the frame.
    #[inline]
    pub fn ports<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let l4 = usize::from(self.l4);
        if self.transport == 0 { &[] } else { frame.get(l4..l4 + 4).unwrap_or_default() }
    }

    /// Whether the IPv4 header's checksum is right.
    #[inline]
    pub fn ip_checksum_right(&self, frame: &[u8]) -> bool {
        let header = frame.get(usize::from(self.l3)..usize::from(self.l4)).unwrap_or_default();
        fold(ones_sum(header)) == 0xffff
    }

    /// Whether the TCP or UDP checksum is right; None if there is none to
    /// check. A zero UDP checksum is none over IPv4 (RFC 768).
    #[inline]
    pub fn transport_checksum_right(&self, frame: &[u8]) -> Option<bool> {
        let segment = frame.get(usize::from(self.l4)..usize::from(self.end))?;
        match self.transport {
            TCP => {}
            UDP if segment[6..8] == [0, 0] => return None,
            UDP => {}
            SCTP => {
                return Some(crc32c(segment) == u32::from_le_bytes([segment[8], segment[9], segment[10], segment[11]]));
            }
            _ => return None,
        }
        Some(fold(ones_sum(segment) + self.pseudo_header(frame, segment.len())) == 0xffff)
    }

    #[inline]
    fn pseudo_header(&self, frame: &[u8], len: usize) -> u64 {
        let protocol = u64::from(u16::from(self.transport).to_be());
        ones_sum(self.addresses(frame)) + protocol + u64::from((len as u16).to_be())
    }
}

/// Sum of the 16-bit words, in this machine's byte order; an odd byte at the end
/// counts as the first of a word (RFC 1071).
#[inline]
pub fn ones_sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut sum: u64 = words.by_ref().map(|w| u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))).sum();
    let mut rest = [0; 4];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    sum += u64::from(u32::from_ne_bytes(rest));
    sum
}

/// Folds a sum to 16 bits with end-around carry.
#[inline]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}

/// CRC32c of an SCTP packet, its checksum field taken as zero (RFC 4960 App. B).
pub fn crc32c(packet: &[u8]) -> u32 {
    !packet.iter().enumerate().fold(!0, |crc, (at, &byte)| {
        let byte = if (8..12).contains(&at) { 0 } else { byte };
        crc_step(crc ^ u32::from(byte), 0x82f6_3b78)
    })
}

/// The frame check sequence (IEEE 802.3 §3.2.9).
pub fn crc32(frame: &[u8]) -> u32 {
    !frame.iter().fold(!0, |crc, &byte| crc_step(crc ^ u32::from(byte), 0xedb8_8320))
}

fn crc_step(crc: u32, polynomial: u32) -> u32 {
    (0..8).fold(crc, |crc, _| crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 })
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
            // 40 bits of key that a byte at this place meets.
            let window = key[at..at + 5].iter().fold(0u64, |window, byte| window << 8 | u64::from(*byte));
            for (byte, hash) in row.iter_mut().enumerate() {
                let bits = (0..8).filter(|bit| byte >> (7 - bit) & 1 == 1);
                *hash = bits.fold(0, |hash, bit| hash ^ (window >> (8 - bit)) as u32);
            }
        }
        Self { key, table }
    }

    /// Its key.
    pub fn key(&self) -> &[u8; 40] {
        &self.key
    }

    /// The hash of both pieces of input, at most 36 bytes together.
    #[inline]
    pub fn hash(&self, first: &[u8], second: &[u8]) -> u32 {
        let input = first.iter().chain(second);
        self.table.iter().zip(input).fold(0, |hash, (row, &byte)| hash ^ row[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The key of Microsoft's "Verifying the RSS Hash Calculation".
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn the_hash_agrees_with_microsofts_ipv4_vectors() {
        let toeplitz = Toeplitz::new(KEY);
        // Destination and port, source and port, hash of addresses, with ports.
        for (dst, dport, src, sport, ip, tcp) in [
            ([161, 142, 100, 80], 1766u16, [66, 9, 149, 187], 2794u16, 0x323e_8fc2, 0x51cc_c178),
            ([65, 69, 140, 83], 4739, [199, 92, 111, 2], 14230, 0xd718_262a, 0xc626_b0ea),
            ([12, 22, 207, 184], 38024, [24, 19, 198, 95], 12898, 0xd2d0_a5de, 0x5c2b_394a),
            ([209, 142, 163, 6], 2217, [38, 27, 205, 30], 48228, 0x8298_9176, 0xafc7_327f),
            ([202, 188, 127, 2], 1303, [153, 39, 163, 191], 44251, 0x5d18_09c5, 0x10e8_28a2),
        ] {
            let addresses = [src, dst].concat();
            let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
            assert_eq!(toeplitz.hash(&addresses, &[]), ip);
            assert_eq!(toeplitz.hash(&addresses, &ports), tcp);
        }
    }

    #[test]
    fn the_hash_agrees_with_microsofts_ipv6_vector() {
        let toeplitz = Toeplitz::new(KEY);
        let src: std::net::Ipv6Addr = "3ffe:2501:200:1fff::7".parse().unwrap();
        let dst: std::net::Ipv6Addr = "3ffe:2501:200:3::1".parse().unwrap();
        let addresses = [src.octets(), dst.octets()].concat();
        assert_eq!(toeplitz.hash(&addresses, &[]), 0x2cc1_8cd5);
        let ports = [2794u16.to_be_bytes(), 1766u16.to_be_bytes()].concat();
        assert_eq!(toeplitz.hash(&addresses, &ports), 0x4020_7d3d);
    }

    #[test]
    fn checksums_of_frames_that_another_library_built_are_right() {
        let payload: Vec<u8> = (0..77).collect();
        for vlan in [false, true] {
            let ether = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
            let mut frame = Vec::new();
            let ipv4 = if vlan {
                ether.single_vlan(etherparse::VlanId::try_new(7).unwrap()).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            } else {
                ether.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            };
            ipv4.udp(5, 6).write(&mut frame, &payload).unwrap();
            let headers = parse(&frame, VLAN);
            assert_eq!((headers.network, headers.transport, headers.vlan), (Network::V4, UDP, vlan.then_some(7)));
            assert!(headers.ip_checksum_right(&frame));
            assert_eq!(headers.transport_checksum_right(&frame), Some(true));
            let last = frame.len() - 1;
            frame[last] ^= 1;
            assert_eq!(headers.transport_checksum_right(&frame), Some(false));
        }
        let mut frame = Vec::new();
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 9).tcp(5, 6, 7, 8);
        builder.write(&mut frame, &payload).unwrap();
        let headers = parse(&frame, VLAN);
        assert_eq!((headers.network, headers.transport), (Network::V6, TCP));
        assert_eq!(headers.transport_checksum_right(&frame), Some(true));
    }

    #[test]
    fn the_check_sequences_agree_with_their_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        // RFC 3720 B.4 has 32 zero bytes; bytes 8 to 11 are zero here anyway.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    proptest! {
        #[test]
        fn no_frame_makes_the_parser_read_outside(frame in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4) {
            let mut frame = frame;
            if frame.len() > 15 {
                let start: [u8; 3] = [[8, 0, 0x45], [0x86, 0xdd, 0x60], [0x81, 0, 0], [8, 0, 0x4f]][kind as usize];
                frame[12..15].copy_from_slice(&start);
            }
            let headers = parse(&frame, VLAN);
            let _ = headers.transport_checksum_right(&frame);
            let _ = headers.ip_checksum_right(&frame);
            prop_assert!(usize::from(headers.end) <= frame.len());
            prop_assert!(headers.ports(&frame).len() + headers.addresses(&frame).len() <= 36);
        }

        #[test]
        fn folding_is_the_sum_of_words_with_end_around_carry(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut sum = 0u32;
            for pair in bytes.chunks(2) {
                sum += u32::from(u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            }
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            prop_assert_eq!(u32::from(fold(ones_sum(&bytes))), sum);
        }
    }
}
