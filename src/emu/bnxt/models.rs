//! The cards of this family.

use super::super::{Board, FaultKind, Layout, Model, ModelInfo, Profile};
use super::chip::Chip;
use super::{Bnxt, link};
use crate::pci::Id;

/// What is in the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// Twisted pair, which needs autonegotiation.
    BaseT,
    /// A cage for SFP+ or SFP28.
    Sfp,
    /// A cage for QSFP28 or QSFP56.
    Qsfp,
}

/// What cards of the family differ in.
#[derive(Debug)]
pub struct Kind {
    /// Generation.
    pub chip: Chip,
    /// The number that VER_GET tells.
    pub number: u16,
    /// Revision of the chip.
    pub revision: u8,
    /// Speeds, as bits of PORT_PHY_QCAPS: of one level a symbol, and of four (PAM4).
    pub speeds: u16,
    /// See `speeds`.
    pub pam4: u16,
    /// What is in the port.
    pub media: Media,
    /// Commands but VER_GET are to come by way of memory.
    pub short: bool,
}

/// Speeds as bits.
const G1: u16 = 1 << 3;
const G10: u16 = 1 << 6;
const G25: u16 = 1 << 8;
const G40: u16 = 1 << 9;
const G50: u16 = 1 << 10;
const G100: u16 = 1 << 11;
const M100: u16 = 1 << 1;
const PAM4_50: u16 = 1;
const PAM4_100: u16 = 1 << 1;
const PAM4_200: u16 = 1 << 2;

const fn p4(number: u16, speeds: u16, media: Media) -> Kind {
    Kind { chip: Chip::P4, number, revision: 1, speeds, pam4: 0, media, short: false }
}

const fn p5(number: u16, media: Media, speeds: u16, pam4: u16) -> Kind {
    Kind { chip: Chip::P5, number, revision: 2, speeds, pam4, media, short: true }
}

static BCM57412: Kind = p4(0x16d6, G1 | G10, Media::Sfp);
static BCM57414: Kind = p4(0x16d7, G1 | G10 | G25, Media::Sfp);
static BCM57416: Kind = p4(0x16d8, M100 | G1 | G10, Media::BaseT);
static BCM58802: Kind = Kind { short: true, ..p4(0xd802, G1 | G10 | G25, Media::Sfp) };
static BCM57508: Kind = p5(0x1750, Media::Qsfp, G10 | G25 | G40 | G50 | G100, PAM4_50 | PAM4_100 | PAM4_200);
static BCM57504: Kind = p5(0x1751, Media::Sfp, G10 | G25 | G50, PAM4_50);
static BCM57502: Kind = p5(0x1752, Media::Qsfp, G10 | G25 | G40 | G50 | G100, PAM4_50 | PAM4_100);

/// What their firmware can do wrong.
const FAULTS: &[FaultKind] = &[
    FaultKind::RxEndless,
    FaultKind::Timeout,
    FaultKind::Crash,
    FaultKind::Opcode,
    FaultKind::Short,
    FaultKind::Error,
    FaultKind::Denied,
    FaultKind::Unsupported,
    FaultKind::Hollow,
    FaultKind::Old,
    FaultKind::NoVersion,
    FaultKind::Media,
    FaultKind::Busy,
    FaultKind::NotReady,
    FaultKind::StoreBusy,
    FaultKind::ShortRequests,
    FaultKind::OldResources,
    FaultKind::NoResources,
    FaultKind::Npar,
    FaultKind::Npar12,
    FaultKind::NoAutoneg,
    FaultKind::PortDisabled,
    FaultKind::OtherPort,
    FaultKind::Fec,
    FaultKind::NoModule,
    FaultKind::LinkHeld,
    FaultKind::Partner,
    FaultKind::HotReset,
    FaultKind::Echo,
    FaultKind::Half,
    FaultKind::Opaque,
    FaultKind::Doorbell,
    FaultKind::Promiscuous,
    FaultKind::Vlan,
    FaultKind::FewGroups,
    FaultKind::FarQueue,
    FaultKind::NoMac,
    FaultKind::MacLocked,
    FaultKind::NoNtuple,
    FaultKind::PtpTaken,
    FaultKind::SmallMtu,
    FaultKind::VpdTorn,
    FaultKind::VpdSum,
    FaultKind::ModuleSum,
];

/// Pairs of queues that a driver can have.
const QUEUES: u16 = 32;

