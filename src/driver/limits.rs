//! What a card cannot be configured to.

use super::config::{Config, MAX_RING, MIN_RING};
use crate::error::{Error, Kind, Result};

/// Shortest limit of a frame that makes sense: the shortest frame of Ethernet.
const MIN_FRAME: u16 = 60;

/// The bounds of one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most receive queues.
    pub rx_queues: u16,
    /// Most transmit queues.
    pub tx_queues: u16,
    /// Longest frame without FCS.
    pub max_frame: u16,
}

impl Limits {
    /// Refuses a configuration that `device` cannot have.
    ///
    /// # Errors
    /// [`Kind::Usage`], naming the value and what the card takes.
    pub fn check(&self, device: &str, config: &Config) -> Result<()> {
        let refuse = |text: String| Err(Error::new(Kind::Usage, format!("{device}: {text}")));
        for (what, value, low, high) in [
            ("the number of receive queues", config.rx_queues, 1, self.rx_queues),
            ("the number of transmit queues", config.tx_queues, 1, self.tx_queues),
            ("the longest frame", config.max_frame, MIN_FRAME, self.max_frame),
            ("a receive ring", config.rx_ring, MIN_RING, MAX_RING),
            ("a transmit ring", config.tx_ring, MIN_RING, MAX_RING),
        ] {
            if !(low..=high).contains(&value) {
                return refuse(format!("{what} cannot be {value}; this card takes {low} to {high}"));
            }
        }
        for (what, ring) in [("a receive ring", config.rx_ring), ("a transmit ring", config.tx_ring)] {
            if !ring.is_power_of_two() {
                return refuse(format!("{what} of {ring} descriptors; use a power of two"));
            }
        }
        if config.rx_queues > 1 {
            check_table(device, &config.rss.table, config.rx_queues)?;
        }
        Ok(())
    }
}

/// Refuses a redirection table that names a queue beyond the last of `device`.
pub fn check_table(device: &str, table: &[u16], queues: u16) -> Result<()> {
    match table.iter().find(|&&queue| queue >= queues) {
        Some(wrong) => Err(Error::new(
            Kind::Usage,
            format!("{device}: the redirection table names queue {wrong} but there are {queues}, counted from 0"),
        )),
        None => Ok(()),
    }
}
