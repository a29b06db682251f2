//! Reading a trace.

use super::{Access, Bytes, CONFIG, Config, Event, FORMAT};
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::Id;
use std::path::Path;

/// Most bytes of one piece of memory.
const MOST_BYTES: u64 = 16 << 20;

/// Most bytes of all of them.
const MOST_IN_ALL: u64 = 1 << 30;

/// Longest line that is shown in an error.
const SHOWN: usize = 60;

/// A trace that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Which card it is of.
    pub id: Id,
    /// What stands for its address, if it was read.
    pub address: Option<MacAddr>,
    /// Configuration space, as far as it was seen.
    pub config: Vec<u8>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The last whole line, where the one that ends a trace is missing.
    pub torn: Option<usize>,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Kind::Io`] if it cannot be read or is no trace, with the line.
    pub fn open(path: &Path) -> Result<Recording> {
        let text = std::fs::read(path).map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
        Recording::parse(&path.display().to_string(), &String::from_utf8_lossy(&text))
    }

    /// Reads the text of one that is called `name`.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn parse(name: &str, text: &str) -> Result<Recording> {
        if text.lines().next() != Some(FORMAT) {
            let what = format!("{name} is no trace: its first line is not '{FORMAT}'; `--trace` writes one");
            return Err(Error::new(Kind::Io, what));
        }
        let mut reader = Reader { recording: Recording::default(), room: MOST_IN_ALL };
        let mut known = false;
        // A line that is not ended is half a line.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = 1;
        for line in text[..whole].lines().skip(1) {
            if let Some(count) = line.strip_prefix("end ")
                && count.parse() == Ok(lines)
            {
                reader.check(name, known)?;
                return Ok(reader.recording);
            }
            known |= line.starts_with("card ");
            lines += 1;
            reader.line(line).ok_or_else(|| {
                let shown: String = line.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
                let what = "the file is damaged, or of a newer bmnic";
                Error::new(Kind::Io, format!("{name}, line {lines}: '{shown}' is no line of a trace; {what}"))
            })?;
        }
        reader.check(name, known)?;
        Ok(Recording { torn: Some(lines), ..reader.recording })
    }
}

struct Reader {
    recording: Recording,
    /// Bytes of memory that it may still show.
    room: u64,
}

impl Reader {
    fn check(&self, name: &str, known: bool) -> Result<()> {
        if known {
            return Ok(());
        }
        Err(Error::new(
            Kind::Io,
            format!("{name} does not say which card it is of, so nothing can be replayed; it was cut"),
        ))
    }

    /// Takes a line; `None` if it is none. What would steer a terminal is in no line.
    fn line(&mut self, line: &str) -> Option<()> {
        if line.contains(char::is_control) {
            return None;
        }
        let recording = &mut self.recording;
        if let Some(row) = line.strip_prefix("  ") {
            let (at, digits) = row.split_once(' ')?;
            let (Event::Put(memory) | Event::Got(memory)) = recording.events.last_mut()? else { return None };
            return place(&mut memory.bytes, at, digits);
        }
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let event = match key {
            "card" => {
                recording.id = card(rest)?;
                return Some(());
            }
            "address" => {
                recording.address = Some(rest.parse().ok()?);
                return Some(());
            }
            "config" => {
                let (at, digits) = rest.split_once(' ')?;
                recording.config.resize(CONFIG, 0);
                return place(&mut recording.config, at, digits);
            }
            "bar" => {
                let (bar, size) = rest.split_once(' ')?;
                Event::Bar(bar.parse().ok().filter(|bar| *bar < 6)?, hex(size)?)
            }
            "map" => {
                let (iova, len) = rest.split_once(' ')?;
                Event::Map(hex(iova)?, hex(len)?)
            }
            "R" | "W" => access(key == "W", rest)?,
            "r" | "w" => config(key == "w", rest)?,
            "reset" => Event::Reset,
            "vectors" => Event::Vectors(rest.parse().ok()?),
            "settle" => Event::Settle(rest.parse().ok()?),
            "command" => {
                let (code, name) = rest.split_once(' ')?;
                Event::Command(u32::try_from(value(code)?).ok()?, name.into())
            }
            "answer" => {
                let (name, said) = rest.split_once(' ')?;
                Event::Answer(name.into(), said.into())
            }
            ">" | "<" => {
                let (iova, len) = rest.split_once(' ')?;
                let (iova, len) = (hex(iova)?, hex(len)?);
                if len > MOST_BYTES || len > self.room || iova.checked_add(len).is_none() {
                    return None;
                }
                self.room -= len;
                let memory = Bytes { iova, bytes: vec![0; len as usize] };
                if key == ">" { Event::Put(memory) } else { Event::Got(memory) }
            }
            _ => return None,
        };
        recording.events.push(event);
        Some(())
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'))
}

/// A number as `0x1ff`.
fn value(text: &str) -> Option<u64> {
    hex(text.strip_prefix("0x")?)
}

/// Writes a row of digits to its place.
fn place(bytes: &mut [u8], at: &str, digits: &str) -> Option<()> {
    let at = usize::try_from(hex(at)?).ok()?;
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let row = bytes.get_mut(at..at.checked_add(digits.len() / 2)?)?;
    for (n, byte) in row.iter_mut().enumerate() {
        *byte = hex(&digits[2 * n..2 * n + 2])? as u8;
    }
    Some(())
}

fn card(text: &str) -> Option<Id> {
    let word = |text: &str| u16::from_str_radix(text, 16).ok();
    let mut parts = text.split(' ');
    let mut pair = || parts.next()?.split_once(':');
    let ((vendor, device), (subsystem_vendor, subsystem)) = (pair()?, pair()?);
    Some(Id {
        vendor: word(vendor)?,
        device: word(device)?,
        subsystem_vendor: word(subsystem_vendor)?,
        subsystem: word(subsystem)?,
        revision: u8::from_str_radix(parts.next()?, 16).ok()?,
    })
}

/// What stands behind ` @`, if there is a time, and what is before.
fn timed(text: &str) -> Option<(&str, u64)> {
    match text.rsplit_once(" @") {
        Some((before, at)) => Some((before, at.parse().ok()?)),
        None => Some((text, 0)),
    }
}

/// `0:00008/4 STATUS = 0x80 @12`.
fn access(write: bool, text: &str) -> Option<Event> {
    let (text, at) = timed(text)?;
    let (left, number) = text.rsplit_once(" = ")?;
    let (place, name) = left.split_once(' ')?;
    let (bar, place) = place.split_once(':')?;
    let (offset, size) = place.split_once('/')?;
    let bar: u8 = bar.parse().ok().filter(|bar| *bar < 6)?;
    let (offset, size) = (hex(offset)?, size.parse().ok().filter(|size| matches!(size, 1 | 2 | 4 | 8))?);
    let value = value(number).filter(|value| size == 8 || value >> (8 * size) == 0)?;
    if !offset.is_multiple_of(u64::from(size)) {
        return None;
    }
    let name = Some(name.to_owned()).filter(|name| *name != format!("BAR{bar}"));
    Some(Event::Access(Access { write, bar, offset, size, value, name }, at))
}

/// `04/2 = 0x2 @14`.
fn config(write: bool, text: &str) -> Option<Event> {
    let (text, at) = timed(text)?;
    let (place, number) = text.split_once(" = ")?;
    let (offset, size) = place.split_once('/')?;
    let (offset, size) = (hex(offset)?, size.parse().ok().filter(|size| matches!(size, 1 | 2 | 4))?);
    let value = u32::try_from(value(number)?).ok()?;
    if !offset.is_multiple_of(u64::from(size)) || offset >= CONFIG as u64 {
        return None;
    }
    Some(Event::Config(Config { write, offset: offset as u16, size, value }, at))
}
