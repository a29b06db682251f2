//! CTPIO: a frame written straight through to the wire (Medford2).
//!
//! ```text
//!   aperture:  | length 11:0  stamp 12  threshold 27:16 | frame ...          |
//!   then:      a descriptor of the same frame, and the doorbell
//!                 | the frame was whole, and the queue had nothing else to do
//!                 |    yes: the frame goes out as written; event of type CTPIO
//!                 +--> no:  the descriptor is fetched, as without ("fallback")
//! ```
//!
//! What a driver does wrong (gaps, pieces that are not words, a new frame before the
//! last one's doorbell) fails the frame as on silicon: it is erased if it was
//! held back whole, and a poisoned frame goes out if the MAC had begun with it. A
//! frame that begins at its threshold is poisoned, too, if one of its stores comes
//! later than the wire needs it. In an aperture that is mapped stores are not seen,
//! and none is late.

use super::super::{FaultKind, Picos};
use super::{Ef10, stats};
use std::sync::atomic::Ordering;

/// Shortest and longest frame.
const SHORTEST: usize = 29;
const LONGEST: usize = 4092;

/// How the frame in an aperture was written, where the writes are seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aperture {
    /// Bytes written in order; 0 before the first.
    written: usize,
    /// When the frame began on the wire.
    begun: Option<Picos>,
    /// The counter of what went wrong.
    failed: Option<usize>,
}

/// Bytes before the frame: in the aperture, and on the wire (IEEE 802.3 §3.1.1).
const HEAD: usize = 4;
const PREAMBLE: usize = 8;

impl Aperture {
    /// Whether byte `at` of the frame comes at `now` to a wire of `speed` bits a second
    /// that has had to wait for it.
    fn late(&self, at: usize, now: Picos, speed: u64) -> bool {
        let needed = (PREAMBLE + at) as u64 * 8_000_000_000_000 / speed;
        self.begun.is_some_and(|begun| now > begun + needed)
    }
}

/// What there is in an aperture.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Bytes of the frame.
    pub len: usize,
    threshold: usize,
}

impl Header {
    /// As the first word says it.
    fn of(first: u32) -> Self {
        Header { len: (first & 0xfff) as usize, threshold: (first >> 16 & 0xfff) as usize }
    }
}

impl Ef10 {
    /// A write to an aperture that is not mapped.
    pub(super) fn ctpio_written(&mut self, vi: u16, offset: usize, size: u8, value: u64) {
        let begins_early = self.tx.queues[usize::from(vi)].as_ref().is_some_and(|queue| queue.poisons);
        let (now, speed) = (self.board.now, self.board.profile.speed);
        let window = &mut self.windows[usize::from(vi)];
        let aperture = &mut window.aperture;
        if !matches!(size, 4 | 8) {
            aperture.failed.get_or_insert(stats::CTPIO_INVALID_WR_FAIL);
            self.board.violations.note("CTPIO write that is not of 4 or 8 bytes");
            return;
        }
        if offset == 0 {
            let clobbered = aperture.written != 0;
            *aperture = Aperture::default();
            if clobbered {
                aperture.failed = Some(stats::CTPIO_FRM_CLOBBER_FAIL);
                self.board.violations.note("CTPIO frame begun before the doorbell of the last one");
            }
        } else if offset != aperture.written {
            aperture.failed.get_or_insert(stats::CTPIO_NONCONTIG_WRITE_FAIL);
            self.board.violations.note("CTPIO write that does not follow the one before");
        }
        let header = Header::of(window.ctpio[0].load(Ordering::Relaxed));
        if offset >= HEAD && offset < HEAD + header.len && aperture.late(offset - HEAD, now, speed) {
            aperture.failed.get_or_insert(stats::CTPIO_UNDERFLOW_FAIL);
        }
        aperture.written = offset + usize::from(size);
        for (n, word) in [value as u32, (value >> 32) as u32].into_iter().take(usize::from(size / 4)).enumerate() {
            if let Some(cell) = window.ctpio.get(offset / 4 + n) {
                cell.store(word, Ordering::Relaxed);
            }
        }
        let header = Header::of(window.ctpio[0].load(Ordering::Relaxed));
        if begins_early && header.threshold < header.len && aperture.written >= HEAD + header.threshold {
            aperture.begun.get_or_insert(now);
        }
    }

