//! The memory that an emulated card can reach: a translation table, as an IOMMU
//! has one.
//!
//! ```text
//!   IOVA --> ranges (sorted, no two overlap) --> host memory, kept alive by its owner
//!              ^ two remembered hits: one for descriptors, one for data
//! ```
//!
//! The table holds what the driver's side mapped and nothing else. An access
//! outside it, or while bus mastering is off, does nothing and is a violation.
//! Models borrow the table for each access, so the borrow checker proves that
//! none of them keeps a pointer over an unmap; attachments keep both behind one
//! lock, so that memory is not touched once an unmap has returned.

#![allow(unsafe_code)]

use super::Violations;
use super::pcie::Meter;
use super::slip::Slip;
use crate::dma::{Arena, Iova};
use crate::error::{Error, Kind, Result};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// The translation table of one emulated function.
#[derive(Default)]
pub struct Translation {
    ranges: Vec<Range>,
    bus_master: bool,
    stops: u64,
    descriptors: Cell<usize>,
    data: Cell<usize>,
    violations: RefCell<Violations>,
    /// Counts what crosses PCIe and takes the time for it, for who asked.
    pub(super) meter: Option<Box<Meter>>,
    /// What goes wrong with packets (fault).
    pub(super) slip: Option<Box<Slip>>,
}

struct Range {
    iova: Iova,
    len: u64,
    base: NonNull<u8>,
    writable: bool,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the memory lives as long as its owner, which is Send and Sync.
unsafe impl Send for Range {}

impl Translation {
    /// A table with nothing in it, bus mastering off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps `len` bytes at `base` to `iova`.
    ///
    /// # Errors
    /// [`Kind::Refused`] if the range is empty, wraps around or overlaps another.
    ///
    /// # Safety
    /// The bytes must be readable (and writable, if so named) while `owner`
    /// lives, and nobody may hold a Rust reference to them that is not to atomics.
    pub unsafe fn map(
        &mut self,
        iova: Iova,
        base: NonNull<u8>,
        len: usize,
        writable: bool,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<()> {
        let len = len as u64;
        let refuse = |why| Error::new(Kind::Refused, format!("mapping {len:#x} bytes at IOVA {iova:#x}: {why}"));
        if len == 0 || iova.checked_add(len).is_none() {
            return Err(refuse("the range is empty or wraps around"));
        }
        let at = self.ranges.partition_point(|r| r.iova < iova);
        let before = at.checked_sub(1).map(|i| &self.ranges[i]);
        if before.is_some_and(|r| r.iova + r.len > iova) || self.ranges.get(at).is_some_and(|r| r.iova < iova + len) {
            return Err(refuse("it overlaps a range that is mapped"));
        }
        self.ranges.insert(at, Range { iova, len, base, writable, _owner: owner });
        Ok(())
    }

    /// Maps an arena at the IOVAs it names; once, however often it is asked.
    pub fn map_arena(&mut self, arena: &Arc<Arena>) -> Result<()> {
        for (offset, iova, len) in arena.runs() {
            // SAFETY: the run is inside the arena, which is memory for devices
            // and lives as long as the Arc that is its owner here.
            let base = unsafe { arena.as_ptr().add(offset) };
            if self.has(iova, base, len) {
                continue;
            }
            // SAFETY: see above.
            unsafe { self.map(iova, base, len, true, Arc::clone(arena) as _)? };
        }
        Ok(())
    }

    /// Whether all of an arena is mapped at the IOVAs it names.
    pub fn reaches(&self, arena: &Arc<Arena>) -> bool {
        arena.runs().all(|(offset, iova, len)| {
            // SAFETY: the run is inside the arena.
            self.has(iova, unsafe { arena.as_ptr().add(offset) }, len)
        })
    }

    /// Whether exactly this is mapped.
    fn has(&self, iova: Iova, base: NonNull<u8>, len: usize) -> bool {
        self.ranges.iter().any(|r| r.iova == iova && r.len == len as u64 && r.base == base)
    }

    /// Unmaps every range that lies inside the `len` bytes at `iova`, and says
    /// how many that were.
    pub fn unmap(&mut self, iova: Iova, len: u64) -> usize {
        self.hasten();
        let (before, last) = (self.ranges.len(), iova.saturating_add(len));
        self.ranges.retain(|r| r.iova < iova || r.iova + r.len > last);
        before - self.ranges.len()
    }

    /// Unmaps everything.
    pub fn clear(&mut self) {
        self.hasten();
        self.ranges.clear();
    }

    /// Lets the card reach memory, or stops it (command register, bit 2).
    pub fn set_bus_master(&mut self, on: bool) {
        self.hasten();
        self.stops += u64::from(self.bus_master && !on);
        self.bus_master = on;
    }

    /// How often the card was stopped: however short that was, it then has no
    /// access under way any more.
    pub fn stops(&self) -> u64 {
        self.stops
    }

    /// Whether the card may reach memory.
    pub fn bus_master(&self) -> bool {
        self.bus_master
    }

    /// What counts that, if somebody asked for it. Models tell it what they reach, and
    /// what of it at once.
    #[inline]
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_deref()
    }

