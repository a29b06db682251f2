//! Registers of the clock that tells the time of day, and the register that says that
//! they are there.

use super::super::Mlx5;
use super::super::caps::{MCAM_REG, TS_FORMATS};
use super::super::plane::Status;
use super::ports::Access;

/// The number of the register, of those that MCAM tells of.
const MTUTC: u32 = 0x55;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// MCAM: of the management registers, the clock's is there.
pub fn known(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    if card.caps.get(MCAM_REG) == 0 {
        return Err(Status::BAD_PARAMETER);
    }
    let group = access.get(0x00, 7, 0);
    if group == 0 {
        access.set(0x14 - 4 * (MTUTC / 32) as usize, MTUTC % 32, MTUTC % 32, 1);
    }
    Ok(())
}

/// MTUTC: sets the clock, moves it, or makes it run faster.
pub fn adjust(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    const SET: u32 = 1;
    const MOVE: u32 = 2;
    const TUNE: u32 = 3;
    let now = card.board.now;
    if card.caps.get(TS_FORMATS) == 0 {
        return Err(Status::BAD_PARAMETER);
    }
    if access.write {
        let clock = &mut card.plane.clock;
        match access.get(0x00, 3, 0) {
            SET => {
                let (seconds, rest) = (access.get(0x10, 31, 0), access.get(0x14, 29, 0));
                clock.set(u64::from(seconds) * SECOND as u64 + u64::from(rest), now);
            }
            MOVE => {
                let by = access.get(0x18, 31, 0) as i32;
                clock.set(clock.time(now).wrapping_add_signed(by.into()), now);
            }
            TUNE => clock.tune(access.get(0x04, 31, 0) as i32, now),
            _ => return Err(Status::BAD_PARAMETER),
        }
    }
    let time = card.plane.clock.real(now);
    access.set(0x10, 31, 0, (time >> 32) as u32);
    access.set(0x14, 29, 0, time as u32);
    Ok(())
}
