//! The link: PHY and module are the firmware's, which is asked for their state and
//! told what is wanted, where it must be and this function may.
//!
//! ```text
//!   up                         nothing is changed
//!   down, it may negotiate     all speeds that it can; then, as the other end may
//!                              not negotiate, one after the other; then from anew
//!   down, it may not           one speed after the other, the fastest first
//! ```
//!
//! A port can be left down by the driver before, and stays so through resets; it
//! can be left turning frames round, too. A PHY that is not ready yet refuses, and is
//! asked again each second. A setting that was taken is given time: training takes
//! seconds, and begins anew with each setting, so the same one is not sent again. What
//! a partition or another host decides is only looked at.

use super::cmd::{port_mac_cfg, port_phy_cfg, port_phy_qcaps, port_phy_qcfg};
use super::hw::Hw;
use crate::driver::mailbox::{Reply, Request};
use crate::driver::ops::Link;
use crate::error::{Kind, Result};
use std::time::{Duration, Instant};

/// Pause before a PHY that refused is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Refusals of one setting before the next is tried.
const REFUSALS: u32 = 5;

/// How long a setting that was taken has for a link, and a link that was lost to
/// come back.
const SETTLE: Duration = Duration::from_secs(20);

/// Units of speeds.
const MEGABITS: u64 = 100;

/// Oldest interface in which no speed at all means that the port is off.
const TELLS_OFF: [u8; 3] = [1, 10, 1];

/// What is set by PORT_PHY_CFG.
mod phy {
    pub const RESET: u64 = 1 << 0;
    pub const FORCE: u64 = 1 << 2;
    pub const RESTART: u64 = 1 << 3;
    /// Fields that say something.
    pub const AUTO_MODE: u64 = 1 << 0;
    pub const AUTO_PAUSE: u64 = 1 << 2;
    pub const AUTO_SPEEDS: u64 = 1 << 4;
    pub const LOOPBACK: u64 = 1 << 6;
    pub const FORCE_PAUSE: u64 = 1 << 8;
    pub const FORCE_PAM4: u64 = 1 << 11;
    pub const AUTO_PAM4: u64 = 1 << 12;
    /// Autonegotiate what a mask says.
    pub const BY_MASK: u64 = 4;
    /// What is sent is received, in the PHY or the MAC.
    pub const LOCAL: u64 = 1;
}

/// Speeds by bit of a mask, in units.
const SPEEDS: [(u64, u64); 7] =
    [(1 << 11, 1000), (1 << 10, 500), (1 << 9, 400), (1 << 8, 250), (1 << 6, 100), (1 << 3, 10), (1 << 1, 1)];

/// What the PHY can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ability {
    /// Speeds that can be negotiated.
    auto: u64,
    auto_pam4: u64,
    /// Speeds that can be set.
    force: u64,
    force_pam4: u64,
    /// Twisted pair, which has no speed without negotiation.
    twisted: bool,
    /// Another function's setting may be changed.
    shared: bool,
}

/// A setting of the PHY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    /// Negotiate: speeds, and those of PAM4.
    Auto(u64, u64),
    /// A speed in units, and whether it is of PAM4.
    Force(u64, bool),
}

/// What is known of the link.
pub struct Watch {
    /// The port is also another's.
    shared: bool,
    loopback: Option<Loopback>,
    ability: Ability,
    told: Option<Told>,
    /// Settings that were given up.
    tries: usize,
    /// How often the present one was refused.
    refusals: u32,
    /// A module that the firmware does not accept was already spoken of.
    unfit: bool,
    /// When the state was asked for last.
    asked: Option<Instant>,
}

/// What the PHY was told last, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// When that was, or the link was last seen up.
    when: Instant,
    /// The setting, if it was taken.
    taken: Option<Setting>,
    /// There is something to wait for.
    settles: bool,
}

/// Where frames are turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loopback {
    Mac,
    Phy,
}

impl Ability {
    /// From the firmware's answer; `supported`: all speeds, as PORT_PHY_QCFG says.
    fn of(caps: Option<&Reply>, supported: u64, twisted: bool, tells_off: bool) -> Ability {
        use port_phy_qcaps::output;
        const SHARED: u64 = 1 << 3;
        let Some(caps) = caps else {
            return Ability { auto: supported, force: supported, twisted, ..Ability::default() };
        };
        let mut ability = Ability {
            auto: caps.get(output::AUTO_SPEEDS),
            auto_pam4: caps.get(output::PAM4_AUTO_SPEEDS),
            force: caps.get(output::FORCE_SPEEDS),
            force_pam4: caps.get(output::PAM4_FORCE_SPEEDS),
            twisted,
            shared: caps.get(output::FLAGS) & SHARED != 0,
        };
        if ability.force | ability.force_pam4 == 0 && !tells_off {
            ability.force = supported;
        }
        ability
    }

