//! The card as a port: that it opens, has a link, and opens again.

use super::Seen;
use super::bench::{Bench, RING};
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use std::time::{Duration, Instant};

/// How packets are sent and received.
pub fn config(bench: &Bench) -> Config {
    Config {
        rx_ring: RING,
        tx_ring: RING,
        timestamps: true,
        vlan_strip: true,
        interrupts: bench.function().irq_vectors() > 0,
        ..Config::default()
    }
}

/// The driver sets it up.
pub fn open(bench: &mut Bench) -> Result<Seen> {
    let mut config = config(bench);
    let plain = Config { vlan_strip: false, ..config.clone() };
    match bench.open(&config) {
        // A device that cannot take tags out can do the rest.
        Err(error) if error.kind() == Kind::Unsupported => {
            config = plain;
            bench.open(&config)?;
        }
        opened => opened?,
    }
    let Some(description) = &bench.description else { return Err(bench.error("it says nothing of itself")) };
    let mut seen = format!("{}, driver {}", description.model, description.driver);
    for lack in &description.lacks {
        seen += &format!("; {lack}");
    }
    Ok(Seen::Good(seen))
}

/// It has an address that a card can have. It is not told: reports name nobody.
pub fn address(bench: &mut Bench) -> Result<Seen> {
    let [first, rest @ ..] = bench.port()?.nic.describe().mac.0;
    let local = first & 2 != 0;
    match (first & 1, first | rest.iter().fold(0, |all, byte| all | byte)) {
        (0, 1..) => Ok(Seen::Good(if local { "a local one" } else { "its maker's" }.into())),
        (1, _) => Err(bench.error("the address of a group")),
        _ => Err(bench.error("none")),
    }
}

/// It has a link.
pub fn link(bench: &mut Bench) -> Result<Seen> {
    let patience = bench.link_wait;
    let mut speed = 0;
    for receiver in [false, true] {
        let port = if receiver { bench.receiver()? } else { bench.port()? };
        match port.nic.wait_for_link(patience) {
            Ok(link) => speed = link.speed,
            Err(error) if error.kind() == Kind::Timeout => return Err(port.nic.no_link(patience)),
            Err(error) => return Err(error),
        }
    }
    bench.linked = true;
    Ok(Seen::Good(if speed == 0 { "up".into() } else { format!("up, {}", crate::cli::output::bits(speed as f64)) }))
}

/// It opens whenever it was closed.
pub fn again(bench: &mut Bench) -> Result<Seen> {
    const TIMES: usize = 100;
    const ENOUGH: Duration = Duration::from_secs(5);
    let config = config(bench);
    let begun = Instant::now();
    let mut times = 0;
    while times < TIMES && begun.elapsed() < ENOUGH && !bench.stop.requested() {
        let config = Config { vlan_strip: false, timestamps: false, ..config.clone() };
        bench.open(&config).map_err(|error: Error| error.of(format_args!("time {}", times + 1)))?;
        times += 1;
    }
    Ok(Seen::Good(format!("{times} times, {} ms each", begun.elapsed().as_millis() / times.max(1) as u128)))
}
