//! Timing a contender.

use super::Contender;
use crate::emu::Picos;
use crate::emu::native::Steps;
use crate::emu::{Engine, Tap};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Histogram, Idle, Ticks, quiet};
use crate::sys;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Packets of a stretch: some half a millisecond, short enough to lie between
/// two moments of noise; and those before it that bring the contender's memory
/// back into the cache.
const PACKETS: usize = 2_048;
const WARM: usize = 512;

/// Descriptors that DPDK's vectors take together: net_i40e's for AVX2 stops before one that
/// has none to go with, and leaves its frame for later.
const ALIGNED: usize = 8;

/// Frames that are received at once while a card is drained.
pub(super) const WHOLE_STEP: usize = 32;

/// Looks at a card that is to be drained, at most: some times what its packet buffer holds.
const TRIES: usize = 10_000;

/// Time on the wire of a frame of 64 bytes with its FCS at 10 Gbit/s.
const GAP: Picos = 67_200;

/// Packets whose instructions are counted: some microseconds each.
const COUNTED: usize = 128;

/// Packets of a stretch of latencies.
const SINGLES: usize = 2_000;

/// A stretch is over in some milliseconds. One that takes longer than this shared its
/// cores, and the rest of it would show nothing else.
const WHOLE: Duration = Duration::from_millis(500);

/// Steps of the card in which a frame arrives, at most: some milliseconds on the wire.
const STEPS: usize = 1 << 20;

/// Looks in which a driver sees what the card has written, at most.
const LOOKS: usize = 1_000;

/// The card of a contender.
pub struct Card<'a> {
    /// What makes it run; virtual time.
    pub engine: &'a Engine,
    /// Counts what it received.
    pub tap: &'a Tap,
    /// All its queues have one doorbell, so it has to see what was stored there by a
    /// receive before the next send.
    pub crowded: bool,
}

impl Card<'_> {
    /// Lets the card receive `frames` and send for as long; of none, it only looks at
    /// its doorbells.
    pub(super) fn play(&self, frames: usize) {
        if frames == 0 {
            self.engine.step();
        }
        for _ in 0..frames {
            self.engine.advance(GAP);
            self.engine.step();
        }
    }

    /// Has the card receive what is played and nothing else until this is dropped.
    pub(super) fn hold(&self) -> Held<'_> {
        self.engine.hold(true);
        Held(self.engine)
    }

    /// Frames that it has received, each into a descriptor.
    pub(super) fn received(&self) -> usize {
        self.tap.wire().rx_frames as usize
    }

    /// Lets it receive one frame, if one comes; the reading of the clock before it began to.
    fn play_one(&self, clock: &Clock) -> Ticks {
        let before = self.received();
        let mut start = clock.now_ordered();
        for _ in 0..STEPS {
            self.engine.advance(GAP / 8);
            start = clock.now_ordered();
            self.engine.step();
            if self.received() != before {
                break;
            }
        }
        start
    }
}

/// Virtual time that passes when the card is played, whatever registers a driver reads.
pub(super) struct Held<'a>(&'a Engine);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.hold(false);
    }
}

/// Where the card runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// On the driver's core, between its bursts.
    Hot,
    /// On this core, while the driver waits.
    LockStep(usize),
}

/// What a packet costs, in ticks of the clock or in instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Receiving it.
    pub rx: f64,
    /// Sending it, with what is to be done for those sent before.
    pub tx: f64,
}

/// How long a packet takes from the card to the driver's caller, ns.
#[derive(Debug)]
pub struct Latency {
    /// Each packet's.
    pub times: Histogram,
}

/// Times contenders.
pub struct Bench {
    clock: Clock,
    cost: f64,
    probe: quiet::Probe,
    samples: [Vec<Ticks>; 2],
}

impl Bench {
    /// Learns what reading the clock costs.
    pub fn new() -> Self {
        let clock = Clock::new();
        let cost = quiet::cost(&clock);
        Bench { clock, cost, probe: quiet::Probe::new(None), samples: Default::default() }
    }

    /// The clock that times.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How fast this core was seen to be, to share with another process.
    pub fn fastest(&mut self, other: Option<Ticks>) -> Ticks {
        if let Some(other) = other {
            self.probe = quiet::Probe::new(Some(other.min(self.probe.best())));
        }
        self.probe.best()
    }

    /// Times a stretch of bursts; None if somebody else was on the core.
    ///
    /// # Errors
    /// If the card does not deliver what it should, or the driver does not send it.
    pub fn stretch(
        &mut self,
        contender: &mut impl Contender,
        card: &Card<'_>,
        stage: Stage,
        burst: usize,
    ) -> Result<Option<Cost>> {
        let bursts = PACKETS / burst;
        let before = self.probe.is_quiet(&self.clock);
        let _held = card.hold();
        let whole = match stage {
            Stage::Hot => self.time(contender, card, burst, bursts, |frames| {
                card.play(frames);
                true
            }),
            Stage::LockStep(cpu) => together(
                cpu,
                |frames| card.play(frames),
                |baton| self.time(contender, card, burst, bursts, |frames| baton.lend(frames)),
            ),
        }?;
        let after = self.probe.is_quiet(&self.clock);
        let [rx, tx] = &mut self.samples;
        let each = |samples: &mut Vec<Ticks>| quiet::mean(&self.clock, samples, self.cost) / burst as f64;
        Ok((before && whole && after).then(|| Cost { rx: each(rx), tx: each(tx) }))
    }

