//! Packets of several queues, in the order of their times.
//!
//! ```text
//!   queue 0 --recv--> | 12 | 19 | 30 |     the earliest of all heads goes first,
//!   queue 1 --recv--> | 15 | 16 |          once each queue that has none was found
//!   queue 2 --recv--> |                    empty a good while after that one came
//! ```
//!
//! A queue that shows a later packet has no earlier one. One that is empty may
//! still get one: cards write to a ring when they have some for it, not to all
//! rings at once. So a packet is held for up to [`HOLD`] after it came, as long as
//! there is room to take more off its ring meanwhile; then it is written once the
//! empty queues were looked at again. Nobody waits, and no more is held of a queue
//! than [`HELD`] batches. What a card shows later than that is written when it comes,
//! and counted.

use super::intake::Intake;
use super::times::Times;
use crate::cli::wanted::end_of;
use crate::dma::{BATCH_MAX, Batch, Pool};
use crate::driver::RxQueue;
use crate::measure::SLIP_NS;

/// How much later than others a card may show a packet, in nanoseconds.
const HOLD: u64 = 10_000_000;

/// Batches of [`BATCH_MAX`] that are held of a queue, at most: what comes at 100 000 packets a
/// second in [`HOLD`].
pub const HELD: usize = 16;

/// Buffers that the longest frame takes, in the smallest that a card of ours fills.
const PARTS: usize = 10;

/// All queues of a thread, of one card or of several.
pub struct Merge<'p> {
    lanes: Vec<Lane<'p>>,
    /// Buffers to take off a ring in one go.
    batch: usize,
    /// Looks at queues so far.
    looks: u64,
    /// Time of the packet that was written last.
    written: u64,
}

/// What is held of one queue.
struct Lane<'p> {
    card: usize,
    /// A ring: from part `front` on, so many are `filled`, or are about to be.
    parts: [Part<'p>; HELD],
    front: usize,
    filled: usize,
    /// What is written next: an entry of the front.
    next: usize,
    /// The last look that found nothing, and when that was.
    empty: (u64, u64),
    /// Time of its last packet.
    last: u64,
    /// What its ring shows may be a frame of more buffers than there is room for.
    stuck: bool,
}

/// A batch of a queue's.
struct Part<'p> {
    batch: Batch<'p>,
    /// Time of the packet that starts in each entry.
    times: [u64; BATCH_MAX],
    /// The last look that took something.
    taken: u64,
}

impl<'p> Lane<'p> {
    fn new(card: usize, pool: &'p Pool) -> Self {
        let part = |_| Part { batch: Batch::new(pool), times: [0; BATCH_MAX], taken: 0 };
        let parts = std::array::from_fn(part);
        Lane { card, parts, front: 0, filled: 1, next: 0, empty: (0, 0), last: 0, stuck: false }
    }

    #[inline]
    fn front(&self) -> &Part<'p> {
        &self.parts[self.front]
    }

    fn back(&self) -> usize {
        (self.front + self.filled - 1) % HELD
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.next == self.front().batch.len()
    }

    /// Whether more cannot be held while its ring fills up.
    fn is_pressed(&self) -> bool {
        self.filled == HELD && (self.stuck || self.parts[self.back()].batch.len() == BATCH_MAX)
    }

    /// Takes what there is and there is room for, up to about `most`; how many entries that is.
    fn look(&mut self, queue: &mut RxQueue, most: usize, look: u64, now: u64, times: &mut Times) -> usize {
        let len = self.parts[self.back()].batch.len();
        // What is written of is left as it was when it was taken.
        let closed = self.stuck || len == BATCH_MAX || self.filled == 1 && len > 0;
        if closed && self.filled < HELD {
            self.filled += 1;
        }
        let back = self.back();
        let Part { batch, times: stamps, taken } = &mut self.parts[back];
        let had = batch.len();
        batch.set_limit(had + most.max(PARTS));
        let n = queue.recv(batch);
        self.stuck = n == 0 && had > 0 && BATCH_MAX - had < PARTS;
        if n == 0 {
            if had < BATCH_MAX {
                self.empty = (look, now);
            }
        } else {
            *taken = look;
            times.batch(now);
            let mut first = had;
            while first < had + n {
                let end = end_of(batch, first);
                stamps[first] = times.packet(batch, end - 1, &mut self.last);
                first = end;
            }
        }
        self.turn();
        n
    }

    /// The next part comes to the front once that is written.
    #[inline]
    fn turn(&mut self) {
        if self.is_empty() {
            self.parts[self.front].batch.clear();
            self.next = 0;
            if self.filled > 1 {
                self.front = (self.front + 1) % HELD;
                self.filled -= 1;
            }
        }
    }
}

