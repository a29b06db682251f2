//! What an attachment sees of the card: windows in a BAR, time, resets.

use super::super::Layout;
use super::super::transmit::transmit;
use super::super::{Board, DoorbellPage, Model, Page, RegisterFile, Registers, Violations};
use super::regs::{self, CTPIO, PAGE, PIO};
use super::{Ef10, Link, VIS, evq, pio};
use std::sync::atomic::Ordering;

const PIO_END: usize = PIO + PAGE;
const CTPIO_END: usize = CTPIO + PAGE;

impl Ef10 {
    /// EVQ_RPTR of a window was written.
    pub(super) fn rptr_written(&mut self, vi: u16, value: u32) {
        if self.mc.bug35388 {
            self.board.violations.note("EVQ_RPTR written past the workaround for bug 35388");
        }
        self.read_pointer(vi, value);
    }

    /// RX_DESC_UPD of a window was written.
    pub(super) fn rx_written(&mut self, vi: u16) {
        if self.rx.queues[usize::from(vi)].is_none() && !self.mc.unnoticed() {
            self.board.violations.note("RX_DESC_UPD of a queue that was not initialised");
        }
    }

    /// The index behind TX_DESC_UPD of a window was written.
    pub(super) fn tx_written(&mut self, vi: u16, value: u32) {
        if self.mc.bug35388 && value & 0x800 != 0 {
            return self.indirect_write(vi, value);
        }
        let index = value & 0xfff;
        self.check_push(vi, index);
        self.window(vi).poke(regs::TX_DESC_UPD_INDEX.at, index);
    }

    /// The workaround for bug 35388: event read pointers, in two halves, and
    /// timers go through the transmit index's register.
    fn indirect_write(&mut self, vi: u16, value: u32) {
        let low = value & 0xff;
        match value >> 8 & 0xf {
            8 => self.window(vi).poke(regs::EVQ_RPTR.at, low << 8),
            9 => {
                let high = self.window(vi).peek(regs::EVQ_RPTR.at) & 0xff00;
                self.read_pointer(vi, high | low);
            }
            0xc..=0xf => {}
            _ => self.board.violations.note("code of the bug 35388 workaround that is not known"),
        }
    }

    /// A write behind a window's registers.
    fn write_buffer(&mut self, vi: u16, at: usize, size: u8, value: u64) {
        match at {
            PIO..PIO_END => {
                if !self.pio.linked(vi) && !self.mc.unnoticed() {
                    self.board.violations.note("PIO write through a window without a buffer");
                }
                if size != 8 || !at.is_multiple_of(8) {
                    self.board.violations.note("PIO write that is not of 8 aligned bytes");
                    return;
                }
                if at - PIO + 8 > pio::SIZE {
                    self.board.violations.note("PIO write behind the end of the buffer");
                    return;
                }
                for window in self.pio.sharing(vi) {
                    let page = &self.windows[usize::from(window)].pio;
                    let first = (at - PIO) / 4;
                    page[first].store(value as u32, Ordering::Relaxed);
                    page[first + 1].store((value >> 32) as u32, Ordering::Relaxed);
                }
            }
            CTPIO..CTPIO_END if self.kind.ctpio() => self.ctpio_written(vi, at - CTPIO, size, value),
            _ => self.board.violations.note(format!("write to a hole in a window, at {at:#x}")),
        }
    }

    /// Window and offset in it; none outside.
    fn place(&self, bar: u8, offset: u64) -> Option<(u16, usize)> {
        let vi = offset / self.kind.stride();
        let inside = bar == self.kind.bar() && vi < u64::from(VIS);
        inside.then_some((vi as u16, (offset % self.kind.stride()) as usize))
    }
}

impl Registers for Ef10 {
    fn registers(&mut self, vi: u16) -> (&RegisterFile<Self>, &mut Violations) {
        (&self.windows[usize::from(vi)].registers, &mut self.board.violations)
    }
}

impl Model for Ef10 {
    fn board(&self) -> &Board {
        &self.board
    }

    fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    fn layout(&self) -> Layout {
        super::config::LAYOUT.of_card(self.board.factory)
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if bar == 0 && self.board.profile.io.1 != 0 {
            return 0;
        }
        let Some((vi, at)) = self.place(bar, offset) else {
            self.board.violations.note(format!("read outside the windows: BAR {bar} at {offset:#x}"));
            return 0;
        };
        if at >= PAGE {
            self.board.violations.note("read of a buffer that is for writing");
            return 0;
        }
        if size != 4 || !at.is_multiple_of(4) {
            self.board.violations.note("register read that is not of 4 aligned bytes");
        }
        u64::from(self.read_register(vi, at as u32 & !3))
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if bar == 0 && self.board.profile.io.1 != 0 {
            return;
        }
        match self.place(bar, offset) {
            None => self.board.violations.note(format!("write outside the windows: BAR {bar} at {offset:#x}")),
            Some((vi, at)) if at >= PAGE => self.write_buffer(vi, at, size, value),
            Some((vi, at)) if matches!(size, 4 | 8) && at.is_multiple_of(size.into()) => {
                if vi != 0 && vi >= self.mc.vis && !self.mc.unnoticed() {
                    self.board.violations.note("register of a VI that was not allocated written");
                }
                self.write_register(vi, at as u32, value as u32);
                if size == 8 {
                    self.write_register(vi, at as u32 + 4, (value >> 32) as u32);
                }
            }
            Some(_) => self.board.violations.note("register write that is not of 4 aligned bytes"),
        }
    }

    fn tick(&mut self) {
        if self.board.link_is_due(self.link_up()) {
            self.poll_link();
        }
        self.mcdi_tick();
    }

    fn step(&mut self) -> usize {
        self.board.port.looping = self.looped();
        if !self.torn.is_empty() {
            self.mend_events();
        }
        let now = self.board.now;
        let work = if self.link_up() { transmit(self) } else { 0 } + self.receive();
        self.tell_time(now);
        if self.stats.repeats()
            && let Some(generation) = self.stats.tick(&self.board.bus.memory, now)
        {
            self.post(self.mc.log.unwrap_or(0), evq::statistics(generation));
        }
        work
    }

    fn doorbells(&self) -> Vec<DoorbellPage> {
        let bar = self.kind.bar();
        let page = |at: u64, words: &Page| DoorbellPage { bar, offset: at, words: words.clone(), crowded: false };
        let windows = self.windows.iter().zip(0..).flat_map(|(window, n)| {
            let at = n * self.kind.stride();
            let aperture = self.kind.ctpio().then(|| page(at + CTPIO as u64, &window.ctpio));
            [page(at, window.registers.page(0)), page(at + PIO as u64, &window.pio)].into_iter().chain(aperture)
        });
        windows.collect()
    }

    fn mapped(&mut self) {
        self.mcdi_mapped();
    }

    fn reset(&mut self) {
        self.drop_resources();
        self.mcdi = self.mcdi.afresh();
        self.mc = self.firmware(self.mc.boots);
        self.windows.iter().for_each(|window| window.registers.power_on());
        self.link = Link::default();
        self.restart_link();
        self.show_boots();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        let (vi, at) = self.place(bar, offset)?;
        let name = match at {
            0..PAGE => self.window(vi).name(at as u32)?,
            PIO..PIO_END => format!("PIO+{:#x}", at - PIO),
            _ => format!("CTPIO+{:#x}", at.checked_sub(CTPIO)?),
        };
        Some(format!("VI{vi}.{name}"))
    }
}
