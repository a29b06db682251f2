//! Transmit: descriptors into frames (82599 §7.2).
//!
//! ```text
//!   ring q: | sent | context data data+EOP | ... |      head .. tail: the card's
//!                     |       |     |
//!                     v       v     v    offloads: checksums, VLAN, segmentation
//!               parameters   one packet -----------------------------> frames --> MAC
//!                                                                        |
//!   DD in each descriptor with RS, or the head in memory <--- all sent --+
//! ```
//!
//! A packet that the wire has no time for yet stays where it is, half sent
//! perhaps, and goes on in the next step.

use super::super::offload::{Offload, Sums};
use super::super::wire::{MAX_FRAME, MIN_FRAME, Sent};
use super::super::{Picos, RegisterFile, Row, STEP, Violations};
use super::Ixgbe;
use super::offload::{self, Context};
use super::regs::{TDBAH, TDBAL, TDH, TDLEN, TDT, TDWBAH, TDWBAL, TXDCTL};
use super::stats::{self, QueueGood};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Data descriptors of one packet (the datasheet's 40, less write-back threshold).
const DESCRIPTORS_MAX: u32 = 40;

/// Largest packet to segment.
const TSO_MAX: usize = 256 * 1024;

/// Command bits, in the second word's lower half.
const EOP: u64 = 1 << 24;
const IFCS: u64 = 1 << 25;
/// Legacy: insert a checksum.
const IC: u64 = 1 << 26;
const RS: u64 = 1 << 27;
const DEXT: u64 = 1 << 29;
const VLE: u64 = 1 << 30;
const TSE: u64 = 1 << 31;
/// Advanced: insert the checksums of IPv4 and of the transport.
const POPTS: u64 = 3 << 40;
/// Advanced, MAC field: stamp the time of sending.
const TSTAMP: u64 = 1 << 19;
/// Done, in the status nibble.
const DD: u64 = 1 << 32;

/// TXDCTL.
const ENABLE: u32 = 1 << 25;

/// A transmit queue, as its registers were when it was enabled.
#[derive(Default)]
pub struct TxQueue {
    /// Sends.
    pub enabled: bool,
    base: Iova,
    count: u32,
    /// Next descriptor to send.
    pub head: u32,
    tail: u32,
    head_write_back: Option<Iova>,
    contexts: [Option<Context>; 2],
    /// Descriptors written back late (nasty).
    late: Vec<u32>,
    good: QueueGood,
}

/// A packet between descriptors and wire.
#[derive(Default)]
pub struct Outgoing {
    /// There is one.
    pub busy: bool,
    queue: u16,
    /// Its descriptors: from the queue's head, so many.
    descriptors: u32,
    /// Those of them with RS, as bits.
    reports: u64,
    stamp: bool,
    offload: Offload,
}

/// What is at a queue's head.
enum Next {
    Nothing,
    Packet,
    /// Something that is not sent was passed over.
    Other,
}

impl TxQueue {
    fn enable(&mut self, q: u16, regs: &RegisterFile<Ixgbe>, violations: &mut Violations) {
        let at = |register: &Row<Ixgbe>| regs.peek(register.nth(q.into()));
        let write_back = at(&TDWBAL);
        if at(&TDLEN) == 0 || at(&TDLEN) % 128 != 0 {
            violations.note("TDLEN is not a multiple of 128");
        }
        let address = u64::from(write_back & !3) | u64::from(at(&TDWBAH)) << 32;
        *self = TxQueue {
            enabled: true,
            base: u64::from(at(&TDBAL) & !0x7f) | u64::from(at(&TDBAH)) << 32,
            count: at(&TDLEN) / 16,
            head: at(&TDH),
            tail: at(&TDH),
            head_write_back: (write_back & 1 == 1).then_some(address),
            ..TxQueue::default()
        };
        if self.head >= self.count {
            violations.note("TDH is outside the ring");
            self.head = 0;
        }
    }

    /// The head is written while the queue is enabled: fine while it is empty.
    fn rewind(&mut self, head: u32, violations: &mut Violations) {
        if head == self.head {
            return;
        }
        if self.head != self.tail || head >= self.count {
            violations.note("TDH of a queue in use written");
            return;
        }
        (self.head, self.tail) = (head, head);
    }

    /// Looks at the doorbell.
    #[inline]
    fn look(&mut self, q: u16, regs: &RegisterFile<Ixgbe>, violations: &mut Violations) {
        let tail = regs.peek(TDT.nth(q.into()));
        if tail != self.tail {
            if tail < self.count {
                self.tail = tail;
            } else {
                violations.note("TDT is outside the ring");
            }
        }
    }

    /// Whether there is something to send.
    pub fn pending(&self) -> bool {
        self.enabled && self.head != self.tail
    }

    #[inline]
    fn after(&self, at: u32, by: u32) -> u32 {
        let at = at + by;
        if at >= self.count { at - self.count } else { at }
    }
}

impl Ixgbe {
    /// Sends what the doorbells announced, as far as the wire has time; how
    /// many packets and other descriptors that were.
    pub(super) fn transmit(&mut self, now: Picos) -> usize {
        if self.tx_active.is_empty() || !self.sending || !self.link_up() {
            return 0;
        }
        let mut work = 0;
        if self.out.busy {
            if !self.emit(now) {
                return 1;
            }
            work += 1;
        }
        let queues = self.tx_active.len();
        for turn in 0..queues {
            let q = self.tx_active[(self.tx_turn + turn) % queues];
            self.tx[usize::from(q)].look(q, &self.regs, &mut self.board.violations);
            for _ in 0..STEP {
                match self.fetch(q) {
                    Next::Nothing => break,
                    Next::Other => {}
                    Next::Packet if self.emit(now) => {}
                    Next::Packet => {
                        self.tx_turn = (self.tx_turn + turn) % queues;
                        self.finish_transmit();
                        return work + 1;
                    }
                }
                work += 1;
            }
        }
        self.tx_turn = (self.tx_turn + 1) % queues;
        if work != 0 || self.board.nasty {
            self.finish_transmit();
        }
        work
    }

    /// Gathers the packet at a queue's head.
    #[inline]
    fn fetch(&mut self, q: u16) -> Next {
        let queue = &mut self.tx[usize::from(q)];
        let memory = &self.board.bus.memory;
        self.packet.clear();
        let mut at = queue.head;
        let (mut descriptors, mut reports) = (0u32, 0u64);
        let mut first = 0;
        loop {
            if at == queue.tail {
                // A packet without its end: the rest is still to come.
                return Next::Nothing;
            }
            let Some(descriptor) = memory.descriptor(queue.base + 16 * u64::from(at)) else { return Next::Nothing };
            let words = [descriptor[0].load(Ordering::Relaxed), descriptor[1].load(Ordering::Relaxed)];
            let command = words[1];
            let data = command & DEXT == 0 || command >> 20 & 0xf == 3;
            if !data {
                return self.not_data(q, words, descriptors);
            }
            let len = (command & 0xffff) as usize;
            if descriptors == 0 {
                first = command;
            }
            if len == 0 || self.packet.len() + len > TSO_MAX {
                self.board.violations.note("transmit descriptor without data, or a packet without end");
            } else {
                // Where memory is not mapped the driver is told that it is done;
                // the violation is counted.
                memory.append(words[0], len, &mut self.packet);
            }
            reports |= (command & RS) >> 27 << (descriptors & 63);
            descriptors += 1;
            at = queue.after(at, 1);
            if command & EOP != 0 {
                break;
            }
            if descriptors == 64 {
                break;
            }
        }
        if descriptors > DESCRIPTORS_MAX {
            self.board.violations.note("packet of more than 40 descriptors");
        }
        self.out.busy = true;
        self.out.queue = q;
        self.out.descriptors = descriptors;
        self.out.reports = reports;
        self.prepare(first)
    }

    /// What the packet's first descriptor asks for (§7.2.3.2.4: later ones may
    /// carry zeroes).
    #[inline]
    fn prepare(&mut self, first: u64) -> Next {
        let queue = &self.tx[usize::from(self.out.queue)];
        let slot = queue.contexts[(first >> 36 & 1) as usize];
        self.out.stamp = first & DEXT != 0 && first & TSTAMP != 0;
        let packet = &mut self.packet;
        let payload = (first >> 46) as usize;
        let fcs = if first & IFCS == 0 { 4 } else { 0 };
        // The driver's own FCS; a wire here carries none.
        packet.truncate(packet.len().saturating_sub(fcs));
        if first & DEXT != 0 && first & (TSE | VLE | POPTS) != 0 {
            self.board.used.summed += u64::from(first & POPTS != 0);
            self.board.used.segmented += u64::from(first & TSE != 0);
            self.board.used.tagged += u64::from(first & VLE != 0);
        }
        self.out.offload = if first & DEXT == 0 {
            let offload = offload::legacy(first >> 48, first & VLE != 0, self.vlan_type);
            if first & IC != 0 {
                offload::insert_sum(packet, (first >> 40 & 0xff) as usize, (first >> 16 & 0xff) as usize);
            }
            offload
        } else {
            let wanted = offload::Wanted {
                sums: Sums { ip: first >> 40 & 1 == 1, transport: first >> 41 & 1 == 1 },
                segment: first & TSE != 0,
                vlan: first & VLE != 0,
                payload: payload.saturating_sub(fcs),
            };
            offload::prepare(packet, wanted, slot, self.tcp_flags, self.vlan_type, &mut self.board.violations)
        };
        if !self.out.offload.segments() {
            let len = packet.len() + self.out.offload.tag_len();
            if packet.len() < 17 || len > MAX_FRAME {
                if !packet.is_empty() {
                    self.board.violations.note("frame shorter than 17 bytes or longer than 16 KiB");
                }
                self.complete();
                return Next::Other;
            }
            self.out.offload.tag(packet);
            if packet.len() < MIN_FRAME && self.pad {
                packet.resize(MIN_FRAME, 0);
            }
        }
        Next::Packet
    }

    /// A context descriptor, or one that makes no sense.
    #[cold]
    fn not_data(&mut self, q: u16, words: [u64; 2], before: u32) -> Next {
        if words[1] >> 20 & 0xf == 2 {
            if before != 0 {
                self.board.violations.note("context descriptor inside a packet");
            }
            let context = Context::decode(words);
            self.tx[usize::from(q)].contexts[context.slot] = Some(context);
        } else {
            self.board.violations.note("transmit descriptor of an unknown type");
        }
        self.out.queue = q;
        self.out.descriptors = before + 1;
        self.out.reports = (words[1] & RS) >> 27 << before;
        self.complete();
        Next::Other
    }

    /// Sends the packet's frames, or what is left of them; false if the wire
    /// has no time.
    #[inline]
    fn emit(&mut self, now: Picos) -> bool {
        let left = loop {
            let frame = if self.out.offload.segments() {
                self.out.offload.segment(&self.packet, &mut self.segment)
            } else {
                &self.packet[..]
            };
            let left = if self.loopback {
                if !self.loop_queue.push(frame, now) {
                    return false;
                }
                now
            } else {
                let Sent::Done(at) = self.board.mac.send(frame, now) else { return false };
                at
            };
            self.tx_good.count(frame, frame.len());
            let good = &mut self.tx[usize::from(self.out.queue)].good;
            good.frames += 1;
            good.bytes += frame.len() as u64;
            if !self.out.offload.segments() || self.out.offload.next_segment(&self.packet) {
                break left;
            }
        };
        if self.out.stamp {
            self.stamp_sent(left);
        }
        self.complete();
        true
    }

    /// All of a packet's descriptors are done: report those that ask for it.
    #[inline]
    fn complete(&mut self) {
        let queue = &mut self.tx[usize::from(self.out.queue)];
        self.out.busy = false;
        let first = queue.head;
        queue.head = queue.after(first, self.out.descriptors);
        let mut reports = self.out.reports;
        if reports == 0 {
            return;
        }
        self.tx_reported |= 1 << self.out.queue;
        if let Some(iova) = queue.head_write_back {
            if let Some(word) = self.board.bus.memory.word32(iova) {
                word.store(queue.head, Ordering::Release);
            }
            return;
        }
        while reports != 0 {
            let at = queue.after(first, reports.trailing_zeros());
            reports &= reports - 1;
            if self.board.nasty {
                queue.late.push(at);
                continue;
            }
            report(&self.board.bus.memory, queue.base, at);
        }
    }

    /// Counters and interrupts of the queues that sent.
    fn finish_transmit(&mut self) {
        for at in 0..self.tx_active.len() {
            let q = self.tx_active[at];
            let queue = &mut self.tx[usize::from(q)];
            if queue.good.frames != 0 {
                stats::count_tx_queue(&self.regs, q, std::mem::take(&mut queue.good));
            }
            if !queue.late.is_empty() && self.board.random.number().is_multiple_of(4) {
                for at in queue.late.drain(..) {
                    report(&self.board.bus.memory, queue.base, at);
                }
                self.tx_reported |= 1 << q;
            }
        }
        let mut queues = std::mem::take(&mut self.tx_reported);
        while queues != 0 {
            self.tx_event(queues.trailing_zeros() as u16);
            queues &= queues - 1;
        }
    }

    /// TDH of queue `q`.
    pub(super) fn tx_head(&mut self, q: u16) -> u32 {
        let queue = &self.tx[usize::from(q)];
        if queue.enabled { queue.head } else { self.regs.peek(TDH.nth(q.into())) }
    }

    /// Whether TXDCTL enables queue `q`, which it may do before the card knows.
    pub(super) fn tx_wanted(&self, q: u16) -> bool {
        self.regs.peek(TXDCTL.nth(q.into())) & ENABLE != 0
    }

    /// Base or length of queue `q` was written.
    pub(super) fn tx_base_written(&mut self, q: u16) {
        if self.tx[usize::from(q)].enabled && self.tx_wanted(q) {
            self.board.violations.note("base or length of an enabled transmit queue written");
        }
        self.tx_queue_written(q);
    }

    /// TDH of queue `q` was written.
    pub(super) fn tx_head_written(&mut self, q: u16, head: u32) {
        if self.tx[usize::from(q)].enabled && self.tx_wanted(q) {
            self.tx[usize::from(q)].rewind(head & 0xffff, &mut self.board.violations);
        }
        self.tx_queue_written(q);
    }

    /// TXDCTL or another register of queue `q` was written.
    pub(super) fn tx_queue_written(&mut self, q: u16) {
        let on = self.tx_wanted(q);
        let queue = &mut self.tx[usize::from(q)];
        match (queue.enabled, on) {
            (false, true) => {
                queue.enable(q, &self.regs, &mut self.board.violations);
                self.tx_active.push(q);
            }
            (true, false) => {
                stats::count_tx_queue(&self.regs, q, std::mem::take(&mut queue.good));
                self.regs.poke(TDH.nth(q.into()), 0);
                self.regs.poke(TDT.nth(q.into()), 0);
                *queue = TxQueue::default();
                self.tx_active.retain(|active| *active != q);
                self.out.busy &= self.out.queue != q;
            }
            (true, true) | (false, false) => {}
        }
    }
}

/// Sets DD in a descriptor.
#[inline]
fn report(memory: &super::super::Translation, base: Iova, at: u32) {
    if let Some(descriptor) = memory.descriptor(base + 16 * u64::from(at)) {
        let words = descriptor[1].load(Ordering::Relaxed);
        descriptor[1].store(words & !(0xf << 32) | DD, Ordering::Release);
    }
}
