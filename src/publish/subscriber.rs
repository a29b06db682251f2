//! The end of a ring that reads.

use super::door;
use super::layout::{Shape, State};
use super::memory::{self, Shared};
use super::name::{Whose, directory};
use super::path;
use super::ring::{Begin, Memory, Packet, Reader};
use crate::error::{Error, Kind, Result};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the kernel is asked whether the publisher lives.
const LOOK: Duration = Duration::from_millis(50);

/// How a ring came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The publisher had no more.
    Ended,
    /// It failed, and said so.
    Failed,
    /// It was killed.
    Killed,
}

/// What [`Subscriber::read`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'s> {
    /// A packet, and the bytes of it that were kept.
    Packet(Packet, &'s [u8]),
    /// None for now.
    Nothing,
    /// There will be no more.
    End(End),
}

/// One reader of a ring. It holds no more of the publisher than its memory.
#[derive(Debug)]
pub struct Subscriber {
    reader: Reader<Shared>,
    name: String,
    file: File,
    whose: Whose,
    bytes: Box<[u8]>,
    looked: Instant,
    end: Option<End>,
}

impl Subscriber {
    /// Opens the ring `name`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if nobody publishes it, [`Kind::Permission`] if it is not for this
    /// user, [`Kind::Device`] if what is there is no ring.
    pub fn open(name: &str, begin: Begin) -> Result<Subscriber> {
        Self::open_in(&directory(), name, begin)
    }

    pub(super) fn open_in(directory: &Path, name: &str, begin: Begin) -> Result<Subscriber> {
        let (file, whose) = door::ask(&path(directory, name)?, name)?;
        Self::attach(file, whose, name, begin)
    }

    /// The same of memory that was handed out already.
    pub(super) fn attach(file: File, whose: Whose, name: &str, begin: Begin) -> Result<Subscriber> {
        let memory = Shared::attach(&file).map_err(|e| e.of(format_args!("ring {name}")))?;
        let Shape { most, .. } = memory.shape();
        let reader = Reader::new(memory, begin).map_err(|_| damaged(name))?;
        let bytes = vec![0; most].into();
        Ok(Subscriber { reader, name: name.into(), file, whose, bytes, looked: Instant::now(), end: None })
    }

    /// The next packet, if there is one.
    ///
    /// # Errors
    /// [`Kind::Device`] if the ring holds what no publisher writes.
    #[inline]
    pub fn read(&mut self) -> Result<Event<'_>> {
        match self.take()? {
            Some(packet) => Ok(Event::Packet(packet, &self.bytes[..packet.len])),
            None => self.without(),
        }
    }

    #[inline]
    fn take(&mut self) -> Result<Option<Packet>> {
        self.reader.next(&mut self.bytes).map_err(|_| damaged(&self.name))
    }

    #[cold]
    fn without(&mut self) -> Result<Event<'_>> {
        if self.end.is_none() {
            self.end = self.ending();
        }
        // What was published before the end is there once the end is seen.
        let Some(end) = self.end else { return Ok(Event::Nothing) };
        Ok(match self.take()? {
            Some(packet) => Event::Packet(packet, &self.bytes[..packet.len]),
            None => Event::End(end),
        })
    }

    fn ending(&mut self) -> Option<End> {
        match self.reader.memory().state() {
            State::Ended => return Some(End::Ended),
            State::Failed => return Some(End::Failed),
            State::Running if self.looked.elapsed() < LOOK => return None,
            State::Running => self.looked = Instant::now(),
        }
        if memory::lives(&self.file).unwrap_or(true) {
            return None;
        }
        // It may have ended between the two looks.
        Some(match self.reader.memory().state() {
            State::Ended => End::Ended,
            State::Failed => End::Failed,
            State::Running => End::Killed,
        })
    }

    /// Number of the packet with which it began.
    pub fn first(&self) -> u64 {
        self.reader.first()
    }

    /// Packets that were overwritten before this reader came to them.
    pub fn lost(&self) -> u64 {
        self.reader.lost()
    }

    /// Whose ring it is.
    pub fn whose(&self) -> Whose {
        self.whose
    }

    /// What its packets come from, as the publisher says.
    pub fn source(&self) -> String {
        self.reader.memory().source()
    }

    /// Bytes kept of each packet.
    pub fn snaplen(&self) -> usize {
        self.bytes.len()
    }
}

fn damaged(name: &str) -> Error {
    let line = format!("ring {name}: it holds what no publisher writes; is it one of bmnic's?");
    Error::new(Kind::Device, line)
}
