//! The header that stands before each frame (VIRTIO 1.2 §5.1.6).
//!
//! ```text
//!   [ flags:8 . gso_type:8 . hdr_len:16 | gso_size:16 . csum_start:16 | csum_offset:16 . num_buffers:16 ] frame
//! ```
//!
//! A legacy device's has no `num_buffers` without MRG_RXBUF, and stands in a descriptor of
//! its own without ANY_LAYOUT (§5.1.6.1, §5.1.6.6).

use super::features::{self, Features};

/// Bytes of the header in front of a frame, and of the room that each frame has for it.
pub const HEADER: u32 = 12;

/// Bytes of a legacy device's header without a number of buffers.
const SHORT: u32 = 10;

/// What a device wants of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Bytes, [`HEADER`] or fewer.
    pub len: u32,
    /// It has a descriptor of its own.
    pub apart: bool,
}

impl Framing {
    /// Of a device of VIRTIO 1.0.
    pub const MODERN: Framing = Framing { len: HEADER, apart: false };

    /// What follows from the features that were agreed on.
    pub fn of(features: Features) -> Self {
        if features.has(features::VERSION_1) {
            return Framing::MODERN;
        }
        let len = if features.has(features::MRG_RXBUF) { HEADER } else { SHORT };
        Framing { len, apart: !features.has(features::ANY_LAYOUT) }
    }
}

/// Where in it the number of buffers is that a received frame fills.
pub const NUM_BUFFERS: usize = 10;

/// The transport checksum is to be completed.
const NEEDS_CSUM: u8 = 1;

/// The header of a frame that nothing is asked for.
pub const PLAIN: [u8; HEADER as usize] = [0; HEADER as usize];

/// The header of a frame whose transport checksum, from byte `start` to the
/// end, goes `offset` bytes behind `start`.
pub fn with_checksum(start: u16, offset: u16) -> [u8; HEADER as usize] {
    let ([a, b], [c, d]) = (start.to_le_bytes(), offset.to_le_bytes());
    [NEEDS_CSUM, 0, 0, 0, 0, 0, a, b, c, d, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legacy_header_is_as_long_and_as_far_away_as_was_agreed_on() {
        let framing = |bits: &[u8]| Framing::of(Features(bits.iter().fold(0, |set, bit| set | 1 << bit)));
        assert_eq!(framing(&[features::VERSION_1]), Framing::MODERN);
        assert_eq!(framing(&[]), Framing { len: 10, apart: true });
        assert_eq!(framing(&[features::MRG_RXBUF]), Framing { len: 12, apart: true });
        assert_eq!(framing(&[features::ANY_LAYOUT]), Framing { len: 10, apart: false });
    }
}
