//! Pages of memory that the firmware runs in: it has none of its own, asks for some
//! before it starts and for more at any time, and gives them back at the end.
//!
//! ```text
//!   arenas --cut into 4 KiB--> free --MANAGE_PAGES give--> the firmware's
//!                               ^                             |
//!                               `------MANAGE_PAGES take------'
//! ```
//!
//! What the firmware has it may write until the function is reset, so the arenas live
//! as long as the function. An address that comes back and was never given says that
//! the firmware is out of its mind: then nothing that came back is used again.

use crate::dma::{Arena, Iova};
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes of a page, whatever this machine's have.
const PAGE: usize = 4096;

/// Messages of interrupts go here.
const INTERRUPTS: std::ops::Range<Iova> = 0xfee0_0000..0xfef0_0000;

/// Most pages that are given: 1 GiB. Cards want some ten thousand.
const MOST: usize = 1 << 18;

/// The pages of a function.
#[derive(Default)]
pub struct Pages {
    free: Vec<Iova>,
    given: HashSet<Iova>,
    /// Something came back that was never given.
    doubtful: bool,
}

impl Pages {
    /// Pages that the firmware has.
    pub fn given(&self) -> usize {
        self.given.len()
    }

    /// Takes `count` pages to be given, of new memory if there are not enough.
    pub fn take(&mut self, function: &dyn Function, count: usize) -> Result<Vec<Iova>> {
        let missing = count.saturating_sub(self.free.len());
        if self.given.len() + count > MOST {
            let text =
                format!("{}: its firmware wants {count} more pages of memory, which makes no sense", function.name());
            return Err(crate::Error::new(Kind::Device, text));
        }
        if missing > 0 {
            let arena = function.arena(missing * PAGE);
            let arena = arena.and_then(|arena| function.map(&arena).map(|()| arena));
            let arena = arena.map_err(|error| {
                let all = self.given.len() + count;
                error.hint(format!(
                    "the card's firmware wants {all} pages to run in, {} MiB in all, which count as locked memory",
                    (all * PAGE).div_ceil(1 << 20)
                ))
            })?;
            self.free.extend(pages(&arena));
        }
        if self.free.len() < count {
            let text = format!("{}: there are too few pages that its firmware can use", function.name());
            return Err(crate::Error::new(Kind::Memory, text));
        }
        let taken = self.free.split_off(self.free.len() - count);
        self.given.extend(&taken);
        Ok(taken)
    }

    /// Takes pages back that the firmware has refused, or has returned. False if one of
    /// them was never given, or twice returned.
    pub fn put(&mut self, pages: &[Iova]) -> bool {
        for page in pages {
            if self.given.remove(page) {
                self.free.push(*page);
            } else {
                self.doubtful = true;
            }
        }
        if self.doubtful {
            self.free.clear();
        }
        !self.doubtful
    }

    /// Takes all of them back.
    pub fn put_all(&mut self) {
        let all: Vec<_> = self.given.iter().copied().collect();
        self.put(&all);
    }
}

/// The pages of an arena that firmware can be given.
fn pages(arena: &Arc<Arena>) -> impl Iterator<Item = Iova> {
    let at = (0..arena.len()).step_by(PAGE).map(|offset| arena.iova(offset));
    at.filter(|page| *page != 0 && page.is_multiple_of(PAGE as u64) && !INTERRUPTS.contains(page))
}

#[cfg(test)]
mod tests {
    use super::super::scripted::Scripted;
    use super::*;

    #[test]
    fn pages_come_back_and_are_given_again() {
        let (card, _) = Scripted::new(Box::new(|_| Default::default()));
        let mut pages = Pages::default();
        let first = pages.take(&*card, 3).unwrap();
        assert!(first.iter().all(|page| *page != 0 && page % 4096 == 0));
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 3);
        assert_eq!(pages.given(), 3);
        assert!(pages.put(&first[..2]));
        let again = pages.take(&*card, 2).unwrap();
        assert_eq!(pages.given(), 3);
        assert!(!again.contains(&first[2]));
        pages.put_all();
        assert_eq!(pages.given(), 0);
        assert!(pages.take(&*card, MOST + 1).is_err());
    }

    #[test]
    fn after_an_address_that_was_never_given_none_is_used_again() {
        let (card, _) = Scripted::new(Box::new(|_| Default::default()));
        let mut pages = Pages::default();
        let given = pages.take(&*card, 2).unwrap();
        assert!(!pages.put(&[given[0], 0x1000]));
        let next = pages.take(&*card, 1).unwrap();
        assert!(!given.contains(&next[0]));
    }
}
