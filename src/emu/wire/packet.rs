//! The plug into an interface of the kernel: `packet:IFACE`.
//!
//! ```text
//!   emulated port --send-->  AF_PACKET socket  --> out of IFACE
//!                 <--peek--  [finish]          <-- in at IFACE
//! ```
//!
//! With one end of a veth pair the port talks to whoever has the other end, a
//! network namespace for one. The kernel's own stack sees the frames of IFACE
//! too, so IFACE should have no address. Offloads stay on at the other end:
//! what they leave undone is [`finish`](super::finish)ed here.

use super::finish::finish;
use super::seldom::Seldom;
use super::{FrameQueue, MAX_FRAME, Picos, Wire};
use crate::error::{Error, Kind, Result};
use crate::sys::net;
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

/// Largest thing the kernel hands out: a super-frame.
const LARGEST: usize = 65536 + 256;

/// What the kernel is asked to keep for us, and what one super-frame can become.
const KERNEL_ROOM: i32 = 8 << 20;
const ROOM: usize = 256 * 1024;

/// A raw socket on an interface.
pub struct Packet {
    name: String,
    socket: OwnedFd,
    /// Finished frames that came in.
    queue: FrameQueue,
    buffer: Vec<u8>,
    running: Cell<bool>,
    look: Seldom,
    counts: Counts,
}

/// What did not pass, by cause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Longer than a wire or the interface carries.
    pub(super) too_long: u64,
    /// Not to be finished.
    pub(super) odd: u64,
    /// Refused by the kernel.
    pub(super) refused: u64,
}

impl Packet {
    /// Plugs into the interface `name`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is none, [`Kind::Permission`] without the
    /// right to raw sockets.
    pub fn open(name: &str) -> Result<Self> {
        let index = net::interface_index(name)
            .map_err(|e| Error::io(format!("packet:{name}: looking for the interface"), e).with_kind(Kind::NotFound))?;
        let socket = net::packet_socket(index).map_err(|e| {
            Error::io(format!("packet:{name}: opening a raw socket"), e).hint("it takes root or CAP_NET_RAW")
        })?;
        net::set_receive_buffer(&socket, KERNEL_ROOM);
        Ok(Packet {
            name: name.into(),
            socket,
            queue: FrameQueue::new(ROOM),
            buffer: Vec::with_capacity(LARGEST),
            running: Cell::new(net::is_running(name).unwrap_or(false)),
            look: Seldom::new(),
            counts: Counts::default(),
        })
    }

    /// Reads what the kernel has next, unless that is nothing.
    fn fetch(&mut self, now: Picos) {
        self.buffer.resize(LARGEST, 0);
        let Ok(received) = net::receive(&self.socket, &mut self.buffer) else { return };
        if received.outgoing {
            return;
        }
        if received.len > LARGEST {
            self.counts.too_long += 1;
            return;
        }
        self.buffer.truncate(received.len);
        let (queue, too_long) = (&mut self.queue, &mut self.counts.too_long);
        let finished = finish(&mut self.buffer, &received, |frame| {
            let fits = frame.len() <= MAX_FRAME && queue.push(frame, now);
            *too_long += u64::from(!fits);
        });
        self.counts.odd += u64::from(finished.is_none());
    }
}

impl Wire for Packet {
    fn send(&mut self, frame: &[u8], _: Picos) -> bool {
        match net::send(&self.socket, frame) {
            Ok(()) => true,
            Err(e) => !self.counts.refused(&e),
        }
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if self.queue.is_empty() {
            self.fetch(now);
        }
        self.queue.front()
    }

    fn advance(&mut self) {
        self.queue.pop();
    }

    fn carrier(&self) -> bool {
        if self.look.is_due() {
            self.running.set(net::is_running(&self.name).unwrap_or(false));
        }
        self.running.get()
    }

    /// The kernel keeps frames for us, as long as its buffer lasts.
    fn waits(&self) -> bool {
        true
    }

    fn report(&self) -> Vec<(&'static str, u64)> {
        self.counts.report()
    }
}

impl Counts {
    /// Whether to offer the frame again: the kernel's queue is full. Otherwise
    /// the frame is lost, and counted by cause.
    pub(super) fn refused(&mut self, error: &io::Error) -> bool {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => return true,
            Some(libc::EMSGSIZE) => self.too_long += 1,
            _ => self.refused += 1,
        }
        false
    }

    pub(super) fn report(&self) -> Vec<(&'static str, u64)> {
        vec![("too_long", self.too_long), ("odd", self.odd), ("refused", self.refused)]
    }
}
