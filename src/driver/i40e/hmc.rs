//! Host memory cache: where the card reads its queues' contexts (§7.9).
//!
//! ```text
//!   function-private address   0 ............ base ........... 2 MiB
//!                              | transmit 128 B | receive 32 B |
//!   segment descriptor 0 ----> one block of host memory
//! ```
//!
//! The card has no room for the contexts of all its queues, so they lie in host
//! memory, in an address space that belongs to the function and that a table of
//! segments of 2 MiB maps. Ours all fit in one.

use super::hw::Hw;
use super::regs::{self, sdcmd, sddatalow};
use crate::dma::Region;
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::sync::atomic::Ordering;

/// Bytes of a segment.
const SEGMENT: usize = 2 << 20;

/// Bytes of a context.
const TX: usize = 128;
const RX: usize = 32;

/// The contexts of a function's queues.
pub struct Contexts {
    segment: Region,
    rx_base: usize,
    queues: u16,
}

impl Contexts {
    /// Room for the contexts of `queues` queue pairs; the card is told.
    pub fn new(function: &dyn Function, hw: &Hw, queues: u16) -> Result<Self> {
        let sizes = [regs::GLHMC_LANTXOBJSZ, regs::GLHMC_LANRXOBJSZ].map(|reg| 1usize << (hw.read(reg) & 0xf));
        let most = hw.read(regs::GLHMC_LANQMAX) & 0x7ff;
        if sizes != [TX, RX] || most < u32::from(queues) {
            return Err(hw.error(
                Kind::Device,
                format!("its queue contexts have {} and {} bytes for {most} queues, not {TX} and {RX} for {queues}; its NVM may be damaged: update it", sizes[0], sizes[1]),
            ));
        }
        let arena = function.arena(SEGMENT)?;
        function.map(&arena)?;
        let segment = Region::new(&arena, 0, SEGMENT);
        let rx_base = (usize::from(queues) * TX).next_multiple_of(512);

        let n = hw.function;
        hw.write(regs::GLHMC_LANTXBASE.at(n), 0);
        hw.write(regs::GLHMC_LANTXCNT.at(n), u32::from(queues));
        hw.write(regs::GLHMC_LANRXBASE.at(n), (rx_base / 512) as u32);
        hw.write(regs::GLHMC_LANRXCNT.at(n), u32::from(queues));
        let low = segment.iova() as u32 | sddatalow::PAGES | sddatalow::DIRECT | sddatalow::VALID;
        hw.write(regs::PFHMC_SDDATAHIGH, (segment.iova() >> 32) as u32);
        hw.write(regs::PFHMC_SDDATALOW, low);
        hw.write(regs::PFHMC_SDCMD, sdcmd::WRITE);
        Ok(Contexts { segment, rx_base, queues })
    }

    /// Takes the segment away from the card.
    pub fn close(hw: &Hw) {
        hw.write(regs::PFHMC_SDDATAHIGH, 0);
        hw.write(regs::PFHMC_SDDATALOW, sddatalow::PAGES | sddatalow::DIRECT);
        hw.write(regs::PFHMC_SDCMD, sdcmd::WRITE);
    }

    /// Writes the context of transmit queue `n`.
    pub fn transmit(&self, hw: &Hw, n: u16, context: &Context<TX>) {
        assert!(n < self.queues);
        self.write(hw, usize::from(n) * TX, &context.0);
    }

    /// Writes the context of receive queue `n`.
    pub fn receive(&self, hw: &Hw, n: u16, context: &Context<RX>) {
        assert!(n < self.queues);
        self.write(hw, self.rx_base + usize::from(n) * RX, &context.0);
    }

    fn write(&self, hw: &Hw, at: usize, bytes: &[u8]) {
        for (slot, word) in self.segment.words64()[at / 8..].iter().zip(bytes.chunks_exact(8)) {
            slot.store(word.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)), Ordering::Release);
        }
        hw.bar().note_stored(&self.segment.part(at, bytes.len()));
    }
}

/// A context as the datasheet draws it: fields by their lowest bit and width.
pub struct Context<const BYTES: usize>([u8; BYTES]);

/// Context of a transmit queue (§8.4.3.4.2).
pub type TxContext = Context<TX>;

/// Context of a receive queue (§8.3.3.2.2).
pub type RxContext = Context<RX>;

impl<const BYTES: usize> Context<BYTES> {
    /// All fields zero.
    pub fn new() -> Self {
        Context([0; BYTES])
    }

    /// Puts the low `width` bits of `value` at bit `lsb`.
    #[must_use]
    pub fn with(mut self, lsb: usize, width: usize, value: u64) -> Self {
        for i in 0..width {
            let (byte, bit) = ((lsb + i) / 8, (lsb + i) % 8);
            self.0[byte] = self.0[byte] & !(1 << bit) | ((value >> i & 1) as u8) << bit;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_lies_at_its_bits_and_nowhere_else() {
        let context = RxContext::new().with(32, 57, (1 << 57) - 1).with(89, 13, 512);
        let word = |at: usize| u64::from_le_bytes(context.0[at..at + 8].try_into().unwrap());
        assert_eq!(word(0), 0xffff_ffff_0000_0000);
        assert_eq!(word(8), 0x01ff_ffff | 512 << 25);
        assert_eq!((word(16), word(24)), (0, 0));
        assert_eq!(RxContext::new().with(0, 8, 0xff).with(2, 3, 0).0[0], 0b1110_0011);
    }
}
