//! Measuring: time, schedules, histograms, and what the machine adds to them.
//!
//! ```text
//!   Clock      the processor's counter, as nanoseconds and as time of day
//!     |
//!     +-- Relation   what the clock of a card is to it
//!     +-- Pace       when the next packet is due: absolute, 64-bit, no drift
//!     +-- Patience   how long a loop may wait in vain
//!     +-- Idle       what a poll loop does when there is nothing to do
//!     +-- Histogram  every figure that is printed comes out of one of these
//!     +-- Floor      what this machine takes with no card and no driver at all
//!     +-- Noise      who else had the processors meanwhile
//!
//!   ping       latency of one packet at a time
//!   flood      packets a second, and cycles a packet
//!   quiet      figures of a few nanoseconds, when nobody disturbs
//!   Machine    where it was measured
//!   search     the highest rate that a trial passes (RFC 2544)
//!   rfc2544    its loss over rates, and the longest burst without loss
//! ```
//!
//! A figure that depends on the machine is only printed beside what the machine
//! itself costs in the same second.

pub mod clock;
pub(crate) mod flights;
pub mod flood;
pub mod floor;
mod histogram;
mod idle;
pub mod machine;
mod pace;
mod patience;
pub mod ping;
mod poisson;
pub mod probe;
pub mod quiet;
mod relation;
pub mod rfc2544;
pub mod search;
mod seen;

pub use clock::{Clock, Counter, Ticks};
pub use floor::Floor;
pub use histogram::{Histogram, Quantile};
pub use idle::Idle;
pub use machine::{Machine, Noise};
pub use pace::{Pace, Slot};
pub use patience::Patience;
pub use relation::{Point, Relation, SLIP_NS};
