//! What a packet's way out of a card is made of, on the model's stage clock.
//!
//! ```text
//!   doorbell --reads of memory--> fetched --line rate--> on the wire --> event written
//! ```
//!
//! A model does all of that in one step of its own; what silicon would need for
//! each stage is reckoned here from the number of times that it must go to
//! memory and wait ([`READ`]), and from the line rate. So the figures show how
//! the ways of sending differ, and are the model's: no card was measured.

use super::Picos;
use std::collections::VecDeque;

/// A read of memory by a card and the answer, over PCIe: 64 bytes on a Xeon E5
/// (Neugebauer et al., "Understanding PCIe performance", SIGCOMM 2018: median
/// 547 ns).
pub const READ: Picos = 547_000;

/// A write, which is not answered: one way of that.
pub const WRITE: Picos = READ / 2;

/// Packets that are remembered.
const PACKETS: usize = 4096;

/// When one packet passed each stage, in picoseconds of the emulation's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// How it came into the card: `DMA`, `push`, `PIO`, `CTPIO`.
    pub path: &'static str,
    /// The card saw the doorbell.
    pub doorbell: Picos,
    /// It had descriptor and data.
    pub fetch: Picos,
    /// The last bit was on the wire.
    pub wire: Picos,
    /// The driver could see that.
    pub write_back: Picos,
}

impl Stages {
    /// The stages of a packet for which the card went to memory `reads` times,
    /// one after the other, and that took `on_wire`.
    pub fn reckon(path: &'static str, doorbell: Picos, reads: u64, on_wire: Picos) -> Self {
        let fetch = doorbell + reads * READ;
        let wire = fetch + on_wire;
        Stages { path, doorbell, fetch, wire, write_back: wire + WRITE }
    }
}

/// The stages of the last packets, if somebody asked for them.
#[derive(Debug, Default)]
pub struct StageLog(VecDeque<Stages>);

impl StageLog {
    /// Remembers a packet; the oldest is forgotten if there are many.
    pub fn note(&mut self, stages: Stages) {
        if self.0.len() == PACKETS {
            self.0.pop_front();
        }
        self.0.push_back(stages);
    }

    /// What is remembered, oldest first; nothing is after that.
    pub fn take(&mut self) -> Vec<Stages> {
        self.0.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_read_of_memory_makes_the_way_longer() {
        let [dma, pio] = [2, 0].map(|reads| Stages::reckon("", 1000, reads, 67_200));
        assert_eq!(pio, Stages { path: "", doorbell: 1000, fetch: 1000, wire: 68_200, write_back: 68_200 + WRITE });
        assert_eq!(dma.wire - pio.wire, 2 * READ);
    }

    #[test]
    fn the_log_forgets_the_oldest() {
        let mut log = StageLog::default();
        (0..5000).for_each(|n| log.note(Stages::reckon("", n, 0, 0)));
        let stages = log.take();
        assert_eq!((stages.len(), stages[0].doorbell, log.take().len()), (PACKETS, 904, 0));
    }
}
