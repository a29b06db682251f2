//! Impairments: what a bad wire does to frames.
//!
//! ```text
//!   port  --send-->  [lose, limit, double, spoil, swap, delay]  -->  wire
//!   port  <--peek--  [lose, limit, double, spoil, swap, delay]  <--  wire
//! ```
//!
//! Each way has its own chance, drawn from the seed, in an order that depends on
//! nothing but the frames: the same frames on the same seed meet the same fate,
//! however the model is stepped. A frame crosses the impairment once on its way
//! out and once on its way in; a loop is one segment, so there only once.
//!
//! A rate limit is a policer, each way: it holds [`BURST`] frames' worth of
//! credit, gains more at its rate, and drops a frame that it has none for. It
//! keeps no queue, so a steady stream passes whole up to the rate and loses
//! exactly the excess above it.

mod words;

use super::{Fate, FrameQueue, MAX_FRAME, Note, Picos, Random, Wire};
use crate::emu::Share;
pub use words::Seeded;

/// What a wire does to the frames that pass, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Share that vanishes.
    pub loss: Share,
    /// Frames a second that pass; what comes faster vanishes. 0 is no limit.
    pub limit: u64,
    /// Share that comes twice.
    pub duplicate: Share,
    /// Share that comes after the frame behind it.
    pub reorder: Share,
    /// Share of which one bit is inverted.
    pub corrupt: Share,
    /// How much later each frame comes.
    pub delay: Picos,
    /// By how much the delay varies, up or down. It never swaps frames.
    pub jitter: Picos,
}

/// A wire around a wire that does so.
pub struct Impaired {
    wire: Box<dyn Wire>,
    /// What is sent; none on a wire that leads back to its sender.
    out: Option<Impairing>,
    back: Impairing,
}

/// Bytes that wait, each way: what 100 us of delay hold at 10 Gbit/s many times
/// over. When it is full, longer delays hold the wire up.
const ROOM: usize = 4 << 20;

impl Impaired {
    /// Impairs both ways of `wire`, or what is received only (`both` false).
    pub fn new(wire: Box<dyn Wire>, what: Impairment, seed: u64, both: bool) -> Self {
        let out = both.then(|| Impairing::new(what, seed ^ 0x6f75_7400, ROOM));
        Impaired { wire, out, back: Impairing::new(what, seed ^ 0x6261_636b, ROOM) }
    }

    /// Puts what is due on the wire.
    fn flush(&mut self, now: Picos) {
        let Some(out) = &mut self.out else { return };
        while let Some((frame, at)) = out.due(now) {
            if !self.wire.send(frame, at) {
                return;
            }
            out.pop();
        }
    }
}

impl Wire for Impaired {
    fn send(&mut self, frame: &[u8], at: Picos) -> bool {
        let Some(out) = &mut self.out else { return self.wire.send(frame, at) };
        if !out.has_room() {
            self.flush(at);
            return false;
        }
        out.pass(frame, at);
        self.flush(at);
        true
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        self.flush(now);
        // No further ahead than it takes: a source never runs dry.
        while self.back.due(now).is_none() && self.back.has_room() {
            let Some((frame, at)) = self.wire.peek(now) else { break };
            self.back.pass(frame, at);
            self.wire.advance();
        }
        self.back.due(now)
    }

    fn advance(&mut self) {
        self.back.pop();
    }

    fn carrier(&self) -> bool {
        self.wire.carrier()
    }

    fn waits(&self) -> bool {
        self.wire.waits()
    }

    fn is_over(&self) -> Option<bool> {
        let empty = self.back.is_empty();
        self.wire.is_over().map(|over| over && empty)
    }

    fn report(&mut self) -> Vec<Note> {
        let mut report = self.wire.report();
        for (way, meant, at) in [(self.out.as_ref(), Fate::MeantOut, 0), (Some(&self.back), Fate::MeantIn, 1)] {
            let Some(way) = way else { continue };
            // A frame that is doubled, late or spoiled came all the same.
            let note = |((keys, words, lost), frames): (&([_; 2], _, _), _)| {
                Note::new(if *lost { meant } else { Fate::Passed }, keys[at], *words, frames)
            };
            report.extend(COUNTS.iter().zip(way.counts()).map(note));
        }
        report
    }
}

