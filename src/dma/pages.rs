//! The pages behind arenas: where they come from, and on which NUMA node.
//!
//! ```text
//!   2 MiB    as many as it takes, for one arena
//!   1 GiB    where there are none of 2 MiB; arenas of 2 MiB and more share them
//!   small    where there are no huge pages at all, and an IOMMU or a model translates
//! ```

#![allow(unsafe_code)]

use super::Iova;
use crate::error::{Error, Kind, Result};
use crate::sys::{self, physical_address};
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes in a huge page, which are contiguous for the device.
pub(super) const HUGE: usize = 2 << 20;
/// Bytes in a page of the next size.
pub(super) const GIGANTIC: usize = 1 << 30;

/// Size of the pages behind an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// Ordinary pages: 4 KiB, or 16 or 64 KiB on ARM64, as the kernel is built.
    Small,
    /// 2 MiB huge pages.
    Huge,
    /// 1 GiB huge pages.
    Gigantic,
}

impl PageSize {
    /// Bytes in a page of this size.
    pub fn bytes(self) -> usize {
        match self {
            PageSize::Small => sys::page_size(),
            PageSize::Huge => HUGE,
            PageSize::Gigantic => GIGANTIC,
        }
    }
}

/// A piece of zeroed memory that nobody else has.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) base: NonNull<u8>,
    pub(super) len: usize,
    pub(super) page: PageSize,
    /// Unmapped with the last piece of it.
    _mapping: Arc<Mapping>,
}

/// What mmap has given.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address; what it is used for is for those who have a piece of it.
unsafe impl Send for Mapping {}
// SAFETY: see Send.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are what mmap returned, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// How to map so many bytes of pages of a size, near a node.
pub(super) type Map<'a> = &'a dyn Fn(usize, PageSize, Option<u16>) -> io::Result<NonNull<u8>>;

/// The 1 GiB pages that pieces are cut from.
pub(super) static GIANTS: Mutex<Vec<Giant>> = Mutex::new(Vec::new());

/// Some 1 GiB pages in a row.
#[derive(Debug)]
pub(super) struct Giant {
    mapping: Weak<Mapping>,
    node: Option<u16>,
    /// Bytes that were cut off; they are never given a second time, so all are zeroed.
    cut: usize,
}

impl Piece {
    fn whole(base: NonNull<u8>, len: usize, page: PageSize) -> Self {
        Piece { base, len, page, _mapping: Arc::new(Mapping { base, len }) }
    }

    /// At least `len` bytes of the best pages there are; `small` ones if they will do.
    ///
    /// # Errors
    /// What the mapping of the last sort of pages met.
    pub(super) fn new(
        len: usize,
        node: Option<u16>,
        small: bool,
        map: Map<'_>,
        giants: &Mutex<Vec<Giant>>,
    ) -> io::Result<Self> {
        let huge = len.next_multiple_of(HUGE);
        let none = match map(huge, PageSize::Huge, node) {
            Ok(base) => return Ok(Piece::whole(base, huge, PageSize::Huge)),
            Err(error) => error,
        };
        if let Ok(piece) = Self::cut(huge, node, map, giants) {
            return Ok(piece);
        }
        if !small {
            return Err(none);
        }
        let len = len.next_multiple_of(PageSize::Small.bytes());
        Ok(Piece::whole(map(len, PageSize::Small, node)?, len, PageSize::Small))
    }

    /// A piece of a 1 GiB page that is in use and has room, or of a new one.
    fn cut(len: usize, node: Option<u16>, map: Map<'_>, giants: &Mutex<Vec<Giant>>) -> io::Result<Self> {
        let mut giants = giants.lock().unwrap_or_else(PoisonError::into_inner);
        giants.retain(|giant| giant.mapping.strong_count() > 0);
        for giant in giants.iter_mut().filter(|giant| giant.node == node) {
            let Some(mapping) = giant.mapping.upgrade() else { continue };
            if len <= mapping.len - giant.cut {
                let at = giant.cut;
                giant.cut += len;
                return Ok(Piece::part(mapping, at, len, PageSize::Gigantic));
            }
        }
        let all = len.next_multiple_of(GIGANTIC);
        let mapping = Arc::new(Mapping { base: map(all, PageSize::Gigantic, node)?, len: all });
        giants.push(Giant { mapping: Arc::downgrade(&mapping), node, cut: len });
        Ok(Piece::part(mapping, 0, len, PageSize::Gigantic))
    }

    fn part(mapping: Arc<Mapping>, at: usize, len: usize, page: PageSize) -> Self {
        // SAFETY: at and len are inside the mapping, whose bytes were given to nobody else.
        let base = unsafe { mapping.base.add(at) };
        Piece { base, len, page, _mapping: mapping }
    }

