//! Receive queue.
//!
//! ```text
//!   descriptors        the card's                       withheld
//!            +------------------------------------+-----------------+
//!     ... -> | filled | filled | empty | ...      |                 | -> ...
//!            +------------------------------------+-----------------+
//!              ^ next                               ^ given
//!
//!   more     | filled | empty | ...          for frames longer than a buffer
//!
//!   completions  | frame, 2 entries | event | frame: 1 more | goes on | ...
//!                  ^ next
//! ```
//!
//! A frame is reported in two entries, or more if it goes on in other buffers,
//! which come from a second ring. Each names the position of its descriptor, and
//! is believed if that is the one that comes next; all of them must be there
//! before one is taken.
//!
//! A completion of any other descriptor means that the card has lost its place
//! or never had one: nothing is known any more of what it writes to. Then the
//! rings are set up anew, in place ([`Restart`]).

mod anew;

use super::bell::Generation;
use super::cq::Completions;
use super::desc::{self, OPAQUE, VALID, kind, rx};
use super::feed::Feed;
use super::meta::{Clock, Now, Report, decoder};
pub use super::parts::{MAX_RX_RING_WITH_MORE as MAX_RING_WITH_MORE, Restart, RxBells, RxLengths as Lengths, RxParts};
use super::recall::Recall;
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Pool, Span};
use crate::driver::config::MIN_RING;
use crate::driver::queue::Receive;
use crate::driver::ring::store_both;
use crate::driver::slots::{Received, Slots, Stock, TAGS};
use crate::driver::tally::Anomaly;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Refilled slots that are worth a doorbell.
const STEP: u32 = 16;

/// A receive queue.
pub struct RxQueue {
    feed: Feed,
    /// Buffers that frames go on in.
    more: Option<Feed>,
    completions: Completions,
    notifications: Option<Completions>,
    stock: Stock,
    /// Longest frame, with tags.
    longest: u32,
    /// The card stamps every frame.
    clock: Option<Clock>,
    port_counts: bool,
    generation: Generation,
    restart: Restart<RxBells>,
    recall: Arc<Recall>,
    /// It could not be set up again.
    dead: bool,
    /// It is not, and each slot holds a buffer.
    ready: bool,
}

/// What ended a run of plain frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Nothing more is there, or there is no place for more.
    Done,
    /// The end of a ring: it goes on at its start.
    Lap,
    /// Something that is no plain frame, or not all there.
    Odd,
}

/// What is looked at of a completion, and is as expected in that of a whole good
/// frame in one buffer: kind and position; no more buffers, there; no error, not
/// even of a checksum, there.
const LOOKED_AT: [u64; 3] =
    [u64::MAX << OPAQUE | kind::MASK, rx::MORE | VALID, rx::NO_BUFFER | rx::CHECKSUMS | rx::CRC | VALID];

impl RxQueue {
    /// A queue on rings that the card has, empty.
    pub fn new(parts: RxParts) -> Self {
        let bells = parts.bells;
        let feed = Feed::new(parts.descriptors, desc::RECEIVE, bells.receive);
        let more = parts.aggregation.zip(bells.aggregation);
        let more = more.map(|(region, bell)| Feed::new(region, desc::AGGREGATE, bell));
        let caused = 2 * feed.len() + more.as_ref().map_or(0, Feed::len);
        let notifications = parts.notifications.zip(bells.notifications);
        RxQueue {
            completions: Completions::new(parts.completions, caused, bells.completions),
            notifications: notifications.map(|(region, bell)| Completions::new(region, 0, bell)),
            feed,
            more,
            stock: parts.stock,
            longest: parts.max_frame + TAGS,
            clock: parts.clock,
            port_counts: parts.port_counts,
            generation: parts.generation,
            restart: parts.restart,
            recall: parts.recall,
            dead: false,
            ready: false,
        }
    }

