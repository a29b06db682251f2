//! Replaying a trace: what a driver asked of a card is asked of a model, and what that
//! answers is held against what the card did.
//!
//! ```text
//!   trace --events--> Replay --registers, configuration, memory--> Card
//!                        |                                          |
//!                   differences  <---- answers, memory -------------+
//! ```
//!
//! The model has the memory that the card had, at the same addresses, and what the driver
//! had stored there; so a trace is all that is needed. The model's time is the trace's, and
//! goes on where the model needs more:
//!
//! - Of several reads of a register with no write between them the last counts: a driver
//!   waits so, and a model may be faster. If its answer is another, time passes until it
//!   is the card's, a minute at most. Of a register that reading changes the first answer
//!   counts, unless the driver waited at it.
//! - Memory is looked at likewise until it is as it was.
//! - What counts or tells the time (`policy`) is read and not compared.
//!
//! A model that was told otherwise once is asked on, so one cause may show in several
//! places.

mod memory;
mod places;
mod policy;
#[cfg(test)]
mod tests;

use self::memory::Memory;
use self::places::Places;
use self::policy::Rule;
use super::{Card, ModelInfo, Picos, Spec, build, config};
use crate::dma::Iova;
use crate::error::{Error, Kind, Result};
use crate::pci::trace::{Access, Config, Event, Names, Recording};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Time that an access takes.
const ACCESS: Picos = 5_000_000;

/// The first pause of a wait, and the number of them: each is a quarter longer than the one
/// before, and all come to a minute.
const PAUSE: Picos = 10_000_000;
const PAUSES: u32 = 63;

/// After so many waits in vain a model is looked at less often in the same time: each pause
/// is so many times the one before.
const VAIN: u32 = 16;
const FEW_PAUSES: u32 = 8;
const STEEP: Picos = 8;

/// Where configuration space has the BARs.
const BARS: std::ops::Range<u16> = 0x10..0x28;

/// Where configuration space says where capabilities are, and where they may be.
const CAPABILITIES: u16 = 0x34;
const FIRST_CAPABILITY: u16 = 0x40;

/// A time that no trace reaches, and from which models can count on.
const END_OF_TIME: Picos = 10 * 86_400 * 1_000_000_000_000;

/// Where the model answers otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The register, or the command and where in its answer.
    pub name: String,
    /// What the card answered, the first time.
    pub card: String,
    /// What the model answers.
    pub model: String,
    /// How often.
    pub times: u64,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Accesses to registers and configuration space.
    pub accesses: u64,
    /// Commands.
    pub commands: u64,
    /// Answers that were held against the card's.
    pub compared: u64,
    /// In the order in which they were first met, by name once.
    pub differences: Vec<Difference>,
    /// Rules of the model that the trace's driver broke, and how often.
    pub violations: Vec<(String, u64)>,
}

/// Replays `recording` to the card `spec`, which has the address of the recorded one unless
/// it says another.
///
/// # Errors
/// [`Kind::Usage`] if there is no such card, and what its wire says; [`Kind::Memory`] if it
/// cannot have the memory that the recorded one had.
pub fn replay(spec: &Spec, recording: &Recording) -> Result<Replayed> {
    let counted = last_reads(&recording.events);
    let last = last_answers(&recording.events);
    let mut replay = Replay::begin(spec, recording)?;
    for (n, event) in recording.events.iter().enumerate() {
        let turn =
            Turn { counts: counted.contains_key(&n), waited: counted.get(&n) == Some(&true), last: last.contains(&n) };
        replay.event(event, turn)?;
    }
    replay.found.violations = replay.card.violations();
    Ok(replay.found)
}

/// The names of registers of a card with this configuration space, as its model has them.
///
/// # Errors
/// None for a model of [`models`](super::models).
pub fn names(info: &ModelInfo, config: &[u8]) -> Result<Names> {
    let spec = Spec::new(info.profile.name);
    let card = Card::new(build(&spec, spec.open_wire(&mut Default::default())?)?);
    let places = Places::between(config, &configuration(&card));
    let card = Mutex::new(card);
    Ok(Box::new(move |bar, offset| {
        let (bar, offset) = places.translate(bar, offset);
        card.lock().unwrap_or_else(PoisonError::into_inner).model().register_name(bar, offset)
    }))
}

/// The first 256 bytes of configuration space.
fn configuration(card: &Card) -> Vec<u8> {
    (0..256).map(|at| card.config_read(at, 1) as u8).collect()
}

