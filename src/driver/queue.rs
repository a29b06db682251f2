//! Queues as type parameters, for the one loop that is worth it.
//!
//! At a batch of 32 the `match` inside [`RxQueue`](super::RxQueue) and
//! [`TxQueue`](super::TxQueue) costs nothing that can be measured; with one
//! packet at a time it costs some 5 ns, which a latency measurement would charge
//! to the card. Such a loop is generic over [`Receive`] and [`Transmit`], and
//! [`with_pair`](super::with_pair) reaches it through one `match`, before the
//! first packet.

use crate::dma::{Batch, Pool};

/// What packets come out of.
pub trait Receive {
    /// As [`RxQueue::recv`](super::RxQueue::recv).
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize;
}

/// What packets go into.
pub trait Transmit {
    /// As [`TxQueue::send`](super::TxQueue::send).
    fn send(&mut self, batch: &mut Batch<'_>) -> usize;

    /// As [`TxQueue::reclaim`](super::TxQueue::reclaim).
    fn reclaim(&mut self, pool: &Pool) -> usize;
}

/// A loop over a receive and a transmit queue of whatever type.
pub trait Loop {
    /// What it returns.
    type Output;

    /// Runs it.
    fn run<R: Receive, T: Transmit>(self, rx: &mut R, tx: &mut T) -> Self::Output;
}
