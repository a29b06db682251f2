//! Memory of a replay: what the driver of a trace gave its card, at the same addresses.

#![allow(unsafe_code)]

use super::super::Translation;
use crate::dma::Iova;
use crate::error::{Error, Kind, Result};
use memmap2::{MmapOptions, MmapRaw};
use std::collections::{BTreeMap, HashSet};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Most bytes that it has in all: a trace that wants more is none of a card's.
const MOST: u64 = 256 << 30;

/// Most pieces of it: a driver gives its card huge pages, or few small ones.
const PIECES: usize = 1 << 16;

/// Bytes of a page, and most pages that are stored in: 1 GiB, as much as a trace can show.
const PAGE: u64 = 4096;
const PAGES: usize = 1 << 18;

/// The driver's side of it. Pages that nothing is stored in take no memory.
#[derive(Default)]
pub struct Memory {
    pieces: BTreeMap<Iova, Arc<MmapRaw>>,
    total: u64,
    /// Numbers of the pages that something was stored in.
    touched: HashSet<u64>,
}

impl Memory {
    /// Gives the card `len` bytes of zeroed memory at `iova`; nothing if it has them already.
    ///
    /// # Errors
    /// [`Kind::Memory`] if there is no such memory, or the range is another's in part.
    pub fn map(&mut self, table: &mut Translation, iova: Iova, len: u64) -> Result<()> {
        if self.pieces.get(&iova).is_some_and(|piece| piece.len() as u64 == len) {
            return Ok(());
        }
        let text = format!("the trace gives the card {len:#x} bytes of memory at {iova:#x}");
        self.total = self.total.saturating_add(len);
        if len == 0 || self.total > MOST {
            return Err(Error::new(Kind::Memory, format!("{text}, which no driver does; it is damaged")));
        }
        if self.pieces.len() == PIECES {
            let text = format!("the trace gives the card more than {PIECES} pieces of memory, which no driver does");
            return Err(Error::new(Kind::Memory, format!("{text}; it is damaged")));
        }
        let piece = MmapOptions::new().len(len as usize).no_reserve_swap().map_anon();
        let piece = Arc::new(MmapRaw::from(piece.map_err(|e| Error::io(text, e).with_kind(Kind::Memory))?));
        let base = NonNull::new(piece.as_mut_ptr())
            .ok_or_else(|| Error::new(Kind::Memory, "the kernel maps memory at address 0"))?;
        // SAFETY: the piece is readable and writable, len bytes long, lives as long as its
        // Arc, and is only looked at through atomics.
        unsafe { table.map(iova, base, len as usize, true, Arc::clone(&piece) as _)? };
        self.pieces.insert(iova, piece);
        Ok(())
    }

    /// The `len` bytes at `iova`, if they are all there.
    fn bytes(&self, iova: Iova, len: usize) -> Option<&[AtomicU8]> {
        let (at, piece) = self.pieces.range(..=iova).next_back()?;
        if (iova - at).checked_add(len as u64)? > piece.len() as u64 {
            return None;
        }
        // SAFETY: within the piece, which lives as long as self.
        Some(unsafe { std::slice::from_raw_parts(piece.as_mut_ptr().add((iova - at) as usize).cast(), len) })
    }

    /// Stores, as the driver did; false if that is not the card's to see.
    ///
    /// # Errors
    /// [`Kind::Memory`] if it is stored in more pages than a trace can show.
    pub fn put(&mut self, iova: Iova, bytes: &[u8]) -> Result<bool> {
        let Some(places) = self.bytes(iova, bytes.len()) else { return Ok(false) };
        places.iter().zip(bytes).for_each(|(place, byte)| place.store(*byte, Ordering::Release));
        self.touched.extend(iova / PAGE..(iova + bytes.len() as u64).div_ceil(PAGE));
        if self.touched.len() > PAGES {
            let text = format!("the trace stores in more than {PAGES} pages of memory, which no driver does");
            return Err(Error::new(Kind::Memory, format!("{text}; it is damaged")));
        }
        Ok(true)
    }

    /// Looks at `len` bytes.
    pub fn get(&self, iova: Iova, len: usize) -> Option<Vec<u8>> {
        Some(self.bytes(iova, len)?.iter().map(|byte| byte.load(Ordering::Acquire)).collect())
    }
}
