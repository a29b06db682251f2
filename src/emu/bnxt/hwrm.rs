//! How commands reach the firmware (HWRM), and how answers come back.
//!
//! ```text
//!   driver: the request, 32 words from BAR 0 on             --> 0x100: 1, go
//!           or 16 bytes there that say where in memory it is
//!   card:   the answer, its last byte 0  --a moment--> its last byte 1: valid
//!           [then an HWRM_DONE entry on the completion ring that it names]
//!
//!   request   0 command  2 completion ring  4 sequence  6 target  8 where to answer
//!   short     0 command  2 0x4321           4 target    6 length  8 where it is
//!   answer    0 error    2 command          4 sequence  6 length  ...  last: valid
//! ```
//!
//! One command at a time. What a sender did not send reads as 0, and what it sends
//! beyond the structure that the firmware knows is not looked at: the window holds
//! what an earlier, longer command left there.

use super::super::bytes::{put, u16_at, u32_at, u64_at};
use super::super::{FaultKind, Picos};
use super::plane::Refusal;
use super::{Bnxt, fw, regs};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Bytes of the window.
pub const WINDOW: usize = 128;
/// Longest request that comes by way of memory.
pub const LONGEST: usize = 384;
/// Longest answer.
pub const LONGEST_ANSWER: u16 = 704;
/// How long a driver is asked to wait for an answer, in milliseconds.
pub const PATIENCE: u16 = 5000;

/// What stands in a short command where a long one names its completion ring.
const SHORT: u16 = 0x4321;
/// Bytes of a request's header, which a short command and an error have in all.
const HEADER: usize = 16;
/// Where the fields of an answer begin.
const FIRST_FIELD: usize = 8;
/// No completion ring is told.
const NO_RING: u16 = 0xffff;

const MICROSECOND: Picos = 1_000_000;
/// How long a command takes, and how long after its body an answer is valid.
const WORK: Picos = 2 * MICROSECOND;
const SETTLE: Picos = MICROSECOND;
/// The same of a nasty card, at most.
const LATE: Picos = 200 * MICROSECOND;
const LATE_SETTLE: Picos = 20_000 * MICROSECOND;

/// A command that was sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its header and what follows, as far as it was sent.
    pub bytes: Vec<u8>,
}

impl Request {
    /// The command's number.
    pub fn code(&self) -> u16 {
        self.u16(0)
    }

    /// A byte.
    pub fn u8(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// A 16-bit field.
    pub fn u16(&self, at: usize) -> u16 {
        u16_at(&self.bytes, at)
    }

    /// A 32-bit field.
    pub fn u32(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at)
    }

    /// A 64-bit field.
    pub fn u64(&self, at: usize) -> u64 {
        u64_at(&self.bytes, at)
    }

    fn ring(&self) -> u16 {
        self.u16(2)
    }

    fn sequence(&self) -> u16 {
        self.u16(4)
    }

    fn answer_to(&self) -> Iova {
        self.u64(8)
    }
}

/// An answer, built field by field; offsets count its header.
#[derive(Debug)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// One of `len` bytes, all 0.
    pub fn new(len: usize) -> Self {
        Reply(vec![0; len])
    }

    /// One that says nothing but that it was done.
    pub fn done() -> Self {
        Reply::new(HEADER)
    }

    /// Sets a byte.
    pub fn u8(self, at: usize, value: u8) -> Self {
        self.bytes(at, &[value])
    }

    /// Sets a 16-bit field.
    pub fn u16(self, at: usize, value: u16) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }

    /// Sets a 32-bit field.
    pub fn u32(self, at: usize, value: u32) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }

    /// Sets a 64-bit field.
    pub fn u64(self, at: usize, value: u64) -> Self {
        self.bytes(at, &value.to_le_bytes())
    }

    /// Sets a field of any length.
    pub fn bytes(mut self, at: usize, value: &[u8]) -> Self {
        put(&mut self.0, at, value);
        self
    }

    /// Sets 16-bit fields one behind the other.
    pub fn u16s(mut self, at: usize, values: &[u16]) -> Self {
        for (n, value) in values.iter().enumerate() {
            put(&mut self.0, at + 2 * n, &value.to_le_bytes());
        }
        self
    }

    /// The same as firmware of an older interface has it, `len` bytes long.
    fn cut(mut self, len: usize) -> Self {
        self.0.truncate(len.max(HEADER));
        self
    }
}

/// What a command is answered.
pub type Answer = Result<Reply, Refusal>;

/// A command on its way.
struct Job {
    request: Request,
    /// It is longer than a request may be, and was cut.
    overlong: bool,
    since: Picos,
    /// When the next of what happens to it does.
    due: Picos,
}

