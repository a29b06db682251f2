//! What queues are made of: control allocates rings of these lengths, has the card
//! told of them, and hands them over with their doorbells.

use super::bell::{AckBell, Bell, Generation};
use super::cq;
use super::meta::Clock;
use super::recall::Recall;
use crate::dma::{BUFFER_SIZE, Region};
use crate::driver::slots::{Stock, TAGS};
use crate::error::Result;
use std::sync::Arc;

/// Most descriptors of a receive ring whose frames may span buffers.
pub const MAX_RX_RING_WITH_MORE: u16 = 2048;

/// Entries of the rings of a queue; [`cq::ENTRY`] bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxLengths {
    /// Receive descriptors.
    pub receive: u32,
    /// Descriptors of the buffers that a frame goes on in; 0: no such ring.
    pub aggregation: u32,
    /// Completions.
    pub completions: u32,
}

impl RxLengths {
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
        RxLengths { receive, aggregation, completions: cq::ring_len(2 * receive + aggregation) }
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
/// After a failure the queue is dead and its buffers stay where they are.
pub type Restart<Bells> = Box<dyn FnMut() -> Result<Bells> + Send>;

/// What control makes a receive queue of: rings that the card knows already,
/// zeroed.
pub struct RxParts {
    /// Which the chip is.
    pub generation: Generation,
    /// Receive ring, all of it.
    pub descriptors: Region,
    /// Aggregation ring, if [`RxLengths`] asks for one.
    pub aggregation: Option<Region>,
    /// Completion ring.
    pub completions: Region,
    /// Notification queue of this ring alone, if it is to interrupt and is P5.
    pub notifications: Option<Region>,
    /// Doorbells of all these.
    pub bells: RxBells,
    /// Tally and interrupt; [`Slots::listen`](crate::driver::slots::Slots::listen) arms, so the interrupt's own
    /// `unmask` has nothing to do.
    pub stock: Stock,
    /// Longest frame without FCS and tags.
    pub max_frame: u32,
    /// Set if the card stamps every frame.
    pub clock: Option<Clock>,
    /// The port's counters tell of frames whose FCS is wrong; else the queue does.
    pub port_counts: bool,
    /// Sets the rings up anew.
    pub restart: Restart<RxBells>,
    /// Control calls the queue by it.
    pub recall: Arc<Recall>,
}

/// Most descriptors of a transmit ring.
pub const MAX_TX_RING: u16 = 2048;

/// Entries of the rings of a queue; [`cq::ENTRY`] bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxLengths {
    /// Transmit descriptors.
    pub transmit: u32,
    /// Completions.
    pub completions: u32,
}

impl TxLengths {
    /// For a ring of `descriptors` (`Config::tx_ring`).
    pub fn of(descriptors: u16) -> Self {
        let transmit = u32::from(descriptors);
        TxLengths { transmit, completions: cq::ring_len(transmit) }
    }
}

/// Doorbells of a transmit queue.
#[derive(Clone, Debug)]
pub struct TxBells {
    /// Of the transmit ring.
    pub transmit: Bell,
    /// Of the completion ring.
    pub completions: AckBell,
}

/// What control makes a transmit queue of: rings that the card knows already,
/// zeroed.
pub struct TxParts {
    /// Transmit ring, all of it.
    pub descriptors: Region,
    /// Completion ring.
    pub completions: Region,
    /// Doorbells of both.
    pub bells: TxBells,
    /// The card puts VLAN tags in (QCAPS without VLAN_ACCEL_TX_DISABLED).
    pub tags: bool,
    /// Set if the card reports when a frame left (TX_PKT_TS_CMPL) and is to.
    pub clock: Option<Clock>,
    /// Sets the rings up anew.
    pub restart: Restart<TxBells>,
    /// Control calls the queue by it.
    pub recall: Arc<Recall>,
}
