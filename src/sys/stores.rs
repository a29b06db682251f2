//! Counting the stores that a piece of code makes to some pages, each of them: what is in
//! the pages afterwards shows the last ones alone. For x86-64.
//!
//! ```text
//!   store --page is read-only: SIGSEGV--> count it, open the page, stop behind the store
//!     '-----done again----------------------'      |
//!   next instruction <--close the page-- SIGTRAP <-'
//! ```
//!
//! A store takes some microseconds so, and is the same store. That goes for all threads
//! while one counts what it stores; between two counts, pages that are stored to are open.
//! (A store to a page that another thread has open at that very moment is not seen: this is
//! for a thread that shares the pages with none that is busy.) Faults elsewhere are passed on
//! to the handlers that were there before, and what those store is not counted.

#![allow(unsafe_code)]

use super::{bus, check};
use std::ffi::c_void;
use std::io;
use std::mem;
use std::ops::{AddAssign, Range};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a line, in which a processor combines stores where it may.
const LINE: usize = 64;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Trap flag: the processor stops behind the next instruction (Intel SDM 3 §2.3).
const TRAP: i64 = 0x100;

/// What was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    /// Stores.
    pub stores: u64,
    /// Lines of 64 bytes, of stores that follow one another at once: what of them is left
    /// where the processor combines stores.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

impl AddAssign for Stores {
    fn add_assign(&mut self, more: Stores) {
        self.stores += more.stores;
        self.lines += more.lines;
        self.bytes += more.bytes;
    }
}

/// How many bytes the instruction at an address stores; 0 where that is not known.
pub type Width = fn(u64) -> u64;

/// Counts stores to some pages. There is one at a time in a process.
pub struct Watch {
    watched: Box<Watched>,
    _turn: MutexGuard<'static, ()>,
}

/// What the handlers work with.
struct Watched {
    pages: Vec<Range<usize>>,
    width: Width,
    /// The handlers before, of SIGSEGV and SIGTRAP.
    before: [libc::sigaction; 2],
    /// Thread that counts, 0 while none does, or [`PAUSED`].
    counting: AtomicI32,
    /// Pages that were stored to while nobody counted: they are open but for counts.
    known: [AtomicUsize; 64],
    stores: AtomicU64,
    lines: AtomicU64,
    bytes: AtomicU64,
    /// Stores of which it is not known how wide they are.
    unknown: AtomicU64,
    /// The last store's line.
    line: AtomicUsize,
    /// What is open for a store, which may lie in two pages, of each thread.
    open: [Open; 16],
}

/// A handler from before runs while somebody counts.
const PAUSED: i32 = -1;

/// A page that is open for one store.
struct Open {
    /// Of this thread; nobody's if 0.
    thread: AtomicI32,
    page: AtomicUsize,
}

static WATCHED: AtomicPtr<Watched> = AtomicPtr::new(ptr::null_mut());

/// Handlers that run, and may look at what is watched.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static TURN: Mutex<()> = Mutex::new(());

const SIGNALS: [i32; 2] = [libc::SIGSEGV, libc::SIGTRAP];

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

