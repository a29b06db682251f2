//! The registers of a legacy device, virtio 0.9.5 (VIRTIO 1.2 §4.1.4,
//! "Legacy Interfaces: A Note on PCI Device Layout"): ports in BAR 0.
//!
//! ```text
//!   features . taken | PFN | size . select . notify . status.ISR | [vectors] | device's own
//!                                                 while MSI-X is on ---^
//! ```
//!
//! What it has not: features above 31, FEATURES_OK, a number of queues, a size of a queue
//! that could be chosen, three addresses a queue, a generation of its configuration.

use super::features::Features;
use super::hw::{BellPlace, Hw, Transport};
use super::regs::{NO_VECTOR, Reg, legacy, net};
use super::ring::{Bell, Places};
use crate::dma::Iova;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::{Bar, Function, capabilities};
use std::sync::{Arc, Mutex, PoisonError};

/// PCI id and revision of a legacy network device (§4.1.2.3); Linux's
/// virtio_pci_legacy.c takes no other revision.
const DEVICE: u16 = 0x1000;
const REVISION: u8 = 0;

/// MSI-X capability, and in its message control: MSI-X is on (PCI 3.0 §6.8.2.3).
const MSIX: u8 = 0x11;
const MSIX_ON: u32 = 1 << 15;

/// A queue's address counts pages of 4 KiB.
const PAGE_SHIFT: u32 = 12;

/// A legacy device.
pub struct Legacy {
    function: Arc<dyn Function>,
    bar: Bar,
    /// MSI-X capability.
    msix: Option<u16>,
    /// Queues that were started.
    started: Mutex<Vec<u16>>,
}

impl Legacy {
    /// The registers of a device that has none of VIRTIO 1.0.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if it is no legacy device.
    pub fn find(function: &Arc<dyn Function>) -> Result<Legacy> {
        let (name, id) = (function.name(), function.id());
        if id.device != DEVICE || id.revision != REVISION {
            let text = format!(
                "{name}: it has no registers of VIRTIO 1.0, and is no legacy device, which has revision 0 of id 1af4:1000 (it is revision {} of {:04x}:{:04x})",
                id.revision, id.vendor, id.device
            );
            return Err(Error::new(Kind::Unsupported, text));
        }
        let bar = function.bar(0)?;
        // With an address and a link, be MSI-X on or not.
        bar.require(name, legacy::DEVICE[1] + net::STATUS.end())?;
        let msix = capabilities(&**function, MSIX)?.first().copied();
        Ok(Legacy { function: Arc::clone(function), bar, msix, started: Mutex::default() })
    }

    fn read(&self, reg: Reg) -> u32 {
        reg.read(&self.bar, 0)
    }

    fn write(&self, reg: Reg, value: u32) {
        reg.write(&self.bar, 0, value);
    }

    fn select(&self, queue: u16) {
        self.write(legacy::QUEUE_SELECT, u32::from(queue));
    }

    /// Whether MSI-X is on now: it moves what is behind it. A card that does not answer
    /// reads as ones anyway.
    fn msix_on(&self) -> bool {
        self.msix.is_some_and(|at| self.function.config_read(at + 2, 2).is_ok_and(|control| control & MSIX_ON != 0))
    }

    fn device(&self) -> u64 {
        legacy::DEVICE[usize::from(self.msix_on())]
    }
}

fn byte_of_mac(n: u16) -> Reg {
    Reg { offset: net::MAC.offset + n, ..net::MAC }
}

/// The number of the page at `address`, as far as it can be told.
fn page(address: Iova) -> Option<u32> {
    u32::try_from(address >> PAGE_SHIFT).ok()
}

impl Transport for Legacy {
    fn is_legacy(&self) -> bool {
        true
    }

    fn bar(&self) -> &Bar {
        &self.bar
    }

    fn status(&self) -> u32 {
        self.read(legacy::DEVICE_STATUS)
    }

    fn set_status(&self, status: u32) {
        self.write(legacy::DEVICE_STATUS, status);
    }

    fn offers(&self) -> Features {
        Features(u64::from(self.read(legacy::DEVICE_FEATURES)))
    }

    fn take(&self, features: Features) {
        self.write(legacy::DRIVER_FEATURES, features.0 as u32);
    }

    fn features_ok(&self) -> u32 {
        0
    }

    fn queues(&self) -> u16 {
        u16::MAX
    }

    fn queue_size(&self, queue: u16) -> u32 {
        self.select(queue);
        self.read(legacy::QUEUE_SIZE)
    }

    fn settle_queue(&self, queue: u16, _len: u32) -> u32 {
        self.queue_size(queue)
    }

    fn set_vector(&self, queue: u16, vector: u32) -> u32 {
        if !self.msix_on() {
            return NO_VECTOR;
        }
        self.select(queue);
        self.write(legacy::QUEUE_MSIX_VECTOR, vector);
        self.read(legacy::QUEUE_MSIX_VECTOR)
    }

    fn set_config_vector(&self, vector: u32) {
        if self.msix_on() {
            self.write(legacy::CONFIG_MSIX_VECTOR, vector);
        }
    }

    fn start_queue(&self, hw: &Hw, queue: u16, places: Places) -> Result<()> {
        let Some(page) = page(places.descriptors) else {
            let text = format!(
                "queue {queue} would lie at {:#x}, and a legacy device takes addresses below 16 TiB only",
                places.descriptors
            );
            return Err(hw.error(Kind::Unsupported, text));
        };
        self.started.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
        self.select(queue);
        self.write(legacy::QUEUE_PFN, page);
        match self.read(legacy::QUEUE_PFN) {
            told if told == page => Ok(()),
            told => Err(hw.error(
                Kind::Device,
                format!("queue {queue} did not start (QUEUE_PFN reads {told:#x} after {page:#x} was written)"),
            )),
        }
    }

    fn bell(&self, _hw: &Hw, queue: u16, _features: Features) -> Result<(BellPlace, Bell)> {
        let Reg { offset, width, .. } = legacy::QUEUE_NOTIFY;
        let place = BellPlace { bar: self.bar.clone(), at: offset.into(), width };
        Ok((place, Bell::Port(self.bar.untraced(), queue)))
    }

    fn config(&self, reg: Reg) -> Option<u32> {
        let start = self.device();
        (start + reg.end() <= self.bar.size()).then(|| reg.read(&self.bar, start))
    }

    fn generation(&self) -> u32 {
        0
    }

    fn set_mac(&self, mac: MacAddr) -> bool {
        let start = self.device();
        for (n, byte) in (0..).zip(mac.0) {
            byte_of_mac(n).write(&self.bar, start, u32::from(byte));
        }
        (0..).zip(mac.0).all(|(n, byte)| byte_of_mac(n).read(&self.bar, start) == u32::from(byte))
    }

    /// What its line was raised for before is forgotten: nobody listens to it.
    fn was_reset(&self) {
        self.read(legacy::ISR);
    }

    /// Page 0 is no page: the device lets go of a queue's memory.
    fn release(&self) {
        for queue in self.started.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.select(queue);
            self.write(legacy::QUEUE_PFN, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_numbered_with_32_bits() {
        assert_eq!(page(0x1_2345_6000), Some(0x12_3456));
        assert_eq!(page((1 << 44) - 4096), Some(u32::MAX));
        assert_eq!(page(1 << 44), None);
    }
}
