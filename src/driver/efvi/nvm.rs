//! The non-volatile memory, which the firmware tests part by part (Linux mcdi.c,
//! efx_mcdi_nvram_test_all).

use super::cmd::{nvram_partitions, nvram_test, refusal};
use super::hw::Hw;
use crate::driver::mailbox::{Command, Request};
use crate::driver::ops::Said;
use crate::error::{Kind, Result};

/// Parts that cannot be tested: settings that change while the firmware runs, the map of all.
const UNTESTED: [u32; 2] = [0x500, 0xffff];

/// Has it tested.
///
/// # Errors
/// [`Kind::Device`] if a part is damaged, and what asking the firmware meets.
pub fn look(hw: &Hw) -> Result<Said<String>> {
    const PASS: u64 = 0;
    const FAIL: u64 = 1;
    let refused = |command: Command, code| Said::Nothing(command.refused_with(refusal::name(code), code));
    let parts = match hw.try_ask(Request::new(nvram_partitions::COMMAND))? {
        Ok(reply) => reply,
        Err(code) => return Ok(refused(nvram_partitions::COMMAND, code)),
    };
    let count = parts.get(nvram_partitions::output::NUM_PARTITIONS) as usize;
    let (parts, _) = parts.bytes(nvram_partitions::output::TYPE_ID).as_chunks();
    let parts = parts.iter().take(count).map(|bytes| u32::from_le_bytes(*bytes));
    let mut right = 0;
    for part in parts.filter(|part| !UNTESTED.contains(part)) {
        let request = Request::new(nvram_test::COMMAND).with(nvram_test::input::TYPE, part.into());
        match hw.try_ask(request)? {
            Ok(reply) => match reply.get(nvram_test::output::RESULT) {
                PASS => right += 1,
                FAIL => {
                    let text = format!(
                        "part {part:#x} of its non-volatile memory is damaged (NVRAM_TEST); write it anew with the maker's utility (sfupdate)"
                    );
                    return Err(hw.error(Kind::Device, text));
                }
                // It has nothing that would tell.
                _ => {}
            },
            Err(code) => return Ok(refused(nvram_test::COMMAND, code)),
        }
    }
    Ok(match right {
        0 => Said::Nothing("its firmware names no part of it that could be tested".into()),
        _ => Said::This(format!("{right} parts tested by its firmware, all right")),
    })
}
