//! VNICs: where frames go to, how they are placed in buffers and spread over rings.

use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};
use super::super::plane::{LONGEST_FRAME, Placement, RssSpec, VnicSpec};
use super::function::Thing;
use super::{BUSY, Refusal};

pub fn capabilities(card: &mut Bnxt, _: &Request) -> Answer {
    const VLAN_STRIP: u32 = 1 << 1;
    const DEFAULT_RING_RSS: u32 = 1 << 5;
    // Drivers take 0 for a P5 that cannot be used at all.
    let aggregations = if card.chip().p5() { 16 } else { 0 };
    // Firmware that strips tags does not always say so.
    let flags = if card.board.nasty { 0 } else { VLAN_STRIP | DEFAULT_RING_RSS };
    Ok(Reply::new(24).u16(0x08, LONGEST_FRAME).u32(0x0c, flags).u16(0x10, aggregations))
}

pub fn alloc(card: &mut Bnxt, _: &Request) -> Answer {
    if card.store_busy() {
        return Err(BUSY);
    }
    if !card.has_store() {
        return Err(Refusal::ALLOC);
    }
    card.function.room(Thing::Vnics, card.plane.counts().vnics)?;
    let id = card.plane.alloc_vnic(&mut card.board)?;
    Ok(Reply::new(16).u32(8, id.into()))
}

pub fn free(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.free_vnic(request.u32(0x10))?;
    Ok(Reply::done())
}

pub fn configure(card: &mut Bnxt, request: &Request) -> Answer {
    const MRU: u32 = 1 << 4;
    let spec = VnicSpec::of(&request.bytes);
    let told = spec.enables & MRU != 0 || card.chip().p5();
    if told && spec.mru > card.longest_frame().min(LONGEST_FRAME) {
        return Err(Refusal::INVALID);
    }
    card.plane.configure_vnic(&spec)?;
    Ok(Reply::done())
}

pub fn configuration(card: &mut Bnxt, request: &Request) -> Answer {
    let state = card.plane.vnic(request.u32(0x14))?;
    Ok(Reply::new(32).u16s(0x08, &[state.group, state.rss, state.cos, state.lb, state.mru]).u32(0x14, state.flags))
}

/// VNIC_TPA_CFG: packets are not aggregated, whatever it says.
pub fn aggregation(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.set_tpa(request.u16(0x18), request.u32(0x10))?;
    Ok(Reply::done())
}

pub fn placement(card: &mut Bnxt, request: &Request) -> Answer {
    let placement = Placement {
        flags: request.u32(0x10),
        jumbo: request.u16(0x1c),
        hds_offset: request.u16(0x1e),
        hds_threshold: request.u16(0x20),
    };
    card.plane.set_placement(request.u32(0x18), request.u32(0x14), placement)?;
    Ok(Reply::done())
}

pub fn placement_configuration(card: &mut Bnxt, request: &Request) -> Answer {
    let Placement { flags, jumbo, hds_offset, hds_threshold } = card.plane.placement(request.u32(0x10))?;
    Ok(Reply::new(24).u32(0x08, flags).u16s(0x0c, &[jumbo, hds_offset, hds_threshold]))
}

pub fn alloc_rss(card: &mut Bnxt, _: &Request) -> Answer {
    card.function.room(Thing::Contexts, card.plane.counts().contexts)?;
    let id = card.plane.alloc_context(&mut card.board)?;
    Ok(Reply::new(16).u16(8, id))
}

pub fn free_rss(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.free_context(request.u16(0x10))?;
    Ok(Reply::done())
}

pub fn rss(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.set_rss(&mut card.board, &RssSpec::of(&request.bytes))?;
    Ok(Reply::done())
}

pub fn rss_configuration(card: &mut Bnxt, request: &Request) -> Answer {
    let (types, key) = card.plane.rss(request.u16(0x10))?;
    Ok(Reply::new(64).u32(0x08, types).bytes(0x10, &key))
}
