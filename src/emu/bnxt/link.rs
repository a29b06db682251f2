//! The link: what the PHY was told, when it is up, what is told of it.
//!
//! ```text
//!   power-on, PHY_CFG --delay--> up, if the wire has light, the module is taken, and
//!                                 both sides agree on speed, autonegotiation, FEC
//!   PHY_CFG with FORCE_LINK_DWN --> down, until a PHY_CFG without it
//! ```
//!
//! What the PHY was told belongs to the port: a reset of the function, the death of
//! its driver and a new one change nothing of it.

use super::super::wire::Speed;
use super::super::{Board, FaultKind, Picos};
use super::models::Media;
use super::{Bnxt, Kind};

/// How long the link takes, unless the specification says.
pub const DELAY: Picos = 2_000_000_000;

/// How late the driver may be told of a change (nasty). What comes and goes meanwhile it
/// never hears of.
const LATE: Picos = 300_000_000_000;

/// How long after power-on the PHY may take no commands (nasty).
const NOT_READY: Picos = 3_000_000_000_000;

/// Speeds in units of 100 Mbit/s, by the bit that stands for each.
const SPEEDS: [(u16, u16); 7] = [(1, 1), (3, 0x0a), (6, 0x64), (8, 0xfa), (9, 0x190), (10, 0x1f4), (11, 0x3e8)];
/// The same for signals of four levels.
const PAM4_SPEEDS: [(u16, u16); 3] = [(0, 0x1f4), (1, 0x3e8), (2, 0x7d0)];

/// Events of the link.
pub const LINK_STATUS_CHANGE: u16 = 0;
pub const PORT_CONN_NOT_ALLOWED: u16 = 4;
pub const LINK_SPEED_CFG_CHANGE: u16 = 6;

/// Bits of FEC: it is negotiated, clause 74, clause 91.
pub const FEC_AUTO: u8 = 1;
pub const FEC_CL74: u8 = 2;
pub const FEC_CL91: u8 = 4;

/// The bit of a speed, among those of one level or of four.
pub fn bit(speed: u16, pam4: bool) -> Option<u16> {
    let table = if pam4 { &PAM4_SPEEDS[..] } else { &SPEEDS[..] };
    table.iter().find(|(_, units)| *units == speed).map(|(bit, _)| 1 << bit)
}

/// What the PHY was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phy {
    /// The link is held down.
    pub down: bool,
    /// Speed and pause are negotiated.
    pub auto: bool,
    /// Speed if they are not, and whether with four levels.
    pub force: u16,
    /// See `force`.
    pub force_pam4: bool,
    /// Speeds to offer.
    pub mask: u16,
    /// See `mask`.
    pub mask_pam4: u16,
    /// TX 1, RX 2, negotiated 4; and where they are not negotiated.
    pub pause: u8,
    /// See `pause`.
    pub force_pause: u8,
    /// FEC, as bits.
    pub fec: u8,
    /// What loops: 0 nothing, 1 at the PHY's near side.
    pub loopback: u8,
}

/// State of the link.
#[derive(Debug)]
pub struct Link {
    /// What the PHY was told.
    pub phy: Phy,
    /// What loops in the MAC, as PORT_MAC_CFG said it.
    pub mac_loopback: u8,
    /// Speed of the other side.
    line: u16,
    /// When the link may be up.
    ready: Option<Picos>,
    up: bool,
    /// When the driver is told of how it is, late (nasty).
    told: Option<Picos>,
    /// How often the PHY is still to be found not ready (nasty).
    refusals: u64,
}

impl Link {
    /// What power-on makes of it; a nasty card was left with its link down.
    pub fn new(kind: &Kind, board: &mut Board) -> Self {
        let own = units(board.profile.speed);
        let line = match board.speed {
            Speed::Bits(bits) if bit(units(bits), false).is_some_and(|bit| kind.speeds & bit != 0) => units(bits),
            Speed::Bits(_) | Speed::Max => own,
        };
        let auto = !board.faulty(FaultKind::NoAutoneg);
        let phy = Phy {
            down: board.nasty,
            auto,
            force: line,
            force_pam4: false,
            mask: if auto { kind.negotiable().0 } else { 0 },
            mask_pam4: if auto { kind.negotiable().1 } else { 0 },
            pause: 7,
            force_pause: 3,
            fec: if board.faulty(FaultKind::Fec) { 0 } else { FEC_AUTO },
            loopback: 0,
        };
        let refusals = if board.nasty { 1 + board.random.below(4) } else { 0 };
        Link { phy, mac_loopback: 0, line, ready: None, up: false, told: None, refusals }
    }

