//! The control queue: commands to the device, one at a time (VIRTIO 1.2 §5.1.6.5).
//!
//! ```text
//!   [ class . command ] [ data ] read by the device   [ ack ] written by it
//! ```
//!
//! Each in a descriptor of its own, and each of a command's two tables, as legacy devices
//! want it (§5.1.6.5); modern ones take any.

use super::hw::{BellPlace, Hw};
use super::ring::{Notifier, Part, Virtqueue};
use crate::dma::Region;
use crate::driver::wait;
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Time for a command.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes for a command with its data, and where the answer goes behind them.
const COMMAND: usize = 4096 - 8;

/// What the answer is before there is one.
const UNANSWERED: u8 = 0xff;

/// Bytes of memory that commands need.
pub const MEMORY: usize = 4096;

/// A command: class, number, data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    name: &'static str,
    bytes: Vec<u8>,
    /// Where the second table begins, if there is one.
    second: Option<usize>,
}

impl Command {
    fn new(name: &'static str, class: u8, number: u8, data: &[u8]) -> Self {
        let mut bytes = vec![class, number];
        bytes.extend_from_slice(data);
        Command { name, bytes, second: None }
    }

    /// Its pieces, each of a descriptor.
    fn pieces(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let ends = [Some(2), self.second, Some(self.bytes.len())];
        let mut start = 0;
        ends.into_iter().flatten().map(move |end| std::mem::replace(&mut start, end)..end)
    }

    /// Receive frames for any address, or not (§5.1.6.5.1).
    pub fn promiscuous(on: bool) -> Self {
        Command::new("promiscuous mode", 0, 0, &[u8::from(on)])
    }

    /// Receive frames for any group, or not (§5.1.6.5.1).
    pub fn all_multicast(on: bool) -> Self {
        Command::new("all-multicast mode", 0, 1, &[u8::from(on)])
    }

    /// Receive these addresses besides its own: none, and these groups
    /// (§5.1.6.5.2).
    pub fn groups(groups: &[MacAddr]) -> Self {
        let mut data = Vec::from(0_u32.to_le_bytes());
        data.extend_from_slice(&(groups.len() as u32).to_le_bytes());
        groups.iter().for_each(|group| data.extend_from_slice(&group.0));
        Command { second: Some(2 + 4), ..Command::new("the multicast table", 1, 0, &data) }
    }

    /// The device's own address (§5.1.6.5.2).
    pub fn address(mac: MacAddr) -> Self {
        Command::new("a new address", 1, 1, &mac.0)
    }

    /// Uses this many pairs of queues (§5.1.6.5.5).
    pub fn pairs(pairs: u16) -> Self {
        Command::new("several queues", 4, 0, &pairs.to_le_bytes())
    }

    /// Most groups that fit into a command.
    pub const MOST_GROUPS: usize = (COMMAND - 2 - 8) / 6;
}

/// What a trace shows of a control queue.
pub struct Shown {
    /// Its memory.
    pub queue: Region,
    /// Where it is notified.
    pub place: BellPlace,
}

/// The control queue of a device.
pub struct Control<F> {
    ring: F,
    notifier: Notifier,
    memory: Region,
    shown: Shown,
    /// Commands given so far.
    turn: u32,
    /// Descriptors given so far.
    position: u32,
    /// The device did not answer: the queue is no longer in step.
    lost: bool,
}

impl<F: Virtqueue> Control<F> {
    /// The queue of `ring`, with [`MEMORY`] bytes for commands.
    pub fn new(ring: F, notifier: Notifier, memory: Region, shown: Shown) -> Self {
        Control { ring, notifier, memory, shown, turn: 0, position: 0, lost: false }
    }

    /// Has the device carry `command` out.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if it refuses, [`Kind::Timeout`] if it does not answer.
    pub fn run(&mut self, hw: &Hw, command: &Command) -> Result<()> {
        hw.alive()?;
        let what = command.name;
        if self.lost || command.bytes.len() > COMMAND {
            return Err(
                hw.error(Kind::Device, format!("{what}: its control queue does not answer any more; open it again"))
            );
        }
        let bytes = self.memory.bytes();
        for (to, from) in bytes.iter().zip(&command.bytes) {
            to.store(*from, Ordering::Relaxed);
        }
        let ack = &bytes[COMMAND];
        ack.store(UNANSWERED, Ordering::Relaxed);
        let iova = self.memory.iova();
        let given = |piece: std::ops::Range<usize>| Part {
            address: iova + piece.start as u64,
            len: piece.len() as u32,
            write: false,
        };
        let answer = Part { address: iova + COMMAND as u64, len: 1, write: true };
        let parts: Vec<Part> = command.pieces().map(given).chain([answer]).collect();
        let (turn, position) = (self.turn, self.position);
        self.ring.give_chain(turn, position, &parts);
        self.turn = turn.wrapping_add(1);
        self.position = position.wrapping_add(parts.len() as u32);
        let Shown { queue, place } = &self.shown;
        if let Some(trace) = place.bar.trace() {
            let code = u32::from(command.bytes[0]) << 8 | u32::from(command.bytes[1]);
            let said = self.memory.part(0, command.bytes.len());
            trace.command(code, what, &[said, self.memory.part(COMMAND, 1)]);
        }
        self.ring.publish(self.turn);
        if let Some(trace) = place.bar.trace() {
            trace.stored(std::slice::from_ref(queue));
            // Also where the device has seen it by itself: a model is told.
            let value = self.notifier.notice(&self.ring, self.turn, self.position);
            place.bar.note_ring(place.at, place.width, value.into());
        }
        self.notifier.tell(&self.ring, self.turn, self.position);

        let ring = &self.ring;
        let done = || {
            let done = match ring.completed(turn) {
                Some(count) => count != 0,
                None => ring.completion(turn, position).is_some(),
            };
            // A device that stopped, or is gone, will not answer any more.
            if done { 1 } else { hw.poll() }
        };
        let waited =
            wait::wait_until(hw, what, "completions of the control queue", PATIENCE, done, |done| done & 1 != 0);
        if let Err(error) = waited {
            self.lost = true;
            // What the device stopped for says more than that it did not answer.
            return hw.alive().and(Err(error));
        }
        hw.alive()?;
        if let Some(trace) = self.shown.place.bar.trace() {
            trace.answer(what, "done", &[self.memory.part(COMMAND, 1)]);
        }
        match ack.load(Ordering::Acquire) {
            0 => Ok(()),
            answer => Err(hw.error(Kind::Unsupported, format!("the device refuses {what} (its answer is {answer})"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_as_the_specification_draws_them() {
        assert_eq!(Command::promiscuous(true).bytes, [0, 0, 1]);
        assert_eq!(Command::pairs(0x0102).bytes, [4, 0, 2, 1]);
        assert_eq!(Command::address(MacAddr([2, 0, 0, 0, 0, 9])).bytes, [1, 1, 2, 0, 0, 0, 0, 9]);
        let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        assert_eq!(Command::groups(&[group]).bytes, [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1]);
        let pieces = |command: Command| command.pieces().map(|piece| piece.len()).collect::<Vec<_>>();
        assert_eq!(pieces(Command::promiscuous(true)), [2, 1]);
        assert_eq!(pieces(Command::groups(&[group; 2])), [2, 4, 16]);
        assert!(Command::groups(&vec![group; Command::MOST_GROUPS]).bytes.len() <= COMMAND);
    }
}
