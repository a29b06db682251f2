//! Transmit queue.
//!
//! ```text
//!   descriptors        the card's                     ours
//!            +------------------------------------+------------
//!     ... -> | sent | sent | tag | frame | frame  | free | ... -> ...
//!            +------------------------------------+------------
//!              ^ clean                              ^ next = TX_DESC_UPD
//!
//!   events   | sent up to 2 | sent up to 5 | ones | ...
//!              ^ next
//! ```
//!
//! An event names the last descriptor that is done, and stands for all before
//! it. It is believed if that descriptor is one of ours and ends a frame.
//! Checksums and tags are switched by descriptors of their own, which hold for
//! what follows; they are remembered and written only on a change.
//!
//! How a frame gets to the card is the path's affair: see [`Path`].

use super::desc::{self, CONT, Options};
use super::ev::{Event, EventQueue, code, mcdi, tx_kind};
use super::hw::Hw;
use super::ids::Generation;
use super::path::{Path, Ready};
use super::setup::Queue;
use super::time::{Format as TimeFormat, Sync};
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Pool, Timestamp};
use crate::driver::Anomalies;
use crate::driver::ring::BufferRing;
use crate::driver::supply::Supply;
use crate::driver::tally::{Anomaly, Tally};
use crate::error::{Kind, Result};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use super::path::PIO_SLICE;

/// Descriptors in the ring from which on `send` looks for sent ones.
const RECLAIM_AT: u32 = 32;

/// Shortest frame the card may be given; its MAC pads to 60.
const MIN_FRAME: u32 = 17;

/// Longest frame it sends, without FCS.
const MAX_FRAME: u32 = 9216;

/// Bytes of a VLAN tag.
const TAG: u32 = 4;

/// In the shadow: no frame ends with this descriptor.
const INNER: u32 = 1 << 31;

/// In the shadow, below [`INNER`]: this descriptor has no buffer.
const NO_BUFFER: u32 = INNER - 1;

/// What a completion looks like: from the transmit queue, which there is one of,
/// so its label is 0, and of a kind that says that descriptors are done.
const DONE: u64 = code::TX << 60;
const LOOKED_AT: u64 = Event::CODE | Event::DROP | Event::KIND | Event::LABEL;

/// A transmit queue.
pub struct TxQueue {
    ring: BufferRing<AtomicU64>,
    events: EventQueue,
    path: Path,
    /// Descriptors that the card is to have, at most.
    window: u32,
    /// Position that is written next. Runs freely.
    next: u32,
    /// Oldest position not yet reclaimed.
    clean: u32,
    /// Descriptors among `clean..next` whose shadow is more than a buffer.
    marked: u32,
    /// Those of them that only switch options.
    switches: u32,
    /// What holds for the next frame.
    options: Options,
    /// The firmware lets the card put tags in.
    tags: bool,
    supply: Supply,
    /// Frames laid ready.
    ready: Vec<Ready>,
    clock: Option<Clock>,
    /// It could not be started again.
    dead: bool,
    tally: Arc<Tally>,
    hw: Arc<Hw>,
    queue: Queue,
}

/// When frames left.
#[derive(Clone, Copy)]
struct Clock {
    format: TimeFormat,
    generation: Generation,
    sync: Sync,
    /// Lower part of a time whose upper part is still to come.
    low: u32,
    last: Option<Timestamp>,
}

/// What became of a frame that is not plain.
enum Odd {
    /// No room in the ring for it.
    Waits,
    /// These many entries of the batch are dealt with.
    Done(usize),
}

