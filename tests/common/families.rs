//! The cards that tests drive, and where they differ: one table for all of them.
//!
//! To add a family: a card with its generations, its rings, and their device side
//! in `support/silicon`.

#![allow(dead_code)] // each test program uses a part

use std::fmt;
use std::time::Duration;

/// An emulated card, and where it differs from the others.
#[derive(Clone, Copy)]
pub struct Card {
    /// As after `emu:`.
    pub name: &'static str,
    /// Bits a second.
    pub speed: u64,
    /// Longest frame without FCS, with a tag if the card inserts one.
    pub longest: usize,
    /// Every received packet is stamped.
    pub stamps: bool,
    /// The stamp stands behind the frame, so one that fills its buffer has none.
    pub stamps_behind: bool,
    /// A step of the clock that stamps, in nanoseconds.
    pub step_ns: f64,
    /// Flows of IPv6 can be steered.
    pub ipv6_flows: bool,
    /// Frames longer than the port was set up for are dropped by the card, and a
    /// frame may fill several buffers.
    pub limits_frames: bool,
    /// Descriptors that a full receive ring keeps back.
    pub withheld: u64,
    /// It calls a UDP checksum wrong that only might be.
    pub udp_erratum: bool,
    /// Interrupt vector of the first receive queue.
    pub vector: u16,
    /// Its registers are ports, which a program of this machine cannot be lent.
    pub ports: bool,
    /// Most queues of either kind.
    pub queues: [u16; 2],
    /// What its rings can look like.
    pub rings: &'static [Rings],
    pub dpdk: Dpdk,
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Rings of a card that a test plays by hand.
#[derive(Clone, Copy)]
pub struct Rings {
    /// Of the driver, and their shape where there are several.
    pub name: &'static str,
    /// Descriptors of a transmit ring for each of a receive ring, where a frame
    /// takes several.
    pub tx_factor: u16,
    /// Descriptors of a receive ring that a driver keeps back at least.
    pub withheld: u32,
    /// Slots of a receive ring that hold no buffer, as a driver writes behind the card.
    pub bare: usize,
    /// Most bytes that one completion can report, where frames of 9000 bytes are received.
    pub longest: u32,
    /// Buffers that a receive queue holds for each descriptor, where frames of 9000
    /// bytes are received.
    pub buffers: usize,
    /// Descriptor whose completion reports a frame of five buffers as sent.
    pub report: u32,
    /// Each completion has a place of its own, and a frame of several buffers ends
    /// where one says so. Virtqueues have ids and a count of buffers instead.
    pub by_place: bool,
}

/// What DPDK's driver for a card is like.
#[derive(Clone, Copy)]
pub struct Dpdk {
    /// Rules that it is known to break.
    pub breaks: &'static [&'static str],
    /// How long its counts may lag behind the card's.
    pub lag: Duration,
    /// It reads registers now and then while packets flow.
    pub reads_registers: bool,
    /// `compare-dpdk` has this card.
    pub compared: bool,
    /// Whole programs too: its queues share no doorbells.
    pub whole: bool,
}

const IN_PLACE: Rings =
    Rings { name: "ixgbe", tx_factor: 1, withheld: 1, bare: 0, longest: 2048, buffers: 1, report: 4, by_place: true };

const VIRTQUEUES: Rings =
    Rings { name: "virtio", tx_factor: 2, withheld: 8, bare: 8, longest: 2036, buffers: 1, report: 0, by_place: false };

pub const IXGBE: Card = Card {
    name: "82599",
    speed: 10_000_000_000,
    longest: 15_868,
    stamps: false,
    stamps_behind: true,
    step_ns: 12.5,
    ipv6_flows: false,
    limits_frames: true,
    withheld: 1,
    udp_erratum: true,
    vector: 0,
    ports: false,
    queues: [16, 64],
    rings: &[IN_PLACE],
    dpdk: Dpdk { breaks: &[], lag: Duration::ZERO, reads_registers: false, compared: true, whole: true },
};

const X540: Card = Card { name: "x540", udp_erratum: false, ..IXGBE };

const X710: Card = Card {
    name: "x710",
    longest: 9_724,
    vector: 1,
    queues: [64, 64],
    rings: &[Rings { name: "i40e", ..IN_PLACE }, Rings { name: "i40e-long", ..IN_PLACE }],
    // It asks for events of the firmware by the clock.
    dpdk: Dpdk { reads_registers: true, ..IXGBE.dpdk },
    ..X540
};

const VIRTIO: Card = Card {
    name: "virtio",
    longest: 15_872,
    queues: [8, 8],
    limits_frames: false,
    rings: &[VIRTQUEUES],
    // It sends the header that it has received, but for what offloads need.
    dpdk: Dpdk { breaks: &["num_buffers of a transmitted packet is not 0"], ..IXGBE.dpdk },
    ..X540
};

pub const EF10: Card = Card {
    name: "x2522",
    longest: 9216,
    stamps: true,
    stamps_behind: false,
    step_ns: 1.0,
    ipv6_flows: true,
    withheld: 8,
    queues: [32, 32],
    rings: &[Rings { name: "efvi", withheld: 8, longest: 2034, ..IN_PLACE }],
    // It has the card write them once a second.
    dpdk: Dpdk { lag: Duration::from_millis(1_100), ..IXGBE.dpdk },
    ..X540
};

