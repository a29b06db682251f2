//! Arenas: page-backed memory with a known device address.

#![allow(unsafe_code)]

use super::Iova;
use super::pages::{GIANTS, GIGANTIC, HUGE, PageSize, Piece, map_anonymous};
use crate::error::{Error, Kind, Remedy, Result};
use std::fs::File;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Which address a device must be given for a byte of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// Any address of our choosing: an IOMMU or an emulated card's table
    /// translates it. Arenas are handed out upwards from 4 GiB, which clears
    /// the interrupt window at 0xfee00000 and stays within 39-bit IOMMUs.
    Translated,
    /// The physical address. Needs huge pages (which the kernel moves hardly ever, see
    /// [`Arena::check`]) and the right to read `/proc/self/pagemap`.
    Physical,
}

/// One mapping of zeroed memory and the addresses under which devices see it.
///
/// All access goes through atomics or through buffers whose ownership is
/// tracked by index ([`super::Pool`]), because the device (or the thread that
/// plays it) may write at any time.
#[derive(Debug)]
pub struct Arena {
    piece: Piece,
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
    /// Maps at least `len` bytes of zeroed memory, on whichever NUMA node.
    ///
    /// # Errors
    /// As [`Arena::near`].
    pub fn new(len: usize, addressing: Addressing) -> Result<Arc<Arena>> {
        Self::near(len, addressing, None)
    }

    /// Maps at least `len` bytes of zeroed memory, of `node` if that has any left.
    ///
    /// Huge pages are used if the machine has enough free ones, of 2 MiB or of 1 GiB;
    /// otherwise ordinary pages, unless `addressing` is [`Addressing::Physical`].
    ///
    /// # Errors
    /// [`Kind::Memory`] if there is none, and for physical addresses how many pages are
    /// missing; [`Kind::Permission`] if the kernel does not tell those.
    pub fn near(len: usize, addressing: Addressing, node: Option<u16>) -> Result<Arc<Arena>> {
        if len == 0 || len > isize::MAX as usize - GIGANTIC {
            return Err(Error::new(Kind::Memory, format!("cannot map {len} bytes of device memory")));
        }
        let physical = addressing == Addressing::Physical;
        let piece = Piece::new(len, node, !physical, &map_anonymous, &GIANTS).map_err(|error| {
            if !physical {
                return Error::memory(format!("mapping {len} bytes for packets"), error);
            }
            let pages = len.div_ceil(HUGE);
            Error::io(format!("mapping {pages} huge pages of 2 MiB"), error)
                .with_kind(Kind::Memory)
                .with_remedy(Remedy::HugePages((pages * HUGE) as u64))
        })?;
        let (iova, shift): (Box<[Iova]>, u32) = if physical {
            (piece.physical(&pagemap()?)?, HUGE.trailing_zeros())
        } else {
            let span = piece.len.next_multiple_of(HUGE) as u64;
            (Box::new([NEXT_IOVA.fetch_add(span, Ordering::Relaxed)]), usize::BITS - 1)
        };
        Ok(Arc::new(Arena { piece, iova, shift }))
    }

    /// Whether its pages are still where the device was told: the kernel may move those
    /// that are in use, for instance to make room for a larger one (Linux, mm/hugetlb.c,
    /// `isolate_or_dissolve_huge_folio`), or away from memory that fails. Nothing can
    /// happen to translated addresses.
    ///
    /// # Errors
    /// [`Kind::Memory`] if one was moved.
    pub fn check(&self) -> Result<()> {
        match self.addressing() {
            Addressing::Translated => Ok(()),
            Addressing::Physical => self.check_with(&pagemap()?),
        }
    }

    fn check_with(&self, pagemap: &File) -> Result<()> {
        /// A page that is being moved is not there meanwhile, and may stay where it was.
        const LOOKS: u32 = 10;
        const BETWEEN: Duration = Duration::from_millis(1);
        for _ in 0..LOOKS {
            let found = self.piece.frames(pagemap)?;
            if found.iter().copied().eq(self.iova.iter().copied().map(Some)) {
                return Ok(());
            }
            if found.iter().all(Option::is_some) {
                break;
            }
            std::thread::sleep(BETWEEN);
        }
        let text = "the kernel has moved memory that the card writes to, and without an IOMMU the card was not told; \
                    bind it to vfio-pci, or keep what moves huge pages from running meanwhile";
        Err(Error::new(Kind::Memory, text))
    }

    /// Size in bytes, a multiple of the page size.
    #[allow(clippy::len_without_is_empty)] // an arena is never empty
    pub fn len(&self) -> usize {
        self.piece.len
    }

