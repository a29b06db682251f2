//! Receive queue.

use super::bell::{AckBell, Bell, Generation};
use super::cq;
use super::meta::Clock;
use crate::dma::{BUFFER_SIZE, Batch, Iova, Pool, Region};
use crate::driver::queue::Receive;
use crate::driver::slots::{Received, Slots, Stock, TAGS};
use crate::error::Result;

/// Most descriptors of a receive ring whose frames may span buffers.
pub const MAX_RING_WITH_AGGREGATION: u16 = 2048;

/// Entries of the rings of a queue; [`cq::ENTRY`] bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Receive descriptors.
    pub receive: u32,
    /// Descriptors of the buffers that a frame goes on in; 0: no such ring.
    pub aggregation: u32,
    /// Completions.
    pub completions: u32,
}

impl Lengths {
    /// For a ring of `descriptors` (`Config::rx_ring`) and frames of up to
    /// `max_frame` bytes without FCS.
    ///
    /// A card that has a receive descriptor and no buffer to go on with breaks
    /// off, and some then stop: so there are as many of these as all frames
    /// can need.
    pub fn of(descriptors: u16, max_frame: u16) -> Self {
        let receive = u32::from(descriptors);
        let more = (u32::from(max_frame) + TAGS).div_ceil(BUFFER_SIZE as u32) - 1;
        let aggregation = if more == 0 { 0 } else { (receive * more).next_power_of_two() };
        Lengths { receive, aggregation, completions: cq::ring_len(2 * receive + aggregation) }
    }

    /// Buffers that the rings hold.
    pub fn buffers(&self) -> u32 {
        self.receive + self.aggregation
    }
}

/// Doorbells of a receive queue.
#[derive(Clone, Debug)]
pub struct RxBells {
    /// Of the receive ring.
    pub receive: Bell,
    /// Of the aggregation ring, if there is one.
    pub aggregation: Option<Bell>,
    /// Of the completion ring.
    pub completions: AckBell,
    /// Of the notification queue, if there is one.
    pub notifications: Option<AckBell>,
}

/// Frees the rings of a queue, empties its completions (and notifications) with
/// [`cq::clear`], allocates the rings again and says where their doorbells are
/// now; all that names the rings (groups, VNICs, tables of RSS) is told of the
/// new ones. Called by a queue whose card has lost its place, on its own thread.
pub type Restart<Bells> = Box<dyn FnMut() -> Result<Bells> + Send>;

/// What control makes a receive queue of: rings that the card knows already,
/// zeroed.
pub struct RxParts {
    /// Which the chip is.
    pub generation: Generation,
    /// Receive ring, all of it.
    pub descriptors: Region,
    /// Aggregation ring, if [`Lengths`] asks for one.
    pub aggregation: Option<Region>,
    /// Completion ring.
    pub completions: Region,
    /// Notification queue of this ring alone, if it is to interrupt and is P5.
    pub notifications: Option<Region>,
    /// Doorbells of all these.
    pub bells: RxBells,
    /// Tally and interrupt; [`Slots::listen`] arms, so the interrupt's own
    /// `unmask` has nothing to do.
    pub stock: Stock,
    /// Longest frame without FCS and tags.
    pub max_frame: u32,
    /// Set if the card stamps every frame.
    pub clock: Option<Clock>,
    /// Sets the rings up anew.
    pub restart: Restart<RxBells>,
}

/// A receive queue.
pub struct RxQueue {
    parts: RxParts,
}

impl RxQueue {
    /// A queue on rings that the card has, empty.
    pub fn new(parts: RxParts) -> Self {
        RxQueue { parts }
    }
}

impl Receive for RxQueue {
    fn recv(&mut self, _batch: &mut Batch<'_>) -> usize {
        0
    }
}

impl Slots for RxQueue {
    fn stock(&self) -> &Stock {
        &self.parts.stock
    }

    fn slots(&self) -> u32 {
        0
    }

    fn armed(&self) -> u32 {
        0
    }

    fn arm(&mut self, _buffer: u32, _pool: &Pool) {}

    fn pass(&mut self) -> u32 {
        0
    }

    fn offer(&mut self) {}

    fn recv_from(&mut self, _batch: &mut Batch<'_>, _iova: impl Fn(u32) -> Iova + Copy) -> usize {
        0
    }

    fn recv_odd(&mut self, _batch: &mut Batch<'_>) -> Received {
        Received::Waits
    }

    fn listen(&mut self) -> bool {
        false
    }
}

impl std::fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RxQueue({:?})", self.parts.bells.receive)
    }
}
