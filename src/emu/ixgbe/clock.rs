//! Time stamps (82599 §7.9; X550: a stamp in every received packet).
//!
//! The 82599 and X540 count TIMINCA increments: every clock period (6.4 ns at
//! 10 Gbit/s) the 64-bit SYSTIM grows by the value in TIMINCA. X550 keeps
//! nanoseconds and seconds itself, in steps of its own period of 12.5 ns, and
//! TIMINCA only trims its rate; reading SYSTIMR, or SYSTIML without it, holds the
//! time for those behind it, so that all are of one moment.

use super::super::{Picos, RegisterFile};
use super::irq::TIMESYNC;
use super::regs::{SYSTIML, Stamp, TSICR, TSYNCRXCTL, TX_STAMP};
use super::{Ixgbe, Kind};

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

    /// Holds the stamp of a packet that passed at this time, unless one is held.
    pub fn latch(&self, at: Picos, regs: &RegisterFile<Ixgbe>, [control, low, high]: Stamp) -> bool {
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
        if self.clock.latch(at, &self.regs, TX_STAMP) {
            self.regs.poke(TSICR.at, self.regs.peek(TSICR.at) | 2);
            self.cause(TIMESYNC);
        }
    }

    /// Whether every received packet carries its stamp.
    pub(super) fn stamps_all(&self) -> bool {
        let control = self.regs.peek(TSYNCRXCTL.at);
        self.kind == Kind::X550 && control & ENABLE != 0 && control & 0xe == TYPE_ALL && control & TSIP_UT_EN != 0
    }

    /// X550: reading the fraction holds the time.
    pub(super) fn read_systimr(&mut self) -> u32 {
        self.clock.held = Some(self.clock.parts(self.board.now));
        0
    }

    pub(super) fn read_systiml(&mut self) -> u32 {
        let now = self.clock.parts(self.board.now);
        match self.kind {
            Kind::X550 => *self.clock.held.get_or_insert(now) as u32,
            Kind::I82599 | Kind::X540 => now as u32,
        }
    }

    pub(super) fn read_systimh(&mut self) -> u32 {
        let now = self.clock.parts(self.board.now);
        match self.kind {
            Kind::X550 => (self.clock.held.take().unwrap_or(now) >> 32) as u32,
            Kind::I82599 | Kind::X540 => (now >> 32) as u32,
        }
    }

    /// TIMINCA takes effect at once.
    pub(super) fn set_rate(&mut self, rate: u32) {
        self.clock.base = self.clock.counter(self.board.now);
        self.clock.since = self.board.now;
        self.clock.increment = rate;
    }

    /// Setting the time takes effect with SYSTIMH.
    pub(super) fn set_clock(&mut self, high: u32) {
        let (low, high) = (u64::from(self.regs.peek(SYSTIML.at)), u64::from(high));
        self.clock.base = match self.kind {
            Kind::X550 => high * 1_000_000_000 + low,
            Kind::I82599 | Kind::X540 => low | high << 32,
        };
        self.clock.since = self.board.now;
    }

    /// Reading the upper half of a stamp lets the next one in.
    pub(super) fn take_stamp(&self, [control, _, high]: Stamp) -> u32 {
        self.regs.poke(control, self.regs.peek(control) & !VALID);
        self.regs.peek(high)
    }
}
