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

use super::extras::Extras;
use super::impair;
use super::rewrite::Rewrite;
use super::until::Until;
use crate::cli::hang::Hang;
use crate::cli::share::Share;
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
    /// Frames, or parts of them, that the card has not reported as sent when that was waited
    /// for.
    pub stuck: AtomicU64,
    /// Frames that the filter left out.
    pub filtered: AtomicU64,
    /// Frames that the mode lets go.
    pub let_go: AtomicU64,
    /// Frames that the lane made itself.
    pub made: AtomicU64,
    /// What was done to frames as a bad wire does.
    pub impaired: impair::Counts,
}

/// Counts; only the thread of the lane may.
#[inline]
pub(super) fn add(count: &AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

/// One way through from a queue to a queue, in lines of its own.
#[repr(align(64))]
pub struct Lane {
    rx: RxQueue,
    tx: TxQueue,
    pool: Pool,
    batch: usize,
    rewrite: Rewrite,
    extras: Option<Extras>,
    counts: Arc<Counts>,
}

/// How a lane is waited on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Look again and again.
    Poll,
    /// Sleep until the card interrupts, after more than so many looks in a row that found
    /// nothing; for one lane a thread.
    Interrupt {
        /// 0 is after the first.
        after: u32,
    },
}

/// How a lane waited that sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Looks that found nothing.
    pub empty: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// Of those, how many the card ended, or a packet that was there before.
    pub woken: u64,
}

impl Wait {
    /// Looks in a row that find nothing after which nothing comes, where the wires have run
    /// dry.
    fn quiet(self) -> u32 {
        match self {
            Wait::Poll => 64,
            Wait::Interrupt { after } => after.min(62) + 2,
        }
    }
}

impl Lane {
    /// A lane that gives `rx` its first buffers. The pool must hold both rings
    /// and a batch.
    pub fn new(mut rx: RxQueue, mut tx: TxQueue, pool: Pool, batch: usize, rewrite: Rewrite) -> Result<Self> {
        rx.fill(&pool)?;
        tx.adopt(&pool)?;
        Ok(Lane { rx, tx, pool, batch, rewrite, extras: None, counts: Arc::default() })
    }

    /// The same lane, which does that besides.
    pub fn with(self, extras: Option<Extras>) -> Self {
        Lane { extras, ..self }
    }

