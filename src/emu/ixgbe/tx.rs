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
//! The ring itself is in `tx_ring`, whose turn it is in `transmit`.

use super::super::offload::Sums;
use super::super::transmit::{Next, Transmitter, Turns};
use super::super::tx_ring::{Head, Outgoing, Part, TxRing};
use super::super::wire::{MAX_FRAME, MIN_FRAME};
use super::super::{RegisterFile, Row, Violations, bits};
use super::offload::{self, Context};
use super::pace::Limits;
use super::regs::{TDBAH, TDBAL, TDH, TDLEN, TDT, TDWBAH, TDWBAL, TXDCTL};
use super::stats::{self, Good, QueueGood};
use super::{Ixgbe, QUEUES, show_head};

/// Data descriptors of one packet (the datasheet's 40, less write-back threshold).
const DESCRIPTORS_MAX: u32 = 40;

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
    /// Its ring.
    pub ring: TxRing,
    contexts: [Option<Context>; 2],
    good: QueueGood,
}

/// All that sends.
#[derive(Default)]
pub struct Transmit {
    /// The queues.
    pub queues: Vec<TxQueue>,
    /// DMATXCTL.TE: any of them may.
    pub on: bool,
    /// Frames are padded to their least length.
    pub pad: bool,
    /// EtherType of inserted tags.
    pub vlan_type: u16,
    /// Masks of the TCP flags of a first, middle and last segment.
    pub tcp_flags: [u16; 3],
    /// How fast each queue may send.
    pub limits: Limits,
    /// What was sent in this step.
    pub good: Good,
    turns: Turns,
    out: Outgoing,
    /// Queues that reported something in this step, as bits.
    reported: u128,
}

impl Transmit {
    /// Queues that are off.
    pub fn new() -> Self {
        Transmit { queues: (0..QUEUES).map(|_| TxQueue::default()).collect(), ..Transmit::default() }
    }

    /// Whether any queue has something to send.
    pub fn pending(&self) -> bool {
        self.queues.iter().any(|queue| queue.enabled && queue.ring.pending())
    }
}

impl TxQueue {
    fn enable(&mut self, q: u16, regs: &RegisterFile<Ixgbe>, violations: &mut Violations) {
        let at = |register: &Row<Ixgbe>| regs.peek(register.nth(q.into()));
        let write_back = at(&TDWBAL);
        if at(&TDLEN) == 0 || at(&TDLEN) % 128 != 0 {
            violations.note("TDLEN is not a multiple of 128");
        }
        let address = u64::from(write_back & !3) | u64::from(at(&TDWBAH)) << 32;
        let base = u64::from(at(&TDBAL) & !0x7f) | u64::from(at(&TDBAH)) << 32;
        let ring = TxRing::new(base, at(&TDLEN) / 16, at(&TDH), (write_back & 1 == 1).then_some(address));
        *self = TxQueue { enabled: true, ring, ..TxQueue::default() };
        if self.ring.head >= self.ring.count {
            violations.note("TDH is outside the ring");
            self.ring.head = 0;
        }
    }

    /// The head is written while the queue is enabled: fine while it is empty.
    fn rewind(&mut self, head: u32, violations: &mut Violations) {
        let ring = &mut self.ring;
        if head == ring.head {
            return;
        }
        if ring.pending() || head >= ring.count {
            violations.note("TDH of a queue in use written");
            return;
        }
        (ring.head, ring.tail) = (head, head);
    }
}

