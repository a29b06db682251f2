//! A count that several threads keep together, to the last one.
//!
//! ```text
//!   Left   free: in nobody's share      one line, seldom written
//!     |
//!     +-- Share of thread 0   what may go there without asking
//!     '-- Share of thread 1   ...
//! ```
//!
//! It is exact over all threads, and yet they do not meet at one word for each burst: each
//! takes a block of it. One in which nothing went for a while gives back what it has left; one
//! that finds too little free waits with what it has in hand, and keeps nothing meanwhile.

use super::signal::Stop;
use crate::measure::Idle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::yield_now;

/// Most that a thread takes in one go.
const BLOCK: u64 = 4096;

/// Packets that may still go, over all threads.
#[derive(Debug)]
#[repr(align(64))]
pub struct Left {
    /// Those in nobody's share.
    free: AtomicU64,
    /// Those, and every share of which some may still go.
    open: AtomicU64,
    threads: u64,
    /// Ended with the last of them.
    stop: Stop,
}

impl Left {
    /// `packets` in all, for so many threads; the last of them ends the run.
    pub fn new(packets: u64, threads: usize, stop: &Stop) -> Arc<Self> {
        let (free, open) = (AtomicU64::new(packets), AtomicU64::new(packets));
        Arc::new(Left { free, open, threads: threads.max(1) as u64, stop: stop.clone() })
    }

    /// Takes `least` of the free ones, and more while there are many; what is there if
    /// that is less.
    fn take(&self, least: u64) -> u64 {
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            // The shares become small towards the end, when others want the rest.
            let block = (free / (2 * self.threads)).min(BLOCK);
            let take = least.max(block).min(free);
            match self.free.compare_exchange_weak(free, free - take, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return take,
                Err(now) => free = now,
            }
        }
    }
}

/// What may go in one thread without asking the others.
#[derive(Debug)]
pub struct Share {
    left: Option<Arc<Left>>,
    /// What it took, but for what went and was settled...
    taken: u64,
    /// ...and what of that may still go. More than ever goes, where there is no count.
    rest: u64,
    /// Polls in a row in which nothing went.
    empty: u32,
}

impl Share {
    /// How many may still go, over all threads, if they are counted.
    pub fn open(&self) -> Option<u64> {
        self.left.as_ref().map(|left| left.open.load(Ordering::Relaxed))
    }

    /// A thread's, with nothing in it yet; of any number without `left`.
    pub fn new(left: Option<&Arc<Left>>) -> Self {
        let rest = if left.is_some() { 0 } else { u64::MAX };
        Share { left: left.cloned(), taken: 0, rest, empty: 0 }
    }

    /// How many of `packets` may go, less than all of them only at the end of the run. None
    /// if that is not known before other threads have used or given back what they took.
    #[inline]
    pub fn take(&mut self, packets: usize) -> Option<usize> {
        if self.rest > packets as u64 {
            self.rest -= packets as u64;
            return Some(packets);
        }
        self.ask(packets as u64)
    }

    #[cold]
    fn ask(&mut self, packets: u64) -> Option<usize> {
        if !self.gather(packets) {
            return None;
        }
        let take = self.rest.min(packets);
        self.rest -= take;
        if self.rest == 0 {
            self.settle();
        }
        Some(take as usize)
    }

    /// Has `packets` in the share, or as many as there are. False, and nothing in it, if that
    /// is not known yet.
    fn gather(&mut self, packets: u64) -> bool {
        let Some(left) = &self.left else { return true };
        let more = left.take(packets.saturating_sub(self.rest));
        (self.taken, self.rest) = (self.taken + more, self.rest + more);
        self.settle();
        // The others' shares count as open until they are used up or given back.
        let known = self.rest >= packets || self.is_all();
        if !known {
            self.give_back();
        }
        known
    }

    /// Whether nothing is open but this share.
    fn is_all(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.open.load(Ordering::Relaxed) == self.rest)
    }

    /// Whether one may go, which is to be said with [`Share::went`]. Waits until that is known,
    /// or the run ends.
    #[inline]
    pub fn has_one(&mut self) -> bool {
        self.rest > 0 || self.wait_for_one()
    }

    #[cold]
    fn wait_for_one(&mut self) -> bool {
        while !self.gather(1) {
            if self.left.as_ref().is_none_or(|left| left.stop.requested()) {
                return false;
            }
            yield_now();
        }
        self.rest > 0
    }

    /// One went.
    #[inline]
    pub fn went(&mut self) {
        self.rest -= 1;
        self.empty = 0;
        if self.rest == 0 {
            self.settle();
        }
    }

    /// Whether none may go any more in any thread.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.rest == 0 && self.is_all()
    }

    /// Says what has gone; the last of all ends the run.
    #[cold]
    fn settle(&mut self) {
        let gone = self.taken - self.rest;
        self.taken = self.rest;
        let Some(left) = self.left.as_ref().filter(|_| gone > 0) else { return };
        if left.open.fetch_sub(gone, Ordering::Relaxed) == gone {
            left.stop.end();
        }
    }

    /// To be told after every poll how much it moved, but for what [`Share::went`] was told of:
    /// a thread in which nothing went for a while leaves its share to the others.
    #[inline]
    pub fn polled(&mut self, moved: usize) {
        if moved > 0 || self.taken == 0 {
            self.empty = 0;
            return;
        }
        self.empty += 1;
        if self.empty >= Idle::SPINS {
            self.give_back();
        }
    }

    /// Leaves what may still go to the others.
    #[cold]
    pub fn give_back(&mut self) {
        if self.left.is_none() {
            return;
        }
        self.settle();
        let rest = std::mem::take(&mut self.rest);
        self.taken = 0;
        self.left.iter().for_each(|left| _ = left.free.fetch_add(rest, Ordering::Relaxed));
    }
}

