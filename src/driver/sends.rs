//! What every transmit ring does, in whatever form its family writes a descriptor: take,
//! take back, lay ready and give back. Fast loops over plain packets are the family's own.

use super::pending::{LOOK, Pending, Shadows};
use super::queue::Transmit;
use super::slots::TAG;
use super::stats::Anomalies;
use super::tally::{Anomaly, Tally};
use crate::dma::{BUFFER_SIZE, Batch, Iova, Offload, Pool};
use crate::error::{Error, Kind, Result};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What became of a frame to send that is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There is no room in the ring for it.
    Waits,
    /// These many entries of the batch are dealt with.
    Done(usize),
}

/// What a card sends, without FCS.
#[derive(Clone, Copy, Debug)]
pub struct Sendable {
    /// Shortest frame that it may be given.
    pub min: u32,
    /// Longest, with an inserted tag.
    pub max: u32,
    /// Most buffers of one frame.
    pub parts: u32,
    /// Shorter frames are padded here, as the card does with those that it takes.
    pub pads: bool,
}

/// A frame of a batch that is about to be sent: its entries are there to the
/// last, none is empty, and it is as long and in as many parts as may be.
#[derive(Clone, Copy, Debug)]
pub struct OddFrame {
    /// Entries that it fills.
    pub parts: usize,
    /// Bytes, without a tag that is to be inserted.
    pub total: u32,
    /// Bytes of that tag, or 0.
    pub tag: u32,
    /// What is to be done with it.
    pub offload: Option<Offload>,
}

/// A transmit ring: descriptors that each hold a buffer until it was sent.
pub trait Sends: Transmit {
    /// Its shadows.
    type Ring: Shadows;

    /// What was given to the card.
    fn pending(&self) -> &Pending<Self::Ring>;

    /// As [`Sends::pending`].
    fn pending_mut(&mut self) -> &mut Pending<Self::Ring>;

    /// Descriptors that can be written while none is; each may hold a buffer.
    fn slots(&self) -> u32;

    /// Descriptors that can be written now.
    #[inline(always)]
    fn free(&self) -> u32 {
        self.slots() - self.pending().used()
    }

