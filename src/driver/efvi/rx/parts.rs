//! Frames that are not one event and one buffer: of several buffers, and several in
//! one event.

use super::super::desc::PREFIX;
use super::super::ev::Event;
use super::super::meta::cooked;
use super::RxQueue;
use crate::dma::{BUFFER_SIZE, Batch, Entry, Pool, Span};
use crate::driver::slots::{Received, Slots};
use crate::driver::tally::Anomaly;

impl RxQueue {
    /// Takes one more part of the frame at `next`.
    pub(super) fn part(&mut self, event: Event, batch: &mut Batch<'_>) -> Received {
        let bytes = (event.0 & Event::BYTES) as u32;
        let ends = event.0 & Event::CONT == 0;
        let prefix = if self.parts == 0 { PREFIX } else { 0 };
        let fits = if ends { prefix + 1..=BUFFER_SIZE as u32 } else { BUFFER_SIZE as u32..=BUFFER_SIZE as u32 };
        let most = (self.limit + PREFIX).div_ceil(BUFFER_SIZE as u32);
        let total = self.bytes.saturating_add(bytes);
        let mut wrong = self.wrong;
        if !fits.contains(&bytes) {
            wrong = wrong.or(Some(Anomaly::BadLength));
        } else if event.0 & Event::BROKEN != 0 {
            wrong = wrong.or(Some(Anomaly::FrameError));
        } else if ends && total > self.limit + PREFIX {
            wrong = wrong.or(Some(Anomaly::BadLength));
        }
        let long = total > self.longest + PREFIX;
        if ends && wrong.is_none() && !long {
            let parts = self.parts + 1;
            if !self.has_place(batch, parts) {
                return Received::Waits;
            }
            self.events.take();
            self.take_frame(event, batch, total - PREFIX, parts);
            return Received::Gone;
        }
        self.events.take();
        self.parts += 1;
        self.bytes = total;
        self.wrong = wrong;
        self.longest_plain = 0;
        if ends {
            // A chain that did not end was counted when it did not.
            if wrong.is_none() {
                self.hw.too_long.count(total - PREFIX);
            }
            if let Some(wrong) = wrong.filter(|&wrong| wrong != Anomaly::BadChain) {
                self.stock.count(wrong);
            }
            self.drop_parts(batch.pool());
        } else if self.parts >= most {
            // Longer than any frame, and no end: drop what there is and what
            // follows up to the end, so that no half frame is received.
            if wrong != Some(Anomaly::BadChain) {
                self.stock.count(Anomaly::BadChain);
            }
            self.drop_parts(batch.pool());
            // As the second part of something, so that its end has no prefix.
            self.longest_plain = 0;
            self.wrong = Some(Anomaly::BadChain);
        }
        Received::Gone
    }

    /// Moves the `frames` that share an event into `batch`, each of one buffer; those
    /// for which there is no place wait.
    pub(super) fn share(&mut self, event: Event, batch: &mut Batch<'_>, frames: u32) -> Received {
        const LENGTH: usize = 8;
        let pool = batch.pool();
        for _ in 0..frames {
            if !self.has_place(batch, 1) {
                // Nothing is plain until the last of them is gone.
                (self.shared, self.longest_plain) = (true, 0);
                return Received::Waits;
            }
            let len = u32::from(pool.word16(self.buffers.at(self.next).get(), LENGTH));
            let wrong = match len {
                _ if event.0 & Event::BROKEN != 0 => Anomaly::FrameError,
                len if len == 0 || len > self.limit.min(BUFFER_SIZE as u32 - PREFIX) => Anomaly::BadLength,
                len if len > self.longest => {
                    self.hw.too_long.count(len);
                    self.drop_slots(pool, 1);
                    continue;
                }
                len => {
                    self.take_frame(event, batch, len, 1);
                    continue;
                }
            };
            self.stock.count(wrong);
            self.drop_slots(pool, 1);
        }
        self.events.take();
        self.begin();
        Received::Gone
    }

    /// Moves a frame of `len` bytes in `parts` buffers into `batch`. `event` is
    /// the last of it.
    fn take_frame(&mut self, event: Event, batch: &mut Batch<'_>, len: u32, parts: u32) {
        let pool = batch.pool();
        let mut entry = batch.len();
        let first = entry;
        let mut left = len;
        let mut start = PREFIX;
        for _ in 0..parts {
            let buffer = self.next_slot(pool);
            let here = left.min(BUFFER_SIZE as u32 - start);
            left -= here;
            let span = Span::new(start as u8, here as u16, left > 0);
            batch.entries_mut()[entry] = Entry { words: [event.0, self.sync.0], buffer, span };
            entry += 1;
            start = 0;
        }
        batch.filled(entry, self.decoder);
        // The prefix is before the first part and out of reach of the last; and
        // a tag is taken out of the frame by hand.
        let tagged = self.format.strip && event.0 & Event::TAGS != 0;
        if parts > 1 || tagged {
            let meta = batch.meta(first);
            let vlan = if tagged { batch.take_tag(first) } else { None };
            for entry in &mut batch.entries_mut()[first..entry] {
                entry.words = cooked(&meta, vlan);
            }
        }
        self.begin();
    }

    /// Drops the parts of the frame at `next` that are there.
    pub(super) fn drop_parts(&mut self, pool: &Pool) {
        self.drop_slots(pool, self.parts);
        self.begin();
    }

    /// The next event is of a frame's first part.
    pub(super) fn begin(&mut self) {
        self.parts = 0;
        self.bytes = 0;
        self.wrong = None;
        self.shared = false;
        self.longest_plain = self.longest.min(BUFFER_SIZE as u32 - PREFIX);
    }
}
