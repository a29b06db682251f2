//! The devices of this family: they differ in what they offer.

use super::super::{Board, FaultKind, Model, ModelInfo, Profile};
use super::features::{LEGACY, MQ, MRG_RXBUF, OFFERED, RING_PACKED};
use super::{Interface, PAIRS, VECTORS, Virtio, legacy, regs};
use crate::pci::Id;

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    model("virtio", "virtio network device (VIRTIO 1.2), split rings", |board| {
        Box::new(Virtio::new(Interface::Modern, OFFERED, board))
    }),
    model("virtio-packed", "virtio network device (VIRTIO 1.2), packed rings offered", |board| {
        Box::new(Virtio::new(Interface::Modern, OFFERED | RING_PACKED, board))
    }),
    model("virtio-single", "virtio network device (VIRTIO 1.2), split rings, no mergeable buffers", |board| {
        Box::new(Virtio::new(Interface::Modern, OFFERED & !MRG_RXBUF, board))
    }),
    LEGACY_MODEL,
    SEVERAL_PAIRS,
];

/// As dumps of QEMU's have it: registers by ports, no capabilities of the vendor's own.
const LEGACY_MODEL: ModelInfo = {
    let modern = model("virtio-legacy", "virtio network device (virtio 0.9.5), registers by ports", |board| {
        Box::new(Virtio::new(Interface::Legacy, LEGACY, board))
    });
    let profile = Profile {
        id: Id { vendor: 0x1af4, device: 0x1000, subsystem_vendor: 0x1af4, subsystem: 1, revision: 0 },
        bars: [0, 4 << 10, 0, 0, 0, 0],
        io: (0, legacy::PORTS[0]),
        vectors: legacy::VECTORS,
        msix: (1, 0, 0x800),
        ..modern.profile
    };
    ModelInfo { profile, queues: 1, faults: OLD_FAULTS, ..modern }
};

/// The same before a network of several queues.
const SEVERAL_PAIRS: ModelInfo = {
    let name = "virtio-legacy-mq";
    let profile = Profile { name, io: (0, legacy::PORTS[1]), vectors: VECTORS, ..LEGACY_MODEL.profile };
    ModelInfo {
        profile,
        text: "virtio network device (virtio 0.9.5), registers by ports, several queues",
        queues: PAIRS,
        build: |board| Box::new(Virtio::new(Interface::Legacy, LEGACY | MQ, board)),
        ..LEGACY_MODEL
    }
};

/// What can go wrong with a host.
const FAULTS: &[FaultKind] = &[
    FaultKind::RxEndless,
    FaultKind::PastIommu,
    FaultKind::FixedSize,
    FaultKind::FewDescriptors,
    FaultKind::PioNotify,
    FaultKind::NoMac,
    FaultKind::Promiscuous,
    FaultKind::SmallMtu,
    FaultKind::BackendRestarts,
];

/// The same, of a host with the legacy interface.
const OLD_FAULTS: &[FaultKind] = &[
    FaultKind::FewDescriptors,
    FaultKind::NoMac,
    FaultKind::NoMergeable,
    FaultKind::NoAnyLayout,
    FaultKind::NoControl,
    FaultKind::Promiscuous,
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
