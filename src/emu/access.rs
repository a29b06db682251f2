//! Reads and writes of any shape to a BAR of 32-bit registers, as the 82599 and
//! the X710 take them: aligned words, and pairs of them where the card has such.
//! Whatever else a driver does is a violation.

use super::{Model, Registers};

/// A card whose BAR 0 is 32-bit registers.
pub(super) trait Words: Model + Registers {
    /// Bytes of registers in BAR 0.
    const SIZE: u32;
    /// Whether one write of 8 aligned bytes sets two registers.
    const WIDE_WRITES: bool;
}

/// [`Model::read`](super::Model::read) for such a card.
pub(super) fn read<C: Words>(card: &mut C, bar: u8, offset: u64, size: u8) -> u64 {
    if bar != 0 || offset >= u64::from(C::SIZE) {
        card.board_mut().violations.note(format!("read outside the registers: BAR {bar} at {offset:#x}"));
        return 0;
    }
    let offset = offset as u32;
    match size {
        4 if offset.is_multiple_of(4) => u64::from(card.read_register(0, offset)),
        8 if offset.is_multiple_of(8) => {
            u64::from(card.read_register(0, offset)) | u64::from(card.read_register(0, offset + 4)) << 32
        }
        _ => {
            card.board_mut().violations.note("register read that is not of 4 or 8 aligned bytes");
            u64::from(card.read_register(0, offset & !3)) >> (8 * (offset & 3))
        }
    }
}

/// [`Model::write`](super::Model::write) for such a card.
pub(super) fn write<C: Words>(card: &mut C, bar: u8, offset: u64, size: u8, value: u64) {
    if bar != 0 || offset >= u64::from(C::SIZE) {
        card.board_mut().violations.note(format!("write outside the registers: BAR {bar} at {offset:#x}"));
    } else if size == 4 && offset.is_multiple_of(4) {
        card.write_register(0, offset as u32, value as u32);
    } else if C::WIDE_WRITES && size == 8 && offset.is_multiple_of(8) {
        card.write_register(0, offset as u32, value as u32);
        card.write_register(0, offset as u32 + 4, (value >> 32) as u32);
    } else {
        card.board_mut().violations.note("register write that is not of 4 aligned bytes");
    }
}
