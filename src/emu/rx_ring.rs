//! A receive ring of descriptors that the card fills and writes back: that of the
//! 82599 and of the X710.
//!
//! ```text
//!   | done | filled | free free free | driver's |
//!            ^ written back up to four at once, when a cache line is full or the
//!              queue's turn is over; the status word last, with Release
//!                     ^ head          ^ tail
//! ```
//!
//! The tail is only looked at when the known free descriptors run out: on silicon
//! it is a register write away, here it is a cache line that the driver writes,
//! and each look costs both sides.

use super::pcie::Piece;
use super::slip::{Act, Direction};
use super::{Translation, Violations};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Descriptors that are written back at once at most.
const LINE: usize = 4;

/// Descriptors that are read ahead: two cache lines.
const AHEAD: u32 = 8;

/// A ring of descriptors that are written back as `WORDS` words, 2 or 4.
pub struct RxRing<const WORDS: usize> {
    base: Iova,
    /// How many descriptors.
    pub count: u32,
    /// Next descriptor to fill.
    pub head: u32,
    tail: u32,
    /// Bytes that a buffer holds.
    pub buffer: u32,
    /// Descriptors of 32 bytes, else of 16, which take two words only.
    pub wide: bool,
    /// Buffers of the next descriptors that were read ahead, each at its own place.
    buffers_ahead: [Iova; AHEAD as usize],
    ahead: u32,
    /// Filled descriptors that were not written back: those before `head`.
    pending: [[u64; WORDS]; LINE],
    pended: u32,
}

impl<const WORDS: usize> Default for RxRing<WORDS> {
    fn default() -> Self {
        RxRing::new(0, 0, 0, 0, false)
    }
}

impl<const WORDS: usize> RxRing<WORDS> {
    /// A ring of `count` descriptors without one that is free.
    pub fn new(base: Iova, count: u32, head: u32, buffer: u32, wide: bool) -> Self {
        RxRing {
            base,
            count,
            head,
            tail: head,
            buffer,
            wide,
            buffers_ahead: [0; AHEAD as usize],
            ahead: 0,
            pending: [[0; WORDS]; LINE],
            pended: 0,
        }
    }

    /// Whether nothing is free, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// An empty ring goes on from this descriptor.
    pub fn rewind(&mut self, head: u32) {
        (self.head, self.tail, self.ahead) = (head, head, 0);
    }

    /// Buffers that a packet of `len` bytes takes.
    #[inline]
    pub fn buffers(&self, len: u32) -> u32 {
        if len <= self.buffer { 1 } else { len.div_ceil(self.buffer) }
    }

    /// Free descriptors; looks at the doorbell, a register's name and value, if
    /// fewer than `need` are known, and each time while somebody counts what is fetched.
    #[inline]
    pub fn free(
        &mut self,
        need: u32,
        name: &'static str,
        doorbell: impl FnOnce() -> u32,
        memory: &Translation,
        violations: &mut Violations,
    ) -> u32 {
        let known = self.distance(self.tail);
        if known >= need && memory.meter().is_none() {
            known
        } else {
            self.look(known, name, doorbell(), memory, violations)
        }
    }

    #[cold]
    fn look(&mut self, known: u32, name: &str, tail: u32, memory: &Translation, violations: &mut Violations) -> u32 {
        if tail >= self.count {
            violations.note(format!("{name} is outside the ring"));
            return known;
        }
        let free = self.distance(tail);
        if free < known {
            violations.note(format!("{name} moved backwards over descriptors that the card owns"));
        }
        if let Some(meter) = memory.meter() {
            let new = free.saturating_sub(known);
            if new != 0 {
                meter.fetch(self.pieces(self.tail, new), meter.hear(4).seen);
            }
        }
        self.tail = tail;
        free
    }

    /// So many descriptors from `first` on.
    fn pieces(&self, first: u32, count: u32) -> impl Iterator<Item = Piece> {
        let bytes = if self.wide { 32 } else { 16 };
        (first..first + count).map(move |n| (self.at(n % self.count), bytes))
    }

    #[inline]
    fn distance(&self, tail: u32) -> u32 {
        if tail >= self.head { tail - self.head } else { tail + self.count - self.head }
    }

    #[inline]
    fn at(&self, n: u32) -> Iova {
        self.base.wrapping_add(Iova::from(n) << if self.wide { 5 } else { 4 })
    }

