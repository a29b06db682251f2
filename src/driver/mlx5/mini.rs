//! Completions in short: one that stands for several frames, and what differs.
//!
//! ```text
//!   position   c       c + 1    c + 2 ... c + 7   c + 8    c + 9 ... c + 15   c + 16
//!              title   minis    -                 minis    -                  minis
//!                      0 to 7                     8 to 15                     16 to 23
//! ```
//!
//! A card under load saves writes so: `n` frames take `n` positions as ever, but it writes
//! the first, the second, and each eighth. All is as the title says, but for hash and
//! length, which a mini has; entries of the work queue are used one after the other.
//! What was not written is marked, or it would look like entries of the lap to come.
//!
//! Frames of a session may not all find a place in one batch, so it goes on where it was.

use super::cqe::{Tail, upper, word};
use super::meta::Report;
use super::rx::RxQueue;
use crate::dma::Batch;
use crate::driver::slots::Received;
use crate::driver::tally::Anomaly;
use std::sync::atomic::Ordering;

/// Minis of an entry.
const MINIS: u32 = 8;

/// Where a queue is in frames that are reported in short.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// What the title says.
    title: Report,
    /// Frames.
    count: u32,
    /// Of them, those that were taken.
    done: u32,
}

impl RxQueue {
    /// Begins with the title that the next completion is.
    pub(super) fn begin_session(&mut self, tail: Tail, batch: &mut Batch<'_>) -> Received {
        let title = self.completions.at(0);
        let count = upper(title[word::BYTES].load(Ordering::Relaxed));
        let title = Report::of(title, title[word::TAIL].load(Ordering::Relaxed));
        // Of a counter in a title only that part is sure that is a place in the ring.
        let elsewhere = (u32::from(tail.counter()) ^ self.feed.next) & (self.feed.len() - 1) != 0;
        if elsewhere || self.feed.owned() == 0 {
            return self.lost(Anomaly::BadIndex, batch.pool());
        }
        if !(1..=self.feed.owned()).contains(&count) {
            return self.lost(Anomaly::BadChain, batch.pool());
        }
        self.session = Some(Session { title, count, done: 0 });
        self.recv_minis(batch)
    }

    /// Moves what is left of the session into `batch`.
    pub(super) fn recv_minis(&mut self, batch: &mut Batch<'_>) -> Received {
        let Some(mut session) = self.session else { return Received::Waits };
        let mut received = Received::Gone;
        while session.done < session.count {
            // The first entry of minis is behind the title, the others where they would be
            // if it was the title.
            let entry = self.completions.at((session.done & !(MINIS - 1)).max(1));
            let mini = entry[(session.done % MINIS) as usize].load(Ordering::Relaxed);
            received = self.take_frame(session.title.with_hash(mini).0, upper(mini), batch);
            if received == Received::Waits {
                break;
            }
            session.done += 1;
        }
        self.session = (session.done < session.count).then_some(session);
        if self.session.is_none() {
            (0..session.count).for_each(|_| self.completions.take_unwritten());
        }
        received
    }
}
