//! The module in the cage, whose memory the port's registers show (Linux port.c,
//! mlx5_query_module_eeprom).

use super::hw::Hw;
use super::ports::{Register, mcia, pmlp, register};
use crate::driver::ops::Said;
use crate::driver::pluggable::{self, Pluggable};
use crate::error::Result;

/// Asks what is in the cage.
///
/// # Errors
/// As [`pluggable::read`].
pub fn look(hw: &Hw) -> Result<Said<Pluggable>> {
    let Some(number) = number(hw)? else {
        return Ok(Said::Nothing("this function may not know which cage is its port's".into()));
    };
    pluggable::read(|slave, at, bytes| {
        Ok(match memory(hw, number, slave, at, bytes.len())? {
            None => Said::Nothing("this function may not read its module".into()),
            Some(Err(status)) => Said::Nothing(trouble(status)),
            Some(Ok(found)) => {
                bytes.copy_from_slice(&found);
                Said::This(())
            }
        })
    })
}

/// Which cage the port's first lane goes to, if this function may know.
pub fn number(hw: &Hw) -> Result<Option<u64>> {
    let lanes = Register::new(register::PMLP, pmlp::BYTES).read(hw)?;
    Ok(lanes.map(|lanes| lanes.get(pmlp::MODULE)))
}

/// `len` bytes of a module's memory from `at` on, or the status of its bus, which comes
/// inside of a register that was read; `None` if this function may not.
pub fn memory(
    hw: &Hw,
    number: u64,
    slave: u8,
    at: u8,
    len: usize,
) -> Result<Option<std::result::Result<Vec<u8>, u64>>> {
    const HEAD: usize = 0x10;
    let asked = Register::new(register::MCIA, mcia::BYTES)
        .with(mcia::MODULE, number)
        // Without the bit for the direction.
        .with(mcia::I2C_DEVICE_ADDRESS, u64::from(slave >> 1))
        .with(mcia::DEVICE_ADDRESS, at.into())
        .with(mcia::SIZE, len as u64)
        // Firmware may fill all of it, and serial numbers are behind what is asked for.
        .with_shown(HEAD + len);
    Ok(asked.read(hw)?.map(|register| match register.get(mcia::STATUS) {
        0 => Ok(register.bytes(HEAD, len).to_vec()),
        status => Err(status),
    }))
}

/// The words for a status of the module's bus.
pub fn trouble(status: u64) -> String {
    match status {
        1 => "the module's memory does not answer".into(),
        2 => "the module is of a kind that the card does not support".into(),
        3 => "no module".into(),
        9 => "the module's bus is stuck".into(),
        16 => "the module is switched off".into(),
        other => format!("the module's memory cannot be read (status {other})"),
    }
}
