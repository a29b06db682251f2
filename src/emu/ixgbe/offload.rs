//! What a packet gains on its way out: checksums, a VLAN tag, or being cut into
//! segments (82599 §7.2.4, §7.2.5).

use super::super::Violations;
use super::super::frame::sum;
use super::super::segment::{Layout, Transport, fill_ip_checksum, fill_l4_checksum, insert_vlan};
use super::super::wire::MAX_FRAME;

/// A context descriptor (§7.2.3.2.3), which data descriptors refer to.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Which of the queue's two it is.
    pub slot: usize,
    vlan: u16,
    mac_len: usize,
    ip_len: usize,
    l4_len: usize,
    mss: usize,
    v4: bool,
    /// None: a reserved code.
    protocol: Option<Transport>,
}

impl Context {
    /// Takes the two words apart.
    pub fn decode(words: [u64; 2]) -> Self {
        let [first, second] = words;
        Context {
            slot: (second >> 36 & 1) as usize,
            vlan: (first >> 16) as u16,
            mac_len: (first >> 9 & 0x7f) as usize,
            ip_len: (first & 0x1ff) as usize,
            l4_len: (second >> 40 & 0xff) as usize,
            mss: (second >> 48) as usize,
            v4: second >> 10 & 1 == 1,
            protocol: [Some(Transport::Udp), Some(Transport::Tcp), Some(Transport::Sctp), None]
                [(second >> 11 & 3) as usize],
        }
    }

    fn layout(&self) -> Layout {
        Layout { l3_at: self.mac_len, l4_at: self.mac_len + self.ip_len, ipv6: !self.v4 }
    }

    /// Fills in the checksums that are wanted; None if the headers do not fit.
    fn sums(&self, packet: &mut [u8], wanted: Wanted, violations: &mut Violations) -> Option<()> {
        if wanted.ip && self.v4 {
            if packet.get(self.mac_len + 10..self.mac_len + 12)? != [0, 0] {
                violations.note("IXSM with an IP checksum that is not zero");
            }
            fill_ip_checksum(packet, self.layout())?;
        }
        if wanted.transport {
            let end = packet.len();
            fill_l4_checksum(packet, self.layout(), self.protocol?, end)?;
        }
        Some(())
    }
}

/// What a data descriptor asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// IPv4 header checksum (IXSM).
    pub ip: bool,
    /// Transport checksum (TXSM).
    pub transport: bool,
    /// TCP segmentation (TSE).
    pub segment: bool,
    /// VLAN tag (VLE).
    pub vlan: bool,
    /// PAYLEN.
    pub payload: usize,
}

/// What is to be done with a packet while it is sent.
#[derive(Debug, Default)]
pub struct Offload {
    tag: Option<u16>,
    tso: Option<Segmentation>,
}

#[derive(Debug)]
struct Segmentation {
    context: Context,
    /// Bytes of all headers; payload that was sent; segments that were sent.
    headers: usize,
    sent: usize,
    index: u16,
    ip: bool,
    transport: bool,
    /// Masks of the first, middle and last segment's TCP flags.
    flags: [u16; 3],
}

impl Offload {
    /// What a legacy descriptor can ask for: a VLAN tag.
    pub fn legacy(vlan: u64, insert: bool) -> Self {
        Offload { tag: insert.then_some(vlan as u16), tso: None }
    }