impl Ixgbe {
    /// What the packet's first descriptor asks for (§7.2.3.2.4: later ones may
    /// carry zeroes).
    #[inline]
    fn prepare(&mut self, first: u64) -> Next {
        let queue = &self.tx.queues[usize::from(self.tx.turns.queue)];
        let slot = queue.contexts[(first >> 36 & 1) as usize];
        self.tx.out.stamp = first & DEXT != 0 && first & TSTAMP != 0;
        let packet = &mut self.tx.out.packet;
        let payload = (first >> 46) as usize;
        let fcs = if first & IFCS == 0 { 4 } else { 0 };
        // The driver's own FCS; a wire here carries none.
        packet.truncate(packet.len().saturating_sub(fcs));
        if first & DEXT != 0 && first & (TSE | VLE | POPTS) != 0 {
            self.board.used.summed += u64::from(first & POPTS != 0);
            self.board.used.segmented += u64::from(first & TSE != 0);
            self.board.used.tagged += u64::from(first & VLE != 0);
        }
        self.tx.out.offload = if first & DEXT == 0 {
            let offload = offload::legacy(first >> 48, first & VLE != 0, self.tx.vlan_type);
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
            offload::prepare(packet, wanted, slot, self.tx.tcp_flags, self.tx.vlan_type, &mut self.board.violations)
        };
        if !self.tx.out.offload.segments() {
            let len = packet.len() + self.tx.out.offload.tag_len();
            if packet.len() < 17 || len > MAX_FRAME {
                if !packet.is_empty() {
                    self.board.violations.note("frame shorter than 17 bytes or longer than 16 KiB");
                }
                self.complete();
                return Next::Other;
            }
            self.tx.out.offload.tag(packet);
            if packet.len() < MIN_FRAME && self.tx.pad {
                packet.resize(MIN_FRAME, 0);
            }
        }
        Next::Packet
    }

    /// A context descriptor, or one that makes no sense.
    #[cold]
    fn not_data(&mut self, words: [u64; 2]) -> Next {
        let last = self.tx.out.gathered.descriptors - 1;
        if words[1] >> 20 & 0xf == 2 {
            if last != 0 {
                self.board.violations.note("context descriptor inside a packet");
            }
            let context = Context::decode(words);
            self.tx.queues[usize::from(self.tx.turns.queue)].contexts[context.slot] = Some(context);
        } else {
            self.board.violations.note("transmit descriptor of an unknown type");
        }
        self.tx.out.gathered.reports |= (words[1] & RS) >> 27 << last;
        self.complete();
        Next::Other
    }

    /// All of a packet's descriptors are done.
    #[inline]
    fn complete(&mut self) {
        let q = self.tx.turns.queue;
        let (ring, memory) = (&mut self.tx.queues[usize::from(q)].ring, &self.board.bus.memory);
        self.tx.turns.busy = false;
        if ring.complete(self.tx.out.gathered, memory, self.board.nasty, done) {
            self.tx.reported |= 1 << q;
            ring.write_head(memory);
        }
    }

    /// TDH of queue `q`.
    pub(super) fn tx_head(&mut self, q: u16) -> u32 {
        let queue = &self.tx.queues[usize::from(q)];
        if queue.enabled { queue.ring.head } else { self.regs.peek(TDH.nth(q.into())) }
    }

    /// Whether TXDCTL enables queue `q`, which it may do before the card knows.
    pub(super) fn tx_wanted(&self, q: u16) -> bool {
        self.regs.peek(TXDCTL.nth(q.into())) & ENABLE != 0
    }

    /// Base or length of queue `q` was written.
    pub(super) fn tx_base_written(&mut self, q: u16) {
        if self.tx.queues[usize::from(q)].enabled && self.tx_wanted(q) {
            self.board.violations.note("base or length of an enabled transmit queue written");
        }
        self.tx_queue_written(q);
    }

    /// TDH of queue `q` was written.
    pub(super) fn tx_head_written(&mut self, q: u16, head: u32) {
        if self.tx.queues[usize::from(q)].enabled && self.tx_wanted(q) {
            self.tx.queues[usize::from(q)].rewind(head & 0xffff, &mut self.board.violations);
        }
        self.tx_queue_written(q);
    }

    /// TXDCTL or another register of queue `q` was written.
    pub(super) fn tx_queue_written(&mut self, q: u16) {
        let on = self.tx_wanted(q);
        let queue = &mut self.tx.queues[usize::from(q)];
        match (queue.enabled, on) {
            (false, true) => {
                queue.enable(q, &self.regs, &mut self.board.violations);
                self.tx.turns.start(q);
            }
            (true, false) => {
                stats::count_tx_queue(&self.regs, q, std::mem::take(&mut queue.good));
                self.regs.poke(TDH.nth(q.into()), 0);
                self.regs.poke(TDT.nth(q.into()), 0);
                *queue = TxQueue::default();
                self.tx.turns.stop(q);
            }
            (true, true) | (false, false) => {}
        }
    }
}

