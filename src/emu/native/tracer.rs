//! The trap for any program: ptrace.
//!
//! ```text
//!   program thread     load from a register --SIGSEGV--x
//!                                                      | stopped
//!   this thread        waitpid, registers, code bytes, access, registers, continue
//! ```
//!
//! Threads of the program trap one at a time. An access takes some 10 µs, which
//! only set-up, link and statistics pay.

use super::decode::{Cpu, LONGEST};
use super::{ENVIRONMENT, Machine, Region, Shared};
use crate::error::{Error, Kind, Result};
use crate::sys::trace::{self, Event, Pid};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// How often the machine is looked after while the program touches no register.
const ROUND: Duration = Duration::from_millis(1);

/// Runs a program on `machine`, from this thread, until it ends. Meanwhile another
/// thread looks after the machine and calls `each` once a millisecond with the
/// program's process id, and a last time when it has ended.
///
/// # Errors
/// If the program cannot be started; [`Kind::Unsupported`] if it touches a register
/// with an instruction that is not known: it is killed then.
pub fn run(machine: &Machine, command: &mut Command, mut each: impl FnMut(Pid) + Send) -> Result<Ended> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut tracer = Tracer::start(machine, command)?;
        let (pid, ended) = (tracer.pid(), &ended);
        let tending = thread::Builder::new().spawn_scoped(scope, move || {
            let mut last = false;
            while !last {
                thread::sleep(ROUND);
                last = ended.load(Ordering::Acquire);
                // What fails here is a violation of the card's when it matters.
                let _ = machine.tend();
                each(pid);
            }
        });
        if let Err(error) = tending {
            tracer.end();
            return Err(Error::thread("starting the thread that looks after emulated cards", error));
        }
        let end = tracer.run();
        ended.store(true, Ordering::Release);
        end
    })
}

/// A program that runs on a machine with emulated cards.
///
/// All of it must stay on the thread that started the program. When that thread
/// ends, the program is killed with all that it started.
struct Tracer<'m> {
    machine: &'m Machine,
    main: Pid,
    /// Process of each thread that was seen.
    threads: BTreeMap<Pid, Pid>,
}

