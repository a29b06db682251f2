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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// No pool may pass.
const CLOSED: u64 = u64::MAX;

/// What control and one queue share.
#[derive(Debug)]
pub struct Recall {
    /// Number of the pool that may pass.
    open: AtomicU64,
    called: AtomicBool,
}

impl Default for Recall {
    fn default() -> Self {
        Recall { open: AtomicU64::new(CLOSED), called: AtomicBool::new(false) }
    }
}

impl Recall {
    /// Whether a queue may go on with `pool`, without a look at what it is called for.
    #[inline(always)]
    pub fn lets(&self, pool: &Pool) -> bool {
        self.open.load(Ordering::Relaxed) == u64::from(pool.id().number())
    }

    /// Lets the queue go on with `pool`, unless it was called meanwhile.
    pub fn open(&self, pool: &Pool) {
        self.open.store(u64::from(pool.id().number()), Ordering::SeqCst);
        if self.called.load(Ordering::SeqCst) {
            self.close();
        }
    }

    /// Has the queue look up the next time.
    pub fn close(&self) {
        self.open.store(CLOSED, Ordering::SeqCst);
    }

    /// Asks the queue to ring again, at its next call.
    pub fn call(&self) {
        self.called.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Whether the queue was called, once for each time.
    pub fn take(&self) -> bool {
        self.called.swap(false, Ordering::SeqCst)
    }

    /// Whether it has not come yet.
    pub fn waits(&self) -> bool {
        self.called.load(Ordering::SeqCst)
    }
}
