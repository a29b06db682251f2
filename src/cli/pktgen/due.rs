//! What the schedule says, and how near to it packets left.

use super::replay::Timed;
use super::shortfall::{Cause, Kept, Shortfall};
use super::traffic::Schedule;
use crate::measure::{Histogram, Ticks};

/// A schedule under way, as one thread keeps it.
pub struct Due {
    schedule: Schedule,
    start: Ticks,
    /// When the place was that was taken last, and packets of it that are not made yet.
    place: Ticks,
    rest: u64,
    /// How late the packet before left.
    late: Option<Ticks>,
    /// By how much a recording was moved.
    slipped: Ticks,
    /// Places of a list so far, taken or given up.
    listed: u64,
    gaps: Histogram,
    kept: Kept,
}

/// What became of a schedule.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Packets that were due until the end; none if there was no schedule of places.
    pub places: Option<u64>,
    /// Those that were not given to a ring, or the times that a recording was moved.
    pub shortfall: Shortfall,
    /// By how much it was moved in all, ticks.
    pub slipped: Ticks,
    /// How far the times between two doorbells were from those between their
    /// places, ticks.
    pub gaps: Histogram,
}

impl Outcome {
    /// Adds what became of another share of the schedule.
    pub fn add(&mut self, other: &Outcome) {
        self.places = self.places.zip(other.places).map(|(a, b)| a + b);
        self.shortfall.add(other.shortfall);
        self.slipped += other.slipped;
        self.gaps.add(&other.gaps);
    }
}

impl Due {
    /// A schedule that has not begun; see [`Kept::new`] for the rest.
    pub fn new(schedule: Schedule, away: Ticks, holds: usize) -> Self {
        let (late, gaps, kept) = (None, Histogram::new(), Kept::new(away, holds));
        Due { schedule, start: 0, place: 0, rest: 0, late, slipped: 0, listed: 0, gaps, kept }
    }

    /// Begins it.
    pub fn begin(&mut self, start: Ticks) {
        self.start = start;
        if let Schedule::Rate { pace, .. } = &mut self.schedule {
            pace.start(start);
        }
        self.kept.begin(start);
    }

    /// Whether packets have times at all.
    #[inline]
    pub fn is_paced(&self) -> bool {
        !matches!(self.schedule, Schedule::Line | Schedule::Card { .. })
    }

    /// When the next packet is due, which was recorded at `ns` if it was; 0 is at once.
    #[inline]
    pub fn next(&self, ns: u64) -> Ticks {
        match &self.schedule {
            Schedule::Line | Schedule::Card { .. } => 0,
            Schedule::Rate { .. } if self.rest > 0 => self.place,
            Schedule::Rate { pace, .. } => pace.due(),
            Schedule::Recorded { scale, .. } | Schedule::Listed { scale, .. } => self.start + scale.ticks(ns),
        }
    }

    /// The next packet was made.
    #[inline]
    pub fn made(&mut self) {
        if let Schedule::Rate { pace, burst, .. } = &mut self.schedule {
            if self.rest == 0 {
                self.place = pace.take_next();
                self.rest = *burst as u64;
            }
            self.rest -= 1;
        } else if self.is_listed() {
            self.listed += 1;
        }
    }

    #[inline]
    fn is_listed(&self) -> bool {
        matches!(self.schedule, Schedule::Listed { .. })
    }

    /// When the oldest place of a list that is in time at `now` was due.
    #[inline]
    pub fn in_time(&self, now: Ticks) -> Ticks {
        let Schedule::Listed { slack, .. } = self.schedule else { return 0 };
        now.saturating_sub(slack)
    }

    /// Gives up the places of a list that were due before `moment`; how many.
    #[inline]
    pub fn pass(&mut self, frames: &mut impl Timed, moment: Ticks) -> u64 {
        let mut passed = 0;
        while let Some((_, ns)) = frames.peek() {
            let due = self.next(ns);
            if due >= moment {
                break;
            }
            frames.step();
            self.kept.charge_at(due);
            passed += 1;
        }
        self.listed += passed;
        passed
    }

