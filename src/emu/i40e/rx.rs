//! Receive: frames into descriptors (X710 §8.3).
//!
//! ```text
//!   wire --> VSI --> queue q          head            tail
//!                      ring: | done | free free free | driver's |
//!                               ^ written back four at a time, or when an interrupt
//!                                 interval is over; the status word last, with Release
//! ```
//!
//! The ring itself is in `rx_ring`.

use super::super::frame::{L3, L4, Parsed, Verdict};
use super::super::rx_ring::RxRing;
use super::super::wire::MIN_FRAME;
use super::super::{FaultKind, Picos, RegisterFile, STEP, Translation, Violations, bits, frame};
use super::fdir::{Action, Filter, Refusal};
use super::hmc::{RX_CONTEXT, Way, field};
use super::regs::{QRX_ENA, QRX_TAIL};
use super::stats::Good;
use super::{I40e, QUEUES, filter};

/// Buffers that a frame may lie in.
const CHAIN_MAX: u32 = 5;

/// How long a queue goes on that says that it is off (fault).
const LINGERS: Picos = 50_000_000_000;

const REQUEST: u32 = 1;
const STATUS: u32 = 1 << 2;

/// The write-back's second word (§8.3.2.2).
const DD: u64 = 1;
const EOF: u64 = 1 << 1;
const L2TAG1P: u64 = 1 << 2;
const L3L4P: u64 = 1 << 3;
const CRCP: u64 = 1 << 4;
const TSYNVALID: u64 = 1 << 7;
const FLM: u64 = 1 << 11;
const FLTSTAT_FD: u64 = 1 << 12;
const FLTSTAT_RSS: u64 = 3 << 12;
const LPBK: u64 = 1 << 14;
const IPV6EXADD: u64 = 1 << 15;
const IPE: u64 = 1 << 22;
const L4E: u64 = 1 << 23;
const PPRS: u64 = 1 << 26;
/// The third: a second tag is here; the fourth has a filter's id.
const L2TAG2P: u64 = 1;
const FLEXBH_FD: u64 = 1 << 4;

/// A receive queue, as its context was when it was enabled.
#[derive(Default)]
pub struct RxQueue {
    /// Receives.
    pub enabled: bool,
    /// The context's bytes.
    pub context: [u8; RX_CONTEXT],
    ring: RxRing<4>,
    strip_crc: bool,
    /// A tag that is taken out goes where L2TAG1 is, else L2TAG2.
    first_tag: bool,
    longest: u32,
}

/// All that receives.
#[derive(Default)]
pub struct Receive {
    /// The queues.
    pub queues: Vec<RxQueue>,
    /// Some queue is on.
    pub on: bool,
    /// Queues that say that they are off, and until when they are not (fault).
    pub lingering: Vec<(u16, Picos)>,
    /// Some frames are stamped.
    pub stamping: bool,
    /// What was received in this step.
    pub good: Good,
    /// Queues with something to write back, as bits.
    unflushed: u128,
    /// The frame, and the same changed on its way.
    frame: Vec<u8>,
    changed: Vec<u8>,
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
    /// The queue is off.
    Refused,
    /// Longer than the queue takes.
    TooLong,
}

/// What a frame's descriptor says besides what the frame itself does.
struct Found {
    hash: Option<u32>,
    filter: Option<Filter>,
    strip: bool,
    looped: bool,
    /// It came so fast that it was not looked into.
    hurried: bool,
    stamp: Option<u8>,
}

impl RxQueue {
    /// Reads the context as the queue is enabled (§8.3.3.2).
    fn enable(&mut self, violations: &mut Violations) {
        let context = self.context;
        let at = |lsb, width| field(&context, lsb, width);
        let buffer = at(102, 7) as u32 * 128;
        *self = RxQueue {
            enabled: true,
            context,
            ring: RxRing::new(at(32, 57) << 7, at(89, 13) as u32, at(0, 13) as u32, buffer, at(116, 1) == 1),
            strip_crc: at(117, 1) == 1,
            first_tag: at(119, 1) == 1,
            longest: at(174, 14) as u32,
        };
        let (count, head) = (self.ring.count, self.ring.head);
        let sane = count >= 32 && count.is_multiple_of(32) && at(32, 57) != 0 && head < count;
        if !sane || buffer < 1024 || self.longest == 0 {
            violations.note("receive queue context without ring, buffer size or maximum");
            self.enabled = false;
        }
        if at(114, 2) != 0 {
            violations.note("receive queue context with header split, which is not modelled");
        }
        if self.longest > CHAIN_MAX * buffer {
            violations.note("receive queue context with a maximum of more than five buffers");
        }
    }

