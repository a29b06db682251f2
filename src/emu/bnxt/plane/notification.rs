//! Notification queues (P5): which completion queues have something, and what
//! happens of itself.
//!
//! ```text
//!   CQ, armed --> | handle | handle | event |  --armed--> MSI-X
//!   events -----/          ^ acked  ^ written
//! ```
//!
//! A full queue makes completion queues wait; events are lost.

use super::super::super::Board;
use super::entries::Entries;
use super::record::Entry;
use super::ring::Role;
use super::{AsyncEvent, Outcome, Plane, Refusal, record};

/// A notification queue.
pub struct Notification {
    entries: Entries,
    vector: Option<u16>,
    written: u32,
    acked: u32,
    armed: bool,
}

impl Notification {
    /// An empty queue.
    pub fn new(entries: Entries, vector: Option<u16>) -> Self {
        Notification { entries, vector, written: 0, acked: 0, armed: false }
    }

    /// The driver has read up to `index`; false if that is more than there was.
    pub fn ack(&mut self, index: u32) -> bool {
        let pending = self.written.wrapping_sub(self.acked);
        let read = index.wrapping_sub(self.acked) & self.entries.mask();
        let read = if read == 0 && pending == self.entries.len() { pending } else { read };
        if read > pending {
            return false;
        }
        self.acked = self.acked.wrapping_add(read);
        true
    }

    /// Entries in it.
    pub fn len(&self) -> u32 {
        self.entries.len()
    }

    /// The driver wants to hear of what comes next, or not.
    pub fn arm(&mut self, on: bool) {
        self.armed = on;
    }

    /// Interrupts if there is something and the driver wants to hear of it.
    pub fn announce(&mut self, board: &mut Board) {
        if self.armed
            && self.written != self.acked
            && let Some(vector) = self.vector
        {
            self.armed = false;
            board.bus.interrupts.signal(vector);
        }
    }
}

impl Plane {
    /// A notification queue by id.
    pub(super) fn nq(&mut self, id: u16) -> Option<&mut Notification> {
        match &mut self.rings.get_mut(id)?.role {
            Role::Notification(queue) => Some(queue),
            _ => None,
        }
    }

    /// Writes an entry; false if there is no room.
    pub(super) fn notify(&mut self, board: &mut Board, id: u16, entry: Entry) -> bool {
        let Some(queue) = self.nq(id) else { return true };
        if queue.written.wrapping_sub(queue.acked) >= queue.entries.len() {
            return false;
        }
        if let Some(meter) = board.bus.memory.meter() {
            meter.report(queue.entries.pieces(queue.written, 1), false);
        }
        queue.entries.write(queue.written, entry.words, &board.bus.memory);
        queue.written = queue.written.wrapping_add(1);
        queue.announce(board);
        true
    }

    /// The ring that events go to: a completion queue, on P5 a notification queue.
    pub fn set_async_ring(&mut self, ring: u16) -> Outcome<()> {
        let fits = match self.rings.get(ring).map(|ring| &ring.role) {
            Some(Role::Completion(_)) => !self.chip.p5(),
            Some(Role::Notification(_)) => true,
            _ => false,
        };
        self.events = self.rings.handle(ring).filter(|_| fits);
        self.events.map(|_| ()).ok_or(Refusal::INVALID)
    }

    /// Tells the driver of something; lost if there is no ring or room for it.
    pub fn post_async(&mut self, board: &mut Board, event: AsyncEvent) {
        let Some(ring) = self.events.filter(|ring| self.rings.holds(*ring)) else { return };
        let entry = record::event(&event);
        if self.chip.p5() {
            self.notify(board, ring.id, entry);
        } else {
            self.tell(board, ring.id, entry);
        }
    }

    /// HWRM_DONE: the command of this number was answered. To be called after the
    /// response was written. Linux names notification queues of P5 (bnxt_test_irq).
    pub fn post_done(&mut self, board: &mut Board, cq: u16, sequence: u16) {
        if self.nq(cq).is_some() {
            self.notify(board, cq, record::done(sequence));
            return;
        }
        if self.cq(cq).is_none() {
            board.violations.note("command that names a completion queue that there is not");
            return;
        }
        if self.lingering.is_active() {
            return self.tell_later(cq, sequence);
        }
        self.tell(board, cq, record::done(sequence));
    }

    /// Writes an entry of its own to a completion queue, now.
    fn tell(&mut self, board: &mut Board, cq: u16, entry: Entry) {
        if self.reserve(board, cq, 1) {
            self.post(board, cq, &[entry], true);
            self.serve_queues(board);
        }
    }
}
