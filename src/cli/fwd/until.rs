//! When lanes end: on a signal, when time is up, after so many frames.

use crate::cli::share::{Left, Share};
use crate::cli::signal::Stop;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// When lanes end.
#[derive(Clone, Debug)]
pub struct Until {
    /// On a signal, or when time is up.
    pub stop: Stop,
    /// After so many frames over all lanes.
    pub left: Option<Arc<Left>>,
    /// The cards' counters have been read for the last time.
    pub counted: Arc<AtomicBool>,
}

impl Until {
    /// What one thread may forward without asking the others.
    pub fn share(&self) -> Share {
        Share::new(self.left.as_ref())
    }
}
