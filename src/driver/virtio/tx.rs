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
//! that lies elsewhere. A chain's id is the index of its first descriptor. A
//! completion marks its chain as done, and chains are taken back in the order
//! they were given, so a descriptor is free only when all before it are. An id
//! that is not the device's to name is an anomaly and stands for the oldest
//! chain that is not done: each completion ends one, whatever it says.

use super::header::{self, HEADER};
use super::ring::{Completion, Format, Notifier, Part, Words, piece};
use super::stats::Counters;
use crate::dma::{BATCH_MAX, BUFFER_SIZE, Batch, Entry, Iova, L4, Offload, Pool, Region};
use crate::driver::Anomalies;
use crate::driver::ring::Ring;
use crate::driver::supply::Supply;
use crate::driver::tally::{Anomaly, Tally};
use crate::error::Result;
use crate::net::Sum;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Descriptors in the ring from which on `send` looks for sent ones.
const RECLAIM_AT: u32 = 32;

/// Shortest frame: an Ethernet header. A virtio device pads nothing.
const MIN_FRAME: u32 = 14;

/// Longest frame, without FCS: what a port can be opened for.
const MAX_FRAME: u32 = super::MAX_FRAME as u32;

/// Stands for a header's descriptor, which has no buffer.
const NO_BUFFER: u32 = u32::MAX;

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
    /// Buffer of each descriptor.
    buffers: Box<[Cell<u32>]>,
    /// Length of the chain that starts at each descriptor, and whether it is done.
    chains: Box<[Cell<u32>]>,
    /// Position that is written next. Runs freely.
    next: u32,
    /// Oldest position not yet taken back.
    clean: u32,
    /// Chains given so far.
    turn: u32,
    /// Completions seen so far, and the position of the next one.
    seen: u32,
    seen_at: u32,
    /// Descriptors among `clean..next` that have no buffer.
    bare: u32,
    /// The device completes checksums.
    checksums: bool,
    supply: Supply,
    /// A count of completions that made no sense, lest it is counted twice.
    nonsense: u32,
    tally: Arc<Tally>,
    counters: Arc<Counters>,
}

/// What became of a frame that is not plain.
enum Odd {
    /// No room in the ring for it.
    Waits,
    /// These many entries of the batch are dealt with.
    Done(usize),
}

/// Bytes of memory for the headers of a queue of `len` descriptors.
pub fn header_bytes(len: u32) -> usize {
    (len as usize + 1) * size_of::<Words>()
}

