//! Frame sizes: one, or a mix.

use crate::cli::circuit::{self, FCS};
use crate::error::Result;
use crate::packet::build::IMIX;
use std::fmt;

/// The frames of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// All frames alike: bytes with FCS.
    Fixed(usize),
    /// IMIX_v4_1.
    Imix,
}

impl Size {
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("imix") {
            return Ok(Size::Imix);
        }
        circuit::frame_size(text).map(Size::Fixed).map_err(|e| e.hint("or imix"))
    }

    /// Frames in the order they are sent, in bytes without FCS.
    pub fn frames(&self) -> Vec<usize> {
        match self {
            Size::Fixed(size) => vec![size - FCS],
            Size::Imix => IMIX.map(|size| size - FCS).to_vec(),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Fixed(size) => write!(f, "{size}"),
            Size::Imix => f.write_str("imix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        assert_eq!(Size::parse("64").unwrap().frames(), [60]);
        assert_eq!(Size::parse("IMIX").unwrap(), Size::Imix);
        for text in ["", "63", "2053", "big", "64k"] {
            assert_eq!(Size::parse(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn the_mix_is_imix_v4_1_of_seven_four_and_one() {
        let frames = Size::Imix.frames();
        let of = |size: usize| frames.iter().filter(|&&len| len + FCS == size).count();
        assert_eq!((of(64), of(570), of(1518), frames.len()), (7, 4, 1, 12));
    }
}
