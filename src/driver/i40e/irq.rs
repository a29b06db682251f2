//! Which vector a receive queue interrupts (§7.5): queue `q` vector `q + 1`;
//! vector 0 is for everything else and stays silent.
//!
//! The card writes received descriptors back a cache line at a time, and what
//! is less than a line only when their queue's vector fires. So a queue that is
//! polled has a vector too, whose messages go nowhere.

use super::hw::Hw;
use super::regs::{self, dyn_ctl, glint, lnklst, qint};

/// Vectors before those of the queues.
pub const FIRST: u16 = 1;

/// Vectors of a function that have registers here.
pub const MOST: u16 = 512;

/// Throttling of a polled queue's vector, in 2 us: how long a received packet
/// may wait for its cache line to be full.
const POLLED_INTERVAL: u32 = 1;

/// All vectors silent and without queues (§7.5.3).
pub fn clear(hw: &Hw) {
    let vectors = (hw.read(regs::GLPCI_CNF2) >> 2 & 0x7ff).min(u32::from(MOST)) as u16;
    hw.write(regs::PFINT_ICR0_ENA, 0);
    hw.write(regs::PFINT_DYN_CTL0, dyn_ctl::ITR_NONE);
    hw.write(regs::PFINT_LNKLST0, lnklst::END);
    for n in 0..vectors.saturating_sub(2) {
        hw.write(regs::PFINT_DYN_CTLN.at(n), dyn_ctl::ITR_NONE);
        hw.write(regs::PFINT_LNKLSTN.at(n), lnklst::END);
    }
    // Reading forgets what is pending.
    hw.read(regs::PFINT_ICR0);
}

/// Routes receive queue `q` to its vector, masked.
fn route(hw: &Hw, queue: u16, interval: u32) {
    let vector = FIRST + queue;
    hw.write(regs::PFINT_ITRN0.at(queue), interval);
    hw.write(regs::PFINT_RATEN.at(queue), 0);
    hw.write(regs::QINT_RQCTL.at(queue), qint::CAUSE_ENA | lnklst::END << qint::NEXT_SHIFT | u32::from(vector));
    // The list's first type is receive: 0.
    hw.write(regs::PFINT_LNKLSTN.at(queue), u32::from(queue));
}

/// Routes a queue that will be waited for: a message as soon as it is unmasked.
pub fn route_waited(hw: &Hw, queue: u16) {
    route(hw, queue, 0);
}

/// Routes a queue that is polled: its vector fires over and over, unheard, where
/// [`stay_unmasked`] was called.
pub fn route_polled(hw: &Hw, queue: u16) {
    route(hw, queue, POLLED_INTERVAL);
    unmask(hw, queue);
}

/// Sees to it that a message does not mask its vector; true if that was not so.
/// It is one setting for all ports of the card, which no reset of a function
/// changes: a driver that changes it must call [`mask_again`] in the end. A port that
/// waits for interrupts gets more of them meanwhile than it asked for.
pub fn stay_unmasked(hw: &Hw) -> bool {
    let control = hw.read(regs::GLINT_CTL);
    let change = control & glint::DIS_AUTOMASK == 0;
    if change {
        hw.write(regs::GLINT_CTL, control | glint::DIS_AUTOMASK);
    }
    change
}

/// A message masks its vector again.
pub fn mask_again(hw: &Hw) {
    hw.clear(regs::GLINT_CTL, glint::DIS_AUTOMASK);
}

/// Lets receive queue `queue` interrupt once. What is pending stays so: it may be
/// of a packet that is not written back yet.
pub fn unmask(hw: &Hw, queue: u16) {
    hw.write(regs::PFINT_DYN_CTLN.at(queue), dyn_ctl::INTENA | dyn_ctl::ITR_NONE);
}