    /// Gives up the places that are too late at `now`. A recording whose next packet, recorded
    /// at `ns`, is too late is moved: what follows keeps its gaps, and there is no burst.
    #[inline]
    pub fn catch_up(&mut self, now: Ticks, ns: u64) {
        match &mut self.schedule {
            Schedule::Line | Schedule::Card { .. } | Schedule::Listed { .. } => {}
            Schedule::Rate { pace, burst, .. } => {
                let in_time = pace.in_time(now);
                if pace.due() < in_time {
                    self.kept.skip(pace, in_time, *burst as u64);
                }
            }
            &mut Schedule::Recorded { slack, .. } => {
                let due = self.next(ns);
                let late = now.saturating_sub(due);
                if late > slack {
                    self.start += late - slack;
                    self.slipped += late - slack;
                    self.late = None;
                    self.kept.charge_at(due);
                }
            }
        }
    }

    /// When a packet of a recording or of a list that is waited for is due; 0 for others.
    #[inline]
    pub fn awaited(&self, due: Ticks) -> Ticks {
        if matches!(self.schedule, Schedule::Recorded { .. } | Schedule::Listed { .. }) { due } else { 0 }
    }

    /// Whether there are places before `moment` that nobody has taken.
    pub fn is_behind(&self, moment: Ticks) -> bool {
        matches!(&self.schedule, Schedule::Rate { pace, .. } if pace.due() < moment)
    }

    /// The clock says `now`.
    #[inline]
    pub fn look(&mut self, now: Ticks) {
        self.kept.look(now, self.oldest());
    }

    /// From `now` on there was nothing to give to a ring: why.
    pub fn want(&mut self, what: Cause, now: Ticks) {
        self.kept.is(what, now, self.oldest());
    }

    /// A ring was offered packets, took `took` of their buffers, or all, and the doorbell had
    /// been written by `now`. The first of the packets was due at `due`, and this was the
    /// first doorbell for them or not.
    #[inline]
    pub fn gave(&mut self, took: usize, all: bool, first: bool, due: Ticks, now: Ticks) {
        if took > 0 && first {
            let late = now.saturating_sub(due);
            if let Some(before) = self.late.replace(late) {
                self.gaps.record(late.abs_diff(before));
            }
        }
        self.kept.gave(took, all, now, self.oldest());
    }

    /// What kept the sender before this moment is of no interest any more.
    #[inline]
    fn oldest(&self) -> Ticks {
        if let Schedule::Rate { pace, .. } = &self.schedule { pace.due() } else { 0 }
    }

