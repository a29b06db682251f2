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
pub use crossing::{Crossing, count_alone};
pub use dpdk::{BUFFERS, Dpdk, Setup};
pub use ours::Ours;

use crate::emu::native::Machine;
use crate::emu::{Engine, Spec};
use crate::error::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A card of this model that is never without frames of 64 bytes at 10 Gbit/s.
///
/// # Errors
/// If no card can be called so.
pub fn spec(model: &str) -> Result<Spec> {
    format!("{model},wire=source,speed=10G,link=1us").parse()
}

/// Lets the card run while a driver waits for it in memory, and looks after the
/// machine that it is in.
pub fn stepped<R>(engine: &Engine, machine: Option<&Machine>, work: impl FnOnce() -> R) -> R {
    /// Time between two steps, for the card and, roughly, for others.
    const STEP: Duration = Duration::from_micros(50);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // What fails here is a violation of the card's when it matters.
                let _ = machine.map(Machine::tend);
                engine.advance(STEP.as_nanos() as u64 * 1000);
                engine.step();
                thread::sleep(STEP);
            }
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    })
}

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
