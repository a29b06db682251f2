//! The data plane: event and completion queues, send and receive queues, hashes,
//! flow tables.
//!
//! ```text
//!   UAR page --doorbells--> SQ: entries --packets--> vport, MAC --frames--> flow tables
//!                            |                         ^  own frames come back    |
//!                            | completions             '------------------------  v
//!                            v                                          TIR -hash-> RQT
//!                           CQ <----------- completions ---- RQ: buffers <---------'
//!                            | if armed
//!                            v
//!                           EQ --if armed--> MSI-X
//! ```
//!
//! All of it is made and changed by commands ([`Plane::command`], or one by one). What
//! makes no sense is refused here, with the status of the command's answer
//! ([`Status`]). Whether the function is in a state for commands is firmware's affair,
//! and so are capabilities ([`Limits`]) and what it knows of the port ([`Vport`]).
//!
//! An object that others name stays: a command to destroy it finds it busy.

pub mod be;
mod clock;
mod command;
mod compress;
mod counters;
mod cq;
mod cqe;
mod doorbell;
mod eq;
mod fields;
mod flame;
mod flows;
mod limits;
mod owned;
mod receive;
mod ring;
mod rq;
mod send;
mod slab;
mod spec;
mod sq;
mod status;
mod steer;
mod tir;
mod vport;
mod work;
mod wqe;

pub use self::clock::Clock;
pub use self::counters::{Counters, Port, Traffic};
use self::cq::{Cq, Late};
use self::doorbell::Bells;
use self::eq::Eq;
pub use self::limits::Limits;
use self::owned::Mkey;
use self::receive::Receiving;
use self::rq::Rq;
use self::send::{Sender, Sending};
use self::slab::Slab;
use self::sq::{Sq, Tis};
pub use self::status::{Outcome, Status};
use self::steer::Steering;
use self::tir::{Rqt, Tir};
pub use self::vport::Vport;
use super::super::Board;
use super::super::transmit::transmit;
use std::collections::VecDeque;

/// The key of all memory, for queues that may use it.
pub const RESERVED_LKEY: u32 = 0x0000_7f00;

/// Number of the first UAR page: those before are registers and the MSI-X table.
pub const FIRST_UAR: u32 = 0x10;

/// The longest frame at the beginning: 1500 bytes, header, tag and check sequence.
pub const MTU: u16 = 1522;

/// How many objects of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// UAR pages.
    pub uars: usize,
    /// Protection domains.
    pub pds: usize,
    /// Transport domains.
    pub tds: usize,
    /// Memory keys.
    pub mkeys: usize,
    /// Event queues.
    pub eqs: usize,
    /// Completion queues.
    pub cqs: usize,
    /// Transport interfaces of send queues.
    pub tises: usize,
    /// Send queues.
    pub sqs: usize,
    /// Receive queues.
    pub rqs: usize,
    /// Tables of receive queues.
    pub rqts: usize,
    /// Transport interfaces of receive queues.
    pub tirs: usize,
    /// Flow tables.
    pub tables: usize,
    /// Counters of receive queues.
    pub counters: usize,
}

impl Counts {
    /// Whether there is nothing at all.
    pub fn none(self) -> bool {
        self == Counts::default()
    }
}

/// The data plane of one function.
pub struct Plane {
    /// Capabilities in force.
    pub limits: Limits,
    /// The virtual port.
    pub vport: Vport,
    /// Longest frame that the port lets pass, with tag and check sequence.
    pub port_mtu: u16,
    /// The clocks that stamps are taken from.
    pub clock: Clock,
    /// What is counted of the function.
    pub counters: Counters,
    /// What is counted of the port.
    pub port: Port,

    uars: Slab<()>,
    pds: Slab<()>,
    tds: Slab<()>,
    mkeys: Slab<Mkey>,
    /// Counters of receive queues: frames that found no buffer.
    drops: Slab<u32>,
    eqs: Slab<Eq>,
    cqs: Slab<Cq>,
    tises: Slab<Tis>,
    sqs: Slab<Sq>,
    rqs: Slab<Rq>,
    rqts: Slab<Rqt>,
    tirs: Slab<Tir>,
    steering: Steering,