    /// Writes descriptors for entries from `from` on, as long as they are whole
    /// frames that want nothing special; returns for how many. It may leave one frame to
    /// [`Sends::send_odd`] where the ring ends.
    fn send_plain(&mut self, batch: &mut Batch<'_>, from: usize, iova: impl Fn(u32) -> Iova) -> usize;

    /// Deals with the frame that starts in entry `from`, whatever it is.
    fn send_odd(&mut self, batch: &mut Batch<'_>, from: usize) -> Sent;

    /// Tells the card of what was written from position `first` on.
    fn announce(&mut self, first: u32);

    /// Sends what is in `batch`, as far as there is room, and looks for sent frames now and
    /// then; also where nothing was sent: there is no room, or the caller waits for buffers.
    #[inline(always)]
    fn send_or_look(&mut self, batch: &mut Batch<'_>) -> usize {
        if self.pending().due() {
            // A frame takes one descriptor or two.
            let needed = 2 * batch.len() as u32 + LOOK;
            self.take_back(batch.pool(), needed);
            // Where there may be no room until then, at once.
            let again_after = if self.free() > needed { LOOK } else { 0 };
            self.pending_mut().looked(again_after);
        }
        let sent = self.send_all(batch);
        if sent == 0 { self.look_and_send(batch) } else { sent }
    }

    /// As [`Sends::send_or_look`], where nothing was sent.
    #[cold]
    #[inline(never)]
    fn look_and_send(&mut self, batch: &mut Batch<'_>) -> usize {
        self.reclaim(batch.pool());
        if batch.is_empty() { 0 } else { self.send_all(batch) }
    }

    /// Takes back what was sent, or what of it is enough for `needed` descriptors to be free;
    /// its buffers are of `pool`.
    #[inline(always)]
    fn take_back(&mut self, pool: &Pool, _needed: u32) {
        self.reclaim(pool);
    }

    /// Sends what is in `batch`, as far as there is room.
    #[inline(always)]
    fn send_all(&mut self, batch: &mut Batch<'_>) -> usize {
        let pool = batch.pool();
        match pool.linear() {
            Some(base) => self.send_to(batch, |buffer| base + u64::from(buffer) * BUFFER_SIZE as u64),
            None => self.send_to(batch, |buffer| pool.iova(buffer)),
        }
    }

    /// As [`Sends::send_all`], of buffers that lie at `iova`.
    #[inline(always)]
    fn send_to(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova + Copy) -> usize {
        let first = self.pending().next;
        let count = batch.len();
        let mut sent = 0;
        loop {
            sent += self.send_plain(batch, sent, iova);
            if sent == count || self.free() == 0 {
                break;
            }
            match self.send_odd(batch, sent) {
                Sent::Waits => break,
                Sent::Done(entries) => sent += entries,
            }
        }
        if self.pending().next != first {
            self.announce(first);
        }
        batch.taken(sent);
        sent
    }

    /// The frame that starts in entry `from`, padded if that is to be done. One
    /// that a card which sends `what` cannot send is counted and dropped.
    fn odd_frame(&self, batch: &mut Batch<'_>, from: usize, what: Sendable) -> std::result::Result<OddFrame, Sent> {
        let count = batch.len();
        let parts = (from..count).position(|i| !batch.continues(i)).map_or(count - from, |n| n + 1);
        let mut total: u32 = (from..from + parts).map(|i| batch.frame(i).len() as u32).sum();
        if what.pads && parts == 1 && (1..what.min).contains(&total) {
            batch.pad(from, what.min as usize);
            total = batch.frame(from).len() as u32;
        }
        let offload = batch.offload(from);
        let tag = if offload.is_some_and(|offload| offload.vlan.is_some()) { TAG } else { 0 };
        let empty = || batch.frames().skip(from).take(parts).any(<[u8]>::is_empty);
        if batch.continues(from + parts - 1) {
            return Err(self.refuse(batch, from, parts, Anomaly::BadChain));
        }
        if !(what.min..=what.max - tag).contains(&total) || empty() {
            return Err(self.refuse(batch, from, parts, Anomaly::BadLength));
        }
        if parts > what.parts as usize {
            return Err(self.refuse(batch, from, parts, Anomaly::BadChain));
        }
        Ok(OddFrame { parts, total, tag, offload })
    }

    /// Counts and drops a frame of `parts` entries that cannot be sent.
    fn refuse(&self, batch: &Batch<'_>, from: usize, parts: usize, wrong: Anomaly) -> Sent {
        self.pending().count(wrong);
        batch.pool().give_many(batch.entries()[from..from + parts].iter().map(|entry| entry.buffer));
        Sent::Done(parts)
    }

    /// See [`super::TxQueue::adopt`].
    ///
    /// # Panics
    /// If the ring holds buffers of another pool.
    #[cold]
    fn adopt(&mut self, pool: &Pool) -> Result<()> {
        self.pending_mut().adopt(pool)
    }

    /// Takes to another pool if the card reaches it, or counts that it does not.
    /// Apart from `send`, whose frame it would widen.
    #[cold]
    #[inline(never)]
    fn admits(&mut self, pool: &Pool) -> bool {
        let admitted = self.adopt(pool).is_ok();
        if !admitted {
            self.pending().count(Anomaly::Unmapped);
        }
        admitted
    }

    /// Gives all buffers in the ring back, sent or not. Only once the card
    /// cannot read any more.
    fn release(&mut self, pool: &Pool) {
        self.pending_mut().release(pool);
    }

    /// See [`super::TxQueue::anomalies`].
    fn anomalies(&self) -> Anomalies {
        self.pending().anomalies()
    }

    /// The counters behind [`Sends::anomalies`], for the control plane.
    fn tally(&self) -> Arc<Tally> {
        self.pending().tally()
    }

    /// Bytes that a frame which lies ready may have; shorter ones are padded. `None` if none can.
    fn layable(&self) -> Option<RangeInclusive<usize>> {
        None
    }

    /// Writes down what the ring takes for the frame in entry `i`, which is layable.
    fn lay(&mut self, _batch: &Batch<'_>, _i: usize) {}

    /// See [`super::TxQueue::prepare`].
    fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<usize> {
        let Some(lengths) = self.layable() else {
            let text = "cards of this family cannot have packets laid ready; use send";
            return Err(Error::new(Kind::Unsupported, text));
        };
        self.adopt(batch.pool())?;
        let laid = batch.len();
        for i in 0..laid {
            let plain = !batch.entries()[i].span.special() && !batch.frame(i).is_empty();
            if plain {
                batch.pad(i, *lengths.start());
            }
            if !plain || !lengths.contains(&batch.frame(i).len()) {
                let most = lengths.end();
                let text = format!("a packet to be laid ready is one buffer of 1 to {most} bytes, without offload");
                return Err(Error::new(Kind::Usage, text));
            }
        }
        for i in 0..laid {
            self.lay(batch, i);
            self.pending_mut().keep(batch.entries()[i].buffer);
        }
        batch.taken(laid);
        Ok(laid)
    }

    /// See [`super::TxQueue::launch`].
    #[inline]
    fn launch(&mut self, _n: usize) -> bool {
        false
    }

    /// See [`super::TxQueue::last_sent`].
    fn last_sent(&self) -> Option<crate::dma::Timestamp> {
        None
    }
}
