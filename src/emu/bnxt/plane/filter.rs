//! Which VNICs a received frame goes to.
//!
//! ```text
//!   frame --> address filters, else the VNICs' masks: multicast list, all groups,
//!             broadcast, everything
//!               | somebody wants it
//!               v
//!             n-tuple filters: the first that matches sends it where it says
//! ```

use super::super::super::frame::Parsed;
use super::super::super::{Board, FaultKind, Picos};
use super::slab::Handle;
use super::vnic::Destination;
use super::{L2Spec, MaskSpec, NtupleSpec, Outcome, Plane, Refusal};

/// Addresses of groups that a VNIC may list.
pub const GROUPS: u32 = 16;

/// N-tuple filters of a function.
const NTUPLES: usize = 256;

/// Bits of a VNIC's mask.
const MCAST: u32 = 1 << 1;
const ALL_MCAST: u32 = 1 << 2;
const BCAST: u32 = 1 << 3;
const PROMISC: u32 = 1 << 4;

/// Enables of L2 filters.
const OVLAN: u32 = 1 << 2;
const OVLAN_MASK: u32 = 1 << 3;
const IVLAN: u32 = 1 << 4;
const IVLAN_MASK: u32 = 1 << 5;

/// Flags and enables of n-tuple filters.
const DROP: u32 = 1 << 1;
const RFS_RING: u32 = 1 << 5;
const L2_ID: u32 = 1 << 0;
const ETHERTYPE: u32 = 1 << 1;
const SOURCE: u32 = 1 << 3;
const ADDRESS_TYPE: u32 = 1 << 4;
const SOURCE_IP: u32 = 1 << 5;
const SOURCE_IP_MASK: u32 = 1 << 6;
const DESTINATION_IP: u32 = 1 << 7;
const DESTINATION_IP_MASK: u32 = 1 << 8;
const PROTOCOL: u32 = 1 << 9;
const SOURCE_PORT: u32 = 1 << 10;
const SOURCE_PORT_MASK: u32 = 1 << 11;
const DESTINATION_PORT: u32 = 1 << 12;
const DESTINATION_PORT_MASK: u32 = 1 << 13;
const RFS_INDEX: u32 = 1 << 19;

/// L2 filters drop too, by another bit.
const L2_DROP: u32 = 1 << 2;

/// Which frames a VNIC wants besides those of its filters.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    bits: u32,
    groups: Vec<[u8; 6]>,
}

/// Where a frame goes.
#[derive(Clone, Copy)]
pub struct Target {
    pub vnic: Handle,
    /// Place in its table, if that does not come of the hash.
    pub place: Option<u32>,
}

struct L2 {
    id: u64,
    spec: L2Spec,
    vnic: Handle,
}

struct Ntuple {
    id: u64,
    spec: NtupleSpec,
    target: Target,
}

/// All filters.
#[derive(Default)]
pub struct Filters {
    l2: Vec<L2>,
    ntuples: Vec<Ntuple>,
    serial: u64,
    /// When the first filter by address was set.
    since: Picos,
}

/// How long a driver may take from its first filter to its mask.
const RIGHT_BEHIND: Picos = 1_000_000_000;

/// Ids of the two kinds of filters.
const L2_IDS: u64 = 1 << 32;
const NTUPLE_IDS: u64 = 2 << 32;

impl Mask {
    #[inline]
    fn wants(&self, to: [u8; 6]) -> bool {
        let on = |bit: u32| self.bits & bit != 0;
        on(PROMISC)
            || on(BCAST) && to == [0xff; 6]
            || on(ALL_MCAST) && to[0] & 1 == 1 && to != [0xff; 6]
            || on(MCAST) && self.groups.contains(&to)
    }
}

impl L2 {
    #[inline]
    fn matches(&self, to: [u8; 6], tags: [Option<u16>; 2]) -> bool {
        let L2Spec { address, mask, enables, .. } = &self.spec;
        let tag = |enable: u32, mask_enable: u32, value: u16, mask: u16, tag: Option<u16>| {
            let mask = if enables & mask_enable != 0 { mask & 0xfff } else { 0xfff };
            enables & enable == 0 || tag.is_some_and(|tag| (tag ^ value) & mask == 0)
        };
        (0..6).all(|n| (address[n] ^ to[n]) & mask[n] == 0)
            && tag(OVLAN, OVLAN_MASK, self.spec.vlan, self.spec.vlan_mask, tags[0])
            && tag(IVLAN, IVLAN_MASK, self.spec.inner, self.spec.inner_mask, tags[1])
    }
}

