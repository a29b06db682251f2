//! What a packet gains on its way out of a card: checksums, VLAN tags, or being
//! cut into segments that leave one by one, as the wire has time for them.
//!
//! A family decodes its own descriptors into [`Headers`] and hands the rest to
//! [`Offload`]. Lengths come from the driver and are checked here; what does not
//! fit is `None`, which the model counts.

use super::frame::sum;
use super::segment::{Layout, Transport, fill_ip_checksum, fill_l4_checksum, insert_vlan};
use super::wire::MAX_FRAME;

/// Where a packet's headers are and what they are, as the driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Bytes of the Ethernet header and tags.
    pub mac_len: usize,
    /// Bytes of the network header.
    pub ip_len: usize,
    /// Bytes of the transport header.
    pub l4_len: usize,
    /// IPv4, else IPv6.
    pub v4: bool,
    /// Transport; `None` if the driver named none.
    pub protocol: Option<Transport>,
}

/// Which checksums to fill in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// That of the IPv4 header.
    pub ip: bool,
    /// That of the transport.
    pub transport: bool,
}

impl Headers {
    fn layout(&self) -> Layout {
        Layout { l3_at: self.mac_len, l4_at: self.mac_len + self.ip_len, ipv6: !self.v4 }
    }

    /// Fills in the checksums that are wanted; `None` if the headers do not fit.
    pub fn fill(&self, packet: &mut [u8], wanted: Sums) -> Option<()> {
        if wanted.ip && self.v4 {
            fill_ip_checksum(packet, self.layout())?;
        }
        if wanted.transport {
            let end = packet.len();
            fill_l4_checksum(packet, self.layout(), self.protocol?, end)?;
        }
        Some(())
    }
}

/// A VLAN tag to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// EtherType, 0x8100 as a rule.
    pub ethertype: u16,
    /// Tag control information.
    pub tci: u16,
}

/// What a driver had its card do to packets, for who wants to know whether an
/// offload that is said to be on was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Packets sent whose checksums, one or both, the card filled in.
    pub summed: u64,
    /// Packets that the card cut into segments.
    pub segmented: u64,
    /// Packets sent into which it inserted a VLAN tag.
    pub tagged: u64,
    /// Frames received of which it took the tag off.
    pub untagged: u64,
}

/// What is to be done with a packet while it is sent.
#[derive(Debug, Default)]
pub struct Offload {
    /// Tags to insert: the inner one, and one before it.
    pub tags: [Option<Tag>; 2],
    /// It leaves as segments.
    pub segmentation: Option<Segmentation>,
}

impl Offload {
    /// Whether the packet leaves as several frames.
    #[inline]
    pub fn segments(&self) -> bool {
        self.segmentation.is_some()
    }

    /// Bytes that the tags add.
    #[inline]
    pub fn tag_len(&self) -> usize {
        4 * self.tags.iter().flatten().count()
    }

    /// Inserts the tags.
    #[inline]
    pub fn tag(&self, frame: &mut Vec<u8>) {
        for tag in self.tags.iter().flatten() {
            // Frames too short for a header were refused before.
            let _ = insert_vlan(frame, tag.ethertype, tag.tci);
        }
    }

    /// Builds the next segment.
    pub fn segment<'a>(&self, packet: &[u8], into: &'a mut Vec<u8>) -> &'a [u8] {
        if let Some(segmentation) = &self.segmentation {
            segmentation.build(packet, into);
            self.tag(into);
        }
        into
    }

    /// That segment is sent; true if it was the last.
    pub fn next_segment(&mut self, packet: &[u8]) -> bool {
        self.segmentation.as_mut().is_none_or(|segmentation| segmentation.advance(packet))
    }
}

/// A TCP super-frame on its way out.
#[derive(Debug)]
pub struct Segmentation {
    headers: Headers,
    sums: Sums,
    mss: usize,
    /// Bytes of all headers; payload that was sent; segments that were sent.
    header_len: usize,
    sent: usize,
    index: u16,
    /// Masks of the first, middle and last segment's TCP flags.
    flags: [u16; 3],
}

impl Segmentation {
    /// Cuts `packet` into segments of `mss` bytes of payload; `None` if the
    /// headers are not those of a TCP packet that can be cut so.
    pub fn new(packet: &[u8], headers: Headers, mss: usize, sums: Sums, flags: [u16; 3]) -> Option<Self> {
        let header_len = headers.mac_len + headers.ip_len + headers.l4_len;
        let sane = headers.protocol == Some(Transport::Tcp)
            && mss > 0
            && headers.mac_len >= 14
            && headers.ip_len >= if headers.v4 { 20 } else { 40 }
            && headers.l4_len >= 20
            && header_len < packet.len()
            && header_len + mss + 8 <= MAX_FRAME;
        sane.then_some(Segmentation { headers, sums, mss, header_len, sent: 0, index: 0, flags })
    }

    /// Bytes of the headers.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Headers, with lengths, identification, sequence number and flags of this
    /// segment, and its share of the payload.
    fn build(&self, packet: &[u8], into: &mut Vec<u8>) {
        let Headers { mac_len, ip_len, v4, .. } = self.headers;
        let from = self.header_len + self.sent;
        let to = packet.len().min(from + self.mss);
        into.clear();
        into.extend_from_slice(&packet[..self.header_len]);
        into.extend_from_slice(&packet[from..to]);

        let l4 = mac_len + ip_len;
        let total = into.len() - mac_len;
        let ip = &mut into[mac_len..l4];
        if v4 {
            ip[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(self.index);
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            if self.sums.ip {
                ip[10..12].fill(0);
            }
        } else {
            ip[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
        }

        let tcp = &mut into[l4..];
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(self.sent as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        let mask = match (self.sent, to == packet.len()) {
            (_, true) => self.flags[2],
            (0, false) => self.flags[0],
            _ => self.flags[1],
        };
        tcp[13] &= mask as u8;
        if self.sums.transport {
            // The driver's seed leaves the length out.
            let len = tcp.len() as u32;
            let seed = sum(&tcp[16..18], len);
            tcp[16..18].copy_from_slice(&seed.to_be_bytes());
        }
        // The headers were seen to fit when the packet began.
        let _ = self.headers.fill(into, self.sums);
    }

    fn advance(&mut self, packet: &[u8]) -> bool {
        self.sent += self.mss;
        self.index = self.index.wrapping_add(1);
        self.header_len + self.sent >= packet.len()
    }
}