impl<'p> Merge<'p> {
    /// Of queues of these cards, in batches of up to `batch`.
    pub fn new(pool: &'p Pool, cards: &[usize], batch: usize) -> Self {
        Merge { lanes: cards.iter().map(|card| Lane::new(*card, pool)).collect(), batch, looks: 0, written: 0 }
    }

    /// Looks at all queues of which more can be held, and writes what is next as far
    /// as that is known; how much there was to do. `times`: of each card. `now`: time of day,
    /// in ns.
    pub fn round(&mut self, queues: &mut [RxQueue], times: &mut [Times], now: u64, intake: &mut Intake) -> usize {
        let mut did = 0;
        for (lane, queue) in self.lanes.iter_mut().zip(queues) {
            self.looks += 1;
            did += lane.look(queue, self.batch, self.looks, now, &mut times[lane.card]);
        }
        while let Some(q) = self.earliest() {
            if intake.is_full() || !self.is_next(q) {
                break;
            }
            self.write(q, intake);
            did += 1;
        }
        did
    }

    /// Whether the head of queue `q`, which came before those of the others, may be
    /// written although some show none.
    #[inline]
    fn is_next(&self, q: usize) -> bool {
        let head = &self.lanes[q];
        let (time, taken) = (head.front().times[head.next], head.front().taken);
        let mut empty = self.lanes.iter().filter(|lane| lane.is_empty()).map(|lane| lane.empty);
        let pressed = head.is_pressed();
        // A time of day that was set back says nothing of how long it was held. A look from
        // before this head was taken has an earlier time too, but only because it is old.
        let set_back = |look, at| look > taken && at + SLIP_NS < time;
        empty.all(|(look, at)| if pressed { look > taken } else { at >= time + HOLD || set_back(look, at) })
    }

    /// Writes all that is held: nobody looks any more.
    pub fn finish(mut self, intake: &mut Intake) {
        while let Some(q) = self.earliest().filter(|_| !intake.is_full()) {
            self.write(q, intake);
        }
    }

    /// The queue whose head came first.
    #[inline]
    fn earliest(&self) -> Option<usize> {
        let heads = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.is_empty());
        heads.min_by_key(|(_, lane)| lane.front().times[lane.next]).map(|(q, _)| q)
    }

    #[inline]
    fn write(&mut self, q: usize, intake: &mut Intake) {
        let lane = &mut self.lanes[q];
        let Part { batch, times, .. } = lane.front();
        let (first, end) = (lane.next, end_of(batch, lane.next));
        let time = times[first];
        if intake.take(q, batch, first..end, || time) {
            // Times a second apart are of a clock that was set.
            if time < self.written && self.written - time <= SLIP_NS {
                intake.was_late(q);
            }
            self.written = if self.written.saturating_sub(time) > SLIP_NS { time } else { self.written.max(time) };
        }
        lane.next = end;
        lane.turn();
    }
}

