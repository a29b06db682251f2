//! The list of capabilities in configuration space (PCI 3.0 §6.7).
//!
//! ```text
//!   0x34 -> [ id | next | ... ] -> [ id | next | ... ] -> 0
//! ```

use super::Function;
use crate::error::Result;

/// Status register: bit 4 says that there is a list.
const STATUS: u16 = 0x06;
const LISTED: u32 = 1 << 4;
/// Where the list begins.
const FIRST: u16 = 0x34;
/// As many as fit: a longer list is a loop.
const MOST: usize = 48;

/// Where the list of extended ones begins (PCIe 3.0 §7.9.1).
const EXTENDED: u16 = 0x100;
/// As many of these as fit.
const MOST_EXTENDED: usize = (4096 - EXTENDED as usize) / 8;

/// Offsets of all capabilities with this id, in their order.
///
/// # Errors
/// Those of [`Function::config_read`].
pub fn capabilities(function: &dyn Function, id: u8) -> Result<Vec<u16>> {
    Ok(listed(function)?.into_iter().filter(|(_, of)| *of == id).map(|(at, _)| at).collect())
}

/// Offset and id of every capability, in their order.
///
/// # Errors
/// Those of [`Function::config_read`].
pub fn listed(function: &dyn Function) -> Result<Vec<(u16, u8)>> {
    // The lowest two bits of a pointer mean nothing.
    let next = |at| -> Result<u16> { Ok((function.config_read(at, 1)? & 0xfc) as u16) };
    let listed = function.config_read(STATUS, 2)? & LISTED != 0;
    let mut at = if listed { next(FIRST)? } else { 0 };
    let mut found = Vec::new();
    for _ in 0..MOST {
        if at == 0 {
            break;
        }
        found.push((at, function.config_read(at, 1)? as u8));
        at = next(at + 1)?;
    }
    Ok(found)
}

/// Offset and id of every extended capability, in their order: none where configuration
/// space ends before them.
///
/// # Errors
/// Those of [`Function::config_read`], but for the first.
pub fn extended(function: &dyn Function) -> Result<Vec<(u16, u16)>> {
    let mut found = Vec::new();
    let mut at = EXTENDED;
    while at >= EXTENDED && found.len() < MOST_EXTENDED {
        let header = match function.config_read(at, 4) {
            Err(_) if found.is_empty() => break,
            header => header?,
        };
        if header == 0 || header == u32::MAX {
            break;
        }
        found.push((at, header as u16));
        at = (header >> 20) as u16 & 0xffc;
    }
    Ok(found)
}
