//! Transmit queue.

use super::bell::{AckBell, Bell};
use super::cq;
use super::meta::Clock;
use super::rx::Restart;
use crate::dma::{Batch, Iova, Pool, Region};
use crate::driver::queue::Transmit;
use crate::driver::ring::BufferRing;
use crate::driver::slots::{Pending, Sends, Sent};
use crate::pci::Function;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Most descriptors of a transmit ring.
pub const MAX_RING: u16 = 2048;

/// Entries of the rings of a queue; [`cq::ENTRY`] bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Transmit descriptors.
    pub transmit: u32,
    /// Completions.
    pub completions: u32,
}

impl Lengths {
    /// For a ring of `descriptors` (`Config::tx_ring`).
    pub fn of(descriptors: u16) -> Self {
        let transmit = u32::from(descriptors);
        Lengths { transmit, completions: cq::ring_len(transmit) }
    }
}

/// Doorbells of a transmit queue.
#[derive(Clone, Debug)]
pub struct TxBells {
    /// Of the transmit ring.
    pub transmit: Bell,
    /// Of the completion ring.
    pub completions: AckBell,
}

/// What control makes a transmit queue of: rings that the card knows already,
/// zeroed.
pub struct TxParts {
    /// Transmit ring, all of it.
    pub descriptors: Region,
    /// Completion ring.
    pub completions: Region,
    /// Doorbells of both.
    pub bells: TxBells,
    /// The card puts VLAN tags in (QCAPS without VLAN_ACCEL_TX_DISABLED).
    pub tags: bool,
    /// Set if the card reports when a frame left (TX_PKT_TS_CMPL) and is to.
    pub clock: Option<Clock>,
    /// Sets the rings up anew.
    pub restart: Restart<TxBells>,
}

/// A transmit queue.
pub struct TxQueue {
    pending: Pending<BufferRing<[AtomicU64; 2]>>,
    parts: TxParts,
}

impl TxQueue {
    /// A queue on rings that `card` has, empty.
    pub fn new(card: &Arc<dyn Function>, parts: TxParts) -> Self {
        let len = (parts.descriptors.len() / cq::ENTRY) as u32;
        TxQueue { pending: Pending::new(BufferRing::new(parts.descriptors.clone(), len), card), parts }
    }
}

impl Transmit for TxQueue {
    fn send(&mut self, _batch: &mut Batch<'_>) -> usize {
        0
    }

    fn reclaim(&mut self, _pool: &Pool) -> usize {
        0
    }
}

impl Sends for TxQueue {
    type Ring = BufferRing<[AtomicU64; 2]>;

    fn pending(&self) -> &Pending<Self::Ring> {
        &self.pending
    }

    fn pending_mut(&mut self) -> &mut Pending<Self::Ring> {
        &mut self.pending
    }

    fn free(&self) -> u32 {
        0
    }

    fn send_plain(&mut self, _batch: &mut Batch<'_>, _from: usize, _iova: impl Fn(u32) -> Iova) -> usize {
        0
    }

    fn send_odd(&mut self, _batch: &mut Batch<'_>, _from: usize) -> Sent {
        Sent::Waits
    }

    fn announce(&mut self, _first: u32) {}
}

impl std::fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TxQueue({:?})", self.parts.bells.transmit)
    }
}
