//! What becomes of chunks that are full: the side of the file, or of the files.

use super::Told;
use super::chunk::Chunk;
use super::series::{Files, Place};
use super::sink::{Failed, Sink};
use super::syncer::Syncer;
use super::turner::Turns;
use crate::pcap::record::Format;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the writer has done, for others to read.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The records of each recorder.
    pub(super) records_of: Box<[AtomicU64]>,
    /// Packets that were lost when writing had failed.
    pub(super) lost: ByInterface,
    /// Packets behind the end of the last file.
    pub(super) beyond: ByInterface,
    /// Nothing more is written.
    pub(super) ended: AtomicBool,
    /// No more comes: a reader that takes nothing is not waited for as long as it likes.
    pub(super) closing: AtomicBool,
    /// Records are written as text.
    pub(super) lines: bool,
    /// Files that somebody asks for.
    pub(super) turns: Turns,
}

/// Packets that are in no file, counted for each interface.
#[derive(Debug, Default)]
pub(super) struct ByInterface(Mutex<Vec<u64>>);

impl ByInterface {
    /// A packet of each of these `interfaces` more.
    pub(super) fn add(&self, interfaces: impl Iterator<Item = u32>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for interface in interfaces {
            let interface = interface as usize;
            if counts.len() <= interface {
                counts.resize(interface + 1, 0);
            }
            counts[interface] += 1;
        }
    }