    /// A legacy descriptor's checksum (§7.2.3.2.1): from `start` to the end, at
    /// `offset`.
    pub fn insert_sum(packet: &mut [u8], start: usize, offset: usize) {
        let Some(sum) = packet.get(start..).map(|covered| !sum(covered, 0)) else { return };
        if let Some(field) = packet.get_mut(offset..offset + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// Checks what is asked against the context, and does what concerns the
    /// packet as a whole.
    #[inline]
    pub fn prepare(
        packet: &mut [u8],
        wanted: Wanted,
        context: Option<Context>,
        flags: [u16; 3],
        violations: &mut Violations,
    ) -> Self {
        if !wanted.segment && wanted.payload != packet.len() {
            violations.note("PAYLEN is not the length of the packet");
        }
        if !(wanted.ip || wanted.transport || wanted.segment || wanted.vlan) {
            return Offload::default();
        }
        let Some(context) = context else {
            violations.note("offload without a context descriptor");
            return Offload::default();
        };
        let tag = wanted.vlan.then_some(context.vlan);
        if wanted.segment {
            return Offload { tag, tso: Segmentation::new(packet, wanted, context, flags, violations) };
        }
        if context.sums(packet, wanted, violations).is_none() {
            violations.note("the context's header lengths do not fit the packet");
        }
        Offload { tag, tso: None }
    }

    /// Whether the packet leaves as several frames.
    #[inline]
    pub fn segments(&self) -> bool {
        self.tso.is_some()
    }

    /// Bytes that the tag adds.
    #[inline]
    pub fn tag_len(&self) -> usize {
        if self.tag.is_some() { 4 } else { 0 }
    }

    /// Inserts the tag.
    #[inline]
    pub fn tag(&self, frame: &mut Vec<u8>, vlan_type: u16) {
        if let Some(tag) = self.tag {
            // Frames of less than 17 bytes were refused before.
            let _ = insert_vlan(frame, vlan_type, tag);
        }
    }

    /// Builds the next segment.
    pub fn segment<'a>(&self, packet: &[u8], into: &'a mut Vec<u8>, vlan_type: u16) -> &'a [u8] {
        if let Some(tso) = &self.tso {
            tso.build(packet, into);
            self.tag(into, vlan_type);
        }
        into
    }

    /// That segment is sent; true if it was the last.
    pub fn next_segment(&mut self, packet: &[u8]) -> bool {
        let Some(tso) = &mut self.tso else { return true };
        tso.sent += tso.context.mss;
        tso.index = tso.index.wrapping_add(1);
        tso.headers + tso.sent >= packet.len()
    }
}

impl Segmentation {
    fn new(
        packet: &[u8],
        wanted: Wanted,
        context: Context,
        flags: [u16; 3],
        violations: &mut Violations,
    ) -> Option<Self> {
        let headers = context.mac_len + context.ip_len + context.l4_len;
        let sane = context.protocol == Some(Transport::Tcp)
            && context.mss > 0
            && context.mac_len >= 14
            && context.ip_len >= if context.v4 { 20 } else { 40 }
            && context.l4_len >= 20
            && headers < packet.len()
            && headers + context.mss + 4 <= MAX_FRAME;
        if !sane {
            violations.note("segmentation without a sensible context");
            return None;
        }
        if wanted.payload != packet.len() - headers {
            violations.note("PAYLEN is not the payload to segment");
        }
        let (ip, transport) = (wanted.ip, wanted.transport);
        Some(Segmentation { context, headers, sent: 0, index: 0, ip, transport, flags })
    }

    /// Headers, with lengths, identification, sequence number and flags of this
    /// segment, and its share of the payload (§7.2.4.6).
    fn build(&self, packet: &[u8], into: &mut Vec<u8>) {
        let Context { mac_len, ip_len, mss, v4, .. } = self.context;
        let from = self.headers + self.sent;
        let to = packet.len().min(from + mss);
        into.clear();
        into.extend_from_slice(&packet[..self.headers]);
        into.extend_from_slice(&packet[from..to]);

        let l4 = mac_len + ip_len;
        let total = into.len() - mac_len;
        let ip = &mut into[mac_len..l4];
        if v4 {
            ip[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(self.index);
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            if self.ip {
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
        if self.transport {
            // The driver's seed leaves the length out.
            let len = tcp.len() as u32;
            let seed = sum(&tcp[16..18], len);
            tcp[16..18].copy_from_slice(&seed.to_be_bytes());
        }
        let wanted = Wanted { ip: self.ip, transport: self.transport, segment: false, vlan: false, payload: 0 };
        // The headers were seen to fit when the packet began.
        let _ = self.context.sums(into, wanted, &mut Violations::default());
    }
}