impl<F: Format> Queue<F> {
    /// A queue on an empty ring that the device already knows, with zeroed
    /// memory for its headers.
    pub(super) fn new(ring: F, notifier: Notifier, supply: Supply, headers: &Region, checksums: bool) -> Self {
        let len = ring.len();
        let cells = || (0..len).map(|_| Cell::new(0)).collect();
        Queue {
            headers: piece(headers, 0, len),
            plain: headers.iova() + u64::from(len) * size_of::<Words>() as u64,
            buffers: cells(),
            chains: cells(),
            ring,
            notifier,
            next: 0,
            clean: 0,
            turn: 0,
            seen: 0,
            seen_at: 0,
            bare: 0,
            checksums,
            supply,
            nonsense: 0,
            tally: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// See [`crate::driver::TxQueue::send`].
    #[inline]
    pub(super) fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        if !self.supply.is(pool) && !self.admits(pool) {
            return 0;
        }
        if self.used() >= RECLAIM_AT {
            self.reclaim(pool);
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

    /// Descriptors that can be written.
    #[inline(always)]
    fn free(&self) -> u32 {
        self.ring.len() - self.used()
    }

    #[inline(always)]
    fn index(&self, position: u32) -> usize {
        (position & (self.ring.len() - 1)) as usize
    }

    #[inline(always)]
    fn send_to(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let first = self.turn;
        let count = batch.len();
        let mut sent = 0;
        loop {
            sent += self.send_plain(batch, sent, iova);
            if sent == count {
                break;
            }
            match self.send_odd(batch, sent) {
                Odd::Waits => break,
                Odd::Done(entries) => sent += entries,
            }
        }
        if self.turn != first {
            self.ring.publish(self.turn);
            self.notifier.tell(&self.ring, self.turn, self.next);
        }
        batch.taken(sent);
        sent
    }

    /// Sends whole frames of one buffer, with nothing asked for, from entry
    /// `from` on; returns how many.
    #[inline(always)]
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize {
        let n = self.ring.len() as usize;
        let (mut position, mut turn, mut free) = (self.next, self.turn, self.free());
        let mut sent = from;
        let mut bytes = 0;
        while sent < batch.len() {
            let Entry { buffer, span, .. } = batch.entries()[sent];
            let (length, start) = (u32::from(span.len()), u32::from(span.start()));
            let at = position as usize & (n - 1);
            let flagged = span.word() >> 24 != 0;
            if flagged || length.wrapping_sub(MIN_FRAME) > BUFFER_SIZE as u32 - MIN_FRAME || free < 2 {
                break;
            }
            let address = iova(buffer) + u64::from(start);
            let parts = if start >= HEADER {
                batch.prepend(sent, header::PLAIN);
                self.ring.give_one(turn, position, address - u64::from(HEADER), length + HEADER);
                self.buffers[..n][at].set(buffer);
                1
            } else {
                let header = Part { address: self.plain, len: HEADER, write: false };
                self.ring.give_chain(turn, position, &[header, Part { address, len: length, write: false }]);
                self.buffers[..n][at].set(NO_BUFFER);
                self.buffers[..n][(at + 1) & (n - 1)].set(buffer);
                self.bare += 1;
                2
            };
            self.chains[..n][at].set(parts);
            position = position.wrapping_add(parts);
            turn = turn.wrapping_add(1);
            free -= parts;
            bytes += u64::from(length);
            sent += 1;
        }
        (self.next, self.turn) = (position, turn);
        if sent > from {
            self.counters.add(sent - from, bytes);
        }
        sent - from
    }

    /// Deals with the frame that starts in entry `from`: of several buffers,
    /// with an offload, too short, or the last one that the ring has room for.
    #[cold]
    #[inline(never)]
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Odd {
        let count = batch.len();
        let parts = (from..count).position(|i| !batch.continues(i)).map_or(count - from, |n| n + 1);
        if self.free() <= parts as u32 && parts < self.ring.len() as usize {
            return Odd::Waits;
        }
        let offload = batch.offload(from);
        let asked = match offload {
            Some(offload) if !batch.continues(from + parts - 1) => self.header_for(batch, from, parts, offload),
            _ => Some(header::PLAIN),
        };
        let total: u32 = (from..from + parts).map(|i| batch.frame(i).len() as u32).sum();
        let wrong = if batch.continues(from + parts - 1) {
            Some(Anomaly::BadChain)
        } else if !(MIN_FRAME..=MAX_FRAME).contains(&total)
            || parts >= self.ring.len() as usize
            || batch.frames().skip(from).take(parts).any(<[u8]>::is_empty)
            || asked.is_none()
        {
            Some(Anomaly::BadLength)
        } else {
            None
        };
        let (None, Some(asked)) = (wrong, asked) else {
            self.tally.count(wrong.unwrap_or(Anomaly::BadLength));
            batch.pool().give_many(batch.entries()[from..from + parts].iter().map(|entry| entry.buffer));
            return Odd::Done(parts);
        };

        let at = self.index(self.next);
        let slot = self.headers.at(self.next);
        let words = [&asked[..8], &asked[8..]]
            .map(|half| half.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)));
        slot[0].store(words[0], Ordering::Relaxed);
        slot[1].store(words[1], Ordering::Relaxed);
        let header = self.headers.iova() + at as u64 * size_of::<Words>() as u64;
        let mut chain = [Part::default(); BATCH_MAX + 1];
        chain[0] = Part { address: header, len: HEADER, write: false };
        self.buffers[at].set(NO_BUFFER);
        for (i, part) in chain[1..=parts].iter_mut().enumerate() {
            let Entry { buffer, span, .. } = batch.entries()[from + i];
            let address = batch.pool().iova(buffer) + u64::from(span.start());
            *part = Part { address, len: u32::from(span.len()), write: false };
            self.buffers[self.index(self.next.wrapping_add(1 + i as u32))].set(buffer);
        }
        let len = 1 + parts as u32;
        self.ring.give_chain(self.turn, self.next, &chain[..len as usize]);
        self.chains[at].set(len);
        self.bare += 1;
        self.next = self.next.wrapping_add(len);
        self.turn = self.turn.wrapping_add(1);
        self.counters.add(1, u64::from(total));
        Odd::Done(parts)
    }

    /// The header that asks for what of `offload` the device can do; the rest
    /// is done here. `None` if it does not fit the frame.
    fn header_for(
        &self,
        batch: &mut Batch<'_>,
        from: usize,
        parts: usize,
        offload: Offload,
    ) -> Option<[u8; HEADER as usize]> {
        let (l3, l4) = (usize::from(offload.l2_len), usize::from(offload.l2_len) + usize::from(offload.l3_len));
        if offload.ip_checksum && !offload.ipv6 {
            let header = batch.frame_mut(from).get_mut(l3..l4).filter(|header| header.len() >= 20)?;
            header[10..12].fill(0);
            let sum = !Sum::of(header).fold();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let tag = offload.vlan.map_or(0, |_| 4);
        let header = match offload.l4_checksum {
            None => header::PLAIN,
            Some(l4_kind @ (L4::Tcp | L4::Udp)) => {
                let field = if l4_kind == L4::Tcp { 16 } else { 6 };
                batch.frame(from).get(l4 + field..l4 + field + 2)?;
                if self.checksums {
                    header::with_checksum((l4 + tag) as u16, field as u16)
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

    /// See [`crate::driver::TxQueue::reclaim`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[inline]
    pub(super) fn reclaim(&mut self, pool: &Pool) -> usize {
        assert!(self.used() == 0 || self.supply.is(pool), "a transmit ring holds buffers of one pool at a time");
        let n = self.ring.len();
        let given = self.turn.wrapping_sub(self.seen);
        let ready = match self.ring.completed(self.seen) {
            Some(count) if count <= given => count,
            Some(count) => self.reject(count),
            None => given,
        };
        let chains = &self.chains[..n as usize];
        let mut end = self.clean;
        let mut seen_at = self.seen_at;
        let mut seen = 0;
        // In order, as they almost always come.
        while seen < ready {
            let Some(Completion { id, .. }) = self.ring.completion(self.seen.wrapping_add(seen), seen_at) else {
                break;
            };
            let chain = &chains[(end & (n - 1)) as usize];
            let len = chain.get();
            if id != end & (n - 1) || len & DONE != 0 {
                break;
            }
            chain.set(0);
            end = end.wrapping_add(len);
            seen_at = seen_at.wrapping_add(len);
            seen += 1;
        }
        self.seen = self.seen.wrapping_add(seen);
        self.seen_at = seen_at;
        self.give_back(pool, end);
        if seen < ready {
            self.reclaim_odd(pool, ready - seen);
        }
        (self.used() - self.bare) as usize
    }

    /// Deals with up to `ready` completions that do not come in order.
    #[cold]
    #[inline(never)]
    fn reclaim_odd(&mut self, pool: &Pool, ready: u32) {
        let n = self.ring.len();
        for _ in 0..ready {
            let Some(Completion { id, .. }) = self.ring.completion(self.seen, self.seen_at) else { break };
            let named = if id < n { self.chains[id as usize].get() } else { 0 };
            let id = if named == 0 || named & DONE != 0 {
                self.tally.count(Anomaly::BadIndex);
                self.oldest()
            } else {
                id as usize
            };
            let len = self.chains[id].get();
            self.chains[id].set(len | DONE);
            self.seen = self.seen.wrapping_add(1);
            self.seen_at = self.seen_at.wrapping_add(len);
        }
        let mut end = self.clean;
        while end != self.next && self.chains[self.index(end)].get() & DONE != 0 {
            let len = self.chains[self.index(end)].take() & !DONE;
            end = end.wrapping_add(len);
        }
        self.give_back(pool, end);
    }

    /// First descriptor of the oldest chain that is not done. There is one: no
    /// more completions are looked at than chains were given.
    fn oldest(&self) -> usize {
        let mut at = self.clean;
        while self.chains[self.index(at)].get() & DONE != 0 {
            at = at.wrapping_add(self.chains[self.index(at)].get() & !DONE);
        }
        self.index(at)
    }

    /// The device claims to have used more than it was given.
    #[cold]
    fn reject(&mut self, count: u32) -> u32 {
        let index = self.seen.wrapping_add(count);
        if self.nonsense != index {
            self.nonsense = index;
            self.tally.count(Anomaly::BadIndex);
        }
        0
    }

    /// Gives the buffers of `clean..end` back.
    #[inline]
    fn give_back(&mut self, pool: &Pool, end: u32) {
        let n = self.buffers.len();
        let count = end.wrapping_sub(self.clean) as usize;
        let start = self.clean as usize & (n - 1);
        let first = count.min(n - start);
        let (first, rest) = (&self.buffers[start..start + first], &self.buffers[..count - first]);
        if self.bare == 0 {
            pool.give_slice(first);
            pool.give_slice(rest);
        } else {
            for buffer in first.iter().chain(rest).map(Cell::get) {
                if buffer == NO_BUFFER {
                    self.bare -= 1;
                } else {
                    pool.give(buffer);
                }
            }
        }
        self.clean = end;
    }

    /// See [`crate::driver::TxQueue::adopt`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[cold]
    pub(super) fn adopt(&mut self, pool: &Pool) -> Result<()> {
        if self.supply.is(pool) {
            return Ok(());
        }
        assert!(self.used() == 0, "a transmit ring holds buffers of one pool at a time");
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

    /// Gives all buffers in the ring back, sent or not. Only once the device
    /// cannot read any more.
    pub(super) fn release(&mut self, pool: &Pool) {
        if self.supply.is(pool) {
            self.give_back(pool, self.next);
            self.chains.iter().for_each(|chain| chain.set(0));
            self.seen = self.turn;
        }
    }

    /// See [`crate::driver::TxQueue::anomalies`].
    pub(super) fn anomalies(&self) -> Anomalies {
        self.tally.read()
    }

    /// What the control plane sees of the queue.
    pub(super) fn watched(&self) -> (Arc<Tally>, Arc<Counters>) {
        (Arc::clone(&self.tally), Arc::clone(&self.counters))
    }
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
