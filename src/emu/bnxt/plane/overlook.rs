//! Doorbells as memory of a driver that is timed: it stores to them without a trap.
//!
//! ```text
//!   P4, pages at 0 and 0x1000            P5, page at 0x10000
//!     slot 0 | key, index |                | type, ring, index |  of all rings
//!     slot 1 | key, index |                       |
//!       ...        |                  acknowledged: CQ --> RX, AGG: read + half the ring
//!                  v
//!             as if trapped                sent: TX ring as if trapped
//! ```
//!
//! Of several stores to one word between two looks the last is seen. On P4 only rings
//! with the same slot come in each other's way, and as indices are positions, the next
//! store tells what a lost one did. On P5 a receive ring's doorbell may never be seen,
//! as an acknowledgement or that of a transmit ring follows each time, so what is not
//! seen is concluded:
//!
//! - A driver gives buffers back in batches far below half a ring. So half a ring is
//!   posted behind what it has read. Of what it has read its acknowledgements tell.
//! - A ring that was never rung is in use once its memory has addresses in it.
//! - A driver reads a completion queue before it posts what more completions come of,
//!   so a queue never runs over.
//!
//! Completions are not held meanwhile, whatever a driver has set: it is timed between
//! moments at which the card's time stands still, and how long a queue holds them that
//! was never told is not known of cards.
//!
//! What was concluded may be more than what a doorbell says that is seen later: such a
//! doorbell tells nothing new, and breaks no rule.

use super::super::super::{Board, DoorbellPage};
use super::super::chip::Chip;
use super::Plane;
use super::doorbell::{Call, Lane, NOTHING, P5_PAGE, STRIDE};
use super::ring::{Receive, Role};
use crate::pci::Page;
use std::sync::atomic::Ordering;

/// BAR of the doorbells.
const BAR: u8 = 2;

const BYTES: u64 = 4096;

/// Pages with the slots that a few queues take (P4).
const PAGES: u64 = 2;

/// The pages, and the doorbells in them that are looked at.
#[derive(Default)]
pub struct Crowd {
    pages: Vec<(u64, Page)>,
    /// None while no driver stores there.
    lanes: Vec<Lane>,
}

impl Crowd {
    /// Pages that nobody stores to yet.
    pub fn new(chip: Chip) -> Self {
        let count = if chip.p5() { 1 } else { PAGES };
        let first = if chip.p5() { P5_PAGE } else { 0 };
        let row = Page::row(count as usize);
        Crowd { pages: (first..).step_by(BYTES as usize).zip(row).collect(), lanes: Vec::new() }
    }

    /// Whether a driver stores there.
    #[inline]
    pub fn is_overlooked(&self) -> bool {
        !self.lanes.is_empty()
    }
}

impl Plane {
    /// Pages of BAR 2 that can be polled. Several rings share an address in them, so
    /// they are for who can bear that ([`Plane::overlook`]).
    pub fn pages(&self) -> Vec<DoorbellPage> {
        let page = |(offset, words): &(u64, Page)| {
            let (offset, words) = (*offset, words.clone());
            DoorbellPage { bar: BAR, offset, words, crowded: true }
        };
        self.crowd.pages.iter().map(page).collect()
    }

    /// From now on a driver stores to the pages.
    pub fn overlook(&mut self) {
        let long = self.chip.p5();
        for (offset, page) in &self.crowd.pages {
            page.iter().for_each(|word| word.store(if long { 0 } else { NOTHING }, Ordering::Relaxed));
            let places = if long { 1 } else { BYTES / STRIDE };
            let lane = |at: u64| Lane { page: page.clone(), word: (at / 4) as usize, offset: offset + at, long };
            self.crowd.lanes.extend((0..places).map(|n| lane(n * STRIDE)));
        }
    }

    /// Looks at the pages at another time than in a step, if a driver stores there.
    pub fn glance(&mut self, board: &mut Board) {
        if self.crowd.is_overlooked() && self.poll(board) > 0 {
            self.serve_queues(board);
        }
    }

    /// Looks at each doorbell in the pages once.
    pub(super) fn look_at_pages(&mut self, board: &mut Board, calls: &mut Vec<Call>) {
        let used = if self.chip.p5() { 1 } else { self.bells.used() };
        for at in 0..used.min(self.crowd.lanes.len()) {
            let lane = &self.crowd.lanes[at];
            if let Some(value) = lane.take() {
                let offset = lane.offset;
                calls.extend(self.hear(board, offset, value));
            }
        }
    }

    /// Whether there may have been more stores than were seen, and what they said is
    /// concluded.
    #[inline]
    pub(super) fn concludes(&self) -> bool {
        self.chip.p5() && self.crowd.is_overlooked()
    }

    /// Moves receive rings on as far as their driver must have.
    pub(super) fn conclude(&mut self, board: &Board) {
        let further = |(id, ring): (u16, _)| Some((id, self.concluded(board, ring)?));
        let receive = self.rings.iter().filter_map(|(id, ring)| match &ring.role {
            Role::Receive(ring) => Some((id, ring)),
            _ => None,
        });
        let producers: Vec<(u16, u32)> = receive.filter_map(further).collect();
        for (id, producer) in producers {
            if let Some(ring) = self.rx_ring(id) {
                if let Some(meter) = board.bus.memory.meter() {
                    meter.fetch(ring.entries.pieces(ring.producer, producer.wrapping_sub(ring.producer)), board.now);
                }
                ring.producer = producer;
            }
        }
    }

    /// The producer of a receive ring, if it must be further than was seen.
    fn concluded(&self, board: &Board, ring: &Receive) -> Option<u32> {
        let half = ring.entries.len() / 2;
        if (ring.producer, ring.consumer) == (0, 0) {
            let [_, address] = ring.entries.read(half - 1, &board.bus.memory)?;
            return (address != 0).then_some(half);
        }
        let cq = if ring.is_agg { self.owner(ring)?.cq? } else { ring.cq? };
        let Role::Completion(queue) = &self.rings.get(self.live(Some(cq))?)?.role else { return None };
        // A record has two entries, and one for each buffer from an aggregation ring.
        let unread = if ring.is_agg { queue.unread() } else { queue.unread().div_ceil(2) };
        let producer = ring.consumer.wrapping_sub(unread).wrapping_add(half);
        (producer.wrapping_sub(ring.producer).cast_signed() > 0).then_some(producer)
    }

    /// The receive ring that an aggregation ring belongs to.
    fn owner(&self, agg: &Receive) -> Option<&Receive> {
        self.rings.iter().find_map(|(_, ring)| match &ring.role {
            Role::Receive(ring) => {
                let own = self.rings.get(ring.agg?.id)?;
                matches!(&own.role, Role::Receive(own) if std::ptr::eq(own, agg)).then_some(ring)
            }
            _ => None,
        })
    }
}
