//! What a card said of a received frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The card's time in nanoseconds, as control has last read it: from there on
/// the queues know what the upper bits of a stamp are.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Control has read `nanoseconds`. To be repeated now and then: at open, and
    /// whenever the time is read for another reason.
    pub fn told(&self, nanoseconds: u64) {
        self.0.store(nanoseconds, Ordering::Relaxed);
    }
}
