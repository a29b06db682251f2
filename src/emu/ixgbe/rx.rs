//! Receive: frames into descriptors (82599 §7.1).
//!
//! ```text
//!   wire --> filters --> queue q          head            tail
//!                          ring: | done | free free free | driver's |
//!                                   ^ written back, up to a cache line (4) at once,
//!                                     status word last, with Release
//! ```
//!
//! The ring itself is in `rx_ring`.

use super::super::frame::{self, L3, L4, Parsed, Verdict};
use super::super::rx_ring::RxRing;
use super::super::wire::MIN_FRAME;
use super::super::{Picos, RegisterFile, Row, STEP, Translation, Violations, bits};
use super::filter::Route;
use super::irq::RX_MISS;
use super::regs::{self, RDBAH, RDBAL, RDH, RDLEN, RDT, RX_STAMP, RXCTRL, RXDCTL, SECRXCTRL, SRRCTL};
use super::stats::{self, Good, QueueGood, Shown};
use super::{Ixgbe, Kind, QUEUES, lies, show_head};

/// Status bits of the write-back (§7.1.6.2).
const DD: u32 = 1;
const EOP: u32 = 1 << 1;
const FLM: u32 = 1 << 2;
pub const VP: u32 = 1 << 3;
const UDPCS: u32 = 1 << 4;
pub const L4CS: u32 = 1 << 5;
const IPCS: u32 = 1 << 6;
const TSIP: u32 = 1 << 15;
const TS: u32 = 1 << 16;
const LB: u32 = 1 << 18;
/// Its error bits, in the same word.
pub const TCPE: u32 = 1 << 30;
const IPE: u32 = 1 << 31;

/// RXDCTL.
pub const ENABLE: u32 = 1 << 25;
const VME: u32 = 1 << 30;
const RLPML_EN: u32 = 1 << 15;
/// SRRCTL.
const DROP_EN: u32 = 1 << 28;

/// A receive queue, as its registers were when it was enabled.
#[derive(Default)]
pub struct RxQueue {
    /// Receives.
    pub enabled: bool,
    ring: RxRing<2>,
    legacy: bool,
    drop: bool,
    strip_vlan: bool,
    longest: u32,
    pub good: QueueGood,
}

/// All that receives.
#[derive(Default)]
pub struct Receive {
    /// The queues.
    pub queues: Vec<RxQueue>,
    /// Frames are taken in, and some queue is on.
    pub on: bool,
    /// Longest frame without FCS and tag.
    pub longest: usize,
    /// The FCS stays out of memory.
    pub strip_crc: bool,
    /// Each packet has its time behind its last byte.
    pub stamp_all: bool,
    /// What was received in this step, and what of it mapped pages show.
    pub good: Good,
    pub shown: Shown,
    /// Queues with something to write back, as bits.
    unflushed: u128,
    /// A frame that is changed on its way, and one that is padded.
    changed: Vec<u8>,
    padded: Vec<u8>,
}

impl Receive {
    /// Queues that are off.
    pub fn new() -> Self {
        Receive { queues: (0..QUEUES).map(|_| RxQueue::default()).collect(), ..Receive::default() }
    }
}

/// What became of a frame.
enum Fate {
    Taken,
    /// No descriptor is free.
    Full,
    /// Not for this queue.
    Refused,
}

impl RxQueue {
    /// Reads the queue's registers as it is enabled (§4.6.7.1).
    pub fn enable(&mut self, q: u16, regs: &RegisterFile<Ixgbe>, kind: Kind, violations: &mut Violations) {
        let at = |register: &Row<Ixgbe>| regs.peek(register.nth(q.into()));
        let (srrctl, rxdctl) = (at(&SRRCTL), at(&RXDCTL));
        let buffer = (srrctl & 0x1f) * 1024;
        if at(&RDLEN) == 0 || at(&RDLEN) % 128 != 0 {
            violations.note("RDLEN is not a multiple of 128");
        }
        if !matches!(srrctl >> 25 & 7, 0 | 1 | 2 | 5) {
            violations.note("SRRCTL.DESCTYPE is reserved");
        }
        let base = u64::from(at(&RDBAL) & !0x7f) | u64::from(at(&RDBAH)) << 32;
        // 0 is 2 KiB, as legacy drivers leave it.
        let buffer = if buffer == 0 { 2048 } else { buffer };
        *self = RxQueue {
            enabled: true,
            ring: RxRing::new(base, at(&RDLEN) / 16, at(&RDH), buffer, false),
            legacy: srrctl >> 25 & 7 == 0,
            drop: srrctl & DROP_EN != 0,
            strip_vlan: rxdctl & VME != 0,
            longest: if kind != Kind::I82599 && rxdctl & RLPML_EN != 0 { rxdctl & 0x3fff } else { !0 },
            ..RxQueue::default()
        };
        if self.ring.head >= self.ring.count {
            violations.note("RDH is outside the ring");
            self.ring.head = 0;
        }
    }

