//! A lane: one direction of a cable, frames from one writer to one reader
//! through memory that both have mapped.
//!
//! ```text
//!   head  bytes ever written          (writer's; its own cache line)
//!   tail  bytes ever read             (reader's; its own cache line)
//!
//!   data  | len at frame.. | len at frame.. |      free      | SKIP      |
//!         ^ tail % size                     ^ head % size
//! ```
//!
//! A record is its length, the sender's time, and the frame, all in multiples
//! of 16 bytes. A frame lies in one piece: where it would cross the end, the
//! writer leaves a `SKIP` and starts at the beginning. It does the same when the
//! reader has read everything: a lane that is nearly empty stays in the cache,
//! however long it is.
//!
//! The memory may belong to another process, so nothing in it is believed. Each
//! side works from its own copy of its own index; what it reads of the other's
//! must lie where it can lie, and records must fit in what was published, or the
//! lane is [`Torn`]. Frames are copied out before they are looked at. Loom plays both sides:
//! `tests/lane_model.rs`.

#![allow(unsafe_code)]

#[cfg(test)]
mod tests;

use super::{MAX_FRAME, Picos};
use crate::sys;
use crate::sys::word::Word;
use memmap2::MmapRaw;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in front of the data of a lane: `head` and `tail`, a page for both so
/// that neither shares a line, or a pair of lines, with anything else.
pub(super) const CONTROL: usize = 4096;

/// Offset of `tail` in the control page.
const TAIL: usize = 128;

/// Records begin at multiples of this; also the size of a record's header.
const ALIGN: usize = 16;

/// A length that says: go on at the beginning.
const SKIP: u64 = u32::MAX as u64;

/// How much of an idle lane is used before it starts over.
const HOT: u64 = 256 * 1024;

/// The other side wrote what it cannot have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn;

/// Where a lane is.
pub trait Memory {
    /// Its words.
    type Word: Word<u64>;

    /// Bytes ever written.
    fn head(&self) -> &Self::Word;

    /// Bytes ever read.
    fn tail(&self) -> &Self::Word;

    /// The word at `index` (bytes ever passed), a multiple of 8.
    fn word(&self, index: u64) -> &Self::Word;

    /// Bytes of its data, a power of two.
    fn size(&self) -> u64;

    /// Copies `frame` in at `index`.
    fn write(&self, index: u64, frame: &[u8]);

    /// Copies out what is at `index`.
    fn read(&self, index: u64, frame: &mut [u8]);

    /// Bytes from `index` to the end of the data.
    #[inline]
    fn to_end(&self, index: u64) -> u64 {
        self.size() - (index & (self.size() - 1))
    }
}

/// A lane in memory that is mapped.
pub struct Mapped {
    /// Keeps what the pointers point into.
    _map: Arc<MmapRaw>,
    head: NonNull<AtomicU64>,
    tail: NonNull<AtomicU64>,
    data: NonNull<u8>,
    size: u64,
}

// SAFETY: the pointers go into the mapping, which lives as long and is not tied to a
// thread.
unsafe impl Send for Mapped {}

impl Mapped {
    /// The lane whose control page is at `offset` in `map`, with `size` bytes of
    /// data behind it, a power of two.
    fn new(map: &Arc<MmapRaw>, offset: usize, size: usize) -> Self {
        assert!(size.is_power_of_two() && size >= 4 * MAX_FRAME, "a lane of {size} bytes");
        assert!(offset.is_multiple_of(CONTROL) && offset + CONTROL + size <= map.len(), "a lane outside its memory");
        // SAFETY: the assertions above keep every pointer inside the mapping,
        // which begins at a page, so the words are aligned.
        let (head, tail, data) = unsafe {
            let base = NonNull::new_unchecked(map.as_mut_ptr()).add(offset);
            (base.cast(), base.add(TAIL).cast(), base.add(CONTROL))
        };
        Mapped { _map: Arc::clone(map), head, tail, data, size: size as u64 }
    }
}

impl Memory for Mapped {
    type Word = AtomicU64;

    #[inline]
    fn head(&self) -> &AtomicU64 {
        // SAFETY: aligned and inside the mapping (see `new`), which `self` holds.
        unsafe { self.head.as_ref() }
    }

    #[inline]
    fn tail(&self) -> &AtomicU64 {
        // SAFETY: as in `head`.
        unsafe { self.tail.as_ref() }
    }

    #[inline]
    fn size(&self) -> u64 {
        self.size
    }

    #[inline]
    fn word(&self, index: u64) -> &AtomicU64 {
        // SAFETY: masked to the data, which is a multiple of 8 long, and aligned
        // because index is.
        unsafe { self.data.add((index & (self.size - 1) & !7) as usize).cast().as_ref() }
    }

