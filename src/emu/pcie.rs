//! What crosses PCIe between a card and memory, counted as a card of silicon would
//! have it cross.
//!
//! ```text
//!   memory --descriptors, packets to send--> card      read requests, up to 512 bytes
//!   memory <--reports, received packets----- card      posted writes, up to 256 bytes
//!   processor <----- interrupts ------------ card      messages
//! ```
//!
//! A *transaction* is a packet of the transaction layer that the card begins. No one of
//! them crosses a boundary of 4 KiB (PCI Express Base Specification 3.0 §2.2.7); how long
//! one may be is what Neugebauer et al., "Understanding PCIe performance" (SIGCOMM 2018),
//! take for common: 512 bytes for a read request, 256 for a write. What answers a read is
//! cut as the root complex likes, and is not counted as transactions of its own; the bytes
//! are the payload's, without headers.
//!
//! What crosses together is what the model handles together. A card fetches the
//! descriptors that it learns of when it looks at a doorbell, from the last one that it
//! has to the new tail, in one run: side by side in memory they share requests and cache
//! lines. It writes back in one run what the model writes at one time. A doorbell is looked
//! at for each packet while somebody counts: a run is all that was announced since, by one
//! store or several, and a tail in the middle of a line has that line read twice. Where the
//! driver announces in memory (virtio, and the receive queues of mlx5) a card reads that
//! only when it has used up what it knows: it fetches as late as it can, and as much at
//! once as it can, and what is counted is the least that the driver makes necessary.
//!
//! Commands, statistics, clocks and what is read of a queue when it is made are not
//! counted. Of what a driver writes to the card, only doorbells that are registers are
//! (a legacy virtio device's, a port): others are pages that the model polls, where it
//! sees the last store only (`sys::stores` sees them all).
//!
//! A card with the option `pcie=` also takes the time for it that its link would need:
//! [`link`] says how much that is, and [`pace`] what waits for what.

pub mod link;
pub mod pace;

use super::{Picos, StageLog, Stages};
use crate::dma::Iova;
use link::Link;
use pace::{Due, Pace};
use std::cell::{Cell, RefCell};
use std::ops::{AddAssign, Sub};
use std::sync::Arc;

/// Most bytes of a read request and of a posted write.
const READ: u64 = 512;
const WRITE: u64 = 256;

/// What no transaction crosses, and what processors cache, in bytes.
const BOUNDARY: u64 = 4096;
const LINE: u64 = 64;

/// What crossed one way for one purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read requests, or posted writes.
    pub transactions: u64,
    /// Cache lines of 64 bytes that were touched, once for each run.
    pub lines: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// What crossed since counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossings {
    /// Descriptors that were read, and indices that the card reads to find them.
    pub fetched: Traffic,
    /// Descriptors, completions, events and indices that were written for the driver.
    pub reported: Traffic,
    /// Packet data that was read.
    pub read: Traffic,
    /// Packet data that was written.
    pub written: Traffic,
    /// Messages of interrupts.
    pub interrupts: u64,
    /// Doorbells that the driver wrote as registers.
    pub rung: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Traffic) {
        self.transactions += more.transactions;
        self.lines += more.lines;
        self.bytes += more.bytes;
    }
}

impl Sub for Traffic {
    type Output = Traffic;

    fn sub(self, before: Traffic) -> Traffic {
        Traffic {
            transactions: self.transactions - before.transactions,
            lines: self.lines - before.lines,
            bytes: self.bytes - before.bytes,
        }
    }
}

impl Sub for Crossings {
    type Output = Crossings;

    /// What crossed since `before`, of the same count.
    fn sub(self, before: Crossings) -> Crossings {
        Crossings {
            fetched: self.fetched - before.fetched,
            reported: self.reported - before.reported,
            read: self.read - before.read,
            written: self.written - before.written,
            interrupts: self.interrupts - before.interrupts,
            rung: self.rung - before.rung,
        }
    }
}

/// A piece of memory: where it is, and its bytes.
pub type Piece = (Iova, u64);

/// The traffic of a run of pieces, in transactions of at most `most` bytes: what lies side
/// by side goes together.
fn run(pieces: impl IntoIterator<Item = Piece>, most: u64) -> Traffic {
    let mut all = Traffic::default();
    let mut open: Option<Piece> = None;
    for (at, len) in pieces.into_iter().filter(|(_, len)| *len != 0) {
        open = match open {
            Some((start, before)) if start.wrapping_add(before) == at => Some((start, before + len)),
            before => {
                all += before.map_or(Traffic::default(), |piece| stretch(piece, most));
                Some((at, len))
            }
        };
    }
    all += open.map_or(Traffic::default(), |piece| stretch(piece, most));
    all
}

