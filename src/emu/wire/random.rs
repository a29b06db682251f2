//! Chance that repeats: the same seed gives the same run.

use crate::emu::Share;

/// A stream of pseudo-random numbers (SplitMix64, Steele et al. 2014). Good
/// enough to choose frames by, of no use for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Any number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(limit)) >> 64) as u64
    }

    /// True for this share of calls; draws one number in any case.
    #[inline]
    pub fn happens(&mut self, share: Share) -> bool {
        self.below(u64::from(Share::ALL.0)) < u64::from(share.0)
    }
}
