//! Statistics: registers of 32 and 48 bits that only count up and are shared by
//! all drivers since power-on; differences are added up in 64 bits (§10.2.2.25).
//!
//! A 32-bit counter of errors wraps after 2^32 of them; a 48-bit one of bytes
//! at 40 Gbit/s after 15 hours. Exact figures need to be asked for more often.

use super::hw::Hw;
use super::regs::{self, Reg};
use super::vsi::Vsi;
use crate::driver::regs::Regs;
use crate::driver::stats::Stats;
use crate::error::Result;

/// Registers of one sort whose sum is one figure.
struct Group {
    regs: &'static [Regs],
    bits: u32,
    whose: Whose,
}

/// Which entry of an array of registers is ours.
#[derive(Clone, Copy)]
enum Whose {
    /// That of our VSI's counter set.
    Vsi,
    /// That of our port.
    Port,
    /// That of our function, behind the entries of 128 virtual ones.
    FunctionAfterVirtual,
}

const fn vsi(regs: &'static [Regs]) -> Group {
    Group { regs, bits: 48, whose: Whose::Vsi }
}

const fn port(regs: &'static [Regs]) -> Group {
    Group { regs, bits: 32, whose: Whose::Port }
}

/// The figures, by [`Figure`].
static GROUPS: [Group; 9] = [
    vsi(&[regs::GLV_UPRC, regs::GLV_MPRC, regs::GLV_BPRC]),
    vsi(&[regs::GLV_GORC]),
    vsi(&[regs::GLV_UPTC, regs::GLV_MPTC, regs::GLV_BPTC]),
    vsi(&[regs::GLV_GOTC]),
    Group { regs: &[regs::GLV_RDPC], bits: 32, whose: Whose::Vsi },
    port(&[regs::GLPRT_RDPC]),
    port(&[
        regs::GLPRT_CRCERRS,
        regs::GLPRT_ILLERRC,
        regs::GLPRT_RLEC,
        regs::GLPRT_RUC,
        regs::GLPRT_RFC,
        regs::GLPRT_RJC,
    ]),
    port(&[regs::GLPRT_ROC]),
    Group { regs: &[regs::GL_RXERR1], bits: 48, whose: Whose::FunctionAfterVirtual },
];

#[derive(Clone, Copy)]
enum Figure {
    RxPackets,
    RxBytes,
    TxPackets,
    TxBytes,
    NoDescriptor,
    NoBuffer,
    RxErrors,
    RxOversize,
    RxTooLong,
}

/// What the registers have counted since the card was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Each register's value when it was last read.
    last: Vec<u64>,
    /// The same now, before it is known that the card was there meanwhile.
    now: Vec<u64>,
    /// Each group's sum.
    total: [u64; GROUPS.len()],
}

impl Counters {
    /// Starts at what the registers hold now.
    pub fn new(hw: &Hw, vsi: &Vsi) -> Self {
        let last: Vec<u64> = registers(hw, vsi).map(|(_, reg, bits)| read(hw, reg, bits)).collect();
        Counters { now: last.clone(), last, total: [0; GROUPS.len()] }
    }

    /// Adds what has been counted since the last time. Allocates nothing.
    ///
    /// # Errors
    /// If the card is gone: what it then reads as is no count.
    pub fn update(&mut self, hw: &Hw, vsi: &Vsi) -> Result<Stats> {
        for ((_, reg, bits), now) in registers(hw, vsi).zip(&mut self.now) {
            *now = read(hw, reg, bits);
        }
        hw.alive()?;
        for (((group, _, bits), now), last) in registers(hw, vsi).zip(&self.now).zip(&mut self.last) {
            self.total[group] += now.wrapping_sub(*last) & mask(bits);
            *last = *now;
        }
        let total = |figure: Figure| self.total[figure as usize];
        // A VSI counts what reached it, also when no descriptor was there for it or it was
        // longer than its queue takes; and of all that, the bytes.
        let (missed, too_long) = (total(Figure::NoDescriptor), total(Figure::RxTooLong));
        let packets = total(Figure::RxPackets);
        let (rx_packets, tx_packets) = (packets.saturating_sub(missed + too_long), total(Figure::TxPackets));
        Ok(Stats {
            rx_packets,
            rx_bytes: total(Figure::RxBytes).saturating_sub(4 * packets),
            tx_packets,
            tx_bytes: total(Figure::TxBytes).saturating_sub(4 * tx_packets),
            rx_missed: Some(missed + total(Figure::NoBuffer)),
            rx_overflow: 0,
            rx_errors: total(Figure::RxErrors),
            rx_oversize: total(Figure::RxOversize) + too_long,
            rx_unfinished: 0,
            by_device: true,
            anomalies: Default::default(),
        })
    }
}

/// Every register, with its group and width.
fn registers(hw: &Hw, vsi: &Vsi) -> impl Iterator<Item = (usize, Reg, u32)> {
    let (port, function, set) = (hw.port, hw.function, vsi.counters);
    GROUPS.iter().enumerate().flat_map(move |(n, group)| {
        let at = match group.whose {
            Whose::Vsi => set,
            Whose::Port => port,
            Whose::FunctionAfterVirtual => 128 + function,
        };
        group.regs.iter().map(move |regs| (n, regs.at(at), group.bits))
    })
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

fn read(hw: &Hw, reg: Reg, bits: u32) -> u64 {
    // 48 bits in one access: two would not be of one moment.
    if bits > 32 { hw.read64(reg) & mask(bits) } else { u64::from(hw.read(reg)) }
}
