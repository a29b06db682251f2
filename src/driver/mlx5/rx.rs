//! Receive queue.
//!
//! ```text
//!   work queue            the card's
//!            +------------------------------------+
//!     ... -> | filled | filled | empty | ...      | -> ...
//!            +------------------------------------+
//!              ^ next                               ^ given
//!
//!   completions  | frame | frame | error | title | minis | - | - | frame | ...
//!                  ^ next
//! ```
//!
//! Each entry of the work queue takes one frame, in one buffer or over several, and each
//! is reported by one completion, which counts entries: it is believed if it names the
//! one that comes next. Several that differ in little may be reported in short
//! (`mini`).
//!
//! A frame that is longer than its buffers uses its entry up, and the queue goes on.
//! Other errors stop it, and a completion of any other entry means that the card has lost
//! its place: then the queue is set up anew, in place ([`Restart`]).

use super::clock::Clock;
use super::cq::Completions;
use super::cqe::{Fault, Syndrome, Tail, Words, opcode, upper, word};
use super::feed::{Feed, Segment};
use super::meta::{Report, decoder};
use super::mini::Session;
use super::parts::{Restart, RxParts};
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Pool, Span};
use crate::driver::config::MIN_RING;
use crate::driver::queue::Receive;
use crate::driver::slots::{Received, Slots, Stock, TAGS};
use crate::driver::tally::Anomaly;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::Ordering;

/// Refilled entries that are worth telling the card of.
const STEP: u32 = 16;

/// A receive queue.
pub struct RxQueue {
    pub(super) feed: Feed,
    pub(super) completions: Completions,
    stock: Stock,
    /// Longest frame, with tags.
    pub(super) longest: u32,
    /// Frames have the time that the card stamps on them.
    clock: Option<Clock>,
    /// The card may report several frames in short.
    compressed: bool,
    /// It is doing so, and this is where we are in it.
    pub(super) session: Option<Session>,
    fault: Fault,
    restart: Box<dyn Restart>,
    /// It could not be set up again.
    dead: bool,
    /// It is not, and each entry has its buffers.
    ready: bool,
}

/// Places of frames of one buffer.
pub(super) struct Run<'a> {
    segments: &'a [Segment],
    buffers: &'a [Cell<u32>],
    /// Free buffers, which take the places of those that were filled.
    pub(super) fresh: &'a [Cell<u32>],
    places: &'a mut [Entry],
    /// How many lie side by side.
    pub(super) limit: usize,
    /// Segments of each are `1 << shift`.
    shift: u32,
}

impl Run<'_> {
    /// Takes frame `n`, and gives its entry a fresh buffer.
    #[inline(always)]
    pub(super) fn put(&mut self, n: usize, words: [u64; 2], len: u32, iova: impl Fn(u32) -> Iova) {
        let fresh = self.fresh[self.fresh.len() - 1 - n].get();
        let slot = n << self.shift;
        let buffer = self.buffers[slot].replace(fresh);
        self.places[n] = Entry { words, buffer, span: Span::new(0, len as u16, false) };
        // Length and key are those of every buffer.
        self.segments[slot][1].store(iova(fresh).to_be(), Ordering::Relaxed);
    }
}

/// What ended a run of plain frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing more is there, or there is no place for more.
    Done,
    /// The end of a ring: it goes on at its start.
    Lap,
    /// Something that is no plain frame.
    Odd,
}

impl RxQueue {
    /// A queue on memory that the card has been told of.
    pub fn new(parts: RxParts) -> Self {
        let longest = parts.max_frame + TAGS;
        RxQueue {
            feed: Feed::new(parts.wqes, parts.segments, longest, parts.record, parts.lkey),
            completions: Completions::new(parts.completions, parts.bell),
            stock: parts.stock,
            longest: longest.min(parts.segments * BUFFER_SIZE as u32),
            compressed: parts.compressed && parts.clock.is_none(),
            clock: parts.clock,
            session: None,
            fault: parts.fault,
            restart: parts.restart,
            dead: false,
            ready: false,
        }
    }

