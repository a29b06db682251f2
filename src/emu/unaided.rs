//! What a frame gains on its way out of a card that finds the headers by itself:
//! checksums, VLAN tags, or being cut into segments.
//!
//! Descriptors say what is wanted, not where. So checksums are made from nothing;
//! whatever a driver left in the field does not count.

use super::frame::{L3, L4, Parsed, sum};
use super::segment::{self, Layout, Transport, fill_ip_checksum, fill_l4_checksum, insert_vlan};
use std::ops::Range;

/// Segmentation as a descriptor asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tso {
    /// First sequence number and IP identification.
    pub sequence: u32,
    pub id: u16,
    /// Payload of a segment; 0 is no segmentation.
    pub mss: u16,
}

/// Fills the checksums of a frame in: of the IPv4 header, of TCP or UDP.
#[inline]
pub fn checksums(frame: &mut [u8], ip: bool, transport: bool) {
    let headers = Parsed::of(frame);
    let layout = Layout { l3_at: headers.l3_at, l4_at: headers.l4_at, ipv6: matches!(headers.l3, Some(L3::V6 { .. })) };
    if ip && matches!(headers.l3, Some(L3::V4 { .. })) {
        // The parser has seen that the header is there.
        let _ = fill_ip_checksum(frame, layout);
    }
    let (at, protocol, kind) = match headers.l4 {
        Some(L4::Tcp) if transport => (16, 6, Transport::Tcp),
        Some(L4::Udp) if transport => (6, 17, Transport::Udp),
        _ => return,
    };
    let len = (headers.end - headers.l4_at) as u32;
    let pseudo = sum(headers.address_bytes(frame), protocol + len);
    let at = headers.l4_at + at;
    frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    let _ = fill_l4_checksum(frame, layout, kind, headers.end);
}

/// Puts tags in, the outer one first.
pub fn tag(frame: &mut Vec<u8>, tags: &[u16]) {
    for &tag in tags.iter().rev() {
        // Frames that are shorter than a header were refused before.
        let _ = insert_vlan(frame, 0x8100, tag);
    }
}

/// Cuts a packet into segments, which are appended to `into` one behind the
/// other; none if it is not TCP over IP.
pub fn segments(packet: &mut [u8], tso: Tso, into: &mut Vec<u8>, frames: &mut Vec<Range<usize>>) -> Option<()> {
    let (layout, protocol) = layout(packet)?;
    let header = packet.get(layout.l4_at..layout.l4_at + 20)?;
    let headers = layout.l4_at + usize::from(header[12] >> 4) * 4;
    if protocol != 6 || headers < layout.l4_at + 20 || headers >= packet.len() {
        return None;
    }
    let addresses = match layout.ipv6 {
        true => layout.l3_at + 8..layout.l3_at + 40,
        false => {
            packet[layout.l3_at + 4..layout.l3_at + 6].copy_from_slice(&tso.id.to_be_bytes());
            layout.l3_at + 12..layout.l3_at + 20
        }
    };
    packet[layout.l4_at + 4..layout.l4_at + 8].copy_from_slice(&tso.sequence.to_be_bytes());
    // The sum of the pseudo-header but for the length, which differs.
    let pseudo = sum(&packet[addresses], 6);
    packet[layout.l4_at + 16..layout.l4_at + 18].copy_from_slice(&pseudo.to_be_bytes());
    segment::split(packet, layout, Transport::Tcp, headers, usize::from(tso.mss), |frame| {
        let start = into.len();
        into.extend_from_slice(frame);
        frames.push(start..into.len());
    })?;
    Some(())
}

/// Where the headers of a packet are whose length fields say nothing, and its
/// transport.
fn layout(packet: &[u8]) -> Option<(Layout, u8)> {
    let mut l3_at = 14;
    let mut ethertype = packet.get(12..14)?;
    while matches!(ethertype, [0x81, 0x00] | [0x88, 0xa8]) && l3_at < 22 {
        ethertype = packet.get(l3_at + 2..l3_at + 4)?;
        l3_at += 4;
    }
    match ethertype {
        [0x08, 0x00] => {
            let header = packet.get(l3_at..l3_at + 20)?;
            let l4_at = l3_at + usize::from(header[0] & 0xf) * 4;
            (l4_at >= l3_at + 20).then_some((Layout { l3_at, l4_at, ipv6: false }, header[9]))
        }
        [0x86, 0xdd] => {
            let header = packet.get(l3_at..l3_at + 40)?;
            Some((Layout { l3_at, l4_at: l3_at + 40, ipv6: true }, header[6]))
        }
        _ => None,
    }
}
