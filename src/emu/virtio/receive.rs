//! Receive: frames into chains (VIRTIO 1.2 §5.1.6.3, §5.1.6.4).
//!
//! ```text
//!   MAC --> filter --> queue of its flow --> | header:12 | frame ... | chain
//!                                            |   ... its rest        | chain, if MRG_RXBUF
//! ```

use super::super::frame::{Parsed, Verdict};
use super::super::{Act, Direction, FaultKind, Picos, STEP};
use super::features::{GUEST_CSUM, MRG_RXBUF};
use super::legacy::SHARED_HEADER;
use super::transmit::{HEADER, SHORT_HEADER};
use super::{Chain, Virtio};

/// Bytes of a frame that a buffer has to have room for without mergeable ones, beside its
/// header (§5.1.6.3.1).
const WHOLE_FRAME: usize = 1514;

/// Buffers that a frame is spread over at most.
const MOST: usize = 64;

/// Frames before the program behind the device starts over (fault).
const BEFORE_RESTART: u64 = 100;

/// What became of the frame that has arrived.
enum Fate {
    Received,
    Lost,
    Waits,
}

impl Virtio {
    /// Receives what has arrived, as far as there are buffers; how many frames.
    pub(super) fn receive(&mut self) -> usize {
        let now = self.board.now;
        let mut work = 0;
        while work < STEP {
            // One that was started anew does not know yet where its queues are.
            if !self.link || self.started_anew() {
                return work;
            }
            let Some((frame, _)) = self.board.port.peek(now) else { break };
            if !self.filter.accepts(frame) {
                self.board.port.pass_over();
                work += 1;
                continue;
            }
            let q = 2 * (flow(frame) % u32::from(self.tx.pairs())) as u16;
            match self.deliver(q, now) {
                Fate::Received => self.board.port.done(false),
                Fate::Lost => {
                    self.board.port.done(true);
                    self.board.starved += 1;
                }
                Fate::Waits => break,
            }
            work += 1;
        }
        work
    }

    /// Whether the program behind the device has been started anew (fault).
    fn started_anew(&self) -> bool {
        self.received >= BEFORE_RESTART && self.board.faulty(FaultKind::BackendRestarts)
    }

    /// Writes the frame that `peek` shows into buffers of queue `q`.
    fn deliver(&mut self, q: u16, now: Picos) -> Fate {
        let merging = self.has(MRG_RXBUF);
        let header = self.header_len();
        let alone = !merging && self.header_alone();
        let needed = header + self.board.port.peek(now).map_or(0, |(frame, _)| frame.len());
        let mut chains = std::mem::take(&mut self.rx_chains);
        let mut count = 0;
        let mut room = 0;
        let fate = loop {
            if room >= needed {
                break Fate::Received;
            }
            if count == MOST {
                self.board.violations.note("receive buffers so short that a frame takes more than 64");
                break Fate::Lost;
            }
            if count == chains.len() {
                chains.push(Chain::default());
            }
            match self.next_chain(q, &mut chains[count]) {
                Ok(true) => {}
                Ok(false) if self.board.port.waits() || !self.board.port.overrun(now) => break Fate::Waits,
                Ok(false) => break Fate::Lost,
                Err(rule) => {
                    self.stop(rule);
                    break Fate::Waits;
                }
            }
            let len = chains[count].writable_len();
            if !chains[count].readable.is_empty() {
                self.board.violations.note("receive chain with a readable descriptor");
            }
            if alone && chains[count].writable.first().is_some_and(|part| part.1 as usize != header) {
                self.stop(SHARED_HEADER);
                break Fate::Waits;
            }
            if !merging && len < header + WHOLE_FRAME {
                self.board.violations.note("receive buffer shorter than a frame and its header");
            }
            if len < header {
                self.board.violations.note("receive buffer shorter than a header");
            }
            room += len;
            count += 1;
            if !merging && room < needed {
                break Fate::Lost;
            }
        };
        match fate {
            Fate::Received => self.write_frame(q, &chains[..count], now),
            _ => {
                let queue = &mut self.queues[usize::from(q)];
                if let Some(ring) = &mut queue.ring {
                    ring.rewind(&chains[..count]);
                }
            }
        }
        self.rx_chains = chains;
        fate
    }

    fn write_frame(&mut self, q: u16, chains: &[Chain], now: Picos) {
        let (verify, header_len) = (self.has(GUEST_CSUM), self.header_len());
        let Some((frame, _)) = self.board.port.peek(now) else { return };
        let mut header = [0; HEADER];
        const DATA_VALID: u8 = 2;
        if verify && Parsed::of(frame).l4_checksum(frame) == Verdict::Good {
            header[0] = DATA_VALID;
        }
        let act = self.board.bus.memory.slip(Direction::Rx);
        let told = chains.len() as u16 + u16::from(act == Some(Act::Endless));
        header[SHORT_HEADER..].copy_from_slice(&told.to_le_bytes());
        let mut used = [(0, 0, 0); MOST];
        let mut left = [&header[..header_len], frame];
        for (chain, used) in chains.iter().zip(&mut used) {
            let mut written = 0;
            for &(address, len) in &chain.writable {
                if let Some(meter) = self.board.bus.memory.meter() {
                    meter.write([(address, u64::from(len).min((left[0].len() + left[1].len()) as u64))]);
                }
                let mut at = 0;
                while at < len as usize && !(left[0].is_empty() && left[1].is_empty()) {
                    let piece = if left[0].is_empty() { &mut left[1] } else { &mut left[0] };
                    let here = piece.len().min(len as usize - at);
                    // Where memory is not mapped the bytes are lost, and counted.
                    self.board.bus.memory.put(address + at as u64, &piece[..here]);
                    *piece = &piece[here..];
                    at += here;
                }
                written += at as u32;
            }
            *used = (chain.id, chain.slots, written);
        }
        let used = &mut used[..chains.len()];
        if let (Some(Act::Length(len)), Some(last)) = (act, used.last_mut()) {
            last.2 = len + header_len as u32;
        }
        self.say(q, used, act);
        self.received += 1;
        if self.started_anew() {
            let memory = &self.board.bus.memory;
            self.queues.iter_mut().filter_map(|queue| queue.ring.as_mut()).for_each(|ring| ring.forget(memory));
        }
    }
}

/// A number that is the same for all frames of a flow, both ways; 0 for frames
/// that are not IP.
fn flow(frame: &[u8]) -> u32 {
    let parsed = Parsed::of(frame);
    let Some((from, to)) = parsed.ip_addresses(frame) else { return 0 };
    // FNV-1a over what the two ends have together.
    let mix = |number: u32, word: u16| (number ^ u32::from(word)).wrapping_mul(0x0100_0193);
    let number = mix(0x811c_9dc5, parsed.ports(frame).map_or(0, |(a, b)| a ^ b));
    let number = from.iter().zip(to).fold(number, |number, (a, b)| mix(number, u16::from(a ^ b)));
    number ^ number >> 16
}