/// Whether the bits of `mask` are the same in both.
fn same(value: &[u8], wanted: &[u8], mask: &[u8]) -> bool {
    value.iter().zip(wanted).zip(mask).all(|((value, wanted), mask)| (value ^ wanted) & mask == 0)
}

impl Ntuple {
    fn matches(&self, frame: &[u8], headers: &Parsed) -> bool {
        let spec = &self.spec;
        let on = |enable: u32| spec.enables & enable != 0;
        let addresses = headers.address_bytes(frame);
        let (from, to) = addresses.split_at(addresses.len() / 2);
        let address = |enable: u32, mask_enable: u32, value: &[u8], [wanted, mask]: &[[u8; 16]; 2]| {
            let mask = if on(mask_enable) { mask } else { &[0xff; 16] };
            !on(enable) || !value.is_empty() && same(value, wanted, mask)
        };
        let ports = headers.port_bytes(frame);
        let port = |enable: u32, mask_enable: u32, at: usize, [wanted, mask]: &[[u8; 2]; 2]| {
            let mask = if on(mask_enable) { mask } else { &[0xff; 2] };
            !on(enable) || ports.get(at..at + 2).is_some_and(|port| same(port, wanted, mask))
        };
        let v6 = addresses.len() == 32;
        (!on(ETHERTYPE) || headers.ethertype.to_be_bytes() == spec.ethertype)
            && (!on(SOURCE) || frame.get(6..12).is_some_and(|source| source == spec.source))
            && (!on(ADDRESS_TYPE) || !addresses.is_empty() && v6 == (spec.address_type == 6))
            && (!on(PROTOCOL) || headers.protocol == Some(spec.protocol))
            && address(SOURCE_IP, SOURCE_IP_MASK, from, &spec.source_ip)
            && address(DESTINATION_IP, DESTINATION_IP_MASK, to, &spec.destination_ip)
            && port(SOURCE_PORT, SOURCE_PORT_MASK, 0, &spec.source_port)
            && port(DESTINATION_PORT, DESTINATION_PORT_MASK, 2, &spec.destination_port)
    }
}

impl Filters {
    /// L2 filters, n-tuple filters.
    pub fn count(&self) -> (usize, usize) {
        (self.l2.len(), self.ntuples.len())
    }

    /// Forgets n-tuple filters whose VNIC is gone.
    pub fn forget(&mut self, there: impl Fn(Handle) -> bool) {
        self.ntuples.retain(|filter| there(filter.target.vnic));
    }

    fn next_id(&mut self, kind: u64) -> u64 {
        self.serial += 1;
        kind | self.serial
    }
}

impl Plane {
    /// CFA_L2_FILTER_ALLOC: the filter's id. The VNIC must lead somewhere.
    pub fn alloc_l2_filter(&mut self, board: &mut Board, spec: &L2Spec) -> Outcome<u64> {
        let vnic = self.vnics.handle(spec.vnic).ok_or(Refusal::INVALID)?;
        let leads = self.vnics.get(spec.vnic).is_some_and(|vnic| !matches!(vnic.default, Destination::None));
        if !leads {
            return Err(Refusal::INVALID);
        }
        if self.filters.l2.is_empty() {
            self.filters.since = board.now;
        }
        let id = self.filters.next_id(L2_IDS);
        self.filters.l2.push(L2 { id, spec: *spec, vnic });
        Ok(id)
    }

    /// Whether frames are taken from the wire. Until a driver has said what it wants,
    /// they lie there, so that the first of a played file are not lost: drivers set a
    /// filter for their own address, and the mask for all others right behind.
    pub(super) fn listens(&self, now: Picos) -> bool {
        self.looping
            || self.vnics.iter().any(|(_, vnic)| vnic.mask.bits != 0)
            || !self.filters.l2.is_empty() && now >= self.filters.since + RIGHT_BEHIND
    }

    /// CFA_L2_FILTER_FREE.
    pub fn free_l2_filter(&mut self, filter: u64) -> Outcome<()> {
        let at = self.filters.l2.iter().position(|l2| l2.id == filter).ok_or(Refusal::INVALID)?;
        self.filters.l2.remove(at);
        Ok(())
    }

