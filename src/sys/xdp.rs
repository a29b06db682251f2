//! AF_XDP sockets (Linux, Documentation/networking/af_xdp.rst): four rings of descriptors that
//! the kernel and this process share, and memory in chunks that both may touch in turn.
//!
//! ```text
//!   fill ring   chunks to receive into -->  kernel  --> rx ring          chunks with frames
//!   tx ring     chunks with frames     -->  kernel  --> completion ring  chunks that were sent
//! ```

pub mod program;
#[cfg(test)]
mod tests;

use super::{check, wait_readable};
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of a chunk.
pub const CHUNK: usize = 4096;

/// Bytes before a received frame that the kernel keeps free (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;

/// Memory that a socket's frames lie in, in chunks.
#[derive(Debug)]
struct Memory(MmapRaw);

/// A socket on one queue of an interface.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    memory: Arc<Memory>,
}

/// What the kernel has counted of a socket (`XDP_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames for which there was no chunk, or that were too long for one.
    pub dropped: u64,
    /// Frames that the receive ring had no room for.
    pub ring_full: u64,
    /// Descriptors to send that made no sense.
    pub bad_descriptors: u64,
}

/// How a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// The card reads and writes the chunks itself.
    None,
    /// The kernel copies.
    One,
}

/// One of the four rings, as its owner here sees it: it either writes entries or reads them.
#[derive(Debug)]
struct Ring {
    map: MmapRaw,
    offsets: Offsets,
    mask: u32,
    /// Of the entry that is written or read next. Runs freely.
    next: u32,
    /// How far the kernel was when this was last looked at.
    seen: u32,
}

/// Where the parts of a ring are (`struct xdp_ring_offset`).
#[derive(Clone, Copy, Debug)]
struct Offsets {
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
}

/// Gives chunks to the kernel to receive into, and takes those with frames.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<Socket>,
    fill: Ring,
    rx: Ring,
}

/// Gives the kernel chunks with frames, and takes those that were sent.
#[derive(Debug)]
pub struct Sender {
    socket: Arc<Socket>,
    tx: Ring,
    completion: Ring,
    /// Chunks that hold nothing to send.
    free: Vec<u64>,
}

/// An opened socket with its two ends.
#[derive(Debug)]
pub struct Opened {
    /// The socket, to be counted.
    pub socket: Arc<Socket>,
    /// What receives.
    pub receiver: Receiver,
    /// What sends.
    pub sender: Sender,
}

