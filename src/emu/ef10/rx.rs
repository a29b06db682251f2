//! Receive: frames into descriptors, and events about them.
//!
//! ```text
//!   wire --> filters --> queue q    ring: | done | free free ... | driver's |
//!                          |                     ^ head          ^ RX_DESC_UPD
//!                          v
//!                 buffer: | prefix (14) | frame ...     then the event
//! ```
//!
//! Events carry the lower four bits of the index behind the descriptors they are
//! about: a driver finds by them how many that were. A packet in several
//! descriptors has an event for each, with CONT in all but the last. Where the
//! event queue allows, several packets share an event, and their lengths are in
//! their prefixes alone.

use super::super::frame::{L3, L4, Parsed, Verdict};
use super::super::wire::MIN_FRAME;
use super::super::{Act, Direction, Picos, RegisterFile, STEP, Translation, Violations};
use super::regs;
use super::{Ef10, Ring, VIS, evq, stats};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Bytes in front of a frame.
pub const PREFIX: usize = 14;

/// Bytes of the frame check sequence, which the MAC takes off.
const FCS: usize = 4;

/// EtherType of MAC control frames (IEEE 802.3 clause 31).
const CONTROL: [u8; 2] = [0x88, 0x08];

/// Packets that share an event: four bits count them.
const MERGE: u32 = 8;

/// Flags of INIT_RXQ.
const FLAG_TIMESTAMP: u32 = 1 << 2;
const FLAG_PREFIX: u32 = 1 << 8;
const FLAG_DISABLE_SCATTER: u32 = 1 << 9;

/// Bits of a receive event.
const CONT: u64 = 1 << 14;
const IPCKSUM_ERR: u64 = 1 << 25;
const TCPUDP_CKSUM_ERR: u64 = 1 << 26;
const TRUNC_ERR: u64 = 1 << 29;
const MULTICAST: u64 = 1 << 35;
const LLC: u64 = 1 << 36;

/// Packets that will share an event.
#[derive(Clone, Copy, Default)]
struct Merged {
    packets: u32,
    bits: u64,
    /// Bytes of the last one, and the index behind it.
    len: usize,
    next: u32,
}

/// A receive queue that a driver has initialised.
pub struct RxQueue {
    /// Its ring.
    pub ring: Ring,
    prefix: bool,
    scatter: bool,
    stamp: bool,
    /// Next descriptor to fill, and the first that is the driver's.
    head: u32,
    tail: u32,
    /// Packets that wait for their event.
    merged: Merged,
}

impl RxQueue {
    /// An empty queue.
    pub fn new(ring: Ring, flags: u32) -> Self {
        RxQueue {
            ring,
            prefix: flags & FLAG_PREFIX != 0,
            scatter: flags & FLAG_DISABLE_SCATTER == 0,
            stamp: flags & FLAG_TIMESTAMP != 0,
            head: 0,
            tail: 0,
            merged: Merged::default(),
        }
    }

    fn free(&self) -> u32 {
        self.tail.wrapping_sub(self.head) & self.ring.mask
    }

    /// Looks at the doorbell. Descriptors are posted in groups of eight; that a
    /// boot ROM does not mind is known.
    fn look(&mut self, around: &mut Surroundings) {
        let violations = &mut *around.violations;
        let index = around.window.peek(regs::RX_DESC_UPD.at) & 0xfff;
        if index > self.ring.mask {
            violations.note("RX_DESC_UPD is outside the ring");
            return;
        }
        if !index.is_multiple_of(8) && !around.boot_rom {
            violations.note("RX_DESC_UPD is not a multiple of 8");
        }
        let tail = index & !7;
        if tail.wrapping_sub(self.head) & self.ring.mask < self.free() {
            violations.note("RX_DESC_UPD moved backwards over descriptors that the card owns");
        }
        if let Some(meter) = around.memory.meter() {
            meter.fetch(self.ring.pieces(self.tail, tail), meter.hear(4).seen);
        }
        self.tail = tail;
    }

    /// The event for the packets that wait for one.
    fn merged_event(&mut self) -> Option<u64> {
        let Merged { packets, bits, len, next } = std::mem::take(&mut self.merged);
        let len = if packets == 1 { len } else { 0 };
        (packets != 0).then(|| self.event(bits, len, next))
    }

