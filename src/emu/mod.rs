//! Emulated cards: device models good enough for the vendors' own drivers.
//!
//! ```text
//!     driver (ours, Linux's, DPDK's)
//!        |  registers, doorbells          ^ interrupts
//!        v                                |
//!   attach: in this process | ...         |
//!        |  read write step               |
//!        v                                |
//!     Model  one card family  ---- Bus: memory (Translation), interrupts
//!        |  frames
//!        v
//!     wire::Mac  line rate, time  ---- wire::Wire: loop, peer, cable, source, tap, ...
//! ```
//!
//! A model is written from the datasheet's side and never imports the driver:
//! registers are rows of a table, descriptors are bytes. Whatever a driver does
//! that the datasheet forbids is a *violation*, counted by name; strict models
//! (all tests) treat the first as fatal.

mod access;
mod card;
mod config;
mod dma;
pub mod ef10;
mod fault;
mod foreign;
pub mod frame;
pub mod i40e;
mod in_process;
mod interrupts;
pub mod ixgbe;
#[cfg(target_arch = "x86_64")]
pub mod native;
pub mod offload;
mod regs;
pub mod segment;
mod spec;
mod stages;
pub mod vfio_user;
mod violations;
pub mod virtio;
pub mod wire;

pub use card::{Bus, Card};
pub use config::{CONFIG_SIZE, ConfigSpace, Effects};
pub use dma::Translation;
pub use fault::{Fault, FaultKind};
pub use in_process::{Access, Drive, Engine, Tap};
pub use interrupts::Interrupts;
pub use regs::{Hit, Mode, RegisterFile, Row};
pub use spec::{Share, Spec};
pub use stages::{StageLog, Stages};
pub use violations::Violations;

use crate::error::{Error, Kind, Result};
use crate::pci::{Id, Page};

/// Time on an emulated wire, in picoseconds since the emulation began: a byte
/// at 10 Gbit/s takes 800. Wraps after 213 days.
pub type Picos = u64;

/// A device model: one emulated PCI function of some card family.
///
/// Whoever attaches it (a thread of this process, a vfio-user client, a program
/// whose register accesses are trapped) calls `read` and `write` for registers
/// and `step` as often as it can.
pub trait Model: Send {
    /// What it looks like on the PCI bus.
    fn profile(&self) -> &Profile;

    /// Capabilities of the vendor's own in its configuration space: each with
    /// its id in byte 0; byte 1, which points to the next, is filled in.
    fn capabilities(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// A register read of `size` bytes (1, 2, 4 or 8).
    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64;

    /// A register write of `size` bytes (1, 2, 4 or 8).
    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64);

    /// Time passes, and with it links come up and timers run; no packet moves.
    /// Called before an access, where registers depend on the time.
    fn tick(&mut self, now: Picos);

    /// Does what the card would have done by `now`: fetches descriptors that
    /// doorbells announce, moves frames, writes back, raises interrupts.
    /// Returns how much it did; 0 is idle.
    fn step(&mut self, now: Picos) -> usize;

    /// Pages of a BAR that hold nothing but plain memory and doorbells, which
    /// the model polls in `step`: an attachment may map them to the driver.
    fn doorbells(&self) -> Vec<DoorbellPage>;

    /// Called now and then by an attachment that maps [`Model::doorbells`] to a
    /// driver: control bits in those pages may have been stored to.
    fn mapped(&mut self) {}

    /// Function-level reset: everything back to power-on, the wire stays.
    fn reset(&mut self);

    /// The memory and the interrupt vectors that an attachment gives it.
    fn bus(&mut self) -> &mut Bus;

    /// What the driver did wrong so far, not counting what [`Bus`] saw.
    fn violations(&self) -> &Violations;

    /// The datasheet's name of a register, for a trace: `RXDCTL(3)`.
    fn register_name(&self, bar: u8, offset: u64) -> Option<String>;

    /// What has passed on its wire.
    fn wire_counters(&self) -> wire::Counters;

    /// What its wire itself did to frames, or saw.
    fn wire_report(&mut self) -> Vec<wire::Note>;

    /// Where it notes the stages of packets, if it is a model that does; put a
    /// log there and it begins.
    fn stages(&mut self) -> Option<&mut Option<StageLog>> {
        None
    }

    /// Offloads that its driver has used; none where a model does not say.
    fn offloads_used(&self) -> offload::Used {
        offload::Used::default()
    }
}

