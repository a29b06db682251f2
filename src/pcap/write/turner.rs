//! Another file on demand.

use super::writer::Progress;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The file that was begun, or why none was.
pub type Turned = Result<PathBuf, &'static str>;

/// Has a series go on in another file.
#[derive(Clone, Debug)]
pub struct Turner(pub(super) Arc<Progress>);

impl Turner {
    /// Asks for one; the number of the request. It is seen when a recorder is flushed next.
    pub fn ask(&self) -> u64 {
        self.0.turns.asked.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What came of request `number`, or of one behind it, as soon as that is known.
    pub fn answer(&self, number: u64) -> Option<Turned> {
        let turns = &self.0.turns;
        (turns.done.load(Ordering::Acquire) >= number)
            .then(|| turns.last.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Files that were asked for.
#[derive(Debug)]
pub(super) struct Turns {
    asked: AtomicU64,
    done: AtomicU64,
    /// What came of the last.
    last: Mutex<Turned>,
}

impl Default for Turns {
    fn default() -> Self {
        let last = Mutex::new(Err("no other file was asked for"));
        Turns { asked: AtomicU64::new(0), done: AtomicU64::new(0), last }
    }
}

impl Turns {
    /// The number of the last request, if it is still to be answered.
    pub(super) fn asked(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Relaxed);
        (asked != self.done.load(Ordering::Relaxed)).then_some(asked)
    }

    /// This came of request `number`.
    pub(super) fn answer(&self, number: u64, turned: Turned) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = turned;
        self.done.store(number, Ordering::Release);
    }
}
