//! Transmit: entries of send queues become frames.
//!
//! ```text
//!   SQ: | taken | posted: ctrl, eth, data ... |      --> gather, check --> MAC
//!                  '-- or what came with the doorbell       |      \--> comes back
//!                                                   CQ <----'
//! ```
//!
//! What cannot be sent completes with an error and stops its queue. A packet that lacks
//! inline headers does not leave, and its completion says nothing of it.

use super::super::super::frame::{L4, Parsed};
use super::super::super::offload::Sums;
use super::super::super::segment::insert_vlan;
use super::super::super::transmit::{Next, Transmitter, Turns};
use super::super::super::unaided::{self, Tso};
use super::super::super::wire::{MAX_FRAME, MIN_FRAME};
use super::super::super::{Act, Board, Direction, Picos};
use super::cqe::{self, Failure};
use super::owned::Owner;
use super::sq::Sq;
use super::work::{State, stamp};
use super::wqe::{BLOCK, Ctrl, Data, Eth, LSO, MULTI, NOP, SEND, Segments};
use super::{Plane, receive};
use std::ops::Range;

/// Longest headers of a packet to segment.
const LSO_HEADERS: usize = 192;

/// Headers of which ConnectX-4 wants a minimum, whatever the frame (nasty).
const L2_INLINE: usize = 18;

/// Not enough memory for the queue's entries: the health buffer says so (nasty).
const NO_MEMORY: u8 = 0x0a;

/// An entry between ring and wire.
#[derive(Default)]
struct Outgoing {
    entry: Vec<u8>,
    ctrl: Ctrl,
    packet: Vec<u8>,
    segments: Vec<u8>,
    frames: Vec<Range<usize>>,
    at: usize,
    /// It was cut: its frames lie in the buffer of segments.
    cut: bool,
    /// It came with its doorbell.
    pushed: bool,
}

/// All that sends.
#[derive(Default)]
pub struct Sending {
    /// Whose turn it is among the send queues.
    pub turns: Turns,
    out: Outgoing,
}

/// What has become of an entry.
enum End {
    Sent(Picos),
    /// It was not sent, without a word.
    Dropped,
    Failed(Failure),
}

/// Why an entry is not sent, and the rule that was broken.
struct Fault(Option<&'static str>, End);

impl Fault {
    fn bad(rule: &'static str) -> Self {
        Fault(Some(rule), End::Failed(Failure::OPERATION))
    }
}

/// The data plane on its board, while it sends.
pub struct Sender<'a> {
    pub plane: &'a mut Plane,
    pub board: &'a mut Board,
}

/// Headers of a frame that must be inline.
fn least_inline(mode: u8, frame: &[u8]) -> usize {
    let headers = Parsed::of(frame);
    match mode {
        0 => 0,
        1 => headers.l3_at,
        2 => headers.l4_at,
        _ => match headers.l4 {
            Some(L4::Tcp) => headers.l4_at + 4 * usize::from(frame[headers.l4_at + 12] >> 4),
            Some(_) => headers.l4_at + 8,
            None => headers.l4_at,
        },
    }
}

/// The bytes of an entry, from the ring or from its doorbell.
fn read_entry(sq: &Sq, segments: usize, board: &Board, to: &mut Vec<u8>) -> bool {
    to.clear();
    let len = 16 * segments;
    let pushed = sq.pushed.as_ref().filter(|(at, bytes)| *at == sq.consumer && bytes.len() >= len);
    if let Some((_, bytes)) = pushed {
        to.extend_from_slice(&bytes[..len]);
        return true;
    }
    for block in 0..len.div_ceil(BLOCK) {
        let at = sq.ring.slot(u32::from(sq.consumer).wrapping_add(block as u32));
        if !board.bus.memory.append(at, BLOCK.min(len - block * BLOCK), to) {
            return false;
        }
    }
    true
}

