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

pub mod frame;
pub mod segment;
mod spec;
pub mod wire;

pub use spec::{Share, Spec};

use crate::pci::Id;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

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

    /// A register read of `size` bytes (1, 2, 4 or 8).
    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64;

    /// A register write of `size` bytes (1, 2, 4 or 8).
    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64);

    /// Does what the card would have done by `now`: fetches descriptors that
    /// doorbells announce, moves frames, writes back, raises interrupts.
    /// Returns how much it did; 0 is idle.
    fn step(&mut self, now: Picos) -> usize;

    /// Pages of a BAR that hold nothing but plain memory and doorbells, which
    /// the model polls in `step`: an attachment may map them to the driver.
    fn doorbells(&self) -> Vec<DoorbellPage>;

    /// Function-level reset: everything back to power-on, the wire stays.
    fn reset(&mut self);

    /// What the driver did wrong so far: each name and how often.
    fn violations(&self) -> Vec<(String, u64)>;
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
    /// MSI-X vectors.
    pub vectors: u16,
    /// BAR that holds the MSI-X table, and the offsets of table and PBA in it.
    pub msix: (u8, u32, u32),
    /// Link speed in bits a second.
    pub speed: u64,
}

/// A page of a BAR as memory.
#[derive(Clone)]
pub struct DoorbellPage {
    /// BAR it lies in.
    pub bar: u8,
    /// Offset in the BAR, a multiple of 4096.
    pub offset: u64,
    /// Its 1024 words.
    pub words: Arc<[AtomicU32; 1024]>,
}
