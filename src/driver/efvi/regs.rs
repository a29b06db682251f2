//! Registers of the EF10 family, the ones this driver uses.
//!
//! The memory BAR is an array of windows, one a virtual interface (VI), as far
//! apart as the firmware says. Offsets are within a window; those of the
//! management controller are there in window 0 only.
//!
//! ```text
//!   window + 0x0000   registers
//!          + 0x1000   packet memory that is linked to the queue (PIO)
//!          + 0x3000   the transmitter itself (CTPIO), X2 with windows of 16 KiB
//! ```

use crate::driver::regs::{bits, registers};

registers! {
    BIU_MC_SFT_STATUS = 0x010,  "State of the management controller, and how often it has started.";
    MC_DB_LWRD        = 0x200,  "Upper half of the address of a question, written first.";
    MC_DB_HWRD        = 0x204,  "Lower half: asks it.";
    EVQ_RPTR          = 0x400,  "Events read, and: interrupt when there are more.";
    RX_DESC_UPD       = 0x830,  "Receive descriptors given, in steps of 8.";
    TX_DESC_PUSH      = 0xa10,  "Transmit descriptor that goes with the index: 16 bytes with it.";
    TX_DESC_UPD       = 0xa18,  "Transmit descriptors given.";
    PIO               = 0x1000, "Packet memory.";
    CTPIO             = 0x3000, "The transmitter.";
}

bits! {
    /// BIU_MC_SFT_STATUS.
    sft_status {
        RUNS = 0xb007, "The upper half, while the controller runs.";
    }
    /// EVQ_RPTR written through TX_DESC_UPD, in two pieces, where the silicon
    /// may lose a write to the register itself (bug 35388).
    indirect {
        RPTR_HIGH = 0x800, "With bits 14:8.";
        RPTR_LOW  = 0x900, "With bits 7:0: takes effect.";
    }
}

/// To MC_DB_HWRD: whatever was asked is not wanted any more.
pub const MC_DB_CANCEL: u32 = 1;

/// Bytes of packet memory or transmitter in a window.
pub const APERTURE: usize = 4096;

/// Bytes of a wide doorbell.
pub const PUSH: usize = 16;

/// Shortest distance of two windows.
pub const MIN_STRIDE: u64 = 0x2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_registers_share_an_offset() {
        crate::driver::regs::assert_apart(TABLE, 2 * MIN_STRIDE);
    }
}
