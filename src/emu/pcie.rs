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

use crate::dma::Iova;
use std::cell::{Cell, RefCell};
use std::ops::{AddAssign, Sub};

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
}

impl Stream {
    /// The traffic that one more piece adds.
    fn extend(&mut self, (at, len): Piece, most: u64) -> Traffic {
        if self.len != 0 && self.start.wrapping_add(self.len) == at {
            let before = stretch((self.start, self.len), most);
            self.len += len;
            return stretch((self.start, self.len), most) - before;
        }
        *self = Stream { start: at, len };
        stretch((at, len), most)
    }
}

/// Counts. A model that nobody asks has none.
#[derive(Debug, Default)]
pub struct Meter {
    counts: RefCell<Crossings>,
    /// Packet data that was read of what may not be a packet yet.
    held: Cell<Traffic>,
}

impl Meter {
    /// What was counted so far, but for interrupts.
    pub fn crossings(&self) -> Crossings {
        *self.counts.borrow()
    }

    /// Descriptors were read, all that the card learned of at once.
    #[cold]
    pub fn fetch(&self, run_of: impl IntoIterator<Item = Piece>) {
        self.counts.borrow_mut().fetched += run(run_of, READ);
    }

    /// One more descriptor was read of those that the card learned of at once.
    #[cold]
    pub fn fetch_on(&self, stream: &mut Stream, piece: Piece) {
        self.counts.borrow_mut().fetched += stream.extend(piece, READ);
    }

    /// Descriptors, completions or the like were written at once.
    #[cold]
    pub fn report(&self, run_of: impl IntoIterator<Item = Piece>) {
        self.counts.borrow_mut().reported += run(run_of, WRITE);
    }

    /// Packet data was read.
    #[cold]
    pub fn read(&self, run_of: impl IntoIterator<Item = Piece>) {
        self.counts.borrow_mut().read += run(run_of, READ);
    }

    /// Packet data was read; whether that counts is settled when it is known that the
    /// packet is whole, and which way it came.
    #[cold]
    pub fn hold(&self, piece: Piece) {
        let mut held = self.held.get();
        held += stretch(piece, READ);
        self.held.set(held);
    }

    /// What was held counts, or is forgotten.
    #[cold]
    pub fn settle(&self, counts: bool) {
        let held = self.held.take();
        if counts {
            self.counts.borrow_mut().read += held;
        }
    }

    /// The driver wrote to a doorbell that is a register.
    #[cold]
    pub fn ring(&self) {
        self.counts.borrow_mut().rung += 1;
    }

    /// Packet data was written.
    #[cold]
    pub fn write(&self, run_of: impl IntoIterator<Item = Piece>) {
        self.counts.borrow_mut().written += run(run_of, WRITE);
    }
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
        meter.fetch(ring(0..6));
        meter.fetch(ring(6..8));
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
