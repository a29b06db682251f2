//! A field that changes from frame to frame.

use super::wide::Wide;
use crate::packet::values::{Random, Values};

/// A field that changes.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Where its last eight bytes, or all if fewer, begin in the frame.
    pub(super) at: usize,
    /// Where it is told a second time: the sender's address of an ARP request.
    pub(super) again: Option<usize>,
    /// Bytes to store: 2, 4, 6 or 8.
    pub(super) width: u8,
    /// In which sums it is.
    pub(super) covered: Covered,
    /// Less than zero where values go past the greatest: what is stored is the lower bits,
    /// and in one's complement the sum is the same, as all bits above are ones.
    pub(super) first: u64,
    pub(super) span: u64,
    pub(super) step: Option<u64>,
    pub(super) offset: u64,
    /// How much further the offset is after frames of others.
    pub(super) leap: u64,
    /// What it is instead, where that has more than 64 bits.
    pub(super) wide: Option<Box<Wide>>,
}

/// Which checksums a field is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covered {
    Neither,
    /// The transport's alone: a port, or an IPv6 address by the pseudo-header.
    L4,
    /// IPv4 header and pseudo-header.
    Both,
    /// The IPv4 header's alone: ICMP has no pseudo-header.
    Ip,
    /// The transport's alone, and all 128 bits of it change.
    Wide,
    /// Those of a [`Stack`](super::Stack).
    Stacked {
        /// Which, a bit for each.
        sums: u32,
        /// Bits of a number that was drawn that are none of the field.
        below: u64,
    },
}

impl Field {
    /// Values in the `bytes` bytes at `at`.
    pub(super) fn new(values: Values, at: usize, bytes: usize, covered: Covered) -> Self {
        let width = bytes.min(8);
        let mut field = Field {
            at: at + bytes - width,
            again: None,
            width: width as u8,
            covered,
            first: values.first as u64,
            span: values.span as u64,
            step: values.step.map(|step| step as u64),
            offset: 0,
            leap: 0,
            wide: None,
        };
        let last = values.first.wrapping_add(values.span);
        if values.is_wide() {
            (field.first, field.span, field.step) = (0, 0, Some(1));
            (field.covered, field.wide) = (Covered::Wide, Some(Box::new(Wide::new(values))));
        } else if bytes < 8 && last >> (8 * bytes) != 0 {
            field.first = field.first.wrapping_sub(1 << (8 * bytes));
        }
        field
    }

    #[inline]
    pub(super) fn next(&mut self, random: &mut Random) -> u64 {
        let Some(step) = self.step else {
            return self.first.wrapping_add(random.up_to(self.span));
        };
        let value = self.first.wrapping_add(self.offset);
        self.offset = match self.offset.checked_add(step) {
            Some(offset) if offset <= self.span => offset,
            _ => 0,
        };
        value
    }

    /// How much further it is `frames` later; less than a whole round.
    pub(super) fn after(&self, frames: u64) -> u64 {
        let Some(step) = self.step else { return 0 };
        let values = u128::from(self.span / step) + 1;
        (u128::from(frames) % values) as u64 * step
    }

    /// Goes on by what [`Field::after`] said.
    #[inline]
    pub(super) fn leap(&mut self, by: u64) {
        let Some(step) = self.step else { return };
        let room = self.span - self.span % step - self.offset;
        self.offset = if by <= room { self.offset + by } else { by - room - step };
    }

    /// The next value of one that is wide, stored; its halves.
    #[inline(never)]
    pub(super) fn next_wide(&mut self, frame: &mut [u8], random: &mut Random) -> [u64; 2] {
        let value = self.wide.as_mut().map_or(0, |wide| wide.next(random));
        frame[self.at - 8..self.at + 8].copy_from_slice(&value.to_be_bytes());
        [(value >> 64) as u64, value as u64]
    }

    /// The halves of the next value of one of a stack, stored: `value` without the bits `below`
    /// of what was drawn for it, or all of one that is wide.
    #[cold]
    #[inline(never)]
    pub(super) fn next_stacked(&mut self, frame: &mut [u8], random: &mut Random, value: u64, below: u64) -> [u64; 2] {
        if self.wide.is_some() {
            return self.next_wide(frame, random);
        }
        let drawn = value.wrapping_sub(self.first);
        let value = self.first.wrapping_add(drawn & !below);
        self.store(frame, value);
        [0, value]
    }

    #[inline]
    pub(super) fn store(&self, frame: &mut [u8], value: u64) {
        self.store_at(self.at, frame, value);
        if let Some(at) = self.again {
            self.store_at(at, frame, value);
        }
    }

    #[inline]
    fn store_at(&self, at: usize, frame: &mut [u8], value: u64) {
        match self.width {
            2 => frame[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes()),
            4 => frame[at..at + 4].copy_from_slice(&(value as u32).to_be_bytes()),
            6 => frame[at..at + 6].copy_from_slice(&value.to_be_bytes()[2..]),
            _ => frame[at..at + 8].copy_from_slice(&value.to_be_bytes()),
        }
    }
}
