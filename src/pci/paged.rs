//! A BAR that is mapped page by page, each page when it is first used, and in one of
//! two ways: uncached, or with stores combined.
//!
//! ```text
//!   resource0      | segment |     | doorbells |                | doorbells |
//!   resource0_wc                               | pushed entries |
//! ```
//!
//! On x86 a page is cached in one way at a time: who maps it a second time, in another
//! way, silently gets the first one (Linux, arch/x86/mm/pat/memtype_interval.c,
//! `memtype_check_conflict`). A BAR that is mapped uncached as a whole has no page left
//! for stores to combine in.

use super::bar::Mapped;
use super::{Bar, Doorbell, Registers};
use crate::sys::{self, bus::Lost};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in a page, which is what the kernel maps.
fn page_size() -> u64 {
    sys::page_size() as u64
}

/// A BAR, and which pages of it are mapped how.
pub(super) struct Paged {
    plain: File,
    combining: File,
    /// By offset: the page, and whether stores to it are combined.
    pages: Mutex<BTreeMap<u64, (Bar, bool)>>,
    lost: Arc<Lost>,
}

impl Paged {
    /// Of the files that map it the one way and the other; `lost` is told when pages of it
    /// are taken away.
    pub(super) fn new(plain: File, combining: File, lost: Arc<Lost>) -> Arc<Paged> {
        Arc::new(Paged { plain, combining, pages: Mutex::default(), lost })
    }

    /// The page that `offset` is in, which is mapped now if it is not yet, and whether
    /// stores to it are combined.
    pub(super) fn page(&self, offset: u64, combines: bool) -> io::Result<(Bar, bool)> {
        let start = offset - offset % page_size();
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = pages.get(&start) {
            return Ok(page.clone());
        }
        let file = if combines { &self.combining } else { &self.plain };
        let page = Bar::Mapped(Mapped::of_file(file, start, page_size(), &self.lost)?);
        pages.insert(start, (page.clone(), combines));
        Ok((page, combines))
    }
}

impl fmt::Debug for Paged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Paged({} pages)", pages.len())
    }
}

/// The BAR for one who maps its pages in one of the ways.
pub(super) struct View {
    /// The BAR.
    pub(super) bar: Arc<Paged>,
    /// Stores are to be combined.
    pub(super) combines: bool,
}

impl Registers for View {
    fn read(&self, offset: u64, size: u8) -> u64 {
        let at = offset % page_size();
        // What cannot be mapped reads as a card that does not answer.
        let Ok((page, _)) = self.bar.page(offset, self.combines) else { return u64::MAX };
        match size {
            1 => u64::from(page.read8(at)),
            2 => u64::from(page.read16(at)),
            4 => u64::from(page.read32(at)),
            _ => page.read64(at),
        }
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        let at = offset % page_size();
        let Ok((page, _)) = self.bar.page(offset, self.combines) else { return };
        match size {
            1 => page.write8(at, value as u8),
            2 => page.write16(at, value as u16),
            4 => page.write32(at, value as u32),
            _ => page.write64(at, value),
        }
    }

    /// None in a page that is mapped the other way.
    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let (page, combines) = self.bar.page(offset, self.combines).ok()?;
        if combines == self.combines { page.doorbell(offset % page_size()).ok() } else { None }
    }
}
