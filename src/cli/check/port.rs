//! The card as a port: that it opens, has a link, and opens again.

use super::Seen;
use super::bench::{Bench, RING, bad};
use super::packets::burst;
use crate::cli::output;
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use std::thread;
use std::time::{Duration, Instant};

/// How packets are sent and received, where nothing else is asked of the card.
pub fn config() -> Config {
    Config { rx_ring: RING, tx_ring: RING, ..Config::default() }
}

/// Opens the card with this configuration and waits for its link; false if it cannot be set
/// up like that.
pub fn set_up(bench: &mut Bench, config: &Config) -> Result<std::result::Result<(), Seen>> {
    match bench.open(config) {
        // Nobody but this program has asked for it: it is the card that sets limits.
        Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::Usage) => {
            return Ok(Err(Seen::Skipped(error.to_string())));
        }
        opened => opened?,
    }
    Ok(match link(bench)? {
        skipped @ Seen::Skipped(_) => Err(skipped),
        Seen::Good(_) => Ok(()),
    })
}

/// The driver sets it up.
pub fn open(bench: &mut Bench) -> Result<Seen> {
    let plain = config();
    let config = Config { timestamps: true, vlan_strip: true, ..config() };
    // A device that cannot take tags out, or bring back what it sends, can do the rest.
    let mut opened = bench.open(&config);
    if lacks_something(&opened) {
        opened = bench.open(&plain);
    }
    if lacks_something(&opened) && bench.loops_inside() {
        bench.give_up_loopback();
        opened = bench.open(&plain);
    }
    opened?;
    let Some(description) = &bench.description else { return Err(bad("it says nothing of itself")) };
    let mut seen = format!("{}, driver {}", description.model, description.driver);
    for lack in &description.lacks {
        seen += &format!("; {lack}");
    }
    Ok(Seen::Good(seen))
}

fn lacks_something(opened: &Result<()>) -> bool {
    matches!(opened, Err(error) if error.kind() == Kind::Unsupported)
}

/// Its firmware says which it is.
pub fn firmware(bench: &mut Bench) -> Result<Seen> {
    version(bench.port()?.nic.describe().firmware.as_deref())
}

/// What there is to say of a version: one has numbers, and not all of them are zero.
fn version(told: Option<&str>) -> Result<Seen> {
    match told {
        None => Ok(Seen::Skipped("its driver asks for none".into())),
        Some(text) if text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) => Ok(Seen::Good(text.into())),
        Some(text) => Err(bad(format_args!("version '{text}'"))),
    }
}

/// It has an address that a card can have. It is not told: reports name nobody.
pub fn address(bench: &mut Bench) -> Result<Seen> {
    own(bench.port()?.nic.describe().mac.0)
}

/// What there is to say of an address.
fn own(address: [u8; 6]) -> Result<Seen> {
    match (address, address[0] & 3) {
        ([0, 0, 0, 0, 0, 0], _) => Err(bad("none")),
        (_, 1 | 3) => Err(bad("the address of a group")),
        (_, 2) => Ok(Seen::Good("a local one".into())),
        _ => Ok(Seen::Good("its maker's".into())),
    }
}

/// It has a link, and its peer.
pub fn link(bench: &mut Bench) -> Result<Seen> {
    let mut speeds = Vec::new();
    for receiver in [false, true] {
        match up(bench, receiver)? {
            Some(speed) => speeds.push(speed),
            None => return Ok(Seen::Skipped("no time is left for the link".into())),
        }
    }
    bench.linked = true;
    // The card's own.
    let speed = speeds[0];
    Ok(Seen::Good(if speed == 0 { "up".into() } else { format!("up, {}", output::bits(speed as f64)) }))
}

/// The speed of a link once it is up; none if it might have come up had there been the time.
fn up(bench: &mut Bench, receiver: bool) -> Result<Option<u64>> {
    let patience = bench.link_wait();
    let cut_short = patience < bench.link_wait;
    let until = Instant::now() + patience;
    loop {
        let over = Instant::now() >= until || bench.stop.requested();
        let port = if receiver { bench.receiver()? } else { bench.port()? };
        if port.nic.link()?.up {
            // It takes down what the card turned out to lack.
            return Ok(Some(port.nic.wait_for_link(patience)?.speed));
        }
        match over {
            true if cut_short => return Ok(None),
            true => return Err(port.nic.no_link(patience)),
            false => thread::sleep(Duration::from_micros(200)),
        }
    }
}

/// It opens whenever it was closed, and works when it was.
pub fn again(bench: &mut Bench) -> Result<Seen> {
    const TIMES: u32 = 100;
    const ENOUGH: Duration = Duration::from_secs(8);
    let config = config();
    let begun = Instant::now();
    let mut times = 0;
    // One more fits if it takes as long as the ones before did.
    while times < TIMES && begun.elapsed() * (times + 1) < ENOUGH * times.max(1) && !bench.stop.requested() {
        times += 1;
        bench.open(&config).map_err(|error: Error| error.of(format_args!("time {times}")))?;
    }
    let each = begun.elapsed().as_millis() / u128::from(times.max(1));
    if bench.linked && bench.echoes {
        if let skipped @ Seen::Skipped(_) = link(bench)? {
            return Ok(skipped);
        }
        burst(bench, 1)?;
    }
    let few = if times < TIMES { format!(": no more fit into {} s", ENOUGH.as_secs()) } else { String::new() };
    Ok(Seen::Good(format!("{times} times, {each} ms each{few}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::text;

    #[test]
    fn no_address_and_that_of_a_group_are_told() {
        assert_eq!(text(own([0, 0x1b, 0x21, 0, 0, 1])), "its maker's");
        assert_eq!(text(own([2, 0, 0, 0, 0, 1])), "a local one");
        assert_eq!(text(own([0; 6])), "failed: none");
        assert_eq!(text(own([1, 0, 0x5e, 0, 0, 1])), "failed: the address of a group");
        assert_eq!(text(own([0xff; 6])), "failed: the address of a group");
    }

    #[test]
    fn a_version_without_a_number_is_told() {
        assert_eq!(text(version(Some("7.10 0x8000a5c3"))), "7.10 0x8000a5c3");
        assert_eq!(text(version(None)), "skipped: its driver asks for none");
        assert_eq!(text(version(Some("0.0.0"))), "failed: version '0.0.0'");
        assert_eq!(text(version(Some(""))), "failed: version ''");
    }
}
