//! Packets: build, parse, print, filter.
//!
//! ```text
//!   recipe ──build──> frames ──parse──> addresses, ports, sequence
//!                       |
//!              filter <─+──print──> a line
//! ```
//!
//! [`complete`] asks a card for what a frame lacks: its checksums. [`turn`] sends one back, and
//! [`respond`] only if it asks for addresses of ours.
//!
//! Nothing here knows a card. Frames are byte slices without FCS. What runs once a
//! packet ([`build::Builder::write`], [`Filter::matches`]) allocates nothing and
//! makes no system call.

pub mod build;
pub mod complete;
mod filter;
pub mod parse;
pub mod print;
pub mod respond;
pub mod turn;
pub mod values;

pub use filter::Filter;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub use filter::program;
