//! The admin queues: commands to the firmware and events from it (§7.10).
//!
//! ```text
//!   send queue (ATQ)    driver: descriptor, buffer, tail ->  firmware: answers in both, then head
//!   event queue (ARQ)   driver: empty buffers, tail -------> firmware: fills one, then head
//! ```
//!
//! One command is under way at a time, so the send queue has one buffer. What
//! the firmware writes is not trusted: an answer must be to the command that
//! was sent, no longer than its buffer, and at the place where it belongs.

use super::answer::UNTOUCHED;
pub use super::answer::{Answer, Buffer, Code, Event, le16, le32};
use super::hw::Hw;
use super::regs::{self, Reg, aqlen};
use crate::dma::Region;
use crate::driver::lacks::Lacks;
use crate::driver::wait;
use crate::error::{Kind, Remedy, Result};
use crate::pci::Function;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Descriptors of either queue.
pub const RING: u16 = 32;

/// Bytes of a buffer.
pub const BUFFER: usize = 4096;

/// Longest buffer that needs no LB flag.
const SMALL: usize = 512;

/// How long the firmware may think about a command. Intel's own drivers give it
/// a quarter of a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// The same for its first command, which it does not see if it is still starting.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// How often the first command is given, and what lies between. Linux does the same.
const FIRST_TRIES: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How often a firmware that is busy is asked again, a millisecond apart: a PHY
/// that is starting has it say so for half a second.
const ATTEMPTS: u32 = 500;

/// Descriptor flags.
mod flag {
    pub const DD: u64 = 1 << 0;
    pub const LB: u64 = 1 << 9;
    pub const RD: u64 = 1 << 10;
    pub const BUF: u64 = 1 << 12;
    pub const SI: u64 = 1 << 13;
}

/// Both queues of a function.
pub struct AdminQueue {
    hw: Arc<Hw>,
    memory: Memory,
    /// Next descriptor of the send queue.
    next: u16,
    /// Next descriptor of the event queue.
    clean: u16,
    /// Number of the command, which the firmware must repeat.
    cookie: u32,
    /// A command was not answered, or wrongly: an answer that is late would be
    /// taken for that to the next.
    broken: bool,
    /// How long the firmware may think about a command.
    patience: Duration,
    /// What was refused and is gone without, a line each.
    pub lacks: Lacks,
    /// Events that made no sense.
    pub nonsense: u64,
}

/// Where descriptors and buffers lie.
struct Memory {
    send: Region,
    events: Region,
    buffer: Region,
    event_buffers: Vec<Region>,
}

impl Memory {
    fn new(function: &dyn Function) -> Result<Self> {
        let ring = usize::from(RING) * 32;
        // Rings first, a page for both, which is more alignment than is asked for.
        let arena = function.arena(BUFFER * (2 + usize::from(RING)))?;
        function.map(&arena)?;
        let buffer = |n: usize| Region::new(&arena, BUFFER * (1 + n), BUFFER);
        Ok(Memory {
            send: Region::new(&arena, 0, ring),
            events: Region::new(&arena, BUFFER / 2, ring),
            buffer: buffer(0),
            event_buffers: (1..=usize::from(RING)).map(buffer).collect(),
        })
    }

    /// What a command in this slot is: its descriptor, and so many bytes of its buffer.
    fn of(&self, slot: u16, bytes: usize) -> Vec<Region> {
        let descriptor = self.send.part(32 * usize::from(slot), 32);
        let buffer = (bytes > 0).then(|| self.buffer.part(0, bytes));
        [descriptor].into_iter().chain(buffer).collect()
    }
}

impl AdminQueue {
    /// Turns both queues on. The card must be a bus master.
    pub fn new(function: &dyn Function, hw: &Arc<Hw>) -> Result<Self> {
        let mut queue = AdminQueue {
            hw: Arc::clone(hw),
            memory: Memory::new(function)?,
            next: 0,
            clean: 0,
            cookie: 0,
            broken: false,
            patience: PATIENCE,
            lacks: Lacks::default(),
            nonsense: 0,
        };
        queue.start()?;
        Ok(queue)
    }

