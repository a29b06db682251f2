//! Event queues: what is told to a driver, and interrupts.
//!
//! ```text
//!   event --> EQ that asked for its number --> entry (owner 0, 1 by laps) --armed?--> MSI-X
//!   completion --> EQ that its CQ names ------^
//! ```
//!
//! One interrupt takes the arm off. Arming while there is something unread interrupts
//! at once. Without leave to write over unread entries a queue that runs over is dead,
//! and the health buffer says so.

use super::super::super::Board;
use super::be::set_bits;
use super::owned::{context, free};
use super::ring::{self, Ring};
use super::spec::EqSpec;
use super::{Outcome, Plane, Status};

/// Positions have 24 bits.
const POSITION: u32 = 0xff_ffff;

/// Bytes of the context.
const CONTEXT: usize = 0x40;

/// Completions, which are in no queue's list of events.
pub const COMPLETION: u8 = 0x00;
/// A completion queue failed.
pub const CQ_ERROR: u8 = 0x04;
/// A work queue is unusable.
pub const WQ_CATASTROPHE: u8 = 0x05;

/// What the health buffer says of a queue that ran over.
const EVENTS_OVERRUN: u8 = 0x0c;
const EQ_ERROR: u8 = 0x0d;

/// What firmware adds where a queue asks for events that there are not.
const UNKNOWN_EVENT: u32 = 0x8fef;

/// An event queue.
pub struct Eq {
    pub spec: EqSpec,
    ring: Ring,
    producer: u32,
    consumer: u32,
    armed: bool,
    dead: bool,
    context: Vec<u8>,
}

impl Eq {
    /// Entries that were not read yet, as far as it was told.
    fn unread(&self) -> u32 {
        self.producer.wrapping_sub(self.consumer) & POSITION
    }

    /// Interrupts, if it is armed and there is something to read.
    fn announce(&mut self, board: &mut Board) {
        if self.armed && self.unread() != 0 {
            self.armed = false;
            board.bus.interrupts.signal(self.spec.vector);
        }
    }
}

impl Plane {
    /// CREATE_EQ: its number.
    pub fn create_eq(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let mut spec = EqSpec::of(request);
        let [events, others @ ..] = spec.events;
        if events & !self.limits.events != 0 || others != [0; 3] {
            return Err(Status::BAD_PARAMETER.with(UNKNOWN_EVENT));
        }
        if spec.place.log_size > self.limits.log_eq || spec.vector >= board.bus.interrupts.count() {
            return Err(Status::BAD_PARAMETER);
        }
        if !self.uars.holds(spec.uar) {
            return Err(Status::BAD_RESOURCE);
        }
        if self.eqs.count() >= self.limits.eqs {
            return Err(Status::EXCEEDS_LIMIT);
        }
        let ring = Ring::new(&mut spec.place, 6)?;
        if !ring.is_softwares(&board.bus.memory) {
            board.violations.note("event queue whose entries do not all say that they are not valid yet");
        }
        let context = context(request, 0x10, CONTEXT);
        let eq = Eq { spec, ring, producer: 0, consumer: 0, armed: false, dead: false, context };
        let eqn = self.eqs.insert(eq, None).ok_or(Status::NO_RESOURCES)?;
        if eqn > 0xff {
            self.eqs.remove(eqn);
            return Err(Status::NO_RESOURCES);
        }
        Ok(eqn)
    }

    /// QUERY_EQ: its context.
    pub fn query_eq(&self, id: u32) -> Outcome<Vec<u8>> {
        let eq = self.eqs.get(id).ok_or(Status::BAD_RESOURCE)?;
        let mut context = eq.context.clone();
        set_bits(&mut context, 0x00, 31, 28, if eq.dead { 0xa } else { 0 });
        set_bits(&mut context, 0x00, 11, 8, if eq.armed { 9 } else { 0xa });
        set_bits(&mut context, 0x28, 23, 0, eq.consumer);
        set_bits(&mut context, 0x2c, 23, 0, eq.producer);
        Ok(context)
    }

    /// DESTROY_EQ: no completion queue may name it.
    pub fn destroy_eq(&mut self, id: u32) -> Outcome<()> {
        let used = self.cqs.iter().any(|(_, cq)| cq.spec.eqn == id);
        let eqs = &mut self.eqs;
        free(used, || eqs.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// Whether a queue asked for events of this number.
    pub fn subscribed(&self, kind: u8) -> bool {
        self.eqs.iter().any(|(_, eq)| wants(eq, kind))
    }

    /// Something happened: it is told to each queue that asked for events of its number.
    /// `data` begins at byte 0x20 of the entry.
    pub fn event(&mut self, board: &mut Board, kind: u8, subtype: u8, data: [u8; 28]) {
        let queues: Vec<u32> = self.eqs.iter().filter(|(_, eq)| wants(eq, kind)).map(|(id, _)| id).collect();
        for eqn in queues {
            self.post_event(board, eqn, kind, subtype, data);
        }
    }

    /// An event whose words at 0x14 and 0x18 are a kind and a queue's number.
    pub(super) fn queue_event(&mut self, board: &mut Board, kind: u8, of: u8, queue: u32) {
        let mut data = [0; 28];
        data[0x14] = of;
        data[0x18..].copy_from_slice(&queue.to_be_bytes());
        self.event(board, kind, 0, data);
    }

    /// A completion queue has something for who waits.
    pub(super) fn completion_event(&mut self, board: &mut Board, eqn: u32, cqn: u32) {
        let mut data = [0; 28];
        data[0x18..].copy_from_slice(&cqn.to_be_bytes());
        self.post_event(board, eqn, COMPLETION, 0, data);
    }

    fn post_event(&mut self, board: &mut Board, eqn: u32, kind: u8, subtype: u8, data: [u8; 28]) {
        let Some(eq) = self.eqs.get_mut(eqn).filter(|eq| !eq.dead) else { return };
        if eq.unread() >= eq.ring.len() && !eq.spec.ignores_overrun {
            eq.dead = true;
            self.trouble = Some(if eq.spec.events[0] != 0 { EVENTS_OVERRUN } else { EQ_ERROR });
            return;
        }
        let at = if eq.spec.collapsed { 0 } else { eq.producer };
        let mut entry = [0; 64];
        (entry[0x01], entry[0x03], entry[0x3f]) = (kind, subtype, eq.ring.lap(eq.producer));
        entry[0x20..0x3c].copy_from_slice(&data);
        if let Some(meter) = board.bus.memory.meter() {
            meter.report([(eq.ring.slot(at), 64)], false);
        }
        ring::write(eq.ring.slot(at), &entry, false, &board.bus.memory);
        eq.producer = (eq.producer + 1) & POSITION;
        eq.announce(board);
    }

    /// A driver has read up to `consumer`, and wants to be told of more, or not.
    pub(super) fn acknowledge_events(&mut self, board: &mut Board, eqn: u32, consumer: u32, arms: bool) {
        let Some(eq) = self.eqs.get_mut(eqn) else {
            board.violations.note("doorbell of an event queue that there is not");
            return;
        };
        let ahead = consumer.wrapping_sub(eq.consumer) & POSITION;
        if ahead > eq.unread() {
            board.violations.note("doorbell of an event queue with a position that was not reached yet");
            return;
        }
        eq.consumer = consumer;
        eq.armed |= arms;
        eq.announce(board);
    }
}

/// Whether a queue asked for events of this number.
fn wants(eq: &Eq, kind: u8) -> bool {
    eq.spec.events[usize::from(kind >> 6)] >> (kind & 0x3f) & 1 == 1
}
