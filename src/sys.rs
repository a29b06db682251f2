//! Thin safe wrappers of the few libc calls that the standard library lacks.
//!
//! Each does one call, turns its failure into an [`io::Error`] and holds no
//! policy: what a failure means is for the caller to say.

#![allow(unsafe_code)]

mod beside;
pub mod bus;
#[cfg(feature = "cli")]
pub mod confine;
mod event;
#[cfg(feature = "cli")]
mod heap;
pub mod link;
mod memory;
pub mod net;
pub mod packet;
mod roots;
pub mod shared;
#[cfg(feature = "cli")]
pub mod signals;
#[cfg(target_arch = "x86_64")]
pub mod stores;
mod terminal;
#[cfg(target_arch = "x86_64")]
pub mod trace;
pub mod word;
pub mod xdp;

pub use beside::Beside;
pub use event::{EventFd, adopt_eventfd, has_room, wait_any, wait_readable};
#[cfg(feature = "cli")]
pub use heap::Heap;
pub use memory::*;
pub use roots::Roots;
pub use terminal::columns as terminal_columns;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether standard output was closed when the program was started.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks before the standard library does, which opens `/dev/null` in place of
/// what is closed, so that no file gets its number: what is written there is
/// lost, and nothing says so.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: reads the flags of a descriptor, which need not be open.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    CLOSED.store(flags < 0, Ordering::Relaxed);
}

/// Standard output.
///
/// # Errors
/// If it was closed when the program was started: nothing would get anywhere.
pub fn standard_output() -> io::Result<io::Stdout> {
    // Names the look, so that it is linked wherever this is.
    std::hint::black_box(&raw const LOOK);
    if CLOSED.load(Ordering::Relaxed) {
        return Err(io::Error::other("standard output is closed, so nothing can be written to it"));
    }
    Ok(io::stdout())
}

/// Nanoseconds of `CLOCK_MONOTONIC_RAW`: the hardware's rate, never slewed.
pub fn monotonic_raw_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC_RAW)
}

/// Nanoseconds since 1970 of `CLOCK_REALTIME`; 0 before that.
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// Nanoseconds of processor time that this thread has had.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time is a valid timespec to write to; these clocks exist on every
    // Linux since 2.6.28, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + time.tv_nsec as u64
}

/// Another descriptor of the file that `fd` is open on, closed on exec.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer; a number that is not open fails with EBADF.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel just made this descriptor, for us alone.
        new => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
    }
}

/// The processors this thread may run on, lowest first.
pub fn affinity() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is a bit array; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: set is writable and its true size is passed; 0 is this thread.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the index stays below CPU_SETSIZE, the size of the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Lets this thread run on `cpus` only.
pub fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: cpu_set_t is a bit array; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the index was just checked against the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: set is readable and its true size is passed; 0 is this thread.
    match unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process may open the file at `path` to read and to write.
pub fn may_read_and_write(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: path ends with a zero byte and is only read.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::R_OK | libc::W_OK, libc::AT_EACCESS) == 0 }
}

