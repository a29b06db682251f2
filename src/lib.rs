//! bmnic drives network cards from user space.
//!
//! This page is the design, kept true; each module's own page goes on from it.
//!
//! # The picture
//!
//! ```text
//!   cli      bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate
//!    |          parse, wire up, print; no hardware knowledge
//!    v
//!   measure  clock, histogram, pacing, machine       packet  build, parse, filter, pcap
//!    |                                                  |
//!    v                                                  v
//!   driver   Nic (control, dyn)   RxQueue, TxQueue (data, enum)      <- all that commands see
//!    |          ixgbe
//!    v
//!   dma, pci    arenas, pools, batches | sysfs, vfio, BARs, doorbells  <- the unsafe floor
//!    |                                   \
//!    v                                    v
//!   a real PCI function                  emu   one model per family, wire, clock
//! ```
//!
//! Arrows only go down. `emu` and `driver` never import each other: they meet in
//! [`pci::Function`] and [`dma`] alone, as a card and a driver do.
//!
//! # A packet's life
//!
//! A [`dma::Pool`] owns packet buffers. [`driver::RxQueue::recv`] moves buffers
//! that a card has filled into a [`dma::Batch`] and gives the card empty ones;
//! the application reads and changes them in place; [`driver::TxQueue::send`]
//! moves them into a ring; when the card has sent them they go back to the pool.
//! At each moment a buffer has exactly one owner, named by an index: there is
//! nothing to count and nothing to lock.

pub mod cli;
pub mod dma;
pub mod driver;
pub mod emu;
mod error;
pub mod measure;
pub mod packet;
pub mod pci;
pub mod sys;
#[cfg(test)]
mod testing;

pub use error::{Error, Kind, Result};
