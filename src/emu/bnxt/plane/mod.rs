//! The data plane: rings, completion and notification queues, VNICs, filters,
//! statistics contexts.
//!
//! ```text
//!   BAR 2 --doorbells--> TX rings --packets--> MAC --frames--> filters, VNICs, RSS
//!                           |                                        |
//!                           | completions              RX, AGG rings: buffers, completions
//!                           v                                        v
//!                        completion queues ----------(P5: notification queues)----> MSI-X
//! ```
//!
//! All of it is made and changed by commands, which the firmware takes and checks
//! against what the function may have. What makes no sense is refused here, with the
//! error of the command's response ([`Refusal`]).
//!
//! Objects name each other by [`Handle`]: one that was freed is not found again,
//! though its id may have come back. So what a driver forgets to set anew leads
//! nowhere, as on silicon.

mod clock;
mod completion;
mod describe;
mod doorbell;
mod entries;
mod filter;
mod linger;
mod notification;
mod overlook;
mod record;
mod refusal;
mod ring;
mod rss;
mod rx;
mod slab;
mod spec;
mod stat;
mod tx;
mod vnic;

pub use self::clock::Clock;
use self::completion::Late;
pub use self::doorbell::STRIDE;
use self::doorbell::{Bells, Call};
use self::filter::Filters;
pub use self::filter::GROUPS;
use self::linger::Lingering;
use self::overlook::Crowd;
pub use self::refusal::{Outcome, Refusal};
use self::ring::Ring;
use self::rx::Receiving;
use self::slab::{Handle, Slab};
pub use self::spec::{
    Coalescing, GroupSpec, L2Spec, MaskSpec, NtupleSpec, Placement, RingKind, RingSpec, RssSpec, VnicSpec,
};
use self::stat::Port;
pub use self::stat::{Counters, WIDTH};
use self::tx::{Sender, Sending};
use self::vnic::{Group, MRU_DEFAULT, Vnic};
use super::super::transmit::transmit;
use super::super::{Board, Picos};
use super::chip::Chip;

/// The longest frame, sent or received, whatever it is told.
pub const LONGEST_FRAME: u16 = 9600;

/// How many objects of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Completion queues, on P5 without notification queues.
    pub cqs: usize,
    /// Notification queues (P5).
    pub nqs: usize,
    /// Transmit rings.
    pub tx: usize,
    /// Receive and aggregation rings.
    pub rx: usize,
    /// Ring groups (P4).
    pub groups: usize,
    /// VNICs.
    pub vnics: usize,
    /// RSS contexts.
    pub contexts: usize,
    /// Statistics contexts.
    pub stats: usize,
    /// L2 filters.
    pub l2: usize,
    /// N-tuple filters.
    pub ntuples: usize,
}

/// Something that happens of itself, as a driver is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsyncEvent {
    /// What it is.
    pub id: u16,
    /// What there is to say.
    pub data1: u32,
    /// And more of it.
    pub data2: u32,
    /// Least and longest time to wait, in 100 ms, where that is said.
    pub least: u8,
    /// See `least`.
    pub most: u16,
}

/// What a VNIC is set to, as VNIC_QCFG tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnicState {
    /// Flags of VNIC_CFG.
    pub flags: u32,
    /// Default ring group.
    pub group: u16,
    /// RSS context.
    pub rss: u16,
    /// Class-of-service context.
    pub cos: u16,
    /// Loopback context.
    pub lb: u16,
    /// Longest frame.
    pub mru: u16,
}

/// Which frames are stamped on receipt (P5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxStamps {
    /// None.
    #[default]
    None,
    /// Those of PTP.
    Ptp,
    /// All.
    All,
}

/// The data plane of one function.
pub struct Plane {
    /// Generation.
    pub chip: Chip,
    /// The clock that stamps are taken from.
    pub clock: Clock,

    rings: Slab<Ring>,
    groups: Slab<Group>,
    vnics: Slab<Vnic>,
    contexts: Slab<rss::Context>,
    stats: Slab<stat::Context>,
    filters: Filters,

    bells: Bells,
    crowd: Crowd,
    /// Doorbells of one look, to save an allocation.
    calls: Vec<Call>,
    tx: Sending,
    rx: Receiving,
    /// Completion queues that have something to do, and parts of records that are late.
    busy: Vec<u16>,
    late: Vec<Late>,
    /// Buffers that are written to though their rings are gone (nasty).
    lingering: Lingering,
    /// The ring that events go to.
    events: Option<Handle>,
    /// An event that the driver may want to hear of.
    report: Option<AsyncEvent>,

