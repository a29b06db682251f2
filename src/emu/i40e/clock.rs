//! The IEEE 1588 clock and its stamps (X710 §8.5).
//!
//! Time is 64 bits of nanoseconds. Every clock period (1.6 ns at 40 and 25
//! Gbit/s, 3.2 at 10) it grows by PRTTSYN_INC, a fixed-point number whose upper
//! 32 bits are whole nanoseconds.

use super::super::Picos;
use super::super::frame::Parsed;
use super::regs::{self, PRTTSYN_CTL0, PRTTSYN_CTL1, PRTTSYN_RXTIME_H, PRTTSYN_STAT_0, PRTTSYN_STAT_1};
use super::{I40e, Kind};

const ENABLE: u32 = 1 << 31;
/// CTL0: a stamp of a sent packet is an interrupt.
const TXTIME_INT: u32 = 1 << 1;
/// STAT_0: there is one.
const TXTIME: u32 = 1 << 4;
/// ICR0.TIMESYNC.
const TIMESYNC: u32 = 1 << 23;

/// The clock of a port.
#[derive(Default)]
pub struct Clock {
    /// Nanoseconds at time `since`.
    base: u64,
    since: Picos,
    increment: u64,
    /// PRTTSYN_TIME_H as it was when TIME_L was read.
    latched: u32,
}

impl Clock {
    fn time(&self, kind: Kind, now: Picos) -> u64 {
        let period = match kind {
            Kind::Xl710 | Kind::Xxv710 => 1_600,
            Kind::X710 | Kind::X722 => 3_200,
        };
        let periods = now.saturating_sub(self.since) / period;
        self.base.wrapping_add(((u128::from(periods) * u128::from(self.increment)) >> 32) as u64)
    }
}

impl I40e {
    /// TIME_L holds the upper half for TIME_H.
    pub(super) fn read_time(&mut self) -> u32 {
        let time = self.clock.time(self.kind, self.board.now);
        self.clock.latched = (time >> 32) as u32;
        time as u32
    }

    pub(super) fn read_time_high(&self) -> u32 {
        self.clock.latched
    }

    /// INC_H makes INC_L take effect.
    pub(super) fn set_rate(&mut self, high: u32) {
        self.clock.base = self.clock.time(self.kind, self.board.now);
        self.clock.since = self.board.now;
        self.clock.increment = u64::from(self.regs.peek(regs::PRTTSYN_INC_L.at)) | u64::from(high) << 32;
    }

    /// TIME_H makes TIME_L take effect.
    pub(super) fn set_time(&mut self, high: u32) {
        self.clock.base = u64::from(self.regs.peek(regs::PRTTSYN_TIME_L.at)) | u64::from(high) << 32;
        self.clock.since = self.board.now;
    }

    /// ADJ: a sign and nanoseconds.
    pub(super) fn adjust_time(&mut self, value: u32) {
        let by = u64::from(value & !ENABLE);
        let by = if value & ENABLE != 0 { by.wrapping_neg() } else { by };
        self.clock.base = self.clock.base.wrapping_add(by);
        self.regs.poke(regs::PRTTSYN_ADJ.at, 0);
    }

    /// A packet that asked for it left at this time.
    pub(super) fn stamp_sent(&mut self, at: Picos) {
        if self.regs.peek(PRTTSYN_CTL0.at) & ENABLE == 0 || self.regs.peek(PRTTSYN_STAT_0.at) & TXTIME != 0 {
            return;
        }
        let time = self.clock.time(self.kind, at);
        self.regs.poke(regs::PRTTSYN_TXTIME_L.at, time as u32);
        self.regs.poke(regs::PRTTSYN_TXTIME_H.at, (time >> 32) as u32);
        self.regs.poke(PRTTSYN_STAT_0.at, self.regs.peek(PRTTSYN_STAT_0.at) | TXTIME);
        if self.regs.peek(PRTTSYN_CTL0.at) & TXTIME_INT != 0 {
            self.cause(TIMESYNC);
        }
    }

    /// Whether received packets are looked at for stamps at all.
    pub(super) fn stamps(&self) -> bool {
        self.regs.peek(PRTTSYN_CTL0.at) & ENABLE != 0 && self.regs.peek(PRTTSYN_CTL1.at) & ENABLE != 0
    }

    /// Stamps an event message that came at this time, if a slot is free; which one.
    pub(super) fn stamp_received(&mut self, frame: &[u8], headers: &Parsed, at: Picos) -> Option<u8> {
        let control = self.regs.peek(PRTTSYN_CTL1.at);
        let message = self.message(frame, headers, control)?;
        let wanted = match control >> 24 & 3 {
            // Version 2: one of two message types, or all event messages.
            2 => [control >> 16 & 0xf, control >> 20 & 0xf].contains(&u32::from(message & 0xf)),
            3 => message & 0xf < 8,
            // Version 1, by its control field.
            _ => [control & 0xff, control >> 8 & 0xff].contains(&u32::from(message)),
        };
        let taken = self.regs.peek(PRTTSYN_STAT_1.at);
        let slot = (0..4).find(|slot| taken >> slot & 1 == 0).filter(|_| wanted)?;
        let time = self.clock.time(self.kind, at);
        self.regs.poke(regs::PRTTSYN_RXTIME_L.nth(slot), time as u32);
        self.regs.poke(PRTTSYN_RXTIME_H.nth(slot), (time >> 32) as u32);
        self.regs.poke(PRTTSYN_STAT_1.at, taken | 1 << slot);
        Some(slot as u8)
    }

    /// The message type (version 2) or control field (version 1) of a PTP packet.
    fn message(&self, frame: &[u8], headers: &Parsed, control: u32) -> Option<u8> {
        const EVENT_PORT: u16 = 319;
        const ETHERTYPE: u16 = 0x88f7;
        let by_udp = control >> 26 & 3 != 0 && headers.ports(frame).is_some_and(|(_, to)| to == EVENT_PORT);
        let at = if headers.ethertype == ETHERTYPE {
            headers.l3_at
        } else if by_udp {
            headers.l4_at + 8
        } else {
            return None;
        };
        let first_version = control >> 24 & 3 == 1;
        frame.get(if first_version { at + 32 } else { at }).copied()
    }

    /// A stamp's upper half is read: its slot is free.
    pub(super) fn take_stamp(&mut self, slot: u16) -> u32 {
        self.regs.poke(PRTTSYN_STAT_1.at, self.regs.peek(PRTTSYN_STAT_1.at) & !(1 << slot));
        self.regs.peek(PRTTSYN_RXTIME_H.nth(slot.into()))
    }
}
