//! How commands reach the management controller (MC), and replies come back.
//!
//! ```text
//!   driver: request in memory, 256-byte aligned --> MC_DB_LWRD (upper half of its
//!           address), MC_DB_HWRD (lower half: go)
//!   card:   reply over the request, its first word last, RESPONSE set in it
//!           [and a CMDDONE event if the request asked for one]
//!
//!   word 0:  code 6:0  RESYNC 7  length 15:8  SEQ 19:16  NOT_EPOCH 21
//!            ERROR 22  RESPONSE 23  EVREQ 24
//!   word 1, if the code is 0x7f (version 2):  command 14:0  length 25:16
//! ```
//!
//! One command at a time. A reply has the version of its request. An error
//! without a code means that the MC has started anew since.

use super::super::{Fault, FaultKind, Picos};
use super::mc::No;
use super::{Ef10, bytes, evq, mc, regs};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Code of a version 2 request.
const V2: u32 = 0x7f;
/// Most bytes of a version 1 and of a version 2 payload.
const V1_MAX: usize = 0xfc;
const V2_MAX: usize = 0x400;

const RESYNC: u32 = 1 << 7;
const ERROR: u32 = 1 << 22;
const RESPONSE: u32 = 1 << 23;
const EVREQ: u32 = 1 << 24;

/// How late a reply may be (nasty).
const LATE: Picos = 20_000_000;

/// The card's end of the transport.
#[derive(Default)]
pub struct Transport {
    /// Upper half of the address, if it was written.
    high: Option<u32>,
    /// A command that has not been answered, and when it will be.
    pending: Option<(Iova, Picos)>,
    /// Sequence number of the last one.
    seq: Option<u8>,
    /// Commands since power-on, and whether one was never answered (fault).
    commands: u32,
    silent: bool,
    /// The command that there was no time for, and that is done at its second try (fault).
    tried: Option<u16>,
    /// The answer is not written (fault).
    hollow: bool,
    /// The command that is being answered.
    current: Option<Request>,
    /// Events for after the reply.
    pub after: Vec<(u16, u64)>,
}

impl Transport {
    /// As after a reset: commands are counted from power-on.
    pub fn afresh(&self) -> Self {
        Transport { commands: self.commands, ..Transport::default() }
    }
}

/// A command on its way.
#[derive(Clone, Debug)]
pub struct Request {
    iova: Iova,
    header: u32,
    second: u32,
    /// The command's number.
    pub code: u16,
    /// Its input.
    pub input: Vec<u8>,
}

impl Request {
    fn version2(&self) -> bool {
        self.header & 0x7f == V2
    }

    fn seq(&self) -> u8 {
        (self.header >> 16 & 0xf) as u8
    }
}

impl Ef10 {
    /// MC_DB_LWRD: the upper half of an address, or the host's time.
    pub(super) fn mcdi_high(&mut self, value: u32) {
        if !self.synchronise(value) {
            self.mcdi.high = Some(value);
        }
    }

    /// MC_DB_HWRD: the lower half, which starts a command. A driver that does
    /// not know what was before it writes 1, which ends whatever there is.
    pub(super) fn mcdi_low(&mut self, value: u32) {
        if value == 1 {
            self.mcdi = Transport { silent: self.mcdi.silent, ..self.mcdi.afresh() };
            self.clock.abandon();
            return;
        }
        if self.mcdi.silent {
            return;
        }
        if self.mcdi.pending.is_some() || self.mcdi.current.is_some() {
            self.board.violations.note("MC_DB_HWRD written before the last command was answered");
            return;
        }
        let Some(high) = self.mcdi.high.take() else {
            self.board.violations.note("MC_DB_HWRD written before MC_DB_LWRD");
            return;
        };
        let iova = u64::from(high) << 32 | u64::from(value);
        if iova & 0xff != 0 {
            self.board.violations.note("command that is not aligned to 256 bytes");
        }
        if iova >> 48 != 0 {
            self.board.violations.note("command at an address of more than 48 bits");
        }
        let late = if self.board.nasty { self.board.random.number() % LATE } else { 0 };
        self.mcdi.pending = Some((iova, self.board.now + late));
        self.mcdi_tick();
    }

    /// The doorbell in a page that is mapped to a driver.
    pub(super) fn mcdi_mapped(&mut self) {
        let words = self.windows[0].registers.page(0);
        let word = |offset: u32| &words[(offset / 4) as usize];
        let low = word(regs::MC_DB_HWRD.at).swap(0, Ordering::AcqRel);
        if low != 0 {
            let high = word(regs::MC_DB_LWRD.at).load(Ordering::Relaxed);
            self.mcdi_high(high);
            self.mcdi_low(low);
        }
    }

