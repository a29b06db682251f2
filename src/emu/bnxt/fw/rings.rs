//! Rings, ring groups, statistics contexts, coalescing.

use super::super::super::FaultKind;
use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};
use super::super::plane::{Coalescing, GroupSpec, RingKind, RingSpec, STRIDE};
use super::function::Thing;
use super::{BUSY, Refusal, UNKNOWN};

/// Modes of interrupts.
const MSIX: u8 = 2;

impl Bnxt {
    /// Whether a ring's number is that of a doorbell (P4), and if it interrupts that of
    /// a vector which the driver was granted. A queue that is polled has any number.
    fn is_numbered(&self, spec: &RingSpec) -> bool {
        let p5 = self.chip().p5();
        let doorbell = u64::from(spec.logical_id) * STRIDE;
        let told = if p5 { RingKind::Notification } else { RingKind::Completion };
        let interrupts = spec.kind == Some(told) && spec.interrupt == MSIX;
        (p5 || doorbell < self.board.profile.bar(2))
            && (!interrupts || self.function.room(Thing::Vectors, spec.logical_id.into()).is_ok())
    }
}

/// RING_ALLOC.
pub fn alloc(card: &mut Bnxt, request: &Request) -> Answer {
    if card.store_busy() {
        return Err(BUSY);
    }
    let spec = RingSpec::of(&request.bytes);
    let counts = card.plane.counts();
    let data = matches!(spec.kind, Some(RingKind::Transmit | RingKind::Receive | RingKind::Aggregation));
    if data && !card.function.may_have_rings() {
        return Err(Refusal::FAIL);
    }
    if !card.has_store() {
        return Err(Refusal::ALLOC);
    }
    match spec.kind {
        Some(RingKind::Completion) => card.function.room(Thing::Completions, counts.cqs)?,
        Some(RingKind::Notification) => card.function.room(Thing::Vectors, counts.nqs)?,
        Some(RingKind::Transmit) => card.function.room(Thing::Transmit, counts.tx)?,
        Some(RingKind::Receive | RingKind::Aggregation) => card.function.room(Thing::Receive, counts.rx)?,
        None => return Err(Refusal::INVALID),
    }
    if !card.is_numbered(&spec) {
        return Err(Refusal::INVALID);
    }
    let id = card.plane.alloc_ring(&mut card.board, &spec)?;
    Ok(Reply::new(16).u16s(8, &[id, spec.logical_id]))
}

pub fn free(card: &mut Bnxt, request: &Request) -> Answer {
    let kind = RingKind::of(request.u8(0x10)).ok_or(Refusal::INVALID)?;
    card.plane.free_ring(&mut card.board, kind, request.u16(0x12))?;
    Ok(Reply::done())
}

/// RING_RESET: of a ring group alone, and only where receive rings die (P4).
pub fn reset(card: &mut Bnxt, request: &Request) -> Answer {
    const GROUP: u8 = 6;
    if request.u8(0x10) != GROUP || card.chip().p5() {
        return Err(Refusal::UNSUPPORTED);
    }
    card.plane.reset_group(request.u16(0x12))?;
    Ok(Reply::done())
}

pub fn alloc_group(card: &mut Bnxt, request: &Request) -> Answer {
    if card.chip().p5() {
        return Err(UNKNOWN);
    }
    card.function.room(Thing::Groups, card.plane.counts().groups)?;
    let id = card.plane.alloc_group(&mut card.board, &GroupSpec::of(&request.bytes))?;
    Ok(Reply::new(16).u32(8, id.into()))
}

pub fn free_group(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.free_group(request.u32(0x10))?;
    Ok(Reply::done())
}

pub fn alloc_statistics(card: &mut Bnxt, request: &Request) -> Answer {
    card.function.room(Thing::Statistics, card.plane.counts().stats)?;
    let (address, period, length) = (request.u64(0x10), request.u32(0x18), request.u16(0x1e));
    let id = card.plane.alloc_stat(&mut card.board, address, period, length)?;
    Ok(Reply::new(16).u32(8, id.into()))
}

pub fn free_statistics(card: &mut Bnxt, request: &Request) -> Answer {
    let id = request.u32(0x10);
    card.plane.free_stat(&mut card.board, id)?;
    Ok(Reply::new(16).u32(8, id))
}

/// RING_CMPL_RING_CFG_AGGINT_PARAMS.
pub fn coalesce(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.set_coalescing(&Coalescing::of(&request.bytes))?;
    Ok(Reply::done())
}

/// RING_AGGINT_QCAPS: which parameters there are, and between what they may be. Timers
/// are in units of 80 ns.
pub fn coalescing(card: &mut Bnxt, _: &Request) -> Answer {
    /// All of a completion queue's, and RING_IDLE.
    const COMPLETIONS: u32 = 0x1ff;
    /// The timers alone.
    const NOTIFICATIONS: u32 = 1;
    const UNIT: u16 = 80;
    if card.faulty(FaultKind::Old) {
        return Err(UNKNOWN);
    }
    let (count, timer, interrupts) = ([1, 63], [1, 0xffff], [1, 63]);
    let limits = [count, count, timer, timer, timer, timer, interrupts].concat();
    Ok(Reply::new(48).u32(8, COMPLETIONS).u32(0xc, NOTIFICATIONS).u16s(0x10, &limits).u16(0x2c, UNIT))
}
