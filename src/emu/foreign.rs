//! Memory of a driver in another process, mapped into this one.
//!
//! The other process may cut off the file that a mapping is of. Under a
//! [`Guard`] zeroed memory of our own is put in the mapping's place then, so that the
//! card goes on and the one who cut the file sees no more of it.

#![allow(unsafe_code)]

use super::Translation;
use crate::dma::Iova;
use crate::error::Result;
use crate::sys::bus::{Guard, Instead};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// A piece of the driver's memory.
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
    /// Some until it is dropped.
    guard: Option<Guard>,
}

// SAFETY: plain shared memory, reached through Translation only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size` bytes of the driver's file from `offset`.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, size: u64, writable: bool) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let len = usize::try_from(size).map_err(|_| invalid())?;
        let end = offset.checked_add(size).ok_or_else(invalid)?;
        // A mapping beyond the end of its file would kill us when it is touched.
        let file = std::fs::File::from(fd.try_clone_to_owned()?);
        if len == 0 || file.metadata()?.len() < end {
            return Err(invalid());
        }
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let offset = libc::off_t::try_from(offset).map_err(|_| invalid())?;
        // SAFETY: a fresh shared mapping of a file the driver gave us.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(invalid)?;
        let mut mapping = Self { base, len, writable, guard: None };
        mapping.guard = Some(Guard::new(base, len, Instead::Zeroes, None)?);
        Ok(mapping)
    }

    /// Maps `size` bytes that can be written, and makes sure that the memory is there.
    #[cfg(target_arch = "x86_64")]
    pub fn populated(fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<Self> {
        let mapping = Self::new(fd, offset, size, true)?;
        // SAFETY: the range is this mapping; no byte of it is changed.
        match unsafe { libc::madvise(mapping.base.as_ptr().cast(), mapping.len, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(mapping),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Where it is in this process.
    #[cfg(target_arch = "x86_64")]
    pub fn address(&self) -> usize {
        self.base.as_ptr().addr()
    }

    /// Lets a card reach it at `iova`, until it is unmapped there.
    pub fn enter(self: Arc<Self>, memory: &mut Translation, iova: Iova) -> Result<()> {
        let (base, len, writable) = (self.base, self.len, self.writable);
        // SAFETY: mapped until the owner, which Translation keeps, is dropped;
        // nobody in this process holds references to it.
        unsafe { memory.map(iova, base, len, writable, self) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.guard.take());
        // SAFETY: mapped by new, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
