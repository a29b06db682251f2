//! Transmit: chains into frames (VIRTIO 1.2 §5.1.6.2).
//!
//! ```text
//!   chain: | header | frame ... |  --> checksum --> segments --> MAC
//!                                                      |
//!             put back as soon as it was read          v
//!                                        what the wire has no time for yet
//! ```

use super::super::frame::{Parsed, sum};
use super::super::segment::{Layout, Transport, fill_l4_checksum, split};
use super::super::transmit::{Next, Transmitter, Turns};
use super::super::wire::{FrameQueue, MAX_FRAME, MIN_FRAME};
use super::super::{Act, Direction, MacPort, Picos, Violations};
use super::features::{CSUM, HOST_TSO4, HOST_TSO6, MTU};
use super::legacy::SHARED_HEADER;
use super::ring::Ring;
use super::{Broken, Chain, Virtio};

/// Bytes of the header with the number of buffers in it (§5.1.6).
pub const HEADER: usize = 12;

/// The same without: of a legacy device, and no MRG_RXBUF.
pub const SHORT_HEADER: usize = 10;

/// Largest packet to segment, with its header.
const LARGEST: usize = 65_536 + 18 + HEADER;

/// All that sends.
pub struct Transmit {
    /// Whose turn it is.
    turns: Turns,
    /// Frames that the wire has no time for yet: the segments of a packet.
    frames: FrameQueue,
    packet: Vec<u8>,
}

impl Transmit {
    /// So many pairs' queues.
    pub fn new(pairs: u16) -> Self {
        let frames = FrameQueue::new(256 << 10);
        let mut transmit = Transmit { turns: Turns::default(), frames, packet: Vec::with_capacity(2048) };
        transmit.set_pairs(pairs);
        transmit
    }

    /// Pairs in use.
    pub fn pairs(&self) -> u16 {
        self.turns.active().len() as u16
    }

    /// So many pairs are in use from now on. What is on its way still leaves.
    pub fn set_pairs(&mut self, pairs: u16) {
        self.turns.restart((0..pairs).map(|pair| 2 * pair + 1));
    }
}

/// Sends a frame, or keeps it.
fn send(frames: &mut FrameQueue, port: &mut MacPort, frame: &[u8], now: Picos, violations: &mut Violations) {
    let sent = frames.is_empty() && port.send(frame, now).is_some();
    if !sent && !frames.push(frame, now) {
        violations.note("packet of more segments than the device can hold");
    }
}

impl Transmitter for Virtio {
    fn turns(&mut self) -> &mut Turns {
        &mut self.tx.turns
    }

    fn look(&mut self, _: u16) {}

    /// Reads the next chain, and sends of it what the wire has time for.
    fn fetch(&mut self, q: u16) -> Next {
        if !self.queues[usize::from(q)].busy {
            return Next::Nothing;
        }
        let mut chain = std::mem::take(&mut self.chain);
        let next = match self.next_chain(q, &mut chain) {
            Ok(true) => {
                self.send_chain(q, &chain);
                if self.common.stopped {
                    Next::Nothing
                } else {
                    self.queues[usize::from(q)].sent.push((chain.id, chain.slots, 0));
                    self.tx.turns.busy = true;
                    Next::Packet
                }
            }
            Ok(false) => Next::Nothing,
            Err(rule) => {
                self.stop(rule);
                Next::Nothing
            }
        };
        self.chain = chain;
        next
    }

    fn emit(&mut self) -> bool {
        while let Some((frame, _)) = self.tx.frames.front() {
            if self.board.port.send(frame, self.board.now).is_none() {
                return false;
            }
            self.tx.frames.pop();
        }
        self.tx.turns.busy = false;
        true
    }

    /// Gives back what was read.
    fn finish(&mut self, _: usize, _: bool) {
        for q in (1..self.queues.len() as u16).step_by(2) {
            let mut sent = std::mem::take(&mut self.queues[usize::from(q)].sent);
            if sent.is_empty() {
                continue;
            }
            if self.board.nasty {
                self.shuffle(q, &mut sent);
                self.misstate(&mut sent);
            }
            if self.board.bus.memory.slips() {
                for mut used in sent {
                    let act = self.board.bus.memory.slip(Direction::Tx);
                    self.say(q, std::slice::from_mut(&mut used), act);
                }
                continue;
            }
            self.put_back(q, &sent);
        }
    }
}

impl Virtio {
    /// Nothing says that a device uses buffers in order, or at once.
    fn shuffle(&mut self, q: u16, used: &mut Vec<(u16, u16, u32)>) {
        for n in (1..used.len()).rev() {
            used.swap(n, self.board.random.below(n as u64 + 1) as usize);
        }
        let keep = self.board.random.below(used.len() as u64 + 1) as usize;
        self.queues[usize::from(q)].sent = used.split_off(used.len() - keep.min(used.len()) / 2);
    }

