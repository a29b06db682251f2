//! Statistics (82599 §7.11, §8.2.3.23): counted for a step, then added to the
//! registers, which clear when they are read and stay at their maximum until then.

use super::super::{FaultKind, RegisterFile, Row};
use super::Ixgbe;
use super::regs::{self, GPRC, GPTC, QBRC_H, QBRC_L, QPRC, QPRDC, RQSMR, TQSM};
use std::collections::BTreeSet;

/// Good frames of one direction in one step.
#[derive(Default)]
pub struct Good {
    frames: u32,
    bytes: u64,
    multicast: u32,
    broadcast: u32,
    sizes: [u32; 6],
}

impl Good {
    /// Counts a frame of `len` bytes without FCS.
    #[inline]
    pub fn count(&mut self, frame: &[u8], len: usize) {
        let len = len + 4;
        self.frames += 1;
        self.bytes += len as u64;
        if frame[0] & 1 == 1 {
            *if frame[..6] == [0xff; 6] { &mut self.broadcast } else { &mut self.multicast } += 1;
        }
        let class = match len {
            ..=64 => 0,
            65..=127 => 1,
            128..=255 => 2,
            256..=511 => 3,
            512..=1023 => 4,
            _ => 5,
        };
        self.sizes[class] += 1;
    }
}

/// Frames of one queue in one step.
#[derive(Clone, Copy, Default)]
pub struct QueueGood {
    /// Frames.
    pub frames: u32,
    /// Bytes without FCS.
    pub bytes: u64,
    /// Received frames that found no descriptor.
    pub lost: u32,
}

/// Since when queue counters in mapped pages stand as they do.
#[derive(Default)]
pub struct Shown {
    /// Counters elsewhere that were read since then, and the latest of them.
    by: BTreeSet<u32>,
    last: u32,
}

impl Ixgbe {
    /// Adds what a step counted to the registers.
    pub(super) fn flush_stats(&mut self) {
        let rx = std::mem::take(&mut self.rx.good);
        if rx.frames != 0 {
            // Received octets leave the FCS out when it is stripped.
            let octets = if self.rx.strip_crc { rx.bytes - 4 * u64::from(rx.frames) } else { rx.bytes };
            self.add(&rx, [&regs::GPRC, &regs::BPRC, &regs::MPRC, &regs::PRC64], &regs::GORCL, octets);
            self.regs.count_until_full(regs::TPR.at, rx.frames);
            self.regs.count36_until_full(regs::TORL.at, rx.bytes);
            self.regs.count_until_full(regs::RXDGPC.at, rx.frames);
            self.regs.count36_until_full(regs::RXDGBCL.at, octets);
        }
        let tx = std::mem::take(&mut self.tx.good);
        if tx.frames != 0 {
            self.add(&tx, [&regs::GPTC, &regs::BPTC, &regs::MPTC, &regs::PTC64], &regs::GOTCL, tx.bytes);
            self.regs.count_until_full(regs::TPT.at, tx.frames);
            self.regs.count_until_full(regs::TXDGPC.at, tx.frames);
            self.regs.count36_until_full(regs::TXDGBCL.at, tx.bytes);
        }
        let (matched, missed) = (std::mem::take(&mut self.fdir.matched), std::mem::take(&mut self.fdir.missed));
        if matched | missed != 0 {
            self.regs.count_until_full(regs::FDIRMATCH.at, matched);
            self.regs.count_until_full(regs::FDIRMISS.at, missed);
        }
    }

    /// A counter is read, and with that begins anew.
    pub(super) fn read_counter(&mut self, at: u32) -> u32 {
        if self.mapped {
            self.show_queue_counters(at);
        }
        let value = self.regs.take(at);
        if [GPTC.at, GPRC.at].contains(&at) && self.board.faulty(FaultKind::Miscount) {
            return value / 2;
        }
        let narrow = [GPTC.at, GPRC.at].contains(&at) && self.board.faulty(FaultKind::NarrowCounters);
        if narrow { value.min(0xffff) } else { value }
    }

    /// A driver that has the receive queues' pages mapped reads their counters
    /// without the card noticing, so reading cannot clear them. They show what came
    /// up to the moment when the driver began to read its counters: with the first
    /// other one that it reads, and anew with the first that it reads again. Twice in
    /// a row is once: DPDK takes the halves of FDIRUSTAT like that.
    fn show_queue_counters(&mut self, read: u32) {
        let shown = &mut self.rx.shown;
        let again = std::mem::replace(&mut shown.last, read) == read;
        if (shown.by.insert(read) || again) && shown.by.len() > 1 {
            return;
        }
        self.rx.shown.by = BTreeSet::from([read]);
        for register in (0..16).flat_map(|n| [QPRC, QBRC_L, QBRC_H, QPRDC].map(|row| row.nth(n))) {
            self.regs.poke(register, 0);
        }
        for (q, queue) in self.rx.queues.iter_mut().enumerate() {
            count_rx_queue(&self.regs, q as u16, queue.take_good());
        }
    }

    /// A frame found no descriptor in queue `q` and was dropped.
    pub(super) fn count_no_descriptor(&mut self, q: u16) {
        let queue = &mut self.rx.queues[usize::from(q)];
        queue.good.lost += 1;
        if !self.mapped {
            count_rx_queue(&self.regs, q, queue.take_good());
        }
    }

    /// Frames, broadcasts, multicasts and sizes to the registers `to`.
    fn add(&mut self, good: &Good, to: [&Row<Self>; 4], octets_to: &Row<Self>, octets: u64) {
        let [frames, broadcast, multicast, sizes] = to;
        self.regs.count_until_full(frames.at, good.frames);
        self.regs.count_until_full(broadcast.at, good.broadcast);
        self.regs.count_until_full(multicast.at, good.multicast);
        for (count, register) in good.sizes.iter().zip((sizes.at..).step_by(4)) {
            self.regs.count_until_full(register, *count);
        }
        self.regs.count36_until_full(octets_to.at, octets);
    }
}

/// The counter that queue `q` is mapped to: 4 queues in a register, 8 bits each.
fn counter(regs: &RegisterFile<Ixgbe>, map: &Row<Ixgbe>, q: u16) -> u32 {
    regs.peek(map.nth(u32::from(q / 4))) >> (8 * (q & 3)) & 0xf
}

/// Adds a receive queue's step to its counter.
pub fn count_rx_queue(regs: &RegisterFile<Ixgbe>, q: u16, good: QueueGood) {
    let n = counter(regs, &RQSMR, q);
    regs.count_until_full(QPRC.nth(n), good.frames);
    regs.count36_until_full(QBRC_L.nth(n), good.bytes);
    regs.count_until_full(QPRDC.nth(n), good.lost);
}

/// Adds a transmit queue's step to its counter.
pub fn count_tx_queue(regs: &RegisterFile<Ixgbe>, q: u16, good: QueueGood) {
    let n = counter(regs, &TQSM, q);
    regs.count_until_full(regs::QPTC.nth(n), good.frames);
    regs.count36_until_full(regs::QBTC_L.nth(n), good.bytes);
}

/// A frame found the packet buffer full.
pub fn count_missed(regs: &RegisterFile<Ixgbe>) {
    regs.count_until_full(regs::MPC.at, 1);
}
