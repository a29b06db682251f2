//! A packet socket as a card's queue has one: bound late, shared by who receives and who counts.

use super::super::{check, wait_readable};
use super::{Instruction, PACKET_IGNORE_OUTGOING, Statistics, set_option, set_receive_buffer};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Parts of frames that go out in one call, at most.
pub const PARTS: usize = 64;

/// A raw packet socket that never waits.
#[derive(Debug)]
pub struct Socket {
    pub(super) fd: OwnedFd,
    /// The program that judges what comes, if one does.
    filter: Mutex<Option<Vec<Instruction>>>,
    /// Bytes of a frame that are copied, if not all.
    keeps: Option<u32>,
}

/// The sockets of an interface that share what comes: its number, once the first is in it.
pub type Group = Arc<Mutex<Option<u16>>>;

/// Nothing: `ret #0`.
const NOTHING: Instruction = Instruction { code: 6, jt: 0, jf: 0, k: 0 };

/// Those frames pass whose tag the kernel has taken out, as its programs do not see it; others go
/// on behind it: `ld vlan_avail`, `jeq #0, 1, 0`, `ret #262144`.
const TAGGED: [Instruction; 3] = [
    Instruction { code: 0x20, jt: 0, jf: 0, k: 0xffff_f000 + 48 },
    Instruction { code: 0x15, jt: 1, jf: 0, k: 0 },
    Instruction { code: 6, jt: 0, jf: 0, k: 262_144 },
];