    /// Moves frames of one buffer into `batch`.
    ///
    /// The run ends where one of the rings does: up to there one V holds for all
    /// entries, and all that is read and written lies side by side.
    #[inline(always)]
    fn recv_plain<const STAMPED: bool>(
        &mut self,
        batch: &mut Batch<'_>,
        iova: impl Fn(u32) -> Iova,
        now: Now,
    ) -> Ended {
        let pool = batch.pool();
        let had = batch.len();
        let wanted = batch.room().min(self.feed.owned() as usize);
        let records = self.completions.records();
        let first = self.feed.next;
        let (slots, buffers) = self.feed.ring.slots().run(first, records.len());
        let limit = slots.len();
        let fresh = pool.top(wanted.min(limit));
        // All of one length, so that one comparison ends the loop.
        let most = fresh.len();
        let (records, slots, buffers) = (&records[..most], &slots[..most], &buffers[..most]);
        let places = &mut batch.entries_mut()[had..][..most];
        let longest = self.longest.min(BUFFER_SIZE as u32);
        let valid = self.completions.valid(self.completions.next);
        let mut expected = u64::from(first) << OPAQUE | kind::RECEIVED;
        // From there to the descriptor of the same slot one round later.
        let rearm = (u64::from(self.feed.len()) << OPAQUE | self.feed.kind).wrapping_sub(kind::RECEIVED);
        let mut n = 0;

        while n < most {
            let [low, high] = &records[n];
            let b = low[1].load(Ordering::Acquire); // <-- acquire: the rest of it, and the frame, is now seen
            let d = high[1].load(Ordering::Acquire);
            let a = low[0].load(Ordering::Relaxed);
            let what = a & LOOKED_AT[0];
            let len = u32::from((a >> 16) as u16);
            if b & LOOKED_AT[1] != valid
                || d & LOOKED_AT[2] != valid
                || what != expected
                || len.wrapping_sub(1) >= longest
            {
                break;
            }
            let c = high[0].load(Ordering::Relaxed);
            let words = if STAMPED { Report([a, b, c, d]).stamped(now) } else { Report::right(a, b, c) };
            let fresh = fresh[most - 1 - n].get();
            places[n] = Entry { words, buffer: buffers[n].replace(fresh), span: Span::new(0, len as u16, false) };
            store_both(&slots[n], what.wrapping_add(rearm), iova(fresh));
            expected = expected.wrapping_add(1 << OPAQUE);
            n += 1;
        }
        self.feed.next = first.wrapping_add(n as u32);
        self.completions.take(2 * n as u32);
        pool.took(n);
        batch.filled(had + n, decoder(STAMPED));
        // Something is there that ended the loop, or is astride the end of its ring.
        let odd = n < most && self.completions.peek(0).is_some();
        match (odd, n == limit && wanted > limit) {
            (true, _) => Ended::Odd,
            (false, true) if self.completions.lap() == 1 => Ended::Odd,
            (false, true) => Ended::Lap,
            (false, false) => Ended::Done,
        }
    }

    /// As [`RxQueue::recv_plain`], of a card that stamps every frame.
    #[inline(never)]
    fn recv_stamped(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova) -> Ended {
        // Reading the time is not free, and most often nothing is there.
        if self.completions.peek(0).is_none() {
            return Ended::Done;
        }
        let now = self.clock.as_ref().map(Clock::now).unwrap_or_default();
        let ended = self.recv_plain::<true>(batch, iova, now);
        // The clocks part slowly; the newest stamp brings them together again.
        let newest = batch.entries().last().map_or(0, |entry| entry.words[1]);
        if let Some(clock) = self.clock.as_ref().filter(|_| now.is_behind(newest)) {
            clock.told(newest);
        }
        ended
    }

