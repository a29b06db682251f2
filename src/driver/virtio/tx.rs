//! Transmit queue.
//!
//! ```text
//!          the device's                        ours
//!         +-----------------------------+     +------------
//!   ... | header . frame | frame | ... |     | free | ...
//!         ^ clean        ^ a chain            ^ next
//! ```
//!
//! A frame with 12 bytes of room before it, as received ones have, gets its
//! header there and takes one descriptor; any other takes one more, for a header
//! that lies elsewhere, and so does each of a device that wants headers apart. A
//! chain's id is the index of its first descriptor. A completion marks its chain as
//! done, and chains are taken back in the order they were given, so a descriptor is
//! free only when all before it are. An id that is not the device's to name is an
//! anomaly and stands for the oldest chain that is not done: each completion ends one,
//! whatever it says.

use super::header::{self, Framing, HEADER};
use super::ring::{Notifier, Part, Virtqueue, Words, piece};
use super::stats::Counters;
use crate::dma::{BATCH_MAX, BUFFER_SIZE, Batch, Entry, Iova, L4, Offload, Pool, Region};
use crate::driver::pending::{BARE, Pending};
use crate::driver::queue::Transmit;
use crate::driver::ring::{Buffers, Ring, first_position};
use crate::driver::sends::{OddFrame, Sendable, Sends, Sent};
use crate::driver::slots::TAG;
use crate::driver::tally::Anomaly;
use crate::net::Sum;
use crate::pci::Function;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Descriptors in the ring from which on `send` looks for sent ones, or half of a short ring.
const RECLAIM_AT: u32 = 32;

/// Shortest frame: an Ethernet header. A virtio device pads nothing.
const MIN_FRAME: u32 = 14;

/// The chain was reported done. Below it, its descriptors; 0 of a descriptor
/// that starts none.
const DONE: u32 = 1 << 16;

/// A transmit queue on a ring of format `F`.
#[derive(Debug)]
pub struct Queue<F> {
    ring: F,
    notifier: Notifier,
    /// A header for each descriptor, and one for all frames that ask nothing.
    headers: Ring<Words>,
    plain: Iova,
    /// Buffer of each descriptor; of a header's, none.
    pending: Pending<Buffers>,
    /// Length of the chain that starts at each descriptor, and whether it is done.
    chains: Box<[Cell<u32>]>,
    /// Chains given so far.
    turn: u32,
    /// Completions seen so far, and the position of the next one.
    seen: u32,
    seen_at: u32,
    /// The device completes checksums.
    checksums: bool,
    /// Bytes of the longest frame without a tag: what the network behind takes.
    longest: u32,
    /// See [`RECLAIM_AT`].
    reclaim_at: u32,
    /// A count of completions that made no sense: it is not counted twice.
    nonsense: u32,
    counters: Arc<Counters>,
}

/// Bytes of memory for the headers of a queue of `len` descriptors.
pub fn header_bytes(len: u32) -> usize {
    (len as usize + 1) * size_of::<Words>()
}

impl<F: Virtqueue> Queue<F> {
    /// A queue on an empty ring that the device already knows, with zeroed
    /// memory for its headers.
    pub(super) fn new(
        ring: F,
        notifier: Notifier,
        card: &Arc<dyn Function>,
        headers: &Region,
        checksums: bool,
        longest: u16,
    ) -> Self {
        let (len, first) = (ring.len(), first_position());
        Queue {
            headers: piece(headers, 0, len),
            plain: headers.iova() + u64::from(len) * size_of::<Words>() as u64,
            pending: Pending::new(Buffers::new(len), card),
            chains: (0..len).map(|_| Cell::new(0)).collect(),
            ring,
            notifier,
            turn: first,
            seen: first,
            seen_at: first,
            checksums,
            longest: longest.into(),
            reclaim_at: RECLAIM_AT.min(len / 2),
            nonsense: 0,
            counters: Arc::default(),
        }
    }

    #[inline(always)]
    fn index(&self, position: u32) -> usize {
        (position & (self.ring.len() - 1)) as usize
    }

