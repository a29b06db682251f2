//! What the card says of packets: checksums, tags, stamps, counters.

use super::bench::{Bench, Count, bad};
use super::packets::{all, same};
use super::{Seen, frames};
use crate::dma::Checksum;
use crate::driver::{Stats, TimestampSource};
use crate::error::Result;
use std::time::{Duration, Instant};

/// The card's verdicts on checksums are no lies.
pub fn checksums(bench: &mut Bench) -> Result<Seen> {
    let ends = bench.addresses()?;
    let numbers = bench.numbers(2);
    bench.send(&frames::udp(ends, 0, numbers.start, 100))?;
    bench.send(&frames::with_wrong_sum(frames::udp(ends, 0, numbers.start + 1, 100)))?;
    let came = all(bench, 2)?;
    let [right, wrong] = &came[..] else { return Err(bad("there are not two")) };
    judged(right.meta.checksums().l4, wrong.meta.checksums().l4)
}

/// What there is to say of the verdicts on a right and on a wrong checksum.
fn judged(right: Checksum, wrong: Checksum) -> Result<Seen> {
    match (right, wrong) {
        (Checksum::Bad, _) => Err(bad("a right one is called wrong")),
        (_, Checksum::Good) => Err(bad("a wrong one is called right")),
        (Checksum::Unknown, Checksum::Unknown) => Ok(Seen::Skipped("it does not look at them".into())),
        (right, wrong) => Ok(Seen::Good(format!("right: {right:?}, wrong: {wrong:?}").to_lowercase())),
    }
}

