//! A card's registers, and which part of the device this function is.

use super::ids::{Mac, Model};
use super::regs::{self, BAR_LEN, Reg, aqlen, gl_mdet, pf_mdet};
use crate::driver::hw::Access;
use crate::driver::wait;
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The control plane's hold on a card: its registers by name, and what it is.
pub struct Hw {
    access: Access,
    /// Generation.
    pub mac: Mac,
    /// Number of this function in the device.
    pub function: u16,
    /// Port of the device.
    pub port: u16,
}

impl Deref for Hw {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Hw {
    /// The registers of `function`.
    ///
    /// # Errors
    /// [`Kind::Gone`] if they read as all ones.
    pub fn new(function: &Arc<dyn Function>, model: &Model) -> Result<Hw> {
        const ARI: u32 = 1 << 4;
        let access = Access::new(function, BAR_LEN)?;
        answers(&access, regs::GLGEN_RSTAT)?;
        // With alternative routing ids there are no device numbers, only functions.
        let mask = if access.read(regs::GLPCI_CAPSUP) & ARI != 0 { 0xf } else { 0x7 };
        let number = (access.read(regs::PF_FUNC_RID) & mask) as u16;
        let port = (access.read(regs::PFGEN_PORTNUM) & 0b11) as u16;
        Ok(Hw { access, mac: model.mac, function: number, port })
    }

    /// Fails if the card does not answer any more, or has forgotten us.
    pub fn alive(&self) -> Result<()> {
        self.answers(regs::PF_ATQLEN)?;
        match self.read(regs::PF_ATQLEN) {
            state if state & aqlen::ENABLE == 0 => Err(self.error(
                Kind::Device,
                "it was reset under this driver, by its firmware or by a driver of its other ports; run the command again",
            )),
            _ => Ok(()),
        }
    }

    /// Fails if the card has stopped a queue of this function, which `first` is the first
    /// of in the device: for good, as it took a packet or a descriptor for malicious
    /// (Linux i40e_handle_mdd_event).
    pub fn all_run(&self, first: u16) -> Result<()> {
        let stopped = |what: &str, word: u32, queue: u32| {
            let which = match (queue as u16).checked_sub(first) {
                Some(queue) if word & gl_mdet::VALID != 0 => format!(" {queue}"),
                _ => String::new(),
            };
            let text = format!(
                "it has stopped its {what} queue{which}: it took a frame for malicious, as it does one that is too long or badly formed (GL_MDET = {word:#010x}); run the command again with other frames"
            );
            self.error(Kind::Device, text)
        };
        // A card that is gone is told of elsewhere.
        let told = |reg| matches!(self.read(reg), word if word & pf_mdet::VALID != 0 && word != u32::MAX);
        if told(regs::PF_MDET_TX) {
            let word = self.read(regs::GL_MDET_TX);
            return Err(stopped("transmit", word, word & 0xfff));
        }
        if told(regs::PF_MDET_RX) {
            let word = self.read(regs::GL_MDET_RX);
            return Err(stopped("receive", word, word >> 17 & 0x3fff));
        }
        Ok(())
    }

    /// Fails if the card does not answer any more: `reg` reads as all ones, and so
    /// does another one.
    pub fn answers(&self, reg: Reg) -> Result<()> {
        answers(&self.access, reg)
    }

    /// Waits until the bits under `mask`, which are not all there are, are `value`.
    /// A register of nothing but ones is believed if the card answers otherwise.
    pub fn wait(&self, what: &str, reg: Reg, mask: u32, value: u32, patience: Duration) -> Result<u32> {
        let beside = !(!mask & mask.wrapping_add(1));
        let read = || match self.read(reg) {
            // A bit that nobody waits for tells it from a card that is gone.
            u32::MAX if self.answers(reg).is_ok() => beside,
            value => value,
        };
        wait::wait_until(self, what, reg.name, patience, read, |word| word & mask == value)
    }
}

fn answers(access: &Access, reg: Reg) -> Result<()> {
    let witness = if reg.offset == regs::PF_FUNC_RID.offset { regs::GLGEN_RSTAT } else { regs::PF_FUNC_RID };
    match access.answers(reg) {
        Err(_) if access.answers(witness).is_ok() => Ok(()),
        answer => answer,
    }
}

impl fmt::Display for Hw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.access.fmt(f)
    }
}