    /// The head is written while the queue is enabled: fine while it is empty.
    fn rewind(&mut self, head: u32, violations: &mut Violations) {
        if head == self.ring.head {
            return;
        }
        if !self.ring.is_empty() || head >= self.ring.count {
            violations.note("RDH of a queue in use written");
            return;
        }
        self.ring.rewind(head);
    }

    /// What it received since this was last asked.
    pub fn take_good(&mut self) -> QueueGood {
        std::mem::take(&mut self.good)
    }

    /// Registers that may change while it is enabled.
    pub fn update(&mut self, q: u16, regs: &RegisterFile<Ixgbe>) {
        self.drop = regs.peek(SRRCTL.nth(q.into())) & DROP_EN != 0;
        self.strip_vlan = regs.peek(RXDCTL.nth(q.into())) & VME != 0;
    }

    /// Puts a packet into buffers: all of it or nothing.
    #[inline]
    fn deliver(&mut self, memory: &Translation, packet: &[u8], words: [u64; 2]) {
        let legacy = self.legacy;
        // Where memory is not mapped the bytes are lost, and counted.
        let put = |buffer, part: &[u8]| _ = memory.put(buffer, part);
        self.ring.deliver(memory, packet, put, |len, last| write_back(words, len, last, legacy));
        self.good.frames += 1;
        self.good.bytes += packet.len() as u64;
    }
}

/// A descriptor's two words. What belongs to the whole packet stands in its last
/// descriptor; the others have their length and DD.
#[inline]
fn write_back(words: [u64; 2], len: u64, last: bool, legacy: bool) -> [u64; 2] {
    match (legacy, last) {
        (false, true) => [words[0], words[1] | len << 32],
        (false, false) => [0, u64::from(DD) | len << 32],
        (true, true) => [words[0], words[1] | len],
        (true, false) => [0, u64::from(DD) << 32 | len],
    }
}

impl Ixgbe {
    /// Receives what has arrived by now; how many frames that was.
    pub(super) fn receive(&mut self) -> usize {
        if !self.rx.on || !self.link_up() {
            return 0;
        }
        let now = self.board.now;
        let mut frames = 0;
        while frames < STEP && self.receive_one(now) {
            frames += 1;
        }
        if frames != 0 || self.rx.unflushed != 0 {
            self.finish_receive();
        }
        frames
    }

    /// Receives or drops one frame; false if there is none, or it has to wait.
    #[inline]
    fn receive_one(&mut self, now: Picos) -> bool {
        let looped = self.board.port.looping;
        let Some((frame, at)) = self.board.port.peek(now) else { return false };
        let frame = if frame.len() < MIN_FRAME {
            // Some wires carry what a sending MAC would have padded.
            self.rx.padded.clear();
            self.rx.padded.extend_from_slice(frame);
            self.rx.padded.resize(MIN_FRAME, 0);
            &self.rx.padded[..]
        } else {
            frame
        };

        let headers = Parsed::of(frame);
        let long = frame.len() > self.rx.longest + if headers.vlan.is_some() { 4 } else { 0 };
        let accepted = !long && self.filters.accepts_address(frame) && self.filters.accepts_vlan(frame);
        if !accepted {
            if long {
                self.regs.count_until_full(regs::ROC.at, 1);
                self.board.port.done(true);
            } else {
                self.board.port.pass_over();
            }
            return true;
        }
        let mut route = self.filters.route(frame, &headers, &mut self.fdir);
        if self.board.fault.is_some() {
            lies::mistake(self.board.fault, &self.filters, &mut route);
        }
        let queue = &mut self.rx.queues[usize::from(route.queue)];
        let trailer = if self.rx.stamp_all { 8 } else { 0 } + if self.rx.strip_crc { 0 } else { 4 };
        let len = frame.len() + trailer;
        let fate = if route.drop || !queue.enabled || len as u32 > queue.longest {
            Fate::Refused
        } else {
            let need = queue.ring.buffers(len as u32);
            let doorbell = || self.regs.peek(RDT.nth(route.queue.into())) & 0xffff;
            // A strict card looks each time, to catch a tail that moves backwards.
            let look = if self.board.strict { u32::MAX } else { need };
            if queue.ring.free(look, RDT.name, doorbell, &self.board.bus.memory, &mut self.board.violations) < need {
                Fate::Full
            } else {
                let mut words =
                    describe(self.kind, frame, &headers, &route, queue, self.filters.hash_in_descriptor, looped);
                if self.board.fault.is_some() {
                    lies::lie(self.board.fault, &mut words);
                }
                let plain = trailer == 0 && !(queue.strip_vlan && headers.vlan.is_some()) && !route.time;
                if plain {
                    queue.deliver(&self.board.bus.memory, frame, words);
                } else {
                    let changed = Change {
                        strip: queue.strip_vlan && headers.vlan.is_some(),
                        crc: !self.rx.strip_crc,
                        stamp: self.rx.stamp_all.then(|| self.clock.stamp(at)),
                    };
                    self.board.used.untagged += u64::from(changed.strip);
                    changed.apply(frame, &mut self.rx.changed);
                    let latched = route.time && self.clock.latch(at, &self.regs, RX_STAMP);
                    let status = changed.status() | if latched { TS } else { 0 };
                    let words = [words[0], words[1] | u64::from(status)];
                    queue.deliver(&self.board.bus.memory, &self.rx.changed, words);
                }
                self.rx.good.count(frame, frame.len());
                Fate::Taken
            }
        };
        match fate {
            Fate::Taken => self.rx.unflushed |= 1 << route.queue,
            Fate::Refused => self.count_no_descriptor(route.queue),
            Fate::Full => return self.no_descriptor(route.queue),
        }
        self.board.port.done(matches!(fate, Fate::Refused));
        true
    }

