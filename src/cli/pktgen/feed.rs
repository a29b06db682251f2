//! A recording on its way from its file.
//!
//! ```text
//!   file ──thread "recording": unpack, decode, set times──> 64 parts of 1 MiB ──> sender
//!                         ^                                                       |
//!                         +───────────────── parts that were sent ────────────────+
//! ```
//!
//! So much of a file is read before the run. One that fits is kept, and goes round in memory;
//! of others the rest is read while what came before is sent, and to go round they are read
//! again. The sender never waits for the thread, nor wakes it, as that would call the system:
//! it finds a part or none, and the thread looks in once a millisecond, in which a link of 100
//! Gbit/s takes a fifth of the parts.

use super::facts::{Facts, Times};
use crate::error::{Error, Kind, Result};
use crate::packet::build::MAX_FRAME;
use crate::pcap::parts::{Parts, Source};
use crate::pcap::read::Recording;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::Duration;

/// Memory that a recording may take.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Of a part, bytes.
    pub part: usize,
    /// How many of them.
    pub parts: usize,
}

/// 64 MiB.
pub const ROOM: Room = Room { part: 1 << 20, parts: 64 };

/// Longest frame of Ethernet without jumbo frames, without FCS, with a tag: what a card is made
/// ready for at least.
const USUAL: usize = 1518;

/// How often the thread looks for what the sender has done with.
const LOOK: Duration = Duration::from_millis(1);

/// Packets in the order of the file, with the times at which they leave.
#[derive(Debug, Default)]
pub struct Part {
    /// The packets.
    pub packets: Recording,
    /// What is known of them.
    pub facts: Facts,
    /// Whether the file ends with it.
    pub last: bool,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another part is at hand.
    Part,
    /// It is not read yet.
    Late,
    /// There is none.
    End,
}

/// How to read a file, from its start each time.
pub type Open = Box<dyn FnMut() -> Result<Parts<Source>> + Send>;

/// A file, which is read once or more often.
pub struct File {
    open: Open,
    parts: Parts<Source>,
    times: Times,
    room: Room,
}

impl File {
    /// Opens it. Gaps are at most `max_gap` ns long.
    ///
    /// # Errors
    /// What `open` meets.
    pub fn new(mut open: Open, max_gap: u64, room: Room) -> Result<Self> {
        let parts = open()?;
        Ok(File { open, parts, times: Times::new(max_gap, MAX_FRAME), room })
    }

    /// The file at `path`, or standard input if that is `-`.
    ///
    /// # Errors
    /// That there is no such capture file.
    pub fn at(path: &Path, max_gap: u64) -> Result<Self> {
        let path = path.to_path_buf();
        File::new(Box::new(move || Parts::open(&path)), max_gap, ROOM)
    }

    /// Reads the next part into the memory of `packets`.
    fn part(&mut self, mut packets: Recording) -> Result<Part> {
        let last = self.parts.next(&mut packets, self.room.part)?;
        let facts = self.times.set(&mut packets);
        Ok(Part { packets, facts, last })
    }

    /// Goes back to its start.
    fn again(&mut self) -> Result<()> {
        self.parts = (self.open)()?;
        self.times.again();
        Ok(())
    }

    /// Reads all of it beside, only to know it.
    ///
    /// # Errors
    /// What reading meets.
    fn survey(&mut self) -> Result<Facts> {
        let (mut parts, mut times) = ((self.open)()?, self.times.clone());
        times.again();
        let (mut all, mut part, mut ended) = (Facts::default(), Recording::default(), false);
        while !ended {
            ended = parts.next(&mut part, self.room.part)?;
            all.add(&times.set(&mut part));
        }
        Ok(all)
    }
}

/// Parts that were read and not sent yet, and where the others come from.
pub struct Feed {
    ready: VecDeque<Part>,
    rest: Option<Rest>,
}

/// The ends of a thread that reads.
struct Rest {
    full: Receiver<Part>,
    empty: SyncSender<Recording>,
}

/// What is known before the run.
pub struct Known {
    /// Of the whole file, or as far as it was read.
    pub facts: Facts,
    /// Whether the facts are those of the whole file.
    pub whole: bool,
}

