//! Lanes: the data plane of `bmnic fwd`.
//!
//! ```text
//!    port A                    lane A>B                     port B
//!    rx[q] ---recv---> Batch ---rewrite---> Batch ---send---> tx[q]
//!      ^                        pool                            |
//!      +---- empty buffers <----'   '<---- sent buffers --------+
//! ```
//!
//! A lane is one receive queue, one transmit queue and the pool whose buffers
//! go round between them, so lanes share nothing and can run in one thread or
//! in one each. What the far ring has no room for is kept and offered again;
//! nothing is received meanwhile, so a slow far end fills the near ring and the
//! card there says what was lost, or asks its sender to pause.

use super::rewrite::Rewrite;
use super::until::{Share, Until};
use crate::dma::{Batch, Pool};
use crate::driver::{Anomalies, RxQueue, TxQueue};
use crate::emu::Inline;
use crate::error::Result;
use crate::measure::{Clock, Idle};
use crate::sys;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a lane has done so far, for another thread to read. It is in a line of its own: the
/// lanes of other threads write theirs at the same time.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counts {
    /// Frames passed on.
    pub frames: AtomicU64,
    /// Nanoseconds from the start of [`run`] to the first frame, plus one; 0 before it.
    pub first: AtomicU64,
    /// Ticks of turns that moved something, if they are timed.
    pub ticks: AtomicU64,
    /// How many of them received something.
    pub bursts: AtomicU64,
    /// Frames that came after the end and were let go.
    pub surplus: AtomicU64,
}

/// One way through from a queue to a queue, in lines of its own.
#[repr(align(64))]
pub struct Lane {
    rx: RxQueue,
    tx: TxQueue,
    pool: Pool,
    batch: usize,
    rewrite: Rewrite,
    counts: Arc<Counts>,
}

/// How a lane is waited on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Look again and again.
    Poll,
    /// Sleep until the card interrupts; for one lane a thread.
    Interrupt,
}

impl Lane {
    /// A lane that gives `rx` its first buffers. The pool must hold both rings
    /// and a batch.
    pub fn new(mut rx: RxQueue, mut tx: TxQueue, pool: Pool, batch: usize, rewrite: Rewrite) -> Result<Self> {
        rx.fill(&pool)?;
        tx.adopt(&pool)?;
        Ok(Lane { rx, tx, pool, batch, rewrite, counts: Arc::default() })
    }

    fn start(&mut self, start: Instant) -> Running<'_> {
        Running {
            rx: &mut self.rx,
            tx: &mut self.tx,
            batch: Batch::with_limit(&self.pool, self.batch),
            rewrite: self.rewrite,
            counts: &self.counts,
            frames: 0,
            fresh: false,
            start,
        }
    }

    /// What it has done, to be watched.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Packets that may have been received and not been sent: in its ring, and in hand.
    pub fn most_received(&self) -> usize {
        self.rx.buffers() + self.batch
    }

    /// What the devices did wrong on its queues.
    pub fn anomalies(&self) -> Anomalies {
        let mut all = self.rx.anomalies();
        all.add(&self.tx.anomalies());
        all
    }
}

/// A lane with its batch, while it runs.
struct Running<'a> {
    rx: &'a mut RxQueue,
    tx: &'a mut TxQueue,
    batch: Batch<'a>,
    rewrite: Rewrite,
    counts: &'a Counts,
    frames: u64,
    /// Whether the batch has just been received: nothing was done to it yet.
    fresh: bool,
    start: Instant,
}

