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
    for number in bench.numbers(COUNT) {
        bench.send(&frames::udp(ends, 0, number, 60))?;
    }
    let left = bench.drain()?;
    let never = || bad(format_args!("of {COUNT} packets {left} were never reported as sent"));
    if bench.echoes {
        all(bench, COUNT).map_err(|error| if left > 0 { never() } else { error })?;
    }
    let back = if bench.echoes { ", and as many came back" } else { "" };
    if left == 0 {
        return Ok(Seen::Good(format!("{COUNT} packets{back}")));
    }
    // A device may report what it has sent when it sends more (virtio, as vhost does).
    let number = bench.number();
    bench.send(&frames::udp(ends, 0, number, 60))?;
    if bench.echoes {
        bench.receive(1)?;
    }
    match bench.drain()? {
        still if still > left => Err(never()),
        _ => Ok(Seen::Good(format!("{COUNT} packets{back}; {left} were reported when more was sent"))),
    }
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
    let frame = |number| frames::udp(ends, 0, number, 60);
    let numbers = bench.numbers(count);
    for number in numbers.clone() {
        bench.send(&frame(number))?;
    }
    let mut came = all(bench, count)?;
    came.sort_by_key(|arrival| frames::number_of(&arrival.bytes));
    numbers.zip(&came).try_for_each(|(number, arrival)| same(&frame(number), arrival))
}

/// Receives as many as were numbered last.
pub fn all(bench: &mut Bench, count: u32) -> Result<Vec<Arrival>> {
    let stale = bench.stale;
    let came = bench.receive(count as usize)?;
    if came.len() == count as usize {
        return Ok(came);
    }
    let others = match bench.stale - stale {
        0 => String::new(),
        others => format!(", and {others} others"),
    };
    Err(bad(format_args!("of {count} packets {} arrived{others}", came.len())))
}

/// More packets than a ring has descriptors arrive in order and as they were sent.
pub fn ring(bench: &mut Bench) -> Result<Seen> {
    let count = 3 * u32::from(RING) + 7;
    let ends = bench.addresses()?;
    exchange(bench, count, |nth, number| frames::udp(ends, 0, number, 60 + nth as usize % 200))?;
    Ok(Seen::Good(format!("{count} packets")))
}

/// Frames of every length arrive as they were sent.
pub fn lengths(bench: &mut Bench) -> Result<Seen> {
    let count = LENGTHS.count() as u32;
    let ends = bench.addresses()?;
    exchange(bench, count, |nth, number| frames::udp(ends, 0, number, LENGTHS.start() + nth as usize))?;
    Ok(Seen::Good(format!("{count} lengths")))
}

/// Sends `count` frames, a few at a time, and compares what arrives. Each is made of its
/// place among them and its number.
pub fn exchange(bench: &mut Bench, count: u32, frame: impl Fn(u32, u32) -> Vec<u8>) -> Result<()> {
    const AT_ONCE: u32 = 32;
    for first in (0..count).step_by(AT_ONCE as usize) {
        let places = first..count.min(first + AT_ONCE);
        let frames: Vec<Vec<u8>> =
            places.clone().zip(bench.numbers(places.len() as u32)).map(|(nth, number)| frame(nth, number)).collect();
        for frame in &frames {
            bench.send(frame)?;
        }
        let came = bench.receive(frames.len())?;
        if came.len() < frames.len() {
            let (missing, last) = (frames.len() - came.len(), places.end - 1);
            return Err(bad(format_args!("{missing} of packets {first} to {last} did not arrive")));
        }
        frames.iter().zip(&came).try_for_each(|(frame, arrival)| same(frame, arrival))?;
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
