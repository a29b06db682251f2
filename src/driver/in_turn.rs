//! Several queues that one thread serves as if they were one.

use super::queue::{Receive, Transmit};
use crate::dma::{Batch, Pool};

/// Queues of one direction, each of which has its turn. A call is done by the first of them
/// that does anything, and the next call begins with the one behind it.
pub struct InTurn<'a, Q> {
    queues: &'a mut [Q],
    next: usize,
    /// Packets that went through each.
    counts: Vec<u64>,
}

impl<'a, Q> InTurn<'a, Q> {
    /// Of these queues.
    pub fn new(queues: &'a mut [Q]) -> Self {
        let counts = vec![0; queues.len()];
        InTurn { queues, next: 0, counts }
    }

    /// Packets that went through each queue.
    pub fn counts(self) -> Vec<u64> {
        self.counts
    }

    /// The packets of the first queue for which `call` has any.
    #[inline]
    fn first(&mut self, mut call: impl FnMut(&mut Q) -> usize) -> usize {
        for _ in 0..self.queues.len() {
            let at = self.next;
            self.next = if at + 1 == self.queues.len() { 0 } else { at + 1 };
            let packets = call(&mut self.queues[at]);
            if packets > 0 {
                self.counts[at] += packets as u64;
                return packets;
            }
        }
        0
    }
}

impl<Q: Receive> Receive for InTurn<'_, Q> {
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        self.first(|queue| queue.recv(batch))
    }
}

impl<Q: Transmit> Transmit for InTurn<'_, Q> {
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        self.first(|queue| queue.send(batch))
    }

    fn reclaim(&mut self, pool: &Pool) -> usize {
        self.queues.iter_mut().map(|queue| queue.reclaim(pool)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Addressing;

    /// Has packets to give, and room for as many.
    struct Few(usize);

    impl Receive for Few {
        fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
            let n = self.0.min(batch.room());
            self.0 -= n;
            (0..n).filter(|_| batch.push(60).is_some()).count()
        }
    }

    impl Transmit for Few {
        fn send(&mut self, batch: &mut Batch<'_>) -> usize {
            let n = self.0.min(batch.len());
            self.0 -= n;
            batch.clear();
            n
        }

        fn reclaim(&mut self, _: &Pool) -> usize {
            self.0
        }
    }

    #[test]
    fn each_queue_has_its_turn_and_one_without_packets_is_passed_over() {
        let pool = Pool::new(64, Addressing::Translated).unwrap();
        let mut batch = Batch::with_limit(&pool, 4);
        let mut queues = [Few(6), Few(0), Few(9)];
        let mut rx = InTurn::new(&mut queues);
        let calls: Vec<usize> = (0..7)
            .map(|_| {
                batch.clear();
                rx.recv(&mut batch)
            })
            .collect();
        assert_eq!(calls, [4, 4, 2, 4, 1, 0, 0]);
        assert_eq!(rx.counts(), [6, 0, 9]);
        let mut queues = [Few(2), Few(3)];
        let mut tx = InTurn::new(&mut queues);
        assert_eq!(tx.reclaim(&pool), 5);
        batch.clear();
        (0..2).for_each(|_| assert!(batch.push(60).is_some()));
        assert_eq!((tx.send(&mut batch), tx.reclaim(&pool)), (2, 3));
        (0..2).for_each(|_| assert!(batch.push(60).is_some()));
        assert_eq!((tx.send(&mut batch), tx.counts()), (2, vec![2, 2]));
    }
}
