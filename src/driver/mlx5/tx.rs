//! Transmit queue.
//!
//! ```text
//!   work queue   | frame | frame | 2 frames, 5 buffers | 12 plain frames, REPORT | free | ...
//!                  ^ clean                                                         ^ next
//!   buffers      | a | b | c | d | e | f | g | h | i | ...                       | free | ...
//!                  ^ clean                                                         ^ next
//!   completions  | done up to an entry | ...
//!                  ^ next
//! ```
//!
//! A plain frame is an entry of one basic block. Where the card and its port allow it, a
//! run of them is one entry: 16 bytes a frame for the card to fetch, and not 64. Anything
//! else is an entry of its own, with what the card wants to find in it, or cannot do.
//!
//! Of the entries that are announced together the last asks for a report, which names it
//! and stands for all before. It is believed if it names one that asked.

use super::clock::Clock;
use super::cq::Completions;
use super::cqe::{Fault, Syndrome, Tail, opcode, word};
use super::parts::{Inline, Restart, TxParts};
use super::plan::{MOST_PARTS, PAD, Plan, Wants};
use super::sq::WorkQueue;
use super::wqe::{self, BEFORE_DATA, HEAD, MOST_SEGMENTS, SEGMENTS};
use crate::dma::{BUFFER_SIZE, Batch, Iova, Pool, Timestamp};
use crate::driver::pending::{INNER, NO_BUFFER, Pending};
use crate::driver::queue::Transmit;
use crate::driver::ring::{Buffers, store_both};
use crate::driver::sends::{OddFrame, Sendable, Sends, Sent};
use crate::driver::tally::Anomaly;
use crate::error::Result;
use crate::pci::Function;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most frames of one entry.
const MOST_FRAMES: usize = MOST_SEGMENTS as usize - 2;

/// A transmit queue.
pub struct TxQueue {
    pending: Pending<Buffers>,
    work: WorkQueue,
    completions: Completions,
    card: Wants,
    /// It takes several frames in one entry.
    multi: bool,
    sendable: Sendable,
    clock: Option<Clock>,
    /// Where the frame ends that was stamped last, and when it left.
    stamp: Option<(u32, Timestamp)>,
    /// Entries of frames laid ready, but for their positions.
    ready: Vec<Box<[u64]>>,
    fault: Fault,
    restart: Box<dyn Restart>,
    /// It could not be set up again.
    dead: bool,
}

impl TxQueue {
    /// A queue on memory that `card` has been told of.
    pub fn new(card: &Arc<dyn Function>, parts: TxParts) -> Self {
        let work = WorkQueue::new(parts.wqes, parts.send, parts.sqn);
        TxQueue {
            pending: Pending::new(Buffers::new(work.len()), card),
            work,
            completions: Completions::new(parts.completions, parts.bell),
            card: Wants { lkey: parts.lkey, inline: parts.inline, tags: parts.tags && parts.inline == Inline::Nothing },
            multi: parts.multi && parts.inline == Inline::Nothing,
            sendable: Sendable { min: 1, max: parts.max_frame, parts: MOST_PARTS, pads: false },
            clock: parts.clock,
            stamp: None,
            ready: Vec::new(),
            fault: parts.fault,
            restart: parts.restart,
            dead: false,
        }
    }

