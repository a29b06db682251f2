//! How a card's clock is related to the time of day.
//!
//! ```text
//!   wall                         ___/ rate
//!    |            ..___---'''---'
//!    |      ___---'   \ what it was off is made up over a second
//!    |___---
//!    +------x----------x-----------x------> card
//!           readings: card, wall, +- half of how long the reading took
//! ```
//!
//! Between two readings the relation is a line. At the next reading it goes on from
//! where it is, so a later time of the card's is a later time of day, and the same is
//! always the same. The slope follows the drift of the card's clock, and what was off
//! is made up over the following second.
//!
//! Someone may set either clock. Forward steps of the time of day are followed at
//! once, backward ones of up to a second at [`MAX_SLEW`]; larger ones, and steps
//! of the card's clock, start a new relation.

/// One moment on both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The card's, since its start.
    pub card: u64,
    /// Time of day, since 1970.
    pub wall: u64,
    /// By how much the two may be apart in time: half of how long the reading took.
    pub within: u64,
}

/// How long it takes to make up what was off.
const SLEW_NS: i64 = 1_000_000_000;
/// More than this is a time of day that was set, not a clock that drifts.
const STEP_NS: i64 = 10_000_000;
/// More than this is a clock that was set.
pub const SLIP_NS: u64 = 1_000_000_000;
/// Most that is made up in a second: 500 ppm, as by the kernel.
const MAX_SLEW: i64 = 500_000;
/// Bits of fraction in a slope.
const FRACTION: u32 = 32;

/// A piece of the relation: straight but for the first second, in which something is made up.
#[derive(Clone, Copy, Debug)]
struct Line {
    card: u64,
    wall: u64,
    /// How much faster the time of day runs, in 2^-32; and on top of it at first.
    rate: i64,
    slew: i64,
}

impl Line {
    fn at(&self, card: u64) -> u64 {
        let passed = card.wrapping_sub(self.card) as i64;
        let scaled = |passed: i64, slope: i64| ((i128::from(passed) * i128::from(slope)) >> FRACTION) as i64;
        // Before its start a line has no slew.
        let slewed = scaled(passed.clamp(0, SLEW_NS), self.slew);
        self.wall.wrapping_add_signed(passed.wrapping_add(scaled(passed, self.rate)).wrapping_add(slewed))
    }
}

/// The relation of two clocks.
#[derive(Clone, Debug)]
pub struct Relation {
    before: Line,
    now: Line,
    /// The far end of every baseline.
    origin: Point,
    readings: u64,
    worst: u64,
}

impl Relation {
    /// The relation as a first reading shows it.
    pub fn new(first: Point) -> Self {
        let line = Line { card: first.card, wall: first.wall, rate: 0, slew: 0 };
        Relation { before: line, now: line, origin: first, readings: 1, worst: first.within }
    }

    /// The time of day at a time of the card's.
    #[inline]
    pub fn wall(&self, card: u64) -> u64 {
        // What was told before the last reading is told again.
        if card < self.now.card { self.before.at(card) } else { self.now.at(card) }
    }

    /// Takes in another reading. Times of the card's up to `told` were asked for
    /// already and keep their answers. False if one of the clocks was set, so that a
    /// new relation begins.
    pub fn follow(&mut self, point: Point, told: u64) -> bool {
        let start = point.card.max(told);
        let off = point.wall.wrapping_sub(self.wall(point.card)) as i64;
        self.readings += 1;
        if off.unsigned_abs() > SLIP_NS || point.card <= self.origin.card || start - point.card > SLIP_NS {
            let (readings, worst) = (self.readings, self.worst);
            *self = Relation { readings, worst: worst.max(point.within), ..Relation::new(point) };
            return false;
        }
        let mut wall = self.wall(start);
        let mut slew = off;
        if off.abs() > STEP_NS {
            // Set, not drifted: what was measured before says nothing of the rate.
            self.origin = Point { wall: self.origin.wall.wrapping_add_signed(off), ..self.origin };
            if off > 0 {
                wall += off as u64;
                slew = 0;
            }
        } else {
            self.worst = self.worst.max(point.within + off.unsigned_abs());
        }
        let part = |off: i64, of: i64| ((i128::from(off) << FRACTION) / i128::from(of.max(1))) as i64;
        let most = part(MAX_SLEW, SLEW_NS);
        let baseline = (point.card - self.origin.card) as i64;
        let gained = (point.wall as i64).wrapping_sub(self.origin.wall as i64).wrapping_sub(baseline);
        let rate = part(gained, baseline).clamp(-most, most);
        let slew = part(slew, SLEW_NS).clamp(-most, most);
        self.before = self.now;
        self.now = Line { card: start, wall, rate, slew };
        true
    }

