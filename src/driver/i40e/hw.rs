//! A card's registers, and which part of the device this function is.

use super::ids::{Mac, Model};
use super::regs::{self, BAR_LEN, Reg, aqlen, gl_mdet, pf_mdet};
use crate::driver::hw::Access;
use crate::driver::wait;
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::fmt;
use std::ops::{Deref, Range};
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

    /// Fails, once, if the card has stopped one of this function's `count` queues, `first`
    /// being the first in the device: for good, as it took a packet or a descriptor for
    /// malicious (Linux i40e_handle_mdd_event).
    pub fn all_run(&self, first: u16, count: u16) -> Result<()> {
        let queues = first..first.saturating_add(count);
        for mdet in &MDET {
            let Mdet { what, why, own, device, .. } = mdet;
            let told = self.read(*own);
            // A card that is gone is told of elsewhere.
            if told & pf_mdet::VALID == 0 || told == u32::MAX {
                continue;
            }
            let word = self.read(*device);
            let which = mdet.queue(word, self.function, &queues).map_or(String::new(), |queue| format!(" {queue}"));
            // The next event can be told apart from this one.
            self.write(*device, u32::MAX);
            self.write(*own, pf_mdet::ALL);
            let text = format!("it has stopped its {what} queue{which}: {why} ({} = {word:#010x})", device.name);
            return Err(self.error(Kind::Device, text));
        }
        Ok(())
    }

    /// Forgets what was malicious of a driver before.
    pub fn forgive(&self) {
        for mdet in &MDET {
            self.write(mdet.own, pf_mdet::ALL);
            // What another function did is its driver's.
            if mdet.is_of(self.read(mdet.device), self.function) {
                self.write(mdet.device, u32::MAX);
            }
        }
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

/// Where it is told that a queue was stopped.
struct Mdet {
    what: &'static str,
    why: &'static str,
    /// Of this function, and the first event of the device.
    own: Reg,
    device: Reg,
    /// Where there are the function and the queue: shift and bits.
    function: (u32, u32),
    queue: (u32, u32),
}

const MDET: [Mdet; 2] = [
    Mdet {
        what: "transmit",
        why: "it took a frame for malicious, as it does one that is too long or badly formed; run the command again with other frames",
        own: regs::PF_MDET_TX,
        device: regs::GL_MDET_TX,
        function: (21, 0xf),
        queue: (0, 0xfff),
    },
    Mdet {
        what: "receive",
        why: "it took a descriptor for malicious; run the command again",
        own: regs::PF_MDET_RX,
        device: regs::GL_MDET_RX,
        function: (0, 0xff),
        queue: (17, 0x3fff),
    },
];

impl Mdet {
    /// Whether the device's event is of `function`.
    fn is_of(&self, word: u32, function: u16) -> bool {
        let (shift, bits) = self.function;
        word & gl_mdet::VALID != 0 && word != u32::MAX && word >> shift & bits == u32::from(function)
    }

    /// Which of `function`'s `queues` it was, if the device tells of that one.
    fn queue(&self, word: u32, function: u16, queues: &Range<u16>) -> Option<u16> {
        let queue = (word >> self.queue.0 & self.queue.1) as u16;
        (self.is_of(word, function) && queues.contains(&queue)).then(|| queue - queues.start)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_was_stopped_is_named_only_where_the_device_tells_of_this_function() {
        const VALID: u32 = 1 << 31;
        let queues = 128..192;
        let [tx, rx] = &MDET;
        assert_eq!(tx.queue(VALID | 3 << 25 | 2 << 21 | 130, 2, &queues), Some(2));
        assert_eq!(rx.queue(VALID | 130 << 17 | 5 << 8 | 2, 2, &queues), Some(2));
        for (mdet, word) in [
            (tx, 2 << 21 | 130),         // nothing is told
            (tx, VALID | 1 << 21 | 130), // of another function
            (tx, VALID | 2 << 21 | 192), // beyond
            (tx, VALID | 2 << 21 | 127), // before
            (tx, u32::MAX),
            (rx, VALID | 130 << 17 | 3),
            (rx, VALID | 192 << 17 | 2),
            (rx, 130 << 17 | 2),
        ] {
            assert_eq!(mdet.queue(word, 2, &queues), None, "{word:#x}");
        }
    }
}
