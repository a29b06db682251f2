//! The transmit rate scheduler: a queue's packets no closer together than its rate allows
//! (82599 §7.7.2.2).
//!
//! ```text
//!   start of the next  >=  start of the last + its length with FCS * rate factor    byte times
//!
//!   RTTDQSEL   the queue that the next register is of
//!   RTTBCNRC   on 31 | reserved | rate factor: whole 23:14, parts of 2^14 13:0
//!   RTTBCNRM   KiB that a queue which was late may make up for
//! ```
//!
//! The rate factor is the link's rate divided by the queue's, the latter without preambles and
//! gaps. It counts in byte times: at another speed of the link the same factor is another rate,
//! and a driver has to write it anew.
//!
//! Packets wait in their ring. One that is segmented holds up the other queues until its
//! last segment has left.

use super::super::RegisterFile;
use super::super::wire::{MIN_FRAME, Speed};
use super::regs::{RTTBCNRM, RTTDQSEL};
use super::{Ixgbe, Picos, QUEUES};

/// RTTBCNRC: the rate factor counts; its bits.
const ON: u32 = 1 << 31;
const FACTOR: u32 = (1 << 24) - 1;
/// Bits of a factor below one.
const PARTS: u32 = 14;
/// What a frame takes besides itself: preamble, FCS, gap.
const OVERHEAD: usize = 24;

/// What one queue keeps to.
#[derive(Clone, Copy, Default)]
struct Limit {
    /// RTTBCNRC.
    register: u32,
    /// When its next packet may start, ...
    due: Picos,
    /// ... and what that is later by: parts of a picosecond, by [`unit`].
    rest: u128,
}

/// The limits of all queues.
pub struct Limits {
    queues: Vec<Limit>,
    /// Any of them is on.
    on: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { queues: vec![Limit::default(); QUEUES.into()], on: false }
    }
}

/// A picosecond at `bits` a second, in what a byte's time times a part of a factor is counted in.
fn unit(bits: u64) -> u128 {
    u128::from(bits) << PARTS
}

/// Eight bits in a byte, and picoseconds in a second.
const BYTE: u128 = 8_000_000_000_000;

impl Limits {
    /// When the next packet of queue `q` may start; 0 is at once.
    #[inline]
    pub fn due(&self, q: u16) -> Picos {
        if self.on { self.queues[usize::from(q)].due } else { 0 }
    }

    /// A frame of `len` bytes without FCS of queue `q` took the wire until `left`.
    #[inline]
    pub fn left(&mut self, q: u16, len: usize, left: Picos, wire: Speed, regs: &RegisterFile<Ixgbe>) {
        if self.on {
            // A wire without a rate takes the frames of the fastest link at once.
            let bits = if let Speed::Bits(bits) = wire { bits } else { 10_000_000_000 };
            let window = 1024 * (regs.peek(RTTBCNRM.at) & 0x7ff) as usize;
            self.sent(q, len, left, bits, window);
        }
    }

    /// The same on a wire of `bits` a second; a queue that is late may make up for `window`
    /// bytes.
    fn sent(&mut self, q: u16, len: usize, left: Picos, bits: u64, window: usize) {
        let limit = &mut self.queues[usize::from(q)];
        if limit.register & ON == 0 {
            limit.due = 0;
            return;
        }
        let time = |bytes: usize| (bytes as u128 * BYTE / u128::from(bits)) as Picos;
        let factor = u128::from(limit.register & FACTOR);
        let start = left.saturating_sub(time(len.max(MIN_FRAME) + OVERHEAD));
        let made_up = (window as u128 * factor * BYTE / unit(bits)) as Picos;
        // A picosecond of rounding is no delay.
        if start.saturating_sub(made_up) > limit.due + 1 {
            (limit.due, limit.rest) = (start - made_up, 0);
        }
        let gap = (len.max(MIN_FRAME) + 4) as u128 * factor * BYTE + limit.rest;
        limit.due += (gap / unit(bits)) as Picos;
        limit.rest = gap % unit(bits);
    }
}

impl Ixgbe {
    /// RTTBCNRC, of the queue that RTTDQSEL names.
    pub(super) fn read_rate(&self) -> u32 {
        self.tx.limits.queues[self.selected()].register
    }

    /// RTTBCNRC is written.
    pub(super) fn write_rate(&mut self, value: u32) {
        if value & ON != 0 && value & FACTOR < 1 << PARTS {
            self.board.violations.note("transmit rate above that of the link");
        }
        let selected = self.selected();
        let limits = &mut self.tx.limits;
        limits.queues[selected] = Limit { register: value, ..Limit::default() };
        limits.on = limits.queues.iter().any(|limit| limit.register & ON != 0);
    }

    fn selected(&self) -> usize {
        (self.regs.peek(RTTDQSEL.at) & 0x7f) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: u64 = 10_000_000_000;

    /// When each of so many packets may start that are there in time.
    fn starts(factor: f64, bits: u64, len: usize, window: usize, packets: usize) -> Vec<Picos> {
        let mut limits = Limits { on: true, ..Limits::default() };
        limits.queues[0].register = ON | (factor * f64::from(1 << PARTS)) as u32;
        let wire = (len + OVERHEAD) as u64 * 8_000_000_000_000 / bits;
        // The queue has had nothing to send for a millisecond.
        let mut free = 1_000_000_000;
        let start = |_| {
            let start = limits.due(0).max(free);
            free = start + wire;
            limits.sent(0, len, free, bits, window);
            start
        };
        (0..packets).map(start).collect()
    }

    #[test]
    fn packets_start_a_length_times_the_factor_apart_to_the_picosecond() {
        for (factor, bits, len, gap) in [
            (2.0, LINK, 60, 102_400.0),
            (19.53125, LINK, 60, 1_000_000.0),
            (19.53125, LINK / 10, 60, 10_000_000.0),
            (1_023.5, LINK, 1514, 1_242_938_400.0),
            (1.5, LINK, 1514, 1_821_600.0),
            // As much as the wire takes, or less: there is nothing to wait for.
            (1.0, LINK, 60, 67_200.0),
            (1.3125, LINK, 60, 67_200.0),
        ] {
            let starts = starts(factor, bits, len, 0, 1_000);
            for (n, start) in starts.iter().enumerate() {
                let right = starts[0] as f64 + n as f64 * gap;
                assert!(
                    (*start as f64 - right).abs() <= 1.0 + n as f64 * 1e-3,
                    "{factor} {len}: {n}, {start}, {right}"
                );
            }
        }
    }

    #[test]
    fn a_queue_that_was_late_makes_up_for_as_much_as_it_may() {
        for (window, burst) in [(0, 1), (1024, 17)] {
            let starts = starts(100.0, LINK, 60, window, 40);
            let close = starts.windows(2).take_while(|pair| pair[1] - pair[0] == 67_200).count();
            assert_eq!(close + 1, burst, "{window}: {starts:?}");
        }
    }
}
