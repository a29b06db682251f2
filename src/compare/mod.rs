//! Two drivers on the same model, in the same process, by the same timer.
//!
//! ```text
//!   card     receives a burst, sends what it was given       not timed
//!   clock -- receive(burst) -- clock -- send() -- clock      timed
//! ```
//!
//! [`Dpdk`] is DPDK's own poll-mode driver, unchanged and loaded when the program
//! runs, on a card that [`native`](crate::emu::native) shows it; [`Ours`] is this
//! crate's on a second card of the same model. [`Bench`] times either, burst by
//! burst, on one core ([`Stage::Hot`]) or with the card on another
//! ([`Stage::LockStep`]), where each line that the card has written comes from
//! that core's cache: the nearest that a machine without cards comes to DMA. What would
//! cross PCIe is counted ([`Crossing`]).

mod bench;
mod crossing;
mod dpdk;
mod ours;

pub use bench::{Bench, Card, Cost, Latency, Stage};
pub use crossing::Crossing;
pub use dpdk::{BUFFERS, Dpdk, Setup};
pub use ours::Ours;

/// A driver with one receive and one transmit queue, as an application calls it.
pub trait Contender {
    /// Receives at most `burst` frames, at most 64, and keeps them; how many.
    fn receive(&mut self, burst: usize) -> usize;

    /// Sends what was received, and drops what the ring has no room for; how
    /// many it took.
    fn send(&mut self) -> usize;

    /// Drops what was received.
    fn discard(&mut self);
}
