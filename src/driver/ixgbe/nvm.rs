//! The EEPROM: whether it is whole, and which image it holds.
//!
//! ```text
//!   words 0..0x3e   03..0e point to sections: [ words, word, word, .. ]
//!   word 3f         with it, the words before and those of the sections come to baba
//!   words 2d, 2e    which image it is (eTrack id)
//! ```
//!
//! That is the sum of the 82599 (§6.3.5). Of the X540 and X550 the sections of PHY and option
//! ROM are left out; of the X550 word 2 points to one too, two more words are in the sum, and
//! sections 6 to 8 have a fixed length and do not say it (Linux ixgbe_common.c, ixgbe_x540.c,
//! ixgbe_x550.c). The X550's EEPROM is read by a command to its firmware.
//!
//! Addresses are in there, of this port and of others: a trace shows none of it.

use super::hw::Hw;
use super::ids::Mac;
use super::regs::{self, fwsts, gssr, hicr};
use crate::driver::ops::Said;
use crate::error::{Kind, Result};
use std::time::Duration;

/// What it all comes to.
const WHOLE: u16 = 0xbaba;

/// Where the rest of the sum is.
const CHECKSUM: usize = 0x3f;

/// Words of which the sum knows the place, of the card that has most.
const HEAD: usize = 0x42;

/// The first that points to no section any more.
const FIRMWARE: usize = 0x0f;

/// Sections of PHY and option ROM.
const LEFT_OUT: [usize; 2] = [0x04, 0x05];

/// Words that there can be.
const WORDS: usize = 1 << 14;

/// Words that are read at once, while its lock is held.
const CHUNK: usize = 128;

/// Reads it, and adds it up.
///
/// # Errors
/// [`Kind::Device`] if the sum is wrong, and what reading meets.
pub fn look(hw: &Hw) -> Result<Said<String>> {
    let hw = &hw.untraced();
    let mut head = [0; HEAD];
    read(hw, 0, &mut head)?;
    let sum = sections(hw, &head)?.wrapping_add(of(&head[..summed(hw.mac)]));
    if sum != WHOLE {
        let text = format!(
            "its EEPROM is damaged: the words of its checksum come to {sum:#06x}, not {WHOLE:#06x}; write it anew with the maker's utility"
        );
        return Err(hw.error(Kind::Device, text));
    }
    Ok(Said::This(format!("EEPROM, checksum right{}", image(head[0x2d], head[0x2e]))))
}

/// Bits of GSSR for it: of the X550 the firmware's command buffer too.
fn lock(mac: Mac) -> u32 {
    if mac == Mac::X550 { gssr::EEPROM | gssr::COMMANDS } else { gssr::EEPROM }
}

/// How many of the first words are in the sum.
fn summed(mac: Mac) -> usize {
    if mac == Mac::X550 { HEAD } else { CHECKSUM + 1 }
}

/// Words added up.
fn of(words: &[u16]) -> u16 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// The sum of all sections.
fn sections(hw: &Hw, head: &[u16; HEAD]) -> Result<u16> {
    let first = if hw.mac == Mac::X550 { 2 } else { 3 };
    let mut sum = 0u16;
    for (n, &pointer) in head.iter().enumerate().take(FIRMWARE).skip(first) {
        if hw.mac != Mac::I82599 && LEFT_OUT.contains(&n) || matches!(pointer, 0 | 0xffff) {
            continue;
        }
        let at = usize::from(pointer);
        let (begin, len) = match (hw.mac, n) {
            (Mac::X550, 0x06) => (at, 0x24),
            (Mac::X550, 0x07 | 0x08) => (at, 8),
            _ if at >= WORDS => continue,
            _ => {
                let mut len = [0];
                read(hw, at, &mut len)?;
                (at + 1, usize::from(len[0]))
            }
        };
        // As the kernel's drivers have it, what leads outside is not in the sum.
        if len == 0 || begin + len > WORDS {
            continue;
        }
        let mut words = vec![0; len];
        read(hw, begin, &mut words)?;
        sum = sum.wrapping_add(of(&words));
    }
    Ok(sum)
}

/// The image's number, in the order in which it was written: in the newer one its highest
/// bit is set.
fn image(low: u16, high: u16) -> String {
    let (low, high) = if high & 0x8000 != 0 { (low, high) } else { (high, low) };
    match u32::from(high) << 16 | u32::from(low) {
        0 | u32::MAX => String::new(),
        id => format!("; eTrack id {id:08x}"),
    }
}

/// Reads words from a place on. Others get their turn between two chunks.
fn read(hw: &Hw, at: usize, words: &mut [u16]) -> Result<()> {
    for (chunk, at) in words.chunks_mut(CHUNK).zip((at..).step_by(CHUNK)) {
        hw.locked(lock(hw.mac), |hw| match hw.mac {
            Mac::X550 => ask(hw, at, chunk),
            _ => chunk.iter_mut().zip(at..).try_for_each(|(word, at)| {
                *word = hw.eeprom(at as u16)?;
                Ok(())
            }),
        })?;
    }
    Ok(())
}

/// Has the X550's firmware read words (Linux ixgbe_read_ee_hostif_buffer_X550).
///
/// ```text
///   31 | bytes that follow | ff : the place in bytes : how many : 0    then what was read
/// ```
fn ask(hw: &Hw, at: usize, words: &mut [u16]) -> Result<()> {
    const READ: u32 = 0x31;
    const FOLLOW: u32 = 6;
    const NO_SUM: u32 = 0xff;
    const DATA: u16 = 3;
    const PATIENCE: Duration = Duration::from_millis(500);
    const WHAT: &str = "a read of the EEPROM by its firmware";
    hw.set(regs::FWSTS, fwsts::FWRI);
    if hw.read(regs::HICR) & hicr::ENABLED == 0 {
        return Err(hw.error(Kind::Device, "its firmware takes no commands (HICR.EN is clear)"));
    }
    let command = [
        READ | FOLLOW << 16 | NO_SUM << 24,
        (2 * at as u32).swap_bytes(),
        u32::from((2 * words.len() as u16).swap_bytes()),
    ];
    for (word, n) in command.into_iter().zip(0..) {
        hw.write(regs::FLEX_MNG.at(n), word);
    }
    hw.set(regs::HICR, hicr::COMMAND);
    let done = hw.wait(WHAT, regs::HICR, hicr::COMMAND, 0, PATIENCE)?;
    if done & hicr::VALID == 0 {
        return Err(hw.error(Kind::Device, format!("{WHAT} failed (HICR = {done:#x})")));
    }
    for (pair, n) in words.chunks_mut(2).zip(DATA..) {
        let both = hw.read(regs::FLEX_MNG.at(n));
        for (word, half) in pair.iter_mut().zip([both, both >> 16]) {
            *word = half as u16;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_number_in_either_order() {
        assert_eq!(image(0x0001, 0x8000), "; eTrack id 80000001");
        assert_eq!(image(0x1234, 0x0001), "; eTrack id 12340001");
        assert_eq!((image(0, 0), image(0xffff, 0xffff)), (String::new(), String::new()));
    }
}
