//! A lane of a cable under loom: every order in which its two ends can come by, and every older
//! value that a load may still give.
//!
//! The lane is the smallest in which a writer laps and leaves a place out: 128 bytes with room for
//! two records of 48. Frames are cells that loom watches for accesses which nothing orders, as
//! the product copies them without atomics. What a pass does not prove: anything of a longer
//! lane, and more changes of threads than [`CHANGES`] that are not forced.
//!
//! It is a program of its own, as loom's threads come with signal handlers.

#![allow(unsafe_code)]

#[path = "common/watched.rs"]
mod watched;

use bmnic::emu::wire::lane::{Memory, Reader, Writer};
use bmnic::sys::word::Word;
use loom::cell::Cell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64};
use loom::thread;
use std::sync::atomic::Ordering;
use watched::{Kept, NO_ACQUIRE, NO_RELEASE, SOUND, Watched};

/// Changes from a thread that could go on.
const CHANGES: usize = 3;

/// Bytes of the lane, and of a frame.
const SIZE: usize = 128;
const FRAME: usize = 32;

struct Lane {
    head: Watched<AtomicU64>,
    tail: Watched<AtomicU64>,
    words: Vec<Watched<AtomicU64>>,
    /// The first word of the frame at each place; the others are alike.
    frames: Vec<Cell<u64>>,
}

// SAFETY: loom plays one thread at a time, and reports every two accesses to a cell of which
// none comes before the other.
unsafe impl Sync for Lane {}
// SAFETY: nothing in it is a thread's own.
unsafe impl Send for Lane {}

struct End(Arc<Lane>);

impl Memory for End {
    type Word = Watched<AtomicU64>;

    fn head(&self) -> &Watched<AtomicU64> {
        &self.0.head
    }

    fn tail(&self) -> &Watched<AtomicU64> {
        &self.0.tail
    }

    fn word(&self, index: u64) -> &Watched<AtomicU64> {
        &self.0.words[index as usize % SIZE / 8]
    }

    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn write(&self, index: u64, frame: &[u8]) {
        self.0.frames[index as usize % SIZE / 8].set(u64::from(frame[0]));
    }

    fn read(&self, index: u64, frame: &mut [u8]) {
        frame.fill(self.0.frames[index as usize % SIZE / 8].get() as u8);
    }
}

impl Lane {
    fn new(head: Kept, tail: Kept) -> Self {
        let word = |kept| Watched::<AtomicU64>::new(0, kept);
        Lane {
            head: word(head),
            tail: word(tail),
            words: (0..SIZE / 8).map(|_| word(SOUND)).collect(),
            frames: (0..SIZE / 8).map(|_| Cell::new(0)).collect(),
        }
    }
}

fn check(play: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(CHANGES);
    builder.check(play);
}

/// Passes three frames from one thread to another; the ends of `head` and `tail` acquire and
/// release, or do not.
fn play(head: Kept, tail: Kept) {
    check(move || {
        let lane = Arc::new(Lane::new(head, tail));
        let mut reader = Reader::over(End(Arc::clone(&lane)));
        let mut writer = Writer::over(End(lane));
        let writing = thread::spawn(move || {
            for number in 1..=3 {
                while !writer.push(&[number; FRAME], number.into()).unwrap() {
                    thread::yield_now();
                }
            }
        });
        for number in 1..=3 {
            loop {
                if let Some((frame, at)) = reader.front().unwrap() {
                    assert_eq!((frame, at), (&[number; FRAME][..], number.into()), "torn");
                    break;
                }
                thread::yield_now();
            }
            reader.pop();
        }
        writing.join().unwrap();
        assert!(reader.is_empty());
    });
}

/// Two frames of an end that leaves, to one that reads as long as frames may come.
fn leave(there: Kept) {
    check(move || {
        let lane = Arc::new(Lane::new(SOUND, SOUND));
        let there = Arc::new(Watched::<AtomicBool>::new(true, there));
        let mut reader = Reader::over(End(Arc::clone(&lane)));
        let mut writer = Writer::over(End(lane));
        let leaving = {
            let there = Arc::clone(&there);
            thread::spawn(move || {
                assert!(writer.push(&[1; FRAME], 1).unwrap() && writer.push(&[2; FRAME], 2).unwrap());
                there.store(false, Ordering::Release);
            })
        };
        let mut count = 0;
        while reader.is_lit(&*there) {
            match reader.front().unwrap() {
                Some(_) => count += 1,
                None => thread::yield_now(),
            }
            reader.pop();
        }
        leaving.join().unwrap();
        assert_eq!(count, 2, "a frame was left behind");
    });
}

#[test]
fn frames_pass_whole_and_in_order_whoever_comes_when() {
    play(SOUND, SOUND);
}

#[test]
#[should_panic]
fn a_reader_that_does_not_acquire_is_caught() {
    play(NO_ACQUIRE, SOUND);
}

#[test]
#[should_panic]
fn a_writer_that_does_not_release_is_caught() {
    play(NO_RELEASE, SOUND);
}

#[test]
#[should_panic]
fn a_writer_that_does_not_acquire_what_was_read_is_caught() {
    play(SOUND, NO_ACQUIRE);
}

#[test]
#[should_panic]
fn a_reader_that_does_not_release_what_it_read_is_caught() {
    play(SOUND, NO_RELEASE);
}

#[test]
fn what_an_end_sends_before_it_leaves_arrives_whoever_comes_when() {
    leave(SOUND);
}

#[test]
#[should_panic(expected = "a frame was left behind")]
fn an_end_that_does_not_acquire_that_the_other_has_left_is_caught() {
    leave(NO_ACQUIRE);
}

#[test]
#[should_panic(expected = "a frame was left behind")]
fn an_end_that_does_not_release_what_it_sent_is_caught() {
    leave(NO_RELEASE);
}