    /// What is tried the `n`th time; nothing if the port has no speed now.
    fn setting(&self, n: usize) -> Option<Setting> {
        let negotiates = self.auto | self.auto_pam4 != 0;
        let auto = negotiates.then_some(Setting::Auto(self.auto, self.auto_pam4));
        let of = |mask: u64, pam4: bool| speeds(mask, pam4).into_iter().map(move |speed| Setting::Force(speed, pam4));
        let forced = of(self.force_pam4, true).chain(of(self.force, false)).filter(|_| !(negotiates && self.twisted));
        let all: Vec<_> = auto.into_iter().chain(forced).collect();
        all.get(n % all.len().max(1)).copied()
    }
}

/// The speeds of a mask, the fastest first.
fn speeds(mask: u64, pam4: bool) -> Vec<u64> {
    const PAM4: [(u64, u64); 3] = [(1 << 2, 2000), (1 << 1, 1000), (1 << 0, 500)];
    let table: &[(u64, u64)] = if pam4 { &PAM4 } else { &SPEEDS };
    table.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, speed)| *speed).collect()
}

impl Setting {
    /// The request for it. No pause frames.
    fn request(self, hw: &Hw) -> Request {
        use port_phy_cfg::input;
        let request = Request::new(port_phy_cfg::COMMAND).with(input::PORT_ID, u64::from(hw.caps.port));
        match self {
            Setting::Auto(speeds, pam4) => request
                .with(input::FLAGS, phy::RESET | phy::RESTART)
                .with(
                    input::ENABLES,
                    phy::AUTO_MODE | phy::AUTO_PAUSE | phy::AUTO_SPEEDS | if pam4 != 0 { phy::AUTO_PAM4 } else { 0 },
                )
                .with(input::AUTO_MODE, phy::BY_MASK)
                .with(input::AUTO_LINK_SPEED_MASK, speeds)
                .with(input::AUTO_LINK_PAM4_SPEED_MASK, pam4),
            Setting::Force(speed, false) => request
                .with(input::FLAGS, phy::RESET | phy::FORCE)
                .with(input::ENABLES, phy::FORCE_PAUSE)
                .with(input::FORCE_LINK_SPEED, speed),
            Setting::Force(speed, true) => request
                .with(input::FLAGS, phy::RESET | phy::FORCE)
                .with(input::ENABLES, phy::FORCE_PAUSE | phy::FORCE_PAM4)
                .with(input::FORCE_PAM4_LINK_SPEED, speed),
        }
    }
}

impl Watch {
    /// Brings the link up if it is down, on its own time; `shared`: the port is also
    /// another's; `loopback`: to itself.
    pub fn start(hw: &Hw, shared: bool, loopback: bool) -> Result<Watch> {
        let mut watch = Watch {
            shared,
            loopback: None,
            ability: Ability::default(),
            told: None,
            tries: 0,
            refusals: 0,
            unfit: false,
            asked: None,
        };
        let mut state = ask(hw)?;
        watch.learn(hw, &state)?;
        if loopback {
            watch.loopback = Some(turn_round(hw, &watch.ability)?);
        } else {
            if !shared && straighten(hw, &state)? {
                state = ask(hw)?;
            }
            watch.bring_up(hw, &state)?;
        }
        Ok(watch)
    }

    /// Asks what the PHY can do.
    fn learn(&mut self, hw: &Hw, state: &Reply) -> Result<()> {
        const TWISTED: u64 = 1;
        let request =
            Request::new(port_phy_qcaps::COMMAND).with(port_phy_qcaps::input::PORT_ID, u64::from(hw.caps.port));
        let caps = hw.ask_optional(request)?;
        let supported = state.get(port_phy_qcfg::output::SUPPORT_SPEEDS);
        let twisted = state.get(port_phy_qcfg::output::MEDIA_TYPE) == TWISTED;
        let ability = Ability::of(caps.as_ref(), supported, twisted, hw.speaks(TELLS_OFF));
        // Another module: what was tried with the one before says nothing.
        if std::mem::replace(&mut self.ability, ability) != ability {
            (self.told, self.tries, self.refusals) = (None, 0, 0);
        }
        Ok(())
    }

