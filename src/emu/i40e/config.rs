//! Configuration space as dumps of these cards show it: what most of each kind have.
//! Virtual functions are listed and cannot be enabled.

use super::super::Layout;
use super::Kind;

const ERRORS: (u16, u32) = (0x100, 0x0002_0001);
const SERIAL: (u16, u32) = (0x140, 0x0001_0003);
const ROUTING: (u16, u32) = (0x150, 0x0001_000e);
const VIRTUAL: (u16, u32) = (0x160, 0x0001_0010);
const HINTS: (u16, u32) = (0x1a0, 0x0001_0017);
const ACCESS: (u16, u32) = (0x1b0, 0x0001_000d);
const SECONDARY: (u16, u32) = (0x1d0, 0x0001_0019);

/// Words of the capability for 64 virtual functions of device `id`, and of the hints:
/// steering tags by the device's own rules.
macro_rules! words {
    ($id:literal) => {
        // How many there are, offset without ARI and stride, device, page sizes.
        &[(0x16c, 0x0040_0040), (0x174, 0x0001_0110), (0x178, $id << 16), (0x17c, 0x553), (0x180, 1), (0x1a4, 5)]
    };
}

/// 8 GT/s x8, L1, 2048 bytes; the speed that it asks for is the lowest.
const X710: Layout = Layout {
    // Device specific initialization; events from D0, D3hot and D3cold.
    power_can: 0xc823,
    // Extended tags.
    device: 0x1000_8ce4,
    // As a card is found: errors corrected, unsupported requests.
    device_rest: 0x0009,
    link: 0x0000_0883,
    link_target: 1,
    extended: &[ERRORS, SERIAL, ROUTING, VIRTUAL, HINTS, ACCESS, SECONDARY],
    words: words!(0x154c),
    ..Layout::INTEL
};

/// No serial number.
const XXV710: Layout = Layout { extended: &[ERRORS, ROUTING, VIRTUAL, HINTS, ACCESS, SECONDARY], ..X710 };

/// In a chipset: 2.5 GT/s x1 by name, 512 bytes, no latencies.
const X722: Layout = Layout {
    device: 0x1000_8022,
    link: 0x0000_0c11,
    device2: 0x0000_0013,
    extended: &[ERRORS, SERIAL, ROUTING, VIRTUAL, HINTS, ACCESS],
    words: words!(0x37cd),
    ..X710
};

impl Kind {
    /// Where the capabilities are in configuration space.
    pub fn layout(self) -> Layout {
        match self {
            Kind::X710 | Kind::Xl710 => X710,
            Kind::Xxv710 => XXV710,
            Kind::X722 => X722,
        }
    }
}
