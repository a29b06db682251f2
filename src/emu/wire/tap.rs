//! The plug into the kernel's network stack: `tap:NAME`.
//!
//! A TAP device is an Ethernet interface whose other end is a file. It comes
//! into being when the port is opened and goes when it is closed, unless it was
//! made beforehand (`ip tuntap add dev NAME mode tap`), which also lets an
//! ordinary user open it. The kernel finishes frames itself for it.

use super::packet::Counts;
use super::seldom::Seldom;
use super::{MAX_FRAME, MIN_FRAME, Picos, Wire};
use crate::error::{Error, Result};
use crate::sys::net;
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};

/// The file end of a TAP device.
pub struct Tap {
    name: String,
    file: File,
    /// The frame on offer, its length and when it came.
    frame: Box<[u8; MAX_FRAME]>,
    held: Option<(usize, Picos)>,
    running: Cell<bool>,
    look: Seldom,
    counts: Counts,
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
        Ok(Tap {
            name: name.into(),
            file,
            frame: Box::new([0; MAX_FRAME]),
            held: None,
            running: Cell::new(true),
            look: Seldom::new(),
            counts: Counts::default(),
        })
    }
}

impl Wire for Tap {
    fn send(&mut self, frame: &[u8], _: Picos) -> bool {
        match self.file.write_all(frame) {
            Ok(()) => true,
            Err(e) => !self.counts.refused(&e),
        }
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

    fn report(&self) -> Vec<(&'static str, u64)> {
        self.counts.report()
    }
}
