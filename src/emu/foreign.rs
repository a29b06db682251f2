//! Memory of a driver in another process, mapped into this one.
//!
//! The other process may cut off the file that a mapping is of. Touching what is
//! not there any more raises SIGBUS; [`outlive_cut_files`] then puts zeroed memory
//! of our own in the mapping's place, so that the card goes on and the one who cut
//! the file sees no more of it.

#![allow(unsafe_code)]

use super::Translation;
use crate::dma::Iova;
use crate::error::Result;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, mem};

/// A piece of the driver's memory.
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
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
        remember(base.as_ptr().addr(), len);
        Ok(Self { base, len, writable })
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
        forget(self.base.as_ptr().addr());
        // SAFETY: mapped by new, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Where the mappings are, for a signal handler to read: start and length, zero
/// while free. Mappings beyond these are as good, but do not outlive their file.
static MAPPED: [(AtomicUsize, AtomicUsize); 256] = [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; 256];

fn remember(start: usize, len: usize) {
    let free = |(at, _): &&(AtomicUsize, AtomicUsize)| {
        at.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    if let Some((_, length)) = MAPPED.iter().find(free) {
        length.store(len, Ordering::Release);
    }
}

fn forget(start: usize) {
    if let Some((at, length)) = MAPPED.iter().find(|(at, _)| at.load(Ordering::Acquire) == start) {
        length.store(0, Ordering::Release);
        at.store(0, Ordering::Release);
    }
}

/// Lets this process outlive files that are cut off behind its mappings.
pub fn outlive_cut_files() -> io::Result<()> {
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_bus_error as extern "C" fn(_, _, _) as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: action is valid, and the handler has the signature that SA_SIGINFO asks for.
    match unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let address = unsafe { (*info).si_addr() }.addr();
    if !replace(address) {
        // A fault of somebody's own: it happens again, and is fatal then.
        // SAFETY: SIG_DFL is always valid.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Puts zeroed memory in the place of the mapping around `address`; false if
/// there is none. Calls only what a signal handler may.
fn replace(address: usize) -> bool {
    let around = |(at, length): &(AtomicUsize, AtomicUsize)| {
        let (start, len) = (at.load(Ordering::Acquire), length.load(Ordering::Acquire));
        (address.wrapping_sub(start) < len).then_some((start, len))
    };
    let Some((start, len)) = MAPPED.iter().find_map(around) else { return false };
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: replaces a whole mapping of ours, which is reached by address only.
    let base = unsafe {
        libc::mmap(ptr::with_exposed_provenance_mut(start), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    base != libc::MAP_FAILED
}