/// Bytes of memory that this process may lock (`ulimit -l`); none means any amount.
pub fn memlock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a valid rlimit to write to.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Bytes of memory that can be had without swapping, as the kernel estimates it.
pub fn memory_available() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// The processor this thread runs on at this moment.
pub fn current_cpu() -> Option<usize> {
    // SAFETY: takes no arguments and touches no memory of ours.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Name, address and bits of the network of each IPv4 address of an interface.
pub fn ipv4_addresses() -> io::Result<Vec<(String, Ipv4Addr, u8)>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: list is writable; on success it is ours until freeifaddrs.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let word = |address: *const libc::sockaddr| {
        // SAFETY: null or a socket address of the list, which has not been freed;
        // an AF_INET one is a sockaddr_in.
        unsafe {
            let inet = !address.is_null() && i32::from((*address).sa_family) == libc::AF_INET;
            inet.then(|| u32::from_be((*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr))
        }
    };
    let mut found = Vec::new();
    let mut entry = list.cast_const();
    // SAFETY: entry is null or an element of the list.
    while let Some(interface) = unsafe { entry.as_ref() } {
        if let Some(address) = word(interface.ifa_addr) {
            // SAFETY: the name is a string of the list.
            let label = unsafe { CStr::from_ptr(interface.ifa_name) }.to_string_lossy();
            // An address may carry a label, eth0:1, in the name's place.
            let name = label.split(':').next().unwrap_or_default().to_string();
            let prefix = word(interface.ifa_netmask).map_or(32, |mask| mask.count_ones() as u8);
            found.push((name, Ipv4Addr::from_bits(address), prefix));
        }
        entry = interface.ifa_next;
    }
    // SAFETY: the list that getifaddrs gave, freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// The user whose rights this process has.
pub fn effective_user() -> u32 {
    // SAFETY: takes no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

/// Locks the byte at `offset` of a file for this open of it; false if another
/// has it. The kernel frees it with the last descriptor of this open, however
/// the process ends (`F_OFD_SETLK`).
pub fn lock_byte(file: &File, offset: u64) -> io::Result<bool> {
    match fcntl_lock(file, libc::F_OFD_SETLK, libc::F_WRLCK, offset) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Frees a byte that [`lock_byte`] locked.
pub fn unlock_byte(file: &File, offset: u64) -> io::Result<()> {
    fcntl_lock(file, libc::F_OFD_SETLK, libc::F_UNLCK, offset).map(drop)
}

/// Whether another open of the file has locked this byte.
pub fn byte_is_locked(file: &File, offset: u64) -> io::Result<bool> {
    let lock = fcntl_lock(file, libc::F_OFD_GETLK, libc::F_WRLCK, offset)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// The same, but for locks that can be had of a file that is open for reading only.
pub fn byte_is_locked_for_writing(file: &File, offset: u64) -> io::Result<bool> {
    let lock = fcntl_lock(file, libc::F_OFD_GETLK, libc::F_RDLCK, offset)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Whether anybody has the file open for writing, this process too; `file` must be
/// open for reading only. A lease that is taken and given back at once
/// (`F_SETLEASE`) is refused then.
///
/// # Errors
/// If the kernel does not say: the file is another user's, or its file system has
/// no leases.
pub fn is_open_for_writing(file: &File) -> io::Result<bool> {
    // Who opens the file while the lease is held makes the kernel send SIGIO, which
    // would end this program.
    // SAFETY: SIG_IGN is no function of ours; no memory is involved.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    // SAFETY: the descriptor is open; no memory is involved.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) }) {
        Ok(_) => {
            // SAFETY: as above. Closing the file would give it back as well.
            check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) })?;
            Ok(false)
        }
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(e) => Err(e),
    }
}

fn fcntl_lock(file: &File, command: i32, kind: i32, offset: u64) -> io::Result<libc::flock> {
    // SAFETY: flock is plain integers; l_pid must be 0 for these commands.
    let mut lock: libc::flock = unsafe { mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    lock.l_len = 1;
    // SAFETY: the descriptor is open and lock is a valid flock to read and write.
    check(unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) })?;
    Ok(lock)
}

/// Makes sure that the file system has room for these bytes of a file.
pub fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let signed = |n| i64::try_from(n).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    // SAFETY: the descriptor is open; no memory is involved.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, signed(offset)?, signed(len)?) }).map(drop)
}

/// Gives the memory or the disk blocks behind these bytes of a file back; they
/// read as zeroes then.
pub fn release(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let signed = |n| i64::try_from(n).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the descriptor is open; no memory is involved.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, signed(offset)?, signed(len)?) }).map(drop)
}

/// Writes bytes at `offset` of a file, on to the disk at once and out of the page cache when
/// they are there (Linux 6.14, RWF_DONTCACHE); how many bytes that were.
///
/// # Errors
/// EOPNOTSUPP, ENOSYS or EINVAL where the kernel or the file system cannot; what writing meets.
pub fn write_uncached(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the descriptor is open; part names bytes that live through the call and are only read.
    let done = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const part, 1, offset, libc::RWF_DONTCACHE) };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

/// Has the kernel begin to write these bytes of a file to the disk; waits at most until the disk
/// takes more requests.
pub fn begin_write_back(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let signed = |n| i64::try_from(n).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    // SAFETY: the descriptor is open; no memory is involved.
    let result =
        unsafe { libc::sync_file_range(file.as_raw_fd(), signed(offset)?, signed(len)?, libc::SYNC_FILE_RANGE_WRITE) };
    check(result).map(drop)
}

/// Whether a regular file at `path`, or one that is made there, is in memory: in a tmpfs, or a
/// ramfs. What is behind a pipe or a device is not.
pub fn is_in_memory(path: &Path) -> bool {
    /// Linux, include/uapi/linux/magic.h.
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let at = match path.metadata() {
        Ok(found) if !found.is_file() => return false,
        Ok(_) => path,
        Err(_) => folder,
    };
    let Ok(at) = CString::new(at.as_os_str().as_bytes()) else { return false };
    // SAFETY: statfs is plain integers.
    let mut said: libc::statfs = unsafe { mem::zeroed() };
    // SAFETY: the path ends with a zero and lives through the call, and said may be written.
    let result = unsafe { libc::statfs(at.as_ptr(), &mut said) };
    // Of other types with musl.
    #[allow(clippy::unnecessary_cast)]
    let (kind, tmpfs) = (said.f_type as i64, libc::TMPFS_MAGIC as i64);
    result == 0 && [tmpfs, RAMFS_MAGIC].contains(&kind)
}

