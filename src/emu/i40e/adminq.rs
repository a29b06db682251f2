//! The admin queues: how commands and events travel (X710 §7.10).
//!
//! ```text
//!   ATQ  driver --descriptor, ATQT--> firmware --write-back--> descriptor, ATQH
//!   ARQ  driver --empty buffer, ARQT--> firmware --event--> descriptor, ARQH, ICR0.ADMINQ
//!
//!   descriptor, 32 bytes:
//!   | flags | opcode | length | result | cookie, 8 bytes | parameters, 16 bytes |
//!                                        of which, with a buffer, its address: 8
//! ```
//!
//! A command is answered buffer first, then descriptor, then head: some drivers
//! look at the one, some at the other. What the commands mean is in `firmware`.

use super::super::FaultKind;
use super::regs::{
    PF_ARQBAH, PF_ARQBAL, PF_ARQH, PF_ARQLEN, PF_ARQT, PF_ATQBAH, PF_ATQBAL, PF_ATQH, PF_ATQLEN, PF_ATQT,
};
use super::{I40e, Row};
use crate::dma::Iova;
use crate::emu::Picos;
use std::sync::atomic::Ordering;

/// Result codes.
pub const ECODE_EPERM: u16 = 1;
/// See ECODE_EPERM.
pub const ECODE_ENOENT: u16 = 2;
/// See ECODE_EPERM.
pub const ECODE_ESRCH: u16 = 3;
/// See ECODE_EPERM.
pub const ECODE_EIO: u16 = 5;
/// See ECODE_EPERM.
pub const ECODE_EAGAIN: u16 = 8;
/// See ECODE_EPERM.
pub const ECODE_ENOMEM: u16 = 9;
/// See ECODE_EPERM.
pub const ECODE_EBUSY: u16 = 12;
/// See ECODE_EPERM.
pub const ECODE_EEXIST: u16 = 13;
/// See ECODE_EPERM.
pub const ECODE_EINVAL: u16 = 14;
/// See ECODE_EPERM.
pub const ECODE_ENOSPC: u16 = 16;

/// Event: a receive queue overflowed.
pub const LAN_OVERFLOW: u16 = 0x1001;

/// Length registers.
const COUNT: u32 = 0x3ff;
const OVERFLOW: u32 = 1 << 29;
const CRITICAL: u32 = 1 << 30;
const ENABLE: u32 = 1 << 31;

/// Descriptor flags.
const DD: u16 = 1;
const CMP: u16 = 2;
const ERR: u16 = 4;
const LB: u16 = 0x200;
const RD: u16 = 0x400;
const BUF: u16 = 0x1000;

/// ICR0.ADMINQ.
const ADMINQ: u32 = 1 << 30;

/// Bytes above which a buffer is a large one.
const LARGE: usize = 512;
/// Largest buffer.
const BUFFER_MAX: usize = 4096;

/// What a driver asks firmware to do.
pub struct Command {
    /// What.
    pub opcode: u16,
    /// 16 bytes of parameters.
    pub params: [u8; 16],
    /// What the buffer holds, if it is the command's (RD).
    pub buffer: Vec<u8>,
    /// Bytes that an answer may have; 0 if there is no buffer.
    pub room: usize,
}

/// An answer.
pub struct Reply {
    /// 0, or why it was refused.
    pub result: u16,
    /// Parameters, as a rule those of the command with some of them filled in.
    pub params: [u8; 16],
    /// What goes into the buffer.
    pub data: Option<Vec<u8>>,
    /// Length to report, if not that of the data.
    pub length: Option<u16>,
}

impl Command {
    /// A 16-bit parameter.
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.params[at], self.params[at + 1]])
    }

    /// A 32-bit parameter.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }
}

