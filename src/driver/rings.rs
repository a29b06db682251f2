//! Where the descriptor rings of a port lie: all in one arena.

use super::Config;
use crate::dma::{Arena, Region};
use crate::error::Result;
use crate::pci::Function;
use std::sync::Arc;

/// Memory for the rings of a port, mapped for its card.
pub struct Rings {
    arena: Arc<Arena>,
    rx: Run,
    tx: Run,
}

/// Rings of one kind, side by side.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    ring: usize,
}

impl Rings {
    /// Room for the rings that `config` asks for, of descriptors of `rx` and
    /// `tx` bytes (powers of two), zeroed.
    pub fn new(function: &dyn Function, config: &Config, rx: usize, tx: usize) -> Result<Self> {
        let (rx, tx) = (usize::from(config.rx_ring) * rx, usize::from(config.tx_ring) * tx);
        let (all_rx, all_tx) = (rx * usize::from(config.rx_queues), tx * usize::from(config.tx_queues));
        let arena = Arena::new(all_rx + all_tx, function.addressing())?;
        function.map(&arena)?;
        // The larger kind first: then each ring begins at a multiple of its own
        // size, so none crosses a page of physical memory.
        let (rx_start, tx_start) = if rx >= tx { (0, all_rx) } else { (all_tx, 0) };
        Ok(Rings { arena, rx: Run { start: rx_start, ring: rx }, tx: Run { start: tx_start, ring: tx } })
    }

    /// The ring of receive queue `n`.
    pub fn rx(&self, n: u16) -> Region {
        self.of(self.rx, n)
    }

    /// The ring of transmit queue `n`.
    pub fn tx(&self, n: u16) -> Region {
        self.of(self.tx, n)
    }

    fn of(&self, run: Run, n: u16) -> Region {
        Region::new(&self.arena, run.start + usize::from(n) * run.ring, run.ring)
    }
}
