//! Configuration space, built from a model's [`Profile`] (PCI 3.0 §6, PCIe 3.0 §7).
//!
//! ```text
//!   0x00  header: ids, command, BARs      0x70  MSI-X      0x100  AER
//!   0x40  power management                0xA0  PCIe       0x140  serial number
//!   0x50  MSI, 64-bit and maskable
//! ```
//!
//! The capabilities stand where Intel's cards have them, because DPDK reads the
//! PCIe one at fixed offsets, unless a model has a [`Layout`] of its own. Those of a
//! vendor's own take MSI's place and the room between the others: a function that has
//! them does without MSI.

mod layout;
#[cfg(test)]
mod tests;
mod vpd;

pub use self::layout::Layout;
use super::{FaultKind, Profile};

/// Bytes of a function's configuration space.
pub const CONFIG_SIZE: usize = 4096;

/// Offset of the command register.
pub const COMMAND: usize = 0x04;
const BAR: usize = 0x10;

/// Power state in power management's control.
const D3HOT: u8 = 3;
/// I/O space enable in the command register.
pub const PORTS: u32 = 1;
/// Bus master enable in the command register.
const BUS_MASTER: u32 = 1 << 2;
/// Extended capabilities: error reporting, serial number, a vendor's own.
const ERRORS: u16 = 0x0001;
const SERIAL: u16 = 0x0003;
const VENDOR: u16 = 0x000b;
/// An error was corrected, in the status of the device.
const CORRECTED: u16 = 1;
/// Initiate function level reset in PCIe device control.
pub const FLR: u32 = 1 << 15;

/// A function's configuration space: bytes, and which bits can be written.
#[derive(Debug)]
pub struct ConfigSpace {
    layout: Layout,
    bytes: Box<[u8; CONFIG_SIZE]>,
    writable: Box<[u8; CONFIG_SIZE]>,
    initial: Box<[u8; CONFIG_SIZE]>,
    /// Vital product data.
    product: Vec<u8>,
}

/// What a write to configuration space asks of the rest of the function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Bus mastering was turned on or off.
    pub bus_master: Option<bool>,
    /// MSI-X enable and function mask were written.
    pub msix: Option<(bool, bool)>,
    /// Function level reset, or one by the way back from D3hot.
    pub reset: bool,
}

impl ConfigSpace {
    /// The space of such a function after power-on,
    /// with these capabilities of the vendor's own and this fault.
    ///
    /// # Panics
    /// If there is no room for them: models are built of constants.
    pub fn new(profile: &Profile, layout: Layout, vendor: &[Vec<u8>], fault: Option<FaultKind>) -> Self {
        let zeroes = || Box::new([0; CONFIG_SIZE]);
        let product = layout.vpd.map_or(Vec::new(), |(_, name)| vpd::of(name, fault));
        let mut space = Self { layout, bytes: zeroes(), writable: zeroes(), initial: zeroes(), product };
        space.header(profile);
        space.capabilities(profile);
        space.vendor(vendor);
        space.initial = space.bytes.clone();
        space
    }

    fn header(&mut self, profile: &Profile) {
        let id = profile.id;
        self.put(0x00, 2, u32::from(id.vendor), 0);
        self.put(0x02, 2, u32::from(id.device), 0);
        // Memory space, bus master, parity, SERR, INTx disable.
        self.put(COMMAND, 2, 0, 0x0546);
        // A capability list.
        self.put(0x06, 2, 0x0010, 0);
        self.put(0x08, 4, u32::from(self.layout.class) << 16 | u32::from(id.revision), 0);
        self.put(0x0c, 1, 0, 0xff);
        for (index, &size) in profile.bars.iter().enumerate().filter(|(_, size)| **size != 0) {
            let mask = !(size - 1);
            let kind = u32::from(self.layout.prefetchable) << 3 | u32::from(self.layout.wide) << 2;
            self.put(BAR + 4 * index, 4, kind, mask as u32);
            if self.layout.wide {
                self.put(BAR + 4 * index + 4, 4, 0, (mask >> 32) as u32);
            }
        }
        let (index, ports) = profile.io;
        if ports != 0 {
            self.put(COMMAND, 2, 0, 0x0547);
            self.put(BAR + 4 * usize::from(index), 4, 1, !(ports - 1) as u32);
        }
        self.put(0x2c, 2, u32::from(id.subsystem_vendor), 0);
        self.put(0x2e, 2, u32::from(id.subsystem), 0);
        self.put(0x34, 1, self.layout.list.first().copied().unwrap_or(self.layout.power).into(), 0);
        self.put(0x3c, 1, 0, 0xff);
        self.put(0x3d, 1, self.layout.pin.into(), 0);
    }

