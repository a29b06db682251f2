//! Network interfaces: TAP devices, flags and counters; sockets that carry descriptors.

use super::check;
use super::link::LinkSocket;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The number of the interface that is called `name`, by its name or by one of its others.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let own = CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: own is a C string.
    match unsafe { libc::if_nametoindex(own.as_ptr()) } {
        // It knows no name of 16 bytes or more; others may have as many as 127.
        0 if name.len() >= libc::IFNAMSIZ => interface_index(&LinkSocket::open()?.called(name)?.name),
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Opens the TAP device `name`, which comes into being if there is none and goes
/// with the file if it did. Reads and writes are whole frames and never wait;
/// the kernel leaves no work to offloads.
pub fn open_tap(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    Ok(file)
}

/// How many frames the kernel keeps for the reader of a TAP device, or for a
/// driver that is busy.
pub fn set_queue_length(name: &str, frames: i32) -> io::Result<()> {
    let (socket, _) = flags(name)?;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_ifindex = frames;
    // SAFETY: SIOCSIFTXQLEN reads an ifreq, of which it takes an int.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCSIFTXQLEN, &request) }).map(drop)
}

/// Not in the libc crate for this system yet (linux/sockios.h).
const SIOCSIFTXQLEN: libc::c_ulong = 0x8943;

/// The kernel's counters of interfaces, in the network namespace of the thread
/// that opened them (`/proc/net/dev`).
#[derive(Debug)]
pub struct InterfaceCounters(File);

impl InterfaceCounters {
    /// Opens those of this thread's namespace.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/thread-self/net/dev").map(InterfaceCounters)
    }

    /// Frames that `name` was to send and dropped; none if it is not there.
    pub fn tx_dropped(&self, name: &str) -> io::Result<Option<u64>> {
        let mut text = String::new();
        (&self.0).rewind()?;
        (&self.0).read_to_string(&mut text)?;
        Ok(tx_dropped(&text, name))
    }
}

/// The twelfth number behind the name: eight of receiving, then bytes, packets,
/// errors and drops of sending.
fn tx_dropped(table: &str, name: &str) -> Option<u64> {
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    row.split_whitespace().nth(11)?.parse().ok()
}

/// Whether an interface is up and has carrier.
pub fn is_running(name: &str) -> io::Result<bool> {
    let wanted = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(i32::from(flags(name)?.1) & wanted == wanted)
}

/// Brings an interface up.
pub fn bring_up(name: &str) -> io::Result<()> {
    let (socket, flags) = flags(name)?;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) }).map(drop)
}

fn flags(name: &str) -> io::Result<(OwnedFd, libc::c_short)> {
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut request = request(name)?;
    // SAFETY: SIOCGIFFLAGS writes an ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) })?;
    // SAFETY: that call fills the flags in.
    Ok((socket, unsafe { request.ifr_ifru.ifru_flags }))
}

/// An `ifreq` for an interface by name.
pub(super) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is a name and a union of integers.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Receives up to `into.len()` bytes and the file descriptors that come with
/// them, at most `max_fds`, closed on exec; how many bytes. 0 is the end.
pub fn receive_with_fds(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    max_fds: usize,
) -> io::Result<usize> {
    // Room for max_fds descriptors, aligned for the kernel's headers.
    let mut control = vec![0_u64; 2 + max_fds.div_ceil(2) + 2];
    let mut vector = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(control.as_slice());
    // SAFETY: message points to live buffers of the sizes it names.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel filled message and control in.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return whole headers within control.
        let (level, kind, len) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN only computes.
            let bytes = len - unsafe { libc::CMSG_LEN(0) } as usize;
            for i in 0..bytes / mem::size_of::<RawFd>() {
                // SAFETY: the data holds that many descriptors, which the kernel
                // has just made for us alone.
                fds.push(unsafe {
                    OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().add(i).read_unaligned())
                });
            }
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        header = unsafe { libc::CMSG_NXTHDR(&message, header) };
    }
    Ok(n)
}

/// Sends `bytes`, and with the first of them copies of `fds`; how many bytes.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let data = mem::size_of_val(fds) as u32;
    let mut control = vec![0_u64; 2 + fds.len().div_ceil(2)];
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute; control has room for a
        // header and the descriptors behind it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(data) as usize;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(data) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(header), data as usize);
        }
    }
    // SAFETY: message points to live buffers of the sizes it names.
    let n = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Connects to a socket of whole messages (`SOCK_SEQPACKET`), which the standard
/// library does not make; each read and write is one message.
pub fn connect_to_messages(path: &Path) -> io::Result<UnixStream> {
    let (address, len) = address(path)?;
    // SAFETY: takes no pointer.
    let socket = check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor, for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: address is readable, ends with a zero and has the size that is passed.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket.into())
}

/// Listens at a socket that nobody can connect to but by this mode, less the umask's,
/// from the moment it has its name: Linux takes it over from the socket (unix(7), `bind`).
pub fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let (address, len) = address(path)?;
    // SAFETY: takes no pointer.
    let socket = check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor, for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let fd = socket.as_raw_fd();
    // SAFETY: takes no pointer.
    check(unsafe { libc::fchmod(fd, mode) })?;
    // SAFETY: address is readable, ends with a zero and has the size that is passed.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), len) })?;
    // SAFETY: takes no pointer. The kernel keeps as many as it will.
    check(unsafe { libc::listen(fd, libc::SOMAXCONN) })?;
    Ok(socket.into())
}

/// Ends the wait of the thread that accepts at this socket, with an error, and all later ones.
pub fn stop_listening(listener: &UnixListener) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) }).map(drop)
}

/// User and process id at the other end of a connection: of a server, of the one that
/// listened (`SO_PEERCRED`).
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<(u32, i32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = mem::size_of_val(&peer) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: peer is writable, and its size is passed.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut peer).cast(), &mut len) })?;
    Ok((peer.uid, peer.pid))
}

/// The address of a socket that has a path, and the address's size.
fn address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    address.sun_path.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as libc::c_char);
    Ok((address, mem::size_of_val(&address) as libc::socklen_t))
}

/// Gives this thread a network namespace of its own, with nothing in it, that
/// goes when the thread does.
#[cfg(test)]
pub fn leave_namespace() -> io::Result<()> {
    // SAFETY: takes an integer; concerns this thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_the_first_and_runs() {
        assert_eq!(interface_index("lo").unwrap(), 1);
        assert!(is_running("lo").unwrap());
    }

    #[test]
    fn the_drops_of_sending_are_the_twelfth_column() {
        let table = "Inter-|   Receive                            |  Transmit\n face |bytes packets errs drop|...\n\
            \x20   lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  tap0:21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36\n";
        assert_eq!((tx_dropped(table, "lo"), tx_dropped(table, "tap0")), (Some(12), Some(32)));
        assert_eq!((tx_dropped(table, "tap"), tx_dropped(table, "ap0")), (None, None));
        assert_eq!(InterfaceCounters::open().unwrap().tx_dropped("lo").unwrap(), Some(0));
    }

    #[test]
    fn an_interface_that_cannot_be_is_no_device() {
        for name in ["", "no-such-device-x", "nul\0", "a-name-that-is-too-long"] {
            let error = is_running(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name}");
            assert!(interface_index(name).is_err());
        }
    }
}
