//! Interrupts (82599 §7.3, §8.2.3.5).
//!
//! ```text
//!   queue event --IVAR--> vector v ----+             EIMS(v), EITR(v)
//!   other cause --bit b--> EICR(b) --IVAR_MISC--> v ------+----> MSI-X v: EIAC clears
//!                                                                EICR, EIAM masks
//! ```
//!
//! Queue causes are kept as 64 bits, one for each MSI-X vector; the low 16 are
//! EICR's. A cause fires on its edge: when it is set while enabled, or enabled
//! while set. What EITR holds back fires when its interval is over.

use super::super::bits;
use super::regs::{self, EIAC, EIAM, EIAM_EX, GPIE};
use super::{Ixgbe, Picos};

/// A frame was dropped for want of descriptors.
pub const RX_MISS: u32 = 1 << 17;
/// Link status change.
pub const LSC: u32 = 1 << 20;
/// A stamp was taken, or the clock's own event.
pub const TIMESYNC: u32 = 1 << 24;
/// TCP timer.
const TCP_TIMER: u32 = 1 << 30;
/// Causes without a bit of their own.
const OTHER: u32 = 1 << 31;
/// The queue causes of EICR.
const QUEUES: u32 = 0xffff;

/// GPIE: MSI-X mode, and masking by EIAM when a message is sent.
const MSIX_MODE: u32 = 1 << 4;
const EIAME: u32 = 1 << 30;
/// Reading EICR clears the other causes only.
const OCD: u32 = 1 << 5;
/// An IVAR entry is in use.
const VALID: u8 = 0x80;

/// State of the interrupt block.
#[derive(Default)]
pub struct Irq {
    /// Queue causes by vector, and the other causes.
    queues: u64,
    other: u32,
    /// What of them is enabled.
    queue_mask: u64,
    other_mask: u32,
    /// Vectors with an event that was not sent yet.
    due: u64,
    /// When each vector may send again.
    next: Vec<Picos>,
    /// IVAR, unpacked: vector of each receive and transmit queue.
    rx: Vec<u8>,
    tx: Vec<u8>,
    misc: u8,
    timer: u8,
}

impl Irq {
    /// After reset: nothing pending, nothing enabled, no vector assigned.
    pub fn new() -> Self {
        Irq { next: vec![0; 64], rx: vec![0; 128], tx: vec![0; 128], ..Irq::default() }
    }

    fn eicr(&self) -> u32 {
        self.queues as u32 & QUEUES | self.other
    }

    /// Whether there is nothing to send.
    #[inline]
    pub fn idle(&self) -> bool {
        self.due == 0
    }
}

impl Ixgbe {
    /// Reads IVAR into vectors; which of them exist is the driver's affair.
    pub(super) fn load_ivar(&mut self) {
        for q in 0..128usize {
            let entry = self.regs.peek(regs::IVAR.nth(q as u32 / 2)) >> (16 * (q & 1));
            self.irq.rx[q] = entry as u8;
            self.irq.tx[q] = (entry >> 8) as u8;
        }
        let misc = self.regs.peek(regs::IVAR_MISC.at);
        (self.irq.timer, self.irq.misc) = (misc as u8, (misc >> 8) as u8);
    }

    /// A receive queue has written descriptors back.
    #[inline]
    pub(super) fn rx_event(&mut self, queue: u16) {
        self.queue_event(self.irq.rx[usize::from(queue)]);
    }

    /// A transmit queue has.
    #[inline]
    pub(super) fn tx_event(&mut self, queue: u16) {
        self.queue_event(self.irq.tx[usize::from(queue)]);
    }

    #[inline]
    fn queue_event(&mut self, entry: u8) {
        if entry & VALID != 0 {
            let vector = 1 << (entry & 63);
            self.irq.queues |= vector;
            self.irq.due |= vector & self.irq.queue_mask;
        }
    }

    /// A cause that is not a queue's.
    pub(super) fn cause(&mut self, bits: u32) {
        self.irq.other |= bits & !QUEUES;
        if self.irq.other_mask & bits != 0 {
            self.irq.due |= self.vector_of(bits);
        }
    }

    /// The vector of other causes: IVAR_MISC in MSI-X mode, else the only one.
    fn vector_of(&self, bits: u32) -> u64 {
        let entry = if bits & TCP_TIMER != 0 { self.irq.timer } else { self.irq.misc };
        match self.regs.peek(GPIE.at) & MSIX_MODE != 0 {
            true if entry & VALID != 0 => 1 << (entry & 63),
            true => 0,
            false => 1,
        }
    }

    /// Reading EICR clears it and masks what EIAM names (§8.2.3.5.1).
    pub(super) fn read_eicr(&mut self) -> u32 {
        let causes = self.irq.eicr();
        let cleared = if self.regs.peek(GPIE.at) & OCD != 0 { 0x3fff_0000 } else { !0 };
        self.clear_causes(cleared);
        self.mask_off(u64::from(self.regs.peek(EIAM.at) & causes & QUEUES), self.regs.peek(EIAM.at) & causes);
        causes
    }

    /// Reading EICS shows the causes without clearing them.
    pub(super) fn read_eics(&self) -> u32 {
        self.irq.eicr()
    }

    pub(super) fn read_eims(&self) -> u32 {
        self.irq.queue_mask as u32 & QUEUES | self.irq.other_mask
    }

    pub(super) fn read_eims_ex(&self, half: u16) -> u32 {
        (self.irq.queue_mask >> (32 * half)) as u32
    }

    pub(super) fn clear_causes(&mut self, bits: u32) {
        self.irq.queues &= !u64::from(bits & QUEUES);
        self.irq.other &= !(bits & !QUEUES);
    }

