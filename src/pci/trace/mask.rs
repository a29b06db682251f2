//! The address of a card in its trace: found in what was read, written and stored, and
//! replaced by another.
//!
//! In memory its six bytes follow each other. In registers they may be spread over several
//! accesses, which then come one after the other: all bytes of accesses one way are a
//! stream, lowest first, and the address is looked for in that. Cards have neighbours, and
//! numbers that are made of addresses (EUI-64): whatever differs in the last byte only, and
//! whatever has two bytes more in the middle, is replaced too.

use super::{Access, Event};
use crate::net::MacAddr;

/// What stands between the halves: nothing, or what makes an EUI-64 of it (IEEE, Guidelines
/// for Use of EUI; Mellanox puts 03 00 there).
const FILLERS: [&[u8]; 3] = [&[], &[0xff, 0xfe], &[0x03, 0x00]];

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
        if let Event::Put(memory) | Event::Got(memory) = event {
            for (at, new) in found(&memory.bytes, real) {
                memory.bytes[at] = new;
            }
        }
    }
    for way in [false, true] {
        in_registers(events, way, real);
    }
}

/// Which bytes are to be others.
fn found(bytes: &[u8], real: MacAddr) -> Vec<(usize, u8)> {
    let [a, b, c, d, e, _] = real.0;
    let mut changes = Vec::new();
    for (at, three) in bytes.windows(3).enumerate().filter(|(_, three)| *three == [a, b, c]) {
        for filler in FILLERS {
            let from = at + three.len() + filler.len();
            if bytes.get(at + three.len()..from) != Some(filler) {
                continue;
            }
            if let Some(&[x, y, last]) = bytes.get(from..from + 3)
                && (x, y) == (d, e)
            {
                let new = stand_in(MacAddr([a, b, c, x, y, last])).0;
                changes.extend((from..).zip(new[3..].iter().copied()));
            }
        }
    }
    changes
}

/// The same in accesses that write, or read.
fn in_registers(events: &mut [Event], way: bool, real: MacAddr) {
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
    for (at, new) in found(&stream, real) {
        let (n, byte) = places[at];
        let mut bytes = accesses[n].value.to_le_bytes();
        bytes[byte] = new;
        accesses[n].value = u64::from_le_bytes(bytes);
    }
}
