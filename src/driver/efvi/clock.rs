//! The card's clock, as the controller is asked about it.

use super::cmd::{
    ptp, ptp_get_attributes, ptp_get_corrections, ptp_read_time, ptp_subscribe, ptp_unsubscribe, refusal,
};
use super::hw::{Capability, Hw};
use super::time::{Sync, TimeFormat};
use crate::driver::mailbox::Request;
use crate::error::Result;

/// Has the time put into the event queue of `vi`; false if the firmware will not,
/// for want of a licence.
///
/// Whether the lowest bits say what state the clock is in, is one setting for all
/// functions of a card, and the first to ask makes it. Other drivers want it so.
pub fn subscribe(hw: &Hw, vi: u16) -> Result<bool> {
    use refusal::{EACCES, ENOENT, ENOSYS, ENOTSUP, EPERM, ERANGE, NO_PRIVILEGE};
    const STATE: u64 = 1 << 31;
    for state in [STATE, 0] {
        let request = Request::new(ptp_subscribe::COMMAND)
            .with(ptp_subscribe::input::OP, ptp::TIME_EVENT_SUBSCRIBE)
            .with(ptp_subscribe::input::QUEUE, u64::from(vi) | state);
        let codes = [ERANGE, EPERM, ENOENT, EACCES, ENOSYS, ENOTSUP, NO_PRIVILEGE];
        if hw.ask_if(request, &codes)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends that.
pub fn unsubscribe(hw: &Hw, vi: u16) -> Result<()> {
    let request = Request::new(ptp_unsubscribe::COMMAND)
        .with(ptp_unsubscribe::input::OP, ptp::TIME_EVENT_UNSUBSCRIBE)
        .with(ptp_unsubscribe::input::QUEUE, u64::from(vi));
    hw.ask_optional(request)?;
    Ok(())
}

/// The card's time: seconds, and the fraction in its own format; `None` if the
/// firmware does not tell it.
pub fn time(hw: &Hw) -> Result<Option<(u64, u64)>> {
    use ptp_read_time::{input, output};
    let request = Request::new(ptp_read_time::COMMAND).with(input::OP, ptp::READ_NIC_TIME);
    Ok(hw.ask_optional(request)?.map(|reply| (reply.get(output::MAJOR), reply.get(output::MINOR))))
}

/// How a card's stamps are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampClock {
    /// Format of fractions.
    pub format: TimeFormat,
    /// No time yet, and what to add to stamps of received frames.
    pub rx: Sync,
    /// The same for sent frames.
    pub tx: Sync,
}

impl StampClock {
    /// `sync` as it is now: frames that come before the first time event belong to
    /// this second.
    pub fn begun(&self, hw: &Hw, sync: Sync) -> Result<Sync> {
        let now = time(hw)?;
        Ok(now.map_or(sync, |(seconds, fraction)| sync.told(self.format, seconds, fraction)))
    }
}

/// The clock, if the card has one and a licence for it.
pub fn find(hw: &Hw) -> Result<Option<StampClock>> {
    if !hw.caps.has(Capability::RxTimestamp) {
        return Ok(None);
    }
    let attributes = Request::new(ptp_get_attributes::COMMAND).with(ptp_get_attributes::input::OP, ptp::GET_ATTRIBUTES);
    let Some(attributes) = hw.ask_optional(attributes)? else {
        return Ok(None);
    };
    let Some(format) = TimeFormat::find(attributes.get(ptp_get_attributes::output::TIME_FORMAT)) else {
        return Ok(None);
    };
    // A clock that does not tell the time can be related to no other.
    if time(hw)?.is_none() {
        return Ok(None);
    }
    let request =
        Request::new(ptp_get_corrections::COMMAND).with(ptp_get_corrections::input::OP, ptp::GET_TIMESTAMP_CORRECTIONS);
    let corrections = hw.ask_optional(request)?;
    let read = |general, ptp| {
        let word = corrections.as_ref().and_then(|reply| reply.optional(general).or_else(|| reply.optional(ptp)));
        // A correction is some hundred nanoseconds; one that is not is no correction.
        Sync::new(i16::try_from(word.unwrap_or(0) as u32 as i32).unwrap_or(0))
    };
    use ptp_get_corrections::output;
    let rx = read(output::GENERAL_RX, output::PTP_RX);
    let tx = read(output::GENERAL_TX, output::PTP_TX);
    Ok(Some(StampClock { format, rx, tx }))
}
