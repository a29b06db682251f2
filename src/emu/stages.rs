//! What a packet's way out of a card is made of, on the emulation's clock.
//!
//! ```text
//!   stored --half a trip--> doorbell --reads--> fetched --line rate--> on the wire --write--> reported
//! ```
//!
//! What the ways through PCIe take is what [`super::pcie::link`] says of the card's link
//! (the option `pcie=`); without one they take no time. The figures show how the ways of
//! sending differ, and are the model's: no card was measured.

use super::Picos;
use super::pcie::Bell;
use std::collections::VecDeque;

/// Packets that are remembered.
const PACKETS: usize = 4096;

/// When one packet passed each stage, in picoseconds of the emulation's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// How it came into the card: `DMA`, `push`, `PIO`, `CTPIO`.
    pub path: &'static str,
    /// The driver stored to the doorbell, as far as the model can tell: the step in which
    /// it found that.
    pub rung: Picos,
    /// The card saw the doorbell.
    pub doorbell: Picos,
    /// It had descriptor and data.
    pub fetch: Picos,
    /// The last bit was on the wire.
    pub wire: Picos,
    /// The driver could see that.
    pub write_back: Picos,
}

/// The stages of the last packets.
#[derive(Debug, Default)]
pub struct StageLog {
    /// Packets that were reported.
    done: VecDeque<Stages>,
    /// Those that were not, and the one on its way.
    open: VecDeque<Stages>,
    /// When the last frame had left before the one on its way.
    before: Option<Picos>,
}

impl StageLog {
    /// A packet that is in the card at `fetch` is about to be sent, behind one that left at
    /// `left`.
    pub(super) fn depart(&mut self, path: &'static str, bell: Bell, fetch: Picos, left: Picos) {
        self.leave(left);
        let Bell { rung, seen: doorbell, .. } = bell;
        push(&mut self.open, Stages { path, rung, doorbell, fetch, ..Stages::default() });
        self.before = Some(left);
    }

    /// The one on its way has left, unless it was dropped.
    fn leave(&mut self, left: Picos) {
        let Some(before) = self.before.take() else { return };
        if left == before {
            self.open.pop_back();
        } else if let Some(last) = self.open.back_mut() {
            last.wire = left;
        }
    }

    /// All that was sent is reported: the last frame left at `left`, and the driver sees
    /// that at `write_back`.
    pub(super) fn report(&mut self, left: Picos, write_back: Picos) {
        self.leave(left);
        for stages in self.open.drain(..) {
            push(&mut self.done, Stages { write_back, ..stages });
        }
    }

    /// The packets that were reported since the last time, oldest first.
    pub fn take(&mut self) -> Vec<Stages> {
        self.done.drain(..).collect()
    }
}

/// Remembers a packet; the oldest is forgotten if there are many.
fn push(packets: &mut VecDeque<Stages>, stages: Stages) {
    if packets.len() == PACKETS {
        packets.pop_front();
    }
    packets.push_back(stages);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELL: Bell = Bell { rung: 1, seen: 2, fetched: 3 };

    #[test]
    fn packets_are_reported_together_and_one_that_never_left_is_not() {
        let mut log = StageLog::default();
        log.depart("DMA", BELL, 4, 0);
        log.depart("push", BELL, 5, 10);
        log.depart("PIO", BELL, 6, 10);
        log.report(20, 30);
        let stages = |path, fetch, wire| Stages { path, rung: 1, doorbell: 2, fetch, wire, write_back: 30 };
        assert_eq!(log.take(), [stages("DMA", 4, 10), stages("PIO", 6, 20)]);
        log.report(20, 40);
        assert_eq!(log.take(), []);
    }

    #[test]
    fn the_log_forgets_the_oldest() {
        let mut log = StageLog::default();
        for left in 0..5000 {
            log.depart("DMA", BELL, left, left);
            log.report(left + 1, left + 2);
        }
        let stages = log.take();
        assert_eq!((stages.len(), stages[0].fetch, log.take().len()), (PACKETS, 904, 0));
    }
}
