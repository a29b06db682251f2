//! Traffic beside the probes.
//!
//! ```text
//!   schedule of the load  --|--|--|--|--|--|--|--|--|--     own rate, own numbers
//!   schedule of the probe ------|-----------|----------     goes first when both are due
//! ```
//!
//! It is paced packet by packet, and counted by number, so that one that comes twice does not
//! make up for one that was lost.

use crate::dma::{Batch, Pool};
use crate::driver::queue::Transmit;
use crate::error::{Error, Kind, Result};
use crate::measure::probe::{self, Probes};
use crate::measure::seen::{Came, Seen};
use crate::measure::{Clock, Pace, Ticks};

/// Buffers that are given to the ring at once, after a stall: few, for a probe waits behind
/// them.
const BURST: usize = 32;

/// What is sent beside the probes.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Frame sizes in bytes without FCS, from 60 on, sent in turn.
    pub frames: Vec<usize>,
    /// Packets a second.
    pub rate: f64,
}

/// What became of it. Warm-up is in none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets that the transmit ring took.
    pub sent: u64,
    /// Of these, how many came back.
    pub received: u64,
    /// Packets that came back more than once, each further time.
    pub duplicated: u64,
}

impl Carried {
    /// Packets that did not come back.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// The load on its way.
pub struct Background<'a> {
    frames: Vec<usize>,
    /// Which of them is sent next.
    turn: usize,
    /// Buffers that the longest of them takes.
    parts: usize,
    pace: Pace,
    probes: Probes,
    seen: Seen,
    outgoing: Batch<'a>,
    counted_from: Ticks,
    /// Number of the first packet that counts, if one was sent.
    first: Option<u64>,
    /// Number of the next.
    next: u64,
    /// Packets that came, warm-up too.
    arrived: u64,
    carried: Carried,
}

impl<'a> Background<'a> {
    /// Packets of the run `run`, from one address to another.
    ///
    /// # Errors
    /// [`Kind::Usage`] for no sizes, or a rate that cannot be had.
    pub fn new(clock: &Clock, pool: &'a Pool, load: &Load, run: u32, [from, to]: [[u8; 6]; 2]) -> Result<Self> {
        let Some(longest) = load.frames.iter().copied().max() else {
            return Err(Error::new(Kind::Usage, "a load has frames; name at least one size"));
        };
        let pace = Pace::new(clock, load.rate)?;
        let slack = (pace.interval() * BURST as f64) as Ticks;
        Ok(Background {
            frames: load.frames.clone(),
            turn: 0,
            parts: probe::parts(longest),
            pace: pace.with_slack(slack),
            probes: Probes::new(run, longest, from, to),
            seen: Seen::new(),
            outgoing: Batch::with_limit(pool, BURST.max(probe::parts(longest))),
            counted_from: 0,
            first: None,
            next: 0,
            arrived: 0,
            carried: Carried::default(),
        })
    }

    /// Begins the schedule at `start`; packets count from `counted_from` on.
    pub fn start(&mut self, start: Ticks, counted_from: Ticks) {
        self.pace.start(start);
        self.counted_from = counted_from;
    }

    /// Sends what is due; returns how many buffers the ring took.
    #[inline]
    pub fn send<T: Transmit>(&mut self, clock: &Clock, tx: &mut T) -> usize {
        if self.outgoing.is_empty() {
            let now = clock.now();
            let due = self.pace.take(now, self.outgoing.room() / self.parts);
            if due == 0 {
                return 0;
            }
            if now >= self.counted_from {
                self.first.get_or_insert(self.next);
            }
            for _ in 0..due {
                if !self.probes.push(&mut self.outgoing, self.frames[self.turn], self.next) {
                    // All buffers are out: the rest of what was due is not sent.
                    tx.reclaim(self.outgoing.pool());
                    break;
                }
                self.seen.leave(self.next);
                self.next += 1;
                self.turn = if self.turn + 1 == self.frames.len() { 0 } else { self.turn + 1 };
            }
            if self.outgoing.is_empty() {
                return 0;
            }
        }
        tx.send(&mut self.outgoing)
    }

    /// Nothing more is sent: what the ring has not taken is forgotten.
    pub fn end(&mut self) {
        let left = (0..self.outgoing.len()).filter(|&i| !self.outgoing.continues(i)).count();
        self.outgoing.clear();
        self.next -= left as u64;
        self.carried.sent = self.first.map_or(0, |first| self.next.saturating_sub(first));
    }

    /// Whether packets are still on their way, or lost.
    #[inline]
    pub fn is_out(&self) -> bool {
        self.arrived < self.next
    }

    /// A frame has come; false if it is none of these.
    #[inline]
    pub fn arrived(&mut self, frame: &[u8]) -> bool {
        let Some(sequence) = self.probes.sequence(frame) else { return false };
        let counts = u64::from(self.first.is_some_and(|first| sequence >= first));
        match self.seen.arrive(sequence) {
            Came::First => {
                self.arrived += 1;
                self.carried.received += counts;
            }
            Came::Again => self.carried.duplicated += counts,
            Came::Unknown => return false,
        }
        true
    }

    /// What became of it, after [`Background::end`].
    pub fn carried(&self) -> Carried {
        self.carried
    }
}
