//! The queue of commands: entries in memory that the card's firmware takes, with the
//! rest of what they say and of what it answers in chains of mailboxes.
//!
//! ```text
//!   entry, 64 bytes    [ 7 | length | -> mailbox | first 16 bytes in
//!                        first 16 bytes out | -> mailbox | length | token signature status own ]
//!
//!   mailbox, 4 KiB     [ 512 bytes | -> next | number | token signatures ] --> the next
//! ```
//!
//! An entry whose last bit is set is the firmware's. It answers in place and gives the
//! entry back; whether a command was delivered is said apart from what became of it,
//! and of one that was not the answer is whatever was there before: so that is cleared
//! first. Two entries are used: one for commands, the last one for pages, which the
//! firmware may want before it answers a command.
//!
//! A command that is not answered in its time stays the firmware's: its entry is not
//! used again, nothing more is asked, and only a reset of the function helps.

mod noted;

use super::cmd::{header, outcome};
use super::codes::{self, Refusal};
use super::health::{self, Dead};
use super::regs::{self, Segment, cmdq};
use crate::dma::{Region, barrier};
use crate::driver::mailbox::{Command, Reply, Request};
use crate::driver::wait;
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::Function;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bytes of a mailbox, of which the card reads and writes the first 576.
const MAILBOX: usize = 4096;

/// Bytes of a request or an answer in a mailbox.
const DATA: usize = 512;

/// Bytes of a request or an answer in the entry itself.
const INLINE: usize = 16;

/// What the first mailbox of an answer begins with until that is written: no answer
/// begins so.
const UNWRITTEN: [u8; 8] = [0xff; 8];

/// Words of an entry.
const WORDS: usize = 16;

/// Mailboxes of a request, and of an answer.
const BOXES: usize = 16;

/// Mailboxes of a request that gives pages: as many as fit are given at once.
const PAGE_BOXES: usize = 256;

/// Addresses of pages that one request has room for.
pub const PAGES_GIVEN: usize = PAGE_BOXES * DATA / 8;

/// Addresses that one answer has room for.
pub const PAGES_TAKEN: usize = BOXES * DATA / 8;

/// How long a command may take, if the card does not say.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take whatever the card says.
const MOST_PATIENCE: Duration = Duration::from_secs(600);

/// How long it may take when the card is closed, as a reset comes next.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Which entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The one for commands.
    Commands,
    /// The one for pages.
    Pages,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The firmware said no.
    Refused(Refusal),
    /// It said nothing, or does not answer any more.
    Broken(Error),
}

/// What becomes of a command.
pub type Outcome = std::result::Result<Reply, Failure>;

/// A command that the firmware has.
#[derive(Debug)]
pub struct Posted {
    slot: Slot,
    command: Command,
    /// Bytes of its answer that a trace shows.
    shown: usize,
    begun: Instant,
    /// What was waited so far, by the card's time.
    passed: Duration,
    polls: u32,
    /// Its time is over; it is looked at once more.
    late: bool,
    /// How far the firmware had counted.
    count: u32,
}

/// Memory of an entry's mailboxes.
struct Boxes {
    input: Region,
    output: Region,
}

/// The way to a card's firmware.
pub struct CommandQueue {
    device: String,
    /// Weak, as an interrupt of a queue must not keep a card open.
    function: Weak<dyn Function>,
    segment: Segment,
    entries: Region,
    commands: Boxes,
    pages: Boxes,
    /// log2 of the entries, and of the bytes from one to the next.
    shape: (u32, u32),
    token: u8,
    patience: Duration,
    /// The card is about to be reset.
    hurried: bool,
    /// Where the card says that commands are, once it was told.
    told: Option<u32>,
    /// What ended the conversation.
    ended: Option<(Kind, String, Option<Remedy>)>,
}

impl CommandQueue {
    /// In memory of its own. The card is not told of it yet.
    pub fn new(function: &Arc<dyn Function>, segment: Segment) -> Result<CommandQueue> {
        let pages = 1 + 3 * BOXES + PAGE_BOXES;
        let arena = function.arena(pages * MAILBOX)?;
        function.map(&arena)?;
        let mut at = 0;
        let mut take = |pages: usize| {
            at += pages * MAILBOX;
            Region::new(&arena, at - pages * MAILBOX, pages * MAILBOX)
        };
        Ok(CommandQueue {
            device: function.name().to_owned(),
            function: Arc::downgrade(function),
            segment,
            entries: take(1),
            commands: Boxes { input: take(BOXES), output: take(BOXES) },
            pages: Boxes { input: take(PAGE_BOXES), output: take(BOXES) },
            shape: (0, 0),
            token: 0,
            patience: PATIENCE,
            hurried: false,
            told: None,
            ended: None,
        })
    }