/// What is counted of the way out and of the way in, in words, and whether such
/// frames are lost; in the order of [`Impairing::counts`].
const COUNTS: [([&str; 2], &str, bool); 5] = [
    (["out_lost", "in_lost"], "lost on the wire, as asked", true),
    (["out_duplicated", "in_duplicated"], "doubled on the wire", false),
    (["out_reordered", "in_reordered"], "overtaken by the next", false),
    (["out_corrupted", "in_corrupted"], "with a bit inverted", false),
    (["out_over_limit", "in_over_limit"], "lost on the wire above its rate limit, as asked", true),
];

/// Names of what [`Impairing::counts`] counts, for a document.
pub const IMPAIRMENTS: [&str; 5] = ["lost", "duplicated", "reordered", "corrupted", "over_limit"];

/// One way through a bad wire: frames go in as they come and come out when they are due.
pub struct Impairing {
    what: Impairment,
    random: Random,
    /// What comes out, in order, with when.
    queue: FrameQueue,
    /// A frame that waits for the one behind it, and when it came.
    swapped: Option<(Vec<u8>, Picos)>,
    /// When the last frame comes out: none overtakes it by jitter.
    last: Picos,
    scratch: Vec<u8>,
    /// Where the rate is limited.
    policer: Option<Policer>,
    /// Lost, duplicated, reordered, corrupted, over the limit.
    counts: [u64; 5],
}

impl Impairing {
    /// A way that does so by the chances of `seed`, and holds `room` bytes of frames at most.
    pub fn new(what: Impairment, seed: u64, room: usize) -> Self {
        let queue = FrameQueue::new(room.max(ROOM));
        let random = Random::new(seed);
        let policer = (what.limit != 0).then(|| Policer::new(what.limit));
        Impairing { what, random, queue, swapped: None, last: 0, scratch: Vec::new(), policer, counts: [0; 5] }
    }

    /// Whether a frame, its double and one that waited fit.
    fn has_room(&self) -> bool {
        self.has_room_for(MAX_FRAME)
    }

