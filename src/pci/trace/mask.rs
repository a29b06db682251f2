//! What tells one card from another in its trace: found in what was read, written and
//! stored, and replaced by something else.
//!
//! In memory its six bytes follow each other. In registers they may be spread over several
//! accesses, which then come one after the other: all bytes of accesses one way are a
//! stream, and the address is looked for in that, with the lowest byte of each access first
//! and with the highest. Cards have neighbours, and numbers that are made of addresses
//! (EUI-64): whatever is at most [`NEIGHBOURS`] away, whatever has two bytes more in the
//! middle, and each of them backwards, is replaced too.
//!
//! An EEPROM holds addresses in places that only its maker knows. Of what passes through the
//! registers for it ([`Words`]) that part is shown whose meaning is known.

use super::{Access, Event};
use crate::net::MacAddr;
use std::ops::Range;

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

/// Replaces a number of 64 bits in memory, either way round, but for the maker's part.
pub(super) fn replace_number(events: &mut [Event], number: u64) {
    let real = number.to_be_bytes();
    let [a, b, c, rest @ ..] = real;
    let other = [a, b, c, 0, 0, 0, 0, rest.iter().fold(0, |sum, byte| sum ^ byte)];
    let turned = |bytes: [u8; 8]| u64::from_be_bytes(bytes).to_le_bytes();
    for event in events.iter_mut() {
        let (Event::Put(memory) | Event::Got(memory)) = event else { continue };
        for (real, other) in [(real, other), (turned(real), turned(other))] {
            let found = memory.bytes.windows(8).enumerate().filter(|(_, window)| *window == real);
            let places: Vec<usize> = found.map(|(at, _)| at).collect();
            places.into_iter().for_each(|at| memory.bytes[at..at + 8].copy_from_slice(&other));
        }
    }
}

/// The address that an EUI-64 was made of, if it was.
pub(super) fn within(number: u64) -> Option<MacAddr> {
    let [a, b, c, x, y, d, e, f] = number.to_be_bytes();
    FILLERS.contains(&&[x, y][..]).then_some(MacAddr([a, b, c, d, e, f]))
}

/// Words of an EEPROM as they pass through registers, by which of them was asked for.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// The last one, where it is not told with the word.
    asked: u16,
}

impl Words {
    /// Words that are the same, or harmless, in every card: pointers, versions, checksums,
    /// control (82599 §6.2, X710 §6.3). An 82599 begins with its address.
    const SHOWN: Range<u16> = 0..0x40;
    const ADDRESS: Range<u16> = 0..3;

    /// What is shown of a value that was read from, or written to, the register of this name.
    pub fn shown(&mut self, name: &str, write: bool, value: u64) -> u64 {
        const DATA: u64 = 0xffff_0000;
        let (word, address) = match name {
            // 82599 §8.2.3.2.2: the address in bits 15:2.
            "EERD" => ((value >> 2) as u16 & 0x3fff, Words::ADDRESS),
            // X710 §10.2.2.24.1: the address in bits 28:14.
            "GLNVM_SRCTL" if write => {
                self.asked = (value >> 14) as u16 & 0x7fff;
                return value;
            }
            "GLNVM_SRDATA" => (self.asked, 0..0),
            _ => return value,
        };
        let harmless = Words::SHOWN.contains(&word) && !address.contains(&word);
        if write || harmless { value } else { value & !DATA }
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
