//! The trap for drivers in this process: a signal handler.
//!
//! ```text
//!   DPDK's driver      load from a register --SIGSEGV--> handler: decode, access
//!                      next instruction <----------------'
//! ```
//!
//! The signals are synchronous: the interrupted code is a driver at its
//! registers, and not an allocator or a lock of ours, so the handler may do what
//! any function may.

#![allow(unsafe_code)]

use super::decode::{self, Cpu, LONGEST};
use super::{Machine, Region, Shared};
use crate::error::{Error, Result};
use crate::sys::bus;
use std::arch::asm;
use std::ffi::c_void;
use std::io;
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The machine whose cards drivers in this process touch.
static MACHINE: OnceLock<&'static Machine> = OnceLock::new();

/// Instructions that were stepped through.
static STEPS: AtomicU64 = AtomicU64::new(0);

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

/// Brings this process's accesses to the cards of a machine.
pub struct Trap;

impl Trap {
    /// Installs the handler, for the life of the process.
    pub fn install(machine: &'static Machine) -> Result<Trap> {
        MACHINE.get_or_init(|| machine);
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            handle(signal, on_fault).map_err(|e| Error::io("installing the trap", e))?;
        }
        Ok(Trap)
    }
}

fn handle(signal: i32, handler: Handler) -> io::Result<()> {
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: action is valid, and the handler has the signature that SA_SIGINFO asks for.
    match unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo and ucontext, ours until we return.
    let (address, context) = unsafe { ((*info).si_addr() as u64, &mut *context.cast::<libc::ucontext_t>()) };
    let machine = MACHINE.get().copied();
    let ours = machine.is_some_and(|machine| served(machine, address, context));
    let outlived = || signal == libc::SIGBUS && bus::replace(address as usize);
    if !ours && !outlived() {
        // A fault of somebody's own: it happens again, and is fatal then.
        // SAFETY: SIG_DFL is always valid.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Deals with a fault; false if it is none of a card's.
fn served(machine: &'static Machine, address: u64, context: &mut libc::ucontext_t) -> bool {
    if let Some(region) = machine.region(0, address) {
        return access(machine, region, address, context);
    }
    let Some((region, shared)) = machine.learn(0, address) else { return false };
    if let Err(error) = install(&region, &shared) {
        eprintln!("bmnic: showing BAR {} to a driver: {error}", region.bar);
        return false;
    }
    machine.remember(region);
    true
}

/// Does the access that was interrupted, and moves behind it.
fn access(machine: &Machine, region: Region, address: u64, context: &mut libc::ucontext_t) -> bool {
    let registers = &mut context.uc_mcontext.gregs;
    let rip = registers[libc::REG_RIP as usize] as u64;
    // SAFETY: the kernel points it at the frame that it restores registers from.
    let vectors = unsafe { &mut (*context.uc_mcontext.fpregs)._xmm };
    let mut code = [0; LONGEST];
    let len = code_at(rip, &mut code);
    let mut cpu = Cpu { rip, flags: registers[libc::REG_EFL as usize] as u64, ..Cpu::default() };
    cpu.general.iter_mut().zip(GENERAL).for_each(|(to, from)| *to = registers[from as usize] as u64);
    for (to, from) in cpu.vector.iter_mut().zip(vectors.iter()) {
        *to = from.element.iter().rev().fold(0, |value, word| value << 32 | u128::from(*word));
    }
    if let Err(unknown) = machine.access(region, address, &code[..len], &mut cpu) {
        eprintln!(
            "bmnic: a driver touches BAR {} with an {unknown}; registers can be reached by moves and plain arithmetic only",
            region.bar
        );
        return false;
    }
    registers[libc::REG_RIP as usize] = cpu.rip as i64;
    registers[libc::REG_EFL as usize] = cpu.flags as i64;
    GENERAL.iter().zip(cpu.general).for_each(|(&to, value)| registers[to as usize] = value as i64);
    for (to, value) in vectors.iter_mut().zip(cpu.vector) {
        to.element.iter_mut().enumerate().for_each(|(i, word)| *word = (value >> (32 * i)) as u32);
    }
    true
}

/// General registers by their numbers, as the kernel's frame has them.
const GENERAL: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Copies the code at `rip`, up to the end of its page if the next is not there.
fn code_at(rip: u64, code: &mut [u8; LONGEST]) -> usize {
    let here = LONGEST.min(4096 - (rip & 4095) as usize);
    let pid = std::process::id() as i32;
    let mut len = crate::sys::trace::read_memory(pid, rip, &mut code[..here]).unwrap_or(0);
    if len == here && here < LONGEST {
        len += crate::sys::trace::read_memory(pid, rip + here as u64, &mut code[here..]).unwrap_or(0);
    }
    len
}

/// Bytes of memory that the instruction at `rip` of this process names; 0 of none.
pub fn width(rip: u64) -> u64 {
    let mut code = [0; LONGEST];
    let len = code_at(rip, &mut code);
    decode::width(&code[..len])
}

/// Replaces the mapping of a BAR by memory that faults, but for the pages in `shared`.
fn install(region: &Region, shared: &[Shared]) -> io::Result<()> {
    let map = |at: u64, len: u64, protection, flags, fd, offset: u64| {
        // SAFETY: the range is a mapping that a driver made of a BAR's file, and
        // it stays a mapping; nobody has Rust references into it.
        let mapped = unsafe {
            libc::mmap(at as *mut c_void, len as usize, protection, flags | libc::MAP_FIXED, fd, offset as libc::off_t)
        };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    let nothing = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    map(region.start, region.end - region.start, libc::PROT_NONE, nothing, -1, 0)?;
    for page in shared {
        let at = region.start + page.at;
        map(at, 4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, page.fd, page.offset)?;
    }
    Ok(())
}

/// Counts the instructions that a piece of code takes, by stepping through it.
pub struct Steps {
    /// Instructions of counting itself.
    own: u64,
}

impl Steps {
    /// Makes ready to count.
    pub fn new() -> Result<Steps> {
        handle(libc::SIGTRAP, on_step).map_err(|e| Error::io("installing the step counter", e))?;
        let own = steps(|| {});
        Ok(Steps { own })
    }

    /// Runs `code` and counts its instructions. It must not start threads.
    pub fn count(&self, code: impl FnOnce()) -> u64 {
        steps(code).saturating_sub(self.own)
    }
}

extern "C" fn on_step(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// Trap flag: the processor stops behind every instruction (Intel SDM 3 §2.3).
#[inline(never)]
fn steps(code: impl FnOnce()) -> u64 {
    let before = STEPS.load(Ordering::Relaxed);
    // SAFETY: sets the trap flag; the handler returns to where it was.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    code();
    // SAFETY: clears it.
    unsafe { asm!("pushfq", "and qword ptr [rsp], 0xfffffffffffffeff", "popfq") };
    STEPS.load(Ordering::Relaxed) - before
}
