//! A bounded first-in first-out queue of frames in one piece of memory.
//!
//! ```text
//!   bytes    [..... frame 1 | frame 2 | frame 3 ............]
//!                   ^ head                      ^ tail
//!   entries  (start, len, at) of each
//! ```
//!
//! Frames lie in one piece each, so that a reader borrows them; one that would
//! cross the end of the memory starts again at its beginning. An emptied queue
//! starts over too: a queue that is short most of the time stays in the cache.

use super::{MAX_FRAME, Picos};
use std::collections::VecDeque;

/// Frames that wait, each with the time its last bit passed.
#[derive(Debug)]
pub struct FrameQueue {
    bytes: Box<[u8]>,
    tail: usize,
    entries: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    len: usize,
    at: Picos,
}

impl FrameQueue {
    /// A queue with room for `bytes` bytes of frames, and for at least one frame.
    pub fn new(bytes: usize) -> Self {
        FrameQueue { bytes: vec![0; bytes.max(MAX_FRAME)].into(), tail: 0, entries: VecDeque::new() }
    }

    /// Adds a frame; false if there is no room for it.
    #[inline]
    #[must_use]
    pub fn push(&mut self, frame: &[u8], at: Picos) -> bool {
        let Some(start) = self.room(frame.len()) else { return false };
        self.bytes[start..start + frame.len()].copy_from_slice(frame);
        self.entries.push_back(Entry { start, len: frame.len(), at });
        self.tail = start + frame.len();
        true
    }

    /// The oldest frame and its time.
    #[inline]
    pub fn front(&self) -> Option<(&[u8], Picos)> {
        self.entries.front().map(|e| (&self.bytes[e.start..e.start + e.len], e.at))
    }

    /// Forgets the oldest frame.
    #[inline]
    pub fn pop(&mut self) {
        self.entries.pop_front();
    }

    /// Whether frames of `bytes` bytes together fit now, however they are cut.
    pub fn room_for(&self, bytes: usize) -> bool {
        let Some(head) = self.entries.front().map(|e| e.start) else { return bytes <= self.bytes.len() };
        match self.tail > head {
            true => self.bytes.len() - self.tail >= bytes || head >= bytes,
            false => head - self.tail >= bytes,
        }
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where `len` bytes in one piece are free. `tail == head` is a full queue:
    /// an empty one has no entries.
    #[inline]
    fn room(&self, len: usize) -> Option<usize> {
        let Some(head) = self.entries.front().map(|e| e.start) else {
            return (len <= self.bytes.len()).then_some(0);
        };
        if self.tail > head {
            if self.bytes.len() - self.tail >= len {
                return Some(self.tail);
            }
            return (len <= head).then_some(0);
        }
        (head - self.tail >= len).then_some(self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_queue_refuses_and_recovers() {
        let mut queue = FrameQueue::new(MAX_FRAME);
        let frame = [7; 1000];
        let mut held = 0;
        while queue.push(&frame, held) {
            held += 1;
        }
        assert_eq!(held, 16);
        queue.pop();
        queue.pop();
        assert!(queue.push(&frame, held));
        assert_eq!(queue.front(), Some((&frame[..], 2)));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(ops in prop::collection::vec((any::<bool>(), 0usize..5000), 1..300)) {
            let mut queue = FrameQueue::new(MAX_FRAME);
            let mut model = VecDeque::new();
            for (serial, (push, len)) in ops.into_iter().enumerate() {
                if push {
                    let frame = vec![serial as u8; len];
                    if queue.push(&frame, serial as u64) {
                        model.push_back((frame, serial as u64));
                    }
                } else {
                    queue.pop();
                    model.pop_front();
                }
                prop_assert_eq!(queue.front(), model.front().map(|(f, at)| (&f[..], *at)));
                prop_assert_eq!(queue.len(), model.len());
            }
        }
    }
}
