//! Completions: entries of 64 bytes, here as eight words.
//!
//! ```text
//!        0    2    4         8         c      d      e     f
//!   00   .    .    .         .         [ hash             ]
//!   10   [ kind of hash:8 .            |  checks:8 | headers:8 | tag:16 ]
//!   20   .         .         .         [ bytes            ]
//!   30   [ time                     ]  [ flow tag | counter:16 | - | opcode:4 . format:2 . 0 . owner:1 ]
//!
//!   error      36 vendor's code, 37 syndrome
//!   title      as received, of format 3; bytes: how many frames
//!   minis      8 * [ hash | bytes ]
//! ```
//!
//! What a card writes is big-endian. Words are loaded as they lie in memory, so that
//! what only passes is not turned; what is compared or counted is.
//!
//! The last byte is the one that the card writes last. An entry is there if its owner
//! bit is that of the lap, and its opcode is not the one that says that it never was:
//! memory begins so, and entries that a card skips are left so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A completion in memory.
pub type Words = [AtomicU64; 8];

/// Bytes of one.
pub const ENTRY: usize = size_of::<Words>();

/// Words of a completion, by what is in them.
pub mod word {
    /// A hash, in the upper half as it lies in memory.
    pub const HASH: usize = 1;
    /// Which kind of hash, in the first byte.
    pub const HASH_KIND: usize = 2;
    /// What the frame is and what was checked, in the upper half.
    pub const CHECKS: usize = 3;
    /// How long the frame is, in the upper half.
    pub const BYTES: usize = 5;
    /// When.
    pub const TIME: usize = 6;
    /// What a flow is marked with, in the lower half; and the [`Tail`](super::Tail).
    pub const TAIL: usize = 7;
}

/// What the last four bytes say: counter in bits 31:16, opcode in 7:4, format in 3:2,
/// owner in bit 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail(pub u32);

impl Tail {
    /// What of it is looked at in an entry that is as expected.
    pub const LOOKED_AT: u32 = 0xffff_00fd;

    /// Of the last word, as it lies in memory.
    #[inline(always)]
    pub fn of(word: u64) -> Self {
        Tail(((word >> 32) as u32).swap_bytes())
    }

    /// Of a good entry of `opcode` for work queue entry `counter`.
    #[inline(always)]
    pub const fn expected(counter: u32, opcode: u32, owner: u32) -> u32 {
        counter << 16 | opcode << 4 | owner
    }

    /// The work queue entry.
    #[inline(always)]
    pub fn counter(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// What it reports.
    #[inline(always)]
    pub fn opcode(self) -> u32 {
        self.0 >> 4 & 0xf
    }

    /// How.
    #[inline(always)]
    pub fn format(self) -> u32 {
        self.0 >> 2 & 3
    }

    /// Whether it is there, where the owner bit of the lap is `owner`.
    #[inline(always)]
    pub fn is_there(self, owner: u32) -> bool {
        self.0 & 1 == owner && self.opcode() != opcode::NEVER
    }
}

/// What a completion reports.
pub mod opcode {
    /// Frames up to one were sent.
    pub const SENT: u32 = 0x0;
    /// A frame was received.
    pub const RECEIVED: u32 = 0x2;
    /// A frame could not be sent.
    pub const SEND_ERROR: u32 = 0xd;
    /// A frame could not be received.
    pub const RECEIVE_ERROR: u32 = 0xe;
    /// Nothing: it was never written.
    pub const NEVER: u32 = 0xf;
}

/// Several frames in one entry and what follows it.
pub const COMPRESSED: u32 = 3;

/// Last word of an entry that is not there, whatever the lap.
pub const NEVER: u64 = 0xf1 << 56;

/// The upper half of a word, as a number.
#[inline(always)]
pub fn upper(word: u64) -> u32 {
    ((word >> 32) as u32).swap_bytes()
}

/// What a card says of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syndrome {
    /// What was wrong.
    pub code: u8,
    /// The vendor's own code.
    pub vendor: u8,
}

