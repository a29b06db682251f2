//! Completion queues: all that rings have to tell.
//!
//! ```text
//!   rings --record--> held --count, timer, or at once--> memory --armed--> MSI-X (P4)
//!                                            |                      '---> NQ (P5)
//!      | read | read | new | new |           |
//!             ^ acked        ^ written: V toggles from pass to pass
//! ```
//!
//! A slot that was not acknowledged is never written: when there is no room, the
//! queue is dead. Records are held back before they are written, so coalescing
//! delays who polls, too.

use super::super::super::{Act, Board, Picos, bits};
use super::entries::{Entries, Words, write};
use super::record::{Entry, Part};
use super::ring::Role;
use super::slab::Handle;
use super::{Coalescing, Outcome, Plane, Refusal, record};
use crate::dma::Iova;

/// A unit of coalescing timers.
const UNIT: Picos = 80_000;

/// How a queue coalesces until it is told.
const COUNT: u16 = 30;
const TIMER: u16 = 350;

/// The longest that late parts of a record take (nasty).
const LATE_HALF: Picos = 5_000_000;
const LATE_BUFFER: Picos = 20_000_000;

/// Counts have six bits.
const MOST: u16 = 63;

/// A completion queue.
pub struct Completion {
    pub entries: Entries,
    /// MSI-X vector (P4), if it interrupts.
    pub vector: Option<u16>,
    /// Notification queue, and what it calls this one (P5).
    pub nq: Option<Handle>,
    pub handle: u64,
    /// Entries that were written, and that the driver has read.
    written: u32,
    acked: u32,
    /// Entries that wait for more, the records among them, and since when.
    held: Vec<Entry>,
    records: u16,
    since: Picos,
    /// It announces what is behind `acked`.
    armed: bool,
    /// When the first entry was written that was not announced.
    unannounced: Option<Picos>,
    /// It was announced and not armed again.
    under_way: bool,
    /// It ran over.
    pub dead: bool,
    /// Nothing is held, whatever was set.
    pub at_once: bool,
    hold: Hold,
    /// It is on the list of those that have something to do.
    listed: bool,
}

/// How long records and interrupts wait for company.
#[derive(Clone, Copy)]
struct Hold {
    count: [u16; 2],
    timer: [u16; 2],
    latency: u16,
    interrupt: u16,
    /// Nothing waits while all that was written was read.
    idle: bool,
}

/// A part of a record that is written later (nasty).
pub struct Late {
    queue: u16,
    at: Picos,
    slot: Iova,
    words: Words,
}

impl Completion {
    /// An empty queue.
    pub fn new(entries: Entries, vector: Option<u16>, nq: Option<Handle>, handle: u64) -> Self {
        Completion {
            entries,
            vector,
            nq,
            handle,
            written: 0,
            acked: 0,
            held: Vec::new(),
            records: 0,
            since: 0,
            armed: false,
            unannounced: None,
            under_way: false,
            dead: false,
            at_once: false,
            hold: Hold { count: [COUNT; 2], timer: [TIMER; 2], latency: 0, interrupt: 1, idle: false },
            listed: false,
        }
    }

    /// Entries that were written and not read.
    fn pending(&self) -> u32 {
        self.written.wrapping_sub(self.acked)
    }

    /// Entries that there is room for.
    #[inline]
    pub fn room(&self) -> u32 {
        self.entries.len().saturating_sub(self.unread())
    }

    /// Entries that the driver has not read, written or not.
    pub fn unread(&self) -> u32 {
        self.pending() + self.held.len() as u32
    }

    /// The driver has read so much that there is room for `entries`: as much as was
    /// written, at most.
    fn presume_read(&mut self, entries: u32) {
        let missing = entries.saturating_sub(self.room());
        self.acked = self.acked.wrapping_add(missing.min(self.pending()));
    }

    /// Whether what is held is to be written.
    fn due(&self, now: Picos) -> bool {
        let now_on = usize::from(self.under_way);
        self.at_once
            || self.records >= self.hold.count[now_on]
            || now >= self.since + Picos::from(self.hold.timer[now_on]) * UNIT
            || self.hold.idle && self.pending() == 0
    }

    /// Whether what was written is to be announced.
    fn tells(&self, now: Picos) -> bool {
        let waited = |since: Picos| now >= since + Picos::from(self.hold.latency) * UNIT;
        let enough = self.pending() >= u32::from(self.hold.interrupt);
        self.armed && self.unannounced.is_some_and(|since| enough || waited(since))
    }