    /// What the PHY can do may have changed: a module was put in.
    pub fn changed(&mut self, hw: &Hw) -> Result<()> {
        let state = ask(hw)?;
        self.learn(hw, &state)
    }

    /// Sees to a link whose events were lost, once a second.
    pub fn poll(&mut self, hw: &Hw, now: Instant) -> Result<()> {
        if self.asked.is_some_and(|asked| now < asked + AGAIN) {
            return Ok(());
        }
        self.state(hw).map(drop)
    }

    /// The state of the link now.
    pub fn state(&mut self, hw: &Hw) -> Result<Link> {
        use port_phy_qcfg::output;
        self.asked = Some(Instant::now());
        let state = ask(hw)?;
        let speed = state.get(output::LINK_SPEED) * MEGABITS * 1_000_000;
        let up = is_up(&state);
        if self.loopback.is_some() {
            return Ok(Link { up: true, speed });
        }
        if up {
            self.seen_up();
        } else {
            self.bring_up(hw, &state)?;
            self.module(hw, state.get(output::MODULE_STATUS))?;
        }
        Ok(Link { up, speed: if up { speed } else { 0 } })
    }

    /// Tells the PHY what is wanted, if it is time to.
    fn bring_up(&mut self, hw: &Hw, state: &Reply) -> Result<()> {
        /// Nothing is plugged in.
        const NO_MODULE: u64 = 4;
        if is_up(state) {
            self.seen_up();
            return Ok(());
        }
        let now = Instant::now();
        let wait = self.told.map_or(now, |told| told.when + if told.settles { SETTLE } else { AGAIN });
        if self.shared && !self.ability.shared || now < wait {
            return Ok(());
        }
        if self.told.is_some() {
            self.learn(hw, state)?;
        }
        let bare = state.get(port_phy_qcfg::output::MODULE_STATUS) == NO_MODULE;
        let before = self.told.and_then(|told| told.taken);
        // What was taken stays while there is nothing to be better with.
        self.tries += usize::from(before.is_some() && !bare);
        let setting = self.ability.setting(self.tries);
        let taken = match setting {
            Some(setting) if before == Some(setting) => true,
            // Its refusal is no reason not to open: it may be ready later.
            Some(setting) => hw.ask_optional(setting.request(hw))?.is_some(),
            None => false,
        };
        self.refusals = if taken { 0 } else { self.refusals + 1 };
        if self.refusals == REFUSALS {
            (self.tries, self.refusals) = (self.tries + 1, 0);
        }
        self.told = Some(Told { when: now, taken: setting.filter(|_| taken), settles: taken });
        Ok(())
    }

    /// The link is up: should it be lost, the setting that it came with is the one to
    /// wait for.
    fn seen_up(&mut self) {
        let taken = self.told.and_then(|told| told.taken);
        self.told = Some(Told { when: Instant::now(), taken, settles: true });
        self.refusals = 0;
    }

    /// Speaks once of a module that will give no link.
    fn module(&mut self, hw: &Hw, status: u64) -> Result<()> {
        let what = match status {
            1 => "has turned its transmitter off",
            3 => "has turned its power off",
            5 => "has turned it off, as it draws too much current",
            _ => {
                self.unfit = false;
                return Ok(());
            }
        };
        if std::mem::replace(&mut self.unfit, true) {
            return Ok(());
        }
        let text = format!(
            "its firmware does not accept the module or cable that is plugged in and {what}, so there will be no link; use one that Broadcom lists for this card"
        );
        Err(hw.error(Kind::Unsupported, text))
    }

    /// Lets the port send to its wire again. The link stays as it is.
    pub fn stop(&mut self, hw: &Hw) {
        let port = u64::from(hw.caps.port);
        let request = match self.loopback.take() {
            Some(Loopback::Mac) => mac_loopback(port, 0),
            Some(Loopback::Phy) => phy_loopback(port, 0),
            None => return,
        };
        let _ = hw.ask_optional(request);
    }
}

/// State of PHY and link.
pub fn ask(hw: &Hw) -> Result<Reply> {
    hw.ask(Request::new(port_phy_qcfg::COMMAND).with(port_phy_qcfg::input::PORT_ID, u64::from(hw.caps.port)))
}

