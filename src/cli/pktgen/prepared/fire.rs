//! The loop that waits for triggers and fires.
//!
//! Nothing between a trigger and the doorbell calls the system or allocates: descriptors are
//! written down beforehand ([`TxQueue::prepare`]). A card that takes none ready is given a
//! buffer that is filled beforehand, and filled again behind the doorbell.

use super::trigger::Source;
use crate::cli::signal::Stop;
use crate::dma::{Batch, Pool};
use crate::driver::{Anomalies, RxQueue, TxQueue};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Histogram, Idle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// All that firing needs.
pub struct Work {
    /// Looked at where packets are triggers.
    pub rx: Vec<RxQueue>,
    /// The ring that the packets go into.
    pub tx: TxQueue,
    /// Enough buffers for the rings, the packets and two batches.
    pub pool: Pool,
    /// The packets.
    pub frames: Vec<Vec<u8>>,
    /// What fires them.
    pub sources: Vec<Source>,
    /// Packets to take off a receive ring in one go.
    pub batch: usize,
    /// A clock of its own.
    pub clock: Clock,
    /// Ends after so many.
    pub count: u64,
    /// Who may end it earlier.
    pub stop: Stop,
    /// How many were fired, for another thread to read.
    pub fired: Arc<AtomicU64>,
}

/// What became of the triggers of a source.
pub struct Tally {
    /// What kind they are.
    pub kind: &'static str,
    /// Those that were seen.
    pub triggers: u64,
    /// Those that a packet was sent for.
    pub fired: u64,
    /// Those that name no packet which is ready.
    pub unknown: u64,
    /// Those that found the ring full.
    pub no_room: u64,
    /// Those that came too fast to be seen.
    pub missed: u64,
    /// From the trigger to the doorbell, ns.
    pub time: Histogram,
}

/// What came of it.
pub struct Done {
    /// By source, in their order.
    pub tallies: Vec<Tally>,
    /// Size with FCS and number of sendings of each packet.
    pub packets: Vec<(usize, u64)>,
    /// Whether the descriptors were laid ready, not only the buffers.
    pub laid: bool,
    /// Packets that the card had not sent when waiting for it ended.
    pub stuck: usize,
    /// What the device did wrong.
    pub anomalies: Anomalies,
}

impl Done {
    /// Packets that were given to the card.
    pub fn fired(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.fired).sum()
    }

    /// Triggers that asked for a packet that is ready.
    pub fn asked(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.triggers - tally.unknown + tally.missed).sum()
    }
}

/// How long packets in the ring may take to leave at the end.
const DRAIN: Duration = Duration::from_secs(1);

impl Work {
    /// Lays the packets ready and fires until told to end.
    ///
    /// # Errors
    /// What laying them ready met, or a socket.
    pub fn run(self) -> Result<Done> {
        let Work { mut rx, mut tx, pool, frames, mut sources, batch, clock, count, stop, fired } = self;
        for rx in &mut rx {
            rx.fill(&pool)?;
        }
        let mut rack = Rack::new(&mut tx, &pool, &frames)?;
        let mut came = Batch::with_limit(&pool, batch);
        let tally = |source: &Source| Tally {
            kind: source.kind(),
            triggers: 0,
            fired: 0,
            unknown: 0,
            no_room: 0,
            missed: 0,
            time: Histogram::new(),
        };
        let mut tallies: Vec<Tally> = sources.iter().map(tally).collect();
        let mut packets: Vec<(usize, u64)> = frames.iter().map(|frame| (super::size(frame), 0)).collect();
        let (mut left, mut idle) = (count, Idle::new());
        while !stop.requested() && left > 0 {
            let mut did = 0;
            for (source, tally) in sources.iter_mut().zip(&mut tallies) {
                did += source.look(&mut rx, &mut came, &clock, |number, at| {
                    if left == 0 {
                        return;
                    }
                    tally.triggers += 1;
                    let Some(n) = number.filter(|n| *n < packets.len()) else {
                        tally.unknown += 1;
                        return;
                    };
                    if !rack.fire(n) {
                        tally.no_room += 1;
                        return;
                    }
                    let rung = clock.now();
                    tally.time.record(clock.ns(rung.saturating_sub(at)));
                    tally.fired += 1;
                    packets[n].1 += 1;
                    left -= 1;
                    fired.store(count - left, Ordering::Relaxed);
                    rack.ready_again(n);
                })?;
            }
            rack.tidy();
            idle.polled(did);
        }
        for (source, tally) in sources.iter().zip(&mut tallies) {
            tally.missed = source.missed();
        }
        let laid = rack.laid();
        let deadline = Instant::now() + DRAIN;
        let mut stuck = rack.tidy();
        while stuck > 0 && Instant::now() < deadline {
            idle.polled(0);
            stuck = rack.tidy();
        }
        drop(rack);
        let mut anomalies = tx.anomalies();
        rx.iter().for_each(|rx| anomalies.add(&rx.anomalies()));
        Ok(Done { tallies, packets, laid, stuck, anomalies })
    }
}