impl Watch {
    /// For stores to these pages, which stay mapped while it is there; `width` says how
    /// wide one is.
    ///
    /// # Errors
    /// What the system says of handlers, and of closing pages.
    pub fn new(pages: Vec<Range<usize>>, width: Width) -> io::Result<Watch> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: plain integers; all zeroes is a valid value.
        let mut before: [libc::sigaction; 2] = unsafe { mem::zeroed() };
        for (signal, before) in SIGNALS.into_iter().zip(&mut before) {
            // SAFETY: the place is valid to write to.
            check(unsafe { libc::sigaction(signal, ptr::null(), before) })?;
        }
        let watched = Box::new(Watched {
            pages,
            width,
            before,
            counting: AtomicI32::new(0),
            known: [const { AtomicUsize::new(0) }; 64],
            stores: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            line: AtomicUsize::new(0),
            open: [const { Open { thread: AtomicI32::new(0), page: AtomicUsize::new(0) } }; 16],
        });
        // Whatever fails from here on, its end puts the handlers back.
        let watch = Watch { watched, _turn: turn };
        WATCHED.store((&raw const *watch.watched).cast_mut(), Ordering::Release);
        let handlers: [Handler; 2] = [on_fault, on_step];
        for (signal, handler) in SIGNALS.into_iter().zip(handlers) {
            // SAFETY: plain integers; all zeroes is a valid value.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = handler as usize;
            // On the stack that is there, since the handler before may need much of it; and again
            // while it runs, since that of another thread may store to the pages.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            // SAFETY: action is valid, and the handler has the signature that SA_SIGINFO asks for.
            check(unsafe { libc::sigaction(signal, &action, ptr::null_mut()) })?;
        }
        watch.watched.protect(libc::PROT_READ)?;
        Ok(watch)
    }

    /// Runs `code`, and counts its stores to the pages.
    ///
    /// # Errors
    /// If it is not known how wide a store was.
    pub fn count<R>(&self, code: impl FnOnce() -> R) -> io::Result<(R, Stores)> {
        let watched = &*self.watched;
        for count in [&watched.stores, &watched.lines, &watched.bytes, &watched.unknown] {
            count.store(0, Ordering::Relaxed);
        }
        watched.line.store(0, Ordering::Relaxed);
        watched.protect_known(libc::PROT_READ);
        let counting = Counting::begin(&watched.counting, thread());
        let result = code();
        drop(counting);
        watched.protect_known(OPEN);
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let stores = Stores { stores: of(&watched.stores), lines: of(&watched.lines), bytes: of(&watched.bytes) };
        match of(&watched.unknown) {
            0 => Ok((result, stores)),
            n => Err(io::Error::other(format!("{n} stores by instructions whose width is not known"))),
        }
    }
}