    bells: Bells,
    tx: Sending,
    rx: Receiving,
    /// Completions whose owner is still to come.
    late: VecDeque<Late>,
    /// Completion queues that hold an event back.
    moderated: Vec<u32>,
    /// Completion queues with entries that wait for company.
    sessions: Vec<u32>,

    link: bool,
    looping: bool,
    trouble: Option<u8>,
    /// What a packet comes to that lacks inline headers: an error, or nothing at all.
    short_inline_fails: bool,
}

impl Plane {
    /// Nothing in it.
    pub fn new(limits: Limits, board: &mut Board) -> Self {
        Plane {
            limits,
            vport: Vport { mac: board.factory, ..Vport::default() },
            port_mtu: MTU,
            clock: Clock::new(limits.khz, board),
            counters: Counters::default(),
            port: Port::default(),
            uars: Slab::new(FIRST_UAR),
            pds: Slab::new(1),
            tds: Slab::new(1),
            mkeys: Slab::new(0x101),
            drops: Slab::new(1),
            eqs: Slab::new(0x10),
            cqs: Slab::new(0x400),
            tises: Slab::new(1),
            sqs: Slab::new(0x1012),
            rqs: Slab::new(0x2012),
            rqts: Slab::new(1),
            tirs: Slab::new(1),
            steering: Steering::new(),
            bells: Bells::default(),
            tx: Sending::default(),
            rx: Receiving::default(),
            late: VecDeque::new(),
            moderated: Vec::new(),
            sessions: Vec::new(),
            link: false,
            looping: false,
            trouble: None,
            short_inline_fails: board.nasty && board.random.below(2) == 0,
        }
    }

    /// Function-level reset: all objects are gone, and what the vport was told. What is
    /// the port's stays: link, loopback, MTU, clocks, counters; and lanes, as doorbells do.
    pub fn reset(&mut self, board: &mut Board) {
        board.port.empty_loop();
        let fresh = Plane::new(self.limits, board);
        let old = std::mem::replace(self, fresh);
        (self.clock, self.link, self.looping) = (old.clock, old.link, old.looping);
        (self.counters, self.port, self.port_mtu, self.bells) = (old.counters, old.port, old.port_mtu, old.bells);
        self.bells.clear();
    }

    /// The link is up: frames pass. Packets to send wait while it is down.
    pub fn set_link(&mut self, up: bool) {
        self.link = up;
    }

    /// Whether a frame is longer than the port lets pass.
    #[inline]
    fn beyond_port(&self, frame: usize) -> bool {
        const FCS: usize = 4;
        frame + FCS > usize::from(self.port_mtu)
    }

    /// What is sent comes back inside the port (PPLR).
    pub fn set_loopback(&mut self, on: bool) {
        self.looping = on;
    }

    /// What the health buffer is to say of the data plane: 0x0c, an event queue of events
    /// that are not completions ran over; 0x0a, memory was not there.
    pub fn trouble(&self) -> Option<u8> {
        self.trouble
    }

    /// Takes all that was stored to lanes by now, as when a store to a register
    /// follows, which does not overtake them.
    pub fn catch_up(&mut self, board: &mut Board) {
        self.poll_bells(board);
    }

    /// How many objects there are.
    pub fn counts(&self) -> Counts {
        Counts {
            uars: self.uars.count(),
            pds: self.pds.count(),
            tds: self.tds.count(),
            mkeys: self.mkeys.count(),
            eqs: self.eqs.count(),
            cqs: self.cqs.count(),
            tises: self.tises.count(),
            sqs: self.sqs.count(),
            rqs: self.rqs.count(),
            rqts: self.rqts.count(),
            tirs: self.tirs.count(),
            tables: self.steering.count(),
            counters: self.drops.count(),
        }
    }

    /// Does what is to be done by now; how much that was.
    pub fn step(&mut self, board: &mut Board) -> usize {
        board.port.looping = self.looping;
        self.mend(board, None);
        let mut work = self.poll_bells(board);
        // Completions of both ways may share a queue, and which come first is open.
        if board.nasty {
            work += self.receive(board);
        }
        work += transmit(&mut Sender { plane: self, board });
        if !board.nasty {
            work += self.receive(board);
        }
        work += self.flush_sqs(board) + self.flush_rqs(board);
        // What waits for its time is work: nobody may sleep over it.
        work + self.tell_moderated(board) + self.late.len()
    }
}

#[cfg(test)]
mod tests;
