//! Waiting for descriptors, and eventfds.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Waits until `fd` can be read, at most `patience`; whether it can. A signal
/// ends the wait early, so that the caller looks at its flags.
pub fn wait_readable(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time = libc::timespec {
        tv_sec: patience.as_secs().min(1 << 30) as libc::time_t,
        tv_nsec: patience.subsec_nanos().into(),
    };
    // SAFETY: one pollfd and one timespec, both valid; no signal mask.
    match check(unsafe { libc::ppoll(&mut poll, 1, &time, std::ptr::null()) }) {
        Ok(ready) => Ok(ready > 0),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(e) => Err(e),
    }
}

/// Sleeps until one of `fds` can be read, however long that takes; which is the first that can.
pub fn wait_any(fds: &[BorrowedFd<'_>]) -> io::Result<Option<usize>> {
    let poll = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polls: Vec<libc::pollfd> = fds.iter().map(poll).collect();
    let count = libc::nfds_t::try_from(polls.len()).unwrap_or(0);
    loop {
        // SAFETY: count pollfds, all valid; -1 is no end.
        match check(unsafe { libc::poll(polls.as_mut_ptr(), count, -1) }) {
            Ok(_) => return Ok(polls.iter().position(|poll| poll.revents != 0)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Whether a write to `file` would do something, be it to fail; waits for that up to `patience`.
///
/// # Errors
/// As poll(2).
pub fn has_room(file: &File, patience: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let patience = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one pollfd, which is valid.
    match check(unsafe { libc::poll(&raw mut poll, 1, patience) }) {
        Ok(_) => Ok(poll.revents != 0),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(e) => Err(e),
    }
}

/// An eventfd: what the kernel, or a model, signals an interrupt on.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one, not signalled, that never blocks.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: a fresh descriptor that nothing else owns.
        Ok(EventFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sleeps until it has been signalled since the last wait, at most
    /// `patience`; true if it was.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        if wait_readable(self.0.as_fd(), patience)? { self.clear() } else { Ok(false) }
    }

    /// Signals it: wakes who waits. A signal handler may.
    pub fn signal(&self) -> io::Result<()> {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: an eventfd takes exactly eight bytes, and one has them.
        check(unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) as i32 }).map(drop)
    }

    /// Forgets the signal; true if there was one.
    fn clear(&self) -> io::Result<bool> {
        let mut count = [0u8; 8];
        // SAFETY: an eventfd reads exactly eight bytes, and count has them.
        match check(unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) as i32 }) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Makes sure that writing to `fd`, another program's, never makes us wait.
/// False if it is not an eventfd at all.
pub fn adopt_eventfd(fd: &OwnedFd) -> io::Result<bool> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    if !link.as_os_str().as_bytes().starts_with(b"anon_inode:[eventfd") {
        return Ok(false);
    }
    // SAFETY: no memory is involved.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_seen_once_and_a_wait_without_one_ends() {
        let event = EventFd::new().unwrap();
        assert!(!event.wait(Duration::from_micros(100)).unwrap());
        event.signal().unwrap();
        assert_eq!(wait_any(&[EventFd::new().unwrap().as_fd(), event.as_fd()]).unwrap(), Some(1));
        assert!(event.wait(Duration::from_secs(5)).unwrap());
        assert!(!event.wait(Duration::ZERO).unwrap());
    }
}
