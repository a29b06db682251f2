//! The memory of a ring: entries of 16 bytes, in one piece or in pages.

use super::super::super::Translation;
use super::super::super::pcie::{Bell, Piece};
use super::super::chip::Chip;
use super::{Outcome, Refusal, RingSpec};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// An entry as two words.
pub type Words = [u64; 2];

/// Rings are this long.
const LENGTHS: std::ops::RangeInclusive<u32> = 16..=1 << 16;

/// Pages of rings are aligned to this.
const ALIGNMENT: u64 = 4096;
/// Rings in one piece are aligned to this: iPXE's are no better.
const PIECE: u64 = 256;

/// Bits of an entry of a page table of the newer generation: it is valid, and which
/// of a ring's last two pages it is. Linux sets them, others leave them out.
const VALID: u64 = 1;
const FLAGS: u64 = 7;

/// Where a ring's entries are.
pub struct Entries {
    pages: Vec<Iova>,
    /// Logarithm of the entries in a page.
    shift: u32,
    mask: u32,
}

impl Entries {
    /// Those of a request. A ring in one piece (depth 0) has no pages, whatever size
    /// of them the request names.
    pub fn of(chip: Chip, spec: &RingSpec, memory: &Translation) -> Outcome<Entries> {
        let alignment = if spec.depth == 0 { PIECE } else { 8 };
        let aligned = spec.address.is_multiple_of(alignment) && spec.address != 0;
        if !LENGTHS.contains(&spec.length) || !spec.length.is_power_of_two() || !aligned {
            return Err(Refusal::INVALID);
        }
        let mask = spec.length - 1;
        if spec.depth == 0 {
            let entries = Entries { pages: vec![spec.address], shift: 31, mask };
            return if entries.reached(memory) { Ok(entries) } else { Err(Refusal::INVALID) };
        }
        if spec.depth > 1 || !(12..=30).contains(&spec.page_size) {
            return Err(Refusal::INVALID);
        }
        let shift = u32::from(spec.page_size) - 4;
        let count = spec.length.div_ceil(1 << shift);
        let page = |n: u32| {
            let page = memory.word64(spec.address.wrapping_add(8 * u64::from(n)))?.load(Ordering::Acquire);
            let page = if chip.p5() && page & VALID != 0 { page & !FLAGS } else { page };
            (page != 0 && page.is_multiple_of(ALIGNMENT)).then_some(page)
        };
        let pages = (0..count).map(page).collect::<Option<Vec<_>>>().ok_or(Refusal::INVALID)?;
        let entries = Entries { pages, shift, mask };
        if entries.reached(memory) { Ok(entries) } else { Err(Refusal::INVALID) }
    }

    /// Whether the first entry of each page, and the very last one, is memory.
    fn reached(&self, memory: &Translation) -> bool {
        let last = self.slot(self.mask);
        self.pages.iter().chain([&last]).all(|page| memory.descriptor(*page).is_some())
    }

    /// Bits of an index that count.
    #[inline]
    pub fn mask(&self) -> u32 {
        self.mask
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> u32 {
        self.mask + 1
    }

    /// Where an entry is: nowhere that is mapped if that is past the end of addresses.
    #[inline]
    pub fn slot(&self, at: u32) -> Iova {
        let at = at & self.mask;
        let within = 16 * u64::from(at & ((1 << self.shift) - 1));
        self.pages[(at >> self.shift) as usize].wrapping_add(within)
    }

    /// So many entries from one on.
    pub fn pieces(&self, first: u32, count: u32) -> impl Iterator<Item = Piece> {
        (0..count).map(move |n| (self.slot(first.wrapping_add(n)), 16))
    }

    /// Moves a producer on to `index`, and fetches what is new; false if that is outside
    /// the ring or would leave no free entry between it and the consumer.
    #[inline]
    pub fn advance(
        &self,
        producer: &mut u32,
        consumer: u32,
        index: Option<u32>,
        bell: &mut Bell,
        memory: &Translation,
    ) -> bool {
        let Some(index) = index.filter(|index| *index <= self.mask) else { return false };
        let posted = producer.wrapping_sub(consumer);
        let more = index.wrapping_sub(*producer) & self.mask;
        if posted.checked_add(more).is_none_or(|all| all > self.mask) {
            return false;
        }
        if let Some(meter) = memory.meter() {
            *bell = meter.hear(8);
            bell.fetched = meter.fetch(self.pieces(*producer, more), bell.seen);
        }
        *producer = producer.wrapping_add(more);
        true
    }

    /// An entry.
    #[inline]
    pub fn read(&self, at: u32, memory: &Translation) -> Option<Words> {
        let [first, second] = memory.descriptor(self.slot(at))?;
        Some([first.load(Ordering::Acquire), second.load(Ordering::Acquire)])
    }

    /// Bit 0 of the second word of an entry: it toggles from pass to pass.
    #[inline]
    pub fn phase(&self, at: u32) -> u64 {
        u64::from(at & self.len() == 0)
    }

    /// Writes an entry: the word with the valid bit last.
    #[inline]
    pub fn write(&self, at: u32, words: Words, memory: &Translation) {
        write(self.slot(at), [words[0], words[1] | self.phase(at)], memory);
    }

    /// Whether no entry looks like one of the first pass.
    pub fn clean(&self, memory: &Translation) -> bool {
        (0..self.len()).all(|at| self.read(at, memory).is_some_and(|[_, second]| second & 1 == 0))
    }
}

/// Writes an entry: the word with the valid bit last.
#[inline]
pub fn write(at: Iova, words: Words, memory: &Translation) {
    memory.store_pair(at, words);
}
