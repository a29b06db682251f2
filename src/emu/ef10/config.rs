//! Configuration space, as dumps of cards show it.
//!
//! ```text
//!   40 power -> 50 MSI -> 70 PCIe -> b0 MSI-X -> d0 VPD
//!   100 errors -> 140 serial number -> 150 ARI -> 160 PCIe at 8 GT/s
//!       -> 180 virtual functions, of which there are none -> 1c0 hints
//! ```

use super::super::Layout;

/// What all cards of the family have in common.
pub const LAYOUT: Layout = Layout {
    // Write combining is for who maps a BAR so: none is prefetchable.
    prefetchable: false,
    list: &[0x40, 0x50, 0x70, 0xb0, 0xd0],
    power: 0x40,
    msi: 0x50,
    pcie: 0x70,
    msix: 0xb0,
    vpd: Some((0xd0, "SFC, emulated")),
    // D1 and D2 besides; no soft reset.
    power_can: 0x0603,
    // 64-bit addresses, no masks.
    msi_can: 0x0080,
    // 2048 bytes, function level reset; 8 GT/s x8, L0s and L1.
    device: 0x1000_8cc4,
    link: 0x0000_0c83,
    link_target: 3,
    extended: &[
        (0x100, 0x0002_0001),
        (0x140, 0x0001_0003),
        (0x150, 0x0001_000e),
        (0x160, 0x0001_0019),
        (0x180, 0x0001_0010),
        (0x1c0, 0x0001_0017),
    ],
    ..Layout::INTEL
};
