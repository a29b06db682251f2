//! For tests only: what a piece of code asked the allocator for.
//!
//! "No allocation in the hot loop" is a promise that a test can hold the code
//! to, if it can count. Unit tests run with this allocator, which passes every
//! request on to the system's and counts it for the thread that made it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nobody who asks.
    let _ = REQUESTS.try_with(|requests| requests.set(requests.get() + 1));
}

// SAFETY: every request is passed on unchanged to the system's allocator;
// counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// How often `work` asked this thread's allocator for memory or gave some back.
pub fn allocations(work: impl FnOnce()) -> u64 {
    let before = REQUESTS.get();
    work();
    REQUESTS.get() - before
}

#[test]
fn an_allocation_is_counted_and_the_lack_of_one_too() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 2);
    assert_eq!(allocations(|| ()), 0);
}
