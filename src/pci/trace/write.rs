//! Writing a trace.

use super::{Access, Bytes, CONFIG, Config, Event, FORMAT, Hex, Names, ROW, Words, mask};
use crate::dma::Region;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::Id;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events that are held back, as the card's address may go on in the next.
const HELD: usize = 4 * mask::SPREAD;

/// Events that are written at once.
const AT_ONCE: usize = 64;

/// Events that are held back at most until the card's address is known.
const HELD_AT_FIRST: usize = 1 << 20;

/// A trace that is being written: what happens to a card is noted here, by who does it.
///
/// It is written as it comes once the driver has told the card's address. A full disk ends
/// the trace, not the card.
pub struct Trace {
    begun: Instant,
    names: Names,
    state: Mutex<State>,
}

struct State {
    file: BufWriter<File>,
    path: PathBuf,
    /// What is not written yet.
    held: Vec<Event>,
    /// The card, and its configuration space, until they are written.
    header: Option<(Id, Vec<u8>)>,
    /// The card's address, and what stands for it.
    address: Option<(MacAddr, MacAddr)>,
    /// Others that are its own.
    others: Vec<MacAddr>,
    /// Numbers that no other card has.
    numbers: Vec<u64>,
    words: Words,
    lines: usize,
    whole: bool,
}

