//! The SFP+ cage while the link is down: a module may come, go or be another one, and one
//! that is there may need its link started again.

use super::hw::Hw;
use super::link;
use super::sfp::{self, Module, Rate};
use crate::error::{Kind, Result};
use std::time::{Duration, Instant};

/// How often a cage is looked at without a link.
const LOOK: Duration = Duration::from_millis(250);

/// How long a link may take before it is started again: twice as long each time. A module
/// of two rates is tried at each for less.
const PATIENCE: Duration = Duration::from_secs(4);
const PATIENCE_AT_A_RATE: Duration = Duration::from_secs(1);

/// A cage, and the link over what is in it.
pub struct Cage {
    module: Module,
    rate: Rate,
    /// When it is looked at next.
    look: Instant,
    /// When the link is started again, and how long it may take after that.
    again: Instant,
    patience: Duration,
}

impl Cage {
    /// Looks at the module and starts the link over it.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for what is no SFP+ module.
    pub fn open(hw: &Hw) -> Result<Cage> {
        let module = sfp::identify(hw, sfp::Tries::Patient)?;
        let now = Instant::now();
        let mut cage = Cage { module, rate: module.rate(), look: now, again: now, patience: PATIENCE };
        cage.begin(hw, module)?;
        Ok(cage)
    }

    /// What is in it.
    pub fn module(&self) -> Module {
        self.module
    }

    /// The link is up: should it go down, it has its time again.
    pub fn is_up(&mut self) {
        let now = Instant::now();
        self.patience = self.first_patience();
        (self.look, self.again) = (now, now + self.patience);
    }

    /// The link is down: does what may bring it up.
    pub fn look_after(&mut self, hw: &Hw) -> Result<()> {
        let now = Instant::now();
        if now < self.look {
            return Ok(());
        }
        self.look = now + LOOK;
        let module = match sfp::identify(hw, sfp::Tries::Once) {
            Err(error) if error.kind() == Kind::Gone => return Err(error),
            // It may be half in, or boot.
            found => found.unwrap_or(Module::Absent),
        };
        if module != self.module {
            return self.begin(hw, module);
        }
        if module == Module::Absent || now < self.again {
            return Ok(());
        }
        if module == Module::DualRate {
            self.rate = self.rate.other();
        }
        if module != Module::DualRate || self.rate == module.rate() {
            self.patience *= 2;
        }
        self.start(hw)
    }

    /// Starts over with `module`.
    fn begin(&mut self, hw: &Hw, module: Module) -> Result<()> {
        (self.module, self.rate) = (module, module.rate());
        self.patience = self.first_patience();
        self.start(hw)
    }

    fn first_patience(&self) -> Duration {
        if self.module == Module::DualRate { PATIENCE_AT_A_RATE } else { PATIENCE }
    }

    fn start(&mut self, hw: &Hw) -> Result<()> {
        let started = link::start_module(hw, self.module, self.rate);
        self.again = Instant::now() + self.patience;
        started
    }
}