    /// Pieces of `len` bytes of it, as many as it has room for.
    pub(super) fn divided(self, len: usize) -> impl Iterator<Item = Piece> {
        let first = self.base.as_ptr().addr() - self._mapping.base.as_ptr().addr();
        let count = self.len / len;
        (0..count).map(move |n| Piece::part(Arc::clone(&self._mapping), first + n * len, len, self.page))
    }

    /// Physical address of each run of huge pages' size, from an open `/proc/self/pagemap`.
    pub(super) fn physical(&self, pagemap: &File) -> Result<Box<[Iova]>> {
        let hidden = || {
            Error::new(
                Kind::Permission,
                "the kernel hides physical addresses from this user, and without an IOMMU the card needs them; run as root, or bind the card to vfio-pci",
            )
        };
        self.frames(pagemap)?.into_iter().map(|address| address.ok_or_else(hidden)).collect()
    }

    /// The same, and none where the page is not there or the kernel hides it.
    pub(super) fn frames(&self, pagemap: &File) -> Result<Vec<Option<Iova>>> {
        let frame = |offset| physical_address(pagemap, self.base.as_ptr().addr() + offset);
        let frames: io::Result<_> = (0..self.len).step_by(HUGE).map(frame).collect();
        frames.map_err(|e| Error::io("reading /proc/self/pagemap", e))
    }
}

/// An anonymous, zeroed mapping, populated if of huge pages. Those come from the kernel's
/// pool and have no file, so a killed process leaves none behind. `node` is preferred, not
/// insisted on: memory that is far away is better than none.
pub(super) fn map_anonymous(len: usize, page: PageSize, node: Option<u16>) -> io::Result<NonNull<u8>> {
    let huge = match page {
        PageSize::Small => 0,
        PageSize::Huge => libc::MAP_HUGETLB | libc::MAP_HUGE_2MB,
        PageSize::Gigantic => libc::MAP_HUGETLB | libc::MAP_HUGE_1GB,
    };
    let base = map_with(len, huge)?;
    if let Some(node) = node {
        // A container may forbid it, and a kernel may know of one node only.
        let _ = sys::prefer_node(base, len, node);
    }
    if page == PageSize::Small {
        return Ok(base);
    }
    // Huge pages must be populated at once: touching one that the pool cannot give would kill
    // the process with SIGBUS.
    let base = match sys::populate(base, len).map_err(|e| (after(&e), e)) {
        Ok(()) | Err((Then::Look, _)) => base,
        Err((Then::PopulateAsMapped, _)) => {
            unmap(base, len);
            map_with(len, huge | libc::MAP_POPULATE)?
        }
        Err((Then::Fail, error)) => {
            unmap(base, len);
            return Err(error);
        }
    };
    // A control group, as of a container, counts huge pages when they are touched: the mapping
    // is there and says nothing, and a page beyond the group's limit is not.
    if !is_populated(base, len) {
        unmap(base, len);
        return Err(io::Error::other("a limit on huge pages (a control group's, as containers have) is in the way"));
    }
    Ok(base)
}

/// What comes after an error of populating.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// Map it anew, populated; from whichever node.
    PopulateAsMapped,
    /// See which pages are there.
    Look,
    /// Tell it as it is.
    Fail,
}

fn after(error: &io::Error) -> Then {
    match error.raw_os_error() {
        // A kernel before 5.14; or a filter of system calls that does not know it.
        Some(libc::EINVAL | libc::EPERM | libc::ENOSYS) => Then::PopulateAsMapped,
        // A touch would raise SIGBUS (madvise(2)), as beyond a control group's limit (Linux,
        // mm/hugetlb.c).
        Some(libc::EFAULT) => Then::Look,
        _ => Then::Fail,
    }
}

fn map_with(len: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS | flags);
    // SAFETY: a fresh anonymous mapping; no existing memory is affected.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Gives back what was mapped and is nobody's yet.
fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller has mapped it, and given it to nobody.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

