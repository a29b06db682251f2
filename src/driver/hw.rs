//! A card's registers by name, as the control plane of any family holds them.

use super::regs::Reg;
use super::wait;
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Bar, Function, capabilities};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The registers of an opened card.
pub struct Access {
    device: String,
    bar: Bar,
    /// Weak, as an interrupt of a queue must not keep a card open.
    function: Weak<dyn Function>,
}

impl Access {
    /// The registers in BAR 0 of `function`, which must have `len` bytes.
    pub fn new(function: &Arc<dyn Function>, len: u64) -> Result<Self> {
        let bar = function.bar(0)?;
        bar.require(function.name(), len)?;
        Ok(Access { device: function.name().to_owned(), bar, function: Arc::downgrade(function) })
    }

    /// Reads a register.
    pub fn read(&self, reg: Reg) -> u32 {
        self.bar.read32(u64::from(reg.offset))
    }

    /// Reads a register of 64 bits.
    pub fn read64(&self, reg: Reg) -> u64 {
        self.bar.read64(u64::from(reg.offset))
    }

    /// Writes a register.
    pub fn write(&self, reg: Reg, value: u32) {
        self.bar.write32(u64::from(reg.offset), value);
    }

    /// Sets bits of a register.
    pub fn set(&self, reg: Reg, bits: u32) {
        self.write(reg, self.read(reg) | bits);
    }

    /// Clears bits of a register.
    pub fn clear(&self, reg: Reg, bits: u32) {
        self.write(reg, self.read(reg) & !bits);
    }

    /// Changes the bits under `mask` to those of `value`.
    pub fn change(&self, reg: Reg, mask: u32, value: u32) {
        self.write(reg, self.read(reg) & !mask | value);
    }

    /// Waits until the bits under `mask` are `value`, at most `patience`.
    pub fn wait(&self, what: &str, reg: Reg, mask: u32, value: u32, patience: Duration) -> Result<u32> {
        wait::wait_until(self, what, reg.name, patience, || self.read(reg), |v| v & mask == value)
    }

    /// The data path's pointer to a tail register.
    pub fn doorbell(&self, reg: Reg) -> Result<pci::Doorbell> {
        self.bar.doorbell(u64::from(reg.offset))
    }

    /// Fails if the card does not answer any more: `reg` is one that never
    /// holds all ones.
    pub fn answers(&self, reg: Reg) -> Result<()> {
        match self.read(reg) {
            u32::MAX => Err(wait::gone(self, reg.name)),
            _ => Ok(()),
        }
    }

    /// The BAR that they are in.
    pub fn bar(&self) -> &Bar {
        &self.bar
    }

    /// Whether requests of it on PCIe were not answered yet, as its Device Status says
    /// (PCI Express Base Specification §7.5.3.5, Transactions Pending).
    pub fn pending(&self) -> bool {
        const EXPRESS: u8 = 0x10;
        const DEVICE_STATUS: u16 = 0xa;
        const PENDING: u32 = 1 << 5;
        let status = self.function.upgrade().and_then(|function| {
            let express = *capabilities(&*function, EXPRESS).ok()?.first()?;
            function.config_read(express + DEVICE_STATUS, 2).ok()
        });
        // One that is gone has none.
        status.is_some_and(|status| status & PENDING != 0 && status != 0xffff)
    }

    /// An error about this card.
    pub fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{self}: {text}"))
    }

    /// Lets parts that show nothing in a register settle: lasers, PLLs, wires.
    pub fn settle(&self, time: Duration) {
        if let Some(function) = self.function.upgrade() {
            function.wait(time);
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)
    }
}