impl Running<'_> {
    /// Receives, rewrites and sends once; how many buffers moved.
    #[inline]
    fn turn(&mut self, share: &mut Share<'_>) -> usize {
        let mut moved = 0;
        if self.batch.is_empty() {
            moved = self.rx.recv(&mut self.batch);
            if moved == 0 {
                return 0;
            }
            self.fresh = true;
        }
        if self.fresh {
            if !self.admit(share) {
                return moved;
            }
            self.fresh = false;
            self.rewrite.apply(&mut self.batch);
        }
        moved + self.tx.send(&mut self.batch)
    }

    /// A turn, its time counted if it moved something: idle turns are the wire's.
    #[inline]
    fn timed_turn(&mut self, share: &mut Share<'_>, clock: &Clock) -> usize {
        let receives = self.batch.is_empty();
        let begin = clock.now();
        let moved = self.turn(share);
        if moved > 0 {
            // This thread alone writes them.
            let add = |count: &AtomicU64, n| count.store(count.load(Ordering::Relaxed) + n, Ordering::Relaxed);
            add(&self.counts.ticks, clock.now() - begin);
            add(&self.counts.bursts, receives.into());
        }
        moved
    }

    /// Counts the frames that came, and lets go of those beyond the limit; false if it is not
    /// known yet which these are.
    #[inline]
    fn admit(&mut self, share: &mut Share<'_>) -> bool {
        let frames = (0..self.batch.len()).filter(|&i| !self.batch.continues(i)).count();
        if self.frames == 0 {
            self.note_first();
        }
        let Some(take) = share.take(frames) else { return false };
        if take < frames {
            self.cut(take);
        }
        self.frames += take as u64;
        self.counts.frames.store(self.frames, Ordering::Relaxed);
        true
    }

    #[cold]
    fn note_first(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        self.counts.first.store(elapsed + 1, Ordering::Relaxed);
    }

    #[cold]
    fn cut(&mut self, frames: usize) {
        let ends = (0..self.batch.len()).filter(|&i| !self.batch.continues(i));
        let keep = if frames == 0 { 0 } else { ends.skip(frames - 1).map(|i| i + 1).next().unwrap_or(0) };
        self.batch.truncate(keep);
    }

    /// Sends what is still in hand and waits until it has left, or for `patience`.
    fn drain(&mut self, patience: Duration, cards: Option<&Inline>) {
        if self.fresh {
            self.cut(0);
        }
        let deadline = Instant::now() + patience;
        let mut idle = Idle::new();
        loop {
            self.tx.send(&mut self.batch);
            let waiting = self.tx.reclaim(self.batch.pool());
            if (self.batch.is_empty() && waiting == 0) || Instant::now() >= deadline {
                return;
            }
            idle.polled(play(cards));
        }
    }

    /// Lets go of what comes, so that no ring is full before the counters are read.
    fn let_go(&mut self) -> usize {
        self.batch.clear();
        let moved = self.rx.recv(&mut self.batch);
        let frames = (0..self.batch.len()).filter(|&i| !self.batch.continues(i)).count() as u64;
        self.counts.surplus.fetch_add(frames, Ordering::Relaxed);
        self.batch.clear();
        moved
    }
}

/// How long packets in the transmit rings may take to leave at the end: most take
/// microseconds, but an emulated card gets its turn when a busy machine has one.
const DRAIN: Duration = Duration::from_secs(1);

/// How long an interrupt is waited for before the lane looks by itself, and at
/// whether it is to end.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a thread has to run.
pub struct Work<'w> {
    /// Its lanes, in turns.
    pub lanes: &'w mut [Lane],
    /// The emulated cards of these that it plays between its polls.
    pub cards: Option<Inline>,
    /// With [`Wait::Interrupt`] it sleeps on the first lane only.
    pub wait: Wait,
    /// When it ends.
    pub until: &'w Until,
    /// Times the turns.
    pub clock: Option<&'w Clock>,
}

/// Runs lanes in this thread until told to end; then lets what was received leave, calls
/// `ended`, and lets go of what comes until the counters are read. Returns the processor
/// time that this thread had up to the end.
///
/// # Errors
/// What waiting for an interrupt met.
pub fn run(work: Work<'_>, ended: impl FnOnce()) -> Result<Duration> {
    let Work { lanes, cards, wait, until, clock } = work;
    let cards = cards.as_ref();
    let start = Instant::now();
    let had = sys::thread_cpu_ns();
    let mut running: Vec<Running<'_>> = lanes.iter_mut().map(|lane| lane.start(start)).collect();
    let mut share = Share::new(until);
    let mut idle = Idle::new();
    let mut result = Ok(());
    while !until.stop.requested() {
        let moved = match clock {
            None => running.iter_mut().map(|lane| lane.turn(&mut share)).sum(),
            Some(clock) => running.iter_mut().map(|lane| lane.timed_turn(&mut share, clock)).sum(),
        };
        share.polled(moved);
        match (wait, running.first_mut()) {
            (Wait::Interrupt, Some(lane)) if moved == 0 && lane.batch.is_empty() => {
                share.give_back();
                if let Err(error) = lane.rx.wait(PATIENCE) {
                    result = Err(error);
                    until.stop.end();
                }
            }
            _ => idle.polled(moved + play(cards)),
        }
    }
    let had = Duration::from_nanos(sys::thread_cpu_ns().saturating_sub(had));
    for lane in &mut running {
        lane.drain(DRAIN, cards);
    }
    ended();
    while !until.counted.load(Ordering::Relaxed) {
        let moved: usize = running.iter_mut().map(Running::let_go).sum();
        idle.polled(moved + play(cards));
    }
    result.map(|()| had)
}

