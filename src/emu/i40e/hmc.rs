//! Host memory cache: where queue contexts lie (X710 §7.9).
//!
//! ```text
//!   FPM address  = object's base * 512 + queue * size
//!        | 31:21 segment           | 20:12 page         | 11:0
//!        v                         v                    v
//!   segment descriptors --direct--------------> 2 MiB of host memory
//!     (PFHMC_SDCMD)     --paged--> page descriptors --> 4 KiB
//! ```
//!
//! A queue's context is read when the queue is enabled, and kept. iPXE writes it
//! through registers instead, a line of 16 bytes at a time.

use super::super::Translation;
use super::{I40e, regs};
use crate::dma::Iova;

/// PFHMC_SDCMD: write, else read.
const WRITE: u32 = 1 << 31;
/// PFHMC_SDDATALOW.
const VALID: u32 = 1;
const DIRECT: u32 = 1 << 1;
/// PFHMC_ERRORINFO.
const DETECTED: u32 = 1 << 31;
/// ICR0.HMC_ERR.
const HMC_ERR: u32 = 1 << 26;

/// Segments that the function may have.
const SEGMENTS: usize = 4096;
const SEGMENT: u64 = 2 << 20;
const PAGE: u64 = 4096;

/// Bytes of a transmit and of a receive context.
pub const TX_CONTEXT: usize = 128;
pub const RX_CONTEXT: usize = 32;

/// Backing memory of the function's private address space.
pub struct Hmc {
    /// SDDATALOW and SDDATAHIGH of each segment.
    segments: Vec<(u32, u32)>,
    /// Some segment is valid.
    used: bool,
}

impl Hmc {
    /// No segment.
    pub fn new() -> Self {
        Hmc { segments: vec![(0, 0); SEGMENTS], used: false }
    }

    /// Where the private address `at` is in host memory.
    fn find(&self, memory: &Translation, at: u64) -> Option<Iova> {
        let &(low, high) = self.segments.get((at / SEGMENT) as usize)?;
        let base = u64::from(low & !0xfff) | u64::from(high) << 32;
        if low & VALID == 0 {
            return None;
        }
        if low & DIRECT != 0 {
            return Some(base.wrapping_add(at % SEGMENT));
        }
        let mut descriptor = [0; 8];
        let page = at % SEGMENT / PAGE;
        let read = memory.read(base.wrapping_add(8 * page), &mut descriptor);
        let descriptor = u64::from_le_bytes(descriptor);
        (read && descriptor & 1 == 1).then_some((descriptor & !0xfff) + at % PAGE)
    }
}

/// Which kind of queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Receive.
    Rx,
    /// Transmit.
    Tx,
}

/// Bits `width` from bit `lsb` on, of a context's bytes.
pub fn field(context: &[u8], lsb: usize, width: usize) -> u64 {
    let mut word = [0; 16];
    let bytes = &context[lsb / 8..context.len().min(lsb / 8 + 9)];
    word[..bytes.len()].copy_from_slice(bytes);
    (u128::from_le_bytes(word) >> (lsb % 8)) as u64 & (u64::MAX >> (64 - width))
}

impl I40e {
    /// PFHMC_SDCMD was written: a segment descriptor is read or written.
    pub(super) fn segment_command(&mut self) {
        let command = self.regs.peek(regs::PFHMC_SDCMD.at);
        let index = (command & 0xfff) as usize;
        if command & WRITE == 0 {
            let (low, high) = self.hmc.segments[index];
            self.regs.poke(regs::PFHMC_SDDATALOW.at, low);
            self.regs.poke(regs::PFHMC_SDDATAHIGH.at, high);
            return;
        }
        let (low, high) = (self.regs.peek(regs::PFHMC_SDDATALOW.at), self.regs.peek(regs::PFHMC_SDDATAHIGH.at));
        if low & VALID != 0 && low >> 2 & 0x3ff == 0 {
            self.board.violations.note("segment descriptor without backing pages");
        }
        let queues = self.tx.queues.iter().any(|q| q.enabled) || self.rx.queues.iter().any(|q| q.enabled);
        if low & VALID == 0 && self.hmc.segments[index].0 & VALID != 0 && queues {
            self.board.violations.note("segment descriptor taken away from enabled queues");
        }
        self.hmc.segments[index] = (low, high);
        self.hmc.used |= low & VALID != 0;
        self.regs.poke(regs::PFHMC_SDCMD.at, command & !WRITE);
    }

