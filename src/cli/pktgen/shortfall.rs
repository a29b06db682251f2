//! Places of a schedule that no packet took, each by its cause.
//!
//! ```text
//!   the sender  ---making---|--ring full--------|---away---|--ring full--------
//!   places      |  |  |  |  x  x  x  x  x  x  x  x  x  x  x  |  |
//!                           ^ later than the slack: charged to what was the matter here
//! ```
//!
//! A place is charged to what kept the sender at the moment when it was due. Nothing is done
//! for places that are used: what keeps the sender is noted when it changes, and looked up
//! when places are skipped.

use crate::cli::output::{self, Output};
use crate::measure::{Pace, Ticks};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// What keeps a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The card takes no more.
    Ring,
    /// The system runs something else on its processor.
    Away,
    /// The pool has no buffer.
    Buffers,
    /// Its own work.
    Work,
    /// The recording: its next packet was not read yet.
    File,
}

/// Each cause by its name in a document, and the words behind a count.
const CAUSES: [(Cause, &str, &str); 5] = [
    (Cause::Ring, "ring_full", "while the ring was full: card and link took no more (an emulated card: its model)"),
    (Cause::Away, "held_up", "while the system ran something else, for more than 20 us at a time"),
    (Cause::Buffers, "no_buffers", "while no buffer was free"),
    (Cause::Work, "sender", "while packets were made and given to the ring: the sender is slower than the rate"),
    (Cause::File, "reader_bound", "reader-bound: packets late because the file was read slower than asked"),
];

/// Time between two looks at the clock that is no work of a sender any more: a batch of the
/// longest frames takes less.
pub const AWAY: Duration = Duration::from_micros(20);

/// Places, or the times that a recording was moved, by what kept the sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall([u64; CAUSES.len()]);

impl Shortfall {
    /// Charges `places` to `cause`.
    pub fn charge(&mut self, cause: Cause, places: u64) {
        self.0[cause as usize] += places;
    }

    /// Adds what another sender has.
    pub fn add(&mut self, other: Shortfall) {
        self.0.iter_mut().zip(other.0).for_each(|(count, other)| *count += other);
    }

    /// All of them together.
    pub fn total(self) -> u64 {
        self.0.iter().sum()
    }

    /// Prints a line for each cause that has any.
    pub fn print(self, output: &Output) -> io::Result<()> {
        for (cause, _, words) in CAUSES {
            let count = self.0[cause as usize];
            if count > 0 {
                output.result(format_args!("          {} {words}", output::grouped(count)))?;
            }
        }
        Ok(())
    }

    /// Every cause by its name.
    pub fn json(self) -> Value {
        let field = |(cause, key, _): (Cause, &str, &str)| (key.to_string(), self.0[cause as usize].into());
        Value::Object(CAUSES.into_iter().map(field).collect::<Map<_, _>>())
    }
}

/// What kept a sender, and when.
#[derive(Debug)]
pub struct Kept {
    /// Since when each; the first since ever, the last until now.
    log: VecDeque<(Ticks, Cause)>,
    /// The clock when it was last looked at.
    looked: Ticks,
    /// See [`AWAY`].
    away: Ticks,
    /// Packets that the ring took since it was last full, and those after which it is no
    /// more: what it holds.
    took: usize,
    holds: usize,
    shortfall: Shortfall,
}

impl Kept {
    /// Entries of the log: what is older than all places that may still be used is forgotten.
    const ENTRIES: usize = 64;

    /// A sender at work, whose rings hold so many packets, and which is away if `away` ticks
    /// pass between two looks at the clock.
    pub fn new(away: Ticks, holds: usize) -> Self {
        let mut log = VecDeque::with_capacity(Self::ENTRIES + 2);
        log.push_back((0, Cause::Work));
        Kept { log, looked: 0, away, took: 0, holds, shortfall: Shortfall::default() }
    }

    /// It begins at `now`.
    pub fn begin(&mut self, now: Ticks) {
        self.looked = now;
    }

    /// The clock says `now`; the next place is due at `due`.
    #[inline]
    pub fn look(&mut self, now: Ticks, due: Ticks) {
        if now.saturating_sub(self.looked) > self.away {
            self.was_away(now, due);
        }
        self.looked = now;
    }

    #[cold]
    fn was_away(&mut self, now: Ticks, due: Ticks) {
        let before = self.cause();
        self.push(self.looked, Cause::Away, due);
        self.push(now, before, due);
    }

    /// The ring was offered packets at `now` and took all of them, `took`, or not.
    #[inline]
    pub fn gave(&mut self, took: usize, all: bool, now: Ticks, due: Ticks) {
        if !all {
            self.took = 0;
            self.is(Cause::Ring, now, due);
        } else if self.cause() != Cause::Work {
            self.took += took;
            // A ring that takes as much as it holds in one go is not what keeps anybody.
            if self.took >= self.holds || self.cause() != Cause::Ring {
                self.is(Cause::Work, now, due);
            }
        }
    }

    /// From `now` on it is kept by `cause`.
    #[inline]
    pub fn is(&mut self, cause: Cause, now: Ticks, due: Ticks) {
        if self.cause() != cause {
            self.push(now, cause, due);
        }
    }

    #[cold]
    fn push(&mut self, now: Ticks, cause: Cause, due: Ticks) {
        while self.log.len() > Self::ENTRIES || self.log.get(1).is_some_and(|next| next.0 <= due) {
            self.log.pop_front();
        }
        self.log.push_back((now, cause));
    }

    /// What keeps it now.
    #[inline]
    fn cause(&self) -> Cause {
        self.log.back().map_or(Cause::Work, |&(_, cause)| cause)
    }

