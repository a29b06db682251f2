//! Statistics: of the function's place at the switch, of its receive queues, and of the
//! port.
//!
//! ```text
//!   port       bad, too long; no room in the chip     may be refused: somebody else's
//!              frames and bytes, each way             where the vport's are refused
//!   vport      frames and bytes, each way             those that are lost behind it, too
//!   counter    found no buffer                        not on all cards
//!   queues     longer than their buffers              counted by the driver
//! ```
//!
//! Counters run on while nobody has the card open, so differences are added up.

use super::cmd::{query_q_counter, query_vport_counter};
use super::hw::Hw;
use super::ports::{self, ieee_802_3, rfc_2863};
use crate::driver::mailbox::{Bits, Request};
use crate::driver::stats::Stats;
use crate::error::Result;

/// Counters that are read together.
#[derive(Clone, Copy, Debug)]
struct Block<const N: usize> {
    mask: u64,
    last: [u64; N],
    sums: [u64; N],
}

impl<const N: usize> Block<N> {
    /// Counts from `now` on, in counters of the bits of `mask`.
    fn new(mask: u64, now: [u64; N]) -> Self {
        Block { mask, last: now, sums: [0; N] }
    }

    /// Adds what was counted since.
    fn update(&mut self, now: [u64; N]) {
        for (n, value) in now.into_iter().enumerate() {
            // One of 64 bits that is less than before begins anew: it was cleared, by another
            // function of the port maybe.
            let new = if self.mask == u64::MAX && value < self.last[n] { 0 } else { value.wrapping_sub(self.last[n]) };
            self.sums[n] = self.sums[n].saturating_add(new & self.mask);
        }
        self.last = now;
    }
}

/// What of the port is read: discarded, wrong, and too long; frames and bytes, received
/// and sent.
const PORT: usize = 8;

/// What a port has counted since it was opened.
pub struct Counters {
    vport: Option<Block<12>>,
    /// The number of the counters of receive queues, and what they say.
    queues: Option<(u32, Block<1>)>,
    port: Option<Block<PORT>>,
}

impl Counters {
    /// Counts from now on; `counter`: of receive queues, if there is one.
    pub fn start(hw: &Hw, counter: Option<u32>) -> Result<Counters> {
        let port = port(hw)?.map(|now| Block::new(u64::MAX, now));
        let queues = match counter {
            Some(number) => no_buffer(hw, number)?.map(|now| (number, Block::new(u64::from(u32::MAX), [now]))),
            None => None,
        };
        let vport = vport(hw)?.map(|now| Block::new(u64::MAX, now));
        Ok(Counters { vport, queues, port })
    }

    /// What is counted instead of the function's frames.
    pub fn lacks(&self) -> Option<&'static str> {
        match (&self.vport, &self.port) {
            (Some(_), _) => None,
            (None, Some(_)) => Some("its firmware does not count its frames: those of the whole port are counted"),
            (None, None) => Some(
                "its firmware counts neither its frames nor those of the port: its counters of frames and bytes stay 0",
            ),
        }
    }

    /// What was counted since the start; `too_long`: of that, what was longer than its
    /// buffers.
    pub fn update(&mut self, hw: &Hw, too_long: u64) -> Result<Stats> {
        if let Some(block) = &mut self.port
            && let Some(now) = port(hw)?
        {
            block.update(now);
        }
        let number = self.queues.map(|(number, _)| number);
        let (came, lost) = together(|| vport(hw), || number.map_or(Ok(None), |number| no_buffer(hw, number)))?;
        if let (Some((_, block)), Some(lost)) = (&mut self.queues, lost) {
            block.update([lost]);
        }
        if let (Some(block), Some(came)) = (&mut self.vport, came) {
            block.update(came);
        }
        let missed = self.queues.map(|(_, block)| block.sums[0]);
        let [discards, fcs, alignment, long, whole @ ..] = self.port.map_or([0; PORT], |block| block.sums);
        let [came, came_bytes, sent, sent_bytes] = self.vport.map_or(whole, |Block { sums, .. }| {
            std::array::from_fn(|n| sums[n].saturating_add(sums[n + 4]).saturating_add(sums[n + 8]))
        });
        Ok(Stats {
            rx_packets: came.saturating_sub(missed.unwrap_or(0) + too_long),
            rx_bytes: came_bytes,
            tx_packets: sent,
            tx_bytes: sent_bytes,
            rx_missed: missed,
            rx_overflow: discards,
            rx_errors: fcs.saturating_add(alignment),
            rx_oversize: long.saturating_add(too_long),
            by_device: true,
            ..Stats::default()
        })
    }
}

/// How often counters are read again that would not stand still.
const TRIES: usize = 4;

/// What came, and what of that was lost, which are two commands: frames that are lost in
/// between are in one count only, thousands of them if this thread has to wait for a
/// processor. So what was lost is asked for before and after, and the answers are taken
/// between which the fewest were lost. Those few count as lost before they count as come:
/// a frame that nobody has is never called received.
fn together<T>(
    came: impl Fn() -> Result<Option<T>>,
    lost: impl Fn() -> Result<Option<u64>>,
) -> Result<(Option<T>, Option<u64>)> {
    let (mut before, mut fewest, mut best) = (lost()?, u64::MAX, (None, None));
    for _ in 0..TRIES {
        let (came, after) = (came()?, lost()?);
        let meanwhile = after.zip(before).map_or(0, |(after, before)| after.wrapping_sub(before));
        if meanwhile < fewest {
            (fewest, best) = (meanwhile, (came, after));
        }
        if meanwhile == 0 {
            break;
        }
        before = after;
    }
    Ok(best)
}

