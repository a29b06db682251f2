//! An emulated card for another program: a vfio-user server.
//!
//! ```text
//!   QEMU (vfio-user-pci)                          this process, one thread
//!     config, BARs   --- REGION_READ/WRITE --->   Card
//!     guest memory   --- DMA_MAP with fd ----->   Translation: mapped here too
//!     interrupts     <-- eventfds of SET_IRQS --  Interrupts
//! ```
//!
//! One client at a time; when it goes the card is powered off and on, and the
//! next may come. The client is not trusted: a message that cannot be followed
//! ends the connection, any other that makes no sense is answered with an errno.
//! Memory that it maps and then takes away reads as zero.

mod protocol;

use super::foreign::Mapping;
use super::{Access, Card, Picos};
use crate::error::{Error, Kind, Result};
use crate::sys;
use protocol::{Command, HEADER, Header, MAX_FDS, MAX_TRANSFER, u32_at, u64_at, words};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Region index of configuration space; 0 to 5 are BARs, 6 is the ROM, 8 VGA.
const CONFIG_REGION: u32 = 7;
const REGIONS: u32 = 9;

/// Interrupt indices: INTx, MSI, MSI-X, error, request.
const IRQS: u32 = 5;
const MSIX: u32 = 2;

/// Longest wait for a message while the card has nothing to do.
const IDLE: Duration = Duration::from_micros(200);

/// Longest time a message may take, from its first byte to its answer's last.
const MESSAGE: Duration = Duration::from_secs(2);

/// Rounds without work before the server waits instead of looking.
const BUSY_ROUNDS: u32 = 64;

/// Called with each access to a BAR, for a trace.
pub type Observer = Box<dyn FnMut(&Access) + Send>;

/// A socket that serves one emulated card.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    card: Card,
    observer: Option<Observer>,
    start: Instant,
}