    /// Tells the card where it is, as it says how long it has to be.
    pub fn connect(&mut self) -> Result<()> {
        let shape = self.segment.read(regs::CMDQ_ADDR_LOW);
        let (log_size, log_stride) = ((shape & cmdq::LOG_SIZE) >> 4, shape & cmdq::LOG_STRIDE);
        if !(1..=5).contains(&log_size) || log_stride < 6 || log_size + log_stride > 12 {
            let text = format!(
                "{}: it wants a command queue of 2^{log_size} entries of 2^{log_stride} bytes, which no card of this family has",
                self.device
            );
            return Err(Error::new(Kind::Unsupported, text));
        }
        self.shape = (log_size, log_stride);
        self.patience = patience(self.segment.read(regs::CMD_EXEC_TO));
        let address = self.entries.iova();
        self.segment.write(regs::CMDQ_ADDR_HIGH, (address >> 32) as u32);
        self.segment.write(regs::CMDQ_ADDR_LOW, address as u32);
        // A card that did not say it again could not be seen to forget it.
        let said = self.segment.read(regs::CMDQ_ADDR_LOW) & cmdq::ADDRESS;
        self.told = Some(said).filter(|said| *said == address as u32);
        Ok(())
    }

    /// What the sensors of the card say.
    pub fn sense(&self) -> Option<Dead> {
        health::sense(&self.segment, self.told)
    }

    /// The card is about to be reset: nothing is waited for as long as before.
    pub fn hurry(&mut self) {
        self.patience = self.patience.min(LAST_PATIENCE);
        self.hurried = true;
    }

    /// Whether it is.
    pub fn hurried(&self) -> bool {
        self.hurried
    }

    /// Fails if the firmware is not to be asked any more.
    pub fn check(&self) -> Result<()> {
        let Some((kind, text, remedy)) = &self.ended else { return Ok(()) };
        let error = Error::new(*kind, text.clone());
        Err(match remedy {
            Some(remedy) => error.with_remedy(remedy.clone()),
            None => error,
        })
    }

    /// Ends the conversation.
    pub fn end(&mut self, error: &Error) {
        self.ended.get_or_insert_with(|| (error.kind(), error.to_string(), error.remedy().cloned()));
    }

