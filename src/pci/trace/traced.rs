//! A function that is traced.

use super::write::Trace;
use super::{CONFIG, Event};
use crate::dma::{Addressing, Arena};
use crate::error::Result;
use crate::pci::{Alarm, Bar, Doorbell, Function, Id, Kind, Registers, ShortDoorbell, vpd};
use std::ops::Range;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The datasheet's name of the register at an offset of a BAR, where it is known.
pub type Names = Box<dyn Fn(u8, u64) -> Option<String> + Send + Sync>;

/// The same function, with all that a driver does to it written to a file.
///
/// Data paths are as they were: their doorbells are not seen.
///
/// # Errors
/// If the file cannot be written.
pub fn trace(function: Arc<dyn Function>, path: &Path, names: Names) -> Result<Arc<dyn Function>> {
    let word = |at: usize| function.config_read(at as u16, 4).map(u32::to_le_bytes);
    // Without root, sysfs shows the first of it only.
    let mut config: Vec<u8> = (0..CONFIG).step_by(4).map_while(|at| word(at).ok()).flatten().collect();
    // Who cannot list capabilities cannot read this one either.
    let hidden = vpd::registers(&*function).unwrap_or_default();
    for at in hidden.iter().cloned().flatten() {
        if let Some(byte) = config.get_mut(usize::from(at)) {
            *byte = 0;
        }
    }
    let trace = Trace::create(path, function.id(), config, names)?;
    Ok(Arc::new(Traced { inner: function, trace: Arc::new(trace), hidden }))
}

struct Traced {
    inner: Arc<dyn Function>,
    trace: Arc<Trace>,
    /// What is not shown of configuration space: where serial numbers pass.
    hidden: Vec<Range<u16>>,
}

impl Traced {
    /// Notes an access to configuration space, unless it is one of those.
    fn config(&self, write: bool, offset: u16, size: u8, value: u32) {
        let end = offset.saturating_add(size.into());
        if !self.hidden.iter().any(|hidden| offset < hidden.end && end > hidden.start) {
            self.trace.config(write, offset, size, value);
        }
    }

    fn view(&self, index: u8, inner: Bar) -> Bar {
        let size = inner.size();
        self.trace.note(Event::Bar(index, size));
        Bar::Served(Arc::new(View { inner, index, trace: Arc::clone(&self.trace) }), size)
    }
}

impl Function for Traced {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn id(&self) -> Id {
        self.inner.id()
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        Ok(self.view(index, self.inner.bar(index)?))
    }

    fn combining(&self, index: u8) -> Result<Option<Bar>> {
        Ok(self.inner.combining(index)?.map(|bar| self.view(index, bar)))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        let value = self.inner.config_read(offset, size)?;
        self.config(false, offset, size, value);
        Ok(value)
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        self.config(true, offset, size, value);
        self.inner.config_write(offset, size, value)
    }

    fn addressing(&self) -> Addressing {
        self.inner.addressing()
    }

    fn address_physically(&self) {
        self.inner.address_physically();
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        if !self.inner.reaches(arena) {
            arena.runs().for_each(|(_, iova, len)| self.trace.note(Event::Map(iova, len as u64)));
        }
        self.inner.map(arena)
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.inner.reaches(arena)
    }

    fn irq_vectors(&self) -> u16 {
        self.inner.irq_vectors()
    }

    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        self.inner.set_irqs(fds)?;
        self.trace.note(Event::Vectors(fds.len() as u16));
        Ok(())
    }

    fn numa_node(&self) -> Option<u16> {
        self.inner.numa_node()
    }

    fn reset(&self) -> Result<bool> {
        let done = self.inner.reset()?;
        if done {
            self.trace.note(Event::Reset);
        }
        Ok(done)
    }

    fn alarms(&self) -> Vec<(Alarm, BorrowedFd<'_>)> {
        self.inner.alarms()
    }

    fn is_gone(&self) -> bool {
        self.inner.is_gone()
    }

    fn check_memory(&self) -> Result<()> {
        self.inner.check_memory()
    }

    fn wait(&self, time: Duration) {
        self.trace.settle(time);
        self.inner.wait(time);
    }
}

/// One BAR of it.
struct View {
    inner: Bar,
    index: u8,
    trace: Arc<Trace>,
}

impl Registers for View {
    fn read(&self, offset: u64, size: u8) -> u64 {
        let value = match size {
            1 => self.inner.read8(offset).into(),
            2 => self.inner.read16(offset).into(),
            4 => self.inner.read32(offset).into(),
            _ => self.inner.read64(offset),
        };
        self.trace.access(false, self.index, offset, size, value);
        value
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        self.trace.access(true, self.index, offset, size, value);
        match size {
            1 => self.inner.write8(offset, value as u8),
            2 => self.inner.write16(offset, value as u16),
            4 => self.inner.write32(offset, value as u32),
            _ => self.inner.write64(offset, value),
        }
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        self.inner.doorbell(offset).ok()
    }

    fn short_doorbell(&self, offset: u64) -> Option<ShortDoorbell> {
        self.inner.short_doorbell(offset).ok()
    }

    fn untraced(&self) -> Option<Bar> {
        Some(self.inner.clone())
    }

    fn trace(&self) -> Option<(&Trace, u8)> {
        Some((&self.trace, self.index))
    }
}
