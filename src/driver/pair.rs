//! Queues as type parameters, for the one loop that is worth it.
//!
//! At a batch of 32 the `match` inside [`RxQueue`] and [`TxQueue`] costs nothing
//! that can be measured; with one packet at a time it costs some 5 ns, which a
//! latency measurement would charge to the card. Such a loop is generic over
//! [`Receive`] and [`Transmit`], and [`with_pair`] reaches it through one
//! `match`, before the first packet.

use super::{RxQueue, TxQueue, rx, tx, virtio};
use crate::dma::{Batch, Pool};

/// What packets come out of.
pub trait Receive {
    /// As [`RxQueue::recv`].
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize;
}

/// What packets go into.
pub trait Transmit {
    /// As [`TxQueue::send`].
    fn send(&mut self, batch: &mut Batch<'_>) -> usize;

    /// As [`TxQueue::reclaim`].
    fn reclaim(&mut self, pool: &Pool) -> usize;
}

/// A loop over a receive and a transmit queue of whatever type.
pub trait Loop {
    /// What it returns.
    type Output;

    /// Runs it.
    fn run<R: Receive, T: Transmit>(self, rx: &mut R, tx: &mut T) -> Self::Output;
}

/// Runs `body` on the queues themselves, compiled for their family; for queues
/// of two families on the enums.
pub fn with_pair<L: Loop>(rx: &mut RxQueue, tx: &mut TxQueue, body: L) -> L::Output {
    match (rx, tx) {
        (RxQueue::Ixgbe(rx), TxQueue::Ixgbe(tx)) => body.run(rx, tx),
        (RxQueue::I40e(rx), TxQueue::I40e(tx)) => body.run(rx, tx),
        (RxQueue::I40eLong(rx), TxQueue::I40e(tx)) => body.run(rx, tx),
        (RxQueue::Virtio(rx), TxQueue::Virtio(tx)) => body.run(rx, tx),
        (RxQueue::Efvi(rx), TxQueue::Efvi(tx)) => body.run(rx, tx),
        (rx, tx) => body.run(rx, tx),
    }
}

/// Implements the traits by the methods of the same name.
macro_rules! by_its_methods {
    ($([$($rx:tt)*] $rx_type:ty, [$($tx:tt)*] $tx_type:ty;)*) => {$(
        impl $($rx)* Receive for $rx_type {
            #[inline]
            fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
                <$rx_type>::recv(self, batch)
            }
        }

        impl $($tx)* Transmit for $tx_type {
            #[inline]
            fn send(&mut self, batch: &mut Batch<'_>) -> usize {
                <$tx_type>::send(self, batch)
            }

            fn reclaim(&mut self, pool: &Pool) -> usize {
                <$tx_type>::reclaim(self, pool)
            }
        }
    )*};
}

by_its_methods! {
    [] RxQueue, [] TxQueue;
    [<F: rx::Format>] rx::Queue<F>, [<F: tx::Format>] tx::Queue<F>;
    [] virtio::RxQueue, [] virtio::TxQueue;
    [] super::efvi::RxQueue, [] super::efvi::TxQueue;
}
