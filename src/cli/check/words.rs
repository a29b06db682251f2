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
    let Some(arrival) = came.first() else { return Err(bench.perhaps_refused(bad("it did not arrive"))) };
    match arrival.meta.vlan() {
        Some(TAG) => {
            same(&plain, arrival)?;
            Ok(Seen::Good("beside the frame".into()))
        }
        Some(other) => Err(bad(format_args!("{other:#06x} instead of {TAG:#06x}"))),
        None if arrival.bytes == plain => {
            Err(bench.perhaps_refused(bad("it was taken off the frame, and is not beside it")))
        }
        None => {
            same(&tagged, arrival)?;
            Ok(Seen::Good("in the frame".into()))
        }
    }
}

/// The card's clock goes forward, and about as fast as the machine's.
pub fn stamps(bench: &mut Bench) -> Result<Seen> {
    const PACKETS: usize = 20;
    const APART: Duration = Duration::from_millis(10);
    /// A machine that is busy with other things takes longer to tell.
    const ENOUGH: Duration = Duration::from_secs(8);
    if bench.receiver()?.nic.describe().timestamps != TimestampSource::Hardware {
        return Ok(Seen::Skipped("the card stamps no packets".into()));
    }
    let ends = bench.addresses()?;
    let (mut stamps, mut rate) = (Vec::<Stamped>::new(), Rate::default());
    let begun = Instant::now();
    while stamps.len() < PACKETS || !rate.is_known() && begun.elapsed() < ENOUGH && !bench.stop.requested() {
        let (nth, number) = (stamps.len(), bench.number());
        let sent = begun.elapsed();
        bench.send(&frames::udp(ends, 0, number, 60))?;
        let came = bench.receive(1)?;
        let Some(stamp) = came.first().and_then(|arrival| arrival.meta.timestamp) else {
            return Err(bad(format_args!("packet {nth} has none")));
        };
        let new = Stamped { sent, came: begun.elapsed(), stamp: stamp.0 };
        if stamps.last().is_some_and(|last| new.stamp <= last.stamp) {
            return Err(bad(format_args!("that of packet {nth} is not later than the one before")));
        }
        stamps.iter().for_each(|old| rate.narrow(old, &new));
        stamps.push(new);
        std::thread::sleep(APART);
    }
    rate.judge(stamps.len())
}

/// When a packet was sent and when it was here, and what the card said of it between.
struct Stamped {
    sent: Duration,
    came: Duration,
    stamp: Duration,
}

/// How fast the card's clock is by the machine's: what packets leave possible.
struct Rate {
    least: f64,
    most: f64,
}

impl Default for Rate {
    fn default() -> Self {
        Rate { least: 0.0, most: f64::INFINITY }
    }
}

impl Rate {
    /// What a clock may be off, as one that is driven by the wrong pace is by half or more.
    const SLOW: f64 = 0.8;
    const FAST: f64 = 1.25;

    /// Takes two packets into account. The time between their stamps is at most that from
    /// sending the one to having the other, and at least that from having the one to sending
    /// the other.
    fn narrow(&mut self, one: &Stamped, other: &Stamped) {
        let its = other.stamp.saturating_sub(one.stamp).as_secs_f64();
        let at_most = other.came.saturating_sub(one.sent).as_secs_f64();
        let at_least = other.sent.saturating_sub(one.came).as_secs_f64();
        if at_most > 0.0 {
            self.least = self.least.max(its / at_most);
        }
        if at_least > 0.0 {
            self.most = self.most.min(its / at_least);
        }
    }

    /// Whether it is right or wrong for sure.
    fn is_known(&self) -> bool {
        self.most < Rate::SLOW || self.least > Rate::FAST || self.is_right()
    }

    fn is_right(&self) -> bool {
        self.least >= Rate::SLOW && self.most <= Rate::FAST
    }

