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
//! A context descriptor belongs to the one packet behind it. The ring itself is in
//! `tx_ring`, whose turn it is in `transmit`.

mod enable;

use super::super::offload::{Headers, Offload, Segmentation, Sums, Tag};
use super::super::segment::Transport;
use super::super::transmit::{Next, Transmitter, Turns};
use super::super::tx_ring::{Head, Outgoing, Part, TxRing};
use super::super::wire::{MAX_FRAME, MIN_FRAME};
use super::super::{FaultKind, Violations, bits};
use super::fdir::Program;
use super::hmc::{TX_CONTEXT, field};
use super::regs::{self, QTX_TAIL};
use super::stats::Good;
use super::{I40e, QUEUES};

/// Data descriptors of a packet that is not segmented (§8.4.1).
const BUFFERS_MAX: u32 = 8;

/// The longest payload of a segment.
const MSS_MAX: usize = 9674;

/// The packet that is taken for malicious (fault).
const SUSPECT: u64 = 100;

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
    ring: TxRing,
    /// Head as it was last written there.
    told: u32,
    stamps: bool,
    directs: bool,
    /// What GLLAN_TXPRE_QDIS announced: it may be enabled, or disabled.
    may_start: bool,
    may_stop: bool,
    /// A packet of it was taken for malicious: it sends no more until it is set up anew.
    stopped: bool,
}

impl Default for TxQueue {
    fn default() -> Self {
        TxQueue {
            enabled: false,
            context: [0; TX_CONTEXT],
            ring: TxRing::default(),
            told: 0,
            stamps: false,
            directs: false,
            may_start: false,
            may_stop: false,
            stopped: false,
        }
    }
}

/// All that sends.
#[derive(Default)]
pub struct Transmit {
    /// The queues.
    pub queues: Vec<TxQueue>,
    /// What was sent in this step.
    pub good: Good,
    turns: Turns,
    out: Outgoing,
    /// Packets that were looked at.
    packets: u64,
    /// Queues that reported something in this step, as bits.
    reported: u128,
}

impl Transmit {
    /// Queues that are off.
    pub fn new() -> Self {
        Transmit { queues: (0..QUEUES).map(|_| TxQueue::default()).collect(), ..Transmit::default() }
    }
}

