//! What a card writes to memory: at once, or when the link has carried it.
//!
//! The data path stores through these. Answers to commands, statistics and clocks do not:
//! they are written at once, and all that waits is written before an answer is
//! ([`Translation::write`]).

use super::pcie::pace::{Pace, Posted, What};
use super::slip::Direction;
use super::{Picos, Translation};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

impl Translation {
    /// The clock of the link, if what is written takes time.
    #[inline]
    fn pace(&self) -> Option<&Pace> {
        self.meter().and_then(|meter| meter.pace())
    }

    /// Stores two words, the second last: a descriptor, an entry.
    #[inline]
    pub fn store_pair(&self, iova: Iova, words: [u64; 2]) {
        let Some([first, second]) = self.descriptor(iova) else { return };
        if self.keeps(iova, || What::Pair(words)) {
            return;
        }
        if let Some(pace) = self.pace() {
            return pace.post(iova, What::Pair(words));
        }
        first.store(words[0], Ordering::Relaxed);
        second.store(words[1], Ordering::Release);
    }

    /// Stores 8 bytes: an event.
    #[inline]
    pub fn store64(&self, iova: Iova, value: u64) {
        let Some(word) = self.word64(iova) else { return };
        if self.keeps(iova, || What::Word(value)) {
            return;
        }
        match self.pace() {
            Some(pace) => pace.post(iova, What::Word(value)),
            None => word.store(value, Ordering::Release),
        }
    }

    /// Stores 4 bytes: a head, an index. False if they are not mapped.
    #[inline]
    pub fn store32(&self, iova: Iova, value: u32) -> bool {
        let Some(word) = self.word32(iova) else { return false };
        if self.keeps(iova, || What::Half(value)) {
            return true;
        }
        match self.pace() {
            Some(pace) => pace.post(iova, What::Half(value)),
            None => word.store(value, Ordering::Release),
        }
        true
    }

    /// Stores 2 bytes: an index, flags. False if they are not mapped.
    #[inline]
    pub fn store16(&self, iova: Iova, value: u16) -> bool {
        let Some(word) = self.word16(iova) else { return false };
        if self.keeps(iova, || What::Short(value)) {
            return true;
        }
        match self.pace() {
            Some(pace) => pace.post(iova, What::Short(value)),
            None => word.store(value, Ordering::Release),
        }
        true
    }

    /// Writes the bytes of a packet at `iova`; false if they are not all mapped for writing.
    #[inline]
    pub fn put(&self, iova: Iova, bytes: &[u8]) -> bool {
        if self.strays(Direction::Rx) {
            return false;
        }
        match self.pace() {
            Some(pace) => {
                let mapped = self.writable(iova, bytes.len());
                if mapped {
                    pace.post(iova, What::Bytes(bytes.into()));
                }
                mapped
            }
            None => self.write(iova, bytes),
        }
    }

    /// What is stored next is the late half of something: it comes behind all before it.
    #[inline]
    pub fn fall_behind(&self) {
        if let Some(pace) = self.pace() {
            pace.fall_behind();
        }
    }

    /// Appends the `len` bytes of a packet at `iova` to `into`; nothing, and false, if they are
    /// not all mapped.
    #[inline]
    pub fn gather(&self, iova: Iova, len: usize, into: &mut Vec<u8>) -> bool {
        !self.strays(Direction::Tx) && self.append(iova, len, into)
    }

    /// Writes what is there by `now`.
    pub fn commit(&self, now: Picos) {
        let Some(pace) = self.pace() else { return };
        while let Some(Posted { to, what, .. }) = pace.arrived(now) {
            self.arrive(to, &what);
        }
    }

    /// What was on its way arrives.
    pub(super) fn arrive(&self, to: Iova, what: &What) {
        match *what {
            What::Pair([low, high]) => {
                if let Some([first, second]) = self.descriptor(to) {
                    first.store(low, Ordering::Relaxed);
                    second.store(high, Ordering::Release);
                }
            }
            What::Word(value) => self.word64(to).into_iter().for_each(|word| word.store(value, Ordering::Release)),
            What::Half(value) => self.word32(to).into_iter().for_each(|word| word.store(value, Ordering::Release)),
            What::Short(value) => self.word16(to).into_iter().for_each(|word| word.store(value, Ordering::Release)),
            What::Bytes(ref bytes) => _ = self.write_now(to, bytes),
        }
    }

    /// Writes all that was posted, as something that must not pass it comes behind it;
    /// whether there was any.
    #[inline]
    pub fn hasten(&self) -> bool {
        let Some(pace) = self.pace() else { return false };
        let any = !pace.is_idle();
        self.commit(Picos::MAX);
        pace.caught_up();
        any
    }
}
