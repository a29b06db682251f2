//! Registers of BAR 0, the ones this driver uses.
//!
//! ```text
//!   0x000   a request, up to as long as the firmware says
//!   0x100   a store here has it read
//!   0x400   which 4 KiB of the chip's inner bus (GRC) window n shows
//!   0x520   state of the firmware, BCM575xx
//!   n << 12 window n
//! ```
//!
//! Everything else is asked of the firmware in commands; doorbells are in BAR 2.

use crate::driver::regs::{bits, registers};

registers! {
    HWRM_REQUEST = 0x000,         "A request, or where in memory it lies.";
    HWRM_TRIGGER = 0x100,         "A request is there.";
    GRC_BASE[15] = 0x400 + 0x004, "Base of windows 1 to 15, less one.";
    FW_STATUS    = 0x520,         "State of the firmware.";
}

bits! {
    /// State of the firmware, wherever its register is.
    fw_status {
        CODE       = 0xffff,     "Stage: below HEALTHY it starts, above it has failed.";
        HEALTHY    = 0x8000,     "It runs.";
        SHUTDOWN   = 0x10_0000,  "It was stopped.";
        CRASHED    = 0x20_0000,  "It has crashed, and nobody recovers it.";
        RECOVERING = 0x40_0000,  "It is being recovered.";
    }
}

/// Bytes of BAR 0 that are needed: up to window 6.
pub const BAR0_BYTES: u64 = 0x7000;

/// Window for the state of the firmware, as in other drivers.
pub const STATUS_WINDOW: u16 = 3;

/// Window for the clock, as in other drivers.
pub const CLOCK_WINDOW: u16 = 6;

/// Where the inner bus says where the state of the firmware is.
pub const STATUS_PLACE: u32 = 0x0310_01f0;

/// What is there, under a mask that leaves out its version.
pub const STATUS_SIGNATURE: (u32, u32) = (0x4843_5300, 0xffff_ff00);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_registers_share_an_offset() {
        crate::driver::regs::assert_apart(TABLE, BAR0_BYTES);
    }
}
