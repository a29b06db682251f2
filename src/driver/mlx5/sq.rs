//! The work queue of a transmit queue: basic blocks, what is in them, and of which of
//! them a report was asked for.
//!
//! ```text
//!            the card's                                           ours
//!         +-------------------------------------------------+------------
//!   ... | entry | entry, 2 blocks | entry REPORT | NOP | entry REPORT | free | ...
//!         ^ clean                  ^ mark               ^ mark         ^ next = record
//! ```
//!
//! An entry does not go on at the start of the ring: where it would, the blocks to the end
//! are entries that do nothing. A report names the first block of its entry and stands for
//! all before.

use super::bell::SendBell;
use super::wqe::{self, Block, opcode};
use crate::dma::Region;
use crate::driver::ring::{Ring, first_position};
use std::sync::atomic::{AtomicU64, Ordering};

/// Such a work queue.
#[derive(Debug)]
pub struct WorkQueue {
    ring: Ring<Block>,
    bell: SendBell,
    /// Its number.
    pub number: u32,
    /// Position of the block that is written next. Runs freely.
    pub next: u32,
    /// Oldest block that was not reported.
    clean: u32,
    /// First block of the newest entry.
    newest: u32,
    marks: Box<[Mark]>,
    first_mark: u32,
    next_mark: u32,
}

/// An entry that is to be reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its first block.
    entry: u32,
    /// The block behind it.
    blocks: u32,
    /// Where the buffers end that it and those before it have.
    pub buffers: u32,
}

impl WorkQueue {
    /// All of `region`.
    pub fn new(region: Region, bell: SendBell, number: u32) -> Self {
        let (len, first) = ((region.len() / size_of::<Block>()) as u32, first_position());
        WorkQueue {
            ring: Ring::new(region, len),
            bell,
            number,
            next: first,
            clean: first,
            newest: first,
            marks: vec![Mark::default(); len as usize].into(),
            first_mark: 0,
            next_mark: 0,
        }
    }

    /// Blocks of the ring.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // of the ring, not of what is in it
    pub fn len(&self) -> u32 {
        self.ring.len()
    }

    /// Blocks that the card has.
    #[inline(always)]
    pub fn used(&self) -> u32 {
        self.next.wrapping_sub(self.clean)
    }

    /// Blocks that can be written.
    #[inline(always)]
    pub fn free(&self) -> u32 {
        self.len() - self.used()
    }

    /// The free blocks from the next one on, as far as they lie side by side.
    #[inline(always)]
    pub fn blocks(&self) -> &[Block] {
        let blocks = self.ring.to_end(self.next);
        &blocks[..blocks.len().min(self.free() as usize)]
    }

    /// The blocks that were just written up to `blocks` further are entries, the newest of
    /// them of the last `last`.
    #[inline(always)]
    pub fn wrote(&mut self, blocks: u32, last: u32) {
        self.next = self.next.wrapping_add(blocks);
        self.newest = self.next.wrapping_sub(last);
    }

    /// Makes room for an entry of `blocks` side by side, behind entries that do nothing if
    /// the ring ends before; false if there is none.
    #[inline(always)]
    pub fn place(&mut self, blocks: u32) -> bool {
        let left = self.ring.to_end(self.next).len() as u32;
        let skipped = if blocks <= left { 0 } else { left };
        let fits = skipped + blocks <= self.free();
        if fits {
            (0..skipped).for_each(|_| self.skip());
        }
        fits
    }

    /// An entry that does nothing.
    #[cold]
    fn skip(&mut self) {
        let block = self.ring.at(self.next);
        block[0].store(wqe::begin(self.next, opcode::NOP, self.number, 1), Ordering::Relaxed);
        block[1].store(0, Ordering::Relaxed);
        self.next = self.next.wrapping_add(1);
    }

    /// The words of a room of `blocks` that was made.
    #[inline(always)]
    pub fn words(&self, blocks: u32) -> &[AtomicU64] {
        &self.ring.to_end(self.next).as_flattened()[..8 * blocks as usize]
    }

    /// Asks for a report of the newest entry, with which `buffers` ends, and tells the card.
    #[inline(always)]
    pub fn announce(&mut self, buffers: u32) {
        let block = self.ring.at(self.newest);
        block[1].store(wqe::REPORT.to_be(), Ordering::Relaxed);
        let index = self.next_mark as usize & (self.marks.len() - 1);
        self.marks[index] = Mark { entry: self.newest, blocks: self.next, buffers };
        self.next_mark = self.next_mark.wrapping_add(1);
        let entry = || &self.ring.to_end(self.newest)[..self.next.wrapping_sub(self.newest) as usize];
        self.bell.ring(self.next, block[0].load(Ordering::Relaxed), entry);
    }

    /// The oldest entry that is to be reported, by the counter that its report has, and
    /// where its buffers end.
    #[inline(always)]
    pub fn expected(&self) -> Option<(u16, u32)> {
        let mark = self.marks[self.first_mark as usize & (self.marks.len() - 1)];
        (self.first_mark != self.next_mark).then_some((mark.entry as u16, mark.buffers))
    }

    /// It was reported.
    #[inline(always)]
    pub fn reported(&mut self) {
        self.clean = self.marks[self.first_mark as usize & (self.marks.len() - 1)].blocks;
        self.first_mark = self.first_mark.wrapping_add(1);
    }

    /// The entry that `counter` names was reported, whatever was before it: where its
    /// buffers end, if it is one of ours.
    pub fn reported_at(&mut self, counter: u16) -> Option<u32> {
        let count = self.next_mark.wrapping_sub(self.first_mark);
        let mark = |n: u32| self.marks[self.first_mark.wrapping_add(n) as usize & (self.marks.len() - 1)];
        let ahead = (0..count).find(|&n| mark(n).entry as u16 == counter)?;
        let buffers = mark(ahead).buffers;
        (0..=ahead).for_each(|_| self.reported());
        Some(buffers)
    }

    /// The counter of the newest entry, which is the last to be reported.
    pub fn last(&self) -> Option<u16> {
        (self.first_mark != self.next_mark).then_some(self.newest as u16)
    }

    /// Begins anew: the card is told that nothing is written.
    pub fn restart(&mut self) {
        (self.next, self.clean, self.newest) = (0, 0, 0);
        self.first_mark = self.next_mark;
        self.bell.clear();
    }

    /// As after so many blocks.
    #[cfg(test)]
    pub fn begin_at(&mut self, position: u32) {
        (self.next, self.clean, self.newest) = (position, position, position);
        self.bell.begin_at(position);
    }
}
