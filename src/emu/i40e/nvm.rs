//! Shadow RAM: an image that foreign drivers accept (X710 §6).
//!
//! ```text
//!   word 0x00  control: bits 7:6 = 01       0x180  PBA block
//!        0x15  PBA flag, pointer -> 0x180   0x200  OEM block, version at 0x83
//!        0x18  image version                0x300  EMP settings: LLDP agent on
//!        0x2d  eTrack id, low and high      0x400  VPD area, 512 words
//!        0x2f  -> VPD      0x3e -> PCIe     0x600  PCIe alternate, 512 words
//!        0x3f  checksum: all words but itself, VPD and alternate sum to 0xbaba
//!        0x48  -> EMP settings
//! ```
//!
//! It has 4 KiB, where a card of silicon has 64, as drivers read all of it word
//! by word.

use super::regs::{GLNVM_SRCTL, GLNVM_SRDATA, SHADOW_RAM};
use super::{I40e, Kind};

const WORDS: usize = 512 << SHADOW_RAM;

const VERSION: usize = 0x18;
const CHECKSUM: usize = 0x3f;
const EMP: usize = 0x300;
const VPD: usize = 0x400;
const ALTERNATE: usize = 0x600;
/// Words of each of the modules that the checksum leaves out.
const MODULE: usize = 512;

const START: u32 = 1 << 30;
const WRITE: u32 = 1 << 29;
const DONE: u32 = 1 << 31;

/// Which image a card has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Image {
    /// Its checksum is wrong.
    pub damaged: bool,
    /// It is of an earlier age.
    pub old: bool,
}

/// The image of a card.
pub fn image(kind: Kind, Image { damaged, old }: Image) -> Vec<u16> {
    let mut words = vec![0xffff; WORDS];
    words[..0x400].fill(0);
    words[0x00] = 0x40;
    // Printed board assembly number: a flag and where its text is.
    words[0x15] = 0xfafa;
    words[0x16] = 0x180;
    words[0x180..0x186].copy_from_slice(&[6, 0x4839, 0x3136, 0x3135, 0x3030, 0x312d]);
    words[0x17] = 0x200;
    // Version 9.20 of the image, of the X722's 6.20; eTrack 8000d83e.
    words[VERSION] = match kind {
        _ if old => 0x5004,
        Kind::X722 => 0x6020,
        _ => 0x9020,
    };
    words[0x1b] = 0xffff;
    words[0x2d] = 0xd83e;
    words[0x2e] = 0x8000;
    words[0x2f] = VPD as u16;
    words[0x3e] = ALTERNATE as u16;
    // Settings of the management firmware; where the LLDP agent's state is in
    // them (X710, X722), behind a pointer: enabled on all four ports.
    words[0x48] = EMP as u16;
    for at in [EMP + 0x2b, EMP + 0x31] {
        words[at] = 0x10;
        words[at + 0x11] = 0x3333;
    }
    words[0x283] = 0x0001;
    words[0x284] = 0x0b00;
    let skipped = |at: usize| (VPD..VPD + MODULE).contains(&at) || (ALTERNATE..ALTERNATE + MODULE).contains(&at);
    let counted = words.iter().enumerate().filter(|(at, _)| *at != CHECKSUM && !skipped(*at));
    let sum = counted.fold(0u16, |sum, (_, word)| sum.wrapping_add(*word));
    words[CHECKSUM] = 0xbabau16.wrapping_sub(sum) ^ if damaged { 0x5555 } else { 0 };
    words
}

impl I40e {
    /// Whether the image is older than the numbers that loopback modes have now,
    /// or of the X722, where they have not changed.
    pub(super) fn old_loopback(&self) -> bool {
        const LAST: u16 = 0x6000;
        self.kind == Kind::X722 || self.nvm[VERSION] <= LAST
    }

    /// GLNVM_SRCTL was written: a word is read, at once. Who owns the NVM is not
    /// asked: Linux reads words of the LLDP settings without, and silicon lets it.
    pub(super) fn shadow_ram(&mut self) {
        let value = self.regs.peek(GLNVM_SRCTL.at);
        if value & START == 0 {
            return;
        }
        let address = (value >> 14 & 0x7fff) as usize;
        match self.nvm.get(address) {
            Some(word) if value & WRITE == 0 => self.regs.poke(GLNVM_SRDATA.at, u32::from(*word) << 16),
            Some(_) => self.board.violations.note("shadow RAM written by register"),
            None => self.board.violations.note("shadow RAM read outside of it"),
        }
        self.regs.poke(GLNVM_SRCTL.at, value & !START | DONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_sums_up_unless_it_is_damaged() {
        for damaged in [false, true] {
            let words = image(Kind::X710, Image { damaged, old: false });
            let sum =
                |range: std::ops::Range<usize>| words[range].iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
            let all = sum(0..VPD).wrapping_add(sum(ALTERNATE + MODULE..WORDS));
            assert_eq!(all == 0xbaba, !damaged);
        }
        assert_eq!(image(Kind::X722, Image::default())[0] & 0xc0, 0x40);
    }
}