    pub(super) fn start(&mut self, start: Instant) -> Running<'_> {
        Running {
            rx: &mut self.rx,
            tx: &mut self.tx,
            batch: Batch::with_limit(&self.pool, self.batch),
            limit: self.batch,
            rewrite: self.rewrite,
            extras: self.extras.as_mut(),
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
pub(super) struct Running<'a> {
    rx: &'a mut RxQueue,
    tx: &'a mut TxQueue,
    batch: Batch<'a>,
    /// Packets to take off the ring in one go.
    limit: usize,
    rewrite: Rewrite,
    extras: Option<&'a mut Extras>,
    counts: &'a Counts,
    frames: u64,
    /// Whether the batch has just been received: nothing was done to it yet.
    fresh: bool,
    start: Instant,
}

impl Running<'_> {
    /// Receives, rewrites and sends once; how many buffers moved.
    #[inline]
    pub(super) fn turn(&mut self, share: &mut Share) -> usize {
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

    /// A turn of a lane that does something besides, which a plain one is not to pay for.
    #[inline(never)]
    fn full_turn(&mut self, share: &mut Share) -> usize {
        let Some(extras) = &mut self.extras else { return self.turn(share) };
        let (mut moved, mut pass) = (0, 0);
        if self.batch.is_empty() {
            pass = extras.release(&mut self.batch);
            if pass == 0 && extras.has_room() {
                self.batch.set_limit(self.limit);
                moved = self.rx.recv(&mut self.batch);
                extras.sift(&mut self.batch, self.counts);
                extras.make(&mut self.batch);
                self.fresh = !self.batch.is_empty();
            }
        }
        if self.fresh {
            let Some(took) = self.take(share) else { return moved };
            self.fresh = false;
            let Some(extras) = &mut self.extras else { return moved };
            if extras.lets_go() {
                add(&self.counts.let_go, took);
                self.batch.clear();
                return moved;
            }
            if extras.makes() {
                add(&self.counts.made, took);
            }
            pass = extras.impair(&mut self.batch, took, self.counts);
        }
        if pass > 0 {
            self.pass(pass);
        }
        if self.batch.is_empty() {
            return moved;
        }
        moved + self.tx.send(&mut self.batch)
    }

    /// Counts the `frames` of the batch, and rewrites them, before they are sent.
    #[inline(never)]
    fn pass(&mut self, frames: u64) {
        self.frames += frames;
        self.counts.frames.store(self.frames, Ordering::Relaxed);
        self.rewrite.apply(&mut self.batch);
    }

    /// Whether it has frames in hand.
    fn holds(&self) -> bool {
        !self.batch.is_empty() || self.extras.as_ref().is_some_and(|extras| extras.holds())
    }

    /// A turn, its time counted if it moved something: idle turns are the wire's.
    #[inline]
    fn timed_turn(&mut self, share: &mut Share, clock: &Clock, plain: bool) -> usize {
        let receives = self.batch.is_empty();
        let begin = clock.now();
        let moved = if plain { self.turn(share) } else { self.full_turn(share) };
        if moved > 0 {
            add(&self.counts.ticks, clock.now() - begin);
            add(&self.counts.bursts, receives.into());
        }
        moved
    }

    /// Counts the frames that came, and lets go of those beyond the limit; false if it is not
    /// known yet which these are.
    #[inline]
    fn admit(&mut self, share: &mut Share) -> bool {
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

    /// As [`Running::admit`], but that they are not counted as passed on; how many they are, if
    /// that is known yet.
    fn take(&mut self, share: &mut Share) -> Option<u64> {
        if self.counts.first.load(Ordering::Relaxed) == 0 {
            self.note_first();
        }
        let frames = (0..self.batch.len()).filter(|&i| !self.batch.continues(i)).count();
        let take = share.take(frames)?;
        if take < frames {
            self.cut(take);
        }
        Some(take as u64)
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

    /// Sends what is still in hand and waits until it has left, or for `patience`. What is held
    /// back longer than that stays so, and what is let out meanwhile has as long to leave.
    fn drain(&mut self, patience: Duration, cards: Option<&Inline>) {
        if self.fresh {
            self.cut(0);
        }
        let out = Instant::now() + patience;
        let mut deadline = out;
        let mut idle = Idle::new();
        loop {
            let now = Instant::now();
            if now < out && self.let_out() {
                deadline = now + patience;
            }
            self.tx.send(&mut self.batch);
            let waiting = self.tx.reclaim(self.batch.pool());
            let holds = if now < out { self.holds() } else { !self.batch.is_empty() };
            if (!holds && waiting == 0) || now >= deadline {
                self.counts.stuck.store(waiting as u64, Ordering::Relaxed);
                break;
            }
            idle.polled(play(cards));
        }
        if let Some(impaired) = self.extras.as_ref().and_then(|extras| extras.impaired.as_ref()) {
            impaired.tell(&self.counts.impaired);
        }
    }

    /// Passes on what was held back and is due, if nothing is in hand; whether that was anything.
    fn let_out(&mut self) -> bool {
        if !self.batch.is_empty() {
            return false;
        }
        let released = self.extras.as_mut().map_or(0, |extras| extras.release(&mut self.batch));
        if released > 0 {
            self.pass(released);
        }
        released > 0
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
pub const PATIENCE: Duration = Duration::from_millis(20);

/// What a thread has to run.
pub struct Work<'w> {
    /// Its lanes, in turns.
    pub lanes: &'w mut [Lane],
    /// The emulated cards of these that it plays between its polls.
    pub cards: Option<Inline>,
    /// How long a sleep may last before the lane looks by itself.
    pub patience: Duration,
    /// With [`Wait::Interrupt`] it sleeps on the first lane only.
    pub wait: Wait,
    /// When it ends.
    pub until: &'w Until,
    /// Times the turns.
    pub clock: Option<&'w Clock>,
}

/// Runs lanes in this thread until told to end; then lets what was received leave, calls
/// `ended`, and lets go of what comes until the counters are read. Returns the processor
/// time that this thread had up to the end, and how it waited.
///
/// # Errors
/// What waiting for an interrupt met.
pub fn run(work: Work<'_>, ended: impl FnOnce()) -> Result<(Duration, Waits)> {
    let Work { lanes, cards, patience, wait, until, clock } = work;
    let cards = cards.as_ref();
    let start = Instant::now();
    let had = sys::thread_cpu_ns();
    let mut running: Vec<Running<'_>> = lanes.iter_mut().map(|lane| lane.start(start)).collect();
    let mut share = until.share();
    let (mut idle, mut quiet) = (Idle::new(), 0);
    let mut hang = Hang::default();
    let (mut waits, mut empty) = (Waits::default(), 0_u32);
    let mut result = Ok(());
    let plain = running.iter().all(|lane| lane.extras.is_none());
    while !until.stop.requested() {
        let moved = match clock {
            None if plain => running.iter_mut().map(|lane| lane.turn(&mut share)).sum(),
            None => running.iter_mut().map(|lane| lane.full_turn(&mut share)).sum(),
            Some(clock) => running.iter_mut().map(|lane| lane.timed_turn(&mut share, clock, plain)).sum(),
        };
        share.polled(moved);
        if moved > 0 || running.iter().all(|lane| lane.batch.is_empty()) {
            hang.over();
        } else {
            hang.look(&until.stop);
        }
        if until.stop.is_dry() {
            let nothing = moved == 0 && !running.iter().any(Running::holds);
            quiet = if nothing { quiet + 1 } else { 0 };
            if quiet > wait.quiet() {
                break;
            }
        }
        match (wait, running.first_mut()) {
            (Wait::Interrupt { after }, Some(lane)) if moved == 0 && !lane.holds() => {
                (waits.empty, empty) = (waits.empty + 1, empty.saturating_add(1));
                if empty <= after {
                    idle.polled(0);
                    continue;
                }
                share.give_back();
                // What came since the last look ends it at once: see `RxQueue::wait`.
                match lane.rx.wait(patience) {
                    Ok(woken) => {
                        waits.sleeps += 1;
                        waits.woken += u64::from(woken);
                        // Something came: it is polled for a while again.
                        empty = if woken { 0 } else { empty };
                    }
                    Err(error) => {
                        result = Err(error);
                        until.stop.end();
                    }
                }
            }
            (Wait::Interrupt { .. }, _) => {
                empty = 0;
                idle.polled(moved);
            }
            _ => idle.polled(moved + play(cards)),
        }
    }
    // Others may wait for what this one leaves.
    share.give_back();
    let had = Duration::from_nanos(sys::thread_cpu_ns().saturating_sub(had));
    for lane in &mut running {
        lane.drain(DRAIN, cards);
    }
    ended();
    while !until.counted.load(Ordering::Relaxed) {
        let moved: usize = running.iter_mut().map(Running::let_go).sum();
        idle.polled(moved + play(cards));
    }
    result.map(|()| (had, waits))
}

/// Lets the cards that this thread plays do what they have to; how much that was.
#[inline]
fn play(cards: Option<&Inline>) -> usize {
    cards.map_or(0, Inline::step)
}

#[cfg(test)]
mod tests;