    /// The header that asks for what of `offload`, with its tag of `tag` bytes, the
    /// device can do; the rest is done here. `None` if it does not fit the frame.
    fn header_for(
        &self,
        batch: &mut Batch<'_>,
        from: usize,
        parts: usize,
        offload: Offload,
        tag: u16,
    ) -> Option<[u8; HEADER as usize]> {
        let (l3, l4) = (usize::from(offload.l2_len), usize::from(offload.l2_len) + usize::from(offload.l3_len));
        if offload.ip_checksum && !offload.ipv6 {
            let header = batch.frame_mut(from).get_mut(l3..l4).filter(|header| header.len() >= 20)?;
            header[10..12].fill(0);
            let sum = !Sum::of(header).fold();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let header = match offload.l4_checksum {
            None => header::PLAIN,
            Some(l4_kind @ (L4::Tcp | L4::Udp)) => {
                let field = if l4_kind == L4::Tcp { 16 } else { 6 };
                batch.frame(from).get(l4 + field..l4 + field + 2)?;
                if self.checksums {
                    header::with_checksum(l4 as u16 + tag, field as u16)
                } else {
                    fill_checksum(batch, from, parts, l4, field, l4_kind == L4::Udp);
                    header::PLAIN
                }
            }
            // A CRC, which no such device computes.
            Some(L4::Sctp) => return None,
        };
        if let Some(tci) = offload.vlan {
            batch.insert_tag(from, tci).then_some(())?;
        }
        Some(header)
    }

    /// Deals with up to `ready` completions that do not come in order.
    #[cold]
    #[inline(never)]
    fn reclaim_odd(&mut self, pool: &Pool, ready: u32) {
        let n = self.ring.len();
        for _ in 0..ready {
            let Some(id) = self.ring.completed_id(self.seen, self.seen_at) else { break };
            let named = if id < n { self.chains[id as usize].get() } else { 0 };
            let id = if named == 0 || named & DONE != 0 {
                self.pending.count(Anomaly::BadIndex);
                self.oldest()
            } else {
                id as usize
            };
            let len = self.chains[id].get();
            self.chains[id].set(len | DONE);
            self.seen = self.seen.wrapping_add(1);
            self.seen_at = self.seen_at.wrapping_add(len);
        }
        let mut end = self.pending.clean;
        while end != self.pending.next && self.chains[self.index(end)].get() & DONE != 0 {
            let len = self.chains[self.index(end)].take() & !DONE;
            end = end.wrapping_add(len);
        }
        self.pending.give_back(pool, end);
    }

    /// First descriptor of the oldest chain that is not done. There is one: no
    /// more completions are looked at than chains were given.
    fn oldest(&self) -> usize {
        let mut at = self.pending.clean;
        while self.chains[self.index(at)].get() & DONE != 0 {
            at = at.wrapping_add(self.chains[self.index(at)].get() & !DONE);
        }
        self.index(at)
    }

    /// The device claims to have used more than it was given.
    #[cold]
    fn reject(&mut self) -> u32 {
        // One that stays ahead is wrong once, however often it goes on.
        let here = self.seen.wrapping_add(1);
        if self.nonsense != here {
            self.nonsense = here;
            self.pending.count(Anomaly::BadIndex);
        }
        self.counters.astray();
        0
    }

    /// What it has carried, for the control plane.
    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

impl<F: Virtqueue> Transmit for Queue<F> {
    #[inline]
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.pending.is(pool) && !self.admits(pool) {
            return 0;
        }
        if self.pending.used() >= self.reclaim_at {
            self.reclaim(pool);
        }
        self.send_all(batch)
    }

    #[inline]
    fn reclaim(&mut self, pool: &Pool) -> usize {
        self.pending.check(pool);
        let n = self.ring.len();
        let given = self.turn.wrapping_sub(self.seen);
        let ready = match self.ring.completed(self.seen) {
            Some(count) if count <= given => count,
            Some(_) => self.reject(),
            None => given,
        };
        let chains = &self.chains[..n as usize];
        let mut end = self.pending.clean;
        // How far completions are ahead, as some came out of order.
        let ahead = self.seen_at.wrapping_sub(end);
        let mut seen = 0;
        // In order, as they almost always come.
        while seen < ready {
            let turn = self.seen.wrapping_add(seen);
            let Some(id) = self.ring.completed_id(turn, end.wrapping_add(ahead)) else { break };
            let chain = &chains[(end & (n - 1)) as usize];
            let len = chain.get();
            if id != end & (n - 1) || len >= DONE {
                break;
            }
            chain.set(0);
            end = end.wrapping_add(len);
            seen += 1;
        }
        self.seen = self.seen.wrapping_add(seen);
        self.seen_at = end.wrapping_add(ahead);
        self.pending.give_back(pool, end);
        // Those behind the oldest may have been completed before it.
        if seen < ready || chains[(end & (n - 1)) as usize].get() >= DONE {
            self.reclaim_odd(pool, ready - seen);
        }
        self.pending.frames() as usize
    }
}

impl<F: Virtqueue> Sends for Queue<F> {
    type Ring = Buffers;

    #[inline(always)]
    fn pending(&self) -> &Pending<Buffers> {
        &self.pending
    }

    #[inline(always)]
    fn pending_mut(&mut self) -> &mut Pending<Buffers> {
        &mut self.pending
    }

    #[inline(always)]
    fn slots(&self) -> u32 {
        self.ring.len()
    }

