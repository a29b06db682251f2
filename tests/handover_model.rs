//! Handovers between two threads under loom, whose loss would leave packets where they are: a
//! doorbell that a card looks for in memory, and a queue that is called to ring again.
//!
//! What a pass does not prove: more changes of threads than [`CHANGES`] that are not forced.
//!
//! It is a program of its own, as loom's threads come with signal handlers.

#[path = "common/watched.rs"]
mod watched;

use bmnic::dma::{Addressing, Pool};
use bmnic::driver::bnxt::recall::Recall;
use bmnic::emu::polled;
use bmnic::sys::word::Word;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use loom::thread;
use std::sync::atomic::Ordering;
use watched::{Kept, NO_ACQUIRE, NO_RELEASE, SOUND, Watched};

/// Changes from a thread that could go on.
const CHANGES: usize = 3;

fn check(play: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(CHANGES);
    builder.check(play);
}

/// A half of 64 bits that are stored at once.
struct Half {
    whole: Arc<Watched<AtomicU64>>,
    shift: u32,
}

impl Half {
    fn of(&self, whole: u64) -> u32 {
        (whole >> self.shift) as u32
    }

    fn with(&self, whole: u64, half: u32) -> u64 {
        whole & !(0xffff_ffff << self.shift) | u64::from(half) << self.shift
    }
}

impl Word<u32> for Half {
    fn load(&self, order: Ordering) -> u32 {
        self.of(self.whole.load(order))
    }

    fn store(&self, _: u32, _: Ordering) {
        unreachable!("halves are stored together");
    }

    fn swap(&self, _: u32, _: Ordering) -> u32 {
        unreachable!("one half is never without the other");
    }

    fn compare_exchange(&self, current: u32, new: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        let mut whole = self.whole.load(Ordering::Relaxed);
        while self.of(whole) == current {
            match self.whole.compare_exchange(whole, self.with(whole, new), success, failure) {
                Ok(_) => return Ok(current),
                Err(other) => whole = other,
            }
        }
        Err(self.of(whole))
    }
}

/// What the upper halves of doorbells say, of which the lower ones are the numbers: mostly the same,
/// as of a ring that is told of more.
const UPPER: [u64; 5] = [0, 1, 2, 1, 1];

/// A holder that rings `calls` times and writes something before each, and a card that looks `looks`
/// times and then until it has seen the last call: it sees none twice, and what was written before.
///
/// A holder stores in one step with a look at what was there, which the product's does not: loom
/// knows of no other order of the stores to a word, and every machine keeps one.
fn ring<W: 'static + Send + Sync>(
    looks: usize,
    bell: impl Fn() -> W + Send + Sync + 'static,
    store: fn(&W, u32),
    take: fn(&W) -> Option<u32>,
    calls: u32,
) {
    check(move || {
        let written: Arc<Vec<_>> = Arc::new((0..=calls).map(|_| AtomicU32::new(0)).collect());
        let bell = Arc::new(bell());
        let ringing = {
            let (bell, written) = (Arc::clone(&bell), Arc::clone(&written));
            thread::spawn(move || {
                for number in 1..=calls {
                    written[number as usize].store(number, Ordering::Relaxed);
                    store(&bell, number);
                }
            })
        };
        let mut last = 0;
        let mut look = || {
            if let Some(number) = take(&bell) {
                assert!(number > last, "{number} behind {last}");
                assert_eq!(written[number as usize].load(Ordering::Relaxed), number, "not written yet");
                last = number;
            }
            last
        };
        (0..looks).for_each(|_| _ = look());
        // One that is lost has this go on without an end, which loom reports.
        while look() < calls {
            thread::yield_now();
        }
        ringing.join().unwrap();
    });
}

fn ring_short(holder: Kept) {
    const NOTHING: u32 = u32::MAX;
    ring(
        2,
        move || Watched::<AtomicU32>::new(NOTHING, holder),
        |bell, number| _ = bell.swap(number, Ordering::AcqRel),
        |bell| polled::take(bell, NOTHING),
        3,
    );
}

/// A doorbell of 64 bits in two halves.
struct Long {
    whole: Arc<Watched<AtomicU64>>,
    halves: [Half; 2],
}

fn ring_long(kept: Kept, looks: usize, calls: u32) {
    let bell = move || {
        let whole = Arc::new(Watched::<AtomicU64>::new(0, kept));
        let half = |shift| Half { whole: Arc::clone(&whole), shift };
        Long { halves: [half(0), half(32)], whole }
    };
    let store = |bell: &Long, number: u32| {
        bell.whole.swap(UPPER[number as usize] << 32 | u64::from(number), Ordering::AcqRel);
    };
    let take = |bell: &Long| {
        let [low, high] = &bell.halves;
        let stored = polled::take_long(low, high)?;
        let number = stored as u32;
        assert_eq!(stored >> 32, UPPER[number as usize], "halves of two doorbells");
        Some(number)
    };
    ring(looks, bell, store, take, calls);
}

#[test]
fn the_last_doorbell_is_seen_with_what_was_written_before_whoever_comes_when() {
    ring_short(SOUND);
}

#[test]
fn the_halves_of_a_doorbell_are_of_one_and_the_last_is_seen_whoever_comes_when() {
    ring_long(SOUND, 1, 4);
    ring_long(SOUND, 2, 2);
}

#[test]
#[should_panic(expected = "not written yet")]
fn a_card_that_does_not_acquire_a_doorbell_is_caught() {
    ring_short(NO_ACQUIRE);
}

#[test]
#[should_panic(expected = "not written yet")]
fn a_holder_that_does_not_release_its_doorbell_is_caught() {
    ring_short(NO_RELEASE);
}

#[test]
#[should_panic(expected = "not written yet")]
fn a_card_that_does_not_acquire_the_halves_of_a_doorbell_is_caught() {
    ring_long(NO_ACQUIRE, 1, 2);
}

/// A queue that goes on while control calls it: it has come once in the end.
fn call(open: Kept, called: Kept) {
    check(move || {
        let recall = Recall::over(Watched::<AtomicU64>::new(0, open), Watched::<AtomicBool>::new(false, called));
        let (recall, pool) = (Arc::new(recall), Pool::new(1, Addressing::Translated).unwrap());
        let calling = {
            let recall = Arc::clone(&recall);
            thread::spawn(move || recall.call())
        };
        let mut came = 0;
        let mut round = || {
            if !recall.lets(&pool) {
                came += u32::from(recall.take());
                recall.open(&pool);
            }
        };
        (0..2).for_each(|_| round());
        calling.join().unwrap();
        round();
        assert_eq!(came, 1, "a call was lost");
    });
}

#[test]
fn a_queue_that_is_called_comes_once_whoever_comes_when() {
    call(SOUND, SOUND);
}

#[test]
#[should_panic(expected = "a call was lost")]
fn a_queue_that_does_not_acquire_what_closed_it_is_caught() {
    call(NO_ACQUIRE, SOUND);
}

#[test]
#[should_panic(expected = "a call was lost")]
fn control_that_does_not_release_its_call_is_caught() {
    call(NO_RELEASE, SOUND);
}
