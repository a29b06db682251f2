//! Fields of what a card of this family reads and writes: big-endian everywhere. What
//! lies beyond the end reads as zero.

use super::super::super::bytes::field;

/// A 16-bit field.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(bytes, at))
}

/// A 32-bit field.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

/// A 64-bit field.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

/// Bits `high` to `low` of the 32-bit word at `at`.
pub fn bits(bytes: &[u8], at: usize, high: u32, low: u32) -> u32 {
    u32_at(bytes, at) << (31 - high) >> (31 - high + low)
}

/// A bit of the 32-bit word at `at`.
pub fn bit(bytes: &[u8], at: usize, bit: u32) -> bool {
    u32_at(bytes, at) >> bit & 1 == 1
}

/// The lower 24 bits of the word at `at`: most numbers of objects.
pub fn id_at(bytes: &[u8], at: usize) -> u32 {
    u32_at(bytes, at) & 0xff_ffff
}

/// Sets bits `high` to `low` of the 32-bit word at `at`, if there is such a word.
pub fn set_bits(bytes: &mut [u8], at: usize, high: u32, low: u32, value: u32) {
    let mask = u32::MAX << (31 - high) >> (31 - high + low) << low;
    let word = u32_at(bytes, at) & !mask | value << low & mask;
    if let Some(to) = bytes.get_mut(at..at + 4) {
        to.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_the_low_end_of_a_big_endian_word() {
        let mut bytes = [0x12, 0x34, 0x56, 0x78, 0x9a];
        assert_eq!((bits(&bytes, 0, 31, 28), bits(&bytes, 0, 11, 4), bits(&bytes, 0, 31, 0)), (1, 0x67, 0x1234_5678));
        assert_eq!((u16_at(&bytes, 1), u32_at(&bytes, 3), id_at(&bytes, 0)), (0x3456, 0x789a_0000, 0x34_5678));
        assert!(bit(&bytes, 0, 28) && !bit(&bytes, 0, 0));
        set_bits(&mut bytes, 0, 23, 20, 0xff);
        assert_eq!(bytes[..4], [0x12, 0xf4, 0x56, 0x78]);
    }
}