    fn capabilities(&mut self, profile: &Profile) {
        let layout = self.layout;
        let (power, msi, msix, pcie) = (layout.power(), layout.msi(), layout.msix(), layout.pcie());
        let next = |at: u8| u32::from(at) << 8;

        if power != 0 {
            let behind = layout.vpd.map_or(layout.msi, |(at, _)| at);
            self.put(power, 4, 0x01 | next(behind) | u32::from(layout.power_can) << 16, 0);
            self.put(power + 4, 2, layout.power_rest.into(), 0x0003);
        }

        if let Some((at, _)) = layout.vpd {
            // Address, which a read is started by, and data.
            self.put(at.into(), 4, 0x03 | next(layout.msi), 0xffff_0000);
            self.put(usize::from(at) + 4, 4, 0, !0);
        }

        if msi != 0 {
            let maskable = layout.msi_can & 0x100 != 0;
            self.put(msi, 4, 0x05 | next(layout.msix) | u32::from(layout.msi_can) << 16, 0x0071_0000);
            self.put(msi + 4, 4, 0, !3);
            self.put(msi + 8, 4, 0, !0);
            self.put(msi + 12, 2, 0, 0xffff);
            if maskable {
                self.put(msi + 16, 4, 0, 1);
            }
        }

        let (bar, table, pba) = profile.msix;
        let last = u32::from(profile.vectors.max(1) - 1);
        self.put(msix, 4, 0x11 | next(layout.pcie) | last << 16, 0xc000_0000);
        self.put(msix + 4, 4, table | u32::from(bar), 0);
        self.put(msix + 8, 4, pba | u32::from(bar), 0);

        if pcie != 0 {
            // PCIe endpoint, version 2; the link runs as fast and as wide as it can.
            self.put(pcie, 4, 0x0002_0010, 0);
            self.put(pcie + 0x04, 4, layout.device, 0);
            self.put(pcie + 0x08, 2, 0x2810, 0x7fff);
            self.put(pcie + 0x0a, 2, layout.device_rest.into(), 0);
            self.put(pcie + 0x0c, 4, layout.link, 0);
            self.put(pcie + 0x10, 2, 0, 0x00c3);
            self.put(pcie + 0x12, 2, 0x1000 | layout.link & 0x3ff, 0);
            self.put(pcie + 0x24, 4, layout.device2, 0);
            self.put(pcie + 0x28, 2, 0, 0x001f);
            // From 8 GT/s on there is a list of the speeds that there are.
            let fastest = layout.link & 0xf;
            if fastest >= 3 {
                self.put(pcie + 0x2c, 4, ((1 << fastest) - 1) << 1, 0);
            }
            if layout.link_target != 0 {
                self.put(pcie + 0x30, 2, layout.link_target.into(), 0x000f);
            }
        }

        if let Some((at, content)) = layout.vendor {
            self.bytes[usize::from(at)..usize::from(at) + content.len()].copy_from_slice(content);
        }
        for (n, &at) in layout.list.iter().enumerate() {
            self.bytes[usize::from(at) + 1] = layout.list.get(n + 1).copied().unwrap_or(0);
        }

        let behind = layout.extended.iter().skip(1).map(|(at, _)| u32::from(*at)).chain([0]);
        for (&(at, header), next) in layout.extended.iter().zip(behind) {
            self.put(at.into(), 4, header | next << 20, 0);
        }
        for &(at, header) in layout.extended {
            let at = usize::from(at);
            match header as u16 {
                ERRORS => {
                    // Masks and severities can be written.
                    self.put(at + 0x08, 4, 0, 0x003f_f030);
                    self.put(at + 0x0c, 4, layout.fatal, 0x003f_f030);
                    if layout.device_rest & CORRECTED != 0 {
                        self.put(at + 0x10, 4, 0x0000_2000, 0);
                    }
                    self.put(at + 0x14, 4, 0x0000_2000, 0x0000_f1c1);
                }
                SERIAL => {
                    self.put(at + 4, 4, layout.serial[0], 0);
                    self.put(at + 8, 4, layout.serial[1], 0);
                }
                VENDOR => self.put(at + 4, 4, layout.vsec, 0),
                _ => {}
            }
        }
        for &(at, word) in layout.words {
            self.put(at.into(), 4, word, 0);
        }
    }

