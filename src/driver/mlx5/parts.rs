//! What queues are made of: control allocates memory of these lengths, has the card
//! told of it, and hands it over with the places where the card is told of more.
//!
//! ```text
//!                 memory, zeroed                        what control says of it
//!   receive       work queue     wqes << stride         CREATE_RQ  log_wq_sz, log_wq_stride
//!                 record         64 bytes, a line       CREATE_RQ  dbr_addr      [ posted  | -      ]
//!   transmit      work queue     64 * wqes              CREATE_SQ  log_wq_sz, log_wq_stride 6
//!                 record         64 bytes, a line       CREATE_SQ  dbr_addr      [ -       | posted ]
//!   both          completions    64 * completions       CREATE_CQ  log_cq_size, cqe_sz 0, cc 0
//!                 record         64 bytes, a line       CREATE_CQ  dbr_addr      [ read    | arm    ]
//! ```
//!
//! A completion queue is to be [`prepare`](super::cq::prepare)d before the card is
//! told of it. Each belongs to one queue.

use super::bell::{CqBell, SendBell};
use super::clock::Clock;
use super::cqe::Fault;
use crate::dma::{BUFFER_SIZE, Region};
use crate::driver::slots::{Stock, TAGS};
use crate::error::Result;

/// Bytes of a doorbell record, which the card reads 8 of: a cache line, as queues
/// on different processors are not to share one.
pub const RECORD: usize = 64;

/// Bytes of a segment of a work queue entry.
const SEGMENT: u32 = 16;

/// Entries of the rings of a receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxLengths {
    /// Work queue entries, each for one frame.
    pub wqes: u32,
    /// Bytes of one are `1 << stride`.
    pub stride: u32,
    /// Buffers of one.
    pub segments: u32,
    /// Completions.
    pub completions: u32,
}

impl RxLengths {
    /// For a ring of `descriptors` (`Config::rx_ring`) and frames of up to
    /// `max_frame` bytes without FCS.
    pub fn of(descriptors: u16, max_frame: u16) -> Self {
        let wqes = u32::from(descriptors);
        let segments = (u32::from(max_frame) + TAGS).div_ceil(BUFFER_SIZE as u32);
        let stride = (segments * SEGMENT).next_power_of_two().trailing_zeros();
        // Each entry causes one completion, and is posted again only after that was given back.
        RxLengths { wqes, stride, segments, completions: wqes }
    }

    /// Bytes of the work queue.
    pub fn bytes(&self) -> usize {
        (self.wqes as usize) << self.stride
    }
}

/// Entries of the rings of a transmit queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxLengths {
    /// Basic blocks of work queue entries; a plain frame takes one.
    pub wqes: u32,
    /// Completions.
    pub completions: u32,
}

impl TxLengths {
    /// For a ring of `descriptors` (`Config::tx_ring`).
    pub fn of(descriptors: u16) -> Self {
        let wqes = u32::from(descriptors);
        TxLengths { wqes, completions: wqes }
    }

    /// Bytes of the work queue.
    pub fn bytes(&self) -> usize {
        self.wqes as usize * super::bell::BLOCK
    }
}

/// Sets a queue up anew whose card has lost its place, or stopped it for an error.
/// The queue calls these on its own thread: `stop`, then it empties its completions
/// and zeroes its record, then `start`. After a failure of either the queue is dead
/// and its buffers stay where they are.
pub trait Restart: Send {
    /// Takes the queue to the state RST. If the card has it in ERR, what was posted is
    /// flushed before that: `flushed` takes the completions that are there and says
    /// whether that was all; it is to be asked until it says so, for 2 seconds at most.
    ///
    /// # Errors
    /// If the card does not do it.
    fn stop(&mut self, flushed: &mut dyn FnMut() -> bool) -> Result<()>;

    /// From RST to RDY; its counters are 0 then.
    ///
    /// # Errors
    /// If the card does not do it.
    fn start(&mut self) -> Result<()>;
}

