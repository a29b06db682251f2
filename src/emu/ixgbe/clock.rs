//! Time stamps (82599 §7.9; X550: a stamp in every received packet).
//!
//! The 82599 and X540 count TIMINCA increments: every clock period (6.4 ns at
//! 10 Gbit/s) the 64-bit SYSTIM grows by the value in TIMINCA. X550 keeps
//! nanoseconds and seconds itself, in steps of its own period of 12.5 ns, and
//! TIMINCA only trims its rate; reading SYSTIMR, or SYSTIML without it, holds the
//! time for those behind it, so that all are of one moment.

use super::super::{Picos, RegisterFile};
use super::irq::TIMESYNC;
use super::regs::Effect;
use super::{Ixgbe, Kind};

const TSYNCRXCTL: u32 = 0x05188;
const TSYNCTXCTL: u32 = 0x08c00;
const RXSTMPL: u32 = 0x051e8;
const RXSTMPH: u32 = 0x051a4;
const TXSTMPL: u32 = 0x08c04;
const TXSTMPH: u32 = 0x08c08;
const SYSTIML: u32 = 0x08c0c;
const SYSTIMH: u32 = 0x08c10;
const TIMINCA: u32 = 0x08c14;
const SYSTIMR: u32 = 0x08c58;
const TSICR: u32 = 0x08c60;
/// A stamp is held; stamping is on.
const VALID: u32 = 1;
const ENABLE: u32 = 1 << 4;
/// TSYNCRXCTL of X550: all packets, in the packet.
const TYPE_ALL: u32 = 4 << 1;
const TSIP_UT_EN: u32 = 1 << 23;

/// The clock of a card.
pub struct Clock {
    kind: Kind,
    /// SYSTIM at time `since`, as the driver set it: increments (82599, X540) or
    /// nanoseconds (X550).
    base: u64,
    since: Picos,
    increment: u32,
    /// SYSTIML and SYSTIMH as they were when the first was read (X550).
    held: Option<u64>,
}

/// Period of the X550's clock.
const PERIOD: Picos = 12_500;

impl Clock {
    /// A stopped clock (82599), or one that runs from zero (X550).
    pub fn new(kind: Kind) -> Self {
        Clock { kind, base: 0, since: 0, increment: 0, held: None }
    }

    /// The counter at `now`.
    fn counter(&self, now: Picos) -> u64 {
        let passed = now.saturating_sub(self.since);
        match self.kind {
            Kind::X550 => {
                // Trim: 2^-32 ns in each period of 12.5 ns.
                let sign = if self.increment >> 31 == 1 { -1 } else { 1 };
                let periods = passed / PERIOD;
                let trim = (i128::from(periods) * i128::from(self.increment & 0x7fff_ffff) * sign) >> 32;
                self.base.wrapping_add(periods * PERIOD / 1000).wrapping_add(trim as u64)
            }
            Kind::I82599 | Kind::X540 => {
                // The upper byte of the 82599's TIMINCA is a period in clocks.
                let (periods, step) = match self.kind {
                    Kind::I82599 => (u64::from(self.increment >> 24), u64::from(self.increment & 0x00ff_ffff)),
                    _ => (1, u64::from(self.increment)),
                };
                let clocks = passed / 6_400;
                self.base.wrapping_add(clocks.checked_div(periods).unwrap_or(0).wrapping_mul(step))
            }
        }
    }

    /// The stamp of a packet that came at this time: nanoseconds below, seconds
    /// above (X550).
    pub fn stamp(&self, at: Picos) -> u64 {
        self.parts(at)
    }

    /// SYSTIML and SYSTIMH.
    fn parts(&self, now: Picos) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        let counter = self.counter(now);
        match self.kind {
            Kind::X550 => (counter % SECOND) | ((counter / SECOND) << 32),
            Kind::I82599 | Kind::X540 => counter,
        }
    }

    /// Holds the stamp of a packet that came at this time, unless one is held.
    pub fn latch_rx(&self, at: Picos, regs: &RegisterFile<Effect>) -> bool {
        self.latch(at, regs, [TSYNCRXCTL, RXSTMPL, RXSTMPH])
    }

    fn latch(&self, at: Picos, regs: &RegisterFile<Effect>, [control, low, high]: [u32; 3]) -> bool {
        let value = regs.peek(control);
        let free = value & (ENABLE | VALID) == ENABLE;
        if free {
            let stamp = self.parts(at);
            regs.poke(low, stamp as u32);
            regs.poke(high, (stamp >> 32) as u32);
            regs.poke(control, value | VALID);
        }
        free
    }
}

impl Ixgbe {
    /// A packet with TSTAMP left at this time.
    pub(super) fn stamp_sent(&mut self, at: Picos) {
        if self.clock.latch(at, &self.regs, [TSYNCTXCTL, TXSTMPL, TXSTMPH]) {
            self.regs.poke(TSICR, self.regs.peek(TSICR) | 2);
            self.cause(TIMESYNC);
        }
    }

    /// Whether every received packet carries its stamp.
    pub(super) fn stamps_all(&self) -> bool {
        let control = self.regs.peek(TSYNCRXCTL);
        self.kind == Kind::X550 && control & ENABLE != 0 && control & 0xe == TYPE_ALL && control & TSIP_UT_EN != 0
    }

    pub(super) fn read_clock(&mut self, offset: u32) -> u32 {
        let now = self.clock.parts(self.board.now);
        match offset {
            SYSTIMR => {
                self.clock.held = Some(now);
                0
            }
            SYSTIML if self.kind == Kind::X550 => *self.clock.held.get_or_insert(now) as u32,
            SYSTIMH if self.kind == Kind::X550 => (self.clock.held.take().unwrap_or(now) >> 32) as u32,
            SYSTIML => now as u32,
            SYSTIMH => (now >> 32) as u32,
            _ => self.regs.peek(offset),
        }
    }

    /// Setting the time takes effect with SYSTIMH, the rate at once.
    pub(super) fn write_clock(&mut self, offset: u32, value: u32) {
        match offset {
            TIMINCA => {
                self.clock.base = self.clock.counter(self.board.now);
                self.clock.since = self.board.now;
                self.clock.increment = value;
            }
            SYSTIMH => {
                let (low, high) = (u64::from(self.regs.peek(SYSTIML)), u64::from(value));
                self.clock.base = match self.kind {
                    Kind::X550 => high * 1_000_000_000 + low,
                    Kind::I82599 | Kind::X540 => low | high << 32,
                };
                self.clock.since = self.board.now;
            }
            _ => {}
        }
    }

    /// Reading the upper half lets the next stamp in.
    pub(super) fn unlock_stamp(&self, received: bool) {
        let control = if received { TSYNCRXCTL } else { TSYNCTXCTL };
        self.regs.poke(control, self.regs.peek(control) & !VALID);
    }
}
