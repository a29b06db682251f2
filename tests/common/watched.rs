//! Words that loom watches, whose loads or stores may be weaker than is asked for.

#![allow(dead_code)] // each test program uses a part

use bmnic::sys::word::Word;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::atomic::Ordering;

/// Which orderings are kept of those that are asked for.
#[derive(Clone, Copy)]
pub struct Kept {
    pub acquire: bool,
    pub release: bool,
}

pub const SOUND: Kept = Kept { acquire: true, release: true };
pub const NO_ACQUIRE: Kept = Kept { acquire: false, release: true };
pub const NO_RELEASE: Kept = Kept { acquire: true, release: false };

impl Kept {
    /// What is left of `order`.
    pub fn of(self, order: Ordering) -> Ordering {
        let acquires = matches!(order, Ordering::Acquire | Ordering::AcqRel | Ordering::SeqCst) && self.acquire;
        let releases = matches!(order, Ordering::Release | Ordering::AcqRel | Ordering::SeqCst) && self.release;
        match (acquires, releases) {
            (true, true) => Ordering::AcqRel,
            (true, false) => Ordering::Acquire,
            (false, true) => Ordering::Release,
            (false, false) => Ordering::Relaxed,
        }
    }
}

/// A word of a test.
pub struct Watched<A> {
    word: A,
    kept: Kept,
}

macro_rules! watched {
    ($($atomic:ident: $value:ty),*) => {$(
        impl Watched<$atomic> {
            pub fn new(value: $value, kept: Kept) -> Self {
                Watched { word: $atomic::new(value), kept }
            }
        }

        impl Word<$value> for Watched<$atomic> {
            fn load(&self, order: Ordering) -> $value {
                self.word.load(self.kept.of(order))
            }

            fn store(&self, value: $value, order: Ordering) {
                self.word.store(value, self.kept.of(order));
            }

            fn swap(&self, value: $value, order: Ordering) -> $value {
                self.word.swap(value, self.kept.of(order))
            }

            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.word.compare_exchange(current, new, self.kept.of(success), self.kept.of(failure))
            }
        }
    )*};
}

watched!(AtomicBool: bool, AtomicU32: u32, AtomicU64: u64);