    #[inline]
    fn write(&self, index: u64, frame: &[u8]) {
        assert!(frame.len() as u64 <= self.to_end(index));
        let start = (index & (self.size - 1)) as usize;
        // SAFETY: start + len is inside the data (asserted). No reference to
        // these bytes exists anywhere, here or in the other process.
        unsafe { self.data.add(start).copy_from_nonoverlapping(NonNull::from(frame).cast(), frame.len()) }
    }

    #[inline]
    fn read(&self, index: u64, frame: &mut [u8]) {
        assert!(frame.len() as u64 <= self.to_end(index));
        let start = (index & (self.size - 1)) as usize;
        // SAFETY: start + len is inside the data (asserted). A writer that breaks
        // the rules can spoil the bytes that are copied, nothing more: they are
        // looked at only in the copy.
        unsafe { self.data.add(start).copy_to_nonoverlapping(NonNull::from(&mut *frame).cast(), frame.len()) }
    }
}

/// Bytes of a record with a frame of `len` bytes.
#[inline]
fn record(len: usize) -> u64 {
    (ALIGN + len.next_multiple_of(ALIGN)) as u64
}

/// The end of a lane that writes.
pub struct Writer<M = Mapped> {
    lane: M,
    head: u64,
    /// The reader's index as last seen: never ahead of the true one.
    tail: u64,
    /// Where to look next whether the reader has read everything.
    look: u64,
    /// Bytes of the data that are known to be backed by memory, and what backs
    /// the rest when it is needed: a file and the offset of the data in it.
    backed: u64,
    file: Option<(File, u64)>,
}

/// How much is backed at a time; more than [`HOT`].
const CHUNK: u64 = 1 << 20;

impl Writer {
    /// Goes on where the last writer of this lane stopped.
    pub(super) fn new(map: &Arc<MmapRaw>, offset: usize, size: usize) -> Self {
        Writer::over(Mapped::new(map, offset, size))
    }

    /// The same, in a sparse file: makes room in the file before memory without
    /// room behind it is touched, which would be a SIGBUS. What an idle lane
    /// uses must be there at once.
    pub(super) fn in_file(file: File, map: &Arc<MmapRaw>, offset: usize, size: usize) -> io::Result<Self> {
        let data = (offset + CONTROL) as u64;
        sys::allocate(&file, data, CHUNK)?;
        Ok(Writer { backed: CHUNK, file: Some((file, data)), ..Writer::new(map, offset, size) })
    }
}

impl<M: Memory> Writer<M> {
    /// Goes on where the last writer of this lane stopped.
    pub fn over(lane: M) -> Self {
        let head = lane.head().load(Ordering::Acquire) & !(ALIGN as u64 - 1);
        let tail = lane.tail().load(Ordering::Acquire);
        Writer { head, tail, look: head, backed: lane.size(), file: None, lane }
    }

    /// Puts a frame in; false if the lane is full.
    ///
    /// # Errors
    /// [`Torn`] if the reader's index lies where it cannot.
    #[inline]
    pub fn push(&mut self, frame: &[u8], at: Picos) -> Result<bool, Torn> {
        debug_assert!(frame.len() <= MAX_FRAME);
        let size = record(frame.len());
        let mut skip = if self.lane.to_end(self.head) < size { self.lane.to_end(self.head) } else { 0 };
        if self.head >= self.look {
            skip = skip.max(self.start_over()?);
        }
        if self.room()? < size + skip {
            self.tail = self.lane.tail().load(Ordering::Acquire);
            if self.room()? < size + skip {
                return Ok(false);
            }
        }
        // A skip is written here, the record at the beginning; otherwise it is here.
        let here = self.lane.size() - self.lane.to_end(self.head);
        let touched = if skip == 0 { here + size } else { size.max(here + ALIGN as u64) };
        if touched > self.backed && !self.back(touched) {
            return Ok(false);
        }
        if skip != 0 {
            self.lane.word(self.head).store(SKIP, Ordering::Relaxed);
            self.head = self.head.wrapping_add(skip);
        }
        self.lane.word(self.head).store(frame.len() as u64, Ordering::Relaxed);
        self.lane.word(self.head.wrapping_add(8)).store(at, Ordering::Relaxed);
        self.lane.write(self.head.wrapping_add(ALIGN as u64), frame);
        self.head = self.head.wrapping_add(size);
        self.lane.head().store(self.head, Ordering::Release);
        Ok(true)
    }

