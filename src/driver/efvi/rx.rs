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
//! round later. Where the firmware has frames share an event, the event names the
//! descriptor behind the last of them, and their lengths are in their prefixes. An
//! event that is further on without such leave means that the place is lost: the
//! queue is set up anew, as any guess might give a frame another's length.
//!
//! A ring on the card has at least 512 slots; a shorter one that was
//! asked for is a window that moves over them.
//!
//! The card reads descriptors by eights, so it is told of multiples of eight,
//! and never of the last eight: a full ring would look like an empty one.

mod parts;

use super::desc::{self, PREFIX};
use super::ev::{EMPTY, Event, EventQueue, code, mcdi};
use super::hw::Hw;
use super::meta::PrefixFormat;
use super::setup::{self, Queue};
use super::time::Sync;
use crate::dma::{BUFFER_SIZE, Batch, Decoder, Entry, Iova, Pool, Span};
use crate::driver::queue::Receive;
use crate::driver::ring::{Buffers, Ring, first_position};
use crate::driver::slots::{Received, Slots, Stock, TAG, TAGS};
use crate::driver::tally::Anomaly;
use crate::pci::Doorbell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Refilled slots that are worth a doorbell, a multiple of eight; of a short ring a quarter.
const STEP: u32 = 64;

/// Descriptors that the card reads at a time.
const GROUP: u32 = 8;

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
    /// Slots that RX_DESC_UPD moves by, at least.
    step: u32,
    stock: Stock,
    /// Longest frame, with tags.
    longest: u32,
    /// Longest that the MAC lets through, which is some bytes more.
    limit: u32,
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
    /// The next event is one of several frames, of which some were received.
    shared: bool,
    /// Where an event was missing before one that was there, and how often in a row.
    hole: (u32, u32),
    /// It could not be started again.
    dead: bool,
    format: PrefixFormat,
    decoder: Decoder,
    hw: Arc<Hw>,
    queue: Queue,
}

