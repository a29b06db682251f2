//! A ring of packets that others read, each at its own pace.
//!
//! ```text
//!   Publisher                     memory, sealed                Subscriber, any number
//!   a thread that captures  ---->  | control | block | block | ... |  ---->  reads, counts its losses
//!   Door: a thread that waits at /dev/shm/bmnic-ring-NAME and hands the memory out
//! ```
//!
//! The publisher writes and never looks at what it shares: it does not know of its
//! readers, waits for nothing, and from [`Publisher::create`] to its end makes no system
//! call and allocates nothing. Nothing that a reader does can reach it: the memory has no
//! file, is handed out for reading only, and is sealed against any other writer
//! (`F_SEAL_FUTURE_WRITE`). The same seals (`F_SEAL_SHRINK`) are what a reader can rely
//! on: memory that cannot shrink raises no SIGBUS, whatever becomes of the publisher. A
//! reader refuses memory without them. It holds a page for each byte before it is handed
//! out, and goes with the last process that has it mapped, so a killed publisher leaves a
//! socket's name behind and nothing else.
//!
//! A reader believes nothing in the memory beyond its bounds: garbage is
//! [`Damaged`], never a crash. Whether the publisher lives is asked of the kernel, which
//! drops its lock when it dies.
//!
//! Packets are secrets. The name is this user's and root's, unless the publisher opens it
//! to a group or to all ([`Readers`]); who cannot connect to it cannot read.
//!
//! The protocol is in [`ring`], where it is generic over the atomics, so that a test
//! runs it under loom (`tests/publish_model.rs`). Programs in C have `bmnic_ring.h`, beside this file.

mod door;
pub mod layout;
mod memory;
pub mod name;
pub mod ring;
mod subscriber;
#[cfg(test)]
mod tests;

pub use door::Readers;
pub use name::{Whose, directory};
pub use ring::{Begin, Damaged, Packet};
pub use subscriber::{End, Event, Subscriber};

use crate::error::{Error, Kind, Result};
use door::{Door, RING};
use layout::State;
use memory::Shared;
use std::path::{Path, PathBuf};

/// Least and most memory of a ring.
pub const SIZES: std::ops::RangeInclusive<u64> = 2 << 20..=64 << 30;

/// What to publish, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The ring's name: letters, digits, `.`, `-` and `_`.
    pub name: &'a str,
    /// Bytes of memory, in [`SIZES`].
    pub size: u64,
    /// Bytes to keep of each packet; no more than what a block holds.
    pub snaplen: usize,
    /// Who may read besides this user and root.
    pub readers: &'a Readers,
    /// What the packets come from, for people.
    pub source: &'a str,
}

/// The end of a ring that writes. When it is dropped without [`Publisher::end`], as by a
/// panic, readers are told that it failed.
#[derive(Debug)]
pub struct Publisher {
    writer: ring::Writer<Shared>,
    door: Door,
    state: State,
}

impl Publisher {
    /// Makes the memory, takes the name, and lets readers in.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name or a size that cannot be, [`Kind::Refused`] if a living
    /// publisher has the name, [`Kind::Memory`] without memory of that size, otherwise
    /// what the operating system says.
    pub fn create(plan: &Plan<'_>) -> Result<Publisher> {
        Self::create_in(&directory(), plan)
    }

    fn create_in(directory: &Path, plan: &Plan<'_>) -> Result<Publisher> {
        let path = path(directory, plan.name)?;
        if !SIZES.contains(&plan.size) {
            let line = format!("a ring of {} bytes cannot be published; use 2M to 64G", plan.size);
            return Err(Error::new(Kind::Usage, line));
        }
        let name = plan.name;
        let (memory, file) =
            Shared::create(plan.size, plan.snaplen, plan.source).map_err(|e| e.of(format_args!("ring {name}")))?;
        let writer = ring::Writer::new(memory);
        let door = Door::open(directory, path, name, plan.readers, file)?;
        Ok(Publisher { writer, door, state: State::Failed })
    }

    /// Takes a packet, which readers see from the next [`Publisher::publish`] on.
    /// `time`: ns since 1970.
    #[inline]
    pub fn put(&mut self, time: u64, frame: &[u8]) {
        self.writer.put(time, frame);
    }

    /// The same of a packet that lies in several buffers.
    pub fn put_parts(&mut self, time: u64, parts: &[&[u8]]) {
        self.writer.put_parts(time, parts);
    }

    /// Shows readers what was taken. To be called once a burst.
    #[inline]
    pub fn publish(&mut self) {
        self.writer.publish();
    }

    /// Packets taken so far.
    pub fn count(&self) -> u64 {
        self.writer.count()
    }

    /// Whether the memory is of huge pages.
    pub fn is_huge(&self) -> bool {
        self.writer.memory().is_huge()
    }

    /// Bytes to keep of each packet.
    pub fn snaplen(&self) -> usize {
        self.writer.most()
    }

    /// The socket at which readers find it.
    pub fn path(&self) -> &Path {
        self.door.path()
    }

    /// Publishes what was taken, and says that no more will come. How many packets.
    pub fn end(mut self) -> u64 {
        self.state = State::Ended;
        self.count()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.writer.publish();
        self.writer.memory().set_state(self.state);
        // Then the door closes: who came in late finds a ring that has ended.
    }
}

/// The socket of a ring.
///
/// # Errors
/// [`Kind::Usage`] for what is no name.
fn path(directory: &Path, name: &str) -> Result<PathBuf> {
    name::path(directory, RING, name)
}