    /// Deals with the frame whose completion begins with `low` and `high`.
    fn frame(&mut self, low: [u64; 2], high: [u64; 2], batch: &mut Batch<'_>) -> Received {
        let pool = batch.pool();
        if low[0] >> OPAQUE != u64::from(self.feed.next) || self.feed.owned() == 0 {
            return self.lost(Anomaly::BadIndex, pool);
        }
        let count = (low[1] & rx::MORE) as u32 >> rx::MORE_SHIFT;
        if count > self.more.as_ref().map_or(0, Feed::owned) {
            return self.lost(Anomaly::BadChain, pool);
        }
        let mut left = Parts { next: self.more.as_ref().map_or(0, |more| more.next), lengths: [0; MOST_PARTS] };
        left.lengths[0] = u32::from((low[0] >> 16) as u16);
        for n in 0..count {
            let Some([first, _]) = self.completions.peek(2 + n) else { return self.half(pool) };
            if first & kind::MASK != kind::GOES_ON {
                return self.lost(Anomaly::BadChain, pool);
            }
            if first >> OPAQUE != u64::from(left.next.wrapping_add(n)) {
                return self.lost(Anomaly::BadIndex, pool);
            }
            left.lengths[1 + n as usize] = u32::from((first >> 16) as u16);
        }
        let lengths = &left.lengths[..=count as usize];
        let broken = high[1] & (rx::NO_BUFFER | rx::CRC) != 0;
        if broken || !self.fits(lengths) {
            match (broken, high[1] & rx::NO_BUFFER != 0) {
                // The wire's doing, and in the port's counters already.
                (true, false) if self.port_counts => {}
                (true, _) => self.stock.count(Anomaly::FrameError),
                (false, _) => self.stock.count(Anomaly::BadLength),
            }
            self.completions.take(2 + count);
            self.feed.skip(pool);
            (0..count).for_each(|_| self.more.iter_mut().for_each(|more| more.skip(pool)));
            // Its firmware has stopped the ring.
            if high[1] & rx::NO_BUFFER != 0 && self.generation == Generation::P4 {
                self.reset(pool);
            }
            return Received::Gone;
        }
        if !self.has_place(batch, 1 + count) {
            return Received::Waits;
        }
        self.completions.take(2 + count);
        self.take_frame(Report([low[0], low[1], high[0], high[1]]), lengths, batch);
        Received::Gone
    }

    /// Whether a frame may be of parts of such lengths: nothing is empty, what
    /// follows the first is full but for the last, and all of it is no longer
    /// than a frame can be.
    fn fits(&self, lengths: &[u32]) -> bool {
        const FULL: u32 = BUFFER_SIZE as u32;
        let last = lengths.len() - 1;
        let fits = |(n, &len): (usize, &u32)| (1..=FULL).contains(&len) && (n == 0 || n == last || len == FULL);
        lengths.iter().enumerate().all(fits) && lengths.iter().sum::<u32>() <= self.longest
    }

    /// Moves the oldest frame, in parts of `lengths`, into `batch`.
    fn take_frame(&mut self, report: Report, lengths: &[u32], batch: &mut Batch<'_>) {
        let pool = batch.pool();
        let words = match &self.clock {
            Some(clock) => report.stamped(clock.now()),
            None => report.raw(),
        };
        let first = batch.len();
        let last = lengths.len() - 1;
        for (n, &len) in lengths.iter().enumerate() {
            let feed = if n == 0 { Some(&mut self.feed) } else { self.more.as_mut() };
            let Some(feed) = feed else { break };
            let span = Span::new(0, len as u16, n < last);
            batch.entries_mut()[first + n] = Entry { words, buffer: feed.replace(pool), span };
        }
        batch.filled(first + lengths.len(), decoder(self.clock.is_some()));
    }

    /// A record is there in part. The rest may be on its way; if it stays away,
    /// the card has lost it.
    fn half(&mut self, pool: &Pool) -> Received {
        if self.completions.overdue() {
            return self.lost(Anomaly::BadChain, pool);
        }
        Received::Waits
    }

    /// The card is not where we are.
    fn lost(&mut self, wrong: Anomaly, pool: &Pool) -> Received {
        self.stock.count(wrong);
        self.reset(pool);
        Received::Waits
    }

    /// As after so many frames and completions, without a buffer.
    #[cfg(test)]
    pub fn begin_at(&mut self, position: u32) {
        for feed in std::iter::once(&mut self.feed).chain(&mut self.more) {
            (feed.next, feed.given) = (position, position);
        }
        self.completions.begin_at(position);
    }

    /// Receives from a queue that is not ready: it is dead, or slots have no buffer.
    #[cold]
    #[inline(never)]
    fn recv_unready(&mut self, batch: &mut Batch<'_>) -> usize {
        if self.dead { 0 } else { self.recv_unfilled(batch) }
    }

