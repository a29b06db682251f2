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

use super::super::{Mode, Row, registers};
use super::Ef10;

/// Bytes of a window's registers, and of each buffer behind them.
pub const PAGE: usize = 0x1000;
/// Where the buffers are in a window.
pub const PIO: usize = 0x1000;
pub const CTPIO: usize = 0x3000;

/// A doorbell: which of its bits are defined.
const fn doorbell(at: u32, bits: u32) -> Row<Ef10> {
    Row::new(at, Mode::Wo).bits(bits)
}

registers! { Ef10;
    "ef10_regs.h" {
        BIU_HW_REV_ID = Row::new(0x000, Mode::Ro).reset(0xeb14_face);
        BIU_MC_SFT_STATUS = Row::new(0x010, Mode::Ro).array(8, 4);
        BIU_INT_ISR = Row::new(0x090, Mode::Rc);
        // Linux, asked for all registers, reads 16 bytes at each.
        BIU_HW_REV_ID_REST("BIU_HW_REV_ID+4") = Row::new(0x004, Mode::Ro).array(3, 4);
        MC_DB_REST("MC_DB+8") = Row::new(0x208, Mode::Ro).array(3, 4);
        // The management controller: upper half of a command's address, then the lower.
        MC_DB_LWRD = doorbell(0x200, !0).takes(|card, _, value| card.mcdi_high(value));
        MC_DB_HWRD = doorbell(0x204, !0).takes(|card, _, value| card.mcdi_low(value));
        // The window's event, receive and transmit queue. TX_DESC_UPD is a descriptor on
        // its way with its index.
        EVQ_RPTR = doorbell(0x400, 0xffff).takes(|card, vi, value| card.rptr_written(vi.n, value));
        EVQ_TMR = doorbell(0x420, 0x3fff_ffff);
        RX_DESC_UPD = doorbell(0x830, 0xfff).then(|card, vi, _| card.rx_written(vi.n));
        TX_DESC_UPD = doorbell(0xa10, !0).array(2, 4);
        TX_DESC_UPD_INDEX("TX_DESC_UPD.INDEX") = doorbell(0xa18, 0xfff).takes(|card, vi, value| card.tx_written(vi.n, value));
        TX_DESC_UPD_RSVD("TX_DESC_UPD.RSVD") = doorbell(0xa1c, 0);
    }
}

/// Those of all windows but the first.
pub const QUEUES: &[Row<Ef10>] = &[EVQ_RPTR, EVQ_TMR, RX_DESC_UPD, TX_DESC_UPD, TX_DESC_UPD_INDEX, TX_DESC_UPD_RSVD];
