//! Statistics: registers that reading clears, added up in 64 bits (82599 §8.2.3.23).
//!
//! A 32-bit packet counter of a full 10 Gbit/s link is full after 288 s, one of bytes with
//! 36 bits after 55 s, and then stays so until it is read: exact figures need to be asked
//! for more often than that.

use super::hw::Hw;
use super::regs::{self, Reg};
use crate::driver::stats::Stats;

/// What the registers have counted so far.
#[derive(Debug, Default)]
pub struct Counters {
    total: Stats,
    missed: u64,
    /// Bytes sent with FCS, which is not counted elsewhere.
    tx_bytes_fcs: u64,
}

impl Counters {
    /// Adds what has been counted since the last time.
    pub fn update(&mut self, hw: &Hw, queues: u16) -> Stats {
        let read = |reg: Reg| u64::from(hw.read(reg));
        // The low half first: reading it freezes the high one, which has 4 bits.
        let read36 = |low: Reg, high: Reg| read(low) | (read(high) & 0xf) << 32;
        let total = &mut self.total;

        total.rx_errors += [regs::CRCERRS, regs::RLEC, regs::RUC, regs::RFC, regs::RJC].map(read).iter().sum::<u64>();
        // GPRC also counts frames that were then lost, so the queues' own
        // counters are what was received (82599 erratum).
        for queue in 0..queues {
            total.rx_packets += read(regs::QPRC.at(queue));
            total.rx_bytes += read36(regs::QBRCL.at(queue), regs::QBRCH.at(queue));
            self.missed += read(regs::QPRDC.at(queue));
        }
        self.missed += regs::MPC.all().map(read).sum::<u64>();
        total.rx_missed = Some(self.missed);
        total.by_device = true;
        total.rx_oversize += read(regs::ROC);

        // Packets before bytes: a frame sent in between makes the bytes a few
        // too many for a moment, never negative.
        total.tx_packets += read(regs::GPTC);
        self.tx_bytes_fcs += read36(regs::GOTCL, regs::GOTCH);
        total.tx_bytes = self.tx_bytes_fcs.saturating_sub(4 * total.tx_packets);
        *total
    }
}
