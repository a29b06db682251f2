//! Statistics: of contexts, which count frames of rings, and of the port.
//!
//! ```text
//!   contexts   unicast, multicast, broadcast; found no descriptor    asked one by one
//!   port       bad, short, too long; no room in the chip             written to memory
//! ```
//!
//! Counters have some 40 or 48 bits, run on while nobody has the card open, and now
//! and then read as zero: so differences are added up, under a mask, and one
//! that reads as zero is passed over.

use super::Generation;
use super::cmd::{port_qstats, stat_ctx_query};
use super::hw::Hw;
use crate::dma::Region;
use crate::driver::mailbox::{Field, Request};
use crate::driver::stats::Stats;
use crate::error::Result;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes for the port's counters: sent ones, and received ones from the middle on.
pub const PORT_BYTES: usize = 2048;

/// Counters of a context that are read.
const CONTEXT: usize = 13;

/// Of the port.
const PORT: usize = 6;

/// After this counters are written, which is once a second.
const WRITTEN: Duration = Duration::from_millis(1100);

/// The port's counters, bytes into the received ones.
mod port {
    pub const FCS_ERR: usize = 0x78;
    pub const OVERSIZE: usize = 0xd0;
    pub const JABBER: usize = 0xd8;
    pub const MTU_ERR: usize = 0xe0;
    pub const RUNT: usize = 0x1f8;
    pub const DISCARD: usize = 0x200;
    /// Bytes of all of them.
    pub const RECEIVED: usize = 0x210;
    /// Bytes of those sent.
    pub const SENT: usize = 0x198;
    /// Those that are read, in order.
    pub const ALL: [usize; super::PORT] = [FCS_ERR, OVERSIZE, JABBER, MTU_ERR, RUNT, DISCARD];
}

/// Counters that are read together.
#[derive(Clone, Copy, Debug)]
struct Block<const N: usize> {
    masks: [u64; N],
    last: [u64; N],
    sums: [u64; N],
}

impl<const N: usize> Block<N> {
    /// Counts from `now` on.
    fn new(masks: [u64; N], now: [u64; N]) -> Self {
        Block { masks, last: now, sums: [0; N] }
    }

    /// The `n`th counter, which reads as `value`: not older than what it was last.
    fn later(&self, n: usize, value: u64) -> u64 {
        let behind = self.last[n].wrapping_sub(value) & self.masks[n];
        if behind <= self.masks[n] / 2 { self.last[n] } else { value }
    }

    /// Adds what was counted since.
    fn update(&mut self, now: [u64; N]) {
        for (n, value) in now.into_iter().enumerate() {
            // That it came round to just zero is less likely, and then made good the next time.
            if value != 0 {
                self.sums[n] = self.sums[n].wrapping_add(value.wrapping_sub(self.last[n]) & self.masks[n]);
                self.last[n] = value;
            }
        }
    }
}

/// What a port has counted since it was opened.
pub struct Counters {
    contexts: Vec<(Source, Block<CONTEXT>)>,
    /// Of a port that is nobody else's.
    port: Option<Block<PORT>>,
    region: Region,
    /// Frames that the chip had no room for, as they were last told.
    overflow: u64,
}

/// Where the counts of a context are to be had.
struct Source {
    id: u32,
    /// Where the card writes them by the clock.
    memory: Region,
}

impl Source {
    /// The counters; where the firmware does not answer with any, as they were last
    /// written, but those that were read `since`.
    fn read(&self, hw: &Hw, since: Option<&Block<CONTEXT>>) -> Result<[u64; CONTEXT]> {
        /// Those that are read, in the order of a context in memory.
        const PLACES: [usize; CONTEXT] = [0, 1, 2, 5, 6, 7, 8, 9, 10, 13, 14, 15, 3];
        let answered = context(hw, self.id, false)?.filter(says);
        let words = self.memory.words64();
        let written = |n: usize| {
            let value = words[PLACES[n]].load(Ordering::Acquire);
            since.map_or(value, |block| block.later(n, value))
        };
        Ok(answered.unwrap_or_else(|| std::array::from_fn(written)))
    }
}

/// Whether an answer says anything: one that was not written is all zeros.
fn says(counts: &[u64; CONTEXT]) -> bool {
    counts.iter().any(|&count| count != 0)
}

