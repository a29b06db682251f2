//! What an attachment sees of the card: its BAR, time, resets.

use super::super::{Board, DoorbellPage, FaultKind, Layout, Model, RegisterFile, Registers, Violations};
use super::{Mlx5, caps, fw, regs};
use crate::pci::Page;

/// Bytes of a UAR page, whatever the distance to the next.
const UAR: u64 = 4096;

impl Mlx5 {
    /// Whether an offset is inside the BAR.
    fn inside(&self, bar: u8, offset: u64) -> bool {
        bar == 0 && offset < self.board.profile.bar(0)
    }

    /// A word of the segment, as a number.
    fn word(&mut self, offset: u64) -> u32 {
        self.read_register(0, offset as u32 & !3)
    }

    /// The UAR page at an offset, and where in it.
    fn uar(&self, offset: u64) -> Option<(u32, u16)> {
        let shift = 12 + self.caps.get(caps::LOG_UAR_PAGE);
        let (page, at) = (offset >> shift, offset & ((1 << shift) - 1));
        (offset >= u64::from(regs::SIZE) && at < UAR).then_some((page as u32, at as u16))
    }
}

impl Registers for Mlx5 {
    fn registers(&mut self, _: u16) -> (&RegisterFile<Self>, &mut Violations) {
        (&self.registers, &mut self.board.violations)
    }
}

impl Model for Mlx5 {
    fn board(&self) -> &Board {
        &self.board
    }

    fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    fn layout(&self) -> Layout {
        self.kind.layout(self.faulty(FaultKind::Ib))
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if !self.inside(bar, offset) {
            self.board.violations.note(format!("read outside the BAR: BAR {bar} at {offset:#x}"));
            return 0;
        }
        if !self.health.listens() {
            return u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        }
        if offset >= u64::from(regs::SIZE) {
            // Doorbells read as 0.
            return 0;
        }
        let word = u64::from(self.word(offset).swap_bytes());
        match size {
            // Health is looked at byte by byte.
            1 => word >> (8 * (offset & 3)) & 0xff,
            4 if offset.is_multiple_of(4) => word,
            8 if offset.is_multiple_of(8) => word | u64::from(self.word(offset + 4).swap_bytes()) << 32,
            _ => {
                self.board.violations.note("register read that is not of 1, 4 or 8 aligned bytes");
                word
            }
        }
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if !self.inside(bar, offset) {
            self.board.violations.note(format!("write outside the BAR: BAR {bar} at {offset:#x}"));
        } else if !self.health.listens() {
            // Nobody hears it.
        } else if offset >= u64::from(regs::SIZE) {
            match self.uar(offset) {
                Some((page, at)) => {
                    let bytes = value.to_le_bytes();
                    let len = usize::from(size).min(bytes.len());
                    self.plane.doorbell(&mut self.board, page, at, &bytes[..len]);
                }
                None => self.board.violations.note(format!("write between UAR pages at {offset:#x}")),
            }
        } else if matches!(size, 4 | 8) && offset.is_multiple_of(size.into()) {
            self.write_register(0, offset as u32, (value as u32).swap_bytes());
            if size == 8 {
                self.write_register(0, offset as u32 + 4, ((value >> 32) as u32).swap_bytes());
            }
        } else {
            self.board.violations.note("register write that is not of 4 or 8 aligned bytes");
        }
    }

    fn tick(&mut self) {
        if self.board.link_is_due(self.link_up()) {
            self.poll_link();
        }
        self.health_tick();
        self.command_tick();
    }

    fn step(&mut self) -> usize {
        if !self.health.listens() {
            return 0;
        }
        self.touch_pages();
        self.plane.step(&mut self.board)
    }

    fn doorbells(&self) -> Vec<DoorbellPage> {
        // One address of a page is the doorbell of all its queues: see `lane`.
        Vec::new()
    }

    fn lane(&mut self, bar: u8, offset: u64) -> Option<(Page, usize)> {
        let (page, at) = self.uar(offset).filter(|_| bar == 0)?;
        self.plane.lane(page, at)
    }

    fn combined(&mut self, bar: u8, offset: u64) -> Option<(Page, usize)> {
        let (page, at) = self.uar(offset).filter(|_| bar == 0)?;
        self.plane.combined(page, at)
    }

    fn reset(&mut self) {
        self.start();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        match bar {
            // The command that it started last: so a trace lists commands.
            0 if offset == u64::from(regs::COMMAND_DOORBELL.at) => {
                Some(self.channel.code().map_or_else(|| "COMMAND_DOORBELL".into(), fw::name))
            }
            0 if offset < u64::from(regs::SIZE) => self.registers.name(offset as u32),
            0 => self.uar(offset).map(|(page, at)| format!("UAR({page})+{at:#x}")),
            _ => None,
        }
    }
}
