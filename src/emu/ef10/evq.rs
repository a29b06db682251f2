//! Event queues: all that the card tells a driver.
//!
//! ```text
//!   ring in 4 KiB pages, an event 8 bytes:
//!     | ones | ones | event | event | ones |       empty slots hold ones, and the
//!              ^ RPTR, if     ^ write              driver makes them so again
//!                interrupts are wanted
//! ```
//!
//! There is no back-pressure: a card that comes round to a slot that the driver
//! has not cleared writes over it. That is the driver's fault, and counted.
//!
//! An interrupt is sent once for each time the driver writes the read pointer:
//! at once if there are events behind it, else with the next one.

use super::super::{Picos, Translation, Violations};
use super::Ef10;
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Smallest and largest ring.
pub const SIZES: std::ops::RangeInclusive<u32> = 512..=32768;

/// Events in a page.
const PER_PAGE: u32 = 512;

/// Codes of events, bits 60 to 63.
const TX: u64 = 2 << 60;
const DRIVER: u64 = 5 << 60;
const MCDI: u64 = 12 << 60;

/// Codes of the management controller's events, bits 44 to 51.
const CMDDONE: u64 = 0x03;
const LINKCHANGE: u64 = 0x04;
const MAC_STATS_DMA: u64 = 0x08;
const TX_ERR: u64 = 0x0b;
const TX_FLUSH: u64 = 0x0c;
const RX_FLUSH: u64 = 0x10;
const MC_REBOOT: u64 = 0x15;
const PTP_TIME: u64 = 0x1a;

/// Types of transmit events, bits 24 to 31.
pub const CTPIO_DONE: u64 = 0x11;
pub const CTPIO_STAMP_LOW: u64 = 0x12;
pub const STAMP_LOW: u64 = 0x51;

/// An event queue that a driver has initialised.
pub struct EventQueue {
    pages: Vec<Iova>,
    mask: u32,
    /// Where the next event goes, never wrapped but by the mask.
    write: u32,
    /// The next event is to be announced.
    armed: bool,
    /// MSI-X vector.
    irq: Option<u16>,
    /// Queues that report here.
    pub users: u32,
    /// Several packets may share an event.
    pub rx_merge: bool,
    pub tx_merge: bool,
    /// Receive events come before the prefix is complete.
    pub cut_through: bool,
    /// Half an event that was written (nasty).
    torn: Option<(Iova, u64)>,
}

impl EventQueue {
    /// A queue in `pages`, all empty.
    pub fn new(size: u32, pages: Vec<Iova>, irq: Option<u16>) -> Self {
        EventQueue {
            pages,
            mask: size - 1,
            write: 0,
            armed: false,
            irq,
            users: 0,
            rx_merge: false,
            tx_merge: false,
            cut_through: false,
            torn: None,
        }
    }

    /// Whether it has a vector of its own.
    pub fn interrupts(&self) -> bool {
        self.irq.is_some()
    }

    fn slot(&self, at: u32) -> Iova {
        let at = at & self.mask;
        self.pages[(at / PER_PAGE) as usize] + 8 * u64::from(at % PER_PAGE)
    }

    /// Whether all slots are empty, as they must be at first.
    pub fn clean(&self, memory: &Translation) -> bool {
        let empty = |at| memory.word64(self.slot(at)).is_some_and(|slot| slot.load(Ordering::Relaxed) == u64::MAX);
        (0..=self.mask).all(empty)
    }

    /// Writes an event; true if it is to be announced.
    #[inline]
    fn write(&mut self, memory: &Translation, event: u64, tear: bool, violations: &mut Violations) -> bool {
        self.mend(memory);
        let iova = self.slot(self.write);
        self.write = self.write.wrapping_add(1);
        if let Some(meter) = memory.meter() {
            meter.report([(iova, 8)], is_transmit(event));
        }
        if let Some(slot) = memory.word64(iova) {
            if slot.load(Ordering::Relaxed) != u64::MAX {
                violations.note("event queue overflow: an event over one that was not cleared");
            }
            if tear {
                // The lower half first: a driver must look at both.
                memory.store64(iova, event | 0xffff_ffff << 32);
                self.torn = Some((iova, event));
            } else {
                memory.store64(iova, event);
            }
        }
        std::mem::take(&mut self.armed)
    }

    /// Writes the second half of an event.
    #[inline]
    pub fn mend(&mut self, memory: &Translation) {
        if let Some((iova, event)) = self.torn.take() {
            memory.fall_behind();
            memory.store64(iova, event);
        }
    }
}

/// Start-up: an event queue works.
pub fn start_up(evq: u16) -> u64 {
    DRIVER | 2 << 56 | u64::from(evq)
}

/// A transmit queue's event of this type, about descriptor `index`.
pub fn transmit(kind: u64, label: u8, index: u16) -> u64 {
    TX | kind << 24 | u64::from(label) << 16 | u64::from(index)
}

