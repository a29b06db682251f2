//! The command queue: how commands reach the firmware, and how answers come back.
//!
//! ```text
//!   driver   entry of a slot, its last bit 1: the device's    --> 0x18: slots, go
//!   card     [a moment] output mailboxes, output bytes, then token, signature and
//!            status with that bit 0, in one word
//!            [then an event of type 0x0a, where one was wanted when it began]
//!
//!   0x00 type 7  0x04 input length  0x08 input mailbox   0x10 16 bytes of input
//!   0x20 16 bytes of output  0x30 output mailbox  0x38 output length
//!   0x3c token, signature, delivery status << 1, owner
//! ```
//!
//! Slots are independent, and answers come in the order in which they are due. A
//! command that did not arrive is completed with a delivery status and its output is
//! not written: what stood there still does.

use super::super::{FaultKind, Picos, bits};
use super::fw::{self, Answer};
use super::mailbox::{self, Delivery, INLINE};
use super::plane::{Status, be};
use super::{Mlx5, regs};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Logarithms of the number of slots, and of the bytes of each.
pub const LOG_SLOTS: u32 = 5;
pub const LOG_STRIDE: u32 = 6;
/// Bytes of an entry.
const ENTRY: usize = 1 << LOG_STRIDE;
/// Where its parts are.
const INPUT: usize = 0x10;
const OUTPUT: usize = 0x20;
const CONTROL: usize = 0x3c;
/// Bytes of an answer's status.
const STATUS: usize = 8;
/// The type of entries that come over PCI Express.
const PCI: u8 = 7;
/// Least bytes of a request and of an answer.
const LEAST: u32 = 8;

/// The event that says that commands are complete.
pub const COMPLETED: u8 = 0x0a;

const MICROSECOND: Picos = 1_000_000;
const MILLISECOND: Picos = 1000 * MICROSECOND;
const SECOND: Picos = 1000 * MILLISECOND;
/// How long a command takes, if it is not one that takes longer.
const WORK: Picos = 40 * MICROSECOND;
/// The same for each page that is given.
const WORK_PER_PAGE: Picos = MICROSECOND + MICROSECOND / 2;
/// When an answer comes that its driver does not wait for any more (fault).
const TOO_LATE: Picos = 61 * SECOND;

/// A command that was sent: its bytes, as far as it was sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Bytes that there is room for in the answer.
    pub room: usize,
}

impl Request {
    /// The command's number.
    pub fn code(&self) -> u16 {
        be::u16_at(&self.bytes, 0)
    }

    /// Its modifier.
    pub fn modifier(&self) -> u16 {
        be::u16_at(&self.bytes, 6)
    }

    /// A 32-bit field.
    pub fn u32(&self, at: usize) -> u32 {
        be::u32_at(&self.bytes, at)
    }

    /// Bits `high` to `low` of the word at `at`.
    pub fn bits(&self, at: usize, high: u32, low: u32) -> u32 {
        be::bits(&self.bytes, at, high, low)
    }

    /// The number of an object, in the lower 24 bits of the word at `at`.
    pub fn id(&self, at: usize) -> u32 {
        be::id_at(&self.bytes, at)
    }

    /// What follows from `at` on.
    pub fn rest(&self, at: usize) -> &[u8] {
        self.bytes.get(at..).unwrap_or_default()
    }
}

/// What an answer must wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The time.
    Due(Picos),
    /// Pages that were asked for, which a driver gives by another command.
    Pages,
    /// Nothing: it is never answered.
    Never,
}

/// A command on its way.
struct Job {
    slot: u16,
    at: Iova,
    entry: [u8; ENTRY],
    request: Request,
    delivery: Delivery,
    /// Blocks for its answer.
    blocks: Vec<Iova>,
    until: Until,
    /// Somebody waits for the event.
    tell: bool,
    /// Its driver has given it up (fault).
    late: bool,
    /// The driver had no pages for it.
    starved: bool,
}

/// The card's end of the queue.
#[derive(Default)]
pub struct Channel {
    jobs: Vec<Job>,
    /// Commands since power-on.
    pub commands: u32,
    /// No command is answered any more.
    pub silent: bool,
    /// The last one that was sent.
    code: Option<u16>,
    /// The one that is being answered.
    served: u16,
    /// The one that there was no time for, and that is done at its second try (fault).
    tried: Option<u16>,
}

impl Channel {
    /// Without what was under way: commands are counted from power-on, and firmware that
    /// answers none goes on so.
    pub fn afresh(&self) -> Self {
        Channel { commands: self.commands, silent: self.silent, ..Channel::default() }
    }

    /// The command that was sent last.
    pub fn code(&self) -> Option<u16> {
        self.code
    }

