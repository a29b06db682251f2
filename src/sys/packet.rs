//! Packet sockets: every frame of an interface, through a ring that the kernel
//! and this process share (packet(7), Documentation/networking/packet_mmap.rst).
//!
//! ```text
//!   slot of 2048 bytes   | tpacket2_hdr | sockaddr_ll | virtio_net_hdr | frame ... |
//!   status, first word   KERNEL: it may write here      USER: a frame is here
//! ```
//!
//! A frame that does not fit a slot (a super-frame, a jumbo frame) leaves a mark
//! in its slot and is read by a call of its own, in turn.

pub mod ring;
pub mod socket;

use super::check;
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

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

/// A frame that [`PacketSocket::receive`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its length; longer than what was put into the buffer if it was cut.
    pub len: usize,
    /// What is left to do.
    pub offloads: Offloads,
    /// VLAN tag that the kernel took out: type and control information.
    pub vlan: Option<(u16, u16)>,
    /// The kernel sent it out here; it did not come in.
    pub outgoing: bool,
}

/// What the kernel counts of a socket (`PACKET_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that were for it.
    pub frames: u64,
    /// Of these, those that its ring, or its memory for long frames, had no room for.
    pub dropped: u64,
}

/// An instruction of classic BPF (Linux, `include/uapi/linux/filter.h`, `struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions on if it holds, counted from the next one.
    pub jt: u8,
    /// The same if it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// Size of `struct virtio_net_hdr`.
const HEADER: usize = 10;

/// Bytes of a slot: a frame of 1514 with its headers and a tag.
const SLOT: usize = 2048;

/// Slots that lie in one piece of the kernel's memory.
const BLOCK: usize = 1 << 20;

/// Where `sockaddr_ll` is in a slot.
const ADDRESS: usize = libc::TPACKET2_HDRLEN - size_of::<libc::sockaddr_ll>();

/// A socket that receives every frame on an interface and sends whole frames,
/// without ever waiting. It sees frames as the kernel has them, with
/// [`Offloads`], and what comes from outside only.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    ring: MmapRaw,
    /// The slot that is filled next.
    next: usize,
    /// What earlier readings counted: a reading sets the kernel's count to zero.
    counted: Statistics,
}

impl PacketSocket {
    /// A socket on interface number `index`, with a ring of up to `blocks` blocks
    /// of 512 frames, and up to `long` bytes for frames that do not fit a slot.
    /// Where memory is short the ring is shorter.
    pub fn open(index: u32, blocks: u32, long: i32) -> io::Result<Self> {
        let every = (libc::ETH_P_ALL as u16).to_be();
        let flags = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Protocol 0 receives nothing yet: not before it is bound to the interface.
        // SAFETY: takes integers only.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, flags, 0) })?;
        // SAFETY: a new descriptor that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set_option(&socket, libc::PACKET_VNET_HDR, &1_i32)?;
        // Linux 4.20; before that, `Received::outgoing` tells.
        let _ = set_option(&socket, PACKET_IGNORE_OUTGOING, &1_i32);
        set_receive_buffer(&socket, long);
        set_option(&socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as i32))?;
        set_option(&socket, libc::PACKET_COPY_THRESH, &1_i32)?;
        let ring = ring(&socket, blocks)?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(&socket, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;
        // SAFETY: sockaddr_ll is plain integers.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every;
        address.sll_ifindex = index as i32;
        // SAFETY: address is a sockaddr_ll of the size that is passed.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) })?;
        Ok(PacketSocket { socket, ring, next: 0, counted: Statistics::default() })
    }

