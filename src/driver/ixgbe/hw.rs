//! A card's registers, and the two locks that guard what its ports share.

use super::ids::{Mac, Media, Model};
use super::regs::{self, BAR_LEN, Reg, eerd, gssr, status, swsm};
use crate::driver::wait;
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Bar, Function};
use std::fmt;
use std::time::{Duration, Instant};

/// The control plane's hold on a card: its registers by name.
pub struct Hw {
    device: String,
    bar: Bar,
    /// Generation.
    pub mac: Mac,
    /// Medium.
    pub media: Media,
    /// Port of the card, 0 or 1.
    pub port: u32,
    /// Whether analogue parts need time to settle.
    silicon: bool,
}

impl Hw {
    /// The registers of `function`.
    ///
    /// # Errors
    /// [`Kind::Gone`] if they read as all ones.
    pub fn new(function: &dyn Function, model: &Model) -> Result<Hw> {
        let bar = function.bar(0)?;
        bar.require(function.name(), BAR_LEN)?;
        let mut hw = Hw {
            device: function.name().to_owned(),
            bar,
            mac: model.mac,
            media: model.media,
            port: 0,
            silicon: function.kind() != pci::Kind::Emulated,
        };
        hw.alive()?;
        hw.port = (hw.read(regs::STATUS) & status::LAN_ID) >> 2 & 1;
        Ok(hw)
    }

    /// Reads a register.
    pub fn read(&self, reg: Reg) -> u32 {
        self.bar.read32(u64::from(reg.offset))
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

    /// Fails if the card does not answer any more.
    pub fn alive(&self) -> Result<()> {
        match self.read(regs::STATUS) {
            u32::MAX => Err(wait::gone(self, regs::STATUS.name)),
            _ => Ok(()),
        }
    }

    /// An error about this card.
    pub fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{self}: {text}"))
    }

    /// Lets analogue parts settle: lasers, PLLs, wires. A model has none, and
    /// everything that it does need time for shows in a register.
    pub fn settle(&self, time: Duration) {
        if !self.silicon {
            return;
        }
        if time >= Duration::from_micros(200) {
            std::thread::sleep(time);
            return;
        }
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
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
    /// semaphores (82599 §10.5.4). Every holder keeps them for microseconds; who
    /// does not let go within the time the datasheet allows has died, and its
    /// lock is taken over.
    pub fn locked<T>(&self, resource: u32, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let firmware = resource << 5;
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
            self.wait("taking the second semaphore", regs::GSSR, gssr::REGSMP, 0, patience)
                .inspect_err(|_| self.clear(regs::SWSM, swsm::SMBI))?;
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
        f.write_str(&self.device)
    }
}