/// The numbers of those reads whose answers count: behind them the register is not read
/// again before something is written.
///
/// With each: whether the driver waited there, as it had read the register before.
fn last_reads(events: &[Event]) -> HashMap<usize, bool> {
    let mut later = HashMap::new();
    let mut counted = HashMap::new();
    for (n, event) in events.iter().enumerate().rev() {
        match event {
            Event::Access(Access { write: false, bar, offset, size, .. }, _) => {
                match later.entry((*bar, *offset, *size)) {
                    Entry::Occupied(read) => {
                        counted.insert(*read.get(), true);
                    }
                    Entry::Vacant(read) => {
                        read.insert(n);
                        counted.insert(n, false);
                    }
                }
            }
            Event::Config(Config { write: false, .. }, _)
            | Event::Answer(..)
            | Event::Got(_)
            | Event::Settle(_)
            | Event::Bar(..)
            | Event::Map(..) => {}
            _ => later.clear(),
        }
    }
    counted
}

/// The numbers of what a register, or a command, says last in the trace.
fn last_answers(events: &[Event]) -> HashSet<usize> {
    let mut last = HashMap::new();
    let mut command = "";
    for (n, event) in events.iter().enumerate() {
        match event {
            Event::Access(Access { write: false, bar, offset, .. }, _) => {
                last.insert(("", u64::from(*bar), *offset), n);
            }
            Event::Answer(name, _) => command = name,
            Event::Got(memory) => {
                last.insert((command, 0, memory.bytes.len() as u64), n);
            }
            _ => {}
        }
    }
    last.into_values().collect()
}

/// Where an answer stands among others.
#[derive(Clone, Copy)]
struct Turn {
    /// It is the last before something is written.
    counts: bool,
    /// The driver had read it before, and waited for this.
    waited: bool,
    /// It is the last of all.
    last: bool,
}

struct Replay {
    card: Card,
    places: Places,
    memory: Memory,
    now: Picos,
    /// The command whose answer is looked at.
    command: String,
    /// How the last command begins in memory.
    asked: Vec<u8>,
    /// The next piece of memory is the first of an answer.
    headed: bool,
    found: Replayed,
    /// Where each name stands in the differences.
    named: HashMap<String, usize>,
    /// Waits that found nothing.
    vain: u32,
}

impl Replay {
    fn begin(spec: &Spec, recording: &Recording) -> Result<Replay> {
        let spec = Spec { mac: spec.mac.or(recording.address.map(|address| address.0)), ..spec.clone() };
        let wire = spec.open_wire(&mut Default::default())?;
        let mut card = Card::new(build(&spec, wire)?);
        let places = Places::between(&recording.config, &configuration(&card));
        card.enable();
        Ok(Replay {
            card,
            places,
            memory: Memory::default(),
            now: 0,
            command: String::new(),
            asked: Vec::new(),
            headed: false,
            found: Replayed::default(),
            named: HashMap::new(),
            vain: 0,
        })
    }

    fn event(&mut self, event: &Event, turn: Turn) -> Result<()> {
        match event {
            Event::Bar(bar, size) => self.bar(*bar, *size),
            Event::Map(iova, len) => {
                let table = &mut self.card.bus().memory;
                self.memory.map(table, *iova, *len)?;
            }
            Event::Access(access, at) => {
                self.pass(ACCESS, *at);
                self.access(access, turn);
            }
            Event::Config(config, at) => {
                self.pass(ACCESS, *at);
                self.config(*config);
            }
            Event::Reset => {
                if let Some(control) = self.card.layout().device_control() {
                    self.card.config_write(control, 2, config::FLR);
                    self.card.enable();
                }
            }
            Event::Vectors(count) => self.vectors(*count),
            Event::Settle(time) => {
                self.pass(time.saturating_mul(1000), 0);
                self.card.step(self.now);
            }
            Event::Command(_, name) => {
                self.found.commands += 1;
                self.command.clone_from(name);
                self.asked.clear();
            }
            Event::Put(memory) => {
                if self.asked.is_empty() {
                    self.asked.clone_from(&memory.bytes);
                }
                if !self.memory.put(memory.iova, &memory.bytes)? {
                    return Err(self.outside(memory.iova, memory.bytes.len()));
                }
            }
            Event::Answer(name, _) => {
                self.command.clone_from(name);
                self.headed = true;
            }
            Event::Got(memory) => self.got(memory.iova, &memory.bytes, turn)?,
        }
        Ok(())
    }

    /// Time goes on, and is at least `at` microseconds.
    fn pass(&mut self, time: Picos, at: u64) {
        self.now = self.now.saturating_add(time).max(at.saturating_mul(1_000_000)).min(END_OF_TIME);
    }

    fn outside(&self, iova: Iova, len: usize) -> Error {
        let text = format!("the trace has {len} bytes of memory at {iova:#x}, which the card was not given");
        Error::new(Kind::Memory, format!("{text}; it is damaged"))
    }

    fn differs(&mut self, name: String, card: String, model: String) {
        match self.named.get(&name) {
            Some(&n) => self.found.differences[n].times += 1,
            None => {
                self.named.insert(name.clone(), self.found.differences.len());
                self.found.differences.push(Difference { name, card, model, times: 1 });
            }
        }
    }