    /// What was tried that is not allowed.
    pub fn violations(&self) -> Violations {
        self.violations.borrow().clone()
    }

    /// How often something was tried that is not allowed.
    pub fn violations_total(&self) -> u64 {
        self.violations.borrow().total()
    }

    /// The 16 bytes at `iova` as two words: a descriptor.
    #[inline]
    pub fn descriptor(&self, iova: Iova) -> Option<&[AtomicU64; 2]> {
        self.words(iova)
    }

    /// The 8 bytes at `iova`: an event, a short descriptor.
    #[inline]
    pub fn word64(&self, iova: Iova) -> Option<&AtomicU64> {
        self.words(iova)
    }

    /// The 4 bytes at `iova`: a head write-back, an index.
    #[inline]
    pub fn word32(&self, iova: Iova) -> Option<&AtomicU32> {
        self.words(iova)
    }

    /// The 2 bytes at `iova`: an index, flags.
    #[inline]
    pub fn word16(&self, iova: Iova) -> Option<&AtomicU16> {
        self.words(iova)
    }

    /// Copies the bytes at `iova`; false if they are not all mapped.
    ///
    /// The driver may write them meanwhile; then the copy is torn, as it is on
    /// silicon.
    #[inline]
    pub fn read(&self, iova: Iova, into: &mut [u8]) -> bool {
        match self.find(&self.data, iova) {
            Some((from, room, _)) if room >= into.len() as u64 => {
                // SAFETY: room bytes are mapped at from; into is ours alone.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
                true
            }
            _ => self.pieces(iova, into.len(), false, |from, at, len| {
                // SAFETY: pieces gives len mapped bytes at from, and at + len <= into.len().
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into[at..at + len].as_mut_ptr(), len) };
            }),
        }
    }

    /// Appends the `len` bytes at `iova` to `into`; nothing, and false, if they
    /// are not all mapped.
    #[inline]
    pub fn append(&self, iova: Iova, len: usize, into: &mut Vec<u8>) -> bool {
        let start = into.len();
        into.reserve(len);
        if let Some((from, room, _)) = self.find(&self.data, iova)
            && room >= len as u64
        {
            // SAFETY: room bytes are mapped at from; reserve made room for len
            // more bytes, which are all written before they count.
            unsafe {
                std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr().add(start), len);
                into.set_len(start + len);
            }
            return true;
        }
        into.resize(start + len, 0);
        let whole = self.read(iova, &mut into[start..]);
        if !whole {
            into.truncate(start);
        }
        whole
    }

    /// Writes the bytes at `iova`, behind all that was posted; false if they are not all
    /// mapped for writing.
    #[inline]
    pub fn write(&self, iova: Iova, bytes: &[u8]) -> bool {
        self.hasten();
        self.write_now(iova, bytes)
    }

    /// Whether there is memory at `iova`.
    pub(super) fn is_mapped(&self, iova: Iova) -> bool {
        self.find(&self.data, iova).is_some()
    }

    /// Whether the bytes at `iova` are mapped for writing; a violation if not.
    pub(super) fn writable(&self, iova: Iova, len: usize) -> bool {
        self.pieces(iova, len, true, |_, _, _| ())
    }

    #[inline]
    pub(super) fn write_now(&self, iova: Iova, bytes: &[u8]) -> bool {
        match self.find(&self.data, iova) {
            Some((to, room, true)) if room >= bytes.len() as u64 => {
                // SAFETY: room writable bytes are mapped at to, to which nobody
                // holds a reference except to atomics (see map).
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
                true
            }
            _ => self.pieces(iova, bytes.len(), true, |to, at, len| {
                // SAFETY: pieces gives len writable bytes at to, and at + len <= bytes.len().
                unsafe { std::ptr::copy_nonoverlapping(bytes[at..at + len].as_ptr(), to.as_ptr(), len) };
            }),
        }
    }

    /// A `T` made of atomics at `iova`.
    #[inline]
    fn words<T: Atomic>(&self, iova: Iova) -> Option<&T> {
        if let Some((at, room, true)) = self.find(&self.descriptors, iova)
            && room >= size_of::<T>() as u64
            && at.cast::<T>().is_aligned()
        {
            // SAFETY: mapped while self is borrowed, long enough, aligned, and
            // every pattern of bytes is valid for atomics.
            return Some(unsafe { at.cast::<T>().as_ref() });
        }
        self.blame(iova, size_of::<T>(), true);
        None
    }

    /// Where `iova` is, how many bytes are mapped from there on, and whether
    /// they may be written. `last` is the range of the last hit.
    #[inline]
    fn find(&self, last: &Cell<usize>, iova: Iova) -> Option<(NonNull<u8>, u64, bool)> {
        if !self.bus_master {
            return None;
        }
        let range = match self.ranges.get(last.get()) {
            Some(range) if iova.wrapping_sub(range.iova) < range.len => range,
            _ => self.search(last, iova)?,
        };
        let offset = iova - range.iova;
        // SAFETY: offset < len, which is mapped at base.
        Some((unsafe { range.base.add(offset as usize) }, range.len - offset, range.writable))
    }

    #[cold]
    fn search(&self, last: &Cell<usize>, iova: Iova) -> Option<&Range> {
        let index = self.ranges.partition_point(|r| r.iova <= iova).checked_sub(1)?;
        let range = &self.ranges[index];
        if iova - range.iova >= range.len {
            return None;
        }
        last.set(index);
        Some(range)
    }

    /// An access that is not inside one range: walks the ranges it touches, if
    /// they join.
    #[cold]
    fn pieces(&self, iova: Iova, len: usize, write: bool, mut piece: impl FnMut(NonNull<u8>, usize, usize)) -> bool {
        let mut at = 0;
        while at < len {
            match self.find(&self.data, iova.wrapping_add(at as u64)) {
                Some((memory, room, writable)) if writable || !write => {
                    let part = room.min((len - at) as u64) as usize;
                    piece(memory, at, part);
                    at += part;
                }
                _ => {
                    self.blame(iova, len, write);
                    return false;
                }
            }
        }
        true
    }

    #[cold]
    fn blame(&self, iova: Iova, len: usize, write: bool) {
        let name = if !self.bus_master {
            "DMA with bus mastering off"
        } else if !iova.is_multiple_of(len.min(4) as u64) && len <= 16 {
            "DMA of a descriptor that is not aligned"
        } else if write {
            "DMA write outside mapped memory"
        } else {
            "DMA read outside mapped memory"
        };
        self.violations.borrow_mut().note(name);
    }
}

