//! The emulated NVIDIA ConnectX: ConnectX-4 Lx, 5, 6 Dx and 7, as Ethernet cards.
//!
//! ```text
//!   BAR 0: initialization segment           UAR pages: doorbells     ^ MSI-X
//!      | commands       | health, clock        |                     |
//!   +--v----------------v----------------------v---------------------|------+
//!   |  cmd, mailbox -> fw: commands by subject    plane: EQ, CQ, SQ, RQ,     |
//!   |  segment  health  link  caps                TIR, RQT, flow tables,     |
//!   |     |                                       vport                     |
//!   +-----|------------------------------------------|----------------------+
//!         v                                          v
//!       answers, firmware's pages                 buffers, completions, MAC, wire
//! ```
//!
//! Everything is made by commands, whose entries and mailboxes lie in the host's memory,
//! and so does the memory that firmware works with: it asks for pages, counts them and
//! gives them back. All that goes over the bus is big-endian.
//!
//! `cx4lx` is a card that was recorded: it answers the recorded commands as that one did.
//! The others ask for fewer pages and can do more. What firmware refuses, delays, grants
//! less of or leaves set is here what it is on cards of silicon, as far as that is known;
//! a nasty card does more of it.

mod caps;
mod cmd;
mod fw;
mod health;
mod link;
mod mailbox;
mod model;
mod models;
mod plane;
mod regs;
mod segment;
#[cfg(test)]
mod tests;

use self::caps::Caps;
use self::cmd::Channel;
use self::fw::{Hca, Pages, PortSettings, VportSettings};
use self::health::Health;
use self::link::Link;
pub use self::models::{Kind, MODELS};
use self::plane::{Limits, Plane};
pub use self::regs::TABLE as REGISTERS;
use self::segment::Segment;
use super::{Board, FaultKind, RegisterFile};

/// One emulated function.
pub struct Mlx5 {
    board: Board,
    kind: &'static Kind,
    registers: RegisterFile<Mlx5>,
    plane: Plane,

    segment: Segment,
    channel: Channel,
    caps: Caps,
    hca: Hca,
    pages: Pages,
    vport: VportSettings,
    port: PortSettings,
    link: Link,
    health: Health,
}

impl Mlx5 {
    /// A card, powered on.
    pub fn new(kind: &'static Kind, mut board: Board) -> Self {
        let caps = capabilities(kind, &board);
        let limits = Limits::of(caps.current(caps::GENERAL), caps.current(caps::ETHERNET), caps.current(caps::FLOW));
        let mut card = Mlx5 {
            kind,
            registers: RegisterFile::new(&[regs::TABLE], regs::SIZE),
            plane: Plane::new(limits, &mut board),
            segment: Segment::default(),
            channel: Channel::default(),
            caps,
            hca: Hca::default(),
            pages: Pages::default(),
            vport: VportSettings::default(),
            port: PortSettings::new(),
            link: Link::new(kind, &board),
            health: Health::default(),
            board,
        };
        card.start();
        if card.faulty(FaultKind::Dirty) {
            card.inherit();
        }
        card
    }

    /// Whether this is what goes wrong with the card.
    fn faulty(&self, kind: FaultKind) -> bool {
        self.board.fault.is_some_and(|fault| fault.kind == kind)
    }

    /// Whether it is a virtual function.
    fn is_virtual(&self) -> bool {
        self.faulty(FaultKind::Vf) || self.faulty(FaultKind::VfUntrusted)
    }

    /// What belongs to the function is gone: objects, settings of the vport, the state
    /// that commands had brought it to, firmware's pages. The port stays as it is, and
    /// firmware that is dead is so still.
    fn drop_function(&mut self) {
        self.pages.stop();
        self.hca = self.hca.dropped();
        self.channel = self.channel.afresh();
        self.plane.reset(&mut self.board);
        self.start_vport();
        self.caps.start(fw::LOG_QP);
        if self.board.nasty {
            // 64 KiB from one UAR page to the next, as on a host with such pages.
            self.caps.force(caps::LOG_UAR_PAGE, 4);
        }
        self.set_limits();
    }

    /// The function starts over; the port does not.
    fn start(&mut self) {
        self.restart();
        self.registers.power_on();
        self.start_segment();
    }

    /// Firmware starts over, whatever had become of it.
    fn restart(&mut self) {
        self.drop_function();
        self.hca = Hca::default();
        self.channel.silent = false;
        self.health.start();
    }

    /// Whether firmware signs the entries that it gives back.
    fn signs(&self) -> bool {
        !self.hca.running() || self.caps.signs()
    }

    /// Capabilities in force changed.
    fn set_limits(&mut self) {
        let [general, ethernet, flow] = [caps::GENERAL, caps::ETHERNET, caps::FLOW].map(|kind| self.caps.current(kind));
        self.plane.limits = Limits::of(general, ethernet, flow);
    }
}

/// What this card can.
fn capabilities(kind: &Kind, board: &Board) -> Caps {
    let mut caps = Caps::new(kind.caps);
    match board.fault.map(|fault| fault.kind) {
        Some(FaultKind::Ib) => caps.infiniband(),
        Some(FaultKind::Vf | FaultKind::VfUntrusted) => caps.virtual_function(),
        Some(FaultKind::DpuHost) => caps.limit(caps::GENERAL, caps::ESWITCH_MANAGER, 0),
        _ => {}
    }
    if board.nasty {
        caps.meagre();
    }
    caps.start(fw::LOG_QP);
    caps
}
