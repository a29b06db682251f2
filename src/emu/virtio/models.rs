//! The devices of this family: they differ in what they offer.

use super::super::{Board, FaultKind, Model, ModelInfo, Profile};
use super::features::{MRG_RXBUF, OFFERED, RING_PACKED};
use super::{PAIRS, VECTORS, Virtio, regs};
use crate::pci::Id;

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    model("virtio", "virtio network device (VIRTIO 1.2), split rings", |board| Box::new(Virtio::new(OFFERED, board))),
    model("virtio-packed", "virtio network device (VIRTIO 1.2), packed rings offered", |board| {
        Box::new(Virtio::new(OFFERED | RING_PACKED, board))
    }),
    model("virtio-single", "virtio network device (VIRTIO 1.2), split rings, no mergeable buffers", |board| {
        Box::new(Virtio::new(OFFERED & !MRG_RXBUF, board))
    }),
];

/// What can go wrong with a host.
const FAULTS: &[FaultKind] = &[
    FaultKind::PastIommu,
    FaultKind::FixedSize,
    FaultKind::FewDescriptors,
    FaultKind::PioNotify,
    FaultKind::NoMac,
    FaultKind::Promiscuous,
    FaultKind::SmallMtu,
    FaultKind::BackendRestarts,
];

/// A device; its line rate is that of its wire, as it has none itself.
const fn model(name: &'static str, text: &'static str, build: fn(Board) -> Box<dyn Model>) -> ModelInfo {
    let profile = Profile {
        name,
        id: Id { vendor: 0x1af4, device: 0x1041, subsystem_vendor: 0x1af4, subsystem: 0x1100, revision: 1 },
        bars: [regs::BAR_LEN, 0, 0, 0, 16 << 10, 0],
        io: (0, 0),
        vectors: VECTORS,
        msix: (4, 0, 0x2000),
        speed: 10_000_000_000,
    };
    ModelInfo { profile, text, queues: PAIRS, faults: FAULTS, oui: [0x00, 0x1b, 0x21], link_delay: 0, build }
}
