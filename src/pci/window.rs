//! Windows: stretches of a BAR that a data path stores whole frames or
//! descriptors into.

#![allow(unsafe_code)]

use super::Doorbell;
use crate::error::{Error, Kind, Result};
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Part of a BAR that is only ever stored to: packet memory on the card, or a
/// register wider than a [`Doorbell`].
///
/// Like a doorbell it points into the mapped BAR of a real card, or into the
/// page that the emulated card's model looks at: the same stores on both. The
/// platform may combine them; what must be out before what is the caller's to
/// say ([`barrier::wc_wmb`](crate::dma::barrier::wc_wmb)).
#[derive(Clone)]
pub struct Window {
    base: NonNull<AtomicU32>,
    len: usize,
    /// Keeps the mapping alive.
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the memory lives as long as the owner, and is only stored to.
unsafe impl Send for Window {}
// SAFETY: see Send.
unsafe impl Sync for Window {}

impl Window {
    /// The `len` bytes from the register of `doorbell` on.
    pub(super) fn new(doorbell: &Doorbell, len: usize) -> Result<Window> {
        let (base, room, owner) = doorbell.memory();
        if len == 0 || len > room {
            return Err(Error::new(
                Kind::Unsupported,
                format!("a window of {len} bytes does not fit: the mapping of the card has {room} there"),
            ));
        }
        Ok(Window { base, len, _owner: Arc::clone(owner) })
    }

    /// Bytes it has.
    #[allow(clippy::len_without_is_empty)] // a window is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// Stores `low` and `high` at `offset`: as one store of 16 bytes where the
    /// machine has one, else the high half last. Everything that the program has
    /// written before is seen before it.
    ///
    /// # Panics
    /// If the 16 bytes are not in the window.
    #[inline(always)]
    pub fn store(&self, offset: usize, low: u64, high: u64) {
        crate::dma::barrier::io_wmb();
        let to = self.at(offset, 16);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: `at` checked that the bytes are in the mapping, which the
        // owner keeps; all other users of them see atomics.
        unsafe {
            std::arch::asm!(
                "movq {x}, {low}",
                "movq {y}, {high}",
                "punpcklqdq {x}, {y}",
                "movdqu [{to}], {x}",
                low = in(reg) low,
                high = in(reg) high,
                to = in(reg) to,
                x = out(xmm_reg) _,
                y = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
        #[cfg(any(not(target_arch = "x86_64"), miri))]
        for (n, half) in [low, high].into_iter().enumerate() {
            store64(to, n, half);
        }
    }

    /// Copies `bytes` to `offset` in address order, in words of 64 bits, the last
    /// filled up with zeroes. Returns how many bytes that were.
    ///
    /// # Panics
    /// If they are not in the window.
    #[inline]
    pub fn copy(&self, offset: usize, bytes: &[u8]) -> usize {
        let len = bytes.len().next_multiple_of(8);
        let to = self.at(offset, len);
        let (words, rest) = bytes.as_chunks::<8>();
        for (n, word) in words.iter().enumerate() {
            store64(to, n, u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            store64(to, words.len(), u64::from_le_bytes(last));
        }
        len
    }

    /// As [`Window::copy`], with `head` as four bytes before `bytes`.
    #[inline]
    pub fn copy_behind(&self, offset: usize, head: u32, bytes: &[u8]) -> usize {
        let (first, rest) = bytes.split_at(bytes.len().min(4));
        let mut word = [0; 8];
        word[..4].copy_from_slice(&head.to_le_bytes());
        word[4..4 + first.len()].copy_from_slice(first);
        self.copy(offset, &word) + self.copy(offset + 8, rest)
    }

    /// Where `len` bytes at `offset` are.
    #[inline(always)]
    fn at(&self, offset: usize, len: usize) -> *mut AtomicU32 {
        assert!(offset.is_multiple_of(8) && offset <= self.len && len <= self.len - offset, "outside a window");
        // SAFETY: just checked.
        unsafe { self.base.as_ptr().add(offset / 4) }
    }
}

/// Stores 64-bit word `n` of those at `to`, which the caller has checked.
#[inline(always)]
fn store64(to: *mut AtomicU32, n: usize, value: u64) {
    // SAFETY: in the window, as the callers checked.
    unsafe { store_whole(to.add(2 * n), value) };
}

/// Stores 64 bits at once: as one store wherever the machine has one.
///
/// # Safety
/// `to` must be valid for stores of 8 bytes, aligned to them, and all other users
/// of them must see atomics.
#[inline(always)]
pub(super) unsafe fn store_whole(to: *mut AtomicU32, value: u64) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as the caller promised.
    unsafe {
        std::arch::asm!(
            "mov [{to}], {value}",
            to = in(reg) to,
            value = in(reg) value,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as the caller promised.
    unsafe {
        std::arch::asm!(
            "str {value}, [{to}]",
            to = in(reg) to,
            value = in(reg) value,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), miri))]
    for (half, word) in [value, value >> 32].into_iter().enumerate() {
        // SAFETY: as the caller promised.
        unsafe { &*to.add(half) }.store(word as u32, std::sync::atomic::Ordering::Release);
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({:p}, {} bytes)", self.base, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Page;
    use super::*;
    use std::sync::atomic::Ordering;

    fn window(index: usize, len: usize) -> (Page, Result<Window>) {
        let page = Page::row(1)[0].clone();
        let window = Window::new(&Doorbell::in_page(&page, index), len);
        (page, window)
    }

    #[test]
    fn a_wide_store_lands_in_four_words() {
        let (page, window) = window(0xa10 / 4, 16);
        window.unwrap().store(0, 0x0123_4567_89ab_cdef, 0x1122_3344_5566_7788);
        let words: Vec<u32> = page[0xa10 / 4..0xa20 / 4].iter().map(|word| word.load(Ordering::Acquire)).collect();
        assert_eq!(words, [0x89ab_cdef, 0x0123_4567, 0x5566_7788, 0x1122_3344]);
    }

    #[test]
    fn a_copy_is_filled_up_with_zeroes_and_nothing_else_is_touched() {
        let (page, window) = window(0, 4096);
        for word in page.iter() {
            word.store(u32::MAX, Ordering::Relaxed);
        }
        let window = window.unwrap();
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let words = |n| -> Vec<u32> { page[..n].iter().map(|word| word.load(Ordering::Acquire)).collect() };
        assert_eq!(window.copy(8, &bytes), 16);
        assert_eq!(words(7), [u32::MAX, u32::MAX, 0x0403_0201, 0x0807_0605, 9, 0, u32::MAX]);
        assert_eq!(window.copy_behind(0, 0xabcd, &bytes), 16);
        assert_eq!(words(5), [0xabcd, 0x0403_0201, 0x0807_0605, 9, 9]);
        assert_eq!(window.copy(4096, &[]), 0);
    }

    #[test]
    fn a_window_ends_with_its_page() {
        assert_eq!(window(1020, 32).1.unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(window(0, 0).1.unwrap_err().kind(), Kind::Unsupported);
        assert!(window(1020, 16).1.is_ok());
    }

    #[test]
    #[should_panic(expected = "outside a window")]
    fn nothing_is_stored_outside() {
        let (_page, window) = window(0, 64);
        window.unwrap().copy(56, &[0; 9]);
    }
}