    /// Begins it anew, with a function that was reset.
    pub fn begin(&mut self) {
        (self.ended, self.told) = (None, None);
        for word in self.entries.words32() {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Lets time pass for the card.
    pub fn pause(&self, time: Duration) {
        if let Some(function) = self.function.upgrade() {
            function.wait(time);
        }
    }

    fn boxes(&self, slot: Slot) -> &Boxes {
        match slot {
            Slot::Commands => &self.commands,
            Slot::Pages => &self.pages,
        }
    }

    fn number(&self, slot: Slot) -> usize {
        match slot {
            Slot::Commands => 0,
            Slot::Pages => (1 << self.shape.0) - 1,
        }
    }

    /// Memory of an entry.
    fn entry(&self, slot: Slot) -> Region {
        self.entries.part(self.number(slot) << self.shape.1, WORDS * 4)
    }

    /// Gives a command to the firmware, in an entry that is free.
    pub fn post(&mut self, slot: Slot, request: &Request) -> Result<Posted> {
        self.check()?;
        let command = request.command();
        let mut body = request.body().to_vec();
        header::OPCODE.write(&mut body, u64::from(command.code));
        let boxes = self.boxes(slot);
        if body.len() > INLINE + boxes.input.len() / MAILBOX * DATA || command.output > INLINE + BOXES * DATA {
            let text = format!("{}: {} is too long for the command queue", self.device, command.name);
            return Err(Error::new(Kind::Usage, text));
        }
        // Zero says that there is none.
        self.token = self.token.wrapping_add(1).max(1);
        let (inline, rest) = body.split_at(INLINE);
        let mut answer = vec![0; command.output.saturating_sub(INLINE)];
        if let Some(mark) = answer.first_chunk_mut() {
            *mark = UNWRITTEN;
        }
        let input = fill(&self.boxes(slot).input, rest, self.token);
        let output = fill(&self.boxes(slot).output, &answer, self.token);
        let mut words = [0u32; WORDS];
        words[0] = 7 << 24;
        words[1] = body.len() as u32;
        (words[2], words[3]) = ((input >> 32) as u32, input as u32);
        for (word, bytes) in words[4..8].iter_mut().zip(inline.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        (words[12], words[13]) = ((output >> 32) as u32, output as u32);
        words[14] = command.output as u32;
        words[15] = u32::from(self.token) << 24 | OWNED;
        let sum = words.iter().fold(0, |sum, word| sum ^ word).to_be_bytes();
        words[15] |= u32::from(!sum.iter().fold(0, |sum, byte| sum ^ byte)) << 16;
        let entry = self.entry(slot);
        let (own, others) = entry.words32().split_last().expect("an entry has words");
        for (place, word) in others.iter().zip(words) {
            place.store(word.to_be(), Ordering::Relaxed);
        }
        own.store(words[15].to_be(), Ordering::Release);
        let count = health::count(&self.segment);
        self.note_command(slot, command, body.len());
        barrier::io_wmb();
        self.segment.write(regs::CMDQ_DOORBELL, 1 << self.number(slot));
        Ok(Posted {
            slot,
            command,
            shown: request.shown(),
            begun: Instant::now(),
            passed: Duration::ZERO,
            polls: 0,
            late: false,
            count,
        })
    }

    /// What has become of a command, if the firmware has given its entry back.
    pub fn poll(&self, posted: &Posted) -> Option<Outcome> {
        let entry = self.entry(posted.slot);
        let last = u32::from_be(entry.words32()[WORDS - 1].load(Ordering::Acquire));
        if last & OWNED != 0 {
            return None;
        }
        let command = posted.command;
        let delivery = (last >> 1 & 0x7f) as u8;
        self.note_answer(posted, delivery);
        if delivery != 0 {
            let text = format!(
                "{}: the command {} ({:#x}) was not delivered: {} (delivery status {delivery:#x})",
                self.device,
                command.name,
                command.code,
                codes::delivery(delivery)
            );
            return Some(Err(Failure::Broken(Error::new(Kind::Device, text))));
        }
        let inline = &entry.bytes()[0x20..0x20 + INLINE];
        let boxes = self.boxes(posted.slot).output.bytes().chunks(MAILBOX);
        let bytes = inline.iter().chain(boxes.flat_map(|mailbox| &mailbox[..DATA]));
        let body: Vec<u8> = bytes.map(|byte| byte.load(Ordering::Relaxed)).take(command.output).collect();
        let said = |bits: crate::driver::mailbox::Bits| bits.read(&body).unwrap_or(0);
        let refusal = Refusal { status: said(outcome::STATUS) as u8, syndrome: said(outcome::SYNDROME) as u32 };
        Some(match refusal.status {
            0 => Ok(Reply::new(command, body)),
            _ => Err(Failure::Refused(refusal)),
        })
    }

    /// Waits a little for a command; fails if it has had its time, or the card is dead.
    pub fn breathe(&self, posted: &mut Posted) -> Result<()> {
        /// Polls back to back, then with short pauses, then with longer ones.
        const EAGER: u32 = 64;
        const SOON: u32 = 1024;
        posted.polls = posted.polls.saturating_add(1);
        if posted.polls.is_multiple_of(16)
            && let Some(dead) = self.sense()
        {
            return Err(self.dead(dead));
        }
        if posted.late {
            return Err(self.timeout(posted));
        }
        posted.late = posted.begun.elapsed().max(posted.passed) >= self.patience;
        let pause = match posted.polls {
            0..EAGER => Duration::ZERO,
            EAGER..SOON => Duration::from_micros(20),
            _ => Duration::from_micros(200),
        };
        if !pause.is_zero() {
            self.pause(pause);
            posted.passed += pause;
        }
        Ok(())
    }

    /// The error for a card that is dead.
    pub fn dead(&self, dead: Dead) -> Error {
        match dead {
            Dead::Gone => wait::gone(&self.device, regs::CMDQ_ADDR_LOW.name),
            dead => Error::new(Kind::Device, format!("{}: {dead}", self.device))
                .hint("open the card again, which resets it"),
        }
    }

    /// The error for a command that was not answered.
    fn timeout(&self, posted: &Posted) -> Error {
        const COMMAND: u16 = 0x04;
        const BUS_MASTER: u32 = 1 << 2;
        let Posted { command, count, .. } = posted;
        let enabled = self.function.upgrade().and_then(|function| function.config_read(COMMAND, 2).ok());
        let why = if enabled.is_some_and(|bits| bits & BUS_MASTER == 0) {
            "bus mastering is off, so it could not read it"
        } else if health::count(&self.segment) == *count {
            "its health counter stands still"
        } else {
            "its health counter goes on"
        };
        let text = format!(
            "{}: its firmware did not answer {} ({:#x}) in {} s ({why})",
            self.device,
            command.name,
            command.code,
            self.patience.as_secs()
        );
        Error::new(Kind::Timeout, text).with_remedy(Remedy::Reset)
    }
}

/// Whether an answer has a part in mailboxes, and that was left as it was.
pub fn unsaid(reply: &Reply) -> bool {
    reply.body().get(INLINE..).is_some_and(|rest| rest.starts_with(&UNWRITTEN))
}

/// In the last word of an entry: it is the card's.
const OWNED: u32 = 1;

/// How long a command may take, as the card says in units of milliseconds, seconds,
/// minutes or hours.
fn patience(told: u32) -> Duration {
    let unit = [1, 1000, 60_000, 3_600_000][(told >> 29 & 3) as usize];
    let told = Duration::from_millis(u64::from(told & 0xf_ffff) * unit);
    told.clamp(PATIENCE, MOST_PATIENCE)
}

/// Writes `data` to mailboxes, each with its number and a pointer to the next; the
/// address of the first, or 0 if none is needed.
fn fill(memory: &Region, data: &[u8], token: u8) -> u64 {
    const RESERVED: usize = 0x200;
    const NEXT: usize = 0x230;
    const NUMBER: usize = 0x238;
    const TOKEN: usize = 0x23d;
    const CONTROL_SIGNATURE: usize = 0x23e;
    const SIGNATURE: usize = 0x23f;
    let last = data.len().div_ceil(DATA);
    for (n, part) in data.chunks(DATA).enumerate() {
        let mailbox = memory.part(n * MAILBOX, MAILBOX);
        let mut bytes = [0; SIGNATURE + 1];
        bytes[..part.len()].copy_from_slice(part);
        let next = if n + 1 < last { memory.part((n + 1) * MAILBOX, MAILBOX).iova() } else { 0 };
        bytes[NEXT..NUMBER].copy_from_slice(&next.to_be_bytes());
        bytes[NUMBER..NUMBER + 4].copy_from_slice(&(n as u32).to_be_bytes());
        bytes[TOKEN] = token;
        let sum = |bytes: &[u8]| !bytes.iter().fold(0, |sum, byte| sum ^ byte);
        bytes[CONTROL_SIGNATURE] = sum(&bytes[RESERVED..CONTROL_SIGNATURE]);
        bytes[SIGNATURE] = sum(&bytes[..SIGNATURE]);
        for (place, word) in mailbox.words64().iter().zip(bytes.as_chunks::<8>().0) {
            place.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
    }
    if last == 0 { 0 } else { memory.iova() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Arena};

    #[test]
    fn a_card_may_ask_for_more_patience_but_not_for_less_nor_without_end() {
        let seconds = |told| patience(told).as_secs();
        assert_eq!(seconds(0), 60);
        assert_eq!(seconds(5000), 60, "5 s");
        assert_eq!(seconds(1 << 29 | 90), 90);
        assert_eq!(seconds(2 << 29 | 2), 120);
        assert_eq!(seconds(3 << 29 | 0xf_ffff), 600);
    }

    #[test]
    fn mailboxes_are_chained_and_numbered_and_signed() {
        let arena = Arena::new(4 * MAILBOX, Addressing::Translated).unwrap();
        let memory = Region::new(&arena, 0, 4 * MAILBOX);
        let data: Vec<u8> = (0..1100).map(|n| n as u8).collect();
        assert_eq!(fill(&memory, &data, 9), memory.iova());
        for n in 0..3 {
            let bytes: Vec<u8> =
                memory.part(n * MAILBOX, 0x240).bytes().iter().map(|b| b.load(Ordering::Relaxed)).collect();
            let next = u64::from_be_bytes(bytes[0x230..0x238].try_into().unwrap());
            assert_eq!(next, if n < 2 { memory.iova() + (n as u64 + 1) * 4096 } else { 0 });
            assert_eq!(bytes[0x238..0x23e], [0, 0, 0, n as u8, 0, 9]);
            let sum = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum ^ byte);
            assert_eq!((sum(&bytes[0x200..0x23f]), sum(&bytes)), (0xff, 0xff));
        }
        let tail = memory.part(2 * MAILBOX, DATA);
        assert_eq!(tail.bytes()[75].load(Ordering::Relaxed), (1099 % 256) as u8);
        assert_eq!(tail.bytes()[76].load(Ordering::Relaxed), 0);
        assert_eq!(fill(&memory, &[], 9), 0);
    }
}
