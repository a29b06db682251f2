//! Whether the firmware lives: starting, running, dying, being started over.
//!
//! ```text
//!   power-on, FLR --> 0 .. 0x3f00 --> 0x8000, healthy
//!                                        |  RESET_NOTIFY, a moment of grace
//!   told to start over: ----------------> 0, no command is heard --> 0x8000, and
//!                                            IF_CHANGE says once that all is lost
//!   crashed: 0x448100, heart stopped, no command is heard until FLR or RESTART
//! ```

use super::super::{Board, FaultKind, Picos};
use super::Bnxt;
use super::plane::AsyncEvent;

const MILLISECOND: Picos = 1_000_000_000;

/// How long firmware takes to be up after a reset of the function, and of a nasty card
/// at most.
const START: Picos = 20 * MILLISECOND;
const LATE_START: Picos = 1500 * MILLISECOND;
/// How long it takes to start over by itself.
const RESTART: Picos = 500 * MILLISECOND;
/// How long after a driver has registered it announces that (fault), and how long
/// it goes on then.
const UNTIL_NOTICE: Picos = 200 * MILLISECOND;
const GRACE: Picos = 2000 * MILLISECOND;
/// Between an echo request and the end of patience with its answer.
const ECHO: Picos = 1000 * MILLISECOND;
/// One beat of the heart.
const BEAT: Picos = 100 * MILLISECOND;

/// Values of the status word.
const HEALTHY: u32 = 0x8000;
const STARTING: u32 = 0x3f00;
const CRASHED: u32 = 0x44_8100;

/// Events of health.
const RESET_NOTIFY: u16 = 8;
const ECHO_REQUEST: u16 = 0x42;
/// RESET_NOTIFY: the driver is to be down, because firmware met an error that is not
/// fatal.
const NOT_FATAL: u32 = 2 | 3 << 8;
/// What an echo is to say.
pub const ECHO_DATA: [u32; 2] = [0x0bad_cafe, 0x1234_5678];

/// What it does next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Notify,
    StartOver,
    AskForEcho,
    GiveUp,
}

/// How the firmware is.
#[derive(Debug, Default)]
pub struct Health {
    /// When it began to start, and when it is up.
    began: Picos,
    ready: Picos,
    /// Not since power-on, but after it started over by itself: until then it is deaf.
    over: bool,
    /// Since when it is dead.
    dead: Option<Picos>,
    resets: u32,
    plan: Option<(Plan, Picos)>,
    /// The driver has not been told yet that all is lost.
    lost: bool,
}

impl Health {
    /// The function was reset, or powered on.
    pub fn start(&mut self, board: &mut Board) {
        let stuck = board.faulty(FaultKind::NotReady);
        let late = match (stuck, board.nasty) {
            (true, _) => 0,
            (false, false) => START,
            (false, true) => board.random.below(LATE_START),
        };
        *self = Health { began: board.now, ready: board.now + late, resets: self.resets, ..Health::default() };
    }

    /// When firmware that is starting is up.
    pub fn ready(&self) -> Picos {
        self.ready
    }

    /// Whether commands are heard.
    pub fn listens(&self) -> bool {
        self.dead.is_none() && !self.over
    }

    /// How often it has started over.
    pub fn resets(&self) -> u32 {
        self.resets
    }

    /// Beats since the emulation began.
    pub fn heartbeat(&self, now: Picos) -> u32 {
        (self.dead.unwrap_or(now) / BEAT) as u32
    }

    /// Whether all was lost since this was asked last.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Whether all was lost and the driver may not know.
    pub fn unnoticed(&self) -> bool {
        self.lost
    }

    /// The echo that was asked for came.
    pub fn echoed(&mut self) {
        self.plan.take_if(|(plan, _)| *plan == Plan::GiveUp);
    }
}

impl Bnxt {
    /// The status word.
    pub(super) fn status(&self) -> u32 {
        let (health, now) = (&self.health, self.board.now);
        match health.dead {
            Some(_) => CRASHED,
            None if now >= health.ready => HEALTHY,
            None if now - health.began < (health.ready - health.began) / 2 => 0,
            None => STARTING,
        }
    }

    /// Firmware dies: its heart stops, and it hears nothing any more.
    pub(super) fn crash(&mut self) {
        self.health.dead = Some(self.board.now);
        self.health.plan = None;
    }

    /// A driver has registered, or took its interface down.
    pub(super) fn plan_trouble(&mut self) {
        let due = self.board.now + UNTIL_NOTICE;
        if self.health.resets == 0 && self.faulty(FaultKind::HotReset) {
            self.health.plan = Some((Plan::Notify, due));
        } else if self.faulty(FaultKind::Echo) {
            self.health.plan = Some((Plan::AskForEcho, due));
        }
    }

    /// The driver that was told has taken its interface down: there is no need to wait.
    pub(super) fn driver_is_down(&mut self) {
        if let Some((Plan::StartOver, due)) = &mut self.health.plan {
            *due = self.board.now + RESTART;
        }
    }

    /// Firmware starts over: rings, reservations and registrations are lost, windows
    /// point nowhere, and the driver may not know.
    pub(super) fn restart_firmware(&mut self) {
        let resets = self.health.resets + 1;
        self.drop_function();
        self.plane.set_unnoticed(true);
        self.plane.forget_port();
        self.registers.power_on();
        self.hwrm = self.hwrm.afresh();
        let (began, ready) = (self.board.now, self.board.now + RESTART);
        self.health = Health { began, ready, over: true, dead: None, resets, plan: None, lost: true };
        if self.faulty(FaultKind::Npar) {
            return;
        }
        self.restart_link();
    }

    /// Time passed.
    pub(super) fn health_tick(&mut self) {
        let now = self.board.now;
        if now >= self.health.ready {
            self.health.over = false;
        }
        let Some((plan, _)) = self.health.plan.take_if(|&mut (_, due)| due <= now) else { return };
        match plan {
            Plan::Notify => {
                let (least, most) = ((GRACE / BEAT) as u8, (GRACE * 2 / BEAT) as u16);
                self.tell(AsyncEvent { id: RESET_NOTIFY, data1: NOT_FATAL, data2: 0, least, most });
                self.health.plan = Some((Plan::StartOver, now + GRACE));
            }
            Plan::AskForEcho if self.function.wants(ECHO_REQUEST) => {
                self.notify(ECHO_REQUEST, ECHO_DATA[0], ECHO_DATA[1]);
                self.health.plan = Some((Plan::GiveUp, now + ECHO));
            }
            Plan::AskForEcho => {}
            Plan::GiveUp => self.crash(),
            Plan::StartOver => self.restart_firmware(),
        }
    }
}