    /// A frame waits on a wire that honours pause frames; else it is lost, at
    /// once if the queue is set to drop, or when the packet buffer is full.
    #[cold]
    fn no_descriptor(&mut self, q: u16) -> bool {
        if self.board.port.waits() {
            return false;
        }
        if self.rx.queues[usize::from(q)].drop {
            self.count_no_descriptor(q);
        } else if self.board.port.overrun(self.board.now) {
            stats::count_missed(&self.regs);
        } else {
            return false;
        }
        self.cause(RX_MISS);
        self.board.port.done(true);
        self.board.starved += 1;
        true
    }

    /// Write-backs, counters and interrupts of the queues that received.
    fn finish_receive(&mut self) {
        for q in bits(std::mem::take(&mut self.rx.unflushed)) {
            if self.board.nasty && self.board.random.number().is_multiple_of(4) {
                // Late write-back: in some later step.
                self.rx.unflushed |= 1 << q;
                continue;
            }
            let queue = &mut self.rx.queues[usize::from(q)];
            queue.ring.flush(&self.board.bus.memory);
            if self.mapped {
                show_head(&self.regs, &RDH, q, queue.ring.head);
            } else {
                stats::count_rx_queue(&self.regs, q, queue.take_good());
            }
            self.rx_event(q);
        }
    }

    /// RDH of queue `q`.
    pub(super) fn rx_head(&mut self, q: u16) -> u32 {
        let queue = &self.rx.queues[usize::from(q)];
        if queue.enabled { queue.ring.head } else { self.regs.peek(RDH.nth(q.into())) }
    }

    /// Whether RXDCTL enables queue `q`, which it may do before the card knows.
    pub(super) fn rx_wanted(&self, q: u16) -> bool {
        self.regs.peek(RXDCTL.nth(q.into())) & ENABLE != 0
    }

    /// Base or length of queue `q` was written.
    pub(super) fn rx_base_written(&mut self, q: u16) {
        if self.rx.queues[usize::from(q)].enabled && self.rx_wanted(q) {
            self.board.violations.note("base or length of an enabled receive queue written");
        }
        self.rx_queue_written(q);
    }

    /// RDH of queue `q` was written. DPDK writes it once more behind the enable bit.
    pub(super) fn rx_head_written(&mut self, q: u16, head: u32) {
        if self.rx.queues[usize::from(q)].enabled && self.rx_wanted(q) {
            self.rx.queues[usize::from(q)].rewind(head & 0xffff, &mut self.board.violations);
        }
        self.rx_queue_written(q);
    }

    /// RXDCTL or another register of queue `q` was written.
    pub(super) fn rx_queue_written(&mut self, q: u16) {
        let on = self.rx_wanted(q);
        let queue = &mut self.rx.queues[usize::from(q)];
        match (queue.enabled, on) {
            (false, true) => {
                queue.enable(q, &self.regs, self.kind, &mut self.board.violations);
                // In a page that is mapped, nobody knows which came first.
                let [head, tail] = [RDH, RDT].map(|register| self.regs.peek(register.nth(q.into())));
                if tail != head && !self.mapped {
                    self.board.violations.note("RDT written before the queue was enabled");
                }
            }
            (true, false) => {
                queue.ring.flush(&self.board.bus.memory);
                stats::count_rx_queue(&self.regs, q, queue.take_good());
                self.regs.poke(RDH.nth(q.into()), 0);
                self.regs.poke(RDT.nth(q.into()), 0);
                *queue = RxQueue::default();
            }
            (true, true) => queue.update(q, &self.regs),
            (false, false) => {}
        }
        self.rx.on = self.receive_enabled();
    }

