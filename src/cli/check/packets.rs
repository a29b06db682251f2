//! Packets through one queue, and what the card says of them.

use super::bench::{Arrival, Bench, RING};
use super::{Seen, frames};
use crate::dma::Checksum;
use crate::driver::TimestampSource;
use crate::error::{Kind, Result};
use std::time::{Duration, Instant};

/// Longest and shortest frame that every port passes, without FCS.
const LENGTHS: std::ops::RangeInclusive<usize> = 60..=1514;

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
        return Err(bench.error(format_args!("of {count} packets {came} arrived")));
    }
    Ok(())
}

/// More packets than a ring has descriptors arrive in order and as they were sent.
pub fn ring(bench: &mut Bench) -> Result<Seen> {
    let count = 3 * u32::from(RING) + 7;
    let ends = bench.addresses()?;
    let frame = |number| frames::udp(ends, 0, number, 60 + number as usize % 200);
    exchange(bench, count, frame)?;
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
        for (number, arrival) in numbers.clone().zip(&came) {
            same(bench, &frame(number), arrival)?;
        }
        if came.len() < numbers.len() {
            let text =
                format!("{} of packets {first} to {} did not arrive", numbers.len() - came.len(), numbers.end - 1);
            return Err(bench.error(text));
        }
    }
    Ok(())
}

/// Whether that is what was sent.
fn same(bench: &Bench, sent: &[u8], came: &Arrival) -> Result<()> {
    if came.bytes == sent {
        return Ok(());
    }
    if came.bytes.len() != sent.len() {
        return Err(bench.error(format_args!("of {} bytes {} arrived", sent.len(), came.bytes.len())));
    }
    let at = sent.iter().zip(&came.bytes).position(|(sent, came)| sent != came).unwrap_or(0);
    let text = format!("byte {at} of {} arrived as {:02x}, not as {:02x}", sent.len(), came.bytes[at], sent[at]);
    Err(bench.error(text))
}

/// The card's verdicts on checksums are no lies.
pub fn checksums(bench: &mut Bench) -> Result<Seen> {
    let ends = bench.addresses()?;
    let right = frames::udp(ends, 0, 0, 100);
    bench.send(&right)?;
    bench.send(&frames::with_wrong_sum(right))?;
    let came = bench.receive(2)?;
    let [right, wrong] = &came[..] else {
        return Err(bench.error(format_args!("of 2 packets {} arrived", came.len())));
    };
    judged(right.meta.checksums().l4, wrong.meta.checksums().l4).map_err(|what| bench.error(what))
}

/// What there is to say of the verdicts on a right and on a wrong checksum.
fn judged(right: Checksum, wrong: Checksum) -> std::result::Result<Seen, &'static str> {
    match (right, wrong) {
        (Checksum::Bad, _) => Err("a right one is called wrong"),
        (_, Checksum::Good) => Err("a wrong one is called right"),
        (Checksum::Unknown, Checksum::Unknown) => Ok(Seen::Skipped("it does not look at them".into())),
        (right, wrong) => Ok(Seen::Good(format!("right: {right:?}, wrong: {wrong:?}").to_lowercase())),
    }
}

/// A tag is not lost.
pub fn tags(bench: &mut Bench) -> Result<Seen> {
    const TAG: u16 = 0x2123;
    let ends = bench.addresses()?;
    let plain = frames::udp(ends, 0, 0, 100);
    let tagged = frames::with_tag(&plain, TAG);
    bench.send(&tagged)?;
    let came = bench.receive(1)?;
    let Some(arrival) = came.first() else { return Err(bench.error("it did not arrive")) };
    match arrival.meta.vlan() {
        Some(TAG) => {
            same(bench, &plain, arrival)?;
            Ok(Seen::Good("beside the frame".into()))
        }
        Some(other) => Err(bench.error(format_args!("{other:#06x} instead of {TAG:#06x}"))),
        None => {
            same(bench, &tagged, arrival)?;
            Ok(Seen::Good("in the frame".into()))
        }
    }
}

/// The card's clock goes forward, and about as fast as the machine's.
pub fn stamps(bench: &mut Bench) -> Result<Seen> {
    const PACKETS: u32 = 20;
    const APART: Duration = Duration::from_millis(10);
    if bench.receiver()?.nic.describe().timestamps != TimestampSource::Hardware {
        return Ok(Seen::Skipped("the card stamps no packets".into()));
    }
    let ends = bench.addresses()?;
    let mut stamps = Vec::new();
    for number in 0..PACKETS {
        let sent = Instant::now();
        bench.send(&frames::udp(ends, 0, number, 60))?;
        let came = bench.receive(1)?;
        let Some(stamp) = came.first().and_then(|arrival| arrival.meta.timestamp) else {
            return Err(bench.error(format_args!("packet {number} has none")));
        };
        stamps.push((sent, stamp.0));
        std::thread::sleep(APART);
    }
    in_step(&stamps).map_err(|what| bench.error(what))
}

/// What there is to say of packets' times of sending here and stamps by the card.
fn in_step(stamps: &[(Instant, Duration)]) -> std::result::Result<Seen, String> {
    if let Some(at) = stamps.windows(2).position(|pair| pair[1].1 <= pair[0].1) {
        return Err(format!("that of packet {} is not later than the one before", at + 1));
    }
    let [first, .., last] = stamps else { return Err("there are too few".into()) };
    let (ours, its) = ((last.0 - first.0).as_secs_f64(), (last.1 - first.1).as_secs_f64());
    // On a busy machine some milliseconds may be between a packet and the reading of a clock.
    if !(0.8..1.25).contains(&(its / ours)) {
        return Err(format!("{its:.3} s by the card were {ours:.3} s here"));
    }
    Ok(Seen::Good(format!("{} stamps in order, {its:.3} s by the card, {ours:.3} s here", stamps.len())))
}

/// Counters are what was sent and received since the card was opened.
pub fn counters(bench: &mut Bench) -> Result<Seen> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let (sent, received) = (bench.sent, bench.received);
    let late = Instant::now() + PATIENCE;
    loop {
        let tx = bench.port()?.nic.stats()?;
        let rx = bench.receiver()?.nic.stats()?;
        let counted = (tx.tx_packets, rx.rx_packets);
        if counted == (sent, received) {
            let by = if tx.by_device { "by the card" } else { "by the driver" };
            return Ok(Seen::Good(format!("{sent} sent, {received} received, {by}")));
        }
        if Instant::now() > late {
            let text = format!("{} sent and {} received instead of {sent} and {received}", counted.0, counted.1);
            return Err(bench.error(text));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Each packet that is waited for wakes us.
pub fn interrupts(bench: &mut Bench) -> Result<Seen> {
    const TIMES: u32 = 1000;
    const PATIENCE: Duration = Duration::from_secs(1);
    if bench.function().irq_vectors() == 0 {
        return Ok(Seen::Skipped("there are none, this way to the card".into()));
    }
    let ends = bench.addresses()?;
    for number in 0..TIMES {
        bench.send(&frames::udp(ends, 0, number, 60))?;
        let woken = match bench.receiver()?.rx[0].wait(PATIENCE) {
            Err(error) if error.kind() == Kind::Unsupported => return Ok(Seen::Skipped(error.to_string())),
            woken => woken?,
        };
        if !woken {
            return Err(bench.error(format_args!("packet {} of {TIMES} woke nobody within {PATIENCE:?}", number + 1)));
        }
        if bench.receive(1)?.is_empty() {
            return Err(bench.error(format_args!("packet {} of {TIMES} did not arrive", number + 1)));
        }
    }
    Ok(Seen::Good(format!("{TIMES}")))
}
