//! Events: what a card reports, in a ring of its own.
//!
//! ```text
//!             reads                            the card writes
//!   +---------------------------------------------------------+
//!   | ones | ones | event | event | event | ones | ones | ... |
//!   +---------------------------------------------------------+
//!              ^ lapped?  ^ next
//! ```
//!
//! An empty slot holds all ones. The card writes an event of 64 bits where it
//! finds room, or not: there is no flow control, so a ring is made as long as
//! there can be events. The driver takes an event and writes ones again. An
//! event is there when *neither* half is all ones, as its halves may become
//! visible one after the other. If the slot behind the next one, which was
//! emptied, is full, then the card has gone once round: events are lost.

use crate::dma::Region;
use crate::driver::ring::{Ring, View, first_position};
use std::sync::atomic::{AtomicU64, Ordering};

/// An empty slot.
pub const EMPTY: u64 = u64::MAX;

/// An event, or an empty slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub u64);

/// What reports it: bits 63:60.
pub mod code {
    /// A receive queue.
    pub const RX: u64 = 0;
    /// A transmit queue.
    pub const TX: u64 = 2;
    /// The event queue itself: started, woken, timed out.
    pub const DRIVER: u64 = 5;
    /// The management controller.
    pub const MCDI: u64 = 12;
}

/// What the management controller reports: bits 51:44.
pub mod mcdi {
    /// It restarts.
    pub const REBOOT: u64 = 0x07;
    /// A transmit queue was stopped.
    pub const TX_FLUSH: u64 = 0x0c;
    /// A receive queue was stopped.
    pub const RX_FLUSH: u64 = 0x10;
    /// It has restarted.
    pub const MC_REBOOT: u64 = 0x15;
    /// The time.
    pub const PTP_TIME: u64 = 0x1a;
}

/// A transmit event's kind: bits 30:24. 0: descriptors are done.
pub mod tx_kind {
    /// A frame that was stored into the transmitter is done.
    pub const CTPIO_DONE: u64 = 0x11;
    /// Lower part of the time at which that left.
    pub const CTPIO_TIME_LOW: u64 = 0x12;
    /// Upper part.
    pub const CTPIO_TIME_HIGH: u64 = 0x13;
    /// Lower part of the time at which a fetched frame left.
    pub const TIME_LOW: u64 = 0x51;
    /// Upper part.
    pub const TIME_HIGH: u64 = 0x52;
}

impl Event {
    /// Bytes written, prefix included: bits 13:0 of a receive event.
    pub const BYTES: u64 = 0x3fff;
    /// The frame goes on in the next descriptor.
    pub const CONT: u64 = 1 << 14;
    /// The parser gave up on the headers.
    pub const PARSE_INCOMPLETE: u64 = 1 << 15;
    /// Which queue: bits 20:16, of both kinds.
    pub const LABEL: u64 = 0x1f << 16;
    /// The IPv4 header checksum is wrong.
    pub const IP_CHECKSUM: u64 = 1 << 25;
    /// The TCP or UDP checksum is wrong.
    pub const L4_CHECKSUM: u64 = 1 << 26;
    /// The frame is broken: ECRC, CRC0, CRC1, truncated, aborted.
    pub const BROKEN: u64 = 1 << 24 | 1 << 27 | 1 << 28 | 1 << 29 | 1 << 30;
    /// Number of VLAN tags: bits 41:39.
    pub const TAGS: u64 = 7 << 39;
    /// Lowest four bits of the index of the *next* descriptor: bits 51:48.
    pub const NEXT: u64 = 0xf << 48;
    /// Position of these.
    pub const NEXT_SHIFT: u32 = 48;
    /// A packed buffer was changed; never asked for.
    pub const ROTATE: u64 = 1 << 53;
    /// The event itself is to be dropped.
    pub const DROP: u64 = 1 << 58;
    /// What reports.
    pub const CODE: u64 = 0xf << 60;
    /// A transmit event's kind.
    pub const KIND: u64 = 0x7f << 24;
    /// A transmit event's descriptor: bits 15:0.
    pub const INDEX: u64 = 0xffff;

    /// Whether it is there, all of it.
    #[inline(always)]
    pub fn present(self) -> bool {
        self.0 as u32 != u32::MAX && (self.0 >> 32) as u32 != u32::MAX
    }

    /// What reports it.
    pub fn code(self) -> u64 {
        self.0 >> 60
    }

    /// Of the management controller: what.
    pub fn mcdi_code(self) -> u64 {
        self.0 >> 44 & 0xff
    }

    /// Of a transmit queue: which kind.
    pub fn tx_kind(self) -> u64 {
        (self.0 & Self::KIND) >> 24
    }

    /// Of a transmit queue: the 32 bits that come in two fields.
    pub fn tx_word(self) -> u32 {
        (self.0 & 0xffff) as u32 | ((self.0 >> 32 & 0xffff) as u32) << 16
    }

    /// Class of the network layer: bits 44:42.
    pub fn l3_class(self) -> u64 {
        self.0 >> 42 & 7
    }

    /// Class of the transport layer: bits 46:45.
    pub fn l4_class(self) -> u64 {
        self.0 >> 45 & 3
    }

    /// Says that queue `instance` was flushed, to its own event queue.
    pub fn flushed(self, what: u64, instance: u16) -> bool {
        self.present()
            && self.code() == code::MCDI
            && self.mcdi_code() == what
            && self.0 & 0x1fff == u64::from(instance)
    }
}