    /// The places of frames to come, `wanted` at most: as far as what is read and written of
    /// them lies side by side, and there are buffers for them.
    #[inline(always)]
    pub(super) fn run<'a>(&'a self, batch: &'a mut Batch<'_>, wanted: usize, shift: u32) -> Run<'a> {
        let (pool, had) = (batch.pool(), batch.len());
        let (segments, buffers) = self.feed.ring.slots().run(self.feed.next << shift, wanted << shift);
        let limit = segments.len() >> shift;
        let fresh = pool.top(wanted.min(limit));
        // All of one length, so that one comparison ends the loop.
        let most = fresh.len();
        let (segments, buffers) = (&segments[..most << shift], &buffers[..most << shift]);
        Run { segments, buffers, fresh, places: &mut batch.entries_mut()[had..][..most], limit, shift }
    }

    /// Of a run, `n` frames have come.
    #[inline(always)]
    pub(super) fn ran(&mut self, batch: &mut Batch<'_>, n: usize, stamped: bool) {
        self.feed.next = self.feed.next.wrapping_add(n as u32);
        batch.pool().took(n);
        batch.filled(batch.len() + n, decoder(stamped));
    }

    /// Most bytes of a frame in one buffer.
    #[inline(always)]
    pub(super) fn longest_plain(&self) -> u32 {
        self.longest.min(BUFFER_SIZE as u32)
    }

    /// Moves frames of one buffer into `batch`.
    ///
    /// The run ends where one of the rings does: up to there one owner bit holds for all
    /// completions.
    #[inline(always)]
    fn recv_plain<const STAMPED: bool, const LISTS: bool>(
        &mut self,
        batch: &mut Batch<'_>,
        iova: impl Fn(u32) -> Iova,
        clock: Clock,
    ) -> Ended {
        let wanted = batch.room().min(self.feed.owned() as usize);
        let entries = self.completions.entries();
        let mut run = self.run(batch, wanted.min(entries.len()), if LISTS { self.feed.shift } else { 0 });
        let (most, limit) = (run.fresh.len(), run.limit);
        let entries = &entries[..most];
        let longest = self.longest_plain();
        // The counter in it comes round by itself.
        let owner = self.completions.owner(self.completions.next);
        let mut expected = Tail::expected(self.feed.next, opcode::RECEIVED, owner);
        let mut n = 0;

        while n < most {
            let entry = &entries[n];
            let last = entry[word::TAIL].load(Ordering::Acquire); // <-- acquire: the rest of it, and the frame, is now seen
            let len = upper(entry[word::BYTES].load(Ordering::Relaxed));
            if Tail::of(last).0 & Tail::LOOKED_AT != expected || len.wrapping_sub(1) >= longest {
                break;
            }
            let report = Report::of(entry, last);
            run.put(n, if STAMPED { report.stamped(entry, clock) } else { report.0 }, len, &iova);
            expected = expected.wrapping_add(1 << 16);
            n += 1;
        }
        self.completions.take(n as u32);
        self.ran(batch, n, STAMPED);
        if n < most {
            // Something may be there that ended the loop.
            return if self.completions.peek().is_some() { Ended::Odd } else { Ended::Done };
        }
        if n == limit && wanted > limit { Ended::Lap } else { Ended::Done }
    }

    /// As [`RxQueue::recv_plain`], of a queue with stamps or with scatter lists, or that may
    /// be told of frames in short.
    #[inline(never)]
    fn recv_other(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova) -> Ended {
        if self.compressed
            && self.session.is_none()
            && let Some(tail) = self.completions.peek().filter(|tail| tail.is_title())
        {
            self.begin_session(tail, batch.pool());
        }
        match (self.session.is_some(), self.clock, self.feed.shift) {
            (true, _, 0) => self.recv_minis::<false>(batch, iova),
            (true, _, _) => self.recv_minis::<true>(batch, iova),
            (_, None, 0) => self.recv_plain::<false, false>(batch, iova, Clock::RealTime),
            (_, None, _) => self.recv_plain::<false, true>(batch, iova, Clock::RealTime),
            (_, Some(clock), 0) => self.recv_plain::<true, false>(batch, iova, clock),
            (_, Some(clock), _) => self.recv_plain::<true, true>(batch, iova, clock),
        }
    }

    /// Deals with the frame that the next completion, which is good, reports.
    fn frame(&mut self, tail: Tail, batch: &mut Batch<'_>) -> Received {
        let pool = batch.pool();
        if tail.counter() != self.feed.next as u16 || self.feed.owned() == 0 {
            return self.lost(Anomaly::BadIndex, pool);
        }
        let entry = self.completions.at(0);
        let len = upper(entry[word::BYTES].load(Ordering::Relaxed));
        let report = Report::of(entry, entry[word::TAIL].load(Ordering::Relaxed));
        let words = self.clock.map_or(report.0, |clock| report.stamped(entry, clock));
        let received = self.take_frame(words, len, batch);
        if received == Received::Gone {
            self.completions.take(1);
        }
        received
    }

    /// Moves the oldest frame, of `len` bytes as the card says, into `batch`.
    pub(super) fn take_frame(&mut self, words: [u64; 2], len: u32, batch: &mut Batch<'_>) -> Received {
        let pool = batch.pool();
        if len.wrapping_sub(1) >= self.longest {
            self.stock.count(Anomaly::BadLength);
            self.feed.skip(pool);
            return Received::Gone;
        }
        let parts = len.div_ceil(BUFFER_SIZE as u32);
        if !self.has_place(batch, parts) {
            return Received::Waits;
        }
        let first = batch.len();
        let places = batch.entries_mut();
        self.feed.pass(pool, parts, |n, buffer| {
            let left = len - n * BUFFER_SIZE as u32;
            let span = Span::new(0, left.min(BUFFER_SIZE as u32) as u16, n + 1 < parts);
            places[first + n as usize] = Entry { words, buffer, span };
        });
        batch.filled(first + parts as usize, decoder(self.clock.is_some()));
        Received::Gone
    }

    /// Deals with an error that the next completion reports.
    fn error(&mut self, tail: Tail, pool: &Pool) -> Received {
        let syndrome = Syndrome::of(self.completions.at(0));
        if tail.counter() != self.feed.next as u16 || self.feed.owned() == 0 {
            return self.lost(Anomaly::BadIndex, pool);
        }
        if syndrome.code == Syndrome::LENGTH {
            self.fault.too_long();
        } else {
            self.stock.count(Anomaly::FrameError);
            self.fault.tell(syndrome);
        }
        if syndrome.stops() {
            self.reset(pool);
            return Received::Waits;
        }
        self.completions.take(1);
        self.feed.skip(pool);
        Received::Gone
    }

    /// The card is not where we are.
    pub(super) fn lost(&mut self, wrong: Anomaly, pool: &Pool) -> Received {
        self.stock.count(wrong);
        self.reset(pool);
        Received::Waits
    }

    /// Sets the queue up anew: nothing is known of the buffers that the card has, but
    /// that they are ours again once it has stopped. This takes milliseconds, and does not
    /// happen with a card that works.
    #[cold]
    #[inline(never)]
    fn reset(&mut self, pool: &Pool) {
        self.stock.count(Anomaly::QueueReset);
        self.session = None;
        match self.stop_and_start() {
            Ok(()) => self.refill(pool),
            // What starts it has told control, which says why at the next question.
            Err(_) => {
                (self.dead, self.ready) = (true, false);
                self.feed.given = self.feed.next;
            }
        }
    }

    fn stop_and_start(&mut self) -> crate::error::Result<()> {
        let Self { feed, completions, restart, compressed, .. } = self;
        let newest = feed.given.wrapping_sub(1) as u16;
        let mut all = feed.owned() == 0;
        let mut flushed = || {
            let before = completions.next;
            // A card that reports without end is left alone after one round.
            while let Some(tail) = completions.peek()
                && completions.next.wrapping_sub(before) < completions.len()
            {
                all |= tail.opcode() == opcode::RECEIVE_ERROR && tail.counter() == newest;
                let count =
                    if tail.is_title() { upper(completions.at(0)[word::BYTES].load(Ordering::Relaxed)) } else { 1 };
                completions.take_unwritten(count.clamp(1, completions.len()));
            }
            all
        };
        restart.stop(&mut flushed)?;
        flushed();
        if !*compressed && completions.is_lapped(feed.next, feed.owned()) {
            completions.pass_lap();
        }
        // Entries are counted from 0 again: what is left must not be taken for one to come.
        completions.forget();
        completions.give_back();
        feed.clear();
        restart.start()
    }

    /// Begins anew with the buffers that it has.
    fn refill(&mut self, pool: &Pool) {
        let buffers: Vec<u32> = (0..self.armed()).map(|_| self.pass()).collect();
        self.feed.restart();
        // The oldest first, as they were.
        for buffer in buffers.into_iter().rev() {
            self.arm(buffer, pool);
        }
        self.offer();
    }

    /// As after so many frames, without a buffer.
    #[cfg(test)]
    pub fn begin_at(&mut self, frames: u32, completions: u32) {
        (self.feed.next, self.feed.given) = (frames, frames);
        self.completions.begin_at(completions);
    }

    /// Receives from a queue that is not ready: it is dead, or entries have no buffer.
    #[cold]
    #[inline(never)]
    fn recv_unready(&mut self, batch: &mut Batch<'_>) -> usize {
        if self.dead { 0 } else { self.recv_unfilled(batch) }
    }

    /// Tells the card of refilled entries, if there are enough of them.
    #[inline(always)]
    fn give(&mut self) {
        if self.feed.due() >= STEP {
            self.offer();
        }
    }
}

