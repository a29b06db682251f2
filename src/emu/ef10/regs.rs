//! The registers of a VI window, as a table (ef10_regs.h names).
//!
//! ```text
//!   window n at n * stride:   0x0000  registers, the table below
//!                             0x1000  PIO buffer, write-only
//!                             0x3000  CTPIO aperture (Medford2, stride of 16 KiB)
//! ```
//!
//! The management controller's doorbell and the interrupt cause are in window 0
//! alone.

use super::super::{Mode, Row};

/// Bytes of a window's registers.
pub const PAGE: u32 = 0x1000;

/// Offsets in a window.
pub const SFT_STATUS: u32 = 0x010;
pub const MC_DB_LWRD: u32 = 0x200;
pub const MC_DB_HWRD: u32 = 0x204;
pub const EVQ_RPTR: u32 = 0x400;
pub const RX_DESC_UPD: u32 = 0x830;
pub const TX_DESC_UPD: u32 = 0xa10;
/// Third word of TX_DESC_UPD: the write index.
pub const TX_INDEX: u32 = 0xa18;

/// What an access does besides moving bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Plain,
    /// Upper half of the address of a command.
    McdiHigh,
    /// Lower half; the management controller starts.
    McdiLow,
    /// The driver has read events up to here.
    ReadPointer,
    /// Interrupt moderation.
    Timer,
    /// Receive descriptors were added.
    RxIndex,
    /// A descriptor on its way with its index.
    TxPush,
    /// Transmit descriptors were added (and see bug 35388).
    TxIndex,
}

const fn doorbell(name: &'static str, offset: u32, bits: u32, effect: Effect) -> Row<Effect> {
    Row::new(name, offset, Mode::Wo, effect).bits(bits)
}

const QUEUES: [Row<Effect>; 6] = [
    doorbell("EVQ_RPTR", EVQ_RPTR, 0xffff, Effect::ReadPointer),
    doorbell("EVQ_TMR", 0x420, 0x3fff_ffff, Effect::Timer),
    doorbell("RX_DESC_UPD", RX_DESC_UPD, 0xfff, Effect::RxIndex),
    doorbell("TX_DESC_UPD", TX_DESC_UPD, !0, Effect::TxPush).array(2, 4),
    doorbell("TX_DESC_UPD.INDEX", TX_INDEX, 0xfff, Effect::TxIndex),
    doorbell("TX_DESC_UPD.RSVD", 0xa1c, 0, Effect::Plain),
];

/// The first window.
pub const FIRST: &[Row<Effect>] = &[
    Row::new("BIU_HW_REV_ID", 0x000, Mode::Ro, Effect::Plain).reset(0xeb14_face),
    Row::new("BIU_MC_SFT_STATUS", SFT_STATUS, Mode::Ro, Effect::Plain),
    Row::new("BIU_INT_ISR", 0x090, Mode::Rc, Effect::Plain),
    doorbell("MC_DB_LWRD", MC_DB_LWRD, !0, Effect::McdiHigh),
    doorbell("MC_DB_HWRD", MC_DB_HWRD, !0, Effect::McdiLow),
    QUEUES[0],
    QUEUES[1],
    QUEUES[2],
    QUEUES[3],
    QUEUES[4],
    QUEUES[5],
];

/// All others.
pub const OTHER: &[Row<Effect>] = &QUEUES;
