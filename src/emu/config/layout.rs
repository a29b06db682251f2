//! Where capabilities stand, by family.

/// Where a function's capabilities stand, and what they say that differs.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Class and subclass.
    pub class: u16,
    /// BARs of memory are prefetchable.
    pub prefetchable: bool,
    /// They have 64 bits.
    pub wide: bool,
    /// Interrupt pin: 1 is A.
    pub pin: u8,
    /// Where the list of capabilities goes, in its order; empty: as they are named here.
    pub list: &'static [u8],
    /// Offsets of power management, MSI, MSI-X and PCIe, which are in the list in
    /// this order; 0 where there is none. A function without PCIe is one of
    /// conventional PCI: it cannot be reset by itself.
    pub power: u8,
    /// See `power`.
    pub msi: u8,
    /// See `power`; every function has it.
    pub msix: u8,
    /// See `power`.
    pub pcie: u8,
    /// Vital product data behind power management: where, and the card's name in it.
    pub vpd: Option<(u8, &'static str)>,
    /// A capability of the vendor's own that has its place: where, and what, its id first.
    /// It is in the list only if `list` names it.
    pub vendor: Option<(u8, &'static [u8])>,
    /// What power management can do, and how its control is at rest.
    pub power_can: u16,
    /// See `power_can`.
    pub power_rest: u16,
    /// Control of MSI at rest; with bit 8 vectors can be masked.
    pub msi_can: u16,
    /// PCIe: capabilities of the device, of the link, and more of the device's.
    pub device: u32,
    /// Status of the device at rest.
    pub device_rest: u16,
    /// See `device`.
    pub link: u32,
    /// See `device`.
    pub device2: u32,
    /// Speed that the link is to have, as at rest.
    pub link_target: u16,
    /// Extended capabilities in the order of their list: offset, and word of id and
    /// version.
    pub extended: &'static [(u16, u32)],
    /// What stands in them that cannot be written: offset and word.
    pub words: &'static [(u16, u32)],
    /// Uncorrectable errors that are fatal at rest.
    pub fatal: u32,
    /// Header of a vendor's own capability in that list, if there is one: id and length.
    pub vsec: u32,
    /// The serial number.
    pub serial: [u32; 2],
}

impl Layout {
    /// The least that a card has, where Intel's cards have it.
    pub const INTEL: Layout = Layout {
        class: 0x0200,
        prefetchable: true,
        wide: true,
        pin: 1,
        list: &[],
        power: 0x40,
        msi: 0x50,
        msix: 0x70,
        pcie: 0xa0,
        vpd: None,
        vendor: None,
        // Version 3; D0 and D3hot, no soft reset.
        power_can: 0x0003,
        power_rest: 0x0008,
        // 64-bit addresses and per-vector masking.
        msi_can: 0x0180,
        // Function level reset; 5 GT/s x8.
        device: 0x1000_8cc2,
        device_rest: 0,
        link: 0x0000_0482,
        device2: 0x0000_001f,
        link_target: 0,
        extended: &[(0x100, 0x0001_0001), (0x140, 0x0001_0003)],
        words: &[],
        fatal: 0x0006_2030,
        vsec: 0,
        serial: [0xff11_2233, 0x001b_21ff],
    };

    /// This layout with a serial number made of an address, `ff ff` in its middle, as
    /// Intel's, Solarflare's and Mellanox's cards have it: one for all functions.
    pub fn of_card(self, [a, b, c, d, e, f]: [u8; 6]) -> Layout {
        Layout { serial: [[0xff, d, e, f], [a, b, c, 0xff]].map(u32::from_be_bytes), ..self }
    }

    /// Whether the way back from D3hot loses what the function was set to.
    pub fn forgets(&self) -> bool {
        self.power_rest & NO_SOFT_RESET == 0
    }

    /// Offset of MSI-X control.
    pub fn msix_control(&self) -> u16 {
        u16::from(self.msix) + 2
    }

    /// Offset of PCIe device control, in which bit 15 starts a reset of the function; none
    /// without PCIe.
    pub fn device_control(&self) -> Option<u16> {
        (self.pcie != 0).then(|| u16::from(self.pcie) + 8)
    }

    pub(super) fn power(&self) -> usize {
        self.power.into()
    }

    pub(super) fn msi(&self) -> usize {
        self.msi.into()
    }

    pub(super) fn msix(&self) -> usize {
        self.msix.into()
    }

    pub(super) fn pcie(&self) -> usize {
        self.pcie.into()
    }
}

/// In power management's control: D3hot is left without a reset.
const NO_SOFT_RESET: u16 = 1 << 3;
