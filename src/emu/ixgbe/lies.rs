//! What a card says wrong of received frames (faults): where they belong, and what is in them.

use super::super::{Fault, FaultKind};
use super::filter::Route;
use super::rx::{L4CS, TCPE, VP};

/// What is wrong about the queue of a frame (fault): all come on the first, or those that
/// are steered come on the one behind theirs.
#[cold]
pub fn mistake(fault: Option<Fault>, route: &mut Route) {
    match fault.map(|fault| fault.kind) {
        Some(FaultKind::OneQueue) => route.queue = 0,
        Some(FaultKind::SteerWrong) if route.steered => route.queue ^= 1,
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