    /// Whether frames of so many bytes, their doubles and one that waited fit.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.queue.room_for(2 * bytes + MAX_FRAME)
    }

    /// Decides over a frame; it has room ([`Impairing::has_room_for`]). All the chances are drawn for each frame, so that
    /// one impairment does not change what another one chooses.
    pub fn pass(&mut self, frame: &[u8], at: Picos) {
        let Impairment { loss, limit: _, duplicate, reorder, corrupt, delay, jitter } = self.what;
        let lost = self.random.happens(loss);
        let doubled = self.random.happens(duplicate);
        let swapped = self.random.happens(reorder);
        let spoiled = self.random.happens(corrupt);
        let bit = self.random.number();
        let varied = self.random.below(2 * jitter + 1);
        if lost {
            self.counts[0] += 1;
            return;
        }
        if self.policer.as_mut().is_some_and(|policer| !policer.lets(at)) {
            self.counts[4] += 1;
            return;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(frame);
        if spoiled && !frame.is_empty() {
            self.counts[3] += 1;
            let bit = (bit % (8 * frame.len() as u64)) as usize;
            self.scratch[bit / 8] ^= 1 << (bit % 8);
        }
        let due = (at + delay + varied).saturating_sub(jitter).max(at);
        // One frame waits at a time: the one that it waits for goes first.
        if swapped && self.swapped.is_none() {
            self.counts[2] += 1;
            self.swapped = Some((std::mem::take(&mut self.scratch), due));
            return;
        }
        self.last = self.last.max(due);
        // There is room: see `has_room`.
        let _ = self.queue.push(&self.scratch, self.last);
        if doubled {
            self.counts[1] += 1;
            let _ = self.queue.push(&self.scratch, self.last);
        }
        self.release();
    }

    fn release(&mut self) {
        if let Some((frame, due)) = self.swapped.take() {
            self.last = self.last.max(due);
            let _ = self.queue.push(&frame, self.last);
            self.scratch = frame;
        }
    }

    /// The next frame that is due. One that waits for another to overtake it
    /// does so for a millisecond, then it goes alone.
    pub fn due(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if self.swapped.as_ref().is_some_and(|(_, due)| due + PATIENCE <= now) {
            self.release();
        }
        self.queue.front().filter(|&(_, at)| at <= now)
    }

    /// Done with the frame that `due` showed.
    pub fn pop(&mut self) {
        self.queue.pop();
    }

    /// Frames that have not come out.
    pub fn len(&self) -> usize {
        self.queue.len() + usize::from(self.swapped.is_some())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames that were lost, duplicated, reordered, corrupted, and over the limit: see
    /// [`IMPAIRMENTS`].
    pub fn counts(&self) -> [u64; 5] {
        self.counts
    }
}

/// Frames that may come at once on a wire with a limit. Two of the largest
/// batches: a sender that is late by one and a card that is late by another are
/// still within a rate.
pub const BURST: u64 = 128;

/// A token bucket. Credit is in frames times picoseconds a second, so it is
/// exact for every rate.
struct Policer {
    rate: u64,
    credit: u128,
    last: Picos,
}

impl Policer {
    /// What one frame costs.
    const FRAME: u128 = 1_000_000_000_000;
    /// What a full bucket holds.
    const FULL: u128 = BURST as u128 * Self::FRAME;

    fn new(rate: u64) -> Self {
        Policer { rate, credit: Self::FULL, last: 0 }
    }

    /// Whether a frame that comes at `at` passes.
    fn lets(&mut self, at: Picos) -> bool {
        let gained = u128::from(at.saturating_sub(self.last)) * u128::from(self.rate);
        self.last = self.last.max(at);
        self.credit = (self.credit + gained).min(Self::FULL);
        let passes = self.credit >= Self::FRAME;
        if passes {
            self.credit -= Self::FRAME;
        }
        passes
    }
}

/// How long a frame waits to be overtaken: a millisecond.
const PATIENCE: Picos = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::Loop;
    use super::*;

    fn share(percent: u32) -> Share {
        Share(percent * 10_000_000)
    }

    /// What comes back of `count` numbered frames, one every 100 ns, and when.
    fn round(what: Impairment, seed: u64, count: u32) -> Vec<(Vec<u8>, Picos)> {
        let mut wire = Impaired::new(Box::new(Loop::new(true)), what, seed, false);
        let mut seen = Vec::new();
        let mut receive = |wire: &mut Impaired, now| {
            while let Some((frame, at)) = wire.peek(now) {
                seen.push((frame.to_vec(), at));
                wire.advance();
            }
        };
        for n in 0..count {
            let at = u64::from(n) * 100_000;
            assert!(wire.send(&[&n.to_be_bytes()[..], &[0; 56]].concat(), at));
            receive(&mut wire, at);
        }
        receive(&mut wire, u64::MAX / 2);
        seen
    }

    fn number(frame: &[u8]) -> u32 {
        u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]])
    }

    #[test]
    fn each_impairment_does_its_share_and_no_more() {
        const COUNT: u32 = 20_000;
        // Ten percent of 20000, within five standard deviations.
        let about = |n: usize| n.abs_diff(2000) < 5 * 43;
        let none = Impairment::default();

        let lost = round(Impairment { loss: share(10), ..none }, 1, COUNT);
        assert!(about(COUNT as usize - lost.len()) && lost.is_sorted());

        let doubled = round(Impairment { duplicate: share(10), ..none }, 1, COUNT);
        assert!(about(doubled.len() - COUNT as usize));
        assert!(doubled.is_sorted());

        let swapped = round(Impairment { reorder: share(10), ..none }, 1, COUNT);
        assert_eq!(swapped.len(), COUNT as usize);
        let overtaken = swapped.windows(2).filter(|pair| number(&pair[1].0) < number(&pair[0].0)).count();
        // One that waits already lets the next chance pass: 10% of 91%.
        assert!(overtaken.abs_diff(1818) < 5 * 43, "{overtaken}");

        let spoiled = round(Impairment { corrupt: share(10), ..none }, 1, COUNT);
        let bits = |n: usize| -> u32 {
            let original = [&(n as u32).to_be_bytes()[..], &[0; 56]].concat();
            spoiled[n].0.iter().zip(original).map(|(a, b)| (a ^ b).count_ones()).sum()
        };
        assert!((0..COUNT as usize).all(|n| bits(n) <= 1));
        assert!(about((0..COUNT as usize).filter(|&n| bits(n) == 1).count()));
    }

    #[test]
    fn a_limit_passes_its_rate_and_a_burst_and_drops_exactly_the_rest() {
        const COUNT: u32 = 100_000;
        let passed = |limit| round(Impairment { limit, ..Impairment::default() }, 1, COUNT).len() as u64;
        // Ten million come a second, for 10 ms less one gap.
        assert_eq!(passed(10_000_000), u64::from(COUNT), "at the limit");
        assert_eq!(passed(20_000_000), u64::from(COUNT), "below it");
        for limit in [1_000, 123_457, 2_000_000, 9_999_000] {
            let right = BURST + limit * u64::from(COUNT - 1) / 10_000_000;
            assert_eq!(passed(limit), right.min(u64::from(COUNT)), "{limit}");
        }
        let mut wire =
            Impaired::new(Box::new(Loop::new(true)), Impairment { limit: 1, ..Impairment::default() }, 1, false);
        for at in 0..BURST + 7 {
            assert!(wire.send(&[0; 60], at));
        }
        while wire.peek(1_000).is_some() {
            wire.advance();
        }
        assert!(
            wire.report().iter().any(|note| (note.key, note.frames) == ("in_over_limit", 7)),
            "{:?}",
            wire.report()
        );
    }

    #[test]
    fn delay_and_jitter_are_kept_and_swap_nothing() {
        let what = Impairment { delay: 10_000_000, jitter: 3_000_000, ..Impairment::default() };
        let seen = round(what, 9, 2000);
        assert_eq!(seen.len(), 2000);
        let delays: Vec<_> = seen.iter().map(|(frame, at)| at - u64::from(number(frame)) * 100_000).collect();
        assert!(delays.iter().all(|delay| (7_000_000..=13_000_000).contains(delay)));
        assert!(delays.iter().max() > Some(&12_000_000) && delays.iter().min() < Some(&12_000_000));
        assert!(seen.is_sorted_by_key(|(frame, at)| (*at, number(frame))));
    }

    #[test]
    fn the_same_seed_gives_the_same_run_and_another_one_does_not() {
        let what = Impairment {
            loss: share(5),
            limit: 9_000_000,
            duplicate: share(5),
            reorder: share(5),
            corrupt: share(5),
            delay: 1_000_000,
            jitter: 500_000,
        };
        assert_eq!(round(what, 7, 3000), round(what, 7, 3000));
        assert_ne!(round(what, 7, 3000), round(what, 8, 3000));
    }

    #[test]
    fn one_impairment_does_not_move_another() {
        let numbers = |what| round(what, 3, 3000).into_iter().map(|(frame, _)| number(&frame)).collect::<Vec<_>>();
        let loss = Impairment { loss: share(20), ..Impairment::default() };
        let both = Impairment { delay: 5_000_000, duplicate: share(50), ..loss };
        let mut doubled = numbers(both);
        doubled.dedup();
        assert_eq!(numbers(loss), doubled);
    }

    #[test]
    fn everything_can_be_lost_and_a_lone_frame_does_not_wait_forever() {
        assert!(round(Impairment { loss: Share::ALL, ..Impairment::default() }, 1, 100).is_empty());
        let swapped = round(Impairment { reorder: Share::ALL, ..Impairment::default() }, 1, 1);
        assert_eq!(swapped.len(), 1);
    }

    #[test]
    fn a_wire_that_waits_is_waited_for_and_nothing_is_lost() {
        let what = Impairment { delay: 1_000_000_000, ..Impairment::default() };
        let mut wire = Impaired::new(Box::new(Loop::new(true)), what, 1, true);
        let mut sent = 0_u32;
        while wire.send(&[&sent.to_be_bytes()[..], &[0; 1000]].concat(), 0) {
            sent += 1;
        }
        assert!(sent > 3000, "{sent}");
        let mut next = 0;
        for now in 0..100_000 {
            while let Some((frame, _)) = wire.peek(now * 1_000_000) {
                assert_eq!(number(frame), next);
                next += 1;
                wire.advance();
            }
            if next == sent {
                return;
            }
        }
        panic!("{next} of {sent}");
    }
}