impl Server {
    /// Listens at `path`, which must not exist or be a socket that nobody serves.
    pub fn bind(path: &Path, card: Card, observer: Option<Observer>) -> Result<Self> {
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
            // Left by a server that was killed.
            std::fs::remove_file(path).map_err(|e| Error::io(format!("removing {}", path.display()), e))?;
        }
        let listener = UnixListener::bind(path).map_err(|e| match e.kind() {
            ErrorKind::AddrInUse => Error::new(
                Kind::Usage,
                format!("{} exists and is in use; name another socket or stop the other server", path.display()),
            ),
            _ => Error::io(format!("listening at {}", path.display()), e),
        })?;
        let listening = |e| Error::io(format!("listening at {}", path.display()), e);
        listener.set_nonblocking(true).map_err(listening)?;
        Ok(Self { listener, path: path.into(), card, observer, start: Instant::now() })
    }

    /// The card, for its counters.
    pub fn card(&mut self) -> &mut Card {
        &mut self.card
    }

    /// Serves one client after the other until `stop` says so.
    pub fn run(&mut self, mut stop: impl FnMut() -> bool) -> Result<()> {
        while !stop() {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let accepting = |e| Error::io(format!("accepting at {}", self.path.display()), e);
                    stream.set_nonblocking(true).map_err(accepting)?;
                    let (card, observer) = (&mut self.card, &mut self.observer);
                    let mut session = Session { stream, card, observer, start: self.start };
                    // A client that breaks off or talks nonsense costs it the
                    // connection, not us the server.
                    let _ended = session.run(&mut stop);
                    self.card.reset();
                    self.card.bus().memory.clear();
                    for vector in 0..self.card.profile().vectors {
                        self.card.bus().interrupts.connect(vector, None);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.card.step(now(self.start));
                    sys::wait_readable(self.listener.as_fd(), Duration::from_millis(5))
                        .map_err(|e| Error::io(format!("waiting at {}", self.path.display()), e))?;
                }
                Err(e) => return Err(Error::io(format!("accepting at {}", self.path.display()), e)),
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: a socket left behind is taken over by the next server.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn now(start: Instant) -> Picos {
    start.elapsed().as_nanos() as Picos * 1000
}

struct Session<'a> {
    stream: UnixStream,
    card: &'a mut Card,
    observer: &'a mut Option<Observer>,
    start: Instant,
}

/// What a message is answered with: a payload or an errno.
type Answer = std::result::Result<Vec<u8>, i32>;

impl Session<'_> {
    /// Serves the client until it goes.
    fn run(&mut self, stop: &mut impl FnMut() -> bool) -> io::Result<()> {
        let mut idle = 0;
        while !stop() {
            let heard = self.message()?;
            let worked = self.card.step(now(self.start)) > 0;
            idle = if heard || worked { 0 } else { idle + 1 };
            if idle > BUSY_ROUNDS {
                sys::wait_readable(self.stream.as_fd(), IDLE)?;
            }
        }
        Ok(())
    }

    /// Serves one message if there is one.
    fn message(&mut self) -> io::Result<bool> {
        let mut bytes = [0; HEADER];
        let mut fds = Vec::new();
        let have = match sys::net::receive_with_fds(self.stream.as_fd(), &mut bytes, &mut fds, MAX_FDS) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        };
        // The rest of a message that has begun is on its way: wait for it, but
        // not for one who sends a byte a second, or does not take his answer.
        let deadline = Instant::now() + MESSAGE;
        self.fill(&mut bytes[have..], deadline)?;
        let Some(header) = Header::read(&bytes) else { return Err(ErrorKind::InvalidData.into()) };
        let mut payload = vec![0; header.payload];
        self.fill(&mut payload, deadline)?;
        let answer = self.answer(header.command, &payload, fds);
        if header.reply {
            self.send(&header.reply_with(&answer), deadline)?;
        }
        Ok(true)
    }

    /// Reads all of `bytes` before the deadline.
    fn fill(&mut self, mut bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.read(bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => bytes = &mut bytes[n..],
                Err(e) => {
                    may_wait(e, deadline)?;
                    sys::wait_readable(self.stream.as_fd(), IDLE)?;
                }
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` before the deadline.
    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) => {
                    may_wait(e, deadline)?;
                    std::thread::sleep(IDLE);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, command: Command, payload: &[u8], fds: Vec<OwnedFd>) -> Answer {
        let field = |at| u32_at(payload, at).ok_or(libc::EINVAL);
        match command {
            Command::Version => self.version(payload),
            Command::DmaMap => self.dma_map(payload, fds),
            Command::DmaUnmap => self.dma_unmap(payload),
            // argsz, flags (reset, PCI), regions, interrupt indices.
            Command::DeviceInfo => Ok(words(&[16, 3, REGIONS, IRQS])),
            Command::RegionInfo => self.region_info(field(8)?),
            Command::IrqInfo => self.irq_info(field(8)?),
            Command::SetIrqs => self.set_irqs(payload, fds),
            Command::RegionRead => self.region_read(payload),
            Command::RegionWrite => self.region_write(payload),
            Command::Reset => {
                self.card.reset();
                Ok(Vec::new())
            }
            Command::Other(_) => Err(libc::EOPNOTSUPP),
        }
    }

    fn version(&self, payload: &[u8]) -> Answer {
        if payload.len() < 4 || payload[..2] != [0, 0] {
            return Err(libc::EINVAL);
        }
        let mut reply = vec![0; 4];
        reply.extend_from_slice(
            format!(r#"{{"capabilities":{{"max_msg_fds":{MAX_FDS},"max_data_xfer_size":{MAX_TRANSFER}}}}}"#).as_bytes(),
        );
        reply.push(0);
        Ok(reply)
    }

    fn observe(&mut self, write: bool, bar: u8, offset: u64, size: u8, value: u64) {
        if let Some(observer) = self.observer.as_mut() {
            let name = self.card.model().register_name(bar, offset);
            observer(&Access { write, bar, offset, size, value, name });
        }
    }

    /// argsz, flags (readable 1, writable 2), offset in the file, address, size.
    fn dma_map(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> Answer {
        let field = |at| u64_at(payload, at).ok_or(libc::EINVAL);
        let flags = u32_at(payload, 4).ok_or(libc::EINVAL)?;
        let (offset, address, size) = (field(8)?, field(16)?, field(24)?);
        // ROM and the like come without a file: a card never reads them.
        let Some(fd) = fds.into_iter().next() else { return Ok(Vec::new()) };
        let mapping = Mapping::new(fd.as_fd(), offset, size, flags & 2 != 0).map_err(errno)?;
        Arc::new(mapping).enter(&mut self.card.bus().memory, address).map_err(|_| libc::EEXIST)?;
        Ok(Vec::new())
    }

    /// argsz, flags, address, size; echoed.
    fn dma_unmap(&mut self, payload: &[u8]) -> Answer {
        let field = |at| u64_at(payload, at).ok_or(libc::EINVAL);
        self.card.bus().memory.unmap(field(8)?, field(16)?);
        Ok(payload[..24].to_vec())
    }

    /// argsz, flags (readable 1, writable 2), index, capabilities, size, offset.
    fn region_info(&self, index: u32) -> Answer {
        let size = match index {
            0..=5 => self.card.profile().bar(index as usize),
            CONFIG_REGION => super::CONFIG_SIZE as u64,
            _ if index < REGIONS => 0,
            _ => return Err(libc::EINVAL),
        };
        let mut reply = words(&[32, if size > 0 { 3 } else { 0 }, index, 0]);
        reply.extend_from_slice(&size.to_ne_bytes());
        reply.extend_from_slice(&0_u64.to_ne_bytes());
        Ok(reply)
    }

    /// argsz, flags (eventfd 1, maskable 2, automasked 4, no resize 8), index, count.
    fn irq_info(&self, index: u32) -> Answer {
        let (flags, count) = match index {
            0 => (7, 1),
            1 => (9, 1),
            MSIX => (9, u32::from(self.card.profile().vectors)),
            3 | 4 => (1, 1),
            _ => return Err(libc::EINVAL),
        };
        Ok(words(&[16, flags, index, count]))
    }

    /// argsz, flags, index, start, count: connects eventfds to vectors. No
    /// eventfd for a vector disconnects it, a count of 0 all of them.
    fn set_irqs(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> Answer {
        const DATA_EVENTFD: u32 = 1 << 2;
        const ACTION_TRIGGER: u32 = 1 << 5;
        let field = |at| u32_at(payload, at).ok_or(libc::EINVAL);
        let (flags, index, start, count) = (field(4)?, field(8)?, field(12)?, field(16)?);
        if index >= IRQS {
            return Err(libc::EINVAL);
        }
        if index != MSIX || flags & ACTION_TRIGGER == 0 {
            // INTx and MSI are offered because clients insist, and never fire:
            // drivers of these cards use MSI-X or poll.
            return Ok(Vec::new());
        }
        let vectors = u32::from(self.card.profile().vectors);
        let end = start.checked_add(count).filter(|end| *end <= vectors).ok_or(libc::EINVAL)?;
        let range = if count == 0 { 0..vectors } else { start..end };
        let eventfds = flags & DATA_EVENTFD != 0 && count > 0;
        for fd in &fds {
            // Anything else could keep us waiting, or be a file that we spoil.
            if eventfds && !sys::adopt_eventfd(fd).map_err(errno)? {
                return Err(libc::EINVAL);
            }
        }
        let mut fds = fds.into_iter();
        let interrupts = &mut self.card.bus().interrupts;
        for vector in range {
            let fd = fds.next().filter(|_| eventfds);
            // The client keeps the table with its mask bits to itself: what it
            // does not want it does not connect.
            let connected = fd.is_some();
            interrupts.connect(vector as u16, fd);
            interrupts.mask(vector as u16, !connected);
        }
        Ok(Vec::new())
    }

    /// The region, offset and size of a transfer, checked: offset, region, count.
    fn transfer(&self, payload: &[u8]) -> std::result::Result<(u32, u64, usize), i32> {
        let offset = u64_at(payload, 0).ok_or(libc::EINVAL)?;
        let region = u32_at(payload, 8).ok_or(libc::EINVAL)?;
        let count = u32_at(payload, 12).ok_or(libc::EINVAL)? as usize;
        let size = match region {
            0..=5 => self.card.profile().bar(region as usize),
            CONFIG_REGION => super::CONFIG_SIZE as u64,
            _ => 0,
        };
        let inside = offset.checked_add(count as u64).is_some_and(|end| end <= size);
        if inside && count <= MAX_TRANSFER { Ok((region, offset, count)) } else { Err(libc::EINVAL) }
    }

    /// Bytes of the widest access in a transfer: 4, or 8 if that is all of it and a memory
    /// BAR's: a guest's store of 8 bytes reaches the card whole.
    fn widest(&self, region: u32, count: usize) -> u64 {
        let (index, ports) = self.card.profile().io;
        let memory = region != CONFIG_REGION && (ports == 0 || region != u32::from(index));
        if memory && count == 8 { 8 } else { 4 }
    }

    fn region_read(&mut self, payload: &[u8]) -> Answer {
        let (region, offset, count) = self.transfer(payload)?;
        let now = now(self.start);
        let mut reply = payload[..16].to_vec();
        for (at, size) in pieces(self.widest(region, count), offset, count) {
            let value = if region == CONFIG_REGION {
                u64::from(self.card.config_read(at as u16, size))
            } else {
                let value = self.card.read(now, region as u8, at, size);
                self.observe(false, region as u8, at, size, value);
                value
            };
            reply.extend_from_slice(&value.to_le_bytes()[..usize::from(size)]);
        }
        Ok(reply)
    }

    fn region_write(&mut self, payload: &[u8]) -> Answer {
        let (region, offset, count) = self.transfer(payload)?;
        let data = payload.get(16..16 + count).ok_or(libc::EINVAL)?;
        let now = now(self.start);
        for (at, size) in pieces(self.widest(region, count), offset, count) {
            let from = (at - offset) as usize;
            let mut word = [0; 8];
            word[..usize::from(size)].copy_from_slice(&data[from..from + usize::from(size)]);
            let value = u64::from_le_bytes(word);
            if region == CONFIG_REGION {
                self.card.config_write(at as u16, size, value as u32);
            } else {
                self.card.write(now, region as u8, at, size, value);
                self.observe(true, region as u8, at, size, value);
            }
        }
        Ok(payload[..16].to_vec())
    }
}

/// A transfer in naturally aligned accesses of at most `widest` bytes.
fn pieces(widest: u64, offset: u64, count: usize) -> impl Iterator<Item = (u64, u8)> {
    let end = offset + count as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let left = end - at;
        let fits = |size: &u64| *size <= widest.min(left) && at.is_multiple_of(*size);
        let size = [8, 4, 2, 1].into_iter().find(fits)?;
        at += size;
        Some((at - size, size as u8))
    })
}

/// Passes an error on, unless it only says that it is not yet the time.
fn may_wait(error: io::Error, deadline: Instant) -> io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted if Instant::now() < deadline => Ok(()),
        _ => Err(error),
    }
}

fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

#[cfg(test)]
mod tests;
