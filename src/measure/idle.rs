//! What a poll loop does when there is nothing to do.
//!
//! A poller that has a core to itself should spin; several pollers on two cores
//! (a driver, an emulated card, a capture writer) must let each other run, or
//! each waits a scheduler tick for the other. So: spin for the length of a
//! normal gap between packets, then offer the core on every further empty poll.
//! While packets flow there is no system call.

use std::hint::spin_loop;
use std::thread::yield_now;

/// Counts empty polls in a row and gives way when there were many.
#[derive(Clone, Debug)]
pub struct Idle {
    empty: u32,
    spins: u32,
}

impl Idle {
    /// Empty polls before the core is first offered: some 10 us of polling an
    /// empty ring, longer than the gaps of any stream above 100 kpps.
    pub const SPINS: u32 = 512;

    /// A loop that has just done something.
    pub const fn new() -> Self {
        Self::with_spins(Self::SPINS)
    }

    /// The same, with another number of empty polls before the core is offered.
    pub const fn with_spins(spins: u32) -> Self {
        Idle { empty: 0, spins }
    }

    /// To be told after every poll how much it did; on nothing it pauses for a
    /// moment or gives way to another thread.
    #[inline]
    pub fn polled(&mut self, did: usize) {
        if did != 0 {
            self.empty = 0;
        } else {
            self.rest();
        }
    }

    /// Whether the last polls were so many and so empty that it gives way now.
    #[inline]
    pub fn is_yielding(&self) -> bool {
        self.empty >= self.spins
    }

    #[inline]
    fn rest(&mut self) {
        if self.is_yielding() {
            yield_now();
        } else {
            self.empty += 1;
            spin_loop();
        }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_way_only_after_many_empty_polls_and_never_while_packets_flow() {
        let mut idle = Idle::with_spins(3);
        for _ in 0..3 {
            assert!(!idle.is_yielding());
            idle.polled(0);
        }
        assert!(idle.is_yielding());
        idle.polled(0);
        idle.polled(1);
        assert!(!idle.is_yielding());
    }
}
