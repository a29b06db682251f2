//! Impairments: what a bad wire does to frames.

use super::Picos;
use crate::emu::Share;

/// What a wire does to the frames that pass, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Share that vanishes.
    pub loss: Share,
    /// Share that comes twice.
    pub duplicate: Share,
    /// Share that comes after the frame behind it.
    pub reorder: Share,
    /// Share of which one bit is inverted.
    pub corrupt: Share,
    /// How much later each frame comes.
    pub delay: Picos,
    /// By how much the delay varies, up or down.
    pub jitter: Picos,
}
