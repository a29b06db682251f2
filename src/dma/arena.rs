//! Arenas: page-backed memory with a known device address.

#![allow(unsafe_code)]

use super::Iova;
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Which address a device must be given for a byte of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// Any address of our choosing: an IOMMU or an emulated card's table
    /// translates it. Arenas are handed out upwards from 4 GiB, which clears
    /// the interrupt window at 0xfee00000 and stays within 39-bit IOMMUs.
    Translated,
    /// The physical address. Needs huge pages (they are never moved by the
    /// kernel) and the right to read `/proc/self/pagemap`.
    Physical,
}

/// Size of the pages behind an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// Ordinary 4 KiB pages.
    Small,
    /// 2 MiB huge pages.
    Huge,
}

impl PageSize {
    /// Bytes in a page of this size.
    pub const fn bytes(self) -> usize {
        match self {
            PageSize::Small => 4096,
            PageSize::Huge => 2 << 20,
        }
    }
}

/// One mapping of zeroed memory and the addresses under which devices see it.
///
/// All access goes through atomics or through buffers whose ownership is
/// tracked by index ([`super::Pool`]), because the device (or the thread that
/// plays it) may write at any time.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    len: usize,
    page: PageSize,
    /// One address per page if physical, else the address of byte 0.
    iova: Box<[Iova]>,
    /// log2 of the bytes that are contiguous behind each entry of `iova`.
    shift: u32,
}

// SAFETY: an arena is plain memory; shared access to it is through atomics, and
// exclusive access is handed out by index by Pool and Batch.
unsafe impl Send for Arena {}
// SAFETY: see Send.
unsafe impl Sync for Arena {}

/// The next unused translated address; never reused, 2 MiB aligned.
static NEXT_IOVA: AtomicU64 = AtomicU64::new(1 << 32);

impl Arena {
    /// Maps at least `len` bytes of zeroed memory.
    ///
    /// Huge pages are used if the machine has enough free ones; otherwise
    /// ordinary pages, unless `addressing` is [`Addressing::Physical`], which
    /// then fails with [`Kind::Memory`] and says how many pages are missing.
    pub fn new(len: usize, addressing: Addressing) -> Result<Arc<Arena>> {
        if len == 0 || len > isize::MAX as usize - PageSize::Huge.bytes() {
            return Err(Error::new(Kind::Memory, format!("cannot map {len} bytes of device memory")));
        }
        let huge_len = len.next_multiple_of(PageSize::Huge.bytes());
        let arena = match (map_anonymous(huge_len, PageSize::Huge), addressing) {
            (Ok(base), _) => Self::mapped(base, huge_len, PageSize::Huge),
            (Err(error), Addressing::Physical) => {
                let pages = huge_len / PageSize::Huge.bytes();
                return Err(Error::io(format!("mapping {pages} huge pages of 2 MiB"), error)
                    .with_kind(Kind::Memory)
                    .with_remedy(Remedy::HugePages(huge_len as u64)));
            }
            (Err(_), Addressing::Translated) => {
                let small_len = len.next_multiple_of(PageSize::Small.bytes());
                let base = map_anonymous(small_len, PageSize::Small)
                    .map_err(|e| Error::io(format!("mapping {small_len} bytes"), e).with_kind(Kind::Memory))?;
                Self::mapped(base, small_len, PageSize::Small)
            }
        };
        let mut arena = arena;
        match addressing {
            Addressing::Translated => {
                let span = arena.len.next_multiple_of(PageSize::Huge.bytes()) as u64;
                arena.iova = Box::new([NEXT_IOVA.fetch_add(span, Ordering::Relaxed)]);
            }
            Addressing::Physical => {
                arena.iova = arena.physical_pages()?;
                arena.shift = arena.page.bytes().trailing_zeros();
            }
        }
        Ok(Arc::new(arena))
    }

    fn mapped(base: NonNull<u8>, len: usize, page: PageSize) -> Self {
        Self { base, len, page, iova: Box::new([]), shift: usize::BITS - 1 }
    }