impl Drop for Share {
    /// Whatever ends a thread, others may have what it leaves.
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `packets` for so many threads, and what is ended by the last.
    fn left(packets: u64, threads: usize) -> (Arc<Left>, Stop) {
        let stop = Stop::default();
        (Left::new(packets, threads, &stop), stop)
    }

    #[test]
    fn without_a_count_everything_goes() {
        let mut share = Share::new(None);
        assert_eq!(share.take(64), Some(64));
        share.give_back();
        assert!(share.has_one() && !share.is_over());
        share.went();
        assert_eq!(share.take(64), Some(64));
    }

    #[test]
    fn one_thread_takes_to_the_last_packet_and_no_further() {
        let (left, stop) = left(100, 1);
        let mut share = Share::new(Some(&left));
        let bursts = [32, 32, 32].map(|burst| share.take(burst));
        assert!(bursts == [Some(32); 3] && !stop.requested() && !share.is_over());
        assert_eq!((share.take(32), share.take(32)), (Some(4), Some(0)));
        assert!(stop.requested() && share.is_over());
    }

    #[test]
    fn one_by_one_the_last_ends_the_run_at_once() {
        let (left, stop) = left(3, 1);
        let mut share = Share::new(Some(&left));
        for _ in 0..3 {
            assert!(share.has_one() && !share.is_over() && !stop.requested());
            share.went();
        }
        assert!(share.is_over() && stop.requested() && !share.has_one());
    }

    /// How often the common line changes while 1000 bursts of 32 are taken by `burst`.
    fn writes(burst: impl Fn(&mut Share)) -> u32 {
        let (left, _stop) = left(1 << 20, 2);
        let mut share = Share::new(Some(&left));
        let words = || (left.free.load(Ordering::Relaxed), left.open.load(Ordering::Relaxed));
        let (mut writes, mut before) = (0, words());
        for _ in 0..1000 {
            burst(&mut share);
            let now = words();
            writes += u32::from(now != before);
            before = now;
        }
        writes
    }

    #[test]
    fn the_common_line_is_written_once_or_twice_a_block() {
        // When a block is taken, and when the last of it went.
        let most = 2 * (1000 * 32 / BLOCK as u32 + 2);
        let by_bursts = writes(|share| {
            assert_eq!(share.take(32), Some(32));
            share.polled(32);
        });
        assert!((1..=most).contains(&by_bursts), "{by_bursts} times for 1000 bursts");
        let one_by_one = writes(|share| {
            for _ in 0..32 {
                assert!(share.has_one());
                share.went();
            }
            share.polled(0);
        });
        assert!((1..=most).contains(&one_by_one), "{one_by_one} times for 1000 bursts");
    }

    #[test]
    fn a_thread_that_finds_too_little_waits_until_the_others_have_used_or_given_back_theirs() {
        let (left, stop) = left(200, 2);
        let (mut a, mut b) = (Share::new(Some(&left)), Share::new(Some(&left)));
        assert_eq!((a.take(10), b.take(10)), (Some(10), Some(10)));
        assert!(b.rest > 0, "a block is more than a burst");
        assert_eq!(a.take(190), None);
        assert_eq!((a.taken, a.rest), (0, 0), "who waits keeps nothing");
        // The other finds nothing more to do.
        for _ in 0..Idle::SPINS {
            b.polled(0);
        }
        assert_eq!((b.taken, b.rest), (0, 0));
        assert_eq!(a.take(190), Some(180));
        assert!(stop.requested());
        assert_eq!(b.take(7), Some(0));
    }

    #[test]
    fn who_waits_for_one_is_let_go_when_the_run_ends() {
        let (left, stop) = left(2, 2);
        let (mut a, mut b) = (Share::new(Some(&left)), Share::new(Some(&left)));
        assert!(a.has_one() && b.has_one());
        a.went();
        stop.end();
        // The other keeps its own.
        assert!(!a.has_one() && !a.is_over());
        drop(b);
        assert!(a.has_one());
    }

    #[test]
    fn threads_together_take_exactly_what_there_is() {
        for packets in [1, 63, 64, 10_000, 123_457] {
            let (left, stop) = left(packets, 3);
            let body = |burst: usize| {
                let mut share = Share::new(Some(&left));
                let mut went = 0;
                while !stop.requested() {
                    let moved = share.take(burst);
                    went += moved.unwrap_or(0) as u64;
                    share.polled(moved.unwrap_or(0));
                    if moved.is_none() {
                        std::thread::yield_now();
                    }
                }
                went
            };
            let went: u64 = std::thread::scope(|scope| {
                let threads = [1, 32, 64].map(|burst| scope.spawn(move || body(burst)));
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(went, packets);
        }
    }

    #[test]
    fn threads_record_as_many_as_asked_though_some_have_none() {
        const COUNT: u64 = 100_001;
        // The third looks for packets and finds none; the second keeps one in three.
        let keeps: [fn(u64) -> bool; 3] = [|_| true, |n| n % 3 == 0, |_| false];
        let (left, stop) = left(COUNT, 3);
        let body = |keep: fn(u64) -> bool| {
            let mut share = Share::new(Some(&left));
            let mut recorded = 0_u64;
            while !stop.requested() && !share.is_over() {
                for _ in (0..32).filter(|n| keep(*n)) {
                    if !share.has_one() {
                        break;
                    }
                    share.went();
                    recorded += 1;
                }
                share.polled(0);
            }
            recorded
        };
        let recorded = std::thread::scope(|scope| {
            let threads = keeps.map(|keep| scope.spawn(move || body(keep)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(recorded.iter().sum::<u64>(), COUNT, "{recorded:?}");
        assert_eq!(recorded[2], 0);
    }
}
