//! The initialization segment at the beginning of BAR 0, as a table (mlx5_ifc.h
//! `initial_seg`, manual 5.4).
//!
//! ```text
//!   0x0000  firmware, command queue, doorbell of commands
//!   0x01fc  initializing     0x0200  health buffer
//!   0x1000  clock, health counter
//!   0x2000  MSI-X table      0x3000  pending bits
//!   0x10000 UAR pages
//! ```
//!
//! Words are big-endian on the bus; here they are numbers.

use super::super::{Mode, Row, registers};
use super::Mlx5;

/// Bytes of the registers; what is behind are UAR pages.
pub const SIZE: u32 = 0x1_0000;

registers! { Mlx5;
    "5.4" {
        FW_REV = Row::new(0x000, Mode::Ro).gives(|card: &mut Mlx5, _| card.revision());
        CMDIF_REV = Row::new(0x004, Mode::Ro).gives(|card: &mut Mlx5, _| card.interface_revision());
        CMDQ_HIGH = Row::new(0x010, Mode::Rw).bits(!0);
        // Size and stride are read-only, but drivers write back what they read.
        CMDQ_LOW = Row::new(0x014, Mode::Rw).bits(!0)
            .gives(|card: &mut Mlx5, _| card.queue_word())
            .takes(|card: &mut Mlx5, _, value| card.set_queue_word(value));
        COMMAND_DOORBELL = Row::new(0x018, Mode::Wo).bits(!0)
            .takes(|card: &mut Mlx5, _, value| card.ring_commands(value));
        INITIALIZING = Row::new(0x1fc, Mode::Ro).gives(|card: &mut Mlx5, _| card.initializing_word());
        HEALTH = Row::new(0x200, Mode::Ro).array(16, 4).gives(|card: &mut Mlx5, place| card.health_word(place.at));
        NODNIC_OFFSET = Row::new(0x240, Mode::Ro);
        CMD_EXEC_TO = Row::new(0xff8, Mode::Ro);
        CMDQ_INIT_TO = Row::new(0xffc, Mode::Ro);
        TIMER_H = Row::new(0x1000, Mode::Ro).gives(|card: &mut Mlx5, _| (card.ticks() >> 32) as u32);
        TIMER_L = Row::new(0x1004, Mode::Ro).gives(|card: &mut Mlx5, _| card.ticks() as u32);
        CLEAR_INT = Row::new(0x100c, Mode::Rw).bits(1);
        HEALTH_COUNTER = Row::new(0x1010, Mode::Ro).gives(|card: &mut Mlx5, _| card.health_counter());
        REAL_TIME_H = Row::new(0x1040, Mode::Ro).gives(|card: &mut Mlx5, _| (card.time_of_day() >> 32) as u32);
        REAL_TIME_L = Row::new(0x1044, Mode::Ro).gives(|card: &mut Mlx5, _| card.time_of_day() as u32);
    }
}