    /// The driver has read up to `index`; false if that is more than there was.
    pub fn ack(&mut self, index: u32) -> bool {
        let read = index.wrapping_sub(self.acked) & self.entries.mask();
        // Of a full queue, nothing and all look the same.
        let read = if read == 0 && self.pending() == self.entries.len() { self.pending() } else { read };
        if read > self.pending() {
            return false;
        }
        self.acked = self.acked.wrapping_add(read);
        true
    }

    /// The driver wants to hear of what comes next, and at once of what is there; or
    /// of nothing.
    pub fn arm(&mut self, on: bool) {
        self.armed = on;
        if on {
            self.under_way = false;
            self.unannounced = (self.pending() > 0).then_some(0);
        }
    }

    /// Takes new times; what they may be is checked before.
    fn coalesce(&mut self, how: &Coalescing, enables: u16) {
        for bit in bits(u128::from(enables)) {
            match bit {
                0 => self.hold.count[0] = how.count[0],
                1 => self.hold.count[1] = how.count[1],
                2 => self.hold.timer = how.timer,
                4 => self.hold.latency = how.latency[1],
                5 => self.hold.interrupt = how.interrupt,
                _ => {}
            }
        }
        self.hold.idle = how.flags & 2 != 0;
    }
}

impl Plane {
    /// A completion queue by id.
    #[inline]
    pub(super) fn cq(&mut self, id: u16) -> Option<&mut Completion> {
        match &mut self.rings.get_mut(id)?.role {
            Role::Completion(queue) => Some(queue),
            _ => None,
        }
    }

    /// Makes sure of room for `entries`. Without it the queue is dead from now on.
    #[inline]
    pub(super) fn reserve(&mut self, board: &mut Board, id: u16, entries: u32) -> bool {
        match self.cq(id) {
            None => return false,
            Some(queue) if queue.dead => return false,
            Some(queue) if queue.room() >= entries => return true,
            Some(_) => {}
        }
        // The driver may have read on since this step began.
        self.poll(board);
        let concludes = self.concludes();
        let Some(queue) = self.cq(id) else { return false };
        if concludes {
            queue.presume_read(entries);
        }
        if queue.room() < entries {
            queue.dead = true;
            board.violations.note("completion queue overflow: more entries than were read");
        }
        !queue.dead
    }

    /// Puts a record into a queue with room for it; in memory it is when its time
    /// has come, or `at_once` with all before it.
    #[inline]
    pub(super) fn post(&mut self, board: &mut Board, id: u16, record: &[Entry], at_once: bool) {
        let now = board.now;
        let Some(queue) = self.cq(id) else { return };
        if queue.held.is_empty() {
            queue.since = now;
        }
        queue.held.extend_from_slice(record);
        queue.records += 1;
        if at_once || queue.due(now) {
            self.flush(board, id);
        }
        self.list(id);
    }

    /// The same of a packet; never, twice or later, if that is what goes wrong (fault).
    #[inline]
    pub(super) fn say(&mut self, board: &mut Board, id: u16, record: &[Entry], at_once: bool, act: Option<Act>) {
        match act {
            Some(Act::Never) => {}
            Some(Act::Twice) => {
                self.post(board, id, record, at_once);
                if self.reserve(board, id, record.len() as u32) {
                    self.post(board, id, record, at_once);
                }
            }
            Some(Act::Late(by)) => self.post_late(board, id, record, by),
            _ => self.post(board, id, record, at_once),
        }
    }

    /// The same, so much later than what is held (fault).
    #[cold]
    fn post_late(&mut self, board: &mut Board, id: u16, record: &[Entry], by: Picos) {
        self.flush(board, id);
        let Some(Role::Completion(queue)) = self.rings.get_mut(id).map(|ring| &mut ring.role) else { return };
        let memory = &board.bus.memory;
        let first = queue.written;
        memory.later(by, || {
            for (n, entry) in (0..record.len() as u32).zip(record).rev() {
                queue.entries.write(first.wrapping_add(n), entry.words, memory);
            }
        });
        queue.written = first.wrapping_add(record.len() as u32);
        queue.unannounced = queue.unannounced.or(Some(board.now + by));
        self.list(id);
    }

    /// Remembers that a queue has something to do.
    fn list(&mut self, id: u16) {
        let Some(queue) = self.cq(id) else { return };
        if !queue.listed {
            queue.listed = true;
            self.busy.push(id);
        }
    }

