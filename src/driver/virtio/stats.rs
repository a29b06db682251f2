//! Counting in software: a virtio device keeps no statistics of its own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What one queue has carried: written by the queue alone, once a burst, and
/// read by the control plane.
#[derive(Debug, Default)]
pub struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    oversize: AtomicU64,
    /// [`ASTRAY`] now, and when it was last asked.
    astray: AtomicU8,
}

/// The device's place in the ring made no sense.
const ASTRAY: u8 = 1;

impl Counters {
    /// Adds what a burst carried.
    #[inline]
    pub fn add(&self, packets: usize, bytes: u64) {
        // There is one writer, so nothing is lost between load and store.
        let add = |counter: &AtomicU64, more| counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        add(&self.packets, packets as u64);
        add(&self.bytes, bytes);
    }

    /// Counts a frame that was longer than is to be received.
    #[cold]
    pub fn oversize(&self) {
        self.oversize.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the device's place in the ring makes no sense.
    #[cold]
    pub fn astray(&self) {
        self.astray.fetch_or(ASTRAY, Ordering::Relaxed);
    }

    /// Whether that was so when this was last asked, and was again since.
    pub fn stays_astray(&self) -> bool {
        let now = self.astray.load(Ordering::Relaxed);
        self.astray.store((now & ASTRAY) << 1, Ordering::Relaxed);
        now == ASTRAY | ASTRAY << 1
    }

    /// Packets, bytes, frames too long.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.packets), read(&self.bytes), read(&self.oversize))
    }
}
