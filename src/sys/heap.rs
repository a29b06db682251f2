//! Memory of the program's heap, and its end where there is none left.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator. Where that has no memory the program says so in a line and ends
/// with code 1, as the standard library would abort (code 134, and a file of the core).
///
/// It ends as if it was killed: what looks after files and cards from outside does so then.
pub struct Heap;

/// What is said; written from here, as nothing can be allocated.
const LINE: &[u8] = b"bmnic: no memory is left for the program itself, so it ends here; \
free memory, or let this process have more (`ulimit -v`, its cgroup's memory.max)\n";

#[cold]
fn end() -> ! {
    // SAFETY: LINE is so long. What cannot be written cannot be told either.
    unsafe { libc::write(libc::STDERR_FILENO, LINE.as_ptr().cast(), LINE.len()) };
    // SAFETY: runs no code of this process any more.
    unsafe { libc::_exit(1) }
}

fn given(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() { end() } else { pointer }
}

// SAFETY: every request is passed on unchanged to the system's allocator, and so is what it
// gives.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(pointer, layout, size) })
    }
}