impl Trace {
    /// Begins one of a card with this configuration space, as far as it is known.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn create(path: &Path, id: Id, config: Vec<u8>, names: Names) -> Result<Trace> {
        let file =
            crate::sys::shared::create(path, true).map_err(|e| Error::io(format!("creating {}", path.display()), e))?;
        let state = State {
            file: BufWriter::new(file),
            path: path.into(),
            held: Vec::new(),
            header: Some((id, config)),
            address: None,
            others: Vec::new(),
            numbers: Vec::new(),
            words: Words::default(),
            lines: 0,
            whole: true,
        };
        Ok(Trace { begun: Instant::now(), names, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    pub(super) fn note(&self, event: Event) {
        self.state().note(event);
    }

    /// Notes a register access.
    pub(super) fn access(&self, write: bool, bar: u8, offset: u64, size: u8, value: u64) {
        let name = (self.names)(bar, offset);
        let value = name.as_ref().map_or(value, |name| self.state().words.shown(name, write, value));
        self.note(Event::Access(Access { write, bar, offset, size, value, name }, self.now()));
    }

    /// Notes an access to configuration space.
    pub(super) fn config(&self, write: bool, offset: u16, size: u8, value: u32) {
        if usize::from(offset) < CONFIG {
            self.note(Event::Config(Config { write, offset, size, value }, self.now()));
        }
    }

    pub(super) fn settle(&self, time: Duration) {
        self.note(Event::Settle(time.as_nanos().min(u64::MAX.into()) as u64));
    }

    /// Notes a command that the card is told of next, and what it says.
    pub fn command(&self, code: u32, name: impl Display, memory: &[Region]) {
        self.note(Event::Command(code, words(name)));
        self.stored(memory);
    }

    /// Notes what the driver has stored for the card to look at.
    pub fn stored(&self, memory: &[Region]) {
        memory.iter().for_each(|region| self.note(Event::Put(bytes(region))));
    }

    /// Notes a store to a doorbell, which nothing else sees.
    pub(in crate::pci) fn rang(&self, bar: u8, offset: u64, size: u8, value: u64) {
        self.access(true, bar, offset, size, value);
    }

    /// Notes the answer to the command of this name: what it is taken for, and what the
    /// card has stored.
    pub fn answer(&self, name: impl Display, said: impl Display, memory: &[Region]) {
        self.note(Event::Answer(words(name), said.to_string().replace(char::is_control, " ")));
        memory.iter().for_each(|region| self.note(Event::Got(bytes(region))));
    }

    /// Tells the card's own address, which is then another in the trace.
    pub fn address(&self, real: MacAddr) {
        let mut state = self.state();
        if state.address.is_none() && real.is_unicast() {
            state.address = Some((real, mask::stand_in(real)));
            state.flush(HELD);
        }
    }
}

impl Trace {
    /// Tells another address of the card's own, as soon as it was read.
    pub fn other_address(&self, real: MacAddr) {
        let mut state = self.state();
        if real.is_unicast() && !state.others.contains(&real) {
            state.others.push(real);
        }
    }

    /// Tells a number of its own (EUI-64), as soon as it was read.
    pub fn number(&self, real: u64) {
        // A maker's part there is: a small number would be found everywhere.
        if real >> 40 == 0 || real == u64::MAX {
            return;
        }
        if let Some(address) = mask::within(real).filter(|address| address.is_unicast()) {
            return self.other_address(address);
        }
        let mut state = self.state();
        if !state.numbers.contains(&real) {
            state.numbers.push(real);
        }
    }
}

/// Files of traces that were not written whole.
static NOT_WHOLE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Notes that the trace at `path` could not be written whole.
pub fn not_whole(path: &Path) {
    NOT_WHOLE.lock().unwrap_or_else(PoisonError::into_inner).push(path.into());
}

/// Fails if a trace of this process could not be written whole.
///
/// # Errors
/// [`Kind::Io`] with the first one's file.
pub fn whole() -> Result<()> {
    match NOT_WHOLE.lock().unwrap_or_else(PoisonError::into_inner).first() {
        None => Ok(()),
        Some(path) => {
            let text = "is not whole: it could not be written to; is its disk full? Write it to another";
            Err(Error::new(Kind::Io, format!("the trace {} {text}", path.display())))
        }
    }
}

/// A name as one word.
fn words(name: impl Display) -> String {
    name.to_string().replace(|c: char| c.is_whitespace() || c.is_control(), "_")
}

/// What stands in memory now.
fn bytes(region: &Region) -> Bytes {
    Bytes { iova: region.iova(), bytes: region.bytes().iter().map(|byte| byte.load(Ordering::Acquire)).collect() }
}

impl State {
    fn note(&mut self, event: Event) {
        if self.whole {
            self.held.push(event);
            let known = self.address.is_some();
            match self.held.len() {
                held if known && held >= HELD + AT_ONCE => self.flush(HELD),
                held if !known && held > HELD_AT_FIRST => self.flush(HELD_AT_FIRST),
                _ => {}
            }
        }
    }

    /// Writes all but the last `most` events.
    fn flush(&mut self, most: usize) {
        if self.held.len() <= most {
            return;
        }
        let own = self.address.map(|(real, _)| real);
        for number in &self.numbers {
            mask::replace_number(&mut self.held, *number);
        }
        for real in own.iter().chain(&self.others) {
            mask::replace(&mut self.held, *real);
        }
        let mut ready: Vec<Event> = self.held.drain(..self.held.len() - most).collect();
        if self.address.is_none() {
            ready.retain(|event| !matches!(event, Event::Got(_)));
        }
        self.begin();
        for event in ready {
            self.line(event);
        }
        self.check(|file| file.flush());
    }

    /// Writes what the card is.
    fn begin(&mut self) {
        let Some((id, config)) = self.header.take() else { return };
        let Id { vendor, device, subsystem_vendor, subsystem, revision } = id;
        self.line(FORMAT);
        self.line(format_args!("card {vendor:04x}:{device:04x} {subsystem_vendor:04x}:{subsystem:04x} {revision:02x}"));
        if let Some((_, other)) = self.address {
            self.line(format_args!("address {other}"));
        }
        for (n, row) in config.chunks(ROW).enumerate() {
            self.line(format_args!("config {:02x} {}", n * ROW, Hex(row)));
        }
    }

    fn line(&mut self, line: impl Display) {
        let text = line.to_string();
        self.lines += text.lines().count();
        self.check(|file| writeln!(file, "{text}"));
    }

    fn check(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) {
        if self.whole && write(&mut self.file).is_err() {
            self.whole = false;
            not_whole(&self.path);
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut state = self.state();
        state.flush(0);
        state.begin();
        let lines = state.lines;
        state.line(format_args!("end {lines}"));
        state.check(|file| file.flush());
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({})", self.state().path.display())
    }
}
