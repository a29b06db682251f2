//! The NVM: whether it is whole (§6.3.1; Linux i40e_nvm.c, i40e_calc_nvm_checksum).
//!
//! ```text
//!   shadow RAM   all words but those of two modules, and word 3f, come to baba
//!   word 2f      points to the vital product data    not in the sum, and the machine may
//!   word 3e      points to the alternate settings    write them; 512 words each
//! ```
//!
//! Addresses and serial numbers are in there: a trace shows none of it.

use super::adminq::{AdminQueue, BUFFER, Buffer, Code, le16};
use super::answer::UNTOUCHED;
use super::firmware;
use super::hw::Hw;
use super::regs::{self, gens};
use crate::driver::ops::Said;
use crate::error::{Kind, Result};

/// What it all comes to.
const WHOLE: u16 = 0xbaba;

/// Where the rest of the sum is.
const CHECKSUM: usize = 0x3f;

/// Words of a module that is not in the sum.
const MODULE: usize = 512;

/// Reads it, and adds it up; `version`: that of its image, if it is known.
///
/// # Errors
/// [`Kind::Device`] if the sum is wrong, and what asking the firmware meets.
pub fn look(aq: &mut AdminQueue, hw: &Hw, version: Option<u16>) -> Result<Said<String>> {
    let bytes = 1024 << (hw.read(regs::GLNVM_GENS) >> gens::SIZE & 7);
    let read = firmware::with_nvm(aq, hw, |aq| shadow_ram(aq, bytes))?;
    let words = match read {
        Ok(words) => words,
        Err(why) => return Ok(Said::Nothing(format!("its firmware does not let it be read ({why})"))),
    };
    let sum = sum(&words);
    if sum != WHOLE {
        let text = format!(
            "its NVM is damaged: the words of its checksum come to {sum:#06x}, not {WHOLE:#06x}; write it anew with Intel's update utility (nvmupdate64e)"
        );
        return Err(hw.error(Kind::Device, text));
    }
    let image = version.map_or(String::new(), |version| format!("; image {:x}.{:02x}", version >> 12, version & 0xff));
    Ok(Said::This(format!("checksum right{image}")))
}

/// The sum of all words that are in it; its own is, wherever the pointers lead.
fn sum(words: &[u16]) -> u16 {
    let module = |pointer: usize| {
        let at = words.get(pointer).map_or(0, |word| usize::from(*word));
        at..at + MODULE
    };
    let skipped = [module(0x2f), module(0x3e)];
    let is_in = |at: usize| at == CHECKSUM || !skipped.iter().any(|module| module.contains(&at));
    let counted = words.iter().enumerate().filter(|(at, _)| is_in(*at));
    counted.fold(0, |sum, (_, word)| sum.wrapping_add(*word))
}

/// Its words, by command 0701, or why they cannot be had.
fn shadow_ram(aq: &mut AdminQueue, bytes: usize) -> Result<std::result::Result<Vec<u16>, String>> {
    const LAST: u8 = 1;
    let mut words = Vec::with_capacity(bytes / 2);
    for at in (0..bytes).step_by(BUFFER) {
        let len = BUFFER.min(bytes - at);
        let mut params = [0; 8];
        params[0] = if at + len == bytes { LAST } else { 0 };
        params[2..4].copy_from_slice(&(len as u16).to_le_bytes());
        params[4..8].copy_from_slice(&(at as u32).to_le_bytes());
        let answer = aq.ask("a read of the NVM", 0x0701, &params, Buffer::Hidden(len))?;
        if answer.code != Code::OK {
            return Ok(Err(answer.why(0x0701)));
        }
        // The first part has a control word, of which not all bits are set.
        if answer.data.len() < len || at == 0 && answer.data.iter().all(|byte| *byte == UNTOUCHED) {
            return Ok(Err("command 0x0701: answered with nothing".into()));
        }
        words.extend((0..len).step_by(2).map(|at| le16(&answer.data, at)));
    }
    Ok(Ok(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_word_is_in_the_sum_wherever_modules_are() {
        // No product data, so the pointer leads to the beginning.
        let mut words = vec![1; 2048];
        (words[0x2f], words[0x3e], words[CHECKSUM]) = (0, 1200, 0x1234);
        assert_eq!(sum(&words), 0x1234 + 2048 - 2 * MODULE as u16);
    }

    #[test]
    fn two_modules_are_not_in_the_sum() {
        let mut words = vec![1; 2048];
        (words[0x2f], words[0x3e]) = (600, 1200);
        let counted = 2048 - 2 * MODULE as u16;
        assert_eq!(sum(&words), counted - 2 + 600 + 1200);
        words[700] = 9;
        words[1300] = 9;
        assert_eq!(sum(&words), counted - 2 + 600 + 1200);
        words[599] = 2;
        assert_eq!(sum(&words), counted - 2 + 600 + 1200 + 1);
        // Pointers that lead nowhere leave nothing out.
        (words[0x2f], words[0x3e]) = (0xffff, 0xffff);
        assert_eq!(sum(&words), 2046u16.wrapping_add(0xfffe).wrapping_add(1 + 8 + 8));
    }
}
