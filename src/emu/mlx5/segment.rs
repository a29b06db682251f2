//! What the words of the initialization segment say, and what writing them asks for.
//!
//! ```text
//!   0x14  [31:12] queue  [10:8] interface  [7:4] log of slots  [3:0] log of their size
//!           interface  0 the driver's   1 disabled   7 software reset, of the whole chip
//! ```
//!
//! A write with an interface is a request for it and leaves the queue's address. 7 takes
//! the card down with all its ports: it reads 7, then 1, and is the driver's again; a
//! ConnectX-5 and later then never answers ENABLE_HCA.

use super::super::{FaultKind, Picos};
use super::{Mlx5, cmd, regs};

const MILLISECOND: Picos = 1_000_000_000;

/// Revision of the command interface.
const INTERFACE_REVISION: u32 = 5;

/// Interfaces.
pub const DRIVER: u32 = 0;
const DISABLED: u32 = 1;
const RESET: u32 = 7;

/// How long a software reset shows as one, and until the function is back.
const RESETTING: Picos = 100 * MILLISECOND;
const BACK: Picos = 1000 * MILLISECOND;
/// How long the function initialises: of a nasty card at least, and at most more; and of
/// one that takes longer than anybody waits (fault).
const LATE: Picos = 300 * MILLISECOND;
const LATER: Picos = 700 * MILLISECOND;
const TOO_LATE: Picos = 130_000 * MILLISECOND;

/// The state of the function's interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// Until when it initialises.
    ready: Picos,
    /// When it was reset by software.
    reset: Option<Picos>,
    /// It is disabled.
    disabled: bool,
    /// ENABLE_HCA is not answered.
    hung: bool,
}

impl Mlx5 {
    /// The function starts.
    pub(super) fn start_segment(&mut self) {
        let disabled = self.faulty(FaultKind::NicDisabled) && self.board.fault.is_some_and(|fault| fault.at.is_none());
        let late = match (self.faulty(FaultKind::InitSlow), self.board.nasty) {
            (true, _) => TOO_LATE,
            (false, true) => LATE + self.board.random.below(LATER),
            (false, false) => 0,
        };
        self.segment = Segment { ready: self.board.now + late, reset: None, disabled, hung: false };
    }

    /// It initialises for so long.
    pub(super) fn initialise_for(&mut self, picos: Picos) {
        self.segment.ready = self.board.now + picos;
    }

    /// Whether it initialises.
    pub(super) fn initializing(&self) -> bool {
        self.board.now < self.segment.ready || self.interface() != DRIVER
    }

    /// Whose the function is.
    pub(super) fn interface(&self) -> u32 {
        match self.segment.reset.map(|since| self.board.now - since) {
            Some(..RESETTING) => RESET,
            Some(..BACK) => DISABLED,
            _ if self.segment.disabled => DISABLED,
            _ => DRIVER,
        }
    }

    /// The function is taken from its driver (fault).
    pub(super) fn disable_interface(&mut self) {
        self.segment.disabled = true;
    }

    /// Whether this command meets a card that a software reset has spoilt.
    pub(super) fn reset_hangs(&self, code: u16) -> bool {
        self.segment.hung && code == super::fw::ENABLE_HCA
    }

    pub(super) fn revision(&self) -> u32 {
        let [major, minor, _] = self.kind.firmware;
        u32::from(minor) << 16 | u32::from(major)
    }

    pub(super) fn interface_revision(&self) -> u32 {
        INTERFACE_REVISION << 16 | u32::from(self.kind.firmware[2])
    }

    pub(super) fn queue_word(&self) -> u32 {
        let address = self.registers.peek(regs::CMDQ_LOW.at) & !0xfff;
        address | self.interface() << 8 | cmd::LOG_SLOTS << 4 | cmd::LOG_STRIDE
    }

    pub(super) fn set_queue_word(&mut self, value: u32) {
        match value >> 8 & 7 {
            DRIVER => {
                self.segment.disabled &= self.faulty(FaultKind::NicDisabled);
                self.registers.poke(regs::CMDQ_LOW.at, value & !0xfff);
            }
            RESET => {
                self.restart();
                self.segment.reset = Some(self.board.now);
                self.segment.hung = !self.kind.bears_reset;
                self.drop_link();
            }
            DISABLED => {
                self.drop_function();
                self.segment.disabled = true;
            }
            other => self.board.violations.note(format!("nic_interface {other} asked for")),
        }
    }

    pub(super) fn initializing_word(&self) -> u32 {
        u32::from(self.initializing()) << 31
    }

    pub(super) fn ticks(&self) -> u64 {
        self.plane.clock.ticks(self.board.now)
    }

    /// The time of day, where the card keeps it.
    pub(super) fn time_of_day(&self) -> u64 {
        if self.caps.get(super::caps::TS_FORMATS) == 0 { 0 } else { self.plane.clock.real(self.board.now) }
    }
}
