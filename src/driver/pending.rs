//! What a transmit ring holds that is not back yet.

use super::ring::{BufferRing, Buffers, Marks, first_position};
use super::stats::Anomalies;
use super::supply::Supply;
use super::tally::{Anomaly, Tally};
use crate::dma::{Descriptor, Pool};
use crate::error::Result;
use crate::pci::Function;
use std::cell::Cell;
use std::sync::Arc;

/// Descriptors written since `send` last looked for sent ones, for it to look again: a look
/// may fetch a line that the card has just written.
pub const LOOK: u32 = Marks::GROUP;

/// In a shadow: no frame ends with this descriptor.
pub const INNER: u32 = 1 << 31;

/// In a shadow, below [`INNER`]: this descriptor has no buffer.
pub const NO_BUFFER: u32 = INNER - 1;

/// In a shadow: this descriptor is no part of a frame's data.
pub const BARE: u32 = NO_BUFFER | INNER;

/// What each descriptor of a transmit ring holds: a buffer's index, or more
/// than that ([`INNER`], [`NO_BUFFER`], [`BARE`]).
pub trait Shadows {
    /// The shadow of the descriptor at `position`.
    fn shadow(&self, position: u32) -> &Cell<u32>;

    /// The shadows from `position`, as the runs they make in the ring.
    fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]);
}

impl Shadows for Buffers {
    #[inline(always)]
    fn shadow(&self, position: u32) -> &Cell<u32> {
        self.at(position)
    }

    #[inline(always)]
    fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]) {
        Buffers::runs(self, position, count)
    }
}

impl<D: Descriptor> Shadows for BufferRing<D> {
    #[inline(always)]
    fn shadow(&self, position: u32) -> &Cell<u32> {
        self.buffer(position)
    }

    #[inline(always)]
    fn runs(&self, position: u32, count: u32) -> (&[Cell<u32>], &[Cell<u32>]) {
        BufferRing::runs(self, position, count)
    }
}

/// A transmit ring, and what was given to the card in it and is not back yet.
///
/// ```text
///          the card's            ours
///         +---------------------+------
///   ... | sent | sent | ...     | free | ...
///         ^ clean                ^ next
/// ```
#[derive(Debug)]
pub struct Pending<R> {
    /// The shadows, with the descriptors if these lie beside them.
    pub ring: R,
    /// Position that is written next. Runs freely.
    pub next: u32,
    /// Oldest position not yet taken back.
    pub clean: u32,
    /// Where the next position is to be for `send` to look for sent ones again.
    look: u32,
    /// Descriptors among `clean..next` whose shadow is more than a buffer.
    marked: u32,
    /// Those of them that are no part of a frame's data.
    bare: u32,
    /// Buffers of frames that lie ready, beside the ring, until the queue is released.
    kept: Vec<u32>,
    supply: Supply,
    tally: Arc<Tally>,
}

impl<R: Shadows> Pending<R> {
    /// Nothing yet in a `ring` of `card`.
    pub fn new(ring: R, card: &Arc<dyn Function>) -> Self {
        let first = first_position();
        Pending {
            ring,
            next: first,
            clean: first,
            look: first.wrapping_add(LOOK),
            marked: 0,
            bare: 0,
            kept: Vec::new(),
            supply: Supply::new(card),
            tally: Arc::default(),
        }
    }

    /// Begins again at `position`, with an empty ring.
    pub fn restart(&mut self, position: u32) {
        (self.next, self.clean, self.look) = (position, position, position.wrapping_add(LOOK));
    }

    /// Whether `send` is to look for sent ones.
    #[inline(always)]
    pub fn due(&self) -> bool {
        self.next.wrapping_sub(self.look) as i32 >= 0
    }

    /// It has, and is to look again when so many more are written.
    #[inline(always)]
    pub fn looked(&mut self, again_after: u32) {
        self.look = self.next.wrapping_add(again_after);
    }

    /// Descriptors in the ring.
    #[inline(always)]
    pub fn used(&self) -> u32 {
        self.next.wrapping_sub(self.clean)
    }

    /// Of those, how many are of frames.
    #[inline(always)]
    pub fn frames(&self) -> u32 {
        self.used() - self.bare
    }

    /// Whether each descriptor in the ring has a buffer and ends a frame.
    #[inline(always)]
    pub fn plain(&self) -> bool {
        self.marked == 0
    }

    /// Whether the buffers in the ring are, or may be, of `pool`.
    #[inline(always)]
    pub fn is(&self, pool: &Pool) -> bool {
        self.supply.is(pool)
    }

    /// Writes down what the next descriptor holds, and moves past it.
    #[inline(always)]
    pub fn push(&mut self, shadow: u32) {
        self.ring.shadow(self.next).set(shadow);
        self.marked += u32::from(shadow >= NO_BUFFER);
        self.bare += u32::from(shadow == BARE);
        self.next = self.next.wrapping_add(1);
    }

    /// Moves to `position`: the shadows up to it are set, `bare` of them to [`BARE`].
    #[inline(always)]
    pub fn pushed(&mut self, position: u32, bare: u32) {
        self.next = position;
        self.marked += bare;
        self.bare += bare;
    }

    /// Counts what went wrong.
    #[cold]
    pub fn count(&self, what: Anomaly) {
        self.tally.count(what);
    }

    /// Makes sure that buffers which are about to go back are of `pool`.
    #[inline(always)]
    pub fn check(&self, pool: &Pool) {
        assert!(
            self.used() == self.bare || self.supply.is(pool),
            "a transmit ring holds buffers of one pool at a time"
        );
    }

    /// Gives the buffers of `clean..end` back.
    #[inline(always)]
    pub fn give_back(&mut self, pool: &Pool, end: u32) {
        if self.marked == 0 {
            let (first, rest) = self.ring.runs(self.clean, end.wrapping_sub(self.clean));
            pool.give_slice(first);
            pool.give_slice(rest);
        } else {
            self.give_marked_back(pool, end);
        }
        self.clean = end;
    }

    /// As [`Pending::give_back`], where some shadows are more than a buffer.
    #[inline(never)]
    fn give_marked_back(&mut self, pool: &Pool, end: u32) {
        let (first, rest) = self.ring.runs(self.clean, end.wrapping_sub(self.clean));
        for shadow in first.iter().chain(rest).map(Cell::get) {
            if shadow < NO_BUFFER {
                pool.give(shadow);
                continue;
            }
            self.marked -= 1;
            if shadow == BARE {
                self.bare -= 1;
            } else if shadow != NO_BUFFER {
                pool.give(shadow & !INNER);
            }
        }
    }

    /// Takes to `pool`, which the card is to reach.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) if it cannot.
    ///
    /// # Panics
    /// If the ring, or what lies ready, holds buffers of another pool.
    #[cold]
    pub fn adopt(&mut self, pool: &Pool) -> Result<()> {
        if self.is(pool) {
            return Ok(());
        }
        self.check(pool);
        assert!(self.kept.is_empty(), "packets laid ready are of one pool");
        self.supply.adopt(pool)
    }

    /// Keeps the buffer of a frame that lies ready.
    pub fn keep(&mut self, buffer: u32) {
        self.kept.push(buffer);
    }

    /// Gives all buffers back, of the ring and of what lies ready.
    pub fn release(&mut self, pool: &Pool) {
        if self.is(pool) {
            self.give_back(pool, self.next);
            pool.give_many(self.kept.drain(..));
        }
    }

    /// What the device did wrong.
    pub fn anomalies(&self) -> Anomalies {
        self.tally.read()
    }

    /// The counters behind [`Pending::anomalies`].
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}
