//! MCDI: questions to the card's management controller, and its answers.
//!
//! ```text
//!   word 0    [ flags:8 | response error . not-epoch . sequence:4 | 0:8 | resync . 7f:7 ]
//!   word 1    [ 0:6 | length:10 | 0:1 | command:15 ]
//!   then      the request; the answer is written over it
//! ```
//!
//! One buffer in memory, one question at a time. The address of the buffer is
//! written to the two halves of a doorbell, upper half first; the controller
//! reads the question, writes the answer over it and sets RESPONSE in word 0
//! last. A controller that restarts in between says so by a count in a register,
//! or by an error without a body; everything that it had set up is then gone.
//!
//! Nothing in an answer is believed: header, sequence, command and length are
//! checked before a byte of it is looked at.

use super::cmd::refusal;
use super::regs::{self, sft_status};
use crate::dma::Region;
use crate::driver::mailbox::{Command, Failure, Reply, Request};
use crate::driver::wait;
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::Bar;
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes of a buffer: two words and the longest body.
pub const BUFFER: usize = 2048;

/// Bytes of the two words.
const HEADER: usize = 8;

/// Longest body.
const MAX_BODY: usize = 0x400;

/// How long the controller may take to answer. Its answers take microseconds;
/// those that move analogue parts, some ten milliseconds; behind the other
/// functions' questions, seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Times that what is to be tried again is, and how long apart.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// How long a controller that restarts may take to count that.
const RESTART: Duration = Duration::from_millis(250);

/// Bits of word 0.
const V2: u32 = 0x7f;
const RESYNC: u32 = 1 << 7;
const SEQUENCE: u32 = 16;
const NOT_EPOCH: u32 = 1 << 21;
const ERROR: u32 = 1 << 22;
const RESPONSE: u32 = 1 << 23;

/// Waits for a controller that runs, and has it forget what it was asked before. Times that
/// it has started.
fn begin(device: &str, bar: &Bar) -> Result<u32> {
    let read = || bar.read32(u64::from(regs::BIU_MC_SFT_STATUS.offset));
    let runs = |status: u32| status >> 16 == sft_status::RUNS;
    let what = "starting the card's management controller";
    // A card that was just reset answers all ones for a moment; one that is gone, always.
    let patience = if read() == u32::MAX { PATIENCE / 50 } else { PATIENCE };
    let status = wait::wait_until(device, what, regs::BIU_MC_SFT_STATUS.name, patience, read, runs)?;
    bar.write32(u64::from(regs::MC_DB_HWRD.offset), regs::MC_DB_CANCEL);
    Ok(status & 0xffff)
}

/// The way to a card's management controller.
pub struct Mcdi {
    device: String,
    bar: Bar,
    buffer: Region,
    sequence: u32,
    /// Nothing has been asked since the controller started.
    fresh: bool,
    /// Times it had started when we first saw it.
    boots: u32,
    /// What ended the conversation for good.
    ended: Option<(Kind, String, Option<Remedy>)>,
}

impl Mcdi {
    /// Begins the conversation: waits for a controller that runs, and has it
    /// forget what it was asked before.
    ///
    /// # Errors
    /// [`Kind::Gone`] if the card does not answer, [`Kind::Timeout`] if its
    /// controller does not run.
    pub fn new(device: &str, bar: Bar, buffer: Region) -> Result<Self> {
        assert!(buffer.len() >= BUFFER && buffer.iova().is_multiple_of(256));
        let boots = begin(device, &bar)?;
        Ok(Mcdi { device: device.to_owned(), bar, buffer, sequence: 0, fresh: true, boots, ended: None })
    }

    /// Begins again with a controller that has restarted, and which nothing was set up in.
    pub fn begin_anew(&mut self) -> Result<()> {
        let read = || self.bar.read32(u64::from(regs::BIU_MC_SFT_STATUS.offset));
        let restarted = |status: u32| status & 0xffff != self.boots;
        // It says so a while later, or has said so before it was asked.
        let what = "restarting the card's management controller";
        let name = regs::BIU_MC_SFT_STATUS.name;
        match wait::wait_until(&self.device, what, name, RESTART, read, restarted) {
            Err(error) if error.kind() == Kind::Gone => return Err(error),
            _ => {}
        }
        self.boots = begin(&self.device, &self.bar)?;
        (self.fresh, self.ended) = (true, None);
        Ok(())
    }

    /// Fails if the card does not answer any more, or its controller has
    /// restarted since.
    pub fn check(&mut self) -> Result<()> {
        if let Some((kind, text, remedy)) = &self.ended {
            let error = Error::new(*kind, text.clone());
            return Err(match remedy {
                Some(remedy) => error.with_remedy(remedy.clone()),
                None => error,
            });
        }
        match self.bar.read32(u64::from(regs::BIU_MC_SFT_STATUS.offset)) {
            u32::MAX => Err(wait::gone(&self.device, regs::BIU_MC_SFT_STATUS.name)),
            status if status >> 16 != sft_status::RUNS || status & 0xffff != self.boots => {
                let text = format!(
                    "{}: its management controller has restarted (BIU_MC_SFT_STATUS = {status:#010x}, was started {} times), so all queues are lost; open the card again",
                    self.device, self.boots
                );
                Err(self.end(Kind::Device, text))
            }
            _ => Ok(()),
        }
    }

