//! How a card is told of more: by a record in memory, and by a doorbell.
//!
//! ```text
//!   UAR + 0x020   completions   [ 0:2 . sequence:2 . 0:4 . read:24 | number:24 ]
//!   UAR + 0x800   transmit      [ index:16 . opcode:8 | number:24 . size:8 ]       as the entry begins
//!                               or all of the entry, in stores of 64 bytes
//! ```
//!
//! A record is two words that the card reads when it wants to know: of a receive queue
//! how many entries were posted, of a transmit queue how many basic blocks, of a
//! completion queue how many were read. They are written before the doorbell, in full,
//! as a card may go by either. A receive queue has no doorbell at all.
//!
//! Doorbells are of 64 bits and written by one store: of two halves a card may see
//! those of two queues.
//!
//! An entry that is all there is to announce may go with its doorbell (BlueFlame), so
//! that the card need not fetch it. It goes by the entry only if it comes in writes of 64
//! bytes, so the processor must combine what is stored; else by its first 8 bytes and by
//! memory, and a driver cannot tell which (Linux finds out by a test, mlx5/core/wc.c). The
//! register has two halves, which take turns, and what was stored into one is on its way
//! before anything is stored into the other (rdma-core, providers/mlx5/qp.c,
//! `post_send_db`): some processors mix the two otherwise.

use super::wqe::Block;
use crate::dma::{Region, barrier};
use crate::driver::ring::Ring;
use crate::pci::{LongDoorbell, Window};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a basic block, of which entries of a transmit queue are made.
pub const BLOCK: usize = 64;

/// A doorbell record.
#[derive(Debug)]
pub struct Record(Ring<[AtomicU32; 2]>);

impl Record {
    /// The first 8 bytes of `region`.
    pub fn new(region: Region) -> Self {
        Record(Ring::new(region, 1))
    }

    /// What was posted to a receive queue, or read of a completion queue: after
    /// everything that was read or written before.
    #[inline(always)]
    pub fn first(&self, count: u32) {
        barrier::dma_wmb();
        self.0.at(0)[0].store(count.to_be(), Ordering::Release);
    }

    /// What was posted to a transmit queue, or how a completion queue is armed.
    #[inline(always)]
    pub fn second(&self, count: u32) {
        barrier::dma_wmb();
        self.0.at(0)[1].store(count.to_be(), Ordering::Release);
    }
}

/// Record and doorbell of a completion queue.
#[derive(Debug)]
pub struct CqBell {
    record: Record,
    doorbell: LongDoorbell,
    number: u32,
    /// Goes on with each event.
    sequence: u32,
}

impl CqBell {
    /// Of completion queue `number`; `doorbell` is at 0x20 of its UAR page.
    pub fn new(record: Region, doorbell: LongDoorbell, number: u32) -> Self {
        CqBell { record: Record::new(record), doorbell, number, sequence: 0 }
    }

    /// Gives completions before `position` back.
    #[inline(always)]
    pub fn ack(&self, position: u32) {
        self.record.first(position & INDEX);
    }

    /// The same, and lets the card report an event for what is there from `position` on.
    pub fn arm(&self, position: u32) {
        self.ack(position);
        let armed = self.sequence << 28 | position & INDEX;
        self.record.second(armed);
        self.doorbell.ring((u64::from(armed) << 32 | u64::from(self.number)).to_be());
    }

    /// The event has come: the next one is another.
    pub fn fired(&mut self) {
        self.sequence = (self.sequence + 1) & 3;
    }
}

/// Bits of a position that a card counts completions by.
const INDEX: u32 = 0xff_ffff;

/// Record and doorbell of a transmit queue.
pub struct SendBell {
    record: Record,
    way: Way,
}

/// How the card is told.
enum Way {
    Doorbell(LongDoorbell),
    Push(Flame),
}

/// A register that entries are stored into.
struct Flame {
    window: Window,
    /// The half that is next.
    at: usize,
    /// The block behind what was announced.
    told: u32,
}

