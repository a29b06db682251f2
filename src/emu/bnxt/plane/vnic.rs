//! VNICs: where received frames go, and in which shape. And ring groups, which on P4
//! say in one number which rings that are.

use super::super::super::Board;
use super::filter::Mask;
use super::ring::Role;
use super::slab::Handle;
use super::{GroupSpec, LONGEST_FRAME, Outcome, Placement, Plane, Refusal, VnicSpec, VnicState};

/// Enables of VNIC_CFG.
const DFLT_RING_GRP: u32 = 1 << 0;
const RSS_RULE: u32 = 1 << 1;
const COS_RULE: u32 = 1 << 2;
const LB_RULE: u32 = 1 << 3;
const MRU: u32 = 1 << 4;
const DFLT_RX: u32 = 1 << 5;
const DFLT_CQ: u32 = 1 << 6;

/// VNIC_CFG: tags are taken off.
const VLAN_STRIP: u32 = 1 << 1;

/// Placement: longer frames go on in aggregation buffers; headers are split off.
const JUMBO: u32 = 1 << 1;
const HDS: u32 = 3 << 2;

/// The longest frame until a VNIC or the function is told.
pub const MRU_DEFAULT: u16 = 1518;

/// No object.
const NONE: u16 = 0xffff;

/// A ring group (P4).
pub struct Group {
    pub cq: Handle,
    pub rx: Handle,
    pub agg: Option<Handle>,
    pub stat: Option<Handle>,
}

/// Where a frame goes that is not spread.
#[derive(Clone, Copy, Default)]
pub enum Destination {
    /// Nowhere yet.
    #[default]
    None,
    /// A ring group (P4).
    Group(Handle),
    /// A receive ring and a completion queue (P5).
    Rings(Handle, Handle),
}

/// A VNIC.
pub struct Vnic {
    pub state: VnicState,
    pub default: Destination,
    /// RSS contexts, one table of each behind the other.
    pub contexts: Vec<Handle>,
    pub placement: Placement,
    /// Which frames it wants besides those of its filters.
    pub mask: Mask,
    /// An RSS context went before the VNIC (P5): completions go astray.
    pub astray: bool,
}

impl Vnic {
    /// Whether tags are taken off.
    pub fn strips(&self) -> bool {
        self.state.flags & VLAN_STRIP != 0
    }

    /// Whether a frame of this length goes on in aggregation buffers.
    pub fn spills(&self, len: usize) -> bool {
        self.placement.flags & (JUMBO | HDS) != 0 && len > usize::from(self.placement.jumbo)
    }
}

impl Plane {
    /// RING_GRP_ALLOC: the group's id.
    pub fn alloc_group(&mut self, board: &mut Board, spec: &GroupSpec) -> Outcome<u16> {
        let receive = |id| matches!(self.rings.get(id).map(|ring| &ring.role), Some(Role::Receive(_)));
        let completes = |id| matches!(self.rings.get(id).map(|ring| &ring.role), Some(Role::Completion(_)));
        let agg = (spec.agg != NONE).then_some(spec.agg);
        let stat = self.stats.handle(spec.stat);
        let fits = receive(spec.rx) && completes(spec.cq) && agg.is_none_or(receive) && agg != Some(spec.rx);
        let (Some(rx), Some(cq), true) = (self.rings.handle(spec.rx), self.rings.handle(spec.cq), fits) else {
            return Err(Refusal::INVALID);
        };
        // Nobody counts for a group whose statistics context is none: iPXE names 0.
        if self.chip.p5() {
            return Err(Refusal::INVALID);
        }
        let group = Group { cq, rx, agg: agg.and_then(|agg| self.rings.handle(agg)), stat };
        let handle = group.agg;
        let id = self.groups.insert(group, board.nasty.then_some(&mut board.random)).ok_or(Refusal::ALLOC)?;
        if let Some(ring) = self.rx_ring(spec.rx) {
            (ring.agg, ring.cq) = (handle, Some(cq));
        }
        if let Some(ring) = agg.and_then(|agg| self.rx_ring(agg)) {
            ring.is_agg = true;
        }
        Ok(id)
    }

    /// RING_GRP_FREE.
    pub fn free_group(&mut self, group: u32) -> Outcome<()> {
        let group = u16::try_from(group).map_err(|_| Refusal::INVALID)?;
        self.groups.remove(group).map(|_| ()).ok_or(Refusal::INVALID)
    }

    /// RING_RESET of type 6 (P4): the group's receive and aggregation rings start
    /// over, empty, after one has died.
    pub fn reset_group(&mut self, group: u16) -> Outcome<()> {
        let Group { rx, agg, .. } = self.groups.get(group).ok_or(Refusal::INVALID)?;
        for handle in [Some(*rx), *agg].into_iter().flatten() {
            let there = self.rings.holds(handle);
            if let Some(ring) = self.rx_ring(handle.id).filter(|_| there) {
                (ring.producer, ring.consumer, ring.ahead, ring.dead) = (0, 0, None, false);
            }
        }
        Ok(())
    }

