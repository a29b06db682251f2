//! Packets through one queue: that they leave, arrive, and are what they were.

use super::bench::{Arrival, Bench, RING, bad};
use super::{Seen, frames};
use crate::error::Result;
use std::ops::RangeInclusive;
use std::time::Instant;

/// Shortest and longest frame that every port passes, without FCS.
const LENGTHS: RangeInclusive<usize> = 60..=1514;

/// What is sent is reported as sent, and its buffers come back.
pub fn sending(bench: &mut Bench) -> Result<Seen> {
    const COUNT: u32 = 64;
    let ends = bench.addresses()?;
    for number in 0..COUNT {
        bench.send(&frames::udp(ends, 0, number, 60))?;
    }
    match bench.drain()? {
        0 => {}
        left => return Err(bad(format_args!("of {COUNT} packets {left} were never reported as sent"))),
    }
    // What came of them is looked at by the steps that follow.
    if bench.echoes {
        bench.receive(COUNT as usize)?;
    }
    Ok(Seen::Good(format!("{COUNT} packets")))
}

/// One packet arrives, though nothing comes behind it that would push it out.
pub fn lone(bench: &mut Bench) -> Result<Seen> {
    let begun = Instant::now();
    burst(bench, 1)?;
    Ok(Seen::Good(format!("after {} us", begun.elapsed().as_micros())))
}

/// So do a few: some cards write descriptors back by fours, and hold fewer.
pub fn few(bench: &mut Bench) -> Result<Seen> {
    for count in 2..=5 {
        burst(bench, count)?;
    }
    Ok(Seen::Good("all".into()))
}

/// Sends `count` packets, and waits for them.
pub fn burst(bench: &mut Bench, count: u32) -> Result<()> {
    let ends = bench.addresses()?;
    for number in 0..count {
        bench.send(&frames::udp(ends, 0, number, 60))?;
    }
    let came = bench.receive(count as usize)?.len();
    if came != count as usize {
        return Err(bad(format_args!("of {count} packets {came} arrived")));
    }
    Ok(())
}

/// More packets than a ring has descriptors arrive in order and as they were sent.
pub fn ring(bench: &mut Bench) -> Result<Seen> {
    let count = 3 * u32::from(RING) + 7;
    let ends = bench.addresses()?;
    exchange(bench, count, |number| frames::udp(ends, 0, number, 60 + number as usize % 200))?;
    Ok(Seen::Good(format!("{count} packets")))
}

/// Frames of every length arrive as they were sent.
pub fn lengths(bench: &mut Bench) -> Result<Seen> {
    let count = LENGTHS.count() as u32;
    let ends = bench.addresses()?;
    exchange(bench, count, |number| frames::udp(ends, 0, number, LENGTHS.start() + number as usize))?;
    Ok(Seen::Good(format!("{count} lengths")))
}

/// Sends `count` frames, a few at a time, and compares what arrives.
pub fn exchange(bench: &mut Bench, count: u32, frame: impl Fn(u32) -> Vec<u8>) -> Result<()> {
    const AT_ONCE: u32 = 32;
    for first in (0..count).step_by(AT_ONCE as usize) {
        let numbers = first..count.min(first + AT_ONCE);
        for number in numbers.clone() {
            bench.send(&frame(number))?;
        }
        let came = bench.receive(numbers.len())?;
        if came.len() < numbers.len() {
            let (missing, last) = (numbers.len() - came.len(), numbers.end - 1);
            return Err(bad(format_args!("{missing} of packets {first} to {last} did not arrive")));
        }
        for (number, arrival) in numbers.zip(&came) {
            same(&frame(number), arrival)?;
        }
    }
    Ok(())
}

/// Whether that is what was sent.
pub fn same(sent: &[u8], came: &Arrival) -> Result<()> {
    let came = &came.bytes[..];
    if came == sent {
        return Ok(());
    }
    if came.len() != sent.len() {
        return Err(bad(format_args!("of {} bytes {} arrived", sent.len(), came.len())));
    }
    let differs = sent.iter().zip(came).enumerate().find(|(_, (sent, came))| sent != came);
    let Some((at, (sent_byte, byte))) = differs else { return Ok(()) };
    Err(bad(format_args!("byte {at} of {} arrived as {byte:02x}, not as {sent_byte:02x}", sent.len())))
}
