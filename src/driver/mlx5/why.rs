//! What the port says of a link that does not come up, in words.

use super::hw::Hw;
use super::module::{memory, number, trouble};
use super::ports::{Register, paos, pplm, ptys, register};
use crate::driver::pluggable::{IDENTIFICATION, printable};
use crate::error::Result;

/// Why there is no link, as far as the port tells: "negotiates, FEC chosen by the
/// firmware, module Mellanox MCP2M00-A001 in place". Registers that are somebody else's
/// say nothing.
pub fn why_down(hw: &Hw) -> Result<Option<String>> {
    const ETHERNET: u64 = 4;
    let speeds = Register::new(register::PTYS, ptys::BYTES).with(ptys::PROTO_MASK, ETHERNET);
    let said = [
        Register::new(register::PAOS, paos::BYTES).read(hw)?.as_ref().and_then(state),
        speeds.read(hw)?.as_ref().map(negotiation),
        Register::new(register::PPLM, pplm::BYTES).read(hw)?.as_ref().map(fec),
        module(hw)?,
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    Ok((!said.is_empty()).then(|| said.join(", ")))
}

/// What keeps the port down, if it was told to be.
fn state(register: &Register) -> Option<String> {
    const DOWN: u64 = 2;
    (register.get(paos::ADMIN_STATUS) == DOWN).then(|| "the port is switched off".into())
}

fn negotiation(register: &Register) -> String {
    let fixed = register.get(ptys::AN_DISABLE_ADMIN) == 1;
    if fixed { "does not negotiate".into() } else { "negotiates".into() }
}

/// Forward error correction, which both ends must agree on.
fn fec(register: &Register) -> String {
    match register.get(pplm::FEC_OVERRIDE_ADMIN) {
        0 => "FEC chosen by the firmware".into(),
        _ => "FEC set by hand".into(),
    }
}

/// What is in the cage, and whether it answers.
fn module(hw: &Hw) -> Result<Option<String>> {
    const SFP: u8 = 0x03;
    let Some(number) = number(hw)? else { return Ok(None) };
    let text = |at| -> Result<Option<String>> {
        Ok(memory(hw, number, IDENTIFICATION, at, 16)?.and_then(std::result::Result::ok).map(|bytes| printable(&bytes)))
    };
    let kind = match memory(hw, number, IDENTIFICATION, 0, 1)? {
        None => return Ok(None),
        Some(Err(status)) => return Ok(Some(trouble(status))),
        Some(Ok(bytes)) => bytes.first().copied(),
    };
    // Vendor and part number: SFF-8472, or SFF-8636 and CMIS in page 0.
    let places = if kind == Some(SFP) { [20, 40] } else { [148, 168] };
    let mut words = vec!["module".to_string()];
    for place in places {
        words.extend(text(place)?.filter(|name| !name.is_empty()));
    }
    words.push("in place".into());
    Ok(Some(words.join(" ")))
}
