//! The port's clock, which stamps received frames; BCM575xx.
//!
//! It counts nanoseconds. A frame has the lower 32 bits of them, so the queues are
//! told what the others are, now and then.

use super::Generation;
use super::cmd::{port_mac_cfg, port_mac_ptp_qcfg, port_ts_query};
use super::codes::caps;
use super::hw::Hw;
use super::meta::Clock;
use super::regs::CLOCK_WINDOW;
use crate::dma::Timestamp;
use crate::driver::mailbox::Request;
use crate::driver::ops::ClockReading;
use crate::error::Result;
use std::time::Duration;

/// Step of the clock.
const STEP_PS: u32 = 1000;

/// Oldest interface with a clock.
const WITH_CLOCK: [u8; 3] = [1, 8, 1];

/// What stamps are taken of (PORT_MAC_CFG).
mod stamps {
    pub const SENT_ON: u64 = 1 << 6;
    pub const SENT_OFF: u64 = 1 << 7;
    pub const RECEIVED_ON: u64 = 1 << 14;
    pub const RECEIVED_OFF: u64 = 1 << 15;
}

/// The clock of a port.
pub struct PortClock {
    /// Addresses of its halves on the inner bus; without them the firmware is asked.
    registers: Option<[u32; 2]>,
    /// What the queues are told.
    pub clock: Clock,
    /// When a frame left is reported.
    pub tx: bool,
}

impl PortClock {
    /// Has every received frame stamped, if the card can and this function may. A
    /// port without a clock is none the worse for anything else.
    pub fn start(hw: &Hw) -> Result<Option<PortClock>> {
        use port_mac_ptp_qcfg::output;
        const BY_FIRMWARE: u64 = 1 << 3;
        const BY_REGISTERS: u64 = 1 << 4;
        let able = hw.caps.flags & caps::PTP != 0 && hw.caps.flags_ext2 & caps::RX_ALL_STAMPS != 0;
        if hw.generation != Generation::P5 || !able || !hw.speaks(WITH_CLOCK) {
            return Ok(None);
        }
        let ask =
            Request::new(port_mac_ptp_qcfg::COMMAND).with(port_mac_ptp_qcfg::input::PORT_ID, u64::from(hw.caps.port));
        let Some(reply) = hw.ask_optional(ask)? else { return Ok(None) };
        let flags = reply.get(output::FLAGS);
        if flags & BY_FIRMWARE == 0 {
            return Ok(None);
        }
        let address = |field| reply.optional(field).map(|address| address as u32).filter(|&address| address != 0);
        let registers = match (address(output::TS_REF_CLOCK_LOWER), address(output::TS_REF_CLOCK_UPPER)) {
            // Both are read through one window.
            (Some(lower), Some(upper)) if flags & BY_REGISTERS != 0 && lower >> 12 == upper >> 12 => {
                Some([lower, upper])
            }
            _ => None,
        };
        let tx = hw.caps.flags_ext2 & caps::TX_STAMP_COMPLETIONS != 0;
        let on = stamps::RECEIVED_ON | if tx { stamps::SENT_ON } else { 0 };
        if hw.ask_optional(configure(hw, on))?.is_none() {
            return Ok(None);
        }
        let clock = PortClock { registers, clock: Clock::default(), tx };
        // A clock that does not tell the time can be related to nothing.
        Ok(if clock.tell(hw)?.is_some() { Some(clock) } else { None })
    }

    /// Nanoseconds now.
    fn now(&self, hw: &Hw) -> Result<Option<u64>> {
        use port_ts_query::{input, output};
        const CURRENT_TIME: u64 = 1 << 1;
        if let Some([lower, upper]) = self.registers {
            let hwrm = hw.hwrm();
            hwrm.check()?;
            let lower = hwrm.show(CLOCK_WINDOW, lower);
            let upper = hwrm.show(CLOCK_WINDOW, upper);
            // The upper half may move on while the lower one is read.
            let before = hwrm.read(upper);
            let low = hwrm.read(lower);
            let after = hwrm.read(upper);
            let low = if before == after { low } else { hwrm.read(lower) };
            return Ok(Some(u64::from(after) << 32 | u64::from(low)));
        }
        let request = Request::new(port_ts_query::COMMAND)
            .with(input::FLAGS, CURRENT_TIME)
            .with(input::PORT_ID, u64::from(hw.caps.port));
        Ok(hw.ask_optional(request)?.map(|reply| reply.get(output::PTP_MSG_TS)))
    }

    /// Tells the queues the time.
    pub fn tell(&self, hw: &Hw) -> Result<Option<u64>> {
        let now = self.now(hw)?;
        if let Some(now) = now {
            self.clock.told(now);
        }
        Ok(now)
    }

    /// The time, between two readings of another clock.
    pub fn read(&self, hw: &Hw, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        let before = other();
        let now = self.tell(hw)?;
        let after = other();
        Ok(now.map(|now| ClockReading { before, time: Timestamp(Duration::from_nanos(now)), after, step_ps: STEP_PS }))
    }

    /// Ends stamping.
    pub fn stop(&self, hw: &Hw) {
        let _ = hw.ask_optional(configure(hw, stamps::RECEIVED_OFF | stamps::SENT_OFF));
    }
}

fn configure(hw: &Hw, flags: u64) -> Request {
    Request::new(port_mac_cfg::COMMAND)
        .with(port_mac_cfg::input::FLAGS, flags)
        .with(port_mac_cfg::input::PORT_ID, u64::from(hw.caps.port))
}
