//! Access to the EEPROM and to the firmware (82599 §6.3, §8.2.3.2; X550 reads
//! its EEPROM through the firmware's command buffer only).

use super::regs::{EEC, EERD, EEWR, FLEX_MNG, GSSR, HICR, RXCTRL, SWSM};
use super::{Ixgbe, Kind};

/// EEC: request and grant; present and auto-read done; size in words, 1 << (n + 6).
const REQUEST: u32 = 1 << 6;
const GRANT: u32 = 1 << 7;
const PRESENT: u32 = 3 << 8;
const SIZE: u32 = 8 << 11;
/// EEC: what the update of the flash needs: done at once.
const UPDATE: u32 = 1 << 23;
const UPDATE_DONE: u32 = 1 << 26;
/// GSSR: the second semaphore.
const SECOND: u32 = 1 << 31;
/// EERD, EEWR.
const START: u32 = 1;
const DONE: u32 = 2;
/// HICR: enabled, command given, status valid.
const ENABLED: u32 = 1;
const COMMAND: u32 = 2;
const VALID: u32 = 4;

impl Ixgbe {
    pub(super) fn read_eec(&self) -> u32 {
        let value = self.regs.peek(EEC.at);
        let grant = if value & REQUEST != 0 { GRANT } else { 0 };
        let done = if value & UPDATE != 0 { UPDATE_DONE } else { 0 };
        value & 0xf | value & REQUEST | grant | PRESENT | SIZE | done
    }

    /// A word is read through EERD, at once.
    pub(super) fn eerd_written(&mut self) {
        let value = self.regs.peek(EERD.at);
        if value & START != 0 {
            let data = self.eeprom.word(address(value));
            self.regs.poke(EERD.at, value & 0xffff & !START | DONE | u32::from(data) << 16);
        }
    }

    /// A word is written through EEWR, at once.
    pub(super) fn eewr_written(&mut self) {
        let value = self.regs.peek(EEWR.at);
        if value & START != 0 {
            self.eeprom.set_word(address(value), (value >> 16) as u16);
            self.regs.poke(EEWR.at, value & !START | DONE);
        }
    }

    /// SWSM.SMBI is set by reading it (§10.5.4): who read a zero owns it.
    pub(super) fn read_swsm(&mut self) -> u32 {
        let value = self.regs.peek(SWSM.at);
        self.regs.poke(SWSM.at, value | 1);
        value
    }

    /// X540, X550: bit 31 of GSSR is a second semaphore, and is set by reading it.
    pub(super) fn read_gssr(&mut self) -> u32 {
        let value = self.regs.peek(GSSR.at);
        if self.kind != Kind::I82599 {
            self.regs.poke(GSSR.at, value | SECOND);
        }
        value
    }

    /// The driver before was killed where it held all locks there are: no reset of the
    /// function frees them.
    pub(super) fn leave_locks(&mut self) {
        self.regs.poke(SWSM.at, 1);
        let second = if self.kind == Kind::I82599 { 0 } else { SECOND };
        self.regs.poke(GSSR.at, 0xf | second);
    }

    pub(super) fn read_hicr(&self) -> u32 {
        let enabled = if self.kind == Kind::X550 { ENABLED } else { 0 };
        self.regs.peek(HICR.at) & !ENABLED | enabled
    }

    /// HICR.C: the firmware takes the command in FLEX_MNG, and answers there.
    pub(super) fn host_command(&mut self) {
        let control = self.regs.peek(HICR.at);
        if control & COMMAND == 0 || self.kind != Kind::X550 {
            return;
        }
        let mut buffer = [0; 16];
        for (bytes, n) in buffer.chunks_exact_mut(4).zip(0..) {
            bytes.copy_from_slice(&self.regs.peek(FLEX_MNG.nth(n)).to_le_bytes());
        }
        match buffer[0] {
            // Read EEPROM: byte address and length, big-endian.
            0x31 => self.host_read(&buffer),
            // Write: the same, with the data behind.
            0x33 => {
                let address = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]) as usize / 2;
                self.eeprom.set_word(address, u16::from_le_bytes([buffer[12], buffer[13]]));
                self.host_success();
            }
            // Driver information, PHY and link requests, RX disable: status 1, success.
            0xde => {
                self.regs.poke(RXCTRL.at, self.regs.peek(RXCTRL.at) & !1);
                self.rx.on = self.receive_enabled();
                self.host_success();
            }
            _ => self.host_success(),
        }
        self.regs.poke(HICR.at, control & !COMMAND | VALID);
    }

    fn host_success(&mut self) {
        // Byte 2 is the return status: 1, success.
        self.regs.poke(FLEX_MNG.at, self.regs.peek(FLEX_MNG.at) & 0xff00_ffff | 1 << 16);
    }

    /// The data follows the 12 bytes of command.
    fn host_read(&mut self, buffer: &[u8; 16]) {
        let address = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]) as usize / 2;
        let words = usize::from(u16::from_be_bytes([buffer[8], buffer[9]])).div_ceil(2).clamp(1, 512);
        for (at, n) in (0..words).step_by(2).zip(0..) {
            let low = u32::from(self.eeprom.word(address + at));
            let high = if at + 1 < words { u32::from(self.eeprom.word(address + at + 1)) } else { 0 };
            self.regs.poke(FLEX_MNG.nth(3 + n), low | high << 16);
        }
    }
}

/// The word's address in EERD and EEWR.
fn address(value: u32) -> usize {
    (value >> 2 & 0x3fff) as usize
}
