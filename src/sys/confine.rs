//! Taking rights away from this process, for good: what it has opened it keeps.
//!
//! ```text
//!   no_new_privs     nothing that it executes has more rights
//!   capabilities     none but those that are named, of root too
//!   Landlock         opens, makes and removes files below the named folders only
//!   seccomp          makes the system calls of a list only (calls)
//! ```
//!
//! The first three are a thread's, so each thread that runs already is sent a signal, in whose
//! handler it gives its own up, as the C library does it for setuid(2). The kernel copies the
//! last to all threads. A thread that shares memory with others that have more rights would
//! have given up nothing.

mod calls;

pub use calls::Calls;

use super::check;
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, make_bitflags,
};
use std::ffi::c_void;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Reads and writes files whatever their permissions (capabilities(7)).
pub const CAP_DAC_OVERRIDE: u32 = 1;
/// Administers the system: of cards, it enables one through sysfs, and sees physical addresses.
pub const CAP_SYS_ADMIN: u32 = 21;
/// Changes maps of BPF; no more than that where the calls are filtered.
pub const CAP_BPF: u32 = 39;

/// What a process keeps.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// Folders in which files may be made, written and removed, and files that may be written.
    pub written: Vec<PathBuf>,
    /// Folders out of which files may be removed.
    pub removed: Vec<PathBuf>,
    /// Folders and files that may be read.
    pub read: Vec<PathBuf>,
    /// Numbers of capabilities.
    pub capabilities: Vec<u32>,
    /// System calls.
    pub calls: Calls,
}

/// What was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Landlock's version, if the kernel has it.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered: on processors that the filter is made for, and where
    /// the kernel has it.
    pub calls: bool,
    /// Threads that it concerned.
    pub threads: usize,
}

impl Confinement {
    /// Keeps this and gives all else up, in all threads. What the kernel does not know of it is
    /// left out, and named in the result.
    ///
    /// # Errors
    /// What the kernel says otherwise; some of it may be given up then.
    pub fn enter(&self) -> io::Result<Confined> {
        // What can fail comes before anything is given up.
        let landlock = landlock_version();
        let ruleset = landlock.map_or(Ok(None), |_| self.ruleset())?;
        let filter = self.calls.filter()?;
        let keep = self.capabilities.iter().filter(|&&number| number < 64).fold(0, |set, number| set | 1_u64 << number);
        // It stays, for a thread that comes too late to it.
        let order = Box::leak(Box::new(Order { ruleset: ruleset.as_ref().map_or(-1, AsRawFd::as_raw_fd), keep }));
        let threads = in_all_threads(order)?;
        let calls = filter.as_ref().map_or(Ok(false), calls::allow)?;
        Ok(Confined { landlock: ruleset.and(landlock), calls, threads })
    }

    /// The rules about files, as far as the kernel knows them.
    fn ruleset(&self) -> io::Result<Option<OwnedFd>> {
        let abi = ABI::V5;
        let written = make_bitflags!(AccessFs::{WriteFile | MakeReg | RemoveFile | Truncate});
        let rules: [(&[PathBuf], BitFlags<AccessFs>); 3] = [
            (&self.written, written),
            (&self.removed, AccessFs::RemoveFile.into()),
            (&self.read, AccessFs::from_read(abi) & !AccessFs::Execute),
        ];
        let made = Ruleset::default().handle_access(AccessFs::from_all(abi)).and_then(Ruleset::create);
        let mut ruleset = made.map_err(io::Error::other)?;
        for (paths, access) in rules {
            for path in paths {
                // What is not there cannot be opened either, and what is a pipe is open.
                let Ok(kind) = path.metadata().map(|found| found.file_type()) else { continue };
                if kind.is_fifo() || kind.is_socket() {
                    continue;
                }
                let Ok(fd) = PathFd::new(path) else { continue };
                let access = if kind.is_dir() { access } else { access & AccessFs::from_file(abi) };
                if !access.is_empty() {
                    ruleset = ruleset.add_rule(PathBeneath::new(fd, access)).map_err(io::Error::other)?;
                }
            }
        }
        Ok(ruleset.into())
    }
}

/// The version of the kernel's Landlock; none if it has none, or it is switched off.
fn landlock_version() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no attributes.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<c_void>(), 0_usize, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// What each thread is to do; no memory is allocated for it.
struct Order {
    /// Of Landlock's rules, or -1.
    ruleset: RawFd,
    /// The capabilities that stay.
    keep: u64,
}

/// `struct __user_cap_header_struct` and two of `struct __user_cap_data_struct` (linux/capability.h).
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Order {
    /// Does it in this thread. It may be called in a signal handler.
    fn obey(&self) -> io::Result<()> {
        // The kernel looks at all bits of what is not used.
        const NONE: libc::c_ulong = 0;
        const YES: libc::c_ulong = 1;
        // SAFETY: takes integers only.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, YES, NONE, NONE, NONE) })?;
        if self.ruleset >= 0 {
            // SAFETY: takes integers only.
            check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.ruleset, 0) } as i32)?;
        }
        // Both are of what is executed, which is nothing; a user who is not root may not do the second.
        // SAFETY: takes integers only.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, NONE, NONE, NONE) };
        // SAFETY: as above; the kernel refuses the first number that is no capability.
        let give_up =
            |number: &libc::c_ulong| unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *number, NONE, NONE, NONE) } == 0;
        (0..64).take_while(give_up).count();
        let mut header = CapHeader { version: 0x2008_0522, pid: 0 };
        let mut sets = [CapData::default(); 2];
        // SAFETY: both are writable, and of the sizes that this version has.
        check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } as i32)?;
        for (set, keep) in sets.iter_mut().zip([self.keep as u32, (self.keep >> 32) as u32]) {
            let stays = set.permitted & keep;
            *set = CapData { effective: stays, permitted: stays, inheritable: 0 };
        }
        // SAFETY: as above; the sets are only read.
        check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } as i32).map(drop)
    }
}

