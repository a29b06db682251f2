//! Descriptors and completions: entries of 16 bytes, here as two words.
//!
//! ```text
//!   receive      [ position:32 | bytes:16 | kind:16 ]               [ address:64 ]
//!   transmit     [ end:32 | bytes:16 | hint:3 . count:5 . flags:8 ] [ address:64 ]
//!     more       [ 0:40 | what:24 ]                                 [ tag:32 | 0:32 ]
//!
//!   received     [ position:32 | bytes:16 | flags:10 . kind:6 ]     [ hash:32 | 0:26 . more:5 . V:1 ]
//!                [ TPID:16 . TCI:16 | checksums ]                   [ time:32 | 0:16 | errors:15 . V:1 ]
//!     goes on    [ position:32 | bytes:16 | kind ]                  [ 0:32 | V:1 ]
//!   sent         [ end:32 | flags . kind:6 ]                        [ 0:32 | errors . V:1 ]
//! ```
//!
//! Of what the card returns unchanged (`opaque`) we make the free-running
//! position of the descriptor, or of the end of a frame that is sent: 32 bits
//! that no other of the last 2^32 descriptors has, so a
//! completion of an earlier round is not taken for one of this.

use crate::dma::{L4, Offload};
use std::sync::atomic::AtomicU64;

const _: () = assert!(cfg!(target_endian = "little"), "descriptors are little-endian");

/// An entry of any ring in memory.
pub type Words = [AtomicU64; 2];

/// Bytes of an entry.
pub const ENTRY: usize = size_of::<Words>();

/// Position of the 32 bits that the card returns, in the first word of an entry.
pub const OPAQUE: u32 = 32;

/// A receive descriptor, but for bytes and position: a buffer that a frame
/// begins in.
pub const RECEIVE: u64 = 0x4;

/// The same, of a buffer that a frame goes on in.
pub const AGGREGATE: u64 = 0x6;

/// A receive descriptor of `bytes` with a kind, but for its position.
pub const fn buffer(kind: u64, bytes: u64) -> u64 {
    kind | bytes << 16
}

/// Transmit descriptors: flags in the first one of a frame.
pub mod tx {
    /// Another entry says more.
    pub const LONG: u64 = 0x10;
    /// The frame ends with this buffer.
    pub const END: u64 = 1 << 6;
    /// Report this frame only with a later one.
    pub const QUIET: u64 = 1 << 7;
    /// Report at once.
    pub const NOW: u64 = 1 << 15;
    /// Most descriptors of a frame: what a count of 0 would say.
    pub const MOST: u32 = 32;
}

/// A frame's length as the card wants it beforehand: below 512, 1024, 2048, or
/// not. A hint that is too small loses the frame, silently.
#[inline(always)]
fn hint(total: u32) -> u64 {
    HINTS[(total >> 9).min(4) as usize]
}

const HINTS: [u64; 5] = [0 << 13, 1 << 13, 2 << 13, 2 << 13, 3 << 13];

/// First word of the first descriptor of a frame of `total` bytes, but for the
/// bytes of its buffer and its end: `count` descriptors, the extension with them.
#[inline(always)]
pub fn transmit(total: u32, count: u32) -> u64 {
    hint(total) | u64::from(count % tx::MOST) << 8
}

/// The `count` that the first word of a frame's first descriptor says.
pub fn count(word: u64) -> u32 {
    match (word >> 8) as u32 % tx::MOST {
        0 => tx::MOST,
        count => count,
    }
}

/// First word of the one descriptor of a whole frame that is to be reported
/// with a later one, but for its end.
#[inline(always)]
pub fn plain(bytes: u32) -> u64 {
    const ALONE: u64 = tx::END | tx::QUIET | 1 << 8;
    const WHOLE: [u64; 5] = [HINTS[0] | ALONE, HINTS[1] | ALONE, HINTS[2] | ALONE, HINTS[3] | ALONE, HINTS[4] | ALONE];
    WHOLE[(bytes >> 9).min(4) as usize] | u64::from(bytes) << 16
}

/// What the second entry of a frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct More([u64; 2]);

impl More {
    const L4_CHECKSUM: u64 = 1 << 0;
    const IP_CHECKSUM: u64 = 1 << 1;
    const STAMP: u64 = 1 << 3;

    /// What an offload needs; `None` if the card cannot do it.
    pub fn of(offload: &Offload) -> Option<More> {
        /// A tag with the identifier 0x8100.
        const TAG: u64 = 1 << 28 | 1 << 16;
        if offload.l4_checksum == Some(L4::Sctp) {
            return None;
        }
        let ip = if offload.ip_checksum { Self::IP_CHECKSUM } else { 0 };
        let l4 = if offload.l4_checksum.is_some() { Self::L4_CHECKSUM } else { 0 };
        let tag = offload.vlan.map_or(0, |tci| (TAG | u64::from(tci)) << 32);
        Some(More([ip | l4, tag]))
    }

