//! Pages of registers that are memory: what a model polls and a driver stores to.

#![allow(unsafe_code)]

use crate::sys;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Bytes in a page of registers, which is smaller than the kernel's on some machines.
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
    /// See [`Page::lend`].
    _lease: Option<Arc<()>>,
}

// SAFETY: a page is atomics that live as long as its mapping.
unsafe impl Send for Page {}
// SAFETY: see Send.
unsafe impl Sync for Page {}

/// Some pages in a row.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
    file: Arc<File>,
    offset: u64,
    /// What it holds is of no use once it is unmapped.
    ours: bool,
}

/// The memory file of all pages: a descriptor for each card's would be too many.
static STORE: OnceLock<Mutex<Store>> = OnceLock::new();

struct Store {
    file: Arc<File>,
    len: u64,
}

impl Store {
    fn get() -> io::Result<&'static Mutex<Store>> {
        if let Some(store) = STORE.get() {
            return Ok(store);
        }
        let file = Arc::new(sys::memory_file(0)?);
        Ok(STORE.get_or_init(|| Mutex::new(Store { file, len: 0 })))
    }

    /// Maps `len` more bytes of it.
    fn grow(&mut self, len: usize) -> io::Result<Mapping> {
        let offset = self.len;
        let len = len.next_multiple_of(sys::page_size());
        self.file.set_len(offset + len as u64)?;
        self.len += len as u64;
        let base = sys::map_shared(&self.file, offset, len)?;
        Ok(Mapping { base, len, file: Arc::clone(&self.file), offset, ours: true })
    }
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
        let mapped = Store::get().and_then(|store| store.lock().unwrap_or_else(PoisonError::into_inner).grow(len));
        let mapping = Arc::new(mapped.unwrap_or_else(|e| panic!("{len} bytes of memory for registers: {e}")));
        let page = |number| {
            // SAFETY: number < count, and count pages are mapped at base.
            let words = unsafe { mapping.base.add(number * BYTES) }.cast();
            Page { words, number, mapping: Arc::clone(&mapping), _lease: None }
        };
        (0..count).map(page).collect()
    }

    /// The first 4 KiB of a file, which others read and write as a file.
    pub fn of_file(file: File) -> io::Result<Page> {
        file.set_len(BYTES as u64)?;
        let base = sys::map_shared(&file, 0, BYTES)?;
        let mapping = Arc::new(Mapping { base, len: BYTES, file: Arc::new(file), offset: 0, ours: false });
        Ok(Page { words: base.cast(), number: 0, mapping, _lease: None })
    }

    /// Another handle of the page, and what tells whether it, or a clone of it, is
    /// still there.
    pub fn lend(&self) -> (Page, Weak<()>) {
        let lease = Arc::new(());
        let told = Arc::downgrade(&lease);
        (Page { _lease: Some(lease), ..self.clone() }, told)
    }

    /// Where this process has pages of any row mapped: each handle's place, and those
    /// that [`Page::file`] was mapped to elsewhere.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn everywhere() -> io::Result<Vec<Range<usize>>> {
        let file = Arc::clone(&Store::get()?.lock().unwrap_or_else(PoisonError::into_inner).file);
        let inode = file.metadata()?.ino();
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        // address perms offset dev inode path; memory files are all of one device.
        let mapped = |line: &str| -> Option<Range<usize>> {
            let mut words = line.split_ascii_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let own = words.nth(3)?.parse() == Ok(inode) && words.next()?.starts_with("/memfd:");
            let at = |text| usize::from_str_radix(text, 16).ok();
            own.then_some(at(start)?..at(end)?)
        };
        Ok(maps.lines().filter_map(mapped).collect())
    }

    /// The memory file that it lies in, and where.
    pub fn file(&self) -> (BorrowedFd<'_>, u64) {
        (self.mapping.file.as_fd(), self.mapping.offset + (self.number * BYTES) as u64)
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
        // SAFETY: mapped when it was made, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        if self.ours {
            // Best effort: what stays is memory that is not used again.
            let _ = sys::release(&self.file, self.offset, self.len as u64);
        }
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
        // There, and where else the same file is mapped; no other page is.
        let again = sys::map_shared(&file, offset, BYTES).unwrap().as_ptr().addr();
        let other = Page::of_file(sys::memory_file(0).unwrap()).unwrap();
        let pages = Page::everywhere().unwrap();
        let mapped = |at: usize| pages.iter().any(|range| range.contains(&at));
        assert!(mapped(last.as_ptr().addr()) && mapped(again) && !mapped(other.as_ptr().addr()));
    }
}
