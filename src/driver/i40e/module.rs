//! The module in the cage, whose memory the firmware reads a byte at a time (command 0629;
//! Linux i40e_get_module_info, i40e_get_module_eeprom).

use super::adminq::{AdminQueue, Buffer, Code, le32};
use super::link;
use crate::driver::ops::Said;
use crate::driver::pluggable::{self, DIAGNOSTICS, Pluggable};
use crate::error::Result;

/// Bytes of the PHY's report in which the module's kind is.
const KIND: usize = 20;

/// Asks what is in the cage.
///
/// # Errors
/// As [`pluggable::read`].
pub fn look(aq: &mut AdminQueue) -> Result<Said<Pluggable>> {
    const PAGED: [u8; 3] = [0x0c, 0x0d, 0x11];
    let report = aq.ask("the abilities of its PHY", 0x0600, &[], Buffer::Receive(link::REPORT))?;
    if let Some(why) = report.refusal(0x0600, Buffer::Receive(link::REPORT)) {
        return Ok(Said::Nothing(format!("its firmware does not tell what is in its cage ({why})")));
    }
    let kind = report.data.get(KIND).copied().unwrap_or(0);
    if kind == 0 {
        return Ok(Said::Nothing("no module, or no cage".into()));
    }
    pluggable::read(|slave, at, bytes| {
        // Of one with pages, the page stands in place of the address.
        let device = match PAGED.contains(&kind) {
            true if slave == DIAGNOSTICS => return Ok(Said::Nothing(pluggable::NO_DIAGNOSTICS.into())),
            true => 0,
            false => slave,
        };
        for (byte, at) in bytes.iter_mut().zip(u32::from(at)..) {
            match read(aq, device, at)? {
                Said::This(value) => *byte = value,
                Said::Nothing(why) => return Ok(Said::Nothing(why)),
            }
        }
        Ok(Said::This(()))
    })
}

/// A byte of its memory.
fn read(aq: &mut AdminQueue, device: u8, at: u32) -> Result<Said<u8>> {
    const EXTERNAL_MODULE: u8 = 2;
    const VALUE: usize = 8;
    let mut params = [0; 16];
    (params[0], params[1]) = (EXTERNAL_MODULE, device);
    params[4..8].copy_from_slice(&at.to_le_bytes());
    let answer = aq.ask("a byte of its module", 0x0629, &params, Buffer::None)?;
    if answer.code != Code::OK {
        let why = answer.why(0x0629);
        return Ok(Said::Nothing(format!("its firmware does not read its module ({why}); its NVM may be too old")));
    }
    Ok(Said::This(le32(&answer.params, VALUE) as u8))
}