    /// Asks, and waits for the answer. A controller that says so is asked again.
    pub fn ask(&mut self, request: &Request) -> std::result::Result<Reply, Failure> {
        for _ in 1..TRIES {
            match self.ask_once(request) {
                Err(Failure::Refused(refusal::EAGAIN)) => std::thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
        self.ask_once(request)
    }

    fn ask_once(&mut self, request: &Request) -> std::result::Result<Reply, Failure> {
        self.check().map_err(Failure::Broken)?;
        let (command, body) = (request.command(), request.body());
        assert!(body.len() <= MAX_BODY, "{}", command.name);
        self.sequence = (self.sequence + 1) & 0xf;
        let words = self.buffer.words32();
        // Some firmware does not write all of its answers: what it leaves out reads as
        // zero, or as the request, and never as an earlier answer.
        let mut whole = [0; MAX_BODY];
        whole[..body.len()].copy_from_slice(body);
        for (word, bytes) in words[2..].iter().zip(whole.as_chunks().0) {
            word.store(u32::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        let second = u32::from(command.code) | (body.len() as u32) << 16;
        let first = V2 | RESYNC | self.sequence << SEQUENCE | if self.fresh { 0 } else { NOT_EPOCH };
        words[1].store(second, Ordering::Relaxed);
        words[0].store(first, Ordering::Release);
        self.fresh = false;
        if let Some(trace) = self.bar.trace() {
            trace.command(command.code.into(), command.name, &[self.buffer.part(0, HEADER + body.len())]);
        }
        crate::dma::barrier::io_wmb();
        self.bar.write32(u64::from(regs::MC_DB_LWRD.offset), (self.buffer.iova() >> 32) as u32);
        self.bar.write32(u64::from(regs::MC_DB_HWRD.offset), self.buffer.iova() as u32);
        self.wait(&command).map_err(Failure::Broken)?;

        let (first, second) = (self.word(0), self.word(1));
        let same = |mask: u32| (first ^ (V2 | self.sequence << SEQUENCE)) & mask == 0;
        if !same(0x7f | 0xf << SEQUENCE) || second & 0x7fff != u32::from(command.code) {
            let text = format!(
                "{}: its management controller answers another question than {} ({:#x}, sequence {}): it says {first:#010x} {second:#010x}; open the card again",
                self.device, command.name, command.code, self.sequence
            );
            return Err(Failure::Broken(self.end(Kind::Device, text)));
        }
        let len = (second >> 16 & 0x3ff) as usize;
        if let Some(trace) = self.bar.trace() {
            let said = if first & ERROR == 0 { "done" } else { "refused" };
            trace.answer(command.name, said, &[self.buffer.part(0, HEADER + len)]);
        }
        if first & ERROR != 0 {
            if len < 4 {
                let text = format!(
                    "{}: its management controller restarted while it was asked {}, so all queues are lost; open the card again",
                    self.device, command.name
                );
                return Err(Failure::Broken(self.end(Kind::Device, text)));
            }
            return Err(Failure::Refused(self.word(2)));
        }
        if len < command.output {
            return Err(Failure::Broken(Error::new(
                Kind::Device,
                format!(
                    "{}: the firmware's answer to {} has {len} bytes, {} are needed; its firmware may be too old",
                    self.device, command.name, command.output
                ),
            )));
        }
        let body = (0..len.div_ceil(4)).flat_map(|n| self.word(2 + n).to_le_bytes()).take(len).collect();
        Ok(Reply::new(command, body))
    }

    fn word(&self, n: usize) -> u32 {
        self.buffer.words32()[n].load(Ordering::Acquire)
    }

    /// Waits for RESPONSE. A look at the controller's register now and then
    /// tells whether it is still the one that was asked.
    fn wait(&mut self, command: &Command) -> Result<()> {
        let restarted = Cell::new(false);
        let polls = Cell::new(0u32);
        let read = || {
            polls.set(polls.get() + 1);
            let header = self.word(0);
            if header & RESPONSE == 0 && polls.get().is_multiple_of(16) {
                match self.bar.read32(u64::from(regs::BIU_MC_SFT_STATUS.offset)) {
                    u32::MAX => return u32::MAX,
                    status => restarted.set(status & 0xffff != self.boots),
                }
            }
            header
        };
        let what = format!("the management command {} ({:#x})", command.name, command.code);
        let done = |header: u32| header & RESPONSE != 0 || restarted.get();
        let waited = wait::wait_until(&self.device, &what, "its header", PATIENCE, read, done);
        if let Err(error) = waited {
            // Whatever it still answers would be taken for another answer.
            self.ended = Some((error.kind(), error.to_string(), error.remedy().cloned()));
            return Err(error);
        }
        if restarted.get() {
            return self.check();
        }
        Ok(())
    }

    /// Whether it ended because the controller restarted or answered something else.
    pub fn may_begin_anew(&self) -> bool {
        matches!(self.ended, Some((Kind::Device, ..)))
    }

    /// Ends the conversation.
    fn end(&mut self, kind: Kind, text: String) -> Error {
        self.ended = Some((kind, text.clone(), None));
        Error::new(kind, text)
    }

    /// What a refusal means, in a line.
    pub fn refused(&self, command: Command, code: u32) -> Error {
        let permission = matches!(code, refusal::EPERM | refusal::EACCES | refusal::NO_PRIVILEGE);
        let (kind, advice) = match permission {
            true => (Kind::Permission, "; this function may lack the privilege or the card a licence for it"),
            false => (Kind::Device, ""),
        };
        Error::new(kind, format!("{}: {}{advice}", self.device, command.refused_with(refusal::name(code), code)))
    }
}
