//! Watching another program: a thin layer over ptrace(2), for x86-64.
//!
//! All calls must come from the thread that started the program.

#![allow(unsafe_code)]

use super::check;
use std::ffi::c_void;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;

/// Process or thread.
pub type Pid = i32;

/// General registers of a stopped thread.
pub type Registers = libc::user_regs_struct;

/// Vector registers of a stopped thread.
pub type Vectors = libc::user_fpregs_struct;

/// Why [`wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ended by itself with this exit code.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// It stopped because this signal is about to be delivered.
    Signal(i32),
    /// It stopped as another program began in its place.
    Exec,
    /// It is about to map or unmap huge pages, or to unlink a file that may be of some; [`resume_to_end_of_call`] has it do so.
    HugePages,
    /// The call that it was resumed in is done.
    CallDone,
    /// It stopped at a clone or fork.
    Other,
}

/// A statement of a filter, and where it goes if it is and is not so: over so many.
const fn statement(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
}

/// Stops at the calls that huge pages come and go by, for the kernel to run at each
/// call (seccomp(2), struct seccomp_data): mmap with MAP_HUGETLB, mmap and munmap of
/// whole pages of 2 MiB that may be shared with a file, and unlink, which takes a file's
/// name away.
static HUGE_PAGES: [libc::sock_filter; 14] = {
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const LENGTH: u32 = 16 + 8;
    const FLAGS: u32 = 16 + 3 * 8;
    const X86_64: u32 = 0xc000_003e;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ANY_OF: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    [
        statement(LOAD, ARCHITECTURE, 0, 0),
        statement(EQUAL, X86_64, 0, 10),
        statement(LOAD, NUMBER, 0, 0),
        statement(EQUAL, libc::SYS_munmap as u32, 6, 0),
        statement(EQUAL, libc::SYS_unlink as u32, 8, 0),
        statement(EQUAL, libc::SYS_unlinkat as u32, 7, 0),
        statement(EQUAL, libc::SYS_mmap as u32, 0, 5),
        statement(LOAD, FLAGS, 0, 0),
        statement(ANY_OF, libc::MAP_HUGETLB as u32, 4, 0),
        statement(ANY_OF, libc::MAP_SHARED as u32, 0, 2),
        statement(LOAD, LENGTH, 0, 0),
        statement(ANY_OF, (2 << 20) - 1, 0, 1),
        statement(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        statement(RETURN, libc::SECCOMP_RET_TRACE, 0, 0),
    ]
};

/// Starts a program that stops at its first instruction, and from then on at each
/// signal and where huge pages come or go. It is killed when this thread ends,
/// however that happens.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let traced = || {
        // SAFETY: neither call takes a pointer; both are allowed between fork and exec.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // SAFETY: as above.
        check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } as i32)?;
        let filter = libc::sock_fprog { len: HUGE_PAGES.len() as u16, filter: HUGE_PAGES.as_ptr().cast_mut() };
        // SAFETY: as above; the filter is only read.
        check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) }).map(drop)
    };
    // SAFETY: the closure makes three system calls and allocates nothing.
    unsafe { command.pre_exec(traced) };
    command.spawn()
}

/// What stops at a filter (linux/ptrace.h).
const EVENT_SECCOMP: i32 = 7;

/// Also stops what the program starts, and kills all of it with this thread.
pub fn follow(pid: Pid) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | 1 << EVENT_SECCOMP
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: takes no pointer; fails if the thread is not ours.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) } as i32).map(drop)
}

/// Waits for `pid`, or for any thread there is.
pub fn wait(pid: Option<Pid>) -> io::Result<(Pid, Event)> {
    let mut status = 0;
    let pid = loop {
        // SAFETY: status is writable.
        match check(unsafe { libc::waitpid(pid.unwrap_or(-1), &mut status, libc::__WALL) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    let event = if libc::WIFEXITED(status) {
        Event::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Event::Killed(libc::WTERMSIG(status))
    } else if status >> 16 == libc::PTRACE_EVENT_EXEC {
        Event::Exec
    } else if status >> 16 == EVENT_SECCOMP {
        Event::HugePages
    } else if status >> 16 != 0 {
        Event::Other
    } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
        Event::CallDone
    } else {
        Event::Signal(libc::WSTOPSIG(status))
    };
    Ok((pid, event))
}

/// Lets a stopped thread go on, with `signal` delivered unless it is 0.
pub fn resume(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, signal) } as i32).map(drop)
}

/// Lets a thread that stopped before a call go on until that is done.
pub fn resume_to_end_of_call(pid: Pid) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, 0) } as i32).map(drop)
}

/// Lets a stopped thread go on for one instruction.
pub fn step(pid: Pid) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) } as i32).map(drop)
}

/// Address that the signal a thread stopped at is about.
pub fn fault_address(pid: Pid) -> io::Result<u64> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: info is writable and of the size that is written.
    check(unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, pid, 0, info.as_mut_ptr()) } as i32)?;
    // SAFETY: filled in by the kernel; plain integers.
    Ok(unsafe { info.assume_init().si_addr() } as u64)
}

/// General registers of a stopped thread.
pub fn registers(pid: Pid) -> io::Result<Registers> {
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut registers: Registers = unsafe { mem::zeroed() };
    // SAFETY: writable and of the size that is written.
    check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut registers) } as i32)?;
    Ok(registers)
}

/// Sets them.
pub fn set_registers(pid: Pid, registers: &Registers) -> io::Result<()> {
    // SAFETY: readable and of the size that is read.
    check(unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, ptr::from_ref(registers)) } as i32).map(drop)
}

/// Vector registers of a stopped thread.
pub fn vectors(pid: Pid) -> io::Result<Vectors> {
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut vectors: Vectors = unsafe { mem::zeroed() };
    // SAFETY: writable and of the size that is written.
    check(unsafe { libc::ptrace(libc::PTRACE_GETFPREGS, pid, 0, &raw mut vectors) } as i32)?;
    Ok(vectors)
}

/// Sets them.
pub fn set_vectors(pid: Pid, vectors: &Vectors) -> io::Result<()> {
    // SAFETY: readable and of the size that is read.
    check(unsafe { libc::ptrace(libc::PTRACE_SETFPREGS, pid, 0, ptr::from_ref(vectors)) } as i32).map(drop)
}

/// Reads a program's memory; how much of it was there.
pub fn read_memory(pid: Pid, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: into.len() };
    // SAFETY: local is writable; remote is checked by the kernel.
    let read = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Writes all of `bytes` into a program's memory.
pub fn write_memory(pid: Pid, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: bytes.len() };
    // SAFETY: local is only read; remote is checked by the kernel.
    match unsafe { libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) } {
        n if n as usize == bytes.len() => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}

/// Sends a signal.
pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}