    /// Hangs the vendor's capabilities into the list, behind power management.
    fn vendor(&mut self, capabilities: &[Vec<u8>]) {
        if capabilities.is_empty() {
            return;
        }
        let (power, msi, msix, pcie) = (self.layout.power(), self.layout.msi(), self.layout.msix(), self.layout.pcie());
        self.bytes[msi..msix].fill(0);
        self.writable[msi..msix].fill(0);
        let mut gaps = [msi..msix, msix + 12..pcie, pcie + 0x3c..0x100];
        let mut next = msix;
        for capability in capabilities.iter().rev() {
            let gap = gaps.iter_mut().find(|gap| gap.len() >= capability.len());
            let gap = gap.expect("a model's capabilities fit");
            let at = gap.start;
            gap.start += capability.len().next_multiple_of(4);
            self.bytes[at..at + capability.len()].copy_from_slice(capability);
            self.bytes[at + 1] = next as u8;
            next = at;
        }
        self.bytes[power + 1] = next as u8;
    }

    fn put(&mut self, offset: usize, size: usize, value: u32, writable: u32) {
        self.bytes[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
        self.writable[offset..offset + size].copy_from_slice(&writable.to_le_bytes()[..size]);
    }

    /// Reads 1, 2 or 4 bytes; all-ones outside.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let (at, size) = (usize::from(offset), usize::from(size));
        let mut word = [0; 4];
        match self.bytes.get(at..at + size) {
            Some(bytes) if size <= 4 => word[..size].copy_from_slice(bytes),
            _ => word = [0xff; 4],
        }
        u32::from_le_bytes(word)
    }

    /// Writes 1, 2 or 4 bytes: those bits that can be written.
    #[must_use]
    pub fn write(&mut self, offset: u16, size: u8, value: u32) -> Effects {
        let (start, size) = (usize::from(offset), usize::from(size));
        if size > 4 || start + size > CONFIG_SIZE {
            return Effects::default();
        }
        let (master, asleep) = (self.bus_master(), self.asleep());
        for (at, byte) in (start..start + size).zip(value.to_le_bytes()) {
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | byte & mask;
        }
        let touched = |at: usize| (start..start + size).contains(&at);
        if let Some((at, _)) = self.layout.vpd.filter(|(at, _)| touched(usize::from(*at) + 3)) {
            self.read_vpd(at.into());
        }
        let (pcie, msix) = (self.layout.pcie(), self.layout.msix());
        // The bit that starts a reset reads as zero at all times.
        let control = value.checked_shl(8 * start.saturating_sub(pcie + 8) as u32).unwrap_or(0);
        let woken = asleep && !self.asleep() && self.layout.forgets();
        let reset = woken || pcie != 0 && touched(pcie + 9) && start >= pcie + 8 && control & FLR != 0;
        if reset {
            self.reset();
        }
        let msix_control = touched(msix + 3) || reset;
        Effects {
            bus_master: (self.bus_master() != master).then(|| self.bus_master()),
            msix: msix_control.then(|| (self.bytes[msix + 3] & 0x80 != 0, self.bytes[msix + 3] & 0x40 != 0)),
            reset,
        }
    }

    /// An address without the flag starts a read of vital product data, which the flag
    /// ends; one with it would start a write, which the flag going ends, of nothing.
    fn read_vpd(&mut self, at: usize) {
        let address = u16::from_le_bytes([self.bytes[at + 2], self.bytes[at + 3]]);
        self.bytes[at + 3] ^= 0x80;
        if address & 0x8000 == 0 {
            for (n, byte) in self.bytes[at + 4..at + 8].iter_mut().enumerate() {
                *byte = self.product.get(usize::from(address) + n).copied().unwrap_or(0);
            }
        }
    }

    /// Where the capabilities are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether the function may reach memory.
    pub fn bus_master(&self) -> bool {
        u32::from(self.bytes[COMMAND]) & BUS_MASTER != 0
    }

    /// Whether the function answers to ports.
    pub fn ports(&self) -> bool {
        u32::from(self.bytes[COMMAND]) & PORTS != 0
    }

    /// Whether the function is in D3hot, where it answers to configuration alone.
    pub fn asleep(&self) -> bool {
        self.layout.power != 0 && self.bytes[self.layout.power() + 4] & D3HOT == D3HOT
    }

    /// As after power-on.
    pub fn reset(&mut self) {
        self.bytes = self.initial.clone();
    }
}
