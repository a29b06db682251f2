//! Which vector a receive queue interrupts (82599 §7.3.4): queue `q` vector `q`.

use super::hw::Hw;
use super::regs::{self, gpie, ivar};

/// Queues that can have an interrupt: the cause bits of EICR for queues.
pub const MAX_VECTORS: u16 = 16;

/// Routes receive queue `q` to vector `q`, for `queues` of them, masked. When a
/// message is sent, EIAC clears its cause and EIAM masks it.
pub fn route(hw: &Hw, queues: u16) {
    let bits = (1 << queues) - 1;
    hw.write(regs::GPIE, gpie::MSIX_MODE | gpie::PBA_SUPPORT | gpie::EIAME);
    hw.write(regs::EIAC, bits);
    hw.write(regs::EIAM, bits);
    for queue in 0..queues {
        // Two queues a register, receive in bytes 0 and 2 (82599 §8.2.3.5.13).
        let shift = 16 * u32::from(queue & 1);
        hw.change(regs::IVAR.at(queue / 2), 0xff << shift, (u32::from(queue) | ivar::VALID) << shift);
        // No throttling: a message unmasked by a wait is wanted now.
        hw.write(regs::EITR.at(queue), 0);
    }
}

/// Lets receive queue `queue` interrupt once.
pub fn unmask(hw: &Hw, queue: u16) {
    hw.write(regs::EIMS, 1 << queue);
}

/// Masks all causes and forgets those that are pending (82599 §4.6.3.1).
pub fn mask(hw: &Hw) {
    hw.write(regs::EIMC, 0x7fff_ffff);
    hw.read(regs::EICR);
}
