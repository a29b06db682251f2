//! Memory that may be taken away while it is used.
//!
//! The registers of a card are unmapped when it is pulled, powered down or reset by
//! somebody else; a file that is mapped may be cut off. Touching what is not there any
//! more raises SIGBUS, which ends a program. Under a [`Guard`] the touch finds other
//! memory instead and the program goes on:
//!
//! ```text
//!   Instead::Ones     registers: as a bus reads where nobody answers, page by page
//!   Instead::Zeroes   another program's memory: all of the mapping at once
//! ```
//!
//! A store changes that other memory: no device and no other program sees it, and this one
//! reads it back. There is one handler for all of a process; what it does not guard is
//! passed on to the one that was there before, and so is a signal that a program has sent.

use super::{EventFd, memory_file, page_size};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What is read in the place of memory that was taken away, until something is stored there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Zeroes.
    Zeroes,
    /// Bytes of 0xff, which is what a bus gives where no device answers.
    Ones,
}

/// Whether memory was taken away: to be asked, or to be slept on.
#[derive(Debug)]
pub struct Lost {
    seen: AtomicBool,
    event: EventFd,
}

impl Lost {
    /// Of nothing yet.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Lost { seen: AtomicBool::new(false), event: EventFd::new()? }))
    }

    /// Whether a guard that tells this one has found its memory gone.
    pub fn seen(&self) -> bool {
        self.seen.load(Ordering::Acquire)
    }

    /// Called by the handler: makes one system call.
    fn tell(&self) {
        self.seen.store(true, Ordering::Release);
        // The flag is set, whether or not the sleeper can be woken.
        let _ = self.event.signal();
    }
}

impl AsFd for Lost {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// A mapping that may be taken away. To be dropped before it is unmapped.
#[derive(Debug)]
pub struct Guard {
    place: &'static Place,
    _lost: Option<Arc<Lost>>,
}

impl Guard {
    /// Watches the `len` bytes of a mapping from `base`, and tells `lost` of the first that
    /// is missed.
    ///
    /// # Errors
    /// If there is no memory for what is read instead.
    pub fn new(base: NonNull<u8>, len: usize, instead: Instead, lost: Option<Arc<Lost>>) -> io::Result<Self> {
        install()?;
        let told = lost.as_ref().map_or(ptr::null_mut(), |lost| Arc::as_ptr(lost).cast_mut());
        let place = FIRST.take(base.as_ptr().addr());
        place.ones.store(instead == Instead::Ones, Ordering::Relaxed);
        place.lost.store(told, Ordering::Relaxed);
        // From here on the handler finds it.
        place.len.store(len, Ordering::Release);
        Ok(Guard { place, _lost: lost })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.place.len.store(0, Ordering::Release);
        self.place.start.store(0, Ordering::Release);
    }
}

/// A guarded range, for a signal handler to read. Nobody's while `start` is zero, and
/// without effect while `len` is.
#[derive(Debug)]
struct Place {
    start: AtomicUsize,
    len: AtomicUsize,
    ones: AtomicBool,
    lost: AtomicPtr<Lost>,
}

impl Place {
    const fn free() -> Self {
        Place {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            ones: AtomicBool::new(false),
            lost: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

/// Places that are never moved or freed, and more where they are all taken.
struct Places {
    places: [Place; 256],
    more: OnceLock<Box<Places>>,
}

static FIRST: Places = Places::new();

impl Places {
    const fn new() -> Self {
        Places { places: [const { Place::free() }; 256], more: OnceLock::new() }
    }

    /// A free place, which is that of `start` now.
    fn take(&'static self, start: usize) -> &'static Place {
        let free = |place: &&Place| place.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let mut all = self;
        loop {
            if let Some(place) = all.places.iter().find(free) {
                return place;
            }
            all = all.more.get_or_init(|| Box::new(Places::new()));
        }
    }

    /// The place whose memory `address` is in, with start and length.
    fn around(&'static self, address: usize) -> Option<(&'static Place, usize, usize)> {
        let mut all = Some(self);
        while let Some(places) = all {
            for place in &places.places {
                let (start, len) = (place.start.load(Ordering::Acquire), place.len.load(Ordering::Acquire));
                // A place that is given to another mapping meanwhile has another start.
                if address.wrapping_sub(start) < len && place.start.load(Ordering::Acquire) == start {
                    return Some((place, start, len));
                }
            }
            all = places.more.get().map(|more| &**more);
        }
        None
    }
}

/// What the handler needs.
struct Needs {
    /// A page of ones, which is mapped in the place of registers.
    ones: File,
    /// What was done with SIGBUS before.
    before: libc::sigaction,
}

static NEEDS: OnceLock<Needs> = OnceLock::new();

/// Takes SIGBUS over, the first time.
fn install() -> io::Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if NEEDS.get().is_some() {
        return Ok(());
    }
    let ones = memory_file(page_size() as u64)?;
    ones.write_all_at(&vec![0xff; page_size()], 0)?;
    // SAFETY: plain integers; all zeroes is a valid value.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    // SAFETY: before is valid to write to.
    super::check(unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &mut before) })?;
    action.sa_sigaction = on_bus_error as extern "C" fn(_, _, _) as usize;
    // As the standard library's handler, it runs on the stack for signals.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    NEEDS.get_or_init(|| Needs { ones, before });
    // SAFETY: action is valid, and the handler has the signature that SA_SIGINFO asks for.
    super::check(unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) }).map(drop)
}

extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // One that a program has sent is about no address (sigaction(2), si_code).
    let sent = code <= 0;
    // SAFETY: the location of this thread's errno is always valid.
    let errno = unsafe { *libc::__errno_location() };
    if sent || !replace(address) {
        pass_on(NEEDS.get().map(|needs| &needs.before), sent, signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Has a signal that is not about our memory dealt with as `before`.
pub(super) fn pass_on(
    before: Option<&libc::sigaction>,
    sent: bool,
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    type Plain = extern "C" fn(i32);
    type Informed = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
    match before {
        Some(before) if before.sa_sigaction == libc::SIG_IGN && sent => return,
        Some(before) if !matches!(before.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) => {
            if before.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: what SA_SIGINFO is set for has this signature.
                let handler: Informed = unsafe { std::mem::transmute(before.sa_sigaction) };
                handler(signal, info, context);
            } else {
                // SAFETY: what it is not set for has this one.
                let handler: Plain = unsafe { std::mem::transmute(before.sa_sigaction) };
                handler(signal);
            }
        }
        // SAFETY: SIG_DFL is always valid.
        _ => drop(unsafe { libc::signal(signal, libc::SIG_DFL) }),
    }
    // Where nobody handles it any more (the standard library's handler gives up too), a fault
    // happens again by itself and is fatal then; what was sent has to be sent again.
    if sent && is_default(signal) {
        // SAFETY: takes no pointer; it comes when this handler has returned.
        unsafe { libc::raise(signal) };
    }
}

/// Whether nobody handles `signal`.
fn is_default(signal: i32) -> bool {
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: now is valid to write to.
    let told = unsafe { libc::sigaction(signal, ptr::null(), &mut now) };
    told == 0 && now.sa_sigaction == libc::SIG_DFL
}

/// Puts other memory in the place of what is gone around `address`; false if that is
/// not guarded. For handlers of SIGBUS: calls only what those may.
pub fn replace(address: usize) -> bool {
    let Some((place, start, len)) = FIRST.around(address) else { return false };
    let fixed = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_NORESERVE;
    let (at, len, flags, fd) = match NEEDS.get() {
        Some(needs) if place.ones.load(Ordering::Relaxed) => {
            (address - address % page_size(), page_size(), fixed, needs.ones.as_raw_fd())
        }
        _ => (start, len, fixed | libc::MAP_ANONYMOUS, -1),
    };
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: replaces what is in a mapping of ours, which is reached by address only.
    let base = unsafe { libc::mmap(ptr::with_exposed_provenance_mut(at), len, protection, flags, fd, 0) };
    // SAFETY: null, or kept by the guard, and the guard by the one who touches its memory.
    if let Some(lost) = unsafe { place.lost.load(Ordering::Relaxed).as_ref() } {
        lost.tell();
    }
    base != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::map_shared;
    use std::time::Duration;

    #[test]
    fn a_fault_that_is_not_guarded_is_left_to_the_handler_before() {
        static PASSED: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn earlier(signal: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
            PASSED.store(signal as usize, Ordering::Relaxed);
        }
        // SAFETY: plain integers; all zeroes is a valid value.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        before.sa_sigaction = earlier as extern "C" fn(_, _, _) as usize;
        before.sa_flags = libc::SA_SIGINFO;
        pass_on(Some(&before), false, libc::SIGBUS, ptr::null_mut(), ptr::null_mut());
        assert_eq!(PASSED.load(Ordering::Relaxed), libc::SIGBUS as usize);
        assert!(!replace(0x1000), "nothing is guarded there");
    }

    /// A child process does no more than send itself the signal: SIGBUS ends a program
    /// that does not handle it, and a program that guards other memory too.
    #[test]
    fn a_signal_that_a_program_sends_ends_this_one_as_if_nothing_were_guarded() {
        let len = page_size();
        let base = map_shared(&memory_file(len as u64).unwrap(), 0, len).unwrap();
        let guard = Guard::new(base, len, Instead::Ones, None).unwrap();
        // SAFETY: the child calls what signal handlers may call too, and ends.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1, "{}", io::Error::last_os_error());
        if child == 0 {
            // SAFETY: neither takes a pointer.
            unsafe {
                libc::raise(libc::SIGBUS);
                libc::_exit(0);
            }
        }
        let mut status = 0;
        // SAFETY: status is valid to write to.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "{status:#x}");
        drop(guard);
        // SAFETY: mapped above, and not used after this.
        unsafe { libc::munmap(base.as_ptr().cast(), len) };
    }

    #[test]
    fn what_is_taken_away_is_told_once_and_read_as_was_said() {
        for (instead, byte) in [(Instead::Zeroes, 0), (Instead::Ones, 0xff)] {
            let len = 3 * page_size();
            let file = memory_file(len as u64).unwrap();
            file.write_all_at(&vec![7; len], 0).unwrap();
            let base = map_shared(&file, 0, len).unwrap();
            let lost = Lost::new().unwrap();
            let guard = Guard::new(base, len, instead, Some(Arc::clone(&lost))).unwrap();
            // SAFETY: in the mapping, which is this test's alone.
            let read = |at: usize| unsafe { base.add(at).read_volatile() };
            assert_eq!((read(len - 1), lost.seen()), (7, false));
            file.set_len(page_size() as u64).unwrap();
            assert_eq!(read(len - 1), byte);
            // SAFETY: as above.
            unsafe { base.add(len - 1).write_volatile(5) };
            assert_eq!(read(len - 1), 5, "a store is kept, and nobody else sees it");
            assert!(lost.seen() && lost.event.wait(Duration::ZERO).unwrap());
            // What is there is still itself, where pages are replaced one by one.
            assert_eq!(read(0), if instead == Instead::Ones { 7 } else { 0 });
            drop(guard);
            assert!(FIRST.around(base.as_ptr().addr()).is_none());
            // SAFETY: mapped above, and not used after this.
            unsafe { libc::munmap(base.as_ptr().cast(), len) };
        }
    }
}
