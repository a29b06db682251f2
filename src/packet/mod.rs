//! Packets: build, parse, filter, capture files.
//!
//! ```text
//!   recipe ──build──> frames ──parse──> addresses, ports, sequence
//!                       |  |
//!              filter <─+  +─> record ──write──> pcap, pcapng ──read──> frames, times
//! ```
//!
//! [`complete`] asks a card for what a frame lacks: its checksums.
//!
//! Nothing here knows a card. Frames are byte slices without FCS. Whatever runs
//! once a packet ([`build::Builder::write`], [`Filter::matches`],
//! [`record::Format::put`]) allocates nothing and calls no system.

pub mod build;
pub mod checksum;
pub mod complete;
mod filter;
pub mod parse;
pub mod read;
pub mod record;
pub mod values;
pub mod write;

pub use filter::Filter;
