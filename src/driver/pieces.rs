//! Memory that a card and its driver share, in one arena: rings, mailboxes,
//! counters.

use super::config::Config;
use crate::dma::{Arena, Region};
use crate::error::Result;
use crate::pci::Function;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Pieces of one arena that is mapped for a card, each at a multiple of its own
/// size rounded up to a power of two: so none crosses a page of physical memory.
pub struct Pieces {
    arena: Arc<Arena>,
    /// For each rounded size, where the next piece of it lies, and where the last ends.
    places: BTreeMap<usize, Range<usize>>,
}

impl Pieces {
    /// Room for pieces of `sizes` bytes, to be taken in any order.
    pub fn new(function: &dyn Function, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut places: BTreeMap<_, Range<usize>> = BTreeMap::new();
        for size in sizes.into_iter().map(usize::next_power_of_two) {
            places.entry(size).or_default().end += size;
        }
        // The largest first: then all begin where they are to begin.
        let mut total = 0;
        for place in places.values_mut().rev() {
            *place = total..total + place.end;
            total = place.end;
        }
        let arena = function.arena(total)?;
        function.map(&arena)?;
        Ok(Pieces { arena, places })
    }

    /// Room for the rings of all queues that `config` asks for, of `rx` and `tx`
    /// bytes each.
    pub fn rings(function: &dyn Function, config: &Config, rx: usize, tx: usize) -> Result<Self> {
        let rings = |queues: u16, bytes| (0..queues).map(move |_| bytes);
        Pieces::new(function, rings(config.rx_queues, rx).chain(rings(config.tx_queues, tx)))
    }

    /// A piece of `size` bytes, zeroed.
    ///
    /// # Panics
    /// If it was not counted in [`Pieces::new`].
    pub fn take(&mut self, size: usize) -> Region {
        let place = self.places.get_mut(&size.next_power_of_two()).filter(|place| place.start < place.end);
        let place = place.expect("a piece that was counted");
        let start = place.start;
        place.start += size.next_power_of_two();
        Region::new(&self.arena, start, size)
    }
}