impl Syndrome {
    /// The frame is longer than its buffers: the only error that a queue lives on with.
    pub const LENGTH: u8 = 1;
    /// What a queue has stopped for: its own operation, memory that may not be read or
    /// written, and what is flushed behind these.
    const STOPPED: [u8; 3] = [2, 4, 5];
    /// An entry that was flushed.
    pub const FLUSHED: u8 = 5;

    /// Of an entry that reports one.
    pub fn of(entry: &Words) -> Self {
        let word = entry[word::TIME].load(Ordering::Relaxed);
        Syndrome { code: (word >> 56) as u8, vendor: (word >> 48) as u8 }
    }

    /// Whether a receive queue has stopped.
    pub fn stops(self) -> bool {
        Self::STOPPED.contains(&self.code)
    }
}

/// What a card has said last of an error of one queue: written by the queue, read by
/// control when it reports.
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<Said>);

#[derive(Debug, Default)]
struct Said {
    last: AtomicU32,
    too_long: AtomicU64,
}

impl Fault {
    const SAID: u32 = 1 << 16;

    /// It says `what`. What is only flushed says less than what it was flushed for.
    pub fn tell(&self, what: Syndrome) {
        if what.code != Syndrome::FLUSHED || self.last().is_none() {
            let word = Self::SAID | u32::from(what.code) << 8 | u32::from(what.vendor);
            self.0.last.store(word, Ordering::Relaxed);
        }
    }

    /// A frame was longer than its buffers: its sender's fault.
    pub fn too_long(&self) {
        self.0.too_long.fetch_add(1, Ordering::Relaxed);
    }

    /// Frames that were.
    pub fn frames_too_long(&self) -> u64 {
        self.0.too_long.load(Ordering::Relaxed)
    }

    /// What it has said last.
    pub fn last(&self) -> Option<Syndrome> {
        let word = self.0.last.load(Ordering::Relaxed);
        let [vendor, code, ..] = word.to_le_bytes();
        (word & Self::SAID != 0).then_some(Syndrome { code, vendor })
    }
}

impl fmt::Display for Fault {
    /// To go behind what became of it; nothing if there was none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last() {
            Some(Syndrome { code, vendor }) => {
                write!(f, " (last error of a queue: syndrome {code:#x}, vendor {vendor:#x})")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_say_what_it_is_and_whether_it_is_there() {
        let of = |bytes: [u8; 4]| Tail::of(u64::from(u32::from_le_bytes(bytes)) << 32 | 0xffff_ffff);
        let tail = of([0x12, 0x34, 0x77, 0x2d]);
        assert_eq!((tail.counter(), tail.opcode(), tail.format()), (0x1234, 2, 3));
        assert!(tail.is_there(1) && !tail.is_there(0));
        assert_eq!(Tail::expected(0x1234, 2, 1), tail.0 & Tail::LOOKED_AT & !0xc);
        for never in [[0, 0, 0, 0xf0], [0xff; 4], [0, 0, 0, 0xf1]] {
            assert!(!of(never).is_there(0) && !of(never).is_there(1));
        }
        assert!(!Tail::of(NEVER).is_there(0) && !Tail::of(NEVER).is_there(1));
    }

    #[test]
    fn an_error_is_kept_and_a_flush_does_not_hide_it() {
        let entry: Words = Default::default();
        let mut bytes = [0_u8; 8];
        (bytes[6], bytes[7]) = (0x52, 4);
        entry[6].store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        let seen = Syndrome::of(&entry);
        assert_eq!(seen, Syndrome { code: 4, vendor: 0x52 });
        let fault = Fault::default();
        assert_eq!(fault.last(), None);
        let flushed = Syndrome { code: 5, vendor: 0 };
        fault.tell(flushed);
        assert_eq!(fault.last(), Some(flushed));
        fault.tell(seen);
        fault.tell(flushed);
        fault.too_long();
        assert_eq!((fault.clone().last(), fault.frames_too_long()), (Some(seen), 1));
        let stops = |code| Syndrome { code, vendor: 0 }.stops();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 0x22].map(stops), [false, false, true, false, true, true, false, false]);
    }
}
