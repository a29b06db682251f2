//! Modules for the cage of an 82599, and what is at the other end of them (SFF-8472 §4).

use super::super::wire::Speed;
use super::super::{Board, FaultKind};

/// A module, and its partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// 10GBASE-SR.
    ShortRange,
    /// 1000BASE-SX; the partner negotiates (IEEE 802.3 clause 37).
    Gigabit,
    /// 10GBASE-SR and 1000BASE-SX; the partner has the latter.
    Dual,
    /// 10GBASE-T, for which there is no code: it says nothing of what it is.
    Silent,
}

/// Link modes (AUTOC.LMS): 1 Gbit/s with negotiation, 10 Gbit/s serial.
const GIGABIT_AN: u32 = 2;
const SERIAL_10G: u32 = 3;

impl Module {
    /// The one in a card's cage, which is for the rate of its wire.
    pub fn of(board: &Board) -> Module {
        match board.fault.map(|fault| fault.kind) {
            Some(FaultKind::ModuleGigabit) => Module::Gigabit,
            Some(FaultKind::ModuleDual) => Module::Dual,
            Some(FaultKind::ModuleSilent) => Module::Silent,
            _ if board.speed == Speed::Bits(1_000_000_000) => Module::Gigabit,
            _ => Module::ShortRange,
        }
    }

    /// Megabits a second of a link in this `mode`, with the module's rate pin high for the
    /// `fast` one; none if the partner does not understand it.
    pub fn speed(self, mode: u32, fast: bool) -> Option<u32> {
        match self {
            Module::ShortRange | Module::Silent => (mode == SERIAL_10G).then_some(10_000),
            Module::Gigabit => (mode == GIGABIT_AN).then_some(1_000),
            Module::Dual => (mode == GIGABIT_AN && !fast).then_some(1_000),
        }
    }

    /// Whether it measures its temperature and the like: those of twisted pair do not.
    pub fn is_measured(self) -> bool {
        self != Module::Silent
    }

    /// Its diagnostics: what it is measured at (SFF-8472 table 9-1).
    pub fn diagnostics(self) -> [u8; 128] {
        let mut page = [0; 128];
        // 35.5 degrees, 3.3 V.
        page[96..100].copy_from_slice(&[35, 0x80, 0x80, 0xe8]);
        page
    }

    /// Its identification page.
    pub fn identification(self) -> [u8; 128] {
        let mut id = [0; 128];
        // SFP, two-wire id; LC connector; 64B/66B; 10.3 Gbit/s.
        (id[0], id[1], id[2], id[11], id[12]) = (0x03, 0x04, 0x07, 0x06, 103);
        // Codes of 10 Gbit/s and of 1 Gbit/s.
        (id[3], id[6]) = match self {
            Module::ShortRange => (0x10, 0),
            Module::Gigabit => (0, 0x01),
            Module::Dual => (0x10, 0x01),
            Module::Silent => (0, 0),
        };
        id[16..20].copy_from_slice(&[8, 3, 0, 30]);
        id[20..36].copy_from_slice(b"Intel Corp      ");
        // The vendor's OUI.
        id[37..40].copy_from_slice(&[0x00, 0x1b, 0x21]);
        id[40..56].copy_from_slice(b"FTLX8571D3BCV-IT");
        id[56..60].copy_from_slice(b"A   ");
        // 850 nm.
        id[60..62].copy_from_slice(&[0x03, 0x52]);
        id[65] = 0x1a;
        id[68..84].copy_from_slice(b"EMULATED-SN-0001");
        id[84..92].copy_from_slice(b"260101  ");
        // Diagnostics, calibrated inside.
        if self.is_measured() {
            (id[92], id[94]) = (0x68, 0x08);
        }
        id[63] = sum(&id[..63]);
        id[95] = sum(&id[64..95]);
        id
    }
}

/// The check byte of a part of it.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
