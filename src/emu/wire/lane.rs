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
//! lane is [`Torn`]. Frames are copied out before they are looked at.

#![allow(unsafe_code)]

use super::{MAX_FRAME, Picos};
use crate::sys;
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
pub(super) struct Torn;

/// Where a lane is.
struct Memory {
    /// Keeps what the pointers point into.
    _map: Arc<MmapRaw>,
    head: NonNull<AtomicU64>,
    tail: NonNull<AtomicU64>,
    data: NonNull<u8>,
    size: u64,
}

// SAFETY: the pointers go into the mapping, which lives as long and is not tied to a
// thread.
unsafe impl Send for Memory {}

impl Memory {
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
        Memory { _map: Arc::clone(map), head, tail, data, size: size as u64 }
    }

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

    /// The word at `index` (bytes ever passed), a multiple of 8.
    #[inline]
    fn word(&self, index: u64) -> &AtomicU64 {
        // SAFETY: masked to the data, which is a multiple of 8 long, and aligned
        // because index is.
        unsafe { self.data.add((index & (self.size - 1) & !7) as usize).cast().as_ref() }
    }

    /// Bytes from `index` to the end of the data.
    #[inline]
    fn to_end(&self, index: u64) -> u64 {
        self.size - (index & (self.size - 1))
    }

    /// Copies `frame` in at `index`.
    #[inline]
    fn write(&self, index: u64, frame: &[u8]) {
        assert!(frame.len() as u64 <= self.to_end(index));
        let start = (index & (self.size - 1)) as usize;
        // SAFETY: start + len is inside the data (asserted). No reference to
        // these bytes exists anywhere, here or in the other process.
        unsafe { self.data.add(start).copy_from_nonoverlapping(NonNull::from(frame).cast(), frame.len()) }
    }

    /// Copies out what is at `index`.
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
pub(super) struct Writer {
    lane: Memory,
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
        let lane = Memory::new(map, offset, size);
        let head = lane.head().load(Ordering::Acquire) & !(ALIGN as u64 - 1);
        let tail = lane.tail().load(Ordering::Acquire);
        Writer { head, tail, look: head, backed: lane.size, file: None, lane }
    }

    /// The same, in a sparse file: makes room in the file before memory without
    /// room behind it is touched, which would be a SIGBUS. What an idle lane
    /// uses must be there at once.
    pub(super) fn in_file(file: File, map: &Arc<MmapRaw>, offset: usize, size: usize) -> io::Result<Self> {
        let data = (offset + CONTROL) as u64;
        sys::allocate(&file, data, CHUNK)?;
        Ok(Writer { backed: CHUNK, file: Some((file, data)), ..Writer::new(map, offset, size) })
    }

    /// Puts a frame in; false if the lane is full.
    #[inline]
    pub(super) fn push(&mut self, frame: &[u8], at: Picos) -> Result<bool, Torn> {
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
        let here = self.lane.size - self.lane.to_end(self.head);
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
        let position = self.lane.size - self.lane.to_end(self.head);
        if position < HOT || self.room()? != self.lane.size {
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
        let wanted = bytes.next_multiple_of(CHUNK).min(self.lane.size);
        if sys::allocate(file, data + self.backed, wanted - self.backed).is_err() {
            self.look = self.head;
            return false;
        }
        self.backed = wanted;
        true
    }

    #[inline]
    fn room(&self) -> Result<u64, Torn> {
        self.lane.size.checked_sub(self.head.wrapping_sub(self.tail)).ok_or(Torn)
    }
}