/// Whether an event is of a transmit queue.
pub fn is_transmit(event: u64) -> bool {
    event >> 60 == TX >> 60
}

/// A transmit queue's event of this type with 32 bits in two halves.
pub fn transmit_stamp(kind: u64, label: u8, value: u32) -> u64 {
    transmit(kind, label, value as u16) | u64::from(value >> 16) << 32
}

/// Several packets were sent up to descriptor `index`.
pub const CAN_MERGE: u64 = 1 << 31;

fn mcdi(code: u64, data: u32) -> u64 {
    MCDI | code << 44 | u64::from(data)
}

/// A command was done: sequence number, length of the reply, error.
pub fn command_done(seq: u8, len: usize, error: u32) -> u64 {
    mcdi(CMDDONE, u32::from(seq) | (len as u32).min(0xff) << 8 | error.min(0xff) << 16)
}

/// The link changed.
pub fn link_change(partner: u32, speed: u32, flow: u32, flags: u32) -> u64 {
    mcdi(LINKCHANGE, partner & 0xffff | speed << 16 | flow << 20 | flags << 24)
}

/// Statistics were written to memory.
pub fn statistics(generation: u32) -> u64 {
    mcdi(MAC_STATS_DMA, generation)
}

/// A transmit queue met a descriptor that makes no sense.
pub fn transmit_error(queue: u16) -> u64 {
    mcdi(TX_ERR, u32::from(queue))
}

/// The management controller has started anew.
pub fn rebooted() -> u64 {
    mcdi(MC_REBOOT, 0)
}

/// A queue is empty and gone: for its own event queue, or for the driver's first.
pub fn flushed(receive: bool, queue: u16, to_driver: bool) -> u64 {
    mcdi(if receive { RX_FLUSH } else { TX_FLUSH }, u32::from(queue) | u32::from(to_driver) << 12)
}

/// What the time is: seconds, and the upper eight bits of the minor part. For who
/// asked for it the lower two of them are whether the clock was set and is in step.
pub fn time_sync(seconds: u32, minor: u32) -> u64 {
    mcdi(PTP_TIME, seconds) | u64::from(minor & 0xff) << 36
}

impl Ef10 {
    /// The event queue of this number.
    #[inline]
    pub(super) fn evq(&mut self, evq: u16) -> Option<&mut EventQueue> {
        self.evqs.get_mut(usize::from(evq))?.as_mut()
    }

    /// Writes an event to a queue; lost if there is none.
    #[inline]
    pub(super) fn post(&mut self, evq: u16, event: u64) {
        if self.board.bus.memory.late_behind(None) > 0 {
            return self.post_late(evq, event, None);
        }
        let tear = self.board.nasty && self.board.random.number().is_multiple_of(4);
        let Some(Some(queue)) = self.evqs.get_mut(usize::from(evq)) else { return };
        let announce = queue.write(&self.board.bus.memory, event, tear, &mut self.board.violations);
        if tear {
            self.torn.push(evq);
        }
        if announce && let Some(vector) = queue.irq {
            self.board.bus.interrupts.signal(vector);
        }
    }

    /// The same, so much later (fault), or when one that is late has come: events keep their
    /// order, as writes on PCIe do.
    #[cold]
    pub(super) fn post_late(&mut self, evq: u16, event: u64, by: Option<Picos>) {
        let Some(Some(queue)) = self.evqs.get_mut(usize::from(evq)) else { return };
        queue.mend(&self.board.bus.memory);
        let (memory, violations) = (&self.board.bus.memory, &mut self.board.violations);
        memory.later(memory.late_behind(by), || _ = queue.write(memory, event, false, violations));
    }

    /// Completes the events that were torn in the last step.
    pub(super) fn mend_events(&mut self) {
        for evq in std::mem::take(&mut self.torn) {
            if let Some(Some(queue)) = self.evqs.get_mut(usize::from(evq)) {
                queue.mend(&self.board.bus.memory);
            }
        }
    }

    /// EVQ_RPTR: the driver has read so far, and wants to know of more.
    pub(super) fn read_pointer(&mut self, evq: u16, value: u32) {
        let Some(Some(queue)) = self.evqs.get_mut(usize::from(evq)) else {
            if !self.mc.unnoticed() {
                self.board.violations.note("EVQ_RPTR of an event queue that was not initialised");
            }
            return;
        };
        let read = value & 0x7fff;
        if read > queue.mask {
            self.board.violations.note("EVQ_RPTR is outside the ring");
        }
        queue.mend(&self.board.bus.memory);
        queue.armed = read & queue.mask == queue.write & queue.mask;
        if !queue.armed
            && let Some(vector) = queue.irq
        {
            self.board.bus.interrupts.signal(vector);
        }
    }
}