    /// What to skip to be at the beginning, if the reader has read everything
    /// and the beginning is not near anyway.
    #[cold]
    fn start_over(&mut self) -> Result<u64, Torn> {
        self.look = self.head.wrapping_add(HOT / 4);
        self.tail = self.lane.tail().load(Ordering::Acquire);
        let position = self.lane.size() - self.lane.to_end(self.head);
        if position < HOT || self.room()? != self.lane.size() {
            return Ok(0);
        }
        Ok(self.lane.to_end(self.head))
    }

    /// Has the first `bytes` bytes of the data backed. If there is no memory,
    /// the lane is full until the reader has read everything and it can start
    /// over.
    #[cold]
    fn back(&mut self, bytes: u64) -> bool {
        let Some((file, data)) = &self.file else { return true };
        let wanted = bytes.next_multiple_of(CHUNK).min(self.lane.size());
        if sys::allocate(file, data + self.backed, wanted - self.backed).is_err() {
            self.look = self.head;
            return false;
        }
        self.backed = wanted;
        true
    }

    #[inline]
    fn room(&self) -> Result<u64, Torn> {
        self.lane.size().checked_sub(self.head.wrapping_sub(self.tail)).ok_or(Torn)
    }
}

/// The end of a lane that reads.
pub struct Reader<M = Mapped> {
    lane: M,
    tail: u64,
    /// The writer's index as last seen: never ahead of the true one.
    head: u64,
    frame: Box<[u8; MAX_FRAME]>,
    /// Length of what is in `frame`, when it was sent, and the index behind it.
    held: Option<(usize, Picos, u64)>,
}

impl Reader {
    /// Reads what is written from now on; what is in the lane already was meant
    /// for somebody else.
    pub(super) fn new(map: &Arc<MmapRaw>, offset: usize, size: usize) -> Self {
        Reader::over(Mapped::new(map, offset, size))
    }
}

impl<M: Memory> Reader<M> {
    /// The same.
    pub fn over(lane: M) -> Self {
        let head = lane.head().load(Ordering::Acquire) & !(ALIGN as u64 - 1);
        lane.tail().store(head, Ordering::Release);
        Reader { lane, tail: head, head, frame: Box::new([0; MAX_FRAME]), held: None }
    }

    /// The next frame and when it was sent. It stays until [`Reader::pop`].
    ///
    /// # Errors
    /// [`Torn`] if what was written cannot be frames.
    #[inline]
    pub fn front(&mut self) -> Result<Option<(&[u8], Picos)>, Torn> {
        if self.held.is_none() && !self.fetch()? {
            return Ok(None);
        }
        Ok(self.held.map(|(len, at, _)| (&self.frame[..len], at)))
    }

    /// Done with the frame that `front` showed.
    #[inline]
    pub fn pop(&mut self) {
        if let Some((_, _, next)) = self.held.take() {
            self.tail = next;
            self.lane.tail().store(next, Ordering::Release);
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.held.is_none() && self.lane.head().load(Ordering::Relaxed) == self.tail
    }

    /// Whether frames may still come: of an end that has left, those that it wrote before.
    #[inline]
    pub fn is_lit(&self, there: &impl Word<bool>) -> bool {
        // <-- acquire: what was written before it left
        there.load(Ordering::Acquire) || !self.is_empty()
    }

    #[inline]
    fn fetch(&mut self) -> Result<bool, Torn> {
        if self.head == self.tail {
            self.head = self.lane.head().load(Ordering::Acquire);
            if self.head == self.tail {
                return Ok(false);
            }
        }
        let mut waiting = self.head.wrapping_sub(self.tail);
        if waiting > self.lane.size() {
            return Err(Torn);
        }
        let mut index = self.tail;
        let mut len = self.lane.word(index).load(Ordering::Relaxed);
        if len == SKIP {
            let skip = self.lane.to_end(index);
            waiting = waiting.checked_sub(skip).ok_or(Torn)?;
            index = index.wrapping_add(skip);
            // A SKIP is published with the record behind it.
            if waiting < ALIGN as u64 {
                return Err(Torn);
            }
            len = self.lane.word(index).load(Ordering::Relaxed);
        }
        if len > MAX_FRAME as u64 || record(len as usize) > waiting.min(self.lane.to_end(index)) {
            return Err(Torn);
        }
        let len = len as usize;
        let at = self.lane.word(index.wrapping_add(8)).load(Ordering::Relaxed);
        self.lane.read(index.wrapping_add(ALIGN as u64), &mut self.frame[..len]);
        self.held = Some((len, at, index.wrapping_add(record(len))));
        Ok(true)
    }
}
