//! Filters: which frames are received, and by which VNIC.

use super::super::super::FaultKind;
use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};
use super::super::plane::{GROUPS, L2Spec, MaskSpec, NtupleSpec};
use super::function::Thing;
use super::{Refusal, UNKNOWN};

/// Multicast addresses of a function that has few (fault).
const FEW_GROUPS: u32 = 2;

/// CFA_L2_FILTER_ALLOC.
pub fn alloc(card: &mut Bnxt, request: &Request) -> Answer {
    const ADDRESS: u32 = 1;
    let spec = L2Spec::of(&request.bytes);
    let foreign = spec.enables & ADDRESS != 0 && spec.address != card.board.factory;
    if foreign && card.faulty(FaultKind::MacLocked) {
        return Err(Refusal::DENIED);
    }
    card.function.room(Thing::Filters, card.plane.counts().l2)?;
    let id = card.plane.alloc_l2_filter(&mut card.board, &spec)?;
    Ok(Reply::new(24).u64(8, id).u32(0x10, id as u32))
}

pub fn free(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.free_l2_filter(request.u64(0x10))?;
    Ok(Reply::done())
}

/// CFA_L2_SET_RX_MASK.
pub fn mask(card: &mut Bnxt, request: &Request) -> Answer {
    const LISTED: u32 = 1 << 1;
    let spec = MaskSpec::of(&request.bytes);
    let most = if card.faulty(FaultKind::FewGroups) { FEW_GROUPS } else { GROUPS };
    if spec.mask & LISTED != 0 && spec.count > most {
        return Err(Refusal::ALLOC);
    }
    card.plane.set_rx_mask(&mut card.board, &spec)?;
    Ok(Reply::done())
}

/// CFA_NTUPLE_FILTER_ALLOC.
pub fn alloc_ntuple(card: &mut Bnxt, request: &Request) -> Answer {
    if card.faulty(FaultKind::NoNtuple) {
        return Err(Refusal::ALLOC);
    }
    let id = card.plane.alloc_ntuple(&mut card.board, &NtupleSpec::of(&request.bytes))?;
    Ok(Reply::new(24).u64(8, id).u32(0x10, id as u32))
}

pub fn free_ntuple(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.free_ntuple(request.u64(0x10))?;
    Ok(Reply::done())
}

/// CFA_NTUPLE_FILTER_CFG: another VNIC.
pub fn move_ntuple(card: &mut Bnxt, request: &Request) -> Answer {
    const DESTINATION: u32 = 1;
    if request.u32(0x10) & DESTINATION != 0 {
        card.plane.move_ntuple(request.u64(0x18), request.u32(0x20))?;
    }
    Ok(Reply::done())
}

/// CFA_ADV_FLOW_MGNT_QCAPS: a flow may name a place in the RSS table (P5).
pub fn capabilities(card: &mut Bnxt, _: &Request) -> Answer {
    const RING_TABLE_INDEX: u32 = 1 << 13;
    if !card.chip().p5() {
        return Err(UNKNOWN);
    }
    let flags = if card.faulty(FaultKind::NoNtuple) { 0 } else { RING_TABLE_INDEX };
    Ok(Reply::new(16).u32(8, flags))
}