impl Reply {
    /// Sets a 16-bit parameter.
    pub fn set16(&mut self, at: usize, value: u16) {
        self.params[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets a 32-bit parameter.
    pub fn set32(&mut self, at: usize, value: u32) {
        self.params[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

impl I40e {
    /// ATQBAL was written.
    pub(super) fn commands_placed(&mut self) {
        self.placed(&PF_ATQBAL);
    }

    /// ARQBAL was written.
    pub(super) fn events_placed(&mut self) {
        self.placed(&PF_ARQBAL);
    }

    fn placed(&mut self, base: &Row<Self>) {
        if !self.regs.peek(base.at).is_multiple_of(64) {
            self.board.violations.note("admin queue that is not aligned to 64 bytes");
        }
    }

    /// ATQT was written.
    pub(super) fn commands_given(&mut self) {
        if self.board.now < self.firmware.awake {
            return;
        }
        let late = if self.board.nasty { self.board.random.below(3_000_000_000) } else { 0 };
        self.firmware.due = Some(self.board.now + late);
        self.serve_commands();
    }

    /// ARQT was written.
    pub(super) fn buffers_given(&mut self) {
        let length = self.regs.peek(PF_ARQLEN.at);
        if length & ENABLE != 0 && self.regs.peek(PF_ARQT.at) >= length & COUNT {
            self.board.violations.note("ARQT is outside the ring");
            self.regs.poke(PF_ARQT.at, 0);
        }
    }

    /// Answers the commands that were given, if it is time to.
    pub(super) fn serve_commands(&mut self) {
        if self.firmware.due.is_none_or(|due| self.board.now < due) {
            return;
        }
        self.firmware.due = None;
        loop {
            let length = self.regs.peek(PF_ATQLEN.at);
            let (head, tail) = (self.regs.peek(PF_ATQH.at), self.regs.peek(PF_ATQT.at));
            if head == tail || self.firmware.dead {
                return;
            }
            let count = length & COUNT;
            if length & ENABLE == 0 {
                return self.board.violations.note("command given to a disabled admin queue");
            }
            if tail >= count || head >= count {
                self.board.violations.note("ATQH or ATQT is outside the ring");
                return self.regs.poke(PF_ATQT.at, head);
            }
            let at = self.ring(&PF_ATQBAL, &PF_ATQBAH).wrapping_add(32 * Iova::from(head));
            if !self.serve(at) {
                return;
            }
            self.regs.poke(PF_ATQH.at, (head + 1) % count);
        }
    }

    fn ring(&self, low: &Row<Self>, high: &Row<Self>) -> Iova {
        Iova::from(self.regs.peek(low.at)) | Iova::from(self.regs.peek(high.at)) << 32
    }

    /// Answers the command in the descriptor at `at`; false if firmware died of it.
    fn serve(&mut self, at: Iova) -> bool {
        let mut bytes = [0; 32];
        if !self.board.bus.memory.read(at, &mut bytes) {
            return false;
        }
        let word = |n: usize| u16::from_le_bytes([bytes[2 * n], bytes[2 * n + 1]]);
        let (flags, opcode, room) = (word(0), word(1), usize::from(word(2)));
        if flags & (DD | CMP | ERR) != 0 {
            self.board.violations.note("command descriptor that says it is done");
        }
        if flags & BUF != 0 && room > LARGE && flags & LB == 0 {
            self.board.violations.note("command buffer of more than 512 bytes without LB");
        }
        if room > BUFFER_MAX || flags & BUF == 0 && room != 0 {
            self.board.violations.note("command with a length that makes no sense");
        }
        let room = if flags & BUF != 0 { room.min(BUFFER_MAX) } else { 0 };
        let mut params = [0; 16];
        params.copy_from_slice(&bytes[16..]);
        let high = Iova::from(u32::from_le_bytes([params[8], params[9], params[10], params[11]]));
        let low = Iova::from(u32::from_le_bytes([params[12], params[13], params[14], params[15]]));
        let address = high << 32 | low;
        let mut buffer = Vec::new();
        if flags & RD != 0 && !self.board.bus.memory.append(address, room, &mut buffer) {
            return false;
        }

        self.firmware.served = self.firmware.served.wrapping_add(1);
        let fault = |kind| self.firmware.struck(kind, opcode);
        let [timeout, crash] = [FaultKind::Timeout, FaultKind::Crash].map(fault);
        let [short, wrong] = [FaultKind::Short, FaultKind::Opcode].map(fault);
        if timeout || crash {
            self.firmware.dead = true;
            let critical = if crash { CRITICAL } else { 0 };
            self.regs.poke(PF_ATQLEN.at, self.regs.peek(PF_ATQLEN.at) | critical);
            return false;
        }
        let reply = self.execute(Command { opcode, params, buffer, room });
        let Reply { result, mut params, data, length } = reply;
        let told = length.or(data.as_ref().map(|data| data.len() as u16));
        let mut length = told.unwrap_or(word(2));
        if let Some(data) = &data {
            let whole = data.len().min(room);
            let part = if short { whole / 2 } else { whole };
            length = if short { part as u16 } else { length };
            self.board.bus.memory.write(address, &data[..part]);
        } else if short {
            params[..8].fill(0);
        }
        let done = DD | CMP | if result == 0 { 0 } else { ERR };
        let opcode = if wrong { opcode ^ 0x0101 } else { opcode };
        let cookie = bytes[8..16].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.write_back(at, [flags | done, opcode, length, result], cookie, params);
        true
    }

    /// Writes a descriptor; its flags become visible last.
    fn write_back(&mut self, at: Iova, head: [u16; 4], cookie: u64, params: [u8; 16]) {
        self.board.bus.memory.hasten();
        let (first, second) =
            (self.board.bus.memory.descriptor(at), self.board.bus.memory.descriptor(at.wrapping_add(16)));
        if let (Some(first), Some(second)) = (first, second) {
            let params = u128::from_le_bytes(params);
            second[0].store(params as u64, Ordering::Relaxed);
            second[1].store((params >> 64) as u64, Ordering::Relaxed);
            first[1].store(cookie, Ordering::Relaxed);
            let word = head.iter().rev().fold(0, |word, half| word << 16 | u64::from(*half));
            first[0].store(word, Ordering::Release);
        }
    }

    /// Sends an event; false if the driver has no buffer for it, and it is lost.
    pub(super) fn post_event(&mut self, opcode: u16, params: [u8; 16]) -> bool {
        let length = self.regs.peek(PF_ARQLEN.at);
        let count = length & COUNT;
        let (head, tail) = (self.regs.peek(PF_ARQH.at), self.regs.peek(PF_ARQT.at));
        if length & ENABLE == 0 || self.firmware.dead {
            return false;
        }
        if head == tail || head >= count {
            self.regs.poke(PF_ARQLEN.at, length | OVERFLOW);
            return false;
        }
        let at = self.ring(&PF_ARQBAL, &PF_ARQBAH).wrapping_add(32 * Iova::from(head));
        let mut posted = [0; 2];
        if !self.board.bus.memory.read(at, &mut posted) {
            return false;
        }
        if u16::from_le_bytes(posted) & BUF == 0 {
            self.board.violations.note("event descriptor without a buffer");
        }
        self.write_back(at, [DD | CMP, opcode, 0, 0], 0, params);
        self.regs.poke(PF_ARQH.at, (head + 1) % count);
        self.cause(ADMINQ);
        true
    }

    /// A flood of events: as many as there are buffers, again and again.
    pub(super) fn flood(&mut self) {
        let floods = self.firmware.fault.is_some_and(|fault| fault.kind == FaultKind::Flood);
        if floods && self.board.now >= self.firmware.flood_at {
            self.firmware.flood_at = self.board.now + 20_000_000;
            while self.post_event(LAN_OVERFLOW, [0; 16]) {}
        }
    }

    /// The queues as after a reset of the function; firmware goes on, or starts
    /// anew if it had stopped.
    pub(super) fn reset_admin(&mut self) {
        const SLOW: Picos = 800_000_000_000;
        self.firmware.awake = if self.firmware.has(FaultKind::SlowStart) { self.board.now + SLOW } else { 0 };
        self.firmware.dead = false;
        self.firmware.due = None;
    }
}