    fn event(&self, bits: u64, len: usize, next: u32) -> u64 {
        bits | len as u64 | u64::from(self.ring.label) << 16 | u64::from(next & 0xf) << 48
    }

    /// How many descriptors `len` bytes take; none if there are not so many.
    #[inline]
    fn reserve(&mut self, len: usize, around: &mut Surroundings) -> Option<u32> {
        if around.strict || around.memory.meter().is_some() {
            // Looks each time, to catch an index that moves backwards, or to count.
            self.look(around);
        }
        let (mut need, mut room) = (0, 0);
        while room < len && (need == 0 || self.scatter) {
            if need >= self.free() {
                self.look(around);
                if need >= self.free() {
                    return None;
                }
            }
            let size = self.descriptor(self.head + need, around.memory).1;
            if size < if need == 0 { PREFIX + 14 } else { 1 } {
                around.violations.note("receive descriptor too small for prefix and header");
            }
            room += size.max(1);
            need += 1;
        }
        Some(need)
    }

    /// A buffer's address and size.
    #[inline]
    fn descriptor(&self, at: u32, memory: &Translation) -> (Iova, usize) {
        let word = memory.word64(self.ring.slot(at)).map_or(0, |word| word.load(Ordering::Acquire));
        (word & 0xffff_ffff_ffff, (word >> 48 & 0x3fff) as usize)
    }

    /// Puts a packet into `need` buffers; the events that says so, or nothing
    /// yet if more packets may share its event.
    #[inline]
    fn fill(&mut self, packet: &[u8], need: u32, bits: u64, merge: bool, around: &Surroundings, events: &mut Vec<u64>) {
        let mut rest = packet;
        for n in 0..need {
            let (address, size) = self.descriptor(self.head, around.memory);
            let (part, more) = rest.split_at(rest.len().min(size));
            if let Some(meter) = around.memory.meter() {
                meter.write([(address, part.len() as u64)]);
            }
            around.memory.put(address, part);
            if around.nasty {
                pad(around.memory, address, part.len(), size);
            }
            rest = more;
            self.head = (self.head + 1) & self.ring.mask;
            if merge && need == 1 && more.is_empty() {
                self.merge(bits, part.len(), events);
                return;
            }
            events.extend(self.merged_event());
            let last = n + 1 == need;
            let rest_lost = if last && !more.is_empty() { TRUNC_ERR } else { 0 };
            let bits = bits | rest_lost | if last { 0 } else { CONT };
            events.push(self.event(bits, part.len(), self.head));
        }
    }

    /// One more packet waits for its event.
    #[inline]
    fn merge(&mut self, bits: u64, len: usize, events: &mut Vec<u64>) {
        if self.merged.packets != 0 && self.merged.bits != bits {
            events.extend(self.merged_event());
        }
        self.merged = Merged { packets: self.merged.packets + 1, bits, len, next: self.head };
        if self.merged.packets == MERGE {
            events.extend(self.merged_event());
        }
    }
}

/// All that receives.
#[derive(Default)]
pub struct Receive {
    /// The queues that are initialised, by VI.
    pub queues: Vec<Option<RxQueue>>,
    /// Queues whose packets wait for more to share an event.
    merged: Vec<u16>,
    /// A frame, where it goes, and the events about it.
    frame: Vec<u8>,
    targets: Vec<(u16, u32)>,
    written: Vec<u64>,
}

impl Receive {
    /// No queues.
    pub fn new() -> Self {
        Receive { queues: (0..VIS).map(|_| None).collect(), ..Receive::default() }
    }
}

/// What a queue works with.
struct Surroundings<'a> {
    memory: &'a Translation,
    window: &'a RegisterFile<Ef10>,
    violations: &'a mut Violations,
    strict: bool,
    nasty: bool,
    boot_rom: bool,
}

/// What became of a frame at one queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    Dropped,
    /// No descriptors, and the frame may wait.
    Waits,
}

