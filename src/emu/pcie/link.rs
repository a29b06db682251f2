//! A PCIe link: how long what crosses it takes.
//!
//! | | |
//! |---|---|
//! | line rate | 2.5, 5, 8, 16, 32 GT/s a lane; of 10 bits 8 are bytes up to generation 2, of 130 128 from then on (PCI Express Base Specification 5.0 §4.2) |
//! | a request | 24 bytes of header and framing, and its payload ([`REQUEST`]) |
//! | an answer to a read | 20 bytes, and up to 256 of payload ([`ANSWER`]) |
//! | a message (MSI-X) | a write of 4 bytes |
//! | a posted write | half a round trip, and its bytes |
//! | a read | a round trip, the bytes of its requests there and of its answers back |
//!
//! Each way of the link carries one thing at a time. Left out are the credits of flow
//! control, what the data link layer sends of its own (acknowledgements, updates of
//! credits), what is sent again, and how many reads may be under way at once: all of them
//! make a link slower, by a tenth or so if it is busy. A processor that is asleep, an IOMMU
//! and memory of another socket make the round trip longer: it is an option.

use super::super::Picos;
use super::super::spec::{Setting, Time};
use crate::error::Result;
use std::fmt;

/// Bytes of a request or message beside its payload: framing 2, sequence number and CRC 6,
/// header with an address of 64 bits 16 (Neugebauer et al., SIGCOMM 2018).
pub const REQUEST: u64 = 24;

/// The same of what answers a read, whose header takes 12 (there).
pub const ANSWER: u64 = 20;

/// What a read takes beside its bytes, unless it is said: the 547 ns that are the median
/// of 64 bytes on a Xeon E5 through generation 3 x8 (there), less the time of 108
/// bytes.
pub const TRIP: Picos = 533_000;

/// Longest round trip.
const LONGEST: Picos = 100_000_000;

/// Generation, width and round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    generation: u8,
    lanes: u8,
    /// What a read takes beside its bytes.
    pub trip: Picos,
}

impl Default for Link {
    /// That of most cards modelled here: generation 3 x8.
    fn default() -> Self {
        Link { generation: 3, lanes: 8, trip: TRIP }
    }
}

impl Link {
    /// What `gen3x8` or `gen3x8:500ns` says.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::Kind::Usage) if it is not of that form.
    pub(in crate::emu) fn of(setting: &Setting) -> Result<Link> {
        let (link, trip) = match setting.value()?.split_once(':') {
            Some((link, trip)) => (link, Some(trip)),
            None => (setting.value()?, None),
        };
        let bad = || {
            setting
                .bad("a link like gen3x8 or gen3x8:500ns: generation 1 to 5, 1 to 16 lanes, a round trip up to 100us")
        };
        let (generation, lanes) = link.strip_prefix("gen").and_then(|link| link.split_once('x')).ok_or_else(bad)?;
        let generation = generation.parse().ok().filter(|generation| (1..=5).contains(generation));
        let lanes = lanes.parse().ok().filter(|lanes| [1, 2, 4, 8, 16].contains(lanes));
        let trip = trip.map_or(Ok(TRIP), |trip| Setting { value: Some(trip), ..*setting }.time());
        match (generation, lanes, trip) {
            (Some(generation), Some(lanes), Ok(trip)) if trip <= LONGEST => Ok(Link { generation, lanes, trip }),
            _ => Err(bad()),
        }
    }

    /// The time of so many bytes, rounded up.
    pub fn bytes(&self, bytes: u64) -> Picos {
        // Quarters of a picosecond that a bit takes, and bits on the lane for those of a byte.
        let (bit, on_lane, of_bytes) = match self.generation {
            1 => (1600, 10, 8),
            2 => (800, 10, 8),
            3 => (500, 130, 128),
            4 => (250, 130, 128),
            _ => (125, 130, 128),
        };
        (bytes * 8 * bit * on_lane).div_ceil(4 * of_bytes * u64::from(self.lanes))
    }

    /// The time of one way.
    pub fn way(&self) -> Picos {
        self.trip / 2
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gen{}x{}", self.generation, self.lanes)?;
        if self.trip == TRIP { Ok(()) } else { write!(f, ":{}", Time(self.trip)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(value: &str) -> Result<Link> {
        Link::of(&Setting { whose: "emu", key: "pcie", value: Some(value) })
    }

    #[test]
    fn bytes_take_what_generation_and_width_permit() {
        // 250 MB/s; 500 MB/s; 985 MB/s; 7.88 GB/s; 63 GB/s.
        let cases = [
            ("gen1x1", 4_000_000),
            ("gen2x1", 2_000_000),
            ("gen3x1", 1_015_625),
            ("gen3x8", 126_954),
            ("gen5x16", 15_870),
        ];
        for (text, of_1000) in cases {
            assert_eq!(link(text).unwrap().bytes(1000), of_1000, "{text}");
        }
        assert_eq!(link("gen4x2").unwrap().bytes(0), 0);
    }

    #[test]
    fn a_read_of_64_bytes_takes_what_was_measured() {
        let link = Link::default();
        let read = link.trip + link.bytes(REQUEST + ANSWER + 64);
        assert!(read.abs_diff(547_000) < 500, "{read}");
    }

    #[test]
    fn what_is_no_link_is_refused_in_one_line() {
        for text in ["", "gen3", "gen0x8", "gen6x8", "gen3x3", "gen3x32", "3x8", "gen3x8:", "gen3x8:5", "gen3x8:1s"] {
            let refused = link(text).unwrap_err().to_string();
            assert!(refused.starts_with("emu: 'pcie"), "{refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
        for text in ["gen1x1", "gen3x8", "gen5x16:500ns", "gen2x4:100us", "gen3x8:0ps"] {
            assert_eq!(link(text).unwrap().to_string(), text.replace("0ps", "0s"));
        }
    }
}