/// The card's end of the channel.
#[derive(Default)]
pub struct Transport {
    /// The command that is worked on.
    current: Option<Job>,
    /// An answer that is not valid yet: its command, and where its last word is.
    settling: Option<(Job, Iova)>,
    /// The last answer: where it went, and what it was.
    last: Option<(Iova, Vec<u8>)>,
    /// When it goes there once more, while the next one is waited for (nasty).
    stale: Option<Picos>,
    sequence: Option<u16>,
    /// Commands since power-on.
    commands: u32,
    /// The command of this number is not to be refused as busy again.
    tried: Option<u16>,
    /// One was never answered (fault).
    silent: bool,
    /// The last one that was sent.
    code: Option<u16>,
}

impl Transport {
    /// As after a reset: commands are counted from power-on.
    pub fn afresh(&self) -> Self {
        Transport { commands: self.commands, ..Transport::default() }
    }

    /// The command that was sent last.
    pub fn code(&self) -> Option<u16> {
        self.code
    }

    /// Since when a command has been on its way, if one is.
    fn busy(&self) -> Option<Picos> {
        let settling = self.settling.as_ref().map(|(job, _)| job);
        self.current.as_ref().or(settling).map(|job| job.since)
    }
}

impl Bnxt {
    /// The trigger was written.
    pub(super) fn hwrm_trigger(&mut self, value: u32) {
        if value != 1 {
            self.board.violations.note("HWRM trigger written with another value than 1");
            return;
        }
        // Stores to doorbells came before this one: a command may free their rings.
        self.plane.catch_up(&mut self.board);
        if self.hwrm.silent || !self.health.listens() {
            return;
        }
        if let Some(since) = self.hwrm.busy()
            && self.board.now.saturating_sub(since) < Picos::from(PATIENCE) * 1000 * MICROSECOND
        {
            self.board.violations.note("HWRM command before the last one was answered");
            return;
        }
        let Some((request, overlong)) = self.fetch() else { return };
        self.hwrm.code = Some(request.code());
        let answer_to = request.answer_to();
        if answer_to == 0 || !answer_to.is_multiple_of(8) {
            self.board.violations.note("HWRM command whose answer has no aligned address");
            return;
        }
        let again = self.hwrm.sequence.replace(request.sequence()) == Some(request.sequence());
        if again && request.code() != fw::VER_GET {
            self.board.violations.note("HWRM command with the sequence number of the last one");
        }
        let due = self.due(request.code());
        self.hwrm.settling = None;
        self.hwrm.current = Some(Job { request, overlong, since: self.board.now, due });
        self.plan_stale_answer(answer_to, due);
        self.hwrm_tick();
    }

    /// Reads the command: from the window, or from where the window says it is. True
    /// goes with one that is too long.
    fn fetch(&mut self) -> Option<(Request, bool)> {
        let mut window: Vec<u8> = (0..WINDOW as u32 / 4)
            .flat_map(|word| self.registers.peek(regs::HWRM_WINDOW.nth(word)).to_le_bytes())
            .collect();
        if u16_at(&window, 2) != SHORT {
            // Also where VER_GET says that commands have to come by way of memory: iPXE
            // takes the window for all that it has room for.
            window.truncate(fw::known_length(u16_at(&window, 0)));
            return Some((Request { bytes: window }, false));
        }
        let (len, at) = (usize::from(u16_at(&window, 6)), u64_at(&window, 8));
        if len < HEADER {
            self.board.violations.note("short HWRM command for a request without a header");
            return None;
        }
        let most = self.longest_request();
        if len > most {
            self.board.violations.note(format!("HWRM request of {len} bytes, of at most {most}"));
        }
        let mut bytes = vec![0; len.min(most)];
        if !self.board.bus.memory.read(at, &mut bytes) {
            return None;
        }
        if u16_at(&bytes, 0) != u16_at(&window, 0) {
            self.board.violations.note("short HWRM command that names another command than its request");
            return None;
        }
        bytes.truncate(fw::known_length(u16_at(&bytes, 0)));
        Some((Request { bytes }, len > most))
    }

    /// Longest request that there may be.
    pub(super) fn longest_request(&self) -> usize {
        if self.faulty(FaultKind::ShortRequests) { WINDOW } else { LONGEST }
    }

    /// When a command that is sent now is done.
    fn due(&mut self, code: u16) -> Picos {
        let mut work = WORK;
        if self.board.nasty {
            work += self.board.random.below(LATE);
            if fw::may_be_slow(code) && self.board.random.below(4) == 0 {
                work += self.board.random.below(fw::SLOWEST);
            }
        }
        let due = self.board.now + work;
        // Firmware that is starting answers who it is, and the rest when it is up.
        if code == fw::VER_GET { due } else { due.max(self.health.ready()) }
    }