impl Counters {
    /// Counts from now on, in `contexts`, each with where the card writes it; `shared`: the
    /// port also counts others' frames, and says nothing of this function's.
    pub fn start(hw: &Hw, contexts: &[(u32, Region)], region: Region, shared: bool) -> Result<Counters> {
        const PORT_BITS: u64 = (1 << 40) - 1;
        let mut masks = Vec::new();
        let mut answers = true;
        for (id, _) in contexts {
            let told = context(hw, *id, true)?;
            answers &= told.as_ref().is_some_and(says) || context(hw, *id, false)?.as_ref().is_some_and(says);
            masks.push(told.unwrap_or_default());
        }
        if !answers {
            // Until they are written once, nobody knows where they begin.
            hw.pause(WRITTEN);
        }
        let contexts = contexts.iter().zip(masks).map(|((id, memory), masks)| {
            let source = Source { id: *id, memory: memory.clone() };
            let whole = if hw.generation == Generation::P5 { (1 << 48) - 1 } else { u64::MAX };
            // Firmware that does not know the question answers with counts.
            let masks =
                masks.map(|mask| if mask & mask.wrapping_add(1) == 0 && mask >> 32 != 0 { mask } else { whole });
            let now = source.read(hw, None)?;
            Ok((source, Block::new(masks, now)))
        });
        let contexts = contexts.collect::<Result<Vec<_>>>()?;
        let port = if shared { None } else { read_port(hw, &region)? };
        let port = port.map(|now| Block::new([PORT_BITS; PORT], now));
        Ok(Counters { contexts, port, region, overflow: 0 })
    }

    /// Whether the port's counters are among them.
    pub fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// What was counted since the start.
    pub fn update(&mut self, hw: &Hw) -> Result<Stats> {
        // The port first: what it has counted by then, contexts have too.
        if let Some(block) = &mut self.port
            && let Some(now) = read_port(hw, &self.region)?
        {
            block.update(now);
        }
        for (source, block) in &mut self.contexts {
            block.update(source.read(hw, Some(block))?);
        }
        let sum = |counters: &[usize]| {
            self.contexts.iter().map(|(_, block)| counters.iter().map(|&n| block.sums[n]).sum::<u64>()).sum::<u64>()
        };
        let [fcs, oversize, jabber, mtu, runt, discard] = self.port.map_or([0; PORT], |block| block.sums);
        let missed = sum(&[12]);
        // The port's count has those that found no descriptor, too. Contexts are read
        // later, and may be ahead of it: what was told once stays told.
        self.overflow = self.overflow.max(discard.saturating_sub(missed));
        Ok(Stats {
            rx_packets: sum(&[0, 1, 2]),
            rx_bytes: sum(&[3, 4, 5]),
            tx_packets: sum(&[6, 7, 8]),
            tx_bytes: sum(&[9, 10, 11]),
            rx_missed: Some(missed),
            rx_overflow: self.overflow,
            rx_errors: fcs + runt,
            rx_oversize: oversize + jabber + mtu,
            by_device: true,
            ..Stats::default()
        })
    }
}

/// The counters of context `id`, or which bits of each count.
fn context(hw: &Hw, id: u32, masks: bool) -> Result<Option<[u64; CONTEXT]>> {
    use stat_ctx_query::{input, output};
    const MASKS: u64 = 1;
    const FIELDS: [Field; CONTEXT] = [
        output::RX_UCAST_PKTS,
        output::RX_MCAST_PKTS,
        output::RX_BCAST_PKTS,
        output::RX_UCAST_BYTES,
        output::RX_MCAST_BYTES,
        output::RX_BCAST_BYTES,
        output::TX_UCAST_PKTS,
        output::TX_MCAST_PKTS,
        output::TX_BCAST_PKTS,
        output::TX_UCAST_BYTES,
        output::TX_MCAST_BYTES,
        output::TX_BCAST_BYTES,
        output::RX_DISCARD_PKTS,
    ];
    let request = Request::new(stat_ctx_query::COMMAND)
        .with(input::STAT_CTX_ID, u64::from(id))
        .with(input::FLAGS, if masks { MASKS } else { 0 });
    Ok(hw.ask_optional(request)?.map(|reply| FIELDS.map(|field| reply.get(field))))
}

/// The port's counters, if this function may read them. Those that the firmware
/// does not have stay zero.
fn read_port(hw: &Hw, region: &Region) -> Result<Option<[u64; PORT]>> {
    use port_qstats::{input, output};
    let (sent, received) = (region.part(0, port::SENT), region.part(PORT_BYTES / 2, port::RECEIVED));
    for word in received.words64() {
        word.store(0, Ordering::Relaxed);
    }
    let request = Request::new(port_qstats::COMMAND)
        .with(input::PORT_ID, u64::from(hw.caps.port))
        .with(input::TX_STAT_HOST_ADDR, sent.iova())
        .with(input::RX_STAT_HOST_ADDR, received.iova());
    let Some(reply) = hw.ask_optional(request)? else { return Ok(None) };
    let size = (reply.get(output::RX_STAT_SIZE) as usize).min(port::RECEIVED);
    let mut counters = [0; PORT];
    for (counter, offset) in counters.iter_mut().zip(port::ALL) {
        if offset + 8 <= size {
            *counter = received.words64()[offset / 8].load(Ordering::Acquire);
        }
    }
    Ok(Some(counters))
}