impl Ef10 {
    /// Receives what has arrived by now; how many frames that was.
    pub(super) fn receive(&mut self) -> usize {
        // No frame ends up anywhere before the MAC was told how long they are.
        if !self.link_up() || self.mc.longest == 0 {
            return 0;
        }
        let mut frames = 0;
        let mut buffer = std::mem::take(&mut self.rx.frame);
        while frames < STEP && self.receive_one(&mut buffer) {
            frames += 1;
        }
        self.rx.frame = buffer;
        // Late: in some other step (nasty).
        if !(self.rx.merged.is_empty() || self.board.nasty && self.board.random.number().is_multiple_of(4)) {
            self.flush_merged();
        }
        frames
    }

    /// Writes the events that wait for more packets.
    pub(super) fn flush_merged(&mut self) {
        for at in 0..self.rx.merged.len() {
            let queue = self.rx.queues[usize::from(self.rx.merged[at])].as_mut();
            if let Some((evq, event)) = queue.and_then(|queue| Some((queue.ring.evq, queue.merged_event()?))) {
                self.post(evq, event);
            }
        }
        self.rx.merged.clear();
    }

    /// Receives or drops one frame; false if there is none, or it has to wait.
    #[inline]
    fn receive_one(&mut self, buffer: &mut Vec<u8>) -> bool {
        let Some((frame, at)) = self.board.port.peek(self.board.now) else { return false };
        buffer.clear();
        buffer.resize(PREFIX, 0);
        buffer.extend_from_slice(frame);
        if frame.len() < MIN_FRAME {
            // Some wires carry what a sending MAC would have padded.
            buffer.resize(PREFIX + MIN_FRAME, 0);
        }
        self.tell_time(at);
        let frame = &buffer[PREFIX..];
        let long = frame.len() + FCS > self.mc.longest;
        let (mut taken, mut lost) = (false, long);
        // MAC control is for the MAC alone.
        let control = frame.get(12..14).is_some_and(|word| word == CONTROL);
        if !long && !control && !self.mc.drain {
            let headers = Parsed::of(frame);
            let mut queues = std::mem::take(&mut self.rx.targets);
            self.filters.route(frame, &headers, &mut queues);
            let mut fate = Fate::Dropped;
            if !queues.is_empty() {
                let bits = describe(frame, &headers);
                for &(queue, hash) in &queues {
                    fate = self.deliver(queue, buffer, &headers, bits, hash, at);
                    taken |= fate == Fate::Taken;
                    lost |= fate == Fate::Dropped;
                    if fate == Fate::Waits {
                        break;
                    }
                }
            }
            self.rx.targets = queues;
            if fate == Fate::Waits && !taken {
                return false;
            }
        }
        if long {
            self.stats.one(stats::RX_OVERFLOW);
        } else {
            self.stats.received(&buffer[PREFIX..]);
        }
        if control {
            self.stats.one(stats::RX_CONTROL);
            self.stats.one(stats::RX_PAUSE);
        }
        // What no filter wants was received all the same.
        self.board.port.done(lost && !taken);
        true
    }

    /// Puts a frame into a queue's buffers: all of it or nothing.
    #[inline]
    fn deliver(&mut self, q: u16, buffer: &mut [u8], headers: &Parsed, bits: u64, hash: u32, at: Picos) -> Fate {
        let waits = self.board.port.waits();
        let Some(Some(queue)) = self.rx.queues.get_mut(usize::from(q)) else {
            self.stats.one(stats::RX_NODESC_DROPS);
            return Fate::Dropped;
        };
        let evq = queue.ring.evq;
        let Some(Some(events)) = self.evqs.get(usize::from(evq)) else { return Fate::Dropped };
        let mut around = Surroundings {
            memory: &self.board.bus.memory,
            window: &self.windows[usize::from(q)].registers,
            violations: &mut self.board.violations,
            strict: self.board.strict,
            nasty: self.board.nasty,
            boot_rom: self.mc.boot_rom,
        };
        let packet = if queue.prefix {
            let stamp = if queue.stamp { self.clock.receive_stamp(at) } else { 0 };
            prefix(buffer, headers, hash, stamp, events.cut_through);
            &buffer[..]
        } else {
            &buffer[PREFIX..]
        };
        let Some(need) = queue.reserve(packet.len(), &mut around) else {
            if waits {
                return Fate::Waits;
            }
            self.stats.one(stats::RX_NODESC_DROPS);
            self.board.starved += 1;
            return Fate::Dropped;
        };
        let mut written = std::mem::take(&mut self.rx.written);
        let act = around.memory.slip(Direction::Rx);
        // What is wrong of one packet (fault) is not said in an event for several.
        let merges = events.rx_merge && act.is_none();
        queue.fill(packet, need, bits, merges, &around, &mut written);
        if queue.merged.packets == 1 {
            self.rx.merged.push(q);
        }
        let last = act.and_then(|_| written.pop());
        for event in written.drain(..) {
            self.post(evq, event);
        }
        if let (Some(act), Some(event)) = (act, last) {
            self.slip(evq, event, act);
        }
        self.rx.written = written;
        Fate::Taken
    }
}