    /// Speed of the other side, which is the link's when it is up.
    pub fn line(&self) -> u16 {
        self.line
    }
}

/// Bits a second in units of 100 Mbit/s.
fn units(bits: u64) -> u16 {
    u16::try_from(bits / 100_000_000).unwrap_or(0)
}

impl Bnxt {
    /// The link starts over: down now, up after the delay.
    pub(super) fn restart_link(&mut self) {
        self.link.ready = Some(self.board.link_ready());
        self.change_link(false);
        self.poll_link();
    }

    /// Whether frames can pass.
    #[inline]
    pub(super) fn link_up(&self) -> bool {
        self.link.up
    }

    /// Whether frames go round inside the card.
    #[inline]
    pub(super) fn looped(&self) -> bool {
        self.link.phy.loopback == 1 || self.link.mac_loopback == 1
    }

    /// Whether light, if there is some, is that of a partner which is agreed with.
    fn agreed(&self) -> bool {
        let (phy, line) = (&self.link.phy, self.link.line);
        let speed = if phy.auto {
            bit(line, false).is_some_and(|bit| phy.mask & bit != 0)
        } else {
            // A partner that negotiates, here a fault, does not hear of a speed.
            let heard = self.kind.media != Media::BaseT && !self.faulty(FaultKind::Partner);
            phy.force == line && !phy.force_pam4 && heard
        };
        let refused = [FaultKind::Media, FaultKind::NoModule, FaultKind::PortDisabled].map(|kind| self.faulty(kind));
        let fec = !self.faulty(FaultKind::Fec) || phy.fec & (FEC_AUTO | FEC_CL74) != 0;
        speed && fec && !refused.contains(&true)
    }

    /// Time passed, or the wire or the PHY changed.
    pub(super) fn poll_link(&mut self) {
        let light = self.board.port.mac.carrier() && !self.link.phy.down && self.agreed();
        let ready = self.link.ready.is_none_or(|ready| self.board.now >= ready);
        let up = self.looped() || light && ready;
        if self.link.up != up {
            if !light {
                self.link.ready = None;
            }
            self.change_link(up);
        }
    }

    fn change_link(&mut self, up: bool) {
        if std::mem::replace(&mut self.link.up, up) == up {
            return;
        }
        self.plane.set_link(up);
        let late = self.board.nasty && self.board.random.below(10) == 0;
        self.link.told = late.then(|| self.board.now + LATE);
        if !late {
            self.notify(LINK_STATUS_CHANGE, up.into(), 0);
        }
    }

    /// Tells of a change that was kept back. How the link stays is always told: Linux's
    /// driver has no other way to hear of it (bnxt_async_event_process).
    pub(super) fn tell_late(&mut self) {
        if self.link.told.take_if(|time| self.board.now >= *time).is_some() {
            self.notify(LINK_STATUS_CHANGE, self.link.up.into(), 0);
        }
    }

    /// Whether the PHY takes no commands yet, as it may for a while after power-on.
    pub(super) fn phy_not_ready(&mut self) -> bool {
        let refused = self.board.now < NOT_READY && self.link.refusals > 0;
        self.link.refusals = self.link.refusals.saturating_sub(1);
        refused
    }

    /// PORT_PHY_CFG: the link starts over if something changed, or if that was asked for.
    pub(super) fn set_phy(&mut self, phy: Phy, restart: bool) {
        let before = std::mem::replace(&mut self.link.phy, phy);
        self.plane.set_loopback(self.looped());
        if restart || before != phy {
            self.restart_link();
        }
    }

    /// PORT_MAC_CFG: what loops in the MAC.
    pub(super) fn set_mac_loopback(&mut self, loopback: u8) {
        self.link.mac_loopback = loopback;
        self.plane.set_loopback(self.looped());
        self.board.port.empty_loop();
        self.poll_link();
    }
}