impl<'m> Tracer<'m> {
    /// Starts `command`; it runs from [`Tracer::run`] on.
    fn start(machine: &'m Machine, command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let starting = |e: io::Error| {
            let error = Error::io(format!("starting {program}"), e);
            if error.kind() == Kind::NotFound { error.hint("is it installed, and in PATH?") } else { error }
        };
        let child = trace::spawn(command.envs(ENVIRONMENT)).map_err(starting)?;
        let main = child.id() as Pid;
        let (_, event) = trace::wait(Some(main)).map_err(starting)?;
        if event != Event::Signal(libc::SIGTRAP) {
            return Err(Error::new(Kind::Io, format!("{program} ended before it began ({event:?})")));
        }
        trace::follow(main).map_err(starting)?;
        Ok(Tracer { machine, main, threads: BTreeMap::from([(main, main)]) })
    }

    /// Process id of the program.
    fn pid(&self) -> Pid {
        self.main
    }

    /// Ends the program.
    fn end(&self) {
        // It may be gone already.
        let _ = trace::kill(self.main, libc::SIGKILL);
    }

    /// Lets the program run until it ends.
    fn run(&mut self) -> Result<Ended> {
        let watching = |e| Error::io("watching the program", e);
        trace::resume(self.main, 0).map_err(watching)?;
        loop {
            let (pid, event) = trace::wait(None).map_err(watching)?;
            let signal = match event {
                Event::Exited(_) | Event::Killed(_) => {
                    self.threads.remove(&pid);
                    self.machine.forget(pid);
                    match event {
                        Event::Exited(code) if pid == self.main => return Ok(Ended::Exited(code)),
                        Event::Killed(signal) if pid == self.main => return Ok(Ended::Killed(signal)),
                        _ => continue,
                    }
                }
                Event::Exec => {
                    self.machine.forget(pid);
                    self.threads.insert(pid, pid);
                    0
                }
                Event::HugePages => match trace::resume_to_end_of_call(pid) {
                    Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(watching(e)),
                    _ => continue,
                },
                Event::CallDone => {
                    self.machine.notice_huge_pages(self.process(pid))?;
                    0
                }
                Event::Other => 0,
                // Every thread and process begins with it.
                Event::Signal(libc::SIGSTOP) if self.welcome(pid) => 0,
                Event::Signal(signal @ (libc::SIGSEGV | libc::SIGBUS)) => match self.fault(pid) {
                    Ok(true) => 0,
                    Ok(false) => signal,
                    // Killed while it was looked at.
                    Err(error) if error.kind() == Kind::Gone => continue,
                    Err(error) => {
                        self.end();
                        return Err(error);
                    }
                },
                Event::Signal(signal) => signal,
            };
            match trace::resume(pid, signal) {
                Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(watching(e)),
                _ => {}
            }
        }
    }

    /// Gets to know a thread; false if it is known.
    fn welcome(&mut self, pid: Pid) -> bool {
        if self.threads.contains_key(&pid) {
            return false;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<Pid>().ok()
        };
        let process = field("Tgid:").unwrap_or(pid);
        if process == pid
            && let Some(parent) = field("PPid:")
        {
            self.machine.inherit(parent, process);
        }
        self.threads.insert(pid, process);
        true
    }

    /// The process that a thread is of.
    fn process(&self, pid: Pid) -> Pid {
        self.threads.get(&pid).copied().unwrap_or(pid)
    }

    /// Deals with a fault; false if it is the program's own.
    fn fault(&mut self, pid: Pid) -> Result<bool> {
        let process = self.process(pid);
        let address = trace::fault_address(pid).map_err(gone)?;
        if let Some(region) = self.machine.region(process, address) {
            self.access(pid, region, address)?;
            return Ok(true);
        }
        let Some((region, shared)) = self.machine.learn(process, address) else { return Ok(false) };
        install(pid, &region, &shared)?;
        self.machine.remember(region);
        Ok(true)
    }

    /// Does the access that `pid` stopped at.
    fn access(&self, pid: Pid, region: Region, address: u64) -> Result<()> {
        let mut registers = trace::registers(pid).map_err(gone)?;
        let mut vectors = trace::vectors(pid).map_err(gone)?;
        let mut code = [0; LONGEST];
        let here = LONGEST.min(4096 - (registers.rip & 4095) as usize);
        // Two reads: the page behind it need not be there.
        let mut len = trace::read_memory(pid, registers.rip, &mut code[..here]).map_err(gone)?;
        if len == here && here < LONGEST {
            len += trace::read_memory(pid, registers.rip + here as u64, &mut code[here..]).unwrap_or(0);
        }
        let before = cpu(&registers, &vectors);
        let mut cpu = before.clone();
        self.machine.access(region, address, &code[..len], &mut cpu).map_err(|unknown| {
            Error::new(
                Kind::Unsupported,
                format!(
                    "the program (process {pid}, at {:#x}) touches BAR {} at {:#x} with an {unknown}; registers can be reached by moves and plain arithmetic only",
                    registers.rip,
                    region.bar,
                    region.offset + (address - region.start),
                ),
            )
        })?;
        registers.rip = cpu.rip;
        registers.eflags = cpu.flags;
        let general = general(&mut registers);
        general.into_iter().zip(cpu.general).for_each(|(register, value)| *register = value);
        trace::set_registers(pid, &registers).map_err(gone)?;
        if cpu.vector != before.vector {
            for (words, value) in vectors.xmm_space.chunks_exact_mut(4).zip(cpu.vector) {
                words.iter_mut().enumerate().for_each(|(i, word)| *word = (value >> (32 * i)) as u32);
            }
            trace::set_vectors(pid, &vectors).map_err(gone)?;
        }
        Ok(())
    }
}

fn gone(error: io::Error) -> Error {
    let kind = if error.raw_os_error() == Some(libc::ESRCH) { Kind::Gone } else { Kind::Io };
    Error::io("looking into the program", error).with_kind(kind)
}

/// General registers by their numbers.
fn general(r: &mut trace::Registers) -> [&mut u64; 16] {
    [
        &mut r.rax, &mut r.rcx, &mut r.rdx, &mut r.rbx, &mut r.rsp, &mut r.rbp, &mut r.rsi, &mut r.rdi, &mut r.r8,
        &mut r.r9, &mut r.r10, &mut r.r11, &mut r.r12, &mut r.r13, &mut r.r14, &mut r.r15,
    ]
}

