//! Emulated cards: device models good enough for the vendors' own drivers.
//!
//! ```text
//!     driver (ours, Linux's, DPDK's)
//!        |  registers, doorbells          ^ interrupts
//!        v                                |
//!   attach: in this process | ...         |
//!        |                                |
//!        v                                |
//!     Card   configuration space, MSI-X, time, the death of a strict card
//!        |  read write tick step          |
//!        v                                |
//!     Model  one card family, on a Board: Bus: memory (Translation), interrupts
//!        |  frames
//!        v
//!     MacPort, wire::Mac  line rate, time  ---- wire::Wire: loop, peer, cable, source, tap, ...
//! ```
//!
//! What a family implements is [`Model`] and a table of its cards. What families
//! share it takes from here: the [`Board`], register tables, rings, the turns of
//! transmit queues, offloads, frames.
//!
//! A model is written from the datasheet's side and never imports the driver:
//! registers are rows of a table, descriptors are bytes. Whatever a driver does
//! that the datasheet forbids is a *violation*, counted by name; strict models
//! (all tests) treat the first as fatal.

mod access;
pub mod bnxt;
mod board;
mod bytes;
mod card;
mod config;
mod dma;
pub mod ef10;
mod fault;
mod flaw;
mod foreign;
pub mod frame;
pub mod i40e;
mod in_process;
mod interrupts;
pub mod ixgbe;
pub mod mlx5;
mod module;
#[cfg(target_arch = "x86_64")]
pub mod native;
pub mod offload;
pub mod pcie;
pub mod polled;
mod port;
mod posted;
mod regs;
pub mod replay;
mod rx_ring;
pub mod segment;
mod slip;
mod spec;
mod stages;
mod transmit;
mod tx_ring;
mod unaided;
pub mod vfio_user;
mod violations;
pub mod virtio;
pub mod wire;

pub use board::{Board, Bus};
pub use card::Card;
pub use config::{CONFIG_SIZE, ConfigSpace, Effects, Layout};
pub use dma::Translation;
pub use fault::{At, Fault, FaultKind};
pub use in_process::{Access, Drive, Engine, Inline, Tap};
pub use interrupts::Interrupts;
pub use port::MacPort;
use regs::registers;
pub use regs::{Mode, Place, RegisterFile, Registers, Reset, Row};
pub use slip::{Act, Direction};
pub use spec::{Share, Spec};
use stages::StageLog;
pub use stages::Stages;
pub use violations::Violations;

use crate::error::{Error, Kind, Result};
use crate::pci::{Id, Page};

/// Time on an emulated wire, in picoseconds since the emulation began: a byte
/// at 10 Gbit/s takes 800. Wraps after 213 days.
pub type Picos = u64;

/// A device model: one emulated PCI function of some card family.
///
/// A thread of this process, a vfio-user client, or a program whose register
/// accesses are trapped attaches it through a [`Card`], which keeps the time, and
/// calls `read` and `write` for registers and `step` as often as it can, unless the
/// card is dead.
pub trait Model: Send {
    /// What it has in common with all models.
    fn board(&self) -> &Board;

    /// The same, to work with.
    fn board_mut(&mut self) -> &mut Board;

    /// Capabilities of the vendor's own in its configuration space: each with
    /// its id in byte 0; byte 1, which points to the next, is filled in.
    fn capabilities(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Where its capabilities are in configuration space.
    fn layout(&self) -> Layout {
        Layout::INTEL
    }

    /// A register read of `size` bytes (1, 2, 4 or 8), outside the MSI-X table.
    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64;

    /// A register write of `size` bytes (1, 2, 4 or 8), outside the MSI-X table.
    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64);

    /// Time has passed, and with it links come up and timers run; no packet moves.
    /// Called before an access, where registers depend on the time, and a step.
    fn tick(&mut self);

    /// Does what the card would have done by now: fetches descriptors that
    /// doorbells announce, moves frames, writes back, raises interrupts.
    /// Returns how much it did, lost frames among that, and a packet that waits for
    /// time on the wire; 0 is idle.
    fn step(&mut self) -> usize;

    /// Pages of a BAR that hold nothing but plain memory and doorbells, which
    /// the model polls in `step`: an attachment may map them to the driver.
    fn doorbells(&self) -> Vec<DoorbellPage>;

    /// A word of memory that stands for the register at `offset` of `bar` and is
    /// its asker's alone, with the rest of its page; its number in the page. For
    /// cards whose queues all store to one address: a model that polls one word for
    /// them would see the last store only. None where each doorbell has a place of
    /// its own, in [`Model::doorbells`].
    fn lane(&mut self, _bar: u8, _offset: u64) -> Option<(Page, usize)> {
        None
    }

    /// As [`Model::lane`], for stores of 64 bytes and more that the driver's processor
    /// combines into one: a page that stands for the one at `offset`, and the number of
    /// the word. None where that is no other place.
    fn combined(&mut self, _bar: u8, _offset: u64) -> Option<(Page, usize)> {
        None
    }

    /// A driver is going to store to [`DoorbellPage::crowded`] pages: of several stores
    /// to one word the model sees the last, and concludes what it can of the others.
    fn overlook(&mut self) {}

    /// Called now and then by an attachment that maps [`Model::doorbells`] to a
    /// driver: control bits in those pages may have been stored to.
    fn mapped(&mut self) {}