    #[inline(always)]
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        // It is more than none anyway, which the compiler does not know.
        let n = self.ring.len().max(1) as usize;
        let (mut position, mut turn, mut free) = (self.pending.next, self.turn, self.free());
        let mut sent = from;
        let mut bytes = 0;
        let mut bare = 0;
        let longest = self.longest.min(BUFFER_SIZE as u32);
        let Framing { len: header, apart } = self.ring.framing();
        let (shadows, chains) = (&self.pending.ring.cells()[..n], &self.chains[..n]);
        while sent < batch.len() {
            let Entry { buffer, span, .. } = batch.entries()[sent];
            let (length, start) = (u32::from(span.len()), u32::from(span.start()));
            let at = position as usize & (n - 1);
            let flagged = span.word() >> 24 != 0;
            if flagged || length.wrapping_sub(MIN_FRAME) > longest - MIN_FRAME || free < 2 {
                break;
            }
            let address = iova(buffer) + u64::from(start);
            let parts = if start >= HEADER && !apart {
                batch.prepend(sent, header::PLAIN);
                self.ring.give_one(turn, position, address - u64::from(header), length + header);
                shadows[at].set(buffer);
                1
            } else {
                let plain = Part { address: self.plain, len: header, write: false };
                self.ring.give_chain(turn, position, &[plain, Part { address, len: length, write: false }]);
                shadows[at].set(BARE);
                shadows[(at + 1) & (n - 1)].set(buffer);
                bare += 1;
                2
            };
            chains[at].set(parts);
            position = position.wrapping_add(parts);
            turn = turn.wrapping_add(1);
            free -= parts;
            bytes += u64::from(length);
            sent += 1;
        }
        self.pending.pushed(position, bare);
        self.turn = turn;
        if sent > from {
            self.counters.add(sent - from, bytes);
        }
        sent - from
    }

    /// Also the last frame that the ring has room for comes here.
    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Sent {
        let longest = self.ring.len() - 1;
        // A tag is none of what a network counts, be it there or yet to be put in.
        let tagged = is_tagged(batch.frame(from)) || batch.offload(from).is_some_and(|offload| offload.vlan.is_some());
        let max = (self.longest + if tagged { TAG } else { 0 }).min(super::MAX_FRAME.into());
        let what = Sendable { min: MIN_FRAME, max, parts: longest, pads: false };
        let OddFrame { parts, total, tag, offload } = match self.odd_frame(batch, from, what) {
            Ok(frame) => frame,
            Err(refused) => return refused,
        };
        if self.free() <= parts as u32 {
            return Sent::Waits;
        }
        let asked = match offload {
            Some(offload) => self.header_for(batch, from, parts, offload, tag as u16),
            None => Some(header::PLAIN),
        };
        let Some(asked) = asked else {
            return self.refuse(batch, from, parts, Anomaly::BadLength);
        };

        let first = self.pending.next;
        let slot = self.headers.at(first);
        let words = [&asked[..8], &asked[8..]]
            .map(|half| half.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)));
        slot[0].store(words[0], Ordering::Relaxed);
        slot[1].store(words[1], Ordering::Relaxed);
        let at = self.index(first);
        let header = self.headers.iova() + at as u64 * size_of::<Words>() as u64;
        let mut chain = [Part::default(); BATCH_MAX + 1];
        chain[0] = Part { address: header, len: self.ring.framing().len, write: false };
        self.pending.push(BARE);
        for (part, entry) in chain[1..].iter_mut().zip(&batch.entries()[from..from + parts]) {
            let address = batch.pool().iova(entry.buffer) + u64::from(entry.span.start());
            *part = Part { address, len: u32::from(entry.span.len()), write: false };
            self.pending.push(entry.buffer);
        }
        self.ring.give_chain(self.turn, first, &chain[..=parts]);
        self.chains[at].set(1 + parts as u32);
        self.turn = self.turn.wrapping_add(1);
        self.counters.add(1, u64::from(total + tag));
        Sent::Done(parts)
    }

    #[inline(always)]
    fn announce(&mut self, _first: u32) {
        self.ring.publish(self.turn);
        self.notifier.tell(&self.ring, self.turn, self.pending.next);
    }
}

/// Whether a frame has a VLAN tag.
fn is_tagged(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]))
}

/// Completes the transport checksum of a frame of `parts` entries, whose
/// transport header starts at byte `l4` of the first: the field, `field` bytes
/// on, holds the pseudo-header's part and is summed with the rest.
fn fill_checksum(batch: &mut Batch<'_>, from: usize, parts: usize, l4: usize, field: usize, udp: bool) {
    let mut sum = Sum::default();
    let mut odd = false;
    for i in from..from + parts {
        let frame = batch.frame(i);
        let bytes = if i == from { &frame[l4..] } else { frame };
        let part = Sum::of(bytes);
        sum = sum.and(if odd { part.shifted() } else { part });
        odd ^= bytes.len() % 2 != 0;
    }
    let checksum = match !sum.fold() {
        0 if udp => 0xffff,
        checksum => checksum,
    };
    batch.frame_mut(from)[l4 + field..l4 + field + 2].copy_from_slice(&checksum.to_be_bytes());
}
