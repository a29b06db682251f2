//! Completion rings: what a card reports, in a ring of its own.

use crate::dma::Region;

/// Bytes of an entry, as of a descriptor.
pub const ENTRY: usize = 16;

/// Completions that may come besides those of descriptors.
const OTHERS: u32 = 64;

/// Entries of a ring for `completions` that descriptors can cause.
pub fn ring_len(completions: u32) -> u32 {
    (completions + OTHERS).next_power_of_two()
}

/// Empties a ring that the card does not write to: before each RING_ALLOC, as a
/// new ring begins with the first lap again.
pub fn clear(region: &Region) {
    for word in region.words64() {
        word.store(0, std::sync::atomic::Ordering::Release);
    }
}