    /// CFA_L2_SET_RX_MASK.
    pub fn set_rx_mask(&mut self, board: &mut Board, spec: &MaskSpec) -> Outcome<()> {
        let vnic = self.vnics.get_mut(spec.vnic).ok_or(Refusal::INVALID)?;
        if spec.mask & PROMISC != 0 && board.faulty(FaultKind::Promiscuous) {
            return Err(Refusal::DENIED);
        }
        let count = if spec.mask & MCAST != 0 { spec.count } else { 0 };
        let mut bytes = vec![0; 6 * count.min(GROUPS) as usize];
        if count > GROUPS || count > 0 && !board.bus.memory.read(spec.table, &mut bytes) {
            return Err(Refusal::INVALID);
        }
        vnic.mask = Mask { bits: spec.mask, groups: bytes.as_chunks::<6>().0.to_vec() };
        Ok(())
    }

    /// CFA_NTUPLE_FILTER_ALLOC: the filter's id.
    pub fn alloc_ntuple(&mut self, _board: &mut Board, spec: &NtupleSpec) -> Outcome<u64> {
        let l2 = self.filters.l2.iter().find(|l2| l2.id == spec.l2);
        if spec.enables & L2_ID != 0 && l2.is_none() {
            return Err(Refusal::INVALID);
        }
        let indexed = spec.enables & RFS_INDEX != 0;
        // With the flag alone the destination is a place, in the table of the VNIC that
        // the L2 filter leads to.
        let (vnic, place) = match spec.flags & RFS_RING != 0 && self.chip.p5() {
            true if indexed => (self.vnics.handle(spec.vnic), Some(spec.ring.into())),
            true => (l2.map(|l2| l2.vnic), Some(spec.vnic.into())),
            false => (self.vnics.handle(spec.vnic), None),
        };
        let drops = spec.flags & DROP != 0;
        let vnic = vnic.or(l2.map(|l2| l2.vnic).filter(|_| drops)).ok_or(Refusal::INVALID)?;
        if self.filters.ntuples.len() >= NTUPLES {
            return Err(Refusal::ALLOC);
        }
        let id = self.filters.next_id(NTUPLE_IDS);
        self.filters.ntuples.push(Ntuple { id, spec: *spec, target: Target { vnic, place } });
        Ok(id)
    }

    /// CFA_NTUPLE_FILTER_FREE.
    pub fn free_ntuple(&mut self, filter: u64) -> Outcome<()> {
        let at = self.filters.ntuples.iter().position(|ntuple| ntuple.id == filter).ok_or(Refusal::INVALID)?;
        self.filters.ntuples.remove(at);
        Ok(())
    }

    /// CFA_NTUPLE_FILTER_CFG: another VNIC.
    pub fn move_ntuple(&mut self, filter: u64, vnic: u32) -> Outcome<()> {
        let vnic = u16::try_from(vnic).ok().and_then(|vnic| self.vnics.handle(vnic)).ok_or(Refusal::INVALID)?;
        let ntuple = self.filters.ntuples.iter_mut().find(|ntuple| ntuple.id == filter).ok_or(Refusal::INVALID)?;
        ntuple.target.vnic = vnic;
        Ok(())
    }

    /// Who gets a frame; nobody if it is not wanted.
    #[inline]
    pub(super) fn route(&self, frame: &[u8], headers: &Parsed, targets: &mut Vec<Target>) {
        targets.clear();
        let Some(&to) = frame.first_chunk::<6>() else { return };
        let inner = match headers.l3_at {
            18 => headers.vlan,
            22.. => frame.get(18..20).map(|tci| u16::from_be_bytes([tci[0], tci[1]])),
            _ => None,
        };
        let mut add = |vnic: Handle| {
            if targets.iter().all(|target| target.vnic != vnic) {
                targets.push(Target { vnic, place: None });
            }
        };
        let mut claimed = false;
        for l2 in self.filters.l2.iter().filter(|l2| l2.matches(to, [headers.vlan, inner])) {
            claimed = true;
            if l2.spec.flags & L2_DROP == 0 && self.vnics.holds(l2.vnic) {
                add(l2.vnic);
            }
        }
        if !claimed || to[0] & 1 == 1 {
            for (id, _) in self.vnics.iter().filter(|(_, vnic)| vnic.mask.bits != 0 && vnic.mask.wants(to)) {
                self.vnics.handle(id).into_iter().for_each(&mut add);
            }
        }
        if targets.is_empty() || self.filters.ntuples.is_empty() {
            return;
        }
        if let Some(ntuple) = self.filters.ntuples.iter().find(|ntuple| ntuple.matches(frame, headers)) {
            targets.clear();
            if ntuple.spec.flags & DROP == 0 {
                targets.push(ntuple.target);
            }
        }
    }
}
