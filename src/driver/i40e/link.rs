//! The link: the firmware drives PHY and module, and tells of changes (§3.2.4).

use super::adminq::{AdminQueue, Answer, Buffer, Code, Event, le16, le32};
use super::hw::Hw;
use super::ids::Mac;
use super::regs::{self, sah};
use crate::driver::ops::Link;
use crate::error::Result;
use std::time::{Duration, Instant};

/// Command, and event, that carries the state of the link.
pub const LINK_STATUS: u16 = 0x0607;

/// Command that sets the port's longest frame.
const LONGEST: u16 = 0x0603;

/// A link that is down is asked for this often, beside the events.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Bits of the state.
mod info {
    pub const UP: u8 = 0x01;
    pub const MEDIA: u8 = 0x40;
    /// In the byte after.
    pub const QUALIFIED: u8 = 0x80;
}

/// Modes of loopback (command 0618), which got other numbers with an NVM.
mod loopback {
    pub const OFF: u16 = 0;
    pub const MAC: u16 = 1;
    pub const OLD_MAC: u16 = 4;
    /// Last version of the NVM with the old ones; those of the X722 keep them.
    pub const LAST_OLD: u16 = 0x6000;
}

/// The mode in which frames come back from the MAC, of a card with this version of
/// the NVM.
pub fn loopback_mode(mac: Mac, version: Option<u16>) -> u16 {
    let old = mac == Mac::X722 || version.is_some_and(|version| version <= loopback::LAST_OLD);
    if old { loopback::OLD_MAC } else { loopback::MAC }
}

/// What is known of the link.
pub struct Watch {
    state: Link,
    asked: Instant,
    /// The firmware does not accept the module, or has not read it yet.
    unfit: bool,
    /// Changes are events.
    told: bool,
    /// The longest frame that must be possible, with FCS.
    longest: u16,
    /// Since the link is up it was seen to that it is.
    measured: bool,
}

/// Bits of the PHY's abilities (commands 0600, 0601).
mod ability {
    /// Pause frames, either way.
    pub const PAUSE: u8 = 0x03;
    pub const LINK_ENABLED: u8 = 0x08;
    pub const AN_ENABLED: u8 = 0x10;
    /// Take the new setting up at once.
    pub const ATOMIC: u8 = 0x20;
}

/// Brings the link up as the NVM says, for frames of any length that the card
/// can send; what is too long to receive, each queue knows. It comes up on its
/// own time. `looped`: the mode of loopback that is asked for. `longest`: the longest
/// frame that must be possible, with FCS.
pub fn start(aq: &mut AdminQueue, looped: Option<u16>, longest: u16) -> Result<Watch> {
    // Whether that was refused is of no account if the port lets them pass: see `measure`.
    set_longest(aq)?;
    const LOOPBACK: &str = "the loopback mode";
    match looped {
        Some(mode) => aq.tell(LOOPBACK, 0x0618, &mode.to_le_bytes(), Buffer::None)?,
        // It is off but for an earlier driver that died.
        None => aq.ask(LOOPBACK, 0x0618, &loopback::OFF.to_le_bytes(), Buffer::None)?,
    };
    enable(aq)?;
    // Events for a change of link, medium and module; no others.
    const LINK_UPDOWN: u16 = 0x0002;
    const MEDIA_NA: u16 = 0x0004;
    const MODULE_QUALIFIED: u16 = 0x0100;
    let masked = !(LINK_UPDOWN | MEDIA_NA | MODULE_QUALIFIED);
    let mut params = [0; 16];
    params[8..10].copy_from_slice(&masked.to_le_bytes());
    let told = aq.ask("the link events", 0x0613, &params, Buffer::None)?.code == Code::OK;
    Ok(Watch { told, longest, ..Watch::new() })
}

/// Sets the port's longest frame, with FCS appended by the card.
fn set_longest(aq: &mut AdminQueue) -> Result<Answer> {
    const FCS: u8 = 4;
    let [low, high] = super::MAX_LENGTH.to_le_bytes();
    aq.ask("the longest frame", LONGEST, &[low, high, FCS], Buffer::None)
}

/// Bytes of what a PHY can (command 0600).
pub const REPORT: usize = 0x218;

