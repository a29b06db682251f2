//! Transmit queue.
//!
//! ```text
//!   descriptors        the card's                                ours
//!            +-----------------------------------------------+------------
//!     ... -> | sent | sent | frame + more | frame | frame NOW | free | ... -> ...
//!            +-----------------------------------------------+------------
//!              ^ clean                                         ^ next
//!
//!   completions  | sent up to 2 | sent up to 5 | ...
//!                  ^ next
//! ```
//!
//! A frame is one descriptor, or one with an extension where there is something to
//! say, and one for each further buffer. Of the frames that are announced together
//! the last asks for a completion, at once, and the others for none: a card that
//! gathers completions would keep us waiting. What the card returns with it is the
//! position where that frame ends, and stands for all before; it is believed if
//! it is one of ours and ends a frame.
//!
//! A time is asked of one frame at a time, as cards can keep few.

mod anew;

use super::bell::Bell;
use super::cq::Completions;
use super::desc::{self, ENTRY, More, OPAQUE, VALID, Words, kind, sent, tx};
use super::meta::Clock;
use super::parts::Restart;
pub use super::parts::{MAX_TX_RING as MAX_RING, TxBells, TxLengths as Lengths, TxParts};
use super::recall::Recall;
use crate::dma::{BUFFER_SIZE, Batch, Entry, Iova, Pool, Timestamp};
use crate::driver::pending::{BARE, INNER, NO_BUFFER, Pending};
use crate::driver::queue::Transmit;
use crate::driver::ring::{BufferRing, store_both};
use crate::driver::sends::{OddFrame, Sendable, Sends, Sent};
use crate::driver::tally::Anomaly;
use crate::pci::Function;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Frames are padded to this, as loops inside the card do not.
const PAD: u32 = 60;

/// What the card sends; an extension takes one descriptor more.
const SENDABLE: Sendable = Sendable { min: 17, max: 9518, parts: tx::MOST - 1, pads: true };

/// A transmit queue.
pub struct TxQueue {
    pending: Pending<BufferRing<Words>>,
    completions: Completions,
    bell: Bell,
    /// Descriptors that the card may have; all that it has, once it is dead.
    window: u32,
    /// Descriptors of the newest frame besides its first.
    behind: u32,
    /// The first word of that first one: to read it back would wait for its line.
    last: u64,
    /// The card puts VLAN tags in.
    tags: bool,
    stamps: Option<Stamps>,
    /// The next frame is to be stamped.
    stamping: bool,
    /// Descriptors of frames laid ready, but for their ends.
    ready: Vec<[u64; 2]>,
    restart: Restart<TxBells>,
    recall: Arc<Recall>,
    /// It could not be set up again.
    dead: bool,
}

/// When frames left.
struct Stamps {
    clock: Clock,
    /// Where the frame ends that a stamp is to come of.
    wanted: Option<u32>,
    /// Where the last one ended that one came of, and the stamp.
    last: Option<(u32, Timestamp)>,
}

impl TxQueue {
    /// A queue on rings that `card` has, empty.
    pub fn new(card: &Arc<dyn Function>, parts: TxParts) -> Self {
        let len = (parts.descriptors.len() / ENTRY) as u32;
        TxQueue {
            pending: Pending::new(BufferRing::new(parts.descriptors, len), card),
            completions: Completions::new(parts.completions, len, parts.bells.completions),
            bell: parts.bells.transmit,
            // One stays free, or a full ring would look like an empty one.
            window: len - 1,
            behind: 0,
            last: 0,
            tags: parts.tags,
            stamping: parts.clock.is_some(),
            stamps: parts.clock.map(|clock| Stamps { clock, wanted: None, last: None }),
            ready: Vec::new(),
            restart: parts.restart,
            recall: parts.recall,
            dead: false,
        }
    }

    /// Writes the next descriptor, with what the shadow is to say of it.
    fn write(&mut self, words: [u64; 2], shadow: u32) {
        store_both(self.pending.ring.at(self.pending.next), words[0], words[1]);
        self.pending.push(shadow);
    }

    /// Takes completions of frames of one descriptor, as long as nothing else lies
    /// between them; the end of what is sent.
    #[inline(always)]
    fn plain_done(&mut self, mut end: u32) -> u32 {
        let entries = if self.pending.plain() { self.completions.entries() } else { &[] };
        let valid = self.completions.valid(self.completions.next);
        let next = self.pending.next;
        let mut n = 0;
        for entry in entries {
            // Acquire: the next owner of the buffer writes to it after the card has read it.
            let second = entry[1].load(Ordering::Acquire);
            let first = entry[0].load(Ordering::Relaxed);
            let new = (first >> OPAQUE) as u32;
            let ours = new.wrapping_sub(end).wrapping_sub(1) < next.wrapping_sub(end);
            if first & LOOKED_AT | (second ^ valid) & (sent::ERRORS | VALID) != 0 || !ours {
                break;
            }
            (end, n) = (new, n + 1);
        }
        self.completions.take(n);
        end
    }