    /// What was waiting for pages goes on: there are some, or there will be none.
    pub fn pages_came(&mut self, now: Picos, starved: bool) {
        for job in self.jobs.iter_mut().filter(|job| job.until == Until::Pages) {
            (job.until, job.starved) = (Until::Due(now + WORK), starved);
        }
    }
}

/// Length and place of a chain of mailboxes, as they stand in an entry.
fn chain(entry: &[u8], length: usize, place: usize) -> (u32, Iova) {
    (be::u32_at(entry, length), be::u64_at(entry, place))
}

/// The signature that makes all bytes of an entry that is the device's come to 0xff.
fn signature(entry: &[u8; ENTRY]) -> u8 {
    let others = entry.iter().enumerate().filter(|(at, _)| !matches!(at, 0x3d | 0x3f));
    !others.fold(entry[0x3f] | 1, |sum, (_, byte)| sum ^ byte)
}

impl Mlx5 {
    /// The doorbell was written: commands in these slots.
    pub(super) fn ring_commands(&mut self, slots: u32) {
        // Stores to doorbells came before this one: a command may free their queues.
        self.plane.catch_up(&mut self.board);
        if !self.health.listens() || self.initializing() {
            return;
        }
        for slot in bits(slots.into()) {
            self.start_command(slot);
        }
        self.command_tick();
    }

    /// Fetches the entry of a slot. Nothing comes of it while bus mastering is off.
    fn start_command(&mut self, slot: u16) {
        let at = self.queue_address() + u64::from(slot << LOG_STRIDE);
        let mut entry = [0; ENTRY];
        if !self.board.bus.memory.read(at, &mut entry) {
            return;
        }
        if entry[0x3f] & 1 == 0 {
            self.board.violations.note("doorbell for a command that is still the driver's");
            return;
        }
        if self.channel.jobs.iter().any(|job| job.slot == slot) {
            self.board.violations.note("command in a slot whose last one was not answered");
            return;
        }
        let mut job = Job {
            slot,
            at,
            entry,
            request: Request { bytes: entry[INPUT..OUTPUT].to_vec(), room: be::u32_at(&entry, 0x38) as usize },
            delivery: Delivery::Fine,
            blocks: Vec::new(),
            until: Until::Never,
            tell: self.plane.subscribed(COMPLETED),
            late: false,
            starved: false,
        };
        match self.fetch(&mut job) {
            Ok(()) => self.channel.code = Some(job.request.code()),
            Err(delivery) => job.delivery = delivery,
        }
        job.until = self.until(&job);
        self.channel.jobs.push(job);
    }

    /// The rest of a command, and the room for its answer.
    fn fetch(&mut self, job: &mut Job) -> Result<(), Delivery> {
        let entry = &job.entry;
        let (token, memory) = (entry[CONTROL], &self.board.bus.memory);
        let ((input, from), (output, to)) = (chain(entry, 0x04, 0x08), chain(entry, 0x38, 0x30));
        if entry[0] != PCI {
            return Err(Delivery::Type);
        } else if input < LEAST {
            return Err(Delivery::InputLength);
        } else if output < LEAST {
            return Err(Delivery::OutputLength);
        }
        job.request.bytes.truncate(input as usize);
        let (carried, _) = mailbox::walk(memory, from, input as usize, token, Delivery::InputPointer)?;
        job.request.bytes.extend(carried);
        (_, job.blocks) = mailbox::walk(memory, to, output as usize, token, Delivery::OutputPointer)?;
        let little = job.request.code().swap_bytes();
        if fw::knows(little) && !fw::knows(job.request.code()) {
            self.board.violations.note("command whose bytes are in the wrong order");
        }
        Ok(())
    }

    /// When a command that is sent now is answered.
    fn until(&mut self, job: &Job) -> Until {
        let (now, code) = (self.board.now, job.request.code());
        if self.channel.silent || self.reset_hangs(code) {
            return Until::Never;
        }
        if job.delivery == Delivery::Fine && self.asks_for_pages(code) {
            return Until::Pages;
        }
        let slow = fw::takes_long(code);
        let work = match code {
            fw::INIT_HCA => self.kind.init_time,
            fw::MANAGE_PAGES => WORK + WORK_PER_PAGE * u64::from(job.request.u32(0x0c).min(1 << 20)),
            _ => WORK,
        };
        let more = match (self.board.nasty, slow) {
            _ if slow && self.faulty(FaultKind::SlowCmd) => SECOND + self.board.random.below(19 * SECOND),
            (true, true) => 50 * MILLISECOND + self.board.random.below(250 * MILLISECOND),
            (true, false) if fw::asks_statistics(code) => 5 * MILLISECOND,
            (true, false) => self.board.random.below(4 * WORK),
            (false, _) => 0,
        };
        Until::Due(now + work + more)
    }