    /// Readings so far.
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// Most that a told time may be off the time of day, in nanoseconds, as far as
    /// the readings show: how long each took, and what the last relation was off by then.
    pub fn uncertainty(&self) -> u64 {
        self.worst
    }

    /// How much faster the card's clock runs than the time of day, in millionths.
    pub fn drift_ppm(&self) -> f64 {
        -(self.now.rate as f64) * 1e6 / (1u64 << FRACTION) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    /// A card's clock that runs `ppm` too fast, read `at` nanoseconds after the start.
    fn reading(at: u64, ppm: i64) -> Point {
        let card = 5 * SECOND + at.wrapping_add_signed(at as i64 / 1_000_000 * ppm);
        Point { card, wall: START + at, within: 100 }
    }

    #[test]
    fn a_clock_that_drifts_is_followed_over_an_hour() {
        for ppm in [-100, 0, 37, 100] {
            let mut relation = Relation::new(reading(0, ppm));
            for second in 1..=3600 {
                let point = reading(second * SECOND, ppm);
                relation.follow(point, point.card);
                if second > 3 {
                    let between = reading(second * SECOND + SECOND / 2, ppm);
                    let off = relation.wall(between.card).abs_diff(between.wall);
                    assert!(off < 1_000, "{ppm} ppm, second {second}: {off} ns");
                }
            }
            assert!((relation.drift_ppm() - ppm as f64).abs() < 0.1, "{}", relation.drift_ppm());
            assert_eq!(relation.readings(), 3601);
            // The first second knew of no drift, and says so.
            let unknown = 1_000 * ppm.unsigned_abs();
            assert!((unknown..=unknown + 200).contains(&relation.uncertainty()), "{}", relation.uncertainty());
        }
    }

    #[test]
    fn a_time_of_day_that_was_set_forward_is_followed_at_once_and_backward_slowly() {
        let set = |by: i64| {
            let mut relation = Relation::new(reading(0, 0));
            let told = reading(SECOND, 0).card;
            let point = reading(SECOND, 0);
            relation.follow(Point { wall: point.wall.wrapping_add_signed(by), ..point }, told);
            (relation.wall(told) as i64 - (START + SECOND) as i64, relation.wall(told + SECOND) as i64)
        };
        assert_eq!(set(50_000_000).0, 50_000_000);
        let (at_once, later) = set(-50_000_000);
        assert_eq!(at_once, 0, "not a step back");
        let made_up = (START + 2 * SECOND) as i64 - later;
        assert!((499_000..=500_001).contains(&made_up), "{made_up}");
        assert_eq!(set(-3_600_000_000_000).0, -3_600_000_000_000, "an hour is begun anew");
    }

    #[test]
    fn a_cards_clock_that_was_set_begins_anew() {
        let mut relation = Relation::new(reading(0, 0));
        relation.follow(reading(SECOND, 0), 0);
        let set = Point { card: 7, wall: START + 2 * SECOND, within: 50 };
        relation.follow(set, 5 * SECOND);
        assert_eq!(relation.wall(17), START + 2 * SECOND + 10);
    }

    proptest! {
        #[test]
        fn later_times_of_the_card_are_never_earlier_whatever_the_readings(
            noise in prop::collection::vec((-3_000_000i64..3_000_000, 0u64..2_000_000, 1u64..3_000_000_000), 1..40),
        ) {
            let mut relation = Relation::new(reading(0, 0));
            let (mut at, mut last_told, mut last) = (0, 0, 0);
            for (off, behind, pause) in noise {
                at += pause;
                // Packets up to `behind` after the reading were told before it was taken in.
                let told = 5 * SECOND + at + behind;
                for step in 0..64u64 {
                    let card = last_told + (told.saturating_sub(last_told)) * step / 64;
                    let wall = relation.wall(card);
                    prop_assert!(wall >= last || card == 0, "{card}");
                    last = wall;
                }
                last_told = last_told.max(told);
                last = last.max(relation.wall(last_told));
                let same = relation.wall(last_told);
                relation.follow(Point { wall: reading(at, 0).wall.wrapping_add_signed(off), ..reading(at, 0) }, last_told);
                prop_assert_eq!(relation.wall(last_told), same);
            }
        }
    }
}
