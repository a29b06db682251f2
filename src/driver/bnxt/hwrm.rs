//! HWRM: questions to the card's firmware, and its answers.
//!
//! ```text
//!   request    [ code | ffff | sequence | ffff | address of the answer ] fields
//!   answer     [ error | code | sequence | length ] fields ... [ valid ]
//! ```
//!
//! A request is stored into a window of registers, or, where it is too long or the
//! firmware wants it so, into memory, and where that is into the window; a store to
//! a second register has it read. The firmware writes an answer to memory, its
//! length first or last, and a last byte, valid, after all others. One question at
//! a time.
//!
//! A question that was given up may be answered later: so each has a number, and
//! the next one has another place for its answer. After one that was given up
//! nothing more is asked, but who the firmware is and to forget everything.
//!
//! Nothing in an answer is believed: number, code, length and valid are checked
//! before a field of it is looked at.

use super::Generation;
use super::cmd::{func_backing_store_cfg, func_reset, ver_get};
use super::codes::{refusal, version};
use super::health::{explain, has_failed};
use super::regs::{self, STATUS_PLACE, STATUS_SIGNATURE, STATUS_WINDOW};
use crate::dma::Region;
use crate::driver::mailbox::{Command, Failure, Reply, Request};
use crate::driver::wait;
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::{Bar, Function};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bytes for requests and answers.
pub const BUFFER: usize = LONGEST * (1 + ANSWERS);

/// Longest request, and longest answer.
const LONGEST: usize = 4096;

/// Places for answers.
const ANSWERS: usize = 3;

/// Bytes of the header of a request.
const HEADER: usize = 16;

/// Marks a request that lies in memory.
const SHORT: u64 = 0x4321;

/// How long the firmware may take if it does not say, and the least that it is given.
const PATIENCE: Duration = Duration::from_millis(500);

/// Most that it is given, whatever it says.
const MOST_PATIENCE: Duration = Duration::from_secs(40);

/// Pause before the same question is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Times that a busy firmware is asked again, and with memory that is not ready.
const RETRIES: (u32, u32) = (10, 120);

/// How requests are given to a firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Longest request in the window of registers.
    pub window: usize,
    /// Longest in memory; 0 if none may be there.
    pub longest: usize,
    /// All are in memory.
    pub memory: bool,
    /// How long it may take.
    pub patience: Duration,
    /// Memory of the chip was not ready.
    pub slow_start: bool,
}

impl Manner {
    /// Of a firmware that has not been asked yet.
    pub const FIRST: Manner = Manner { window: 128, longest: 0, memory: false, patience: PATIENCE, slow_start: false };

    /// As the firmware wants it.
    pub fn of(reply: &Reply) -> Manner {
        use ver_get::output;
        let caps = reply.get(output::DEV_CAPS);
        let window = match reply.get(output::MAX_REQ_WIN_LEN) as usize {
            0 => 128,
            bytes => bytes.clamp(HEADER, 256),
        };
        let longest = match caps & (version::SHORT_SUPPORTED | version::SHORT_REQUIRED) {
            0 => 0,
            _ => (reply.get(output::MAX_EXT_REQ_LEN) as usize).clamp(128, LONGEST),
        };
        Manner {
            window,
            longest,
            memory: caps & version::SHORT_SUPPORTED != 0 && caps & version::SHORT_REQUIRED != 0,
            patience: Duration::from_millis(reply.get(output::DEF_REQ_TIMEOUT)).clamp(PATIENCE, MOST_PATIENCE),
            slow_start: reply.get(output::FLAGS) & version::MEMORY_NOT_READY != 0,
        }
    }

    /// How long it may take over `command`.
    fn patience(&self, command: &Command) -> Duration {
        let factor = match command.code {
            code if code == func_reset::COMMAND.code => 4,
            code if code == func_backing_store_cfg::COMMAND.code => 6,
            _ => 1,
        };
        (self.patience * factor).min(MOST_PATIENCE)
    }

    /// Bytes of `body` that are given to the firmware. What it does not take must
    /// not say anything.
    fn cut<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let most = self.window.max(self.longest);
        let (given, rest) = body.split_at(body.len().min(most));
        rest.iter().all(|&byte| byte == 0).then_some(given)
    }
}

