//! Interrupts (X710 §7.5).
//!
//! ```text
//!   LNKLSTN(v-1) -> QINT_RQCTL(q) -> QINT_TQCTL(q) -> ... 0x7ff       vector v
//!                     queue events, if CAUSE_ENA  --+
//!   other causes -> ICR0, if ICR0_ENA --> vector 0 -+-> INTENA, ITR, RATE -> MSI-X
//! ```
//!
//! A message clears INTENA, and the driver sets it again. What happened
//! meanwhile is remembered and fires then, unless CLEARPBA has it forgotten.
//!
//! Drivers leave old lists in vectors that they do not use any more. So a queue in
//! several lists belongs to the vector that it names itself.

use super::regs::{self, PFINT_ICR0, PFINT_ICR0_ENA};
use super::{I40e, Picos, QUEUES, Row, VECTORS};

/// DYN_CTL.
const INTENA: u32 = 1;
const CLEARPBA: u32 = 2;
const SWINT_TRIG: u32 = 1 << 2;
const WB_ON_ITR: u32 = 1 << 30;
const INTENA_MSK: u32 = 1 << 31;
/// ICR0: an enabled cause is set; the software interrupt.
const INTEVENT: u32 = 1;
const SWINT: u32 = 1 << 31;
/// QINT: this queue raises interrupts.
const CAUSE_ENA: u32 = 1 << 30;
/// No queue; no throttling.
const END: u32 = 0x7ff;
const NO_ITR: u8 = 3;

/// Where a queue's events go.
#[derive(Clone, Copy)]
struct Cause {
    vector: u8,
    itr: u8,
    /// Its bit of ICR0, on vector 0.
    icr0: u32,
    /// The queue names the vector in whose list it is.
    named: bool,
}

/// A set of vectors, of which there is one more than the longest word has bits.
#[derive(Default)]
struct Vectors([u64; VECTORS.div_ceil(64) as usize]);

impl Vectors {
    fn has(&self, vector: u16) -> bool {
        self.0[usize::from(vector / 64)] >> (vector % 64) & 1 == 1
    }

    fn set(&mut self, vector: u16, on: bool) {
        let word = &mut self.0[usize::from(vector / 64)];
        *word = *word & !(1 << (vector % 64)) | u64::from(on) << (vector % 64);
    }

    /// Whether one is in both.
    fn meets(&self, other: &Vectors) -> bool {
        self.0.iter().zip(&other.0).any(|(ours, theirs)| ours & theirs != 0)
    }
}

/// State of the interrupt block.
pub struct Irq {
    /// Events that were not sent; vectors that may send; those that at least
    /// write descriptors back when their interval is over.
    due: Vectors,
    enabled: Vectors,
    writes_back: Vectors,
    /// Interval index of the latest event, and when the vector may send again.
    itr: Vec<u8>,
    next: Vec<Picos>,
    rx: Vec<Option<Cause>>,
    tx: Vec<Option<Cause>>,
    /// The lists are out of date.
    pub stale: bool,
}

impl Irq {
    /// Nothing pending, nothing enabled, nothing listed.
    pub fn new() -> Self {
        Irq {
            due: Vectors::default(),
            enabled: Vectors::default(),
            writes_back: Vectors::default(),
            itr: vec![NO_ITR; usize::from(VECTORS)],
            next: vec![0; usize::from(VECTORS)],
            rx: vec![None; usize::from(QUEUES)],
            tx: vec![None; usize::from(QUEUES)],
            stale: false,
        }
    }

    /// Whether there is nothing to send.
    #[inline]
    pub fn idle(&self) -> bool {
        !self.due.meets(&self.enabled)
    }
}

