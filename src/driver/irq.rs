//! Receive interrupts: one MSI-X vector and one eventfd a queue.
//!
//! ```text
//!   packet -> cause of queue q --(unmasked?)--> MSI-X message -> eventfd q -> poll(2)
//!                                    |
//!                 the message masks the cause: one message, then silence
//!                 until the queue is polled empty and unmasks it again
//! ```
//!
//! How a cause is routed and unmasked is the family's; the rest is here.

use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::Function;
use crate::sys::EventFd;
use std::fmt;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// A queue's interrupt.
pub struct Interrupt {
    device: Arc<str>,
    event: Arc<EventFd>,
    unmask: Box<dyn Fn() + Send>,
}

impl Interrupt {
    /// Lets the card interrupt once.
    pub fn unmask(&self) {
        (self.unmask)();
    }

    /// Sleeps until the card has interrupted since the last wait; true if it did.
    pub fn wait(&self, patience: Duration) -> Result<bool> {
        self.event.wait(patience).map_err(|e| Error::io(format!("{}: waiting for an interrupt", self.device), e))
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interrupt({}, {})", self.device, self.event.as_raw_fd())
    }
}

/// The eventfds behind a card's vectors, connected while this lives. The family
/// masks its causes before it drops them.
pub struct Interrupts {
    function: Arc<dyn Function>,
    device: Arc<str>,
    events: Vec<Arc<EventFd>>,
    first: u16,
}

impl Interrupts {
    /// Connects vectors up to that of the last of `queues` receive queues; the
    /// vector of queue `q` is `first + q`. `most`: vectors that the driver
    /// could use.
    pub fn new(function: &Arc<dyn Function>, queues: u16, first: u16, most: u16) -> Result<Self> {
        let name = function.name();
        let vectors = function.irq_vectors().min(most).saturating_sub(first);
        if queues > vectors {
            let text = format!("{name}: {queues} receive interrupts wanted but there are {vectors} here");
            return Err(Error::new(Kind::Unsupported, text).with_remedy(Remedy::Interrupts));
        }
        let events = (0..first + queues)
            .map(|_| EventFd::new().map(Arc::new))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| Error::io(format!("{name}: making eventfds"), e))?;
        let fds: Vec<_> = events.iter().map(|event| event.as_raw_fd()).collect();
        function.set_irqs(&fds)?;
        Ok(Interrupts { function: Arc::clone(function), device: name.into(), events, first })
    }

    /// The interrupt of a queue, which `unmask` lets through once.
    pub fn of(&self, queue: u16, unmask: impl Fn() + Send + 'static) -> Interrupt {
        let event = Arc::clone(&self.events[usize::from(self.first + queue)]);
        Interrupt { device: Arc::clone(&self.device), event, unmask: Box::new(unmask) }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // Nothing better can be done with a failure: the eventfds stay open
        // until the kernel has let them go.
        let _ = self.function.set_irqs(&[]);
    }
}
