//! The emulated Broadcom NetXtreme-E: BCM57412, 57414, 57416 and Stingray ("P4"),
//! BCM57502, 57504 and 57508 ("P5", Thor).
//!
//! ```text
//!   BAR 0: window, trigger, GRC windows      BAR 2: doorbells        ^ interrupts
//!      | commands            | health           | of 32 or 64 bits    |
//!   +--v---------------------v------------------v---------------------|-----+
//!   |  hwrm -> fw: commands by subject    plane: rings, completion and      |
//!   |  link   health   module             notification queues, VNICs,       |
//!   |     |                               filters, statistics contexts      |
//!   +-----|--------------------------------------|--------------------------+
//!         v                                      v
//!       answers, contexts' memory (P5)      buffers, completions, MAC, wire
//! ```
//!
//! A card of this family has hardly a register: rings, filters and the link are all
//! made by commands to its firmware (HWRM), of which a driver reserves what it will
//! need and reads back what it got. The two generations differ in doorbells, in
//! what stands between a completion and an interrupt, in how rings are tied
//! together, and in that P5 keeps its contexts in the host's memory.
//!
//! What the firmware refuses, delays, grants less of or leaves set is here what it is on
//! cards of silicon, as far as that is known; a nasty card does more of it.

mod chip;
mod fw;
mod health;
mod hwrm;
mod link;
mod model;
mod models;
mod plane;
mod regs;
#[cfg(test)]
mod tests;

use self::chip::Chip;
use self::fw::{Function, Store};
use self::health::Health;
use self::hwrm::Transport;
use self::link::Link;
pub use self::models::{Kind, MODELS};
use self::plane::{AsyncEvent, Plane};
pub use self::regs::TABLE as REGISTERS;
use super::{Board, FaultKind, RegisterFile};

/// One emulated function.
pub struct Bnxt {
    board: Board,
    kind: &'static Kind,
    registers: RegisterFile<Bnxt>,
    plane: Plane,

    hwrm: Transport,
    function: Function,
    store: Store,
    link: Link,
    health: Health,
    /// Its answers are those of an older interface (nasty).
    old_answers: bool,
}

impl Bnxt {
    /// A card, powered on.
    pub fn new(kind: &'static Kind, mut board: Board) -> Self {
        let old_answers = board.nasty && board.random.below(2) == 0;
        let mut card = Bnxt {
            kind,
            registers: RegisterFile::new(&[regs::TABLE], regs::SIZE),
            plane: Plane::new(kind.chip),
            hwrm: Transport::default(),
            function: Function::new(kind, &board),
            store: Store::new(&mut board, old_answers),
            link: Link::new(kind, &mut board),
            health: Health::default(),
            old_answers,
            board,
        };
        card.start();
        card.restart_link();
        card
    }

    /// The generation.
    fn chip(&self) -> Chip {
        self.kind.chip
    }

    /// Whether this is what goes wrong with the card.
    fn faulty(&self, kind: FaultKind) -> bool {
        self.board.faulty(kind)
    }

    /// What belongs to the function is gone: rings, reservations, filters, the
    /// driver's registration, the contexts' memory. The port stays as it is.
    fn drop_function(&mut self) {
        self.function = Function::new(self.kind, &self.board);
        self.plane.reset(&mut self.board);
        self.plane.set_queues(&self.function.queues());
        self.store.release();
    }

    /// Firmware and function start over; the port does not.
    fn start(&mut self) {
        self.drop_function();
        self.registers.power_on();
        self.hwrm = self.hwrm.afresh();
        self.health.start(&mut self.board);
    }

    /// Tells the driver of something, if it has asked for that.
    fn notify(&mut self, id: u16, data1: u32, data2: u32) {
        self.tell(AsyncEvent { id, data1, data2, ..AsyncEvent::default() });
    }

    /// The same, where there is more to say.
    fn tell(&mut self, event: AsyncEvent) {
        if self.function.wants(event.id) {
            self.plane.post_async(&mut self.board, event);
        }
    }
}
