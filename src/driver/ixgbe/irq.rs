//! Receive interrupts: one MSI-X vector and one eventfd a queue (82599 §7.3.4).
//!
//! ```text
//!   packet -> cause bit q --(EIMS set?)--> MSI-X message q -> eventfd q -> poll(2)
//!                                |
//!                EIAC clears the cause, EIAM masks it: one message, then silence
//!                until the queue is polled empty and unmasks it again
//! ```

use super::hw::Hw;
use super::regs::{self, gpie, ivar};
use crate::error::{Error, Kind, Result};
use crate::pci::Function;
use crate::sys::EventFd;
use std::fmt;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// Queues that can have an interrupt: the cause bits of EICR for queues.
pub const MAX_VECTORS: u16 = 16;

/// A queue's interrupt.
pub struct Interrupt {
    hw: Arc<Hw>,
    event: Arc<EventFd>,
    bit: u32,
}

impl Interrupt {
    /// Lets the card interrupt once.
    pub fn unmask(&self) {
        self.hw.write(regs::EIMS, self.bit);
    }

    /// Sleeps until the card has interrupted since the last wait; true if it did.
    pub fn wait(&self, patience: Duration) -> Result<bool> {
        self.event.wait(patience).map_err(|e| Error::io(format!("{}: waiting for an interrupt", self.hw), e))
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interrupt({:#x})", self.bit)
    }
}

/// The card's interrupts, on while this lives.
pub struct Interrupts {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    events: Vec<Arc<EventFd>>,
}

impl Interrupts {
    /// Routes receive queue `q` to vector `q`, for `queues` of them, masked.
    pub fn new(function: &Arc<dyn Function>, hw: &Arc<Hw>, queues: u16) -> Result<Self> {
        let vectors = function.irq_vectors().min(MAX_VECTORS);
        if queues > vectors {
            return Err(hw.error(
                Kind::Unsupported,
                format!("{queues} receive interrupts wanted but {vectors} can be had here; bind it to vfio-pci, use fewer queues, or poll (`--wait poll`)"),
            ));
        }
        let events = (0..queues)
            .map(|_| EventFd::new().map(Arc::new))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| Error::io(format!("{hw}: making eventfds"), e))?;
        let fds: Vec<_> = events.iter().map(|event| event.as_raw_fd()).collect();
        function.set_irqs(&fds)?;

        let interrupts = Interrupts { function: Arc::clone(function), hw: Arc::clone(hw), events };
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
        Ok(interrupts)
    }

    /// The interrupt of a queue.
    pub fn of(&self, queue: u16) -> Interrupt {
        let event = Arc::clone(&self.events[usize::from(queue)]);
        Interrupt { hw: Arc::clone(&self.hw), event, bit: 1 << queue }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        mask(&self.hw);
        // Nothing better can be done with a failure: the eventfds stay open
        // until the kernel has let them go.
        let _ = self.function.set_irqs(&[]);
    }
}

/// Masks all causes and forgets those that are pending (82599 §4.6.3.1).
pub fn mask(hw: &Hw) {
    hw.write(regs::EIMC, 0x7fff_ffff);
    hw.read(regs::EICR);
}
