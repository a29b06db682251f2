//! Memory of a replay: what the driver of a trace gave its card, at the same addresses.

#![allow(unsafe_code)]

use super::super::Translation;
use crate::dma::Iova;
use crate::error::{Error, Kind, Result};
use memmap2::{MmapOptions, MmapRaw};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Most bytes that it has in all: a trace that wants more is none of a card's.
const MOST: u64 = 256 << 30;

/// The driver's side of it. Pages that nothing is stored in take no memory.
#[derive(Default)]
pub struct Memory {
    pieces: Vec<(Iova, Arc<MmapRaw>)>,
    total: u64,
}

impl Memory {
    /// Gives the card `len` bytes of zeroed memory at `iova`; nothing if it has them already.
    ///
    /// # Errors
    /// [`Kind::Memory`] if there is no such memory, or the range is another's in part.
    pub fn map(&mut self, table: &mut Translation, iova: Iova, len: u64) -> Result<()> {
        if self.pieces.iter().any(|(at, piece)| *at == iova && piece.len() as u64 == len) {
            return Ok(());
        }
        let text = format!("the trace gives the card {len:#x} bytes of memory at {iova:#x}");
        self.total = self.total.saturating_add(len);
        if len == 0 || self.total > MOST {
            return Err(Error::new(Kind::Memory, format!("{text}, which no driver does; it is damaged")));
        }
        let piece = MmapOptions::new().len(len as usize).no_reserve_swap().map_anon();
        let piece = Arc::new(MmapRaw::from(piece.map_err(|e| Error::io(text, e).with_kind(Kind::Memory))?));
        let base = NonNull::new(piece.as_mut_ptr())
            .ok_or_else(|| Error::new(Kind::Memory, "the kernel maps memory at address 0"))?;
        // SAFETY: the piece is readable and writable, len bytes long, lives as long as its
        // Arc, and is only looked at through atomics.
        unsafe { table.map(iova, base, len as usize, true, Arc::clone(&piece) as _)? };
        self.pieces.push((iova, piece));
        Ok(())
    }

    /// The `len` bytes at `iova`, if they are all there.
    fn bytes(&self, iova: Iova, len: usize) -> Option<&[AtomicU8]> {
        let inside = |(at, piece): &&(Iova, Arc<MmapRaw>)| {
            iova.checked_sub(*at)
                .is_some_and(|offset| offset.checked_add(len as u64).is_some_and(|end| end <= piece.len() as u64))
        };
        let (at, piece) = self.pieces.iter().find(inside)?;
        // SAFETY: within the piece, which lives as long as self.
        Some(unsafe { std::slice::from_raw_parts(piece.as_mut_ptr().add((iova - at) as usize).cast(), len) })
    }

    /// Stores, as the driver did; false if that is not the card's to see.
    pub fn put(&self, iova: Iova, bytes: &[u8]) -> bool {
        let Some(places) = self.bytes(iova, bytes.len()) else { return false };
        places.iter().zip(bytes).for_each(|(place, byte)| place.store(*byte, Ordering::Release));
        true
    }

    /// Looks at `len` bytes.
    pub fn get(&self, iova: Iova, len: usize) -> Option<Vec<u8>> {
        Some(self.bytes(iova, len)?.iter().map(|byte| byte.load(Ordering::Acquire)).collect())
    }
}
