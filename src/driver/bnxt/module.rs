//! The module in the cage, whose memory the firmware reads (Linux bnxt_ethtool.c,
//! bnxt_get_module_info, bnxt_read_sfp_module_eeprom_info).

use super::cmd::{port_phy_i2c_read, port_phy_qcfg};
use super::codes::refusal;
use super::hw::Hw;
use super::{link, phy};
use crate::driver::mailbox::Request;
use crate::driver::ops::Said;
use crate::driver::pluggable::{self, Pluggable};
use crate::error::{Kind, Result};

/// Asks what is in the cage.
///
/// # Errors
/// As [`pluggable::read`].
pub fn look(hw: &Hw) -> Result<Said<Pluggable>> {
    /// The last status of a module that has power: it is not approved.
    const POWERED: u64 = 2;
    const NO_CAGE: u64 = 0xff;
    let state = link::ask(hw)?;
    match state.get(port_phy_qcfg::output::MODULE_STATUS) {
        ..=POWERED => {}
        NO_CAGE => return Ok(Said::Nothing("it has no cage: its port is for twisted pair".into())),
        other => {
            let why = phy::module(&state).unwrap_or_else(|| format!("its module cannot be read (status {other})"));
            return Ok(Said::Nothing(why));
        }
    }
    pluggable::read(|slave, at, bytes| memory(hw, slave, at, bytes))
}

/// Reads a part of its memory.
fn memory(hw: &Hw, slave: u8, at: u8, bytes: &mut [u8]) -> Result<Said<()>> {
    use port_phy_i2c_read::{COMMAND, input, output};
    const WITH_OFFSET: u64 = 1;
    let request = Request::new(COMMAND)
        .with(input::ENABLES, WITH_OFFSET)
        .with(input::PORT_ID, u64::from(hw.caps.port))
        .with(input::I2C_SLAVE_ADDR, slave.into())
        .with(input::PAGE_OFFSET, at.into())
        .with(input::DATA_LENGTH, bytes.len() as u64)
        // Firmware may fill all of the field, and serial numbers are behind what is asked for.
        .with_answer_shown(output::DATA.offset + bytes.len());
    let reply = match hw.try_ask(&request) {
        Err(error) if error.kind() == Kind::Unsupported => return Ok(Said::Nothing(error.to_string())),
        outcome => outcome?,
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(code) => {
            let refused = COMMAND.refused_with(refusal::name(code), code);
            return Ok(Said::Nothing(format!("its module does not answer: {refused}")));
        }
    };
    match reply.bytes(output::DATA).get(..bytes.len()) {
        Some(found) => bytes.copy_from_slice(found),
        None => return Ok(Said::Nothing("its firmware answers with less of its module than was asked for".into())),
    }
    Ok(Said::This(()))
}
