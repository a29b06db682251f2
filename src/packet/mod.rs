//! Packets: build, parse, filter, capture files.

mod filter;

pub use filter::Filter;
