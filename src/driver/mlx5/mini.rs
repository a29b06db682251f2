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

use super::cq::Completions;
use super::cqe::{Tail, upper, word};
use super::meta::Report;
use super::rx::{Ended, RxQueue};
use crate::dma::{Batch, Iova, Pool};
use crate::driver::slots::Received;
use crate::driver::tally::Anomaly;
use std::sync::atomic::{AtomicU64, Ordering};

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
    pub(super) fn begin_session(&mut self, tail: Tail, pool: &Pool) -> Received {
        let title = self.completions.at(0);
        let count = upper(title[word::BYTES].load(Ordering::Relaxed));
        let title = Report::of(title, title[word::TAIL].load(Ordering::Relaxed));
        // Of a counter in a title only that part is sure that is a place in the ring.
        let elsewhere = (u32::from(tail.counter()) ^ self.feed.next) & (self.feed.len() - 1) != 0;
        if elsewhere || self.feed.owned() == 0 {
            return self.lost(Anomaly::BadIndex, pool);
        }
        if !(1..=self.feed.owned()).contains(&count) {
            return self.lost(Anomaly::BadChain, pool);
        }
        self.session = Some(Session { title, count, done: 0 });
        Received::Gone
    }

    /// Moves frames of the session that lie in one buffer into `batch`.
    #[inline(always)]
    pub(super) fn recv_minis<const LISTS: bool>(&mut self, batch: &mut Batch<'_>, iova: impl Fn(u32) -> Iova) -> Ended {
        let Some(session) = self.session else { return Ended::Done };
        let wanted = batch.room().min((session.count - session.done) as usize);
        let mut run = self.run(batch, wanted, if LISTS { self.feed.shift } else { 0 });
        let (most, limit) = (run.fresh.len(), run.limit);
        let longest = self.longest_plain();
        let mut n = 0;
        'run: while n < most {
            for mini in minis(&self.completions, session.done.wrapping_add(n as u32)) {
                let mini = mini.load(Ordering::Relaxed);
                let len = upper(mini);
                if n >= most || len.wrapping_sub(1) >= longest {
                    break 'run;
                }
                run.put(n, session.title.with_hash(mini).0, len, &iova);
                n += 1;
            }
        }
        self.ran(batch, n, false);
        self.go_on(session, n as u32);
        match n < most {
            true => Ended::Odd,
            // More may follow it, or lie at the start of the ring.
            false if batch.room() > 0 && (self.session.is_none() || n == limit) => Ended::Lap,
            false => Ended::Done,
        }
    }

    /// Deals with the next frame of the session, whatever it is.
    pub(super) fn recv_odd_mini(&mut self, batch: &mut Batch<'_>) -> Received {
        let Some(session) = self.session else { return Received::Waits };
        let [mini, ..] = minis(&self.completions, session.done) else { return Received::Waits };
        let mini = mini.load(Ordering::Relaxed);
        let received = self.take_frame(session.title.with_hash(mini).0, upper(mini), batch);
        if received == Received::Gone {
            self.go_on(session, 1);
        }
        received
    }

    /// Of the session, `n` more were taken.
    #[inline(always)]
    fn go_on(&mut self, session: Session, n: u32) {
        let done = session.done + n;
        self.session = (done < session.count).then_some(Session { done, ..session });
        if self.session.is_none() {
            self.completions.take_unwritten(session.count);
        }
    }
}

/// The minis from the `n`th on of the session that the next completion begins, as far as
/// they lie side by side: the first entry of them is behind the title, the others where
/// they would be if it was the title.
#[inline(always)]
fn minis(completions: &Completions, n: u32) -> &[AtomicU64] {
    &completions.at((n & !(MINIS - 1)).max(1))[(n % MINIS) as usize..]
}
