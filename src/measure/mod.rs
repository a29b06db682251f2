//! Measuring: time, schedules, histograms, and what the machine adds to them.
//!
//! ```text
//!   Clock      the processor's counter, as nanoseconds and as time of day
//!     |
//!     +-- Pace       when the next packet is due: absolute, 64-bit, no drift
//!     +-- Idle       what a poll loop does when there is nothing to do
//!     +-- Histogram  every figure that is printed comes out of one of these
//! ```
//!
//! A figure that depends on the machine is only printed beside what the machine
//! itself costs in the same second.

pub mod clock;
mod histogram;
mod idle;
mod pace;

pub use clock::{Clock, Ticks};
pub use histogram::{Histogram, Quantile};
pub use idle::Idle;
pub use pace::{Pace, Slot};
