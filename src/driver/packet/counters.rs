//! What a queue has carried: written by the queue alone, read by the control plane.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of one queue.
#[derive(Debug, Default)]
pub struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    oversize: AtomicU64,
    unfinished: AtomicU64,
    refused: AtomicU64,
}

/// Their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were too long.
    pub oversize: u64,
    /// Frames that the kernel had not finished.
    pub unfinished: u64,
    /// Times that the interface dropped a frame and said so: it is sent again, and is not lost.
    pub refused: u64,
}

impl Counts {
    /// These and others.
    #[must_use]
    pub fn and(&self, other: &Counts) -> Counts {
        Counts {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            oversize: self.oversize + other.oversize,
            unfinished: self.unfinished + other.unfinished,
            refused: self.refused + other.refused,
        }
    }
}

impl Counters {
    /// Adds these.
    #[inline]
    pub fn add(&self, more: Counts) {
        // There is one writer, so nothing is lost between load and store.
        let add = |counter: &AtomicU64, more| counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        add(&self.packets, more.packets);
        add(&self.bytes, more.bytes);
        add(&self.oversize, more.oversize);
        add(&self.unfinished, more.unfinished);
        add(&self.refused, more.refused);
    }

    /// The counts at this moment.
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            packets: read(&self.packets),
            bytes: read(&self.bytes),
            oversize: read(&self.oversize),
            unfinished: read(&self.unfinished),
            refused: read(&self.refused),
        }
    }
}
