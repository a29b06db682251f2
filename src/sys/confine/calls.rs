//! The system calls that moving packets, and writing down what came of it, takes.
//!
//! The list has those of both C libraries and of all processors that the filter is made for.
//! Others are answered as by a kernel that does not know them (`ENOSYS`): a C library that tries
//! a newer call takes the older one then, and nothing is killed in the field for a call that
//! this list should have.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Is, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule,
};
use std::collections::BTreeMap;
use std::io;

/// Which system calls stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Those that look up the names of hosts too: sockets of the internet, and what loads the
    /// C library's parts for it.
    pub names: bool,
    /// What tells the program of an AF_XDP socket which queue's it is: bpf(2) to change maps.
    pub maps: bool,
}

/// With any arguments.
const ANY: &[c_long] = &[
    // Files that are open, and those that Landlock has rules about.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fadvise64,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_memfd_create,
    libc::SYS_membarrier,
    // Threads, and their end.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Clocks, and what the machine is.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    // Sockets that are open.
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
];

/// Older names of the same, which newer processors do not have, and two that they have.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_renameat,
    libc::SYS_sync_file_range,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
/// renameat(2) and sync_file_range(2), which the crate libc does not name for all of them. Their
/// numbers are the same (include/uapi/asm-generic/unistd.h).
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[38, 84];

/// Is it so of argument `n`, of 32 bits?
fn word(n: u8, is: Is, value: i64) -> io::Result<Condition> {
    Condition::new(n, Len::Dword, is, value as u64).map_err(io::Error::other)
}

/// Has all threads, each of which has no_new_privs, make no calls but those of a filter; false if
/// the kernel was built without.
///
/// # Errors
/// What the kernel says to it.
pub(super) fn allow(filter: &BpfProgram) -> io::Result<bool> {
    // Up to Linux 5.15 a filter makes a processor hold back loads behind stores, in each thread
    // that has it, unless this is said. There is no code of others in these.
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: program leads to as many instructions as it says, of the kernel's layout; they are
    // only read.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match result {
        0 => Ok(true),
        -1 => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)) => Ok(false),
            error => Err(error),
        },
        thread => Err(io::Error::other(format!("thread {thread} has another filter of system calls"))),
    }
}

impl Calls {
    /// The filter that allows these alone; none on a processor that no filter is made for.
    ///
    /// # Errors
    /// That it cannot be made.
    pub(super) fn filter(self) -> io::Result<Option<BpfProgram>> {
        let Ok(processor) = std::env::consts::ARCH.try_into() else { return Ok(None) };
        let answer = SeccompAction::Errno(libc::ENOSYS as u32);
        let filter = SeccompFilter::new(self.rules()?, answer, SeccompAction::Allow, processor);
        filter.and_then(BpfProgram::try_from).map(Some).map_err(io::Error::other)
    }

    /// For each call the rules of which one must hold; none for any arguments.
    fn rules(self) -> io::Result<BTreeMap<c_long, Vec<Rule>>> {
        let mut rules: BTreeMap<c_long, Vec<Rule>> = ANY.iter().chain(OLD).map(|call| (*call, Vec::new())).collect();
        let mut only = |call: c_long, conditions: Vec<Condition>| -> io::Result<()> {
            rules.entry(call).or_default().push(Rule::new(conditions).map_err(io::Error::other)?);
            Ok(())
        };
        let thread = i64::from(libc::CLONE_THREAD);
        // Threads and no processes. What clone3(2) is to start is not seen here: without it the C
        // libraries take clone(2).
        only(libc::SYS_clone, vec![word(0, Is::MaskedEq(thread as u64), thread)?])?;
        let own = i64::from(std::process::id());
        only(libc::SYS_tgkill, vec![word(0, Is::Eq, own)?])?;
        // What counts its own stores (fwd --cycles) reads the instruction that made one.
        only(libc::SYS_process_vm_readv, vec![word(0, Is::Eq, own)?])?;
        only(libc::SYS_prctl, vec![word(0, Is::Eq, libc::PR_SET_NAME.into())?])?;
        only(libc::SYS_prctl, vec![word(0, Is::Eq, libc::PR_SET_VMA.into())?])?;
        // Limits of itself are asked for and not changed.
        only(libc::SYS_prlimit64, vec![Condition::new(2, Len::Qword, Is::Eq, 0).map_err(io::Error::other)?])?;
        // Nothing is typed into the terminal that the program was started from.
        only(libc::SYS_ioctl, vec![word(1, Is::Ne, libc::TIOCSTI as i64)?, word(1, Is::Ne, libc::TIOCLINUX as i64)?])?;
        only(libc::SYS_socket, vec![word(0, Is::Eq, libc::AF_NETLINK.into())?])?;
        let kind = i64::from(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC);
        // What asks for the state of an interface needs a socket to ask by.
        only(libc::SYS_socket, vec![word(0, Is::Eq, libc::AF_INET.into())?, word(1, Is::Eq, kind)?])?;
        if self.maps {
            const BPF_MAP_UPDATE_ELEM: i64 = 2;
            only(libc::SYS_bpf, vec![word(0, Is::Eq, BPF_MAP_UPDATE_ELEM)?])?;
        }
        if self.names {
            for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
                only(libc::SYS_socket, vec![word(0, Is::Eq, family.into())?])?;
            }
            rules.extend([libc::SYS_mmap, libc::SYS_mprotect].map(|call| (call, Vec::new())));
            return Ok(rules);
        }
        // No code comes into being.
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            only(call, vec![word(2, Is::MaskedEq(libc::PROT_EXEC as u64), 0)?])?;
        }
        Ok(rules)
    }
}
