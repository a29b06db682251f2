//! Event queues: entries that the card writes, with a bit that changes each lap.
//!
//! ```text
//!   events of the firmware    pages wanted, a completion queue that is lost  read by the one that waits
//!   completions               of a receive queue that interrupts, one each     read when it is armed
//!
//!   UAR + 0x040   read up to, and interrupt at the next   [ queue:8 | read:24 ]
//!   UAR + 0x048   read up to                              [ queue:8 | read:24 ]
//! ```
//!
//! A card that finds no room for an event may stop for good, so what was read is
//! given back each time.

use super::ctx::eqe;
use crate::dma::Region;
use crate::pci::Doorbell;
use std::sync::atomic::Ordering;

/// Bytes of an entry.
const ENTRY: usize = 64;

/// Bytes of the queue of the firmware: it is read only when control is asked something,
/// and what a lap that was not read had is lost.
pub const FIRMWARE_BYTES: usize = 4096 * ENTRY;

/// Bytes of a queue of completions, of which there is one at a time.
pub const COMPLETION_BYTES: usize = 128 * ENTRY;

/// log2 of the entries of a queue in `region`.
pub fn log_entries(region: &Region) -> u32 {
    (region.len() / ENTRY).ilog2()
}

/// Where doorbells are in a page of them.
pub mod bell {
    /// Interrupt at the next event.
    pub const ARM: u64 = 0x40;
    /// Read so far.
    pub const READ: u64 = 0x48;
}

/// Events by number.
mod kind {
    pub const CQ_ERROR: u64 = 0x04;
    pub const PAGES: u64 = 0x0b;
}

/// The events that the firmware is asked for: none that a card could lack, as it
/// refuses those, and none that is learnt otherwise. The link is asked for each time; a
/// work queue that failed says so in its completions.
pub const WANTED: u64 = 1 << kind::CQ_ERROR | 1 << kind::PAGES;

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Pages are wanted, or offered back if there are less than none.
    Pages(PageEvent),
    /// A completion queue is lost: its number and why.
    CqError(u32, u8),
    /// Nothing that is acted on here: of completions it is enough that it came.
    Other,
}

/// An event about pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageEvent {
    /// For which function.
    pub function: u16,
    /// Of the processor on the card.
    pub embedded: bool,
    /// How many, or less than none.
    pub count: i32,
    /// All of the function's are back.
    pub release_all: bool,
}

/// An event queue.
pub struct EventQueue {
    region: Region,
    number: u32,
    read: u32,
    ack: Doorbell,
    arm: Doorbell,
}

/// Prepares memory for a queue that the card is to be told of: no entry of it is new.
pub fn prepare(region: &Region) {
    for entry in region.words32().chunks(ENTRY / 4) {
        for (n, word) in entry.iter().enumerate() {
            let owner = u32::from(n == ENTRY / 4 - 1);
            word.store(owner.to_be(), Ordering::Relaxed);
        }
    }
}

impl EventQueue {
    /// Of queue `number`, which lies in `region`; its doorbells.
    pub fn new(region: Region, number: u32, ack: Doorbell, arm: Doorbell) -> EventQueue {
        EventQueue { region, number, read: 0, ack, arm }
    }

    /// Takes the events that have come, one round at most, and gives their entries
    /// back; true if there were any.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) -> bool {
        let first = self.read;
        for _ in 0..1 << log_entries(&self.region) {
            let Some(event) = self.next() else { break };
            take(event);
        }
        let some = self.read != first;
        if some {
            self.ack.ring(self.value());
        }
        some
    }

    /// Takes what has come, which only said that there is something, and lets the card
    /// interrupt at the next event.
    pub fn rearm(&mut self) {
        self.drain(|_| ());
        self.arm.ring(self.value());
    }

    fn value(&self) -> u32 {
        (self.number << 24 | self.read & 0xff_ffff).to_be()
    }

    fn next(&mut self) -> Option<Event> {
        let log = log_entries(&self.region);
        let at = (self.read & ((1 << log) - 1)) as usize * ENTRY;
        let entry = self.region.part(at, ENTRY);
        let last = u32::from_be(entry.words32()[ENTRY / 4 - 1].load(Ordering::Acquire));
        if last & 1 != self.read >> log & 1 {
            return None;
        }
        self.read = self.read.wrapping_add(1);
        let mut bytes = [0; ENTRY];
        for (to, from) in bytes.iter_mut().zip(entry.bytes()) {
            *to = from.load(Ordering::Relaxed);
        }
        Some(decode(&bytes))
    }
}

fn decode(entry: &[u8]) -> Event {
    let get = |bits: crate::driver::mailbox::Bits| bits.read(entry).unwrap_or(0);
    match get(eqe::EVENT_TYPE) {
        kind::PAGES => Event::Pages(PageEvent {
            function: get(eqe::PAGES_FUNCTION_ID) as u16,
            embedded: get(eqe::PAGES_EMBEDDED_CPU) != 0,
            count: get(eqe::PAGES_NUM) as u32 as i32,
            release_all: get(eqe::PAGES_RELEASE_ALL) != 0,
        }),
        kind::CQ_ERROR => Event::CqError(get(eqe::CQ_ERROR_CQN) as u32, get(eqe::CQ_ERROR_SYNDROME) as u8),
        _ => Event::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena};
    use crate::pci::Page;

    #[test]
    fn events_are_read_once_in_each_lap_and_given_back() {
        let region = Region::new(&Arena::new(COMPLETION_BYTES, Addressing::Translated).unwrap(), 0, COMPLETION_BYTES);
        prepare(&region);
        let page = &Page::row(1)[0];
        let bell = |offset: u64| Doorbell::in_page(page, offset as usize / 4);
        let mut queue = EventQueue::new(region.clone(), 0x13, bell(bell::READ), bell(bell::ARM));
        let put = |n: usize, bytes: &[(usize, u8)], owner: u8| {
            for (at, byte) in bytes.iter().chain(&[(63, owner)]) {
                region.bytes()[n * 64 + at].store(*byte, Ordering::Release);
            }
        };
        let all = |queue: &mut EventQueue| {
            let mut events = Vec::new();
            queue.drain(|event| events.push(event));
            events
        };
        assert_eq!(all(&mut queue), []);
        put(0, &[(1, 0x0b), (0x23, 3), (0x26, 0xff), (0x27, 0xfe), (0x24, 0xff), (0x25, 0xff)], 0);
        let pages = PageEvent { function: 3, embedded: false, count: -2, release_all: false };
        assert_eq!(all(&mut queue), [Event::Pages(pages)]);
        assert_eq!(page[0x48 / 4].load(Ordering::Relaxed).to_be(), 0x1300_0001);
        put(1, &[(1, 0x09), (3, 4)], 0);
        put(2, &[(1, 0x04), (0x23, 0x44), (0x2b, 2)], 0);
        assert_eq!(all(&mut queue), [Event::Other, Event::CqError(0x44, 2)]);
        for n in 3..128 {
            put(n, &[(1, 0)], 0);
        }
        assert_eq!(all(&mut queue).len(), 125);
        assert_eq!(all(&mut queue), [], "of the lap before");
        put(0, &[(1, 0)], 1);
        queue.rearm();
        assert_eq!(page[0x40 / 4].load(Ordering::Relaxed).to_be(), 0x1300_0081);
    }
}