/// Lets this thread, and those that it starts, be told to give rights up: a program may be started
/// with any signal blocked.
pub fn listen() {
    // SAFETY: plain integers; sigemptyset and sigaddset fill it in, and the last call reads it.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGRTMAX());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
    }
}

/// What the threads are to do, how many have done it, and an error number of one that could not.
static ORDER: AtomicPtr<Order> = AtomicPtr::new(ptr::null_mut());
static DONE: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicI32 = AtomicI32::new(0);

/// In the thread that it is sent to.
extern "C" fn on_signal(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    /// By tgkill(2), and by nobody but a process of this user.
    const SI_TKILL: libc::c_int = -6;
    // SAFETY: the kernel gives a handler of this kind what the signal was sent by.
    let ours = unsafe { (*info).si_code == SI_TKILL && (*info).si_pid() == libc::getpid() };
    // SAFETY: null, or an order, which is never freed.
    let Some(order) = (unsafe { ORDER.load(Ordering::Acquire).as_ref() }).filter(|_| ours) else { return };
    // SAFETY: the errno of this thread, which is what the code that was interrupted finds.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    if let Err(error) = order.obey() {
        FAILED.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Relaxed);
    }
    // SAFETY: as above.
    unsafe { *errno = before };
    DONE.fetch_add(1, Ordering::Release);
}

/// Has each thread of this process do it, this one last; how many threads they are.
fn in_all_threads(order: &'static Order) -> io::Result<usize> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let signal = libc::SIGRTMAX();
    // SAFETY: takes no pointer.
    let mut known = vec![unsafe { libc::gettid() }];
    // SAFETY: plain integers; no flags and no signal blocked is a valid value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    FAILED.store(0, Ordering::Relaxed);
    ORDER.store(ptr::from_ref(order).cast_mut(), Ordering::Release);
    // SAFETY: the handler makes system calls and uses atomics only (signal-safety(7)).
    check(unsafe { libc::sigaction(signal, &raw const action, &raw mut before) })?;
    let told = tell_all(signal, &mut known);
    ORDER.store(ptr::null_mut(), Ordering::Release);
    if told.is_ok() {
        // SAFETY: what was there before, which no thread has the signal pending for.
        check(unsafe { libc::sigaction(signal, &raw const before, ptr::null_mut()) })?;
    }
    told?;
    order.obey()?;
    match FAILED.load(Ordering::Relaxed) {
        0 => Ok(known.len()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Sends the signal to all threads that are not `known`, one by one, until there are no others. A
/// thread that one of them starts has what it has.
fn tell_all(signal: libc::c_int, known: &mut Vec<libc::pid_t>) -> io::Result<()> {
    const TASKS: &str = "/proc/self/task";
    loop {
        let mut found = Vec::new();
        let tasks = std::fs::read_dir(TASKS);
        for task in tasks.map_err(|error| io::Error::new(error.kind(), format!("{TASKS}: {error}")))? {
            found.extend(task?.file_name().to_str().and_then(|number| number.parse::<libc::pid_t>().ok()));
        }
        found.retain(|thread| !known.contains(thread));
        if found.is_empty() {
            return Ok(());
        }
        for thread in found {
            tell(signal, thread)?;
            known.push(thread);
        }
    }
}

/// Sends the signal to one thread, and waits until it has done what is ordered, or is gone.
fn tell(signal: libc::c_int, thread: libc::pid_t) -> io::Result<()> {
    /// A thread that has a processor takes microseconds.
    const PATIENCE: Duration = Duration::from_secs(10);
    let done = DONE.load(Ordering::Acquire);
    let deadline = Instant::now() + PATIENCE;
    let mut sent = false;
    while DONE.load(Ordering::Acquire) == done {
        // SAFETY: takes integers only; signal 0 is only asked for.
        let send = |signal: libc::c_int| unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
        match check(send(if sent { 0 } else { signal }) as i32) {
            Ok(_) => sent = true,
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            // As many signals wait as this user may have waiting (`ulimit -i`).
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) && Instant::now() < deadline => {}
            Err(e) => return Err(io::Error::new(e.kind(), format!("a signal to thread {thread}: {e}"))),
        }
        if Instant::now() > deadline {
            let line = format!("thread {thread} of this process does not answer");
            return Err(io::Error::new(io::ErrorKind::TimedOut, line));
        }
        thread::yield_now();
    }
    Ok(())
}

/// Whether this user may make files in `folder`, or write it if it is a file, and reach it without
/// any capability.
pub fn may_write_plainly(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: take no arguments, cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let Ok(whole) = folder.canonicalize() else { return false };
    whole.ancestors().enumerate().all(|(n, at)| {
        let wanted = match n {
            0 if !at.is_dir() => 0o2,
            0 => 0o3,
            _ => 0o1,
        };
        let shift = |found: &std::fs::Metadata| match () {
            () if found.uid() == user => 6,
            () if found.gid() == group => 3,
            () => 0,
        };
        at.metadata().is_ok_and(|found| found.mode() >> shift(&found) & wanted == wanted)
    })
}