    /// Both queues from their beginning.
    fn start(&mut self) -> Result<()> {
        (self.next, self.clean, self.broken) = (0, 0, false);
        let (queue, hw) = (&*self, &self.hw);
        for n in 0..RING {
            queue.post(n);
        }
        if let Some(trace) = hw.bar().trace() {
            trace.stored(std::slice::from_ref(&queue.memory.events));
        }
        for (region, [head, tail, len, low, high]) in [
            (&queue.memory.send, [regs::PF_ATQH, regs::PF_ATQT, regs::PF_ATQLEN, regs::PF_ATQBAL, regs::PF_ATQBAH]),
            (&queue.memory.events, [regs::PF_ARQH, regs::PF_ARQT, regs::PF_ARQLEN, regs::PF_ARQBAL, regs::PF_ARQBAH]),
        ] {
            hw.write(head, 0);
            hw.write(tail, 0);
            hw.write(low, region.iova() as u32);
            hw.write(high, (region.iova() >> 32) as u32);
            hw.write(len, u32::from(RING) | aqlen::ENABLE);
            let held = hw.read(low);
            if held == u32::MAX {
                return Err(wait::gone(&**hw, low.name));
            }
            if held != region.iova() as u32 {
                return Err(hw.error(
                    Kind::Device,
                    format!("its admin queue cannot be set up: {} = {held:#010x} after {:#010x} was written; power the machine off and on", low.name, region.iova() as u32),
                ));
            }
        }
        queue.ring(regs::PF_ARQT, RING - 1);
        Ok(())
    }

    /// Gives event descriptor `n` to the firmware, with its buffer.
    fn post(&self, n: u16) {
        let address = self.memory.event_buffers[usize::from(n)].iova();
        let flags = flag::BUF | flag::LB;
        self.store(&self.memory.events, n, [flags | (BUFFER as u64) << 32, 0, 0, swapped(address)]);
    }

    fn store(&self, ring: &Region, n: u16, words: [u64; 4]) {
        for (slot, word) in ring.words64()[usize::from(n) * 4..].iter().zip(words) {
            slot.store(word, Ordering::Release);
        }
    }

    fn load(&self, ring: &Region, n: u16) -> [u64; 4] {
        std::array::from_fn(|i| ring.words64()[usize::from(n) * 4 + i].load(Ordering::Acquire))
    }

    fn ring(&self, tail: Reg, value: u16) {
        crate::dma::barrier::io_wmb();
        self.hw.write(tail, u32::from(value));
    }

    /// The head of a queue, which must be within it; `None` if it cannot be read now.
    fn head(&self, reg: Reg) -> Result<Option<u16>> {
        match self.hw.read(reg) {
            u32::MAX => self.hw.answers(reg).map(|()| None),
            head if head & aqlen::LEN < u32::from(RING) => Ok(Some((head & aqlen::LEN) as u16)),
            head => {
                let name = reg.name;
                let text =
                    format!("its firmware points outside the admin queue ({name} = {head:#x}, {RING} descriptors)");
                Err(self.hw.error(Kind::Device, text).with_remedy(Remedy::Reset))
            }
        }
    }

    /// Sends a command and waits for its answer, which may be a refusal.
    pub fn ask(&mut self, what: &str, opcode: u16, params: &[u8], buffer: Buffer<'_>) -> Result<Answer> {
        let mut attempt = 0;
        loop {
            let answer = self.ask_once(what, opcode, params, buffer)?;
            attempt += 1;
            if !matches!(answer.code, Code::EAGAIN | Code::EBUSY) || attempt == ATTEMPTS {
                return Ok(answer);
            }
            self.hw.settle(Duration::from_millis(1));
        }
    }

    /// As [`AdminQueue::ask`], once, of firmware that is busy or not.
    pub fn ask_once(&mut self, what: &str, opcode: u16, params: &[u8], buffer: Buffer<'_>) -> Result<Answer> {
        if self.broken {
            let text = format!("its firmware answers no more, so {what} (command {opcode:#06x}) cannot be asked for");
            return Err(self.hw.error(Kind::Device, text).with_remedy(Remedy::Reset));
        }
        let answer = self.exchange(what, opcode, params, buffer);
        self.broken = answer.is_err();
        answer
    }

