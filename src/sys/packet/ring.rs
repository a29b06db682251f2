//! The ring that a packet socket receives into, read in place.
//!
//! ```text
//!   slots    TPACKET_V2   a frame each, seen as soon as it is there
//!   blocks   TPACKET_V3   frames side by side; a block is seen once it is full, or some
//!                         milliseconds after its first frame
//! ```
//!
//! Blocks cost the kernel and the reader less: nothing is looked at but what holds a frame.

use super::socket::Socket;
use super::{HEADER, Offloads, offloads, set_option, vlan};
use libc::tpacket_versions::{TPACKET_V2, TPACKET_V3};
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes that the kernel takes in one piece. A block goes to the reader whole, and the rest of
/// one that waits no longer is lost to the ring: so there are many, and they are short.
const BLOCK: usize = 256 << 10;

/// What a slot has besides its frame, at most: `tpacket2_hdr`, `sockaddr_ll`, a
/// `virtio_net_hdr`, and what they are aligned to.
pub const OVERHEAD: usize = 128;

/// How long a block that is not full may wait, in milliseconds.
const RETIRE: u32 = 2;

/// Not in the libc crate for this system yet (linux/if_packet.h): a super-frame.
const TP_STATUS_GSO_TCP: u32 = 1 << 8;

/// How frames lie in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A frame of up to so many bytes each, with [`OVERHEAD`]: a power of two.
    Slots(usize),
    /// Side by side.
    Blocks,
}

/// A frame in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes, as far as they are there.
    pub bytes: &'a [u8],
    /// How many it had.
    pub len: usize,
    /// When the kernel had it, ns since 1970.
    pub time: u64,
    /// VLAN tag that the kernel took out: type and control information.
    pub vlan: Option<(u16, u16)>,
    /// What the kernel left undone, in a ring of slots.
    pub offloads: Offloads,
    /// Its checksum is not filled in, or it is several segments in one.
    pub unfinished: bool,
    /// The kernel has found its transport checksum right.
    pub checked: bool,
    /// The kernel sent it out here; it did not come in.
    pub outgoing: bool,
}

/// A ring of a socket, mapped.
#[derive(Debug)]
pub struct Ring {
    socket: Arc<Socket>,
    map: MmapRaw,
    shape: Shape,
    /// Where the slot or block begins that is read next.
    at: usize,
    /// Of a block that is being read: frames that are left, and where in it the next one is.
    left: u32,
    frame: usize,
}

/// What is read of a frame's head, whatever the version.
struct Head {
    status: u32,
    len: u32,
    kept: u32,
    mac: u16,
    seconds: u32,
    nanoseconds: u32,
    tag: u16,
    kind: u16,
}

/// Where `sockaddr_ll` says what sort of frame it is, behind a head of so many bytes.
const SORT: usize = 10;
const HEAD2: usize = libc::TPACKET2_HDRLEN - size_of::<libc::sockaddr_ll>();
const HEAD3: usize = libc::TPACKET3_HDRLEN - size_of::<libc::sockaddr_ll>();

/// Of a block: its status, frames, and where the first is (`struct tpacket_block_desc`).
const STATUS: usize = 8;
const FRAMES: usize = 12;
const FIRST: usize = 16;

impl Ring {
    /// Has the kernel make a ring of `mib` MiB, or of half as much and so on where memory
    /// is short.
    pub fn new(socket: &Arc<Socket>, shape: Shape, mib: u32) -> io::Result<Self> {
        let fd = &socket.fd;
        let mut blocks = mib * (1 << 20) / BLOCK as u32;
        if shape == Shape::Blocks {
            set_option(fd, libc::PACKET_VERSION, &(TPACKET_V3 as i32))?;
        } else {
            set_option(fd, libc::PACKET_VNET_HDR, &1_i32)?;
            set_option(fd, libc::PACKET_VERSION, &(TPACKET_V2 as i32))?;
        }
        let map = loop {
            let slot = if let Shape::Slots(bytes) = shape { bytes } else { BLOCK };
            let mut request = libc::tpacket_req3 {
                tp_block_size: BLOCK as u32,
                tp_block_nr: blocks,
                tp_frame_size: slot as u32,
                tp_frame_nr: blocks * (BLOCK / slot) as u32,
                tp_retire_blk_tov: 0,
                tp_sizeof_priv: 0,
                tp_feature_req_word: 0,
            };
            let asked = if shape == Shape::Blocks {
                request.tp_retire_blk_tov = RETIRE;
                set_option(fd, libc::PACKET_RX_RING, &request)
            } else {
                let libc::tpacket_req3 { tp_block_size, tp_block_nr, tp_frame_size, tp_frame_nr, .. } = request;
                let request = libc::tpacket_req { tp_block_size, tp_block_nr, tp_frame_size, tp_frame_nr };
                set_option(fd, libc::PACKET_RX_RING, &request)
            };
            match asked {
                Ok(()) => break MmapOptions::new().len(blocks as usize * BLOCK).map_raw(fd)?,
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && blocks > 1 => blocks /= 2,
                Err(error) => return Err(error),
            }
        };
        Ok(Ring { socket: Arc::clone(socket), map, shape, at: 0, left: 0, frame: 0 })
    }

