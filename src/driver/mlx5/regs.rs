//! Registers of BAR 0, the ones this driver uses: the initialization segment.
//!
//! ```text
//!   0x00000   which firmware, where the command queue is and how long, its doorbell
//!   0x001fc   whether the firmware starts
//!   0x00200   health: what it died of
//!   0x01000   the clock that stamps completions
//!   n << 12   page of doorbells n, with pages of 4 KiB
//! ```
//!
//! All numbers have their highest byte first.

use crate::driver::regs::{Reg, bits, registers};
use crate::pci::Bar;

registers! {
    FW_REV           = 0x0000, "Version of the firmware: minor, major.";
    CMDIF_REV        = 0x0004, "Version of the command interface, and of the firmware: subminor.";
    CMDQ_ADDR_HIGH   = 0x0010, "Address of the command queue, upper half; to be written first.";
    CMDQ_ADDR_LOW    = 0x0014, "The lower half, who may use the function, and the queue's length.";
    CMDQ_DOORBELL    = 0x0018, "A bit for each entry of the command queue that is the card's.";
    INITIALIZING     = 0x01fc, "Whether the firmware starts.";
    FW_VERSION       = 0x0230, "Version of the firmware, in the health buffer.";
    HEALTH_FLAGS     = 0x0238, "How bad it is.";
    HEALTH_SYNDROME  = 0x023c, "What it is.";
    CMD_EXEC_TO      = 0x0ff8, "How long a command may take.";
    INTERNAL_TIMER_H = 0x1000, "The free-running clock, upper half.";
    INTERNAL_TIMER_L = 0x1004, "The lower half.";
    HEALTH_COUNTER   = 0x1010, "Goes on while the firmware runs.";
    REAL_TIME_H      = 0x1040, "The clock of the day, seconds.";
    REAL_TIME_L      = 0x1044, "Nanoseconds.";
}

bits! {
    /// Address of the command queue.
    cmdq {
        ADDRESS       = 0xffff_f000, "The lower half of its address.";
        NIC_INTERFACE = 0x700, "Who may use the function.";
        LOG_SIZE      = 0x0f0, "log2 of the entries.";
        LOG_STRIDE    = 0x00f, "log2 of the bytes from one to the next.";
    }
    /// Whether the firmware starts.
    initializing {
        BUSY = 1 << 31, "It does.";
    }
    /// How bad it is.
    health {
        RECOVERY = 1 << 31, "The function is to be reset, and recovers.";
    }
    /// Health, as it is polled.
    counter {
        COUNT = 0x00ff_ffff, "Goes on while the firmware runs.";
    }
}

/// Bytes of BAR 0 that are needed: up to the first page of doorbells.
pub const BAR0_BYTES: u64 = 0x1_1000;

/// The initialization segment of a card.
#[derive(Clone, Debug)]
pub struct Segment(Bar);

impl Segment {
    /// Of a BAR that was found large enough.
    pub fn new(bar: Bar) -> Segment {
        Segment(bar)
    }

    /// Reads a register.
    pub fn read(&self, reg: Reg) -> u32 {
        u32::from_be(self.0.read32(u64::from(reg.offset)))
    }

    /// Writes a register.
    pub fn write(&self, reg: Reg, value: u32) {
        self.0.write32(u64::from(reg.offset), value.to_be());
    }

    /// The BAR that it is in.
    pub fn bar(&self) -> &Bar {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_registers_share_an_offset() {
        crate::driver::regs::assert_apart(TABLE, BAR0_BYTES);
    }
}