/// Classes of headers in a receive event.
pub mod class {
    /// IPv4.
    pub const IPV4: u64 = 1;
    /// IPv6.
    pub const IPV6: u64 = 2;
    /// A fragment of IPv4.
    pub const IPV4_FRAGMENT: u64 = 4;
    /// A fragment of IPv6.
    pub const IPV6_FRAGMENT: u64 = 6;
    /// TCP.
    pub const TCP: u64 = 1;
    /// UDP.
    pub const UDP: u64 = 2;
}

/// Fewest events in a ring.
const MIN_LEN: u32 = 512;

/// Events that may come besides those of descriptors before a queue that is
/// never polled loses one: the time, four times a second, and few others.
const OTHERS: u32 = 64;

/// Length of a ring for `events` that descriptors can cause.
pub fn ring_len(events: u32) -> u32 {
    (events + OTHERS).next_power_of_two().max(MIN_LEN)
}

/// An event queue, as the one queue reads it that it belongs to.
#[derive(Debug)]
pub struct EventQueue {
    ring: Ring<AtomicU64>,
    /// Position that is read next. Runs freely.
    pub next: u32,
}

impl EventQueue {
    /// An event queue in `region`, all of which it is, after [`begun`].
    pub fn new(region: Region) -> Self {
        let len = region.words64().len() as u32;
        EventQueue { ring: Ring::new(region, len), next: first_position().wrapping_add(1) }
    }

    /// Events that it holds.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)] // of the ring, not of what is in it
    pub fn len(&self) -> u32 {
        self.ring.len()
    }

    /// The ring for a loop.
    #[inline(always)]
    pub fn view(&self) -> View<'_, AtomicU64> {
        self.ring.view()
    }

    /// The event `ahead` of the next, taken or not.
    #[inline(always)]
    pub fn peek(&self, ahead: u32) -> Event {
        // <-- acquire: what the card wrote before the event is now seen
        Event(self.ring.at(self.next.wrapping_add(ahead)).load(Ordering::Acquire))
    }

    /// Takes the next event.
    #[inline(always)]
    pub fn take(&mut self) {
        self.ring.at(self.next).store(EMPTY, Ordering::Relaxed);
        self.next = self.next.wrapping_add(1);
    }

    /// Whether the card has gone once round and lost events.
    #[inline(always)]
    pub fn lapped(&self) -> bool {
        self.ring.at(self.next.wrapping_sub(1)).load(Ordering::Relaxed) != EMPTY
    }

    /// Whether the next event is missing while a later one is there.
    pub fn holed(&self) -> bool {
        !self.peek(0).present() && self.peek(1).present()
    }

    /// The next event's index as the card counts.
    pub fn index(&self) -> u32 {
        self.ring.index(self.next)
    }

    /// Begins anew, after [`begun`].
    pub fn restart(&mut self) {
        self.next = 1;
    }
}

/// Whether the card has written the first event, which says that the queue has
/// started; the upper half of what is there. [`begun`] takes it.
pub fn first(region: &Region) -> u32 {
    let event = Event(region.words64()[0].load(Ordering::Acquire));
    // The upper half of an event that is not there would be a card that is gone.
    if event.present() { (event.0 >> 32) as u32 } else { 0 }
}

/// Takes the first event.
pub fn begun(region: &Region) {
    region.words64()[0].store(EMPTY, Ordering::Relaxed);
}

/// Empties all slots of an event queue that the card does not write to.
pub fn clear(region: &Region) {
    for slot in region.words64() {
        slot.store(EMPTY, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena};

    #[test]
    fn an_event_is_there_when_neither_half_is_all_ones() {
        assert!(Event(0).present());
        assert!(!Event(EMPTY).present());
        assert!(!Event(0xffff_ffff_0000_0012).present(), "the lower half came first");
        assert!(!Event(0x2000_0000_ffff_ffff).present(), "the upper half came first");
    }

    #[test]
    fn fields_are_where_the_traces_have_them() {
        // A transmit completion of descriptor 5, label 2; queue 3 flushed; started.
        let done = Event(0x2000_0000_0000_0000 | 5 | 2 << 16);
        assert_eq!((done.code(), done.tx_kind(), done.0 & Event::INDEX), (code::TX, 0, 5));
        assert!(Event(0xc001_0000_0000_0003).flushed(mcdi::RX_FLUSH, 3));
        assert!(!Event(0xc001_0000_0000_1003).flushed(mcdi::RX_FLUSH, 3), "a copy for the driver");
        assert_eq!(Event(0x5200_0000_0000_0000).code(), code::DRIVER);
        let time = Event(0xc001_a000_0000_0000 | 7);
        assert_eq!((time.code(), time.mcdi_code()), (code::MCDI, mcdi::PTP_TIME));
        assert_eq!(Event(0x2000_0000_5100_0000 | 0x1234 | 0x5678 << 32).tx_word(), 0x5678_1234);
    }

    #[test]
    fn a_full_slot_behind_the_next_one_is_a_lap() {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let region = Region::new(&arena, 0, 4096);
        clear(&region);
        let mut events = EventQueue::new(region.clone());
        assert!(!events.lapped() && !events.holed());
        region.words64()[1].store(1, Ordering::Relaxed);
        assert!(events.peek(0).present());
        events.take();
        assert!(!events.lapped());
        region.words64()[1].store(1, Ordering::Relaxed);
        assert!(events.lapped());
        region.words64()[3].store(1, Ordering::Relaxed);
        assert!(events.holed());
        assert_eq!(ring_len(512), 1024);
        assert_eq!(ring_len(64), 512);
    }
}