    /// The end of what is sent, after a completion that says `new`: `end` if that
    /// makes no sense.
    #[inline(always)]
    fn done(&self, new: u32, end: u32) -> u32 {
        let ours = new.wrapping_sub(end).wrapping_sub(1) < self.pending.next.wrapping_sub(end);
        if ours && (self.pending.plain() || self.pending.ring.buffer(new.wrapping_sub(1)).get() & INNER == 0) {
            return new;
        }
        self.pending.count(Anomaly::BadIndex);
        end
    }

    /// Deals with a completion that is not plain, as [`TxQueue::done`]; how many
    /// entries it is of, and whether the card has stopped.
    #[cold]
    #[inline(never)]
    fn other(&mut self, [first, second]: [u64; 2], end: u32) -> (u32, u32, bool) {
        let opaque = (first >> OPAQUE) as u32;
        match first & kind::MASK {
            // A frame that could not be sent, and perhaps the last that the card looks at.
            kind::SENT => {
                self.pending.count(Anomaly::FrameError);
                return (self.done(opaque, end), 1, true);
            }
            kind::SENT_TO => {
                let index = (second >> 32 & sent::INDEX) as u32;
                let ahead = self.pending.ring.index(index.wrapping_sub(end));
                if index < self.pending.ring.len() && ahead > 0 {
                    return (self.done(end.wrapping_add(ahead), end), 1, false);
                }
                self.pending.count(Anomaly::BadIndex);
            }
            kind::SENT_AT => self.stamped(opaque, [first, second]),
            kind::STATISTICS | kind::COMMAND_DONE | kind::FORWARDED | kind::ANSWERED | kind::EVENT => {}
            _ => self.pending.count(Anomaly::BadIndex),
        }
        // Odd kinds are of two entries.
        (end, 1 + (first & 1) as u32, false)
    }

    /// Notes when the frame that ends at `end` left.
    fn stamped(&mut self, end: u32, [first, second]: [u64; 2]) {
        let Some(stamps) = self.stamps.as_mut().filter(|stamps| stamps.wanted == Some(end)) else {
            return self.pending.count(Anomaly::BadIndex);
        };
        stamps.wanted = None;
        self.stamping = true;
        if first & sent::ERROR == 0 && second & sent::NO_TIME == 0 {
            let low = second >> 32 | (first >> 16 & 0xffff) << 32;
            let time = stamps.clock.now().whole(low, 48);
            stamps.last = Some((end, Timestamp(Duration::from_nanos(time))));
        }
    }

    /// Takes back what is before `end`.
    #[inline(always)]
    fn give_back(&mut self, pool: &Pool, end: u32) {
        self.pending.give_back(pool, end);
        if let Some(Stamps { wanted, .. }) = &mut self.stamps {
            // A stamp that is a round late comes no more.
            let late = |&mut at: &mut u32| end.wrapping_sub(at) < u32::MAX / 2 && end.wrapping_sub(at) > self.window;
            if wanted.take_if(late).is_some() {
                self.stamping = true;
            }
        }
    }

    /// As after so many descriptors and completions.
    #[cfg(test)]
    pub fn begin_at(&mut self, position: u32) {
        self.pending.restart(position);
        self.completions.begin_at(position);
    }
}

/// What is looked at of a completion of frames that were sent: nothing of it is set.
const LOOKED_AT: u64 = kind::MASK | sent::ERROR;

impl Transmit for TxQueue {
    #[inline]
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.recall.lets(pool) && !self.called(pool) {
            return 0;
        }
        self.send_or_look(batch)
    }

    #[inline]
    fn reclaim(&mut self, pool: &Pool) -> usize {
        if self.recall.lets(pool) || self.reclaims(pool) {
            self.take_back(pool, u32::MAX);
        }
        self.pending.frames() as usize
    }
}

