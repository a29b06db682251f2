//! A pool of packet buffers with a stack of free ones.

use super::{Addressing, Arena, Iova};
use crate::error::{Error, Kind, Result};
use std::cell::Cell;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// Bytes in a packet buffer: a frame of 1518 bytes, its VLAN tags and what a
/// card may write before or after it. Larger frames span several buffers.
pub const BUFFER_SIZE: usize = 2048;

/// Packet buffers of [`BUFFER_SIZE`] bytes in one arena, and a stack of the
/// free ones. One pool serves one core: it can be sent to another thread but
/// not shared.
///
/// A buffer is named by its index and is in exactly one place: on the free
/// stack, in a [`super::Batch`], or in a device's ring. That is why a batch can
/// lend `&mut [u8]` of it without a lock or a reference count.
#[derive(Debug)]
pub struct Pool {
    arena: Arc<Arena>,
    id: PoolId,
    /// IOVA of each contiguous run of buffers; one entry unless physical.
    runs: Box<[Iova]>,
    /// log2 of the buffers in a run.
    shift: u32,
    /// `free[..top]` are the indices of free buffers. The hottest is last.
    free: Box<[Cell<u32>]>,
    top: Cell<usize>,
}

/// Which pool a buffer index is of. A queue keeps it, so that buffers of one
/// pool are never taken for those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolId(NonZeroU32);

impl PoolId {
    /// As a number that no other pool has.
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        self.0.get()
    }
}