/// MSI-X vectors.
const P4_VECTORS: u16 = 74;
const P5_VECTORS: u16 = 128;

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    model(&BCM57412, "bcm57412", 0x4120, 10, "Broadcom BCM57412 10 GbE (NetXtreme-E)", |board| {
        Box::new(Bnxt::new(&BCM57412, board))
    }),
    model(&BCM57414, "bcm57414", 0x4142, 25, "Broadcom BCM57414 25 GbE (NetXtreme-E)", |board| {
        Box::new(Bnxt::new(&BCM57414, board))
    }),
    model(&BCM57416, "bcm57416", 0x4160, 10, "Broadcom BCM57416 10GBASE-T (NetXtreme-E)", |board| {
        Box::new(Bnxt::new(&BCM57416, board))
    }),
    model(&BCM58802, "bcm58802", 0x8023, 25, "Broadcom BCM58802 25 GbE (Stingray)", |board| {
        Box::new(Bnxt::new(&BCM58802, board))
    }),
    model(&BCM57502, "bcm57502", 0x2102, 50, "Broadcom BCM57502 50 GbE (Thor)", |board| {
        Box::new(Bnxt::new(&BCM57502, board))
    }),
    model(&BCM57504, "bcm57504", 0x4250, 25, "Broadcom BCM57504 25 GbE (Thor)", |board| {
        Box::new(Bnxt::new(&BCM57504, board))
    }),
    model(&BCM57508, "bcm57508", 0x2100, 100, "Broadcom BCM57508 100 GbE (Thor)", |board| {
        Box::new(Bnxt::new(&BCM57508, board))
    }),
];

/// A card with a line rate of `gigabits` a second.
const fn model(
    kind: &'static Kind,
    name: &'static str,
    subsystem: u16,
    gigabits: u64,
    text: &'static str,
    build: fn(Board) -> Box<dyn Model>,
) -> ModelInfo {
    let p5 = kind.chip.p5();
    let (doorbells, table) = if p5 { (16 << 20, 32 << 10) } else { (1 << 20, 8 << 10) };
    let (vectors, revision) = if p5 { (P5_VECTORS, 0x12) } else { (P4_VECTORS, 1) };
    let profile = Profile {
        name,
        id: Id { vendor: 0x14e4, device: kind.number, subsystem_vendor: 0x14e4, subsystem, revision },
        bars: [64 << 10, 0, doorbells, 0, table, 0],
        io: (0, 0),
        vectors,
        // The pending bits are right behind the table.
        msix: (4, 0, 16 * vectors as u32),
        speed: gigabits * 1_000_000_000,
    };
    ModelInfo { profile, text, queues: QUEUES, faults: FAULTS, oui: [0x00, 0x0a, 0xf7], link_delay: link::DELAY, build }
}

/// Configuration space as dumps of cards show it; the list of extended capabilities goes
/// back at its end.
const P4_LAYOUT: Layout = Layout {
    power: 0x48,
    vpd: Some((0x50, "Broadcom NetXtreme-E (bnxt)")),
    msi: 0x58,
    msix: 0xa0,
    pcie: 0xac,
    // No soft reset, PME from D0, D3hot and D3cold.
    power_can: 0xc803,
    power_rest: 0x0008,
    // Eight vectors, 64-bit addresses, no masking.
    msi_can: 0x0086,
    // 512 bytes, extended tags, function level reset; 8 GT/s x8; LTR, OBFF.
    device: 0x1000_8da2,
    // Errors corrected, unsupported requests, auxiliary power: so cards are found.
    device_rest: 0x0019,
    link: 0x0004_0083,
    device2: 0x0008_081f,
    link_target: 1,
    extended: &[
        (0x100, 0x0001_0001),
        (0x13c, 0x0001_0003),
        (0x150, 0x0001_0004),
        (0x160, 0x0001_0002),
        (0x180, 0x0001_000b),
        (0x1b0, 0x0001_0018),
        (0x1b8, 0x0001_000e),
        (0x230, 0x0001_0017),
        (0x300, 0x0001_0019),
        (0x200, 0x0001_001f),
    ],
    vsec: 0x0200_0000,
    serial: [0; 2],
    ..Layout::INTEL
};

/// The same, with a link of 16 GT/s x16.
const P5_LAYOUT: Layout = Layout { link: 0x0004_0104, ..P4_LAYOUT };

impl Kind {
    /// Where the capabilities are in configuration space. The serial number is the
    /// address with ff fe in its middle.
    pub fn layout(&self, [a, b, c, d, e, f]: [u8; 6]) -> Layout {
        let serial = [[0xfe, d, e, f], [a, b, c, 0xff]].map(u32::from_be_bytes);
        Layout { serial, ..if self.chip.p5() { P5_LAYOUT } else { P4_LAYOUT } }
    }

    /// Speeds that can be negotiated, as bits: the highest of four levels and 40 Gbit/s on
    /// the newer generation can be forced only.
    pub const fn negotiable(&self) -> (u16, u16) {
        (if self.chip.p5() { self.speeds & !G40 } else { self.speeds }, self.pam4 & !PAM4_200)
    }
}
