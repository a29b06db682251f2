//! When lanes end: on a signal, when time is up, after so many frames.
//!
//! ```text
//!   Left   free: in nobody's share      one line, written once a block
//!     |
//!     +-- Share of thread 0   what it may forward without asking
//!     '-- Share of thread 1   ...
//! ```
//!
//! A count is kept to the frame over all threads, and yet they do not meet at one word for
//! each burst: each takes a block of it. One that has nothing to forward for a while gives
//! back what it has left; one that finds too little free waits with its burst in hand, and
//! keeps nothing meanwhile.

use crate::cli::signal::Stop;
use crate::measure::Idle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Most frames that a thread takes in one go.
const BLOCK: u64 = 4096;

/// When lanes end.
#[derive(Clone, Debug)]
pub struct Until {
    /// On a signal, or when time is up.
    pub stop: Stop,
    /// After so many frames over all lanes.
    pub left: Option<Arc<Left>>,
    /// The cards' counters have been read for the last time.
    pub counted: Arc<AtomicBool>,
}

/// Frames that may still go, over all threads.
#[derive(Debug)]
#[repr(align(64))]
pub struct Left {
    /// Those in nobody's share.
    free: AtomicU64,
    /// Those, and every share of which some may still go.
    open: AtomicU64,
    threads: u64,
}

impl Left {
    /// `frames` in all, for so many threads.
    pub fn new(frames: u64, threads: usize) -> Self {
        Left { free: AtomicU64::new(frames), open: AtomicU64::new(frames), threads: threads.max(1) as u64 }
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

/// What one thread may forward without asking the others.
pub struct Share<'u> {
    until: &'u Until,
    /// What it took, but for what went and was settled...
    taken: u64,
    /// ...and what of that may still go.
    rest: u64,
    /// Polls in a row that moved nothing.
    empty: u32,
}

impl<'u> Share<'u> {
    /// A thread's, with nothing in it yet.
    pub fn new(until: &'u Until) -> Self {
        Share { until, taken: 0, rest: 0, empty: 0 }
    }

    /// How many of `frames` may go, less than all of them only at the end of the run. None
    /// if that is not known before other threads have used or given back what they took.
    #[inline]
    pub fn take(&mut self, frames: usize) -> Option<usize> {
        match &self.until.left {
            None => Some(frames),
            Some(_) if self.rest > frames as u64 => {
                self.rest -= frames as u64;
                Some(frames)
            }
            Some(left) => self.ask(left, frames),
        }
    }

    #[cold]
    fn ask(&mut self, left: &Left, frames: usize) -> Option<usize> {
        let more = left.take((frames as u64).saturating_sub(self.rest));
        (self.taken, self.rest) = (self.taken + more, self.rest + more);
        self.settle(left);
        // The others' shares count as open until they are used up or given back.
        if self.rest < frames as u64 && self.rest != left.open.load(Ordering::Relaxed) {
            self.give_back();
            return None;
        }
        let take = self.rest.min(frames as u64);
        self.rest -= take;
        if self.rest == 0 {
            self.settle(left);
        }
        Some(take as usize)
    }

    /// Says what has gone; the last of all ends the run.
    fn settle(&mut self, left: &Left) {
        let gone = self.taken - self.rest;
        self.taken = self.rest;
        if gone > 0 && left.open.fetch_sub(gone, Ordering::Relaxed) == gone {
            self.until.stop.end();
        }
    }

    /// To be told after every poll how much it moved: a thread that has had nothing to do
    /// for a while leaves its share to the others.
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
        let Some(left) = &self.until.left else { return };
        self.settle(left);
        left.free.fetch_add(self.rest, Ordering::Relaxed);
        (self.taken, self.rest) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(frames: u64, threads: usize) -> Until {
        let left = Some(Arc::new(Left::new(frames, threads)));
        Until { stop: Stop::default(), left, counted: Arc::default() }
    }

    #[test]
    fn without_a_count_everything_goes() {
        let until = Until { stop: Stop::default(), left: None, counted: Arc::default() };
        assert_eq!(Share::new(&until).take(64), Some(64));
        assert!(!until.stop.requested());
    }

    #[test]
    fn one_thread_takes_to_the_last_frame_and_no_further() {
        let until = until(100, 1);
        let mut share = Share::new(&until);
        let bursts = [32, 32, 32].map(|burst| share.take(burst));
        assert!(bursts == [Some(32); 3] && !until.stop.requested());
        assert_eq!((share.take(32), share.take(32)), (Some(4), Some(0)));
        assert!(until.stop.requested());
    }

    #[test]
    fn the_common_line_is_written_once_a_block() {
        let until = until(1 << 20, 2);
        let left = until.left.as_ref().unwrap();
        let mut share = Share::new(&until);
        let mut writes = 0;
        let mut before = left.free.load(Ordering::Relaxed);
        for _ in 0..1000 {
            assert_eq!(share.take(32), Some(32));
            let now = left.free.load(Ordering::Relaxed);
            writes += u32::from(now != before);
            before = now;
        }
        assert!((1..=1000 * 32 / BLOCK as u32 + 2).contains(&writes), "{writes} times for 1000 bursts");
    }

    #[test]
    fn a_thread_that_finds_too_little_waits_until_the_others_have_used_or_given_back_theirs() {
        let until = until(200, 2);
        let (mut a, mut b) = (Share::new(&until), Share::new(&until));
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
        assert!(until.stop.requested());
        assert_eq!(b.take(7), Some(0));
    }

    #[test]
    fn threads_together_take_exactly_what_there_is() {
        for frames in [1, 63, 64, 10_000, 123_457] {
            let until = until(frames, 3);
            let body = |burst: usize| {
                let mut share = Share::new(&until);
                let mut went = 0;
                while !until.stop.requested() {
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
            assert_eq!(went, frames);
        }
    }
}
