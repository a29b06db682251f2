//! The cards of this family.

use super::super::{Board, FaultKind, Model, ModelInfo, Profile};
use super::{I40e, QUEUES, VECTORS, link};
use crate::pci::Id;

/// Which card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// X710, 10 Gbit/s SFP+.
    X710,
    /// XL710, 40 Gbit/s QSFP+.
    Xl710,
    /// XXV710, 25 Gbit/s SFP28.
    Xxv710,
    /// X722, 10 Gbit/s SFP+.
    X722,
}

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
    FaultKind::Busy,
    FaultKind::Flood,
    FaultKind::Old,
    FaultKind::Nvm,
    FaultKind::OldNvm,
    FaultKind::NvmHeld,
    FaultKind::Media,
    FaultKind::MediaLate,
    FaultKind::NoModule,
    FaultKind::ModuleSum,
    FaultKind::FrameIgnored,
    FaultKind::FrameRefused,
    FaultKind::FrameKept,
    FaultKind::PhyBusy,
    FaultKind::PhyUnknown,
    FaultKind::SlowStart,
    FaultKind::SlowReset,
    FaultKind::Npar,
    FaultKind::Malicious,
    FaultKind::QueueLingers,
];

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    model("x710", 0x1572, 8 << 20, 10, "Intel X710 10 GbE, SFP+ cage with a short-range module", |board| {
        Box::new(I40e::new(Kind::X710, board))
    }),
    model("xl710", 0x1583, 8 << 20, 40, "Intel XL710 40 GbE, QSFP+", |board| Box::new(I40e::new(Kind::Xl710, board))),
    model("xxv710", 0x158b, 16 << 20, 25, "Intel XXV710 25 GbE, SFP28", |board| {
        Box::new(I40e::new(Kind::Xxv710, board))
    }),
    model("x722", 0x37d0, 16 << 20, 10, "Intel X722 10 GbE, SFP+, in a chipset", |board| {
        Box::new(I40e::new(Kind::X722, board))
    }),
];

/// A card with `registers` bytes in BAR 0, and a line rate of `gigabits` a second.
const fn model(
    name: &'static str,
    device: u16,
    registers: u64,
    gigabits: u64,
    text: &'static str,
    build: fn(Board) -> Box<dyn Model>,
) -> ModelInfo {
    // The X722's is that of chipsets.
    let revision = if device == 0x37d0 { 9 } else { 2 };
    let profile = Profile {
        name,
        id: Id { vendor: 0x8086, device, subsystem_vendor: 0x8086, subsystem: 0x0001, revision },
        bars: [registers, 0, 0, 32 << 10, 0, 0],
        io: (0, 0),
        vectors: VECTORS,
        msix: (3, 0, 0x1000),
        speed: gigabits * 1_000_000_000,
    };
    ModelInfo { profile, text, queues: QUEUES, faults: FAULTS, oui: [0x00, 0x1b, 0x21], link_delay: link::DELAY, build }
}
