//! Whether a card is alive: looked at inside each wait, and whenever the control
//! plane is asked something.
//!
//! ```text
//!   sensors   registers that read all ones, a function that was taken away or was
//!             reset, a syndrome that the function has to be reset for
//!   counter   goes on while the firmware runs
//! ```
//!
//! A sensor ends everything: no command is given any more. A counter that stands
//! still proves nothing by itself, and is named where a command was not answered.

use super::codes;
use super::regs::{self, Segment, cmdq, counter, health};
use std::fmt;

/// How a card is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// Its registers read all ones.
    Gone,
    /// The function is not to be used: 1, it was taken away; 7, the chip is reset.
    Disabled(u8),
    /// The firmware says what it died of.
    Failed(u8),
    /// It does not know where commands are any more.
    Forgetful,
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dead::Gone => f.write_str("the card does not answer"),
            Dead::Disabled(7) => f.write_str("the whole card is being reset, by another function or host"),
            Dead::Disabled(state) => write!(f, "the function was disabled (nic_interface {state})"),
            Dead::Forgetful => f.write_str("the function was reset by somebody else, and with it all queues are gone"),
            Dead::Failed(syndrome) => write!(f, "{} (syndrome {syndrome:#x})", codes::health(*syndrome)),
        }
    }
}

/// What the sensors of a card say; `None`: it lives. `told`: where it was told that
/// commands are, if it says that itself.
pub fn sense(segment: &Segment, told: Option<u32>) -> Option<Dead> {
    let place = segment.read(regs::CMDQ_ADDR_LOW);
    let version = segment.read(regs::FW_VERSION);
    if place == u32::MAX || version == u32::MAX {
        return Some(Dead::Gone);
    }
    let interface = ((place & cmdq::NIC_INTERFACE) >> 8) as u8;
    if matches!(interface, 1 | 7) {
        return Some(Dead::Disabled(interface));
    }
    if told.is_some_and(|told| place & cmdq::ADDRESS != told) {
        return Some(Dead::Forgetful);
    }
    let syndrome = (segment.read(regs::HEALTH_SYNDROME) >> 16) as u8;
    let fatal = segment.read(regs::HEALTH_FLAGS) & health::RECOVERY != 0;
    (fatal && syndrome != 0).then_some(Dead::Failed(syndrome))
}

/// How far the firmware has counted.
pub fn count(segment: &Segment) -> u32 {
    segment.read(regs::HEALTH_COUNTER) & counter::COUNT
}
