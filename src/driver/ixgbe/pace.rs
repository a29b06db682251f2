//! Rates of transmit queues, which the card keeps (82599 §7.7.2.2).
//!
//! A queue's next packet begins no sooner after its last one than that one's length with FCS
//! times the rate factor, in times of a byte on the link. The factor has 10 bits and 14 more
//! behind the point: of the rates from the link's down to a 1023th of it the worst is off by
//! 31 ppm, and the gap of packets of one length is the same each time.

use super::hw::Hw;
use super::link;
use super::regs;
use crate::error::{Kind, Result};

/// Bits of the factor behind its point, and all.
const PARTS: u32 = 14;
const FACTOR_BITS: u32 = 24;
/// RTTBCNRC: on.
const ON: u32 = 1 << 31;

/// Has a queue send no faster than `bits` a second of frames with FCS, or as fast as the link.
///
/// # Errors
/// [`Kind::Usage`] for a rate that is not below the link's, or further below it than the factor
/// has bits for; what asking for the link meets.
pub fn set_rate(hw: &Hw, queue: u16, bits: Option<u64>) -> Result<()> {
    let Some(bits) = bits else {
        write_rate(hw, queue, 0);
        return Ok(());
    };
    let speed = link::state(hw)?.speed;
    if speed == 0 {
        return Err(hw.error(Kind::Timeout, "a rate is a part of the link's, and there is no link"));
    }
    let Some(factor) = factor(speed, bits) else {
        let text = format!(
            "a queue of it has a rate from {} to {} bits a second on this link, frames with FCS counted; {bits} were asked for",
            (speed >> (FACTOR_BITS - PARTS)) + 1,
            speed - 1
        );
        return Err(hw.error(Kind::Usage, text));
    };
    // Nothing is made up for in bursts: a gap is never shorter than was asked for.
    hw.write(regs::RTTBCNRM, 0);
    write_rate(hw, queue, ON | factor);
    Ok(())
}

/// The nearest factor to have `bits` a second of a link of `speed`, if there is one.
fn factor(speed: u64, bits: u64) -> Option<u32> {
    let factor = ((u128::from(speed) << PARTS) + u128::from(bits / 2)).checked_div(bits.into())?;
    (1 << PARTS..1 << FACTOR_BITS).contains(&factor).then_some(factor as u32).filter(|_| bits < speed)
}

/// Tells the card of a queue's rate; 0 is none.
pub fn write_rate(hw: &Hw, queue: u16, rate: u32) {
    hw.write(regs::RTTDQSEL, u32::from(queue));
    hw.write(regs::RTTBCNRC, rate);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_that_of_the_link_to_the_rate_and_the_nearest_there_is() {
        const LINK: u64 = 10_000_000_000;
        assert_eq!(factor(LINK, LINK / 2), Some(2 << 14));
        assert_eq!(factor(LINK, 512_000_000), Some(19 << 14 | 8_704), "64 bytes a microsecond");
        for bits in [LINK, LINK + 1, u64::MAX, 0, 1, LINK >> 10] {
            assert_eq!(factor(LINK, bits), None, "{bits}");
        }
        for bits in [LINK - 1, LINK / 1_023, 123_456_789, 7_777_777_777] {
            let kept = LINK as f64 * f64::from(1 << PARTS) / f64::from(factor(LINK, bits).unwrap());
            assert!((kept / bits as f64 - 1.0).abs() <= 31e-6, "{bits}: {kept}");
        }
    }
}