/// A card that can be emulated.
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo {
    /// Name on the command line, without `emu:`.
    pub name: &'static str,
    /// What it is, in a line.
    pub text: &'static str,
    /// Vendor and device.
    pub id: (u16, u16),
    /// Queue pairs it has.
    pub queues: u16,
    /// Line rate in bits a second, unless the specification says another.
    pub speed: u64,
    /// What can go wrong in its firmware; empty if it has none that drivers speak to.
    pub faults: &'static [FaultKind],
    build: fn(&Spec, wire::Mac) -> Box<dyn Model>,
}

/// Frames that a card receives in one step, while its lock is held, and that each
/// of its queues sends: as many one way as the other, like the line.
const STEP: usize = 64;

/// All cards that can be emulated.
pub const MODELS: &[ModelInfo] = &[
    ModelInfo {
        name: "82599",
        text: "Intel 82599 10 GbE, SFP+ cage with a short-range module (X520)",
        id: (0x8086, 0x10fb),
        queues: 128,
        speed: 10_000_000_000,
        faults: &[],
        build: |spec, mac| Box::new(ixgbe::Ixgbe::new(ixgbe::Kind::I82599, spec, mac)),
    },
    ModelInfo {
        name: "x540",
        text: "Intel X540 10GBASE-T",
        id: (0x8086, 0x1528),
        queues: 128,
        speed: 10_000_000_000,
        faults: &[],
        build: |spec, mac| Box::new(ixgbe::Ixgbe::new(ixgbe::Kind::X540, spec, mac)),
    },
    ModelInfo {
        name: "x550",
        text: "Intel X550 10GBASE-T, with a timestamp in every received packet",
        id: (0x8086, 0x1563),
        queues: 128,
        speed: 10_000_000_000,
        faults: &[],
        build: |spec, mac| Box::new(ixgbe::Ixgbe::new(ixgbe::Kind::X550, spec, mac)),
    },
    ModelInfo {
        name: "x710",
        text: "Intel X710 10 GbE, SFP+ cage with a short-range module",
        id: (0x8086, 0x1572),
        queues: 128,
        speed: 10_000_000_000,
        faults: &FaultKind::ALL,
        build: |spec, mac| Box::new(i40e::I40e::new(i40e::Kind::X710, spec, mac)),
    },
    ModelInfo {
        name: "xl710",
        text: "Intel XL710 40 GbE, QSFP+",
        id: (0x8086, 0x1583),
        queues: 128,
        speed: 40_000_000_000,
        faults: &FaultKind::ALL,
        build: |spec, mac| Box::new(i40e::I40e::new(i40e::Kind::Xl710, spec, mac)),
    },
    ModelInfo {
        name: "xxv710",
        text: "Intel XXV710 25 GbE, SFP28",
        id: (0x8086, 0x158b),
        queues: 128,
        speed: 25_000_000_000,
        faults: &FaultKind::ALL,
        build: |spec, mac| Box::new(i40e::I40e::new(i40e::Kind::Xxv710, spec, mac)),
    },
    ModelInfo {
        name: "x722",
        text: "Intel X722 10 GbE, SFP+, in a chipset",
        id: (0x8086, 0x37d0),
        queues: 128,
        speed: 10_000_000_000,
        faults: &FaultKind::ALL,
        build: |spec, mac| Box::new(i40e::I40e::new(i40e::Kind::X722, spec, mac)),
    },
    ModelInfo {
        name: "x2522",
        text: "Solarflare X2522 10 GbE (SFC9250), with PIO and CTPIO",
        id: (0x1924, 0x0b03),
        queues: 64,
        speed: 10_000_000_000,
        faults: ef10::FAULTS,
        build: |spec, mac| Box::new(ef10::Ef10::new(ef10::Kind::X2522, spec, mac)),
    },
    ModelInfo {
        name: "sfc9220",
        text: "Solarflare SFC9220 10 GbE (SFN8522)",
        id: (0x1924, 0x0a03),
        queues: 64,
        speed: 10_000_000_000,
        faults: ef10::FAULTS,
        build: |spec, mac| Box::new(ef10::Ef10::new(ef10::Kind::Sfc9220, spec, mac)),
    },
    ModelInfo {
        name: "sfc9120",
        text: "Solarflare SFC9120 10 GbE (SFN7122F)",
        id: (0x1924, 0x0903),
        queues: 64,
        speed: 10_000_000_000,
        faults: ef10::FAULTS,
        build: |spec, mac| Box::new(ef10::Ef10::new(ef10::Kind::Sfc9120, spec, mac)),
    },
    ModelInfo {
        name: "sfc9140",
        text: "Solarflare SFC9140 40 GbE (SFN7142Q)",
        id: (0x1924, 0x0923),
        queues: 64,
        speed: 40_000_000_000,
        faults: ef10::FAULTS,
        build: |spec, mac| Box::new(ef10::Ef10::new(ef10::Kind::Sfc9140, spec, mac)),
    },
    ModelInfo {
        name: virtio::Kind::Split.name(),
        text: "virtio network device (VIRTIO 1.2), split rings",
        id: (0x1af4, 0x1041),
        queues: virtio::PAIRS,
        speed: virtio::SPEED,
        faults: &[],
        build: |spec, mac| Box::new(virtio::Virtio::new(virtio::Kind::Split, spec, mac)),
    },
    ModelInfo {
        name: virtio::Kind::Packed.name(),
        text: "virtio network device (VIRTIO 1.2), packed rings offered",
        id: (0x1af4, 0x1041),
        queues: virtio::PAIRS,
        speed: virtio::SPEED,
        faults: &[],
        build: |spec, mac| Box::new(virtio::Virtio::new(virtio::Kind::Packed, spec, mac)),
    },
    ModelInfo {
        name: virtio::Kind::Single.name(),
        text: "virtio network device (VIRTIO 1.2), split rings, no mergeable buffers",
        id: (0x1af4, 0x1041),
        queues: virtio::PAIRS,
        speed: virtio::SPEED,
        faults: &[],
        build: |spec, mac| Box::new(virtio::Virtio::new(virtio::Kind::Single, spec, mac)),
    },
];