impl TxQueue {
    /// A queue that the card has started; `clock` if it reports when frames left.
    pub(super) fn new(
        hw: Arc<Hw>,
        queue: Queue,
        supply: Supply,
        path: Path,
        window: u32,
        tags: bool,
        clock: Option<(TimeFormat, Sync)>,
    ) -> Self {
        let descriptors = queue.ring.words64().len() as u32;
        let generation = hw.generation;
        let mut this = TxQueue {
            ring: BufferRing::new(queue.ring.clone(), descriptors),
            events: EventQueue::new(queue.events.clone()),
            path,
            window,
            next: 0,
            clean: 0,
            marked: 0,
            switches: 0,
            options: Options::default(),
            tags,
            supply,
            ready: Vec::new(),
            clock: clock.map(|(format, sync)| Clock { format, generation, sync, low: 0, last: None }),
            dead: false,
            tally: Arc::default(),
            hw,
            queue,
        };
        this.begin();
        this
    }

    /// Switches options to where they are known to be.
    fn begin(&mut self) {
        self.options = Options::default();
        let first = self.next;
        self.write(self.options.checksums(self.clock.is_some()), NO_BUFFER | INNER);
        self.switches += 1;
        self.announce(first);
    }

    /// See [`crate::driver::TxQueue::send`].
    #[inline]
    pub(in crate::driver) fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.supply.is(pool) && !self.admits(pool) {
            return 0;
        }
        if self.used() >= RECLAIM_AT {
            self.reclaim(pool);
        }
        if self.path.is_special() {
            return self.send_special(batch);
        }
        match pool.linear() {
            Some(base) => self.send_to(batch, |buffer| base + u64::from(buffer) * BUFFER_SIZE as u64),
            None => self.send_to(batch, |buffer| pool.iova(buffer)),
        }
    }

    /// Descriptors in the ring.
    #[inline(always)]
    fn used(&self) -> u32 {
        self.next.wrapping_sub(self.clean)
    }

    /// Descriptors that can be written: one stays free, or a full ring would
    /// look like an empty one.
    #[inline(always)]
    fn free(&self) -> u32 {
        self.window - 1 - self.used()
    }

    #[inline(always)]
    fn send_to(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let first = self.next;
        let count = batch.len();
        let mut sent = 0;
        loop {
            sent += self.send_plain(batch, sent, iova);
            if sent == count || self.free() == 0 {
                break;
            }
            match self.send_odd(batch, sent) {
                Odd::Waits => break,
                Odd::Done(entries) => sent += entries,
            }
        }
        if self.next != first {
            self.announce(first);
        }
        batch.taken(sent);
        sent
    }

    /// Writes descriptors for entries from `from` on, as long as they are whole
    /// frames that want nothing special; returns for how many.
    #[inline(always)]
    fn send_plain(&mut self, batch: &Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        if self.options != Options::default() {
            return 0;
        }
        let to = batch.len().min(from + self.free() as usize);
        let ring = self.ring.slots();
        let mut position = self.next;
        for entry in &batch.entries()[from..to] {
            let (length, start) = (u32::from(entry.span.len()), entry.span.start());
            if entry.span.special() || length.wrapping_sub(MIN_FRAME) > BUFFER_SIZE as u32 - MIN_FRAME {
                break;
            }
            let (slot, buffer) = ring.at(position);
            slot.store(desc::transmit(iova(entry.buffer) + u64::from(start), length), Ordering::Relaxed);
            buffer.set(entry.buffer);
            position = position.wrapping_add(1);
        }
        let n = position.wrapping_sub(self.next) as usize;
        self.next = position;
        n
    }

    /// Tells the card of the descriptors from `first` on.
    #[inline(always)]
    fn announce(&mut self, first: u32) {
        if !self.dead {
            let descriptor = self.ring.at(first).load(Ordering::Relaxed);
            self.path.ring(descriptor, self.ring.index(self.next));
        }
    }

    /// Sends through packet memory or into the transmitter what can go there.
    #[inline(never)]
    fn send_special(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if self.used() > 0 {
            self.reclaim(pool);
        }
        if self.path.is_direct() {
            // Only a frame alone, to a card that has nothing else of this queue.
            let idle = self.used() == self.switches && self.options == Options::default() && !self.dead;
            let plain = batch.len() == 1 && !batch.entries()[0].span.special() && !batch.frame(0).is_empty();
            if idle && plain {
                batch.pad(0, super::path::MIN_DIRECT);
                let direct = batch.frame(0).len() >= super::path::MIN_DIRECT;
                let stamped = self.clock.is_some();
                if direct {
                    self.path.store(batch.frame(0), stamped);
                    let first = self.next;
                    let n = self.send_plain(batch, 0, |buffer| pool.iova(buffer));
                    debug_assert_eq!(n, 1);
                    self.path.ring_index(self.ring.index(first.wrapping_add(1)));
                    batch.taken(1);
                    return 1;
                }
            }
        } else if self.options == Options::default() && !self.dead {
            // What fits goes into packet memory, until that is full.
            let first = self.next;
            let mut sent = 0;
            while sent < batch.len() && self.free() > 0 && !batch.entries()[sent].span.special() {
                let frame = batch.frame(sent);
                if (frame.len() as u32) < MIN_FRAME {
                    break;
                }
                let Some(offset) = self.path.lay(frame, self.next) else { break };
                let len = frame.len() as u32;
                self.write(desc::packet_memory(offset, len), NO_BUFFER);
                pool.give(batch.entries()[sent].buffer);
                sent += 1;
            }
            if sent > 0 {
                self.announce(first);
                batch.taken(sent);
                return sent + if batch.is_empty() { 0 } else { self.send_to(batch, |buffer| pool.iova(buffer)) };
            }
        }
        self.send_to(batch, |buffer| pool.iova(buffer))
    }

    /// Deals with the frame that starts in entry `from`: of several buffers,
    /// with an offload, or too short; or with one that follows such a frame.
    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Odd {
        let count = batch.len();
        let parts = (from..count).position(|i| !batch.continues(i)).map_or(count - from, |n| n + 1);
        let mut total: u32 = (from..from + parts).map(|i| batch.frame(i).len() as u32).sum();
        if parts == 1 && (1..MIN_FRAME).contains(&total) {
            batch.pad(from, MIN_FRAME as usize);
            total = batch.frame(from).len() as u32;
        }
        let offload = batch.offload(from).unwrap_or_default();
        let tag = if offload.vlan.is_some() { TAG } else { 0 };
        let options = Options::of(&offload);
        let mut wrong = if batch.continues(from + parts - 1) {
            Some(Anomaly::BadChain)
        } else if options.is_none()
            || !(MIN_FRAME..=MAX_FRAME - tag).contains(&total)
            || batch.frames().skip(from).take(parts).any(<[u8]>::is_empty)
        {
            Some(Anomaly::BadLength)
        } else {
            None
        };
        // Firmware that cannot put tags in has it done here.
        let by_hand = offload.vlan.filter(|_| !self.tags);
        let mut options = options.unwrap_or_default();
        options.vlan = options.vlan.filter(|_| by_hand.is_none());
        let switches = self.switches_to(options);
        if wrong.is_none() {
            if self.free() < (parts + switches.iter().flatten().count()) as u32 {
                return Odd::Waits;
            }
            if by_hand.is_some_and(|tci| !batch.insert_tag(from, tci)) {
                wrong = Some(Anomaly::BadLength);
            }
        }
        if let Some(wrong) = wrong {
            self.tally.count(wrong);
            batch.pool().give_many(batch.entries()[from..from + parts].iter().map(|entry| entry.buffer));
            return Odd::Done(parts);
        }
        for switch in switches.into_iter().flatten() {
            self.write(switch, NO_BUFFER | INNER);
            self.switches += 1;
        }
        self.options = options;
        for i in from..from + parts {
            let length = batch.frame(i).len() as u32;
            let Entry { buffer, span, .. } = batch.entries()[i];
            let address = batch.pool().iova(buffer) + u64::from(span.start());
            let (goes_on, inner) = if i + 1 == from + parts { (0, 0) } else { (CONT, INNER) };
            self.write(desc::transmit(address, length) | goes_on, buffer | inner);
        }
        Odd::Done(parts)
    }

    /// Writes the next descriptor, with what the shadow is to say of it.
    fn write(&mut self, descriptor: u64, shadow: u32) {
        self.ring.at(self.next).store(descriptor, Ordering::Relaxed);
        self.ring.buffer(self.next).set(shadow);
        self.marked += u32::from(shadow >= NO_BUFFER);
        self.next = self.next.wrapping_add(1);
    }

    /// The descriptors that switch from what holds to `options`.
    fn switches_to(&self, options: Options) -> [Option<u64>; 2] {
        let now = self.options;
        let checksums = (options.ip, options.l4) != (now.ip, now.l4);
        [checksums.then(|| options.checksums(self.clock.is_some())), (options.vlan != now.vlan).then(|| options.tag())]
    }

    /// See [`crate::driver::TxQueue::reclaim`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[inline]
    pub(in crate::driver) fn reclaim(&mut self, pool: &Pool) -> usize {
        assert!(
            self.used() == self.switches || self.supply.is(pool),
            "a transmit ring holds buffers of one pool at a time"
        );
        if self.events.lapped() {
            self.reset(pool);
        }
        let mut end = self.clean;
        // A card that reports without end is left alone after one round.
        for _ in 0..self.events.len() {
            let event = self.events.peek(0);
            if event.0 & LOOKED_AT == DONE {
                end = self.done(event, end);
            } else if event.present() {
                end = self.other(event, end);
            } else {
                break;
            }
            self.events.take();
        }
        self.give_back(pool, end);
        (self.used() - self.switches) as usize
    }

    /// The end of what is done, after an event: `end` if that makes no sense.
    #[inline(always)]
    fn done(&self, event: Event, end: u32) -> u32 {
        let index = (event.0 & Event::INDEX) as u32;
        let ahead = self.ring.index(index.wrapping_sub(self.clean));
        let last = self.clean.wrapping_add(ahead);
        let new = ahead < self.used() && ahead >= end.wrapping_sub(self.clean) && index < self.ring.len();
        if new && (self.marked == 0 || self.ring.buffer(last).get() & INNER == 0) {
            return last.wrapping_add(1);
        }
        self.tally.count(Anomaly::BadIndex);
        end
    }

    /// Deals with an event that is not a plain completion; as [`TxQueue::done`].
    #[cold]
    fn other(&mut self, event: Event, end: u32) -> u32 {
        match (event.code(), event.mcdi_code(), event.tx_kind()) {
            (code::TX, _, tx_kind::CTPIO_DONE) if event.0 & (Event::LABEL | Event::DROP) == 0 => {
                return self.done(event, end);
            }
            (code::TX, _, tx_kind::TIME_LOW | tx_kind::CTPIO_TIME_LOW) => {
                if let Some(clock) = &mut self.clock {
                    clock.low = event.tx_word();
                }
            }
            (code::TX, _, tx_kind::TIME_HIGH | tx_kind::CTPIO_TIME_HIGH) => {
                if let Some(clock) = &mut self.clock {
                    clock.last = clock.sync.sent(clock.format, clock.generation, clock.low, event.tx_word());
                }
            }
            (code::MCDI, mcdi::PTP_TIME, _) => {
                if let Some(clock) = &mut self.clock {
                    clock.sync = clock.sync.at(event.0);
                }
            }
            // All that the card was told is forgotten; control says so to whoever asks.
            (code::MCDI, mcdi::REBOOT | mcdi::MC_REBOOT, _) => self.tally.count(Anomaly::QueueReset),
            (code::MCDI | code::DRIVER | 7, ..) => {}
            _ => self.tally.count(Anomaly::BadIndex),
        }
        end
    }

    /// Gives the buffers of `clean..end` back.
    #[inline]
    fn give_back(&mut self, pool: &Pool, end: u32) {
        let (first, rest) = self.ring.runs(self.clean, end.wrapping_sub(self.clean));
        if self.marked == 0 {
            pool.give_slice(first);
            pool.give_slice(rest);
        } else {
            for shadow in first.iter().chain(rest).map(Cell::get) {
                self.marked -= u32::from(shadow >= NO_BUFFER);
                self.switches -= u32::from(shadow == NO_BUFFER | INNER);
                if shadow & !INNER != NO_BUFFER {
                    pool.give(shadow & !INNER);
                }
            }
        }
        self.clean = end;
        self.path.sent(end);
    }

    /// Sets the queue up anew: completions were lost, so nothing is known of the
    /// buffers that the card has, but that they are ours once it has stopped.
    #[cold]
    fn reset(&mut self, pool: &Pool) {
        self.tally.count(Anomaly::QueueReset);
        self.dead = self.queue.stop(&self.hw).and_then(|()| self.queue.start(&self.hw)).is_err();
        self.give_back(pool, self.next);
        self.events.restart();
        (self.next, self.clean) = (0, 0);
        self.begin();
    }

    /// See [`crate::driver::TxQueue::prepare`].
    pub(in crate::driver) fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<usize> {
        let pool = batch.pool();
        self.adopt(pool)?;
        let mut laid = 0;
        while laid < batch.len() {
            let len = batch.frame(laid).len() as u32;
            if batch.entries()[laid].span.special() || !(MIN_FRAME..=BUFFER_SIZE as u32).contains(&len) {
                let text =
                    format!("a packet to be laid ready is one buffer of {MIN_FRAME} bytes or more, without offload");
                return Err(self.hw.error(Kind::Usage, text));
            }
            laid += 1;
        }
        for i in 0..laid {
            let Entry { buffer, span, .. } = batch.entries()[i];
            let descriptor = match self.path.keep(batch.frame(i)) {
                Some(offset) => desc::packet_memory(offset, u32::from(span.len())),
                None => desc::transmit(pool.iova(buffer) + u64::from(span.start()), u32::from(span.len())),
            };
            self.ready.push(Ready { descriptor, buffer });
        }
        batch.taken(laid);
        Ok(laid)
    }

    /// See [`crate::driver::TxQueue::launch`].
    #[inline]
    pub(in crate::driver) fn launch(&mut self, n: usize) -> bool {
        let Some(&Ready { descriptor, .. }) = self.ready.get(n) else { return false };
        if self.free() == 0 || self.options != Options::default() {
            return false;
        }
        let first = self.next;
        self.write(descriptor, NO_BUFFER);
        self.announce(first);
        true
    }

    /// See [`crate::driver::TxQueue::last_sent`].
    pub(in crate::driver) fn last_sent(&self) -> Option<Timestamp> {
        self.clock.as_ref().and_then(|clock| clock.last)
    }

    /// See [`crate::driver::TxQueue::adopt`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[cold]
    pub(in crate::driver) fn adopt(&mut self, pool: &Pool) -> Result<()> {
        if self.supply.is(pool) {
            return Ok(());
        }
        assert!(
            self.used() == self.switches && self.ready.is_empty(),
            "a transmit ring holds buffers of one pool at a time"
        );
        self.supply.adopt(pool)
    }

    /// Takes to another pool if the card reaches it, or counts that it does not.
    /// Apart from `send`, whose frame it would widen.
    #[cold]
    #[inline(never)]
    fn admits(&mut self, pool: &Pool) -> bool {
        let admitted = self.adopt(pool).is_ok();
        if !admitted {
            self.tally.count(Anomaly::Unmapped);
        }
        admitted
    }

    /// Gives all buffers in the ring back, sent or not. Only once the card
    /// cannot read any more.
    pub(in crate::driver) fn release(&mut self, pool: &Pool) {
        if self.supply.is(pool) {
            self.give_back(pool, self.next);
            pool.give_many(self.ready.drain(..).map(|ready| ready.buffer));
        }
    }

    /// See [`crate::driver::TxQueue::anomalies`].
    pub(in crate::driver) fn anomalies(&self) -> Anomalies {
        self.tally.read()
    }

    /// The counters behind [`TxQueue::anomalies`], for the control plane.
    pub(super) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxQueue({}, {}, next {}, clean {})", self.hw, self.queue.vi, self.next, self.clean)
    }
}
