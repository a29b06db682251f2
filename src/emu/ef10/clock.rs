//! The card's clock, and the stamps it gives.
//!
//! ```text
//!   stamp in a prefix or event:  the part of a second alone, less a correction
//!   time-sync event:             four a second: seconds, and which quarter it is
//! ```
//!
//! A driver joins the two. The unit of the part of a second is a quarter of a
//! nanosecond on Medford2, 2^-27 s before.

use super::super::Picos;
use super::evq;
use super::{Ef10, Kind};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

const SECOND: i128 = 1_000_000_000_000;

/// Times that the host writes before a synchronisation takes the last of them.
const SAMPLES: u32 = 8;

/// How long the host may take.
const PATIENCE: Picos = 1_000_000_000_000;

/// The clock.
pub struct Clock {
    kind: Kind,
    /// The time at `since`, in picoseconds.
    base: i128,
    since: Picos,
    /// How much faster it runs, in 2^-40.
    rate: i64,
    /// Event queues that are told the time, and whether each is told of its state.
    subscribers: Vec<(u16, bool)>,
    /// The quarter of a second that they were told last, and when the next begins.
    quarter: i128,
    next: Picos,
    /// The host has set the clock; the host says that it is in step with its own.
    set: bool,
    in_step: bool,
    synchronising: Option<Synchronising>,
}

struct Synchronising {
    sets: u32,
    start: Iova,
    written: u32,
    /// When it is given up.
    until: Picos,
}

impl Clock {
    /// A clock that runs from zero.
    pub fn new(kind: Kind) -> Self {
        Clock {
            kind,
            base: 0,
            since: 0,
            rate: 0,
            subscribers: Vec::new(),
            quarter: 0,
            next: 0,
            set: false,
            in_step: false,
            synchronising: None,
        }
    }

    /// A driver is gone: nobody is told, the clock goes on.
    pub fn abandon(&mut self) {
        self.synchronising = None;
    }

    /// Whether the host has not written its time for too long.
    pub fn overdue(&self, now: Picos) -> bool {
        self.synchronising.as_ref().is_some_and(|synchronising| synchronising.until < now)
    }

    /// All of a function's uses of the clock end.
    pub fn release(&mut self) {
        self.subscribers.clear();
        self.synchronising = None;
    }

    fn time(&self, now: Picos) -> i128 {
        let passed = i128::from(now) - i128::from(self.since);
        self.base + passed + ((passed * i128::from(self.rate)) >> 40)
    }

    /// Seconds, and the part of a second in the card's unit.
    pub fn parts(&self, now: Picos) -> (u32, u32) {
        let time = self.time(now);
        (time.div_euclid(SECOND) as u32, self.minor(time.rem_euclid(SECOND)))
    }

    fn quarter_ns(&self) -> bool {
        self.kind == Kind::X2522
    }

    fn minor(&self, part: i128) -> u32 {
        if self.quarter_ns() { (part / 250) as u32 } else { ((part << 27) / SECOND) as u32 }
    }

    /// Units in a second.
    fn whole(&self) -> i64 {
        if self.quarter_ns() { 4_000_000_000 } else { 1 << 27 }
    }

    /// What a driver adds to a stamp: of sending, of receiving.
    pub fn corrections(&self) -> (i32, i32) {
        // 178 ns and -12 ns.
        if self.quarter_ns() { (712, -48) } else { (24, -2) }
    }

    /// The format's number, as GET_ATTRIBUTES has it.
    pub fn format(&self) -> u32 {
        if self.quarter_ns() { 3 } else { 2 }
    }

    fn corrected(&self, at: Picos, correction: i32) -> (u32, u32) {
        let (seconds, minor) = self.parts(at);
        let minor = i64::from(minor) - i64::from(correction);
        let seconds = i64::from(seconds) + minor.div_euclid(self.whole());
        (seconds as u32, minor.rem_euclid(self.whole()) as u32)
    }

    /// The stamp of a frame that came at this time.
    pub fn receive_stamp(&self, at: Picos) -> u32 {
        self.corrected(at, self.corrections().1).1
    }

    /// The two halves of the stamp of a frame that left at this time: part of a
    /// second, and seconds, of which later cards give 16 bits.
    pub fn transmit_stamp(&self, at: Picos) -> (u32, u32) {
        let (seconds, minor) = self.corrected(at, self.corrections().0);
        (minor, if self.kind.huntington() { seconds } else { seconds & 0xffff })
    }

