//! Counting what a device did wrong, where control and data plane both see it.

use super::stats::Anomalies;
use std::sync::atomic::{AtomicU64, Ordering};

/// The [`Anomalies`] of one queue, counted by the queue and read by anyone.
#[derive(Debug, Default)]
pub struct Tally {
    bad_length: AtomicU64,
    bad_index: AtomicU64,
    bad_chain: AtomicU64,
    frame_error: AtomicU64,
    queue_reset: AtomicU64,
    unmapped: AtomicU64,
}

/// One kind of anomaly; see the fields of [`Anomalies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as the fields
pub enum Anomaly {
    BadLength,
    BadIndex,
    BadChain,
    FrameError,
    QueueReset,
    Unmapped,
}

impl Tally {
    /// Counts one more.
    #[cold]
    pub fn count(&self, what: Anomaly) {
        let counter = match what {
            Anomaly::BadLength => &self.bad_length,
            Anomaly::BadIndex => &self.bad_index,
            Anomaly::BadChain => &self.bad_chain,
            Anomaly::FrameError => &self.frame_error,
            Anomaly::QueueReset => &self.queue_reset,
            Anomaly::Unmapped => &self.unmapped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts at this moment.
    pub fn read(&self) -> Anomalies {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Anomalies {
            bad_length: read(&self.bad_length),
            bad_index: read(&self.bad_index),
            bad_chain: read(&self.bad_chain),
            frame_error: read(&self.frame_error),
            queue_reset: read(&self.queue_reset),
            unmapped: read(&self.unmapped),
        }
    }
}