/// Packets that are ready.
struct Rack<'r> {
    tx: &'r mut TxQueue,
    pool: &'r Pool,
    frames: &'r [Vec<u8>],
    /// A filled buffer for each, where the card takes none ready.
    held: Vec<Batch<'r>>,
    /// Packets in the ring, at most.
    waiting: usize,
}

impl<'r> Rack<'r> {
    fn new(tx: &'r mut TxQueue, pool: &'r Pool, frames: &'r [Vec<u8>]) -> Result<Self> {
        let mut batch = Batch::new(pool);
        let full = || Error::new(Kind::Limit, "there are too few buffers for the packets that are to be ready");
        for frame in frames {
            if !batch.push_frame(frame) {
                return Err(full());
            }
        }
        let held = match tx.prepare(&mut batch) {
            Ok(_) => Vec::new(),
            Err(error) if error.kind() == Kind::Unsupported => {
                drop(batch);
                tx.adopt(pool)?;
                let hold = |frame: &Vec<u8>| {
                    let mut batch = Batch::with_limit(pool, 1);
                    if batch.push_frame(frame) { Ok(batch) } else { Err(full()) }
                };
                frames.iter().map(hold).collect::<Result<_>>()?
            }
            Err(error) => return Err(error),
        };
        Ok(Rack { tx, pool, frames, held, waiting: 0 })
    }

    /// Whether the card has what is to be sent written down.
    fn laid(&self) -> bool {
        self.held.is_empty()
    }

    /// Sends packet `n`, from 0; false if the ring has no room for it.
    #[inline]
    fn fire(&mut self, n: usize) -> bool {
        if self.launch(n) {
            self.waiting += 1;
            return true;
        }
        self.waiting = self.tx.reclaim(self.pool);
        let launched = self.launch(n);
        self.waiting += usize::from(launched);
        launched
    }

    #[inline]
    fn launch(&mut self, n: usize) -> bool {
        match self.held.get_mut(n) {
            None => self.tx.launch(n),
            Some(batch) => !batch.is_empty() && self.tx.send(batch) == 1,
        }
    }

    /// Makes packet `n`, which was sent, ready for the next time.
    fn ready_again(&mut self, n: usize) {
        if let Some(batch) = self.held.get_mut(n)
            && !batch.push_frame(&self.frames[n])
        {
            self.waiting = self.tx.reclaim(self.pool);
            // It is full only if the card sends nothing; then the ring has no room either.
            let _ = batch.push_frame(&self.frames[n]);
        }
    }

    /// Takes back what the card has sent; packets that it has not.
    #[inline]
    fn tidy(&mut self) -> usize {
        if self.waiting > 0 {
            self.waiting = self.tx.reclaim(self.pool);
        }
        self.waiting
    }
}
