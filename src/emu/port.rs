//! A card's port: its MAC, and the loop inside the card in front of it.

use super::Picos;
use super::flaw::Flaw;
use super::pcie::pace::Due;
use super::wire::{FrameQueue, Mac, Note, Sent};
use std::sync::Arc;

/// Bytes of frames that loop inside a card.
const LOOP: usize = 64 << 10;

/// Where a card's frames leave it and come from.
pub struct MacPort {
    /// Its end of the wire.
    pub mac: Mac,
    /// What is sent comes back inside the card: neither way passes the wire.
    pub looping: bool,
    looped: FrameQueue,
    /// What goes wrong with frames.
    flaw: Option<Box<Flaw>>,
    /// When what is sent is in the card, and has left.
    due: Option<Arc<Due>>,
    /// Frames wait on the wire: what arrived before has not got through PCIe.
    pub(super) held: bool,
}

impl MacPort {
    pub(super) fn new(mac: Mac, flaw: Option<Box<Flaw>>) -> Self {
        MacPort { mac, looping: false, looped: FrameQueue::new(LOOP), flaw, due: None, held: false }
    }

    /// What is sent leaves no sooner than `due` says, and is taken so far ahead of the wire.
    pub(super) fn wait_for(&mut self, due: Arc<Due>, ahead: Picos) {
        self.due = Some(due);
        self.mac.fetch_ahead(ahead);
    }

    /// Sends a frame: when its last bit leaves, or nothing if there is no time
    /// for it yet.
    #[inline]
    pub fn send(&mut self, frame: &[u8], now: Picos) -> Option<Picos> {
        self.send_from(frame, now, 0)
    }

    /// The same, and it does not begin to leave before `from`.
    #[inline]
    pub fn send_from(&mut self, frame: &[u8], now: Picos, from: Picos) -> Option<Picos> {
        if self.flaw.as_mut().is_some_and(|flaw| flaw.keeps()) {
            return None;
        }
        let ready = self.due.as_ref().map_or(0, |due| due.ready()).max(from);
        let left = if self.looping {
            let at = now.max(ready);
            self.looped.push(frame, at).then_some(at)
        } else {
            match self.mac.send_ready(frame, now, ready) {
                Sent::Done(at) => Some(at),
                Sent::Busy | Sent::Paused => None,
            }
        };
        if let (Some(due), Some(left)) = (&self.due, left) {
            due.set_left(left);
        }
        left
    }

    /// The next frame that has arrived, and when.
    #[inline]
    pub fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if self.held {
            return None;
        }
        if self.flaw.is_some() {
            return self.flawed(now);
        }
        self.next(now)
    }

    #[inline]
    fn next(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if self.looping { self.looped.front().filter(|(_, at)| *at <= now) } else { self.mac.peek(now) }
    }

    /// The same of a card with which something is wrong.
    #[cold]
    fn flawed(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        let flaw = self.flaw.as_mut()?;
        loop {
            let next = if self.looping { self.looped.front() } else { self.mac.peek(now) };
            match next {
                Some((frame, at)) if flaw.take(frame, at) => {}
                _ => return flaw.front(),
            }
            if self.looping { self.looped.pop() } else { self.mac.advance() }
        }
    }

    /// That frame was received, or lost.
    #[inline]
    pub fn done(&mut self, lost: bool) {
        if let Some(flaw) = &mut self.flaw {
            return flaw.pop();
        }
        match (self.looping, lost) {
            (true, _) => self.looped.pop(),
            (false, true) => self.mac.drop_frame(),
            (false, false) => self.mac.advance(),
        }
    }

    /// No filter wanted that frame.
    #[inline]
    pub fn pass_over(&mut self) {
        if let Some(flaw) = &mut self.flaw {
            return flaw.pop();
        }
        if self.looping { self.looped.pop() } else { self.mac.pass_over() }
    }

    /// What the wire did to frames or saw, and what the card took away (fault).
    pub fn report(&mut self) -> Vec<Note> {
        let mut notes = self.mac.report();
        notes.extend(self.flaw.as_ref().and_then(|flaw| flaw.note()));
        notes
    }

    /// Whether a frame that cannot be received yet may wait on the wire.
    pub fn waits(&self) -> bool {
        !self.looping && (self.flaw.is_some() || self.mac.waits())
    }

    /// Whether the packet buffer is too full for that frame to wait in.
    #[inline]
    pub fn overrun(&self, now: Picos) -> bool {
        !self.looping && self.flaw.is_none() && self.mac.overrun(now)
    }

    /// Forgets what loops inside the card.
    pub fn empty_loop(&mut self) {
        if let Some(flaw) = &mut self.flaw {
            flaw.empty();
        }
        while !self.looped.is_empty() {
            self.looped.pop();
        }
    }
}