    /// Puts a packet into buffers: all of it or nothing. What belongs to the whole
    /// packet stands in its last descriptor.
    #[inline]
    fn deliver(&mut self, memory: &Translation, packet: &[u8], words: [u64; 4], violations: &mut Violations) {
        let put = |buffer, part: &[u8]| match buffer {
            0 => violations.note("receive descriptor without a buffer"),
            _ => _ = memory.put(buffer, part),
        };
        self.ring.deliver(memory, packet, put, |len, last| match last {
            true => [words[0], words[1] | len << 38, words[2], words[3]],
            false => [0, DD | len << 38, 0, 0],
        });
    }

    /// Free descriptors; looks at the tail if fewer than `need` are known.
    #[inline]
    fn free(
        &mut self,
        need: u32,
        q: u16,
        regs: &RegisterFile<I40e>,
        memory: &Translation,
        violations: &mut Violations,
    ) -> u32 {
        self.ring.free(need, QRX_TAIL.name, || regs.peek(QRX_TAIL.nth(q.into())), memory, violations)
    }

    /// The write-back of a packet, without its length.
    #[inline]
    fn describe(&self, frame: &[u8], headers: &Parsed, found: &Found) -> [u64; 4] {
        let sums = if found.hurried { L3L4P | PPRS } else { checksums(frame, headers) };
        let mut words = [0, DD | EOF | sums | u64::from(filter::ptype(headers)) << 30, 0, 0];
        words[1] |= match frame[0] & 1 {
            0 => 0,
            _ if frame[..6] == [0xff; 6] => 2 << 9,
            _ => 1 << 9,
        };
        if let Some(tag) = headers.vlan.filter(|_| found.strip) {
            if self.first_tag {
                words[1] |= L2TAG1P;
                words[0] |= u64::from(tag) << 16;
            } else if self.ring.wide {
                words[2] |= L2TAG2P | u64::from(tag) << 48;
            }
        }
        if let Some(hash) = found.hash {
            words[1] |= FLTSTAT_RSS;
            words[0] |= u64::from(hash) << 32;
        }
        if let Some(filter) = found.filter {
            words[1] |= FLM;
            match filter.id {
                Some(id) if self.ring.wide => {
                    words[2] |= FLEXBH_FD;
                    words[3] |= u64::from(id) << 32;
                }
                // In the short form the id takes the hash's place.
                Some(id) => {
                    words[1] = words[1] & !FLTSTAT_RSS | FLTSTAT_FD;
                    words[0] = words[0] & 0xffff_ffff | u64::from(id) << 32;
                }
                None => {}
            }
        }
        if found.looped {
            words[1] |= LPBK;
        }
        if !self.strip_crc {
            words[1] |= CRCP;
        }
        if let Some(slot) = found.stamp {
            words[1] |= TSYNVALID | u64::from(slot) << 5;
        }
        words
    }
}

impl I40e {
    /// Receives what has arrived by now; how many frames that was.
    pub(super) fn receive(&mut self) -> usize {
        if !self.rx.on || !self.link.up {
            return 0;
        }
        let mut frames = 0;
        while frames < STEP && self.receive_one() {
            frames += 1;
        }
        if frames != 0 || self.rx.unflushed != 0 {
            self.finish_receive();
        }
        frames
    }

    /// Receives or drops one frame; false if there is none, or it has to wait.
    #[inline]
    fn receive_one(&mut self) -> bool {
        let Some((offered, at)) = self.board.port.peek(self.board.now) else { return false };
        // The frame is copied: what follows changes the card.
        let mut frame = std::mem::take(&mut self.rx.frame);
        frame.clear();
        frame.extend_from_slice(offered);
        if frame.len() < MIN_FRAME {
            // Some wires carry what a sending MAC would have padded.
            frame.resize(MIN_FRAME, 0);
        }
        let done = self.switch_frame(&frame, at);
        self.rx.frame = frame;
        done
    }