/// A tag is not lost.
pub fn tags(bench: &mut Bench) -> Result<Seen> {
    const TAG: u16 = 0x2123;
    let ends = bench.addresses()?;
    let plain = frames::udp(ends, 0, bench.number(), 100);
    let tagged = frames::with_tag(&plain, TAG);
    bench.send(&tagged)?;
    let came = bench.receive(1)?;
    let Some(arrival) = came.first() else { return Err(bad("it did not arrive")) };
    match arrival.meta.vlan() {
        Some(TAG) => {
            same(&plain, arrival)?;
            Ok(Seen::Good("beside the frame".into()))
        }
        Some(other) => Err(bad(format_args!("{other:#06x} instead of {TAG:#06x}"))),
        None if arrival.bytes == plain => Err(bad("it was taken off the frame, and is not beside it")),
        None => {
            same(&tagged, arrival)?;
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
    let begun = Instant::now();
    for nth in 0..PACKETS {
        let number = bench.number();
        let sent = begun.elapsed();
        bench.send(&frames::udp(ends, 0, number, 60))?;
        let came = bench.receive(1)?;
        let Some(stamp) = came.first().and_then(|arrival| arrival.meta.timestamp) else {
            return Err(bad(format_args!("packet {nth} has none")));
        };
        stamps.push((sent, stamp.0));
        std::thread::sleep(APART);
    }
    in_step(&stamps)
}

/// What there is to say of packets' times of sending here and stamps by the card.
fn in_step(stamps: &[(Duration, Duration)]) -> Result<Seen> {
    if let Some(at) = stamps.windows(2).position(|pair| pair[1].1 <= pair[0].1) {
        return Err(bad(format_args!("that of packet {} is not later than the one before", at + 1)));
    }
    let [first, .., last] = stamps else { return Err(bad("there are too few")) };
    let (ours, its) = ((last.0 - first.0).as_secs_f64(), (last.1 - first.1).as_secs_f64());
    // On a busy machine some milliseconds may be between a packet and the reading of a clock.
    if !(0.8..1.25).contains(&(its / ours)) {
        return Err(bad(format_args!("{its:.3} s by the card were {ours:.3} s here")));
    }
    Ok(Seen::Good(format!("{} stamps in order, {its:.3} s by the card, {ours:.3} s here", stamps.len())))
}

/// How long a card may take to count: some write their counters once a second.
const COUNTS_WITHIN: Duration = Duration::from_secs(3);

/// Counters are what was sent and received.
pub fn counters(bench: &mut Bench) -> Result<Seen> {
    const FRAMES: u32 = 100;
    // All frames since the card was opened, and then of some the bytes too, whose tags no card
    // has taken out.
    let before = counted(bench, |tx, rx, bench| {
        tx.tx_packets == bench.sent.frames && (!bench.echoes || rx.rx_packets == bench.received.frames)
    })?;
    let (sent, received) = (bench.sent, bench.received);
    let ends = bench.addresses()?;
    for nth in 0..FRAMES {
        let number = bench.number();
        bench.send(&frames::udp(ends, 0, number, 60 + 10 * nth as usize))?;
        if bench.echoes && bench.receive(1)?.is_empty() {
            return Err(bad(format_args!("packet {nth} of {FRAMES} did not arrive")));
        }
    }
    let after = counted(bench, |tx, rx, bench| {
        let ([its_sent, its_received], [ours, theirs]) = (passed(&before, &(*tx, *rx)), since(bench, sent, received));
        its_sent == ours && (!bench.echoes || agrees(its_received, theirs))
    })?;
    let (sent, by) = (bench.sent.frames, if after.0.by_device { "the card" } else { "the driver" });
    Ok(Seen::Good(format!("{sent} frames and their bytes, by {by}")))
}

/// Whether a card has received what came. One that puts a stamp of 8 bytes behind each frame
/// may count that, too: the datasheet of the X550 leaves it open.
fn agrees(its: Count, ours: Count) -> bool {
    const STAMP: u64 = 8;
    its.frames == ours.frames && [0, STAMP * ours.frames].contains(&its.bytes.wrapping_sub(ours.bytes))
}

/// What was counted between two readings, of what was sent and of what was received.
fn passed(before: &(Stats, Stats), after: &(Stats, Stats)) -> [Count; 2] {
    let (tx, rx) = (after.0.since(&before.0), after.1.since(&before.1));
    [Count { frames: tx.tx_packets, bytes: tx.tx_bytes }, Count { frames: rx.rx_packets, bytes: rx.rx_bytes }]
}

/// What was sent and received since then, as far as it comes back.
fn since(bench: &Bench, sent: Count, received: Count) -> [Count; 2] {
    let less = |now: Count, then: Count| Count { frames: now.frames - then.frames, bytes: now.bytes - then.bytes };
    [less(bench.sent, sent), less(bench.received, received)]
}

/// Waits until the counters of sender and receiver are as they must be.
fn counted(bench: &mut Bench, right: impl Fn(&Stats, &Stats, &Bench) -> bool) -> Result<(Stats, Stats)> {
    let late = Instant::now() + COUNTS_WITHIN;
    loop {
        let tx = bench.port()?.nic.stats()?;
        let rx = bench.receiver()?.nic.stats()?;
        // Others may send to it, too.
        bench.sweep()?;
        if right(&tx, &rx, bench) {
            return Ok((tx, rx));
        }
        if Instant::now() > late || bench.stop.requested() {
            let (sent, received) = (bench.sent, bench.received);
            return Err(bad(format_args!(
                "{} frames ({} bytes) sent, {} ({}) received; it says {} ({}) and {} ({})",
                sent.frames,
                sent.bytes,
                received.frames,
                received.bytes,
                tx.tx_packets,
                tx.tx_bytes,
                rx.rx_packets,
                rx.rx_bytes
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::text;

    #[test]
    fn verdicts_on_checksums_that_are_lies_are_told() {
        use Checksum::{Bad, Good, Unknown};
        assert_eq!(text(judged(Good, Bad)), "right: good, wrong: bad");
        assert_eq!(text(judged(Good, Unknown)), "right: good, wrong: unknown");
        assert_eq!(text(judged(Unknown, Unknown)), "skipped: it does not look at them");
        assert_eq!(text(judged(Bad, Bad)), "failed: a right one is called wrong");
        assert_eq!(text(judged(Good, Good)), "failed: a wrong one is called right");
    }

    #[test]
    fn stamps_that_stand_still_or_run_at_another_rate_are_told() {
        let stamps = |rate: f64| -> Vec<(Duration, Duration)> {
            let at = |n: u32| Duration::from_millis(10) * n;
            (0..20).map(|n| (at(n), Duration::from_secs(1000) + at(n).mul_f64(rate))).collect()
        };
        assert_eq!(text(in_step(&stamps(1.0))), "20 stamps in order, 0.190 s by the card, 0.190 s here");
        assert_eq!(text(in_step(&stamps(0.5))), "failed: 0.095 s by the card were 0.190 s here");
        assert_eq!(text(in_step(&stamps(0.0))), "failed: that of packet 1 is not later than the one before");
    }
}