impl SendBell {
    /// `doorbell` is at 0x800 of the UAR page of the queue, which no other queue uses.
    pub fn new(record: Region, doorbell: LongDoorbell) -> Self {
        SendBell { record: Record::new(record), way: Way::Doorbell(doorbell) }
    }

    /// `window` is the register at 0x800 of that page, both halves, and its stores are
    /// combined: an entry that is announced alone goes with the doorbell, if it fits.
    pub fn pushing(record: Region, window: Window) -> Self {
        SendBell { record: Record::new(record), way: Way::Push(Flame { window, at: 0, told: 0 }) }
    }

    /// Basic blocks up to `position` are written; `begin` is how the newest entry
    /// begins, as it is in memory, and `entry` all of it.
    #[inline(always)]
    pub fn ring<'a>(&mut self, position: u32, begin: u64, entry: impl FnOnce() -> &'a [Block]) {
        self.record.second(position & 0xffff);
        match &mut self.way {
            Way::Doorbell(doorbell) => doorbell.ring(begin),
            Way::Push(flame) => flame.ring(position, begin, entry()),
        }
    }

    /// Nothing is written.
    pub fn clear(&mut self) {
        self.begin_at(0);
        self.record.second(0);
    }

    /// What is before `position` was announced.
    pub fn begin_at(&mut self, position: u32) {
        if let Way::Push(flame) = &mut self.way {
            flame.told = position;
        }
    }
}

impl Flame {
    #[inline(never)]
    fn ring(&mut self, position: u32, begin: u64, entry: &[Block]) {
        let half = self.window.len() / 2;
        let alone = position.wrapping_sub(self.told) as usize == entry.len();
        self.told = position;
        // The record is written before the register; both halves are apart.
        barrier::wc_wmb();
        if alone && BLOCK * entry.len() <= half {
            for (n, block) in entry.iter().enumerate() {
                let words: [_; 8] = std::array::from_fn(|n| block[n].load(Ordering::Relaxed).to_le_bytes());
                self.window.copy(self.at + n * BLOCK, words.as_flattened());
            }
        } else {
            self.window.copy(self.at, &begin.to_le_bytes());
        }
        barrier::wc_wmb();
        self.at ^= half;
    }
}

impl fmt::Debug for SendBell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Doorbell(doorbell) => write!(f, "Send{doorbell:?}"),
            Way::Push(flame) => write!(f, "Push{:?}", flame.window),
        }
    }
}

/// Doorbells that are words of memory.
#[cfg(test)]
pub mod testing {
    use super::*;
    use crate::pci::{Bar, Doorbell, Page, Registers};
    use std::sync::Arc;

    /// A UAR page.
    #[derive(Clone)]
    pub struct Uar(Page);

    impl Registers for Uar {
        fn read(&self, _: u64, _: u8) -> u64 {
            0
        }

        fn write(&self, _: u64, _: u8, _: u64) {}

        fn doorbell(&self, offset: u64) -> Option<Doorbell> {
            Some(Doorbell::in_page(&self.0, offset as usize / 4))
        }
    }

    impl Uar {
        pub fn new() -> Self {
            Uar(Page::row(1)[0].clone())
        }

        /// The 8 bytes that were last written at `offset`.
        pub fn bytes(&self, offset: usize) -> [u8; 8] {
            let word = |n: usize| self.0[offset / 4 + n].load(Ordering::Acquire).to_le_bytes();
            let ([a, b, c, d], [e, f, g, h]) = (word(0), word(1));
            [a, b, c, d, e, f, g, h]
        }

        pub fn long(&self, offset: u64) -> LongDoorbell {
            Bar::Served(Arc::new(self.clone()), 4096).long_doorbell(offset).unwrap()
        }

        /// A register of `len` bytes at 0x800.
        pub fn register(&self, len: usize) -> Window {
            Bar::Served(Arc::new(self.clone()), 4096).window(0x800, len).unwrap()
        }