/// The way to a card's firmware.
pub struct Hwrm {
    device: String,
    /// Weak, as an interrupt of a queue must not keep a card open.
    function: Weak<dyn Function>,
    bar: Bar,
    buffer: Region,
    generation: Generation,
    /// How it is spoken to.
    pub manner: Manner,
    sequence: u16,
    /// What ended the conversation.
    ended: Option<(Kind, String, Option<Remedy>)>,
}

impl Hwrm {
    /// Nothing was asked yet. `bar` was found large enough.
    pub fn new(function: &Arc<dyn Function>, bar: Bar, buffer: Region, generation: Generation) -> Self {
        assert!(buffer.len() >= BUFFER);
        Hwrm {
            device: function.name().to_owned(),
            function: Arc::downgrade(function),
            bar,
            buffer,
            generation,
            manner: Manner::FIRST,
            sequence: 0,
            ended: None,
        }
    }

    /// Fails if the card does not answer any more, or has lost what it was told.
    pub fn check(&self) -> Result<()> {
        if let Some((kind, text, remedy)) = &self.ended {
            let error = Error::new(*kind, text.clone());
            return Err(match remedy {
                Some(remedy) => error.with_remedy(remedy.clone()),
                None => error,
            });
        }
        if self.alive() { Ok(()) } else { Err(self.gone()) }
    }

    /// Ends the conversation: everything that the firmware was told is lost.
    pub fn end(&mut self, error: &Error) {
        self.ended.get_or_insert_with(|| (error.kind(), error.to_string(), error.remedy().cloned()));
    }

    /// The card has come up: what is busy from now on does not stay so for long.
    pub fn started(&mut self) {
        self.manner.slow_start = false;
    }

    /// Begins it again, with a firmware that has started anew.
    pub fn begin(&mut self) {
        self.ended = None;
        self.manner = Manner::FIRST;
    }