    /// Software sets causes (§8.2.3.5.2). With EIAM they are enabled too.
    pub(super) fn write_eics(&mut self, bits: u32) {
        let named = self.regs.peek(EIAM.at) & bits;
        self.irq.queue_mask |= u64::from(named & QUEUES);
        self.irq.other_mask |= named & !QUEUES;
        self.set_queues(u64::from(bits & QUEUES));
        self.cause(bits & !QUEUES);
    }

    pub(super) fn write_eics_ex(&mut self, half: u16, bits: u32) {
        let named = self.regs.peek(EIAM_EX.nth(half.into())) & bits;
        self.irq.queue_mask |= u64::from(named) << (32 * half);
        self.set_queues(u64::from(bits) << (32 * half));
    }

    fn set_queues(&mut self, vectors: u64) {
        self.irq.queues |= vectors;
        self.irq.due |= vectors & self.irq.queue_mask;
    }

    /// Enables causes; those that are set fire.
    pub(super) fn write_eims(&mut self, bits: u32) {
        self.enable_queues(u64::from(bits & QUEUES));
        self.irq.other_mask |= bits & !QUEUES;
        let ready = self.irq.other & bits & !QUEUES;
        if ready != 0 {
            self.irq.due |= self.vector_of(ready);
        }
    }

    pub(super) fn write_eims_ex(&mut self, half: u16, bits: u32) {
        self.enable_queues(u64::from(bits) << (32 * half));
    }

    fn enable_queues(&mut self, vectors: u64) {
        self.irq.queue_mask |= vectors;
        self.irq.due |= vectors & self.irq.queues;
    }

    pub(super) fn write_eimc(&mut self, bits: u32) {
        self.mask_off(u64::from(bits & QUEUES), bits & !QUEUES);
    }

    pub(super) fn write_eimc_ex(&mut self, half: u16, bits: u32) {
        self.mask_off(u64::from(bits) << (32 * half), 0);
    }

    fn mask_off(&mut self, queues: u64, other: u32) {
        self.irq.queue_mask &= !queues;
        self.irq.other_mask &= !other;
    }

    /// Sends what is due.
    pub(super) fn deliver(&mut self, now: Picos) {
        if self.regs.peek(GPIE.at) & MSIX_MODE == 0 {
            self.deliver_single(now);
            return;
        }
        for vector in bits(std::mem::take(&mut self.irq.due).into()) {
            let bit = 1 << vector;
            let other = self.others_of(bit);
            if self.irq.queues & self.irq.queue_mask & bit == 0 && other == 0 {
                continue;
            }
            if self.throttled(vector, now) {
                self.irq.due |= bit;
                continue;
            }
            self.board.bus.interrupts.signal(vector);
            self.sent_message(bit, other);
        }
    }

    /// Legacy and MSI: one vector for all (§7.3.1.2).
    fn deliver_single(&mut self, now: Picos) {
        let live = self.irq.queues & self.irq.queue_mask != 0 || self.irq.other & self.irq.other_mask != 0;
        if !live {
            self.irq.due = 0;
        } else if !self.throttled(0, now) {
            self.irq.due = 0;
            self.board.bus.interrupts.signal(0);
        }
    }

    /// The other causes that are set, enabled and belong to this vector.
    fn others_of(&self, vector: u64) -> u32 {
        let live = self.irq.other & self.irq.other_mask;
        let timer = if live & TCP_TIMER != 0 && self.vector_of(TCP_TIMER) == vector { TCP_TIMER } else { 0 };
        let rest = live & !TCP_TIMER;
        timer | if rest != 0 && self.vector_of(OTHER) == vector { rest } else { 0 }
    }

    /// A message clears what EIAC lists, and with EIAME masks what EIAM lists.
    /// Vectors above 15 have no bit in EICR: they always clear (§7.3.1.4).
    fn sent_message(&mut self, vector: u64, other: u32) {
        let clear = self.regs.peek(EIAC.at);
        let above = if vector > u64::from(QUEUES) { vector } else { 0 };
        self.irq.queues &= !(vector & (u64::from(clear & QUEUES) | above));
        self.irq.other &= !(other & clear);
        if self.regs.peek(GPIE.at) & EIAME != 0 {
            let ex = u64::from(self.regs.peek(EIAM_EX.at)) | u64::from(self.regs.peek(EIAM_EX.nth(1))) << 32;
            let named = ex | u64::from(self.regs.peek(EIAM.at) & QUEUES);
            let queue = if self.irq.queues & vector != 0 || other == 0 { vector } else { 0 };
            self.mask_off(queue & named, other & self.regs.peek(EIAM.at));
        }
    }

    /// Whether EITR holds the vector back; if not, its interval begins
    /// (§8.2.3.5.12: bits 11:3 in units of 2 us).
    fn throttled(&mut self, vector: u16, now: Picos) -> bool {
        const UNIT: Picos = 2_000_000;
        let interval = Picos::from(self.regs.peek(regs::EITR.nth(vector.into())) >> 3 & 0x1ff) * UNIT;
        let next = &mut self.irq.next[usize::from(vector)];
        if interval != 0 && now < *next {
            return true;
        }
        *next = now + interval;
        false
    }

    /// IVAR was written; an entry may name a vector that the function does not have.
    pub(super) fn ivar_written(&mut self, entries: u32) {
        let msix = self.regs.peek(GPIE.at) & MSIX_MODE != 0;
        let beyond = |e: u8| e & VALID != 0 && u16::from(e & 63) >= self.board.bus.interrupts.count();
        if msix && entries.to_le_bytes().into_iter().any(beyond) {
            self.board.violations.note("IVAR names a vector that there is not");
        }
        self.load_ivar();
    }
}
