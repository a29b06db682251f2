//! The rings of a ConnectX, and completions that a bench writes by hand.

use bmnic::dma::Region;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A completion, or a basic block.
pub type Line = [AtomicU64; 8];

/// A work queue and its completions, seen from the card.
pub struct Queue {
    work: Region,
    reports: Region,
    /// What was posted.
    record: Arc<AtomicU32>,
    /// The card's next entry.
    pub head: u32,
    /// The card's next completion.
    pub at: u32,
}

impl Queue {
    /// A queue outside any card, for a loop that has no driver. Its record is a word of
    /// its own.
    pub fn bare(work: Region, reports: Region) -> Queue {
        Queue { work, reports, record: Arc::default(), head: 0, at: 0 }
    }

    /// How many were posted, as it is in memory.
    pub fn record(&self) -> &AtomicU32 {
        &self.record
    }

    /// Entries that the card owns.
    pub fn owned(&self) -> u32 {
        u32::from(u32::from_be(self.record.load(Ordering::Acquire)) as u16).wrapping_sub(self.head) & 0xffff
    }

    /// Basic block `n` of a transmit queue, which wraps.
    pub fn block(&self, n: u32) -> &Line {
        let blocks = self.work.words::<Line>();
        &blocks[n as usize & (blocks.len() - 1)]
    }

    /// Segment `n` of a receive queue, which wraps.
    pub fn segment(&self, n: u32) -> &[AtomicU64; 2] {
        let segments = self.work.words::<[AtomicU64; 2]>();
        &segments[n as usize & (segments.len() - 1)]
    }

    /// Entry `n` of the completions, which wraps.
    pub fn entry(&self, n: u32) -> &Line {
        let entries = self.reports.words::<Line>();
        &entries[n as usize & (entries.len() - 1)]
    }

    /// Completions of the ring.
    pub fn entries(&self) -> u32 {
        self.reports.len() as u32 / 64
    }

    /// Writes the next completion: `bytes`, and for which entry, with the owner bit of its
    /// lap last.
    pub fn report(&mut self, opcode: u8, counter: u32, bytes: u32) {
        let owner = u8::from(self.at & self.entries() != 0);
        let [.., high, low] = counter.to_be_bytes();
        let entry = self.entry(self.at);
        entry[5].store(u64::from(bytes.to_be()) << 32, Ordering::Relaxed);
        entry[7].store(u64::from_le_bytes([0, 0, 0, 0, high, low, 0, opcode << 4 | owner]), Ordering::Release);
        self.at = self.at.wrapping_add(1);
    }

    /// Receives up to `n` frames of `len` bytes, as far as there are entries.
    pub fn receive(&mut self, n: u32, len: u32) -> u32 {
        let n = n.min(self.owned());
        for _ in 0..n {
            self.report(0x2, self.head, len);
            self.head = self.head.wrapping_add(1);
        }
        n
    }

    /// Sends all there is, and reports it where that is asked for; how many blocks.
    pub fn transmit(&mut self) -> u32 {
        /// In the second word, as it is in memory.
        const REPORT: u64 = (0x08_u64 << 32).to_be();
        let n = self.owned();
        let mut left = n;
        while left > 0 {
            let [begin, asks] = [0, 1].map(|word| self.block(self.head)[word].load(Ordering::Relaxed));
            let blocks = (u64::from_be(begin) as u32 & 0x3f).div_ceil(4).clamp(1, left);
            if asks & REPORT != 0 {
                self.report(0x0, self.head, 0);
            }
            self.head = self.head.wrapping_add(blocks);
            left -= blocks;
        }
        n
    }
}

/// An honest turn.
pub fn turn([rx, tx]: [&mut Queue; 2], burst: u32, len: u32) {
    rx.receive(burst, len);
    tx.transmit();
}