    /// Writes plain frames from entry `from` of `batch` on, an entry each; how many.
    #[inline(always)]
    fn send_each<const HEADS: bool>(&mut self, batch: &Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        let blocks = self.work.blocks();
        let most = (batch.len() - from).min(blocks.len());
        let (shadows, _) = self.pending.ring.runs(self.pending.next, most as u32);
        let shadows = &shadows[..shadows.len().min(self.shadows_free())];
        let position = self.work.next;
        let key = wqe::key(wqe::opcode::SEND, self.work.number, if HEADS { 4 } else { 3 });
        let (longest, lkey) = (self.sendable.max.clamp(PAD, BUFFER_SIZE as u32), self.card.lkey);
        let mut n = 0;
        for ((block, shadow), (entry, head)) in blocks.iter().zip(shadows).zip(batch.heads(from)) {
            // Flags and start are above the length: a word in this range has none.
            let length = entry.span.word();
            if length.wrapping_sub(PAD) > longest - PAD {
                break;
            }
            let address = iova(entry.buffer);
            let pairs = block.as_chunks::<2>().0;
            if HEADS {
                if wqe::has_two_tags(head) {
                    break;
                }
                let [a, b, c] = wqe::plain_head(head);
                store_both(&pairs[1], 0, a);
                store_both(&pairs[2], b, c);
                store_both(&pairs[3], wqe::data(length - HEAD as u32, lkey), (address + HEAD as u64).to_be());
            } else {
                store_both(&pairs[1], 0, 0);
                store_both(&pairs[2], wqe::data(length, lkey), address.to_be());
            }
            store_both(&pairs[0], wqe::at(position.wrapping_add(n), key), 0);
            shadow.set(entry.buffer);
            n += 1;
        }
        self.pending.next = self.pending.next.wrapping_add(n);
        if n > 0 {
            self.work.wrote(n, 1);
        }
        n as usize
    }

    /// Writes plain frames from entry `from` of `batch` on as one entry; how many.
    #[inline(always)]
    fn send_several(&mut self, batch: &Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        let words = self.work.blocks().as_flattened();
        let Some((header, data)) = words.split_first_chunk::<BEFORE_DATA>() else { return 0 };
        let (segments, _) = data.as_chunks::<2>();
        let most = (batch.len() - from).min(segments.len()).min(MOST_FRAMES);
        let (shadows, _) = self.pending.ring.runs(self.pending.next, most as u32);
        let shadows = &shadows[..shadows.len().min(self.shadows_free())];
        let entries = &batch.entries()[from..][..shadows.len()];
        let (longest, lkey) = (self.sendable.max.clamp(PAD, BUFFER_SIZE as u32), self.card.lkey);
        let mut n = 0;
        for ((segment, shadow), entry) in segments.iter().zip(shadows).zip(entries) {
            // As in send_each.
            let length = entry.span.word();
            if length.wrapping_sub(PAD) > longest - PAD {
                break;
            }
            segment[0].store(wqe::data(length, lkey), Ordering::Relaxed);
            segment[1].store(iova(entry.buffer).to_be(), Ordering::Relaxed);
            shadow.set(entry.buffer);
            n += 1;
        }
        if n == 0 {
            return 0;
        }
        // One frame is sent as ever: the entry differs in nothing else.
        let opcode = if n == 1 { wqe::opcode::SEND } else { wqe::opcode::SEND_SEVERAL };
        header[0].store(wqe::begin(self.work.next, opcode, self.work.number, 2 + n), Ordering::Relaxed);
        header[1..].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        let blocks = (2 + n).div_ceil(SEGMENTS);
        self.work.wrote(blocks, blocks);
        self.pending.next = self.pending.next.wrapping_add(n);
        n as usize
    }

    /// Buffers that can be noted.
    #[inline(always)]
    fn shadows_free(&self) -> usize {
        (self.work.len() - self.pending.used()) as usize
    }

    /// Takes reports that come as expected; the end of what is sent.
    #[inline(always)]
    fn plain_done(&mut self, mut end: u32) -> u32 {
        let owner = self.completions.owner(self.completions.next);
        let mut n = 0;
        let mut time = 0;
        for entry in self.completions.entries() {
            let Some((counter, buffers)) = self.work.expected() else { break };
            // Acquire: the next owner of the buffer writes to it after the card has read it.
            let tail = Tail::of(entry[word::TAIL].load(Ordering::Acquire));
            if tail.0 & Tail::LOOKED_AT != Tail::expected(u32::from(counter), opcode::SENT, owner) {
                break;
            }
            time = entry[word::TIME].load(Ordering::Relaxed);
            self.work.reported();
            (end, n) = (buffers, n + 1);
        }
        self.completions.take(n);
        if n > 0 && self.clock.is_some() {
            self.stamped(end, time);
        }
        end
    }

