//! Pages of registers that are memory: what a model polls and a driver stores to.

#![allow(unsafe_code)]

use crate::sys;
use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Bytes in a page.
const BYTES: usize = 4096;

/// 4 KiB of registers as memory, aligned to 4 KiB as a BAR's are. A clone is
/// another handle of the same page.
///
/// It lies in a memory file, so that a driver in another process, or at another
/// address, can be given the very same page ([`Page::file`]).
#[derive(Clone)]
pub struct Page {
    words: NonNull<[AtomicU32; 1024]>,
    number: usize,
    mapping: Arc<Mapping>,
}

// SAFETY: a page is atomics that live as long as its mapping.
unsafe impl Send for Page {}
// SAFETY: see Send.
unsafe impl Sync for Page {}

/// Some pages in a row.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
    file: File,
}

// SAFETY: plain shared memory, reached through Page only.
unsafe impl Send for Mapping {}
// SAFETY: see Send.
unsafe impl Sync for Mapping {}

impl Page {
    /// `count` pages of zeroes, side by side.
    ///
    /// # Panics
    /// If the system has no memory for them.
    pub fn row(count: usize) -> Box<[Page]> {
        let len = count.max(1) * BYTES;
        let mapped = sys::memory_file(len as u64).and_then(|file| Ok((sys::map_shared(&file, 0, len)?, file)));
        let (base, file) = mapped.unwrap_or_else(|e| panic!("{len} bytes of memory for registers: {e}"));
        let mapping = Arc::new(Mapping { base, len, file });
        let page = |number| {
            // SAFETY: number < count, and count pages are mapped at base.
            let words = unsafe { base.add(number * BYTES) }.cast();
            Page { words, number, mapping: Arc::clone(&mapping) }
        };
        (0..count).map(page).collect()
    }

    /// The memory file that it lies in, and where.
    pub fn file(&self) -> (BorrowedFd<'_>, u64) {
        (self.mapping.file.as_fd(), (self.number * BYTES) as u64)
    }
}

impl Deref for Page {
    type Target = [AtomicU32; 1024];

    #[inline]
    fn deref(&self) -> &Self::Target {
        // SAFETY: mapped and aligned while the mapping that self keeps lives;
        // every pattern of bytes is valid for atomics.
        unsafe { self.words.as_ref() }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({:p})", self.words)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by Page::row, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_page_is_the_memory_of_its_file() {
        let pages = Page::row(3);
        assert!(pages.iter().all(|page| page.as_ptr().addr().is_multiple_of(BYTES)));
        let last = pages[2].clone();
        drop(pages);
        last[5].store(0x1234_5678, Ordering::Relaxed);
        let (fd, offset) = last.file();
        let file = File::from(fd.try_clone_to_owned().unwrap());
        let mut word = [0; 4];
        file.read_exact_at(&mut word, offset + 20).unwrap();
        assert_eq!(u32::from_ne_bytes(word), 0x1234_5678);
        file.write_all_at(&[9, 0, 0, 0], offset).unwrap();
        assert_eq!(last[0].load(Ordering::Relaxed), 9);
    }
}