    /// Puts the next frame into `frame`, in place of what is there, and up to
    /// `longest` bytes of it; none if none has come.
    pub fn receive(&mut self, frame: &mut Vec<u8>, longest: usize) -> io::Result<Option<Received>> {
        let slot = self.next * SLOT;
        // <-- acquire: what the kernel wrote before it handed the slot over
        let status = self.status(slot).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return Ok(None);
        }
        let mut received = Ok(self.copy(slot, status, frame));
        if status & libc::TP_STATUS_COPY != 0 {
            frame.resize(longest, 0);
            let long = twice(|| receive_long(&self.socket, frame));
            received = long.and_then(|(len, offloads)| {
                frame.truncate(len);
                received.map(|received| Received { len, offloads, ..received })
            });
        }
        // <-- release: the slot is read to the end
        self.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = if (self.next + 2) * SLOT > self.ring.len() { 0 } else { self.next + 1 };
        received.map(Some)
    }

    /// What the kernel has counted since the socket was opened.
    pub fn statistics(&mut self) -> Statistics {
        // SAFETY: plain integers.
        let mut fresh: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut len = size_of_val(&fresh) as libc::socklen_t;
        let value = (&raw mut fresh).cast();
        // SAFETY: value points to len writable bytes.
        let result = unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &mut len)
        };
        if result == 0 {
            self.counted.frames += u64::from(fresh.tp_packets);
            self.counted.dropped += u64::from(fresh.tp_drops);
        }
        self.counted
    }

    /// Sends a whole frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let header = [0_u8; HEADER];
        let parts = [
            libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: HEADER },
            libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() },
        ];
        twice(|| {
            // SAFETY: both parts are readable for their lengths; writev only reads them.
            let sent = unsafe { libc::writev(self.socket.as_raw_fd(), parts.as_ptr(), parts.len() as i32) };
            if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        })
    }

    /// The first word of the slot at byte `slot`.
    fn status(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: slots lie within the ring and begin at multiples of 2048; the
        // kernel and this process use the word as an atomic one.
        unsafe { AtomicU32::from_ptr(self.ring.as_mut_ptr().add(slot).cast()) }
    }

    /// Copies a frame out of the slot that the kernel has handed over.
    fn copy(&self, slot: usize, status: u32, frame: &mut Vec<u8>) -> Received {
        // SAFETY: the slot lies within the ring, and until its status is given
        // back the kernel leaves it alone.
        let bytes = unsafe { std::slice::from_raw_parts(self.ring.as_ptr().add(slot), SLOT) };
        // SAFETY: both structs are plain integers and lie within the slot.
        let (head, from) = unsafe {
            let head = bytes.as_ptr().cast::<libc::tpacket2_hdr>().read();
            (head, bytes.as_ptr().add(ADDRESS).cast::<libc::sockaddr_ll>().read_unaligned())
        };
        let at = usize::from(head.tp_mac);
        let data = bytes.get(at..at + head.tp_snaplen as usize).unwrap_or_default();
        frame.clear();
        frame.extend_from_slice(data);
        let header = at.checked_sub(HEADER).and_then(|at| bytes.get(at..)?.first_chunk());
        Received {
            // Cut, where memory was short for a copy: longer than any frame may be.
            len: if data.len() == head.tp_len as usize { data.len() } else { usize::MAX },
            offloads: header.map_or(Offloads::default(), |header| offloads(*header)),
            vlan: vlan(status, head.tp_vlan_tpid, head.tp_vlan_tci),
            outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
        }
    }
}

/// Has the kernel make a ring of `blocks` blocks, or of fewer, and maps it.
fn ring(socket: &OwnedFd, mut blocks: u32) -> io::Result<MmapRaw> {
    loop {
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks,
            tp_frame_size: SLOT as u32,
            tp_frame_nr: blocks * (BLOCK / SLOT) as u32,
        };
        match set_option(socket, libc::PACKET_RX_RING, &request) {
            Ok(()) => return MmapOptions::new().len(blocks as usize * BLOCK).map_raw(socket),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && blocks > 1 => blocks /= 2,
            Err(error) => return Err(error),
        }
    }
}

/// Not in the libc crate yet (linux/if_packet.h).
const PACKET_IGNORE_OUTGOING: i32 = 23;

fn set_option<T>(socket: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let (value, len) = ((&raw const *value).cast(), size_of::<T>() as u32);
    // SAFETY: value points to len readable bytes.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value, len) }).map(drop)
}

/// Asks for a receive buffer of this many bytes; the kernel gives what it may.
fn set_receive_buffer(socket: &OwnedFd, bytes: i32) {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        let value = (&raw const bytes).cast();
        // SAFETY: value points to an int, whose size is passed.
        let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, 4) };
        if result == 0 {
            return;
        }
    }
}

/// Reads a frame that did not fit its slot: its length and what is left to do.
fn receive_long(socket: &OwnedFd, frame: &mut [u8]) -> io::Result<(usize, Offloads)> {
    let mut header = [0_u8; HEADER];
    let mut parts = [
        libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER },
        libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() },
    ];
    // SAFETY: msghdr is plain integers and pointers.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    // SAFETY: every pointer in message leads to memory of the length beside it,
    // borrowed mutably until the call returns.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_TRUNC) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(((len as usize).saturating_sub(HEADER), offloads(header)))
}

/// Does `call` again if an interface that was down left its error on the socket,
/// for the next call that asks: frames come through the ring, where none asks.
fn twice<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match call() {
        Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => call(),
        done => done,
    }
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

/// The tag that the kernel took out, as the status says.
fn vlan(status: u32, kind: u16, tag: u16) -> Option<(u16, u16)> {
    let kind = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { kind } else { 0x8100 };
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some((kind, tag))
}
