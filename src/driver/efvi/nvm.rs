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
/// [`Kind::Device`] if a part is damaged or its test ends as none does, and what asking the firmware meets.
pub fn look(hw: &Hw) -> Result<Said<String>> {
    let refused = |command: Command, code| Said::Nothing(command.refused_with(refusal::name(code), code));
    let parts = match hw.try_ask(Request::new(nvram_partitions::COMMAND))? {
        Ok(reply) => reply,
        Err(code) => return Ok(refused(nvram_partitions::COMMAND, code)),
    };
    let count = parts.get(nvram_partitions::output::NUM_PARTITIONS) as usize;
    let (parts, _) = parts.bytes(nvram_partitions::output::TYPE_ID).as_chunks();
    let parts = parts.iter().take(count).map(|bytes| u32::from_le_bytes(*bytes));
    let test = |part: u32| {
        let request = Request::new(nvram_test::COMMAND).with(nvram_test::input::TYPE, part.into());
        let tested = hw.try_ask(request)?.map(|reply| reply.get(nvram_test::output::RESULT));
        Ok((part, tested.map_err(|code| nvram_test::COMMAND.refused_with(refusal::name(code), code))))
    };
    let tested = parts.filter(|part| !UNTESTED.contains(part)).map(test).collect::<Result<Vec<_>>>()?;
    judged(&tested).map_err(|text| hw.error(Kind::Device, text))
}

/// A part, and the result of its test or why that was refused.
type Tested = (u32, std::result::Result<u64, String>);

/// What there is to say of all parts; fails with what is wrong with one.
fn judged(parts: &[Tested]) -> std::result::Result<Said<String>, String> {
    const PASS: u64 = 0;
    const FAIL: u64 = 1;
    /// Nothing would tell.
    const NOT_SUPPORTED: u64 = 2;
    let (mut right, mut refused) = (0, None);
    for (part, tested) in parts {
        match tested {
            Ok(PASS) => right += 1,
            Ok(NOT_SUPPORTED) => {}
            Ok(FAIL) => {
                return Err(format!(
                    "part {part:#x} of its non-volatile memory is damaged (NVRAM_TEST); write it anew with the maker's utility (sfupdate)"
                ));
            }
            // What the question had there.
            Ok(untouched) if *untouched == u64::from(*part) => {
                refused.get_or_insert("NVRAM_TEST: answered with nothing".into());
            }
            Ok(other) => {
                return Err(format!(
                    "part {part:#x} of its non-volatile memory: NVRAM_TEST answers with {other}, which this driver does not know"
                ));
            }
            Err(why) => {
                refused.get_or_insert(why.clone());
            }
        }
    }
    Ok(match (right, refused) {
        (0, Some(why)) => Said::Nothing(why),
        (0, None) => Said::Nothing("its firmware names no part of it that could be tested".into()),
        _ => Said::This(format!("{right} of {} parts tested by its firmware, all right", parts.len())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of parts that were tested with these results.
    fn told(results: &[std::result::Result<u64, &str>]) -> String {
        let parts: Vec<Tested> = (0x100..).zip(results.iter().map(|result| result.map_err(str::to_string))).collect();
        match judged(&parts) {
            Ok(Said::This(this)) => this,
            Ok(Said::Nothing(why)) => format!("nothing: {why}"),
            Err(text) => format!("failed: {text}"),
        }
    }

    #[test]
    fn a_part_that_is_not_tested_hides_none_that_is_damaged() {
        assert_eq!(told(&[Ok(0), Err("denied"), Ok(2), Ok(0)]), "2 of 4 parts tested by its firmware, all right");
        for hidden in [&[Err("denied"), Ok(1)][..], &[Ok(2), Ok(1)], &[Ok(0), Ok(1), Err("denied")]] {
            assert!(told(hidden).starts_with("failed: part 0x101 of its non-volatile memory is damaged"), "{hidden:?}");
        }
        assert_eq!(told(&[Err("denied"), Ok(2), Err("busy")]), "nothing: denied");
        assert_eq!(told(&[Ok(0x100), Ok(0x101)]), "nothing: NVRAM_TEST: answered with nothing");
        assert_eq!(told(&[Ok(2)]), "nothing: its firmware names no part of it that could be tested");
    }

    #[test]
    fn a_result_that_nobody_knows_is_not_taken_for_a_right_one() {
        assert!(told(&[Ok(0), Ok(7)]).starts_with("failed: part 0x101 of its non-volatile memory: "));
    }
}
