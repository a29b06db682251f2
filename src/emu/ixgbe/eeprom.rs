//! The EEPROM: an image that foreign drivers accept, and the ways to read it
//! (82599 §6, §8.2.3.2).
//!
//! ```text
//!   word 0x00  MAC address (3 words)        0x100  firmware: +2 LESM, +4 patch
//!        0x0f  -> 0x100                     0x110  patch: version in +7
//!        0x15  PBA flag, pointer -> 0x180   0x120  LESM parameters: off
//!        0x2b  -> 0x200 module list         0x180  PBA block
//!        0x2c  device capabilities          0x200  {module type, -> 0x210} ... 0xffff
//!        0x3f  checksum                     0x210  CORECTL words, 0xffff
//! ```

use super::Kind;

const CHECKSUM: usize = 0x3f;

/// The EEPROM of a card.
pub struct Eeprom {
    words: Vec<u16>,
}

impl Eeprom {
    /// The image of a card with this factory address; `damaged`: its checksum is wrong.
    pub fn new(kind: Kind, mac: [u8; 6], damaged: bool) -> Self {
        let mut words = vec![0xffff; 0x400];
        words[..0x40].fill(0);
        for (word, pair) in words.iter_mut().zip(mac.chunks_exact(2)) {
            *word = u16::from_le_bytes([pair[0], pair[1]]);
        }
        // No sections besides those below.
        words[0x03..0x0f].fill(0xffff);
        words[0x0f] = 0x100;
        // Printed board assembly number: a flag and where its text is.
        words[0x15] = 0xfafa;
        words[0x16] = 0x180;
        words[0x180..0x187].copy_from_slice(&[7, 0x4534, 0x3139, 0x3332, 0x2d34, 0x3030, 0x3031]);
        // No alternate addresses, no SAN address.
        words[0x27] = 0xffff;
        words[0x28] = 0xffff;
        words[0x2d] = 0x0001;
        words[0x2e] = 0x8000;
        words[0x2b] = 0x200;
        // Any module may be used.
        words[0x2c] = 1;
        // Firmware: LESM parameters without the enable bit, and a version above 5.
        words[0x102] = 0x120;
        words[0x104] = 0x110;
        words[0x117] = 0x0b;
        words[0x121] = 0;
        // Modules: the types of either port, all without set-up words.
        for (entry, module) in (3..=14).enumerate() {
            words[0x201 + 2 * entry] = module;
            words[0x202 + 2 * entry] = 0x230;
        }
        words[0x201 + 2 * 12] = 0xffff;
        words[0x230] = 0;
        words[0x231] = 0xffff;
        let mut eeprom = Self { words };
        eeprom.words[CHECKSUM] = eeprom.checksum(kind) ^ if damaged { 0x5555 } else { 0 };
        eeprom
    }

    /// The checksum over the image (82599 §6.3.5; X550 covers two words more).
    fn checksum(&self, kind: Kind) -> u16 {
        let last = if kind == Kind::X550 { 0x41 } else { 0x3e };
        // There are no sections behind the pointers 0x03 to 0x0e.
        let words = (0..=last).filter(|&word| word != CHECKSUM);
        let sum = words.fold(0u16, |sum, word| sum.wrapping_add(self.word(word)));
        0xbaba_u16.wrapping_sub(sum)
    }

    /// A word; all-ones, as erased, behind the image.
    pub fn word(&self, address: usize) -> u16 {
        self.words.get(address).copied().unwrap_or(0xffff)
    }

    /// Writes a word.
    pub fn set_word(&mut self, address: usize, value: u16) {
        if let Some(word) = self.words.get_mut(address) {
            *word = value;
        }
    }

    /// The factory address.
    pub fn mac(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        for (pair, word) in mac.chunks_exact_mut(2).zip(&self.words) {
            pair.copy_from_slice(&word.to_le_bytes());
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_add_up_to_the_magic_sum() {
        let mac = [0, 0x1b, 0x21, 1, 2, 3];
        let eeprom = Eeprom::new(Kind::I82599, mac, false);
        let sum = (0..=0x3f).fold(0u16, |sum, word| sum.wrapping_add(eeprom.word(word)));
        assert_eq!(sum, 0xbaba);
        assert_eq!(eeprom.mac(), mac);
        let eeprom = Eeprom::new(Kind::X550, mac, false);
        let sum = (0..=0x41).fold(0u16, |sum, word| sum.wrapping_add(eeprom.word(word)));
        assert_eq!(sum, 0xbaba);
    }

    #[test]
    fn the_firmware_chain_ends_in_a_version_that_drivers_accept() {
        let eeprom = Eeprom::new(Kind::I82599, [0; 6], false);
        let firmware = usize::from(eeprom.word(0x0f));
        let patch = usize::from(eeprom.word(firmware + 4));
        assert!(eeprom.word(patch + 7) > 5);
        let lesm = usize::from(eeprom.word(firmware + 2));
        assert_eq!(eeprom.word(lesm + 1) & 0x8000, 0);
    }
}