    /// Answers the command whose time has come.
    pub(super) fn mcdi_tick(&mut self) {
        if self.clock.overdue(self.board.now) {
            self.clock.abandon();
            self.mcdi_answer(Err(No::Code(mc::errno::ETIME)));
        }
        let Some((iova, due)) = self.mcdi.pending else { return };
        if due > self.board.now {
            return;
        }
        self.mcdi.pending = None;
        let Some(request) = self.read_request(iova) else { return };
        let seq = request.seq();
        if self.mcdi.seq.is_some_and(|last| (last + 1) & 0xf != seq) {
            self.board.violations.note("command whose sequence number does not follow the last one's");
        }
        self.mcdi.seq = Some(seq);
        let code = request.code;
        let input = request.input.clone();
        self.mcdi.current = Some(request);
        self.mcdi.commands += 1;
        let strikes = |fault: &Fault| fault.strikes_command(fault.kind, self.mcdi.commands, code.into());
        let answer = match self.board.fault.filter(strikes) {
            Some(fault) => self.fail(fault.kind, code, &input),
            None => mc::run(self, code, &input),
        };
        match answer {
            Err(No::Later) => {}
            answer => self.mcdi_answer(answer),
        }
    }

    /// A command that meets the fault that was asked for.
    fn fail(&mut self, kind: FaultKind, code: u16, input: &[u8]) -> Result<Vec<u8>, No> {
        match kind {
            FaultKind::Timeout => {
                self.mcdi.silent = true;
                self.mcdi.current = None;
                Err(No::Later)
            }
            FaultKind::Crash => {
                self.restart_firmware();
                Err(No::Rebooted)
            }
            FaultKind::Error => Err(No::Code(mc::errno::EIO)),
            FaultKind::Denied => self.refuse(code, mc::errno::EPERM),
            FaultKind::Unsupported => self.refuse(code, mc::errno::ENOSYS),
            FaultKind::Busy if self.mcdi.tried.take() != Some(code) => {
                self.mcdi.tried = Some(code);
                Err(No::Code(mc::errno::EAGAIN))
            }
            FaultKind::Hollow => {
                self.mcdi.hollow = true;
                mc::run(self, code, input)
            }
            FaultKind::Short => mc::run(self, code, input).map(|mut output| {
                output.truncate(output.len() / 2);
                output
            }),
            FaultKind::Opcode => {
                let answer = mc::run(self, code, input);
                if let Some(request) = &mut self.mcdi.current {
                    // Bit 0 of the command, in either version.
                    if request.version2() { request.second ^= 1 } else { request.header ^= 1 }
                }
                answer
            }
            // Of single commands.
            _ => mc::run(self, code, input),
        }
    }

    /// A command that the function may not give. Who may not set the MAC finds it as it
    /// was set by who may.
    fn refuse(&mut self, code: u16, error: u32) -> Result<Vec<u8>, No> {
        const SET_MAC: u16 = 0x2c;
        if code == SET_MAC {
            self.mc.longest = super::LONGEST & !7;
        }
        Err(No::Code(error))
    }

    fn read_request(&mut self, iova: Iova) -> Option<Request> {
        let mut words = [0; 8];
        if !self.board.bus.memory.read(iova, &mut words) {
            return None;
        }
        let (header, second) = (bytes::u32_at(&words, 0), bytes::u32_at(&words, 4));
        let version2 = header & 0x7f == V2;
        let (code, len, at, most) = match version2 {
            true => ((second & 0x7fff) as u16, (second >> 16 & 0x3ff) as usize, 8, V2_MAX),
            false => ((header & 0x7f) as u16, (header >> 8 & 0xff) as usize, 4, V1_MAX),
        };
        if header & RESYNC == 0 {
            self.board.violations.note("command without RESYNC");
        }
        if header & (ERROR | RESPONSE) != 0 {
            self.board.violations.note("command with the bits of a reply");
        }
        if len > most {
            self.board.violations.note("command that is longer than its version allows");
        }
        let mut input = vec![0; len.min(most)];
        self.board.bus.memory.read(iova + at, &mut input).then_some(Request { iova, header, second, code, input })
    }

    /// Writes the reply to the current command, then what events follow it.
    pub(super) fn mcdi_answer(&mut self, answer: Result<Vec<u8>, No>) {
        let Some(request) = self.mcdi.current.take() else { return };
        let hollow = std::mem::take(&mut self.mcdi.hollow);
        let (mut output, error) = match answer {
            Ok(output) => (output, None),
            Err(No::Code(code)) => (bytes::reply(8, &[(0, code)]), Some(code)),
            Err(No::Rebooted | No::Later) => (Vec::new(), Some(0)),
        };
        let version2 = request.version2();
        output.truncate(if version2 { V2_MAX } else { V1_MAX });
        let len = output.len() as u32;
        let mut header = request.header & !0xff00 | RESPONSE;
        if error.is_some() {
            header |= ERROR;
        }
        let memory = &self.board.bus.memory;
        // What was there: the request, and behind it what an earlier answer had left.
        if hollow && error.is_none() {
            output.clear();
        }
        if version2 {
            memory.write(request.iova + 8, &output);
            if let Some(word) = memory.word32(request.iova + 4) {
                word.store(request.second & !0x03ff_0000 | len << 16, Ordering::Relaxed);
            }
        } else {
            memory.write(request.iova + 4, &output);
            header |= len << 8;
        }
        if let Some(word) = memory.word32(request.iova) {
            word.store(header, Ordering::Release);
        }
        for (evq, event) in std::mem::take(&mut self.mcdi.after) {
            self.post(evq, event);
        }
        if request.header & EVREQ != 0 {
            self.post(0, evq::command_done(request.seq(), len as usize, error.unwrap_or(0)));
        }
    }
}