    /// The same, and report when it left.
    #[must_use]
    pub fn stamped(self) -> More {
        More([self.0[0] | Self::STAMP, self.0[1]])
    }

    /// Whether there is something to say.
    pub fn says(self) -> bool {
        self != More::default()
    }

    /// As the card reads it.
    pub fn words(self) -> [u64; 2] {
        self.0
    }
}

/// Completions: what they report, bits 5:0 of the first word. Odd ones are of
/// two entries.
pub mod kind {
    /// Where it stands.
    pub const MASK: u64 = 0x3f;
    /// Frames up to one were sent.
    pub const SENT: u64 = 0x00;
    /// The same, by the index of the next descriptor.
    pub const SENT_TO: u64 = 0x02;
    /// When a frame left.
    pub const SENT_AT: u64 = 0x04;
    /// A frame was received.
    pub const RECEIVED: u64 = 0x11;
    /// It goes on in another buffer.
    pub const GOES_ON: u64 = 0x12;
    /// Statistics were written.
    pub const STATISTICS: u64 = 0x1a;
    /// A command is done.
    pub const COMMAND_DONE: u64 = 0x20;
    /// Another function's command.
    pub const FORWARDED: u64 = 0x22;
    /// The answer to one.
    pub const ANSWERED: u64 = 0x24;
    /// Something happened: the link, a reset.
    pub const EVENT: u64 = 0x2e;
}

/// Second word of any completion: it is there, as the lap has it.
pub const VALID: u64 = 1;

/// A receive completion.
pub mod rx {
    /// First word of the first entry: a hash.
    pub const HASHED: u64 = 1 << 10;
    /// The same: something else stands where a time could.
    pub const NO_TIME: u64 = 1 << 11;
    /// The same: what the frame is.
    pub const TYPE: u64 = 0xf << 12;
    /// A message of PTP that was stamped.
    pub const PTP_STAMPED: u64 = 9 << 12;
    /// Second word of the first entry: how many more buffers.
    pub const MORE: u64 = 0x1f << 1;
    /// Position of these.
    pub const MORE_SHIFT: u32 = 1;
    /// Second word of the second entry: the frame found no buffers.
    pub const NO_BUFFER: u64 = 7 << 1;
    /// The same: checksums are wrong.
    pub const CHECKSUMS: u64 = 0xf << 4;
    /// The same: its FCS is wrong.
    pub const CRC: u64 = 1 << 8;
}

/// A transmit completion.
pub mod sent {
    /// First word: something was wrong.
    pub const ERROR: u64 = 1 << 6;
    /// Second word: what.
    pub const ERRORS: u64 = 0xfe;
    /// Second word of [`super::kind::SENT_AT`]: there is no time.
    pub const NO_TIME: u64 = 1 << 10;
    /// Second word of [`super::kind::SENT_TO`]: bits of the index, above the lower half.
    pub const INDEX: u64 = 0xff_ffff;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_that_other_drivers_were_seen_to_write() {
        // iPXE and DPDK: short, alone, report at once.
        assert_eq!(plain(60) ^ tx::QUIET | tx::NOW, 60 << 16 | 0x8140);
        // Linux: with an extension, of 98 bytes and of 1442.
        assert_eq!(transmit(98, 2) | tx::LONG | tx::END, 0x0250);
        assert_eq!(transmit(1442, 2) | tx::LONG | tx::END, 0x4250);
        // DPDK's receive descriptor of 2048 bytes; Linux's for what goes on in a page.
        assert_eq!(buffer(RECEIVE, 2048), 0x0800_0004);
        assert_eq!(buffer(AGGREGATE, 4096), 0x1000_0006);
    }

    #[test]
    fn a_hint_changes_at_exact_lengths_and_covers_them_all() {
        for (total, expected) in
            [(60, 0), (511, 0), (512, 1), (1023, 1), (1024, 2), (1535, 2), (1536, 2), (2047, 2), (2048, 3), (9600, 3)]
        {
            assert_eq!(transmit(total, 1) >> 13, expected, "{total}");
            if total <= 2048 {
                assert_eq!(plain(total) >> 13 & 3, expected, "{total}");
            }
        }
        assert_eq!(transmit(9000, 32) >> 8 & 0x1f, 0, "32 is said as 0");
        assert_eq!(transmit(9000, 31) >> 8 & 0x1f, 31);
    }

    #[test]
    fn an_extension_says_what_an_offload_asks_for() {
        let offload =
            Offload { ip_checksum: true, l4_checksum: Some(L4::Udp), vlan: Some(0x2064), ..Offload::default() };
        let more = More::of(&offload).unwrap();
        assert_eq!(more.words(), [0x3, 0x1001_2064 << 32]);
        assert_eq!(more.stamped().words()[0], 0xb);
        assert!(!More::of(&Offload::default()).unwrap().says());
        assert!(More::of(&Offload { vlan: Some(0), ..Offload::default() }).unwrap().says());
        assert_eq!(More::of(&Offload { l4_checksum: Some(L4::Sctp), ..offload }), None);
    }
}