impl Drop for Watch {
    /// The pages are open, and the handlers before are there again. No thread is in the middle
    /// of a store, or in a handler that looks at what is freed.
    fn drop(&mut self) {
        // What could be closed can be opened. A store under way closes its page once more.
        let _ = self.watched.protect(OPEN);
        while self.watched.open.iter().any(|open| open.thread.load(Ordering::Acquire) != 0) {
            std::thread::yield_now();
        }
        let _ = self.watched.protect(OPEN);
        for (signal, before) in SIGNALS.into_iter().zip(&self.watched.before) {
            // SAFETY: as the system gave it.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
        WATCHED.store(ptr::null_mut(), Ordering::SeqCst);
        while INSIDE.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

/// Somebody counts, or does not, until it is dropped.
struct Counting<'w> {
    who: &'w AtomicI32,
    before: i32,
}

impl<'w> Counting<'w> {
    fn begin(who: &'w AtomicI32, thread: i32) -> Self {
        Counting { who, before: who.swap(thread, Ordering::Relaxed) }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.who.store(self.before, Ordering::Relaxed);
    }
}

/// This thread.
fn thread() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

const OPEN: i32 = libc::PROT_READ | libc::PROT_WRITE;

impl Watched {
    fn protect(&self, protection: i32) -> io::Result<()> {
        self.pages.iter().try_for_each(|pages| protect(pages.start, pages.len(), protection))
    }

    /// Opens or closes what is known to be stored to by others.
    fn protect_known(&self, protection: i32) {
        for page in self.known.iter().map(|page| page.load(Ordering::Relaxed)).take_while(|page| *page != 0) {
            // What could be opened can be closed.
            let _ = protect(page, PAGE, protection);
        }
    }

    /// Opens a page for as long as nobody counts; false if there is no room to remember it.
    fn leave_open(&self, address: usize) -> bool {
        let page = address - address % PAGE;
        let room = |known: &&AtomicUsize| {
            let taken = known.compare_exchange(0, page, Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok() || known.load(Ordering::Relaxed) == page
        };
        self.known.iter().find(room).is_some() && protect(page, PAGE, OPEN).is_ok()
    }

    /// What is open for this thread.
    fn open(&self) -> impl Iterator<Item = &Open> {
        let thread = thread();
        self.open.iter().filter(move |open| open.thread.load(Ordering::Relaxed) == thread)
    }

    /// Counts a store to `address` by the instruction at `rip`, and lets it happen.
    fn store(&self, address: usize, rip: u64) -> io::Result<()> {
        let page = address - address % PAGE;
        let first = self.open().next().is_none();
        // Another thread may have closed it again; then it is the same store.
        if !self.open().any(|open| open.page.load(Ordering::Relaxed) == page) {
            let take =
                |open: &&Open| open.thread.compare_exchange(0, thread(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
            let free = self.open.iter().find(take).ok_or(io::ErrorKind::ResourceBusy)?;
            free.page.store(page, Ordering::Relaxed);
        }
        // One that goes on in a second page faults once more.
        if first && self.counting.load(Ordering::Relaxed) == thread() {
            let line = address - address % LINE;
            self.stores.fetch_add(1, Ordering::Relaxed);
            let width = (self.width)(rip);
            self.bytes.fetch_add(width, Ordering::Relaxed);
            self.unknown.fetch_add(u64::from(width == 0), Ordering::Relaxed);
            let same = self.line.swap(line, Ordering::Relaxed) == line;
            self.lines.fetch_add(u64::from(!same), Ordering::Relaxed);
        }
        protect(page, PAGE, OPEN)
    }
}

fn protect(start: usize, len: usize, protection: i32) -> io::Result<()> {
    // SAFETY: memory that is mapped, and reached by address only; who stores to it while it
    // is closed is dealt with here.
    check(unsafe { libc::mprotect(ptr::with_exposed_provenance_mut(start), len, protection) }).map(drop)
}

/// The interrupted code's registers.
fn registers<'c>(context: *mut c_void) -> &'c mut [i64; 23] {
    // SAFETY: the kernel passes a valid ucontext, the handler's until it returns.
    unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
}

/// A handler that runs, until it is dropped.
struct Inside;

impl Inside {
    /// What is watched, if anything is.
    fn enter<'w>() -> (Self, Option<&'w Watched>) {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        // SAFETY: null, or not freed before this handler has ended.
        (Inside, unsafe { WATCHED.load(Ordering::SeqCst).as_ref() })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // What faults here when nothing is watched any more does so again, for the handler before.
    let (_inside, Some(watched)) = Inside::enter() else { return };
    // SAFETY: the kernel passes a valid siginfo.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let inside = code > 0 && watched.pages.iter().any(|pages| pages.contains(&address));
    if inside && watched.counting.load(Ordering::Relaxed) == 0 && watched.leave_open(address) {
        return;
    }
    let registers = registers(context);
    if inside {
        match watched.store(address, registers[libc::REG_RIP as usize] as u64) {
            Ok(()) => {
                registers[libc::REG_EFL as usize] |= TRAP;
                return;
            }
            // Too many threads store at once: this one tries again.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return,
            Err(_) => {}
        }
    }
    let own = watched.counting.load(Ordering::Relaxed) == thread();
    let _pause = own.then(|| Counting::begin(&watched.counting, PAUSED));
    bus::pass_on(Some(&watched.before[0]), code <= 0, signal, info, context);
}

extern "C" fn on_step(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let (_inside, Some(watched)) = Inside::enter() else { return };
    if watched.open().next().is_none() {
        // SAFETY: the kernel passes a valid siginfo.
        let sent = unsafe { (*info).si_code } <= 0;
        return bus::pass_on(Some(&watched.before[1]), sent, signal, info, context);
    }
    for open in watched.open() {
        // One that stays open counts no more, and is closed with the next.
        let _ = protect(open.page.swap(0, Ordering::Relaxed), PAGE, libc::PROT_READ);
        open.thread.store(0, Ordering::Relaxed);
    }
    registers(context)[libc::REG_EFL as usize] &= !TRAP;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{map_shared, memory_file};
    use std::sync::atomic::{AtomicU8, AtomicU32};
    use std::thread;

    /// Two pages that live as long as the process.
    fn pages() -> (Range<usize>, &'static [AtomicU32; 2048]) {
        let base = map_shared(&memory_file(2 * PAGE as u64).unwrap(), 0, 2 * PAGE).unwrap();
        // SAFETY: mapped, never unmapped, and of atomics.
        (base.as_ptr().addr()..base.as_ptr().addr() + 2 * PAGE, unsafe { base.cast().as_ref() })
    }

    #[test]
    fn each_store_is_counted_and_happens() {
        let (range, words) = pages();
        let elsewhere = AtomicU32::new(0);
        let watch = Watch::new(vec![range.clone()], |_| 4).unwrap();
        let (sum, stores) = watch
            .count(|| {
                (0..5).for_each(|n| words[0].store(n, Ordering::Release));
                words[1].store(7, Ordering::Release);
                words[16].store(8, Ordering::Release);
                elsewhere.store(9, Ordering::Release);
                words[1500].store(10, Ordering::Release);
                words[0].load(Ordering::Acquire) + words[1500].load(Ordering::Acquire)
            })
            .unwrap();
        assert_eq!((sum, stores), (14, Stores { stores: 8, lines: 3, bytes: 32 }));
        assert_eq!([0, 1, 16, 1500].map(|n: usize| words[n].load(Ordering::Acquire)), [4, 7, 8, 10]);
        words[0].store(11, Ordering::Release);
        assert_eq!(words[0].load(Ordering::Acquire), 11);
        drop(watch);
        let watch = Watch::new(vec![range], |_| 0).unwrap();
        let refused = watch.count(|| words[1].store(1, Ordering::Release)).unwrap_err();
        assert!(refused.to_string().contains("width is not known"), "{refused}");
        assert_eq!(watch.count(|| ()).unwrap().1, Stores::default(), "only what is stored meanwhile counts");
    }

    #[test]
    fn a_store_across_two_pages_is_one_and_another_threads_is_none() {
        let (range, words) = pages();
        let watch = Watch::new(vec![range.clone()], |_| 8).unwrap();
        let other = thread::spawn(|| (0..2000).for_each(|n| words[5].store(n, Ordering::Release)));
        let ((), stores) = watch
            .count(|| {
                for _ in 0..500 {
                    let across = ptr::with_exposed_provenance_mut::<u64>(range.start + PAGE - 4);
                    // SAFETY: eight bytes of the two pages, of which nobody holds a
                    // reference but to atomics.
                    unsafe { across.write_unaligned(u64::MAX) };
                }
            })
            .unwrap();
        other.join().unwrap();
        // The second page is closed whatever the other thread does to the first.
        assert_eq!((stores.stores, stores.bytes), (500, 4000));
        assert_eq!([5, 1023, 1024].map(|n: usize| words[n].load(Ordering::Acquire)), [1999, u32::MAX, u32::MAX]);
    }

    #[test]
    fn a_fault_elsewhere_is_left_to_the_handler_before_and_what_that_stores_does_not_count() {
        static TARGET: AtomicUsize = AtomicUsize::new(0);
        static OTHER: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn earlier(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
            let other = OTHER.load(Ordering::Relaxed);
            protect(other - other % PAGE, PAGE, OPEN).unwrap();
            // SAFETY: a byte of a mapping that stays.
            unsafe { AtomicU8::from_ptr(ptr::with_exposed_provenance_mut(TARGET.load(Ordering::Relaxed))) }
                .store(3, Ordering::Release);
        }
        let ((watched, words), (other, others)) = (pages(), pages());
        TARGET.store(watched.start, Ordering::Relaxed);
        OTHER.store(other.start, Ordering::Relaxed);
        protect(other.start, PAGE, libc::PROT_READ).unwrap();
        let mut watch = Watch::new(vec![watched], |_| 4).unwrap();
        let kept = watch.watched.before[0];
        watch.watched.before[0].sa_sigaction = earlier as Handler as usize;
        watch.watched.before[0].sa_flags = libc::SA_SIGINFO;
        let ((), stores) = watch.count(|| others[0].store(1, Ordering::Release)).unwrap();
        assert_eq!((stores, words[0].load(Ordering::Acquire)), (Stores::default(), 3));
        watch.watched.before[0] = kept;
        drop(watch);
        // SAFETY: plain integers; all zeroes is a valid value.
        let mut now: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: now is valid to write to.
        unsafe { libc::sigaction(libc::SIGSEGV, ptr::null(), &mut now) };
        assert_eq!(now.sa_sigaction, kept.sa_sigaction);
    }
}
