//! What an attachment sees of the card: its BARs, time, resets.

use super::super::{Board, DoorbellPage, Layout, Model, RegisterFile, Registers, Violations};
use super::{Bnxt, fw, regs};
use crate::pci::Page;

/// The BARs: registers and windows, doorbells. BAR 4 has the MSI-X table and nothing else.
const REGISTERS: u8 = 0;
const DOORBELLS: u8 = 2;

impl Bnxt {
    /// Whether an offset is inside a BAR.
    fn inside(&self, bar: u8, offset: u64) -> bool {
        offset < self.board.profile.bar(bar.into())
    }

    /// A word of BAR 0.
    fn word(&mut self, offset: u64) -> u32 {
        if offset < u64::from(regs::SIZE) { self.read_register(0, offset as u32) } else { self.grc_read(offset) }
    }

    fn set_word(&mut self, offset: u64, value: u32) {
        if offset < u64::from(regs::SIZE) {
            self.write_register(0, offset as u32, value);
        } else {
            self.grc_write(offset, value);
        }
    }
}

impl Registers for Bnxt {
    fn registers(&mut self, _: u16) -> (&RegisterFile<Self>, &mut Violations) {
        (&self.registers, &mut self.board.violations)
    }
}

impl Model for Bnxt {
    fn board(&self) -> &Board {
        &self.board
    }

    fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    fn layout(&self) -> Layout {
        self.kind.layout(self.board.factory)
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if bar != REGISTERS || !self.inside(bar, offset) {
            // Doorbells and the room beside the MSI-X table read as 0.
            if !self.inside(bar, offset) {
                self.board.violations.note(format!("read outside the BARs: BAR {bar} at {offset:#x}"));
            }
            return 0;
        }
        if size != 4 || !offset.is_multiple_of(4) {
            self.board.violations.note("register read that is not of 4 aligned bytes");
        }
        u64::from(self.word(offset & !3))
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if !self.inside(bar, offset) {
            self.board.violations.note(format!("write outside the BARs: BAR {bar} at {offset:#x}"));
        } else if bar == DOORBELLS {
            self.plane.doorbell(&mut self.board, offset, size, value);
        } else if bar == REGISTERS && matches!(size, 4 | 8) && offset.is_multiple_of(size.into()) {
            self.set_word(offset, value as u32);
            if size == 8 {
                self.set_word(offset + 4, (value >> 32) as u32);
            }
        } else if bar == REGISTERS {
            self.board.violations.note("register write that is not of 4 aligned bytes");
        }
    }

    fn tick(&mut self) {
        if self.board.link_is_due(self.link_up()) {
            self.poll_link();
        }
        self.tell_late();
        self.health_tick();
        self.hwrm_tick();
    }

    fn step(&mut self) -> usize {
        self.board.port.looping = self.looped();
        self.touch_store();
        let work = self.plane.step(&mut self.board);
        if let Some(event) = self.plane.take_report() {
            self.tell(event);
        }
        work
    }

    fn doorbells(&self) -> Vec<DoorbellPage> {
        self.plane.pages()
    }

    fn lane(&mut self, bar: u8, offset: u64) -> Option<(Page, usize)> {
        if bar == DOORBELLS { self.plane.lane(offset) } else { None }
    }

    fn overlook(&mut self) {
        self.plane.overlook();
    }

    fn mapped(&mut self) {
        self.plane.glance(&mut self.board);
    }

    fn reset(&mut self) {
        self.store.stop();
        self.start();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        match bar {
            // The command that it started last: so a trace lists commands.
            REGISTERS if offset == u64::from(regs::HWRM_TRIGGER.at) => {
                Some(self.hwrm.code().map_or_else(|| "HWRM_TRIGGER".into(), |code| format!("HWRM_{}", fw::name(code))))
            }
            REGISTERS if offset < u64::from(regs::SIZE) => self.registers.name(offset as u32),
            REGISTERS => Some(format!("GRC{}+{:#x}", offset >> 12, offset & 0xfff)),
            DOORBELLS => Some(format!("DB+{offset:#x}")),
            _ => None,
        }
    }
}
