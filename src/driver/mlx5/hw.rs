//! A card as the control plane holds it: its firmware, and what it said of itself.

use super::caps::Caps;
use super::cmdq::{CommandQueue, Failure, Outcome};
use super::codes::Refusal;
use super::hca::{Hca, News};
use super::regs::{self, Segment};
use crate::driver::mailbox::{Bits, Reply, Request};
use crate::error::{Error, Kind, Result};
use crate::pci::Function;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The control plane's hold on a card.
pub struct Hw {
    device: String,
    /// Its registers.
    pub segment: Segment,
    /// What it can do.
    pub caps: Caps,
    hca: Mutex<Hca>,
}

impl Hw {
    /// The card behind `function`.
    pub fn new(function: &Arc<dyn Function>) -> Result<Hw> {
        let bar = function.bar(0)?;
        bar.require(function.name(), regs::BAR0_BYTES)?;
        let segment = Segment::new(bar);
        let queue = CommandQueue::new(function, segment.clone())?;
        let hca = Mutex::new(Hca::new(function, queue));
        Ok(Hw { device: function.name().to_owned(), segment, caps: Caps::default(), hca })
    }

    /// Asks the firmware, and takes no refusal.
    pub fn ask(&self, request: Request) -> Result<Reply> {
        let mut hca = self.hca();
        hca.ask(&request).map_err(|failure| hca.explain(&request, failure))
    }

    /// Asks for something to be made; its number.
    pub fn make(&self, request: Request, number: Bits) -> Result<u32> {
        Ok(self.ask(request)?.bits(number) as u32)
    }

    /// Asks the firmware, which may refuse.
    pub fn try_ask(&self, request: &Request) -> Result<std::result::Result<Reply, Refusal>> {
        let outcome: Outcome = self.hca().ask(request);
        match outcome {
            Ok(reply) => Ok(Ok(reply)),
            Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    /// Asks for something that it can do without: `None` whatever the refusal.
    pub fn ask_optional(&self, request: Request) -> Result<Option<Reply>> {
        Ok(self.try_ask(&request)?.ok())
    }

    /// What a refusal means.
    pub fn refused(&self, request: &Request, refusal: Refusal) -> Error {
        self.hca().explain(request, Failure::Refused(refusal))
    }

    /// Takes events in. Fails if the card does not answer any more.
    pub fn attend(&self) -> Result<News> {
        self.hca().attend()
    }

    /// Fails if the card does not answer any more, or has lost its queues.
    pub fn check(&self) -> Result<()> {
        self.hca().queue.check()
    }

    /// Everything that the card was told is lost: says why, now and from now on.
    pub fn lost(&self, why: impl fmt::Display) -> Error {
        let error = self.error(Kind::Device, format_args!("{why}; open the card again"));
        self.hca().queue.end(&error);
        error
    }

    /// Lets time pass for the card.
    pub fn pause(&self, time: Duration) {
        self.hca().queue.pause(time);
    }

    /// An error about this card.
    pub fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{self}: {text}"))
    }

    /// The firmware. A panic while it was held was reported where it happened.
    pub fn hca(&self) -> MutexGuard<'_, Hca> {
        self.hca.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Hw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)
    }
}

impl fmt::Debug for Hw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hw({})", self.device)
    }
}