    /// Puts a packet into buffers that are free: `put` each part at its address.
    /// `words` says what is written back for a part of so many bytes, the last or not.
    #[inline]
    pub fn deliver(
        &mut self,
        memory: &Translation,
        packet: &[u8],
        mut put: impl FnMut(Iova, &[u8]),
        words: impl Fn(u64, bool) -> [u64; WORDS],
    ) {
        let mut rest = packet;
        loop {
            let (part, more) = rest.split_at(rest.len().min(self.buffer as usize));
            if let Some(buffer) = self.next_buffer(memory) {
                if let Some(meter) = memory.meter() {
                    meter.write([(buffer, part.len() as u64)]);
                }
                put(buffer, part);
            }
            if more.is_empty() {
                match memory.slip(Direction::Rx) {
                    None => self.complete(memory, words(part.len() as u64, true)),
                    Some(act) => self.slip(memory, act, part.len() as u64, words),
                }
                break;
            }
            self.complete(memory, words(part.len() as u64, false));
            rest = more;
        }
    }

    /// Done with the descriptor at head, of which something wrong is said (fault).
    #[cold]
    fn slip(&mut self, memory: &Translation, act: Act, len: u64, words: impl Fn(u64, bool) -> [u64; WORDS]) {
        match act {
            Act::Length(wrong) => self.complete(memory, words(wrong.into(), true)),
            Act::Endless => self.complete(memory, words(len, false)),
            Act::Twice => {
                self.complete(memory, words(len, true));
                if !self.is_empty() {
                    self.complete(memory, words(len, true));
                }
            }
            Act::Never => self.skip(memory),
            Act::Other => {
                self.skip(memory);
                if !self.is_empty() {
                    self.complete(memory, words(len, true));
                }
            }
            Act::Late(by) => {
                self.flush(memory);
                memory.later(by, || {
                    self.complete(memory, words(len, true));
                    self.flush(memory);
                });
            }
        }
    }

    /// Passes over the descriptor at head, which is never written back.
    fn skip(&mut self, memory: &Translation) {
        self.flush(memory);
        self.head = (self.head + 1) % self.count;
        self.ahead = self.ahead.saturating_sub(1);
    }

    /// The buffer of the descriptor at head.
    #[inline]
    fn next_buffer(&self, memory: &Translation) -> Option<Iova> {
        if self.ahead > 0 {
            return Some(self.buffers_ahead[(self.head % AHEAD) as usize]);
        }
        memory.descriptor(self.at(self.head)).map(|descriptor| descriptor[0].load(Ordering::Relaxed))
    }

    /// Reads what is known to be free ahead, as cards do between packets (82599 §7.1.7): no
    /// packet waits for a descriptor to come from memory.
    #[inline]
    fn read_ahead(&mut self, memory: &Translation) {
        if self.ahead > AHEAD / 2 {
            return;
        }
        let known = self.distance(self.tail).min(AHEAD);
        while self.ahead < known {
            let n = self.head + self.ahead;
            let n = if n >= self.count { n - self.count } else { n };
            let Some(descriptor) = memory.descriptor(self.at(n)) else { return };
            self.buffers_ahead[(n % AHEAD) as usize] = descriptor[0].load(Ordering::Relaxed);
            self.ahead += 1;
        }
    }

    /// Done with the descriptor at head.
    #[inline]
    pub fn complete(&mut self, memory: &Translation, words: [u64; WORDS]) {
        self.pending[self.pended as usize] = words;
        self.pended += 1;
        self.head += 1;
        self.ahead = self.ahead.saturating_sub(1);
        if self.head == self.count {
            self.head = 0;
        }
        if self.head.is_multiple_of(LINE as u32) {
            self.flush(memory);
        }
    }

    /// Whether something was filled and not written back.
    pub fn is_pending(&self) -> bool {
        self.pended != 0
    }

    /// Writes back what was filled; the status words last.
    #[inline]
    pub fn flush(&mut self, memory: &Translation) {
        let first = if self.head >= self.pended { self.head } else { self.head + self.count } - self.pended;
        if let Some(meter) = memory.meter() {
            meter.report(self.pieces(first, self.pended), false);
        }
        for (n, words) in (first..).zip(&self.pending[..self.pended as usize]) {
            if WORDS == 4 && self.wide {
                memory.store_pair(self.at(n).wrapping_add(16), [words[2], words[3]]);
            }
            memory.store_pair(self.at(n), [words[0], words[1]]);
        }
        self.pended = 0;
        self.read_ahead(memory);
    }
}
