//! What a transmit queue does when the card is not where it should be: it sets its
//! rings up anew, or rings again where a doorbell was lost.

use super::TxQueue;
use crate::dma::Pool;
use crate::driver::sends::Sends;
use crate::driver::tally::Anomaly;

impl TxQueue {
    /// Sets the rings up anew: the card has stopped at a frame. Those behind it are
    /// lost. The buffers are ours again once the card has given the rings up.
    #[cold]
    #[inline(never)]
    pub(super) fn reset(&mut self, pool: &Pool) {
        self.pending.count(Anomaly::QueueReset);
        let Ok(bells) = (self.restart)() else {
            // What starts them has told control, which says why at the next question.
            self.dead = true;
            self.recall.close();
            self.window = self.pending.used();
            return;
        };
        self.pending.give_back(pool, self.pending.next);
        self.pending.restart(0);
        self.behind = 0;
        self.completions.restart(bells.completions);
        self.bell = bells.transmit;
        self.stamping = self.stamps.is_some();
        if let Some(stamps) = &mut self.stamps {
            (stamps.wanted, stamps.last) = (None, None);
        }
    }

    /// Looks at what control wants, and whether packets of `pool` can be sent: none by a
    /// queue that is dead. Apart
    /// from `send`, whose frame it would widen.
    #[cold]
    #[inline(never)]
    pub(super) fn called(&mut self, pool: &Pool) -> bool {
        if !self.pending.is(pool) && !self.admits(pool) {
            return false;
        }
        self.reclaims(pool)
    }

    /// The same of what was sent, which goes back to `pool`: false for a queue that is
    /// dead.
    #[cold]
    #[inline(never)]
    pub(super) fn reclaims(&mut self, pool: &Pool) -> bool {
        self.pending.check(pool);
        if self.dead {
            return false;
        }
        if self.recall.take() {
            self.ring_again();
        }
        if self.pending.is(pool) {
            self.recall.open(pool);
        }
        true
    }

    /// Tells the card all that it was told last.
    fn ring_again(&self) {
        self.completions.ring_again();
        if self.pending.used() > 0 {
            self.bell.ring(self.pending.ring.index(self.pending.next));
        }
    }
}
