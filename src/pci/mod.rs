//! PCI functions: how a card is found, opened and touched.
//!
//! ```text
//!   Address --discover--> sysfs entry --open--> dyn Function --bar()--> Bar
//!                                                   |                    |
//!                              map(arena), irq, config        Doorbell (data path)
//! ```
//!
//! A [`Function`] is one opened card. Three things can stand behind it: VFIO,
//! the files that sysfs offers (`resourceN`, `config`), or an emulated card in
//! this process. Drivers cannot tell which, except through [`Function::kind`],
//! which is only there to be printed. A fourth is no PCI function: an [`Interface`] that
//! the kernel keeps.

mod address;
mod alarm;
mod bar;
pub mod bind;
mod capability;
mod config;
pub mod discover;
mod doorbell;
mod explain;
pub mod guard;
mod interface;
mod iommu;
pub mod journal;
pub mod kernel;
pub mod network;
mod nodes;
mod open;
mod page;
mod paged;
pub mod persist;
mod ports;
mod sysfs;
pub mod trace;
mod uapi;
mod vfio;
mod vpd;
mod window;

#[cfg(test)]
pub(crate) mod troubled;

pub use address::Address;
pub use alarm::Alarm;
pub use bar::{Bar, Registers};
pub use capability::{capabilities, extended, listed};
pub use doorbell::{Doorbell, LongDoorbell, ShortDoorbell};
pub use interface::Interface;
pub use open::open;
pub use page::Page;
pub use vpd::{Product, Vpd, vpd};
pub use window::Window;

use crate::dma::{Addressing, Arena};
use crate::error::{self, Error, Result};
use std::fmt;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What stands behind an opened function. Printed beside every figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device model of this program; no wire, no PCIe.
    Emulated,
    /// A real function through VFIO with an IOMMU.
    Vfio,
    /// A real function through VFIO without an IOMMU.
    VfioNoIommu,
    /// A real function through the files of sysfs, without an IOMMU.
    Sysfs,
    /// An interface that the kernel keeps, through packet sockets.
    Packet,
    /// An interface that the kernel keeps, through AF_XDP sockets.
    AfXdp,
}

impl Kind {
    /// Whether it is an interface that the kernel keeps.
    pub fn is_kernels(self) -> bool {
        matches!(self, Kind::Packet | Kind::AfXdp)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Emulated => "emulated",
            Kind::Vfio => "vfio",
            Kind::VfioNoIommu => "vfio-noiommu",
            Kind::Sysfs => "sysfs",
            Kind::Packet => "packet",
            Kind::AfXdp => "af_xdp",
        })
    }
}

/// Who made a function and what it is (PCI 3.0 §6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Id {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Subsystem vendor.
    pub subsystem_vendor: u16,
    /// Subsystem.
    pub subsystem: u16,
    /// Revision.
    pub revision: u8,
}

/// One opened PCI function: the control plane of a card.
///
/// What has a default has it for a card that is none: it has no registers, no interrupts, and
/// reaches all memory.
///
/// Dropping the last handle turns bus mastering off before any mapped memory
/// is released.
pub trait Function: Send + Sync {
    /// How the user named it: `0000:03:00.0`, `emu:82599`.
    fn name(&self) -> &str;

    /// What stands behind it.
    fn kind(&self) -> Kind;

    /// Vendor, device, subsystem, revision.
    fn id(&self) -> Id {
        Id::default()
    }

    /// The kernel's interface, where it is one and no PCI function.
    fn interface(&self) -> Option<&Interface> {
        None
    }

    /// BAR `index` (0 to 5). One of I/O ports is always [`Bar::Served`], by accesses of 1, 2
    /// and 4 bytes; on a real function each is a system call.
    fn bar(&self, _index: u8) -> Result<Bar> {
        Err(has_none(self.name(), "registers"))
    }

    /// The same BAR for stores that the processor may combine on their way, so that 64
    /// bytes arrive as one write; [`Bar::window`] is what it is for. `None` where that
    /// cannot be had: VFIO maps all registers uncached, and the kernel offers it only for
    /// a BAR that is prefetchable.
    ///
    /// To be asked for before [`Function::bar`], and each page to be used one way only:
    /// the way that a page is mapped in first is the one that it keeps.
    fn combining(&self, _index: u8) -> Result<Option<Bar>> {
        Ok(None)
    }

    /// Reads 1, 2 or 4 bytes of configuration space.
    fn config_read(&self, _offset: u16, _size: u8) -> Result<u32> {
        Err(has_none(self.name(), "configuration space"))
    }