/// What control makes a receive queue of: a cyclic work queue in the state RDY, with
/// nothing posted.
///
/// Entries of flow tables that are filters have a flow tag that is not 0, all
/// others 0.
pub struct RxParts {
    /// Work queue, all of it ([`RxLengths::bytes`]).
    pub wqes: Region,
    /// Buffers of an entry ([`RxLengths::segments`]).
    pub segments: u32,
    /// Record of the work queue.
    pub record: Region,
    /// Completion queue, all of it.
    pub completions: Region,
    /// Record and doorbell of that.
    pub bell: CqBell,
    /// Key of all memory that packets may lie in.
    pub lkey: u32,
    /// Tally and interrupt. [`Slots::listen`](crate::driver::slots::Slots::listen) arms the completion queue; the
    /// interrupt's own `unmask` is to take the events in and arm the event queue.
    pub stock: Stock,
    /// Longest frame without FCS and tags.
    pub max_frame: u32,
    /// Set if received frames are to have the time that the card stamps on them.
    pub clock: Option<Clock>,
    /// The completion queue was made with `cqe_comp_en` and minis of hashes
    /// (`mini_cqe_res_format` 0). Not together with a clock.
    pub compressed: bool,
    /// What the card has said last of an error.
    pub fault: Fault,
    /// Sets the queue up anew.
    pub restart: Box<dyn Restart>,
}

/// What of a frame the card wants to find in the work queue entry itself, not in
/// memory: `min_wqe_inline_mode` of the queue, or of its vport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inline {
    /// Nothing.
    Nothing,
    /// The Ethernet header with its tags.
    L2,
    /// That, and the IP header.
    Ip,
    /// All headers to that of TCP or UDP.
    L4,
}

impl Inline {
    /// As a mode is numbered; of one that is not known, all headers.
    pub fn of(mode: u8) -> Self {
        match mode {
            0 => Inline::Nothing,
            1 => Inline::L2,
            2 => Inline::Ip,
            _ => Inline::L4,
        }
    }
}

/// What control makes a transmit queue of: a work queue in the state RDY.
pub struct TxParts {
    /// Work queue, all of it ([`TxLengths::bytes`]).
    pub wqes: Region,
    /// Record and doorbell of the work queue.
    pub send: SendBell,
    /// Completion queue, all of it.
    pub completions: Region,
    /// Record and doorbell of that.
    pub bell: CqBell,
    /// Number of the queue.
    pub sqn: u32,
    /// Key of all memory that packets may lie in.
    pub lkey: u32,
    /// Longest frame that the port sends, without FCS and with tags.
    pub max_frame: u32,
    /// What must be inline.
    pub inline: Inline,
    /// The card puts VLAN tags in (capability `wqe_vlan_insert`).
    pub tags: bool,
    /// Several frames may be sent by one entry: capability
    /// `enhanced_multi_pkt_send_wqe`, and the queue was made with
    /// `allow_multi_pkt_send_wqe`. Of no use if something must be inline.
    pub multi: bool,
    /// Set if it is to be known when frames left.
    pub clock: Option<Clock>,
    /// What the card has said last of an error.
    pub fault: Fault,
    /// Sets the queue up anew.
    pub restart: Box<dyn Restart>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_as_many_buffers_as_a_frame_can_need() {
        let of = |max_frame| {
            let lengths = RxLengths::of(512, max_frame);
            assert_eq!((lengths.wqes, lengths.completions), (512, 512));
            assert_eq!(lengths.bytes(), 512 << lengths.stride);
            (lengths.segments, lengths.stride)
        };
        assert_eq!(of(1518), (1, 4));
        assert_eq!(of(2040), (1, 4));
        assert_eq!(of(2041), (2, 5));
        assert_eq!(of(4088), (2, 5));
        assert_eq!(of(4089), (3, 6));
        assert_eq!(of(9216), (5, 7));
        assert_eq!(TxLengths::of(64).bytes(), 4096);
    }

    #[test]
    fn a_mode_that_is_not_known_wants_everything() {
        assert_eq!([0, 1, 2, 3, 7].map(Inline::of), [Inline::Nothing, Inline::L2, Inline::Ip, Inline::L4, Inline::L4]);
    }
}
