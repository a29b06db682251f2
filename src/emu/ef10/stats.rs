//! MAC statistics, kept as the image that is written to a driver's memory.
//!
//! ```text
//!   word 0          1 ...                              count - 1
//!   | generation | counters by index, 64 bits each | generation |
//!     first written                                  last written
//! ```
//!
//! A reader takes the last word first: if both generations are equal, what is
//! between them is of one moment.

use super::super::frame::cast;
use super::super::{Picos, Translation};
use super::Kind;
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Words of the first version, which every reader has room for.
pub const BASE: usize = 0x61;
/// Versions that a shorter buffer gets: with FEC counters, with CTPIO's.
const VERSIONS: [usize; 3] = [0x79, 0x68, BASE];

/// Indices of counters.
pub const TX_PKTS: usize = 0x01;
pub const RX_PKTS: usize = 0x1c;
pub const RX_PAUSE: usize = 0x1d;
pub const RX_CONTROL: usize = 0x1f;
pub const RX_OVERFLOW: usize = 0x2f;
pub const RX_NODESC_DROPS: usize = 0x36;
pub const CTPIO_VI_BUSY_FALLBACK: usize = 0x68;
pub const CTPIO_LONG_WRITE_SUCCESS: usize = 0x69;
pub const CTPIO_MISSING_DBELL_FAIL: usize = 0x6a;
pub const CTPIO_UNDERFLOW_FAIL: usize = 0x6c;
pub const CTPIO_NONCONTIG_WRITE_FAIL: usize = 0x6e;
pub const CTPIO_FRM_CLOBBER_FAIL: usize = 0x6f;
pub const CTPIO_INVALID_WR_FAIL: usize = 0x70;
pub const CTPIO_VI_CLOBBER_FALLBACK: usize = 0x71;
pub const CTPIO_UNQUALIFIED_FALLBACK: usize = 0x72;
pub const CTPIO_RUNT_FALLBACK: usize = 0x73;
pub const CTPIO_SUCCESS: usize = 0x74;
pub const CTPIO_FALLBACK: usize = 0x75;
pub const CTPIO_POISON: usize = 0x76;
pub const CTPIO_ERASE: usize = 0x77;

/// Offsets from TX_PKTS and RX_PKTS: the two halves are alike but for one.
const TX_BYTES: usize = 0x07;
const TX_LESS: usize = 0x09;
const RX_GOOD: usize = 0x1e;
const RX_BYTES: usize = 0x23;
const RX_64: usize = 0x25;

/// The counters, and whether and when they are written by themselves.
pub struct Statistics {
    words: Box<[u64; 0x80]>,
    count: usize,
    generation: u64,
    repeat: Option<Repeat>,
}

#[derive(Clone, Copy)]
struct Repeat {
    address: Iova,
    len: u32,
    period: Picos,
    next: Picos,
    event: bool,
}

impl Statistics {
    /// All zero.
    pub fn new(kind: Kind) -> Self {
        let count = if kind == Kind::X2522 { VERSIONS[0] } else { BASE };
        Statistics { words: Box::new([0; 0x80]), count, generation: 0, repeat: None }
    }

    /// Words of an image.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Counts one of something.
    #[inline]
    pub fn one(&mut self, index: usize) {
        self.words[index] += 1;
    }

    /// All counters start over.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// A frame was sent. Lengths count the FCS.
    #[inline]
    pub fn sent(&mut self, frame: &[u8]) {
        let len = frame.len() as u64 + 4;
        self.words[TX_PKTS] += 1;
        self.words[TX_BYTES] += len;
        self.words[4 + cast(frame)] += 1;
        self.words[TX_LESS + size_class(len)] += 1;
    }

    /// A frame was received.
    #[inline]
    pub fn received(&mut self, frame: &[u8]) {
        let len = frame.len() as u64 + 4;
        self.words[RX_PKTS] += 1;
        self.words[RX_GOOD] += 1;
        self.words[RX_BYTES] += len;
        self.words[0x20 + cast(frame)] += 1;
        self.words[RX_64 + size_class(len).max(1) - 1] += 1;
    }

    /// Writes an image: as much of it as there is room for.
    pub fn write(&mut self, memory: &Translation, address: Iova, len: u32) {
        let room = len as usize / 8;
        let Some(count) = VERSIONS.into_iter().find(|count| *count <= room.min(self.count)) else { return };
        self.generation += 1;
        let word = |index: usize, value: u64| {
            if let Some(word) = memory.word64(address + 8 * index as u64) {
                word.store(value, Ordering::Release);
            }
        };
        word(0, self.generation);
        for (index, &value) in self.words.iter().enumerate().take(count - 1).skip(1) {
            word(index, value);
        }
        word(count - 1, self.generation);
    }

    /// Writes an image again and again: address, length, period, whether there
    /// is an event each time; or no longer.
    pub fn repeat(&mut self, how: Option<(Iova, u32, Picos, bool)>, now: Picos) {
        self.repeat = how.map(|(address, len, period, event)| {
            let next = now + period;
            Repeat { address, len, period, next, event }
        });
    }

    /// Writes the image that is due; its generation, if an event is to follow.
    pub fn tick(&mut self, memory: &Translation, now: Picos) -> Option<u32> {
        let repeat = self.repeat.filter(|repeat| repeat.next <= now)?;
        self.repeat = Some(Repeat { next: now + repeat.period, ..repeat });
        self.write(memory, repeat.address, repeat.len);
        repeat.event.then_some(self.generation as u32)
    }

    /// Whether images are written by themselves.
    #[inline]
    pub fn repeats(&self) -> bool {
        self.repeat.is_some()
    }
}

/// Under 64, 64, 65 to 127, ... up to 1023, up to 1518 and tags, jumbo.
#[inline]
fn size_class(len: u64) -> usize {
    match len {
        ..64 => 0,
        64 => 1,
        65..=127 => 2,
        128..=255 => 3,
        256..=511 => 4,
        512..=1023 => 5,
        1024..=1526 => 6,
        _ => 7,
    }
}
