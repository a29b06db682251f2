//! What of a virtqueue crosses PCIe, as a device that reads no more than it must.
//!
//! ```text
//!   split    index (2), when all that it knew of was taken; then in one run each the new
//!            entries of the available ring (2) and the descriptors that they name (16)
//!   packed   descriptors (16), up to one that is not available
//! ```
//!
//! A run is counted as it is taken.

use super::super::super::Translation;
use super::super::super::pcie::{Meter, Stream};
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
    entries: Stream,
    descriptors: Stream,
}

impl Ring {
    /// The device looks for what is available, unless it knows of some.
    #[cold]
    pub(super) fn learn(&self, meter: &Meter, memory: &Translation) {
        let mut known = self.known.take();
        if known.ahead == 0 {
            let ahead =
                if self.agreed.packed { self.learn_packed(meter, memory) } else { self.learn_split(meter, memory) };
            known = Known { ahead, ..Known::default() };
        }
        self.known.set(known);
    }

    fn learn_split(&self, meter: &Meter, memory: &Translation) -> u16 {
        meter.fetch([(self.driver + 2, 2)]);
        let index = memory.word16(self.driver + 2).map_or(self.next_available, |index| index.load(Ordering::Acquire));
        index.wrapping_sub(self.next_available)
    }

    fn learn_packed(&self, meter: &Meter, memory: &Translation) -> u16 {
        let (mut at, mut wrap, mut new) = (self.next_available, self.available_wrap, 0);
        while new < self.size
            && let Ok(descriptor) = self.descriptor(memory, self.place(at))
            && self.is_available(descriptor.flags, wrap)
        {
            new += 1;
            (at, wrap) = self.after(at, wrap, 1);
        }
        if new == 0 {
            meter.fetch([(self.place(at), BYTES)]);
        }
        new
    }

    /// The device takes the chain at its position, of which it knows.
    #[cold]
    pub(super) fn count_taken(&self, meter: &Meter, memory: &Translation) {
        let mut known = self.known.take();
        let (mut at, mut slots) = (self.next_available, 0);
        if !self.agreed.packed {
            let entry = self.driver + 4 + 2 * u64::from(self.next_available % self.size);
            meter.fetch_on(&mut known.entries, (entry, 2));
            at = memory.word16(entry).map_or(0, |entry| entry.load(Ordering::Relaxed));
        }
        while slots < self.size
            && let Ok(descriptor) = self.descriptor(memory, self.place(at))
        {
            slots += 1;
            meter.fetch_on(&mut known.descriptors, (self.place(at), BYTES));
            if descriptor.flags & INDIRECT != 0 {
                meter.fetch([(descriptor.address, descriptor.len.into())]);
            }
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
    pub(super) fn count_used(&self, meter: &Meter, used: &[(u16, u16, u32)]) {
        if self.agreed.packed {
            let mut at = self.next_used;
            for &(_, slots, _) in used {
                // Length, id and flags.
                meter.report([(self.place(at) + 8, 8)]);
                at = self.after(at, false, slots).0;
            }
            return;
        }
        let place = |n: u16| self.device + 4 + 8 * u64::from(self.next_used.wrapping_add(n) % self.size);
        meter.report((0..used.len() as u16).map(|n| (place(n), 8)));
        meter.report([(self.device + 2, 2)]);
    }
}