    total: Counters,
    port: Port,
    /// When counters are to be written next.
    stats_due: Picos,

    link: bool,
    looping: bool,
    unnoticed: bool,
    queues: Vec<u16>,
    mru: u16,
    stamps: RxStamps,
}

impl Plane {
    /// Nothing in it.
    pub fn new(chip: Chip) -> Self {
        Plane::with(chip, Crowd::new(chip))
    }

    fn with(chip: Chip, crowd: Crowd) -> Self {
        Plane {
            chip,
            clock: Clock::default(),
            rings: Slab::new(1),
            groups: Slab::new(1),
            vnics: Slab::new(0),
            contexts: Slab::new(1),
            stats: Slab::new(1),
            filters: Filters::default(),
            bells: Bells::new(),
            crowd,
            calls: Vec::new(),
            tx: Sending::default(),
            rx: Receiving::default(),
            busy: Vec::new(),
            late: Vec::new(),
            lingering: Lingering::default(),
            events: None,
            report: None,
            total: Counters::default(),
            port: Port::new(),
            stats_due: 0,
            link: false,
            looping: false,
            unnoticed: false,
            queues: Vec::new(),
            mru: MRU_DEFAULT,
            stamps: RxStamps::None,
        }
    }

    /// FUNC_RESET, function-level reset: all objects are gone. What is the port's
    /// stays: link, loopback, clock, counters; and lanes and pages, as doorbells do.
    pub fn reset(&mut self, board: &mut Board) {
        self.mend(board, None);
        board.port.empty_loop();
        let fresh = Plane::with(self.chip, std::mem::take(&mut self.crowd));
        let old = std::mem::replace(self, fresh);
        (self.clock, self.link, self.looping) = (old.clock, old.link, old.looping);
        (self.total, self.port, self.queues, self.stamps) = (old.total, old.port, old.queues, old.stamps);
        self.bells = old.bells;
        self.bells.clear();
    }

    /// Firmware started over, and forgot of the port's affairs what it keeps itself:
    /// which frames are stamped, and what was counted.
    pub fn forget_port(&mut self) {
        self.stamps = RxStamps::None;
        self.clear_port();
    }

    /// The function's rings are gone and its driver does not know yet (`true`):
    /// doorbells of rings that are not there are no fault of its own.
    pub fn set_unnoticed(&mut self, unnoticed: bool) {
        self.unnoticed = unnoticed;
    }

    /// Scheduler queues that transmit rings may name; none listed is any.
    pub fn set_queues(&mut self, queues: &[u16]) {
        self.queues = queues.to_vec();
    }

    /// The link is up: frames pass. What is sent while it is down waits.
    pub fn set_link(&mut self, up: bool) {
        self.link = up;
    }

    /// What is sent comes back inside the card, of the PHY or of the MAC.
    pub fn set_loopback(&mut self, on: bool) {
        self.looping = on;
    }

    /// Which frames are stamped on receipt (P5).
    pub fn set_rx_stamps(&mut self, which: RxStamps) {
        self.stamps = which;
    }

    /// How many objects there are.
    pub fn counts(&self) -> Counts {
        let rings = |kind: RingKind| self.rings.iter().filter(|(_, ring)| ring.kind == kind).count();
        let (l2, ntuples) = self.filters.count();
        Counts {
            cqs: rings(RingKind::Completion),
            nqs: rings(RingKind::Notification),
            tx: rings(RingKind::Transmit),
            rx: rings(RingKind::Receive) + rings(RingKind::Aggregation),
            groups: self.groups.count(),
            vnics: self.vnics.count(),
            contexts: self.contexts.count(),
            stats: self.stats.count(),
            l2,
            ntuples,
        }
    }

    /// Does what is to be done by now; how much that was.
    pub fn step(&mut self, board: &mut Board) -> usize {
        board.port.looping = self.looping;
        if !self.late.is_empty() {
            self.mend(board, None);
        }
        self.linger(board);
        let mut work = self.poll(board);
        // Completions of both ways may share a queue, and which come first is open.
        if board.nasty {
            work += self.receive(board);
        }
        if self.link {
            work += transmit(&mut Sender { plane: self, board });
        }
        if !board.nasty {
            work += self.receive(board);
        }
        self.serve_queues(board);
        self.read_ahead(board);
        self.write_stats(board);
        // Records that wait for their time are work: nobody may sleep over them.
        work + self.busy.len() + self.late.len() + usize::from(self.lingering.is_active())
    }
}

#[cfg(test)]
mod tests;
