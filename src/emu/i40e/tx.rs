//! Transmit: descriptors into frames (X710 §8.4).
//!
//! ```text
//!   ring q: | sent | context filter data data+EOP | ... |     head .. tail: the card's
//!                     |       |      |
//!                     v       v      v    offloads: checksums, VLAN, segmentation
//!               parameters, flow director, one packet -------> frames --> MAC
//!                                                                |
//!   type 0xf in each descriptor with RS, or the head in memory <-+
//! ```
//!
//! A context descriptor belongs to the one packet behind it. A packet that the
//! wire has no time for yet goes on in the next step.

use super::super::offload::{Headers, Offload, Segmentation, Sums, Tag};
use super::super::segment::Transport;
use super::super::wire::{MAX_FRAME, MIN_FRAME, Sent};
use super::super::{Picos, RegisterFile, STEP, Translation, Violations};
use super::fdir::Program;
use super::hmc::{TX_CONTEXT, Way, field};
use super::regs::{self, QTX_ENA, QTX_TAIL};
use super::{I40e, QUEUES};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Data descriptors of a packet that is not segmented (§8.4.1).
const BUFFERS_MAX: u32 = 8;
/// All descriptors of a packet: what the reports are kept for.
const DESCRIPTORS_MAX: u32 = 64;

/// Largest packet to segment, and the longest payload of a segment.
const TSO_MAX: usize = 256 * 1024;
const MSS_MAX: usize = 9674;

const REQUEST: u32 = 1;

/// Descriptor types.
const DATA: u64 = 0;
const CONTEXT: u64 = 1;
const FILTER: u64 = 8;
const DONE: u64 = 0xf;

/// Commands of a data descriptor.
const EOP: u64 = 1;
const RS: u64 = 2;
const ICRC: u64 = 4;
const IL2TAG1: u64 = 8;
const DUMMY: u64 = 0x10;
/// Of a context descriptor.
const TSO: u64 = 1;
const TSYN: u64 = 2;
const IL2TAG2: u64 = 4;

/// A transmit queue, as its context was when it was enabled.
pub struct TxQueue {
    /// Sends.
    pub enabled: bool,
    /// The context's bytes.
    pub context: [u8; TX_CONTEXT],
    base: Iova,
    count: u32,
    /// Next descriptor to send.
    head: u32,
    tail: u32,
    head_write_back: Option<Iova>,
    /// Head as it was last written there.
    told: u32,
    stamps: bool,
    directs: bool,
    /// What GLLAN_TXPRE_QDIS announced: it may be enabled, or disabled.
    may_start: bool,
    may_stop: bool,
    /// Descriptors written back late (nasty).
    late: Vec<u32>,
}

impl Default for TxQueue {
    fn default() -> Self {
        TxQueue {
            enabled: false,
            context: [0; TX_CONTEXT],
            base: 0,
            count: 0,
            head: 0,
            tail: 0,
            head_write_back: None,
            told: 0,
            stamps: false,
            directs: false,
            may_start: false,
            may_stop: false,
            late: Vec::new(),
        }
    }
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
    /// Reads the context as the queue is enabled (§8.4.3.4.1).
    fn enable(&mut self, violations: &mut Violations) {
        let context = self.context;
        let at = |lsb, width| field(&context, lsb, width);
        let head = at(0, 13) as u32;
        *self = TxQueue {
            enabled: true,
            context,
            base: at(32, 57) << 7,
            count: at(161, 13) as u32,
            head,
            tail: head,
            told: head,
            head_write_back: (at(160, 1) == 1).then(|| at(192, 64)),
            stamps: at(90, 1) == 1,
            directs: at(91, 1) == 1,
            may_start: self.may_start,
            ..TxQueue::default()
        };
        let sane = self.count >= 32 && self.count.is_multiple_of(32) && self.base != 0 && head < self.count;
        if !sane || at(30, 1) != 1 {
            violations.note("transmit queue context without ring, or not a new one");
            self.enabled = sane;
        }
        if !self.may_start {
            violations.note("transmit queue enabled without GLLAN_TXPRE_QDIS.CLEAR_QDIS");
        }
        self.may_start = false;
    }

    /// Looks at the doorbell.
    #[inline]
    fn look(&mut self, q: u16, regs: &RegisterFile<I40e>, violations: &mut Violations) {
        let tail = regs.peek(QTX_TAIL.nth(q.into()));
        if tail != self.tail {
            if tail < self.count {
                self.tail = tail;
            } else {
                violations.note("QTX_TAIL is outside the ring");
            }
        }
    }

    #[inline]
    fn after(&self, at: u32, by: u32) -> u32 {
        let at = at + by;
        if at >= self.count { at - self.count } else { at }
    }
}

