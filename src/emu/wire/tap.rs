//! The plug into the kernel's network stack: `tap:NAME`.
//!
//! A TAP device is an Ethernet interface whose other end is a file. It comes
//! into being when the port is opened and goes when it is closed, unless it was
//! made beforehand (`ip tuntap add dev NAME mode tap`), which also lets an
//! ordinary user open it. The kernel finishes frames itself for it.

use super::packet::Refused;
use super::seldom::Seldom;
use super::{Fate, MAX_FRAME, MIN_FRAME, Note, Picos, Wire};
use crate::error::{Error, Result};
use crate::sys::net::{self, InterfaceCounters};
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};

/// Frames that the kernel is asked to keep for us: 32 ms of a million a second.
const QUEUE: i32 = 32_768;

/// The file end of a TAP device.
pub struct Tap {
    name: String,
    file: File,
    /// The frame on offer, its length and when it came.
    frame: Box<[u8; MAX_FRAME]>,
    held: Option<(usize, Picos)>,
    running: Cell<bool>,
    look: Seldom,
    refused: Refused,
    counters: Option<InterfaceCounters>,
    /// Frames that the kernel had dropped before, and the latest count.
    before: u64,
    dropped: u64,
}

impl Tap {
    /// Opens the TAP device `name` and brings it up.
    ///
    /// # Errors
    /// [`Kind::Permission`](crate::Kind::Permission) without the right to make
    /// or open it, otherwise what the kernel says.
    pub fn open(name: &str) -> Result<Self> {
        let file = net::open_tap(name).map_err(|e| {
            let busy = e.raw_os_error() == Some(libc::EBUSY);
            let hint = if busy {
                "another program has it open"
            } else {
                "it takes root, CAP_NET_ADMIN, or a device made for you"
            };
            Error::io(format!("tap:{name}: opening it"), e).hint(hint)
        })?;
        // A device that was made for an ordinary user is brought up by root.
        let up = net::bring_up(name);
        if !net::is_running(name).unwrap_or(false) {
            up.map_err(|e| {
                Error::io(format!("tap:{name}: bringing it up"), e).hint(format!("run `ip link set {name} up` as root"))
            })?;
        }
        // Its owner may be another user: then the queue is as long as it was made.
        let _ = net::set_queue_length(name, QUEUE);
        // Without /proc nobody can say what the kernel dropped.
        let counters = InterfaceCounters::open().ok();
        let before = counters.as_ref().and_then(|counters| counters.tx_dropped(name).ok()?).unwrap_or(0);
        Ok(Tap {
            name: name.into(),
            file,
            frame: Box::new([0; MAX_FRAME]),
            held: None,
            running: Cell::new(true),
            look: Seldom::new(),
            refused: Refused::default(),
            counters,
            before,
            dropped: before,
        })
    }
}

impl Wire for Tap {
    fn send(&mut self, frame: &[u8], _: Picos) -> bool {
        self.file.write_all(frame).map_or_else(|e| self.refused.is_lost(&e), |()| true)
    }

    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if self.held.is_none() {
            let len = self.file.read(&mut self.frame[..]).ok()?;
            // Padded as a sender's MAC would.
            self.frame[len..MIN_FRAME.max(len)].fill(0);
            self.held = Some((len.max(MIN_FRAME), now));
        }
        self.held.map(|(len, at)| (&self.frame[..len], at))
    }

    fn advance(&mut self) {
        self.held = None;
    }

    fn carrier(&self) -> bool {
        if self.look.is_due() {
            self.running.set(net::is_running(&self.name).unwrap_or(false));
        }
        self.running.get()
    }

    /// The kernel keeps frames for us, as long as its queue lasts.
    fn waits(&self) -> bool {
        true
    }

    fn report(&mut self) -> Vec<Note> {
        if let Some(Ok(Some(dropped))) = self.counters.as_ref().map(|counters| counters.tx_dropped(&self.name)) {
            self.dropped = dropped;
        }
        let dropped = self.dropped.saturating_sub(self.before);
        let words = "dropped by the kernel: the TAP device's queue was full";
        let mut report = vec![Note::new(Fate::LostIn, "kernel_dropped", words, dropped)];
        report.extend(self.refused.report());
        report
    }
}
