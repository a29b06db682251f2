//! Entries of send queues, taken apart.
//!
//! ```text
//!   | ctrl 16 | eth 16: flags, mss, inline header ... | data 16 | data 16 | ...
//!     opcode    2 bytes of it in the segment itself     length, key, address
//!     queue                                             or bytes, if inline
//! ```

use super::be::{bits, u16_at, u32_at, u64_at};
use crate::dma::Iova;

/// Bytes of a basic block and of a segment.
pub const BLOCK: usize = 64;
const SEGMENT: usize = 16;

/// Opcodes.
pub const NOP: u8 = 0x00;
pub const SEND: u8 = 0x0a;
pub const LSO: u8 = 0x0e;
pub const MULTI: u8 = 0x29;

/// Checksums to fill in.
const L3_SUM: u8 = 0x40;
const L4_SUM: u8 = 0x80;

/// The control segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ctrl {
    pub modifier: u8,
    /// Position of its first basic block.
    pub index: u16,
    pub opcode: u8,
    pub sqn: u32,
    /// Segments of the entry, this one among them.
    pub segments: usize,
    /// 0 complete on error only, 1 on the first error, 2 always, 3 and tell.
    pub complete: u8,
    pub solicited: bool,
}

impl Ctrl {
    /// Takes it apart.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Ctrl {
            modifier: bits(bytes, 0, 31, 24) as u8,
            index: bits(bytes, 0, 23, 8) as u16,
            opcode: bits(bytes, 0, 7, 0) as u8,
            sqn: bits(bytes, 4, 31, 8),
            segments: bits(bytes, 4, 5, 0) as usize,
            complete: bits(bytes, 8, 3, 2) as u8,
            solicited: bits(bytes, 8, 1, 1) == 1,
        }
    }

    /// Basic blocks of the entry.
    #[inline]
    pub fn blocks(&self) -> u16 {
        self.segments.div_ceil(BLOCK / SEGMENT).max(1) as u16
    }
}

/// The Ethernet segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eth {
    pub l3_sum: bool,
    pub l4_sum: bool,
    pub mss: u16,
    /// A tag to insert: EtherType and tag.
    pub tag: Option<(u16, u16)>,
    /// Bytes of the packet that lie in the entry from 0x1e on.
    pub inline: usize,
}

/// Where the inline header begins in an entry.
const INLINE: usize = 0x1e;

impl Eth {
    /// Takes the one of an entry apart.
    #[inline]
    pub fn of(entry: &[u8]) -> Self {
        let flags = (u32_at(entry, 0x14) >> 24) as u8;
        let kind = u16_at(entry, 0x1c);
        let inserts = kind & 0x8000 != 0;
        let ethertype = if kind & 1 != 0 { 0x88a8 } else { 0x8100 };
        Eth {
            l3_sum: flags & L3_SUM != 0,
            l4_sum: flags & L4_SUM != 0,
            mss: u16_at(entry, 0x16),
            tag: inserts.then(|| (ethertype, u16_at(entry, 0x1e))),
            inline: if inserts { 0 } else { usize::from(kind & 0x3ff) },
        }
    }

    /// The inline header.
    pub fn header<'e>(&self, entry: &'e [u8]) -> Option<&'e [u8]> {
        entry.get(INLINE..INLINE + self.inline)
    }

    /// Where data segments begin.
    pub fn end(&self) -> usize {
        (INLINE + self.inline).next_multiple_of(SEGMENT).max(2 * SEGMENT)
    }
}

/// A data segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'e> {
    /// Bytes in the entry.
    Inline(&'e [u8]),
    /// Bytes in memory.
    Pointer { len: usize, lkey: u32, at: Iova },
}

/// The data segments of an entry from `at` on; one that does not fit is an error.
pub struct Segments<'e> {
    entry: &'e [u8],
    at: usize,
}

impl<'e> Segments<'e> {
    /// Those of this entry.
    pub fn of(entry: &'e [u8], at: usize) -> Self {
        Segments { entry, at }
    }
}

impl<'e> Iterator for Segments<'e> {
    type Item = Result<Data<'e>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.entry.get(self.at..).filter(|rest| !rest.is_empty())?;
        let count = u32_at(rest, 0);
        if count >> 31 == 0 {
            self.at += SEGMENT;
            let pointer = Data::Pointer { len: count as usize, lkey: u32_at(rest, 4), at: u64_at(rest, 8) };
            return Some(if rest.len() < SEGMENT { Err(()) } else { Ok(pointer) });
        }
        let len = (count & 0x3ff) as usize;
        self.at += (4 + len).next_multiple_of(SEGMENT);
        Some(rest.get(4..4 + len).map(Data::Inline).ok_or(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as bytes.
    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn entries_that_linux_sends_are_understood() {
        let mut entry = bytes(&[0x0000_000a, 0x0000_1204, 0x0000_0008, 0, 0, 0, 0, 0x0012_3333]);
        entry.extend_from_slice(&[0x44; 16]);
        entry.extend_from_slice(&bytes(&[0x2a, 0x0001_0100, 0, 0x0107_2802]));
        let ctrl = Ctrl::of(&entry);
        assert_eq!((ctrl.opcode, ctrl.index, ctrl.sqn, ctrl.segments, ctrl.complete), (SEND, 0, 0x12, 4, 2));
        let eth = Eth::of(&entry);
        assert_eq!((eth.inline, eth.end()), (18, 0x30));
        assert_eq!(eth.header(&entry).unwrap()[..3], [0x33, 0x33, 0x44]);
        let data = Segments::of(&entry, eth.end()).collect::<Vec<_>>();
        assert_eq!(data, [Ok(Data::Pointer { len: 42, lkey: 0x0001_0100, at: 0x0107_2802 })]);
        assert_eq!(Ctrl::of(&bytes(&[0, 0x1001, 8, 0])).blocks(), 1);
    }

    #[test]
    fn data_segments_begin_where_the_inline_header_is_filled_up() {
        let ends = [0, 2, 16, 18, 66].map(|inline| Eth { inline, ..Eth::default() }.end());
        assert_eq!(ends, [0x20, 0x20, 0x30, 0x30, 0x60]);
        let mut inline = bytes(&[0x8000_0005, 0x0102_0304, 0x0500_0000, 0]);
        assert_eq!(Segments::of(&inline, 0).collect::<Vec<_>>(), [Ok(Data::Inline(&[1, 2, 3, 4, 5]))]);
        inline[3] = 0x20;
        assert_eq!(Segments::of(&inline, 0).collect::<Vec<_>>(), [Err(())]);
    }
}