    /// Times so many bursts; false if it took too long to be of use.
    fn time(
        &mut self,
        contender: &mut impl Contender,
        card: &Card<'_>,
        burst: usize,
        bursts: usize,
        mut play: impl FnMut(usize) -> bool,
    ) -> Result<bool> {
        self.samples.iter_mut().for_each(Vec::clear);
        let (mut missed, mut warm) = (0, WARM / burst);
        let mut behind = true;
        let end_at = self.clock.now() + self.clock.ticks(WHOLE);
        while self.samples[0].len() < bursts {
            if behind {
                drain(contender, card, ALIGNED)?;
            }
            if !play(burst) {
                return Err(ended());
            }
            let start = self.clock.now_ordered();
            if start > end_at {
                drain(contender, card, ALIGNED)?;
                return Ok(false);
            }
            let received = contender.receive(burst);
            let middle = self.clock.now_ordered();
            let mut resumed = middle;
            if card.crowded {
                if !play(0) {
                    return Err(ended());
                }
                resumed = self.clock.now_ordered();
            }
            let sent = contender.send();
            let end = self.clock.now_ordered();
            let whole = received == burst && sent == burst;
            behind = !whole;
            if warm > 0 {
                warm -= 1;
            } else if whole {
                self.samples[0].push(middle - start);
                self.samples[1].push(end - resumed);
            } else {
                missed += 1;
            }
            if missed > bursts {
                let what = format!("of a burst of {burst} it received {received} and sent {sent}, most times");
                return Err(Error::new(Kind::Device, what));
            }
        }
        card.play(0);
        match contender.receive(burst) {
            0 => Ok(true),
            // Each burst was there before.
            n => Err(Error::new(Kind::Device, format!("{n} frames more than were played are there at the end"))),
        }
    }

    /// Instructions a packet, exactly.
    ///
    /// # Errors
    /// If the card does not deliver what it should, or the driver does not send it.
    pub fn count(
        &mut self,
        steps: &Steps,
        contender: &mut impl Contender,
        card: &Card<'_>,
        burst: usize,
    ) -> Result<Cost> {
        let (mut rx, mut tx, mut packets) = (0, 0, 0);
        let _held = card.hold();
        drain(contender, card, ALIGNED)?;
        for _ in 0..COUNTED / burst {
            card.play(burst);
            let mut received = 0;
            let took = steps.count(|| received = contender.receive(burst));
            if card.crowded {
                card.play(0);
            }
            let mut sent = 0;
            let sending = steps.count(|| sent = contender.send());
            // Bursts that the card left incomplete say nothing of whole ones.
            if received == burst && sent == burst {
                rx += took;
                tx += sending;
                packets += burst;
            } else {
                drain(contender, card, ALIGNED)?;
            }
        }
        if packets == 0 {
            let what = format!("it never received a whole burst of {burst}, and sent it");
            return Err(Error::new(Kind::Device, what));
        }
        let each = |n: u64| n as f64 / packets as f64;
        Ok(Cost { rx: each(rx), tx: each(tx) })
    }