#[cfg(test)]
mod tests {
    use super::super::codes::refusal::CMD_NOT_SUPPORTED;
    use super::super::scripted::{Scripted, answer};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A card that does not answer with counters, and what of them it writes to memory.
    fn written(
        contexts: u32,
        question: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> (Arc<Scripted>, Hw, Vec<(u32, Region)>) {
        let (card, hw) = Scripted::held(Generation::P5, Box::new(move |request| vec![question(request)]));
        let contexts = (0..contexts).map(|id| (id, card.region(4096))).collect();
        (card, hw, contexts)
    }

    #[test]
    fn counters_in_memory_come_round_and_are_never_older_than_what_was_read() {
        const LAST: u64 = (1 << 48) - 1;
        let (card, hw, contexts) = written(1, |request| answer(request, CMD_NOT_SUPPORTED as u16, 16, &[]));
        let packets = &contexts[0].1.words64()[0];
        packets.store(LAST - 9, Ordering::Release);
        let mut counters = Counters::start(&hw, &contexts, card.region(PORT_BYTES), true).unwrap();
        for (now, sum) in [(LAST - 4, 5), (20, 30), (15, 30), (LAST, 30), (50, 60)] {
            packets.store(now, Ordering::Release);
            assert_eq!(counters.update(&hw).unwrap().rx_packets, sum, "{now:#x}");
        }
    }

    #[test]
    fn it_is_waited_once_for_counters_to_be_written_and_only_where_they_are_needed() {
        // Refused; answered with nothing, to either question; answered.
        let refused = |request: &[u8]| answer(request, CMD_NOT_SUPPORTED as u16, 16, &[]);
        let hollow = |request: &[u8]| answer(request, 0, 0xa8, &[]);
        let counts = |request: &[u8]| answer(request, 0, 0xa8, &[[0, 7][usize::from(request[0x14] == 0)]; 8]);
        let masks = |request: &[u8]| answer(request, 0, 0xa8, &[[0, 0xff][usize::from(request[0x14] == 1)]; 8]);
        type Way = fn(&[u8]) -> Vec<u8>;
        let ways: [(Way, u32); 4] = [(refused, 1), (hollow, 1), (counts, 0), (masks, 0)];
        for (n, (way, pauses)) in ways.into_iter().enumerate() {
            let (card, hw, contexts) = written(3, way);
            Counters::start(&hw, &contexts, card.region(PORT_BYTES), true).unwrap();
            assert_eq!(card.waited(), WRITTEN * pauses, "{n}");
        }
    }

    #[test]
    fn counters_wrap_and_zeros_that_are_none_are_passed_over() {
        let mask = (1 << 40) - 1;
        let mut block = Block::new([mask; 2], [mask - 1, 5]);
        block.update([3, 9]);
        assert_eq!(block.sums, [5, 4]);
        block.update([0, 0]);
        assert_eq!(block.sums, [5, 4], "no such time ever was");
        block.update([10, 9]);
        assert_eq!(block.sums, [12, 4]);
        let mut one = Block::new([(1 << 48) - 1; 2], [100, 5]);
        one.update([0, 9]);
        one.update([110, 9]);
        assert_eq!(one.sums, [10, 4], "a zero of one counter alone");
        let mut whole = Block::new([u64::MAX; 1], [5]);
        whole.update([4]);
        whole.update([6]);
        assert_eq!(whole.sums, [1], "a count that goes back is no panic");
        let mut fresh = Block::new([u64::MAX; 1], [0]);
        fresh.update([0]);
        fresh.update([2]);
        assert_eq!(fresh.sums, [2]);
    }

    proptest! {
        #[test]
        fn what_was_counted_is_the_sum_of_all_that_came_however_often_counters_wrap(
            bits in 32u32..=48,
            below in 0u64..5000,
            steps in prop::collection::vec(prop_oneof![0u64..3000, any::<u32>().prop_map(u64::from)], 1..100),
        ) {
            let mask = (1_u64 << bits) - 1;
            let start = mask - below;
            let mut block = Block::new([mask], [start]);
            let mut now = start;
            for step in steps {
                // Less than a round at a time, or nobody can tell.
                now += step.min(mask - 1);
                // One that reads as zero is made good the next time.
                now += u64::from(now & mask == 0);
                block.update([now & mask]);
                prop_assert_eq!(block.sums, [now - start]);
            }
        }
    }
}