/// What strftime(3) makes of `pattern` in local time, `seconds` after 1970.
///
/// # Errors
/// EINVAL if it makes nothing, or more than a path may have.
pub fn local_time(pattern: &CStr, seconds: i64) -> io::Result<Vec<u8>> {
    // SAFETY: tm is plain integers and a pointer that may be null.
    let mut tm: libc::tm = unsafe { mem::zeroed() };
    #[allow(clippy::unnecessary_cast)]
    let seconds = seconds as libc::time_t;
    // SAFETY: both are plain memory that lives through the call.
    let found = unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    let mut text = vec![0_u8; libc::PATH_MAX as usize];
    let len = match found.is_null() {
        true => 0,
        // SAFETY: text may be written for as many bytes as are said, pattern ends with a zero.
        false => unsafe { libc::strftime(text.as_mut_ptr().cast(), text.len(), pattern.as_ptr(), &raw const tm) },
    };
    text.truncate(len);
    if text.is_empty() { Err(io::Error::from_raw_os_error(libc::EINVAL)) } else { Ok(text) }
}

/// -1 as the error that `errno` names.
fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Mounts a file system of `kind` on `directory`.
pub fn mount(source: &str, directory: &Path, kind: &str, options: &str) -> io::Result<()> {
    let (source, kind, options) = (CString::new(source)?, CString::new(kind)?, CString::new(options)?);
    let directory = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: all pointers are to strings that live through the call.
    let failed = unsafe {
        libc::mount(
            source.as_ptr(),
            directory.as_ptr(),
            kind.as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV,
            options.as_ptr().cast(),
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives this thread, and what it starts, a mount namespace of its own: what is
/// mounted from now on is seen by nobody else.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the kernel reads the path and ignores the others for these flags.
    check(unsafe { libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) }).map(drop)
}

/// Shows the file or directory `from` at `to` as well.
pub fn bind_mount(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (CString::new(from.as_os_str().as_bytes())?, CString::new(to.as_os_str().as_bytes())?);
    let (none, flags) = (std::ptr::null(), libc::MS_BIND);
    // SAFETY: both paths are strings that live through the call; a bind mount has no options.
    check(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), none, flags, none.cast()) }).map(drop)
}

/// Has a command killed when this thread ends, however it ends.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: takes no pointer, and is allowed between fork and exec.
    let bind = || check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop);
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(bind) };
}

/// Makes a named pipe that only this user can open.
pub fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that lives through the call.
    check(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }).map(drop)
}

/// Takes the file system off `directory`; fails if it is in use.
pub fn unmount(directory: &Path) -> io::Result<()> {
    let directory = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: the pointer is to a string that lives through the call.
    if unsafe { libc::umount2(directory.as_ptr(), libc::UMOUNT_NOFOLLOW) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Number of the user `name`, wherever users are kept.
pub fn user_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; NAME_BUFFER];
    // SAFETY: passwd is plain data; all zeroes is a valid value.
    let mut entry: libc::passwd = unsafe { mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live memory of the sizes passed.
    unsafe { libc::getpwnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found) };
    (!found.is_null()).then_some(entry.pw_uid)
}

/// Number of the group `name`, wherever groups are kept.
pub fn group_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; NAME_BUFFER];
    // SAFETY: group is plain data; all zeroes is a valid value.
    let mut entry: libc::group = unsafe { mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live memory of the sizes passed.
    unsafe { libc::getgrnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found) };
    (!found.is_null()).then_some(entry.gr_gid)
}

/// Room for an entry's strings; the members of a large group take most.
const NAME_BUFFER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_pinned_to_one_processor_runs_there() {
        std::thread::spawn(|| {
            let allowed = affinity().unwrap();
            let last = *allowed.last().unwrap();
            set_affinity(&[last]).unwrap();
            assert_eq!(affinity().unwrap(), [last]);
            assert_eq!(current_cpu(), Some(last));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_duplicate_is_another_descriptor_and_a_closed_one_has_none() {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_ne!(duplicate(file.as_raw_fd()).unwrap().as_raw_fd(), file.as_raw_fd());
        assert_eq!(duplicate(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_processor_that_cannot_exist_is_refused() {
        assert_eq!(set_affinity(&[usize::MAX]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(set_affinity(&[]).is_err(), "no processor at all");
    }

    #[test]
    fn the_loopback_address_is_among_the_addresses() {
        let loopback = ("lo".to_string(), Ipv4Addr::LOCALHOST, 8);
        assert!(ipv4_addresses().unwrap().contains(&loopback));
    }

    #[test]
    fn a_byte_is_locked_for_one_open_of_a_file_at_a_time() {
        let first = tempfile::tempfile().unwrap();
        let path = format!("/proc/self/fd/{}", first.as_raw_fd());
        let second = File::options().read(true).write(true).open(path).unwrap();
        assert!(lock_byte(&first, 1).unwrap());
        assert!(!lock_byte(&second, 1).unwrap() && lock_byte(&second, 0).unwrap());
        assert!(byte_is_locked(&second, 1).unwrap() && !byte_is_locked(&first, 1).unwrap());
        drop(first);
        assert!(!byte_is_locked(&second, 1).unwrap());
    }

    #[test]
    fn users_and_groups_have_numbers() {
        assert_eq!((user_id("root"), group_id("root")), (Some(0), Some(0)));
        assert_eq!((user_id("nobody of this name"), group_id("a\0b")), (None, None));
    }
}
