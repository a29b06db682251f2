//! The cards of this family.

use super::super::{Board, FaultKind, Model, ModelInfo, Profile};
use super::{Ef10, VECTORS, link};
use crate::pci::Id;

/// Which card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Huntington, 10 Gbit/s.
    Sfc9120,
    /// Huntington, 40 Gbit/s.
    Sfc9140,
    /// Medford.
    Sfc9220,
    /// Medford2.
    X2522,
}

impl Kind {
    /// Whether it is of the first generation.
    pub fn huntington(self) -> bool {
        matches!(self, Kind::Sfc9120 | Kind::Sfc9140)
    }

    /// Whether frames may be written into the card as they are sent.
    pub const fn ctpio(self) -> bool {
        matches!(self, Kind::X2522)
    }

    /// Whether an event queue may report a packet before its end.
    pub fn event_cut_through(self) -> bool {
        self == Kind::X2522
    }

    /// The BAR that windows are in.
    pub const fn bar(self) -> u8 {
        if matches!(self, Kind::X2522) { 0 } else { 2 }
    }

    /// How GET_CAPABILITIES calls the distance between windows.
    pub const fn window_mode(self) -> u8 {
        if matches!(self, Kind::X2522) { 1 } else { 0 }
    }

    /// Bytes between windows.
    pub const fn stride(self) -> u64 {
        0x2000 << self.window_mode()
    }
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
    FaultKind::Unlicensed,
    FaultKind::PtpUnlicensed,
    FaultKind::PtpShared,
    FaultKind::Npar,
    FaultKind::Asserted,
    FaultKind::PackedStream,
    FaultKind::CtpioTorn,
    FaultKind::VpdTorn,
    FaultKind::VpdSum,
    FaultKind::NoModule,
    FaultKind::ModuleSum,
    FaultKind::Nvm,
];

/// Pairs of queues that an RSS context spreads over.
const QUEUES: u16 = 64;

/// Bytes of the BAR of windows.
const WINDOWS: u64 = 8 << 20;

/// Ports of the older cards' first BAR.
const IO_PORTS: u64 = 256;

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    model(Kind::X2522, "x2522", 0x0b03, 10, "Solarflare X2522 10 GbE (SFC9250), with PIO and CTPIO", |board| {
        Box::new(Ef10::new(Kind::X2522, board))
    }),
    model(Kind::Sfc9220, "sfc9220", 0x0a03, 10, "Solarflare SFC9220 10 GbE (SFN8522)", |board| {
        Box::new(Ef10::new(Kind::Sfc9220, board))
    }),
    model(Kind::Sfc9120, "sfc9120", 0x0903, 10, "Solarflare SFC9120 10 GbE (SFN7122F)", |board| {
        Box::new(Ef10::new(Kind::Sfc9120, board))
    }),
    model(Kind::Sfc9140, "sfc9140", 0x0923, 40, "Solarflare SFC9140 40 GbE (SFN7142Q)", |board| {
        Box::new(Ef10::new(Kind::Sfc9140, board))
    }),
];

/// A card with a line rate of `gigabits` a second.
const fn model(
    kind: Kind,
    name: &'static str,
    device: u16,
    gigabits: u64,
    text: &'static str,
    build: fn(Board) -> Box<dyn Model>,
) -> ModelInfo {
    // Windows for more VIs than a function is given; MSI-X behind them.
    let mut bars = [0; 6];
    bars[kind.bar() as usize] = WINDOWS;
    bars[kind.bar() as usize + 2] = 16 << 10;
    let medford = matches!(kind, Kind::Sfc9220);
    let vectors = if matches!(kind, Kind::Sfc9140) { 32 } else { VECTORS };
    let profile = Profile {
        name,
        id: Id { vendor: 0x1924, device, subsystem_vendor: 0x1924, subsystem: 0x8000, revision: 1 + medford as u8 },
        bars,
        io: (0, if kind.bar() == 0 { 0 } else { IO_PORTS }),
        vectors,
        msix: (kind.bar() + 2, 0, 0x2000),
        speed: gigabits * 1_000_000_000,
    };
    ModelInfo { profile, text, queues: QUEUES, faults: FAULTS, oui: [0x00, 0x0f, 0x53], link_delay: link::DELAY, build }
}
