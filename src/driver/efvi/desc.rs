//! Descriptors: one word each, in memory and in registers alike.
//!
//! ```text
//!   receive           [ 0:2 . bytes:14 . address:48 ]
//!   transmit          [ 0 . continues . bytes:14 . address:48 ]
//!   transmit option   [ 1 . what:3 | ... ]
//!     checksums  0    [ 8 | time:1 . inner:2 . crc:3 . tcp/udp:1 . ip:1 ]   holds for what follows
//!     packet memory 1 [ 9 | continues . 0:15 . bytes:12 | 0:20 . offset:12 ]
//!     VLAN tag   6    [ e | 0:26 . how:2 | second:16 . first:16 ]           holds for what follows
//! ```
//!
//! A card that has fetched a receive descriptor never writes to it; a transmit
//! option that only changes what holds causes no event.

use crate::dma::{BUFFER_SIZE, Iova, L4, Offload};

const _: () = assert!(cfg!(target_endian = "little"), "descriptors are little-endian");

/// Bytes that the card writes before a frame.
pub const PREFIX: u32 = 14;

/// A receive descriptor: a whole buffer.
#[inline(always)]
pub fn receive(address: Iova) -> u64 {
    address | (BUFFER_SIZE as u64) << 48
}

/// The frame goes on in the next transmit descriptor.
pub const CONT: u64 = 1 << 62;

/// A transmit descriptor for `bytes` at `address`.
#[inline(always)]
pub fn transmit(address: Iova, bytes: u32) -> u64 {
    address | u64::from(bytes) << 48
}

/// A transmit descriptor for `bytes` of packet memory from `offset` on.
pub fn packet_memory(offset: usize, bytes: u32) -> u64 {
    0x9 << 60 | u64::from(bytes & 0xfff) << 32 | offset as u64 & 0xfff
}

/// What holds for all frames until it is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Fill in IPv4 header checksums.
    pub ip: bool,
    /// Fill in TCP and UDP checksums.
    pub l4: bool,
    /// Put this tag in.
    pub vlan: Option<u16>,
}

impl Options {
    /// Those that an offload needs; `None` if the card cannot do it.
    pub fn of(offload: &Offload) -> Option<Options> {
        if offload.l4_checksum == Some(L4::Sctp) {
            return None;
        }
        Some(Options { ip: offload.ip_checksum, l4: offload.l4_checksum.is_some(), vlan: offload.vlan })
    }

    /// The descriptor that sets checksums, and stamps if `stamped`.
    pub fn checksums(self, stamped: bool) -> u64 {
        1 << 63 | u64::from(self.ip) | u64::from(self.l4) << 1 | u64::from(stamped) << 5
    }

    /// The descriptor that sets the tag, which it holds as the frame does: in
    /// network order.
    pub fn tag(self) -> u64 {
        0xe << 60 | self.vlan.map_or(0, |tci| 1 << 32 | u64::from(tci.swap_bytes()))
    }
}

/// Before a frame that is stored into the transmitter: its length, and after how
/// many bytes it may begin to leave.
pub fn ctpio_head(bytes: u32, threshold: u32, stamped: bool) -> u32 {
    bytes & 0xfff | u32::from(stamped) << 12 | (threshold & 0xfff) << 16
}

/// A threshold that no frame reaches: all of a frame is kept before it leaves.
pub const WHOLE_FRAME: u32 = 0xfff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_that_other_drivers_were_seen_to_write() {
        assert_eq!(transmit(0x0265_d002, 0x5a), 0x005a_0000_0265_d002);
        assert_eq!(packet_memory(0, 0x5a), 0x9000_005a_0000_0000);
        assert_eq!(Options::default().checksums(false), 0x8000_0000_0000_0000);
        assert_eq!(receive(0x1000), 0x0800_0000_0000_1000);
    }

    #[test]
    fn options_hold_what_an_offload_asks_for() {
        let offload =
            Offload { ip_checksum: true, l4_checksum: Some(L4::Udp), vlan: Some(0x2064), ..Offload::default() };
        let options = Options::of(&offload).unwrap();
        assert_eq!(options.checksums(true), 1 << 63 | 0b10_0011);
        assert_eq!(options.tag(), 0xe000_0001_0000_6420);
        assert_eq!(Options::default().tag(), 0xe000_0000_0000_0000);
        assert_eq!(Options::of(&Offload { l4_checksum: Some(L4::Sctp), ..offload }), None);
    }

    #[test]
    fn a_head_names_length_and_threshold() {
        assert_eq!(ctpio_head(60, WHOLE_FRAME, false), 0x0fff_003c);
        assert_eq!(ctpio_head(1514, 64, true), 0x0040_15ea);
    }
}
