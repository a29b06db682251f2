//! The module in the cage, whose memory the firmware reads by pages (Linux mcdi_port_common.c,
//! efx_mcdi_phy_get_module_eeprom).

use super::cmd::{get_phy_cfg, get_phy_media_info, refusal};
use super::hw::Hw;
use crate::driver::mailbox::Request;
use crate::driver::ops::Said;
use crate::driver::pluggable::{self, DIAGNOSTICS, PAGED, Pluggable};
use crate::error::Result;

/// Kinds of medium.
const SFP_PLUS: u64 = 5;
const QSFP_PLUS: u64 = 7;

/// Bytes of a page that a trace shows: serial numbers are behind them, whatever the module.
const SHOWN: usize = 32;

/// Asks what is in the cage.
///
/// # Errors
/// As [`pluggable::read`].
pub fn look(hw: &Hw) -> Result<Said<Pluggable>> {
    let phy = match hw.try_ask(Request::new(get_phy_cfg::COMMAND))? {
        Ok(phy) => phy,
        Err(code) => {
            let refused = get_phy_cfg::COMMAND.refused_with(refusal::name(code), code);
            return Ok(Said::Nothing(format!("what is in its cage is not told: {refused}")));
        }
    };
    let medium = phy.get(get_phy_cfg::output::MEDIA_TYPE);
    if ![SFP_PLUS, QSFP_PLUS].contains(&medium) {
        return Ok(Said::Nothing(format!("it has no cage (its medium is {medium})")));
    }
    pluggable::read(|slave, at, bytes| {
        if medium == QSFP_PLUS && slave == DIAGNOSTICS {
            return Ok(Said::Nothing(pluggable::NO_DIAGNOSTICS.into()));
        }
        let lower = u64::from(u32::MAX);
        let page = match (medium, slave, at) {
            (QSFP_PLUS, _, ..PAGED) => lower,
            (SFP_PLUS, DIAGNOSTICS, _) => 2,
            _ => 0,
        };
        page_of(hw, page, usize::from(at % PAGED), bytes)
    })
}

/// Reads a part of a page.
fn page_of(hw: &Hw, page: u64, at: usize, bytes: &mut [u8]) -> Result<Said<()>> {
    use get_phy_media_info::{COMMAND, input, output};
    let request = Request::new(COMMAND).with(input::PAGE, page);
    let reply = match hw.try_ask(request.with_answer_shown(output::DATA.offset + SHOWN))? {
        Ok(reply) => reply,
        Err(code) => {
            let refused = COMMAND.refused_with(refusal::name(code), code);
            return Ok(Said::Nothing(format!("no module, or it does not answer: {refused}")));
        }
    };
    match reply.bytes(output::DATA).get(at..at + bytes.len()) {
        Some(found) => bytes.copy_from_slice(found),
        None => return Ok(Said::Nothing(format!("its module's page {page} ends before byte {}", at + bytes.len()))),
    }
    Ok(Said::This(()))
}