    /// The socket that it is of.
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Bytes of it.
    pub fn bytes(&self) -> usize {
        self.map.len()
    }

    /// The frame that came first of those in it.
    #[inline]
    pub fn first(&mut self) -> Option<Frame<'_>> {
        match self.shape {
            Shape::Slots(bytes) => {
                // <-- acquire: what the kernel wrote before it handed the slot over
                let status = self.word(self.at).load(Ordering::Acquire);
                (status & libc::TP_STATUS_USER != 0).then(|| self.frame2(bytes))
            }
            Shape::Blocks => {
                if self.left == 0 && !self.open() {
                    return None;
                }
                Some(self.frame3())
            }
        }
    }

    /// Gives the room of that frame back.
    #[inline]
    pub fn pass(&mut self) {
        match self.shape {
            Shape::Slots(bytes) => self.give_back(self.at, bytes),
            Shape::Blocks if self.left > 1 => {
                self.left -= 1;
                let step = self.word(self.at + self.frame).load(Ordering::Relaxed) as usize;
                self.frame = (self.frame + step).min(BLOCK - HEAD3);
            }
            Shape::Blocks => {
                self.left = 0;
                self.give_back(self.at + STATUS, BLOCK);
            }
        }
    }

    /// Begins with the next block, if the kernel has handed it over.
    fn open(&mut self) -> bool {
        loop {
            // <-- acquire: as of a slot
            if self.word(self.at + STATUS).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                return false;
            }
            self.left = self.word(self.at + FRAMES).load(Ordering::Relaxed);
            self.frame = (self.word(self.at + FIRST).load(Ordering::Relaxed) as usize & !3).min(BLOCK - HEAD3);
            if self.left > 0 {
                return true;
            }
            self.give_back(self.at + STATUS, BLOCK);
        }
    }

    /// Hands the slot or block with this status over to the kernel, and moves on.
    #[inline]
    fn give_back(&mut self, status: usize, step: usize) {
        // <-- release: it is read to the end
        self.word(status).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.at = if self.at + 2 * step > self.map.len() { 0 } else { self.at + step };
    }

    /// The word at byte `at` of the ring.
    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4) && at + 4 <= self.map.len());
        // SAFETY: callers stay within a slot or block, which is within the ring; the kernel and
        // this process use the word as an atomic one.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at & !3).cast()) }
    }

    /// `len` bytes from `at`, which the kernel leaves alone until they are given back.
    #[inline]
    fn piece(&self, at: usize, len: usize) -> &[u8] {
        debug_assert!(at + len <= self.map.len());
        // SAFETY: callers stay within a slot or block that the kernel has handed over.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), len) }
    }

    #[inline]
    fn frame2(&self, size: usize) -> Frame<'_> {
        let slot = self.piece(self.at, size);
        // SAFETY: plain integers at the start of a slot, which is longer.
        let head = unsafe { slot.as_ptr().cast::<libc::tpacket2_hdr>().read_unaligned() };
        let head = Head {
            status: head.tp_status,
            len: head.tp_len,
            kept: head.tp_snaplen,
            mac: head.tp_mac,
            seconds: head.tp_sec,
            nanoseconds: head.tp_nsec,
            tag: head.tp_vlan_tci,
            kind: head.tp_vlan_tpid,
        };
        let mut frame = frame(slot, &head, HEAD2);
        let header = usize::from(head.mac).checked_sub(HEADER).and_then(|at| slot.get(at..)?.first_chunk());
        frame.offloads = header.map_or(Offloads::default(), |header| offloads(*header));
        frame.unfinished |= frame.offloads.checksum || frame.offloads.gso != 0;
        frame
    }

    #[inline]
    fn frame3(&self) -> Frame<'_> {
        let rest = self.piece(self.at + self.frame, BLOCK - self.frame);
        // SAFETY: plain integers; `frame` leaves room for a head.
        let head = unsafe { rest.as_ptr().cast::<libc::tpacket3_hdr>().read_unaligned() };
        let head = Head {
            status: head.tp_status,
            len: head.tp_len,
            kept: head.tp_snaplen,
            mac: head.tp_mac,
            seconds: head.tp_sec,
            nanoseconds: head.tp_nsec,
            tag: head.hv1.tp_vlan_tci as u16,
            kind: head.hv1.tp_vlan_tpid,
        };
        frame(rest, &head, HEAD3)
    }
}

/// The frame with this head, which begins `piece`.
#[inline]
fn frame<'a>(piece: &'a [u8], head: &Head, head_len: usize) -> Frame<'a> {
    let at = usize::from(head.mac);
    Frame {
        bytes: piece.get(at..at + head.kept as usize).unwrap_or_default(),
        len: head.len as usize,
        time: u64::from(head.seconds) * 1_000_000_000 + u64::from(head.nanoseconds),
        vlan: vlan(head.status, head.kind, head.tag),
        offloads: Offloads::default(),
        unfinished: head.status & (libc::TP_STATUS_CSUMNOTREADY | TP_STATUS_GSO_TCP) != 0,
        checked: head.status & libc::TP_STATUS_CSUM_VALID != 0,
        outgoing: piece.get(head_len + SORT) == Some(&libc::PACKET_OUTGOING),
    }
}
