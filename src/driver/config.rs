//! What a port is to be set up with.

use crate::error::{Error, Kind, Result};
use std::fmt;

/// Fewest descriptors in a ring.
pub const MIN_RING: u16 = 64;

/// Most descriptors in a ring.
pub const MAX_RING: u16 = 4096;

/// What a port is to be set up with. Frame sizes are without FCS.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receive queues, at least 1. More than one are fed by RSS. A port has more of
    /// them if its card delivers to more ([`Port::rx`](super::Port::rx)).
    pub rx_queues: u16,
    /// Transmit queues, at least 1.
    pub tx_queues: u16,
    /// Descriptors in each receive ring: a power of two, 64 to 4096.
    pub rx_ring: u16,
    /// Descriptors in each transmit ring: a power of two, 64 to 4096.
    pub tx_ring: u16,
    /// Longest frame to receive, in bytes without FCS. Above 2048 a frame
    /// spans several buffers.
    pub max_frame: u16,
    /// If the card takes no frames as long as that, receive those that it takes.
    pub shorter_frames: bool,
    /// Receive frames for any address.
    pub promiscuous: bool,
    /// How several receive queues share the traffic.
    pub rss: Rss,
    /// Send to ourselves inside the card, for self-test.
    pub loopback: bool,
    /// Set up a receive interrupt for each queue, for [`RxQueue::wait`](super::RxQueue::wait).
    pub interrupts: bool,
    /// Stamp every received packet if the silicon can.
    pub timestamps: bool,
    /// Receive descriptors of 32 bytes where a family has them and shorter ones:
    /// fewer to a cache line, so a card that writes whole lines writes sooner.
    pub long_descriptors: bool,
    /// Let the card report several received frames in one completion where it can:
    /// less to write over the bus, but it may wait for company, and nothing is stamped.
    pub compressed_completions: bool,
    /// Take VLAN tags out of received frames and report them in
    /// [`Meta::vlan`](crate::dma::Meta::vlan).
    pub vlan_strip: bool,
    /// Which way frames take to the card.
    pub tx_path: TxPath,
    /// Frames are only looked at, as they are: of an interface of the kernel those too that the
    /// kernel sends, and late and many at a time where that costs less. No card can do that.
    pub observes: bool,
    /// Bytes of a frame that are looked at, where these are fewer than all: what is only
    /// [observed](Config::observes) of an interface of the kernel then comes cut.
    pub keeps: Option<u32>,
    /// Packets will be laid ready ([`TxQueue::prepare`](super::TxQueue::prepare)): with
    /// [`TxPath::Auto`] a card that has memory for them takes them there.
    pub prepares: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rx_queues: 1,
            tx_queues: 1,
            rx_ring: 512,
            tx_ring: 512,
            max_frame: 1518,
            shorter_frames: false,
            promiscuous: true,
            rss: Rss::default(),
            loopback: false,
            interrupts: false,
            timestamps: false,
            long_descriptors: false,
            compressed_completions: false,
            vlan_strip: false,
            tx_path: TxPath::Auto,
            observes: false,
            keeps: None,
            prepares: false,
        }
    }
}

/// The way that a frame takes from memory to the wire.
///
/// ```text
///            processor stores             card reads over PCIe       first bit leaves
///   dma      doorbell                     descriptor, then frame     after both
///   push     descriptor and doorbell      frame                      after that
///   pio      frame; later, descriptor     nothing                    at once
///   ctpio    frame, straight to the MAC   nothing, unless it fails   while it is stored
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxPath {
    /// What the card is best at: the lowest latency that costs no throughput.
    #[default]
    Auto,
    /// Descriptors and frames are fetched.
    Dma,
    /// The first descriptor goes with the doorbell, of a ConnectX one that is announced
    /// alone; frames are fetched.
    Push,
    /// Frames that fit go into memory on the card.
    Pio,
    /// Single frames are stored into the card's transmitter, which begins to
    /// send once it has `threshold` bytes of one; `None`: once it has all, so
    /// that a processor that is held up never spoils a frame on the wire.
    Ctpio {
        /// Bytes.
        threshold: Option<u16>,
    },
}

impl TxPath {
    /// Its name, as it is read and printed.
    pub fn name(self) -> &'static str {
        match self {
            TxPath::Auto => "auto",
            TxPath::Dma => "dma",
            TxPath::Push => "push",
            TxPath::Pio => "pio",
            TxPath::Ctpio { .. } => "ctpio",
        }
    }
}

impl fmt::Display for TxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TxPath::Ctpio { threshold: Some(bytes) } => write!(f, "ctpio={bytes}"),
            other => f.write_str(other.name()),
        }
    }
}

impl std::str::FromStr for TxPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let threshold = |bytes: &str| bytes.parse().ok().filter(|bytes| (64..=2048).contains(bytes));
        match text.trim() {
            "auto" => Ok(TxPath::Auto),
            "dma" => Ok(TxPath::Dma),
            "push" => Ok(TxPath::Push),
            "pio" => Ok(TxPath::Pio),
            "ctpio" => Ok(TxPath::Ctpio { threshold: None }),
            other => match other.strip_prefix("ctpio=").and_then(threshold) {
                Some(bytes) => Ok(TxPath::Ctpio { threshold: Some(bytes) }),
                None => Err(Error::new(
                    Kind::Usage,
                    format!(
                        "'{text}' is no transmit path; it is auto, dma, push, pio, ctpio, or ctpio=BYTES to begin sending after 64 to 2048 of them"
                    ),
                )),
            },
        }
    }
}

/// Receive-side scaling: which queue a flow goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// Toeplitz key.
    pub key: [u8; 40],
    /// Redirection table (RETA): hash low bits to queue. Empty: all queues in turn.
    pub table: Vec<u16>,
    /// Hash UDP ports too; fragments of one datagram may then part.
    pub udp: bool,
}

impl Default for Rss {
    /// A key whose 16-bit pattern repeats, so both directions of a flow hash alike.
    fn default() -> Self {
        let mut key = [0; 40];
        for pair in key.chunks_exact_mut(2) {
            pair.copy_from_slice(&[0x6d, 0x5a]);
        }
        Rss { key, table: Vec::new(), udp: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transmit_path_reads_as_it_prints() {
        for text in ["auto", "dma", "push", "pio", "ctpio", "ctpio=64"] {
            assert_eq!(text.parse::<TxPath>().unwrap().to_string(), text);
        }
        for text in ["", "DMA", "ctpio=", "ctpio=63", "ctpio=2049", "pio=64"] {
            assert_eq!(text.parse::<TxPath>().unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
