//! Thin safe wrappers of the few libc calls that the standard library lacks.
//!
//! Each does one call, turns its failure into an [`io::Error`] and holds no
//! policy: what a failure means is for the caller to say.

#![allow(unsafe_code)]

use std::io;
use std::mem;

/// Nanoseconds of `CLOCK_MONOTONIC_RAW`: the hardware's rate, never slewed.
pub fn monotonic_raw_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC_RAW)
}

/// Nanoseconds since 1970 of `CLOCK_REALTIME`; 0 before that.
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time is a valid timespec to write to; both clocks exist on every
    // Linux since 2.6.28, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + time.tv_nsec as u64
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

/// The processor this thread runs on at this moment.
pub fn current_cpu() -> Option<usize> {
    // SAFETY: takes no arguments and touches no memory of ours.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

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
    fn a_processor_that_cannot_exist_is_refused() {
        assert_eq!(set_affinity(&[usize::MAX]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(set_affinity(&[]).is_err(), "no processor at all");
    }
}
