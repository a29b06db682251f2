//! A packet socket as a card's queue has one: bound late, shared by who receives and who counts.

use super::super::{check, wait_readable};
use super::{PACKET_IGNORE_OUTGOING, Statistics, set_option, set_receive_buffer};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Parts of frames that go out in one call, at most.
pub const PARTS: usize = 64;

/// A raw packet socket that never waits.
#[derive(Debug)]
pub struct Socket(pub(super) OwnedFd);

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
        Ok(Socket(unsafe { OwnedFd::from_raw_fd(fd) }))
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
        check(unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) })
            .map(drop)
    }

    /// Whether the kernel leaves out what it sends by the interface (Linux 4.20).
    pub fn ignore_outgoing(&self) -> bool {
        set_option(&self.0, PACKET_IGNORE_OUTGOING, &1_i32).is_ok()
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
        set_option(&self.0, option, &request)
    }

    /// What the kernel has counted since this was last asked.
    pub fn statistics(&self) -> io::Result<Statistics> {
        // SAFETY: plain integers.
        let mut fresh: libc::tpacket_stats_v3 = unsafe { mem::zeroed() };
        let mut len = size_of_val(&fresh) as libc::socklen_t;
        let value = (&raw mut fresh).cast();
        // SAFETY: value points to len writable bytes.
        check(unsafe {
            libc::getsockopt(self.0.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &mut len)
        })?;
        Ok(Statistics { frames: fresh.tp_packets.into(), dropped: fresh.tp_drops.into() })
    }

    /// Sleeps until something has come, at most `patience`; whether it has.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        wait_readable(self.0.as_fd(), patience)
    }

    /// Past the kernel's queues, straight to the interface (`PACKET_QDISC_BYPASS`), and with
    /// room for `bytes` of frames that it has not sent yet.
    pub fn send_straight(&self, bytes: i32) -> io::Result<()> {
        set_option(&self.0, libc::PACKET_QDISC_BYPASS, &1_i32)?;
        for option in [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF] {
            let value = (&raw const bytes).cast();
            // SAFETY: value points to an int, whose size is passed.
            let result = unsafe { libc::setsockopt(self.0.as_raw_fd(), libc::SOL_SOCKET, option, value, 4) };
            if result == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Room for frames that do not lie in a ring.
    pub fn set_receive_buffer(&self, bytes: i32) {
        set_receive_buffer(&self.0, bytes);
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
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), frames as u32, 0) };
        check(sent).map(|sent| sent as usize)
    }
}
