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
use super::path::Path;
use super::setup::Queue;
use super::time::{Sync, TimeFormat};
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Pool, Timestamp};
use crate::driver::pending::{BARE, INNER, NO_BUFFER, Pending};
use crate::driver::queue::Transmit;
use crate::driver::ring::BufferRing;
use crate::driver::sends::{OddFrame, Sendable, Sends, Sent};
use crate::driver::tally::Anomaly;
use crate::pci::Function;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shortest frame the card may be given; its MAC pads to 60.
const MIN_FRAME: u32 = 17;

/// What the card sends.
const SENDABLE: Sendable = Sendable { min: MIN_FRAME, max: 9216, parts: u32::MAX, pads: true };

/// What a completion looks like: from the transmit queue, which there is one of,
/// so its label is 0, and of a kind that says that descriptors are done.
const DONE: u64 = code::TX << 60;
const LOOKED_AT: u64 = Event::CODE | Event::DROP | Event::KIND | Event::LABEL;

/// A transmit queue.
pub struct TxQueue {
    pending: Pending<BufferRing<AtomicU64>>,
    events: EventQueue,
    path: Path,
    /// Descriptors that the card is to have, at most.
    window: u32,
    /// What holds for the next frame.
    options: Options,
    /// The firmware lets the card put tags in.
    tags: bool,
    /// Descriptors of frames laid ready.
    ready: Vec<u64>,
    clock: Option<SentClock>,
    /// It could not be started again.
    dead: bool,
    hw: Arc<Hw>,
    queue: Queue,
}

/// When frames left.
#[derive(Clone, Copy)]
struct SentClock {
    format: TimeFormat,
    generation: Generation,
    sync: Sync,
    /// Lower part of a time whose upper part is still to come.
    low: u32,
    last: Option<Timestamp>,
}

impl TxQueue {
    /// A queue that the card has started; `clock` if it reports when frames left.
    pub(super) fn new(
        hw: Arc<Hw>,
        queue: Queue,
        card: &Arc<dyn Function>,
        path: Path,
        window: u32,
        tags: bool,
        clock: Option<(TimeFormat, Sync)>,
    ) -> Self {
        let descriptors = queue.ring.words64().len() as u32;
        let generation = hw.generation;
        let mut this = TxQueue {
            pending: Pending::new(BufferRing::new(queue.ring.clone(), descriptors), card),
            events: EventQueue::new(queue.events.clone()),
            path,
            window,
            options: Options::default(),
            tags,
            ready: Vec::new(),
            clock: clock.map(|(format, sync)| SentClock { format, generation, sync, low: 0, last: None }),
            dead: false,
            hw,
            queue,
        };
        this.begin();
        this
    }

    /// Switches options to where they are known to be.
    fn begin(&mut self) {
        self.options = Options::default();
        let first = self.pending.next;
        self.write(self.options.checksums(self.clock.is_some()), BARE);
        self.announce(first);
    }

