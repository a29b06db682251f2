//! What a receive queue does when the card is not where it should be: it sets its
//! rings up anew, or rings again where a doorbell was lost.

use super::{RxBells, RxQueue};
use crate::dma::Pool;
use crate::driver::slots::Slots;
use crate::driver::tally::Anomaly;

impl RxQueue {
    /// Sets the rings up anew: nothing is known of the buffers that the card has,
    /// but that they are ours again once it has given the rings up. This takes
    /// milliseconds, and does not happen with a card that works.
    #[cold]
    #[inline(never)]
    pub(super) fn reset(&mut self, pool: &Pool) {
        self.stock.count(Anomaly::QueueReset);
        match (self.restart)() {
            Ok(bells) => self.begin(bells, pool),
            // What starts them has told control, which says why at the next question.
            Err(_) => {
                (self.dead, self.ready) = (true, false);
                self.recall.close();
                self.feed.given = self.feed.next;
            }
        }
    }

    /// Begins anew on rings that the card has just been given.
    fn begin(&mut self, bells: RxBells, pool: &Pool) {
        let buffers: Vec<u32> = (0..self.armed()).map(|_| self.pass()).collect();
        self.feed.restart(bells.receive);
        if let Some((more, bell)) = self.more.as_mut().zip(bells.aggregation) {
            more.restart(bell);
        }
        self.completions.restart(bells.completions);
        if let Some((queue, bell)) = self.notifications.as_mut().zip(bells.notifications) {
            queue.restart(bell);
        }
        for buffer in buffers {
            self.arm(buffer, pool);
        }
        self.offer();
    }

    /// Looks at what control wants, and whether the queue can receive into `pool`: it
    /// is alive, and each slot holds a buffer. Apart from `recv`, whose frame it
    /// would widen.
    #[cold]
    #[inline(never)]
    pub(super) fn called(&mut self, pool: &Pool) -> bool {
        if self.recall.take() && !self.dead {
            self.ring_again();
        }
        let ready = self.ready && self.stock.is(pool);
        if ready {
            self.recall.open(pool);
        }
        ready
    }

    /// Tells the card all that it was told last, in the order of [`Slots::offer`].
    fn ring_again(&self) {
        self.completions.ring_again();
        for feed in self.more.iter().chain([&self.feed]) {
            feed.ring_again();
        }
        if let Some(queue) = &self.notifications {
            queue.ring_again();
        }
    }
}