    /// What there is to say of it, and of so many packets' stamps.
    fn judge(&self, stamps: usize) -> Result<Seen> {
        let Rate { least, most } = self;
        if *most < Rate::SLOW {
            return Err(bad(format_args!("its clock runs at {most:.2} of the machine's rate at most")));
        }
        if *least > Rate::FAST {
            return Err(bad(format_args!("its clock runs at {least:.2} of the machine's rate at least")));
        }
        let seen = format!("{stamps} stamps in order");
        Ok(match self.is_right() {
            true => Seen::Good(format!("{seen}, at {least:.2} to {most:.2} of the machine's rate")),
            false => Seen::Skipped(format!("{seen}, at a rate that this machine is too busy to tell")),
        })
    }
}

/// How long a card may take to count: some write their counters once a second.
const COUNTS_WITHIN: Duration = Duration::from_secs(3);

/// Counters are what was sent and received.
pub fn counters(bench: &mut Bench) -> Result<Seen> {
    const FRAMES: u32 = 100;
    // All frames since the card was opened, and then of some the bytes too, whose tags no card
    // has taken out.
    let frames = |count: Count| Count { bytes: 0, ..count };
    let start = (Stats::default(), Stats::default());
    let (before, _) = counted(bench, |stats, bench| {
        let [its_sent, its_received] = passed(&start, stats).map(frames);
        [(its_sent, frames(bench.sent)), (its_received, frames(bench.received))]
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
    let (after, others) = counted(bench, |stats, bench| {
        let ([its_sent, its_received], [ours, theirs]) = (passed(&before, stats), since(bench, sent, received));
        [(its_sent, ours), (its_received, theirs)]
    })?;
    let (sent, by) = (bench.sent.frames, if after.0.by_device { "the card" } else { "the driver" });
    let others = match others {
        0 => String::new(),
        others => format!("; and {others} frames more, which are others' if anybody else is on the wire"),
    };
    Ok(Seen::Good(format!("{sent} frames and their bytes, by {by}{others}")))
}

/// What a card has counted and what there was.
type Held = (Count, Count);

/// Frames that a card has counted and that were not ours, if the rest is right.
fn beyond((its, ours): Held) -> Option<u64> {
    let more = its.frames.checked_sub(ours.frames)?;
    match more {
        0 => agrees(its, ours).then_some(0),
        _ => (its.bytes >= ours.bytes).then_some(more),
    }
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

/// Waits until the counters of sender and receiver are as they must be, which `held` tells of
/// what was sent and of what was received. With them: frames that were counted besides ours,
/// which nobody but others can have sent.
fn counted(bench: &mut Bench, held: impl Fn(&(Stats, Stats), &Bench) -> [Held; 2]) -> Result<((Stats, Stats), u64)> {
    let late = Instant::now() + COUNTS_WITHIN;
    loop {
        let stats = (bench.port()?.nic.stats()?, bench.receiver()?.nic.stats()?);
        // Others may send to it, too.
        bench.sweep()?;
        let [sent, received] = held(&stats, bench).map(beyond);
        let received = if bench.echoes { received } else { Some(0) };
        let over = Instant::now() > late || bench.stop.requested();
        match others(sent, received, over && bench.has_neighbours()) {
            Some(others) => return Ok((stats, others)),
            None if over => {
                let (Count { frames, bytes }, back, (tx, rx)) = (bench.sent, bench.received, stats);
                return Err(bad(format_args!(
                    "{frames} frames ({bytes} bytes) sent, {} ({}) received; it says {} ({}) and {} ({})",
                    back.frames, back.bytes, tx.tx_packets, tx.tx_bytes, rx.rx_packets, rx.rx_bytes
                )));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Frames that others sent to the receiver, of those that were counted beyond ours as sent and
/// as received; `None` if it counts wrong. Where there are others its MAC counts what it sees;
/// what was sent is ours alone.
fn others(sent: Option<u64>, received: Option<u64>, has_neighbours: bool) -> Option<u64> {
    match (sent?, received?) {
        (0, 0) => Some(0),
        (0, more) if has_neighbours => Some(more),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::text;

    #[test]
    fn counters_above_ours_are_told_from_those_below() {
        let count = |frames, bytes| Count { frames, bytes };
        let ours = count(10, 1000);
        assert_eq!(beyond((ours, ours)), Some(0));
        assert_eq!(beyond((count(10, 1080), ours)), Some(0), "a stamp behind each");
        assert_eq!(beyond((count(12, 1120), ours)), Some(2));
        for less in [count(9, 1000), count(10, 999), count(12, 999), count(10, 1001)] {
            assert_eq!(beyond((less, ours)), None, "{less:?}");
        }
    }

    #[test]
    fn frames_of_others_are_received_and_never_sent() {
        assert_eq!(others(Some(0), Some(0), false), Some(0));
        assert_eq!(others(Some(0), Some(3), true), Some(3));
        for (sent, received, has_neighbours) in
            [(Some(1), Some(0), true), (Some(1), Some(3), true), (Some(0), Some(3), false), (None, Some(3), true)]
        {
            assert_eq!(others(sent, received, has_neighbours), None, "{sent:?}, {received:?}");
        }
    }

    #[test]
    fn verdicts_on_checksums_that_are_lies_are_told() {
        use Checksum::{Bad, Good, Unknown};
        assert_eq!(text(judged(Good, Bad)), "right: good, wrong: bad");
        assert_eq!(text(judged(Good, Unknown)), "right: good, wrong: unknown");
        assert_eq!(text(judged(Unknown, Unknown)), "skipped: it does not look at them");
        assert_eq!(text(judged(Bad, Bad)), "failed: a right one is called wrong");
        assert_eq!(text(judged(Good, Good)), "failed: a wrong one is called right");
    }

    /// What packets say of a clock of this rate that were so long on their way, in turn.
    fn seen(rate: f64, delays: &[u64]) -> Rate {
        let mut known = Rate::default();
        let at = |n: u32| Duration::from_millis(10) * n;
        let stamped = |(n, delay): (u32, u64)| {
            let delay = Duration::from_millis(delay);
            Stamped {
                sent: at(n),
                came: at(n) + delay,
                stamp: Duration::from_secs(1000) + (at(n) + delay).mul_f64(rate),
            }
        };
        let stamps: Vec<Stamped> = (0..20).zip(delays.iter().copied().cycle()).map(stamped).collect();
        for (n, new) in stamps.iter().enumerate() {
            stamps[..n].iter().for_each(|old| known.narrow(old, new));
        }
        known
    }

    #[test]
    fn a_clock_that_runs_at_another_rate_is_told() {
        assert_eq!(text(seen(1.0, &[0]).judge(20)), "20 stamps in order, at 1.00 to 1.00 of the machine's rate");
        assert_eq!(text(seen(0.5, &[0]).judge(20)), "failed: its clock runs at 0.50 of the machine's rate at most");
        assert_eq!(text(seen(2.0, &[0]).judge(20)), "failed: its clock runs at 2.00 of the machine's rate at least");
    }

    #[test]
    fn packets_that_a_busy_machine_keeps_are_no_fault_of_the_clock() {
        // One of four is in time: it is enough, in any place.
        for delays in [[0, 70, 9, 40], [40, 0, 70, 9], [9, 40, 0, 70], [70, 9, 40, 0]] {
            let right = seen(1.0, &delays);
            assert!(right.is_known() && right.is_right(), "{} to {}", right.least, right.most);
            assert!(text(seen(0.5, &delays).judge(20)).starts_with("failed: its clock runs at 0.5"));
        }
        // Where none is, nothing is said for sure.
        let busy = seen(1.0, &[100]);
        assert!(!busy.is_known());
        let said = "skipped: 20 stamps in order, at a rate that this machine is too busy to tell";
        assert_eq!(text(busy.judge(20)), said);
    }
}