    /// Writes 1, 2 or 4 bytes of configuration space.
    fn config_write(&self, _offset: u16, _size: u8, _value: u32) -> Result<()> {
        Err(has_none(self.name(), "configuration space"))
    }

    /// Which addresses this function must be given for memory.
    fn addressing(&self) -> Addressing {
        Addressing::Translated
    }

    /// From now on the function is to be given physical addresses, also where an IOMMU
    /// translates for it: for a device that may go past it and cannot say so, or that shares
    /// memory with such a one. Memory is then mapped where it lies, and what was mapped before
    /// is taken away: the device must have been stopped. An emulated card reaches what it was
    /// given in any case.
    fn address_physically(&self) {}

    /// Lets the device read and write `arena`, at the IOVAs it names. Mapping
    /// the same arena again changes nothing. The arena lives until the function
    /// is closed.
    fn map(&self, _arena: &Arc<Arena>) -> Result<()> {
        Ok(())
    }

    /// Whether the device can read and write `arena`: whether it was mapped, and
    /// still is. Queues ask before they take buffers of a pool.
    fn reaches(&self, _arena: &Arc<Arena>) -> bool {
        true
    }

    /// Interrupt vectors (MSI-X) it has; 0 if interrupts cannot be had this way.
    fn irq_vectors(&self) -> u16 {
        0
    }

    /// Signals eventfd `fds[i]` for MSI-X vector `i`; an empty slice turns
    /// interrupts off. The eventfds must stay open until then.
    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        if fds.is_empty() { Ok(()) } else { Err(has_none(self.name(), "interrupts")) }
    }

    /// NUMA node it is attached to, where known.
    fn numa_node(&self) -> Option<u16> {
        None
    }

    /// Resets the function (FLR) if it can; false if it cannot.
    fn reset(&self) -> Result<bool> {
        Ok(false)
    }

    /// What may take it away, and for each an eventfd that is signalled then: for a thread
    /// to sleep on.
    fn alarms(&self) -> Vec<(Alarm, BorrowedFd<'_>)> {
        Vec::new()
    }

    /// What has happened where it [is gone](Function::is_gone).
    fn loss(&self) -> Alarm {
        Alarm::Gone
    }

    /// Whether it is there no more: its registers were taken away, or it does not answer.
    /// What was read of it just before may be all ones then.
    fn is_gone(&self) -> bool {
        alarm::is_silent(&self.config_read(0, 4))
    }

    /// Whether the memory that it was given is still where it was.
    ///
    /// # Errors
    /// [`Kind::Memory`](crate::error::Kind::Memory) if the kernel has moved it, which only an
    /// IOMMU makes up for.
    fn check_memory(&self) -> Result<()> {
        Ok(())
    }

    /// Waits until `time` has passed for the function: what is analogue in it
    /// settles meanwhile. Virtual time is moved on.
    fn wait(&self, time: Duration) {
        pass(time);
    }
}

/// The error of a function that has no registers, or no interrupts.
fn has_none(name: &str, what: &str) -> Error {
    Error::new(error::Kind::Unsupported, format!("{name}: it has no {what}"))
}

/// Waits until `time` has passed.
pub(crate) fn pass(time: Duration) {
    // The kernel may add some 50 us to a sleep: too much for a bus by hand.
    if time >= Duration::from_micros(200) {
        std::thread::sleep(time);
        return;
    }
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

impl dyn Function + '_ {
    /// At least `len` bytes of zeroed memory with the addresses that the function wants, on
    /// its NUMA node if that has any left; still to be mapped.
    pub fn arena(&self, len: usize) -> Result<Arc<Arena>> {
        Arena::near(len, self.addressing(), self.numa_node())
    }

    /// Lets the function read and write memory, or stops it: the bus-master
    /// enable bit of the command register (PCI 3.0 §6.2.2).
    pub fn set_bus_master(&self, on: bool) -> Result<()> {
        const COMMAND: u16 = 0x04;
        const MEMORY_SPACE: u32 = 1 << 1;
        const BUS_MASTER: u32 = 1 << 2;
        let command = self.config_read(COMMAND, 2)?;
        let wanted = if on { command | MEMORY_SPACE | BUS_MASTER } else { command & !BUS_MASTER };
        if wanted != command {
            self.config_write(COMMAND, 2, wanted)?;
        }
        Ok(())
    }
}

impl fmt::Debug for dyn Function + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.kind())
    }
}