    /// Deals with a completion that does not come as expected; the end of what is sent, and
    /// whether the card has stopped.
    #[cold]
    #[inline(never)]
    fn other(&mut self, tail: Tail, end: u32) -> (u32, bool) {
        let time = self.completions.at(0)[word::TIME].load(Ordering::Relaxed);
        match (tail.opcode(), tail.format()) {
            (opcode::SENT, 0) => {
                if let Some(end) = self.work.reported_at(tail.counter()) {
                    self.stamped(end, time);
                    return (end, false);
                }
                self.pending.count(Anomaly::BadIndex);
            }
            // A frame that could not be sent, and the last that the card looks at.
            (opcode::SEND_ERROR | opcode::RECEIVE_ERROR, _) => {
                self.pending.count(Anomaly::FrameError);
                self.fault.tell(Syndrome::of(self.completions.at(0)));
                return (end, true);
            }
            _ => self.pending.count(Anomaly::BadIndex),
        }
        (end, false)
    }

    /// Notes when the frame that ends at `end` left.
    fn stamped(&mut self, end: u32, time: u64) {
        if let Some(clock) = self.clock {
            let time = clock.nanoseconds(u64::from_be(time));
            self.stamp = (time != 0).then_some((end, Timestamp(Duration::from_nanos(time))));
        }
    }

    /// Sets the queue up anew: the card has stopped at a frame. Those behind it are lost.
    /// The buffers are ours again once the card has let go of them.
    #[cold]
    #[inline(never)]
    fn reset(&mut self, pool: &Pool) {
        self.pending.count(Anomaly::QueueReset);
        if self.stop_and_start().is_err() {
            // What starts it has told control, which says why at the next question.
            self.dead = true;
            return;
        }
        self.pending.give_back(pool, self.pending.next);
        self.stamp = None;
    }

    fn stop_and_start(&mut self) -> Result<()> {
        let Self { work, completions, restart, .. } = self;
        let last = work.last();
        let mut all = last.is_none();
        let mut flushed = || {
            let before = completions.next;
            // A card that reports without end is left alone after one round.
            while let Some(tail) = completions.peek()
                && completions.next.wrapping_sub(before) < completions.len()
            {
                all |= last == Some(tail.counter());
                completions.take(1);
            }
            all
        };
        restart.stop(&mut flushed)?;
        flushed();
        completions.give_back();
        work.restart();
        restart.start()
    }

    /// As after so many blocks, buffers and completions.
    #[cfg(test)]
    pub fn begin_at(&mut self, blocks: u32, buffers: u32, completions: u32) {
        self.work.begin_at(blocks);
        self.pending.restart(buffers);
        self.completions.begin_at(completions);
    }
}

impl Transmit for TxQueue {
    #[inline]
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.pending.is(pool) && !self.admits(pool) {
            return 0;
        }
        self.send_or_look(batch)
    }

    #[inline]
    fn reclaim(&mut self, pool: &Pool) -> usize {
        self.pending.check(pool);
        self.take_back(pool, u32::MAX);
        self.pending.frames() as usize
    }
}

impl Sends for TxQueue {
    type Ring = Buffers;

    #[inline(always)]
    fn pending(&self) -> &Pending<Self::Ring> {
        &self.pending
    }

    #[inline(always)]
    fn pending_mut(&mut self) -> &mut Pending<Self::Ring> {
        &mut self.pending
    }

    #[inline(always)]
    fn slots(&self) -> u32 {
        self.work.len()
    }

    #[inline(always)]
    fn free(&self) -> u32 {
        if self.dead { 0 } else { self.work.free().min(self.slots() - self.pending.used()) }
    }

    #[inline(always)]
    fn take_back(&mut self, pool: &Pool, _needed: u32) {
        if self.dead {
            return;
        }
        let mut end = self.pending.clean;
        let mut stopped = false;
        // A card that reports without end is left alone after one round.
        for _ in 0..self.completions.len() {
            end = self.plain_done(end);
            let Some(tail) = self.completions.peek() else { break };
            (end, stopped) = self.other(tail, end);
            if stopped {
                break;
            }
            self.completions.take(1);
        }
        // Before there is room for what is reported next.
        self.completions.give_back();
        self.pending.give_back(pool, end);
        if stopped {
            self.reset(pool);
        }
    }