        /// Words that were stored since the last time, by their offset.
        pub fn take(&self) -> Vec<(usize, u64)> {
            let stored = |n: &usize| self.0[2 * n..][..2].iter().any(|word| word.load(Ordering::Acquire) != 0);
            let took: Vec<_> =
                (0..512).filter(stored).map(|n| (8 * n, u64::from_le_bytes(self.bytes(8 * n)))).collect();
            self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            took
        }
    }

    /// The two words of a record.
    pub fn words(record: &Region) -> [u32; 2] {
        [0, 1].map(|n| u32::from_be(record.words32()[n].load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Uar, words};
    use super::*;
    use crate::dma::{Addressing, Arena};

    fn record() -> Region {
        Region::new(&Arena::new(64, Addressing::Translated).unwrap(), 0, 64)
    }

    #[test]
    fn a_completion_queue_is_armed_with_what_was_read_and_which_event_it_is() {
        let (record, uar) = (record(), Uar::new());
        let mut bell = CqBell::new(record.clone(), uar.long(0x20), 0x40_0123);
        bell.ack(0x1ff_fffe);
        assert_eq!((words(&record), uar.bytes(0x20)), ([0xff_fffe, 0], [0; 8]));
        for (sequence, byte) in [0x00, 0x10, 0x20, 0x30, 0x00].into_iter().enumerate() {
            bell.arm(0x100_0102 + sequence as u32);
            assert_eq!(uar.bytes(0x20), [byte, 0, 1, 2 + sequence as u8, 0, 0x40, 0x01, 0x23]);
            assert_eq!(words(&record), [0x102 + sequence as u32, (u32::from(byte) << 24) | (0x102 + sequence as u32)]);
            bell.fired();
        }
    }

    /// An entry of so many blocks, each word with its number.
    fn entry(blocks: usize, first: u64) -> Vec<Block> {
        (0..blocks as u64).map(|n| std::array::from_fn(|m| (first + 8 * n + m as u64).into())).collect()
    }

    #[test]
    fn a_transmit_doorbell_is_how_the_entry_begins() {
        let (record, uar) = (record(), Uar::new());
        let mut bell = SendBell::new(record.clone(), uar.long(0x800));
        let begin = [0, 0xff, 0xfe, 0x0a, 0, 0, 0x12, 4];
        let begins = u64::from_le_bytes(begin);
        bell.ring(0x7_ffff, begins, || &[]);
        assert_eq!((words(&record), uar.bytes(0x800)), ([0, 0xffff], begin));
        bell.ring(0x8_0000, begins, || &[]);
        assert_eq!(words(&record), [0, 0]);
        assert_eq!(uar.take().len(), 1);
    }

    #[test]
    fn an_entry_that_is_alone_and_fits_goes_with_its_doorbell_into_each_half_by_turns() {
        let (record, uar) = (record(), Uar::new());
        let mut bell = SendBell::pushing(record.clone(), uar.register(256));
        let ring = |bell: &mut SendBell, position, blocks, first| {
            let entry = entry(blocks, first);
            bell.ring(position, first, || &entry);
        };
        let whole = |at: usize, blocks: usize, first: u64| -> Vec<_> {
            (0..8 * blocks).map(|n| (at + 8 * n, first + n as u64)).collect()
        };
        ring(&mut bell, 1, 1, 100);
        assert_eq!((words(&record), uar.take()), ([0, 1], whole(0x800, 1, 100)));
        ring(&mut bell, 3, 2, 200);
        assert_eq!((words(&record), uar.take()), ([0, 3], whole(0x880, 2, 200)));
        // Longer than a half, and with another one before it.
        ring(&mut bell, 6, 3, 300);
        assert_eq!((words(&record), uar.take()), ([0, 6], vec![(0x800, 300)]));
        ring(&mut bell, 8, 1, 400);
        assert_eq!(uar.take(), [(0x880, 400)]);
        ring(&mut bell, 9, 1, 500);
        assert_eq!(uar.take(), whole(0x800, 1, 500));
        bell.clear();
        ring(&mut bell, 1, 1, 600);
        assert_eq!((words(&record), uar.take()), ([0, 1], whole(0x880, 1, 600)));
    }
}
