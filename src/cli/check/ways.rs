//! What takes a set-up of its own: interrupts, long frames, and each way of a frame to the
//! card.

use super::bench::{Bench, bad};
use super::packets::exchange;
use super::port::{self, set_up};
use super::{Seen, frames};
use crate::driver::{Config, TxPath};
use crate::error::{Kind, Result};
use std::time::{Duration, Instant};

/// Frames without FCS, as long as networks with long frames have them.
const LONGEST: u16 = 9014;

/// Frames that take several buffers.
pub fn long(bench: &mut Bench) -> Result<Seen> {
    let config = Config { max_frame: LONGEST, ..port::config() };
    if let Err(skipped) = set_up(bench, &config)? {
        return Ok(skipped);
    }
    let most = bench.port()?.nic.describe().longest_sent.map_or(usize::from(LONGEST), usize::from);
    let ends = bench.addresses()?;
    // Around the ends of buffers, and between.
    let lengths = [1515, 2047, 2048, 2049, 3000, 4095, 4096, 4097, 6145, 8193, 9000, usize::from(LONGEST)];
    let lengths: Vec<usize> = lengths.into_iter().filter(|len| *len <= most).collect();
    let Some(longest) = lengths.last() else {
        return Ok(Seen::Skipped(format!("the network behind it takes {most} bytes")));
    };
    exchange(bench, lengths.len() as u32, |nth, number| frames::udp(ends, 0, number, lengths[nth as usize]))?;
    Ok(Seen::Good(format!("{} lengths, up to {longest}", lengths.len())))
}

/// The ways that the card has.
pub fn each(bench: &mut Bench) -> Result<Seen> {
    const FRAMES: usize = 8;
    let (mut have, mut have_not) = (Vec::new(), Vec::new());
    for tx_path in [TxPath::Dma, TxPath::Push, TxPath::Pio, TxPath::Ctpio { threshold: None }] {
        let config = Config { tx_path, ..port::config() };
        if let Err(skipped) = set_up(bench, &config)? {
            if bench.is_late() {
                // That is why, or there is no time for the others.
                return Ok(skipped);
            }
            have_not.push(tx_path.name());
            continue;
        }
        let ends = bench.addresses()?;
        // One at a time: behind another one a card may take a frame in another way.
        for more in 0..FRAMES {
            let sent = exchange(bench, 1, |_, number| frames::udp(ends, 0, number, 60 + more));
            sent.map_err(|error| error.of(tx_path))?;
        }
        have.push(tx_path.name());
    }
    let without = if have_not.is_empty() { String::new() } else { format!("; it has not {}", have_not.join(", ")) };
    Ok(Seen::Good(format!("{}{without}", have.join(", "))))
}

/// Each packet that is waited for wakes us.
pub fn interrupts(bench: &mut Bench) -> Result<Seen> {
    const TIMES: u32 = 1000;
    const PATIENCE: Duration = Duration::from_secs(1);
    const ENOUGH: Duration = Duration::from_secs(6);
    if bench.function()?.irq_vectors() == 0 {
        return Ok(Seen::Skipped("there are none, this way to the card".into()));
    }
    let config = Config { interrupts: true, ..port::config() };
    if let Err(skipped) = set_up(bench, &config)? {
        return Ok(skipped);
    }
    let ends = bench.addresses()?;
    let begun = Instant::now();
    for nth in 0..TIMES {
        if begun.elapsed() > ENOUGH {
            return Ok(Seen::Good(format!("{nth}: no more fit into {} s", ENOUGH.as_secs())));
        }
        let number = bench.number();
        bench.send(&frames::udp(ends, 0, number, 60))?;
        let patience = bench.patience();
        loop {
            match bench.receiver()?.rx[0].wait(PATIENCE) {
                Ok(true) => break,
                // An emulated card that had no time to work is no card that wakes nobody.
                Ok(false) if !bench.is_over(&patience) => {}
                Ok(false) => {
                    let text = format!("packet {} of {TIMES} woke nobody within {PATIENCE:?}", nth + 1);
                    return Err(bad(text));
                }
                Err(error) if error.kind() == Kind::Unsupported => return Ok(Seen::Skipped(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        if bench.receive(1)?.is_empty() {
            return Err(bad(format_args!("packet {} of {TIMES} did not arrive", nth + 1)));
        }
    }
    Ok(Seen::Good(format!("{TIMES}")))
}
