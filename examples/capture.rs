//! Captures packets into a file, as `bmnic capture` does.

use bmnic::Result;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::{Drive, Engine};
use bmnic::measure::{Clock, Idle};
use bmnic::packet::Filter;
use bmnic::pcap::record::{Format, Totals};
use bmnic::pcap::section::Section;
use bmnic::pcap::write::{BUFFER, Plan, Recorder, SNAPLEN, Written};
use std::path::Path;
use std::time::Duration;

/// Writes so many packets that pass the filter into a file.
pub fn capture(path: &Path, filter: &str, packets: u64) -> Result<Written> {
    let filter = Filter::parse(filter)?;
    let section = Section::of(["82599"]);
    let plan = Plan { path, format: Format::Pcap, snaplen: SNAPLEN, buffer: BUFFER, section: &section };
    // Another thread writes: the one that receives never waits for the disk.
    let mut recorder = Recorder::create(&plan, |_| {})?;

    let engine = Engine::new(Drive::Thread);
    let (card, _) = engine.open(&"82599,wire=source:rate=100k:flows=4".parse()?)?;
    let pool = Pool::new(4096, Addressing::Translated)?;
    card.map(pool.arena())?;
    let Port { mut rx, mut nic, .. } = driver::open(card, &Config::default())?;
    rx[0].fill(&pool)?;
    nic.wait_for_link(Duration::from_secs(10))?;

    let (clock, mut batch, mut idle) = (Clock::new(), Batch::new(&pool), Idle::new());
    while recorder.taken() < packets {
        idle.polled(rx[0].recv(&mut batch));
        let now = clock.wall_ns(clock.now());
        for frame in batch.frames().filter(|frame| filter.matches(frame, frame.len())) {
            if recorder.taken() < packets {
                recorder.record(now, frame);
            }
        }
        batch.clear();
    }
    Ok(recorder.finish(Totals::default()))
}

/// Runs it.
pub fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or("example.pcap".into());
    let written = capture(Path::new(&path), "udp", 10_000)?;
    println!("{} packets, {} bytes in {}", written.records, written.bytes, path.display());
    Ok(())
}