/// Whether there is a page behind every byte of a mapping.
fn is_populated(base: NonNull<u8>, len: usize) -> bool {
    let mut pages = vec![0_u8; len.div_ceil(sys::page_size())];
    // SAFETY: the mapping is len bytes long, and there is a byte for each of its pages.
    let told = unsafe { libc::mincore(base.as_ptr().cast(), len, pages.as_mut_ptr()) };
    told != 0 || pages.iter().all(|page| page & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_page_that_is_not_there_is_seen_before_it_is_touched() {
        let page = PageSize::Small.bytes();
        let base = map_anonymous(3 * page, PageSize::Small, None).unwrap();
        let piece = Piece::whole(base, 3 * page, PageSize::Small);
        assert!(!is_populated(piece.base, piece.len));
        for at in 0..3 {
            // SAFETY: in the mapping, which is this test's alone.
            unsafe { piece.base.add(at * page).write(1) };
            assert_eq!(is_populated(piece.base, piece.len), at == 2);
        }
    }

    #[test]
    fn an_error_of_populating_is_a_control_groups_only_where_it_can_be() {
        let after = |number| super::after(&io::Error::from_raw_os_error(number));
        for number in [libc::EINVAL, libc::EPERM, libc::ENOSYS] {
            assert_eq!(after(number), Then::PopulateAsMapped, "{number}");
        }
        assert_eq!(after(libc::EFAULT), Then::Look);
        for number in [libc::ENOMEM, libc::EHWPOISON, libc::EINTR] {
            assert_eq!(after(number), Then::Fail, "{number}");
        }
    }

    #[test]
    fn memory_is_preferred_from_the_node_that_was_named_and_from_no_other() {
        if !sys::tells_nodes() {
            return;
        }
        for (node, preferred) in [(Some(0), Some(0)), (None, None), (Some(1_000), None)] {
            for len in [1, 3 * HUGE] {
                let piece = Piece::new(len, node, true, &map_anonymous, &Mutex::default()).unwrap();
                assert_eq!(sys::preferred_node(piece.base).unwrap(), preferred, "{node:?}, {:?}", piece.page);
            }
        }
    }

    /// A machine whose pool has pages of 1 GiB, and none of 2 MiB.
    fn pool_of_gigantic(left: &RefCell<usize>, len: usize, page: PageSize) -> io::Result<NonNull<u8>> {
        let mut left = left.borrow_mut();
        match page {
            PageSize::Gigantic if len <= *left * GIGANTIC => {
                *left -= len / GIGANTIC;
                map_anonymous(len, PageSize::Small, None)
            }
            PageSize::Small => map_anonymous(len, page, None),
            _ => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    #[test]
    fn where_only_pages_of_a_gibibyte_are_there_arenas_share_them() {
        let (left, giants) = (RefCell::new(1), Mutex::default());
        let map = |len, page, _| pool_of_gigantic(&left, len, page);
        let take = |len| Piece::new(len, None, false, &map, &giants);
        let (first, second) = (take(5_000).unwrap(), take(3 * HUGE).unwrap());
        assert_eq!((first.page, first.len, second.len), (PageSize::Gigantic, HUGE, 3 * HUGE));
        assert_eq!(second.base.as_ptr().addr() - first.base.as_ptr().addr(), HUGE);
        assert_eq!(*left.borrow(), 0);
        // SAFETY: in the piece, which is this test's alone.
        unsafe { second.base.add(second.len - 1).write(1) };
        assert_eq!(take(GIGANTIC).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        drop(first);
        // What was given once is not given again, as it may not be zeroed.
        let rest = take(GIGANTIC - 4 * HUGE).unwrap();
        assert!(take(1).is_err());
        drop((second, rest));
        *left.borrow_mut() = 1;
        assert_eq!(take(1).unwrap().page, PageSize::Gigantic, "the page went back with the last piece");
    }

    #[test]
    fn where_huge_pages_run_out_in_the_middle_the_rest_is_of_small_ones_or_refused() {
        let left = RefCell::new(2 * HUGE);
        let map = |len: usize, page: PageSize, _: Option<u16>| match page {
            PageSize::Huge if len <= *left.borrow() => {
                *left.borrow_mut() -= len;
                map_anonymous(len, PageSize::Small, None)
            }
            PageSize::Small => map_anonymous(len, page, None),
            _ => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        };
        let giants = Mutex::new(Vec::new());
        let sizes = [true, true].map(|small| Piece::new(HUGE + 1, None, small, &map, &giants).unwrap().page);
        assert_eq!(sizes, [PageSize::Huge, PageSize::Small]);
        let physical = Piece::new(HUGE + 1, None, false, &map, &giants).unwrap_err();
        assert_eq!(physical.raw_os_error(), Some(libc::ENOMEM));
    }

    #[test]
    fn every_run_has_the_address_of_its_own_page() {
        let left = RefCell::new(1);
        let piece =
            Piece::new(2 * HUGE, None, false, &|len, page, _| pool_of_gigantic(&left, len, page), &Mutex::default())
                .unwrap();
        let pagemap = tempfile::tempfile().unwrap();
        let frame = |at: usize, frame: u64| {
            let entry = (1 << 63 | frame).to_ne_bytes();
            let page = (piece.base.as_ptr().addr() + at) / sys::page_size();
            pagemap.write_all_at(&entry, page as u64 * 8).unwrap();
        };
        frame(0, 0x200);
        frame(HUGE, 0x4_0000);
        let size = sys::page_size() as u64;
        assert_eq!(*piece.physical(&pagemap).unwrap(), [0x200 * size, 0x4_0000 * size]);
    }
}