    /// As far as there were any.
    pub(super) fn counts(&self) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long a file whose time is over waits for packets that came before: twice what a
/// recorder keeps one.
const GRACE: u64 = 100_000_000;

/// Who writes chunks into the file, one after the other.
pub(super) struct Writer {
    pub(super) sink: Sink,
    pub(super) format: Format,
    /// What each file begins with.
    pub(super) header: Vec<u8>,
    /// Packets in all files so far of each interface that they come by; kept where there are
    /// several of both.
    pub(super) delivered: Vec<u64>,
    /// The recorder whose chunk is written.
    pub(super) of: usize,
    /// Where files go that are full.
    pub(super) syncer: Syncer,
    pub(super) progress: Arc<Progress>,
    pub(super) committed: Box<dyn FnMut(Told<'_>) + Send>,
    /// Why nothing is written any more.
    pub(super) failed: Option<io::Error>,
    /// Where in a series of files this is.
    pub(super) place: Option<Place>,
    /// Whether the last file is full.
    pub(super) over: bool,
    /// Bytes of the files before.
    pub(super) before: u64,
    /// The time of day, in nanoseconds since 1970.
    pub(super) now: Box<dyn Fn() -> u64 + Send>,
}

/// How it ended.
pub(super) struct Closed {
    pub(super) error: Option<io::Error>,
    pub(super) files: Option<Files>,
}

impl Writer {
    /// The thread that writes: every chunk goes back to the recorder that it is of.
    pub(super) fn run(mut self, incoming: &Receiver<Chunk>, outgoing: &[SyncSender<Chunk>]) -> Closed {
        // After a failure chunks are still taken back, so that nobody waits.
        loop {
            let next = match self.patience() {
                None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(patience) => incoming.recv_timeout(patience),
            };
            // What was handed over before this time is taken before a file ends by it.
            let now = (self.now)();
            let next = next.or_else(|why| incoming.try_recv().map_err(|_| why));
            match next {
                Ok(mut chunk) => {
                    self.take(&mut chunk);
                    if let Some(owner) = outgoing.get(chunk.of) {
                        // The other side may be gone already.
                        let _ = owner.try_send(chunk);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.rest_at(now),
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
        }
    }

    /// How long the next chunk may be waited for until the time of a file is over, if it
    /// has one; not so long that a time of day that is set would be missed.
    fn patience(&self) -> Option<Duration> {
        let until = self.place.as_ref().filter(|_| !self.is_idle())?.until()?;
        let left = Duration::from_nanos(until.saturating_add(GRACE).saturating_sub((self.now)()));
        Some(left.clamp(Duration::from_millis(1), Duration::from_secs(1)))
    }

    /// Whether nothing is written any more.
    fn is_idle(&self) -> bool {
        self.over || self.failed.is_some()
    }

    /// Nothing came: goes on to the next file if it is time. To be called every
    /// [`FLUSH`](super::FLUSH), or in [`patience`](Self::patience).
    pub(super) fn rest(&mut self) {
        let now = (self.now)();
        self.rest_at(now);
    }

    /// The same at this time.
    fn rest_at(&mut self, now: u64) {
        let until = self.place.as_ref().filter(|_| !self.is_idle()).and_then(Place::until);
        if until.is_some_and(|until| now >= until.saturating_add(GRACE)) {
            self.turn(now);
        }
        self.follow();
    }

    /// Goes on to the next file if somebody asks for it.
    fn follow(&mut self) {
        let Some(asked) = self.progress.turns.asked() else { return };
        let turned = match &self.place {
            _ if self.failed.is_some() => Err("writing has failed, and the capture ends"),
            Some(place) if self.over || place.is_last() => Err("this file is the last that was asked for"),
            Some(place) if place.series.names.may_repeat() => {
                Err("the next file would have this one's name and overwrite it; with -C or -b it would have another")
            }
            _ => {
                self.turn((self.now)());
                match (&self.failed, &self.place) {
                    (None, Some(place)) => Ok(place.files.last.clone()),
                    _ => Err("the next file could not be begun, and the capture ends"),
                }
            }
        };
        self.progress.turns.answer(asked, turned);
    }

    /// Writes a chunk, unless nothing is written any more, and empties it.
    pub(super) fn take(&mut self, chunk: &mut Chunk) {
        self.of = chunk.of;
        if self.failed.is_none() {
            match &self.place {
                _ if self.over && chunk.records > 0 => self.leave(chunk.bytes()),
                Some(place) if chunk.records > 0 && !place.fits(chunk.bytes().len() as u64, chunk.records) => {
                    self.divide(chunk);
                }
                _ => self.write(chunk.bytes(), chunk.records),
            }
        } else {
            self.leave(chunk.bytes());
        }
        chunk.clear();
        self.follow();
    }

    /// Writes a chunk whose records may belong into several files.
    fn divide(&mut self, chunk: &Chunk) {
        let bytes = chunk.bytes();
        // What is before `from` was written, `records` are between that and `at`.
        let (mut from, mut at, mut records) = (0, 0, 0);
        while let Some((len, time)) = self.format.next(&bytes[at..]).filter(|_| !self.is_idle()) {
            if self.is_behind_the_file((at - from) as u64, records, time) {
                self.write(&bytes[from..at], records);
                (from, records) = (at, 0);
                if !self.is_idle() {
                    self.turn(time);
                }
            } else {
                at += len;
                records += 1;
            }
        }
        if self.is_idle() {
            self.leave(&bytes[from..]);
        } else {
            self.write(&bytes[from..], records);
        }
    }

    /// Counts packets that are written into no file, as the last is full or writing has failed.
    fn leave(&self, bytes: &[u8]) {
        let count = if self.failed.is_some() { &self.progress.lost } else { &self.progress.beyond };
        count.add(self.format.interfaces(bytes));
    }

    /// Whether a packet of this time belongs into another file, with so many bytes and packets
    /// on their way into this one.
    fn is_behind_the_file(&self, bytes: u64, records: u64, time: u64) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_full_with(bytes, records) || place.is_over(time, &self.now))
    }

    fn write(&mut self, bytes: &[u8], records: u64) {
        if bytes.is_empty() {
            return;
        }
        let before = self.progress.records.load(Ordering::Relaxed);
        let whole = match self.sink.put(bytes, |bytes| self.format.whole(bytes)) {
            Ok(()) => records,
            Err(Failed { records: whole, error }) => {
                self.failed = Some(error);
                let whole = whole.min(records);
                self.progress.lost.add(self.format.interfaces(bytes).skip(whole as usize));
                whole
            }
        };
        if let Some(place) = &mut self.place {
            place.add(bytes.len() as u64, whole);
            self.over |= place.is_last() && place.is_full();
            if self.delivered.len() > 1 {
                let interfaces = self.format.interfaces(bytes).take(whole as usize);
                interfaces.for_each(|n| self.delivered.get_mut(n as usize).into_iter().for_each(|count| *count += 1));
            }
        }
        if let Some(records) = self.progress.records_of.get(self.of) {
            records.fetch_add(whole, Ordering::Relaxed);
        }
        self.progress.records.store(before + whole, Ordering::Relaxed);
        self.progress.bytes.store(self.before + self.sink.len(), Ordering::Relaxed);
        (self.committed)(Told::Whole(self.sink.len()));
        self.progress.ended.fetch_or(self.is_idle(), Ordering::Relaxed);
    }

    /// Ends the file, as it is full or its time is over at `time`, and goes on to the next, if
    /// there may be one.
    fn turn(&mut self, time: u64) {
        if self.place.as_ref().is_none_or(Place::is_last) {
            self.over = true;
        } else {
            let mut end = Vec::new();
            let now = (self.now)();
            match &self.delivered[..] {
                [_] => self.format.interim(&mut end, 0, now, self.progress.records.load(Ordering::Relaxed)),
                all => (0..).zip(all).for_each(|(n, count)| self.format.interim(&mut end, n, now, *count)),
            }
            self.write(&end, 0);
            if self.failed.is_none() {
                self.failed = self.begin(time).err();
            }
        }
        self.progress.ended.fetch_or(self.is_idle(), Ordering::Relaxed);
    }

    /// Begins the next file and lets the one before go, and the oldest if there are too many.
    fn begin(&mut self, time: u64) -> io::Result<()> {
        let Some(place) = &mut self.place else { return Ok(()) };
        let path = place.next(time, (self.now)())?;
        // Until it is begun it is the one that failed.
        place.files.failed = Some(path.clone());
        let there = place.series.overwrites(&path)?;
        let mut next = Sink::open(&path, self.sink.is_packed(), &self.progress, &|| false)?;
        if let Err(Failed { error, .. }) = next.put(&self.header, |_| (0, 0)) {
            if !there {
                // It has no header.
                let _ = fs::remove_file(&path);
            }
            return Err(error);
        }
        let full = place.files.last.clone();
        place.begin(path, there);
        place.add(self.header.len() as u64, 0);
        self.before += self.sink.len();
        self.syncer.take(full, std::mem::replace(&mut self.sink, next));
        self.progress.bytes.store(self.before + self.sink.len(), Ordering::Relaxed);
        (self.committed)(Told::File(&place.files.last));
        (self.committed)(Told::Whole(self.sink.len()));
        let Some(oldest) = place.make_room() else { return Ok(()) };
        match fs::remove_file(&oldest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                place.files.failed = Some(oldest);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// No more comes.
    pub(super) fn end(self) -> Closed {
        let last = self.place.as_ref().map(|place| place.files.last.clone()).unwrap_or_default();
        let synced = self.syncer.finish(self.failed.is_none().then_some((last, &self.sink)));
        let mut files = self.place.map(|place| Files { synced: synced.files, ..place.files });
        let error = self.failed.or_else(|| {
            let (path, error) = synced.failed?;
            if let Some(files) = &mut files {
                files.failed = Some(path);
            }
            Some(error)
        });
        Closed { error, files }
    }
}