    /// The next chain of a queue that is being worked off. When there is none
    /// the driver is asked to notify, and the queue rests until it does.
    pub(super) fn next_chain(&mut self, q: u16, chain: &mut Chain) -> Result<bool, Broken> {
        let memory = &self.board.bus.memory;
        let queue = &mut self.queues[usize::from(q)];
        let Some(ring) = &mut queue.ring else {
            queue.busy = false;
            return Ok(false);
        };
        if ring.fetch(memory, chain)? {
            return Ok(true);
        }
        ring.want_notice(memory, true)?;
        if ring.available(memory)? {
            ring.want_notice(memory, false)?;
            return ring.fetch(memory, chain);
        }
        queue.busy = false;
        Ok(false)
    }

    /// Gives the used chains of a packet back, or something else (fault).
    pub(super) fn say(&mut self, q: u16, used: &mut [(u16, u16, u32)], act: Option<Act>) {
        if !self.board.bus.memory.slips() {
            return self.put_back(q, used);
        }
        let size = self.queues[usize::from(q)].ring.as_ref().map_or(1, Ring::size);
        let late = if let Some(Act::Late(by)) = act { Some(by) } else { None };
        match (act, used.last_mut()) {
            // Its driver may not take it from the place where it would be next (packed).
            (Some(Act::Never), _) => return,
            (Some(Act::Other), Some(last)) => last.0 = (last.0 + 1) % size,
            _ => {}
        }
        // A split queue has an index for all: what is behind something late is late, too.
        let late = self.board.bus.memory.late_behind(late);
        for _ in 0..1 + u32::from(act == Some(Act::Twice)) {
            let queue = &mut self.queues[usize::from(q)];
            let Some(ring) = &mut queue.ring else { return };
            queue.used = true;
            let (memory, mut put) = (&self.board.bus.memory, Ok(()));
            let mut back = || put = ring.put_back(memory, used, q % 2 == 1);
            if late == 0 {
                back()
            } else {
                memory.later(late, back)
            }
            if let Err(rule) = put {
                return self.stop(rule);
            }
        }
    }

    /// Gives used chains back to the driver.
    pub(super) fn put_back(&mut self, q: u16, used: &[(u16, u16, u32)]) {
        if used.is_empty() {
            return;
        }
        let queue = &mut self.queues[usize::from(q)];
        let Some(ring) = &mut queue.ring else { return };
        queue.used = true;
        let sent = q % 2 == 1;
        if let Err(rule) = ring.put_back(&self.board.bus.memory, used, sent) {
            self.stop(rule);
        }
    }

    /// Sends the packet of one chain.
    fn send_chain(&mut self, q: u16, chain: &Chain) {
        let now = self.board.now;
        self.tx.packet.clear();
        if !chain.writable.is_empty() {
            self.board.violations.note("transmit chain with a writable descriptor");
        }
        let header_len = self.header_len();
        if self.header_alone() && chain.readable.first().is_some_and(|part| part.1 as usize != header_len) {
            return self.stop(SHARED_HEADER);
        }
        if chain.readable_len() > LARGEST || chain.readable_len() < header_len + 14 {
            self.board.violations.note("packet shorter than its headers or longer than 64 KiB");
            return;
        }
        let ring = self.queues[usize::from(q)].ring.as_ref();
        if let (Some(meter), Some(ring)) = (self.board.bus.memory.meter(), ring) {
            meter.settle(false, ring.bell().fetched);
            meter.read(chain.readable.iter().map(|&(address, len)| (address, len.into())));
            meter.depart("DMA", ring.bell());
        }
        for &(address, len) in &chain.readable {
            if !self.board.bus.memory.gather(address, len as usize, &mut self.tx.packet) {
                return; // counted
            }
        }
        if self.too_long_for_the_network() {
            return;
        }
        let (header, frame) = self.tx.packet.split_at_mut(header_len);
        let asked = Asked::of(header);
        if header.iter().all(|byte| *byte == 0) {
            if frame.len() > MAX_FRAME {
                self.board.violations.note("frame longer than 16 KiB");
                return;
            }
            let frame = &self.tx.packet[header_len..];
            return send_padded(&mut self.tx.frames, &mut self.board.port, frame, now, &mut self.board.violations);
        }
        if asked.buffers != 0 {
            // §5.1.6.2.1; no device looks at it.
            self.board.violations.note("num_buffers of a transmitted packet is not 0");
        }
        if let Err(rule) = asked.check(self.features) {
            self.board.violations.note(rule);
            return;
        }
        let done = if asked.gso == 0 {
            asked.fill(frame).map(|()| {
                let frame = &self.tx.packet[header_len..];
                send_padded(&mut self.tx.frames, &mut self.board.port, frame, now, &mut self.board.violations);
            })
        } else {
            let (frames, port, violations) = (&mut self.tx.frames, &mut self.board.port, &mut self.board.violations);
            asked.split(frame, |segment| send(frames, port, segment, now, violations))
        };
        if done.is_none() {
            self.board.violations.note("header that does not fit its packet");
        }
    }
}

