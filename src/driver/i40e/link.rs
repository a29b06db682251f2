//! The link: the firmware drives PHY and module, and tells of changes (§3.2.4).

use super::adminq::{AdminQueue, Buffer, Event, le16, le32};
use super::hw::Hw;
use crate::driver::ops::Link;
use crate::error::{Kind, Result};
use std::time::{Duration, Instant};

/// Command, and event, that carries the state of the link.
pub const LINK_STATUS: u16 = 0x0607;

/// A link that is down is asked for this often, beside the events.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Bits of the state.
mod info {
    pub const UP: u8 = 0x01;
    pub const MEDIA: u8 = 0x40;
    /// In the byte after.
    pub const QUALIFIED: u8 = 0x80;
}

/// Modes of loopback (command 0618).
mod loopback {
    pub const OFF: u16 = 0;
    pub const MAC: u16 = 4;
}

/// What is known of the link.
pub struct Watch {
    state: Link,
    asked: Instant,
    /// The module that the firmware does not accept was already spoken of.
    unfit: bool,
}

/// Bits of the PHY's abilities (commands 0600, 0601).
mod ability {
    pub const LINK_ENABLED: u8 = 0x08;
    pub const AN_ENABLED: u8 = 0x10;
    /// Take the new setting up at once.
    pub const ATOMIC: u8 = 0x20;
}

/// Brings the link up as the NVM says, for frames of any length that the card
/// can send; what is too long to receive, each queue knows. It comes up on its
/// own time.
pub fn start(aq: &mut AdminQueue, loop_back: bool) -> Result<()> {
    const FCS: u8 = 4;
    let [low, high] = super::MAX_LENGTH.to_le_bytes();
    aq.tell("the longest frame", 0x0603, &[low, high, FCS], Buffer::None)?;
    let mode = if loop_back { loopback::MAC } else { loopback::OFF };
    aq.tell("the loopback mode", 0x0618, &mode.to_le_bytes(), Buffer::None)?;
    enable(aq)?;
    // Events for a change of link, medium and module; no others.
    const LINK_UPDOWN: u16 = 0x0002;
    const MEDIA_NA: u16 = 0x0004;
    const MODULE_QUALIFIED: u16 = 0x0100;
    let masked = !(LINK_UPDOWN | MEDIA_NA | MODULE_QUALIFIED);
    let mut params = [0; 16];
    params[8..10].copy_from_slice(&masked.to_le_bytes());
    aq.tell("the link events", 0x0613, &params, Buffer::None)?;
    Ok(())
}

/// Enables a PHY that an earlier driver has left off.
fn enable(aq: &mut AdminQueue) -> Result<()> {
    const REPORT: usize = 0x218;
    const NVM_DEFAULT: u8 = 2;
    const RESTART: u8 = 0x02 | 0x04;
    let phy = aq.tell("the abilities of its PHY", 0x0600, &[], Buffer::Receive(REPORT))?.data;
    let (types, speeds, abilities) =
        (le32(&phy, 0), phy.get(4).copied().unwrap_or(0), phy.get(5).copied().unwrap_or(0));
    if types != 0 && speeds != 0 && abilities & ability::LINK_ENABLED != 0 {
        return Ok(());
    }
    let phy = aq.tell("the abilities of its PHY", 0x0600, &[NVM_DEFAULT], Buffer::Receive(REPORT))?.data;
    let byte = |at: usize| phy.get(at).copied().unwrap_or(0);
    let mut wanted = [0; 16];
    wanted[..4].copy_from_slice(&le32(&phy, 0).to_le_bytes());
    wanted[4] = byte(4);
    // No pause frames: the low bits of the abilities.
    wanted[5] = byte(5) & !0b11 | ability::LINK_ENABLED | ability::AN_ENABLED | ability::ATOMIC;
    wanted[6..8].copy_from_slice(&le16(&phy, 6).to_le_bytes());
    wanted[8..12].copy_from_slice(&le32(&phy, 8).to_le_bytes());
    for (to, from) in [(12, 12), (13, 13), (14, 14)] {
        wanted[to] = byte(from);
    }
    aq.tell("the setting of its PHY", 0x0601, &wanted, Buffer::None)?;
    aq.tell("a restart of its link", 0x0605, &[RESTART], Buffer::None)?;
    Ok(())
}

impl Watch {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Watch { state: Link::default(), asked: Instant::now(), unfit: false }
    }

    /// Takes an event in; true if it was of the link, and must be answered.
    pub fn event(&mut self, hw: &Hw, event: &Event) -> Result<bool> {
        if event.opcode != LINK_STATUS {
            return Ok(false);
        }
        self.take(hw, &event.params)?;
        Ok(true)
    }

    /// Asks for the state, and for an event when it changes next.
    pub fn ask(&mut self, aq: &mut AdminQueue, hw: &Hw) -> Result<()> {
        const EVENTS_ON: u8 = 3;
        self.asked = Instant::now();
        let state = aq.tell("the state of its link", LINK_STATUS, &[EVENTS_ON], Buffer::None)?;
        self.take(hw, &state.params)
    }

    /// Whether it is time to ask without an event.
    pub fn doubtful(&self) -> bool {
        !self.state.up && self.asked.elapsed() >= ASK_AGAIN
    }

    /// The state as last heard.
    pub fn state(&self) -> Link {
        self.state
    }

    fn take(&mut self, hw: &Hw, params: &[u8; 16]) -> Result<()> {
        let [_, _, _phy, speed, info, negotiation, ..] = *params;
        let up = info & info::UP != 0;
        self.state = Link { up, speed: if up { bits_per_second(speed) } else { 0 } };
        let unfit = !up && info & info::MEDIA != 0 && negotiation & info::QUALIFIED == 0;
        let news = unfit && !self.unfit;
        self.unfit = unfit;
        if news {
            return Err(hw.error(
                Kind::Unsupported,
                "its firmware does not accept the module or cable that is plugged in, so there will be no link; use one that Intel lists for this card",
            ));
        }
        Ok(())
    }
}

/// The speed code of a link (table 3-56).
fn bits_per_second(code: u8) -> u64 {
    let megabits = match code {
        0x01 => 2_500,
        0x02 => 100,
        0x04 => 1_000,
        0x08 => 10_000,
        0x10 => 40_000,
        0x20 => 20_000,
        0x40 => 25_000,
        0x80 => 5_000,
        _ => 0,
    };
    megabits * 1_000_000
}

/// Lets the port send to its wire again.
pub fn end_loopback(aq: &mut AdminQueue) {
    let _ = aq.ask("the loopback mode", 0x0618, &loopback::OFF.to_le_bytes(), Buffer::None);
}
