//! Fields in bytes, as they lie in commands and replies: little-endian unless
//! said otherwise. What lies beyond the end reads as zero.

/// The `N` bytes at `at`.
pub fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    let there = bytes.get(at..).unwrap_or_default();
    let len = there.len().min(N);
    field[..len].copy_from_slice(&there[..len]);
    field
}

/// A 16-bit field.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// A 32-bit field.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// A 64-bit field.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// A reply of `len` zero bytes with these 32-bit fields in it: offset, value.
pub fn reply(len: usize, fields: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for &(at, value) in fields {
        put(&mut bytes, at, &value.to_le_bytes());
    }
    bytes
}

/// Puts bytes at `at`.
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_end_reads_as_zero() {
        let bytes = [1, 2, 3, 4, 5, 6];
        assert_eq!((u16_at(&bytes, 1), u32_at(&bytes, 4), u64_at(&bytes, 0)), (0x0302, 0x0605, 0x0605_0403_0201));
        assert_eq!((u32_at(&bytes, 6), u32_at(&bytes, 100)), (0, 0));
        assert_eq!(reply(6, &[(2, 0x0403_0201)]), [0, 0, 1, 2, 3, 4]);
    }
}
