//! The sink: swallows what is sent, and checks what a [`Source`](super::Source)
//! generated.
//!
//! ```text
//!   frame    | Ethernet 14 | IPv4 20 | UDP 8 | "bmnS" | sequence number 8 | ...
//!            0             14        34      42       46                  54
//! ```

use super::{Note, Picos, Wire};

/// Where the payload of a generated frame begins, and its first four bytes.
pub(super) const MARK_AT: usize = 42;
pub(super) const MARK: [u8; 4] = *b"bmnS";
/// Where the sequence number is, big endian.
pub(super) const SEQUENCE_AT: usize = 46;
/// What every generated frame holds at least.
pub(super) const HEADER: usize = SEQUENCE_AT + 8;

/// Swallows and counts. Nothing ever comes back.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    frames: u64,
    /// Frames that no source of ours made.
    foreign: u64,
    /// Frames whose UDP checksum is wrong.
    corrupt: u64,
    sequence: Sequence,
}

impl Sink {
    /// A sink that has seen nothing.
    pub fn new() -> Self {
        Sink::default()
    }

    /// Looks at a frame that was sent.
    #[inline]
    pub(super) fn swallow(&mut self, frame: &[u8]) {
        self.frames += 1;
        let Some(header) = frame.first_chunk::<HEADER>().filter(|header| header[MARK_AT..SEQUENCE_AT] == MARK) else {
            self.foreign += 1;
            return;
        };
        let [.., a, b, c, d, e, f, g, h] = *header;
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if number == self.sequence.next {
            self.sequence.expected();
        } else if udp_is_intact(frame) {
            self.sequence.other(number);
        } else {
            self.corrupt += 1;
        }
    }
}

impl Wire for Sink {
    #[inline]
    fn send(&mut self, frame: &[u8], _: Picos) -> bool {
        self.swallow(frame);
        true
    }

    fn peek(&mut self, _: Picos) -> Option<(&[u8], Picos)> {
        None
    }

    fn advance(&mut self) {}

    fn carrier(&self) -> bool {
        true
    }

    fn waits(&self) -> bool {
        false
    }

    fn is_over(&self) -> Option<bool> {
        None
    }

    /// `lost` counts sequence numbers that were passed over and have not come
    /// since; `late` those that came after a higher one.
    fn report(&mut self) -> Vec<Note> {
        vec![
            Note::passed("frames", "reached the far end", self.frames),
            Note::passed("foreign", "of them were of no source of ours", self.foreign),
            Note::passed("corrupt", "of them were damaged", self.corrupt),
            Note::passed("lost", "were missing there by their numbers", self.sequence.lost),
            Note::passed("late", "of them came late", self.sequence.late),
            Note::passed("duplicate", "of them came twice", self.sequence.duplicate),
        ]
    }
}

/// Which sequence numbers have come.
#[derive(Clone, Debug, Default)]
struct Sequence {
    next: u64,
    /// Bit n: whether `next - 1 - n` has come.
    window: u64,
    lost: u64,
    late: u64,
    duplicate: u64,
}

impl Sequence {
    #[inline]
    fn expected(&mut self) {
        self.next += 1;
        self.window = self.window << 1 | 1;
    }

    #[cold]
    fn other(&mut self, number: u64) {
        if let Some(gap) = number.checked_sub(self.next) {
            self.lost += gap;
            self.window = self.window.checked_shl(gap.min(64) as u32).unwrap_or(0);
            self.next = number;
            self.expected();
            return;
        }
        let age = self.next - 1 - number;
        let bit = 1_u64.checked_shl(age.min(64) as u32).unwrap_or(0);
        if self.window & bit != 0 {
            self.duplicate += 1;
            return;
        }
        // Older than the window can be either; a double is the rarer thing.
        self.window |= bit;
        self.late += 1;
        self.lost = self.lost.saturating_sub(1);
    }
}

/// Whether the UDP checksum of a generated frame is right (RFC 768).
fn udp_is_intact(frame: &[u8]) -> bool {
    const IP_SOURCE: usize = 26;
    const UDP: usize = 34;
    let len = usize::from(u16::from_be_bytes([frame[UDP + 4], frame[UDP + 5]]));
    let Some(datagram) = frame.get(UDP..UDP + len) else { return false };
    // The pseudo header: both addresses, protocol 17, length.
    let sum = ones_sum(&frame[IP_SOURCE..UDP]) + 17 + len as u64 + ones_sum(datagram);
    fold(sum) == 0xffff
}

/// Sum of the big-endian 16-bit words (RFC 1071), not folded yet.
pub(super) fn ones_sum(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let last = odd.first().map_or(0, |&byte| u64::from(byte) << 8);
    pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>() + last
}

/// The sum with its carries added in.
#[inline]
pub(super) fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// [`fold`] for the sum of a few words, which has a few carries.
#[inline]
pub(super) fn fold_few(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn loss_is_what_has_not_come_in_the_end(numbers in prop::collection::vec(0u64..60, 0..200)) {
            let mut sequence = Sequence::default();
            let mut seen = HashSet::new();
            let mut doubles = 0;
            for number in numbers {
                if number == sequence.next { sequence.expected() } else { sequence.other(number) }
                doubles += u64::from(!seen.insert(number));
            }
            let highest = seen.iter().max().map_or(0, |highest| highest + 1);
            prop_assert_eq!(sequence.lost, highest - seen.len() as u64);
            prop_assert_eq!(sequence.duplicate, doubles);
        }
    }

    #[test]
    fn a_sink_counts_what_it_does_not_know_as_foreign() {
        let mut sink = Sink::new();
        for frame in [&[0; 60][..], &[], &[0xff; 1514]] {
            assert!(sink.send(frame, 0));
        }
        let counts: Vec<_> = sink.report().iter().take(2).map(|note| (note.key, note.frames)).collect();
        assert_eq!(counts, [("frames", 3), ("foreign", 3)]);
        assert!(sink.peek(u64::MAX).is_none() && sink.carrier());
    }
}