    /// VNIC_ALLOC: the VNIC's id.
    pub fn alloc_vnic(&mut self, board: &mut Board) -> Outcome<u16> {
        let vnic = Vnic {
            state: VnicState { group: NONE, rss: NONE, cos: NONE, lb: NONE, mru: self.mru, ..VnicState::default() },
            default: Destination::None,
            contexts: Vec::new(),
            placement: Placement { flags: 1, ..Placement::default() },
            mask: Mask::default(),
            astray: false,
        };
        self.vnics.insert(vnic, board.nasty.then_some(&mut board.random)).ok_or(Refusal::ALLOC)
    }

    /// The id in a field of 32 bits, if there is such a VNIC.
    fn vnic_of(&mut self, vnic: u32) -> Outcome<&mut Vnic> {
        let id = u16::try_from(vnic).map_err(|_| Refusal::INVALID)?;
        self.vnics.get_mut(id).ok_or(Refusal::INVALID)
    }

    /// VNIC_CFG: all of it or nothing.
    pub fn configure_vnic(&mut self, spec: &VnicSpec) -> Outcome<()> {
        let on = |enable: u32| spec.enables & enable != 0;
        let mut default = self.vnics.get(spec.vnic).ok_or(Refusal::INVALID)?.default;
        if on(DFLT_RING_GRP) && !self.chip.p5() {
            let group = self.groups.handle(spec.group);
            if group.is_none() && spec.group != NONE {
                return Err(Refusal::INVALID);
            }
            default = group.map_or(Destination::None, Destination::Group);
        }
        if on(DFLT_RX) && on(DFLT_CQ) && self.chip.p5() {
            let fits = self.rx_ring(spec.rx).is_some_and(|ring| !ring.is_agg) && self.cq(spec.cq).is_some();
            let (Some(rx), Some(cq), true) = (self.rings.handle(spec.rx), self.rings.handle(spec.cq), fits) else {
                return Err(Refusal::INVALID);
            };
            default = Destination::Rings(rx, cq);
            if let Some(ring) = self.rx_ring(spec.rx) {
                ring.cq = Some(cq);
            }
        }
        let context = self.contexts.handle(spec.rss);
        let bound = on(RSS_RULE) && spec.rss != NONE && !self.chip.p5();
        // P5 takes the field as it is: Linux sets it there without its enable.
        let mru = on(MRU) || self.chip.p5() && spec.mru != 0;
        if bound && context.is_none() || mru && spec.mru > LONGEST_FRAME {
            return Err(Refusal::INVALID);
        }
        let vnic = self.vnic_of(spec.vnic.into())?;
        vnic.default = default;
        vnic.state.flags = spec.flags;
        if on(DFLT_RING_GRP) {
            vnic.state.group = spec.group;
        }
        if on(RSS_RULE) {
            vnic.state.rss = spec.rss;
        }
        if bound {
            vnic.contexts = context.into_iter().collect();
        }
        if on(COS_RULE) {
            vnic.state.cos = spec.cos;
        }
        if on(LB_RULE) {
            vnic.state.lb = spec.lb;
        }
        if mru {
            vnic.state.mru = spec.mru;
        }
        Ok(())
    }

    /// VNIC_QCFG.
    pub fn vnic(&self, vnic: u32) -> Outcome<VnicState> {
        let id = u16::try_from(vnic).map_err(|_| Refusal::INVALID)?;
        self.vnics.get(id).map(|vnic| vnic.state).ok_or(Refusal::INVALID)
    }

    /// VNIC_FREE: its n-tuple filters go with it.
    pub fn free_vnic(&mut self, vnic: u32) -> Outcome<()> {
        let id = u16::try_from(vnic).map_err(|_| Refusal::INVALID)?;
        self.vnics.remove(id).ok_or(Refusal::INVALID)?;
        let vnics = &self.vnics;
        self.filters.forget(|handle| vnics.holds(handle));
        Ok(())
    }

    /// VNIC_PLCMODES_CFG: `enables` say which of the numbers count.
    pub fn set_placement(&mut self, vnic: u32, enables: u32, placement: Placement) -> Outcome<()> {
        let vnic = self.vnic_of(vnic)?;
        let on = |bit: u32| enables >> bit & 1 == 1;
        let threshold = placement.hds_threshold;
        if on(2) && (threshold > 0x3ff || !threshold.is_multiple_of(4)) {
            return Err(Refusal::INVALID);
        }
        let own = &mut vnic.placement;
        own.flags = placement.flags;
        if on(0) {
            own.jumbo = placement.jumbo;
        }
        if on(1) {
            own.hds_offset = placement.hds_offset;
        }
        if on(2) {
            own.hds_threshold = threshold;
        }
        Ok(())
    }

    /// VNIC_PLCMODES_QCFG.
    pub fn placement(&self, vnic: u32) -> Outcome<Placement> {
        let id = u16::try_from(vnic).map_err(|_| Refusal::INVALID)?;
        self.vnics.get(id).map(|vnic| vnic.placement).ok_or(Refusal::INVALID)
    }

    /// VNIC_TPA_CFG: taken, and nothing is ever aggregated.
    pub fn set_tpa(&mut self, vnic: u16, _flags: u32) -> Outcome<()> {
        self.vnics.get(vnic).map(|_| ()).ok_or(Refusal::INVALID)
    }

    /// The longest frame of VNICs that are made from now on (FUNC_CFG); 0 is what
    /// firmware starts with.
    pub fn set_mru(&mut self, mru: u16) {
        self.mru = if mru == 0 { MRU_DEFAULT } else { mru };
    }
}
