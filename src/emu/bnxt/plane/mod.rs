//! The data plane: rings, completion and notification queues, VNICs, filters,
//! statistics contexts.

mod clock;
mod refusal;
mod slab;
mod spec;
mod stat;

pub use self::clock::Clock;
pub use self::refusal::{Outcome, Refusal};
pub use self::spec::{
    Coalescing, GroupSpec, L2Spec, MaskSpec, NtupleSpec, Placement, RingKind, RingSpec, RssSpec, VnicSpec,
};
pub use self::stat::Counters;
use super::super::{Board, DoorbellPage, StageLog};
use super::chip::Chip;
use crate::dma::Iova;
use crate::pci::Page;

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
    /// What stages packets passed, for who asked.
    pub stages: Option<StageLog>,
}

impl Plane {
    /// Nothing in it.
    pub fn new(chip: Chip) -> Self {
        Plane { chip, clock: Clock::default(), stages: None }
    }

    /// FUNC_RESET, function-level reset: all objects are gone.
    pub fn reset(&mut self, _board: &mut Board) {}

    /// The function's rings are gone and its driver does not know yet (`true`):
    /// doorbells of rings that are not there are no fault of its own.
    pub fn set_unnoticed(&mut self, _unnoticed: bool) {}

    /// Scheduler queues that transmit rings may name; at first any.
    pub fn set_queues(&mut self, _queues: &[u16]) {}

    /// The link is up: frames pass. What is sent while it is down waits.
    pub fn set_link(&mut self, _up: bool) {}

    /// What is sent comes back inside the card, of the PHY or of the MAC.
    pub fn set_loopback(&mut self, _on: bool) {}

    /// Which frames are stamped on receipt (P5).
    pub fn set_rx_stamps(&mut self, _which: RxStamps) {}

    /// How many objects there are.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// RING_ALLOC: the ring's id.
    pub fn alloc_ring(&mut self, _board: &mut Board, _spec: &RingSpec) -> Outcome<u16> {
        Err(Refusal::FAIL)
    }

    /// RING_FREE.
    pub fn free_ring(&mut self, _board: &mut Board, _kind: RingKind, _id: u16) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// RING_RESET of type 6 (P4): the group's receive and aggregation rings start
    /// over, empty, after one has died.
    pub fn reset_group(&mut self, _group: u16) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// RING_GRP_ALLOC: the group's id.
    pub fn alloc_group(&mut self, _board: &mut Board, _spec: &GroupSpec) -> Outcome<u16> {
        Err(Refusal::FAIL)
    }

    /// RING_GRP_FREE.
    pub fn free_group(&mut self, _group: u32) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// STAT_CTX_ALLOC: the context's id. Counters are written to `address`, if it is
    /// not 0, every `period` milliseconds, if that is not 0.
    pub fn alloc_stat(&mut self, _board: &mut Board, _address: Iova, _period: u32, _length: u16) -> Outcome<u16> {
        Err(Refusal::FAIL)
    }

    /// STAT_CTX_FREE.
    pub fn free_stat(&mut self, _board: &mut Board, _stat: u32) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// STAT_CTX_CLR_STATS.
    pub fn clear_stat(&mut self, _stat: u32) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// STAT_CTX_QUERY.
    pub fn stat(&self, _stat: u32) -> Outcome<Counters> {
        Err(Refusal::FAIL)
    }

    /// The function's counters: of all contexts, those that are freed too.
    pub fn totals(&self) -> Counters {
        Counters::default()
    }

    /// The port's counters as PORT_QSTATS writes them: transmit, receive.
    pub fn port(&self) -> (&[u64; 51], &[u64; 66]) {
        (&[0; 51], &[0; 66])
    }

    /// PORT_CLR_STATS.
    pub fn clear_port(&mut self) {}

    /// VNIC_ALLOC: the VNIC's id.
    pub fn alloc_vnic(&mut self, _board: &mut Board) -> Outcome<u16> {
        Err(Refusal::FAIL)
    }

    /// VNIC_CFG.
    pub fn configure_vnic(&mut self, _spec: &VnicSpec) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// VNIC_QCFG.
    pub fn vnic(&self, _vnic: u32) -> Outcome<VnicState> {
        Err(Refusal::FAIL)
    }