    /// Writes what a queue holds.
    fn flush(&mut self, board: &mut Board, id: u16) {
        let Some(Role::Completion(queue)) = self.rings.get_mut(id).map(|ring| &mut ring.role) else { return };
        let memory = &board.bus.memory;
        let count = queue.held.len() as u32;
        if count == 0 {
            return;
        }
        let first = queue.written;
        if let Some(meter) = memory.meter() {
            let written = |(n, _): (u32, &Entry)| queue.entries.slot(first.wrapping_add(n));
            let there = (0..).zip(&queue.held).filter(|(_, entry)| !matches!(entry.part, Part::Never));
            let sent = queue.held.first().is_some_and(record::is_transmit);
            meter.report(there.map(|entry| (written(entry), 16)), sent);
        }
        // The first slot last: who sees it may read all of them.
        for (at, entry) in queue.held.drain(..).enumerate().rev() {
            let at = first.wrapping_add(at as u32);
            let limit = match entry.part {
                Part::Never => continue,
                Part::Half => LATE_HALF,
                Part::Buffer => LATE_BUFFER,
                Part::Head => 0,
            };
            let late = if board.nasty && limit != 0 { board.random.below(limit) } else { 0 };
            if late == 0 {
                queue.entries.write(at, entry.words, memory);
            } else {
                let words = [entry.words[0], entry.words[1] | queue.entries.phase(at)];
                self.late.push(Late { queue: id, at: board.now + late, slot: queue.entries.slot(at), words });
            }
        }
        queue.records = 0;
        queue.written = first.wrapping_add(count);
        queue.unannounced = queue.unannounced.or(Some(board.now));
    }

    /// Writes late parts of records, whose time has come or whose queue goes.
    pub(super) fn mend(&mut self, board: &Board, queue: Option<u16>) {
        self.late.retain(|late| {
            let due = late.at <= board.now || queue == Some(late.queue);
            if due {
                board.bus.memory.fall_behind();
                write(late.slot, late.words, &board.bus.memory);
            }
            !due
        });
    }

    /// Writes and announces whatever is due.
    pub(super) fn serve_queues(&mut self, board: &mut Board) {
        let mut at = 0;
        while let Some(&id) = self.busy.get(at) {
            if self.serve_queue(board, id) {
                at += 1;
            } else {
                self.busy.swap_remove(at);
            }
        }
    }

    /// True while there is still something to do.
    fn serve_queue(&mut self, board: &mut Board, id: u16) -> bool {
        let now = board.now;
        let Some(queue) = self.cq(id) else { return false };
        if !queue.held.is_empty() && queue.due(now) {
            self.flush(board, id);
        }
        let Some(queue) = self.cq(id) else { return false };
        if queue.tells(now) {
            let (vector, nq, handle) = (queue.vector, queue.nq, queue.handle);
            let told = match (vector, self.live(nq)) {
                (_, Some(nq)) => self.notify(board, nq, record::notification(handle)),
                (Some(vector), None) => {
                    board.bus.interrupts.signal(vector);
                    true
                }
                (None, None) => true,
            };
            if let Some(queue) = self.cq(id).filter(|_| told) {
                (queue.armed, queue.under_way, queue.unannounced) = (false, true, None);
            }
        }
        let Some(queue) = self.cq(id) else { return false };
        queue.listed = !queue.held.is_empty() || queue.armed && queue.unannounced.is_some();
        queue.listed
    }

    /// A queue was armed.
    pub(super) fn armed(&mut self, board: &mut Board, id: u16) {
        self.list(id);
        if !self.serve_queue(board, id) {
            self.busy.retain(|busy| *busy != id);
        }
    }

    /// RING_CMPL_RING_CFG_AGGINT_PARAMS. On P4 all fields count.
    pub fn set_coalescing(&mut self, how: &Coalescing) -> Outcome<()> {
        let enables = if self.chip.p5() { how.enables & 0x3f } else { 0x3f };
        let on = |bit: u16| enables >> bit & 1 == 1;
        let bad = |count: u16| count == 0 || count > MOST;
        let wrong = on(0) && bad(how.count[0])
            || on(1) && bad(how.count[1])
            || on(2) && how.timer.contains(&0)
            || on(3) && how.latency[0] == 0
            || on(4) && how.latency[1] == 0
            || on(5) && bad(how.interrupt);
        match &mut self.rings.get_mut(how.ring).ok_or(Refusal::INVALID)?.role {
            _ if wrong => Err(Refusal::INVALID),
            Role::Completion(queue) => {
                queue.coalesce(how, enables);
                Ok(())
            }
            Role::Notification(_) if how.flags & 4 != 0 => Ok(()),
            _ => Err(Refusal::INVALID),
        }
    }
}