    /// RXCTRL.RXEN, and some queue to receive.
    pub(super) fn receive_enabled(&self) -> bool {
        const RXEN: u32 = 1;
        const RX_DIS: u32 = 2;
        self.regs.peek(RXCTRL.at) & RXEN != 0
            && self.regs.peek(SECRXCTRL.at) & RX_DIS == 0
            && self.rx.queues.iter().any(|queue| queue.enabled)
    }
}

/// What the card changes in a frame on its way to memory.
struct Change {
    strip: bool,
    crc: bool,
    stamp: Option<u64>,
}

impl Change {
    fn apply(&self, frame: &[u8], into: &mut Vec<u8>) {
        into.clear();
        if self.strip {
            into.extend_from_slice(&frame[..12]);
            into.extend_from_slice(&frame[16..]);
        } else {
            into.extend_from_slice(frame);
        }
        if self.crc {
            into.extend_from_slice(&frame::crc32(frame).to_le_bytes());
        }
        if let Some(stamp) = self.stamp {
            into.extend_from_slice(&stamp.to_le_bytes());
        }
    }

    fn status(&self) -> u32 {
        if self.stamp.is_some() { TSIP } else { 0 }
    }
}

/// The write-back of a packet, without its length.
#[inline]
fn describe(
    kind: Kind,
    frame: &[u8],
    headers: &Parsed,
    route: &Route,
    queue: &RxQueue,
    hash: bool,
    looped: bool,
) -> [u64; 2] {
    let mut status = DD | EOP | checksums(kind, frame, headers);
    let mut vlan = 0;
    if let Some(tag) = headers.vlan {
        status |= VP;
        vlan = if queue.strip_vlan { u64::from(tag) } else { 0 };
    }
    if queue.legacy {
        // Length 15:0, checksum 31:16; status 39:32, errors 47:40, VLAN 63:48.
        let sum = frame::sum(frame.get(14..).unwrap_or_default(), 0);
        let errors = u64::from(status >> 24 & 0xc0);
        return [0, u64::from(sum) << 16 | u64::from(status & 0xff) << 32 | errors << 40 | vlan << 48];
    }
    if looped {
        status |= LB;
    }
    let upper = match route.directed {
        Some((id, bucket)) => {
            status |= FLM;
            u32::from(id) | u32::from(bucket) << 16
        }
        None if hash => route.hash,
        // IP identification; the fragment checksum is not computed.
        None if matches!(headers.l3, Some(L3::V4 { .. })) => {
            u32::from(u16::from_be_bytes([frame[headers.l3_at + 4], frame[headers.l3_at + 5]]))
        }
        None => 0,
    };
    let packet_type = match route.ether_type {
        Some(index) => 0x8000 | u32::from(index) << 4,
        None => packet_type(headers),
    };
    let rss_type = if hash { u32::from(route.rss_type) } else { 0 };
    [u64::from(rss_type | packet_type) | u64::from(upper) << 32, u64::from(status) | vlan << 48]
}

/// Bits 15:4 of the write-back.
#[inline]
fn packet_type(headers: &Parsed) -> u32 {
    let network = match headers.l3 {
        None => return 0,
        Some(L3::V4 { options: false }) => 0x10,
        Some(L3::V4 { options: true }) => 0x30,
        Some(L3::V6 { extensions: false }) => 0x40,
        Some(L3::V6 { extensions: true }) => 0xc0,
    };
    network
        | match headers.l4 {
            Some(L4::Tcp) => 0x100,
            Some(L4::Udp) => 0x200,
            Some(L4::Sctp) => 0x400,
            None => 0,
        }
}

/// Which checksums were looked at, and which are wrong (§7.1.11).
#[inline]
fn checksums(kind: Kind, frame: &[u8], headers: &Parsed) -> u32 {
    let ip = match headers.ip_checksum(frame) {
        Verdict::None => 0,
        Verdict::Good => IPCS,
        Verdict::Bad => IPCS | IPE,
    };
    let udp = headers.l4 == Some(L4::Udp);
    let checked = if udp { L4CS | UDPCS } else { L4CS };
    ip | match headers.l4_checksum(frame) {
        Verdict::Good => checked,
        Verdict::Bad => checked | TCPE,
        // The 82599 takes a UDP checksum of zero for a wrong one (erratum).
        Verdict::None if udp && kind == Kind::I82599 => checked | TCPE,
        Verdict::None => 0,
    }
}
