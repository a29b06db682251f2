//! Where entries of a ring lie.
//!
//! ```text
//!   entry i --> byte = offset + (i mod entries) * stride --> page[byte / page size] + rest
//! ```
//!
//! A page is where its address says, and as long as the context says: addresses are of
//! 4 KiB, whatever the size of pages.

use super::super::super::Translation;
use super::super::super::pcie::Piece;
use super::spec::Place;
use super::{Outcome, Status};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// A ring in the host's memory.
pub struct Ring {
    pages: Vec<Iova>,
    shift: u32,
    offset: u64,
    log_stride: u32,
    mask: u32,
}

impl Ring {
    /// A ring there, of entries of `1 << log_stride` bytes. The place is left without its
    /// pages: those beyond the ring are not kept.
    pub fn new(place: &mut Place, log_stride: u32) -> Outcome<Ring> {
        let offset = 64 * u64::from(place.page_offset);
        let bytes = offset + (1 << (u32::from(place.log_size) + log_stride));
        if place.page_shift >= 48 {
            return Err(Status::BAD_INPUT_LENGTH);
        }
        let count = bytes.div_ceil(1 << place.page_shift) as usize;
        let pages = std::mem::take(&mut place.pages).get(..count).ok_or(Status::BAD_INPUT_LENGTH)?.to_vec();
        let mask = (1_u32 << place.log_size) - 1;
        Ok(Ring { pages, shift: place.page_shift, offset, log_stride, mask })
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> u32 {
        self.mask + 1
    }

    /// Bytes of an entry.
    #[inline]
    pub fn stride(&self) -> usize {
        1 << self.log_stride
    }

    /// Where the entry with this position is.
    #[inline]
    pub fn slot(&self, at: u32) -> Iova {
        let byte = self.offset + (u64::from(at & self.mask) << self.log_stride);
        let page = self.pages[(byte >> self.shift) as usize];
        page.wrapping_add(byte & ((1 << self.shift) - 1))
    }

    /// The entries from one position up to another.
    pub fn pieces(&self, from: u16, to: u16) -> impl Iterator<Item = Piece> {
        (0..to.wrapping_sub(from)).map(move |n| (self.slot(from.wrapping_add(n).into()), self.stride() as u64))
    }

    /// Which lap a position is of: 0 and 1 by turns.
    #[inline]
    pub fn lap(&self, at: u32) -> u8 {
        u8::from(at & self.len() != 0)
    }

    /// Whether the last byte of each entry says that software has it.
    pub fn is_softwares(&self, memory: &Translation) -> bool {
        (0..self.len()).all(|at| {
            let mut last = [0];
            memory.read(self.slot(at).wrapping_add(self.stride() as u64 - 1), &mut last) && last[0] & 1 == 1
        })
    }
}

/// Writes an entry of 64 bytes: the word with the owner in it last. The last byte stays
/// what it was if it is to come later.
#[inline]
pub fn write(at: Iova, entry: &[u8; 64], later: bool, memory: &Translation) {
    let (parts, _) = entry.as_chunks::<16>();
    for (n, part) in parts.iter().enumerate() {
        let place = at.wrapping_add(16 * n as u64);
        let [low, mut high] = [0, 8].map(|at| u64::from_le_bytes(*part[at..].first_chunk().unwrap_or(&[0; 8])));
        if later && n == 3 {
            let Some([_, second]) = memory.descriptor(place) else { return };
            high = high << 8 >> 8 | second.load(Ordering::Relaxed) >> 56 << 56;
        }
        memory.store_pair(place, [low, high]);
    }
}

/// A word of a doorbell record.
#[inline]
pub fn record(at: Iova, memory: &Translation) -> Option<u32> {
    Some(u32::from_be(memory.word32(at)?.load(Ordering::Acquire)))
}
