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

use crate::cli::signal::Stop;
use crate::dma::{Batch, Pool};
use crate::driver::{Anomalies, MacAddr, RxQueue, TxQueue};
use crate::error::Result;
use crate::measure::Idle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is done to each frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing: it is not even looked at.
    Nothing,
    /// Source and destination address change places.
    SwapMacs,
    /// It comes from `source` and goes to `destination`.
    SetMacs {
        /// Address of the port it leaves by.
        source: MacAddr,
        /// Address of who is there.
        destination: MacAddr,
    },
}

impl Rewrite {
    /// Does it to every frame of `batch`, once, where the frame starts.
    #[inline]
    fn apply(self, batch: &mut Batch<'_>) {
        match self {
            Rewrite::Nothing => {}
            Rewrite::SwapMacs => each_start(batch, |addresses| {
                let (destination, source) = addresses.split_at_mut(6);
                destination.swap_with_slice(source);
            }),
            Rewrite::SetMacs { source, destination } => each_start(batch, |addresses| {
                addresses[..6].copy_from_slice(&destination.0);
                addresses[6..].copy_from_slice(&source.0);
            }),
        }
    }
}

/// Calls `f` on the two addresses of each frame that has them.
#[inline]
fn each_start(batch: &mut Batch<'_>, f: impl Fn(&mut [u8; 12])) {
    let mut starts = true;
    for i in 0..batch.len() {
        if starts && let Some(addresses) = batch.frame_mut(i).first_chunk_mut() {
            f(addresses);
        }
        starts = !batch.continues(i);
    }
}

/// What a lane has done so far, for another thread to read.
#[derive(Debug, Default)]
pub struct Counts {
    /// Frames passed on.
    pub frames: AtomicU64,
    /// Nanoseconds from the start of [`run`] to the first frame, plus one; 0 before it.
    pub first: AtomicU64,
}

/// One way through from a queue to a queue.
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

/// When lanes end.
#[derive(Clone, Debug)]
pub struct Until {
    /// On a signal, or when time is up.
    pub stop: Stop,
    /// After so many frames over all lanes.
    pub left: Option<Arc<AtomicU64>>,
}

impl Until {
    /// How many of `frames` may still go.
    #[inline]
    fn take(&self, frames: usize) -> usize {
        match &self.left {
            None => frames,
            Some(left) => self.count_down(left, frames),
        }
    }

    fn count_down(&self, left: &AtomicU64, frames: usize) -> usize {
        let mut had = left.load(Ordering::Relaxed);
        loop {
            let take = had.min(frames as u64);
            match left.compare_exchange_weak(had, had - take, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    if had == take {
                        self.stop.end();
                    }
                    return take as usize;
                }
                Err(now) => had = now,
            }
        }
    }
}

impl Lane {
    /// A lane that gives `rx` its first buffers. The pool must hold both rings
    /// and a batch.
    pub fn new(mut rx: RxQueue, tx: TxQueue, pool: Pool, batch: usize, rewrite: Rewrite) -> Self {
        rx.fill(&pool);
        Lane { rx, tx, pool, batch, rewrite, counts: Arc::default() }
    }

    fn start(&mut self, start: Instant) -> Running<'_> {
        Running {
            rx: &mut self.rx,
            tx: &mut self.tx,
            batch: Batch::with_limit(&self.pool, self.batch),
            rewrite: self.rewrite,
            counts: &self.counts,
            frames: 0,
            start,
        }
    }

    /// What it has done, to be watched.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
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
    start: Instant,
}

impl Running<'_> {
    /// Receives, rewrites and sends once; how many buffers moved.
    #[inline]
    fn turn(&mut self, until: &Until) -> usize {
        let mut moved = 0;
        if self.batch.is_empty() {
            moved = self.rx.recv(&mut self.batch);
            if moved == 0 {
                return 0;
            }
            self.admit(until);
            self.rewrite.apply(&mut self.batch);
        }
        moved + self.tx.send(&mut self.batch)
    }

    /// Counts the frames that came, and lets go of those beyond the limit.
    #[inline]
    fn admit(&mut self, until: &Until) {
        let frames = (0..self.batch.len()).filter(|&i| !self.batch.continues(i)).count();
        if self.frames == 0 {
            self.note_first();
        }
        let take = until.take(frames);
        if take < frames {
            self.cut(take);
        }
        self.frames += take as u64;
        self.counts.frames.store(self.frames, Ordering::Relaxed);
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
    fn drain(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut idle = Idle::new();
        loop {
            self.tx.send(&mut self.batch);
            let waiting = self.tx.reclaim(self.batch.pool());
            if (self.batch.is_empty() && waiting == 0) || Instant::now() >= deadline {
                return;
            }
            idle.polled(0);
        }
    }
}

/// How long packets in the transmit rings may take to leave at the end.
const DRAIN: Duration = Duration::from_millis(100);

/// How long an interrupt is waited for before the lane looks by itself, and at
/// whether it is to end.
const PATIENCE: Duration = Duration::from_millis(20);

/// Runs `lanes` in this thread, in turns, until told to end; then lets what was
/// received leave. With [`Wait::Interrupt`] it sleeps on the first lane only.
///
/// # Errors
/// What waiting for an interrupt met.
pub fn run(lanes: &mut [Lane], wait: Wait, until: &Until) -> Result<()> {
    let start = Instant::now();
    let mut running: Vec<Running<'_>> = lanes.iter_mut().map(|lane| lane.start(start)).collect();
    let mut idle = Idle::new();
    let mut result = Ok(());
    while !until.stop.requested() {
        let moved = running.iter_mut().map(|lane| lane.turn(until)).sum();
        match (wait, running.first_mut()) {
            (Wait::Interrupt, Some(lane)) if moved == 0 && lane.batch.is_empty() => {
                if let Err(error) = lane.rx.wait(PATIENCE) {
                    result = Err(error);
                    until.stop.end();
                }
            }
            _ => idle.polled(moved),
        }
    }
    for lane in &mut running {
        lane.drain(DRAIN);
    }
    result
}