    #[inline(always)]
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        let mut sent = from;
        while sent < batch.len() && !self.dead {
            let n = match (self.multi, self.card.inline) {
                (true, _) => self.send_several(batch, sent, &iova),
                (_, Inline::Nothing) => self.send_each::<false>(batch, sent, &iova),
                (_, Inline::L2) => self.send_each::<true>(batch, sent, &iova),
                _ => 0,
            };
            if n == 0 {
                break;
            }
            // Where one of the rings ends it goes on at its start.
            sent += n;
        }
        sent - from
    }

    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Sent {
        let frame = match self.odd_frame(batch, from, self.sendable) {
            Ok(frame) => frame,
            Err(refused) => return refused,
        };
        let Some(plan) = Plan::of(batch, from, &frame, self.card) else {
            return self.refuse(batch, from, frame.parts, Anomaly::BadLength);
        };
        let parts = from..from + frame.parts;
        if self.dead || self.shadows_free() < parts.len() {
            return Sent::Waits;
        }
        let blocks = plan.blocks();
        if !self.work.place(blocks) {
            return Sent::Waits;
        }
        let words = self.work.words(blocks);
        plan.write(words, batch, parts.clone(), self.card.lkey);
        let begin = wqe::begin(self.work.next, wqe::opcode::SEND, self.work.number, plan.segments);
        words[0].store(begin, Ordering::Relaxed);
        self.work.wrote(blocks, blocks);
        for i in parts.clone() {
            let inner = if i + 1 < parts.end { INNER } else { 0 };
            self.pending.push(batch.entries()[i].buffer | inner);
        }
        Sent::Done(frame.parts)
    }

    /// Asks for a report of the last entry, and rings.
    #[inline(always)]
    fn announce(&mut self, _first: u32) {
        self.work.announce(self.pending.next);
    }

    fn layable(&self) -> Option<RangeInclusive<usize>> {
        Some(self.sendable.min as usize..=BUFFER_SIZE.min(self.sendable.max as usize))
    }

    fn lay(&mut self, batch: &Batch<'_>, i: usize) {
        let total = batch.frame(i).len() as u32;
        let frame = OddFrame { parts: 1, total, tag: 0, offload: None };
        let plan = Plan::of(batch, i, &frame, self.card).expect("without offload, nothing is refused");
        let words: Vec<AtomicU64> = (0..8 * plan.blocks()).map(|_| AtomicU64::new(0)).collect();
        plan.write(&words, batch, i..i + 1, self.card.lkey);
        let begin = wqe::begin(0, wqe::opcode::SEND, self.work.number, plan.segments);
        words[0].store(begin, Ordering::Relaxed);
        self.ready.push(words.into_iter().map(AtomicU64::into_inner).collect());
    }

    #[inline]
    fn launch(&mut self, n: usize) -> bool {
        let Some(words) = self.ready.get(n) else { return false };
        let blocks = (words.len() / 8) as u32;
        if self.dead || self.pending.used() == self.work.len() || !self.work.place(blocks) {
            return false;
        }
        let slots = self.work.words(blocks);
        for (slot, &word) in slots.iter().zip(words).skip(1) {
            slot.store(word, Ordering::Relaxed);
        }
        slots[0].store(wqe::moved(words[0], self.work.next), Ordering::Relaxed);
        self.work.wrote(blocks, blocks);
        self.pending.push(NO_BUFFER);
        self.work.announce(self.pending.next);
        true
    }

    fn last_sent(&self) -> Option<Timestamp> {
        let (end, time) = self.stamp?;
        (end == self.pending.clean).then_some(time)
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxQueue({:?}, next {}, clean {})", self.work, self.pending.next, self.pending.clean)
    }
}
