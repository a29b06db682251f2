//! What the two generations of the family differ in.

/// Which generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// Whitney+: BCM57412, 57414, 57416, 57417, and Stingray.
    P4,
    /// Thor: BCM57502, 57504, 57508.
    P5,
}

impl Chip {
    /// Whether doorbells are of 64 bits at one address, and notification queues
    /// stand between completion queues and interrupts.
    #[inline]
    pub const fn p5(self) -> bool {
        matches!(self, Chip::P5)
    }

    /// RSS contexts that one VNIC may have.
    pub const fn contexts(self) -> usize {
        if self.p5() { 8 } else { 1 }
    }

    /// Entries of an RSS context's table: ring groups, or pairs of rings.
    pub const fn table(self) -> usize {
        if self.p5() { 64 } else { 128 }
    }
}
