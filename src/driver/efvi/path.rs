//! The ways of a frame to the card.
//!
//! ```text
//!            stores to the card                       the card fetches
//!   dma      index                                    descriptor, frame
//!   push     descriptor and index, as 16 bytes        frame
//!   pio      frame into packet memory; then as push   -
//!   ctpio    frame into the transmitter; index        - (both, if that failed)
//! ```
//!
//! Packet memory is cut into slices, so that one frame can be stored while
//! another is still to leave, and some can be kept ready. A frame that is stored
//! into the transmitter is also announced as an ordinary descriptor, its
//! *fallback*: if the transmitter could not take it, was busy, or had to spoil it
//! on the wire because the processor was held up, the card fetches and sends it.
//!
//! Stores have to be combined for a frame to begin before the card has all of it: one
//! of 1514 bytes is 190 stores, of some 50 ns or more each where they are not, and
//! 1.2 us at 10 Gbit/s. No BAR of these cards is prefetchable, so the kernel offers no
//! such mapping; drivers in the kernel make their own (Linux ef10.c, ioremap_wc).

use super::desc;
use super::hw::Hw;
use super::regs::{self, APERTURE, PUSH};
use crate::dma::barrier;
use crate::driver::config::TxPath;
use crate::error::Result;
use crate::pci::{Doorbell, Window};

/// Bytes of packet memory for one frame.
pub const PIO_SLICE: usize = 256;

/// Most slices: packet memory has 2 or 4 KiB.
const SLICES: usize = 16;

/// Shortest frame that the transmitter takes: those of less than 29 bytes it
/// refuses, and padding is left to nobody else.
pub const MIN_DIRECT: usize = 60;

/// Bytes that are combined on the way to the card: the last line is filled up.
const LINE: usize = 64;

/// A queue's way to the card.
#[derive(Debug)]
pub struct Path {
    index: Doorbell,
    /// Of 16 bytes, if descriptors are pushed.
    push: Option<Window>,
    memory: Option<Box<Memory>>,
    direct: Option<Direct>,
}

/// Packet memory, in slices.
#[derive(Debug)]
struct Memory {
    window: Window,
    slices: usize,
    /// A bit for each slice that holds a frame which has not left, or is kept.
    busy: u32,
    /// Slices of frames that have not left, oldest first, with the position of
    /// their descriptors.
    leaving: [(u32, usize); SLICES],
    first: usize,
    count: usize,
}

/// The transmitter.
#[derive(Debug)]
struct Direct {
    window: Window,
    threshold: u32,
}

impl Path {
    /// The way that `wanted` names for the queue of `vi`; `pio_bytes`: packet
    /// memory that is linked to it.
    pub fn new(hw: &Hw, vi: u16, wanted: TxPath, pio_bytes: usize) -> Result<Path> {
        let index = hw.doorbell(vi, regs::TX_DESC_UPD)?;
        let push = match wanted {
            TxPath::Dma => None,
            _ => Some(hw.window(vi, regs::TX_DESC_PUSH, PUSH)?),
        };
        let memory = match wanted {
            TxPath::Pio => {
                let bytes = pio_bytes.min(APERTURE);
                let window = hw.frame_window(vi, regs::PIO, bytes)?;
                let slices = (bytes / PIO_SLICE).min(SLICES);
                Some(Box::new(Memory { window, slices, busy: 0, leaving: [(0, 0); SLICES], first: 0, count: 0 }))
            }
            _ => None,
        };
        let direct = match wanted {
            TxPath::Ctpio { threshold } => {
                let threshold = threshold.map_or(desc::WHOLE_FRAME, u32::from);
                Some(Direct { window: hw.frame_window(vi, regs::CTPIO, APERTURE)?, threshold })
            }
            _ => None,
        };
        Ok(Path { index, push, memory, direct })
    }

    /// Whether frames may go another way than by their descriptors.
    #[inline(always)]
    pub fn is_special(&self) -> bool {
        self.memory.is_some() || self.direct.is_some()
    }

    /// Whether frames may be stored into the transmitter.
    pub fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Tells the card of descriptors up to `index`, of which `first` is the first new one.
    #[inline(always)]
    pub fn ring(&self, first: u64, index: u32) {
        match &self.push {
            Some(push) => {
                if self.memory.is_some() {
                    // The frame is in packet memory before the card is told.
                    barrier::wc_wmb();
                }
                push.store(0, first, u64::from(index));
            }
            None => self.index.ring(index),
        }
    }

    /// Tells the card of descriptors up to `index`, and nothing else.
    pub fn ring_index(&self, index: u32) {
        self.index.ring(index);
    }

    /// Stores a frame into packet memory until the descriptor at `position` is
    /// done; its offset there, or `None` if it does not fit now.
    pub fn lay(&mut self, frame: &[u8], position: u32) -> Option<usize> {
        let memory = self.memory.as_mut()?;
        let slice = memory.store(frame)?;
        memory.leaving[(memory.first + memory.count) % SLICES] = (position, slice);
        memory.count += 1;
        Some(slice * PIO_SLICE)
    }

    /// Stores a frame into packet memory for good; its offset there.
    pub fn keep(&mut self, frame: &[u8]) -> Option<usize> {
        Some(self.memory.as_mut()?.store(frame)? * PIO_SLICE)
    }

    /// All descriptors before `end` are done.
    #[inline(always)]
    pub fn sent(&mut self, end: u32) {
        let Some(memory) = &mut self.memory else { return };
        while memory.count > 0 {
            let (position, slice) = memory.leaving[memory.first];
            if end.wrapping_sub(position) as i32 <= 0 {
                break;
            }
            memory.busy &= !(1 << slice);
            memory.first = (memory.first + 1) % SLICES;
            memory.count -= 1;
        }
    }

    /// Stores a frame into the transmitter.
    pub fn store(&self, frame: &[u8], stamped: bool) {
        let Some(direct) = &self.direct else { return };
        let head = desc::ctpio_head(frame.len() as u32, direct.threshold, stamped);
        barrier::wc_wmb();
        let stored = direct.window.copy_behind(0, head, frame);
        direct.window.copy(stored, &[0; LINE][..stored.next_multiple_of(LINE) - stored]);
        barrier::wc_wmb();
    }
}

impl Memory {
    /// Stores a frame into a free slice, if it fits and there is one.
    fn store(&mut self, frame: &[u8]) -> Option<usize> {
        let slice = self.busy.trailing_ones() as usize;
        if frame.len() > PIO_SLICE || slice >= self.slices {
            return None;
        }
        self.busy |= 1 << slice;
        let at = slice * PIO_SLICE;
        let stored = self.window.copy(at, frame);
        self.window.copy(at + stored, &[0; LINE][..stored.next_multiple_of(LINE) - stored]);
        Some(slice)
    }
}