    /// Latency of single packets, from the moment before the card on core `cpu`
    /// begins to write one to the moment the driver's caller has it; None if
    /// somebody else was on the core.
    pub fn latency(&mut self, contender: &mut impl Contender, card: &Card<'_>, cpu: usize) -> Result<Option<Latency>> {
        let before = self.probe.is_quiet(&self.clock);
        let _held = card.hold();
        drain(contender, card, ALIGNED)?;
        let (clock, started) = (&self.clock, AtomicU64::new(0));
        let mut times = Histogram::new();
        let whole = together(
            cpu,
            |frames| {
                if frames == 0 {
                    return card.play(0);
                }
                // The driver is polling by then.
                let from = clock.now();
                while clock.now() - from < clock.ticks(Duration::from_nanos(500)) {
                    std::hint::spin_loop();
                }
                started.store(card.play_one(clock), Ordering::Release);
            },
            |baton| {
                let end_at = clock.now() + clock.ticks(WHOLE);
                for _ in 0..SINGLES {
                    // A packet that is there already would take no time, and so would
                    // each after it, received while the card plays the next.
                    while contender.receive(32) > 0 {
                        contender.send();
                    }
                    baton.start(1);
                    let mut idle = Idle::with_spins(1 << 20);
                    let mut received = contender.receive(32);
                    let mut looks = 0;
                    while received == 0 {
                        idle.polled(0);
                        looks += usize::from(idle.is_yielding() && baton.is_back());
                        if looks == LOOKS {
                            return Err(Error::new(Kind::Timeout, "it never received the packet"));
                        }
                        received = contender.receive(32);
                    }
                    let end = clock.now_ordered();
                    if !baton.take(DRIVER) || (card.crowded && !baton.lend(0)) {
                        return Err(ended());
                    }
                    contender.send();
                    if end > end_at {
                        return Ok(false);
                    }
                    times.record(clock.ns(end.saturating_sub(started.load(Ordering::Acquire))));
                }
                Ok(true)
            },
        )?;
        let after = self.probe.is_quiet(&self.clock);
        Ok((before && whole && after).then_some(Latency { times }))
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes what the card has, in the ring and in its packet buffer, without new frames: each
/// burst is to be what it has just written, not what it has delivered or kept while nobody
/// received. The next burst begins at a multiple of `round` descriptors, which whole steps of
/// [`WHOLE_STEP`] lead to.
///
/// # Errors
/// If the card delivers nothing, or without an end.
pub(super) fn drain(contender: &mut impl Contender, card: &Card<'_>, round: usize) -> Result<()> {
    for _ in 0..TRIES {
        card.play(0);
        if contender.receive(WHOLE_STEP) > 0 {
            contender.discard();
            continue;
        }
        match (card.received(), card.received() % round) {
            (1.., 0) => return Ok(()),
            (_, beyond) => card.play(match (round - beyond) % WHOLE_STEP {
                0 => WHOLE_STEP,
                part => part,
            }),
        }
    }
    Err(Error::new(Kind::Device, "it receives no more, or without an end"))
}

fn ended() -> Error {
    Error::new(Kind::Device, "the thread that plays the card has ended")
}

/// Whose turn it is.
const DRIVER: u32 = 0;
const CARD: u32 = 1;
const OVER: u32 = 2;

/// One of two threads runs, the other waits.
#[repr(align(128))]
struct Baton {
    turn: AtomicU32,
    /// Frames that the card is to play in its turn.
    frames: AtomicUsize,
}

impl Baton {
    /// Gives the turn, unless it is over.
    fn pass(&self, from: u32, to: u32) {
        // What fails here is that the other has ended it.
        let _ = self.turn.compare_exchange(from, to, Ordering::Release, Ordering::Relaxed);
    }

    /// Gives the card its turn, to play so many frames.
    fn start(&self, frames: usize) {
        self.frames.store(frames, Ordering::Relaxed);
        self.pass(DRIVER, CARD);
    }

    /// Whether the card has had its turn.
    fn is_back(&self) -> bool {
        self.turn.load(Ordering::Acquire) != CARD
    }

    /// The same, and waits for its end; false if it does not come.
    fn lend(&self, frames: usize) -> bool {
        self.start(frames);
        self.take(DRIVER)
    }

    /// Waits for the turn, however long the other's takes; false if the other has ended.
    fn take(&self, mine: u32) -> bool {
        let mut idle = Idle::with_spins(1 << 14);
        loop {
            match self.turn.load(Ordering::Acquire) {
                turn if turn == mine => return true,
                OVER => return false,
                _ => idle.polled(0),
            }
        }
    }
}

/// The turns are over when it is dropped, also by one who panics.
struct End<'b>(&'b Baton);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.turn.store(OVER, Ordering::Release);
    }
}

/// Runs `card` on core `cpu` each time that `driver` passes the baton.
fn together<R>(cpu: usize, card: impl Fn(usize) + Sync, driver: impl FnOnce(&Baton) -> Result<R>) -> Result<R> {
    let baton = Baton { turn: AtomicU32::new(DRIVER), frames: AtomicUsize::new(0) };
    thread::scope(|scope| {
        scope.spawn(|| {
            let _end = End(&baton);
            // Where it may not run there, it shares a core, and the noise shows.
            let _ = sys::set_affinity(&[cpu]);
            while baton.take(CARD) {
                card(baton.frames.load(Ordering::Relaxed));
                baton.pass(CARD, DRIVER);
            }
        });
        let _end = End(&baton);
        driver(&baton)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{BUFFERS, Ours, spec, stepped};
    use super::*;
    use crate::dma::{Addressing, Pool};
    use crate::emu::Drive;

    #[test]
    fn frames_that_came_while_nobody_received_are_in_no_burst() {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&spec("82599").unwrap()).unwrap();
        let pool = Pool::new(BUFFERS as usize, Addressing::Translated).unwrap();
        let mut ours = stepped(&engine, None, || Ours::start(function, 512, &pool)).unwrap();
        // The ring is full then, and the packet buffer has more.
        for _ in 0..100 {
            engine.advance(10_000_000);
            engine.step();
        }
        let card = Card { engine: &engine, tap: &tap, crowded: false };
        assert!(card.received() >= 511);
        // A machine that is busy has no figure; the driver is not behind all the same.
        Bench::new().stretch(&mut ours, &card, Stage::Hot, 4).unwrap();
        engine.step();
        assert_eq!((ours.receive(32), card.received() % ALIGNED), (0, 0));
    }
}
