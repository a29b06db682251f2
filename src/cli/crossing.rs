//! What crosses PCIe for a packet of bmnic's own driver, as commands say it of an emulated
//! card. A card of silicon does not tell.
//!
//! It is counted on a card of its own, of the same model: the run is not disturbed by it,
//! and it comes to the same each time.

use crate::emu::Tap;
use crate::error::Result;
use serde_json::{Value, json};
use std::fmt;

/// Descriptors in each ring of that card.
const RING: u16 = 512;

/// How often something crosses for a packet that is received and sent.
#[derive(Clone, Copy, Debug)]
pub struct Crossing {
    burst: usize,
    /// Stores to doorbells; lines of descriptors in and out; reads and writes of the card.
    a_packet: [f64; 5],
}

impl Crossing {
    /// Counts for the model of a card, in bursts of `burst` packets; None of a card that is
    /// not emulated, and on machines where a driver's stores cannot be counted.
    ///
    /// # Errors
    /// What opening the card meets, or what the system says of counting.
    #[cfg(target_arch = "x86_64")]
    pub fn count(tap: Option<&Tap>, burst: usize) -> Result<Option<Crossing>> {
        let Some(tap) = tap else { return Ok(None) };
        let crossing = crate::compare::count_alone(tap.model(), RING, burst)?;
        Ok(Some(Crossing { burst, a_packet: crossing.a_packet().map(|(_, n)| n) }))
    }

    /// None: a driver's stores cannot be counted here.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn count(_: Option<&Tap>, _: usize) -> Result<Option<Crossing>> {
        Ok(None)
    }

    /// A document.
    pub fn json(&self) -> Value {
        let [stores, lines_in, lines_out, reads, writes] = self.a_packet;
        json!({
            "burst": self.burst,
            "doorbell_stores": stores,
            "descriptor_lines_in": lines_in,
            "descriptor_lines_out": lines_out,
            "reads": reads,
            "writes": writes,
        })
    }
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [stores, lines_in, lines_out, reads, writes] = self.a_packet;
        let bursts = if self.burst == 1 { "one by one".into() } else { format!("in bursts of {}", self.burst) };
        write!(
            f,
            "PCIe, a packet received and sent {bursts}: {stores:.2} stores to doorbells, {lines_in:.2} lines of \
             descriptors in and {lines_out:.2} out, {reads:.2} reads and {writes:.2} writes of the card (counted on \
             a card of its own with rings of {RING})"
        )
    }
}