/// The end of a lane that reads.
pub(super) struct Reader {
    lane: Memory,
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
        let lane = Memory::new(map, offset, size);
        let head = lane.head().load(Ordering::Acquire) & !(ALIGN as u64 - 1);
        lane.tail().store(head, Ordering::Release);
        Reader { lane, tail: head, head, frame: Box::new([0; MAX_FRAME]), held: None }
    }

    /// The next frame and when it was sent. It stays until [`Reader::pop`].
    #[inline]
    pub(super) fn front(&mut self) -> Result<Option<(&[u8], Picos)>, Torn> {
        if self.held.is_none() && !self.fetch()? {
            return Ok(None);
        }
        Ok(self.held.map(|(len, at, _)| (&self.frame[..len], at)))
    }

    /// Done with the frame that `front` showed.
    #[inline]
    pub(super) fn pop(&mut self) {
        if let Some((_, _, next)) = self.held.take() {
            self.tail = next;
            self.lane.tail().store(next, Ordering::Release);
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_none() && self.lane.head().load(Ordering::Relaxed) == self.tail
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
        if waiting > self.lane.size {
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

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapMut;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const SIZE: usize = 1 << 20;

    fn memory() -> Arc<MmapRaw> {
        Arc::new(MmapMut::map_anon(CONTROL + SIZE).unwrap().into())
    }

    fn lane() -> (Writer, Reader) {
        let map = memory();
        (Writer::new(&map, 0, SIZE), Reader::new(&map, 0, SIZE))
    }

    #[test]
    fn a_full_lane_takes_no_more_until_it_is_read() {
        let (mut writer, mut reader) = lane();
        let frame = [1; 1000];
        let mut count = 0;
        while writer.push(&frame, count).unwrap() {
            count += 1;
        }
        assert_eq!(count, SIZE as u64 / record(1000));
        for at in 0..count {
            assert_eq!(reader.front(), Ok(Some((&frame[..], at))));
            reader.pop();
        }
        assert_eq!(reader.front(), Ok(None));
        assert!(reader.is_empty());
        assert!(writer.push(&frame, 0).unwrap());
    }

    #[test]
    fn a_lane_that_is_emptied_uses_little_of_its_memory() {
        let (mut writer, mut reader) = lane();
        let mut furthest = 0;
        for at in 0..100_000 {
            assert!(writer.push(&[0; 60], at).unwrap());
            furthest = furthest.max(SIZE as u64 - writer.lane.to_end(writer.head));
            assert_eq!(reader.front().unwrap().unwrap().1, at);
            reader.pop();
        }
        assert!(furthest <= HOT + HOT / 4 + 128, "{furthest}");
    }

    #[test]
    fn without_more_memory_a_lane_is_full_sooner_and_goes_on_when_it_is_read() {
        let map: Arc<MmapRaw> = Arc::new(MmapMut::map_anon(CONTROL + 8 * SIZE).unwrap().into());
        let (mut writer, mut reader) = (Writer::new(&map, 0, 8 * SIZE), Reader::new(&map, 0, 8 * SIZE));
        // Nothing can be allocated in a file that is open for reading.
        (writer.backed, writer.file) = (CHUNK, Some((File::open("/dev/null").unwrap(), 0)));
        for _ in 0..100 {
            let mut count = 0;
            // A refused frame is offered again, and only then the lane starts over.
            while writer.push(&[5; 1500], count).unwrap() || writer.push(&[5; 1500], count).unwrap() {
                count += 1;
            }
            assert!(count > 600 && count * record(1500) <= CHUNK, "{count}");
            for at in 0..count {
                assert_eq!(reader.front(), Ok(Some((&[5; 1500][..], at))));
                reader.pop();
            }
        }
    }

    #[test]
    fn a_later_writer_goes_on_and_a_later_reader_starts_afresh() {
        let map = memory();
        let mut writer = Writer::new(&map, 0, SIZE);
        let mut reader = Reader::new(&map, 0, SIZE);
        writer.push(b"first", 1).unwrap();
        let mut writer = Writer::new(&map, 0, SIZE);
        writer.push(b"second", 2).unwrap();
        assert_eq!(reader.front(), Ok(Some((&b"first"[..], 1))));
        reader.pop();
        assert_eq!(reader.front(), Ok(Some((&b"second"[..], 2))));
        let mut later = Reader::new(&map, 0, SIZE);
        assert_eq!(later.front(), Ok(None));
        writer.push(b"third", 3).unwrap();
        assert_eq!(later.front(), Ok(Some((&b"third"[..], 3))));
    }

    #[test]
    fn two_threads_pass_frames_in_order_and_whole() {
        let (mut writer, mut reader) = lane();
        const COUNT: u64 = 200_000;
        let sender = std::thread::spawn(move || {
            for n in 0..COUNT {
                let len = 8 + (n * 7919 % 1500) as usize;
                let mut frame = vec![n as u8; len];
                frame[..8].copy_from_slice(&n.to_le_bytes());
                while !writer.push(&frame, n).unwrap() {
                    std::thread::yield_now();
                }
            }
        });
        for n in 0..COUNT {
            let (frame, at) = loop {
                match reader.front().unwrap() {
                    Some(_) => break reader.front().unwrap().unwrap(),
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!((at, frame.len()), (n, 8 + (n * 7919 % 1500) as usize));
            assert_eq!(frame[..8], n.to_le_bytes());
            assert!(frame[8..].iter().all(|&b| b == n as u8));
            reader.pop();
        }
        sender.join().unwrap();
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(ops in prop::collection::vec((any::<bool>(), 0usize..=MAX_FRAME), 1..400)) {
            let (mut writer, mut reader) = lane();
            let mut model = VecDeque::new();
            for (serial, (push, len)) in ops.into_iter().enumerate() {
                if push {
                    let frame = vec![serial as u8; len];
                    if writer.push(&frame, serial as u64).unwrap() {
                        model.push_back((frame, serial as u64));
                    }
                } else {
                    reader.pop();
                    model.pop_front();
                }
                let wanted = model.front().map(|(frame, at)| (&frame[..], *at));
                prop_assert_eq!(reader.front().unwrap(), wanted);
            }
        }

        #[test]
        fn garbage_tears_the_lane_and_nothing_else(
            words in prop::collection::vec((0usize..64, any::<u64>()), 0..16),
            head in prop_oneof![any::<u64>(), 0u64..100_000, (0u64..6000).prop_map(|n| n * 16)],
            tail in any::<u64>(),
            small in any::<bool>(),
        ) {
            let map = memory();
            let (mut writer, mut reader) = (Writer::new(&map, 0, SIZE), Reader::new(&map, 0, SIZE));
            for n in 0..10 {
                writer.push(&[7; 100], n).unwrap();
            }
            for (at, word) in words {
                let word = if small { word % 20_000 } else { word };
                writer.lane.word(8 * at as u64).store(word, Ordering::Relaxed);
            }
            writer.lane.head().store(head, Ordering::Relaxed);
            writer.lane.tail().store(tail, Ordering::Relaxed);
            // Those who were there, and those who come to it.
            for late in [false, true] {
                if late {
                    (writer, reader) = (Writer::new(&map, 0, SIZE), Reader::new(&map, 0, SIZE));
                    writer.lane.head().store(head.wrapping_add(160), Ordering::Relaxed);
                }
                for _ in 0..100 {
                    match reader.front() {
                        Ok(Some((frame, _))) => prop_assert!(frame.len() <= MAX_FRAME),
                        Ok(None) | Err(Torn) => break,
                    }
                    reader.pop();
                }
                for n in 0..1000 {
                    if writer.push(&[7; 1500], n) == Err(Torn) {
                        break;
                    }
                }
            }
        }
    }
}