impl Receive for RxQueue {
    #[inline]
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        if !self.stock.is(batch.pool()) || !self.ready {
            return self.recv_unready(batch);
        }
        self.recv_full(batch)
    }
}

impl Slots for RxQueue {
    fn stock(&self) -> &Stock {
        &self.stock
    }

    fn slots(&self) -> u32 {
        self.feed.buffers()
    }

    fn armed(&self) -> u32 {
        self.feed.armed
    }

    fn arm(&mut self, buffer: u32, pool: &Pool) {
        self.feed.arm(buffer, pool.iova(buffer));
        self.ready = self.feed.full() && !self.dead;
    }

    /// The newest first: an entry that has been filled is passed as a whole
    /// ([`Feed::pass`]), and this is for buffers that the card does not have.
    fn pass(&mut self) -> u32 {
        self.ready = false;
        self.feed.disarm()
    }

    /// First the completions, so that there are some for what is posted: not while they
    /// are in use for frames in short, of which some were taken already.
    fn offer(&mut self) {
        if self.dead || self.session.is_some() {
            return;
        }
        self.completions.give_back();
        self.feed.offer();
    }

    #[inline(always)]
    fn recv_from(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let before = batch.len();
        let plain = self.clock.is_none() && self.feed.shift == 0 && !self.compressed;
        // A card that reports without end is left alone after one round; a title is a step
        // of its own.
        for _ in 0..2 * self.completions.len() {
            let ended = if plain {
                self.recv_plain::<false, false>(batch, iova, Clock::RealTime)
            } else {
                self.recv_other(batch, iova)
            };
            let odd = ended == Ended::Odd || ended == Ended::Done && self.feed.owned() == 0;
            if ended == Ended::Done && !odd || odd && self.recv_odd(batch) == Received::Waits {
                break;
            }
        }
        self.give();
        if batch.len() == before && !self.compressed && self.completions.is_lapped(self.feed.next, self.feed.owned()) {
            self.lost(Anomaly::BadIndex, batch.pool());
        }
        batch.len() - before
    }

