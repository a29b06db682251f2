//! Receive queue.
//!
//! ```text
//!   descriptors        the card's                       withheld
//!            +------------------------------------+-----------------+
//!     ... -> | filled | filled | empty | ...      |  8 to 15 slots  | -> ...
//!            +------------------------------------+-----------------+
//!              ^ next                               ^ given = RX_DESC_UPD
//!
//!   events   | frame | time | frame | ones | ...
//!              ^ next
//! ```
//!
//! A descriptor is one word that the card only reads; what became of its buffer
//! stands in an event, in order, which names the lowest four bits of the next
//! descriptor. As with the cards that write descriptors back, every slot holds
//! a buffer at all times: a received frame's is replaced at the same moment, one
//! round later. A ring on the card has at least 512 slots; a shorter one that was
//! asked for is a window that moves over them.
//!
//! The card reads descriptors by eights, so it is told of multiples of eight,
//! and never of the last eight: a full ring would look like an empty one.

use super::desc::{self, PREFIX};
use super::ev::{EMPTY, Event, EventQueue, code, mcdi};
use super::hw::Hw;
use super::meta::{Format, cooked};
use super::setup::Queue;
use super::time::Sync;
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Pool, Span};
use crate::driver::Anomalies;
use crate::driver::irq::Interrupt;
use crate::driver::ring::{Buffers, Ring};
use crate::driver::supply::Supply;
use crate::driver::tally::{Anomaly, Tally};
use crate::error::{Error, Kind, Result};
use crate::pci::Doorbell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Refilled slots that are worth a doorbell: a multiple of eight.
const STEP: u32 = 16;

/// Descriptors that the card reads at a time.
const GROUP: u32 = 8;

/// Bytes that may come on top of the longest frame: two VLAN tags.
const TAGS: u32 = 8;

/// Bytes of a VLAN tag.
const TAG: u32 = 4;

/// What is zero in the event of a whole good frame: reported by a receive queue,
/// which there is one of, so its label is 0.
const PLAIN: u64 = Event::CODE | Event::DROP | Event::ROTATE | Event::NEXT | Event::BROKEN | Event::LABEL | Event::CONT;

/// A receive queue.
pub struct RxQueue {
    ring: Ring<AtomicU64>,
    /// Buffers of the slots `next..next + armed`: as many as were asked for.
    buffers: Buffers,
    events: EventQueue,
    tail: Doorbell,
    /// Position that is read next. Runs freely.
    next: u32,
    /// Position in RX_DESC_UPD: the card owns `next..given`.
    given: u32,
    /// Slots from `next` on that hold a buffer: all, but for a pool too small.
    armed: u32,
    supply: Supply,
    /// Longest frame, with tags.
    longest: u32,
    /// Longest frame that one buffer holds; 0 within a frame of several, so that
    /// nothing is plain.
    longest_plain: u32,
    /// Bits that are zero in the event of a plain frame, but for [`Event::NEXT`].
    plain: u64,
    /// The last time event.
    sync: Sync,
    /// Parts of the frame at `next` that are there already.
    parts: u32,
    /// Its bytes so far, prefix included.
    bytes: u32,
    /// It is to be dropped when its end comes.
    wrong: Option<Anomaly>,
    /// Where an event was missing before one that was there, and how often in a row.
    hole: (u32, u32),
    /// It could not be started again.
    dead: bool,
    format: Format,
    tally: Arc<Tally>,
    interrupt: Option<Interrupt>,
    hw: Arc<Hw>,
    queue: Queue,
}

/// What became of the event at `next`.
enum Odd {
    /// It is not there, or there is no place for its frame.
    Waits,
    /// It was dealt with.
    Gone,
}