    /// As [`AdminQueue::tell`], of firmware that may not have started: a command
    /// that it did not see is given again, in queues that begin anew.
    pub fn tell_first(&mut self, what: &str, opcode: u16) -> Result<Answer> {
        self.patience = FIRST_PATIENCE;
        let mut tries = 1;
        let answer = loop {
            match self.tell(what, opcode, &[], Buffer::None) {
                Err(error) if error.kind() == Kind::Timeout && tries < FIRST_TRIES && !self.critical() => {
                    tries += 1;
                    self.hw.settle(FIRST_PAUSE);
                    self.start()?;
                }
                answer => break answer,
            }
        };
        self.patience = PATIENCE;
        answer
    }

    /// As [`AdminQueue::ask`], and a refusal is an error, as is an answer that is not there.
    pub fn tell(&mut self, what: &str, opcode: u16, params: &[u8], buffer: Buffer<'_>) -> Result<Answer> {
        let answer = self.ask(what, opcode, params, buffer)?;
        match answer.refusal(opcode, buffer) {
            None => Ok(answer),
            Some(why) => Err(self.refused(what, why)),
        }
    }

    /// As [`AdminQueue::tell`], of what can be gone without: `lost` says in a few
    /// words what that means, and `None` is returned.
    pub fn try_tell(
        &mut self,
        what: &str,
        opcode: u16,
        params: &[u8],
        buffer: Buffer<'_>,
        lost: &str,
    ) -> Result<Option<Answer>> {
        let answer = self.ask(what, opcode, params, buffer)?;
        match answer.refusal(opcode, buffer) {
            None => Ok(Some(answer)),
            Some(why) => {
                self.lacks.note(format!("its firmware refused {what} ({why}): {lost}"));
                Ok(None)
            }
        }
    }

    /// The error for a refusal.
    pub fn refused(&self, what: &str, why: impl fmt::Display) -> crate::Error {
        let text = format!("its firmware refused {what} ({why}); update the card's NVM if this goes on");
        self.hw.error(Kind::Device, text)
    }

    fn critical(&self) -> bool {
        self.hw.read(regs::PF_ATQLEN) & aqlen::CRITICAL != 0
    }

    fn exchange(&mut self, what: &str, opcode: u16, params: &[u8], buffer: Buffer<'_>) -> Result<Answer> {
        let slot = self.next;
        let room = match buffer {
            Buffer::None => 0,
            Buffer::Send(data) => data.len(),
            Buffer::Receive(len) => len,
        }
        .min(BUFFER);
        let mut block = [0; 16];
        let given = params.len().min(16);
        block[..given].copy_from_slice(&params[..given]);
        let mut flags = flag::SI;
        if room > 0 {
            let data = if let Buffer::Send(data) = buffer { data } else { &[] };
            for (i, byte) in self.memory.buffer.bytes()[..room].iter().enumerate() {
                byte.store(data.get(i).copied().unwrap_or(UNTOUCHED), Ordering::Relaxed);
            }
            flags |= flag::BUF | if room > SMALL { flag::LB } else { 0 } | if data.is_empty() { 0 } else { flag::RD };
            block[8..].copy_from_slice(&swapped(self.memory.buffer.iova()).to_le_bytes());
        }
        self.cookie = self.cookie.wrapping_add(1);
        let half = |at: usize| u64::from(le32(&block, at)) | u64::from(le32(&block, at + 4)) << 32;
        let command = flags | u64::from(opcode) << 16 | (room as u64) << 32;
        let ring = self.memory.send.clone();
        self.store(&ring, slot, [command, u64::from(self.cookie), half(0), half(8)]);
        self.next = (slot + 1) % RING;
        if let Some(trace) = self.hw.bar().trace() {
            trace.command(opcode.into(), what, &self.memory.of(slot, room));
        }
        self.ring(regs::PF_ATQT, self.next);

        self.await_head(what, opcode)?;
        let [first, cookie, low, high] = self.load(&ring, slot);
        let (echo, length, retval) = ((first >> 16) as u16, (first >> 32) as u16, (first >> 48) as u16);
        let lie =
            |text: String| Err(self.hw.error(Kind::Device, format!("its firmware {text}")).with_remedy(Remedy::Reset));
        if first & flag::DD == 0 {
            return lie(format!("moved past {what} (command {opcode:#06x}) without an answer"));
        }
        if echo != opcode || cookie as u32 != self.cookie {
            return lie(format!("answered {what} (command {opcode:#06x}) with an answer to another ({echo:#06x})"));
        }
        if usize::from(length) > room && retval & 0xff == 0 {
            return lie(format!(
                "answered {what} (command {opcode:#06x}) with {length} bytes where there is room for {room}"
            ));
        }
        let kept = usize::from(length).min(room);
        if let Some(trace) = self.hw.bar().trace() {
            trace.answer(what, format_args!("code {}", retval & 0xff), &self.memory.of(slot, kept));
        }
        let data = self.memory.buffer.bytes()[..kept].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        let mut params = [0; 16];
        params[..8].copy_from_slice(&low.to_le_bytes());
        params[8..].copy_from_slice(&high.to_le_bytes());
        Ok(Answer { code: Code(retval as u8), params, data })
    }

