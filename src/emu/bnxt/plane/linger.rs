//! Receive buffers of rings that are gone: a nasty card writes to them a while longer.
//!
//! ```text
//!   RING_FREE --> answer --> up to 100 us --> HWRM_DONE, if a completion ring was named
//!       written to, and written to again ---'
//! ```
//!
//! That entry is the last of it: a driver that asked for it may use the memory again. One
//! that did not keeps it, until a reset of the function or the end of bus mastering.

use super::super::super::{Board, Picos};
use super::Plane;
use super::slab::Handle;
use crate::dma::Iova;

/// The longest that a buffer is written to behind the answer.
const LATEST: Picos = 100_000_000;

/// Of each ring so many buffers are written to, and of each so many bytes.
const BUFFERS: u32 = 4;
const BYTES: [u8; 64] = [0x5a; 64];

/// What is written to, and what is told behind that.
#[derive(Default)]
pub struct Lingering {
    buffers: Vec<Buffer>,
    /// Completion queues, and numbers of commands.
    done: Vec<(Handle, u16)>,
}

struct Buffer {
    address: Iova,
    len: usize,
    /// When that ends, which is not known until the answer is there.
    until: Option<Picos>,
}

impl Lingering {
    /// Whether any is still written to.
    pub fn is_active(&self) -> bool {
        !self.buffers.is_empty()
    }
}

impl Plane {
    /// A receive ring goes: its next buffers are written to for a while.
    pub(super) fn start_lingering(&mut self, board: &mut Board, id: u16) {
        let Some(ring) = self.rx_ring(id) else { return };
        let (entries, first) = (&ring.entries, ring.consumer);
        let buffer = |n: u32| {
            let [word, address] = entries.read(first.wrapping_add(n), &board.bus.memory)?;
            Some(Buffer { address, len: ((word >> 16 & 0xffff) as usize).min(BYTES.len()), until: None })
        };
        let buffers: Vec<Buffer> = (0..ring.posted().min(BUFFERS)).filter_map(buffer).collect();
        self.lingering.buffers.extend(buffers);
        self.linger(board);
    }

    /// A command's answer is valid now.
    pub fn answered(&mut self, board: &mut Board) {
        for buffer in self.lingering.buffers.iter_mut().filter(|buffer| buffer.until.is_none()) {
            buffer.until = Some(board.now + board.random.below(LATEST));
        }
    }

    /// That a command was answered is told when nothing is written to any more.
    pub(super) fn tell_later(&mut self, cq: u16, sequence: u16) {
        self.lingering.done.extend(self.rings.handle(cq).map(|cq| (cq, sequence)));
    }

    /// Writes to buffers whose time is not over.
    pub(super) fn linger(&mut self, board: &mut Board) {
        if !self.lingering.is_active() {
            return;
        }
        let (now, memory) = (board.now, &board.bus.memory);
        let on = memory.bus_master();
        self.lingering.buffers.retain(|buffer| on && buffer.until.is_none_or(|until| now < until));
        for buffer in &self.lingering.buffers {
            memory.write(buffer.address, &BYTES[..buffer.len]);
        }
        if !self.lingering.is_active() {
            for (cq, sequence) in std::mem::take(&mut self.lingering.done) {
                self.live(Some(cq)).into_iter().for_each(|cq| self.post_done(board, cq, sequence));
            }
        }
    }
}
