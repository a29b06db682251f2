//! Statistics: counters of the MAC, which the controller writes to memory.
//!
//! ```text
//!   word 0            generation, written first
//!   words 1 ...       counters
//!   the last          generation, written last
//! ```
//!
//! Read from the end: if both generations agree, no counter is of another time.
//! The counters run on while nobody has the card open, so what they held at the
//! start is taken off.

use super::cmd::{EVB_PORT_ID_ASSIGNED, mac_stats};
use super::hw::Hw;
use super::setup;
use crate::dma::Region;
use crate::driver::mailbox::Request;
use crate::driver::stats::Stats;
use crate::error::{Kind, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Most counters that a card has.
pub const MAX: usize = 0x100;

/// Fewest that hold all that is read here, and the last generation.
const MIN: usize = 0x61;

/// Counters by number.
mod counter {
    pub const TX_PKTS: usize = 0x01;
    pub const TX_BYTES: usize = 0x07;
    pub const RX_PKTS: usize = 0x1c;
    pub const RX_BYTES: usize = 0x23;
    pub const RX_BAD_PKTS: usize = 0x24;
    pub const RX_GTJUMBO_PKTS: usize = 0x2c;
    pub const RX_OVERFLOW_PKTS: usize = 0x2f;
    pub const RX_NODESC_DROPS: usize = 0x36;
}

/// Bytes of the frame check sequence, which the MAC counts.
const FCS: u64 = setup::FCS as u64;

/// Where the controller writes, and what the counters were at the start.
pub struct Counters {
    region: Region,
    base: Raw,
}

/// Frames that the MAC let through and that are longer than what is received: of the
/// few bytes that it is granted beyond.
#[derive(Debug, Default)]
pub struct TooLong {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl TooLong {
    /// Counts one of `bytes` bytes.
    pub fn count(&self, bytes: u32) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.into(), Ordering::Relaxed);
    }
}

/// What is read.
#[derive(Clone, Copy, Debug, Default)]
struct Raw {
    tx_packets: u64,
    tx_bytes: u64,
    rx_packets: u64,
    rx_bytes: u64,
    bad: u64,
    oversize: u64,
    overflow: u64,
    no_descriptor: u64,
}

impl Counters {
    /// Counts from now on.
    pub fn start(hw: &Hw, region: Region) -> Result<Self> {
        let words = usize::from(hw.caps.stats).clamp(MIN, MAX);
        let region = region.part(0, words * 8);
        let base = read(hw, &region)?;
        Ok(Counters { region, base })
    }

    /// What was counted since.
    pub fn update(&self, hw: &Hw) -> Result<Stats> {
        let now = read(hw, &self.region)?;
        // A counter that goes back was cleared by somebody else: then it is zero here.
        let since = |pick: fn(&Raw) -> u64| pick(&now).saturating_sub(pick(&self.base));
        // Those that found no descriptor had been received by the MAC; those that
        // it had no room for, or that were too long for it, had not.
        let no_descriptor = since(|raw| raw.no_descriptor);
        let (rx, tx) = (since(|raw| raw.rx_packets), since(|raw| raw.tx_packets));
        let bad = since(|raw| raw.bad);
        let oversize = since(|raw| raw.oversize).min(bad);
        let [long, long_bytes] = [&hw.too_long.frames, &hw.too_long.bytes].map(|count| count.load(Ordering::Relaxed));
        let received = rx.saturating_sub(bad + no_descriptor + long);
        Ok(Stats {
            rx_packets: received,
            rx_bytes: since(|raw| raw.rx_bytes).saturating_sub(FCS * rx + long_bytes),
            tx_packets: tx,
            tx_bytes: since(|raw| raw.tx_bytes).saturating_sub(FCS * tx),
            rx_missed: Some(no_descriptor),
            rx_overflow: since(|raw| raw.overflow),
            by_device: true,
            rx_errors: bad - oversize,
            rx_oversize: oversize + long,
            ..Stats::default()
        })
    }
}

/// Has all counters written, and reads some.
fn read(hw: &Hw, region: &Region) -> Result<Raw> {
    const DMA: u64 = 1;
    const PATIENCE: Duration = Duration::from_millis(100);
    const INVALID: u64 = u64::MAX;
    let words = region.words64();
    let [first, .., last] = words else { return Ok(Raw::default()) };
    let deadline = Instant::now() + PATIENCE;
    loop {
        last.store(INVALID, Ordering::Release);
        let request = Request::new(mac_stats::COMMAND)
            .with(mac_stats::input::DMA_ADDR, region.iova())
            .with(mac_stats::input::CMD, DMA)
            .with(mac_stats::input::DMA_LEN, region.len() as u64)
            .with(mac_stats::input::PORT_ID, EVB_PORT_ID_ASSIGNED);
        hw.ask(request)?;
        // <-- acquire: the counters that were written before the end are now seen
        let end = last.load(Ordering::Acquire);
        let at = |n: usize| words[n].load(Ordering::Acquire);
        let raw = Raw {
            tx_packets: at(counter::TX_PKTS),
            tx_bytes: at(counter::TX_BYTES),
            rx_packets: at(counter::RX_PKTS),
            rx_bytes: at(counter::RX_BYTES),
            bad: at(counter::RX_BAD_PKTS),
            oversize: at(counter::RX_GTJUMBO_PKTS),
            overflow: at(counter::RX_OVERFLOW_PKTS),
            no_descriptor: at(counter::RX_NODESC_DROPS),
        };
        if end != INVALID && first.load(Ordering::Acquire) == end {
            return Ok(raw);
        }
        if Instant::now() >= deadline {
            return Err(hw.error(
                Kind::Timeout,
                format!(
                    "its counters are never at rest (generation {:#x} at the start, {end:#x} at the end); ask again, or open the card again",
                    first.load(Ordering::Relaxed)
                ),
            ));
        }
    }
}
