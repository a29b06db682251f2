//! The registers of BAR 0, as a table (bnxt_hsi.h and bnxt.h names).
//!
//! ```text
//!   0x0000  window for a command, and 0x100 its trigger
//!   0x0400  where each GRC window points: window n shows it at 0x1000 * n
//!   0x0520  health of the firmware (P5)
//!   0x1000  windows 1 to 15, 4 KiB each
//! ```
//!
//! Behind the windows is what drivers look at of the chip's own bus (GRC): whether
//! the firmware lives, which chip this is, the clock. A reset forgets where the
//! windows point; what is at no address there reads as 0.

use super::super::{Mode, Row, registers};
use super::Bnxt;

/// Bytes of the registers; what is behind are windows.
pub const SIZE: u32 = 0x1000;
/// Windows into the chip's bus.
const WINDOWS: u16 = 16;

registers! { Bnxt;
    "bnxt_hsi.h" {
        HWRM_WINDOW = Row::new(0x000, Mode::Wo).array(super::hwrm::WINDOW as u16 / 4, 4).bits(!0);
        HWRM_TRIGGER = Row::new(0x100, Mode::Wo).bits(1).takes(|card: &mut Bnxt, _, value| card.hwrm_trigger(value));
        // Bits below a page are not looked at.
        GRC_WINDOW = Row::new(0x400, Mode::Rw).array(WINDOWS, 4).bits(!0);
        FW_STATUS = Row::new(0x520, Mode::Ro).gives(|card: &mut Bnxt, _| if card.chip().p5() { card.status() } else { 0 });
    }
}

/// "HCS", and the version of the words behind it: where the health is to be read.
pub const SIGNATURE: u32 = 0x310_01f0;
/// Words of the firmware's health.
pub const STATUS: u32 = 0x310_0200;
pub const HEARTBEAT: u32 = 0x310_0204;
pub const RESETS: u32 = 0x310_0208;
pub const IN_RESET: u32 = 0x310_020c;
/// A 1 here starts the firmware over.
pub const RESTART: u32 = 0x310_0210;
/// The chip's number.
const CHIP_NUMBER: u32 = 0x26_0048;
/// The clock (P5).
pub const CLOCK_LOW: u32 = 0x640_180c;
pub const CLOCK_HIGH: u32 = 0x640_1810;

/// How a command says that an address is of the chip's bus, or of BAR 0.
pub const IN_GRC: u32 = 1;
pub const IN_BAR0: u32 = 2;

/// Where firmware's health is, as commands and the signature say it.
pub fn status_place(p5: bool) -> u32 {
    if p5 { FW_STATUS.at | IN_BAR0 } else { STATUS | IN_GRC }
}

impl Bnxt {
    /// The chip's address behind an offset of BAR 0.
    fn behind(&self, offset: u64) -> u32 {
        let window = offset as u32 / SIZE - 1;
        (self.registers.peek(GRC_WINDOW.nth(window)) & !(SIZE - 1)) + offset as u32 % SIZE
    }

    /// Reads through a window.
    pub(super) fn grc_read(&mut self, offset: u64) -> u32 {
        self.bus_word(self.behind(offset))
    }

    /// What is at an address of the chip's bus.
    pub(super) fn bus_word(&mut self, at: u32) -> u32 {
        let clock = || self.plane.clock.time(self.board.now);
        match at {
            SIGNATURE if !self.chip().p5() => 0x4843_5301,
            at if at == SIGNATURE + 4 && !self.chip().p5() => status_place(false),
            STATUS => self.status(),
            HEARTBEAT => self.health.heartbeat(self.board.now),
            RESETS => self.health.resets(),
            IN_RESET => u32::from(!self.health.listens()),
            CHIP_NUMBER => u32::from(self.kind.number),
            CLOCK_LOW if self.chip().p5() => clock() as u32,
            CLOCK_HIGH if self.chip().p5() => (clock() >> 32) as u32 & 0xffff,
            _ => 0,
        }
    }

    /// Writes through a window.
    pub(super) fn grc_write(&mut self, offset: u64, value: u32) {
        match self.behind(offset) {
            RESTART if value == 1 => self.restart_firmware(),
            at => self.board.violations.note(format!("write to {at:#x} behind a GRC window")),
        }
    }
}
