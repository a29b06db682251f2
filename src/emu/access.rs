//! Reads and writes of any shape to a BAR 0 of 32-bit registers, as the 82599 and
//! the X710 take them: aligned words, and pairs of them where the card has such.
//! Whatever else a driver does is a violation.

use super::{Model, RegisterFile, Registers};

/// [`Model::read`] for such a card.
pub(super) fn read<C: Model + Registers>(card: &mut C, bar: u8, offset: u64, size: u8) -> u64 {
    if bar != 0 || offset >= card.registers(0).0.size() {
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

/// [`Model::write`] for such a card; `wide` if one write of 8 aligned bytes sets two
/// registers.
pub(super) fn write<C: Model + Registers>(card: &mut C, wide: bool, bar: u8, offset: u64, size: u8, value: u64) {
    if bar != 0 || offset >= card.registers(0).0.size() {
        card.board_mut().violations.note(format!("write outside the registers: BAR {bar} at {offset:#x}"));
    } else if size == 4 && offset.is_multiple_of(4) {
        card.write_register(0, offset as u32, value as u32);
    } else if wide && size == 8 && offset.is_multiple_of(8) {
        card.write_register(0, offset as u32, value as u32);
        card.write_register(0, offset as u32 + 4, (value >> 32) as u32);
    } else {
        card.board_mut().violations.note("register write that is not of 4 aligned bytes");
    }
}

/// [`Model::register_name`] for such a card.
pub(super) fn name<C: Registers>(registers: &RegisterFile<C>, bar: u8, offset: u64) -> Option<String> {
    let offset = u32::try_from(offset).ok().filter(|_| bar == 0)?;
    registers.name(offset)
}
