//! The protocol of a ring: one that writes, any number that read, none that waits.
//!
//! ```text
//!   writer   opened = n; head = n * block; fence      before a word of block n is written
//!            words of records
//!            head = behind them (release)             once a burst
//!
//!   reader   head (acquire)                           when it has read up to what it knew
//!            words of a record
//!            fence; opened < its block + blocks ?     else they may be of a later round
//! ```
//!
//! That is a seqlock whose counter is the number of the block: the words are relaxed
//! atomics, a release fence stands between the counter and what is written after it, an
//! acquire fence between what was read and the counter (Boehm, "Can seqlocks get along
//! with programming language memory models?", MSPC 2012). A reader looks at `opened` for
//! each packet and finds it in its own cache, as it changes once a block; only one that has
//! read everything looks at `head`, which changes once a burst.
//!
//! A reader that was lapped goes on at the block half a ring behind the writer. The
//! sequence number it finds there says what it has lost.

use super::layout::{HEADER, SKIP, Shape};
use crate::sys::word::Word;
use std::sync::atomic::Ordering::{self, Relaxed, Release};

/// The memory of a ring.
pub trait Memory {
    /// Of what it is made. A reader loads it relaxed: its memory cannot be written, where no other
    /// load is sure to do.
    type Word: Word<u64>;
    /// Its blocks.
    fn shape(&self) -> Shape;
    /// Number of the latest block that is written to.
    fn opened(&self) -> &Self::Word;
    /// Position up to which records are whole.
    fn head(&self) -> &Self::Word;
    /// All words of all blocks.
    fn data(&self) -> &[Self::Word];
    /// A fence of the language's memory model.
    fn fence(order: Ordering);
}

/// Where the next word is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of the block, and its first word in the data.
    block: u64,
    base: usize,
    /// The word in it; the number of its words at its end.
    at: usize,
}

impl Place {
    /// The beginning of a block.
    fn start(block: u64, shape: Shape) -> Self {
        Place { block, base: (block % shape.blocks as u64) as usize * shape.block, at: 0 }
    }

    /// The beginning of the next block.
    fn next(self, shape: Shape) -> Self {
        let base = self.base + shape.block;
        let base = if base == shape.block * shape.blocks { 0 } else { base };
        Place { block: self.block + 1, base, at: 0 }
    }

    #[inline]
    fn position(self, shape: Shape) -> u64 {
        self.block * shape.block as u64 + self.at as u64
    }
}

/// The end that writes.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    shape: Shape,
    place: Place,
    sequence: u64,
}

