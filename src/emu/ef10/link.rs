//! The link: when it is up, what is told of it.
//!
//! ```text
//!   reset, SET_LINK --delay--> up (if the wire has light)
//!                              |  each change: LINKCHANGE on the queue of LOG_CTRL
//! ```

use super::super::{FaultKind, Picos};
use super::{Ef10, evq};

/// PHY capabilities, as bits.
const CAP_10G: u32 = 1 << 7;
const CAP_PAUSE: u32 = 1 << 8;
const CAP_ASYM: u32 = 1 << 9;
const CAP_AN: u32 = 1 << 10;
const CAP_40G: u32 = 1 << 11;

/// What SET_LINK may ask of any PHY.
pub const ALWAYS: u32 = CAP_PAUSE | CAP_ASYM | CAP_AN;

/// Loopback modes: none, inside the datapath.
pub const LOOPBACK_NONE: u32 = 0;
pub const LOOPBACK_DATA: u32 = 1;

/// Flags of GET_LINK and of the event.
const UP: u32 = 1;
const FULL_DUPLEX: u32 = 1 << 1;

/// SET_LINK: power off, transmitter off, link down.
const OFF: u32 = 0xe;

/// How long the link takes, unless the specification says.
pub const DELAY: Picos = 2_000_000_000;

/// What the PHY of a card can do.
pub fn capabilities(speed: u64) -> u32 {
    let speed = if speed > 10_000_000_000 { CAP_40G } else { CAP_10G };
    speed | ALWAYS
}

/// State of the link.
#[derive(Debug)]
pub struct Link {
    /// When it may be up.
    ready: Option<Picos>,
    up: bool,
    off: bool,
    wanted: u32,
    flow: u32,
    loopback: bool,
}

impl Default for Link {
    fn default() -> Self {
        Link { ready: None, up: false, off: false, wanted: 0, flow: 2, loopback: false }
    }
}

impl Link {
    /// What a driver asked for is forgotten; the link stays.
    pub fn release(&mut self) {
        (self.wanted, self.loopback, self.off) = (0, false, false);
    }
}

/// What GET_LINK says.
pub struct State {
    pub capabilities: u32,
    pub partner: u32,
    pub megabits: u32,
    pub loopback: u32,
    pub flags: u32,
    pub flow: u32,
}

impl Ef10 {
    /// The link starts over: down now, up after the delay.
    pub(super) fn restart_link(&mut self) {
        self.link.ready = Some(self.board.link_ready());
        self.change_link(false);
    }

    /// Whether frames can pass.
    #[inline]
    pub(super) fn link_up(&self) -> bool {
        self.link.up
    }

    /// Whether frames go round inside the card.
    #[inline]
    pub(super) fn looped(&self) -> bool {
        self.link.loopback
    }

    /// Time passed, or the wire changed.
    pub(super) fn poll_link(&mut self) {
        let bare = self.board.faulty(FaultKind::NoModule);
        let light = self.board.port.mac.carrier() && !self.link.off && !bare;
        let up = self.link.loopback || light && self.link.ready.is_none_or(|ready| self.board.now >= ready);
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
        if let Some(queue) = self.mc.log {
            let state = self.link_state();
            let speed = match state.megabits {
                10_000 => 3,
                40_000 => 4,
                25_000 => 5,
                _ => 0,
            };
            self.post(queue, evq::link_change(state.partner, speed, state.flow, state.flags));
        }
    }

    /// What GET_LINK says.
    pub(super) fn link_state(&self) -> State {
        let own = capabilities(self.board.profile.speed);
        let up = self.link.up;
        State {
            capabilities: if self.link.wanted == 0 { own } else { self.link.wanted },
            partner: if up { own } else { 0 },
            megabits: if up { (self.board.profile.speed / 1_000_000) as u32 } else { 0 },
            loopback: if self.link.loopback { LOOPBACK_DATA } else { LOOPBACK_NONE },
            flags: if up { UP | FULL_DUPLEX } else { 0 },
            flow: self.link.flow,
        }
    }

    /// SET_LINK. The link is negotiated anew only if something else is wanted.
    pub(super) fn set_link(&mut self, wanted: u32, flags: u32, loopback: u32) {
        let loopback = loopback == LOOPBACK_DATA;
        let off = flags & OFF != 0;
        let known = self.link.wanted != 0 && self.link.wanted != wanted;
        let changed = known || self.link.off != off || self.link.loopback != loopback;
        (self.link.wanted, self.link.off, self.link.loopback) = (wanted, off, loopback);
        if changed {
            self.restart_link();
        }
        self.poll_link();
    }

    /// SET_MAC's flow control: off, respond, both; auto is both here.
    pub(super) fn set_flow(&mut self, flow: u32) {
        self.link.flow = if flow == 3 { 2 } else { flow & 3 };
    }
}
