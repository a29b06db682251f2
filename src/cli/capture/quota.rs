//! How many packets are still to be written, by all threads together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::yield_now;

/// Packets that a thread asks for at a time. Where the number of packets was given, each round
/// of a thread writes a line that others write too, and more often only beyond so many.
const CLAIM: u64 = 64;

/// What all threads share.
#[derive(Debug)]
struct Common {
    /// Packets that no thread has asked for.
    unclaimed: AtomicU64,
    /// Packets that are not recorded.
    missing: AtomicU64,
}

/// What is left for one thread.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Packets that it may record.
    left: u64,
    /// Those that it has recorded since it last said so.
    recorded: u64,
    /// Where more come from.
    common: Option<Arc<Common>>,
}

impl Quota {
    /// `count` packets, or any number, for so many threads: one for each.
    pub fn of(count: Option<u64>, threads: usize) -> Vec<Quota> {
        let common = count
            .filter(|_| threads > 1)
            .map(|count| Arc::new(Common { unclaimed: AtomicU64::new(count), missing: AtomicU64::new(count) }));
        let left = if common.is_some() { 0 } else { count.unwrap_or(u64::MAX) };
        vec![Quota { left, recorded: 0, common }; threads]
    }

    /// Whether all that was asked for is there.
    #[inline]
    pub fn is_used_up(&mut self) -> bool {
        self.left == 0 && !self.claim()
    }

    /// A packet was recorded.
    #[inline]
    pub fn took(&mut self) {
        self.left -= 1;
        self.recorded += 1;
    }

    /// Asks for more. Where others hold what is left, waits until they have used it or given it
    /// back; false if nothing is missing.
    #[cold]
    fn claim(&mut self) -> bool {
        self.settle();
        let Some(common) = &self.common else { return false };
        loop {
            let some = |n: u64| Some(n - n.min(CLAIM)).filter(|_| n > 0);
            if let Ok(had) = common.unclaimed.fetch_update(Ordering::AcqRel, Ordering::Acquire, some) {
                self.left = had.min(CLAIM);
                return true;
            }
            if common.missing.load(Ordering::Acquire) == 0 {
                return false;
            }
            yield_now();
        }
    }

    /// Says what was recorded, and gives back what was asked for and not used. To be called
    /// before packets are waited for.
    #[inline]
    pub fn settle(&mut self) {
        let Some(common) = self.common.as_ref().filter(|_| self.left | self.recorded != 0) else { return };
        common.missing.fetch_sub(std::mem::take(&mut self.recorded), Ordering::AcqRel);
        common.unclaimed.fetch_add(std::mem::take(&mut self.left), Ordering::AcqRel);
    }
}

impl Drop for Quota {
    /// Whatever ends a thread, others may have what it leaves.
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_has_it_all_to_itself() {
        let [mut quota] = Quota::of(Some(3), 1).try_into().unwrap();
        for _ in 0..3 {
            assert!(!quota.is_used_up());
            quota.took();
            quota.settle();
        }
        assert!(quota.is_used_up());
        assert!(!Quota::of(None, 1)[0].is_used_up());
    }

    #[test]
    fn threads_record_as_many_as_asked_though_some_have_none() {
        const COUNT: u64 = 100_001;
        // The third looks for packets and finds none; the second keeps one in three.
        let keeps: [fn(u64) -> bool; 3] = [|_| true, |n| n % 3 == 0, |_| false];
        let threads = Quota::of(Some(COUNT), 3).into_iter().zip(keeps).map(|(mut quota, keep)| {
            std::thread::spawn(move || {
                let mut recorded = 0;
                'all: loop {
                    for n in 0..32 {
                        if quota.is_used_up() {
                            break 'all;
                        }
                        if keep(n) {
                            quota.took();
                            recorded += 1;
                        }
                    }
                    quota.settle();
                }
                recorded
            })
        });
        let recorded: Vec<u64> = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(recorded.iter().sum::<u64>(), COUNT, "{recorded:?}");
        assert_eq!(recorded[2], 0);
    }
}
