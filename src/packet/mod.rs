//! Packets: build, parse, filter.
//!
//! ```text
//!   recipe ──build──> frames ──parse──> addresses, ports, sequence
//!                       |
//!              filter <─+
//! ```
//!
//! [`complete`] asks a card for what a frame lacks: its checksums.
//!
//! Nothing here knows a card. Frames are byte slices without FCS. Whatever runs
//! once a packet ([`build::Builder::write`], [`Filter::matches`])
//! allocates nothing and calls no system.

pub mod build;
pub mod complete;
mod filter;
pub mod parse;
pub mod values;

pub use filter::Filter;