impl I40e {
    /// Walks the lists of all vectors.
    pub(super) fn load_causes(&mut self) {
        self.irq.stale = false;
        self.irq.rx.fill(None);
        self.irq.tx.fill(None);
        for vector in 0..VECTORS {
            let first = self.regs.peek(of_vector(vector, &regs::PFINT_LNKLST0, &regs::PFINT_LNKLSTN));
            let (mut q, mut sends) = (first & END, first >> 11 & 3 == 1);
            // A list has each queue twice at most; one that goes round ends here.
            for _ in 0..2 * QUEUES {
                if q >= u32::from(QUEUES) {
                    break;
                }
                let control = self.regs.peek(if sends { regs::QINT_TQCTL } else { regs::QINT_RQCTL }.nth(q));
                if control & CAUSE_ENA != 0 {
                    let icr0 = if vector == 0 { 2 << (control >> 13 & 7) } else { 0 };
                    let named = control & 0xff == u32::from(vector);
                    let cause = Cause { vector: vector as u8, itr: (control >> 11 & 3) as u8, icr0, named };
                    let causes = if sends { &mut self.irq.tx } else { &mut self.irq.rx };
                    let listed = &mut causes[q as usize];
                    if named || listed.is_none() {
                        *listed = Some(cause);
                    }
                }
                (q, sends) = (control >> 16 & END, control >> 27 & 3 == 1);
            }
        }
    }

    /// A receive queue has written descriptors back.
    #[inline]
    pub(super) fn rx_event(&mut self, q: u16) {
        self.queue_event(self.irq.rx[usize::from(q)]);
    }

    /// A transmit queue has.
    #[inline]
    pub(super) fn tx_event(&mut self, q: u16) {
        self.queue_event(self.irq.tx[usize::from(q)]);
    }

    #[inline]
    fn queue_event(&mut self, cause: Option<Cause>) {
        let Some(Cause { vector, itr, icr0, named }) = cause else { return };
        if !named {
            // Not before now: while lists are being written they may be wrong.
            self.board.violations.note("event of a queue that names another vector than the one in whose list it is");
        }
        self.irq.due.set(vector.into(), true);
        self.irq.itr[usize::from(vector)] = itr;
        if icr0 != 0 {
            self.regs.poke(PFINT_ICR0.at, self.regs.peek(PFINT_ICR0.at) | icr0);
        }
    }

    /// Whether a receive queue that has few descriptors to write back does so
    /// when an interval is over: only if its vector has an interval that runs.
    pub(super) fn writes_back(&self, q: u16) -> bool {
        let runs = |vector| self.irq.enabled.has(vector) || self.irq.writes_back.has(vector);
        self.irq.rx[usize::from(q)].is_some_and(|cause| runs(cause.vector.into()))
    }

    /// A cause of vector 0.
    pub(super) fn cause(&mut self, bits: u32) {
        self.regs.poke(PFINT_ICR0.at, self.regs.peek(PFINT_ICR0.at) | bits);
        if self.regs.peek(PFINT_ICR0_ENA.at) & bits != 0 {
            self.other_event();
        }
    }

    fn other_event(&mut self) {
        self.irq.due.set(0, true);
        self.irq.itr[0] = (self.regs.peek(regs::PFINT_STAT_CTL0.at) >> 2 & 3) as u8;
    }

    /// ICR0_ENA was written: causes that are set and now enabled are events.
    pub(super) fn causes_enabled(&mut self) {
        if self.regs.peek(PFINT_ICR0.at) & self.regs.peek(PFINT_ICR0_ENA.at) & !INTEVENT != 0 {
            self.other_event();
        }
    }

    /// Reading ICR0 clears it.
    pub(super) fn read_icr0(&mut self) -> u32 {
        const QUEUE_CAUSES: u32 = 0x1fe;
        let causes = self.regs.peek(PFINT_ICR0.at) & !INTEVENT;
        self.regs.poke(PFINT_ICR0.at, 0);
        self.irq.due.set(0, false);
        let live = causes & (self.regs.peek(PFINT_ICR0_ENA.at) | QUEUE_CAUSES | SWINT);
        causes | if live != 0 { INTEVENT } else { 0 }
    }

