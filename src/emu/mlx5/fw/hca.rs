//! The function's own commands: enabling it, the interface that is spoken, initialising
//! it, tearing it down.
//!
//! ```text
//!   Disabled --ENABLE_HCA--> Enabled --boot pages--> Booted --init pages, INIT_HCA--> Running
//!       ^                      | ^                                                      |
//!       '-----DISABLE_HCA------' '--------------------TEARDOWN_HCA----------------------'
//! ```
//!
//! A command that comes out of its turn is refused: bad system state.

use super::super::super::FaultKind;
use super::super::Mlx5;
use super::super::caps::{DRIVER_VERSION, LOG_MAX_QP};
use super::super::cmd::Request;
use super::super::plane::Status;
use super::{Answer, INTERNAL, Reply};

/// The number of the interface that is spoken, as a bit of those that there are.
const ISSI_1: u32 = 1 << 1;

/// Logarithm of the queue pairs that firmware plans for by itself.
pub const LOG_QP: u32 = 14;

/// How far the function has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// As after a reset.
    #[default]
    Disabled,
    /// It may be asked for pages.
    Enabled,
    /// It has those that its firmware starts with.
    Booted,
    /// Objects may be made.
    Running,
}

/// State of the function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hca {
    enabled: bool,
    running: bool,
    /// ISSI 1 is spoken.
    pub issi: bool,
    /// A driver that is gone has left it so.
    dirty: bool,
}

impl Hca {
    /// Whether INIT_HCA was done.
    pub fn running(&self) -> bool {
        self.running
    }

    /// As when the function is taken from its driver: only a reset cleans what another
    /// left.
    pub fn dropped(self) -> Hca {
        Hca { dirty: self.dirty, ..Hca::default() }
    }
}

impl Mlx5 {
    /// How far the function has come.
    pub(super) fn stage(&self) -> Stage {
        match (self.hca.enabled, self.hca.running) {
            (false, _) => Stage::Disabled,
            (true, true) => Stage::Running,
            (true, false) if self.pages.booted(self.needs_pages()) => Stage::Booted,
            (true, false) => Stage::Enabled,
        }
    }

    /// Whether its pages come from the host.
    pub(super) fn needs_pages(&self) -> bool {
        !self.faulty(FaultKind::DpuHost)
    }

    /// A driver died and left the function running (fault).
    pub(in super::super) fn inherit(&mut self) {
        const QUEUE: u32 = 0xdead_b000;
        self.registers.poke(super::super::regs::CMDQ_LOW.at, QUEUE);
        self.hca = super::Hca { enabled: true, running: true, issi: true, dirty: true };
    }
}

/// Whether it is about a function that is not the one that asks.
pub fn is_other(request: &Request) -> bool {
    request.u32(0x08) & 0x8000_ffff != 0
}

pub fn enable(card: &mut Mlx5, request: &Request) -> Answer {
    if card.hca.dirty || card.hca.enabled {
        return Err(Status::BAD_SYSTEM_STATE);
    }
    if is_other(request) {
        return Err(Status::BAD_PARAMETER);
    }
    card.hca.enabled = true;
    Ok(Reply::done())
}

/// DISABLE_HCA: all pages are to be with the driver again.
pub fn disable(card: &mut Mlx5, request: &Request) -> Answer {
    if card.hca.running {
        return Err(Status::BAD_SYSTEM_STATE);
    }
    if is_other(request) {
        return Err(Status::BAD_PARAMETER);
    }
    let out = card.pages.count();
    if out > 0 {
        card.board.violations.note("DISABLE_HCA while firmware has pages");
    }
    card.hca = Hca::default();
    Ok(Reply::done())
}

pub fn query_issi(card: &mut Mlx5, _: &Request) -> Answer {
    if card.faulty(FaultKind::Issi0) {
        return Err(Status::BAD_OPERATION);
    }
    Ok(Reply::new(0x70).u32(0x08, card.hca.issi.into()).u32(0x6c, ISSI_1))
}

pub fn set_issi(card: &mut Mlx5, request: &Request) -> Answer {
    if card.hca.dirty {
        return Err(Status::BAD_SYSTEM_STATE);
    }
    if card.faulty(FaultKind::Issi0) {
        return Err(Status::BAD_OPERATION);
    }
    let wanted = request.bits(0x08, 15, 0);
    if wanted != 1 {
        return Err(Status::BAD_PARAMETER);
    }
    card.hca.issi = true;
    Ok(Reply::done())
}

impl Mlx5 {
    /// Whether a driver that is gone has left the function running.
    pub(super) fn dirty(&self) -> bool {
        self.hca.dirty
    }

    /// Pages that firmware wants for INIT_HCA as things are.
    pub(super) fn init_pages(&self) -> i64 {
        self.kind.init_pages(self.caps.get(LOG_MAX_QP))
    }
}

pub fn init(card: &mut Mlx5, _: &Request) -> Answer {
    let wanted = card.init_pages();
    if card.hca.running || card.needs_pages() && !card.pages.initialised(wanted) {
        return Err(Status::BAD_SYSTEM_STATE);
    }
    card.hca.running = true;
    card.pages.settle(wanted);
    card.set_limits();
    card.start_link();
    card.plan_trouble();
    Ok(Reply::done())
}

/// TEARDOWN_HCA: of the ways to do it there is the graceful one.
pub fn teardown(card: &mut Mlx5, request: &Request) -> Answer {
    if card.hca.dirty {
        return Err(Status::BAD_SYSTEM_STATE);
    }
    if request.bits(0x08, 15, 0) != 0 {
        return Err(Status::BAD_PARAMETER);
    }
    if card.faulty(FaultKind::TeardownFail) {
        return Err(INTERNAL);
    }
    if !card.plane.counts().none() {
        card.board.violations.note("TEARDOWN_HCA while there are objects");
    }
    let Hca { issi, .. } = card.hca;
    card.plane.reset(&mut card.board);
    card.start_vport();
    card.hca = Hca { enabled: true, issi, ..Hca::default() };
    card.forget_wanted_pages();
    Ok(Reply::done())
}

/// QUERY_ADAPTER: who made it, and its set of parameters.
pub fn adapter(card: &mut Mlx5, _: &Request) -> Answer {
    const IEEE: u32 = 0x02c9;
    Ok(Reply::new(0x110).u32(0x28, IEEE).u32(0x2c, 0x15b3).put(0x100, card.kind.psid))
}

/// SET_DRIVER_VERSION, where there is such a thing.
pub fn driver_version(card: &mut Mlx5, _: &Request) -> Answer {
    if card.caps.get(DRIVER_VERSION) == 0 { Err(Status::BAD_OPERATION) } else { Ok(Reply::done()) }
}

pub fn nop(_: &mut Mlx5, _: &Request) -> Answer {
    Ok(Reply::done())
}
