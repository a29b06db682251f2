//! What of a virtqueue crosses PCIe, as a device that reads no more than it must.
//!
//! ```text
//!   split    index (2), when all that it knew of was taken; then in one run each the new
//!            entries of the available ring (2) and the descriptors that they name (16)
//!   packed   descriptors (16), up to one that is not available
//! ```
//!
//! A run is counted as it is taken.

use super::super::super::pcie::{Bell, Meter, Stream};
use super::super::super::{Picos, Translation};
use super::{INDIRECT, NEXT, Ring};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Bytes of a descriptor.
const BYTES: u64 = 16;

/// What a device knows to be available, and what it has read of that.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Chains, or packed descriptors.
    ahead: u16,
    /// When it was notified, knew of them, and has them.
    pub(super) bell: Bell,
    knew: Picos,
    entries: Stream,
    descriptors: Stream,
}

impl Ring {
    /// The driver notifies.
    #[cold]
    pub(in crate::emu::virtio) fn hear(&self, meter: &Meter) {
        self.known.set(Known { bell: meter.hear(2), ..self.known.take() });
    }

    /// When it was notified last, and the chain at hand is in the device.
    pub(in crate::emu::virtio) fn bell(&self) -> Bell {
        let known = self.known.take();
        let bell = known.bell;
        self.known.set(known);
        bell
    }

    /// The device looks for what is available, unless it knows of some.
    #[cold]
    pub(super) fn learn(&self, meter: &Meter, memory: &Translation) {
        let mut known = self.known.take();
        if known.ahead == 0 {
            let bell = known.bell;
            let (ahead, knew) = if self.agreed.packed {
                (self.learn_packed(meter, memory, bell.seen), bell.seen)
            } else {
                self.learn_split(meter, memory, bell.seen)
            };
            known = Known { ahead, bell, knew, ..Known::default() };
        }
        self.known.set(known);
    }

    fn learn_split(&self, meter: &Meter, memory: &Translation, after: Picos) -> (u16, Picos) {
        let knew = meter.fetch([(self.driver + 2, 2)], after);
        let index = memory.word16(self.driver + 2).map_or(self.next_available, |index| index.load(Ordering::Acquire));
        (index.wrapping_sub(self.next_available), knew)
    }

    fn learn_packed(&self, meter: &Meter, memory: &Translation, after: Picos) -> u16 {
        let (mut at, mut wrap, mut new) = (self.next_available, self.available_wrap, 0);
        while new < self.size
            && let Ok(descriptor) = self.descriptor(memory, self.place(at))
            && self.is_available(descriptor.flags, wrap)
        {
            new += 1;
            (at, wrap) = self.after(at, wrap, 1);
        }
        if new == 0 {
            meter.fetch([(self.place(at), BYTES)], after);
        }
        new
    }

    /// The device takes the chain at its position, of which it knows.
    #[cold]
    pub(super) fn count_taken(&self, meter: &Meter, memory: &Translation) {
        let mut known = self.known.take();
        let (mut at, mut slots) = (self.next_available, 0);
        let mut named = known.knew;
        if !self.agreed.packed {
            let entry = self.driver + 4 + 2 * u64::from(self.next_available % self.size);
            named = meter.fetch_on(&mut known.entries, (entry, 2), named);
            at = memory.word16(entry).map_or(0, |entry| entry.load(Ordering::Relaxed));
        }
        while slots < self.size
            && let Ok(descriptor) = self.descriptor(memory, self.place(at))
        {
            slots += 1;
            let mut fetched = meter.fetch_on(&mut known.descriptors, (self.place(at), BYTES), named);
            if descriptor.flags & INDIRECT != 0 {
                fetched = meter.fetch([(descriptor.address, descriptor.len.into())], fetched);
            }
            known.bell.fetched = fetched.max(known.bell.fetched);
            if descriptor.flags & NEXT == 0 {
                break;
            }
            at = if self.agreed.packed { self.after(at, false, 1).0 } else { descriptor.next_or_id };
        }
        let taken = if self.agreed.packed { slots } else { 1 };
        known.ahead = known.ahead.saturating_sub(taken);
        self.known.set(known);
    }

    fn place(&self, at: u16) -> Iova {
        self.descriptors + BYTES * u64::from(at)
    }

    /// The device puts back chains with these ids, descriptors and bytes.
    #[cold]
    pub(super) fn count_used(&self, meter: &Meter, used: &[(u16, u16, u32)], sent: bool) {
        if self.agreed.packed {
            let mut at = self.next_used;
            let places = used.iter().map(|&(_, slots, _)| {
                // Length, id and flags.
                let place = self.place(at) + 8;
                at = self.after(at, false, slots).0;
                (place, 8)
            });
            return meter.report(places, sent);
        }
        let place = |n: u16| self.device + 4 + 8 * u64::from(self.next_used.wrapping_add(n) % self.size);
        let index = (self.device + 2, 2);
        meter.report((0..used.len() as u16).map(|n| (place(n), 8)).chain([index]), sent);
    }
}