impl Virtio {
    /// Whether the network behind the device drops what is to be sent, as it does without a
    /// word: with a tag 4 bytes more may pass, and what is to be segmented is looked at by
    /// nobody.
    fn too_long_for_the_network(&mut self) -> bool {
        let (header, frame) = self.tx.packet.split_at(self.header_len());
        let tag = if frame[12..14] == [0x81, 0] { 4 } else { 0 };
        let Some(mtu) = self.mtu.filter(|mtu| frame.len() > 14 + tag + usize::from(*mtu)) else { return false };
        if Asked::of(header).gso != 0 {
            return false;
        }
        if self.has(MTU) {
            self.board.violations.note(format!("frame longer than the MTU of {mtu} that was agreed on"));
        }
        true
    }
}

/// Sends a frame, padded as every MAC does.
fn send_padded(frames: &mut FrameQueue, port: &mut MacPort, frame: &[u8], now: Picos, violations: &mut Violations) {
    if frame.len() >= MIN_FRAME {
        return send(frames, port, frame, now, violations);
    }
    let mut padded = [0; MIN_FRAME];
    padded[..frame.len()].copy_from_slice(frame);
    send(frames, port, &padded, now, violations);
}

/// What a header asks for.
struct Asked {
    flags: u8,
    gso: u8,
    size: usize,
    start: usize,
    offset: usize,
    buffers: u16,
}

impl Asked {
    fn of(header: &[u8]) -> Asked {
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        Asked {
            flags: header[0],
            gso: header[1],
            size: half(4).into(),
            start: half(6).into(),
            offset: half(8).into(),
            buffers: if header.len() == HEADER { half(SHORT_HEADER) } else { 0 },
        }
    }

    /// Whether that was agreed on (§5.1.6.2.1).
    fn check(&self, features: u64) -> Result<(), &'static str> {
        const NEEDS_CSUM: u8 = 1;
        let needed = match self.gso {
            0 => 0,
            1 => HOST_TSO4,
            4 => HOST_TSO6,
            _ => return Err("segmentation of a kind that was not agreed on"),
        };
        if self.flags & !NEEDS_CSUM != 0 {
            return Err("header flags that a driver must not set");
        }
        if self.flags & NEEDS_CSUM != 0 && features & CSUM == 0 {
            return Err("checksum asked for that was not agreed on");
        }
        if features & needed != needed {
            return Err("segmentation of a kind that was not agreed on");
        }
        if needed != 0 && (self.flags & NEEDS_CSUM == 0 || self.size == 0) {
            return Err("segmentation without checksum or size");
        }
        Ok(())
    }

    fn transport(&self) -> Option<Transport> {
        match self.offset {
            16 => Some(Transport::Tcp),
            6 => Some(Transport::Udp),
            _ => None,
        }
    }

    /// Fills the checksum in: the field holds the pseudo-header's part.
    fn fill(&self, frame: &mut [u8]) -> Option<()> {
        if self.flags == 0 {
            return Some(());
        }
        let layout = Layout { l3_at: 0, l4_at: self.start, ipv6: false };
        let end = frame.len();
        fill_l4_checksum(frame, layout, self.transport()?, end)
    }

    /// Cuts a TCP packet into segments.
    fn split(&self, frame: &mut [u8], send: impl FnMut(&[u8])) -> Option<()> {
        let at = self.start;
        let l3_at = Parsed::of(frame).l3_at;
        let header_len = at + 4 * usize::from(*frame.get(at + 12)? >> 4);
        // The pseudo-header's sum holds the length of all of it, which is taken
        // out: each segment has its own.
        let len = frame.len().checked_sub(at)? as u32;
        let field = frame.get_mut(at + 16..at + 18)?;
        let pseudo = u32::from(u16::from_be_bytes([field[0], field[1]]));
        let without = sum(&(!len).to_be_bytes(), pseudo);
        field.copy_from_slice(&without.to_be_bytes());
        let layout = Layout { l3_at, l4_at: at, ipv6: self.gso == 4 };
        split(frame, layout, Transport::Tcp, header_len, self.size, send).map(|_| ())
    }
}