    /// VNIC_FREE.
    pub fn free_vnic(&mut self, _vnic: u32) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// VNIC_PLCMODES_CFG: `enables` say which of the numbers count.
    pub fn set_placement(&mut self, _vnic: u32, _enables: u32, _placement: Placement) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// VNIC_PLCMODES_QCFG.
    pub fn placement(&self, _vnic: u32) -> Outcome<Placement> {
        Err(Refusal::FAIL)
    }

    /// VNIC_TPA_CFG: taken, and nothing is ever aggregated.
    pub fn set_tpa(&mut self, _vnic: u16, _flags: u32) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// VNIC_RSS_COS_LB_CTX_ALLOC: the context's id.
    pub fn alloc_context(&mut self, _board: &mut Board) -> Outcome<u16> {
        Err(Refusal::FAIL)
    }

    /// VNIC_RSS_COS_LB_CTX_FREE.
    pub fn free_context(&mut self, _context: u16) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// VNIC_RSS_CFG.
    pub fn set_rss(&mut self, _board: &mut Board, _spec: &RssSpec) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// VNIC_RSS_QCFG: what a context hashes, and its key.
    pub fn rss(&self, _context: u16) -> Outcome<(u32, [u8; 40])> {
        Err(Refusal::FAIL)
    }

    /// CFA_L2_FILTER_ALLOC: the filter's id.
    pub fn alloc_l2_filter(&mut self, _board: &mut Board, _spec: &L2Spec) -> Outcome<u64> {
        Err(Refusal::FAIL)
    }

    /// CFA_L2_FILTER_FREE.
    pub fn free_l2_filter(&mut self, _filter: u64) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// CFA_L2_SET_RX_MASK.
    pub fn set_rx_mask(&mut self, _board: &mut Board, _spec: &MaskSpec) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// CFA_NTUPLE_FILTER_ALLOC: the filter's id.
    pub fn alloc_ntuple(&mut self, _board: &mut Board, _spec: &NtupleSpec) -> Outcome<u64> {
        Err(Refusal::FAIL)
    }

    /// CFA_NTUPLE_FILTER_FREE.
    pub fn free_ntuple(&mut self, _filter: u64) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// CFA_NTUPLE_FILTER_CFG: another VNIC.
    pub fn move_ntuple(&mut self, _filter: u64, _vnic: u32) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// RING_CMPL_RING_CFG_AGGINT_PARAMS.
    pub fn set_coalescing(&mut self, _coalescing: &Coalescing) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// The ring that events go to: a completion queue, on P5 a notification queue.
    pub fn set_async_ring(&mut self, _ring: u16) -> Outcome<()> {
        Err(Refusal::FAIL)
    }

    /// Tells the driver of something; lost if there is no ring or room for it.
    pub fn post_async(&mut self, _board: &mut Board, _event: AsyncEvent) {}

    /// HWRM_DONE: the command of this number was answered. To be called after the
    /// response was written.
    pub fn post_done(&mut self, _board: &mut Board, _cq: u16, _seq: u16) {}

    /// The stamp of a sent PTP message with this sequence number, which is at
    /// `offset` of the frame's PTP header + 30 (PORT_TS_QUERY); it is forgotten.
    pub fn take_tx_stamp(&mut self, _sequence: u16, _offset: u16) -> Option<u64> {
        None
    }

    /// The stamp of the PTP message that was received last, and its sequence number.
    pub fn rx_stamp(&self) -> Option<(u64, u16)> {
        None
    }

    /// A write to the doorbell BAR (BAR 2).
    pub fn doorbell(&mut self, _board: &mut Board, _offset: u64, _size: u8, _value: u64) {}

    /// Memory for a doorbell of BAR 2 that its holder has for itself; two words on P5.
    pub fn lane(&mut self, _offset: u64) -> Option<(Page, usize)> {
        None
    }

    /// Pages of BAR 2 that can be polled: none, since a page holds the last store to an
    /// address and here several rings share one.
    pub fn pages(&self) -> Vec<DoorbellPage> {
        Vec::new()
    }

    /// Whether anything waits for time to pass, or is to be polled: rings are on.
    pub fn idle(&self) -> bool {
        true
    }

    /// Does what is to be done by now; how much that was.
    pub fn step(&mut self, _board: &mut Board) -> usize {
        0
    }
}