    /// Waits until the firmware has taken the last command.
    fn await_head(&self, what: &str, opcode: u16) -> Result<()> {
        let start = Instant::now();
        loop {
            let elapsed = start.elapsed();
            let head = self.head(regs::PF_ATQH)?;
            if head == Some(self.next) {
                return Ok(());
            }
            if elapsed >= self.patience {
                let [head, state] = [regs::PF_ATQH, regs::PF_ATQLEN].map(|reg| self.hw.read(reg));
                let why = if state & aqlen::CRITICAL != 0 { "has met a critical error at" } else { "did not answer" };
                let text = format!(
                    "its firmware {why} {what} (command {opcode:#06x}) in {} ms (PF_ATQH = {head:#x}, PF_ATQLEN = {state:#010x})",
                    self.patience.as_millis()
                );
                return Err(self.hw.error(Kind::Timeout, text).with_remedy(Remedy::Reset));
            }
            if elapsed > Duration::from_micros(100) {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }

    /// The next event, if there is one.
    pub fn event(&mut self) -> Result<Option<Event>> {
        // What makes no sense is passed over, a ring's worth at most.
        for _ in 0..RING {
            if self.head(regs::PF_ARQH)?.is_none_or(|head| head == self.clean) {
                return Ok(None);
            }
            let slot = self.clean;
            let [first, _, low, high] = self.load(&self.memory.events, slot);
            self.post(slot);
            self.clean = (slot + 1) % RING;
            self.ring(regs::PF_ARQT, slot);
            if first & flag::DD == 0 || (first >> 32) as u16 as usize > BUFFER {
                self.nonsense += 1;
                continue;
            }
            let mut params = [0; 16];
            params[..8].copy_from_slice(&low.to_le_bytes());
            params[8..].copy_from_slice(&high.to_le_bytes());
            return Ok(Some(Event { opcode: (first >> 16) as u16, params }));
        }
        Ok(None)
    }

    /// Whether events were lost since the last time, for want of a descriptor.
    pub fn overflowed(&self) -> bool {
        let state = self.hw.read(regs::PF_ARQLEN);
        let lost = state & aqlen::OVERFLOW != 0;
        if lost {
            // Nothing but the flag changes.
            self.hw.write(regs::PF_ARQLEN, state & !aqlen::OVERFLOW);
        }
        lost
    }

    /// Says good-bye and turns the queues off; a firmware that does not answer
    /// any more is no reason to leave them on.
    pub fn close(&mut self) {
        const UNLOADING: u8 = 1;
        let _ = self.ask_once("the end of the admin queue", 0x0003, &[UNLOADING], Buffer::None);
        for len in [regs::PF_ATQLEN, regs::PF_ARQLEN] {
            self.hw.write(len, 0);
        }
    }
}

/// An address as descriptors hold it: the high half first.
fn swapped(address: u64) -> u64 {
    address.rotate_left(32)
}
