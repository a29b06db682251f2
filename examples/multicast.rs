//! Reads a multicast group with the card's own time of each packet, as a feed handler does.

use bmnic::Result;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::{Drive, Engine};
use bmnic::net::MacAddr;
use bmnic::packet::build::{Builder, Recipe, trailer};
use bmnic::packet::values::Macs;
use std::time::Duration;

/// 239.1.1.1, and its Ethernet address (RFC 1112 §6.4).
const GROUP: (&str, MacAddr) = ("239.1.1.1", MacAddr([0x01, 0x00, 0x5e, 0x01, 0x01, 0x01]));

/// Number and time by the card's clock of so many packets of the group.
pub fn read(packets: u64) -> Result<Vec<(u64, Duration)>> {
    let engine = Engine::new(Drive::Thread);
    let (feed, _) = engine.open(&"x710,wire=peer".parse()?)?;
    let (reader, _) = engine.open(&"x2522,wire=peer".parse()?)?;
    let pool = Pool::new(4096, Addressing::Translated)?;
    feed.map(pool.arena())?;
    reader.map(pool.arena())?;
    let Port { mut tx, nic: mut feed, .. } = driver::open(feed, &Config::default())?;
    // The card takes what is for it and for the group, and stamps it as it comes off the wire.
    let config = Config { timestamps: true, promiscuous: false, ..Config::default() };
    let Port { mut rx, nic: mut reader, .. } = driver::open(reader, &config)?;
    reader.set_multicast(&[GROUP.1])?;
    rx[0].fill(&pool)?;
    feed.wait_for_link(Duration::from_secs(10))?;
    reader.wait_for_link(Duration::from_secs(10))?;

    let recipe = Recipe { destination: Some(GROUP.0.parse()?), sizes: "100".parse()?, ..Recipe::default() };
    let mut of_group = Builder::new(&Recipe { destination_mac: Macs::one(GROUP.1), ..recipe.clone() })?;
    // Of another group: the card leaves these out.
    let other = MacAddr([0x01, 0x00, 0x5e, 0x02, 0x02, 0x02]);
    let mut of_others = Builder::new(&Recipe { destination_mac: Macs::one(other), ..recipe })?;
    let (mut out, mut came, mut read) = (Batch::new(&pool), Batch::new(&pool), Vec::new());
    for _ in 0..packets {
        for frames in [&mut of_group, &mut of_others] {
            if let Some(frame) = out.push(frames.next_len()) {
                frames.write(frame, 0);
            }
        }
        while !out.is_empty() {
            tx[0].send(&mut out);
        }
        while came.is_empty() {
            rx[0].recv(&mut came);
        }
        for i in 0..came.len() {
            let frame = came.frame(i);
            let number = trailer(frame, frame.len() - 42).0;
            read.extend(number.zip(came.meta(i).timestamp.map(|stamp| stamp.0)));
        }
        came.clear();
    }
    Ok(read)
}

/// Runs it.
pub fn main() -> Result<()> {
    let read = read(10)?;
    for pair in read.windows(2) {
        println!("packet {} came {:?} after the one before", pair[1].0, pair[1].1.saturating_sub(pair[0].1));
    }
    Ok(())
}