    /// Size of the pages behind it.
    pub fn page_size(&self) -> PageSize {
        self.piece.page
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
        assert!(offset < self.len(), "offset {offset:#x} outside an arena of {:#x} bytes", self.len());
        self.iova[offset >> self.shift] + (offset & ((1 << self.shift) - 1)) as u64
    }

    /// The runs of bytes that are contiguous for the device, as
    /// (offset, IOVA, length): one if translated, one a page if physical.
    pub fn runs(&self) -> impl Iterator<Item = (usize, Iova, usize)> + '_ {
        let run = if self.iova.len() == 1 { self.len() } else { 1 << self.shift };
        self.iova.iter().enumerate().map(move |(i, &iova)| (i * run, iova, run))
    }

    /// Bytes that are contiguous for the device from any page start.
    pub fn contiguous(&self) -> usize {
        if self.iova.len() == 1 { self.len() } else { 1 << self.shift }
    }

    /// The first byte, for a transport that must hand the mapping to the
    /// kernel or to a model. Valid for [`Arena::len`] bytes while the arena lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.piece.base
    }
}

fn pagemap() -> Result<File> {
    File::open("/proc/self/pagemap").map_err(|e| Error::io("opening /proc/self/pagemap", e))
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
    /// If they are not inside the arena, not 4-byte aligned, or cross a page
    /// that the device sees elsewhere.
    pub fn new(arena: &Arc<Arena>, offset: usize, len: usize) -> Self {
        assert!(offset.is_multiple_of(4) && len > 0 && offset <= arena.len() && len <= arena.len() - offset);
        let run = arena.contiguous();
        assert!(offset / run == (offset + len - 1) / run, "region crosses a page boundary");
        Self { arena: Arc::clone(arena), offset, len }
    }

    /// The `len` bytes of it from `offset`, a multiple of 4.
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
        // SAFETY: new checked bounds, and the assertion checks alignment; mappings are
        // zeroed, and Descriptor promises that every byte pattern is a valid D that is
        // only changed through shared references.
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
    fn a_page_that_was_moved_is_noticed() {
        use std::os::unix::fs::FileExt;
        let mut arena = Arc::into_inner(Arena::new(3 * HUGE, Addressing::Translated).unwrap()).unwrap();
        let pagemap = tempfile::tempfile().unwrap();
        let frames = |frames: [u64; 3]| {
            for (i, frame) in frames.into_iter().enumerate() {
                let page = (arena.piece.base.as_ptr().addr() + i * HUGE) / crate::sys::page_size();
                pagemap.write_all_at(&(1 << 63 | frame).to_ne_bytes(), page as u64 * 8).unwrap();
            }
        };
        frames([0x200, 0x600, 0x400]);
        let told = arena.piece.physical(&pagemap).unwrap();
        frames([0x200, 0x600, 0x800]);
        arena.check().unwrap();
        (arena.iova, arena.shift) = (told, HUGE.trailing_zeros());
        let told_of = |pagemap: &File| {
            let moved = arena.check_with(pagemap).unwrap_err();
            assert_eq!(moved.kind(), Kind::Memory);
            assert!(moved.to_string().starts_with("the kernel has moved memory"), "{moved}");
        };
        told_of(&pagemap);
        frames([0x200, 0x600, 0x400]);
        arena.check_with(&pagemap).unwrap();
        // While it is being moved it is not there.
        let page = (arena.piece.base.as_ptr().addr() + HUGE) / crate::sys::page_size();
        pagemap.write_all_at(&[0; 8], page as u64 * 8).unwrap();
        told_of(&pagemap);
    }

    #[test]
    fn an_impossible_size_is_an_error_not_a_panic() {
        assert_eq!(Arena::new(0, Addressing::Translated).unwrap_err().kind(), Kind::Memory);
        assert_eq!(Arena::new(usize::MAX, Addressing::Translated).unwrap_err().kind(), Kind::Memory);
        assert_eq!(Arena::new(1 << 60, Addressing::Translated).unwrap_err().kind(), Kind::Memory);
    }

    #[test]
    #[should_panic(expected = "is_aligned")]
    fn a_region_that_begins_between_words_of_64_bits_has_none() {
        let region = Region::new(&Arena::new(4096, Addressing::Translated).unwrap(), 4, 16);
        assert_eq!(region.words::<[AtomicU32; 2]>().len(), 2);
        region.words64();
    }

    #[test]
    #[should_panic]
    fn a_region_cannot_leave_its_arena() {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let _ = Region::new(&arena, arena.len() - 8, 16);
    }
}
