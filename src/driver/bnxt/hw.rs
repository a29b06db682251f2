//! A card as the control plane holds it: its firmware, and what it said of itself.

use super::Generation;
use super::codes::refusal;
use super::hwrm::Hwrm;
use super::regs;
use super::rings::Ring;
use crate::dma::Region;
use crate::driver::lacks::Lacks;
use crate::driver::mailbox::{Failure, Reply, Request};
use crate::error::{Error, Kind, Result};
use crate::pci::{Bar, Function};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The control plane's hold on a card.
pub struct Hw {
    device: String,
    /// Generation of the silicon.
    pub generation: Generation,
    /// Which firmware it has.
    pub firmware: Firmware,
    /// What the function is and can have.
    pub caps: Capabilities,
    /// The BAR of doorbells.
    pub doorbells: Bar,
    hwrm: Mutex<Hwrm>,
    /// What the card goes without.
    pub lacks: Lacks,
    rings: Mutex<Vec<Ring>>,
}

/// Which firmware it is, from VER_GET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// Version of the interface that it speaks.
    pub interface: [u8; 3],
    /// Its own version: major, minor, build.
    pub version: [u16; 3],
    /// Flows can be steered in ways that it tells of (CFA_ADV_FLOW_MGNT).
    pub advanced_flows: bool,
}

/// What the function is and can have, from FUNC_QCAPS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The port that it is on.
    pub port: u16,
    /// Words of flags.
    pub flags: u64,
    /// The second word of those that came later.
    pub flags_ext2: u64,
    /// Its address.
    pub mac: [u8; 6],
    /// Most of each resource.
    pub most: Resources,
}

/// Numbers of what a function has, can have, or wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Receive rings, those for the rest of long frames too.
    pub rx: u16,
    /// Transmit rings.
    pub tx: u16,
    /// Completion rings.
    pub completions: u16,
    /// Places for received frames.
    pub vnics: u16,
    /// Contexts of counters.
    pub stats: u16,
    /// Contexts for spreading.
    pub spreads: u16,
    /// Groups of rings; BCM574xx.
    pub groups: u16,
    /// Notification queues, one a vector; BCM575xx.
    pub notifications: u16,
}

impl Hw {
    /// The card behind `function`; `buffer` is for questions to its firmware.
    pub fn new(function: &Arc<dyn Function>, generation: Generation, buffer: Region) -> Result<Hw> {
        let (bar, doorbells) = (function.bar(0)?, function.bar(2)?);
        bar.require(function.name(), regs::BAR0_BYTES)?;
        let hwrm = Mutex::new(Hwrm::new(function, bar, buffer, generation));
        Ok(Hw {
            device: function.name().to_owned(),
            generation,
            firmware: Firmware::default(),
            caps: Capabilities::default(),
            doorbells,
            hwrm,
            lacks: Lacks::default(),
            rings: Mutex::default(),
        })
    }

    /// Asks the firmware, and takes no refusal.
    pub fn ask(&self, request: Request) -> Result<Reply> {
        let mut hwrm = self.hwrm();
        hwrm.ask(&request).map_err(|failure| match failure {
            Failure::Broken(error) => error,
            Failure::Refused(code) => hwrm.refused(request.command(), code),
        })
    }

    /// Asks the firmware, which may refuse: then its code.
    pub fn try_ask(&self, request: &Request) -> Result<std::result::Result<Reply, u32>> {
        match self.hwrm().ask(request) {
            Ok(reply) => Ok(Ok(reply)),
            Err(Failure::Refused(code)) => Ok(Err(code)),
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    /// Asks for something that it can do without: `None` whatever the refusal, and
    /// where the firmware is too old to take all of the question, or answer all of it.
    pub fn ask_optional(&self, request: Request) -> Result<Option<Reply>> {
        match self.try_ask(&request) {
            Err(error) if error.kind() == Kind::Unsupported => Ok(None),
            outcome => Ok(outcome?.ok()),
        }
    }

    /// Asks for what can be gone without; `lost` says what that means.
    pub fn ask_or_lose(&self, request: Request, lost: &str) -> Result<Option<Reply>> {
        match self.try_ask(&request)? {
            Ok(reply) => Ok(Some(reply)),
            Err(code) => {
                let refused = request.command().refused_with(refusal::name(code), code);
                self.lacks.note(format_args!("{refused}: {lost}"));
                Ok(None)
            }
        }
    }

    /// Notes a ring that it has. Fails if it has that one already.
    pub fn has(&self, ring: Ring) -> Result<()> {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if rings.contains(&ring) {
            let text = format!("its firmware gives two rings the same number ({}); update the firmware", ring.id);
            return Err(self.error(Kind::Device, text));
        }
        rings.push(ring);
        Ok(())
    }

    /// Notes that it has it no more.
    pub fn has_not(&self, ring: Ring) {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner).retain(|has| *has != ring);
    }

    /// What a refusal means.
    pub fn refused(&self, request: &Request, code: u32) -> Error {
        self.hwrm().refused(request.command(), code)
    }

    /// Fails if the card does not answer any more, or has lost its rings.
    pub fn check(&self) -> Result<()> {
        self.hwrm().check()
    }

    /// Everything that the card was told is lost: says why, now and from now on.
    pub fn lost(&self, why: impl fmt::Display) -> Error {
        let error = self.error(Kind::Device, format_args!("{why}, so all queues are lost; open the card again"));
        self.hwrm().end(&error);
        error
    }

    /// Lets time pass for the card.
    pub fn pause(&self, time: Duration) {
        self.hwrm().pause(time);
    }

    /// Whether the interface is as new as `version`.
    pub fn speaks(&self, version: [u8; 3]) -> bool {
        self.firmware.interface >= version
    }

    /// An error about this card.
    pub fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{self}: {text}"))
    }

    /// The way to the firmware. A panic while it was held was reported where it happened.
    pub fn hwrm(&self) -> MutexGuard<'_, Hwrm> {
        self.hwrm.lock().unwrap_or_else(PoisonError::into_inner)
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
