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
mod counters;
mod limits;
mod slab;
mod spec;
mod status;
mod stubs;
mod vport;

pub use self::clock::Clock;
pub use self::counters::{Counters, Port, Traffic};
pub use self::limits::Limits;
pub use self::status::{Outcome, Status};
pub use self::vport::Vport;
use super::super::{Board, StageLog};

/// The key of all memory, for queues that may use it.
pub const RESERVED_LKEY: u32 = 0x0000_7f00;

/// Number of the first UAR page: those before are registers and the MSI-X table.
pub const FIRST_UAR: u32 = 0x10;

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
    /// The clocks that stamps are taken from.
    pub clock: Clock,
    /// What stages packets passed, for who asked.
    pub stages: Option<StageLog>,
    /// What is counted of the function.
    pub counters: Counters,
    /// What is counted of the port.
    pub port: Port,
    link: bool,
    looping: bool,
    trouble: Option<u8>,
}

impl Plane {
    /// Nothing in it.
    pub fn new(limits: Limits, board: &mut Board) -> Self {
        Plane {
            limits,
            vport: Vport { mac: board.factory, ..Vport::default() },
            clock: Clock::new(limits.khz, board),
            stages: None,
            counters: Counters::default(),
            port: Port::default(),
            link: false,
            looping: false,
            trouble: None,
        }
    }

    /// Function-level reset: all objects are gone, and what the vport was told. What is
    /// the port's stays: link, loopback, clocks, counters; and lanes, as doorbells do.
    pub fn reset(&mut self, board: &mut Board) {
        board.port.empty_loop();
        self.vport = Vport { mac: board.factory, ..Vport::default() };
        self.trouble = None;
    }

    /// The link is up: frames pass. What is sent while it is down waits.
    pub fn set_link(&mut self, up: bool) {
        self.link = up;
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
    pub fn catch_up(&mut self, _board: &mut Board) {}

    /// How many objects there are.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Does what is to be done by now; how much that was.
    pub fn step(&mut self, board: &mut Board) -> usize {
        board.port.looping = self.looping;
        0
    }
}