impl Sends for TxQueue {
    type Ring = BufferRing<Words>;

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
        self.window
    }

    #[inline(always)]
    fn take_back(&mut self, pool: &Pool, _needed: u32) {
        let mut end = self.pending.clean;
        let mut stopped = false;
        // A card that reports without end is left alone after one round.
        for _ in 0..self.completions.len() {
            end = self.plain_done(end);
            let Some([first, second]) = self.completions.peek(0) else { break };
            let entries;
            if first & LOOKED_AT | second & sent::ERRORS == 0 {
                (end, entries) = (self.done((first >> OPAQUE) as u32, end), 1);
            } else if first & 1 == 0 || self.completions.peek(1).is_some() {
                (end, entries, stopped) = self.other([first, second], end);
            } else {
                break;
            }
            self.completions.take(entries);
            if stopped {
                break;
            }
        }
        self.give_back(pool, end);
        self.completions.give_back();
        if stopped {
            self.reset(pool);
        }
    }

    #[inline(always)]
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        if self.stamping {
            return 0;
        }
        let most = (batch.len() - from).min(self.free() as usize);
        let first = self.pending.next;
        // Where the ring ends, one frame is left to send_odd, and the rest comes here again.
        let (slots, buffers) = self.pending.ring.slots().run(first, most);
        let entries = &batch.entries()[from..][..slots.len()];
        let (mut n, mut last) = (0, self.last);
        for ((slot, buffer), entry) in slots.iter().zip(buffers).zip(entries) {
            // Flags and start are above the length: a word in this range has none.
            let length = entry.span.word();
            if length.wrapping_sub(PAD) > BUFFER_SIZE as u32 - PAD {
                break;
            }
            n += 1;
            let end = u64::from(first.wrapping_add(n)) << OPAQUE;
            last = desc::plain(length) | end;
            store_both(slot, last, iova(entry.buffer));
            buffer.set(entry.buffer);
        }
        self.pending.next = first.wrapping_add(n);
        if n > 0 {
            (self.behind, self.last) = (0, last);
        }
        n as usize
    }

    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Sent {
        if !batch.frame(from).is_empty() && !batch.continues(from) {
            batch.pad(from, PAD as usize);
        }
        let OddFrame { parts, mut total, tag, offload } = match self.odd_frame(batch, from, SENDABLE) {
            Ok(frame) => frame,
            Err(refused) => return refused,
        };
        let mut offload = offload.unwrap_or_default();
        // Firmware that keeps tags to itself has it done here.
        let by_hand = offload.vlan.take_if(|_| !self.tags);
        let Some(mut more) = More::of(&offload) else {
            return self.refuse(batch, from, parts, Anomaly::BadLength);
        };
        if self.stamping {
            more = more.stamped();
        }
        let count = (parts + usize::from(more.says())) as u32;
        if self.free() < count {
            return Sent::Waits;
        }
        if let Some(tci) = by_hand {
            if !batch.insert_tag(from, tci) {
                return self.refuse(batch, from, parts, Anomaly::BadLength);
            }
            total += tag;
        }
        let end = self.pending.next.wrapping_add(count);
        for i in from..from + parts {
            let length = batch.frame(i).len() as u64;
            let Entry { buffer, span, .. } = batch.entries()[i];
            let address = batch.pool().iova(buffer) + u64::from(span.start());
            let (ends, inner) = if i + 1 == from + parts { (tx::END, 0) } else { (0, INNER) };
            let data = length << 16 | ends;
            if i > from {
                self.write([data, address], buffer | inner);
                continue;
            }
            let long = if more.says() { tx::LONG } else { 0 };
            let first = desc::transmit(total, count) | data | long | tx::QUIET | u64::from(end) << OPAQUE;
            self.last = first;
            if more.says() {
                // The buffer is noted with the extension, which may end the frame.
                self.write([first, address], BARE);
                self.write(more.words(), buffer | inner);
            } else {
                self.write([first, address], buffer | inner);
            }
        }
        self.behind = count - 1;
        if let Some(stamps) = self.stamps.as_mut().filter(|_| self.stamping) {
            stamps.wanted = Some(end);
            self.stamping = false;
        }
        Sent::Done(parts)
    }

    /// Asks for a completion of the last frame, and rings.
    #[inline(always)]
    fn announce(&mut self, _first: u32) {
        let last = self.pending.next.wrapping_sub(1 + self.behind);
        self.pending.ring.at(last)[0].store(self.last & !tx::QUIET | tx::NOW, Ordering::Relaxed);
        self.bell.ring(self.pending.ring.index(self.pending.next));
    }

    fn layable(&self) -> Option<RangeInclusive<usize>> {
        Some(PAD as usize..=BUFFER_SIZE)
    }

    fn lay(&mut self, batch: &Batch<'_>, i: usize) {
        self.recall.close();
        let Entry { buffer, span, .. } = batch.entries()[i];
        let first = desc::plain(u32::from(span.len())) & !tx::QUIET | tx::NOW;
        self.ready.push([first, batch.pool().iova(buffer) + u64::from(span.start())]);
    }

    #[inline]
    fn launch(&mut self, n: usize) -> bool {
        let Some(&[first, address]) = self.ready.get(n) else { return false };
        if self.free() == 0 {
            return false;
        }
        let end = self.pending.next.wrapping_add(1);
        self.write([first | u64::from(end) << OPAQUE, address], NO_BUFFER);
        self.behind = 0;
        self.bell.ring(self.pending.ring.index(end));
        true
    }

    fn last_sent(&self) -> Option<Timestamp> {
        let (end, time) = self.stamps.as_ref()?.last?;
        (end == self.pending.clean).then_some(time)
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxQueue({:?}, next {}, clean {})", self.bell, self.pending.next, self.pending.clean)
    }
}

const _: () = assert!(VALID & sent::ERRORS == 0);
