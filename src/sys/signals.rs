//! What a signal does at once, where it comes: it asks for an end, or is noted with its time.

#![allow(unsafe_code)]

use signal_hook::consts::SIGCONT;
use signal_hook::low_level;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Two signals that are nearer to each other are one request: `timeout` sends its
/// signal to its child and then to the group that the child is in.
const ONE_REQUEST: Duration = Duration::from_millis(500);

/// How often this program was stopped and continued, as far as SIGCONT tells.
///
/// timeout(1) sends SIGCONT right after the signal that ends: one that comes with a request to end,
/// or later, is not counted.
#[derive(Debug)]
pub struct Continued {
    since: Instant,
    times: AtomicUsize,
    /// When the last one came, in nanoseconds.
    last: AtomicU64,
}

impl Default for Continued {
    fn default() -> Self {
        Continued { since: Instant::now(), times: AtomicUsize::new(0), last: AtomicU64::new(0) }
    }
}

impl Continued {
    /// Signals that come together are handled in any order.
    const TOGETHER: Duration = Duration::from_millis(20);

    /// So often.
    pub fn times(&self) -> usize {
        self.times.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }

    /// Another one.
    pub fn come(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    fn ends(&self) {
        if self.times() > 0 && self.now() - self.last.load(Ordering::Relaxed) < Self::TOGETHER.as_nanos() as u64 {
            self.times.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// From now on the first of `signals` writes its number to `why`; another one that comes
/// later ends the program on the spot, with code 128 and its number. Each SIGCONT until then
/// is counted.
///
/// # Errors
/// What the kernel says to a handler.
pub fn ends(signals: &[i32], why: &Arc<AtomicUsize>, continued: &Arc<Continued>) -> io::Result<()> {
    let (counted, asked) = (Arc::clone(continued), Arc::clone(why));
    let handler = move || {
        if asked.load(Ordering::Relaxed) == 0 {
            counted.come();
        }
    };
    // SAFETY: a handler may read the monotonic clock and use atomics (signal-safety(7)); this
    // one does nothing else, and cannot panic.
    unsafe { low_level::register(SIGCONT, handler) }?;
    let since = Instant::now();
    let first = Arc::new(AtomicU64::new(u64::MAX));
    for &signal in signals {
        let (first, why, continued) = (Arc::clone(&first), Arc::clone(why), Arc::clone(continued));
        let handler = move || {
            let now = since.elapsed().as_nanos() as u64;
            match first.compare_exchange(u64::MAX, now, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    continued.ends();
                    why.store(signal as usize, Ordering::Relaxed);
                }
                Err(then) if is_another(then, now) => low_level::exit(128 + signal),
                Err(_) => {}
            }
        };
        // SAFETY: a handler may read the monotonic clock, use atomics and call _exit
        // (signal-safety(7)); this one does nothing else, and cannot panic.
        unsafe { low_level::register(signal, handler) }?;
    }
    Ok(())
}

/// From now on each `signal` that comes adds one to `times`.
///
/// # Errors
/// What the kernel says to a handler.
pub fn count(signal: i32, times: &Arc<AtomicUsize>) -> io::Result<()> {
    let times = Arc::clone(times);
    let handler = move || {
        times.fetch_add(1, Ordering::Relaxed);
    };
    // SAFETY: a handler may use atomics (signal-safety(7)); this one does nothing else,
    // and cannot panic.
    unsafe { low_level::register(signal, handler) }.map(drop)
}

/// Signals that one may be behind with.
const NOTES: usize = 256;

/// Signals that came, for one who looks for them: which, and when.
///
/// ```text
///   handlers, each its place:  time, then number      ... | 3 | 1 | - | - |
///   one reader, in their order                              ^ read  ^ next
/// ```
pub struct Noted {
    notes: [(AtomicU64, AtomicU64); NOTES],
    next: AtomicUsize,
}

/// From now on each of `signals` is noted by its number there and the time that `now` says,
/// which is asked in the handler.
///
/// # Errors
/// What the kernel says to a handler.
pub fn note<F>(signals: &[(i32, usize)], now: F) -> io::Result<Arc<Noted>>
where
    F: Fn() -> u64 + Clone + Send + Sync + 'static,
{
    let notes = std::array::from_fn(|_| Default::default());
    let noted = Arc::new(Noted { notes, next: AtomicUsize::new(0) });
    for &(signal, number) in signals {
        let (noted, now) = (Arc::clone(&noted), now.clone());
        let handler = move || noted.note(number, now());
        // SAFETY: a handler may read a clock and use atomics (signal-safety(7)); this one
        // does nothing else, and cannot panic.
        unsafe { low_level::register(signal, handler) }?;
    }
    Ok(noted)
}

/// The `n`-th signal for real time, from 0, if there is one.
pub fn real_time(n: usize) -> Option<i32> {
    let signal = libc::SIGRTMIN() + i32::try_from(n).ok()?;
    (signal <= libc::SIGRTMAX()).then_some(signal)
}

impl Noted {
    fn note(&self, number: usize, now: u64) {
        let (time, what) = &self.notes[self.next.fetch_add(1, Ordering::Relaxed) % NOTES];
        time.store(now, Ordering::Relaxed);
        // Release: with the number comes its time.
        what.store(number as u64 + 1, Ordering::Release);
    }

    /// The next signal that was not `read` yet, of which so many were: its number and time.
    /// Those that were overwritten meanwhile are read too, and are added to `lost`.
    #[inline]
    pub fn next(&self, read: &mut usize, lost: &mut u64) -> Option<(usize, u64)> {
        let over = self.next.load(Ordering::Relaxed).wrapping_sub(*read);
        if over == 0 {
            return None;
        }
        if over > NOTES {
            *lost += (over - NOTES) as u64;
            *read = read.wrapping_add(over - NOTES);
        }
        let (time, what) = &self.notes[*read % NOTES];
        // It has its place, but its handler is not through yet.
        let number = what.swap(0, Ordering::Acquire).checked_sub(1)?;
        *read = read.wrapping_add(1);
        Some((number as usize, time.load(Ordering::Relaxed)))
    }
}

/// Whether a signal at `now` is another request than that at `then`, in nanoseconds.
fn is_another(then: u64, now: u64) -> bool {
    now.saturating_sub(then) > ONE_REQUEST.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_that_comes_with_the_end_is_none() {
        let continued = Continued::default();
        continued.come();
        std::thread::sleep(Continued::TOGETHER);
        continued.ends();
        assert_eq!(continued.times(), 1, "long before");
        continued.come();
        continued.ends();
        assert_eq!(continued.times(), 1);
    }

    #[test]
    fn signals_are_noted_in_their_order_with_their_time() {
        let clock = Arc::new(AtomicU64::new(0));
        let ticks = Arc::clone(&clock);
        let signal = real_time(7).unwrap();
        let noted = note(&[(signal, 7)], move || ticks.load(Ordering::Relaxed)).unwrap();
        let (mut read, mut lost) = (0, 0);
        assert_eq!(noted.next(&mut read, &mut lost), None);
        for time in [3, 5] {
            clock.store(time, Ordering::Relaxed);
            low_level::raise(signal).unwrap();
        }
        assert_eq!(noted.next(&mut read, &mut lost), Some((7, 3)));
        assert_eq!(noted.next(&mut read, &mut lost), Some((7, 5)));
        assert_eq!((noted.next(&mut read, &mut lost), lost), (None, 0));
        assert_eq!(real_time(1000), None);
    }

    #[test]
    fn what_comes_faster_than_it_is_read_is_counted() {
        let noted = note(&[], || 0).unwrap();
        (0..NOTES + 5).for_each(|n| noted.note(n, n as u64));
        let (mut read, mut lost) = (0, 0);
        let mut seen = Vec::new();
        while let Some((number, time)) = noted.next(&mut read, &mut lost) {
            assert_eq!(number as u64, time);
            seen.push(number);
        }
        assert_eq!((lost, seen), (5, (5..NOTES + 5).collect()));
    }

    #[test]
    fn what_timeout_sends_twice_is_one_request() {
        assert!(!is_another(5_000_000_000, 5_000_100_000));
        assert!(is_another(5_000_000_000, 5_600_000_000));
        assert!(!is_another(5, 4), "another thread was a little earlier");
    }
}
