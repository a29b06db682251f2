//! A card's registers, and the two locks that guard what its ports share.

use super::ids::{Mac, Media, Model};
use super::regs::{self, BAR_LEN, eerd, gssr, status, swsm};
use crate::driver::hw::Access;
use crate::driver::wait;
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The control plane's hold on a card: its registers by name, and what it is.
pub struct Hw {
    access: Access,
    /// Generation.
    pub mac: Mac,
    /// Medium.
    pub media: Media,
    /// Port of the card, 0 or 1.
    pub port: u32,
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
        let access = Access::new(function, BAR_LEN)?;
        access.answers(regs::STATUS)?;
        let port = (access.read(regs::STATUS) & status::LAN_ID) >> 2 & 1;
        Ok(Hw { access, mac: model.mac, media: model.media, port })
    }

    /// The same card; what is done to it is not in a trace.
    pub fn untraced(&self) -> Hw {
        Hw { access: self.access.untraced(), ..*self }
    }

    /// Fails if the card does not answer any more.
    pub fn alive(&self) -> Result<()> {
        self.answers(regs::STATUS)
    }

    /// Reads a word of the EEPROM (82599 §8.2.3.2.2). Not on the X550, whose
    /// EEPROM is the firmware's.
    pub fn eeprom(&self, word: u16) -> Result<u16> {
        if word > 0x3fff {
            return Err(self.error(Kind::Device, format!("its EEPROM points outside itself (word {word:#x})")));
        }
        self.write(regs::EERD, u32::from(word) << 2 | eerd::START);
        let done = self.wait("an EEPROM read", regs::EERD, eerd::DONE, eerd::DONE, Duration::from_millis(500))?;
        Ok((done >> 16) as u16)
    }

    /// Holds the lock of `resource` (bits of [`gssr`]) while `work` runs.
    ///
    /// The resource is shared with the card's other port and its firmware, so it
    /// is guarded by a bit for each, in a register that is itself guarded by two
    /// semaphores (82599 §10.5.4). Every holder keeps the resource for milliseconds at
    /// most; who does not let go within the second that the datasheet allows has died,
    /// and its lock is taken over.
    pub fn locked<T>(&self, resource: u32, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let firmware = firmwares(resource);
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let late = Instant::now() >= deadline;
            let taken = self.with_semaphores(|| {
                let held = self.read(regs::GSSR);
                let free = held & (resource | firmware) == 0;
                if free || late {
                    self.write(regs::GSSR, held | resource);
                }
                free || late
            })?;
            if taken {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let result = work(self);
        self.with_semaphores(|| self.clear(regs::GSSR, resource))?;
        result
    }

    /// Holds the semaphores that guard [`regs::GSSR`] while `work` runs.
    fn with_semaphores<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let patience = Duration::from_millis(100);
        let smbi = || self.wait("taking the semaphore", regs::SWSM, swsm::SMBI, 0, patience);
        if let Err(error) = smbi() {
            if error.kind() == Kind::Gone {
                return Err(error);
            }
            self.clear(regs::SWSM, swsm::SMBI | swsm::SWESMBI);
            smbi()?;
        }
        if self.mac == Mac::I82599 {
            // Against the firmware: the bit sticks only if that does not hold it.
            let read = || {
                self.set(regs::SWSM, swsm::SWESMBI);
                self.read(regs::SWSM)
            };
            let stuck = |v| v & swsm::SWESMBI != 0;
            wait::wait_until(self, "taking the semaphore from the firmware", regs::SWSM.name, patience, read, stuck)
                .inspect_err(|_| self.clear(regs::SWSM, swsm::SMBI | swsm::SWESMBI))?;
        } else {
            let second = || self.wait("taking the second semaphore", regs::GSSR, gssr::REGSMP, 0, patience);
            if second().is_err() {
                self.clear(regs::GSSR, gssr::REGSMP);
                second().inspect_err(|_| self.clear(regs::SWSM, swsm::SMBI))?;
            }
        }
        let result = work();
        if self.mac != Mac::I82599 {
            self.clear(regs::GSSR, gssr::REGSMP);
        }
        self.clear(regs::SWSM, swsm::SMBI | swsm::SWESMBI);
        Ok(result)
    }

    /// The lock of this port's PHY or module bus.
    pub fn phy_lock(&self) -> u32 {
        gssr::PHY0 << self.port
    }
}

impl fmt::Display for Hw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.access.fmt(f)
    }
}

/// The firmware's bits of GSSR for these of ours (Linux ixgbe_acquire_swfw_sync_X540). Its
/// command buffer has none.
fn firmwares(resource: u32) -> u32 {
    const SHARED: u32 = gssr::EEPROM | gssr::PHY0 | gssr::PHY0 << 1 | gssr::MAC_CSR;
    (resource & SHARED) << 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_for_commands_has_no_bit_of_the_firmwares() {
        assert_eq!(firmwares(gssr::EEPROM | gssr::COMMANDS), 1 << 5);
        assert_eq!(firmwares(gssr::PHY0 << 1), 1 << 7);
        assert_eq!(firmwares(gssr::MAC_CSR), 1 << 8);
    }
}