    /// Deals with a completion that is not of a plain frame, if it is there.
    #[cold]
    #[inline(never)]
    fn recv_odd(&mut self, batch: &mut Batch<'_>) -> Received {
        if self.session.is_some() {
            return self.recv_odd_mini(batch);
        }
        let Some(tail) = self.completions.peek().filter(|_| !self.dead) else { return Received::Waits };
        match (tail.opcode(), tail.format()) {
            (opcode::RECEIVED, 0) => self.frame(tail, batch),
            _ if self.compressed && tail.is_title() => self.begin_session(tail, batch.pool()),
            (opcode::SEND_ERROR | opcode::RECEIVE_ERROR, _) => self.error(tail, batch.pool()),
            // Nobody asked for it, so what follows it cannot be told from what does not.
            _ => self.lost(Anomaly::BadIndex, batch.pool()),
        }
    }

    fn listen(&mut self) -> bool {
        !self.dead && self.completions.arm()
    }

    fn silence(&mut self) {
        self.completions.fired();
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxQueue({:?}, {:?})", self.feed, self.completions)
    }
}

/// What is read of a completion lies in one line of the cache.
const _: () = assert!(size_of::<Words>() == 64);

const _: () = assert!(MIN_RING as u32 > 2 * STEP, "a card must own most of its ring");