    /// Sends through packet memory or into the transmitter what can go there.
    #[inline(never)]
    fn send_special(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if self.pending.used() > 0 {
            self.reclaim(pool);
        }
        if self.path.is_direct() {
            // Only a frame alone, to a card that has nothing else of this queue.
            let idle = self.pending.frames() == 0 && self.options == Options::default() && !self.dead;
            let plain = batch.len() == 1 && !batch.entries()[0].span.special() && !batch.frame(0).is_empty();
            if idle && plain {
                batch.pad(0, super::path::MIN_DIRECT);
                let direct = batch.frame(0).len() >= super::path::MIN_DIRECT;
                let stamped = self.clock.is_some();
                if direct {
                    self.path.store(batch.frame(0), stamped);
                    let first = self.pending.next;
                    let n = self.send_plain(batch, 0, |buffer| pool.iova(buffer));
                    debug_assert_eq!(n, 1);
                    self.path.ring_index(self.pending.ring.index(first.wrapping_add(1)));
                    batch.taken(1);
                    return 1;
                }
            }
        } else if self.options == Options::default() && !self.dead {
            // What fits goes into packet memory, until that is full.
            let first = self.pending.next;
            let mut sent = 0;
            while sent < batch.len() && self.free() > 0 && !batch.entries()[sent].span.special() {
                let frame = batch.frame(sent);
                if (frame.len() as u32) < MIN_FRAME {
                    break;
                }
                let Some(offset) = self.path.lay(frame, self.pending.next) else { break };
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

    /// Writes the next descriptor, with what the shadow is to say of it.
    fn write(&mut self, descriptor: u64, shadow: u32) {
        self.pending.ring.at(self.pending.next).store(descriptor, Ordering::Relaxed);
        self.pending.push(shadow);
    }

    /// The descriptors that switch from what holds to `options`.
    fn switches_to(&self, options: Options) -> [Option<u64>; 2] {
        let now = self.options;
        let checksums = (options.ip, options.l4) != (now.ip, now.l4);
        [checksums.then(|| options.checksums(self.clock.is_some())), (options.vlan != now.vlan).then(|| options.tag())]
    }

    /// The end of what is done, after an event: `end` if that makes no sense.
    #[inline(always)]
    fn done(&self, event: Event, end: u32) -> u32 {
        let index = (event.0 & Event::INDEX) as u32;
        let ahead = self.pending.ring.index(index.wrapping_sub(self.pending.clean));
        let last = self.pending.clean.wrapping_add(ahead);
        let new = ahead < self.pending.used()
            && ahead >= end.wrapping_sub(self.pending.clean)
            && index < self.pending.ring.len();
        if new && (self.pending.plain() || self.pending.ring.buffer(last).get() & INNER == 0) {
            return last.wrapping_add(1);
        }
        self.pending.count(Anomaly::BadIndex);
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
            // The card has forgotten all that it was told; control reports that when it is asked.
            (code::MCDI, mcdi::REBOOT | mcdi::MC_REBOOT, _) => self.pending.count(Anomaly::QueueReset),
            (code::MCDI | code::DRIVER | 7, ..) => {}
            _ => self.pending.count(Anomaly::BadIndex),
        }
        end
    }

    /// Takes back what is before `end`.
    #[inline]
    fn give_back(&mut self, pool: &Pool, end: u32) {
        self.pending.give_back(pool, end);
        self.path.sent(end);
    }

    /// Sets the queue up anew: completions were lost, so nothing is known of the
    /// buffers that the card has, but that they are ours once it has stopped.
    #[cold]
    fn reset(&mut self, pool: &Pool) {
        self.pending.count(Anomaly::QueueReset);
        self.dead = self.queue.stop(&self.hw).and_then(|()| self.queue.start(&self.hw)).is_err();
        self.give_back(pool, self.pending.next);
        self.events.restart();
        self.pending.restart(0);
        self.begin();
    }
}

/// The descriptor of a whole frame in one buffer that wants nothing special.
#[inline(always)]
fn plain(entry: &Entry, iova: impl Fn(u32) -> Iova) -> Option<u64> {
    let (length, start) = (u32::from(entry.span.len()), entry.span.start());
    if entry.span.special() || length.wrapping_sub(MIN_FRAME) > BUFFER_SIZE as u32 - MIN_FRAME {
        return None;
    }
    Some(desc::transmit(iova(entry.buffer) + u64::from(start), length))
}

impl Transmit for TxQueue {
    #[inline]
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.pending.is(pool) && !self.admits(pool) {
            return 0;
        }
        if self.path.is_special() {
            return self.send_special(batch);
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
    type Ring = BufferRing<AtomicU64>;

    #[inline(always)]
    fn pending(&self) -> &Pending<Self::Ring> {
        &self.pending
    }

    #[inline(always)]
    fn pending_mut(&mut self) -> &mut Pending<Self::Ring> {
        &mut self.pending
    }

    /// One stays free, or a full ring would look like an empty one.
    #[inline(always)]
    fn slots(&self) -> u32 {
        self.window - 1
    }

    #[inline]
    fn take_back(&mut self, pool: &Pool, _needed: u32) {
        if self.events.lapped() {
            self.reset(pool);
        }
        let mut end = self.pending.clean;
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
    }

    #[inline(always)]
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        if self.options != Options::default() {
            return 0;
        }
        let most = (batch.len() - from).min(self.free() as usize);
        let first = self.pending.next;
        if most == 1 {
            // What a loop sets up is a third of what one packet takes.
            let entry = &batch.entries()[from];
            let Some(descriptor) = plain(entry, iova) else { return 0 };
            let (slot, buffer) = self.pending.ring.slots().at(first);
            slot.store(descriptor, Ordering::Relaxed);
            buffer.set(entry.buffer);
            self.pending.next = first.wrapping_add(1);
            return 1;
        }
        // Where the ring ends, one frame is left to send_odd, and the rest comes here again.
        let (slots, buffers) = self.pending.ring.slots().run(first, most);
        let entries = &batch.entries()[from..][..slots.len()];
        let mut n = 0;
        for ((slot, buffer), entry) in slots.iter().zip(buffers).zip(entries) {
            let Some(descriptor) = plain(entry, &iova) else { break };
            n += 1;
            slot.store(descriptor, Ordering::Relaxed);
            buffer.set(entry.buffer);
        }
        self.pending.next = first.wrapping_add(n);
        n as usize
    }

    /// Frames that follow one with an offload come here too, to switch it off.
    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Sent {
        let OddFrame { parts, offload, .. } = match self.odd_frame(batch, from, SENDABLE) {
            Ok(frame) => frame,
            Err(refused) => return refused,
        };
        let offload = offload.unwrap_or_default();
        let Some(mut options) = Options::of(&offload) else {
            return self.refuse(batch, from, parts, Anomaly::BadLength);
        };
        // Firmware that cannot put tags in has it done here.
        let by_hand = offload.vlan.filter(|_| !self.tags);
        options.vlan = options.vlan.filter(|_| by_hand.is_none());
        let switches = self.switches_to(options);
        if self.free() < (parts + switches.iter().flatten().count()) as u32 {
            return Sent::Waits;
        }
        if by_hand.is_some_and(|tci| !batch.insert_tag(from, tci)) {
            return self.refuse(batch, from, parts, Anomaly::BadLength);
        }
        for switch in switches.into_iter().flatten() {
            self.write(switch, BARE);
        }
        self.options = options;
        for i in from..from + parts {
            let length = batch.frame(i).len() as u32;
            let Entry { buffer, span, .. } = batch.entries()[i];
            let address = batch.pool().iova(buffer) + u64::from(span.start());
            let (goes_on, inner) = if i + 1 == from + parts { (0, 0) } else { (CONT, INNER) };
            self.write(desc::transmit(address, length) | goes_on, buffer | inner);
        }
        Sent::Done(parts)
    }

    /// Tells the card of the descriptors from `first` on.
    #[inline(always)]
    fn announce(&mut self, first: u32) {
        if !self.dead {
            let descriptor = self.pending.ring.at(first).load(Ordering::Relaxed);
            self.path.ring(descriptor, self.pending.ring.index(self.pending.next));
        }
    }

    fn layable(&self) -> Option<RangeInclusive<usize>> {
        Some(MIN_FRAME as usize..=BUFFER_SIZE)
    }

    fn lay(&mut self, batch: &Batch<'_>, i: usize) {
        let Entry { buffer, span, .. } = batch.entries()[i];
        self.ready.push(match self.path.keep(batch.frame(i)) {
            Some(offset) => desc::packet_memory(offset, u32::from(span.len())),
            None => desc::transmit(batch.pool().iova(buffer) + u64::from(span.start()), u32::from(span.len())),
        });
    }

    #[inline]
    fn launch(&mut self, n: usize) -> bool {
        let Some(&descriptor) = self.ready.get(n) else { return false };
        if self.free() == 0 || self.options != Options::default() {
            return false;
        }
        let first = self.pending.next;
        self.write(descriptor, NO_BUFFER);
        self.announce(first);
        true
    }

    fn last_sent(&self) -> Option<Timestamp> {
        self.clock.as_ref().and_then(|clock| clock.last)
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxQueue({}, {}, next {}, clean {})", self.hw, self.queue.vi, self.pending.next, self.pending.clean)
    }
}