#[cfg(test)]
mod tests {
    use super::super::intake::Ring;
    use super::super::sink::Sink;
    use super::*;
    use crate::cli::share::{Left, Share};
    use crate::cli::signal::Stop;
    use crate::driver::{self, Config, Nic, Port, TimestampSource};
    use crate::emu::{Drive, Engine};
    use crate::packet::Filter;
    use crate::pcap::read::Recording;
    use crate::pcap::record::Format;
    use crate::pcap::section::Section;
    use crate::pcap::write::{Plan, Recorder, SNAPLEN};
    use crate::pci::Function;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const MILLISECOND: u64 = 1_000_000_000;

    /// Does something while the engine goes on: some cards finish what they began
    /// in a later step.
    fn meanwhile<R>(engine: &Engine, something: impl FnOnce() -> R) -> R {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    engine.advance(MILLISECOND / 1000);
                    engine.step();
                }
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(something));
            done.store(true, Ordering::Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A packet in the file: when it came, its number on its card, and its interface.
    type Packet = (u64, u64, u32);

    /// Captures `count` packets of cards with `queues` queues each in virtual time, in steps
    /// of `step` picoseconds: those in the file, and how many are late.
    fn capture(cards: &[&str], queues: u16, batch: usize, step: u64, count: u64) -> (Vec<Packet>, u64) {
        let engine = Engine::new(Drive::Manual);
        // Now is long after the time 0, as it is by the clock on the wall.
        engine.advance(3 * 1000 * MILLISECOND);
        let config = Config { rx_queues: queues, timestamps: true, ..Config::default() };
        let opened: Vec<_> = cards.iter().map(|card| engine.open(&card.parse().unwrap()).unwrap()).collect();
        let open = |function: &Arc<dyn Function>| driver::open(Arc::clone(function), &config).unwrap();
        let ports: Vec<Port> = opened.iter().map(|(card, _)| meanwhile(&engine, || open(card))).collect();
        let (mut nics, rx): (Vec<_>, Vec<_>) = ports.into_iter().map(|Port { rx, tx: _, nic }| (nic, rx)).unzip();
        let (rings, mut rx): (Vec<Ring>, Vec<RxQueue>) = super::super::dealt(rx, 1).swap_remove(0).into_iter().unzip();
        let pool = Pool::new(rx.len() * (512 + (HELD + 2) * BATCH_MAX), opened[0].0.addressing()).unwrap();
        opened.iter().for_each(|(card, _)| card.map(pool.arena()).unwrap());
        rx.iter_mut().for_each(|queue| queue.fill(&pool).unwrap());
        for nic in &mut nics {
            while !nic.link().unwrap().up {
                engine.advance(MILLISECOND);
                engine.step();
            }
        }
        let stamping = |nic: &mut Nic| nic.describe().timestamps == TimestampSource::Hardware;
        let times = |nic: &mut Nic| match stamping(nic) {
            true => Times::beside(nic, || engine.now() / 1000),
            false => Times::by_ours(),
        };
        let mut times: Vec<Times> = nics.iter_mut().map(times).collect();
        assert!(times.iter().any(Times::by_card));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let section = Section::of(cards.iter().copied());
        let plan = Plan { path: &path, format: Format::Pcapng, snaplen: SNAPLEN, buffer: 64 << 20, section: &section };
        let recorder = Recorder::create(&plan, |_| ()).unwrap();
        let share = Share::new(Some(&Left::new(count, 1, &Stop::default())));
        let of: Vec<usize> = rings.iter().map(|ring| ring.card).collect();
        let mut intake = Intake::new(Filter::parse("").unwrap(), recorder.into(), rings, share);
        let mut merge = Merge::new(&pool, &of, batch);
        let mut rounds = 0;
        while !intake.is_full() {
            engine.advance(step);
            engine.step();
            merge.round(&mut rx, &mut times, engine.now() / 1000, &mut intake);
            rounds += 1;
            assert!(rounds < 1_000_000, "it comes to no end");
        }
        merge.finish(&mut intake);
        let (sink, rings) = intake.into_parts();
        assert_eq!(Sink::finish_all(vec![sink], &[]).0.records, count);
        opened.iter().for_each(|(_, tap)| assert_eq!(tap.violations(), []));
        let bytes = std::fs::read(&path).unwrap();
        let recording = Recording::open(&path).unwrap();
        // The source numbers its frames from byte 46 on.
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes[46..54].try_into().unwrap());
        let interfaces = Format::Pcapng.interfaces(&bytes);
        let packets = recording.packets().zip(interfaces);
        let packets = packets.map(|(packet, of)| (packet.time.try_into().unwrap(), number(packet.bytes), of)).collect();
        (packets, rings.iter().map(|ring| ring.late).sum())
    }

    #[test]
    fn a_file_of_four_queues_is_in_the_order_in_which_packets_came() {
        for model in ["x2522", "x550"] {
            for (batch, step, rate) in [(8, 300_000_000, "10k"), (32, 20_000_000, "1M"), (8, 3_000_000, "1M")] {
                let card = format!("{model},strict,wire=source:rate={rate}:flows=64");
                let (packets, late) = capture(&[&card], 4, batch, step, 2_000);
                let what = format!("{card}, batches of {batch}, steps of {step} ps");
                assert!(packets.is_sorted_by_key(|(time, ..)| *time), "{what}");
                assert!(packets.is_sorted_by_key(|(_, number, _)| *number), "{what}");
                assert_eq!(late, 0, "{what}");
                let distinct = packets.windows(2).filter(|pair| pair[0].0 < pair[1].0).count();
                assert_eq!(distinct, packets.len() - 1, "{what}");
            }
        }
    }

    #[test]
    fn a_card_that_shows_packets_late_is_put_in_order_too() {
        for model in ["x2522", "x550"] {
            let card = format!("{model},strict,nasty,wire=source:rate=10k:flows=64");
            let (packets, late) = capture(&[&card], 4, 32, 300_000_000, 2_000);
            assert!(packets.is_sorted_by_key(|(time, ..)| *time), "{model}");
            assert_eq!(late, 0, "{model}");
        }
    }

    #[test]
    fn one_card_that_shows_packets_late_stands_in_order_with_a_quick_one() {
        // It is shown up to some hundred microseconds after it came: in that time as many come
        // by the other one.
        let late = "x2522,strict,nasty,wire=source:rate=20k";
        for (quick, batch) in [("82599,strict,wire=source:rate=500k", 8), ("x550,strict,wire=source:rate=500k", 32)] {
            let (packets, behind) = capture(&[quick, late], 1, batch, 100_000_000, 6_000);
            assert!(packets.iter().filter(|packet| packet.2 == 1).count() > 100, "{quick}");
            assert_eq!(behind, 0, "{quick}");
            assert!(packets.is_sorted_by_key(|(time, ..)| *time), "{quick}");
        }
    }

    #[test]
    fn a_file_of_several_cards_is_in_the_order_in_which_packets_came() {
        // Two that stamp, by clocks of their own, and one that does not.
        let cards = [
            "x2522,strict,wire=source:rate=700k",
            "x550,strict,wire=source:rate=1M",
            "82599,strict,wire=source:rate=300k",
        ];
        for (count, queues) in [(2, 1), (3, 1), (3, 2)] {
            let (packets, late) = capture(&cards[..count], queues, 32, 20_000_000, 4_000);
            assert!(packets.is_sorted_by_key(|(time, ..)| *time), "{count} cards with {queues} queues");
            assert_eq!(late, 0, "{count} cards with {queues} queues");
            for card in 0..count as u32 {
                let own: Vec<u64> = packets.iter().filter(|packet| packet.2 == card).map(|packet| packet.1).collect();
                assert!(own.len() > 200 && own.is_sorted(), "card {card}: {} packets", own.len());
            }
            // They alternate: no card is written as a whole before the other.
            let turns = packets.windows(2).filter(|pair| pair[0].2 != pair[1].2).count();
            assert!(turns > packets.len() / 10, "{turns} turns of {} packets", packets.len());
        }
    }
}
