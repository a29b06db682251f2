//! Time: the clock, and the stamps that it gave (P5).
//!
//! ```text
//!   read      PORT_TS_QUERY, FUNC_PTP_TS_QUERY, or by way of a GRC window
//!   set       FUNC_PTP_CFG       faster, slower, moved: PORT_MAC_CFG
//!   stamps    of received frames in their completions; of a sent PTP message by
//!             PORT_TS_QUERY, which names it by its sequence number
//! ```
//!
//! One function of a port has the clock: another one is refused.

use super::super::super::FaultKind;
use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};
use super::super::regs::{CLOCK_HIGH, CLOCK_LOW};
use super::{BUSY, Refusal, UNKNOWN};

/// Bits of a time.
const TIME: u64 = (1 << 48) - 1;

impl Bnxt {
    /// Whether it has a clock, and this function may have it.
    pub(super) fn has_clock(&self) -> bool {
        self.chip().p5() && !self.faulty(FaultKind::PtpTaken) && !self.faulty(FaultKind::Old)
    }

    /// Why there is none.
    fn clock(&self) -> Result<(), Refusal> {
        match (self.has_clock(), self.chip().p5()) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::DENIED),
            (false, false) => Err(UNKNOWN),
        }
    }
}

pub fn configuration(card: &mut Bnxt, _: &Request) -> Answer {
    const BY_COMMANDS: u8 = 1 << 3;
    const CLOCK_BY_REGISTERS: u8 = 1 << 4;
    card.clock()?;
    Ok(Reply::new(88).u8(8, BY_COMMANDS | CLOCK_BY_REGISTERS).u32(0x48, CLOCK_LOW).u32(0x4c, CLOCK_HIGH))
}

/// PORT_TS_QUERY.
pub fn stamp(card: &mut Bnxt, request: &Request) -> Answer {
    const RECEIVED: u32 = 1;
    const NOW: u32 = 1 << 1;
    card.clock()?;
    let flags = request.u32(0x10);
    let (time, sequence) = if flags & NOW != 0 {
        (card.plane.clock.time(card.board.now), 0)
    } else if flags & RECEIVED != 0 {
        card.plane.rx_stamp().ok_or(BUSY)?
    } else {
        let sequence = request.u32(0x1c) as u16;
        // It comes when the message has left: the driver is to ask again.
        (card.plane.take_tx_stamp(sequence, request.u16(0x20)).ok_or(BUSY)?, sequence)
    };
    Ok(Reply::new(24).u64(0x08, time & TIME).u16(0x10, sequence))
}

/// FUNC_PTP_CFG: of what it can set, the time alone.
pub fn configure(card: &mut Bnxt, request: &Request) -> Answer {
    const SET_TIME: u16 = 1 << 6;
    card.clock()?;
    if request.u16(0x10) & SET_TIME == 0 {
        return Err(Refusal::UNSUPPORTED);
    }
    card.plane.clock.set(request.u64(0x28), card.board.now);
    Ok(Reply::done())
}

/// FUNC_PTP_TS_QUERY: the time, and that of the last pulse, of which there is none.
pub fn time(card: &mut Bnxt, _: &Request) -> Answer {
    card.clock()?;
    Ok(Reply::new(32).u64(0x10, card.plane.clock.time(card.board.now) & TIME))
}
