//! The plug into an interface of the kernel: `packet:IFACE`.
//!
//! ```text
//!   emulated port --send-->  AF_PACKET socket  --> out of IFACE
//!                 <--peek--  [finish]          <-- in at IFACE
//! ```
//!
//! With one end of a veth pair the port talks to the other end, in a network
//! namespace for one. The kernel's own stack sees the frames of IFACE
//! too, so IFACE should have no address. Offloads stay on at the other end:
//! what they leave undone is [`finish`](super::finish)ed here.

use super::finish::finish;
use super::seldom::Seldom;
use super::{Fate, FrameQueue, MAX_FRAME, Note, Picos, Wire};
use crate::error::{Error, Kind, Result};
use crate::sys::net;
use crate::sys::packet::PacketSocket;
use std::cell::Cell;
use std::io;

/// Largest thing the kernel hands out: a super-frame.
const LARGEST: usize = 65536 + 256;

/// Blocks of 512 frames that the kernel keeps for us: 64 MB, or 32 ms of a million
/// frames a second, longer than a thread is put aside for.
const BLOCKS: u32 = 64;

/// What it keeps of frames that are longer than 1900 bytes, and what one
/// super-frame can become.
const LONG_ROOM: i32 = 8 << 20;
const ROOM: usize = 256 * 1024;

/// A raw socket on an interface.
pub struct Packet {
    name: String,
    socket: PacketSocket,
    /// Finished frames that came in.
    queue: FrameQueue,
    buffer: Vec<u8>,
    running: Cell<bool>,
    look: Seldom,
    /// Frames from the kernel that are longer than a wire carries.
    too_long: u64,
    /// Frames whose description by the kernel does not fit them.
    odd: u64,
    /// Frames that the kernel had and did not hand out.
    unread: u64,
    /// Looks at the socket, to read its count now and then.
    fetched: u32,
    refused: Refused,
}

/// Frames that the kernel did not take, by cause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused {
    /// Longer than the interface carries.
    too_long: u64,
    /// For another reason: the interface is down, or gone.
    other: u64,
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
        let socket = PacketSocket::open(index, BLOCKS, LONG_ROOM).map_err(|e| {
            Error::io(format!("packet:{name}: opening a raw socket"), e).hint("it takes root or CAP_NET_RAW")
        })?;
        Ok(Packet {
            name: name.into(),
            socket,
            queue: FrameQueue::new(ROOM),
            buffer: Vec::with_capacity(LARGEST),
            running: Cell::new(net::is_running(name).unwrap_or(false)),
            look: Seldom::new(),
            too_long: 0,
            odd: 0,
            unread: 0,
            fetched: 0,
            refused: Refused::default(),
        })
    }

    /// Reads what the kernel has next, unless that is nothing.
    fn fetch(&mut self, now: Picos) {
        // The kernel's count of what it dropped has 32 bits and starts anew when read.
        self.fetched = self.fetched.wrapping_add(1);
        if self.fetched.is_multiple_of(1 << 20) {
            self.socket.statistics();
        }
        let received = match self.socket.receive(&mut self.buffer, LARGEST) {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(_) => {
                self.unread += 1;
                return;
            }
        };
        if received.outgoing {
            return;
        }
        if received.len > LARGEST {
            self.too_long += 1;
            return;
        }
        let (queue, too_long) = (&mut self.queue, &mut self.too_long);
        let finished = finish(&mut self.buffer, &received, |frame| {
            let fits = frame.len() <= MAX_FRAME && queue.push(frame, now);
            *too_long += u64::from(!fits);
        });
        self.odd += u64::from(finished.is_none());
    }
}

impl Wire for Packet {
    fn send(&mut self, frame: &[u8], _: Picos) -> bool {
        self.socket.send(frame).map_or_else(|e| self.refused.is_lost(&e), |()| true)
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

    fn report(&mut self) -> Vec<Note> {
        let kernel = self.socket.statistics().dropped;
        let lost = |key, words, frames| Note::new(Fate::LostIn, key, words, frames);
        let mut report = vec![
            lost("kernel_dropped", "dropped by the kernel: the socket's ring was full", kernel),
            lost("over_long", "longer than a wire carries", self.too_long),
            lost("unread", "not handed out by the kernel", self.unread),
            lost("odd", "described by the kernel in a way that no card does", self.odd),
        ];
        report.extend(self.refused.report());
        report
    }
}

impl Refused {
    /// Whether the frame is lost, and counted by cause. It is not if the kernel's
    /// queue is full: then it is to be offered again.
    pub(super) fn is_lost(&mut self, error: &io::Error) -> bool {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => return false,
            Some(libc::EMSGSIZE) => self.too_long += 1,
            _ => self.other += 1,
        }
        true
    }

    pub(super) fn report(&self) -> [Note; 2] {
        let lost = |key, words, frames| Note::new(Fate::LostOut, key, words, frames);
        [
            lost("over_mtu", "refused by the kernel: longer than the interface's MTU allows", self.too_long),
            lost("refused", "refused by the kernel: is the interface up?", self.other),
        ]
    }
}
