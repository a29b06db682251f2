//! Driver for Intel 82599, X540 and X550 (being built).

use super::{Anomalies, Config, Port};
use crate::dma::{Batch, Pool};
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Function};
use std::sync::Arc;
use std::time::Duration;

/// Whether `id` is one of this family.
pub fn supports(id: pci::Id) -> bool {
    id.vendor == 0x8086 && id.device == 0x10fb
}

/// Opens the card.
pub fn open(function: Arc<dyn Function>, _config: &Config) -> Result<Port> {
    Err(Error::new(Kind::Unsupported, format!("{}: driver not finished", function.name())))
}

/// A receive queue.
#[derive(Debug)]
pub struct RxQueue {}

impl RxQueue {
    pub(super) fn fill(&mut self, _pool: &Pool) {}
    pub(super) fn recv(&mut self, _batch: &mut Batch<'_>) -> usize {
        0
    }
    pub(super) fn wait(&mut self, _patience: Duration) -> Result<bool> {
        Ok(false)
    }
    pub(super) fn anomalies(&self) -> Anomalies {
        Anomalies::default()
    }
}

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue {}

impl TxQueue {
    pub(super) fn send(&mut self, _batch: &mut Batch<'_>) -> usize {
        0
    }
    pub(super) fn reclaim(&mut self, _pool: &Pool) -> usize {
        0
    }
    pub(super) fn anomalies(&self) -> Anomalies {
        Anomalies::default()
    }
}
