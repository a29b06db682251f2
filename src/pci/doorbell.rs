//! Doorbells: the one store that a data path makes to a device.

#![allow(unsafe_code)]

use super::Page;
use crate::error::{Error, Kind, Result};
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// A 32-bit register that a queue writes to tell the device of new descriptors.
///
/// It points into the mapped BAR of a real card, or into the page that the
/// emulated card's model polls: the store is the same instruction on both. It
/// can only be written, never read.
#[derive(Clone)]
pub struct Doorbell {
    register: NonNull<AtomicU32>,
    /// Bytes from the register on that a [`Window`](super::Window) may have.
    room: usize,
    /// Keeps the mapping alive.
    owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the register lives as long as the owner, and is only stored to, whole.
unsafe impl Send for Doorbell {}
// SAFETY: see Send.
unsafe impl Sync for Doorbell {}

impl Doorbell {
    /// A doorbell at `register`.
    ///
    /// # Safety
    /// `register` must be valid for 32-bit stores, and aligned, for as long as
    /// `owner` lives.
    pub unsafe fn new(register: NonNull<AtomicU32>, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self { register, room: 4, owner }
    }

    /// A doorbell at `register` with more of the card's memory behind it, for
    /// [`Bar::window`](super::Bar::window).
    ///
    /// # Safety
    /// As [`Doorbell::new`], for `room` bytes, a multiple of 4.
    pub unsafe fn with_room(register: NonNull<AtomicU32>, room: usize, owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self { register, room, owner }
    }

    /// A doorbell that is word `index` of a page of memory, which someone polls.
    ///
    /// # Panics
    /// If the page has no such word.
    pub fn in_page(page: &Page, index: usize) -> Self {
        let words = &page[index..];
        let register = NonNull::from(words).cast();
        assert!(!words.is_empty());
        Self { register, room: size_of_val(words), owner: Arc::new(page.clone()) as _ }
    }

    /// The memory from the register on: first byte, length, and what keeps it.
    pub(super) fn memory(&self) -> (NonNull<AtomicU32>, usize, &Arc<dyn Any + Send + Sync>) {
        (self.register, self.room, &self.owner)
    }

    /// Writes `value`, after everything the program has written so far.
    ///
    /// The device sees descriptors no later than the doorbell that announces
    /// them: on x86 stores stay in order (write-back memory before uncached), on
    /// aarch64 the barrier is `dmb oshst`.
    #[inline(always)]
    pub fn ring(&self, value: u32) {
        crate::dma::barrier::io_wmb();
        // SAFETY: valid and aligned while the owner lives. A register that a
        // device or another thread reads at any time, so it is an atomic.
        unsafe { self.register.as_ref() }.store(value, Ordering::Release);
    }
}

/// A doorbell of 16 bits, which may lie at any even offset.
///
/// Where a model polls for it, it is the word that it is the low half of.
#[derive(Clone)]
pub enum ShortDoorbell {
    /// A register of a real card, and what keeps it mapped.
    Mapped(NonNull<AtomicU16>, Arc<dyn Any + Send + Sync>),
    /// A word of a page that someone polls.
    Polled(Doorbell),
}

// SAFETY: as for Doorbell.
unsafe impl Send for ShortDoorbell {}
// SAFETY: see Send.
unsafe impl Sync for ShortDoorbell {}

impl ShortDoorbell {
    /// Writes `value`, as [`Doorbell::ring`] does.
    #[inline(always)]
    pub fn ring(&self, value: u16) {
        match self {
            ShortDoorbell::Mapped(register, _) => {
                crate::dma::barrier::io_wmb();
                // SAFETY: who made it promised that it is mapped and aligned
                // while the owner lives.
                unsafe { register.as_ref() }.store(value, Ordering::Release);
            }
            ShortDoorbell::Polled(word) => word.ring(u32::from(value)),
        }
    }
}

/// A doorbell of 64 bits, written by one store.
///
/// Where a model polls for it, it is two words of a page, the low one first.
#[derive(Clone)]
pub struct LongDoorbell(Doorbell);

impl LongDoorbell {
    /// The 64 bits from `first` on.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if they do not all belong to the mapping, or are not
    /// aligned to their size.
    pub(super) fn new(first: Doorbell) -> Result<LongDoorbell> {
        let (register, room, _) = first.memory();
        if room < 8 || !register.cast::<u64>().is_aligned() {
            return Err(Error::new(
                Kind::Unsupported,
                "there are no 64 bits behind this register that one store reaches",
            ));
        }
        Ok(LongDoorbell(first))
    }

    /// Writes `value`, as [`Doorbell::ring`] does.
    #[inline(always)]
    pub fn ring(&self, value: u64) {
        crate::dma::barrier::io_wmb();
        // SAFETY: `new` checked room and alignment; valid while the owner lives.
        unsafe { super::window::store_whole(self.0.register.as_ptr(), value) };
    }
}

impl fmt::Debug for LongDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Long{:?}", self.0)
    }
}

impl fmt::Debug for ShortDoorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShortDoorbell::Mapped(register, _) => write!(f, "ShortDoorbell({register:p})"),
            ShortDoorbell::Polled(word) => write!(f, "Short{word:?}"),
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Doorbell({:p})", self.register)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_doorbell_is_two_words_at_an_aligned_place() {
        let page = Page::row(1)[0].clone();
        let long = |index| LongDoorbell::new(Doorbell::in_page(&page, index));
        long(2).unwrap().ring(0x0123_4567_89ab_cdef);
        let words: Vec<u32> = page[..5].iter().map(|word| word.load(Ordering::Acquire)).collect();
        assert_eq!(words, [0, 0, 0x89ab_cdef, 0x0123_4567, 0]);
        for index in [1, 1023] {
            assert_eq!(long(index).unwrap_err().kind(), Kind::Unsupported);
        }
    }
}