/// Lets the cards that this thread plays do what they have to; how much that was.
#[inline]
fn play(cards: Option<&Inline>) -> usize {
    cards.map_or(0, Inline::step)
}

#[cfg(test)]
mod tests {
    use super::super::until::Left;
    use super::*;
    use crate::cli::signal::Stop;
    use crate::driver::{self, Config, Port};
    use crate::emu::{Drive, Engine, Spec, Tap};
    use crate::net::MacAddr;
    use crate::pci::Function;
    use crate::testing::allocations;

    /// A frame from one address to another, its rest numbered by `n`.
    fn frame(n: usize, len: usize) -> Vec<u8> {
        let mut frame: Vec<u8> = (0..len).map(|i| (n * 31 + i) as u8).collect();
        frame[..12].copy_from_slice(b"\x02to-to\x02fromf");
        frame
    }

    /// near --wire-- [in] lane [out] --wire-- far, all in this thread.
    struct Bench {
        engine: Engine,
        near: Port,
        far: Port,
        pool: Pool,
        taps: Vec<Tap>,
        nics: Vec<driver::Nic>,
        lane: Lane,
    }

    impl Bench {
        fn new(rewrite: Rewrite) -> Self {
            let engine = Engine::new(Drive::Manual);
            let config = Config { max_frame: 9216, rx_ring: 128, tx_ring: 64, ..Config::default() };
            let (mut taps, mut functions) = (Vec::new(), Vec::new());
            let mut port = |wire: &str| {
                let spec: Spec = format!("82599,strict,wire=peer:{wire}").parse().unwrap();
                let (function, tap) = engine.open(&spec).unwrap();
                taps.push(tap);
                functions.push(Arc::clone(&function));
                driver::open(function, &config).unwrap()
            };
            let (mut near, mut into, mut out, mut far) = (port("a"), port("a"), port("b"), port("b"));
            for nic in [&mut near.nic, &mut into.nic, &mut out.nic, &mut far.nic] {
                while !nic.link().unwrap().up {
                    engine.advance(100_000_000);
                    engine.step();
                }
            }
            let pool = |functions: &[Arc<dyn Function>]| {
                let pool = Pool::new(1024, crate::dma::Addressing::Translated).unwrap();
                functions.iter().for_each(|function| function.map(pool.arena()).unwrap());
                pool
            };
            let lane = Lane::new(into.rx.remove(0), out.tx.remove(0), pool(&functions), 32, rewrite).unwrap();
            let pool = pool(&functions);
            far.rx[0].fill(&pool).unwrap();
            Bench { engine, near, far, pool, taps, nics: vec![into.nic, out.nic], lane }
        }

        fn step(&self) {
            for _ in 0..4 {
                self.engine.advance(20_000_000);
                self.engine.step();
            }
        }

        /// Sends `frames` from the near port, lets `turns` go by, and returns
        /// what the far port received.
        fn pass(&mut self, frames: &[Vec<u8>], until: &Until, turns: usize) -> Vec<Vec<u8>> {
            let Bench { lane, engine, far, near, pool, .. } = self;
            let mut got = Vec::new();
            let mut batch = Batch::new(pool);
            for frame in frames {
                assert!(batch.push_frame(frame));
            }
            let mut running = lane.start(Instant::now());
            let mut share = Share::new(until);
            for _ in 0..turns {
                near.tx[0].send(&mut batch);
                for _ in 0..4 {
                    engine.advance(20_000_000);
                    engine.step();
                }
                running.turn(&mut share);
                let mut arrived = Batch::new(batch.pool());
                far.rx[0].recv(&mut arrived);
                let mut whole = Vec::new();
                for i in 0..arrived.len() {
                    whole.extend_from_slice(arrived.frame(i));
                    if !arrived.continues(i) {
                        got.push(std::mem::take(&mut whole));
                    }
                }
            }
            got
        }

        fn violations(&self) -> Vec<(String, u64)> {
            self.taps.iter().flat_map(Tap::violations).collect()
        }
    }

    fn forever() -> Until {
        Until { stop: Stop::default(), left: None, counted: Arc::default() }
    }

