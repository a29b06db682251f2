//! Whether the firmware lives: the health buffer, the counter, and the ends it can take.
//!
//! ```text
//!   alive     counter moves, syndrome 0
//!   crashed   counter stands, syndrome, recovery wanted; no command is answered
//!   gone      all registers read as ones, until a reset (fault)
//!   reset by another function: announced twice, gone for a second, back as after power-on
//! ```

use super::super::{FaultKind, Picos};
use super::Mlx5;

const MILLISECOND: Picos = 1_000_000_000;

/// One step of the counter.
const BEAT: Picos = 10 * MILLISECOND;
/// How long after INIT_HCA a fault of health strikes.
const UNTIL_TROUBLE: Picos = 500 * MILLISECOND;
/// From the announcement of a reset to the reset, how long that takes, and how long the
/// function then initialises.
const GRACE: Picos = 200 * MILLISECOND;
const AWAY: Picos = 1000 * MILLISECOND;
const INITIALISING: Picos = 300 * MILLISECOND;

/// The event of general notifications, the subtype that is about resets, and what it says
/// in its fourth byte: that one is asked for, that it comes now.
const NOTIFICATION: u8 = 0x22;
const RESET: u8 = 0x08;
const REQUESTED: u8 = 0;
const NOW: u8 = 1;

/// Syndromes.
const INTERNAL: u8 = 1;

/// What comes next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Freeze,
    Vanish,
    Announce,
    Reset,
    Return,
    ReleasePages,
}

/// How the firmware is.
#[derive(Debug, Default)]
pub struct Health {
    /// Since when the counter stands.
    stopped: Option<Picos>,
    syndrome: u8,
    gone: bool,
    /// A reset by another function has happened: it happens once.
    was_reset: bool,
    plan: Option<(Plan, Picos)>,
}

impl Health {
    /// The function was reset, or powered on.
    pub fn start(&mut self) {
        *self = Health { was_reset: self.was_reset, ..Health::default() };
    }

    /// Whether registers are there, and commands are heard.
    pub fn listens(&self) -> bool {
        !self.gone
    }
}

impl Mlx5 {
    /// Firmware dies of something inside it.
    pub(super) fn crash(&mut self) {
        self.fail_with(INTERNAL);
    }

    fn fail_with(&mut self, syndrome: u8) {
        self.health.syndrome = syndrome;
        self.health.stopped.get_or_insert(self.board.now);
        self.channel.silent = true;
    }

    /// The function is gone from its bus.
    pub(super) fn vanish(&mut self) {
        self.health.gone = true;
        // It reaches no memory any more: nothing is told of this.
        self.pages.stop();
        self.plane.reset(&mut self.board);
        self.drop_link();
    }

    /// INIT_HCA is done: what goes wrong then?
    pub(super) fn plan_trouble(&mut self) {
        let at = self.board.now + UNTIL_TROUBLE;
        let numbered = self.board.fault.is_some_and(|fault| fault.at.is_some());
        self.health.plan = match self.board.fault.map(|fault| fault.kind) {
            Some(FaultKind::HealthFrozen) => Some((Plan::Freeze, at)),
            Some(FaultKind::Gone) if !numbered => Some((Plan::Vanish, at)),
            Some(FaultKind::ResetByPeer) if !self.health.was_reset => Some((Plan::Announce, at)),
            Some(FaultKind::ReleaseAll) => Some((Plan::ReleasePages, at)),
            _ => None,
        };
    }

    /// Time passed.
    pub(super) fn health_tick(&mut self) {
        if let Some(syndrome) = self.plane.trouble()
            && self.health.syndrome == 0
        {
            self.fail_with(syndrome);
        }
        let now = self.board.now;
        let Some((plan, _)) = self.health.plan.take_if(|&mut (_, due)| due <= now) else { return };
        match plan {
            Plan::Freeze => self.health.stopped = Some(now),
            Plan::Vanish => self.vanish(),
            Plan::Announce => {
                self.announce_reset(REQUESTED);
                self.health.plan = Some((Plan::Reset, now + GRACE));
            }
            Plan::Reset => {
                self.health.was_reset = true;
                self.announce_reset(NOW);
                self.vanish();
                self.health.plan = Some((Plan::Return, now + AWAY));
            }
            Plan::Return => {
                self.start();
                self.initialise_for(INITIALISING);
            }
            Plan::ReleasePages => self.release_all_pages(),
        }
    }

    fn announce_reset(&mut self, state: u8) {
        let mut data = [0; 28];
        data[3] = state;
        self.plane.event(&mut self.board, NOTIFICATION, RESET, data);
    }

    /// The counter, and in front of it the syndrome.
    pub(super) fn health_counter(&self) -> u32 {
        let beats = (self.health.stopped.unwrap_or(self.board.now) / BEAT) as u32 & 0xff_ffff;
        u32::from(self.health.syndrome) << 24 | beats
    }

    /// A word of the health buffer.
    pub(super) fn health_word(&self, at: u32) -> u32 {
        /// Recovery wanted; the severity is valid, and is that of an error.
        const FATAL: u32 = 1 << 31 | 1 << 27 | 3 << 24;
        let sick = self.health.syndrome != 0;
        let [major, minor, sub] = self.kind.firmware.map(u32::from);
        match at {
            0x200 if sick => 0xbad0_cafe,
            0x220 if sick => 0x2000_0a44,
            0x224 if sick => 0x2000_1b30,
            0x230 => major << 24 | minor << 16 | sub,
            0x234 => u32::from(self.kind.device),
            0x238 if sick => FATAL,
            0x23c => u32::from(self.health.syndrome) << 16,
            _ => 0,
        }
    }
}