impl<M: Memory> Writer<M> {
    /// Begins at the beginning of memory that is all zeroes.
    pub fn new(memory: M) -> Self {
        let shape = memory.shape();
        Writer { memory, shape, place: Place::start(0, shape), sequence: 0 }
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Packets so far.
    pub fn count(&self) -> u64 {
        self.sequence
    }

    /// Bytes kept of each packet.
    pub fn most(&self) -> usize {
        self.shape.most
    }

    /// Writes a packet.
    #[inline]
    pub fn put(&mut self, time: u64, frame: &[u8]) {
        let kept = frame.len().min(self.shape.most);
        let words = self.record(time, kept, frame.len());
        let (whole, rest) = frame[..kept].as_chunks::<8>();
        for (word, bytes) in words.iter().zip(whole) {
            word.store(u64::from_ne_bytes(*bytes), Relaxed);
        }
        if !rest.is_empty() {
            words[whole.len()].store(padded(rest), Relaxed);
        }
    }

    /// Writes a packet that lies in several buffers.
    pub fn put_parts(&mut self, time: u64, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let kept = len.min(self.shape.most);
        let words = self.record(time, kept, len);
        let mut words = words.iter();
        let mut put =
            |value: u64| words.next().map(|word| word.store(u64::from_ne_bytes(value.to_le_bytes()), Relaxed));
        // Bytes that do not fill a word yet, the first of them lowest, and their bits.
        let (mut held, mut bits, mut left) = (0, 0, kept);
        for part in parts {
            let (whole, rest) = part[..part.len().min(left)].as_chunks::<8>();
            left -= 8 * whole.len() + rest.len();
            for bytes in whole {
                let value = u64::from_le_bytes(*bytes);
                put(held | value << bits);
                held = value.checked_shr(64 - bits).unwrap_or(0);
            }
            for &byte in rest {
                held |= u64::from(byte) << bits;
                bits += 8;
                if bits == 64 {
                    put(held);
                    (held, bits) = (0, 0);
                }
            }
        }
        if bits > 0 {
            put(held);
        }
    }

    /// Writes the header of a record and gives the words behind it.
    #[inline]
    fn record(&mut self, time: u64, kept: usize, len: usize) -> &[M::Word] {
        let need = HEADER + kept.div_ceil(8);
        if need > self.shape.block - self.place.at {
            self.open_next();
        }
        let start = self.place.base + self.place.at;
        let words = &self.memory.data()[start..start + need];
        words[0].store(kept as u64 | (len as u64) << 32, Relaxed);
        words[1].store(self.sequence, Relaxed);
        words[2].store(time, Relaxed);
        self.place.at += need;
        self.sequence += 1;
        &words[HEADER..]
    }

    /// Leaves the rest of this block out and begins the next.
    #[cold]
    fn open_next(&mut self) {
        let Place { base, at, .. } = self.place;
        if at < self.shape.block {
            self.memory.data()[base + at].store(SKIP, Relaxed);
        }
        self.place = self.place.next(self.shape);
        self.publish();
        // What is before it is published to all who see it.
        self.memory.opened().store(self.place.block, Release);
        // Who sees a word of this round sees that it was begun.
        M::fence(Ordering::Release);
    }

    /// Shows what was written.
    #[inline]
    pub fn publish(&mut self) {
        self.memory.head().store(self.place.position(self.shape), Release);
    }
}

/// Less than eight bytes as a word.
#[inline]
fn padded(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the next packet.
    Now,
    /// With the oldest that will be there for a while.
    Oldest,
}

/// A packet, its bytes where the caller wanted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its number, from 0.
    pub sequence: u64,
    /// When it came, ns since 1970.
    pub time: u64,
    /// Bytes it had on the wire.
    pub wire_len: usize,
    /// Bytes of it that were kept.
    pub len: usize,
}

/// The memory holds what no publisher writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// The end that reads.
#[derive(Debug)]
pub struct Reader<M> {
    memory: M,
    shape: Shape,
    place: Place,
    /// Where the place is, and up to where records were whole when it was asked.
    position: u64,
    seen: u64,
    /// Sequence number of the next packet, if this reader was not lapped.
    expected: u64,
    lapped: bool,
    first: u64,
    lost: u64,
}

/// What was found at a place in the ring.
enum Found {
    /// A record of so many words.
    Record(Packet, usize),
    /// The rest of the block is left out.
    Skip,
    /// Nonsense, unless it was overwritten meanwhile.
    Nonsense,
}

/// Steps that one call takes at most. A sound ring needs three, unless this thread was
/// held up for a whole round of the ring between two of them.
const STEPS: usize = 64;