impl Feed {
    /// Reads as much of `file` as there is room for, and has a thread read the rest, `loops`
    /// times in all, 0 being without end. If `whole` all of it must be known before.
    ///
    /// # Errors
    /// What reading meets; [`Kind::Usage`] if it is to be read several times and cannot.
    pub fn new(mut file: File, loops: u64, whole: bool, regular: bool) -> Result<(Feed, Known)> {
        let mut ready = VecDeque::new();
        let mut facts = Facts::default();
        let mut held = false;
        while !held && ready.len() < file.room.parts {
            let part = file.part(Recording::with_room(file.room.part))?;
            facts.add(&part.facts);
            held = part.last;
            ready.push_back(part);
        }
        if held {
            return Ok((Feed { ready, rest: None }, Known { facts, whole: true }));
        }
        if !regular && (loops != 1 || whole) {
            let why = match whole {
                true => "leave --loop out and give --rate in packets a second",
                false => "leave --loop out",
            };
            let megabytes = (file.room.part * file.room.parts) >> 20;
            let line = format!(
                "the recording is no regular file and longer than {megabytes} MiB, so it is read only once; {why}"
            );
            return Err(Error::new(Kind::Usage, line));
        }
        if whole {
            facts = file.survey()?;
        }
        file.times.settle(facts.longest.max(USUAL));
        // Room for all parts that there are: nobody waits for any, and one to begin with.
        let (to_sender, full) = mpsc::sync_channel(file.room.parts + 2);
        let (empty, to_reader) = mpsc::sync_channel(file.room.parts + 2);
        let spare = empty.try_send(Recording::with_room(file.room.part));
        drop(spare);
        let body = move || read(file, loops, &to_sender, &to_reader);
        let thread = thread::Builder::new().name("recording".into()).spawn(body);
        // It ends when nobody wants its parts any more, or with the program.
        thread.map_err(|error| Error::thread("starting a thread that reads the recording", error))?;
        Ok((Feed { ready, rest: Some(Rest { full, empty }) }, Known { facts, whole }))
    }

    /// The part to begin with.
    pub fn first(&mut self) -> Part {
        self.ready.pop_front().unwrap_or_default()
    }

    /// Takes the next part in exchange for `part`, which was sent.
    pub fn next(&mut self, part: &mut Part) -> Next {
        let Some(rest) = &self.rest else {
            // It goes round.
            self.ready.push_back(std::mem::take(part));
            *part = self.ready.pop_front().unwrap_or_default();
            return Next::Part;
        };
        let next = match self.ready.pop_front() {
            Some(next) => next,
            None => match rest.full.try_recv() {
                Ok(next) => next,
                Err(TryRecvError::Empty) => return Next::Late,
                Err(TryRecvError::Disconnected) => return Next::End,
            },
        };
        let sent = std::mem::replace(part, next);
        // The thread is gone at the end of the file.
        drop(rest.empty.try_send(sent.packets));
        Next::Part
    }
}

/// Reads on until `loops` times are through or nobody wants it any more.
fn read(mut file: File, loops: u64, full: &SyncSender<Part>, empty: &Receiver<Recording>) {
    let mut left = loops.checked_sub(1);
    while let Some(buffer) = done_with(empty) {
        let part = file.part(buffer).unwrap_or_else(|error| lost(&error));
        let (ends, fails) = (part.last, part.facts.lost.is_some());
        if full.send(part).is_err() || fails || ends && left == Some(0) {
            return;
        }
        if ends {
            left = left.map(|left| left - 1);
            if let Err(error) = file.again() {
                // Whether anybody hears of it is not for this thread to say.
                let _ = full.send(lost(&error));
                return;
            }
        }
    }
}

/// The end of a file that cannot be read any more.
fn lost(error: &Error) -> Part {
    Part { facts: Facts::lost(error.to_string()), last: true, ..Part::default() }
}

/// Waits for memory that the sender has done with; none if it wants no more.
fn done_with(empty: &Receiver<Recording>) -> Option<Recording> {
    loop {
        match empty.try_recv() {
            Ok(buffer) => return Some(buffer),
            Err(TryRecvError::Empty) => thread::sleep(LOOK),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
}