impl Sender<'_> {
    /// The entry at a queue's head, as a packet in the buffer; why not, if it cannot be
    /// sent. None if there is none.
    fn gather(&mut self, q: u32) -> Option<Result<(), Fault>> {
        let sq = self.plane.sqs.get(q).filter(|sq| sq.state == State::Ready && sq.posted() != 0)?;
        let out = &mut self.plane.tx.out;
        (out.at, out.cut) = (0, false);
        out.frames.clear();
        out.packet.clear();
        out.pushed = sq.pushed.as_ref().is_some_and(|(at, _)| *at == sq.consumer);
        if !read_entry(sq, 1, self.board, &mut out.entry) {
            out.ctrl = Ctrl::default();
            return Some(Err(Fault(None, End::Failed(Failure::MEMORY))));
        }
        let ctrl = Ctrl::of(&out.entry);
        out.ctrl = ctrl;
        let rule = if ctrl.segments == 0 {
            "entry of a send queue without segments"
        } else if ctrl.blocks() > sq.posted() {
            "entry of a send queue that goes on beyond its doorbell"
        } else if ctrl.index != sq.consumer {
            "entry of a send queue with another position than its own"
        } else if ctrl.sqn != q {
            "entry of a send queue with another queue's number"
        } else {
            ""
        };
        if !rule.is_empty() {
            return Some(Err(Fault::bad(rule)));
        }
        if !read_entry(sq, ctrl.segments, self.board, &mut out.entry) {
            return Some(Err(Fault(None, End::Failed(Failure::MEMORY))));
        }
        if ctrl.opcode != NOP && !self.plane.link {
            return None;
        }
        let (owner, bell, path) = (sq.owner(), sq.bell, if out.pushed { "push" } else { "DMA" });
        if let Some(meter) = self.board.bus.memory.meter() {
            meter.settle(false, if out.pushed { bell.seen } else { bell.fetched });
        }
        let entry = std::mem::take(&mut out.entry);
        let prepared = match ctrl.opcode {
            NOP => Ok(()),
            SEND | LSO | MULTI if sq.td.is_none() => Err(Fault::bad("packet in a send queue without a way out")),
            SEND | LSO if ctrl.segments < 2 => Err(Fault::bad("packet without an Ethernet segment")),
            SEND => self.single(&entry, owner),
            LSO if ctrl.modifier == 0 => self.segmented(&entry, owner),
            MULTI if self.plane.limits.enhanced_multi_packet => self.several(&entry, owner),
            _ => Err(Fault::bad("entry of a send queue with an opcode that there is not")),
        };
        self.plane.tx.out.entry = entry;
        if let Some(meter) = self.board.bus.memory.meter() {
            meter.depart(path, bell);
        }
        Some(prepared)
    }

    /// Appends what a data segment names to the packet.
    fn append(&mut self, data: Result<Data<'_>, ()>, owner: Owner, most: usize) -> Result<(), Fault> {
        let packet = &self.plane.tx.out.packet;
        let have = packet.len();
        match data {
            Err(()) => Err(Fault::bad("data segment that goes on beyond its entry")),
            Ok(Data::Pointer { len: 0, .. }) => {
                // A length of zero stands for 2 GiB.
                Err(Fault(Some("data segment without length"), End::Failed(Failure::KEY)))
            }
            Ok(Data::Pointer { len, .. }) if have + len > most => Err(Fault::bad("packet longer than there may be")),
            Ok(Data::Pointer { len, lkey, at }) => {
                if !self.plane.may(owner, lkey, at, len, false) {
                    let rule = "data segment with a key that does not let the queue have it";
                    return Err(Fault(Some(rule), End::Failed(Failure::KEY)));
                }
                if let Some(meter) = self.board.bus.memory.meter() {
                    meter.read([(at, len as u64)]);
                }
                if self.board.bus.memory.gather(at, len, &mut self.plane.tx.out.packet) {
                    return Ok(());
                }
                if self.board.nasty {
                    self.plane.trouble = Some(NO_MEMORY);
                }
                Err(Fault(None, End::Failed(Failure::MEMORY)))
            }
            Ok(Data::Inline(bytes)) => {
                self.plane.tx.out.packet.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// One packet, from the entry's header and all of its segments.
    fn whole(&mut self, entry: &[u8], eth: &Eth, owner: Owner, most: usize) -> Result<(), Fault> {
        let header = eth.header(entry).ok_or_else(|| Fault::bad("inline header that goes on beyond its entry"))?;
        self.plane.tx.out.packet.extend_from_slice(header);
        for data in Segments::of(entry, eth.end()) {
            self.append(data, owner, most)?;
        }
        if self.plane.tx.out.packet.len() < 14 {
            return Err(Fault::bad("frame shorter than its header"));
        }
        Ok(())
    }

    /// Whether a packet has the headers inline that the card wants.
    fn inlined(&mut self, inline: usize, range: Range<usize>) -> Result<(), Fault> {
        let plane = &mut *self.plane;
        let mode = match plane.limits.inline_mode {
            0 => 1,
            1 => plane.vport.inline,
            _ => 0,
        };
        let mut least = least_inline(mode, &plane.tx.out.packet[range]);
        if self.board.nasty && mode != 0 {
            least = least.max(L2_INLINE);
        }
        if inline >= least {
            return Ok(());
        }
        plane.counters.short_inline += 1;
        Err(Fault(None, if plane.short_inline_fails { End::Failed(Failure::OPERATION) } else { End::Dropped }))
    }

    /// SEND.
    fn single(&mut self, entry: &[u8], owner: Owner) -> Result<(), Fault> {
        let eth = Eth::of(entry);
        self.whole(entry, &eth, owner, MAX_FRAME)?;
        self.inlined(eth.inline, 0..self.plane.tx.out.packet.len())?;
        self.finish_frame(&eth, 0)
    }

    /// Several packets, a segment each.
    fn several(&mut self, entry: &[u8], owner: Owner) -> Result<(), Fault> {
        let eth = Eth::of(entry);
        if eth.inline != 0 || eth.mss != 0 || eth.tag.is_some() {
            return Err(Fault(None, End::Dropped));
        }
        for data in Segments::of(entry, eth.end()) {
            let start = self.plane.tx.out.packet.len();
            self.append(data, owner, start + MAX_FRAME)?;
            let range = start..self.plane.tx.out.packet.len();
            if range.len() < 14 {
                return Err(Fault::bad("frame shorter than its header"));
            }
            self.inlined(0, range)?;
            self.finish_frame(&eth, start)?;
        }
        Ok(())
    }

    /// Does to the frame from `start` on what the entry asks for.
    fn finish_frame(&mut self, eth: &Eth, start: usize) -> Result<(), Fault> {
        let Plane { tx, limits, vport, counters, .. } = &mut *self.plane;
        let out = &mut tx.out;
        let sums = Sums { ip: eth.l3_sum, transport: eth.l4_sum };
        if sums.ip || sums.transport {
            self.board.used.summed += 1;
            unaided::checksums(&mut out.packet[start..], sums.ip, sums.transport);
        }
        // Without the capability the frame leaves as it is.
        if let Some((ethertype, tci)) = eth.tag.filter(|_| limits.vlan_insert) {
            self.board.used.tagged += 1;
            let _ = insert_vlan(&mut out.packet, ethertype, tci);
        }
        let len = out.packet.len() - start;
        if vport.too_long(len) {
            counters.tx_errors += 1;
            return Ok(());
        }
        if len < MIN_FRAME && limits.pad_tx {
            out.packet.resize(start + MIN_FRAME, 0);
        }
        out.frames.push(start..out.packet.len());
        Ok(())
    }

    /// LSO.
    fn segmented(&mut self, entry: &[u8], owner: Owner) -> Result<(), Fault> {
        let eth = Eth::of(entry);
        let most = 1 << self.plane.limits.log_lso;
        self.whole(entry, &eth, owner, most)?;
        if most == 1 || eth.mss == 0 || eth.inline == 0 || eth.inline > LSO_HEADERS {
            return Err(Fault::bad("segmentation without what it needs"));
        }
        self.board.used.segmented += 1;
        let out = &mut self.plane.tx.out;
        out.segments.clear();
        let tso = own_numbers(&out.packet, eth.inline, eth.mss);
        let cut = tso.and_then(|tso| unaided::segments(&mut out.packet, tso, &mut out.segments, &mut out.frames));
        if cut.is_none() {
            return Err(Fault::bad("segmentation of what is not TCP over IP with headers of that length"));
        }
        out.cut = true;
        let (vport, count) = (&self.plane.vport, out.frames.len());
        out.frames.retain(|frame| !vport.too_long(frame.len()));
        self.plane.counters.tx_errors += (count - out.frames.len()) as u64;
        // A short tail is filled up as other short frames are.
        let pads = self.plane.limits.pad_tx;
        for frame in out.frames.iter_mut().filter(|frame| pads && frame.len() < MIN_FRAME) {
            let start = out.segments.len();
            out.segments.extend_from_within(frame.clone());
            out.segments.resize(start + MIN_FRAME, 0);
            *frame = start..start + MIN_FRAME;
        }
        Ok(())
    }

    /// An entry is done with.
    fn finish_entry(&mut self, q: u32, end: End) {
        let Sender { plane, board } = self;
        plane.tx.turns.busy = false;
        let (ctrl, pushed) = (plane.tx.out.ctrl, plane.tx.out.pushed);
        let Some(sq) = plane.sqs.get_mut(q) else { return };
        let counter = sq.consumer;
        sq.consumer = counter.wrapping_add(ctrl.blocks().min(sq.posted()));
        if pushed {
            sq.pushed = None;
        }
        let (cqn, user, format) = (sq.spec.cqn, sq.spec.user_index, sq.spec.ts_format);
        let (fails, at) = match end {
            End::Failed(failure) => (Some(failure), board.now),
            End::Sent(at) => (None, at),
            End::Dropped => (None, board.now),
        };
        let fits = if let Some(failure) = fails {
            plane.counters.tx_errors += 1;
            plane.complete(board, cqn, cqe::failed(true, failure, ctrl.opcode, q, user, counter), false)
        } else if ctrl.complete >= 2 {
            let stamp = stamp(&plane.clock, format, plane.limits.sq_stamps, at);
            let act = board.bus.memory.slip(Direction::Tx);
            let named = if act == Some(Act::Other) { counter.wrapping_add(1) } else { counter };
            let entry = cqe::sent(ctrl.opcode, q, user, named, stamp);
            plane.say(board, cqn, entry, ctrl.solicited || ctrl.complete == 3, act)
        } else {
            true
        };
        if fails.is_some() || !fits {
            plane.fail_sq(board, q);
        }
    }

    /// Sends a frame, or has it come back: when it left, if there was time for it.
    fn emit_one(&mut self, range: &Range<usize>, td: u32) -> Option<Picos> {
        let Sender { plane, board } = self;
        let now = board.now;
        let out = &plane.tx.out;
        let frame = &if out.cut { &out.segments } else { &out.packet }[range.clone()];
        // What is too short leaves, and its receiver drops it.
        let short = frame.len() < MIN_FRAME;
        let returns =
            !short && !plane.looping && plane.vport.loops(frame) && receive::wants_own(&plane.tirs, td, frame);
        let stays = returns && frame[0] & 1 == 0;
        let beyond = !stays && plane.beyond_port(frame.len());
        let at = if stays || beyond || short { now } else { board.port.send(frame, now)? };
        if beyond {
            plane.port.tx_errors += 1;
        } else if !stays {
            plane.port.sent(frame);
        }
        plane.counters.tx.count(frame);
        if returns {
            plane.rx.loop_back(frame, td);
        }
        Some(at)
    }
}

impl Transmitter for Sender<'_> {
    #[inline]
    fn turns(&mut self) -> &mut Turns {
        &mut self.plane.tx.turns
    }

    #[inline]
    fn look(&mut self, _: u16) {}

    #[inline]
    fn fetch(&mut self, q: u16) -> Next {
        let Some(gathered) = self.gather(q.into()) else { return Next::Nothing };
        (self.plane.tx.turns.queue, self.plane.tx.turns.busy) = (q, true);
        match gathered {
            Ok(()) => Next::Packet,
            Err(Fault(rule, end)) => {
                rule.into_iter().for_each(|rule| self.board.violations.note(rule));
                self.finish_entry(q.into(), end);
                Next::Other
            }
        }
    }

    #[inline]
    fn emit(&mut self) -> bool {
        let q = u32::from(self.plane.tx.turns.queue);
        let Some(td) = self.plane.sqs.get(q).map(|sq| sq.td.unwrap_or(0)) else { return true };
        if !self.plane.link && !self.plane.tx.out.frames.is_empty() {
            return false;
        }
        let mut left = self.board.now;
        while let Some(range) = self.plane.tx.out.frames.get(self.plane.tx.out.at).cloned() {
            let Some(at) = self.emit_one(&range, td) else { return false };
            left = at;
            self.plane.tx.out.at += 1;
        }
        self.finish_entry(q, End::Sent(left));
        true
    }

    fn finish(&mut self, _: usize, _: bool) {}
}

/// Sequence number and identification of a TCP packet with headers of that length, as
/// they are in it.
fn own_numbers(packet: &[u8], header: usize, mss: u16) -> Option<Tso> {
    let headers = packet.get(..header)?;
    let parsed = Parsed::of(packet);
    let l4 = match parsed.ethertype {
        0x0800 => parsed.l3_at + 4 * usize::from(*headers.get(parsed.l3_at)? & 0xf),
        0x86dd => parsed.l3_at + 40,
        _ => return None,
    };
    let length = 4 * usize::from(*headers.get(l4 + 12)? >> 4);
    let sequence = u32::from_be_bytes(*packet.get(l4 + 4..)?.first_chunk()?);
    let id = u16::from_be_bytes(*packet.get(parsed.l3_at + 4..)?.first_chunk()?);
    (l4 + length == header).then_some(Tso { sequence, id, mss })
}
