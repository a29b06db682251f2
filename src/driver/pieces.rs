//! Memory that a card and its driver share, in one arena: rings, mailboxes,
//! counters.

use super::config::Config;
use crate::dma::{Arena, Region};
use crate::error::Result;
use crate::pci::Function;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pieces of one arena that is mapped for a card, each at a multiple of its own
/// size rounded up to a power of two: so none crosses a page of physical memory.
pub struct Pieces {
    arena: Arc<Arena>,
    /// Where the next piece of each rounded size lies.
    next: BTreeMap<usize, usize>,
}

impl Pieces {
    /// Room for pieces of `sizes` bytes, to be taken in any order.
    pub fn new(function: &dyn Function, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut next = BTreeMap::new();
        for size in sizes {
            *next.entry(size.next_power_of_two()).or_insert(0) += size.next_power_of_two();
        }
        // The largest first: then all begin where they are to begin.
        let mut total = 0;
        for bytes in next.values_mut().rev() {
            total += std::mem::replace(bytes, total);
        }
        let arena = Arena::new(total, function.addressing())?;
        function.map(&arena)?;
        Ok(Pieces { arena, next })
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
        let rounded = size.next_power_of_two();
        let next = self.next.get_mut(&rounded).expect("a piece that was counted");
        let start = *next;
        *next += rounded;
        Region::new(&self.arena, start, size)
    }
}
