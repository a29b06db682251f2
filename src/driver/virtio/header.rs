//! The header that stands before each frame (VIRTIO 1.2 §5.1.6).
//!
//! ```text
//!   [ flags:8 . gso_type:8 . hdr_len:16 | gso_size:16 . csum_start:16 | csum_offset:16 . num_buffers:16 ] frame
//! ```

/// Bytes of the header in front of a frame.
pub const HEADER: u32 = 12;

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