    /// Physical address of each page.
    fn physical_pages(&self) -> Result<Box<[Iova]>> {
        let pagemap = File::open("/proc/self/pagemap").map_err(|e| Error::io("opening /proc/self/pagemap", e))?;
        let mut pages = Vec::with_capacity(self.len / self.page.bytes());
        for offset in (0..self.len).step_by(self.page.bytes()) {
            let address = sys::physical_address(&pagemap, self.base.as_ptr() as usize + offset)
                .map_err(|e| Error::io("reading /proc/self/pagemap", e))?;
            pages.push(address.ok_or_else(|| {
                Error::new(
                    Kind::Permission,
                    "the kernel hides physical addresses from this user, and without an IOMMU the card needs them; run as root, or bind the card to vfio-pci",
                )
            })?);
        }
        Ok(pages.into())
    }

    /// Size in bytes, a multiple of the page size.
    #[allow(clippy::len_without_is_empty)] // an arena is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// Size of the pages behind it.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// Which sort of address it has: what [`crate::pci::Function::addressing`] asks for.
    pub fn addressing(&self) -> Addressing {
        if self.shift == usize::BITS - 1 { Addressing::Translated } else { Addressing::Physical }
    }

    /// Address of the byte at `offset` as a device sees it.
    ///
    /// # Panics
    /// If `offset` is not inside the arena.
    pub fn iova(&self, offset: usize) -> Iova {
        assert!(offset < self.len, "offset {offset:#x} outside an arena of {:#x} bytes", self.len);
        self.iova[offset >> self.shift] + (offset & ((1 << self.shift) - 1)) as u64
    }

    /// The runs of bytes that are contiguous for the device, as
    /// (offset, IOVA, length): one if translated, one a page if physical.
    pub fn runs(&self) -> impl Iterator<Item = (usize, Iova, usize)> + '_ {
        let run = if self.iova.len() == 1 { self.len } else { 1 << self.shift };
        self.iova.iter().enumerate().map(move |(i, &iova)| (i * run, iova, run))
    }

    /// Bytes that are contiguous for the device from any page start.
    pub fn contiguous(&self) -> usize {
        if self.iova.len() == 1 { self.len } else { 1 << self.shift }
    }

    /// The first byte, for a transport that must hand the mapping to the
    /// kernel or to a model. Valid for [`Arena::len`] bytes while the arena lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: base and len are what mmap returned, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// An anonymous, zeroed, populated mapping. Huge pages come from the kernel's
/// pool and have no file, so a killed process leaves none behind.
fn map_anonymous(len: usize, page: PageSize) -> io::Result<NonNull<u8>> {
    let huge = match page {
        PageSize::Small => 0,
        PageSize::Huge => libc::MAP_HUGETLB | libc::MAP_HUGE_2MB,
    };
    // Huge pages must be populated at once: touching one that the pool cannot
    // give would kill the process with SIGBUS.
    let populate = if page == PageSize::Huge { libc::MAP_POPULATE } else { 0 };
    // SAFETY: a fresh anonymous mapping; no existing memory is affected.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | huge | populate,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
    // A control group, as of a container, counts huge pages when they are touched: the mapping
    // is there and says nothing, and a page beyond the group's limit is not.
    if page == PageSize::Huge && !is_populated(base, len) {
        // SAFETY: mapped above, and given to nobody.
        unsafe { libc::munmap(base.as_ptr().cast(), len) };
        return Err(io::Error::other("a limit on huge pages (a control group's, as containers have) is in the way"));
    }
    Ok(base)
}

/// Whether there is a page behind every byte of a mapping.
fn is_populated(base: NonNull<u8>, len: usize) -> bool {
    let mut pages = vec![0_u8; len.div_ceil(PageSize::Small.bytes())];
    // SAFETY: the mapping is len bytes long, and there is a byte for each of its pages.
    let told = unsafe { libc::mincore(base.as_ptr().cast(), len, pages.as_mut_ptr()) };
    told != 0 || pages.iter().all(|page| page & 1 != 0)
}

/// A piece of an arena that is contiguous for the device: a descriptor ring,
/// a mailbox, a statistics block. Read and written as atomic words.
#[derive(Clone, Debug)]
pub struct Region {
    arena: Arc<Arena>,
    offset: usize,
    len: usize,
}

impl Region {
    /// The `len` bytes of `arena` from `offset`.
    ///
    /// # Panics
    /// If they are not inside the arena, not 8-byte aligned, or cross a page
    /// that the device sees elsewhere.
    pub fn new(arena: &Arc<Arena>, offset: usize, len: usize) -> Self {
        assert!(offset.is_multiple_of(8) && len > 0 && offset <= arena.len() && len <= arena.len() - offset);
        let run = arena.contiguous();
        assert!(offset / run == (offset + len - 1) / run, "region crosses a page boundary");
        Self { arena: Arc::clone(arena), offset, len }
    }