    /// Gives a frame to the VSIs that want it.
    #[inline]
    fn switch_frame(&mut self, frame: &[u8], at: Picos) -> bool {
        let looped = self.board.port.looping;
        if frame.len() + 4 > usize::from(self.link.longest) {
            self.count_oversize();
            self.board.port.done(true);
            return true;
        }
        let headers = Parsed::of(frame);
        let takers = self.takers(frame, &headers);
        let pctype = filter::pctype(frame, &headers, self.kind);
        let filter = if takers != 0 && self.filters.directs && self.fdir.concerns(pctype) {
            self.directed(frame, &headers, pctype)
        } else {
            None
        };
        let stamp = if takers != 0 && self.rx.stamping { self.stamp_received(frame, &headers, at) } else { None };
        let mut taken = false;
        let mut rest = if filter.is_some_and(|filter| filter.action == Action::Drop) { 0 } else { takers };
        while rest != 0 {
            let mut vsi = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let hash = self.filters.hash(frame, &headers, pctype);
            let mut queue = match hash {
                // An entry of the table beyond the VSI's queues drops.
                Some((_, entry)) => self.switch.vsis[vsi].class_queue(u16::from(entry)),
                None => self.switch.vsis[vsi].class_queue(0),
            };
            if let Some(Filter { action: Action::Queue(n, number), .. }) = filter
                && let Some(directed) = self.switch.by_number(number)
            {
                (vsi, queue, rest) = (directed, self.switch.vsis[directed].queue(n), 0);
            }
            let strip = self.switch.vsis[vsi].strips;
            let hurried = self.board.nasty && self.board.random.below(8) == 0;
            let found = Found { hash: hash.map(|(hash, _)| hash), filter, strip, looped, hurried, stamp };
            match queue.map_or(Fate::Refused, |q| self.fill(q, vsi, frame, &headers, found)) {
                Fate::Taken => taken = true,
                Fate::Refused => self.count_no_descriptor(vsi, frame),
                Fate::TooLong => self.count_too_long(vsi, frame),
                // A frame for several is not kept waiting by one of them.
                Fate::Full if takers.is_power_of_two() => return self.no_descriptor(vsi, frame),
                Fate::Full => self.count_no_descriptor(vsi, frame),
            }
        }
        self.rx.good.count(frame);
        if takers == 0 && !looped {
            self.board.port.pass_over();
        } else {
            self.board.port.done(!taken);
        }
        true
    }

    /// The VSIs that get a frame, as bits.
    #[inline]
    fn takers(&self, frame: &[u8], headers: &Parsed) -> u32 {
        let mut word = [0; 8];
        word[..6].copy_from_slice(&frame[..6]);
        let address = u64::from_le_bytes(word);
        let vlan = headers.vlan.unwrap_or(0) & 0xfff;
        if self.switch.blocked[1].contains(&headers.ethertype) {
            return 0;
        }
        let vsis = &self.switch.vsis;
        let accepts = |at: &&usize| vsis[**at].accepts(address, vlan);
        let takers = self.switch.listeners.iter().filter(accepts).fold(0, |bits, at| bits | 1 << at);
        if takers != 0 {
            return takers;
        }
        self.switch.listeners.iter().filter(|at| vsis[**at].is_default()).fold(0, |bits, at| bits | 1 << at)
    }

    /// Puts a frame into queue `q`.
    #[inline]
    fn fill(&mut self, q: u16, vsi: usize, frame: &[u8], headers: &Parsed, found: Found) -> Fate {
        let queue = &mut self.rx.queues[usize::from(q)];
        let strip = found.strip && headers.vlan.is_some();
        let len = frame.len() + if queue.strip_crc { 0 } else { 4 } - if strip { 4 } else { 0 };
        if !queue.enabled {
            return Fate::Refused;
        }
        if len as u32 > queue.longest || len as u32 > CHAIN_MAX * queue.ring.buffer {
            return Fate::TooLong;
        }
        let need = queue.ring.buffers(len as u32);
        // A strict card looks each time, to catch a tail that moves backwards.
        let look = if self.board.strict { u32::MAX } else { need };
        if queue.free(look, q, &self.regs, &self.board.bus.memory, &mut self.board.violations) < need {
            return Fate::Full;
        }
        let words = queue.describe(frame, headers, &found);
        if queue.strip_crc && !strip {
            queue.deliver(&self.board.bus.memory, frame, words, &mut self.board.violations);
        } else {
            let changed = &mut self.rx.changed;
            changed.clear();
            self.board.used.untagged += u64::from(strip);
            if strip {
                changed.extend_from_slice(&frame[..12]);
                changed.extend_from_slice(&frame[16..]);
            } else {
                changed.extend_from_slice(frame);
            }
            if !queue.strip_crc {
                changed.extend_from_slice(&frame::crc32(frame).to_le_bytes());
            }
            queue.deliver(&self.board.bus.memory, changed, words, &mut self.board.violations);
        }
        self.switch.vsis[vsi].rx.count(frame);
        self.rx.unflushed |= 1 << q;
        Fate::Taken
    }

    /// A frame waits on a wire that honours pause frames; else it is lost when
    /// the packet buffer is full. In a loop inside the card it is lost at once.
    #[cold]
    fn no_descriptor(&mut self, vsi: usize, frame: &[u8]) -> bool {
        if self.board.port.looping {
            self.count_no_descriptor(vsi, frame);
        } else if self.board.port.overrun(self.board.now) {
            self.count_missed();
        } else {
            return false;
        }
        self.board.port.done(true);
        self.board.starved += 1;
        true
    }