impl Transmitter for Ixgbe {
    #[inline]
    fn turns(&mut self) -> &mut Turns {
        &mut self.tx.turns
    }

    #[inline]
    fn look(&mut self, q: u16) {
        let tail = self.regs.peek(TDT.nth(q.into()));
        if !self.tx.queues[usize::from(q)].ring.look(tail, &self.board.bus.memory) {
            self.board.violations.note("TDT is outside the ring");
        }
    }

    #[inline]
    fn fetch(&mut self, q: u16) -> Next {
        if self.tx.limits.due(q) > self.board.now && self.tx.queues[usize::from(q)].ring.pending() {
            self.board.port.mac.hold(self.board.now);
            return Next::Later;
        }
        let queue = &self.tx.queues[usize::from(q)];
        let (mut first, mut other) = (None, None);
        let head = queue.ring.gather(&self.board.bus.memory, &mut self.tx.out.packet, |words| {
            let command = words[1];
            if command & DEXT != 0 && command >> 20 & 0xf != 3 {
                other = Some(words);
                return Part::Stop;
            }
            first.get_or_insert(command);
            let len = (command & 0xffff) as usize;
            Part::Data { address: words[0], len, report: command & RS != 0, end: command & EOP != 0 }
        });
        let (gathered, empty) = match head {
            Head::Open => return Next::Nothing,
            // The rule of 40 is below.
            Head::Packet(gathered) | Head::Endless(gathered) => (gathered, false),
            Head::Empty(gathered) => (gathered, true),
        };
        self.tx.turns.queue = q;
        self.tx.out.gathered = gathered;
        if empty {
            self.board.violations.note("transmit descriptor without data, or a packet without end");
            self.complete();
            return Next::Other;
        }
        if let Some(words) = other {
            return self.not_data(words);
        }
        if gathered.descriptors > DESCRIPTORS_MAX {
            self.board.violations.note("packet of more than 40 descriptors");
        }
        self.tx.turns.busy = true;
        self.prepare(first.unwrap_or_default())
    }

    #[inline]
    fn emit(&mut self) -> bool {
        let (now, q) = (self.board.now, self.tx.turns.queue);
        let queue = &mut self.tx.queues[usize::from(q)].good;
        let left = self.tx.out.emit(|frame| {
            let due = self.tx.limits.due(q);
            if due > now {
                // A segment behind another.
                self.board.port.mac.hold(now);
                return None;
            }
            let left = self.board.port.send_from(frame, now, due)?;
            self.tx.good.count(frame, frame.len());
            queue.frames += 1;
            queue.bytes += frame.len() as u64;
            self.tx.limits.left(q, frame.len(), left, self.board.speed, &self.regs);
            Some(left)
        });
        let Some(left) = left else { return false };
        if self.tx.out.stamp {
            self.stamp_sent(left);
        }
        self.complete();
        true
    }

    /// Counters and interrupts of the queues that sent.
    fn finish(&mut self, work: usize, _: bool) {
        if work == 0 && !self.board.nasty {
            return;
        }
        for &q in self.tx.turns.active() {
            let queue = &mut self.tx.queues[usize::from(q)];
            if self.mapped {
                show_head(&self.regs, &TDH, q, queue.ring.head);
            }
            if queue.good.frames != 0 {
                stats::count_tx_queue(&self.regs, q, std::mem::take(&mut queue.good));
            }
            let late = self.board.nasty && self.board.random.below(4) == 0;
            if late && queue.ring.report_late(&self.board.bus.memory, done) {
                self.tx.reported |= 1 << q;
            }
        }
        for q in bits(std::mem::take(&mut self.tx.reported)) {
            self.tx_event(q);
        }
    }
}

/// A descriptor's second word with DD.
fn done(word: u64) -> u64 {
    word & !(0xf << 32) | DD
}
