//! What a signal does at once, where it comes.

#![allow(unsafe_code)]

use signal_hook::low_level;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Two signals that are nearer to each other are one request: `timeout` sends its
/// signal to its child and then to the group that the child is in.
const ONE_REQUEST: Duration = Duration::from_millis(500);

/// From now on the first of `signals` writes its number to `why`; another one that comes
/// later ends the program on the spot, with code 128 and its number.
///
/// # Errors
/// What the kernel says to a handler.
pub fn ends(signals: &[i32], why: &Arc<AtomicUsize>) -> io::Result<()> {
    let since = Instant::now();
    let first = Arc::new(AtomicU64::new(u64::MAX));
    for &signal in signals {
        let (first, why) = (Arc::clone(&first), Arc::clone(why));
        let handler = move || {
            let now = since.elapsed().as_nanos() as u64;
            match first.compare_exchange(u64::MAX, now, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => why.store(signal as usize, Ordering::Relaxed),
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

/// Whether a signal at `now` is another request than that at `then`, in nanoseconds.
fn is_another(then: u64, now: u64) -> bool {
    now.saturating_sub(then) > ONE_REQUEST.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_timeout_sends_twice_is_one_request() {
        assert!(!is_another(5_000_000_000, 5_000_100_000));
        assert!(is_another(5_000_000_000, 5_600_000_000));
        assert!(!is_another(5, 4), "another thread was a little earlier");
    }
}