impl<M: Memory> Reader<M> {
    /// Begins to read.
    ///
    /// # Errors
    /// [`Damaged`] if there is nothing to begin with that makes sense.
    pub fn new(memory: M, begin: Begin) -> Result<Self, Damaged> {
        let shape = memory.shape();
        let place = Place::start(0, shape);
        let mut reader =
            Reader { memory, shape, place, position: 0, seen: 0, expected: 0, lapped: false, first: 0, lost: 0 };
        for _ in 0..STEPS {
            if reader.place(begin)? {
                reader.first = reader.expected;
                return Ok(reader);
            }
        }
        Err(Damaged)
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Number of the packet with which it began.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Packets that were overwritten before this reader came to them.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Finds the place to begin at; false if the writer was faster.
    fn place(&mut self, begin: Begin) -> Result<bool, Damaged> {
        let opened = self.latest()?;
        let blocks = self.shape.blocks as u64;
        let block = match begin {
            // The one before the latest has been written to its end.
            Begin::Now => opened.saturating_sub(1),
            Begin::Oldest => (opened + 1 + (blocks / 8).max(1)).saturating_sub(blocks).min(opened.saturating_sub(1)),
        };
        self.go_to(Place::start(block, self.shape));
        self.seen = self.head();
        self.expected = if block == 0 { 0 } else { self.memory.data()[self.place.base + 1].load(Relaxed) };
        while begin == Begin::Now && self.position < self.seen {
            match self.look(None) {
                Found::Record(packet, words) if packet.sequence == self.expected => {
                    self.pass(words);
                    self.expected = self.expected.wrapping_add(1);
                }
                Found::Skip => self.go_to(self.place.next(self.shape)),
                _ if self.holds(block) => return Err(Damaged),
                _ => return Ok(false),
            }
        }
        Ok(self.holds(block))
    }

    /// Copies the next packet out, to the beginning of `into`, which has room for
    /// [`Shape::most`](super::layout::Shape) bytes. None if there is none now.
    ///
    /// # Errors
    /// [`Damaged`]; there is nothing to go on with then.
    #[inline]
    pub fn next(&mut self, into: &mut [u8]) -> Result<Option<Packet>, Damaged> {
        for _ in 0..STEPS {
            if self.position >= self.seen {
                self.seen = self.head();
                if self.position >= self.seen {
                    return Ok(None);
                }
            }
            let found = self.look(Some(&mut *into));
            if !self.holds(self.place.block) {
                self.catch_up()?;
                continue;
            }
            match found {
                Found::Record(packet, words) => {
                    let gap = packet.sequence.checked_sub(self.expected).ok_or(Damaged)?;
                    if gap > 0 && !self.lapped {
                        return Err(Damaged);
                    }
                    self.lost = self.lost.saturating_add(gap);
                    self.lapped = false;
                    self.pass(words);
                    self.expected = packet.sequence.wrapping_add(1);
                    return Ok(Some(packet));
                }
                Found::Skip => self.go_to(self.place.next(self.shape)),
                Found::Nonsense => return Err(Damaged),
            }
        }
        Ok(None)
    }

    /// Goes on half a ring behind the writer.
    #[cold]
    fn catch_up(&mut self) -> Result<(), Damaged> {
        let block = self.latest()?.checked_sub(self.shape.blocks as u64 / 2).ok_or(Damaged)?;
        if block <= self.place.block {
            return Err(Damaged);
        }
        self.go_to(Place::start(block, self.shape));
        (self.seen, self.lapped) = (0, true);
        Ok(())
    }

    fn go_to(&mut self, place: Place) {
        (self.place, self.position) = (place, place.position(self.shape));
    }

    /// Leaves a record of so many words behind.
    #[inline]
    fn pass(&mut self, words: usize) {
        self.place.at += words;
        self.position += words as u64;
        if self.place.at == self.shape.block {
            self.place = self.place.next(self.shape);
        }
    }

    /// What is at the position, its bytes copied out. It is worth nothing unless the
    /// block [`holds`](Self::holds) after it.
    #[inline]
    fn look(&self, into: Option<&mut [u8]>) -> Found {
        let Place { base, at, .. } = self.place;
        let rest = self.shape.block - at;
        let words = &self.memory.data()[base + at..base + self.shape.block];
        let lengths = words[0].load(Relaxed);
        if lengths == SKIP {
            return Found::Skip;
        }
        let (len, wire_len) = ((lengths & 0xffff_ffff) as usize, (lengths >> 32) as usize);
        let need = HEADER + len.div_ceil(8);
        if len > self.shape.most || len > wire_len || need > rest {
            return Found::Nonsense;
        }
        let (header, data) = words[..need].split_at(HEADER);
        let packet = Packet { sequence: header[1].load(Relaxed), time: header[2].load(Relaxed), wire_len, len };
        if let Some(into) = into {
            let (whole, rest) = into[..len].as_chunks_mut::<8>();
            for (bytes, word) in whole.iter_mut().zip(data) {
                *bytes = word.load(Relaxed).to_ne_bytes();
            }
            if !rest.is_empty() {
                rest.copy_from_slice(&data[whole.len()].load(Relaxed).to_ne_bytes()[..rest.len()]);
            }
        }
        Found::Record(packet, need)
    }

    /// Whether what was read of this block is of it, and not of a later round.
    #[inline]
    fn holds(&self, block: u64) -> bool {
        M::fence(Ordering::Acquire);
        self.memory.opened().load(Relaxed).wrapping_sub(block) < self.shape.blocks as u64
    }

    #[inline]
    fn head(&self) -> u64 {
        let head = self.memory.head().load(Relaxed);
        M::fence(Ordering::Acquire);
        head
    }

    /// The latest block that is written to.
    fn latest(&self) -> Result<u64, Damaged> {
        let opened = self.memory.opened().load(Relaxed);
        M::fence(Ordering::Acquire);
        // No ring has had so many words.
        if opened < u64::MAX / 8 / self.shape.block as u64 { Ok(opened) } else { Err(Damaged) }
    }
}