impl RxQueue {
    /// A queue that the card has started, empty.
    pub(super) fn new(
        hw: Arc<Hw>,
        queue: Queue,
        tail: Doorbell,
        supply: Supply,
        format: Format,
        sync: Sync,
        interrupt: Option<Interrupt>,
    ) -> Self {
        let longest = format.max_frame + TAGS;
        let descriptors = queue.ring.words64().len() as u32;
        RxQueue {
            ring: Ring::new(queue.ring.clone(), descriptors),
            buffers: Buffers::new(format.window),
            events: EventQueue::new(queue.events.clone()),
            tail,
            next: 0,
            given: 0,
            armed: 0,
            supply,
            longest,
            longest_plain: longest.min(BUFFER_SIZE as u32 - PREFIX),
            plain: PLAIN | if format.strip { Event::TAGS } else { 0 },
            sync,
            parts: 0,
            bytes: 0,
            wrong: None,
            hole: (0, 0),
            dead: false,
            format,
            tally: Arc::default(),
            interrupt,
            hw,
            queue,
        }
    }

    /// See [`crate::driver::RxQueue::recv`].
    #[inline]
    pub(in crate::driver) fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.supply.is(pool) || self.armed != self.buffers.len() || self.events.lapped() {
            return self.recv_unready(batch);
        }
        match pool.linear() {
            Some(base) => self.recv_from(batch, |buffer| base + u64::from(buffer) * BUFFER_SIZE as u64),
            None => self.recv_from(batch, |buffer| pool.iova(buffer)),
        }
    }

    /// Receives from a ring whose slots all hold a buffer.
    #[inline(always)]
    fn recv_from(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let before = batch.len();
        // A card that reports without end is left alone after one round.
        for _ in 0..self.events.len() {
            if !self.recv_plain(batch, iova).present() {
                break;
            }
            if let Odd::Waits = self.recv_odd(batch) {
                break;
            }
        }
        if batch.len() == before && self.events.holed() {
            self.miss(batch.pool());
        } else if self.next == self.given {
            // All that the card has; what it reports beyond is not its own.
            self.recv_odd(batch);
        }
        self.give();
        batch.len() - before
    }

    /// Moves frames of one buffer into `batch` until it is full or something
    /// else comes: then returns that event, else an empty one.
    #[inline(always)]
    fn recv_plain(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova) -> Event {
        let pool = batch.pool();
        let had = batch.len();
        let fresh = pool.top(batch.room().min(self.given.wrapping_sub(self.next) as usize));
        let (ring, events, buffers) = (self.ring.view(), self.events.view(), &self.buffers);
        let window = buffers.len();
        let (longest, plain, sync) = (self.longest_plain, self.plain, self.sync.0);
        let mut position = self.next;
        // Events and descriptors go on together here.
        let apart = self.events.next.wrapping_sub(position);
        let mut stopped_at = Event(EMPTY);

        for (entry, fresh) in batch.entries_mut()[had..].iter_mut().zip(fresh.iter().rev()) {
            let slot = events.at(position.wrapping_add(apart));
            let event = slot.load(Ordering::Acquire); // <-- acquire: the frame is now seen
            let after = u64::from(position.wrapping_add(1)) << Event::NEXT_SHIFT & Event::NEXT;
            // A length of nothing but the prefix wraps to a large one.
            let len = ((event & Event::BYTES) as u32).wrapping_sub(PREFIX);
            if (event ^ after) & plain != 0 || len.wrapping_sub(1) >= longest {
                stopped_at = Event(event);
                break;
            }
            slot.store(EMPTY, Ordering::Relaxed);
            let buffer = buffers.at(position).replace(fresh.get());
            *entry = Entry { words: [event, sync], buffer, span: Span::new(PREFIX as u8, len as u16, false) };
            ring.at(position.wrapping_add(window)).store(desc::receive(iova(fresh.get())), Ordering::Relaxed);
            position = position.wrapping_add(1);
        }
        let n = position.wrapping_sub(self.next);
        self.next = position;
        self.events.next = position.wrapping_add(apart);
        pool.took(n as usize);
        batch.filled(had + n as usize, self.format.decoder());
        stopped_at
    }

    /// Deals with an event that is not of a plain frame, if it is there.
    #[cold]
    #[inline(never)]
    fn recv_odd(&mut self, batch: &mut Batch<'_>) -> Odd {
        let event = self.events.peek(0);
        if !event.present() {
            return Odd::Waits;
        }
        if event.code() != code::RX {
            self.other(event);
            self.events.take();
            return Odd::Gone;
        }
        let owned = self.given.wrapping_sub(self.next);
        let place = self.next.wrapping_add(self.parts);
        let step = (event.0 >> Event::NEXT_SHIFT).wrapping_sub(u64::from(place)) & 0xf;
        if event.0 & (Event::LABEL | Event::DROP | Event::ROTATE) != 0 || step > 1 || self.parts >= owned {
            // Another queue's, or of a descriptor that it does not come to next.
            // Of four bits no more can be known than that it is wrong.
            self.tally.count(Anomaly::BadIndex);
            self.events.take();
            return Odd::Gone;
        }
        if step == 0 {
            // No descriptor was used: the card ran out of them within a frame.
            self.tally.count(Anomaly::BadChain);
            self.events.take();
            self.drop_parts(batch.pool());
            return Odd::Gone;
        }
        self.part(event, batch)
    }

    /// Takes one more part of the frame at `next`.
    fn part(&mut self, event: Event, batch: &mut Batch<'_>) -> Odd {
        let bytes = (event.0 & Event::BYTES) as u32;
        let ends = event.0 & Event::CONT == 0;
        let prefix = if self.parts == 0 { PREFIX } else { 0 };
        let fits = if ends { prefix + 1..=BUFFER_SIZE as u32 } else { BUFFER_SIZE as u32..=BUFFER_SIZE as u32 };
        let most = (self.longest + PREFIX).div_ceil(BUFFER_SIZE as u32);
        let total = self.bytes.saturating_add(bytes);
        let mut wrong = self.wrong;
        if !fits.contains(&bytes) {
            wrong = wrong.or(Some(Anomaly::BadLength));
        } else if event.0 & Event::BROKEN != 0 {
            wrong = wrong.or(Some(Anomaly::FrameError));
        } else if ends && total > self.longest + PREFIX {
            wrong = wrong.or(Some(Anomaly::BadLength));
        }
        if ends && wrong.is_none() {
            let parts = self.parts + 1;
            // A frame of more parts than an empty batch is to hold is received
            // all the same: it could not be received at all otherwise.
            let room = parts as usize <= batch.room() || batch.is_empty();
            if !room || self.armed == self.buffers.len() && batch.pool().available() < parts as usize {
                return Odd::Waits;
            }
            self.events.take();
            self.take_frame(event, batch, total - PREFIX, parts);
            return Odd::Gone;
        }
        self.events.take();
        self.parts += 1;
        self.bytes = total;
        self.wrong = wrong;
        self.longest_plain = 0;
        if ends {
            // A chain that did not end was counted when it did not.
            if let Some(wrong) = wrong.filter(|&wrong| wrong != Anomaly::BadChain) {
                self.tally.count(wrong);
            }
            self.drop_parts(batch.pool());
        } else if self.parts >= most {
            // Longer than any frame, and no end: drop what there is, and
            // whatever follows up to the end, lest half a frame is received.
            if wrong != Some(Anomaly::BadChain) {
                self.tally.count(Anomaly::BadChain);
            }
            self.drop_parts(batch.pool());
            // As the second part of something, so that its end has no prefix.
            self.longest_plain = 0;
            self.wrong = Some(Anomaly::BadChain);
        }
        Odd::Gone
    }

    /// Moves a frame of `len` bytes in `parts` buffers into `batch`. `event` is
    /// the last of it.
    fn take_frame(&mut self, event: Event, batch: &mut Batch<'_>, len: u32, parts: u32) {
        let pool = batch.pool();
        let full = self.armed == self.buffers.len();
        let mut entry = batch.len();
        let first = entry;
        let mut left = len;
        let mut start = PREFIX;
        for _ in 0..parts {
            let buffer = self.buffers.at(self.next).get();
            self.replace(pool, full, None);
            let here = left.min(BUFFER_SIZE as u32 - start);
            left -= here;
            let span = Span::new(start as u8, here as u16, left > 0);
            batch.entries_mut()[entry] = Entry { words: [event.0, self.sync.0], buffer, span };
            entry += 1;
            start = 0;
        }
        batch.filled(entry, self.format.decoder());
        // The prefix is before the first part and out of reach of the last; and
        // a tag is taken out of the frame by hand.
        let tagged = self.format.strip && event.0 & Event::TAGS != 0;
        if parts > 1 || tagged {
            let meta = batch.meta(first);
            let vlan = if tagged { batch.take_tag(first) } else { None };
            for entry in &mut batch.entries_mut()[first..entry] {
                entry.words = cooked(&meta, vlan);
            }
        }
        self.begin();
    }

    /// Drops the parts of the frame at `next` that are there; their buffers stay
    /// in the ring, or go back to the pool if the ring is not full.
    fn drop_parts(&mut self, pool: &Pool) {
        let full = self.armed == self.buffers.len();
        for _ in 0..self.parts {
            let buffer = self.buffers.at(self.next).get();
            if !full {
                pool.give(buffer);
            }
            self.replace(pool, full, Some(buffer));
        }
        self.begin();
    }

    /// The next event is of a frame's first part.
    fn begin(&mut self) {
        self.parts = 0;
        self.bytes = 0;
        self.wrong = None;
        self.longest_plain = self.longest.min(BUFFER_SIZE as u32 - PREFIX);
    }

    /// Moves past slot `next`. A full ring gets `buffer`, or a free one, for it one
    /// round later; one that is not is left to [`RxQueue::fill`].
    fn replace(&mut self, pool: &Pool, full: bool, buffer: Option<u32>) {
        match buffer.filter(|_| full).or_else(|| if full { pool.take() } else { None }) {
            Some(buffer) => self.arm(self.next.wrapping_add(self.armed), buffer, pool),
            None => self.armed -= 1,
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Gives the slot at `position` a buffer. The card sees it no sooner than
    /// the doorbell.
    fn arm(&self, position: u32, buffer: u32, pool: &Pool) {
        self.buffers.at(position).set(buffer);
        self.ring.at(position).store(desc::receive(pool.iova(buffer)), Ordering::Relaxed);
    }

    /// Deals with an event that no frame caused.
    fn other(&mut self, event: Event) {
        match (event.code(), event.mcdi_code()) {
            (code::MCDI, mcdi::PTP_TIME) => self.sync = self.sync.at(event.0),
            // All that the card was told is forgotten; control says so to whoever asks.
            (code::MCDI, mcdi::REBOOT | mcdi::MC_REBOOT) => self.tally.count(Anomaly::QueueReset),
            (code::MCDI | code::DRIVER | 7, _) => {}
            _ => self.tally.count(Anomaly::BadIndex),
        }
    }

    /// Tells the card of refilled slots, if there are enough of them.
    #[inline(always)]
    fn give(&mut self) {
        let last = self.next.wrapping_add(self.buffers.len() - GROUP) & !(GROUP - 1);
        if last.wrapping_sub(self.given) < STEP {
            return;
        }
        self.given = last;
        self.tail.ring(self.ring.index(last));
    }

    /// Receives from a queue that is not ready: events were lost, or slots have
    /// no buffer because the pool was not known yet or is smaller than the ring.
    #[cold]
    #[inline(never)]
    fn recv_unready(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if self.dead {
            return 0;
        }
        if self.fill(pool).is_err() {
            self.tally.count(Anomaly::Unmapped);
            return 0;
        }
        if self.events.lapped() {
            self.reset(pool);
        }
        let before = batch.len();
        while batch.room() > 0 {
            if let Odd::Waits = self.recv_odd(batch) {
                break;
            }
        }
        self.top_up(pool);
        batch.len() - before
    }

    /// An event is missing before one that is there. It may be on its way; if it
    /// stays away it is lost.
    #[cold]
    #[inline(never)]
    fn miss(&mut self, pool: &Pool) {
        const PATIENCE: u32 = 1000;
        let (at, times) = self.hole;
        self.hole = (self.events.next, if at == self.events.next { times + 1 } else { 1 });
        if self.hole.1 >= PATIENCE {
            self.reset(pool);
        }
    }

    /// Sets the queue up anew: events were lost, so nothing is known of the
    /// buffers that the card has, but that they are ours again once it has
    /// stopped. This takes milliseconds and happens to nobody who polls.
    #[cold]
    fn reset(&mut self, pool: &Pool) {
        self.tally.count(Anomaly::BadIndex);
        self.tally.count(Anomaly::QueueReset);
        self.hole = (0, 0);
        // What fails here is asked of the controller, which tells whoever asks for the link.
        self.dead = self.queue.stop(&self.hw).and_then(|()| self.queue.start(&self.hw)).is_err();
        self.events.restart();
        self.begin();
        let buffers: Vec<u32> = (0..self.armed).map(|n| self.buffers.at(self.next.wrapping_add(n)).get()).collect();
        (self.next, self.given) = (0, 0);
        for (position, &buffer) in buffers.iter().enumerate() {
            self.arm(position as u32, buffer, pool);
        }
        self.offer();
    }

    /// See [`crate::driver::RxQueue::fill`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    pub(in crate::driver) fn fill(&mut self, pool: &Pool) -> Result<()> {
        if !self.supply.is(pool) {
            assert!(self.armed == 0, "a receive queue takes buffers of one pool only");
            self.supply.adopt(pool)?;
        }
        self.top_up(pool);
        Ok(())
    }

    /// Gives each slot that has none a buffer, as far as `pool` has them.
    fn top_up(&mut self, pool: &Pool) {
        while self.armed < self.buffers.len()
            && let Some(buffer) = pool.take()
        {
            self.arm(self.next.wrapping_add(self.armed), buffer, pool);
            self.armed += 1;
        }
        self.offer();
    }

    /// Tells the card of all slots that it may have, by eights.
    fn offer(&mut self) {
        let end = self.next.wrapping_add(self.armed.min(self.buffers.len() - GROUP)) & !(GROUP - 1);
        // Never back: a ring that is short of buffers may not have eight more.
        if end != self.given && end.wrapping_sub(self.given) < self.ring.len() && !self.dead {
            self.given = end;
            self.tail.ring(self.ring.index(end));
        }
    }

    /// Gives all buffers in the ring back. Only once the card cannot write any more.
    pub(in crate::driver) fn release(&mut self, pool: &Pool) {
        if !self.supply.is(pool) {
            return;
        }
        let (first, rest) = self.buffers.runs(self.next, self.armed);
        pool.give_slice(first);
        pool.give_slice(rest);
        self.armed = 0;
        self.given = self.next;
        self.supply.end();
    }

    /// See [`crate::driver::RxQueue::wait`].
    pub(in crate::driver) fn wait(&mut self, patience: Duration) -> Result<bool> {
        let Some(interrupt) = &self.interrupt else {
            return Err(Error::new(
                Kind::Usage,
                "this queue was opened without interrupts; open it with them, or poll (`--wait poll`)",
            ));
        };
        // Prime first, look then: an event that came before is not slept over.
        self.hw.prime(self.queue.vi, self.events.index());
        if self.events.peek(0).present() {
            return Ok(true);
        }
        interrupt.wait(patience)
    }

    /// See [`crate::driver::RxQueue::anomalies`].
    pub(in crate::driver) fn anomalies(&self) -> Anomalies {
        self.tally.read()
    }

    /// The counters behind [`RxQueue::anomalies`], for the control plane.
    pub(super) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxQueue({}, {}, next {}, given {})", self.hw, self.queue.vi, self.next, self.given)
    }
}

const _: () = assert!(STEP.is_multiple_of(GROUP) && TAG + PREFIX < 256);