/// What a packet's descriptors say.
#[derive(Default)]
struct Parts {
    context: Option<[u64; 2]>,
    program: Option<Program>,
    /// The first data descriptor's second word.
    first: u64,
    buffers: u32,
    dummy: bool,
    crc: bool,
}

impl I40e {
    /// Sends what the doorbells announced, as far as the wire has time; how
    /// many packets that was.
    pub(super) fn transmit(&mut self, now: Picos) -> usize {
        if self.tx_active.is_empty() || !self.link.up {
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
        let queue = &self.tx[usize::from(q)];
        let memory = &self.board.bus.memory;
        self.packet.clear();
        let mut at = queue.head;
        let (mut descriptors, mut reports) = (0u32, 0u64);
        let mut parts = Parts::default();
        let mut wrong = None;
        loop {
            if at == queue.tail {
                // A packet without its end: the rest is still to come.
                return Next::Nothing;
            }
            let Some(descriptor) = memory.descriptor(queue.base.wrapping_add(16 * u64::from(at))) else {
                return Next::Nothing;
            };
            let words = [descriptor[0].load(Ordering::Relaxed), descriptor[1].load(Ordering::Relaxed)];
            let command = words[1] >> 4 & 0xfff;
            descriptors += 1;
            at = queue.after(at, 1);
            match words[1] & 0xf {
                DATA => {
                    reports |= (command & RS) >> 1 << (descriptors - 1);
                    if parts.buffers == 0 {
                        parts.first = words[1];
                    }
                    parts.buffers += 1;
                    let len = (words[1] >> 34 & 0x3fff) as usize;
                    if len == 0 || self.packet.len() + len > TSO_MAX {
                        wrong = Some("transmit descriptor without data, or a packet without end");
                    } else {
                        // Where memory is not mapped the driver is told that it
                        // is done; the violation is counted.
                        memory.append(words[0], len, &mut self.packet);
                    }
                    if command & EOP != 0 {
                        parts.dummy = command & DUMMY != 0;
                        parts.crc = command & ICRC != 0;
                        break;
                    }
                }
                CONTEXT if parts.buffers == 0 && parts.context.is_none() => parts.context = Some(words),
                CONTEXT => wrong = Some("context descriptor inside a packet, or two in a row"),
                FILTER if parts.buffers == 0 && parts.program.is_none() => parts.program = Some(Program { words }),
                FILTER => wrong = Some("filter descriptor inside a packet, or two in a row"),
                _ => wrong = Some("transmit descriptor of an unknown type"),
            }
            if descriptors == DESCRIPTORS_MAX {
                wrong = wrong.or(Some("packet of more descriptors than any has"));
            }
            if wrong.is_some() {
                break;
            }
        }
        self.out.queue = q;
        self.out.descriptors = descriptors;
        self.out.reports = reports;
        if let Some(wrong) = wrong {
            self.board.violations.note(wrong);
            return self.refuse();
        }
        self.out.busy = true;
        self.prepare(&parts)
    }

    /// The packet is not sent: silicon calls it malicious.
    #[cold]
    fn refuse(&mut self) -> Next {
        self.count_not_sent(usize::from(self.switch.owners[usize::from(self.out.queue)]));
        self.complete();
        Next::Other
    }

    /// What the packet's descriptors ask for (§8.4.2.1).
    #[inline]
    fn prepare(&mut self, parts: &Parts) -> Next {
        if parts.program.is_some() || parts.dummy {
            self.program_filter(parts);
            if parts.dummy {
                self.complete();
                return Next::Other;
            }
        }
        if !parts.crc {
            // The driver's own; a wire here carries none.
            self.packet.truncate(self.packet.len().saturating_sub(4));
        }
        let [context, command] = parts.context.unwrap_or_default();
        let segment = command >> 4 & TSO != 0;
        self.out.stamp = command >> 4 & TSYN != 0 && self.tx[usize::from(self.out.queue)].stamps;
        if parts.buffers > BUFFERS_MAX && !segment {
            self.board.violations.note("packet of more than 8 buffers");
        }
        let longest = usize::from(self.link.longest) - 4;
        if self.packet.len() < 17 || !segment && self.packet.len() > longest {
            if !self.packet.is_empty() {
                self.board.violations.note("packet shorter than 17 bytes or longer than the MAC takes");
            }
            return self.refuse();
        }
        if self.blocked() {
            self.complete();
            return Next::Other;
        }
        let Some(offload) = self.offload(parts.first, context, command, segment) else { return self.refuse() };
        if !segment {
            offload.tag(&mut self.packet);
            if self.packet.len() < MIN_FRAME {
                self.packet.resize(MIN_FRAME, 0);
            }
        }
        self.out.offload = offload;
        Next::Packet
    }

    /// Control frames that firmware was told to hold back.
    #[inline]
    fn blocked(&self) -> bool {
        let blocked = &self.switch.blocked[0];
        !blocked.is_empty() && blocked.contains(&u16::from_be_bytes([self.packet[12], self.packet[13]]))
    }

    /// Does what concerns the packet as a whole; what is left is for its
    /// frames. `None` if the descriptors ask for what cannot be.
    #[inline]
    fn offload(&mut self, first: u64, context: u64, command: u64, segment: bool) -> Option<Offload> {
        const IPV4_SUM: u64 = 3;
        let tag = |wanted: bool, ethertype, tci: u64| wanted.then_some(Tag { ethertype, tci: tci as u16 });
        let tags = [
            tag(first >> 4 & IL2TAG1 != 0, 0x8100, first >> 48),
            tag(command >> 4 & IL2TAG2 != 0, 0x88a8, context >> 32),
        ];
        let (iipt, l4t) = (first >> 9 & 3, first >> 12 & 3);
        self.board.used.tagged += u64::from(tags != [None; 2]);
        if iipt == 0 && l4t == 0 && !segment {
            return Some(Offload { tags, segmentation: None });
        }
        let offset = first >> 16;
        // A tunnel's outer headers stand before the ones that are meant.
        let outer = (context >> 2 & 0x7f) as usize * 4;
        let tunnel = if context & 3 != 0 { outer + (context >> 12 & 0x7f) as usize * 2 } else { 0 };
        let mac_len = (offset & 0x7f) as usize * 2;
        let headers = Headers {
            mac_len: mac_len + tunnel,
            ip_len: (offset >> 7 & 0x7f) as usize * 4,
            l4_len: (offset >> 14 & 0xf) as usize * 4,
            v4: iipt >= 2,
            protocol: [None, Some(Transport::Tcp), Some(Transport::Sctp), Some(Transport::Udp)][l4t as usize],
        };
        let sums = Sums { ip: iipt == IPV4_SUM, transport: l4t != 0 };
        self.board.used.summed += u64::from(sums != Sums::default());
        self.board.used.segmented += u64::from(segment);
        if iipt == 0 || headers.mac_len < 14 || headers.ip_len < 20 || l4t != 0 && headers.l4_len == 0 {
            self.board.violations.note("offload without the lengths of the headers");
            return None;
        }
        if segment {
            let mss = (command >> 50) as usize;
            let least = (self.regs.peek(regs::GLLAN_MSSMIN.at) >> 16 & 0x3ff) as usize;
            let payload = (command >> 30 & 0x3ffff) as usize;
            let masks = [regs::GLLAN_TSOMSK_F, regs::GLLAN_TSOMSK_M, regs::GLLAN_TSOMSK_L];
            let masks = masks.map(|register| !self.regs.peek(register.at) as u16);
            let segmentation = Segmentation::new(&self.packet, headers, mss, sums, masks);
            let lengths = segmentation.as_ref().is_some_and(|tso| payload == self.packet.len() - tso.header_len());
            if !(least..=MSS_MAX).contains(&mss) || !lengths {
                self.board.violations.note("segmentation of no TCP packet, or with a wrong MSS or length");
                return None;
            }
            // Outer headers of segments are not modelled.
            let plain = tunnel == 0 && headers.mac_len + headers.ip_len + headers.l4_len + mss + 8 <= MAX_FRAME;
            return segmentation.filter(|_| plain).map(|tso| Offload { tags, segmentation: Some(tso) });
        }
        if context & 3 == IPV4_SUM {
            let outer = Headers { mac_len, ip_len: outer, l4_len: 0, v4: true, protocol: None };
            outer.fill(&mut self.packet, Sums { ip: true, transport: false })?;
        }
        if headers.fill(&mut self.packet, sums).is_none() {
            self.board.violations.note("header lengths do not fit the packet");
            return None;
        }
        Some(Offload { tags, segmentation: None })
    }

    /// A filter descriptor, with the packet behind it as its template.
    #[cold]
    fn program_filter(&mut self, parts: &Parts) {
        let q = self.out.queue;
        let Some(program) = parts.program else {
            return self.board.violations.note("dummy packet without a filter descriptor before it");
        };
        if !self.tx[usize::from(q)].directs {
            return self.board.violations.note("filter descriptor on a queue without fd_ena");
        }
        let template = std::mem::take(&mut self.packet);
        if let Err(refusal) = self.program(program, &template) {
            let vsi = usize::from(self.switch.owners[usize::from(q)]);
            self.filter_status(vsi, (program.words[1] >> 32) as u32, refusal);
        }
        self.packet = template;
    }

    /// Sends the packet's frames, or what is left of them; false if the wire
    /// has no time.
    #[inline]
    fn emit(&mut self, now: Picos) -> bool {
        let vsi = usize::from(self.switch.owners[usize::from(self.out.queue)]);
        let left = loop {
            let frame = if self.out.offload.segments() {
                self.out.offload.segment(&self.packet, &mut self.segment)
            } else {
                &self.packet[..]
            };
            let left = if self.looping {
                if !self.loop_queue.push(frame, now) {
                    return false;
                }
                now
            } else {
                let Sent::Done(at) = self.board.mac.send(frame, now) else { return false };
                at
            };
            self.tx_good.count(frame);
            self.switch.vsis[vsi].tx.count(frame);
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
        if reports == 0 || queue.head_write_back.is_some() {
            return;
        }
        self.tx_reported |= 1 << self.out.queue;
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

    /// Head write-backs and interrupts of the queues that sent.
    fn finish_transmit(&mut self) {
        for at in 0..self.tx_active.len() {
            let q = self.tx_active[at];
            let queue = &mut self.tx[usize::from(q)];
            let late = self.board.nasty && self.board.random.below(4) != 0;
            if let Some(iova) = queue.head_write_back {
                if queue.told != queue.head && !late {
                    if let Some(word) = self.board.bus.memory.word32(iova) {
                        word.store(queue.head, Ordering::Release);
                    }
                    queue.told = queue.head;
                    self.tx_reported |= 1 << q;
                }
            } else if !queue.late.is_empty() && !late {
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

    /// GLLAN_TXPRE_QDIS(block) was written: a queue is about to be enabled, or
    /// disabled. Its number may be within the block of 128, or absolute.
    pub(super) fn announced(&mut self, block: u16, value: u32) {
        const SET: u32 = 1 << 30;
        const CLEAR: u32 = 1 << 31;
        const STATUS: u32 = 1 << 16;
        let index = value & 0x7ff;
        let absolute = if index < 128 { 128 * u32::from(block) + index } else { index };
        let queue = absolute.checked_sub(u32::from(self.first_queue)).filter(|q| *q < u32::from(QUEUES));
        let Some(queue) = queue.map(|q| &mut self.tx[q as usize]) else {
            return self.board.violations.note("GLLAN_TXPRE_QDIS for a queue that is not the function's");
        };
        match value & (SET | CLEAR) {
            SET => (queue.may_start, queue.may_stop) = (false, true),
            CLEAR => (queue.may_start, queue.may_stop) = (true, false),
            _ => {}
        }
        let status = if value & SET != 0 { STATUS } else { 0 };
        self.regs.poke(regs::GLLAN_TXPRE_QDIS.nth(block.into()), value & 0x7ff | status);
    }

    /// QTX_ENA of queue `q` was written.
    pub(super) fn tx_enable_written(&mut self, q: u16) {
        const PF_QUEUE: u32 = 2;
        let at = QTX_ENA.nth(q.into());
        let on = self.regs.peek(at) & REQUEST != 0;
        let enabled = self.tx[usize::from(q)].enabled;
        if on && !enabled && self.load_context(Way::Tx, q) {
            if self.regs.peek(regs::QTX_CTL.nth(q.into())) & 0x3f != PF_QUEUE {
                self.board.violations.note("transmit queue enabled that QTX_CTL does not give to the function");
            }
            let queue = &mut self.tx[usize::from(q)];
            queue.enable(&mut self.board.violations);
            // What the queue announced in a former life is over: Linux enables it
            // again without a word to its tail.
            self.regs.poke(QTX_TAIL.nth(q.into()), queue.head);
            if queue.enabled {
                self.tx_active.push(q);
            }
        } else if !on && enabled {
            let queue = &mut self.tx[usize::from(q)];
            if !queue.may_stop {
                self.board.violations.note("transmit queue disabled without GLLAN_TXPRE_QDIS.SET_QDIS");
            }
            *queue = TxQueue { context: queue.context, ..TxQueue::default() };
            self.tx_active.retain(|active| *active != q);
            self.out.busy &= self.out.queue != q;
        }
        self.follow(at, on);
    }

    /// QTX_HEAD reads the head of a queue that sends.
    pub(super) fn tx_head(&self, q: u16) -> u32 {
        let queue = &self.tx[usize::from(q)];
        if queue.enabled { queue.head } else { self.regs.peek(regs::QTX_HEAD.nth(q.into())) }
    }
}

/// Marks a descriptor as done.
#[inline]
fn report(memory: &Translation, base: Iova, at: u32) {
    if let Some(descriptor) = memory.descriptor(base.wrapping_add(16 * u64::from(at))) {
        let word = descriptor[1].load(Ordering::Relaxed);
        descriptor[1].store(word | DONE, Ordering::Release);
    }
}