    /// Reads a queue's context from host memory into the one that is kept; false
    /// if it lies where no memory backs it.
    pub(super) fn load_context(&mut self, way: Way, q: u16) -> bool {
        if !self.hmc.used {
            // Written through PFCM_LANCTXDATA, or never.
            return true;
        }
        // A base in units of 512 bytes, and a count, of the objects of function 0.
        let (base, count, size) = match way {
            Way::Tx => (regs::GLHMC_LANTXBASE, regs::GLHMC_LANTXCNT, TX_CONTEXT),
            Way::Rx => (regs::GLHMC_LANRXBASE, regs::GLHMC_LANRXCNT, RX_CONTEXT),
        };
        let at = u64::from(self.regs.peek(base.at)) * 512 + u64::from(q) * size as u64;
        let inside = u32::from(q) < self.regs.peek(count.at);
        let mut context = [0; TX_CONTEXT];
        let found = if inside { self.hmc.find(&self.board.bus.memory, at) } else { None };
        let read = found.is_some_and(|iova| self.board.bus.memory.read(iova, &mut context[..size]));
        if !read {
            // Type 4: no valid segment or page; type 5 would be an object out of bounds.
            let kind = if inside { 4 } else { 5 };
            self.regs.poke(regs::PFHMC_ERRORINFO.at, DETECTED | kind << 8 | u32::from(way == Way::Rx) << 16);
            self.regs.poke(regs::PFHMC_ERRORDATA.at, (at >> 9) as u32);
            self.board.violations.note("queue context that no memory backs");
            self.cause(HMC_ERR);
            return false;
        }
        match way {
            Way::Tx => self.tx.queues[usize::from(q)].context.copy_from_slice(&context),
            Way::Rx => self.rx.queues[usize::from(q)].context.copy_from_slice(&context[..RX_CONTEXT]),
        }
        true
    }

    /// PFCM_LANCTXCTL was written: a line of a context is read or written.
    pub(super) fn context_command(&mut self) {
        const WRITE_LINE: u32 = 1;
        const DONE: u32 = 1;
        const MISS: u32 = 2;
        let command = self.regs.peek(regs::PFCM_LANCTXCTL.at);
        let line = (command >> 12 & 7) as usize * 16;
        let writes = command >> 17 & 3 == WRITE_LINE;
        let q = self.queue_of(command & 0xfff);
        let context: Option<(&mut [u8], bool)> = q.and_then(|q| match command >> 15 & 3 {
            0 => self.rx.queues.get_mut(usize::from(q)).map(|q| (&mut q.context[..], q.enabled)),
            1 => self.tx.queues.get_mut(usize::from(q)).map(|q| (&mut q.context[..], q.enabled)),
            _ => None,
        });
        let Some((context, enabled)) = context else {
            self.board.violations.note("context access to a queue that there is not");
            return self.regs.poke(regs::PFCM_LANCTXSTAT.at, DONE | MISS);
        };
        let Some(bytes) = context.get_mut(line..line + 16) else {
            self.board.violations.note("context access outside of the context");
            return self.regs.poke(regs::PFCM_LANCTXSTAT.at, DONE | MISS);
        };
        for (chunk, n) in bytes.chunks_exact_mut(4).zip(0..) {
            let data = regs::PFCM_LANCTXDATA.nth(n);
            if writes {
                chunk.copy_from_slice(&self.regs.peek(data).to_le_bytes());
            } else {
                self.regs.poke(data, u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
            }
        }
        if writes && enabled {
            self.board.violations.note("context of an enabled queue written");
        }
        self.regs.poke(regs::PFCM_LANCTXSTAT.at, DONE);
    }

    /// The function's number of an absolute queue number.
    fn queue_of(&self, absolute: u32) -> Option<u16> {
        let q = absolute.checked_sub(u32::from(self.first_queue))?;
        (q < u32::from(super::QUEUES)).then_some(q as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_cut_out_of_bytes_at_any_bit() {
        let mut context = [0; 32];
        context[4..12].copy_from_slice(&0xfedc_ba98_7654_3210_u64.to_le_bytes());
        assert_eq!(field(&context, 32, 57), 0xfedc_ba98_7654_3210 & ((1 << 57) - 1));
        assert_eq!(field(&context, 89, 7), 0x7f);
        context[31] = 0x80;
        assert_eq!((field(&context, 255, 1), field(&context, 248, 7)), (1, 0));
    }
}
