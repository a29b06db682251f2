//! What the port says of a link that does not come up, in words.

use super::hw::Hw;
use super::ports::{Register, mcia, paos, pmlp, pplm, ptys, register};
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
    let Some(lanes) = Register::new(register::PMLP, pmlp::BYTES).read(hw)? else { return Ok(None) };
    let number = lanes.get(pmlp::MODULE);
    let text = |at| -> Result<Option<String>> {
        Ok(memory(hw, number, at, 16)?.and_then(std::result::Result::ok).map(|bytes| printable(&bytes)))
    };
    let kind = match memory(hw, number, 0, 1)? {
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

/// `len` bytes of a module's memory from `at` on, or the status of its bus, which comes
/// inside of a register that was read.
fn memory(hw: &Hw, module: u64, at: u64, len: usize) -> Result<Option<std::result::Result<Vec<u8>, u64>>> {
    const MEMORY: u64 = 0x50;
    const HEAD: usize = 0x10;
    let asked = Register::new(register::MCIA, mcia::BYTES)
        .with(mcia::MODULE, module)
        .with(mcia::I2C_DEVICE_ADDRESS, MEMORY)
        .with(mcia::DEVICE_ADDRESS, at)
        .with(mcia::SIZE, len as u64);
    Ok(asked.read(hw)?.map(|register| match register.get(mcia::STATUS) {
        0 => Ok(register.bytes(HEAD, len).to_vec()),
        status => Err(status),
    }))
}

/// The words for a status of the module's bus.
fn trouble(status: u64) -> String {
    match status {
        1 => "the module's memory does not answer".into(),
        2 => "the module is of a kind that the card does not support".into(),
        3 => "no module".into(),
        9 => "the module's bus is stuck".into(),
        16 => "the module is switched off".into(),
        other => format!("the module's memory cannot be read (status {other})"),
    }
}

/// Bytes of a name, as far as they are text.
fn printable(bytes: &[u8]) -> String {
    let text: String =
        bytes.iter().filter(|byte| (b' '..=b'~').contains(*byte)).map(|byte| char::from(*byte)).collect();
    text.trim().into()
}
