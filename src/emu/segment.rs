//! What a card does to a frame on its way out: checksums, a VLAN tag, and
//! segmentation of TCP and UDP super-frames (TSO, USO).
//!
//! All take a whole frame gathered from its descriptors, and the offsets that
//! the driver gave; an offset outside the frame is the driver's fault and is
//! answered with `None`, which the model counts.

use super::frame::{crc32c, sum};

/// Where a frame's headers are, as the driver says (context descriptor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Start of the network header: length of the Ethernet header and tags.
    pub l3_at: usize,
    /// Start of the transport header.
    pub l4_at: usize,
    /// The network layer is IPv6.
    pub ipv6: bool,
}

/// A transport whose checksum is to be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP: checksum at byte 16.
    Tcp,
    /// UDP: checksum at byte 6, sent as 0xffff if it comes out zero.
    Udp,
    /// SCTP: CRC-32C at byte 8.
    Sctp,
}

/// Fills the IPv4 header checksum in.
pub fn fill_ip_checksum(frame: &mut [u8], layout: Layout) -> Option<()> {
    let header = frame.get_mut(layout.l3_at..layout.l4_at)?;
    header.get_mut(10..12)?.fill(0);
    let checksum = !sum(header, 0);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Fills the transport checksum in, over everything from the transport header
/// to `end`. The field holds the pseudo-header's sum, which the driver put there.
pub fn fill_l4_checksum(frame: &mut [u8], layout: Layout, transport: Transport, end: usize) -> Option<()> {
    let segment = frame.get_mut(layout.l4_at..end)?;
    match transport {
        Transport::Sctp => {
            segment.get(8..12)?;
            let crc = crc32c(segment, 8..12);
            segment[8..12].copy_from_slice(&crc.to_le_bytes());
        }
        Transport::Tcp | Transport::Udp => {
            let at = if transport == Transport::Tcp { 16 } else { 6 };
            segment.get(at..at + 2)?;
            // The field itself is summed too: it is the pseudo-header's part.
            let checksum = match !sum(segment, 0) {
                0 if transport == Transport::Udp => 0xffff,
                checksum => checksum,
            };
            segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
    }
    Some(())
}

/// Puts a VLAN tag behind the addresses.
pub fn insert_vlan(frame: &mut Vec<u8>, ethertype: u16, tci: u16) -> Option<()> {
    if frame.len() < 14 {
        return None;
    }
    let [a, b] = ethertype.to_be_bytes();
    let [c, d] = tci.to_be_bytes();
    frame.splice(12..12, [a, b, c, d]);
    Some(())
}

/// Splits a super-frame into frames with `mss` bytes of payload each and calls
/// `send` on them in order; how many there were.
///
/// Each gets its own IP length and identification, TCP sequence number, UDP
/// length and checksums; FIN and PSH stay on the last alone, CWR on the first.
/// The transport checksum field holds the pseudo-header's sum *without* the
/// length, which differs from segment to segment.
pub fn split(
    frame: &[u8],
    layout: Layout,
    transport: Transport,
    header_len: usize,
    mss: usize,
    mut send: impl FnMut(&[u8]),
) -> Option<usize> {
    let l4_header = match transport {
        Transport::Tcp => 20,
        Transport::Udp => 8,
        Transport::Sctp => return None,
    };
    let l3_header = if layout.ipv6 { 40 } else { 20 };
    if mss == 0 || layout.l3_at + l3_header > layout.l4_at || layout.l4_at + l4_header > header_len {
        return None;
    }
    let (headers, payload) = frame.split_at_checked(header_len)?;
    let (l3, l4) = (layout.l3_at, layout.l4_at);
    let checksum_at = l4 + if transport == Transport::Tcp { 16 } else { 6 };
    let pseudo = u32::from(read16(headers, checksum_at));
    let count = payload.len().div_ceil(mss).max(1);
    let mut segment = Vec::with_capacity(header_len + mss);
    for n in 0..count {
        let part = &payload[n * mss..payload.len().min((n + 1) * mss)];
        segment.clear();
        segment.extend_from_slice(headers);
        segment.extend_from_slice(part);
        let l4_len = segment.len() - l4;
        if layout.ipv6 {
            write16(&mut segment, l3 + 4, (l4_len + l4 - l3 - 40) as u16);
        } else {
            write16(&mut segment, l3 + 2, (l4_len + l4 - l3) as u16);
            let id = read16(headers, l3 + 4).wrapping_add(n as u16);
            write16(&mut segment, l3 + 4, id);
            fill_ip_checksum(&mut segment, layout)?;
        }
        match transport {
            Transport::Tcp => {
                let sequence = u32::from_be_bytes([headers[l4 + 4], headers[l4 + 5], headers[l4 + 6], headers[l4 + 7]]);
                let sequence = sequence.wrapping_add((n * mss) as u32);
                segment[l4 + 4..l4 + 8].copy_from_slice(&sequence.to_be_bytes());
                const FIN_PSH: u8 = 0x09;
                const CWR: u8 = 0x80;
                if n + 1 < count {
                    segment[l4 + 13] &= !FIN_PSH;
                }
                if n > 0 {
                    segment[l4 + 13] &= !CWR;
                }
            }
            Transport::Udp | Transport::Sctp => write16(&mut segment, l4 + 4, l4_len as u16),
        }
        // The length belongs to the pseudo-header, in ones'-complement.
        let with_length = sum(&(l4_len as u32).to_be_bytes(), pseudo);
        write16(&mut segment, checksum_at, with_length);
        let end = segment.len();
        fill_l4_checksum(&mut segment, layout, transport, end)?;
        send(&segment);
    }
    Some(count)
}

fn read16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn write16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::frame::{L4, Parsed, Verdict};
    use super::*;
    use etherparse::PacketBuilder;

    /// A TCP super-frame as a driver hands it over: the checksum field holds the
    /// pseudo-header without the length.
    fn super_frame(ipv6: bool, payload: &[u8]) -> (Vec<u8>, Layout, usize) {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if ipv6 { ethernet.ipv6([1; 16], [2; 16], 9) } else { ethernet.ipv4([10, 0, 0, 1], [10, 9, 8, 7], 9) };
        ip.tcp(1000, 2000, 0xffff_ff00, 512).psh().fin().write(&mut frame, payload).unwrap();
        let parsed = Parsed::of(&frame);
        let layout = Layout { l3_at: parsed.l3_at, l4_at: parsed.l4_at, ipv6 };
        let addresses = if ipv6 { &frame[22..54] } else { &frame[26..34] };
        let pseudo = sum(addresses, 6);
        let at = parsed.l4_at + 16;
        frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        let header_len = parsed.l4_at + 20;
        (frame, layout, header_len)
    }

    #[test]
    fn segments_are_whole_frames_with_right_checksums_and_sequence() {
        let payload: Vec<u8> = (0..5000).map(|i| (i * 7 % 251) as u8).collect();
        for ipv6 in [false, true] {
            let (frame, layout, header_len) = super_frame(ipv6, &payload);
            let (mut got, mut n) = (Vec::new(), 0_u32);
            let count = split(&frame, layout, Transport::Tcp, header_len, 1448, |segment| {
                let parsed = Parsed::of(segment);
                assert_eq!((parsed.l4, parsed.end), (Some(L4::Tcp), segment.len()));
                assert_eq!(parsed.ip_checksum(segment), if ipv6 { Verdict::None } else { Verdict::Good });
                assert_eq!(parsed.l4_checksum(segment), Verdict::Good);
                let tcp = etherparse::TcpHeaderSlice::from_slice(&segment[parsed.l4_at..]).unwrap();
                assert_eq!(tcp.sequence_number(), 0xffff_ff00_u32.wrapping_add(n * 1448));
                assert_eq!((tcp.psh(), tcp.fin()), (n == 3, n == 3));
                got.extend_from_slice(&segment[header_len..]);
                n += 1;
            });
            assert_eq!((count, n), (Some(4), 4));
            assert_eq!(got, payload);
        }
    }

    #[test]
    fn offsets_outside_the_frame_are_refused() {
        let (mut frame, layout, header_len) = super_frame(false, &[0; 100]);
        let end = frame.len();
        let far = Layout { l3_at: 60_000, l4_at: 60_020, ipv6: false };
        assert_eq!(fill_ip_checksum(&mut frame, far), None);
        assert_eq!(fill_l4_checksum(&mut frame, far, Transport::Tcp, end), None);
        assert_eq!(fill_l4_checksum(&mut frame, layout, Transport::Sctp, end + 1), None);
        assert_eq!(split(&frame, layout, Transport::Tcp, header_len, 0, |_| ()), None);
        assert_eq!(split(&frame, layout, Transport::Tcp, 60_000, 1448, |_| ()), None);
        assert_eq!(split(&frame, far, Transport::Tcp, header_len, 1448, |_| ()), None);
        assert_eq!(insert_vlan(&mut vec![0; 13], 0x8100, 1), None);
    }

    #[test]
    fn a_tag_goes_behind_the_addresses() {
        let (mut frame, ..) = super_frame(false, &[9; 40]);
        let plain = frame.clone();
        insert_vlan(&mut frame, 0x8100, 0x6005).unwrap();
        assert_eq!(frame[..12], plain[..12]);
        assert_eq!(frame[12..16], [0x81, 0x00, 0x60, 0x05]);
        assert_eq!(frame[16..], plain[12..]);
        assert_eq!(Parsed::of(&frame).vlan, Some(0x6005));
    }
}
