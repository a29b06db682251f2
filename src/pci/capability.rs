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

/// Offsets of all capabilities with this id, in their order.
///
/// # Errors
/// Those of [`Function::config_read`].
pub fn capabilities(function: &dyn Function, id: u8) -> Result<Vec<u16>> {
    // The lowest two bits of a pointer mean nothing.
    let next = |at| -> Result<u16> { Ok((function.config_read(at, 1)? & 0xfc) as u16) };
    let listed = function.config_read(STATUS, 2)? & LISTED != 0;
    let mut at = if listed { next(FIRST)? } else { 0 };
    let mut found = Vec::new();
    for _ in 0..MOST {
        if at == 0 {
            break;
        }
        if function.config_read(at, 1)? == u32::from(id) {
            found.push(at);
        }
        at = next(at + 1)?;
    }
    Ok(found)
}