fn cpu(registers: &trace::Registers, vectors: &trace::Vectors) -> Cpu {
    let mut registers = *registers;
    let mut cpu = Cpu { rip: registers.rip, flags: registers.eflags, ..Cpu::default() };
    cpu.general.iter_mut().zip(general(&mut registers)).for_each(|(to, from)| *to = *from);
    for (to, words) in cpu.vector.iter_mut().zip(vectors.xmm_space.chunks_exact(4)) {
        *to = words.iter().rev().fold(0, |value, word| value << 32 | u128::from(*word));
    }
    cpu
}

/// Replaces the mapping of a BAR in a program by memory that faults, but for
/// the pages in `shared`.
fn install(pid: Pid, region: &Region, shared: &[Shared]) -> Result<()> {
    let mut remote = Remote::new(pid)?;
    let done = try_install(&mut remote, region, shared);
    remote.leave()?;
    done.map_err(|e| Error::io(format!("showing BAR {} to process {pid}", region.bar), e))
}

fn try_install(remote: &mut Remote, region: &Region, shared: &[Shared]) -> io::Result<()> {
    const NOTHING: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    const SHARED: i32 = libc::MAP_SHARED | libc::MAP_FIXED;
    let (start, len) = (region.start, region.end - region.start);
    remote.call(libc::SYS_mmap, [start, len, libc::PROT_NONE as u64, NOTHING as u64, u64::MAX, 0])?;
    for page in shared {
        let path = format!("/proc/{}/fd/{}\0", std::process::id(), page.fd);
        let text = remote.scratch(path.as_bytes())?;
        let flags = (libc::O_RDWR | libc::O_CLOEXEC) as u64;
        let fd = remote.call(libc::SYS_openat, [libc::AT_FDCWD as u64, text, flags, 0, 0, 0])?;
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let mapped = remote.call(libc::SYS_mmap, [start + page.at, 4096, protection, SHARED as u64, fd, page.offset]);
        remote.call(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
        mapped?;
    }
    Ok(())
}

/// System calls that a stopped thread is made to do. They are done at a
/// `syscall` instruction of its vdso: none of its code is changed, which other
/// threads might be about to run.
struct Remote {
    pid: Pid,
    before: trace::Registers,
    syscall: u64,
    /// Signals that came meanwhile.
    held: Vec<i32>,
}

impl Remote {
    fn new(pid: Pid) -> Result<Self> {
        let before = trace::registers(pid).map_err(gone)?;
        let syscall = find_syscall(pid).ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("process {pid} has no vdso, so a BAR cannot be shown to it"))
        })?;
        Ok(Remote { pid, before, syscall, held: Vec::new() })
    }

    /// Puts bytes where the thread does not miss them: below its stack and what
    /// functions may use there without saying so (System V ABI §3.2.2).
    fn scratch(&self, bytes: &[u8]) -> io::Result<u64> {
        const RED_ZONE: u64 = 128;
        let at = (self.before.rsp - RED_ZONE - bytes.len() as u64) & !15;
        trace::write_memory(self.pid, at, bytes)?;
        Ok(at)
    }

    fn call(&mut self, number: libc::c_long, arguments: [u64; 6]) -> io::Result<u64> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let rax = number as u64;
        let registers =
            trace::Registers { rip: self.syscall, rax, orig_rax: u64::MAX, rdi, rsi, rdx, r10, r8, r9, ..self.before };
        trace::set_registers(self.pid, &registers)?;
        loop {
            trace::step(self.pid)?;
            match trace::wait(Some(self.pid))?.1 {
                Event::Signal(libc::SIGTRAP) => break,
                Event::Signal(signal) => self.held.push(signal),
                _ => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
            }
        }
        let result = trace::registers(self.pid)?.rax as i64;
        if (-4095..0).contains(&result) { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as u64) }
    }

    /// Puts the thread back where it was.
    fn leave(self) -> Result<()> {
        trace::set_registers(self.pid, &self.before).map_err(gone)?;
        for signal in self.held {
            trace::kill(self.pid, signal).map_err(gone)?;
        }
        Ok(())
    }
}

/// A `syscall` instruction in the code that the kernel gives every program.
fn find_syscall(pid: Pid) -> Option<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let mut code = vec![0; (end - start) as usize];
    let len = trace::read_memory(pid, start, &mut code).ok()?;
    let at = code[..len].windows(2).position(|bytes| bytes == [0x0f, 0x05])?;
    Some(start + at as u64)
}