/// The traffic of one piece.
fn stretch((start, len): Piece, most: u64) -> Traffic {
    let (mut transactions, mut at, end) = (0, start % BOUNDARY, start % BOUNDARY + len);
    while at < end {
        at = (at + most).min((at / BOUNDARY + 1) * BOUNDARY);
        transactions += 1;
    }
    Traffic { transactions, lines: end.div_ceil(LINE) - start % BOUNDARY / LINE, bytes: len }
}

/// A run of pieces that become known one after the other: what follows the piece before
/// goes with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    start: Iova,
    len: u64,
    /// When the last piece is there.
    there: Picos,
}

impl Stream {
    /// The traffic that one more piece adds.
    fn extend(&mut self, (at, len): Piece, most: u64) -> Traffic {
        if self.len != 0 && self.start.wrapping_add(self.len) == at {
            let before = stretch((self.start, self.len), most);
            self.len += len;
            return stretch((self.start, self.len), most) - before;
        }
        *self = Stream { start: at, len, ..*self };
        stretch((at, len), most)
    }
}

/// When a queue's doorbell was heard, and what it announced is in the card.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bell {
    /// The driver stored to it.
    pub rung: Picos,
    /// The card saw that.
    pub seen: Picos,
    /// The card has the descriptors.
    pub fetched: Picos,
}

/// Counts, and the clock of the link. A model that nobody asks has neither.
#[derive(Debug, Default)]
pub struct Meter {
    counts: RefCell<Crossings>,
    /// Packet data that was read of what may not be a packet yet, and its answers.
    held: Cell<(Traffic, u64)>,
    now: Cell<Picos>,
    /// From when on the data of the packet on its way can be asked for.
    after: Cell<Picos>,
    pace: Option<Pace>,
    /// What the MAC knows too.
    due: Arc<Due>,
    stages: Option<RefCell<StageLog>>,
}

impl Meter {
    /// With the clock of a link, if there is one.
    pub fn new(link: Option<Link>, due: Arc<Due>) -> Self {
        let pace = link.map(|link| Pace::new(link, Arc::clone(&due)));
        Meter { pace, due, ..Meter::default() }
    }

    /// What was counted so far, but for interrupts.
    pub fn crossings(&self) -> Crossings {
        *self.counts.borrow()
    }

    /// Counts from nothing.
    pub fn restart(&mut self) {
        (self.counts, self.held) = Default::default();
    }

    /// The clock of the link, if what crosses takes time.
    #[inline]
    pub fn pace(&self) -> Option<&Pace> {
        self.pace.as_ref()
    }

    /// Notes the stages of packets from now on, or no longer.
    pub fn note_stages(&mut self, on: bool) {
        self.stages = on.then(RefCell::default);
    }

    /// Whether it does.
    pub fn notes(&self) -> bool {
        self.stages.is_some()
    }

    /// The stages of the packets that were reported since the last time, if they are noted.
    pub fn take_stages(&self) -> Option<Vec<Stages>> {
        Some(self.stages.as_ref()?.borrow_mut().take())
    }

    /// It is `now`, and what happens may have begun at `since`.
    pub fn tick(&self, now: Picos, since: Picos) {
        self.now.set(now);
        if let Some(pace) = &self.pace {
            pace.tick(now, since);
        }
    }

    /// A doorbell of so many bytes was stored to.
    #[cold]
    pub fn hear(&self, bytes: u64) -> Bell {
        let rung = self.now.get();
        let seen = self.pace.as_ref().map_or(rung, |pace| pace.doorbell(bytes));
        Bell { rung, seen, fetched: seen }
    }

    /// Descriptors were read, all that the card learned of at once, from `after` on: when
    /// it has them.
    #[cold]
    pub fn fetch(&self, run_of: impl IntoIterator<Item = Piece>, after: Picos) -> Picos {
        let (traffic, answers) = asked(run_of);
        self.counts.borrow_mut().fetched += traffic;
        self.pace.as_ref().map_or(after, |pace| pace.fetch(traffic, answers, after))
    }

    /// One more descriptor was read of those that the card learned of at once.
    #[cold]
    pub fn fetch_on(&self, stream: &mut Stream, piece: Piece, after: Picos) -> Picos {
        let answers = { *stream }.extend(piece, WRITE).transactions;
        let traffic = stream.extend(piece, READ);
        self.counts.borrow_mut().fetched += traffic;
        stream.there = match &self.pace {
            None => after,
            Some(pace) if traffic.transactions == 0 => pace.answer(traffic, answers, stream.there),
            Some(pace) => pace.fetch(traffic, answers, after),
        };
        stream.there
    }

