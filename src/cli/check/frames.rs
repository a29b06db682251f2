//! What is sent: frames of which every byte is known.

use crate::net::Sum;

/// Bytes of Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 42;

/// Source port of flow 0.
pub const FIRST_PORT: u16 = 1024;

/// A UDP datagram of `flow` in a frame of `len` bytes without FCS, which says by its content
/// which one it is.
pub fn udp([from, to]: [[u8; 6]; 2], flow: u16, number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len.max(HEADERS + 4)];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip_len = (frame.len() - 14) as u16;
    let ip = &mut frame[14..34];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
    (ip[8], ip[9]) = (64, 17);
    // Addresses for tests of devices (RFC 2544).
    ip[12..20].copy_from_slice(&[198, 18, 0, 1, 198, 19, 0, 1]);
    let sum = Sum::of(ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame[34..36].copy_from_slice(&(FIRST_PORT + flow).to_be_bytes());
    frame[36..38].copy_from_slice(&7_u16.to_be_bytes());
    frame[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
    for (i, byte) in frame[HEADERS..].iter_mut().enumerate() {
        *byte = (number as usize).wrapping_mul(31).wrapping_add(i) as u8;
    }
    frame[HEADERS..HEADERS + 4].copy_from_slice(&number.to_be_bytes());
    let sum = udp_sum(&frame);
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Whether a frame was sent from this address.
pub fn is_from(frame: &[u8], address: [u8; 6]) -> bool {
    frame.get(6..12).is_some_and(|from| from == address)
}

/// The number of a frame that [`udp`] made, with a tag or without.
pub fn number_of(frame: &[u8]) -> Option<u32> {
    let tag = if frame.get(12..14)? == [0x81, 0x00] { 4 } else { 0 };
    let number = frame.get(HEADERS + tag..)?.first_chunk()?;
    Some(u32::from_be_bytes(*number))
}

/// The flow of a frame that [`udp`] made.
pub fn flow_of(frame: &[u8]) -> Option<u16> {
    let port = frame.get(34..36)?;
    u16::from_be_bytes([port[0], port[1]]).checked_sub(FIRST_PORT)
}

/// The checksum of a datagram whose field for it is zero.
fn udp_sum(frame: &[u8]) -> u16 {
    let len = (frame.len() - 34) as u16;
    let pseudo = [&frame[26..34], &[0, 17], &len.to_be_bytes()].concat();
    match Sum::of(&pseudo).and(Sum::of(&frame[34..])).checksum() {
        0 => 0xffff,
        sum => sum,
    }
}

/// The same frame with a checksum that is wrong.
pub fn with_wrong_sum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[41] ^= 0x55;
    frame
}

/// The same frame with a VLAN tag.
pub fn with_tag(frame: &[u8], tag: u16) -> Vec<u8> {
    let tag = tag.to_be_bytes();
    [&frame[..12], &[0x81, 0x00, tag[0], tag[1]], &frame[12..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_which_it_is_with_a_tag_and_without() {
        let frame = udp([[2; 6], [4; 6]], 7, 0x0102_0304, 60);
        assert_eq!(number_of(&frame), Some(0x0102_0304));
        assert_eq!(number_of(&with_tag(&frame, 0x2123)), Some(0x0102_0304));
        assert_eq!(number_of(&frame[..45]), None);
    }
}
