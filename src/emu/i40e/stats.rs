//! Statistics (X710 §7.11, §10.2.2.19): counted for a step, then added to the
//! registers, which count up, wrap, and are never cleared.
//!
//! A port counts what its MAC saw, with FCS; a VSI what it got and gave.

use super::I40e;

const PORT_RX: [u32; 5] = [0x300000, 0x3005a0, 0x3005c0, 0x3005e0, 0x300480];
const PORT_TX: [u32; 5] = [0x300680, 0x3009c0, 0x3009e0, 0x300a00, 0x3006a0];
const VSI_RX: [u32; 4] = [0x358000, 0x36c000, 0x36cc00, 0x36d800];
const VSI_TX: [u32; 4] = [0x328000, 0x33c000, 0x33cc00, 0x33d800];
/// Frames that found no descriptor, and packets that could not be sent.
const GLV_RDPC: u32 = 0x310000;
const GLV_TEPC: u32 = 0x344000;
/// Frames that were too long: for the MAC, and for their queue. The latter is
/// counted by function: those of ports come behind 128 virtual ones.
const GLPRT_ROC: u32 = 0x300120;
const GL_RXERR1: u32 = 0x318000 + 8 * 128;
/// Frames that the packet buffer had no room for.
const GLPRT_RDPC: u32 = 0x300600;

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
            for (register, by) in at.into_iter().zip(good.all.parts()) {
                self.regs.count48(register, by);
            }
            for (register, by) in (at[4]..).step_by(0x20).zip(good.sizes) {
                self.regs.count48(register, by);
            }
        }
        for vsi in &mut self.switch.vsis {
            for (good, at) in [(&mut vsi.rx, VSI_RX), (&mut vsi.tx, VSI_TX)] {
                let good = std::mem::take(good);
                if good.is_empty() {
                    continue;
                }
                for (register, by) in at.into_iter().zip(good.parts()) {
                    self.regs.count48(register + 8 * u32::from(vsi.stat), by);
                }
            }
        }
    }

    /// A frame reached its VSI, which counts it, and found no descriptor.
    pub(super) fn count_no_descriptor(&mut self, vsi: usize, frame: &[u8]) {
        self.switch.vsis[vsi].rx.count(frame);
        self.regs.count(GLV_RDPC + 8 * u32::from(self.switch.vsis[vsi].stat), 1);
    }

    /// A frame was longer than its queue takes.
    pub(super) fn count_too_long(&self) {
        self.regs.count(GL_RXERR1, 1);
    }

    /// A packet could not be sent.
    pub(super) fn count_not_sent(&self, vsi: usize) {
        self.regs.count(GLV_TEPC + 8 * u32::from(self.switch.vsis[vsi].stat), 1);
    }

    /// A frame was longer than the MAC takes.
    pub(super) fn count_oversize(&self) {
        self.regs.count(GLPRT_ROC, 1);
    }

    /// A frame found the packet buffer full.
    pub(super) fn count_missed(&self) {
        self.regs.count(GLPRT_RDPC, 1);
    }
}
