//! Which packets have come, by number, so that one that comes twice counts once.

/// The numbers of the packets sent last, a bit each.
pub struct Seen {
    bits: Box<[u64]>,
    /// One more than the highest number that was sent.
    sent: u64,
}

/// What a number that came back means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The first time.
    First,
    /// Again.
    Again,
    /// Never sent, or so long ago that nobody can tell.
    Unknown,
}

impl Seen {
    /// Packets that are told apart: 280 ms at 14.88 million a second.
    pub const WINDOW: u64 = 1 << 22;

    /// Nothing sent.
    pub fn new() -> Self {
        Seen { bits: vec![0; (Self::WINDOW / 64) as usize].into(), sent: 0 }
    }

    /// Packet `sequence` is sent; numbers follow each other.
    #[inline]
    pub fn leave(&mut self, sequence: u64) {
        if sequence.is_multiple_of(64) {
            *self.word(sequence) = 0;
        }
        self.sent = sequence + 1;
    }

    /// A packet of this number has come.
    #[inline]
    pub fn arrive(&mut self, sequence: u64) -> Came {
        // The word that is cleared next holds numbers of the time before.
        if sequence >= self.sent || self.sent - sequence > Self::WINDOW - 64 {
            return Came::Unknown;
        }
        let word = self.word(sequence);
        let bit = 1 << (sequence % 64);
        let came = if *word & bit == 0 { Came::First } else { Came::Again };
        *word |= bit;
        came
    }

    #[inline]
    fn word(&mut self, sequence: u64) -> &mut u64 {
        let words = self.bits.len();
        &mut self.bits[(sequence / 64) as usize % words]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_first_once_also_when_the_window_goes_round() {
        let mut seen = Seen::new();
        assert_eq!(seen.arrive(0), Came::Unknown);
        for round in 0..3 * Seen::WINDOW {
            seen.leave(round);
            if round % 1_000 == 0 {
                assert_eq!((seen.arrive(round), seen.arrive(round)), (Came::First, Came::Again));
            }
        }
        assert_eq!(seen.arrive(3 * Seen::WINDOW), Came::Unknown, "not sent yet");
        assert_eq!(seen.arrive(2 * Seen::WINDOW - 1), Came::Unknown, "too old to tell");
        assert_eq!(seen.arrive(2 * Seen::WINDOW + 64), Came::First);
    }
}