impl RxQueue {
    /// A queue that the card has started, empty.
    pub(super) fn new(
        hw: Arc<Hw>,
        queue: Queue,
        tail: Doorbell,
        stock: Stock,
        format: PrefixFormat,
        sync: Sync,
    ) -> Self {
        let (longest, first) = (format.max_frame + TAGS, first_position());
        let descriptors = queue.ring.words64().len() as u32;
        RxQueue {
            ring: Ring::new(queue.ring.clone(), descriptors),
            buffers: Buffers::new(format.window),
            events: EventQueue::new(queue.events.clone()),
            tail,
            next: first,
            given: first,
            armed: 0,
            step: STEP.min(format.window / 4),
            stock,
            longest,
            limit: longest.max(setup::mtu(format.max_frame) - setup::FCS),
            longest_plain: longest.min(BUFFER_SIZE as u32 - PREFIX),
            plain: PLAIN | if format.strip { Event::TAGS } else { 0 },
            sync,
            parts: 0,
            bytes: 0,
            wrong: None,
            shared: false,
            hole: (0, 0),
            dead: false,
            decoder: format.decoder(),
            format,
            hw,
            queue,
        }
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
            let len = payload(event);
            if (event ^ expected(position)) & plain != 0 || len.wrapping_sub(1) >= longest {
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
        batch.filled(had + n as usize, self.decoder);
        stopped_at
    }

    /// As [`RxQueue::recv_plain`], of one frame: whether there was a plain one. What a loop
    /// sets up is half of what one packet takes.
    #[inline(always)]
    fn recv_one(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova) -> bool {
        let pool = batch.pool();
        let had = batch.len();
        let position = self.next;
        let ([fresh], Some(entry), true) = (pool.top(1), batch.entries_mut().get_mut(had), position != self.given)
        else {
            return false;
        };
        let slot = self.events.view().at(self.events.next);
        let event = slot.load(Ordering::Acquire); // <-- acquire: the frame is now seen
        let len = payload(event);
        if (event ^ expected(position)) & self.plain != 0 || len.wrapping_sub(1) >= self.longest_plain {
            return false;
        }
        slot.store(EMPTY, Ordering::Relaxed);
        let buffer = self.buffers.at(position).replace(fresh.get());
        *entry = Entry { words: [event, self.sync.0], buffer, span: Span::new(PREFIX as u8, len as u16, false) };
        let given = self.ring.at(position.wrapping_add(self.buffers.len()));
        given.store(desc::receive(iova(fresh.get())), Ordering::Relaxed);
        self.next = position.wrapping_add(1);
        self.events.next = self.events.next.wrapping_add(1);
        pool.took(1);
        batch.filled(had + 1, self.decoder);
        true
    }

    /// Deals with an event that no frame caused.
    fn other(&mut self, event: Event) {
        match (event.code(), event.mcdi_code()) {
            (code::MCDI, mcdi::PTP_TIME) => self.sync = self.sync.at(event.0),
            // The card has forgotten all that it was told; control reports that when it is asked.
            (code::MCDI, mcdi::REBOOT | mcdi::MC_REBOOT) => self.stock.count(Anomaly::QueueReset),
            (code::MCDI | code::DRIVER | 7, _) => {}
            _ => self.stock.count(Anomaly::BadIndex),
        }
    }

    /// Tells the card of refilled slots, if there are enough of them.
    #[inline(always)]
    fn give(&mut self) {
        let last = self.next.wrapping_add(self.buffers.len() - GROUP) & !(GROUP - 1);
        if last.wrapping_sub(self.given) < self.step {
            return;
        }
        self.given = last;
        self.tail.ring(self.ring.index(last));
    }

    /// Receives from a queue that is not ready: events were lost, or slots have
    /// no buffer.
    #[cold]
    #[inline(never)]
    fn recv_unready(&mut self, batch: &mut Batch<'_>) -> usize {
        if self.dead {
            return 0;
        }
        if self.events.lapped() && self.fill(batch.pool()).is_ok() {
            self.reset(batch.pool());
        }
        self.recv_unfilled(batch)
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
    /// stopped. This takes milliseconds, and does not happen to a queue that is polled.
    #[cold]
    fn reset(&mut self, pool: &Pool) {
        self.stock.count(Anomaly::BadIndex);
        self.stock.count(Anomaly::QueueReset);
        self.hole = (0, 0);
        // A failure here also shows in the controller: the next question about the link tells.
        self.dead = self.queue.stop(&self.hw).and_then(|()| self.queue.start(&self.hw)).is_err();
        self.events.restart();
        self.begin();
        let buffers: Vec<u32> = (0..self.armed).map(|_| self.pass()).collect();
        (self.next, self.given) = (0, 0);
        for buffer in buffers {
            self.arm(buffer, pool);
        }
        self.offer();
    }
}

impl Receive for RxQueue {
    #[inline]
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        if !self.stock.is(batch.pool()) || self.armed != self.buffers.len() || self.events.lapped() {
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
        self.buffers.len()
    }

    fn armed(&self) -> u32 {
        self.armed
    }

    fn arm(&mut self, buffer: u32, pool: &Pool) {
        let position = self.next.wrapping_add(self.armed);
        self.buffers.at(position).set(buffer);
        self.ring.at(position).store(desc::receive(pool.iova(buffer)), Ordering::Relaxed);
        self.armed += 1;
    }

    fn pass(&mut self) -> u32 {
        let buffer = self.buffers.at(self.next).get();
        self.next = self.next.wrapping_add(1);
        self.armed -= 1;
        buffer
    }

    /// By eights.
    fn offer(&mut self) {
        let end = self.next.wrapping_add(self.armed.min(self.buffers.len() - GROUP)) & !(GROUP - 1);
        // Never back: a ring that is short of buffers may not have eight more.
        if end != self.given && end.wrapping_sub(self.given) < self.ring.len() && !self.dead {
            self.given = end;
            self.tail.ring(self.ring.index(end));
        }
    }

    #[inline(always)]
    fn recv_from(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        if batch.room() == 1 && self.recv_one(batch, iova) {
            self.give();
            return 1;
        }
        let before = batch.len();
        // A card that reports without end is left alone after one round.
        for _ in 0..self.events.len() {
            if !self.recv_plain(batch, iova).present() {
                break;
            }
            if self.recv_odd(batch) == Received::Waits {
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

    /// Deals with an event that is not of a plain frame, if it is there.
    #[cold]
    #[inline(never)]
    fn recv_odd(&mut self, batch: &mut Batch<'_>) -> Received {
        let event = self.events.peek(0);
        if !event.present() {
            return Received::Waits;
        }
        if event.code() != code::RX {
            self.other(event);
            self.events.take();
            return Received::Gone;
        }
        let owned = self.given.wrapping_sub(self.next);
        let place = self.next.wrapping_add(self.parts);
        let step = (event.0 >> Event::NEXT_SHIFT).wrapping_sub(u64::from(place)) & 0xf;
        if event.0 & (Event::LABEL | Event::DROP | Event::ROTATE) != 0 || self.parts >= owned {
            // Another queue's, or of a descriptor that the card does not have.
            self.stock.count(Anomaly::BadIndex);
            self.events.take();
            return Received::Gone;
        }
        if step > 1 || self.shared {
            if self.queue.merges && self.parts == 0 && event.0 & Event::CONT == 0 && step <= u64::from(owned) {
                return self.share(event, batch, step as u32);
            }
            self.reset(batch.pool());
            return Received::Gone;
        }
        if step == 0 {
            // No descriptor was used: the card ran out of them within a frame.
            self.stock.count(Anomaly::BadChain);
            self.events.take();
            self.drop_parts(batch.pool());
            return Received::Gone;
        }
        self.part(event, batch)
    }

    fn listen(&mut self) -> bool {
        self.hw.prime(self.queue.vi, self.events.index());
        self.events.peek(0).present()
    }
}

/// What the event of a plain frame in the descriptor at `position` says in
/// [`Event::NEXT`].
#[inline(always)]
fn expected(position: u32) -> u64 {
    u64::from(position.wrapping_add(1)) << Event::NEXT_SHIFT & Event::NEXT
}

/// Bytes of the frame of an event; of nothing but the prefix it wraps to a large number.
#[inline(always)]
fn payload(event: u64) -> u32 {
    ((event & Event::BYTES) as u32).wrapping_sub(PREFIX)
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxQueue({}, {}, next {}, given {})", self.hw, self.queue.vi, self.next, self.given)
    }
}

const _: () = assert!(STEP.is_multiple_of(GROUP) && TAG + PREFIX < 256);