/// Types that are atomics through and through.
///
/// # Safety
/// Every pattern of bytes is valid and a shared reference promises no stability.
unsafe trait Atomic {}

// SAFETY: atomics.
unsafe impl Atomic for AtomicU16 {}
// SAFETY: atomics.
unsafe impl Atomic for AtomicU32 {}
// SAFETY: atomics.
unsafe impl Atomic for AtomicU64 {}
// SAFETY: atomics.
unsafe impl Atomic for [AtomicU64; 2] {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Addressing;
    use std::sync::atomic::Ordering;

    fn arena() -> Arc<Arena> {
        Arena::new(8192, Addressing::Translated).unwrap()
    }

    fn names(table: &Translation) -> Vec<String> {
        table.violations().iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn what_is_mapped_is_reached_and_nothing_else() {
        let (arena, other) = (arena(), arena());
        let mut table = Translation::new();
        table.map_arena(&arena).unwrap();
        table.map_arena(&arena).unwrap();
        table.set_bus_master(true);
        let iova = arena.iova(0);
        assert!(table.write(iova + 100, b"hello"));
        let mut back = [0; 5];
        assert!(table.read(iova + 100, &mut back));
        assert_eq!(&back, b"hello");
        table.descriptor(iova + 16).unwrap()[1].store(7, Ordering::Release);
        assert_eq!(table.word32(iova + 24).unwrap().load(Ordering::Acquire), 7);
        assert_eq!(table.violations_total(), 0);

        assert!(!table.read(other.iova(0), &mut back));
        assert!(!table.write(iova + arena.len() as u64 - 4, b"hello"));
        assert!(!table.write(u64::MAX - 1, b"hello"));
        assert!(table.descriptor(iova + arena.len() as u64 - 8).is_none());
        assert!(table.descriptor(iova + 17).is_none());
        assert_eq!(table.violations_total(), 5);
        assert_eq!(
            names(&table),
            [
                "DMA of a descriptor that is not aligned",
                "DMA read outside mapped memory",
                "DMA write outside mapped memory"
            ]
        );
    }

    #[test]
    fn nothing_is_reached_with_bus_mastering_off_or_after_an_unmap() {
        let arena = arena();
        let mut table = Translation::new();
        table.map_arena(&arena).unwrap();
        assert!(!table.write(arena.iova(0), &[1]));
        table.set_bus_master(true);
        assert!(table.write(arena.iova(0), &[1]));
        assert_eq!(table.unmap(0, u64::MAX), 1);
        assert!(!table.write(arena.iova(0), &[1]));
        assert_eq!(names(&table), ["DMA with bus mastering off", "DMA write outside mapped memory"]);
    }

    #[test]
    fn an_access_may_cross_ranges_that_join() {
        let arena = arena();
        let mut table = Translation::new();
        table.set_bus_master(true);
        let base = arena.as_ptr();
        // The second page of the arena first, the first page behind it.
        // SAFETY: both pages are inside the arena, which owns them.
        unsafe {
            table.map(0x1000, base.add(4096), 4096, true, Arc::clone(&arena) as _).unwrap();
            table.map(0x2000, base, 4096, true, Arc::clone(&arena) as _).unwrap();
            let refused = table.map(0x1fff, base, 2, true, Arc::clone(&arena) as _).unwrap_err();
            assert_eq!(refused.kind(), Kind::Refused);
            assert!(table.map(u64::MAX, base, 2, true, Arc::clone(&arena) as _).is_err());
        }
        let bytes: Vec<u8> = (0..200).collect();
        assert!(table.write(0x1fa0, &bytes));
        let mut back = vec![0; 200];
        assert!(table.read(0x1fa0, &mut back));
        assert_eq!(back, bytes);
        assert!(table.append(0x1fa0, 200, &mut back) && table.append(0x1000, 1, &mut back));
        assert!(!table.append(0x2fff, 2, &mut back));
        assert_eq!((&back[200..400], back.len()), (&bytes[..], 401));
        table.set_bus_master(true);
        let mut first = [0];
        assert!(table.read(0x2000, &mut first));
        assert_eq!(first[0], 0x60);
        assert!(!table.write(0x2ff0, &bytes));
    }

    #[test]
    fn memory_mapped_for_reading_is_not_written() {
        let arena = arena();
        let mut table = Translation::new();
        table.set_bus_master(true);
        // SAFETY: inside the arena, which owns it.
        unsafe { table.map(0x1000, arena.as_ptr(), 4096, false, Arc::clone(&arena) as _).unwrap() };
        assert!(table.read(0x1000, &mut [0; 16]));
        assert!(!table.write(0x1000, &[0; 16]));
        assert!(table.descriptor(0x1000).is_none());
    }
}
