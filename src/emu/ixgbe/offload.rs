//! What a packet gains on its way out (82599 §7.2.4, §7.2.5): descriptors into
//! what [`super::super::offload`] does.

use super::super::Violations;
use super::super::frame::sum;
use super::super::offload::{Headers, Offload, Segmentation, Sums, Tag};
use super::super::segment::Transport;

/// A context descriptor (§7.2.3.2.3), which data descriptors refer to.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Which of the queue's two it is.
    pub slot: usize,
    vlan: u16,
    mss: usize,
    headers: Headers,
}

impl Context {
    /// Takes the two words apart.
    pub fn decode(words: [u64; 2]) -> Self {
        let [first, second] = words;
        Context {
            slot: (second >> 36 & 1) as usize,
            vlan: (first >> 16) as u16,
            mss: (second >> 48) as usize,
            headers: Headers {
                mac_len: (first >> 9 & 0x7f) as usize,
                ip_len: (first & 0x1ff) as usize,
                l4_len: (second >> 40 & 0xff) as usize,
                v4: second >> 10 & 1 == 1,
                // None: a reserved code.
                protocol: [Some(Transport::Udp), Some(Transport::Tcp), Some(Transport::Sctp), None]
                    [(second >> 11 & 3) as usize],
            },
        }
    }
}

/// What a data descriptor asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Checksums (IXSM, TXSM).
    pub sums: Sums,
    /// TCP segmentation (TSE).
    pub segment: bool,
    /// VLAN tag (VLE).
    pub vlan: bool,
    /// PAYLEN.
    pub payload: usize,
}

/// What a legacy descriptor can ask for: a VLAN tag.
pub fn legacy(vlan: u64, insert: bool, ethertype: u16) -> Offload {
    Offload { tags: [insert.then_some(Tag { ethertype, tci: vlan as u16 }), None], segmentation: None }
}

/// A legacy descriptor's checksum (§7.2.3.2.1): from `start` to the end, at
/// `offset`.
pub fn insert_sum(packet: &mut [u8], start: usize, offset: usize) {
    let Some(sum) = packet.get(start..).map(|covered| !sum(covered, 0)) else { return };
    if let Some(field) = packet.get_mut(offset..offset + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Checks what is asked against the context, and does what concerns the packet
/// as a whole.
#[inline]
pub fn prepare(
    packet: &mut [u8],
    wanted: Wanted,
    context: Option<Context>,
    flags: [u16; 3],
    ethertype: u16,
    violations: &mut Violations,
) -> Offload {
    let Wanted { sums, segment, vlan, payload } = wanted;
    if !segment && payload != packet.len() {
        violations.note("PAYLEN is not the length of the packet");
    }
    if !(sums.ip || sums.transport || segment || vlan) {
        return Offload::default();
    }
    let Some(context) = context else {
        violations.note("offload without a context descriptor");
        return Offload::default();
    };
    let tags = [vlan.then_some(Tag { ethertype, tci: context.vlan }), None];
    if segment {
        let segmentation = Segmentation::new(packet, context.headers, context.mss, sums, flags);
        match &segmentation {
            None => violations.note("segmentation without a sensible context"),
            Some(tso) if payload != packet.len() - tso.header_len() => {
                violations.note("PAYLEN is not the payload to segment");
            }
            Some(_) => {}
        }
        return Offload { tags, segmentation };
    }
    let Headers { mac_len, v4, .. } = context.headers;
    if sums.ip && v4 && packet.get(mac_len + 10..mac_len + 12).is_some_and(|field| field != [0, 0]) {
        violations.note("IXSM with an IP checksum that is not zero");
    }
    if context.headers.fill(packet, sums).is_none() {
        violations.note("the context's header lengths do not fit the packet");
    }
    Offload { tags, segmentation: None }
}
