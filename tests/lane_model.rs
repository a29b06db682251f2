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

use bmnic::emu::wire::lane::{Memory, Reader, Word, Writer};
use loom::cell::Cell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use std::sync::atomic::Ordering;

/// Changes from a thread that could go on.
const CHANGES: usize = 3;

/// Bytes of the lane, and of a frame.
const SIZE: usize = 128;
const FRAME: usize = 32;

/// A word that loom watches, whose loads or stores may be weaker than is asked for.
struct Watched {
    word: AtomicU64,
    acquires: bool,
    releases: bool,
}

impl Watched {
    fn new(acquires: bool, releases: bool) -> Self {
        Watched { word: AtomicU64::new(0), acquires, releases }
    }
}

impl Word for Watched {
    fn load(&self, order: Ordering) -> u64 {
        self.word.load(if self.acquires { order } else { Ordering::Relaxed })
    }

    fn store(&self, value: u64, order: Ordering) {
        self.word.store(value, if self.releases { order } else { Ordering::Relaxed });
    }
}

struct Lane {
    head: Watched,
    tail: Watched,
    words: Vec<Watched>,
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
    type Word = Watched;

    fn head(&self) -> &Watched {
        &self.0.head
    }

    fn tail(&self) -> &Watched {
        &self.0.tail
    }

    fn word(&self, index: u64) -> &Watched {
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

/// Passes three frames from one thread to another; the ends of `head` and `tail` acquire and
/// release, or do not.
fn play(head: [bool; 2], tail: [bool; 2]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(CHANGES);
    builder.check(move || {
        let lane = Arc::new(Lane {
            head: Watched::new(head[0], head[1]),
            tail: Watched::new(tail[0], tail[1]),
            words: (0..SIZE / 8).map(|_| Watched::new(true, true)).collect(),
            frames: (0..SIZE / 8).map(|_| Cell::new(0)).collect(),
        });
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

const SOUND: [bool; 2] = [true, true];

#[test]
fn frames_pass_whole_and_in_order_whoever_comes_when() {
    play(SOUND, SOUND);
}

#[test]
#[should_panic]
fn a_reader_that_does_not_acquire_is_caught() {
    play([false, true], SOUND);
}

#[test]
#[should_panic]
fn a_writer_that_does_not_release_is_caught() {
    play([true, false], SOUND);
}

#[test]
#[should_panic]
fn a_writer_that_does_not_acquire_what_was_read_is_caught() {
    play(SOUND, [false, true]);
}

#[test]
#[should_panic]
fn a_reader_that_does_not_release_what_it_read_is_caught() {
    play(SOUND, [true, false]);
}
