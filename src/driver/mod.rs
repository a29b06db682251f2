//! Drivers: everything an application needs of a card, whatever its family.
//!
//! ```text
//!   open(function, config) -> Port { nic, rx: [RxQueue], tx: [TxQueue] }
//!
//!   nic    Nic            control: link, filters, statistics. Slow, virtual.
//!   rx     RxQueue        data: recv(&mut Batch). Fast, an enum.
//!   tx     TxQueue        data: send(&mut Batch). Fast, an enum.
//!
//!   families   the list of families; the enums and all that is made of the list
//!      |
//!   ixgbe  i40e  virtio  efvi  bnxt  mlx5  each returns queues of its own types
//!      |                  packet  xdp      the same of an interface of the kernel
//!      |
//!   ops  slots  queue  config      what a family implements and is given
//! ```
//!
//! What is asked of a [`Nic`] is checked once, for all families; what every ring
//! of slots does is written once, in `slots`; firmware that is asked by commands
//! in memory is asked through `mailbox`.
//!
//! Queues own descriptor rings, not packets: buffers come from the
//! [`Pool`](crate::dma::Pool) of the batch that is passed in, and go back to it. A
//! queue and its pool can move to another thread together. A queue takes buffers
//! that its card can reach ([`Function::map`](crate::pci::Function::map)) and no others.
//!
//! The device is not trusted. Every length, index and count it writes is
//! checked before it is used; a bad one is counted in [`Anomalies`], the packet
//! is dropped, and the queue goes on.

mod config;
mod families;
mod hw;
mod in_turn;
mod irq;
mod kernel;
mod lacks;
mod limits;
pub mod mailbox;
mod nic;
mod ops;
mod pending;
mod pieces;
mod pluggable;
pub mod queue;
mod regs;
pub mod ring;
pub mod rx;
mod sends;
mod slots;
mod stats;
pub mod supply;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod tx;
pub mod wait;

pub mod bnxt;
pub mod efvi;
pub mod i40e;
pub mod ixgbe;
pub mod mlx5;
pub mod packet;
pub mod virtio;
pub mod xdp;

pub use config::{Config, MAX_RING, MIN_RING, Rss, TxPath};
pub use families::{Port, RxQueue, TxQueue, driver_for, open, with_pair};
pub use in_turn::InTurn;
pub use nic::Nic;
pub use ops::{ClockReading, Description, Expression, FlowRule, Link, Said, TimestampSource, Wanted};
pub use pluggable::Pluggable;
pub use stats::{Anomalies, Stats};
