//! Statistics contexts.

/// The counters of one context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets to one, to many, to all.
    pub rx_packets: [u64; 3],
    /// No buffer for them.
    pub rx_discards: u64,
    /// Broken.
    pub rx_errors: u64,
    /// Bytes to one, to many, to all.
    pub rx_bytes: [u64; 3],
    /// Packets to one, to many, to all.
    pub tx_packets: [u64; 3],
    /// Could not be sent.
    pub tx_errors: u64,
    /// Were not sent.
    pub tx_discards: u64,
    /// Bytes to one, to many, to all.
    pub tx_bytes: [u64; 3],
}
