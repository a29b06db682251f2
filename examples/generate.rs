//! Sends packets at a rate and counts those that come back, as `bmnic pktgen` and `latency` do.

use bmnic::Result;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::{Drive, Engine};
use bmnic::measure::{Clock, Pace};
use bmnic::packet::build::{Builder, Recipe, trailer};
use std::time::Duration;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Came {
    /// Packets that were sent.
    pub sent: u64,
    /// Those that came back.
    pub back: u64,
    /// Those of them that were not the next in order.
    pub misplaced: u64,
}

/// Sends so many packets, so many a second, over a wire that leads back.
pub fn generate(packets: u64, rate: f64) -> Result<Came> {
    let engine = Engine::new(Drive::Thread);
    let (card, _) = engine.open(&"82599,wire=loop:pause=on".parse()?)?;
    let pool = Pool::new(4096, Addressing::Translated)?;
    card.map(pool.arena())?;
    let Port { mut rx, mut tx, mut nic } = driver::open(card, &Config::default())?;
    rx[0].fill(&pool)?;
    nic.wait_for_link(Duration::from_secs(10))?;

    let mut frames = Builder::new(&Recipe { sizes: "100".parse()?, ..Recipe::default() })?;
    let clock = Clock::new();
    let mut pace = Pace::new(&clock, rate)?;
    let (mut out, mut back) = (Batch::new(&pool), Batch::new(&pool));
    let mut came = Came { sent: 0, back: 0, misplaced: 0 };
    while came.back < packets {
        let left = (packets - came.sent) as usize - out.len();
        for _ in 0..pace.take(clock.now(), left.min(out.room())) {
            if let Some(frame) = out.push(frames.next_len()) {
                frames.write(frame, 0);
            }
        }
        came.sent += tx[0].send(&mut out) as u64;
        rx[0].recv(&mut back);
        for frame in back.frames() {
            // Behind Ethernet, IPv4 and UDP.
            let (sequence, _time) = trailer(frame, frame.len() - 42);
            came.misplaced += u64::from(sequence != Some(came.back));
            came.back += 1;
        }
        back.clear();
    }
    Ok(came)
}

/// Runs it.
pub fn main() -> Result<()> {
    println!("{:?}", generate(10_000, 100_000.0)?);
    Ok(())
}
