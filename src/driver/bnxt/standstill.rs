//! Finds transmit queues where nothing goes on, from what lies in their rings; and has
//! queues ring again, where a card has lost doorbells.
//!
//! ```text
//!   completions  | sent up to 7 | sent up to 9 |
//!                                            |
//!   descriptors  ...  | 8 | 9 | 10 | 11 |    v    the newest report is of 9, and a frame
//!                               ^                 begins there: it waits
//! ```
//!
//! A card whose completion ring ran over stops without a word, and one that missed a
//! doorbell waits for the next. Both look alike from here: a frame stands in the ring
//! that the card does not report. After a millisecond the queue is called, to ring
//! again; after a second with a link it is a fault. Queues are not asked for any of
//! this, as they are threads that may be anywhere.

use super::Generation;
use super::cmd::func_dbr_recovery_completed;
use super::codes::caps;
use super::desc::{self, ENTRY, OPAQUE, Words, kind};
use super::hw::Hw;
use super::recall::Recall;
use super::rings::TxRings;
use crate::dma::Region;
use crate::driver::mailbox::Request;
use crate::driver::ring::Ring;
use crate::error::{Kind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a frame waits before its queue is called, and the least between two looks.
const CALL: Duration = Duration::from_millis(1);

/// How long a frame may wait while there is a link.
const MOST: Duration = Duration::from_secs(1);

/// What counts at most of the time between two looks: this machine may have been
/// stopped, and with it a card that is emulated.
const GAP: Duration = Duration::from_millis(250);

/// What control keeps an eye on.
#[derive(Default)]
pub struct Lookout {
    rx: Vec<Arc<Recall>>,
    tx: Vec<Arc<Recall>>,
    /// Frames that wait, by queue.
    waiting: Vec<Option<Waiting>>,
    looked: Option<Instant>,
    /// A report of lost doorbells that is to be answered.
    report: Option<(u32, Instant)>,
}

/// A frame that the card was to send.
#[derive(Clone, Copy)]
struct Waiting {
    /// Where it begins.
    at: u32,
    /// Since it was first seen.
    time: Duration,
    /// Its queue was called.
    called: bool,
}

impl Lookout {
    /// The next receive queue's way to be called.
    pub fn rx(&mut self) -> Arc<Recall> {
        self.rx.push(Arc::default());
        Arc::clone(&self.rx[self.rx.len() - 1])
    }

    /// The next transmit queue's.
    pub fn tx(&mut self) -> Arc<Recall> {
        self.tx.push(Arc::default());
        self.waiting.push(None);
        Arc::clone(&self.tx[self.tx.len() - 1])
    }

    /// The card has lost doorbells, and reports that as number `report`: all queues are
    /// called.
    pub fn lost_doorbells(&mut self, report: u32, now: Instant) {
        self.rx.iter().chain(&self.tx).for_each(|queue| queue.call());
        self.report = Some((report, now));
    }

    /// Looks whether queues have come, and go on. `up`: whether there is a link.
    ///
    /// # Errors
    /// [`Kind::Device`] if a frame waits for a second while there is a link.
    pub fn look(
        &mut self,
        hw: &Hw,
        rings: &[TxRings],
        now: Instant,
        mut up: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        if self.looked.is_some_and(|last| now < last + CALL) {
            return Ok(());
        }
        let passed = self.looked.replace(now).map_or(Duration::ZERO, |last| (now - last).min(GAP));
        self.answer(hw, now)?;
        for (n, (waiting, rings)) in self.waiting.iter_mut().zip(rings).enumerate() {
            let Some(at) = unsent(&rings.descriptors, &rings.completions) else {
                *waiting = None;
                continue;
            };
            let before = waiting.filter(|before| before.at == at);
            let before = before.map(|before| Waiting { time: before.time + passed, ..before });
            let this = waiting.insert(before.unwrap_or(Waiting { at, time: Duration::ZERO, called: false }));
            if this.time >= CALL && !this.called && hw.generation == Generation::P5 {
                this.called = true;
                self.tx[n].call();
            }
            if this.time < MOST {
                continue;
            }
            if up()? {
                let text = format!(
                    "transmit queue {n} has packets to send and has sent none for a second, though there is a link; open the card again"
                );
                return Err(hw.error(Kind::Device, text));
            }
            this.time = Duration::ZERO;
        }
        Ok(())
    }

    /// Tells the firmware that doorbells were rung again, once all queues have. One
    /// that is not used does not come, and has nothing to ring either.
    fn answer(&mut self, hw: &Hw, now: Instant) -> Result<()> {
        let all = || !self.rx.iter().chain(&self.tx).any(|queue| queue.waits());
        let Some((report, _)) = self.report.filter(|(_, when)| now >= *when + MOST || all()) else { return Ok(()) };
        self.report = None;
        if hw.caps.flags_ext2 & caps::DOORBELL_RECOVERY != 0 {
            let request = Request::new(func_dbr_recovery_completed::COMMAND)
                .with(func_dbr_recovery_completed::input::EPOCH, u64::from(report));
            hw.ask_optional(request)?;
        }
        Ok(())
    }
}

/// Where the oldest frame begins that the card has not reported, if there is one.
fn unsent(descriptors: &Region, completions: &Region) -> Option<u32> {
    let ring = |region: &Region| -> Ring<Words> { Ring::new(region.clone(), (region.len() / ENTRY) as u32) };
    let (frames, reports) = (ring(descriptors), ring(completions));
    let first = |ring: &Ring<Words>, at: u32| ring.at(at)[0].load(Ordering::Acquire);
    // An entry that was not written yet says 0, as a queue that has sent nothing.
    let sent = (0..reports.len()).map(|n| first(&reports, n)).filter(|word| word & kind::MASK == kind::SENT);
    let ends = sent.map(|word| (word >> OPAQUE) as u32);
    let clean = ends.reduce(|newest, end| if end.wrapping_sub(newest) < 1 << 31 { end } else { newest })?;
    // What stands there is of this lap if it ends where it has to.
    let word = first(&frames, clean);
    let end = (word >> OPAQUE) as u32;
    (word != 0 && end == clean.wrapping_add(desc::count(word))).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena};

    #[test]
    fn a_frame_waits_if_it_stands_where_the_newest_report_ends() {
        let arena = Arena::new(8192, Addressing::Translated).unwrap();
        let [frames, reports] = [0, 4096].map(|at| Region::new(&arena, at, 16 * 16));
        let unsent = || unsent(&frames, &reports);
        let put = |region: &Region, n: usize, word: u64| region.words64()[2 * n].store(word, Ordering::Release);
        assert_eq!(unsent(), None);
        put(&frames, 0, desc::plain(60) | 1 << OPAQUE);
        assert_eq!(unsent(), Some(0));
        put(&reports, 0, 1 << OPAQUE);
        assert_eq!(unsent(), None);
        // Two descriptors, then one.
        put(&frames, 1, desc::transmit(98, 2) | 3 << OPAQUE);
        put(&frames, 2, 8);
        put(&frames, 3, desc::plain(60) | 4 << OPAQUE);
        assert_eq!(unsent(), Some(1));
        put(&reports, 1, 4 | 0xffff << 16 | 99 << OPAQUE); // when a frame left
        put(&reports, 2, 3 << OPAQUE);
        assert_eq!(unsent(), Some(3));
        put(&reports, 3, 17 << OPAQUE);
        assert_eq!(unsent(), None, "the frame there is of the lap before");
        for n in 0..16 {
            put(&reports, n, (u64::from(u32::MAX) - 20 + n as u64) << OPAQUE);
        }
        put(&reports, 4, 2 << OPAQUE);
        put(&frames, 2, desc::plain(60) | 3 << OPAQUE);
        assert_eq!(unsent(), Some(2), "where positions wrap");
    }
}