impl Ef10 {
    /// Says of a packet something else than this event does (fault).
    #[cold]
    pub(super) fn slip(&mut self, evq: u16, event: u64, act: Act) {
        const BYTES: u64 = 0x3fff;
        // Of receive events the lower bits of the index behind, of transmit events the index.
        let (field, shift) = if evq::is_transmit(event) { (0xffff, 0) } else { (0xf, 48) };
        match act {
            Act::Never => {}
            Act::Twice => (0..2).for_each(|_| self.post(evq, event)),
            Act::Length(len) => self.post(evq, event & !BYTES | u64::from(len)),
            Act::Endless => self.post(evq, event | CONT),
            Act::Other => {
                let other = (event >> shift).wrapping_add(1) & field;
                self.post(evq, event & !(field << shift) | other << shift);
            }
            Act::Late(by) => self.post_late(evq, event, Some(by)),
        }
    }
}

/// The bytes in front of a frame: hash, tags as on the wire, length, time.
#[inline]
fn prefix(buffer: &mut [u8], headers: &Parsed, hash: u32, stamp: u32, cut_through: bool) {
    let len = if cut_through { 0 } else { (buffer.len() - PREFIX) as u16 };
    buffer[0..4].copy_from_slice(&hash.to_le_bytes());
    buffer[4..8].fill(0);
    if let Some(tag) = headers.vlan {
        buffer[4..6].copy_from_slice(&tag.to_be_bytes());
        if headers.l3_at >= 22 {
            buffer.copy_within(PREFIX + 18..PREFIX + 20, 6);
        }
    }
    buffer[8..10].copy_from_slice(&len.to_le_bytes());
    buffer[10..14].copy_from_slice(&stamp.to_le_bytes());
}

/// What a card may write behind a frame: up to 64 bytes' boundary.
fn pad(memory: &Translation, address: Iova, len: usize, size: usize) {
    let end = ((address as usize + len).next_multiple_of(64) - address as usize).min(size);
    memory.put(address + len as u64, &[0xa5; 64][..end - len]);
}

/// What an event says of a frame, but for lengths and places.
#[inline]
fn describe(frame: &[u8], headers: &Parsed) -> u64 {
    let mut bits = if frame[0] & 1 == 1 { MULTICAST } else { 0 };
    if headers.ethertype < 0x600 {
        bits |= LLC;
    }
    let tags = (headers.l3_at - 14) / 4;
    let l3: u64 = match (headers.l3, headers.fragment, headers.ethertype) {
        (Some(L3::V4 { .. }), false, _) => 1,
        (Some(L3::V6 { .. }), false, _) => 2,
        (Some(L3::V4 { .. }), true, _) => 4,
        (Some(L3::V6 { .. }), true, _) => 6,
        (None, _, 0x0806) => 5,
        (None, _, 0x8906) => 3,
        _ => 0,
    };
    let l4: u64 = match headers.l4 {
        Some(L4::Tcp) => 1,
        Some(L4::Udp) => 2,
        _ => 0,
    };
    bits |= (tags as u64) << 39 | l3 << 42 | l4 << 45;
    if headers.ip_checksum(frame) == Verdict::Bad {
        bits |= IPCKSUM_ERR;
    }
    if l4 != 0 && headers.l4_checksum(frame) == Verdict::Bad {
        bits |= TCPUDP_CKSUM_ERR;
    }
    bits
}