    /// Write-backs and interrupts of the queues that received.
    fn finish_receive(&mut self) {
        for q in bits(std::mem::take(&mut self.rx.unflushed)) {
            // Without an interval that runs, only whole cache lines are written
            // back (and in any case late, now and then).
            if self.board.nasty && (!self.writes_back(q) || self.board.random.below(4) == 0) {
                let pending = self.rx.queues[usize::from(q)].ring.is_pending();
                self.rx.unflushed |= u128::from(pending) << q;
                if !pending {
                    // A whole cache line has been written, and nobody waits for more.
                    self.rx_event(q);
                }
                continue;
            }
            self.rx.queues[usize::from(q)].ring.flush(&self.board.bus.memory);
            self.rx_event(q);
        }
    }

    /// QRX_ENA of queue `q` was written.
    pub(super) fn rx_enable_written(&mut self, q: u16) {
        let at = QRX_ENA.nth(q.into());
        let on = self.regs.peek(at) & REQUEST != 0;
        if on {
            self.end_lingering(Some(q));
        }
        let enabled = self.rx.queues[usize::from(q)].enabled;
        if on && !enabled && self.load_context(Way::Rx, q) {
            self.rx.queues[usize::from(q)].enable(&mut self.board.violations);
        } else if !on && enabled && self.board.faulty(FaultKind::QueueLingers) {
            self.rx.lingering.push((q, self.board.now + LINGERS));
        } else if !on && enabled {
            self.end_queue(q);
        }
        self.follow(at, on);
        self.rx.on = self.rx.queues.iter().any(|queue| queue.enabled);
    }

    fn end_queue(&mut self, q: u16) {
        let queue = &mut self.rx.queues[usize::from(q)];
        queue.ring.flush(&self.board.bus.memory);
        *queue = RxQueue { context: queue.context, ..RxQueue::default() };
        self.rx.unflushed &= !(1 << q);
    }

    /// Ends queues that lingered as long as they do, and `named` whatever time it has left.
    pub(super) fn end_lingering(&mut self, named: Option<u16>) {
        let now = self.board.now;
        let over = |&(q, until): &(u16, Picos)| until <= now || Some(q) == named;
        let ending: Vec<_> = self.rx.lingering.extract_if(.., |one| over(one)).collect();
        for (q, _) in ending {
            self.end_queue(q);
        }
        self.rx.on = self.rx.queues.iter().any(|queue| queue.enabled);
    }

    /// QENA_STAT follows QENA_REQ: at once, or a little later.
    pub(super) fn follow(&mut self, at: u32, on: bool) {
        let value = self.regs.peek(at);
        let shown = value & STATUS != 0;
        if self.following.iter().any(|(register, _, last)| *register == at && *last != on) {
            self.board.violations.note("QENA_REQ changed while the queue had not followed the last change");
        }
        if self.board.nasty && shown != on {
            self.following.push((at, self.board.now + self.board.random.below(1_000_000_000), on));
        } else {
            self.regs.poke(at, value & !STATUS | if on { STATUS } else { 0 });
        }
    }

    /// Shows those changes whose time has come.
    pub(super) fn follow_up(&mut self) {
        let (now, regs) = (self.board.now, &self.regs);
        self.following.retain(|&(at, when, on)| {
            if when <= now {
                regs.poke(at, regs.peek(at) & !STATUS | if on { STATUS } else { 0 });
            }
            when > now
        });
    }

    /// Tells a driver why a filter was not programmed: a descriptor of its own
    /// kind on the queue of the VSI that asked (§8.3.2.3).
    pub(super) fn filter_status(&mut self, vsi: usize, id: u32, refusal: Refusal) {
        const PROGRAMMING: u64 = 1 << 63;
        const FD: u64 = 1 << 2;
        let Some(q) = self.switch.vsis[vsi].queue(0) else { return };
        let queue = &mut self.rx.queues[usize::from(q)];
        let (memory, violations) = (&self.board.bus.memory, &mut self.board.violations);
        if queue.enabled && queue.free(1, q, &self.regs, memory, violations) > 0 {
            let status = DD | FD | PROGRAMMING | (refusal as u64) << 19;
            queue.ring.complete(memory, [u64::from(id) << 32, status, 0, 0]);
            self.rx.unflushed |= 1 << q;
        }
    }
}

/// Which checksums were looked at, and which are wrong (§8.3.4.3). With an extension header
/// that may change an address, the sum is taken over the wrong one.
#[inline]
fn checksums(frame: &[u8], headers: &Parsed) -> u64 {
    let extensions = match headers.l3 {
        None => return 0,
        Some(L3::V6 { extensions: true }) => IPV6EXADD,
        Some(_) => 0,
    };
    let ip = if headers.ip_checksum(frame) == Verdict::Bad { IPE } else { 0 };
    let l4 = match headers.l4 {
        Some(L4::Tcp | L4::Udp) if extensions != 0 => L4E,
        Some(L4::Tcp | L4::Udp | L4::Sctp) if headers.l4_checksum(frame) == Verdict::Bad => L4E,
        _ => 0,
    };
    L3L4P | extensions | ip | l4
}
