//! A clock that jumps: what waits for a card that will never answer waits a moment.
//!
//! The program's own `clock_gettime`, `nanosleep` and `clock_nanosleep` stand before the C
//! library's. For a thread that runs an input, each look at the monotonic clock takes [`LOOK`],
//! each sleep as long as it was to last or [`NAP`], and the card that is played here does
//! meanwhile what it has to do. Other clocks, and other threads, are as they are.

#![allow(unsafe_code)]

use bmnic::emu::Engine;
use libc::{c_int, clockid_t, timespec};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a look at the clock takes, in nanoseconds.
const LOOK: u64 = 2_000;

/// The least that a sleep takes, in nanoseconds.
const NAP: u64 = 1_000_000;

static NOW: AtomicU64 = AtomicU64::new(1_000_000_000_000);

thread_local! {
    static JUMPS: Cell<bool> = const { Cell::new(false) };
    static ENGINE: RefCell<Option<Rc<Engine>>> = const { RefCell::new(None) };
}

/// Has the cards of this engine go on while this thread sleeps.
pub fn play(engine: Option<&Rc<Engine>>) {
    ENGINE.set(engine.cloned());
}

/// Runs `body` by the clock that jumps.
pub fn jump<R>(body: impl FnOnce() -> R) -> R {
    JUMPS.set(true);
    let done = body();
    JUMPS.set(false);
    play(None);
    done
}

/// Whether this thread runs an input.
fn jumps() -> bool {
    JUMPS.get()
}

/// Lets time pass.
fn pass(time: u64) {
    NOW.fetch_add(time, Ordering::Relaxed);
    if let Some(engine) = ENGINE.with_borrow(Clone::clone) {
        engine.advance(time.saturating_mul(1000));
        engine.step();
    }
}

/// Nanoseconds.
fn length(time: timespec) -> u64 {
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// # Safety
/// As `clock_gettime(2)`: `into` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, into: *mut timespec) -> c_int {
    if clock != libc::CLOCK_MONOTONIC || !jumps() {
        // SAFETY: the caller's promise is passed on.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) } as c_int;
    }
    let now = NOW.fetch_add(LOOK, Ordering::Relaxed);
    let time = timespec { tv_sec: (now / 1_000_000_000) as i64, tv_nsec: (now % 1_000_000_000) as i64 };
    // SAFETY: the caller's promise.
    unsafe { into.write(time) };
    0
}

/// # Safety
/// As `nanosleep(2)`: `wanted` can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nanosleep(wanted: *const timespec, left: *mut timespec) -> c_int {
    if !jumps() {
        // SAFETY: the caller's promise is passed on.
        return unsafe { libc::syscall(libc::SYS_nanosleep, wanted, left) } as c_int;
    }
    // SAFETY: the caller's promise.
    pass(length(unsafe { wanted.read() }).max(NAP));
    0
}

/// # Safety
/// As `clock_nanosleep(2)`: `wanted` can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    wanted: *const timespec,
    left: *mut timespec,
) -> c_int {
    if !jumps() {
        // SAFETY: the caller's promise is passed on. This one returns the error itself.
        let failed = unsafe { libc::syscall(libc::SYS_clock_nanosleep, clock, flags, wanted, left) } != 0;
        return if failed { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 };
    }
    // SAFETY: the caller's promise.
    let wanted = length(unsafe { wanted.read() });
    let now = NOW.load(Ordering::Relaxed);
    pass(if flags & libc::TIMER_ABSTIME != 0 { wanted.saturating_sub(now) } else { wanted }.max(NAP));
    0
}
