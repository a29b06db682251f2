//! Lots: memory in huge pages that one owner has to itself, and no device sees.

#![allow(unsafe_code)]

use super::pages::{GIANTS, Map, PageSize, Piece, map_anonymous};
use crate::error::{Error, Kind, Result};
use std::ops::{Deref, DerefMut};

/// Some bytes in huge pages, all of which are there: using them takes no page fault.
#[derive(Debug)]
pub struct Lot(Piece);

// SAFETY: plain memory that only the owner of the lot reaches; a piece is an address and a
// share of what unmaps it, which any thread may drop.
unsafe impl Send for Lot {}
// SAFETY: a shared lot is only read.
unsafe impl Sync for Lot {}

impl Lot {
    /// So many lots of `len` bytes each, zeroed, in pages of 2 MiB, or of 1 GiB where those
    /// are too few; of `node` if that has any left. All of them or none.
    ///
    /// # Errors
    /// [`Kind::Memory`] if neither sort of huge pages is enough, or `len` is 0.
    pub fn several(count: usize, len: usize, node: Option<u16>) -> Result<Vec<Lot>> {
        Lot::mapped(count, len, node, &map_anonymous)
    }

    fn mapped(count: usize, len: usize, node: Option<u16>, map: Map<'_>) -> Result<Vec<Lot>> {
        let all = count.checked_mul(len).filter(|all| (1..=isize::MAX as usize / 2).contains(all));
        let Some(all) = all else {
            return Err(Error::new(Kind::Memory, format!("cannot map {count} lots of {len} bytes")));
        };
        let piece = Piece::new(all, node, false, map, &GIANTS)
            .map_err(|error| Error::io(format!("mapping {all} bytes of huge pages"), error).with_kind(Kind::Memory))?;
        Ok(piece.divided(len).take(count).map(Lot).collect())
    }

    /// Size of the pages behind it.
    pub fn page_size(&self) -> PageSize {
        self.0.page
    }
}

impl Deref for Lot {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: as many bytes as the piece has, zeroed when they were mapped; they are
        // mapped as long as the piece lives, and in no other piece.
        unsafe { std::slice::from_raw_parts(self.0.base.as_ptr(), self.0.len) }
    }
}

impl DerefMut for Lot {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has the lot meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.0.base.as_ptr(), self.0.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io;

    #[test]
    fn lots_are_apart_from_each_other_and_share_one_mapping() {
        let mapped = RefCell::new(Vec::new());
        let small = |len: usize, _: PageSize, node: Option<u16>| {
            mapped.borrow_mut().push((len, node));
            map_anonymous(len, PageSize::Small, None)
        };
        let mut lots = Lot::mapped(5, 1 << 20, Some(1), &small).unwrap();
        assert_eq!(*mapped.borrow(), [(6 << 20, Some(1))], "whole pages, at once");
        for (n, lot) in lots.iter_mut().enumerate() {
            assert!(lot.len() == 1 << 20 && lot.iter().all(|byte| *byte == 0));
            lot.fill(n as u8 + 1);
        }
        assert!(lots.iter().zip(1..).all(|(lot, n)| lot.iter().all(|byte| *byte == n)));
        // One of them can be used up while another is gone.
        let last = lots.pop().unwrap();
        drop(lots);
        assert_eq!((last[0], last[(1 << 20) - 1]), (5, 5));
    }

    #[test]
    fn without_huge_pages_there_is_no_lot() {
        let none = |_: usize, _: PageSize, _: Option<u16>| Err(io::Error::from_raw_os_error(libc::ENOMEM));
        assert_eq!(Lot::mapped(2, 1 << 20, None, &none).unwrap_err().kind(), Kind::Memory);
        for (count, len) in [(0, 1), (1, 0), (usize::MAX, 2), (1, usize::MAX)] {
            assert_eq!(Lot::several(count, len, None).unwrap_err().kind(), Kind::Memory);
        }
    }
}
