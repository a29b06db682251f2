//! A frame's headers in the form in which flow groups and entries match them.
//!
//! ```text
//!   00 smac | ethertype | 08 dmac | prio cfi vid | 10 protocol dscp ecn tags frag version
//!   flags | 14 TCP ports | 18 TTL | 1c UDP ports | 20 source | 30 destination
//! ```
//!
//! A transport header counts only if all of it is there: fragments have none.

use super::super::super::frame::{L3, L4, Parsed};
use super::be::{set_bits, u16_at, u32_at};

/// Headers, or a mask of them.
pub type Header = [u64; 8];

/// Bytes of them.
pub const LEN: usize = 64;

/// Words of headers as commands have them.
pub fn words(bytes: &[u8]) -> Header {
    let word =
        |n: usize| bytes.get(8 * n..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |w| u64::from_ne_bytes(*w));
    [0, 1, 2, 3, 4, 5, 6, 7].map(word)
}

/// The headers under a mask.
#[inline]
pub fn masked(header: &Header, mask: &Header) -> Header {
    let mut out = *header;
    out.iter_mut().zip(mask).for_each(|(word, mask)| *word &= mask);
    out
}

/// Fields that may be matched: bit of the capability, word, highest and lowest bit.
const FIELDS: [(u32, usize, u32, u32); 28] = [
    (30, 0x00, 31, 0),
    (30, 0x04, 31, 16),
    (29, 0x04, 15, 0),
    (31, 0x08, 31, 0),
    (31, 0x0c, 31, 16),
    (27, 0x0c, 15, 13),
    (26, 0x0c, 12, 12),
    (25, 0x0c, 11, 0),
    (16, 0x10, 31, 24),
    (14, 0x10, 23, 18),
    (15, 0x10, 17, 16),
    (25, 0x10, 15, 14),
    (17, 0x10, 13, 13),
    (28, 0x10, 12, 9),
    (9, 0x10, 8, 0),
    (11, 0x14, 31, 16),
    (10, 0x14, 15, 0),
    (24, 0x18, 7, 0),
    (13, 0x1c, 31, 16),
    (12, 0x1c, 15, 0),
    (19, 0x20, 31, 0),
    (19, 0x24, 31, 0),
    (19, 0x28, 31, 0),
    (19, 0x2c, 31, 0),
    (18, 0x30, 31, 0),
    (18, 0x34, 31, 0),
    (18, 0x38, 31, 0),
    (18, 0x3c, 31, 0),
];

/// Whether all bits of a mask are of fields that a card of this capability matches.
pub fn fits(mask: &[u8], can: u32) -> bool {
    let mut rest = mask.to_vec();
    for (_, at, high, low) in FIELDS.iter().filter(|(bit, ..)| can >> bit & 1 == 1) {
        set_bits(&mut rest, *at, *high, *low, 0);
    }
    rest.iter().all(|byte| *byte == 0)
}

/// The headers of a frame.
#[inline]
pub fn header(frame: &[u8], parsed: &Parsed) -> Header {
    let mut out = [0; LEN];
    let Some(addresses) = frame.first_chunk::<12>() else { return [0; 8] };
    out[0x00..0x06].copy_from_slice(&addresses[6..]);
    out[0x08..0x0e].copy_from_slice(&addresses[..6]);
    set_bits(&mut out, 0x04, 15, 0, parsed.ethertype.into());
    if let Some(tci) = parsed.vlan {
        set_bits(&mut out, 0x0c, 15, 0, tci.into());
        let bit = if u16_at(frame, 12) == 0x88a8 { 14 } else { 15 };
        set_bits(&mut out, 0x10, bit, bit, 1);
    }
    let at = parsed.l3_at;
    let (version, class, ttl) = match parsed.l3 {
        Some(L3::V4 { .. }) => (4, frame[at + 1], frame[at + 8]),
        Some(L3::V6 { .. }) => (6, (u16_at(frame, at) >> 4) as u8, frame[at + 7]),
        None => return words(&out),
    };
    set_bits(&mut out, 0x10, 31, 24, parsed.protocol.unwrap_or(0).into());
    set_bits(&mut out, 0x10, 23, 16, class.into());
    set_bits(&mut out, 0x10, 13, 13, parsed.fragment.into());
    set_bits(&mut out, 0x10, 12, 9, version);
    set_bits(&mut out, 0x18, 7, 0, ttl.into());
    if let Some((source, destination)) = parsed.ip_addresses(frame) {
        out[0x30 - source.len()..0x30].copy_from_slice(source);
        out[0x40 - destination.len()..0x40].copy_from_slice(destination);
    }
    let ports = u32_at(frame, parsed.l4_at);
    match parsed.l4 {
        Some(L4::Tcp) => {
            set_bits(&mut out, 0x14, 31, 0, ports);
            set_bits(&mut out, 0x10, 8, 0, u32::from(u16_at(frame, parsed.l4_at + 12)) & 0x1ff);
        }
        Some(L4::Udp) => set_bits(&mut out, 0x1c, 31, 0, ports),
        Some(L4::Sctp) | None => {}
    }
    words(&out)
}
