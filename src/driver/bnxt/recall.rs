//! Calling a queue: control asks for something that only the queue's own thread may
//! do, as it alone knows up to where its rings are told of.
//!
//! ```text
//!   control             queue
//!   call   -- closed -> not the pool that may pass: looks up, rings again, opens
//!                       the pool that may pass: goes on
//! ```
//!
//! A queue has to compare its pool with the one that its buffers are of anyhow, at
//! each call. Here that comparison is with a word that control can change: so being
//! callable costs a queue nothing.
//!
//! What control asks for is that doorbells are rung again: a BCM575xx can lose some,
//! and says so in an event.

use crate::dma::Pool;
use crate::sys::word::Word;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// No pool may pass.
const CLOSED: u64 = u64::MAX;

/// What control and one queue share.
///
/// Each changes `open` in one step with a look at what was there. So of a call and of a queue that
/// goes on at that moment one sees the other: the queue finds that it was called, or control closes
/// behind it (`tests/handover_model.rs`).
#[derive(Debug)]
pub struct Recall<W = AtomicU64, F = AtomicBool> {
    /// Number of the pool that may pass.
    open: W,
    called: F,
}

impl Default for Recall {
    fn default() -> Self {
        Recall::over(AtomicU64::default(), AtomicBool::default())
    }
}

impl<W: Word<u64>, F: Word<bool>> Recall<W, F> {
    /// One of these words, that is closed.
    pub fn over(open: W, called: F) -> Self {
        let this = Recall { open, called };
        this.close();
        this
    }

    /// Whether a queue may go on with `pool`, without a look at what it is called for.
    #[inline(always)]
    pub fn lets(&self, pool: &Pool) -> bool {
        self.open.load(Ordering::Relaxed) == u64::from(pool.id().number())
    }

    /// Lets the queue go on with `pool`, unless it was called meanwhile.
    pub fn open(&self, pool: &Pool) {
        // <-- acquire: a call that was made before it was closed
        self.open.swap(u64::from(pool.id().number()), Ordering::AcqRel);
        if self.waits() {
            self.close();
        }
    }

    /// Has the queue look up the next time.
    pub fn close(&self) {
        self.open.swap(CLOSED, Ordering::AcqRel);
    }

    /// Asks the queue to ring again, at its next call.
    pub fn call(&self) {
        self.called.swap(true, Ordering::AcqRel);
        // <-- release: the call
        self.close();
    }

    /// Whether the queue was called, once for each time.
    pub fn take(&self) -> bool {
        self.called.swap(false, Ordering::AcqRel)
    }

    /// Whether it has not come yet.
    pub fn waits(&self) -> bool {
        self.called.load(Ordering::Acquire)
    }
}
