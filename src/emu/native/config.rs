//! Configuration space that a program reads and writes as a file.

use super::super::in_process::Slot;
use crate::pci::Page;
use std::sync::atomic::Ordering;

/// Words that are looked at: the header and the capabilities of PCI 3.0.
const WORDS: usize = 64;

/// A card's configuration space, and what of it the card knows already.
pub struct Config {
    page: Page,
    known: [u32; WORDS],
}

impl Config {
    /// Shows the configuration space of `slot` in `page`.
    pub fn new(page: Page, slot: &Slot) -> Self {
        for at in (0..4096).step_by(4) {
            page[at / 4].store(read(slot, at), Ordering::Relaxed);
        }
        let mut config = Config { page, known: [0; WORDS] };
        config.refresh(slot);
        config
    }

    /// Brings to the card what the program has written, and shows it what became of it.
    pub fn sync(&mut self, slot: &Slot) {
        let mut wrote = false;
        for n in 0..WORDS {
            let (now, before) = (self.page[n].load(Ordering::Acquire), self.known[n]);
            if now != before {
                let (at, size) = changed(now ^ before);
                // A card that was taken out remembers nothing.
                let _ = slot.with(|card| card.config_write((4 * n + at) as u16, size, now >> (8 * at)));
                wrote = true;
            }
        }
        if wrote {
            self.refresh(slot);
        }
    }

    fn refresh(&mut self, slot: &Slot) {
        for n in 0..WORDS {
            self.known[n] = read(slot, 4 * n);
            self.page[n].store(self.known[n], Ordering::Release);
        }
    }
}

fn read(slot: &Slot, at: usize) -> u32 {
    slot.with(|card| card.config_read(at as u16, 4)).unwrap_or(u32::MAX)
}

/// The smallest access that covers the bits in `difference`: first byte, and size.
fn changed(difference: u32) -> (usize, u8) {
    let first = difference.trailing_zeros() as usize / 8;
    let last = 3 - difference.leading_zeros() as usize / 8;
    match (first, last) {
        _ if first == last => (first, 1),
        (0, 1) => (0, 2),
        (2, 3) => (2, 2),
        _ => (0, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_written_as_wide_as_it_is() {
        assert_eq!(changed(0x0000_0400), (1, 1));
        assert_eq!(changed(0x0000_0104), (0, 2));
        assert_eq!(changed(0x8001_0000), (2, 2));
        assert_eq!(changed(0x0001_0400), (0, 4));
        assert_eq!(changed(0x8000_0000), (3, 1));
    }
}