    /// DYN_CTL of a vector was written.
    pub(super) fn control_written(&mut self, vector: u16, value: u32) {
        // The causes of the first vector stay in ICR0.
        if value & CLEARPBA != 0 && vector != 0 {
            self.irq.due.set(vector, false);
        }
        if value & INTENA_MSK == 0 {
            self.irq.enabled.set(vector, value & INTENA != 0);
        }
        self.irq.writes_back.set(vector, value & WB_ON_ITR != 0);
        let index = (value >> 3 & 3) as u8;
        if index != NO_ITR {
            self.regs.poke(interval(vector, index), value >> 5 & 0xfff);
        }
        if value & SWINT_TRIG != 0 {
            self.irq.due.set(vector, true);
            self.irq.itr[usize::from(vector)] = if value >> 24 & 1 == 1 { (value >> 25 & 3) as u8 } else { NO_ITR };
            if vector == 0 {
                self.regs.poke(PFINT_ICR0.at, self.regs.peek(PFINT_ICR0.at) | SWINT);
            }
        }
        self.show_control(vector);
    }

    /// DYN_CTL reads INTENA and what was written otherwise, less the triggers.
    fn show_control(&self, vector: u16) {
        let at = of_vector(vector, &regs::PFINT_DYN_CTL0, &regs::PFINT_DYN_CTLN);
        let enabled = u32::from(self.irq.enabled.has(vector));
        self.regs.poke(at, self.regs.peek(at) & !(INTENA | SWINT_TRIG | CLEARPBA | INTENA_MSK) | enabled);
    }

    /// Sends what is due.
    pub(super) fn deliver(&mut self, now: Picos) {
        for vector in 0..VECTORS {
            if !(self.irq.due.has(vector) && self.irq.enabled.has(vector)) {
                continue;
            }
            let at = usize::from(vector);
            if now < self.irq.next[at] {
                continue;
            }
            self.irq.next[at] = now + self.interval(vector, self.irq.itr[at]);
            self.irq.due.set(vector, false);
            self.board.bus.interrupts.signal(vector);
            const DIS_AUTOMASK_N: u32 = 1 << 2;
            if vector == 0 || self.regs.peek(regs::GLINT_CTL.at) & DIS_AUTOMASK_N == 0 {
                self.irq.enabled.set(vector, false);
                self.show_control(vector);
            }
        }
    }

    /// Time until the vector may send again: its interval, in units of 2 us, or
    /// its rate limit, of 4 us, whichever is longer.
    fn interval(&self, vector: u16, index: u8) -> Picos {
        const UNIT: Picos = 2_000_000;
        const LIMITED: u32 = 1 << 6;
        let itr = if index == NO_ITR { 0 } else { Picos::from(self.regs.peek(interval(vector, index))) * UNIT };
        let rate = self.regs.peek(of_vector(vector, &regs::PFINT_RATE0, &regs::PFINT_RATEN));
        let limit = if rate & LIMITED != 0 { Picos::from(rate & 0x3f) * 2 * UNIT } else { 0 };
        itr.max(limit)
    }
}

/// A register of a vector: the first has its own, the others have an array.
fn of_vector(vector: u16, first: &Row<I40e>, others: &Row<I40e>) -> u32 {
    if vector == 0 { first.at } else { others.nth(u32::from(vector) - 1) }
}

/// The interval register of a vector: 0 receive, 1 transmit, 2 software.
fn interval(vector: u16, index: u8) -> u32 {
    let others = match index {
        0 => &regs::PFINT_ITRN_RX,
        1 => &regs::PFINT_ITRN_TX,
        _ => &regs::PFINT_ITRN_SW,
    };
    if vector == 0 { regs::PFINT_ITR0.nth(index.into()) } else { others.nth(u32::from(vector) - 1) }
}