impl TxQueue {
    /// Reads the context as the queue is enabled (§8.4.3.4.1).
    fn enable(&mut self, violations: &mut Violations) {
        let context = self.context;
        let at = |lsb, width| field(&context, lsb, width);
        let head = at(0, 13) as u32;
        let write_back = (at(160, 1) == 1).then(|| at(192, 64));
        *self = TxQueue {
            enabled: true,
            context,
            ring: TxRing::new(at(32, 57) << 7, at(161, 13) as u32, head, write_back),
            told: head,
            stamps: at(90, 1) == 1,
            directs: at(91, 1) == 1,
            may_start: self.may_start,
            ..TxQueue::default()
        };
        let count = self.ring.count;
        let sane = count >= 32 && count.is_multiple_of(32) && at(32, 57) != 0 && head < count;
        if !sane || at(30, 1) != 1 {
            violations.note("transmit queue context without ring, or not a new one");
            self.enabled = sane;
        }
        if !self.may_start {
            violations.note("transmit queue enabled without GLLAN_TXPRE_QDIS.CLEAR_QDIS");
        }
        self.may_start = false;
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
    /// The packet is not sent: it is malicious, its queue stops as it is, and both are
    /// told (GL_MDET_TX, PF_MDET_TX, ICR0.MAL_DETECT; Linux i40e_handle_mdd_event).
    #[cold]
    fn refuse(&mut self) -> Next {
        const MAL_DETECT: u32 = 1 << 19;
        const VALID: u32 = 1 << 31;
        /// Which kinds there are no driver says.
        const EVENT: u32 = 1 << 25;
        let q = self.tx.turns.queue;
        self.count_not_sent(usize::from(self.switch.owners[usize::from(q)]));
        self.tx.turns.busy = false;
        self.tx.queues[usize::from(q)].stopped = true;
        // The first one stays until it is cleared; of function 0, as PF_FUNC_RID says.
        if self.regs.peek(regs::GL_MDET_TX.at) & VALID == 0 {
            self.regs.poke(regs::GL_MDET_TX.at, VALID | EVENT | u32::from(self.first_queue + q));
        }
        self.regs.poke(regs::PF_MDET_TX.at, 1);
        self.cause(MAL_DETECT);
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
            self.tx.out.packet.truncate(self.tx.out.packet.len().saturating_sub(4));
        }
        let [context, command] = parts.context.unwrap_or_default();
        let segment = command >> 4 & TSO != 0;
        self.tx.out.stamp = command >> 4 & TSYN != 0 && self.tx.queues[usize::from(self.tx.turns.queue)].stamps;
        if parts.buffers > BUFFERS_MAX && !segment {
            self.board.violations.note("packet of more than 8 buffers");
            return self.refuse();
        }
        let longest = usize::from(self.link.longest) - 4;
        if self.tx.out.packet.len() < 17 || !segment && self.tx.out.packet.len() > longest {
            if !self.tx.out.packet.is_empty() {
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
            offload.tag(&mut self.tx.out.packet);
            if self.tx.out.packet.len() < MIN_FRAME {
                self.tx.out.packet.resize(MIN_FRAME, 0);
            }
        }
        self.tx.out.offload = offload;
        Next::Packet
    }

    /// Control frames that firmware was told to hold back.
    #[inline]
    fn blocked(&self) -> bool {
        let blocked = &self.switch.blocked[0];
        !blocked.is_empty() && blocked.contains(&u16::from_be_bytes([self.tx.out.packet[12], self.tx.out.packet[13]]))
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
            let segmentation = Segmentation::new(&self.tx.out.packet, headers, mss, sums, masks);
            let lengths =
                segmentation.as_ref().is_some_and(|tso| payload == self.tx.out.packet.len() - tso.header_len());
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
            outer.fill(&mut self.tx.out.packet, Sums { ip: true, transport: false })?;
        }
        if headers.fill(&mut self.tx.out.packet, sums).is_none() {
            self.board.violations.note("header lengths do not fit the packet");
            return None;
        }
        Some(Offload { tags, segmentation: None })
    }

    /// A filter descriptor, with the packet behind it as its template.
    #[cold]
    fn program_filter(&mut self, parts: &Parts) {
        let q = self.tx.turns.queue;
        let Some(program) = parts.program else {
            return self.board.violations.note("dummy packet without a filter descriptor before it");
        };
        if !self.tx.queues[usize::from(q)].directs {
            return self.board.violations.note("filter descriptor on a queue without fd_ena");
        }
        let template = std::mem::take(&mut self.tx.out.packet);
        if let Err(refusal) = self.program(program, &template) {
            let vsi = usize::from(self.switch.owners[usize::from(q)]);
            self.filter_status(vsi, (program.words[1] >> 32) as u32, refusal);
        }
        self.tx.out.packet = template;
    }

    /// All of a packet's descriptors are done.
    #[inline]
    fn complete(&mut self) {
        let q = self.tx.turns.queue;
        let ring = &mut self.tx.queues[usize::from(q)].ring;
        self.tx.turns.busy = false;
        let reported = ring.complete(self.tx.out.gathered, &self.board.bus.memory, self.board.nasty, done);
        if reported && ring.head_write_back.is_none() {
            self.tx.reported |= 1 << q;
        }
    }
}

impl Transmitter for I40e {
    #[inline]
    fn turns(&mut self) -> &mut Turns {
        &mut self.tx.turns
    }