    /// A BAR is as large as the card's, unless its structures have other places.
    fn bar(&mut self, bar: u8, size: u64) {
        let own = self.card.profile().bar(bar.into());
        if own != size && self.places.translate(bar, 0) == (bar, 0) {
            self.differs(format!("size of BAR {bar}"), format!("{size:#x}"), format!("{own:#x}"));
        }
    }

    fn vectors(&mut self, count: u16) {
        for vector in 0..self.card.bus().interrupts.count() {
            self.card.bus().interrupts.mask(vector, vector >= count);
        }
        let control = self.card.layout().msix_control();
        self.card.config_write(control, 2, if count == 0 { 0 } else { 0x8000 });
    }

    fn config(&mut self, config: Config) {
        let Config { write, offset, size, value } = config;
        self.found.accesses += 1;
        if write {
            return self.card.config_write(offset, size, value);
        }
        if self.places.known() && BARS.contains(&offset) {
            // Which BAR has what, a device chooses; where it is, the host.
            return;
        }
        let model = self.card.config_read(offset, size);
        self.found.compared += 1;
        if model != value {
            // What devices of several makers have at several places is one thing.
            let listed = offset == CAPABILITIES || offset >= FIRST_CAPABILITY;
            let name = match self.places.known() && listed {
                true => "capabilities".into(),
                false => format!("configuration space at {offset:#04x}"),
            };
            self.differs(name, format!("{value:#x}"), format!("{model:#x}"));
        }
    }

    fn access(&mut self, access: &Access, turn: Turn) {
        let Access { write, size, value, .. } = *access;
        let (bar, offset) = self.places.translate(access.bar, access.offset);
        self.found.accesses += 1;
        let name = self.card.model().register_name(bar, offset);
        let title = name.as_ref().or(access.name.as_ref()).cloned();
        let title = title.unwrap_or_else(|| format!("BAR {bar} at {offset:#x}"));
        let room = self.card.profile().bar(bar.into());
        if offset.checked_add(size.into()).is_none_or(|end| end > room) {
            let model = format!("outside BAR {bar}, which has {room:#x} bytes");
            return self.differs(title, format!("{value:#x}"), model);
        }
        if write {
            return self.card.write(self.now, bar, offset, size, value);
        }
        let first = self.card.read(self.now, bar, offset, size);
        let compared = match policy::register(self.card.profile(), &title) {
            Rule::Same => turn.counts,
            Rule::Last => turn.last,
            Rule::Counts => false,
        };
        if !compared {
            return;
        }
        self.found.compared += 1;
        if first == value {
            return;
        }
        // No time passes between these two: what is another now was changed by reading.
        if !turn.waited && self.card.read(self.now, bar, offset, size) != first {
            return self.differs(title, format!("{value:#x}"), format!("{first:#x}"));
        }
        let found = self.wait(|replay| (replay.card.read(replay.now, bar, offset, size) == value).then_some(()));
        if found.is_none() {
            self.differs(title, format!("{value:#x}"), format!("{first:#x}"));
        }
    }

    /// Lets time pass until `look` finds something, at most a minute.
    fn wait<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let mut pause = PAUSE;
        let hasty = self.vain >= VAIN;
        for _ in 0..if hasty { FEW_PAUSES } else { PAUSES } {
            self.pass(pause, 0);
            pause = if hasty { STEEP * pause } else { pause + pause / 4 };
            self.card.step(self.now);
            if let Some(found) = look(self) {
                return Some(found);
            }
        }
        self.vain += 1;
        None
    }

    /// The card has stored this.
    fn got(&mut self, iova: Iova, card: &[u8], turn: Turn) -> Result<()> {
        // What became of a command stands in the first piece.
        let head = if std::mem::take(&mut self.headed) { policy::HEAD } else { 0 };
        let compared = match policy::command(self.card.profile(), &self.command, &self.asked) {
            Rule::Last if !turn.last => head,
            Rule::Counts => head,
            Rule::Same | Rule::Last => card.len(),
        };
        let card = &card[..compared.min(card.len())];
        self.found.compared += u64::from(!card.is_empty());
        let model = |replay: &Replay| replay.memory.get(iova, card.len());
        let Some(first) = model(self) else { return Err(self.outside(iova, card.len())) };
        if first == card || self.wait(|replay| model(replay).filter(|model| model == card)).is_some() {
            return Ok(());
        }
        let model = model(self).unwrap_or_default();
        self.compare(card, &model);
        Ok(())
    }

    /// Notes the words of an answer that differ.
    fn compare(&mut self, card: &[u8], model: &[u8]) {
        for (n, (theirs, ours)) in card.chunks(4).zip(model.chunks(4)).enumerate() {
            if theirs != ours {
                let name = format!("{} at {:#04x} of {:#x}", self.command, 4 * n, card.len());
                let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                self.differs(name, digits(theirs), digits(ours));
            }
        }
    }
}