/// Builds the card that `spec` names, at the end of `wire`.
///
/// # Errors
/// [`Kind::Usage`] if there is no such model, or it cannot have that fault.
pub fn build(spec: &Spec, wire: Box<dyn wire::Wire>) -> Result<Box<dyn Model>> {
    let info = MODELS.iter().find(|info| info.name == spec.model).ok_or_else(|| {
        let names = MODELS.iter().map(|info| info.name).collect::<Vec<_>>().join(", ");
        Error::new(Kind::Usage, format!("emu: there is no card '{}'; cards are {names}", spec.model))
    })?;
    if let Some(fault) = spec.fault.filter(|fault| !info.faults.contains(&fault.kind)) {
        let known = info.faults.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none: its driver speaks to no firmware".into() } else { known };
        let line = format!("emu: the {} cannot have the fault '{fault}'; its faults are {known}", info.name);
        return Err(Error::new(Kind::Usage, line));
    }
    let speed = spec.speed.unwrap_or(wire::Speed::Bits(info.speed));
    Ok((info.build)(spec, wire::Mac::new(wire, speed)))
}

/// What a function looks like on the PCI bus.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Name on the command line, without `emu:`.
    pub name: &'static str,
    /// Vendor, device, subsystem, revision.
    pub id: Id,
    /// Size in bytes of each memory BAR, a power of two; 0 where there is none.
    /// BARs are 64-bit: index 0 takes 0 and 1.
    pub bars: [u64; 6],
    /// Size in bytes of an I/O BAR at index 0, a power of two; 0 where there is none.
    pub io: u64,
    /// MSI-X vectors.
    pub vectors: u16,
    /// BAR that holds the MSI-X table, and the offsets of table and PBA in it.
    pub msix: (u8, u32, u32),
    /// Link speed in bits a second.
    pub speed: u64,
}

impl Profile {
    /// Size in bytes of the BAR at this index, of memory or of I/O ports; 0 if
    /// there is none.
    pub fn bar(&self, index: usize) -> u64 {
        let io = if index == 0 { self.io } else { 0 };
        self.bars.get(index).copied().unwrap_or(0).max(io)
    }
}

/// A page of a BAR as memory.
#[derive(Clone, Debug)]
pub struct DoorbellPage {
    /// BAR it lies in.
    pub bar: u8,
    /// Offset in the BAR, a multiple of 4096.
    pub offset: u64,
    /// Its 1024 words.
    pub words: Page,
}