impl Socket {
    /// One that receives nothing yet.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn new() -> io::Result<Self> {
        let flags = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes integers only.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, flags, 0) })?;
        // SAFETY: a new descriptor that nobody else has.
        Ok(Socket { fd: unsafe { OwnedFd::from_raw_fd(fd) }, filter: Mutex::default(), keeps: None })
    }

    /// The same, of which no more than so many bytes of a frame are copied.
    pub fn keep(self, bytes: Option<u32>) -> io::Result<Self> {
        let socket = Socket { keeps: bytes, ..self };
        socket.set_filter(None)?;
        Ok(socket)
    }

    /// Sends by interface number `index` from now on, and receives what comes there if it
    /// `receives`.
    pub fn bind(&self, index: u32, receives: bool) -> io::Result<()> {
        // SAFETY: sockaddr_ll is plain integers.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = if receives { (libc::ETH_P_ALL as u16).to_be() } else { 0 };
        address.sll_ifindex = index as i32;
        // SAFETY: address is a sockaddr_ll of the size that is passed.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) })
            .map(drop)
    }

    /// The same, of a share of what comes by interface number `index`: frames of a flow go to one
    /// socket of `group`, by a hash of addresses and ports that is the same both ways. Fragments go
    /// by their addresses alone.
    pub fn join(&self, index: u32, group: &Group) -> io::Result<()> {
        const UNIQUE: u32 = 0x2000;
        let mut number = group.lock().unwrap_or_else(PoisonError::into_inner);
        let filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        // Until it is in the group it would be given all.
        self.attach(&[NOTHING])?;
        self.bind(index, true)?;
        let asked = number.map_or((libc::PACKET_FANOUT_HASH | UNIQUE) << 16, |number| {
            libc::PACKET_FANOUT_HASH << 16 | u32::from(number)
        });
        set_option(&self.fd, libc::PACKET_FANOUT, &asked)?;
        if number.is_none() {
            *number = Some(self.group()?);
        }
        match &*filter {
            Some(program) => self.attach(program),
            None => self.detach(),
        }
    }

    /// The number of the group that it is in.
    fn group(&self) -> io::Result<u16> {
        let mut group = 0_u32;
        let mut len = size_of_val(&group) as libc::socklen_t;
        let value = (&raw mut group).cast();
        // SAFETY: value points to len writable bytes.
        check(unsafe {
            libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT, value, &mut len)
        })?;
        Ok(group as u16)
    }

    /// Has the kernel leave out frames for which this program, which is as of the whole frame,
    /// returns 0; all but those whose tag it has taken out. None: it leaves out nothing. Of the
    /// others it copies as many bytes as are [kept](Socket::keep).
    ///
    /// # Errors
    /// `EINVAL` if the kernel does not take it, `ENOMEM` if it is too long; then as before.
    pub fn set_filter(&self, program: Option<&[Instruction]>) -> io::Result<()> {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = |all: Vec<Instruction>| {
            let passes = |i: &Instruction| (i.code, i.k != 0) == (NOTHING.code, true);
            all.into_iter().map(|i| Instruction { k: self.keeps.filter(|_| passes(&i)).unwrap_or(i.k), ..i }).collect()
        };
        let whole: Option<Vec<_>> = match program {
            Some(program) => Some(keep([&TAGGED, program].concat())),
            None => self.keeps.map(|bytes| vec![Instruction { k: bytes, ..NOTHING }]),
        };
        match (&whole, &*filter) {
            (Some(program), _) => self.attach(program)?,
            (None, Some(_)) => self.detach()?,
            (None, None) => {}
        }
        *filter = whole;
        Ok(())
    }

    fn attach(&self, program: &[Instruction]) -> io::Result<()> {
        let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
        let value = (&raw const filter).cast();
        // SAFETY: value points to a sock_fprog, whose size is passed, and that to as many
        // instructions as it says, laid out as sock_filter; they are only read.
        check(unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                value,
                size_of_val(&filter) as u32,
            )
        })
        .map(drop)
    }

    fn detach(&self) -> io::Result<()> {
        let nothing = 0_i32;
        let value = (&raw const nothing).cast();
        // SAFETY: value points to an int, whose size is passed.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, value, 4) })
            .map(drop)
    }

    /// Whether the kernel leaves out what it sends by the interface (Linux 4.20).
    pub fn ignore_outgoing(&self) -> bool {
        set_option(&self.fd, PACKET_IGNORE_OUTGOING, &1_i32).is_ok()
    }

    /// Has the interface receive frames for any address as long as the socket is open, or ends
    /// that.
    pub fn set_promiscuous(&self, index: u32, on: bool) -> io::Result<()> {
        self.set_membership(index, libc::PACKET_MR_PROMISC as u16, [0; 6], on)
    }

    /// The same for a group.
    pub fn set_group(&self, index: u32, group: [u8; 6], on: bool) -> io::Result<()> {
        self.set_membership(index, libc::PACKET_MR_MULTICAST as u16, group, on)
    }

    fn set_membership(&self, index: u32, kind: u16, address: [u8; 6], on: bool) -> io::Result<()> {
        let mut request = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: kind,
            mr_alen: if kind == libc::PACKET_MR_PROMISC as u16 { 0 } else { address.len() as u16 },
            mr_address: [0; 8],
        };
        request.mr_address[..address.len()].copy_from_slice(&address);
        let option = if on { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
        set_option(&self.fd, option, &request)
    }

    /// What the kernel has counted since this was last asked.
    pub fn statistics(&self) -> io::Result<Statistics> {
        // SAFETY: plain integers.
        let mut fresh: libc::tpacket_stats_v3 = unsafe { mem::zeroed() };
        let mut len = size_of_val(&fresh) as libc::socklen_t;
        let value = (&raw mut fresh).cast();
        // SAFETY: value points to len writable bytes.
        check(unsafe {
            libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &mut len)
        })?;
        Ok(Statistics { frames: fresh.tp_packets.into(), dropped: fresh.tp_drops.into() })
    }

    /// Sleeps until something has come, at most `patience`; whether it has.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        wait_readable(self.fd.as_fd(), patience)
    }

    /// Past the kernel's queues, straight to the interface (`PACKET_QDISC_BYPASS`), and with
    /// room for `bytes` of frames that it has not sent yet.
    pub fn send_straight(&self, bytes: i32) -> io::Result<()> {
        set_option(&self.fd, libc::PACKET_QDISC_BYPASS, &1_i32)?;
        for option in [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF] {
            let value = (&raw const bytes).cast();
            // SAFETY: value points to an int, whose size is passed.
            let result = unsafe { libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, option, value, 4) };
            if result == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Room for frames that do not lie in a ring.
    pub fn set_receive_buffer(&self, bytes: i32) {
        set_receive_buffer(&self.fd, bytes);
    }

    /// Sends frames of the `parts`, up to [`PARTS`], in one call; a part whose bit is set in
    /// `ends` is the last of its frame. How many frames the kernel has taken, at least one.
    ///
    /// # Errors
    /// Why it did not take the first.
    pub fn send(&self, parts: &[&[u8]], ends: u64) -> io::Result<usize> {
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut vectors = [none; PARTS];
        // SAFETY: mmsghdr is plain integers and pointers.
        let mut messages: [libc::mmsghdr; PARTS] = unsafe { mem::zeroed() };
        let mut frames = 0;
        let mut first = 0;
        for (i, part) in parts.iter().take(PARTS).enumerate() {
            vectors[i] = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
            if ends >> i & 1 != 0 {
                let message = &mut messages[frames].msg_hdr;
                message.msg_iov = vectors[first..].as_mut_ptr();
                message.msg_iovlen = i + 1 - first;
                (frames, first) = (frames + 1, i + 1);
            }
        }
        // SAFETY: as many messages as it says, which lead to as many vectors as they say, and
        // these to bytes that are borrowed until the call returns and only read by it.
        let sent = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), frames as u32, 0) };
        check(sent).map(|sent| sent as usize)
    }
}