/// The next unused [`PoolId`].
static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl Pool {
    /// A pool of `count` buffers; the arena must still be mapped by each device
    /// that is to see them ([`crate::pci::Function::map`]).
    pub fn new(count: usize, addressing: Addressing) -> Result<Pool> {
        Self::near(count, addressing, None)
    }

    /// The same, of the memory of a NUMA node if that has any left: that of the card.
    pub fn near(count: usize, addressing: Addressing, node: Option<u16>) -> Result<Pool> {
        if count == 0 || count > 1 << 24 {
            return Err(Error::new(Kind::Usage, format!("a pool of {count} buffers; use 1 to 16777216")));
        }
        let arena = Arena::near(count * BUFFER_SIZE, addressing, node)?;
        let count = arena.len() / BUFFER_SIZE;
        let runs: Box<[Iova]> = arena.runs().map(|(_, iova, _)| iova).collect();
        let shift = if runs.len() == 1 { u32::BITS - 1 } else { (arena.contiguous() / BUFFER_SIZE).trailing_zeros() };
        // The lowest index on top: a fresh pool is handed out in address order.
        let free = (0..count as u32).rev().map(Cell::new).collect();
        let id = PoolId(NonZeroU32::MIN.saturating_add(NEXT_ID.fetch_add(1, Ordering::Relaxed)));
        Ok(Pool { arena, id, runs, shift, free, top: Cell::new(count) })
    }

    /// The memory behind the buffers, for [`crate::pci::Function::map`].
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Buffers in the pool, free or not.
    pub fn capacity(&self) -> usize {
        self.free.len()
    }

    /// Buffers free at this moment.
    pub fn available(&self) -> usize {
        self.top.get()
    }

    /// Address of the first byte of buffer `index` as a device sees it.
    #[inline]
    pub(crate) fn iova(&self, index: u32) -> Iova {
        let run = self.runs[(index >> self.shift) as usize];
        run + u64::from(index & ((1 << self.shift) - 1)) * BUFFER_SIZE as u64
    }

    /// First byte of buffer `index`.
    #[inline]
    pub(crate) fn pointer(&self, index: u32) -> NonNull<u8> {
        debug_assert!((index as usize) < self.capacity());
        // An index comes only from the free stack, so it is inside the arena.
        #[allow(unsafe_code)]
        // SAFETY: index < capacity, and capacity * BUFFER_SIZE is within the arena.
        unsafe {
            self.arena.as_ptr().add(index as usize * BUFFER_SIZE)
        }
    }

    /// The 16-bit word at byte `at` of buffer `index`, which a device may be
    /// writing: an even offset inside the buffer.
    #[inline]
    pub(crate) fn word16(&self, index: u32, at: usize) -> u16 {
        debug_assert!(at.is_multiple_of(2) && at + 2 <= BUFFER_SIZE);
        #[allow(unsafe_code)]
        // SAFETY: inside the buffer and aligned, as buffers are; an atomic, as
        // only a device touches the word besides us.
        unsafe {
            self.pointer(index)
                .as_ptr()
                .add(at)
                .cast::<AtomicU16>()
                .as_ref()
                .map_or(0, |word| word.load(Ordering::Relaxed))
        }
    }

    /// Takes one free buffer.
    #[inline]
    pub(crate) fn take(&self) -> Option<u32> {
        let top = self.top.get().checked_sub(1)?;
        self.top.set(top);
        Some(self.free[top].get())
    }

    /// Which pool this is.
    #[inline]
    pub(crate) fn id(&self) -> PoolId {
        self.id
    }

    /// Address of buffer 0 if all of them lie side by side for the device: the
    /// others are then `BUFFER_SIZE` apart and need no look-up.
    #[inline]
    pub(crate) fn linear(&self) -> Option<Iova> {
        match *self.runs {
            [base] => Some(base),
            _ => None,
        }
    }

    /// Up to `want` free buffers, the hottest last, still on the stack:
    /// [`Pool::took`] says how many of them were used, from the end.
    #[inline]
    pub(crate) fn top(&self, want: usize) -> &[Cell<u32>] {
        let top = self.top.get();
        &self.free[top - want.min(top)..top]
    }

    /// Takes the `n` hottest buffers, seen through [`Pool::top`], off the stack.
    #[inline]
    pub(crate) fn took(&self, n: usize) {
        debug_assert!(n <= self.top.get());
        self.top.set(self.top.get().wrapping_sub(n));
    }

    /// Gives a buffer back.
    #[inline]
    pub(crate) fn give(&self, index: u32) {
        let top = self.top.get();
        self.free[top].set(index);
        self.top.set(top + 1);
    }

    /// Gives many buffers back.
    #[inline]
    pub(crate) fn give_many(&self, indices: impl ExactSizeIterator<Item = u32>) {
        let top = self.top.get();
        let end = top + indices.len();
        for (slot, index) in self.free[top..end].iter().zip(indices) {
            slot.set(index);
        }
        self.top.set(end);
    }

    /// Gives back a run of indices as a ring holds them.
    #[inline]
    pub(crate) fn give_slice(&self, indices: &[Cell<u32>]) {
        self.give_many(indices.iter().map(Cell::get));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_distinct_and_comes_back() {
        let pool = Pool::new(100, Addressing::Translated).unwrap();
        let all = pool.available();
        let mut seen: Vec<u32> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(seen.len(), all);
        assert!(pool.top(3).is_empty());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
        pool.give_many(seen.into_iter());
        assert_eq!(pool.available(), all);
        let hottest = pool.top(7).last().map(Cell::get);
        assert_eq!(pool.available(), all, "looking takes nothing");
        pool.took(6);
        assert_eq!(pool.available(), all - 6);
        pool.give_slice(&[Cell::new(hottest.unwrap())]);
        assert_eq!(pool.take(), hottest, "last in, first out");
    }

    #[test]
    fn buffers_lie_side_by_side_for_the_device() {
        let pool = Pool::new(16, Addressing::Translated).unwrap();
        assert_eq!(pool.iova(5) - pool.iova(4), BUFFER_SIZE as u64);
        assert_eq!(pool.iova(0), pool.arena().iova(0));
    }

    #[test]
    fn a_pool_of_nothing_or_of_everything_is_refused() {
        assert_eq!(Pool::new(0, Addressing::Translated).unwrap_err().kind(), Kind::Usage);
        assert_eq!(Pool::new(usize::MAX, Addressing::Translated).unwrap_err().kind(), Kind::Usage);
    }
}