    #[inline]
    fn look(&mut self, q: u16) {
        let tail = self.regs.peek(QTX_TAIL.nth(q.into()));
        if !self.tx.queues[usize::from(q)].ring.look(tail, &self.board.bus.memory) {
            self.board.violations.note("QTX_TAIL is outside the ring");
        }
    }

    #[inline]
    fn fetch(&mut self, q: u16) -> Next {
        let queue = &self.tx.queues[usize::from(q)];
        if queue.stopped {
            return Next::Nothing;
        }
        let mut parts = Parts::default();
        let mut wrong = None;
        let head = queue.ring.gather(&self.board.bus.memory, &mut self.tx.out.packet, |words| {
            let command = words[1] >> 4 & 0xfff;
            match words[1] & 0xf {
                DATA => {
                    if parts.buffers == 0 {
                        parts.first = words[1];
                    }
                    parts.buffers += 1;
                    let end = command & EOP != 0;
                    if end {
                        (parts.dummy, parts.crc) = (command & DUMMY != 0, command & ICRC != 0);
                    }
                    let len = (words[1] >> 34 & 0x3fff) as usize;
                    return Part::Data { address: words[0], len, report: command & RS != 0, end };
                }
                CONTEXT if parts.buffers == 0 && parts.context.is_none() => parts.context = Some(words),
                CONTEXT => wrong = Some("context descriptor inside a packet, or two in a row"),
                FILTER if parts.buffers == 0 && parts.program.is_none() => parts.program = Some(Program { words }),
                FILTER => wrong = Some("filter descriptor inside a packet, or two in a row"),
                _ => wrong = Some("transmit descriptor of an unknown type"),
            }
            if wrong.is_some() { Part::Stop } else { Part::Other }
        });
        let (gathered, flaw) = match head {
            Head::Open => return Next::Nothing,
            Head::Packet(gathered) => (gathered, None),
            Head::Empty(gathered) => (gathered, Some("transmit descriptor without data, or a packet without end")),
            Head::Endless(gathered) => (gathered, Some("packet of more descriptors than any has")),
        };
        self.tx.turns.queue = q;
        self.tx.out.gathered = gathered;
        if let Some(wrong) = wrong.or(flaw) {
            self.board.violations.note(wrong);
            return self.refuse();
        }
        self.tx.turns.busy = true;
        self.tx.packets += 1;
        if self.tx.packets == SUSPECT && self.board.faulty(FaultKind::Malicious) {
            return self.refuse();
        }
        self.prepare(&parts)
    }

    #[inline]
    fn emit(&mut self) -> bool {
        let now = self.board.now;
        let vsi = &mut self.switch.vsis[usize::from(self.switch.owners[usize::from(self.tx.turns.queue)])].tx;
        let left = self.tx.out.emit(|frame| {
            let left = self.board.port.send(frame, now)?;
            self.tx.good.count(frame);
            vsi.count(frame);
            Some(left)
        });
        let Some(left) = left else { return false };
        if self.tx.out.stamp {
            self.stamp_sent(left);
        }
        self.complete();
        true
    }

    /// Head write-backs and interrupts of the queues that sent.
    fn finish(&mut self, work: usize, _: bool) {
        if work == 0 && !self.board.nasty {
            return;
        }
        let memory = &self.board.bus.memory;
        for &q in self.tx.turns.active() {
            let queue = &mut self.tx.queues[usize::from(q)];
            if self.board.nasty && self.board.random.below(4) != 0 {
                continue;
            }
            let moved = queue.ring.head_write_back.is_some() && queue.told != queue.ring.head;
            if moved {
                queue.ring.write_head(memory);
                queue.told = queue.ring.head;
            }
            if moved || queue.ring.report_late(memory, done) {
                self.tx.reported |= 1 << q;
            }
        }
        for q in bits(std::mem::take(&mut self.tx.reported)) {
            self.tx_event(q);
        }
    }
}

/// A descriptor's second word, marked as done.
fn done(word: u64) -> u64 {
    word | DONE
}