/// Opens a socket with rings of `rx` and `tx` entries, each a power of two, and as many chunks
/// for each. It receives nothing before it is bound, and the program sends it something.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`, `ENOBUFS` where no more memory may be locked.
pub fn open(rx: u32, tx: u32) -> io::Result<Opened> {
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a new descriptor that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let len = (rx + tx) as usize * CHUNK;
    let memory = Arc::new(Memory(MmapRaw::from(MmapOptions::new().len(len).populate().map_anon()?)));
    let register = libc::xdp_umem_reg_v1 {
        addr: memory.0.as_ptr() as u64,
        len: len as u64,
        chunk_size: CHUNK as u32,
        headroom: 0,
    };
    set_option(&fd, libc::XDP_UMEM_REG, &register)?;
    for (option, entries) in [
        (libc::XDP_UMEM_FILL_RING, rx),
        (libc::XDP_UMEM_COMPLETION_RING, tx),
        (libc::XDP_RX_RING, rx),
        (libc::XDP_TX_RING, tx),
    ] {
        set_option(&fd, option, &entries)?;
    }
    // SAFETY: plain integers.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
    get_option(&fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    let address = size_of::<u64>();
    let fill = Ring::map(&fd, libc::XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, rx, address)?;
    let completion = Ring::map(&fd, libc::XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, tx, address)?;
    let descriptor = size_of::<libc::xdp_desc>();
    let rx_ring = Ring::map(&fd, libc::XDP_PGOFF_RX_RING as u64, &offsets.rx, rx, descriptor)?;
    let tx_ring = Ring::map(&fd, libc::XDP_PGOFF_TX_RING as u64, &offsets.tx, tx, descriptor)?;
    let socket = Arc::new(Socket { fd, memory });
    let chunks = |range: std::ops::Range<u32>| range.map(|n| u64::from(n) * CHUNK as u64);
    let mut receiver = Receiver { socket: Arc::clone(&socket), fill, rx: rx_ring };
    chunks(0..rx).for_each(|chunk| receiver.fill.put(|ring| ring.write_address(chunk)));
    receiver.fill.publish();
    let free = chunks(rx..rx + tx).collect();
    let sender = Sender { socket: Arc::clone(&socket), tx: tx_ring, completion, free };
    Ok(Opened { socket, receiver, sender })
}

impl Socket {
    /// Binds it to queue `queue` of interface number `index`; how often frames are copied then.
    ///
    /// # Errors
    /// `EINVAL` if there is no such queue, `EBUSY` if another socket has it.
    pub fn bind(&self, index: u32, queue: u32) -> io::Result<Copies> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: index,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        // SAFETY: address is a sockaddr_xdp of the size that is passed.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) })?;
        let mut options = libc::xdp_options { flags: 0 };
        get_option(&self.fd, libc::XDP_OPTIONS, &mut options)?;
        Ok(if options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0 { Copies::None } else { Copies::One })
    }

    /// What the kernel has counted since it was opened.
    pub fn statistics(&self) -> io::Result<Statistics> {
        // SAFETY: plain integers. An older kernel fills in half of it.
        let mut counts: libc::xdp_statistics = unsafe { mem::zeroed() };
        get_option(&self.fd, libc::XDP_STATISTICS, &mut counts)?;
        Ok(Statistics {
            dropped: counts.rx_dropped,
            ring_full: counts.rx_ring_full,
            bad_descriptors: counts.tx_invalid_descs,
        })
    }

    /// The bytes from `address` on, within one chunk; none if the kernel names others.
    fn range(&self, address: u64, len: u32) -> Option<(usize, usize)> {
        let (at, len) = (usize::try_from(address).ok()?, len as usize);
        let end = at.checked_add(len).filter(|end| *end <= self.memory.0.len())?;
        (len > 0 && at / CHUNK == (end - 1) / CHUNK).then_some((at, len))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Receiver {
    /// The socket that it is of.
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Chunks that it has.
    pub fn chunks(&self) -> u32 {
        self.rx.mask + 1
    }

    /// The frame that came first of those that are there; `Err` if the kernel's words about it
    /// make no sense.
    #[inline]
    pub fn first(&mut self) -> Option<Result<&[u8], ()>> {
        if !self.rx.has_entry() {
            return None;
        }
        let (address, len) = self.rx.read_descriptor();
        let Some((at, len)) = self.socket.range(address, len) else { return Some(Err(())) };
        // SAFETY: within the memory, and the kernel has handed the chunk over.
        Some(Ok(unsafe { std::slice::from_raw_parts(self.socket.memory.0.as_ptr().add(at), len) }))
    }

    /// Gives its chunk back to be received into; [`Receiver::offer`] tells the kernel.
    #[inline]
    pub fn pass(&mut self) {
        let (address, _) = self.rx.read_descriptor();
        self.rx.next = self.rx.next.wrapping_add(1);
        // What it names is a chunk of the fill ring, wherever in it the frame began.
        let chunk = address / CHUNK as u64 * CHUNK as u64;
        if address < u64::from(self.rx.mask + 1) * CHUNK as u64 {
            self.fill.put(|ring| ring.write_address(chunk));
        }
    }

    /// Tells the kernel of what was passed, and wakes it where it waits for that.
    #[inline]
    pub fn offer(&mut self) {
        self.rx.release();
        self.fill.publish();
        self.wake();
    }

    /// Wakes the kernel where it waits to be told of chunks. It may have found none just before
    /// they were shown, and said so just after [`Receiver::offer`] looked: so one that finds nothing
    /// to receive looks again.
    #[inline]
    pub fn wake(&self) {
        if self.fill.needs_wakeup() {
            // It wakes the card's driver, and takes nothing.
            let _ = wait_readable(self.socket.as_fd(), Duration::ZERO);
        }
    }

    /// Sleeps until something has come, at most `patience`; whether it has.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        wait_readable(self.socket.as_fd(), patience)
    }
}

impl Sender {
    /// The socket that it is of.
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Frames that were handed over and that the kernel has not reported as sent.
    pub fn pending(&self) -> usize {
        (self.tx.mask + 1) as usize - self.free.len()
    }

    /// Copies a frame of these parts into a free chunk, to go out with the next
    /// [`Sender::flush`]; false if there is no room, or it is longer than a chunk.
    #[inline]
    pub fn put<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> bool {
        let Some(&chunk) = self.free.last() else { return false };
        let mut len = 0;
        for part in parts {
            if len + part.len() > CHUNK {
                return false;
            }
            // SAFETY: within a chunk that is free, so the kernel leaves it alone; `part` is
            // borrowed from elsewhere.
            unsafe {
                let to = self.socket.memory.0.as_mut_ptr().add(chunk as usize + len);
                to.copy_from_nonoverlapping(part.as_ptr(), part.len());
            }
            len += part.len();
        }
        self.free.pop();
        self.tx.put(|ring| ring.write_descriptor(chunk, len as u32));
        true
    }

    /// Hands over what was put, and has the kernel send it. What it does not take now goes out
    /// with a later [`Sender::reclaim`].
    pub fn flush(&mut self) {
        /// A call sends 32 frames of a socket that copies.
        const CALLS: u32 = 4;
        self.tx.publish();
        for _ in 0..CALLS {
            match self.kick() {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => self.collect(),
                _ => break,
            }
        }
    }

    /// Has the kernel send what it was handed, where it waits to be told.
    fn kick(&self) -> io::Result<()> {
        if !self.tx.needs_wakeup() {
            return Ok(());
        }
        // SAFETY: no bytes are passed.
        let sent = unsafe {
            libc::sendto(self.socket.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes back the chunks that were sent; pushes on what is still to be sent.
    #[inline]
    pub fn reclaim(&mut self) {
        self.collect();
        if self.pending() > 0 {
            // What it cannot send now it can later.
            let _ = self.kick();
            self.collect();
        }
    }

    fn collect(&mut self) {
        let most = (self.tx.mask + 1) as usize;
        while self.completion.has_entry() {
            let chunk = self.completion.read_address() / CHUNK as u64 * CHUNK as u64;
            self.completion.next = self.completion.next.wrapping_add(1);
            // A chunk that is none of these would be used by two.
            if self.free.len() < most && self.socket.range(chunk, CHUNK as u32).is_some() {
                self.free.push(chunk);
            }
        }
        self.completion.release();
    }
}

impl Ring {
    fn map(fd: &OwnedFd, at: u64, of: &libc::xdp_ring_offset, entries: u32, entry: usize) -> io::Result<Ring> {
        let word = |offset: u64| usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        let offsets = Offsets {
            producer: word(of.producer)?,
            consumer: word(of.consumer)?,
            flags: word(of.flags)?,
            entries: word(of.desc)?,
        };
        let len = offsets.entries + entries as usize * entry;
        if [offsets.producer, offsets.consumer, offsets.flags].iter().any(|at| at + 4 > len) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let map = MmapOptions::new().offset(at).len(len).populate().map_raw(fd)?;
        Ok(Ring { map, offsets, mask: entries - 1, next: 0, seen: 0 })
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: within the map, as `map` has checked, and aligned, as the kernel lays them out;
        // both sides use it as an atomic word.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// The word `n` of entry `next`, of entries of so many words.
    #[inline]
    fn entry(&self, words: usize, n: usize) -> &AtomicU64 {
        let at = self.offsets.entries + ((self.next & self.mask) as usize * words + n) * 8;
        // SAFETY: within the map: the mask keeps it in the ring; aligned as the kernel lays it out.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Whether there is an entry to read.
    #[inline]
    fn has_entry(&mut self) -> bool {
        if self.next == self.seen {
            // <-- acquire: what the kernel wrote before
            self.seen = self.word(self.offsets.producer).load(Ordering::Acquire);
        }
        // More than the ring holds makes no sense, and is none.
        (1..=self.mask + 1).contains(&self.seen.wrapping_sub(self.next))
    }

    /// Gives the entries that were read back.
    #[inline]
    fn release(&self) {
        // <-- release: they are read to the end
        self.word(self.offsets.consumer).store(self.next, Ordering::Release);
    }

    /// Writes an entry; there is always room, as there are no more chunks than entries.
    #[inline]
    fn put(&mut self, write: impl FnOnce(&Ring)) {
        write(self);
        self.next = self.next.wrapping_add(1);
    }

    /// Shows the kernel what was written.
    #[inline]
    fn publish(&self) {
        // <-- release: entries first
        self.word(self.offsets.producer).store(self.next, Ordering::Release);
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        self.word(self.offsets.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    #[inline]
    fn read_address(&self) -> u64 {
        self.entry(1, 0).load(Ordering::Relaxed)
    }

    #[inline]
    fn write_address(&self, chunk: u64) {
        self.entry(1, 0).store(chunk, Ordering::Relaxed);
    }

    /// Address and length (`struct xdp_desc`).
    #[inline]
    fn read_descriptor(&self) -> (u64, u32) {
        let bytes = self.entry(2, 1).load(Ordering::Relaxed).to_ne_bytes();
        (self.entry(2, 0).load(Ordering::Relaxed), u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    #[inline]
    fn write_descriptor(&self, chunk: u64, len: u32) {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        self.entry(2, 0).store(chunk, Ordering::Relaxed);
        self.entry(2, 1).store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
}

fn set_option<T>(socket: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let (value, len) = ((&raw const *value).cast(), size_of::<T>() as u32);
    // SAFETY: value points to len readable bytes.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, value, len) }).map(drop)
}

fn get_option<T>(socket: &OwnedFd, option: i32, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let value = (&raw mut *value).cast();
    // SAFETY: value points to len writable bytes.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, value, &mut len) }).map(drop)
}
