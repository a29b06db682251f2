//! What of a virtqueue crosses PCIe, as a device that reads no more than it must.
//!
//! ```text
//!   split    index (2), when all that it knew was taken; then in one run each the new
//!            entries of the available ring (2) and the descriptors that they name (16)
//!   packed   descriptors (16) up to the first that is not available, with that one
//! ```

use super::super::super::Translation;
use super::super::super::pcie::{Meter, Piece};
use super::{INDIRECT, NEXT, Ring};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Bytes of a descriptor.
const BYTES: u64 = 16;

impl Ring {
    /// The device looks for what is available, unless it knows of some.
    #[cold]
    pub(super) fn learn(&self, meter: &Meter, memory: &Translation) {
        if self.ahead.get() != 0 {
            return;
        }
        let ahead = if self.agreed.packed { self.learn_packed(meter, memory) } else { self.learn_split(meter, memory) };
        self.ahead.set(ahead);
    }

    fn learn_split(&self, meter: &Meter, memory: &Translation) -> u16 {
        meter.fetch([(self.driver + 2, 2)]);
        let Some(index) = memory.word16(self.driver + 2).map(|index| index.load(Ordering::Acquire)) else { return 0 };
        let new = index.wrapping_sub(self.next_available).min(self.size);
        let entries =
            (0..new).map(|n| self.driver + 4 + 2 * u64::from(self.next_available.wrapping_add(n) % self.size));
        meter.fetch(entries.clone().map(|entry| (entry, 2)));
        let heads = entries.filter_map(|entry| Some(memory.word16(entry)?.load(Ordering::Relaxed)));
        let mut descriptors = Vec::new();
        for head in heads {
            self.follow(memory, head, &mut descriptors);
        }
        meter.fetch(descriptors);
        new
    }

    /// Where the descriptors of a chain are, and the tables that they name.
    fn follow(&self, memory: &Translation, head: u16, to: &mut Vec<Piece>) {
        let mut at = head;
        for _ in 0..self.size {
            let iova = self.place(at);
            let Ok(descriptor) = self.descriptor(memory, iova) else { return };
            to.push((iova, BYTES));
            if descriptor.flags & INDIRECT != 0 {
                to.push((descriptor.address, descriptor.len.into()));
            }
            if descriptor.flags & NEXT == 0 {
                return;
            }
            at = descriptor.next_or_id;
        }
    }

    fn learn_packed(&self, meter: &Meter, memory: &Translation) -> u16 {
        let (mut at, mut wrap) = (self.next_available, self.available_wrap);
        let (mut new, mut pieces) = (0, Vec::new());
        while new < self.size {
            let Ok(descriptor) = self.descriptor(memory, self.place(at)) else { break };
            pieces.push((self.place(at), BYTES));
            if !self.is_available(descriptor.flags, wrap) {
                break;
            }
            if descriptor.flags & INDIRECT != 0 {
                meter.fetch([(descriptor.address, descriptor.len.into())]);
            }
            new += 1;
            (at, wrap) = self.after(at, wrap, 1);
        }
        meter.fetch(pieces);
        new
    }

    fn place(&self, at: u16) -> Iova {
        self.descriptors + BYTES * u64::from(at)
    }

    /// So many of what the device knew are taken.
    pub(super) fn taken(&self, count: u16) {
        self.ahead.set(self.ahead.get().saturating_sub(count));
    }

    /// The device puts back entries of these lengths in descriptors, from `next_used` on.
    #[cold]
    pub(super) fn count_used(&self, meter: &Meter, used: &[(u16, u16, u32)]) {
        if self.agreed.packed {
            let (mut at, mut wrap) = (self.next_used, self.used_wrap);
            for &(_, slots, _) in used {
                // Length, id and flags.
                meter.report([(self.place(at) + 8, 8)]);
                (at, wrap) = self.after(at, wrap, slots);
            }
            return;
        }
        let place = |n: u16| self.device + 4 + 8 * u64::from(self.next_used.wrapping_add(n) % self.size);
        meter.report((0..used.len() as u16).map(|n| (place(n), 8)));
        meter.report([(self.device + 2, 2)]);
    }
}