const P4: Card = Card {
    name: "bcm57414",
    speed: 25_000_000_000,
    longest: 9518,
    queues: [64, 64],
    ipv6_flows: true,
    dpdk: Dpdk { whole: false, ..IXGBE.dpdk },
    rings: &[Rings { name: "bnxt", buffers: 5, report: 0, by_place: false, ..IN_PLACE }],
    ..X540
};

const P5: Card = Card {
    name: "bcm57508",
    speed: 100_000_000_000,
    stamps: true,
    stamps_behind: false,
    step_ns: 1.0,
    // Their records are those of the older generation.
    rings: &[],
    ..P4
};

/// The rings of a ConnectX on which a frame is an entry and a completion, however long it is.
const WHOLE: Rings =
    Rings { name: "mlx5", withheld: 0, longest: 9008, buffers: 5, report: 0, by_place: false, ..IN_PLACE };

pub const CX5: Card = Card {
    name: "cx5",
    speed: 100_000_000_000,
    longest: 9996,
    udp_erratum: true,
    stamps: true,
    stamps_behind: false,
    step_ns: 12.8,
    withheld: 0,
    queues: [64, 64],
    ipv6_flows: true,
    // Its driver sends through the kernel's, and through libraries for RDMA.
    dpdk: Dpdk { compared: false, ..IXGBE.dpdk },
    // As they are, with completions in short, and with an entry for each frame.
    rings: &[WHOLE, Rings { name: "mlx5-short", ..WHOLE }, Rings { name: "mlx5-each", ..WHOLE }],
    ..X540
};

pub const CX4LX: Card = Card {
    name: "cx4lx",
    speed: 25_000_000_000,
    // Its firmware does not tell how fast its clock is.
    stamps: false,
    // With headers inline.
    rings: &[Rings { name: "mlx5-inline", ..WHOLE }],
    ..CX5
};

/// Cards that do all that there is.
pub const MODELS: [Card; 22] = [
    IXGBE,
    X540,
    Card { name: "x550", stamps: true, ..X540 },
    X710,
    Card { name: "xl710", speed: 40_000_000_000, ..X710 },
    Card { name: "xxv710", speed: 25_000_000_000, ..X710 },
    Card { name: "x722", ..X710 },
    EF10,
    Card { name: "sfc9220", ..EF10 },
    Card { name: "sfc9120", ..EF10 },
    Card { name: "sfc9140", speed: 40_000_000_000, ..EF10 },
    P4,
    Card { name: "bcm57412", speed: 10_000_000_000, ..P4 },
    Card { name: "bcm57416", speed: 10_000_000_000, ..P4 },
    Card { name: "bcm58802", ..P4 },
    P5,
    Card { name: "bcm57504", speed: 25_000_000_000, ..P5 },
    Card { name: "bcm57502", speed: 50_000_000_000, ..P5 },
    CX5,
    CX4LX,
    Card { name: "cx6dx", step_ns: 1.0, ..CX5 },
    Card { name: "cx7", step_ns: 1.0, speed: 200_000_000_000, ..CX5 },
];

const VIRTIO_PACKED: Card = Card {
    name: "virtio-packed",
    rings: &[Rings { name: "virtio-packed", withheld: 0, bare: 0, ..VIRTQUEUES }],
    dpdk: Dpdk { compared: false, ..VIRTIO.dpdk },
    ..VIRTIO
};

const LEGACY: Card = Card {
    name: "virtio-legacy",
    speed: 0,
    ports: true,
    queues: [1, 1],
    // The second as where a header has a descriptor of its own.
    rings: &[Rings { name: "virtio-legacy", ..VIRTQUEUES }, Rings { name: "virtio-legacy-apart", ..VIRTQUEUES }],
    dpdk: VIRTIO_PACKED.dpdk,
    ..VIRTIO
};

/// Cards that move packets and do nothing else: no hashes, stamps, tags, rules.
pub const PLAIN: [Card; 4] =
    [VIRTIO, VIRTIO_PACKED, LEGACY, Card { name: "virtio-legacy-mq", queues: VIRTIO.queues, ..LEGACY }];

/// As [`PLAIN`], and takes no frame of several buffers.
pub const SINGLE: Card = Card { name: "virtio-single", dpdk: VIRTIO_PACKED.dpdk, ..VIRTIO };

/// One of each family of [`MODELS`], or generation that is driven in another way.
pub const FAMILIES: [Card; 6] = [IXGBE, X710, EF10, P4, P5, CX5];

/// One of each family, and of each generation that is driven in another way: what
/// holds for a command must hold on all.
pub const EACH: [Card; 9] = [IXGBE, X710, EF10, P4, P5, CX5, PLAIN[0], PLAIN[1], LEGACY];

/// The card of that name.
pub fn card(name: &str) -> Card {
    let found = MODELS.into_iter().chain(PLAIN).chain([SINGLE]).find(|card| card.name == name);
    found.unwrap_or_else(|| panic!("no card {name}"))
}

/// All rings that a test plays by hand.
pub fn all_rings() -> impl Iterator<Item = &'static Rings> {
    EACH.into_iter().chain([CX4LX]).flat_map(|card| card.rings)
}

/// The rings of that name.
pub fn rings(name: &str) -> &'static Rings {
    all_rings().find(|rings| rings.name == name).unwrap_or_else(|| panic!("no rings {name}"))
}
