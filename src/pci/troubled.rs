//! For tests only: a function that is another one, until it is in trouble.

use super::{Bar, Function, Id, Kind};
use crate::dma::{Addressing, Arena};
use crate::error::{Error, Result};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

/// A function, and what is wrong with it.
pub(crate) struct Troubled {
    card: Arc<dyn Function>,
    /// Looks at its power state, at 0x44, until it is awake.
    pub sleepy: AtomicU32,
    /// Whether its configuration reads as all ones.
    pub gone: AtomicBool,
    /// Whether the kernel has moved its memory.
    pub moved: AtomicBool,
    /// Interrupt vectors of it that cannot be had.
    pub vectors_lost: AtomicU16,
    /// Offset from which on its vital product data, at 0x48, is not read any more.
    pub vpd_until: AtomicU16,
}

impl Troubled {
    /// One with nothing wrong yet.
    pub fn of(card: Arc<dyn Function>) -> Self {
        Troubled {
            card,
            sleepy: AtomicU32::new(0),
            gone: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            vectors_lost: AtomicU16::new(0),
            vpd_until: AtomicU16::new(u16::MAX),
        }
    }
}

impl Function for Troubled {
    fn name(&self) -> &str {
        self.card.name()
    }

    fn kind(&self) -> Kind {
        self.card.kind()
    }

    fn id(&self) -> Id {
        self.card.id()
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        self.card.bar(index)
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        if self.gone.load(Ordering::Relaxed) {
            return Ok(u32::MAX);
        }
        let value = self.card.config_read(offset, size)?;
        let less = |looks: u32| looks.checked_sub(1);
        let sleeps = offset == 0x44 && self.sleepy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        let unread = offset == 0x4a && (value & 0x7fff) as u16 >= self.vpd_until.load(Ordering::Relaxed);
        Ok(match () {
            () if sleeps => value | 3,
            () if unread => value & 0x7fff,
            () => value,
        })
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        self.card.config_write(offset, size, value)
    }

    fn addressing(&self) -> Addressing {
        self.card.addressing()
    }

    fn address_physically(&self) {
        self.card.address_physically();
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        self.card.map(arena)
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.card.reaches(arena)
    }

    fn irq_vectors(&self) -> u16 {
        self.card.irq_vectors() - self.vectors_lost.load(Ordering::Relaxed)
    }

    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        self.card.set_irqs(fds)
    }

    fn numa_node(&self) -> Option<u16> {
        self.card.numa_node()
    }

    fn reset(&self) -> Result<bool> {
        self.card.reset()
    }

    fn check_memory(&self) -> Result<()> {
        if self.moved.load(Ordering::Relaxed) {
            return Err(Error::new(crate::error::Kind::Memory, "its memory was moved"));
        }
        self.card.check_memory()
    }

    fn wait(&self, time: Duration) {
        self.card.wait(time);
    }
}
