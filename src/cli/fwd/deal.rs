//! Which ports forward for which, and which thread runs which lanes.
//!
//! ```text
//!   ports     A <--> B         C <--> D       two and two, as they were named
//!   lanes     A.0 B.0 A.1 B.1  C.0 D.0 ...    a queue of each port in turn
//!   threads   |---- 0 ----|--- 1 ---|         in that order, as many to each
//! ```
//!
//! So both directions of a pair of queues are in one thread where there are enough: what
//! it receives of one card by queue 0 and what it sends by its queue 0 is its own.

use super::lane::Lane;
use super::report::Way;
use crate::cli::cards::Card;
use crate::error::{Error, Kind, Result};

/// Ports by letters.
pub const MOST_PORTS: usize = 26;

/// The port that what comes in by port `i` of `ports` leaves by.
pub fn peer(i: usize, ports: usize) -> usize {
    if ports == 1 { 0 } else { i ^ 1 }
}

/// Refuses ports that make no pairs, or are too many.
///
/// # Errors
/// [`Kind::Usage`], if they are an odd number, but one, or more than [`MOST_PORTS`].
pub fn check_pairs(ports: usize) -> Result<()> {
    if ports > MOST_PORTS {
        let line = format!("{ports} ports are more than the {MOST_PORTS} that have a letter; name fewer");
        return Err(Error::new(Kind::Usage, line));
    }
    if ports <= 1 || ports.is_multiple_of(2) {
        return Ok(());
    }
    let line = format!(
        "{ports} ports make no pairs: what comes in by the first leaves by the second, by the third by the fourth; name one more or one less"
    );
    Err(Error::new(Kind::Usage, line))
}

/// Refuses what cannot be played by the threads that forward for it.
///
/// # Errors
/// [`Kind::Usage`] for a card that is not emulated, and for more threads than pairs.
pub fn check_inline(cards: &[Card], threads: usize) -> Result<()> {
    if let Some(card) = cards.iter().find(|card| !matches!(card, Card::Emulated(_))) {
        let line = format!("{card} is a card of this machine, and --inline is for emulated ones; leave it out");
        return Err(Error::new(Kind::Usage, line));
    }
    let pairs = cards.len().div_ceil(2);
    if threads > pairs {
        let line = format!(
            "{threads} threads are more than the {pairs} pairs of cards, and with --inline one thread plays a whole pair; name a pair for each, or leave --inline out"
        );
        return Err(Error::new(Kind::Usage, line));
    }
    Ok(())
}

/// Receive queues that each of `ports` must have for `threads` to have one each, if not
/// more are asked for.
pub fn queues(asked: u16, threads: usize, ports: usize) -> u16 {
    let least = threads.div_ceil(ports.max(1));
    asked.max(u16::try_from(least).unwrap_or(u16::MAX))
}

/// What a thread is to run.
pub struct Hand {
    /// Its lanes.
    pub lanes: Vec<Lane>,
    /// The ports that they are of.
    pub ports: Vec<usize>,
}

/// Deals lanes, pair by pair, to threads; no pair to more than one if they are `whole`.
///
/// # Errors
/// [`Kind::Usage`] if that leaves a thread without any.
pub fn deal(pairs: Vec<Vec<(Lane, Way)>>, threads: usize, whole: bool) -> Result<(Vec<Hand>, Vec<Way>)> {
    let units = pairs.iter().map(|pair| if whole { 1 } else { pair.len() }).sum();
    if threads > units {
        let line = format!(
            "{threads} threads are more than the {units} receive queues of these ports, and one without a queue has nothing to do; ask for {units}, or for more queues (--rxq)"
        );
        return Err(Error::new(Kind::Usage, line));
    }
    let mut hands: Vec<Hand> = (0..threads).map(|_| Hand { lanes: Vec::new(), ports: Vec::new() }).collect();
    let mut ways = Vec::new();
    let mut lanes_before = 0;
    for (n, pair) in pairs.into_iter().enumerate() {
        for (lane, mut way) in pair {
            way.thread = thread_of(if whole { n } else { lanes_before }, units, threads);
            lanes_before += 1;
            let hand = &mut hands[way.thread];
            hand.ports.extend([way.from, way.to]);
            hand.lanes.push(lane);
            ways.push(way);
        }
    }
    for hand in &mut hands {
        hand.ports.sort_unstable();
        hand.ports.dedup();
    }
    Ok((hands, ways))
}

/// Which of `threads` has unit `i` of `units`: in their order, and no thread has two more
/// than another.
fn thread_of(i: usize, units: usize, threads: usize) -> usize {
    i * threads / units.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_paired_as_they_are_named_and_one_alone_with_itself() {
        assert_eq!((peer(0, 1), [0, 1, 2, 3].map(|i| peer(i, 4))), (0, [1, 0, 3, 2]));
        for (ports, pairs) in [(0, true), (1, true), (2, true), (3, false), (4, true), (5, false)] {
            assert_eq!(check_pairs(ports).is_ok(), pairs, "{ports}");
        }
    }

    #[test]
    fn every_thread_has_a_share_and_none_has_two_more_than_another() {
        for units in 1..20 {
            for threads in 1..=units {
                let mut dealt = vec![0; threads];
                let mut last = 0;
                for i in 0..units {
                    let thread = thread_of(i, units, threads);
                    assert!(thread >= last, "in their order");
                    last = thread;
                    dealt[thread] += 1;
                }
                let (least, most) = (dealt.iter().min().unwrap(), dealt.iter().max().unwrap());
                assert!(*least > 0 && most - least <= 1, "{units} to {threads}: {dealt:?}");
            }
        }
    }

    #[test]
    fn queues_rise_to_one_for_each_thread_and_never_fall() {
        assert_eq!(
            [(1, 1, 2), (1, 2, 2), (1, 3, 2), (4, 2, 1), (1, 2, 1)].map(|(a, t, p)| queues(a, t, p)),
            [1, 1, 2, 4, 2]
        );
    }
}