/// What the firmware says of a link that is down.
pub fn why_down(hw: &Hw) -> Result<String> {
    ask(hw).map(|state| super::phy::why(&state))
}

/// Whether there is a link now.
pub fn is_up_now(hw: &Hw) -> Result<bool> {
    ask(hw).map(|state| is_up(&state))
}

fn is_up(state: &Reply) -> bool {
    const LINK: u64 = 2;
    state.get(port_phy_qcfg::output::LINK) == LINK
}

fn mac_loopback(port: u64, mode: u64) -> Request {
    const LOOPBACK: u64 = 1 << 1;
    Request::new(port_mac_cfg::COMMAND)
        .with(port_mac_cfg::input::PORT_ID, port)
        .with(port_mac_cfg::input::ENABLES, LOOPBACK)
        .with(port_mac_cfg::input::LPBK, mode)
}

fn phy_loopback(port: u64, mode: u64) -> Request {
    Request::new(port_phy_cfg::COMMAND)
        .with(port_phy_cfg::input::PORT_ID, port)
        .with(port_phy_cfg::input::ENABLES, phy::LOOPBACK)
        .with(port_phy_cfg::input::LPBK, mode)
}

/// Ends what a driver that was killed may have left: frames that are turned round,
/// in the MAC, which does not tell, or in the PHY; whether it was the PHY.
fn straighten(hw: &Hw, state: &Reply) -> Result<bool> {
    let port = u64::from(hw.caps.port);
    hw.ask_optional(mac_loopback(port, 0))?;
    let turns = state.get(port_phy_qcfg::output::LPBK) != 0;
    if turns {
        hw.ask_optional(phy_loopback(port, 0))?;
    }
    Ok(turns)
}

/// Has what is sent received: in the MAC, or, where that will not, in the PHY, which
/// must not negotiate then.
fn turn_round(hw: &Hw, ability: &Ability) -> Result<Loopback> {
    let port = u64::from(hw.caps.port);
    if hw.ask_optional(mac_loopback(port, phy::LOCAL))?.is_some() {
        return Ok(Loopback::Mac);
    }
    if let Some(speed) = speeds(ability.force, false).first() {
        hw.ask_optional(Setting::Force(*speed, false).request(hw))?;
    }
    if hw.ask_optional(phy_loopback(port, phy::LOCAL))?.is_some() {
        return Ok(Loopback::Phy);
    }
    Err(hw.error(
        Kind::Unsupported,
        "its firmware turns frames round neither in the MAC nor in the PHY; use a loopback plug",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(auto: u16, force: u16, pam4: u16) -> Reply {
        let mut body = vec![0; 0x27];
        body[0x0a..0x0c].copy_from_slice(&force.to_le_bytes());
        body[0x0c..0x0e].copy_from_slice(&auto.to_le_bytes());
        body[0x1a..0x1c].copy_from_slice(&pam4.to_le_bytes());
        Reply::new(port_phy_qcaps::COMMAND, body)
    }

    #[test]
    fn what_can_be_negotiated_is_and_else_one_speed_after_the_other_is_tried() {
        let of = |auto, force, pam4| Ability::of(Some(&caps(auto, force, pam4)), 0x140, false, true);
        let both = of(0x140, 0x140, 0);
        let auto = Some(Setting::Auto(0x140, 0));
        let forced = [250, 100].map(|speed| Some(Setting::Force(speed, false)));
        assert_eq!([0, 1, 2, 3].map(|n| both.setting(n)), [auto, forced[0], forced[1], auto]);
        let twisted = Ability { twisted: true, ..both };
        assert_eq!([0, 1].map(|n| twisted.setting(n)), [auto, auto]);
        let fixed = of(0, 0x140, 0);
        let tried: Vec<_> = (0..3).map(|n| fixed.setting(n)).collect();
        let force = |speed, pam4| Some(Setting::Force(speed, pam4));
        assert_eq!(tried, [force(250, false), force(100, false), force(250, false)]);
        assert_eq!(of(0, 0x40, 0x4).setting(0), force(2000, true));
        assert_eq!(of(0, 0, 0).setting(0), None, "no module");
        let old = Ability::of(Some(&caps(0, 0, 0)), 0x40, false, false);
        assert_eq!(old.setting(0), force(100, false), "old firmware does not say");
        assert_eq!(Ability::of(None, 0x40, false, true).setting(0), Some(Setting::Auto(0x40, 0)));
    }
}