    /// Descriptors, completions or the like are written at once, of packets that were
    /// `sent` or of others. To be called before the model writes them.
    #[cold]
    pub fn report(&self, run_of: impl IntoIterator<Item = Piece>, sent: bool) {
        let traffic = run(run_of, WRITE);
        self.counts.borrow_mut().reported += traffic;
        let at = self.pace.as_ref().map_or(self.due.left(), |pace| pace.write(traffic, sent));
        if let Some(log) = self.stages.as_ref().filter(|_| sent) {
            log.borrow_mut().report(self.due.left(), at);
        }
    }

    /// Packet data was read, of the packet that [`Meter::settle`] began.
    #[cold]
    pub fn read(&self, run_of: impl IntoIterator<Item = Piece>) {
        let (traffic, answers) = asked(run_of);
        self.read_all(traffic, answers);
    }

    fn read_all(&self, traffic: Traffic, answers: u64) {
        self.counts.borrow_mut().read += traffic;
        if let Some(pace) = self.pace.as_ref().filter(|_| traffic.bytes != 0) {
            self.due.set_ready(pace.read(traffic, answers, self.after.get()).max(self.due.ready()));
        }
    }

    /// Packet data was read; whether that counts is settled when it is known that the
    /// packet is whole, and which way it came.
    #[cold]
    pub fn hold(&self, piece: Piece) {
        let (mut held, answers) = self.held.get();
        held += stretch(piece, READ);
        self.held.set((held, answers + stretch(piece, WRITE).transactions));
    }

    /// A packet is begun, the descriptors of which are in the card at `after`: what was
    /// held of it counts, or is forgotten.
    #[cold]
    pub fn settle(&self, counts: bool, after: Picos) {
        let (held, answers) = self.held.take();
        self.after.set(after);
        self.due.set_ready(after);
        if counts {
            self.read_all(held, answers);
        }
    }

    /// That packet is about to be sent, having come this way into the card.
    #[inline]
    pub fn depart(&self, path: &'static str, bell: Bell) {
        if let Some(log) = &self.stages {
            log.borrow_mut().depart(path, bell, self.due.ready(), self.due.left());
        }
    }

    /// The driver wrote to a doorbell that is a register.
    #[cold]
    pub fn ring(&self) {
        self.counts.borrow_mut().rung += 1;
    }

    /// Packet data is written. To be called before the model does.
    #[cold]
    pub fn write(&self, run_of: impl IntoIterator<Item = Piece>) {
        let traffic = run(run_of, WRITE);
        self.counts.borrow_mut().written += traffic;
        if let Some(pace) = &self.pace {
            pace.write(traffic, false);
        }
    }
}

/// The traffic of reads of a run of pieces, and the answers to them.
fn asked(run_of: impl IntoIterator<Item = Piece>) -> (Traffic, u64) {
    let pieces = Vec::from_iter(run_of);
    (run(pieces.iter().copied(), READ), run(pieces, WRITE).transactions)
}

/// So many transactions, lines and bytes.
#[cfg(test)]
pub fn traffic(transactions: u64, lines: u64, bytes: u64) -> Traffic {
    Traffic { transactions, lines, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_side_by_side_shares_lines_and_transactions() {
        let ring = |range: std::ops::Range<u64>| range.map(|n| (0x10_0000 + 16 * n, 16));
        assert_eq!(run(ring(0..32), READ), traffic(1, 8, 512));
        assert_eq!(run(ring(0..32), WRITE), traffic(2, 8, 512));
        // A tail in the middle of a line: the line is read by each of two runs.
        let meter = Meter::default();
        meter.fetch(ring(0..6), 0);
        meter.fetch(ring(6..8), 0);
        assert_eq!(meter.crossings().fetched, traffic(2, 3, 128));
        // Round the end of a ring of 64.
        assert_eq!(run(ring(60..64).chain(ring(0..2)), READ), traffic(2, 2, 96));
        let mut stream = Stream::default();
        let one_by_one = |mut all: Traffic, piece| {
            all += stream.extend(piece, READ);
            all
        };
        assert_eq!(ring(60..64).chain(ring(0..2)).fold(Traffic::default(), one_by_one), traffic(2, 2, 96));
        assert_eq!(run([], READ), Traffic::default());
        assert_eq!(run([(5, 0)], READ), Traffic::default());
    }

    #[test]
    fn no_transaction_is_too_long_or_crosses_a_boundary() {
        assert_eq!(run([(0x1000, 1514)], READ), traffic(3, 24, 1514));
        assert_eq!(run([(0x1000, 1514)], WRITE), traffic(6, 24, 1514));
        assert_eq!(run([(0x1ff0, 32)], WRITE), traffic(2, 2, 32));
        assert_eq!(run([(0x1002, 60)], WRITE), traffic(1, 1, 60));
        assert_eq!(run([(0x1002, 63)], WRITE), traffic(1, 2, 63));
        assert_eq!(run([(u64::MAX, 2)], READ), traffic(2, 2, 2));
    }
}