    /// Function-level reset: everything back to power-on, the wire stays.
    fn reset(&mut self);

    /// The datasheet's name of a register, for a trace: `RXDCTL(3)`.
    fn register_name(&self, bar: u8, offset: u64) -> Option<String>;
}

/// A card that can be emulated: a row of its family's table.
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo {
    /// What it looks like on the PCI bus, and its name.
    pub profile: Profile,
    /// What it is, in a line.
    pub text: &'static str,
    /// Queue pairs it has.
    pub queues: u16,
    /// What can go wrong with it, besides what can with any card.
    faults: &'static [FaultKind],
    /// The maker's number, in front of its address.
    oui: [u8; 3],
    /// How long its link takes to come up, unless the specification says.
    link_delay: Picos,
    build: fn(Board) -> Box<dyn Model>,
}

/// What can go wrong with any card.
const FAULTS: [FaultKind; 22] = [
    FaultKind::Held,
    FaultKind::HoldLast,
    FaultKind::LoseEach,
    FaultKind::LoseLong,
    FaultKind::SendStuck,
    FaultKind::ClockBack,
    FaultKind::ClockSlow,
    FaultKind::LoseIrq,
    FaultKind::ResetFatal,
    FaultKind::RxStuck,
    FaultKind::TxStuck,
    FaultKind::RxDup,
    FaultKind::TxDup,
    FaultKind::RxLength,
    FaultKind::RxLate,
    FaultKind::TxLate,
    FaultKind::RxOther,
    FaultKind::TxOther,
    FaultKind::RxIommu,
    FaultKind::TxIommu,
    FaultKind::LinkFlap,
    FaultKind::Pulled,
];

impl ModelInfo {
    /// What can go wrong with it.
    pub fn faults(&self) -> impl Iterator<Item = FaultKind> {
        self.faults.iter().copied().chain(FAULTS)
    }
}

/// Frames that a card receives in one step, while its lock is held, and that each
/// of its queues sends: as many one way as the other, like the line.
const STEP: usize = 64;

/// Numbers of the bits that are set, lowest first.
#[inline]
fn bits(mut set: u128) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let lowest = (set != 0).then(|| set.trailing_zeros() as u16)?;
        set &= set - 1;
        Some(lowest)
    })
}

/// The cards of each family.
const FAMILIES: [&[ModelInfo]; 6] =
    [ixgbe::MODELS, i40e::MODELS, ef10::MODELS, bnxt::MODELS, mlx5::MODELS, virtio::MODELS];

/// All cards that can be emulated.
pub fn models() -> impl Iterator<Item = &'static ModelInfo> {
    FAMILIES.into_iter().flatten()
}

/// Builds the card that `spec` names, at the end of `wire`.
///
/// # Errors
/// [`Kind::Usage`] if there is no such model, or it cannot have that fault.
pub fn build(spec: &Spec, wire: Box<dyn wire::Wire>) -> Result<Box<dyn Model>> {
    let info = models().find(|info| info.profile.name == spec.model).ok_or_else(|| {
        let names = models().map(|info| info.profile.name).collect::<Vec<_>>().join(", ");
        Error::new(Kind::Usage, format!("emu: there is no card '{}'; cards are {names}", spec.model))
    })?;
    if let Some(fault) = spec.fault.filter(|fault| info.faults().all(|kind| kind != fault.kind)) {
        let known = info.faults().map(FaultKind::name).collect::<Vec<_>>().join(", ");
        let line = format!("emu: the {} cannot have the fault '{fault}'; its faults are {known}", info.profile.name);
        return Err(Error::new(Kind::Usage, line));
    }
    Ok((info.build)(Board::new(info, spec, wire)))
}

/// What a function looks like on the PCI bus.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Name of the model, as in a [`Spec`].
    pub name: &'static str,
    /// Vendor, device, subsystem, revision.
    pub id: Id,
    /// Size in bytes of each memory BAR, a power of two; 0 where there is none.
    /// One of 64 bits at index 0 takes 0 and 1.
    pub bars: [u64; 6],
    /// Index of an I/O BAR and its size in bytes, a power of two; 0 where there is none.
    pub io: (u8, u64),
    /// MSI-X vectors.
    pub vectors: u16,
    /// BAR that holds the MSI-X table, and the offsets of table and PBA in it.
    pub msix: (u8, u32, u32),
    /// Line rate in bits a second, unless the specification says another.
    pub speed: u64,
}

impl Profile {
    /// Size in bytes of the BAR at this index, of memory or of I/O ports; 0 if
    /// there is none.
    pub fn bar(&self, index: usize) -> u64 {
        let io = if index == usize::from(self.io.0) { self.io.1 } else { 0 };
        self.bars.get(index).copied().unwrap_or(0).max(io)
    }

    /// Whether all its registers are ports: what memory it has is the MSI-X table's.
    pub fn by_ports(&self) -> bool {
        let table = usize::from(self.msix.0);
        self.io.1 != 0 && self.bars.iter().enumerate().all(|(index, size)| *size == 0 || index == table)
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
    /// Several queues may store to one of them, so that who polls it can miss a
    /// store. It is mapped only where that is asked for ([`Model::overlook`]).
    pub crowded: bool,
}
