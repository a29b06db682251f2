//! The program that hands an interface's frames to sockets: five instructions, held by a link
//! that ends with the process (bpf(2); linux/bpf.h).

use super::super::check;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2).
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;

const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the interface's driver, before the kernel has a packet of it (`XDP_FLAGS_DRV_MODE`).
    Driver,
    /// After that (`XDP_FLAGS_SKB_MODE`).
    Generic,
}

/// A program on an interface. It is taken off when this is dropped, or the process ends in any
/// way.
#[derive(Debug)]
pub struct Program {
    sockets: OwnedFd,
    _link: OwnedFd,
    mode: Mode,
}

/// As much of `union bpf_attr` as is used here.
type Attributes = [u64; 16];

impl Program {
    /// Attaches one that hands frames of up to `queues` queues to the sockets that are named
    /// later, and leaves all others to the kernel: in the driver if it can, or else generically.
    ///
    /// # Errors
    /// `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`, `EBUSY` or `EEXIST` where there is a
    /// program already.
    pub fn attach(index: u32, queues: u32) -> io::Result<Program> {
        let sockets = map(queues)?;
        let program = load(sockets.as_raw_fd())?;
        let mut failed = None;
        for (mode, flag) in [(Mode::Driver, 1_u32 << 2), (Mode::Generic, 1 << 1)] {
            match link(&program, index, flag) {
                Ok(link) => return Ok(Program { sockets, _link: link, mode }),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EPERM)) => {
                    return Err(error);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP)))
    }

    /// Where it runs.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Hands the frames of queue `queue` to this socket from now on.
    pub fn deliver(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let (key, value) = (queue, socket.as_raw_fd());
        let mut attributes: Attributes = [0; 16];
        attributes[0] = words(self.sockets.as_raw_fd() as u32, 0);
        attributes[1] = (&raw const key) as u64;
        attributes[2] = (&raw const value) as u64;
        bpf(BPF_MAP_UPDATE_ELEM, &attributes).map(drop)
    }
}

/// A map from queues to sockets.
fn map(queues: u32) -> io::Result<OwnedFd> {
    let mut attributes: Attributes = [0; 16];
    attributes[0] = words(BPF_MAP_TYPE_XSKMAP, 4);
    attributes[1] = words(4, queues.max(1));
    descriptor(bpf(BPF_MAP_CREATE, &attributes)?)
}

/// The program: `return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS)`.
fn load(sockets: i32) -> io::Result<OwnedFd> {
    /// Where the queue is in `struct xdp_md`.
    const RX_QUEUE_INDEX: u64 = 16;
    const XDP_PASS: u64 = 2;
    const REDIRECT_MAP: u64 = 51;
    /// The immediate is a descriptor of a map.
    const PSEUDO_MAP_FD: u64 = 1;
    let instruction = |code: u64, to: u64, from: u64, offset: u64, value: u64| {
        code | to << 8 | from << 12 | offset << 16 | value << 32
    };
    // Of the machine's byte order the instruction is made of bytes, halves and words.
    if cfg!(target_endian = "big") {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let instructions = [
        instruction(0x61, 2, 1, RX_QUEUE_INDEX, 0), // r2 = *(u32 *)(r1 + 16)
        instruction(0x18, 1, PSEUDO_MAP_FD, 0, u64::from(sockets as u32)), // r1 = sockets
        0,                                          // of the same
        instruction(0xb7, 3, 0, 0, XDP_PASS),       // r3 = XDP_PASS
        instruction(0x85, 0, 0, 0, REDIRECT_MAP),   // r0 = bpf_redirect_map(r1, r2, r3)
        instruction(0x95, 0, 0, 0, 0),              // return r0
    ];
    let mut attributes: Attributes = [0; 16];
    attributes[0] = words(BPF_PROG_TYPE_XDP, instructions.len() as u32);
    attributes[1] = instructions.as_ptr() as u64;
    attributes[2] = c"Dual MIT/GPL".as_ptr() as u64;
    // The name that `bpftool` shows, at byte 48.
    attributes[6] = u64::from_ne_bytes(*b"bmnic\0\0\0");
    // What it is to be attached as, at byte 68.
    attributes[8] = words(0, BPF_XDP);
    descriptor(bpf(BPF_PROG_LOAD, &attributes)?)
}

/// Attaches a program to interface number `index`.
fn link(program: &OwnedFd, index: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes: Attributes = [0; 16];
    attributes[0] = words(program.as_raw_fd() as u32, index);
    attributes[1] = words(BPF_XDP, flags);
    descriptor(bpf(BPF_LINK_CREATE, &attributes)?)
}

/// Two words side by side.
fn words(first: u32, second: u32) -> u64 {
    let (a, b) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

fn bpf(command: libc::c_int, attributes: &Attributes) -> io::Result<i32> {
    let len = mem::size_of_val(attributes);
    // SAFETY: the attributes are readable for their length, and what they lead to lives in the
    // caller and has the size that the command reads.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), len) } as i32)
}

/// A descriptor that the kernel just made, for us alone; bpf(2) closes all of them on exec.
fn descriptor(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: as said.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