    /// A nasty card may send its last answer once more, which has another number, at
    /// any time before the next one; one that is no longer than any is.
    fn plan_stale_answer(&mut self, to: Iova, due: Picos) {
        let fits = self.hwrm.last.as_ref().is_some_and(|(last, bytes)| *last == to && bytes.len() <= HEADER);
        let comes = self.board.nasty && fits && self.board.random.below(16) == 0;
        self.hwrm.stale = comes.then(|| self.board.now + self.board.random.below(due - self.board.now));
    }

    /// Answers the command whose time has come.
    pub(super) fn hwrm_tick(&mut self) {
        let now = self.board.now;
        if self.hwrm.stale.take_if(|due| *due <= now).is_some()
            && let Some((to, bytes)) = &self.hwrm.last
        {
            self.board.bus.memory.write(*to, bytes);
        }
        if let Some(job) = self.hwrm.current.take_if(|job| job.due <= now) {
            self.hwrm.commands += 1;
            if let Some(answer) = self.answer(&job) {
                self.write_answer(job, answer);
            }
        }
        if let Some((job, last)) = self.hwrm.settling.take_if(|(job, _)| job.due <= now) {
            self.settle(&job.request, last);
        }
    }

    /// What the command is answered, if it is.
    fn answer(&mut self, job: &Job) -> Option<Answer> {
        if self.struck(FaultKind::Timeout) || self.struck(FaultKind::Crash) {
            self.hwrm.silent = true;
            if self.struck(FaultKind::Crash) {
                self.crash();
            }
            return None;
        }
        let code = job.request.code();
        Some(if job.overlong {
            Err(Refusal::INVALID)
        } else if self.struck(FaultKind::Error) {
            Err(Refusal::FAIL)
        } else if self.struck(FaultKind::Denied) {
            Err(Refusal::DENIED)
        } else if self.struck(FaultKind::Unsupported) {
            Err(fw::UNKNOWN)
        } else if self.refused_as_busy(code) {
            Err(fw::BUSY)
        } else {
            fw::run(self, &job.request)
        })
    }

    /// Whether a command meets firmware that has no time for it: each at its first
    /// try (fault), or one in ten of those that drivers try again (nasty). VER_GET
    /// always finds it.
    fn refused_as_busy(&mut self, code: u16) -> bool {
        let again = self.hwrm.tried.take() == Some(code);
        let odd = self.board.nasty && fw::is_tried_again(code) && self.board.random.below(10) == 0;
        let busy = self.struck(FaultKind::Busy) || odd;
        let refused = busy && !again && code != fw::VER_GET;
        if refused {
            self.hwrm.tried = Some(code);
        }
        refused
    }

    /// Whether this fault strikes the current command.
    fn struck(&self, kind: FaultKind) -> bool {
        let code = self.hwrm.code.unwrap_or(0).into();
        self.board.fault.is_some_and(|fault| fault.strikes_command(kind, self.hwrm.commands, code))
    }

    fn write_answer(&mut self, job: Job, answer: Answer) {
        let request = &job.request;
        let (mut reply, error) = match answer {
            Ok(reply) => (reply, 0),
            Err(Refusal(error)) => (Reply::done(), error),
        };
        if self.old_answers
            && let Some(len) = fw::oldest_answer(request.code())
        {
            reply = reply.cut(len);
        }
        let len = reply.0.len();
        let code = request.code() ^ u16::from(self.struck(FaultKind::Opcode));
        let mut bytes = reply.u16s(0, &[error, code, request.sequence(), len as u16]).0;
        bytes[len - 1] = 0;
        let to = request.answer_to();
        if self.struck(FaultKind::Short) {
            self.board.bus.memory.write(to, &bytes[..len / 2]);
            return;
        }
        // Behind the header is then what the driver had left there.
        let written = if self.struck(FaultKind::Hollow) && error == 0 { FIRST_FIELD } else { len };
        if self.board.bus.memory.write(to, &bytes[..written]) {
            bytes[len - 1] = 1;
            self.hwrm.last = Some((to, bytes));
            let late = if self.board.nasty { self.board.random.below(LATE_SETTLE) } else { 0 };
            let due = self.board.now + SETTLE + late;
            self.hwrm.settling = Some((Job { due, ..job }, to.wrapping_add(len as u64 - 4)));
        }
    }

    /// The answer's last byte says that it is valid, and a driver that waits is told.
    fn settle(&mut self, request: &Request, last: Iova) {
        if let Some(word) = self.board.bus.memory.word32(last) {
            word.fetch_or(1 << 24, Ordering::Release);
        }
        self.plane.answered(&mut self.board);
        if request.ring() != NO_RING {
            self.plane.post_done(&mut self.board, request.ring(), request.sequence());
        }
    }
}
