//! Statistics (X710 §7.11, §10.2.2.19): counted for a step, then added to the
//! registers, which count up, wrap, and are never cleared.
//!
//! A port counts what its MAC saw, with FCS; a VSI what it got and gave.

use super::{I40e, Row, regs};

/// Bytes, unicasts, multicasts, broadcasts, and of ports the first of the sizes.
type Counters<const N: usize> = [&'static Row<I40e>; N];
const PORT_RX: Counters<5> =
    [&regs::GLPRT_GORC, &regs::GLPRT_UPRC, &regs::GLPRT_MPRC, &regs::GLPRT_BPRC, &regs::GLPRT_PRC64];
const PORT_TX: Counters<5> =
    [&regs::GLPRT_GOTC, &regs::GLPRT_UPTC, &regs::GLPRT_MPTC, &regs::GLPRT_BPTC, &regs::GLPRT_PTC64];
const VSI_RX: Counters<4> = [&regs::GLV_GORC, &regs::GLV_UPRC, &regs::GLV_MPRC, &regs::GLV_BPRC];
const VSI_TX: Counters<4> = [&regs::GLV_GOTC, &regs::GLV_UPTC, &regs::GLV_MPTC, &regs::GLV_BPTC];

/// Largest frame with FCS of each class but the last.
const CLASSES: [usize; 6] = [64, 127, 255, 511, 1023, 1522];

/// Frames of one direction in one step, by kind of address: bytes with FCS.
#[derive(Default)]
pub struct VsiGood {
    bytes: u64,
    unicast: u64,
    multicast: u64,
    broadcast: u64,
}

impl VsiGood {
    /// Counts a frame.
    #[inline]
    pub fn count(&mut self, frame: &[u8]) {
        self.bytes += frame.len() as u64 + 4;
        *if frame[0] & 1 == 0 {
            &mut self.unicast
        } else if frame[..6] == [0xff; 6] {
            &mut self.broadcast
        } else {
            &mut self.multicast
        } += 1;
    }

    /// Bytes, unicasts, multicasts, broadcasts.
    fn parts(&self) -> [u64; 4] {
        [self.bytes, self.unicast, self.multicast, self.broadcast]
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// The same of a port, with sizes.
#[derive(Default)]
pub struct Good {
    all: VsiGood,
    sizes: [u64; 7],
}

impl Good {
    /// Counts a frame.
    #[inline]
    pub fn count(&mut self, frame: &[u8]) {
        self.all.count(frame);
        let class = CLASSES.iter().position(|most| frame.len() + 4 <= *most).unwrap_or(CLASSES.len());
        self.sizes[class] += 1;
    }
}

impl I40e {
    /// Adds what a step counted to the registers.
    pub(super) fn flush_stats(&mut self) {
        for (good, at) in [(&mut self.rx.good, PORT_RX), (&mut self.tx.good, PORT_TX)] {
            let good = std::mem::take(good);
            if good.all.is_empty() {
                continue;
            }
            for (register, by) in at.iter().zip(good.all.parts()) {
                self.regs.count48(register.at, by);
            }
            for (register, by) in (at[4].at..).step_by(0x20).zip(good.sizes) {
                self.regs.count48(register, by);
            }
        }
        for vsi in &mut self.switch.vsis {
            for (good, at) in [(&mut vsi.rx, VSI_RX), (&mut vsi.tx, VSI_TX)] {
                let good = std::mem::take(good);
                if good.is_empty() {
                    continue;
                }
                for (register, by) in at.iter().zip(good.parts()) {
                    self.regs.count48(register.nth(2 * u32::from(vsi.stat)), by);
                }
            }
        }
    }

    /// A frame reached its VSI, which counts it, and found no descriptor.
    pub(super) fn count_no_descriptor(&mut self, vsi: usize, frame: &[u8]) {
        self.switch.vsis[vsi].rx.count(frame);
        self.regs.count(regs::GLV_RDPC.nth(2 * u32::from(self.switch.vsis[vsi].stat)), 1);
    }

    /// A frame reached its VSI, which counts it, and was longer than its queue takes.
    /// That is counted by function: those of ports come behind 128 virtual ones.
    pub(super) fn count_too_long(&mut self, vsi: usize, frame: &[u8]) {
        self.switch.vsis[vsi].rx.count(frame);
        self.regs.count(regs::GL_RXERR1.nth(2 * 128), 1);
    }

    /// A packet could not be sent.
    pub(super) fn count_not_sent(&self, vsi: usize) {
        self.regs.count(regs::GLV_TEPC.nth(2 * u32::from(self.switch.vsis[vsi].stat)), 1);
    }

    /// A frame was longer than the MAC takes.
    pub(super) fn count_oversize(&self) {
        self.regs.count(regs::GLPRT_ROC.at, 1);
    }

    /// A frame found the packet buffer full.
    pub(super) fn count_missed(&self) {
        self.regs.count(regs::GLPRT_RDPC.at, 1);
    }
}
