//! What becomes of a packet that came: past the filter, into the file, and counted.

use super::orders::Moment;
use super::sink::Sink;
use crate::cli::share::Share;
use crate::dma::{BATCH_MAX, Batch};
use crate::driver::Anomalies;
use crate::packet::Filter;
use std::ops::Range;

/// Parts of a frame, at most: the longest frame in the smallest pieces a batch holds.
const PARTS: usize = BATCH_MAX;

/// A receive ring, and what became of the packets that came off it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    /// Its card, by the order in which they were named: its interface in the file.
    pub card: usize,
    /// Its number among those of the card.
    pub queue: usize,
    /// Packets that came off it.
    pub received: u64,
    /// Of these, those that the filter left out.
    pub filtered: u64,
    /// Of these, those that the disk was too slow for.
    pub dropped: u64,
    /// Of these, those that were recorded behind later ones.
    pub late: u64,
    /// Packets that came off it after the end.
    pub surplus: u64,
    /// What the card did wrong on it.
    pub anomalies: Anomalies,
}

impl Ring {
    /// Packets that were recorded.
    pub fn recorded(&self) -> u64 {
        self.received - self.filtered - self.dropped
    }
}

/// Where packets go: past the filter and into the file, each of them counted.
pub struct Intake {
    filter: Filter,
    pub(super) sink: Sink,
    rings: Vec<Ring>,
    /// Packets that are still to be written.
    pub(super) share: Share,
    /// Packets that were taken before the last flush that was ordered.
    flushed: u64,
}

impl Intake {
    /// Packets off these rings.
    pub fn new(filter: Filter, sink: Sink, rings: Vec<Ring>, share: Share) -> Self {
        Intake { filter, sink, rings, share, flushed: 0 }
    }

    /// Where packets went, and what came off each ring.
    pub fn into_parts(self) -> (Sink, Vec<Ring>) {
        (self.sink, self.rings)
    }

    /// The card that ring `q` is of.
    #[inline]
    pub fn card(&self, q: usize) -> usize {
        self.rings[q].card
    }

    /// A packet off ring `q` was recorded behind later ones.
    pub fn was_late(&mut self, q: usize) {
        self.rings[q].late += 1;
    }

    /// As [`Sink::flush`]; what is still owed of it is told from now on.
    pub fn flush(&mut self) {
        self.sink.flush();
        self.flushed = self.sink.taken();
    }

    /// As [`Sink::has_ended`].
    pub fn has_ended(&self) -> bool {
        self.sink.has_ended()
    }

    /// Judges what comes from now on by `filter`, which becomes the one that was used before.
    pub fn exchange(&mut self, filter: &mut Filter) {
        std::mem::swap(&mut self.filter, filter);
    }

    /// How far it is at this time.
    pub fn moment(&self, time: u64) -> Moment {
        Moment {
            time,
            received: self.rings.iter().map(|ring| ring.received).sum(),
            filtered: self.rings.iter().map(|ring| ring.filtered).sum(),
            taken: self.sink.taken(),
            dropped: self.sink.dropped(),
            written: self.sink.written(),
            owed: self.flushed.saturating_sub(self.sink.own_written()),
        }
    }

    /// Whether the disk is so far behind that the next packet would be dropped.
    pub fn is_behind(&mut self) -> bool {
        self.sink.is_full()
    }

    /// Whether all that was asked for is there. What is beyond it is neither
    /// received nor lost, as if it came later.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.share.is_over()
    }

    /// Takes the frame in entries `range` of `batch`, which came off ring `q`, if
    /// the filter wants it; `time` is asked for only then. Whether it is recorded.
    #[inline]
    pub fn take(&mut self, q: usize, batch: &Batch<'_>, range: Range<usize>, time: impl FnOnce() -> u64) -> bool {
        if range.len() == 1 {
            let frame = batch.frame(range.start);
            return self.take_parts(q, &[frame], frame.len(), time);
        }
        let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
        let count = range.len();
        parts.iter_mut().zip(range).for_each(|(part, i)| *part = batch.frame(i));
        let parts = &parts[..count];
        self.take_parts(q, parts, parts.iter().map(|part| part.len()).sum(), time)
    }

    /// The same of a frame of `wire_len` bytes, of which these parts are there.
    #[inline]
    pub fn take_parts(&mut self, q: usize, parts: &[&[u8]], wire_len: usize, time: impl FnOnce() -> u64) -> bool {
        let wanted = match *parts {
            [frame] => self.filter.matches(frame, wire_len),
            _ => self.filter.matches_parts(parts, wire_len),
        };
        self.admits(q, wanted) && {
            let recorded = match *parts {
                [frame] if frame.len() == wire_len => self.sink.record(time(), frame),
                _ => self.sink.record_parts(time(), parts, wire_len),
            };
            self.note(q, recorded)
        }
    }

    /// Whether a packet off ring `q` is to be recorded: it is wanted, and not beyond the end.
    #[inline]
    fn admits(&mut self, q: usize, wanted: bool) -> bool {
        if wanted && !self.share.has_one() {
            return false;
        }
        let ring = &mut self.rings[q];
        ring.received += 1;
        ring.filtered += u64::from(!wanted);
        self.sink.switch_to(ring.card as u32);
        wanted
    }

    #[inline]
    fn note(&mut self, q: usize, recorded: bool) -> bool {
        if recorded {
            self.share.went();
        } else {
            self.rings[q].dropped += 1;
        }
        recorded
    }
}
