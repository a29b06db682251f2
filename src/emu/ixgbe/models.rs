//! The cards of this family.

use super::super::{Board, FaultKind, Model, ModelInfo, Profile};
use super::{Ixgbe, QUEUES, VECTORS, config, link};
use crate::pci::Id;

/// Which card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 82599 with an SFP+ cage.
    I82599,
    /// X540, copper.
    X540,
    /// X550, copper.
    X550,
}

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    model(
        "82599",
        0x10fb,
        512 << 10,
        CAGE_FAULTS,
        "Intel 82599 10 GbE, SFP+ cage with a short-range module (X520)",
        |board| Box::new(Ixgbe::new(Kind::I82599, board)),
    ),
    model("x540", 0x1528, 2 << 20, COPPER_FAULTS, "Intel X540 10GBASE-T", |board| {
        Box::new(Ixgbe::new(Kind::X540, board))
    }),
    model(
        "x550",
        0x1563,
        4 << 20,
        COPPER_FAULTS,
        "Intel X550 10GBASE-T, with a timestamp in every received packet",
        |board| Box::new(Ixgbe::new(Kind::X550, board)),
    ),
];

/// What can go wrong with a cage and what is in it, and with any card.
const CAGE_FAULTS: &[FaultKind] = &[
    FaultKind::RxEndless,
    FaultKind::Nvm,
    FaultKind::NoModule,
    FaultKind::ModuleSum,
    FaultKind::ModuleGigabit,
    FaultKind::ModuleDual,
    FaultKind::ModuleSilent,
    FaultKind::ModuleSwap,
    FaultKind::ModuleBoots,
    FaultKind::CageUnwired,
    FaultKind::I2cHeld,
    FaultKind::LinkStuck,
    FaultKind::LocksLeft,
    FaultKind::NarrowCounters,
    FaultKind::ResetBehind,
    FaultKind::RequestsStuck,
    FaultKind::OneQueue,
    FaultKind::SteerWrong,
    FaultKind::SteerAll,
    FaultKind::SumsLie,
    FaultKind::TagLost,
    FaultKind::Miscount,
];
/// What can go wrong with a PHY, and with any card.
const COPPER_FAULTS: &[FaultKind] = &[
    FaultKind::RxEndless,
    FaultKind::Nvm,
    FaultKind::PhyLeft,
    FaultKind::LocksLeft,
    FaultKind::NarrowCounters,
    FaultKind::ResetBehind,
    FaultKind::RequestsStuck,
    FaultKind::OneQueue,
    FaultKind::SteerWrong,
    FaultKind::SteerAll,
    FaultKind::SumsLie,
    FaultKind::TagLost,
    FaultKind::Miscount,
];

/// A card with `registers` bytes in BAR 0.
const fn model(
    name: &'static str,
    device: u16,
    registers: u64,
    faults: &'static [FaultKind],
    text: &'static str,
    build: fn(Board) -> Box<dyn Model>,
) -> ModelInfo {
    let profile = Profile {
        name,
        id: Id { vendor: 0x8086, device, subsystem_vendor: 0x8086, subsystem: 0x000c, revision: 1 },
        bars: [registers, 0, 0, 0, 16 << 10, 0],
        // Intel's own copper cards have no ports.
        io: if registers == 512 << 10 { config::PORTS } else { (0, 0) },
        vectors: VECTORS,
        msix: (4, 0, 0x2000),
        speed: 10_000_000_000,
    };
    ModelInfo { profile, text, queues: QUEUES, faults, oui: [0x00, 0x1b, 0x21], link_delay: link::DELAY, build }
}