    /// The run ended: at `cut` if that was not at the end of what was to be sent. `unsent`
    /// packets were made that no ring took, and `early` ones that were not due yet.
    pub fn end(mut self, cut: Option<Ticks>, unsent: u64, early: u64) -> Outcome {
        let mut places = None;
        if let Schedule::Rate { pace, burst, .. } = &mut self.schedule {
            let burst = *burst as u64;
            if let Some(cut) = cut {
                self.kept.skip(pace, cut, burst);
            }
            // Of the last burst there may be packets that nobody asked for any more.
            let beyond = match cut {
                Some(cut) if self.place < cut => 0,
                _ => self.rest,
            };
            self.kept.charge(unsent + self.rest - beyond);
            places = Some(pace.passed() * burst - beyond - early);
        } else if self.is_listed() {
            self.kept.charge(unsent);
            places = Some(self.listed - early);
        }
        let shortfall = self.kept.shortfall();
        Outcome { places, shortfall, slipped: self.slipped, gaps: self.gaps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pktgen::traffic::Scale;
    use crate::measure::{Clock, Pace};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    /// Ten million packets a second, in bursts, on a clock of nanoseconds that begins at 0.
    fn due(burst: usize) -> Due {
        let clock = Clock::by_hand(Arc::new(AtomicU64::new(0)));
        let pace = Pace::new(&clock, 1e7 / burst as f64).unwrap();
        let mut due = Due::new(Schedule::Rate { pace: Box::new(pace), burst, asked: 1e7 }, 20_000, 512);
        due.begin(0);
        due
    }

    #[test]
    fn packets_of_a_burst_have_one_place_and_what_is_left_of_it_is_charged() {
        // Ends: by the count, before the second place, after it, and after the third.
        for (cut, early, places, charged) in
            [(None, 0, 6, 0), (Some(400), 2, 4, 0), (Some(401), 0, 8, 2), (Some(801), 0, 12, 6)]
        {
            let mut due = due(4);
            let times: Vec<Ticks> = (0..6).map(|_| (due.next(0), due.made()).0).collect();
            assert_eq!(times, [0, 0, 0, 0, 400, 400]);
            let end = due.end(cut, 0, early);
            assert_eq!((end.places, end.shortfall.total()), (Some(places), charged), "{cut:?}");
        }
    }

    #[test]
    fn a_gap_is_the_time_between_two_doorbells_against_that_between_their_places() {
        let mut due = due(1);
        for (place, left) in [(0, 50), (100, 150), (200, 290), (300, 310)] {
            assert_eq!(due.next(0), place);
            due.made();
            due.gave(1, true, true, place, left);
        }
        let end = due.end(None, 0, 0);
        assert_eq!((end.gaps.count(), end.gaps.min(), end.gaps.max()), (3, 0, 80));
        assert_eq!((end.places, end.shortfall.total()), (Some(4), 0));
    }

    /// A list of packets 100 ns apart.
    struct Hundreds(u64);

    impl Timed for Hundreds {
        fn peek(&mut self) -> Option<(&[u8], u64)> {
            Some((&[7; 60], self.0))
        }

        fn step(&mut self) {
            self.0 += 100;
        }
    }

    #[test]
    fn places_of_a_list_never_move_and_each_is_taken_or_given_up_with_its_cause() {
        let schedule = Schedule::Listed { scale: Scale::new(1.0), packets: 1_000, slack: 250 };
        let (mut due, mut list) = (Due::new(schedule, 20_000, 512), Hundreds(0));
        due.begin(1_000);
        for _ in 0..3 {
            assert_eq!(due.pass(&mut list, due.in_time(1_200)), 0);
            list.step();
            due.made();
        }
        // Away until 41 000 of its clock: places from 1 300 on, of which 40 800 is in time.
        due.look(1_250);
        due.look(41_000);
        assert_eq!(due.pass(&mut list, due.in_time(41_000)), 395);
        assert_eq!(due.next(list.0), 40_800);
        list.step();
        due.made();
        // It is told to end, while there are two places more; the one made last was too early.
        assert_eq!(due.pass(&mut list, 41_100), 2);
        let end = due.end(Some(41_100), 0, 1);
        assert_eq!((end.places, end.shortfall.total()), (Some(3 + 395 + 1 + 2 - 1), 397));
        assert_eq!(end.shortfall.json()["held_up"], 396);
    }

    #[test]
    fn a_recording_that_is_held_up_is_moved_and_the_cause_is_told() {
        let schedule = Schedule::Recorded { scale: Scale::new(1.0), factor: 1.0, slack: 1_000 };
        let mut due = Due::new(schedule, 20_000, 512);
        assert_eq!(due.next(5_000), 5_000);
        due.catch_up(6_000, 5_000);
        assert_eq!(due.next(6_000), 6_000, "within the slack");
        due.look(6_000);
        due.look(56_000);
        due.catch_up(56_000, 7_000);
        assert_eq!(due.next(7_000), 55_000);
        let end = due.end(Some(60_000), 0, 0);
        assert_eq!((end.places, end.slipped, end.shortfall.json()["held_up"].as_u64()), (None, 48_000, Some(1)));
    }
}
