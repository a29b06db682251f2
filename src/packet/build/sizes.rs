//! Lengths of frames: `64`, `64,1518`, `64-1518`, `imix`.

use super::{FCS, MAX_FRAME, MIN_FRAME, usage};
use crate::error::{Error, Result};
use std::str::FromStr;

/// How long frames are, in bytes without FCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// As short as the headers allow.
    Shortest,
    /// These in turn.
    List(Vec<usize>),
    /// Each length from the first to the last in turn.
    Range(usize, usize),
}

/// CSIT's `IMIX_v4_1`, sizes with FCS in the order they are sent: 28 of 64, 16 of 570
/// and 4 of 1518 bytes, as 7, 4 and 1, spread out.
pub const IMIX: [usize; 12] = [64, 570, 64, 64, 570, 64, 64, 570, 64, 1518, 64, 570];

impl FromStr for Sizes {
    type Err = Error;

    /// Reads sizes as users write them, with FCS: `64`, `64, 594, 1518`, `64-1518`, `imix`.
    fn from_str(text: &str) -> Result<Self> {
        let (least, most) = (MIN_FRAME + FCS, MAX_FRAME + FCS);
        let bad = |part: &str| {
            usage(format!(
                "'{part}' is not a frame size; give {least} to {most} bytes with FCS, a list 64,1518, a range 64-1518, or imix"
            ))
        };
        let size = |text: &str| {
            let size = text.trim().parse::<usize>().ok().filter(|size| (least..=most).contains(size));
            size.map(|size| size - FCS).ok_or_else(|| bad(text))
        };
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Sizes::List(IMIX.map(|size| size - FCS).to_vec()));
        }
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (size(first)?, size(last)?);
            return if first <= last { Ok(Sizes::Range(first, last)) } else { Err(bad(text)) };
        }
        text.split(',').map(size).collect::<Result<Vec<_>>>().map(Sizes::List)
    }
}

impl Sizes {
    /// The lengths of frames in turn, and each of them once, rising. The shortest frame has
    /// `shortest` bytes or more, others at least `least`, for headers and maybe a payload that
    /// is `given`.
    ///
    /// # Errors
    /// [`crate::Kind::Usage`] if one has no room for them.
    pub(super) fn lengths(&self, shortest: usize, least: usize, given: bool) -> Result<(Vec<usize>, Vec<usize>)> {
        let lengths: Vec<usize> = match self {
            Sizes::Shortest => vec![shortest.max(MIN_FRAME)],
            Sizes::List(list) => list.clone(),
            &Sizes::Range(first, last) => (first..=last).collect(),
        };
        let what = if given { "these headers and this payload" } else { "these headers" };
        if least > MAX_FRAME {
            let (takes, most) = (least + FCS, MAX_FRAME + FCS);
            return Err(usage(format!("{what} take {takes} bytes with FCS, and a frame has {most} at most")));
        }
        if let Some(short) = lengths.iter().find(|&&len| len < least || len > MAX_FRAME) {
            return Err(usage(format!(
                "frames of {} bytes cannot hold {what}; use {} to {} (FCS included)",
                short + FCS,
                least + FCS,
                MAX_FRAME + FCS
            )));
        }
        let mut kinds = lengths.clone();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            return Err(usage("no frame size was given; write one like 64".into()));
        }
        Ok((lengths, kinds))
    }
}