/// Frames and bytes: received, sent; of each sort of address.
fn vport(hw: &Hw) -> Result<Option<[u64; 12]>> {
    use query_vport_counter::output;
    const FIELDS: [Bits; 12] = [
        output::RECEIVED_UNICAST_PACKETS,
        output::RECEIVED_UNICAST_OCTETS,
        output::TRANSMITTED_UNICAST_PACKETS,
        output::TRANSMITTED_UNICAST_OCTETS,
        output::RECEIVED_MULTICAST_PACKETS,
        output::RECEIVED_MULTICAST_OCTETS,
        output::TRANSMITTED_MULTICAST_PACKETS,
        output::TRANSMITTED_MULTICAST_OCTETS,
        output::RECEIVED_BROADCAST_PACKETS,
        output::RECEIVED_BROADCAST_OCTETS,
        output::TRANSMITTED_BROADCAST_PACKETS,
        output::TRANSMITTED_BROADCAST_OCTETS,
    ];
    let reply = hw.ask_optional(Request::new(query_vport_counter::COMMAND))?;
    Ok(reply.map(|reply| FIELDS.map(|field| reply.bits(field))))
}

/// Frames that found no buffer.
fn no_buffer(hw: &Hw, number: u32) -> Result<Option<u64>> {
    let request =
        Request::new(query_q_counter::COMMAND).with_bits(query_q_counter::input::COUNTER_SET_ID, u64::from(number));
    Ok(hw.ask_optional(request)?.map(|reply| reply.bits(query_q_counter::output::OUT_OF_BUFFER)))
}

/// The port's, if this function may read them. Counters begin behind the register's head.
fn port(hw: &Hw) -> Result<Option<[u64; PORT]>> {
    const IEEE_802_3: u64 = 0;
    const RFC_2863: u64 = 1;
    const FCS: u64 = 4;
    let Some(mac) = ports::counters(hw, IEEE_802_3)? else { return Ok(None) };
    let Some(rfc) = ports::counters(hw, RFC_2863)? else { return Ok(None) };
    let (came, sent) = (mac.get(ieee_802_3::FRAMES_RECEIVED_OK), mac.get(ieee_802_3::FRAMES_TRANSMITTED_OK));
    let without_fcs = |octets, frames: u64| mac.get(octets).saturating_sub(frames.saturating_mul(FCS));
    Ok(Some([
        rfc.get(rfc_2863::IN_DISCARDS),
        mac.get(ieee_802_3::FRAME_CHECK_SEQUENCE_ERRORS),
        mac.get(ieee_802_3::ALIGNMENT_ERRORS),
        mac.get(ieee_802_3::FRAME_TOO_LONG_ERRORS),
        came,
        without_fcs(ieee_802_3::OCTETS_RECEIVED_OK, came),
        sent,
        without_fcs(ieee_802_3::OCTETS_TRANSMITTED_OK, sent),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_lost_while_counters_are_read_is_not_called_received() {
        // A port whose ring is full: each reading takes as long as so many frames.
        let read = |pauses: &[u64]| {
            let (pauses, lost) = (pauses.to_vec(), std::cell::Cell::new((0, 100)));
            let tick = || {
                let (n, total) = lost.get();
                lost.set((n + 1, total + pauses.get(n).copied().unwrap_or(5)));
                Ok(Some(lost.get().1))
            };
            let (came, lost) = together(|| Ok(tick()?.map(|lost: u64| 1000 + lost)), tick).unwrap();
            1000 - (came.unwrap() - lost.unwrap())
        };
        assert_eq!(read(&[0; 9]), 0);
        assert_eq!(read(&[3, 700, 400, 0, 0]), 0, "read again");
        assert_eq!(read(&[3, 700, 400, 20, 20, 700, 9, 700, 700]), 20, "the nearest");
        assert_eq!(read(&[]), 5, "it never stands still");
        let (came, lost) = together(|| Ok(Some(7)), || Ok(None)).unwrap();
        assert_eq!((came, lost), (Some(7), None), "a card without a counter of them");
    }

    #[test]
    fn counters_of_32_bits_wrap_and_all_begin_where_they_were_found() {
        let mut block = Block::new(u64::from(u32::MAX), [u64::from(u32::MAX) - 1]);
        block.update([3]);
        block.update([3]);
        assert_eq!(block.sums, [5]);
        let mut whole = Block::new(u64::MAX, [7, 9]);
        whole.update([8, 19]);
        assert_eq!(whole.sums, [1, 10]);
        whole.update([3, 20]);
        whole.update([5, u64::MAX]);
        whole.update([6, 0]);
        assert_eq!(whole.sums[0], 1 + 2 + 1, "one that was cleared");
    }

    proptest! {
        #[test]
        fn what_was_counted_is_the_sum_of_all_that_came_however_often_counters_wrap(
            bits in Just(32u32),
            below in 0u64..5000,
            steps in prop::collection::vec(prop_oneof![0u64..3000, any::<u32>().prop_map(u64::from)], 1..100),
        ) {
            let mask = (1_u64 << bits) - 1;
            let start = mask - below;
            let mut block = Block::new(mask, [start]);
            let mut now = start;
            for step in steps {
                // Less than a round at a time, or nobody can tell.
                now += step.min(mask - 1);
                block.update([now & mask]);
                prop_assert_eq!(block.sums, [now - start]);
            }
        }
    }
}
