//! What a card says wrong of received frames (faults): where they belong, and what is in them.

use super::super::{Fault, FaultKind};
use super::filter::{Filters, Route};
use super::rx::{L4CS, TCPE, VP};

/// What is wrong about the queue of a frame (fault): all come on the first, those that are
/// steered come on the one behind theirs, or those that are not come on that of one that is.
#[cold]
pub fn mistake(fault: Option<Fault>, filters: &Filters, route: &mut Route) {
    match fault.map(|fault| fault.kind) {
        Some(FaultKind::OneQueue) => route.queue = 0,
        Some(FaultKind::SteerWrong) if route.steered => route.queue ^= 1,
        Some(FaultKind::SteerAll) => route.queue = filters.steered_to().unwrap_or(route.queue),
        _ => {}
    }
}

/// What is wrong about a frame's write-back (fault): the verdict on its checksum, or that it
/// had a tag.
#[cold]
pub fn lie(fault: Option<Fault>, words: &mut [u64; 2]) {
    match fault.map(|fault| fault.kind) {
        Some(FaultKind::SumsLie) if words[1] & u64::from(L4CS) != 0 => words[1] ^= u64::from(TCPE),
        Some(FaultKind::TagLost) => words[1] &= !u64::from(VP),
        _ => {}
    }
}