    /// The `len` bytes of it from `offset`, a multiple of 8.
    ///
    /// # Panics
    /// If they are not inside the region.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Self {
        assert!(offset <= self.len && len <= self.len - offset);
        Self::new(&self.arena, self.offset + offset, len)
    }

    /// Address of its first byte as the device sees it.
    pub fn iova(&self) -> Iova {
        self.arena.iova(self.offset)
    }

    /// Size in bytes.
    #[allow(clippy::len_without_is_empty)] // a region is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// Address of the first byte in this process; valid while the region lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        // SAFETY: new checked that offset is inside the arena.
        unsafe { self.arena.as_ptr().add(self.offset) }
    }

    /// The region as bytes.
    pub fn bytes(&self) -> &[AtomicU8] {
        self.words()
    }

    /// The region as 16-bit words.
    pub fn words16(&self) -> &[AtomicU16] {
        self.words()
    }

    /// The region as 32-bit words.
    pub fn words32(&self) -> &[AtomicU32] {
        self.words()
    }

    /// The region as 64-bit words.
    pub fn words64(&self) -> &[AtomicU64] {
        self.words()
    }

    /// The region as a slice of `D`; a remainder is left out.
    pub fn words<D: Descriptor>(&self) -> &[D] {
        // SAFETY: new checked bounds and 8-byte alignment, mappings are page
        // aligned and zeroed, and Descriptor promises that every byte pattern is
        // a valid D that is only changed through shared references.
        unsafe {
            assert!(self.as_ptr().as_ptr().cast::<D>().is_aligned());
            std::slice::from_raw_parts(self.as_ptr().as_ptr().cast(), self.len / size_of::<D>())
        }
    }
}

/// A type that may lie in memory which a device writes.
///
/// # Safety
/// The type is `repr(C)` or `repr(transparent)` and made of atomics only: every
/// byte pattern is valid, and a shared reference never promises stability.
pub unsafe trait Descriptor {}

// SAFETY: atomics.
unsafe impl Descriptor for AtomicU8 {}
// SAFETY: atomics.
unsafe impl Descriptor for AtomicU16 {}
// SAFETY: atomics.
unsafe impl Descriptor for AtomicU32 {}
// SAFETY: atomics.
unsafe impl Descriptor for AtomicU64 {}
// SAFETY: an array of descriptors has no other bytes.
unsafe impl<D: Descriptor, const N: usize> Descriptor for [D; N] {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_are_zeroed_and_never_share_an_address() {
        let a = Arena::new(5000, Addressing::Translated).unwrap();
        let b = Arena::new(5000, Addressing::Translated).unwrap();
        assert!(a.len() >= 5000);
        assert_eq!(a.addressing(), Addressing::Translated);
        assert!(a.iova(0) + a.len() as u64 <= b.iova(0));
        assert_eq!(a.iova(4999), a.iova(0) + 4999);
        let region = Region::new(&a, 8, 64);
        assert!(region.words32().iter().all(|w| w.load(Ordering::Relaxed) == 0));
        region.words32()[3].store(7, Ordering::Relaxed);
        assert_eq!(region.bytes()[12].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_page_that_is_not_there_is_seen_before_it_is_touched() {
        let len = 3 * PageSize::Small.bytes();
        let base = map_anonymous(len, PageSize::Small).unwrap();
        let arena = Arena::mapped(base, len, PageSize::Small);
        assert!(!is_populated(arena.base, len));
        for page in 0..3 {
            // SAFETY: in the mapping, which is this test's alone.
            unsafe { arena.base.add(page * PageSize::Small.bytes()).write(1) };
            assert_eq!(is_populated(arena.base, len), page == 2);
        }
    }

    #[test]
    fn an_impossible_size_is_an_error_not_a_panic() {
        assert_eq!(Arena::new(0, Addressing::Translated).unwrap_err().kind(), Kind::Memory);
        assert_eq!(Arena::new(usize::MAX, Addressing::Translated).unwrap_err().kind(), Kind::Memory);
        assert_eq!(Arena::new(1 << 60, Addressing::Translated).unwrap_err().kind(), Kind::Memory);
    }

    #[test]
    #[should_panic]
    fn a_region_cannot_leave_its_arena() {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let _ = Region::new(&arena, arena.len() - 8, 16);
    }
}
