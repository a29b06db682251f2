//! The address of a card in its trace: found in what was read, written and stored, and
//! replaced by another.
//!
//! In memory its six bytes follow each other. In registers they may be spread over several
//! accesses, which then come one after the other: all bytes of accesses one way are a
//! stream, and the address is looked for in that, with the lowest byte of each access first
//! and with the highest. Cards have neighbours, and numbers that are made of addresses
//! (EUI-64): whatever is at most [`NEIGHBOURS`] away, whatever has two bytes more in the
//! middle, and each of them backwards, is replaced too.

use super::{Access, Event};
use crate::net::MacAddr;

/// What stands between the halves: nothing, or what makes an EUI-64 of it (IEEE, Guidelines
/// for Use of EUI; Mellanox puts 03 00 there).
const FILLERS: [&[u8]; 3] = [&[], &[0xff, 0xfe], &[0x03, 0x00]];

/// How far away an address of the same card, or of the one beside it, may be.
const NEIGHBOURS: u32 = 256;

/// Most register accesses that an address is spread over.
pub(super) const SPREAD: usize = 6;

/// The address that stands for another: of the same maker, and with the same sum (XOR), as
/// commands may be signed with one.
pub fn stand_in(real: MacAddr) -> MacAddr {
    let [a, b, c, d, e, f] = real.0;
    MacAddr([a, b, c, 0, 0, d ^ e ^ f])
}

/// Replaces `real`, and its neighbours, in all that `events` say.
pub(super) fn replace(events: &mut [Event], real: MacAddr) {
    for event in events.iter_mut() {
        match event {
            Event::Put(memory) | Event::Got(memory) => {
                for (at, new) in either_way(&memory.bytes, real) {
                    memory.bytes[at] = new;
                }
            }
            Event::Answer(_, said) => *said = said.replace(&real.to_string(), &stand_in(real).to_string()),
            _ => {}
        }
    }
    for way in [false, true] {
        for highest_first in [false, true] {
            in_registers(events, way, highest_first, real);
        }
    }
}

/// Which bytes are to be others, forwards or backwards.
fn either_way(bytes: &[u8], real: MacAddr) -> Vec<(usize, u8)> {
    let backwards: Vec<u8> = bytes.iter().rev().copied().collect();
    let turned = found(&backwards, real).into_iter().map(|(at, new)| (bytes.len() - 1 - at, new));
    found(bytes, real).into_iter().chain(turned).collect()
}

/// Which bytes are to be others.
fn found(bytes: &[u8], real: MacAddr) -> Vec<(usize, u8)> {
    let [a, b, c, d, e, f] = real.0;
    let low = |d, e, f| u32::from_be_bytes([0, d, e, f]);
    // Those of an address that no maker gave differ in the last byte.
    let reach = if a & 0x02 == 0 { NEIGHBOURS } else { 0 };
    let mut changes = Vec::new();
    for (at, three) in bytes.windows(3).enumerate().filter(|(_, three)| *three == [a, b, c]) {
        for filler in FILLERS {
            let from = at + three.len() + filler.len();
            if bytes.get(at + three.len()..from) != Some(filler) {
                continue;
            }
            if let Some(&[x, y, last]) = bytes.get(from..from + 3)
                && ((x, y) == (d, e) || low(x, y, last).abs_diff(low(d, e, f)) <= reach)
            {
                let new = stand_in(MacAddr([a, b, c, x, y, last])).0;
                changes.extend((from..).zip(new[3..].iter().copied()));
            }
        }
    }
    changes
}

/// The same in accesses that write, or read, with the lowest byte of each first or the highest.
fn in_registers(events: &mut [Event], way: bool, highest_first: bool, real: MacAddr) {
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
        let bytes = access.value.to_le_bytes();
        let size = usize::from(access.size);
        for byte in 0..size {
            let byte = if highest_first { size - 1 - byte } else { byte };
            places.push((n, byte));
            stream.push(bytes[byte]);
        }
    }
    for (at, new) in either_way(&stream, real) {
        let (n, byte) = places[at];
        let mut bytes = accesses[n].value.to_le_bytes();
        bytes[byte] = new;
        accesses[n].value = u64::from_le_bytes(bytes);
    }
}
