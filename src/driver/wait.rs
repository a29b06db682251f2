//! Bounded waits for a register.

use crate::error::{Error, Kind, Remedy, Result};
use std::fmt;
use std::time::{Duration, Instant};

/// Polls `read` until `done` likes what it reads, at most `patience` long.
///
/// The first polls are back to back; after 100 us it sleeps 20 us between
/// them, after a second 1 ms. On time-out the error names the device, what was waited for, the
/// register and what it last held; all-ones is reported as a card that is gone.
pub fn wait_until(
    device: impl fmt::Display,
    what: &str,
    register: &str,
    patience: Duration,
    mut read: impl FnMut() -> u32,
    done: impl Fn(u32) -> bool,
) -> Result<u32> {
    let start = Instant::now();
    loop {
        // The clock is read first: a thread that slept through its deadline
        // still looks once more before it gives up.
        let elapsed = start.elapsed();
        let value = read();
        if done(value) && value != u32::MAX {
            return Ok(value);
        }
        if elapsed >= patience {
            return Err(if value == u32::MAX {
                gone(device, register)
            } else {
                let waited = patience.as_millis();
                let text = format!("{device}: {what} did not finish in {waited} ms ({register} = {value:#010x})");
                Error::new(Kind::Timeout, text).with_remedy(Remedy::Reset)
            });
        }
        match elapsed.as_micros() {
            0..=100 => std::hint::spin_loop(),
            101..1_000_000 => std::thread::sleep(Duration::from_micros(20)),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The error for a card whose registers read as all ones.
pub fn gone(device: impl fmt::Display, register: &str) -> Error {
    Error::new(
        Kind::Gone,
        format!(
            "{device}: the card does not answer ({register} reads all ones); it was removed, lost power, or its memory space is off"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_register_agrees() {
        let mut value = 0;
        let read = || {
            value += 1;
            value
        };
        assert_eq!(wait_until("x", "y", "Z", Duration::from_secs(1), read, |v| v == 5).unwrap(), 5);
    }

    #[test]
    fn a_wait_that_never_ends_names_the_register_and_what_it_held() {
        let error = wait_until("0000:01:00.0", "reset", "CTRL", Duration::from_millis(1), || 0x0400_0000, |v| v == 0);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().starts_with("0000:01:00.0: reset did not finish in 1 ms (CTRL = 0x04000000)"));
    }

    #[test]
    fn all_ones_is_a_card_that_is_gone_even_if_the_bit_is_set() {
        let wait = |done: fn(u32) -> bool| wait_until("x", "y", "Z", Duration::ZERO, || u32::MAX, done);
        assert_eq!(wait(|v| v & 1 != 0).unwrap_err().kind(), Kind::Gone);
        assert_eq!(wait(|v| v == 0).unwrap_err().kind(), Kind::Gone);
    }
}
