//! Raw access to network interfaces: packet sockets and TAP devices.

use super::check;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What the kernel says of a frame besides its bytes (`struct virtio_net_hdr`):
/// work that it left for hardware that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// The checksum from `checksum_start` on, at `checksum_start + checksum_offset`,
    /// is not filled in (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    pub checksum: bool,
    /// How a super-frame is to be split, `VIRTIO_NET_HDR_GSO_*`; 0 is not at all.
    pub gso: u8,
    /// Payload of each part.
    pub gso_size: u16,
    /// Where the transport header begins.
    pub checksum_start: u16,
    /// Where in it the checksum is.
    pub checksum_offset: u16,
}

/// A frame that [`receive`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its length; longer than the buffer if it was cut.
    pub len: usize,
    /// What is left to do.
    pub offloads: Offloads,
    /// VLAN tag that the kernel took out: type and control information.
    pub vlan: Option<(u16, u16)>,
    /// The kernel sent it out here; it did not come in.
    pub outgoing: bool,
}

/// Size of `struct virtio_net_hdr`.
const HEADER: usize = 10;

/// The number of the interface `name`.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: name is a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A socket that receives every frame on an interface and sends whole frames,
/// without ever waiting. It sees frames as the kernel has them, with
/// [`Offloads`], and what comes from outside only.
pub fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    let every = (libc::ETH_P_ALL as u16).to_be();
    let flags = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Protocol 0 receives nothing yet: not before it is bound to the interface.
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, flags, 0) })?;
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_packet_option(&socket, libc::PACKET_VNET_HDR, &1_i32)?;
    set_packet_option(&socket, libc::PACKET_AUXDATA, &1_i32)?;
    // Linux 4.20; before that, `Received::outgoing` tells.
    let _ = set_packet_option(&socket, PACKET_IGNORE_OUTGOING, &1_i32);
    let promiscuous = libc::packet_mreq {
        mr_ifindex: index as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_packet_option(&socket, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;
    // SAFETY: sockaddr_ll is plain integers.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = every;
    address.sll_ifindex = index as i32;
    // SAFETY: address is a sockaddr_ll of the size that is passed.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) })?;
    Ok(socket)
}

/// Not in the libc crate yet (linux/if_packet.h).
const PACKET_IGNORE_OUTGOING: i32 = 23;

fn set_packet_option<T>(socket: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let (value, len) = ((&raw const *value).cast(), size_of::<T>() as u32);
    // SAFETY: value points to len readable bytes.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value, len) }).map(drop)
}

/// Asks for a receive buffer of this many bytes; the kernel gives what it may.
pub fn set_receive_buffer(socket: &OwnedFd, bytes: i32) {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        let value = (&raw const bytes).cast();
        // SAFETY: value points to an int, whose size is passed.
        let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, 4) };
        if result == 0 {
            return;
        }
    }
}

/// Reads a frame from a [`packet_socket`] into `frame`.
pub fn receive(socket: &OwnedFd, frame: &mut [u8]) -> io::Result<Received> {
    let mut header = [0_u8; HEADER];
    let mut parts = [
        libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER },
        libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() },
    ];
    // Room for one tpacket_auxdata with its header, aligned as a cmsghdr.
    let mut control = [0_u64; 8];
    // SAFETY: sockaddr_ll and msghdr are plain integers and pointers.
    let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of_val(&from) as u32;
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in message leads to memory of the length beside it,
    // borrowed mutably until the call returns.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_TRUNC) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Received {
        len: (len as usize).saturating_sub(HEADER),
        offloads: offloads(header),
        vlan: vlan(&message),
        outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
    })
}

fn offloads(header: [u8; HEADER]) -> Offloads {
    let [flags, gso, _, _, c, d, e, f, g, h] = header;
    // "Legacy": in the byte order of this machine.
    Offloads {
        checksum: flags & 1 != 0,
        gso,
        gso_size: u16::from_ne_bytes([c, d]),
        checksum_start: u16::from_ne_bytes([e, f]),
        checksum_offset: u16::from_ne_bytes([g, h]),
    }
}

fn vlan(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel has filled message in; its control buffer is alive.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null or a header inside the control buffer, which is aligned.
    while let Some(head) = unsafe { control.as_ref() } {
        if (head.cmsg_level, head.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            // SAFETY: PACKET_AUXDATA carries a tpacket_auxdata, maybe unaligned.
            let aux: libc::tpacket_auxdata =
                unsafe { libc::CMSG_DATA(control).cast::<libc::tpacket_auxdata>().read_unaligned() };
            let valid = aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            let kind = if aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { aux.tp_vlan_tpid } else { 0x8100 };
            return valid.then_some((kind, aux.tp_vlan_tci));
        }
        // SAFETY: control is a header of message.
        control = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
    None
}

/// Sends a whole frame on a [`packet_socket`].
pub fn send(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    let header = [0_u8; HEADER];
    let parts = [
        libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: HEADER },
        libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() },
    ];
    // SAFETY: both parts are readable for their lengths; writev only reads them.
    let sent = unsafe { libc::writev(socket.as_raw_fd(), parts.as_ptr(), parts.len() as i32) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
fn request(name: &str) -> io::Result<libc::ifreq> {
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
#[cfg(test)]
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
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    address.sun_path.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as libc::c_char);
    // SAFETY: takes no pointer.
    let socket = check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor, for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let len = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: address is readable, ends with a zero and has the size that is passed.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket.into())
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
    fn an_interface_that_cannot_be_is_no_device() {
        for name in ["", "no-such-device-x", "nul\0", "a-name-that-is-too-long"] {
            let error = is_running(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name}");
            assert!(interface_index(name).is_err());
        }
    }
}
