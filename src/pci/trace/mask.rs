//! The address of a card in its trace: found in what was read, written and stored, and
//! replaced by another.
//!
//! In memory its six bytes follow each other. In registers they may be spread over several
//! accesses, which then come one after the other: all bytes of accesses one way are a
//! stream, lowest first, and the address is looked for in that.

use super::{Access, Event};
use crate::net::MacAddr;

/// Most register accesses that an address is spread over.
pub(super) const SPREAD: usize = 6;

/// An address that stands for another: of the same maker, and with the same sum (XOR), as
/// commands may be signed with one.
pub fn stand_in(real: MacAddr) -> MacAddr {
    let [a, b, c, d, e, f] = real.0;
    MacAddr([a, b, c, 0, 0, d ^ e ^ f])
}

/// Replaces `real` by `other` in all that `events` say.
pub(super) fn replace(events: &mut [Event], real: MacAddr, other: MacAddr) {
    for event in events.iter_mut() {
        if let Event::Put(memory) | Event::Got(memory) = event {
            let mut at = 0;
            while let Some(found) = find(memory.bytes.get(at..).unwrap_or_default(), real) {
                memory.bytes[at + found..at + found + 6].copy_from_slice(&other.0);
                at += found + 6;
            }
        }
    }
    for way in [false, true] {
        in_registers(events, way, real, other);
    }
}

fn find(bytes: &[u8], mac: MacAddr) -> Option<usize> {
    bytes.windows(6).position(|six| six == mac.0)
}

/// The same in accesses that write, or read.
fn in_registers(events: &mut [Event], way: bool, real: MacAddr, other: MacAddr) {
    let mut accesses: Vec<&mut Access> = Vec::new();
    for event in events.iter_mut() {
        if let Event::Access(access, _) = event
            && access.write == way
        {
            accesses.push(access);
        }
    }
    // Of each byte of the stream: its access, and its number in that.
    let mut places = Vec::new();
    let mut stream = Vec::new();
    for (n, access) in accesses.iter().enumerate() {
        for (byte, value) in access.value.to_le_bytes().into_iter().take(access.size.into()).enumerate() {
            places.push((n, byte));
            stream.push(value);
        }
    }
    let mut at = 0;
    while let Some(found) = find(stream.get(at..).unwrap_or_default(), real) {
        for (&(n, byte), new) in places[at + found..].iter().zip(other.0) {
            let mut bytes = accesses[n].value.to_le_bytes();
            bytes[byte] = new;
            accesses[n].value = u64::from_le_bytes(bytes);
        }
        at += found + 6;
    }
}