    /// Another rate, in 2^-40.
    pub fn tune(&mut self, rate: i64, now: Picos) {
        (self.base, self.since) = (self.time(now), now);
        self.rate = rate;
        self.next = 0;
    }

    /// So much is added to the time: seconds, and a part in the card's unit.
    pub fn shift(&mut self, seconds: i32, minor: i32) {
        let part = i128::from(minor) * SECOND / i128::from(self.whole());
        self.base += i128::from(seconds) * SECOND + part;
        (self.set, self.next) = (true, 0);
    }

    /// The host says whether the clock is in step with its own.
    pub fn keep_step(&mut self, is: bool) {
        self.in_step = is;
    }

    /// An event queue is to be told the time; `state`: and the clock's state.
    pub fn subscribe(&mut self, queue: u16, state: bool) {
        self.unsubscribe(queue);
        self.subscribers.push((queue, state));
    }

    /// Whether those who are told the time are told the clock's state, if there are any.
    pub fn told(&self) -> Option<bool> {
        self.subscribers.first().map(|(_, state)| *state)
    }

    /// No longer.
    pub fn unsubscribe(&mut self, queue: u16) {
        self.subscribers.retain(|(subscriber, _)| *subscriber != queue);
    }

    /// Nobody is told any more.
    pub fn unsubscribe_all(&mut self) {
        self.subscribers.clear();
    }
}

impl Ef10 {
    /// Tells the time to who subscribed, four times a second; before the events of
    /// what happened at or after `at`.
    #[inline]
    pub(super) fn tell_time(&mut self, at: Picos) {
        if at >= self.clock.next && !self.clock.subscribers.is_empty() {
            self.tell_quarter(at);
        }
    }

    #[cold]
    fn tell_quarter(&mut self, at: Picos) {
        let time = self.clock.time(at);
        let quarter = time.div_euclid(SECOND / 4);
        // No later than it can be, by a clock that runs at up to twice its rate.
        self.clock.next = at + ((SECOND / 4 - time.rem_euclid(SECOND / 4)) / 2) as Picos;
        if quarter == self.clock.quarter {
            return;
        }
        self.clock.quarter = quarter;
        let seconds = quarter.div_euclid(4) as u32;
        let minor = self.clock.minor(quarter.rem_euclid(4) * (SECOND / 4));
        // The upper bits of the part of a second.
        let field = minor >> if self.clock.quarter_ns() { 24 } else { 19 };
        let state = u32::from(self.clock.set) | u32::from(self.clock.in_step) << 1;
        for n in 0..self.clock.subscribers.len() {
            let (queue, told) = self.clock.subscribers[n];
            self.post(queue, evq::time_sync(seconds, if told { field & !3 | state } else { field }));
        }
    }

    /// PTP SYNCHRONIZE: says so in memory, and waits for the host's time.
    pub(super) fn start_synchronising(&mut self, sets: u32, start: Iova) -> bool {
        let Some(word) = self.board.bus.memory.word32(start) else { return false };
        word.store(1, Ordering::Release);
        self.clock.synchronising = Some(Synchronising { sets, start, written: 0, until: self.board.now + PATIENCE });
        true
    }

    /// The host's time, if somebody waits for it.
    pub(super) fn synchronise(&mut self, host: u32) -> bool {
        let Some(synchronising) = &mut self.clock.synchronising else { return false };
        synchronising.written += 1;
        if synchronising.written < SAMPLES {
            return true;
        }
        let Synchronising { sets, start, .. } = *synchronising;
        self.clock.synchronising = None;
        let (seconds, minor) = self.clock.parts(self.board.now);
        // When the host wrote, what the time is here, when it wrote again.
        let set = [host, seconds, minor, host.wrapping_add(300), 0];
        let bytes = set.iter().flat_map(|word| word.to_le_bytes());
        let answer: Vec<u8> = bytes.collect::<Vec<_>>().repeat(sets as usize);
        if let Some(word) = self.board.bus.memory.word32(start) {
            word.store(0, Ordering::Release);
        }
        self.mcdi_answer(Ok(answer));
        true
    }
}