    /// Asks, and waits for the answer. A firmware that is busy is asked again.
    pub fn ask(&mut self, request: &Request) -> std::result::Result<Reply, Failure> {
        let first = [ver_get::COMMAND.code, func_reset::COMMAND.code].contains(&request.command().code);
        if !(first && self.alive()) {
            self.check().map_err(Failure::Broken)?;
        }
        let mut retries = if self.manner.slow_start { RETRIES.1 } else { RETRIES.0 };
        loop {
            match self.ask_once(request, self.manner.patience(&request.command())) {
                Err(Failure::Refused(refusal::BUSY | refusal::HOT_RESET_PROGRESS)) if retries > 0 => {
                    retries -= 1;
                    self.pause(PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    /// Asks once, and waits for `patience`. A question that is given up ends the
    /// conversation.
    pub fn ask_once(&mut self, request: &Request, patience: Duration) -> std::result::Result<Reply, Failure> {
        let command = request.command();
        self.sequence = self.sequence.wrapping_add(1);
        let place = LONGEST * (1 + usize::from(self.sequence) % ANSWERS);
        let answer = self.buffer.part(place, LONGEST);
        for word in answer.words64() {
            word.store(0, Ordering::Relaxed);
        }
        self.give(request, &answer).map_err(Failure::Broken)?;
        let first = match self.wait(&command, &answer, patience) {
            Ok(first) => first,
            Err(error) => {
                self.end(&error);
                return Err(Failure::Broken(error));
            }
        };
        let (code, len) = ((first & 0xffff) as u32, length(first));
        if let Some(trace) = self.bar.trace() {
            let said = if code == 0 { "done".into() } else { format!("refused with {code:#x}") };
            trace.answer(command.name, said, &[answer.part(0, len.min(request.shown()))]);
        }
        if code != 0 {
            return Err(Failure::Refused(code));
        }
        if len < command.output {
            let text = format!(
                "{}: the firmware's answer to {} has {len} bytes, {} are needed; its firmware is too old",
                self.device, command.name, command.output
            );
            return Err(Failure::Broken(Error::new(Kind::Unsupported, text)));
        }
        let bytes = answer.words64()[..len.div_ceil(8)].iter();
        // The last byte is no field.
        let body = bytes.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).take(len - 1).collect();
        Ok(Reply::new(command, body))
    }

    /// Gives a request to the firmware, which is to answer in `answer`.
    fn give(&self, request: &Request, answer: &Region) -> Result<()> {
        let command = request.command();
        let Some(body) = self.manner.cut(request.body()) else {
            let text = format!(
                "{}: the firmware takes requests of up to {} bytes, too few for {}; update the firmware",
                self.device,
                self.manner.window.max(self.manner.longest),
                command.name
            );
            return Err(Error::new(Kind::Unsupported, text));
        };
        let header = u64::from(command.code) | 0xffff << 16 | u64::from(self.sequence) << 32 | 0xffff << 48;
        let mut words: Vec<u64> = body.chunks(8).map(little).collect();
        words[0] = header;
        words[1] = answer.iova();
        let from_window = command.code == ver_get::COMMAND.code;
        let in_memory = body.len() > self.manner.window || self.manner.memory && !from_window;
        if in_memory {
            for (place, word) in self.buffer.words64().iter().zip(&words) {
                place.store(*word, Ordering::Relaxed);
            }
            let short = u64::from(command.code) | SHORT << 16 | 0xffff << 32 | (body.len() as u64) << 48;
            words = vec![short, self.buffer.iova()];
        } else {
            // What an earlier request has left there says nothing.
            words.resize(self.manner.window.div_ceil(8).max(words.len()), 0);
        }
        if let Some(trace) = self.bar.trace() {
            let memory = if in_memory { &[self.buffer.part(0, body.len())][..] } else { &[] };
            trace.command(command.code.into(), command.name, memory);
        }
        for (offset, word) in (u64::from(regs::HWRM_REQUEST.offset)..).step_by(8).zip(&words) {
            self.bar.write32(offset, *word as u32);
            self.bar.write32(offset + 4, (*word >> 32) as u32);
        }
        crate::dma::barrier::io_wmb();
        self.bar.write32(u64::from(regs::HWRM_TRIGGER.offset), 1);
        Ok(())
    }

    /// Waits until a whole answer to the last question is there; its first word, as it
    /// was when it was found right. A
    /// look at the card now and then tells whether there is still one.
    fn wait(&self, command: &Command, answer: &Region, patience: Duration) -> Result<u64> {
        /// Polls back to back, and the pause between later ones.
        const EAGER: u32 = 64;
        /// Polls between two looks at what the firmware does.
        const LOOK: u32 = 256;
        const BREATH: Duration = Duration::from_micros(20);
        let (polls, absent, checked) = (Cell::new(0u32), Cell::new(None), Cell::new(0));
        let ours = u64::from(command.code) | u64::from(self.sequence) << 16;
        let whole = |first: u64| {
            let (words, len) = (answer.bytes(), length(first));
            // An answer to an earlier question is not looked at, wherever it lands.
            first >> 16 & 0xffff_ffff == ours
                && (HEADER..=LONGEST).contains(&len)
                && words[len - 1].load(Ordering::Acquire) == 1
        };
        let read = || {
            let poll = polls.get();
            polls.set(poll.saturating_add(1));
            let first = answer.words64()[0].load(Ordering::Acquire);
            if whole(first) {
                checked.set(first);
                return WHOLE;
            }
            if poll % 16 == 15 {
                let since = if self.alive() { None } else { absent.get().or_else(|| Some(Instant::now())) };
                absent.set(since);
                if since.is_some_and(|since| since.elapsed() > ABSENCE) {
                    return GONE;
                }
            }
            if poll % LOOK == LOOK - 1 && self.state().is_some_and(has_failed) {
                return FAILED;
            }
            if poll > EAGER {
                self.pause(BREATH);
            }
            0
        };
        let what = format!("the firmware command {} ({:#x})", command.name, command.code);
        let begun = Instant::now();
        let waited = wait::wait_until(&self.device, &what, "its answer", patience, read, |answered| answered != 0);
        match waited {
            // What stands there now may be another's.
            Ok(WHOLE) => Ok(checked.get()),
            Ok(GONE) => Err(self.gone()),
            Err(error) if error.kind() != Kind::Timeout => Err(error),
            _ => {
                let state = match self.state() {
                    Some(state) => format!(" ({})", explain(state)),
                    None => String::new(),
                };
                let text = format!(
                    "{}: its firmware did not answer {} ({:#x}) in {} ms{state}",
                    self.device,
                    command.name,
                    command.code,
                    begun.elapsed().as_millis()
                );
                Err(Error::new(Kind::Timeout, text).with_remedy(Remedy::Reset))
            }
        }
    }

    /// Whether the card is there: a register that this driver writes is not all ones.
    fn alive(&self) -> bool {
        self.bar.read32(u64::from(regs::GRC_BASE.at(STATUS_WINDOW - 1).offset)) != u32::MAX
    }

    fn gone(&self) -> Error {
        wait::gone(&self.device, regs::GRC_BASE.at(STATUS_WINDOW - 1).name)
    }

    /// What the firmware is doing, where there is a register that says so.
    ///
    /// A reset of the chip moves its windows, so that is put right each time.
    pub fn state(&self) -> Option<u32> {
        let show = |address: u32| self.show(STATUS_WINDOW, address);
        let place = show(STATUS_PLACE);
        let location = match self.bar.read32(place) {
            u32::MAX => return None,
            signature if signature & STATUS_SIGNATURE.1 == STATUS_SIGNATURE.0 => self.bar.read32(place + 4),
            _ => {
                return (self.generation == Generation::P5).then(|| self.bar.read32(u64::from(regs::FW_STATUS.offset)));
            }
        };
        self.register(location)
    }

    /// A register that the firmware has named by where it lies, if it can be read here.
    pub fn register(&self, location: u32) -> Option<u32> {
        /// Where it lies: the lowest two bits.
        const GRC: u32 = 1;
        const BAR0: u32 = 2;
        let address = location & !3;
        match location & 3 {
            GRC => Some(self.bar.read32(self.show(STATUS_WINDOW, address))),
            BAR0 if u64::from(address) + 4 <= self.bar.size() => Some(self.bar.read32(u64::from(address))),
            _ => None,
        }
    }

    /// Has window `n` show an address of the inner bus; the offset at which it does.
    pub fn show(&self, n: u16, address: u32) -> u64 {
        self.bar.write32(u64::from(regs::GRC_BASE.at(n - 1).offset), address & !0xfff);
        u64::from(n) << 12 | u64::from(address & 0xffc)
    }

    /// A register of the inner bus, in a window that was put to it.
    pub fn read(&self, offset: u64) -> u32 {
        self.bar.read32(offset)
    }

    /// Lets time pass for the card.
    pub fn pause(&self, time: Duration) {
        if let Some(function) = self.function.upgrade() {
            function.wait(time);
        }
    }

    /// What a refusal means, in a line.
    pub fn refused(&self, command: Command, code: u32) -> Error {
        use refusal::{
            ACCESS_DENIED, ALLOC_ERROR, BUSY, CMD_NOT_SUPPORTED, HOT_RESET_PROGRESS, NO_BUFFER, PF_UNAVAILABLE,
            RESOURCE_LOCKED,
        };
        let (kind, advice) = match code {
            ACCESS_DENIED => (
                Kind::Permission,
                "; this function may not do that: another host, partition or the port's owner decides",
            ),
            ALLOC_ERROR | NO_BUFFER => (
                Kind::Unsupported,
                "; it has nothing left of what is asked for: use fewer queues, or free other functions' of the card",
            ),
            CMD_NOT_SUPPORTED => (Kind::Unsupported, "; its firmware is too old: update it"),
            BUSY | HOT_RESET_PROGRESS => {
                (Kind::Device, "; it is busy or being recovered: wait some seconds and open the card again")
            }
            RESOURCE_LOCKED | PF_UNAVAILABLE => {
                (Kind::Device, "; somebody else holds what it needs: open the card again")
            }
            _ => (Kind::Device, ""),
        };
        Error::new(kind, format!("{}: {}{advice}", self.device, command.refused_with(refusal::name(code), code)))
    }
}

/// What a poll for an answer finds: all of it, or that there will be none.
const WHOLE: u32 = 1;
const FAILED: u32 = 2;
const GONE: u32 = 3;

/// How long a card may read as all ones: one that was just reset does for a moment.
const ABSENCE: Duration = Duration::from_millis(100);

/// Length of the answer that begins with `first`.
fn length(first: u64) -> usize {
    (first >> 48) as usize
}

/// Up to eight bytes as a word.
fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}