    /// Tells the card of refilled slots, if there are enough of them.
    #[inline(always)]
    fn give(&mut self) {
        if self.feed.due() >= STEP && !self.dead {
            self.offer();
        }
    }
}

/// Most buffers of a frame: the first, and as many more as a record can name.
const MOST_PARTS: usize = 32;

/// A frame that is being looked at.
struct Parts {
    /// Position of the second part's descriptor.
    next: u32,
    lengths: [u32; MOST_PARTS],
}

impl Receive for RxQueue {
    #[inline]
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        if !self.recall.lets(batch.pool()) && !self.called(batch.pool()) {
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
        self.feed.len() + self.more.as_ref().map_or(0, Feed::len)
    }

    fn armed(&self) -> u32 {
        self.feed.armed + self.more.as_ref().map_or(0, |more| more.armed)
    }

    /// Both rings in proportion, if the pool is too small for them.
    fn arm(&mut self, buffer: u32, pool: &Pool) {
        let Feed { armed, .. } = self.feed;
        let (len, full) = (self.feed.len(), self.feed.full());
        let behind = |more: &&mut Feed| full || !more.full() && more.armed * len < armed * more.len();
        let feed = self.more.as_mut().filter(behind).unwrap_or(&mut self.feed);
        feed.arm(buffer, pool.iova(buffer));
        self.ready = self.armed() == self.slots() && !self.dead;
    }

    fn pass(&mut self) -> u32 {
        self.ready = false;
        self.recall.close();
        let rest = self.more.as_mut().filter(|more| more.armed > 0);
        rest.unwrap_or(&mut self.feed).pass()
    }

    /// First the completions, so that there are some for what is given; then the
    /// buffers that frames go on in, so that none begins that cannot.
    fn offer(&mut self) {
        if self.dead {
            return;
        }
        self.completions.give_back();
        if let Some(more) = &mut self.more {
            more.offer();
        }
        self.feed.offer();
    }

    #[inline(always)]
    fn recv_from(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let before = batch.len();
        // A card that reports without end is left alone after one round.
        for _ in 0..self.completions.len() {
            let ended = match &self.clock {
                None => self.recv_plain::<false>(batch, iova, Now::default()),
                Some(_) => self.recv_stamped(batch, iova),
            };
            let odd = ended == Ended::Odd || ended == Ended::Done && self.feed.owned() == 0;
            if ended == Ended::Done && !odd || odd && self.recv_odd(batch) == Received::Waits {
                break;
            }
        }
        self.give();
        batch.len() - before
    }

    /// Deals with a record that is not of a plain frame, if it is there.
    #[cold]
    #[inline(never)]
    fn recv_odd(&mut self, batch: &mut Batch<'_>) -> Received {
        let Some(low) = self.completions.peek(0).filter(|_| !self.dead) else { return Received::Waits };
        match low[0] & kind::MASK {
            kind::RECEIVED => match self.completions.peek(1) {
                Some(high) => self.frame(low, high, batch),
                None => self.half(batch.pool()),
            },
            // Of no descriptor: nobody here asked for it.
            kind::STATISTICS | kind::COMMAND_DONE | kind::FORWARDED | kind::ANSWERED | kind::EVENT => {
                self.completions.take(1);
                self.completions.give_back();
                Received::Gone
            }
            kind::GOES_ON => self.lost(Anomaly::BadChain, batch.pool()),
            _ => self.lost(Anomaly::BadIndex, batch.pool()),
        }
    }

    fn listen(&mut self) -> bool {
        // Rings whose numbers were given back may be another queue's by now.
        if self.dead {
            return false;
        }
        if let Some(queue) = &mut self.notifications {
            queue.drain();
            let there = self.completions.arm();
            queue.arm();
            return there;
        }
        self.completions.arm()
    }

    fn silence(&mut self) {
        if self.dead {
            return;
        }
        match &mut self.notifications {
            Some(queue) => {
                queue.drain();
                queue.silence();
            }
            None => self.completions.silence(),
        }
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxQueue({:?}, {:?})", self.feed, self.completions)
    }
}

const _: () = assert!(MIN_RING as u32 > 2 * STEP, "a card must own most of its ring");