    /// Answers the commands whose time has come, the one that was due first first.
    pub(super) fn command_tick(&mut self) {
        let now = self.board.now;
        let due = |job: &Job| match job.until {
            Until::Due(at) if at <= now => Some((at, job.slot)),
            _ => None,
        };
        while let Some((_, slot)) = self.channel.jobs.iter().filter_map(due).min()
            && let Some(n) = self.channel.jobs.iter().position(|job| job.slot == slot)
        {
            let job = self.channel.jobs.remove(n);
            self.complete(job);
        }
    }

    /// Whether this fault strikes the current command.
    fn struck(&self, kind: FaultKind) -> bool {
        let Channel { commands, served, .. } = self.channel;
        self.board.fault.is_some_and(|fault| fault.strikes_command(kind, commands, served.into()))
    }

    fn complete(&mut self, mut job: Job) {
        if job.delivery != Delivery::Fine {
            return self.finish(&job, None);
        }
        if !job.late {
            self.channel.commands += 1;
            self.channel.served = job.request.code();
            if self.struck_down() {
                return;
            }
            if self.struck(FaultKind::Late) {
                (job.late, job.until) = (true, Until::Due(self.board.now + TOO_LATE));
                self.channel.jobs.push(job);
                return;
            }
        }
        let answer = if let Some(status) = self.refusal(job.request.code()) {
            Err(status)
        } else if job.starved {
            Err(Status::NO_RESOURCES)
        } else {
            fw::run(self, &job.request)
        };
        let lost = self.struck(FaultKind::LoseEqe);
        self.finish(&job, Some(answer));
        if job.tell && !lost {
            let mut data = [0; 28];
            data[..4].copy_from_slice(&(1_u32 << job.slot).to_be_bytes());
            self.plane.event(&mut self.board, COMPLETED, 0, data);
        }
    }

    /// Why a command is refused that is in order, if it is (fault).
    fn refusal(&mut self, code: u16) -> Option<Status> {
        let again = self.channel.tried.take() == Some(code);
        if self.struck(FaultKind::Error) {
            Some(fw::INTERNAL)
        } else if self.struck(FaultKind::Denied) {
            Some(Status::BAD_PARAMETER)
        } else if self.struck(FaultKind::Unsupported) {
            Some(Status::BAD_OPERATION)
        } else if self.struck(FaultKind::Busy) && !again {
            self.channel.tried = Some(code);
            Some(Status::RESOURCE_BUSY)
        } else {
            None
        }
    }

    /// Faults that leave commands without an answer, from this one on.
    fn struck_down(&mut self) -> bool {
        if self.struck(FaultKind::Crash) {
            self.crash();
        } else if self.struck(FaultKind::NicDisabled) {
            self.disable_interface();
        } else if self.struck(FaultKind::Gone) && self.board.fault.is_some_and(|fault| fault.at.is_some()) {
            self.vanish();
        } else if !self.struck(FaultKind::Timeout) {
            return false;
        }
        self.channel.silent = true;
        true
    }

    /// Writes the answer, if it arrived, and gives the entry back.
    fn finish(&mut self, job: &Job, answer: Option<Answer>) {
        let memory = &self.board.bus.memory;
        let mut entry = job.entry;
        // Behind the status is then what the driver had left there.
        let hollow = self.struck(FaultKind::Hollow) && matches!(answer, Some(Ok(_)));
        if hollow {
            memory.write(job.at + OUTPUT as u64, &[0; STATUS]);
        } else if let Some(answer) = answer {
            let mut bytes = match answer {
                Ok(reply) => reply.bytes(),
                Err(Status { status, syndrome }) => {
                    let mut bytes = vec![status, 0, 0, 0];
                    bytes.extend(syndrome.to_be_bytes());
                    bytes
                }
            };
            bytes.resize(job.request.room, 0);
            let inline = bytes.len().min(INLINE);
            entry[OUTPUT..OUTPUT + inline].copy_from_slice(&bytes[..inline]);
            mailbox::write(memory, &job.blocks, bytes.get(INLINE..).unwrap_or_default(), entry[CONTROL]);
            memory.write(job.at + OUTPUT as u64, &entry[OUTPUT..OUTPUT + INLINE]);
        }
        entry[0x3f] = (job.delivery as u8) << 1;
        if self.signs() {
            entry[0x3d] = signature(&entry);
        }
        let control = [entry[CONTROL], entry[0x3d], entry[0x3e], entry[0x3f]];
        if let Some(word) = memory.word32(job.at + CONTROL as u64) {
            word.store(u32::from_ne_bytes(control), Ordering::Release);
        }
    }

    /// Where the queue is.
    fn queue_address(&self) -> Iova {
        let (high, low) = (self.registers.peek(regs::CMDQ_HIGH.at), self.registers.peek(regs::CMDQ_LOW.at));
        u64::from(high) << 32 | u64::from(low & !0xfff)
    }
}