/// Enables a PHY that an earlier driver has left off, and turns pause frames off,
/// which would let the far end hold up what is sent.
fn enable(aq: &mut AdminQueue) -> Result<()> {
    const NVM_DEFAULT: u8 = 2;
    const RESTART: u8 = 0x02 | 0x04;
    const WHAT: &str = "the abilities of its PHY";
    const AS_FOUND: &str = "the PHY stays as it was found";
    let Some(now) = aq.try_tell(WHAT, 0x0600, &[], Buffer::Receive(REPORT), AS_FOUND)? else { return Ok(()) };
    let mut phy = now.data;
    let abilities = byte(&phy, 5);
    let on = le32(&phy, 0) != 0 && byte(&phy, 4) != 0 && abilities & ability::LINK_ENABLED != 0;
    if on && abilities & ability::PAUSE == 0 {
        return Ok(());
    }
    if !on {
        let default = aq.try_tell(WHAT, 0x0600, &[NVM_DEFAULT], Buffer::Receive(REPORT), AS_FOUND)?;
        let Some(default) = default else { return Ok(()) };
        phy = default.data;
    }
    let mut wanted = [0; 16];
    wanted[..4].copy_from_slice(&le32(&phy, 0).to_le_bytes());
    wanted[4] = byte(&phy, 4);
    wanted[5] = byte(&phy, 5) & !ability::PAUSE | ability::LINK_ENABLED | ability::AN_ENABLED | ability::ATOMIC;
    wanted[6..8].copy_from_slice(&le16(&phy, 6).to_le_bytes());
    wanted[8..12].copy_from_slice(&le32(&phy, 8).to_le_bytes());
    for at in [12, 13, 14] {
        wanted[at] = byte(&phy, at);
    }
    let lost = if on { "pause frames stay on" } else { "its link may stay down" };
    let set = aq.try_tell("the setting of its PHY", 0x0601, &wanted, Buffer::None, lost)?;
    if set.is_some() && !on {
        aq.try_tell("a restart of its link", 0x0605, &[RESTART], Buffer::None, lost)?;
    }
    Ok(())
}

/// A byte of a block; zero where it has ended.
fn byte(block: &[u8], at: usize) -> u8 {
    block.get(at).copied().unwrap_or(0)
}

impl Watch {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Watch { state: Link::default(), asked: Instant::now(), unfit: false, told: true, longest: 0, measured: false }
    }

    /// Takes an event in; true if it was of the link, and must be answered.
    pub fn event(&mut self, event: &Event) -> bool {
        if event.opcode != LINK_STATUS {
            return false;
        }
        self.take(&event.params);
        true
    }

    /// Asks for the state, and for an event when it changes next.
    pub fn ask(&mut self, aq: &mut AdminQueue, hw: &Hw) -> Result<()> {
        const EVENTS_ON: u8 = 3;
        self.asked = Instant::now();
        let state = aq.tell("the state of its link", LINK_STATUS, &[EVENTS_ON], Buffer::None)?;
        self.take(&state.params);
        if self.state.up && !std::mem::replace(&mut self.measured, true) {
            return self.measure(aq, hw);
        }
        self.measured &= self.state.up;
        Ok(())
    }

    /// Sets the longest frame again, now that there is a link: what was asked for before
    /// has no effect on some devices, and what an earlier driver set outlives all resets
    /// of the function (DPDK 719469f13b).
    fn measure(&self, aq: &mut AdminQueue, hw: &Hw) -> Result<()> {
        let set = || (hw.read(regs::PRTGL_SAH) >> sah::MFS_SHIFT) as u16;
        if set() >= super::MAX_LENGTH {
            return Ok(());
        }
        let answer = set_longest(aq)?;
        let short = set();
        if short < self.longest {
            let why = answer.why(LONGEST);
            aq.lacks.note(format!(
                "its port drops frames longer than {short} bytes with FCS, as another driver left it, and its firmware does not change that ({why})"
            ));
        }
        Ok(())
    }

    /// Whether it is time to ask without an event.
    pub fn doubtful(&self) -> bool {
        (!self.state.up || !self.told) && self.asked.elapsed() >= ASK_AGAIN
    }

    /// The state as last heard.
    pub fn state(&self) -> Link {
        self.state
    }

    /// What the firmware holds against a link that is down. A module that it does not
    /// accept it may accept in a moment, when it has read it (Linux i40e_link_event logs it).
    pub fn why_down(&self) -> Option<String> {
        let unfit = "it does not accept the module or cable that is plugged in; use one that Intel lists for this card";
        self.unfit.then(|| unfit.into())
    }

    fn take(&mut self, params: &[u8; 16]) {
        let [_, _, _phy, speed, info, negotiation, ..] = *params;
        let up = info & info::UP != 0;
        self.state = Link { up, speed: if up { bits_per_second(speed) } else { 0 } };
        self.unfit = !up && info & info::MEDIA != 0 && negotiation & info::QUALIFIED == 0;
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
