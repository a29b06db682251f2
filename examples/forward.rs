//! Forwards packets from one card to another, as `bmnic fwd` does.
//!
//! The cards are emulated; [`bmnic::pci::open`] gives one of this machine instead.

use bmnic::Result;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::{Drive, Engine};
use bmnic::measure::Idle;
use std::time::Duration;

/// Forwards so many packets with their Ethernet addresses exchanged; how many were sent on.
pub fn forward(packets: usize) -> Result<usize> {
    // Declared first: it plays the cards until all else is dropped.
    let engine = Engine::new(Drive::Thread);
    let (here, _) = engine.open(&"82599,wire=source:rate=100k".parse()?)?;
    let (there, _) = engine.open(&"x710,wire=sink".parse()?)?;
    // Memory that both cards reach. A packet stays where the first one puts it.
    let pool = Pool::new(4096, Addressing::Translated)?;
    here.map(pool.arena())?;
    there.map(pool.arena())?;
    let Port { mut rx, nic: mut here, .. } = driver::open(here, &Config::default())?;
    let Port { mut tx, nic: mut there, .. } = driver::open(there, &Config::default())?;
    rx[0].fill(&pool)?;
    here.wait_for_link(Duration::from_secs(10))?;
    there.wait_for_link(Duration::from_secs(10))?;

    let (mut batch, mut idle, mut sent) = (Batch::new(&pool), Idle::new(), 0);
    while sent < packets {
        batch.set_limit(packets - sent);
        idle.polled(rx[0].recv(&mut batch));
        batch.for_each_mut(|frame| {
            let (to, rest) = frame.split_at_mut(6);
            to.swap_with_slice(&mut rest[..6]);
        });
        sent += tx[0].send(&mut batch);
    }
    Ok(sent)
}

/// Runs it.
pub fn main() -> Result<()> {
    println!("{} packets forwarded", forward(10_000)?);
    Ok(())
}
