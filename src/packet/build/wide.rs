//! An IPv6 address that changes in both of its halves.

use crate::packet::values::{Random, Values};

/// What a [`Field`](super::field::Field) of 64 bits has no room for.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    values: Values,
    offset: u128,
    /// How much further the offset is after frames of others.
    leap: u128,
}

impl Wide {
    pub(super) fn new(values: Values) -> Self {
        Wide { values, offset: 0, leap: 0 }
    }

    /// Random numbers that a frame takes of it.
    pub(super) fn draws(&self) -> u64 {
        if self.values.step.is_none() { 2 } else { 0 }
    }

    pub(super) fn next(&mut self, random: &mut Random) -> u128 {
        let Values { first, span, step } = self.values;
        let Some(step) = step else {
            return first.wrapping_add(random.up_to_wide(span));
        };
        let value = first.wrapping_add(self.offset);
        self.offset = self.offset.checked_add(step).filter(|offset| *offset <= span).unwrap_or(0);
        value
    }

    /// The frames of others will be so many each time.
    pub(super) fn set_leap(&mut self, frames: u64) {
        let Values { span, step: Some(step), .. } = self.values else { return };
        // As many values as a frame may not count up to are never gone round.
        let rounds = (span / step).checked_add(1);
        self.leap = rounds.map_or(frames.into(), |values| u128::from(frames) % values) * step;
    }

    /// Goes on by that.
    pub(super) fn leap(&mut self) {
        let Values { span, step: Some(step), .. } = self.values else { return };
        let room = span - span % step - self.offset;
        self.offset = if self.leap <= room { self.offset + self.leap } else { self.leap - room - step };
    }
}
