//! Memory that a card and its driver share, in one arena: rings, mailboxes,
//! counters.

use crate::dma::{Arena, Region};
use crate::error::Result;
use crate::pci::Function;
use std::sync::Arc;

/// Pieces of one arena that is mapped for a card, each at a multiple of its own
/// size rounded up to a power of two: so none crosses a page of physical memory.
pub struct Pieces {
    arena: Arc<Arena>,
    next: usize,
}

impl Pieces {
    /// Room for pieces of `sizes` bytes, in any order.
    pub fn new(function: &dyn Function, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        // Each may have to leave as much free before it as it is long.
        let total = sizes.into_iter().map(|size| 2 * size.next_power_of_two()).sum();
        let arena = Arena::new(total, function.addressing())?;
        function.map(&arena)?;
        Ok(Pieces { arena, next: 0 })
    }

    /// The next piece, zeroed.
    ///
    /// # Panics
    /// If it was not counted in [`Pieces::new`].
    pub fn take(&mut self, size: usize) -> Region {
        let start = self.next.next_multiple_of(size.next_power_of_two());
        self.next = start + size;
        Region::new(&self.arena, start, size)
    }
}