    /// The frame that waits in an aperture, which is empty then.
    pub(super) fn ctpio_take(&mut self, vi: u16) -> Option<Header> {
        let first = self.windows[usize::from(vi)].ctpio[0].swap(0, Ordering::AcqRel);
        (first != 0).then_some(Header::of(first))
    }

    /// Whether the frame in the aperture is what its descriptor says, and goes
    /// out as it is; else its descriptor does. `idle` is that the queue had
    /// nothing else to do, `qualified` that it may use CTPIO.
    pub(super) fn ctpio_sends(&mut self, vi: u16, header: Header, idle: bool, qualified: bool, poisons: bool) -> bool {
        let window = &mut self.windows[usize::from(vi)];
        let aperture = std::mem::take(&mut window.aperture);
        let fallback = if !qualified {
            Some(stats::CTPIO_UNQUALIFIED_FALLBACK)
        } else if !idle {
            Some(stats::CTPIO_VI_BUSY_FALLBACK)
        } else if header.len < SHORTEST {
            Some(stats::CTPIO_RUNT_FALLBACK)
        } else {
            None
        };
        if let Some(counter) = fallback {
            self.stats.one(counter);
            self.stats.one(stats::CTPIO_FALLBACK);
            return false;
        }
        if header.len != self.tx.out.packet.len() && aperture.written != 0 {
            self.board.violations.note("CTPIO frame of another length than its descriptor");
        }
        let seen = aperture.written != 0;
        let failed = if aperture.failed.is_some() {
            aperture.failed
        } else if seen && aperture.written < HEAD + header.len {
            self.board.violations.note("doorbell before the end of a CTPIO frame");
            Some(stats::CTPIO_MISSING_DBELL_FAIL)
        } else if header.len > LONGEST || !same(&window.ctpio, &self.tx.out.packet, header.len) {
            // In a mapped aperture the next frame may be there already.
            Some(stats::CTPIO_FRM_CLOBBER_FAIL)
        } else {
            None
        };
        if let Some(counter) = failed {
            self.stats.one(counter);
            self.stats.one(if poisons && header.threshold < header.len {
                stats::CTPIO_POISON
            } else {
                stats::CTPIO_ERASE
            });
            self.stats.one(stats::CTPIO_FALLBACK);
            return false;
        }
        if self.board.nasty && self.board.random.number().is_multiple_of(4) {
            // Another function was sending.
            self.stats.one(stats::CTPIO_VI_CLOBBER_FALLBACK);
            self.stats.one(stats::CTPIO_FALLBACK);
            return false;
        }
        if seen && aperture.written > (HEAD + header.len).next_multiple_of(4) {
            self.stats.one(stats::CTPIO_LONG_WRITE_SUCCESS);
        }
        self.stats.one(stats::CTPIO_SUCCESS);
        if let Some(last) = self.tx.out.packet.last_mut().filter(|_| self.board.faulty(FaultKind::CtpioTorn)) {
            *last = !*last;
        }
        true
    }
}

/// Whether the aperture holds this frame behind its first word.
fn same(aperture: &crate::pci::Page, frame: &[u8], len: usize) -> bool {
    let words = frame.chunks(4).zip(aperture.iter().skip(1));
    len == frame.len()
        && words.into_iter().all(|(bytes, word)| word.load(Ordering::Relaxed).to_le_bytes().starts_with(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_late_when_the_wire_has_come_to_its_byte() {
        // 72 bytes with the preamble, of 0.8 ns each.
        let begun = Aperture { begun: Some(1000), ..Aperture::default() };
        assert!(!begun.late(64, 1000 + 57_600, 10_000_000_000));
        assert!(begun.late(64, 1000 + 57_601, 10_000_000_000));
        assert!(begun.late(64, 1000 + 57_600, 25_000_000_000));
        assert!(!Aperture::default().late(64, u64::MAX, 10_000_000_000), "it waits for all of the frame");
    }
}