    /// Skips the places that were due before `moment`, of `packets` packets each.
    #[cold]
    pub fn skip(&mut self, pace: &mut Pace, moment: Ticks, packets: u64) {
        while let Some(&(_, cause)) = self.log.front() {
            let next = self.log.get(1).map(|next| next.0).filter(|next| *next <= moment);
            self.shortfall.charge(cause, pace.skip_before(next.unwrap_or(moment)) * packets);
            if next.is_none() {
                break;
            }
            self.log.pop_front();
        }
    }

    /// Charges `places` to what keeps it now.
    pub fn charge(&mut self, places: u64) {
        self.shortfall.charge(self.cause(), places);
    }

    /// Charges one to what kept it at `moment`.
    pub fn charge_at(&mut self, moment: Ticks) {
        let then = self.log.iter().rev().find(|(since, _)| *since <= moment).or(self.log.front());
        self.shortfall.charge(then.map_or(Cause::Work, |&(_, cause)| cause), 1);
    }

    /// All that was charged.
    pub fn shortfall(&self) -> Shortfall {
        self.shortfall
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Clock;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    /// A place each 100 ticks from 0 on.
    fn places() -> Pace {
        let mut pace = Pace::new(&Clock::by_hand(Arc::new(AtomicU64::new(0))), 1e7).unwrap();
        pace.start(0);
        pace
    }

    fn counts(kept: &Kept) -> [u64; 4] {
        let [ring, away, buffers, work, _file] = kept.shortfall().0;
        [ring, away, buffers, work]
    }

    #[test]
    fn a_place_is_charged_to_what_kept_the_sender_when_it_was_due() {
        let mut pace = places();
        let mut kept = Kept::new(1_000, 512);
        // Places 0 to 4 while it works, 5 to 9 while the ring is full, 10 to 39 while it is
        // away, 40 to 44 while the ring is full again, the rest for want of buffers.
        kept.gave(3, false, 450, pace.due());
        kept.look(950, pace.due());
        kept.look(4_000, pace.due());
        kept.is(Cause::Buffers, 4_450, pace.due());
        kept.skip(&mut pace, 700, 1);
        assert_eq!(counts(&kept), [2, 0, 0, 5], "not yet what came later");
        kept.skip(&mut pace, 5_000, 1);
        assert_eq!((counts(&kept), pace.passed()), ([10, 30, 5, 5], 50));
        kept.charge(7);
        assert_eq!((counts(&kept), kept.shortfall().total()), ([10, 30, 12, 5], 57));
    }

    #[test]
    fn a_ring_was_full_until_it_has_taken_what_it_holds() {
        let mut kept = Kept::new(1_000, 64);
        let mut pace = places();
        kept.gave(10, false, 0, 0);
        kept.gave(22, true, 100, 0);
        kept.gave(32, true, 200, 0);
        kept.gave(9, true, 300, 0);
        assert_eq!(kept.cause(), Cause::Ring);
        kept.gave(1, true, 400, 0);
        assert_eq!(kept.cause(), Cause::Work);
        kept.skip(&mut pace, 1_000, 4);
        assert_eq!(counts(&kept), [16, 0, 0, 24]);
    }

    #[test]
    fn a_file_that_is_behind_keeps_it_until_a_packet_of_it_is_gone() {
        let mut pace = places();
        let mut kept = Kept::new(1_000_000, 512);
        kept.is(Cause::File, 450, pace.due());
        // Places 0 to 4 while it works, 5 to 9 while there is nothing to send.
        kept.skip(&mut pace, 950, 3);
        kept.gave(1, true, 1_000, pace.due());
        kept.skip(&mut pace, 1_250, 3);
        assert_eq!(kept.shortfall().0, [0, 0, 0, 24, 15]);
    }

    #[test]
    fn a_document_names_each_cause() {
        let mut shortfall = Shortfall::default();
        for (n, (cause, _, _)) in CAUSES.into_iter().enumerate() {
            shortfall.charge(cause, n as u64 + 1);
        }
        let mut twice = shortfall;
        twice.add(shortfall);
        let json = twice.json();
        assert_eq!((&json["ring_full"], &json["held_up"]), (&2.into(), &4.into()));
        assert_eq!((&json["no_buffers"], &json["sender"]), (&6.into(), &8.into()));
        assert_eq!(json["reader_bound"], 10);
    }

    proptest! {
        #[test]
        fn whatever_happens_each_place_is_used_or_charged_once(
            steps in prop::collection::vec((0..5_000_u64, 0..6_u8), 1..400),
            packets in 1..9_u64,
        ) {
            let mut pace = places();
            let mut kept = Kept::new(1_000, 64);
            let (mut now, mut used) = (0, 0);
            for (step, what) in steps {
                now += step;
                kept.look(now, pace.due());
                match what {
                    0 => kept.gave(16, true, now, pace.due()),
                    1 => kept.gave(3, false, now, pace.due()),
                    2 => kept.is(Cause::Buffers, now, pace.due()),
                    3 => kept.is(Cause::File, now, pace.due()),
                    _ => while pace.due() <= now {
                        let in_time = pace.in_time(now);
                        if pace.due() < in_time {
                            kept.skip(&mut pace, in_time, packets);
                        } else {
                            pace.take_next();
                            used += packets;
                        }
                    },
                }
                prop_assert!(kept.log.len() <= Kept::ENTRIES + 2);
            }
            kept.skip(&mut pace, now, packets);
            prop_assert_eq!(used + kept.shortfall().total(), pace.passed() * packets);
            prop_assert!(pace.due() >= now, "a place before the end is left");
        }
    }
}
