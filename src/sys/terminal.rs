//! What a terminal says of itself.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

/// Columns of the terminal that `stream` leads to (`TIOCGWINSZ`, tty_ioctl(4)); 0 of one that does not
/// know how wide it is, as a serial line.
///
/// # Errors
/// If it leads to no terminal.
pub fn columns(stream: impl AsFd) -> io::Result<u16> {
    // SAFETY: all zeros are a valid value of this structure of integers.
    let mut size: libc::winsize = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes `size` alone.
    match unsafe { libc::ioctl(stream.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &mut size) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(size.ws_col),
    }
}