    #[test]
    fn frames_of_every_length_pass_byte_for_byte_and_in_order() {
        let mut bench = Bench::new(Rewrite::Nothing);
        let sizes = [60, 61, 64, 1514, 1518, 2047, 2048, 2049, 4096, 9000, 9216, 60];
        let sent: Vec<_> = sizes.iter().enumerate().map(|(n, &len)| frame(n, len)).collect();
        let got = bench.pass(&sent, &forever(), 40);
        assert_eq!(got.len(), sent.len());
        assert!(got == sent);
        assert_eq!(bench.lane.counts().frames.load(Ordering::Relaxed), sent.len() as u64);
        assert_eq!(bench.violations(), []);
        assert_eq!(bench.nics[0].stats().unwrap().rx_packets, sent.len() as u64);
        assert_eq!(bench.nics[1].stats().unwrap().tx_packets, sent.len() as u64);
    }

    #[test]
    fn addresses_are_swapped_or_set_once_a_frame_and_nothing_else_changes() {
        let sent: Vec<_> = [60, 5000, 100].iter().enumerate().map(|(n, &len)| frame(n, len)).collect();
        let (source, destination) = (MacAddr(*b"\x02sourc"), MacAddr(*b"\x02desti"));
        for (rewrite, head) in [
            (Rewrite::SwapMacs, &b"\x02fromf\x02to-to"[..]),
            (Rewrite::SetMacs { source, destination }, b"\x02desti\x02sourc"),
        ] {
            let got = Bench::new(rewrite).pass(&sent, &forever(), 30);
            assert_eq!(got.len(), sent.len());
            for (got, sent) in got.iter().zip(&sent) {
                assert_eq!(&got[..12], head);
                assert!(got[12..] == sent[12..]);
            }
        }
    }

    #[test]
    fn a_count_is_kept_to_the_frame() {
        let mut bench = Bench::new(Rewrite::Nothing);
        let sent: Vec<_> = (0..20).map(|n| frame(n, if n % 5 == 3 { 3000 } else { 60 })).collect();
        let until = Until { left: Some(Arc::new(Left::new(13, 1))), ..forever() };
        let got = bench.pass(&sent, &until, 40);
        assert!(until.stop.requested());
        assert!(got == sent[..13]);
        assert_eq!(bench.lane.counts().frames.load(Ordering::Relaxed), 13);
    }

    #[test]
    fn the_hot_loop_allocates_nothing_and_reads_no_register() {
        let mut bench = Bench::new(Rewrite::SwapMacs);
        for tap in &bench.taps {
            tap.trace(true);
            tap.take_trace();
        }
        let until = forever();
        let Bench { lane, engine, near, far, pool, taps, .. } = &mut bench;
        let mut running = lane.start(Instant::now());
        let mut share = Share::new(&until);
        let mut moved = 0;
        let mut requests = 0;
        for _ in 0..500 {
            let mut batch = Batch::with_limit(pool, 32);
            while batch.room() > 0 && batch.push(60).is_some() {}
            near.tx[0].send(&mut batch);
            drop(batch);
            for _ in 0..4 {
                engine.advance(20_000_000);
                engine.step();
            }
            requests += allocations(|| moved += running.turn(&mut share));
            far.rx[0].recv(&mut Batch::new(&*pool));
        }
        assert!(moved > 10_000, "{moved} buffers: too few to show anything");
        assert_eq!(requests, 0);
        for tap in taps {
            assert_eq!(tap.take_trace(), [], "{} buffers moved", moved);
        }
    }

    #[test]
    fn what_the_far_ring_has_no_room_for_is_kept_and_not_lost() {
        let mut bench = Bench::new(Rewrite::Nothing);
        let sent: Vec<_> = (0..120).map(|n| frame(n, 60)).collect();
        for half in sent.chunks(60) {
            let mut batch = Batch::new(&bench.pool);
            half.iter().for_each(|frame| assert!(batch.push_frame(frame)));
            bench.near.tx[0].send(&mut batch);
            bench.step();
        }
        // Many turns while the card's clock stands still: nothing leaves, so the
        // ring of 64 takes 63 and the lane holds the rest of its second batch.
        let until = forever();
        let mut running = bench.lane.start(Instant::now());
        let mut share = Share::new(&until);
        for _ in 0..50 {
            running.turn(&mut share);
        }
        assert_eq!((running.frames, running.batch.len()), (64, 1));
        let mut got = Vec::new();
        for _ in 0..30 {
            running.turn(&mut share);
            for _ in 0..4 {
                bench.engine.advance(20_000_000);
                bench.engine.step();
            }
            let mut arrived = Batch::new(&bench.pool);
            bench.far.rx[0].recv(&mut arrived);
            got.extend(arrived.frames().map(<[u8]>::to_vec));
        }
        assert!(got == sent, "{} of {}", got.len(), sent.len());
    }
}
