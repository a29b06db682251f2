//! Registers that are read and written through a file, at an offset: a BAR of I/O ports,
//! which nobody can map, and what of a memory BAR the kernel keeps from being mapped.
//!
//! Both ways to a card offer them: VFIO as a region of the device's file, sysfs as
//! `resourceN` (Linux drivers/pci/pci-sysfs.c, `pci_resource_io`), where 1, 2 or 4 bytes
//! are one access to the port.

use super::{Doorbell, Function, Registers};
use crate::error::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Registers in a file, from byte `start` of it. Each access is a system call.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) file: Arc<File>,
    pub(super) start: u64,
}

impl Registers for Ports {
    /// A card that does not answer reads as all ones, as it would when mapped.
    fn read(&self, offset: u64, size: u8) -> u64 {
        let mut bytes = [0; 8];
        let wanted = &mut bytes[..usize::from(size.min(8))];
        let place = self.start.saturating_add(offset);
        if self.file.read_exact_at(wanted, place).is_err() {
            wanted.fill(0xff);
        }
        u64::from_le_bytes(bytes)
    }

    /// A write to a card that is gone is lost, as it would be when mapped.
    fn write(&self, offset: u64, size: u8, value: u64) {
        let place = self.start.saturating_add(offset);
        let _ = self.file.write_all_at(&value.to_le_bytes()[..usize::from(size.min(8))], place);
    }

    fn doorbell(&self, _offset: u64) -> Option<Doorbell> {
        None
    }
}

impl dyn Function + '_ {
    /// Whether BAR `index` is of I/O ports (PCI 3.0 §6.2.5.1, bit 0).
    pub fn is_port_bar(&self, index: u8) -> Result<bool> {
        Ok(self.config_read(0x10 + 4 * u16::from(index), 4)? & 1 != 0)
    }

    /// Lets the function answer to I/O ports: the I/O enable bit of the command register
    /// (PCI 3.0 §6.2.2). Cards that nobody asks for ports are left without.
    pub(super) fn enable_ports(&self) -> Result<()> {
        const COMMAND: u16 = 0x04;
        const IO_SPACE: u32 = 1;
        let command = self.config_read(COMMAND, 2)?;
        if command & IO_SPACE == 0 {
            self.config_write(COMMAND, 2, command | IO_SPACE)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Bar;

    #[test]
    fn ports_are_bytes_of_a_file_and_ones_where_it_ends() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x120).unwrap();
        let ports = Ports { file: Arc::new(file.try_clone().unwrap()), start: 0x100 };
        let bar = Bar::Served(Arc::new(ports), 32);
        bar.write32(4, 0x1122_3344);
        bar.write16(16, 0x5566);
        bar.write8(18, 7);
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, 0x100).unwrap();
        assert_eq!((&bytes[4..8], &bytes[16..19]), (&[0x44, 0x33, 0x22, 0x11][..], &[0x66, 0x55, 7][..]));
        assert_eq!((bar.read32(4), bar.read16(6), bar.read8(7)), (0x1122_3344, 0x1122, 0x11));
        assert!(bar.doorbell(16).is_err() && bar.short_doorbell(16).is_err());
        // The card is gone: so is what the kernel reads of it.
        file.set_len(0x110).unwrap();
        assert_eq!((bar.read8(18), bar.read16(18), bar.read32(16)), (u8::MAX, u16::MAX, u32::MAX));
        assert_eq!(bar.read32(u64::MAX), u32::MAX);
    }

    /// What the kernel refuses, as it does when the machine is locked down, is no panic.
    #[test]
    fn a_file_that_cannot_be_written_loses_what_is_written() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        temp.as_file().set_len(32).unwrap();
        let file = Arc::new(File::open(temp.path()).unwrap());
        let ports = Ports { file, start: 0 };
        ports.write(16, 2, 1);
        assert_eq!(ports.read(16, 2), 0);
    }
}
