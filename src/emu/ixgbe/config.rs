//! Configuration space as dumps of these cards show it: what most of each kind have.
//! Virtual functions are listed and cannot be enabled.

use super::super::{Layout, Profile};
use super::Kind;

/// Ports of the window to the registers (82599 datasheet §8.1).
pub const PORTS: (u8, u64) = (2, 32);

/// Registers of a card that has the fewest in its BAR, as cards that nobody programmed
/// have it.
const LEAST: u64 = 128 << 10;

const ERRORS_1: (u16, u32) = (0x100, 0x0001_0001);
const ERRORS_2: (u16, u32) = (0x100, 0x0002_0001);
const SERIAL: (u16, u32) = (0x140, 0x0001_0003);
const ROUTING: (u16, u32) = (0x150, 0x0001_000e);
const VIRTUAL: (u16, u32) = (0x160, 0x0001_0010);

/// Words of the capability for 64 virtual functions of device `id`.
macro_rules! virtual_functions {
    ($id:literal $(, $more:expr)*) => {
        // How many there are, offset without ARI and stride, device, page sizes.
        &[(0x16c, 0x0040_0040), (0x174, 0x0002_0180), (0x178, $id << 16), (0x17c, 0x553), (0x180, 1) $(, $more)*]
    };
}

/// D3hot loses everything; 5 GT/s x8, L0s.
const I82599: Layout = Layout {
    // Device specific initialization; events from D0 and D3hot.
    power_can: 0x4823,
    power_rest: 0,
    // As a card is found: errors corrected, unsupported requests.
    device_rest: 0x0009,
    extended: &[ERRORS_1, SERIAL, ROUTING, VIRTUAL],
    words: virtual_functions!(0x10ed),
    fatal: 0,
    ..Layout::INTEL
};

/// No serial number; L0s and L1.
const X540: Layout = Layout {
    power_rest: 0x0008,
    link: 0x0000_0c82,
    extended: &[ERRORS_2, ROUTING, VIRTUAL, (0x1d0, 0x0001_000d)],
    words: virtual_functions!(0x1515),
    ..I82599
};

/// 8 GT/s x4; its first function has pin B.
const X550: Layout = Layout {
    pin: 2,
    link: 0x0000_0c43,
    link_target: 3,
    extended: &[
        ERRORS_2,
        SERIAL,
        ROUTING,
        VIRTUAL,
        (0x1a0, 0x0001_0017),
        (0x1b0, 0x0001_000d),
        (0x1c0, 0x0001_0018),
        (0x1d0, 0x0001_0019),
    ],
    // Steering tags by the device's own rules.
    words: virtual_functions!(0x1565, (0x1a4, 5)),
    fatal: 0x0006_2010,
    ..X540
};

impl Kind {
    /// Where the capabilities are, on a card with such BARs.
    pub fn layout(self, profile: &Profile) -> Layout {
        let layout = match self {
            Kind::I82599 => I82599,
            Kind::X540 => X540,
            Kind::X550 => X550,
        };
        let wide = profile.msix.0 == 4;
        Layout { wide, prefetchable: wide, ..layout }
    }

    /// What is less usual: an 82599 with two 32-bit BARs, an X550 with half of its own.
    pub fn less_usual(self, profile: &mut Profile) {
        match self {
            Kind::I82599 => {
                profile.bars = [LEAST, 0, 0, 16 << 10, 0, 0];
                profile.msix.0 = 3;
            }
            Kind::X540 => {}
            Kind::X550 => profile.bars[0] = 2 << 20,
        }
    }
}
