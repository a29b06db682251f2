//! An emulated card as the function that a driver opens.

use super::super::{Card, DoorbellPage, config};
use super::{Access, Port, Shared};
use crate::dma::{Addressing, Arena};
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Bar, Doorbell, Function, Id, Registers};
use crate::sys;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

/// A card in its slot: pulled out when the last of function and BARs is dropped.
pub(super) struct Plug {
    pub(super) port: Arc<Port>,
    pub(super) engine: Arc<Shared>,
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.port.close();
        self.engine.change(|ports| ports.retain(|port| !Arc::ptr_eq(port, &self.port)));
    }
}

/// A card in its slot: the function that a driver opens.
pub(in crate::emu) struct Slot(pub(super) Arc<Plug>);

impl Slot {
    fn view(&self, bar: u8, size: u64, combines: bool) -> Bar {
        Bar::Served(Arc::new(View { slot: Slot(Arc::clone(&self.0)), bar, combines }), size)
    }

    /// What the kernel does for one who opens a function, and after a reset.
    pub(super) fn enable(&self) -> Result<()> {
        self.with(Card::enable)
    }

    /// The pages that the card polls.
    pub(in crate::emu) fn doorbells(&self) -> &[DoorbellPage] {
        &self.0.port.doorbells
    }

    /// Reads `size` bytes (1, 2, 4 or 8) of a BAR; all-ones once the card is gone.
    pub(in crate::emu) fn read(&self, bar: u8, offset: u64, size: u8) -> u64 {
        let port = &self.0.port;
        let now = self.0.engine.clock.access();
        let value = port.with(|card, trace| {
            let value = card.read(now, bar, offset, size);
            port.record(trace, card, Access { write: false, bar, offset, size, value, name: None });
            value
        });
        value.unwrap_or(u64::MAX)
    }

    /// Writes `size` bytes (1, 2, 4 or 8) of a BAR.
    pub(in crate::emu) fn write(&self, bar: u8, offset: u64, size: u8, value: u64) {
        let port = &self.0.port;
        let now = self.0.engine.clock.access();
        port.with(|card, trace| {
            card.write(now, bar, offset, size, value);
            port.record(trace, card, Access { write: true, bar, offset, size, value, name: None });
        });
    }

    /// Does something with the card while nobody else does.
    pub(in crate::emu) fn with<R>(&self, access: impl FnOnce(&mut Card) -> R) -> Result<R> {
        self.0
            .port
            .with(|card, _| access(card))
            .ok_or_else(|| Error::new(Kind::Gone, format!("{}: the emulated card was taken out", self.0.port.name)))
    }
}

impl Function for Slot {
    fn name(&self) -> &str {
        &self.0.port.name
    }

    fn kind(&self) -> pci::Kind {
        pci::Kind::Emulated
    }

    fn id(&self) -> Id {
        self.0.port.id
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        match self.0.port.bars.get(usize::from(index)) {
            Some(&size) if size > 0 => Ok(self.view(index, size, false)),
            _ => Err(Error::new(Kind::NotFound, format!("{}: there is no BAR {index}", self.name()))),
        }
    }

    fn combining(&self, index: u8) -> Result<Option<Bar>> {
        // As the kernel has it: for what is prefetchable.
        let size = self.bar(index)?.size();
        let prefetchable = self.with(|card| card.layout().prefetchable)?;
        Ok(prefetchable.then(|| self.view(index, size, true)))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        self.with(|card| card.config_read(offset, size))
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        self.with(|card| card.config_write(offset, size, value))
    }

    fn addressing(&self) -> Addressing {
        Addressing::Translated
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        self.with(|card| card.bus().memory.map_arena(arena))?
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.with(|card| card.bus().memory.reaches(arena)).unwrap_or(false)
    }

    fn irq_vectors(&self) -> u16 {
        self.0.port.vectors
    }

    /// What the kernel does for VFIO: unmasks the vectors and turns MSI-X on.
    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        if fds.len() > usize::from(self.irq_vectors()) {
            let (asked, has) = (fds.len(), self.irq_vectors());
            return Err(Error::new(Kind::Unsupported, format!("{}: {asked} vectors asked, it has {has}", self.name())));
        }
        let own = fds.iter().map(|&fd| sys::duplicate(fd)).collect::<std::io::Result<Vec<_>>>();
        let mut own = own.map_err(|e| Error::io(format!("{}: taking the eventfds", self.name()), e))?.into_iter();
        self.with(|card| {
            for vector in 0..card.bus().interrupts.count() {
                let fd = own.next();
                card.bus().interrupts.mask(vector, fd.is_none());
                card.bus().interrupts.connect(vector, fd);
            }
            card.config_write(card.layout().msix_control(), 2, if fds.is_empty() { 0 } else { 0x8000 });
        })
    }

    fn numa_node(&self) -> Option<u16> {
        None
    }

    fn reset(&self) -> Result<bool> {
        let Some(control) = self.with(|card| card.layout().device_control())? else { return Ok(false) };
        self.with(|card| card.config_write(control, 2, config::FLR))?;
        self.enable().map(|()| true)
    }

    /// Virtual time is moved on. Real time passes for all cards of the engine, and
    /// for those of other processes at the far end of a cable: it cannot be jumped.
    fn wait(&self, time: Duration) {
        match self.0.engine.clock.real {
            None => self.0.engine.clock.advance(time.as_nanos().min(u128::from(u64::MAX / 1000)) as u64 * 1000),
            Some(_) => pci::pass(time),
        }
    }
}

/// One BAR of a card, for a driver.
struct View {
    slot: Slot,
    bar: u8,
    /// Its stores are combined.
    combines: bool,
}

impl Registers for View {
    fn read(&self, offset: u64, size: u8) -> u64 {
        self.slot.read(self.bar, offset, size)
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        self.slot.write(self.bar, offset, size, value);
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let own = self.slot.with(|card| {
            let combined = if self.combines { card.model().combined(self.bar, offset) } else { None };
            combined.or_else(|| card.model().lane(self.bar, offset))
        });
        if let Ok(Some((page, index))) = own {
            return Some(Doorbell::in_page(&page, index));
        }
        let page = |page: &&DoorbellPage| !page.crowded && page.bar == self.bar && page.offset == offset & !0xfff;
        let page = self.slot.doorbells().iter().find(page)?;
        offset.is_multiple_of(4).then(|| Doorbell::in_page(&page.words, (offset & 0xfff) as usize / 4))
    }
}
