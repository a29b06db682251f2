//! An emulated card, seen from outside.

use super::super::Stages;
use super::super::offload::Used;
use super::super::pcie::Crossings;
use super::super::wire::{Counters, Note};
use super::{Access, Port, lock};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Watches a card from outside: what its driver did wrong, what its wire carried.
#[derive(Clone)]
pub struct Tap {
    pub(super) port: Arc<Port>,
}

impl Tap {
    /// The card's name, as it was asked for.
    pub fn name(&self) -> &str {
        &self.port.name
    }

    /// Its model's name: `82599`.
    pub fn model(&self) -> &str {
        let spec = self.port.name.strip_prefix("emu:").unwrap_or(&self.port.name);
        spec.split(',').next().unwrap_or(spec)
    }

    /// What the driver did that the datasheet forbids: each name and how often.
    pub fn violations(&self) -> Vec<(String, u64)> {
        let open = self.port.with(|card, _| card.violations());
        open.unwrap_or_else(|| lock(&self.port.state).violations.clone())
    }

    /// What has passed on the wire.
    pub fn wire(&self) -> Counters {
        let open = self.port.with(|card, _| card.board().port.mac.counters());
        open.unwrap_or_else(|| lock(&self.port.state).wire)
    }

    /// What its wire itself did to frames, or saw.
    pub fn wire_report(&self) -> Vec<Note> {
        let open = self.port.with(|card, _| card.wire_report());
        open.unwrap_or_else(|| lock(&self.port.state).notes.clone())
    }

    /// Whether its wire has brought all that it had to bring, and the card has taken it;
    /// `None` if it never brings anything.
    pub fn wire_is_over(&self) -> Option<bool> {
        self.port.with(|card, _| card.board().port.mac.is_over()).flatten()
    }

    /// Begins to note the stages of the packets that the card sends, or ends it.
    pub fn note_stages(&self, on: bool) {
        self.port.with(|card, _| card.model().board_mut().note_stages(on));
    }

    /// The stages of the packets that were sent and reported since the last time, oldest
    /// first.
    pub fn take_stages(&self) -> Vec<Stages> {
        self.port.with(|card, _| card.board().take_stages()).unwrap_or_default()
    }

    /// Counts from now on what crosses PCIe, or no longer.
    pub fn count_crossings(&self, on: bool) {
        self.port.with(|card, _| card.model().board_mut().count_crossings(on));
    }

    /// What has crossed PCIe since; nothing if it is not counted, and once closed.
    pub fn crossings(&self) -> Crossings {
        self.port.with(|card, _| card.bus().crossings()).flatten().unwrap_or_default()
    }

    /// Offloads that the driver has used; none once closed.
    pub fn offloads_used(&self) -> Used {
        self.port.with(|card, _| card.board().used).unwrap_or_default()
    }

    /// Messages that an MSI-X vector has sent; 0 once closed.
    pub fn interrupts(&self, vector: u16) -> u64 {
        self.port.with(|card, _| card.bus().interrupts.sent(vector)).unwrap_or(0)
    }

    /// Takes all memory away from the card, as when a driver's process ends.
    #[cfg(test)]
    pub(in crate::emu) fn unmap_all(&self) {
        self.port.with(|card, _| card.bus().memory.clear());
    }

    /// Starts or stops recording register accesses.
    pub fn trace(&self, on: bool) {
        self.port.tracing.store(on, Ordering::Relaxed);
    }

    /// The accesses recorded so far, oldest first; the record starts over.
    pub fn take_trace(&self) -> Vec<Access> {
        std::mem::take(&mut lock(&self.port.state).trace)
    }
}
